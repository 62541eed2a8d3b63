"""Frames: reading, checking, splitting, neighbour lists, graphs."""
