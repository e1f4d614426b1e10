"""Read series from a CSV file. Errors are one line with the place and the reason.

Ambiguous content is refused: numbers have a decimal point, dates are ISO 8601, and missing values, rows of unequal length
and text in place of a number are refused with their line. A new form of cells is read here.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from .calendar import DATE, Calendar

SEPARATORS = ",;\t"
SAMPLE = 200  # number of rows that decide the separator
CELLS = 600  # about this many cells are text at one time, or those of one row
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "-", ".", "?"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA = re.compile(r"[+-]?[\d.,]*\d,\d[\d.,]*")  # ambiguous: a decimal comma, or a thousands separator
END = re.compile("\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")  # the end of a line
YEAR = re.compile(r"[12]\d{3}")


@dataclass
class Series:
    """One or more series with the same columns.

    Attributes
    ----------
    values : list of arrays (T_n, C) float64, targets first, then inputs
    targets, inputs : lists of column names: the first O of the C columns, and the others
    ids : list of str, or None if the file has one series
    calendar : Calendar, or None without dates
    dates : list of arrays (T_n,) datetime64, or None
    notes : list of str: what was ignored, and why
    """

    values: list[np.ndarray]
    targets: list[str]
    inputs: list[str] = field(default_factory=list)
    ids: list[str] | None = None
    calendar: Calendar | None = None
    dates: list[np.ndarray] | None = None
    notes: list[str] = field(default_factory=list)

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


def read(path: str, targets: list[str] | None = None, inputs: list[str] | None = None, id: str | None = None,
         header: bool | None = None) -> Series:
    """Read the series of the CSV file at `path`.

    Parameters
    ----------
    targets, inputs : lists of column names, optional
        The columns to forecast, and the columns to read in addition. By default all columns of numbers are targets.
    id : str, optional
        The column with the name of each row's series. The rows of a series need not be adjacent.
    header : bool, optional
        Whether the first row names the columns. By default this is detected. Without a header their names are 1, 2, ...

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        For all other errors. The message is one line with file, line and column.
    """
    table = _parse(path, header)
    return _series(table, *_roles(table, targets, inputs, id))


# ---- Text


@dataclass
class Table:
    """A file whose rows all have the same length.

    Each pass reads the cells again: kept as text they would take a hundred times their size.
    """

    path: str
    data: bytes
    separator: str
    names: list[str]
    width: int = 0
    length: int = 0  # rows, without the header
    has_header: bool = False
    places: dict[str, int] = field(default_factory=dict)  # the column number of each name

    def records(self):
        """Iterate over (first line, cells) of each row below the header."""
        records = _records(self.path, self.data, self.separator)
        if self.has_header:
            next(records)
        return records

    def refuse(self, message, line=None, column=None):
        place = "" if line is None else f", line {line}"
        if column is not None:
            place += f", column {_short(column, 60) if self.has_header else column}"
        raise ValueError(f"{self.path}{place}: {message}")


def _parse(path, header):
    """Return the file as a Table. Raise ValueError if its rows differ in length."""
    data = _data(path)
    table = Table(path, data, _separator(data), [])
    first, ragged = [], None  # the first two rows with their lines; the error about the first row of another length
    for line, row in _records(path, data, table.separator):
        if len(first) < 2:
            first.append((line, row))
        if len(row) != len(first[0][1]) and ragged is None:
            ragged = f"{_count(len(row), 'field')} where line {first[0][0]} has {len(first[0][1])}", line
        table.length += 1
    if not first:
        table.refuse("the file is empty")
    if ragged is not None:
        table.refuse(*ragged)
    row = first[0][1]
    table.width = len(row)
    table.has_header = _has_header(table, *first) if header is None else header
    if table.has_header:
        table.names = [cell.strip() or str(n) for n, cell in enumerate(row, 1)]
        table.length -= 1
        if len(set(table.names)) < table.width:
            counts = Counter(table.names)
            twice = next(name for name in table.names if counts[name] > 1)
            table.refuse(f"two columns are named {_short(twice, 60)}", 1)
        if not table.length:
            table.refuse("the file has a header and no rows")
    else:
        table.names = [str(n) for n in range(1, table.width + 1)]
    table.places = {name: n for n, name in enumerate(table.names)}
    return table


def _data(path):
    """Return the file's bytes. Raise ValueError if they are not UTF-8."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; save the file as "
                         "UTF-8 text") from None
    return data


