"""Dates of a series' steps: their distance, the dates after the last, and their format."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

import numpy as np

from .. import _checks

DATE = re.compile(r"\d{4}([-/])\d{2}(\1\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?Z?)?)?")  # not a year alone: it may be a number
DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")  # NumPy will no longer accept plain integers for these
WORDS = {("Y", 1): "years", ("M", 1): "months", ("M", 12): "years", ("D", 1): "days"}


@dataclass(frozen=True)
class Calendar:
    """Evenly spaced dates.

    Attributes
    ----------
    unit : str
        NumPy's letter of the dates' precision: "Y", "M", "D", "s" ... It is "M" also for days a whole number of months apart.
    step : int or None
        Number of units from one step to the next, or None if the dates are not evenly spaced.
    day : str
        Suffix of months: "", "-07" for the seventh day, "end" for the last day.
    """

    unit: str
    step: int | None
    day: str = ""

    @classmethod
    def of(cls, series):
        """Return the calendar of lists of increasing dates, and the dates in its unit."""
        unit = np.datetime_data(series[0].dtype)[0]
        months = [dates.astype("datetime64[M]") for dates in series]
        day = ""
        if unit == "D":
            days = {int(d) for dates, month in zip(series, months) for d in (dates - month).astype(int)}
            ends = all(((dates + DAY).astype("datetime64[M]") > month).all() for dates, month in zip(series, months))
            if (ends or len(days) == 1) and cls._step(months):
                day = "end" if ends and len(days) > 1 else f"-{days.pop() + 1:02d}"
                unit, series = "M", months
        return cls(unit, cls._step(series), day), series

    @staticmethod
    def _step(series):
        gaps = np.unique(np.concatenate([np.diff(dates).astype(np.int64) for dates in series]))
        return int(gaps[0]) if len(gaps) == 1 else None

    @property
    def word(self) -> str:
        """The name of a step, in the plural."""
        return "steps" if self.step is None else WORDS.get((self.unit, self.step), "steps")

    def ahead(self, last, steps):
        """Return the dates of the steps after `last`, or None if they are not evenly spaced."""
        return None if self.step is None else last + self.step * np.arange(1, steps + 1)

    def text(self, date: np.datetime64) -> str:
        """Format a date as in the file, with "-" between its parts. A month too short for the day has its last day."""
        if not self.day:
            return str(date)
        last = (date.astype("datetime64[M]") + MONTH).astype("datetime64[D]") - DAY
        return str(last if self.day == "end" else min(date.astype("datetime64[D]") + (int(self.day[1:]) - 1) * DAY, last))

    def header(self):
        """Return the calendar as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_header(cls, header):
        """Return the calendar of `header()`. The header comes from a file and is checked."""
        calendar = cls(**header)
        np.datetime64("2000", calendar.unit)  # TypeError if there is no such unit
        if calendar.step is not None:
            _checks.size("step", calendar.step)
        if not re.fullmatch(r"(-\d\d|end)?", calendar.day):
            raise ValueError(f"the day of its dates is {calendar.day!r:.40}")
        return calendar
