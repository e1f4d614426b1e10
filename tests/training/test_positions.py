"""Random streams: each call goes on where the last completed update ended, and nothing else moves them."""

import concurrent.futures
import json
import pickle

import numpy as np
import pytest
from ranks import run as run_ranks, share

import fastbptt
from fastbptt import RNN, Population, RNNClassifier, RNNRegressor, _files, fit_many, optimizers

T, B, I, O = 6, 11, 3, 2
SGD = optimizers.SGD(0.05)  # carries nothing, so two runs can equal one
NOISY = {"noise_std": 0.1, "input_noise_std": 0.05, "recurrent_dropout": 0.2}
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])


def network(**options):
    return RNN(I, options.pop("hidden_size", 4), O, **{"dtype": "float64", "random_state": 0} | options)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


def fresh(batch_size, rng):
    return rng.standard_normal((T, batch_size, I)), rng.standard_normal((T, batch_size, O))


def spy(seen, function=fresh):
    def batches(batch_size, rng):
        seen.append(function(batch_size, rng))
        return seen[-1]
    return batches


def interrupt_at(update):
    def callback(record):
        if record.update == update:
            raise KeyboardInterrupt
    return callback


# name: options of RNN, arguments of fit for one of two equal parts of a run
RUNS = {
    "arrays": ({}, {"epochs": 4, "batch_size": 4}),
    "an order of its own": ({}, {"epochs": 4, "batch_size": 4, "shuffle": "spread"}),
    "noise": (NOISY, {"epochs": 4, "batch_size": 4}),
    "noise, update by update": (NOISY, {"epochs": 4, "batch_size": 4, "update_callbacks": lambda record: None}),
    "layers": (NOISY | {"hidden_size": (4, 3)}, {"epochs": 4, "batch_size": 4}),
    "windows": (NOISY, {"epochs": 3, "batch_size": 4, "tbptt": (2, 3)}),
    "fresh batches": (NOISY, {"batches": fresh, "updates": 6, "updates_per_epoch": 3, "batch_size": 4}),
}


@pytest.mark.share(4)
@both_backends
@pytest.mark.parametrize("name", RUNS)
def test_two_runs_are_one_of_twice_the_length(name, backend, tmp_path):
    """Orders, fresh batches, noise and dropout all go on; copies and files go on as the network itself does."""
    options, half = RUNS[name]
    arguments = {"optimizer": SGD, "backend": backend} | ({} if "batches" in half else dict(zip("XD", data())))
    whole, net = network(**options), network(**options)
    twice = {key: 2 * value if key in ("epochs", "updates") else value for key, value in half.items()}
    whole.fit(**arguments, **twice)
    net.fit(**arguments, **half)
    net.save(tmp_path / "net.npz")
    others = [net.copy(), pickle.loads(pickle.dumps(net)), fastbptt.load(tmp_path / "net.npz")]
    replayed = net.copy()
    replayed.stream_positions = dict.fromkeys(replayed.stream_positions, 0)
    for each in (net, *others, replayed):
        each.fit(**arguments, **half)
    for each in (net, *others):
        assert each.theta.tobytes() == whole.theta.tobytes() and each.stream_positions == whole.stream_positions
    assert replayed.theta.tobytes() != whole.theta.tobytes()


@both_backends
def test_every_fit_is_given_fresh_batches_also_after_an_interrupt(backend):
    seen, whole = [], []
    net = network(**NOISY)
    network().fit(batches=spy(whole), updates=12, batch_size=2)
    arguments = {"batches": spy(seen), "batch_size": 2, "backend": backend}
    net.fit(updates=3, updates_per_epoch=2, **arguments)
    with pytest.raises(KeyboardInterrupt):
        net.fit(updates=5, updates_per_epoch=3, update_callbacks=interrupt_at(4), **arguments)
    assert net.stream_positions == {"shuffling": 0, "batches": 7, "noise": 7}
    net.fit(updates=5, **arguments)
    assert len(seen) == 12
    for ours, expected in zip(seen, whole):
        np.testing.assert_array_equal(ours[0], expected[0])


