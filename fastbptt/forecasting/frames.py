"""From pandas objects to regular series: the time axis, the ids, gaps, and the rows of known inputs.

pandas is imported only when a function here is called. Files are not read here.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field

import numpy as np

from .. import _checks
from .source import INSTALL

FILLS = None, "interpolate", "previous", "zero", "seasonal"
SEASONS = {"Q": (4,), "M": (12,), "W": (52,), "D": (7,), "B": (5,)}  # by the first letter of a frequency
DAY = 86400
LONGEST_SEASON = 400
LARGEST = 1e100  # of a number in a table; squares of larger ones would overflow
LEAST_CORRELATION, LEAST_DEVIATIONS = 0.3, 3.5  # of a period found in data; the latter are those of noise, 1 / √T


def pandas():
    """Return the module pandas, or raise ImportError that names the extra."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"Forecaster requires pandas, which is not installed: {INSTALL}") from error
    return pandas


@dataclass
class Axis:
    """Regular times: `start` + k·`step`. `freq` is a pandas offset, or an int step for whole numbers."""

    freq: object
    start: object
    period: bool = False  # whether the user gave periods

    def is_like(self, other):
        """Return whether the times of both axes can be compared: numbers, periods, or times with or without a time zone."""
        if isinstance(self.freq, int) or isinstance(other.freq, int):
            return isinstance(self.freq, int) and isinstance(other.freq, int)
        return self.period == other.period and (self.period or (self.start.tz is None) == (other.start.tz is None))

    def place(self, time):
        """Return the number of steps from `start` to a time of this axis, or None if the axis has no such time."""
        if isinstance(self.freq, int):
            steps, rest = divmod(int(time) - self.start, self.freq)
        elif self.period:
            steps, rest = divmod(time.ordinal - self.start.ordinal, self.freq.n)
        else:
            pd = pandas()
            low, high = sorted((self.start, time))
            steps = len(pd.date_range(low, high, freq=self.freq)) - 1
            if steps < 0 or (pd.date_range(low, periods=steps + 1, freq=self.freq)[-1] != high):
                return None
            return steps if time == high else -steps
        return None if rest else int(steps)

    def times(self, first, count):
        """Return the times of steps first .. first + count − 1."""
        if isinstance(self.freq, int):
            return np.asarray(self.start + self.freq * np.arange(first, first + count))
        pd = pandas()
        if self.period:
            return pd.period_range(self.start + first, periods=count, freq=self.freq)
        return pd.date_range(self.start, periods=first + count, freq=self.freq)[first:]


@dataclass
class Series:
    """One regular series: targets (T, K) and known inputs (T', U), T' >= T, or None."""

    id: object
    axis: Axis
    values: np.ndarray
    known: np.ndarray | None = None
    notes: list = field(default_factory=list)
    shift: int = 0  # steps from the first one of `fit` to the first one of this series, which `update` has brought


@dataclass
class Columns:
    """Names of columns, as in `Forecaster.fit`. With future=True the table holds known inputs only."""

    target: object
    id: str | None
    time: str | None
    known: list
    future: bool = False


