"""Which column of a table is its time axis, and what times its cells are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import dates as _dates
from .calendar import Calendar, spacing
from .source import Source, pandas, short

# Names that make a column of numbers or text a likely time axis.
NAMED = re.compile(r"(time|date|datetime|timestamp|ts|ds|t|year|yr|month|quarter|qtr|week|day|hour|minute|second|period|step"
                   r"|index|epoch|unix|jahr|monat|datum|zeit|fecha|año|ano|année|annee|mois|jour|data|dato|tid)s?\b",
                   re.IGNORECASE)
PARTS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in (
    ("year", r"(year|yr|jahr|año|année)"), ("month", r"(month|mo|mon|mm|monat)"), ("day", r"(day|dy|dd|tag)"),
    ("hour", r"(hour|hr|hh)"))}
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)


@dataclass
class Axis:
    """The times of all rows.

    Attributes
    ----------
    name : str
        The column, or columns joined by a space.
    columns : list of str
        The columns that it is read from.
    values : array (n,) datetime64, or of numbers
    unit, style, clock : as in Calendar
    offsets : int array (n,), minutes from UTC, or None
    dayfirst : bool or None
        The order of day and month, if it was found or given.
    notes : list of str
    """

    name: str
    columns: list[str]
    values: np.ndarray
    unit: str
    style: str = ""
    clock: str = ""
    offsets: np.ndarray | None = None
    dayfirst: bool | None = None
    notes: list[str] = field(default_factory=list)
    numbers: bool = False

    def spacing(self, rows: list[np.ndarray]) -> tuple[Calendar, list[np.ndarray], list[np.ndarray]]:
        """Return the calendar, and times and positions of each series, whose rows are sorted and distinct.

        Offsets that change, as in summer, are taken to UTC unless only the clock's times are evenly spaced.
        """
        offset, values = "", self.values
        if self.offsets is not None:
            minutes = np.unique(self.offsets)
            offset = _dates.offset_text(int(minutes[0]))
            if len(minutes) > 1:
                utc = self.utc()
                unit = "m" if self.unit in ("D", "h") else self.unit
                for each, text in ((utc, "+00:00"), (values, _dates.offset_text(int(self.offsets[rows[0][-1]])))):
                    try:
                        found = spacing([each[of] for of in rows], unit)
                    except (ValueError, IndexError):
                        continue
                    if found[0].step is not None and all((np.diff(p) == 1).all() for p in found[2]):
                        values, offset = each, text
                        break
                else:
                    values, offset = utc, "+00:00"
                offsets = ", ".join(_dates.offset_text(int(each)) for each in minutes[:3])
                self.notes.append(f"the times have the offsets {offsets} from UTC; times to come are written with {offset}")
        calendar, times, positions = spacing([values[of] for of in rows], self.unit)
        clock = self.clock
        if calendar.unit in ("M", "D", "B") and self.unit not in ("D", "M", "Y") and len(values):
            clock = _clock_text(values[rows[0][0]], self.unit, self.clock)
        return Calendar(calendar.unit, calendar.step, calendar.day, self.style, clock, offset), times, positions

    def utc(self) -> np.ndarray:
        """Return the times in UTC, in which they are sorted."""
        if self.offsets is None:
            return self.values
        return self.values - self.offsets.astype("m8[m]")


def _clock_text(time, unit, between):
    """Return the time of day as written, such as " 00:00:00"."""
    return (between or " ") + str(time.astype(f"M8[{unit}]")).partition("T")[2]


def find(source: Source, columns: list[str], rows: list[np.ndarray], *, time: str | None, dayfirst: bool | None,
         others: int) -> Axis | None:
    """Return the time axis among `columns`, or None.

    Parameters
    ----------
    columns : columns without another role
    rows : list of int arrays, the rows of each series
    time : the column that the user has named, or None
    others : number of columns of numbers that have a role. A single column of numbers is no axis.
    """
    if time is not None:
        return _with_clock(source, _read(source, time, rows, dayfirst), columns, rows)
    frame = source.frame
    typed = [name for name in columns if _is_typed(frame[name])]
    dated = [name for name in columns if name not in typed and _looks_dated(frame[name], name)]
    for group in (typed, dated):
        if group:
            name = next((name for name in group if NAMED.match(name)), group[0])
            axis = _read(source, name, rows, dayfirst)
            return _with_clock(source, axis, columns, rows)
    numeric = [name for name in columns if frame[name].dtype.kind in "iuf"]
    parts = _parts(source, numeric, rows)
    if parts is not None:
        return parts
    if len(numeric) + others > 1:
        for nearly in (False, True):
            for name in numeric:
                likely = bool(NAMED.match(name)) or name == frame.columns[0] and name in source.unnamed
                if (likely or not nearly) and _rises(frame[name], rows, likely, nearly):
                    return _numbers(source, name)
    _refuse_unread(source, columns, rows)
    return None


def _is_typed(column):
    return column.dtype.kind == "M" or hasattr(column.dtype, "tz") or str(column.dtype).startswith("period")


def _cells(column, most=50):
    """Return the first cells of a column as text, or [] if it cannot have dates."""
    if column.dtype.kind == "O":
        return column.dropna().iloc[:most].tolist()
    if column.dtype.kind in "iu":
        return [str(value) for value in column.iloc[:most].tolist()]
    if column.dtype.kind == "f":
        values = column.dropna().iloc[:most]
        whole = (values == values.round()).all() and (abs(values) < 1e9).all()
        return [f"{value:.0f}" for value in values.tolist()] if whole else []
    return []


def _looks_dated(column, name):
    cells = _cells(column)
    if not cells or _dates.form_of(cells) is None:
        return False
    if column.dtype.kind == "O":
        return True
    # Whole numbers such as 20200131 or 202001: dates if all of them are, and the name says so or they rise or fall.
    if not all(re.fullmatch(r"(1[5-9]|2[0-2])\d{2}(\d{2}){1,2}", cell) for cell in cells) or len(set(map(len, cells))) > 1:
        return False
    values = column.dropna().to_numpy(np.float64)
    one_way = (np.diff(values) > 0).all() or (np.diff(values) < 0).all()
    found = _dates.read(column.dropna().map(lambda value: f"{value:.0f}"))
    return found.wrong is None and (bool(NAMED.match(name)) or len(values) > 2 and bool(one_way))


def _read(source, name, rows, dayfirst):
    """Return the Axis of a column. Raise ValueError about its first cell that is no time."""
    column = source.frame[name]
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise source.error(f"no time in {source.places(missing)}; remove the row or write its time", column=name)
    if _is_typed(column):
        return _typed(name, column)
    if column.dtype.kind in "iufb":
        if not _looks_dated(column, name) or column.dtype.kind == "b":
            return _numbers(source, name)
        column = column.map(lambda value: f"{value:.0f}")
    cells = column.iloc[:50].tolist()
    if _dates.form_of(cells) is None:
        bad = next((k for k, cell in enumerate(cells) if _dates.form_of([cell]) is None), 0)
        raise source.error(f"{short(source.cell(bad, name))} is not a date that can be read; write 2020-01-31", bad, name)
    found = _dates.read(column, dayfirst)
    axis = Axis(name, [name], np.empty(0), found.unit, found.style, found.clock, found.offsets, dayfirst, found.notes)
    if found.either:
        order = _order(source, axis, found, rows)
        axis.dayfirst, values = order, found.either[order]
        axis.notes.append(f"the dates are read as {_dates.ORDERS[order]}/year, the only order in which they are evenly spaced")
    else:
        values = found.values
        if dayfirst is not None and found.open:
            axis.notes.append(f"the dates are read as {_dates.ORDERS[dayfirst]}/year")
    if found.wrong is not None:
        like = " like those before it" if found.wrong else ""
        option = ""
        if dayfirst is not None and found.wrong is not None:
            option = f" in the order {_dates.ORDERS[dayfirst]}/year"
        raise source.error(f"{short(source.cell(found.wrong, name))} is not a date{option or like}", found.wrong, name)
    axis.values = values
    return axis


def _order(source, axis, found, rows):
    """Return the order of day and month in which alone the dates are evenly spaced."""
    even = []
    for order, values in found.either.items():
        series = [np.unique(values[of]) for of in rows]
        calendar, _, positions = spacing(series, found.unit)
        if calendar.step is not None and all((np.diff(p) == 1).all() for p in positions) and all(
                len(x) == len(of) for x, of in zip(series, rows)):
            even.append(order)
    if len(even) == 1:
        return even[0]
    why = "in both orders of day and month" if even else "in neither order of day and month"
    cell = source.cell(0, axis.name)
    options = ("--dayfirst or --no-dayfirst" if source.command else "dayfirst=True or dayfirst=False")
    raise source.error(f"{short(cell)} can be day/month or month/day: the dates are evenly spaced {why}; {options} tells which",
                       0, axis.name)


def _typed(name, column):
    """Return the Axis of a column of datetimes or periods."""
    pd = pandas()
    if isinstance(column.dtype, pd.PeriodDtype):
        frequency = str(column.dtype).removeprefix("period[").removesuffix("]")
        start = column.dt.to_timestamp().to_numpy()
        if frequency.startswith("Q"):
            return Axis(name, [name], start.astype("M8[M]"), "M",
                        style="%YQ%q" if frequency in ("Q", "Q-DEC", "QE-DEC") else "")
        if frequency.startswith(("M", "Y", "A")):
            return Axis(name, [name], start.astype("M8[M]"), "M") if frequency[0] == "M" else Axis(
                name, [name], start.astype("M8[Y]"), "Y")
        column = column.dt.to_timestamp()
    offsets = None
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        local = column.dt.tz_localize(None)
        offsets = ((local - column.dt.tz_convert("UTC").dt.tz_localize(None)).to_numpy()
                   // np.timedelta64(1, "m")).astype(np.int64)
        column = local
    values = column.to_numpy()
    if (values == values.astype("M8[D]")).all():
        return Axis(name, [name], values.astype("M8[D]"), "D", offsets=offsets,
                    clock=" 00:00:00" if offsets is not None else "")
    unit = next(unit for unit in ("m", "s", "ms", "us", "ns") if (values == values.astype(f"M8[{unit}]")).all())
    return Axis(name, [name], values.astype(f"M8[{unit}]"), unit, clock=" ", offsets=offsets)


def _with_clock(source, axis, columns, rows):
    """Add a column of times of day to dates that occur more than once."""
    if axis.unit != "D" or axis.clock or all(len(np.unique(axis.values[of])) == len(of) for of in rows):
        return axis
    for name in columns:
        column = source.frame[name]
        cells = _cells(column) if name not in axis.columns else []
        if column.dtype.kind == "O" and cells and all(CLOCK.fullmatch(cell) for cell in cells):
            found = _dates.read(axis_text(axis.values) + " " + column.fillna("?").astype(str))
            if found.wrong is not None:
                raise source.error(f"{short(source.cell(found.wrong, name))} is not a time of day", found.wrong, name)
            return Axis(f"{axis.name} {name}", [*axis.columns, name], found.values, found.unit, clock=" ",
                        dayfirst=axis.dayfirst, notes=axis.notes)
        if column.dtype.kind in "iuf" and PARTS["hour"].fullmatch(name) and column.between(0, 24).all():
            hours = column.to_numpy(np.int64)
            return Axis(f"{axis.name} {name}", [*axis.columns, name], axis.values.astype("M8[m]") + hours.astype("m8[h]"), "m",
                        clock=" ", dayfirst=axis.dayfirst, notes=axis.notes)
    return axis


def axis_text(values: np.ndarray) -> Any:
    """Return times as a pandas Series of text."""
    return pandas().Series(np.datetime_as_string(values), dtype=object)


def _parts(source, numeric, rows):
    """Return the Axis of columns of years, months, days and hours, or None."""
    found: dict[str, str] = {}
    for name in numeric:
        for part, pattern in PARTS.items():
            if pattern.fullmatch(name.strip()):
                found.setdefault(part, name)
    if not {"year", "month"} <= found.keys():
        return None
    values = {}
    for part, name in found.items():
        column = source.frame[name]
        if column.isna().any() or (column != column.round()).any():
            return None
        values[part] = column.to_numpy(np.int64)
    year, month, day = values["year"], values["month"], values.get("day")
    if not ((year > 0) & (year < 10000) & (month >= 1) & (month <= 12)).all() or (np.diff(month) == 0).all() and len(month) > 1:
        return None
    times = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    used = [found["year"], found["month"]]
    unit = "M"
    if day is not None and ((day >= 1) & (day <= 31)).all():
        times, unit = times.astype("M8[D]") + (day - 1).astype("m8[D]"), "D"
        used.append(found["day"])
        if "hour" in values and ((values["hour"] >= 0) & (values["hour"] <= 24)).all() and any(
                len(np.unique(times[of])) < len(of) for of in rows):
            times, unit = times.astype("M8[m]") + values["hour"].astype("m8[h]"), "m"
            used.append(found["hour"])
    return Axis(" ".join(used), used, times, unit, clock=" " if unit == "m" else "")


def _rises(column, rows, likely, nearly):
    """Return whether numbers are evenly spaced in every series, in one direction. Likely ones may be out of order.

    nearly : accept a few gaps, where most distances are the same and the others are multiples of it.
    """
    if max(map(len, rows)) < 3 or column.isna().any():
        return False
    values = column.to_numpy()
    if column.dtype.kind == "f":
        if not np.isfinite(values).all() or (abs(values) > 2.0**53).any():
            return False
        if (values == np.rint(values)).all():
            values = values.astype(np.int64)
        elif not likely:  # decimal years are rounded; other decimal numbers must be exact
            for of in rows:
                gaps = np.diff(values[of])
                if len(gaps) and np.abs(gaps - gaps.mean()).max() > 1e-6 * abs(gaps.mean()):
                    return False
    series = []
    for of in rows:
        x = values[of]
        gaps = np.diff(x)
        if (gaps < 0).all():
            x = x[::-1]
        elif not (gaps > 0).all():
            if not likely or len(np.unique(x)) < len(x):
                return False
            x = np.sort(x)
        series.append(x)
    calendar, _, positions = spacing(series, "1")
    if calendar.step is None:
        return False
    gaps = np.concatenate([np.diff(p) for p in positions])
    return bool((gaps == 1).mean() >= 0.8) if nearly else bool((gaps == 1).all())


def _numbers(source, name):
    """Return the Axis of a column of numbers: years if they look like years."""
    values = source.frame[name].to_numpy()
    if values.dtype.kind == "b" or not np.isfinite(values).all():
        raise source.error("a time must be a date or a finite number", column=name)
    if (values == np.rint(values)).all():
        values = values.astype(np.int64)
        gaps = np.abs(np.diff(values))
        yearly = bool(PARTS["year"].match(name)) or len(gaps) > 0 and int(np.median(gaps)) == 1 and values.min() >= 1500
        if yearly and values.min() >= 1000 and values.max() < 3000:
            return Axis(name, [name], (values - 1970).astype("M8[Y]"), "Y", numbers=True)
    return Axis(name, [name], values, "1", numbers=True)


def _refuse_unread(source, columns, rows):
    """Raise ValueError about a column whose text looks like dates in a form that cannot be read."""
    for name in columns:
        column = source.frame[name]
        if column.dtype.kind != "O" or not (NAMED.match(name) or name == source.frame.columns[0]):
            continue
        cells = _cells(column)
        if _dates.looks_foreign(cells) and not any(column.iloc[of].duplicated().any() for of in rows):
            bad = int(np.argmax(column.notna().to_numpy()))
            raise source.error(f"{short(source.cell(bad, name))} is not a date that can be read; write 2020-01-31 or Jan 2020",
                               bad, name)
