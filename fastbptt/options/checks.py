"""Checks of single options of `RNN`: functions (name, value) -> the value that a network keeps.

A check returns the value in the form for a network's configuration, a file and the backends, or raises TypeError or ValueError.
Add a check here if a new option needs one that `fastbptt._checks` does not have.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import _checks, reference

DTYPES = ("float32", "float64")


def one_of(choices):
    """Return the check of a string that is one of `choices`."""
    return lambda name, value: _checks.choose(name, value, choices)


def activation(name, value):
    """Return the name of a hidden activation. None is "tanh", the default of every cell."""
    return _checks.choose(name, "tanh" if value is None else value, reference.ACTIVATIONS)


def finite_number(name, value):
    """Return `value` as a float. Raise ValueError for NaN and infinity."""
    return _checks.number(name, value, -np.inf)


def at_least_0(name, value):
    """Return `value` as a float. Raise ValueError for negative and non-finite numbers."""
    return _checks.number(name, value, 0, low_allowed=True)


def probability_below_1(name, value):
    """Return `value` as a float in [0, 1)."""
    return _checks.number(name, value, 0, 1, low_allowed=True)


def hidden_size(name, value):
    """Return an int, or a tuple of at least two ints, one for each layer."""
    if not isinstance(value, tuple):
        return _checks.size(name, value)
    sizes = tuple(_checks.size(f"{name}[{n}]", H) for n, H in enumerate(value))
    if not sizes:
        raise ValueError(f"{name} must be an int, or a tuple of one int for each layer, got an empty tuple")
    return sizes if len(sizes) > 1 else sizes[0]


def rank(name, value):
    """Return an int, or a tuple of one int for each layer; None is None: W_s has full rank."""
    if value is None or not isinstance(value, (tuple, list)):
        return None if value is None else _checks.size(name, value)
    ranks = tuple(_checks.size(f"{name}[{n}]", R) for n, R in enumerate(value))
    if not ranks:
        raise ValueError(f"{name} must be an int, or a tuple of one int for each layer, got an empty tuple")
    return ranks if len(ranks) > 1 else ranks[0]


def loss(name, value):
    """Return the name of a loss, or a tuple of the name and its threshold or levels."""
    kind, parameter = loss_and_parameter(value)
    return kind if parameter is None else (kind, parameter)


def loss_and_parameter(loss):
    """Return the name of a loss, and its threshold, its levels or None. Missing ones get their default."""
    name, parameter = loss if isinstance(loss, tuple) and len(loss) == 2 else (loss, None)
    _checks.choose("loss", name, reference.LOSSES)
    if name not in reference.LOSS_PARAMETERS:
        if parameter is not None:
            raise ValueError(f"loss {name!r} must be given without a number, got {parameter!r}")
        return name, None
    if parameter is None:
        parameter = reference.LOSS_PARAMETERS[name]
    if name == "huber":
        return name, _checks.number("the threshold of huber", parameter, 0)
    levels = tuple(_checks.number("a quantile level", level, 0, 1) for level in np.atleast_1d(parameter).tolist())
    if not levels:
        raise ValueError("loss 'quantile' must have at least one level, got none")
    return name, levels


def dtype(name, value):
    """Return "float32" or "float64"."""
    try:
        found = np.dtype(value).name
    except TypeError:
        found = None
    if found not in DTYPES or value is None:
        raise ValueError(f"{name} must be float32 or float64, got {value!r}")
    return found


def penalty(name, value):
    """Return a number, or a dict of numbers by parameter."""
    if isinstance(value, Mapping):
        return {str(key): at_least_0(f"{name}[{key!r}]", number) for key, number in value.items()}
    return at_least_0(name, value)


def by_parameter(name, penalty, shapes):
    """Return a penalty as a dict of coefficients by parameter. A number applies to all weight matrices, also to M and N."""
    if not isinstance(penalty, dict):
        penalty = {name: penalty for name in shapes if name.startswith(("W_", "M", "N"))}
    for key in penalty:
        if key not in shapes:
            raise ValueError(f"{name} names {key!r}, but this network's parameters are {', '.join(shapes)}")
    return {key: number for key, number in penalty.items() if number}
