"""`fastbptt train` fits a `fastbptt.Forecaster`, and reports all its figures."""

import json
import re
import sys

import numpy as np
import pytest

import fastbptt
from fastbptt.__main__ import main

pd = pytest.importorskip("pandas")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    t = np.arange(96)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"month": pd.date_range("2000-01", periods=96, freq="MS"), "promotion": (t % 7 == 0) * 1,
                          "sales": 100 + t + 20 * np.sin(t * np.pi / 6) + rng.standard_normal(96)})
    frame.to_csv("one.csv", index=False)
    pd.concat([frame.assign(shop=shop, sales=frame["sales"] * shop) for shop in (1, 2)]).to_csv("two.csv", index=False)
    frame.assign(sales=frame["sales"].where(frame.index < 90)).to_csv("ahead.csv", index=False)
    return tmp_path


def trained(capsys, *words):
    assert main(["train", *words]) == 0
    return capsys.readouterr().out


def test_the_report_holds_the_printed_figures(folder, capsys):
    out = trained(capsys, "one.csv", "--target", "sales", "--horizon", "6", "--members", "0", "--interval", "80", "95",
                  "--report", "all.json")
    report = json.loads((folder / "all.json").read_text())
    errors = {row["method"]: row for row in report["errors"]}
    assert set(errors) == {"Forecaster", "last value", "seasonal naive", "linear autoregression"}
    for method, row in errors.items():
        assert re.search(rf"{method} +{row['rmse']:.6g} +{row['mase']:.6g}$", out, re.MULTILINE)
    assert len(report["errors_by_step"]) == 4 * 6 and set(report["coverage"]) == {"80", "95"}
    model = fastbptt.load("one.npz")
    expected = model.predict()
    assert [row["forecast"] for row in report["forecast"]] == pytest.approx(list(expected["forecast"]))
    assert list(expected["time"])[0] == pd.Timestamp("2008-01-01")
    assert errors["Forecaster"]["rmse"] == pytest.approx(model.backtest().table["rmse"][0])
    assert "Gradient check" in out and "..." not in out


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures, write = [], figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, *a, **k: (figures.append(self), write(self, *a, **k)))
    return figures


def test_networks_show_how_far_their_gradient_reaches(folder, drawn, monkeypatch, capsys):
    from fastbptt.forecasting import remainder
    monkeypatch.setattr(remainder, "choose", lambda *args: (10, 0.5, 0.1))
    out = trained(capsys, "one.csv", "--target", "sales", "--horizon", "3", "--members", "2", "--report", "all.json")
    reach = json.loads((folder / "all.json").read_text())["gradient_reach"]
    assert reach[0] == 1 and len(reach) > 20 and "The gradient of an error falls under 1 % " in out
    panel = drawn[0].axes[-1]
    assert panel.get_title(loc="left") == "How far back the gradient of an error reaches"
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), reach)


def test_every_step_of_the_last_fifth_is_an_origin(folder, capsys):
    t = np.arange(240)
    months = pd.date_range("2000-01", periods=240, freq="MS")
    rng = np.random.default_rng(1)
    pd.DataFrame({"month": months, "sales": 9 + np.sin(t / 5) + rng.standard_normal(240)}).to_csv("long.csv", index=False)
    trained(capsys, "long.csv", "--horizon", "4", "--members", "0", "--report", "all.json")
    found = json.loads((folder / "all.json").read_text())["errors"][0]["rmse"]
    model = fastbptt.load("long.npz")
    assert found == pytest.approx(model.backtest(origins=48).table["rmse"][0])
    assert found != pytest.approx(model.backtest(origins=20).table["rmse"][0], rel=1e-6)


