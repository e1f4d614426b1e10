"""`fastbptt train` with an option of `fastbptt.Forecaster` fits one to a table, and reports all its figures."""

import json
import re

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


def test_networks_show_how_far_their_gradient_reaches(folder, monkeypatch, capsys):
    from fastbptt.forecasting import remainder
    monkeypatch.setattr(remainder, "choose", lambda *args: (10, 0.5, 0.1))
    out = trained(capsys, "one.csv", "--target", "sales", "--horizon", "3", "--members", "2", "--report", "all.json")
    reach = json.loads((folder / "all.json").read_text())["gradient_reach"]
    assert reach[0] == 1 and len(reach) > 20 and "The gradient of an error falls under 1 % " in out


@pytest.mark.thorough
def test_panels_have_pooled_errors_and_a_panel_for_each_series(folder, monkeypatch, capsys):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn, write = [], figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, *a, **k: (drawn.append(self), write(self, *a, **k)))
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
    (["--members", "2"], "--members needs a table"),
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
