"""Where compiled kernels meet Numba, and the random numbers that they draw.

Kernels get the state of their generator as an array, so that runs are reproducible whatever else
the process does: xoshiro256++ (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021)),
seeded from :class:`numpy.random.SeedSequence`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlpot.errors import LatticeError

try:
    import numba
    from numba.extending import overload
except ImportError as error:
    raise LatticeError(
        f"Numba, which compiles the lattice kernels, cannot be imported ({error}): "
        "pip install 'mlpot[lattice]'."
    ) from None

#: Compile a kernel: single-threaded, without the interpreter's lock, kept on disk.
compiled: Callable[..., Any] = partial(numba.njit, nogil=True, cache=True)
#: The same for a kernel that makes no arrays: without Numba's reference counts, which cost half of
#: the time where arrays come in tuples.
compiled_bare: Callable[..., Any] = partial(compiled, _nrt=False)


def compiled_by_type(functions: dict[type, Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function for kernels that does what is meant for the named tuple it is given first.

    Which of the functions is called is settled when the kernel is compiled: it costs nothing.
    """

    def chosen(*arguments: Any) -> None:
        raise NotImplementedError("only for compiled code")

    def choose(*arguments: Any) -> Callable[..., Any] | None:
        return functions.get(getattr(arguments[0], "instance_class", type(None)))

    # Not strict: the functions name their arguments, the choice does not.
    overload(chosen, strict=False)(choose)
    return chosen


def generator_states(seed: int | np.random.SeedSequence, chains: int) -> np.ndarray:
    """Return the generators of some chains, independent of each other: (chains, 4) uint64."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.stack([child.generate_state(4, np.uint64) for child in sequence.spawn(chains)])


@compiled(inline="always")
def next_word(state: np.ndarray) -> np.uint64:
    """Return 64 random bits and advance the generator (4,) uint64."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    total = s0 + s3
    result = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    state[0], state[1], state[2] = s0, s1, s2
    state[3] = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    return result


@compiled(inline="always")
def uniform(state: np.ndarray) -> float:
    """Return a random number in [0, 1), 53 bits."""
    return (next_word(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled(inline="always")
def below(state: np.ndarray, bound: int) -> np.int64:
    """Return a random integer in 0 .. bound - 1 (bias below bound / 2^32, from the high 32 bits)."""
    return np.int64(((next_word(state) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))
