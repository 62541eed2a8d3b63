"""Exact results to hold simulations and learned models against."""
