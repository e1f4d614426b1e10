"""Random numbers that are a function of where they stand: the noise and the dropout masks of a call."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Draws(NamedTuple):
    """What the random numbers of a call are made of."""

    noise_key: int | None    # of 64 bits; None: no noise
    dropout_key: int | None
    call: int = 0
    first: int = 0           # the step that X[0] is
    sequences: np.ndarray | None = None  # (B,), which ones they are; 0, 1, ... by default


INPUT = 1023  # the kind of noise of inputs; that of states is the number of their recurrence, layer by layer


def philox(key: int, *counter: Any) -> np.ndarray:
    """Four words of 32 bits, uint64 (..., 4), of a key of 64 bits and a counter of four words, which are broadcast.

    Philox4x32-10: Salmon, Moraes, Dror and Shaw 2011, SC11.
    """
    low = np.uint64(0xFFFFFFFF)
    c = [np.asarray(word, np.uint64) for word in counter]
    for n in range(10):
        p, q = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        k = [np.uint64((part + n * bump) % 2**32) for part, bump in ((key % 2**32, 0x9E3779B9), (key >> 32, 0xBB67AE85))]
        c = [(q >> np.uint64(32)) ^ c[1] ^ k[0], q & low, (p >> np.uint64(32)) ^ c[3] ^ k[1], p & low]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def polar(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two standard normal numbers for each pair of words: sqrt(-2 ln u) (cos, sin)(2 π v), u = (a + 1) / 2^32, v = b / 2^32.

    Box and Muller 1958. +, -, *, / and the square root alone, which every processor rounds alike.
    """
    u = a.astype(float) + 1
    bits = u.view(np.int64)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52  # u = m 2^e with m from sqrt(1/2) to sqrt(2)
    m = (bits - (e << 52)).view(float)
    s = (m - 1) / (m + 1)  # ln m = 2 atanh s
    log_m = _horner(s * s, [2 / n for n in (17, 15, 13, 11, 9, 7, 5, 3)]) * (s * s) * s + s * 2
    r = np.sqrt(((32 - e) * 0.6931471805599453 - log_m) * 2)
    quadrant = ((b >> np.uint64(29)).astype(int) + 1) >> 1
    angle = (b.astype(float) - quadrant * 2.0**30) * (2 * np.pi / 2**32)  # within π / 4
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
    """Words (len(steps), B, n rounded up to a multiple of 4), four units a counter."""
    sequences = np.arange(B) if draws.sequences is None else draws.sequences
    words = philox(key, (kind << 22) + np.arange(-(-n // 4)), np.asarray(steps)[:, None, None], sequences[:, None], draws.call)
    return words.reshape(len(steps), B, 4 * words.shape[2])


def normals(draws: Draws, kind: int, T: int, B: int, n: int) -> np.ndarray:
    """Standard normal numbers (T, B, n), float64, of the noise of this kind."""
    words = _checks(draws, draws.noise_key, kind, draws.first + np.arange(T), B, n)
    numbers = np.empty(words.shape)
    for i in (0, 2):
        numbers[..., i::4], numbers[..., i + 1::4] = polar(words[..., i::4], words[..., i + 1::4])
    return numbers[..., :n]


def dropout_mask(draws: Draws, kind: int, B: int, n: int, p: float) -> np.ndarray:
    """M (B, n): 0 with probability p, else 1 / (1 - p)."""
    return np.where(_checks(draws, draws.dropout_key, kind, [0], B, n)[0, :, :n] < int((1 - p) * 2**32), 1 / (1 - p), 0.0)


def noise_scale(std: float, leak: float) -> Any:
    """What standard normal numbers are multiplied with."""
    return np.sqrt(2 / leak) * std
