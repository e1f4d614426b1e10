"""The object that `forward(return_states=True)` returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class NetworkStates:
    """States and rates of a network at every step, as `forward` returns them with return_states=True.

    Attributes
    ----------
    S : array (T+1, B, H)
        S[0] is the initial state and S[t+1] the state after X[t]. It is the integrated variable of leaky units, in both
        forms. After a sequence's end it is 0.
    rates : array (T, B, H)
        What the units fire: rates[t] is g1 of the pre-activation at X[t], or g1(S[t+1]) with leak_form="current". Units
        without a leak have rates equal to S[1:], and the array is then that view of S.

    Notes
    -----
    With several layers or two directions, `S` and `rates` are tuples of such arrays: layer by layer, forward before reverse,
    as the final state is. A population adds a first axis of n networks to each array. Arrays have the network's dtype.
    """

    S: Any
    rates: Any

    @classmethod
    def of(cls, S: Any, rates: Any = None) -> NetworkStates:
        """Return the object for what an engine computed; `rates` is None for units without a leak."""
        if rates is None:
            rates = tuple(each[1:] for each in S) if isinstance(S, tuple) else S[1:]
        return cls(S, rates)

    @classmethod
    def stack(cls, each: Iterable[NetworkStates]) -> NetworkStates:
        """Return the states of several networks of one shape, with a first axis of networks."""
        each = list(each)
        return cls(stack([states.S for states in each]), stack([states.rates for states in each]))

    def __repr__(self) -> str:
        return f"NetworkStates(S={_shapes(self.S)}, rates={_shapes(self.rates)})"

    def __getitem__(self, index: Any) -> NoReturn:  # else an index meant for the array would give an obscure message
        raise TypeError("the states that forward returns are an object: index states.S (T+1, B, H) or states.rates (T, B, H)")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:  # else NumPy would make an array of one object
        raise TypeError("the states that forward returns are an object: take states.S (T+1, B, H) or states.rates (T, B, H)")


def stack(arrays: Sequence[Any]) -> Any:
    """Return arrays of n networks with a first axis n; of tuples, one for each recurrence, a tuple of these."""
    if isinstance(arrays[0], tuple):
        return tuple(np.stack(parts) for parts in zip(*arrays))
    return np.stack(arrays)


def _shapes(value):
    if isinstance(value, tuple):
        return f"({', '.join(map(_shapes, value))})"
    return f"<{value.dtype} array {value.shape}>"
