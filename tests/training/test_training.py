"""Training: what a run does, when it ends, and that no end of it leaves half an update behind."""

import dataclasses
import io
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from expectations import Terminal
from processes import run_python

import fastbptt
from fastbptt import RNN, optimizers
from fastbptt._training import batches as _batches, loop as _loop, progress as _progress
from fastbptt.backends.arguments import Batch, CallOptions

T, B, I, H, O = 9, 12, 3, 6, 2
BACKENDS = ["core", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
compiled = pytest.mark.skipif(not getattr(fastbptt._core, "__file__", "").endswith((".so", ".pyd")),
                              reason="the core is not the compiled one")


def network(**options):
    return RNN(I, H, O, **{"dtype": "float64", "random_state": 0, **options})


def data(seed=0):
    """A task that a small network can learn: running sums of the inputs, a fading memory of them."""
    X = np.random.default_rng(seed).standard_normal((T, B, I))
    D = np.zeros((T, B, O))
    for t in range(T):
        D[t] = 0.5 * X[t, :, :O] + (0.3 * D[t - 1] if t else 0)
    return X, D


def by_epoch(net, X, D, **options):
    """The parameters before the first epoch of a run and after each, as bytes."""
    thetas = [net.theta.tobytes()]
    net.fit(X, D, callbacks=[lambda record: thetas.append(net.theta.tobytes())], **options)
    return thetas


# ---- The run


@pytest.mark.quick
@both_backends
@pytest.mark.parametrize("optimizer", list(optimizers.OPTIMIZERS))
def test_training_lowers_the_loss(backend, optimizer):
    net, (X, D) = network(), data()
    before = net.evaluate(X, D)
    history = net.fit(X, D, epochs=40, batch_size=4, optimizer=optimizer, learning_rate=0.01, backend=backend)
    assert net.evaluate(X, D) < 0.7 * before
    assert history is net.history and history.stopped == "epochs"
    assert len(history.train_loss) == len(history.gradient_norm) == len(history.seconds) == 40
    assert history.validation_loss == [] and history.best_epoch is None
    assert history.seconds == sorted(history.seconds)


def test_both_backends_give_the_same_run_to_rounding():
    runs = []
    for backend in BACKENDS:
        net = network(learn_initial_state=True)
        history = net.fit(*data(), validation=data(1), epochs=10, batch_size=5, optimizer="adam", learning_rate=0.01,
                          max_grad_norm=0.5, backend=backend)
        runs.append((history.train_loss, history.validation_loss, history.gradient_norm, net.theta))
    for core, reference in zip(*runs):
        np.testing.assert_allclose(core, reference, rtol=1e-10, atol=1e-12)


@both_backends
def test_the_first_losses_are_those_computed_by_hand(backend):
    X, D = data()
    net, by_hand = network(), network()
    history = net.fit(X, D, epochs=3, batch_size=B, optimizer="sgd", learning_rate=0.1, shuffle=False, backend=backend)
    losses, norms = [], []
    for _ in range(3):
        loss, gradients = by_hand.loss_and_gradients(X, D, backend=backend)
        losses.append(loss)
        norms.append(np.sqrt(sum(np.sum(g**2) for g in gradients.values())))
        for name, gradient in gradients.items():
            by_hand.parameters[name] -= 0.1 * gradient
    np.testing.assert_allclose(history.train_loss, losses, rtol=1e-12)
    np.testing.assert_allclose(history.gradient_norm, norms, rtol=1e-12)
    np.testing.assert_allclose(net.theta, by_hand.theta, rtol=1e-12, atol=1e-14)


@both_backends
def test_the_same_random_state_gives_the_same_run_whatever_is_watched(backend, capsys):
    X, D = data()
    watched = [
        {},
        {"progress": True},
        {"progress": False, "callbacks": [lambda record: None]},
        {"validation": data(1)},
        {"callbacks": [lambda record: record.network.forward(X)]},
    ]
    thetas = set()
    for options in watched:
        net = network()
        net.fit(X, D, epochs=5, batch_size=5, random_state=7, backend=backend, **options)
        thetas.add(net.theta.tobytes())
    assert len(thetas) == 1
    net = network()
    net.fit(X, D, epochs=5, batch_size=5, random_state=8, backend=backend)
    assert net.theta.tobytes() not in thetas


def test_without_random_state_the_networks_own_seed_orders_the_sequences():
    X, D = data()
    runs = []
    for seed in (0, 0, 1):
        net = network(random_state=seed)
        net.theta = network().theta
        net.fit(X, D, epochs=2, batch_size=5)
        runs.append(net.theta.tobytes())
    assert runs[0] == runs[1] != runs[2]


def test_a_generator_as_random_state_moves_on():
    generator = np.random.default_rng(0)
    X, D = data()
    runs = []
    for _ in range(2):
        net = network()
        net.fit(X, D, epochs=2, batch_size=5, random_state=generator)
        runs.append(net.theta.tobytes())
    assert runs[0] != runs[1]


def _rows_of_batches(monkeypatch, net, **options):
    """The first number of each sequence in every mini-batch, as fit hands them to the network.

    With a callback an update: compiled stretches, which hand over nothing, make the same updates, as a test below says.
    """
    seen = []
    into = type(net)._loss_into

    def spy(self, gradient, batch, *rest):
        seen.append(batch.X[0, :, 0].tolist())
        return into(self, gradient, batch, *rest)

    monkeypatch.setattr(type(net), "_loss_into", spy)
    X, D = data()
    X[0, :, 0] = np.arange(B)
    net.fit(X, D, update_callbacks=lambda record: None, **options)
    monkeypatch.undo()
    return seen


def test_without_shuffling_batches_come_in_the_order_given_and_the_last_is_smaller(monkeypatch):
    batches = _rows_of_batches(monkeypatch, network(), epochs=2, batch_size=5, shuffle=False)
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]] * 2


