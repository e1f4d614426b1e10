"""Learning-rate schedules: a factor for each epoch, which multiplies the learning rate of the optimiser.

A schedule holds no state of a run, so one object can serve many runs. The run keeps the state, such as the counts of Plateau.
Epochs count from 0. If batches come from a function, an epoch is `updates_per_epoch` updates. To add a schedule, add a class
and its name in SCHEDULES.

Examples
--------
>>> from fastbptt import schedules
>>> schedule = schedules.Step(every=2, gamma=0.5)
>>> [schedule.factor((), epoch, epochs=5) for epoch in range(5)]
[1.0, 1.0, 0.5, 0.5, 0.25]
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
    """Base class of all schedules. Its factor is 1."""

    def __post_init__(self) -> None:
        """Check every field by `_check`."""
        for field in fields(self):
            self._check(field.name, getattr(self, field.name))

    def _check(self, name, value):
        """Raise TypeError or ValueError if `value` is not allowed for the field `name`.

        Every schedule with fields overrides it.
        """

    def begin(self) -> tuple:
        """Return the schedule's state before the first epoch, a tuple of numbers that the run keeps."""
        return ()

    def watch(self, carried: tuple, loss: float) -> tuple:
        """Return the state after an epoch. `carried` is the state before it.

        `loss` is that of the validation set if there is one, else the training loss.
        """
        return carried

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        """Return the factor of the learning rate in `epoch` of a run of at most `epochs` epochs.

        `carried` is the schedule's state.
        """
        return 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """A factor of 1.

    Examples
    --------
    >>> schedules.Constant().factor(1, 0, 10)
    1.0
    """


@dataclass(frozen=True)
class Step(Schedule):
    """A factor of gamma^⌊epoch / every⌋.

    `every` is an int, at least 1. `gamma` is in (0, 1].

    Raises
    ------
    TypeError, ValueError : a field is not allowed.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=4, schedule=schedules.Step(2, 0.1))
    >>> [round(rate / history.learning_rate[0], 3) for rate in history.learning_rate]
    [1.0, 1.0, 0.1, 0.1]
    """

    every: int = 30
    gamma: float = 0.1

    def _check(self, name, value):
        """Raise TypeError or ValueError if `value` is not allowed for the field `name`."""
        _checks.size(name, value) if name == "every" else _check_factor(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return self.gamma ** (epoch // self.every)


@dataclass(frozen=True)
class Exponential(Schedule):
    """A factor of gamma^epoch. `gamma` is in (0, 1].

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=3, schedule=schedules.Exponential(0.5))
    >>> [round(rate / history.learning_rate[0], 3) for rate in history.learning_rate]
    [1.0, 0.5, 0.25]
    """

    gamma: float = 0.99

    def _check(self, name, value):
        """Raise TypeError or ValueError unless `value` is in (0, 1]."""
        _check_factor(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return self.gamma**epoch


@dataclass(frozen=True)
class Cosine(Schedule):
    """A factor of minimum + (1 − minimum) (1 + cos(π epoch / length)) / 2, and of `minimum` from epoch `length` on.

    `length` is an int, at least 1, and by default the number of epochs of the run. `minimum` is in [0, 1]. Source: Loshchilov
    and Hutter 2017.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=3, schedule=schedules.Cosine())
    >>> history.learning_rate[-1] < history.learning_rate[0]
    True
    """

    length: int | None = None
    minimum: float = 0.0

    def _check(self, name, value):
        """Raise TypeError or ValueError if `value` is not allowed for the field `name`."""
        if name == "minimum":
            _check_factor(name, value, zero=True)
        elif value is not None:
            _checks.size(name, value)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        done = min(epoch / (self.length or epochs), 1)
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """A factor of (1 + epoch)^−power. `power` is positive.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=3, schedule=schedules.InverseScaling(0.5))
    """

    power: float = 0.5

    def _check(self, name, value):
        """Raise TypeError or ValueError unless `value` is positive."""
        _checks.number(name, value, 0)

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return (1 + epoch) ** -self.power


@dataclass(frozen=True)
class Plateau(Schedule):
    """A factor that is multiplied by `gamma` when the loss stops improving.

    This happens after more than `patience` epochs in a row whose loss is not below best · (1 − threshold). The factor is never
    below `minimum`. The rule and the defaults are those of PyTorch's ReduceLROnPlateau. `gamma` is in (0, 1], `patience` an
    int, at least 0, `threshold` in [0, 1) and `minimum` in [0, 1].

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=3, schedule=schedules.Plateau())
    """

    gamma: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    minimum: float = 0.0

    def _check(self, name, value):
        """Raise TypeError or ValueError if `value` is not allowed for the field `name`."""
        if name == "patience":
            _checks.size(name, value, smallest=0)
        elif name == "threshold":
            _checks.number(name, value, 0, 1, low_allowed=True)
        else:
            _check_factor(name, value, zero=name == "minimum")

    def begin(self) -> tuple:
        """Return factor, best loss, and the number of epochs in a row without improvement."""
        return 1.0, math.inf, 0  # factor, best loss, number of epochs in a row without improvement

    def watch(self, carried: tuple, loss: float) -> tuple:
        """Return the state after an epoch with this loss. `carried` is the state before it (see `begin`)."""
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
    """A user's function of the epoch."""

    function: Callable[[int], float]

    def factor(self, carried: tuple, epoch: int, epochs: int) -> float:
        return _checks.number(f"schedule({epoch})", self.function(epoch), 0, low_allowed=True)

    def __repr__(self):
        return "a function"  # the functions of two runs cannot be compared by name


SCHEDULES = {"constant": Constant, "step": Step, "exponential": Exponential, "cosine": Cosine,
             "invscaling": InverseScaling, "plateau": Plateau}


def make(schedule: ScheduleName | Schedule | Callable[[int], float] | None) -> Schedule:
    """Return the Schedule for None, a name, a Schedule or a function of the epoch."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    if callable(schedule) and not isinstance(schedule, type):
        return _Given(schedule)
    return SCHEDULES[_checks.choose("schedule", schedule, SCHEDULES)]()


def is_foreseen(schedule: Schedule) -> bool:
    """Return whether the factors of all epochs are known before the run: a schedule of SCHEDULES that reads no losses."""
    return type(schedule) in SCHEDULES.values() and type(schedule).watch is Schedule.watch


def _check_factor(name, value, zero=False):
    """Raise TypeError or ValueError unless `value` is a factor above 0 (or 0 if `zero`) and at most 1.

    `name` is the field's.
    """
    if not _checks.number(name, value, 0, low_allowed=zero) <= 1:
        raise ValueError(f"{name} must be at most 1, got {value}")
