"""Populations: each network's numbers are those it has alone, in lanes and one at a time."""

import concurrent.futures
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

import fastbptt
from fastbptt import RNN, Population, _population, fit_many, optimizers
from fastbptt._many import lanes as _lanes, population_fit as _population_fit

KINDS = [
    ({}, 0),
    ({"activation": "relu", "output_activation": "sigmoid", "loss": "binary_cross_entropy", "bias": False}, 0),
    ({"activation": "softplus", "output_activation": "softmax", "loss": "cross_entropy", "l1": 1e-3}, 0),
    ({"activation": "softplus", "output_activation": "softmax", "loss": "cross_entropy"}, "labels"),
    ({"activation": "sigmoid", "output_activation": "exp", "loss": "poisson", "reduction": "sum"}, 0),
    ({"activation": "elu", "output_activation": "tanh", "loss": ("huber", 0.3), "l2": {"W_s": 1e-2, "b_y": 1e-3}}, 0),
    ({"activation": "leaky_relu", "loss": ("quantile", (0.2, 0.8))}, 0),
    ({"activation": "softsign", "output_activation": "softmax", "learn_initial_state": True}, 0),
    ({"activation": "silu", "learn_initial_state": True}, 0),
    ({"activation": "gelu", "bias": False}, 0),
    ({"activation": "identity", "loss": "absolute_error", "learn_initial_state": True}, 0),
    ({"cell": "gru", "learn_initial_state": True}, 0),
    ({"cell": "gru", "activation": "relu", "bias": False, "output_activation": "softmax", "loss": "cross_entropy"}, "labels"),
    ({"cell": "gru", "reset_after": False, "learn_initial_state": True, "reduction": "sum"}, 0),
    ({"cell": "gru", "reset_after": False, "activation": "softsign", "bias": False, "l1": 1e-3}, 0),
    ({"cell": "lstm", "learn_initial_state": True, "forget_bias": 0.5}, 0),
    ({"output": "last"}, 0),
    ({"output": "last", "one_hot": True, "activation": "sigmoid", "output_activation": "softmax", "loss": "cross_entropy",
      "reduction": "sum"}, "labels"),
    ({"one_hot": True, "learn_initial_state": True, "l2": 1e-2}, 0),
    ({"cell": "gru", "output": "last", "one_hot": True, "loss": ("quantile", (0.2, 0.8))}, 0),
    ({"cell": "lstm", "output": "last", "learn_initial_state": True}, 0),
    ({"cell": "lstm", "activation": "softsign", "bias": False, "output_activation": "sigmoid", "l2": {"W_s": 1e-2}}, 0),
]
CELLS = [{}, {"cell": "gru"}, {"cell": "gru", "reset_after": False}, {"cell": "lstm"}]
SIZES = [(5, 7, 3, 2, 4, 2), (19, 6, 1, 3, 5, 4), (33, 1, 6, 1, 1, 2), (3, 13, 9, 5, 8, 2), (2, 5, 4, 3, 16, 6),
         (70, 3, 2, 2, 3, 2)]
TOLERANCE = {"float64": 1e-11, "float32": 3e-5}


def needs_lanes(dtype="float64"):
    if not _population.lanes(dtype):
        pytest.skip("this kernel set has no lanes")


def make(n, I, H, O, dtype="float64", seed=0, **options):
    population = Population(n, I, H, O, dtype=dtype, random_state=seed, **options)
    population.theta = np.random.default_rng(seed).standard_normal(population.theta.shape) * 0.5
    return population


def data(rng, population, T, B, own, labels=False, dtype="float64"):
    """X, D, weights, initial_state, lengths, own or shared as the flags say."""
    n, net = population.n, population[0]
    first = [(n,) if flag else () for flag in own]
    X = rng.standard_normal((*first[0], T, B, net.input_size)).astype(dtype)
    if net.one_hot:
        X = rng.integers(net.input_size, size=X.shape[:-1])
    rows = (B,) if net.output == "last" else (T, B)
    if labels:
        D = rng.integers(0, net.output_size, (*first[1], *rows))
    else:
        D = rng.random((*first[1], *rows, net.target_size)).astype(dtype)
        if net.output == "last":  # the error of a single row must not be a small difference of large numbers
            D += 10
        if net.loss == "cross_entropy":
            D /= D.sum(axis=-1, keepdims=True)
    weights = rng.integers(0, 3, (*first[2], *rows)).astype(dtype)
    initial = rng.standard_normal((*first[3], B, net._widths[0])).astype(dtype)
    lengths = rng.integers(1 if net.output == "last" else 0, T, (*first[4], B), endpoint=True)
    return X, D, weights, initial, lengths


def of(k, array, own):
    return None if array is None else array[k] if own else array


def close(found, right, dtype, what):
    scale = max(np.abs(right).max(initial=0), 1e-30)
    assert np.abs(found - right).max(initial=0) <= TOLERANCE[dtype] * max(scale, 1e-3), what


