"""The object that `forward(return_states=True)` returns."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from . import reference

WORDS = "the states that forward returns are an object: "


class NetworkStates:
    """States of a network at every step, as `forward` returns them with return_states=True.

    Attributes
    ----------
    S : array (T+1, B, H), or (T+1, B, 2H) for an LSTM
        S[0] is the initial state and S[t+1] the state after X[t]. It is the integrated variable of leaky units, in both
        forms, and [h | c] of an LSTM. After a sequence's end it is 0.
    rates : array (T, B, H), only for plain and leaky units
        What the units fire: rates[t] is g1 of the pre-activation at X[t], or g1(S[t+1]) with leak_form="current". Units
        without a leak have rates equal to S[1:], and the array is then that view of S.
    h : array (T+1, B, H), only with cell="gru" or "lstm"
        What W_s and the output read: a view of S.
    c : array (T+1, B, H), only with cell="lstm"
        The memory of the cells: a view of S.

    Notes
    -----
    With several layers or two directions, each attribute is a tuple of such arrays: layer by layer, forward before reverse, as
    the final state is. A population adds a first axis of n networks to each array. Arrays have the network's dtype. The
    attributes cannot be assigned.
    """

    S: Any
    rates: Any
    h: Any
    c: Any

    def __init__(self, S: Any, **parts: Any) -> None:
        """Keep S and the other arrays by name."""
        self.__dict__.update(S=S, **parts)

    @classmethod
    def of(cls, cell: str, S: Any, rates: Any = None) -> NetworkStates:
        """Return the object for states S and rates that an engine computed with this cell (arrays, or tuples of them).

        `rates` is None for units without a leak, whose rates are a view of S.
        """
        row = reference.cell_of(cell)
        if len(row.gates) > 1:
            return cls(S, **{name: _map_arrays(S, functools.partial(_part, k, len(row.states)))
                             for k, name in enumerate(row.states)})
        if rates is None:
            rates = tuple(s[1:] for s in S) if isinstance(S, tuple) else S[1:]
        return cls(S, rates=rates)

    @classmethod
    def stack(cls, cell: str, each: Iterable[NetworkStates]) -> NetworkStates:
        """Return the states `each` of several networks of one shape and cell, with a first axis of networks."""
        each = list(each)
        S = stack([states.S for states in each])
        return cls.of(cell, S, stack([states.rates for states in each]) if cell == "plain" else None)

    def __repr__(self) -> str:
        return f"NetworkStates({', '.join(f'{name}={_shapes(value)}' for name, value in vars(self).items())})"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} of the states that forward returns cannot be assigned")

    def __getattr__(self, name: str) -> NoReturn:  # only for an attribute that is not there
        raise AttributeError(f"the states of this network have {', '.join(vars(self))}, and no {name!r}")

    def __getitem__(self, index: Any) -> NoReturn:  # else an index meant for the array would give an obscure message
        raise TypeError(WORDS + f"index states.S (T+1, B, {self._width()})"
                        + (" or states.rates (T, B, H)" if "rates" in vars(self) else ""))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:  # else NumPy would make an array of one object
        raise TypeError(WORDS + f"take states.S (T+1, B, {self._width()})"
                        + (" or states.rates (T, B, H)" if "rates" in vars(self) else ""))

    def _width(self):
        """Return the width of a state in messages: "H", or "2H" for an LSTM."""
        return "2H" if "c" in vars(self) else "H"


def stack(arrays: Sequence[Any]) -> Any:
    """Return arrays of n networks with a first axis n; of tuples, one for each recurrence, a tuple of these."""
    if isinstance(arrays[0], tuple):
        return tuple(np.stack(parts) for parts in zip(*arrays))
    return np.stack(arrays)


def _map_arrays(arrays, function):
    """Return function(array), or a tuple of the results for a tuple of arrays, one for each recurrence."""
    return tuple(map(function, arrays)) if isinstance(arrays, tuple) else function(arrays)


def _part(k, n, array):
    """Return the k-th of n blocks of columns, a view."""
    width = array.shape[-1] // n
    return array[..., k * width:(k + 1) * width]


def _shapes(value):
    """Return a text with dtype and shape of an array, or of each array of a tuple, for the repr."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shapes, value))})"
    return f"<{value.dtype} array {value.shape}>"
