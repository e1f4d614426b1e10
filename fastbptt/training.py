"""The training loop: epochs and updates, clipping, schedules, early stopping, history, checkpoints, progress.

Design
------
(a) A run is a position and what has been learnt so far, and one `_State` holds all of it. An update or the end of an epoch
    writes the next state into the spare one of two and then swaps them, in one assignment: an interrupt, whenever it
    comes, finds a whole state. A checkpoint is that state.
(b) What is random is a function of the seed and of the position: the order of an epoch's sequences, the generator that a
    function of batches is given. So there are no generators to save. A run begins at its network's positions, and moves
    them behind what its updates have used.
(c) Where nothing of the user's own runs between updates, they are made in stretches of compiled code (`_Stretch`), with
    the same bits, and where nothing does between epochs, over many of them; an update that fails there is left to
    `_update`, which finds the words.
(d) It sees a network only through its parameters, `_loss_into` and a few more methods, so that `network` may import it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, _plots, _checks, optimizers, reference, schedules
from ._training import checkpoint as _checkpoint
from ._training.batches import Arrays, Positions, Windows, refuse_nonfinite, take
from ._training.progress import Progress

if TYPE_CHECKING:
    from ._types import (
        Backend, Bool, Callback, Callbacks, FilePath, Float, Int, OnNonfinite, OptimizerLike, ScheduleLike,
    )

ON_NONFINITE = ("raise", "skip")
AIR = 0.05  # seconds of a stretch of compiled updates
MOST_AHEAD = 1024  # epochs of one
RECENT = 100  # updates of a stream whose mean loss its history shows


@dataclass(repr=False)
class History:
    """What a run did, one entry an epoch.

    Attributes
    ----------
    train_loss : list of float
        The data losses of the epoch's mini-batches, each before its update: their mean, weighted by each batch's Σ m, with
        reduction="mean", and their sum with reduction="sum".
    validation_loss : list of float
        After the epoch; NaN where `validation_every` passes one over; empty without a validation set.
    penalty : list of float
        The mean over the mini-batches, with either reduction, of all penalties, l1 Σ |w| + l2 Σ w² and those on rates and
        by Ω, each before its update.
    gradient_norm : list of float
        The mean Euclidean norm of the gradients, penalties included, before clipping.
    learning_rate : list of float
        Of the epoch.
    seconds : list of float
        Since the start of the run; of a resumed run, with the seconds before.
    stopped : str
        "epochs", "updates", "patience", "callback", "time", "interrupted" or "nonfinite"; "error" after any other.
    best_epoch : int or None
        Index of the epoch with the lowest validation loss.
    updates, skipped : int
        Updates made, and batches passed over under on_nonfinite="skip".

    Where a run ends within an epoch, the updates made in it are the last entry; after an interrupt or an error they have
    none.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: str = ""
    best_epoch: int | None = None
    updates: int = 0
    skipped: int = 0

    CURVES = ("train_loss", "validation_loss", "penalty", "gradient_norm", "learning_rate", "seconds")

    def __repr__(self) -> str:
        epochs, losses = len(self.train_loss), self.validation_loss
        parts = [_checks.counted(epochs, "epoch")]
        parts += [_checks.counted(self.updates, "update")] * (self.updates > 0 or not epochs)  # fit_many does not keep them
        parts += [f"skipped={self.skipped}"] * (self.skipped > 0) + [f"train_loss={loss:.6g}" for loss in self.train_loss[-1:]]
        parts += [f"validation_loss={loss:.6g}" for loss in losses[-1:]]
        if self.best_epoch is not None and self.best_epoch < len(losses):
            parts.append(f"best_epoch={self.best_epoch} with {losses[self.best_epoch]:.6g}")
        return f"History({', '.join([*parts, f'stopped={self.stopped!r}', *_in_seconds(self.seconds)])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns, a row for each epoch: ``pandas.DataFrame(history.rows())``.

        The columns are "epoch", which counts from 0, and the lists above, but for those that are empty.
        """
        return {"epoch": np.arange(len(self.train_loss))} | {
            name: np.array(getattr(self, name), np.float64) for name in self.CURVES if getattr(self, name)}

    def plot(self, ax: Any = None, *, gradient_norm: bool = False) -> Any:
        """Losses by epoch, on a logarithmic scale, with the best epoch marked; returns the Axes. Needs matplotlib.

        With gradient_norm=True also the mean norm of the gradient before clipping, dotted, on an axis of its own.
        """
        ax = _plots.axes(ax)
        epochs = np.arange(1, len(self.train_loss) + 1)
        ax.plot(epochs, self.train_loss, label="training")
        if self.validation_loss:
            seen = np.isfinite(self.validation_loss)
            ax.plot(epochs[:len(seen)][seen], np.array(self.validation_loss)[seen], label="validation")
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch + 1, color="0.6", linestyle=":", label=f"best, epoch {self.best_epoch + 1}")
        ax.set(xlabel="epoch", ylabel="loss")
        _plots.logarithmic(ax)
        _plots.whole(ax.xaxis)
        lines = ax.get_legend_handles_labels()
        if gradient_norm:
            right = ax.twinx()
            right.plot(epochs, self.gradient_norm, color="0.35", linestyle=":", label="gradient norm")
            right.set(ylabel="gradient norm before clipping")
            _plots.logarithmic(right)
            lines = [a + b for a, b in zip(lines, right.get_legend_handles_labels())]
            ax.legend(*lines, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # two curves leave no room
        else:
            ax.legend(*lines, frameon=False)
        return ax

    def _truncate(self, epochs):
        """Drop what an interrupt left of an epoch that was not finished."""
        for name in self.CURVES:
            del getattr(self, name)[epochs:]


def _in_seconds(seconds):
    """The last of these, as the end of a repr; nothing if there are none."""
    return [f"{last:.3g} s" for last in seconds[-1:]]


@dataclass(frozen=True)
class Record:
    """What a callback gets: after an epoch its means; after an update that batch's loss and norm. Epochs count from 0."""

    epoch: int
    update: int
    train_loss: float
    validation_loss: float | None
    gradient_norm: float
    network: Any


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
        _functions("callbacks", callbacks),
        _functions("update_callbacks", update_callbacks),
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


