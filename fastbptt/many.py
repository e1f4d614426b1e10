"""Many networks at once, of any shapes: what fits together in lanes is trained as populations, the rest one by one.

Design
------
(a) A `_Job` is one network with its checked data and the arguments of its run; nothing is trained before all of them are
    checked. What estimators add happens before and behind: `_Estimator._begin` makes a job's data, `_end` takes its result.
(b) Jobs that a population can serve are put together by what a population shares; series of unequal length are padded, and
    `lengths` select. A `_Chunk` is some of them, or jobs without lanes: what one worker gets at once, and `_work` computes,
    in this process or another. A chunk brings back arrays (`_Found`), which are written to the caller's networks here.
(c) A chunk that fails is reported with its networks after all others have ended, and `resume=` goes on with what is left.
"""

from __future__ import annotations

import concurrent.futures
import copy
import dataclasses
import itertools
import json
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from . import _files, _population, _checks, network as _network, optimizers, population as _pop, schedules
from ._training import batches as _batches, checkpoint as _checkpoint, settings as _settings
from ._training.progress import Progress
from .estimators import RNNClassifier, RNNRegressor, _Estimator
from .network import RNN
from .population import Population
from .training import History

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._types import (
        Bool, FilePath, Float, Int, ManyOptions, OptimizerLike, ScheduleLike, Shuffle, Splitter, Validation,
    )

# What one chunk is given to do at least where chunks are sent to workers, in seconds of the estimate below. A chunk of 1, 16,
# 128 and 1024 networks of 41 parameters and 50 targets each takes 1, 4, 4 and 117 ms more by a process than here, at the least
# of nine, and several times as much in the median (ProcessPoolExecutor; Intel, with other work on its two cores, 2026-11).
LEAST = 0.05
FLOPS = 2e9           # a second, of a core with small networks
CHUNKS_A_WORKER = 4   # so that workers end together
MOST_BYTES = 2**28    # of the data that a population in lanes holds beside those given
SHORT = 0.75          # of a population's longest series: shorter ones make another, if these are enough for a vector
CURVES = ("train_loss", "validation_loss", "penalty", "gradient_norm")
KEPT = ("epochs", "updates", "patience", "nonfinite", "callback", "time")  # ends that resume= does not begin anew
# Arguments of RNN.fit that fit_many has by name
NAMED = ("epochs", "min_updates", "batch_size", "optimizer", "learning_rate", "schedule", "max_grad_norm", "patience",
         "min_improvement", "shuffle", "random_state", "time_limit")
# Others, with which networks run one at a time
OTHERS = ("resets", "batches", "updates", "updates_per_epoch", "tbptt", "validation_every", "on_nonfinite", "memory_limit")


@dataclass(repr=False)
class Fits:
    """What `fit_many` did: an entry, or a row, for each network, in the order in which they were given.

    Attributes
    ----------
    networks : list of RNN, or of estimators
    train_loss, validation_loss, penalty, gradient_norm : arrays (n, epochs)
        As of `History`; NaN after a network's end. validation_loss has no columns where nothing was validated.
    seconds : array (n,), what the network, or the population that it was in, took
    stopped : list of str
        As of `History`, and "nonfinite" for a network whose loss or gradient became infinite or NaN: its parameters are those
        before that update. "error": see `errors`; "": not reached.
    best_epoch : array (n,) of int, from 0; −1 without a validation set
    errors : list of Exception or None
    lanes : array (n,) of bool, whether it was trained in a vector lane
    """

    networks: list[Any]
    train_loss: np.ndarray
    validation_loss: np.ndarray
    penalty: np.ndarray
    gradient_norm: np.ndarray
    seconds: np.ndarray
    stopped: list[str]
    best_epoch: np.ndarray
    errors: list[Exception | None]
    lanes: np.ndarray

    _begun = None  # a list of _Begun, by which `resume` knows the runs

    @classmethod
    def _empty(cls, networks):
        n = len(networks)
        return cls(networks, *(np.full((n, 0), np.nan) for _ in CURVES), np.zeros(n), [""] * n, np.full(n, -1),
                   [None] * n, np.zeros(n, bool))

    def __len__(self) -> int:
        return len(self.networks)

    def __repr__(self) -> str:
        return f"Fits({self.describe()}, stopped: {_checks.reasons(self.stopped)})"

    def rows(self) -> dict[str, Any]:
        """A dict of columns, a row for each network: ``pandas.DataFrame(fits.rows())``."""
        epochs, every = np.isfinite(self.train_loss).sum(axis=1), range(len(self))
        columns = {"network": np.arange(len(self)), "epochs": epochs, "stopped": list(self.stopped), "seconds": self.seconds,
                   "train_loss": np.array([self.train_loss[k, epochs[k] - 1] if epochs[k] else math.nan for k in every])}
        if self.validation_loss.shape[1]:
            columns |= {"best_epoch": self.best_epoch, "validation_loss": np.array(
                [self.validation_loss[k, e] if e >= 0 else math.nan for k, e in enumerate(self.best_epoch)])}
        return columns

    def history(self, k: Int) -> History:
        """The training.History of network k; of learning_rate and seconds by epoch nothing is kept."""
        found = History(stopped=self.stopped[k], best_epoch=None if self.best_epoch[k] < 0 else int(self.best_epoch[k]))
        epochs = np.flatnonzero(~np.isnan(self.gradient_norm[k]))
        for name in CURVES:
            row = getattr(self, name)[k]
            if not np.isnan(row).all():  # as the validation losses are of a network without, beside others with
                setattr(found, name, row[:epochs[-1] + 1].tolist())
        return found

    def describe(self) -> str:
        """How many networks were trained in lanes, and how many one at a time."""
        lanes = int(self.lanes.sum())
        return f"{len(self)} networks: {lanes} in vector lanes, {len(self) - lanes} one at a time"

    def _write(self, k, found):
        """The result of network k."""
        self.stopped[k], self.best_epoch[k], self.seconds[k] = found.stopped, found.best_epoch, found.seconds
        self.lanes[k], self.errors[k] = found.in_lanes, found.error
        for name in CURVES:
            values, table = found.curves[name], getattr(self, name)
            if len(values) > table.shape[1]:
                wider = np.full((len(self), max(len(values), 2 * table.shape[1])), np.nan)
                wider[:, :table.shape[1]] = table
                setattr(self, name, wider)
                table = wider
            table[k] = np.nan
            table[k, :len(values)] = values

    def _trim(self):
        for name in CURVES:
            table = getattr(self, name)
            seen = np.flatnonzero(~np.isnan(table).all(axis=0))
            setattr(self, name, table[:, :seen[-1] + 1 if len(seen) else 0].copy())


class WorkersFailed(RuntimeError):
    """Some networks could not be trained; the others are. `fits` holds what was done, for ``resume=``."""

    def __init__(self, words: str, fits: Fits) -> None:
        super().__init__(words)
        self.fits = fits

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.fits)


@dataclass(eq=False)
class _Job:
    """A network and its run, checked."""

    k: int
    network: RNN
    data: tuple | None          # X, D, weights, initial_state, lengths, resets; None where there are batches
    validation: tuple | None    # X, D, weights, lengths, resets
    seed: int
    optimizer: optimizers.Optimizer
    max_grad_norm: float | None
    settings: dict              # the other arguments of RNN.fit
    goes_on: bool = True        # in the network's own random streams; else the seed was given, and its streams begin

    @property
    def begin(self):
        """The positions of the random streams at which the run begins."""
        return self.network._positions if self.goes_on else _batches.Positions()

    def used_streams(self):
        """Return 1 for each random stream on which the run depends, and 0 for the others."""
        batches = self.settings.get("batches")
        return _batches.used_streams(batches is None and self.settings["shuffle"], callable(batches),
                                     self.network._draws_something)


