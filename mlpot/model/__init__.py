"""The potential: bases, network, repulsion, forces and stress, model file."""
