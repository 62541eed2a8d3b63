"""All observables of one trajectory, with the errors of their means and what cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement, pairwise
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from mlpot.errors import DataError, MLPotError, RecipeError
from mlpot.observables.angular import angular_distribution, coordination_numbers
from mlpot.observables.blocks import FEWEST, block_average, error_of_blocks
from mlpot.observables.diffusion import diffusion, mean_squared_displacement
from mlpot.observables.radial import (
    first_minimum,
    radial_distance,
    radial_distribution,
    radial_distribution_error,
)
from mlpot.observables.steinhardt import BondOrder
from mlpot.observables.structure_factor import structure_factor, structure_factor_of_g
from mlpot.observables.trajectory import Motion, motion
from mlpot.observables.vibration import velocity_autocorrelation, vibrational_density
from mlpot.recipe import Recipe

#: Å, how far radial distributions go where the cell allows it.
_FAR = 10.0
#: Consecutive parts of a trajectory whose scatter is the error of a curve.
_PARTS = 5


class ObserveSettings(Recipe):
    """How observables are computed.

    Attributes
    ----------
    r_max
        Å; by default 10, or half of the shortest height of the cell if that is less.
    bins
        Of radial and angular distributions.
    cutoff
        Å, of bonds: for angles, coordination and bond order; by default the first minimum of the
        radial distribution.
    nearest
        Neighbours that bond order counts, instead of those within the cutoff.
    degrees
        l of bond order.
    q_max, q_width
        1/Å, of the structure factor and its shells.
    interval_fs
        fs between frames; by default as the frames say.
    fit_ps
        ps, first and last lag of the fit of diffusion.
    correlation_ps
        ps, longest lag of the velocity autocorrelation.
    resolution
        THz, of the vibrational density of states.
    """

    r_max: PositiveFloat | None = None
    bins: PositiveInt = 200
    cutoff: PositiveFloat | None = None
    nearest: PositiveInt | None = None
    degrees: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (4, 6)
    q_max: PositiveFloat = 10.0
    q_width: PositiveFloat = 0.1
    interval_fs: PositiveFloat | None = None
    fit_ps: tuple[float, PositiveFloat] | None = None
    correlation_ps: PositiveFloat | None = None
    resolution: PositiveFloat | None = None


@dataclass
class Curves:
    """One observable.

    Attributes
    ----------
    columns
        Name with unit, and values, in the order of the table; all of one length. The first is the
        abscissa.
    values
        Plain JSON: numbers that belong to it.
    notes
        What a reader must know.
    """

    columns: dict[str, np.ndarray]
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Survey:
    """Observables of the frames of a trajectory.

    Parameters
    ----------
    frames
        In order of time, of the same atoms.
    settings
        How.
    reference
        Frames of another trajectory, such as ab initio dynamics, that radial and angular
        distributions, and, where they have times, vibrations are compared with.

    Raises
    ------
    DataError
        For no frames.
    """

    def __init__(
        self,
        frames: Sequence[Atoms],
        settings: ObserveSettings | None = None,
        reference: Sequence[Atoms] | None = None,
    ) -> None:
        if not frames:
            raise DataError("there are no frames to observe.")
        self.frames, self.reference = list(frames), list(reference) if reference else None
        self.settings = settings or ObserveSettings()
        self.symbols = sorted({*frames[0].get_chemical_symbols()})

    def observe(self, names: Sequence[str] | None = None) -> tuple[dict[str, Curves], dict[str, str]]:
        """Return observables by name, and why others cannot be had.

        Parameters
        ----------
        names
            Of :data:`OBSERVABLES`; by default all that this trajectory has.

        Raises
        ------
        RecipeError
            For an unknown name.
        MLPotError
            If one that is named cannot be had.
        """
        for name in names or []:
            if name not in OBSERVABLES:
                raise RecipeError(f"unknown observable {name!r}; there are: {', '.join(OBSERVABLES)}.")
        found, missing = {}, {}
        for name in names or OBSERVABLES:
            try:
                found[name] = OBSERVABLES[name](self)
            except MLPotError as error:
                if names:
                    raise type(error)(f"{name}: {error}") from error
                missing[name] = str(error)
        return found, missing

    @cached_property
    def r_max(self) -> float:
        """Å, how far radial distributions go."""
        frames = self.frames + (self.reference or [])
        half = 0.5 * min(_height(atoms) for atoms in frames)
        given = self.settings.r_max
        if given is not None and given > half * (1 + 1e-9):
            raise RecipeError(
                f"r_max is {given:g} Å, more than half of the smallest height of the cell: beyond "
                f"{half:.4g} Å atoms see their own images; choose a smaller r_max."
            )
        return given if given is not None else min(_FAR, half)

    @cached_property
    def g(self) -> tuple[np.ndarray, np.ndarray]:
        """Radial distribution of all atoms: r (Å) and g."""
        return radial_distribution(self.frames, self.r_max, self.settings.bins)

    @cached_property
    def cutoff(self) -> float:
        """Å, of bonds."""
        return self.settings.cutoff if self.settings.cutoff is not None else first_minimum(*self.g)

    @cached_property
    def motion(self) -> Motion:
        """The frames in time."""
        return motion(self.frames, self.settings.interval_fs)

    def radial(self) -> Curves:
        """Return g(r) of all atoms and of pairs of elements; with a reference, the distance from it."""
        r, g = self.g
        columns = {"r_angstrom": r, "g": g}
        parts = _parts(self.frames)
        if parts:
            curves = [radial_distribution(part, self.r_max, self.settings.bins)[1] for part in parts]
            columns["g_error"] = error_of_blocks(curves)
        if len(self.symbols) > 1:
            for pair in combinations_with_replacement(self.symbols, 2):
                columns[f"g_{pair[0]}_{pair[1]}"] = radial_distribution(
                    self.frames, self.r_max, self.settings.bins, pair
                )[1]
        values: dict[str, Any] = {"r_max": self.r_max, "highest_peak": float(r[np.argmax(g)])}
        if self.reference is not None:
            other = radial_distribution(self.reference, self.r_max, self.settings.bins)[1]
            columns["g_reference"] = other
            values["wasserstein_angstrom"] = radial_distance(r, g, other)
            values["mean_absolute_difference"] = radial_distribution_error(g, other)
        return Curves(columns, values)

    def angular(self) -> Curves:
        """Return the distribution of bond angles, of all atoms and of each element in the middle."""
        bins = min(self.settings.bins, 180)
        theta, p = angular_distribution(self.frames, self.cutoff, bins)
        columns = {"angle_degrees": theta, "p_per_degree": p}
        if parts := _parts(self.frames):
            curves = [angular_distribution(part, self.cutoff, bins)[1] for part in parts]
            columns["p_error"] = error_of_blocks(curves)
        values = {"cutoff": self.cutoff, "mean_angle": float(np.average(theta, weights=p))}
        if self.reference is not None:
            columns["p_reference"] = angular_distribution(self.reference, self.cutoff, bins)[1]
            difference = np.abs(p - columns["p_reference"]).sum() * (theta[1] - theta[0])
            values["absolute_difference"] = float(difference)
        return Curves(columns, values)

    def coordination(self) -> Curves:
        """Return how many atoms have how many neighbours, and the mean with its error."""
        counts = coordination_numbers(self.frames, self.cutoff)
        each = np.bincount(counts.ravel())
        columns = {"neighbours": np.arange(len(each)), "share": each / counts.size}
        values = {"cutoff": self.cutoff, **_mean(counts.mean(axis=1))}
        if len(self.symbols) > 1:
            for one in self.symbols:
                for other in self.symbols:
                    pairs = coordination_numbers(self.frames, self.cutoff, (one, other))
                    values[f"mean_{other}_around_{one}"] = float(pairs.mean())
        return Curves(columns, values)

    def displacement(self) -> Curves:
        """Return the mean squared displacement, and the coefficients of self-diffusion."""
        lags = max(2, len(self.motion) // 2)
        columns = {
            "time_ps": np.arange(lags) * self.motion.interval,
            "msd_angstrom2": mean_squared_displacement(self.motion.at_rest, lags),
        }
        whole = diffusion(self.motion, self.settings.fit_ps)
        values: dict[str, Any] = {"diffusion_angstrom2_per_ps": whole.to_dict()}
        notes = list(values["diffusion_angstrom2_per_ps"].pop("notes"))
        if len(self.symbols) > 1:
            for symbol, chosen in self._by_element().items():
                columns[f"msd_{symbol}"] = mean_squared_displacement(self.motion.at_rest[:, chosen], lags)
                one = diffusion(self.motion, self.settings.fit_ps, chosen).to_dict()
                notes += [f"{symbol}: {note}" for note in one.pop("notes")]
                values[f"diffusion_{symbol}"] = one
        return Curves(columns, values, notes)

    def autocorrelation(self) -> Curves:
        """Return the velocity autocorrelation."""
        times, values = velocity_autocorrelation(self.motion, self.settings.correlation_ps)
        if not values[0] > 0:
            raise DataError("nothing moves; there is no velocity autocorrelation.")
        notes = [] if self.motion.velocities is not None else [_DIFFERENCES]
        columns = {"time_ps": times, "vacf_angstrom2_per_ps2": values, "normalised": values / values[0]}
        return Curves(columns, {}, notes)

    def vibrations(self) -> Curves:
        """Return the vibrational density of states, of all atoms and of each element."""
        whole = vibrational_density(self.motion, self.settings.resolution)
        columns = {"frequency_THz": whole.frequency, "states_per_THz_and_atom": whole.density}
        if len(self.symbols) > 1:
            for symbol, chosen in self._by_element().items():
                one = vibrational_density(self.motion, self.settings.resolution, chosen)
                columns[f"states_{symbol}"] = one.density
        values = {
            "resolution_THz": whole.resolution,
            "integral": float(np.trapezoid(whole.density, whole.frequency)),
            "mean_frequency_THz": float(np.average(whole.frequency, weights=whole.density)),
        }
        notes = list(whole.notes)
        if self.reference is not None:
            try:
                other = vibrational_density(motion(self.reference), self.settings.resolution)
            except MLPotError as error:
                notes.append(f"no density of states of the reference: {error}")
            else:
                known = whole.frequency <= other.frequency[-1]
                reference = np.interp(whole.frequency, other.frequency, other.density)
                columns["states_reference"] = np.where(known, reference, np.nan)
                apart = np.abs(whole.density - reference)[known]
                values["absolute_difference"] = float(np.trapezoid(apart, whole.frequency[known]))
        return Curves(columns, values, notes)

    def structure(self) -> Curves:
        """Return the structure factor from wave vectors, and from g(r)."""
        settings = self.settings
        q, s, count = structure_factor(self.frames, settings.q_max, settings.q_width)
        density = float(np.mean([len(atoms) / atoms.get_volume() for atoms in self.frames]))
        return Curves(
            {
                "q_per_angstrom": q,
                "s": s,
                "vectors": count,
                "s_from_g": structure_factor_of_g(*self.g, density, q),
            },
            {"density_per_angstrom3": density},
        )

    def bond_order(self) -> Curves:
        """Return distributions of Steinhardt's parameters and their averages over neighbours."""
        nearest = self.settings.nearest
        around: dict[str, Any] = {"cutoff": self.cutoff} if nearest is None else {"nearest": nearest}
        orders = [BondOrder(atoms, **around) for atoms in self.frames]
        edges = np.linspace(0.0, 1.0, 101)
        columns = {"q": 0.5 * (edges[1:] + edges[:-1])}
        values: dict[str, Any] = dict(around)
        for degree in self.settings.degrees:
            for name, averaged in ((f"q{degree}", False), (f"q{degree}_averaged", True)):
                each = np.array([order.q(degree, averaged) for order in orders])
                columns[f"p_{name}"] = np.histogram(each, edges, density=True)[0]
                values[name] = _mean(each.mean(axis=1))
            each = np.array([order.w(degree) for order in orders])
            values[f"w{degree}"] = _mean(each.mean(axis=1))
        return Curves(columns, values)

    def _by_element(self) -> dict[str, np.ndarray]:
        symbols = np.array(self.frames[0].get_chemical_symbols())
        return {symbol: np.flatnonzero(symbols == symbol) for symbol in self.symbols}


