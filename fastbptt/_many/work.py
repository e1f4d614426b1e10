"""What a worker computes for a chunk, in this process or another.

A new result of each network becomes a field of `Found`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from .._training import batches as _batches
from .._training.history import History
from .lanes import _number_of_threads
from .population_fit import Fit, FitSettings
from .results import CURVES


@dataclass(eq=False)
class Found:
    """The result of one network."""

    theta: np.ndarray
    stopped: str
    best_epoch: int
    seconds: float
    in_lanes: bool
    curves: dict
    positions: _batches.Positions  # of the streams of the job's seed
    error: Exception | None = None


def _train_chunk(work, progress=None, results=None):
    """Train the jobs of a chunk and return a list of Found, in their order. Runs in this process or in a worker.

    `work` is a _ChunkWork, and `progress` the Progress to report to, or None. A list given as `results` receives the same
    objects, and holds them even after an interrupt.
    """
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
    """Train a copy of a job's network by this number of threads, append its Found to `results`, and return its History.

    An exception becomes Found.error. `threads` None is the default number.
    """
    net, settings, begin, error = job.network.copy(), dict(job.settings), time.monotonic(), None
    if job.data is not None:
        X, D, weights, initial_state, lengths, resets = job.data
        settings |= {"X": X, "D": D, "weights": weights, "lengths": lengths, "resets": resets,
                     "initial_state": None if initial_state is None else net._as_given(initial_state)}
    try:
        net.fit(validation=job.validation, optimizer=job.optimizer, max_grad_norm=job.max_grad_norm,
                random_state=None if job.continues_streams else job.seed, progress=False, n_threads=threads, **settings)
    except FloatingPointError:
        pass  # the history records it
    except Exception as raised:
        error = raised
    finally:
        history = net.history or History()
        results.append(Found(
            net.theta, "error" if error else history.stopped, -1 if history.best_epoch is None else history.best_epoch,
            time.monotonic() - begin, False, {name: np.array(getattr(history, name)) for name in CURVES}, net._positions,
            error))
    return history


def _train_population(work, progress, results):
    """Train the population of the _ChunkWork `work`, and append a Found for each network to `results`, even if interrupted.

    `progress` is the Progress to report to, or None.
    """
    population, jobs, first = work.population, work.jobs, work.jobs[0]
    last = population._like.output == "last"
    data = _join_data_of_jobs([(*job.data,)[:5] for job in jobs], last)
    validation = None
    if first.validation is not None:
        X, D, weights, _, lengths = _join_data_of_jobs([(*job.validation[:3], None, job.validation[3]) for job in jobs],
                                                              last)
        validation = X, D, weights, None, lengths
    settings = first.settings
    norms = [math.inf if job.max_grad_norm is None else job.max_grad_norm for job in jobs]
    options = FitSettings(
        optimizer=first.optimizer, rates=np.array([job.optimizer.learning_rate for job in jobs]), max_norms=np.array(norms),
        schedule=settings["schedule"], epochs=100 if settings["epochs"] is None else settings["epochs"],
        batch_size=settings["batch_size"], patience=settings["patience"], min_improvement=settings["min_improvement"],
        shuffle=settings["shuffle"], time_limit=math.inf if settings["time_limit"] is None else settings["time_limit"],
        callbacks=(), threads=_number_of_threads(work.threads))
    run = Fit(population, data, validation, options, False if progress is None else progress.part())
    begin = time.monotonic()
    try:
        run.train_networks()
    finally:
        history, seconds = population.history, time.monotonic() - begin
        for k in range(len(jobs) if history is not None else 0):
            curves = {name: getattr(history, name)[k] for name in CURVES}
            for name, values in curves.items():
                seen = np.flatnonzero(~np.isnan(values))
                curves[name] = values[:seen[-1] + 1 if len(seen) else 0].copy()
            results.append(Found(population._theta[:, k].copy(), history.stopped[k], int(history.best_epoch[k]), seconds,
                                  run.fits_lanes(), curves, population._positions[k]))


def _join_data_of_jobs(parts, last):
    """Return X, D, weights, initial_state, lengths of several jobs in the form of Population._check.

    `parts` has a tuple of these five for each job. Series of unequal lengths are padded. `last` says whether D and weights are
    those of the last steps, and so have no axis of steps.
    """
    X, D, weights, initial_state, lengths = zip(*parts)
    T = [len(x) for x in X]
    if len(set(T)) > 1 or any(each is None for each in lengths) and any(each is not None for each in lengths):
        lengths = [np.full(x.shape[1], len(x), np.intp) if steps is None else steps for x, steps in zip(X, lengths)]
    X, D, weights = _stack_networks(X, max(T)), *(_stack_networks(each, None if last else max(T)) for each in (D, weights))
    if weights is not None:
        per_output = parts[0][2].ndim > (1 if last else 2)
        weights = weights if weights.ndim > parts[0][2].ndim else weights[None]
        weights = weights if per_output else weights[..., None]
    return X, D, weights, _stack_networks(initial_state), _stack_networks(lengths)


def _stack_networks(arrays, T=None):
    """Return one array with a first axis of networks, padded to T steps, or the array itself if all networks share it.

    `arrays` has one array for each network.
    """
    if all(array is arrays[0] for array in arrays):
        return arrays[0]
    if T is None or all(len(array) == T for array in arrays):
        return np.stack(arrays)
    padded = np.zeros((len(arrays), T, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays):
        row[:len(array)] = array
    return padded
