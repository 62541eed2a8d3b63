"""Sequence models: exactly normalised distributions over lattice states, learned from samples."""

from mlpot.lattice.sequence.build import build_sequence, load_sequence, save_sequence
from mlpot.lattice.sequence.fit import Fit, Progress, fit_sequence
from mlpot.lattice.sequence.model import SequenceModel
from mlpot.lattice.sequence.paths import path
from mlpot.lattice.sequence.settings import FitSettings, SequenceSettings
from mlpot.lattice.sequence.symmetry import Averaged, Symmetry

__all__ = [
    "Averaged",
    "Fit",
    "FitSettings",
    "Progress",
    "SequenceModel",
    "SequenceSettings",
    "Symmetry",
    "build_sequence",
    "fit_sequence",
    "load_sequence",
    "path",
    "save_sequence",
]
