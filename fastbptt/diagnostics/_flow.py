"""Compute how the gradient of each error propagates to earlier states: `gradient_flow`.

Another property of the gradient on its way back belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plots, _checks, reference
from ..backends.arguments import Batch, CallOptions
from ._networks import with_errors_of_steps
from ._states import describe_saturation, saturation_and_gates
from ._weights import Spectrum, spectrum

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend, Int
    from ..network import RNN


class _Distances:
    """What follows from the norms of the gradient of each error: `ratios` by distance, the fitted factor, the verdict."""

    errors: np.ndarray
    norms: np.ndarray
    t: int
    dt: float | None

    def _norms_at_own_step(self):
        """Return ‖∂E_t/∂S_t‖ of each error (n,): the norm at the error's own step, by which `ratios` divides."""
        return self.norms[np.arange(len(self.errors)), self.errors]

    def _state_letter(self):
        """Return the letter of the state in texts and labels: S, or h and c for the parts of an LSTM's state."""
        return "S"

    @property
    def ratios(self) -> np.ndarray:
        """‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖, array (n', K): a row for each error that has a gradient, NaN where k > t.

        Those of c are ‖∂E_t/∂c_{t−k}‖ / ‖∂E_t/∂h_t‖. They are 0 at k = 0, as the error of step t reads h_t and not c_t.
        """
        ratios = np.full((len(self.errors), self.errors.max(initial=-1) + 1), np.nan)
        with np.errstate(over="ignore"):
            for row, t, norms, own in zip(ratios, self.errors, self.norms, self._norms_at_own_step()):
                if 0 < own < np.inf:
                    row[:t + 1] = norms[t::-1] / own
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
        return float(np.exp(self._fit_rate()[0]))

    @property
    def verdict(self) -> str:
        """"vanishes" or "explodes" if the fitted factor makes the gradient 10 times smaller or larger over the whole distance.

        Otherwise "persists". It is also "vanishes" if the gradient is 0 at more than half of the distances, and "unknown"
        if the factor cannot be fitted.
        """
        curve = self.by_distance
        if len(curve) > 1 and (curve[1:] == 0).sum() > len(curve) / 2:
            return "vanishes"
        total = self._fit_rate()[0] * (len(curve) - 1)
        if np.isnan(total):
            return "unknown"
        return "vanishes" if total < -np.log(10) else "explodes" if total > np.log(10) else "persists"

    def _fit_rate(self):
        """Return slope and intercept of the line fitted to log `by_distance` over k >= 1.

        Both are NaN if the gradient is finite and not 0 at fewer than two distances.
        """
        curve = self.by_distance
        k = np.arange(len(curve))
        fitted = (k > 0) & (curve > 0) & (curve < np.inf)
        if fitted.sum() < 2:
            return np.nan, np.nan
        reached = (~np.isnan(self.ratios)).sum(axis=0)[:len(curve)]
        return np.polyfit(k[fitted], np.log(curve[fitted]), 1, w=np.sqrt(reached[fitted]))

    def _describe_rate(self):
        """Return a sentence about how fast the gradient shrinks or grows."""
        letter = self._state_letter()
        gradient, own = ("The gradient" if letter == "S" else f"The gradient of {letter}"), "S" if letter == "S" else "h"
        curve, verdict, factor = self.by_distance, self.verdict, self.factor
        if not len(curve):
            return "No error has a gradient."
        errors = f"of {len(self.ratios)} errors" if len(self.ratios) > 1 else f"of the error at step {self.t}"
        if verdict == "unknown":
            return f"{gradient} {errors} cannot be judged: it goes back {_counted_steps(len(curve) - 1)}."
        lead = f"{gradient} {errors}, up to {_counted_steps(len(curve) - 1)} back, "
        if np.isnan(factor):
            return f"{lead}vanishes: it is exactly 0 from {_counted_steps(1 + int((curve[1:] > 0).sum()))} back on."
        rate = (f"with each step back it is multiplied by {factor:.4g} (fitted to the medians of ‖∂E_t/∂{letter}_{{t−k}}‖ / "
                f"‖∂E_t/∂{own}_t‖)")
        if verdict == "persists":
            return f"{lead}neither vanishes nor explodes: {rate}."
        shrinks = verdict == "vanishes"
        time = np.log(2) / abs(np.log(factor))
        beyond = 1 + np.flatnonzero(curve[1:] < 0.01 if shrinks else curve[1:] > 100)
        if len(beyond):
            bound = "under 1 %" if shrinks else "over 100 times as large"
            end = f"{bound} from {_counted_steps(int(beyond[0]))} back on"
        else:
            end = f"still {curve[-1]:.2g} of it after {_counted_steps(len(curve) - 1)}"
        clock = "" if self.dt is None else f" ({time * self.dt:.3g} in the unit of dt)"
        return (f"{lead}{verdict}: {rate}, which {'halves' if shrinks else 'doubles'} it every "
                f"{_counted_steps(float(f'{time:.3g}'))}{clock}; {end}.")


