r"""Learning from snapshots without labels: forces are the score of the Boltzmann distribution.

Positions in equilibrium at :math:`T_0` have the density :math:`p \propto e^{-U / k_B T_0}`, so
:math:`F = k_B T_0 \nabla \ln p`. Denoising score matching (Vincent, Neural Computation 23, 1661
(2011)) learns that gradient from snapshots alone: displace every atom by :math:`\sigma
\varepsilon`, :math:`\varepsilon` standard normal, and fit forces to the targets
:math:`t = -k_B T_0\, \varepsilon / \sigma` by least squares. The minimiser is :math:`k_B T_0`
times the score of the density smoothed by the noise, off the force by order :math:`\sigma^2`; a
target is off by :math:`k_B T_0 / \sigma`, thousands of meV/Å.

In pairs :math:`\pm \varepsilon` the two targets of a snapshot cancel but for
:math:`\tfrac{k_B T_0}{\sigma}\, \varepsilon \cdot (F_+ - F_-)`, which has a limit for small
:math:`\sigma`: pairs are sliced score matching by finite differences (Pang et al., NeurIPS 2020),
whose scatter does not grow as :math:`\sigma` falls. Taking the centre of mass out of the noise,
on the other hand, changes nothing: forces of a potential add up to zero, and so does what they have in
common with a uniform force.

docs/score.md derives this and says what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from mlpot.conventions import KB
from mlpot.data.frame import Frame
from mlpot.data.graph import Graph, frame_graph
from mlpot.data.section import DataSection, LabelSection
from mlpot.data.store import StoredFrames
from mlpot.errors import DataError
from mlpot.recipe import Recipe
from mlpot.training.loaders import Graphs, stand_in
from mlpot.training.settings import LossSettings, LossTerm

#: Info key under which `mlpot generate` and others keep the temperature of a frame.
TEMPERATURE = "temperature_K"
#: A usual force constant of an atom in a solid, eV/Å²; it sets a unit, no result.
_FORCE_CONSTANT = 10.0


class ScoreSettings(Recipe):
    """How positions without labels are learned from.

    ``temperature`` (K) of the snapshots; ``sigma`` (Å), the standard deviation of the noise on every
    component of the positions; ``draws`` of noise per snapshot and epoch, each together with its
    opposite where ``antithetic``.
    """

    temperature: float = Field(gt=0.0)
    sigma: float = Field(default=0.01, gt=0.0)
    antithetic: bool = True
    draws: int = Field(default=1, ge=1)

    @property
    def target(self) -> float:
        """Standard deviation of a component of the targets, eV/Å."""
        return KB * self.temperature / self.sigma

    @property
    def force_size(self) -> float:
        """Root mean square force by equipartition, eV/Å, of atoms on usual springs."""
        return float(np.sqrt(KB * self.temperature * _FORCE_CONSTANT))


def force_loss(given: LossSettings) -> LossSettings:
    """Return the loss of forces alone, squared, in the unit that was given or 1 eV/Å.

    Raises
    ------
    ValueError
        If the recipe asks for another: the mean of the targets is the force, and only squares
        have their minimum at a mean; of energy and stress positions at one volume say nothing.
    """
    named = given.model_fields_set
    if "kind" in named and given.kind != "squared":
        raise ValueError(
            f"fit.loss.kind: {given.kind} with loss: score; only squares have their minimum at the mean of "
            "noisy targets; leave it out, or say squared."
        )
    for name in ("energy", "stress"):
        if name in named and getattr(given, name).weight > 0.0:
            raise ValueError(
                f"fit.loss.{name}: has a weight, but loss: score has no such labels; leave it out, or say "
                "weight: 0."
            )
    forces = given.forces if "forces" in named else LossTerm(weight=1.0, unit=1.0)
    if forces.weight == 0.0:
        raise ValueError("fit.loss.forces: weight 0, but loss: score learns from nothing else; leave it out.")
    return LossSettings(
        kind="squared",
        energy=given.energy.model_copy(update={"weight": 0.0}),
        forces=forces,
        stress=given.stress.model_copy(update={"weight": 0.0}),
    )


def positions_only(section: DataSection) -> DataSection:
    """Return a data section that asks for no labels but forces, and for these only if they were named.

    Raises
    ------
    ValueError
        If it names energies or stresses, or their zeros.
    """
    labels = section.labels if "labels" in section.model_fields_set else LabelSection()
    for name in ("energy", "stress"):
        if name in labels.model_fields_set and getattr(labels, name) is not None:
            raise ValueError(
                f"data.labels.{name}: loss: score learns from positions, which tell the energy up to a "
                f"constant and no stress; say {name}: null, or leave it out."
            )
    if section.energy_zeros:
        raise ValueError("data.energy_zeros: loss: score reads no energies; leave them out.")
    named = labels.forces if "forces" in labels.model_fields_set else None
    bare = LabelSection(energy=None, forces=named, stress=None, missing=labels.missing)
    return section.model_copy(update={"labels": bare})


def check_snapshots(frames: Sequence[Frame], settings: ScoreSettings) -> None:
    """Refuse frames that are not snapshots at the temperature of the recipe, as far as they tell.

    Raises
    ------
    DataError
        If frames stream from an indexed file; if one has another temperature (info key
        ``temperature_K``).
    """
    if isinstance(frames, StoredFrames):
        raise DataError(
            f"{frames.path}: loss: score displaces frames anew in every epoch and needs them in memory; "
            "write them to a file .xyz (mlpot convert)."
        )
    stated = [(frame, float(frame.info[TEMPERATURE])) for frame in frames if TEMPERATURE in frame.info]
    others = [(frame, own) for frame, own in stated if abs(own - settings.temperature) > 1e-3 * own]
    if others:
        frame, own = others[0]
        found = ", ".join(f"{value:g}" for value in sorted({value for _, value in stated}))
        raise DataError(
            f"{frame.source}: a snapshot at {own:g} K, but score.temperature is {settings.temperature:g} K "
            f"(the frames are at {found} K); one density is that of one temperature: give frames of one."
        )


class NoisyGraphs(Graphs):
    """Graphs of displaced snapshots with the targets of their forces, drawn anew in every epoch.

    Noise is a function of seed, epoch and frame alone, so that a resumed run, or one on several
    devices, sees the same. The copies of a snapshot are in one batch.

    Parameters
    ----------
    frames
        Snapshots; labels they may have are not looked at.
    cutoff
        Å.
    settings
        See :class:`ScoreSettings`.
    seed
        Of the noise.
    epoch
        Says which epoch it is; without it (validation) noise is always the same.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        cutoff: float,
        settings: ScoreSettings,
        seed: int,
        epoch: Callable[[], int] | None = None,
    ) -> None:
        self.frames, self.cutoff, self.settings, self.seed, self.epoch = frames, cutoff, settings, seed, epoch

    def __getitems__(self, indices: list[int | None]) -> list[Graph]:
        """Return the copies of all snapshots of a batch (the loader calls this)."""
        return [graph for index in indices for graph in self._copies(index)]

    def _copies(self, index: int | None) -> list[Graph]:
        if index is None:
            return [stand_in(frame_graph(self.frames[0], self.cutoff))]
        moment = (0, 0) if self.epoch is None else (1, self.epoch())
        # A key of its own: plain numbers would give the stream of whoever sampled with the same seed.
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*moment, index)))
        frame, copies = self.frames[index], []
        for _ in range(self.settings.draws):
            noise = rng.standard_normal(frame.positions.shape)
            for sign in (1.0, -1.0) if self.settings.antithetic else (1.0,):
                displaced = replace(
                    frame,
                    positions=frame.positions + sign * self.settings.sigma * noise,
                    energy=None,
                    forces=-sign * self.settings.target * noise,
                    stress=None,
                    source=f"{frame.source}, displaced by noise of {self.settings.sigma:g} Å",
                )
                copies.append(frame_graph(displaced, self.cutoff))
        return copies
