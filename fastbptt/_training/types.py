"""Types of arguments that start a run, for type checkers and editors. No module imports this one at run time.

They name optimizers, schedules and records, so this module stands above theirs. `fastbptt._types` stands below them. Add a
type here if several functions share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias, TypedDict

from numpy.typing import ArrayLike

from .._types import (
    Batches, Bool, FilePath, Float, Int, MemoryLimit, OnNonfinite, OptimizerName, ScheduleName, Tbptt,
)
from ..optimizers import Optimizer
from ..schedules import Schedule
from .history import Record

OptimizerLike: TypeAlias = OptimizerName | Optimizer
ScheduleLike: TypeAlias = ScheduleName | Schedule | Callable[[int], float]
Callback: TypeAlias = Callable[[Record], object]
Callbacks: TypeAlias = Callback | Iterable[Callback]


class RunOptions(TypedDict, total=False):
    """Options of RNN.fit that `fit` of the estimators passes on."""

    update_callbacks: Callbacks
    validation_every: Int
    time_limit: Float | None
    on_nonfinite: OnNonfinite
    checkpoint: FilePath | None
    checkpoint_every: Float
    resume: Bool
    overwrite: Bool
    n_threads: Int | None


class ManyOptions(TypedDict, total=False):
    """Options of RNN.fit with which fit_many trains one network at a time."""

    resets: ArrayLike | None
    batches: Batches | None
    updates: Int | None
    updates_per_epoch: Int
    tbptt: Tbptt | None
    validation_every: Int
    on_nonfinite: OnNonfinite
    memory_limit: MemoryLimit | None
