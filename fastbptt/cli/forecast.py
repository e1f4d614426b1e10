"""The forecaster of the command: training and tests without future values.

Each series is split by time. Its first 70 % are for training, also of mean and deviation. The next 10 % decide every choice:
the epoch, levels or changes, the autoregression's order. The last 20 % give the printed errors. The forecast for step
t + horizon is made at step t, by a network that has read the series from its start to t and no further.

Series are lists of arrays (T_n, C), whose first O columns are forecast. This module uses only `sequences.forecast_pairs`,
`sequences.SequenceScaler` and `RNNRegressor`; users can do the same in a few lines.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from .. import _files, _checks
from . import linear as _linear
from ..estimators import RNNRegressor
from ..forecasting.calendar import Calendar
from ..network import _KINDS
from ..sequences import SequenceScaler, forecast_pairs

# These settings were chosen by errors within the first 80 % of the monthly sunspots and of shorter series.
SEQUENCES = 80  # number of overlapping training sequences cut from a series, if it is long enough
UPDATES = 10  # least number of updates per epoch, if there are enough sequences
BATCH_SIZES = 8, 128
LEARNING_RATE = 5e-3  # at the start of the cosine
L2 = 3e-3
MAX_GRAD_NORM = 1.0
# An unbounded activation follows a series beyond its training range. The held-out error on levels, in standard deviations, is
# 0.55 for the sunspots (tanh 0.61) and 0.17 for the passengers (tanh 0.53); medians of 8 seeds.
ACTIVATION, INITIALIZER = "elu", ("identity", 0.95)
LARGEST_SHIFT = 1.0  # in standard deviations; a straight trend shifts the held-out part by two
FEWEST = 8  # least number of pairs of input and target to train on in a series
KEPT = 10_000  # number of last steps of each series in the model file, for later forecasts


def options_of(cell):
    """Return activation and initialiser for a cell. None leaves the choice to RNNRegressor."""
    activation, initializer = (ACTIVATION, INITIALIZER) if cell == "plain" else (None, None)
    return {"activation": activation, "initializer": initializer}


@dataclass(frozen=True)
class Split:
    """Split of a series of `length` steps: training before `train_end`, held out from there to `test_start`, then test."""

    length: int

    @property
    def train_end(self) -> int:
        return self.length * 7 // 10

    @property
    def test_start(self) -> int:
        return self.length * 8 // 10

    @property
    def longest_horizon(self) -> int:
        """The longest horizon that leaves enough pairs to train on."""
        return self.train_end - FEWEST

    @staticmethod
    def shortest(horizon: int) -> int:
        """Return the length that this horizon needs."""
        return -(-10 * (horizon + FEWEST) // 7)


@dataclass(frozen=True)
class Windows:
    """How training sequences are cut. The longest series has `longest` pairs, all series together have `total`.

    The first steps of a sequence, its warm-up, have no weight, because its state starts at zero and the series' state does not.
    """

    longest: int
    total: int

    @property
    def warm_up(self) -> int:
        return max(self.longest // 16, min(24, self.longest // 4))

    @property
    def length(self) -> int:
        return 2 * max(self.warm_up, 24)

    @property
    def stride(self) -> int:
        """Distance between the ends of consecutive sequences."""
        return min(max(self.total // SEQUENCES, 1), self.length - self.warm_up)

    def cut(self, X, D, told=None):
        """Return lists of inputs, targets and weights of the sequences of one series. The last sequence ends at its end.

        `told` (T,) is 0 at targets that were missing, if there are any.
        """
        length = min(self.length, len(X))
        weights = np.ones(length)
        weights[:min(self.warm_up, length // 4) if length < self.length else self.warm_up] = 0
        starts = range(len(X) - length, -1, -self.stride)
        return ([X[s:s + length] for s in starts], [D[s:s + length] for s in starts],
                [weights if told is None else weights * told[s:s + length] for s in starts])


class Forecaster:
    """A network with everything needed to forecast in the units of the data. `fastbptt train` makes and saves one.

    Parameters
    ----------
    targets, inputs : lists of str
        Names of the columns to forecast, and of the columns to read in addition.
    horizon : int
        Number of steps to forecast ahead.
    difference : int
        0: the network reads levels. Otherwise it reads changes over this many steps, x[t] − x[t − difference], at least the
        horizon.
    ids : list of str, or None if there is one series
    id_column : str or None
        Name of the column with the ids.
    calendar : Calendar or None
    reading : dict, optional
        Options of `forecasting.tables.read_table` with which the training table was read.

    Attributes
    ----------
    regressor : RNNRegressor
    mean, scale : arrays (N, C)
        Statistics of each series' training part, which scale the network's inputs and outputs.
    series : list of arrays (T_n, C)
        The last steps of the training series.
    ends : array (N,) of their last dates, or None
    """

    def __init__(self, targets, inputs=(), *, horizon, difference=0, ids=None, id_column=None, calendar=None, reading=None):
        self.targets, self.inputs = list(targets), list(inputs)
        self.horizon, self.difference = horizon, difference
        self.ids, self.id_column, self.calendar = None if ids is None else list(ids), id_column, calendar
        self.reading = dict(reading or {})
        self.regressor = self.mean = self.scale = self.ends = None
        self.series = []

    @property
    def network(self):
        """The RNN."""
        return self.regressor.network_

    def fit(self, series, dates=None, weights=None, **options):
        """Train on the first 80 % of each series (see the module). `options` are those of RNNRegressor.

        `weights`, a list of arrays (T_n, O), is 0 at targets that were missing and have been filled. A step has weight 0 if any
        of its targets was missing.
        """
        told = None if weights is None else [part.min(axis=1) for part in weights]
        self.series = [x[-max(KEPT, self.shortest):].copy() for x in series]
        self.ends = None if dates is None else np.array([part[-1] for part in dates])
        d, h, O = self.difference, self.horizon, len(self.targets)
        splits = [Split(len(x)) for x in series]
        scaler = SequenceScaler(per="series").fit([self._changes(x[:s.train_end]) for x, s in zip(series, splits)])
        self.mean, self.scale = scaler.mean_, scaler.scale_
        scaled = self.scaled(series)

        pairs = [forecast_pairs(z[:s.train_end - d], h) for z, s in zip(scaled, splits)]
        windows = Windows(max(len(X) for X, _ in pairs), sum(len(X) for X, _ in pairs))
        kept = [None] * len(series) if told is None else [part[d + h:] for part in told]
        X, D, weights = (sum(parts, []) for parts in zip(*(
            windows.cut(X, D[:, :O], known) for (X, D), known in zip(pairs, kept))))

        # Validate as in use: one run from the start of the series, with weight only on the held-out targets.
        held = [forecast_pairs(z[:s.test_start - d], h) for z, s in zip(scaled, splits)]
        judged = [(np.arange(len(X)) >= s.train_end - d - h).astype(float) for (X, _), s in zip(held, splits)]
        if told is not None:
            judged = [judge * known[:len(judge)] for judge, known in zip(judged, kept)]

        smallest, largest = BATCH_SIZES
        batch_size = min(max(len(X) // UPDATES, smallest), largest)
        chosen = options_of(options.get("cell", "plain")) | {
            "scale": None, "dtype": "float32", "l2": L2, "learning_rate_init": LEARNING_RATE, "learning_rate": "cosine",
            "max_grad_norm": MAX_GRAD_NORM, "batch_size": batch_size, "early_stopping": True,
            "n_iter_no_change": options["max_iter"]}
        self.regressor = RNNRegressor(horizon=h, **chosen | options)
        with warnings.catch_warnings():  # the command prints the network's errors next to those of simple forecasts
            warnings.filterwarnings("ignore", "fit ended no better than a constant")
            self.regressor.fit(X, D, sample_weight=weights,
                               validation=([X for X, _ in held], [D[:, :O] for _, D in held], judged))
        return self

    def scaled(self, series):
        """Return the training series as the network reads them."""
        return [(self._changes(x) - mean) / scale for x, mean, scale in zip(series, self.mean, self.scale)]

    def _changes(self, x):
        return x[self.difference:] - x[:-self.difference] if self.difference else x

    # ---- Forecasts

    def made(self, series):
        """Return an array (T_n, O) for each training series. Entry t is the forecast for step t, made at t − horizon, or NaN.

        All come from one run through the series, in the same way as for the held-out and the test errors.
        """
        d, h, O = self.difference, self.horizon, len(self.targets)
        outputs = self.regressor.predict([z[:-h] for z in self.scaled(series)])
        found = []
        for x, Y, mean, scale in zip(series, outputs, self.mean, self.scale):
            made = np.full((len(x), O), np.nan)
            made[d + h:] = Y * scale[:O] + mean[:O]
            made[d:] += x[:-d, :O] if d else 0
            found.append(made)
        return found

    def forecast(self, series=None, steps=None, ids=None):
        """Forecast beyond the end of series, in their own units.

        Parameters
        ----------
        series : array (T, C), or list of arrays (T_n, C), of targets and inputs
            By default the training series.
        steps : int, optional
            Number of steps, by default the horizon. Later forecasts use earlier ones as inputs. They need a network without
            `inputs`.
        ids : list of str, optional
            Ids of the series. A series with an unknown id is scaled by its own mean and deviation.

        Returns
        -------
        array (steps, O), or a list of them if there are several series

        Raises
        ------
        TypeError, ValueError
            If a series is too short, has other columns, or contains NaN or infinity.
        """
        steps = self.horizon if steps is None else _checks.size("steps", steps)
        if self.inputs and steps > self.horizon:
            raise ValueError(f"steps must be at most {self.horizon}, the horizon, got {steps}: more steps need future "
                             f"values of {', '.join(self.inputs)}")
        if series is None:
            single, series, ids = self.ids is None, self.series, self.ids
        else:
            single = isinstance(series, np.ndarray) and series.ndim == 2
            series = [self._check(f"series[{n}]", x) for n, x in enumerate([series] if single else series)]
        made = [self._ahead(x, steps, None if ids is None else ids[n]) for n, x in enumerate(series)]
        return made[0] if single else made

    def _check(self, name, x):
        x, C, shortest = _checks.array(name, x, np.float64), len(self.targets) + len(self.inputs), self.shortest
        if x.ndim != 2 or x.shape[1] != C:
            columns = ", ".join(self.targets + self.inputs)
            raise ValueError(f"{name} must be (T, {C}), of {columns}; got shape {x.shape}")
        if len(x) < shortest:
            raise ValueError(f"{name} has {len(x)} steps; a forecast {self.horizon} steps ahead needs {shortest}")
        _checks.finite(name, x, "tc")
        return x

    @property
    def shortest(self) -> int:
        """The number of steps that a forecast of the whole horizon needs."""
        return self.difference + self.horizon

    def _ahead(self, x, steps, id):
        z, O, d = self._changes(x), len(self.targets), self.difference
        if self.ids is None or id in self.ids:
            n = 0 if self.ids is None else self.ids.index(id)
            mean, scale = self.mean[n], self.scale[n]
        else:
            mean, scale = z.mean(axis=0), z.std(axis=0)
            scale = np.where(scale > 0, scale, 1)
        z = (z - mean) / scale
        made = self.regressor.forecast(z[:, :O], steps, exogenous=z[:, O:] if self.inputs else None)
        made = made * scale[:O] + mean[:O]
        if d:
            made = np.concatenate([x[-d:, :O], made])
            for k in range(steps):
                made[d + k] += made[k]
            made = made[d:]
        return made

    # ---- Files

    def save(self, path):
        """Write the forecaster to one .npz file, whole or not at all, without pickle. `fastbptt.load` reads it."""
        header, arrays = self.regressor._to_file()
        header |= {"kind": "Forecaster", "forecaster": {
            "targets": self.targets, "inputs": self.inputs, "ids": self.ids, "id_column": self.id_column,
            "horizon": self.horizon, "difference": self.difference, "lengths": [len(x) for x in self.series],
            "calendar": None if self.calendar is None else self.calendar.header(),
            "ends": None if self.ends is None else [str(end) for end in self.ends], "reading": self.reading,
        }}
        _files.write(path, header, arrays | {"forecaster.mean": self.mean, "forecaster.scale": self.scale,
                                             "forecaster.series": np.concatenate(self.series)})

    @classmethod
    def _from_file(cls, header, arrays):
        own = header["forecaster"]
        ids = None if own["ids"] is None else _strings(own["ids"])
        forecaster = cls(_strings(own["targets"]), _strings(own["inputs"]),
                         horizon=_checks.size("horizon", own["horizon"]),
                         difference=_checks.size("difference", own["difference"], smallest=0),
                         ids=ids, id_column=None if ids is None else str(own["id_column"]),
                         calendar=None if own["calendar"] is None else Calendar.from_header(own["calendar"]),
                         reading=_reading(own.get("reading", {})))  # version 0.1 wrote none
        forecaster.regressor = RNNRegressor._from_file(header, arrays)
        forecaster.mean, forecaster.scale, series = (arrays[f"forecaster.{name}"].astype(np.float64)
                                                     for name in ("mean", "scale", "series"))
        lengths = [_checks.size("length", length) for length in own["lengths"]]
        forecaster.series = np.split(series, np.cumsum(lengths)[:-1])
        forecaster.ends = None if own["ends"] is None else _ends(forecaster.calendar, _strings(own["ends"]))
        forecaster._check_loaded(lengths, series)
        return forecaster

    def _check_loaded(self, lengths, series):
        """Raise ValueError if the parts of a file are inconsistent."""
        N, O, C = len(lengths), len(self.targets), len(self.targets) + len(self.inputs)
        shapes = {"mean": (N, C), "scale": (N, C), "series": (sum(lengths), C)}
        for name, array in (("mean", self.mean), ("scale", self.scale), ("series", series)):
            if array.shape != shapes[name] or not np.isfinite(array).all():
                raise ValueError(f"its {name} must be finite and of shape {shapes[name]}, got shape {array.shape}")
        rnn = self.network
        if (rnn.input_size, rnn.output_size) != (C, O) or self.regressor.horizon != self.horizon:
            raise ValueError(f"its network and horizon are not those of {O} targets and {C - O} inputs")
        if not (self.scale > 0).all() or min(lengths) < self.shortest or 0 < self.difference < self.horizon:
            raise ValueError("its scale, series or difference are not valid for a forecast")
        if len(self.ids or [""]) != N or len(set(self.ids or [""])) != N:
            raise ValueError(f"its ids are not those of {N} series")
        if (self.ends is None) != (self.calendar is None) or self.ends is not None and self.ends.shape != (N,):
            raise ValueError("its dates are not those of its series")


def _strings(values):
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"expected a list of strings, got {values!r:.40}")
    return values


def _ends(calendar, texts):
    """Return the last times of the series as they were written to a file."""
    if calendar is None or calendar.unit != "1":
        return np.array(texts, "datetime64")
    values = np.array([float(text) for text in texts])
    if not np.isfinite(values).all():
        raise ValueError("its times must be finite")
    return np.array([int(text) for text in texts]) if all(text.lstrip("-").isdigit() for text in texts) else values


def _reading(options):
    """Return the options of reading a table, from a file."""
    allowed = {"time": str, "decimal": str, "dayfirst": bool, "fill": str}
    if not isinstance(options, dict) or not options.keys() <= allowed.keys() or not all(
            value is None or isinstance(value, allowed[name]) for name, value in options.items()):
        raise ValueError(f"its options of reading a table are {options!r:.60}")
    return options


# ---- Before training


def refuse(series, names, horizon, name_of=lambda n: "", unit="steps", weights=None):
    """Raise ValueError for series that are too short for the horizon, constant, or without targets in one of the three parts.

    `names` are the names of the columns. `name_of(n)` names series n, or is "" if there is one. `weights` are as in
    `Forecaster.fit`.
    """
    short = [n for n, x in enumerate(series) if len(x) < Split.shortest(horizon)]
    if short:
        n = short[0]
        others = f" ({len(short)} series are too short)" if len(short) > 1 else ""
        longest = Split(min(len(x) for x in series)).longest_horizon
        hint = (f"--horizon must be from 1 to {longest} here" if longest > 0 else
                f"even a horizon of 1 needs {Split.shortest(1)}")
        raise ValueError(f"{name_of(n) or 'the series'} has {len(series[n])} {unit}, and a horizon of {horizon} "
                         f"needs at least {Split.shortest(horizon)}{others}; {hint}")
    if weights is not None:
        splits = [Split(len(x)) for x in series]
        for what, of in (("first 70 %, for training", lambda s: slice(s.train_end)),
                         ("next 10 %, for choices", lambda s: slice(s.train_end, s.test_start)),
                         ("last 20 %, for the test", lambda s: slice(s.test_start, None))):
            parts = [w[of(s)] for w, s in zip(weights, splits)]
            empty = np.flatnonzero(sum(part.sum(axis=0) for part in parts) == 0)
            if len(empty) or not any(part.min(axis=1).any() for part in parts):
                name = names[empty[0]] if len(empty) else "the targets together"
                raise ValueError(f"{name} has no value in the {what}")
    for n, x in enumerate(series):
        part = x[:Split(len(x)).train_end]
        constant = np.flatnonzero((part == part[0]).all(axis=0))
        if len(constant):
            place = f" of {name_of(n)}" if name_of(n) else ""
            raise ValueError(f"column {names[constant[0]]!r}{place} is {part[0, constant[0]]:g} in all of the first "
                             "70 % of its rows, the training part; leave the column out")
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(x.std(axis=0)).all():
                place = f" of {name_of(n)}" if name_of(n) else ""
                raise ValueError(f"the numbers{place} are too large: their standard deviation is not finite")
            if not (part.std(axis=0) > 0).all():
                place = f" of {name_of(n)}" if name_of(n) else ""
                raise ValueError(f"the numbers{place} are too small: their standard deviation is 0 within rounding")


def differences(series, outputs, horizon):
    """Return the values of `difference` to try: 0 for levels, and the horizon for changes over it.

    Changes need series that are long enough. If the level has shifted by more than a deviation, levels are not tried: the
    network would have to forecast values that it has never seen, and the held-out part is often too short to show this.
    """
    pairs = [Split(len(x)).train_end - 2 * horizon for x in series]
    if min(pairs) < 2 or max(pairs) < FEWEST:
        return (0,)
    return (horizon,) if shift([x[:, :outputs] for x in series]) > LARGEST_SHIFT else (0, horizon)


def shift(series):
    """Return the distance of the held-out means from the training means, in the training parts' standard deviations."""
    squares = []
    for x in series:
        split = Split(len(x))
        part = x[:split.train_end]
        held = x[split.train_end:split.test_start]
        squares.append(np.square((held.mean(axis=0) - part.mean(axis=0)) / part.std(axis=0)))
    return float(np.sqrt(np.mean(squares)))


