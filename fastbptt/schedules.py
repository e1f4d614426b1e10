"""How the learning rate changes from epoch to epoch: a factor, by which the optimiser's own is multiplied.

A schedule describes, as an optimiser does; what it carries from one epoch to the next (the plateau's counts) is a value
that the run keeps, so one object may serve many runs. Epochs count from 0; where batches come from a function, an epoch is
`updates_per_epoch` updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from . import _checks

if TYPE_CHECKING:
    from ._types import ScheduleName


@dataclass(frozen=True)
class Schedule:
    """A constant factor of 1, and the base of the others."""

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check(field.name, getattr(self, field.name))

    def _check(self, name, value):
        """Raise where a field is not what it must be."""

    def begin(self) -> tuple:
        """What the schedule carries before the first epoch."""
        return ()

    def watch(self, carried: tuple, loss: float) -> tuple:
        """What it carries after an epoch of this loss: of the validation set where there is one, else of the training."""
        return carried

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        """The factor of an epoch in a run of at most `epochs`."""
        return 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """1."""


@dataclass(frozen=True)
class Step(Schedule):
    """gamma^⌊epoch / every⌋."""

    every: int = 30
    gamma: float = 0.1

    def _check(self, name, value):
        _checks.size(name, value) if name == "every" else _factor(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return self.gamma ** (epoch // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """gamma^epoch."""

    gamma: float = 0.99

    def _check(self, name, value):
        _factor(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return self.gamma**epoch


@dataclass(frozen=True)
class Cosine(Schedule):
    """minimum + (1 − minimum) (1 + cos(π epoch / length)) / 2, and minimum from `length` on. Loshchilov and Hutter 2017.

    `length` is by default the run's number of epochs.
    """

    length: int | None = None
    minimum: float = 0.0

    def _check(self, name, value):
        if name == "minimum":
            _factor(name, value, zero=True)
        elif value is not None:
            _checks.size(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        done = min(epoch / (self.length or epochs), 1)
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """(1 + epoch)^−power."""

    power: float = 0.5

    def _check(self, name, value):
        _checks.number(name, value, 0)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return (1 + epoch) ** -self.power


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplied by gamma after more than `patience` epochs in a row whose loss is not under best · (1 − threshold).

    It falls to `minimum` at the lowest. The rule and the defaults are PyTorch's ReduceLROnPlateau's.
    """

    gamma: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    minimum: float = 0.0

    def _check(self, name, value):
        if name == "patience":
            _checks.size(name, value, smallest=0)
        elif name == "threshold":
            _checks.number(name, value, 0, 1, low_allowed=True)
        else:
            _factor(name, value, zero=name == "minimum")

    def begin(self) -> tuple:
        return 1.0, math.inf, 0  # factor, best loss, epochs in a row that were no better

    def watch(self, carried: tuple, loss: float) -> tuple:
        factor, best, bad = carried
        if loss < best * (1 - self.threshold):
            return factor, loss, 0
        if bad < self.patience:
            return factor, best, bad + 1
        return max(factor * self.gamma, self.minimum), best, 0

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return carried[0]


@dataclass(frozen=True)
class _Given(Schedule):
    """A function of the epoch, given by the user."""

    function: Callable[[int], float]

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return _checks.number(f"schedule({epoch})", self.function(epoch), 0, low_allowed=True)

    def __repr__(self):
        return "a function"  # one run's function and another's have no name in common


SCHEDULES = {"constant": Constant, "step": Step, "exponential": Exponential, "cosine": Cosine,
             "invscaling": InverseScaling, "plateau": Plateau}


def make(schedule: ScheduleName | Schedule | Callable[[int], float] | None) -> Schedule:
    """The schedule that None, a name, a Schedule or a function of the epoch stands for."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    if callable(schedule) and not isinstance(schedule, type):
        return _Given(schedule)
    return SCHEDULES[_checks.choose("schedule", schedule, SCHEDULES)]()


def is_foreseen(schedule: Schedule) -> bool:
    """Whether its factors are functions of the epoch alone, and none of the user's own."""
    return type(schedule) in SCHEDULES.values() and type(schedule).watch is Schedule.watch


def _factor(name, value, zero=False):
    """A factor above 0 (or 0 itself, where allowed) and at most 1."""
    if not _checks.number(name, value, 0, low_allowed=zero) <= 1:
        raise ValueError(f"{name} must be at most 1, got {value}")
