r"""The lattice wing: distributions and interactions of spin models, learned from configurations alone.

Self-contained: nothing here imports the atoms' wing. Units: J = k_B = 1. States are integers
0 .. q-1 in arrays (samples, \*lattice shape), see :mod:`mlpot.lattice.alphabet`.
"""
