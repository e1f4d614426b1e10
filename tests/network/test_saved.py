"""Files that version 0.1.0 wrote (tests/saved) load, compute what that version computed, and are saved again unchanged."""

import sys
from pathlib import Path

import numpy as np
import pytest

import fastbptt
from fastbptt.__main__ import main

SAVED = Path(__file__).parents[1] / "saved"
# The files come from the kernel set avx512. Other sets sum in another order, so their results differ by rounding; the results
# here are of order 1. Networks are float32 by default.
TOLERANCE = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 1e-5, "atol": 1e-6}}
pytestmark = pytest.mark.skipif(not SAVED.is_dir(), reason="the saved files are not here")


@pytest.fixture(scope="module")
def expected():
    with np.load(SAVED / "expected.npz") as file:
        return dict(file)


def near(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, **TOLERANCE[tolerance])


def results(name, loaded, expected):
    """Return what `loaded`, the object in NAME.npz, computes, by key of expected.npz."""
    X, D = expected["X"], expected["D"]
    sequences = X.transpose(1, 0, 2)
    if name in ("plain", "plain64", "leaky", "layers"):
        return {"outputs": loaded.forward(X)[0], "loss": loaded.evaluate(X, D)}
    if name == "population":
        return {"outputs": loaded.forward(X)[0]}
    if name == "classifier":
        return {"outputs": loaded.predict_proba(sequences), "classes": loaded.classes_}
    return {"outputs": loaded.transform(sequences) if name == "scaler" else loaded.predict(sequences)}


KINDS = {"plain": fastbptt.RNN, "plain64": fastbptt.RNN, "leaky": fastbptt.RNN, "layers": fastbptt.RNN,
         "regressor": fastbptt.RNNRegressor, "classifier": fastbptt.RNNClassifier, "scaler": fastbptt.SequenceScaler,
         "population": fastbptt.Population}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_version_0_1_computes_what_it_computed_then(name, expected, tmp_path):
    loaded = fastbptt.load(SAVED / f"{name}.npz")
    assert type(loaded) is KINDS[name]
    found = results(name, loaded, expected)
    assert {f"{name}.{key}" for key in found} == {key for key in expected if key.startswith(f"{name}.")}
    for key, value in found.items():
        if key == "classes":
            assert (value == expected[f"{name}.{key}"]).all()
        else:
            near(value, expected[f"{name}.{key}"], "float64" if name in ("plain64", "scaler") else "float32")
    loaded.save(tmp_path / "again.npz")
    again = results(name, fastbptt.load(tmp_path / "again.npz"), expected)
    for key, value in found.items():
        np.testing.assert_array_equal(again[key], value)


FIT = {"epochs": 6, "batch_size": 4, "learning_rate": 0.01, "random_state": 7}


def test_a_checkpoint_of_version_0_1_resumes_to_the_parameters_of_the_whole_run(expected, tmp_path):
    file = tmp_path / "checkpoint.npz"
    file.write_bytes((SAVED / "checkpoint.npz").read_bytes())
    begun = fastbptt.load(file)
    assert not np.allclose(begun.theta, expected["checkpoint.theta"], rtol=1e-3)  # the run was not over
    net, calls = fastbptt.RNN(2, 5, 1, dtype="float64", random_state=0), []
    history = net.fit(expected["X"], expected["D"], **FIT, checkpoint=file, resume=True,
                      callbacks=lambda *given: calls.append(given))
    assert 0 < len(calls) < FIT["epochs"]  # only what was left
    near(net.theta, expected["checkpoint.theta"], "float64")
    near(history.train_loss, expected["checkpoint.losses"], "float64")
    finished = fastbptt.load(file)
    np.testing.assert_array_equal(finished.theta, net.theta)


def test_a_checkpoint_of_fit_many_of_version_0_1_gives_its_networks(expected, tmp_path):
    file = tmp_path / "many.npz"
    file.write_bytes((SAVED / "many.npz").read_bytes())
    nets = [fastbptt.RNN(2, 5, 1, random_state=seed) for seed in range(3)]
    fits = fastbptt.fit_many(nets, expected["X"], expected["D"], epochs=4, batch_size=4, learning_rate=0.01,
                             random_state=np.arange(3), checkpoint=file, resume=True)
    np.testing.assert_array_equal([net.theta for net in fits.networks], expected["many.theta"])  # stored, not computed anew


def test_a_forecaster_of_version_0_1_forecasts_the_same(tmp_path, monkeypatch):
    for file in (SAVED / "forecaster.npz", tmp_path / "again.npz"):
        output = tmp_path / f"{file.stem}.csv"
        monkeypatch.setattr(sys, "argv", ["fastbptt", "predict", str(file), "--output", str(output)])
        assert not main()
        rows = [np.loadtxt(path, delimiter=",", skiprows=1) for path in (output, SAVED / "forecast.csv")]
        assert output.read_text().splitlines()[0] == (SAVED / "forecast.csv").read_text().splitlines()[0]
        np.testing.assert_allclose(*rows, rtol=1e-5, atol=1e-6)  # the file has seven digits, of float32
        if file.parent == SAVED:
            fastbptt.load(file).save(tmp_path / "again.npz")


def test_the_saved_files_are_small():
    """The repository, and each source distribution, carries them forever."""
    assert sum(path.stat().st_size for path in SAVED.iterdir() if path.is_file()) < 200_000