def read(frame, columns, fill):
    """Return a list of Series, the names of the targets, and notes."""
    pd = pandas()
    target, id, time, known = columns.target, columns.id, columns.time, columns.known
    notes = []
    if isinstance(frame, pd.Series):
        if id is not None or time is not None or known:
            raise ValueError("frame must be a DataFrame if id, time or known is given, got a Series")
        name = target if isinstance(target, str) else frame.name if frame.name is not None else "y"
        frame, target = frame.rename(name).to_frame(), [name]
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas DataFrame or Series, got {type(frame).__name__}")
    if not len(frame):
        raise ValueError("frame must have at least one row, got none")
    if frame.columns.has_duplicates:
        raise ValueError(f"frame must have different column names, and {frame.columns[frame.columns.duplicated()][0]!r} comes "
                         "twice")
    for label, column in (("id", id), ("time", time)):
        if column is not None and column not in frame.columns:
            raise ValueError(f"{label} must be a column of the frame, got {column!r}; its columns are {_names(frame)}")
    targets = [] if columns.future else _targets(frame, target, id, time, known)
    for column in [*targets, *known]:
        if column not in frame.columns:
            raise ValueError(f"{'known' if column in known else 'target'} must be columns of the frame, got {column!r}; "
                             f"its columns are {_names(frame)}")
        if not pd.api.types.is_numeric_dtype(frame[column]) or pd.api.types.is_complex_dtype(frame[column]):
            raise TypeError(f"column {column!r} must hold numbers, got {frame[column].dtype}")
    if set(targets) & set(known):
        raise ValueError(f"known must not hold a target, got {sorted(set(targets) & set(known))}")
    used = [*targets, *known, *(column for column in (id, time) if column is not None)]
    if len(set(used)) < len(used):
        raise ValueError(f"target, id, time and known must name different columns, and {max(used, key=used.count)!r} comes "
                         "twice")
    groups = [(None, frame)] if id is None else list(frame.groupby(id, sort=False, observed=True))
    if id is not None and frame[id].isna().any():
        raise ValueError(f"id must be known in each row, and {int(frame[id].isna().sum())} rows of column {id!r} have none")
    chosen = Columns(targets, id, time, known, columns.future)
    found = [_series(key, part, chosen, fill, notes) for key, part in groups]
    return found, targets, notes


def _names(frame):
    return ", ".join(map(repr, frame.columns))


def _targets(frame, target, id, time, known):
    pd = pandas()
    if target is not None:
        return [target] if isinstance(target, str) or not isinstance(target, (list, tuple)) else list(target)
    rest = [c for c in frame.columns if c not in (id, time) and c not in known and pd.api.types.is_numeric_dtype(frame[c])]
    if len(rest) != 1:
        raise ValueError(f"target must name the columns to forecast, as the frame has {len(rest)} numeric columns besides id, "
                         f"time and known: {', '.join(map(repr, rest)) or 'none'}")
    return rest


def _series(key, part, chosen, fill, notes):
    pd, targets, known, time = pandas(), chosen.target, chosen.known, chosen.time
    where = "" if key is None else f" of {key!r}"
    index = pd.Index(part[time]) if time is not None else part.index
    if isinstance(index, pd.MultiIndex):
        raise ValueError(f"frame must have an index of one level, got the levels {list(index.names)}; frame.reset_index() "
                         "makes columns of them, which id= and time= name")
    if time is None and key is not None and not isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        index = pd.RangeIndex(len(part))
    if index.dtype == object:
        index = index.infer_objects()
    if index.dtype == object or isinstance(index.dtype, pd.StringDtype):
        numbers = [each for each in index if isinstance(each, (int, float)) and each == each]
        if numbers:  # pandas would read them as nanoseconds since 1970
            raise ValueError(f"time{where} must hold dates or whole numbers, got both, such as {numbers[0]!r}")
        try:
            index = pd.DatetimeIndex(pd.to_datetime(index))
        except (ValueError, TypeError) as error:
            raise ValueError(f"time{where} must hold dates or whole numbers: {error}") from error
    if index.hasnans:
        raise ValueError(f"time{where} must be known in each row, and {int(index.isna().sum())} rows have none")
    if index.has_duplicates:
        raise ValueError(f"time{where} must not repeat, and {index[index.duplicated()][0]} comes twice"
                         + ("; give id= for a table of several series" if key is None else ""))
    if not index.is_monotonic_increasing:
        order = np.argsort(index)
        part, index = part.iloc[order], index[order]
        notes.append(f"rows{where} were sorted by time")
    axis, places = _axis(pd, index, where)
    columns = [*targets, *known]
    values = np.full((places[-1] + 1, len(columns)), np.nan)
    values[places] = part[columns].to_numpy(np.float64, na_value=np.nan)
    for bad, what in ((np.isinf(values), "infinity"), (np.abs(values) > LARGEST, f"a number above {LARGEST:g}")):
        if bad.any():
            raise ValueError(f"the numbers{where} must be finite and at most {LARGEST:g}, got {what} in column "
                             f"{columns[bad.any(axis=0).argmax()]!r}")
    K = len(targets)
    y, u = values[:, :K], values[:, K:] if known else None
    if not chosen.future:
        have = np.isfinite(y).any(axis=1)
        empty = [repr(name) for name, column in zip(targets, y.T) if not np.isfinite(column).any()]
        if empty or not targets:
            raise ValueError(f"target{where} has no numbers" + (f" in column {empty[0]}" if empty else ""))
        end = len(have) - int(have[::-1].argmax())
        begin = int(np.isfinite(y).all(axis=1).argmax())
        if begin:
            notes.append(f"the first {begin} steps{where} have no target, and were left out")
        if end < len(have) and u is None:
            notes.append(f"no target in the last {_checks.counted(len(have) - end, 'step')}{where}: forecasts begin at "
                         f"{axis.times(end, 1)[0]}")
        u = None if u is None else u[begin:]
        axis = Axis(axis.freq, axis.times(begin, 1)[0], axis.period)
        y = _filled(y[begin:end], fill, targets, where, axis, notes)
    if u is not None and np.isnan(u).any():
        u = _filled(u, fill, known, where, axis, notes)
    return Series(key, axis, y, u)


