"""Types of arguments of several functions, for type checkers and editors. No module imports this one at run time.

It imports no other module of fastbptt, so that every module may use it. Types that name an optimizer, a schedule or a
record of a run are in `_training/types.py`. A closed set of names is a Literal. tests/project/test_typed.py compares each
Literal with the table that the code reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

# Numbers that the checks accept, of Python and of NumPy
Int: TypeAlias = int | np.integer
Float: TypeAlias = float | np.floating | np.integer
Bool: TypeAlias = bool | np.bool_

Parameters: TypeAlias = Mapping[str, np.ndarray]  # a network's, by name
FilePath: TypeAlias = str | os.PathLike[str]
Seed: TypeAlias = Int | np.random.Generator | None
Noise: TypeAlias = bool | Seed  # whether noise acts, or its seed

# Names
Cell: TypeAlias = Literal["plain", "gru", "lstm"]
Activation: TypeAlias = Literal["tanh", "relu", "sigmoid", "identity", "softplus", "leaky_relu", "elu", "softsign",
                                "silu", "gelu"]
OutputActivation: TypeAlias = Literal["identity", "sigmoid", "tanh", "softmax", "exp"]
RegressionLossName: TypeAlias = Literal["squared_error", "absolute_error", "huber", "quantile", "poisson"]
LossName: TypeAlias = Literal[RegressionLossName, "binary_cross_entropy", "cross_entropy"]
InitializerName: TypeAlias = Literal["orthogonal", "glorot_uniform", "torch", "identity", "spectral_radius", "sparse",
                                     "normal"]
OptimizerName: TypeAlias = Literal["sgd", "rmsprop", "adagrad", "adam", "adamw"]
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


class PopulationOptions(TypedDict, total=False):
    """Options of RNN that Population passes on. Each network may have its own penalties."""

    cell: Cell
    reset_after: Bool
    forget_bias: Float
    activation: Activation | None
    output_activation: OutputActivation
    loss: Loss
    reduction: Reduction
    dtype: DTypeLike
    initializer: Initializer | None
    rank: Rank | None
    bias: Bool
    learn_initial_state: Bool
    output: Output
    one_hot: Bool
    bidirectional: Bool
    l1: Penalty | Sequence[Penalty] | np.ndarray
    l2: Penalty | Sequence[Penalty] | np.ndarray
    rate_penalty: Float
    omega: Float
    connectivity: Mapping[str, ArrayLike] | None
    trainable: Mapping[str, ArrayLike] | None
    dale_ratio: Float | None
    dale_signs: ArrayLike | None
    nonnegative: Names
    autapses: Bool
    leak: Float | None
    dt: Float | None
    tau: Float | None
    leak_form: LeakForm
    noise_std: Float
    input_noise_std: Float
    recurrent_dropout: Float
