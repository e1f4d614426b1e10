"""Parametrizations: connectivity, fixed signs and frozen entries, and the gradient with respect to the parameters.

Add a field of `Map` here for a new constraint, with its effect in `_map` and in `_pull_back`.
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
    """Return θ' of every parameter. `maps` is a dict with a Map for each parameter that has one."""
    return dict(parameters) | {name: _map(np.asarray(parameters[name]), each) for name, each in (maps or {}).items()}


def pulled_back(gradients: dict[str, np.ndarray], parameters: Parameters,
                maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """Return ∂E/∂θ from ∂E/∂θ'. The arrays may have leading axes, such as those of `gradient_terms`."""
    return gradients | {name: _pull_back(gradients[name], np.asarray(parameters[name]), each)
                        for name, each in (maps or {}).items() if name in gradients}


def _map(w, of):
    return np.where(of.present, np.where(of.sign == 0, w, np.where(of.sign < 0, -_abs(w), _abs(w))), 0).astype(w.dtype)


def _pull_back(dw, w, of):
    turned = (of.sign != 0) & ((w.real < 0) != (of.sign < 0))
    return np.where(of.present & of.trainable, np.where(turned, -dw, dw), 0).astype(dw.dtype)
