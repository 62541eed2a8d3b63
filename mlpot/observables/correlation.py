"""Time correlation over all time origins, by fast Fourier transform."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

#: Values transformed at a time, so that memory stays bounded.
_AT_ONCE = 4_000_000


def autocorrelation(values: np.ndarray, lags: int, weights: np.ndarray | None = None) -> np.ndarray:
    r"""Return :math:`C_k = \sum_i w_i \langle x_i(t) \cdot x_i(t + k) \rangle_t`, (lags,).

    The mean is over all F - k time origins (Wiener-Khinchin theorem; Kneller et al., Comput. Phys.
    Commun. 91, 191 (1995)).

    Parameters
    ----------
    values : (F, N, D)
        A vector of D components for each of N atoms.
    lags
        At most F.
    weights : (N,)
        By default 1 / N: the mean over atoms.
    """
    count, atoms, dimensions = values.shape
    weights = np.full(atoms, 1.0 / atoms) if weights is None else weights
    length = next_fast_len(count + lags, real=True)
    chunk = max(1, _AT_ONCE // (length * dimensions))
    total = np.zeros(length // 2 + 1)
    for start in range(0, atoms, chunk):
        part = slice(start, start + chunk)
        spectrum = rfft(values[:, part], length, axis=0)
        total += np.einsum("fia,i->f", spectrum.real**2 + spectrum.imag**2, weights[part])
    return np.asarray(irfft(total, length)[:lags] / (count - np.arange(lags)))