@pytest.mark.quick
@pytest.mark.share(12)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_each_network_is_what_it_is_alone(kind, dtype):
    options, labels = KINDS[kind]
    rng = np.random.default_rng(kind)
    for n, T, B, I, H, O in SIZES:
        population = make(n, I, H, O, dtype, **options)
        in_lanes = bool(_population.lanes(dtype)) and H <= _lanes.most_hidden(population[0])
        assert ("lane" in population.describe() and "at a time" not in population.describe()) == in_lanes
        for given in range(4):
            own = rng.random(5) < 0.5
            X, D, weights, initial, lengths = data(rng, population, T, B, own, labels == "labels", dtype)
            weights = weights if given & 1 else None
            initial = initial if given & 2 else None
            lengths = lengths if given >= 2 else None
            keywords = {"weights": weights, "initial_state": initial, "lengths": lengths}
            losses, gradients = population.loss_and_gradients(X, D, **keywords)
            evaluated = population.evaluate(X, D, **keywords)
            e = population.losses(X, D, initial_state=initial, lengths=lengths)
            Y, final, run = population.forward(X, initial, lengths=lengths, return_states=True)
            S = run.S
            for k in {0, n // 2, n - 1}:
                net = population[k]
                mine = {"initial_state": of(k, initial, own[3]), "lengths": of(k, lengths, own[4])}
                x, d, w = of(k, X, own[0]), of(k, D, own[1]), of(k, weights, own[2])
                loss, right = net.loss_and_gradients(x, d, weights=w, **mine, backend="reference")
                close(losses[k], np.array(loss), dtype, "loss")
                close(evaluated[k], np.array(net.evaluate(x, d, weights=w, **mine, backend="reference")), dtype, "evaluate")
                assert gradients.keys() == right.keys()
                for name, value in right.items():
                    assert gradients[name][k].shape == value.shape
                    close(gradients[name][k], value, dtype, name)
                close(e[k], net.losses(x, d, **mine, backend="reference"), dtype, "losses")
                one = net.forward(x, mine["initial_state"], lengths=mine["lengths"], return_states=True, backend="reference")
                for found, value in zip((Y[k], final[k], S[k]), (*one[:2], one[2].S)):
                    close(found, value, dtype, "forward")


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_padding_and_targets_without_weight_are_never_read(cell):
    rng = np.random.default_rng(0)
    population = make(11, 2, 3, 2, **cell)
    for own in ((1, 1, 1, 0, 1), (0, 1, 0, 0, 0), (0, 0, 1, 0, 1)):
        X, D, weights, _, lengths = data(rng, population, 6, 4, own)
        plain = population.loss_and_gradients(X, D, weights=weights, lengths=lengths)
        X, D, weights = X.copy(), D.copy(), weights.copy()
        there = np.arange(6)[:, None] < (lengths if lengths.ndim == 1 else lengths[:, None])
        if X.ndim == 4 or there.ndim == 2:
            X[..., ~there, :] = np.nan if there.ndim == 2 else X[..., ~there, :] if X.ndim == 3 else np.nan
        if D.ndim == 4 and weights.ndim == 3 and there.ndim == 3:
            D[weights * there == 0] = np.nan
        spoilt = population.loss_and_gradients(X, D, weights=weights, lengths=lengths)
        assert np.array_equal(plain[0], spoilt[0])
        assert all(np.array_equal(plain[1][name], spoilt[1][name]) for name in plain[1])


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_neighbours_lanes_and_threads_change_no_bit(dtype, cell):
    rng = np.random.default_rng(1)
    population = make(75, 3, 5, 2, dtype, **cell)
    X, D, weights, initial, lengths = data(rng, population, 9, 5, (0, 1, 1, 1, 1), dtype=dtype)
    losses, gradients = population.loss_and_gradients(X, D, weights=weights, initial_state=initial, lengths=lengths)
    again = population.loss_and_gradients(X, D, weights=weights, initial_state=initial, lengths=lengths, n_threads=2)
    assert np.array_equal(losses, again[0]) and all(np.array_equal(gradients[name], again[1][name]) for name in gradients)
    for chosen in ([74], [3, 50], list(rng.permutation(75)[:40])):
        part = Population.from_networks([population[k] for k in chosen])
        found = part.loss_and_gradients(X, D[chosen], weights=weights[chosen], initial_state=initial[chosen],
                                        lengths=lengths[chosen])
        assert np.array_equal(found[0], losses[chosen])
        assert all(np.array_equal(found[1][name], gradients[name][chosen]) for name in gradients)


@pytest.mark.parametrize("sizes, both", [((3, 5), False), ((4, 4), False), (3, True)])
def test_states_of_several_recurrences_go_in_as_they_come_out(sizes, both):
    rng = np.random.default_rng(0)
    population = Population(2, 3, sizes, 2, bidirectional=both, dtype="float64", random_state=0)
    X, D = rng.standard_normal((6, 4, 3)), rng.standard_normal((6, 4, 2))
    _, state, _ = population.forward(X, return_states=True)
    for initial in (state, tuple(each[0] for each in state), (state[0], state[1][0])):
        Y, final = population.forward(X, initial)
        e, (losses, gradients) = (method(X, D, initial_state=initial) for method in (population.losses, population.loss_and_gradients))
        population.copy().fit(X, D, initial_state=initial, epochs=1)
        for k, net in enumerate(population):
            mine = tuple(each[k] if each.ndim == 3 else each for each in initial)
            right = net.forward(X, mine)
            np.testing.assert_array_equal(Y[k], right[0])
            for found, each in zip(final, right[1], strict=True):
                np.testing.assert_array_equal(found[k], each)
            np.testing.assert_array_equal(e[k], net.losses(X, D, initial_state=mine))
            loss, of_one = net.loss_and_gradients(X, D, initial_state=mine)
            assert losses[k] == loss and all(np.array_equal(gradients[name][k], value) for name, value in of_one.items())
    for bad, error in ((state[0], TypeError), (state[:1], TypeError), ((state[0], state[1][:, :3]), ValueError)):
        with pytest.raises(error, match=r"^initial_state(\[1\])? must"):
            population.forward(X, bad)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_nan_stays_in_its_network(cell):
    population = make(9, 2, 3, 1, **cell)
    rng = np.random.default_rng(2)
    X, D = rng.standard_normal((9, 5, 2, 2)), rng.standard_normal((5, 2, 1))
    plain = population.loss_and_gradients(X, D)
    X[4, 2, 1, 0] = np.nan
    losses, gradients = population.loss_and_gradients(X, D)
    assert np.isnan(losses[4]) and np.isnan(gradients["W_x"][4]).any()
    others = np.arange(9) != 4
    assert np.array_equal(losses[others], plain[0][others])
    assert all(np.array_equal(gradients[name][others], plain[1][name][others]) for name in gradients)


OPTIMISERS = [optimizers.Adam(0.01), optimizers.AdamW(0.02, weight_decay=0.1), optimizers.RMSprop(0.01),
              optimizers.Adagrad(0.05), optimizers.SGD(0.05, momentum=0.9), optimizers.SGD(0.05, momentum=0.5, nesterov=True)]


@pytest.mark.quick
@pytest.mark.parametrize("optimizer", OPTIMISERS, ids=lambda o: type(o).__name__ + str(getattr(o, "nesterov", "")))
@pytest.mark.parametrize("batch_size", [3, 5])
def test_fit_is_fit_of_each_alone(optimizer, batch_size):
    cells = CELLS if isinstance(optimizer, optimizers.Adam) else CELLS[:1]
    for own, cell in itertools.product(((0, 1, 1, 0, 0), (1, 0, 1, 0, 1)), cells):
        rng = np.random.default_rng(3)
        population = make(6, 2, 4, 2, l2=1e-3, l1={"W_x": 1e-4}, learn_initial_state=True, **cell)
        X, D, weights, _, lengths = data(rng, population, 6, 5, own)
        rates = rng.uniform(0.005, 0.05, 6)
        alone = [population[k] for k in range(6)]
        given = {"optimizer": optimizer, "epochs": 7, "batch_size": batch_size, "max_grad_norm": 0.3, "schedule": "cosine"}
        history = population.fit(X, D, weights=weights, lengths=lengths, learning_rate=rates, **given)
        for k, net in enumerate(alone):
            mine = given | {"optimizer": dataclasses.replace(optimizer, learning_rate=rates[k])}
            right = net.fit(of(k, X, own[0]), of(k, D, own[1]), weights=of(k, weights, own[2]),
                            lengths=of(k, lengths, own[4]), random_state=population.seeds[k], **mine)
            np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(history.train_loss[k], right.train_loss, rtol=1e-9)
            np.testing.assert_allclose(history.penalty[k], right.penalty, rtol=1e-9)
            np.testing.assert_allclose(history.gradient_norm[k], right.gradient_norm, rtol=1e-9)
        assert history.stopped == ["epochs"] * 6


@pytest.mark.parametrize("batch_size", [2, 5])
@pytest.mark.parametrize("options", [{"output": "last"}, {"one_hot": True}, {"output": "last", "one_hot": True, "cell": "gru"},
                                     {"output": "last", "output_activation": "softmax", "loss": "cross_entropy"}], ids=str)
def test_fit_of_last_steps_and_of_ids_is_fit_of_each_alone(options, batch_size):
    needs_lanes()
    rng = np.random.default_rng(8)
    population = make(5, 3, 4, 2, l2=1e-3, **options)
    X, D, weights, _, lengths = data(rng, population, 6, 5, (1, 1, 1, 0, 1), "loss" in options)
    weights += 0.5
    validation = data(rng, population, 4, 3, (0, 1, 0, 0, 0), "loss" in options)
    alone = list(population)
    given = {"epochs": 9, "batch_size": batch_size, "learning_rate": 0.02, "patience": 6}
    history = population.fit(X, D, weights=weights, lengths=lengths,
                             validation=(*validation[:3], validation[4]), **given)
    assert "in groups of" in population.describe()
    for k, net in enumerate(alone):
        right = net.fit(X[k], D[k], weights=weights[k], lengths=lengths[k], random_state=population.seeds[k],
                        validation=(validation[0], validation[1][k], validation[2], validation[4]), **given)
        np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-8, atol=1e-9)
        for name in ("train_loss", "validation_loss"):
            found = getattr(history, name)[k]
            np.testing.assert_allclose(found[np.isfinite(found)], getattr(right, name), rtol=1e-8)


