"""Baselines that need no sequence model: conditional likelihood of pairs and of an extensive network."""
