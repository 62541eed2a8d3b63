"""Thermodynamics over temperature from Monte Carlo series, in the form in which results keep it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.reweighting import Anchor, MultiHistogram, integrate_energy
from mlpot.lattice.thermodynamics import CanonicalPoint, Estimate, block_numbers, jackknife

#: A temperature so high that ln Z follows from the first two cumulants of the energy.
HOT = 1000.0
#: Fractions of the highest temperature's 1/T at which chains run on the way there.
_WAY = (0.75, 0.5, 0.25)
#: Recordings of all temperatures together that multi-histogram reweighting is given.
_REWEIGHTED = 40_000

QUANTITIES = ("energy", "capacity", "magnetisation", "susceptibility", "binder", "free_energy", "entropy")

Point = dict[str, Any]


def ladder(temperatures: Sequence[float], anchored: float | None, free_energy: bool = True) -> list[float]:
    """Return the temperatures to run at, rising: those wanted, the anchor's, and a way to infinity.

    The last two are for free energies.
    """
    wanted = {float(t) for t in temperatures} | ({float(anchored)} if anchored is not None else set())
    if not free_energy:
        return sorted(wanted)
    return sorted(wanted | {max(wanted) / part for part in _WAY} | {HOT})


def hot_anchor(energies: np.ndarray, sites: int, q: int) -> Anchor:
    r"""Return ln Z at :data:`HOT` from total energies sampled there.

    :math:`\ln Z = N \ln q - \beta\langle E\rangle - \beta^2 \mathrm{Var}(E)/2` up to the third order in
    :math:`\beta`, whose part is below 1e-8 per site.
    """
    beta = 1 / HOT
    log_z = sites * np.log(q) - beta * energies.mean() - beta**2 * energies.var() / 2
    return Anchor(HOT, float(log_z))


def curve(
    temperatures: Sequence[float],
    energies: Sequence[np.ndarray],
    magnetisations: Sequence[np.ndarray],
    chains: int,
    sites: int,
    wanted: Sequence[float],
    anchor: Anchor | None,
) -> tuple[list[Point], list[str]]:
    """Return points at the temperatures wanted, and why some are missing.

    Parameters
    ----------
    temperatures
        Of the series, rising, the anchor's among them.
    energies, magnetisations
        For each temperature (records * chains,): total energies and order parameters, time first.
    chains
        Among which the series alternate.
    sites
        N.
    wanted
        Temperatures to report.
    anchor
        ln Z of the whole lattice at one of the temperatures; ``None``: no free energies.

    Returns
    -------
    points, missing
        Per site; ``[value, error]`` each. Temperatures whose series are too short for errors are
        left out, and named with the reason.
    """
    points: dict[float, Point] = {}
    missing = []
    averages: dict[float, list[Estimate]] = {}
    for t, e, m in zip(temperatures, energies, magnetisations, strict=True):
        try:
            averages[t] = _averages(e, m, t, chains, sites)
        except LatticeError as error:
            missing.append(f"T = {t:g}: {error}")
            continue
        if t in wanted:
            names = QUANTITIES[:5]
            points[t] = {"temperature": t} | {
                name: [estimate.value, estimate.error]
                for name, estimate in zip(names, averages[t], strict=True)
            }
    free: dict[float, list[float]] = {}
    entropy: dict[float, list[float]] = {}
    if anchor is not None:
        free, entropy = _free_energies(list(temperatures), energies, averages, chains, sites, anchor)
    for t, point in points.items():
        point["free_energy"], point["entropy"] = free.get(t), entropy.get(t)
    return [points[t] for t in wanted if t in points], missing


def exact(point: CanonicalPoint) -> Point:
    """Return an exact point in the same form; ``None`` for what it does not know."""
    values = {
        "energy": point.energy, "capacity": point.heat_capacity, "magnetisation": point.magnetisation,
        "susceptibility": point.susceptibility, "binder": point.binder, "free_energy": point.free_energy,
        "entropy": point.entropy,
    }  # fmt: skip
    return {"temperature": point.temperature} | {
        name: None if value is None else [float(value), 0.0] for name, value in values.items()
    }


def _averages(e: np.ndarray, m: np.ndarray, t: float, chains: int, sites: int) -> list[Estimate]:
    blocks = block_numbers(np.stack([e, m], axis=1), chains)
    centre = e.mean()
    moments = np.stack([(e - centre) / sites, ((e - centre) / sites) ** 2, m, m**2, m**4], axis=1)

    def derived(mean: np.ndarray) -> np.ndarray:
        e1, e2, m1, m2, m4 = np.moveaxis(mean, -1, 0)
        return np.stack(
            [
                e1 + centre / sites,
                sites * (e2 - e1**2) / t**2,
                m1,
                sites * (m2 - m1**2) / t,
                1 - m4 / (3 * m2**2),
            ],
            axis=-1,
        )

    return jackknife(moments, blocks, derived)


def _free_energies(
    temperatures: list[float],
    energies: Sequence[np.ndarray],
    averages: dict[float, list[Estimate]],
    chains: int,
    sites: int,
    anchor: Anchor,
) -> tuple[dict[float, list[float]], dict[float, list[float]]]:
    """Return free energy and entropy by temperature: reweighted where energies overlap, else integrated."""
    times = len(energies[0]) // chains
    stride = max(1, -(-len(temperatures) * len(energies[0]) // _REWEIGHTED))
    thinned = [e.reshape(times, chains)[::stride].ravel() for e in energies]
    try:
        whole = MultiHistogram(temperatures, thinned, sites, chains).curve(temperatures, anchor)
        free, entropy = whole.free_energy, whole.entropy
    except LatticeError:
        used = [t for t in temperatures if t in averages]
        if anchor.temperature not in used:
            return {}, {}
        free, entropy = integrate_energy(
            used, [averages[t][0] for t in used], anchor, sites, [averages[t][1] for t in used]
        )
        temperatures = used
    return tuple(  # type: ignore[return-value]
        {t: [one.value, one.error] for t, one in zip(temperatures, estimates, strict=True)}
        for estimates in (free, entropy)
    )
