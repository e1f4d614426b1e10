"""Lengths, resets, errors of the last step, ids, truncation, memory limits, streams, steps and closed loops, each with every
other option: the core against the reference.

A kind of call is a row of VALUES, drawn at random. A plain run takes 10 of them, 100 with FASTBPTT_TESTS=instances, 200
with FASTBPTT_TESTS=all. FASTBPTT_KINDS=all draws at least 2000 by hypothesis, which shrinks what fails: 1200 plain and leaky
ones, 400 gated ones, and 450 of a low rank. It makes every two values of two options meet in 10, 4 and 2 of them, and prints
how often they did. It does so in two halves, which may run side by side. A number in place of `all` draws the same ones each
time.

float64 is held to 1e-11, float32 to `allowed` of cases.py; gradients through a kink, where rounding chooses between two
slopes, are not compared in float32. Then what is promised to the bit: padding is not read, threads, neighbours, memory
limits and the cuts of a stream change nothing, steps and closed loops are `forward`, an option that asks for nothing costs
nothing.
REFUSED lists the pairs of options that have no meaning.
"""

import dataclasses
import itertools
import os
from collections import Counter
from typing import NamedTuple

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, HEADS, LIMIT, Choice, Shape, allowed, error_of, zeros
from expectations import Collect, refused, vectors_only
from gated import CELLS

import fastbptt
from fastbptt import RNN, _core, _files, optimizers
from fastbptt._training import batches as _batches
from fastbptt.estimators import RNNClassifier, RNNRegressor
from fastbptt.reference import gradients as reference_gradients

THOUSANDS = os.environ.get("FASTBPTT_KINDS")
DRAWS = 200 if cases.ALL else 100
HALVES = 2  # of the thousands, each with its share of every pair
SMOOTH = ("tanh", "sigmoid", "identity", "softplus", "elu", "softsign", "silu", "gelu")
KINKED = ("absolute_error", "huber", "quantile")

both_backends = pytest.mark.parametrize("backend", ["core", "reference"])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


# ---------------------------------------------------------------------------------------------------------------------
# Kinds of calls
# ---------------------------------------------------------------------------------------------------------------------

HEADS_BY_NAME = {head.name: head for head in HEADS if head.name in (
    "squared_error-identity", "absolute_error-softmax", "huber-tanh", "quantile-exp", "binary_cross_entropy-sigmoid",
    "cross_entropy-softmax", "cross_entropy-softmax-labels", "poisson-exp")}

