"""Units with a leak, noise or dropout: the recurrence `integrate`, forward and backward.

To add a form of unit, add a branch to these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .draws import Draws, dropout_mask, noise_scale, normals
from .products import only, restart, turn, windows
from .tables import ACTIVATIONS, reads_input


class Units(NamedTuple):
    """Activation g1, leak and its form, noise and dropout. Noise and dropout act only if `draws` is given."""

    activation: str
    leak: float = 1.0
    leak_form: str = "rate"
    noise_std: float = 0.0
    input_noise_std: float = 0.0
    recurrent_dropout: float = 0.0
    draws: Draws | None = None

    @property
    def g(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][0]

    @property
    def dg(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][1]

    @property
    def reads_input(self) -> bool:
        return reads_input(self.activation)

    @property
    def is_rate_form(self) -> bool:
        """Whether W_s reads the states. Else they are the argument of g1, and W_s reads the rates."""
        return self.leak_form == "rate"

    @property
    def is_plain(self) -> bool:
        return self.leak == 1 and self.leak_form == "rate" and not self.drops

    @property
    def drops(self) -> bool:
        return self.draws is not None and self.draws.dropout_key is not None and self.recurrent_dropout > 0

    def noisy(self, A: np.ndarray, std: float, kind: int, there: np.ndarray,
              lengths: np.ndarray | None = None) -> np.ndarray:
        """Return A (T, B, n) plus noise of the stream `kind` where `there` is True.

        `lengths` is given for a reverse recurrence, whose steps are in reverse order.
        """
        if self.draws is None or self.draws.noise_key is None or std == 0:
            return A
        noise = only(there, noise_scale(std, self.leak) * normals(self.draws, kind, *A.shape)).astype(A.real.dtype)
        return A + (noise if lengths is None else turn(noise, lengths))

    def mask(self, kind: int, A: np.ndarray) -> Any:
        """Return the dropout mask M (B, H) for pre-activations A (T, B, H), or 1 without dropout."""
        if not self.drops:
            return A.real.dtype.type(1)
        return dropout_mask(  # type: ignore[call-arg]
            self.draws, kind, *A.shape[1:], self.recurrent_dropout).astype(A.real.dtype)  # type: ignore[arg-type]

    def read(self, S: np.ndarray) -> np.ndarray:
        """Return what W_s, W_y and a layer above read: the states S, or the rates g1(S) in the current form."""
        return S if self.is_rate_form else self.g(S)

    def of_slope(self, A: np.ndarray) -> np.ndarray:
        """Return what g1' is a function of where the argument of g1 is A: the rates g1(A), or A if `reads_input`."""
        return A if self.reads_input else self.g(A)


def _units(activation, options):
    return Units(activation, **{name: options[name] for name in Units._fields[1:] if name in options})


def integrate(units: Units, A: np.ndarray, S_0: np.ndarray, P: np.ndarray, alive: np.ndarray, resets: np.ndarray,
              initial: np.ndarray, past: Any = (), past_rates: Any = (),
              mask: Any = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return S (T+1, B, H) and what g1' is a function of after each step, R (T, B, H): `recur` for leaky units.

    R are the rates, or the arguments of g1 if `units.reads_input`. The first states of S[1:] are those of `past`; the rate form
    takes their R from `past_rates`.
    """
    keep, form = 1 - units.leak, units.leak_form
    S, R = np.empty((len(A) + 1, *S_0.shape), A.dtype), np.empty_like(A)
    S[0] = S_0
    for t in range(len(A)):
        before = restart(S[t], resets[t], initial[t])
        if t < len(past):
            now, of_slope = past[t], past_rates[t] if form == "rate" else units.of_slope(past[t])
        elif form == "rate":
            whole = A[t] + (before * mask) @ P
            rate = units.g(whole)
            now, of_slope = keep * before + units.leak * rate, whole if units.reads_input else rate
        else:
            now = keep * before + units.leak * (A[t] + (units.g(before) * mask) @ P)
            of_slope = units.of_slope(now)
        S[t + 1], R[t] = only(alive[t], now), only(alive[t], of_slope)
    return S, R


def integrate_back(units: Units, dF: np.ndarray, R: np.ndarray, R_0: np.ndarray, P: np.ndarray, resets: np.ndarray,
                   mask: Any = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return delta (T, B, H), ∂E/∂S (T, B, H) and `to_the_step_before` of the first step (B, H): `recur_back` for leaky units.

    dF (T, B, H) is the gradient with respect to what W_y reads. R is that of `integrate`. R_0 (B, H) are the rates before the
    first step, or the states if `units.reads_input`; only the current form reads them.
    """
    delta, dS = np.empty_like(dF), np.empty_like(dF)
    carried = np.zeros(dF.shape[1:], dF.dtype)
    for t in reversed(range(len(dF))):
        if units.leak_form == "rate":
            dS[t] = dF[t] + carried
            delta[t] = units.leak * dS[t] * units.dg(R[t])
        else:
            dS[t] = dF[t] * units.dg(R[t]) + carried
            delta[t] = units.leak * dS[t]
        carried = only(~resets[t], to_the_step_before(units, delta[t], dS[t], R[t - 1] if t > 0 else R_0, P, mask))
    return delta, dS, carried


def to_the_step_before(units: Units, delta: np.ndarray, dS: np.ndarray, R: np.ndarray, P: np.ndarray,
                       mask: Any = 1) -> np.ndarray:
    """Return the term that a step adds to ∂E/∂S of the previous step, for which g1' is a function of R."""
    back = delta @ P * mask if units.leak_form == "rate" else delta @ P * mask * units.dg(R)
    return back if units.leak == 1 else back + (1 - units.leak) * dS


def integrate_back_windows(units: Units, dF: np.ndarray, R: np.ndarray, R_0: np.ndarray, P: np.ndarray,
                           resets: np.ndarray, tbptt: tuple[int, int] | None,
                           mask: Any = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums over windows of the results of `integrate_back`. Each window takes back only its own errors."""
    delta, dS, dS_0 = np.full_like(dF, -0.0), np.full_like(dF, -0.0), np.zeros(dF.shape[1:], dF.dtype)
    for begin, since, end in windows(len(dF), tbptt):
        errors = dF[begin:end].copy()
        errors[:max(0, since - begin)] = 0
        part, of_states, carried = integrate_back(units, errors, R[begin:end], R[begin - 1] if begin > 0 else R_0, P,
                                                  resets[begin:end], mask)
        delta[begin:end] += part
        dS[begin:end] += of_states
        if begin == 0:
            dS_0 += carried
    return delta, dS, dS_0
