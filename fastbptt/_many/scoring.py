"""The scores that `cross_validate` knows by name: functions of (estimator, X, y) that are higher for better predictions.

All are means over sequences, or over real steps, with the weights of the estimator's own `score` (steps of the `washout` have
none). Add a row to SCORES for another name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _checks
from ..sequences import check_names
from ..estimators import RNNClassifier, RNNRegressor


def named(scoring: Any, estimator: Any, candidates: list[dict[str, Any]]) -> Callable[[Any, Any, Any], float]:
    """Return the function of (estimator, X, y) for the argument `scoring` of cross_validate; None is the estimator's `score`.

    `candidates` are the parameter sets that the estimator gets.
    """
    if scoring is None:
        return lambda each, X, y: each.score(X, y)
    if callable(scoring):
        return scoring
    if not isinstance(scoring, str):
        raise TypeError(f"scoring must be a name or a function of (estimator, X, y), got {type(scoring).__name__}")
    known = [name for name, (kinds, _) in SCORES.items() if isinstance(estimator, kinds)]
    if scoring not in known:
        raise ValueError(f"scoring must be one of {', '.join(map(repr, known))} for {type(estimator).__name__}, "
                         f"or a function, got {_checks.short(scoring)}")
    if scoring == "log_likelihood" and isinstance(estimator, RNNRegressor):
        own = estimator.get_params()["loss"]
        for loss in [params.get("loss", own) for params in candidates]:
            if not (isinstance(loss, str) and loss == "poisson"):
                raise ValueError("scoring='log_likelihood' requires a regressor with loss='poisson', whose predictions are a "
                                 f"distribution's, got loss={loss!r}")
    return SCORES[scoring][1]


def _examples(estimator, X, y):
    """Return outputs (M, ·), the targets of the same rows, and weights (M,), of the rows with a weight."""
    rows, _ = estimator._output_rows(X, "score", None)
    examples = estimator._read_examples(X, y, None, estimator.n_features_in_)
    check_names("y", examples.names.targets, estimator._column_names().targets)
    targets = examples.targets
    if isinstance(estimator, RNNRegressor):
        targets = estimator._encode(examples, estimator._coding(), estimator.network_).astype(np.float64)
        rows = estimator._middle_level(rows)
    w = np.ones(len(rows)) if examples.weights is None else examples.weights
    used = w > 0
    return np.asarray(rows[used], np.float64), targets[used], w[used]


def _of_classes(estimator, X, y):
    """Return the mean of ln p of the true class. A probability below the least normal number of the dtype counts as it."""
    p, labels, w = _examples(estimator, X, y)
    place = np.searchsorted(estimator.classes_, labels)
    place = np.minimum(place, len(estimator.classes_) - 1)
    seen = estimator.classes_[place] == labels
    if not seen.all():  # a class that no training sequence had
        return -math.inf
    least = np.finfo(estimator.network_.dtype).tiny
    return float(np.average(np.log(np.maximum(p[np.arange(len(p)), place], least)), weights=w))


def _log_likelihood(estimator, X, y):
    """Return the mean log-likelihood of a row, in nats: of the class, or of the counts of all outputs."""
    if isinstance(estimator, RNNClassifier):
        return _of_classes(estimator, X, y)
    means, counts, w = _examples(estimator, X, y)
    means = np.maximum(means, np.finfo(estimator.network_.dtype).tiny)
    logs = counts * np.log(means) - means - np.vectorize(math.lgamma, otypes=[float])(counts + 1)
    return float(np.average(logs.sum(axis=1), weights=w))


def _balanced_accuracy(estimator, X, y):
    """Return the mean over the true classes of the share that is recognized."""
    p, labels, w = _examples(estimator, X, y)
    right = estimator.classes_[p.argmax(axis=1)] == labels
    return float(np.mean([np.average(right[labels == label], weights=w[labels == label]) for label in np.unique(labels)]))


def _error(measure):
    """Return a score that is minus the mean of measure(error) over rows and outputs."""
    def score(estimator, X, y):
        """Return minus the mean error."""
        predicted, targets, w = _examples(estimator, X, y)
        return -float(np.average(measure(targets - predicted), axis=0, weights=w).mean())
    return score


def _root_mean_squared(estimator, X, y):
    """Return minus the root of the mean squared error of each output, as a mean over the outputs."""
    predicted, targets, w = _examples(estimator, X, y)
    return -float(np.sqrt(np.average(np.square(targets - predicted), axis=0, weights=w)).mean())


def _own(estimator, X, y):
    """Return the estimator's own score."""
    return estimator.score(X, y)


# name: (the estimators that have it, the function)
SCORES: dict[str, tuple[Any, Callable[[Any, Any, Any], float]]] = {
    "log_likelihood": ((RNNClassifier, RNNRegressor), _log_likelihood),
    "accuracy": (RNNClassifier, _own),
    "balanced_accuracy": (RNNClassifier, _balanced_accuracy),
    "r2": (RNNRegressor, _own),
    "neg_mean_squared_error": (RNNRegressor, _error(np.square)),
    "neg_root_mean_squared_error": (RNNRegressor, _root_mean_squared),
    "neg_mean_absolute_error": (RNNRegressor, _error(np.abs)),
}
