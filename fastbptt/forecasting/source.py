"""The cells of a table, from a file or from pandas, with the place of each for messages.

A new kind of file belongs here: it becomes UTF-8 text, or rows of text. What cells mean is not decided here.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib
import io
import lzma
import os
import re
import warnings
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from . import dates as _dates

INSTALL = 'pip install "fastbptt[forecast]"'
SEPARATORS = ",;\t|"
SAMPLE = 100  # number of rows that decide the separator
PREAMBLE = 30  # most lines of text above a table
MISSING = ("", "na", "n/a", "#n/a", "#na", "nan", "-nan", "null", "none", "<na>", "nil", "-", "--", "–", "—", ".", "..", "...",
           ":", "?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?[\d.,]*\d,\d[\d.,]*", re.ASCII)  # ambiguous: a decimal comma, or a thousands separator
MARKED = [*{variant for mark in MISSING for variant in (mark, mark.upper(), mark.capitalize())}, "NaN", "-NaN", "#N/A", "N/A"]
EXCEL = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".xlsb": "pyxlsb", ".ods": "odfpy"}
PARQUET = (".parquet", ".pq")
COMMENT = re.compile(r"\s*(#|%|//)")


def pandas() -> Any:
    """Return the module pandas. ImportError names the extra."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"a table needs pandas, which is not installed: {INSTALL} installs it") from error
    return pandas


def is_missing(cell: str) -> bool:
    """Return whether a cell, without the spaces around it, has no value."""
    return len(cell) < 5 and cell.lower() in MISSING  # a long cell's lower() takes 16 bytes a character


def short(cell: Any, most: int = 30) -> str:
    """Return a cell in quotes, cut to `most` characters."""
    cell = str(cell)
    return repr(cell if len(cell) <= most else cell[:most] + "...")


@dataclass
class Source:
    """A table whose columns have names.

    Attributes
    ----------
    name : str
        The file as given, or "the table".
    frame : DataFrame
        Its columns hold numbers, datetimes, periods, or text (object: str, or None where a cell has no value).
    has_header : bool
    lines : int array (n,) or None
        The line of each row in the file, or None for a table of pandas.
    unnamed : list of str
        Columns that have a number as name, because they have none.
    notes : list of str
    command : "train", "predict" or None
        The command whose options messages name. None names Python's.
    text : Text or None
        The file, from which a message quotes cells.
    kept : int array, or None
        The rows of the file that the frame still has.
    """

    name: str
    frame: Any
    has_header: bool = True
    lines: Any = None
    unnamed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str | None = None
    text: Text | None = None
    kept: Any = None

    def option(self, name: str) -> str:
        """Return how the user writes an option: --name for the command, name= in Python. `predict` has them from its model."""
        if self.command == "predict" and name in ("target", "inputs", "id"):
            return f"the model's {'id column' if name == 'id' else name.removesuffix('s')}"
        return f"--{name}" if self.command else f"{name}="

    def value(self, name: str, value: str) -> str:
        """Return how the user gives an option this value."""
        return f"--{name} {value}" if self.command else f"{name}={value!r}"

    def cell(self, row: int, column: str) -> str:
        """Return a cell as it is written."""
        if self.text is not None:
            at = list(self.frame.columns).index(column)
            row_in_file = row if self.kept is None else self.kept[row]
            for k, (_, cells) in enumerate(self.text.rows()):
                if k == row_in_file:
                    return cells[at].strip() if at < len(cells) else ""
        return str(self.frame[column].iloc[row])

    def place(self, row: int) -> str:
        """Return "line 7" of a row of a file, "row 7" of another table."""
        return f"line {self.lines[row]}" if self.lines is not None else f"row {row}"

    def places(self, rows: Any, most: int = 5) -> str:
        """Return "line 7", or "lines 7, 9, 11 and 4 more"."""
        rows = np.sort(np.asarray(rows))
        word = "line" if self.lines is not None else "row"
        numbers = [str(row if self.lines is None else self.lines[row]) for row in rows[:most]]
        more = f" and {len(rows) - most} more" if len(rows) > most else ""
        return f"{word}{'s' if len(rows) > 1 else ''} {', '.join(numbers)}{more}"

    def error(self, message: str, row: int | None = None, column: str | None = None) -> ValueError:
        """Return the ValueError about a cell, a column or the whole table."""
        place = "" if row is None else f", {self.place(row)}"
        if column is not None:
            place += f", column {short(column, 60) if self.has_header else column}"
        return ValueError(f"{self.name}{place}: {message}")