def _filled(y, fill, names, where, axis, notes):
    missing = np.isnan(y)
    if not missing.any():
        return y
    row = int(missing.any(axis=1).argmax())
    name = names[int(missing[row].argmax())]
    first = axis.times(row, 1)[0]
    count = int(missing.any(axis=1).sum())
    if fill is None:
        raise ValueError(f"{name!r}{where} has no value at {first} ({_checks.counted(count, 'step')} without a value in all); "
                         "give fill= one of 'interpolate', 'previous', 'zero', 'seasonal'")
    y = y.copy()
    for k in range(y.shape[1]):
        bad, steps = np.isnan(y[:, k]), np.arange(len(y))
        if not bad.any():
            continue
        if bad.all() and fill != "zero":
            raise ValueError(f"column {names[k]!r}{where} has no numbers, from which fill={fill!r} could fill it")
        if fill == "zero":
            y[bad, k] = 0
            continue
        if fill == "seasonal":
            for m in (season_of(axis.freq) or (1,))[:1]:
                for t in np.flatnonzero(bad):
                    if t >= m:
                        y[t, k] = y[t - m, k]
                bad = np.isnan(y[:, k])
        if bad.any():
            good = steps[~bad]
            if fill == "previous":
                at = np.maximum(np.searchsorted(good, steps[bad], side="right") - 1, 0)
                y[bad, k] = y[good[at], k]
            else:
                y[bad, k] = np.interp(steps[bad], good, y[good, k])
    notes.append(f"{_checks.counted(count, 'step')}{where} without a value {'was' if count == 1 else 'were'} filled ({fill})")
    return y


