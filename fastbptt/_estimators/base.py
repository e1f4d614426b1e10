"""Training shared by both estimators: `fit`, `partial_fit` and their arguments.

A new argument of both estimators is checked here.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import warnings
from typing import TYPE_CHECKING, Self, Unpack

import numpy as np

from .. import _checks, optimizers, reference, schedules, training
from .._sklearn import Parametric, foreign
from .._training import batches as _batches, checkpoint as _checkpoint, settings as _settings
from ..backends.arguments import Batch as _Batch
from ..network import RNN, STREAMS, _entropy as _network_entropy
from ..options import cells, declaration as _options
from ..options.checks import dtype as _check_dtype
from .data import OUTPUTS, _Data, Scaling
from .files import Saved
from .patience import Patience
from .rows import ColumnNames, _total_steps, without_weightless_sequences

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Batch
    from .._training.types import Callbacks, RunOptions

# The others are of classes, whose probabilities are the outputs
REGRESSION_LOSSES = tuple(name for name in reference.LOSSES if reference.FUSED.get(name) not in ("sigmoid", "softmax"))
SCALES = ("standard",)
# What None means. bench/estimators.py --choose selected these values; docs/estimators.md has the table.
BATCH, LEAST_STEPS = 8, 32  # sequences per update, and the least number of steps that they have together
EPOCHS, MOST_UPDATES = 100, 1000  # epochs, raised until there are as many updates as the data have steps, at most 1000
NO_IMPROVEMENT = 1e-3  # relative improvement on a constant's loss below which `fit` warns
NETWORK_OPTIONS = _options.names(lambda option: option.estimators)
RUN_OPTIONS = ("update_callbacks", "validation_every", "time_limit", "on_nonfinite", "checkpoint", "checkpoint_every",
               "resume", "overwrite", "n_threads")  # `fit` passes these on to RNN.fit


class Estimator(_Data, Saved, Parametric):
    """Base class of regressor and classifier. Each learns its own `coding` of y (see `_learn_coding`)."""

    _weighted = ("fit", "partial_fit", "score")
    _ONE_COLUMN = False  # whether y has a single column, as labels have
    _ACTIVATION: str  # the activation if None is given
    _IDENTITY: float  # W_s starts as this multiple of the identity, if the activation is not bounded

    # ---- Training

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
            validation: Batch | None = None, callbacks: Callbacks = (), **options: Unpack[RunOptions]) -> Self:
        """Train a new network, or with warm_start=True continue training the last one.

        Warns if the network is no better on its training data than a constant. For regression that is the mean of the targets
        (the median or the quantiles with these losses), for classification the largest class.

        Parameters
        ----------
        X : array (N, T, I), or list of (T_n, I)
            NaN and infinity are refused. DataFrames of a list must have the same columns in the same order. Later calls must
            have them too, also with warm_start. A list of (T_n,) of unequal lengths has one feature. Later calls of a model
            with one feature, and `validation`, take such lists of any lengths, unless two_d defines two dimensions.
        y : array (N, T) or (N, T, O), or list of (T_n,) or (T_n, O); with output="last" array (N,) or (N, O)
            Entries of weight 0 are never read. Labels have no axis of outputs. The columns of DataFrames are checked as those
            of X, also by `score`.
        sample_weight : array (N,) or (N, T), or list of (T_n,), optional
            Weights of the errors; with output="last" (N,). A sequence without any weight is left out. The weights also
            apply to the statistics of `scale`.
        validation : tuple (X, y) or (X, y, sample_weight), optional
            Replaces the sequences that early_stopping would split off. Without early_stopping its loss is only recorded.
        callbacks : functions of a training.Record
            Called after each epoch. Training ends if one returns True.
        **options : update_callbacks, validation_every, time_limit, on_nonfinite, checkpoint, checkpoint_every, resume,
            overwrite
            As in RNN.fit. `fastbptt.load` of a checkpoint returns only the network, without classes and scaling. `save` writes
            the estimator.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument, also of the constructor, has a wrong type or value.
        FloatingPointError, KeyboardInterrupt
            As in RNN.fit. The estimator then has the network of the last completed update.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> model = RNNRegressor(4, max_iter=3, random_state=0)
        >>> model.fit(X, X[..., :1]).predict(X).shape
        (6, 20, 1)
        """
        fitting = self._prepare_fit(X, y, sample_weight, validation, callbacks, options)
        X, D, weights, lengths = fitting.data
        try:
            fitting.network.fit(X, D, weights=weights, lengths=lengths, validation=fitting.held, **fitting.settings)
        finally:
            if fitting.network.history is not None:  # the training began
                self._finish_fit(fitting)
        return self

    def _prepare_fit(self, X, y, sample_weight, validation, callbacks, options, split_seed=None):
        """Return a _Fitting: what `fit` prepares before the training. The estimator does not change.

        The arguments are those of `fit`; `options` is its dict of further arguments of RNN.fit. `split_seed` replaces a seed
        that the user did not give, for the validation split of a resumed run.
        """
        settings = self._run_arguments(callbacks, options)
        last = self.network_ if self.warm_start and self.__sklearn_is_fitted__() else None
        examples = self._read_examples(X, y, sample_weight, None if last is None else last.input_size)
        names = examples.names
        if last is not None:
            names = self._check_inputs_and_names(examples)
        coding = self._learn_coding(examples) if last is None else self._coding()
        network = self._new_network(examples.inputs, coding, last)
        scaled = last is not None and self.scaling_ is not None and self.scaling_.y_mean is not None
        if scaled and not self._scales_targets(network):
            raise ValueError("warm_start=True continues with the statistics of the first fit, which scales the targets, but "
                             f"loss={self.loss!r} with output_activation={network.output_activation!r} needs targets that are "
                             "not scaled; set warm_start=False")
        data = without_weightless_sequences(self._to_engine(examples, coding, network), self.output)
        held = None if validation is None else self._validation_data(validation, coding, network, names)
        if self.early_stopping and held is None:
            entropy = network._entropy
            if last is None and options.get("resume") is True and options.get("checkpoint") is not None:
                entropy = _checkpoint.seed(_checkpoint.path(options["checkpoint"]), entropy)
            if split_seed is not None and isinstance(entropy, _checks.DrawnSeed):
                entropy = split_seed
            data, held = self._split_off_validation(data, entropy)
        scaling = self._learn_scaling(data, network) if last is None else self.scaling_
        class_factors = self._class_factors(data, coding)
        data, held = (None if part is None else self._scaled_and_cast(part, scaling, class_factors, network.dtype)
                      for part in (data, held))
        batch_size = self._batch_size(len(data[0]), sample_weight)
        settings |= {"batch_size": batch_size, "patience": self.n_iter_no_change if self.early_stopping else None,
                     "epochs": self._epochs(-(-data[0].shape[1] // batch_size), _total_steps(data))}
        return _Fitting(network, data, held, settings, coding, names, last is not None, scaling)

    def _finish_fit(self, fitting, stacklevel=4):
        """Take the result of the training from the _Fitting `fitting`: set the fitted attributes.

        Warn if the network is no better than a constant. `stacklevel` is the stack level of the user's call in this warning.
        """
        history = fitting.network.history
        if history.stopped == "callback" and any(isinstance(each, Patience) and each.stops(history.train_loss)
                                                 for each in fitting.settings["callbacks"]):
            history.stopped = "patience"
        curves = self._curves_before(history, fitting.settings.get("resume")) if fitting.warm_started else ([], [])
        self._set_fitted_attributes(fitting.network, fitting.coding, fitting.names, fitting.scaling)
        self._set_curves(curves[0] + history.train_loss, curves[1] + history.validation_loss, history)
        if history.stopped not in ("interrupted", "nonfinite", "error"):
            self._warn_if_no_better(fitting.data, stacklevel)

    def _warn_if_no_better(self, data, stacklevel):
        """Warn if the network is no better on its training data than a constant, and say what to try.

        `data` is (X, D, weights, lengths) as the network got it.
        """
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
        """Train for one epoch, for `partial_fit` of both estimators, and return self.

        `classes` is the classifier's argument.
        """
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it makes one epoch")
        if isinstance(self._class_weight(), str):
            raise ValueError('partial_fit does not support class_weight="balanced": it does not know all labels; give a dict')
        settings = self._run_arguments((), {})
        fitted = self.__sklearn_is_fitted__()
        if fitted:
            self._check_output()
        examples = self._read_examples(X, y, sample_weight, self.n_features_in_ if fitted else None)
        if fitted:
            self._check_inputs_and_names(examples)
        coding = self._coding() if fitted else self._learn_coding(examples, classes)
        network = self.network_ if fitted else self._new_network(examples.inputs, coding)
        data = without_weightless_sequences(self._to_engine(examples, coding, network), self.output)
        scaling = self.scaling_ if fitted else self._learn_scaling(data, network)
        X, D, weights, lengths = self._scaled_and_cast(data, scaling, self._class_factors(data, coding), network.dtype)
        source = _batches.Arrays(_Batch(X, D, weights, None, lengths), self.output, self._batch_size(len(X), sample_weight),
                                 self.shuffle, entropy=network._entropy, stream=STREAMS.index("shuffling"),
                                 begin=network._positions)
        if not fitted:
            self._set_fitted_attributes(network, coding, examples.names, scaling)
            self._set_curves([], [], None)
        loss = self._train_one_epoch(source, settings["optimizer"], settings["max_grad_norm"])
        self._set_curves([*self.loss_curve_, loss], self.validation_loss_curve_, self.history_)
        return self

    def _train_one_epoch(self, source, optimizer, max_grad_norm):
        """Train one epoch by single updates, with the optimiser of the last call. Return the mean of the losses before them.

        `source` is an Arrays of the data. The slots of the last call are kept if `optimizer` has the same type. Gradients are
        clipped to `max_grad_norm`. With reduction="sum" the result is the sum.
        """
        if self._stepper is None or self._stepper.kind is not type(optimizer):
            self._stepper = training.Stepper(self.network_, optimizer)
        max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        how = _settings.UpdateSettings(optimizer, max_grad_norm, threads=0, backend="core")
        losses, shares = [], []
        for k in range(source.updates_per_epoch):
            batch = source.batch(0, k)
            losses.append(self._stepper.step(self.network_, how, batch, sequences=source.rows(0, k)[0]))
            order = source.begin.moved(_batches.Positions(shuffling=1))
            self.network_._positions = self.network_._positions.later(order)  # the step has advanced the noise stream
            shares.append(self.network_._total_weight(batch))
        return float(np.sum(losses) if self.network_.reduction == "sum" else np.average(losses, weights=shares))

    def _set_fitted_attributes(self, network, coding, names, scaling):
        """Set the fitted attributes except the loss curves.

        `coding` says how y is coded (see `_learn_coding`), `names` are the ColumnNames of X and y, and `scaling` is a Scaling
        or None.
        """
        self.__dict__.pop("feature_names_in_", None)
        self.scaling_ = scaling
        if names.features is not None:
            self.feature_names_in_ = names.features
        self._target_names = names.targets
        self.network_, self.n_features_in_ = network, network.input_size
        self._set_coding(coding)
        self._stepper = None  # the state of partial_fit's optimiser

    def _set_curves(self, loss_curve, validation_loss_curve, history):
        """Set the fitted attributes that describe the training: the two curves (lists of float), `history`, and what follows.

        `loss_curve` and `validation_loss_curve` have a loss for each epoch, with those of earlier calls.
        """
        self.loss_curve_, self.validation_loss_curve_, self.history_ = loss_curve, validation_loss_curve, history
        self.n_iter_ = len(loss_curve)
        self.loss_ = loss_curve[-1] if loss_curve else math.nan
        watched = [loss for loss in validation_loss_curve or loss_curve if not math.isnan(loss)]
        self.best_loss_ = min(watched, default=math.nan)

    def _curves_before(self, history, resumed):
        """Return the training and validation curves of the calls before this one, to which a warm start appends its own.

        If `resumed` and `history` continues the run of the last `fit`, its part is left out: `history` contains it.
        """
        curves, known = (self.loss_curve_, self.validation_loss_curve_), self.history_
        if not resumed or known is None:
            return curves
        if known.seconds:
            is_its_run = known.seconds[0] in history.seconds[:1]
        else:  # from fit_many, which records no seconds
            is_its_run = not history.seconds and np.array_equal(known.train_loss, history.train_loss, equal_nan=True)
        if not is_its_run:
            return curves
        return tuple(curve[:len(curve) - len(added)]
                     for curve, added in zip(curves, (known.train_loss, known.validation_loss)))

    # ---- The constructor's arguments

    def _run_arguments(self, callbacks, options):
        """Return the arguments for RNN.fit that the constructor's arguments determine, checked under the estimator's names.

        `callbacks` and `options` are those of `fit`.
        """
        for name in options:
            if name not in RUN_OPTIONS:
                hint = foreign(type(self), name) or _checks.unknown_argument(
                    f"{type(self).__name__}.fit", name, [*inspect.signature(self.fit).parameters, *RUN_OPTIONS], type(self))
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
        callbacks = _settings.functions("callbacks", callbacks)
        if not self.early_stopping and self.tol is not None:
            callbacks = (*callbacks, Patience(self.n_iter_no_change, tol))
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
        """Return the Optimizer that `solver` and the hyperparameters of the constructor describe."""
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
        """Return the constructor's learning_rate, which must be a schedule's name, a Schedule or a function of the epoch."""
        if isinstance(self.learning_rate, numbers.Real):
            raise TypeError("learning_rate must be the name of a schedule, such as 'constant', got the number "
                            f"{self.learning_rate!r}, which learning_rate_init is for")
        if isinstance(self.learning_rate, str):
            _checks.choose("learning_rate", self.learning_rate, schedules.SCHEDULES)
        elif not isinstance(self.learning_rate, schedules.Schedule) and not callable(self.learning_rate):
            raise TypeError("learning_rate must be the name of a schedule, a schedules.Schedule or a function of the "
                            f"epoch, got {type(self.learning_rate).__name__}")
        return self.learning_rate

    def _batch_size(self, T, sample_weight=None):
        """Return the number of sequences per update, for sequences of at most T steps.

        The loss of a batch is divided by its own sum of weights. In a small batch a rare class or a light sequence would
        therefore count almost as much as any other, so data with sample_weight or class_weight have large batches.
        """
        weighted = sample_weight is not None or self._class_weight() is not None
        if self.batch_size is None and not weighted:
            return max(BATCH, -(-LEAST_STEPS // T))
        if isinstance(self.batch_size, str) and self.batch_size != "auto":
            raise ValueError(f'batch_size must be None, "auto" or an int, got {self.batch_size!r}')
        if self.batch_size in (None, "auto"):
            return 200
        return _checks.size("batch_size", self.batch_size)

    def _epochs(self, updates_per_epoch, steps):
        """Return the epochs of a fit on this many steps in total: max_iter, or more if min_updates needs them.

        An epoch has `updates_per_epoch` updates.
        """
        least = None if self.min_updates is None else _checks.size("min_updates", self.min_updates)
        if self.max_iter is not None:
            epochs = _checks.size("max_iter", self.max_iter)
        else:
            epochs, least = EPOCHS, min(steps, MOST_UPDATES) if least is None else least
        return epochs if least is None else max(epochs, -(-least // updates_per_epoch))

    def _class_weight(self):
        """Return the constructor's class_weight. A regressor has none."""
        return None

    def _unit_options(self):
        """Return the network's options `activation` and `initializer`, with None replaced by the estimator's own choice."""
        if self.cell != cells.PLAIN:
            return {"activation": self.activation, "initializer": self.initializer}
        activation = self._ACTIVATION if self.activation is None else self.activation
        if self.initializer is not None:
            return {"activation": activation, "initializer": self.initializer}
        # Parametrizations of W_s would leave little of a multiple of the identity.
        plain = (self.connectivity is None and self.dale_ratio is None and self.dale_signs is None and not self.nonnegative
                 and self.autapses)
        identity = isinstance(activation, str) and activation in ("relu", "elu") and plain
        return {"activation": activation, "initializer": ("identity", self._IDENTITY) if identity else "orthogonal"}

    def _new_network(self, inputs, coding, last=None):
        """Return a network of the constructor's options.

        `inputs` are the Sequences of X, which give the input size and the dtype. `coding` gives the output size. With `last`,
        a network, it has that network's parameters and random streams.
        """
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
            raise ValueError(f"warm_start=True continues from the last network, which does not fit: {error}") from None
        network._positions = last._positions
        return network

    # ---- scikit-learn

    def _tags(self, **own):
        """Return scikit-learn's Tags of this estimator. `own` has the fields in which regressor and classifier differ."""
        from sklearn.utils import Tags, TargetTags

        return Tags(target_tags=TargetTags(required=True, multi_output=own["estimator_type"] == "regressor"),
                    input_tags=self._input_tags(), **own)

    def set_fit_request(self, *, sample_weight: bool | str | None) -> Self:
        """Set whether scikit-learn's metadata routing passes sample_weight to `fit`: True, False, None or an alias."""
        return self._request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: bool | str | None) -> Self:
        """Set the routing of sample_weight to `partial_fit`. See `set_fit_request`."""
        return self._request("partial_fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Set the routing of sample_weight to `score`. See `set_fit_request`."""
        return self._request("score", sample_weight)

    def _request(self, method, sample_weight):
        """Store whether metadata routing passes sample_weight to `method`, and return self. See `set_fit_request`."""
        request = self._get_metadata_request()
        getattr(request, method).add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitting:
    """A prepared `fit`: the network to train, and the arguments of RNN.fit."""

    network: RNN
    data: tuple      # X, D, weights, lengths
    held: tuple | None  # the validation set: X, D, weights, lengths
    settings: dict   # other arguments of RNN.fit
    coding: tuple    # how y is coded: see `_learn_coding`
    names: ColumnNames
    warm_started: bool  # whether the last network continues to train
    scaling: Scaling | None


def _entropy(random_state):
    """Return the number that seeds a network's random streams."""
    if isinstance(random_state, np.random.RandomState):
        return _checks.DrawnSeed(random_state.randint(2**31 - 1))
    return _network_entropy(random_state)
