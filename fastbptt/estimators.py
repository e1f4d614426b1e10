"""RNNRegressor and RNNClassifier: recurrent networks with scikit-learn's interface, which do not need scikit-learn.

Design
------
(a) Samples come first: X is (N, T, I), or a list of (T_n, I). The user's arrays are read once, into `sequences.Sequences` and
    rows, one per target: targets (M, O) or class indices (M,), and weights (M,). Only `_to_engine` makes padding and zero
    weights from them. Only `_output_rows` converts the network's outputs back to rows.
(b) A fitted estimator does not change before the training begins. From then on it has the network of the last completed
    update, also if an interrupt or a FloatingPointError ends the training.
(c) The constructor keeps its arguments as given, and `fit` checks them. scikit-learn's clone requires this.
"""

from __future__ import annotations

from ._estimators.base import REGRESSION_LOSSES, RUN_OPTIONS
from ._estimators.classifier import RNNClassifier
from ._estimators.data import Scaling
from ._estimators.regressor import RNNRegressor
from ._sklearn import NotFittedError
from .network import _KINDS
from .sequences import SequenceScaler

_KINDS.update({kind.__name__: kind for kind in (RNNRegressor, RNNClassifier, SequenceScaler)})  # `load` can read these

__all__ = ["RNNRegressor", "RNNClassifier", "NotFittedError"]

for _public in (RNNClassifier, RNNRegressor, Scaling):  # pickles refer to them by this module
    _public.__module__ = __name__
