"""Write the files of this folder with fastbptt 0.1.0. Later versions must load them: test_saved.py.

    python tests/saved/make.py FOLDER      in a checkout of version 0.1.0 that is built in place

The files here come from the last commit of version 0.1.0, 4b8d666. They are never made anew: a file that a later version
writes belongs beside them, under another name, with the version in this docstring. `expected.npz` holds what that version
computed with each file: NAME.KEY is the result KEY of NAME.npz.

Version 0.1.0 had no checkpoints of populations.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np


def data(T=9, B=6, I=2, O=1):
    """Return X (T, B, I) and D (T, B, O), float64. They are stored in expected.npz, so that no generator has to last."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((T, B, I))
    return X, np.tanh(np.cumsum(X, axis=0)[:, :, :O] / 3)


class Stop(Exception):
    """What a callback raises to end training before its time."""


def networks(fastbptt):
    """Yield (name, an untrained network)."""
    mask = np.random.default_rng(1).random((6, 6)) < 0.5
    yield "plain", fastbptt.RNN(2, 5, 1, random_state=0)
    yield "plain64", fastbptt.RNN(2, 5, 1, activation="relu", dtype="float64", random_state=1)
    yield "leaky", fastbptt.RNN(2, 6, 1, leak=0.3, connectivity={"W_s": mask}, random_state=2)
    yield "layers", fastbptt.RNN(2, (4, 3), 1, bidirectional=True, random_state=3)


FIT = {"epochs": 6, "batch_size": 4, "learning_rate": 0.01, "random_state": 7}


def main(folder):
    import fastbptt
    assert fastbptt.__version__ == "0.1.0", fastbptt.__version__
    folder = Path(folder)
    X, D = data()
    expected = {"X": X, "D": D}

    for name, net in networks(fastbptt):
        net.fit(X, D, **FIT)
        net.save(folder / f"{name}.npz")
        expected |= {f"{name}.outputs": net.forward(X)[0], f"{name}.loss": net.evaluate(X, D)}

    # Rows of X are sequences here. The estimators take (N, T, I).
    sequences, targets = X.transpose(1, 0, 2), D.transpose(1, 0, 2)
    regressor = fastbptt.RNNRegressor(hidden_size=4, max_iter=5, random_state=0).fit(sequences, targets)
    regressor.save(folder / "regressor.npz")
    expected["regressor.outputs"] = regressor.predict(sequences)
    labels = np.where(sequences[:, :, 0].sum(1) > 0, "up", "down")
    classifier = fastbptt.RNNClassifier(hidden_size=4, max_iter=5, random_state=0).fit(sequences, labels)
    classifier.save(folder / "classifier.npz")
    expected |= {"classifier.outputs": classifier.predict_proba(sequences), "classifier.classes": classifier.classes_}

    scaler = fastbptt.SequenceScaler().fit(sequences * [3, 0.5] + [1, -2])
    scaler.save(folder / "scaler.npz")
    expected["scaler.outputs"] = scaler.transform(sequences)

    population = fastbptt.Population(3, 2, 4, 1, random_state=0)
    population.fit(X, D, epochs=4, batch_size=4, learning_rate=0.01)
    population.save(folder / "population.npz")
    expected["population.outputs"] = population.forward(X)[0]

    # A checkpoint in the middle of a run, and the parameters that the whole run ends with.
    whole = fastbptt.RNN(2, 5, 1, dtype="float64", random_state=0)
    expected["checkpoint.losses"] = whole.fit(X, D, **FIT).train_loss
    expected["checkpoint.theta"] = whole.theta

    def stop(*given):
        stop.calls += 1
        if stop.calls == 3:
            raise Stop

    stop.calls = 0
    try:
        fastbptt.RNN(2, 5, 1, dtype="float64", random_state=0).fit(
            X, D, **FIT, checkpoint=folder / "checkpoint.npz", checkpoint_every=0, callbacks=stop)
    except Stop:
        pass

    # A checkpoint of a finished fit_many: to resume it trains nothing and returns the same networks.
    nets = [fastbptt.RNN(2, 5, 1, random_state=seed) for seed in range(3)]
    many = {"epochs": 4, "batch_size": 4, "learning_rate": 0.01, "random_state": np.arange(3)}
    fits = fastbptt.fit_many([net.copy() for net in nets], X, D, **many, checkpoint=folder / "many.npz", checkpoint_every=0)
    expected["many.theta"] = np.array([net.theta for net in fits.networks])

    # The command, on a short series.
    rows = "\n".join(f"{np.sin(k / 3) + k / 100:.6f}" for k in range(120))
    csv = folder / "forecaster.csv"
    csv.write_text(f"value\n{rows}\n")
    command, model = [sys.executable, "-m", "fastbptt"], folder / "forecaster.npz"
    subprocess.run([*command, "train", csv, "--target", "value", "--hidden-size", "4", "--max-iter", "5", "--horizon", "6",
                    "--model", model, "--plot", folder / "forecaster.svg"], check=True)
    (folder / "forecaster.svg").unlink()
    subprocess.run([*command, "predict", model, "--output", folder / "forecast.csv"], check=True)
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main(sys.argv[1])
