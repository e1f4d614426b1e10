"""fastbptt.Forecaster: which rows it reads, panels, known inputs, gaps, intervals, and the comparison with simple methods."""

import pathlib
import sys

import numpy as np
import pytest

import fastbptt
from fastbptt import Forecaster

pd = pytest.importorskip("pandas")


def airline():
    path = pathlib.Path(fastbptt.__file__).parent / "datasets" / "airline_passengers.csv"
    values = pd.read_csv(path).iloc[:, -1].to_numpy(float)
    return pd.Series(values, pd.date_range("1949-01", periods=len(values), freq="MS"), name="passengers")


def waves(T=300, m=12, seed=0):
    """A season of m steps whose size changes nonlinearly, with noise."""
    t = np.arange(T)
    return 10 + 3 * np.sin(2 * np.pi * t / m) + np.random.default_rng(seed).normal(0, 0.3, T)


@pytest.fixture(scope="module")
def passengers():
    return airline()


@pytest.fixture(scope="module")
def fitted(passengers):
    return Forecaster(12, interval=(80, 95), random_state=0).fit(passengers)


@pytest.mark.quick
def test_the_forecast_is_a_long_table_that_follows_the_data(passengers, fitted):
    table = fitted.predict()
    assert list(table.columns) == ["time", "target", "forecast", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert list(table["time"]) == list(pd.date_range("1961-01", periods=12, freq="MS"))
    assert (table["target"] == "passengers").all()
    assert fitted.seasons_ == (12,)


def test_intervals_contain_the_forecast_and_grow_with_the_level(fitted):
    t = fitted.predict()
    assert (t["lower_95"] <= t["lower_80"]).all() and (t["lower_80"] < t["forecast"]).all()
    assert (t["forecast"] < t["upper_80"]).all() and (t["upper_80"] <= t["upper_95"]).all()


def test_the_newest_rows_are_used(passengers, fitted):
    before = fitted.predict()["forecast"].to_numpy()
    try:
        changed = passengers.copy()
        changed.iloc[-1] *= 3
        after = fitted.update(changed).predict()["forecast"].to_numpy()
    finally:
        fitted.update(passengers)
    assert after[0] > 1.2 * before[0]
    np.testing.assert_array_equal(fitted.predict()["forecast"], before)


def test_the_last_fit_uses_all_data():
    x = pd.Series(np.random.default_rng(0).normal(0, 1, 60).cumsum())
    changed = x.copy()
    changed.iloc[-1] += 50
    # Both are asked to forecast the same history, which ends before the change.
    a, b = (Forecaster(4, season=1, members=0).fit(each).update(x.iloc[:-1]).predict()["forecast"] for each in (x, changed))
    assert not np.allclose(a, b)


def test_a_seasonal_series_is_forecast_better_than_by_the_last_value_and_the_season():
    x = waves()
    truth = x[-12:]
    made = Forecaster(12, season=12, members=0).fit(pd.Series(x[:-12])).predict()["forecast"].to_numpy()
    def error(f):
        return np.sqrt(np.mean((f - truth) ** 2))
    assert error(made) < 0.5 * error(np.full(12, x[-13]))
    assert error(made) < error(x[-24:-12])


def test_a_period_is_found_without_dates():
    assert Forecaster(6, members=0).fit(pd.Series(waves(m=9))).seasons_ == (9,)
    noise = np.random.default_rng(1).normal(0, 1, 300)
    assert Forecaster(6, members=0).fit(pd.Series(noise)).seasons_ == ()


@pytest.mark.parametrize("freq, seasons", [("YS", ()), ("QS", (4,)), ("MS", (12,)), ("ME", (12,)), ("W-SUN", (52,)),
                                           ("D", (7,)), ("B", (5,)), ("h", (24, 168)), ("30min", (48, 336)), ("2D", ())])
def test_the_frequency_gives_the_season(freq, seasons):
    index = pd.date_range("2001-01-01", periods=40, freq=freq)
    x = pd.Series(np.random.default_rng(0).normal(0, 1, 40), index)
    assert Forecaster(3, members=0).fit(x).seasons_ == seasons
    x.index.freq = None
    x = x.drop(x.index[20])
    made = Forecaster(3, members=0, fill="interpolate").fit(x)
    assert list(made.predict()["time"]) == list(pd.date_range(index[-1], periods=4, freq=freq)[1:])


def test_periods_and_whole_numbers_are_times():
    values = waves(60)
    periods = pd.Series(values, pd.period_range("2001Q1", periods=60, freq="Q"))
    assert list(Forecaster(2, members=0).fit(periods).predict()["time"]) == list(pd.period_range("2016Q1", periods=2, freq="Q"))
    numbers = pd.Series(values, range(1900, 2020, 2))
    assert list(Forecaster(2, members=0).fit(numbers).predict()["time"]) == [2020, 2022]
    years = pd.DataFrame({"year": pd.Series(range(1950, 2010), dtype=object), "y": values})
    assert list(Forecaster(2, members=0).fit(years, time="year").predict()["time"]) == [2010, 2011]
    pairs = pd.Series(values, pd.period_range("2000-01", periods=60, freq="2M"))
    assert list(Forecaster(2, members=0).fit(pairs).predict()["time"]) == list(pd.period_range("2010-01", periods=2, freq="2M"))


def panel(N=2, T=60):
    t = np.arange(T)
    parts = [pd.DataFrame({"shop": f"s{n}", "day": pd.date_range("2020-01-01", periods=T),
                           "sales": (n + 1) * waves(T, 7, n), "visits": 50 + 0.1 * t + waves(T, 7, n + 9)}) for n in range(N)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.quick
def test_a_panel_has_forecasts_of_each_series_and_target():
    frame = panel()
    model = Forecaster(5, members=0).fit(frame, ["sales", "visits"], id="shop", time="day")
    table = model.predict()
    assert list(table.columns)[:4] == ["shop", "time", "target", "forecast"]
    assert len(table) == 2 * 2 * 5
    means = table[table["target"] == "sales"].groupby("shop")["forecast"].mean()
    np.testing.assert_allclose(means, [10, 20], rtol=0.2)
    shuffled = Forecaster(5, members=0).fit(frame.sample(frac=1, random_state=0).sort_values("shop", kind="stable"),
                                            ["sales", "visits"], id="shop", time="day")
    np.testing.assert_array_equal(shuffled.predict()["forecast"], table["forecast"])
    assert any("sorted" in note for note in shuffled.notes_)


@pytest.mark.quick
def test_known_inputs_move_the_forecast():
    rng = np.random.default_rng(0)
    T, h = 200, 4
    holiday = (rng.random(T + h) < 0.1).astype(float)
    holiday[T:] = [0, 1, 0, 1]
    y = 20 + rng.normal(0, 0.3, T + h) + 8 * holiday
    frame = pd.DataFrame({"y": y, "holiday": holiday}, pd.date_range("2020-01-01", periods=T + h))
    frame.iloc[T:, 0] = np.nan
    model = Forecaster(h, season=1, members=0).fit(frame, "y", known="holiday")
    np.testing.assert_allclose(model.predict()["forecast"], [20, 28, 20, 28], atol=1.0)
    other = pd.DataFrame({"holiday": [1.0, 0, 0, 0]}, frame.index[T:])
    np.testing.assert_allclose(model.predict(known=other)["forecast"], [28, 20, 20, 20], atol=1.0)
    with (pytest.raises(ValueError, match="known has 4 steps after the last target, and 6 are needed"),
          pytest.warns(UserWarning, match="beyond the horizon")):
        model.predict(6)
    more = pd.DataFrame({"holiday": 0.0}, pd.date_range(frame.index[T - 3], periods=60, freq="12h"))
    more.loc[frame.index[T], "holiday"] = 1  # rows between the steps are not read
    np.testing.assert_allclose(model.predict(known=more)["forecast"], [28, 20, 20, 20], atol=1.0)
    with pytest.raises(ValueError, match=r"known must have a row for each of the next 4 steps, and has none for 2020-07-20"):
        model.predict(known=other.set_axis(pd.date_range(frame.index[T], periods=h, freq="2D")))
    with pytest.raises(ValueError, match=r"known must begin at 2020-07-19 .*or before, got 2020-07-20 "):
        model.predict(known=other.set_axis(frame.index[T:] + pd.Timedelta(days=1)))


def test_gaps_are_an_error_unless_filled():
    x = pd.Series(waves(80, 7), pd.date_range("2020-01-01", periods=80))
    gap = x.drop(x.index[[30, 31]])
    with pytest.raises(ValueError, match=r"'y' has no value at 2020-01-31.*2 steps.*give fill="):
        Forecaster(5).fit(gap)
    for fill in ("interpolate", "previous", "zero", "seasonal"):
        model = Forecaster(5, members=0, fill=fill).fit(gap)
        assert any("2 steps" in note for note in model.notes_)
    filled = model._series[0].values[:, 0]
    np.testing.assert_array_equal(filled[30:32], x.iloc[23:25])


@pytest.mark.parametrize("change, message", [
    (lambda f: f.assign(y=f["y"].replace(f["y"].iloc[3], np.inf)), "must be finite"),
    (lambda f: pd.concat([f, f.iloc[-1:]]), "must not repeat"),
    (lambda f: f.iloc[:10], "has 10 steps, and a horizon of 5"),
    (lambda f: f.assign(z=1.0), "target must name the columns"),
    (lambda f: f.set_index(f.index + pd.to_timedelta(np.arange(len(f)) ** 2, "s")), "evenly spaced"),
    (lambda f: f.assign(y=1e200), "finite and at most 1e.100, got a number above 1e.100 in column 'y'"),
    (lambda f: f.assign(z=1.0).set_axis(["y", "y"], axis=1), "frame must have different column names, and 'y' comes twice"),
    (lambda f: f.set_index(pd.Index([2000, *map(str, range(2001, 2060))], dtype=object)), "dates or whole numbers, got both"),
    (lambda f: f.assign(y=np.nan), "target has no numbers in column 'y'"),
    (lambda f: f.drop(f.index[3]), r"no value at 2020-01-04 00:00:00 \(1 step without a value in all\); give fill="),
    (lambda f: f.set_index([["a"] * 60, f.index]), r"frame must have an index of one level, got the levels \[None, None\]"),
    (lambda f: f.set_index(pd.PeriodIndex([*pd.period_range("2000-01", periods=59, freq="2M"), pd.Period("2011-04", "2M")])),
     "time must be a whole number of steps of 2M apart"),
])
def test_bad_tables_raise(change, message):
    frame = pd.DataFrame({"y": waves(60, 7)}, pd.date_range("2020-01-01", periods=60))
    with pytest.raises(ValueError, match=message):
        Forecaster(5).fit(change(frame))


def test_columns_without_numbers_or_with_two_roles_are_refused():
    frame = pd.DataFrame({"y": waves(60, 7), "z": np.nan, "c": 1j}, pd.date_range("2020-01-01", periods=60))
    for arguments, error, words in (
            ({"target": ["y", "z"]}, ValueError, "target has no numbers in column 'z'"),
            ({"target": "y", "known": "z"}, ValueError, "column 'z' has no numbers, from which fill='previous' could fill it"),
            ({"target": "c"}, TypeError, "column 'c' must hold numbers, got complex128"),
            ({"target": ["y", "y"]}, ValueError, "must name different columns, and 'y' comes twice"),
            ({"target": "y", "id": "y"}, ValueError, "must name different columns, and 'y' comes twice")):
        with pytest.raises(error, match=words):
            Forecaster(5, members=0, fill="previous").fit(frame, **arguments)


def test_ids_of_a_category_may_be_unused():
    frame = panel()
    frame["shop"] = pd.Categorical(frame["shop"], categories=["s0", "s1", "closed"])
    assert Forecaster(5, members=0).fit(frame, "sales", id="shop", time="day").ids_ == ["s0", "s1"]


def test_last_steps_without_a_target_are_noted():
    series = pd.Series([*waves(60, 7), np.nan, np.nan], pd.date_range("2020-01-01", periods=62))
    model = Forecaster(5, members=0).fit(series)
    assert model.notes_ == ["no target in the last 2 steps: forecasts begin at 2020-03-01 00:00:00"]


@pytest.mark.parametrize("arguments, kind", [({"horizon": 0}, ValueError), ({"horizon": 1.5}, TypeError),
                                             ({"cell": "x"}, ValueError), ({"interval": (100,)}, ValueError),
                                             ({"fill": "mean"}, ValueError),
                                             ({"members": -1}, ValueError), ({"season": 0}, ValueError)])
def test_bad_arguments_raise(arguments, kind):
    with pytest.raises(kind, match=next(iter(arguments))):
        Forecaster(**arguments)


def test_beyond_the_horizon_forecasts_continue_recursively(fitted):
    short = fitted.predict()
    with pytest.warns(UserWarning, match="steps 13 to 30 lie beyond the horizon of 12"):
        long = fitted.predict(30)
    np.testing.assert_array_equal(long["forecast"][:12], short["forecast"])
    assert len(long) == 30 and any("beyond the horizon" in note for note in fitted.notes_)
    assert (long["upper_80"] - long["lower_80"]).iloc[24] > (short["upper_80"] - short["lower_80"]).iloc[0]


def nonlinear(T=500):
    """A logistic map with noise: no linear path forecasts it, a network does."""
    x = np.empty(T)
    x[0] = 0.3
    rng = np.random.default_rng(0)
    for t in range(1, T):
        x[t] = np.clip(3.8 * x[t - 1] * (1 - x[t - 1]) + rng.normal(0, 0.005), 0.01, 0.99)
    return x


@pytest.mark.thorough
def test_networks_learn_what_no_linear_path_can():
    x = nonlinear()
    series, origins = pd.Series(x[:420]), range(420, 498, 6)
    errors = {}
    for members in (0, 8):
        model = Forecaster(2, season=1, members=members, random_state=0).fit(series)
        made = [model.update(pd.Series(x[:t])).predict()["forecast"].iloc[0] for t in origins]
        errors[members] = np.sqrt(np.mean((np.array(made) - x[list(origins)]) ** 2))
    assert model.share_ > 0.5 and model.updates_ > 0
    assert errors[8] < 0.6 * errors[0]


def test_networks_know_the_season_of_a_series_that_begins_later(tmp_path):
    x = np.empty(500)
    x[0], rng = 0.3, np.random.default_rng(0)
    for t in range(1, 500):  # a logistic map, and another function at each third step
        next = 3.8 * x[t - 1] * (1 - x[t - 1]) if t % 3 else 0.9 - 0.8 * x[t - 1] ** 2
        x[t] = np.clip(next + rng.normal(0, 0.005), 0.01, 0.99)
    series = pd.Series(x)
    model = Forecaster(1, season=3, members=2, random_state=0).fit(series)
    expected = model.predict()["forecast"][0]
    assert model.share_ > 0.5
    for begin in (300, 301, 302):
        model.update(series.iloc[begin:])
        assert abs(model.predict()["forecast"][0] - expected) < 0.02
    model.save(tmp_path / "model.npz")
    pd.testing.assert_frame_equal(fastbptt.load(tmp_path / "model.npz").predict(), model.predict())


def test_an_update_keeps_the_time_step_of_fit():
    series = pd.Series(waves(60), pd.date_range("2010-01", periods=60, freq="MS"))
    model = Forecaster(2, season=1, members=0).fit(series)
    longer = pd.Series(waves(70), pd.date_range("2009-03", periods=70, freq="MS"))
    assert list(model.update(longer).predict()["time"]) == list(pd.date_range("2015-01", periods=2, freq="MS"))
    assert list(model.update(series.iloc[-30:]).predict()["time"]) == list(pd.date_range("2015-01", periods=2, freq="MS"))
    words = "frame must have the time step of fit, <MonthBegin> from 2012-07-01 00:00:00 on; got"
    for times in (pd.date_range("2010-01", periods=60, freq="W"), series.index.tz_localize("UTC"), range(60),
                  series.index + pd.Timedelta("1h")):
        with pytest.raises(ValueError, match=words):
            model.update(series.set_axis(times))
    short = Forecaster(2, season=1, members=0).fit(series.iloc[:20])
    newest = pd.Series(waves(3), pd.date_range("2011-09-01", periods=3, freq="D"))  # the model reads three steps
    with pytest.raises(ValueError, match="frame must have the time step of fit"):
        short.update(newest)


@pytest.mark.quick
def test_files_keep_the_forecasts(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": nonlinear(304), "z": waves(304), "u": (rng.random(304) < 0.2).astype(float)},
                         pd.date_range("2020-01-01", periods=304))
    frame.iloc[-4:, :2] = np.nan
    model = Forecaster(2, season=1, members=4, random_state=0).fit(frame, ["y", "z"], known="u")
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    assert isinstance(loaded, Forecaster) and loaded.describe() == model.describe()
    pd.testing.assert_frame_equal(loaded.predict(), model.predict())
    panel_model = Forecaster(3, members=0).fit(panel(), "sales", id="shop", time="day")
    panel_model.save(tmp_path / "panel.npz")
    pd.testing.assert_frame_equal(fastbptt.load(tmp_path / "panel.npz").predict(), panel_model.predict())
    numbers = Forecaster(3, members=0).fit(pd.Series(waves(60), pd.period_range("2001Q1", periods=60, freq="Q")))
    numbers.save(tmp_path / "periods.npz")
    pd.testing.assert_frame_equal(fastbptt.load(tmp_path / "periods.npz").predict(), numbers.predict())


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "+05:30"])
def test_files_keep_the_time_zone_and_names_of_columns(zone, tmp_path):
    days = pd.date_range("2020-01-31", periods=57, freq="D", tz=zone)  # the forecast begins before the clocks change
    frame = pd.DataFrame(waves(57)[:, None], days, pd.MultiIndex.from_tuples([("y", 1)]))
    model = Forecaster(4, season=1, members=0).fit(frame)
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz").predict()
    assert list(loaded["time"]) == list(pd.date_range("2020-03-28", periods=4, freq="D", tz=zone))
    pd.testing.assert_frame_equal(loaded, model.predict(), check_dtype=False)  # pandas names the zone +05:30 in two ways
    assert list(loaded["target"]) == [("y", 1)] * 4
    unnamed = Forecaster(4, season=1, members=0).fit(frame.set_axis([2.5], axis=1))
    with pytest.raises(TypeError, match="save requires target to be strings or whole numbers, got float 2.5"):
        unnamed.save(tmp_path / "other.npz")


