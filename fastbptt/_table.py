"""Series from a CSV file, or a refusal that says in one line what stands where.

Nothing is guessed that two readers could read differently: numbers have a decimal point, dates are ISO 8601's, and what
is missing, ragged or no number is refused with its line.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from dataclasses import dataclass, field

import numpy as np

from ._calendar import DATE, Calendar

SEPARATORS = ",;\t"
SAMPLE = 200  # rows that decide the separator
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "-", ".", "?"))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA = re.compile(r"[+-]?[\d.,]*\d,\d[\d.,]*")  # a decimal comma, or commas between thousands: nobody knows which
YEAR = re.compile(r"[12]\d{3}")


@dataclass
class Series:
    """One or more series of the same columns.

    Attributes
    ----------
    values : list of arrays (T_n, C) float64, targets first, then inputs
    targets, inputs : lists of column names; the first O of the C columns, and the others
    ids : list of str, or None where the file holds one series
    calendar : Calendar, or None where there are no dates
    dates : list of arrays (T_n,) datetime64, or None
    notes : list of str, what was left out and why
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
        """The word for steps."""
        return self.calendar.word if self.calendar else "steps"

    def steps(self, number: int) -> str:
        """A number of steps in words."""
        return f"{number} {self.unit.removesuffix('s') if number == 1 else self.unit}"

    def name(self, n: int) -> str:
        """Series n in words; "" where there is no other."""
        return f"series {self.ids[n]!r}" if self.ids else ""


def read(path: str, targets: list[str] | None = None, inputs: list[str] | None = None, id: str | None = None,
         header: bool | None = None) -> Series:
    """The series of the CSV file at `path`.

    Parameters
    ----------
    targets, inputs : lists of column names, optional
        What is forecast, and what is read beside it. By default all columns of numbers are targets.
    id : str, optional
        The column that says which series a row belongs to; rows of a series need not stand together.
    header : bool, optional
        Whether the first row names the columns; by default that is seen. Without, their names are 1, 2, ...

    Raises
    ------
    OSError : the file cannot be opened.
    ValueError : anything else; the message is one line, and names file, line and column.
    """
    table = _parse(path, header)
    roles = _roles(table, targets, inputs, id)
    return _series(table, *roles)


# ---- Text


@dataclass
class Table:
    """Cells as text, and the line of the file each row begins in."""

    path: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    has_header: bool

    def column(self, name):
        return [row[self.names.index(name)].strip() for row in self.rows]

    def refuse(self, message, line=None, column=None):
        place = "" if line is None else f", line {line}"
        place += "" if column is None else f", column {column!r}" if self.has_header else f", column {column}"
        raise ValueError(f"{self.path}{place}: {message}")


def _parse(path, header):
    """The file as a Table, all rows of one length."""
    text = _text(path)
    separator = _separator(text)
    rows, lines = [], []
    for line, row in _rows(path, text, separator):
        if any(cell.strip() for cell in row) or (len(row) > 1 and rows and len(row) == len(rows[0])):
            rows.append(row)
            lines.append(line)
    table = Table(path, [], rows, lines, False)
    if not rows:
        table.refuse("the file is empty")
    for line, row in zip(lines, rows):
        if len(row) != len(rows[0]):
            table.refuse(f"{_count(len(row), 'field')} where line {lines[0]} has {len(rows[0])}", line)
    table.has_header = _has_header(table) if header is None else header
    if table.has_header:
        table.names = [cell.strip() or str(n) for n, cell in enumerate(rows[0], 1)]
        del rows[0], lines[0]
        twice = next((name for name in table.names if table.names.count(name) > 1), None)
        if twice is not None:
            table.refuse(f"two columns are named {twice!r}", 1)
        if not rows:
            table.refuse("there is a header and nothing under it")
    else:
        table.names = [str(n) for n in range(1, len(rows[0]) + 1)]
    return table


def _text(path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; save the file as "
                         "UTF-8 text") from None


