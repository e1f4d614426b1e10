"""The command trains, forecasts and reports errors in one line, without use of future values."""

import csv
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import fastbptt
from fastbptt import datasets, diagnostics
from fastbptt._training import loop as _loop
from fastbptt.cli import forecast as _forecast, tasks as _solve
from fastbptt.__main__ import main

SHORT = ["train", "--max-iter", "3", "--hidden-size", "4"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it now raises ImportError


@pytest.fixture
def no_training(monkeypatch):
    def fit(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(fastbptt.RNN, "fit", fit)


def run_outside(arguments, program=("-m", "fastbptt"), stdout=subprocess.PIPE, **environment):
    """Start the command in a new process, with the package that these tests use (-P: not that of this folder)."""
    environment = os.environ | {"PYTHONPATH": str(Path(fastbptt.__file__).parents[1])} | environment
    return subprocess.Popen([sys.executable, "-P", *program, *arguments], stdout=stdout, stderr=subprocess.PIPE,
                            text=True, env=environment)


# ---- train


@pytest.mark.quick
def test_train_prints_errors_and_saves_network_and_picture(folder, capsys):
    pytest.importorskip("matplotlib")
    assert main([*SHORT, "--model", "net.npz", "--plot", "net.png"]) == 0
    out = capsys.readouterr().out
    ours = float(re.search(r"this network +([0-9.]+)", out)[1])
    assert re.search(r"repeating the last value +37\.7\b", out)
    assert float(re.search(r"core float64 (\S+e-\d+)", out)[1]) < 1e-11
    assert (folder / "net.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    # The printed figure is the saved network's, every month of the last 20 % being a target.
    x = datasets.load_sunspots()[0]
    forecaster = fastbptt.load("net.npz")
    error = [forecaster.forecast(x[:t + 1 - 12])[-1, 0] - x[t, 0] for t in range(2496, 3120)]
    assert ours == pytest.approx(np.sqrt(np.mean(np.square(error))), abs=0.051)
    assert re.search(r"linear autoregression +27\.1 +\(order 132, chosen among 12, 24, 36, 60, 132 on", out)
    assert sorted(os.listdir()) == ["net.npz", "net.png"]


@pytest.mark.thorough
def test_the_seed_determines_the_file(folder, no_matplotlib):
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        assert main([*SHORT, "--max-iter", "1", "--random-state", str(seed), "--model", name]) == 0
    theta = {name: fastbptt.load(name).network.theta for name in "abc"}
    np.testing.assert_array_equal(theta["a"], theta["b"])
    assert not np.array_equal(theta["a"], theta["c"])


@pytest.mark.thorough
def test_the_proposed_commands_run(folder, no_matplotlib, capsys):
    assert main([*SHORT, "--max-iter", "1", "--horizon", "7", "--model", "it's.npz"]) == 0
    out = capsys.readouterr().out
    pattern = r"^Next: fastbptt (.*) prints the months to come; fastbptt (.*) tries"
    predict, train = re.search(pattern, out, re.MULTILINE).groups()
    out, err = run_outside(shlex.split(predict)).communicate(timeout=60)
    assert err == ""
    rows = [line.split(",") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["date", *(f"2009-0{month}" for month in range(1, 8))]
    assert rows[0][1] == "sunspots"
    expected = fastbptt.load("it's.npz").forecast()[:, 0]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], expected, rtol=1e-6)
    assert train == "train --hidden-size 8 --horizon 7"


@pytest.mark.thorough
def test_without_matplotlib_train_draws_text(folder, no_matplotlib, capsys):
    assert main([*SHORT, "--max-iter", "1"]) == 0
    out = capsys.readouterr().out
    assert 'pip install "fastbptt[plot]"' in out
    assert "o observed   + forecast   * both" in out and "2008" in out
    assert os.listdir() == ["sunspots.npz"]


@pytest.mark.thorough
@pytest.mark.parametrize("horizon", ["1", "2176"])
def test_the_shortest_and_the_longest_horizon_work(folder, no_matplotlib, capsys, recwarn, horizon):
    assert main([*SHORT, "--max-iter", "1", "--horizon", horizon]) == 0
    assert "this network" in capsys.readouterr().out
    assert not recwarn.list


def panel_csv(path, targets, lengths):
    """Write series with these names, lengths and targets, each of another size, to a CSV file. Return their values."""
    rng, rows, values = np.random.default_rng(0), [["date", "place", *targets]], {}
    for k, (place, T) in enumerate(lengths.items()):
        t = np.arange(T)[:, None]
        size = (30.0 if k else 1.0) * (1 + np.arange(len(targets)))
        values[place] = np.round(size * (3 + np.sin(t / (3 + np.arange(len(targets))))) + rng.normal(0, 0.1 * size, (T, len(targets))), 4)
        rows += [[str(np.datetime64("2000-01-01") + i), place, *row] for i, row in enumerate(values[place].tolist())]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return values


LONG = "a name of a quantity, in $ per m^2 and $ per hour, that is far longer than any panel is wide " * 2


@pytest.mark.thorough
@pytest.mark.parametrize(("targets", "lengths"), [
    (["load"], {"north": 120, "south": 150}), (["load", LONG], {"north": 120, LONG: 150}),
    ([f"x{k}" for k in range(5)], {"only": 130}), ([f"x{k}" for k in range(14)], {"north": 120, "south": 130}),
], ids=lambda value: f"{len(value)}")
def test_the_picture_shows_every_target_with_its_error(folder, monkeypatch, capsys, targets, lengths):
    figure_module = pytest.importorskip("matplotlib.figure")
    drawn, save = [], figure_module.Figure.savefig
    monkeypatch.setattr(figure_module.Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    values = panel_csv("data.csv", targets, lengths)
    assert main([*SHORT, "data.csv", "--id", "place", "--model", "net.npz", "--max-iter", "1"]) == 0
    out, (figure,) = capsys.readouterr().out, drawn
    place = max(lengths, key=lengths.get)
    x, made = values[place], fastbptt.load("net.npz").made(list(values.values()))[list(values).index(place)]
    panels = figure.axes[:-2]
    assert len(panels) == len(targets)
    start = _forecast.Split(len(x)).test_start
    for k, (ax, target) in enumerate(zip(panels, targets)):
        observed, forecast = (ax.lines[n].get_ydata() for n in (0, 1))
        np.testing.assert_allclose(observed[:len(x)], x[:, k], rtol=1e-12)
        np.testing.assert_array_equal(forecast[start:len(x)], made[start:, k])
        error, naive = (np.sqrt(np.mean((y - x[start:, k]) ** 2)) for y in (made[start:, k], x[start - 12:-12, k]))
        title = ax.get_title(loc="left").replace("\n", " ")
        numbers = re.search(r" ahead\. RMSE on the last 20 %: network (\S+), repeating the last value (\S+)$", title)
        assert [float(number) for number in numbers.groups()] == pytest.approx([error, naive], abs=6e-3 * naive), title
        assert place[:40] in title and (len(targets) == 1 or target[:40] in title)
    assert place[:40] in out.split("Drew the forecasts")[1].splitlines()[0]
    assert (f"the longest of {len(lengths)}" in out) == (len(lengths) > 1)
    inside = figure.bbox.padded(1)
    unseen = [tick.label1 for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)
              for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
              if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())]
    for text in figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_text() and artist.get_visible()):
        if text in unseen:
            continue
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1, text
    for ax in panels:  # no two dates overlap
        boxes = [tick.label1.get_window_extent() for tick in ax.xaxis.get_major_ticks() if tick.label1.get_text()]
        assert len(boxes) >= 2 and not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:]))