def from_path(path: Any, *, texts: Iterable[str] = (), decimal: str | None = None, header: bool | None = None,
              command: str | None = None) -> Source:
    """Read a file of text, compressed or not, of Excel, or of Parquet.

    Parameters
    ----------
    texts : names of columns that are read as text, such as ids with leading zeros
    decimal : "." or ",", optional
    header : bool, optional
        Whether the first row names the columns. By default this is detected.
    """
    pd = pandas()
    path = os.fspath(path)
    ending = os.path.splitext(path)[1].lower()
    if ending in PARQUET:
        with open(path, "rb"):  # OSError, as of other files
            pass
        try:
            frame = pd.read_parquet(path)
        except ImportError:
            raise ImportError(f"{path}: a Parquet file needs the package pyarrow (or fastparquet), which is not "
                              "installed") from None
        except Exception as error:
            raise ValueError(f"{path}: the Parquet file cannot be read: {_first_line(error)}") from None
        source = from_pandas(frame, name=path)
    else:
        with open(path, "rb") as file:
            data = file.read()
        if ending in EXCEL:
            text = _excel(path, ending)
        else:
            data, notes = _decoded(path, _unpacked(path, data))
            text = Text.of(path, data, decimal)
            text.notes[:0] = notes
        source = text.parse(set(texts), decimal, header)
    source.command = command
    return source


def _first_line(error):
    return str(error).partition("\n")[0][:200] or type(error).__name__


