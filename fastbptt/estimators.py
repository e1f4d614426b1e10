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

import dataclasses
import math
import numbers
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, Unpack

import numpy as np

from . import _files, _checks, optimizers, reference, schedules, training
from ._training import batches as _batches, checkpoint as _checkpoint
from .options import declaration as _options
from .options.checks import dtype as _check_dtype, loss_and_parameter as _check_loss
from ._sklearn import NotFittedError, Parametric, foreign, takes_parameters
from .network import _KINDS, RNN, STREAMS
from .network import _entropy as _network_entropy
from .sequences import (
    SequenceScaler, Sequences, _mean_and_scale, append, array_of_numbers, check_names, feature_names, read, read_series,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from ._types import (
        Activation, Batch, Bool, Callbacks, FilePath, Float, HiddenSize, Initializer, Int, LeakForm, Names,
        OptimizerLike, Output, OutputActivation, Penalty, Reduction, RegressionLoss, RunOptions, ScheduleLike, Seed,
        TwoD,
    )

__all__ = ["RNNRegressor", "RNNClassifier", "NotFittedError"]

OUTPUTS = ("sequence", "last")
REGRESSION_LOSSES = ("squared_error", "absolute_error", "huber", "quantile", "poisson")
SCALES = ("standard",)
# What None stands for, chosen by bench/estimators.py --choose; docs/estimators.md has the table.
BATCH, LEAST_STEPS = 8, 32  # sequences of an update, and the steps that they have at least together
EPOCHS, MOST_UPDATES = 100, 1000  # so many epochs, or as many updates as the data have steps, up to the latter
NO_IMPROVEMENT = 1e-3  # share of a constant's loss by which a fit must be better
NETWORK_OPTIONS = _options.names(lambda option: option.estimators)
RUN_OPTIONS = ("update_callbacks", "validation_every", "time_limit", "on_nonfinite", "checkpoint", "checkpoint_every",
               "resume", "overwrite", "n_threads")  # of RNN.fit, which `fit` hands on


class _Estimator(Parametric):
    """What regressor and classifier share. What they learn of y, its `coding`, is their own: see `_learn_coding`."""

    _weighted = ("fit", "partial_fit", "score")
    _ACTIVATION: str  # what None stands for
    _IDENTITY: float  # W_s is this multiple of the identity, if the activation is not bounded

    # ---- Training

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
            validation: Batch | None = None, callbacks: Callbacks = (), **options: Unpack[RunOptions]) -> Self:
        """Train a new network, or with warm_start the last one further; returns self.

        Warns if the network is no better on its training data than a constant: the mean of the targets (the median or the
        quantiles with these losses), or the largest class.

        Parameters
        ----------
        X : array (N, T, I), or list of (T_n, I)
            NaN and infinity are refused. DataFrames of a list must have the same columns in the same order, also in later
            calls, those of warm_start too. A list of (T_n,) of unequal lengths has one feature. Later calls of a model of one
            feature, and `validation`, take such lists of any lengths, unless two_d says what two dimensions mean.
        y : array (N, T) or (N, T, O), or list of (T_n,) or (T_n, O); with output="last" array (N,) or (N, O)
            Not read where the weight is 0. Labels have no axis of outputs. The columns of DataFrames are compared as those
            of X are, also by `score`.
        sample_weight : array (N,) or (N, T), or list of (T_n,), optional
            Weights of the errors; with output="last" (N,). A sequence without any weight counts as not given. They also
            weigh the statistics of `scale`.
        validation : tuple (X, y) or (X, y, sample_weight), optional
            Takes the place of the share that early_stopping splits off; without early_stopping it is only watched.
        callbacks : functions of a training.Record
            Called after each epoch; one that returns True ends the training.
        **options : update_callbacks, validation_every, time_limit, on_nonfinite, checkpoint, checkpoint_every, resume,
            overwrite
            As of RNN.fit.

        Raises
        ------
        TypeError, ValueError : an argument, of the constructor too, is of the wrong kind or value.
        FloatingPointError, KeyboardInterrupt : as of RNN.fit; the estimator has the network of the last whole update.
        """
        fitting = self._begin(X, y, sample_weight, validation, callbacks, options)
        X, D, weights, lengths = fitting.data
        try:
            fitting.network.fit(X, D, weights=weights, lengths=lengths, validation=fitting.held, **fitting.settings)
        finally:
            if fitting.network.history is not None:  # the training began
                self._end(fitting)
        return self

    def _begin(self, X, y, sample_weight, validation, callbacks, options, split_seed=None):
        """Return a _Fitting: what `fit` prepares before the training. The estimator itself does not change.

        `split_seed` takes the place of a seed that nobody gave, for the validation share.
        """
        settings = self._settings(callbacks, options)
        last = self.network_ if self.warm_start and self.__sklearn_is_fitted__() else None
        examples = self._read(X, y, sample_weight, None if last is None else last.input_size)
        names = examples.names
        if last is not None:
            names = self._check_inputs_and_names(examples)
        coding = self._learn_coding(examples) if last is None else self._coding()
        network = self._new_network(examples.inputs, coding, last)
        scaled = last is not None and self.scaling_ is not None and self.scaling_.y_mean is not None
        if scaled and not self._scales_targets(network):
            raise ValueError("warm_start=True goes on with the statistics of the first fit, which scales the targets, but "
                             f"loss={self.loss!r} with output_activation={network.output_activation!r} needs targets that are "
                             "not scaled; set warm_start=False")
        data = _with_weight(self._to_engine(examples, coding, network), self.output)
        held = None if validation is None else self._validation_data(validation, coding, network, names)
        if self.early_stopping and held is None:
            entropy = network._entropy
            if last is None and options.get("resume") is True and options.get("checkpoint") is not None:
                entropy = _checkpoint.seed(_checkpoint.path(options["checkpoint"]), entropy)
            if split_seed is not None and isinstance(entropy, _checks.DrawnSeed):
                entropy = split_seed
            data, held = self._split(data, entropy)
        scaling = self._learn_scaling(data, network) if last is None else self.scaling_
        weighing = self._weighing(data, coding)
        data, held = (None if part is None else self._prepared(part, scaling, weighing, network.dtype) for part in (data, held))
        batch_size = self._batch_size(len(data[0]), sample_weight is not None or self._class_weight() is not None)
        settings |= {"batch_size": batch_size, "patience": self.n_iter_no_change if self.early_stopping else None,
                     "epochs": self._epochs(-(-data[0].shape[1] // batch_size), _steps(data))}
        return _Fitting(network, data, held, settings, coding, names, last is not None, scaling)

    def _end(self, fitting, stacklevel=4):
        """Take the result of the training; `stacklevel` is that of the user's call, seen from a warning."""
        history = fitting.network.history
        if history.stopped == "callback" and any(isinstance(each, _Patience) and each.stops(history.train_loss)
                                                 for each in fitting.settings["callbacks"]):
            history.stopped = "patience"
        curves = self._curves_before(history, fitting.settings.get("resume")) if fitting.goes_on else ([], [])
        self._become(fitting.network, fitting.coding, fitting.names, fitting.scaling)
        self._take_curves(curves[0] + history.train_loss, curves[1] + history.validation_loss, history)
        if history.stopped not in ("interrupted", "nonfinite", "error"):
            self._warn_if_no_better(fitting.data, stacklevel)

    def _warn_if_no_better(self, data, stacklevel):
        """Warn if the network is no better on its training data than a constant."""
        words = self._compared_with_a_constant(data)
        if words is None:
            return
        tries = [] if self.scale is not None else ['scale="standard"']
        tries += ["more epochs (max_iter) or updates (min_updates)", "another learning_rate_init"]
        if any(penalty for penalty in (self.l1, self.l2, self.rate_penalty, self.omega)):
            tries.append("smaller penalties (l1, l2, rate_penalty, omega)")
        tries.append("another activation or hidden_size")
        warnings.warn(f"fit ended no better than a constant: {words}. Try {', '.join(tries)}; and check that y can be "
                      "predicted from X.", stacklevel=stacklevel)

    def _partial_fit(self, X, y, sample_weight, classes=None):
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it makes one epoch")
        if isinstance(self._class_weight(), str):
            raise ValueError('partial_fit does not support class_weight="balanced": it does not know all labels; give a dict')
        settings = self._settings((), {})
        fitted = self.__sklearn_is_fitted__()
        if fitted:
            self._check_output()
        examples = self._read(X, y, sample_weight, self.n_features_in_ if fitted else None)
        if fitted:
            self._check_inputs_and_names(examples)
        coding = self._coding() if fitted else self._learn_coding(examples, classes)
        network = self.network_ if fitted else self._new_network(examples.inputs, coding)
        data = _with_weight(self._to_engine(examples, coding, network), self.output)
        scaling = self.scaling_ if fitted else self._learn_scaling(data, network)
        X, D, weights, lengths = self._prepared(data, scaling, self._weighing(data, coding), network.dtype)
        source = _batches.Arrays((X, D, weights, None, lengths, None), self.output,
                                 self._batch_size(len(X), sample_weight is not None or self._class_weight() is not None), self.shuffle,
                                 network._entropy, STREAMS.index("shuffling"), begin=network._positions)
        if not fitted:
            self._become(network, coding, examples.names, scaling)
            self._take_curves([], [], None)
        loss = self._epoch(source, settings["optimizer"], settings["max_grad_norm"])
        self._take_curves([*self.loss_curve_, loss], self.validation_loss_curve_, self.history_)
        return self

    def _epoch(self, source, optimizer, max_grad_norm):
        """One epoch of single updates, with the optimiser of the last call; the mean of the losses before them."""
        if self._stepper is None or self._stepper.kind is not type(optimizer):
            self._stepper = training.Stepper(self.network_, optimizer)
        losses, shares = [], []
        for k in range(source.updates_per_epoch):
            batch = source.batch(0, k)
            losses.append(self._stepper.step(self.network_, optimizer, batch,
                                             math.inf if max_grad_norm is None else max_grad_norm, 0, "core",
                                             sequences=source.rows(0, k)[0]))
            order = source.begin.moved(_batches.Positions(shuffling=1))
            self.network_._positions = self.network_._positions.later(order)  # the step has moved the noise
            shares.append(self.network_._total_weight(*batch))
        return float(np.sum(losses) if self.network_.reduction == "sum" else np.average(losses, weights=shares))

    def _become(self, network, coding, names, scaling):
        """Be fitted."""
        self.__dict__.pop("feature_names_in_", None)
        self.scaling_ = scaling
        if names.features is not None:
            self.feature_names_in_ = names.features
        self._target_names = names.targets
        self.network_, self.n_features_in_ = network, network.input_size
        self._take_coding(coding)
        self._stepper = None  # what partial_fit's optimiser carries

    def _take_curves(self, loss_curve, validation_loss_curve, history):
        self.loss_curve_, self.validation_loss_curve_, self.history_ = loss_curve, validation_loss_curve, history
        self.n_iter_ = len(loss_curve)
        self.loss_ = loss_curve[-1] if loss_curve else math.nan
        watched = [loss for loss in validation_loss_curve or loss_curve if not math.isnan(loss)]
        self.best_loss_ = min(watched, default=math.nan)

    def _curves_before(self, history, resumed):
        """The curves so far; without what the last `fit` added, where `history` is that of its run, resumed."""
        curves, known = (self.loss_curve_, self.validation_loss_curve_), self.history_
        if not resumed or known is None:
            return curves
        if known.seconds:
            is_its_run = known.seconds[0] in history.seconds[:1]
        else:  # of fit_many, which keeps no seconds
            is_its_run = not history.seconds and np.array_equal(known.train_loss, history.train_loss, equal_nan=True)
        if not is_its_run:
            return curves
        return tuple(curve[:len(curve) - len(added)]
                     for curve, added in zip(curves, (known.train_loss, known.validation_loss)))

    # ---- The constructor's arguments

    def _settings(self, callbacks, options):
        """Arguments of RNN.fit, checked under the names that the user knows."""
        for name in options:
            if name not in RUN_OPTIONS:
                hint = foreign(type(self), name)
                raise TypeError(f"fit takes no {name!r}, only X, y, sample_weight, validation, callbacks, "
                                + ", ".join(RUN_OPTIONS) + (f"; {hint}" if hint else ""))
        for name in ("early_stopping", "shuffle", "warm_start"):
            _checks.flag(name, getattr(self, name))
        _checks.choose("output", self.output, OUTPUTS)
        if self.scale is not None:
            _checks.choose("scale", self.scale, SCALES)
        if _checks.size("washout", self.washout, smallest=0) and self.output == "last":
            raise ValueError(f'washout={self.washout} needs output="sequence": with output="last" only the last step has an '
                             "error")
        self._class_weight()
        _checks.size("n_iter_no_change", self.n_iter_no_change)
        _checks.number("validation_fraction", self.validation_fraction, 0, 1)
        self._batch_size(1)
        self._epochs(1, 1)
        tol = 0.0 if self.tol is None else _checks.number("tol", self.tol, 0, low_allowed=True)
        callbacks = training._functions("callbacks", callbacks)
        if not self.early_stopping and self.tol is not None:
            callbacks = (*callbacks, _Patience(self.n_iter_no_change, tol))
        elif not self.early_stopping and self.n_iter_no_change != 20:
            warnings.warn(f"n_iter_no_change={self.n_iter_no_change} has no effect: it needs early_stopping=True, or a tol by "
                          "which the training loss must improve", stacklevel=4)
        if self.max_grad_norm is not None:
            _checks.number("max_grad_norm", self.max_grad_norm, 0)
        return {
            "optimizer": self._optimizer(),
            "schedule": self._schedule(),
            "max_grad_norm": self.max_grad_norm,
            "min_improvement": tol,
            "shuffle": self.shuffle,
            "progress": _checks.flag("verbose", self.verbose),
            "callbacks": callbacks,
        } | options

    def _optimizer(self):
        if isinstance(self.solver, optimizers.Optimizer):
            return self.solver
        kind = optimizers.OPTIMIZERS[_checks.choose("solver", self.solver, optimizers.OPTIMIZERS)]
        momentum = _checks.number("momentum", self.momentum, 0, 1, low_allowed=True)
        given = {
            "learning_rate": _checks.number("learning_rate_init", self.learning_rate_init, 0),
            "momentum": momentum,
            "nesterov": _checks.flag("nesterovs_momentum", self.nesterovs_momentum) and momentum > 0,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        return kind(**{field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given})

    def _schedule(self):
        if isinstance(self.learning_rate, numbers.Real):
            raise TypeError("learning_rate must be the name of a schedule, such as 'constant', got the number "
                            f"{self.learning_rate!r}, which learning_rate_init is for")
        if isinstance(self.learning_rate, str):
            _checks.choose("learning_rate", self.learning_rate, schedules.SCHEDULES)
        elif not isinstance(self.learning_rate, schedules.Schedule) and not callable(self.learning_rate):
            raise TypeError("learning_rate must be the name of a schedule, a schedules.Schedule or a function of the "
                            f"epoch, got {type(self.learning_rate).__name__}")
        return self.learning_rate

    def _batch_size(self, T, weighted=False):
        """Sequences of an update, for sequences of at most T steps.

        The loss of a batch is divided by its own sum of weights. In a small batch a rare class or a light sequence would
        therefore count almost as much as any other, so `weighted` data have large batches.
        """
        if self.batch_size is None and not weighted:
            return max(BATCH, -(-LEAST_STEPS // T))
        if self.batch_size is None or isinstance(self.batch_size, str):
            if self.batch_size is not None:
                _checks.choose("batch_size", self.batch_size, ("auto",))
            return 200
        return _checks.size("batch_size", self.batch_size)

    def _epochs(self, updates_per_epoch, steps):
        """Epochs of a fit on sequences of so many steps together: max_iter, or as many more as min_updates needs."""
        least = None if self.min_updates is None else _checks.size("min_updates", self.min_updates)
        if self.max_iter is not None:
            epochs = _checks.size("max_iter", self.max_iter)
        else:
            epochs, least = EPOCHS, min(steps, MOST_UPDATES) if least is None else least
        return epochs if least is None else max(epochs, -(-least // updates_per_epoch))

    def _class_weight(self):
        """The constructor's class_weight; a regressor has none."""
        return None

    def _unit_options(self):
        """Activation and initialiser, None resolved."""
        activation = self._ACTIVATION if self.activation is None else self.activation
        if self.initializer is not None:
            return {"activation": activation, "initializer": self.initializer}
        # Maps on W_s would leave little of a multiple of the identity
        plain = (self.connectivity is None and self.dale_ratio is None and self.dale_signs is None and not self.nonnegative
                 and self.autapses)
        identity = isinstance(activation, str) and activation in ("relu", "elu") and plain
        return {"activation": activation, "initializer": ("identity", self._IDENTITY) if identity else "orthogonal"}

    def _new_network(self, inputs, coding, last=None):
        """Return a network of the constructor's options; with `last`, it has the parameters and random streams of `last`."""
        options = {name: getattr(self, name) for name in NETWORK_OPTIONS} | self._output_options(coding) | self._unit_options()
        options["dtype"] = inputs.padded.dtype if self.dtype is None else _check_dtype("dtype", self.dtype)
        sizes = inputs.padded.shape[2], self.hidden_size
        if last is None:
            return RNN(*sizes, random_state=_entropy(self.random_state), **options)
        if self.dtype is None:
            options["dtype"] = last.dtype
        options["initializer"] = lambda shape, rng: np.zeros(shape)
        network = RNN(*sizes, random_state=last._entropy, **options)
        try:
            network.load_state_dict(last.state_dict())
        except ValueError as error:
            raise ValueError(f"warm_start=True goes on from the last network, which does not fit: {error}") from None
        network._positions = last._positions
        return network

    # ---- Data

    def _read(self, X, y, sample_weight, features=None):
        """X, y and weights as Examples. `features` is their number where it is known."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        inputs = self._read_inputs(X, features)
        weights = None if sample_weight is None else self._read_weights(inputs, sample_weight)
        names = Names(feature_names("X", X), feature_names("y", y))
        targets = self._read_targets(_rows("y", y, inputs, self.output))
        return Examples(inputs, targets, self._without_washout(inputs, weights), names)

    def _without_washout(self, inputs, weights):
        """Weights (M,) that are 0 at the first `washout` steps of each sequence."""
        if _checks.size("washout", self.washout, smallest=0) == 0 or self.output == "last":
            return weights
        washed = np.where(inputs.steps()[0] < self.washout, 0, 1.0 if weights is None else weights)
        if not washed.any():
            raise ValueError(f"washout={self.washout} leaves no step with a weight: the longest sequence has "
                             f"{len(inputs.padded)} steps")
        return washed

    def _read_inputs(self, X, features):
        inputs = read(X, self.two_d, features=features)
        if _checks.choose("output", self.output, OUTPUTS) == "last" and not inputs.lengths.all():
            n = int(np.argmin(inputs.lengths))
            raise ValueError(f'X[{n}] has no steps, and with output="last" each sequence needs one')
        return inputs

    def _read_weights(self, inputs, sample_weight):
        """Weights (M,) in float64."""
        if self.output == "sequence" and inputs.form in ("array", "list") and _entries_are_single(sample_weight):
            weights = array_of_numbers("sample_weight", sample_weight)
            if len(weights) != len(inputs.lengths):
                raise ValueError(f"sample_weight has {len(weights)} entries, but X has {len(inputs.lengths)} sequences")
            weights = np.repeat(weights, inputs.lengths)
        else:
            weights = array_of_numbers("sample_weight", _rows("sample_weight", sample_weight, inputs, self.output))
        if weights.ndim == 2 and weights.shape[1] == 1 and _is_column(sample_weight):
            weights = weights[:, 0]
        if weights.ndim != 1:
            raise ValueError(f"sample_weight must be one number for each {self._unit()}, got entries of shape "
                             f"{weights.shape[1:]}")
        bad = ~np.isfinite(weights) | (weights < 0)
        if bad.any():
            m = int(np.argmax(bad))
            raise ValueError(f"sample_weight must be finite and not negative, got {weights[m]}, first at "
                             f"{self._place(inputs, m)}")
        if not weights.any():
            raise ValueError("sample_weight is zero everywhere")
        return weights.astype(np.float64)

    def _unit(self):
        return "step" if self.output == "sequence" else "sequence"

    def _place(self, inputs, m):
        """Row m in the user's own words."""
        t, n = _places(inputs, self.output)
        return f"sequence {n[m]}" if self.output == "last" and inputs.form != "steps" else inputs.place(t[m], n[m])

    def _to_engine(self, examples, coding, network):
        """X (T, N, I), D (T, N, O) or class numbers (T, N), weights (T, N) or None, and lengths (N,), None if all are T.

        With output="last" D and weights have no T. All are as they were read: neither scaled nor in the network's dtype.
        """
        inputs, weights = examples.inputs, examples.weights
        targets = self._encode(examples, coding, network)
        X, T = inputs.padded, len(inputs.padded)
        lengths = None if (inputs.lengths == T).all() else inputs.lengths
        if self.output == "last":
            return X, targets, weights, lengths
        D, places = np.zeros((*X.shape[:2], *targets.shape[1:]), targets.dtype), _places(inputs, self.output)
        D[places], m = targets, None
        if weights is not None:
            m = np.zeros(X.shape[:2])
            m[places] = weights
        return X, D, m, lengths

    def _learn_scaling(self, data, network):
        """Scaling by the statistics of what has weight; None if there is none."""
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
        """Whether targets of this network are scaled too. The constructor's arguments may have changed since `fit`."""
        return False

    def _weighing(self, data, coding):
        """Weights of the classes (K,), or None."""
        return None

    def _prepared(self, data, scaling, weighing, dtype):
        """Data for the network: scaled, with class weights, in its dtype."""
        X, D, m, lengths = data
        padding = None if lengths is None else np.arange(len(X))[:, None] >= lengths
        if scaling is not None:
            X = _scaled("X", X, scaling.X_mean, scaling.X_scale, dtype, padding)
        if D.dtype.kind == "f":
            unread = padding if self.output == "sequence" else None
            if m is not None:
                unread = m == 0 if unread is None else unread | (m == 0)
            if scaling is not None and scaling.y_mean is not None:
                D = _scaled("y", D, scaling.y_mean, scaling.y_scale, dtype, unread)
            D = _cast("y", D, dtype)
        if weighing is not None:
            m = (1.0 if m is None else m) * weighing[D.clip(0)]
        return _cast("X", X, dtype), D, None if m is None else _cast("sample_weight", m, dtype), lengths

    def _validation_data(self, validation, coding, network, names):
        if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
            raise TypeError("validation must be a tuple (X, y) or (X, y, sample_weight), got "
                            f"{type(validation).__name__}")
        try:
            examples = self._read(*validation, *[None] * (3 - len(validation)), features=network.input_size)
            found = examples.inputs.padded.shape[2]
            if found != network.input_size:
                raise ValueError(f"X has {found} features, but the X to train on has {network.input_size}")
            check_names("X", examples.names.features, names.features)
            check_names("y", examples.names.targets, names.targets)
            return self._to_engine(examples, coding, network)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation's {error}") from None

    def _split(self, data, entropy):
        """What to train on and what to judge by: whole sequences at random; of labels, if one each, the same shares."""
        N = data[0].shape[1]
        count = max(1, round(self.validation_fraction * N))
        if count >= N:
            raise ValueError(f"early_stopping with validation_fraction={self.validation_fraction} holds out {count} of "
                             f"{N} sequence(s) and leaves none to train on; give validation=(X, y)")
        order = _batches.generator(entropy, STREAMS.index("validation")).permutation(N)
        if self.output == "last" and data[1].dtype.kind == "i":
            order = order[np.argsort(data[1][order], kind="stable")]
        held = np.zeros(N, bool)
        held[order[((np.arange(count) + 0.5) * N / count).astype(int)]] = True
        return [_take(data, np.flatnonzero(rows), self.output) for rows in (~held, held)]

    # ---- Results

    def _outputs(self, X, method, initial_state=None):
        """The network's outputs as rows (M, O), in the targets' units, and the sequences that they belong to."""
        self._check_fitted(method)
        self._check_output()
        inputs = self._read_inputs(X, self.n_features_in_)
        self._check_features(inputs)
        check_names("X", feature_names("X", X), self._names().features)
        if initial_state is not None:
            self._check_state(initial_state, len(inputs.lengths))
        X = self._scaled_inputs("X", inputs.padded, inputs.lengths)
        Y, _ = self.network_.forward(X, initial_state, lengths=inputs.lengths)
        return self._unscaled(Y if self.output == "last" else Y[inputs.steps()]), inputs

    def _check_state(self, state, N):
        """Raise TypeError or ValueError if it is no initial state of N sequences. RNN's message is about time-major arrays."""
        widths = self.network_._widths
        several = len(widths) > 1
        if several and (not isinstance(state, (tuple, list)) or len(state) != len(widths)):
            what = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"initial_state must be a tuple of {len(widths)} arrays (N, H), one for each recurrence, layer by "
                            f"layer{', forward before reverse' if self.network_.bidirectional else ''}; got {what}")
        for k, (part, H) in enumerate(zip(state if several else [state], widths)):
            name = f"initial_state[{k}]" if several else "initial_state"
            found = _checks.array(name, part, self.network_.dtype).shape
            if found != (N, H):
                raise ValueError(f"{name} must have shape (N, H) = {N, H}, one state for each of the {N} sequence(s) of X, "
                                 f"got {found}")

    def _scaled_inputs(self, name, X, lengths):
        """Inputs (T, N, I) as the network reads them."""
        if self.scaling_ is not None:
            padding = np.arange(len(X))[:, None] >= lengths
            X = _scaled(name, X, self.scaling_.X_mean, self.scaling_.X_scale, self.network_.dtype, padding)
        return _cast(name, X, self.network_.dtype)

    def _unscaled(self, Y):
        """Outputs (..., O) of the network in the targets' units; of L quantile levels (..., L·O).

        Scaled targets are returned in float64: float32 has too few digits where their mean is far larger than their
        deviation.
        """
        if self.scaling_ is None or self.scaling_.y_mean is None:
            return Y
        levels = Y.shape[-1] // len(self.scaling_.y_mean)
        mean, scale = (np.tile(value, levels) for value in (self.scaling_.y_mean, self.scaling_.y_scale))
        return Y * scale + mean

    def _check_output(self):
        """Raise ValueError if `output` was set after `fit`: the network gives an output for each step, or it does not."""
        if self.output != self.network_.output:
            raise ValueError(f"output={self.output!r} was set after fit, whose network has output={self.network_.output!r}: "
                             "call fit again, or set it back")

    def _restore(self, rows, inputs):
        return rows if self.output == "last" else inputs.restore(rows)

    def _names(self):
        """The Names of the last fit; estimators that were pickled by earlier versions have none of targets."""
        return Names(getattr(self, "feature_names_in_", None), getattr(self, "_target_names", None))

    def _check_inputs_and_names(self, examples):
        """Raise ValueError if they do not suit what is fitted; return the Names, as far as they are known."""
        self._check_features(examples.inputs)
        known, found = self._names(), examples.names
        check_names("X", found.features, known.features)
        check_names("y", found.targets, known.targets)
        return Names(*(new if old is None else old for old, new in zip(known, found)))

    # ---- Files

    def save(self, path: FilePath) -> None:
        """Write the estimator to one .npz file, whole or not at all; `fastbptt.load` reads it. No pickle inside.

        The loaded one predicts the same to the bit. What the optimiser carries between calls of `partial_fit` is lost.

        Raises
        ------
        TypeError : an argument of the constructor is a function, a generator or an object that the file cannot hold.
        """
        self._check_fitted("save")
        for name, value in self.network_.parameters.items():
            _checks.finite(name, value, "ij")  # `load` would refuse it
        header, arrays = self._to_file()
        _files.write(path, header | {"kind": type(self).__name__}, arrays)

    def _to_file(self):
        """Header and arrays; what SequenceScaler._to_file gives fits into the same file."""
        names = self._names()
        fitted = {
            "coding": self._coding_to_file(),
            "feature_names": None if names.features is None else names.features.tolist(),
            "target_names": None if names.targets is None else names.targets.tolist(),
            "loss_curve": self.loss_curve_,
            "validation_loss_curve": self.validation_loss_curve_,
            "history": None if self.history_ is None else dataclasses.asdict(self.history_),
        }
        params = {name: _pack(name, value) for name, value in self.get_params().items()}
        arrays = {} if self.scaling_ is None else {
            f"scaling.{name}": value for name, value in vars(self.scaling_).items() if value is not None}
        return self.network_._header() | {"params": params, "fitted": fitted}, (
            self.network_._arrays(self.network_._theta) | arrays)

    @classmethod
    def _from_file(cls, header, arrays):
        try:
            output = header["params"]["output"]
            # Files of the first versions have it nowhere else. It differs if it was set after `fit`.
            config = {"output": output, **header["config"]}
            return cls._from_header(header, RNN._from_file({**header, "config": config}, arrays), arrays)
        except (AttributeError, OverflowError, RecursionError) as error:  # what a made-up header can lead to
            raise ValueError(f"its header is no estimator's: {error}") from None

    @classmethod
    def _from_header(cls, header, network, arrays):
        params, fitted = header["params"], header["fitted"]
        # Files of the first versions do not have `scale`: their networks read what the user gave
        estimator = cls(**{"scale": None} | {name: _unpack(value) for name, value in params.items()})
        coding = estimator._coding_from_file(fitted["coding"], network)
        columns = network.target_size if cls is RNNRegressor else 1  # of y; labels have one column
        names = Names(_names_from_file(fitted["feature_names"], network.input_size, "features of its network"),
                      _names_from_file(fitted.get("target_names"), columns, "target(s) of its network"))
        estimator._become(network, coding, names, estimator._scaling_from_file(network, arrays))
        curves = ([float(loss) for loss in fitted[name]] for name in ("loss_curve", "validation_loss_curve"))
        estimator._take_curves(*curves, None if fitted["history"] is None else training.History(**fitted["history"]))
        return estimator

    def _scaling_from_file(self, network, arrays):
        found = {name: arrays[f"scaling.{name}"].astype(np.float64) for name in ("X_mean", "X_scale", "y_mean", "y_scale")
                 if f"scaling.{name}" in arrays}
        if not found:
            return None
        shapes = {"X": (network.input_size,), "y": (network.target_size,)}
        if any(value.shape != shapes[name[0]] or not np.isfinite(value).all() or name.endswith("scale") and not (value > 0).all()
               for name, value in found.items()) or len(found) not in (2, 4) or not {"X_mean", "X_scale"} <= set(found):
            raise ValueError("its scaling does not belong to its network, or is not finite and positive")
        if len(found) == 4 and not self._scales_targets(network):
            raise ValueError("it has a scaling of targets, which its network cannot have")
        return Scaling(**found)

    # ---- What scikit-learn asks for

    def _tags(self, **own):
        from sklearn.utils import Tags, TargetTags

        return Tags(target_tags=TargetTags(required=True, multi_output=own["estimator_type"] == "regressor"),
                    input_tags=self._input_tags(), **own)

    def set_fit_request(self, *, sample_weight: bool | str | None) -> Self:
        """Whether scikit-learn's metadata routing hands sample_weight to `fit`: True, False, None or its other name."""
        return self._request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: bool | str | None) -> Self:
        """As `set_fit_request`, for `partial_fit`."""
        return self._request("partial_fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """As `set_fit_request`, for `score`."""
        return self._request("score", sample_weight)

    def _request(self, method, sample_weight):
        request = self._get_metadata_request()
        getattr(request, method).add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitting:
    """A `fit` on its way: the network to train, and what RNN.fit gets. `goes_on`: with the parameters of the last one."""

    network: RNN
    data: tuple      # X, D, weights, lengths
    held: tuple | None
    settings: dict
    coding: tuple
    names: Names
    goes_on: bool
    scaling: Scaling | None


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """What an estimator with scale="standard" subtracts from its data, and divides them by.

    Attributes
    ----------
    X_mean, X_scale : arrays (I,), float64
    y_mean, y_scale : arrays (O,), float64; None if targets are not scaled
    """

    X_mean: np.ndarray
    X_scale: np.ndarray
    y_mean: np.ndarray | None = None
    y_scale: np.ndarray | None = None


class _Patience:
    """Callback that ends a training after `epochs` epochs without a training loss that is lower by more than `tol`.

    As in MLPRegressor: an epoch counts if its loss is above the lowest one before minus tol. It reads the history, so it
    carries nothing that a resumed run would lose.
    """

    def __init__(self, epochs, tol):
        self.epochs, self.tol = epochs, tol
        self.seen, self.best, self.bad = 0, math.inf, 0

    def __repr__(self):
        return f"_Patience({self.epochs}, {self.tol})"

    def __call__(self, record):
        return self.stops(record.network.history.train_loss)

    def stops(self, losses):
        """Whether the training with these losses ends now."""
        if len(losses) < self.seen:
            self.seen, self.best, self.bad = 0, math.inf, 0
        for loss in losses[self.seen:]:
            self.bad = self.bad + 1 if loss > self.best - self.tol else 0
            self.best = min(self.best, loss)
        self.seen = len(losses)
        return self.bad > self.epochs


class RNNRegressor(_Estimator):
    """A plain recurrent network that gives a number, or numbers, for each step or each sequence.

    Parameters
    ----------
    hidden_size : int or tuple of int
        H, or that of each layer.
    activation, initializer : as of RNN
        None: "relu" for RNNRegressor and "elu" for RNNClassifier. With these two, W_s begins as 0.5 (RNNRegressor) or 0.95
        (RNNClassifier) times the identity; with other activations, and with connectivity, Dale's law, `nonnegative` or
        autapses=False, as "orthogonal".
    reduction, bias, learn_initial_state, bidirectional, l1, l2, rate_penalty, omega, connectivity, trainable, dale_ratio,
    dale_signs, nonnegative, autapses, leak, dt, tau, leak_form, noise_std, input_noise_std, recurrent_dropout : as of RNN
    output_activation : str, optional
        As of RNN; by default "exp" with loss="poisson", else "identity".
    loss : str or (str, number or numbers)
        "squared_error", "absolute_error", "huber", "quantile" or "poisson", as of RNN. With L > 1 quantile levels
        every prediction has one axis more, the last, of L; `score`, and `forecast` where it goes on from its own
        forecasts, take the level nearest to 0.5. If targets are scaled, the threshold of "huber" is in scaled units.
    scale : "standard" or None
        "standard": subtract each feature's mean and divide by its standard deviation, of the steps of the training data
        that have a weight. A feature that is constant except for rounding is only shifted. Targets are scaled too if the
        output activation is "identity" (not with loss="poisson").
        `predict`, `score` and `forecast` take and return the user's units; losses are in scaled units. `partial_fit` and
        warm_start keep the first statistics, which are the attribute `scaling_`. If these scale the targets, a warm start
        with a loss or output activation whose targets are not scaled is refused.
    dtype : None, "float32" or "float64"
        None: float32 where the X of `fit` is, else float64, as scikit-learn does. float32 takes two thirds of the time.
    output : "sequence" or "last"
        Whether y has an entry for each step, or one for each sequence, at its last step.
    two_d : "raise", "steps" or "series"
        What two dimensions of X mean: N sequences of one step (N, I), with y (N,) or (N, O); or one sequence (T, I),
        with y (T,) or (T, O), or with output="last" of length 1. N sequences of one feature (N, T) are X[:, :, None].
    horizon : int
        How far ahead the targets of `fit` lie, for `forecast`: see sequences.forecast_pairs.
    solver : str or optimizers.Optimizer
        "adam", "sgd", "rmsprop", "adagrad" or "adamw" with the numbers below, or an object with its own.
    learning_rate_init, momentum, nesterovs_momentum, beta_1, beta_2, epsilon : float, bool
        Numbers of a solver given by name, as far as it has them.
    learning_rate : str, schedules.Schedule or function
        How the learning rate changes by epoch: "constant", "step", "exponential", "cosine", "invscaling", "plateau", an object,
        or f(epoch) -> factor.
    max_iter : int, optional
        Epochs. None: 100, or as many more as `min_updates` needs.
    min_updates : int, optional
        Raises the number of epochs until at least so many updates are made. None: no more than max_iter, if that is
        given; else as many updates as the training data have steps, up to 1,000.
    batch_size : int, "auto" or None
        Sequences of an update. None: 8, or more until they have 32 steps together, but 200 with sample_weight or
        class_weight, as the loss of a batch is divided by the sum of its own weights; "auto": 200.
    max_grad_norm : float or None
        The gradient is scaled down to this Euclidean norm.
    early_stopping : bool
        Stop after n_iter_no_change epochs without a validation loss that is lower by more than tol (None is 0) than that
         of the last such epoch, and in any case return to the parameters of the lowest one.
    validation_fraction : float
        Share of the sequences that is then split off at random, where `fit` is given no validation set.
    tol : float, optional
        Without early_stopping, a tol stops the training after more than n_iter_no_change epochs in a row whose training loss
        was above the lowest one so far minus tol, as in MLPRegressor. With neither nothing stops before max_iter, and there
        is no ConvergenceWarning.
    n_iter_no_change : int
        Another value than 20 warns if neither early_stopping nor tol is set, as it then has no effect.
    washout : int
        The first `washout` steps of each sequence have no weight, in `fit` and in `score`. Needs output="sequence".
    shuffle : bool
        Draw the sequences of an epoch in random order.
    random_state : None, int, numpy.random.Generator or numpy.random.RandomState
        Seed of initial parameters, order and split. `fit` starts from it each time, but for warm_start. With warm_start and
        in `partial_fit` the orders, noise and dropout go on where the last call ended, and the split stays.
    warm_start : bool
        `fit` begins with the parameters of the last one, with a new optimiser and the options as they are now.
    verbose : bool
        Show the progress.

    Attributes
    ----------
    network_ : RNN, time-major
    n_features_in_, n_outputs_ : int
    feature_names_in_ : array of str, if X was a DataFrame or a list of DataFrames
    scaling_ : estimators.Scaling or None
        The statistics X_mean, X_scale (I,) and y_mean, y_scale (O,), the latter None if targets are not scaled.
    loss_curve_, validation_loss_curve_ : lists of float
        Data losses of each epoch, without penalties, in scaled units; warm_start and partial_fit add to them. The second is empty
        without a validation set.
    loss_, best_loss_ : float
        The last of loss_curve_; the lowest of validation_loss_curve_, or of loss_curve_ where that is empty.
    n_iter_ : int, epochs
    history_ : training.History of the last `fit`, or None

    Examples
    --------
    >>> X, y = fastbptt.sequences.forecast_pairs(series, 12)  # series (N, T, 1)
    >>> model = RNNRegressor(16, horizon=12, early_stopping=True, random_state=0).fit(X, y)
    >>> model.forecast(series, 12)  # (N, 12, 1)
    """

    _estimator_type = "regressor"  # scikit-learn before 1.6 reads it
    _ACTIVATION, _IDENTITY = "relu", 0.5

    @takes_parameters
    def __init__(self, hidden_size: HiddenSize = 32, *, activation: Activation | None = None,
                 output_activation: OutputActivation | None = None, loss: RegressionLoss = "squared_error",
                 reduction: Reduction = "mean", dtype: DTypeLike | None = None, initializer: Initializer | None = None,
                 bias: Bool = True, learn_initial_state: Bool = False, bidirectional: Bool = False, l1: Penalty = 0.0,
                 l2: Penalty = 0.0, rate_penalty: Float = 0.0, omega: Float = 0.0, output: Output = "sequence",
                 two_d: TwoD = "raise", horizon: Int = 1, solver: OptimizerLike = "adam",
                 learning_rate_init: Float = 1e-3, learning_rate: ScheduleLike = "cosine", max_iter: Int | None = None,
                 batch_size: Int | Literal["auto"] | None = None, max_grad_norm: Float | None = 1.0,
                 early_stopping: Bool = False, validation_fraction: Float = 0.1, n_iter_no_change: Int = 20,
                 tol: Float | None = None, shuffle: Bool = True,
                 random_state: Seed | np.random.RandomState = None, warm_start: Bool = False,
                 verbose: Bool = False, momentum: Float = 0.9, nesterovs_momentum: Bool = True, beta_1: Float = 0.9,
                 beta_2: Float = 0.999, epsilon: Float = 1e-8, connectivity: Mapping[str, ArrayLike] | None = None,
                 trainable: Mapping[str, ArrayLike] | None = None, dale_ratio: Float | None = None,
                 dale_signs: ArrayLike | None = None, nonnegative: Names = (), autapses: Bool = True,
                 leak: Float | None = None, dt: Float | None = None, tau: Float | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, scale: Literal["standard"] | None = "standard",
                 washout: Int = 0, min_updates: Int | None = None) -> None:
        pass

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on X, y, from the parameters and with the optimiser of the last call; see `fit`.

        The learning rate is learning_rate_init throughout; changed options of the network wait for the next `fit`.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the outputs for X, as `fit` was given y: (N, T) or (N, T, O), or with output="last" (N,) or (N, O).

        With output="sequence" it is a list of (T_n,) or (T_n, O) if X is a list. With L > 1 quantile levels there is a last
        axis of L. The dtype is float64 if targets are scaled, else the network's. initial_state (N, H) is that of
        RNN.forward, one state for each sequence.
        """
        rows, inputs = self._outputs(X, "predict", initial_state)
        rows = self._with_levels(rows)
        return self._restore(rows[:, 0].copy() if self._flat else rows, inputs)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None) -> float:
        """Return R² over all real steps, weighted, as a mean over the outputs: 1 − Σ w (y − ŷ)² / Σ w (y − ȳ)².

        If an output is constant, it is 1 where that is predicted exactly, else 0. For fewer than two steps it is NaN. The
        `washout` has no weight. initial_state is as of `predict`.
        """
        rows, _ = self._outputs(X, "score", initial_state)
        examples = self._read(X, y, sample_weight, self.n_features_in_)
        check_names("y", examples.names.targets, self._names().targets)
        targets = self._encode(examples, self._coding(), self.network_).astype(np.float64)
        w = np.ones(len(rows)) if examples.weights is None else examples.weights
        used = w > 0
        targets, predicted, w = targets[used], self._middle(rows[used]), w[used, None]
        if len(targets) < 2:
            return math.nan
        mean = (w * targets).sum(axis=0) / w.sum()
        error, spread = ((w * np.square(targets - guess)).sum(axis=0) for guess in (predicted, mean))
        r2 = 1 - error / np.where(spread == 0, 1, spread)
        return float(np.where(spread == 0, error == 0, r2).mean())

    def _with_levels(self, Y):
        """Y (..., O), or with L > 1 quantile levels (..., O, L) of (..., L·O), where l·O + k is level l of target k."""
        levels = Y.shape[-1] // self.n_outputs_
        return Y if levels == 1 else Y.reshape(*Y.shape[:-1], levels, self.n_outputs_).swapaxes(-1, -2).copy()

    def _middle(self, Y):
        """Y (..., O), of several quantile levels that nearest to 0.5."""
        loss = self.network_.loss
        if not isinstance(loss, tuple) or loss[0] != "quantile":
            return Y
        begin = int(np.argmin(np.abs(np.array(loss[1]) - 0.5))) * self.n_outputs_
        return Y[..., begin:begin + self.n_outputs_]

    # ---- Forecasting

    def forecast(self, series: ArrayLike, steps: Int, *, exogenous: ArrayLike | None = None) -> Any:
        """The next `steps` values of each series, as `series` is: (N, steps, O), (steps, O) or a list of (steps, O).

        For a network that was fitted to sequences.forecast_pairs(series, horizon), of these series or others. Its last
        `horizon` outputs are the first `horizon` steps; for those beyond, the forecasts are its next inputs.

        Parameters
        ----------
        series : array (N, T, O) or (T, O), or list of (T_n, O)
            With at least `horizon` steps. With O = 1 a list of (T_n,) too.
        steps : int
        exogenous : array (N, T, E) or (T, E), or list of (T_n, E)
            What `forecast_pairs` was given so; if steps > horizon, for at least steps − horizon steps more than the
            series have.

        Returns
        -------
        array or list; with L > 1 quantile levels (..., L). The dtype is as of `predict`.
        """
        self._check_fitted("forecast")
        steps, horizon = _checks.size("steps", steps), _checks.size("horizon", self.horizon)
        if self.output != "sequence":
            raise ValueError('forecast needs output="sequence": an output at each step')
        self._check_output()
        if self.network_.bidirectional:
            raise ValueError("forecast needs a network in one direction: with bidirectional=True a pair's input has its target")
        past = read_series("series", series, self.n_outputs_)
        self._check_series(past, horizon)
        names, O = self._names(), self.n_outputs_  # noqa: E741
        known = feature_names("series", series)
        check_names("series", known, None if names.features is None else names.features[:O])
        if names.features is None and names.targets is not None and set(names.targets) == set(() if known is None else known):
            check_names("series", known, names.targets)  # y may have other names, but not the same in another order
        check_names("exogenous", feature_names("exogenous", exogenous), None if names.features is None else names.features[O:])
        beyond = max(0, steps - horizon)
        known = self._read_exogenous(past, exogenous, beyond)
        X = append(past.padded.swapaxes(0, 1), known.swapaxes(0, 1), len(past.padded)).swapaxes(0, 1)
        Y, _, states = self.network_.forward(self._scaled_inputs("series", X, past.lengths), return_states=True)
        n = np.arange(len(past.lengths))
        outputs = [self._unscaled(Y[past.lengths - horizon + k, n]) for k in range(min(steps, horizon))]
        S = states.S
        state = tuple(each[past.lengths, n] for each in S) if isinstance(S, tuple) else S[past.lengths, n]
        for k in range(beyond):  # step T_n + k, whose input is the forecast for it
            x = np.concatenate([self._middle(outputs[k]), known[past.lengths + k, n]], axis=1)
            y, state = self.network_.forward(self._scaled_inputs("series", x[None], np.ones(len(x))), state)
            outputs.append(self._unscaled(y[0]))
        made = self._with_levels(np.stack(outputs, axis=1))
        if past.form == "list":
            return [part.copy() for part in made]
        return made if past.form == "array" else made[0]

    def _check_series(self, past, horizon):
        O, found = self.n_outputs_, past.padded.shape[2]
        if self.n_features_in_ < O:
            raise ValueError("forecast needs a network fitted to forecast_pairs, but fit's X had "
                             f"{self.n_features_in_} features and its y {O}")
        if found != O:
            raise ValueError(f"series has {found} features, but fit's y had {O}")
        n = int(np.argmin(past.lengths))
        if past.lengths[n] < horizon:
            which = f"series[{n}]" if past.form == "list" else "series"
            raise ValueError(f"{which} has {past.lengths[n]} steps, but with horizon={horizon} a forecast needs at "
                             "least as many")

    def _read_exogenous(self, past, exogenous, beyond):
        """Exogenous inputs (at least the steps of the longest series, N, E), E = 0 where there are none."""
        E = self.n_features_in_ - self.n_outputs_
        if exogenous is None and E == 0:
            return np.zeros((len(past.padded) + beyond, len(past.lengths), 0), past.padded.dtype)
        if exogenous is None or E == 0:
            raise ValueError(f"fit's X had {self.n_features_in_} features and its y {self.n_outputs_}: "
                             + (f"forecast needs exogenous, of {E} features" if E else "there were no exogenous ones"))
        known = read_series("exogenous", exogenous, E)
        if known.padded.shape[1:] != (len(past.lengths), E):
            raise ValueError(f"exogenous must be {len(past.lengths)} series of {E} features, got "
                             f"{known.padded.shape[1]} of {known.padded.shape[2]}")
        needed = past.lengths + beyond
        if (known.lengths < needed).any():
            n = int(np.argmax(known.lengths < needed))
            which = f"exogenous[{n}]" if known.form == "list" else "exogenous"
            raise ValueError(f"{which} has {known.lengths[n]} steps, but this forecast needs {needed[n]}: the "
                             f"{past.lengths[n]} of the series" + (f" and the {beyond} after them" if beyond else ""))
        return known.padded

    # ---- Targets. The coding is (O, whether y had no axis of outputs)

    def _read_targets(self, rows):
        targets = array_of_numbers("y", rows)
        if targets.ndim > 2 or 0 in targets.shape[1:]:
            raise ValueError(f"y must have one number, or O numbers, for each {self._unit()}, got entries of shape "
                             f"{targets.shape[1:]}")
        return targets

    def _learn_coding(self, examples, classes=None):
        targets = examples.targets
        return (1 if targets.ndim == 1 else targets.shape[1]), targets.ndim == 1

    def _coding(self):
        return self.n_outputs_, self._flat

    def _take_coding(self, coding):
        self.n_outputs_, self._flat = coding

    def _coding_to_file(self):
        return {"flat": self._flat}

    def _coding_from_file(self, coding, network):
        return network.target_size, _checks.flag("flat", coding["flat"])

    def _output_options(self, coding):
        name, parameter = _check_loss(self.loss)
        _checks.choose("loss", name, REGRESSION_LOSSES)
        activation = reference.FUSED.get(name, "identity") if self.output_activation is None else self.output_activation
        levels = len(parameter) if name == "quantile" else 1
        return {"output_size": coding[0] * levels, "loss": self.loss, "output_activation": activation}

    def _scales_targets(self, network):
        return network.output_activation == "identity" and _check_loss(network.loss)[0] != "poisson"

    def _compared_with_a_constant(self, data):
        """Describe the losses of the network and the best constant, or return None if the network's is lower."""
        X, D, m, lengths = data
        w = _training_weights(data)
        rows, w = D[w > 0].astype(np.float64), w[w > 0, None]
        name, parameter = _check_loss(self.network_.loss)
        if name == "quantile":
            which, guess = "quantiles", np.concatenate([_weighted_quantile(rows, w, level) for level in parameter])
            rows = np.tile(rows, len(parameter))
        elif name == "absolute_error":
            which, guess = "median", _weighted_quantile(rows, w, 0.5)
        else:
            which, guess = "mean", np.average(rows, axis=0, weights=w[:, 0])
        Z = np.log(np.maximum(guess, 1e-300)) if name == "poisson" else guess
        e = reference.LOSSES[name][0]
        constant = float((w * e(guess + 0 * rows, Z + 0 * rows, rows, parameter)).sum() / w.sum())
        loss, total = 0.0, 0.0
        for part in _parts(data, self.output):
            weight = self.network_._total_weight(*part[:3], None, part[3], None)
            if weight > 0:
                found = self.network_.evaluate(*part[:2], weights=part[2], lengths=part[3])
                loss, total = loss + found * (weight if self.network_.reduction == "mean" else 1), total + weight
        loss /= total
        if (rows == rows[0]).all() or loss < constant - NO_IMPROVEMENT * abs(constant):
            return None
        units = " (in scaled units)" if self.scaling_ is not None and self.scaling_.y_mean is not None else ""
        return f"its loss on the training data is {loss:.4g}, that of the targets' {which} is {constant:.4g}{units}"

    def _encode(self, examples, coding, network):
        """Targets (M, O), 0 where they have no weight."""
        targets = examples.targets if examples.targets.ndim == 2 else examples.targets[:, None]
        if targets.shape[1] != coding[0]:
            raise ValueError(f"y has {targets.shape[1]} outputs, but this {type(self).__name__} has {coding[0]}")
        if examples.weights is not None:
            targets = np.where(examples.weights[:, None] > 0, targets, 0)
        bad = ~np.isfinite(targets)
        poisson = _check_loss(network.loss)[0] == "poisson"
        if poisson:
            bad |= targets < 0
        if bad.any():
            m, k = np.argwhere(bad)[0]
            what = "NaN" if np.isnan(targets[m, k]) else "infinity" if np.isinf(targets[m, k]) else str(targets[m, k])
            raise ValueError(f"y contains {what}, first at {self._place(examples.inputs, m)}, output {k}"
                             + (', which loss="poisson" cannot have' if poisson else ""))
        return targets

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        return self._tags(estimator_type="regressor", regressor_tags=RegressorTags())


class RNNClassifier(_Estimator):
    """A plain recurrent network that gives a label to each sequence, or to each step.

    The loss is the cross-entropy, of softmax outputs, one a class, two classes included.

    Parameters
    ----------
    hidden_size : int or tuple of int
        H, or that of each layer.
    output : "last" or "sequence"
        Whether y has one label for each sequence, at its last step, or one for each step.
    class_weight : None, "balanced" or dict of labels and weights
        Multiplies the weights of the errors by label; labels that the dict does not have count once. "balanced": so that
        all classes have the same sum of weights. It weighs neither `score` nor the statistics of `scale`.
    others : as of RNNRegressor
        With output="last" the sequences that early_stopping splits off have the labels in their proportions.

    Attributes
    ----------
    classes_ : array (K,) of the labels, sorted; they may be of any kind that can be sorted
    n_outputs_ : int, K
    others : as of RNNRegressor
    """

    _estimator_type = "classifier"  # scikit-learn before 1.6 reads it
    _ACTIVATION, _IDENTITY = "elu", 0.95

    @takes_parameters
    def __init__(self, hidden_size: HiddenSize = 32, *, activation: Activation | None = None, reduction: Reduction = "mean",
                 dtype: DTypeLike | None = None, initializer: Initializer | None = None, bias: Bool = True,
                 learn_initial_state: Bool = False, bidirectional: Bool = False, l1: Penalty = 0.0, l2: Penalty = 0.0,
                 rate_penalty: Float = 0.0, omega: Float = 0.0, output: Output = "last", two_d: TwoD = "raise",
                 solver: OptimizerLike = "adam", learning_rate_init: Float = 1e-3,
                 learning_rate: ScheduleLike = "cosine", max_iter: Int | None = None, batch_size: Int | Literal["auto"] | None = None,
                 max_grad_norm: Float | None = 1.0, early_stopping: Bool = False, validation_fraction: Float = 0.1,
                 n_iter_no_change: Int = 20, tol: Float | None = None, shuffle: Bool = True,
                 random_state: Seed | np.random.RandomState = None, warm_start: Bool = False,
                 verbose: Bool = False, momentum: Float = 0.9, nesterovs_momentum: Bool = True, beta_1: Float = 0.9,
                 beta_2: Float = 0.999, epsilon: Float = 1e-8, connectivity: Mapping[str, ArrayLike] | None = None,
                 trainable: Mapping[str, ArrayLike] | None = None, dale_ratio: Float | None = None,
                 dale_signs: ArrayLike | None = None, nonnegative: Names = (), autapses: Bool = True,
                 leak: Float | None = None, dt: Float | None = None, tau: Float | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, scale: Literal["standard"] | None = "standard",
                 washout: Int = 0, min_updates: Int | None = None,
                 class_weight: Literal["balanced"] | Mapping[Any, Float] | None = None) -> None:
        pass

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None,
                    sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on X, y, from the parameters and with the optimiser of the last call; see `fit`.

        Parameters
        ----------
        classes : array of all labels that will ever come
            Needed by the first call.

        The learning rate is learning_rate_init throughout; changed options of the network wait for the next `fit`.
        """
        if not self.__sklearn_is_fitted__():
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        elif classes is not None and not np.array_equal(_unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"classes={classes!r} is not what it was on the first call, or in fit: {self.classes_}")
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the most probable label of each sequence (N,), or of each step, (N, T) or a list of (T_n,).

        initial_state (N, H) is that of RNN.forward, one state for each sequence.
        """
        rows, inputs = self._outputs(X, "predict", initial_state)
        return self._restore(self.classes_[rows.argmax(axis=1)], inputs)

    def predict_proba(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the probabilities of the K classes, in the order of `classes_`: (N, K), (N, T, K) or a list of (T_n, K).

        initial_state is as of `predict`.
        """
        return self._restore(*self._outputs(X, "predict_proba", initial_state))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None) -> float:
        """Return the share of right labels among all real steps, or sequences, weighted. initial_state is as of `predict`."""
        rows, _ = self._outputs(X, "score", initial_state)
        examples = self._read(X, y, sample_weight, self.n_features_in_)
        check_names("y", examples.names.targets, self._names().targets)
        return float(np.average(self.classes_[rows.argmax(axis=1)] == examples.targets, weights=examples.weights))

    # ---- Targets. The coding is the array of classes (K,)

    def _read_targets(self, rows):
        if rows.ndim == 2 and rows.shape[1] == 1:
            kind = getattr(sys.modules.get("sklearn.exceptions"), "DataConversionWarning", UserWarning)
            warnings.warn("A column-vector y was passed when a 1d array was expected. Please change the shape of y, "
                          "for example by y[..., 0].", kind, stacklevel=4)
            rows = rows[:, 0]
        if rows.ndim != 1:
            raise ValueError(f"y must have one label for each {self._unit()}, got entries of shape {rows.shape[1:]}")
        return rows

    def _learn_coding(self, examples, classes=None):
        used = slice(None) if examples.weights is None else examples.weights > 0
        return _unique(examples.targets[used] if classes is None else np.asarray(classes))

    def _coding(self):
        return self.classes_

    def _take_coding(self, coding):
        self.classes_, self.n_outputs_ = coding, len(coding)

    def _coding_to_file(self):
        labels, kind = self.classes_.tolist(), self.classes_.dtype.kind
        if kind not in "biufUO" or not all(isinstance(label, (bool, int, float, str)) for label in labels):
            raise TypeError(f"classes_ of dtype {self.classes_.dtype} cannot be saved: only numbers and strings can")
        return {"kind": kind, "classes": labels, "dtype": self.classes_.dtype.name if kind in "biuf" else ""}

    def _coding_from_file(self, coding, network):
        kind, labels = coding["kind"], coding["classes"]
        expected = {"b": bool, "i": int, "u": int, "f": float, "U": str, "O": (bool, int, float, str)}[kind]
        if len(labels) != network.output_size or not all(isinstance(label, expected) for label in labels):
            raise ValueError(f"its classes are not {network.output_size} labels of one kind")
        dtype = np.dtype(_checks.choose("dtype", coding["dtype"], _LABEL_DTYPES) if kind in "biuf" else kind)
        try:
            return np.array(labels, dtype)
        except OverflowError as error:
            raise ValueError(f"its classes do not fit their dtype: {error}") from None

    def _output_options(self, coding):
        return {"output_size": len(coding), "loss": "cross_entropy", "output_activation": "softmax"}

    def _class_weight(self):
        given = self.class_weight
        if given is None or isinstance(given, Mapping):
            return given
        if isinstance(given, str):
            return _checks.choose("class_weight", given, ("balanced",))
        raise TypeError(f'class_weight must be None, "balanced" or a dict of labels and weights, got {type(given).__name__}')

    def _weighing(self, data, coding):
        given = self._class_weight()
        if given is None:
            return None
        if isinstance(given, str):
            w = _training_weights(data)
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
        """Describe the accuracies of the network and the largest class, or return None if the network's is higher."""
        X, D, m, lengths = data
        w = _training_weights(data)
        sums = np.bincount(D[w > 0], w[w > 0], len(self.classes_))
        right = 0.0
        for part in _parts(data, self.output):
            Y, _ = self.network_.forward(part[0], lengths=part[3])
            right += float((_training_weights(part) * (Y.argmax(axis=-1) == part[1])).sum())
        accuracy, share = right / sums.sum(), sums.max() / sums.sum()
        if np.count_nonzero(sums) < 2 or accuracy > min(share * (1 + 1e-9), 1 - NO_IMPROVEMENT):
            return None
        weighted = "weighted " if (w[w > 0] != w[w > 0][0]).any() else ""
        return (f"its {weighted}accuracy on the training data is {accuracy:.4g}, and the largest class "
                f"({self.classes_.tolist()[sums.argmax()]!r}) has a {weighted}share of {share:.4g}")

    def _encode(self, examples, coding, network):
        """Class numbers (M,), −1 where they have no weight."""
        used = np.ones(len(examples.targets), bool) if examples.weights is None else examples.weights > 0
        labels = examples.targets[used]
        _check_labels(labels)
        try:
            numbers_of_them = np.searchsorted(coding, labels).clip(max=len(coding) - 1)
            wrong = np.asarray(coding[numbers_of_them] != labels)
        except TypeError:
            raise TypeError(f"y has labels of dtype {labels.dtype}, but the classes are {coding}") from None
        if wrong.any():
            m = np.flatnonzero(used)[np.argmax(wrong)]
            raise ValueError(f"y has label {examples.targets[m]!r}, first at {self._place(examples.inputs, m)}, which "
                             f"is none of the classes {coding}")
        classes = np.full(len(used), -1, np.intp)
        classes[used] = numbers_of_them
        return classes

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        return self._tags(estimator_type="classifier", classifier_tags=ClassifierTags())


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


class Names(NamedTuple):
    """Columns of the frames that X and y were: arrays of str, None where they were no frames."""

    features: np.ndarray | None
    targets: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """What was given to learn from: sequences, targets (M, ...), weights (M,) or None, names of columns."""

    inputs: Sequences
    targets: np.ndarray
    weights: np.ndarray | None
    names: Names


def _places(inputs, output):
    """(t, n) of every target: two arrays (M,)."""
    return inputs.steps() if output == "sequence" else inputs.last_steps()


def _rows(name, value, inputs, output):
    """`value` as rows (M, ...), one for each target: from (N, T, ...), a list of (T_n, ...), or (M, ...) itself."""
    _checks.refuse_masked(name, value)
    if not isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if output == "last" or inputs.form in ("steps", "series"):
        return _plain_rows(name, value, len(_places(inputs, output)[0]), output)
    N, T = len(inputs.lengths), len(inputs.padded)
    got = f"shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray) and value.ndim == 0 or len(value) != N:
        raise ValueError(f"{name} must have {N} sequences, as X has, got {got}")
    if _entries_are_single(value):
        raise ValueError(f"{name} must have an entry for each step of each sequence, ({N}, T) or a list of (T_n,), got "
                         f'{got}; one for each sequence needs output="last"')
    if isinstance(value, np.ndarray) and value.dtype != object and (inputs.lengths == T).all() and value.shape[1] == T:
        return value.reshape(N * T, *value.shape[2:])
    parts = [np.asarray(part) for part in value]
    for n, (part, length) in enumerate(zip(parts, inputs.lengths)):
        if part.ndim == 0 or len(part) != length:
            raise ValueError(f"{name}[{n}] must have {length} entries, one for each step of X[{n}], got shape "
                             f"{part.shape}")
    parts = [part for part in parts if len(part)]
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(f"{name} must have entries of one shape, got {sorted({part.shape[1:] for part in parts})}")
    return np.concatenate(parts)


def _plain_rows(name, value, M, output):
    each = "sequence" if output == "last" else "row of X"
    try:
        rows = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must have one entry of one shape for each {each}: {error}") from None
    if rows.ndim == 0 or len(rows) != M:
        raise ValueError(f"{name} must have {M} entries, one for each {each}, got shape {rows.shape}")
    return rows


def _entries_are_single(value):
    """Whether the entries of a list or array are numbers or labels, not sequences of them."""
    value = value if isinstance(value, (list, tuple)) else np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim == 1
    return all(np.ndim(entry) == 0 for entry in value)


def _take(data, sequences, output):
    """These sequences of X, D, weights and lengths."""
    X, D, weights, _, lengths, _ = _batches.take((*data[:3], None, data[3], None), sequences, output)
    return X, D, weights, lengths


def _with_weight(data, output):
    """X, D, weights and lengths without those sequences that have no weight at all."""
    weights = data[2]
    if weights is None:
        return data
    kept = weights > 0 if output == "last" else weights.any(axis=0)
    return data if kept.all() else _take(data, np.flatnonzero(kept), output)


def _cast(name, value, dtype):
    """Finite `value` in `dtype`; ValueError where that makes it infinite."""
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(value, dtype)
    if cast.dtype != value.dtype and not np.isfinite(cast).all():
        raise ValueError(f"{name} contains a number too large for {np.dtype(dtype).name}, in which it becomes infinity")
    return cast


def _scaled(name, A, mean, scale, dtype, unread):
    """(A − mean) / scale, computed in float64, in `dtype`; 0 where `unread`. A block at a time, to need little memory."""
    made = np.empty(A.shape, dtype)
    block = max(1, 2**18 // max(1, A[:1].size))
    for begin in range(0, len(A), block):
        part = slice(begin, begin + block)
        with np.errstate(over="ignore", invalid="ignore"):
            value = (A[part] - mean) / scale
            if unread is not None:
                value[unread[part]] = 0
            made[part] = value
    if not np.isfinite(made).all():
        raise ValueError(f"{name} contains a number that is too large for {np.dtype(dtype).name} after scaling")
    return made


def _is_column(value):
    """Whether sample weights are in frames of one column."""
    return hasattr(value[0] if isinstance(value, (list, tuple)) and len(value) else value, "columns")


def _training_weights(data):
    """Weights of the targets, 0 in padding: of the shape of D without outputs."""
    X, D, m, lengths = data
    per_sequence = D.ndim == (2 if D.dtype.kind == "f" else 1)
    shape = X.shape[1:2] if per_sequence else X.shape[:2]
    w = np.ones(shape) if m is None else m.astype(np.float64)
    return w if lengths is None or per_sequence else np.where(np.arange(len(X))[:, None] < lengths, w, 0)


def _steps(data):
    """Steps of all sequences together."""
    X, lengths = data[0], data[3]
    return X.shape[0] * X.shape[1] if lengths is None else int(lengths.sum())


def _parts(data, output):
    """The data in parts of some sequences, so that their outputs need little memory."""
    X = data[0]
    N, each = X.shape[1], max(1, 2**20 // max(1, len(X)))
    for begin in range(0, N, each):
        yield data if N <= each else _take(data, np.arange(begin, min(begin + each, N)), output)


def _weighted_quantile(rows, w, level):
    """The quantile of each column of rows (M, O): the smallest value below or at which the share of w is `level`."""
    found = []
    for column in rows.T:
        order = np.argsort(column)
        share = np.cumsum(w[order, 0]) / w.sum()
        found.append(column[order][min(np.searchsorted(share, level), len(order) - 1)])
    return np.array(found)


# ---- Labels

_LABEL_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
                 *(f"float{bits}" for bits in (16, 32, 64)))


def _unique(labels):
    """The classes among labels."""
    _check_labels(labels)
    try:
        return np.unique(labels)
    except TypeError as error:
        raise TypeError(f"y has labels that cannot be sorted, so there is no order of classes: {error}") from None


def _check_labels(labels):
    """Raise ValueError for what are no labels: NaN, None, numbers with a fraction."""
    if labels.dtype.kind == "O":
        missing = np.array([label is None or label != label for label in labels], bool)
    else:
        missing = np.isnan(labels) if labels.dtype.kind == "f" else np.zeros(0, bool)
    if missing.any():
        raise ValueError(f"y contains {labels[np.argmax(missing)]}, which is no label")
    if labels.dtype.kind == "c" or labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():
        raise ValueError("Unknown label type: continuous. y of a classifier holds labels, not numbers with a fraction")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y contains infinity, which is no label")


# ---- Seeds and files


def _entropy(random_state):
    """The number that seeds a network's streams."""
    if isinstance(random_state, np.random.RandomState):
        return _checks.DrawnSeed(random_state.randint(2**31 - 1))
    return _network_entropy(random_state)


def _names_from_file(names, count, what):
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"it does not name the {count} {what}")
    return np.array(names, dtype=object)


def _pack(name, value, depth=0):
    """A constructor argument as JSON can hold it; TypeError naming it where it cannot."""
    if isinstance(value, np.generic):
        value = value.item()
    if name == "dtype" and value is not None:
        return _check_dtype("dtype", value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and depth < 3:
        return {type(value).__name__: [_pack(name, item, depth + 1) for item in value]}
    if isinstance(value, Mapping) and depth < 3:
        if all(isinstance(key, str) for key in value):
            return {"dict": {str(key): _pack(name, item, depth + 1) for key, item in value.items()}}
        return {"pairs": [[_pack(name, part, depth + 1) for part in pair] for pair in value.items()]}  # JSON's keys are str
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": value.tolist()}
    if type(value) in _DESCRIBED.values():
        return {type(value).__name__: dataclasses.asdict(value)}
    raise TypeError(f"{name}={value!r} cannot be saved: a model file holds numbers, strings, optimizers and schedules, "
                    f"no {type(value).__name__}; set_params({name}=...) to something else before save")


def _unpack(value):
    """What `_pack` packed."""
    if not isinstance(value, dict):
        return value
    (kind, content), = value.items()
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_unpack(item) for item in content)
    if kind == "dict":
        return {key: _unpack(item) for key, item in content.items()}
    if kind == "pairs":
        return {_unpack(key): _unpack(item) for key, item in content}
    if kind == "array":
        return np.array(content, np.float64)
    return _DESCRIBED[kind](**content)


_KINDS.update({kind.__name__: kind for kind in (RNNRegressor, RNNClassifier, SequenceScaler)})  # `load` reads them
_DESCRIBED = {kind.__name__: kind for kind in (*optimizers.OPTIMIZERS.values(), *schedules.SCHEDULES.values())}
