"""Many networks at once, of any shapes: what fits together in lanes is trained as populations, the rest one by one.

`fit_many` and `cross_validate` are here; `_many/` has their parts. A public function of several networks goes here.

Design
------
(a) A job (`_many.jobs`) is one network with its checked data and the arguments of its run; nothing is trained before all of
    them are checked. What estimators add happens before and behind: `Estimator._begin` makes a job's data, `_end` takes its
    result.
(b) Jobs that a population can serve are put together by what a population shares; series of unequal length are padded, and
    `lengths` select. A chunk (`_many.chunks`) is some of them, or jobs without lanes: what one worker gets at once, and
    `_many.work` computes, in this process or another. It brings back arrays, which are written to the caller's networks here.
(c) A chunk that fails is reported with its networks after all others have ended, and `resume=` goes on with what is left.
"""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from . import _checks
from ._many.begun import Begun as _Begun  # noqa: F401  pickled Fits of earlier versions name it so
from ._many.call import Call
from ._many.folds import CrossValidation, _candidates, _folds, _rows, seed_list, _table
from ._many.jobs import NAMED, OTHERS, GivenData, Jobs, jobs_of_estimators, jobs_of_sets
from ._many.results import CURVES, Fits, WorkersFailed
from ._estimators.base import Estimator
from .estimators import RNNClassifier, RNNRegressor
from .network import RNN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._types import Bool, FilePath, Float, Int, Shuffle, Splitter, Validation
    from ._training.types import ManyOptions, OptimizerLike, ScheduleLike


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
    kind = Estimator if isinstance(networks[0], Estimator) else RNN
    for k, each in enumerate(networks):
        if not isinstance(each, kind):
            raise TypeError(f"networks must all be RNNs or all be estimators; networks[{k}] is a {type(each).__name__}")
    if len(set(map(id, networks))) < len(networks):
        raise ValueError("networks holds one object twice, which cannot learn two things")
    fits = Fits._empty(networks)
    run = Call(fits, executor=executor, chunk_size=chunk_size, progress=progress, n_threads=n_threads, checkpoint=checkpoint,
               checkpoint_every=checkpoint_every, overwrite=overwrite)
    if resume is not False and run.overwrite:
        raise ValueError("overwrite=True replaces the checkpoint and resume goes on from it: give one of them")
    data = GivenData(X, D, weights, initial_state, lengths, validation)
    if kind is RNN:
        known = run.read(resume)
        jobs = Jobs(networks, data, given, others, known).make()
        return run.go(jobs, None)
    if checkpoint is not None:
        raise TypeError("checkpoint is of RNNs only; of estimators give resume= what an earlier call returned")
    known = run.read(resume)
    fittings, jobs = jobs_of_estimators(networks, data, given, others, known)
    return run.go(jobs, fittings)


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
    if not isinstance(estimator, Estimator):
        raise TypeError(f"estimator must be an RNNRegressor or an RNNClassifier, got {type(estimator).__name__}: for others "
                        "there is scikit-learn's GridSearchCV")
    if scoring is not None and not callable(scoring):
        raise TypeError(f"scoring must be a function of (estimator, X, y), got {type(scoring).__name__}")
    candidates, seeds = _candidates(grid), seed_list(seeds)
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
    run = Call(fits, executor=executor, chunk_size=chunk_size, progress=progress, n_threads=n_threads)
    fittings, jobs = jobs_of_sets(estimators, [of(X, rows) for rows in parts], [of(y, rows) for rows in parts],
                                   [of(sample_weight, rows) for rows in parts], [None] * len(estimators), None,
                                   run.read(resume))
    run.go(jobs, fittings)
    score = scoring or (lambda each, X, y: each.score(X, y))
    scores = np.array([math.nan if fits.stopped[k] == "nonfinite" else score(each, of(X, tests[k]), of(y, tests[k]))
                       for k, each in enumerate(estimators)], np.float64)
    return _table(candidates, scores.reshape(len(candidates), len(seeds), len(folds)), fits)


for _public in (CrossValidation, Fits, WorkersFailed):  # pickles name them by this module
    _public.__module__ = __name__