def test_patience_is_each_networks_own():
    rng = np.random.default_rng(4)
    population = make(8, 2, 4, 1)
    X, D = rng.standard_normal((10, 3, 2)), rng.standard_normal((8, 10, 3, 1))
    V = rng.standard_normal((10, 2, 2)), rng.standard_normal((8, 10, 2, 1))
    alone = [population[k] for k in range(8)]
    history = population.fit(X, D, validation=V, epochs=60, patience=4, learning_rate=0.02)
    ends = set()
    for k, net in enumerate(alone):
        right = net.fit(X, D[k], validation=(V[0], V[1][k]), epochs=60, patience=4, learning_rate=0.02,
                        random_state=population.seeds[k])
        assert history.stopped[k] == right.stopped and history.best_epoch[k] == right.best_epoch
        ends.add(len(right.train_loss))
        np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-8, atol=1e-9)
        for name in ("train_loss", "validation_loss"):
            found = getattr(history, name)[k]
            np.testing.assert_allclose(found[np.isfinite(found)], getattr(right, name), rtol=1e-8)
    assert len(ends) > 2  # they did end at different times
    rows = history.rows()
    assert len(rows["network"]) == 8 and list(rows["stopped"]) == history.stopped


def test_a_network_that_becomes_infinite_stops_alone():
    population = make(5, 2, 3, 1, activation="relu")
    rng = np.random.default_rng(5)
    X, D = rng.standard_normal((8, 2, 2)), rng.standard_normal((8, 2, 1))
    rates = np.array([1e-3, 1e-3, 1e160, 1e-3, 1e-3])
    twin = population.copy()
    alone = population[2]
    history = population.fit(X, D, epochs=20, learning_rate=rates, optimizer="sgd")
    assert history.stopped == ["epochs", "epochs", "nonfinite", "epochs", "epochs"]
    with pytest.raises(FloatingPointError):
        alone.fit(X, D, epochs=20, learning_rate=1e160, optimizer="sgd")
    assert len(alone.history.train_loss) == np.isfinite(history.train_loss[2]).sum() > 0
    np.testing.assert_allclose(population.theta[2], alone.theta, rtol=1e-9)
    assert np.isfinite(population.theta).all()
    twin.fit(X, D, epochs=20, learning_rate=np.full(5, 1e-3), optimizer="sgd")
    others = [0, 1, 3, 4]
    assert np.array_equal(population.theta[others], twin.theta[others])


def test_what_has_no_lanes_runs_one_at_a_time():
    rng = np.random.default_rng(6)
    wide = make(3, 2, 40, 2, l2=1e-3)
    ids = Population(3, 4, 3, 2, one_hot=True, output="last", leak=0.5, dtype="float64", random_state=1)
    for population, X, D in ((wide, rng.standard_normal((5, 2, 2)), rng.standard_normal((3, 5, 2, 2))),
                             (ids, rng.integers(0, 4, (3, 5, 2)), rng.standard_normal((2, 2)))):
        assert "one at a time" in population.describe()
        losses, gradients = population.loss_and_gradients(X, D)
        shared = X if population is wide else X[0]
        assert all(np.array_equal(y, net.forward(shared)[0]) for y, net in zip(population.forward(shared)[0], population))
        theta = population.theta
        history = population.fit(X, D, epochs=2)
        for k in range(3):
            net = population[k]
            net.theta = theta[k]
            x, d = X if population is wide else X[k], D[k] if population is wide else D
            loss, right = net.loss_and_gradients(x, d)
            assert loss == losses[k] and all(np.array_equal(right[name], gradients[name][k]) for name in right)
            found = net.fit(x, d, epochs=2, random_state=population.seeds[k])
            assert np.array_equal(net.theta, population.theta[k])
            assert found.train_loss == list(history.train_loss[k])