_DIFFERENCES = "velocities are differences of positions between frames, which damps fast vibrations"

#: What can be observed, by name.
OBSERVABLES: dict[str, Callable[[Survey], Curves]] = {
    "rdf": Survey.radial,
    "adf": Survey.angular,
    "coordination": Survey.coordination,
    "msd": Survey.displacement,
    "vacf": Survey.autocorrelation,
    "vdos": Survey.vibrations,
    "sq": Survey.structure,
    "steinhardt": Survey.bond_order,
}


def _height(atoms: Atoms) -> float:
    """Return the smallest distance between opposite faces of a cell, Å."""
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise DataError(
            "a radial distribution needs a density, so periodic boundaries in all directions; these frames "
            f"have pbc {atoms.pbc.tolist()}."
        )
    return float(1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max())


def _parts(frames: list[Atoms]) -> list[list[Atoms]]:
    """Return consecutive parts for the error of a curve; none of too few frames."""
    if len(frames) < 2 * _PARTS:
        return []
    bounds = np.linspace(0, len(frames), _PARTS + 1).astype(int)
    return [frames[a:b] for a, b in pairwise(bounds)]


def _mean(series: np.ndarray) -> dict[str, Any]:
    """Return mean and error of one value per frame."""
    if len(series) < FEWEST:
        return {"mean": float(series.mean()), "error": None, "converged": False}
    block = block_average(series)
    return {"mean": block.mean, "error": block.error, "converged": block.converged}