# ---- Figures


@dataclass(frozen=True)
class Errors:
    """Root mean squared errors on one part of all series: of each target (O,), and of all in standard deviations."""

    by_target: np.ndarray
    all: float


def errors(made, series, part, weights=None):
    """Return the Errors of forecasts (T_n, O) in the `part` "held out" or "test". Targets with weight 0 do not count."""
    O = made[0].shape[1]
    raw, standard = [], []
    for n, (Y, x) in enumerate(zip(made, series)):
        if weights is not None:
            Y = np.where(weights[n] > 0, Y, np.nan)
        split = Split(len(x))
        months = slice(split.train_end, split.test_start) if part == "held out" else slice(split.test_start, None)
        raw.append((Y - x[:, :O])[months])
        standard.append(raw[-1] / x[:split.train_end, :O].std(axis=0))
    mean = np.mean if weights is None else np.nanmean
    return Errors(np.sqrt(mean(np.concatenate(raw) ** 2, axis=0)), float(np.sqrt(mean(np.concatenate(standard) ** 2))))


def held_out_error(forecaster, series, weights=None):
    """Return the error of all targets in the held-out parts, in standard deviations. It decides between forecasters."""
    return errors(forecaster.made(series), series, "held out", weights).all


def repeated(series, outputs, horizon):
    """Return the forecasts that repeat the last value, in the form of `Forecaster.made`."""
    return [np.concatenate([np.full((horizon, outputs), np.nan), x[:-horizon, :outputs]]) for x in series]


