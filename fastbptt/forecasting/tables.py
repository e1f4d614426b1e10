"""Read time series from a table: a file, or a pandas DataFrame or Series.

`read_table` returns a `Table`. It decides what the columns are, sorts rows by time, and reports or refuses what is not in
order. `source` reads cells, `axis` and `dates` times, `calendar` their distance.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import axis as _axis, source as _source
from .calendar import Calendar
from .source import COMMA, NUMBER, pandas, short

FILLS = ("interpolate", "previous", "zero", "seasonal")
# Digits in groups of three, between them spaces or apostrophes, which no decimal sign looks like.
GROUPED = re.compile(r"[+-]?\d{1,3}(?:[\s\u00a0\u202f\u2009'’]\d{3})+(?:[.,]\d+)?", re.ASCII)
GROUPS = {",": re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII),
          ".": re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d*)?(?:[eE][+-]?\d+)?", re.ASCII)}
# Commas that separate thousands, whatever the decimal sign.
CERTAIN = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}", re.ASCII)
MONEY = re.compile(r"\(?[+-]?\s*(?:[$€£¥₹₩₽]|USD|EUR|GBP|CHF|JPY|CNY|kr\.?|Rs\.?)?\s*[+-]?\d[\d.,'’\s]*\)?\s*"
                   r"(?:[%‰$€£¥₹₩₽]|USD|EUR|GBP|CHF|JPY|CNY|kr\.?)?\)?")
MOST = 12  # number of names in a list of a message


@dataclass
class Table:
    """One or more series with the same columns, each in the order of time, without gaps.

    Attributes
    ----------
    values : list of arrays (T_n, C) float64
        Targets first, then inputs, then columns known ahead. Filled where cells were missing.
    targets, inputs, known : lists of str
        The names of the C columns.
    weights : list of arrays (T_n, O) float64
        1 for each target, 0 where it was missing and has been filled.
    ids : list of str, or None if the table has one series
    id : str or None
        The column of the ids.
    time : str or None
        The column of the times. Columns that were joined have a space between their names.
    calendar : Calendar or None
        The distance of the steps, the unit and the text of the times.
    times : list of arrays (T_n,), or None
        datetime64 in the calendar's unit, or numbers.
    ahead : list of arrays (F_n, K) float64
        Columns known ahead, in the rows after the last target. Empty without known columns.
    notes : list of str
        What was found, changed or left out: sentences without a full stop, for the user.
    options : dict
        time, decimal, dayfirst and fill as they were used: `read_table` reads a newer table of the same form with them.
    """

    values: list[np.ndarray]
    targets: list[str]
    inputs: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    ids: list[str] | None = None
    id: str | None = None
    time: str | None = None
    calendar: Calendar | None = None
    times: list[np.ndarray] | None = None
    weights: list[np.ndarray] = field(default_factory=list)
    ahead: list[np.ndarray] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.weights:
            self.weights = [np.ones((len(x), len(self.targets))) for x in self.values]
        if not self.ahead:
            self.ahead = [np.empty((0, len(self.known))) for _ in self.values]

    @property
    def columns(self) -> list[str]:
        """The names of the columns of `values`."""
        return self.targets + self.inputs + self.known

    @property
    def unit(self) -> str:
        """The name of a step, in the plural."""
        return self.calendar.word if self.calendar else "steps"

    def steps(self, number: int) -> str:
        """Format a number of steps with its unit."""
        return f"{number} {self.unit.removesuffix('s') if number == 1 else self.unit}"

    def name(self, n: int) -> str:
        """Describe series n; "" if there is only one."""
        return f"series {self.ids[n]!r}" if self.ids else ""

    def frames(self) -> list[Any]:
        """Return a pandas DataFrame of each series, with the times as index."""
        pd = pandas()
        found = []
        for n, x in enumerate(self.values):
            index = None
            if self.times is not None and self.calendar is not None:
                times, calendar = self.times[n], self.calendar
                if calendar.unit == "1":
                    index = pd.Index(times, name=self.time)
                else:
                    index = pd.DatetimeIndex(calendar.days(times).astype("M8[s]") if calendar.unit in "YMDB" else times,
                                             name=self.time)
                    if calendar.offset:
                        index = index.tz_localize("UTC" if calendar.offset == "+00:00" else calendar.offset)
            found.append(pd.DataFrame(x, columns=self.columns, index=index))
        return found

    def without(self, shortest: int, why: str) -> Table:
        """Return the table without the series of fewer than `shortest` steps, with a note that names them.

        Raises nothing if no series is long enough: it returns the table as it is.
        """
        lengths = [len(x) for x in self.values]
        kept = [n for n, length in enumerate(lengths) if length >= shortest]
        if self.ids is None or not kept or len(kept) == len(lengths):
            return self
        left = [f"{self.ids[n]!r} ({lengths[n]})" for n in range(len(lengths)) if lengths[n] < shortest]
        note = (f"left out {len(left)} series of fewer than {self.steps(shortest)}, which {why} needs: {listed(left)}")

        def some(parts):
            return None if parts is None else [parts[n] for n in kept]

        return replace(self, values=some(self.values), ids=some(self.ids), times=some(self.times), weights=some(self.weights),
                       ahead=some(self.ahead), notes=[*self.notes, note])


def packaged(name: str) -> Table:
    """Return a packaged series, "sunspots" or "airline", without pandas."""
    from .. import datasets

    load = {"sunspots": datasets.load_sunspots, "airline": datasets.load_airline_passengers}[name]
    values, dates = load(return_dates=True)
    target = {"sunspots": "sunspots", "airline": "passengers"}[name]
    return Table([values[0]], [target], time="month", calendar=Calendar("M", 1), times=[dates])


def read_table(table: Any, *, target: str | Sequence[str] | None = None, inputs: Sequence[str] | None = None,
               known: Sequence[str] = (), id: str | None = None, time: str | None = None, decimal: str | None = None,
               dayfirst: bool | None = None, fill: str | None = None, season: int | None = None, header: bool | None = None,
               command: str | None = None) -> Table:
    """Read the series of a table.

    Parameters
    ----------
    table : path, DataFrame or Series
        A path to text with any separator (CSV, TSV), which may be compressed, to an Excel or a Parquet file. Encoding,
        separator and header are detected.
    target : str or list of str, optional
        Columns to forecast. By default all columns of numbers without another role.
    inputs : list of str, optional
        Columns to read in addition.
    known : list of str
        Columns that are known ahead. Rows after the last target give their values to come.
    id : str, optional
        The column with the name of each row's series. The rows of a series need not be adjacent.
    time : str, optional
        The column of times. By default the first column of dates, else one of evenly spaced numbers, else none.
    decimal : "." or ",", optional
        The decimal sign. The other one may separate thousands. By default it is a point, and a comma is refused where it could
        be either.
    dayfirst : bool, optional
        Whether 01/02/2020 is in February. By default this is decided by which order gives evenly spaced dates.
    fill : "interpolate", "previous", "zero" or "seasonal", optional
        How to fill missing values and rows. By default they are refused. Filled targets have weight zero. "interpolate" and
        "seasonal" read values after the gap. "previous" and "zero" do not.
    season : int, optional
        Number of steps of a season, for fill="seasonal". By default that of the calendar.
    header : bool, optional
        Whether the first row names the columns.
    command : "train" or "predict", optional
        Messages name the options of this command (--fill), instead of those of Python (fill=).

    Returns
    -------
    Table

    Raises
    ------
    ImportError
        If pandas is missing, or the package that reads this kind of file.
    OSError
        If the file cannot be opened.
    TypeError, ValueError
        For all other errors. The message is one line with the file, the line or row, the column and the cell.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastbptt.forecasting.tables import read_table
    >>> table = read_table(pd.DataFrame({"month": ["2020-01", "2020-02", "2020-03"], "sold": [4, 5, 7]}))
    >>> table.targets, table.unit, table.times[0][-1]
    (['sold'], 'months', np.datetime64('2020-03'))
    """
    targets = [target] if isinstance(target, str) else None if target is None else list(target)
    inputs, known = list(inputs or ()), [known] if isinstance(known, str) else list(known)
    for name, value, allowed in (("decimal", decimal, (".", ",")), ("fill", fill, FILLS),
                                 ("dayfirst", dayfirst, (True, False))):
        if value is not None and value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, or None, got {value!r}")
    if isinstance(table, str | bytes | os.PathLike):
        source = _source.from_path(table, texts=() if id is None else (id,), decimal=decimal, header=header, command=command)
    else:
        source = _source.from_pandas(table)
        source.command = command
    return _Reader(source, targets=targets, inputs=inputs, known=known, id=id, time=time, decimal=decimal, dayfirst=dayfirst,
                   fill=fill, season=season).table()


class _Reader:
    """The steps of `read_table`, which share the source and the options."""

    def __init__(self, source, *, targets, inputs, known, id, time, decimal, dayfirst, fill, season):
        self.source, self.frame, self.notes = source, source.frame, list(source.notes)
        self.targets, self.inputs, self.known, self.id, self.time = targets, inputs, known, id, time
        self.decimal, self.dayfirst, self.fill, self.season = decimal, dayfirst, fill, season

    def table(self):
        self._check_names()
        ids, rows = self._groups()
        rows = self._without_empty(rows)
        axis = self._axis(rows)
        self._choose_targets(axis)
        columns = self.targets + self.inputs + self.known
        values = np.stack([self._numbers(name) for name in columns], axis=1)
        if axis is not None:
            rows = self._sorted(axis, rows, ids)
            calendar, times, positions = axis.spacing(rows)
            self._tell_axis(axis, calendar)
            rows, times = self._with_gaps(axis, calendar, rows, times, positions, ids)
        else:
            calendar = times = None
        table = Table([], self.targets, self.inputs, self.known, ids, self.id, None if axis is None else axis.name, calendar,
                      notes=self.notes, options={"time": self.time, "decimal": self.decimal, "fill": self.fill,
                                                 "dayfirst": self.dayfirst if axis is None else axis.dayfirst})
        self._fill(table, values, rows, times)
        return table

    # ---- The roles of columns

    def _check_names(self):
        names = list(self.frame.columns)
        single = [("id", self.id), ("time", self.time)]
        for option, given in (("target", self.targets), ("inputs", self.inputs), ("known", self.known),
                              *((option, None if name is None else [name]) for option, name in single)):
            for name in given or ():
                if option == "time" and name not in names and all(part in names for part in name.split(" ")):
                    continue  # columns that were joined
                if name not in names:
                    raise self.source.error(f"{self.source.option(option)} {name!r} is not a column of the "
                                            f"{'file' if self.source.lines is not None else 'table'}{self._near(name)}")
        named = [*(self.targets or ()), *self.inputs, *self.known, *(name for _, name in single if name is not None)]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            options = [self.source.option(option) for option in ("target", "inputs", "known", "id", "time")]
            raise self.source.error(f"column {twice!r} is given more than once as {', '.join(options[:-1])} or {options[-1]}")

    def _near(self, name):
        names = list(self.frame.columns)
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
        near += [other for other in names if other.lower() == name.lower() and other not in near]
        columns = f"its columns are {listed(names)}" + ("" if self.source.has_header else " (it has no header)")
        return (f"; did you mean {' or '.join(short(other, 60) for other in near)}? " if near else "; ") + columns

    def _groups(self):
        """Return the ids in order of first occurrence (or None), and the rows of each series."""
        if self.id is None:
            return None, [np.arange(len(self.frame))]
        column = self.frame[self.id]
        empty = self.frame.isna().all(axis=1).to_numpy()
        missing = np.flatnonzero(column.isna().to_numpy() & ~empty)
        if len(missing):
            raise self.source.error(f"no value in {self.source.places(missing)}: each row needs the name of its series",
                                    column=self.id)
        codes, ids = pandas().factorize(column.astype(str).where(column.notna()))
        order = np.argsort(codes, kind="stable")
        order = order[codes[order] >= 0]
        return [str(each) for each in ids], np.split(order, np.cumsum(np.bincount(codes[codes >= 0]))[:-1])

    def _without_empty(self, rows):
        """Leave out rows without any value: at the end, or all if there is a time axis."""
        empty = self.frame.isna().all(axis=1).to_numpy().copy()  # pandas gives it read-only
        if not empty.any():
            return rows
        if not any(self.frame[name].dtype.kind in "OM" or self.time == name for name in self.frame.columns):
            filled = np.flatnonzero(~empty)
            empty[:filled[-1] + 1 if len(filled) else 0] = False
        if empty.all():
            raise self.source.error("the table has no values")
        if empty.any():
            kept = np.flatnonzero(~empty)
            where = np.cumsum(~empty) - 1
            self.frame = self.source.frame = self.frame.iloc[kept].reset_index(drop=True)
            if self.source.lines is not None:
                self.source.lines = self.source.lines[kept]
            self.source.kept = kept
            rows = [where[of[~empty[of]]] for of in rows]
        return rows

    def _axis(self, rows):
        roles = {*(self.targets or ()), *self.inputs, *self.known, *([self.id] if self.id is not None else ())}
        free = [name for name in self.frame.columns if name not in roles]
        time = self.time
        if time is not None and time not in free:  # columns that were joined: they are found again
            free, time = time.split(" "), None
        others = sum(self._kind(name) == "numbers" for name in self.targets or ())
        return _axis.find(self.source, free, rows, time=time, dayfirst=self.dayfirst, others=others)

    def _kind(self, name):
        """Return "numbers", "text", or "nothing" of a column."""
        column = self.frame[name]
        if column.dtype.kind in "iufb":
            return "numbers" if column.notna().any() else "nothing"
        if column.dtype.kind != "O":
            return "text"
        cells = column.dropna().tolist()
        if not cells:
            return "nothing"
        like = sum(1 for cell in cells if NUMBER.fullmatch(cell) or COMMA.fullmatch(cell) or GROUPED.fullmatch(cell)
                   or MONEY.fullmatch(cell) or cell.lower() in ("true", "false"))
        return "numbers" if 2 * like >= len(cells) else "text"

    def _choose_targets(self, axis):
        if self.targets:
            return
        used = {*self.inputs, *self.known, self.id, *(axis.columns if axis is not None else ())}
        kinds = {name: self._kind(name) for name in self.frame.columns if name not in used}
        counts = [name for name, kind in kinds.items() if kind == "numbers" and self._counts(name)]
        self.targets = [name for name, kind in kinds.items() if kind == "numbers" and name not in counts]
        ignored = [name for name, kind in kinds.items()
                   if kind == "text" or kind == "nothing" and name not in self.source.unnamed]
        if ignored:
            self.notes.append(f"ignored, as {'it has' if len(ignored) == 1 else 'they have'} no numbers: {listed(ignored)}")
        if counts:
            self.notes.append("ignored, as it only counts the rows: the first column")
        if not self.targets:
            left = "no column of numbers is left to forecast" if used - {None} else "the file has no column of numbers"
            raise self.source.error(f"{left}; the columns are {listed(list(self.frame.columns))}")
        if axis is None:
            self._refuse_transposed()

    def _counts(self, name):
        column = self.frame[name]
        return (name == self.frame.columns[0] and name in self.source.unnamed and column.dtype.kind in "iu"
                and column.iloc[0] in (0, 1) and bool((column.diff().iloc[1:] == 1).all()))

    def _refuse_transposed(self):
        """Raise ValueError where the columns are named like years or dates: each row is a series."""
        from .dates import form_of

        names = [name for name in self.targets if name not in self.source.unnamed]
        years = [int(name) for name in names if re.fullmatch(r"[12]\d{3}", name)]
        if len(names) >= 5 and self.source.has_header and (
                len(years) == len(names) and set(np.diff(years)) == {1} or form_of(names) is not None):
            raise self.source.error(f"the columns {names[0]}, {names[1]}, ... are times, so each row is a series; transpose "
                                    "the table, so that each row is a time")

    # ---- Numbers

    def _numbers(self, name):
        """Return a column as float64, NaN where it has no value. Raise ValueError about the first cell that is no number."""
        column = self.frame[name]
        if column.dtype.kind in "iufb":
            values = column.to_numpy(np.float64)
            large = np.flatnonzero(np.isinf(values))
            if len(large):
                cell = self.source.cell(int(large[0]), name)
                what = "too large a number" if NUMBER.fullmatch(cell) else "not a number"
                raise self.source.error(f"{short(cell)} is {what}", int(large[0]), name)
            return values
        if column.dtype.kind != "O":
            raise self.source.error(f"{short(self.source.cell(0, name))} is not a number", 0, name)
        cells = column.tolist()
        some = [cell for cell in cells if cell is not None]
        if some and all(cell.lower() in ("true", "false") for cell in some):
            return np.array([np.nan if cell is None else float(cell.lower() == "true") for cell in cells])
        thousands = self._thousands(name, some)
        values = np.empty(len(cells))
        for k, cell in enumerate(cells):
            value = np.nan if cell is None else _number(cell, self.decimal or ".", thousands)
            if value is None or np.isinf(value):
                what = "not a number" if value is None else "too large a number"
                raise self.source.error(f"{short(cell)} is {what}{self._hint(cell) if value is None else ''}", k, name)
            values[k] = value
        return values

    def _thousands(self, name, cells):
        """Return the separator of thousands in a column, or None."""
        decimal = self.decimal or "."
        sign = "," if decimal == "." else "."
        marked = [cell for cell in cells if sign in cell and GROUPS[sign].fullmatch(cell)]
        if not marked or self.decimal is None and not any(CERTAIN.fullmatch(cell) for cell in marked):
            return None
        what = "commas" if sign == "," else "points"
        self.notes.append(f"{what} in column {short(name, 60)} separate thousands, as in {short(marked[0])}")
        return sign

    def _hint(self, cell):
        if COMMA.fullmatch(cell) and self.decimal is None:
            comma, point = self.source.value("decimal", ","), self.source.value("decimal", ".")
            return f": a comma may be a decimal comma ({comma}) or separate thousands ({point})"
        if self.decimal == "," and NUMBER.fullmatch(cell):
            return f" with a decimal comma ({self.source.value('decimal', ',')})"
        if MONEY.fullmatch(cell):
            return "; remove signs such as $ and %"
        return ""

    # ---- Time

    def _sorted(self, axis, rows, ids):
        """Return the rows of each series in the order of time, each time once."""
        utc, found, falling, moved = axis.utc(), [], True, None
        for of in rows:
            back = np.diff(utc[of]).astype(np.float64) < 0 if axis.unit == "1" else utc[of][1:] < utc[of][:-1]
            if back.any() and moved is None:
                moved = of[int(np.argmax(back)) + 1]
            falling &= bool(back.all())
            found.append(of[np.argsort(utc[of], kind="stable")])
        if moved is not None:
            what = ("the rows come newest first" if falling else
                    f"the rows are not in the order of time ({self.source.place(moved)} is the first that goes back)")
            self.notes.append(f"{what}: they are sorted by {axis.name}")
        return self._distinct(axis, utc, found, ids)

    def _distinct(self, axis, utc, rows, ids):
        """Refuse rows with the same time, unless they are equal; with `fill` the last counts."""
        repeated = [np.flatnonzero(utc[of][1:] == utc[of][:-1]) for of in rows]
        number = sum(map(len, repeated))
        if not number:
            return rows
        n = next(n for n, at in enumerate(repeated) if len(at))
        of, at = rows[n], repeated[n][0]
        first, second = sorted((int(of[at]), int(of[at + 1])))
        same = number <= 1000 and all(self.frame.iloc[part[k]].equals(self.frame.iloc[part[k + 1]])
                                      for part, at in zip(rows, repeated) for k in at)
        few = 20 * number <= sum(map(len, rows))
        if not same and not (self.fill and few):
            cell = self.source.cell(second, axis.columns[0])
            whose = f" of {ids[n]!r}" if ids is not None else ""
            more = f", and {number - 1} more times occur twice" if number > 1 else ""
            hint = ""
            if ids is None and self.source.command != "predict":
                option = self.source.value("id", "COLUMN") if self.source.command else "id=COLUMN"
                hint = f"; use {option} if the rows belong to several series"
                column = self._likely_id(axis, utc)
                hint += f", such as {column}" if column else ""
            raise self.source.error(f"{short(cell)}{whose} is also in {self.source.place(first)}{more}{hint}", second,
                                    axis.columns[0])
        extra = np.concatenate([part[k + 1] for part, k in zip(rows, repeated)])
        which = "equal rows count once" if same else "the last of rows with the same time counts"
        self.notes.append(f"{which}: {self.source.places(extra)}")
        return [np.delete(part, k) for part, k in zip(rows, repeated)]

    def _likely_id(self, axis, utc):
        """Return a column that tells rows with the same time apart, or None."""
        for name in self.frame.columns:
            if name not in axis.columns and self._kind(name) == "text":
                pair = pandas().DataFrame({"id": self.frame[name], "time": utc})
                if not pair.duplicated().any() and self.frame[name].nunique() < len(pair) / 2:
                    return name
        return None

    def _tell_axis(self, axis, calendar):
        self.notes[:0] = axis.notes
        several = "columns" if len(axis.columns) > 1 else "column"
        name = ("the first column" if axis.name in self.source.unnamed and axis.name == self.frame.columns[0]
                else f"{several} {short(axis.name, 60)}")
        are = "are" if len(axis.columns) > 1 else "is"
        where = " in every series" if self.id is not None else ""
        if calendar.step is None:
            self.notes.insert(0, f"{name} {are} the time axis; its times are not evenly spaced, so each row counts as one step")
        elif axis.numbers and calendar.unit == "1":
            other = ""
            if not self.time and self.source.command != "predict":
                other = f" ({self.source.option('target')} or {self.source.option('inputs')} makes it a series)"
            self.notes.insert(0, f"{name} {are} the time axis, as it rises by {calendar.describe()}{where}{other}")
        else:
            self.notes.insert(0, f"{name} {are} the time axis; a step is {calendar.describe()}")

    def _with_gaps(self, axis, calendar, rows, times, positions, ids):
        """Insert rows (−1) where a time is missing. Raise ValueError about them without `fill`."""
        gaps = [(n, k) for n, p in enumerate(positions) for k in np.flatnonzero(np.diff(p) > 1)]
        if not gaps:
            return rows, times
        number = sum(int(positions[n][k + 1] - positions[n][k]) - 1 for n, k in gaps)
        told = []
        for n, k in gaps[:3]:
            count = int(positions[n][k + 1] - positions[n][k]) - 1
            ahead = calendar.ahead(times[n][k], count)
            assert ahead is not None
            span = calendar.text(ahead[0].item() if calendar.unit == "1" else ahead[0])
            if count > 1:
                span += f" to {calendar.text(ahead[-1].item() if calendar.unit == '1' else ahead[-1])}"
            whose = f" of {short(ids[n])}" if ids is not None and len(rows) > 1 else ""
            told.append(f"{span}{whose} before {self.source.place(int(rows[n][k + 1]))}")
        more = f" and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
        word = calendar.word.removesuffix("s") if number == 1 else calendar.word
        if self.fill is None:
            raise self.source.error(f"{number} {word} {'is' if number == 1 else 'are'} missing: {'; '.join(told)}{more}; "
                                    f"{self._fills()} inserts {'it' if number == 1 else 'them'}")
        self.notes.append(f"inserted {number} missing {word}: {'; '.join(told)}{more}")
        found, filled = [], []
        for of, x, p in zip(rows, times, positions):
            if not len(p):
                found.append(of)
                filled.append(x)
                continue
            full = np.full(p[-1] + 1, -1)
            full[p] = of
            every = np.empty(p[-1] + 1, x.dtype)
            every[0] = x[0]
            if p[-1]:
                every[1:] = calendar.ahead(x[0], int(p[-1]))
            found.append(full)
            filled.append(every)
        return found, filled

    def _fills(self):
        option = self.source.option("fill")
        return f"{option} HOW (interpolate, previous, zero or seasonal)" if self.source.command else (
            f"{option}HOW ('interpolate', 'previous', 'zero' or 'seasonal')")

    # ---- Missing values

    def _fill(self, table, values, rows, times):
        """Set values, weights, times and ahead of the table."""
        O, K = len(self.targets), len(self.known)
        cut, found = [], []
        for n, of in enumerate(rows):
            x = np.where((of >= 0)[:, None], values[of], np.nan)
            told = np.flatnonzero(~np.isnan(x[:, :O]).all(axis=1))
            if not len(told):
                whose = f" of {short(table.ids[n])}" if table.ids else ""
                raise self.source.error(f"no value in any row{whose}", column=self.targets[0])
            begin, end = told[0], told[-1] + 1
            table.ahead.append(x[end:, len(x[0]) - K:])
            left = of[[*range(begin), *(range(end, len(of)) if not K else ())]]
            cut.extend(left[left >= 0])
            found.append((x[begin:end], of[begin:end], of[end:]))
            if times is not None:
                table.times = [*(table.times or ()), times[n][begin:end]]
        if cut:
            self.notes.append(f"left out the rows before the first and after the last value of {listed(self.targets)}: "
                              f"{self.source.places(cut)}")
        self._refuse_missing(found)
        filled = {}
        for n, (x, of, _) in enumerate(found):
            holes = np.isnan(x)
            table.weights.append(1.0 - holes[:, :O])
            for c in np.flatnonzero(holes.any(axis=0)):
                name = table.columns[c]
                if holes[:, c].all():
                    whose = f" of {short(table.ids[n])}" if table.ids else ""
                    raise self.source.error(f"no value in any row{whose}", column=name)
                filled.setdefault(name, []).extend(of[holes[:, c] & (of >= 0)])
                x[:, c] = _filled(x[:, c], self.fill, self._season(table.calendar))
            table.values.append(x)
        for n, (_, _, of) in enumerate(found if K else ()):
            ahead = table.ahead[n]
            for k in np.flatnonzero(np.isnan(ahead).any(axis=0)):
                whole = np.concatenate([table.values[n][:, O + len(self.inputs) + k], ahead[:, k]])
                ahead[:, k] = _filled(whole, self.fill, self._season(table.calendar))[len(whole) - len(ahead):]
        told = [f"{listed([name])} in {self.source.places(at)}" for name, at in filled.items() if len(at)]
        if told:
            self.notes.append(f"filled ({self.fill}): {'; '.join(told[:4])}")
        if self.source.command != "predict" and any((weights == 0).any() for weights in table.weights):
            later = self.fill in ("interpolate", "seasonal")
            self.notes.append("missing targets have no weight in training and in the errors"
                              + ("; as inputs they are filled from the values before and after" if later else ""))

    def _refuse_missing(self, found):
        """Raise ValueError about missing values without `fill`."""
        if self.fill is not None:
            return
        names = self.targets + self.inputs + self.known
        for c, name in enumerate(names):
            missing = np.concatenate([of[np.isnan(x[:, c])] for x, of, _ in found])
            if len(missing):
                words = "no value" if len(missing) == 1 else f"{len(missing)} values are missing"
                holes = [np.isnan(x[:, c]) for x, *_ in found]
                last = all(not hole.any() or hole[int(hole.argmax()):].all() for hole in holes)
                hint = ""
                if last and c < len(self.targets) > 1:
                    hint = f", and {self.source.value('target', name)} leaves out these last rows"
                raise self.source.error(f"{words} in {self.source.places(missing)}; {self._fills()} fills "
                                        f"{'it' if len(missing) == 1 else 'them'}{hint}", column=name)

    def _season(self, calendar):
        season = self.season or (calendar.season if calendar is not None else None)
        if self.fill == "seasonal" and not season:
            raise self.source.error(f"{self.source.value('fill', 'seasonal')} needs the number of steps of a season, which "
                                    "these times do not tell; use interpolate, previous or zero")
        return season


def _number(cell, decimal, thousands):
    """Return the number that a cell is, or None."""
    cell = cell.strip().replace("−", "-")
    if NUMBER.fullmatch(cell) and (decimal == "." or "." not in cell):
        return float(cell)
    if GROUPED.fullmatch(cell):
        cell = re.sub(r"[\s\u00a0\u202f\u2009'’]", "", cell)
    elif thousands and GROUPS[thousands].fullmatch(cell):
        cell = cell.replace(thousands, "")
    if decimal == ",":
        if "." in cell:
            return None
        cell = cell.replace(",", ".")
    return float(cell) if NUMBER.fullmatch(cell) else None


def _filled(x, how, season):
    """Return a column without NaN."""
    holes = np.isnan(x)
    if not holes.any():
        return x
    at, told = np.arange(len(x)), np.flatnonzero(~holes)
    if how == "zero":
        return np.where(holes, 0.0, x)
    if how == "previous":
        before = np.maximum.accumulate(np.where(holes, -1, at))
        return x[np.where(before < 0, told[0], before)]
    even = np.interp(at, told, x[told])
    if how == "interpolate":
        return even
    found = even.copy()
    for t in np.flatnonzero(holes):
        for far in range(season, len(x), season):
            near = [x[k] for k in (t - far, t + far) if 0 <= k < len(x) and not holes[k]]
            if near:
                found[t] = np.mean(near)
                break
    return found


def listed(names: Sequence[str], most: int = MOST) -> str:
    """Join names in a line, at most the first `most`."""
    shown = [name if len(name) <= 60 else name[:60] + "..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
