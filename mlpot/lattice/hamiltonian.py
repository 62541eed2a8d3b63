r"""Lattice Hamiltonians with pair couplings and fields, in units J = k_B = 1.

.. math:: E(s) = -\sum_{\mathrm{bonds}\,(i,j)} J_{ij}\, K[s_i, s_j] - \sum_i h_i[s_i]

Every model of the package has this form: Ising (K = product of spins), Potts in standard
(K = delta) and clock form (K = cos of the angle between), glasses, couplings of one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_q, check_states
from mlpot.lattice.geometry import Lattice

Form = Literal["standard", "clock", "ising"]

#: Values gathered at once by the vectorised sums: 32 MB of float64.
_CHUNK = 1 << 22


def pair_kernel(q: int, form: str) -> np.ndarray:
    r"""Return K[a, b], (q, q) float64.

    ``"ising"``: product of spins (q = 2); ``"standard"``: 1 where a = b, otherwise 0;
    ``"clock"``: :math:`\cos(2\pi(a-b)/q)`. For q = 2 the clock form is Ising's; for q = 3 it is
    3/2 the standard form less 1/2: the same model with J times 3/2 and an offset.

    Raises
    ------
    LatticeError
        For another form, and for ``"ising"`` with q other than 2.
    """
    q = check_q(q)
    if form == "ising" and q != 2:
        raise LatticeError(f"form: ising has q = 2, not {q}; take standard or clock.")
    if form == "standard":
        return np.eye(q)
    if form in ("clock", "ising"):
        apart = np.abs(np.arange(q)[:, None] - np.arange(q))
        apart = np.minimum(apart, q - apart)  # equal angles are to have equal cosines
        return np.round(np.cos(2 * np.pi * apart / q), 15) + 0.0  # and cos(2 pi/3) to be -1/2
    raise LatticeError(f"form: {form!r} is unknown; known: standard, clock, ising.")


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    """A model of pair couplings on a lattice.

    Parameters
    ----------
    lattice
        Its geometry. Models without one, such as all-to-all couplings, have shape (N,).
    q
        States of a site.
    kernel : (q, q) float64
        K, symmetric.
    neighbours : (N, K) int32
        The other end of each bond of a site; -1 where a site has fewer. A pair may be listed
        several times (periodic boundaries with L = 2), and each counts.
    couplings : (N, K) float64
        J of each bond, stored from both ends; 0 where there is none.
    field : (N, q) float64
        h_i[a], which is subtracted from the energy.
    name
        Of the model (``ising``, ``potts``, ...).
    parameters
        Plain JSON: what the maker was given.

    Raises
    ------
    LatticeError
        For wrong shapes, values that are not finite, a kernel that is not symmetric, a site
        bonded to itself, or a bond that its two ends do not agree on.
    """

    lattice: Lattice
    q: int
    kernel: np.ndarray
    neighbours: np.ndarray
    couplings: np.ndarray
    field: np.ndarray
    name: str = "custom"
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        n, q = self.lattice.sites, check_q(self.q)
        arrays: dict[str, np.ndarray] = {
            "kernel": np.ascontiguousarray(self.kernel, dtype=np.float64),
            "neighbours": np.ascontiguousarray(self.neighbours, dtype=np.int32),
            "couplings": np.ascontiguousarray(self.couplings, dtype=np.float64),
            "field": np.ascontiguousarray(self.field, dtype=np.float64),
        }
        expected = {"kernel": (q, q), "couplings": arrays["neighbours"].shape, "field": (n, q)}
        if arrays["neighbours"].ndim != 2 or len(arrays["neighbours"]) != n:
            raise LatticeError(f"neighbours: shape {arrays['neighbours'].shape}, expected ({n}, K).")
        for key, shape in expected.items():
            if arrays[key].shape != shape:
                raise LatticeError(f"{key}: shape {arrays[key].shape}, expected {shape}.")
            if not np.isfinite(arrays[key]).all():
                raise LatticeError(f"{key}: has values that are not finite.")
        if not np.array_equal(arrays["kernel"], arrays["kernel"].T):
            raise LatticeError("kernel: is not symmetric; K[a, b] = K[b, a].")
        self._check_bonds(arrays["neighbours"], arrays["couplings"])
        for key, value in arrays.items():
            value.setflags(write=False)
            object.__setattr__(self, key, value)

    @staticmethod
    def _check_bonds(neighbours: np.ndarray, couplings: np.ndarray) -> None:
        n = len(neighbours)
        site, slot = np.nonzero(neighbours >= 0)
        other, coupling = neighbours[site, slot], couplings[site, slot]
        if neighbours.size and (neighbours.max() >= n or neighbours.min() < -1):
            raise LatticeError(f"neighbours: a value is outside -1..{n - 1}.")
        if couplings[neighbours < 0].any():
            raise LatticeError("couplings: a slot without a neighbour (-1) has a coupling other than 0.")
        if (site == other).any():
            raise LatticeError(f"neighbours: site {site[site == other][0]} is bonded to itself.")
        here = np.lexsort((coupling, other, site))
        there = np.lexsort((coupling, site, other))
        same = (
            np.array_equal(site[here], other[there])
            and np.array_equal(other[here], site[there])
            and np.array_equal(coupling[here], coupling[there])
        )
        if not same:
            raise LatticeError(
                "couplings: the two ends of a bond do not list it with the same J; from_couplings() "
                "stores a matrix or a list of bonds from both ends."
            )

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of configurations (samples, \*shape): (samples,) float64, units of J.

        Raises
        ------
        DataError
            For another shape or alphabet.
        """
        flat = self._flat(states)
        energies = np.empty(len(flat))
        site, slot = np.nonzero(self.neighbours > np.arange(len(self.neighbours))[:, None])
        other, coupling = self.neighbours[site, slot], self.couplings[site, slot]
        everywhere = np.arange(flat.shape[1])
        step = max(1, _CHUNK // max(1, len(site)))
        for start in range(0, len(flat), step):
            part = flat[start : start + step]
            energies[start : start + step] = -(self.kernel[part[:, site], part[:, other]] @ coupling)
        if self.field.any():
            for start in range(0, len(flat), step):
                part = flat[start : start + step]
                energies[start : start + step] -= self.field[everywhere, part].sum(axis=1)
        return energies + 0.0  # no negative zeros

    def local_fields(self, states: np.ndarray) -> np.ndarray:
        r"""Return what each state would contribute to -E at each site, (samples, N, q) float64.

        :math:`f_i[a] = \sum_j J_{ij} K[a, s_j] + h_i[a]`: turning site i from a to b changes the
        energy by :math:`f_i[a] - f_i[b]`, and its conditional probability is
        :math:`p(s_i = a | \mathrm{rest}) \propto e^{f_i[a]/T}`.

        Raises
        ------
        DataError
            For another shape or alphabet.
        """
        flat = self._flat(states)
        n, width = self.neighbours.shape
        fields = np.empty((len(flat), n, self.q))
        step = max(1, _CHUNK // max(1, n * width * self.q))
        for start in range(0, len(flat), step):
            # Slots without a neighbour point at the last site, with J = 0.
            around = flat[start : start + step][:, self.neighbours]
            fields[start : start + step] = np.einsum("nk,bnkq->bnq", self.couplings, self.kernel[around])
        return fields + self.field

    def _flat(self, states: np.ndarray) -> np.ndarray:
        states = check_states(states, self.q, self.lattice.shape, where=f"states of {self.name}")
        return states.reshape(len(states), -1)

    @property
    def is_translation_invariant(self) -> bool:
        """Whether the model is defined on lattices of any size: no disorder, no couplings of one's own."""
        return self.name in _INVARIANT

    @property
    def form(self) -> str | None:
        """Which known kernel it has: ``ising``, ``standard`` or ``clock``; ``None`` for another."""
        for form in ("ising", "standard", "clock") if self.q == 2 else ("standard", "clock"):
            if np.array_equal(self.kernel, pair_kernel(self.q, form)):
                return form
        return None

    def resized(self, shape: Sequence[int]) -> Hamiltonian:
        """Return the same model on another lattice.

        Raises
        ------
        LatticeError
            If the model has couplings that belong to its own sites.
        """
        if not self.is_translation_invariant:
            raise LatticeError(f"{self.name}: its couplings belong to its sites; it has no other size.")
        return _INVARIANT[self.name](shape, **self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain JSON; couplings are listed where they do not follow from a rule."""
        document: dict[str, Any] = {
            "name": self.name,
            "shape": list(self.lattice.shape),
            "parameters": self.parameters,
        }
        if not self.is_translation_invariant:
            document |= {
                "q": self.q,
                "kernel": self.kernel.tolist(),
                "neighbours": self.neighbours.tolist(),
                "couplings": self.couplings.tolist(),
                "field": self.field.tolist(),
            }
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Hamiltonian:
        """Return the model that :meth:`to_dict` described.

        Raises
        ------
        LatticeError
            If a key is missing or does not fit.
        """
        try:
            if document["name"] in _INVARIANT:
                return _INVARIANT[document["name"]](document["shape"], **document["parameters"])
            arrays = {key: np.array(document[key]) for key in ("kernel", "neighbours", "couplings", "field")}
            return cls(
                lattice=Lattice(tuple(document["shape"])),
                q=document["q"],
                name=document["name"],
                parameters=document["parameters"],
                **arrays,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LatticeError(f"Hamiltonian: the description does not fit ({error!r}).") from None


def ising(shape: Sequence[int], J: float = 1.0, field: float = 0.0) -> Hamiltonian:
    """Return the nearest-neighbour Ising model, E = -J sum s_i s_j - field sum s_i, s = -1 or 1."""
    return _invariant("ising", shape, 2, "ising", {1: J}, {"J": J, "field": field})


def ising_nnn(shape: Sequence[int], J: float = 1.0, J2: float = 0.5, field: float = 0.0) -> Hamiltonian:
    """Return the Ising model with couplings J to nearest and J2 to next-nearest neighbours."""
    return _invariant("ising_nnn", shape, 2, "ising", {1: J, 2: J2}, {"J": J, "J2": J2, "field": field})


def potts(
    shape: Sequence[int], q: int, form: str = "standard", J: float = 1.0, field: float = 0.0
) -> Hamiltonian:
    """Return the nearest-neighbour Potts model of q states, standard or clock form (:func:`pair_kernel`).

    ``field`` acts on state 0: h K[s, 0] is subtracted for each site.
    """
    if form not in ("standard", "clock"):
        raise LatticeError(f"form: {form!r} is no form of Potts; known: standard, clock.")
    return _invariant("potts", shape, q, form, {1: J}, {"q": int(q), "form": form, "J": J, "field": field})


def edwards_anderson(
    shape: Sequence[int], seed: int, distribution: Literal["gaussian", "bimodal"] = "gaussian"
) -> Hamiltonian:
    """Return an Ising glass of independent nearest-neighbour couplings of mean 0 and variance 1.

    S. F. Edwards and P. W. Anderson, J. Phys. F 5, 965 (1975). ``"bimodal"``: -1 or 1.
    """
    lattice = Lattice(tuple(shape))
    generator = np.random.default_rng(seed)
    size = (lattice.sites, lattice.dimensions)
    if distribution == "gaussian":
        forward = generator.standard_normal(size)
    elif distribution == "bimodal":
        forward = generator.choice([-1.0, 1.0], size)
    else:
        raise LatticeError(f"distribution: {distribution!r} is unknown; known: gaussian, bimodal.")
    neighbours = lattice.neighbours()
    back = np.stack(
        [forward[neighbours[:, lattice.dimensions + axis], axis] for axis in range(lattice.dimensions)],
        axis=1,
    )
    return Hamiltonian(
        lattice, 2, pair_kernel(2, "ising"), neighbours, np.concatenate([forward, back], axis=1),
        np.zeros((lattice.sites, 2)), "edwards_anderson", {"seed": int(seed), "distribution": distribution},
    )  # fmt: skip


def all_to_all(sites: int | Sequence[int], seed: int, variance: float | None = None) -> Hamiltonian:
    """Return Ising spins all coupled to each other by independent Gaussian couplings of mean 0.

    D. Sherrington and S. Kirkpatrick, Phys. Rev. Lett. 35, 1792 (1975). The variance is 1/N by
    default, which keeps the energy extensive. ``sites``: their number N, or a shape in which to
    arrange them (neighbourhood means nothing to this model, but a sequence model may want one).
    """
    lattice = Lattice((int(sites),) if isinstance(sites, int | np.integer) else tuple(sites))
    n = lattice.sites
    if variance is None:
        variance = 1 / n
    if not variance > 0:
        raise LatticeError(f"variance: {variance} is not positive.")
    upper = np.triu(np.random.default_rng(seed).standard_normal((n, n)) * np.sqrt(variance), 1)
    parameters = {"seed": int(seed), "variance": float(variance)}
    return from_couplings(upper + upper.T, lattice.shape, name="all_to_all", parameters=parameters)


def from_couplings(
    couplings: npt.ArrayLike,
    shape: Sequence[int],
    q: int = 2,
    form: str | None = None,
    field: npt.ArrayLike | None = None,
    name: str = "custom",
    parameters: dict[str, Any] | None = None,
) -> Hamiltonian:
    """Return a model of couplings of one's own.

    Parameters
    ----------
    couplings
        Either a symmetric (N, N) matrix with zero diagonal, zero meaning no bond, or bonds
        (M, 3): i, j, J each once. (A 3 x 3 matrix is read as a matrix.)
    shape
        Of the lattice, whose sites they number in C order.
    q
        States of a site.
    form
        Kernel, see :func:`pair_kernel`; by default ``ising`` for q = 2, otherwise ``standard``.
    field
        (N, q), or (N,) for Ising spins: h_i s_i.
    name, parameters
        Kept with the model.

    Raises
    ------
    LatticeError
        If something does not fit together.
    """
    lattice, q = Lattice(tuple(shape)), check_q(q)
    if name in _INVARIANT:
        raise LatticeError(f"name: {name!r} is the name of a model without couplings of one's own.")
    n = lattice.sites
    given = np.asarray(couplings, dtype=np.float64)
    if given.shape == (n, n):
        if not np.array_equal(given, given.T) or given.diagonal().any():
            raise LatticeError("couplings: the matrix is to be symmetric with a diagonal of zeros.")
        first, second = np.nonzero(np.triu(given, 1))
        values = given[first, second]
    elif given.ndim == 2 and given.shape[1] == 3:
        first, second, values = given[:, 0].astype(int), given[:, 1].astype(int), given[:, 2]
        if (given[:, :2] != np.stack([first, second], 1)).any():
            raise LatticeError("couplings: a bond names a site by a number that is not an integer.")
        if len(given) and (min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= n):
            raise LatticeError(f"couplings: a bond names a site outside 0..{n - 1}.")
    else:
        raise LatticeError(f"couplings: shape {given.shape}; expected a ({n}, {n}) matrix or (M, 3) bonds.")

    ends = np.concatenate([first, second])
    others, both = np.concatenate([second, first]), np.concatenate([values, values])
    order = np.lexsort((others, ends))
    ends, others, both = ends[order], others[order], both[order]
    counts = np.bincount(ends, minlength=n)
    slots = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbours = np.full((n, counts.max() if n else 0), -1)
    table = np.zeros(neighbours.shape)
    neighbours[ends, slots], table[ends, slots] = others, both

    kernel = pair_kernel(q, form or ("ising" if q == 2 else "standard"))
    fields = np.zeros((n, q)) if field is None else np.asarray(field, dtype=np.float64)
    if fields.shape == (n,) and q == 2:
        fields = np.stack([-fields, fields], axis=1)
    return Hamiltonian(lattice, q, kernel, neighbours, table, fields, name, dict(parameters or {}))


def _invariant(
    name: str, shape: Sequence[int], q: int, form: str, shells: dict[int, float], parameters: dict[str, Any]
) -> Hamiltonian:
    lattice, q = Lattice(tuple(shape)), check_q(q)
    tables = [lattice.neighbours(shell) for shell in shells]
    couplings = [np.full(table.shape, float(J)) for table, J in zip(tables, shells.values(), strict=True)]
    kernel = pair_kernel(q, form)
    # For Ising spins, K[:, 1] is the spin: the field points up. For Potts it favours state 0.
    favoured = kernel[:, 1 if form == "ising" else 0]
    fields = np.tile(float(parameters["field"]) * favoured, (lattice.sites, 1))
    return Hamiltonian(
        lattice, q, kernel, np.concatenate(tables, axis=1), np.concatenate(couplings, axis=1), fields,
        name, parameters,
    )  # fmt: skip


#: Makers of models that exist on any lattice.
_INVARIANT: dict[str, Callable[..., Hamiltonian]] = {"ising": ising, "ising_nnn": ising_nnn, "potts": potts}
