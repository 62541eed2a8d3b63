r"""Equilibrium samples: configurations at one temperature, in a file or in memory.

A sample file is a NumPy ``.npz`` archive with ``states``, integers 0 .. q-1 of shape (samples,
\*lattice shape), and ``metadata``, a JSON string. Files of one's own need ``states`` only (a plain
``.npy`` will do); temperature and q are then said when reading.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mlpot.atomic import replacing
from mlpot.errors import DataError
from mlpot.lattice.alphabet import check_q, check_states, order_parameter, populations
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.hamiltonian import Hamiltonian

FORMAT = "mlpot lattice samples"
FORMAT_VERSION = 1

#: A drift is called visible where chance would show as much once in a million tests.
VISIBLE = 1e-6
#: Blocks into which each part of a series is averaged before parts are compared.
_BLOCKS = 10


@dataclass(frozen=True)
class Drift:
    """What a drift test saw.

    Attributes
    ----------
    quantities : dict
        For each quantity, means over the start, the first and the second half, and the smaller
        p-value of the two comparisons.
    p_value
        The smallest, corrected for the number of comparisons (Bonferroni); NaN if not tested.
    reason
        Why nothing could be tested; empty if it was.
    """

    quantities: dict[str, dict[str, float]]
    p_value: float
    reason: str = ""

    @property
    def is_visible(self) -> bool:
        """Whether the samples are visibly not in equilibrium."""
        return self.p_value < VISIBLE


@dataclass(frozen=True, eq=False)
class Samples:
    r"""Configurations at one temperature, in order of time.

    Parameters
    ----------
    states : (samples, \*shape) int8
        0 .. q-1. Where several chains ran, time goes first: the k-th configuration of chain c is
        number k * chains + c.
    temperature
        In units of J/k_B, positive.
    q
        Size of the alphabet.
    hamiltonian
        As :meth:`~mlpot.lattice.hamiltonian.Hamiltonian.to_dict` gives it; ``None`` if unknown.
    autocorrelation
        What the sampler measured (plain JSON); ``None`` if unknown.
    provenance
        How they were made (plain JSON); ``chains``, the number of independent chains, is used by
        :meth:`drift_test`.

    Raises
    ------
    DataError
        For states outside the alphabet, another shape than the Hamiltonian's, another q than
        its, or a temperature that is not positive.
    """

    states: np.ndarray
    temperature: float
    q: int
    hamiltonian: dict[str, Any] | None = None
    autocorrelation: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    source: str = "samples"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise DataError(
                f"{self.source}: temperature {self.temperature}; it is a positive number (J/k_B)."
            )
        model = self.model
        if model is not None and model.q != self.q:
            raise DataError(
                f"{self.source}: q = {self.q}, but its Hamiltonian ({model.name}) has q = {model.q}."
            )
        shape = None if model is None else model.lattice.shape
        states = check_states(self.states, check_q(self.q), shape, self.source)
        Lattice(states.shape[1:])
        object.__setattr__(self, "states", states)
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "q", int(self.q))

    def __len__(self) -> int:
        return len(self.states)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the lattice."""
        return self.states.shape[1:]

    @property
    def lattice(self) -> Lattice:
        """The lattice."""
        return Lattice(self.shape)

    @property
    def model(self) -> Hamiltonian | None:
        """The Hamiltonian, where it is known."""
        return None if self.hamiltonian is None else Hamiltonian.from_dict(self.hamiltonian)

    @property
    def chains(self) -> int:
        """Independent chains among which the samples alternate; 1 if nothing is known."""
        chains = int(self.provenance.get("chains", 1))
        return chains if chains > 0 and len(self) % chains == 0 else 1

    def take(self, count: int) -> Samples:
        """Return the first ``count`` samples; :class:`DataError` if there are fewer."""
        if not 0 < count <= len(self):
            raise DataError(f"{self.source}: {count} samples asked for, there are {len(self)}.")
        return replace(self, states=self.states[:count])

    def split(self, held_out: float) -> tuple[Samples, Samples]:
        """Return samples to learn from and the last ones, a fraction ``held_out``, to judge by.

        The last, not random ones: neighbours in a correlated stream are alike, and would make the
        judgement flattering.
        """
        last = round(len(self) * held_out)
        if not 0 < last < len(self):
            raise DataError(
                f"{self.source}: a fraction {held_out} of {len(self)} samples leaves one part empty."
            )
        first = len(self) - last
        return replace(self, states=self.states[:first]), replace(self, states=self.states[first:])

    def require(self, shape: tuple[int, ...] | None = None, q: int | None = None) -> None:
        """Raise :class:`DataError` unless the samples have this lattice and alphabet."""
        if shape is not None and tuple(shape) != self.shape:
            raise DataError(f"{self.source}: its lattice is {self.shape}, not {tuple(shape)} as asked for.")
        if q is not None and q != self.q:
            raise DataError(f"{self.source}: its alphabet has q = {self.q}, not {q} as asked for.")

    def drift_test(self) -> Drift:
        """Compare early samples with late ones, by quantities that need no energy.

        The order parameter, the share of the most frequent state and the fraction of equal
        neighbours along each axis (each averaged over chains) are compared between the first and
        the second half, by Welch's t test on ten block means of each, and between the first tenth
        and the second half, by the fluctuations of the latter (J. Geweke, in Bayesian Statistics
        4, 1992). Blocks shorter than the autocorrelation make the test too strict; it speaks only
        of what is beyond doubt (:data:`VISIBLE`).
        """
        times = len(self) // self.chains
        if times < 4 * _BLOCKS:
            return Drift({}, math.nan, f"only {times} samples in time; a drift shows from {4 * _BLOCKS} on")
        series = {name: self._in_time(values) for name, values in self._observed().items()}
        quantities: dict[str, dict[str, float]] = {}
        for name, values in series.items():
            start, first, second = values[: max(times // 10, 2)], values[: times // 2], values[times // 2 :]
            p = min(_transient(start, second, 4 / self.lattice.sites), _welch(first, second))
            quantities[name] = {
                "start": float(start.mean()), "first": float(first.mean()), "second": float(second.mean()),
                "p": p,
            }  # fmt: skip
        smallest = min(entry["p"] for entry in quantities.values())
        return Drift(quantities, min(1.0, smallest * 2 * len(quantities)))

    def require_equilibrium(self) -> Drift:
        """Return the drift test; :class:`DataError` if the samples are visibly not in equilibrium."""
        drift = self.drift_test()
        if drift.is_visible:
            name, worst = min(drift.quantities.items(), key=lambda item: item[1]["p"])
            raise DataError(
                f"{self.source}: visibly not in equilibrium: {name} is {worst['start']:.4g} at the start, "
                f"{worst['first']:.4g} in the first half and {worst['second']:.4g} in the second "
                f"(p = {drift.p_value:.1g}); discard the beginning, or sample for longer."
            )
        return drift

    def _observed(self) -> dict[str, np.ndarray]:
        observed = {
            "order parameter": order_parameter(self.states, self.q),
            "most frequent state": populations(self.states, self.q).max(axis=1),
        }
        for axis in range(1, self.states.ndim):
            equal = self.states == np.roll(self.states, 1, axis=axis)
            observed[f"equal neighbours, axis {axis}"] = equal.reshape(len(self), -1).mean(axis=1)
        return observed

    def _in_time(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, self.chains).mean(axis=1)

    def save(self, path: str | Path) -> None:
        """Write a ``.npz`` file, whole or not at all; :class:`DataError` for another suffix."""
        path = Path(path)
        if path.suffix != ".npz":
            raise DataError(f"{path}: sample files end in .npz.")
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "temperature": self.temperature,
            "q": self.q,
            "hamiltonian": self.hamiltonian,
            "autocorrelation": self.autocorrelation,
            "provenance": self.provenance,
        }
        with replacing(path) as partial:
            np.savez_compressed(partial, states=self.states, metadata=np.array(json.dumps(metadata)))


def load_samples(
    path: str | Path,
    temperature: float | None = None,
    q: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Samples:
    """Return the samples in a file.

    Parameters
    ----------
    path
        ``.npz`` as :meth:`Samples.save` writes it, or ``.npz``/``.npy`` of one's own with ``states``.
    temperature, q
        Needed for files without metadata; for others they must agree with the file.
    shape
        The lattice that is expected; ``None``: whatever the file has.

    Raises
    ------
    DataError
        If the file is missing or not of this kind, says another temperature, q or shape than
        asked for, or leaves one unsaid that is not given; see also :class:`Samples`.
    """
    path = Path(path)
    states, metadata = _read(path)
    said = {"temperature": temperature, "q": q}
    for key, value in said.items():
        if key in metadata and value is not None and metadata[key] != value:
            raise DataError(f"{path}: its {key} is {metadata[key]}, not {value} as asked for.")
        if key not in metadata and value is None:
            raise DataError(f"{path}: does not say its {key}; give it.")
        metadata.setdefault(key, value)
    samples = Samples(
        states,
        metadata["temperature"],
        metadata["q"],
        metadata.get("hamiltonian"),
        metadata.get("autocorrelation"),
        metadata.get("provenance") or {},
        source=str(path),
    )
    samples.require(shape)
    return samples


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, {}
        with content:
            if "states" not in content:
                raise DataError(
                    f"{path}: has no array 'states' (it has: {', '.join(content.files) or 'none'})."
                )
            states = content["states"]
            metadata = json.loads(str(content["metadata"])) if "metadata" in content else {}
    except FileNotFoundError:
        raise DataError(f"{path}: no such sample file; `mlpot lattice sample` makes one.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as NumPy .npz or .npy: {error}") from None
    if metadata and metadata.get("format") != FORMAT:
        raise DataError(f"{path}: its metadata are not those of lattice samples.")
    if metadata.get("version", 0) > FORMAT_VERSION:
        raise DataError(f"{path}: written by a newer mlpot (format {metadata['version']}); upgrade mlpot.")
    return states, metadata


def _means(values: np.ndarray, blocks: int) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(values, min(blocks, len(values)))])


