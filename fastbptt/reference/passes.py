"""The forward pass through all layers and directions, and the error of the outputs. Every operation starts here.

Add here what the operations in `outputs`, `gradients` and `inspection` share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .cells import has_leak, Through
from .draws import INPUT
from .heads import _default, _in_time, _normal, _scale, error
from .maps import effective
from .products import affine, gather, only, pack, read, read_back, restart, turn
from .recurrence import recur, recur_back_windows
from .units import _units, mean_leak, Units

if TYPE_CHECKING:
    from .._types import Parameters


def recurrences(parameters: Parameters) -> list[list[str]]:
    """Return the name suffixes of the recurrences, a list for each layer.

    They are [[""]] for one layer and direction, [["", "_reverse"], ["_l1", "_l1_reverse"]] for two of each.
    """
    layers, ends = [], ("", "_reverse") if "W_x_reverse" in parameters else ("",)  # type: ignore[var-annotated]
    while "W_x" + (level := f"_l{len(layers)}" if layers else "") in parameters:
        layers.append([level + end for end in ends])
    return layers


def _prepare(parameters, X, initial_state, width):
    """Return parameters and X in the parameters' dtype, and S_0 (B, width · H) by suffix.

    The dtype is the corresponding complex one if X or an initial state is complex.
    """
    suffixes = sum(recurrences(parameters), [])
    if initial_state is None:
        initial_state = [None] * len(suffixes)
    elif len(suffixes) == 1:
        initial_state = [initial_state]
    dtype = np.result_type(*parameters.values())
    if np.iscomplexobj(X) or any(np.iscomplexobj(S_0) for S_0 in initial_state):
        dtype = np.result_type(dtype, np.complex64)
    p = {name: np.asarray(value, dtype) for name, value in parameters.items()}
    X = gather(X, dtype, p["W_x"].shape[1])
    first = {}
    for suffix, S_0 in zip(suffixes, initial_state, strict=True):
        S_0 = np.asarray(S_0, dtype) if S_0 is not None else p.get("S_0" + suffix, np.zeros((), dtype))
        first[suffix] = np.broadcast_to(S_0, (X.shape[1], width * p["W_s" + suffix].shape[1]))
    return p, X, first


class _Recurrence(NamedTuple):
    """One recurrence and its arrays, with the steps in the order in which it runs."""

    suffix: str
    p: dict              # W_x, W_s, b_s, b_n, S_0, without a suffix
    X: np.ndarray        # (T, B, I)
    S: np.ndarray        # (T+1, B, states·H)
    R: np.ndarray        # (T, B, saves·H), what the steps keep: what g1' is a function of, or the gates
    before: np.ndarray   # (T, B, states·H), the states from which the steps start
    resets: np.ndarray   # (T, B) of bool
    units: Units
    through: Through
    noise: np.ndarray | None  # (T, B, H), which the pre-activations contain; None without noise on states

    def back(self, dF, begin, end, tbptt=None):
        """Return delta, ∂E/∂S and the gradient with respect to the previous state, for the steps begin ... end - 1.

        dF (end - begin, B, H) is the gradient from the outputs and from layers above.
        """
        return recur_back_windows(self.units, dF, self.R[begin:end], self.before[begin:end], self.through,
                                  self.resets[begin:end], tbptt)

    def turn(self, A, lengths):
        """Convert A (T, B, ...) between the caller's order of steps and the order of this recurrence."""
        return turn(A, lengths) if self.suffix.endswith("_reverse") else A


class _Run(NamedTuple):
    """Result of the forward pass."""

    p: dict
    layers: list         # of lists of _Recurrence
    Z: np.ndarray        # (T, B, O), or (1, B, O) if output="last"
    lengths: np.ndarray  # (B,)
    resets: np.ndarray   # (T, B) of bool
    units: Units
    there: np.ndarray    # (T, B) or (1, B) of bool: which outputs exist
    counts: np.ndarray   # (T, B) of bool: real steps without the past ones
    output: str

    @property
    def recurrences(self):
        return [r for layer in self.layers for r in layer]

    @property
    def rates(self):
        """The number of rates in the mean of rate_penalty: all units at all steps in `counts`."""
        return int(self.counts.sum()) * sum(r.p["W_s"].shape[-1] for r in self.recurrences)

    @property
    def S(self):
        return _one_or_all(np.concatenate([r.S[:1], r.turn(r.S[1:], self.lengths)]) for r in self.recurrences)

    @property
    def R(self):
        """What the steps keep for the backward pass."""
        return _one_or_all(r.turn(r.R, self.lengths) for r in self.recurrences)

    @property
    def fired(self):
        """The rates g1(...) of units of one gate, or what gated ones keep."""
        if not self.units.reads_input:
            return self.R
        alive = np.arange(len(self.resets))[:, None] < self.lengths
        return _one_or_all(only(alive, self.units.g(r.turn(r.R, self.lengths))) for r in self.recurrences)