def test_shuffling_takes_every_sequence_once_an_epoch_in_changing_order(monkeypatch):
    batches = _rows_of_batches(monkeypatch, network(), epochs=3, batch_size=5)
    assert [len(batch) for batch in batches] == [5, 5, 2] * 3
    epochs = [sum(batches[k:k + 3], []) for k in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(B)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


@both_backends
def test_min_updates_raises_the_number_of_epochs(backend):
    X, D = data()
    for options, updates in (({"epochs": 3, "min_updates": 10}, 10), ({"epochs": 3, "min_updates": 5}, 6),
                             ({"min_updates": 201}, 202), ({"epochs": 3, "updates": 12, "min_updates": 11}, 12),
                             ({"updates": 7, "min_updates": 7}, 7), ({"epochs": 2, "min_updates": 5, "batch_size": B}, 5)):
        history = network().fit(X, D, **{"batch_size": B // 2, "backend": backend, **options})
        assert history.updates == updates
    whole, net = network(), network()
    whole.fit(X, D, epochs=5, batch_size=B // 2, schedule="cosine")
    net.fit(X, D, epochs=2, min_updates=10, batch_size=B // 2, schedule="cosine")
    assert np.array_equal(net.theta, whole.theta), "the schedule sees the raised number"
    fresh = network().fit(batches=lambda n, rng: (X, D), epochs=1, updates_per_epoch=4, min_updates=6)
    assert fresh.updates == 8
    before = net.theta
    for options, error, words in (({"min_updates": 0}, ValueError, "min_updates must be from 1"),
                                  ({"min_updates": 2.0}, TypeError, "min_updates must be an int"),
                                  ({"min_updates": 9, "updates": 8}, ValueError, "min_updates must not exceed updates=8, got 9")):
        with pytest.raises(error, match=words):
            net.fit(X, D, **options)
    assert np.array_equal(net.theta, before)


def test_a_batch_larger_than_the_data_is_one_batch(monkeypatch):
    assert len(_rows_of_batches(monkeypatch, network(), epochs=2, batch_size=100)) == 2


def _both_ways(net, *data, **options):
    """The network and history of a run in compiled stretches, and of one with Python between updates."""
    runs = []
    for more in ({}, {"update_callbacks": lambda record: None}):
        copy = net.copy()
        history = copy.fit(*data, **options, **more)
        history.seconds = []
        runs.append((copy.theta.tobytes(), history))
    return runs


@pytest.mark.quick
@compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [*optimizers.OPTIMIZERS, optimizers.SGD(1e-2, momentum=0.9, nesterov=True)], ids=str)
def test_compiled_stretches_make_the_same_updates_to_the_bit(optimizer, dtype):
    X, D = data()
    rng = np.random.default_rng(3)
    weights, state = rng.uniform(0, 1, (T, B)), rng.standard_normal((B, H))
    learning_rate = None if isinstance(optimizer, optimizers.Optimizer) else 1e-2
    for options in ({}, {"weights": weights}, {"initial_state": state}, {"weights": rng.uniform(0, 1, (T, B, O))},
                    {"max_grad_norm": 0.1, "schedule": "cosine"}, {"updates": 7}, {"shuffle": False, "batch_size": 12},
                    {"batch_size": 1, "validation": 0.25, "patience": 2}, {"batch_size": 100}):
        net = network(dtype=dtype, l2={"W_s": 1e-2}, learn_initial_state="initial_state" not in options)
        compiled_run, python_run = _both_ways(net, X, D, **{"epochs": 4, "batch_size": 5, "optimizer": optimizer,
                                                             "learning_rate": learning_rate, **options})
        assert compiled_run == python_run, options


@compiled
def test_compiled_stretches_take_labels_and_sums():
    rng = np.random.default_rng(3)
    X, labels = rng.standard_normal((T, B, I)), rng.integers(3, size=(T, B))
    weights = rng.uniform(0, 1, (T, B)) * rng.integers(2, size=(T, B))
    labels[weights == 0] = -1
    for reduction in ("mean", "sum"):
        net = RNN(I, H, 3, output_activation="softmax", loss="cross_entropy", reduction=reduction, random_state=0)
        compiled_run, python_run = _both_ways(net, X, labels, weights=weights, epochs=3, batch_size=5)
        assert compiled_run == python_run


@compiled
def test_a_stretch_that_time_cuts_short_goes_on_where_it_was(monkeypatch):
    X, D = data()
    whole = network()
    whole.fit(X, D, epochs=3, batch_size=2)
    monkeypatch.setattr(_loop, "STRETCH_SECONDS", 0.0)  # one update a stretch
    cut = network()
    cut.fit(X, D, epochs=3, batch_size=2)
    assert cut.theta.tobytes() == whole.theta.tobytes()
    assert cut.history.updates == whole.history.updates == 18


@compiled
@pytest.mark.parametrize("options", [
    {}, {"schedule": "step"}, {"schedule": "exponential"}, {"schedule": fastbptt.schedules.Cosine(length=150)},
    {"schedule": "plateau"}, {"optimizer": "sgd", "shuffle": False}, {"epochs": 200, "updates": 491},
    {"epochs": None, "updates": 302}, {"shuffle": "spread", "batch_size": 1}, {"batch_size": 99}], ids=str)
def test_stretches_of_many_epochs_are_those_of_one_epoch_each(options, tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    X, D, weights = *data(), rng.uniform(0, 1, (T, B))
    options = {"weights": weights, "epochs": 150, "batch_size": 5, **options}
    one, many, cut = (network(noise_std=0.01, recurrent_dropout=0.1, l2=1e-3) for _ in range(3))
    one.fit(X, D, callbacks=[lambda record: None], **options)
    run, stretches = _loop.Stretch.run, []
    monkeypatch.setattr(_loop.Stretch, "run", lambda *given: stretches.append(given[5]) or run(*given))
    monkeypatch.setattr(_loop, "STRETCH_SECONDS", 600)  # no stretch ends by its time
    many.fit(X, D, **options)
    assert max(map(len, stretches)) == 1 if options.get("schedule") == "plateau" else len(stretches) < 50
    monkeypatch.setattr(_loop, "STRETCH_SECONDS", 5e-4)  # they end anywhere
    for end in ({"epochs": 1, "updates": None}, {"epochs": 20, "updates": None}, {}):
        cut.fit(X, D, **{**options, **end}, checkpoint=tmp_path / "run", resume=True)
    for net in (many, cut):
        assert net.theta.tobytes() == one.theta.tobytes()
        theirs, ours = (dataclasses.asdict(each.history) for each in (one, net))
        seconds = ours.pop("seconds")
        assert len(seconds) == len(theirs.pop("seconds")) and seconds == sorted(seconds)
        assert ours == theirs


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**127 + 5, 2**128, 2**200 + 17])
def test_orders_are_those_of_numpys_seed_sequence(seed):
    X, D = data()
    source = _batches.Arrays(Batch(X, D), "sequence", 5, True, entropy=seed, stream=3)
    for epoch in (0, 1, 70000, 2**32 - 1, 2**32, 2**63):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, epoch)))
        assert source.remaining(epoch, 0).tolist() == rng.permutation(B).tolist()