def test_a_batch_that_made_no_update_comes_again():
    seen = []

    def failing(batch_size, rng):
        X, D = fresh(batch_size, rng)
        seen.append(X)
        if len(seen) == 3:
            raise RuntimeError("no disk")
        return X, D

    net = network()
    with pytest.raises(RuntimeError, match="no disk"):
        net.fit(batches=failing, updates=5)
    assert net.history.updates == 2 and net.stream_positions["batches"] == 2
    net.fit(batches=failing, updates=1)
    np.testing.assert_array_equal(seen[3], seen[2])


def test_an_order_that_was_begun_does_not_come_again():
    X, D = data()
    net = network()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, D, batch_size=4, epochs=3, update_callbacks=interrupt_at(4))  # in the second epoch
    assert net.stream_positions["shuffling"] == 2
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, D, batch_size=4, epochs=3, callbacks=interrupt_at(3))         # between the first and the second
    assert net.stream_positions["shuffling"] == 3
    net.fit(X, D, batch_size=4, updates=7)                                       # ends in the third epoch
    assert net.stream_positions["shuffling"] == 6
    with pytest.raises(FloatingPointError):
        net.fit(X, 1e200 * D, batch_size=4)
    assert net.stream_positions == {"shuffling": 7, "batches": 0, "noise": 0}


@both_backends
def test_the_noise_of_a_mini_batch_that_was_cut_off_between_windows_does_not_come_again(backend):
    net = network(**NOISY)
    with pytest.raises(KeyboardInterrupt):  # in the second mini-batch of three windows
        net.fit(*data(), batch_size=4, tbptt=(2, 3), update_callbacks=interrupt_at(4), backend=backend)
    assert net.stream_positions == {"shuffling": 1, "batches": 0, "noise": 2}


def test_what_trains_nothing_moves_no_stream():
    net = network(**NOISY, output_activation="identity")
    X, D = data()
    net.fit(X, D, epochs=2, batch_size=4)
    net.fit(batches=fresh, updates=3)
    before = net.stream_positions
    assert before == {"shuffling": 2, "batches": 3, "noise": 9}
    net.forward(X, noise=True, dropout=True)
    net.losses(X, D, noise=True)
    net.evaluate(X, D, noise=True)
    net.loss_and_gradients(X, D, noise=True, dropout=3)
    net.backward(X, D, noise=True)
    net.load_state_dict(net.state_dict())
    bad = X.copy()
    bad[1, 2, 0] = np.nan
    for refused in (lambda: net.fit(bad, D), lambda: net.fit(X, D[:, :-1]), lambda: net.fit(X, D, validation=(bad, D)),
                    lambda: net.fit(X, D, epochs=-1), lambda: net.fit(X, D, batch_size=0), lambda: net.train_step(X, D[1:]),
                    lambda: net.fit(batches=lambda n, rng: (X, bad), updates=1), lambda: net.fit(X, D, random_state="a"),
                    lambda: net.stream(bad, D, tbptt=(2, 2)), lambda: net.train_step(1e200 * X, 1e200 * D)):
        with pytest.raises((TypeError, ValueError, FloatingPointError)):
            refused()
    net.fit(X, D, epochs=0)
    assert net.stream_positions == before


def test_every_fit_splits_off_the_same_share():
    X, D = data()
    net, judged = network(), []
    evaluate = net.evaluate
    net.evaluate = lambda X, D, **more: judged.append(X.copy()) or evaluate(X, D, **more)
    for _ in range(3):
        net.fit(X, D, epochs=2, batch_size=4, validation=0.3)
    assert len(judged) == 6 and len({X.tobytes() for X in judged}) == 1
    assert net.stream_positions["shuffling"] == 6


@both_backends
def test_a_seed_starts_a_run_at_the_beginning_of_its_streams(backend):
    X, D = data()
    arguments = {"X": X, "D": D, "epochs": 3, "batch_size": 4, "optimizer": SGD, "backend": backend}
    net, start = network(**NOISY), network().theta
    runs = []
    for seed in (5, 5, None, 6, None, 0, None):
        net.theta = start
        net.fit(**arguments, random_state=seed)
        runs.append(net.theta.tobytes())
    assert runs[0] == runs[1] and len(set(runs)) == 5
    assert runs[5] == runs[2]  # 0 is the network's own seed, whose streams had been used further
    assert net.stream_positions == {"shuffling": 9, "batches": 0, "noise": 27}
    other = network(**NOISY)
    other.fit(**arguments, random_state=0)  # now its own streams have been used too
    assert other.stream_positions == {"shuffling": 3, "batches": 0, "noise": 9}


