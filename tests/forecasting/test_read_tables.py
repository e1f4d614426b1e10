"""Tables as people bring them are read as their writers meant them, or refused with the cell, its column and its line."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastbptt
from fastbptt.__main__ import main
from fastbptt.forecasting import dates as _dates, tables as _tables
from fastbptt.forecasting.calendar import Calendar, spacing
from fastbptt.forecasting.tables import read_table

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.quick

VALUES = [round(100 + 20 * float(np.sin(k / 2)) + k / 4, 2) for k in range(48)]


@pytest.fixture
def read(tmp_path):
    def read(text, *, encoding="utf-8", name="data.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return read_table(str(path), command="train", **options)

    return read


def rows(times, values=VALUES, head="date,y", separator=","):
    """Return a CSV of times and values."""
    return "\n".join([head.replace(",", separator), *(f"{t}{separator}{v}" for t, v in zip(times, values))]) + "\n"


def months(count=48, start="1999-01"):
    return np.datetime64(start) + np.arange(count)


def dated(pattern, times):
    return [pd.Timestamp(str(t)).strftime(pattern) for t in times]


def ahead(table, n=0, steps=2):
    return [table.calendar.text(t) for t in table.calendar.ahead(table.times[n][-1], steps)]


# ---- Time axes: text, step and the text of the times to come

HOURS = np.datetime64("2021-03-27T00:00") + np.arange(48) * np.timedelta64(1, "h")
DAYS = np.datetime64("2020-02-20") + np.arange(48)
BUSINESS = np.busday_offset("2020-01-02", np.arange(48))
QUARTERS = [(1990 + k // 4, k % 4 + 1) for k in range(48)]

AXES = {
    "iso days": (DAYS, "days", ["2020-04-08", "2020-04-09"]),
    "iso with slashes": (dated("%Y/%m/%d", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "iso without zeros": ([f"{d.year}-{d.month}-{d.day}" for d in DAYS.tolist()], "days", ["2020-04-08", "2020-04-09"]),
    "year-month": (months(), "months", ["2003-01", "2003-02"]),
    "first of the month": (dated("%Y-%m-%d", months()), "months", ["2003-01-01", "2003-02-01"]),
    "end of the month": (dated("%Y-%m-%d", (months() + 1).astype("M8[D]") - 1), "months", ["2003-01-31", "2003-02-28"]),
    "last business day": (np.busday_offset((months() + 1).astype("M8[D]"), -1, roll="forward"), "months", ["2003-01-31", "2003-02-28"]),
    "first business day": (np.busday_offset(months().astype("M8[D]"), 0, roll="forward"), "months", ["2003-01-01", "2003-02-03"]),
    "the 30th or the last day": ([f"{m}-{min(30, ((m + 1).astype('M8[D]') - m.astype('M8[D]')).astype(int))}" for m in months()],
                                "months", ["2003-01-30", "2003-02-28"]),
    "every other month": (dated("%Y-%m-%d", np.datetime64("2000-01") + 2 * np.arange(48)), "steps", ["2008-01-01", "2008-03-01"]),
    "quarter starts": (dated("%Y-%m-%d", np.datetime64("1990-01") + 3 * np.arange(48)), "quarters", ["2002-01-01", "2002-04-01"]),
    "quarter ends": (dated("%Y-%m-%d", (np.datetime64("1990-04") + 3 * np.arange(48)).astype("M8[D]") - 1), "quarters",
                     ["2002-03-31", "2002-06-30"]),
    "quarters 1990Q1": ([f"{y}Q{q}" for y, q in QUARTERS], "quarters", ["2002Q1", "2002Q2"]),
    "quarters 1990-Q1": ([f"{y}-Q{q}" for y, q in QUARTERS], "quarters", ["2002-Q1", "2002-Q2"]),
    "quarters q1 1990": ([f"q{q} {y}" for y, q in QUARTERS], "quarters", ["q1 2002", "q2 2002"]),
    "quarters 1Q1990": ([f"{q}Q{y}" for y, q in QUARTERS], "quarters", ["1Q2002", "2Q2002"]),
    "halves": ([f"{1990 + k // 2}-S{k % 2 + 1}" for k in range(48)], "steps", ["2014-S1", "2014-S2"]),
    "months 1999M01": ([f"{m.tolist().year}M{m.tolist().month:02d}" for m in months()], "months", ["2003M01", "2003M02"]),
    "ISO weeks": ([f"{d.isocalendar()[0]}-W{d.isocalendar()[1]:02d}" for d in (np.datetime64("2019-02-04") + 7 * np.arange(48)).tolist()],
                  "weeks", ["2020-W02", "2020-W03"]),
    "ISO weeks with a day": ([f"{d.isocalendar()[0]}W{d.isocalendar()[1]:02d}-1" for d in (
        np.datetime64("2020-02-03") + 7 * np.arange(48)).tolist()], "weeks", ["2021-01-04", "2021-01-11"]),
    "days a week apart": (np.datetime64("2020-01-05") + 7 * np.arange(48), "weeks", ["2020-12-06", "2020-12-13"]),
    "business days": (BUSINESS, "business days", ["2020-03-10", "2020-03-11"]),
    "years with dates": ([f"{1900 + k}-12-31" for k in range(48)], "years", ["1948-12-31", "1949-12-31"]),
    "hours": (HOURS, "hours", ["2021-03-29T00:00", "2021-03-29T01:00"]),
    "hours with a space": (dated("%Y-%m-%d %H:%M:%S", HOURS), "hours", ["2021-03-29 00:00:00", "2021-03-29 01:00:00"]),
    "hours am and pm": (dated("%d/%m/%Y %I:%M %p", HOURS), "hours", ["2021-03-29 00:00", "2021-03-29 01:00"]),
    "half hours": (np.datetime64("2021-01-01T00:00") + 30 * np.arange(48), "steps", ["2021-01-02T00:00", "2021-01-02T00:30"]),
    "milliseconds": ([f"2021-01-01 00:00:00.{100 * (k % 10)}".replace(":00.", f":{k // 10:02d}.") for k in range(48)], "steps",
                     ["2021-01-01 00:00:04.800", "2021-01-01 00:00:04.900"]),
    "UTC": ([f"{h}Z" for h in HOURS], "hours", ["2021-03-29T00:00+00:00", "2021-03-29T01:00+00:00"]),
    "an offset": ([f"{h}:00+05:30".replace("T", " ") for h in HOURS], "hours",
                  ["2021-03-29 00:00:00+05:30", "2021-03-29 01:00:00+05:30"]),
    "an offset without colon": ([f"{h}-0800" for h in HOURS], "hours", ["2021-03-29T00:00-08:00", "2021-03-29T01:00-08:00"]),
    "offsets of summer": ([str(t) for t in pd.date_range("2021-03-27", periods=48, freq="h", tz="Europe/Berlin")], "hours",
                          ["2021-03-28 23:00:00+00:00", "2021-03-29 00:00:00+00:00"]),
    "days in a zone with summer": ([str(t) for t in pd.date_range("2021-02-27", periods=48, freq="D", tz="Europe/Berlin")],
                                   "days", ["2021-04-16 00:00:00+02:00", "2021-04-17 00:00:00+02:00"]),
    "Jan 1999": (dated("%b %Y", months()), "months", ["2003-01", "2003-02"]),
    "January 1999": (dated("%B %Y", months()), "months", ["2003-01", "2003-02"]),
    "Jan-99": (dated("%b-%y", months(48, "1966-01")), "months", ["1970-01", "1970-02"]),
    "1999 Jan": (dated("%Y %b", months()), "months", ["2003-01", "2003-02"]),
    "1 Jan 1999": (dated("%d %b %Y", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "01-Jan-99": (dated("%d-%b-%y", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "20Feb2020": (dated("%d%b%Y", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "Thursday, February 20, 2020": ([f'"{d}"' for d in dated("%A, %B %d, %Y", DAYS)], "days", ["2020-04-08", "2020-04-09"]),
    "American": (dated("%m/%d/%Y", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "British": (dated("%d/%m/%y", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "German": (dated("%d.%m.%Y", months()), "months", ["2003-01-01", "2003-02-01"]),
    "01/1999": (dated("%m/%Y", months()), "months", ["2003-01", "2003-02"]),
    "20200220": (dated("%Y%m%d", DAYS), "days", ["2020-04-08", "2020-04-09"]),
    "199901": (dated("%Y%m", months()), "months", ["2003-01", "2003-02"]),
    "years": (range(1900, 1948), "years", ["1948", "1949"]),
    "years as decimals": ([f"{y}.0" for y in range(1900, 1948)], "years", ["1948", "1949"]),
}


@pytest.mark.parametrize("name", AXES)
def test_times_are_the_axis_with_their_step_and_their_text(read, name):
    times, unit, later = AXES[name]
    for text in (rows(times), rows(list(times)[::-1], VALUES[::-1]), rows(times, head=" ,y")):
        table = read(text)
        assert table.targets == ["y"] and table.unit == unit and ahead(table) == later
        np.testing.assert_array_equal(table.values[0][:, 0], VALUES)
        assert " is the time axis; a step is " in " ".join(table.notes)
        assert any("newest first" in note for note in table.notes) == (text == rows(list(times)[::-1], VALUES[::-1]))
        assert Calendar.from_header(table.calendar.header()) == table.calendar


NUMBERS = {
    "from 1": ("t", range(1, 49), [49, 50], "1"), "from 0 without a name": ("", range(48), [48, 49], "1"),
    "epoch seconds": ("ts", range(1577836800, 1577836800 + 48 * 3600, 3600), [1578009600, 1578013200], "3600"),
    "tenths": ("time (s)", [round(k / 10, 1) for k in range(48)], [4.8, 4.9], "0.1"),
    "decimal years": ("year", [round(1749 + (k + 0.5) / 12, 3) for k in range(48)], [1753.0417, 1753.125], "0.0833"),
    "any name": ("nobody", range(7, 7 + 48 * 5, 5), [247, 252], "5"),
    "falling": ("n", range(48, 0, -1), [49, 50], "1"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_evenly_spaced_numbers_are_the_axis(read, name):
    head, times, later, step = NUMBERS[name]
    table = read(rows(times, head=f"{head},y"))
    assert table.targets == ["y"] and table.calendar.unit == "1"
    np.testing.assert_allclose([float(each) for each in ahead(table)], later, rtol=1e-5)
    assert any(f"is the time axis, as it rises by {step}" in note for note in table.notes)


def test_numbers_start_anywhere_in_each_series_and_may_be_out_of_order(read):
    lines = [f"{k},{5 + 100 * (k == 'b') + 2 * t},{t}" for t in range(9) for k in "ab"]
    lines[4], lines[8] = lines[8], lines[4]
    table = read("id,ds,y\n" + "\n".join(lines) + "\n", id="id")
    assert table.targets == ["y"] and [ahead(table, n, 1) for n in (0, 1)] == [["23"], ["123"]]
    assert [x[:, 0].tolist() for x in table.values] == [list(range(9))] * 2
    assert any("not in the order of time" in note and "line 8" in note for note in table.notes)


def test_numbers_that_are_named_or_uneven_are_no_axis(read):
    assert read(rows(range(48), head="v,y"), target=["y", "v"]).time is None
    assert read(rows(range(48), head="v,y"), inputs=["v"]).inputs == ["v"]
    assert read(rows([k * k for k in range(48)], head="v,y")).targets == ["v", "y"]
    assert read("v\n" + "".join(f"{k}\n" for k in range(48))).targets == ["v"]  # a single column is the target
    assert read(rows(DAYS, [f"{v},{k}" for k, v in enumerate(VALUES)], "date,y,k")).targets == ["y", "k"]


def test_time_chooses_the_column(read):
    text = rows(DAYS, [f"{m},{v}" for m, v in zip(months(), VALUES)], "day,month,y")
    assert read(text).unit == "days" and read(text, time="month").unit == "months"
    with pytest.raises(ValueError, match="line 2, column 'y': .*not evenly|not a date|finite"):
        read(rows(DAYS, ["x"] * 48), time="y")


def test_columns_of_years_months_days_hours_are_joined(read):
    table = read("Year,Month,Sold\n" + "".join(f"{1999 + k // 12},{k % 12 + 1},{v}\n" for k, v in enumerate(VALUES)))
    assert table.time == "Year Month" and table.targets == ["Sold"] and ahead(table) == ["2003-01", "2003-02"]
    table = read("Date,Time,kW\n" + "".join(f"{h.strftime('%d/%m/%Y,%H:%M:%S')},{v}\n" for h, v in zip(HOURS.tolist(), VALUES)))
    assert table.targets == ["kW"] and ahead(table, steps=1) == ["2021-03-29 00:00:00"]


# ---- Day and month


def test_the_order_of_day_and_month_that_is_evenly_spaced_is_used(read):
    for pattern, order in (("%d/%m/%Y", "day/month"), ("%m/%d/%Y", "month/day")):
        table = read(rows(dated(pattern, months())))
        assert ahead(table, steps=1) == ["2003-01-01"] and table.options["dayfirst"] == (order == "day/month")
        assert any(f"read as {order}/year, the only order in which they are evenly spaced" in note for note in table.notes)


@pytest.mark.parametrize("times", [["01/01/2020", "02/02/2020", "03/03/2020", "05/04/2020"],
                                   ["01/02/2020", "02/02/2020", "03/02/2020"]], ids=["neither", "both"])
def test_an_open_order_of_day_and_month_is_refused(read, times):
    with pytest.raises(ValueError, match="line 2, column 'date': '01/0[12]/2020' can be day/month or month/day.*"
                                         "--dayfirst or --no-dayfirst tells which"):
        read(rows(times))
    with pytest.raises(ValueError, match="dayfirst=True or dayfirst=False"):
        read_table(pd.DataFrame({"date": times, "y": range(len(times))}))
    for dayfirst, unit, last in ((True, "days", "2020-02-03"), (False, "months", "2020-03")):
        table = read(rows(["01/02/2020", "02/02/2020", "03/02/2020"]), dayfirst=dayfirst)
        assert str(table.times[0][-1]) == last and table.unit == unit


@pytest.mark.parametrize("pattern", ["%Y-%m-%d", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M", "%m-%d-%Y",
                                     "%d.%m.%Y", "%Y-%m-%d %H:%M:%S+02:00"])
def test_many_rows_are_read_as_few(monkeypatch, pattern):
    """Long columns of one format are read by pandas, others cell by cell."""
    cells = pd.Series(dated(pattern, np.datetime64("2019-03-30T20:00") + np.timedelta64(7, "h") * np.arange(1200)), dtype=object)
    for dayfirst in (None, True, False):
        quick = _dates._by_pandas(cells, _dates.form_of(cells.tolist()[:50]), dayfirst)
        with monkeypatch.context() as patch:
            patch.setattr(_dates, "_by_pandas", lambda *args: None)
            slow = _dates.read(cells, dayfirst)
        assert (quick is None) == (slow.wrong is not None)
        if quick is not None:
            np.testing.assert_array_equal(quick.values, slow.values)
            np.testing.assert_array_equal(quick.offsets, slow.offsets)
            assert (quick.unit, quick.clock, quick.notes, quick.open) == (slow.unit, slow.clock, slow.notes, slow.open)
    bad = pd.Series(["2020-02-30" if k == 7 else f"2020-01-{k % 28 + 1:02d}" for k in range(1200)], dtype=object)
    assert _dates.read(bad).wrong == 7


def test_a_date_that_exists_in_one_order_settles_it(read):
    table = read(rows(dated("%m/%d/%Y", DAYS)))
    assert any(note == "the dates are read as month/day/year, as '02/20/2020' is no date in the other order" for note in table.notes)
    with pytest.raises(ValueError, match="line 2, column 'date': '02/20/2020' is not a date in the order day/month/year"):
        read(rows(dated("%m/%d/%Y", DAYS)), dayfirst=True)


# ---- What is reported, filled and refused about time


def test_a_gap_is_refused_with_its_line_and_filled_on_request(read):
    text = rows(np.delete(DAYS, [7, 20, 21]), np.delete(VALUES, [7, 20, 21]))
    with pytest.raises(ValueError) as found:
        read(text)
    assert "3 days are missing: 2020-02-27 before line 9; 2020-03-11 to 2020-03-12 before line 21; --fill HOW" in str(found.value)
    table = read(text, fill="previous")
    assert np.flatnonzero(table.weights[0][:, 0] == 0).tolist() == [7, 20, 21] and len(table.values[0]) == 48
    assert table.values[0][[7, 20, 21], 0].tolist() == [VALUES[6], VALUES[19], VALUES[19]]
    assert any("inserted 3 missing days: 2020-02-27 before line 9" in note for note in table.notes)
    assert str(table.times[0][7]) == "2020-02-27" and ahead(table, steps=1) == ["2020-04-08"]


def test_a_gap_between_numbers_is_found(read):
    text = rows([*range(1, 30), *range(31, 49)], head="t,y")
    with pytest.raises(ValueError, match="1 step is missing: 30 before line 31"):
        read(text)
    assert len(read(text, fill="zero").values[0]) == 48


def test_a_holiday_is_a_gap_in_business_days(read):
    text = rows(np.delete(BUSINESS, 20), np.delete(VALUES, 20))
    with pytest.raises(ValueError, match="1 business day is missing: 2020-01-30 before line 22"):
        read(text)
    assert read(text, fill="interpolate").unit == "business days"


def test_a_clock_set_forward_and_back_gives_a_gap_and_a_repeated_hour(read):
    local = [t.tz_localize(None) for t in pd.date_range("2021-10-30", periods=48, freq="h", tz="Europe/Berlin")]
    with pytest.raises(ValueError, match="line 29, column 'date': '2021-10-31 02:00:00' is also in line 28"):
        read(rows(local))
    table = read(rows(local), fill="interpolate")
    assert len(table.values[0]) == 47 and any("the last of rows with the same time counts: line 29" in n for n in table.notes)
    local = [t.tz_localize(None) for t in pd.date_range("2021-03-27", periods=48, freq="h", tz="Europe/Berlin")]
    with pytest.raises(ValueError, match="1 hour is missing: 2021-03-28 02:00:00 before line 28"):
        read(rows(local))


def test_uneven_times_are_steps_without_a_next_time(read):
    table = read(rows(["2020-01-03", "2020-01-04", "2020-01-09", "2020-02-17", "2020-05-02"]))
    assert table.unit == "steps" and table.calendar.ahead(table.times[0][-1], 1) is None
    assert table.notes == ["column 'date' is the time axis; its times are not evenly spaced, so each row counts as one step"]


def test_repeated_times_are_refused_unless_the_rows_are_equal(read):
    with pytest.raises(ValueError, match=r"line 4, column 'date': '2020-02-21' is also in line 3; use --id COLUMN if the rows"):
        read(rows([*DAYS[:2], *DAYS[1:]], range(49)))
    table = read(rows([*DAYS[:2], *DAYS[1:]], [*VALUES[:2], *VALUES[1:]]))
    assert len(table.values[0]) == 48 and "equal rows count once: line 4" in table.notes
    panel = "shop,date,y\n" + "".join(f"{shop},{d},{k}\n" for shop in "ab" for k, d in enumerate(DAYS))
    with pytest.raises(ValueError, match="use --id COLUMN if the rows belong to several series, such as shop"):
        read(panel)
    with pytest.raises(ValueError, match="such as shop"):  # and the fill does not hide it
        read(panel, fill="zero")
    assert read(panel, id="shop").ids == ["a", "b"]


@pytest.mark.parametrize("times, cell, line", [
    ([*DAYS[:9], "2020-02-30"], "2020-02-30", 11), ([*DAYS[:9], "Total"], "Total", 11), ([*DAYS[:9], "later"], "later", 11),
    (["1. mars 1999", "1. avril 1999", "1. mai 1999"], "1. mars 1999", 2),
    (["Mär 1999", "Mai 1999", "Juni 1999"], "Mär 1999", 2), ([*dated("%d/%m/%Y", DAYS[:9]), "31/02/2020"], "31/02/2020", 11),
    ([*months()[:9], "1999-13"], "1999-13", 11), ([f"{y}Q{q}" for y, q in QUARTERS[:9]] + ["1992Q5"], "1992Q5", 11),
    (["2021-W52", "2021-W53"], "2021-W53", 3), ([*HOURS[:9], "2021-03-27T25:00"], "2021-03-27T25:00", 11),
    (["Feb 29 2021", "Mar 1 2021"], "Feb 29 2021", 2),
])
def test_a_date_that_cannot_be_read_is_quoted_with_its_line(read, times, cell, line):
    with pytest.raises(ValueError, match="is not a date") as found:
        read(rows(times))
    assert f", line {line}, column 'date': {cell!r} is not a date" in str(found.value)


def test_a_missing_time_is_refused(read):
    with pytest.raises(ValueError, match="column 'date': no time in line 4;"):
        read(rows([*DAYS[:2], "", *DAYS[3:]]))


# ---- Text, separators, headers, encodings


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "    "], ids=["comma", "semicolon", "tab", "bar", "space", "spaces"])
def test_the_separator_is_found(read, separator):
    table = read(rows(DAYS, separator=separator))
    assert table.targets == ["y"] and table.values[0][:, 0].tolist() == VALUES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_encoding_is_found(read, encoding):
    table = read(rows(DAYS, head="Datum,Größe"), encoding=encoding)
    assert table.targets == ["Größe"] and table.values[0][:, 0].tolist() == VALUES
    assert any("Windows-1252" in note for note in table.notes) == (encoding in ("latin-1", "cp1252"))


def packed_by_zip(data, names=("a.csv",)):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, packed_by_zip])
def test_compressed_files_are_read(read, pack):
    text = rows(DAYS).encode()
    assert read(pack(text), name="data.csv.packed").values[0][:, 0].tolist() == VALUES
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read(pack(text)[:-len(pack(text)) // 2])


def test_an_archive_of_several_files_is_refused(read):
    with pytest.raises(ValueError, match="must have one file, it has 2"):
        read(packed_by_zip(b"a", ("a.csv", "b.csv")))


@pytest.mark.parametrize("text, targets, first, line", [
    ("# a comment\n#another, one\ndate,y\n2020-01-01,x\n", None, None, 4),
    ("sep=;\ndate;y\n2020-01-01;x\n", None, None, 3),
    ('"sep=;"\ndate;y\n\n2020-01-01;x\n', None, None, 4),
    ("\n\ndate,y\n2020-01-01,5\n\n\n2020-01-02,x\n", None, None, 7),
    ("Sales of shops\nUnit: GWh\n\ndate,y\n2020-01-01,5\n2020-01-02,x\n", None, None, 6),
    ('date,y,note\n2020-01-01,5,"two\nlines"\n2020-01-02,x,b\n', None, None, 4),
    ("date,y\n2020-01-01,5\n# a comment\n2020-01-02,x\n", None, None, 4),
    ("date,y\r\n2020-01-01,5\r\n2020-01-02,x\r\n", None, None, 3),
    ("date,y\r2020-01-01,5\r2020-01-02,x\r", None, None, 3),
], ids=["comments", "sep=", "quoted sep=", "blank lines", "a preamble", "a cell of two lines", "a comment inside", "Windows", "old Mac"])
def test_lines_are_those_of_an_editor(read, text, targets, first, line):
    with pytest.raises(ValueError, match=f"data.csv, line {line}, column 'y': 'x' is not a number"):
        read(text, target="y")


@pytest.mark.parametrize("text, names, values", [
    ("1,2\n3,4\n", ["1", "2"], [[1, 2], [3, 4]]),
    ("a,b\n3,4\n", ["a", "b"], [[3, 4]]),
    ("5\n6\n", ["1"], [[5], [6]]),
    ("store,1,2\n7,8,9\n", ["store", "1", "2"], [[7, 8, 9]]),
    (",2330,1101\n2000-01-01,8,9\n2000-01-02,8,7\n", ["2330", "1101"], [[8, 9], [8, 7]]),
    (",0,1\n0,8,9\n1,8,7\n2,6,6\n", ["0", "1"], [[8, 9], [8, 7], [6, 6]]),
    ("month,2019,2020\n2000-01,8,9\n", ["2019", "2020"], [[8, 9]]),
    ("2000-01,8\n2000-02,9\n", ["2"], [[8], [9]]),
    ("a,b\n\n1,2\n\n3,4\n\n", ["a", "b"], [[1, 2], [3, 4]]),
    ("a,b,\n1,2,\n3,4,\n", ["a", "b"], [[1, 2], [3, 4]]),
    ("a,b\n1,2,\n3,4,\n", ["a", "b"], [[1, 2], [3, 4]]),
    ("a,b\n1,2\n3,4\n,\n,\n", ["a", "b"], [[1, 2], [3, 4]]),
    (",a\n0,5\n1,6\n2,7\n", ["a"], [[5], [6], [7]]),
    ("a b\nx 1 2\ny 3 5\nz 4 4\n", ["a", "b"], [[1, 2], [3, 5], [4, 4]]),
    ("# t a\n0 5\n1 5\n2 7\n", ["a"], [[5], [5], [7]]),
    ('"a, b";"c"\n"1";"2"\n', ["a, b", "c"], [[1, 2]]),
    (" a , b \n 1 , 2 \n", ["a", "b"], [[1, 2]]),
    ("note;a\nx, y;1\nz;2\n", ["a"], [[1], [2]]),
    ("a,b\nTrue,1\nFalse,2\n", ["a", "b"], [[1, 1], [0, 2]]),
], ids=["none", "header", "one column", "header with numbers", "an empty cell over dates", "numbers over an index",
        "years name columns", "dates without a header", "blank lines", "a separator too many", "a separator too many below",
        "rows of separators at the end", "the index pandas writes", "row names of R", "np.savetxt", "quoted", "spaces", "text with commas", "truth"])
def test_header_and_columns_of_numbers_are_found(read, text, names, values):
    table = read(text)
    assert table.targets == names and table.values[0].tolist() == values


def test_the_index_of_to_csv_is_the_axis_or_is_ignored(read):
    frame = pd.DataFrame({"date": DAYS, "y": VALUES})
    table = read(frame.to_csv())
    assert table.targets == ["y"] and table.time == "date" and "ignored, as it only counts the rows: the first column" in table.notes
    assert read(frame[["y"]].to_csv()).notes[0].startswith("the first column is the time axis, as it rises by 1")
    indexed = read(frame.set_index("date").to_csv())
    assert indexed.time == "date" and indexed.targets == ["y"]


def test_ids_keep_their_text(read):
    table = read("id,y\n001,1\n001,2\nNA,3\n1,4\n", id="id")
    assert table.ids == ["001", "NA", "1"] and [len(x) for x in table.values] == [2, 1, 1]


# ---- Numbers


@pytest.mark.parametrize("cells, options, values, told", [
    (["1.5", "-2", "+.5", "4e1", "6."], {}, [1.5, -2, 0.5, 40, 6], None),
    (["1,5", "-2", "1.234,5", "1.234.567"], {"decimal": ","}, [1.5, -2, 1234.5, 1234567], "points in column 'y' separate thousands"),
    (["1,234.5", "2", "1,234"], {}, [1234.5, 2, 1234], "commas in column 'y' separate thousands, as in '1,234.5'"),
    (["1,234", "567"], {"decimal": "."}, [1234, 567], "commas in column 'y' separate thousands"),
    (["1,234,567", "3"], {}, [1234567, 3], "commas in column 'y'"),
    (["1 234,5", "12 345 678,25"], {"decimal": ","}, [1234.5, 12345678.25], None),
    (["1'234.5", "1\u00a0234", "\u22125"], {}, [1234.5, 1234, -5], None),
    (["0.1", "1e-300", "123456789.123456789"], {}, [0.1, 1e-300, 123456789.123456789], None),
])
def test_numbers_are_read_with_their_signs(read, cells, options, values, told):
    table = read("x;y\n" + "".join(f"{5 + k % 2};{cell}\n" for k, cell in enumerate(cells)), **options)
    assert table.values[0][:, 1].tolist() == values
    assert told is None or any(note.startswith(told) for note in table.notes)


@pytest.mark.parametrize("cells, words", [
    (["$100", "$101"], "line 2, column 'y': '$100' is not a number; remove signs such as $ and %"),
    (["100 €", "101 €"], "line 2, column 'y': '100 €' is not a number"),
    (["5", "12%"], "line 3, column 'y': '12%' is not a number"),
    (["1", "5,25"], "'5,25' is not a number: a comma may be a decimal comma (--decimal ,) or separate thousands (--decimal .)"),
    (["1,234", "5"], "'1,234' is not a number: a comma may be"),
    (["1,234,567", "1,5"], "line 3, column 'y': '1,5' is not a number"),
    (["GWh", "5", "6"], "line 2, column 'y': 'GWh' is not a number"),
    (["5", "6", "closed"], "line 4, column 'y': 'closed' is not a number"),
    (["5", "6", "1_000"], "'1_000' is not a number"), (["5", "0x1F", "6"], "'0x1F' is not a number"),
    (["5", "6", "inf"], "'inf' is not a number"), (["5", "1e999", "6"], "'1e999' is too large a number"),
    (["5", "9" * 400, "6"], "is too large a number"), (["5", "6", "٣"], "'٣' is not a number"),
])
def test_a_cell_that_is_no_number_is_quoted(read, cells, words):
    with pytest.raises(ValueError) as found:
        read("x;y\n" + "".join(f"{5 + k % 2};{cell}\n" for k, cell in enumerate(cells)))
    assert words in str(found.value) and "\n" not in str(found.value)


def test_a_point_is_no_decimal_comma(read):
    for cells in (["1,5", "1.25"], ["1.25", "1.5"]):
        with pytest.raises(ValueError, match=r"'1.25' is not a number with a decimal comma \(--decimal ,\)"):
            read("x;y\n" + "".join(f"{5 + k % 2};{cell}\n" for k, cell in enumerate(cells)), decimal=",")


def test_marks_of_missing_values_are_missing(read):
    marks = ["", "NA", "n/a", "NaN", "-", ".", "null", "?", "None", " NA ", "--", ":", "#N/A"]
    text = "x,y\n" + "".join(f"1,{mark}\n3,{k}\n" for k, mark in enumerate(marks))
    with pytest.raises(ValueError, match=r"column 'y': 13 values are missing in lines 2, 4, 6, 8, 10 and 8 more; --fill HOW"):
        read(text)
    assert np.flatnonzero(read("x,y\n3,0\n" + text[4:], fill="zero").weights[0][:, 1] == 0).tolist() == list(range(1, 27, 2))


@pytest.mark.parametrize("fill, expected", [("interpolate", [1, 5, 5]), ("previous", [1, 1, 9]), ("zero", [0, 0, 0]),
                                            ("seasonal", [6, 6, 6])])
def test_inputs_are_filled_and_missing_targets_have_no_weight(read, fill, expected):
    x = [1.0, 2, 1, 4, 9, 7, 1, 6, 5, 8, 3, 2]
    text = "y,x\n" + "".join(f"{'' if k == 5 else k},{'' if k in (1, 3, 5) else v}\n" for k, v in enumerate(x))
    table = read(text, target="y", inputs=["x"], fill=fill, season=2)
    assert table.values[0][[1, 3, 5], 1].tolist() == expected
    assert np.flatnonzero(table.weights[0][:, 0] == 0).tolist() == [5]


def test_the_fill_of_a_column_is_what_its_name_says():
    x = np.array([np.nan, 1, np.nan, np.nan, 4, 7, np.nan])
    assert _tables._filled(x, "interpolate", None).tolist() == [1, 1, 2, 3, 4, 7, 7]
    assert _tables._filled(x, "previous", None).tolist() == [1, 1, 1, 1, 4, 7, 7]
    assert _tables._filled(x, "zero", None).tolist() == [0, 1, 0, 0, 4, 7, 0]
    assert _tables._filled(x, "seasonal", 3).tolist() == [1, 1, 7, 3, 4, 7, 7]  # the mean of k ± 3, or interpolated


def test_rows_without_targets_at_the_ends_are_left_out_or_known_ahead(read):
    lines = [f"{d},{'' if k in (0, 46, 47) else v},{k % 7}" for k, (d, v) in enumerate(zip(DAYS, VALUES))]
    text = "date,y,holiday\n" + "\n".join(lines) + "\n"
    table = read(text, target="y", known=["holiday"])
    assert table.known == ["holiday"] and table.columns == ["y", "holiday"]
    assert table.values[0][:, 0].tolist() == VALUES[1:46] and table.ahead[0].tolist() == [[4.0], [5.0]]
    assert any("left out the rows before the first and after the last value of y: line 2" in note for note in table.notes)
    table = read(text, target="y", inputs=["holiday"])
    assert len(table.values[0]) == 45 and any(note.endswith("lines 2, 48, 49") for note in table.notes)
    with pytest.raises(ValueError, match="3 values are missing in lines 2, 48, 49; --fill"):
        read(text)


# ---- Panels


def test_short_series_are_left_out_by_name(read):
    text = "id,date,y\n" + "".join(f"{k},{d},{v}\n" for k, n in (("A", 48), ("B", 9), ("C", 40)) for d, v in zip(DAYS[:n], VALUES))
    table = read(text, id="id")
    kept = table.without(20, "a horizon of 6")
    assert table.ids == ["A", "B", "C"] and kept.ids == ["A", "C"] and [len(x) for x in kept.values] == [48, 40]
    assert kept.notes[-1] == "left out 1 series of fewer than 20 days, which a horizon of 6 needs: 'B' (9)"
    assert table.without(100, "x") is table


def test_series_of_a_panel_are_mixed_sorted_and_have_gaps_of_their_own(read):
    lines = [f"{k},{d},{n}" for n, d in enumerate(DAYS[:20]) for k in "ab" if (k, n) != ("b", 5)]
    with pytest.raises(ValueError, match="1 day is missing: 2020-02-25 of 'b' before line 14"):
        read("id,date,y\n" + "\n".join(lines) + "\n", id="id")
    table = read("id,date,y\n" + "\n".join(lines[::-1]) + "\n", id="id", fill="interpolate")
    assert [x[:, 0].tolist() for x in table.values] == [list(range(20))] * 2
    assert [len(np.flatnonzero(weights == 0)) for weights in table.weights] == [1, 0]


# ---- Roles and refusals


@pytest.mark.parametrize("text, words", [
    ("", ": the file is empty"), ("\n\n", ": the file is empty"), ("a,b\n", ": the file has a header and no rows"),
    ("a,b\n1,2\n3\n", ", line 3: 1 field where line 1 has 2"),
    ("a,b,c,d\n1\n2\n3\n", ", line 2: 1 field where line 1 has 4"),
    ("a,b\n1,2\n\n3,4,5\n", ", line 4: 3 fields where line 1 has 2; a text or number that contains a comma needs quotes"),
    ("date,y\n2020-01-01,100,00\n", ", line 2: 3 fields where line 1 has 2"),
    ("a,a\n1,2\n", ", line 1: two columns are named 'a'"),
    ('a,b\n1,2\n3,"4\n', ", line 3: unexpected end of data"),
    ("d\n2020-01-01\n2020-01-02\n", ": no column of numbers is left to forecast; the columns are d"),
    ("d,e\nx,y\n", ": the file has no column of numbers; the columns are d, e"),
    ("Country,1990,1991,1992,1993,1994\nAruba,1,2,3,4,5\nChad,1,3,5,7,9\n", "1990, 1991, ... are times, so each row is a series; transpose"),
    (b"a,b\n1,2\n\0,3\n", ", line 3: the file is not text"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the file is not text"),
])
def test_an_invalid_file_is_refused(read, text, words):
    with pytest.raises(ValueError) as found:
        read(text)
    assert words in str(found.value) and "data.csv" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("options, words", [
    ({"target": ["sale"]}, "--target 'sale' is not a column of the file; did you mean 'sales'? its columns are shop, sales,"),
    ({"inputs": ["SHOP"]}, "--inputs 'SHOP' is not a column of the file; did you mean 'shop'?"),
    ({"id": "3"}, "--id '3' is not a column of the file; its columns are shop, sales, text"),
    ({"time": "when"}, "--time 'when' is not a column of the file"),
    ({"target": ["sales"], "inputs": ["sales"]}, "column 'sales' is given more than once as --target, --inputs"),
    ({"target": ["text"]}, "line 2, column 'text': 'p' is not a number"),
    ({"inputs": ["sales"]}, "no column of numbers is left to forecast; the columns are shop, sales, text"),
    ({"decimal": ";"}, "decimal must be one of '.', ',', or None, got ';'"),
    ({"fill": "mean"}, "fill must be one of 'interpolate', 'previous', 'zero', 'seasonal', or None, got 'mean'"),
])
def test_an_invalid_option_is_refused_with_the_valid_ones(read, options, words):
    with pytest.raises(ValueError) as found:
        read("shop,sales,text\nx,1,p\ny,2,q\n", **options)
    assert words in str(found.value)


def test_seasonal_needs_a_season(read):
    with pytest.raises(ValueError, match="--fill seasonal needs the number of steps of a season"):
        read("x,y\n1,2\n5,\n2,2\n", fill="seasonal")


def test_errors_about_long_names_are_short(read):
    long = "x" * 5000
    for text, options in ((f"{long},b\n1,1\n,3\n2,3\n", {"target": [long]}), (f"{long},{long}\n1,2\n", {}),
                          (f"{long},b\n1,1\n2,3\n", {"target": ["c"]})):
        with pytest.raises(ValueError) as found:
            read(text, **options)
        assert len(str(found.value)) < 600


# ---- DataFrames, Excel, Parquet


def test_frames_and_series_of_pandas_are_read():
    dates = pd.date_range("2020-01-31", periods=48, freq="ME")
    for data in (pd.Series(VALUES, dates, name="y"), pd.DataFrame({"y": VALUES}, dates),
                 pd.DataFrame({"when": dates, "y": VALUES}), pd.DataFrame({"when": dates.astype(str), "y": VALUES}),
                 pd.DataFrame({"when": dates, "y": pd.array(VALUES, "Float64")})):
        table = read_table(data)
        assert table.targets == ["y"] and table.unit == "months" and ahead(table) == ["2024-01-31", "2024-02-29"]
        np.testing.assert_array_equal(table.values[0][:, 0], VALUES)
        frame, = table.frames()
        assert frame.index.tolist() == dates.tolist() and frame.index.name == table.time
    assert read_table(pd.Series(VALUES)).targets == ["value"]
    assert read_table(pd.DataFrame({"y": VALUES})).calendar is None


@pytest.mark.parametrize("frequency, unit, later", [("Q", "quarters", "2002Q1"), ("M", "months", "1994-01"),
                                                    ("Y", "years", "2038"), ("D", "days", "1990-02-18"), ("h", "hours", "1990-01-03 00:00")])
def test_periods_are_read(frequency, unit, later):
    table = read_table(pd.Series(VALUES, pd.period_range("1990-01-01", periods=48, freq=frequency)))
    assert table.unit == unit and ahead(table, steps=1) == [later]


def test_a_zone_and_an_index_of_ids_are_kept():
    hours = pd.date_range("2021-03-01", periods=48, freq="h", tz="Asia/Kolkata")
    table = read_table(pd.Series(VALUES, hours))
    assert ahead(table, steps=1) == ["2021-03-03 00:00+05:30"] and table.frames()[0].index[0] == hours[0]
    both = pd.MultiIndex.from_product([["a", "b"], hours[:24]], names=["id", "time"])
    table = read_table(pd.DataFrame({"y": VALUES}, both), id="id")
    assert table.ids == ["a", "b"] and table.time == "time" and [len(x) for x in table.values] == [24, 24]


def test_errors_about_frames_name_rows_and_options_of_python():
    with pytest.raises(ValueError, match=r"the table, column 'y': no value in row 3; fill=HOW \('interpolate', 'previous'"):
        read_table(pd.DataFrame({"y": [1, 2, 3, None, 5]}))
    with pytest.raises(ValueError, match="the table, row 1, column 'y': '7 kg' is not a number"):
        read_table(pd.DataFrame({"y": ["1", "7 kg", "3"]}))
    with pytest.raises(ValueError, match="target= 'z' is not a column of the table"):
        read_table(pd.DataFrame({"y": [1, 2]}), target="z")
    with pytest.raises(TypeError, match="expected a path, a DataFrame or a Series, got list"):
        read_table([1, 2])
    with pytest.raises(ValueError, match="columns have 2 levels"):
        read_table(pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])))


def test_the_table_that_is_given_is_not_changed():
    frame = pd.DataFrame({"date": DAYS[::-1].copy(), "y": [None, *VALUES[1:]]})
    before = frame.copy()
    read_table(frame, fill="zero").values[0][:] = 0
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("ending, package", [(".xlsx", "openpyxl"), (".parquet", "pyarrow")])
def test_excel_and_parquet_are_read_or_name_their_package(tmp_path, monkeypatch, ending, package):
    frame = pd.DataFrame({"date": DAYS, "y": VALUES})
    path = tmp_path / f"data{ending}"
    path.write_bytes(b"x")
    with monkeypatch.context() as patch:
        for name in (package, "fastparquet"):
            patch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=f"needs the package {package}"):
            read_table(path)
    pytest.importorskip(package)
    with pytest.raises(ValueError, match="cannot be read"):
        read_table(path)
    getattr(frame, {".xlsx": "to_excel", ".parquet": "to_parquet"}[ending])(path, index=False)
    table = read_table(path)
    assert table.targets == ["y"] and table.unit == "days" and table.values[0][:, 0].tolist() == VALUES


def test_without_pandas_a_table_names_the_extra_and_the_packaged_data_are_read(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "fastbptt\[forecast\]"'):
        read("a\n1\n")
    for name, target, length in (("sunspots", "sunspots", 3120), ("airline", "passengers", 144)):
        table = _tables.packaged(name)
        assert table.targets == [target] and len(table.values[0]) == length == len(table.times[0]) and table.unit == "months"


# ---- Calendars


def test_a_season_follows_from_the_step():
    found = {word: Calendar(unit, step).season for word, unit, step in (
        ("months", "M", 1), ("quarters", "M", 3), ("days", "D", 1), ("weeks", "D", 7), ("hours", "h", 1),
        ("half hours", "m", 30), ("years", "Y", 1), ("business days", "B", 1), ("numbers", "1", 1), ("uneven", "D", None))}
    assert found == {"months": 12, "quarters": 4, "days": 7, "weeks": 52, "hours": 24, "half hours": 48, "years": None,
                     "business days": 5, "numbers": None, "uneven": None}


def test_lengths_of_equal_steps_are_equal():
    for one, other in (((("Y"), 1), ("M", 12)), (("D", 1), ("h", 24)), (("m", 60), ("h", 1)), (("s", 3600), ("m", 60))):
        assert Calendar(*one).length == Calendar(*other).length and Calendar(*one).describe() == Calendar(*other).describe()
    described = [Calendar(*each).describe() for each in (("M", 5), ("Y", 10), ("m", 30), ("D", 14), ("1", 0.5), ("D", None))]
    assert described == ["5 months", "10 years", "30 minutes", "14 days", "0.5", "not always the same"]


@pytest.mark.parametrize("header", [{"unit": "Q", "step": 1}, {"unit": "M", "step": -1}, {"unit": "M", "step": 1, "day": "x"},
                                    {"unit": "M", "step": 1.5}, {"unit": "1", "step": 0.0},
                                    {"unit": "M", "step": 1, "style": "\n"}, {"unit": "D", "step": 1, "clock": "x"}, {"unit": "D", "step": 1, "offset": "CET"}])
def test_an_invalid_calendar_is_refused(header):
    with pytest.raises((TypeError, ValueError)):
        Calendar.from_header(header)


def test_spacing_of_several_series_is_common():
    series = [np.array(["2020-01-01", "2020-01-03"], "M8[D]"), np.array(["2021-01-01", "2021-01-02", "2021-01-03"], "M8[D]")]
    calendar, _, positions = spacing(series, "D")
    assert calendar.step == 1 and [p.tolist() for p in positions] == [[0, 2], [0, 1, 2]]


# ---- The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # pictures take longer than the rest
    return tmp_path


SHORT = ["--max-iter", "2", "--hidden-size", "3", "--horizon", "3"]


def test_predict_reads_as_train_did_and_checks_the_step_and_the_range(folder, capsys):
    values = [f"{v:.2f}".replace(".", ",") for v in VALUES]
    Path("a.csv").write_text(rows(dated("%m/%d/%Y", months())[::-1], values[::-1], "Date,y", ";"))
    assert main(["train", "a.csv", "--decimal", ",", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "the rows come newest first" in out and "read as month/day/year, the only order" in out
    assert "--decimal , --horizon 3 tries a larger network" in out
    Path("few.csv").write_text(rows(dated("%m/%d/%Y", months(8)), values, "Date,y", ";"))
    assert main(["predict", "a.npz", "few.csv", "--steps", "2"]) == 0
    captured = capsys.readouterr()
    assert [line.split(",")[0] for line in captured.out.splitlines()] == ["date", "1999-09-01", "1999-10-01"]
    assert "fastbptt: column 'Date' is the time axis; a step is a month\n" in captured.err
    for text, words in ((rows(DAYS, values, "Date,y", ";"), "a step of the file is a day, and a step of the model is a month"),
                        (rows(np.delete(months(), 9), values, "Date,y", ";"), "1 month is missing: 1999-10 before line 11"),
                        (rows(months(), values, "Date,x", ";"), "the model's target 'y' is not a column of the file")):
        Path("b.csv").write_text(text)
        assert main(["predict", "a.npz", "b.csv"]) == 2
        captured = capsys.readouterr()
        assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    Path("b.csv").write_text(rows(months(), [f"{1000 * v}" for v in VALUES], "Date,y", ";"))
    assert main(["predict", "a.npz", "b.csv", "--decimal", ".", "--dayfirst"]) == 0
    assert re.search(r"fastbptt: warning: column 'y' has 1\d{5}.*, far outside 82.7 to 130.19,", capsys.readouterr().err)


def test_missing_targets_change_no_error_and_are_filled_in_predict(folder, capsys):
    lines = [f"{d},{'' if k in (3, 20, 45) else v},{k % 5 if k != 7 else ''}" for k, (d, v) in enumerate(zip(DAYS, VALUES))]
    Path("a.csv").write_text("date,y,x\n" + "\n".join(lines) + "\n")
    assert main(["train", "a.csv", "--target", "y", "--inputs", "x", *SHORT]) == 2
    assert "column 'y': 3 values are missing in lines 5, 22, 47; --fill HOW" in capsys.readouterr().err
    errors = []
    for how in ("previous", "zero"):
        assert main(["train", "a.csv", "--target", "y", "--inputs", "x", "--fill", how, *SHORT]) == 0
        out = capsys.readouterr().out
        assert f"filled ({how}): y in lines 5, 22, 47; x in line 9" in out and "missing targets have no weight" in out
        errors.append(re.search(r"repeating the last value +(\S+)", out)[1])
        assert main(["predict", "a.npz", "a.csv"]) == 0
        assert f"filled ({how})" in capsys.readouterr().err
    own = np.array(VALUES)
    for how, found in zip((own[44], 0), errors):
        filled = own.copy()
        filled[[3, 20, 45]] = own[2], own[19], how
        if how == 0:
            filled[[3, 20]] = 0
        told = np.setdiff1d(np.arange(38, 48), [45])
        assert float(found) == pytest.approx(np.sqrt(np.mean((own[told] - filled[told - 3]) ** 2)), rel=5e-3)


def test_the_fit_does_not_read_missing_targets():
    """Only as inputs are filled values read: two fills of the target that leave the inputs equal give equal networks."""
    from fastbptt.cli import forecast

    rng, thetas = np.random.default_rng(0), []
    x = np.cumsum(rng.standard_normal((90, 2)), axis=0)
    weights = np.ones((90, 1))
    weights[[89, 88]] = 0
    for last in (0.0, 1e3):
        series = x.copy()
        series[88:, 0] = last
        forecaster = forecast.Forecaster(["y"], ["x"], horizon=3).fit([series], None, [weights], hidden_size=3, max_iter=2,
                                                                        random_state=0)
        thetas.append(forecaster.network.theta)
        made = forecaster.made([series])
        assert np.isfinite(forecast.errors(made, [series], "test", [weights]).all)
    np.testing.assert_array_equal(*thetas)
    with pytest.raises(ValueError, match="y has no value in the last 20 %"):
        forecast.refuse([x], ["y", "x"], 3, weights=[np.where(np.arange(90) < 72, 1.0, 0.0)[:, None]])


@pytest.mark.parametrize("difference", [0, 3])
def test_missing_targets_have_weight_zero_in_training_and_validation(monkeypatch, difference):
    from fastbptt.cli import forecast

    given = {}

    def fit(self, X, D, sample_weight, validation):
        given.update(D=D, weights=sample_weight, validation=validation)
        raise KeyboardInterrupt

    monkeypatch.setattr(forecast.RNNRegressor, "fit", fit)
    x = np.cumsum(np.random.default_rng(0).standard_normal((200, 2)), axis=0)
    missing = [50, 51, 100, 150]  # 150 is held out
    x[missing, 0] = 1e6  # a mark, by which the targets are found again
    weights = np.ones((200, 1))
    weights[missing] = 0
    with pytest.raises(KeyboardInterrupt):
        forecast.Forecaster(["y"], ["x"], horizon=3, difference=difference).fit([x], None, [weights], hidden_size=3, max_iter=2)
    _, held, judged = given["validation"]
    for D, weight in ((given["D"], given["weights"]), ([d[:, :1] for d in held], judged)):
        D, weight = np.concatenate(D)[:, 0], np.concatenate(weight)
        filled = D > 0.5 * D.max()
        assert filled.any() and (weight[filled] == 0).all() and weight.any()


def test_a_model_of_version_0_1_reads_a_table(folder, capsys):
    saved = Path(__file__).parents[1] / "saved"
    assert main(["predict", str(saved / "forecaster.npz"), str(saved / "forecaster.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out == (saved / "forecast.csv").read_text()
    assert fastbptt.load(saved / "forecaster.npz").reading == {}
