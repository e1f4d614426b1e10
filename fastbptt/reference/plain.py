"""The recurrence of plain units, forward and backward.

Leaky units have theirs in `units`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .elementary import _sizes
from .products import only, restart, settled, windows
from .tables import ACTIVATIONS

if TYPE_CHECKING:
    from .._types import Activation


def recur(activation: Activation, A: np.ndarray, S_0: np.ndarray, P: np.ndarray, alive: np.ndarray, resets: np.ndarray,
          initial: np.ndarray, past: Any = (), past_inputs: Any = (), inputs: np.ndarray | None = None) -> np.ndarray:
    """Return S (T+1, B, H) with S[t+1] = g1(A[t] + restart(S[t]) P).

    `alive` (T, B) marks the real steps; S[t+1] is 0 after padding. The first states of S[1:] are those of `past`. The arguments
    of g1 overwrite `inputs` (T, B, H) if it is given; those of `past` are `past_inputs`.
    """
    g, _ = ACTIVATIONS[activation]
    S = np.empty((len(A) + 1, *S_0.shape), A.dtype)
    S[0] = S_0
    for t in range(len(A)):
        if t < len(past):
            S[t + 1], whole = only(alive[t], past[t]), past_inputs[t] if inputs is not None else None
        else:
            whole = A[t] + restart(S[t], resets[t], initial[t]) @ P
            S[t + 1] = only(alive[t], g(whole))
        if inputs is not None:
            inputs[t] = only(alive[t], whole)
    return S


def recur_back(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
               resets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return delta (T, B, H) with delta[t] = (dS[t] + delta[t+1] P) ∘ g1'(R[t]), and delta[0] P (B, H).

    R is what g1' is a function of: the states, or the pre-activations if `tables.reads_input` says so. delta P of a step with a
    reset is 0.
    """
    _, dg = ACTIVATIONS[activation]
    delta = np.empty_like(dS)
    carried = np.zeros(dS.shape[1:], dS.dtype)
    for t in reversed(range(len(dS))):
        delta[t] = (dS[t] + carried) * dg(R[t])
        carried = only(~resets[t], delta[t] @ P)
    return delta, carried


def recur_back_settled(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
                       resets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the results of `recur_back` for Ω, and ∂E/∂S_t = dS[t] + delta[t+1] P (T, B, H), `settled` at each step.

    Rounding noise must not flow to earlier steps: there it would be as large as their own terms.
    """
    _, dg = ACTIVATIONS[activation]
    delta, whole = np.empty_like(dS), np.empty_like(dS)
    carried, terms, size = np.zeros(dS.shape[1:], dS.dtype), np.zeros(dS.shape[1]), _sizes(P.reshape(-1))
    for t in reversed(range(len(dS))):
        whole[t] = settled(dS[t] + carried, _sizes(dS[t]) + terms)
        delta[t] = whole[t] * dg(R[t])
        carried = only(~resets[t], delta[t] @ P)
        terms = np.where(resets[t], 0, _sizes(delta[t])) * size
    return delta, carried, whole


def recur_back_windows(activation: Activation, dS: np.ndarray, R: np.ndarray, P: np.ndarray, resets: np.ndarray,
                       tbptt: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums over windows of the results of `recur_back`.

    Each window takes back only its own errors. delta[0] P is the sum over the windows that reach the first step.
    """
    delta = np.full_like(dS, -0.0)  # x + -0.0 has the bits of x, also for x = -0.0
    dS_0 = np.zeros(dS.shape[1:], dS.dtype)
    for begin, since, end in windows(len(dS), tbptt):
        errors = dS[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        part, carried = recur_back(activation, errors, R[begin:end], P, resets[begin:end])
        delta[begin:end] += part
        if begin == 0:
            dS_0 += carried
    return delta, dS_0
