"""The command does its main job without a look ahead, and says plainly what it did and what it cannot do."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbptt
from fastbptt import _forecast, _picture, datasets, diagnostics, training
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
    def train(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(_forecast, "train", train)


def run_outside(arguments, program=("-m", "fastbptt"), **environment):
    """The command in a process of its own, which finds the package that these tests run with (-P: not this folder's)."""
    environment = os.environ | {"PYTHONPATH": str(Path(fastbptt.__file__).parents[1])} | environment
    return subprocess.Popen([sys.executable, "-P", *program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)


# ---- train


def test_train_prints_its_error_beside_the_naive_forecasts_and_saves_network_and_picture(folder, capsys):
    pytest.importorskip("matplotlib")
    assert main([*SHORT, "--model", "net.npz", "--plot", "net.png"]) == 0
    out = capsys.readouterr().out
    ours = float(re.search(r"this network +([0-9.]+)", out)[1])
    assert re.search(r"repeating the last value +37\.7\b", out)
    assert float(re.search(r"core float64 (\S+e-\d+)", out)[1]) < 1e-11
    assert (folder / "net.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    # The printed figure is the saved network's, on raw numbers, every month of the last 20 % being a target.
    x = datasets.load_sunspots().swapaxes(0, 1)
    Y, _ = fastbptt.load("net.npz").forward(x)
    error = Y[2496 - 12:-12, 0, 0] - x[2496:, 0, 0]
    assert len(error) == 624
    assert ours == pytest.approx(np.sqrt(np.mean(error**2)), abs=0.051)
    assert sorted(os.listdir()) == ["net.npz", "net.png"]


def test_the_same_seed_gives_the_same_file_and_another_seed_another(folder, no_matplotlib):
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        assert main([*SHORT, "--max-iter", "1", "--random-state", str(seed), "--model", name]) == 0
    theta = {name: fastbptt.load(name).theta for name in "abc"}
    np.testing.assert_array_equal(theta["a"], theta["b"])
    assert not np.array_equal(theta["a"], theta["c"])


def test_the_line_that_it_proposes_runs_and_prints_the_unseen_months(folder, no_matplotlib, capsys):
    assert main([*SHORT, "--max-iter", "1", "--horizon", "7", "--model", "it's.npz"]) == 0
    line = re.search(r"^  (python -c .*)$", capsys.readouterr().out, re.MULTILINE)[1]
    out, err = run_outside(shlex.split(line)[1:], program=()).communicate(timeout=60)
    assert err == ""
    printed = np.array(out.strip("[]\n").split(), float)
    Y, _ = fastbptt.load("it's.npz").forward(datasets.load_sunspots().swapaxes(0, 1))
    np.testing.assert_allclose(printed, Y[-7:, 0, 0], rtol=1e-6)


def test_without_matplotlib_it_says_so_draws_text_and_succeeds(folder, no_matplotlib, capsys):
    assert main([*SHORT, "--max-iter", "1"]) == 0
    out = capsys.readouterr().out
    assert 'pip install "fastbptt[plot]"' in out
    assert "o observed   + forecast   * both" in out and "2008" in out
    assert os.listdir() == ["sunspots.npz"]


@pytest.mark.parametrize("horizon", ["1", "1920"])
def test_the_shortest_and_the_longest_horizon_work(folder, no_matplotlib, capsys, recwarn, horizon):
    assert main([*SHORT, "--max-iter", "1", "--horizon", horizon]) == 0
    assert "this network" in capsys.readouterr().out
    assert not recwarn.list


def test_ctrl_c_keeps_the_last_whole_update_in_the_saved_network(folder, monkeypatch, capsys):
    update, seen = training._Run._update, []

    def interrupted(self, *args):
        if len(seen) == 15:  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        result = update(self, *args)
        seen.append(self.network)
        return result

    monkeypatch.setattr(training._Run, "_update", interrupted)
    assert main(SHORT) == 130
    assert "Interrupted after 1 whole epoch" in capsys.readouterr().out
    assert len(seen) == 15
    mean, deviation = _forecast.standardisation(datasets.load_sunspots()[0])
    np.testing.assert_array_equal(fastbptt.load("sunspots.npz").theta, _forecast.fold(seen[0], mean, deviation).theta)


def test_train_fails_where_a_gradient_is_off(folder, no_matplotlib, monkeypatch, capsys):
    monkeypatch.setattr(diagnostics.GradientCheck, "LIMITS", {"float64": 1e-10, "float32": 1e-30})
    assert main([*SHORT, "--max-iter", "1"]) == 1
    assert "GRADIENTS DISAGREE" in capsys.readouterr().out


def test_training_that_diverges_ends_in_one_line_and_leaves_no_file(folder, monkeypatch, capsys):
    monkeypatch.setattr(_forecast, "LEARNING_RATE", 1e38)
    assert main(SHORT) == 1
    err = capsys.readouterr().err
    assert err.startswith("fastbptt: training failed: ") and "not finite" in err and err.count("\n") == 1
    assert os.listdir() == []


@pytest.mark.parametrize("arguments, words", [
    (["--hidden-size", "-3"], "--hidden-size: expected a whole number from 1, got '-3'"),
    (["--hidden-size", "many"], "got 'many'"),
    (["--max-iter", "0"], "--max-iter: expected a whole number from 1, got '0'"),
    (["--random-state", "-1"], "--random-state: expected a whole number from 0"),
    (["--horizon", "2000"], "--horizon must be from 1 to 1920"),
    (["--model", "absent/net.npz"], "--model 'absent/net.npz' cannot be written: No such file or directory"),
    (["--model", "."], "--model must name a file, got '.', which is a folder"),
    (["--model", ""], "--model must name a file, got ''"),
    (["--models", "x"], "--help"),
    (["--mod", "x"], "--help"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_done_is_refused_in_one_line_before_training(folder, no_training, capsys, arguments, words):
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


# ---- What train is made of


@pytest.fixture(scope="module")
def standardised():
    series = datasets.load_sunspots()[0]
    mean, deviation = _forecast.standardisation(series)
    return (series - mean) / deviation


def test_nothing_of_the_last_fifth_enters_standardisation_or_training(standardised):
    parameters = []
    for tail in (0, 1e3):
        series = standardised.copy()
        series[2496:] += tail
        network = fastbptt.RNN(1, 3, 1, random_state=0)
        history = _forecast.train(network, series, 12, epochs=2)
        parameters.append((network.theta, history.validation_loss, _forecast.standardisation(series)))
    np.testing.assert_array_equal(parameters[0][0], parameters[1][0])
    assert parameters[0][1:] == parameters[1][1:]


def test_the_held_out_tenth_decides_but_does_not_train(standardised):
    series = standardised.copy()
    series[2184:] += 100
    networks = [fastbptt.RNN(1, 3, 1, random_state=0) for _ in range(2)]
    histories = [_forecast.train(network, data, 12, epochs=2)
                 for network, data in zip(networks, (standardised, series))]
    assert histories[0].train_loss == histories[1].train_loss
    assert histories[0].validation_loss != histories[1].validation_loss


def test_training_weighs_the_steps_after_each_windows_warm_up_alone(standardised, monkeypatch):
    monkeypatch.setattr(_forecast, "BATCH_SIZE", 1000)  # one update an epoch: its loss is the initial network's
    network = fastbptt.RNN(1, 3, 1, dtype="float64", random_state=0)
    initial = network.copy()
    found = _forecast.train(network, standardised, 12, epochs=1).train_loss[0]
    losses = []
    for start in range(0, 2184 - 12 - 264 + 1, 24):
        window = standardised[start:start + 264]
        error = _forecast.forecasts(initial, window) - standardised[start + 12:start + 12 + 264]
        losses.append(np.mean(error[132:]**2))
    assert len(losses) == 80
    assert found == pytest.approx(np.mean(losses), rel=1e-12)


def test_the_held_out_loss_is_that_of_all_its_months_in_one_run_from_the_start(standardised):
    network = fastbptt.RNN(1, 3, 1, random_state=0)
    history = _forecast.train(network, standardised, 12, epochs=1)
    made = _forecast.forecasts(network, standardised)[2184 - 12:2496 - 12]
    assert history.validation_loss[0] == pytest.approx(_forecast.rmse(made, standardised[2184:2496])**2, rel=1e-6)


def test_a_forecast_uses_no_month_after_the_one_in_which_it_is_made(standardised):
    network = fastbptt.RNN(1, 5, 1, random_state=0)
    later = standardised.copy()
    later[1000:] += 10
    first, second = _forecast.forecasts(network, standardised), _forecast.forecasts(network, later)
    np.testing.assert_array_equal(first[:1000], second[:1000])
    assert first[1000] != second[1000]


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 3e-6)])
def test_the_folded_network_forecasts_raw_numbers_as_the_trained_one_does_standardised_ones(tmp_path, dtype, tolerance):
    rng = np.random.default_rng(0)
    mean, deviation = np.array([50.0, -3.0]), np.array([40.0, 0.5])
    raw = mean + deviation * rng.standard_normal((200, 2))
    network = fastbptt.RNN(2, 16, 2, dtype=dtype, random_state=0)
    network.theta = network.theta + 0.1 * rng.standard_normal(network.theta.size)  # no bias is zero
    before = network.theta
    _forecast.fold(network, mean, deviation).save(tmp_path / "net.npz")
    np.testing.assert_array_equal(network.theta, before)
    expected = mean + deviation * _forecast.forecasts(network, (raw - mean) / deviation)
    found = _forecast.forecasts(fastbptt.load(tmp_path / "net.npz"), raw)
    assert (np.abs(found - expected).max(axis=0) / np.abs(expected).max(axis=0)).max() < tolerance


def test_the_gradients_reach_is_the_mean_over_single_targets_of_whole_runs(standardised):
    network = fastbptt.RNN(1, 5, 1, dtype="float64", random_state=0)
    X, D = _forecast.pairs(standardised, 12)
    found = _forecast.reach(network, standardised, 12, steps=30, samples=2)
    expected = []
    for t in (2496 - 12, 3120 - 12 - 1):  # the first and the last target of the test part
        norms = np.linalg.norm(network.gradient_terms(X, D, t)["S"][::-1, 0], axis=1)[:30]
        expected.append(norms / norms[0])
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-10)
    assert found[0] == 1


def test_the_chart_of_text_puts_values_in_their_months_and_rows():
    dates = np.arange("1998-01", "2010-01", dtype="datetime64[M]")
    observed, forecast = np.full(144, 10.0), np.full(144, 90.0)
    observed[-12:] = np.nan
    forecast[-2:] = 10
    *lines, _, years, _ = _picture.text(dates, observed, forecast).splitlines()
    assert lines[0].startswith("  100 |") and lines[-1].startswith("    0 |")
    assert lines[1] == "      |" + 65 * "+"
    assert lines[-2] == "      |" + 60 * "o" + "     +"
    assert years.split() == [str(year) for year in range(1999, 2010)]
    assert years.index("2009") - years.index("1999") == 60


# ---- gradcheck and info


def test_gradcheck_lists_every_activation_with_every_loss(capsys):
    assert main(["gradcheck", "--hidden-size", "4"]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if re.search(r"\de-\d\d$", line)]
    assert len(rows) == 56 and len({(row[0], row[1]) for row in rows}) == 56
    assert all(float(row[2]) < 1e-10 and float(row[3]) < 1e-10 and float(row[4]) < 1e-3 for row in rows)
    assert "all 56 networks agree" in out


def test_gradcheck_of_one_network_lists_its_parameters(capsys):
    assert main(["gradcheck", "--activation", "elu", "--loss", "huber", "--hidden-size", "3"]) == 0
    out = capsys.readouterr().out
    entries = dict(re.findall(r"∂E/∂(\w+) +(\d+)", out))
    assert entries == {"W_x": "9", "W_s": "9", "b_s": "3", "W_y": "9", "b_y": "3"}


@pytest.mark.parametrize("arguments", [["--activation", "tanh"], ["--activation", "tanh", "--loss", "huber"]])
def test_gradcheck_fails_where_a_gradient_is_off(capsys, monkeypatch, arguments):
    monkeypatch.setattr(diagnostics.GradientCheck, "LIMITS", {"float64": 1e-10, "float32": 1e-30})
    assert main(["gradcheck", "--hidden-size", "2", *arguments]) == 1
    assert "DISAGREE" in capsys.readouterr().out


def test_gradcheck_refuses_an_unknown_name_with_those_that_there_are(capsys):
    assert main(["gradcheck", "--activation", "tan"]) == 2
    err = capsys.readouterr().err
    assert "'tan'" in err and "'tanh'" in err and err.count("\n") == 1


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


def test_without_a_command_it_prints_help_and_refuses(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(command in out for command in ("train", "gradcheck", "info"))


def test_version_and_help_exit_with_0(capsys):
    assert main(["--version"]) == 0 and main(["train", "--help"]) == 0
    assert fastbptt.__version__ in capsys.readouterr().out


def test_an_encoding_without_greek_does_not_end_the_program():
    process = run_outside(["gradcheck", "--activation", "tanh", "--loss", "huber", "--hidden-size", "2"],
                          PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "W_x" in out and err == ""


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_leaves_early_causes_no_traceback():
    process = run_outside(["info"])
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 1
