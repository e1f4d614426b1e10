"""The linear path of each series: which autoregressions and smoothings are fitted, and with what weights they are averaged.

Every candidate is fitted on the steps before a few cuts and forecasts the steps after each cut, from origins that it has not
seen. The mean squared errors of these forecasts give the weights. Then the candidates are fitted again, on all steps.
Averages of several forecasts are rarely worse than the best one, which cannot be known (Bates & Granger 1969; Timmermann 2006).

The constants below were chosen by the development half of bench/forecasts.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import paths as _paths
from .paths import Differences, Filter, Smoothing

ORDERS = 0, 1, 2, 4, 8, 16, 36, 48  # and around multiples of the seasons
LARGEST_ORDER = 400
RIDGE = 3e-3
LONG = 3000  # steps from which one cut at 80 % serves; shorter series have three cuts from 60 % on
SHARED_MOMENTS = 1000  # steps from which all orders share the moments of the largest one
VALIDATION_ORIGINS = 40
WITHIN, BETWEEN = 16.0, 4.0  # powers of 1 / mean squared error: the weights within a group of candidates, and of groups
SMOOTHING_PRIOR = 4.0  # factor on the weight of smoothing, which has few constants and hence little luck in the validation
LEAST_WEIGHT = 2e-3
BLOWN_UP = 1e3  # a forecast this many standard deviations off is from an unstable autoregression


@dataclass(frozen=True)
class Spec:
    """A candidate: an autoregression on differences, or (differences None) smoothing with a season."""

    log: bool
    differences: Differences | None
    order: int = 0
    direct: bool = False
    ridge: float = 0.0
    season: int = 1
    pooled: bool = False

    @property
    def group(self):
        if self.differences is None:
            return self.log, "smoothing", self.season
        return self.log, self.differences, self.direct, self.pooled


def specs(length, horizon, seasons, log, pooled=False, rows=0):
    """Return the candidates for a series with `length` steps before the first cut; `rows` is the number for a pooled one."""
    seasons = [m for m in seasons if m > 1 and length >= 2 * m + 2]
    differences = [Differences(), Differences(1)]
    orders = set(ORDERS)
    for m in seasons:
        differences += [Differences(0, 1, m), Differences(1, 1, m)]
        orders |= {m - 1, m, m + 1, 2 * m, 2 * m + 1, 3 * m + 1}
    found = []
    for each in differences:
        for order in sorted(orders):
            most = min((length - each.span) / 2, rows / 3) if pooled else (length - each.span - horizon) / 3
            if order > min(most, LARGEST_ORDER):
                continue
            # Direct forecasts of first differences never paid.
            for direct in ((False, True) if order and not each.d else (False,)):
                found.append(Spec(log, each, order, direct, RIDGE if order else 0.0, pooled=pooled))
    if not pooled:
        found += [Spec(log, None, season=m) for m in (1, *seasons)]
    return found


class Fitter:
    """Fits candidates to some series (in units of their own mean and deviation), and keeps the moments that they share."""

    def __init__(self, series, horizon, largest):
        self.series, self.horizon, self.largest, self._moments = series, horizon, largest, {}

    def __call__(self, spec):
        """Return the matrix (P + 1, h) of an autoregression, or a Smoothing, or None if the series are too short."""
        if spec.differences is None:
            x, = self.series
            return _paths.fit_smoothing(x, spec.season, self.horizon)
        steps = self.horizon if spec.direct else 1
        shared = max(map(len, self.series)) > SHARED_MOMENTS
        key = spec.differences, spec.direct, None if shared else spec.order
        if key not in self._moments:
            parts = [spec.differences(x) for x in self.series]
            order = spec.order
            if shared:
                order = min(self.largest, max(len(w) - steps for w in parts) // 3)
            self._moments[key] = _paths.moments(parts, order, steps)
        G, C, n = self._moments[key]
        if n < 1 or spec.order >= len(G):
            return None
        b = _paths.solve(G, C, spec.order, spec.ridge)
        return _paths.response(spec.differences, b, spec.direct, self.horizon)


def cuts(length, horizon, seasons):
    """Return the cuts of a series for validation."""
    share, number = (0.6, 3) if length <= LONG else (0.8, 1)
    last = max(length - horizon, 1)
    first = max(int(length * share), min(length // 2, last))
    # leave two seasons before the first cut, if the series is long enough
    needed = max([2 * m + 4 + m // 2 for m in seasons if 1 < m < length / 3] + [0])
    if needed < last:
        first = max(first, needed)
    first = min(first, last)
    return np.unique(np.linspace(first, last, number + 1).astype(int))[:-1] if first < last else np.array([first])


def _origins(cut, k, length, horizon):
    end = cut[k + 1] - 1 if k + 1 < len(cut) else max(length - horizon, cut[k])
    return np.unique(np.linspace(cut[k], end, VALIDATION_ORIGINS // len(cut) + 1).astype(int))


@dataclass(frozen=True)
class Scale:
    """The units of a path: (x − mean) / deviation, of log x if `log`."""

    log: bool
    mean: float
    deviation: float

    @classmethod
    def of(cls, x, log):
        z = np.log(x) if log else x
        return cls(log, float(z.mean()), float(z.std()) or 1.0)

    def __call__(self, x):
        return ((np.log(x) if self.log else x) - self.mean) / self.deviation

    def back(self, z):
        z = z * self.deviation + self.mean
        return np.exp(np.minimum(z, 600)) if self.log else z


@dataclass(frozen=True)
class LinearPath:
    """The weighted mean of the chosen candidates of one series: [(weight, Scale, Filter or Smoothing)]."""

    parts: tuple

    @property
    def shortest(self) -> int:
        return max(part.shortest for _, _, part in self.parts)

    def forecasts(self, x, origins):
        """Return (n, h), the forecasts after the rising `origins`, in the units of x (T,)."""
        return sum(weight * scale.back(part.forecasts(scale(x), origins)) for weight, scale, part in self.parts)


def choose(series, horizon, seasons):
    """Weigh the candidates of each series by their errors in the validation, and return a Chosen.

    Parameters
    ----------
    series : list of arrays (T_n,)
    horizon : int
    seasons : tuple of int
    """
    logs = [(False, True) if x.min() > 0 and x.max() > x.min() else (False,) for x in series]
    at = [cuts(len(x), horizon, seasons) for x in series]
    rounds = max(map(len, at))
    pooled = len(series) > 1
    made = [{} for _ in series]
    for log in (False, True):
        members = [n for n in range(len(series)) if log in logs[n]]
        if not members:
            continue
        scales = {n: Scale.of(series[n], log) for n in members}
        scaled = {n: scales[n](series[n]) for n in members}
        own = {n: specs(at[n][0], horizon, seasons, log) for n in members}
        shared = []
        if pooled and len(members) > 1:
            lengths = [at[n][0] for n in members]
            shared = specs(min(lengths), horizon, seasons, log, True, sum(max(T - horizon, 0) for T in lengths))
        for k in range(rounds):
            together = Fitter([scaled[n][:at[n][min(k, len(at[n]) - 1)]] for n in members], horizon, LARGEST_ORDER)
            common = {spec: together(spec) for spec in shared}
            for n in members:
                if k >= len(at[n]):
                    continue
                cut, z = at[n][k], scaled[n]
                origins = _origins(at[n], k, len(z), horizon)
                alone = Fitter([z[:cut]], horizon, max([s.order for s in own[n]]))
                for spec in own[n] + shared:
                    part = common[spec] if spec.pooled else alone(spec)
                    if part is not None and not isinstance(part, Smoothing):
                        part = Filter(part) if np.isfinite(part).all() else None
                    if part is None or part.shortest > cut:
                        made[n].setdefault(spec, []).append(None)
                        continue
                    with np.errstate(over="ignore", invalid="ignore"):
                        made[n].setdefault(spec, []).append(scales[n].back(part.forecasts(z, origins)))
    weights, validated = [], []
    for n, x in enumerate(series):
        truth = np.concatenate([_truth(x, _origins(at[n], k, len(x), horizon), horizon) for k in range(len(at[n]))])
        found, mean = _weights(made[n], truth, x)
        weights.append(found)
        validated.append((mean, truth))
    return Chosen(horizon, weights, validated)


def _truth(x, origins, horizon):
    padded = np.concatenate([x, np.full(horizon, np.nan)])
    return padded[np.asarray(origins)[:, None] + np.arange(horizon)]


def _weights(made, truth, x):
    """Return {Spec: weight}, and the weighted mean of the forecasts at the validation's origins, (n, h)."""
    limit = BLOWN_UP * max(x.std(), 1e-300)
    forecasts = {spec: np.concatenate(parts) for spec, parts in made.items() if all(part is not None for part in parts)}
    errors = {}
    for spec, f in forecasts.items():
        if np.isfinite(f).all() and np.abs(f - x.mean()).max() <= limit:
            errors[spec] = max(float(np.nanmean((f - truth) ** 2)), 1e-300)
    if not errors:
        raise ValueError(f"the series has {len(x)} steps, too few for any forecast")
    floor = max(min(errors.values()), 1e-12 * max(float(x.var()), 1e-280))
    groups = {}
    for spec, e in errors.items():
        groups.setdefault(spec.group, []).append((spec, max(e, floor)))
    weights = {}
    for members in groups.values():
        best = min(e for _, e in members)
        inner = np.array([(best / e) ** WITHIN for _, e in members])
        outer = (floor / best) ** BETWEEN
        if members[0][0].differences is None:
            outer *= SMOOTHING_PRIOR
        for (spec, _), w in zip(members, outer * inner / inner.sum()):
            weights[spec] = w
    total = sum(weights.values())
    weights = {spec: w / total for spec, w in weights.items() if w / total >= LEAST_WEIGHT}
    total = sum(weights.values())
    weights = {spec: w / total for spec, w in weights.items()}
    mean = sum(w * forecasts[spec] for spec, w in weights.items())
    return weights, mean