@both_backends
def test_the_epochs_loss_weighs_the_batches_as_the_loss_does(backend):
    X, D = data()
    weights = np.random.default_rng(5).uniform(0, 1, (T, B))
    weights[:, 7:] = 0
    for reduction in ("mean", "sum"):
        net = network(reduction=reduction)
        still = net.evaluate(X, D, weights=weights)
        history = net.fit(X, D, weights=weights, epochs=1, batch_size=5, optimizer="sgd", learning_rate=1e-15,
                          backend=backend)
        np.testing.assert_allclose(history.train_loss[0], still, rtol=1e-11)


@both_backends
def test_a_given_initial_state_follows_its_sequences_through_shuffling(backend):
    rng = np.random.default_rng(0)
    X, D, state = rng.standard_normal((T, B, I)), None, rng.standard_normal((B, H))
    teacher = network(random_state=5)
    D = teacher.forward(X, state)[0]
    net = teacher.copy()
    history = net.fit(X, D, initial_state=state, epochs=3, batch_size=5, optimizer="sgd", backend=backend)
    assert max(history.train_loss) < 1e-20  # any other row's state would give an error


@both_backends
def test_data_are_not_modified_and_not_kept(backend):
    X, D = data()
    weights, state = np.ones((T, B)), np.zeros((B, H))
    before = [A.tobytes() for A in (X, D, weights, state)]
    for A in (X, D, weights, state):
        A.flags.writeable = False
    net = network()
    net.fit(X, D, weights=weights, initial_state=state, validation=(X, D, weights), epochs=2, backend=backend)
    assert before == [A.tobytes() for A in (X, D, weights, state)]


def test_no_epochs_change_nothing():
    net = network()
    before = net.theta.tobytes()
    history = net.fit(*data(), epochs=0)
    assert net.theta.tobytes() == before
    assert history.train_loss == [] and history.stopped == "epochs"


def test_fit_goes_on_from_the_parameters_as_they_are():
    X, D = data()
    net = network()
    first = net.fit(X, D, epochs=5, optimizer="sgd", learning_rate=0.05, batch_size=B)
    second = net.fit(X, D, epochs=5, optimizer="sgd", learning_rate=0.05, batch_size=B)
    whole = network().fit(X, D, epochs=10, optimizer="sgd", learning_rate=0.05, batch_size=B)
    np.testing.assert_allclose(first.train_loss + second.train_loss, whole.train_loss, rtol=1e-9)
    assert net.history is second


# ---- Clipping


@both_backends
def test_max_grad_norm_bounds_the_step_and_keeps_its_direction(backend):
    X, D = data()
    D = 100 * D
    free, clipped = network(), network()
    start = free.theta
    options = {"epochs": 1, "batch_size": B, "optimizer": "sgd", "learning_rate": 0.01, "backend": backend}
    history = free.fit(X, D, **options)
    assert history.gradient_norm[0] > 10
    assert clipped.fit(X, D, max_grad_norm=0.5, **options).gradient_norm == history.gradient_norm  # before clipping
    long, short = free.theta - start, clipped.theta - start
    np.testing.assert_allclose(np.linalg.norm(short), 0.01 * 0.5, rtol=1e-9)
    np.testing.assert_allclose(short / np.linalg.norm(short), long / np.linalg.norm(long), atol=1e-10)


@both_backends
def test_max_grad_norm_above_the_norm_changes_nothing(backend):
    runs = []
    for limit in (None, 1e6):
        net = network()
        net.fit(*data(), epochs=3, max_grad_norm=limit, backend=backend)
        runs.append(net.theta.tobytes())
    assert runs[0] == runs[1]


# ---- Validation, early stopping, callbacks


def overfitting():
    """Few noisy sequences against many: the validation loss falls and rises again."""
    rng = np.random.default_rng(3)
    X, D = data(3)
    return (X[:, :3], D[:, :3] + 0.8 * rng.standard_normal((T, 3, O))), data(4)


@both_backends
def test_early_stopping_returns_the_parameters_of_the_best_epoch(backend):
    train, validation = overfitting()
    net, thetas = network(), []
    history = net.fit(*train, validation=validation, epochs=400, learning_rate=0.03, patience=8, backend=backend,
                      callbacks=[lambda record: thetas.append(net.theta.tobytes())])
    losses = history.validation_loss
    assert history.stopped == "patience"
    assert history.best_epoch == int(np.argmin(losses)) > 0
    assert len(losses) == len(history.train_loss) == history.best_epoch + 1 + 8
    assert net.evaluate(*validation, backend=backend) == min(losses) < losses[-1]
    assert net.theta.tobytes() == thetas[history.best_epoch] != thetas[-1]


def _patience_of(losses, patience, monkeypatch):
    """Run fit on validation losses that are given."""
    net, values = network(), iter(losses)
    monkeypatch.setattr(RNN, "evaluate", lambda *args, **kwargs: next(values))
    history = net.fit(*data(), validation=data(1), epochs=len(losses), patience=patience)
    monkeypatch.undo()
    return history


@pytest.mark.parametrize(("losses", "patience", "epochs", "best", "stopped"), [
    ([5, 4, 3, 2, 1], 1, 5, 4, "epochs"),
    ([5, 6, 4, 3], 1, 2, 0, "patience"),
    ([5, 6, 4, 4.5, 4.2, 3], 2, 5, 2, "patience"),
    ([5, 5, 5, 5, 5], 3, 4, 0, "patience"),  # equal is not lower
    ([5, 6, 7, 4, 8, 9, 10, 1], 3, 7, 3, "patience"),
    ([5, 6, 7], 3, 3, 0, "epochs"),
])
def test_patience_counts_the_epochs_since_the_lowest_loss(monkeypatch, losses, patience, epochs, best, stopped):
    history = _patience_of(losses, patience, monkeypatch)
    assert (len(history.validation_loss), history.best_epoch, history.stopped) == (epochs, best, stopped)


def test_the_best_parameters_are_kept_also_when_the_epochs_end_first():
    train, validation = overfitting()
    net = network()
    history = net.fit(*train, validation=validation, epochs=60, learning_rate=0.03, patience=1000)
    assert history.stopped == "epochs" and history.best_epoch < 59
    assert net.evaluate(*validation) == min(history.validation_loss)


