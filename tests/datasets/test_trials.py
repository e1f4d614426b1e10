"""The tasks of neuroscience: what is shown when, what is told when, and that networks learn them."""

import math

import numpy as np
import pytest

from fastbptt import RNN, datasets

DRAWS = {
    "perceptual_decision": lambda B, **options: datasets.perceptual_decision(B, **options),
    "delayed_match_to_sample": lambda B, **options: datasets.delayed_match_to_sample(B, **options),
    "flip_flop": lambda B, **options: datasets.flip_flop(B, 30, **options),
    "sine_generation": lambda B, **options: datasets.sine_generation(B, 30, **options),
}


@pytest.mark.parametrize("name", DRAWS)
class TestEveryTask:
    def test_the_seed_gives_the_batch_and_a_generator_goes_on(self, name):
        draw = DRAWS[name]
        batch = draw(8, random_state=3)
        for again in (draw(8, random_state=3), draw(8, random_state=np.random.default_rng(3))):
            for a, b in zip(batch, again):
                np.testing.assert_array_equal(a, b)
        rng = np.random.default_rng(3)
        streams = [draw(8, random_state=state)[0].tobytes() for state in (rng, rng, None, None, 4)]
        assert streams[0] == batch[0].tobytes() and len(set(streams)) == 5

    def test_shapes_and_dtypes_and_that_D_is_there_where_the_weight_is(self, name):
        X, D, weights = DRAWS[name](5, random_state=0)
        assert X.shape[:2] == D.shape[:2] == weights.shape and X.shape[1] == 5
        assert X.dtype == weights.dtype == np.float64 and np.isfinite(X).all()
        assert set(np.unique(weights)) <= {0, 1} and weights.any(axis=0).all()
        if D.dtype == np.intp:
            np.testing.assert_array_equal(D >= 0, weights == 1)
        else:
            np.testing.assert_array_equal(np.isfinite(D), np.broadcast_to((weights == 1)[..., None], D.shape))
        assert all(array.flags.c_contiguous and array.flags.writeable for array in (X, D, weights))

    def test_bad_sizes_are_refused_before_anything_is_drawn(self, name):
        for B, options, error, words in [
                (0, {}, ValueError, "batch_size must be from 1"), (2.0, {}, TypeError, "batch_size must be an int"),
                (2, {"random_state": -1}, ValueError, "random_state must not be negative"),
                (2, {"random_state": "0"}, TypeError, "random_state must be None, an int")]:
            rng = np.random.default_rng(0)
            with pytest.raises(error, match=words):
                DRAWS[name](B, **{"random_state": rng} | options)
            assert rng.random() == np.random.default_rng(0).random()


# ---- Perceptual decision


@pytest.mark.quick
def test_a_trial_of_perceptual_decision_is_what_its_docstring_says():
    X, D, weights = datasets.perceptual_decision(500, fixation=60, stimulus=100, delay=(40, 120), decision=80, noise=0,
                                                 coherences=(0.1, 0.5), dt=20, random_state=0)
    assert X.shape == (3 + 5 + 6 + 4, 500, 3) and D.shape == (18, 500, 2)
    delays = set()
    for b in range(500):
        cue = int(X[:, b, 2].sum())  # steps of it
        delays.add(cue - 8)
        np.testing.assert_array_equal(X[:, b, 2], np.arange(18) < cue)
        assert (X[:3, b, :2] == 0).all() and (X[8:, b, :2] == 0).all()
        evidence = X[3:8, b, :2]
        assert (evidence == evidence[0]).all() and evidence[0].sum() == pytest.approx(1)
        assert abs(evidence[0, 0] - evidence[0, 1]) == pytest.approx(0.1) or abs(
            evidence[0, 0] - evidence[0, 1]) == pytest.approx(0.5)
        due = np.r_[0:3, cue:cue + 4]
        np.testing.assert_array_equal(weights[:, b], np.isin(np.arange(18), due))
        assert (D[:3, b] == 0.2).all()
        choice = evidence[0].argmax()
        assert (D[cue:cue + 4, b, choice] == 1).all() and (D[cue:cue + 4, b, 1 - choice] == 0.2).all()
    assert delays == {2, 3, 4, 5, 6}


def test_choices_coherences_and_delays_are_uniform():
    X, D, weights = datasets.perceptual_decision(20_000, noise=0, coherences=(0, 0.2, 0.4, 1), delay=(0, 60), random_state=1)
    difference = X[10, :, 0] - X[10, :, 1]
    for value in (0.2, 0.4, 1):
        assert np.mean(np.isclose(abs(difference), value)) == pytest.approx(1 / 4, abs=0.015)
        assert np.mean(difference[np.isclose(abs(difference), value)] > 0) == pytest.approx(1 / 2, abs=0.03)
    cue = X[..., 2].sum(axis=0)
    assert np.unique(cue).tolist() == [35, 36, 37, 38]
    assert all(np.mean(cue == n) == pytest.approx(1 / 4, abs=0.015) for n in range(35, 39))
    told = np.nanmax(D[5:, :, 0], axis=0)
    assert np.mean(told[difference == 0] == 1) == pytest.approx(1 / 2, abs=0.03)  # either is right


