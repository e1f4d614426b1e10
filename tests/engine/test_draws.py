"""Noise of states and inputs, dropout of the recurrence: what is drawn, where it acts, and that nothing else changes it."""

import math

import numpy as np
import pytest
from cases import ALL, STEP, all_states, assert_close, flat
from leaky import B, H, I, O, T, data, network

import fastbptt
from fastbptt import RNN, reference
from fastbptt.options import units as _units
from fastbptt.estimators import RNNRegressor

NOISY = {"noise_std": 0.3, "input_noise_std": 0.2, "recurrent_dropout": 0.4}
SEEDS = {"noise": 5, "dropout": 6}
UNITS = [{"leak": 1.0, "form": "rate"}, {"leak": 0.3, "form": "rate"}, {"leak": 0.3, "form": "current"}]
every_unit = pytest.mark.parametrize("units", UNITS, ids=["plain", "rate", "current"])
both_backends = pytest.mark.parametrize("backend", ["reference", "core"])
every_network = pytest.mark.parametrize("sizes, both", [(H, False), ((5, 4), False), (4, True)])


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counter, key, words", [  # of the authors' file kat_vectors
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822, (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
])
def test_philox_gives_the_published_words(counter, key, words):
    assert tuple(int(word) for word in reference.philox(key, *counter)) == words


def test_pairs_of_words_are_the_formulas_of_box_and_muller():
    words = np.random.default_rng(0).integers(2**32, size=(2, 20000)).astype(np.uint64)
    words[:, :8] = [[0, 1, 2**32 - 1, 2**31, 0, 2**32 - 1, 2**32 - 2, 12345]] * 2
    u, angle = (words[0].astype(float) + 1) / 2**32, 2 * np.pi * (words[1].astype(float) / 2**32)
    r = np.sqrt(-2 * np.log(u))
    for found, expected in zip(reference.polar(*words), (r * np.cos(angle), r * np.sin(angle))):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-15)


