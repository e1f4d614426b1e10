"""Training of many networks of any shapes. Those that share a shape train in lanes as populations, the others one by one.

`fit_many` and `cross_validate` are here, and `_many/` has their parts. Add a public function of several networks here.

Design
------
(a) A job (`_many.jobs`) is one network with its checked data and the arguments of its run. Training starts after all jobs
    are checked. What estimators add happens before and after: `Estimator._prepare_fit` makes a job's data, and `_finish_fit`
    takes its result.
(b) Jobs that a population can serve are grouped by what a population shares. Series of unequal length are padded, with
    `lengths`. A chunk (`_many.chunks`) holds some of these jobs, or jobs without lanes. One worker gets a chunk at a time, and
    `_many.work` computes it, in this process or another. It returns arrays, which are written to the caller's networks here.
(c) If a chunk fails, its networks are reported after all others have ended. `resume=` trains only the remaining networks.
"""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from . import _checks
from ._many.begun import Begun as _Begun  # noqa: F401  for old pickles
from ._many.call import Call
from ._many.folds import CrossValidation, _candidates, _folds, seed_list, _score_table
from ._many.jobs import NAMED, OTHERS, GivenData, Jobs, jobs_of_estimators
from ._many.nested import NestedCrossValidation, Runs, cross_validate_nested
from ._many.results import CURVES, Fits, WorkersFailed
from ._many.scoring import named as named_score
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
             learning_rate: ArrayLike | None = None, schedule: ScheduleLike | None = None,
             max_grad_norm: ArrayLike | None = None, patience: Int | None = None, min_improvement: Float = 0.0,
             shuffle: Shuffle = True, random_state: Sequence[Int] | np.ndarray | None = None,
             time_limit: Float | None = None, progress: Bool | None = None,
             executor: concurrent.futures.Executor | None = None,
             chunk_size: Int | None = None, checkpoint: FilePath | None = None, checkpoint_every: Float = 60,
             resume: Bool | Fits = False, overwrite: Bool = False, n_threads: Int | None = None,
             **others: Unpack[ManyOptions]) -> Fits:
    """Train many networks, each on its data as `RNN.fit` would alone. Small networks train side by side in vector lanes.

    Parameters
    ----------
    networks : sequence of n RNN, or of n RNNRegressor and RNNClassifier
        Networks of any options and sizes. Each has its own penalties, connectivity and seed. They are trained in place, as by
        `fit`. Networks of one shape for which `Population` has lanes train together, all others one at a time, with the same
        results.
    X, D, weights, initial_state, lengths : as in `RNN.fit`, or n of them
        All networks share one array. A list of n arrays, or an array with a first axis of n, gives each network its own, with
        its own T and B. One series per network is a list of n arrays (T_k, 1, I). Folds are weights.

        For estimators, X and D are the X and y of their `fit`, samples-first, and weights is sample_weight. If X is a list
        of n data sets (N, T, I), or of n lists of (T_n, I), each estimator has its own X, D and weights.
    validation : tuple (X, D[, weights[, lengths]]) or float, optional
        As in `RNN.fit`. Each member is shared, or one of n, as above.
    learning_rate, max_grad_norm : float or array (n,), optional
    random_state : None or list of n ints
        Seeds of order and split. By default the networks' own streams continue, as in `RNN.fit`.
    epochs, min_updates, batch_size, optimizer, schedule, patience, min_improvement, shuffle : as in `RNN.fit`
        min_updates raises the number of epochs of each network by its own number of sequences. Estimators have these arguments
        in their constructor, so a call with estimators refuses them.
    time_limit : float, optional
        Seconds for the run of each network, or of each population.
    progress : bool, optional
        As in `RNN.fit`. The bar counts networks.
    executor : concurrent.futures.Executor, optional
        Where to train: the standard library's processes, loky's, Dask's ``client.get_executor()``, mpi4py's
        ``MPIPoolExecutor``. Networks are sent in chunks, and return when their chunk ends. They are pickled, so functions need
        a name.
    chunk_size : int, optional
        Networks per chunk. The default makes four chunks per worker, if a chunk is long enough to hide the transfer.
    checkpoint : path, optional
        A file that keeps the finished networks. It is written every `checkpoint_every` seconds and at the end. Only RNNs
        can have one. An existing file is replaced only if it is a checkpoint of these same runs.
    checkpoint_every : float
        Seconds between two checkpoints.
    resume : bool or Fits
        Continue from the checkpoint, if there is one, or from the result of an earlier call. WorkersFailed has that result
        as `fits`. Finished networks are not trained again, and get their final parameters. Their options, data and
        arguments must be the same as before, including those that say when the run ends. Seeds, start parameters and
        `stream_positions` are compared as in `RNN.fit`. Functions given as `batches` cannot be compared: a run with another
        function counts as the same run.
    overwrite : bool
        Whether to replace an existing file at `checkpoint`, whatever it is, without a check.
    n_threads : int, optional
        As in `Population.fit`. With an executor the default is 1 per worker.
    **others : resets, batches, updates, updates_per_epoch, tbptt, validation_every, on_nonfinite, memory_limit
        As in `RNN.fit`, for all networks. With any of them, no network runs in a lane.

    Returns
    -------
    Fits

    Raises
    ------
    TypeError, ValueError
        If a network or an argument is wrong, or if the resumed runs are other runs. The message names the network. Nothing has
        been trained.
    FileExistsError
        If the file is anything but an earlier checkpoint of these runs, and neither `resume` nor `overwrite` is given.
    WorkersFailed
        If a worker ended or raised. All other networks are trained.
    KeyboardInterrupt
        On Ctrl-C. The finished networks are trained.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((20, 6, 1))
    >>> networks = [RNN(1, 4, 1, random_state=seed) for seed in range(100)]
    >>> fits = fit_many(networks, X[:-1], X[1:], epochs=5)
    >>> fits.train_loss.shape, len(fits.history(0).train_loss)
    ((100, 5), 5)
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
        raise ValueError("networks must hold at least one network, got none")
    kind = Estimator if isinstance(networks[0], Estimator) else RNN
    for k, each in enumerate(networks):
        if not isinstance(each, kind):
            raise TypeError(f"networks must all be RNNs or all be estimators; networks[{k}] is a {type(each).__name__}")
    if len(set(map(id, networks))) < len(networks):
        raise ValueError("networks must not hold one object twice")
    fits = Fits._empty(networks)
    run = Call(fits, executor=executor, chunk_size=chunk_size, progress=progress, n_threads=n_threads, checkpoint=checkpoint,
               checkpoint_every=checkpoint_every, overwrite=overwrite)
    if resume is not False and run.overwrite:
        raise ValueError("overwrite=True replaces the checkpoint and resume continues it: give one of them")
    data = GivenData(X, D, weights, initial_state, lengths, validation)
    if kind is RNN:
        known = run.read(resume)
        jobs = Jobs(networks, data, given, others, known).make()
        return run.train_networks(jobs, None)
    if checkpoint is not None:
        raise TypeError("checkpoint requires RNNs; for estimators give resume= the result of an earlier call")
    known = run.read(resume)
    fittings, jobs = jobs_of_estimators(networks, data, given, others, known)
    return run.train_networks(jobs, fittings)


@overload
def cross_validate(estimator: RNNRegressor | RNNClassifier, X: ArrayLike, y: ArrayLike,
                   grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None, *,
                   cv: Int | Splitter | Iterable[tuple[ArrayLike, ArrayLike]] = 5,
                   seeds: Int | Sequence[Int] | np.ndarray | None = None, sample_weight: ArrayLike | None = None,
                   scoring: str | Callable[[Any, Any, Any], float] | None = None, nested: None = None,
                   executor: concurrent.futures.Executor | None = None,
                   chunk_size: Int | None = None, progress: Bool | None = None, resume: Bool | Fits = False,
                   n_threads: Int | None = None) -> CrossValidation: ...


@overload
def cross_validate(estimator: RNNRegressor | RNNClassifier, X: ArrayLike, y: ArrayLike,
                   grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None, *,
                   cv: Int | Splitter | Iterable[tuple[ArrayLike, ArrayLike]] = 5,
                   seeds: Int | Sequence[Int] | np.ndarray | None = None, sample_weight: ArrayLike | None = None,
                   scoring: str | Callable[[Any, Any, Any], float] | None = None, nested: Int | Splitter,
                   executor: concurrent.futures.Executor | None = None,
                   chunk_size: Int | None = None, progress: Bool | None = None, resume: Bool | Fits = False,
                   n_threads: Int | None = None) -> NestedCrossValidation: ...


def cross_validate(estimator: RNNRegressor | RNNClassifier, X: ArrayLike, y: ArrayLike,
                   grid: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None, *,
                   cv: Int | Splitter | Iterable[tuple[ArrayLike, ArrayLike]] = 5,
                   seeds: Int | Sequence[Int] | np.ndarray | None = None, sample_weight: ArrayLike | None = None,
                   scoring: str | Callable[[Any, Any, Any], float] | None = None, nested: Int | Splitter | None = None,
                   executor: concurrent.futures.Executor | None = None,
                   chunk_size: Int | None = None, progress: Bool | None = None, resume: Bool | Fits = False,
                   n_threads: Int | None = None) -> CrossValidation | NestedCrossValidation:
    """Score an estimator by cross-validation for each parameter set of a grid. `fit_many` trains all fits at once.

    With `nested`, inner folds choose the parameters and outer folds judge the choice, so that the score is not that of the
    best of many (Varma and Simon 2006, Bias in error estimation when using cross-validation for model selection).

    Parameters
    ----------
    estimator : RNNRegressor or RNNClassifier
        The function copies it and does not change it.
    X, y, sample_weight : as in the estimator's `fit`
    grid : dict of lists, or list of such dicts, optional
        Names of parameters and lists of their values. All combinations are tried, in the order of scikit-learn's
        ParameterGrid.
    cv : int, splitter or iterable
        The folds. An int means the same as in GridSearchCV, without shuffling. For a classifier of sequences, each fold has
        the same shares of labels. Or an object with split(X, y), or pairs (train, test) of index arrays.
    seeds : int or list of int, optional
        Repeat each fit with these values of random_state. An int stands for 0, 1, ... The default is only the estimator's own.
    scoring : str or function of (estimator, X, y), optional
        The default is the estimator's `score`. Higher is better. Sample weights affect only the fits. Names, each a mean over
        sequences or real steps:

        - "log_likelihood": ln p of the true class, in nats, or of the counts of a regressor with loss "poisson". A probability
          below the least normal number of the dtype counts as it. The score is −inf if a test fold has a class that its
          training fold has not.
        - classifiers: "accuracy", "balanced_accuracy"
        - regressors: "r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error"
    nested : int or splitter, optional
        The inner folds, as `cv`. For each outer fold, the candidate of the best mean score over inner folds and seeds is
        trained on the whole training part of the outer fold, once for each seed, and scored on its test part.
    executor, chunk_size, progress, resume, n_threads : as in `fit_many`
        resume takes the `fits` of an earlier call.

    Returns
    -------
    CrossValidation
        A dict with these columns:

        - params, param_NAME
        - split0_test_score and so on: the mean over seeds
        - mean_test_score, std_test_score: over folds and seeds
        - rank_test_score
        - mean_fit_time, std_fit_time: seconds of the population that a fit was part of

        The score of a fit that became infinite or NaN is NaN.
    NestedCrossValidation
        With `nested`: a dict of columns with one row per outer fold. Its docstring lists them.

    Raises
    ------
    TypeError, ValueError, WorkersFailed, KeyboardInterrupt
        As in `fit_many`.

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((12, 20, 1))
    >>> y = np.cumsum(X, axis=1) / 5
    >>> found = cross_validate(RNNRegressor(max_iter=5), X, y, {"hidden_size": [1, 4]}, cv=3, seeds=2)
    >>> list(found.best_params), found.scores.shape
    (['hidden_size'], (2, 2, 3))
    >>> nested = cross_validate(RNNRegressor(max_iter=5), X, y, {"hidden_size": [1, 4]}, cv=3, nested=2, seeds=2)
    >>> nested["test_score"].shape
    (3,)
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(f"estimator must be an RNNRegressor or an RNNClassifier, got {type(estimator).__name__}; use "
                        "scikit-learn's GridSearchCV for others")
    candidates, seeds = _candidates(grid), seed_list(seeds)
    score = named_score(scoring, estimator, candidates)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None and len(value) != len(X):
            raise ValueError(f"{name} must have an entry for each of the {len(X)} sequences of X, got {len(value)}")
    fits = Runs(estimator, X, y, sample_weight, score, executor=executor, chunk_size=chunk_size, progress=progress,
                n_threads=n_threads)
    folds = _folds(cv, X, y, estimator)
    if nested is not None:
        if resume is not False:
            raise ValueError("resume must be left out with nested, which trains twice")
        return cross_validate_nested(fits, candidates, seeds, folds, nested)
    tasks = [(params, seed, train, test) for params in candidates for seed in seeds for train, test in folds]
    found, scores = fits.train(tasks, resume)
    return _score_table(candidates, scores.reshape(len(candidates), len(seeds), len(folds)), found)


for _public in (CrossValidation, NestedCrossValidation, Fits, WorkersFailed):  # pickles refer to them by this module
    _public.__module__ = __name__