def _unpacked(path, data):
    """Return the bytes inside a compressed file, which its first bytes tell."""
    try:
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
        if data[:3] == b"BZh":
            return bz2.decompress(data)
        if data[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(data)
        if data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
                if len(names) == 1:
                    return archive.read(names[0])
        else:
            return data
    except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: the compressed file cannot be unpacked: {_first_line(error)}") from None
    if "[Content_Types].xml" in names:
        raise ValueError(f"{path}: the file is an Office document; its name must end in .xlsx")
    raise ValueError(f"{path}: the archive must have one file, it has {len(names)}")


def _decoded(path, data):
    """Return the text as UTF-8 without byte order mark, and notes about the encoding."""
    if data[:4] in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"):
        encoding = "utf-32"
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif len(data) > 3 and data[1::2][:200].count(0) > 0.8 * len(data[1::2][:200]):
        encoding = "utf-16-le"
    elif len(data) > 3 and data[::2][:200].count(0) > 0.8 * len(data[::2][:200]):
        encoding = "utf-16-be"
    else:
        encoding = "utf-8"
    notes = []
    if encoding == "utf-8":
        data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            if b"\0" in data:
                raise ValueError(f"{path}: the file is not text: it has zero bytes") from None
            found = f"0x{data[error.start]:02x}"
            try:
                data = data.decode("cp1252").encode()
                notes = [f"the file is read as Windows-1252, as the byte {found} in line {line} is not UTF-8"]
            except UnicodeDecodeError:
                data = data.decode("latin-1").encode()
                notes = [f"the file is read as Latin-1, as the byte {found} in line {line} is not UTF-8"]
    else:
        try:
            data = data.decode(encoding).removeprefix("\ufeff").encode()
        except UnicodeError as error:
            raise ValueError(f"{path}: the file starts like {encoding.upper()}, and is not: {_first_line(error)}") from None
    if b"\0" in data:
        raise ValueError(f"{path}, line {data.count(bytes([10]), 0, data.index(0)) + 1}: the file is not text: it has zero "
                         "bytes")
    return data, notes


@dataclass
class Text:
    """The rows of a file. `_rows` yields (line, cells) of every row that is not blank."""

    path: str
    data: bytes
    separator: str
    begin: int = 0  # number of lines above the table
    names: list[str] | None = None  # from a comment line above the table
    notes: list[str] = field(default_factory=list)
    cells: list[tuple[int, list[str]]] | None = None  # of Excel
    has_header: bool = False
    extra: bool = False  # rows have one empty cell more than the header
    index: bool = False  # rows have one cell more than the header, the first, as R writes them

    @classmethod
    def of(cls, path, data, decimal):
        """Find the first line of the table, and its separator."""
        text = cls(path, data, "")
        comment = None
        for line in _lines(data):
            stripped = line.strip()
            told = re.fullmatch(r'"?sep=(.)"?[,;\t]*', stripped + ("\t" if stripped.lower() == "sep=" else ""), re.IGNORECASE)
            if text.begin == 0 and told:
                text.separator = told[1]
            elif COMMENT.match(line):
                comment = COMMENT.sub("", stripped, count=1).strip()
            elif stripped.strip('",;|\t '):
                break
            text.begin += 1
        if not text.separator:
            text.separator = _separator(text, decimal)
        if text.separator == " ":
            text.data = b"\n".join(b" ".join(line.split()) for line in data.splitlines())
        text._skip_preamble()
        if comment is not None:
            text._name_by(comment)
        return text

    def _name_by(self, comment):
        """Take a comment above a table without a header as its header, if it has as many cells, as np.savetxt writes it."""
        first = [cells for _, cells in islice(self._rows(), 1)]
        names = comment.split() if self.separator == " " else next(csv.reader([comment], delimiter=self.separator), [])
        names = [name.strip() for name in names]
        if first and len(first[0]) == len(names) > 1 and all(names) and not any(map(_is_value, names)) and any(
                _is_value(cell.strip()) for cell in first[0]):
            self.names = names

    def _skip_preamble(self):
        """Skip lines of free text above a header, which have fewer cells."""
        rows = list(islice(self._rows(), SAMPLE))
        widths = Counter(len(cells) for _, cells in rows[1:])
        if not widths:
            return
        width = widths.most_common(1)[0][0]
        k = 0
        while k < min(PREAMBLE, len(rows)) and _filled(rows[k][1]) < width:
            k += 1
        if not 0 < k < len(rows) - 1 or len(rows[k][1]) != width or width < 2:
            return
        header, below = rows[k][1], rows[k + 1][1]
        if _is_header(header, [below]) and all(cell.strip() for cell in header[1:]):
            first, last = rows[0][0], rows[k][0] - 1
            self.begin = last
            self.notes.append(f"skipped {f'lines {first} to {last}' if last > first else f'line {first}'}, above the header")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        if self.cells is not None:
            yield from self.cells[self.begin:] if self.begin else self.cells
            return
        lines = _lines(self.data)
        for _ in range(self.begin):
            next(lines, None)
        reader = csv.reader(lines, delimiter=self.separator, strict=True)
        line = self.begin + 1
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()) and not (row[0][:1] in "#%/" and COMMENT.match(row[0])):
                    yield line, row
                line = self.begin + reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {line}: {error}") from None

    def rows(self):
        """Iterate over (line, cells) of each row below the header."""
        rows = self._rows()
        if self.has_header:
            next(rows)
        return rows

    def parse(self, texts, decimal, header):
        """Return the Source."""
        pandas()  # or ImportError that names the extra
        sample = list(islice(self._rows(), 5))
        if not sample:
            raise ValueError(f"{self.path}: the file is empty")
        top, below = sample[0][1], [cells for _, cells in sample[1:]]
        self.has_header = self.names is None and (_is_header(top, below) if header is None else header)
        width = len(below[0] if below and self.has_header else top)
        names = self.names or ([cell.strip() for cell in top] if self.has_header else [""] * width)
        if self.has_header and len(names) != width:
            one_more = len(names) == width - 1
            if one_more and all(len(cells) == width and not cells[-1].strip() for cells in below):
                self.extra, names = True, [*names, ""]
            elif one_more and self.separator != "," and below and all(len(cells) == width for cells in below) and all(names):
                self.index, names = True, ["", *names]
            else:  # the rows below are refused
                width = len(top)
        lines, ragged = array("q"), None
        for k, (line, cells) in enumerate(self.rows()):
            lines.append(line)
            if len(cells) != width and ragged is None:
                ragged = line, len(cells)
        if ragged is not None:
            self._refuse_ragged(ragged, sample[0], width)
        if not len(lines):
            raise ValueError(f"{self.path}: the file has a header and no rows")
        given = set(names)
        called = [name or (str(n) if str(n) not in given else f"column {n}") for n, name in enumerate(names, 1)]
        unnamed = [new for new, name in zip(called, names) if not name]
        names = called
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"{self.path}, line {sample[0][0]}: two columns are named {short(twice, 60)}")
        frame = self._frame(names, len(lines), texts, decimal)
        numbers = np.array(lines, np.int64)
        source = Source(self.path, frame, self.has_header or self.names is not None, numbers, unnamed, self.notes, text=self)
        if not source.has_header and header is None and width > 1:
            source.notes.append(f"the file has no header: its columns are named {', '.join(names[:3])}{', ...' * (width > 3)}")
        return source

    def _refuse_ragged(self, ragged, first, width):
        line, count = ragged
        hint = ""
        if self.separator == "," and count > width:
            hint = "; a text or number that contains a comma needs quotes, or another separator of columns"
        raise ValueError(f"{self.path}, line {line}: {count} field{'' if count == 1 else 's'} where line {first[0]} has "
                         f"{len(first[1])}{hint}")

    def _frame(self, names, length, texts, decimal):
        """Return the cells as a DataFrame. pandas reads them, or csv where pandas counts other rows."""
        pd = pandas()
        frame = None
        if self.cells is None:
            offset = _offset(self.data, self.begin + self._header_lines())
            marks = {name: MARKED for name in names if name not in texts} if texts else MARKED
            options = {"float_precision": "round_trip"} if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1) else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    frame = pd.read_csv(
                        io.BytesIO(self.data[offset:]), sep=self.separator, header=None, names=names, index_col=False,
                        dtype={name: str for name in texts if name in names}, keep_default_na=False, na_values=marks,
                        decimal=decimal or ".", skipinitialspace=True, low_memory=False, encoding="utf-8", **options)
                except (ValueError, OverflowError, csv.Error):  # pandas' own errors are ValueErrors
                    frame = None
        if frame is None or len(frame) != length:
            frame = pd.DataFrame([cells for _, cells in self.rows()], columns=names, dtype=object)
        for name in names:
            if frame[name].dtype.kind not in "iufb":
                frame[name] = _as_text(frame[name], "" if name in texts else None)
        return frame

    def _header_lines(self):
        """Return the number of lines from `begin` to the end of the header."""
        if not self.has_header:
            return 0
        following = next((line for line, _ in self.rows()), None)
        lines = _lines(self.data)
        for _ in range(self.begin):
            next(lines, None)
        reader = csv.reader(lines, delimiter=self.separator)
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()) and not (row[0][:1] in "#%/" and COMMENT.match(row[0])):
                return reader.line_num
        return following or 0