def test_positions_can_be_looked_at_and_changed():
    net = network()
    net.stream_positions = {"noise": np.int64(3)}
    assert net.stream_positions == {"shuffling": 0, "batches": 0, "noise": 3}
    net.stream_positions["noise"] = 9  # a copy
    assert net.stream_positions["noise"] == 3
    for bad, error, words in (({"nois": 1}, ValueError, "unknown stream of stream_positions 'nois'; did you mean 'noise'"),
                              ({"noise": -1}, ValueError, r"stream_positions\['noise'\] must be from 0"),
                              ({"noise": 1.0}, TypeError, "must be an int"), ([1], TypeError, "must be a dict of ints")):
        with pytest.raises(error, match=words):
            net.stream_positions = bad
    assert net.stream_positions["noise"] == 3


def rewritten(path, change):
    header, arrays = _files.read(path)
    change(header)
    _files.write(path, {name: value for name, value in header.items() if name not in ("format", "version")}, arrays)


def test_files_of_before_start_at_position_zero_and_damaged_ones_are_refused(tmp_path):
    net, path = network(), tmp_path / "net.npz"
    net.fit(*data(), epochs=2)
    assert net.stream_positions["shuffling"] == 2
    net.save(path)
    rewritten(path, lambda header: header.pop("positions"))
    assert fastbptt.load(path).stream_positions == dict.fromkeys(net.stream_positions, 0)
    for bad in ({"shuffling": -1}, {"noise": 0.5}, {"noise": True}, 3, [1, 2], {"batches": 2**63}):
        net.save(path)
        rewritten(path, lambda header: header.update(positions=bad))
        with pytest.raises(ValueError, match="not a model"):
            fastbptt.load(path)
    state = net.__getstate__()
    del state["positions"]  # as pickled before
    other = RNN.__new__(RNN)
    other.__setstate__(state)
    assert other.stream_positions["shuffling"] == 0


# ---- Checkpoints


@pytest.mark.share(4)
@both_backends
@pytest.mark.parametrize("name", RUNS)
def test_a_second_run_that_is_resumed_equals_the_uninterrupted_one(name, backend, tmp_path):
    """In another process, where the network's own positions are zero; and the run after it too."""
    options, arguments = RUNS[name]
    arguments = arguments | {"backend": backend} | ({} if "batches" in arguments else dict(zip("XD", data())))
    path, whole, net = tmp_path / "run.npz", network(**options), network(**options)
    for each in (whole, net):
        each.fit(**arguments)
    begun = whole.stream_positions
    for updates in (4, 5):
        with pytest.raises(KeyboardInterrupt):
            net.copy().fit(**arguments | {"update_callbacks": interrupt_at(updates)}, checkpoint=path)
        resumed = network(**options)
        resumed.theta = net.theta
        resumed.fit(**arguments, checkpoint=path, resume=True)
        if updates == 4:
            whole.fit(**arguments)
            after = whole.stream_positions
            assert after == {name: 2 * count for name, count in begun.items()}
        assert resumed.theta.tobytes() == whole.theta.tobytes() and resumed.stream_positions == after
        assert fastbptt.load(path).stream_positions == after
    whole.fit(**arguments)
    resumed.fit(**arguments)
    assert resumed.theta.tobytes() == whole.theta.tobytes()