@pytest.mark.thorough
def test_panels_have_pooled_errors_and_a_panel_for_each_series(folder, drawn, capsys):
    out = trained(capsys, "two.csv", "--id", "shop", "--target", "sales", "--horizon", "6", "--members", "0")
    assert "RMSE by step ahead, all, sales" in out and re.search(r"^ *all +sales +Forecaster", out, re.MULTILINE)
    assert [ax.get_title(loc="left") for ax in drawn[0].axes[:-1]] == ["sales, 1", "sales, 2"]
    assert (folder / "two.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.thorough
def test_known_columns_come_from_rows_without_a_target(folder, capsys):
    out = trained(capsys, "ahead.csv", "--target", "sales", "--known", "promotion", "--horizon", "6", "--members", "0")
    assert "The next 6 months" in out and "2007-07-01" in out
    assert "No forecast yet" in trained(capsys, "one.csv", "--target", "sales", "--known", "promotion", "--members", "0")


@pytest.mark.parametrize(("words", "message"), [
    (["--known", "one.csv"], "--known needs a CSV file, which comes first: fastbptt train one.csv --known"),
    (["one.csv", "--target", "sales", "--horizon", "45"],
     "one.csv has 96 months, and a horizon of 45 needs 98; --horizon 44 is the longest"),
    (["one.csv", "--members", "2", "--max-iter", "3"], "--max-iter cannot be combined with --members"),
    (["one.csv", "--season", "12", "--solver", "sgd"], "--solver cannot be combined with --season"),
    (["one.csv", "--interval", "80", "--inputs", "promotion"], "--inputs cannot be combined with --interval"),
    (["one.csv", "--report", "one.csv"], "--report 'one.csv' is the file that the data come from"),
    (["--task", "adding", "--members", "2"], "--members cannot be combined with --task"),
    (["one.csv", "--target", "sales", "--interval", "100"], "interval must be finite and > 0 and < 100, got 100"),
])
def test_options_that_mean_nothing_are_refused(folder, capsys, words, message):
    assert main(["train", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.quick
def test_a_table_without_options_gets_a_forecaster_that_reads_the_newest_row(folder, capsys):
    out = trained(capsys, "one.csv", "--target", "sales", "--horizon", "6", "--members", "0")
    model = fastbptt.load("one.npz")
    assert type(model) is fastbptt.Forecaster and "is below that of the best simple method" in out
    before = model.predict()["forecast"].to_numpy()
    frame = pd.read_csv("one.csv", parse_dates=["month"])[["month", "sales"]]
    frame.loc[95, "sales"] *= 2
    assert abs(model.update(frame).predict()["forecast"].to_numpy() - before)[0] > 10


@pytest.mark.thorough
def test_without_a_table_the_sunspot_numbers_get_a_forecaster(folder, capsys):
    out = trained(capsys, "--members", "0")
    assert out.startswith("Monthly mean sunspot numbers, 3120 months\n") and "The next 12 months" in out
    model = fastbptt.load("sunspots.npz")
    assert model.targets_ == ["sunspots"] and model.predict()["time"][0] == pd.Timestamp("2009-01-01")
    assert (folder / "sunspots.png").exists()


def test_without_matplotlib_the_end_and_the_forecast_are_text(folder, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = trained(capsys, "two.csv", "--id", "shop", "--target", "sales", "--horizon", "6", "--members", "0")
    drawn = out.partition("The last months of series '1' and the next ones as text:")[2]
    rows = [line.partition("|")[2] for line in drawn.splitlines() if "|" in line]
    newest = {place for row in rows for place, sign in enumerate(row) if sign == "+"}
    assert len(newest) >= 3 and max(newest) > max(place for row in rows for place, sign in enumerate(row) if sign == "o")


def test_without_pandas_a_single_network_is_trained_and_options_of_a_forecaster_name_the_extra(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert main(["train", "--members", "2"]) == 2
    assert '--members requires pandas, which is not installed: pip install "fastbptt[forecast]"' in capsys.readouterr().err
    assert main(["train", "one.csv"]) == 2
    assert "pandas" in capsys.readouterr().err
    monkeypatch.setattr("fastbptt.cli.train.EPOCHS", 1)
    out = trained(capsys, "--hidden-size", "2")
    assert out.startswith("pandas is not installed, so this trains a single network.") and "this network" in out
    assert fastbptt.load("sunspots.npz").horizon == 12
