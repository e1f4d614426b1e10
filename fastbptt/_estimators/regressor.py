"""`RNNRegressor` and its forecasts. Users import it from `fastbptt.estimators`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .. import _checks, reference
from .._sklearn import takes_parameters
from ..backends.arguments import Batch
from ..options.checks import loss_and_parameter as _check_loss
from ..sequences import append, array_of_numbers, check_names, feature_names, read_series
from .base import NO_IMPROVEMENT, REGRESSION_LOSSES, Estimator
from .rows import _parts_of_sequences, training_weights, weighted_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from .._types import (
        Activation, Bool, Cell, Float, HiddenSize, Initializer, Int, LeakForm, Names, Output, OutputActivation, Penalty, PerUnit,
        Rank, Reduction, RegressionLoss, Seed, TwoD,
    )
    from .._training.types import OptimizerLike, ScheduleLike


@_checks.names_our_arguments("partial_fit", "predict", "score", "forecast")
class RNNRegressor(Estimator):
    """Predict one or several numbers for each step or each sequence, by a plain recurrent network.

    Parameters
    ----------
    hidden_size : int or tuple of int
        H, or H of each layer.
    cell, reset_after, forget_bias : as of RNN
    activation, initializer : as of RNN
        None with cell="plain": "relu" for RNNRegressor and "elu" for RNNClassifier. With these two, W_s starts as 0.5
        (RNNRegressor) or 0.95 (RNNClassifier) times the identity. With other activations, connectivity, Dale's law,
        `nonnegative` or autapses=False, the initializer is "orthogonal". None with the other cells: "tanh" and
        "orthogonal".
    reduction, bias, learn_initial_state, bidirectional, l1, l2, rate_penalty, omega, connectivity, trainable, dale_ratio,
    dale_signs, nonnegative, autapses, leak, dt, tau, leak_form, noise_std, input_noise_std, recurrent_dropout,
    rank : as of RNN
    output_activation : str, optional
        As of RNN. The default is "exp" with loss="poisson", else "identity".
    loss : str or (str, number or numbers)
        "squared_error", "absolute_error", "huber", "quantile" or "poisson", as of RNN. With L > 1 quantile levels,
        predictions have a last axis of L. `score` uses the level nearest to 0.5, and so does `forecast` where its own
        forecasts are inputs. If targets are scaled, the threshold of "huber" is in scaled units.
    scale : "standard" or None
        "standard": subtract each feature's mean and divide by its standard deviation, over the steps of the training data
        that have a weight. A feature that is constant within rounding is only shifted. Targets are scaled too if the
        output activation is "identity" (not with loss="poisson").
        `predict`, `score` and `forecast` take and return the user's units; losses are in scaled units. `partial_fit` and
        warm_start keep the statistics of the first fit, the attribute `scaling_`. If these scale the targets, a warm start
        with a loss or output activation that needs unscaled targets is refused.
    dtype : None, "float32" or "float64"
        None: float32 if the X of `fit` is float32, else float64, as in scikit-learn. float32 takes two thirds of the time.
    output : "sequence" or "last"
        "sequence": y has an entry for each step. "last": y has one entry for each sequence, at its last step.
    two_d : "raise", "steps" or "series"
        The meaning of an X with two dimensions. "steps": N sequences of one step (N, I), with y (N,) or (N, O). "series": one
        sequence (T, I), with y (T,) or (T, O), or of length 1 with output="last". Give N sequences of one feature (N, T) as
        X[:, :, None].
    horizon : int
        Number of steps between the inputs and the targets of `fit`, for `forecast`. See sequences.forecast_pairs.
    solver : str or optimizers.Optimizer
        "adam", "sgd", "rmsprop", "adagrad" or "adamw" with the hyperparameters below, or an object with its own.
    learning_rate_init, momentum, nesterovs_momentum, beta_1, beta_2, epsilon : float, bool
        Hyperparameters of a solver given by name, as far as it has them.
    learning_rate : str, schedules.Schedule or function
        Schedule of the learning rate by epoch: "constant", "step", "exponential", "cosine", "invscaling", "plateau", an
        object, or f(epoch) -> factor.
    max_iter : int, optional
        Number of epochs. None: 100, or more if `min_updates` needs them.
    min_updates : int, optional
        Raises the number of epochs until there are at least this many updates. None: no more than max_iter, if that is
        given; else as many updates as the training data have steps, up to 1,000.
    batch_size : int, "auto" or None
        Number of sequences per update. None: 8, or more until they have 32 steps together. With sample_weight or
        class_weight None means 200, because the loss of a batch is divided by the sum of its own weights. "auto": 200.
    max_grad_norm : float or None
        Largest Euclidean norm of the gradient. A larger gradient is scaled down to it.
    early_stopping : bool
        Stop if the validation loss has not improved by more than tol (None is 0) for n_iter_no_change epochs, then restore
        the parameters with the lowest validation loss. They are also restored if the training ends for another reason.
    validation_fraction : float
        Fraction of the sequences that early_stopping splits off at random, if `fit` gets no validation set.
    tol : float, optional
        Without early_stopping, training stops after more than n_iter_no_change epochs in a row whose training loss was above
        the lowest one so far minus tol, as in MLPRegressor. With neither, training ends at max_iter, without a
        ConvergenceWarning.
    n_iter_no_change : int
        See early_stopping and tol. `fit` warns if it is not 20 and neither is set, as it then has no effect.
    washout : int
        Number of steps at the start of each sequence that have no weight, in `fit` and in `score`. Needs output="sequence".
    shuffle : bool
        Whether to shuffle the sequences in each epoch.
    random_state : None, int, numpy.random.Generator or numpy.random.RandomState
        Seed of initial parameters, order and split. Each `fit` starts from it. With warm_start and in `partial_fit` the
        orders, noise and dropout continue after the last call, and the split stays the same.
    warm_start : bool
        Whether `fit` starts from the parameters of the last fit, with a new optimiser and the current options.
    verbose : bool
        Whether to show the progress.

    Attributes
    ----------
    network_ : RNN
        The network. Its arrays are time-major.
    n_features_in_, n_outputs_ : int
    feature_names_in_ : array of str
        Only if X was a DataFrame or a list of DataFrames.
    scaling_ : estimators.Scaling or None
        The statistics X_mean, X_scale (I,) and y_mean, y_scale (O,). The latter two are None if targets are not scaled.
    loss_curve_, validation_loss_curve_ : lists of float
        Data losses of each epoch, without penalties, in scaled units. warm_start and partial_fit extend them. The second is
        empty without a validation set.
    loss_, best_loss_ : float
        The last of ``loss_curve_``; the lowest of ``validation_loss_curve_``, or of ``loss_curve_`` if that is empty.
    n_iter_ : int
        Number of epochs.
    history_ : training.History or None
        The history of the last `fit`.

    Examples
    --------
    >>> series = datasets.load_airline_passengers()  # (1, 144, 1)
    >>> X, y = sequences.forecast_pairs(series, 12)
    >>> model = RNNRegressor(16, horizon=12, random_state=0).fit(X, y)
    >>> model.forecast(series, 12).shape
    (1, 12, 1)
    """

    _estimator_type = "regressor"  # scikit-learn before 1.6 reads it
    _ACTIVATION, _IDENTITY = "relu", 0.5

    @takes_parameters
    def __init__(self, hidden_size: HiddenSize = 32, *, cell: Cell = "plain", reset_after: Bool = True,
                 forget_bias: Float = 1.0, activation: Activation | None = None,
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
                 leak: PerUnit | None = None, dt: Float | None = None, tau: PerUnit | None = None,
                 leak_form: LeakForm = "rate", noise_std: Float = 0.0, input_noise_std: Float = 0.0,
                 recurrent_dropout: Float = 0.0, rank: Rank | None = None, scale: Literal["standard"] | None = "standard",
                 washout: Int = 0, min_updates: Int | None = None) -> None:
        pass

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for one epoch on X, y, from the parameters and with the optimiser of the last call. See `fit`.

        The learning rate is learning_rate_init. Changed options of the network take effect in the next `fit`.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`

        Returns
        -------
        self

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> model = RNNRegressor(4, max_iter=3, random_state=0)
        >>> for part in (X[:3], X[3:]):
        ...     model = model.partial_fit(part, part[..., :1])
        >>> model.predict(X).shape
        (6, 20, 1)
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike, *, initial_state: ArrayLike | None = None) -> np.ndarray:
        """Return the outputs for X, in the form of `fit`'s y.

        Parameters
        ----------
        X : as in `fit`
        initial_state : array (N, H), or tuple of one for each recurrence, optional
            As in RNN.forward, one state for each sequence.

        Returns
        -------
        array (N, T) or (N, T, O), or list of (T_n,) or (T_n, O) if X is a list; with output="last" (N,) or (N, O)
            With L > 1 quantile levels there is a last axis of L. The dtype is float64 if targets are scaled, else the
            network's.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> model = RNNRegressor(4, max_iter=3, random_state=0)
        >>> model.fit(X, X[..., 0]).predict(X).shape
        (6, 20)
        """
        rows, inputs = self._output_rows(X, "predict", initial_state)
        rows = self._with_levels(rows)
        return self._in_users_form(rows[:, 0].copy() if self._flat else rows, inputs)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None) -> float:
        """Return R² over all real steps, weighted, as a mean over the outputs: 1 − Σ w (y − ŷ)² / Σ w (y − ȳ)².

        A constant output scores 1 if it is predicted exactly, else 0. With fewer than two steps the score is NaN. Steps of the
        `washout` have no weight. initial_state is as in `predict`.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((6, 20, 2))
        >>> model = RNNRegressor(4, max_iter=3, random_state=0)
        >>> model.fit(X, X[..., 0]).score(X, X[..., 0]) < 1
        True
        """
        rows, _ = self._output_rows(X, "score", initial_state)
        examples = self._read_examples(X, y, sample_weight, self.n_features_in_)
        check_names("y", examples.names.targets, self._column_names().targets)
        targets = self._encode(examples, self._coding(), self.network_).astype(np.float64)
        w = np.ones(len(rows)) if examples.weights is None else examples.weights
        used = w > 0
        targets, predicted, w = targets[used], self._middle_level(rows[used]), w[used, None]
        if len(targets) < 2:
            return math.nan
        mean = (w * targets).sum(axis=0) / w.sum()
        error, spread = ((w * np.square(targets - guess)).sum(axis=0) for guess in (predicted, mean))
        r2 = 1 - error / np.where(spread == 0, 1, spread)
        return float(np.where(spread == 0, error == 0, r2).mean())

    def _with_levels(self, Y):
        """Return Y (..., O); with L > 1 quantile levels (..., O, L) from (..., L·O), where l·O + k is level l of target k."""
        levels = Y.shape[-1] // self.n_outputs_
        return Y if levels == 1 else Y.reshape(*Y.shape[:-1], levels, self.n_outputs_).swapaxes(-1, -2).copy()

    def _middle_level(self, Y):
        """Return Y (..., O) from outputs (..., L·O): with several quantile levels, the level nearest to 0.5."""
        loss = self.network_.loss
        if not isinstance(loss, tuple) or loss[0] != "quantile":
            return Y
        begin = int(np.argmin(np.abs(np.array(loss[1]) - 0.5))) * self.n_outputs_
        return Y[..., begin:begin + self.n_outputs_]

    # ---- Forecasting

    def forecast(self, series: ArrayLike, steps: Int, *, exogenous: ArrayLike | None = None) -> Any:
        """Forecast the next `steps` values of each series.

        The network must be fitted to sequences.forecast_pairs(series, horizon), of these or other series. The first `horizon`
        steps are its last `horizon` outputs. For later steps its inputs are its own forecasts.

        Parameters
        ----------
        series : array (N, T, O) or (T, O), or list of (T_n, O)
            With at least `horizon` steps. With O = 1 also a list of (T_n,).
        steps : int
            Number of steps to forecast.
        exogenous : array (N, T, E) or (T, E), or list of (T_n, E)
            Required if `forecast_pairs` got exogenous inputs. If steps > horizon, they must have at least steps − horizon
            steps more than the series.

        Returns
        -------
        array (N, steps, O) or (steps, O), or list of (steps, O), in the form of `series`
            With L > 1 quantile levels there is a last axis of L. The dtype is as in `predict`.

        Raises
        ------
        TypeError, ValueError
            If the series or the exogenous inputs do not match the fit, or output="last", or bidirectional=True.

        Examples
        --------
        >>> series = np.sin(np.arange(120) / 4)[None, :, None]
        >>> X, y = sequences.forecast_pairs(series, 3)
        >>> model = RNNRegressor(8, horizon=3, max_iter=5, random_state=0).fit(X, y)
        >>> model.forecast(series, 10).shape
        (1, 10, 1)
        """
        self._check_fitted("forecast")
        steps, horizon = _checks.size("steps", steps), _checks.size("horizon", self.horizon)
        if self.output != "sequence":
            raise ValueError('forecast needs output="sequence": it uses an output at each step')
        self._check_output()
        if self.network_.bidirectional:
            raise ValueError("forecast requires bidirectional=False: otherwise a pair's input would contain its target")
        past = read_series("series", series, self.n_outputs_)
        self._check_series(past, horizon)
        names, O = self._column_names(), self.n_outputs_  # noqa: E741
        known = feature_names("series", series)
        check_names("series", known, None if names.features is None else names.features[:O])
        if names.features is None and names.targets is not None and set(names.targets) == set(() if known is None else known):
            check_names("series", known, names.targets)  # y may have other names, but not the same in a different order
        check_names("exogenous", feature_names("exogenous", exogenous), None if names.features is None else names.features[O:])
        beyond = max(0, steps - horizon)
        known = self._read_exogenous(past, exogenous, beyond)
        X = append(past.padded.swapaxes(0, 1), known.swapaxes(0, 1), len(past.padded)).swapaxes(0, 1)
        Y, _, states = self.network_.forward(self._scaled_inputs("series", X, past.lengths), return_states=True)
        n = np.arange(len(past.lengths))
        outputs = [self._unscaled(Y[past.lengths - horizon + k, n]) for k in range(min(steps, horizon))]
        S = states.S
        state = tuple(each[past.lengths, n] for each in S) if isinstance(S, tuple) else S[past.lengths, n]
        for k in range(beyond):  # step T_n + k, whose input is the forecast for that step
            x = np.concatenate([self._middle_level(outputs[k]), known[past.lengths + k, n]], axis=1)
            y, state = self.network_.forward(self._scaled_inputs("series", x[None], np.ones(len(x))), state)
            outputs.append(self._unscaled(y[0]))
        made = self._with_levels(np.stack(outputs, axis=1))
        if past.form == "list":
            return [part.copy() for part in made]
        return made if past.form == "array" else made[0]

    def _check_series(self, past, horizon):
        """Raise ValueError if the series to forecast do not match the fit, or if one is shorter than the horizon.

        `past` holds the series as Sequences.
        """
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
        """Return exogenous inputs (at least the steps of the longest series, N, E); E = 0 if there are none.

        `past` are the Sequences of the series. Each needs exogenous inputs for `beyond` more steps than it has.
        """
        E = self.n_features_in_ - self.n_outputs_
        if exogenous is None and E == 0:
            return np.zeros((len(past.padded) + beyond, len(past.lengths), 0), past.padded.dtype)
        if exogenous is None or E == 0:
            raise ValueError((f"exogenous must have {E} features, got None" if E else "exogenous must be None")
                             + f": fit's X had {self.n_features_in_} features and its y {self.n_outputs_}")
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

    # ---- Targets. The coding is the pair (O, whether y had no axis of outputs)

    def _read_targets(self, rows):
        """Return the targets (M,) or (M, O) from the rows of y, as floats."""
        targets = array_of_numbers("y", rows)
        if targets.ndim > 2 or 0 in targets.shape[1:]:
            raise ValueError(f"y must have one number, or O numbers, for each {self._unit_of_y()}, got entries of shape "
                             f"{targets.shape[1:]}")
        return targets

    def _learn_coding(self, examples, classes=None):
        """Return the coding of y in the Examples, the pair (O, whether y had no axis of outputs).

        `examples` are those of `fit`. `classes` is for the classifier.
        """
        targets = examples.targets
        return (1 if targets.ndim == 1 else targets.shape[1]), targets.ndim == 1

    def _coding(self):
        """Return the coding of the last fit: O, and whether y had no axis of outputs."""
        return self.n_outputs_, self._flat

    def _set_coding(self, coding):
        """Set the fitted attributes that the coding determines."""
        self.n_outputs_, self._flat = coding

    def _coding_to_file(self):
        """Return the coding as a dict for the file's header. O follows from the network."""
        return {"flat": self._flat}

    def _coding_from_file(self, coding, network):
        """Return the coding from the header's dict and the network of the file."""
        return network.target_size, _checks.flag("flat", coding["flat"])

    def _output_options(self, coding):
        """Return the network's options for targets of this coding: number of outputs, loss and output activation."""
        name = self.loss[0] if isinstance(self.loss, tuple) and len(self.loss) == 2 else self.loss
        _checks.choose("loss", name, REGRESSION_LOSSES)
        name, parameter = _check_loss(self.loss)
        activation = reference.FUSED.get(name, "identity") if self.output_activation is None else self.output_activation
        levels = len(parameter) if name == "quantile" else 1
        return {"output_size": coding[0] * levels, "loss": self.loss, "output_activation": activation}

    def _scales_targets(self, network):
        """Return whether targets of this network are scaled: not if its outputs limit their range."""
        return network.output_activation == "identity"

    def _compared_with_a_constant(self, data):
        """Return a text with the losses of the network and of the best constant, or None if the network's is lower.

        `data` is (X, D, weights, lengths), the training data as the network got them.
        """
        X, D, m, lengths = data
        w = training_weights(data)
        rows, w = D[w > 0].astype(np.float64), w[w > 0, None]
        name, parameter = _check_loss(self.network_.loss)
        if name == "quantile":
            which, guess = "quantiles", np.concatenate([weighted_quantile(rows, w, level) for level in parameter])
            rows = np.tile(rows, len(parameter))
        elif name == "absolute_error":
            which, guess = "median", weighted_quantile(rows, w, 0.5)
        else:
            which, guess = "mean", np.average(rows, axis=0, weights=w[:, 0])
        Z = np.log(np.maximum(guess, 1e-300)) if reference.FUSED.get(name) == "exp" else guess
        e = reference.LOSSES[name][0]
        constant = float((w * e(guess + 0 * rows, Z + 0 * rows, rows, parameter)).sum() / w.sum())
        loss, total = 0.0, 0.0
        for part in _parts_of_sequences(data, self.output):
            weight = self.network_._total_weight(Batch(*part[:3], lengths=part[3]))
            if weight > 0:
                found = self.network_.evaluate(*part[:2], weights=part[2], lengths=part[3])
                loss, total = loss + found * (weight if self.network_.reduction == "mean" else 1), total + weight
        loss /= total
        if (rows == rows[0]).all() or loss < constant - NO_IMPROVEMENT * abs(constant):
            return None
        units = " (in scaled units)" if self.scaling_ is not None and self.scaling_.y_mean is not None else ""
        return f"its loss on the training data is {loss:.4g}, that of the targets' {which} is {constant:.4g}{units}"

    def _encode(self, examples, coding, network):
        """Return the targets of the Examples as (M, O), 0 where they have no weight.

        Raise ValueError for NaN, infinity, or another number of outputs in `examples` than in `coding`.
        """
        targets = examples.targets if examples.targets.ndim == 2 else examples.targets[:, None]
        if targets.shape[1] != coding[0]:
            raise ValueError(f"y has {targets.shape[1]} outputs, but this {type(self).__name__} has {coding[0]}")
        if examples.weights is not None:
            targets = np.where(examples.weights[:, None] > 0, targets, 0)
        bad = ~np.isfinite(targets)
        loss = _check_loss(network.loss)[0]
        positive = reference.FUSED.get(loss) == "exp"
        if positive:
            bad |= targets < 0
        if bad.any():
            m, k = np.argwhere(bad)[0]
            what = "NaN" if np.isnan(targets[m, k]) else "infinity" if np.isinf(targets[m, k]) else str(targets[m, k])
            raise ValueError(f"y contains {what}, first at {self._describe_place(examples.inputs, m)}, output {k}"
                             + (f', which loss="{loss}" cannot have' if positive else ""))
        return targets

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags

        return self._tags(estimator_type="regressor", regressor_tags=RegressorTags())