def test_large_batches_run_one_at_a_time():
    needs_lanes()
    rng = np.random.default_rng(11)
    population = make(3, 2, 8, 1)
    most = _lanes.most_sequences(population[0])
    assert most == 16 and f"batches of more than {most} sequences" in population.describe()
    X, D = rng.standard_normal((3, most + 1, 2)), rng.standard_normal((3, 3, most + 1, 1))
    losses, gradients = population.loss_and_gradients(X, D)
    lanes = population.loss_and_gradients(X[:, :most], D[:, :, :most])
    alone = [net.loss_and_gradients(X, d) for net, d in zip(population, D)]
    assert all(loss == right and all(np.array_equal(gradients[name][k], value) for name, value in found.items())
               for k, (loss, (right, found)) in enumerate(zip(losses, alone)))  # the bits of RNN
    close(lanes[0], np.array([net.evaluate(X[:, :most], d[:, :most]) for net, d in zip(population, D)]), "float64", "loss")
    for batch_size, in_lanes in ((most, True), (most + 1, False)):
        twin, nets = population.copy(), list(population)
        twin.fit(X, D, epochs=3, batch_size=batch_size)
        for k, net in enumerate(nets):
            net.fit(X, D[k], epochs=3, batch_size=batch_size)
            assert in_lanes or np.array_equal(net.theta, twin.theta[k])
            np.testing.assert_allclose(net.theta, twin.theta[k], rtol=1e-9, atol=1e-11)


def alone_and_together(population, X, D, V, **arguments):
    """Compare every route of a population with its networks one by one."""
    nets, dtype = list(population), population[0].dtype
    losses, gradients = population.loss_and_gradients(X, D)
    evaluated, e, Y = population.evaluate(X, D), population.losses(X, D), population.forward(X)[0]
    many = [net.copy() for net in nets]
    fits = fastbptt.fit_many(many, X, list(D), validation=(V[0], list(V[1])), **arguments)
    history = population.fit(X, D, validation=V, **arguments)
    for k, net in enumerate(nets):
        loss, right = net.loss_and_gradients(X, D[k], backend="reference")
        close(losses[k], np.array(loss), dtype, "loss")
        for name, value in right.items():
            close(gradients[name][k], value, dtype, name)
        close(evaluated[k], np.array(net.evaluate(X, D[k], backend="reference")), dtype, "evaluate")
        close(e[k], net.losses(X, D[k], backend="reference"), dtype, "losses")
        close(Y[k], net.forward(X, backend="reference")[0], dtype, "forward")
        found = net.fit(X, D[k], validation=(V[0], V[1][k]), **arguments)
        tolerance = 1e-8 if dtype == "float64" else 1e-3
        np.testing.assert_allclose(population.theta[k], net.theta, rtol=tolerance, atol=tolerance / 10)
        np.testing.assert_allclose(many[k].theta, net.theta, rtol=tolerance, atol=tolerance / 10)
        for name in ("train_loss", "validation_loss", "penalty", "gradient_norm"):
            row = np.array(getattr(found, name))
            for table in (history, fits):
                np.testing.assert_allclose(getattr(table, name)[k, :len(row)], row, rtol=tolerance, err_msg=name)
        assert history.stopped[k] == fits.stopped[k] == found.stopped
    return history


@pytest.mark.share(3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [
    {}, *CELLS[1:], {"l2": 0.05}, {"l1": 0.02, "reduction": "sum"}, {"l1": {"W_s": 0.02}, "l2": {"b_y": 0.1}},
    {"l2": [0.05, 0.0, {"W_s": 0.2}]}, {"rate_penalty": 0.1, "l2": 0.05}, {"omega": 0.1, "l1": 0.02}], ids=str)
def test_routes_agree_around_the_largest_batch_of_lanes(options, dtype):
    rng, most = np.random.default_rng(2), {"float64": 1024, "float32": 3072}[dtype] // 64
    if "cell" in options:
        most = {"float64": 4095, "float32": 12288}[dtype] // 512
    for B in (most - 1, most, most + 1):
        population = make(3, 2, 8, 1, dtype, **options)
        assert _lanes.most_sequences(population[0]) == most
        X, D = rng.standard_normal((3, B, 2)), rng.standard_normal((3, 3, B, 1))
        V = rng.standard_normal((3, 2, 2)), rng.standard_normal((3, 3, 2, 1))
        alone_and_together(population, X.astype(dtype), D.astype(dtype), V, epochs=2, batch_size=B)


