"""Molecular dynamics with any potential: calculator, drivers, stability."""
