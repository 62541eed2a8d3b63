"""Carrying a potential from one element to another: donors, corresponding states, strategies."""