@pytest.mark.share(2)
@pytest.mark.parametrize("shuffle", [True, False, "spread"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_epochs_loss_and_order_are_those_of_each_alone(reduction, shuffle):
    rng = np.random.default_rng(3)
    population = make(3, 2, 4, 1, reduction=reduction, l2=0.01)
    X, D = rng.standard_normal((5, 11, 2)), rng.standard_normal((3, 5, 11, 1))
    V = rng.standard_normal((5, 2, 2)), rng.standard_normal((3, 5, 2, 1))
    start = population.copy()
    history = alone_and_together(population, X, D, V, epochs=3, batch_size=4, shuffle=shuffle)  # batches of 4, 4 and 3
    still = start.copy().fit(X, D, epochs=1, batch_size=4, optimizer=optimizers.SGD(1e-200)).train_loss[:, 0]
    np.testing.assert_allclose(still, start.evaluate(X, D), rtol=1e-12)  # of an epoch that changes nothing
    if shuffle == "spread":
        batches = fastbptt._training.batches.order("spread", 11, 4, np.random.default_rng(0)).reshape(-1)
        assert sorted(batches) == list(range(11)) and history.stopped == ["epochs"] * 3
        plain = start.copy()
        plain.fit(X, D, epochs=3, batch_size=4)
        assert not np.allclose(plain.theta, population.theta, rtol=1e-6)


def stops(record_or_epoch, *rest):
    return (record_or_epoch if rest else record_or_epoch.epoch) == 3


@pytest.mark.share(3)
@pytest.mark.parametrize("arguments", [
    {"epochs": 4, "patience": 3}, {"epochs": 3, "patience": 3}, {"epochs": 9, "patience": 3}, {"epochs": 0, "patience": 3},
    {"epochs": 9, "patience": 3, "callbacks": stops}, {"epochs": 4, "callbacks": stops}, {"epochs": 5, "callbacks": stops},
    {"epochs": 9, "patience": 1, "callbacks": stops}, {"epochs": 1, "patience": 3, "time_limit": 1e-9},
    {"epochs": 9, "patience": 3, "callbacks": lambda *given: 1}])
def test_a_run_ends_by_the_same_word_in_lanes_and_alone(arguments):
    rng = np.random.default_rng(4)
    X, D = rng.standard_normal((5, 3, 2)), rng.standard_normal((3, 5, 3, 1))
    V = X, D + np.array([0, 10, 10])[:, None, None, None]  # the others only fall behind
    population = make(3, 2, 4, 1)
    population.parameters["b_y"][...] = [[0], [11], [11]]
    nets, plain = list(population), {name: value for name, value in arguments.items() if name != "callbacks"}
    many = [net.copy() for net in nets]
    given = {"optimizer": "sgd", "learning_rate": 0.01}
    history = population.fit(X, D, validation=V, **given, **arguments)
    fits = fastbptt.fit_many(many, X, list(D), validation=(V[0], list(V[1])), **given, **plain)
    for k, net in enumerate(nets):
        other = net.copy()
        found = net.fit(X, D[k], validation=(V[0], V[1][k]), **given, **arguments)
        assert history.stopped[k] == found.stopped
        assert fits.stopped[k] == other.fit(X, D[k], validation=(V[0], V[1][k]), **given, **plain).stopped
        np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-9)
    if arguments == {"epochs": 9, "patience": 3}:
        assert history.stopped == ["epochs", "patience", "patience"]


def test_what_is_cut_off_keeps_its_last_update_and_does_not_return_to_its_best():
    rng = np.random.default_rng(5)
    X, D = rng.standard_normal((5, 3, 2)), rng.standard_normal((3, 5, 3, 1))
    given = {"validation": (X, D), "patience": 20, "epochs": 9}
    for error, word in ((KeyboardInterrupt, "interrupted"), (ValueError, "error")):
        for hidden in (4, 20):  # in lanes, and one at a time
            def fail(epoch, population):
                if epoch == 4:
                    raise error

            population = make(3, 2, hidden, 1)
            nets = list(population)
            with pytest.raises(error):
                population.fit(X, D, **given, callbacks=fail)
            assert population.history.stopped == [word] * 3
            for k, net in enumerate(nets if hidden == 4 and _population.lanes("float64") else nets[:1]):
                with pytest.raises(error):
                    net.fit(X, D[k], **given | {"validation": (X, D[k])}, callbacks=lambda record: fail(record.epoch, None))
                np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-9)
    for hidden in (4, 20):
        population = make(3, 2, hidden, 1)
        nets, rates = list(population), [1e-3, 3.0, 1e-3]
        given |= {"optimizer": "sgd", "epochs": 400}
        V = X, np.zeros_like(D) + 1e3
        history = population.fit(X, 1e3 * D, **given | {"validation": V, "patience": 500}, learning_rate=rates)
        assert history.stopped[1] == "nonfinite"
        with pytest.raises(FloatingPointError):
            nets[1].fit(X, 1e3 * D[1], **given | {"validation": (X, V[1][1]), "patience": 500}, learning_rate=3.0)
        np.testing.assert_allclose(population.theta[1], nets[1].theta, rtol=1e-6)


def test_an_array_that_may_be_each_networks_own_or_shared_is_refused():
    rng, n = np.random.default_rng(6), 3
    population = make(n, 2, 4, n)  # n = T = B = O
    X, D, weights = rng.standard_normal((n, n, 2)), rng.standard_normal((n, n, n)), rng.uniform(0, 1, (n, n, n))
    own, shared = list(weights), np.repeat(weights[None], n, axis=0)
    calls = [lambda w: population.evaluate(X, D, weights=w),
             lambda w: population.loss_and_gradients(X, D, weights=w)[0],
             lambda w: population.copy().fit(X, D, weights=w, epochs=1).train_loss[:, 0],
             lambda w: population.copy().fit(X, D, validation=(X, D, w), epochs=1).validation_loss[:, 0],
             lambda w: fastbptt.fit_many(list(population), X, D, weights=w, epochs=1).train_loss[:, 0],
             lambda w: fastbptt.fit_many(list(population), X, D, validation=(X, D, w), epochs=1).validation_loss[:, 0]]
    for number, call in enumerate(calls):
        with pytest.raises(ValueError, match=r"weights has shape \(3, 3, 3\), which fits both \(n, T, B\) and \(") as found:
            call(weights)
        assert ("validation's weights" in str(found.value)) == (number in (3, 5))
        assert not np.allclose(call(own), call(shared))
    for k, net in enumerate(population):
        np.testing.assert_allclose(calls[0](own)[k], net.evaluate(X, D, weights=weights[k]))
        np.testing.assert_allclose(calls[0](shared)[k], net.evaluate(X, D, weights=weights))
    last = make(n, 2, 4, n, output="last")
    with pytest.raises(ValueError, match=r"weights has shape \(3, 3\), which fits both \(n, B\) and \(B, O\)"):
        last.evaluate(X, D[0], weights=weights[0])
    labelled = make(n, 2, 4, n, loss="cross_entropy", output_activation="softmax")
    labels = rng.integers(0, 2, (n, n, n))
    for call in (lambda D: labelled.evaluate(X, D),
                 lambda D: fastbptt.fit_many(list(labelled), X, D, epochs=1).train_loss[:, 0]):
        with pytest.raises(ValueError, match=r"D has shape \(3, 3, 3\), which fits both"):
            call(labels)
        np.testing.assert_allclose(call(list(labels)), [net.evaluate(X, d) for net, d in zip(labelled, labels)])
        distributions = labels.astype(float) / np.maximum(1, labels.sum(axis=2, keepdims=True))
        np.testing.assert_allclose(call(distributions), [net.evaluate(X, distributions) for net in labelled])
    right = [net.evaluate(X, labels[0], weights=w) for net, w in zip(labelled, weights)]  # it has no weights of outputs
    np.testing.assert_allclose(labelled.evaluate(X, labels[0], weights=weights), right)
    found = fastbptt.fit_many(list(labelled), X, labels[0], weights=weights, epochs=1)
    np.testing.assert_allclose(found.train_loss[:, 0], right)
    with pytest.raises(ValueError, match=r"weights must have shape \(T, B\) or \(n, T, B\) for"):
        labelled.evaluate(X[:2], labels[0, :2], weights=np.ones((2, n, n)))


