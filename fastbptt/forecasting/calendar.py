"""The distance of the steps of a series, the times after its last, and their text. It needs NumPy alone.

A new kind of step belongs here: a unit, the times `ahead`, the text.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import _checks

DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")  # NumPy will no longer accept plain integers for these
SECONDS = {"D": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MONTHS = {"Y": 12, "M": 1}
NAMED: dict[tuple[str, float], str] = {
    ("months", 1): "month", ("months", 3): "quarter", ("months", 12): "year", ("business days", 1): "business day",
    ("seconds", 604800): "week", ("seconds", 86400): "day", ("seconds", 3600): "hour", ("seconds", 60): "minute",
    ("seconds", 1): "second", ("numbers", 1): "step"}
SEASONS: dict[tuple[str, float], int] = {
    ("months", 1): 12, ("months", 2): 6, ("months", 3): 4, ("months", 6): 2, ("business days", 1): 5, ("seconds", 604800): 52}
STYLE = re.compile(r"[%\w /:-]{0,20}")


@dataclass(frozen=True)
class Calendar:
    """Evenly spaced times.

    Attributes
    ----------
    unit : str
        Unit of the times: NumPy's letter of a datetime64, "B" (business days, as datetime64[D]) or "1" (plain numbers). It
        is "M" also for days a whole number of months apart.
    step : int, float or None
        Number of units from one step to the next, or None if the times are not evenly spaced.
    day : str
        Which day of the month a month stands for: "" (none), "-07" (the seventh), "end" (the last), "bend" or "bstart" (the
        last or the first business day).
    style : str
        How `text` writes a time: "" (ISO 8601), or a pattern with %Y, %q (quarter), %h (half), %M (month), %G and %V (ISO year
        and week).
    clock : str
        Time of day of whole days, such as " 00:00:00", and the character between date and time of others ("T" or " ").
    offset : str
        Offset from UTC, such as "+01:00". The times are those of a clock with this offset.
    """

    unit: str
    step: int | float | None
    day: str = ""
    style: str = ""
    clock: str = ""
    offset: str = ""

    @property
    def length(self) -> tuple[str, float] | None:
        """The distance of two steps as (name of a unit, number), which two calendars can be compared by, or None."""
        if self.step is None:
            return None
        if self.unit in MONTHS:
            return "months", MONTHS[self.unit] * self.step
        if self.unit == "B":
            return "business days", self.step
        if self.unit == "1":
            return "numbers", self.step
        return "seconds", SECONDS.get(self.unit, 0) * self.step

    @property
    def word(self) -> str:
        """The name of a step, in the plural: "months", "hours", or "steps" if it has no name."""
        length = self.length
        return NAMED.get(length, "step") + "s" if length is not None else "steps"

    def describe(self) -> str:
        """Return the distance of two steps, such as "a month" or "30 minutes"."""
        if self.length is None:
            return "not always the same"
        name = NAMED.get(self.length)
        if name is not None:
            return "1" if self.unit == "1" else f"{'an' if name == 'hour' else 'a'} {name}"
        what, number = self.length
        if what == "numbers":
            return f"{number:g}"
        for each, unit, size in (("years", "months", 12), ("days", "seconds", 86400), ("hours", "seconds", 3600),
                                 ("minutes", "seconds", 60)):
            if what == unit and number % size == 0:
                return f"{number / size:g} {each}"
        return f"{number:g} {what}"

    @property
    def season(self) -> int | None:
        """Steps of the usual season: a year of months, quarters or weeks, a week of days, a day of hours or less."""
        if self.length is None:
            return None
        what, number = self.length
        if what == "seconds" and number == 86400:
            return 7
        if what == "seconds" and number < 86400 and 86400 % number == 0:
            return int(86400 // number)
        return SEASONS.get(self.length)

    def ahead(self, last: Any, steps: int) -> np.ndarray | None:
        """Return the times of the steps after `last`, or None if the times are not evenly spaced."""
        if self.step is None:
            return None
        count = np.arange(1, steps + 1)
        if self.unit == "B":
            return np.busday_offset(last, self.step * count, roll="backward")
        return last + self.step * count

    def days(self, times: Any) -> np.ndarray:
        """Return the times as datetime64: a month as its day, a year as its first. A month too short has its last day."""
        times = np.asarray(times)
        if self.unit != "M" or not self.day:
            return times.astype("M8[D]") if self.unit in "YM" else times
        months = times.astype("M8[M]")
        first, after = months.astype("M8[D]"), (months + MONTH).astype("M8[D]")
        if self.day == "bstart":
            return np.busday_offset(first, 0, roll="forward")
        if self.day == "bend":
            return np.busday_offset(after, -1, roll="forward")
        if self.day == "end":
            return after - DAY
        return np.minimum(first + (int(self.day[1:]) - 1) * DAY, after - DAY)

    def text(self, time: Any) -> str:
        """Format a time as in the data, with "-" between the parts of a date."""
        if self.unit == "1":
            return f"{time:.10g}" if isinstance(time, float) else str(time)
        time = np.datetime64(time)
        if self.style:
            return self._styled(time)
        if self.unit in "YM" and not self.day:
            return str(time)
        if self.unit in ("M", "D", "B"):
            return str(self.days(time)[()]) + self.clock + self.offset
        return str(time).replace("T", self.clock or "T") + self.offset

    def _styled(self, time):
        month, day = int(time.astype("M8[M]").astype(int)), time.astype("M8[D]").item()
        week = day.isocalendar()
        parts = {"%Y": 1970 + month // 12, "%q": month % 12 // 3 + 1, "%h": month % 12 // 6 + 1, "%M": f"{month % 12 + 1:02d}",
                 "%G": week.year, "%V": f"{week.week:02d}"}
        return re.sub("%[YqhMGV]", lambda found: str(parts[found[0]]), self.style)

    def header(self) -> dict[str, Any]:
        """Return the calendar as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Calendar:
        """Return the calendar of `header()`. The header comes from a file and is checked."""
        calendar = cls(**header)
        if calendar.unit not in ("B", "1", *MONTHS, *SECONDS):
            raise ValueError(f"the unit of its times is {calendar.unit!r:.40}")
        if calendar.unit == "1" and calendar.step is not None:
            if not (isinstance(calendar.step, int | float) and np.isfinite(calendar.step) and calendar.step > 0):
                raise ValueError(f"the step of its times is {calendar.step!r:.40}")
        elif calendar.step is not None:
            _checks.size("step", calendar.step)
        if not re.fullmatch(r"(-\d\d|end|bend|bstart)?", calendar.day):
            raise ValueError(f"the day of its dates is {calendar.day!r:.40}")
        if not (STYLE.fullmatch(calendar.style) and re.fullmatch(r"[T \d:.]{0,20}", calendar.clock)
                and re.fullmatch(r"(Z|[+-]\d\d:\d\d)?", calendar.offset)):
            raise ValueError("the form of its dates is not valid")
        return calendar


