"""Point defects of diamond, relaxed from several starts in growing cells of constant volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from matscipy.neighbours import neighbour_list

from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject
from mlpot.sampling.defects import Interstitial, Vacancy

#: In bond lengths: how far starts move the neighbours of a hole, and random starts all atoms.
_INWARD, _PAIR, _RANDOM, _SLIGHT = 0.25, 0.2, 0.18, 0.02
#: In bond lengths: atoms at rest are not closer.
_CLOSE = 0.75
#: eV within which two relaxed structures are the same.
_SAME = 0.01
#: eV by which the last two sizes may differ before a note says so.
_CONVERGED = 0.05

Start = tuple[str, Atoms]


def vacancy(subject: Subject, missing: Literal[1, 2]) -> Outcome:
    """Return the formation energy (eV) of a vacancy or divacancy: unrelaxed, metastable and lowest.

    E = E(N - m) - (N - m) E_bulk, where N sites lack m atoms. Starts: as cut; the neighbours of the
    hole drawn inwards, or together in pairs; and displaced at random. The symmetric value is where
    the start as cut comes to rest; the lowest is that of all.
    """
    name = Vacancy(kind="vacancy", missing=missing).name
    sizes = []
    for repeats in subject.settings.defect_supercells:
        hole = Vacancy(kind="vacancy", missing=missing, supercell=(repeats,) * 3).build(
            subject.material, subject.rng()
        )
        sites = 8 * repeats**3
        notes = subject.require_room(hole, f"{name} of {sites} sites")
        sizes.append(_relaxed(subject, sites, list(hole_starts(subject, hole, missing)), notes))
    return _found(name, sizes, subject)


def interstitial(subject: Subject, site: Literal["tetrahedral", "hexagonal", "dumbbell"]) -> Outcome:
    """Return the formation energy (eV) of an interstitial at a site, relaxed, and the lowest nearby.

    E = E(N + 1) - (N + 1) E_bulk. The value at the site is where the start as built comes to rest; a
    start with slight random displacements tells whether it is stable there.
    """
    name = f"interstitial_{site}"
    sizes = []
    for repeats in subject.settings.defect_supercells:
        atoms = Interstitial(kind="interstitial", site=site, supercell=(repeats,) * 3).build(
            subject.material, subject.rng()
        )
        sites = 8 * repeats**3
        notes = subject.require_room(atoms, f"{name} of {sites} sites")
        disturbed = atoms.copy()
        bond = np.sqrt(3) / 4 * subject.a
        disturbed.positions += subject.rng().normal(0.0, _SLIGHT * bond, (len(atoms), 3))
        starts = [("as built", atoms), ("disturbed", disturbed)]
        sizes.append(_relaxed(subject, sites, starts, notes))
    return _found(name, sizes, subject)


def hole_starts(subject: Subject, hole: Atoms, missing: Literal[1, 2]) -> Iterator[Start]:
    """Yield structures, by name, from which a vacancy or divacancy relaxes, the one as cut first."""
    bond = np.sqrt(3) / 4 * subject.a
    place = subject.diamond().positions[:missing].mean(axis=0)
    vectors, distances = get_distances(place, hole.positions, cell=hole.cell, pbc=True)
    neighbours = np.argsort(distances[0], kind="stable")[: 4 if missing == 1 else 6]
    inwards = -vectors[0][neighbours] / distances[0][neighbours, None]
    rng = subject.rng()

    def moved(steps: np.ndarray) -> Atoms:
        atoms = hole.copy()
        atoms.positions[neighbours] += steps + rng.normal(0.0, _SLIGHT * bond, steps.shape)
        return atoms

    yield "as cut", hole
    yield "inwards", moved(_INWARD * bond * inwards)
    pairs = np.zeros_like(inwards)
    for first, second in np.arange(len(neighbours)).reshape(-1, 2):
        between = vectors[0][neighbours[second]] - vectors[0][neighbours[first]]
        pairs[first], pairs[second] = _PAIR * between, -_PAIR * between
    yield "in pairs", moved(pairs)
    for number in range(subject.settings.starts):
        steps = rng.normal(0.0, _RANDOM * bond, inwards.shape)
        yield f"random {number + 1}", moved(steps)


def relax_starts(
    subject: Subject, starts: list[Start], reference: float
) -> tuple[list[dict[str, Any]], list[Atoms | None]]:
    """Relax structures; return an account of each, with its energy above a reference (eV), and each at rest.

    A start that does not come to rest, or whose atoms fall into each other, has its reason in place
    of an energy.
    """
    accounts: list[dict[str, Any]] = []
    relaxed: list[Atoms | None] = []
    for name, start in starts:
        atoms = subject.attach(start.copy())
        try:
            steps = subject.relax(atoms, name)
            _require_distances(subject, atoms, name)
        except PropertyError as error:
            accounts.append({"start": name, "energy_eV": None, "reason": str(error)})
            relaxed.append(None)
            continue
        energy = float(atoms.get_potential_energy()) - reference
        accounts.append({"start": name, "energy_eV": energy, "steps": steps})
        relaxed.append(atoms)
    return accounts, relaxed


def _require_distances(subject: Subject, atoms: Atoms, name: str) -> None:
    """Refuse what a potential may have where it was never trained: low energies of atoms too close."""
    bond = np.sqrt(3) / 4 * subject.a
    shortest = neighbour_list("d", atoms, _CLOSE * bond)
    if len(shortest):
        raise PropertyError(
            f"{name}: comes to rest with atoms {shortest.min():.2f} Å apart, less than {_CLOSE:g} of a bond: "
            "no state of the crystal."
        )


def _relaxed(subject: Subject, sites: int, starts: list[Start], notes: list[str]) -> dict[str, Any]:
    reference = len(starts[0][1]) * subject.energy
    accounts, _ = relax_starts(subject, starts, reference)
    return {
        "sites": sites,
        "unrelaxed_eV": subject.energy_of(starts[0][1]) - reference,
        "starts": accounts,
        "notes": notes,
    }


def _found(name: str, sizes: list[dict[str, Any]], subject: Subject) -> Outcome:
    """Return what the sizes say; the values are those of the largest."""
    last = sizes[-1]
    settings = {
        "sites": [size["sites"] for size in sizes],
        "cell": "constant",
        "fmax": subject.settings.fmax,
        "starts": [account["start"] for account in last["starts"]],
        "seed": subject.settings.seed,
        "cutoff": subject.cutoff if subject.cutoff is not None else "not known",
    }
    notes = [note for size in sizes for note in size.pop("notes")]
    first = last["starts"][0]
    lowest = [_lowest(size["starts"]) for size in sizes]
    best = lowest[-1]
    for account in last["starts"]:
        if account["energy_eV"] is None:
            notes.append(
                f"start {account['start']} of {last['sites']} sites was left out: {account['reason']}"
            )
    if len(lowest) > 1 and best is not None and lowest[-2] is not None:
        change = best["energy_eV"] - lowest[-2]["energy_eV"]
        if abs(change) > _CONVERGED:
            notes.append(
                f"from {sizes[-2]['sites']} to {last['sites']} sites it changes by {change:+.3f} eV: "
                "not converged with the size"
            )
    data = {"sizes": sizes}
    kept = first["energy_eV"]
    found: Outcome = {f"{name}_unrelaxed": Found(last["unrelaxed_eV"], settings)}
    if name.startswith("interstitial"):
        if kept is None:
            return found | {name: first["reason"]}
        if best is not None and best["energy_eV"] < kept - _SAME:
            notes.append(
                f"not stable at this site: from slight displacements it falls to {best['energy_eV']:.3f} eV"
            )
        return found | {name: Found(kept, settings, notes, data)}
    found[f"{name}_symmetric"] = first["reason"] if kept is None else Found(kept, settings)
    if best is None:
        return found | {name: f"no start comes to rest; the first: {first['reason']}"}
    if kept is not None and best["energy_eV"] < kept - _SAME:
        notes.append(
            f"the symmetric {name} is metastable: {kept:.3f} eV; start {best['start']!r} leads lower"
        )
    return found | {name: Found(best["energy_eV"], settings, notes, data)}


def _lowest(accounts: list[dict[str, Any]]) -> dict[str, Any] | None:
    at_rest = [account for account in accounts if account["energy_eV"] is not None]
    return min(at_rest, key=lambda account: account["energy_eV"]) if at_rest else None
