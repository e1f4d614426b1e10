"""Separate and trained leaks of units: what users see of them, and what they change elsewhere.

test_kinds.py compares core and reference with every other option, tests/reference/test_leaks.py the reference with complex steps.
"""

import copy
import pickle

import numpy as np
import pytest
from leaky import B, H, I, O, T, data, network
from ranks import run

import fastbptt
from fastbptt import _core, RNN, diagnostics, reference
from fastbptt.estimators import RNNRegressor

LEAKS = np.linspace(0.1, 0.9, H)
TRAINED = {"leak": True}
every_form = pytest.mark.parametrize("form", ["rate", "current"])
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


# ---------------------------------------------------------------------------------------------------------------------
# What a leak may be
# ---------------------------------------------------------------------------------------------------------------------


@every_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options, n", [({}, 4), ({}, 1), ({"recurrent_dropout": 0.3}, 4), ({"activation": "silu"}, 1)])
def test_equal_leaks_have_the_bits_of_one_leak(form, dtype, options, n):
    one, each = (network(form, leak=leak, dtype=dtype, **options) for leak in (0.3, np.full(H, 0.3)))
    X, D, _ = data(one, B=n)
    for a, b in zip(one.forward(X, dropout=1), each.forward(X, dropout=1)):
        assert (a == b).all()
    (E, first), (F, second) = (net.loss_and_gradients(X, D, dropout=1) for net in (one, each))
    assert E == F and all((first[name] == second[name]).all() for name in first)


@every_form
@pytest.mark.parametrize("given, more", [
    ({"leak": list(LEAKS)}, {}), ({"leak": tuple(LEAKS)}, {}), ({"tau": 1 / LEAKS, "dt": 1}, {}),
    ({"leak": LEAKS}, {"hidden_size": (H, H)}), ({"leak": (LEAKS, LEAKS)}, {"hidden_size": (H, H)}),
    ({"tau": (1 / LEAKS, tuple(1 / LEAKS)), "dt": 1}, {"hidden_size": (H, H)})])
def test_ways_to_give_the_leak_of_each_unit(form, given, more):
    if isinstance(given.get("tau"), tuple) and isinstance(given["tau"][1], tuple):
        given = given | {"tau": (given["tau"][0], list(given["tau"][1]))}
    net = RNN(I, **{"hidden_size": H, "output_size": O, "leak_form": form} | given | more)
    leaks = net.unit_leaks if more else (net.unit_leaks,)
    assert all(np.allclose(each, LEAKS, rtol=1e-15) and each.dtype == np.float64 for each in leaks)
    assert net.dt == given.get("dt")


def test_the_leaks_of_layers_and_directions():
    net = RNN(I, (4, 5), O, leak=(0.2, np.linspace(0.3, 0.7, 5)), bidirectional=True, trainable=TRAINED)
    assert [each.shape for each in net.unit_leaks] == [(4,), (4,), (5,), (5,)]
    assert np.allclose(net.unit_leaks[0], 0.2) and np.allclose(net.unit_leaks[3], np.linspace(0.3, 0.7, 5))
    assert list(net.parameters) == [
        name + suffix for suffix in ("", "_reverse", "_l1", "_l1_reverse") for name in ("W_x", "W_s", "b_s", "leak_logit")
    ] + ["W_y", "b_y"]
    assert (RNN(I, H, O).unit_leaks == 1).all()
    assert list(RNN(I, H, O, leak=0.5, trainable=TRAINED, learn_initial_state=True).parameters) == [
        "W_x", "W_s", "b_s", "leak_logit", "W_y", "b_y", "S_0"]


