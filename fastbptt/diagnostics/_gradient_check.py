"""Compare gradients with complex-step derivatives: `gradcheck`.

Another way to prove a gradient, or another kind of error that the check must leave out, belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _checks, reference
from ..backends.arguments import Batch, CallOptions
from ..options import cells as _cells
from ._networks import with_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Int, Seed
    from ..network import RNN

STEP = 1e-30  # of the complex-step derivative; it takes no difference, so a small step causes no cancellation
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

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> check = diagnostics.gradcheck(net, X, D)
    >>> list(check.errors)
    ['reference float64', 'core float64', 'core float32']
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
        """Return a table of the errors, with a row for each parameter, and the verdict.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> print(diagnostics.gradcheck(net, X, D).describe().splitlines()[-1])
        every gradient agrees
        """
        head = f"{'':14}{'entries':>8}" + "".join(f"{column:>20}" for column in self.errors)
        rows = [f"∂E/∂{name:<11}{self.entries[name]:>7}" + "".join(f"{errors[name]:>20.1e}"
                for errors in self.errors.values()) for name in self.entries]
        verdict = "every gradient agrees" if self.passed else "GRADIENTS DISAGREE"
        note = [f"errors left out, because rounding decides on which side of a kink they are: {self.left_out}"] * (
            self.left_out > 0)
        if self.omega > 0:
            note.append(f"omega = {self.omega:g}: both sides use the immediate derivative of Ω by W_s, with all S_t and "
                        "∂E/∂S_t held fixed, not that of the whole loss")
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

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> diagnostics.gradcheck(net, X, D).passed
    True
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
    networks = {dtype: with_options(network, dtype=dtype) for dtype in ("float64", "float32")}
    uncertain = _across_kinks(networks, data)
    if uncertain.any():
        if weights is None:
            weights = np.ones(uncertain.shape, network.dtype)
        data["weights"] = np.where(uncertain if weights.ndim == uncertain.ndim else uncertain[..., None], 0, weights)
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
    return GradientCheck(errors, {name: len(index) for name, index in chosen.items()}, int(uncertain.sum()),
                         options["omega"])


BACKENDS = (("reference", "float64"), ("core", "float64"), ("core", "float32"))


def _across_kinks(networks, data):
    """Return which errors get no weight: those that lie on different sides of a kink in the three networks of BACKENDS.

    The result is a bool array (T, B), or (B,) with output="last". The kinks are those of the loss, and of units that an error
    depends on. `networks` has a network for each dtype, and `data` the arguments of `loss_and_gradients`.
    """
    units, outputs = [], []
    for backend, dtype in BACKENDS:
        net = networks[dtype]
        X, initial_state, _, _ = net._check_inputs(data["X"], data["initial_state"])
        D, _ = net._check_targets(X, data["D"], data["weights"])
        Y, _, S, *R = net._engines[backend].forward(net._theta, Batch(X, initial_state=initial_state), CallOptions(), True)
        if _cells.is_gated(net._config):
            units.append(_signs_of_gated(net, X, initial_state))
        else:
            rates = R[0] if R else S
            rates = rates if isinstance(rates, tuple) else (rates,)
            units.append(np.concatenate([np.sign(of_layer[-len(X):] if len(X) else of_layer[:0]) for of_layer in rates],
                                        axis=-1))
        # D may be NaN where there is no weight
        outputs.append(np.nan_to_num(np.sign(Y - np.tile(D, Y.shape[-1] // D.shape[-1]))) if D.ndim == Y.ndim else Y)
    loss = net.loss[0] if isinstance(net.loss, tuple) else net.loss
    uncertain = np.zeros(outputs[0].shape[:-1], bool)
    if loss in reference.KINKED_LOSSES:
        uncertain |= (_signs_differ(outputs)).any(axis=-1)
    if net.activation in reference.KINKED_ACTIVATIONS:
        of_units = _signs_differ(units).any(axis=-1)  # (T, B); later errors depend on these units
        uncertain |= (np.logical_or.accumulate(of_units) if uncertain.ndim == 2 and not net.bidirectional
                      else of_units.any(axis=0))
    return uncertain


def _signs_of_gated(network, X, initial_state):
    """Return the signs (T, B, n) of all values of g1 in the reference, at the network's precision.

    The core does not return them.
    """
    engine = network._engines["reference"]
    _, _, _, R = reference.forward(network.parameters, X, engine._states(initial_state), return_rates=True, **engine.options)
    row = _cells.of(network._config)
    return np.concatenate([np.sign(part) for of_layer in (R if isinstance(R, tuple) else (R,))
                           for name, part in zip(row.saves, np.split(of_layer, len(row.saves), axis=-1))
                           if name in (row.candidate, "tanh_c")],
                          axis=-1)


def _signs_differ(signs):
    """Return where the first of three arrays of signs differs from either of the others."""
    return (signs[0] != signs[1]) | (signs[0] != signs[2])


def _penalties(parameters, data, options, held):
    """Return the penalties of the reference for complex parameters, with the states and gradients of Ω held fixed.

    `data` has the arguments of `loss_and_gradients`, and `held` those of `reference.spread` (Ω) for each recurrence, by the
    suffix of its parameters.
    """
    effective = reference.effective(parameters, options["maps"])
    total = reference.penalty(effective, options["l1"], options["l2"])
    if options["rate_penalty"]:
        total += options["rate_penalty"] * reference.mean_square_rate(
            parameters, data["X"], initial_state=data["initial_state"], **options)
    return total + options["omega"] * sum(reference.spread(effective["W_s" + suffix], *flow) for suffix, flow in held.items())


def _relative_error(value, truth):
    """Return the largest error of the array `value`, relative to the largest entry of `truth`.

    If `truth` is 0 everywhere, return the largest |value|.
    """
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
