"""A CSV file is read as its writer meant it, or refused in one line with the place and the reason."""

import numpy as np
import pytest

from fastbptt.cli import table as _table
from fastbptt.cli.calendar import Calendar

pytestmark = pytest.mark.quick


@pytest.fixture
def read(tmp_path):
    def read(text, *args, encoding="utf-8", **kwargs):
        path = tmp_path / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return _table.read(str(path), *args, **kwargs)

    return read


def values(series):
    return [x.tolist() for x in series.values]


# ---- What is read


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_separator_header_and_dates_are_detected(read, separator):
    series = read("month,sold,price\n2020-01,1,2.5\n2020-02,-3,4e1\n2020-03,.5,+6.\n".replace(",", separator))
    assert series.targets == ["sold", "price"] and series.inputs == [] and series.ids is None and series.notes == []
    assert values(series) == [[[1, 2.5], [-3, 40], [0.5, 6]]]
    assert series.unit == "months" and series.dates[0].astype(str).tolist() == ["2020-01", "2020-02", "2020-03"]


@pytest.mark.parametrize("text, names, rows", [
    ("1,2\n3,4\n", ["1", "2"], [[1, 2], [3, 4]]),
    ("a,b\n3,4\n", ["a", "b"], [[3, 4]]),
    ("5\n6\n", ["1"], [[5], [6]]),
    ("store,1,2\n7,8,9\n", ["store", "1", "2"], [[7, 8, 9]]),
    ("month,2019,2020\n2000-01,8,9\n", ["2019", "2020"], [[8, 9]]),
    ("2000-01,8\n2000-02,9\n", ["2"], [[8], [9]]),
    ("a,b\n\n1,2\n\n3,4\n\n", ["a", "b"], [[1, 2], [3, 4]]),
    ("a,b,\n1,2,\n3,4,\n", ["a", "b"], [[1, 2], [3, 4]]),
    (",a\n0,5\n1,6\n2,7\n", ["a"], [[5], [6], [7]]),
    ('"a, b";"c"\n"1";"2"\n', ["a, b", "c"], [[1, 2]]),
    ("a,b\r\n1,2\r\n", ["a", "b"], [[1, 2]]),
    (" a , b \n 1 , 2 \n", ["a", "b"], [[1, 2]]),
    ("note;a\nx, y;1\nz;2\n", ["a"], [[1], [2]]),
], ids=["none", "header", "one column", "header with numbers", "years name columns", "dates without a header",
        "blank lines", "a separator too many", "the index pandas writes", "quoted", "Windows", "spaces",
        "text column with commas"])
def test_header_and_columns_of_numbers_are_detected(read, text, names, rows):
    series = read(text)
    assert series.targets == names and values(series) == [rows]


def test_a_byte_order_mark_is_not_part_of_the_first_name(read):
    assert read("a,b\n1,2\n", encoding="utf-8-sig").targets == ["a", "b"]


def test_targets_inputs_and_id_choose_columns_in_the_order_given(read):
    text = "day,a,b,c,shop\n2020-01-01,1,2,3,x\n2020-01-01,4,5,6,y\n2020-01-02,7,8,9,x\n"
    series = read(text, ["c", "a"], ["b"], "shop")
    assert series.targets == ["c", "a"] and series.inputs == ["b"] and series.ids == ["x", "y"]
    assert values(series) == [[[3, 1, 2], [9, 7, 8]], [[6, 4, 5]]]
    assert [len(dates) for dates in series.dates] == [2, 1] and series.unit == "days"


def test_without_targets_all_other_columns_are_targets(read):
    series = read("a,b,c\n1,2,3\n", inputs=["b"])
    assert series.targets == ["a", "c"] and values(series) == [[[1, 3, 2]]]


def test_columns_without_a_header_have_numbers_as_names(read):
    series = read("x,1,2\nx,3,4\ny,5,6\n", ["3"], id="1")
    assert values(series) == [[[2], [4]], [[6]]] and series.ids == ["x", "y"]


def test_a_date_column_may_be_a_target(read):
    assert read("year,a\n2000,1\n2001,2\n", ["year"]).targets == ["year"]


def test_text_columns_are_ignored_with_a_note(read):
    series = read("when,shop,a\n01/02/2020,x,1\n02/02/2020,x,2\n")
    assert series.notes == ["ignored, as they have no numbers: when, shop"]