def _as_text(column, mark=None):
    """Return an object column of str, stripped, and None where there is no value, or only where the cell is `mark`."""
    pd = pandas()
    found = []
    for cell in column.tolist():
        if isinstance(cell, str):
            cell = cell.strip()
            found.append(None if (is_missing(cell) if mark is None else cell == mark) else cell)
        else:
            found.append(None if cell is None or cell is pd.NA or cell != cell else str(cell))
    return pd.Series(found, index=column.index, dtype=object)


def _filled(cells):
    return len([cell for cell in cells if cell.strip()])


def _lines(data):
    """Return an iterator over the lines of text, as the csv module needs them."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")


def _offset(data, lines):
    """Return where the line after this many lines begins."""
    at = 0
    for _ in range(lines):
        end = re.compile(b"\r\n|\n|\r").search(data, at)
        at = end.end() if end else len(data)
    return at


def _sample(text):
    lines = _lines(text.data)
    for _ in range(text.begin):
        next(lines, None)
    return [line for line in islice(lines, SAMPLE) if line.strip() and not COMMENT.match(line)]


def _separator(text, decimal):
    """Return the separator that gives the first rows equal numbers of fields, and the most readable fields."""
    lines = _sample(text)
    best, found = (0.0, 0.0), None
    for separator in SEPARATORS:
        if separator == decimal and not any('"' in line for line in lines):
            continue
        score = _score(csv.reader(lines, delimiter=separator))
        if score > best:
            best, found = score, separator
    if found is None or best[0] < 0.5:
        spaced = _score(csv.reader([" ".join(line.split()) for line in lines], delimiter=" "))
        if spaced[0] >= 0.5 and spaced[1] > 0.3:
            return " "
    return found or ("," if decimal != "," else ";")


def _score(rows):
    """Return the share of rows with the usual number of fields, and the share of readable fields. 0 if rows have one field."""
    widths, readable = [], 0
    try:
        for row in rows:
            if row:
                widths.append(len(row))
                readable += sum(_is_value(cell) or is_missing(cell) or bool(COMMA.fullmatch(cell))
                                for cell in map(str.strip, row))
    except csv.Error:
        return 0.0, 0.0
    if max(widths, default=1) == 1:
        return 0.0, 0.0
    usual = max(widths.count(width) for width in set(widths) if width > 1)
    return usual / len(widths), readable / sum(widths)


def _is_value(cell):
    return bool(NUMBER.fullmatch(cell)) or len(cell) < 40 and any(map(str.isdigit, cell)) and _dates.form_of([cell]) is not None


def _is_header(top, below):
    """Return whether a row names the columns below it.

    It does if it is all text; if it has text over numbers or dates; or if its first cell is empty over a cell that is not, as
    pandas writes an index.
    """
    first = [cell.strip() for cell in top]
    text = [not is_missing(cell) and not _is_value(cell) and not COMMA.fullmatch(cell) for cell in first]
    if all(text):
        return True
    under = [cells for cells in below if len(cells) in (len(first), len(first) + 1)]
    if not under:
        return False
    if any(text[n] and _is_value(under[0][n].strip()) for n in range(len(first))):
        return True
    filled = [cell for cell in first[1:] if cell]
    if text[0] and len(first) > 3 and all(cell.isdigit() for cell in first[1:]):  # a table of a row for each series
        if set(np.diff([int(cell) for cell in first[1:]])) == {1}:
            return True
    return (not first[0] and len(filled) >= len(first) - 2 and len(set(filled)) == len(filled) > 0
            and all(cells[0].strip() for cells in under) and all(t or cell.isdigit() or not cell for t, cell in
                                                                 zip(text[1:], first[1:])))


# ---- Excel and pandas


def _excel(path, ending):
    """Return the first sheet as Text."""
    pd = pandas()
    try:
        importlib.import_module({"odfpy": "odf"}.get(EXCEL[ending], EXCEL[ending]))
        with pd.ExcelFile(path) as book:
            sheets = book.sheet_names
            frame = book.parse(sheets[0], header=None, dtype=object)
    except ImportError:
        raise ImportError(f"{path}: a file {ending} needs the package {EXCEL[ending]}, which is not installed") from None
    except Exception as error:
        raise ValueError(f"{path}: the Excel file cannot be read: {_first_line(error)}") from None
    rows = [(k, [_written(cell) for cell in cells]) for k, cells in enumerate(frame.itertuples(index=False, name=None), 1)]
    text = Text(path, b"", "", cells=[(line, cells) for line, cells in rows if any(cells)])
    if len(sheets) > 1:
        text.notes.append(f"read the first of {len(sheets)} sheets, {short(sheets[0])}")
    return text


def _written(cell):
    """Return the text of a cell of Excel."""
    pd = pandas()
    if cell is None or cell is pd.NaT or isinstance(cell, float) and np.isnan(cell):
        return ""
    if hasattr(cell, "isoformat"):
        timed = hasattr(cell, "hour") and hasattr(cell, "year")
        return cell.isoformat(" ").removesuffix(" 00:00:00") if timed else cell.isoformat()
    return str(cell)


def from_pandas(data: Any, name: str = "the table") -> Source:
    """Take a DataFrame or a Series. A named index, or one of dates or periods, becomes the first column."""
    pd = pandas()
    if isinstance(data, pd.Series):
        data = data.to_frame("value" if data.name is None else data.name)
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"expected a path, a DataFrame or a Series, got {type(data).__name__}")
    if isinstance(data.columns, pd.MultiIndex):
        raise ValueError(f"{name}: the columns have {data.columns.nlevels} levels; they must have one")
    frame = data.copy(deep=False)
    frame.columns = [str(column) for column in frame.columns]
    timed = isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex | pd.MultiIndex)
    if timed or frame.index.name is not None or frame.index.dtype.kind not in "iu":
        index = frame.index.to_frame(index=False)
        index.columns = [str(level) if level is not None else ("index" if len(index.columns) == 1 else f"index {n}")
                         for n, level in enumerate(frame.index.names)]
        clash = [column for column in index.columns if column in set(frame.columns)]
        index = index.drop(columns=[column for column in clash if not timed])
        index.columns = [f"index {column}" if column in clash else column for column in index.columns]
        frame = pd.concat([index, frame.reset_index(drop=True)], axis=1)
    else:
        frame = frame.reset_index(drop=True)
    twice = [column for column, count in Counter(frame.columns).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: two columns are named {short(twice[0], 60)}")
    if not len(frame):
        raise ValueError(f"{name}: the table has no rows")
    for column in frame.columns:
        dtype = frame[column].dtype
        if isinstance(dtype, pd.PeriodDtype | pd.DatetimeTZDtype) or dtype.kind == "M":
            continue
        if dtype.kind == "c" or dtype.kind == "m":
            raise ValueError(f"{name}, column {short(column, 60)}: values of dtype {dtype} cannot be read")
        if pd.api.types.is_numeric_dtype(dtype) and not isinstance(dtype, pd.CategoricalDtype):
            whole = dtype.kind in "iub" and not frame[column].isna().any()
            frame[column] = frame[column].to_numpy(**({} if whole and isinstance(dtype, np.dtype) else
                                                      {"dtype": np.float64, "na_value": np.nan}))
        else:
            frame[column] = _as_text(frame[column].astype(object))
    return Source(name, frame)
