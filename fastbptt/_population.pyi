"""Types of the compiled populations, in which each vector lane computes one network. _population.pyx documents them."""

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from .backends.arguments import Batch, Learners, Updates, Validation

_Array: TypeAlias = NDArray[np.floating]
_Given: TypeAlias = Any  # an array that population.py has checked

def lanes(dtype: str) -> int: ...

@final
class Lanes:
    def __init__(  # takes keywords only, which stubtest cannot see in a compiled __init__
        self, dtype: str, I: int, H: int, O: int, K: int, cell: str, activation: str, output_activation: str, loss: str,
        loss_parameter: Any, mean: bool, offsets: dict[str, Any], P: int,
    ) -> None: ...
    def forward(self, n: int, theta: _Given, batch: Batch, return_states: bool, threads: int) -> Any: ...
    def losses(self, n: int, theta: _Given, batch: Batch, threads: int) -> Any: ...
    def loss_and_gradient(self, n: int, theta: _Given, batch: Batch, gradient: bool, threads: int) -> Any: ...
    def train(
        self, n: int, theta: _Given, batch: Batch, updates: Updates, learners: Learners, validation: Validation | None,
        threads: int,
    ) -> Any: ...
