"""What the tests run on: the one table of shapes, the combinations of options, random cases of both, and the measures.

A case is a network's parameters with inputs, targets, weights and an initial state. Everything is random, the initial
state is not zero, and there is an error at every step: what vanishes hides faults. Every number of a case is exact in
float32, so that both types compute on the same data.
"""

import itertools
import os
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastbptt import RNN, reference

# Whether everything is run. A plain run takes a part, other for other cases, of what differs in nothing else.
ALL = os.environ.get("FASTBPTT_TESTS") == "all"
STEP = 1e-30  # of the complex-step derivative
LIMIT = 1e-11  # of relative errors in float64
KINK = 1e-3  # draws nearer than this to a kink are drawn again


# ---------------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    O: int  # noqa: E741
    reason: str


SHAPES = {
    "discriminating": Shape(20, 4, 5, 8, 3, "all sizes differ and the path is long: every planted fault shows"),
    "one of all": Shape(1, 1, 1, 1, 1, "the smallest network and the shortest sequence"),
    "one step": Shape(1, 4, 5, 8, 3, "nothing is carried back: the block loop's first step is its last"),
    "two steps": Shape(2, 3, 4, 5, 6, "the shortest sequence with a carried error"),
    "one sequence": Shape(6, 1, 5, 8, 3, "products of one row, which BLAS serves by gemv"),
    "one input": Shape(6, 4, 1, 8, 3, "an inner dimension of one; leading dimensions at their least"),
    "one hidden unit": Shape(6, 4, 5, 1, 3, "a recurrent matrix of one entry"),
    "one output": Shape(6, 4, 5, 8, 1, "an output product of one column"),
    "no step": Shape(0, 4, 5, 8, 3, "an empty sequence: zero gradients, the final state is the initial one"),
    "no sequence": Shape(6, 0, 5, 8, 3, "an empty batch"),
    "nothing": Shape(0, 0, 5, 8, 3, "neither steps nor sequences"),
    **{f"H = {n}": Shape(5, 4, 3, n, 2, "a tail of hidden units beside whole vectors") for n in (7, 13, 17, 33, 65)},
    **{f"I = {n}": Shape(5, 4, n, 6, 2, "a tail of inputs beside whole vectors") for n in (7, 13, 17, 33, 65)},
    **{f"O = {n}": Shape(5, 4, 3, 6, n, "a tail of outputs beside whole vectors") for n in (7, 13, 17, 33, 65)},
    **{f"B = {n}": Shape(3, n, 4, 9, 2, "a tail of rows beside whole tiles") for n in (7, 13, 17, 33, 65)},
}

# Too long for the reference's complex step; the core divides time into blocks of about 256 KiB.
LARGE_SHAPES = {
    "many blocks": Shape(3000, 8, 3, 32, 2, "the carried error and the sums cross many blocks of time"),
    "many short rows": Shape(9000, 1, 2, 5, 3, "blocks of many steps with one row each"),
    "large products": Shape(7, 40, 70, 96, 50, "above the sizes at which BLAS changes its kernels and its threads"),
    "one step a block": Shape(4, 300, 30, 200, 10, "a step that is larger than a block"),
    "large weights": Shape(9, 40, 70, 450, 50, "blocks of 256 rows and gradients of packed factors, as for large networks"),
}

EMPTY = ("no step", "no sequence", "nothing")


# ---------------------------------------------------------------------------------------------------------------------
# Options
# ---------------------------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What stands behind the hidden state: a loss, the output activation, and whether the targets are labels."""

    loss: str
    loss_parameter: object
    output_activation: str
    labels: bool = False

    @property
    def name(self):
        """Return loss and output activation as text, for the names of tests."""
        return f"{self.loss}-{self.output_activation}{'-labels' if self.labels else ''}"

    @property
    def levels(self):
        """Return the number of quantile levels, each of which has its own outputs; 1 for other losses."""
        return len(self.loss_parameter) if self.loss == "quantile" else 1


