"""Diagnostics of a network: whether its gradients are correct, how they propagate, and what its states do.

A new diagnostic returns a frozen dataclass with arrays, `describe` and `plot`. Drawing belongs to `fastbptt/_plots.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plots, _checks, reference
from . import _fixed_points
from ..backends.arguments import Batch, CallOptions
from ..options import declaration as _options
from ..threads import policy as _threading
from ._fixed_points import FixedPoints

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend, Float, Int, Seed
    from ..network import RNN

STEP = 1e-30  # of the complex-step derivative; it takes no difference, so a small step causes no cancellation
CONSTRAINTS = _options.names(lambda option: option.constrains)
ZERO = 1e-45  # smaller derivatives count as 0; the step changes a zero derivative by about STEP², which is far less


@dataclass(frozen=True)
class GradientCheck:
    """Largest relative errors of gradients against the complex-step derivative, max |g − g_cs| / max |g_cs|.

    Attributes
    ----------
    errors : dict of dict
        errors[column][parameter]. The columns are "reference float64", "core float64" and "core float32".
    entries : dict
        Number of entries of each parameter that were checked.
    left_out : int
        Number of errors e(Y_tb, D_tb) that got weight 0, because rounding decides on which side of a kink they are.
    omega : float
        The network's omega. Above 0, the check compares the immediate derivative of Ω, by W_s alone, with all S_t and ∂E/∂S_t
        held fixed, as `loss_and_gradients` does. Central differences of the whole loss give another number.
    """

    errors: dict[str, dict[str, float]]
    entries: dict[str, int]
    left_out: int = 0
    omega: float = 0.0

    LIMITS = {"float64": 1e-10, "float32": 1e-3}

    @property
    def passed(self) -> bool:
        """Whether every error is under 1e-10 (float64) or 1e-3 (float32)."""
        return all(error < self.LIMITS[column.split()[1]]
                   for column, errors in self.errors.items() for error in errors.values())

    def describe(self) -> str:
        """Return a table of the errors."""
        head = f"{'':14}{'entries':>8}" + "".join(f"{column:>20}" for column in self.errors)
        rows = [f"∂E/∂{name:<11}{self.entries[name]:>7}" + "".join(f"{errors[name]:>20.1e}"
                for errors in self.errors.values()) for name in self.entries]
        verdict = "every gradient agrees" if self.passed else "GRADIENTS DISAGREE"
        note = [f"errors left out, because rounding decides on which side of a kink they are: {self.left_out}"] * (
            self.left_out > 0)
        if self.omega > 0:
            note.append(f"omega = {self.omega:g}: both sides use the immediate derivative of Ω by W_s, with all S_t and ∂E/∂S_t "
                        "held fixed, not that of the whole loss")
        return "\n".join(["largest relative error against the complex-step derivative:", head, *rows, *note, verdict])


def gradcheck(network: RNN, X: ArrayLike | None = None, D: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None, weights: ArrayLike | None = None, entries: Int = 100,
              random_state: Seed = 0) -> GradientCheck:
    """Compare gradients with complex-step derivatives. `RNN.gradcheck` calls this and documents the arguments.

    The derivative of the reference's forward pass by one entry is Im E(θ + ih) / h, exact to rounding (Squire and Trapp
    1998). With omega > 0, Ω enters both sides only by its immediate derivative: by W_s, with all S_t and ∂E/∂S_t held fixed
    (Pascanu, Mikolov and Bengio 2013). Differences of the whole loss, Ω included, therefore disagree with the gradient.

    The check uses the network's own parameters, in float64. "core float32" is the same network in float32.

    At a kink the derivative of the reference's forward pass is the documented subgradient: 0 for |w| of the l1 penalty, the
    absolute error, the quantile loss and ReLU at 0. A gradient with another subgradient does not pass. Rounding can put the
    three networks on different sides of a kink. No gradient is wrong then, so such errors get the weight 0.
    """
    entries = _checks.size("entries", entries)
    rng = np.random.default_rng(random_state)
    if X is None:
        if not (D is None and weights is None and initial_state is None):
            raise TypeError("X must be given with D, weights or initial_state")
        X, D, initial_state = _random_data(network, rng)
    elif D is None:
        raise TypeError("D must be given with X")
    X, initial_state, _, _ = network._check_inputs(X, initial_state)
    D, weights = network._check_targets(X, D, weights)
    data = {"X": X, "D": D, "weights": weights, "initial_state": network._as_given(initial_state)}
    options = network._engines["reference"].options
    networks = {dtype: _with(network, dtype=dtype) for dtype in ("float64", "float32")}
    torn = _torn(networks, data)
    if torn.any():
        if weights is None:
            weights = np.ones(torn.shape, network.dtype)
        data["weights"] = np.where(torn if weights.ndim == torn.ndim else torn[..., None], 0, weights)
    parameters = {name: value.astype(complex) for name, value in networks["float64"].parameters.items()}
    held = reference.flows(networks["float64"].parameters, **data, **options) if options["omega"] else {}

    chosen, derivative = {}, {}
    for name, value in parameters.items():
        chosen[name] = rng.permutation(value.size)[:entries]
        derivative[name] = np.empty(len(chosen[name]))
        for k, j in enumerate(chosen[name]):
            value.flat[j] += 1j * STEP
            loss = reference.loss(parameters, **data, **options)
            derivative[name][k] = (loss + _penalties(parameters, data, options, held)).imag / STEP
            value.flat[j] = value.flat[j].real
        if name in options["maps"]:  # frozen entries have no gradient
            derivative[name] *= options["maps"][name].trainable.flat[chosen[name]]

    errors = {}
    for backend, dtype in BACKENDS:
        _, gradients = networks[dtype].loss_and_gradients(**data, backend=backend)
        errors[f"{backend} {dtype}"] = {
            name: _relative_error(gradients[name].flat[chosen[name]], derivative[name]) for name in parameters}
    return GradientCheck(errors, {name: len(index) for name, index in chosen.items()}, int(torn.sum()),
                         options["omega"])


BACKENDS = (("reference", "float64"), ("core", "float64"), ("core", "float32"))
KINKED_UNITS, KINKED_LOSSES = ("relu", "leaky_relu"), ("absolute_error", "quantile")


def _torn(networks, data):
    """Return which errors (T, B), or (B,), lie on different sides of a kink in the networks: of the loss, or of a unit before."""
    units, outputs = [], []
    for backend, dtype in BACKENDS:
        net = networks[dtype]
        X, initial_state, _, _ = net._check_inputs(data["X"], data["initial_state"])
        D, _ = net._check_targets(X, data["D"], data["weights"])
        Y, _, S, *R = net._engines[backend].forward(net._theta, Batch(X, initial_state=initial_state), CallOptions(), True)
        rates = R[0] if R else S
        rates = rates if isinstance(rates, tuple) else (rates,)
        units.append(np.concatenate([np.sign(of_one[-len(X):] if len(X) else of_one[:0]) for of_one in rates], axis=-1))
        # D may be NaN where there is no weight
        outputs.append(np.nan_to_num(np.sign(Y - np.tile(D, Y.shape[-1] // D.shape[-1]))) if D.ndim == Y.ndim else Y)
    loss = net.loss[0] if isinstance(net.loss, tuple) else net.loss
    torn = np.zeros(outputs[0].shape[:-1], bool)
    if loss in KINKED_LOSSES:
        torn |= (_differ(outputs)).any(axis=-1)
    if net.activation in KINKED_UNITS:
        of_units = _differ(units).any(axis=-1)  # (T, B); later errors depend on these units
        torn |= (np.logical_or.accumulate(of_units) if torn.ndim == 2 and not net.bidirectional else of_units.any(axis=0))
    return torn


def _differ(signs):
    return (signs[0] != signs[1]) | (signs[0] != signs[2])


def _penalties(parameters, data, options, held):
    """Return the penalties of the reference, with the states and gradients of Ω held fixed."""
    effective = reference.effective(parameters, options["maps"])
    total = reference.penalty(effective, options["l1"], options["l2"])
    if options["rate_penalty"]:
        total += options["rate_penalty"] * reference.mean_square_rate(
            parameters, data["X"], initial_state=data["initial_state"], **options)
    return total + options["omega"] * sum(reference.spread(effective["W_s" + suffix], *flow) for suffix, flow in held.items())


def _relative_error(value, truth):
    if len(truth) == 0:
        return 0.0
    largest = np.abs(truth).max()
    return float(np.abs(value - truth).max() / largest) if largest > ZERO else float(np.abs(value).max())


def _random_data(network, rng, T=12, B=3):
    """Return inputs, an initial state and targets that are valid for the network's loss."""
    if network.one_hot:
        X = rng.integers(network.input_size, size=(T, B))
    else:
        X = rng.standard_normal((T, B, network.input_size))
    initial_state = None
    if not network.learn_initial_state:
        initial_state = network._as_given(rng.uniform(-0.5, 0.5, (B, sum(network._widths))))
    loss = network.loss[0] if isinstance(network.loss, tuple) else network.loss
    steps = (B,) if network.output == "last" else (T, B)
    if loss == "cross_entropy":
        return X, rng.integers(network.output_size, size=steps), initial_state
    return X, rng.uniform(0, 1, (*steps, network.target_size)), initial_state


