"""Small cells of silicon and germanium with Stillinger-Weber labels, shared by the tests of fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from stand_ins import slurm  # noqa: F401  (a fixture)

from mlpot.data.frame import Frame, LabelKeys
from mlpot.errors import NoCompilerError
from mlpot.model import native
from mlpot.model.network import NetworkConfig
from mlpot.reference.classical import classical_calculator

LATTICE = {"Si": 5.431, "Ge": 5.658}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as workers of the engine do: sums over several threads round otherwise."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def label() -> Callable[..., Frame]:
    """Return a labeller of atoms by a classical force field."""

    def compute(atoms: Atoms, name: str, source: str = "memory") -> Frame:
        atoms = atoms.copy()
        atoms.calc = classical_calculator(name)
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.info["REF_stress"] = atoms.get_stress(voigt=True)
        atoms.arrays["REF_forces"] = atoms.get_forces()
        return Frame.from_atoms(atoms, LabelKeys(), source)

    return compute


@pytest.fixture(scope="session")
def sw_frames(label) -> Callable[..., list[Frame]]:
    """Return a maker of strained and rattled cells of eight atoms; ``group`` says which half."""

    def make(element: str, count: int, seed: int, rattle: float = 0.1) -> list[Frame]:
        rng = np.random.default_rng(seed)
        frames = []
        for index in range(count):
            atoms = bulk(element, "diamond", a=LATTICE[element], cubic=True)
            strain = rng.normal(scale=0.02, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
            atoms.positions += rng.normal(scale=rattle * (index % 2 + 1) / 2, size=(8, 3))
            atoms.info["group"] = ("calm", "shaken")[index % 2]
            frames.append(label(atoms, f"sw-{element.lower()}", f"{element}.xyz#{index}"))
        return frames

    return make


@pytest.fixture(scope="session")
def si_frames(sw_frames) -> list[Frame]:
    """Twenty-four frames of silicon."""
    return sw_frames("Si", 24, seed=0)


@pytest.fixture(scope="session")
def ge_frames(sw_frames) -> list[Frame]:
    """Sixteen frames of germanium."""
    return sw_frames("Ge", 16, seed=1)


@pytest.fixture(scope="session")
def tiny() -> NetworkConfig:
    """The smallest network worth training."""
    return NetworkConfig(channels=4, hidden=4)


@pytest.fixture(scope="session")
def compiled() -> None:
    """Skip where nothing can be compiled; a compiler that fails is a failure."""
    try:
        native.compiler()
    except NoCompilerError as error:
        pytest.skip(str(error))
    native.load_library()