def _rows(path, text, separator):
    """(line, row) of each row that is not blank."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from None


def _separator(text):
    """The separator under which the first rows have equally many fields, and the most fields that can be read."""
    sample = "".join(text.splitlines(keepends=True)[:SAMPLE])
    best, found = (0.0, 0.0), SEPARATORS[0]
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=separator) if row]
        except csv.Error:
            continue
        widths = [len(row) for row in rows]
        if max(widths, default=1) == 1:
            continue
        cells = [cell.strip() for row in rows for cell in row]
        readable = sum(_is_value(cell) or cell.lower() in MISSING or bool(COMMA.fullmatch(cell)) for cell in cells)
        usual = max(widths.count(width) for width in set(widths) if width > 1)
        score = (usual / len(widths), readable / len(cells))
        if score > best:
            best, found = score, separator
    return found


def _is_value(cell):
    return bool(NUMBER.fullmatch(cell) or DATE.fullmatch(cell))


def _has_header(table):
    """Whether the first row is text over a column of numbers or dates, or nothing but text."""
    first, below = [cell.strip() for cell in table.rows[0]], table.rows[1:]
    text = [bool(cell) and cell.lower() not in MISSING and not _is_value(cell) and not COMMA.fullmatch(cell)
            for cell in first]
    if all(text):
        return True
    over = [n for n, cell in enumerate(first) if text[n] and below and _is_value(below[0][n].strip())]
    if not over:
        return False
    for n, cell in enumerate(first):  # years may name columns, 12.5 does not
        if not text[n] and NUMBER.fullmatch(cell) and not cell.isdigit():
            table.has_header, table.names = False, []
            table.refuse(f"{first[over[0]]!r} is no number, and {cell!r} no column's name: is it a header or a row?",
                         table.lines[0])
    return True


# ---- The columns' parts


def _roles(table, targets, inputs, id):
    """Names of targets and inputs, of the id and of the date column (or None), and notes."""
    for option, names in (("--target", targets), ("--inputs", inputs), ("--id", [id] if id is not None else None)):
        for name in names or ():
            if name not in table.names:
                table.refuse(f"{option} {name!r} is no column of it{_near(name, table)}")
    named = [*(targets or ()), *(inputs or ()), *([id] if id is not None else ())]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        table.refuse(f"column {twice!r} is given more than once as --target, --inputs or --id")
    rows = _groups(table, id)[1]
    date = next((name for name in table.names if name not in named and _is_date(table.column(name), rows)), None)
    others = [name for name in table.names if name not in named and name != date]
    notes = []
    if not targets:
        kinds = {name: _kind(table, name, rows) for name in others}
        targets = [name for name in others if kinds[name] == "numbers"]
        if any(kind == "text" for kind in kinds.values()):
            ignored = ", ".join(name for name in others if kinds[name] == "text")
            notes.append(f"ignored, as they are no numbers: {ignored}")
        if any(kind == "rows" for kind in kinds.values()):
            notes.append("ignored, as it counts the rows: the first column")
        if not targets:
            table.refuse("no column of numbers" + (" is left to forecast" if named else " is in it")
                         + f"; the columns are {listed(table.names)}")
    return list(targets), list(inputs or ()), id, date, notes


def _near(name, table):
    near = difflib.get_close_matches(name, table.names, n=2, cutoff=0.5)
    near += [other for other in table.names if other.lower() == name.lower() and other not in near]
    columns = f"its columns are {listed(table.names)}" + ("" if table.has_header else ", as it has no header")
    return (f"; did you mean {' or '.join(map(repr, near))}? " if near else "; ") + columns


def listed(names, most=12):
    """Names in a line, the first of them where they are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _groups(table, id):
    """The ids in the order in which they come, and the rows of each."""
    if id is None:
        return None, [list(range(len(table.rows)))]
    groups = {}
    for row, name in enumerate(table.column(id)):
        groups.setdefault(name, []).append(row)
    if "" in groups:
        _refuse_missing(table, id, groups[""])
    return list(groups), list(groups.values())