def check_least(least: int | None, updates: int | None) -> int | None:
    """Return min_updates as an int, or None; raise ValueError if it is more than the number of updates that ends the run."""
    if least is None:
        return None
    least = _checks.size("min_updates", least)
    if updates is not None and updates < least:
        raise ValueError(f"min_updates={least} is more than updates={updates}")
    return least


def least_epochs(epochs: int | None, least: int | None, updates_per_epoch: int) -> int:
    """Return the number of epochs, or as many more as make `least` updates; None stands for 100 epochs, and for no least."""
    epochs = 100 if epochs is None else epochs
    return epochs if least is None else max(epochs, -(-_checks.size("min_updates", least) // max(1, updates_per_epoch)))


def _functions(name, given, of="a record"):
    """A function, or functions, as a tuple."""
    found = (given,) if callable(given) else tuple(given)
    for function in found:
        if not callable(function):
            raise TypeError(f"{name} must be functions of {of}, got {type(function).__name__} {function!r}")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The loop
# ---------------------------------------------------------------------------------------------------------------------


def fit(network: Any, source: Any, validation: Any, settings: Settings, entropy: int) -> History:
    """The loop behind RNN.fit, which documents and has checked the arguments; `source` is Arrays or Function."""
    if validation is not None:
        refuse_nonfinite("validation's ", *validation[:4])
        if 0 in validation[0].shape[:2]:
            raise ValueError(f"validation's X has nothing to judge by: shape {validation[0].shape} was read as (T, B, I)")
    run = _Run(network, source, validation, settings, entropy)
    if settings.resume:
        run.resume()
    else:
        run.check_replaceable()
    network.history = run.history
    try:
        run.history.stopped = run.loop()
        run.save()
        run.close()
    except BaseException as error:
        run.fail(error)
        raise
    finally:
        run.progress.close()
    return run.history


@dataclass(eq=False)
class State:
    """Where a run stands, between two updates: all that its continuation depends on."""

    theta: np.ndarray
    slots: list[np.ndarray]
    epoch: int = 0            # the epoch that is going on
    batch: int = 0            # batches of it that are done
    updates: int = 0
    skipped: int = 0
    loss: float = 0.0         # sums over the batches of the epoch
    weight: float = 0.0
    penalty: float = 0.0
    norm: float = 0.0
    averaged: int = 0         # batches in those sums
    carried: tuple = ()       # by the schedule
    best_loss: float = math.inf
    best_epoch: int | None = None
    best_theta: np.ndarray | None = None  # never written to
    target: float = math.inf  # the loss that patience waits to be beaten
    target_epoch: int = -1    # the epoch that set it
    seconds: float = 0.0      # before this call
    states: np.ndarray | None = None  # of the network, carried to the next window; never written to
    owed: tuple = ()          # which callbacks are not called yet, and the numbers of their Record
    refused: bool = False     # whether those callbacks were called and ended the run

    NUMBERS = ("epoch", "batch", "updates", "skipped", "loss", "weight", "penalty", "norm", "averaged", "carried",
               "best_loss", "best_epoch", "target", "target_epoch", "seconds", "owed", "refused")

    def add(self, loss: float, penalty: float, norm: float, weight: float) -> None:
        """Add a batch to the epoch's sums."""
        self.loss += loss * weight
        self.weight += weight
        self.penalty += penalty
        self.norm += norm
        self.averaged += 1

    def take(self, other: State, theta: np.ndarray) -> None:
        """Become a copy of `other` with these parameters; the arrays stay this state's own."""
        vars(self).update({**vars(other), "theta": self.theta, "slots": self.slots})
        self.theta[...] = theta
        for mine, its in zip(self.slots, other.slots):
            mine[...] = its

    def again(self) -> State:
        """A state that has these very arrays, for what changes numbers alone."""
        other = object.__new__(State)
        vars(other).update(vars(self))
        return other


class _Stretch:
    """Update after update in compiled code, and the memory for it."""

    def __init__(self, network, source, settings, gradient):
        self.settings, self.gradient, self.numbers = settings, gradient, vars(settings.optimizer)
        self.before = [np.empty_like(gradient) for _ in range(1 + len(settings.optimizer.slots(network._theta)))]
        B = min(source.batch_size, source.data[0].shape[1])
        first = take(source.data, np.arange(B), source.output)
        self.batch = [None if array is None else np.empty_like(array) for array in first]

    def run(self, network, source, state, rows, rates, seconds, draws):
        """Change the arrays of `state` by as many updates as can be made, at the learning rates of their epochs.

        Returns how many, what Ctrl-C raised or None, and of each epoch the sums of loss, weight, penalty and norm, and the
        seconds to its last update.
        """
        settings, sums = self.settings, np.zeros((len(rates), 5))
        sums[0, :4] = state.loss, state.weight, state.penalty, state.norm
        done, error = network._engines["core"].train(
            state.theta, *source.data, rows, source.batch_size, settings.optimizer.rule, self.numbers,
            np.array(rates, np.float64), state.slots, state.updates, settings.max_grad_norm, self.gradient, self.before,
            self.batch, sums, seconds, settings.memory_limit, settings.threads, draws)
        return done, error, sums.tolist()


class _Run:
    """One call of `fit`."""

    def __init__(self, network, source, validation, settings, entropy):
        self.network, self.source, self.validation, self.settings = network, source, validation, settings
        self.entropy, self.history = entropy, History()
        self.start = None if settings.checkpoint is None else network.theta  # the parameters that the run began with
        self.gradient, self.draws = np.empty_like(network._theta), network._keys(entropy, entropy)
        self.clip_norm = _core.clip_norm if settings.backend == "core" else reference.clip_norm
        states = [State(network.theta, settings.optimizer.slots(network._theta), carried=settings.schedule.begin())
                  for _ in range(2)]
        self.states = tuple(states)  # the present one and the spare
        self.begin = self.saved = time.monotonic()
        most = self._most_updates()
        self.most_epochs = -(-most // source.updates_per_epoch)
        self.progress = Progress(settings.epochs, most, settings.progress)
        self.stretch = None
        if settings.backend == "core" and not network._stacked and isinstance(source, Arrays) \
                and not settings.update_callbacks and type(settings.optimizer) in optimizers.OPTIMIZERS.values():
            self.stretch = _Stretch(network, source, settings, self.gradient)
        self.ahead = 1  # epochs of the next stretch, at most
        self.sees_ahead = validation is None and not settings.callbacks and schedules.is_foreseen(settings.schedule)

    @property
    def state(self):
        return self.states[0]

    def _next(self):
        """The spare state as a copy of the present one, with the network's parameters as they are (callbacks may have
        changed them)."""
        state, spare = self.states
        spare.take(state, self.network._theta)
        return spare

    def _commit(self, spare):
        self.states = spare, self.states[0]

    def _most_updates(self):
        settings, each = self.settings, self.source.updates_per_epoch
        bounds = [settings.updates, None if settings.epochs is None else settings.epochs * each]
        return min(bound for bound in bounds if bound is not None)

    def loop(self):
        """Updates and epochs until the run ends; why it did."""
        if self.state.owed and self._call():  # in a resumed run
            return "callback"
        while True:
            stopped = self._ended() or self._updates()
            if stopped:
                return stopped
            if self._close_epoch():
                return "callback"
            if self._time_is_up():
                return "time"

    def _ended(self):
        """Why no epoch is to begin now; "" if one is, or if one is going on, as in a resumed run."""
        settings, state = self.settings, self.state
        if state.batch > 0:
            return ""
        if settings.epochs is not None and state.epoch >= settings.epochs:
            return "epochs"
        if settings.updates is not None and self._drawn() >= settings.updates:
            return "updates"
        if settings.patience is not None and state.epoch - 1 - max(state.target_epoch, 0) >= settings.patience:
            return "patience"
        return ""

    def _drawn(self):
        return self.state.epoch * self.source.updates_per_epoch + self.state.batch

    def _time_is_up(self):
        return time.monotonic() - self.begin >= self.settings.time_limit

    def _is_save_due(self):
        settings = self.settings
        return settings.checkpoint is not None and time.monotonic() - self.saved >= settings.checkpoint_every

    # ---- Updates

    def _updates(self):
        """Updates to the end of the epoch, or until the run ends within it: then why."""
        settings = self.settings
        while self.state.batch < self.source.updates_per_epoch:
            if settings.updates is not None and self._drawn() >= settings.updates:
                return "updates"
            if self.stretch is None or not self._stretch():
                self._update()
                self.progress.update()
                if self.state.owed and self._call():
                    return "callback"
            if self.state.batch < self.source.updates_per_epoch and self._time_is_up():
                return "time"
            if self._is_save_due():
                self.save()
        return ""

    def _stretch(self):
        """Updates in compiled code, for a twentieth of a second; whether any was made.

        They go on into the next epochs where nothing of the user's own, and no validation set, has a say between them: with
        8 updates an epoch of 2.3 us each, 10 us an epoch were a third of the time. The last epoch is left to `loop`.
        None is made where the next batch cannot be learnt from: `_update` then says why, or passes it over.
        """
        network, settings, source, spare = self.network, self.settings, self.source, self._next()
        epochs = self._epochs_ahead(spare)
        rows = source.rest(spare.epoch, spare.batch, epochs)
        if settings.updates is not None:
            rows = rows[:(settings.updates - self._drawn()) * source.batch_size]
        seconds = min(AIR, settings.time_limit - time.monotonic() + self.begin)
        draws = self._draws_at(spare.epoch, spare.batch)
        draws = None if draws is None else draws._replace(sequences=None)  # of each batch its own
        rates, begin = [self._learning_rate(spare, ahead) for ahead in range(epochs)], self._seconds()
        done, error, sums = self.stretch.run(network, source, spare, rows, rates, seconds, draws)
        if done:
            an_epoch = max(self._seconds() - begin, 1e-6) * source.updates_per_epoch / done
            self.ahead = max(1, min(MOST_AHEAD, int(AIR / 2 / an_epoch)))
            self._count(spare, done, sums, begin)
            network._theta[...] = spare.theta
            self._commit(spare)
            self.progress.update(done)
            if spare.owed:
                self._tell(spare)
                self._call()
        if error is not None:
            raise error
        return done > 0

    def _epochs_ahead(self, state):
        """How many epochs the next stretch is of, with the one that goes on; no more than half of its time is enough for."""
        settings, each = self.settings, self.source.updates_per_epoch
        epochs = self.ahead if self.sees_ahead else 1
        if settings.epochs is not None:
            epochs = min(epochs, settings.epochs - state.epoch)
        if settings.updates is not None:  # whole ones
            epochs = min(epochs, (settings.updates - state.epoch * each) // each)
        return max(1, epochs)

    def _count(self, spare, done, sums, begin):
        """Put the numbers of a stretch's updates into `spare`, and write down the epochs that are over but for the last."""
        each, left, seconds = self.source.updates_per_epoch, done, 0.0
        for *of_epoch, until in sums:
            if spare.batch == each:
                self._write_down(spare, math.nan, begin + seconds)
            here, seconds = min(left, each - spare.batch), until
            spare.loss, spare.weight, spare.penalty, spare.norm = of_epoch
            spare.averaged, spare.batch, spare.updates = spare.averaged + here, spare.batch + here, spare.updates + here
            left -= here
            if left == 0:
                break

    def _draws_at(self, epoch, k):
        """What the noise and dropout of batch k are made of."""
        return None if self.draws is None else _at(self.draws, *self.source.place(epoch, k))

    def _update(self):
        network, settings, spare = self.network, self.settings, self._next()
        epoch, k = spare.epoch, spare.batch
        data = self.source.batch(epoch, k)
        if isinstance(self.source, Windows):
            loss, penalty, weight = self._window(network, data, k, spare)
            if weight == 0:  # nothing to learn from
                spare.batch += 1
                self._commit(spare)
                return
        else:
            loss, penalty = network._loss_into(self.gradient, *data, settings.threads, settings.backend,
                                               settings.memory_limit, self._draws_at(epoch, k))
            weight = None
        gradient, norm = self.clip_norm(self.gradient, settings.max_grad_norm)
        bad = self._learn(spare, gradient, loss + penalty, norm)
        spare.batch = k + 1
        if bad:
            self._refuse(data, bad, loss + penalty, norm)
            spare.skipped += 1
        else:
            spare.updates += 1
            self._add(spare, data, loss, penalty, norm, weight)
            network._theta[...] = spare.theta
        if settings.update_callbacks:
            spare.owed = "update_callbacks", epoch, spare.updates, loss, None, norm
        self._commit(spare)

    def _learn(self, spare, gradient, loss, norm):
        """Update parameters and slots of `spare`; "", or what is not finite: then they are left as they were."""
        network, settings = self.network, self.settings
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return "gradient" if math.isfinite(loss) else "loss"
        settings.optimizer._update(spare.theta, gradient, spare.slots, spare.updates + 1,
                                   learning_rate=self._learning_rate(spare), backend=settings.backend)
        network._hold(spare.theta)
        if np.isfinite(spare.theta).all():
            return ""
        states = spare.states
        spare.take(self.state, network._theta)
        spare.states = states
        return "update"

    def _window(self, network, data, k, spare):
        """Loss, penalty and Σ m of a window of truncated BPTT; the states that the next one needs are put into `spare`."""
        settings, source = self.settings, self.source
        X, D, weights, initial_state, lengths, resets = data
        S = np.empty((len(X) + 1, X.shape[1], network._kept_width), network.dtype)
        own_start, past = False, S[:0]
        if spare.states is not None:
            own_start = initial_state is None and source.window(k)[0] == 0
            initial_state, past = spare.states[0], spare.states[1:]
        found = network._window_into(self.gradient, X, D, weights, initial_state, lengths, resets, past, own_start, source.k2,
                                     S, settings.threads, settings.backend, self._draws_at(spare.epoch, k))
        spare.states = source.carried(k, S)
        return found

    def _add(self, state, data, loss, penalty, norm, weight=None):
        """Add a batch to the sums, weighted as the loss is, by its Σ m."""
        if self.network.reduction != "mean":
            weight = 1.0
        elif weight is None:
            weight = self.network._total_weight(*data)
        state.add(loss, penalty, norm, weight)

    def _learning_rate(self, state, ahead=0):
        """Of the epoch of `state`, or of one so many epochs ahead where nothing that comes between changes it."""
        settings = self.settings
        factor = settings.schedule.factor(state.carried, state.epoch + ahead, self.most_epochs)
        return settings.optimizer.learning_rate * float(factor)

    def _refuse(self, data, what, loss, norm, whose=""):
        """Raise FloatingPointError for a batch that cannot be learnt from, unless such ones are to be skipped."""
        if self.settings.on_nonfinite == "skip":
            return
        state = self.state
        culprit = "" if what == "update" else _first_bad(self.network, data, self.settings.backend)
        raise FloatingPointError(
            f"{what} is not finite in epoch {state.epoch}, batch {state.batch} (update {state.updates}){whose}{culprit}: loss "
            f"{loss}, gradient norm {norm}; the parameters are those before this update. A smaller learning_rate or "
            'max_grad_norm may help; on_nonfinite="skip" passes such batches over')

    # ---- Epochs

    def _close_epoch(self):
        """Judge the epoch, write it down, call the callbacks; whether one of them ends the run."""
        spare = self.state.again()
        due = (spare.epoch + 1) % self.settings.validation_every == 0
        validation_loss = self._judge(spare, spare.epoch) if due else math.nan
        self._write_down(spare, validation_loss, self._seconds())
        self.states = spare, self.states[1]
        self._tell(spare)
        return self._call()

    def _tell(self, state):
        """Tell history and progress of the epoch that was written down last."""
        self.tell_history(state)
        _, epoch, _, train_loss, validation_loss, _ = state.owed
        self.progress.epoch(epoch, train_loss, validation_loss)

    def _call(self):
        """Call the callbacks that the state owes, all of them; whether one returned True.

        Where they are cut off, the state goes on to owe them, and has the parameters of before. Where one of them ends the
        run, a run that is resumed calls them again, as it may have others. The parameters stay as the first call left them.
        """
        owed = self.state.owed
        if not self._is_called(owed[0]):
            self.state.owed, self.state.refused = (), False
            return False
        stops = self._ask()
        if self.state.refused:
            self.network._theta[...] = self.state.theta
        spare = self._next()  # with the parameters as they left them
        spare.owed, spare.refused = (owed, True) if stops else ((), False)
        self._commit(spare)
        return stops

    def _is_called(self, name):
        """Whether there are such callbacks."""
        return bool(getattr(self.settings, name))

    def _ask(self):
        self._move_streams()
        name, *numbers = self.state.owed
        callbacks, record = getattr(self.settings, name), Record(*numbers, self.network)
        answers = [callback(record) for callback in callbacks]
        if not np.isfinite(self.network._theta).all():
            self.network._theta[...] = self.state.theta
            raise FloatingPointError(f"{name} left parameters that are not finite after epoch {record.epoch}; they are those "
                                     "of before again")
        return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)

    def close(self):
        """Write down an epoch that was not finished, judge the last one, return to the best parameters.

        Only history and network learn of it: a run that goes on from the checkpoint does so from where it was.
        """
        self._move_streams()
        spare, losses = self._next(), self.history.validation_loss
        if spare.averaged:
            self._write_down(spare, self._judge(spare, spare.epoch), self._seconds())
        elif losses and math.isnan(losses[-1]):  # passed over, as it was not known to be the last
            losses[-1] = self._judge(spare, spare.epoch - 1)
        self.tell_history(spare)
        if self.settings.patience is not None and spare.best_theta is not None:
            self.network._theta[...] = spare.best_theta

    def _write_down(self, spare, validation_loss, seconds):
        """The epoch of `spare` into the history, and `spare` on to the next."""
        settings, history, epoch = self.settings, self.history, spare.epoch
        averaged = max(spare.averaged, 1)
        if self.network.reduction == "mean":
            train_loss = spare.loss / spare.weight if spare.weight else 0.0
        else:
            train_loss = spare.loss
        if not spare.averaged:
            train_loss = math.nan  # every batch was skipped
        history.train_loss.append(train_loss)
        history.penalty.append(spare.penalty / averaged)
        history.gradient_norm.append(spare.norm / averaged)
        history.learning_rate.append(self._learning_rate(spare))
        history.seconds.append(seconds)
        if self.validation is not None:
            history.validation_loss.append(validation_loss)
        watched = train_loss if self.validation is None else validation_loss
        if not math.isnan(watched):
            spare.carried = tuple(number.item() if isinstance(number, np.generic) else number  # JSON knows none of NumPy's
                                  for number in settings.schedule.watch(spare.carried, watched))
        spare.epoch, spare.batch = epoch + 1, 0
        spare.loss = spare.weight = spare.penalty = spare.norm = 0.0
        spare.averaged = 0
        spare.owed = ("callbacks", epoch, spare.updates, train_loss,
                      None if math.isnan(validation_loss) else validation_loss, history.gradient_norm[-1])

    def _judge(self, spare, epoch):
        """The validation loss after this epoch, NaN without a validation set; the best and its parameters are kept."""
        if self.validation is None:
            return math.nan
        settings, loss = self.settings, self._validation_loss()
        if loss < spare.best_loss:
            spare.best_loss, spare.best_epoch = loss, epoch
            if settings.patience is not None:
                spare.best_theta = self.network.theta
        if loss < spare.target - settings.min_improvement:
            spare.target, spare.target_epoch = loss, epoch
        return loss

    def _validation_loss(self):
        X, D, weights, lengths, resets = self.validation
        return self.network.evaluate(X, D, weights=weights, lengths=lengths, resets=resets, backend=self.settings.backend)

    def _seconds(self):
        return self.state.seconds + time.monotonic() - self.begin

    # ---- What stays

    def tell_history(self, state):
        history = self.history
        history.best_epoch, history.updates, history.skipped = state.best_epoch, state.updates, state.skipped

    def _is_own(self):
        """Whether the run draws from the network's own streams."""
        return self.entropy == self.network._entropy

    def _move_streams(self, begun=False):
        """Move the network's streams behind what this run has used."""
        if self._is_own():
            drawn = self.source.drawn(self.state.epoch, self.state.batch, begun)
            if self.draws is None:
                drawn = Positions(drawn.shuffling, drawn.batches)
            self.network._positions = self.network._positions.later(self.source.begin.moved(drawn))

    def save(self):
        """Write the checkpoint, where there is to be one."""
        if self.settings.checkpoint is not None:
            self._write(self.state)

    def _write(self, state):
        self._move_streams()
        _checkpoint.write(self.settings.checkpoint, self.network, state, self.history, self.entropy, self._identity(),
                          self._seconds(), self.start, self.source.begin)
        self.saved = time.monotonic()

    def resume(self):
        """Go on from the checkpoint, where there is one."""
        self._read()
        self.network._theta[...] = self.state.theta
        self.tell_history(self.state)
        self.progress.update(self._drawn())

    def _read(self, content=None, path=None, seed=True):
        """Put the checkpoint, where there is one, into state and history; without `seed` the seeds are not compared."""
        settings = self.settings
        windows = self.source if isinstance(self.source, Windows) else None
        start = _checkpoint.read(settings.checkpoint if path is None else path, self.network, self.state, self.history,
                                 self._identity(), settings.seed if seed else None, settings.begin, self._used(),
                                 self._most_updates(), self.source.updates_per_epoch, windows, content)
        self.start = self.start if start is None else start

    def check_replaceable(self):
        """Refuse to write the checkpoint over anything but an earlier one of this run."""
        settings = self.settings
        if settings.checkpoint is not None and not settings.overwrite:
            _checkpoint.check_replaceable(settings.checkpoint, self.network, self.state, self._identity(), settings.seed,
                                          settings.begin, self._used(), self._most_updates(), self.source.updates_per_epoch)

    def _used(self):
        """Return 1 for each random stream on which the run depends, and 0 for the others."""
        source = self.source
        if isinstance(source, (Arrays, Windows)):
            return used_streams(source.shuffle, False, self.draws is not None)
        return used_streams(False, source.iterator is None, self.draws is not None)

    def _identity(self):
        """What a checkpoint must share with the run that goes on from it."""
        settings, source = self.settings, self.source
        return {"optimizer": _described(settings.optimizer), "schedule": _described(settings.schedule),
                "max_grad_norm": settings.max_grad_norm, "batch_size": source.batch_size,
                **({"tbptt": (source.k1, source.k2)} if isinstance(source, Windows) else {}),
                **({"shuffle": source.shuffle} if isinstance(source, (Arrays, Windows))
                   else {"updates_per_epoch": source.updates_per_epoch}), **self._digests()}

    def _digests(self):
        if not hasattr(self, "digests"):
            arrays = {"data": getattr(self.source, "data", None), "validation": self.validation}
            self.digests = {name: _checkpoint.digest(data) for name, data in arrays.items() if data is not None}
        return self.digests

    def fail(self, error):
        """After an interrupt or an error: the history says which, and the checkpoint holds the last whole state."""
        names = {KeyboardInterrupt: "interrupted", FloatingPointError: "nonfinite"}
        self.history.stopped = next((name for kind, name in names.items() if isinstance(error, kind)), "error")
        self.history._truncate(self.state.epoch)
        self.tell_history(self.state)
        # The next run does not repeat the order of an epoch that failed. Lanes do not tell in which batch it failed.
        self._move_streams(begun=isinstance(error, FloatingPointError))
        try:
            self.save()
        except OSError as also:
            error.add_note(f"and the checkpoint could not be written: {also}")


def used_streams(shuffle: bool | str, batches: bool, noise: bool) -> Positions:
    """Return 1 for each random stream on which a run depends, and 0 for the others, as Positions."""
    return Positions(shuffling=int(bool(shuffle)), batches=int(batches), noise=int(noise))


def _at(draws, call, first, sequences):
    """The draws of a place in a run."""
    return draws._replace(call=call % 2**32, first=first, sequences=sequences)


def _described(rule):
    """An optimiser or a schedule in words: its repr, which after an interrupt within it would be "..." from then on."""
    if isinstance(rule, schedules._Given):
        return repr(rule)
    return f"{type(rule).__qualname__}({', '.join(f'{each.name}={getattr(rule, each.name)!r}' for each in fields(rule))})"


def _first_bad(network, data, backend):
    """In words, where a batch's computation first leaves the finite numbers: going forward, else going back."""
    X, D, weights, initial_state, lengths, resets = data
    # NaN and any label may stand where no weight is
    D_read = np.nan_to_num(D) if D.dtype.kind == "f" else np.clip(D, 0, network.output_size - 1)
    more = {"initial_state": network._as_given(initial_state), "lengths": lengths, "resets": resets, "backend": backend}
    with np.errstate(all="ignore"):
        S = network.forward(X, return_states=True, **more)[2].S
        S = np.concatenate(S, axis=2)[1:] if network._stacked else S[1:]
        e = network.losses(X, D_read, **more)
        _, gradients = network.loss_and_gradients(X, D, weights=weights, input_gradient=not network.one_hot, **more)
    if weights is not None:
        e = np.where((weights if weights.ndim == e.ndim else weights.max(axis=-1)) == 0, 0, e)
    if network.output == "last":  # it is found by the state that it was computed from
        e = e[None]
    dX = gradients.pop("X", np.zeros((0, 1, 1)))
    names = [name for name, gradient in gradients.items() if not np.isfinite(gradient).all()]
    which = f", first bad gradient that of {names[0]}" if names else ""
    for what, values in (("state", S), ("error", e[..., None])):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if len(bad):
            place = "the last step" if what == "error" and network.output == "last" else f"time step {bad[0]}"
            return f", first bad {what} at {place}{which}"
    bad = np.flatnonzero(~np.isfinite(dX).all(axis=(1, 2)))
    return f", going back bad from time step {bad[-1]}{which}" if len(bad) else which


# ---------------------------------------------------------------------------------------------------------------------
# Single steps, for loops of one's own
# ---------------------------------------------------------------------------------------------------------------------


class Stepper:
    """What an optimiser carries between calls of RNN.train_step."""

    def __init__(self, network: Any, optimizer: optimizers.Optimizer) -> None:
        self.kind, self.count, self.draws = type(optimizer), 0, network._keys(network._entropy, network._entropy)
        self.theta, self.gradient = network.theta, np.empty_like(network._theta)
        self.slots = optimizer.slots(network._theta), optimizer.slots(network._theta)

    def step(self, network: Any, optimizer: optimizers.Optimizer, data: Any, max_grad_norm: float,
             threads: int, backend: Backend, compute: Callable[[], tuple[float, float]] | None = None,
             sequences: np.ndarray | None = None) -> float:
        """One update, whole or not at all; the data loss before it.

        `sequences` are the places of the batch's sequences in the data that they were taken from: noise is a function of them.
        compute() -> loss, penalty, with `gradient` overwritten, stands in for the loss of `data`.
        """
        slots, spare = self.slots
        for mine, its in zip(spare, slots):
            mine[...] = its
        self.theta[...] = network._theta
        draws = None if self.draws is None else _at(self.draws, network._positions.noise, 0, sequences)
        loss, penalty = compute() if compute else network._loss_into(self.gradient, *data, threads, backend, draws=draws)
        clip_norm = _core.clip_norm if backend == "core" else reference.clip_norm
        gradient, norm = clip_norm(self.gradient, max_grad_norm)
        what = "loss" if not math.isfinite(loss + penalty) else "gradient"
        if math.isfinite(loss + penalty) and math.isfinite(norm):
            optimizer._update(self.theta, gradient, spare, self.count + 1, learning_rate=optimizer.learning_rate,
                              backend=backend)
            network._hold(self.theta)
            what = "" if np.isfinite(self.theta).all() else "update"
        if what:
            culprit = "" if what == "update" else _first_bad(network, data, backend)
            raise FloatingPointError(f"{what} is not finite in step {self.count}{culprit}: loss {loss + penalty}, gradient "
                                     f"norm {norm}; the parameters are those before this step")
        network._theta[...] = self.theta
        self.slots, self.count = (spare, slots), self.count + 1
        if draws is not None and compute is None:
            network._positions = network._positions.moved(Positions(noise=1))
        self.norm = norm
        return loss


# ---------------------------------------------------------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(repr=False)
class StreamHistory:
    """What RNN.stream did.

    Attributes
    ----------
    loss : list of float
        Data loss of each update's window, before the update.
    gradient_norm : list of float
        Before clipping, penalties included.
    steps : int
        Time steps that were read.
    final_state : array (B, H)
        The state after them, with which the stream can be gone on with; None where there were none.
    stopped : str
        "end", or "callback", "interrupted", "nonfinite" or "error".
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    steps: int = 0
    final_state: np.ndarray | None = None
    stopped: str = ""

    def __repr__(self) -> str:
        parts = [_checks.counted(len(self.loss), "update"), _checks.counted(self.steps, "step")]
        parts += [f"loss={loss:.6g}" for loss in self.loss[-1:]]
        if len(self.loss) > RECENT:
            parts.append(f"mean of the last {RECENT} losses {float(np.mean(self.loss[-RECENT:])):.6g}")
        return f"StreamHistory({', '.join([*parts, f'stopped={self.stopped!r}'])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns, a row for each update: ``pandas.DataFrame(history.rows())``."""
        return {"update": np.arange(1, len(self.loss) + 1), "loss": np.array(self.loss, np.float64),
                "gradient_norm": np.array(self.gradient_norm, np.float64)}


def stream(network: Any, chunks: Iterable[tuple[Any, ...]], k1: int, k2: int, initial_state: np.ndarray | None,
           optimizer: optimizers.Optimizer, max_grad_norm: float, callback: Callback | None, threads: int,
           backend: Backend, progress: bool | None = None, windows: int | None = None) -> StreamHistory:
    """The loop behind RNN.stream; `chunks` gives checked (X, D, weights, resets), which may be of any length.

    `windows` is how many windows of k1 steps they hold, if that is known.
    """
    history, stepper, shown = StreamHistory(), Stepper(network, optimizer), Progress(None, windows, progress, "window")
    window = _Window(network, stepper.gradient, k1, k2, initial_state, threads, backend)
    network.history = history
    try:
        for chunk in chunks:
            for ready in window.add(chunk):
                if _learn(network, window, ready, stepper, optimizer, max_grad_norm, callback, history, shown):
                    history.stopped = "callback"
                    return history
        ready = window.rest()
        if ready is not None:
            _learn(network, window, ready, stepper, optimizer, max_grad_norm, callback, history, shown)
        history.stopped = "end"
    except BaseException as error:
        names = {KeyboardInterrupt: "interrupted", FloatingPointError: "nonfinite"}
        history.stopped = next((name for kind, name in names.items() if isinstance(error, kind)), "error")
        raise
    finally:
        shown.close()
    return history


def _learn(network, window, steps, stepper, optimizer, max_grad_norm, callback, history, shown):
    """One update by a window that ends with these new steps; whether the callback ends the stream."""
    loss, penalty, weight = window.compute(steps)
    if weight > 0:
        stepper.step(network, optimizer, window.data(), max_grad_norm, window.threads, window.backend, lambda: (loss, penalty))
        if window.draws is not None:  # the noise of the whole stream belongs to one call
            network._positions = network._positions.later(Positions(noise=window.call + 1))
        history.loss.append(loss)
        history.gradient_norm.append(stepper.norm)
    window.move_on()
    history.steps, history.final_state = window.read, network._as_given(window.states[-1].copy())
    if shown.wanted:
        shown.update()
        shown.window(window.read, history.loss)
    if weight == 0 or callback is None:
        return False
    answer = callback(Record(0, len(history.loss), loss, None, stepper.norm, network))
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


class _Window:
    """The last steps of a stream: those whose states are known, and behind them those to learn from."""

    def __init__(self, network, gradient, k1, k2, initial_state, threads, backend):
        self.network, self.gradient, self.k1, self.k2 = network, gradient, k1, k2
        self.threads, self.backend, self.draws = threads, backend, network._keys(network._entropy, network._entropy)
        self.call = network._positions.noise
        self.own_start, self.states = initial_state is None, None if initial_state is None else initial_state[None]
        self.known = None     # X, D, weights, resets of the steps that the states but the first stand behind
        self.waiting = []     # chunks that do not make a window yet
        self.read = 0

    def add(self, chunk):
        """The windows of k1 new steps that this chunk completes, one after another."""
        self.waiting.append(chunk)
        while sum(len(part[0]) for part in self.waiting) >= self.k1:
            yield self._take(self.k1)
        self.waiting = [_joined([part]) for part in self.waiting]

    def rest(self):
        """What no window has taken, None where there is nothing."""
        left = sum(len(part[0]) for part in self.waiting)
        return self._take(left) if left else None

    def _take(self, n):
        """The first n steps of those that wait."""
        taken = []
        while n > 0:
            part = self.waiting.pop(0)
            if len(part[0]) > n:
                self.waiting.insert(0, tuple(None if array is None else array[n:] for array in part))
                part = tuple(None if array is None else array[:n] for array in part)
            taken.append(part)
            n -= len(part[0])
        return _joined(taken)

    def compute(self, new):
        """Loss, penalty and Σ m of the new steps; the gradient is in `gradient`."""
        self.new = len(new[0])
        self._forget(max(0, self.k2 - self.new))
        self.steps = new if self.known is None else _joined([self.known, new])
        X, D, weights, resets = self.steps
        self.S = np.empty((len(X) + 1, X.shape[1], self.network._kept_width), self.network.dtype)
        past = self.S[:0] if self.states is None else self.states[1:]
        own = self.own_start and self.states is not None and self.read == len(past)
        return self.network._window_into(self.gradient, X, D, weights, None if self.states is None else self.states[0], None,
                                         resets, past, own, self.k2, self.S, self.threads, self.backend,
                                         None if self.draws is None else _at(self.draws, self.call, self.read - len(past),
                                                                             None))

    def _forget(self, most):
        """All but the last `most` of the known steps, and the states before and after these."""
        first = max(0, len(self.known[0]) - most) if self.known is not None else 0
        if first > 0:
            self.states = self.states[first:].copy()
            self.known = tuple(None if array is None else array[first:].copy() for array in self.known) if most else None

    def data(self):
        """The window as RNN.loss_and_gradients takes it, to find words for what is not finite."""
        X, D, weights, resets = self.steps
        return X, D, weights, None if self.states is None else self.states[0], None, resets

    def move_on(self):
        """Keep of the steps and states what the next window goes back through."""
        self.read += self.new
        self.known, self.states = self.steps, self.S
        self._forget(self.k2 - 1)  # the last window may be of one step


def _joined(parts):
    """Pieces of (X, D, weights, resets) as one; where one of them has weights or resets, the others get neutral ones."""
    if len(parts) == 1:
        return tuple(None if array is None else array.copy() for array in parts[0])  # whoever made it may use it again
    joined = []
    for n, arrays in enumerate(zip(*parts)):
        if all(array is None for array in arrays):
            joined.append(None)
            continue
        model = next(array for array in arrays if array is not None)
        neutral = 1 if n == 2 else 0
        joined.append(np.concatenate([
            np.full((len(part[0]), *model.shape[1:]), neutral, model.dtype) if array is None else array
            for part, array in zip(parts, arrays)]))
    return tuple(joined)
