"""What can be known of a gradient: whether it is right, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plots, _checks, reference
from . import _fixed_points
from ..options import declaration as _options
from ..threads import policy as _threading
from ._fixed_points import FixedPoints

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend, Float, Int, Seed
    from ..network import RNN

STEP = 1e-30  # of the complex-step derivative: no difference is taken, so nothing cancels however small it is
CONSTRAINTS = _options.names(lambda option: option.constrains)
ZERO = 1e-45  # derivatives under it are 0: far over what the step adds to one that is, of the order of STEP²


@dataclass(frozen=True)
class GradientCheck:
    """Largest relative errors of gradients against the complex-step derivative, max |g − g_cs| / max |g_cs|.

    Attributes
    ----------
    errors : dict of dict
        errors[column][parameter]; the columns are "reference float64", "core float64" and "core float32".
    entries : dict
        How many entries of each parameter were checked.
    left_out : int
        Errors e(Y_tb, D_tb) that were given no weight, because rounding decides on which side of a kink they are.
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
        """A table of the errors."""
        head = f"{'':14}{'entries':>8}" + "".join(f"{column:>20}" for column in self.errors)
        rows = [f"∂E/∂{name:<11}{self.entries[name]:>7}" + "".join(f"{errors[name]:>20.1e}"
                for errors in self.errors.values()) for name in self.entries]
        verdict = "every gradient agrees" if self.passed else "GRADIENTS DISAGREE"
        note = [f"errors left out, because rounding decides on which side of a kink they are: {self.left_out}"] * (
            self.left_out > 0)
        if self.omega > 0:
            note.append(f"omega = {self.omega:g}: of Ω the immediate derivative by W_s, with all S_t and ∂E/∂S_t held fixed, on "
                        "both sides; not that of the whole loss")
        return "\n".join(["largest relative error against the complex-step derivative:", head, *rows, *note, verdict])


def gradcheck(network: RNN, X: ArrayLike | None = None, D: ArrayLike | None = None, *,
              initial_state: ArrayLike | None = None, weights: ArrayLike | None = None, entries: Int = 100,
              random_state: Seed = 0) -> GradientCheck:
    """As `RNN.gradcheck`, which calls this.

    The derivative of the reference's forward pass by one entry is Im E(θ + ih) / h, exact to rounding (Squire and Trapp
    1998). With omega > 0, Ω enters both sides by its immediate derivative alone: by W_s, with all S_t and ∂E/∂S_t held fixed
    (Pascanu, Mikolov and Bengio 2013). Differences of the whole loss, Ω included, therefore disagree with the gradient.

    The network's own parameters are used, in float64; "core float32" is the same network in float32.

    At a kink the reference's forward pass has the documented subgradient as its derivative: 0 of |w| of the l1 penalty, of
    the absolute error, the quantile loss and ReLU at 0. A gradient that has another one does not pass. Where the three networks
    are on different sides of a kink, because they round differently, no gradient is wrong: such errors get the weight 0.
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
        if name in options["maps"]:  # what is frozen has no gradient
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
    """Which errors (T, B), or (B,), the networks see from different sides of a kink: their own, or one of a unit before."""
    units, outputs = [], []
    for backend, dtype in BACKENDS:
        net = networks[dtype]
        X, initial_state, _, _ = net._check_inputs(data["X"], data["initial_state"])
        D, _ = net._check_targets(X, data["D"], data["weights"])
        Y, _, S, *R = net._engines[backend].forward(net._theta, X, None, None, initial_state, None, None, True, 0)
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
        of_units = _differ(units).any(axis=-1)  # (T, B); what comes later depends on them
        torn |= (np.logical_or.accumulate(of_units) if torn.ndim == 2 and not net.bidirectional else of_units.any(axis=0))
    return torn


def _differ(signs):
    return (signs[0] != signs[1]) | (signs[0] != signs[2])


def _penalties(parameters, data, options, held):
    """Of the reference, with what Ω's derivative holds fixed."""
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
    """Inputs, an initial state and targets that the network's loss can take."""
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
# Where the gradient goes
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and singular values of W_s.

    Attributes
    ----------
    eigenvalues : complex array (H,), the largest first
    singular_values : array (H,), the largest first
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
    """What units do over time.

    Attributes
    ----------
    S : (T+1, B, H), S[0] the initial state, S[t+1] the state after X[t]; 0 behind a sequence's end
    saturated : (T,), the fraction of units whose slope g1' is under a tenth of its largest value (of tanh: |S| > 0.949),
        over the sequences that have step t; NaN where none has
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps.
    """

    S: np.ndarray
    saturated: np.ndarray
    dt: float | None = None

    def describe(self) -> str:
        """One line."""
        return _describe_saturation(self.saturated)

    def plot(self, ax: Any = None, sequence: int = 0) -> Any:
        """Draw the states of one sequence, lines of up to 8 units or an image of more, and return the Axes.

        Needs matplotlib.
        """
        return _plots.states(ax, self.S[:, sequence], self.dt)


