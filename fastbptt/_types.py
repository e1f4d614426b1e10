"""Types of arguments of several functions, for type checkers and editors. No module imports this one at run time.

It imports only kernels/names.py, so that every module may use it. Types that name an optimizer, a schedule or a record of a
run are in `_training/types.py`. A closed set of names is a Literal. kernels/names.py has those of cells, activations, losses
and update rules, generated from their tables. tests/project/test_typed.py compares each Literal with the table that the code
reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .kernels.names import (  # noqa: F401
    Activation as Activation, Cell as Cell, LossName as LossName, OptimizerName as OptimizerName,
    OutputActivation as OutputActivation, RegressionLossName as RegressionLossName,
)

# Numbers that the checks accept, of Python and of NumPy
Int: TypeAlias = int | np.integer
Float: TypeAlias = float | np.floating | np.integer
Bool: TypeAlias = bool | np.bool_

Parameters: TypeAlias = Mapping[str, np.ndarray]  # a network's, by name
FilePath: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = Int | np.random.Generator | None
Noise: TypeAlias = bool | Seed  # whether noise acts, or its seed

# Names
InitializerName: TypeAlias = Literal["orthogonal", "glorot_uniform", "torch", "identity", "spectral_radius", "sparse",
                                     "normal"]
ScheduleName: TypeAlias = Literal["constant", "step", "exponential", "cosine", "invscaling", "plateau"]
Reduction: TypeAlias = Literal["mean", "sum"]
Output: TypeAlias = Literal["sequence", "last"]
LeakForm: TypeAlias = Literal["rate", "current"]
TwoD: TypeAlias = Literal["raise", "steps", "series"]
Backend: TypeAlias = Literal["core", "reference"]
OnNonfinite: TypeAlias = Literal["raise", "skip"]

# Options of a network
HiddenSize: TypeAlias = Int | tuple[Int, ...]
Rank: TypeAlias = Int | tuple[Int, ...]
LossWithNumber: TypeAlias = tuple[Literal["huber", "quantile"], Float | Sequence[Float] | np.ndarray]
Loss: TypeAlias = LossName | LossWithNumber
RegressionLoss: TypeAlias = RegressionLossName | LossWithNumber
Initializer: TypeAlias = (
    InitializerName | tuple[InitializerName, Float] | list[Any] | dict[str, Any]
    | Callable[[tuple[int, ...], np.random.Generator], ArrayLike]
)
Penalty: TypeAlias = Float | Mapping[str, Float]
PerUnit: TypeAlias = Float | ArrayLike | tuple[Float | ArrayLike, ...]  # one for all, (H,), or an entry for each layer
Names: TypeAlias = tuple[str, ...] | list[str]  # names of parameters

# Options of a training
Batch: TypeAlias = tuple[ArrayLike | None, ...] | list[Any]  # X, D[, weights[, lengths[, resets]]]
Batches: TypeAlias = Callable[[int, np.random.Generator], Batch] | Iterator[Batch]
Validation: TypeAlias = tuple[ArrayLike | None, ...] | Float  # data, or a share of the training data
Shuffle: TypeAlias = Bool | Literal["spread"]
Tbptt: TypeAlias = tuple[Int, Int]
MemoryLimit: TypeAlias = Int | Literal["auto"]


class Splitter(Protocol):
    """A splitter of scikit-learn, such as KFold."""

    def split(self, X: Any, y: Any) -> Iterable[Any]: ...