@pytest.mark.parametrize("seed", [None, 5])
def test_a_resumed_run_leaves_the_networks_own_positions_where_the_uninterrupted_one_does(seed, tmp_path):
    """Also where the run draws from another seed, and where the network that resumes it had gone further."""
    path, net = tmp_path / "run.npz", network(**NOISY)
    arguments = {**dict(zip("XD", data())), "batch_size": 4}
    net.fit(**arguments, epochs=2)
    start, further = net.theta, net.copy()
    further.stream_positions = {"shuffling": 50, "noise": 99}
    arguments |= {"epochs": 3, "random_state": seed}
    with pytest.raises(KeyboardInterrupt):
        net.copy().fit(**arguments, checkpoint=path, update_callbacks=interrupt_at(4))
    net.fit(**arguments)
    assert net.stream_positions["shuffling"] == (5 if seed is None else 2)
    for resumed in (network(**NOISY), further):
        resumed.theta = fastbptt.load(path).theta if resumed is further and seed is None else start
        resumed.fit(**arguments, checkpoint=path, resume=True)
        assert resumed.theta.tobytes() == net.theta.tobytes() and resumed.stream_positions == net.stream_positions


def test_a_checkpoint_of_before_began_at_position_zero(tmp_path):
    path, whole, net = tmp_path / "run.npz", network(**NOISY), network(**NOISY)
    arguments = {**dict(zip("XD", data())), "epochs": 3, "batch_size": 4}
    whole.fit(**arguments)
    with pytest.raises(KeyboardInterrupt):
        net.fit(**arguments, checkpoint=path, update_callbacks=interrupt_at(4))

    def change(header):
        header.pop("positions")
        header["run"].pop("begin")

    rewritten(path, change)
    resumed = network(**NOISY)
    resumed.fit(**arguments, checkpoint=path, resume=True)
    assert resumed.theta.tobytes() == whole.theta.tobytes() and resumed.stream_positions == whole.stream_positions
    rewritten(path, lambda header: header["run"].update(begin={"noise": -1}))
    with pytest.raises(ValueError, match="damaged checkpoint: the position of noise must be"):
        network(**NOISY).fit(**arguments, checkpoint=path, resume=True)


def test_a_callback_finds_the_positions_of_its_update(tmp_path):
    net, seen = network(**NOISY), []

    def watch(record):
        record.network.save(tmp_path / "net.npz")
        seen.append((record.network.stream_positions, fastbptt.load(tmp_path / "net.npz").stream_positions))

    net.fit(*data(), epochs=2, batch_size=4, callbacks=watch)
    net.fit(*data(), updates=2, batch_size=4, update_callbacks=watch)
    counts = [(1, 3), (2, 6), (3, 7), (3, 8)]
    assert seen == [2 * ({"shuffling": order, "batches": 0, "noise": noise},) for order, noise in counts]


# ---- Single steps and streams


@both_backends
def test_single_steps_go_on_after_a_fit_and_with_another_optimizer(backend):
    X, D = data()
    whole, net = network(**NOISY), network(**NOISY)
    arguments = {"batch_size": B, "shuffle": False, "optimizer": SGD, "backend": backend}
    whole.fit(X, D, epochs=9, **arguments)
    net.fit(X, D, epochs=3, **arguments)
    for _ in range(2):
        net.train_step(X, D, SGD, backend=backend)
    net = net.copy()
    net.train_step(X, D, SGD, backend=backend)
    theta = net.theta
    net.train_step(X, D, "adam", backend=backend)
    net.theta = theta
    net.stream_positions = {"noise": 6}
    net.train_step(X, D, SGD, backend=backend)  # the optimiser of another kind starts anew, the noise does not
    net.fit(X, D, epochs=2, **arguments)
    assert net.theta.tobytes() == whole.theta.tobytes() and net.stream_positions["noise"] == 9


@both_backends
@pytest.mark.parametrize("sizes", [4, (4, 3)])
def test_each_stream_has_noise_of_its_own(sizes, backend):
    X, D = data()
    arguments = {"tbptt": (2, 3), "optimizer": optimizers.SGD(1e-300), "backend": backend}  # the parameters stay
    net = network(**NOISY, hidden_size=sizes)
    losses = [net.stream(X, D, **arguments).loss for _ in range(3)]
    assert len({tuple(each) for each in losses}) == 3 and net.stream_positions["noise"] == 3
    assert network(**NOISY, hidden_size=sizes).stream(X, D, **arguments).loss == losses[0]
    again = network(**NOISY, hidden_size=sizes)
    again.stream_positions = {"noise": 2}
    assert again.stream(((X[t:t + 4], D[t:t + 4]) for t in (0, 4)), **arguments).loss == losses[2]
    with pytest.raises(KeyboardInterrupt):
        net.stream(X, D, **arguments, callback=interrupt_at(2))
    assert net.stream_positions["noise"] == 4
    assert network(hidden_size=sizes).stream(X, D, **arguments).loss != losses[0]


