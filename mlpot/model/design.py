r"""The linear least-squares problem of a head: design matrices, normal equations, leave-one-out.

With everything but the head frozen (:mod:`mlpot.model.head`), what labels leave of the
predictions of a potential is linear in the change :math:`\Delta w` of its head. The penalised
loss

.. math::
    L(\Delta w) = \tfrac12 \sum_q s_q \big\langle (y_q - X_q \Delta w)^2 \big\rangle
        + \tfrac12 \lambda\, |\Delta w|^2, \qquad q \in \{E/N,\; F,\; \sigma\},

averaged over all values of a label and without a penalty on the offsets, needs of each frame
only :math:`X^T X`, :math:`X^T y`, :math:`y^T y` and the number of values, however many atoms it
has; a frame is left out by leaving out its terms.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import NativeError
from mlpot.model.head import head_size
from mlpot.model.potential import Potential

Label = Literal["energy", "forces", "stress"]
LABELS: tuple[Label, ...] = get_args(Label)

#: Penalty (1/eV²) on the offsets: so little that only what no frame determines stays as it is.
OFFSET_PENALTY = 1e-8

#: From strong penalties (the head as it is) to weak ones.
STRENGTHS = tuple(float(value) for value in np.logspace(4, -6, 21))


@dataclass(frozen=True)
class Rows:
    """The rows of one label of one frame: ``matrix`` (R, P) and ``target`` (R,).

    Energies per atom (eV), forces (eV/Å) and stress (eV/Å³) by component; the target is the label
    less the prediction of the potential as it is.
    """

    matrix: np.ndarray
    target: np.ndarray


def design_rows(model: Potential, frame: Frame) -> dict[Label, Rows]:
    """Return the rows of a frame for the labels it has, in float64.

    At the cost of one evaluation of energies and forces per number of the head.

    Raises
    ------
    ElementError, GeometryError
        For an element that the model does not know, or for atoms on top of each other.
    """
    device = model.offsets.device
    graph = batch_graphs([frame_graph(frame, model.cutoff)]).to(device)
    outputs = [model(graph), *model.head_outputs(graph, _unit_heads(model))]
    offsets = np.array([(frame.numbers == z).mean() for z in model.elements])
    values = {
        "energy": torch.stack([output.energy / len(frame) for output in outputs]),
        "forces": torch.stack([output.forces.flatten() for output in outputs]),
        "stress": torch.stack([output.stress.flatten() for output in outputs]),
    }
    rows: dict[Label, Rows] = {}
    for name in LABELS:
        if (label := frame.label(name)) is None:
            continue
        label = np.ravel(label) / (len(frame) if name == "energy" else 1)
        own, columns = np.split(values[name].cpu().numpy(), [1])
        shares = offsets if name == "energy" else np.zeros(len(offsets))
        matrix = np.concatenate([columns.T, np.tile(shares, (columns.shape[1], 1))], axis=1)
        rows[name] = Rows(matrix, label - own[0])
    return rows


def _unit_heads(model: Potential) -> torch.Tensor:
    size = head_size(model.config)
    return torch.eye(size, size + len(model.elements), dtype=torch.float64, device=model.offsets.device)


def in_double(model: Potential) -> Potential:
    """Return a copy in float64, with native kernels where they can be had."""
    double = copy.deepcopy(model).double()
    with suppress(NativeError):  # PyTorch computes the same, several times slower.
        double.use_native(double.offsets.device.type == "cpu")
    return double


@dataclass(frozen=True)
class Gram:
    """What least squares needs of the rows of one label: X^T X, X^T y, y^T y and their number."""

    matrix: np.ndarray
    vector: np.ndarray
    square: float
    count: int

    @classmethod
    def of(cls, rows: Rows) -> Gram:
        """Return that of given rows."""
        x, y = rows.matrix, rows.target
        return cls(x.T @ x, x.T @ y, float(y @ y), len(y))

    def __add__(self, other: Gram) -> Gram:
        return Gram(
            self.matrix + other.matrix,
            self.vector + other.vector,
            self.square + other.square,
            self.count + other.count,
        )

    def __sub__(self, other: Gram) -> Gram:
        return Gram(
            self.matrix - other.matrix,
            self.vector - other.vector,
            self.square - other.square,
            self.count - other.count,
        )

    def squared_error(self, change: np.ndarray) -> float:
        """Return the sum of squared errors that a change of the head leaves."""
        error = self.square - 2.0 * self.vector @ change + change @ self.matrix @ change
        return max(float(error), 0.0)


Grams = Mapping[Label, Gram]


def total(parts: Sequence[Grams]) -> dict[Label, Gram]:
    """Return the sums of frames, label by label."""
    sums: dict[Label, Gram] = {}
    for part in parts:
        for name, gram in part.items():
            sums[name] = sums[name] + gram if name in sums else gram
    return sums


@dataclass(frozen=True)
class HeadEquations:
    """The normal equations of frames, frame by frame.

    Attributes
    ----------
    frames : list of dict
        What each contributes, by label.
    size : int
        Numbers of the head without offsets; the offsets follow.
    scales : dict
        :math:`s_q`: weight by square of the unit, by label.
    """

    frames: list[Grams]
    size: int
    scales: Mapping[Label, float]

    @property
    def sums(self) -> dict[Label, Gram]:
        """The sums over all frames."""
        return total(self.frames)

    def precision(self, sums: Grams, strength: float) -> np.ndarray:
        """Return the matrix (P, P) of the penalised loss, its second derivative."""
        terms = [self.scales[name] / gram.count * gram.matrix for name, gram in sums.items() if gram.count]
        matrix = np.sum(terms, axis=0)
        penalty = np.full(len(matrix), OFFSET_PENALTY)
        penalty[: self.size] = strength
        return matrix + np.diag(penalty)

    def solve(self, sums: Grams, strength: float) -> np.ndarray:
        """Return the change (P,) that minimises the penalised loss."""
        terms = [self.scales[name] / gram.count * gram.vector for name, gram in sums.items() if gram.count]
        return np.linalg.solve(self.precision(sums, strength), np.sum(terms, axis=0))

    def left_out(self, strength: float) -> dict[Label, float]:
        """Return the mean squared errors on each frame by the solution of all the others."""
        sums, errors = self.sums, dict.fromkeys(self.sums, 0.0)
        for frame in self.frames:
            rest = {name: gram - frame[name] if name in frame else gram for name, gram in sums.items()}
            change = self.solve(rest, strength)
            for name, gram in frame.items():
                errors[name] += gram.squared_error(change) / sums[name].count
        return errors

    def loss(self, errors: Mapping[Label, float]) -> float:
        """Return the loss of mean squared errors."""
        return 0.5 * sum(self.scales[name] * error for name, error in errors.items())

    def errors(self, change: np.ndarray) -> dict[Label, float]:
        """Return the mean squared errors over all frames that a change leaves."""
        return {name: gram.squared_error(change) / gram.count for name, gram in self.sums.items()}


def head_equations(
    model: Potential,
    frames: Sequence[Frame],
    scales: Mapping[Label, float],
    progress: Callable[[int, int], None] | None = None,
) -> HeadEquations:
    """Return the normal equations of frames; memory per frame does not grow with its atoms.

    Parameters
    ----------
    model
        Best in float64 (:func:`in_double`).
    frames
        Labelled frames.
    scales
        See :class:`HeadEquations`; a label whose scale is zero is not used.
    progress
        Called with frames done and in all.

    Raises
    ------
    ElementError, GeometryError
        See :func:`design_rows`.
    """
    parts: list[Grams] = []
    for done, frame in enumerate(frames, start=1):
        rows = design_rows(model, frame)
        parts.append({name: Gram.of(own) for name, own in rows.items() if scales[name] > 0.0})
        if progress is not None:
            progress(done, len(frames))
    return HeadEquations(parts, head_size(model.config), scales)