# ---------------------------------------------------------------------------------------------------------------------
# How the gradient propagates
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and singular values of W_s.

    Attributes
    ----------
    eigenvalues : complex array (H,), in order of decreasing magnitude
    singular_values : array (H,), in decreasing order
    leak : float
        Leak λ of the units. Units of slope 1 multiply a disturbance along the eigenvector of ν by 1 − λ + λν in each step.
        It grows if ν lies outside the circle |1 − λ + λν| = 1, which is the unit circle for units without a leak. The
        circle's radius is 1 / λ: it approaches the line Re ν = 1 as dt approaches 0.
    """

    eigenvalues: np.ndarray
    singular_values: np.ndarray
    leak: float = 1.0

    @property
    def spectral_radius(self) -> float:
        """The largest |ν| of the eigenvalues ν."""
        return float(np.abs(self.eigenvalues[0]))

    def describe(self) -> str:
        """Return one line."""
        outside = int(_plots.outside(self.eigenvalues, self.leak).sum())
        circle = "the unit circle" if self.leak == 1 else f"the circle |1 − λ + λν| = 1 of leak λ = {self.leak:.3g}"
        return (f"W_s: spectral radius {self.spectral_radius:.3g}, {outside} of {len(self.eigenvalues)} eigenvalues outside "
                f"{circle}; singular values {self.singular_values[0]:.3g} to {self.singular_values[-1]:.3g}.")

    def plot(self, ax: Any = None) -> Any:
        """Draw the eigenvalues and the unit circle, with a leak also the circle of `leak`, and return the Axes.

        Needs matplotlib.
        """
        return _plots.eigenvalues(ax, self.eigenvalues, self.leak)


@dataclass(frozen=True)
class States:
    """States of the units over time.

    Attributes
    ----------
    S : array (T+1, B, H)
        S[0] is the initial state, S[t+1] the state after X[t]. States after a sequence's end are 0.
    saturated : array (T,)
        The fraction of units whose slope g1' is under a tenth of its largest value (for tanh: |S| > 0.949), over the
        sequences that have step t; NaN if none has.
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps.
    """

    S: np.ndarray
    saturated: np.ndarray
    dt: float | None = None

    def describe(self) -> str:
        """Return one line."""
        return _describe_saturation(self.saturated)

    def plot(self, ax: Any = None, sequence: int = 0) -> Any:
        """Draw the states of one sequence, lines of up to 8 units or an image of more, and return the Axes.

        Needs matplotlib.
        """
        return _plots.states(ax, self.S[:, sequence], self.dt)


@dataclass(frozen=True)
class GradientFlow:
    """Gradients of each error E_t = Σ_b m_tb e(Y_tb, D_tb) with respect to the earlier states, in float64.

    Attributes
    ----------
    errors : int array (n,)
        The steps t whose errors were propagated back.
    norms : array (n, T)
        ‖∂E_t/∂S_i‖, Euclidean over sequences and units. S_i is the state after X[i]. Entries with i > t are 0.
    whole : array (T,)
        ‖∂E/∂S_i‖ of E = Σ_t E_t, all errors together, not divided by Σ m.
    t : int
        The error of the next three attributes: the requested one, else the last that has a gradient.
    terms_W_s, terms_W_x : arrays (t+1,)
        Frobenius norms of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x, those of `RNN.gradient_terms`.
    products : array (t+1, m)
        ‖∂S_t/∂S_i‖₂, the largest singular value of the product of the step Jacobians i+1 ... t, for m sequences. Up to
        H = 64 it comes from singular values, above from a power iteration, which gives a lower bound, mostly within 1 %.
    saturated : array (T,)
        As in `States`.
    spectrum : Spectrum
        Of W_s.
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps: S_i, the
        state after X[i], has time (i + 1) dt.
    """

    errors: np.ndarray
    norms: np.ndarray
    whole: np.ndarray
    t: int
    terms_W_s: np.ndarray
    terms_W_x: np.ndarray
    products: np.ndarray
    saturated: np.ndarray
    spectrum: Spectrum
    dt: float | None = None

    @property
    def ratios(self) -> np.ndarray:
        """‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖, array (n', K): a row for each error that has a gradient, NaN where k > t."""
        ratios = np.full((len(self.errors), self.errors.max(initial=-1) + 1), np.nan)
        with np.errstate(over="ignore"):
            for row, t, norms in zip(ratios, self.errors, self.norms):
                if 0 < norms[t] < np.inf:
                    row[:t + 1] = norms[t::-1] / norms[t]
        return ratios[~np.isnan(ratios[:, :1]).any(axis=1)]

    @property
    def by_distance(self) -> np.ndarray:
        """The median of `ratios` over errors, array (K,) for k = 0 ... K − 1."""
        ratios = self.ratios
        if not ratios.size:
            return np.ones(0)
        return np.array([np.median(column[~np.isnan(column)]) for column in ratios.T if not np.isnan(column).all()])

    @property
    def factor(self) -> float:
        """The fitted factor by which each step back multiplies the gradient.

        It is exp of the slope of log `by_distance`, by least squares over k >= 1. Each distance is weighted by the number of
        errors that reach it. It is NaN if the gradient is finite and not 0 at fewer than two distances.
        """
        return float(np.exp(self._fit()[0]))

    @property
    def verdict(self) -> str:
        """"vanishes" or "explodes" if the fitted factor makes the gradient 10 times smaller or larger over the longest distance.

        Otherwise "persists". It is also "vanishes" if the gradient is 0 at more than half of the distances, and "unknown"
        if the factor cannot be fitted.
        """
        curve = self.by_distance
        if len(curve) > 1 and (curve == 0).sum() > len(curve) / 2:
            return "vanishes"
        total = self._fit()[0] * (len(curve) - 1)
        if np.isnan(total):
            return "unknown"
        return "vanishes" if total < -np.log(10) else "explodes" if total > np.log(10) else "persists"

    def _fit(self):
        """Return slope and intercept of log `by_distance`."""
        curve = self.by_distance
        k = np.arange(len(curve))
        fitted = (k > 0) & (curve > 0) & (curve < np.inf)
        if fitted.sum() < 2:
            return np.nan, np.nan
        reached = (~np.isnan(self.ratios)).sum(axis=0)[:len(curve)]
        return np.polyfit(k[fitted], np.log(curve[fitted]), 1, w=np.sqrt(reached[fitted]))

    def describe(self) -> str:
        """Return the factor of the gradient, the verdict, the terms, the step Jacobians, the spectrum and the saturation as text."""
        lines = [self._describe_rate(), self._describe_terms(), self._describe_products(), self.spectrum.describe(),
                 _describe_saturation(self.saturated)]
        return "\n".join(line for line in lines if line)

    def _describe_rate(self):
        curve, verdict, factor = self.by_distance, self.verdict, self.factor
        if not len(curve):
            return "No error has a gradient."
        of = f"of {len(self.ratios)} errors" if len(self.ratios) > 1 else f"of the error at step {self.t}"
        if verdict == "unknown":
            return f"The gradient {of} cannot be judged: it goes back {_steps(len(curve) - 1)}."
        lead = f"The gradient {of}, up to {_steps(len(curve) - 1)} back, "
        if np.isnan(factor):
            return f"{lead}vanishes: it is exactly 0 from {_steps(int((curve > 0).sum()))} back on."
        rate = f"with each step back it is multiplied by {factor:.4g} (fitted to the medians of ‖∂E_t/∂S_{{t−k}}‖ / ‖∂E_t/∂S_t‖)"
        if verdict == "persists":
            return f"{lead}neither vanishes nor explodes: {rate}."
        shrinks = verdict == "vanishes"
        time = np.log(2) / abs(np.log(factor))
        beyond = np.flatnonzero(curve < 0.01 if shrinks else curve > 100)
        end = f"{'under 1 %' if shrinks else 'over 100 times as large'} from {_steps(int(beyond[0]))} back on" if len(beyond) else (
            f"still {curve[-1]:.2g} of it after {_steps(len(curve) - 1)}")
        clock = "" if self.dt is None else f" ({time * self.dt:.3g} in the unit of dt)"
        return (f"{lead}{verdict}: {rate}, which {'halves' if shrinks else 'doubles'} it every "
                f"{_steps(float(f'{time:.3g}'))}{clock}; {end}.")

    def _describe_terms(self):
        total = self.terms_W_s.sum()
        if not 0 < total < np.inf:
            return ""
        last = int(np.searchsorted(np.cumsum(self.terms_W_s[::-1]), 0.9 * total)) + 1
        return (f"Of the terms of ∂E_{self.t}/∂W_s the last {last} of {len(self.terms_W_s)} make up 90 % of the sum of their "
                "norms.")

    def _describe_products(self):
        if not self.products.size:
            return ""
        norms = np.median(self.products, axis=1)[::-1]
        shown = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k < len(norms)]
        if not shown:
            return ""
        return (f"‖∂S_{self.t}/∂S_{{{self.t}−k}}‖₂, median of {self.products.shape[1]} sequence(s): "
                + ", ".join(f"{norms[k]:.2g} at k = {k}" for k in shown) + ".")

    def plot(self, ax: Any = None) -> Any:
        """Draw `norms` as a heat map of errors by states, or as a line for one error, and return the Axes. Needs matplotlib."""
        if len(self.errors) == 1:
            return _plots.one_error(ax, self.t, self.norms[0, :self.t + 1], self.dt)
        return _plots.heat_map(ax, self.errors, self.norms, self.dt)

    def plot_distance(self, ax: Any = None) -> Any:
        """Draw `by_distance` with the fitted rate, and `products`, by steps back, and return the Axes. Needs matplotlib."""
        slope, intercept = self._fit()
        fit = None if np.isnan(slope) else np.exp(intercept + slope * np.arange(len(self.by_distance)))
        return _plots.distance(ax, self.ratios[:, :len(self.by_distance)], fit, self.products, self.t, self.dt)

    def plot_terms(self, ax: Any = None) -> Any:
        """Draw `terms_W_s` and `terms_W_x` by step, and return the Axes. Needs matplotlib."""
        return _plots.terms(ax, self.t, self.terms_W_s, self.terms_W_x, self.dt)


