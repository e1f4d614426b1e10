"""The operations between the recurrence and the weights: products, sums, and which steps there are.

One line of mathematics each, with the name of the core's kernel. P is a packed matrix, that is a transposed one:
affine(A, pack(W), b) = A Wᵀ + b.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .elementary import _sizes
from .tables import NOISE

if TYPE_CHECKING:
    from .._types import Output


def gather(X: np.ndarray, dtype: Any, I: int) -> np.ndarray:  # noqa: E741
    """X (T, B, I); ids (T, B) become the rows of the unit matrix."""
    return np.eye(I, dtype=dtype)[X] if X.ndim == 2 else np.asarray(X, dtype=dtype)


def pack(W: np.ndarray) -> np.ndarray:
    return W.T


def affine(A: np.ndarray, P: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    return A @ P if b is None else A @ P + b


def only(there: np.ndarray, A: np.ndarray) -> np.ndarray:
    """A, and 0 where nothing is there; what stands in that place is not read."""
    return np.where(there if A.ndim == there.ndim else there[..., None], A, 0)


def settled(total: np.ndarray, terms: Any) -> np.ndarray:
    """`total` (..., n), a row of sums, and 0 where it is only rounding noise of terms of these sizes (...). NaN stays."""
    noise = NOISE * np.finfo(total.dtype).eps * terms
    return only(~((_sizes(total) <= noise) & np.isfinite(noise)), total)


def product_settled(delta: np.ndarray, W: np.ndarray) -> np.ndarray:
    """δ W, `settled` with ‖δ‖ ‖W‖ as the size of its terms."""
    return settled(delta @ W, _sizes(delta) * _sizes(W.reshape(-1)))


def restart(S: np.ndarray, resets: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """The states that steps begin with: S, and `initial` where a step is reset."""
    return np.where(resets[..., None], initial, S)


def turn(A: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """A (T, B, ...) with the steps of each sequence from its last to its first; what stands behind its end stays there."""
    t = np.arange(len(A))[:, None]
    return A[np.where(t < lengths, lengths - 1 - t, t), np.arange(A.shape[1])]


def read(S: np.ndarray, lengths: np.ndarray, output: Output) -> np.ndarray:
    """The states that outputs are made of: S[1:], or (1, B, H), the state after each sequence's last step."""
    return S[1:] if output == "sequence" else S[None, lengths, np.arange(len(lengths))]


def read_back(dR: np.ndarray, lengths: np.ndarray, output: Output, T: int) -> np.ndarray:
    """dS (T, B, H) of the dR that `read` gave the shape."""
    if output == "sequence":
        return dR
    dS = np.zeros((T + 1, *dR.shape[1:]), dR.dtype)
    dS[lengths, np.arange(len(lengths))] = dR[0]
    return dS[1:]


def accumulate(delta: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Σ_t delta[t]ᵀ A[t]."""
    return delta.reshape(-1, delta.shape[-1]).T @ A.reshape(-1, A.shape[-1])


def column_sums(delta: np.ndarray) -> np.ndarray:
    return delta.reshape(-1, delta.shape[-1]).sum(axis=0)


def scatter(A: np.ndarray) -> np.ndarray:
    return np.array(A)


def windows(T: int, tbptt: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """(begin, since, end) of truncated BPTT: the errors of steps since ... end - 1 go back as far as step begin."""
    k1, k2 = (T + 1, T + 1) if tbptt is None else tbptt
    ends = [*range(k1, T, k1), T]
    return [(max(0, end - k2), since, end) for since, end in zip([0, *ends], ends)]
