"""Melting temperature of a crystal under any ASE calculator, from coexisting solid and liquid.

Half of a long crystal is melted while the other half is held. Then all of it moves at constant
enthalpy and constant pressure along its length: above the melting temperature crystal melts, which
takes up heat and cools the rest; below it liquid freezes and warms the rest. The system finds the
melting temperature by itself (Morris, Wang, Ho and Chan, Phys. Rev. B 49, 3109 (1994), at constant
volume; Yoo, Zeng and Morris, J. Chem. Phys. 120, 1654 (2004), at constant pressure). Against a ladder of
runs at fixed temperatures, of which each must be followed until one phase is gone, this needs no
more than a crude guess: the latent heat is worth a thousand kelvin or more of heat capacity. Runs
start on either side, so that what has not yet relaxed shows as a difference between the sides.
"""

from mlpot.melting.estimate import Estimate, estimate
from mlpot.melting.run import melting
from mlpot.melting.settings import MeltingError, MeltingSettings

__all__ = ["Estimate", "MeltingError", "MeltingSettings", "estimate", "melting"]