# ---- Estimators


def rows(*arrays):
    return [np.swapaxes(array, 0, 1) for array in arrays]


def test_fit_of_an_estimator_starts_anew_and_partial_fit_and_warm_start_go_on(tmp_path):
    X, y = rows(*data())
    options = {"hidden_size": 4, "max_iter": 2, "batch_size": 4, "solver": "sgd", "momentum": 0.0, "random_state": 0,
               "learning_rate": "constant", **NOISY}
    model = RNNRegressor(**options).fit(X, y)
    first = model.network_.theta
    assert np.array_equal(model.fit(X, y).network_.theta, first) and model.network_.stream_positions["shuffling"] == 2
    whole = RNNRegressor(**options | {"max_iter": 6}).fit(X, y).network_
    warm = RNNRegressor(**options, warm_start=True).fit(X, y).fit(X, y).fit(X, y)
    assert np.array_equal(warm.network_.theta, whole.theta) and warm.network_.stream_positions == whole.stream_positions
    model.save(tmp_path / "model.npz")
    for each in (model, fastbptt.load(tmp_path / "model.npz")):
        for _ in range(4):
            each.partial_fit(X, y)
        assert np.array_equal(each.network_.theta, whole.theta) and each.network_.stream_positions == whole.stream_positions
    anew = RNNRegressor(**options)
    for _ in range(6):
        anew.partial_fit(X, y)
    assert np.array_equal(anew.network_.theta, whole.theta)


def test_a_warm_start_keeps_its_split():
    X, y = rows(*data())
    model = RNNRegressor(4, max_iter=2, batch_size=4, early_stopping=True, validation_fraction=0.3, warm_start=True,
                         random_state=0)
    seen = []
    split = model._split_off_validation
    model._split_off_validation = lambda data, entropy: seen.append(split(data, entropy)) or seen[-1]
    for _ in range(3):
        model.fit(X, y)
    assert len({held[0].tobytes() for _, held in seen}) == 1


# ---- Many networks


@pytest.mark.share(3)
@pytest.mark.parametrize("kind", [{}, NOISY, {"hidden_size": (3, 2)}], ids=["lanes", "noise", "layers"])
def test_each_network_of_a_population_goes_on_as_it_would_alone(kind, tmp_path):
    n, rng = 9, np.random.default_rng(0)
    X, D = rng.standard_normal((n, T, B, I)), rng.standard_normal((n, T, B, O))
    options = {"dtype": "float64", "random_state": list(range(n)), **kind}
    population = Population(n, I, options.pop("hidden_size", 3), O, **options)
    alone = list(population)
    arguments = {"batch_size": 4, "optimizer": SGD}
    V = X[:, :, :3], D[:, :, :3]
    for epochs in (2, 3):
        population.fit(X, D, epochs=epochs, **arguments)
        for k, net in enumerate(alone):
            net.fit(X[k], D[k], epochs=epochs, **arguments)
    population.fit(X, D, epochs=12, patience=1, validation=V, learning_rate=0.3, batch_size=4)
    for k, net in enumerate(alone):
        net.fit(X[k], D[k], epochs=12, patience=1, validation=(V[0][k], V[1][k]), learning_rate=0.3, batch_size=4)
    assert len({net.stream_positions["shuffling"] for net in alone}) > 1
    population.save(tmp_path / "p.npz")
    for each in (population, population.copy(), pickle.loads(pickle.dumps(population)), fastbptt.load(tmp_path / "p.npz")):
        each.fit(X, D, epochs=2, **arguments)
        for k, net in enumerate(alone):
            if each is population:
                net.fit(X[k], D[k], epochs=2, **arguments)
            assert each[k].stream_positions == net.stream_positions
            np.testing.assert_allclose(each[k].theta, net.theta, rtol=0, atol=1e-12 * abs(net.theta).max())


