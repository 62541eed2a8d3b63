"""Files of learned energies: networks as they save themselves, pair couplings, and ensembles of networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlpot.atomic import replacing
from mlpot.errors import ModelFileError
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.pairwise import PairwiseEnergy

Learned = EDNN | PairwiseEnergy | Ensemble[EDNN]

_NETWORK = "energy.safetensors"
_PAIRS = "energy.npz"
_ARRAYS = ("neighbours", "kinds", "matrices", "fields")


def save_energy(energy: Learned, folder: Path) -> None:
    """Write an energy into a folder, under a name of its kind."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(energy, EDNN):
        energy.save(folder / _NETWORK)
    elif isinstance(energy, Ensemble):
        for number, member in enumerate(energy.members):
            member.save(folder / f"member{number}.safetensors")
    else:
        arrays = {name: getattr(energy, name) for name in _ARRAYS}
        if energy.displacements is not None:
            arrays["displacements"] = energy.displacements
        with replacing(folder / _PAIRS) as partial:
            np.savez_compressed(partial, shape=np.array(energy.lattice.shape), q=np.array(energy.q), **arrays)


def load_energy(folder: Path) -> Learned:
    """Return the energy in a folder; :class:`ModelFileError` if there is none or it is damaged."""
    if (folder / _NETWORK).exists():
        return EDNN.load(folder / _NETWORK)
    members = sorted(folder.glob("member*.safetensors"), key=lambda path: int(path.stem[6:]))
    if members:
        return Ensemble(tuple(EDNN.load(path) for path in members))
    path = folder / _PAIRS
    if not path.exists():
        raise ModelFileError(f"{folder}: holds no learned energy; run `mlpot lattice learn` again.")
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in _ARRAYS}
            displacements = content.get("displacements")
            lattice = Lattice(tuple(int(length) for length in content["shape"]))
            return PairwiseEnergy(lattice, int(content["q"]), **arrays, displacements=displacements)
    except (OSError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{path}: cannot be read as pair couplings ({error}); learn them again."
        ) from None


def parameters(energy: EDNN | Ensemble[EDNN]) -> int:
    """Return how many numbers a network has learned, over all members of an ensemble."""
    if isinstance(energy, EDNN):
        return sum(parameter.numel() for parameter in energy.parameters())
    return sum(parameters(member) for member in energy.members)