@dataclass(frozen=True)
class GradientFlow:
    """How large the gradient of each error E_t = Σ_b m_tb e(Y_tb, D_tb) is at each state on its way back, in float64.

    Attributes
    ----------
    errors : (n,) of int
        The steps t whose errors were followed.
    norms : (n, T)
        ‖∂E_t/∂S_i‖, Euclidean over sequences and units; S_i is the state after X[i]. 0 where i > t.
    whole : (T,)
        ‖∂E/∂S_i‖ of E = Σ_t E_t, all errors together; not divided.
    t : int
        The error that the next three belong to: the one asked for, else the last that has a gradient.
    terms_W_s, terms_W_x : (t+1,)
        Norms (Frobenius) of the source's terms of ∂E_t/∂W_s and ∂E_t/∂W_x, those of `RNN.gradient_terms`.
    products : (t+1, m)
        ‖∂S_t/∂S_i‖₂, the largest singular value of the product of the step Jacobians i+1 ... t, of m sequences: by
        singular values up to H = 64, by power iteration, from below and mostly within 1 %, above.
    saturated : (T,), as of `States`
    spectrum : Spectrum of W_s
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
        """‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖ (n', K): a row for each error that has a gradient, NaN where k > t."""
        ratios = np.full((len(self.errors), self.errors.max(initial=-1) + 1), np.nan)
        with np.errstate(over="ignore"):
            for row, t, norms in zip(ratios, self.errors, self.norms):
                if 0 < norms[t] < np.inf:
                    row[:t + 1] = norms[t::-1] / norms[t]
        return ratios[~np.isnan(ratios[:, :1]).any(axis=1)]

    @property
    def by_distance(self) -> np.ndarray:
        """The median over errors of `ratios`, for k = 0 ... K − 1."""
        ratios = self.ratios
        if not ratios.size:
            return np.ones(0)
        return np.array([np.median(column[~np.isnan(column)]) for column in ratios.T if not np.isnan(column).all()])

    @property
    def factor(self) -> float:
        """By what the gradient is multiplied with each step back.

        exp of the slope of log `by_distance`, by least squares over k >= 1, each distance weighted by the errors that
        reach it. NaN where there are not two distances at which the gradient is neither 0 nor infinite.
        """
        return float(np.exp(self._fit()[0]))

    @property
    def verdict(self) -> str:
        """"vanishes" or "explodes" where the fitted rate makes it 10 times smaller, or larger, over the longest way.

        Else "persists"; also "vanishes" where nothing is left at half of the distances, "unknown" where nothing can be said.
        """
        curve = self.by_distance
        if len(curve) > 1 and (curve == 0).sum() > len(curve) / 2:
            return "vanishes"
        total = self._fit()[0] * (len(curve) - 1)
        if np.isnan(total):
            return "unknown"
        return "vanishes" if total < -np.log(10) else "explodes" if total > np.log(10) else "persists"

    def _fit(self):
        """Slope and intercept of log `by_distance`."""
        curve = self.by_distance
        k = np.arange(len(curve))
        fitted = (k > 0) & (curve > 0) & (curve < np.inf)
        if fitted.sum() < 2:
            return np.nan, np.nan
        reached = (~np.isnan(self.ratios)).sum(axis=0)[:len(curve)]
        return np.polyfit(k[fitted], np.log(curve[fitted]), 1, w=np.sqrt(reached[fitted]))

    def describe(self) -> str:
        """What becomes of the gradient, over how many steps and at which rate, and what lies behind it."""
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
        """Draw `norms` as a heat map, errors by states, or as a line for one error, and return the Axes. Needs matplotlib."""
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
    """How large the gradient of each error, or of that at step t, is at each state before it: does it vanish or explode?

    Computed in float64 whatever the network's dtype.

    Parameters
    ----------
    network : RNN, with any output; with output="last" a sequence's one error stands at its last step
    X, D, initial_state, lengths : as of `RNN.loss_and_gradients`
    weights : as there, but not of each output: (T, B), or (B,) with output="last"
    t : int, optional
        A Python index into Y. By default every error is followed: (T, T) norms in T²/2 steps of B rows.
    sequences : int
        Of how many, the first that have step t, the products of step Jacobians are made: 2 t H³ multiplications each.
    backend : "core" or "reference"

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError : an argument is of the wrong kind or shape, or there are no steps
    IndexError : t is outside −T ... T−1

    Notes
    -----
    The matrix takes 8 T² bytes; errors go back together, as many as fill half of a second-level cache.
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
    norms, whole = engine.gradient_flow(theta, X, D, weights, initial_state, begin, end)
    errors = np.arange(begin, end)
    if t is None:
        with_gradient = np.flatnonzero(np.diagonal(norms))
        t = int(with_gradient[-1]) if len(with_gradient) else T - 1
    terms = _term_norms(network, X, D, weights, initial_state, t, backend)
    _, _, run = network.forward(X, initial_state, return_states=True, backend=backend)
    chosen = np.flatnonzero(steps > t)[:sequences]
    return GradientFlow(errors, norms, whole, t, *terms, _product_norms(network, run.S[:, chosen], X[:, chosen], t),
                        _saturated(network, run.rates, steps), spectrum(network), network.dt)


def spectrum(network: RNN) -> Spectrum:
    """Eigenvalues and singular values of W_s, in float64."""
    W_s = _one_layer(network).parameters["W_s"].astype(np.float64)
    values, singular_values = _threading.interruptible(
        W_s.size, lambda: (np.linalg.eigvals(W_s).astype(complex), np.linalg.svd(W_s, compute_uv=False)))
    return Spectrum(values[np.argsort(-np.abs(values), kind="stable")], singular_values, network.leak)


def states(network: RNN, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
           backend: Backend = "core") -> States:
    """The states of a network over time, in float64, and how many units are saturated."""
    network = _with(_one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = network._check_inputs(X, initial_state, lengths)
    _, _, run = network.forward(X, initial_state, lengths=lengths, return_states=True, backend=backend)
    steps = np.full(X.shape[1], len(X)) if lengths is None else lengths
    return States(run.S, _saturated(network, run.rates, steps), network.dt)


def jacobian(network: RNN, S: ArrayLike, X: ArrayLike) -> np.ndarray:
    """∂S_t/∂S_{t−1} (..., H, H) at the states S = S_{t−1} (..., H), where the inputs are X (..., I), or ids (...).

    Entry (h, j) is the derivative of unit h by unit j before. Leading axes are broadcast against each other: with S (n, H)
    and X (I,) there is one input for all. In float64.
    """
    network = _with(_one_layer(network), dtype="float64")
    return reference.jacobian(network.parameters, *_states_and_inputs(network, S, X), **network._engines["reference"].options)


def fixed_points(network: RNN, X: ArrayLike, starts: ArrayLike, *, max_speed: Float = 1e-6,
                 distance: Float = 1e-4) -> FixedPoints:
    """Find the states that stand still under a constant input, and whether the network returns to them when pushed.

    From each start, scipy.optimize.least_squares (Levenberg and Marquardt) minimises q = ½‖(F(S, x) − S) / λ‖² with the exact
    Jacobian, in float64. F is one step of the network and λ the leak of each unit, 1 without a leak. As q is ½‖τ dS/dt‖²,
    the points and their q do not depend on dt, in both leak forms. Ends that lie together are one point.

    Parameters
    ----------
    X : array (I,), or one id
        The input that does not change.
    starts : array (n, H)
        Where the search begins: states of trajectories, such as ``states(net, X).S.reshape(-1, H)[::10]``.
    max_speed : float
        Points with a larger q are left out. Points that are slow but not fixed can guide trajectories too.
    distance : float
        Euclidean distance up to which two points are one.

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

    A row is the unit or output that a connection leads to, a column the unit or input that it leaves. The weights are those
    of `network.effective_parameters()`: signs are fixed as Dale's law says, and absent connections are hatched, which tells
    them from weights of 0. Under Dale's law, marks above the columns of a matrix that reads the hidden units are red for
    excitatory and blue for inhibitory units.

    Parameters
    ----------
    network : RNN of any layers and directions
    name : str
        A weight matrix of `network.parameters`: "W_s", "W_x", "W_y", those of layer 1 "W_s_l1" and so on, those of the
        reverse direction "W_s_reverse".
    ax : matplotlib Axes, optional

    Raises
    ------
    TypeError : network is not an RNN
    ValueError : the network has no weight matrix of this name

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
        raise ValueError(f"diagnostics look at networks of one layer and one direction, got {network!r}")
    if network._maps:  # what the network computes with
        state, other = network.__getstate__(), network.copy()
        theta = np.concatenate([value.ravel() for value in network.effective_parameters().values()])
        config = {**state["config"], **{name: _options.kept_defaults()[name] for name in CONSTRAINTS}}
        other.__setstate__({**state, "config": config, "theta": theta})
        return other
    return network


def _in_steps(network, X, D, weights, initial_state, lengths):
    """A float64 network with an error at every step, and arguments for it; steps (B,) are those of each sequence."""
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
    """Norms of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x. E_t is linear in its weights: sequences of one weight at a time."""
    m = np.ones(X.shape[1]) if weights is None else weights[t]
    sums = {"W_s": 0.0, "W_x": 0.0}
    for weight in np.unique(m[m > 0]):
        rows = np.flatnonzero(m == weight)
        start = None if initial_state is None else initial_state[rows]
        terms = network.gradient_terms(X[:, rows], _readable(D[:, rows], t), t, initial_state=start, backend=backend)
        sums = {name: sums[name] + weight * terms[name] for name in sums}
    return [np.linalg.norm(sums[name], axis=(1, 2)) if m.any() else np.zeros(t + 1) for name in sums]


def _readable(D, t):
    """D, where what stands at other steps than t, which may be no target, is that of step t."""
    return np.ascontiguousarray(np.broadcast_to(D[t], D.shape))


def _product_norms(network, S, X, t):
    """‖∂S_t/∂S_i‖₂ (t+1, n) for the states S (T+1, n, H), kept as logarithms until the end: products overflow."""
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
    """The largest singular value of each of the matrices (n, H, H), and the vectors that a power iteration ends with."""
    if product.shape[-1] <= exact:
        return np.linalg.svd(product, compute_uv=False)[:, 0] if len(product) else np.zeros(0), v
    for _ in range(iterations):
        w = np.einsum("nji,nj->ni", product, np.einsum("nij,nj->ni", product, v))
        length = np.linalg.norm(w, axis=1, keepdims=True)
        v = np.where(length > 0, w / np.where(length > 0, length, 1), v)
    return np.linalg.norm(np.einsum("nij,nj->ni", product, v), axis=1), v


LARGEST_SLOPES = {"sigmoid": 0.25}  # of g1', where it is not 1
SATURATED = 0.1


def _saturated(network, R, steps):
    """The fraction of units (T,) whose slope is under a tenth of the largest."""
    _, dg = reference.ACTIVATIONS[network.activation]
    flat = dg(R) < SATURATED * LARGEST_SLOPES.get(network.activation, 1)
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
    """The network with other options, its parameters converted."""
    other = network.copy()
    state = network.__getstate__()
    other.__setstate__({**state, "config": {**state["config"], **options}})
    return other