@pytest.mark.share(3)
@pytest.mark.parametrize("kind", [{}, NOISY, {"hidden_size": (3, 2)}], ids=["lanes", "noise", "layers"])
def test_a_seed_starts_a_run_of_a_population_at_the_beginning_of_its_streams(kind):
    n, own = 9, list(range(9))
    X, D = data()
    options = {"dtype": "float64", "random_state": own, **kind}
    population = Population(n, I, options.pop("hidden_size", 3), O, **options)
    alone, start = list(population), population.theta
    arguments = {"batch_size": 4, "optimizer": SGD, "epochs": 2}
    drawn = Population(n, I, 1, O, random_state=5).seeds
    part = [*own[:4], *range(100, 105)]  # the first four are the networks' own
    for given, seeds in ((5, drawn), (None, [None] * n), (5, drawn), (part, part), (np.array(part), part), (None, [None] * n),
                         (np.random.default_rng(3), Population(n, I, 1, O, random_state=np.random.default_rng(3)).seeds)):
        population.theta = start
        population.fit(X, D, random_state=given, **arguments)
        for k, net in enumerate(alone):
            net.theta = start[k]
            net.fit(X, D, random_state=seeds[k], **arguments)
            np.testing.assert_allclose(population[k].theta, net.theta, rtol=0, atol=1e-12 * abs(net.theta).max())
        assert population.stream_positions == [net.stream_positions for net in alone]
    assert {each["shuffling"] for each in population.stream_positions} == {4}
    ends = []
    for _ in range(2):
        population.theta = start
        population.fit(X, D, random_state=7, **arguments)
        ends.append(population.theta.tobytes())
    assert ends[0] == ends[1]
    before = population.theta
    for bad, error, words in (([1] * 8, ValueError, "random_state must hold 9 seeds, got 8"),
                              (-1, ValueError, "must not be neg"), ([*own[:8], "a"], TypeError, r"random_state\[8\] must be"), ("a", TypeError, "random_state must be")):
        with pytest.raises(error, match=words):
            population.fit(X, D, random_state=bad)
    assert np.array_equal(population.theta, before)


@pytest.mark.parametrize("kind", [{}, NOISY], ids=["lanes", "noise"])
def test_min_updates_of_a_population_and_of_fit_many_is_that_of_each_alone(kind):
    X, D = data()
    arguments = {"epochs": 2, "batch_size": 4, "schedule": "cosine"}
    population = Population(5, I, 3, O, dtype="float64", random_state=list(range(5)), **kind)
    alone, together, sized = (list(population) for _ in range(3))
    for least in (2, 11, None):
        history = population.fit(X, D, min_updates=least, **arguments)
        # Networks with data of several sizes have different numbers of epochs
        fits = fit_many(together, [X[:, :4 + k] for k in range(5)], [D[:, :4 + k] for k in range(5)], min_updates=least, **arguments)
        for k, net in enumerate(alone):
            sized[k].fit(X[:, :4 + k], D[:, :4 + k], min_updates=least, **arguments)
            np.testing.assert_allclose(together[k].theta, sized[k].theta, rtol=0, atol=1e-12 * abs(sized[k].theta).max())
            assert len(fits.history(k).train_loss) == len(sized[k].history.train_loss)
            net.fit(X, D, min_updates=least, **arguments)
            np.testing.assert_allclose(population[k].theta, net.theta, rtol=0, atol=1e-12 * abs(net.theta).max())
        assert history.train_loss.shape == (5, len(net.history.train_loss))
    fresh = [network(random_state=k) for k in range(2)]
    fit_many(fresh, batches=batches_by_name, epochs=1, updates_per_epoch=4, min_updates=6)
    assert [net.stream_positions["batches"] for net in fresh] == [8, 8]
    for run, more in ((population.fit, {}), (lambda *data, **more: fit_many(together, *data, **more), {"updates": 8})):
        for bad, error, words in ((0, ValueError, "min_updates must be from 1"), (2.0, TypeError, "min_updates must be an int"),
                                  *([(9, ValueError, "min_updates must not exceed updates=8, got 9")] if more else [])):
            with pytest.raises(error, match=words):
                run(X, D, min_updates=bad, **more)


