"""The recurrence of one layer and direction, forward and backward, for every cell.

`cells` has what a step computes. Add here what all cells share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cells import Through
from .elementary import _sizes
from .products import only, restart, settled, windows
from .units import Units


def recur(units: Units, A: np.ndarray, S_0: np.ndarray, through: Through, alive: np.ndarray, resets: np.ndarray,
          initial: np.ndarray, past: Any = (), past_rates: Any = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return S (T+1, B, states·H), and R (T, B, saves·H), what each step keeps for the backward pass.

    `alive` (T, B) marks the real steps; S[t+1] and R[t] are 0 after padding. The first states of S[1:] are those of `past`;
    their R is that of `past_rates`, or follows from the state. R of plain units is S[1:].
    """
    row, (T, B, _), H = units.row, A.shape, through.W_s.shape[1]
    S, R = np.empty((T + 1, *S_0.shape), A.dtype), np.empty((T, B, max(1, len(row.saves)) * H), A.dtype)
    S[0] = S_0
    for t in range(T):
        if t < len(past):
            new, saved = past[t], row.recall(units, past[t], past_rates[t] if len(past_rates) else None)
        else:
            new, saved = row.forward(units, A[t], restart(S[t], resets[t], initial[t]), through)
        S[t + 1], R[t] = only(alive[t], new), only(alive[t], saved)
    return S, R


def recur_back(units: Units, dF: np.ndarray, R: np.ndarray, before: np.ndarray, through: Through,
               resets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return delta (T, B, G·H), ∂E/∂S (T, B, states·H), and the gradient (B, states·H) that reaches the state before step 0.

    dF (T, B, H) is the gradient with respect to what W_y reads. R (T, B, saves·H) is that of `recur`. `before`
    (T, B, states·H) are the states from which each step starts. No gradient passes a step with a reset.
    """
    row, (T, B, H) = units.row, dF.shape
    delta, dS = np.empty((T, B, len(through.W_s)), dF.dtype), np.empty((T, B, units.width * H), dF.dtype)
    carried = np.zeros((B, units.width * H), dF.dtype)
    for t in reversed(range(T)):
        dS[t] = row.read_back(units, dF[t], R[t]) + carried
        delta[t] = row.to_delta(units, dS[t], R[t], before[t], through)
        carried = only(~resets[t], row.to_before(units, delta[t], dS[t], R[t], before[t], through))
    return delta, dS, carried


def recur_back_settled(units: Units, dS: np.ndarray, R: np.ndarray, W_s: np.ndarray,
                       resets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the results of `recur_back` of plain units for Ω, with ∂E/∂S_t = dS[t] + delta[t+1] W_s `settled` at each step.

    Rounding noise must not flow to earlier steps: there it would be as large as their own terms.
    """
    delta, whole = np.empty_like(dS), np.empty_like(dS)
    carried, terms, size = np.zeros(dS.shape[1:], dS.dtype), np.zeros(dS.shape[1]), _sizes(W_s.reshape(-1))
    for t in reversed(range(len(dS))):
        whole[t] = settled(dS[t] + carried, _sizes(dS[t]) + terms)
        delta[t] = whole[t] * units.dg(R[t])
        carried = only(~resets[t], delta[t] @ W_s)
        terms = np.where(resets[t], 0, _sizes(delta[t])) * size
    return delta, whole, carried


def recur_back_windows(units: Units, dF: np.ndarray, R: np.ndarray, before: np.ndarray, through: Through,
                       resets: np.ndarray, tbptt: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums over windows of the results of `recur_back`.

    Each window takes back only its own errors. The last result is the sum over the windows that reach the first step.
    """
    (T, B, H), states = dF.shape, units.width
    delta, dS = (np.full((T, B, width), -0.0, dF.dtype) for width in (len(through.W_s), states * H))  # x + -0.0 is x
    dS_0 = np.zeros((B, states * H), dF.dtype)
    for begin, since, end in windows(T, tbptt):
        errors = dF[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        part, of_states, carried = recur_back(units, errors, R[begin:end], before[begin:end], through, resets[begin:end])
        delta[begin:end] += part
        dS[begin:end] += of_states
        if begin == 0:
            dS_0 += carried
    return delta, dS, dS_0