@dataclass(eq=False)
class _Begun:
    """What a run is known by: one that takes its place must have begun alike."""

    run: dict           # options of the network and arguments of the run, by name; arrays as such
    start: np.ndarray   # the parameters
    seed: int
    begin: _batches.Positions | None = None  # of the random streams that the run uses; None in files of earlier versions

    @classmethod
    def of(cls, job, known):
        """Of a job; `known` keeps words for objects and fingerprints of arrays that several jobs share."""
        run = {**job.network._config, **job.settings, "max_grad_norm": job.max_grad_norm, "batches": "batches" in job.settings}
        run.pop("memory_limit", None)
        if "callbacks" in run:  # of estimators: what they stop by
            run["callbacks"] = [repr(each) for each in run["callbacks"]]
        if run["epochs"] is None and run.get("updates") is None:
            run["epochs"] = 100
        for name, rule in (("optimizer", job.optimizer), ("schedule", run["schedule"])):
            if id(rule) not in known:
                known[id(rule)] = _settings.described(rule)
            run[name] = known[id(rule)]
        for name, arrays in (("data", job.data), ("validation", job.validation)):
            for array in arrays or ():
                if array is not None and id(array) not in known:
                    known[id(array)] = _checkpoint.digest([array])
            run[name] = " ".join(known.get(id(array), "None") for array in arrays) if arrays else None
        return cls(run, job.network.theta, job.seed, job.begin.of(job.used_streams()))

    def compare(self, job, theirs, theta, ended, whose, finished):
        """Raise ValueError where `theirs`, which ended with `theta` and at the positions `ended`, is not the run of this job.

        finished: whether nothing is left to do for any network, None where that says nothing. Then a network without a seed
        of its own, which begins with other parameters each time, is another one, not one that is to go on.
        """
        differ = _checkpoint.differences(theirs.run, self.run)
        if not isinstance(self.seed, _checks.DrawnSeed) and self.seed != theirs.seed:
            differ["random_state"] = f"random_state is {theirs.seed} there and {self.seed} here"
        if differ:
            raise ValueError(f"{whose} is of another run of network {job.k}: {'; '.join(differ.values())}")
        if _checkpoint.is_close(theta, self.start):
            return
        if _checkpoint.is_close(theirs.start, self.start):
            if theirs.begin is not None and not _checkpoint.may_go_on(theirs.begin, ended.of(job.used_streams()), self.begin,
                                                                      finished):
                raise ValueError(f"{whose} is of another run of network {job.k}, which began with the same parameters at other "
                                 f"stream_positions: {theirs.begin._asdict()} there and {self.begin._asdict()} here")
            return
        if not isinstance(job.network._entropy, _checks.DrawnSeed):
            raise ValueError(f"{whose} is of another run of network {job.k}, which began with other parameters than this "
                             "network has")
        if finished:
            raise ValueError(f"{whose} is of finished runs, and network {job.k} began with other parameters than this network "
                             "has. Give each call a checkpoint of its own, or the networks a random_state, with which they "
                             "begin alike when their script is run again")

    def is_same(self, theirs):
        """Whether the other run began with the same seed and parameters, and all else is the same."""
        return (self.seed == theirs.seed and theirs.begin in (None, self.begin) and _checkpoint.is_close(theirs.start, self.start)
                and not _checkpoint.differences(theirs.run, self.run))


@dataclass(eq=False)
class _Chunk:
    """Jobs that one worker gets at once."""

    jobs: list
    in_lanes: bool
    threads: int | None

    def work(self):
        """What the worker gets of it; networks in lanes as one population, as a network by itself takes long to unpack."""
        if not self.in_lanes:
            return _Work(None, self.jobs, self.threads)
        population = Population._made_of([job.network for job in self.jobs])
        population.seeds = [job.seed for job in self.jobs]
        population._positions = [job.begin for job in self.jobs]
        jobs = [dataclasses.replace(job, network=None, settings=self.jobs[0].settings) for job in self.jobs]
        return _Work(population, jobs, self.threads)


@dataclass(eq=False)
class _Work:
    population: Population | None
    jobs: list
    threads: int | None


@dataclass(eq=False)
class _Found:
    """What became of one network."""

    theta: np.ndarray
    stopped: str
    best_epoch: int
    seconds: float
    in_lanes: bool
    curves: dict
    positions: _batches.Positions  # of the streams of the job's seed
    error: Exception | None = None