def test_without_patience_validation_only_watches():
    train, validation = overfitting()
    watched, alone = network(), network()
    history = watched.fit(*train, validation=validation, epochs=60, learning_rate=0.03)
    alone.fit(*train, epochs=60, learning_rate=0.03)
    assert watched.theta.tobytes() == alone.theta.tobytes()
    assert history.best_epoch == int(np.argmin(history.validation_loss)) < 59
    assert watched.evaluate(*validation) == history.validation_loss[-1]


def test_validation_weights_weigh():
    X, D = data(1)
    weights = np.zeros((T, B))
    weights[2:4, :3] = 2
    net = network()
    history = net.fit(*data(), validation=(X, D, weights), epochs=1)
    assert history.validation_loss == [net.evaluate(X, D, weights=weights)]


@both_backends
def test_a_callback_gets_what_the_history_keeps(backend):
    records, net = [], network()
    history = net.fit(*data(), validation=data(1), epochs=4, batch_size=5, callbacks=[records.append], backend=backend)
    assert [record.epoch for record in records] == [0, 1, 2, 3]
    assert [record.update for record in records] == [3, 6, 9, 12]
    assert [record.train_loss for record in records] == history.train_loss
    assert [record.validation_loss for record in records] == history.validation_loss
    assert [record.gradient_norm for record in records] == history.gradient_norm
    assert all(record.network is net for record in records)
    net.fit(*data(), epochs=1, callbacks=[records.append], backend=backend)
    assert records[-1].validation_loss is None


def test_a_callback_that_returns_true_ends_training_after_all_have_been_called():
    calls = []
    
    def first(record):
        calls.append(("first", record.epoch))
        return record.epoch == 2

    def second(record):
        calls.append(("second", record.epoch))

    history = network().fit(*data(), epochs=10, callbacks=[first, second])
    assert history.stopped == "callback" and len(history.train_loss) == 3
    assert calls == [(name, epoch) for epoch in range(3) for name in ("first", "second")]


@pytest.mark.parametrize("value", [1, "stop", None, False, np.ones(2)])
def test_only_true_ends_training(value):
    assert network().fit(*data(), epochs=3, callbacks=[lambda record: value]).stopped == "epochs"


def test_numpys_true_ends_training_too():
    history = network().fit(*data(), epochs=3, callbacks=[lambda record: np.float64(1) > 0])
    assert history.stopped == "callback"


def test_a_callback_that_ends_training_still_returns_the_best_parameters():
    train, validation = overfitting()
    net = network()
    history = net.fit(*train, validation=validation, epochs=100, learning_rate=0.03, patience=1000,
                      callbacks=[lambda record: record.epoch == 80])
    assert history.stopped == "callback"
    assert net.evaluate(*validation) == min(history.validation_loss)


def test_an_error_in_a_callback_is_the_users_and_leaves_a_whole_update():
    net, (X, D) = network(), data()
    thetas = by_epoch(network(), X, D, epochs=4, batch_size=B)

    def fail(record):
        if record.epoch == 1:
            raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        net.fit(X, D, epochs=4, batch_size=B, callbacks=[fail])
    assert net.theta.tobytes() == thetas[2]


# ---- Interrupts


@both_backends
def test_ctrl_c_between_updates_keeps_the_last_whole_one(backend):
    X, D = data()
    thetas = by_epoch(network(), X, D, epochs=6, batch_size=B, backend=backend)
    net = network()

    def interrupt(record):
        if record.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(X, D, epochs=6, batch_size=B, callbacks=[interrupt], backend=backend)
    assert net.history.stopped == "interrupted"
    assert len(net.history.train_loss) == 4
    assert net.theta.tobytes() == thetas[4]


def test_ctrl_c_with_patience_keeps_the_last_update_and_not_the_best():
    train, validation = overfitting()
    options = {"validation": validation, "epochs": 100, "learning_rate": 0.03, "patience": 1000}
    thetas = by_epoch(network(), *train, **options)
    net = network()

    def interrupt(record):
        if record.epoch == 80:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(*train, callbacks=[interrupt], **options)
    assert net.history.best_epoch < 79
    assert net.theta.tobytes() == thetas[81]


@pytest.mark.share(2)
@pytest.mark.skipif(os.name != "posix", reason="signals of Windows reach a Python program in other ways")
@both_backends
def test_a_real_sigint_at_any_moment_leaves_a_whole_update(backend):
    X, D = data()
    options = {"batch_size": 1, "optimizer": "adam", "learning_rate": 1e-3, "shuffle": False, "backend": backend}
    # The same updates one by one, as far as they are asked for: every whole state that the run may be caught in
    replay, whole = network(), {}
    slots, gradient = optimizers.Adam().slots(replay.theta), np.empty_like(replay.theta)

    def is_whole(state, updates):
        for count in range(len(whole), updates + 1):
            if count:
                b = (count - 1) % B
                replay._loss_into(gradient, Batch(X[:, b:b + 1].copy(), D[:, b:b + 1].copy()), CallOptions(), backend)
                optimizers.Adam().update(replay._theta, gradient, slots, count, backend=backend)
            whole[replay.theta.tobytes()] = count
        return whole.get(state, -1) >= B  # the first epoch was over

    rng = np.random.default_rng(0)
    for _ in range(12):
        net, ready = network(), threading.Event()

        def interrupt(delay):
            ready.wait()
            time.sleep(delay)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt, args=(rng.uniform(0, 0.003),))
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            try:
                net.fit(X, D, epochs=10**6, callbacks=[lambda record: ready.set()], **options)
            finally:
                thread.join()
        assert net.history.stopped == "interrupted"
        assert is_whole(net.theta.tobytes(), B * (len(net.history.train_loss) + 1))


LONG_CALL = """
import signal, sys, threading, time
import numpy as np
from fastbptt import RNN

net = RNN(4, 256, 2, random_state=0)
operation = getattr(net, sys.argv[1])

def run(T):
    X, D = np.zeros((T, 16, 4), "f4"), np.zeros((T, 16, 2), "f4")
    arguments = (X,) if sys.argv[1] == "forward" else (X, D)
    start = time.perf_counter()
    operation(*arguments)
    return time.perf_counter() - start

run(200)
seconds = min(run(200) for _ in range(5)) / 200  # of a step
T = min(int(5 / seconds), 1_000_000)
before = net.theta.tobytes()
signalled, main = [], threading.main_thread().ident
threading.Timer(0.5, lambda: (signalled.append(time.perf_counter()), signal.pthread_kill(main, signal.SIGINT))).start()
try:
    run(T)
    print("finished")
except KeyboardInterrupt:
    print("interrupted", time.perf_counter() - signalled[0], T * seconds, net.theta.tobytes() == before)
"""