def test_positions_of_a_population_can_be_looked_at_and_changed(tmp_path):
    population = Population(3, I, 3, O, random_state=0)
    zero = {"shuffling": 0, "batches": 0, "noise": 0}
    assert population.stream_positions == [zero] * 3
    population.stream_positions = [{"noise": 1}, {}, {"shuffling": np.int64(2)}]
    after = [zero | {"noise": 1}, zero, zero | {"shuffling": 2}]
    assert population.stream_positions == after == [net.stream_positions for net in population]
    population.stream_positions[0]["noise"] = 9  # a copy
    for bad, error, words in (
            ({"nois": 1}, ValueError, "unknown stream of stream_positions 'nois'; did you mean 'noise'"),
            ([{}, {"noise": 4}, {"noise": -1}], ValueError, r"stream_positions\[2\]\['noise'\] must be from 0"),
            ([{}, {"noise": 4}, 3], TypeError, r"stream_positions\[2\] must be a dict of ints, got int"),
            ([{}], ValueError, "must be a dict, or a list of 3 dicts, got a list of 1"),
            (3, TypeError, "must be a dict, or a list of 3 dicts, got int")):
        with pytest.raises(error, match=words):
            population.stream_positions = bad
        assert population.stream_positions == after
    population.save(tmp_path / "p.npz")
    assert fastbptt.load(tmp_path / "p.npz").stream_positions == after
    population.stream_positions = {"shuffling": 5}
    assert [each["shuffling"] for each in population.stream_positions] == [5, 5, 5]


def test_a_population_file_of_before_starts_at_position_zero(tmp_path):
    population, path = Population(2, I, 3, O, random_state=0), tmp_path / "p.npz"
    population.fit(*data(), epochs=2)
    population.save(path)
    rewritten(path, lambda header: header.pop("positions_of_each"))
    assert [net.stream_positions["shuffling"] for net in fastbptt.load(path)] == [0, 0]
    rewritten(path, lambda header: header.update(positions_of_each=[{}]))
    with pytest.raises(ValueError, match="positions of the streams of 1 networks, for 2"):
        fastbptt.load(path)


def test_a_network_that_blew_up_in_a_lane_goes_on_as_it_would_alone():
    X, D = (np.stack([array] * 4) for array in data())
    D[2] *= 1e200
    D[3, :, 4] *= 1e200  # one sequence, so that it fails within the first epoch
    population = Population(4, I, 3, O, dtype="float64", random_state=0)
    alone = list(population)
    for _ in range(2):
        population.fit(X, D, epochs=3, batch_size=2)
        for k, net in enumerate(alone):
            try:
                net.fit(X[k], D[k], epochs=3, batch_size=2)
            except FloatingPointError:
                assert k > 1
            assert population[k].stream_positions == net.stream_positions
    assert [net.stream_positions["shuffling"] for net in alone] == [6, 6, 2, 2]


def batches_by_name(batch_size, rng):
    return fresh(batch_size, rng)


@pytest.mark.share(2)
@pytest.mark.parametrize("given", ["arrays", "batches"])
def test_fit_many_goes_on_as_each_network_does_alone(given, tmp_path):
    def make():
        return [network(hidden_size=3 + k % 2, random_state=k, **(NOISY if k % 3 == 0 else {})) for k in range(18)]

    nets, alone, anew = make(), make(), make()
    rest = {"batches": batches_by_name, "updates": 5} if given == "batches" else {**dict(zip("XD", data())), "epochs": 2}
    rest |= {"optimizer": SGD, "batch_size": 4}
    for round in range(3):
        path = tmp_path / f"{round}.npz"
        fits = fit_many(nets, **rest, checkpoint=path)
        for net in alone:
            net.fit(**rest)
        fit_many(anew, **rest, checkpoint=path, resume=True)  # takes over what has ended
        for ours, expected, taken in zip(nets, alone, anew):
            assert ours.stream_positions == expected.stream_positions == taken.stream_positions
            np.testing.assert_allclose(ours.theta, expected.theta, rtol=0, atol=1e-12 * abs(expected.theta).max())
    assert fits.lanes.any() == (given == "arrays" and "lane" in Population(1, I, 3, O, dtype="float64").describe())
    before = [net.stream_positions for net in nets]
    fit_many(nets, **rest, random_state=list(range(100, 118)))
    assert [net.stream_positions for net in nets] == before
    for k, net in enumerate(alone):
        net.fit(**rest, random_state=100 + k)
        np.testing.assert_allclose(nets[k].theta, net.theta, rtol=0, atol=1e-12 * abs(net.theta).max())


