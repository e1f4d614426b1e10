"""The forecaster's model on plain arrays: known inputs, linear paths, recurrent path, and intervals.

`Forecaster` adds tables, times and files. Series are arrays (T_n, K) of targets without NaN, known inputs arrays (T'_n, U) with
T'_n >= T_n. Origins are numbers of known steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import choice as _choice, remainder as _remainder
from .paths import Differences

KNOWN_RIDGE = 1e-3
KNOWN_CRITERION = 4.0  # log-likelihood that each known input must gain to be used, times two
SHARE = 0.8  # of a series before the validation part of the networks
# Factor on the intervals. Later errors exceed those of the validation, which has chosen the weights and lies closer to the fit.
# Without it the 80 % intervals hold 76 % of the values of the development half of bench/forecasts.py, with it 82 %.
WIDENING = 1.12


@dataclass(frozen=True)
class Settings:
    """What the user chose. `seasons` are whole numbers of steps, `cycles` further periods that only the networks read."""

    horizon: int
    seasons: tuple = ()
    cycles: tuple = ()
    members: int = 8
    hidden_size: int = 16
    cell: str = "plain"
    seed: int = 0


class Model:
    """A fitted model of N series with K targets.

    Attributes
    ----------
    settings : Settings
    effects : list of arrays (U, K), or None
        The linear effect of the known inputs on the levels.
    paths : list of lists (N, K) of LinearPath
    remainder : Remainder or None
        None if the networks did not lower the validation error.
    errors : list of arrays (n, h, K)
        Errors of forecasts in the validation, from which the intervals come, in units of `domains`.
    """

    def __init__(self, settings):
        self.settings = settings
        self.effects = self.paths = self.remainder = self.domains = self.errors = None

    def fit(self, series, known=None):
        """Fit to series, and choose everything on their own last parts. Finally all steps are used."""
        s, K = self.settings, series[0].shape[1]
        self.effects = None if known is None else [_effects(x, u[:len(x)], s.seasons) for x, u in zip(series, known)]
        clean = self._clean(series, known)
        self.chosen = [_choice.choose([x[:, k] for x in clean], s.horizon, s.seasons) for k in range(K)]
        cut = [max(min(int(len(x) * SHARE), len(x) - s.horizon), 1) for x in clean]
        self.remainder = None
        found = 0, 0.0, 0.0
        if s.members:
            try:
                self._set_paths([x[:c] for x, c in zip(clean, cut)])
            except ValueError:  # a cut series is too short for some path
                self.paths = None
            if self.paths is not None:
                inputs, errors, firsts = self._for_networks(clean, known)
                trained = [max(c - s.horizon - first + 1, 0) for c, first in zip(cut, firsts)]
                judged = [max(c - first, 0) for c, first in zip(cut, firsts)]
                found = _remainder.choose(inputs, errors, trained, judged, s)
        self._set_paths(clean)
        if found[1] > 0:
            inputs, errors, _ = self._for_networks(clean, known)
            self.remainder = _remainder.fit(inputs, errors, found, s)
        self.errors = self._validation_errors(clean)
        return self

    def _clean(self, series, known):
        """Return the series without the effect of the known inputs."""
        if known is None:
            return [np.asarray(x, float) for x in series]
        return [x - u[:len(x)] @ b for x, u, b in zip(series, known, self.effects)]

    def _set_paths(self, clean):
        K = clean[0].shape[1]
        by_target = [self.chosen[k].fit([x[:, k] for x in clean]) for k in range(K)]
        self.paths = [[by_target[k][n] for k in range(K)] for n in range(len(clean))]
        self.domains = [[_domain(path, x[:, k]) for k, path in enumerate(paths)] for paths, x in zip(self.paths, clean)]

    def _first(self, n):
        return max(2, *(path.shortest for path in self.paths[n]))

    def _linear(self, n, x, origins):
        """Return the linear path's forecasts (n, h, K) of a series (T, K) after the rising origins."""
        return np.stack([path.forecasts(x[:, k], origins) for k, path in enumerate(self.paths[n])], axis=2)

    def _inputs(self, n, x, u, first, shift=0):
        """Return what the networks read from origin `first` on, and the linear forecasts (T − first + 1, h, K).

        `shift` is the number of steps from the first one of `fit` to the first one of x.
        """
        s = self.settings
        at = np.arange(first, len(x) + 1)
        linear = self._linear(n, x, at)
        columns = []
        for k, domain in enumerate(self.domains[n]):
            z = domain(x[:, k])
            columns.append(_remainder.features(z, domain(linear[:, :, k]), first, s.seasons))
        columns.append(_remainder.calendar(at + shift, (*s.seasons, *s.cycles)))
        if u is not None:
            columns.append(_remainder.ahead_of(u, at, s.horizon))
        return np.concatenate(columns, axis=1), linear

    def _for_networks(self, clean, known):
        """Return lists of inputs (n, I), of errors (n, h·K) of the linear paths, and the first origins."""
        s, inputs, errors, firsts = self.settings, [], [], []
        for n, x in enumerate(clean):
            first = self._first(n)
            z, linear = self._inputs(n, x, None if known is None else known[n], first)
            at, found = np.arange(first, len(x) + 1), []
            for k, domain in enumerate(self.domains[n]):
                found.append(_choice._truth(domain(x[:, k]), at, s.horizon) - domain(linear[:, :, k]))
            inputs.append(z)
            errors.append(np.stack(found, axis=2).reshape(len(at), -1))
            firsts.append(first)
        return inputs, errors, firsts

    @property
    def shortest(self):
        """The least number of steps that a forecast of any of the series needs."""
        return max(self._first(n) for n in range(len(self.paths)))

    def forecasts(self, n, x, u=None, origins=None, shift=0):
        """Return the forecasts (len(origins), h, K) of series n with the values x (T, K), after rising origins.

        By default the only origin is T. Nothing after an origin is read, except known inputs. `shift` is the number of steps
        from the first one of `fit` to the first one of x.
        """
        s = self.settings
        x = np.asarray(x, float)
        origins = np.array([len(x)] if origins is None else origins)
        if u is not None:
            effect = u @ self.effects[n]
            x = x - effect[:len(x)]
        if self.remainder is None:
            made = self._linear(n, x, origins)
        else:
            first = self._first(n)
            inputs, linear = self._inputs(n, x, u, first, shift)
            added = self.remainder.correction(n, inputs).reshape(linear.shape)[origins - first]
            made = linear[origins - first]
            for k, domain in enumerate(self.domains[n]):
                made[:, :, k] = domain.back(domain(made[:, :, k]) + added[:, :, k])
        if u is not None:
            rows = np.minimum(origins[:, None] + np.arange(s.horizon), len(effect) - 1)
            made = made + effect[rows]
        return made

    # ---- Intervals

    def _validation_errors(self, clean):
        """Return the errors of the linear paths in their validation, (n, h, K) for each series, in units of the domains."""
        found = []
        for n, x in enumerate(clean):
            parts = []
            for k, domain in enumerate(self.domains[n]):
                made, truth = self.chosen[k].validated[n]
                parts.append(domain(truth) - domain(made))
            found.append(np.stack(parts, axis=2))
        return found

    def widths(self, n, level):
        """Return (below, above), arrays (h, K): what is added to a forecast in units of the domain, for `level` in (0, 1).

        This is the conformal correction: a quantile of the errors at the origins of the validation. The errors of all steps are
        divided by a typical error of their step, so that each quantile comes from many errors. The level is raised because
        only few of the errors are independent.
        """
        e = self.errors[n]
        size = np.sqrt(np.nanmean(e**2, axis=0))
        # the typical error must not fall with the step: its estimate does by chance
        size = np.maximum.accumulate(np.where(np.isfinite(size), size, 0), axis=0)
        size = np.where(size > 0, size, 1e-12)
        relative = e / size
        independent = max(len(e) / 2, 1) if len(e) > 1 else 1
        share = min(level * (1 + 1 / independent), 0.999)
        q = np.array([np.nanquantile(np.abs(relative[:, :, k]), share) for k in range(e.shape[2])])
        width = WIDENING * q * size
        return -width, width


