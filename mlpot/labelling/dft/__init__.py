"""Ab initio methods for `mlpot label`: GPAW, Quantum ESPRESSO, VASP, CP2K, and their convergence."""