class Elsewhere(concurrent.futures.Executor):
    """Work as another process does it: what goes there and what comes back is pickled."""

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        return future


def test_positions_go_to_workers_and_come_back():
    nets, alone = ([network(hidden_size=3, random_state=k, **(NOISY if k < 2 else {})) for k in range(12)] for _ in range(2))
    X, D = data()
    for _ in range(2):
        fit_many(nets, X, D, epochs=2, batch_size=4, optimizer=SGD, executor=Elsewhere(), chunk_size=4)
        for net in alone:
            net.fit(X, D, epochs=2, batch_size=4, optimizer=SGD)
    for ours, expected in zip(nets, alone):
        assert ours.stream_positions == expected.stream_positions
        np.testing.assert_allclose(ours.theta, expected.theta, rtol=0, atol=1e-12 * abs(expected.theta).max())


def test_fit_many_of_estimators_that_start_warm_goes_on():
    X, y = rows(*data())
    labels = np.arange(B) % 3
    for make, target in ((lambda k: RNNRegressor(3, max_iter=2, batch_size=4, warm_start=True, random_state=k), y),
                         (lambda k: RNNClassifier(3, max_iter=2, batch_size=4, warm_start=True, random_state=k), labels)):
        models, alone = ([make(k) for k in range(9)] for _ in range(2))
        for _ in range(2):
            fit_many(models, X, target)
            for each in alone:
                each.fit(X, target)
        for ours, expected in zip(models, alone):
            assert ours.network_.stream_positions == expected.network_.stream_positions
            assert ours.network_.stream_positions["shuffling"] == 4
            np.testing.assert_allclose(ours.network_.theta, expected.network_.theta, rtol=0, atol=3e-5)


# ---- Ranks


def test_the_positions_of_rank_0_count(tmp_path):
    """Whatever the others have used: their networks go on as rank 0's does."""
    X, D = data()
    whole = network(**NOISY)
    arguments = {"epochs": 3, "batch_size": 4, "optimizer": SGD}
    whole.fit(X, D, **arguments)
    part = [whole.copy(), network(random_state=7, **NOISY)]
    part[1].fit(X, D, epochs=40)  # further than rank 0, which counts all the same
    whole.fit(X, D, **arguments)
    path = tmp_path / "run.npz"

    def fit(comm, **more):
        mine = share(2, comm.rank, B)
        part[comm.rank].fit(X[:, mine], D[:, mine], **arguments, **more, communicator=comm)

    def check(outcomes):
        assert outcomes == [None, None]
        for net in part:
            assert net.stream_positions == whole.stream_positions
            np.testing.assert_allclose(net.theta, whole.theta, rtol=0, atol=1e-9 * abs(whole.theta).max())

    check(run_ranks(2, fit)[0])
    start = whole.copy()
    whole.fit(X, D, **arguments)
    outcomes, _ = run_ranks(2, lambda comm: fit(comm, checkpoint=path, update_callbacks=interrupt_at(4)))
    assert [type(each) for each in outcomes] == [KeyboardInterrupt] * 2
    part = [network(**NOISY), network(random_state=7, **NOISY)]  # as after a new start
    for net in part:
        net.theta = start.theta
    check(run_ranks(2, lambda comm: fit(comm, checkpoint=path, resume=True))[0])
    positions = json.loads(json.dumps(_files.read(path)[0]["positions"]))
    assert positions == whole.stream_positions