def test_normal_numbers_are_standard_and_independent_of_one_another():
    z = reference.normals(reference.Draws(_units.key(3, 2), None), 0, 200, 40, 50)  # 400,000 of them
    n = z.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / n), power
    assert 4.3 < abs(z).max() < 6
    for lag in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[..., 1:], z[..., :-1]), (z[..., 2:], z[..., :-2])):
        assert abs((lag[0] * lag[1]).mean()) < 4 / math.sqrt(n)
        assert abs((lag[0]**2 * lag[1]**2).mean() - 1) < 4 * math.sqrt(8 / n)
    others = [reference.Draws(_units.key(4, 2), None), reference.Draws(_units.key(3, 3), None),
              reference.Draws(_units.key(3, 2), None, call=1)]
    for other in [reference.normals(draws, 0, 200, 40, 50) for draws in others] + [
            reference.normals(reference.Draws(_units.key(3, 2), None), 1, 200, 40, 50)]:
        assert abs((z * other).mean()) < 4 / math.sqrt(n)
    shares = [(z < x).mean() for x in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(shares, [(1 + math.erf(x / math.sqrt(2))) / 2 for x in (-2, -1, 0, 1, 2)], atol=2e-3)


def test_masks_drop_their_share_and_keep_the_mean():
    for p in (0.1, 0.5, 0.9):
        mask = reference.dropout_mask(reference.Draws(None, _units.key(1, 3)), 0, 400, 50, p)
        assert set(np.unique(mask)) == {0, 1 / (1 - p)}
        assert abs((mask == 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / mask.size)


# ---------------------------------------------------------------------------------------------------------------------
# Where it acts
# ---------------------------------------------------------------------------------------------------------------------


@every_unit
@both_backends
def test_noise_and_masks_stand_in_the_equations(units, backend):
    net = network(**units, **NOISY, learn_initial_state=True)
    X, D, _ = data(net)
    S = net.forward(X, **SEEDS, return_states=True, backend=backend)[2].S
    draws, p, leak = net._draws(5, 6), net.parameters, net.leak
    X = X + math.sqrt(2 / leak) * 0.2 * reference.normals(draws, reference.INPUT, T, B, I)
    xi, M = math.sqrt(2 * leak) * 0.3 * reference.normals(draws, 0, T, B, H), reference.dropout_mask(draws, 0, B, H, 0.4)
    state = np.tile(p["S_0"], (B, 1))
    for t in range(T):
        read = np.tanh(state) if net.leak_form == "current" else state
        A = X[t] @ p["W_x"].T + (M * read) @ p["W_s"].T + p["b_s"]
        if net.leak_form == "current":
            state = (1 - leak) * state + leak * A + xi[t]
        else:
            state = (1 - leak) * state + leak * np.tanh(A + xi[t] / leak)
        np.testing.assert_allclose(S[t + 1], state, atol=1e-13)
    np.testing.assert_array_equal(net.forward(X, backend=backend)[0], net.forward(X, backend=backend)[0])
    plain = network(**units, learn_initial_state=True)
    np.testing.assert_array_equal(net.forward(X, backend=backend)[0], plain.forward(X, backend=backend)[0])


@pytest.mark.share(12)
@every_unit
@every_network
@pytest.mark.parametrize("options", [{"learn_initial_state": True, "activation": "softplus"}, {"output": "last"}], ids=str)
def test_every_gradient_of_the_reference_is_the_complex_step(units, sizes, both, options):
    for seed in range(4) if ALL else (1,):
        net = network(**units, **NOISY, hidden_size=sizes, bidirectional=both, seed=seed, **options)
        X, D, more = data(net, seed, lengths=True, resets=True, weights=seed > 0)
        settings = {name: getattr(net, name) for name in ("output", "activation", "leak", "leak_form", *NOISY)}
        settings["draws"] = net._draws(5, 6)
        _, gradients = reference.loss_and_gradients(dict(net.parameters), X, D, **more, **settings, input_gradient=True)
        p = {name: value.astype(complex) for name, value in net.parameters.items()}
        X = X.astype(complex)
        for name, array in (p | {"X": X}).items():
            for j in np.random.default_rng(seed).permutation(array.size)[:8 if ALL else 3]:
                array.flat[j] += 1j * STEP
                derivative = reference.loss(p, X, D, **more, **settings).imag / STEP
                array.flat[j] = array.flat[j].real
                assert abs(gradients[name].flat[j] - derivative) <= 1e-13 * max(1, np.abs(gradients[name]).max()), (name, seed)


@every_unit
def test_a_leaky_unit_alone_has_the_standard_deviation_that_its_noise_is_named_by(units):
    """Whatever the leak: that is what the square root of 2 leak is for, exactly where the leak is small."""
    for leak in (0.02, 0.1):
        net = RNN(1, 1, 1, activation="identity", leak=leak, leak_form=units["form"], noise_std=0.5, dtype="float64",
                  initializer=lambda shape, rng: np.zeros(shape))
        S = net.forward(np.zeros((300, 300, 1)), return_states=True, noise=1)[2].S[150:]
        expected = 0.5 * math.sqrt(2 * leak / (1 - (1 - leak) ** 2))
        assert abs(S.std() / expected - 1) < 0.05 and abs(expected / 0.5 - 1) < 0.03


# ---------------------------------------------------------------------------------------------------------------------
# The core draws what the reference does, and nothing but seed and place matters
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("H", [1, 4, 7, 64, 65, 130])
def test_the_core_draws_the_numbers_of_the_reference_to_the_bit(H):
    """States of units without connections are their noise, and those of units with one connection their mask."""
    net = RNN(1, H, 1, activation="identity", noise_std=0.7, recurrent_dropout=0.5, dtype="float64",
              initializer=lambda shape, rng: np.zeros(shape))
    draws, X = net._draws(2, 3), np.zeros((3, 5, 1))
    S = net.forward(X, noise=2, return_states=True)[2].S
    np.testing.assert_array_equal(S[1:], math.sqrt(2) * 0.7 * reference.normals(draws, 0, 3, 5, H))
    net.parameters["W_s"] = np.eye(H)
    S = net.forward(X[:1], np.ones((5, H)), dropout=3, return_states=True)[2].S
    np.testing.assert_array_equal(S[1], reference.dropout_mask(draws, 0, 5, H, 0.5))


def operations(net, X, D, more, backend, **options):
    given = {name: value for name, value in more.items() if name != "weights"}
    asked = {"input_gradient": not net.one_hot, "initial_state_gradient": True, "backend": backend, **SEEDS, **options}
    tbptt = {"tbptt": (2, 3)} if not net.bidirectional else {}
    return dict(flat({"forward": all_states(net.forward(X, **given, **SEEDS, return_states=True, backend=backend)),
                      "losses": net.losses(X, D, **given, **SEEDS, backend=backend),
                      "evaluate": net.evaluate(X, D, **more, **SEEDS, backend=backend),
                      "loss_and_gradients": net.loss_and_gradients(X, D, **more, **asked),
                      "truncated": net.loss_and_gradients(X, D, **more, **asked, **tbptt),
                      "backward": net.backward(X, D, **given, **asked)}))


@pytest.mark.quick
@every_unit
@every_network
@pytest.mark.parametrize("seed", range(16 if ALL else 4))
def test_every_operation_of_the_core_is_the_reference_s(units, sizes, both, seed):
    flags = np.random.default_rng(seed).random(8) < 0.5
    chosen = {name: value for (name, value), on in zip(NOISY.items(), np.random.default_rng(seed + 100).random(3) < 0.8) if on}
    one_hot = bool(flags[0]) and "input_noise_std" not in chosen
    net = network(**units, **chosen, hidden_size=sizes, bidirectional=both, seed=seed, one_hot=one_hot, bias=bool(flags[1]),
                  learn_initial_state=bool(flags[2]), output="last" if flags[3] else "sequence",
                  activation=["tanh", "sigmoid", "gelu", "softsign"][seed % 4])
    X, D, more = data(net, seed, lengths=flags[4], resets=flags[5], weights=flags[6], initial_state=flags[7])
    found, truth = (operations(net, X, D, more, backend) for backend in ("core", "reference"))
    for name in truth:
        assert_close(found[name], truth[name], 1e-12, name, net)
    single = network(**units, **chosen, hidden_size=sizes, bidirectional=both, seed=seed, one_hot=one_hot, bias=bool(flags[1]),
                     learn_initial_state=bool(flags[2]), output=net.output, activation=net.activation, dtype="float32")
    X, D, more = data(single, seed, lengths=flags[4], resets=flags[5], weights=flags[6], initial_state=flags[7])
    for name, value in operations(single, X, D, more, "core").items():
        assert_close(value, truth[name], 2e-5, name, single)


@pytest.mark.share(3)
@every_unit
def test_threads_shards_memory_and_neighbours_change_no_bit(units):
    net = network(**units, **NOISY, hidden_size=33, learn_initial_state=True)
    net.parameters["W_s"] *= 0.3  # else errors grow without end over 300 steps
    engine = net._engines["core"]
    for ragged in (False, True):
        X, D, more = data(net, 1, T=150, B=19, lengths=ragged, resets=ragged)
        asked = {"input_gradient": True, "initial_state_gradient": True, **SEEDS}
        plain = None
        for work in (engine.shard_work, 1):
            engine.shard_work = work
            plain = dict(flat(net.loss_and_gradients(X, D, **more, **asked, n_threads=1)))
            for how in ({"n_threads": 2}, {"memory_limit": "auto"}):
                for name, value in flat(net.loss_and_gradients(X, D, **more, **asked, **how)):
                    np.testing.assert_array_equal(value, plain[name], err_msg=f"{name} {how}")
        truth = dict(flat(net.loss_and_gradients(X, D, **more, **asked, backend="reference")))
        for name in truth:
            assert_close(plain[name], truth[name], 1e-11, name, net)
        Y = net.forward(X, lengths=more.get("lengths"), **SEEDS)[0]
        some = {name: value[:7] if name == "lengths" else value[:, :7] for name, value in more.items()}
        fewer = net.forward(X[:, :7], lengths=some.get("lengths"), **SEEDS)[0]
        if fastbptt._core.kernel_set() != "blas":
            np.testing.assert_array_equal(fewer, Y[:, :7])


def test_seeds_are_numbers_generators_or_the_networks_own():
    net = network("rate", **NOISY)
    X, _, _ = data(net)
    Y = net.forward(X, noise=1)[0]
    np.testing.assert_array_equal(Y, net.forward(X, noise=1)[0])
    for other in (2, True, None, np.random.default_rng(0)):
        assert not np.array_equal(Y, net.forward(X, noise=other)[0])
    np.testing.assert_array_equal(*(net.forward(X, noise=np.random.default_rng(0))[0] for _ in range(2)))
    np.testing.assert_array_equal(*(net.forward(X, noise=True, dropout=True)[0] for _ in range(2)))
    assert not np.array_equal(net.forward(X, noise=1, dropout=1)[0], Y)
    with pytest.raises(TypeError, match="random_state"):
        net.forward(X, noise="loud")


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.share(6)
@every_unit
@pytest.mark.parametrize("sizes", [H, (5, 4)])
@pytest.mark.parametrize("tbptt", [None, (3, 3), (2, 5)])
def test_both_backends_train_on_the_same_noise(units, sizes, tbptt):
    nets = [network(**units, **NOISY, hidden_size=sizes, learn_initial_state=True) for _ in range(2)]
    X, D, more = data(nets[0], B=7, lengths=tbptt is None, resets=True)
    for net, backend in zip(nets, ("core", "reference")):
        net.fit(X, D, **more, epochs=3, batch_size=3, tbptt=tbptt, optimizer="sgd", learning_rate=0.1, backend=backend)
    assert_close(nets[0].theta, nets[1].theta, 1e-12, "theta", nets[0])
    silent = network(**units, hidden_size=sizes, learn_initial_state=True)
    silent.fit(X, D, **more, epochs=3, batch_size=3, tbptt=tbptt, optimizer="sgd", learning_rate=0.1)
    assert abs(silent.theta - nets[0].theta).max() > 1e-3


@every_unit
def test_training_in_compiled_code_is_that_of_single_updates_to_the_bit(units):
    nets = [network(**units, **NOISY, learn_initial_state=True) for _ in range(2)]
    X, D, more = data(nets[0], B=11, lengths=True)
    nets[0].fit(X, D, **more, epochs=4, batch_size=3)
    nets[1].fit(X, D, **more, epochs=4, batch_size=3, update_callbacks=lambda record: None)
    np.testing.assert_array_equal(nets[0].theta, nets[1].theta)


@every_unit
@both_backends
@pytest.mark.parametrize("tbptt", [None, (2, 5)])
def test_a_run_that_was_cut_off_goes_on_to_the_bit(units, backend, tbptt, tmp_path):
    nets = [network(**units, **NOISY) for _ in range(3)]
    X, D, _ = data(nets[0], B=7)
    how = {"batch_size": 3, "tbptt": tbptt, "backend": backend, "random_state": 3}
    nets[0].fit(X, D, updates=11, **how)
    nets[1].fit(X, D, updates=4, checkpoint=tmp_path / "run.npz", **how)
    nets[2].fit(X, D, updates=11, checkpoint=tmp_path / "run.npz", resume=True, **how)
    np.testing.assert_array_equal(nets[2].theta, nets[0].theta)


@every_unit
@pytest.mark.parametrize("tbptt", [(3, 3), (2, 5)])
@pytest.mark.parametrize("sizes", [H, (5, 4)])
def test_a_stream_draws_by_the_step_of_the_whole_series(units, tbptt, sizes):
    nets = [network(**units, **NOISY, hidden_size=sizes, learn_initial_state=True) for _ in range(3)]
    X, D, _ = data(nets[0], T=12)
    nets[0].fit(X, D, tbptt=tbptt, epochs=1, batch_size=B, optimizer="sgd", learning_rate=0.1, shuffle=False)
    nets[1].stream(X, D, tbptt=tbptt, optimizer="sgd", learning_rate=0.1)
    assert_close(nets[1].theta, nets[0].theta, 1e-13, "theta", nets[0])
    nets[2].stream(((X[t:t + 5], D[t:t + 5]) for t in range(0, 12, 5)), tbptt=tbptt, optimizer="sgd", learning_rate=0.1)
    np.testing.assert_array_equal(nets[2].theta, nets[1].theta)


def test_each_update_has_noise_of_its_own_and_each_sequence_its_own_wherever_it_is_shuffled():
    """With a rate of zero the parameters stay, and what differs between epochs is noise alone."""
    net = network("rate", noise_std=1.0)
    X, D, _ = data(net)
    X[:], D[:] = X[:, :1], D[:, :1]
    seen = []
    net.fit(X, D, epochs=3, batch_size=B, optimizer="sgd", learning_rate=1e-300,
            update_callbacks=lambda record: seen.append(record.train_loss))
    assert len(set(seen)) == 3
    e = net.losses(X, D, noise=1)
    assert len(np.unique(e[0])) == B


def test_single_steps_and_fresh_batches_draw_too():
    nets = [network("current", **NOISY) for _ in range(4)]
    X, D, _ = data(nets[0])
    losses = [[net.train_step(X, D, learning_rate=1e-300, optimizer="sgd") for _ in range(3)] for net in nets[:2]]
    assert losses[0] == losses[1] and len(set(losses[0])) == 3
    for net in nets[2:]:
        net.fit(batches=lambda batch_size, rng: (X, D), updates=5, batch_size=X.shape[1])
    np.testing.assert_array_equal(nets[2].theta, nets[3].theta)


def test_validation_sees_no_noise():
    net = network("rate", **NOISY)
    X, D, _ = data(net)
    net.fit(X, D, epochs=1, validation=(X, D), learning_rate=1e-300, optimizer="sgd")
    assert net.history.validation_loss[0] == pytest.approx(net.evaluate(X, D), rel=1e-12)
    assert net.history.train_loss[0] != net.history.validation_loss[0]


def test_a_network_without_noise_trains_as_before_and_seeds_do_nothing_to_it():
    net = network("rate", leak=1.0)
    X, D, _ = data(net)
    assert net._draws(1, 1) is None and net._keys(1, 1) is None
    np.testing.assert_array_equal(net.forward(X, noise=1, dropout=2)[0], net.forward(X)[0])


def test_options_go_to_files_populations_and_estimators(tmp_path):
    net = network("current", **NOISY)
    net.save(tmp_path / "net.npz")
    again = fastbptt.load(tmp_path / "net.npz")
    X, D, _ = data(net)
    np.testing.assert_array_equal(again.forward(X, noise=1)[0], net.forward(X, noise=1)[0])
    population = fastbptt.Population(2, I, 4, O, noise_std=0.1, random_state=0)
    alone = RNN(I, 4, O, noise_std=0.1, random_state=population.seeds[1])
    population.fit(X, D, epochs=2)
    alone.fit(X, D, epochs=2)
    assert "one at a time" in population.describe()
    np.testing.assert_array_equal(population[1].theta, alone.theta)
    model = RNNRegressor(4, max_iter=2, random_state=0, **NOISY).fit(np.swapaxes(X, 0, 1), np.swapaxes(D, 0, 1))
    assert {name: getattr(model.network_, name) for name in NOISY} == NOISY


@pytest.mark.parametrize("options, error, words", [
    ({"noise_std": -1}, ValueError, "noise_std must be"), ({"input_noise_std": np.inf}, ValueError, "input_noise_std must be"),
    ({"recurrent_dropout": 1}, ValueError, "recurrent_dropout must be"), ({"noise_std": "a"}, TypeError, "noise_std must be"),
], ids=str)
def test_bad_options_are_refused_in_words(options, error, words):
    with pytest.raises(error, match=words):
        RNN(I, H, O, **options)