@dataclass(frozen=True)
class MemoryFlow(_Distances):
    """Gradients of each error E_t with respect to the earlier c of an LSTM, as `GradientFlow` has those of h.

    ∂E_t/∂c_i holds h_i fixed. The error of step t reads h_t, so ∂E_t/∂c_t = 0.

    Attributes
    ----------
    errors : int array (n,)
    norms : array (n, T)
        ‖∂E_t/∂c_i‖, Euclidean over sequences and units.
    whole : array (T,)
        ‖∂E/∂c_i‖ of E = Σ_t E_t.
    t : int
    own : array (n,)
        ‖∂E_t/∂h_t‖ of each error, by which `ratios` are divided.

    Examples
    --------
    >>> net = RNN(2, 8, 1, cell="lstm", random_state=0)
    >>> flow = diagnostics.gradient_flow(net, np.zeros((5, 3, 2)), np.ones((5, 3, 1)))
    >>> type(flow.c).__name__
    'MemoryFlow'
    """

    errors: np.ndarray
    norms: np.ndarray
    whole: np.ndarray
    t: int
    own: np.ndarray
    dt: float | None = None

    def _norms_at_own_step(self):
        """Return ‖∂E_t/∂h_t‖ of each error (n,), because the error of step t does not read c_t."""
        return self.own

    def _state_letter(self):
        """Return "c"."""
        return "c"


