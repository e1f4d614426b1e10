"""Prepare a network and its data for a diagnostic: float64, one recurrence, effective parameters, an error at every step.

A check or conversion that several diagnostics need belongs here.
"""

from __future__ import annotations

import numpy as np

from .. import _checks
from ..options import declaration as _options, units as _units

CONSTRAINTS = _options.names(lambda option: option.constrains)


def require_one_layer(network):
    """Return the network, with effective parameters in place of parametrized ones.

    Diagnostics then need not know about parametrizations. Raise TypeError unless it is an RNN, and ValueError unless it has
    one layer and one direction.
    """
    if not hasattr(network, "gradient_terms"):
        raise TypeError(f"network must be an RNN, got {type(network).__name__}")
    if not isinstance(network.hidden_size, int) or getattr(network, "bidirectional", False):
        raise ValueError(f"network must have one layer and one direction for diagnostics, got {network!r}")
    if network._maps or network.rank is not None:  # replace the parameters by the effective ones
        state, other = network.__getstate__(), network.copy()
        theta = np.concatenate([value.ravel() for value in network.effective_parameters().values()])
        config = {**state["config"], **{name: _options.kept_defaults()[name] for name in CONSTRAINTS}}
        if _units.trains_leak(state["config"]):  # then leak_logit remains a parameter
            config["trainable"] = {"leak": True}
        if network.rank is not None:  # penalties may name M and N, and no diagnostic reads them
            config["l1"] = config["l2"] = 0.0
        other.__setstate__({**state, "config": config, "theta": theta})
        return other
    return network


def with_options(network, **options):
    """Return a copy of the network with some options replaced, such as dtype, and its parameters converted to them."""
    other = network.copy()
    state = network.__getstate__()
    other.__setstate__({**state, "config": {**state["config"], **options}})
    return other


def state_width(network):
    """Return the width of the public state: H, or 2H = [h | c] of an LSTM."""
    return network._widths[0]


def states_and_inputs(network, S, X):
    """Return states S (..., H) and inputs X as arrays whose leading axes can be broadcast.

    Raise ValueError for other shapes.
    """
    S = _checks.array("S", S, np.float64)
    X = _checks.array("X", X, np.intp if network.one_hot else np.float64)
    width = state_width(network)
    if S.ndim < 1 or S.shape[-1] != width:
        raise ValueError(f"S must have shape {network._state_letters('...')} = (..., {width}), got {S.shape}")
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


def with_errors_of_steps(network, X, D, weights, initial_state, lengths):
    """Return a float64 network with an error at every step, the arguments for it, and the steps (B,) of each sequence.

    The arguments are X, D, weights and initial_state. Padding gets weight 0. With output="last", all steps except the last
    get weight 0 too, and the network becomes one with output="sequence".
    """
    given = with_options(require_one_layer(network), dtype="float64")
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
    return with_options(given, output="sequence"), X, D, weights, initial_state, steps