def fit_many(networks: Iterable[RNN] | Iterable[RNNRegressor | RNNClassifier], X: ArrayLike | None = None,
             D: ArrayLike | None = None, *, weights: ArrayLike | None = None, initial_state: ArrayLike | None = None,
             lengths: ArrayLike | None = None, validation: Validation | None = None, epochs: Int | None = None,
             min_updates: Int | None = None, batch_size: Int = 32, optimizer: OptimizerLike = "adam",
             learning_rate: ArrayLike | None = None, schedule: ScheduleLike | None = None, max_grad_norm: ArrayLike | None = None,
             patience: Int | None = None, min_improvement: Float = 0.0, shuffle: Shuffle = True,
             random_state: Sequence[Int] | np.ndarray | None = None,
             time_limit: Float | None = None, progress: Bool | None = None,
             executor: concurrent.futures.Executor | None = None,
             chunk_size: Int | None = None, checkpoint: FilePath | None = None, checkpoint_every: Float = 60,
             resume: Bool | Fits = False, overwrite: Bool = False, n_threads: Int | None = None,
             **others: Unpack[ManyOptions]) -> Fits:
    """Train many networks, each on its data as `RNN.fit` would alone; small ones side by side in vector lanes.

    Parameters
    ----------
    networks : sequence of n RNN, or of n RNNRegressor and RNNClassifier
        Of any options and sizes, each with penalties, connectivity and seed of its own; trained in place, as `fit` does.
        Those of one shape that `Population` has lanes for are trained together, all others one at a time, with the same
        results.
    X, D, weights, initial_state, lengths : as of `RNN.fit`, shared by all; or a list of n, or an array with a first axis of n
        Each network's own then, with T and B of their own: one series a network is a list of n arrays (T_k, 1, I). Folds
        are weights. For estimators X and D are the X and y of their `fit`, samples-first, and weights is sample_weight; all
        are each estimator's own where X is a list of n data sets (N, T, I), or lists of (T_n, I).
    validation : tuple (X, D[, weights[, lengths]]) or float, optional
        As of `RNN.fit`; each member is shared or own as above.
    learning_rate, max_grad_norm : float or (n,), optional
    random_state : None or list of n ints
        Seeds of order and split. By default the networks' own streams go on, as of `RNN.fit`.
    epochs, min_updates, batch_size, optimizer, schedule, patience, min_improvement, shuffle : as of `RNN.fit`
        min_updates raises the number of epochs of each network separately, by its own number of sequences. An estimator's
        own are those of its constructor, and are not given here.
    time_limit : float, optional
        Seconds of each network's, or each population's, own run.
    progress : bool, optional
        As of `RNN.fit`; the bar counts networks.
    executor : concurrent.futures.Executor, optional
        Where the networks are trained: processes, loky's, Dask's ``client.get_executor()``, mpi4py's ``MPIPoolExecutor``.
        They go out in chunks, and come back as these end. What goes out is pickled: functions need a name.
    chunk_size : int, optional
        Networks a chunk; by default as many as make four chunks a worker, if that is work enough to hide the shipping.
    checkpoint : path, optional
        Keep what has ended in this file, every `checkpoint_every` seconds and at the end. Of RNNs only. A file that is there
        already is replaced only if it is a checkpoint of these same runs.
    resume : bool or Fits
        Go on from the checkpoint, where there is one, or from what an earlier call returned (WorkersFailed has it as `fits`):
        networks that have ended are not trained again, and get the parameters that they ended with. Options, data and all
        arguments of each of them must be the same as before, those that say when the run ends too. Seeds, start
        parameters and `stream_positions` are compared as in `RNN.fit`. Functions given as `batches` cannot be compared: runs
        with another function are taken for the same runs.
    overwrite : bool
        Replace whatever file `checkpoint` is, without a check.
    n_threads : int, optional
        As of `Population.fit`; with an executor 1 for each worker by default.
    **others : resets, batches, updates, updates_per_epoch, tbptt, validation_every, on_nonfinite, memory_limit
        As of `RNN.fit`, for all; with one of them no network runs in a lane.

    Returns
    -------
    Fits

    Raises
    ------
    TypeError, ValueError : a network or an argument is not as said, or what is resumed is of other runs; it names the
        network, and nothing has been trained.
    FileExistsError : without `resume` and `overwrite` the file is anything but an earlier checkpoint of these runs.
    WorkersFailed : a worker ended, or raised; all other networks are trained.
    KeyboardInterrupt : Ctrl-C; networks that have ended are trained.
    """
    networks = list(networks)
    given = {"epochs": epochs, "min_updates": min_updates, "batch_size": batch_size, "optimizer": optimizer,
             "learning_rate": learning_rate, "schedule": schedule, "max_grad_norm": max_grad_norm, "patience": patience,
             "min_improvement": min_improvement, "shuffle": shuffle, "random_state": random_state, "time_limit": time_limit}
    for name in others:
        if name not in OTHERS:
            known = [*inspect.signature(fit_many).parameters, *OTHERS]
            raise TypeError(_checks.unknown_argument("fit_many", name, known, RNN) or
                            f"fit_many takes no {name!r}, only its own arguments and {', '.join(OTHERS)}")
    if not networks:
        raise ValueError("fit_many needs at least one network, got none")
    kind = _Estimator if isinstance(networks[0], _Estimator) else RNN
    for k, each in enumerate(networks):
        if not isinstance(each, kind):
            raise TypeError(f"networks must all be RNNs or all be estimators; networks[{k}] is a {type(each).__name__}")
    if len(set(map(id, networks))) < len(networks):
        raise ValueError("networks holds one object twice, which cannot learn two things")
    fits = Fits._empty(networks)
    run = _Call(fits, executor, chunk_size, progress, n_threads, checkpoint, checkpoint_every, overwrite)
    if resume is not False and run.overwrite:
        raise ValueError("overwrite=True replaces the checkpoint and resume goes on from it: give one of them")
    if kind is RNN:
        known = run.read(resume)
        jobs = _Jobs(networks, X, D, weights, initial_state, lengths, validation, given, others, known).make()
        return run.go(jobs, None)
    if checkpoint is not None:
        raise TypeError("checkpoint is of RNNs only; of estimators give resume= what an earlier call returned")
    known = run.read(resume)
    fittings, jobs = _jobs_of_estimators(networks, X, D, weights, initial_state, lengths, validation, given, others, known)
    return run.go(jobs, fittings)


# ---------------------------------------------------------------------------------------------------------------------
# Jobs: what is given, checked
# ---------------------------------------------------------------------------------------------------------------------


