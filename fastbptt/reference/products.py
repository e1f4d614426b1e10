"""Operations between the recurrence and the weights: products, sums, and masks of steps.

Each is one line of mathematics and has the name of the core's kernel. P is a packed, that is a transposed, matrix:
affine(A, pack(W), b) = A Wᵀ + b. Add the NumPy line of a new kernel here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .elementary import _sizes
from .tables import NOISE

if TYPE_CHECKING:
    from .._types import Output


def gather(X: np.ndarray, dtype: Any, I: int) -> np.ndarray:  # noqa: E741
    """Return X (T, B, I) in `dtype`. Token ids (T, B) become one-hot vectors."""
    return np.eye(I, dtype=dtype)[X] if X.ndim == 2 else np.asarray(X, dtype=dtype)


def pack(W: np.ndarray) -> np.ndarray:
    """Return Wᵀ."""
    return W.T


def affine(A: np.ndarray, P: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Return A P, or A P + b."""
    return A @ P if b is None else A @ P + b


def only(there: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Return A where `there` is True, else 0. Other entries of A are not read and may be NaN."""
    return np.where(there if A.ndim == there.ndim else there[..., None], A, 0)


def settled(total: np.ndarray, terms: Any) -> np.ndarray:
    """Return `total` (..., n), with rows that are only rounding noise set to 0. NaN stays.

    `terms` (...) is the size of the terms that were added: a row is noise if its norm is at most NOISE ε terms.
    """
    noise = NOISE * np.finfo(total.dtype).eps * terms
    return only(~((_sizes(total) <= noise) & np.isfinite(noise)), total)


def product_settled(delta: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return δ W, `settled` with ‖δ‖ ‖W‖ as the size of the terms."""
    return settled(delta @ W, _sizes(delta) * _sizes(W.reshape(-1)))


def restart(S: np.ndarray, resets: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return the states that steps start from: S, or `initial` where a step is reset."""
    return np.where(resets[..., None], initial, S)


def turn(A: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return A (T, B, ...) with the steps of each sequence in reverse order. Padding stays in place."""
    t = np.arange(len(A))[:, None]
    return A[np.where(t < lengths, lengths - 1 - t, t), np.arange(A.shape[1])]


def read(S: np.ndarray, lengths: np.ndarray, output: Output) -> np.ndarray:
    """Return the states that outputs are computed from.

    They are S[1:], or, with output="last", the state (1, B, H) after the last step of each sequence.
    """
    return S[1:] if output == "sequence" else S[None, lengths, np.arange(len(lengths))]


def read_back(dR: np.ndarray, lengths: np.ndarray, output: Output, T: int) -> np.ndarray:
    """Return dS (T, B, H) from the gradient dR with respect to the result of `read`."""
    if output == "sequence":
        return dR
    dS = np.zeros((T + 1, *dR.shape[1:]), dR.dtype)
    dS[lengths, np.arange(len(lengths))] = dR[0]
    return dS[1:]


def accumulate(delta: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Return Σ_t delta[t]ᵀ A[t]."""
    return delta.reshape(-1, delta.shape[-1]).T @ A.reshape(-1, A.shape[-1])


def column_sums(delta: np.ndarray) -> np.ndarray:
    """Return the sum over all axes except the last."""
    return delta.reshape(-1, delta.shape[-1]).sum(axis=0)


def scatter(A: np.ndarray) -> np.ndarray:
    """Return a copy of A. The core's kernel also restores the order of packed rows."""
    return np.array(A)


def windows(T: int, tbptt: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """Return the windows (begin, since, end) of truncated BPTT; without it, one window.

    The errors of steps since ... end - 1 go back to step begin.
    """
    k1, k2 = (T + 1, T + 1) if tbptt is None else tbptt
    ends = [*range(k1, T, k1), T]
    return [(max(0, end - k2), since, end) for since, end in zip([0, *ends], ends)]
