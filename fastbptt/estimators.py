"""RNNRegressor and RNNClassifier: the network as scikit-learn's users expect it, without scikit-learn.

Design
------
(a) Samples first: X (N, T, I), or a list of (T_n, I). What the user gives is read once, into `sequences.Sequences` and
    rows, one a target: targets (M, O) or class numbers (M,), and weights (M,). `_to_engine` alone makes padding and
    zero weights of them, and `_outputs` alone brings the network's outputs back to rows.
(b) Nothing of a fitted estimator changes before the training begins; from then on, also where an interrupt or a
    FloatingPointError ends it, the estimator has the network of the last whole update.
(c) Constructor arguments are kept as they came and are checked by `fit`: scikit-learn's clone needs it so.
"""

from __future__ import annotations

from ._estimators.base import REGRESSION_LOSSES, RUN_OPTIONS
from ._estimators.classifier import RNNClassifier
from ._estimators.data import Scaling
from ._estimators.regressor import RNNRegressor
from ._sklearn import NotFittedError
from .network import _KINDS
from .sequences import SequenceScaler

_KINDS.update({kind.__name__: kind for kind in (RNNRegressor, RNNClassifier, SequenceScaler)})  # `load` reads them

__all__ = ["RNNRegressor", "RNNClassifier", "NotFittedError"]

for _public in (RNNClassifier, RNNRegressor, Scaling):  # pickles name them by this module
    _public.__module__ = __name__
