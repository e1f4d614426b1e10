"""The fits of cross_validate, all trained at once, and nested cross-validation: inner folds choose, outer folds judge."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from .call import Call
from .folds import CrossValidation, _folds, _score_table, _select_sequences, parameter_columns
from .jobs import jobs_of_sets
from .results import Fits


class NestedCrossValidation(dict):
    """A dict of columns with one row per outer fold.

    The columns are:

    - fold
    - params: the chosen parameters, and param_NAME for each
    - inner_score: the mean score of the chosen parameters over inner folds and seeds
    - test_score, std_test_score: mean and standard deviation over seeds, on the outer fold's test part
    - fit_time: mean seconds of the populations that its last fits were part of

    Attributes
    ----------
    inner : list of CrossValidation
        The choice of each outer fold, with all candidates.
    fits : Fits
        The networks that were judged, of all outer folds and seeds, in this order.
    scores : array (outer folds, seeds)
        Their scores.
    """

    inner: list[CrossValidation]
    fits: Fits
    scores: np.ndarray

    @property
    def mean_test_score(self) -> float:
        """Return the mean of test_score over the outer folds."""
        return float(np.mean(self["test_score"]))


class Runs:
    """What all fits of one cross_validate share: estimator, data, score, and how to run them."""

    def __init__(self, estimator, X, y, sample_weight, score, **how):
        """Keep the arguments of cross_validate. `score` is a function of (estimator, X, y), `how` has the options of Call."""
        self.estimator, self.data, self.score, self.how = estimator, (X, y, sample_weight), score, how

    def train(self, tasks, resume=False, depth=1):
        """Train an estimator for each task (params, seed, train, test) at once. Return the Fits and the scores (tasks,).

        train and test are arrays of indices of sequences. A seed of None stands for the estimator's own random_state. `depth`
        is 1 if cross_validate calls this, 2 if a function of it does.
        """
        selected = {}

        def select(value, rows):
            """Return the sequences `rows` of X, y or sample_weight. Tasks with one index array share the selected object."""
            key = id(value), id(rows)
            if value is not None and key not in selected:
                selected[key] = _select_sequences(value, rows)
            return None if value is None else selected[key]

        estimators = []
        for params, seed, _, _ in tasks:
            chosen = params if seed is None else params | {"random_state": seed}
            estimators.append(type(self.estimator)(**copy.deepcopy(self.estimator.get_params())).set_params(
                **copy.deepcopy(chosen)))
        X, y, sample_weight = self.data
        fits = Fits._empty(estimators)
        run = Call(fits, depth=depth, **self.how)
        fittings, jobs = jobs_of_sets(estimators, *([select(value, train) for _, _, train, _ in tasks]
                                                    for value in (X, y, sample_weight)),
                                      [None] * len(estimators), None, run.read(resume))
        run.train_networks(jobs, fittings)
        scores = [math.nan if fits.stopped[k] == "nonfinite" else self.score(estimators[k], select(X, test), select(y, test))
                  for k, (_, _, _, test) in enumerate(tasks)]
        return fits, np.array(scores, np.float64)


def cross_validate_nested(runs, candidates, seeds, outer, nested):
    """Return the NestedCrossValidation. `outer` are pairs of index arrays, `nested` the argument of cross_validate."""
    X, y, _ = runs.data
    number = isinstance(nested, (int, np.integer)) and not isinstance(nested, bool)
    if not number and (isinstance(nested, (str, bytes)) or not hasattr(nested, "split")):
        raise TypeError(f"nested must be an int or a splitter, got {type(nested).__name__}")
    folds = []
    for number, (train, _) in enumerate(outer):
        try:
            pairs = _folds(nested, _select_sequences(X, train), _select_sequences(y, train), runs.estimator)
        except (TypeError, ValueError) as error:
            raise type(error)(f"nested, in outer fold {number}: {error}") from None
        folds.append([(train[inner], train[held]) for inner, held in pairs])
    tasks = [(params, seed, *pair) for pairs in folds for params in candidates for seed in seeds for pair in pairs]
    fits, scores = runs.train(tasks, depth=2)
    inner, begin = [], 0
    for pairs in folds:
        count = len(candidates) * len(seeds) * len(pairs)
        part = slice(begin, begin + count)
        inner.append(_score_table(candidates, scores[part].reshape(len(candidates), len(seeds), len(pairs)), fits, part))
        begin += count
    best = [candidates[table.best_index] for table in inner]
    judged, scores = runs.train([(params, seed, *pair) for params, pair in zip(best, outer) for seed in seeds], depth=2)
    return _table(best, inner, judged, scores.reshape(len(outer), len(seeds)))


def _table(best: list[dict[str, Any]], inner: list[CrossValidation], fits: Fits, scores: np.ndarray) -> NestedCrossValidation:
    """Return the table. `best` are the chosen parameters, and `scores` (outer folds, seeds) those of `fits`."""
    table = NestedCrossValidation()
    table.inner, table.fits, table.scores = inner, fits, scores
    table["fold"] = np.arange(len(best))
    table |= parameter_columns(best)
    table["inner_score"] = np.array([each["mean_test_score"][each.best_index] for each in inner])
    with np.errstate(invalid="ignore"):  # the deviation of scores of −inf is NaN
        table["test_score"], table["std_test_score"] = scores.mean(axis=1), scores.std(axis=1)
    table["fit_time"] = fits.seconds.reshape(scores.shape).mean(axis=1)
    return table
