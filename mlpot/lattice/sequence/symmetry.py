"""Symmetries of the distribution: declared by the user, used to augment data and to average p.

Averaging p over a group keeps it normalised and makes it exactly invariant:
``p(s) = mean over g of p0(g s)``. To draw from it, draw from p0 and apply a random element. As the
logarithm is concave, the cross-entropy of the average on invariant data is never above that of p0.
"""

from __future__ import annotations

import math
from itertools import permutations, product
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpot.errors import RecipeError
from mlpot.lattice.sequence.model import Autoregressive, SequenceModel
from mlpot.recipe import Recipe


class Symmetry(Recipe):
    """Which transformations leave the distribution as it is; none unless declared.

    Attributes
    ----------
    states
        ``all``: any permutation of the q states (Potts; the spin flip of two states). ``cyclic``,
        ``dihedral``: rotations, and rotations with reflections, of a clock. ``none``.
    point
        Reflections of the axes and exchanges of axes of equal length (D4 on a square).
    translations
        All translations of the periodic lattice.
    """

    states: Literal["none", "cyclic", "dihedral", "all"] = "none"
    point: bool = False
    translations: bool = False

    @property
    def trivial(self) -> bool:
        """Whether nothing is declared."""
        return self.states == "none" and not self.point and not self.translations


class Group:
    """The transformations of a symmetry on one lattice: every one of places with every one of states.

    Attributes
    ----------
    places
        ``(G, N)``: the transformed state at site i is that of the original at ``places[g, i]``.
    colours
        ``(C, q)``: the new state for each old one.
    """

    def __init__(self, symmetry: Symmetry, shape: tuple[int, ...], q: int) -> None:
        self.places = torch.as_tensor(_places(shape, symmetry.point, symmetry.translations))
        self.colours = torch.as_tensor(_colours(q, symmetry.states))

    def __len__(self) -> int:
        return len(self.places) * len(self.colours)

    def images(self, states: Tensor) -> Tensor:
        """Return all images of flat states ``(B, N)``: shape ``(B, G C, N)``."""
        moved = states[:, self.places]
        return self.colours[:, moved].permute(1, 2, 0, 3).flatten(1, 2)

    def random(self, states: Tensor, places: Tensor, colours: Tensor) -> Tensor:
        """Return flat states ``(B, N)``, each transformed by an element.

        Parameters
        ----------
        states
            Integers, ``(B, N)``.
        places, colours
            Numbers in [0, 1), ``(B,)``, float64, that choose the elements uniformly.
        """
        if len(self.places) > 1:
            states = states.gather(1, self.places[(places * len(self.places)).long()])
        if len(self.colours) > 1:
            states = self.colours[(colours * len(self.colours)).long()].gather(1, states)
        return states


class Averaged(SequenceModel):
    """A sequence model averaged over a group; normalised and sampled exactly as the one inside.

    One evaluation costs as many of the inner model as the group has elements.

    Parameters
    ----------
    inner
        Model to average.
    symmetry
        Over what.
    """

    def __init__(self, inner: Autoregressive, symmetry: Symmetry) -> None:
        super().__init__(inner.shape, inner.q)
        self.inner = inner
        self.symmetry = symmetry
        self.group = Group(symmetry, inner.shape, inner.q)

    def log_prob_flat(self, states: Tensor) -> Tensor:
        """Return the logarithm of the mean probability of the images, shape ``(B,)``, float64."""
        images = self.group.images(states)
        logs = self.inner.log_prob_flat(images.flatten(0, 1)).view(len(states), -1)
        return logs.logsumexp(1) - math.log(len(self.group))

    def sample_flat(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Return states of the inner model, each transformed by a random element."""
        states = self.inner.sample_flat(n, generator)
        chosen = torch.rand(2, n, generator=generator, dtype=torch.float64)
        return self.group.random(states, chosen[0], chosen[1])


def _places(shape: tuple[int, ...], point: bool, translations: bool) -> npt.NDArray[np.int64]:
    sites = np.arange(math.prod(shape)).reshape(shape)
    images = [sites]
    if point:
        turns = [turn for turn in permutations(range(len(shape))) if tuple(shape[i] for i in turn) == shape]
        signs = list(product([1, -1], repeat=len(shape)))
        images = [
            sites.transpose(turn)[tuple(slice(None, None, sign) for sign in flips)]
            for turn in turns
            for flips in signs
        ]
    if translations:
        axes = tuple(range(len(shape)))
        images = [np.roll(image, shift, axes) for image in images for shift in np.ndindex(*shape)]
    return np.stack([image.reshape(-1) for image in images])


def _colours(q: int, kind: str) -> npt.NDArray[np.int64]:
    identity = np.arange(q)
    if kind == "none":
        return identity[None]
    if kind == "all":
        if q > 5:
            raise RecipeError(
                f"symmetry: all permutations of {q} states are {math.factorial(q)}; "
                "declare cyclic or dihedral."
            )
        return np.array(list(permutations(range(q))))
    rotated = [(identity + shift) % q for shift in range(q)]
    if kind == "dihedral" and q > 2:
        rotated += [(shift - identity) % q for shift in range(q)]
    return np.array(rotated)
