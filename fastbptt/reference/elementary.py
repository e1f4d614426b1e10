"""Elementary functions that branch on the real part, so that complex-step derivatives are exact; norms of rows.

Add a function here if a loss or an activation needs it and it is not analytic.
"""

from __future__ import annotations

import numpy as np


def _abs(A):
    return np.where(A.real < 0, -A, A)


def _modulus(A):
    """Return |A| for a loss or a penalty. Its derivative at 0 is 0, the documented subgradient."""
    return np.where(A.real == 0, 0, _abs(A))


def _positive(A):
    """Return max(A, 0)."""
    return np.where(A.real <= 0, 0, A)


def _sign(A):
    return np.sign(A.real)


def _sigmoid(A):
    small = np.exp(-_abs(A))  # never overflows
    return np.where(A.real < 0, small, 1) / (1 + small)


def _normal_distribution(A):
    """Return Φ(A), the distribution function of the normal distribution."""
    import scipy.special  # only here: it takes long to import

    root = A.real.dtype.type(np.sqrt(0.5))
    if np.iscomplexobj(A):  # scipy.special has no complex erfc
        return (1 + scipy.special.erf(A * root)) / 2
    return scipy.special.erfc(-A * root) / 2


def _normal_density(A):
    """Return φ(A), the density of the normal distribution."""
    return np.exp(-A * A / 2) * A.real.dtype.type(1 / np.sqrt(2 * np.pi))


def _softplus(A):
    return (A + _abs(A)) / 2 + np.log1p(np.exp(-_abs(A)))


def _logsumexp(Z):
    top = Z.real.max(axis=-1, keepdims=True)
    return top + np.log(np.exp(Z - top).sum(axis=-1, keepdims=True))


def _softmax(Z):
    unnormalised = np.exp(Z - Z.real.max(axis=-1, keepdims=True))
    return unnormalised / unnormalised.sum(axis=-1, keepdims=True)


def _exp(Z):
    with np.errstate(over="ignore"):  # an overflow to infinity is the intended result
        return np.exp(Z)


def _sizes(A):
    """Return the Euclidean norms of the real parts of rows, in float64 or wider."""
    return _length(np.asarray(A.real, np.result_type(A.real, np.float64)))


def _length(A):
    """Return the Euclidean norms of rows. The function is analytic, and its derivative at 0 is 0.

    Each row is divided by its largest entry first, so that squares neither overflow nor underflow.
    """
    largest = np.abs(A.real).max(axis=-1, keepdims=True, initial=0)
    nothing = largest == 0
    A, largest = np.where(nothing, 0, A), np.where(nothing, 1, largest)
    return largest[..., 0] * np.sqrt(((A / largest) ** 2).sum(axis=-1))