def gradient_flow(network: RNN, X: ArrayLike, D: ArrayLike, t: Int | None = None, *,
                  initial_state: ArrayLike | None = None, weights: ArrayLike | None = None,
                  lengths: ArrayLike | None = None, sequences: Int = 4, backend: Backend = "core") -> GradientFlow:
    """Compute the gradient of each error, or of the error at step t, with respect to each earlier state.

    The result shows whether gradients vanish or explode. It is computed in float64, whatever the network's dtype.

    Parameters
    ----------
    network : RNN
        With one layer and one direction. With output="last" the only error of a sequence is at its last step.
    X, D, initial_state, lengths : as in `RNN.loss_and_gradients`
    weights : as there, but not for each output: (T, B), or (B,) with output="last"
    t : int, optional
        A Python index into Y. By default all errors are propagated: (T, T) norms in T²/2 steps of B rows.
    sequences : int
        Number of sequences for the products of step Jacobians, the first that have step t. Each takes 2 t H³
        multiplications.
    backend : "core" or "reference"

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or there are no steps.
    IndexError
        If t is outside −T ... T−1.

    Notes
    -----
    The matrix takes 8 T² bytes. Errors are propagated together, as many as fill half of a second-level cache.
    Vanishing and exploding: Bengio, Simard and Frasconi 1994, IEEE Transactions on Neural Networks 5:157; Pascanu, Mikolov
    and Bengio 2013, ICML.
    """
    network, X, D, weights, initial_state, steps = _in_steps(network, X, D, weights, initial_state, lengths)
    T, sequences = len(X), _checks.size("sequences", sequences, smallest=0)
    if t is not None:
        t = _checks.size("t", t, smallest=-(2**31))
        if not -T <= t < T:
            raise IndexError(f"t={t} is out of range for {T} time steps")
        t %= T
    begin, end = (0, T) if t is None else (t, t + 1)
    engine, theta = network._engine(backend), network.theta
    norms, whole = engine.gradient_flow(theta, Batch(X, D, weights, initial_state), CallOptions(), begin, end)
    errors = np.arange(begin, end)
    if t is None:
        with_gradient = np.flatnonzero(np.diagonal(norms))
        t = int(with_gradient[-1]) if len(with_gradient) else T - 1
    terms = _term_norms(network, X, D, weights, initial_state, t, backend)
    _, _, run = network.forward(X, initial_state, return_states=True, backend=backend)
    chosen = np.flatnonzero(steps > t)[:sequences]
    return GradientFlow(errors, norms, whole, t, *terms, _product_norms(network, run.S[:, chosen], X[:, chosen], t),
                        _saturated(network, run, X, steps), spectrum(network), network.dt)