def autoregression(series, outputs, horizon, weights=None):
    """Return the forecasts of the linear autoregression chosen on the held-out part, its order, and the orders tried.

    Targets with weight 0 are not fitted.
    """
    splits = [Split(len(x)) for x in series]
    moments = [(x[:s.train_end, :outputs].mean(axis=0), x[:s.train_end, :outputs].std(axis=0))
               for x, s in zip(series, splits)]
    scaled = [(x[:, :outputs] - mean) / scale for x, (mean, scale) in zip(series, moments)]
    targets = None if weights is None else [np.where(w > 0, z, np.nan) for z, w in zip(scaled, weights)]
    model, tried = _linear.choose(scaled, [s.train_end for s in splits], [s.test_start for s in splits], horizon, targets)
    return [model.forecasts(z) * scale + mean for z, (mean, scale) in zip(scaled, moments)], model.order, tried


def pairs(forecaster, series, steps):
    """Return inputs and targets (at most `steps`, 1, ...) of the network, from the start of the first series."""
    X, D = forecast_pairs(forecaster.scaled(series[:1])[0], forecaster.horizon)
    return X[:steps, None], D[:steps, None, :len(forecaster.targets)]


def reach(forecaster, series, *, steps=241, samples=48):
    """Return how strongly the error at step t depends on the state k steps back: ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖, (steps,).

    It is the mean over at most `samples` targets spread over the test parts. The ratio is independent of an error's size.
    """
    rnn, d, h, O = forecaster.network, forecaster.difference, forecaster.horizon, len(forecaster.targets)
    scaled = forecaster.scaled(series)
    steps = min(steps, max(Split(len(x)).test_start - d - h for x in series))
    targets = [(n, t) for n, x in enumerate(series)
               for t in range(max(Split(len(x)).test_start - d - h, steps - 1), len(x) - d - h)]
    chosen = [targets[k] for k in np.unique(np.linspace(0, len(targets) - 1, samples).astype(int))]
    states = {n: rnn.forward(scaled[n][:, None], return_states=True)[2].S[:, 0] for n, _ in chosen}
    X, D, S = [], [], []
    for n, t in chosen:
        z = scaled[n]
        first = t - steps + 1
        X.append(z[first:t + 1])
        D.append(z[first + h:t + 1 + h, :O])
        S.append(states[n][first])
    X, D = (np.stack(part, axis=1) for part in (X, D))
    terms = rnn.gradient_terms(X, D, -1, initial_state=np.stack(S))
    norms = np.linalg.norm(terms["S"].astype(np.float64), axis=2)[::-1]
    norms = norms[:, norms[0] > 0]  # an error of exactly zero has no gradient
    return (norms / norms[0]).mean(axis=1) if norms.size else np.zeros(steps)


_KINDS["Forecaster"] = Forecaster  # so that `load` can read it
