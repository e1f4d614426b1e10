"""`RNNClassifier`. It is public as a name of `fastbptt.estimators`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .. import _checks
from .._sklearn import takes_parameters
from ..sequences import check_names
from .base import NO_IMPROVEMENT, Estimator
from .labels import LABEL_DTYPES, check_labels, unique
from .rows import _parts_of_sequences, training_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from .._types import (
        Activation, Bool, Cell, Float, HiddenSize, Initializer, Int, LeakForm, Names, Output, Penalty, PerUnit, Rank, Reduction,
        Seed,
        TwoD,
    )
    from .._training.types import OptimizerLike, ScheduleLike


@_checks.names_our_arguments("partial_fit", "predict", "predict_proba", "score")
class RNNClassifier(Estimator):
    """Classify each sequence, or each step, by a plain recurrent network.

    The loss is the cross-entropy of softmax outputs. There is one output per class, also for two classes.

    Parameters
    ----------
    hidden_size : int or tuple of int
        H, or H of each layer.
    output : "last" or "sequence"
        "last": y has one label for each sequence, at its last step. "sequence": y has one label for each step.
    class_weight : None, "balanced" or dict of labels and weights
        Factors of the weights of the errors, by label. Labels missing from the dict have factor 1. "balanced": all classes
        have the same sum of weights. Class weights do not affect `score` or the statistics of `scale`.
    others : as of RNNRegressor
        With output="last" the sequences that early_stopping splits off are stratified by label.

    Attributes
    ----------
    classes_ : array (K,)
        The labels, sorted. They may have any type that can be sorted.
    n_outputs_ : int
        K.
    others : as of RNNRegressor

    Examples
    --------
    >>> X = np.random.default_rng(0).standard_normal((40, 10, 2))  # 40 sequences of 10 steps
    >>> y = X.sum(axis=(1, 2)) > 0
    >>> model = RNNClassifier(8, random_state=0).fit(X, y)
    >>> model.predict(X).shape, model.predict_proba(X).shape
    ((40,), (40, 2))
    """

    _estimator_type = "classifier"  # scikit-learn before 1.6 reads it
    _ONE_COLUMN = True
    _ACTIVATION, _IDENTITY = "elu", 0.95

    @takes_parameters
    def __init__(self, hidden_size: HiddenSize = 32, *, cell: Cell = "plain", reset_after: Bool = True,
                 forget_bias: Float = 1.0, activation: Activation | None = None, reduction: Reduction = "mean",
                 dtype: DTypeLike | None = None, initializer: Initializer | None = None, bias: Bool = True,
                 learn_initial_state: Bool = False, bidirectional: Bool = False, l1: Penalty = 0.0, l2: Penalty = 0.0,
                 rate_penalty: Float = 0.0, omega: Float = 0.0, output: Output = "last", two_d: TwoD = "raise",
                 solver: OptimizerLike = "adam", learning_rate_init: Float = 1e-3,
                 learning_rate: ScheduleLike = "cosine", max_iter: Int | None = None,
                 batch_size: Int | Literal["auto"] | None = None, max_grad_norm: Float | None = 1.0,
                 early_stopping: Bool = False, validation_fraction: Float = 0.1, n_iter_no_change: Int = 20,
                 tol: Float | None = None, shuffle: Bool = True, random_state: Seed | np.random.RandomState = None,
                 warm_start: Bool = False, verbose: Bool = False, momentum: Float = 0.9, nesterovs_momentum: Bool = True,
                 beta_1: Float = 0.9, beta_2: Float = 0.999, epsilon: Float = 1e-8,
                 connectivity: Mapping[str, ArrayLike] | None = None, trainable: Mapping[str, ArrayLike] | None = None,
                 dale_ratio: Float | None = None, dale_signs: ArrayLike | None = None, nonnegative: Names = (),
                 autapses: Bool = True, leak: PerUnit | None = None, dt: Float | None = None, tau: PerUnit | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, rank: Rank | None = None, scale: Literal["standard"] | None = "standard",
                 washout: Int = 0, min_updates: Int | None = None,
                 class_weight: Literal["balanced"] | Mapping[Any, Float] | None = None) -> None:
        pass

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None,
                    sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on X, y, from the parameters and with the optimiser of the last call. See `fit`.

        The learning rate is learning_rate_init. Changed options of the network take effect in the next `fit`.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array of all labels that will ever occur
            Required in the first call.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As in `fit`, or if classes are missing in the first call or change later.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> y = np.array(["a", "b", "a", "b", "a", "b"])
        >>> model = RNNClassifier(4, max_iter=3, random_state=0)
        >>> for rows in (slice(0, 3), slice(3, 6)):
        ...     model = model.partial_fit(X[rows], y[rows], classes=["a", "b"])
        >>> model.predict(X).shape
        (6,)
        """
        if not self.__sklearn_is_fitted__():
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        elif classes is not None and not np.array_equal(unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"classes={classes!r} must be the classes of the first call or of fit, {self.classes_}")
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the most probable label of each sequence, or of each step.

        Parameters
        ----------
        X : as in `fit`
        initial_state : array (N, H), or tuple of one for each recurrence, optional
            As in RNN.forward, one state for each sequence.

        Returns
        -------
        array (N,); with output="sequence" (N, T), or list of (T_n,) if X is a list

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> y = np.array(["a", "b", "a", "b", "a", "b"])
        >>> model = RNNClassifier(4, max_iter=3, random_state=0)
        >>> set(model.fit(X, y).predict(X).tolist()) <= {"a", "b"}
        True
        """
        rows, inputs = self._output_rows(X, "predict", initial_state)
        return self._in_users_form(self.classes_[rows.argmax(axis=1)], inputs)

    def predict_proba(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the probabilities of the K classes, in the order of `classes_`.

        Parameters
        ----------
        X, initial_state : as in `predict`

        Returns
        -------
        array (N, K); with output="sequence" (N, T, K), or list of (T_n, K) if X is a list

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> y = np.array(["a", "b", "a", "b", "a", "b"])
        >>> model = RNNClassifier(4, max_iter=3, random_state=0)
        >>> model.fit(X, y).predict_proba(X).shape
        (6, 2)
        """
        return self._in_users_form(*self._output_rows(X, "predict_proba", initial_state))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None) -> float:
        """Return the weighted accuracy over all sequences or real steps. initial_state is as in `predict`.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> y = np.array(["a", "b", "a", "b", "a", "b"])
        >>> model = RNNClassifier(4, max_iter=3, random_state=0)
        >>> 0 <= model.fit(X, y).score(X, y) <= 1
        True
        """
        rows, _ = self._output_rows(X, "score", initial_state)
        examples = self._read_examples(X, y, sample_weight, self.n_features_in_)
        check_names("y", examples.names.targets, self._column_names().targets)
        return float(np.average(self.classes_[rows.argmax(axis=1)] == examples.targets, weights=examples.weights))

    # ---- Targets. The coding is the array of classes (K,)

    def _read_targets(self, rows):
        """Return the labels (M,) from the rows of y. A column (M, 1) is accepted with a warning, as scikit-learn does."""
        if rows.ndim == 2 and rows.shape[1] == 1:
            kind = getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning)
            warnings.warn("A column-vector y was passed when a 1d array was expected. Please change the shape of y, "
                          "for example by y[..., 0].", kind, stacklevel=4)
            rows = rows[:, 0]
        if rows.ndim != 1:
            raise ValueError(f"y must have one label for each {self._unit_of_y()}, got entries of shape {rows.shape[1:]}")
        return rows

    def _learn_coding(self, examples, classes=None):
        """Return the sorted classes: those in `classes`, else all labels of the Examples that have a weight.

        `examples` are those of `fit`.
        """
        used = slice(None) if examples.weights is None else examples.weights > 0
        return unique(examples.targets[used] if classes is None else np.asarray(classes))

    def _coding(self):
        """Return the coding of the last fit, the sorted classes."""
        return self.classes_

    def _set_coding(self, coding):
        """Set the fitted attributes that `coding`, the array of sorted classes, determines."""
        self.classes_, self.n_outputs_ = coding, len(coding)

    def _coding_to_file(self):
        """Return the classes as a dict for the file's header.

        Raise TypeError for labels that are neither numbers nor strings.
        """
        labels, kind = self.classes_.tolist(), self.classes_.dtype.kind
        if kind not in "biufUO" or not all(isinstance(label, (bool, int, float, str)) for label in labels):
            raise TypeError(f"classes_ of dtype {self.classes_.dtype} cannot be saved: only numbers and strings can")
        return {"kind": kind, "classes": labels, "dtype": self.classes_.dtype.name if kind in "biuf" else ""}

    def _coding_from_file(self, coding, network):
        """Return the classes, an array, from the header's dict. Raise ValueError if they do not fit the network."""
        kind, labels = coding["kind"], coding["classes"]
        expected = {"b": bool, "i": int, "u": int, "f": float, "U": str, "O": (bool, int, float, str)}[kind]
        if len(labels) != network.output_size or not all(isinstance(label, expected) for label in labels):
            raise ValueError(f"its classes are not {network.output_size} labels of one kind")
        dtype = np.dtype(_checks.choose("dtype", coding["dtype"], LABEL_DTYPES) if kind in "biuf" else kind)
        try:
            return np.array(labels, dtype)
        except OverflowError as error:
            raise ValueError(f"its classes do not fit their dtype: {error}") from None

    def _output_options(self, coding):
        """Return the network's options that depend on the classes, `coding`: one softmax output for each, and cross-entropy."""
        return {"output_size": len(coding), "loss": "cross_entropy", "output_activation": "softmax"}

    def _class_weight(self):
        """Return the constructor's class_weight: None, "balanced" or a dict. Raise TypeError or ValueError for anything else.
        """
        given = self.class_weight
        if given is None or isinstance(given, Mapping):
            return given
        if isinstance(given, str):
            if given != "balanced":
                raise ValueError(f'class_weight must be None, "balanced" or a dict of labels and weights, got {given!r}')
            return given
        raise TypeError(f'class_weight must be None, "balanced" or a dict of labels and weights, got {type(given).__name__}')

    def _class_factors(self, data, coding):
        """Return the factor of the weights of each class (K,), by class_weight, or None without it.

        `data` is (X, class indices, weights, lengths). Class k has the label coding[k].
        """
        given = self._class_weight()
        if given is None:
            return None
        if isinstance(given, str):
            w = training_weights(data)
            sums = np.bincount(data[1][w > 0], w[w > 0], len(coding))
            return np.divide(sums.sum(), np.count_nonzero(sums) * sums, out=np.zeros(len(coding)), where=sums > 0)
        weights, labels = np.ones(len(coding)), coding.tolist()
        for label, weight in given.items():
            if label not in labels:
                raise ValueError(f"class_weight has label {label!r}, which is none of the classes {coding}")
            weights[labels.index(label)] = _checks.number(f"class_weight[{label!r}]", weight, 0, low_allowed=True)
        if not weights.any():
            raise ValueError("class_weight is zero for every class")
        return weights

    def _compared_with_a_constant(self, data):
        """Return a text with the accuracies of the network and of the largest class, or None if the network's is higher.

        `data` is (X, class indices, weights, lengths), the training data as the network got them.
        """
        X, D, m, lengths = data
        w = training_weights(data)
        sums = np.bincount(D[w > 0], w[w > 0], len(self.classes_))
        right = 0.0
        for part in _parts_of_sequences(data, self.output):
            Y, _ = self.network_.forward(part[0], lengths=part[3])
            right += float((training_weights(part) * (Y.argmax(axis=-1) == part[1])).sum())
        accuracy, share = right / sums.sum(), sums.max() / sums.sum()
        if np.count_nonzero(sums) < 2 or accuracy > min(share * (1 + 1e-9), 1 - NO_IMPROVEMENT):
            return None
        weighted = "weighted " if (w[w > 0] != w[w > 0][0]).any() else ""
        return (f"its {weighted}accuracy on the training data is {accuracy:.4g}, and the largest class "
                f"({self.classes_.tolist()[sums.argmax()]!r}) has a {weighted}share of {share:.4g}")

    def _encode(self, examples, coding, network):
        """Return class indices (M,) of the Examples: the positions of the labels in `coding`, and −1 where they have no weight.

        Raise ValueError if a label in `examples` is none of the classes.
        """
        used = np.ones(len(examples.targets), bool) if examples.weights is None else examples.weights > 0
        labels = examples.targets[used]
        check_labels(labels)
        try:
            numbers_of_them = np.searchsorted(coding, labels).clip(max=len(coding) - 1)
            wrong = np.asarray(coding[numbers_of_them] != labels)
        except TypeError:
            raise TypeError(f"y has labels of dtype {labels.dtype}, but the classes are {coding}") from None
        if wrong.any():
            m = np.flatnonzero(used)[np.argmax(wrong)]
            raise ValueError(f"y has label {examples.targets[m]!r}, first at {self._describe_place(examples.inputs, m)}, which "
                             f"is none of the classes {coding}")
        classes = np.full(len(used), -1, np.intp)
        classes[used] = numbers_of_them
        return classes

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        return self._tags(estimator_type="classifier", classifier_tags=ClassifierTags())
