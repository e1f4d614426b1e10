"""Maps on the parameters: connectivity, fixed signs and frozen entries, and how a gradient goes back through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .elementary import _abs

if TYPE_CHECKING:
    from .._types import Parameters


class Map(NamedTuple):
    """What is done to a parameter; each array has its shape."""

    present: np.ndarray    # m, bool
    sign: np.ndarray       # s, 1 or -1; 0 where the sign is free
    trainable: np.ndarray  # f, bool


def effective(parameters: Parameters, maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """θ' of every parameter. `maps` is a dict of a Map for each parameter that has one."""
    return dict(parameters) | {name: _map(np.asarray(parameters[name]), each) for name, each in (maps or {}).items()}


def pulled_back(gradients: dict[str, np.ndarray], parameters: Parameters,
                maps: Mapping[str, Map] | None = None) -> dict[str, np.ndarray]:
    """∂E/∂θ, made of ∂E/∂θ'; of the terms of a gradient too, whose last axes are the parameter's."""
    return gradients | {name: _pull_back(gradients[name], np.asarray(parameters[name]), each)
                        for name, each in (maps or {}).items() if name in gradients}


def _map(w, of):
    return np.where(of.present, np.where(of.sign == 0, w, np.where(of.sign < 0, -_abs(w), _abs(w))), 0).astype(w.dtype)


def _pull_back(dw, w, of):
    turned = (of.sign != 0) & ((w.real < 0) != (of.sign < 0))
    return np.where(of.present & of.trainable, np.where(turned, -dw, dw), 0).astype(dw.dtype)
