"""Extensive deep neural network: one network on every tile of a lattice, its outputs summed.

K. Mills, K. Ryczko, I. Luchak, A. Domurad, C. Beeler and I. Tamblyn, "Extensive deep neural
networks for transferring small scale learning to large scale systems", Chem. Sci. 10, 4129 (2019).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mlpot.atomic import replacing
from mlpot.errors import LatticeError, ModelFileError
from mlpot.lattice.alphabet import check_q, check_states
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tile_energy import NetworkEnergy, TableEnergy
from mlpot.lattice.tiles import StateSymmetry, Tiling, simplex, state_symmetries

#: Tiles evaluated at once without gradients.
_CHUNK = 1 << 16

FORMAT = "mlpot-ednn-1"


@dataclass(frozen=True)
class EDNNSettings:
    """What defines an :class:`EDNN` besides its weights.

    Parameters
    ----------
    shape
        Of the lattice.
    q
        States of a site.
    focus, context, everywhere
        See :class:`~mlpot.lattice.tiles.Tiling`.
    hidden
        Widths of the hidden layers; none leaves what ``pairs`` adds, or a linear function.
    pairs
        Add a quadratic form of the tile's states to the perceptron, which then learns only what
        pair couplings within a tile do not explain.
    symmetric
        Average each tile over its rotations and reflections.
    states
        Average each tile over permutations of the states, see
        :func:`~mlpot.lattice.tiles.state_symmetries`; ``"none"`` if a field acts.
    shared
        One network for all tiles. ``False`` gives each tile one of its own, for couplings that
        belong to their sites; such an energy has no other size, and tiles are not turned.
    """

    shape: tuple[int, ...]
    q: int = 2
    focus: int = 2
    context: int = 1
    everywhere: bool = False
    hidden: tuple[int, ...] = (32, 64)
    pairs: bool = False
    symmetric: bool = False
    states: StateSymmetry = "none"
    shared: bool = True

    @property
    def tiling(self) -> Tiling:
        """Where the tiles are; :class:`LatticeError` where they do not fit."""
        return Tiling(tuple(self.shape), self.focus, self.context, self.everywhere)


class EDNN(nn.Module):
    """An energy that is the sum of one network over tiles.

    The input of a tile is each state as a vector (:func:`~mlpot.lattice.tiles.simplex`): the spin
    for q = 2, in general the one-hot code less its redundant direction. Gathering tiles by their
    site numbers is a circular convolution with stride f in any dimension.

    Where a tile has few configurations (q^S up to the number of tiles in a batch) the network is
    evaluated once on each of them and batches look the result up: the same function, faster.

    Parameters
    ----------
    settings
        Architecture.
    seed
        Of the initial weights.

    Raises
    ------
    LatticeError
        If tiles do not fit the lattice, or the settings contradict each other.
    """

    offset: Tensor
    mask: Tensor
    sites: Tensor
    site_tiles: Tensor
    site_slots: Tensor
    turns: Tensor
    swaps: Tensor
    powers: Tensor

    def __init__(self, settings: EDNNSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.q = check_q(settings.q)
        self.tiling = settings.tiling
        if not settings.shared and settings.symmetric:
            raise LatticeError(
                "EDNN: with one network per tile (shared: false) tiles are not turned; symmetric: false."
            )
        if not settings.hidden and not settings.pairs:
            raise LatticeError("EDNN: without hidden layers and without pairs no interaction can be learned.")
        if any(width < 1 for width in settings.hidden):
            raise LatticeError(f"EDNN: hidden layers {settings.hidden} have a width below 1.")
        self.networks = 1 if settings.shared else self.tiling.count
        inputs = self.tiling.slots * (self.q - 1)
        generator = torch.Generator().manual_seed(seed)
        widths = [inputs, *settings.hidden, 1] if settings.hidden else []
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for wide, narrow in pairwise(widths):
            scale = (1 if narrow > 1 or len(widths) == 2 else 0.1) / wide**0.5
            weight = torch.randn((self.networks, wide, narrow), generator=generator) * scale
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros((self.networks, 1, narrow))))
        if settings.pairs:
            self.quadratic = nn.Parameter(torch.zeros((self.networks, inputs, inputs)))
            blocks = torch.ones((self.tiling.slots, self.tiling.slots)).triu(1)
            self.register_buffer("mask", blocks.kron(torch.ones((self.q - 1, self.q - 1))), persistent=False)
        self.register_buffer("offset", torch.zeros((self.networks, 1), dtype=torch.float64))
        self._register_geometry()
        self._image_codes: Tensor | None = None
        self._orbits: tuple[Tensor, Tensor] | None = None
        self._drawn: tuple[int, torch.Generator] | None = None

    def _register_geometry(self) -> None:
        tiles, slots = self.tiling.of_site
        turns = self.tiling.symmetries() if self.settings.symmetric else np.arange(self.tiling.slots)[None]
        swaps = state_symmetries(self.q, self.settings.states)
        for name, value in {
            "sites": self.tiling.sites,
            "site_tiles": tiles,
            "site_slots": slots,
            "turns": turns,
            "swaps": swaps,
            "powers": self.q ** np.arange(self.tiling.slots, dtype=np.int64),
        }.items():
            self.register_buffer(name, torch.as_tensor(value), persistent=False)

    @property
    def embedding(self) -> Tensor:
        """The vector of each state, (q, q - 1), in the dtype of the weights."""
        return torch.as_tensor(simplex(self.q), dtype=next(self.parameters()).dtype)

    @property
    def configurations(self) -> int:
        """Number of configurations of a tile, q^S."""
        return self.q**self.tiling.slots

    def _perceptron(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """Return networks (all R, or those numbered ``which``) of vectors (R, M, S (q - 1)): (R, M)."""
        result = self._network(x, which)
        if self.settings.pairs:
            form = (self.quadratic * self.mask).to(x)
            result = result + ((x @ (form if which is None else form[which])) * x).sum(-1)
        return result

    def _network(self, x: Tensor, which: Tensor | None = None) -> Tensor:
        """Return the perceptron alone; see :meth:`_perceptron`."""
        result = x.new_zeros(x.shape[:2])
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if which is not None:
                weight, bias = weight[which], bias[which]
            x = torch.baddbmm(bias, x, weight)
            if layer + 1 < len(self.weights):
                x = nn.functional.silu(x)
            else:
                result = x[..., 0]
        return result

    def beyond_pairs(self, tiles: int, generator: torch.Generator) -> Tensor:
        """Return the variance of the perceptron's part of the energy over random tiles, with gradients.

        What the model says beyond pair couplings (``pairs``), as a number to keep small where
        samples do not ask for it; squared units of J, a scalar.
        """
        digits = torch.randint(self.q, (1, tiles, self.tiling.slots), generator=generator)
        x = self.embedding[digits].flatten(-2).expand(self.networks, -1, -1)
        return self._network(x).var(1).mean()

    def tile_energies(self, digits: Tensor, which: Tensor | None = None) -> Tensor:
        """Return the symmetrised energy of tiles.

        Parameters
        ----------
        digits
            (R, M, S) int64: states of M tiles for each of R networks.
        which
            (R,) numbers of these networks; all of them by default.

        Returns
        -------
        Tensor
            (R, M), in the dtype of the weights.
        """
        embedding = self.embedding
        images = [
            self._perceptron(embedding[swap[digits[..., turn]]].flatten(-2), which)
            for turn in self.turns
            for swap in self.swaps
        ]
        offset = self.offset if which is None else self.offset[which]
        return sum(images[1:], images[0]) / len(images) - offset.to(images[0].dtype)

    def _all_digits(self) -> Tensor:
        codes = torch.arange(self.configurations, device=self.offset.device)
        return codes[:, None] // self.powers % self.q

    def table(self) -> Tensor:
        """Return the energy of every configuration of a tile, (R, q^S), with gradients.

        The configuration has the number sum over slots of state q^slot. All permutations of a
        configuration have the same energy, so the network sees each configuration once.
        """
        digits = self._all_digits()
        if len(self.turns) * len(self.swaps) == 1:
            plain = self._perceptron(self.embedding[digits].flatten(-2).expand(self.networks, -1, -1))
        elif self._drawn is not None:
            plain = self._drawn_images(*self._drawn)
        else:
            every = self._perceptron(self.embedding[digits].flatten(-2).expand(self.networks, -1, -1))
            plain = every[:, self._images(digits)].mean(-1)
        return plain - self.offset.to(plain.dtype)

    def draw_images(self, count: int | None, seed: int = 0) -> None:
        """Average over a few images of each configuration, drawn anew at every evaluation, in :meth:`table`.

        For training: configurations that are images of each other still share one energy, but only
        ``count`` of the (16 for Ising with D4) images are evaluated: an augmentation in place of
        the exact average, at a fraction of the cost. ``None`` returns to the exact average, which
        :meth:`energy` and :meth:`frozen` always take.
        """
        self._drawn = None if count is None else (count, torch.Generator().manual_seed(seed))

    def _drawn_images(self, count: int, generator: torch.Generator) -> Tensor:
        images = self._images(self._all_digits())
        if self._orbits is None:
            self._orbits = images.min(1).values.unique(return_inverse=True)
        first, orbit = self._orbits
        drawn = torch.randint(images.shape[1], (len(first), count), generator=generator)
        digits = images[first].gather(1, drawn)[..., None] // self.powers % self.q
        x = self.embedding[digits].flatten(-2).flatten(0, 1).expand(self.networks, -1, -1)
        return self._perceptron(x).unflatten(1, (len(first), count)).mean(-1)[:, orbit]

    def _images(self, digits: Tensor) -> Tensor:
        """Return the numbers of the images of every configuration, (q^S, G); computed once."""
        if self._image_codes is None:
            self._image_codes = torch.stack(
                [(swap[digits[:, turn]] * self.powers).sum(-1) for turn in self.turns for swap in self.swaps],
                -1,
            )
        return self._image_codes

    def _use_table(self, evaluations: int) -> bool:
        return self.configurations * self.networks <= evaluations

    def _codes(self, states: Tensor) -> Tensor:
        """Return the row of each tile in the flattened table, (B, T)."""
        codes = (states[:, self.sites] * self.powers).sum(-1)
        if not self.settings.shared:
            codes = codes + torch.arange(self.tiling.count) * self.configurations
        return codes

    def _flat(self, states: Tensor) -> Tensor:
        if tuple(states.shape[1:]) != self.tiling.shape:
            raise LatticeError(
                f"states: shape {tuple(states.shape[1:])}, the energy is of {self.tiling.shape}; "
                "resized() returns it for another."
            )
        return states.reshape(len(states), -1).long()

    def forward(self, states: Tensor) -> Tensor:
        r"""Return the energy of states (B, \*shape), integers: (B,), units of J, with gradients."""
        flat = self._flat(states)
        if self._use_table(flat.shape[0] * self.tiling.count):
            return self.table().flatten()[self._codes(flat)].sum(1) * self.tiling.weight
        digits = flat[:, self.sites]
        if self.settings.shared:
            energies = self.tile_energies(digits.reshape(1, -1, self.tiling.slots)).reshape(len(flat), -1)
        else:
            energies = self.tile_energies(digits.transpose(0, 1)).T
        return energies.sum(1) * self.tiling.weight

    def conditional_energies(self, states: Tensor, sites: Tensor | None = None) -> Tensor:
        r"""Return the energy of putting each state on each site, all others as they are.

        Parameters
        ----------
        states
            (B, \*shape), integers.
        sites
            (n,) numbers of the sites, all by default.

        Returns
        -------
        Tensor
            (B, n, q), with gradients; equal to the total energies up to a constant for each
            configuration and site. Only the tiles that contain a site are evaluated.
        """
        flat = self._flat(states)
        wanted = torch.arange(flat.shape[1]) if sites is None else sites
        tiles, slots = self.site_tiles[wanted], self.site_slots[wanted].clamp(min=0)  # (n, K), tile -1 pads
        if self._use_table(len(flat) * len(wanted) * tiles.shape[1] * self.q):
            power = self.powers[slots]
            without = self._codes(flat)[:, tiles] - flat[:, wanted, None] * power
            energies = self.table().flatten()[without[..., None] + torch.arange(self.q) * power[..., None]]
            return torch.where(tiles[..., None] < 0, 0, energies).sum(2) * self.tiling.weight
        digits = flat[:, self.sites[tiles]]  # (B, n, K, S); padding reads the last tile and is masked
        digits = digits[..., None, :].repeat_interleave(self.q, -2)
        here = nn.functional.one_hot(slots, self.tiling.slots).bool()[:, :, None, :]
        trial = torch.arange(self.q)[:, None].expand(self.q, self.tiling.slots)
        digits = torch.where(here, trial, digits)  # (B, n, K, q, S)
        if self.settings.shared:
            energies = self.tile_energies(digits.reshape(1, -1, self.tiling.slots)).reshape(digits.shape[:-1])
        else:
            batch, n, k, _, size = digits.shape
            each = digits.permute(1, 2, 0, 3, 4).reshape(n * k, batch * self.q, size)
            energies = self.tile_energies(each, tiles.reshape(-1))
            energies = energies.reshape(n, k, batch, self.q).permute(2, 0, 1, 3)
        return torch.where(tiles[..., None] < 0, 0, energies).sum(2) * self.tiling.weight

    @torch.no_grad()
    def set_pairs(self, energy: PairwiseEnergy) -> None:
        """Let the quadratic form of the tiles be a pair energy, and the perceptron start from nothing.

        Each bond is shared equally by the tiles that see both its ends, so that the total energy is
        the pair energy's exactly (fields excepted, which must be zero).

        Parameters
        ----------
        energy
            Couplings by displacement, none beyond the reach of the tiles.

        Raises
        ------
        LatticeError
            For couplings of single sites or beyond that reach, fields, or a model without ``pairs`` or
            with a network for each tile.
        """
        if not (self.settings.pairs and self.settings.shared):
            raise LatticeError("EDNN: pair couplings need pairs: true and shared: true.")
        if energy.displacements is None or energy.fields.any() or energy.q != self.q:
            raise LatticeError(
                "EDNN: starts from couplings by displacement, of the same q and without fields."
            )
        width, r = self.tiling.width, self.q - 1
        if np.abs(energy.displacements).max() > self.tiling.reach:
            raise LatticeError(
                f"EDNN: a coupling reaches {np.abs(energy.displacements).max()} sites, tiles see all pairs "
                f"only up to {self.tiling.reach} apart; take fewer shells or more context."
            )
        by_displacement = dict(
            zip(map(tuple, energy.displacements.tolist()), energy.matrices[energy.kinds[0]], strict=True)
        )
        phi = simplex(self.q)
        grid = np.stack(np.unravel_index(np.arange(self.tiling.slots), (width,) * self.tiling.dimensions), -1)
        step = self.tiling.step
        form = torch.zeros_like(self.quadratic[0]).reshape(self.tiling.slots, r, self.tiling.slots, r)
        for k in range(self.tiling.slots):
            for other in range(k + 1, self.tiling.slots):
                matrix = by_displacement.get(tuple((grid[other] - grid[k]).tolist()))
                if matrix is None:
                    continue
                low, high = np.minimum(grid[k], grid[other]), np.maximum(grid[k], grid[other])
                # Tiles that see both ends: this one shifted by steps either way while both stay inside.
                seen = np.prod(low // step + (width - 1 - high) // step + 1)
                value = (r / self.q) ** 2 * phi.T @ matrix @ phi / (seen * self.tiling.weight)
                form[k, :, other, :] = torch.as_tensor(value)
        self.quadratic[0] = form.reshape(self.quadratic[0].shape)
        if self.weights:
            self.weights[-1].zero_()
            self.biases[-1].zero_()

    def centre(self) -> None:
        """Shift the energy so that its mean over uniformly random states is zero, on every lattice.

        Exact where the table of a tile has at most 2^20 entries; otherwise the mean over 2^18
        random tiles. With this zero, log Z = N log q at infinite temperature.
        """
        with torch.no_grad():
            if self.configurations <= 1 << 20:
                mean = torch.as_tensor(self._table64()).mean(1, keepdim=True)
            else:
                generator = torch.Generator().manual_seed(0)
                size = (self.networks, 1 << 10, self.tiling.slots)
                parts = [
                    self.tile_energies(torch.randint(self.q, size, generator=generator)).double()
                    for _ in range(1 << 8)
                ]
                mean = torch.cat(parts, 1).mean(1, keepdim=True)
            self.offset += mean

    def frozen(self, largest_table: int = 1 << 24) -> TableEnergy | NetworkEnergy:
        """Return the energy as it is now, in float64, for Monte Carlo and everything without gradients.

        Parameters
        ----------
        largest_table
            Up to so many configurations (of all networks together) are tabulated; beyond, the
            network is evaluated.
        """
        if self.configurations * self.networks <= largest_table:
            return TableEnergy(self.tiling, self.q, self._table64())
        form = None
        if self.settings.pairs:
            form = _array(self.quadratic * self.mask)
        return NetworkEnergy.of_images(
            self.tiling,
            self.q,
            [_array(weight) for weight in self.weights],
            [_array(bias)[:, 0] for bias in self.biases],
            form,
            _array(self.turns).astype(int),
            _array(self.swaps).astype(int),
            _array(self.offset)[:, 0],
        )

    @torch.no_grad()
    def _table64(self) -> np.ndarray:
        """Return the table in float64 throughout, chunk by chunk."""
        twin = deepcopy(self).double()
        parts = []
        for start in range(0, self.configurations, _CHUNK):
            codes = torch.arange(start, min(start + _CHUNK, self.configurations))
            digits = (codes[:, None] // self.powers % self.q).expand(self.networks, -1, -1)
            parts.append(twin.tile_energies(digits).numpy())
        return np.concatenate(parts, axis=1)

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of states (samples, \*shape), checked: (samples,) float64, units of J."""
        states = check_states(states, self.q, self.tiling.shape)
        step = max(1, _CHUNK // self.tiling.count)
        twin = deepcopy(self).double()
        with torch.no_grad():
            if self._use_table(len(states) * self.tiling.count):
                return TableEnergy(self.tiling, self.q, self._table64()).energy(states)
            parts = [twin(torch.as_tensor(states[i : i + step])).numpy() for i in range(0, len(states), step)]
        return np.concatenate(parts)

    def resized(self, shape: Sequence[int]) -> EDNN:
        """Return the same network on a lattice of another size; :class:`LatticeError` if it has none."""
        if not self.settings.shared:
            raise LatticeError("EDNN: has one network per tile (shared: false), and no other size.")
        self.tiling.resized(shape)
        other = EDNN(replace(self.settings, shape=tuple(shape))).to(next(self.parameters()).dtype)
        other.load_state_dict(self.state_dict())
        return other

    def save(self, path: str | Path) -> None:
        """Write settings and weights to a ``.safetensors`` file."""
        tensors = {name: value.detach().clone().contiguous() for name, value in self.state_dict().items()}
        with replacing(path) as partial:
            save_file(tensors, partial, {"format": FORMAT, "settings": json.dumps(asdict(self.settings))})

    @classmethod
    def load(cls, path: str | Path) -> EDNN:
        """Read what :meth:`save` wrote; :class:`ModelFileError` for anything else."""
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"{path}: there is no such file.")
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.get("format") != FORMAT:
                raise ModelFileError(f"{path}: is no EDNN of mlpot (format {header.get('format')!r}).")
            known: dict[str, Any] = json.loads(header["settings"])
            known |= {"shape": tuple(known["shape"]), "hidden": tuple(known["hidden"])}
            model = cls(EDNNSettings(**known))
            model.load_state_dict(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"{path}: cannot be read as an EDNN ({error}); write it again.") from None
        return model


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