@dataclass(frozen=True)
class GradientFlow(_Distances):
    """Gradients of each error E_t = Σ_b m_tb e(Y_tb, D_tb) with respect to the earlier states, in float64.

    Attributes
    ----------
    errors : int array (n,)
        The steps t whose errors were propagated back.
    norms : array (n, T)
        ‖∂E_t/∂S_i‖, Euclidean over sequences and units. S_i is the state after X[i]. Entries with i > t are 0. For an LSTM
        it is ‖∂E_t/∂h_i‖, with c_i held fixed.
    whole : array (T,)
        ‖∂E/∂S_i‖ of E = Σ_t E_t, all errors together, not divided by Σ m.
    t : int
        The error of the next three attributes: the requested one, else the last that has a gradient.
    terms_W_s, terms_W_x : arrays (t+1,)
        Frobenius norms of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x, those of `RNN.gradient_terms`.
    products : array (t+1, m)
        ‖∂S_t/∂S_i‖₂, the largest singular value of the product of the step Jacobians i+1 ... t, for m sequences. Up to
        H = 64 it comes from singular values, above from a power iteration, which gives a lower bound, mostly within 1 %.
        S is [h | c] for an LSTM.
    saturated : array (T,)
        As in `States`.
    spectrum : Spectrum
        Of W_s; for a gated cell that of the candidate's block.
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps: S_i, the
        state after X[i], has time (i + 1) dt.
    c : MemoryFlow or None
        The gradients with respect to c, for an LSTM: `c.norms`, `c.ratios`, `c.factor`, `c.verdict` and so on. `norms`,
        `whole`, `ratios`, `factor` and `verdict` of the object itself are then those of h.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> flow = diagnostics.gradient_flow(net, X, D)
    >>> flow.t
    4
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
    c: MemoryFlow | None = None

    def _state_letter(self):
        """Return "S", or "h" for an LSTM."""
        return "S" if self.c is None else "h"

    def describe(self) -> str:
        """Return factor of the gradient, verdict, terms, step Jacobians, spectrum and saturation as text.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> flow = diagnostics.gradient_flow(net, X, D)
        >>> print(flow.describe())  # doctest: +ELLIPSIS
        The gradient of 5 errors, up to 4 steps back, neither vanishes nor explodes...
        """
        lines = [self._describe_rate(), "" if self.c is None else self.c._describe_rate(), self._describe_terms(),
                 self._describe_products(), self.spectrum.describe(), describe_saturation(self.saturated)]
        return "\n".join(line for line in lines if line)

    def _describe_terms(self):
        """Return a sentence that says how many of the last terms make up 90 % of ∂E_t/∂W_s, or "" without finite terms."""
        total = self.terms_W_s.sum()
        if not 0 < total < np.inf:
            return ""
        last = int(np.searchsorted(np.cumsum(self.terms_W_s[::-1]), 0.9 * total)) + 1
        return (f"Of the terms of ∂E_{self.t}/∂W_s the last {last} of {len(self.terms_W_s)} make up 90 % of the sum of their "
                "norms.")

    def _describe_products(self):
        """Return a line with the norms of products of step Jacobians at some distances, or "" if there are none."""
        if not self.products.size:
            return ""
        norms = np.median(self.products, axis=1)[::-1]
        shown = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k < len(norms)]
        if not shown:
            return ""
        return (f"‖∂S_{self.t}/∂S_{{{self.t}−k}}‖₂, median of {self.products.shape[1]} sequence(s): "
                + ", ".join(f"{norms[k]:.2g} at k = {k}" for k in shown) + ".")

    def plot(self, ax: Any = None, part: str | None = None) -> Any:
        """Draw `norms` as a heat map of errors by states, or as a line for one error, and return the Axes. Needs matplotlib.

        For an LSTM, lines of h and c share the Axes. There is a heat map of each: `part` "h" or "c" chooses one. Without
        `part` and `ax`, both are drawn side by side in a new figure, and the Axes of h is returned. Without `part`, a given
        `ax` receives h.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> flow = diagnostics.gradient_flow(net, X, D)
        >>> ax = flow.plot()
        """
        norms = {"h": self.norms} if self.c is None else {"h": self.norms, "c": self.c.norms}
        _checks.choose("part", part or "h", list(norms))
        letter = self._state_letter()
        if len(self.errors) == 1:
            shown = {letter if name == "h" else name: rows[0, :self.t + 1] for name, rows in norms.items()
                     if part in (None, name)}
            return _plots.one_error(ax, self.t, shown, self.dt)
        if self.c is None:
            return _plots.heat_map(ax, self.errors, self.norms, self.dt)
        return _plots.draw_parts(ax, part, lambda ax, name: _plots.heat_map(ax, self.errors, norms[name], self.dt, name))

    def plot_distance(self, ax: Any = None) -> Any:
        """Draw `by_distance` with the fitted rate, and `products`, by steps back, and return the Axes. Needs matplotlib.

        For an LSTM, it also draws `c.by_distance`.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> flow = diagnostics.gradient_flow(net, X, D)
        >>> ax = flow.plot_distance()
        """
        slope, intercept = self._fit_rate()
        fit = None if np.isnan(slope) else np.exp(intercept + slope * np.arange(len(self.by_distance)))
        return _plots.distance(ax, self.ratios[:, :len(self.by_distance)], fit, self.products, self.t, self.dt,
                               self._state_letter(), None if self.c is None else self.c.by_distance)

    def plot_terms(self, ax: Any = None) -> Any:
        """Draw `terms_W_s` and `terms_W_x` by step, and return the Axes. Needs matplotlib.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> flow = diagnostics.gradient_flow(net, X, D)
        >>> ax = flow.plot_terms()
        """
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

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> flow = diagnostics.gradient_flow(net, X, D)
    >>> print(flow.describe())  # doctest: +ELLIPSIS
    The gradient of 5 errors, up to 4 steps back, neither vanishes nor explodes...
    """
    network, X, D, weights, initial_state, steps = with_errors_of_steps(network, X, D, weights, initial_state, lengths)
    T, sequences = len(X), _checks.size("sequences", sequences, smallest=0)
    if t is not None:
        t = _checks.size("t", t, smallest=-(2**31))
        if not -T <= t < T:
            raise IndexError(f"t={t} is out of range for {T} time steps")
        t %= T
    begin, end = (0, T) if t is None else (t, t + 1)
    engine, theta = network._engine(backend), network.theta
    norms, whole, *memory = engine.gradient_flow(theta, Batch(X, D, weights, initial_state), CallOptions(), begin, end)
    errors = np.arange(begin, end)
    if t is None:
        with_gradient = np.flatnonzero(np.diagonal(norms))
        t = int(with_gradient[-1]) if len(with_gradient) else T - 1
    terms = _term_norms(network, X, D, weights, initial_state, t, backend)
    _, _, run = network.forward(X, initial_state, return_states=True, backend=backend)
    chosen = np.flatnonzero(steps > t)[:sequences]
    own = norms[np.arange(len(errors)), errors]
    return GradientFlow(errors, norms, whole, t, *terms, _product_norms(network, run.S[:, chosen], X[:, chosen], t),
                        saturation_and_gates(network, run, X, steps)[0], spectrum(network), network.dt,
                        MemoryFlow(errors, *memory, t, own, network.dt) if memory else None)