@dataclass(frozen=True)
class Chosen:
    """The weights of the candidates of each series, and the validation's (forecasts, truth), (n, h) each. `fit` fits them."""

    horizon: int
    weights: list
    validated: list

    def fit(self, series):
        """Return a LinearPath for each of the series (those of `choose`, or their first steps)."""
        parts = [[] for _ in series]
        for log in (False, True):
            members = [n for n, weights in enumerate(self.weights) if any(spec.log == log for spec in weights)]
            scales = {n: Scale.of(series[n], log) for n in members}
            scaled = {n: scales[n](series[n]) for n in members}
            together, common = None, {}
            for n in members:
                alone = Fitter([scaled[n]], self.horizon, max(spec.order for spec in self.weights[n]))
                matrices, weights = [], []
                for spec, weight in self.weights[n].items():
                    if spec.log != log:
                        continue
                    if spec.pooled:
                        if together is None:
                            positive = [x for x in series if not log or x.min() > 0]
                            together = Fitter([Scale.of(x, log)(x) for x in positive], self.horizon, LARGEST_ORDER)
                        if spec not in common:
                            common[spec] = together(spec)
                        part = common[spec]
                    else:
                        part = alone(spec)
                    if isinstance(part, Smoothing):
                        parts[n].append((weight, scales[n], part))
                    elif part is not None and np.isfinite(part).all() and len(part) - 1 <= len(scaled[n]):
                        matrices.append(part)
                        weights.append(weight)
                if matrices:
                    total = sum(weights)
                    parts[n].append((total, scales[n], _paths.mixed(matrices, [w / total for w in weights])))
        found = []
        for n, each in enumerate(parts):
            if not each:
                raise ValueError(f"the series has {len(series[n])} steps, too few for any forecast")
            total = sum(weight for weight, _, _ in each)
            found.append(LinearPath(tuple((w / total, scale, part) for w, scale, part in each)))
        return found
