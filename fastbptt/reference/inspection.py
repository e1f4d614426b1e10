"""Operations for diagnostics: terms of a gradient by step, its norm at each state, the next state and its Jacobian.

Add an operation here if only `fastbptt.diagnostics` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .heads import _default, _in_time, _normal, error
from .maps import effective, Map, pulled_back
from .passes import _forward, recurrences
from .products import accumulate, affine, pack
from .units import _units, integrate_back, Units

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
    dict of arrays: "W_s" (t+1, H, H) and "W_x" (t+1, H, I), the terms of each step; "W_y" (O, H), which has a single term;
    "S" (t+1, B, H), ∂E_t/∂S_i for the state after X[i]. The terms are summed over the batch, without weights and reduction.
    Their sum over i and t is the gradient for reduction="sum".

    Raises
    ------
    ValueError : the network has several layers or directions.
    """
    if len(recurrences(parameters)[0]) > 1 or len(recurrences(parameters)) > 1:
        raise ValueError(f"parameters have the recurrences {recurrences(parameters)}; gradient_terms requires a single one")
    t = range(len(X))[t]
    run = _forward(effective(parameters, maps), X[:t + 1], initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    X, S, F = r.X, r.S, run.units.read(r.S)
    D = _in_time(D, output)[t if output == "sequence" else 0:][:1]
    _, _, _, delta_y = error(Z[t:], D, np.ones(D.shape[:2]), 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = np.zeros_like(S[1:])
    dF[t] = affine(delta_y[0], p["W_y"])
    delta, dS, _ = integrate_back(run.units, dF, r.R, run.units.of_slope(r.S[0]), p["W_s"], r.resets)
    W_s, W_x = (np.stack([accumulate(delta[i], read[i]) for i in range(t + 1)]) for read in (F, X))
    return pulled_back({"W_s": W_s, "W_x": W_x, "W_y": accumulate(delta_y, F[t + 1:]), "S": dS}, parameters, maps)


def gradient_flow(parameters: Parameters, X: np.ndarray, D: ArrayLike, errors: Sequence[int] | None = None, *,
                  weights: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                  activation: Activation = "tanh", output_activation: OutputActivation = "identity",
                  loss: LossName = "squared_error", loss_parameter: Any = None,
                  **units: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return ‖∂E_t/∂S_i‖ for each error E_t = Σ_b m_tb e(Y_tb, D_tb) and each state S_i.

    Parameters
    ----------
    errors : range of the steps t; by default all
    parameters, X, D, ... : as for `loss_and_gradients`

    Returns
    -------
    norms : array (len(errors), T), Euclidean norms over sequences and units, for the state S_i after X[i]; 0 if i > t
    whole : array (T,), ‖∂E/∂S_i‖ with E = Σ_t E_t, not divided by Σ m
    """
    run = _forward(parameters, X, initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    errors = range(len(X)) if errors is None else errors
    weights = np.ones(Z.shape[:2]) if weights is None else _normal(weights, Z.real.dtype)
    _, _, _, delta_y = error(Z, np.asarray(D), weights, 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = affine(delta_y, p["W_y"])
    norms = np.zeros((len(errors), len(X)), dF.real.dtype)
    for n, t in enumerate(errors):
        alone = np.zeros_like(dF)
        alone[t] = dF[t]
        norms[n] = _flow_back(r, alone)
    return norms, _flow_back(r, dF)


def _flow_back(r, dF):
    """Return ‖∂E/∂S‖ of every step."""
    _, dS, _ = integrate_back(r.units, dF, r.R, r.units.of_slope(r.S[0]), r.p["W_s"], r.resets)
    return np.array([_norm(of_step) for of_step in dS], dS.real.dtype)


def _norm(A):
    """Return the Euclidean norm. A is divided by its largest entry first, so that squares neither overflow nor underflow."""
    largest = np.abs(A).max(initial=0)
    return largest * np.linalg.norm(A / largest) if 0 < largest < np.inf else largest


def next_state(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh",
               leak: float = 1.0, leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """Return S_t (..., H) for S = S_{t-1} (..., H) and X (..., I), or token ids (...). Leading axes are broadcast."""
    units = Units(activation, leak, leak_form)
    A = _pre_activation(parameters, units, S, X)
    if units.is_plain:
        return units.g(A)
    return (1 - leak) * S + leak * (units.g(A) if units.is_rate_form else A)


def argument(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: float = 1.0,
             leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """Return the argument of g1 (..., H) in the step of `next_state`: A_t, or S_t in the current form."""
    units = Units(activation, leak, leak_form)
    A = _pre_activation(parameters, units, S, X)
    return A if units.is_rate_form else (1 - leak) * S + leak * A


def _pre_activation(parameters, units, S, X):
    """Return A_t (..., H)."""
    X = np.asarray(X)
    inputs = pack(parameters["W_x"])[X] if X.dtype.kind in "iu" else affine(X, pack(parameters["W_x"]))
    return affine(units.read(S), pack(parameters["W_s"])) + inputs + parameters.get("b_s", 0)


def jacobian(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: float = 1.0,
             leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """Return the Jacobian ∂S_t/∂S_{t-1} (..., H, H) of `next_state` at S = S_{t-1} and X. Row h belongs to unit h of S_t.

    The Jacobian is

    - diag(g1'(R_t)) W_s for plain units, with R_t = S_t,
    - (1 - leak) 1 + leak diag(g1'(R_t)) W_s in the rate form,
    - (1 - leak) 1 + leak W_s diag(g1'(R_{t-1})) in the current form.
    """
    units = Units(activation, leak, leak_form)
    if leak_form == "current":
        slopes = units.dg(units.of_slope(np.asarray(S)))[..., None, :]
    else:
        A = _pre_activation(parameters, units, S, X)
        slopes = units.dg(units.of_slope(A))[..., None]
    step = slopes * parameters["W_s"]
    return step if units.is_plain else (1 - leak) * np.eye(step.shape[-1], dtype=step.dtype) + leak * step
