"""`step`, one step at a time, and the draws of `generate`: against `forward`, by hand, and by frequency."""

import numpy as np
import pytest

from fastbptt import reference

DTYPES = ["float32", "float64"]

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("ids", [False, True])
def test_a_step_of_the_reference_is_forward_over_one_step(ids):
    rng = np.random.default_rng(0)
    p = {"W_x": rng.normal(size=(6, 3)), "W_s": rng.normal(size=(6, 6)), "W_y": rng.normal(size=(2, 6)), "S_0": rng.normal(size=6)}
    X = rng.integers(3, size=(4, 5)) if ids else rng.normal(size=(4, 5, 3))
    Y, _, S = reference.forward(p, X, activation="relu", output_activation="sigmoid")
    state = None
    for t in range(4):
        y, state = reference.step(p, X[t], state, activation="relu", output_activation="sigmoid")
        assert (y == Y[t]).all() and (state == S[t + 1]).all()


# ---- sample: the id for a given u, frequencies, extremes


@pytest.mark.parametrize(("p", "temperature", "u", "id"), [
    ([0.25, 0.5, 0.25], 1, 0.0, 0),
    ([0.25, 0.5, 0.25], 1, 0.2499999, 0),
    ([0.25, 0.5, 0.25], 1, 0.2500001, 1),
    ([0.25, 0.5, 0.25], 1, 0.7499999, 1),
    ([0.25, 0.5, 0.25], 1, 0.7500001, 2),
    ([0.25, 0.5, 0.25], 1, np.nextafter(1, 0), 2),
    ([0.2, 0.6, 0.2], 0.5, 0.090908, 0),  # p² are as 1, 9, 1
    ([0.2, 0.6, 0.2], 0.5, 0.090910, 1),
    ([0.2, 0.6, 0.2], 0.5, 0.909090, 1),
    ([0.2, 0.6, 0.2], 0.5, 0.909092, 2),
    ([0.1, 0.9], 2, 0.2499999, 0),  # √p are as 1, 3
    ([0.1, 0.9], 2, 0.2500001, 1),
    ([0.25, 0.25, 0.5], 0, 0.0, 2),
    ([0.4, 0.4, 0.2], 0, 0.9, 0),  # of equals the first
])
@both_dtypes
def test_sample_is_the_first_id_whose_cumulative_probability_exceeds_u(p, temperature, u, id, dtype):
    assert reference.sample(np.array([p], dtype), temperature, np.array([u])).tolist() == [id]


@pytest.mark.parametrize("temperature", [0, 1e-300, 0.01, 1.0, 100.0, 1e300])
@both_dtypes
def test_what_has_probability_zero_is_never_drawn(temperature, dtype):
    p = np.zeros((4, 6), dtype)
    for row, (one, other) in zip(p, [(1, 3), (0, 5), (2, 4), (1, 2)]):
        row[one], row[other] = 0.25, 0.75
    for u in (0.0, 5e-324, 2.0**-53, 0.3, 0.5, np.nextafter(1, 0)):
        assert (p[np.arange(4), reference.sample(p, temperature, np.full(4, u))] > 0).all()
    alone = np.zeros((1, 3), dtype)
    alone[0, 1] = np.finfo(dtype).tiny
    assert [reference.sample(alone, temperature, np.array([u])).item() for u in (0.0, np.nextafter(1, 0))] == [1, 1]


@both_dtypes
def test_a_very_low_temperature_is_that_of_the_most_probable_and_a_very_high_one_is_even(dtype):
    p = np.array([[0.1, 0.3, 0.0, 0.6]], dtype).repeat(1000, axis=0)
    u = (np.arange(1000) + 0.5) / 1000
    for temperature in (5e-324, 1e-300, 1e-6):
        assert (reference.sample(p, temperature, u) == 3).all()
    for temperature in (1e6, 1e300):
        counts = np.bincount(reference.sample(p, temperature, u), minlength=4)
        assert counts[2] == 0 and counts.sum() == 1000 and np.abs(counts[[0, 1, 3]] - 1000 / 3).max() < 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_within_five_standard_deviations(temperature):
    n, p = 100_000, np.array([0.02, 0.0, 0.5, 0.18, 0.3])
    expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    u = np.random.default_rng(7).random(n)
    counts = np.bincount(reference.sample(np.broadcast_to(p, (n, 5)), temperature, u), minlength=5)
    assert (np.abs(counts - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))).all()