def spacing(series: list[np.ndarray], unit: str) -> tuple[Calendar, list[np.ndarray], list[np.ndarray]]:
    """Find the step of sorted, distinct times.

    Parameters
    ----------
    series : list of arrays (T_n,) datetime64, or of numbers
    unit : str
        The precision of the times as written: "Y", "M", "D", "h", "m", "s", "ms", "us", "ns", or "1" for numbers.

    Returns
    -------
    calendar : Calendar
        Its `step` is None if fewer than half of the steps between the first and the last time would have a row.
    times : list of arrays (T_n,)
        The times in the calendar's unit.
    positions : list of int arrays (T_n,)
        The number of steps from the first time of each series. A difference greater than 1 is a gap.
    """
    for unit_, day, times, counts in _readings(series, unit):
        step = _common(counts, unit_)
        if step is not None:
            positions = [np.rint((count - count[0]) / step).astype(np.int64) for count in counts]
            return Calendar(unit_, step, day), times, positions
    return Calendar(unit, None), [_in(times, unit) for times in series], [np.arange(len(times)) for times in series]


def _in(times, unit):
    return times if unit == "1" else times.astype(f"M8[{unit}]")


def _readings(series, unit):
    """Yield (unit, day, times, counts): ways to count the steps of the times, the most specific first."""
    if unit in ("1", "Y"):
        times = [_in(x, unit) for x in series]
        yield unit, "", times, [x if unit == "1" else x.astype(np.int64) for x in times]
        return
    if unit == "M":
        times = [_in(x, "M") for x in series]
        yield "M", "", times, [x.astype(np.int64) for x in times]
        return
    whole = unit == "D" or len({int(c) for x in series for c in np.unique((x - x.astype("M8[D]")).astype(np.int64))}) == 1
    if whole:
        days = [x.astype("M8[D]") for x in series]
        months = [x.astype("M8[M]") for x in series]
        day = _day_of_month(np.concatenate(days), np.concatenate(months))
        if day is not None:
            yield "M", day, months, [x.astype(np.int64) for x in months]
        counts = [x.astype(np.int64) for x in days]
        if _business(days, counts):
            yield "B", "", days, [np.busday_count(x[0], x) if len(x) else np.arange(0) for x in days]
        yield "D", "", days, counts
        return
    times = [_in(x, unit) for x in series]
    yield unit, "", times, [x.astype(np.int64) for x in times]