def _axis(pd, index, where):
    """Return the Axis and the place of each time on it."""
    if isinstance(index, pd.PeriodIndex):
        places = np.array([p.ordinal for p in index])
        places = (places - places[0]) / index.freq.n
        if (places != np.round(places)).any():
            raise ValueError(f"time{where} must be a whole number of steps of {index.freqstr} apart; the first times are "
                             f"{', '.join(str(t) for t in index[:4])}")
        return Axis(index.freq, index[0], True), places.astype(np.int64)
    if isinstance(index, pd.DatetimeIndex):
        if len(index) == 1:
            return Axis(pd.tseries.frequencies.to_offset("D"), index[0]), np.array([0])
        freq = _frequency(pd, index)
        if freq is not None:
            full = pd.date_range(index[0], index[-1], freq=freq)
            places = full.get_indexer(index)
            if (places >= 0).all():
                return Axis(freq, index[0]), places
        raise ValueError(f"time{where} must be evenly spaced, up to missing steps; the first times are "
                         f"{', '.join(str(t) for t in index[:4])}")
    values = np.asarray(index)
    if values.dtype.kind == "f" and np.all(values == np.round(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise TypeError(f"time{where} must hold dates, periods or whole numbers, got {index.dtype}")
    step = int(np.gcd.reduce(np.diff(values))) if len(values) > 1 else 1
    return Axis(step, int(values[0])), (values - values[0]) // step


def _frequency(pd, index):
    """Return the offset of sorted, distinct times, also if some steps are missing, or None."""
    to_offset = pd.tseries.frequencies.to_offset
    if index.freq is not None:
        return index.freq
    if len(index) >= 3:
        guess = _inferred(pd, index)
        if guess is not None:
            return guess
    steps = np.diff(index.asi8)
    days = steps.min() / DAY / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[index.unit]
    tried = [to_offset("B")] if days == 1 and (index.day_of_week < 5).all() and len(index) > 7 else []
    stretches = (_inferred(pd, index[k:k + 4]) for k in range(min(len(index) - 3, 50)))  # one without gaps shows it
    for freq in itertools.chain(tried, stretches, [to_offset(index[1:][steps.argmin()] - index[:-1][steps.argmin()])]):
        if freq is not None and (pd.date_range(index[0], index[-1], freq=freq).get_indexer(index) >= 0).all():
            return freq
    return None


def _inferred(pd, index):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas will return an offset instead of a string
        guess = pd.infer_freq(index)
    return None if guess is None else pd.tseries.frequencies.to_offset(guess)


def season_of(freq):
    """Return the seasons that a frequency suggests, in steps, the shortest first."""
    if isinstance(freq, int):
        return ()
    name = freq.rule_code
    letter = name.lstrip("B")[:1] if name[:2] in ("BM", "BQ", "BY") else name[:1]
    if getattr(freq, "n", 1) == 1 and letter in SEASONS and not name.startswith(("min", "ms", "us", "ns")):
        return SEASONS[letter]
    try:
        seconds = freq.nanos / 1e9
    except (AttributeError, ValueError):
        return ()
    if seconds >= DAY or DAY % seconds:
        return ()
    day = int(DAY // seconds)
    return tuple(m for m in (day, 7 * day) if 1 < m <= LONGEST_SEASON)


def year_of(freq):
    """Return the number of steps per year of a daily or hourly series, else None."""
    if isinstance(freq, int):
        return None
    try:
        seconds = freq.nanos / 1e9
    except (AttributeError, ValueError):
        return None
    return 365.25 * DAY / seconds if seconds <= DAY else None


def detected(series):
    """Return the period with the highest autocorrelation of changes, common to arrays (T,), as a tuple, or () if none is clear.

    It is for whole numbers and years as times. A period needs four repetitions and must be a peak of the mean autocorrelation.
    """
    longest = min(LONGEST_SEASON, min(len(x) for x in series) // 4)
    if longest < 4:
        return ()
    total = np.zeros(longest + 2)
    for x in series:
        w = np.diff(x)
        w = w - w.mean()
        n = 1 << (2 * len(w) - 1).bit_length()
        power = np.abs(np.fft.rfft(w, n)) ** 2
        r = np.fft.irfft(power, n)[:longest + 2]
        total += r / r[0] if r[0] > 0 else 0
    r = total / len(series)
    m = 3 + int(r[3:-1].argmax())
    peak = r[m] > r[m - 1] and r[m] > r[m + 1]
    least = max(LEAST_CORRELATION, LEAST_DEVIATIONS / np.sqrt(min(len(x) for x in series)))
    return (m,) if peak and r[m] > least else ()
