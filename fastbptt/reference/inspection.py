"""What diagnostics ask: a gradient taken apart by steps, its norm on the way back, the next state and its Jacobian."""

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
    """The source's sum taken apart: what each step i <= t contributes to the gradient of E_t = Σ_b e(Y_tb, D_tb).

        ∂E_t/∂W_s = Σ_{i<=t} ∂E_t/∂Y_t · ∂Y_t/∂S_i · ∂S_i/∂W_s,   the last factor with S_{i-1} held fixed,

    and so for W_x. t is a Python index into Y; if output="last", D (B, O) is that of step t.

    Returns
    -------
    dict of "W_s" (t+1, H, H) and "W_x" (t+1, H, I), the terms of each step; "W_y" (O, H), which has but one;
    "S" (t+1, B, H), ∂E_t/∂S_i for the state after X[i]. Summed over the batch, unweighted and not reduced: summed over
    i and t they are the gradient of reduction="sum".
    """
    if len(recurrences(parameters)[0]) > 1 or len(recurrences(parameters)) > 1:
        raise ValueError("gradient_terms are of a network of one recurrence")
    t = range(len(X))[t]
    run = _forward(effective(parameters, maps), X[:t + 1], initial_state, _units(activation, units))
    p, r, Z = run.p, run.recurrences[0], run.Z
    X, S, F = r.X, r.S, run.units.read(r.S)
    D = _in_time(D, output)[t if output == "sequence" else 0:][:1]
    _, _, _, delta_y = error(Z[t:], D, np.ones(D.shape[:2]), 1, loss=loss, output_activation=output_activation,
                             loss_parameter=_default(loss, loss_parameter))
    dF = np.zeros_like(S[1:])
    dF[t] = affine(delta_y[0], p["W_y"])
    delta, dS, _ = integrate_back(run.units, dF, r.R, run.units.g(r.S[0]), p["W_s"], r.resets)
    W_s, W_x = (np.stack([accumulate(delta[i], read[i]) for i in range(t + 1)]) for read in (F, X))
    return pulled_back({"W_s": W_s, "W_x": W_x, "W_y": accumulate(delta_y, F[t + 1:]), "S": dS}, parameters, maps)


def gradient_flow(parameters: Parameters, X: np.ndarray, D: ArrayLike, errors: Sequence[int] | None = None, *,
                  weights: ArrayLike | None = None, initial_state: ArrayLike | None = None,
                  activation: Activation = "tanh", output_activation: OutputActivation = "identity",
                  loss: LossName = "squared_error", loss_parameter: Any = None,
                  **units: Any) -> tuple[np.ndarray, np.ndarray]:
    """How large the gradient of each error is at each state on its way: ‖∂E_t/∂S_i‖ of E_t = Σ_b m_tb e(Y_tb, D_tb).

    Parameters
    ----------
    errors : range of steps t; all without it

    Returns
    -------
    norms (len(errors), T) : Euclidean over sequences and units, of the state S_i after X[i]; 0 where i > t
    whole (T,) : ‖∂E/∂S_i‖, E = Σ_t E_t, not divided
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
    """‖∂E/∂S‖ of every step."""
    _, dS, _ = integrate_back(r.units, dF, r.R, r.units.g(r.S[0]), r.p["W_s"], r.resets)
    return np.array([_norm(of_step) for of_step in dS], dS.real.dtype)


def _norm(A):
    """The Euclidean norm, by way of A divided by its largest entry, so that nothing overflows or underflows."""
    largest = np.abs(A).max(initial=0)
    return largest * np.linalg.norm(A / largest) if 0 < largest < np.inf else largest


def next_state(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh",
               leak: float = 1.0, leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """S_t (..., H) of S = S_{t-1} (..., H) and X (..., I), or ids; the leading axes are broadcast."""
    units = Units(activation, leak, leak_form)
    X = np.asarray(X)
    inputs = pack(parameters["W_x"])[X] if X.dtype.kind in "iu" else affine(X, pack(parameters["W_x"]))
    A = affine(units.read(S), pack(parameters["W_s"])) + inputs + parameters.get("b_s", 0)
    if units.is_plain:
        return units.g(A)
    return (1 - leak) * S + leak * (units.g(A) if leak_form == "rate" else A)


def jacobian(parameters: Parameters, S: np.ndarray, X: ArrayLike, *, activation: Activation = "tanh", leak: float = 1.0,
             leak_form: LeakForm = "rate", **_: Any) -> np.ndarray:
    """∂S_t/∂S_{t-1} (..., H, H) at S = S_{t-1} and X, as of `next_state`; row h is of unit h.

    diag(g1'(R_t)) W_s of plain units, R_t = S_t; (1 - leak) 1 + leak diag(g1'(R_t)) W_s, or in the current form
    (1 - leak) 1 + leak W_s diag(g1'(R_{t-1})).
    """
    units = Units(activation, leak, leak_form)
    if leak_form == "current":
        slopes = units.dg(units.g(np.asarray(S)))[..., None, :]
    else:
        slopes = units.dg(next_state(parameters, S, X, activation=activation))[..., None]
    step = slopes * parameters["W_s"]
    return step if units.is_plain else (1 - leak) * np.eye(step.shape[-1], dtype=step.dtype) + leak * step