# The simplest value first, as hypothesis shrinks towards it.
VALUES = {
    "T": (3, 0, 1, 7, 30, 280),  # the last spans several blocks
    "B": (2, 0, 1, 5, 13, 40),
    "I": (1, 3, 7, 17),
    "H": (1, 5, 8, 13, 33),
    "O": (1, 2, 7, 17),
    "activation": tuple(ACTIVATIONS),
    "head": tuple(HEADS_BY_NAME),
    "bias": (True, False),
    "state": ("zero", "learnt", "given", "both"),
    "reduction": ("mean", "sum"),
    "weights": ("none", "step", "output", "few steps", "few outputs"),
    "lengths": ("none", "all", "zeros", "uniform", "one long"),
    "resets": ("none", "never", "first", "sparse", "dense"),
    "output": ("sequence", "last"),
    "ids": (False, True),
    "shards": ("one", "several"),
    "threads": (1, 2),
    "tbptt": ("none", "whole", "k1 = k2", "k1 > k2", "k1 < k2"),
    "memory": ("none", "auto", "least", "half"),
    "gradients": ("parameters", "input", "state", "all"),
    "training": ("none", "fit", "stream"),
    "inference": ("none", "step", "generate"),
    "units": ("plain", "rate", "current"),
    "draws": ("none", "noise", "dropout", "both"),
    "rates": (False, True),
    "omega": (False, True),
    "maps": ("none", "present", "frozen", "signs"),
    "layers": ("one", "two", "both directions"),
    "leaks": ("one", "each", "trained", "some"),  # the last: only some of them are trained
}
# What a network of a gated cell draws instead, and beside. Its noise is that of the inputs alone
GATED = {**VALUES, "activation": tuple(name for name in ACTIVATIONS if name not in ("silu", "gelu")), "units": ("plain",),
         "leaks": ("one",), "omega": (False,), "cell": ("gru", "gru_before", "lstm"), "norms": (False, True),
         "optimizer": ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam")}
# What networks of a low rank draw, plain and leaky ones and those of gated cells: another width of M and N. With 67 units,
# plain and leaky ones multiply by M and N, and never make W_s
RANKS = (1, 2, 5)
LOW_RANK = {**VALUES, "rank": RANKS, "norms": (False, True), "H": (1, 5, 13, 33, 67)}, {**GATED, "rank": RANKS}


class Kind(NamedTuple):
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    O: int  # noqa: E741
    activation: str
    head: str
    bias: bool
    state: str
    reduction: str
    weights: str
    lengths: str
    resets: str
    output: str
    ids: bool
    shards: str
    threads: int
    tbptt: str = "none"
    memory: str = "none"
    gradients: str = "all"
    training: str = "none"
    inference: str = "none"
    units: str = "plain"
    draws: str = "none"
    rates: bool = False
    omega: bool = False
    maps: str = "none"
    layers: str = "one"
    cell: str = "plain"
    norms: bool = False  # l1 and l2
    optimizer: str = "sgd"
    leaks: str = "one"
    rank: int = 0  # of W_s, as far as there are units; 0: W_s is a parameter

    @property
    def is_gated(self):
        return self.cell != "plain"

    @property
    def conflict(self):
        """Names of options whose values have no meaning together; () where there are none."""
        truncated, last = self.tbptt != "none", self.output == "last"
        fit, stream, generate = self.training == "fit", self.training == "stream", self.inference == "generate"
        both = self.layers == "both directions"  # a step of several layers is what test_stack.py looks at
        return next((names for names, meaningless in {
            ("weights", "head"): "output" in self.weights and self.head.startswith("cross_entropy"),
            ("head", "O"): "softmax" in self.head and self.O == 1,  # whose outputs are constant
            ("output", "B", "T"): last and self.B > 0 and self.T == 0,
            ("output", "B", "lengths"): last and self.B > 0 and self.lengths == "zeros",
            ("ids", "gradients"): self.ids and self.gradients in ("input", "all"),
            ("memory", "tbptt"): self.memory != "none" and truncated,
            ("omega", "tbptt"): self.omega and truncated,
            ("omega", "units"): self.omega and self.units != "plain",
            ("leaks", "units"): self.leaks != "one" and self.units == "plain",
            ("omega", "draws"): self.omega and self.draws in ("dropout", "both"),
            ("omega", "head"): self.omega and self.head == "absolute_error-softmax",  # whose ∂E/∂S may be rounding alone
            ("training", "B"): fit and self.B == 0,
            ("training", "output", "tbptt"): fit and last and truncated,
            ("training", "output"): stream and last,
            ("training", "tbptt"): stream and not truncated,
            ("training", "lengths"): stream and self.lengths != "none",
            ("inference", "T"): generate and self.T == 0,
            ("inference", "lengths"): generate and self.lengths != "none",
            ("inference", "resets"): generate and self.resets != "none",
            ("inference", "draws"): self.inference == "step" and self.draws != "none",
            ("inference", "layers"): both and self.inference != "none" or self.layers == "two" and self.inference == "step",
            ("training", "layers"): both and stream,
            ("tbptt", "layers"): both and truncated,
        }.items() if meaningless), ())

    @property
    def is_legal(self):
        return not self.conflict


def random_kind(rng, values=VALUES, **fixed):
    """A legal Kind with these values, or None where there is none: what is in conflict is drawn again, if it is not fixed."""
    def drawn(names):
        return {name: values[name][rng.integers(len(values[name]))] for name in names if name not in fixed}

    kind = Kind(**drawn(values), **fixed)
    for _ in range(1000):
        if kind.is_legal:
            return kind
        kind = kind._replace(**drawn(kind.conflict))
    return None


@dataclasses.dataclass
class Call:
    """A Kind with its numbers: float64 but exact in float32."""

    kind: Kind
    head: cases.Head
    parameters: dict
    X: np.ndarray
    D: np.ndarray
    dY: np.ndarray
    weights: np.ndarray | None
    initial_state: np.ndarray | None
    lengths: np.ndarray | None
    resets: np.ndarray | None
    tbptt: tuple | None

    def __str__(self):
        return str(self.kind)

    def but(self, **changes):
        return dataclasses.replace(self, **changes)

    def network(self, dtype="float64", **options):
        kind, head = self.kind, self.head
        net = RNN(kind.I, sizes_of(kind), kind.O * head.levels, activation=kind.activation, dtype=dtype,
                  loss=head.loss if head.loss_parameter is None else (head.loss, head.loss_parameter),
                  output_activation=head.output_activation, bias=kind.bias, output=kind.output, one_hot=kind.ids,
                  learn_initial_state=kind.state in ("learnt", "both"), random_state=0, initializer=zeros,
                  leak=leak_of(kind), leak_form="current" if kind.units == "current" else "rate",
                  noise_std=0.1 if kind.draws in ("noise", "both") and not kind.is_gated else 0.0,
                  input_noise_std=0.2 if kind.draws in ("noise", "both") and not kind.ids else 0.0,
                  recurrent_dropout=0.3 if kind.draws in ("dropout", "both") else 0.0,
                  rate_penalty=0.5 * kind.rates, omega=0.25 * kind.omega, bidirectional=kind.layers == "both directions",
                  rank=ranks_of(kind), **CELLS.get(kind.cell, {}), **({"l1": 0.02, "l2": 0.01} if kind.norms else {}),
                  **with_trained_leaks(maps_of(kind), kind), **{"reduction": kind.reduction, **options})
        for name, value in self.parameters.items():
            if name in net.parameters and net.parameters[name].shape == value.shape:  # else `with_shapes` is at work
                net.parameters[name] = value
        if kind.shards == "several":
            core = net._engines["core"]
            for engine in [core] if kind.layers == "one" else [*(r.engine for r in core.recurrences), core.readout]:
                engine.shard_work = 1
        return net

    def data(self, dtype="float64"):
        """X, D, weights, initial_state, lengths, resets and dY by name, real ones in `dtype`."""
        names = ("X", "D", "weights", "initial_state", "lengths", "resets", "dY")
        def converted(array):
            if isinstance(array, tuple):
                return tuple(map(converted, array))
            return array.astype(dtype) if array is not None and array.dtype.kind == "f" else array

        return {name: converted(getattr(self, name)) for name in names}

    @property
    def steps(self):
        return np.full(self.X.shape[1], len(self.X)) if self.lengths is None else self.lengths

    @property
    def padding(self):
        """(T, B)"""
        return np.arange(len(self.X))[:, None] >= self.steps


def bounded(W_s, kind):
    """W_s, or less: what grows without end over 280 steps says nothing. Dropout multiplies what is left by 1 / 0.7."""
    size = np.linalg.norm(np.abs(W_s) if kind.maps == "signs" else W_s, 2)
    return np.float32(W_s * min(1, (0.6 if kind.draws in ("dropout", "both") else 0.9) / size)).astype(float)


def sizes_of(kind):
    return {"one": kind.H, "two": (kind.H, 4), "both directions": (kind.H, 3)}[kind.layers]


def ranks_of(kind):
    """The option rank: as many as drawn, and no more than a layer has units."""
    sizes = sizes_of(kind)
    ranks = tuple(min(kind.rank, H) for H in (sizes if isinstance(sizes, tuple) else (sizes,)))
    return None if not kind.rank else ranks


def maps_of(kind):
    """Maps on W_s and W_y, of the first layer where there are several. With a rank, M has those of W_s."""
    gates = {"gru": 3, "gru_before": 3, "lstm": 4}.get(kind.cell, 1)
    if kind.rank:
        present = np.random.default_rng(kind.H).random((gates * kind.H, min(kind.rank, kind.H))) < 0.7
        return {"none": {}, "present": {"connectivity": {"M": present}}, "frozen": {"trainable": {"M": present, "N": False}},
                "signs": {"nonnegative": ("M", "N")}}[kind.maps]
    present = np.random.default_rng(kind.H).random((gates * kind.H, kind.H)) < 0.7
    return {"none": {}, "present": {"connectivity": {"W_s": present}}, "frozen": {"trainable": {"W_s": present, "W_y": False}},
            "signs": {"nonnegative": ("W_s",), "trainable": {"W_y": False}}}[kind.maps]


def leak_of(kind):
    """One leak, or one for each unit of each layer."""
    if kind.leaks in ("one", "trained"):
        return 1.0 if kind.units == "plain" else 0.25
    sizes = sizes_of(kind)
    drawn = tuple(np.random.default_rng(H).uniform(0.1, 0.9, H) for H in np.atleast_1d(sizes))
    return drawn[0] if kind.layers == "one" else drawn


def with_trained_leaks(options, kind):
    """The options, with those that train all leaks, or every second one of the first layer."""
    if kind.leaks not in ("trained", "some"):
        return options
    more = {"leak": True} | ({"leak_logit": np.arange(kind.H) % 2 == 0} if kind.leaks == "some" else {})
    return options | {"trainable": options.get("trainable", {}) | more}


def with_shapes(call, seed=5):
    """The call of a network of several recurrences or gates, made of one of the plain network."""
    rng, net = np.random.default_rng(seed), call.network()

    def drawn(shape, scale):
        return np.float32(rng.uniform(-scale, scale, shape)).astype(float)

    parameters = {name: call.parameters[name] if name in call.parameters and call.parameters[name].shape == value.shape
                  else drawn(value.shape, 0.9 / np.sqrt(value.shape[-1])) for name, value in net.parameters.items()}
    parameters |= {name: bounded(value, call.kind) for name, value in parameters.items() if name.startswith("W_s")}
    for name in [name for name in parameters if name.startswith("M")]:
        W_s = np.abs(parameters[name]) @ np.abs(parameters["N" + name[1:]]).T
        parameters[name] = np.float32(parameters[name] * min(1, 0.6 / np.linalg.norm(W_s, 2))).astype(float)
    state = call.initial_state
    if state is not None:
        state = tuple(drawn((len(state), width), 1) for width in net._widths)
        state = state[0] if len(state) == 1 else state
    return call.but(parameters=parameters, initial_state=state)


def call_of(kind, seed=0):
    drawn_by = repr(kind) if kind.rank else repr(kind).split(", rank=")[0] + ")"
    drawn_by = drawn_by.replace(", leaks='one'", "") if kind.is_gated or kind.rank else repr(kind).split(", cell=")[0] + ")"
    rng = np.random.default_rng([seed, *map(ord, drawn_by)])
    head, last = HEADS_BY_NAME[kind.head], kind.output == "last"
    choice = Choice(kind.bias, kind.state in ("learnt", "both"), kind.state in ("given", "both"),
                    "output" if "output" in kind.weights else "step" if "step" in kind.weights else "none", kind.reduction)
    shape = Shape(max(kind.T, 1), kind.B, kind.I, kind.H, kind.O, "")
    case = cases.sample(rng, shape, kind.activation, head, choice, 0.9)
    case.parameters["W_s"] = bounded(case.parameters["W_s"], kind)
    if kind.leaks in ("trained", "some"):
        case.parameters["leak_logit"] = np.float32(np.random.default_rng(kind.H).normal(-0.5, 1, kind.H)).astype(float)
    D, dY, weights = case.D, case.dY, case.weights
    if "few" in kind.weights:
        weights = weights * (rng.random(weights.shape[:2]) < 0.15).reshape(*weights.shape[:2], *[1] * (weights.ndim - 2))
    D, dY, weights = (None if array is None else array[0] if last else array[:kind.T] for array in (D, dY, weights))
    X = rng.integers(kind.I, size=(kind.T, kind.B)) if kind.ids else case.X[:kind.T]
    call = Call(kind, head, case.parameters, X, D, dY, weights, case.initial_state, lengths_of(kind, rng),
                resets_of(kind, rng), tbptt_of(kind, rng))
    if kind.is_gated or kind.rank:
        return with_shapes(call, int(rng.integers(2**32)))
    return call if kind.layers == "one" else with_shapes(call)


def lengths_of(kind, rng):
    least = 1 if kind.output == "last" else 0
    lengths = {"none": None, "all": np.full(kind.B, kind.T), "zeros": np.zeros(kind.B, int),
               "uniform": np.maximum(rng.integers(0, kind.T + 1, kind.B), least),
               "one long": np.full(kind.B, min(1, kind.T))}[kind.lengths]
    if kind.lengths == "one long" and kind.B:
        lengths[rng.integers(kind.B)] = kind.T
    return None if lengths is None else lengths.astype(np.intp)


def resets_of(kind, rng):
    resets = rng.random((kind.T, kind.B)) < {"sparse": 0.1, "dense": 0.6, "first": 0.5}.get(kind.resets, 0)
    if kind.resets == "first":
        resets[1:] = False
    return None if kind.resets == "none" else resets


def tbptt_of(kind, rng):
    """(k1, k2), of which there are at most five windows."""
    least = max(1, -(-kind.T // 5))
    small, large = np.sort(rng.integers(least, max(least, kind.T) + 1, 2))
    return {"none": None, "whole": (max(kind.T, 1), max(kind.T, 1) + int(rng.integers(3))), "k1 = k2": (int(small), int(small)),
            "k1 > k2": (int(large), int(rng.integers(1, max(2, large)))),
            "k1 < k2": (int(small), int(rng.choice([large, kind.T])) + 1)}[kind.tbptt]


def limit_of(call, net, weights, n_threads):
    """The memory_limit of a call: a number, "auto" or None."""
    if call.kind.memory in ("none", "auto"):
        return None if call.kind.memory == "none" else "auto"
    (T, B), resets = call.X.shape[:2], call.resets
    there = ~call.padding if call.kind.output == "sequence" else slice(None)
    least, most = (net.memory_estimate(
        T, B, lengths=call.lengths, resets=resets is not None and bool((resets & ~call.padding).any()),
        weights=None if weights is None else "output" if "output" in call.kind.weights else "step",
        sparse=weights is not None and bool(2 * np.count_nonzero(weights[there]) < weights[there].size),
        memory_limit=limit, dropout=True, n_threads=n_threads) for limit in ("auto", None))
    return least if call.kind.memory == "least" else (least + most) // 2


def results(call, dtype, backend, n_threads=1):
    """Every tensor that the operations return, by name."""
    net, data = call.network(dtype), call.data(dtype)
    X, D, dY = (data.pop(name) for name in ("X", "D", "dY"))
    how = {"backend": backend, "n_threads": n_threads}
    seeds = {"noise": 1, "dropout": 2}
    gradients = {"input_gradient": call.kind.gradients in ("input", "all"),
                 "initial_state_gradient": call.kind.gradients in ("state", "all"),
                 "tbptt": call.tbptt}
    weights = data.pop("weights")
    limit, limit_of_backward = (limit_of(call, net, m, n_threads) for m in (weights, None))
    if limit is not None and call.head.levels > 1:  # dY has more columns than D
        limit_of_backward = "auto"
    found = flat(zip(("Y", "final state", "S", "R"), cases.all_states(net.forward(X, return_states=True, **seeds, **data, **how))))
    found["losses"] = net.losses(X, D, **seeds, **data, **how)
    found["E of evaluate"] = net.evaluate(X, D, weights=weights, **seeds, **data, **how)
    found["E"], of_E = net.loss_and_gradients(X, D, weights=weights, memory_limit=limit, **seeds, **data, **gradients, **how)
    found["E of objective"], found["gradient of objective"] = net.objective(X, D, weights=weights, **data, **how)(net.theta)
    of_dY = net.backward(X, dY, memory_limit=limit_of_backward, **seeds, **data, **gradients, **how)
    return found | flat((f"∂E/∂{name}", value) for name, value in of_E.items()) | flat(
        (f"∂E/∂{name} of backward", value) for name, value in of_dY.items())


def flat(named):
    """A dict of arrays, those of each recurrence by names of their own."""
    return {f"{name} {k}" if isinstance(value, tuple) else name: each for name, value in named
            for k, each in enumerate(value if isinstance(value, tuple) else (value,))}


# An update by as much as is not lost in the rounding of theta, and not by so much that its own is enlarged on the way.
UPDATES = {"optimizer": "sgd", "learning_rate": 0.05, "max_grad_norm": 1.0}
# Each epsilon is large: a gradient that is rounding alone must not be divided by itself.
OPTIMIZERS = {"momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
              "nesterov": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
              "rmsprop": lambda: optimizers.RMSprop(0.01, epsilon=0.1),
              "adagrad": lambda: optimizers.Adagrad(0.02, epsilon=0.1), "adam": lambda: optimizers.Adam(0.02, epsilon=0.1)}


def updates_of(kind):
    if kind.optimizer == "sgd":
        return UPDATES
    return {"optimizer": OPTIMIZERS[kind.optimizer](), "max_grad_norm": 1.0}


def training(call, dtype, backend, n_threads=1, cuts=()):
    """What the training of this kind leaves, by name; a stream is cut into chunks before the steps `cuts`, if any."""
    net, data = call.network(dtype), call.data(dtype)
    del data["dY"]
    how = {**updates_of(call.kind), "backend": backend, "n_threads": n_threads, "tbptt": call.tbptt}
    if call.kind.training == "fit":
        history = net.fit(**data, **how, epochs=2, batch_size=call.X.shape[1] // 2 + 1, random_state=0,
                          memory_limit="auto" if call.kind.memory == "auto" else None)
        losses = np.nan_to_num(history.train_loss)  # NaN where no window has a weight
        return {"theta of fit": net.theta, "losses of fit": losses}
    del data["lengths"]
    if len(cuts):
        initial_state, edges = data.pop("initial_state"), [0, *cuts, len(call.X)]
        data = {"X": [tuple(None if array is None else array[a:b] for array in (data[name] for name in STREAMED))
                      for a, b in zip(edges, edges[1:])], "initial_state": initial_state}
    history = net.stream(**data, **how)
    final = np.zeros((0, 0)) if history.final_state is None else history.final_state
    return flat({"theta of stream": net.theta, "losses of stream": np.array(history.loss),
                 "final state of stream": final}.items())


STREAMED = ("X", "D", "weights", "resets")


def check_sums(call):
    """Where no update changes the parameters, the errors and gradients of all batches and windows are those of the call."""
    net, data, optimizer = call.network(reduction="sum"), call.data(), Collect()
    del data["dY"]
    E, gradients = net.loss_and_gradients(**data, tbptt=call.tbptt)
    if call.kind.training == "fit":
        history = net.fit(**data, tbptt=call.tbptt, optimizer=optimizer, epochs=1, batch_size=call.X.shape[1] // 2 + 1,
                          random_state=0)
        losses = np.nan_to_num(history.train_loss)
    else:
        del data["lengths"]
        losses = np.array(net.stream(**data, tbptt=call.tbptt, optimizer=optimizer).loss)
    expected = np.concatenate([gradient.ravel() for gradient in gradients.values()])
    found = np.sum(optimizer.gradients, axis=0) if optimizer.gradients else np.zeros_like(expected)
    each = np.abs(optimizer.gradients).max(initial=1e-3) if optimizer.gradients else 1e-3
    assert error_of(found, expected) <= LIMIT * each, call
    assert abs(losses.sum() - E) <= LIMIT * max(np.abs(losses).sum(), 1e-3), call


def step_by_step(call, dtype, backend):
    """What `forward` returns, made by `step` alone: Y, final state, S."""
    net, data = call.network(dtype), call.data(dtype)
    Y, _, states = net.forward(data["X"], data["initial_state"], return_states=True, backend=backend)
    S = states.S
    Y[...], S[1:] = 0, 0
    for t, x in enumerate(data["X"]):
        state, alive = S[t].copy(), ~call.padding[t]
        if call.resets is not None:
            state[call.resets[t]] = net.parameters.get("S_0", 0)
        y, state = net.step(x, state, backend=backend)
        S[t + 1, alive] = state[alive]
        rows = call.steps == t + 1 if call.kind.output == "last" else alive
        (Y if call.kind.output == "last" else Y[t])[rows] = y[rows]
    return {"Y": Y, "final state": S[call.steps, np.arange(len(call.steps))], "S": S}


def closed_loop(call, dtype, backend, steps=3):
    """What `generate` returns, and `forward` of the prefix and of what was fed back: Y or ids, final state."""
    net, kind = call.network(dtype), call.kind
    prefix, initial_state = call.data(dtype)["X"], call.data(dtype)["initial_state"]

    def feed(y, rng):
        return y.argmax(axis=-1) % kind.I if kind.ids else np.resize(np.tanh(y), (len(y), kind.I)).astype(dtype)

    by_itself = kind.I == kind.O * call.head.levels == kind.O and (
        "softmax" in kind.head if kind.ids else call.head.output_activation not in ("exp", "identity"))
    found, state = net.generate(steps, prefix=prefix, initial_state=initial_state, feed=None if by_itself else feed,
                                temperature=0 if by_itself and kind.ids else 1, return_state=True, backend=backend)
    expected, whole = [], prefix
    for k in range(steps):
        Y, final = net.forward(whole, initial_state, backend=backend)
        y = Y if kind.output == "last" else Y[-1]
        x = feed(y, None) if not by_itself else y.argmax(axis=-1) if kind.ids else y
        expected.append(x if by_itself and kind.ids else y)
        whole = np.concatenate([whole, x[None]])
    return (flat({"generated": found, "state": state}.items()),
            flat({"generated": np.array(expected), "state": final}.items()))


def everything(call, dtype, backend, n_threads=1, order=1):
    with pytest.MonkeyPatch.context() as patch:
        if call.kind.ids and backend == "reference" and dtype == "float32":
            patch.setattr(reference_gradients, "accumulate", lambda delta, A: accumulate_in_order(delta, A, order))
        return results_and_training(call, dtype, backend, n_threads)


def accumulate_in_order(delta, A, order):
    """Return the reference's Σ_t delta[t]ᵀ A[t], where one-hot A has one chain of additions for each id, as in the core.

    The chain begins with the first row, or with the last one if `order` is -1: the core adds its blocks from the last one on.

    A chain of n float32 additions errs by up to n u Σ|terms|, u = 2**-24, and a product with p partial sums by a p-th of it.
    With one input and 280 steps of 13 or 40 sequences the core's ∂E/∂W_x was off by 7.6e-6 of its size (root mean square of 7
    kinds), the reference by 7.2e-6 with a chain and by 1.0e-6 with a product: the core had up to 28 times its error (2026-12).
    """
    delta, A = delta.reshape(-1, delta.shape[-1]), A.reshape(-1, A.shape[-1])
    if not (len(A) and (np.count_nonzero(A, axis=1) == 1).all() and (A.max(axis=1) == 1).all()):
        return delta.T @ A  # the states, for W_y
    total = np.zeros((A.shape[-1], delta.shape[-1]), delta.dtype)
    np.add.at(total, A.argmax(axis=1)[::order], delta[::order])
    return total.T


def results_and_training(call, dtype, backend, n_threads):
    return results(call, dtype, backend, n_threads) | (
        training(call, dtype, backend, n_threads) if call.kind.training != "none" else {})


def check(call):
    """Core against reference, in both types; in float32 where there is no kink. And what is promised to the bit."""
    check_against_reference(call)
    # penalties are means of each batch
    if call.kind.training != "none" and call.kind.draws == "none" and not (
            call.kind.rates or call.kind.omega or call.kind.norms):
        check_sums(call)
    for dtype in ("float64", "float32"):
        check_bits(call, dtype)


def check_against_reference(call):
    truth = everything(call, "float64", "reference")
    result = everything(call, "float64", "core", call.kind.threads)
    assert list(result) == list(truth)
    for name in truth:
        value, true = np.asarray(result[name]), truth[name]
        assert value.dtype == np.float64, name
        # what cancels to nothing is held to what it is made of
        limit = LIMIT * max(np.abs(true).max(initial=0), 1e-3)
        error = error_of(value, true)
        assert error <= limit, f"{name} is off by {error:.1e} where {limit:.1e} is allowed; {call}"
    result, rough = everything(call, "float32", "core", call.kind.threads), everything(call, "float32", "reference")
    if not is_smooth(call.kind):  # near a kink float32 may take the other slope, so gradients say nothing
        truth = {name: value for name, value in truth.items() if name.startswith(WITHOUT_SLOPES)}
        assert "Y" in truth and "losses" in truth
    errors = {name: error_of(rough[name], truth[name]) for name in truth}
    limits = {name: allowed(errors[name], truth[name]) for name in truth}
    if any(error_of(result[name], truth[name]) > limits[name] for name in truth):
        limits = {name: allowed(error, truth[name]) for name, error in errors_close_by(call, errors).items()}
    for name in truth:
        assert np.ndim(truth[name]) == 0 or result[name].dtype == rough[name].dtype, name
        assert error_of(result[name], truth[name]) <= limits[name], f"{name} in float32; {call}"


def is_smooth(kind):
    """Whether the slopes of the activation and of the loss are continuous; elu's is 1 on both sides of 0."""
    return kind.activation in SMOOTH and HEADS_BY_NAME[kind.head].loss not in KINKED


# What a kink bends but does not break, by the beginnings of names. E of loss_and_gradients has Ω, which is made of slopes.
WITHOUT_SLOPES = ("Y", "final state", "S", "R", "losses", "E of evaluate")


def errors_close_by(call, errors, runs=16):
    """As of test_core.py: the largest error of the float32 reference, by name, here and on data that differ by 1e-6."""
    rng = np.random.default_rng(10)

    def nudged(array):
        if isinstance(array, tuple):
            return tuple(map(nudged, array))
        if array is None or array.dtype.kind != "f":
            return array
        return (array * (1 + rng.uniform(-1e-6, 1e-6, array.shape))).astype(np.float32).astype(np.float64)

    for run in range(runs):
        other = call.but(parameters={name: nudged(value) for name, value in call.parameters.items()},
                         **{name: nudged(getattr(call, name)) for name in ("X", "D", "weights", "initial_state", "dY")})
        truth, rough = (everything(other, dtype, "reference", order=(-1) ** run) for dtype in ("float64", "float32"))
        errors = {name: max(errors[name], error_of(rough[name], truth[name])) for name in errors}
    return errors


def check_bits(call, dtype):
    """A window of all steps, a limit of memory and more threads change no bit, nor does where a stream is cut."""
    kind = call.kind
    plain = call.but(tbptt=None if kind.tbptt == "whole" else call.tbptt, kind=kind._replace(memory="none"))
    if kind.tbptt == "whole" or kind.memory != "none" or kind.threads > 1:
        assert_same_bits(results(call, dtype, "core", kind.threads), results(plain, dtype, "core"), call)
    if kind.training == "stream":
        whole = training(call, dtype, "core")
        rng = np.random.default_rng(len(call.X))
        for count in (1, 3, len(call.X)):
            cuts = np.sort(rng.integers(0, len(call.X) + 1, count))
            assert_same_bits(training(call, dtype, "core", kind.threads, cuts), whole, call)
        if len(call.X) and call.X.shape[1]:
            net, data = call.network(dtype), call.data(dtype)
            del data["dY"]
            net.fit(**data, **updates_of(kind), tbptt=call.tbptt, epochs=1, batch_size=call.X.shape[1], shuffle=False)
            assert_same_bits({"theta": net.theta}, {"theta": whole["theta of stream"]}, call)
    # a window without any weight makes no update; a mini-batch makes one, by penalties or by what the optimizer has kept
    kept = kind.rates or kind.norms or kind.optimizer != "sgd"
    if kind.training == "fit" and not (kind.tbptt == "whole" and kept and lacks_weight(call).any()):
        assert_same_bits(training(call, dtype, "core", kind.threads), training(plain, dtype, "core"), call)
    same = assert_same_bits if _core.kernel_set() != "blas" else assert_near  # a BLAS's row has other bits beside others
    if kind.inference == "step":
        steps, whole = step_by_step(call, dtype, "core"), results(call, dtype, "core")
        same(steps, {name: whole[name] for name in steps}, call)
    if kind.inference == "generate":
        same(*closed_loop(call, dtype, "core"), call)
        assert_near(*closed_loop(call, dtype, "reference"), call)


def lacks_weight(call):
    """Return which sequences (B,) have no error with a weight."""
    T, B = call.X.shape[:2]
    m = np.ones((T, B) if call.kind.output == "sequence" else (1, B))
    if call.weights is not None:
        weights = np.nan_to_num(call.weights if call.kind.output == "sequence" else call.weights[None])
        m = weights.sum(axis=2) if weights.ndim == 3 else weights
    if call.lengths is not None:
        m = m * (np.arange(len(m))[:, None] < call.lengths)
    return ~(m > 0).any(axis=0)


def assert_near(found, expected, call):
    for name in expected:
        size = max(np.abs(expected[name]).max(initial=0), 1e-3)
        assert error_of(found[name], expected[name]) <= (1e-5 if found[name].dtype == np.float32 else LIMIT) * size, \
            f"{name}; {call}"


# ---------------------------------------------------------------------------------------------------------------------
# The core against the reference
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.share(20)
@pytest.mark.parametrize("turn", range(20))
def test_core_and_reference_agree_on_random_kinds(turn):
    rng = np.random.default_rng(turn)
    for _ in range(DRAWS // 20):
        check(call_of(random_kind(rng)))


@pytest.mark.quick
@pytest.mark.share(10)
@pytest.mark.parametrize("turn", range(20))
def test_core_and_reference_agree_on_random_kinds_of_gated_cells(turn):
    rng = np.random.default_rng([turn, 1])
    for _ in range(max(1, DRAWS // 40)):
        check(call_of(random_kind(rng, GATED), turn))


@pytest.mark.quick
@pytest.mark.share(10)
@pytest.mark.parametrize("turn", range(10))
def test_core_and_reference_agree_on_random_kinds_of_low_rank(turn):
    rng = np.random.default_rng([turn, 2])
    for values in LOW_RANK * max(1, DRAWS // 40):
        check(call_of(random_kind(rng, values), turn))


def swept_kinds(lengths, resets, output, ids):
    """Two kinds with these sequences, drawn by these values: any one, and one without kinks, for float32."""
    fixed = {"lengths": lengths, "resets": resets, "output": output, "ids": ids, "T": 7, "B": 5, "state": "learnt"}
    rng = np.random.default_rng([*map(ord, repr(fixed))])
    smooth = {"activation": SMOOTH[rng.integers(len(SMOOTH))], "head": SMOOTH_HEADS[rng.integers(len(SMOOTH_HEADS))]}
    return [random_kind(rng, **fixed, **more)._replace(H=5, shards="one") for more in ({}, smooth)]


SMOOTH_HEADS = tuple(name for name, head in HEADS_BY_NAME.items() if head.loss not in KINKED)
# A sequence of no steps has no last one, which BAD has.
SWEPT = [values for values in itertools.product(*(VALUES[name] for name in ("lengths", "resets", "output", "ids")))
         if values[0] != "zeros" or values[2] != "last"]


@pytest.mark.share(30)
@pytest.mark.parametrize(("lengths", "resets", "output", "ids"), SWEPT)
def test_core_and_reference_agree_on_every_kind_of_sequences(lengths, resets, output, ids):
    for kind in swept_kinds(lengths, resets, output, ids):
        check(call_of(kind))


def test_the_sweep_over_sequences_draws_all_other_options():
    drawn = [swept_kinds(*values) for values in SWEPT]
    assert len(drawn) == 90 and all(is_smooth(smooth) for _, smooth in drawn)
    for name, values in VALUES.items():
        if name not in ("T", "B", "H", "state", "shards"):  # which the sweep holds
            assert {getattr(kind, name) for pair in drawn for kind in pair} == set(values), name
    assert len({kind[5:] for pair in drawn for kind in pair}) > 170


@pytest.mark.thorough
@pytest.mark.parametrize("output", VALUES["output"])
@pytest.mark.parametrize("resets", VALUES["resets"])
@pytest.mark.parametrize("weights", ["none", "few steps"])
def test_core_and_reference_agree_over_many_blocks(weights, resets, output):
    for lengths in ("none", "uniform", "one long"):
        check(call_of(Kind(200, 9, 3, 33, 2, "tanh", "squared_error-identity", True, "learnt", "sum", weights, lengths,
                           resets, output, False, "one", 1)))


@pytest.mark.skipif(not THOUSANDS, reason="takes minutes: FASTBPTT_KINDS is not set")
@pytest.mark.parametrize("values, draws, least", [(VALUES, 400, 6), (GATED, 120, 2), (LOW_RANK[0], 80, 1), (LOW_RANK[1], 60, 1)],
                         ids=["plain", "gated", "low rank", "gated low rank"])
@pytest.mark.parametrize("part", range(HALVES), ids=lambda part: f"part{part}")
def test_core_and_reference_agree_on_thousands_of_kinds(part, values, draws, least):
    """So many draws in each half, and more until every two values have met in `least` of the draws of both halves."""
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    every = {name: (default,) for name, default in Kind._field_defaults.items()} | values
    kinds = st.builds(Kind, **{name: st.sampled_from(of) for name, of in every.items()})
    met = Counter()

    @hypothesis.settings(max_examples=draws, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(kinds.filter(lambda kind: kind.is_legal), st.integers(0, 2**32 - 1))
    def run(kind, seed):
        met.update(pairs(kind, values))
        met[None] += 1
        check(call_of(kind, seed))

    seed = None if THOUSANDS == "all" else HALVES * int(THOUSANDS) + part
    (run if seed is None else hypothesis.seed(seed)(run))()
    rng = np.random.default_rng(seed)
    possible = []
    for (a, of_a), (b, of_b) in itertools.combinations(values.items(), 2):
        for n, pair in enumerate(itertools.product([(a, value) for value in of_a], [(b, value) for value in of_b])):
            wanted = (least + (n + part) % HALVES) // HALVES
            while met[pair] < wanted and (kind := random_kind(rng, values, **dict(pair))):
                met.update(pairs(kind, values))
                met[None] += 1
                check(call_of(kind, int(rng.integers(2**32))))
            if met[pair]:
                possible.append(met[pair] - wanted)
    print(table(met, values))
    assert met[None] >= draws and min(possible) >= 0


def pairs(kind, values):
    """Every two values of a kind, in the order of `values`, in which the draw asks for them."""
    return itertools.combinations([(name, getattr(kind, name)) for name in values], 2)


@pytest.mark.quick
@pytest.mark.parametrize("values", [VALUES, GATED, *LOW_RANK], ids=["plain", "gated", "low rank", "gated low rank"])
def test_every_two_values_that_are_drawn_are_counted(values):
    """Or the thousands would draw for ever."""
    asked = {pair for (a, of_a), (b, of_b) in itertools.combinations(values.items(), 2)
             for pair in itertools.product([(a, value) for value in of_a], [(b, value) for value in of_b])}
    assert set(pairs(random_kind(np.random.default_rng(0), values), values)) <= asked


def table(met, values):
    """How often two values of two options met: of each two options the least, that is of what may meet, and the most."""
    names = list(values)
    lines = [f"{met[None]} kinds; least ... most often that two values met",
             " " * 12 + "".join(f"{name:>12}" for name in names[1:])]
    for k, a in enumerate(names[:-1]):
        cells = [""] * k
        for b in names[k + 1:]:
            counts = [met[(a, x), (b, y)] for x in values[a] for y in values[b] if met[(a, x), (b, y)]]
            cells.append(f"{min(counts)} ... {max(counts)}")
        lines.append(f"{a:>12}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# To the bit
# ---------------------------------------------------------------------------------------------------------------------


def assert_same_bits(found, expected, call):
    assert list(found) == list(expected)
    for name in expected:
        assert np.asarray(found[name]).tobytes() == np.asarray(expected[name]).tobytes(), f"{name}; {call}"


def random_calls(seed, count, **fixed):
    """So many calls with these values, other ones for other values."""
    rng = np.random.default_rng([seed, *map(ord, repr(fixed))])
    return [call_of(random_kind(rng, **fixed), seed) for _ in range(count)]


def padded_with(call, number, label, weight, reset):
    """The call with these in its padding."""
    padding, data = call.padding, {}
    for name in ("X", "D", "dY", "weights", "resets"):
        array = getattr(call, name)
        if array is not None and array.shape[:2] == padding.shape and not (
                call.kind.output == "last" and name in ("D", "dY", "weights")):
            array = array.copy()
            array[padding] = reset if array.dtype == bool else label if array.dtype.kind == "i" else (
                weight if name == "weights" else number)
            data[name] = array
    return call.but(**data)


DIRT = [(np.nan, -7, np.nan, True), (np.inf, 10**9, -1.0, True)]


@pytest.mark.share(8)
@both_backends
@both_dtypes
@pytest.mark.parametrize("output", VALUES["output"])
@pytest.mark.parametrize("ids", VALUES["ids"])
def test_padding_is_not_read(ids, output, dtype, backend):
    for lengths, turn in itertools.product(("uniform", "one long", "zeros"), range(4)):
        fixed = {"lengths": lengths, "T": (3, 7, 30)[turn % 3], "B": 13, "output": output, "ids": ids,
                 "head": tuple(HEADS_BY_NAME)[(turn + 5) % 8], "resets": ("none", "sparse")[turn % 2]}
        if output == "last" and lengths == "zeros":
            continue
        call, = random_calls(turn, 1, **fixed)
        clean = results(padded_with(call, 0.0, 0, 0.0, False), dtype, backend)
        for dirt in DIRT:
            assert_same_bits(results(padded_with(call, *dirt), dtype, backend), clean, call)


@pytest.mark.share(8)
@both_backends
@pytest.mark.parametrize("output", VALUES["output"])
@pytest.mark.parametrize("ids", VALUES["ids"])
def test_padding_is_not_read_in_training(ids, output, backend):
    for head in ("squared_error-identity", "cross_entropy-softmax-labels"):
        call, = random_calls(1, 1, lengths="uniform", T=7, B=13, output=output, ids=ids, weights="step", head=head,
                             resets="sparse", state="learnt", O=2)
        assert call.padding.any()
        call.weights[...] += 0.1
        runs = set()
        for dirt in [(0.0, 0, 0.0, False), *DIRT]:
            dirty = padded_with(call, *dirt)
            data = dirty.data()
            del data["dY"]
            thetas = []
            for more in ({}, {"update_callbacks": lambda record: None}):
                net = dirty.network()
                history = net.fit(**data, epochs=2, batch_size=4, random_state=0, backend=backend, **more)
                thetas += [net.theta.tobytes(), tuple(history.train_loss)]
            X, D = data.pop("X"), data.pop("D")
            net = dirty.network()
            thetas += [net.train_step(X, D, **data, backend=backend), net.theta.tobytes()]
            runs.add(tuple(thetas))
        assert len(runs) == 1


@pytest.mark.share(2)
@both_dtypes
def test_two_threads_give_the_bits_of_one(dtype):
    for call in random_calls(2, 25, shards="several", B=40):
        assert_same_bits(results(call, dtype, "core", 2), results(call, dtype, "core", 1), call)


@pytest.mark.share(2)
@both_dtypes
def test_an_option_that_asks_for_nothing_takes_the_plain_path(dtype):
    for call in random_calls(3, 40, lengths="none", resets="none"):
        plain = results(call, dtype, "core")
        whole, never = np.full(call.X.shape[1], len(call.X)), np.zeros(call.X.shape[:2], bool)
        for lengths, resets in ((whole, None), (None, never), (whole, never)):
            assert_same_bits(results(call.but(lengths=lengths, resets=resets), dtype, "core"), plain, call)


def alone(call, b):
    """Sequence b by itself, without padding."""
    n, row, last = call.steps[b], slice(b, b + 1), call.kind.output == "last"

    def cut(array, steps=n):
        return None if array is None else array[row] if last else array[:steps, row]

    state = call.initial_state
    return call.but(X=call.X[:n, row], D=cut(call.D), dY=cut(call.dY), weights=cut(call.weights), lengths=None,
                    initial_state=tuple(S[row] for S in state) if isinstance(state, tuple) else None if state is None else state[row],
                    resets=None if call.resets is None else call.resets[:n, row])


OF_A_SEQUENCE = {"Y", "S", "final state", "losses", "∂E/∂X", "∂E/∂initial_state", "∂E/∂X of backward",
                 "∂E/∂initial_state of backward"}


@pytest.mark.share(8)
@vectors_only
@both_dtypes
@pytest.mark.parametrize("weights", ["none", "few steps"])
@pytest.mark.parametrize("output", VALUES["output"])
def test_a_sequence_has_the_same_bits_beside_any_others(output, weights, dtype):
    # windows of truncation depend on the longest, what is drawn on the place, and the mean of rates on all
    fixed = {"reduction": "sum", "output": output, "weights": weights, "tbptt": "none", "draws": "none", "rates": False}
    calls = [*random_calls(4, 7, lengths="uniform", B=13, T=30, **fixed),
             *random_calls(4, 1, lengths="uniform", B=13, T=30, gradients="all", **fixed),
             *random_calls(5, 2, lengths="one long", B=40, T=280, **fixed)]
    compared = set()
    for call in calls:
        whole = results(call, dtype, "core")
        for b in (0, 4, 12, int(call.steps.argmax())):
            n = call.steps[b]
            of_b = results(alone(call, b), dtype, "core")
            for name in whole:
                kind = name.rstrip(" 0123456789")  # of one recurrence, where there are several
                if kind not in OF_A_SEQUENCE:
                    continue
                in_time = kind in ("S", "∂E/∂X", "∂E/∂X of backward") or \
                    kind in ("Y", "losses") and output == "sequence"
                value = whole[name][:n + (kind == "S"), b] if in_time else whole[name][b]
                assert np.array_equal(of_b[name][:, 0] if in_time else of_b[name][0], value), f"{name} of {b}; {call}"
                compared.add(kind)
    assert compared == OF_A_SEQUENCE


def test_an_empty_call_writes_all_that_it_returns():
    """No steps, or none of any sequence: the states are the first ones, and not what the memory held."""
    for T, lengths in ((0, [0, 0]), (0, None), (4, [0, 0])):
        net = RNN(3, 5, 2, dtype="float64", learn_initial_state=True, random_state=0)
        net.parameters["S_0"] = np.arange(5)
        X, D, first = np.ones((T, 2, 3)), np.ones((T, 2, 2)), np.tile(np.arange(5.0), (2, 1))
        for _ in range(3):
            held = [np.full((2, 5), 7.0) for _ in range(50)]
            del held
            Y, final_state, run = net.forward(X, lengths=lengths, return_states=True)
            S = run.S
            assert not Y.any() and np.array_equal(final_state, first) and np.array_equal(S[0], first) and not S[1:].any()
            assert not net.losses(X, D, lengths=lengths).any()
            E, gradients = net.loss_and_gradients(X, D, lengths=lengths, input_gradient=True, initial_state_gradient=True)
            assert E == 0 and not any(gradient.any() for gradient in gradients.values())


@both_backends
def test_an_empty_batch_has_no_last_steps(backend):
    net = RNN(3, 5, 2, output="last", random_state=0)
    Y, final_state = net.forward(np.ones((0, 0, 3)), backend=backend)
    assert Y.shape == (0, 2) and final_state.shape == (0, 5)


@pytest.mark.parametrize("ids", [False, True])
def test_terms_of_a_last_step_are_those_of_its_targets_at_each_step(ids):
    rng = np.random.default_rng(0)
    options = {"dtype": "float64", "one_hot": ids, "random_state": 0}
    last, sequence = RNN(3, 5, 2, output="last", **options), RNN(3, 5, 2, **options)
    X = rng.integers(3, size=(6, 4)) if ids else rng.standard_normal((6, 4, 3))
    D = rng.standard_normal((4, 2))
    for t in (0, 2, -1):
        expected = sequence.gradient_terms(X, np.broadcast_to(D, (6, 4, 2)), t, backend="reference")
        for backend in ("core", "reference"):
            for name, value in last.gradient_terms(X, D, t, backend=backend).items():
                cases.assert_close(value, expected[name], LIMIT, name)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------

STEPS, SEQUENCES = 4, 3
METHODS = ("forward", "losses", "evaluate", "loss_and_gradients", "backward", "objective", "fit", "train_step")

BAD = [
    ("sequence", {"lengths": [1, -1, 2]}, ValueError, ("lengths must be from 0 to T = 4", "got -1 for sequence 1")),
    ("sequence", {"lengths": [1, 2, 5]}, ValueError, ("lengths must be from 0 to T = 4", "got 5 for sequence 2")),
    ("sequence", {"lengths": [1.0, 2.0, 3.0]}, TypeError, ("lengths must hold integers, got dtype float64",)),
    ("sequence", {"lengths": [1, 2]}, ValueError, ("lengths must have shape (B,) = (3,), got (2,)",)),
    ("sequence", {"lengths": [[1, 2, 3]]}, ValueError, ("lengths must have shape (B,) = (3,), got (1, 3)",)),
    ("sequence", {"lengths": 3}, ValueError, ("lengths must have shape (B,) = (3,), got ()",)),
    ("sequence", {"lengths": "abc"}, TypeError, ("lengths", "str")),
    ("sequence", {"lengths": np.ma.masked_array([1, 2, 3])}, ValueError, ("lengths is a masked array",)),
    ("sequence", {"resets": np.zeros((4, 3), int)}, TypeError, ("resets must hold True and False, got dtype int64",)),
    ("sequence", {"resets": np.zeros((4, 3))}, TypeError, ("resets must hold True and False, got dtype float64",)),
    ("sequence", {"resets": np.zeros((3, 4), bool)}, ValueError, ("resets must have shape (T, B) = (4, 3), got (3, 4)",)),
    ("sequence", {"resets": np.zeros(4, bool)}, ValueError, ("resets must have shape (T, B) = (4, 3), got (4,)",)),
    ("sequence", {"resets": np.ma.masked_array(np.zeros((4, 3), bool))}, ValueError, ("resets is a masked array",)),
    ("sequence", {"resets": [[True], [True, False]]}, ValueError, ("resets must be an array of True and False",)),
    ("last", {"lengths": [1, 0, 2]}, ValueError, ("no steps in sequence 1", 'output="last"')),
    ("last", {"X": np.zeros((0, 3, 2))}, ValueError, ("no steps in sequence 0", 'output="last"')),
    ("last", {"D": np.zeros((4, 3, 2))}, ValueError, ("D must have shape (B, O) = (3, 2), got (4, 3, 2)",)),
    ("last", {"D": np.zeros((2, 2))}, ValueError, ("D must have shape (B, O) = (3, 2), got (2, 2)",)),
    ("last", {"weights": np.ones((4, 3))}, ValueError, ("weights must have shape of D = (3, 2), got (4, 3)",)),
    ("last", {"weights": np.ones(4)}, ValueError, ("weights must have shape (B,) = (3,), got (4,)",)),
    ("last", {"weights": np.array([1, -2.0, 1])}, ValueError, ("weights must not be negative, got -2.0 at (b) = (1,)",)),
    ("last", {"weights": np.array([1, 1, np.nan])}, ValueError, ("weights contains NaN, first at (b) = (2,)",)),
    ("labels", {"D": np.array([0, 2, 1])}, ValueError, ("D has label 2 at (b) = (1,)", "0 to 1")),
    ("labels", {"D": np.zeros((4, 3), int)}, ValueError, ("D must have shape (B, O) = (3, 2), got (4, 3)",)),
    ("ids", {"X": np.full((4, 3), 2)}, ValueError, ("X has id 2 at (t, b) = (0, 0)", "ids are 0 to 1", "input_size=2")),
    ("ids", {"X": np.array([[0, 1, 0]] * 3 + [[1, 1, -1]])}, ValueError, ("X has id -1 at (t, b) = (3, 2)",)),
    ("ids", {"X": np.zeros((4, 3))}, TypeError, ("X must hold integers, got dtype float64",)),
    ("ids", {"X": np.zeros((4, 3, 2))}, TypeError, ("X must hold integers",)),
    ("ids", {"X": np.zeros((4, 3, 2), int)}, ValueError, ("X must be token ids, 2-D (T, B)", "one_hot=True", "3-D")),
    ("ids", {"X": np.zeros(4, int)}, ValueError, ("X must be token ids, 2-D (T, B)", "1-D")),
    ("ids", {"input_gradient": True}, ValueError, ("input_gradient must be False", "token ids have no gradient")),
]


@pytest.mark.parametrize(("what", "bad", "error", "words"), BAD, ids=[
    f"{what}, {', '.join(bad)} {k}" for k, (what, bad, *_) in enumerate(BAD)])
@both_backends
def test_what_is_bad_is_refused_in_words(what, bad, error, words, backend):
    options = {"sequence": {}, "last": {"output": "last"}, "ids": {"one_hot": True}, "labels": {
        "output": "last", "loss": "cross_entropy", "output_activation": "softmax"}}[what]
    net = RNN(2, 5, 2, dtype="float64", random_state=0, **options)
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(STEPS, SEQUENCES)) if what == "ids" else rng.standard_normal((STEPS, SEQUENCES, 2))
    D = np.zeros(SEQUENCES, int) if what == "labels" else rng.standard_normal(
        (SEQUENCES, 2) if net.output == "last" else (STEPS, SEQUENCES, 2))
    arguments = {"X": X, "D": D, **bad}
    before = {name: np.asarray(value).tobytes() for name, value in arguments.items() if name in ("X", "D")}
    for method in METHODS:
        given = dict(arguments)
        if method == "backward" and what == "labels" or "weights" in given and method in ("forward", "losses", "backward") \
                or "D" in bad and method in ("forward", "backward"):
            continue
        if "input_gradient" in given and method not in ("loss_and_gradients", "backward"):
            continue
        X, D = given.pop("X"), given.pop("D")
        with refused(net, error, *words):
            getattr(net, method)(*([X] if method == "forward" else [X, D]), backend=backend, **given)
    assert before == {name: np.asarray(arguments[name]).tobytes() for name in before}


@pytest.mark.parametrize("dY", [np.zeros((4, 3, 2)), np.zeros((3, 3)), np.zeros(3)])
@both_backends
def test_an_error_of_ones_own_at_last_steps_has_no_axis_of_time(dY, backend):
    net = RNN(2, 5, 2, output="last", random_state=0)
    with refused(net, ValueError, f"dY must have shape (B, O) = (3, 2), got {dY.shape}"):
        net.backward(np.zeros((4, 3, 2)), dY, backend=backend)


@pytest.mark.parametrize("position", [*np.ndindex(STEPS, SEQUENCES)])
def test_an_id_of_no_input_is_refused_at_every_step_and_nowhere_else(position):
    net = RNN(2, 5, 2, one_hot=True, random_state=0)
    lengths = np.array([4, 0, 2])
    X = np.zeros((STEPS, SEQUENCES), np.intp)
    for bad in (-1, 2):
        X[position] = bad
        if position[0] < lengths[position[1]]:
            with refused(net, ValueError, f"X has id {bad} at (t, b) = {position}"):
                net.forward(X, lengths=lengths)
        else:
            net.forward(X, lengths=lengths)
        with refused(net, ValueError, f"X has id {bad} at (t, b) = {position}"):
            net.forward(X)


class Subclass(np.ndarray):
    pass


def test_every_form_of_lengths_resets_and_ids_gives_the_bits_of_the_contiguous_copy(tmp_path):
    rng = np.random.default_rng(0)
    net = RNN(4, 5, 2, one_hot=True, learn_initial_state=True, random_state=0)
    X, lengths, resets = rng.integers(4, size=(7, 6)), rng.integers(0, 8, 6), rng.random((7, 6)) < 0.3
    before = [array.tobytes() for array in (X, lengths, resets)]
    plain, _ = net.forward(X, lengths=lengths, resets=resets)
    forms = [lambda a: a.tolist(), lambda a: a.view(Subclass), np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2],
             lambda a: a if a.dtype == bool else a.astype(np.int8), lambda a: a if a.dtype == bool else a.astype(">i4")]
    for form in forms:
        found, _ = net.forward(form(X), lengths=form(lengths), resets=form(resets))
        assert found.tobytes() == plain.tobytes()
    assert before == [array.tobytes() for array in (X, lengths, resets)]


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------

N = 11  # sequences


def training_data(name, seed=0):
    """A network's options, X, D and the rest by name, with NaN, or what is no id, in all padding."""
    rng = np.random.default_rng(seed)
    lengths, resets = rng.integers(0, 8, N), rng.random((7, N)) < 0.2
    lengths[[2, 5]] = 0, 7
    X, D = rng.standard_normal((7, N, 3)), rng.standard_normal((7, N, 2))
    weights = rng.uniform(0.5, 1, (7, N))
    padding = np.arange(7)[:, None] >= lengths
    for array in (X, D, weights):
        array[padding] = np.nan
    if name == "resets":
        return {}, np.nan_to_num(X), np.nan_to_num(D), {"resets": resets}
    if name == "lengths":
        return {}, X, D, {"lengths": lengths}
    if name == "lengths, resets, weights, states":
        return {}, X, D, {"lengths": lengths, "resets": resets, "weights": weights,
                          "initial_state": rng.standard_normal((N, 5))}
    lengths, ids = np.maximum(lengths, 1), rng.integers(3, size=(7, N))
    padding = np.arange(7)[:, None] >= lengths
    X = np.where(padding[..., None], np.nan, rng.standard_normal((7, N, 3)))
    if name == "last":
        return {"output": "last"}, X, D[0] if not np.isnan(D[0]).any() else np.nan_to_num(D[0]), {"lengths": lengths}
    ids[padding] = 10**9
    if name == "ids":
        return {"one_hot": True}, ids, np.where(padding[..., None], np.nan, rng.standard_normal((7, N, 2))), {
            "lengths": lengths, "resets": resets}
    labels = {"loss": "cross_entropy", "output_activation": "softmax", "output": "last", "one_hot": True}
    return labels, ids, rng.integers(2, size=N), {"lengths": lengths, "weights": rng.uniform(0.5, 1, N)}


DATA = ("resets", "lengths", "lengths, resets, weights, states", "last", "ids", "labels of last steps of ids")
every_data = pytest.mark.parametrize("name", DATA)


def network_for(options, dtype="float64"):
    return RNN(3, 5, 2, **{"dtype": dtype, "random_state": 0, "learn_initial_state": True, **options})


@every_data
@both_dtypes
def test_compiled_training_makes_the_updates_of_the_loop_in_python_to_the_bit(name, dtype):
    options, X, D, more = training_data(name)
    for how in ({"batch_size": 4}, {"batch_size": 1, "shuffle": False}, {"batch_size": N, "max_grad_norm": 0.1}):
        runs = []
        for callbacks in ({}, {"update_callbacks": lambda record: None}):
            net = network_for(options, dtype)
            history = net.fit(X, D, **more, epochs=3, random_state=1, **how, **callbacks)
            history.seconds = []
            runs.append((net.theta.tobytes(), history))
            assert np.isfinite(history.train_loss).all()
        assert runs[0] == runs[1], how


@both_backends
def test_a_batch_of_equal_lengths_after_a_ragged_one_keeps_its_order(backend):
    """Each sequence has a state of its own to begin with: who takes another's makes another error."""
    rng = np.random.default_rng(0)
    X, states = rng.standard_normal((7, 8, 3)), rng.standard_normal((8, 5))
    lengths = np.array([1, 5, 2, 7, 7, 7, 7, 7])
    net = RNN(3, 5, 2, dtype="float64", random_state=0)
    D, _ = net.forward(X, states, lengths=lengths)
    history = net.fit(X, D, initial_state=states, lengths=lengths, epochs=2, batch_size=4, shuffle=False, optimizer="sgd",
                      backend=backend)
    assert max(history.train_loss) < 1e-20


@every_data
def test_both_backends_train_alike(name):
    options, X, D, more = training_data(name)
    runs = []
    for backend in ("core", "reference"):
        net = network_for(options)
        history = net.fit(X, D, **more, epochs=4, batch_size=4, random_state=1, learning_rate=0.01, backend=backend)
        runs.append([history.train_loss, history.gradient_norm, net.theta])
    for core, truth in zip(*runs):
        np.testing.assert_allclose(core, truth, rtol=1e-9, atol=1e-11)


@every_data
@both_backends
def test_a_run_on_sequences_of_every_kind_resumes_to_the_bit(name, backend, tmp_path):
    options, X, D, more = training_data(name)
    arguments = {"X": X, "D": D, **more, "epochs": 4, "batch_size": 4, "random_state": 2, "backend": backend}

    class Stop(Exception):
        pass

    def stop(record):
        if record.update == 5:
            raise Stop

    whole, resumed = network_for(options), network_for(options)
    expected = whole.fit(**arguments)
    with pytest.raises(Stop):
        network_for(options).fit(**arguments, checkpoint=tmp_path / "run.npz", update_callbacks=[stop])
    history = resumed.fit(**arguments, checkpoint=tmp_path / "run.npz", resume=True)
    assert resumed.theta.tobytes() == whole.theta.tobytes() and history.train_loss == expected.train_loss
    if "lengths" in more:
        arguments["lengths"] = more["lengths"].copy()
        arguments["lengths"][5] -= 1
        with pytest.raises(ValueError, match="data"):
            resumed.fit(**arguments, checkpoint=tmp_path / "run.npz", resume=True)


@every_data
@both_backends
def test_single_steps_are_the_updates_of_fit(name, backend):
    options, X, D, more = training_data(name)
    net, other = network_for(options), network_for(options)
    history = net.fit(X, D, **more, epochs=3, batch_size=N, shuffle=False, backend=backend)
    losses = [other.train_step(X, D, **more, backend=backend) for _ in range(3)]
    assert other.theta.tobytes() == net.theta.tobytes() and losses == pytest.approx(history.train_loss, rel=1e-14)


@every_data
@both_backends
def test_validation_has_lengths_and_resets_of_its_own(name, backend):
    """The padding of the sequences that are held out is NaN: whoever reads another's length reads that."""
    options, X, D, more = training_data(name)
    net = network_for(options)
    given = (X, D, more.get("weights"), more.get("lengths"), more.get("resets"))
    history = net.fit(X, D, **more, validation=given, epochs=2, batch_size=4, random_state=0, backend=backend)
    of_validation = {"weights": given[2], "lengths": given[3], "resets": given[4]}
    assert history.validation_loss[-1] == net.evaluate(X, D, **of_validation, backend=backend)
    more.pop("initial_state", None)
    net = network_for(options)
    held = _held_out(net, X, D, more)
    history = net.fit(X, D, **more, validation=0.3, epochs=2, batch_size=4, random_state=0, backend=backend)
    assert np.isfinite([history.train_loss, history.validation_loss]).all()
    X, D, weights, _, lengths, resets = held
    assert history.validation_loss[-1] == net.evaluate(X, D, weights=weights, lengths=lengths, resets=resets,
                                                       backend=backend)


def _held_out(net, X, D, more):
    """The sequences that `validation=0.3` with random_state=0 holds out."""
    order = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(fastbptt.network.STREAMS.index("validation"),)))
    held = np.sort(order.permutation(N)[:round(0.3 * N)])
    data = (X, D, more.get("weights"), None, more.get("lengths"), more.get("resets"))
    return _batches.take(data, held, net.output)


@both_backends
def test_fresh_batches_may_have_lengths_and_resets(backend):
    def batches(batch_size, rng):
        lengths = rng.integers(0, 6, batch_size)
        X, D = rng.standard_normal((5, batch_size, 3)), rng.standard_normal((5, batch_size, 2))
        X[np.arange(5)[:, None] >= lengths] = np.nan
        return X, D, None, lengths, rng.random((5, batch_size)) < 0.2

    net, other = network_for({}), network_for({})
    drawn = []

    def recorded(batch_size, rng):
        drawn.append(batches(batch_size, rng))
        return drawn[-1]

    history = net.fit(batches=recorded, updates=6, updates_per_epoch=1, batch_size=4, random_state=0, backend=backend)
    losses = [other.train_step(X, D, weights=weights, lengths=lengths, resets=resets, backend=backend)
              for X, D, weights, lengths, resets in drawn]
    assert losses == pytest.approx(history.train_loss, rel=1e-14) and other.theta.tobytes() == net.theta.tobytes()


@pytest.mark.parametrize("name", ["lengths", "ids"])
@pytest.mark.parametrize("bad", [-1, 10**6])
def test_a_callback_that_spoils_lengths_or_ids_leads_to_no_memory_but_theirs(name, bad):
    options, X, D, more = training_data(name)

    def spoil(record):
        if name == "ids":
            X[0] = bad
        else:
            more["lengths"][...] = bad

    net = network_for(options)
    with pytest.raises((TypeError, ValueError)):
        net.fit(X, D, **more, epochs=2, batch_size=4, callbacks=[spoil])
    assert np.isfinite(net.theta).all()


# ---------------------------------------------------------------------------------------------------------------------
# Estimators
# ---------------------------------------------------------------------------------------------------------------------


def lists(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, 3)) for n in (5, 9, 2, 7, 1, 6, 9, 4)]


def regressor(output):
    X = lists()
    y = np.array([x.sum() for x in X]) if output == "last" else [x.cumsum(axis=0)[:, :2] for x in X]
    return RNNRegressor(hidden_size=5, max_iter=3, batch_size=3, output=output, random_state=0, scale=None).fit(X, y)


def classifier(output):
    X = lists()
    y = np.array(["up" if x.sum() > 0 else "down" for x in X]) if output == "last" else [
        np.where(x[:, 0] > 0, "up", "down") for x in X]
    return RNNClassifier(hidden_size=5, max_iter=3, batch_size=3, output=output, random_state=0, scale=None).fit(X, y)


def of_each(model, X):
    """What the network gives for each sequence alone."""
    Y = [model.network_.forward(x[:, None].astype(model.network_.dtype))[0] for x in X]
    return [y[0] if model.output == "last" else y[:, 0] for y in Y]


@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("make", [regressor, classifier])
def test_estimators_predict_each_sequence_of_a_list_as_if_alone_and_load_as_they_were(make, output, tmp_path):
    model, X = make(output), lists(1)
    assert model.network_.output == output
    model.save(tmp_path / "model.npz")
    header, arrays = _files.read(tmp_path / "model.npz")
    assert header["config"]["output"] == output
    del header["config"]["output"], header["config"]["one_hot"]  # as the first versions wrote it
    _files.write(tmp_path / "old.npz", header, arrays)
    predict = model.predict if make is regressor else model.predict_proba
    expected = of_each(model, X)
    for found, one in zip(predict(X), expected, strict=True):
        np.testing.assert_allclose(np.reshape(found, np.shape(one)), one, rtol=1e-5, atol=1e-6)
    for path in ("model.npz", "old.npz"):
        loaded = fastbptt.load(tmp_path / path)
        assert loaded.network_.output == loaded.output == output and loaded.network_.theta.tobytes() == \
            model.network_.theta.tobytes()
        for found, one in zip(loaded.predict(X), model.predict(X), strict=True):
            assert np.array_equal(found, one)
    header["config"]["output"] = "last" if output == "sequence" else "sequence"
    _files.write(tmp_path / "wrong.npz", header, arrays)
    wrong = fastbptt.load(tmp_path / "wrong.npz")  # as of an estimator whose output was set after its fit
    with pytest.raises(ValueError, match="output"):
        wrong.predict(X)


@pytest.mark.parametrize("options", [{"output": "last"}, {"one_hot": True}, {"output": "last", "one_hot": True}])
def test_a_network_of_any_kind_is_loaded_as_it_was_and_passes_its_own_check(options, tmp_path):
    net = RNN(3, 5, 2, random_state=0, **options)
    net.save(tmp_path / "net.npz")
    loaded = fastbptt.load(tmp_path / "net.npz")
    assert loaded.output == net.output and loaded.one_hot == net.one_hot and loaded.theta.tobytes() == net.theta.tobytes()
    assert loaded.gradcheck().passed