def _is_date(cells, groups):
    """Whether a column is of dates, as its first cell says; years alone are only where they follow one another."""
    if YEAR.fullmatch(cells[0]):
        return any(len(rows) > 1 for rows in groups) and all(
            YEAR.fullmatch(cells[row]) and int(cells[row]) == int(cells[rows[0]]) + k
            for rows in groups for k, row in enumerate(rows))
    return bool(DATE.fullmatch(cells[0]))


def _kind(table, name, groups):
    """Whether a column holds "numbers" (some at least), "text", or "rows": pandas' unnamed count of rows."""
    cells = table.column(name)
    if table.has_header and name == "1" and table.names[0] == "1" and cells[0] in ("0", "1") and all(
            cell == str(k) for k, cell in enumerate(cells, int(cells[0]))):
        return "rows"
    if any(NUMBER.fullmatch(cell) or COMMA.fullmatch(cell) for cell in cells):
        return "numbers"
    return "nothing" if all(cell == "" for cell in cells) and table.has_header and name.isdigit() else "text"


# ---- Numbers and dates


def _series(table, targets, inputs, id, date, notes):
    columns = np.stack([_numbers(table, name) for name in (*targets, *inputs)], axis=1)
    ids, groups = _groups(table, id)
    series = Series([columns[rows] for rows in groups], targets, inputs, ids, notes=notes)
    if date is not None:
        series.calendar, series.dates = _dates(table, date, ids, groups, notes)
    return series


def _numbers(table, name):
    cells = table.column(name)
    missing = [row for row, cell in enumerate(cells) if cell.lower() in MISSING]
    if missing:
        _refuse_missing(table, name, missing)
    for line, cell in zip(table.lines, cells):
        if not NUMBER.fullmatch(cell):
            hint = (": a comma within a number is a decimal comma to some and stands between thousands to others; "
                    "write 1234.5" if COMMA.fullmatch(cell) else "")
            table.refuse(f"{_short(cell)} is no number{hint}", line, name)
    values = np.array(cells, np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        table.refuse(f"{_short(cells[row])} is too large a number", table.lines[row], name)
    return values


def _refuse_missing(table, name, rows, most=5):
    lines = ", ".join(str(table.lines[row]) for row in rows[:most])
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    words = "no value" if len(rows) == 1 else f"{len(rows)} values are missing"
    table.refuse(f"{words} in line{'s' if len(rows) > 1 else ''} {lines}{more}; fill or remove them first", column=name)


def _dates(table, name, ids, groups, notes):
    """The calendar, and the dates of each series, which must rise."""
    cells, parsed = table.column(name), []
    for line, cell in zip(table.lines, cells):
        try:
            if not (DATE.fullmatch(cell) or YEAR.fullmatch(cell)):
                raise ValueError
            parsed.append(np.datetime64(cell.replace("/", "-").replace(" ", "T").removesuffix("Z")))
        except ValueError:
            table.refuse(f"{_short(cell)} is no date{' such as those before it' if parsed else ''}", line, name)
    parsed = np.array(parsed)
    for n, rows in enumerate(groups):
        falls = np.flatnonzero(parsed[rows][1:] <= parsed[rows][:-1])
        if len(falls):
            before, row = rows[falls[0]], rows[falls[0] + 1]
            hint = f" of {ids[n]!r}" if ids else "; --id COLUMN says that rows belong to several series"
            table.refuse(f"{cells[row]} does not come after {cells[before]} of line {table.lines[before]}: rows must "
                         f"go from the oldest to the newest{hint}", table.lines[row], name)
    calendar, dates = Calendar.of([parsed[rows] for rows in groups])
    if calendar.step is None:
        notes.append("the dates are not evenly spaced: each row counts as one step, whatever lies between")
    return calendar, dates


def _short(cell, most=30):
    return repr(cell if len(cell) <= most else cell[:most] + "...")


def _count(number, word):
    return f"{number} {word}{'' if number == 1 else 's'}"
