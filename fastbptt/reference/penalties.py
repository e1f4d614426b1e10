"""Penalties: l1 and l2 on parameters, and Ω on the norm of the gradient. Each has its derivative.

Add a new penalty as a pair of functions, the value and its derivative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .elementary import _length, _modulus, _sign

if TYPE_CHECKING:
    from .._types import Parameters

LEAST_FLOW = 1e-30  # Ω excludes steps with a smaller ‖∂E/∂S_t‖; float32 keeps all its digits down to this value


def penalty(parameters: Parameters, l1: Mapping[str, float] | None = None,
            l2: Mapping[str, float] | None = None) -> Any:
    """Return Σ l2 w² + l1 |w| over the entries of all parameters that l1 or l2 names. It is a sum, not a mean."""
    squares = sum(number * (parameters[name] ** 2).sum(dtype=_wide(parameters)) for name, number in (l2 or {}).items())
    return squares + sum(number * _modulus(parameters[name]).sum(dtype=_wide(parameters))
                         for name, number in (l1 or {}).items())


def d_penalty(parameters: Parameters, l1: Mapping[str, float] | None = None,
              l2: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """Return the gradient of `penalty`: 2 l2 w + l1 sign(w) for each parameter that l1 or l2 names."""
    l1, l2 = l1 or {}, l2 or {}
    return {name: (2 * l2.get(name, 0) * w + l1.get(name, 0) * _sign(w)).astype(w.dtype)
            for name, w in parameters.items() if name in l1 or name in l2}


def spread(W_s: np.ndarray, dS: np.ndarray, delta: np.ndarray) -> Any:
    """Return Ω, the mean of (‖δ_t W_s‖ / ‖∂E/∂S_t‖ - 1)², for one recurrence.

    Source: Pascanu, Mikolov and Bengio 2013, equation 9.

    Parameters
    ----------
    W_s : array (H, H)
    dS : array (T, B, H), ∂E/∂S_t
    delta : array (T, B, H), δ_t

    Returns
    -------
    scalar, in at least double precision. The mean is over the steps and sequences with ‖∂E/∂S_t‖ >= LEAST_FLOW. It is 0 if
    there are none.
    """
    _, _, r = _relative(W_s, dS, delta)
    return ((r - 1) ** 2).sum(dtype=_wide({"W_s": r})) / max(len(r), 1)


def d_spread(W_s: np.ndarray, dS: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Return ∂Ω/∂W_s (H, H) with dS and delta held fixed. The derivative of a norm at 0 is 0.

    Source: Pascanu, Mikolov and Bengio 2013, equation 10.
    """
    u, v, r = _relative(W_s, dS, delta)
    slope = np.where(r.real > 0, 2 * (1 - 1 / np.where(r.real > 0, r, 1)), 0)
    return u.T @ (slope[:, None] * v) / max(len(r), 1)


def _relative(W_s, dS, delta):
    """Return u = δ / ‖∂E/∂S‖, v = u W_s and ‖v‖ for the rows where ‖∂E/∂S‖ is at least LEAST_FLOW."""
    size = _length(dS)
    there = size.real >= LEAST_FLOW
    u = delta[there] / size[there][:, None]
    v = u @ W_s
    return u, v, _length(v)


def _wide(parameters):
    """Return the dtype of long sums: at least double precision."""
    return np.result_type(np.float64, *parameters.values())
