"""The options of a run: `Settings`, and `settings` which checks the arguments of RNN.fit that hold no data.

A new option of `fit` goes here: a field of `Settings`, and its check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from .. import _checks, optimizers, schedules
from . import checkpoint as _checkpoint
from .batches import Positions

if TYPE_CHECKING:
    from .._types import Backend, Bool, FilePath, Float, Int, OnNonfinite
    from .types import Callbacks, OptimizerLike, ScheduleLike

ON_NONFINITE = ("raise", "skip")


@dataclass(frozen=True)
class Settings:
    """Arguments of `fit` as checked. What a resumed run must share with its checkpoint says `_checkpoint.settings`."""

    optimizer: optimizers.Optimizer
    schedule: schedules.Schedule
    epochs: int | None
    updates: int | None
    max_grad_norm: float
    patience: int | None
    min_improvement: float
    validation_every: int
    time_limit: float
    on_nonfinite: str
    checkpoint: Any
    checkpoint_every: float
    resume: bool
    overwrite: bool
    seed: int  # what this call would begin with; a resumed run has the seed of its checkpoint
    begin: Positions  # and where in the random streams
    progress: bool | None
    callbacks: tuple
    update_callbacks: tuple
    threads: int
    backend: str
    memory_limit: int


def settings(validation: Any, *, optimizer: OptimizerLike, learning_rate: Float | None, schedule: ScheduleLike | None,
             epochs: Int | None, updates: Int | None, max_grad_norm: Float | None, patience: Int | None,
             min_improvement: Float, validation_every: Int, time_limit: Float | None, on_nonfinite: OnNonfinite,
             checkpoint: FilePath | None, checkpoint_every: Float, resume: Bool, overwrite: Bool, seed: int,
             begin: Positions, progress: Bool | None, callbacks: Callbacks, update_callbacks: Callbacks, threads: int,
             backend: Backend, memory_limit: int) -> Settings:
    """The arguments of `fit` that do not hold data, checked; RNN.fit documents them."""
    if epochs is None and updates is None:
        epochs = 100
    if patience is not None and validation is None:
        raise ValueError("patience needs validation=(X, D), whose loss it watches")
    schedule = schedules.make(schedule)
    schedule.factor(schedule.begin(), 0, 1)  # a function that gives no factor says so here
    if checkpoint is None and resume:
        raise ValueError("resume=True needs checkpoint=, the file to go on from")
    if _checks.flag("overwrite", overwrite) and (checkpoint is None or resume):
        raise ValueError("overwrite=True needs checkpoint=, the file to replace" if checkpoint is None else
                         "overwrite=True replaces the checkpoint and resume=True goes on from it: give one of them")
    return Settings(
        optimizers.make(optimizer, learning_rate),
        schedule,
        None if epochs is None else _checks.size("epochs", epochs, smallest=0),
        None if updates is None else _checks.size("updates", updates, smallest=0),
        math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0),
        None if patience is None else _checks.size("patience", patience),
        _checks.number("min_improvement", min_improvement, 0, low_allowed=True),
        _checks.size("validation_every", validation_every),
        math.inf if time_limit is None else _checks.number("time_limit", time_limit, 0),
        _checks.choose("on_nonfinite", on_nonfinite, ON_NONFINITE),
        None if checkpoint is None else _checkpoint.path(checkpoint),
        _checks.number("checkpoint_every", checkpoint_every, 0, low_allowed=True),
        _checks.flag("resume", resume),
        overwrite,
        seed,
        begin,
        None if progress is None else _checks.flag("progress", progress),
        functions("callbacks", callbacks),
        functions("update_callbacks", update_callbacks),
        threads,
        backend,
        memory_limit,
    )


def with_least_updates(settings: Settings, least: Int | None, updates_per_epoch: int) -> Settings:
    """Return the settings with as many epochs as make `least` updates, at least; None changes nothing."""
    if least is None:
        return settings
    least = check_least(least, settings.updates)
    if settings.epochs is None:  # a number of updates alone ends the run
        return settings
    return replace(settings, epochs=least_epochs(settings.epochs, least, updates_per_epoch))


def check_least(least: Int | None, updates: int | None) -> int | None:
    """Return min_updates as an int, or None; raise ValueError if it is more than the number of updates that ends the run."""
    if least is None:
        return None
    least = _checks.size("min_updates", least)
    if updates is not None and updates < least:
        raise ValueError(f"min_updates={least} is more than updates={updates}")
    return least


def least_epochs(epochs: int | None, least: Int | None, updates_per_epoch: int) -> int:
    """Return the number of epochs, or as many more as make `least` updates; None stands for 100 epochs, and for no least."""
    epochs = 100 if epochs is None else epochs
    return epochs if least is None else max(epochs, -(-_checks.size("min_updates", least) // max(1, updates_per_epoch)))


def functions(name, given, of="a record"):
    """A function, or functions, as a tuple."""
    found = (given,) if callable(given) else tuple(given)
    for function in found:
        if not callable(function):
            raise TypeError(f"{name} must be functions of {of}, got {type(function).__name__} {function!r}")
    return found


def described(rule):
    """An optimiser or a schedule in words: its repr, which after an interrupt within it would be "..." from then on."""
    if isinstance(rule, schedules._Given):
        return repr(rule)
    return f"{type(rule).__qualname__}({', '.join(f'{each.name}={getattr(rule, each.name)!r}' for each in fields(rule))})"
