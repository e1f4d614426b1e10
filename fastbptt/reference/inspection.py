"""Operations for diagnostics: terms of a gradient by step, its norm at each state, the next state, its gates and Jacobian.

Add an operation here if only `fastbptt.diagnostics` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import Through
from .heads import _default, _in_time, _normal, error
from .maps import effective, Map, pulled_back
from .passes import _forward, recurrences
from .products import accumulate, affine, pack
from .recurrence import recur_back
from .units import _units, Units

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Activation, LeakForm, LossName, Output, OutputActivation, Parameters


def gradient_terms(parameters: Parameters, X: np.ndarray, D: ArrayLike, t: int, initial_state: ArrayLike | None = None,
                   *, output: Output = "sequence", activation: Activation = "tanh",
                   output_activation: OutputActivation = "identity", loss: LossName = "squared_error",
                   loss_parameter: Any = None, maps: Mapping[str, Map] | None = None,
                   **units: Any) -> dict[str, np.ndarray]:
    """Return the terms that each step i <= t contributes to the gradient of E_t = Σ_b e(Y_tb, D_tb).

        ∂E_t/∂W_s = Σ_{i<=t} ∂E_t/∂Y_t · ∂Y_t/∂S_i · ∂S_i/∂W_s

    The last factor holds S_{i-1} fixed. W_x has the corresponding sum (Pascanu, Mikolov and Bengio 2013).

    Parameters
    ----------
    t : int, a Python index into Y
    D : (T, B, O); if output="last", the target (B, O) of step t
    parameters, X, initial_state, ... : as for `loss_and_gradients`

    Returns
    -------
    dict of arrays: "W_s" (t+1, G·H, H) and "W_x" (t+1, G·H, I), the terms of each step; "W_y" (O, H), which has a single term;
    "S" (t+1, B, states·H), ∂E_t/∂S_i for the state after X[i]. "M" (t+1, G·H, R) and "N" (t+1, H, R) replace "W_s" if they do
    in `parameters`: the terms of W_s times N and M. The terms are summed over the batch, without weights and
    reduction. Their sum over i and t is the gradient for reduction="sum".

    Raises
    ------
    ValueError : the network has several layers or directions.
    """
    if len(recurrences(parameters)[0]) > 1 or len(recurrences(parameters)) > 1:
        raise ValueError(f"parameters have the recurrences {recurrences(parameters)}; gradient_terms requires a single one")
    t = range(len(X))[t]
    run = _forward(effective(parameters, maps), X[:t + 1], initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    D = _in_time(D, output)[t if output == "sequence" else 0:][:1]
    _, _, _, delta_y = error(Z[t:], D, np.ones(D.shape[:2]), 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    first = affine(delta_y[0], p["W_y"])
    dF = np.zeros((len(r.R), *first.shape), first.dtype)
    dF[t] = first
    delta, dS, _ = recur_back(r.units, dF, r.R, r.before, r.through, r.resets)
    W_s, W_x = zip(*((r.units.row.to_weights(r.units, delta[i], r.R[i], r.before[i], r.through)[0],
                      accumulate(delta[i], r.X[i])) for i in range(t + 1)))
    W_y = accumulate(delta_y, r.units.read(r.S[t + 1:]))
    return pulled_back({"W_s": np.stack(W_s), "W_x": np.stack(W_x), "W_y": W_y, "S": dS}, parameters, maps)


def gradient_flow(parameters: Parameters, X: np.ndarray, D: ArrayLike, errors: Sequence[int] | None = None, *,
                  weights: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                  activation: Activation = "tanh", output_activation: OutputActivation = "identity",
                  loss: LossName = "squared_error", loss_parameter: Any = None, maps: Mapping[str, Map] | None = None,
                  **units: Any) -> tuple[np.ndarray, ...]:
    """Return ‖∂E_t/∂S_i‖ for each error E_t = Σ_b m_tb e(Y_tb, D_tb) and each state S_i.

    Parameters
    ----------
    errors : range of the steps t; by default all
    parameters, X, D, ... : as for `loss_and_gradients`

    Returns
    -------
    norms : array (len(errors), T), Euclidean norms over sequences and units, for the state S_i after X[i]; 0 if i > t
    whole : array (T,), ‖∂E/∂S_i‖ with E = Σ_t E_t, not divided by Σ m

    For the LSTM, both are of h, and the norms and `whole` of c follow. ∂E_t/∂c_i holds h_i fixed, so it is 0 at i = t.
    """
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    errors = range(len(X)) if errors is None else errors
    weights = np.ones(Z.shape[:2]) if weights is None else _normal(weights, Z.real.dtype)
    _, _, _, delta_y = error(Z, np.asarray(D), weights, 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = affine(delta_y, p["W_y"])
    norms = np.zeros((run.units.width, len(errors), len(X)), dF.real.dtype)
    for n, t in enumerate(errors):
        alone = np.zeros_like(dF)
        alone[t] = dF[t]
        norms[:, n] = _flow_back(r, alone)
    return tuple(both for part in zip(norms, _flow_back(r, dF)) for both in part)


def _flow_back(r, dF):
    """Return ‖∂E/∂S‖ of every step, (T,) for each part of a public state."""
    _, dS, _ = recur_back(r.units, dF, r.R, r.before, r.through, r.resets)
    return [np.array([_norm(of_step) for of_step in part], dS.real.dtype)
            for part in np.split(dS, r.units.width, axis=-1)]


def _norm(A):
    """Return the Euclidean norm. A is divided by its largest entry first, so that squares neither overflow nor underflow."""
    largest = np.abs(A).max(initial=0)
    return largest * np.linalg.norm(A / largest) if 0 < largest < np.inf else largest


def next_state(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh",
               leak: Any = 1.0, leak_form: LeakForm = "rate", cell: str = "plain", reset_after: bool = True,
               **_: Any) -> np.ndarray:
    """Return the public state S_t (..., states·H) for S = S_{t-1} (..., states·H) and X (..., I), or token ids (...).

    Leading axes are broadcast.
    """
    parameters = effective(parameters)
    units = _of_one_layer(parameters, Units(activation, leak, leak_form, cell=cell, reset_after=reset_after))
    if len(units.row.gates) > 1:
        return _step(units, parameters, S, X)[0]
    A = _pre_activation(parameters, units, S, X)
    if units.is_plain:
        return units.g(A)
    return units.keep * S + units.leak * (units.g(A) if leak_form == "rate" else A)


def argument(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: Any = 1.0,
             leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """Return the argument of g1 (..., H) in the step of `next_state` for one gate: A_t, or S_t in the current form."""
    parameters = effective(parameters)
    units = _of_one_layer(parameters, Units(activation, leak, leak_form))
    A = _pre_activation(parameters, units, S, X)
    return A if leak_form == "rate" else units.keep * S + units.leak * A


def jacobian(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: Any = 1.0,
             leak_form: LeakForm = "rate", cell: str = "plain", reset_after: bool = True, **_: Any) -> np.ndarray:
    """Return the Jacobian ∂S_t/∂S_{t-1} (..., states·H, states·H) of `next_state` at S = S_{t-1} and X.

    Row h belongs to number h of S_t. The Jacobian is

    - diag(g1'(R_t)) W_s for plain units, with R_t = S_t,
    - (1 - leak) 1 + leak diag(g1'(R_t)) W_s in the rate form,
    - (1 - leak) 1 + leak W_s diag(g1'(R_{t-1})) in the current form,
    - the backward step of `cells` for each row of the unit matrix, for gated cells.
    """
    parameters = effective(parameters)
    units = _of_one_layer(parameters, Units(activation, leak, leak_form, cell=cell, reset_after=reset_after))
    if len(units.row.gates) > 1:
        new, saved, S, through = _step(units, parameters, S, X)
        every, row = np.eye(new.shape[-1], dtype=new.dtype), units.row
        saved, S = saved[..., None, :], S[..., None, :]
        return row.to_before(units, row.to_delta(units, every, saved, S, through), every, saved, S, through)
    if leak_form == "current":
        slopes = units.dg(units.of_slope(np.asarray(S)))[..., None, :]
    else:
        slopes = units.dg(units.of_slope(_pre_activation(parameters, units, S, X)))[..., None]
    step = slopes * parameters["W_s"]
    if units.is_plain:
        return step
    keep, leak = (np.asarray(each)[..., None] for each in (units.keep, units.leak))  # of the row's unit
    return keep * np.eye(step.shape[-1], dtype=step.dtype) + leak * step


def kept(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: Any = 1.0,
         leak_form: LeakForm = "rate", cell: str = "plain", reset_after: bool = True, **_: Any) -> dict[str, np.ndarray]:
    """Return what the step from S = S_{t-1} with X keeps for the backward pass, by name: `saves` of the cell, each (..., H).

    It has the gates and candidates of gated cells: r, z, n and hn of a GRU, i, f, g, o, tanh_c and c_before of an LSTM. The
    arguments are those of `next_state`. It is empty for plain units.
    """
    parameters = effective(parameters)
    units = _of_one_layer(parameters, Units(activation, leak, leak_form, cell=cell, reset_after=reset_after))
    names = units.row.saves
    return dict(zip(names, np.split(_step(units, parameters, S, X)[1], len(names), axis=-1))) if names else {}


def _of_one_layer(parameters, units):
    """Return the units of a network's only recurrence."""
    return units.of_recurrence(0, parameters.get("leak_logit"), parameters["W_s"].real.dtype)


def _inputs(parameters, X):
    """Return X W_xᵀ (..., G·H)."""
    X = np.asarray(X)
    return pack(parameters["W_x"])[X] if X.dtype.kind in "iu" else affine(X, pack(parameters["W_x"]))


def _pre_activation(parameters, units, S, X):
    """Return A_t (..., H) of units of one gate."""
    return affine(units.read(S), pack(parameters["W_s"])) + _inputs(parameters, X) + parameters.get("b_s", 0)


def _step(units, parameters, S, X):
    """Return the state after a step, what the step keeps, the state before, and W_s with b_n. Leading axes are broadcast."""
    A, S, through = _inputs(parameters, X) + parameters.get("b_s", 0), np.asarray(S), Through(parameters["W_s"],
                                                                                             parameters.get("b_n"))
    axes = np.broadcast_shapes(A.shape[:-1], S.shape[:-1])
    A, S = (np.broadcast_to(array, (*axes, array.shape[-1])) for array in (A, S))
    return *units.row.forward(units, A, S, through), S, through