def test_a_large_file_is_read_in_parts(read):
    """Rows are read some hundreds at a time. Values, dates, ids and line numbers continue across parts."""
    days = (np.datetime64("2000-01-01") + np.arange(3000)).astype(str)
    rows = [f"{'xy'[k % 2]},{days[k // 2]},{k}.5\n" for k in range(6000)]
    series = read("id,day,a\n" + "".join(rows), id="id")
    assert [x[:, 0].tolist() for x in series.values] == [[k + 0.5 for k in range(n, 6000, 2)] for n in (0, 1)]
    assert all(dates.astype(str).tolist() == days.tolist() for dates in series.dates)
    for change, words in (("x,2009-01-01,wrong", "line 4002, column 'a': 'wrong' is not a number"),
                          ("x,2009-01-01,1e999", "line 4002, column 'a': '1e999' is too large"),
                          ("x,2009-01-01,", "column 'a': no value in line 4002;"),
                          (",2009-01-01,1", "column 'id': no value in line 4002;"),
                          ("x,1999-01-01,1", "line 4002, column 'day': 1999-01-01 does not come after 2005-06-22 of"),
                          ("x,wrong,1", "line 4002, column 'day': 'wrong' is not a date like those before it"),
                          ("x,1", "line 4002: 2 fields where line 1 has 3")):
        with pytest.raises(ValueError) as found:
            read("id,day,a\n" + "".join([*rows[:4000], change + "\n", *rows[4001:]]), id="id")
        assert words in str(found.value)


# ---- Dates


