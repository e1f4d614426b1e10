"""Linear paths of the forecaster: autoregressions and exponential smoothing, each a fixed linear filter of one series.

A path is fitted to series and then gives the forecasts of all steps 1 .. h at once. The forecasts depend only on the values
up to the origin. Series are arrays (T,) without NaN. An origin is a number of known steps. Rows are histories (n, P) of equal
length, the oldest value first.

Sources: ridge regression after Hoerl & Kennard 1970; direct and iterated forecasts after Marcellino, Stock & Watson 2006;
exponential smoothing in error-correction form with a damped trend after Gardner 1985 and Hyndman et al. 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BURN_IN = 2  # seasons (and at least 10 steps) that smoothing runs before its errors count
MOST_ORIGINS = 200  # for choosing the constants of smoothing
CHUNK = 4096  # rows at once, which bounds the memory


# ---- Differences


@dataclass(frozen=True)
class Differences:
    """The filter (1 − B)^d (1 − B^m)^D, with B the shift by one step. d and D are 0 or 1."""

    d: int = 0
    D: int = 0
    m: int = 1

    @property
    def span(self) -> int:
        """Number of first steps that the differences lose."""
        return self.d + self.D * self.m

    def __call__(self, x):
        """Return the differences of x (..., T) along its last axis."""
        w = x[..., self.m:] - x[..., :-self.m] if self.D else x
        return w[..., 1:] - w[..., :-1] if self.d else w

    def undo(self, made, rows):
        """Return forecasts of the levels (n, h) from forecasts of the differences (n, h) after the rows (n, P)."""
        if self.d:
            last = rows[:, -1] - (rows[:, -1 - self.m] if self.D else 0)
            made = np.cumsum(made, axis=1) + last[:, None]
        if not self.D:
            return made
        levels = np.empty_like(made)
        for k in range(made.shape[1]):
            levels[:, k] = made[:, k] + (rows[:, k - self.m] if k < self.m else levels[:, k - self.m])
        return levels


# ---- Autoregressions


def moments(series, order, horizon):
    """Return the Gram matrix of [lags, 1], its products with the next `horizon` values, and the number of rows.

    They are sums over all series (T_n,). Lags run from the newest to the oldest. Only origins whose `horizon` next values are
    known count.
    """
    G, C, n = np.zeros((order + 1, order + 1)), np.zeros((order + 1, horizon)), 0
    for w in series:
        count = len(w) - order - horizon + 1
        for begin in range(0, count, CHUNK):
            end = min(begin + CHUNK, count)
            A = np.ones((end - begin, order + 1))
            if order:
                A[:, :-1] = np.lib.stride_tricks.sliding_window_view(w, order)[begin:end, ::-1]
            B = np.lib.stride_tricks.sliding_window_view(w[order:], horizon)[begin:end]
            G += A.T @ A
            C += A.T @ B
        n += max(count, 0)
    return G, C, n


def solve(G, C, order, ridge):
    """Return the coefficients (order + 1, k) of the first `order` lags, the intercept last.

    The penalty of each lag is `ridge` times the mean square of the lags. 1e-10 of it is the least, so that the equations
    of a constant series can be solved.
    """
    keep = np.r_[:order, len(G) - 1]
    A = G[np.ix_(keep, keep)].copy()
    if order:
        size = np.trace(A[:order, :order]) / order
        A[np.arange(order), np.arange(order)] += (ridge + 1e-10) * size + 1e-300
    return np.linalg.solve(A, C[keep])


def iterate(rows, coefficients, horizon):
    """Return (n, horizon): a regression for one step (order + 1,), applied to its own forecasts after rows (n, P)."""
    p = len(coefficients) - 1
    row = np.empty((len(rows), p + horizon))
    row[:, :p] = rows[:, rows.shape[1] - p:]
    reverse = coefficients[:-1][::-1].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(horizon):
            row[:, p + k] = row[:, k:p + k] @ reverse + coefficients[-1]
    return row[:, p:]


def response(differences, coefficients, direct, horizon):
    """Return an autoregression as one matrix (P + 1, horizon) on levels, the oldest first and the intercept last.

    The forecasts are linear in the P = span + order last levels, so the answers to unit vectors determine them. Iterated
    forecasts of an unstable regression may become infinite; the caller drops them.
    """
    p = len(coefficients) - 1
    P = max(differences.span + p, 1)
    rows = np.concatenate([np.eye(P), np.zeros((1, P))])
    w = differences(rows)
    if direct:
        made = w[:, w.shape[1] - p:][:, ::-1] @ coefficients[:-1] + coefficients[-1]
    else:
        made = iterate(w, coefficients[:, 0], horizon)
    with np.errstate(over="ignore", invalid="ignore"):
        made = differences.undo(made, rows)
        made[:-1] -= made[-1]
    return made


@dataclass(frozen=True)
class Filter:
    """Forecasts that are linear in the last P levels: `matrix` (P + 1, h), the oldest level first, the intercept last."""

    matrix: np.ndarray

    @property
    def shortest(self) -> int:
        return len(self.matrix) - 1

    def forecasts(self, x, origins):
        """Return (n, h), the forecasts after `origins`, each at least `shortest`."""
        P = self.shortest
        rows = np.lib.stride_tricks.sliding_window_view(x, P)
        places = np.asarray(origins) - P
        return np.concatenate([rows[places[k:k + CHUNK]] @ self.matrix[:-1] + self.matrix[-1]
                               for k in range(0, len(places), CHUNK)])


def mixed(matrices, weights):
    """Return the Filter with the weighted mean of matrices of different P."""
    total = np.zeros((max(map(len, matrices)), matrices[0].shape[1]))
    for matrix, weight in zip(matrices, weights):
        total[len(total) - len(matrix):] += weight * matrix  # the newest levels and the intercept are last
    return Filter(total)


# ---- Exponential smoothing


def _grid(season):
    """Return the constants to try, (4, n): of level, trend, damping and season."""
    rows = []
    for level in (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0):
        for trend, damping in ((0.0, 0.0), (0.05, 0.9), (0.2, 0.9), (0.05, 0.98), (0.2, 0.98), (0.02, 1.0)):
            for seasonal in ((0.0, 0.05, 0.15, 0.4) if season > 1 else (0.0,)):
                rows.append((level, trend, damping, seasonal))
    return np.array(rows).T


@dataclass(frozen=True)
class Smoothing:
    """Additive Holt-Winters smoothing with a damped trend. The forecast is the mean over the n columns of `constants`.

    The rows of `constants` (4, n) are the constants of level, trend, damping and season.
    """

    season: int
    constants: np.ndarray
    horizon: int

    @property
    def shortest(self) -> int:
        return 2 * self.season + 2 if self.season > 1 else 3

    def each(self, x, origins):
        """Return the forecasts of each column after the rising `origins`, (N, n, horizon)."""
        level_rate, trend_rate, damping, season_rate = self.constants
        n, m, h = len(level_rate), self.season, self.horizon
        level = np.full(n, x[:max(m, 2)].mean())
        trend, s = np.zeros(n), np.zeros((m, n))
        if m > 1:
            slope = (x[m:2 * m].mean() - x[:m].mean()) / m
            s[:] = (x[:m] - x[:m].mean() - slope * (np.arange(m) - (m - 1) / 2))[:, None]
            trend = np.where(damping > 0, slope, 0.0)
            level = level - trend * (m + 1) / 2
        gain_trend, gain_season = level_rate * trend_rate, season_rate * (1 - level_rate)
        powers = np.cumsum(damping[:, None] ** np.arange(1, h + 1), axis=1)  # (n, h)
        made, ahead, place, values = np.empty((len(origins), n, h)), np.arange(h), 0, x.tolist()
        for t in range(int(origins[-1]) + 1):
            while place < len(origins) and origins[place] == t:
                made[place] = level[:, None] + powers * trend[:, None]
                if m > 1:
                    made[place] += s[(t + ahead) % m].T
                place += 1
            if place == len(origins):
                break
            trend = damping * trend
            level = level + trend
            e = values[t] - level
            if m > 1:
                row = s[t % m]
                e -= row
                row += gain_season * e
            level = level + level_rate * e
            trend = trend + gain_trend * e
        return made

    def forecasts(self, x, origins):
        """Return (N, horizon), the forecasts after the rising `origins`."""
        return self.each(x, origins).mean(axis=1)


def fit_smoothing(x, season, horizon, best=3):
    """Choose the `best` columns of constants by the squared errors of all steps from many origins within x (T,)."""
    last = len(x) - min(horizon, max(len(x) // 4, 1))
    steps = len(x) - last if horizon > len(x) - last else horizon
    first = min(max(BURN_IN * season, 10), len(x) // 2, last)
    origins = np.unique(np.linspace(first, last, MOST_ORIGINS).astype(int))
    constants = _grid(season)
    made = Smoothing(season, constants, steps).each(x, origins)
    errors = np.mean((made - x[origins[:, None] + np.arange(steps)][:, None]) ** 2, axis=(0, 2))
    return Smoothing(season, constants[:, np.argsort(errors, kind="stable")[:best]], horizon)
