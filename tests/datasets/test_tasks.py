"""The figures on tasks of long memory and on the spoken vowels that docs/training.md and docs/estimators.md state, run anew."""

import cases
import numpy as np
import pytest

from fastbptt import RNN, datasets


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(2 if cases.ALL else 1))
def test_the_adding_problem_of_50_steps_is_solved(seed):
    net = RNN(2, 64, 1, activation="relu", initializer="identity", random_state=seed)
    net.fit(batches=lambda batch_size, rng: datasets.adding_problem(batch_size, 50, random_state=rng), updates=1500,
            batch_size=50, learning_rate=4e-3, schedule="cosine", max_grad_norm=1.0)
    X, D, weights = datasets.adding_problem(10_000, 50, random_state=seed)
    Y, _ = net.forward(X)
    assert datasets.fraction_wrong(Y, D, weights, tolerance=0.2) == 0  # Pascanu et al. 2013
    assert datasets.fraction_wrong(Y, D, weights) < 0.01  # Hochreiter and Schmidhuber 1997, error below 0.04


@pytest.mark.share(3)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_temporal_order_of_20_steps_is_solved(seed):
    net = RNN(6, 32, 4, output_activation="softmax", loss="cross_entropy", random_state=seed)
    net.fit(batches=lambda batch_size, rng: datasets.temporal_order(batch_size, 20, random_state=rng), updates=200,
            learning_rate=1e-2, max_grad_norm=1.0)
    X, D, weights = datasets.temporal_order(10_000, 20, random_state=seed)
    assert datasets.fraction_wrong(net.forward(X)[0], D, weights) == 0


@pytest.mark.thorough
def test_speakers_of_japanese_vowels_are_told_apart():
    from fastbptt import RNNClassifier, SequenceScaler

    (X, y), (X_test, y_test) = (datasets.load_japanese_vowels(split) for split in ("train", "test"))
    scaler = SequenceScaler().fit(X)
    right = []
    for seed in range(3):
        model = RNNClassifier(100, activation="relu", initializer=("identity", 0.5), l2=3e-3, learning_rate_init=2e-3,
                              learning_rate="cosine", max_iter=60, batch_size=32, max_grad_norm=1.0, random_state=seed)
        model.fit(scaler.transform(X), y)
        right.append(np.sum(model.predict(scaler.transform(X_test)) == y_test))
    assert np.median(right) >= 0.93 * 370