@pytest.mark.parametrize("dates, unit, later", [
    (["1999", "2000", "2001"], "years", "2002"),
    (["2000-11", "2000-12"], "months", "2001-01"),
    (["2000/11", "2000/12"], "months", "2001-01"),
    (["2000-11-15", "2000-12-15", "2001-01-15"], "months", "2001-02-15"),
    (["2000-07-31", "2000-08-31"], "months", "2000-09-30"),
    (["2000-12-30", "2001-01-30"], "months", "2001-02-28"),
    (["1999-12-31", "2000-01-31", "2000-02-29"], "months", "2000-03-31"),
    (["2000-01-01", "2000-04-01", "2000-07-01"], "steps", "2000-10-01"),
    (["2000-02-28", "2000-02-29"], "days", "2000-03-01"),
    (["2000-02-21", "2000-02-28"], "steps", "2000-03-06"),
    (["2000-01-01T22:00", "2000-01-01T23:00"], "steps", "2000-01-02T00:00"),
    (["2000-01-01 22:00:00", "2000-01-01 23:30:00"], "steps", "2000-01-02T01:00:00"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_dates_determine_the_step_and_the_next_date(read, dates, unit, later):
    series = read("when,a\n" + "".join(f"{date},5\n" for date in dates))
    assert series.targets == ["a"] and series.unit == unit
    assert series.calendar.text(series.calendar.ahead(series.dates[0][-1], 2)[0]) == later
    assert Calendar.from_header(series.calendar.header()) == series.calendar


@pytest.mark.parametrize("cells", [["2000", "2002", "2003"], ["1999", "1999", "2000"], ["1500", "1400", "1300"]])
def test_four_digits_that_are_not_consecutive_years_are_numbers(read, cells):
    assert read("a,b\n" + "".join(f"{cell},5\n" for cell in cells)).targets == ["a", "b"]


def test_years_may_start_again_with_each_series(read):
    assert read("id,year,a\nx,2000,1\nx,2001,2\ny,1990,3\ny,1991,4\n", id="id").unit == "years"


def test_uneven_dates_are_steps_without_a_next_date(read):
    series = read("day,a\n2020-01-03,1\n2020-01-06,2\n2020-01-07,3\n")
    assert series.unit == "steps" and series.calendar.ahead(series.dates[0][-1], 1) is None
    assert len(series.notes) == 1 and "evenly" in series.notes[0]


# ---- What is refused


@pytest.mark.parametrize("text, words", [
    ("", ": the file is empty"),
    ("a,b\n", ": the file has a header and no rows"),
    ("a,b\n1,2\n3\n", ", line 3: 1 field where line 1 has 2"),
    ("a,b\n1,2\n\n3,4,5\n", ", line 4: 3 fields where line 1 has 2"),
    ("a,a\n1,2\n", ", line 1: two columns are named 'a'"),
    ("a,b\n1,2\n3,x\n", ", line 3, column 'b': 'x' is not a number"),
    ("1,2\n3,x\n", ", line 2, column 2: 'x' is not a number"),
    ("a,b\n1,2\n3,0x1F\n", "'0x1F' is not a number"),
    ("a,b\n1,2\n3,1_000\n", "'1_000' is not a number"),
    ("a,b\n1,2\n3,inf\n", "'inf' is not a number"),
    ("a,b\n1,2\n3,1e999\n", ", line 3, column 'b': '1e999' is too large a number"),
    ("a,b\n1,\n2,3\n4,NA\n5,nan\n", ", column 'b': 3 values are missing in lines 2, 4, 5;"),
    ("a,b\n1,2\n,3\n", ", column 'a': no value in line 3;"),
    ("a,b\n1,2\n,\n3,4\n", ", column 'a': no value in line 3;"),
    ("a\n" + "1\n-\n" * 9, ", column 'a': 9 values are missing in lines 3, 5, 7, 9, 11 and 4 more;"),
    ("a;b\n1,5;2\n", ", line 2, column 'a': '1,5' is not a number: a comma may be a decimal comma"),
    ('a,b\n"1,234.5",2\n', "'1,234.5' is not a number: a comma may be a decimal comma"),
    ('a,b\n1,2\n3,"4\n', ", line 3: unexpected end of data"),
    ('a,b\n"1\n",2\n3,x\n', ", line 4, column 'b': 'x' is not a number"),
    ("12.5,x\n1,2\n", ", line 1: 'x' is not a number and '12.5' is not a column name"),
    ("d\n2020-01-01\n2020-01-02\n", ": the file has no column of numbers; the columns are d"),
    ("d,a\n2020-01,1\n2020-13,2\n", ", line 3, column 'd': '2020-13' is not a date like those before it"),
    ("d,a\n2020-01,1\nlater,2\n", ", line 3, column 'd': 'later' is not a date like those before it"),
    ("d,a\n2020-02,1\n2020-01,2\n", ", line 3, column 'd': 2020-01 does not come after 2020-02 of line 2: rows"),
    ("d,a\n2020-02,1\n2020-02,2\n", "use --id COLUMN if the rows belong to several series"),
    (b"a,b\n1,2\n\xe9,3\n", ", line 3: the byte 0xe9 is not UTF-8"),
    (b"\xef\xbb\xbfa,b\n1,2\n\n\xe9,3\n", ", line 4: the byte 0xe9 is not UTF-8"),
    ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8"),
], ids=lambda value: "" if isinstance(value, str) and value.startswith((",", ":")) else None)
def test_an_invalid_file_is_refused_with_file_line_and_column(read, text, words):
    with pytest.raises(ValueError) as found:
        read(text)
    assert words in str(found.value) and "data.csv" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("options, words", [
    ({"targets": ["sale"]}, "--target 'sale' is not a column of the file; did you mean 'sales'? its columns are shop, sales,"),
    ({"inputs": ["SHOP"]}, "--inputs 'SHOP' is not a column of the file; did you mean 'shop'?"),
    ({"id": "3"}, "--id '3' is not a column of the file; its columns are shop, sales, text"),
    ({"targets": ["sales"], "inputs": ["sales"]}, "column 'sales' is given more than once"),
    ({"targets": ["text"]}, "line 2, column 'text': 'p' is not a number"),
    ({"inputs": ["sales"]}, "no column of numbers is left to forecast; the columns are shop, sales, text"),
], ids=lambda value: "" if isinstance(value, str) else str(value))
def test_an_invalid_column_is_refused_with_the_valid_names(read, options, words):
    with pytest.raises(ValueError, match="data.csv") as found:
        read("shop,sales,text\nx,1,p\ny,2,q\n", **options)
    assert words in str(found.value)


def test_errors_about_long_names_are_short(read):
    long = "x" * 5000
    for text, options in ((f"{long},b\n1,1\n,3\n", {"targets": [long]}), (f"{long},{long}\n1,2\n", {}),
                          (f"{long},b\n1,1\n2,3\n", {"targets": ["c"]}), (f"{long},1.5\n1,2\n", {})):
        with pytest.raises(ValueError) as found:
            read(text, **options)
        assert len(str(found.value)) < 500


def test_a_missing_id_is_refused_with_its_line(read):
    with pytest.raises(ValueError, match="column 'id': no value in line 3"):
        read("id,a\nx,1\n,2\n", id="id")


def test_missing_values_in_unused_columns_are_ignored(read):
    assert values(read("a,b\n1,\n2,3\n", ["a"])) == [[[1], [2]]]


@pytest.mark.parametrize("header", [{"unit": "Q", "step": 1, "day": ""}, {"unit": "M", "step": -1, "day": ""},
                                    {"unit": "M", "step": 1, "day": "x"}, {"unit": "M", "step": 1.5, "day": ""}])
def test_an_invalid_calendar_is_refused(header):
    with pytest.raises((TypeError, ValueError)):
        Calendar.from_header(header)
