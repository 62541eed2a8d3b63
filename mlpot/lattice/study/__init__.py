"""Studies of arms that learn from the same samples, task by task, and what their energies say elsewhere."""
