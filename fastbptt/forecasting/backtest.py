"""Rolling forecasts over the last 20 % of each series, beside simple methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import frames as _frames
from .model import Model

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.8
ORDERS = 1, 2, 4, 8, 12, 24, 36, 60  # of the linear autoregression, and one more than the season


@dataclass
class Backtest:
    """Errors of rolling forecasts, in the units of the data.

    Attributes
    ----------
    table : DataFrame
        One row per series, target and method, with rmse and mase over all origins and steps. If there are several series, a
        row per target and method with the id "all" has their means: root mean square, and mean.
    steps : DataFrame
        The same for each step ahead, with a column step.
    coverage : dict
        The share of values inside the interval of each level.
    forecasts, truth : dict by (id, target)
        Arrays (origins, horizon): the forecaster's forecasts, and the values.
    origins : dict by id
        Arrays of times: the last known time of each forecast.

    Notes
    -----
    mase is the mean absolute error divided by that of the seasonal naive one season ahead, within the fitted part (Hyndman &
    Koehler 2006, Another look at measures of forecast accuracy).
    """

    table: pd.DataFrame
    steps: pd.DataFrame
    coverage: dict
    forecasts: dict
    truth: dict
    origins: dict
    horizon: int

    def describe(self) -> str:
        """Return the errors as a table, with one line per method, target and series."""
        lines = [f"Rolling forecasts over the last 20 % of each series, {self.horizon} steps ahead:",
                 self.table.to_string(index=False, float_format="{:.6g}".format)]
        for level, share in self.coverage.items():
            lines.append(f"The {level:g} % intervals hold {share:.1%} of the values.")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="{:.6g}".format)


def last_value(x, origins, horizon):
    """Return the forecasts (n, h) that repeat the value at each origin."""
    return np.repeat(x[origins - 1][:, None], horizon, axis=1)


def seasonal_naive(x, origins, horizon, season):
    """Return the forecasts (n, h) that repeat the last season before each origin."""
    return x[origins[:, None] - season + np.arange(horizon) % season]


class Autoregression:
    """A linear autoregression by least squares, applied to its own forecasts. The last fifth of the fit chooses its order."""

    def __init__(self, x, horizon, season):
        self.mean, self.scale = x.mean(), x.std() or 1.0
        z = (x - self.mean) / self.scale
        start = max(min(int(len(z) * SHARE), len(z) - horizon), 1)
        origins = np.unique(np.linspace(start, len(z) - horizon, 10).astype(int))
        truth = z[origins[:, None] + np.arange(horizon)]
        orders = [p for p in sorted({*ORDERS, season, season + 1}) if start - p > p + 1] or [1]
        errors = []
        for p in orders:
            self.coefficients = self._fit(z[:start], p)
            with np.errstate(over="ignore", invalid="ignore"):
                e = np.mean((self._steps(z, origins, horizon) - truth) ** 2)
            errors.append(e if np.isfinite(e) else np.inf)
        self.coefficients = self._fit(z, orders[int(np.argmin(errors))])

    @staticmethod
    def _fit(z, order):
        lags = np.lib.stride_tricks.sliding_window_view(z[:-1], order)
        return np.linalg.lstsq(np.column_stack([lags, np.ones(len(lags))]), z[order:], rcond=None)[0]

    def _steps(self, z, origins, horizon):
        p = len(self.coefficients) - 1
        rows = np.empty((len(origins), p + horizon))
        rows[:, :p] = z[origins[:, None] - p + np.arange(p)]
        for k in range(horizon):
            rows[:, p + k] = rows[:, k:p + k] @ self.coefficients[:-1] + self.coefficients[-1]
        return rows[:, p:]

    def forecasts(self, x, origins, horizon):
        """Return (n, h)."""
        return self._steps((x - self.mean) / self.scale, origins, horizon) * self.scale + self.mean


def run(forecaster, most):
    """Return the Backtest of a fitted Forecaster, with at most `most` origins per series."""
    pd, h = _frames.pandas(), forecaster.horizon
    series, settings, targets = forecaster._series, forecaster._model.settings, forecaster.targets_
    firsts = [min(int(len(x.values) * SHARE), len(x.values) - h) for x in series]
    short = [x for x, first in zip(series, firsts) if first < h + 8]
    if short:
        of = "" if short[0].id is None else f" of {short[0].id!r}"
        raise ValueError(f"backtest requires a first 80 % of at least {h + 8} steps for a horizon of {h}, got "
                         f"{len(short[0].values)} steps in all{of}")
    known = [x.known for x in series] if forecaster._columns[2] else None
    model = Model(settings).fit([x.values[:f] for x, f in zip(series, firsts)],
                                None if known is None else [u[:f + h] for u, f in zip(known, firsts)])
    season = settings.seasons[0] if settings.seasons else 1
    rows, steps, forecasts, truths, times = [], [], {}, {}, {}
    inside = {level: [] for level in forecaster.interval}
    for n, each in enumerate(series):
        x, first = each.values, firsts[n]
        at = np.unique(np.linspace(first, len(x) - h, most).astype(int))
        times[each.id] = each.axis.times(0, len(x))[at - 1]
        made = model.forecasts(n, x, None if known is None else known[n], at)
        m = season if season <= first // 2 else 1
        for k, target in enumerate(targets):
            y = x[:, k]
            truth = y[at[:, None] + np.arange(h)]
            naive = np.mean(np.abs(y[m:first] - y[:first - m])) or 1.0
            methods = {"Forecaster": made[:, :, k], "last value": last_value(y, at, h),
                       "seasonal naive": seasonal_naive(y, at, h, m),
                       "linear autoregression": Autoregression(y[:first], h, m).forecasts(y, at, h)}
            if m == 1:
                del methods["seasonal naive"]  # it is the last value
            for method, f in methods.items():
                e = f - truth
                key = {"id": each.id, "target": target, "method": method}
                rows.append(key | {"rmse": np.sqrt(np.mean(e**2)), "mase": np.mean(np.abs(e)) / naive})
                steps += [key | {"step": j + 1, "rmse": np.sqrt(np.mean(e[:, j]**2)), "mase": np.mean(np.abs(e[:, j])) / naive}
                          for j in range(h)]
            domain = model.domains[n][k]
            z = domain(made[:, :, k])
            for level in inside:
                below, above = model.widths(n, level / 100)
                inside[level].append((domain.back(z + below[:, k]) <= truth) & (truth <= domain.back(z + above[:, k])))
            forecasts[each.id, target], truths[each.id, target] = made[:, :, k], truth
    table, by_step = pd.DataFrame(rows), pd.DataFrame(steps)
    if len(series) > 1:
        table, by_step = _with_all(pd, table, ["target", "method"]), _with_all(pd, by_step, ["target", "method", "step"])
    else:
        table, by_step = table.drop(columns="id"), by_step.drop(columns="id")
    coverage = {level: float(np.mean(np.concatenate([part.ravel() for part in parts]))) for level, parts in inside.items()}
    return Backtest(table, by_step, coverage, forecasts, truths, times, h)


def _with_all(pd, table, keys):
    groups = table.groupby(keys, sort=False)
    pooled = groups.agg(rmse=("rmse", lambda e: np.sqrt(np.mean(e**2))), mase=("mase", "mean")).reset_index()
    return pd.concat([table, pooled.assign(id="all")[table.columns]], ignore_index=True)