def _lines(data):
    """Return an iterator over the lines of text, as the csv module needs them."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")


def _records(path, data, separator):
    """Iterate over (first line, cells) of each row that is not blank.

    A row of separators only counts if it is as long as the first.
    """
    reader, line, width = csv.reader(_lines(data), delimiter=separator, strict=True), 1, 0
    try:
        for row in reader:
            if row and (row[0].strip() or len(row) == width > 1 or any(cell.strip() for cell in row)):
                width = width or len(row)
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from None


def _sample(data):
    """Iterate over the first lines. Lines end as in str.splitlines, which knows more line ends than csv."""
    left = SAMPLE
    for line in _lines(data):
        ends = [end.end() for end in islice(END.finditer(line), left)]
        left -= len(ends)
        yield line if left else line[:ends[-1]]
        if not left:
            return


def _separator(data):
    """Return the separator that gives the first rows equal numbers of fields, and the most readable fields."""
    best, found = (0.0, 0.0), SEPARATORS[0]
    for separator in SEPARATORS:
        widths, readable = [], 0
        try:
            for row in csv.reader(_sample(data), delimiter=separator):
                if row:
                    widths.append(len(row))
                    readable += sum(_is_value(cell) or _is_missing(cell) or bool(COMMA.fullmatch(cell))
                                    for cell in map(str.strip, row))
        except csv.Error:
            continue
        if max(widths, default=1) == 1:
            continue
        usual = max(widths.count(width) for width in set(widths) if width > 1)
        score = (usual / len(widths), readable / sum(widths))
        if score > best:
            best, found = score, separator
    return found


def _is_missing(cell):
    return len(cell) < 5 and cell.lower() in MISSING  # a long cell's lower() takes 16 bytes a character


def _is_value(cell):
    return bool(NUMBER.fullmatch(cell) or DATE.fullmatch(cell))


def _has_header(table, top, below=None):
    """Return whether the first row is text above a column of numbers or dates, or only text.

    top, below : the first two rows, each with its line.
    """
    first = [cell.strip() for cell in top[1]]
    text = [not _is_missing(cell) and not _is_value(cell) and not COMMA.fullmatch(cell)
            for cell in first]
    if all(text):
        return True
    over = [n for n, cell in enumerate(first) if text[n] and below and _is_value(below[1][n].strip())]
    if not over:
        return False
    for n, cell in enumerate(first):  # a year may be a column's name, 12.5 may not
        if not text[n] and NUMBER.fullmatch(cell) and not cell.isdigit():
            table.has_header, table.names = False, []
            table.refuse(f"{_short(first[over[0]])} is not a number and {cell!r} is not a column name: the first row must be "
                         "either a header or numbers", top[0])
    return True


# ---- The roles of columns


def _roles(table, targets, inputs, id):
    """Return names of targets and inputs, the Groups of rows, the name of the date column (or None of each), and notes."""
    for option, names in (("--target", targets), ("--inputs", inputs), ("--id", [id] if id is not None else None)):
        for name in names or ():
            if name not in table.names:
                table.refuse(f"{option} {name!r} is not a column of the file{_near(name, table)}")
    named = [*(targets or ()), *(inputs or ()), *([id] if id is not None else ())]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        table.refuse(f"column {twice!r} is given more than once as --target, --inputs or --id")
    chosen = set(named)
    groups, date, kinds = _survey(table, id, [name for name in table.names if name not in chosen], not targets)
    kinds.pop(date, None)
    others = list(kinds)
    notes = []
    if not targets:
        targets = [name for name in others if kinds[name] == "numbers"]
        if any(kind == "text" for kind in kinds.values()):
            ignored = ", ".join(name for name in others if kinds[name] == "text")
            notes.append(f"ignored, as they have no numbers: {ignored}")
        if any(kind == "rows" for kind in kinds.values()):
            notes.append("ignored, as it only counts the rows: the first column")
        if not targets:
            table.refuse(("no column of numbers is left to forecast" if named else "the file has no column of numbers")
                         + f"; the columns are {listed(table.names)}")
    return list(targets), list(inputs or ()), groups, date, notes


def _near(name, table):
    near = difflib.get_close_matches(name, table.names, n=2, cutoff=0.5)
    near += [other for other in table.names if other.lower() == name.lower() and other not in near]
    columns = f"its columns are {listed(table.names)}" + ("" if table.has_header else " (it has no header)")
    return (f"; did you mean {' or '.join(_short(other, 60) for other in near)}? " if near else "; ") + columns


def listed(names, most=12):
    """Join names in a line, at most the first `most`."""
    shown = [name if len(name) <= 60 else name[:60] + "..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class Groups:
    """The ids in order of first occurrence, and for each row the index of its id."""

    ids: list[str]
    codes: np.ndarray

    def rows(self):
        """Return the rows of each series."""
        order = np.argsort(self.codes, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.codes))[:-1])


def _survey(table, id, names, kinds_asked):
    """Return the Groups of column `id` (None without), the name of the date column among `names` (or None), {name: kind}.

    The date column is the first one whose first cell is a date. Plain years count as dates only if they are consecutive.
    Kinds, if requested, are "numbers" (at least some), "text", "nothing", or "rows": the unnamed row index of pandas.
    """
    places = table.places
    ids, codes, missing = {}, None if id is None else array("i"), Missing()
    kinds, unknown, filled = dict.fromkeys(names, "text"), list(names) if kinds_asked else [], set()
    years, dated, repeated, count = {}, None, False, None  # years: by column, the next year expected in each series
    for k, (line, row) in enumerate(table.records()):
        code = 0
        if id is not None:
            cell = row[places[id]].strip()
            if not cell:
                missing.add(line)
            code = ids.setdefault(cell, len(ids))
            codes.append(code)
        if k == 0:
            for name in names:
                cell = row[places[name]].strip()
                if YEAR.fullmatch(cell):
                    years[name] = array("h")
                elif DATE.fullmatch(cell):
                    dated = name
                    break
            if "1" in unknown and places["1"] == 0 and table.has_header and row[0].strip() in ("0", "1"):
                count = int(row[0])
        for name in list(years):
            cell, due = row[places[name]].strip(), years[name]
            begun = code < len(due)
            if not YEAR.fullmatch(cell) or begun and int(cell) != due[code]:
                del years[name]
            elif begun:
                due[code], repeated = int(cell) + 1, True
            else:
                due.append(int(cell) + 1)
        if count is not None:
            count = count + 1 if row[0].strip() == str(count) else None
        known = False
        for name in unknown:
            cell = row[places[name]].strip()
            if cell:
                filled.add(name)
                if NUMBER.fullmatch(cell) or COMMA.fullmatch(cell):
                    kinds[name], known = "numbers", True
        if known or not years:
            unknown = [name for name in unknown if kinds[name] != "numbers" and (years or name != dated)]
        if not (unknown or years or id is not None or count is not None):
            break
    if missing.number:
        missing.refuse(table, id)
    for name in unknown:
        if name not in filled and table.has_header and name.isdigit():
            kinds[name] = "nothing"
    if count is not None:
        kinds["1"] = "rows"
    groups = None if id is None else Groups(list(ids), np.frombuffer(codes, np.int32))
    return groups, next(iter(years), dated) if repeated else dated, kinds


# ---- Numbers and dates


def _series(table, targets, inputs, groups, date, notes):
    values, dates = _values(table, (*targets, *inputs), date)
    rows = [slice(None)] if groups is None else groups.rows()
    ids = None if groups is None else groups.ids
    series = Series([values[of] for of in rows], targets, inputs, ids, notes=notes)
    if date is not None:
        series.calendar, series.dates = _calendar(table, date, ids, rows, dates, notes)
    return series


@dataclass
class Missing:
    """The number of cells of a column without a value, and the lines of the first."""

    number: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line, most=5):
        self.number += 1
        if self.number <= most:
            self.lines.append(line)

    def refuse(self, table, name):
        more = f" and {self.number - len(self.lines)} more" if self.number > len(self.lines) else ""
        words = "no value" if self.number == 1 else f"{self.number} values are missing"
        table.refuse(f"{words} in line{'s' if self.number > 1 else ''} {', '.join(map(str, self.lines))}{more}; "
                     "fill or remove them first", column=name)


class Column:
    """Reader of one column of numbers, into values[:, k]. It records the first cell that is not a number."""

    __slots__ = "name", "place", "values", "k", "missing", "wrong", "large"

    def __init__(self, name, place, values, k):
        self.name, self.place, self.values, self.k = name, place, values, k
        self.missing = self.wrong = self.large = None

    def add(self, begin, lines, cells):
        if not all(map(NUMBER.fullmatch, cells)):
            for line, cell in zip(lines, cells):
                if _is_missing(cell):
                    self.missing = self.missing or Missing()
                    self.missing.add(line)
                elif self.wrong is None and not NUMBER.fullmatch(cell):
                    self.wrong = line, cell
        elif self.wrong is None and self.missing is None and self.large is None:
            values = self.values[begin:begin + len(cells), self.k]
            values[:] = list(map(float, cells))
            if not np.isfinite(values).all():
                at = int(np.argmin(np.isfinite(values)))
                self.large = lines[at], cells[at]

    def refuse_what_is_wrong(self, table):
        if self.missing is not None:
            self.missing.refuse(table, self.name)
        if self.wrong is not None:
            line, cell = self.wrong
            hint = (": a comma may be a decimal comma or a thousands separator; write 1234.5" if COMMA.fullmatch(cell)
                    else "")
            table.refuse(f"{_short(cell)} is not a number{hint}", line, self.name)
        if self.large is not None:
            line, cell = self.large
            table.refuse(f"{_short(cell)} is too large a number", line, self.name)


class Dates:
    """Reader of a column of dates. It records the first cell that is not a date."""

    def __init__(self, place):
        self.place, self.parts, self.wrong = place, [], None

    def add(self, begin, lines, cells):
        parsed = []
        for line, cell in zip(lines, cells if self.wrong is None else ()):
            try:
                if not (DATE.fullmatch(cell) or YEAR.fullmatch(cell)):
                    raise ValueError
                parsed.append(np.datetime64(cell.replace("/", "-").replace(" ", "T").removesuffix("Z")))
            except ValueError:
                self.wrong = line, cell, bool(parsed or self.parts)
                break
        if parsed:
            self.parts.append(np.array(parsed))


def _values(table, names, date):
    """Return the columns `names` as an array (T, C), and the dates, or None."""
    values, begin = np.empty((table.length, len(names))), 0
    columns = [Column(name, table.places[name], values, k) for k, name in enumerate(names)]
    dates = None if date is None else Dates(table.places[date])
    readers = columns if dates is None else [*columns, dates]
    records, most = table.records(), CELLS // (table.width + 2) + 1
    while some := list(islice(records, most)):
        lines, rows = zip(*some)
        for reader in readers:
            reader.add(begin, lines, [row[reader.place].strip() for row in rows])
        begin += len(rows)
    for column in columns:
        column.refuse_what_is_wrong(table)
    if dates is None:
        return values, None
    if dates.wrong is not None:
        line, cell, later = dates.wrong
        table.refuse(f"{_short(cell)} is not a date{' like those before it' if later else ''}", line, date)
    return values, np.concatenate(dates.parts)


def _calendar(table, name, ids, rows, dates, notes):
    """Return the calendar, and the dates of each series. Raise ValueError if they do not increase."""
    for n, of in enumerate(rows):
        falls = np.flatnonzero(dates[of][1:] <= dates[of][:-1])
        if len(falls):
            _refuse_falling(table, name, np.arange(table.length)[of][falls[0]:][:2], ids and ids[n])
    calendar, series = Calendar.of([dates[of] for of in rows])
    if calendar.step is None:
        notes.append("the dates are not evenly spaced: each row counts as one step")
    return calendar, series


def _refuse_falling(table, name, rows, id):
    (before, earlier), (line, later) = [
        (line, row[table.places[name]].strip()) for k, (line, row) in enumerate(table.records()) if k in rows]
    hint = f" of {id!r}" if id is not None else "; use --id COLUMN if the rows belong to several series"
    table.refuse(f"{later} does not come after {earlier} of line {before}: rows must go from the oldest to the "
                 f"newest{hint}", line, name)


def _short(cell, most=30):
    return repr(cell if len(cell) <= most else cell[:most] + "...")


def _count(number, word):
    return f"{number} {word}{'' if number == 1 else 's'}"
