"""What can be known of a gradient: here, whether it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _words, reference

STEP = 1e-30  # of the complex-step derivative: no difference is taken, so nothing cancels however small it is
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
    """

    errors: dict[str, dict[str, float]]
    entries: dict[str, int]

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
        return "\n".join(["largest relative error against the complex-step derivative:", head, *rows, verdict])


def gradcheck(network, X=None, D=None, *, initial_state=None, weights=None, entries=100, random_state=0):
    """As `RNN.gradcheck`, which calls this.

    The derivative of the reference's forward pass by one entry is Im E(θ + ih) / h, exact to rounding (Squire and Trapp
    1998). The network's own parameters are used, in float64; "core float32" is the same network in float32.
    """
    entries = _words.size("entries", entries)
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
    networks = {dtype: _in_dtype(network, dtype) for dtype in ("float64", "float32")}
    parameters = {name: value.astype(complex) for name, value in networks["float64"].parameters.items()}

    chosen, derivative = {}, {}
    for name, value in parameters.items():
        chosen[name] = rng.permutation(value.size)[:entries]
        derivative[name] = np.empty(len(chosen[name]))
        for k, j in enumerate(chosen[name]):
            value.flat[j] += 1j * STEP
            loss = reference.loss(parameters, **data, **options)
            effective = reference.effective(parameters, options["maps"])
            derivative[name][k] = (loss + reference.penalty(effective, options["l1"], options["l2"])).imag / STEP
            value.flat[j] = value.flat[j].real
        if name in options["maps"]:  # what is frozen has no gradient
            derivative[name] *= options["maps"][name].trainable.flat[chosen[name]]

    errors = {}
    for backend, dtype in (("reference", "float64"), ("core", "float64"), ("core", "float32")):
        _, gradients = networks[dtype].loss_and_gradients(**data, backend=backend)
        errors[f"{backend} {dtype}"] = {
            name: _relative_error(gradients[name].flat[chosen[name]], derivative[name]) for name in parameters}
    return GradientCheck(errors, {name: len(index) for name, index in chosen.items()})


def _relative_error(value, truth):
    if len(truth) == 0:
        return 0.0
    largest = np.abs(truth).max()
    return float(np.abs(value - truth).max() / largest) if largest > ZERO else float(np.abs(value).max())


def _in_dtype(network, dtype):
    other = network.copy()
    state = network.__getstate__()
    other.__setstate__({**state, "config": {**state["config"], "dtype": dtype}})
    return other


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
