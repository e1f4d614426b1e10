"""Between the shapes that data come in and the engine's time-major arrays."""

from __future__ import annotations

import numpy as np

from . import _words


def to_time_major(X):
    """Samples-first sequences as one time-major array (T, N, I), and their lengths (N,).

    Parameters
    ----------
    X : array (N, T, I), or list of N arrays (T_n, I)
        Shorter sequences of a list are padded with zeros at their end.
    """
    if isinstance(X, np.ma.MaskedArray):
        raise ValueError("X is a masked array, which is not supported: fill it, and give weights of 0 instead")
    if isinstance(X, np.ndarray) and X.ndim == 3:
        return X.swapaxes(0, 1).copy("C"), np.full(X.shape[0], X.shape[1], np.intp)
    if not isinstance(X, (list, tuple, np.ndarray)):
        raise TypeError(f"X must be an array (N, T, I) or a list of (T_n, I), got {type(X).__name__}")
    sequences = [np.asarray(x) for x in X]
    if not sequences:
        raise ValueError("X is an empty list: give at least one sequence (T_n, I)")
    for n, x in enumerate(sequences):
        if x.ndim != 2 or sequences[0].ndim != 2 or x.shape[1] != sequences[0].shape[1]:
            raise ValueError(f"X must be an array (N, T, I) or a list of (T_n, I) with one I; X[{n}] has shape {x.shape}, "
                             f"X[0] {sequences[0].shape}")
    lengths = np.array([len(x) for x in sequences], np.intp)
    padded = np.zeros((lengths.max(), len(sequences), sequences[0].shape[1]), np.result_type(*sequences))
    for n, x in enumerate(sequences):
        padded[:len(x), n] = x
    return padded, lengths


def to_samples(X, lengths=None):
    """The inverse: (N, T, I) from (T, N, I), or with `lengths` (N,) a list of (T_n, I)."""
    X = np.asarray(X)
    if lengths is None:
        return X.swapaxes(0, 1).copy("C")
    return [X[:length, n].copy() for n, length in enumerate(lengths)]


def forecast_pairs(series, horizon):
    """Inputs and targets for forecasting `horizon` steps ahead: x[t] and x[t + horizon], at every step t.

    Parameters
    ----------
    series : array (N, T, I), or (T, I)
    horizon : int, 1 <= horizon < T

    Returns
    -------
    X, D : arrays (N, T − horizon, I), or (T − horizon, I); views of `series`
    """
    series = np.asarray(series)
    if series.ndim not in (2, 3):
        raise ValueError(f"series must be (N, T, I) or (T, I), got shape {series.shape}")
    T = series.shape[-2]
    if T < 2:
        raise ValueError(f"series must have at least 2 steps, got shape {series.shape}")
    horizon = _words.size("horizon", horizon, smallest=-(2**31))
    if not 1 <= horizon < T:
        raise ValueError(f"horizon must be from 1 to {T - 1} for a series of {T} steps, got {horizon}")
    return series[..., :-horizon, :], series[..., horizon:, :]
