"""Which pair couplings are free: by displacement on a lattice of equal sites, or for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_q
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tiles import StateSymmetry, simplex


@dataclass(frozen=True, eq=False)
class PairBasis:
    r"""A linear space of pair energies.

    In units of T: :math:`-E/T = \sum_{i<j} \phi(s_i)^T A_{ij} \phi(s_j) + \sum_i h_i^T \phi(s_i)`
    with states as vectors (:func:`~mlpot.lattice.tiles.simplex`, which is the zero-sum gauge), and
    A and h linear in the parameters.

    Attributes
    ----------
    lattice, q
        The model's.
    names
        Of the parameters.
    matrices : sparse ((N r)^2, P)
        A of all pairs, flattened, r = q - 1.
    fields : sparse (N r, P)
        h of all sites.
    displacements : (K, d) or None
        Where all sites are alike.
    """

    lattice: Lattice
    q: int
    names: tuple[str, ...]
    matrices: sparse.csr_matrix
    fields: sparse.csr_matrix
    displacements: np.ndarray | None

    def energy(self, parameters: np.ndarray, temperature: float) -> PairwiseEnergy:
        """Return the energy with parameters (P,) that were fitted in units of a temperature."""
        n, r, phi = self.lattice.sites, self.q - 1, simplex(self.q)
        dense = (self.matrices @ parameters).reshape(n, r, n, r)
        values = -temperature * np.einsum("ac,icjd,bd->ijab", phi, dense, phi)
        fields = -temperature * (self.fields @ parameters).reshape(n, r) @ phi.T
        if self.displacements is not None:
            neighbours = np.stack([self.lattice.shift(vector) for vector in self.displacements], axis=-1)
            # Displacements that lead to the same site share what was fitted to their sum.
            shared = (neighbours[0][:, None] == neighbours[0]).sum(0)
            matrices = values[0, neighbours[0]] / shared[:, None, None]
            kinds = np.tile(np.arange(len(matrices)), (n, 1))
        else:
            bonded = (dense != 0).any((1, 3))
            width = max(1, int(bonded.sum(1).max()))
            order = np.argsort(~bonded, axis=1, kind="stable")[:, :width]
            present = np.take_along_axis(bonded, order, axis=1)
            neighbours = np.where(present, order, -1)
            kinds = np.where(present, np.arange(n)[:, None] * width + np.arange(width), 0)
            matrices = values[np.arange(n)[:, None], order].reshape(n * width, self.q, self.q)
        return PairwiseEnergy(
            self.lattice,
            self.q,
            neighbours,
            kinds,
            np.ascontiguousarray(matrices),
            fields,
            self.displacements,
        )


def _forms(q: int, states: StateSymmetry, symmetric: bool) -> list[tuple[str, np.ndarray]]:
    """Return the matrices A, (r, r), that a symmetry of the states allows, each with a name."""
    r = check_q(q) - 1
    if states == "full" or q == 2:
        return [("", np.eye(r))]
    if states == "cyclic":
        forms = []
        for m in range(1, q // 2 + 1):
            chosen = [2 * m - 2, 2 * m - 1] if 2 * m < q else [r - 1]
            forms.append((f" harmonic {m}", np.diag(np.isin(np.arange(r), chosen).astype(float))))
        return forms
    if states != "none":
        raise LatticeError(f"symmetry of states: {states!r} is unknown; known: none, cyclic, full.")
    forms = []
    for c in range(r):
        for d in range(c if symmetric else 0, r):
            matrix = np.zeros((r, r))
            matrix[c, d] = 1
            if symmetric:
                matrix[d, c] = 1
            forms.append((f" component {c},{d}", matrix))
    return forms


def by_displacement(
    shape: Sequence[int],
    q: int = 2,
    shells: int = 12,
    symmetric: bool = True,
    states: StateSymmetry = "full",
) -> PairBasis:
    """Return couplings that depend on the displacement alone.

    Parameters
    ----------
    shape, q
        Of the lattice, and states of a site.
    shells
        Shells of neighbours, nearest first; the couplings of a lattice reach half its length at most.
    symmetric
        One coupling per shell of equal distance; ``False``: one per displacement (and its opposite).
    states
        Symmetry of the states; ``"none"`` also frees a field, the same on all sites.

    Raises
    ------
    LatticeError
        If a shell reaches beyond half the lattice, where couplings can no longer be told apart.
    """
    lattice = Lattice(tuple(shape))
    n, r = lattice.sites, q - 1
    forms = _forms(q, states, symmetric)
    names: list[str] = []
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    everything = []
    for shell in range(1, shells + 1):
        vectors = lattice.displacements(shell)
        reach = np.abs(vectors).max(0)
        if (2 * reach > np.array(lattice.shape)).any():
            raise LatticeError(
                f"shells: shell {shell} reaches {reach.max()} sites, more than half of the lattice "
                f"{lattice.shape}; take at most {shell - 1}."
            )
        everything.append(vectors)
        half = vectors[: len(vectors) // 2]
        groups = [half] if symmetric else [vector[None] for vector in half]
        for group in groups:
            for suffix, form in forms:
                # One place may be reached by several displacements of a shell: they add up there.
                rows, values = [], []
                for vector in group:
                    for towards, matrix in ((vector, form), (-vector, form.T)):
                        other = lattice.shift(towards)
                        a, b = np.nonzero(matrix)
                        flat = ((np.arange(n)[:, None] * r + a) * n + other[:, None]) * r + b
                        rows.append(flat.ravel())
                        values.append(np.tile(matrix[a, b], n))
                where = f"shell {shell}" if symmetric else f"displacement {tuple(group[0].tolist())}"
                names.append(where + suffix)
                columns.append((np.concatenate(rows), np.concatenate(values)))
    field_columns = [np.arange(n) * r + c for c in range(r)] if states == "none" else []
    return _assemble(lattice, q, names, columns, field_columns, np.concatenate(everything))


def every_pair(shape: Sequence[int], q: int = 2, states: StateSymmetry = "full") -> PairBasis:
    """Return a free coupling for every pair of sites, for disordered models.

    ``states="none"`` also frees a field on every site.
    """
    lattice = Lattice(tuple(shape))
    n, r = lattice.sites, q - 1
    names, columns = [], []
    for i in range(n):
        for j in range(i + 1, n):
            for suffix, form in _forms(q, states, symmetric=False):
                a, b = np.nonzero(form)
                there = ((i * r + a) * n + j) * r + b
                back = ((j * r + b) * n + i) * r + a
                names.append(f"pair {i},{j}{suffix}")
                columns.append((np.concatenate([there, back]), np.tile(form[a, b], 2)))
    fields = [np.array([place]) for place in range(n * r)] if states == "none" else []
    return _assemble(lattice, q, names, columns, fields, None)


def _assemble(
    lattice: Lattice,
    q: int,
    names: list[str],
    columns: list[tuple[np.ndarray, np.ndarray]],
    field_columns: list[np.ndarray],
    displacements: np.ndarray | None,
) -> PairBasis:
    size = lattice.sites * (q - 1)
    count = len(columns) + len(field_columns)
    rows = np.concatenate([rows for rows, _ in columns])
    values = np.concatenate([values for _, values in columns])
    which = np.repeat(np.arange(len(columns)), [len(rows) for rows, _ in columns])
    matrices = sparse.csr_matrix((values, (rows, which)), shape=(size * size, count))
    fields = sparse.lil_matrix((size, count))
    for index, places in enumerate(field_columns):
        fields[places, len(columns) + index] = 1
    every_name = names + [f"field {index}" for index in range(len(field_columns))]
    return PairBasis(lattice, q, tuple(every_name), matrices, fields.tocsr(), displacements)
