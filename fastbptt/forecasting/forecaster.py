"""The public class `Forecaster`: forecasts of tables, with intervals. `model.py` has the computation on arrays."""

from __future__ import annotations

import html
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..options import cells as _cells
from ..network import _KINDS
from . import files as _store, frames as _frames
from .model import Model, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .backtest import Backtest
    from .._types import Cell, FilePath, Int, Seed

FEWEST = 8  # least number of steps of a series, besides the horizon
YEARS = 4  # least number of years of days or hours from which the networks also read the position in the year


class Forecaster:
    """Forecast one or several time series some steps ahead, with intervals.

    A linear path forecasts each series: an average of autoregressions and exponential smoothing, with and without logarithms
    and differences. Their weights come from forecasts of the last part of the series, which they had not seen. Small recurrent
    networks read the same series and forecast what the linear path leaves. They are used only as far as they lower the
    error of a validation part. In the end everything is fitted again to all data.

    Parameters
    ----------
    horizon : int
        Number of steps to forecast. `predict` can continue beyond it, recursively.
    season : int, tuple of int, or None
        Steps of a season, such as 12 for months. A tuple gives several, such as (24, 168) for hours. None takes them from the
        frequency of the times. If that suggests none, None looks for a clear period in the data. 1 means no season.
    members : int
        Number of networks. Their median is used. 0 leaves only the linear path.
    hidden_size : int
        Hidden units of three in four networks. The others have half as many.
    cell : str
        The cell of the networks, as in `RNN`.
    interval : sequence of numbers
        Levels of the intervals in percent, each more than 0 and less than 100.
    fill : None, "interpolate", "previous", "zero" or "seasonal"
        How to fill steps without a value. With None they are an error.
    random_state : None or int
        Seed of the networks. The same seed and data give the same forecasts.

    Attributes
    ----------
    targets_ : list of str
    ids_ : list
        The ids of the series; [None] if there is no id column.
    seasons_ : tuple of int
    notes_ : list of str
        What was noticed while reading the data.
    updates_ : int
        Number of updates of the networks, 0 if they are not used.
    share_ : float
        The factor on the networks' part of the forecast, from 0 to 1.
    gain_ : float
        By how much the networks lowered the mean squared validation error of the linear path, as a fraction.

    Notes
    -----
    The forecasts read the series up to its newest row. The intervals are a split conformal correction: quantiles of the
    errors of forecasts from earlier origins, separately for each step ahead.

    References
    ----------
    Bates & Granger 1969 (The combination of forecasts); Marcellino, Stock & Watson 2006 (direct and iterated forecasts);
    Gardner 1985 (Exponential smoothing: the state of the art); Stankevičiūtė, Alaa & van der Schaar 2021 (Conformal
    time-series forecasting); Zhang 2003 (Time series forecasting using a hybrid ARIMA and neural network model).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from fastbptt import Forecaster
    >>> months = pd.date_range("2000-01", periods=120, freq="MS")
    >>> sales = pd.Series(100 + np.arange(120) + 20 * np.sin(np.arange(120) * np.pi / 6), months, name="sales")
    >>> forecast = Forecaster(12, random_state=0).fit(sales).predict()
    >>> list(forecast.columns)
    ['time', 'target', 'forecast', 'lower_80', 'upper_80']
    >>> len(forecast)
    12
    """

    def __init__(self, horizon: Int = 12, *, season: Int | Sequence[Int] | None = None, members: Int = 8,
                 hidden_size: Int = 16, cell: Cell = "plain", interval: Sequence[float] = (80,), fill: str | None = None,
                 random_state: Seed = None) -> None:
        self.horizon = _checks.size("horizon", horizon)
        self.season = _season(season)
        self.members = _checks.size("members", members, smallest=0)
        self.hidden_size = _checks.size("hidden_size", hidden_size)
        self.cell = _checks.choose("cell", cell, _cells.NAMES)
        levels = [interval] if np.ndim(interval) == 0 else list(interval)  # type: ignore[list-item, arg-type]
        self.interval = tuple(_percent(level) for level in levels)
        if fill not in _frames.FILLS:
            raise ValueError(f"fill must be None, 'interpolate', 'previous', 'zero' or 'seasonal', got {fill!r}")
        self.fill = fill
        self.random_state = None if random_state is None else _checks.seed("random_state", random_state)
        self._model: Any = None

    def fit(self, frame: pd.DataFrame | pd.Series, target: str | Sequence[str] | None = None, id: str | None = None,
            time: str | None = None, known: str | Sequence[str] = ()) -> Forecaster:
        """Fit to a table, and keep its newest rows for `predict`.

        Parameters
        ----------
        frame : pandas DataFrame or Series
            One row per step, with a DatetimeIndex, a PeriodIndex, an index of whole numbers, or a column `time`. With `id`
            a long table: one row per series and step.
        target : str or list of str
            The columns to forecast. A frame with one numeric column besides id, time and known needs none.
        id, time : str, optional
            Columns with the series' ids and the times.
        known : str or list of str
            Columns that are known ahead, such as holidays. Last rows without a target give their future values.

        Returns
        -------
        Forecaster
            The object itself.

        Raises
        ------
        ImportError
            If pandas is not installed. The message names the extra.
        TypeError, ValueError
            If a column is missing or holds no numbers, times repeat or are uneven, a value is missing and `fill` is None,
            or a series is too short.

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> model.seasons_
        (12,)
        """
        known = [known] if isinstance(known, str) else list(known)
        series, targets, notes = _frames.read(frame, _frames.Columns(target, id, time, known), self.fill)
        for each in series:
            if len(each.values) < self.horizon + FEWEST:
                raise ValueError(f"frame has {_checks.counted(len(each.values), 'step')}{_of(each.id)}, and a horizon of "
                                 f"{self.horizon} needs at least {self.horizon + FEWEST}")
        seasons = self.season
        if seasons is None:
            seasons = _frames.season_of(series[0].axis.freq)
            if not seasons:
                seasons = _frames.detected([x.values[:, 0] for x in series])
        seasons = tuple(m for m in seasons if m > 1)
        year = _frames.year_of(series[0].axis.freq)
        cycles = (year,) if year is not None and min(len(x.values) for x in series) >= YEARS * year else ()
        seed = int(np.random.default_rng(self.random_state).integers(2**31))
        model = Model(Settings(self.horizon, seasons, cycles, self.members, self.hidden_size, self.cell, seed))
        model.fit([x.values for x in series], [x.known for x in series] if known else None)
        self._model, self._series, self._columns = model, series, (id, time, known)
        self.targets_, self.ids_, self.seasons_, self.notes_ = targets, [x.id for x in series], seasons, notes
        remainder = model.remainder
        self.updates_: int = 0 if remainder is None else remainder.updates
        self.share_: float = 0.0 if remainder is None else remainder.factor
        self.gain_: float = 0.0 if remainder is None else remainder.gain
        return self

    def update(self, frame: pd.DataFrame | pd.Series) -> Forecaster:
        """Replace the series by newer ones, with the columns of `fit`. `predict` then starts from their last rows.

        Nothing is trained. The table holds the whole series, or at least as many of its last steps as the model reads. All
        ids must be those of `fit`, and all times must continue its time steps.

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> newer = pd.concat([sales, pd.Series([103.0], [months[-1] + pd.offsets.MonthBegin()], name="sales")])
        >>> model.update(newer).predict()["time"][0]
        Timestamp('2015-02-01 00:00:00')
        """
        self._fitted()
        id, time, known = self._columns
        target: Any = self.targets_[0] if not hasattr(frame, "columns") else self.targets_
        series, _, notes = _frames.read(frame, _frames.Columns(target, id, time, known), self.fill)
        places = {x.id: n for n, x in enumerate(self._series)}
        new = list(self._series)
        for each in series:
            if each.id not in places:
                raise ValueError(f"frame has the id {each.id!r}, which is none of those of fit")
            n = places[each.id]
            if len(each.values) < self._model._first(n):
                raise ValueError(f"frame has {_checks.counted(len(each.values), 'step')}{_of(each.id)}; this forecaster reads "
                                 f"at least {self._model._first(n)}")
            new[n] = _on_axis_of(new[n], each)
        self._series, self.notes_ = new, notes
        return self

    def predict(self, steps: Int | None = None, known: pd.DataFrame | None = None) -> pd.DataFrame:
        """Forecast the steps after the newest row of each series.

        Parameters
        ----------
        steps : int, optional
            By default the horizon. Later steps use the forecasts of earlier ones. A warning and `notes_` say so.
        known : DataFrame, optional
            The known inputs of the next steps, with the time and id columns or index of `fit`, and a row for each step. By
            default they come from the last rows of the table of `fit`, which have no target.

        Returns
        -------
        DataFrame
            One row per series, step and target, with the columns id (if there are ids), time, target, forecast, and
            lower_80 and upper_80 for each level of `interval`.

        Raises
        ------
        RuntimeError
            If `fit` was not called.
        ValueError
            If known inputs of the steps are missing.

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> model.predict().shape
        (6, 5)
        """
        self._fitted()
        pd = _frames.pandas()
        steps = self.horizon if steps is None else _checks.size("steps", steps)
        if steps > self.horizon:
            note = (f"steps {self.horizon + 1} to {steps} lie beyond the horizon of {self.horizon}: they use the forecasts of "
                    "earlier steps, and their intervals are extrapolated")
            if note not in self.notes_:
                self.notes_ = [*self.notes_, note]
            warnings.warn(note, UserWarning, stacklevel=2)
        future = self._future(known, steps)
        id = self._columns[0]
        parts = []
        for n, each in enumerate(self._series):
            made, below = self._ahead(n, each, future[n], steps)
            times = each.axis.times(len(each.values), steps)
            for k, target in enumerate(self.targets_):
                part = {} if id is None else {id: [each.id] * steps}
                part |= {"time": times, "target": [target] * steps, "forecast": made[:, k]}
                for level in self.interval:
                    part[f"lower_{level:g}"], part[f"upper_{level:g}"] = below[level][0][:, k], below[level][1][:, k]
                parts.append(pd.DataFrame(part))
        return pd.concat(parts, ignore_index=True)

    def _ahead(self, n, series, u, steps):
        """Return forecasts (steps, K), and {level: (lower, upper)}."""
        h, history, made = self.horizon, series.values, []
        K = history.shape[1]
        while sum(map(len, made)) < steps:
            made.append(self._model.forecasts(n, history, u, shift=series.shift)[0])
            history = np.concatenate([history, made[-1]])
        centre = np.concatenate(made)[:steps]
        found = {}
        for level in self.interval:
            below, above = self._model.widths(n, level / 100)
            growth = np.sqrt(np.arange(h + 1, steps + 1) / h)[:, None]  # as of a random walk
            below, above = (np.concatenate([w, growth * w[-1]])[:steps] for w in (below, above))
            lower, upper = np.empty((steps, K)), np.empty((steps, K))
            for k, domain in enumerate(self._model.domains[n]):
                z = domain(centre[:, k])
                lower[:, k] = np.minimum(domain.back(z + below[:, k]), centre[:, k])
                upper[:, k] = np.maximum(domain.back(z + above[:, k]), centre[:, k])
            found[level] = lower, upper
        return centre, found

    def _future(self, known, steps):
        """Return the known inputs (T + steps, U) of each series, or None for each."""
        id, time, names = self._columns
        if not names:
            if known is not None:
                raise ValueError("known must be None: fit had no known inputs")
            return [None] * len(self._series)
        given: dict[Any, Any] = {}
        if known is not None:
            given = {x.id: x for x in _frames.read(known, _frames.Columns(None, id, time, names, True), self.fill)[0]}
        found = []
        for each in self._series:
            T, rows = len(each.values), each.known
            if each.id in given:
                more = given[each.id]
                place_of = {time: k for k, time in enumerate(more.axis.times(0, len(more.known)))}
                times = each.axis.times(T, max(steps, len(more.known)))
                places = [place_of.get(time, -1) for time in times]
                count = places.index(-1) if -1 in places else len(places)
                at = list(place_of)
                if not count:
                    raise ValueError(f"known must begin at {times[0]} or before{_of(each.id)}, got {at[0]} to {at[-1]}")
                if count < steps:
                    raise ValueError(f"known must have a row for each of the next {steps} steps{_of(each.id)}, and has none "
                                     f"for {times[count]}; its times are {at[0]} to {at[-1]}")
                rows = np.concatenate([rows[:T], more.known[places[:count]]])
            if len(rows) < T + steps:
                raise ValueError(f"known has {len(rows) - T} steps after the last target{_of(each.id)}, and {steps} are "
                                 "needed: give known=, or last rows without a target in the table of fit")
            found.append(rows)
        return found

    def backtest(self, origins: Int = 20) -> Backtest:
        """Compare with simple methods, by forecasts from origins in the last 20 % of each series.

        A model with the same settings is fitted to the first 80 % of each series. At each origin it reads all newer steps, but
        it is not fitted again.

        Parameters
        ----------
        origins : int
            Largest number of origins for each series. They are evenly spaced.

        Returns
        -------
        Backtest

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> sorted(model.backtest(origins=3).table["method"])
        ['Forecaster', 'last value', 'linear autoregression', 'seasonal naive']
        """
        from .backtest import run
        self._fitted()
        return run(self, _checks.size("origins", origins))

    def save(self, path: FilePath) -> None:
        """Write the fitted forecaster and its newest rows to one .npz file, without pickle. `fastbptt.load` reads it.

        Raises
        ------
        RuntimeError
            If `fit` was not called.
        TypeError
            If ids or names of columns are neither strings nor whole numbers.

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> model.save("sales.npz")
        >>> load("sales.npz").horizon
        6
        """
        self._fitted()
        _store.save(self, path)

    @classmethod
    def _from_file(cls, header, arrays):
        return _store.load(cls, header, arrays)

    def _fitted(self):
        if self._model is None:
            raise RuntimeError("this Forecaster is not fitted yet: call fit first")

    def __repr__(self) -> str:
        season = "" if self.season is None else f", season={self.season}"
        return (f"Forecaster(horizon={self.horizon}{season}, members={self.members}, hidden_size={self.hidden_size}, "
                f"cell={self.cell!r})")

    def describe(self) -> str:
        """Return sentences that say what was fitted.

        Examples
        --------
        >>> import pandas as pd
        >>> months = pd.date_range("2010-01", periods=60, freq="MS")
        >>> sales = pd.Series(100 + 10 * np.sin(np.arange(60) * np.pi / 6), months, name="sales")
        >>> model = Forecaster(6, members=0).fit(sales)
        >>> print(model.describe())  # doctest: +ELLIPSIS
        1 series of 1 target, 6 steps ahead; seasons: 12...
        """
        self._fitted()
        lines = [f"{len(self._series)} series of {_checks.counted(len(self.targets_), 'target')}, "
                 f"{self.horizon} steps ahead; seasons: {', '.join(map(str, self.seasons_)) or 'none'}."]
        for n, paths in enumerate(self._model.paths[:5]):
            for target, path in zip(self.targets_, paths):
                log = sum(w for w, scale, _ in path.parts if scale.log)
                smooth = sum(w for w, _, part in path.parts if hasattr(part, "constants"))
                lines.append(f"{target}{_of(self._series[n].id)}: the linear path reads {path.shortest} steps; logarithms "
                             f"have {log:.0%} of its weight, exponential smoothing {smooth:.0%}.")
        if len(self._series) > 5:
            lines.append(f"... and {len(self._series) - 5} more series.")
        if self.updates_:
            lines.append(f"{self.members} networks, {self.updates_} updates, add {self.share_:.0%} of their output. They "
                         f"lowered the mean squared validation error by {self.gain_:.1%}.")
        else:
            lines.append("The networks did not lower the validation error clearly, so the linear path forecasts alone.")
        return "\n".join(lines + [f"Note: {note}." for note in self.notes_])

    def _repr_html_(self) -> str:
        if self._model is None:
            return f"<code>{html.escape(repr(self))}</code>"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                table = self.predict().head(2 * self.horizon).to_html(index=False, float_format="{:.6g}".format)
            except ValueError:  # known inputs of the next steps are not given
                table = ""
        lines = "<br>".join(html.escape(line) for line in self.describe().splitlines())
        return f"<div><code>{html.escape(repr(self))}</code><p>{lines}</p>{table}</div>"


def _on_axis_of(old, new):
    """Return the series `new` on the axis of a series of `fit`, or raise ValueError if its times are not on it."""
    axis = _frames.Axis(old.axis.freq, new.axis.start, old.axis.period)
    steps = len(new.values)
    place = old.axis.place(new.axis.start) if old.axis.is_like(new.axis) else None
    if place is None or list(axis.times(0, steps)) != list(new.axis.times(0, steps)):
        raise ValueError(f"frame must have the time step of fit{_of(new.id)}, {old.axis.freq} from {old.axis.start} on; got "
                         f"{new.axis.freq} from {new.axis.start} on")
    return _frames.Series(new.id, axis, new.values, new.known, new.notes, old.shift + place)


def _season(season):
    if season is None:
        return None
    values = [season] if np.ndim(season) == 0 else list(season)
    return tuple(_checks.size("season", value) for value in values)


def _percent(level):
    return _checks.number("interval", level, 0, 100)


def _of(id):
    return "" if id is None else f" of {id!r}"


_KINDS[_store.KIND] = Forecaster  # so that `load` can read it