def test_noise_is_on_both_evidence_inputs_at_all_steps_and_on_no_other():
    options = {"random_state": 2, "delay": 0}
    noisy, quiet = (datasets.perceptual_decision(4000, noise=noise, **options)[0] for noise in (0.3, 0))
    assert (noisy[..., 2] == quiet[..., 2]).all()
    noise = (noisy - quiet)[..., :2]
    np.testing.assert_allclose(noise.std(axis=1), 0.3, rtol=0.06)
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=0.03)
    assert abs(np.corrcoef(noise[20, :, 0], noise[20, :, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(noise[20, :, 0], noise[21, :, 0])[0, 1]) < 0.06


def test_an_observer_who_adds_up_is_right_as_often_as_the_docstring_says():
    c, noise, n = 0.064, 0.2, 30
    X, D, weights = datasets.perceptual_decision(40_000, coherences=c, noise=noise, stimulus=20 * n, random_state=3)
    right = (X[5:5 + n, :, 0].sum(axis=0) > X[5:5 + n, :, 1].sum(axis=0)) == (np.nanmax(D[5:, :, 0], axis=0) == 1)
    expected = 0.5 * (1 + math.erf(c * math.sqrt(n / 2) / noise / math.sqrt(2)))
    assert right.mean() == pytest.approx(expected, abs=0.007)


# ---- Delayed match to sample


@pytest.mark.quick
def test_a_trial_of_delayed_match_to_sample_is_what_its_docstring_says():
    X, D, weights = datasets.delayed_match_to_sample(500, items=3, fixation=20, sample=60, delay=(20, 60), test=40,
                                                     decision=30, noise=0, dt=10, random_state=0)
    assert X.shape == (2 + 6 + 6 + 4 + 3, 500, 4) and D.shape == (21, 500)
    delays = set()
    for b in range(500):
        cue = int(X[:, b, 3].sum())
        delays.add(cue - 12)
        np.testing.assert_array_equal(X[:, b, 3], np.arange(21) < cue)
        shown = X[:, b, :3]
        np.testing.assert_array_equal(shown.sum(axis=1), np.isin(np.arange(21), np.r_[2:8, cue - 4:cue]))
        first, second = shown[2], shown[cue - 4]
        assert (shown[2:8] == first).all() and (shown[cue - 4:cue] == second).all()
        asked = np.isin(np.arange(21), np.r_[cue:cue + 3])
        np.testing.assert_array_equal(D[:, b], np.where(asked, (first == second).all(), -1))
        np.testing.assert_array_equal(weights[:, b], asked)
    assert delays == {2, 3, 4, 5, 6}


def test_items_are_uniform_and_half_of_the_trials_match():
    X, D, _ = datasets.delayed_match_to_sample(20_000, items=3, noise=0, delay=(0, 0), random_state=1)
    first, second = X[5, :, :3].argmax(axis=1), X[15, :, :3].argmax(axis=1)
    assert np.mean(first == second) == pytest.approx(1 / 2, abs=0.012)
    np.testing.assert_array_equal(D[-1], first == second)
    for i in range(3):
        for k in range(3):
            assert np.mean((first == i) & (second == k)) == pytest.approx(1 / 6 if i == k else 1 / 12, abs=0.01)
    noisy = datasets.delayed_match_to_sample(20_000, items=3, noise=0.5, delay=(0, 0), random_state=1)[0]
    np.testing.assert_allclose((noisy - X)[..., :3].std(axis=1), 0.5, rtol=0.03)
    np.testing.assert_allclose((noisy - X)[..., :3].std(axis=0).mean(), 0.5, rtol=0.03)
    assert (noisy[..., 3] == X[..., 3]).all()


# ---- Flip-flop


def test_the_flip_flop_tells_the_last_pulse_of_each_input():
    X, D, weights = datasets.flip_flop(50, 40, bits=4, probability=0.2, random_state=0)
    assert X.shape == D.shape == (40, 50, 4) and (weights == 1).all()
    assert set(np.unique(X)) == {-1, 0, 1} and (X[0] != 0).all()
    memory = np.zeros((50, 4))
    for x, d in zip(X, D):
        memory = np.where(x != 0, x, memory)
        np.testing.assert_array_equal(d, memory)


def test_pulses_are_as_frequent_as_asked_for_and_of_either_sign():
    X = datasets.flip_flop(400, 100, probability=0.3, random_state=1)[0]
    assert np.mean(X[1:] != 0) == pytest.approx(0.3, abs=0.006)
    assert X[X != 0].mean() == pytest.approx(0, abs=0.02)
    assert (datasets.flip_flop(2, 20, probability=1, random_state=0)[0] != 0).all()


# ---- Sines


def test_sines_have_the_frequency_that_the_input_stands_for():
    X, D, weights = datasets.sine_generation(4000, 50, random_state=0)
    assert X.shape == D.shape == (50, 4000, 1) and (weights == 1).all() and (X == X[0]).all()
    j = (X[0, :, 0] - 0.25) * 51
    np.testing.assert_allclose(j, j.round(), atol=1e-9)
    assert sorted(set(j.round().astype(int))) == list(range(51))
    np.testing.assert_allclose(D[..., 0], np.sin((0.1 + 0.5 * j / 50) * np.arange(50)[:, None]), atol=1e-9)
    assert set(datasets.sine_generation(50, 2, frequencies=2, random_state=0)[0].ravel()) == {0.25, 0.75}


# ---- Bad arguments


@pytest.mark.parametrize("draw, words", [
    (lambda: datasets.perceptual_decision(2, fixation=5), "fixation must last at least 1 step of dt=20 ms, got 5 ms"),
    (lambda: datasets.perceptual_decision(2, stimulus=0), "stimulus must last at least 1 step"),
    (lambda: datasets.perceptual_decision(2, decision=-1), "decision must be finite and >= 0"),
    (lambda: datasets.perceptual_decision(2, delay=(200, 100)), "delay must go from the shorter to the longer"),
    (lambda: datasets.perceptual_decision(2, delay=(1, 2, 3)), "delay must be a number or a pair of them"),
    (lambda: datasets.perceptual_decision(2, delay=(-5, 3)), "delay must be finite and >= 0"),
    (lambda: datasets.perceptual_decision(2, coherences=()), "coherences must hold at least one"),
    (lambda: datasets.perceptual_decision(2, coherences=(0.1, 1.1)), "a coherence must be finite and >= 0"),
    (lambda: datasets.perceptual_decision(2, noise=-0.1), "noise must be finite and >= 0"),
    (lambda: datasets.perceptual_decision(2, dt=0), "dt must be finite and > 0"),
    (lambda: datasets.delayed_match_to_sample(2, items=1), "items must be from 2"),
    (lambda: datasets.delayed_match_to_sample(2, sample=0), "sample must last at least 1 step"),
    (lambda: datasets.delayed_match_to_sample(2, test=0), "test must last at least 1 step"),
    (lambda: datasets.flip_flop(2, 0), "length must be from 1"),
    (lambda: datasets.flip_flop(2, 5, bits=0), "bits must be from 1"),
    (lambda: datasets.flip_flop(2, 5, probability=1.1), "probability must be finite and > 0"),
    (lambda: datasets.sine_generation(2, 5, frequencies=1), "frequencies must be from 2"),
])
def test_bad_arguments_are_refused_by_name(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


# ---- Learning


def train(net, draw, updates, learning_rate):
    net.fit(batches=lambda batch_size, rng: draw(batch_size, rng), updates=updates, learning_rate=learning_rate,
            max_grad_norm=1.0)
    X, D, weights = draw(2000, 99)
    return net.forward(X)[0], D, weights, net.evaluate(X, D, weights=weights)


@pytest.mark.thorough
def test_a_network_learns_to_decide():
    net = RNN(3, 32, 2, activation="relu", initializer=("identity", 0.9), random_state=0)
    Y, D, weights, _ = train(net, lambda B, rng: datasets.perceptual_decision(B, random_state=rng), 800, 2e-3)
    assert datasets.fraction_wrong(Y, D, weights, tolerance=0.4) < 0.2  # fixation and decision; the best there is: 0.08


@pytest.mark.thorough
def test_a_network_learns_to_compare_items_over_a_delay():
    net = RNN(5, 48, 2, activation="relu", initializer=("identity", 0.9), output_activation="softmax", loss="cross_entropy",
              random_state=0)
    Y, D, weights, loss = train(net, lambda B, rng: datasets.delayed_match_to_sample(B, random_state=rng), 1000, 3e-3)
    assert datasets.fraction_wrong(Y, D, weights) < 0.05 and loss < 0.1  # guesses: 0.5 and 0.693


@pytest.mark.thorough
def test_a_network_learns_three_bits():
    net = RNN(3, 32, 3, random_state=0)
    Y, D, weights, loss = train(net, lambda B, rng: datasets.flip_flop(B, 50, random_state=rng), 600, 5e-3)
    assert datasets.fraction_wrong(Y, D, weights, tolerance=1.0) < 0.02 and loss < 0.1  # Y = 0: 1 and 3


@pytest.mark.thorough
def test_a_network_learns_sines():
    net = RNN(1, 64, 1, random_state=0)
    *_, loss = train(net, lambda B, rng: datasets.sine_generation(B, 40, random_state=rng), 600, 3e-3)
    assert loss < 0.15  # Y = 0: 0.5
