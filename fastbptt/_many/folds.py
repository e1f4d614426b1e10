"""Candidates of a grid, seeds, folds and the table of scores: what cross_validate trains on, scores and returns.

Add here another way to choose folds, or another column of the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _checks
from .results import Fits


class CrossValidation(dict):
    """A dict of columns with one row per candidate, under the names of GridSearchCV's `cv_results_`.

    Attributes
    ----------
    fits : Fits
        The fits of all candidates, seeds and folds, in this order. The folds of a seed are next to each other.
    scores : array (candidates, seeds, folds)
    best_index : int
        The row of the highest mean_test_score; the first of equal ones.
    best_params : dict
        The parameters of this row.
    """

    fits: Fits
    scores: np.ndarray

    @property
    def best_index(self) -> int:
        """Return the row of the highest mean_test_score; the first of equal ones."""
        return int(np.argmin(self["rank_test_score"]))

    @property
    def best_params(self) -> dict[str, Any]:
        """Return the parameters of the best row."""
        return self["params"][self.best_index]


def _candidates(grid):
    """Return the parameter sets of a grid, in the order of scikit-learn's ParameterGrid."""
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
        raise ValueError("grid must hold at least one set of parameters, got none")
    return candidates


def seed_list(seeds):
    """Return the argument `seeds` of cross_validate as a list. None stands for the estimator's own random_state."""
    if seeds is None:
        return [None]
    if isinstance(seeds, (list, tuple, np.ndarray)):
        seeds = [_checks.seed(f"seeds[{k}]", seed) for k, seed in enumerate(seeds)]
    else:
        seeds = list(range(_checks.size("seeds", seeds)))
    if not seeds:
        raise ValueError("seeds must hold at least one seed, got an empty list")
    return seeds


def _folds(cv, X, y, estimator):
    """Return a list of pairs of index arrays (train, test), from the argument `cv` of cross_validate.

    X and y are the estimator's data. An int `cv` stratifies the labels y of a classifier of sequences.
    """
    if estimator.two_d == "series":
        raise ValueError('two_d must not be "series" in cross_validate: there is only one sequence')
    N = len(X)
    if hasattr(cv, "split") and not isinstance(cv, (str, bytes)):
        folds = list(cv.split(X, y))
    elif isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        k = _checks.size("cv", cv, smallest=2)
        if k > N:
            raise ValueError(f"cv must not exceed the number of sequences, {N}, got {k}")
        labels = estimator._estimator_type == "classifier" and not isinstance(y, list) and np.ndim(y) == 1
        fold = _stratified_folds(np.asarray(y), k) if labels else np.repeat(np.arange(k), N // k + (np.arange(k) < N % k))
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
                raise ValueError(f"fold {i} of cv: {name} must hold at least one index of the {N} sequences")
        checked.append(pair)
    if not checked:
        raise ValueError("cv must give at least one fold, got none")
    return checked


def _stratified_folds(y, k):
    """Return the number of the fold, below k, of each entry of the labels y, as an array of ints.

    Each label's shares are as equal as possible, in order. scikit-learn's StratifiedKFold assigns folds in the same way.
    """
    _, first, labels = np.unique(y, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[labels]  # numbered by first appearance
    counts = np.bincount(labels)
    if counts.max() < k:
        raise ValueError(f"cv must not exceed the sequences of the most frequent label, {counts.max()}, got {k}")
    dealt, fold = np.sort(labels), np.empty(len(y), np.intp)
    for label in range(len(counts)):
        fold[labels == label] = np.repeat(np.arange(k), [np.count_nonzero(dealt[i::k] == label) for i in range(k)])
    return fold


def _select_sequences(value, rows):
    """Return the sequences with the indices `rows` of an array, a list or a data frame."""
    if hasattr(value, "iloc"):
        return value.iloc[rows]
    return value[rows] if isinstance(value, np.ndarray) else [value[i] for i in rows]


def parameter_columns(rows):
    """Return the columns param_NAME and params of a list of parameter sets. An entry that a row does not have is masked."""
    columns = {}
    for name in dict.fromkeys(name for params in rows for name in params):
        column = columns[f"param_{name}"] = np.ma.masked_all(len(rows), object)
        for k, params in enumerate(rows):
            if name in params:
                column[k] = params[name]
    return columns | {"params": rows}


def _score_table(candidates, scores, fits, part=slice(None)):
    """Return the CrossValidation of these candidates, with the columns of GridSearchCV.

    `scores` is (candidates, seeds, folds). `part` of `fits` gives the times.
    """
    table = CrossValidation()
    table.fits, table.scores = fits, scores
    seconds, flat = fits.seconds[part].reshape(len(candidates), -1), scores.reshape(len(candidates), -1)
    table |= {"mean_fit_time": seconds.mean(axis=1), "std_fit_time": seconds.std(axis=1)} | parameter_columns(candidates)
    for i in range(scores.shape[2]):
        table[f"split{i}_test_score"] = scores[:, :, i].mean(axis=1)
    mean = table["mean_test_score"] = flat.mean(axis=1)
    with np.errstate(invalid="ignore"):  # the deviation of scores of −inf is NaN
        table["std_test_score"] = flat.std(axis=1)
    order = np.where(np.isnan(mean), -np.inf, mean)
    table["rank_test_score"] = np.array([1 + np.count_nonzero(order > each) for each in order], np.int32)
    return table