def test_an_array_of_each_networks_own_need_not_have_the_shape_of_x_in_a_validation_set():
    rng, n = np.random.default_rng(7), 4
    population = make(n, 2, 4, 3, loss="cross_entropy", output_activation="softmax")
    X, labels = rng.standard_normal((6, 5, 2)), rng.integers(0, 3, (n, 6, 5))
    V = rng.standard_normal((7, 2, 2)), rng.integers(0, 3, (n, 7, 2)), rng.uniform(0, 1, (n, 7, 2))
    nets = list(population)
    fits = fastbptt.fit_many(nets, X, labels, validation=V, epochs=2)
    for k, net in enumerate(population):
        found = net.fit(X, labels[k], validation=(V[0], V[1][k], V[2][k]), epochs=2)
        np.testing.assert_allclose(fits.validation_loss[k], found.validation_loss, rtol=1e-9)
    population = make(3, 2, 4, 1)  # n = T = B, and (T, B, O) is another shape
    X, D, weights = rng.standard_normal((3, 3, 2)), rng.standard_normal((3, 3, 1)), rng.uniform(0, 1, (3, 3, 3))
    fits = fastbptt.fit_many(list(population), X, D, weights=weights, epochs=1)
    np.testing.assert_allclose(fits.train_loss[:, 0], [net.evaluate(X, D, weights=w) for net, w in zip(population, weights)])


def test_threads_may_ask_one_population_at_once():
    rng = np.random.default_rng(12)
    population = make(40, 2, 20, 1)
    X, D = rng.standard_normal((30, 8, 2)), rng.standard_normal((30, 8, 1))
    right = population.evaluate(X, D, n_threads=1)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        assert all(np.array_equal(found, right) for found in executor.map(
            lambda _: population.evaluate(X, D, n_threads=1), range(12)))


def test_maps_go_with_every_network(tmp_path):
    rng = np.random.default_rng(7)
    present = rng.random((4, 4)) < 0.6
    population = Population(3, 2, 4, 1, connectivity={"W_s": present}, dale_ratio=0.5, dtype="float64", random_state=3)
    X, D = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    losses, _ = population.loss_and_gradients(X, D)
    population.fit(X, D, epochs=2)
    population.save(tmp_path / "p.npz")
    other = fastbptt.load(tmp_path / "p.npz")
    for k, net in enumerate(other):
        assert np.array_equal(net.theta, population.theta[k]) and not net.effective_parameters()["W_s"][~present].any()
        assert losses[k] > net.evaluate(X, D)
    with pytest.raises(ValueError, match="options and dt of networks"):
        Population.from_networks([population[0], fastbptt.RNN(2, 4, 1, dtype="float64")])


def test_networks_go_in_and_come_out(tmp_path):
    population = Population(4, 2, 3, 1, random_state=7)
    alone = RNN(2, 3, 1, random_state=population.seeds[2])
    assert np.array_equal(population[2].theta, alone.theta)
    assert population.parameters["W_s"].shape == (4, 3, 3)
    population.parameters["W_s"][2, 0, 1] = 5
    assert population[2].parameters["W_s"][0, 1] == 5 and population.theta[2][population[2].theta == 5].size == 1
    population.save(tmp_path / "p.npz")
    for other in (fastbptt.load(tmp_path / "p.npz"), pickle.loads(pickle.dumps(population)), population.copy(),
                  Population.from_networks(population)):
        assert np.array_equal(other.theta, population.theta) and other.seeds == population.seeds
    assert len(list(population)) == len(population) == 4


@pytest.mark.parametrize("call, words", [
    (lambda p: p.forward(np.zeros((5, 6, 2, 2))), "must have a first axis of 4, one entry per network"),
    (lambda p: p.forward(np.zeros((6, 2, 3))), "expects input_size=2"),
    (lambda p: p.loss_and_gradients(np.zeros((6, 2, 2)), np.zeros((6, 2, 2))), r"D must have shape \(T, B, O\)"),
    (lambda p: p.loss_and_gradients(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), weights=np.ones((3, 2))), "weights must have"),
    (lambda p: p.loss_and_gradients(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), lengths=[7, 1]), "lengths must be from 0 to T"),
    (lambda p: p.fit(np.full((6, 2, 2), np.nan), np.zeros((6, 2, 1))), "X contains NaN"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.full((4, 6, 2, 1), np.inf)), "D contains infinity"),
    (lambda p: p.loss_and_gradients(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), weights=-np.ones((4, 6, 2))), "not be negative"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), patience=3), "patience requires validation"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), learning_rate=[1, 2]), "learning_rate must have shape"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), shuffle="spred"), 'shuffle, where it is not "spread"'),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), callbacks=[3]), r"callbacks must be functions of \(epoch, pop"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), progress="no"), "progress must be True or False"),
    (lambda p: p.fit(np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), schedule=lambda epoch: None), "schedule"),
    (lambda p: fastbptt.fit_many(list(p), np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), schedule=lambda epoch: None), "schedule"),
    (lambda p: fastbptt.fit_many(list(p), np.zeros((6, 2, 2)), np.zeros((6, 2, 1)), shuffle="spred"), "shuffle, where"),
    (lambda p: Population(0, 1, 1, 1), "n must be from 1"),
    (lambda p: Population(2, 1, 1, 1, random_state=[1]), "must hold 2 seeds"),
    (lambda p: Population(2, 1, 1, 1, alpha=1), "takes no alpha"),
    (lambda p: Population.from_networks([RNN(1, 1, 1), RNN(1, 2, 1)]), "options and dt of networks"),
])
def test_bad_arguments_are_named(call, words):
    population = Population(4, 2, 3, 1, random_state=0)
    before = population.theta
    with pytest.raises((TypeError, ValueError), match=words):
        call(population)
    assert np.array_equal(population.theta, before)


