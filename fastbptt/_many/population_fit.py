"""The loop behind Population.fit: groups of networks in lanes, or one network at a time, and `PopulationHistory`.

Add a new option of Population.fit to `FitSettings`, and a new result to `PopulationHistory`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, optimizers, _population, schedules
from .._training import batches as _batches
from .._training.progress import Progress
from ..backends.arguments import Batch, Learners, Updates, Validation
from ..network import STREAMS
from ..options import checks as _option_checks
from .lanes import OWN

if TYPE_CHECKING:
    from .._types import Shuffle

CALL_SECONDS = 0.05  # seconds of training between two checks for callbacks, time and Ctrl-C


CUT_OFF = ("nonfinite", "interrupted", "error")  # after these ends, a network keeps its last parameters, not its best


@dataclass(repr=False)
class PopulationHistory:
    """The record of a population's training: arrays with a row per network, NaN after a network's end.

    Attributes
    ----------
    train_loss, validation_loss, penalty, gradient_norm : arrays (n, epochs)
        As in `History`, for each network. validation_loss has no columns without a validation set.
    seconds : list of float
        For each epoch, seconds since the start of all networks.
    stopped : list of str
        Why each network ended, in the words of `History`: "epochs", "patience", "nonfinite" (its parameters are those
        before that update), "callback", "time", "interrupted" or "error".
    best_epoch : array (n,) of int
        The epoch of the lowest validation loss, from 0; −1 without one.

    Examples
    --------
    >>> population = Population(3, 2, 8, 1, random_state=0)
    >>> history = population.fit(np.zeros((5, 4, 2)), np.ones((5, 4, 1)), epochs=2)
    >>> history.train_loss.shape
    (3, 2)
    """

    train_loss: np.ndarray
    validation_loss: np.ndarray
    penalty: np.ndarray
    gradient_norm: np.ndarray
    seconds: list[float] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    best_epoch: np.ndarray | None = None

    def __repr__(self) -> str:
        """Return numbers of networks and epochs, and why the networks ended, as text."""
        n, epochs = self.train_loss.shape
        seconds = "".join(f", {last:.3g} s" for last in self.seconds[-1:])
        return (f"PopulationHistory({_checks.counted(n, 'network')}, at most {_checks.counted(epochs, 'epoch')}, stopped: "
                f"{_checks.reasons(self.stopped)}{seconds})")

    def rows(self) -> dict[str, Any]:
        """Return a dict of columns with one row per network, for ``pandas.DataFrame(history.rows())``.

        Examples
        --------
        >>> population = Population(3, 2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 4, 2)), np.ones((5, 4, 1))
        >>> list(population.fit(X, D, epochs=2).rows())[:3]
        ['network', 'epochs', 'train_loss']
        """
        n, last = len(self.train_loss), np.isfinite(self.train_loss).sum(axis=1)
        final = [self.train_loss[k, last[k] - 1] if last[k] else math.nan for k in range(n)]
        columns = {"network": np.arange(n), "epochs": last, "train_loss": np.array(final), "stopped": list(self.stopped)}
        if self.validation_loss.shape[1]:
            columns |= {"best_epoch": self.best_epoch, "validation_loss": np.array(
                [self.validation_loss[k, e] if e >= 0 else math.nan
                 for k, e in enumerate(self.best_epoch)])}  # type: ignore[arg-type]
        return columns


@dataclass(frozen=True, eq=False)
class FitSettings:
    """The checked options of one training of a population.

    Attributes
    ----------
    optimizer : optimizers.Optimizer
        The update rule. `rates` replace its learning rate.
    rates, max_norms : arrays (n,)
        Learning rate of each network, and the norm to which its gradient is clipped; inf for no clipping.
    schedule : schedules.Schedule
        Factor of the learning rates in each epoch.
    epochs, batch_size : int
    patience : int or None
        A network stops after this many epochs without a better validation loss.
    min_improvement : float
        A validation loss is better if it is lower by more than this.
    shuffle : bool or "spread"
    time_limit : float
        Seconds; may be inf.
    callbacks : tuple of functions of (epoch, population)
    threads : int
        Number of threads; 0 for the default.
    seeds : list of n ints, optional
        Seeds of the random streams. None: each network's own streams continue.
    """

    optimizer: optimizers.Optimizer
    rates: np.ndarray
    max_norms: np.ndarray
    schedule: schedules.Schedule
    epochs: int
    batch_size: int
    patience: int | None
    min_improvement: float
    shuffle: Shuffle
    time_limit: float
    callbacks: tuple[Any, ...]
    threads: int
    seeds: list[int] | None = None


class Fit:
    """One call of Population.fit."""

    def __init__(self, population: Any, data: tuple[Any, ...], validation: tuple[Any, ...] | None, settings: FitSettings,
                 progress: Any) -> None:
        """Keep the arguments of a training.

        `data` and `validation` come from `Population._check`: X, D, weights, initial_state, lengths. `progress` is a
        Progress, or the option of `fit`.
        """
        self.population, self.data, self.validation, self.settings = population, data, validation, settings
        if not isinstance(progress, Progress):
            progress = Progress(settings.epochs, population.n, progress, "network")
        self.progress = progress

    def train_networks(self):
        """Train all networks, in lanes if they fit, and return the PopulationHistory."""
        return self.fit_in_lanes() if self.fits_lanes() else self.fit_one_at_a_time()

    def fits_lanes(self):
        """Return whether lanes can do this training: the networks, batches, optimiser and schedule, and initial states."""
        settings = self.settings
        p = self.population
        return (p._lanes is not None and p._lanes_are_faster(self.data, settings.batch_size)
                and type(settings.optimizer) in optimizers.OPTIMIZERS.values()
                and settings.schedule.begin() == ()  # lanes do not keep a schedule's own numbers
                and (self.data[3] is None or settings.batch_size >= self.data[0].shape[-1 if p._like.one_hot else -2]))

    def fit_one_at_a_time(self):
        """Train each network by RNN.fit, copy its parameters back, and return the PopulationHistory."""
        settings = self.settings
        p, (X, D, weights, initial_state, lengths) = self.population, self.data
        fields = ("train_loss", "validation_loss", "penalty", "gradient_norm")
        columns = {name: np.full((p.n, settings.epochs), np.nan) for name in fields}
        history, begin = PopulationHistory(**columns, best_epoch=np.full(p.n, -1)), time.monotonic()
        history.stopped = ["interrupted"] * p.n
        p.history = history
        for k in range(p.n):
            net, validation = p[k], None
            if self.validation is not None:
                V = self.validation
                validation = (*p._own_data(k, V[0], V[1]), p._own_weights(k, V[2]), p._own_part(k, V[4], 1))
            try:
                found = net.fit(*p._own_data(k, X, D), weights=p._own_weights(k, weights), lengths=p._own_part(k, lengths, 1),
                                initial_state=p._own_part(k, initial_state, 2), validation=validation, epochs=settings.epochs,
                                batch_size=settings.batch_size, schedule=settings.schedule, shuffle=settings.shuffle,
                                random_state=None if settings.seeds is None else settings.seeds[k],
                                optimizer=dataclasses.replace(settings.optimizer, learning_rate=float(settings.rates[k])),
                                max_grad_norm=None if settings.max_norms[k] == math.inf else float(settings.max_norms[k]),
                                patience=settings.patience,
                                min_improvement=settings.min_improvement, progress=False,
                                callbacks=[lambda record, f=f: f(record.epoch, p) for f in settings.callbacks],
                                time_limit=None if settings.time_limit == math.inf else settings.time_limit,
                                n_threads=settings.threads)
                history.stopped[k] = found.stopped
            except FloatingPointError:
                found = net.history
                history.stopped[k] = "nonfinite"
            except BaseException as error:
                p._theta[:, k], p._positions[k] = net.theta, net._positions
                if not isinstance(error, KeyboardInterrupt):
                    history.stopped[k:] = ["error"] * (p.n - k)
                raise
            p._theta[:, k], p._positions[k] = net.theta, net._positions
            self.progress.network(found)
            for name in fields:
                values = getattr(found, name)
                columns[name][k, :len(values)] = values
            history.best_epoch[k] = -1 if found.best_epoch is None else found.best_epoch
        history.seconds = [time.monotonic() - begin]
        if self.validation is None:
            history.validation_loss = history.validation_loss[:, :0]
        return history

    def fit_in_lanes(self):
        """Train all networks in compiled code, some epochs per call, and return the PopulationHistory.

        A call takes about CALL_SECONDS. Between two calls, callbacks, the time limit and Ctrl-C take effect.
        """
        settings = self.settings
        p, n = self.population, self.population.n
        X, D, weights, initial_state, lengths = self.data
        X, D, weights, lengths = p._for_lanes(X, D, weights, lengths)
        self.arrays = X, D, weights, initial_state, lengths
        if self.validation is not None:
            V = self.validation
            self.validation_arrays = p._for_lanes(V[0], V[1], V[2], V[4])
        # The networks that still train: their places in the population, and their arrays with one column per network
        N = p._theta.shape[1]
        self.training_networks, self.theta = np.arange(n), p._theta
        self.slots = [np.zeros_like(p._theta) for _ in settings.optimizer.slots(p._theta[:, 0])]
        self.penalties = _flat_penalties(p)
        self.going = np.zeros(N, p._theta.dtype)
        self.going[:n] = 1
        self.best, self.target = np.full(N, np.inf), np.full(N, np.inf)
        self.best_epoch, self.target_epoch = np.full(N, -1, np.intp), np.zeros(N, np.intp)
        self.best_theta = p._theta.copy()
        self.history = PopulationHistory(*(np.full((n, 0), np.nan) for _ in range(4)), best_epoch=np.full(n, -1))
        self.history.stopped = ["epochs"] * n
        p.history = self.history
        self.final_theta = p._theta.copy()  # each network's final parameters, with patience
        self.updates, self.curves, self.orders_in_use = 0, [[], [], [], []], None
        self.begin = list(p._positions) if settings.seeds is None else [_batches.Positions()] * n
        self.orders = np.zeros(n, np.int64)  # used by this run, for each network
        self.out_of_patience = []  # in the last epoch; another reason to end there takes precedence
        begin, epoch, stretch, why = time.monotonic(), 0, 1, ""
        try:
            while epoch < settings.epochs and self.going.any() and not why:
                self.compact_lanes()
                count = 1 if settings.callbacks else min(stretch, settings.epochs - epoch)
                before = time.monotonic()
                losses, validation = self.train(epoch, count)
                if time.monotonic() - before < CALL_SECONDS / 2:
                    stretch *= 2
                epoch += count
                self.history.seconds += [time.monotonic() - begin] * count
                self.report_progress(epoch, losses, validation)
                answers = [function(epoch - 1, p) for function in settings.callbacks]
                if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
                    why = "callback"
                elif time.monotonic() - begin >= settings.time_limit:
                    why = "time"
                if settings.callbacks and self.theta is not p._theta:  # callbacks may have changed parameters
                    self.theta[:, :len(self.training_networks)] = p._theta[:, self.training_networks]
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
            raise
        finally:
            still_going = self.training_networks[self.going[:len(self.training_networks)] > 0]
            for k in [*still_going, *self.out_of_patience] if why else ():
                self.history.stopped[k] = why
            self.move_streams()
            self.record_current_networks()
            if settings.patience is not None:
                p._theta[:, :n] = self.final_theta[:, :n]
            self.write_history()
        return self.history

    def move_streams(self):
        """Move the networks' streams past the epochs that the last call of compiled code began."""
        settings = self.settings
        begun, self.orders_in_use = self.orders_in_use, None
        for k, epochs in zip(*begun) if begun else ():
            self.orders[k] += abs(epochs)  # an epoch that failed counts too, as in RNN.fit
            if settings.seeds is None or settings.seeds[k] == self.population.seeds[k]:
                self.population._positions[k] = self.population._positions[k].later(
                    self.begin[k].moved(_batches.Positions(shuffling=int(self.orders[k]))))

    def record_current_networks(self):
        """Record best epoch and final parameters of the networks in `training_networks`, before they leave the lanes.

        With patience, final parameters are the best ones. Networks that were cut off keep their last parameters.
        """
        n = len(self.training_networks)
        self.history.best_epoch[self.training_networks] = self.best_epoch[:n]
        is_whole = np.array([self.history.stopped[k] not in CUT_OFF for k in self.training_networks], bool)
        self.final_theta[:, self.training_networks] = np.where(np.isfinite(self.best[:n]) & is_whole, self.best_theta[:, :n],
                                                               self.theta[:, :n])

    def compact_lanes(self):
        """Drop the stopped networks from the arrays, as soon as that empties a quarter of the groups of lanes."""
        L, n = _population.lanes(self.population._like.dtype), len(self.training_networks)
        kept = np.flatnonzero(self.going[:n])
        if -(-len(kept) // L) > 0.75 * -(-n // L):
            return
        self.record_current_networks()
        self.training_networks = self.training_networks[kept]
        columns = np.zeros(-(-len(kept) // L) * L, np.intp)  # columns after the last network are empty
        columns[:len(kept)] = kept
        self.theta, self.best_theta, *self.slots = (
            array.take(columns, axis=1) for array in (self.theta, self.best_theta, *self.slots))
        self.penalties = [None if array is None else array.take(columns, axis=1) for array in self.penalties]
        for array in (self.theta, *self.slots):
            array[:, len(kept):] = 0
        for name in ("best", "target", "best_epoch", "target_epoch"):
            setattr(self, name, getattr(self, name).take(columns))
        self.going = (np.arange(len(columns)) < len(kept)).astype(self.going.dtype)
        self.arrays = [_select_networks(array, kept, ndim) for array, ndim in zip(self.arrays, (4, 4, None, 3, 2))]
        if self.validation is not None:
            self.validation_arrays = [_select_networks(array, kept, ndim)
                                      for array, ndim in zip(self.validation_arrays, (4, 4, None, 2))]

    def train(self, epoch, count):
        """Train the networks of `training_networks` for `count` epochs in one compiled call.

        Evaluate the validation set after each.

        `epoch` epochs were trained before. Return training and validation losses, each an array (p.n, count) with a row for
        each network of the population: NaN for networks that are not in `training_networks` and for epochs that a network did
        not complete. The validation losses are None without a validation set.

        Also updates theta, slots, `going`, the best and target epochs, `updates`, the random streams, `curves`,
        `history.stopped` and `out_of_patience` (the networks that ended with the last of these epochs).
        """
        settings = self.settings
        p = self.population
        B, n, N = self.arrays[0].shape[-2], len(self.training_networks), self.theta.shape[1]
        self.out_of_patience = []
        order = validation = None
        if settings.shuffle and settings.batch_size < B:
            # A stopped network gets an order of sequences too, but does not read it
            seeds = p.seeds if settings.seeds is None else settings.seeds
            order = np.stack([[_batches.order(settings.shuffle, B, settings.batch_size, _batches.generator(
                seeds[k], STREAMS.index("shuffling"), self.begin[k].shuffling + int(self.orders[k]) + e))
                for e in range(count)] for k in self.training_networks])
        rates, max_norms, ended = np.zeros(N), np.full(N, np.inf), np.zeros(N, np.intp)
        rates[:n], max_norms[:n] = settings.rates[self.training_networks], settings.max_norms[self.training_networks]
        factors = np.array([settings.schedule.factor((), epoch + e, settings.epochs) for e in range(count)], np.float64)
        updates = Updates(settings.optimizer.rule, vars(settings.optimizer), self.slots, factors[:, None] * rates, max_norms,
                          order, settings.batch_size, self.updates)
        if self.validation is not None:
            held_X, held_D, held_weights, held_lengths = self.validation_arrays
            validation = Validation(Batch(held_X, held_D, held_weights, lengths=held_lengths), self.best, self.target,
                                    self.best_epoch, self.target_epoch, self.best_theta, epoch, settings.patience or 0,
                                    settings.min_improvement)
        went = self.going[:n] > 0
        self.orders_in_use = self.training_networks, ended
        found = p._lanes.train(n, self.theta, Batch(*self.arrays), updates, Learners(self.going, ended, *self.penalties),
                               validation, settings.threads)
        losses, penalties, norms, judged = found
        self.move_streams()
        self.updates += count * -(-B // settings.batch_size)
        if self.theta is not p._theta:
            p._theta[:, self.training_networks] = self.theta[:, :n]
        # ended[k]: the epochs that the network in lane k completed; -1 minus that number if a value became NaN or infinite
        stopped, ended = went & (self.going[:n] == 0), ended[:n]
        for k in np.flatnonzero(stopped):
            if ended[k] < 0:
                self.history.stopped[self.training_networks[k]] = "nonfinite"
                continue
            if ended[k] == count:
                self.out_of_patience.append(self.training_networks[k])
            self.history.stopped[self.training_networks[k]] = "epochs" if epoch + ended[k] == settings.epochs else "patience"
        completed = np.arange(count) < np.where(ended < 0, -1 - ended, ended)[:, None]
        for column, values in zip(self.curves, (losses, judged, penalties, norms)):
            column.append(np.full((p.n, count), np.nan))
            if values is not None:
                column[-1][self.training_networks] = np.where(completed, values, np.nan)
        return self.curves[0][-1], None if judged is None else self.curves[1][-1]

    def report_progress(self, epoch, losses, validation):
        """Show the progress after `epoch` epochs, with the mean losses of the last.

        A network that still trains counts as a fraction.

        `losses` and `validation` are what `train` returned.
        """
        going = int(np.count_nonzero(self.going))
        self.progress.reach(self.population.n - going * (1 - epoch / self.settings.epochs))
        self.progress.epoch(epoch - 1, _mean_of_finite(losses[:, -1]),
                            None if validation is None else _mean_of_finite(validation[:, -1]))

    def write_history(self):
        """Join the curves of all calls of `train` to the arrays (n, epochs) of the history."""
        history, names = self.history, ("train_loss", "validation_loss", "penalty", "gradient_norm")
        for name, column in zip(names, self.curves):
            if column and not (name == "validation_loss" and self.validation is None):
                setattr(history, name, np.concatenate(column, axis=1))


def _flat_penalties(population):
    """Return l1 and l2 of every parameter and network of a Population, in the shape of theta (P, N).

    A penalty that is zero everywhere is None.
    """
    flat, shapes = [], {name: value.shape for name, value in population._like.parameters.items()}
    for name in OWN:
        values, given = np.zeros_like(population._theta), population._own_options or [population._like._config]
        for k, options in enumerate(given):
            numbers, begin = _option_checks.by_parameter(name, options[name], shapes), 0
            for key, shape in shapes.items():
                columns = slice(k, k + 1) if population._own_options else slice(population.n)
                values[begin:begin + math.prod(shape), columns] = numbers.get(key, 0)
                begin += math.prod(shape)
        flat.append(values if values.any() else None)
    return flat


def _select_networks(array, networks, ndim):
    """Return the rows of these networks if the array has `ndim` dimensions, and thus a first axis of networks, else the array.

    Weights always have four dimensions (`ndim` None), and a first axis of 1 if networks share them.
    """
    if array is None or ndim is not None and array.ndim != ndim or ndim is None and len(array) == 1:
        return array
    return array[networks]


def _mean_of_finite(values):
    """Return the mean of the finite values, or NaN if there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan
