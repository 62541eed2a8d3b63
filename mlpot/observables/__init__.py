"""What trajectories show: structure, motion, vibrations, and the errors of their means."""