@pytest.mark.parametrize("options, error, words", [
    ({"leak": [0.5] * 3}, ValueError, r"leak must be a number or have shape \(H,\) = \(6,\), got \(3,\)"),
    ({"leak": np.ones((H, 1))}, ValueError, r"leak must be a number or have shape \(H,\), got \(6, 1\)"),
    ({"leak": [0.5] * 5 + [0]}, ValueError, "leak must hold finite numbers above 0, got 0.0"),
    ({"leak": [0.5] * 5 + [1.5]}, ValueError, "leak must be above 0 and at most 1, got 1.5"),
    ({"leak": [0.5] * 5 + [np.nan]}, ValueError, "leak must hold finite numbers above 0, got nan"),
    ({"leak": ["a"] * H}, TypeError, "leak must be an array of numbers"),
    ({"leak": []}, ValueError, "leak must be a number or have shape"),
    ({"tau": [2.0] * 5 + [0.5], "dt": 1}, ValueError, "dt must be at most tau, got dt=1.0, tau=0.5"),
    ({"tau": [2.0] * 5 + [-1.0], "dt": 1}, ValueError, "tau must hold finite numbers above 0, got -1.0"),
    ({"leak": (0.5, 0.5, 0.5), "hidden_size": (H, 4)}, ValueError, "leak must be one for all layers, or a tuple of 2"),
    ({"leak": LEAKS, "hidden_size": (H, 4)}, ValueError, r"leak must be a number .* \(4,\), got \(6,\) for layer 1: give a tuple"),
    ({"leak": (0.5, LEAKS), "hidden_size": (H, 4)}, ValueError, r"leak\[1\] must be a number or have shape \(H,\) = \(4,\)"),
    ({"leak": LEAKS, "cell": "gru"}, ValueError, "leak must not be given with cell='gru'"),
    ({"tau": 1 / LEAKS, "dt": 1, "cell": "lstm"}, ValueError, "dt must not be given with cell='lstm'"),
    ({"trainable": TRAINED, "cell": "gru"}, ValueError, "leak must be below 1 with trainable"),
    ({"trainable": TRAINED}, ValueError, "leak must be below 1 with trainable={'leak': ...}"),
    ({"trainable": TRAINED, "leak": np.append(LEAKS[:-1], 1)}, ValueError, "leak must be below 1 with trainable"),
    ({"trainable": {"leak": np.ones(3)}, "leak": 0.5}, ValueError, r"trainable\['leak'\] must have shape \(6,\), got \(3,\)"),
    ({"trainable": {"leak_logit": True}, "leak": 0.5}, ValueError, "trainable names 'leak_logit', but"),
    ({"trainable": TRAINED, "leak": 0.5, "connectivity": {"leak_logit": np.ones(H)}}, ValueError,
     "connectivity must not name 'leak_logit'"),
    ({"trainable": TRAINED, "leak": 0.5, "nonnegative": ("leak_logit",)}, ValueError, "nonnegative must not name 'leak_logit'"),
    ({"connectivity": {"leak": np.ones(H)}, "leak": 0.5}, ValueError, "connectivity names 'leak'"),
    ({"leak": LEAKS, "omega": 0.1}, ValueError, "omega=0.1 requires plain units"),
    ({"leak": np.ones(H), "omega": 0.1}, ValueError, "omega=0.1 requires plain units"),
    ({"trainable": TRAINED, "leak": 0.5, "initializer": {"leak_logit": np.zeros(H)}}, ValueError,
     r"initializer names \['leak_logit'\]")])
def test_what_cannot_be_is_refused_by_name(options, error, words):
    with pytest.raises(error, match=words):
        RNN(I, **{"hidden_size": H, "output_size": O} | options)


def test_penalties_take_leak_logit_only_by_its_name():
    X, D, _ = data(network("rate"))
    zero = [network("rate", trainable=TRAINED, reduction="sum", l2=l2).loss_and_gradients(X, D)[1]["leak_logit"]
            for l2 in (0, 1e3, {"leak_logit": 0.5})]
    logit = network("rate", trainable=TRAINED).parameters["leak_logit"]
    assert (zero[0] == zero[1]).all() and np.allclose(zero[2], zero[0] + logit, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [None, "torch", ("spectral_radius", 0.9), lambda shape, rng: np.ones(shape)])
def test_leak_logit_starts_at_the_given_leak_for_every_initializer(form):
    net = RNN(I, H, O, leak=LEAKS, trainable=TRAINED, initializer=form, random_state=0)
    fixed = RNN(I, H, O, leak=LEAKS, initializer=form, random_state=0)
    assert np.allclose(net.unit_leaks, LEAKS, rtol=1e-6) and (net.leak == LEAKS).all()
    assert all((net.parameters[name] == value).all() for name, value in fixed.parameters.items())


