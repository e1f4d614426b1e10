"""Elementary functions that branch on the real part, so that the complex step goes through them; norms of rows.

A function that a loss or an activation needs, and that is not analytic, is added here.
"""

from __future__ import annotations

import numpy as np


def _abs(A):
    return np.where(A.real < 0, -A, A)


def _modulus(A):
    """|A| of a loss or a penalty, whose derivative at 0 is 0, the documented subgradient."""
    return np.where(A.real == 0, 0, _abs(A))


def _positive(A):
    """max(A, 0)."""
    return np.where(A.real <= 0, 0, A)


def _sign(A):
    return np.sign(A.real)


def _sigmoid(A):
    small = np.exp(-_abs(A))  # never overflows
    return np.where(A.real < 0, small, 1) / (1 + small)


def _softplus(A):
    return (A + _abs(A)) / 2 + np.log1p(np.exp(-_abs(A)))


def _logsumexp(Z):
    top = Z.real.max(axis=-1, keepdims=True)
    return top + np.log(np.exp(Z - top).sum(axis=-1, keepdims=True))


def _softmax(Z):
    unnormalised = np.exp(Z - Z.real.max(axis=-1, keepdims=True))
    return unnormalised / unnormalised.sum(axis=-1, keepdims=True)


def _exp(Z):
    with np.errstate(over="ignore"):  # infinity is the answer
        return np.exp(Z)


def _sizes(A):
    """The Euclidean norms of rows, of their real parts, in at least double."""
    return _length(np.asarray(A.real, np.result_type(A.real, np.float64)))


def _length(A):
    """The Euclidean norms of rows, by way of A divided by its largest entries; analytic, with the slope 0 at 0."""
    largest = np.abs(A.real).max(axis=-1, keepdims=True, initial=0)
    nothing = largest == 0
    A, largest = np.where(nothing, 0, A), np.where(nothing, 1, largest)
    return largest[..., 0] * np.sqrt(((A / largest) ** 2).sum(axis=-1))
