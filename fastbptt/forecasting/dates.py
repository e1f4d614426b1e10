"""Dates as people write them. A new form is a row of `FORMS`.

`read` returns times in the unit in which they are written, or the row of the first cell that is no date.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_NAME = r"(?P<n>(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?|january|february|march|april|may|june|july|august|" \
             r"september|october|november|december)"
WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?[.,]*\s+)?"
CLOCK = (r"(?:(?P<t>[T ,]\s*)(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<p>[ap]\.?m\.?)?)?"
         r"(?:\s*(?P<z>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?")
YEAR, DAY = r"(?P<y>\d{4})", r"(?P<d>\d{1,2})"
SHORT_YEAR = r"(?P<y>\d{4}|'?\d{2})"

# A form is a name and a pattern. Its groups: y year, m month, n name of a month, d day, a and b day and month in either order,
# q quarter, h half, w week, k day of the week, and those of CLOCK.
FORMS = [(name, re.compile(pattern, re.IGNORECASE | re.ASCII)) for name, pattern in (
    ("iso", YEAR + r"(?P<s>[-/.])(?P<m>\d{1,2})(?:(?P=s)" + DAY + CLOCK + ")?"),
    ("compact", YEAR + r"(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])" + CLOCK),
    ("compact month", YEAR + r"(?P<m>0[1-9]|1[0-2])"),
    ("either order", r"(?P<a>\d{1,2})(?P<s>[-/. ])(?P<b>\d{1,2})(?P=s)" + SHORT_YEAR + CLOCK),
    ("month/year", r"(?P<m>\d{1,2})[-/.]" + YEAR),
    ("quarter", YEAR + r"[-/ :]?Q(?P<q>[1-4])"),
    ("quarter", r"Q(?P<q>[1-4])[-/ :]?" + YEAR),
    ("quarter", r"(?P<q>[1-4])Q[-/ :]?" + YEAR),
    ("half", YEAR + r"[-/ :]?[HS](?P<h>[12])"),
    ("month number", YEAR + r"[-/ :]?M(?P<m>\d{1,2})"),
    ("week", YEAR + r"[-/ :]?W(?P<w>\d{1,2})(?:[-/ ]?(?P<k>[1-7]))?"),
    ("day month year", WEEKDAY + DAY + r"(?:st|nd|rd|th|\.)?[-/. ]*" + MONTH_NAME + r",?[-/. ]*" + SHORT_YEAR + CLOCK),
    ("month day year", WEEKDAY + MONTH_NAME + r"[-/. ]*" + DAY + r"(?:st|nd|rd|th)?(?:,\s*|[-/. ]+)" + YEAR + CLOCK),
    ("month year", MONTH_NAME + r",?[-/. ]*" + SHORT_YEAR),
    ("year month", YEAR + r"[-/. ]*" + MONTH_NAME + r"(?:[-/. ]+" + DAY + CLOCK + ")?"),
)]
# Dates with the names of months in other languages are not read, but are recognized as dates.
FOREIGN = re.compile(r"(?:\d{1,2}\.?\s*(?:de\s+)?)?[^\W\d_]{3,10}\.?[-/., ]+(?:de\s+)?\d{4}")
ORDERS = {True: "day/month", False: "month/day"}


@dataclass
class Times:
    """Times of a column.

    Attributes
    ----------
    values : array (n,) datetime64, or None if no order of day and month fits
        Times of the clock beside `offsets`. NaT where no time could be read.
    unit : str
        The precision as written, a unit of datetime64.
    either : dict {dayfirst: values}
        Both readings, if the order of day and month is not settled.
    offsets : int array (n,), minutes from UTC, or None
    style, clock : str, as in Calendar
    open : bool
        Whether the form leaves the order of day and month open.
    wrong : int or None
        The first row that is no date.
    notes : list of str
    """

    values: Any
    unit: str
    either: dict[bool, np.ndarray] = field(default_factory=dict)
    offsets: np.ndarray | None = None
    style: str = ""
    clock: str = ""
    open: bool = False
    wrong: int | None = None
    notes: list[str] = field(default_factory=list)


def form_of(cells: list[str]) -> re.Pattern | None:
    """Return the form that most of the first cells have, or None if fewer than half of them look like dates."""
    best, most = None, (len(cells) - 1) // 2
    for _, pattern in FORMS:
        count = sum(1 for cell in cells if pattern.fullmatch(cell))
        if count > most:
            best, most = pattern, count
    return best


def looks_foreign(cells: list[str]) -> bool:
    """Return whether most cells are a word and a year, as of dates in another language."""
    return len(cells) > 1 and 2 * sum(1 for cell in cells if FOREIGN.fullmatch(cell)) > len(cells)


def read(cells: Any, dayfirst: bool | None = None) -> Times:
    """Read a pandas Series of text, whose first cells have a form.

    Parameters
    ----------
    dayfirst : bool, optional
        The order of day and month where the form leaves it open. None returns both readings if both are dates.
    """
    import pandas as pd

    pattern = form_of(list(cells.iloc[:50]))
    assert pattern is not None
    quick = _by_pandas(cells, pattern, dayfirst)
    if quick is not None:
        return quick
    parts = cells.str.extract(re.compile(f"^(?:{pattern.pattern})$", pattern.flags))
    parts = parts.reindex(columns=[*"ymndabqhwkHMSfptz"])
    matched = parts["y"].notna().to_numpy().copy()  # pandas gives it read-only
    first = parts[matched].iloc[0]

    def numbers(name, missing=0):
        return pd.to_numeric(parts[name], errors="coerce").fillna(missing).to_numpy(np.int64)

    years, notes = numbers("y"), []
    if pattern.groupindex.get("y") and (short := (parts["y"].str.lstrip("'").str.len() == 2).to_numpy()).any():
        years = pd.to_numeric(parts["y"].str.lstrip("'"), errors="coerce").fillna(0).to_numpy(np.int64)
        years, notes = _centuries(years, short)
    days, unit, style = numbers("d", 1), "D", ""
    if pattern.groupindex.get("q"):
        months, unit, style = 3 * numbers("q") - 2, "M", _style(cells.iloc[int(np.argmax(matched))], "%q")
    elif pattern.groupindex.get("h"):
        months, unit, style = 6 * numbers("h") - 5, "M", _style(cells.iloc[int(np.argmax(matched))], "%h")
    elif pattern.groupindex.get("n"):
        months = parts["n"].str.lower().str[:3].map({name: k for k, name in enumerate(NAMES, 1)}).fillna(0).to_numpy(np.int64)
    elif pattern.groupindex.get("m"):
        months = numbers("m")
        if re.search("m", cells.iloc[int(np.argmax(matched))], re.IGNORECASE):
            style = _style(cells.iloc[int(np.argmax(matched))], "%M")
    else:
        months = np.ones(len(cells), np.int64)
    if not pattern.groupindex.keys() & {"a", "w"} and pd.isna(first["d"]):
        unit = "M"
        matched &= parts["d"].isna().to_numpy()
    elif pattern.groupindex.get("d"):
        matched &= parts["d"].notna().to_numpy()

    seconds, nanoseconds, unit, clock, valid = _clock(parts, numbers, unit, first)
    matched &= valid
    offsets = None if parts["z"].isna().all() else parts["z"].map(_minutes).to_numpy(np.float64)
    if offsets is not None:
        matched &= np.isfinite(offsets)
        offsets = np.nan_to_num(offsets).astype(np.int64)

    def times(months, days):
        date, good = _dates(years, months, days)
        return _joined(date, good & matched, seconds, nanoseconds, unit)

    found = Times(None, unit, offsets=offsets, style=style, clock=clock, notes=notes)
    if pattern.groupindex.get("w"):
        date, good = _weeks(years, numbers("w"), numbers("k", 1))
        found.values = _joined(date, good & matched, seconds, nanoseconds, unit)
        if pd.isna(first["k"]):
            found.style = _style(cells.iloc[int(np.argmax(matched))], "%V")
    elif pattern.groupindex.get("a"):
        found.open = True
        a, b = numbers("a"), numbers("b")
        readings = {True: times(b, a), False: times(a, b)}
        valid_orders = [order for order, values in readings.items() if not np.isnat(values).any()]
        if dayfirst is not None:
            found.values = readings[dayfirst]
        elif len(valid_orders) == 2 and not (readings[True] == readings[False]).all():
            found.either = readings
        else:  # one order; where neither is a date everywhere, the one that fails later says which cell is wrong
            order = valid_orders[0] if valid_orders else max(readings, key=lambda order: _until(readings[order]))
            found.values = readings[order]
            if len(valid_orders) == 1:
                at = int(np.flatnonzero(np.isnat(readings[not order]))[0])
                found.notes.append(_settled(order, cells.iloc[at]))
    else:
        found.values = times(months, days)
    some = found.values if found.values is not None else found.either[True]
    wrong = np.flatnonzero(np.isnat(some))
    found.wrong = int(wrong[0]) if len(wrong) else None
    return found


def _by_pandas(cells, pattern, dayfirst):
    """Return the Times of cells of one length that pandas reads with one format, or None if `read` must do it.

    It is ten times as fast as `read`. cells is a Series of str, and `pattern` the one of FORMS that the first cell has; its
    groups say what the parts are (y year, d day, a first number of a day and a month, s separator, t what precedes the clock, z
    zone). `dayfirst` True or False says that 01/02/2020 is in February or in January; with None both orders are tried.
    """
    import pandas as pd

    first = pattern.fullmatch(cells.iloc[0])
    parts = first.groupdict() if first else {}
    if len(cells) < 1000 or not (parts.get("d") or parts.get("a")) or parts.get("n") or parts.get("f") or parts.get(
            "p") or not (parts.get("s") and len(parts["y"]) == 4):
        return None
    zone = first[0][first.start("z"):] if parts["z"] else ""
    if not (cells.str.len() == len(first[0])).all() or zone and not cells.str.endswith(zone).all():
        return None
    texts = cells.str[:len(first[0]) - len(zone)].str.rstrip() if zone else cells
    clock = "" if parts["H"] is None else f"{parts['t']}%H:%M" + (":%S" if parts["S"] else "")
    unit = "D" if not clock else "s" if parts["S"] else "m"
    formats = [f"%Y{parts['s']}%m{parts['s']}%d{clock}"] if parts.get("d") else [
        f"%{one}{parts['s']}%{other}{parts['s']}%Y{clock}" for one, other in ("dm", "md")]
    found = [pd.to_datetime(texts, format=each, errors="coerce").to_numpy().astype(f"M8[{unit}]") for each in formats]
    times = Times(found[0], unit, clock=(parts["t"][0] if parts["t"][0] == "T" else " ") if clock else "",
                  offsets=np.full(len(cells), _minutes(parts["z"])) if zone else None, open=len(found) > 1)
    wrong = [np.isnat(values).any() for values in found]
    if all(wrong):
        return None
    if len(found) > 1:
        if dayfirst is None and not any(wrong) and not (found[0] == found[1]).all():
            times.either, times.values = {True: found[0], False: found[1]}, None
            return times
        order = dayfirst if dayfirst is not None else bool(wrong[1])
        if wrong[1 - order]:
            return None
        times.values = found[1 - order]
        if dayfirst is None and any(wrong):
            times.notes.append(_settled(order, cells.iloc[int(np.argmax(np.isnat(found[order])))]))
    return times


def _settled(order, cell):
    return f"the dates are read as {ORDERS[order]}/year, as {cell!r} is no date in the other order"


def _until(values):
    """Return the number of dates before the first cell that is none."""
    wrong = np.flatnonzero(np.isnat(values))
    return int(wrong[0]) if len(wrong) else len(values)


def _centuries(years, short):
    """Return years of two digits with their century: the last 100 years, and ten to come. Where they jump, the past."""
    today = datetime.date.today().year
    full = np.where(short, years + 2000, years)
    full = np.where(short & (full > today + 10), full - 100, full)
    newest, oldest = full[short].max(), full[short].min()
    if newest - oldest > 90 and np.abs(np.diff(full[short])).max() > 50:  # a series such as 1918 ... 1938 jumped by a century
        full = np.where(short & (full > today - 30), full - 100, full)
    return full, [f"years of two digits are read as {full[short].min()} to {full[short].max()}"]


def _style(cell, mark):
    """Return the pattern of a cell such as 1960Q1, with its year and `mark` in place of the numbers."""
    year = "%G" if mark == "%V" else "%Y"
    pattern = re.sub(r"\d{4}", year, cell, count=1)
    return re.sub(r"(?<![%\w])\d(?=Q)|(?<=[A-Za-z])\d{1,2}(?!\w)", mark, pattern, count=1)


def _dates(years, months, days):
    """Return datetime64[D], and which of them exist."""
    good = (years >= 1) & (years <= 9999) & (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
    month = ((np.where(good, years, 1970) - 1970) * 12 + np.where(good, months, 1) - 1).astype("M8[M]")
    date = month.astype("M8[D]") + (np.where(good, days, 1) - 1).astype("m8[D]")
    return date, good & (date.astype("M8[M]") == month)


def _weeks(years, weeks, weekdays):
    """Return the days of ISO weeks as datetime64[D], and which of them exist."""
    good = (years >= 1) & (years <= 9999) & (weeks >= 1) & (weeks <= 53)
    fourth = (np.where(good, years, 1970) - 1970).astype("M8[Y]").astype("M8[D]") + np.timedelta64(3, "D")  # in week 1
    monday = fourth - ((fourth.astype(np.int64) + 3) % 7).astype("m8[D]")
    date = monday + (7 * (np.where(good, weeks, 1) - 1) + weekdays - 1).astype("m8[D]")
    thursday = date - (weekdays - 1).astype("m8[D]") + np.timedelta64(3, "D")
    return date, good & (thursday.astype("M8[Y]").astype(np.int64) + 1970 == years)


def _clock(parts, numbers, unit, first):
    """Return seconds and nanoseconds of the day, the unit as written, the character before it, and which clocks exist."""
    import pandas as pd

    n = len(parts)
    if unit == "M" or parts["H"].isna().all():
        return np.zeros(n, np.int64), np.zeros(n, np.int64), unit, "", np.ones(n, bool)
    hours, minutes, seconds = numbers("H"), numbers("M"), numbers("S")
    good = (hours <= 24) & (minutes < 60) & (seconds < 61) & ((hours < 24) | (minutes + seconds == 0))
    noon = parts["p"].str.lower().str[0]
    good &= (noon.isna() | ((hours >= 1) & (hours <= 12))).to_numpy()
    hours = np.where(noon.isna().to_numpy(), hours, hours % 12 + 12 * (noon == "p").to_numpy())
    fraction = parts["f"].fillna("")
    digits = int(fraction.str.len().max())
    nanoseconds = pd.to_numeric(fraction.str.ljust(9, "0"), errors="coerce").fillna(0).to_numpy(np.int64)
    unit = "m" if parts["S"].isna().all() else ("s", "ms", "us", "ns")[-(-digits // 3)]
    return (hours * 60 + minutes) * 60 + seconds, nanoseconds, unit, "T" if str(first["t"])[:1] == "T" else " ", good


def _joined(date, good, seconds, nanoseconds, unit):
    if unit in ("D", "M"):
        found = date.astype(f"M8[{unit}]")
    elif unit in ("m", "s"):
        found = (date.astype("M8[s]") + seconds.astype("m8[s]")).astype(f"M8[{unit}]")
    else:
        fine = {"ms": 10**6, "us": 1000, "ns": 1}[unit]
        found = ((date.astype("M8[s]") + seconds.astype("m8[s]")).astype(f"M8[{unit}]")
                 + (nanoseconds // fine).astype(f"m8[{unit}]"))
    return np.where(good, found, np.datetime64("NaT"))


def _minutes(text):
    """Return an offset such as +01:00 in minutes. NaN is none."""
    if not isinstance(text, str):
        return np.nan
    if text.upper() in ("Z", "UTC", "GMT"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    return (1 if text[0] == "+" else -1) * (60 * int(digits[:2]) + int(digits[2:]))


def offset_text(minutes: int) -> str:
    """Return an offset in minutes as text such as +01:00."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
