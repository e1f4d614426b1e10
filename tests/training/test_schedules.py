"""Schedules multiply the learning rate, epoch by epoch, as their formulas and PyTorch's schedulers say."""

import math

import numpy as np
import pytest

from fastbptt import RNN, optimizers, schedules

pytestmark = pytest.mark.quick


def factors(schedule, losses, epochs=None):
    """The factor of each epoch, where each ends with the loss given."""
    schedule, values = schedules.make(schedule), []
    carried = schedule.begin()
    for epoch, loss in enumerate(losses):
        values.append(schedule.factor(carried, epoch, epochs or len(losses)))
        carried = schedule.watch(carried, loss)
    return values


@pytest.mark.parametrize(("schedule", "formula"), [
    (None, lambda e: 1),
    ("constant", lambda e: 1),
    ("step", lambda e: 0.1 ** (e // 30)),
    (schedules.Step(every=7, gamma=0.5), lambda e: 0.5 ** (e // 7)),
    ("exponential", lambda e: 0.99**e),
    (schedules.Exponential(0.8), lambda e: 0.8**e),
    ("cosine", lambda e: (1 + math.cos(math.pi * e / 70)) / 2),
    (schedules.Cosine(length=40, minimum=0.1), lambda e: 0.1 + 0.9 * (1 + math.cos(math.pi * min(e, 40) / 40)) / 2),
    ("invscaling", lambda e: 1 / math.sqrt(1 + e)),
    (schedules.InverseScaling(0.25), lambda e: (1 + e) ** -0.25),
    (lambda e: 1 / (1 + 0.1 * e), lambda e: 1 / (1 + 0.1 * e)),
])
def test_every_schedule_is_its_formula(schedule, formula):
    np.testing.assert_allclose(factors(schedule, [1.0] * 70), [formula(e) for e in range(70)], rtol=1e-14)


def test_a_plateau_lowers_the_factor_after_more_than_patience_epochs_that_are_no_better():
    losses = [1.0, 0.9, 0.9, 0.95, 0.91, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.1]
    assert factors(schedules.Plateau(gamma=0.5, patience=2), losses) == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert factors(schedules.Plateau(gamma=0.5, patience=0, minimum=0.3), [1.0] * 5) == [1, 1, 0.5, 0.3, 0.3]


def test_a_plateau_counts_what_is_hardly_better_as_no_better():
    losses = [1.0, 0.9999, 0.9998, 0.9997]
    assert factors(schedules.Plateau(patience=0, threshold=1e-2, gamma=0.5), losses) == [1, 1, 0.5, 0.25]
    assert factors(schedules.Plateau(patience=0, threshold=0.0, gamma=0.5), losses) == [1, 1, 1, 1]


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_every_schedule_works_in_a_run_which_writes_the_rate_down(name):
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((4, 6, 2)), rng.standard_normal((4, 6, 1))
    runs = []
    for backend in ("core", "reference"):
        net = RNN(2, 3, 1, dtype="float64", random_state=0)
        history = net.fit(X, D, epochs=40, batch_size=6, learning_rate=0.01, schedule=name, backend=backend)
        assert history.learning_rate == [0.01 * f for f in factors(name, history.train_loss, 40)]
        runs.append((history.train_loss, net.theta))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-10)
    np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=1e-9, atol=1e-12)


def test_the_factor_is_what_the_optimiser_gets():
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((4, 6, 2)), rng.standard_normal((4, 6, 1))
    scheduled, by_hand = (RNN(2, 3, 1, dtype="float64", random_state=0) for _ in range(2))
    scheduled.fit(X, D, epochs=3, batch_size=6, optimizer=optimizers.SGD(0.1), schedule=lambda epoch: [1, 0.5, 0][epoch])
    for rate in (0.1, 0.05, 0.0):
        by_hand.theta = by_hand.theta - rate * np.concatenate(
            [g.ravel() for g in by_hand.loss_and_gradients(X, D)[1].values()])
    np.testing.assert_allclose(scheduled.theta, by_hand.theta, rtol=1e-13, atol=1e-15)


def test_a_plateau_watches_the_validation_loss_where_there_is_one(monkeypatch):
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((4, 6, 2)), rng.standard_normal((4, 6, 1))
    losses = iter([1.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(RNN, "evaluate", lambda *args, **kwargs: next(losses))
    history = RNN(2, 3, 1, random_state=0).fit(X, D, validation=(X, D), epochs=4, learning_rate=1.0, optimizer="sgd",
                                               schedule=schedules.Plateau(patience=0, gamma=0.5))
    assert history.learning_rate == [1, 1, 0.5, 0.25]


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: schedules.Step(every=0), ValueError, "every"),
    (lambda: schedules.Step(every=2.5), TypeError, "every"),
    (lambda: schedules.Step(gamma=0), ValueError, "gamma"),
    (lambda: schedules.Exponential(1.5), ValueError, "gamma must be at most 1"),
    (lambda: schedules.Exponential(math.nan), ValueError, "gamma"),
    (lambda: schedules.Cosine(length=-1), ValueError, "length"),
    (lambda: schedules.Cosine(minimum=2), ValueError, "minimum"),
    (lambda: schedules.InverseScaling(0), ValueError, "power"),
    (lambda: schedules.Plateau(patience=-1), ValueError, "patience"),
    (lambda: schedules.Plateau(threshold=1), ValueError, "threshold"),
    (lambda: schedules.Plateau(minimum=-1), ValueError, "minimum"),
])
def test_bad_numbers_of_a_schedule_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