def spectrum(network: RNN) -> Spectrum:
    """Return the eigenvalues and singular values of W_s, in float64."""
    W_s = _one_layer(network).parameters["W_s"].astype(np.float64)
    values, singular_values = _threading.interruptible(
        W_s.size, lambda: (np.linalg.eigvals(W_s).astype(complex), np.linalg.svd(W_s, compute_uv=False)))
    return Spectrum(values[np.argsort(-np.abs(values), kind="stable")], singular_values, network.leak)


def states(network: RNN, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
           backend: Backend = "core") -> States:
    """Compute the states of a network over time, in float64, and the fraction of saturated units. Arguments as in `forward`."""
    network = _with(_one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = network._check_inputs(X, initial_state, lengths)
    _, _, run = network.forward(X, initial_state, lengths=lengths, return_states=True, backend=backend)
    steps = np.full(X.shape[1], len(X)) if lengths is None else lengths
    return States(run.S, _saturated(network, run, X, steps), network.dt)


def jacobian(network: RNN, S: ArrayLike, X: ArrayLike) -> np.ndarray:
    """Return the Jacobian ∂S_t/∂S_{t−1} of a step at given states and inputs, in float64.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    S : array (..., H)
        The states S_{t−1}.
    X : array (..., I), or category indices (...)
        The inputs X_t. The leading axes of S and X are broadcast: S (n, H) and X (I,) have one input for all states.

    Returns
    -------
    array (..., H, H)
        Entry (h, j) is the derivative of unit h by unit j one step before.

    Raises
    ------
    TypeError, ValueError
        If the network, a shape or a category index is wrong.
    """
    network = _with(_one_layer(network), dtype="float64")
    return reference.jacobian(network.parameters, *_states_and_inputs(network, S, X), **network._engines["reference"].options)


def fixed_points(network: RNN, X: ArrayLike, starts: ArrayLike, *, max_speed: Float = 1e-6,
                 distance: Float = 1e-4) -> FixedPoints:
    """Find states that are fixed or slow under a constant input, and whether they are stable.

    From each start, scipy.optimize.least_squares (Levenberg and Marquardt) minimises q = ½‖(F(S, x) − S) / λ‖² with the exact
    Jacobian, in float64. F is one step of the network and λ the leak of each unit, 1 without a leak. As q is ½‖τ dS/dt‖²,
    the points and their q do not depend on dt, in both leak forms. Results that are close together are merged.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    X : array (I,), or one category index
        The constant input.
    starts : array (n, H)
        Starts of the search, such as states of trajectories: ``states(net, X).S.reshape(-1, H)[::10]``.
    max_speed : float
        Points with a larger q are left out. Points that are slow but not fixed can guide trajectories too.
    distance : float
        Euclidean distance up to which two points are merged.

    Returns
    -------
    FixedPoints

    Raises
    ------
    TypeError, ValueError
        If the network, a shape, a category index or a number is wrong.

    References
    ----------
    Sussillo and Barak 2013, Neural Computation 25:626.
    """
    network = _with(_one_layer(network), dtype="float64")
    starts = _fixed_points.check_starts(network, starts)
    _, X = _states_and_inputs(network, starts[0], X)
    if X.ndim != (0 if network.one_hot else 1):
        raise ValueError(f"X must be one input {'id' if network.one_hot else f'(I,) = ({network.input_size},)'}, got {X.shape}")
    _checks.finite("X", X, "i")
    return _fixed_points.find(network, X, starts, _checks.number("max_speed", max_speed, 0),
                              _checks.number("distance", distance, 0, low_allowed=True))


def plot_weights(network: RNN, name: str = "W_s", ax: Any = None) -> Any:
    """Draw a weight matrix in colours, red for positive and blue for negative weights, and return the Axes.

    Row and column of an entry are the target and the source of the connection. The weights are those of
    `network.effective_parameters()`: Dale's law fixes the signs. Absent connections are hatched, to distinguish them from
    weights of 0. Under Dale's law, marks above the columns of a matrix that reads the hidden units are red for excitatory
    and blue for inhibitory units.

    Parameters
    ----------
    network : RNN of any layers and directions
    name : str
        A weight matrix of `network.parameters`: "W_s", "W_x", "W_y", those of layer 1 "W_s_l1" and so on, those of the
        reverse direction "W_s_reverse".
    ax : matplotlib Axes, optional

    Raises
    ------
    TypeError
        If network is not an RNN.
    ValueError
        If the network has no weight matrix of this name.

    Examples
    --------
    >>> fig, axes = plt.subplots(1, 2)
    >>> for ax, name in zip(axes, ("W_s", "W_s_l1")):
    ...     diagnostics.plot_weights(net, name, ax)
    """
    if not hasattr(network, "effective_parameters"):
        raise TypeError(f"network must be an RNN, got {type(network).__name__}")
    matrices = {each: value for each, value in network.effective_parameters().items() if value.ndim == 2}
    _checks.choose("name", name, list(matrices))
    of = network._maps.get(name)
    signs = network.unit_signs if name in ("W_s", "W_y") else None
    layer_below = name.startswith("W_x_l")
    source = "unit of the layer below" if layer_below else "input" if name.startswith("W_x") else "unit"
    to = "output" if name == "W_y" else "unit"
    return _plots.weights(ax, matrices[name], None if of is None else of.present, signs, name, to, source)


def _states_and_inputs(network, S, X):
    S = _checks.array("S", S, np.float64)
    X = _checks.array("X", X, np.intp if network.one_hot else np.float64)
    if S.ndim < 1 or S.shape[-1] != network.hidden_size:
        raise ValueError(f"S must have shape (..., H) = (..., {network.hidden_size}), got {S.shape}")
    if network.one_hot:
        if ((X < 0) | (X >= network.input_size)).any():
            raise ValueError(f"X has an id that is not from 0 to {network.input_size - 1}")
    elif X.ndim < 1 or X.shape[-1] != network.input_size:
        raise ValueError(f"X must have shape (..., I) = (..., {network.input_size}), got {X.shape}")
    leading = X.shape if network.one_hot else X.shape[:-1]
    try:
        np.broadcast_shapes(S.shape[:-1], leading)
    except ValueError:
        raise ValueError(f"S {S.shape} and X {X.shape} have leading axes that cannot be broadcast") from None
    return S, X


def _one_layer(network):
    if not hasattr(network, "gradient_terms"):
        raise TypeError(f"network must be an RNN, got {type(network).__name__}")
    if not isinstance(network.hidden_size, int) or getattr(network, "bidirectional", False):
        raise ValueError(f"network must have one layer and one direction for diagnostics, got {network!r}")
    if network._maps:  # replace the parameters by the effective ones
        state, other = network.__getstate__(), network.copy()
        theta = np.concatenate([value.ravel() for value in network.effective_parameters().values()])
        config = {**state["config"], **{name: _options.kept_defaults()[name] for name in CONSTRAINTS}}
        other.__setstate__({**state, "config": config, "theta": theta})
        return other
    return network


def _in_steps(network, X, D, weights, initial_state, lengths):
    """Return a float64 network with an error at every step, arguments for it, and the number of steps (B,) of each sequence."""
    given = _with(_one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = given._check_inputs(X, initial_state, lengths)
    D, weights = given._check_targets(X, D, weights, lengths)
    T, B = X.shape[:2]
    if T == 0:
        raise ValueError("X has no steps")
    last = given.output == "last"
    if weights is not None and weights.ndim == (2 if last else 3):
        raise ValueError(f"weights must have shape {(B,) if last else (T, B)}, one for each error E_t, got {weights.shape}")
    steps = np.full(B, T) if lengths is None else lengths
    number = np.arange(T)[:, None]
    if last:
        D = np.ascontiguousarray(np.broadcast_to(D, (T, *D.shape)))
        weights = np.where(number == steps - 1, 1.0 if weights is None else weights, 0.0)
    elif lengths is not None:
        weights = np.where(number < steps, 1.0 if weights is None else weights, 0.0)
    if lengths is not None:
        there = number < steps
        X = np.where(there if given.one_hot else there[..., None], X, 0)
    return _with(given, output="sequence"), X, D, weights, initial_state, steps


def _term_norms(network, X, D, weights, initial_state, t, backend):
    """Return norms of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x. E_t is linear in its weights: group sequences by weight."""
    m = np.ones(X.shape[1]) if weights is None else weights[t]
    sums = {"W_s": 0.0, "W_x": 0.0}
    for weight in np.unique(m[m > 0]):
        rows = np.flatnonzero(m == weight)
        start = None if initial_state is None else initial_state[rows]
        terms = network.gradient_terms(X[:, rows], _readable(D[:, rows], t), t, initial_state=start, backend=backend)
        sums = {name: sums[name] + weight * terms[name] for name in sums}
    return [np.linalg.norm(sums[name], axis=(1, 2)) if m.any() else np.zeros(t + 1) for name in sums]


def _readable(D, t):
    """Return D with the targets of step t at all steps, as other steps may have no valid targets."""
    return np.ascontiguousarray(np.broadcast_to(D[t], D.shape))


def _product_norms(network, S, X, t):
    """Return ‖∂S_t/∂S_i‖₂ (t+1, n) for the states S (T+1, n, H). Norms are kept as logarithms, as products overflow."""
    p, options, H = network.parameters, network._engines["reference"].options, network.hidden_size
    n = S.shape[1]
    logarithms = np.zeros((t + 1, n))
    product, scale, v = np.tile(np.eye(H), (n, 1, 1)), np.zeros(n), np.full((n, H), H**-0.5)
    with np.errstate(divide="ignore", over="ignore"):
        for i in range(t - 1, -1, -1):
            product = product @ reference.jacobian(p, S[i + 1], X[i + 1], **options)
            norms, v = _spectral_norms(product, v)
            product /= np.where(norms > 0, norms, 1)[:, None, None]
            scale += np.log(norms)
            logarithms[i] = scale
        return np.exp(logarithms)


def _spectral_norms(product, v, *, exact=64, iterations=12):
    """Return the largest singular value of each matrix (n, H, H), and the final vectors of the power iteration."""
    if product.shape[-1] <= exact:
        return np.linalg.svd(product, compute_uv=False)[:, 0] if len(product) else np.zeros(0), v
    for _ in range(iterations):
        w = np.einsum("nji,nj->ni", product, np.einsum("nij,nj->ni", product, v))
        length = np.linalg.norm(w, axis=1, keepdims=True)
        v = np.where(length > 0, w / np.where(length > 0, length, 1), v)
    return np.linalg.norm(np.einsum("nij,nj->ni", product, v), axis=1), v


SATURATED = 0.1


def _saturated(network, run, X, steps):
    """Return the fraction of units (T,) whose slope is under a tenth of the largest."""
    g, dg = reference.ACTIVATIONS[network.activation]
    R, A = run.rates, np.linspace(-20, 20, 4001)
    if reference.reads_input(network.activation):  # then rates do not determine the slope
        R = reference.argument(network.parameters, run.S[:-1], X, activation=network.activation, leak=network.leak,
                               leak_form=network.leak_form)
        largest = dg(A).max()
    else:
        largest = dg(g(A)).max()
    flat = dg(R) < SATURATED * largest
    there = np.arange(len(R))[:, None] < steps
    units = there.sum(axis=1) * R.shape[2]
    return np.where(units > 0, (flat & there[..., None]).sum(axis=(1, 2)) / np.maximum(units, 1), np.nan)


def _describe_saturation(saturated):
    seen = saturated[~np.isnan(saturated)]
    if not len(seen):
        return ""
    return (f"Saturated units (g1' under a tenth of its largest value): {100 * seen.mean():.3g} % in the mean over steps, at "
            f"most {100 * seen.max():.3g} %, at step {int(np.nanargmax(saturated))}.")


def _steps(n):
    return f"{n:g} step" if n == 1 else f"{n:g} steps"


def _with(network, **options):
    """Return the network with other options and its parameters converted."""
    other = network.copy()
    state = network.__getstate__()
    other.__setstate__({**state, "config": {**state["config"], **options}})
    return other
