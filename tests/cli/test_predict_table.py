"""`fastbptt predict` reads models of `fastbptt.Forecaster`, from their own rows and from newer tables."""

import io

import numpy as np
import pytest

from fastbptt import Forecaster
from fastbptt.__main__ import main

pd = pytest.importorskip("pandas")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sales(freq="ME", length=80):
    t = np.arange(length)
    holiday = (t % 5 == 0).astype(float)
    noise = np.random.default_rng(0).standard_normal(length)
    return pd.DataFrame({"date": pd.date_range("2000-01", periods=length, freq=freq),
                         "sales": 100 + t + 20 * np.sin(t * np.pi / 6) + noise + 10 * holiday, "holiday": holiday})


def saved(frame, path="model.npz", horizon=4, interval=(80, 95), **columns):
    model = Forecaster(horizon, members=0, random_state=0, interval=interval).fit(frame, "sales", **columns)
    model.save(path)
    return model


def printed(capsys, *words):
    assert main(["predict", *words]) == 0
    out, err = capsys.readouterr()
    return pd.read_csv(io.StringIO(out)), err


def refused(capsys, *words):
    assert main(["predict", *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    return err


def test_without_a_table_the_newest_rows_of_the_model_are_forecast(folder, capsys):
    model = saved(sales()[["date", "sales"]], time="date")
    found, err = printed(capsys, "model.npz")
    expected = model.predict()
    assert list(found.columns) == ["time", "target", "forecast", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert list(pd.to_datetime(found["time"])) == list(expected["time"])
    for column in list(found.columns)[2:]:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-6)
    assert not err


@pytest.mark.parametrize("freq", ["ME", "MS", "QE", "YE", "D", "B", "h", "15min"])
def test_a_newer_table_continues_with_the_dates_of_the_model(folder, capsys, freq):
    frame = sales(freq)[["date", "sales"]]
    model = saved(frame[:60], time="date")
    frame.to_csv("new.csv", index=False)
    found, err = printed(capsys, "model.npz", "new.csv")
    expected = model.update(frame).predict()
    assert list(pd.to_datetime(found["time"])) == list(expected["time"])
    np.testing.assert_allclose(found["forecast"], expected["forecast"], rtol=1e-6)
    assert "column 'date' is the time axis" in err


def test_periods_and_whole_numbers_are_times_too(folder, capsys):
    frame = sales("MS")
    frame["sales"].set_axis(pd.PeriodIndex(frame["date"], freq="M"))[:60].to_frame("sales").pipe(saved)
    frame[["date", "sales"]].to_csv("new.csv", index=False)
    assert list(printed(capsys, "model.npz", "new.csv")[0]["time"]) == ["2006-09", "2006-10", "2006-11", "2006-12"]
    numbered = pd.DataFrame({"week": 3 + 2 * np.arange(80), "sales": frame["sales"]})
    saved(numbered[:60], time="week")
    numbered.to_csv("new.csv", index=False)
    assert list(printed(capsys, "model.npz", "new.csv")[0]["time"]) == [163, 165, 167, 169]


def test_known_inputs_come_from_last_rows_or_from_the_known_file(folder, capsys):
    frame = sales()
    model = saved(frame[:60], time="date", known="holiday")
    assert "--known-file must be given" in refused(capsys, "model.npz")
    frame.loc[70:73, ["date", "holiday"]].to_csv("known.csv", index=False)
    frame[:70].to_csv("new.csv", index=False)
    apart, _ = printed(capsys, "model.npz", "new.csv", "--known-file", "known.csv")
    frame[:74].assign(sales=frame["sales"].where(frame.index < 70)).to_csv("both.csv", index=False)
    together, _ = printed(capsys, "model.npz", "both.csv")
    expected = model.update(frame[:70]).predict(known=frame.loc[70:73, ["date", "holiday"]])
    for found in (apart, together):
        np.testing.assert_allclose(found["forecast"], expected["forecast"], rtol=1e-6)
    frame.loc[72:, ["date", "holiday"]].to_csv("late.csv", index=False)
    assert "known must begin at 2005-11-30" in refused(capsys, "model.npz", "new.csv", "--known-file", "late.csv")


def test_only_the_series_of_the_table_are_forecast(folder, capsys):
    frame = pd.concat([sales()[["date", "sales"]].assign(shop=shop) for shop in (1, 2)])
    saved(frame, id="shop", time="date")
    frame[frame["shop"] == 2].to_csv("new.csv", index=False)
    assert set(printed(capsys, "model.npz")[0]["shop"]) == {1, 2}
    assert set(printed(capsys, "model.npz", "new.csv")[0]["shop"]) == {2}
    pd.concat([frame[frame["shop"] == 2], frame[frame["shop"] == 1].assign(shop=7)]).to_csv("new.csv", index=False)
    found, err = printed(capsys, "model.npz", "new.csv")
    assert set(found["shop"]) == {2} and "left out, as they are not in the training data: 7" in err
    frame.assign(shop=7).drop_duplicates("date").to_csv("new.csv", index=False)
    assert "7 in column 'shop' is not in the training data, which has 1, 2" in refused(capsys, "model.npz", "new.csv")


def test_a_table_is_checked_against_the_model(folder, capsys):
    frame = sales("D")[["date", "sales"]]
    saved(frame, time="date")
    frame.assign(sales=9 * frame["sales"]).to_csv("far.csv", index=False)
    assert "warning: column 'sales' has" in printed(capsys, "model.npz", "far.csv")[1]
    sales("ME")[["date", "sales"]].to_csv("months.csv", index=False)
    assert "time step" in refused(capsys, "model.npz", "months.csv")
    frame.rename(columns={"sales": "sold"}).to_csv("other.csv", index=False)
    assert "'sales' is not a column of the file" in refused(capsys, "model.npz", "other.csv")
    assert "--known-file must not be given" in refused(capsys, "model.npz", "--known-file", "far.csv")


def test_steps_beyond_the_horizon_are_noted_once(folder, capsys):
    saved(sales()[["date", "sales"]], time="date")
    found, err = printed(capsys, "model.npz", "--steps", "6")
    assert len(found) == 6 and err.count("beyond the horizon") == 1


@pytest.mark.quick
def test_a_file_takes_the_forecast_whole(folder, capsys):
    saved(sales()[["date", "sales"]], time="date")
    assert main(["predict", "model.npz", "--output", "made.csv"]) == 0
    assert capsys.readouterr().out.startswith("Wrote 4 rows: made.csv")
    assert len(pd.read_csv("made.csv")) == 4
    assert "--output 'model.npz' is the model that is read" in refused(capsys, "model.npz", "--output", "model.npz")