@every_form
@both_backends
def test_training_changes_the_leaks_and_keeps_frozen_ones(form, backend):
    chosen = np.arange(H) % 2 == 0
    net = network(form, leak=LEAKS, trainable={"leak": chosen}, l2={"leak_logit": 0.1})
    before, logit = net.unit_leaks, net.parameters["leak_logit"].copy()
    X, D, _ = data(net)
    assert (net.loss_and_gradients(X, D)[1]["leak_logit"][~chosen] == 0).all()
    net.fit(X, D, epochs=3, optimizer="adamw", backend=backend)
    assert ((net.parameters["leak_logit"] != logit) == chosen).all() and ((net.unit_leaks != before) == chosen).all()
    assert np.allclose(net.unit_leaks, sigmoid(net.parameters["leak_logit"]), rtol=1e-14) and (net.leak == LEAKS).all()


@every_form
def test_training_in_compiled_code_is_that_of_single_steps(form):
    nets = [network(form, trainable=TRAINED, noise_std=0.2, recurrent_dropout=0.2) for _ in range(2)]
    X, D, _ = data(nets[0])
    nets[0].fit(X, D, epochs=4, optimizer="adam", batch_size=B, shuffle=False)
    step = nets[1].train_step
    optimizer = fastbptt.optimizers.Adam()
    for _ in range(4):
        step(X, D, optimizer=optimizer)
    assert (nets[0].theta == nets[1].theta).all()


@every_form
def test_a_stream_that_is_cut_is_the_whole_stream(form):
    trained = []
    for cuts in ([0, 24], [0, 5, 6, 17, 24]):
        net = network(form, trainable=TRAINED, learn_initial_state=True, noise_std=0.1)
        X, D, more = data(net, T=24, resets=True)
        chunks = ((X[a:b], D[a:b], None, more["resets"][a:b]) for a, b in zip(cuts, cuts[1:]))
        net.stream(chunks, tbptt=(3, 7), optimizer="sgd", learning_rate=0.05)
        trained.append(net.theta)
    assert (trained[0] == trained[1]).all()


@every_form
def test_a_network_finds_the_time_constants_of_another(form):
    """Its input weights are known and its time constants are not; they begin far from the true ones."""
    X = np.random.default_rng(0).standard_normal((150, 8, 2))
    tau, weights = np.array([1.5, 4.0, 10.0, 30.0]), {
        "W_x": np.random.default_rng(1).standard_normal((4, 2)), "W_s": np.zeros((4, 4)), "W_y": np.eye(4)}
    frozen = dict.fromkeys(("W_x", "W_s", "b_s", "W_y", "b_y"), False)
    nets = [RNN(2, 4, 4, tau=each, dt=1, leak_form=form, initializer=weights, dtype="float64", trainable=frozen | more)
            for each, more in ((tau, {}), (6.0, {}), (6.0, TRAINED))]
    D = nets[0].forward(X)[0]
    nets[2].fit(X, D, epochs=300, optimizer="adam", learning_rate=0.05)
    assert np.allclose(nets[2].dt / nets[2].unit_leaks, tau, rtol=1e-2)
    assert nets[2].evaluate(X, D) < 1e-4 * nets[1].evaluate(X, D)