@pytest.mark.thorough
@pytest.mark.parametrize("cell, hidden_size", [("gru", 8), ("lstm", 8), ("plain", 20)])
def test_gated_and_wide_networks_learn_too(cell, hidden_size):
    model = Forecaster(1, season=1, members=2, cell=cell, hidden_size=hidden_size, random_state=0)
    model.fit(pd.Series(nonlinear(300)))
    assert model.share_ > 0.5 and model.gain_ > 0.5


@pytest.mark.thorough
def test_the_seed_reproduces_the_forecast():
    x = pd.Series(nonlinear(300))
    first, again, other = (Forecaster(2, season=1, members=4, random_state=seed).fit(x).predict()["forecast"]
                           for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.quick
def test_the_backtest_compares_with_simple_methods():
    x = pd.Series(waves(240), pd.date_range("1941-01", periods=240, freq="MS"), name="waves")
    result = Forecaster(12, members=0, interval=(80, 95)).fit(x).backtest(origins=6)
    table = result.table.set_index("method")
    assert list(table.index) == ["Forecaster", "last value", "seasonal naive", "linear autoregression"]
    assert (table.loc["Forecaster", "rmse"] < table.loc[["last value", "seasonal naive"], "rmse"]).all()
    made, truth = result.forecasts[None, "waves"], result.truth[None, "waves"]
    assert made.shape == truth.shape == (6, 12)
    np.testing.assert_allclose(table.loc["Forecaster", "rmse"], np.sqrt(np.mean((made - truth) ** 2)))
    assert len(result.steps) == 4 * 12
    assert result.origins[None][0] == pd.Timestamp("1956-12-01")
    assert set(result.coverage) == {80, 95}
    text = result.describe()
    assert "seasonal naive" in text and "..." not in text


@pytest.mark.thorough
def test_the_backtest_does_not_see_the_future(passengers):
    changed = passengers.copy()
    changed.iloc[-1] *= 5
    first, second = (Forecaster(12, members=0).fit(x).backtest(origins=4).forecasts[None, "passengers"]
                     for x in (passengers, changed))
    np.testing.assert_array_equal(first, second)


def test_the_notebook_shows_the_forecast(fitted):
    assert "<table" in fitted._repr_html_() and "lower_80" in fitted._repr_html_()
    assert "Forecaster(horizon=3" in Forecaster(3)._repr_html_()


def test_without_pandas_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"fastbptt\[forecast\]"):
        Forecaster().fit(None)


def test_an_unfitted_forecaster_says_so():
    with pytest.raises(RuntimeError, match="call fit first"):
        Forecaster().predict()
    assert fastbptt.Forecaster is Forecaster


def test_the_example_of_the_page_runs(capsys):
    page = pathlib.Path(__file__).parents[2] / "docs" / "forecasting.md"
    if not page.exists():
        pytest.skip("no docs beside the tests")
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(code, str(page), "exec"), {})
    out = capsys.readouterr().out
    assert "lower_80" in out and "linear autoregression" in out