@pytest.mark.thorough
@compiled
@pytest.mark.skipif(os.name != "posix", reason="signals of Windows reach a Python program in other ways")
@pytest.mark.parametrize("operation", ["forward", "evaluate", "loss_and_gradients"])
def test_ctrl_c_ends_one_long_call_long_before_its_end(operation):
    result = run_python(LONG_CALL, operation, timeout=120)
    assert result.stdout.startswith("interrupted"), result.stdout + result.stderr
    _, waited, expected, unchanged = result.stdout.split()
    assert float(waited) < float(expected) / 2
    assert unchanged == "True"


# ---- Numbers that are not finite


@both_backends
def test_a_run_that_diverges_stops_with_the_parameters_before_the_bad_update(backend):
    X, D = data()
    options = {"epochs": 200, "batch_size": B, "optimizer": "sgd", "learning_rate": 1e3, "backend": backend}
    net, thetas = network(activation="relu"), []
    with pytest.raises(FloatingPointError) as caught, np.errstate(all="ignore"):
        net.fit(X, D, callbacks=[lambda record: thetas.append(net.theta.tobytes())], **options)
    message = str(caught.value)
    epoch = len(thetas)
    assert f"epoch {epoch}, batch 0 (update {epoch})" in message and "not finite" in message
    assert epoch > 0 and np.isfinite(net.theta).all()
    assert net.theta.tobytes() == thetas[-1]
    assert net.history.stopped == "nonfinite" and len(net.history.train_loss) == epoch
    assert np.isfinite(net.history.train_loss).all()


@both_backends
def test_a_divergence_within_an_epoch_names_the_update_and_not_only_the_epoch(backend):
    X, D = data()
    D[:, 7] = 1e200  # the square overflows: in the third batch of five, and nowhere else
    net = network()
    with pytest.raises(FloatingPointError, match=r"epoch 0, batch 1 \(update 1\), first bad error at time step 0"), np.errstate(all="ignore"):
        net.fit(X, D, epochs=3, batch_size=5, shuffle=False, backend=backend)
    other = network()
    other.fit(X[:, :5], D[:, :5], epochs=1, batch_size=5, shuffle=False, backend=backend)
    assert net.theta.tobytes() == other.theta.tobytes()


@both_backends
def test_an_infinite_gradient_of_a_finite_loss_stops_the_run_too(backend):
    # All states are zero, so that the outputs are; the gradient grows by 1e200 a step on its way back
    net = network(activation="identity", initializer={"W_s": ("identity", 1e200)})
    before = net.theta.tobytes()
    with pytest.raises(FloatingPointError, match=r"gradient is not finite in epoch 0, batch 0 \(update 0\), .* time step \d"):
        with np.errstate(all="ignore"):
            net.fit(np.zeros((T, B, I)), np.ones((T, B, O)), epochs=1, backend=backend)
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("optimizer", list(optimizers.OPTIMIZERS))
@both_backends
def test_no_update_makes_a_parameter_infinite(backend, optimizer):
    # The gradient is finite, the step is not: the parameters must be those before the update here too
    net = network(dtype="float32", reduction="sum")
    before = net.theta.tobytes()
    with np.errstate(all="ignore"):
        try:
            net.fit(*data(), epochs=1, batch_size=B, optimizer=optimizer, learning_rate=3e38, backend=backend)
        except FloatingPointError:
            assert net.theta.tobytes() == before
    assert np.isfinite(net.theta).all()


@both_backends
def test_nan_in_targets_of_no_weight_is_accepted_and_changes_nothing(backend):
    X, D = data()
    weights = np.ones((T, B))
    weights[3, 4], weights[:, 8] = 0, 0
    runs = []
    for value in (0.0, np.nan, np.inf):
        D[3, 4], D[:, 8] = value, value
        net = network()
        history = net.fit(X, D, weights=weights, validation=(X, D, weights), epochs=3, backend=backend)
        runs.append((net.theta.tobytes(), history.train_loss, history.validation_loss))
    assert runs[0] == runs[1] == runs[2]


@both_backends
def test_nan_in_targets_of_no_weight_for_one_output_is_accepted(backend):
    X, D = data()
    weights = np.ones((T, B, O))
    weights[3, 4, 1] = 0
    D[3, 4, 1] = np.nan
    assert np.isfinite(network().fit(X, D, weights=weights, epochs=2, backend=backend).train_loss).all()
    D[3, 4, 0] = np.nan
    with pytest.raises(ValueError, match=r"D contains NaN, first at \(t, b, o\) = \(3, 4, 0\)"):
        network().fit(X, D, weights=weights, epochs=2, backend=backend)


# ---- Progress and pictures


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # importing it now raises ImportError