class _Jobs:
    """RNNs with what was given for all of them or for each, and the seeds of the runs that are resumed, or None."""

    def __init__(self, networks, X, D, weights, initial_state, lengths, validation, given, others, known=None):
        n = self.n = len(networks)
        self.known = [None] * n if known is None else known
        self.networks, self.validation, self.others = networks, validation, dict(others)
        self.data = {"X": X, "D": D, "weights": weights, "initial_state": initial_state, "lengths": lengths,
                     "resets": self.others.pop("resets", None)}
        self.rates = _numbers("learning_rate", given["learning_rate"], n)
        self.norms = _numbers("max_grad_norm", given["max_grad_norm"], n)
        self.seeds = _seeds(given["random_state"], n)
        self.optimizer = optimizers.make(given["optimizer"], None if self.rates is not None else given["learning_rate"])
        self.max_grad_norm = None if self.norms is not None or given["max_grad_norm"] is None else _checks.number(
            "max_grad_norm", given["max_grad_norm"], 0)
        self.settings = _run_settings(given) | self.others
        updates = self.others.get("updates")
        self.min_updates = _settings.check_least(given["min_updates"], None if updates is None else _checks.size("updates", updates))
        if given["patience"] is not None and validation is None:
            raise ValueError("patience needs validation=(X, D), whose loss it watches")
        self.converted, self.checked = {}, {}

    def make(self):
        jobs = []
        for k, net in enumerate(self.networks):
            seed = net._entropy if self.seeds is None else self.seeds[k]
            data = validation = None
            try:
                if "batches" not in self.others:
                    drawn = isinstance(seed, _checks.DrawnSeed) and self.known[k] is not None
                    data, validation = self._data_of(k, net, self.known[k] if drawn else seed)
                elif any(value is not None for value in self.data.values()):
                    raise TypeError("give X and D, or batches, not both")
                else:
                    validation = net._check_validation(self.validation)
            except (TypeError, ValueError) as error:
                raise type(error)(f"network {k}: {error}") from None
            rule = self.optimizer if self.rates is None else dataclasses.replace(self.optimizer, learning_rate=self.rates[k])
            jobs.append(_Job(k, net, data, validation, seed, rule,
                             self.max_grad_norm if self.norms is None else self.norms[k], self._settings_of(data),
                             goes_on=self.seeds is None))
        return jobs

    def _settings_of(self, data):
        """The settings of a network with these data: with min_updates, the number of epochs depends on their number."""
        if self.min_updates is None:
            return self.settings
        if any(name in self.others for name in ("batches", "updates", "tbptt")):
            return self.settings | {"min_updates": self.min_updates}  # RNN.fit counts
        return self.settings | {"epochs": _settings.least_epochs(
            self.settings["epochs"], self.min_updates, -(-data[0].shape[1] // self.settings["batch_size"]))}

    def _data_of(self, k, net, seed):
        """Network k's data and validation set; those that several networks share are checked once, and are one object."""
        if self.data["X"] is None or self.data["D"] is None:
            raise TypeError("give X and D, or batches")
        parts = {name: self._part(k, net, name, value, self.data["X"]) for name, value in self.data.items()}
        share = not isinstance(self.validation, tuple)
        V = () if share else self._validation_of(k, net)
        key = None
        if all(shared for _, shared in (*parts.values(), *V)):
            key = (net.input_size, net.hidden_size, net.output_size, net.target_size, net.dtype, net.loss, net.one_hot,
                   net.output, seed if share and self.validation is not None else None)
            if key in self.checked:
                return self.checked[key]
        values = [value for value, _ in parts.values()]
        found = net._training_data(*values, self.validation if share else tuple(value for value, _ in V), seed)
        (X, D, weights, initial_state, lengths, _), held = found
        _batches.refuse_nonfinite("", X, D, weights, lengths)
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        if X.shape[1] == 0:
            raise ValueError(f"X has no sequences to train on: shape {X.shape} was read as (T, B, I)")
        if held is not None:
            _batches.refuse_nonfinite("validation's ", *held[:4])
            if 0 in held[0].shape[:2]:
                raise ValueError(f"validation's X has nothing to judge by: shape {held[0].shape} was read as (T, B, I)")
        if key is not None:
            self.checked[key] = found
        return found

    def _validation_of(self, k, net):
        V = self.validation
        if not 2 <= len(V) <= 5:
            raise TypeError(f"validation must be (X, D[, weights[, lengths[, resets]]]), got a tuple of {len(V)}")
        return [self._part(k, net, name, value, V[0], "validation's ")
                for name, value in zip(("X", "D", "weights", "lengths", "resets"), V)]

    def _part(self, k, net, name, value, X, whose=""):
        """Network k's part of what was given under that name, beside X, and whether all share it."""
        if value is None:
            return None, True
        rows = 1 if net.output == "last" else 2
        most = {"X": 2 if net.one_hot else 3, "D": rows + 1, "weights": rows + 1, "initial_state": 2, "lengths": 1,
                "resets": 2}
        if isinstance(value, list) and len(value) == self.n and np.ndim(value[0]) > 0:
            return value[k], False
        if name == "initial_state" and net._stacked:
            return value, False
        if isinstance(value, np.ndarray):
            least = rows if name in ("D", "weights") else most[name]  # labels, and weights of steps
            if value.ndim > most[name] or value.ndim == most[name] > least and self._is_own(net, name, value, X, whose):
                if len(value) != self.n:
                    raise ValueError(f"{whose}{name} has shape {value.shape}: its first axis must be that of the {self.n} "
                                     "networks")
                return value[k], False
        return self._convert(net, name, value), True

    def _is_own(self, net, name, value, X, whose):
        """Whether labels or weights are (n, T, B), and not D or weights (T, B, O); ValueError where they may be both."""
        X = X[0] if isinstance(X, list) and len(X) == self.n and np.ndim(X[0]) > 0 else X
        shape = np.shape(X)[-3:-1] if not net.one_hot else np.shape(X)[-2:]
        rows = shape[1:] if net.output == "last" else shape
        is_labels = name == "D" and net.loss == "cross_entropy" and value.dtype.kind in "iu"
        if name == "D" and not is_labels or value.shape != (self.n, *rows):
            return False
        if value.shape == (*rows, net.target_size) and (is_labels or net.loss != "cross_entropy"):
            raise ValueError(_pop._ambiguous(f"{whose}{name}", value.shape, rows, *_pop.AMBIGUOUS[name]))
        return True

    def _convert(self, net, name, value):
        """A shared array in the network's dtype, once for all of that dtype."""
        if name in ("lengths", "resets") or name == "X" and net.one_hot:
            return value
        if name in ("X", "D") and isinstance(value, (list, tuple)):
            return value  # which the network's own checks convert, or refuse
        key = id(value), net.dtype
        if key not in self.converted:
            array = np.asarray(value)
            integer = array.dtype.kind not in "f" and name == "D" and net.loss == "cross_entropy"
            self.converted[key] = value if integer or array.dtype.kind not in "fiub" else _checks.array(name, value, net.dtype)
        return self.converted[key]


def _jobs_of_estimators(estimators, X, y, weights, initial_state, lengths, validation, given, others, known):
    """Fittings and jobs of estimators, from the arguments of fit_many."""
    defaults = {"batch_size": 32, "optimizer": "adam", "min_improvement": 0.0, "shuffle": True}
    for name, value in [*given.items(), ("initial_state", initial_state), ("lengths", lengths), *others.items()]:
        plain = isinstance(value, (bool, int, float, str)) and value == defaults.get(name)
        if name != "time_limit" and value is not None and not plain:
            raise TypeError(f"{name} is not given to fit_many where it trains estimators: it belongs to their constructors")
    n = len(estimators)
    sets = _sets(n, ("X", X), ("D", y), ("weights", weights))
    V = [None] * n
    if validation is not None:
        if not isinstance(validation, tuple) or len(validation) not in (2, 3):
            raise TypeError(f"validation must be a tuple (X, y) or (X, y, sample_weight), got {type(validation).__name__}")
        V = list(zip(*_sets(n, *zip(("validation's X", "validation's y", "validation's sample_weight"), validation))))
    return _jobs_of_sets(estimators, *sets, V, given["time_limit"], known)


def _jobs_of_sets(estimators, X, y, weights, validation, time_limit, known):
    """Fittings and jobs of estimators, each with data of its own, of which equal arrays become one.

    `known` has the seeds of the runs that are resumed, or None. They split off the validation share where no seed is given:
    a seed drawn anew would split the data in another way, and make them those of another run.
    """
    fittings, jobs, same = [], [], {}
    for k, each in enumerate(estimators):
        try:
            fitting = each._begin(X[k], y[k], weights[k], validation[k], (), {}, known[k])
        except (TypeError, ValueError) as error:
            raise type(error)(f"estimator {k}: {error}") from None
        inputs, D, m, lengths = _interned(fitting.data, same)
        held = None if fitting.held is None else (*_interned(fitting.held, same), None)
        settings = _run_settings(fitting.settings | {"time_limit": time_limit})
        if fitting.settings["callbacks"]:  # what stops by the training loss
            settings["callbacks"] = fitting.settings["callbacks"]
        network = fitting.network
        fittings.append(fitting)
        jobs.append(_Job(k, network, (inputs, D, m, None, lengths, None), held, network._entropy,
                         fitting.settings["optimizer"], fitting.settings["max_grad_norm"], settings))
    return fittings, jobs


def _sets(n, *named):
    """What each estimator gets of X, y and weights: its own, where X is a list of n data sets, else the same as all."""
    _, X = named[0]
    if not (isinstance(X, list) and len(X) == n and all(map(_is_set, X))):
        return [[value] * n for _, value in named]
    for name, value in named:
        if value is not None and not (isinstance(value, list) and len(value) == n):
            raise ValueError(f"{name} must be a list of {n}, an entry for each estimator, as X is; got {type(value).__name__}")
    return [[None] * n if value is None else value for _, value in named]


def _is_set(item):
    """Whether a list's item is data of many sequences, not one sequence or a row of numbers."""
    if isinstance(item, np.ndarray):
        return item.ndim == 3
    return isinstance(item, list) and len(item) > 0 and all(getattr(part, "ndim", 0) == 2 for part in item)  # frames too


def _interned(arrays, same):
    """Arrays, of equal ones the first, so that networks on the same data share it."""
    return tuple(None if array is None else same.setdefault(_checkpoint.digest([array]), array) for array in arrays)


def _run_settings(given):
    """The arguments of a run that do not hold data, checked: those of the stated names that RNN.fit has."""
    schedule = schedules.make(given["schedule"])
    schedule.factor(schedule.begin(), 0, 1)  # a function that returns no factor says so here
    return {
        "epochs": None if given["epochs"] is None else _checks.size("epochs", given["epochs"], smallest=0),
        "batch_size": _checks.size("batch_size", given["batch_size"]),
        "schedule": schedule,
        "patience": None if given["patience"] is None else _checks.size("patience", given["patience"]),
        "min_improvement": _checks.number("min_improvement", given["min_improvement"], 0, low_allowed=True),
        "shuffle": _batches.check_shuffle(given["shuffle"]),
        "time_limit": None if given.get("time_limit") is None else _checks.number("time_limit", given["time_limit"], 0),
    }


def _numbers(name, value, n):
    """A positive number for each network, None where `value` is not an array of them."""
    if value is None or np.ndim(value) == 0:
        return None
    values = _network._check_shape(name, _checks.array(name, value, np.float64), (n,), "(n,)")
    return [_checks.number(f"{name}[{k}]", number, 0) for k, number in enumerate(values.tolist())]


def _seeds(value, n):
    if value is None:
        return None
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != n:
        raise TypeError(f"random_state must be None or a list of {n} seeds, got {_checks.short(value)}")
    return [_checks.seed(f"random_state[{k}]", seed) for k, seed in enumerate(value)]


# ---------------------------------------------------------------------------------------------------------------------
# Chunks
# ---------------------------------------------------------------------------------------------------------------------


def _group_key(job):
    """What the jobs of one population share, hashable; None where no lanes serve the job."""
    net, settings = job.network, job.settings
    if job.data is None or job.data[5] is not None or job.validation is not None and job.validation[4] is not None:
        return None
    if any(name in settings for name in (*OTHERS, "callbacks")) or type(job.optimizer) not in optimizers.OPTIMIZERS.values():
        return None
    if not _population.lanes(net.dtype) or not _pop._fits(net) or settings["schedule"].begin() != ():
        return None
    X, D, weights, initial_state, lengths, _ = job.data
    if min(X.shape[1], settings["batch_size"]) > _pop._most_sequences(net):
        return None
    if initial_state is not None and settings["batch_size"] < X.shape[1]:
        return None
    parts = [(X.shape[1], D.ndim, D.dtype.kind, None if weights is None else weights.ndim, initial_state is None)]
    if job.validation is not None:
        X, D, weights, lengths, _ = job.validation
        parts.append((X.shape[1], D.ndim, D.dtype.kind, None if weights is None else weights.ndim))
    try:
        optimizer = dataclasses.replace(job.optimizer, learning_rate=1.0)
        hash((optimizer, settings["schedule"]))
    except TypeError:
        return None
    return _pop._key(net), tuple(parts), optimizer, tuple(settings.items())


def _chunks(jobs, workers, chunk_size, threads):
    """The jobs as chunks, those that take longest first."""
    groups, alone = {}, []
    for job in jobs:
        key = _group_key(job)
        alone.append(job) if key is None else groups.setdefault(key, []).append(job)
    made = []
    for group in groups.values():
        L = _population.lanes(group[0].network.dtype)
        for part in _alike(group, L):
            size = _size(part, L, workers, chunk_size)
            made += [_Chunk(part[i:i + size], True, threads) for i in range(0, len(part), size)]
    size = _size(alone, 1, workers, chunk_size) if alone else 1
    alone.sort(key=_work_of, reverse=True)
    made += [_Chunk(alone[i:i + size], False, threads) for i in range(0, len(alone), size)]
    return made if workers is None else sorted(made, key=lambda chunk: -sum(map(_work_of, chunk.jobs)))


def _alike(group, L):
    """Parts of a group whose series are of about one length, and which share their data where that fills a vector."""
    same = {}
    for job in group:
        same.setdefault((id(job.data[0]), id(job.data[1])), []).append(job)
    if len(same) > 1:
        yield from (part for part in same.values() if len(part) >= L)
    rest = sorted((job for part in same.values() if len(same) == 1 or len(part) < L for job in part), key=_steps, reverse=True)
    begin = 0
    for i in range(1, len(rest) + 1):
        if i == len(rest) or i - begin >= L and _steps(rest[i]) < SHORT * _steps(rest[begin]):
            yield rest[begin:i]
            begin = i


def _steps(job):
    return len(job.data[0])


def _work_of(job):
    """Seconds, roughly: loss and gradient take 6 flops a parameter, step and sequence."""
    epochs = 100 if job.settings["epochs"] is None else job.settings["epochs"]
    rows = 1e4 if job.data is None else job.data[0].shape[0] * job.data[0].shape[1]
    return epochs * rows * 6 * job.network._theta.size / FLOPS


def _size(jobs, L, workers, chunk_size):
    """Networks a chunk: whole vectors, and a population's data within bounds."""
    if chunk_size is not None:
        return chunk_size
    most, data = len(jobs), jobs[0].data
    if L > 1 and any(job.data[0] is not data[0] or job.data[1] is not data[1] for job in jobs):
        arrays = (*data, *(jobs[0].validation or ()))
        most = max(L, MOST_BYTES // max(1, sum(array.nbytes for array in arrays if array is not None)) // L * L)
    if workers is None:
        return most
    each = max(1e-9, sum(map(_work_of, jobs)) / len(jobs))
    size = max(math.ceil(len(jobs) / (CHUNKS_A_WORKER * workers)), math.ceil(LEAST / each))
    return min(most, -(-size // L) * L)


def _workers(executor):
    """How many chunks an executor computes at once, as far as it says."""
    for name in ("_max_workers", "num_workers"):  # of the standard library's and loky's; of mpi4py's
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    client = getattr(executor, "_client", None)  # of Dask's
    if hasattr(client, "ncores"):
        return max(1, sum(client.ncores().values()))
    return os.cpu_count() or 1


# ---------------------------------------------------------------------------------------------------------------------
# Work: a chunk, here or in another process
# ---------------------------------------------------------------------------------------------------------------------


def _work(work, progress=None, results=None):
    """What becomes of the jobs of a chunk: a list of _Found, which `results` (a list) holds after an interrupt too."""
    results = [] if results is None else results
    if work.population is not None:
        _train_population(work, progress, results)
    else:
        for job in work.jobs:
            history = _train_one(job, work.threads, results)
            if progress is not None:
                progress.network(history)
    return results


def _train_one(job, threads, results):
    net, settings, begin, error = job.network.copy(), dict(job.settings), time.monotonic(), None
    if job.data is not None:
        X, D, weights, initial_state, lengths, resets = job.data
        settings |= {"X": X, "D": D, "weights": weights, "lengths": lengths, "resets": resets,
                     "initial_state": None if initial_state is None else net._as_given(initial_state)}
    try:
        net.fit(validation=job.validation, optimizer=job.optimizer, max_grad_norm=job.max_grad_norm,
                random_state=None if job.goes_on else job.seed, progress=False, n_threads=threads, **settings)
    except FloatingPointError:
        pass  # the history says so
    except Exception as raised:
        error = raised
    finally:
        history = net.history or History()
        results.append(_Found(
            net.theta, "error" if error else history.stopped, -1 if history.best_epoch is None else history.best_epoch,
            time.monotonic() - begin, False, {name: np.array(getattr(history, name)) for name in CURVES}, net._positions,
            error))
    return history


def _train_population(work, progress, results):
    population, jobs, first = work.population, work.jobs, work.jobs[0]
    data = _together([job.data[:5] for job in jobs])
    validation = None
    if first.validation is not None:
        X, D, weights, _, lengths = _together([(*job.validation[:3], None, job.validation[3]) for job in jobs])
        validation = X, D, weights, None, lengths
    settings = first.settings
    norms = [math.inf if job.max_grad_norm is None else job.max_grad_norm for job in jobs]
    run = _pop._Fit(population, data, validation, first.optimizer, np.array([job.optimizer.learning_rate for job in jobs]),
                    settings["schedule"], 100 if settings["epochs"] is None else settings["epochs"], settings["batch_size"],
                    np.array(norms), settings["patience"], settings["min_improvement"], settings["shuffle"],
                    math.inf if settings["time_limit"] is None else settings["time_limit"],
                    False if progress is None else progress.part(), (), _pop._threads(work.threads))
    begin = time.monotonic()
    try:
        run.go()
    finally:
        history, seconds = population.history, time.monotonic() - begin
        for k in range(len(jobs) if history is not None else 0):
            curves = {name: getattr(history, name)[k] for name in CURVES}
            for name, values in curves.items():
                seen = np.flatnonzero(~np.isnan(values))
                curves[name] = values[:seen[-1] + 1 if len(seen) else 0].copy()
            results.append(_Found(population._theta[:, k].copy(), history.stopped[k], int(history.best_epoch[k]), seconds,
                                  run.fits_lanes(), curves, population._positions[k]))


def _together(parts):
    """X, D, weights, initial_state, lengths of several jobs as Population._check gives them."""
    X, D, weights, initial_state, lengths = zip(*parts)
    T = [len(x) for x in X]
    if len(set(T)) > 1 or any(each is None for each in lengths) and any(each is not None for each in lengths):
        lengths = [np.full(x.shape[1], len(x), np.intp) if steps is None else steps for x, steps in zip(X, lengths)]
    X, D = _stacked(X, max(T)), _stacked(D, max(T))
    weights = _stacked(weights, max(T))
    if weights is not None:
        per_output = parts[0][2].ndim > 2
        weights = weights if weights.ndim > parts[0][2].ndim else weights[None]
        weights = weights if per_output else weights[..., None]
    return X, D, weights, _stacked(initial_state), _stacked(lengths)


def _stacked(arrays, T=None):
    """One array with a first axis of networks, padded to T steps; or the one that all share."""
    if all(array is arrays[0] for array in arrays):
        return arrays[0]
    if T is None or all(len(array) == T for array in arrays):
        return np.stack(arrays)
    whole = np.zeros((len(arrays), T, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(whole, arrays):
        row[:len(array)] = array
    return whole


# ---------------------------------------------------------------------------------------------------------------------
# A call
# ---------------------------------------------------------------------------------------------------------------------


class _Call:
    """One call of fit_many, from checked jobs on."""

    def __init__(self, fits, executor, chunk_size, progress, n_threads, checkpoint, checkpoint_every, overwrite):
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}")
        self.fits, self.executor = fits, executor
        self.chunk_size = None if chunk_size is None else _checks.size("chunk_size", chunk_size)
        self.wanted = None if progress is None else _checks.flag("progress", progress)
        self.threads = None if n_threads is None else _checks.size("n_threads", n_threads)
        if executor is not None and n_threads is None:
            self.threads = 1
        self.checkpoint = None if checkpoint is None else _checkpoint.path(checkpoint)
        self.checkpoint_every = _checks.number("checkpoint_every", checkpoint_every, 0, low_allowed=True)
        self.overwrite = _checks.flag("overwrite", overwrite)
        if self.overwrite and checkpoint is None:
            raise ValueError("overwrite=True needs checkpoint=, the file to replace")
        self.saved, self.taken = time.monotonic(), set()  # networks that have ended, with a result

    def read(self, resume):
        """Read what is resumed; of each network that has ended the seed of its run, and None for the others."""
        n = len(self.fits)
        self.kept, self.in_memory = None, isinstance(resume, Fits)
        if self.in_memory:
            if len(resume) != n:
                raise ValueError(f"resume has {len(resume)} networks, and these are {n}")
            nets = [getattr(each, "network_", None) if isinstance(each, _Estimator) else each for each in resume.networks]
            self.kept = (resume, [None if net is None else net.theta for net in nets],
                         [None if net is None else net._positions for net in nets])
        elif _checks.flag("resume", resume):
            if self.checkpoint is None:
                raise ValueError("resume=True needs checkpoint=, the file to go on from")
            if os.path.exists(self.checkpoint):
                self.kept = _read(self.checkpoint, n)
        self.replaces = resume is False or self.in_memory
        if self.kept is None or self.kept[0]._begun is None:
            return [None] * n
        return [one.seed if stopped in KEPT else None for one, stopped in zip(self.kept[0]._begun, self.kept[0].stopped)]

    def go(self, jobs, fittings=None):
        """Train what is not done; `fittings` has what `_Estimator._begin` made for each network, where they are estimators'."""
        fits, self.jobs, self.fittings, known = self.fits, {job.k: job for job in jobs}, fittings, {}
        fits._begun = [_Begun.of(job, known) for job in jobs]
        done = self.done = self._resume(jobs)
        left = [job for job in jobs if job.k not in done]
        chunks = _chunks(left, None if self.executor is None else _workers(self.executor), self.chunk_size, self.threads)
        self.progress = Progress(None, len(jobs), self.wanted, "network")
        self.progress.update(len(done))
        try:
            self._here(chunks) if self.executor is None else self._sent(chunks)
        except BaseException:
            self._finish()
            raise
        errors = self._finish()
        bad = [k for k, error in enumerate(fits.errors) if error is not None]
        if bad:
            words = [f"network {k}: {type(fits.errors[k]).__name__}: {fits.errors[k]}" for k in bad[:3]]
            words = "; ".join(words + ["..."] * (len(bad) > 3))
            raise WorkersFailed(f"{len(bad)} of {len(fits)} networks were not trained ({words}); the others are, and resume= "
                                "goes on from this error's `fits`", fits) from fits.errors[bad[0]]
        if errors:
            raise errors[0]
        return fits

    def _finish(self):
        """Keep all results, and give the estimators theirs; what that raises, for example a warning that is an error."""
        self.progress.close()
        self.fits._trim()
        try:
            self._save()
        finally:
            errors = []
            for k in sorted(self.taken if self.fittings is not None else ()):
                fitting, estimator = self.fittings[k], self.fits.networks[k]
                fitting.network.history = self.fits.history(k)
                fitting.settings["resume"] = k in self.done
                try:
                    estimator._end(fitting, stacklevel=6)
                except Exception as error:
                    errors.append(error)
                if getattr(estimator, "history_", None) is fitting.network.history:
                    self.fits.stopped[k] = estimator.history_.stopped
        return errors

    def _here(self, chunks):
        for chunk in chunks:
            results, before = [], self.progress.done
            try:
                _work(chunk.work(), self.progress, results)
            except Exception as error:
                self._failed(chunk, error)
                continue
            finally:
                self._take(chunk, results)
            self.progress.reach(before + len(chunk.jobs))
            self._save_if_due()

    def _sent(self, chunks):
        futures = {}
        try:
            for chunk in chunks:
                try:
                    futures[self.executor.submit(_work, chunk.work())] = chunk
                except Exception as error:  # of a pool that is broken, or shut down
                    self._failed(chunk, error)
            for future in concurrent.futures.as_completed(futures):
                chunk = futures.pop(future)
                try:
                    results = future.result()
                except (Exception, concurrent.futures.CancelledError) as error:
                    self._failed(chunk, error)
                    continue
                self._take(chunk, results)
                self.progress.update(len(chunk.jobs))
                self._save_if_due()
        finally:
            for future in futures:
                future.cancel()

    def _take(self, chunk, results):
        for job, found in zip(chunk.jobs, results):
            job.network.theta = found.theta
            job.network.history = None  # it would be another run's
            if job.seed == job.network._entropy:
                job.network._positions = job.network._positions.later(found.positions)
            self.fits._write(job.k, found)
            if found.error is None:
                self.taken.add(job.k)

    def _failed(self, chunk, error):
        for job in chunk.jobs:
            self.fits.stopped[job.k], self.fits.errors[job.k] = "error", error

    # ---- What is done already

    def _resume(self, jobs):
        """Take over what has ended; the networks that have."""
        if self.kept is None:
            if self.replaces:
                self._check_replaceable(jobs)
            return set()
        kept, thetas, positions = self.kept
        done = [job for job in jobs if kept.stopped[job.k] in KEPT]
        self._compare(jobs, done, kept, thetas, positions)
        for job in done:
            if thetas[job.k].shape != job.network._theta.shape:
                raise ValueError(f"resume has a network {job.k} of {thetas[job.k].size} parameters, and this one has "
                                 f"{job.network._theta.size}")
        for job in done:
            k, begun = job.k, self.fits._begun[job.k]
            if kept._begun is not None and job.goes_on and isinstance(job.seed, _checks.DrawnSeed) and begun.seed != job.seed:
                job.seed = job.network._entropy = _checks.DrawnSeed(begun.seed)  # it is now the one that began the run
                job.network._positions = _batches.Positions()
            self._take(_Chunk([job], False, None), [_Found(
                thetas[k].astype(job.network.dtype), kept.stopped[k], int(kept.best_epoch[k]), float(kept.seconds[k]),
                bool(kept.lanes[k]), {name: np.array(getattr(kept.history(k), name)) for name in CURVES}, positions[k])])
        return {job.k for job in done}

    def _compare(self, jobs, done, kept, thetas, positions):
        """Raise ValueError unless what has ended are runs of these jobs; keep how they began."""
        ours, theirs = self.fits._begun, kept._begun
        whose = "resume" if self.in_memory else f"checkpoint {self.checkpoint!r}"
        if theirs is None and done:
            warnings.warn(f"{whose} was written by an earlier version, which kept no record of data and arguments: make sure "
                          "yourself that they are the same, and the networks too", stacklevel=5)
        if theirs is not None:
            for job in done:
                ours[job.k].compare(job, theirs[job.k], thetas[job.k], positions[job.k], whose,
                                    not self.in_memory and len(done) == len(jobs))
            for job in done:
                ours[job.k] = theirs[job.k]
        if self.in_memory:
            self._check_replaceable(jobs)

    def _check_replaceable(self, jobs):
        """Raise FileExistsError where the checkpoint would replace anything but an earlier one of these runs."""
        path = self.checkpoint
        if path is None or self.overwrite or not os.path.isfile(path) or os.path.getsize(path) == 0:
            return
        try:
            kept = _read(path, len(jobs))[0]
            ended = [k for k, stopped in enumerate(kept.stopped) if stopped]
            if any(kept._begun is None or not self.fits._begun[k].is_same(kept._begun[k]) for k in ended):
                raise ValueError(f"checkpoint {path!r} is of other runs")
        except ValueError as error:
            raise _checkpoint.not_replaced(error) from error

    def _save_if_due(self):
        if time.monotonic() - self.saved >= self.checkpoint_every:
            self._save()

    def _save(self):
        if self.checkpoint is not None:
            _write(self.checkpoint, self.fits, self.jobs)
            self.saved = time.monotonic()


def _write(path, fits, jobs):
    ended = [k for k, stopped in enumerate(fits.stopped) if stopped in KEPT]
    begun, runs = [fits._begun[k] for k in ended], {}
    each = [runs.setdefault(_checkpoint.packed(one.run), len(runs)) for one in begun]
    header = {"kind": "Fits", "of": len(fits), "ended": ended, "stopped": [fits.stopped[k] for k in ended],
              "runs": list(runs), "run": each, "seeds": [one.seed for one in begun],
              "begins": [None if one.begin is None else one.begin._asdict() for one in begun],
              "best_epoch": fits.best_epoch[ended].tolist(), "lanes": fits.lanes[ended].tolist(),
              "sizes": [jobs[k].network._theta.size for k in ended],
              "positions": [jobs[k].network._positions._asdict() for k in ended]}
    thetas = [jobs[k].network._theta.astype(np.float64) for k in ended]
    starts = [one.start.astype(np.float64) for one in begun]
    arrays = {"theta": np.concatenate(thetas) if thetas else np.zeros(0), "seconds": fits.seconds[ended],
              "start": np.concatenate(starts) if starts else np.zeros(0)}
    arrays |= {name: getattr(fits, name)[ended] for name in CURVES}
    _files.write(path, header, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _read(path, n):
    """The Fits, the thetas and the positions of streams that `_write` wrote; networks that had not ended have none."""
    header, arrays = _files.read(path)
    try:
        if header["kind"] != "Fits":
            raise ValueError(f"it holds a {header['kind']}")
        if header["of"] != n:
            raise ValueError(f"it holds {header['of']} networks, and these are {n}")
        ended, sizes = ([int(number) for number in header[name]] for name in ("ended", "sizes"))
        parts = np.split(arrays["theta"], np.cumsum(sizes)[:-1]) if sizes else []
        fits, thetas, positions = Fits._empty([None] * n), [None] * n, [None] * n
        fits._begun = [None] * n if "runs" in header else None
        given = header.get("positions") or [None] * len(ended)
        lengths = [len(parts), len(header["stopped"]), len(arrays["seconds"]), len(given)]
        if lengths != [len(ended)] * 4 or sum(sizes) != arrays["theta"].size:
            raise ValueError("its parts do not belong together")
        begun = _read_begun(header, arrays, ended, sizes)
        for i, k in enumerate(ended):
            thetas[k], positions[k] = parts[i], _batches.Positions.read(given[i])
            if begun is not None:
                fits._begun[k] = begun[i]
            fits._write(k, _Found(parts[i], str(header["stopped"][i]), int(header["best_epoch"][i]),
                                  float(arrays["seconds"][i]), bool(header["lanes"][i]),
                                  {name: arrays[name][i] for name in CURVES}, positions[k]))
    except _checkpoint.DAMAGES as error:
        raise ValueError(f"checkpoint {os.fspath(path)!r} is no checkpoint of these networks: {error}") from None
    return fits, thetas, positions


def _read_begun(header, arrays, ended, sizes):
    """How the runs that had ended began; None in files of earlier versions."""
    if "runs" not in header:
        return None
    runs, which, seeds = [dict(json.loads(run)) for run in header["runs"]], header["run"], header["seeds"]
    if (len(which), len(seeds), arrays["start"].shape, arrays["start"].dtype) != (
            len(ended), len(ended), arrays["theta"].shape, np.float64) or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ValueError("its parts do not belong together")
    starts = np.split(arrays["start"], np.cumsum(sizes)[:-1]) if sizes else []
    begins = [None if begin is None else _batches.Positions.read(begin)
              for begin in header.get("begins", [None] * len(ended))]  # which files of earlier versions do not have
    if len(begins) != len(ended):
        raise ValueError("its parts do not belong together")
    return [_Begun(runs[run], start, seed, begin) for run, start, seed, begin in zip(which, starts, seeds, begins)]


# ---------------------------------------------------------------------------------------------------------------------
# Cross-validation
# ---------------------------------------------------------------------------------------------------------------------


class CrossValidation(dict):
    """A dict of columns, a row for each candidate, under the names of GridSearchCV's `cv_results_`.

    Attributes
    ----------
    fits : Fits, of all candidates, seeds and folds, in this order, the folds of a seed beside each other
    scores : array (candidates, seeds, folds)
    best_index : int, best_params : dict
        Of the highest mean_test_score; of equal ones the first.
    """

    fits: Fits
    scores: np.ndarray

    @property
    def best_index(self) -> int:
        return int(np.argmin(self["rank_test_score"]))

    @property
    def best_params(self) -> dict[str, Any]:
        return self["params"][self.best_index]


def cross_validate(estimator: RNNRegressor | RNNClassifier, X: ArrayLike, y: ArrayLike,
                   grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None, *,
                   cv: Int | Splitter | Iterable[tuple[ArrayLike, ArrayLike]] = 5,
                   seeds: Int | Sequence[Int] | np.ndarray | None = None, sample_weight: ArrayLike | None = None,
                   scoring: Callable[[Any, Any, Any], float] | None = None,
                   executor: concurrent.futures.Executor | None = None,
                   chunk_size: Int | None = None, progress: Bool | None = None, resume: Bool | Fits = False,
                   n_threads: Int | None = None) -> CrossValidation:
    """Scores of an estimator with each set of parameters of a grid, by cross-validation, all fits at once by `fit_many`.

    Parameters
    ----------
    estimator : RNNRegressor or RNNClassifier
        It is copied, and stays as it is.
    X, y, sample_weight : as of its `fit`
    grid : dict of lists, or list of such, optional
        Parameters by name and their values: all combinations, in the order of scikit-learn's ParameterGrid.
    cv : int, splitter or iterable
        Folds: an int as GridSearchCV means it, without shuffling, with the same shares of labels in each fold of a classifier
        of sequences; an object with split(X, y); or pairs (train, test) of arrays of indices.
    seeds : int or list of int, optional
        Repeat each fit with these random_state; an int stands for 0, 1, ... By default the estimator's own alone.
    scoring : function of (estimator, X, y), optional
        By default the estimator's `score`. Sample weights are for the fits alone.
    executor, chunk_size, progress, resume, n_threads : as of `fit_many`; resume takes the `fits` of an earlier call

    Returns
    -------
    CrossValidation
        With the columns params, param_NAME, split0_test_score and so on (the mean over seeds), mean_test_score and
        std_test_score (over folds and seeds), rank_test_score, mean_fit_time and std_fit_time (of the population that a fit
        was part of). The score of a fit that became infinite or NaN is NaN.

    Raises
    ------
    TypeError, ValueError, WorkersFailed, KeyboardInterrupt : as of `fit_many`.
    """
    if not isinstance(estimator, _Estimator):
        raise TypeError(f"estimator must be an RNNRegressor or an RNNClassifier, got {type(estimator).__name__}: for others "
                        "there is scikit-learn's GridSearchCV")
    if scoring is not None and not callable(scoring):
        raise TypeError(f"scoring must be a function of (estimator, X, y), got {type(scoring).__name__}")
    candidates, seeds = _candidates(grid), _seed_list(seeds)
    folds = _folds(cv, X, y, estimator)
    estimators, parts, tests = [], [], []
    for params in candidates:
        for seed in seeds:
            for train, test in folds:
                chosen = params if seed is None else params | {"random_state": seed}
                each = type(estimator)(**copy.deepcopy(estimator.get_params())).set_params(**copy.deepcopy(chosen))
                estimators.append(each)
                parts.append(train)
                tests.append(test)
    taken = {}

    def of(value, rows):
        key = id(value), id(rows)
        if value is not None and key not in taken:
            taken[key] = _rows(value, rows)
        return None if value is None else taken[key]

    fits = Fits._empty(estimators)
    run = _Call(fits, executor, chunk_size, progress, n_threads, None, 60, False)
    fittings, jobs = _jobs_of_sets(estimators, [of(X, rows) for rows in parts], [of(y, rows) for rows in parts],
                                   [of(sample_weight, rows) for rows in parts], [None] * len(estimators), None,
                                   run.read(resume))
    run.go(jobs, fittings)
    score = scoring or (lambda each, X, y: each.score(X, y))
    scores = np.array([math.nan if fits.stopped[k] == "nonfinite" else score(each, of(X, tests[k]), of(y, tests[k]))
                       for k, each in enumerate(estimators)], np.float64)
    return _table(candidates, scores.reshape(len(candidates), len(seeds), len(folds)), fits)


def _candidates(grid):
    """The sets of parameters of a grid, in the order of scikit-learn's ParameterGrid."""
    candidates = []
    for part in [{}] if grid is None else [grid] if isinstance(grid, Mapping) else list(grid):
        if not isinstance(part, Mapping):
            raise TypeError(f"grid must be a dict of lists, or a list of such, got {type(part).__name__}")
        for name, values in part.items():
            if isinstance(values, str) or not isinstance(values, (list, tuple, np.ndarray)):
                raise TypeError(f"grid[{name!r}] must be a list of values, got {_checks.short(values)}")
        names = sorted(part)
        candidates += [dict(zip(names, values)) for values in itertools.product(*(part[name] for name in names))]
    if not candidates:
        raise ValueError("grid has no set of parameters")
    return candidates


def _seed_list(seeds):
    if seeds is None:
        return [None]
    if isinstance(seeds, (list, tuple, np.ndarray)):
        seeds = [_checks.seed(f"seeds[{k}]", seed) for k, seed in enumerate(seeds)]
    else:
        seeds = list(range(_checks.size("seeds", seeds)))
    if not seeds:
        raise ValueError("seeds is an empty list")
    return seeds


def _folds(cv, X, y, estimator):
    """Pairs of arrays of indices (train, test)."""
    if estimator.two_d == "series":
        raise ValueError('cross_validate needs sequences to leave out: with two_d="series" there is one')
    N = len(X)
    if hasattr(cv, "split"):
        folds = list(cv.split(X, y))
    elif isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        k = _checks.size("cv", cv, smallest=2)
        if k > N:
            raise ValueError(f"cv={k} folds are more than the {N} sequences")
        labels = estimator._estimator_type == "classifier" and not isinstance(y, list) and np.ndim(y) == 1
        fold = _stratified(np.asarray(y), k) if labels else np.repeat(np.arange(k), N // k + (np.arange(k) < N % k))
        folds = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]
    elif isinstance(cv, (str, bytes)) or not hasattr(cv, "__iter__"):
        raise TypeError(f"cv must be an int, a splitter or pairs (train, test), got {type(cv).__name__}")
    else:
        folds = list(cv)
    checked = []
    for i, pair in enumerate(folds):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"fold {i} of cv must be a pair (train, test) of indices, got {type(pair).__name__}")
        pair = [np.flatnonzero(part) if part.dtype == bool and part.shape == (N,) else part for part in map(np.asarray, pair)]
        for name, part in zip(("train", "test"), pair):
            if part.ndim != 1 or part.dtype.kind not in "iu" or not len(part) or part.min() < -N or part.max() >= N:
                raise ValueError(f"fold {i} of cv: {name} must be indices of the {N} sequences, one at least")
        checked.append(pair)
    if not checked:
        raise ValueError("cv gave no folds")
    return checked


def _stratified(y, k):
    """The fold of each of y: shares of each label as equal as can be, in order. As scikit-learn's StratifiedKFold deals."""
    _, first, labels = np.unique(y, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[labels]  # numbered as they come
    counts = np.bincount(labels)
    if counts.max() < k:
        raise ValueError(f"cv={k} folds are more than any label has sequences, of which {counts.max()} is the most")
    dealt, fold = np.sort(labels), np.empty(len(y), np.intp)
    for label in range(len(counts)):
        fold[labels == label] = np.repeat(np.arange(k), [np.count_nonzero(dealt[i::k] == label) for i in range(k)])
    return fold


def _rows(value, rows):
    """Some sequences of an array, a list or a data frame."""
    if hasattr(value, "iloc"):
        return value.iloc[rows]
    return value[rows] if isinstance(value, np.ndarray) else [value[i] for i in rows]


def _table(candidates, scores, fits):
    table = CrossValidation()
    table.fits, table.scores = fits, scores
    seconds, flat = fits.seconds.reshape(len(candidates), -1), scores.reshape(len(candidates), -1)
    table |= {"mean_fit_time": seconds.mean(axis=1), "std_fit_time": seconds.std(axis=1)}
    for name in dict.fromkeys(name for params in candidates for name in params):
        column = np.ma.masked_all(len(candidates), object)
        for k, params in enumerate(candidates):
            if name in params:
                column[k] = params[name]
        table[f"param_{name}"] = column
    table["params"] = candidates
    for i in range(scores.shape[2]):
        table[f"split{i}_test_score"] = scores[:, :, i].mean(axis=1)
    mean = table["mean_test_score"] = flat.mean(axis=1)
    table["std_test_score"] = flat.std(axis=1)
    order = np.where(np.isnan(mean), -np.inf, mean)
    table["rank_test_score"] = np.array([1 + np.count_nonzero(order > each) for each in order], np.int32)
    return table
