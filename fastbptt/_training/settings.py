"""The options of a run: `Settings`, and `settings`, which checks the arguments of RNN.fit that hold no data.

A new option of `fit` needs a field of `Settings`, its description there, and its check in `settings`. If single updates have
the option too, add it to `UpdateSettings`.
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
class UpdateSettings:
    """Options of an update from a batch, in RNN.train_step, RNN.stream and a run of RNN.fit.

    Attributes
    ----------
    optimizer : optimizers.Optimizer
        The update rule and its numbers.
    max_grad_norm : float
        The norm to which a gradient is clipped; inf for no clipping.
    threads : int
        Number of threads; 0 for the default.
    backend : "core" or "reference"
    """

    optimizer: optimizers.Optimizer
    max_grad_norm: float
    threads: int
    backend: str


@dataclass(frozen=True)
class Settings(UpdateSettings):
    """The options of a run: the checked arguments of RNN.fit.

    `_training.checkpoint` says which of them a resumed run must share.

    Attributes
    ----------
    schedule : schedules.Schedule
        Factor of the learning rate in each epoch.
    epochs, updates : int or None
        The run ends after this many, whichever comes first. None is no limit.
    patience : int or None
        The run ends after this many epochs without a better validation loss.
    min_improvement : float
        A validation loss is better if it is lower by more than this.
    validation_every : int
        Epochs from one validation to the next.
    time_limit : float
        Seconds after which the run ends. It may be inf.
    on_nonfinite : "raise" or "skip"
        What to do with a batch whose loss, gradient or update is not finite.
    checkpoint : path or None
    checkpoint_every : float
        Seconds from one checkpoint to the next.
    resume, overwrite : bool
        Whether the run continues from the checkpoint, or may replace that of another run.
    seed : int
        The seed with which this call would begin. A resumed run has the seed of its checkpoint.
    begin : Positions
        The positions of the random streams at which this call would begin.
    progress : bool or None
        Whether to show progress. None decides by the terminal.
    callbacks, update_callbacks : tuples of functions of a Record
    memory_limit : int
        The most bytes of workspace for a batch; 0 for no limit.
    """

    schedule: schedules.Schedule
    epochs: int | None
    updates: int | None
    patience: int | None
    min_improvement: float
    validation_every: int
    time_limit: float
    on_nonfinite: str
    checkpoint: Any
    checkpoint_every: float
    resume: bool
    overwrite: bool
    seed: int
    begin: Positions
    progress: bool | None
    callbacks: tuple
    update_callbacks: tuple
    memory_limit: int


def settings(validation: Any, *, optimizer: OptimizerLike, learning_rate: Float | None, schedule: ScheduleLike | None,
             epochs: Int | None, updates: Int | None, max_grad_norm: Float | None, patience: Int | None,
             min_improvement: Float, validation_every: Int, time_limit: Float | None, on_nonfinite: OnNonfinite,
             checkpoint: FilePath | None, checkpoint_every: Float, resume: Bool, overwrite: Bool, seed: int,
             begin: Positions, progress: Bool | None, callbacks: Callbacks, update_callbacks: Callbacks, threads: int,
             backend: Backend, memory_limit: int) -> Settings:
    """Check the arguments of RNN.fit that hold no data, and return them as Settings. RNN.fit documents them."""
    if epochs is None and updates is None:
        epochs = 100
    if patience is not None and validation is None:
        raise ValueError("patience requires validation=(X, D): it watches the validation loss")
    schedule = schedules.make(schedule)
    schedule.factor(schedule.begin(), 0, 1)  # raises if a function returns no factor
    if checkpoint is None and resume:
        raise ValueError("resume=True requires checkpoint=, the file to continue from")
    if _checks.flag("overwrite", overwrite) and (checkpoint is None or resume):
        raise ValueError("overwrite=True requires checkpoint=, the file to replace" if checkpoint is None else
                         "overwrite=True replaces the checkpoint and resume=True continues it: give one of them")
    return Settings(
        optimizer=optimizers.make(optimizer, learning_rate),
        schedule=schedule,
        epochs=None if epochs is None else _checks.size("epochs", epochs, smallest=0),
        updates=None if updates is None else _checks.size("updates", updates, smallest=0),
        max_grad_norm=math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0),
        patience=None if patience is None else _checks.size("patience", patience),
        min_improvement=_checks.number("min_improvement", min_improvement, 0, low_allowed=True),
        validation_every=_checks.size("validation_every", validation_every),
        time_limit=math.inf if time_limit is None else _checks.number("time_limit", time_limit, 0),
        on_nonfinite=_checks.choose("on_nonfinite", on_nonfinite, ON_NONFINITE),
        checkpoint=None if checkpoint is None else _checkpoint.path(checkpoint),
        checkpoint_every=_checks.number("checkpoint_every", checkpoint_every, 0, low_allowed=True),
        resume=_checks.flag("resume", resume),
        overwrite=overwrite,
        seed=seed,
        begin=begin,
        progress=None if progress is None else _checks.flag("progress", progress),
        callbacks=functions("callbacks", callbacks),
        update_callbacks=functions("update_callbacks", update_callbacks),
        threads=threads,
        backend=backend,
        memory_limit=memory_limit,
    )


def with_least_updates(settings: Settings, least: Int | None, updates_per_epoch: int) -> Settings:
    """Return the settings with `epochs` raised so that the run makes at least `least` updates (min_updates).

    An epoch has `updates_per_epoch` updates. `least` None changes nothing.
    """
    if least is None:
        return settings
    least = check_least(least, settings.updates)
    if settings.epochs is None:  # only `updates` ends the run
        return settings
    return replace(settings, epochs=least_epochs(settings.epochs, least, updates_per_epoch))


def check_least(least: Int | None, updates: int | None) -> int | None:
    """Return the argument min_updates, `least`, as an int, or None. Raise ValueError if it exceeds the argument `updates`."""
    if least is None:
        return None
    least = _checks.size("min_updates", least)
    if updates is not None and updates < least:
        raise ValueError(f"min_updates must not exceed updates={updates}, got {least}")
    return least


def least_epochs(epochs: int | None, least: Int | None, updates_per_epoch: int) -> int:
    """Return the number of epochs: `epochs`, or more if `least` updates (min_updates) need more.

    An epoch has `updates_per_epoch` updates. `epochs` None means 100. `least` None is no minimum.
    """
    epochs = 100 if epochs is None else epochs
    return epochs if least is None else max(epochs, -(-_checks.size("min_updates", least) // max(1, updates_per_epoch)))


def functions(name, given, of="a record"):
    """Return the functions in `given`, one or several, as a tuple. Raise TypeError if one is not callable.

    The error message calls the argument `name`, and says what the functions receive (`of`).
    """
    found = (given,) if callable(given) else tuple(given)
    for function in found:
        if not callable(function):
            raise TypeError(f"{name} must be functions of {of}, got {type(function).__name__} {function!r}")
    return found


def described(rule):
    """Return a text that describes an optimiser or a schedule, `rule`, in the form of its repr, to compare runs.

    It does not use the dataclass's repr, which returns "..." after an interrupt within it.
    """
    if isinstance(rule, schedules._Given):
        return repr(rule)
    return f"{type(rule).__qualname__}({', '.join(f'{each.name}={getattr(rule, each.name)!r}' for each in fields(rule))})"
