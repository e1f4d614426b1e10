"""Parametrizations: connectivity, fixed signs, frozen entries and a low rank, and the gradient with respect to the parameters.

Add a field of `Map` here for a new constraint on single entries, with its effect in `_map` and in `_pull_back`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .elementary import _abs

if TYPE_CHECKING:
    from .._types import Parameters


class Map(NamedTuple):
    """Parametrization of one parameter. Each array has the shape of the parameter."""

    present: np.ndarray    # m, bool
    sign: np.ndarray       # s, 1 or -1; 0 if the sign is free
    trainable: np.ndarray  # f, bool


def effective(parameters: Parameters, maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """Return θ' of every parameter, and W_s = M Nᵀ of each recurrence that has M and N in place of W_s.

    `maps` is a dict with a Map for each parameter that has one.
    """
    p = dict(parameters) | {name: _map(np.asarray(parameters[name]), each) for name, each in (maps or {}).items()}
    return p | {"W_s" + suffix: np.asarray(p["M" + suffix]) @ np.asarray(p["N" + suffix]).T for suffix in _low_rank(p)}


def pulled_back(gradients: dict[str, np.ndarray], parameters: Parameters,
                maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """Return ∂E/∂θ from ∂E/∂θ'. The arrays may have leading axes, such as those of `gradient_terms`.

    ∂E/∂W_s of a low rank is added to the gradients of M and N, as far as `gradients` has them.
    """
    p = effective(parameters, maps) if _low_rank(parameters) else parameters
    for suffix in _low_rank(parameters):
        M, N, W_s = "M" + suffix, "N" + suffix, gradients.get("W_s" + suffix)
        if W_s is not None:
            factors = {M: gradients.get(M, 0) + W_s @ p[N], N: gradients.get(N, 0) + np.swapaxes(W_s, -1, -2) @ p[M]}
            rest = {name: dw for name, dw in gradients.items() if name != "W_s" + suffix}
            gradients = {name: (rest | factors)[name] for name in parameters
                         if name in rest or name in factors} | rest | factors
    return gradients | {name: _pull_back(gradients[name], np.asarray(parameters[name]), each)
                        for name, each in (maps or {}).items() if name in gradients}


def _low_rank(parameters):
    """Return the suffixes of the recurrences that have M and N in place of W_s."""
    return [name[1:] for name in parameters if name[:1] == "N"]


def _map(w, of):
    return np.where(of.present, np.where(of.sign == 0, w, np.where(of.sign < 0, -_abs(w), _abs(w))), 0).astype(w.dtype)


def _pull_back(dw, w, of):
    turned = (of.sign != 0) & ((w.real < 0) != (of.sign < 0))
    return np.where(of.present & of.trainable, np.where(turned, -dw, dw), 0).astype(dw.dtype)