@pytest.mark.quick
def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch, no_tqdm):
    monkeypatch.setattr(_progress, "DELAY", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    net = network()
    history = net.fit(*data(), validation=data(1), epochs=25)
    text = terminal.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    last = text.rsplit("\r", 1)[1]
    assert f"epoch 25/25  loss {history.train_loss[-1]:.6g}  validation {history.validation_loss[-1]:.6g}" in last


def test_a_pipe_gets_nothing_unless_it_asks(monkeypatch):
    for progress, silent in ((None, True), (False, True), (True, False)):
        pipe = io.StringIO()
        monkeypatch.setattr(sys, "stderr", pipe)
        history = network().fit(*data(), epochs=5, progress=progress)
        text = pipe.getvalue()
        assert (text == "") is silent
        assert "\r" not in text and "\x1b" not in text
        if not silent:
            assert text.endswith(f"epoch 5/5  loss {history.train_loss[-1]:.6g}\n")


def test_progress_false_is_silent_on_a_terminal_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    network().fit(*data(), epochs=3, progress=False)
    assert terminal.getvalue() == ""


def test_a_short_run_on_a_terminal_shows_nothing_unless_asked(monkeypatch, no_tqdm):
    monkeypatch.setattr(_progress, "DELAY", 3600)
    for progress, silent in ((None, True), (True, False)):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        network().fit(*data(), epochs=3, progress=progress)
        assert (terminal.getvalue() == "") is silent


def test_tqdm_draws_the_bar_where_it_is_installed(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(_progress, "DELAY", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    history = network().fit(*data(), epochs=4, batch_size=5)
    assert "12/12" in terminal.getvalue() and f"epoch 4/4  loss {history.train_loss[-1]:.6g}" in terminal.getvalue()


def test_the_line_is_ended_when_a_run_is_interrupted(monkeypatch, no_tqdm):
    monkeypatch.setattr(_progress, "DELAY", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network().fit(*data(), epochs=3, callbacks=[interrupt])
    assert terminal.getvalue().endswith("\n")


def test_a_program_without_standard_error_trains(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # pythonw, some services
    assert network().fit(*data(), epochs=2).stopped == "epochs"


def test_a_history_of_many_epochs_is_told_in_one_line():
    X, D = data()
    net = network()
    history = net.fit(X, D, validation=data(1), epochs=1000, patience=1000)
    words, best = repr(history), history.best_epoch
    assert words == (f"History(1000 epochs, 1000 updates, train_loss={history.train_loss[-1]:.6g}, validation_loss="
                     f"{history.validation_loss[-1]:.6g}, best_epoch={best} with {history.validation_loss[best]:.6g}, "
                     f"stopped='epochs', {history.seconds[-1]:.3g} s)")
    history = net.fit(X, D, epochs=1, batch_size=5)
    assert repr(history).startswith("History(1 epoch, 3 updates, train_loss=") and "validation" not in repr(history)
    assert repr(fastbptt.History()) == "History(0 epochs, 0 updates, stopped='')"
    many = fastbptt.fit_many([network(), network()], X, D, epochs=400)
    assert repr(many) == f"Fits({many.describe()}, stopped: 2 'epochs')"
    assert repr(many.history(0)).startswith("History(400 epochs, train_loss=")
    population = fastbptt.Population(3, I, H, O).fit(X, D, epochs=400)
    assert repr(population).startswith("PopulationHistory(3 networks, at most 400 epochs, stopped: 3 'epochs', ")
    assert max(map(len, map(repr, (history, many, population, fastbptt.Population(3, I, H, O).history)))) < 200


def test_a_history_gives_a_table_with_a_row_for_each_epoch():
    X, D = data()
    history = network(l2=1e-3).fit(X, D, validation=data(1), epochs=7, validation_every=3, batch_size=5)
    rows = history.rows()
    assert list(rows) == ["epoch", *history.CURVES] and rows["epoch"].tolist() == list(range(7))
    for name in history.CURVES:
        np.testing.assert_array_equal(rows[name], getattr(history, name))
    assert {len(column) for column in rows.values()} == {7} and rows["validation_loss"].dtype == np.float64
    assert "validation_loss" not in network().fit(X, D, epochs=2).rows()
    many = fastbptt.fit_many([network()], X, D, epochs=2)
    assert list(many.history(0).rows()) == ["epoch", "train_loss", "penalty", "gradient_norm"]
    assert {name: column.tolist() for name, column in fastbptt.History().rows().items()} == {"epoch": []}


@pytest.mark.quick
def test_the_history_draws_its_losses():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = network().fit(*data(), validation=data(1), epochs=5, patience=100)
    ax = history.plot()
    assert isinstance(ax, plt.Axes)
    drawn = [line.get_ydata() for line in ax.get_lines()]
    assert list(drawn[0]) == history.train_loss and list(drawn[1]) == history.validation_loss
    assert list(ax.get_lines()[0].get_xdata()) == [1, 2, 3, 4, 5]
    own = plt.subplots()[1]
    assert history.plot(own) is own
    assert history.plot(plt.subplots()[1], gradient_norm=True).figure.axes[1].lines[0].get_ydata().tolist() == history.gradient_norm
    assert network().fit(*data(), epochs=3).plot(ax=plt.subplots()[1]).get_xlabel() == "epoch"
    assert fastbptt.History().plot(plt.subplots()[1]).get_ylabel() == "loss"
    plt.close("all")


# ---- Fresh batches, single steps, limits


def fresh(batch_size, rng):
    X = rng.standard_normal((T, batch_size, I))
    return X, np.cumsum(X, axis=0)[..., :O], (rng.uniform(0, 1, (T, batch_size)) > 0.3).astype(float)


@both_backends
def test_fresh_batches_are_a_function_of_seed_and_update(backend):
    seen = []

    def spy(batch_size, rng):
        seen.append(fresh(batch_size, rng))
        return seen[-1]

    runs = []
    for validation in (None, data(1)):
        net = network()
        history = net.fit(batches=spy, updates=25, updates_per_epoch=10, batch_size=4, random_state=3, backend=backend,
                          validation=validation)
        assert history.stopped == "updates" and history.updates == 25
        assert len(history.train_loss) == 3 and len(history.validation_loss) == (3 if validation else 0)
        runs.append((net.theta.tobytes(), history.train_loss))
    assert runs[0] == runs[1]
    assert len(seen) == 50 and len({X.tobytes() for X, _, _ in seen}) == 25
    assert {X.shape for X, _, _ in seen} == {(T, 4, I)}


def test_fresh_batches_may_change_in_length_and_number_and_come_from_an_iterator():
    rng = np.random.default_rng(0)
    net = network()
    stream = ((X, X[..., :O]) for X in (rng.standard_normal((3 + n % 4, 1 + n % 5, I)) for n in range(30)))
    history = net.fit(batches=stream, epochs=3, updates_per_epoch=10)
    assert history.updates == 30 and history.stopped == "epochs" and np.isfinite(history.train_loss).all()
    with pytest.raises(ValueError, match="until the run ends, got only 2"):
        net.fit(batches=iter([fresh(2, rng)] * 2), updates=5)


@pytest.mark.parametrize(("bad", "error", "words"), [
    (lambda n, rng: 3, TypeError, "batch 0 is of type int"),
    (lambda n, rng: (np.zeros((T, n, I)),), TypeError, "tuple with 1 items"),
    (lambda n, rng: (np.zeros((T, n, I + 1)), np.zeros((T, n, O))), ValueError, "batch 0: X has 4 features"),
    (lambda n, rng: (np.zeros((T, n, I)), np.zeros((T, n, O)), -np.ones((T, n))), ValueError, "batch 0: weights"),
    (lambda n, rng: (np.full((T, n, I), np.nan), np.zeros((T, n, O))), ValueError, "batch 0: X contains NaN"),
])
def test_a_bad_batch_is_refused_by_its_number(bad, error, words):
    net = network()
    before = net.theta.tobytes()
    with pytest.raises(error, match=words):
        net.fit(batches=bad, updates=3)
    assert net.theta.tobytes() == before


@both_backends
def test_a_batch_of_another_size_than_asked_for_gets_one_warning_with_the_layout(backend):
    asked = []

    def samples_first(batch_size, rng):
        asked.append(batch_size)
        return rng.standard_normal((batch_size, 9, I)), rng.standard_normal((batch_size, 9, O))

    with pytest.warns(UserWarning) as seen:
        network().fit(batches=samples_first, updates=3, batch_size=6, backend=backend)
    words = str(seen[0].message)
    assert len(seen) == 1 and asked == [6] * 3 and seen[0].filename == __file__
    assert f"asked for 6 sequences and returned X of shape (6, 9, {I})" in words and "(T, B, I), time-major" in words
    assert "6 time steps of 9 sequences" in words and "sequences.to_time_major" in words
    with pytest.warns(UserWarning, match="9 time steps of 5 sequences$"):
        network().fit(batches=lambda size, rng: (np.zeros((9, 5, I)), np.zeros((9, 5, O))), updates=3, backend=backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().fit(batches=fresh, updates=3, batch_size=6, backend=backend)
        network().fit(batches=iter([fresh(2, np.random.default_rng(0))] * 2), updates=2, backend=backend)  # is asked for none


@pytest.mark.parametrize(("output", "name", "value", "hint"), [
    ("sequence", "D", np.zeros((12, 5, O)), "One of the two seems to be samples-first; sequences.to_time_major converts it"),
    ("sequence", "weights", np.zeros((12, 5)), "One of the two seems to be samples-first"),
    ("sequence", "resets", np.zeros((12, 5), bool), "One of the two seems to be samples-first"),
    ("sequence", "lengths", np.full(5, 12), "X seems to be samples-first; sequences.to_time_major converts it"),
    ("sequence", "initial_state", np.zeros((5, H)), "X seems to be samples-first"),
    ("last", "D", np.zeros((5, O)), "X seems to be samples-first"), ("last", "weights", np.zeros(5), "X seems to be"),
    ("sequence", "D", np.zeros((5, 12, O + 1)), ""), ("sequence", "lengths", np.full(7, 5), ""),
])
def test_what_does_not_fit_says_how_X_was_read(output, name, value, hint):
    net, X = network(output=output), np.zeros((5, 12, I))
    arguments = {"X": X, "D": np.zeros((12, O) if output == "last" else (5, 12, O)), name: value}
    for call in (net.fit, net.train_step, net.loss_and_gradients):
        with pytest.raises(ValueError, match=f"^{name} must have shape .*; X of shape .* was read as .T, B, I., time-major: 5 "
                                             f"time steps of 12 sequences(. {hint}.*)?$") as refused:
            call(**arguments)
        assert hint in str(refused.value) and ("samples-first" in str(refused.value)) == bool(hint)


def test_batches_stand_in_place_of_arrays():
    X, D = data()
    for arguments in ({}, {"X": X}, {"X": X, "D": D, "batches": fresh}, {"batches": fresh, "weights": np.ones((T, B))},
                      {"batches": fresh, "validation": 0.5}):
        with pytest.raises(TypeError, match="batches|D must be"):
            network().fit(**arguments)


@both_backends
def test_updates_bound_a_run_on_arrays_too(backend):
    X, D = data()
    net, other = network(), network()
    history = net.fit(X, D, updates=7, batch_size=4, random_state=1, backend=backend)
    assert history.stopped == "updates" and history.updates == 7 and len(history.train_loss) == 3
    thetas = []
    other.fit(X, D, epochs=3, batch_size=4, random_state=1, backend=backend,
              update_callbacks=[lambda record: thetas.append(other.theta.tobytes())])
    assert net.theta.tobytes() == thetas[6]


@both_backends
@pytest.mark.parametrize("optimizer", ["adam", "sgd", optimizers.SGD(0.01, momentum=0.9)])
def test_single_steps_are_the_updates_of_fit(backend, optimizer):
    X, D = data()
    net, other = network(l2=1e-3), network(l2=1e-3)
    losses = []
    other.fit(X, D, epochs=6, batch_size=B, shuffle=False, optimizer=optimizer, max_grad_norm=0.5, backend=backend,
              update_callbacks=[lambda record: losses.append(record.train_loss)])
    steps = [net.train_step(X, D, optimizer, max_grad_norm=0.5, backend=backend) for _ in range(6)]
    assert steps == losses and net.theta.tobytes() == other.theta.tobytes()


def test_another_kind_of_optimiser_starts_anew_and_a_new_rate_goes_on():
    X, D = data()
    net, other = network(), network()
    for rate in (0.1, 0.01):
        net.train_step(X, D, optimizers.Adam(rate))
    other.train_step(X, D, optimizers.Adam(0.1))
    other.train_step(X, D, "sgd")
    state = net._stepper
    assert state.count == 2 and other._stepper.count == 1
    net.copy().train_step(X, D)
    assert state.count == 2


@both_backends
def test_a_step_that_is_not_finite_changes_nothing(backend):
    X, D = data()
    D[3, 2] = 1e200
    net = network()
    net.train_step(*data(), backend=backend)
    before, count = net.theta.tobytes(), net._stepper.count
    with pytest.raises(FloatingPointError, match="step 1, first bad error at time step 3"), np.errstate(all="ignore"):
        net.train_step(X, D, backend=backend)
    assert net.theta.tobytes() == before and net._stepper.count == count


@both_backends
def test_bad_batches_are_passed_over_where_that_is_wanted(backend):
    X, D = data()
    D[:, 7] = 1e200
    net, other = network(), network()
    with np.errstate(all="ignore"):
        history = net.fit(X, D, epochs=2, batch_size=4, shuffle=False, on_nonfinite="skip", backend=backend)
    assert history.skipped == 2 and history.updates == 4 and np.isfinite(history.train_loss).all()
    good = [*range(4), *range(8, 12)]
    other.fit(X[:, good], D[:, good], epochs=2, batch_size=4, shuffle=False, backend=backend)
    assert net.theta.tobytes() == other.theta.tobytes()


def test_a_run_of_bad_batches_alone_ends():
    X, D = data()
    net = network()
    before = net.theta.tobytes()
    with np.errstate(all="ignore"):
        history = net.fit(X, D * 1e200, epochs=3, batch_size=4, on_nonfinite="skip")
    assert history.skipped == 9 and history.updates == 0 and np.isnan(history.train_loss).all()
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("label", [-1, 99])
def test_a_divergence_is_named_whatever_label_stands_where_no_weight_is(label):
    X = np.full((4, 2, 2), 3e38)
    D, weights = np.zeros((4, 2), int), np.ones((4, 2))
    D[1, 0], weights[1, 0] = label, 0
    net = RNN(2, 3, 3, activation="relu", loss="cross_entropy", output_activation="softmax", random_state=0)
    for train in (lambda: net.fit(X, D, weights=weights), lambda: net.train_step(X, D, weights=weights)):
        with pytest.raises(FloatingPointError, match="not finite in .*, first bad"):
            train()


@pytest.mark.quick
def test_the_first_bad_state_is_named():
    X, D = data()
    net = network(activation="relu", initializer={"W_s": ("identity", 1e60), "W_x": "glorot_uniform"})
    with pytest.raises(FloatingPointError, match="first bad state at time step 6, first bad gradient that of W_"):
        with np.errstate(all="ignore"):
            net.fit(np.abs(X), D, epochs=1)


def test_a_time_limit_ends_the_run_with_a_whole_update(monkeypatch):
    clock = iter(range(10000))
    monkeypatch.setattr(_loop.time, "monotonic", lambda: next(clock))
    history = network().fit(*data(), epochs=1000, batch_size=4, time_limit=60)
    assert history.stopped == "time" and 0 < history.updates < 100
    assert len(history.train_loss) == -(-history.updates // 3)


def test_update_callbacks_get_every_update_and_end_the_run():
    records = []
    history = network().fit(*data(), epochs=5, batch_size=4,
                            update_callbacks=[records.append, lambda record: record.update == 8])
    assert [record.update for record in records] == list(range(1, 9)) and history.stopped == "callback"
    assert [record.epoch for record in records] == [0] * 3 + [1] * 3 + [2] * 2
    np.testing.assert_allclose(np.mean([record.train_loss for record in records[:3]]), history.train_loss[0])
    assert len(history.train_loss) == 3 and history.updates == 8


def test_a_share_of_the_sequences_is_held_out_and_never_trained_on(monkeypatch):
    seen, judged = [], []
    into, evaluate = RNN._loss_into, RNN.evaluate

    def spy(self, gradient, batch, *rest):
        seen.extend(batch.X[0, :, 0].tolist())
        return into(self, gradient, batch, *rest)

    def watch(self, X, *rest, **options):
        judged.append(X[0, :, 0].tolist())
        return evaluate(self, X, *rest, **options)

    monkeypatch.setattr(RNN, "_loss_into", spy)
    monkeypatch.setattr(RNN, "evaluate", watch)
    X, D = data()
    X[0, :, 0] = np.arange(B)
    history = network().fit(X, D, weights=np.ones((T, B)), epochs=4, validation=0.25, batch_size=4,
                            update_callbacks=lambda record: None)
    assert len(history.validation_loss) == 4 and judged == [judged[0]] * 4 and len(judged[0]) == 3
    assert set(seen) == set(range(B)) - set(judged[0])
    network(random_state=1).fit(X, D, epochs=1, validation=0.25)
    assert judged[-1] != judged[0]


def test_validation_now_and_then_leaves_gaps_and_changes_no_run():
    X, D = data()
    runs = []
    for every in (1, 3):
        net = network()
        runs.append((net.fit(X, D, validation=data(1), validation_every=every, epochs=7, batch_size=4), net.theta.tobytes()))
    (each, theta), (third, theta_3) = runs
    assert theta == theta_3 and each.train_loss == third.train_loss
    given = [2, 5, 6]  # and after the last
    assert [third.validation_loss[n] for n in given] == [each.validation_loss[n] for n in given]
    assert np.isnan([third.validation_loss[n] for n in range(7) if n not in given]).all()


def test_an_improvement_that_is_too_small_does_not_count_for_patience_but_is_kept(monkeypatch):
    losses = iter([1.0, 0.99, 0.98, 0.97, 0.96])
    monkeypatch.setattr(RNN, "evaluate", lambda *args, **kwargs: next(losses))
    history = network().fit(*data(), validation=data(1), patience=2, min_improvement=0.1, epochs=20)
    assert history.stopped == "patience" and len(history.validation_loss) == 3 and history.best_epoch == 2


@dataclasses.dataclass(frozen=True)
class SignedMomentum(optimizers.Optimizer):
    """θ ← θ − η sign(v), v ← β v + (1 − β) g: a rule that is not the package's."""

    beta: float = 0.9

    def slots(self, theta):
        return [np.zeros_like(theta)]

    def update(self, theta, gradient, slots, count, learning_rate):
        slots[0][...] = self.beta * slots[0] + (1 - self.beta) * gradient
        theta -= learning_rate * np.sign(slots[0])


@both_backends
def test_a_rule_of_ones_own_trains(backend):
    X, D = data()
    net = network()
    before = net.evaluate(X, D)
    history = net.fit(X, D, epochs=60, optimizer=SignedMomentum(3e-3), schedule="exponential", backend=backend)
    assert net.evaluate(X, D) < 0.7 * before and history.updates == 60
    hand, v = network(), 0.0
    for epoch in range(60):
        g = np.concatenate([value.ravel() for value in hand.loss_and_gradients(X, D, backend=backend)[1].values()])
        v = 0.9 * v + 0.1 * g
        hand.theta = hand.theta - 3e-3 * 0.99**epoch * np.sign(v)
    np.testing.assert_allclose(history.train_loss[-1], hand.evaluate(X, D), rtol=0.2)


def test_a_rule_of_ones_own_that_copies_the_packages_gives_the_same_run():
    @dataclasses.dataclass(frozen=True)
    class Plain(optimizers.Optimizer):
        def update(self, theta, gradient, slots, count, learning_rate):
            theta -= learning_rate * gradient

    X, D = data()
    runs = []
    for optimizer in (Plain(0.1), optimizers.SGD(0.1)):
        net = network()
        net.fit(X, D, epochs=10, batch_size=5, optimizer=optimizer)
        runs.append(net.theta)
    np.testing.assert_allclose(*runs, rtol=1e-13)


def test_the_base_of_rules_is_no_rule():
    with pytest.raises(TypeError, match="Optimizer is only the base class of rules"):
        optimizers.Optimizer()