class _Domain:
    """The units of a network's target: levels, or logarithms if the linear path works mostly in them."""

    def __init__(self, log, least):
        self.log, self.least = log, least

    def __call__(self, x):
        return np.log(np.maximum(x, self.least)) if self.log else x

    def back(self, z):
        return np.exp(np.minimum(z, 700)) if self.log else z


def _domain(path, x):
    weight = sum(weight for weight, scale, _ in path.parts if scale.log)
    log = bool(weight > 0.5 and x.min() > 0)
    return _Domain(log, 1e-3 * float(x.min()) if log else 0.0)


def _effects(x, u, seasons):
    """Return the effect (U, K) of known inputs (T, U) on the levels x (T, K), by ridge regression of differences.

    Differences remove trend and season, so that an input does not stand in for them. An effect is zero unless the inputs
    together raise the likelihood enough.
    """
    T, U = u.shape
    fitting = [m for m in seasons if T >= 3 * m]
    d = Differences(1, 1 if fitting else 0, fitting[0] if fitting else 1)
    w, v = d(x.T).T, d(u.T).T
    n = len(w)
    size = np.mean(v**2, axis=0)
    if n <= 2 * U + 2 or not (size > 0).any():
        return np.zeros((U, x.shape[1]))
    A = v.T @ v + np.diag(KNOWN_RIDGE * n * np.where(size > 0, size, 1.0))
    b = np.linalg.solve(A, v.T @ w)
    before, after = np.sum(w**2, axis=0), np.sum((w - v @ b)**2, axis=0)
    gain = n * np.log(np.maximum(before, 1e-300) / np.maximum(after, 1e-300))
    return np.where(gain > KNOWN_CRITERION * U, b, 0.0)