def test_trained_time_constants_fit_better_than_one_for_all():
    """A target with two time scales; both networks have the same units, updates and random numbers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 16, 1))
    slow, fast, S = [], [], np.zeros((2, 16, 1))
    for x in X:
        S += np.array([0.03, 0.6])[:, None, None] * (x - S)
        slow.append(S[0].copy())
        fast.append(S[1].copy())
    D = np.concatenate([slow, fast], axis=2) / np.std([slow, fast], axis=(1, 2, 3))
    losses = []
    for trainable in (None, TRAINED):
        net = RNN(1, 8, 2, leak=0.3, activation="tanh", trainable=trainable, random_state=0)
        net.fit(X, D, epochs=150, learning_rate=0.02, batch_size=16)
        losses.append(net.evaluate(X, D))
    assert losses[1] < 0.5 * losses[0]


# ---------------------------------------------------------------------------------------------------------------------
# Memory, noise
# ---------------------------------------------------------------------------------------------------------------------


@every_form
def test_a_call_takes_no_more_memory_than_estimated(form):
    net = network(form, trainable=TRAINED, noise_std=0.1)
    fixed = network(form, noise_std=0.1)
    X, D, _ = data(net, T=2000)
    least, most = (net.memory_estimate(2000, B, memory_limit=limit) for limit in ("auto", None))
    assert fixed.memory_estimate(2000, B) < most and least < most
    expected = net.loss_and_gradients(X, D, noise=1)[1]
    for limit in (least, (least + most) // 2):
        found = net.loss_and_gradients(X, D, noise=1, memory_limit=limit)[1]
        assert all((found[name] == expected[name]).all() for name in expected)
    with pytest.raises(MemoryError, match="memory_limit"):
        net.loss_and_gradients(X, D, noise=1, memory_limit=least - 1)


@every_form
def test_threads_and_neighbours_change_no_bit(form):
    net = network(form, leak=LEAKS, trainable=TRAINED, noise_std=0.1)
    net._engines["core"].shard_work = 1
    X, D, more = data(net, T=40, B=40, lengths=True, resets=True)
    results = [net.loss_and_gradients(X, D, noise=1, n_threads=n, **more)[1] for n in (1, 2)]
    assert all((results[0][name] == results[1][name]).all() for name in results[0])
    if _core.kernel_set() != "blas":  # a BLAS sums in another order for another number of sequences
        Y = net.forward(X)[0]
        assert all((net.forward(X[:, b:b + n])[0] == Y[:, b:b + n]).all() for b, n in ((0, 1), (3, 7), (39, 1)))


@every_form
def test_noise_of_a_unit_has_its_own_scale(form):
    """Without input a unit is g1 or a running mean of its noise, sqrt(2 / leak) σ ξ."""
    net = RNN(1, 4, 1, leak=[0.1, 0.3, 0.7, 1.0], leak_form=form, activation="identity", noise_std=0.5, dtype="float64",
              initializer=lambda shape, rng: np.zeros(shape))
    states = net.forward(np.zeros((4000, 4, 1)), noise=1, return_states=True)[2]
    inputs = (states.S[1:] - (1 - net.leak) * states.S[:-1]) / net.leak
    assert np.allclose(inputs.std(axis=(0, 1)), np.sqrt(2 / net.leak) * 0.5, rtol=0.03)


def test_noise_of_inputs_has_the_mean_of_the_first_layers_leaks():
    X = np.zeros((T, B, I))
    for leak, mean in ((0.3, 0.3), (LEAKS, LEAKS.mean()), ((0.2, LEAKS), 0.2)):
        net = RNN(I, (H, H) if isinstance(leak, tuple) else H, O, leak=leak, input_noise_std=0.1, dtype="float64")
        draws = net._draws(3, False)
        noisy = X + reference.noise_scale(0.1, mean) * reference.normals(draws, reference.INPUT, T, B, I)
        for backend in ("core", "reference"):
            assert np.allclose(net.forward(X, noise=3, backend=backend)[0], net.forward(noisy)[0], rtol=1e-11, atol=1e-13)


# ---------------------------------------------------------------------------------------------------------------------
# Copies, files, equality
# ---------------------------------------------------------------------------------------------------------------------

NETWORKS = {
    "array": {"leak": LEAKS}, "trained": {"leak": 0.3, "trainable": TRAINED},
    "some": {"leak": LEAKS, "trainable": {"leak": np.arange(H) % 2}},
    "layers": {"leak": (0.2, np.linspace(0.1, 1, 4)), "hidden_size": (H, 4)},
    "trained layers": {"leak": (0.2, np.linspace(0.1, 0.9, 4)), "hidden_size": (H, 4), "trainable": TRAINED},
}



def leaks_of(net):
    """The leaks of each recurrence."""
    return net.unit_leaks if net._stacked else [net.unit_leaks]


@every_form
@pytest.mark.parametrize("name", NETWORKS)
def test_copies_pickles_and_files_keep_the_leaks(name, form, tmp_path):
    net = network(form, **NETWORKS[name])
    net.save(tmp_path / "net.npz")
    X, *_ = data(net)
    for other in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), fastbptt.load(tmp_path / "net.npz")):
        assert repr(other) == repr(net) and len(repr(net)) < 1000
        assert (other.theta == net.theta).all() and list(other.parameters) == list(net.parameters)
        assert all((a == b).all() for a, b in zip(leaks_of(other), leaks_of(net), strict=True))
        assert (other.forward(X)[0] == net.forward(X)[0]).all()
        assert (other._held is None) == (net._held is None)
    assert ("<array (6,)>" in repr(net)) == (name in ("array", "some"))


def test_a_checkpoint_of_other_leaks_is_refused(tmp_path):
    X, D, _ = data(network("rate"))
    for first, second in ((LEAKS, LEAKS[::-1]), (LEAKS, 0.3), (0.3, LEAKS), (np.full(H, 0.3), 0.3)):
        path = tmp_path / "run.npz"
        path.unlink(missing_ok=True)
        network("rate", leak=first).fit(X, D, epochs=1, checkpoint=path)
        with pytest.raises(ValueError, match="leak is"):
            network("rate", leak=second).fit(X, D, epochs=2, checkpoint=path, resume=True)
        network("rate", leak=first).fit(X, D, epochs=2, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="trainable is"):
        network("rate", leak=first, trainable=TRAINED).fit(X, D, epochs=2, checkpoint=path, resume=True)


def test_a_resumed_run_is_the_whole_run(tmp_path):
    X, D, _ = data(network("rate"))
    whole = network("rate", leak=LEAKS, trainable=TRAINED)
    whole.fit(X, D, epochs=4)
    for epochs in (2, 4):
        resumed = network("rate", leak=LEAKS, trainable=TRAINED)
        resumed.fit(X, D, epochs=epochs, checkpoint=tmp_path / "run.npz", resume=True)
    assert (resumed.theta == whole.theta).all()


def test_many_networks_with_leaks_of_their_own():
    nets = [network("rate", leak=leak, seed=seed, trainable=TRAINED) for seed, leak in enumerate((LEAKS, LEAKS[::-1], LEAKS, 0.3))]
    X, D, _ = data(nets[0])
    alone = [net.copy() for net in nets]
    fastbptt.fit_many(nets, X, D, epochs=2)
    for net in alone:
        net.fit(X, D, epochs=2)
    assert all((a.theta == b.theta).all() for a, b in zip(nets, alone))
    with pytest.raises(ValueError, match="leak"):
        fastbptt.Population.from_networks(nets[:2])


def test_a_population_computes_them_one_at_a_time(tmp_path):
    population = fastbptt.Population(3, I, H, O, leak=LEAKS, trainable=TRAINED, random_state=0)
    X, D, _ = data(population[0])
    population.fit(X, D, epochs=2)
    assert population._lanes is None and np.isclose(population[1].unit_leaks, LEAKS).sum() < H
    assert "leak=<array (6,)>" in repr(population)
    population.save(tmp_path / "population.npz")
    other = fastbptt.load(tmp_path / "population.npz")
    assert (other[2].unit_leaks == population[2].unit_leaks).all() and (other[2].leak == LEAKS).all()


@pytest.mark.thorough
def test_estimators_take_arrays_and_keep_them(tmp_path):
    from sklearn.base import clone

    X, y = np.random.default_rng(0).standard_normal((12, 7, I)), np.random.default_rng(1).standard_normal((12, 7, 1))
    model = RNNRegressor(H, tau=1 / LEAKS, dt=1, trainable=TRAINED, max_iter=3, random_state=0)
    again = clone(model)
    assert (again.get_params()["tau"] == 1 / LEAKS).all() and again.get_params()["trainable"] == TRAINED
    model.fit(X, y)
    assert np.allclose(model.network_.leak, LEAKS) and not np.allclose(model.network_.unit_leaks, LEAKS)
    model.save(tmp_path / "model.npz")
    assert (fastbptt.load(tmp_path / "model.npz").predict(X) == model.predict(X)).all()
    by_leak = clone(model).set_params(leak=model.network_.leak, tau=None, dt=None).fit(X, y)
    assert (by_leak.predict(X) == model.predict(X)).all()
    trained = model.network_.unit_leaks
    model.set_params(warm_start=True, max_iter=1, learning_rate_init=1e-9).fit(X, y)
    assert np.allclose(model.network_.unit_leaks, trained, rtol=1e-5)
    cross = fastbptt.cross_validate(RNNRegressor(H, leak=LEAKS, trainable=TRAINED, max_iter=2, random_state=0), X, y, cv=2)
    assert np.isfinite(cross.scores if hasattr(cross, "scores") else cross["test_score"]).all()


def test_to_torch_refuses_a_leak_of_each_unit():
    with pytest.raises(ValueError, match=r"leak must be 1 .* leak=<array \(6,\)>"):
        RNN(I, H, O, leak=LEAKS).to_torch()


def test_ranks_train_the_leaks_of_one_process():
    X, D, _ = data(network("current"))

    def work(communicator):
        net = network("current", leak=LEAKS, trainable=TRAINED)
        cut = slice(0, 2) if communicator.rank == 0 else slice(2, None)
        net.fit(X[:, cut], D[:, cut], epochs=2, batch_size=B, communicator=communicator, shuffle=False)
        return net.theta

    one = network("current", leak=LEAKS, trainable=TRAINED)
    one.fit(X, D, epochs=2, batch_size=B, shuffle=False)
    for theta in run(2, work)[0]:
        assert np.allclose(theta, one.theta, rtol=1e-10)


# ---------------------------------------------------------------------------------------------------------------------
# Diagnostics: they read the present leaks
# ---------------------------------------------------------------------------------------------------------------------


def pair(form, **options):
    """A network with trained leaks away from the given ones, and one that is given these."""
    trained = network(form, leak=0.3, trainable=TRAINED, **options)
    fixed = network(form, leak=trained.unit_leaks, **options)
    fixed.load_state_dict({name: value for name, value in trained.state_dict().items() if name != "leak_logit"})
    return trained, fixed


@every_form
@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_diagnostics_use_the_present_leaks(form, activation):
    trained, fixed = pair(form, activation=activation)
    assert not np.allclose(trained.unit_leaks, trained.leak)
    rng = np.random.default_rng(0)
    X, D, _ = data(trained)
    S, x = rng.standard_normal((5, H)), rng.standard_normal(I)
    found, expected = ([diagnostics.jacobian(net, S, x), diagnostics.lyapunov_exponents(net, np.tile(x, (60, 1, 1))).exponents,
                        diagnostics.fixed_points(net, x, S, max_speed=1e3).eigenvalues,
                        diagnostics.fixed_points(net, x, S, max_speed=1e3).points, diagnostics.states(net, X).saturated,
                        diagnostics.spectrum(net).step_eigenvalues, diagnostics.gradient_flow(net, X, D).norms]
                       for net in (trained, fixed))
    for a, b in zip(found, expected):
        assert np.allclose(a, b, rtol=1e-9, atol=1e-11)
    assert "1 − λ + λ W_s" in diagnostics.spectrum(trained).describe()


@every_form
def test_fixed_points_do_not_depend_on_the_leaks(form):
    trained, fixed = pair(form)
    one = network(form, leak=0.5)
    one.load_state_dict(fixed.state_dict())
    starts = np.random.default_rng(0).standard_normal((6, H))
    assert np.array_equal(*(diagnostics.fixed_points(net, np.zeros(I), starts).points for net in (trained, one)))


@every_form
def test_gradcheck_covers_leak_logit_and_its_frozen_entries(form):
    for chosen in (True, np.arange(H) % 2):
        net = network(form, leak=LEAKS, trainable={"leak": chosen, "W_x": False}, noise_std=0.2)
        check = net.gradcheck()
        assert check.errors["core float64"]["leak_logit"] < 1e-11 and check.errors["reference float64"]["leak_logit"] < 1e-12
        X = np.random.default_rng(0).standard_normal((1, I))
        assert diagnostics.jacobian(net, np.zeros(H), X[0]).shape == (H, H)
        assert np.isfinite(diagnostics.spectrum(net).step_eigenvalues).all()
