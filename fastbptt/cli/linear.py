"""The linear baseline of the command: an autoregression, fitted by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORDERS = (12, 24, 36, 60, 132)  # one, two, three and five years of months, and one solar cycle


@dataclass(frozen=True)
class Autoregression:
    """x[t] = intercept + Σ_k coefficients[k] x[t − horizon − k] for k < order, for each column of all series."""

    horizon: int
    order: int
    coefficients: np.ndarray  # (order + 1, C), the intercept last

    @classmethod
    def fit(cls, series, ends, horizon, order, targets=None):
        """Fit to the steps before `ends` (N,) of a list of series (T_n, C), on a common scale.

        `targets` are the series with NaN at values that are not to be fitted. By default all are.
        The solver is NumPy's lstsq (least squares): O(n order²) flops for n targets.
        """
        coefficients = []
        for column in range(series[0].shape[1]):
            lags, values = zip(*(_design(x[:end, column], horizon, order) for x, end in zip(series, ends)))
            lags, values = np.concatenate(lags), np.concatenate(values)
            if targets is not None:
                told = [_design(d[:end, column], horizon, order)[1] for d, end in zip(targets, ends)]
                told = np.isfinite(np.concatenate(told))
                lags, values = lags[told], values[told]
            coefficients.append(np.linalg.lstsq(lags, values, rcond=None)[0])
        return cls(horizon, order, np.stack(coefficients, axis=1))

    def forecasts(self, x):
        """Return an array (T, C). Entry t is the forecast for step t, made at step t − horizon, or NaN without enough steps."""
        made = np.full(x.shape, np.nan)
        for column in range(x.shape[1]):
            lags, _ = _design(x[:, column], self.horizon, self.order)
            made[len(made) - len(lags):, column] = lags @ self.coefficients[:, column]
        return made


def orders(ends, horizon):
    """Return the orders of ORDERS that can be fitted, or the longest possible order if none of them can.

    An order needs that all series have its lags before their first held-out target, at `ends`, and more targets to fit than
    coefficients.
    """
    longest = min(ends) - horizon + 1  # the forecast for step t = end reads x[end − horizon − order + 1]
    fitting = [order for order in range(1, min(longest, max(ORDERS)) + 1)
               if sum(max(end - horizon - order + 1, 0) for end in ends) > order + 1]
    return [order for order in ORDERS if order in fitting] or fitting[-1:]


def choose(series, ends, test_starts, horizon, targets=None):
    """Return the autoregression with the lowest mean squared error from `ends` to `test_starts`, and the orders tried.

    `targets` are as in `Autoregression.fit`.
    """
    tried = orders(ends, horizon)
    fitted = [Autoregression.fit(series, ends, horizon, order, targets) for order in tried]
    mean = np.mean if targets is None else np.nanmean

    def held_out_error(model):
        return mean(np.concatenate([((model.forecasts(x[:stop]) - d[:stop])[end:] ** 2).ravel()
                                    for x, d, end, stop in zip(series, targets or series, ends, test_starts)]))

    return min(fitted, key=held_out_error), tried


def _design(x, horizon, order):
    """Return lags (n, order + 1), with a one last, and targets (n,) of a column (T,)."""
    n = max(len(x) - horizon - order + 1, 0)
    if n == 0:
        return np.empty((0, order + 1)), np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(x, order)[:n, ::-1]
    return np.column_stack([windows, np.ones(n)]), x[horizon + order - 1:]