def _welch(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p-value of equal means, from block means of each part."""
    blocks = [_means(values, _BLOCKS) for values in (one, other)]
    variance = [part.var(ddof=1) / len(part) for part in blocks]
    difference = one.mean() - other.mean()
    if sum(variance) == 0:
        return 1.0 if difference == 0 else 0.0
    freedom = sum(variance) ** 2 / sum(v**2 / (len(b) - 1) for v, b in zip(variance, blocks, strict=True))
    return float(2 * stats.t.sf(abs(difference) / math.sqrt(sum(variance)), freedom))


def _transient(start: np.ndarray, late: np.ndarray, quantum: float) -> float:
    """Return the p-value that the start is like the late part, by the late part's fluctuations.

    A transient would hide itself in a variance of its own. Rare excursions of a series in
    equilibrium must not count, though: several blocks of the start have to be off (Welch's test at
    1 %), and the late part is allowed three events of size ``quantum`` that it happens not to show.
    """
    if _welch(start, late) > 0.01:
        return 1.0
    blocks = _means(late, 2 * _BLOCKS)
    per_step = max(len(late) / len(blocks) * blocks.var(ddof=1), 3 * quantum**2 / len(late))
    error = math.sqrt(per_step * (1 / len(start) + 1 / len(late)))
    return float(2 * stats.t.sf(abs(start.mean() - late.mean()) / error, len(blocks) - 1))
