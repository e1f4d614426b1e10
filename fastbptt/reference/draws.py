"""Counter-based random numbers: the noise and the dropout masks of a call.

Each number is a function of a key and of its position. Add a new use of random numbers as a stream of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Draws(NamedTuple):
    """Keys and counters that determine the random numbers of a call."""

    noise_key: int | None    # 64 bits; None: no noise
    dropout_key: int | None  # 64 bits; None: no dropout
    call: int = 0
    first: int = 0           # the index of the step X[0]
    sequences: np.ndarray | None = None  # (B,), the indices of the sequences; 0, 1, ... by default


INPUT = 1023  # the stream of input noise; the stream of state noise is the index of the recurrence, layer by layer


def philox(key: int, *counter: Any) -> np.ndarray:
    """Return four random 32-bit words as uint64 (..., 4), from a 64-bit key and a counter of four 32-bit words.

    The four words of the counter are broadcast. The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, SC11).
    """
    low = np.uint64(0xFFFFFFFF)
    c = [np.asarray(word, np.uint64) for word in counter]
    for n in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        k = [np.uint64((part + n * bump) % 2**32) for part, bump in ((key % 2**32, 0x9E3779B9), (key >> 32, 0xBB67AE85))]
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def polar(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two standard normal numbers for each pair of words: sqrt(-2 ln u) (cos, sin)(2 π v).

    Here u = (a + 1) / 2^32 and v = b / 2^32 (Box and Muller 1958). The function uses only +, -, *, / and the square root,
    because every processor rounds these in the same way.
    """
    u = a.astype(float) + 1
    bits = u.view(np.int64)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52  # u = m 2^e with sqrt(1/2) <= m < sqrt(2)
    m = (bits - (e << 52)).view(float)
    s = (m - 1) / (m + 1)  # ln m = 2 atanh s
    log_m = _horner(s * s, [2 / n for n in (17, 15, 13, 11, 9, 7, 5, 3)]) * (s * s) * s + s * 2
    r = np.sqrt(((32 - e) * 0.6931471805599453 - log_m) * 2)
    quadrant = ((b >> np.uint64(29)).astype(int) + 1) >> 1
    angle = (b.astype(float) - quadrant * 2.0**30) * (2 * np.pi / 2**32)  # at most π / 4 in magnitude
    factorial = np.cumprod(np.arange(1, 17, dtype=float))  # [n - 1] is n!
    q = angle * angle
    sine = _horner(q, [(-1) ** (n // 2) / factorial[n - 1] for n in (15, 13, 11, 9, 7, 5, 3)]) * q * angle + angle
    cosine = _horner(q, [(-1) ** (n // 2) / factorial[n - 1] for n in (16, 14, 12, 10, 8, 6, 4, 2)]) * q + 1
    c, d = np.where(quadrant & 1, sine, cosine), np.where(quadrant & 1, cosine, sine)
    return np.where((quadrant + 1) & 2, -(r * c), r * c), np.where(quadrant & 2, -(r * d), r * d)


def _horner(x, coefficients):
    total = coefficients[0]
    for c in coefficients[1:]:
        total = total * x + c
    return total


def _checks(draws, key, kind, steps, B, n):
    """Return words (len(steps), B, n rounded up to a multiple of 4). Four units share one counter."""
    sequences = np.arange(B) if draws.sequences is None else draws.sequences
    words = philox(key, (kind << 22) + np.arange(-(-n // 4)), np.asarray(steps)[:, None, None], sequences[:, None], draws.call)
    return words.reshape(len(steps), B, 4 * words.shape[2])


def normals(draws: Draws, kind: int, T: int, B: int, n: int) -> np.ndarray:
    """Return standard normal numbers (T, B, n), float64, of the noise stream `kind`."""
    words = _checks(draws, draws.noise_key, kind, draws.first + np.arange(T), B, n)
    numbers = np.empty(words.shape)
    for i in (0, 2):
        numbers[..., i::4], numbers[..., i + 1::4] = polar(words[..., i::4], words[..., i + 1::4])
    return numbers[..., :n]


def dropout_mask(draws: Draws, kind: int, B: int, n: int, p: float) -> np.ndarray:
    """Return the mask M (B, n): 0 with probability p, else 1 / (1 - p)."""
    return np.where(_checks(draws, draws.dropout_key, kind, [0], B, n)[0, :, :n] < int((1 - p) * 2**32), 1 / (1 - p), 0.0)


def noise_scale(std: float, leak: float) -> Any:
    """Return the factor of standard normal numbers, sqrt(2 / leak) std."""
    return np.sqrt(2 / leak) * std
