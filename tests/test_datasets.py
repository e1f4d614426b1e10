"""The packaged data are whole, and what a loader returns is the caller's own."""

import numpy as np

from fastbptt import datasets


def test_sunspots_are_all_3120_months_in_order():
    series, dates = datasets.load_sunspots(return_dates=True)
    assert series.shape == (1, 3120, 1) and series.dtype == np.float64
    assert dates.dtype == np.dtype("datetime64[M]")
    np.testing.assert_array_equal(dates, np.arange("1749-01", "2009-01", dtype="datetime64[M]"))


def test_sunspots_have_the_sources_values_where_lines_and_years_begin_and_end():
    series = datasets.load_sunspots()[0, :, 0]
    np.testing.assert_array_equal(series[[0, 1, 11, 12, -13, -12, -1]], [58.0, 62.6, 85.2, 73.3, 10.1, 3.3, 0.8])
    assert series.max() == 253.8 and np.argmax(series) == (1957 - 1749) * 12 + 9  # October 1957, the record
    np.testing.assert_allclose(series.sum(), 162974.6, rtol=1e-14)


def test_sunspots_hold_no_missing_or_negative_value():
    series = datasets.load_sunspots()
    assert np.isfinite(series).all() and (series >= 0).all()


def test_the_loaded_array_is_the_callers_own():
    first = datasets.load_sunspots()
    assert first.flags.writeable and first.flags.c_contiguous
    first[...] = -1
    assert datasets.load_sunspots()[0, 0, 0] == 58.0


def test_without_dates_the_array_alone_is_returned():
    assert isinstance(datasets.load_sunspots(), np.ndarray)


def test_errors_that_readme_names_beside_the_networks():
    """Forecasts 12 months ahead on the last 20 %: a linear autoregression of order 132, and the last value repeated."""
    series, order, ahead = datasets.load_sunspots().ravel(), 132, 12
    train_end, test_start = len(series) * 7 // 10, len(series) * 8 // 10

    def rows(targets):
        past = [np.append(series[target - ahead - order + 1:target - ahead + 1], 1) for target in targets]
        return np.array(past), series[targets]

    X, d = rows(np.arange(order + ahead, train_end))
    coefficients = np.linalg.lstsq(X, d, rcond=None)[0]
    X, d = rows(np.arange(test_start, len(series)))
    assert round(np.sqrt(np.mean((X @ coefficients - d) ** 2)), 1) == 27.1
    assert round(np.sqrt(np.mean((X[:, -2] - d) ** 2)), 1) == 37.7
