"""Reading, scaling and splitting of data, shared by both estimators, and predictions in the user's units."""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import _checks
from .._training import batches as _batches
from ..network import STREAMS
from ..options import checks as _option_checks
from ..sequences import array_of_numbers, check_names, feature_names, _mean_and_scale, read
from .rows import (
    ColumnNames, Examples, _cast_array, entries_are_single, is_column, _rows_per_target, _scale_array, _steps_of_targets,
    _take_sequences,
)

OUTPUTS = ("sequence", "last")


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Statistics of an estimator with scale="standard", which subtracts the mean and divides by the scale.

    Attributes
    ----------
    X_mean, X_scale : arrays (I,), float64
    y_mean, y_scale : arrays (O,), float64; None if targets are not scaled
    """

    X_mean: np.ndarray
    X_scale: np.ndarray
    y_mean: np.ndarray | None = None
    y_scale: np.ndarray | None = None


class _Data:
    """Base class that reads X and y, scales and splits them, and computes outputs."""

    def _read_examples(self, X, y, sample_weight, features=None):
        """Return X, y and weights as Examples. `features` is the number of features of X, if known."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        inputs = self._read_inputs(X, features)
        weights = None if sample_weight is None else self._read_weights(inputs, sample_weight)
        names = ColumnNames(feature_names("X", X), feature_names("y", y))
        targets = self._read_targets(_rows_per_target("y", y, inputs, self.output))
        return Examples(inputs, targets, self._without_washout(inputs, weights), names)

    def _without_washout(self, inputs, weights):
        """Return the weights (M,) of the targets, set to 0 at the first `washout` steps of each of the Sequences `inputs`."""
        if _checks.size("washout", self.washout, smallest=0) == 0 or self.output == "last":
            return weights
        washed = np.where(inputs.steps()[0] < self.washout, 0, 1.0 if weights is None else weights)
        if not washed.any():
            raise ValueError(f"washout={self.washout} leaves no step with a weight: the longest sequence has "
                             f"{len(inputs.padded)} steps")
        return washed

    def _read_inputs(self, X, features):
        """Return X as Sequences. With output="last", raise ValueError if a sequence has no step.

        `features` is the number of features, if known.
        """
        inputs = read(X, self.two_d, features=features)
        if _checks.choose("output", self.output, OUTPUTS) == "last" and not inputs.lengths.all():
            n = int(np.argmin(inputs.lengths))
            raise ValueError(f'X[{n}] has no steps, and with output="last" each sequence needs one')
        return inputs

    def _read_weights(self, inputs, sample_weight):
        """Return the user's sample_weight as float64 (M,), one weight per target.

        A weight per sequence is repeated at its steps.

        `inputs` are the Sequences of X.
        """
        if self.output == "sequence" and inputs.form in ("array", "list") and entries_are_single(sample_weight):
            weights = array_of_numbers("sample_weight", sample_weight)
            if len(weights) != len(inputs.lengths):
                raise ValueError(f"sample_weight has {len(weights)} entries, but X has {len(inputs.lengths)} sequences")
            weights = np.repeat(weights, inputs.lengths)
        else:
            weights = array_of_numbers("sample_weight", _rows_per_target("sample_weight", sample_weight, inputs, self.output))
        if weights.ndim == 2 and weights.shape[1] == 1 and is_column(sample_weight):
            weights = weights[:, 0]
        if weights.ndim != 1:
            raise ValueError(f"sample_weight must be one number for each {self._unit_of_y()}, got entries of shape "
                             f"{weights.shape[1:]}")
        bad = ~np.isfinite(weights) | (weights < 0)
        if bad.any():
            m = int(np.argmax(bad))
            raise ValueError(f"sample_weight must be finite and not negative, got {weights[m]}, first at "
                             f"{self._describe_place(inputs, m)}")
        if not weights.any():
            raise ValueError("sample_weight is zero everywhere; at least one weight must be positive")
        dtype = inputs.padded.dtype if self.dtype is None else _option_checks.dtype("dtype", self.dtype)
        if weights.max() < np.finfo(dtype).tiny:  # the network takes these for 0
            raise ValueError(f"sample_weight must have a weight of at least {np.finfo(dtype).tiny:.3g}, the least normal "
                             f"number of {dtype}, got at most {weights.max():.3g}")
        return weights.astype(np.float64)

    def _unit_of_y(self):
        """Return what y has one entry for, for messages: "step" or "sequence"."""
        return "step" if self.output == "sequence" else "sequence"

    def _describe_place(self, inputs, m):
        """Return a text that says where target m is in the user's data, such as "sequence 3, step 7".

        `inputs` are the Sequences.
        """
        t, n = _steps_of_targets(inputs, self.output)
        return f"sequence {n[m]}" if self.output == "last" and inputs.form != "steps" else inputs.place(t[m], n[m])

    def _to_engine(self, examples, coding, network):
        """Return the examples as padded time-major arrays X (T, N, I), D, weights and lengths.

        D is (T, N, O), or class indices (T, N). Weights are (T, N) or None. Lengths are (N,), or None if all are T. With
        output="last" D and weights have no axis T. The arrays are as read: neither scaled nor in the network's dtype.
        """
        inputs, weights = examples.inputs, examples.weights
        targets = self._encode(examples, coding, network)
        X, T = inputs.padded, len(inputs.padded)
        lengths = None if (inputs.lengths == T).all() else inputs.lengths
        if self.output == "last":
            return X, targets, weights, lengths
        D, places = np.zeros((*X.shape[:2], *targets.shape[1:]), targets.dtype), _steps_of_targets(inputs, self.output)
        D[places], m = targets, None
        if weights is not None:
            m = np.zeros(X.shape[:2])
            m[places] = weights
        return X, D, m, lengths

    def _learn_scaling(self, data, network):
        """Return the Scaling by the statistics of all data with weight, or None if scale=None.

        `data` comes from `_to_engine`.
        """
        if self.scale is None:
            return None
        X, D, m, lengths = data
        w = np.ones(X.shape[:2]) if m is None else np.broadcast_to(m, X.shape[:2])
        if lengths is not None:
            w = np.where(np.arange(len(X))[:, None] < lengths, w, 0)
        used = w > 0
        scaling = Scaling(*_mean_and_scale(X[used], None if m is None else w[used]))
        if not self._scales_targets(network):
            return scaling
        rows, weights = (D, m) if self.output == "last" else (D[used], None if m is None else w[used])
        return dataclasses.replace(scaling, **dict(zip(("y_mean", "y_scale"), _mean_and_scale(rows, weights, "y"))))

    def _scales_targets(self, network):
        """Return whether targets of this network are scaled; a regressor overrides this.

        The answer depends on the network, because the constructor's arguments may have changed since `fit`.
        """
        return False

    def _class_factors(self, data, coding):
        """Return the factor of the weights of each class (K,), or None: only a classifier has them."""
        return None

    def _scaled_and_cast(self, data, scaling, class_factors, dtype):
        """Return data of `_to_engine` for the network: scaled, with weights times class factors, in the network's dtype.

        `scaling` and `class_factors` may be None.
        """
        X, D, m, lengths = data
        padding = None if lengths is None else np.arange(len(X))[:, None] >= lengths
        if scaling is not None:
            X = _scale_array("X", X, scaling.X_mean, scaling.X_scale, dtype, padding)
        if D.dtype.kind == "f":
            unread = padding if self.output == "sequence" else None
            if m is not None:
                unread = m == 0 if unread is None else unread | (m == 0)
            if scaling is not None and scaling.y_mean is not None:
                D = _scale_array("y", D, scaling.y_mean, scaling.y_scale, dtype, unread)
            D = _cast_array("y", D, dtype)
        if class_factors is not None:
            m = (1.0 if m is None else m) * class_factors[D.clip(0)]
        return _cast_array("X", X, dtype), D, None if m is None else _cast_array("sample_weight", m, dtype), lengths

    def _validation_data(self, validation, coding, network, names):
        """Return the argument `validation` of `fit` as arrays of `_to_engine`. Errors begin with "validation's".

        `coding` is that of the training data, and `names` are its column names, which the validation set must have too.
        """
        if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
            raise TypeError("validation must be a tuple (X, y) or (X, y, sample_weight), got "
                            f"{type(validation).__name__}")
        try:
            examples = self._read_examples(*validation, *[None] * (3 - len(validation)), features=network.input_size)
            found = examples.inputs.padded.shape[2]
            if found != network.input_size:
                raise ValueError(f"X has {found} features, but the X to train on has {network.input_size}")
            check_names("X", examples.names.features, names.features)
            check_names("y", examples.names.targets, names.targets)
            return self._to_engine(examples, coding, network)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation's {error}") from None

    def _split_off_validation(self, data, entropy):
        """Return training and validation data: whole sequences at random, stratified if each sequence has one label.

        `entropy` is the seed of the split.
        """
        N = data[0].shape[1]
        count = max(1, round(self.validation_fraction * N))
        if count >= N:
            raise ValueError(f"validation_fraction={self.validation_fraction} holds out {count} of {N} sequence(s) and leaves "
                             "none to train on; give validation=(X, y)")
        order = _batches.generator(entropy, STREAMS.index("validation")).permutation(N)
        if self.output == "last" and data[1].dtype.kind == "i":
            order = order[np.argsort(data[1][order], kind="stable")]
        held = np.zeros(N, bool)
        held[order[((np.arange(count) + 0.5) * N / count).astype(int)]] = True
        return [_take_sequences(data, np.flatnonzero(rows), self.output) for rows in (~held, held)]

    # ---- Results

    def _output_rows(self, X, method, initial_state=None):
        """Return the network's outputs as rows (M, O), in the targets' units, and the Sequences to which they belong.

        `method` is the name of the public method, for the error if the estimator is not fitted.
        """
        self._check_fitted(method)
        self._check_output()
        inputs = self._read_inputs(X, self.n_features_in_)
        self._check_features(inputs)
        check_names("X", feature_names("X", X), self._column_names().features)
        if initial_state is not None:
            self._check_state(initial_state, len(inputs.lengths))
        X = self._scaled_inputs("X", inputs.padded, inputs.lengths)
        Y, _ = self.network_.forward(X, initial_state, lengths=inputs.lengths)
        return self._unscaled(Y if self.output == "last" else Y[inputs.steps()]), inputs

    def _check_state(self, state, N):
        """Raise TypeError or ValueError for a wrong initial state of N sequences. RNN's message is about time-major arrays."""
        widths = self.network_._widths
        several, letters = len(widths) > 1, self.network_._state_letters("N")
        if several and (not isinstance(state, (tuple, list)) or len(state) != len(widths)):
            what = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"initial_state must be a tuple of {len(widths)} arrays {letters}, one for each recurrence, layer "
                            f"by layer{', forward before reverse' if self.network_.bidirectional else ''}; got {what}")
        for k, (part, H) in enumerate(zip(state if several else [state], widths)):
            name = f"initial_state[{k}]" if several else "initial_state"
            found = _checks.array(name, part, self.network_.dtype).shape
            if found != (N, H):
                raise ValueError(f"{name} must have shape {letters} = {N, H}, one state for each of the {N} sequence(s) of X, "
                                 f"got {found}")

    def _scaled_inputs(self, name, X, lengths):
        """Return inputs X (T, N, I) as the network reads them: scaled, and in its dtype. `name` is used in messages."""
        if self.scaling_ is not None:
            padding = np.arange(len(X))[:, None] >= lengths
            X = _scale_array(name, X, self.scaling_.X_mean, self.scaling_.X_scale, self.network_.dtype, padding)
        return _cast_array(name, X, self.network_.dtype)

    def _unscaled(self, Y):
        """Return outputs Y (..., O) of the network in the targets' units; with L quantile levels (..., L·O).

        Outputs for scaled targets are float64. float32 has too few digits if the mean of the targets is far larger than their
        deviation.
        """
        if self.scaling_ is None or self.scaling_.y_mean is None:
            return Y
        levels = Y.shape[-1] // len(self.scaling_.y_mean)
        mean, scale = (np.tile(value, levels) for value in (self.scaling_.y_mean, self.scaling_.y_scale))
        return Y * scale + mean

    def _check_output(self):
        """Raise ValueError if `output` was changed after `fit`, which fixes whether the network has an output at each step."""
        if self.output != self.network_.output:
            raise ValueError(f"output={self.output!r} was set after fit, whose network has output={self.network_.output!r}: "
                             "call fit again, or set it back")

    def _in_users_form(self, rows, inputs):
        """Return results, one row per target, in the form of the Sequences `inputs`: an array, a list or rows."""
        return rows if self.output == "last" else inputs.restore(rows)

    def _column_names(self):
        """Return the ColumnNames of the last fit. Estimators pickled by earlier versions have none of targets."""
        return ColumnNames(getattr(self, "feature_names_in_", None), getattr(self, "_target_names", None))

    def _check_inputs_and_names(self, examples):
        """Raise ValueError if the examples do not match the fit. Return the ColumnNames, as far as they are known."""
        self._check_features(examples.inputs)
        known, found = self._column_names(), examples.names
        check_names("X", found.features, known.features)
        check_names("y", found.targets, known.targets)
        return ColumnNames(*(new if old is None else old for old, new in zip(known, found)))