def test_those_that_stop_leave_their_lanes_to_others():
    rng = np.random.default_rng(8)
    n = 5 * max(1, _population.lanes("float64")) + 3
    population = make(n, 2, 3, 1, l2=[0.0] * 7 + [1e-3] * (n - 7))
    X, D = rng.standard_normal((n, 6, 2, 2)), rng.standard_normal((n, 6, 2, 1))
    weights, lengths = rng.integers(0, 3, (n, 6, 2)), rng.integers(1, 6, (n, 2), endpoint=True)
    V = X[:, ::-1].copy(), rng.standard_normal((n, 6, 2, 1)), weights
    given = {"epochs": 25, "batch_size": 1}
    rates, norms = 10 ** rng.uniform(-3, -0.5, n), rng.uniform(0.1, 2, n)
    parts, widths = [population.copy() for _ in range(2)], []
    train = _population_fit.Fit.train

    def counted(self, *arguments):
        widths.append(self.theta.shape[1])
        return train(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_population_fit.Fit, "train", counted)
        history = population.fit(X, D, weights=weights, lengths=lengths, validation=V, patience=2, learning_rate=rates,
                                 max_grad_norm=norms, **given)
        assert min(widths) < widths[0] / 2 if _population.lanes("float64") else not widths  # else nothing was left to anybody
    for k in rng.choice(n, min(n, 12), replace=False):
        alone = Population.from_networks([parts[0][k]])
        found = alone.fit(X[k], D[k], weights=weights[k], lengths=lengths[k], validation=tuple(v[k] for v in V), patience=2,
                          learning_rate=float(rates[k]), max_grad_norm=float(norms[k]), **given)
        assert np.array_equal(alone.theta[0], population.theta[k])
        assert found.stopped[0] == history.stopped[k] and found.best_epoch[0] == history.best_epoch[k]
        for name in ("train_loss", "validation_loss", "penalty", "gradient_norm"):
            right = getattr(found, name)[0]
            row = getattr(history, name)[k]
            assert np.array_equal(row[:len(right)], right, equal_nan=True) and np.isnan(row[len(right):]).all()
    if not _population.lanes("float64"):
        return
    twin = parts[1]  # a function that looks on sees all networks, whoever has left
    seen = []
    twin.fit(X, D, weights=weights, lengths=lengths, validation=V, patience=2, learning_rate=rates, max_grad_norm=norms,
             callbacks=lambda epoch, p: seen.append(p.theta), **given)
    assert np.array_equal(twin.theta, population.theta)
    stop = int(np.argmin(np.isfinite(history.train_loss).sum(axis=1)))
    last = int(np.isfinite(history.train_loss[stop]).sum())
    assert all(np.array_equal(theta[stop], seen[last - 1][stop]) for theta in seen[last:])