def test_without_matplotlib_the_text_shows_every_target(folder, no_matplotlib, capsys):
    panel_csv("data.csv", ["load", "wind"], {"north": 120, "south": 150})
    assert main([*SHORT, "data.csv", "--id", "place"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"The last days of (\S+) of series '(\S+)' as text", out) == [("load", "south"), ("wind", "south")]
    assert out.count("o observed   + forecast   * both") == 2


@pytest.fixture
def interrupted_in_update(monkeypatch):
    """Raise Ctrl-C in the update with the number `at`, and record the network's parameters after each update."""
    update, state = _loop.Run._update, {"at": 15, "thetas": []}

    def interrupted(self, *args):
        if len(state["thetas"]) == state["at"]:
            signal.raise_signal(signal.SIGINT)
        result = update(self, *args)
        state["thetas"].append(self.network.theta)
        return result

    monkeypatch.setattr(_loop.Run, "_update", interrupted)
    monkeypatch.setattr(_loop.Run, "_stretch", lambda self: False)  # no updates in compiled code
    return state


def test_ctrl_c_saves_the_network_of_the_last_update(folder, interrupted_in_update, capsys):
    assert main(SHORT) == 130
    assert "Interrupted after 1 whole epoch" in capsys.readouterr().out
    assert len(interrupted_in_update["thetas"]) == 15
    np.testing.assert_array_equal(fastbptt.load("sunspots.npz").network.theta, interrupted_in_update["thetas"][-1])
    assert fastbptt.load("sunspots.npz").forecast().shape == (12, 1)


def test_ctrl_c_does_not_replace_an_existing_model(folder, interrupted_in_update, capsys):
    Path("sunspots.npz").write_bytes(b"the work of last week")
    assert main(SHORT) == 130
    assert "last completed update: sunspots.interrupted.npz" in capsys.readouterr().out
    assert Path("sunspots.npz").read_bytes() == b"the work of last week"
    np.testing.assert_array_equal(fastbptt.load("sunspots.interrupted.npz").network.theta,
                                  interrupted_in_update["thetas"][-1])


def test_ctrl_c_in_training_on_changes_saves_the_network_of_levels(folder, interrupted_in_update, capsys):
    interrupted_in_update["at"] = 30  # three epochs of seven or eight updates, and some more
    assert main([*SHORT, "--model", "net.npz"]) == 130
    assert "on levels: 3 epochs" in capsys.readouterr().out
    loaded = fastbptt.load("net.npz")
    assert loaded.difference == 0 and len(loaded.regressor.history_.train_loss) == 3


def test_ctrl_c_before_the_first_update_saves_the_initial_network(folder, interrupted_in_update, capsys):
    interrupted_in_update["at"] = 0
    assert main(SHORT) == 130
    assert "after 0 whole epochs" in capsys.readouterr().out
    assert fastbptt.load("sunspots.npz").forecast().shape == (12, 1)


def test_train_fails_if_a_gradient_is_wrong(folder, no_matplotlib, monkeypatch, capsys):
    monkeypatch.setattr(diagnostics.GradientCheck, "LIMITS", {"float64": 1e-10, "float32": 1e-30})
    assert main([*SHORT, "--max-iter", "1"]) == 1
    assert "GRADIENTS DISAGREE" in capsys.readouterr().out


def test_divergence_is_reported_and_keeps_existing_files(folder, monkeypatch, capsys):
    monkeypatch.setattr(_forecast, "LEARNING_RATE", 1e38)
    Path("sunspots.npz").write_bytes(b"the work of last week")
    assert main(SHORT) == 1
    err = capsys.readouterr().err
    assert err.startswith("fastbptt: training failed: ") and "not finite" in err and err.count("\n") == 1
    assert os.listdir() == ["sunspots.npz"] and Path("sunspots.npz").read_bytes() == b"the work of last week"


@pytest.mark.parametrize("arguments, words", [
    (["--hidden-size", "-3"], "--hidden-size: expected a whole number from 1, got '-3'"),
    (["--hidden-size", "many"], "got 'many'"),
    (["--max-iter", "0"], "--max-iter: expected a whole number from 1, got '0'"),
    (["--random-state", "-1"], "--random-state: expected a whole number from 0"),
    (["--max-iter", "1", "--horizon", "2177"], "--horizon must be from 1 to 2176"),
    (["--horizon", "1557"], "the sunspot numbers has 3120 months, and a horizon of 1557 needs 3122; --horizon 1556 is the longest"),
    (["--model", "absent/net.npz"], "--model 'absent/net.npz' cannot be written: No such file or directory"),
    (["--model", "."], "--model must name a file, got '.', which is a folder"),
    (["--model", ""], "--model must name a file, got ''"),
    (["--models", "x"], "--help"),
    (["--mod", "x"], "--help"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_invalid_arguments_are_refused_before_training(folder, no_training, capsys, arguments, words):
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("arguments, words", [
    (["--plot", "absent/net.png"], "--plot 'absent/net.png' cannot be written: No such file or directory"),
    (["--plot", "net.doc"], "--plot 'net.doc' must end in one of"),
    (["--plot", "net.png", "--model", "./net.png"], "--model and --plot name the same file"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_picture_that_cannot_be_drawn_is_refused_before_training(folder, no_training, capsys, arguments, words):
    pytest.importorskip("matplotlib")
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


# ---- train on a file


@pytest.fixture
def airline(folder):
    passengers, dates = datasets.load_airline_passengers(return_dates=True)
    rows = [f"{date},{x:g}\n" for date, x in zip(dates, passengers[0, :, 0])]
    Path("air.csv").write_text("month,passengers\n" + "".join(rows))
    return "air.csv"


@pytest.fixture
def shops(folder):
    """Write a CSV of six shops with 50 to 100 months that end at different times; two targets on different levels, one input."""
    rng, rows = np.random.default_rng(0), []
    for n, length in enumerate((50, 60, 70, 80, 90, 100)):
        months = np.datetime64("2010-01") + np.arange(length)
        season = np.sin(2 * np.pi * np.arange(length) / 12)
        for month, s, noise in zip(months, season, rng.standard_normal((length, 3))):
            sold = 10**n * (5 + s + noise[0] / 9)
            rows.append(f"{month}-01,shop {n},{sold:.6g},{3 + s * noise[1]:.6g},{noise[2]:.3g}")
    Path("shops.csv").write_text("\n".join(["month,shop,sold,visits,rain", *sorted(rows)]) + "\n")
    return "shops.csv"


def test_a_csv_with_a_trend_is_forecast_as_changes_better_than_repeating(airline, no_matplotlib, capsys):
    assert main(["train", airline, "--max-iter", "150"]) == 0
    out = capsys.readouterr().out
    assert "air.csv: passengers; 144 months" in out and re.search(r"test +1958-08 to 1960-12 +29 months", out)
    assert "levels are not tried: the held-out part is 2.2 standard deviations from" in out
    assert "on changes over 12 months: 150 epochs" in out and "% under repeating the last value" in out
    assert sorted(os.listdir()) == ["air.csv", "air.npz"]
    assert main(["predict", "air.npz"]) == 0
    own = capsys.readouterr().out
    assert main(["predict", "air.npz", airline]) == 0
    assert own == capsys.readouterr().out and own.startswith("date,passengers\n1961-01,")


@pytest.mark.thorough
def test_many_series_of_unequal_lengths_are_forecast_by_one_network(shops, capsys):
    pytest.importorskip("matplotlib")
    columns = ["--id", "shop", "--target", "sold", "visits", "--inputs", "rain"]
    assert main([*SHORT, shops, *columns, "--horizon", "6"]) == 0
    out = capsys.readouterr().out
    assert "6 series of sold, visits, with inputs rain; 50 to 100 months each" in out
    header, *rows = out[out.index("root mean squared error"):].splitlines()[1:5]
    assert header.split() == ["sold", "visits", "all,", "in", "s.d."]
    assert [len(re.findall(r" \d[\d.]*(?= |$)", row.split("(")[0])) for row in rows] == [3, 3, 3]
    assert Path("shops.png").exists()

    assert main(["predict", "shops.npz", shops, "--output", "next.csv"]) == 0
    rows = [line.split(",") for line in Path("next.csv").read_text().splitlines()]
    assert rows[0] == ["shop", "date", "sold", "visits"] and len(rows) == 1 + 6 * 6
    assert {(row[0], row[1]) for row in rows[1:]} >= {("shop 0", "2014-03-01"), ("shop 5", "2018-10-01")}
    forecaster = fastbptt.load("shops.npz")
    for n, shop in enumerate(forecaster.ids):
        found = [[float(cell) for cell in row[2:]] for row in rows[1:] if row[0] == shop]
        np.testing.assert_allclose(found, forecaster.forecast()[n], rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Data has no positive values")
def test_a_straight_line_is_forecast_without_error(folder, capsys):
    (folder / "line.csv").write_text("v\n" + "".join(f"{t}\n" for t in range(100)))
    assert main([*SHORT, "line.csv", "--horizon", "2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"this network +0\.00 ", out) and "DISAGREE" not in out and "Saved the network" in out


@pytest.mark.parametrize(("part", "factor", "code", "words"), [
    (slice(None), 1e-200, 2, "fastbptt: the numbers are too small: their standard deviation is 0"),
    (slice(70, 80), 1e25, 1, "fastbptt: training failed: the error on the held-out 10 % is not finite"),
])
def test_numbers_too_large_or_small_are_reported_in_one_line(folder, no_matplotlib, capsys, part, factor, code,
                                                                  words):
    values = np.random.default_rng(0).standard_normal(100).cumsum()
    values[part] *= factor
    (folder / "values.csv").write_text("v\n" + "".join(f"{float(value)!r}\n" for value in values))
    assert main([*SHORT, "values.csv", "--horizon", "2"]) == code
    err = capsys.readouterr().err
    assert err.startswith(words) and err.count("\n") == 1 and not (folder / "values.npz").exists()


def test_rows_without_dates_are_steps(folder, no_matplotlib, capsys):
    Path("plain.csv").write_text("".join(f"{x:.4f}\n" for x in np.random.default_rng(0).standard_normal(80)))
    assert main([*SHORT, "plain.csv", "--horizon", "3"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"test +step 65 to step 80 +16 steps", out) and "The last steps as text" in out
    assert main(["predict", "plain.npz", "--steps", "5"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["step", "1", "2", "3", "4", "5"]


def test_the_proposed_command_for_a_file_names_its_columns(shops, no_matplotlib, capsys):
    assert main([*SHORT, shops, "--id", "shop", "--target", "sold", "--horizon", "6"]) == 0
    line = re.search(r"; fastbptt (train .*) tries a larger network", capsys.readouterr().out)[1]
    assert line == "train shops.csv --hidden-size 8 --target sold --id shop --horizon 6"


@pytest.mark.parametrize("arguments, words", [
    (["absent.csv"], "'absent.csv' cannot be read: No such file or directory"),
    (["."], "'.' cannot be read: Is a directory"),
    (["shops.csv"], "use --id COLUMN if the rows belong to several series"),
    (["shops.csv", "--id", "shops"], "did you mean 'shop'?"),
    (["shops.csv", "--id", "shop", "--target", "sales"], "--target 'sales' is not a column of the file"),
    (["shops.csv", "--id", "shop", "--horizon", "70"], "'shop 0' has 50 months, and a horizon of 70 needs"),
    (["shops.csv", "--id", "shop", "--model", "./shops.csv"], "--model './shops.csv' is the file that the data come"),
    (["--target", "sold", "shops.csv"], "which comes first: fastbptt train shops.csv --target"),
    (["--id", "shop"], "--id needs a CSV file, which comes first"),
    (["--length", "20"], "--length needs --task"),
    (["shops.csv", "--task", "parity"], "CSV cannot be combined with --task, which makes its own data"),
    (["--task", "adding", "--plot", "x.png"], "--plot cannot be combined with --task"),
    (["--task", "adding", "--length", "9"], "--length must be at least 10 for adding, got 9"),
    (["--task", "add"], "'add'"),
    (["--solver", "newton"], "'newton'"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_an_invalid_file_is_refused_before_training(shops, no_training, capsys, arguments, words):
    before = Path(shops).read_bytes()
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert os.listdir() == ["shops.csv"] and Path(shops).read_bytes() == before


def test_invalid_values_are_refused_with_their_line(folder, no_training, capsys):
    Path("bad.csv").write_text("a,b\n" + "1,2\n" * 70 + "3,\n4,5\n")
    assert main(["train", "bad.csv"]) == 2
    assert capsys.readouterr().err == ("fastbptt: bad.csv, column 'b': no value in line 72; --fill HOW (interpolate, previous, zero or "
                                       "seasonal) fills it\n")
    Path("bad.csv").write_text("a,b\n" + "1,2\n" * 70 + "3,five\n")
    assert main(["train", "bad.csv"]) == 2
    assert capsys.readouterr().err == "fastbptt: bad.csv, line 72, column 'b': 'five' is not a number\n"
    assert main([*SHORT, "bad.csv", "--target", "a"]) == 2
    assert "column 'a' is 1 in all of the first 70 %" in capsys.readouterr().err


# ---- train --task


@pytest.mark.quick
def test_a_task_is_trained_judged_and_saved(folder, monkeypatch, capsys):
    monkeypatch.setattr(_solve, "JUDGED", 1000)
    assert main(["train", "--task", "temporal_order", "--max-iter", "5", "--hidden-size", "20"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Of 1000 new sequences (99|100)\.\d\d % are answered correctly: solved \(at most 1 % wrong\)", out)
    assert fastbptt.load("temporal_order.npz").hidden_size == 20


@pytest.mark.thorough
@pytest.mark.parametrize("cell, words", [("gru", "GRU of 3 units, 52 parameters"), ("lstm", "LSTM of 3 units, 64 parameters")])
def test_train_takes_the_cell_and_the_saved_model_forecasts(folder, no_matplotlib, capsys, cell, words):
    arguments = ["--cell", cell, "--hidden-size", "3", "--max-iter", "2", "--model", "model.npz"]
    assert main(["train", *arguments]) == 0
    printed = capsys.readouterr().out
    assert words in printed and f"fastbptt train --cell {cell} --hidden-size 6" in printed
    network = fastbptt.load("model.npz").network
    assert (network.cell, network.activation, sum(value.size for value in network.parameters.values())) == (
        cell, "tanh", int(words.split()[4]))
    assert main(["predict", "model.npz", "--steps", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["train", "--cell", "elman"]) == 2
    assert "invalid choice: 'elman'" in capsys.readouterr().err


def test_a_task_takes_the_cell(folder, capsys):
    main(["train", "--task", "adding", "--cell", "gru", "--hidden-size", "4", "--max-iter", "1", "--model", "task.npz"])
    printed = capsys.readouterr().out
    assert "GRU of 4 units" in printed and "--task adding --cell gru --length 100" in printed
    assert fastbptt.load("task.npz").activation == "tanh"  # relu is for the plain cell


def test_an_unsolved_task_is_reported(folder, monkeypatch, capsys):
    monkeypatch.setattr(_solve, "JUDGED", 1000)
    assert main(["train", "--task", "copy_memory", "--max-iter", "1", "--hidden-size", "2", "--model", "c.npz"]) == 0
    assert "NOT solved" in capsys.readouterr().out and os.listdir() == ["c.npz"]


def test_ctrl_c_in_a_task_saves_the_last_update(folder, interrupted_in_update, capsys):
    interrupted_in_update["at"] = 120
    assert main(["train", "--task", "parity", "--hidden-size", "3"]) == 130
    assert "Interrupted after 1 whole epoch" in capsys.readouterr().out
    np.testing.assert_array_equal(fastbptt.load("parity.npz").theta, interrupted_in_update["thetas"][-1])


# ---- predict


@pytest.fixture
def model(airline, no_matplotlib, capsys):
    assert main([*SHORT, airline, "--model", "model.npz"]) == 0
    capsys.readouterr()
    return "model.npz"


@pytest.mark.quick
def test_predict_reads_newer_data_of_the_same_columns(model, airline, capsys):
    lines = Path(airline).read_text().splitlines()
    shortened = "\n".join("x," + line if n else "note," + line for n, line in enumerate(lines[:-30]))
    Path("new.csv").write_text(shortened + "\n")
    assert main(["predict", model, "new.csv", "--steps", "2"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    x = datasets.load_airline_passengers()[0][:-30]
    assert [row[0] for row in rows] == ["date", "1958-07", "1958-08"]
    expected = fastbptt.load(model).forecast(x, 2)[:, 0]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], expected, rtol=1e-6)


def test_predict_refuses_numbers_that_are_too_large(model, airline, capsys):
    lines = Path(airline).read_text().splitlines()
    rows = [f"{line.split(',')[0]},{n}e60" for n, line in enumerate(lines[1:])]
    Path("new.csv").write_text("\n".join([lines[0], *rows]))
    assert main(["predict", model, "new.csv"]) == 2
    assert "fastbptt: the series cannot be forecast: series contains a number too large" in capsys.readouterr().err


def test_predict_writes_its_file_whole_or_not_at_all(model, monkeypatch, capsys):
    Path("out.csv").write_text("before")
    os.chmod("out.csv", 0o640)

    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        assert main(["predict", model, "--output", "out.csv"]) == 2
    assert "--output" in capsys.readouterr().err and Path("out.csv").read_text() == "before"
    assert main(["predict", model, "--output", "out.csv"]) == 0
    assert Path("out.csv").read_text().startswith("date,passengers\n1961-01,")
    assert Path("out.csv").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir()) == ["air.csv", "model.npz", "out.csv"]


@pytest.mark.parametrize("arguments, words", [
    (["absent.npz"], "'absent.npz' cannot be read: No such file or directory"),
    (["air.csv"], "'air.csv' is not a fastbptt model"),
    (["rnn.npz"], "'rnn.npz' contains an object of RNN, not a forecaster"),
    (["model.npz", "absent.csv"], "'absent.csv' cannot be read"),
    (["model.npz", "other.csv"], "the model's target 'passengers' is not a column of the file; its columns are a"),
    (["model.npz", "short.csv"], "short.csv: the series has 3 rows; this model needs at least"),
    (["model.npz", "--steps", "0"], "--steps: expected a whole number from 1"),
    (["model.npz", "--output", "absent/x.csv"], "--output 'absent/x.csv' cannot be written"),
    ([], "MODEL"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_predict_refuses_invalid_arguments(model, capsys, arguments, words):
    fastbptt.RNN(1, 2, 1).save("rnn.npz")
    Path("other.csv").write_text("a\n1\n2\n")
    Path("short.csv").write_text("passengers\n1\n2\n3\n")
    assert main(["predict", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("spelled", ["{}", "./{}", "sub/../{}", "link", "hard"])
@pytest.mark.parametrize("read, what", [("model.npz", "the model that is read"), ("new.csv", "the file that the data come from")])
def test_predict_does_not_replace_its_input_files(model, airline, no_matplotlib, capsys, spelled, read, what):
    Path("new.csv").write_bytes(Path(airline).read_bytes())
    os.mkdir("sub")
    os.symlink(read, "link")
    os.link(read, "hard")
    before, output = {name: Path(name).read_bytes() for name in ("model.npz", "new.csv")}, spelled.format(read)
    assert main(["predict", "model.npz", "new.csv", "--output", output]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"fastbptt: --output {output!r} is {what}\n" and captured.out == ""
    assert all(Path(name).read_bytes() == content for name, content in before.items())
    if read == "new.csv":
        assert main([*SHORT, "new.csv", "--model", output]) == 2
        assert capsys.readouterr().err == f"fastbptt: --model {output!r} is the file that the data come from\n"
    else:  # nothing is read before
        os.remove("new.csv")
        assert main(["predict", "model.npz", "new.csv", "--output", output]) == 2
        assert f"--output {output!r} is the model" in capsys.readouterr().err
    assert Path(read).read_bytes() == before[read]


def test_predict_refuses_steps_beyond_the_horizon_with_inputs(folder, no_matplotlib, capsys):
    x = np.random.default_rng(0).standard_normal((80, 2)).cumsum(axis=0)
    Path("two.csv").write_text("price,volume\n" + "".join(f"{a},{b}\n" for a, b in x))
    assert main([*SHORT, "two.csv", "--target", "price", "--inputs", "volume", "--horizon", "3", "--model", "m.npz"]) == 0
    capsys.readouterr()
    assert main(["predict", "m.npz", "--steps", "8"]) == 2
    assert capsys.readouterr().err == ("fastbptt: --steps must be at most 3, the horizon of this model, got 8: more steps need future "
                                       "values of volume\n")


# ---- gradcheck and info


@pytest.mark.thorough
def test_gradcheck_lists_every_activation_with_every_loss(capsys):
    assert main(["gradcheck", "--hidden-size", "4"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if re.search(r"\de-\d\d$", line)]
    assert len(rows) == 70 and len({(row[0], row[1]) for row in rows}) == 70  # 10 activations, 7 losses
    assert all(float(row[2]) < 1e-10 and float(row[3]) < 1e-10 and float(row[4]) < 1e-3 for row in rows)
    assert "all 70 networks agree" in out


def test_gradcheck_of_one_network_lists_its_parameters(capsys):
    assert main(["gradcheck", "--activation", "elu", "--loss", "huber", "--hidden-size", "3"]) == 0
    out = capsys.readouterr().out
    entries = dict(re.findall(r"∂E/∂(\w+) +(\d+)", out))
    assert entries == {"W_x": "9", "W_s": "9", "b_s": "3", "W_y": "9", "b_y": "3"}


@pytest.mark.parametrize("arguments", [["--activation", "tanh"], ["--activation", "tanh", "--loss", "huber"]])
def test_gradcheck_fails_if_a_gradient_is_wrong(capsys, monkeypatch, arguments):
    monkeypatch.setattr(diagnostics.GradientCheck, "LIMITS", {"float64": 1e-10, "float32": 1e-30})
    assert main(["gradcheck", "--hidden-size", "2", *arguments]) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_gradcheck_refuses_an_unknown_name_with_the_valid_names(capsys):
    assert main(["gradcheck", "--activation", "tan"]) == 2
    err = capsys.readouterr().err
    assert "'tan'" in err and "tanh" in err and err.count("\n") == 1  # some Pythons write the choices without quotes


@pytest.mark.quick
def test_info_names_versions_and_blas(capsys):
    assert main(["info"]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    rows = {name: value for name, value in rows}
    assert rows["fastbptt"] == fastbptt.__version__ and rows["NumPy"] == np.__version__
    assert {"Python", "SciPy", "matplotlib", "processor", "cores", "kernel"} <= rows.keys()


def test_info_runs_without_matplotlib(no_matplotlib, capsys):
    assert main(["info"]) == 0
    assert "fastbptt[plot]" in capsys.readouterr().out


# ---- The command as a whole


@pytest.mark.parametrize("arguments", [["train"], ["gradcheck", "--activation", "tanh", "--loss", "huber"]])
def test_too_many_units_for_memory_are_reported_in_one_line(folder, no_matplotlib, capsys, arguments):
    assert main([*arguments, "--hidden-size", "2000000000"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("fastbptt: not enough memory: ") and err.count("\n") == 1


def test_without_a_command_it_prints_help_and_refuses(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(command in out for command in ("train", "predict", "gradcheck", "info"))


def test_version_and_help_exit_with_0(capsys):
    assert main(["--version"]) == 0 and main(["train", "--help"]) == 0
    assert fastbptt.__version__ in capsys.readouterr().out


@pytest.mark.thorough
def test_an_encoding_without_greek_letters_works():
    process = run_outside(["gradcheck", "--activation", "tanh", "--loss", "huber", "--hidden-size", "2"],
                          PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "W_x" in out and err == ""


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_output_device_is_reported_in_one_line():
    with open("/dev/full", "w") as full:
        process = run_outside(["info"], stdout=full)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and err == "fastbptt: standard output cannot be written: No space left on device\n"


def test_closed_standard_output_works_and_predict_proposes_a_file(model, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["info"]) == 0
    assert main(["predict", model]) == 2
    assert main(["predict", model, "--output", "ahead.csv"]) == 0
    monkeypatch.undo()
    assert capsys.readouterr().err == "fastbptt: standard output is closed; --output FILE writes to a file\n"


@pytest.mark.thorough
def test_a_closed_pipe_causes_no_traceback():
    process = run_outside(["info"])
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 1


# ---- explain


@pytest.mark.quick
def test_explain_matches_a_calculation_by_hand(capsys):
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    w_x, w_s, w_y, s0, x, d = 0.5, 0.8, 1.5, 0.5, (1.0, 0.5, -1.0), 1.0

    def error(w_x, w_s, w_y):
        s = s0
        for value in x:
            s = math.tanh(w_x * value + w_s * s)
        return (d - w_y * s)**2

    s1 = math.tanh(w_x * x[0] + w_s * s0)
    s2 = math.tanh(w_x * x[1] + w_s * s1)
    s3 = math.tanh(w_x * x[2] + w_s * s2)
    d3 = -2 * (d - w_y * s3) * w_y
    d2 = d3 * (1 - s3**2) * w_s
    d1 = d2 * (1 - s2**2) * w_s
    W_s = [d1 * (1 - s1**2) * s0, d2 * (1 - s2**2) * s1, d3 * (1 - s3**2) * s2]
    W_x = [d1 * (1 - s1**2) * x[0], d2 * (1 - s2**2) * x[1], d3 * (1 - s3**2) * x[2]]
    W_y = d3 / w_y * s3
    after = error(w_x - 0.1 * sum(W_x), w_s - 0.1 * sum(W_s), w_y - 0.1 * W_y)
    results = [float(line.rpartition(" = ")[2]) for line in out.splitlines() if re.search(r" = -?[0-9.]+$", line)]
    expected = [1.0, s1, s2, s3, w_y * s3, error(w_x, w_s, w_y), d3 / w_y, d3, d2, d1, W_y, *W_s, sum(W_s), *W_x, sum(W_x),
                w_x - 0.1 * sum(W_x), w_s - 0.1 * sum(W_s), w_y - 0.1 * W_y]
    assert results == [round(value, 4) for value in expected]
    assert f"E_3 = {error(w_x, w_s, w_y):.4f} → {after:.4f}" in out and after < error(w_x, w_s, w_y)
    assert out.splitlines()[-1].startswith("Next: fastbptt explain --svg unrolled.svg")


def test_explain_draws_the_unrolled_network(folder, capsys):
    assert main(["explain", "--svg", "unrolled.svg"]) == 0
    drawn = (folder / "unrolled.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(drawn)
    terms = [line.rpartition(" = ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("    i = ")]
    for color, values in (("#D55E00", terms[:3]), ("#0072B2", terms[3:])):
        for value in values:
            assert re.search(rf'fill="{color}"[^>]*>{re.escape(f"{float(value):+.4f}")}<', drawn)
    for color, arrows in (("#0072B2", 3), ("#D55E00", 3), ("#009E73", 1)):
        assert len(re.findall(rf'<polygon [^>]*fill="{color}"', drawn)) == arrows
    assert main(["explain", "--svg", "nowhere/unrolled.svg"]) == 2
    assert "--svg" in capsys.readouterr().err