# Not the defaults: a parameter that is lost on the way shows.
LOSS_PARAMETERS = {"huber": 0.75, "quantile": (0.25, 0.875)}


def _heads():
    """Yield a Head for every loss with every output activation that it allows, and one with labels."""
    for loss in reference.LOSSES:
        fused = reference.FUSED.get(loss)
        for output_activation in [fused] if fused else reference.OUTPUT_ACTIVATIONS:
            yield Head(loss, LOSS_PARAMETERS.get(loss), output_activation)
    yield Head("cross_entropy", None, "softmax", labels=True)


HEADS = list(_heads())
ACTIVATIONS = list(reference.ACTIVATIONS)

SMALL = Shape(3, 5, 1, 4, 2, "every option once: small, and an odd number of rows, whose signs never sum to zero")


class Choice(NamedTuple):
    bias: bool
    learn_initial_state: bool
    given: bool  # an initial state is given with the call
    weights: str  # "none", "step" (T, B), "output" (T, B, K)
    reduction: str


# Every combination.
CHOICES = [Choice(*c) for c in itertools.product((True, False), (True, False), (False, True),
                                                 ("none", "step", "output"), ("mean", "sum"))]


def sixth(turn):
    """Return a sixth of all CHOICES, another in each of six turns. Each sixth has every pair of weights and reduction.

    `turn` is any number.
    """
    return [choice for k, choice in enumerate(CHOICES) if (k + k // 6) % 6 == turn % 6]


def some_choices(head, turn):
    """Return the legal combinations for this head: those of `sixth(turn)`, or of all of them if ALL."""
    return [choice for choice in (CHOICES if ALL else sixth(turn)) if legal(head, choice)]


# Six among which every two options meet in every two values.
COVERING_CHOICES = [
    Choice(True, True, False, "none", "mean"),
    Choice(False, False, True, "none", "sum"),
    Choice(True, True, True, "step", "sum"),
    Choice(False, False, False, "step", "mean"),
    Choice(True, False, False, "output", "sum"),
    Choice(False, True, True, "output", "mean"),
]


def legal(head, choice):
    """Return whether the head can have the choice: cross-entropy is one error for all outputs, without a weight for each."""
    return not (head.loss == "cross_entropy" and choice.weights == "output")


# ---------------------------------------------------------------------------------------------------------------------
# Random cases
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A network and its data, in float64 but exact in float32."""

    shape: Shape
    activation: str
    head: Head
    choice: Choice
    parameters: dict
    X: np.ndarray
    D: np.ndarray
    weights: np.ndarray | None
    initial_state: np.ndarray | None
    dY: np.ndarray

    def __str__(self):
        T, B, I, H, O, _ = self.shape  # noqa: E741
        return f"{self.activation}, {self.head.name}, {self.choice}, T={T} B={B} I={I} H={H} O={O}"

    @property
    def options(self):
        """Return the keyword arguments of reference.loss and its like."""
        return {"activation": self.activation, "output_activation": self.head.output_activation,
                "loss": self.head.loss, "loss_parameter": self.head.loss_parameter,
                "reduction": self.choice.reduction}

    def network(self, dtype="float64"):
        """Return an RNN with these options and parameters."""
        _, _, I, H, O, _ = self.shape  # noqa: E741
        loss = self.head.loss if self.head.loss_parameter is None else (self.head.loss, self.head.loss_parameter)
        network = RNN(I, H, O * self.head.levels, activation=self.activation, loss=loss, dtype=dtype,
                      output_activation=self.head.output_activation, reduction=self.choice.reduction,
                      bias=self.choice.bias, learn_initial_state=self.choice.learn_initial_state,
                      initializer=zeros, random_state=0)
        for name, value in self.parameters.items():
            network.parameters[name] = value
        return network

    def shared_network(self, dtype="float64"):
        """Return the same as `network`, but one for all cases with these options: the last to ask has its parameters in it."""
        key = (self.shape[2:5], self.activation, self.head, self.choice.bias, self.choice.learn_initial_state,
               self.choice.reduction, dtype)
        if key not in _networks:
            _networks[key] = self.network(dtype)
        _networks[key].theta = np.concatenate([value.ravel() for value in self.parameters.values()])
        return _networks[key]

    def data(self, dtype="float64"):
        """Return X, D, weights and initial_state as arrays of `dtype` (labels stay integers)."""
        D = self.D if self.head.labels else self.D.astype(dtype)
        return {"X": self.X.astype(dtype), "D": D,
                "weights": None if self.weights is None else self.weights.astype(dtype),
                "initial_state": None if self.initial_state is None else self.initial_state.astype(dtype)}

    def inputs(self, dtype="float64"):
        """Return X and initial_state as arrays of `dtype`."""
        data = self.data(dtype)
        return {"X": data["X"], "initial_state": data["initial_state"]}

    def hidden_targets(self):
        """Return D with NaN, or label −1, wherever its weight is 0, where nothing may read it."""
        if self.weights is None:
            return self.D
        if self.head.labels:
            return np.where(self.weights == 0, -1, self.D)
        weights = self.weights if self.weights.ndim == 3 else self.weights[..., None]
        return np.where(weights == 0, np.nan, self.D)


_networks = {}


def zeros(shape, rng):
    """Return zeros: an initialiser that takes no time."""
    return np.zeros(shape)


def draw(shape=SHAPES["discriminating"], activation="tanh", head=HEADS[0], choice=COVERING_CHOICES[0], *, seed=0,
         recurrent_scale=0.9):
    """Return a random Case, at least KINK away from every kink of its activation and its loss.

    The arguments but `seed` and the scale of W_s, `recurrent_scale`, are those of the Case.
    """
    name = f"{shape[:5]} {activation} {head.name} {choice} {seed}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for _ in range(1000):
        case = sample(rng, shape, activation, head, choice, recurrent_scale)
        if away_from_kinks(case):
            return case
    raise RuntimeError(f"no draw of {case} stays away from the kinks")


def sample(rng, shape, activation, head, choice, recurrent_scale):
    """Return a random Case, however near to a kink. `rng` gives its numbers."""
    T, B, I, H, K, _ = shape  # noqa: E741
    O = K * head.levels  # noqa: E741

    def normal(*size, scale=1.0):
        """Return normally distributed numbers of that shape and standard deviation, rounded to float32."""
        return _single(rng.normal(0, scale, size))

    parameters = {"W_x": normal(H, I, scale=I**-0.5), "W_s": normal(H, H, scale=recurrent_scale * H**-0.5)}
    if choice.bias:
        parameters["b_s"] = normal(H, scale=0.5)
    # Through exp, one sequence with a large Z would outweigh all others, and its errors hide theirs.
    parameters["W_y"] = normal(O, H, scale=(0.3 if head.output_activation == "exp" else 1) * H**-0.5)
    if choice.bias:
        parameters["b_y"] = normal(O, scale=0.5)
    if choice.learn_initial_state:
        parameters["S_0"] = normal(H)
    weights = None
    if choice.weights != "none":
        weights = _single(rng.uniform(0.25, 2, (T, B, K) if choice.weights == "output" else (T, B)))
        weights.reshape(-1)[rng.permutation(weights.size)[:weights.size // 4]] = 0
    return Case(shape, activation, head, choice, parameters, X=normal(T, B, I), D=_targets(rng, head, T, B, K),
                weights=weights, initial_state=normal(B, H) if choice.given else None, dY=normal(T, B, O))


def _targets(rng, head, T, B, K):
    """Return random targets (T, B, K), or labels (T, B), that the head's loss allows."""
    if head.labels:
        return rng.integers(K, size=(T, B))
    if head.loss == "cross_entropy":  # rows that do not sum to one: the factor Σ D of the gradient shows
        return _single(rng.uniform(0, 1, (T, B, K)))
    if head.loss == "binary_cross_entropy":
        return _single(rng.uniform(0, 1, (T, B, K)))
    if head.loss == "poisson":
        return rng.poisson(2, (T, B, K)).astype(float)
    return _single(rng.normal(0, 1, (T, B, K)))


def _single(array):
    """Return the array with its numbers rounded to float32, as float64."""
    return array.astype(np.float32).astype(np.float64)


def away_from_kinks(case):
    """Return whether all pre-activations and errors of a case are at least KINK away from a kink, and no state is dead."""
    bent = case.activation in ("relu", "leaky_relu", "elu")
    if not bent and case.head.loss not in ("absolute_error", "huber", "quantile"):
        return True
    p = case.parameters
    Y, _, S = reference.forward(p, case.X, case.initial_state, **case.options)
    if bent:
        A = case.X @ p["W_x"].T + S[:-1] @ p["W_s"].T + p.get("b_s", 0)
        if np.abs(A).min(initial=np.inf) < KINK:
            return False
        if not (A.max(axis=-1, initial=-np.inf) > 0).all() and case.shape.H > 3:  # a dead state hides what follows
            return False
    distance = np.abs(Y - np.tile(case.D, case.head.levels)) if not case.head.labels else np.inf
    if case.head.loss in ("absolute_error", "quantile"):
        return np.min(distance, initial=np.inf) >= KINK
    if case.head.loss == "huber":
        return np.abs(distance - case.head.loss_parameter).min(initial=np.inf) >= KINK
    return True


# ---------------------------------------------------------------------------------------------------------------------
# The complex-step derivative: Im E(x + ih) / h, exact to rounding (Squire and Trapp 1998, SIAM Review 40:110)
# ---------------------------------------------------------------------------------------------------------------------


def reference_loss(case, parameters, X, initial_state):
    """Return E of the case by the reference's forward pass, for these parameters, inputs and initial state."""
    return reference.loss(parameters, X, case.D, weights=case.weights, initial_state=initial_state, **case.options)


def weighted_output(case, parameters, X, initial_state):
    """Return Σ dY ∘ Y, whose derivative by Y is the case's dY."""
    return (case.dY * reference.forward(parameters, X, initial_state, **case.options)[0]).sum()


def derivative(case, name, function=reference_loss):
    """Return ∂function/∂name by complex step, entry by entry; `name` is a parameter, "X" or "initial_state".

    The derivative by the initial state of a case that gives none is taken at the state that it starts from.
    """
    arguments = _complex_arguments(case)
    if name == "initial_state" and not case.choice.given:
        arguments["initial_state"] = first_state(case).astype(complex)
    array = arguments.get(name, arguments["parameters"].get(name))
    result = np.empty(array.shape)
    for j in range(array.size):
        array.flat[j] += 1j * STEP
        result.flat[j] = function(case, **arguments).imag / STEP
        array.flat[j] = array.flat[j].real
    return result


def directional_derivative(case, direction, function=reference_loss):
    """Return the sum of direction[name] ∘ ∂function/∂name over the names of `direction`, by one complex step."""
    arguments = _complex_arguments(case)
    for name, v in direction.items():
        arguments.get(name, arguments["parameters"].get(name))[...] += 1j * STEP * v
    return function(case, **arguments).imag / STEP


def _complex_arguments(case):
    """Return parameters, X and initial_state of a case as complex arrays, for the functions of this section."""
    return {"parameters": {name: value.astype(complex) for name, value in case.parameters.items()},
            "X": case.X.astype(complex),
            "initial_state": None if case.initial_state is None else case.initial_state.astype(complex)}


def error_from_state(case, S, i, t, parameters=None):
    """Return E_t = Σ_b e(Y_tb, D_tb) of a case as a function of the state S after X[i], i <= t.

    `parameters` replace those of the case.
    """
    p = case.parameters if parameters is None else parameters
    g1, _ = reference.ACTIVATIONS[case.activation]
    for j in range(i + 1, t + 1):
        S = g1(case.X[j] @ p["W_x"].T + S @ p["W_s"].T + p.get("b_s", 0))
    Z = S @ p["W_y"].T + p.get("b_y", 0)
    options = {name: case.options[name] for name in ("output_activation", "loss", "loss_parameter")}
    return reference.error(Z[None], case.D[t:t + 1], np.ones((1, len(Z))), 1, **options)[2]


def complex_step(function, array):
    """Return ∂function(array)/∂array by complex step. `function` returns a number."""
    array, result = array.astype(complex), np.empty(array.shape)
    for j in range(array.size):
        array.flat[j] += 1j * STEP
        result.flat[j] = function(array).imag / STEP
        array.flat[j] = array.flat[j].real
    return result


def names(case):
    """Return the names of what the error of a case depends on: its parameters, X, and the initial state if one is given."""
    return [*case.parameters, "X", *(["initial_state"] if case.choice.given else [])]


def first_state(case):
    """Return the state (B, H) that the case starts from: the given one, else S_0, else zero."""
    _, B, _, H, _, _ = case.shape
    state = case.initial_state if case.choice.given else case.parameters.get("S_0", 0.0)
    return np.broadcast_to(state, (B, H))


def all_states(results):
    """Return Y, the final state, S and the rates (h of a gated cell), from what `forward(return_states=True)` returned."""
    Y, final_state, states = results
    return Y, final_state, states.S, states.h if hasattr(states, "h") else states.rates


# ---------------------------------------------------------------------------------------------------------------------
# Measures
# ---------------------------------------------------------------------------------------------------------------------


def relative_error(value, truth):
    """Return max |value − truth| / max |truth|; 0 if both are zero or empty, infinite if a zero is missed or for NaN."""
    value, truth = np.asarray(value), np.asarray(truth)
    assert value.shape == truth.shape, f"shape {value.shape} for {truth.shape}"
    if truth.size == 0 or np.array_equal(value, truth):
        return 0.0
    largest = np.abs(truth).max()
    error = np.abs(value - truth).max()
    return float(error / largest) if largest > 0 and np.isfinite(error) else np.inf


def assert_close(value, truth, tolerance, what, case=""):
    """Assert that relative_error(value, truth) is within the tolerance.

    The message says which tensor (`what`), dtype and case.
    """
    error = relative_error(value, truth)
    assert error <= tolerance, (f"{what} is off by {error:.1e} of its largest entry (allowed {tolerance:.0e}); "
                                f"dtype {np.asarray(value).dtype}, shape {np.shape(value)}; {case}")


def error_of(value, truth):
    """Return max |value − truth|, for arrays of one shape."""
    value, truth = np.asarray(value), np.asarray(truth)
    assert value.shape == truth.shape, f"shape {value.shape} for {truth.shape}"
    return float(np.abs(value - truth).max(initial=0))


def allowed(rough_error, truth):
    """Return the error that float32 may have: 4 × `rough_error`, plus 3e-7 of the largest entry of `truth`.

    `rough_error` is that of the reference in float32. Numbers too small to be normal, which count as zero in the core and not
    in the reference, may add up to a little more.
    """
    return 4 * rough_error + 3e-7 * float(np.abs(truth).max(initial=0)) + 100 * float(np.finfo(np.float32).tiny)


def flat(value, name=""):
    """Yield (name, array) for every array in nested dicts and tuples. Names say where it is."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name} {key}")
    elif isinstance(value, tuple):
        for n, part in enumerate(value):
            yield from flat(part, f"{name} {n}")
    else:
        yield name, np.asarray(value)