def _forward(parameters, X, initial_state, units, lengths=None, resets=None, output="sequence", past=None, past_rates=None,
             past_S_0=None):
    X = np.asarray(X)
    T, B = X.shape[:2]
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    alive = np.arange(T)[:, None] < lengths
    resets = alive & (False if resets is None else np.asarray(resets, bool))
    p, X, first = _prepare(parameters, only(alive, X), initial_state, units.width)
    if "leak_logit" in p and not has_leak(units.leak):
        raise ValueError(f"leak must be below 1 for a network with leak_logit, got leak={units.leak}")
    past, past_rates, past_S_0 = ({suffix: () if of_all is None else np.asarray(states, X.dtype)
                                   for suffix, states in zip(first, of_all if len(first) > 1 and of_all is not None
                                                             else [of_all] * len(first))}
                                  for of_all in (past, past_rates, past_S_0))
    known, layers = len(past[""]), []
    X = units._replace(leak=mean_leak(units.leak)).noisy(X, units.input_noise_std, INPUT, alive)
    for layer, suffixes in enumerate(recurrences(p)):
        layers.append([_recurrence(p, suffix, X, first[suffix],
                                   units.of_recurrence(layer, p.get("leak_logit" + suffix), X.real.dtype), lengths, alive,
                                   resets, past[suffix], past_rates[suffix], past_S_0[suffix], list(first).index(suffix))
                       for suffix in suffixes])
        X = _read(layers[-1], lengths, "sequence")
    counts = alive & (np.arange(T)[:, None] >= known)
    there = counts if output == "sequence" else lengths[None] > 0
    Z = only(there, affine(_read(layers[-1], lengths, output), pack(p["W_y"]), p.get("b_y")))
    return _Run(p, layers, Z, lengths, resets, units, there, counts, output)


def _recurrence(p, suffix, X, S_0, units, lengths, alive, resets, past, past_rates, past_S_0, kind):
    """Run one recurrence over the inputs X of its layer."""
    p = {name: p[name + suffix] for name in ("W_x", "W_s", "b_s", "b_n", "leak_logit", "S_0") if name + suffix in p}
    reverse = suffix.endswith("_reverse")
    if reverse:
        parted = np.zeros_like(resets)
        parted[:-1] = resets[1:]  # a reset separates a step from the next one, where this recurrence comes from
        X, resets = turn(X, lengths), turn(parted, lengths) & alive
    A = affine(X, pack(p["W_x"]), p.get("b_s"))
    noise = None
    if units.has_noise and units.noise_std:
        noise = units.noise(A, units.noise_std, units.leak, kind, alive, lengths if reverse else None)
        A = A + noise
    through = Through(p["W_s"], p.get("b_n"), units.mask(kind, X.shape[1], p["W_s"].shape[1], X.real.dtype))
    initial = np.zeros((len(A), 1, S_0.shape[1]), X.dtype) + p.get("S_0", np.zeros((), X.dtype))
    if len(past_S_0):
        initial[:len(past_S_0), 0] = past_S_0
    S, R = recur(units, A, S_0, through, alive, resets, initial, past, past_rates)
    return _Recurrence(suffix, p, X, S, R, restart(S[:-1], resets, initial), resets, units, through, noise)


def _read(layer, lengths, output):
    """Return the results of `read` for all recurrences of a layer, concatenated along the units."""
    parts = (read(r.units.read(r.S), lengths, output) for r in layer)
    return np.concatenate([r.turn(part, lengths) if output == "sequence" else part for r, part in zip(layer, parts)], axis=-1)


def _read_back(layer, dR, lengths, output, T):
    """Return dS (T, B, ...) from the gradient dR with respect to the result of `_read`."""
    parts = [read_back(part, lengths, output, T) for part in np.split(dR, len(layer), axis=-1)]
    return np.concatenate([part if output == "sequence" else r.turn(part, lengths) for r, part in zip(layer, parts)], axis=-1)


def _one_or_all(arrays):
    """Return a tuple with an array for each recurrence, or the array itself if there is one recurrence."""
    arrays = tuple(arrays)
    return arrays if len(arrays) > 1 else arrays[0]


def _forward_and_error(parameters, X, D, weights, initial_state, *, lengths=None, resets=None, output="sequence",
                       reduction="mean", activation="tanh", output_activation="identity", loss="squared_error",
                       loss_parameter=None, past=None, past_rates=None, past_S_0=None, maps=None, settles=False, **units):
    """Return the run, the scale (1 or 1 / Σ m) and the results of `error`."""
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output, past,
                   past_rates, past_S_0)
    weights = only(run.there, np.ones(run.there.shape) if weights is None
                   else _normal(_in_time(weights, output), run.Z.real.dtype))
    if reduction == "mean":  # so that Σ m e does not overflow; a power of two does not change the mean
        weights = np.ldexp(weights, -np.frexp(weights.max(initial=0))[1])
    scale = _scale(reduction, weights)
    return run, scale, error(run.Z, _in_time(D, output), weights, scale, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter), settles=settles)
