"""Types of the compiled populations, in which each vector lane computes one network. _population.pyx documents them."""

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[np.floating]
_Given: TypeAlias = Any  # an array that population.py has checked

def lanes(dtype: str) -> int: ...

@final
class Lanes:
    def __init__(
        self, dtype: str, I: int, H: int, O: int, K: int, activation: str, output_activation: str, loss: str,
        loss_parameter: Any, mean: bool, offsets: dict[str, Any], P: int,
    ) -> None: ...
    def forward(
        self, n: int, theta: _Given, X: _Given, initial_state: _Given, lengths: _Given, return_states: bool, threads: int,
    ) -> Any: ...
    def losses(
        self, n: int, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, threads:
        int,
    ) -> Any: ...
    def loss_and_gradient(
        self, n: int, theta: _Given, X: _Given, D: _Given, weights: _Given, initial_state: _Given, lengths: _Given, gradient:
        bool, threads: int,
    ) -> Any: ...
    def train(
        self, n: int, theta: _Given, slots: list[_Array], X: _Given, D: _Given, weights: _Given, initial_state: _Given,
        lengths: _Given, rule: str, numbers: dict[str, Any], rates: _Array, factors: _Given, going: _Array, ended: _Given,
        l1: _Given, l2: _Given, max_norm: Any, batch_size: int, order: _Array, earlier: int, held: Any, judge: Any,
        threads: int,
    ) -> Any: ...