def _term_norms(network, X, D, weights, initial_state, t, backend):
    """Return the Frobenius norms of the terms of ∂E_t/∂W_s and of ∂E_t/∂W_x, two arrays (t + 1,).

    E_t is linear in its weights, and `gradient_terms` takes none. So the sequences of each weight are computed together.
    """
    m = np.ones(X.shape[1]) if weights is None else weights[t]
    sums = {"W_s": 0.0, "W_x": 0.0}
    for weight in np.unique(m[m > 0]):
        rows = np.flatnonzero(m == weight)
        start = None if initial_state is None else initial_state[rows]
        terms = network.gradient_terms(X[:, rows], _targets_of_one_step(D[:, rows], t), t, initial_state=start, backend=backend)
        sums = {name: sums[name] + weight * terms[name] for name in sums}
    return [np.linalg.norm(sums[name], axis=(1, 2)) if m.any() else np.zeros(t + 1) for name in sums]


def _targets_of_one_step(D, t):
    """Return D with the targets of step t at all steps, as other steps may have no valid targets."""
    return np.ascontiguousarray(np.broadcast_to(D[t], D.shape))


def _product_norms(network, S, X, t):
    """Return ‖∂S_t/∂S_i‖₂ (t + 1, n), the norms of products of step Jacobians along the states S (T + 1, n, H) with inputs X.

    Norms are kept as logarithms, as products overflow.
    """
    p, options = network.parameters, network._engines["reference"].options
    n, H = S.shape[1:]
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
    """Return the largest singular value of each matrix `product` (n, H, H), and the vectors (n, H) of the power iteration.

    Up to H = `exact` a singular value decomposition replaces the power iteration, which starts at the vectors v.
    """
    if product.shape[-1] <= exact:
        return np.linalg.svd(product, compute_uv=False)[:, 0] if len(product) else np.zeros(0), v
    for _ in range(iterations):
        w = np.einsum("nji,nj->ni", product, np.einsum("nij,nj->ni", product, v))
        length = np.linalg.norm(w, axis=1, keepdims=True)
        v = np.where(length > 0, w / np.where(length > 0, length, 1), v)
    return np.linalg.norm(np.einsum("nij,nj->ni", product, v), axis=1), v


def _counted_steps(n):
    """Return a number with its noun, "1 step" or "2.5 steps"."""
    return f"{n:g} step" if n == 1 else f"{n:g} steps"