def _day_of_month(days, months):
    """Return which day stands for its month in all dates, or None if they follow no pattern of months."""
    if not len(days):
        return None
    numbers = (days - months.astype("M8[D]")).astype(int) + 1
    lengths = ((months + MONTH).astype("M8[D]") - months.astype("M8[D]")).astype(int)
    if (numbers == numbers[0]).all():
        return f"-{numbers[0]:02d}"
    if (numbers == lengths).all():
        return "end"
    if (numbers == np.minimum(numbers.max(), lengths)).all():
        return f"-{numbers.max():02d}"
    if (days == np.busday_offset((months + MONTH).astype("M8[D]"), -1, roll="forward")).all():
        return "bend"
    if (days == np.busday_offset(months.astype("M8[D]"), 0, roll="forward")).all():
        return "bstart"
    return None


def _business(days, counts):
    """Return whether daily dates skip all weekends: at least two, or one without any other gap."""
    if not all(np.is_busday(x).all() for x in days):
        return False
    weekends = sum(int((np.diff((count + 3) // 7) > 0).sum()) for count in counts)  # day 0 was a Thursday
    gaps = np.concatenate([np.diff(np.busday_count(x[0], x)) for x in days if len(x)])
    return len(gaps) > 0 and np.median(gaps) == 1 and (weekends > 1 or weekends == 1 and bool((gaps == 1).all()))


def _common(series, unit):
    """Return the most common distance, or None if it does not divide the others or leaves more than half of the steps empty."""
    gaps = np.concatenate([np.diff(x) for x in series])
    if not len(gaps):
        return None
    if unit == "1" and gaps.dtype.kind == "f":
        step = float(np.median(gaps))
        whole = np.rint(gaps / step)
        # Decimal years are rounded, and months differ in length: 1749.042, 1749.123, 1749.204.
        if not (np.abs(gaps - whole * step) <= 0.2 * step).all() or (whole < 1).any():
            return None
        drift = max(np.abs(x - x[0] - np.linspace(0, x[-1] - x[0], len(x))).max() for x in series) if (whole == 1).all() else 0
        if drift > 0.5 * step or 2 * len(gaps) < whole.sum():
            return None
        if (whole == 1).all():
            longest = max(series, key=len)
            step = float((longest[-1] - longest[0]) / (len(longest) - 1))
        return step
    sizes, counts = np.unique(gaps.astype(np.int64), return_counts=True)
    step = int(sizes[np.argmax(counts)])
    if step < 1 or (sizes % step).any() or 2 * len(gaps) < sizes @ counts // step:
        return None
    return step
