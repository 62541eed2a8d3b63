"""Experiments: scratch against transfer, and their reports."""