def test_penalties_and_clipping_are_each_networks_own(tmp_path):
    rng = np.random.default_rng(9)
    l2, l1 = [{"W_s": 0.1}, 0.0, 0.02, {"b_y": 1.0}, 0.3], [0.0, 0.1, {"W_x": 0.2}, 0.0, 0.01]
    population = make(5, 2, 3, 1, l1=l1, l2=l2)
    X, D = rng.standard_normal((6, 2, 2)), rng.standard_normal((5, 6, 2, 1))
    losses, gradients = population.loss_and_gradients(X, D)
    norms = [0.01, 0.5, 10, 0.2, 0.05]
    population.save(tmp_path / "p.npz")
    for other in (fastbptt.load(tmp_path / "p.npz"), pickle.loads(pickle.dumps(population)), population.copy()):
        assert [(net.l1, net.l2) for net in other] == list(zip(l1, l2))
    alone = list(population)
    history = population.fit(X, D, epochs=6, max_grad_norm=norms, batch_size=1)
    for k, net in enumerate(alone):
        assert (net.l1, net.l2) == (l1[k], l2[k])
        loss, right = net.loss_and_gradients(X, D[k], backend="reference")
        close(losses[k], np.array(loss), "float64", "loss")
        for name, value in right.items():
            close(gradients[name][k], value, "float64", name)
        found = net.fit(X, D[k], epochs=6, max_grad_norm=norms[k], batch_size=1)
        np.testing.assert_allclose(population.theta[k], net.theta, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(history.penalty[k], found.penalty, rtol=1e-9)
    with pytest.raises(ValueError, match="l2 must be one for all, or a list of 5, got 2"):
        make(5, 2, 3, 1, l2=[0.1, 0.2])
    with pytest.raises(ValueError, match="max_grad_norm must have shape"):
        population.fit(X, D, max_grad_norm=[1.0, 2.0])


def test_ids_are_compared_of_every_network_and_not_in_the_padding():
    population = make(3, 4, 2, 1, one_hot=True)
    X, D = np.zeros((3, 5, 2), int), np.zeros((5, 2, 1))
    lengths = np.array([5, 3])
    X[:, 3:, 1] = 99
    expected = population.evaluate(np.where(X == 99, 1, X), D, lengths=lengths)
    assert np.array_equal(population.evaluate(X, D, lengths=lengths), expected)
    X[2, 1, 1] = 4
    for method in (population.evaluate, population.losses, population.loss_and_gradients, population.fit):
        with pytest.raises(ValueError, match=r"^X has id 4 at \(t, b\) = \(1, 1\)"):
            method(X, D, lengths=lengths)
    with pytest.raises(ValueError, match="^X has id 4"):
        population.forward(X, lengths=lengths)


def test_a_network_that_reads_its_last_step_refuses_sequences_without_steps():
    population = make(3, 2, 2, 1, output="last")
    X, D = np.zeros((5, 2, 2)), np.zeros((2, 1))
    for lengths in ([0, 3], [[1, 2], [3, 4], [5, 0]]):
        with pytest.raises(ValueError, match="lengths and T must be at least 1"):
            population.evaluate(X, D, lengths=np.array(lengths))
    with pytest.raises(ValueError, match="D"):
        population.evaluate(X, np.zeros((5, 2, 1)))


def test_lanes_take_few_ids():
    needs_lanes("float32")
    assert _lanes._fits_lanes(RNN(_lanes.MOST_IDS, 3, 1, one_hot=True))
    assert not _lanes._fits_lanes(RNN(_lanes.MOST_IDS + 1, 3, 1, one_hot=True))
    assert "more than 64 ids" in Population(3, 65, 3, 1, one_hot=True).describe()


def test_an_option_that_lanes_do_not_serve_keeps_networks_out_of_them():
    net = RNN(2, 3, 1)
    assert _lanes._fits_lanes(net) and not _lanes._fits_lanes(RNN(2, (3,), 1, bidirectional=True))
    for option in ({"connectivity": {"W_s": np.ones((3, 3))}}, {"autapses": False},
                   {"trainable": {"W_x": False}}, {"dale_ratio": 0.5}, {"nonnegative": ("W_x",)}, {"bidirectional": True},
                   {"leak": 0.5}, {"leak_form": "current"}, {"noise_std": 0.1}, {"input_noise_std": 0.1},
                   {"recurrent_dropout": 0.1}, {"rate_penalty": 0.1}, {"omega": 0.1}):
        assert _lanes._options_without_lanes(RNN(2, 3, 1, **option)) == list(option)
    for later in ({"later": 0.5}, {"later": 0.0}, {"later": None}, {"later": {"W_s": 1.0}}):  # that this file does not know
        other = net.copy()
        other._config = net._config | later
        assert _lanes._fits_lanes(other) == (later == {"later": None})  # whose default would be None


def test_gated_networks_leave_lanes_where_they_are_slower_there():
    needs_lanes()
    assert "network by network" in Population(3, 2, 16, 1, cell="lstm").describe()
    found = Population(3, 2, 16, 1, cell="lstm", dtype="float64").describe()
    assert "one at a time: lanes serve up to 15 hidden units of one layer (here 16)" in found


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_steps_behind_the_end_change_no_bit(cell):
    rng = np.random.default_rng(10)
    for T in (1, 5, 64, 66, 131):
        population = make(5, 2, 3, 2, **cell)
        X, D = rng.standard_normal((T, 3, 2)), rng.standard_normal((5, T, 3, 2))
        losses, gradients = population.loss_and_gradients(X, D)
        for more in (1, 2, 3, 70):
            longer = np.concatenate([X, np.full((more, 3, 2), np.nan)])
            D_longer = np.concatenate([D, np.full((5, more, 3, 2), np.nan)], axis=1)
            found = population.loss_and_gradients(longer, D_longer, lengths=np.full(3, T))
            assert np.array_equal(found[0], losses)
            assert all(np.array_equal(found[1][name], gradients[name]) for name in gradients)


def test_targets_that_are_missing_are_named():
    population = Population(3, 2, 4, 1)
    for call in (population.loss_and_gradients, population.evaluate, population.losses):
        with pytest.raises(TypeError, match="D must be an array of numbers, got NoneType"):
            call(np.ones((4, 1, 2), "f4"), None)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype, sizes", [("float32", [1.3e-38, 1e-36, 1e36]), ("float64", [1e-306, 1e305])])
def test_weights_near_the_limits_of_their_type_lose_nothing(dtype, sizes, reduction):
    needs_lanes(dtype)
    population, rng = make(5, 3, 6, 2, dtype, reduction=reduction), np.random.default_rng(0)
    X, D = rng.standard_normal((7, 4, 3)).astype(dtype), rng.random((7, 4, 2)).astype(dtype)
    tiny = np.finfo(dtype).tiny
    for size in sizes:
        for shape in ((7, 4), (7, 4, 2), (5, 7, 4), (5, 7, 4, 2)):
            m = (rng.uniform(1, 1.5, shape) * size).astype(dtype)
            if len(m) == 5:
                m[1] = 1  # of one network they are common ones
            losses, gradients = population.loss_and_gradients(X, D, weights=m)
            assert np.array_equal(population.evaluate(X, D, weights=m), losses)
            for k in range(5):
                loss, expected = population[k].loss_and_gradients(X, D, weights=m[k] if len(m) == 5 else m,
                                                                  backend="reference")
                assert losses[k] == pytest.approx(loss, rel=1e-5 if dtype == "float32" else 1e-11)
                for name, right in expected.items():
                    atol = 4 * tiny + TOLERANCE[dtype] * np.abs(right).max()
                    np.testing.assert_allclose(gradients[name][k], right, rtol=0, atol=atol)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_lanes_learn_from_tiny_weights_what_they_learn_from_others(reduction):
    needs_lanes("float32")
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((7, 4, 3)).astype(np.float32), rng.random((7, 4, 2)).astype(np.float32)
    m, found = rng.uniform(1, 1.5, (7, 4)).astype(np.float32), []
    for factor in (1, 2.0**-90):
        population = make(5, 3, 6, 2, "float32", reduction=reduction)
        weights = m * np.float32(factor)
        # with plain gradient descent and reduction="sum" the rate makes up for the factor
        rate = 1e-3 / (1 if reduction == "mean" else factor)
        history = population.fit(X, D, weights=weights, validation=(X, D, weights), epochs=3, batch_size=2, optimizer="sgd",
                                 learning_rate=rate)
        unit = 1 if reduction == "mean" else factor
        found.append((population.theta, np.array(history.train_loss) / unit, np.array(history.validation_loss) / unit))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=2e-6)


def test_networks_with_another_time_step_are_not_of_one_population():
    """The same leak may be that of another dt, which diagnostics draws and prints."""
    networks = [RNN(2, 4, 1, dt=dt, tau=5 * dt, random_state=0) for dt in (20, 20, 10)]
    assert [net.dt for net in Population.from_networks(networks[:2])] == [20, 20]
    with pytest.raises(ValueError, match="options and dt of networks"):
        Population.from_networks(networks)
    assert [net.dt for net in fit_many(networks, np.zeros((3, 2, 2)), np.zeros((3, 2, 1)), epochs=1).networks] == [20, 20, 10]
