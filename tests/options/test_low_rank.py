"""Low-rank recurrence: W_s = M Nᵀ in the specification, in networks, and everywhere a network goes."""

import copy
import pickle

import numpy as np
import pytest
from cases import STEP

import fastbptt
from fastbptt import RNN, Population, RNNClassifier, RNNRegressor, datasets, diagnostics, reference
from fastbptt._core import Batch, CallOptions

T, B, I, H, O, R = 6, 4, 3, 5, 2, 2
CELLS = {"plain": {}, "silu": {"activation": "silu"}, "rate": {"leak": 0.3}, "current": {"leak": 0.3, "leak_form": "current"},
         "gru": {"cell": "gru"}, "gru_before": {"cell": "gru", "reset_after": False}, "lstm": {"cell": "lstm"}}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])
rng = np.random.default_rng(0)
X, D, DY = (rng.standard_normal((T, B, n)) for n in (I, O, O))
RAGGED = {"lengths": np.array([6, 2, 0, 5]), "resets": rng.random((T, B)) < 0.3}


def network(**options):
    """All parameters are random, so that no gradient is zero."""
    net = RNN(I, options.pop("hidden_size", H), O, **{"rank": R, "dtype": "float64", "random_state": 0} | options)
    rng = np.random.default_rng(1)
    for name, value in net.parameters.items():
        net.parameters[name] = rng.normal(0, 0.6, value.shape)
    return net


def without_rank(net, **options):
    """The network with the W_s that is the product, and no rank."""
    full = RNN(**{**{name: value for name, value in net._config.items() if name != "rank"}, **options})
    full.load_state_dict(net.effective_parameters())
    return full


# ---------------------------------------------------------------------------------------------------------------------
# The specification, by complex steps
# ---------------------------------------------------------------------------------------------------------------------

MORE = {
    "alone": ({}, {}),
    "ragged, a learnt state, penalties": ({"learn_initial_state": True, "l1": 0.1, "l2": {"M": 0.2, "W_x": 0.1},
                                           "rate_penalty": 0.3}, RAGGED),
    "the last step of layers and directions": ({"hidden_size": (5, 4), "rank": (2, 3), "bidirectional": True, "output": "last",
                                                "learn_initial_state": True, "l2": 0.1}, {"lengths": np.array([6, 2, 1, 5])}),
    "maps": ({"connectivity": {"N": rng.random((H, R)) < 0.7}, "trainable": {"M": False}, "nonnegative": ("N",), "l2": 0.1}, {}),
}


@pytest.mark.share(10)
@every_cell
@pytest.mark.parametrize("more, data", MORE.values(), ids=list(MORE))
def test_gradients_are_those_of_the_complex_step(cell, more, data):
    net = network(**cell, **more)
    options, target = net._engines["reference"].options, D[-1] if net.output == "last" else D
    p = {name: value.astype(complex) for name, value in net.parameters.items()}

    def loss():
        effective = reference.effective(p, options["maps"])
        rates = options["rate_penalty"] and options["rate_penalty"] * reference.mean_square_rate(p, X, **data, **options)
        return reference.loss(p, X, target, **data, **options) + reference.penalty(effective, options["l1"], options["l2"]) + rates

    _, gradients = net.loss_and_gradients(X, target, **data, backend="reference")
    assert list(gradients) == list(p)
    for name, value in p.items():
        truth = np.empty(value.shape)
        for j in range(value.size):
            value.flat[j] += 1j * STEP
            truth.flat[j] = loss().imag / STEP
            value.flat[j] = value.flat[j].real
        if name in options["maps"]:
            truth = truth * options["maps"][name].trainable
        np.testing.assert_allclose(gradients[name], truth, rtol=0, atol=1e-12 * np.abs(truth).max(), err_msg=name)
        assert truth.any() or name == "M" and "trainable" in more


@every_cell
def test_the_gradient_of_a_given_error_is_that_of_the_complex_step(cell):
    net = network(**cell)
    options = net._engines["reference"].options
    gradients = net.backward(X, DY, backend="reference")
    for name in ("M", "N"):
        p = {each: value.astype(complex) for each, value in net.parameters.items()}
        direction = np.random.default_rng(2).standard_normal(p[name].shape)
        p[name] += 1j * STEP * direction
        truth = (DY * reference.forward(p, X, **options)[0]).sum().imag / STEP
        assert (gradients[name] * direction).sum() == pytest.approx(truth, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# The core
# ---------------------------------------------------------------------------------------------------------------------


def all_of(net, backend, **data):
    """Results by name."""
    Y, final, states = net.forward(X, return_states=True, backend=backend, **data)
    E, of_E = net.loss_and_gradients(X, D, backend=backend, input_gradient=True, initial_state_gradient=True, **data)
    of_dY = net.backward(X, DY, backend=backend, **data)
    return {"Y": Y, "final": final, "S": states.S, "E": E} | {f"{name} of E": value for name, value in of_E.items()} | {
        f"{name} of dY": value for name, value in of_dY.items()}


@pytest.mark.quick
@every_cell
@pytest.mark.parametrize("dtype, limit", [("float64", 1e-11), ("float32", 1e-5)])
def test_core_and_reference_agree(cell, dtype, limit):
    for more in ({}, {"learn_initial_state": True, "l1": 0.1, "l2": 0.1, "rate_penalty": 0.2}, {"trainable": {"N": False}}):
        net = network(dtype=dtype, **cell, **more)
        for data in ({}, RAGGED):
            found, expected = (all_of(net, backend, **data) for backend in ("core", "reference"))
            assert list(found) == list(expected)
            for name in expected:
                atol = limit * max(np.abs(expected[name]).max(), 1e-3)
                np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.quick
@every_cell
@both_backends
def test_a_full_rank_with_the_unit_matrix_is_the_network_without_a_rank(cell, backend):
    for M, N in ((True, False), (False, True)):
        if M and cell.get("cell"):  # the unit matrix in place of M is for cells of one gate
            continue
        full = RNN(I, H, O, dtype="float64", random_state=3, l2={"W_x": 0.1}, **cell)
        net = RNN(I, H, O, dtype="float64", rank=H, l2={"W_x": 0.1}, **cell)
        state, W_s = full.state_dict(), full.parameters["W_s"]
        factors = {"M": np.eye(H), "N": W_s.T} if M else {"M": W_s, "N": np.eye(H)}
        net.load_state_dict({name: state[name] for name in state if name != "W_s"} | factors)
        np.testing.assert_array_equal(net.effective_parameters()["W_s"], W_s)
        found, expected = all_of(net, backend, **RAGGED), all_of(full, backend, **RAGGED)
        for name in expected:
            if not name.startswith("W_s"):
                np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
        for of in ("of E", "of dY"):
            dW = found[f"N {of}"].T if M else found[f"M {of}"]
            np.testing.assert_array_equal(dW, expected[f"W_s {of}"])


def test_omega_reaches_both_factors():
    net = network(omega=0.5)
    assert net.gradcheck(entries=1000).passed
    found, expected = (net.loss_and_gradients(X, D, backend=backend)[1] for backend in ("core", "reference"))
    without = network().loss_and_gradients(X, D)[1]
    for name in ("M", "N"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)
        assert np.abs(found[name] - without[name]).max() > 1e-3


@every_cell
@both_backends
def test_terms_of_all_steps_add_up_to_the_gradient(cell, backend):
    net = network(**cell, reduction="sum", connectivity={"M": rng.random((len(network(**cell).parameters["M"]), R)) < 0.8})
    _, gradients = net.loss_and_gradients(X, D, backend=backend)
    terms = [net.gradient_terms(X, D, t, backend=backend) for t in range(T)]
    assert set(terms[0]) == {"M", "N", "W_x", "W_y", "S"}
    for name in ("M", "N", "W_x"):
        np.testing.assert_allclose(sum(each[name].sum(axis=0) for each in terms), gradients[name], rtol=0, atol=1e-11)


@every_cell
def test_results_have_the_same_bits_for_any_threads_and_memory(cell):
    shape = 40, 64
    rng = np.random.default_rng(4)
    X, D = rng.standard_normal((*shape, I)), rng.standard_normal((*shape, O))
    for H in (16, 40):
        net = RNN(I, H, O, rank=3, random_state=0, **cell)
        net._engines["core"].shard_work = 1
        results = [net.loss_and_gradients(X, D, **how) for how in (
            {"n_threads": 1}, {"n_threads": 2}, {"memory_limit": "auto", "n_threads": 1})]
        for loss, gradients in results[1:]:
            assert loss == results[0][0]
            for name, value in gradients.items():
                np.testing.assert_array_equal(value, results[0][1][name], err_msg=name)


def test_a_call_that_scales_its_weights_returns_the_gradient_of_them():
    net = network(dtype="float32", reduction="sum")
    _, found = net.loss_and_gradients(X, D, weights=np.full((T, B), 1e-30))
    _, expected = net.loss_and_gradients(X, D)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name] * np.float32(1e-30), rtol=1e-3, atol=1e-35)


FACTORED = {  # plain and leaky cells of at least 64 units and a rank of at most H / 4, whose steps go by M and N
    "plain": {}, "silu": {"activation": "silu"}, "rate": {"leak": 0.3}, "current": {"leak": 0.3, "leak_form": "current"},
    "current silu": {"leak": 0.3, "leak_form": "current", "activation": "silu"},
    "trained leaks": {"leak": 0.3, "trainable": {"leak": True}}, "dropout": {"recurrent_dropout": 0.3},
    "dropout of currents": {"leak": 0.3, "leak_form": "current", "recurrent_dropout": 0.3},
    "layers": {"hidden_size": (64, 70), "rank": (3, 2)}, "both directions": {"bidirectional": True}, "ids": {"one_hot": True},
    "maps": {"nonnegative": ("N",), "connectivity": {"M": np.random.default_rng(8).random((65, 3)) < 0.7}}}
every_factored = pytest.mark.parametrize("options", FACTORED.values(), ids=list(FACTORED))


def factored(**options):
    """The gain of a product of 65 units is below 1."""
    net = RNN(I, options.pop("hidden_size", 65), O, **{"rank": 3, "dtype": "float64", "random_state": 0,
                                                       "learn_initial_state": True, "l2": {"M": 0.1}} | options)
    rng = np.random.default_rng(1)
    for name, value in net.parameters.items():
        net.parameters[name] = np.float32(rng.normal(0, 0.1 if name[0] in "MN" else 0.6, value.shape))
    return net


def everything_of(net, x, **how):
    """Results by name, of ragged sequences with resets."""
    more = {**RAGGED, "dropout": 3, **how}
    Y, final, states = net.forward(x, return_states=True, **more)
    E, gradients = net.loss_and_gradients(x, D, input_gradient=x.ndim == 3, initial_state_gradient=True, **more)
    _, truncated = net.loss_and_gradients(x, D, tbptt=(2, 3), **more) if not net.bidirectional else (0, {})
    return {"Y": Y, "final": final, "S": states.S, "E": E} | gradients | {f"{name}, k1": each for name, each in truncated.items()}


def in_parts(named):
    return {f"{name} {k}": part for name, value in named.items()
            for k, part in enumerate(value if isinstance(value, tuple) else (value,))}


@pytest.mark.quick
@every_factored
@pytest.mark.parametrize("dtype, limit", [("float64", 1e-11), ("float32", 1e-5)])
def test_steps_by_the_factors_are_those_of_the_reference(options, dtype, limit):
    net = factored(dtype=dtype, **options)
    x = rng.integers(I, size=(T, B)) if net.one_hot else X
    found, expected = (in_parts(everything_of(net, x, backend=backend)) for backend in ("core", "reference"))
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=limit * max(np.abs(expected[name]).max(), 1e-3),
                                   err_msg=name)


@every_factored
def test_steps_by_the_factors_have_the_same_bits_for_any_threads_and_memory(options):
    net = factored(dtype="float32", **options)
    x = rng.integers(I, size=(T, B)) if net.one_hot else X
    core = net._engines["core"]
    for engine in [core] if hasattr(core, "shard_work") else [*(r.engine for r in core.recurrences), core.readout]:
        engine.shard_work = 1
    one = in_parts(everything_of(net, x, n_threads=1))
    for name, value in in_parts(everything_of(net, x, n_threads=2)).items():
        np.testing.assert_array_equal(value, one[name], err_msg=name)
    _, whole = net.loss_and_gradients(x, D, **RAGGED)
    _, in_less = net.loss_and_gradients(x, D, memory_limit="auto", **RAGGED)
    for name, value in in_parts(whole).items():
        np.testing.assert_array_equal(in_parts(in_less)[name], value, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"leak": 0.3}, {"leak": 0.3, "leak_form": "current"}], ids=["plain", "rate", "current"])
def test_what_needs_the_product_agrees_with_steps_by_the_factors(options):
    """Omega, terms and gradient flow read W_s. Their states have the bits of a call that does not."""
    net = factored(**options)
    if not options:
        with_omega = factored(omega=0.3)
        found, expected = (with_omega.loss_and_gradients(X, D, backend=backend)[1] for backend in ("core", "reference"))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-11 * np.abs(expected[name]).max())
        assert with_omega.evaluate(X, D) == net.evaluate(X, D)
        np.testing.assert_array_equal(with_omega.forward(X, return_states=True)[2].S, net.forward(X, return_states=True)[2].S)
    for name, value in net.gradient_terms(X, D, T - 1, backend="reference").items():
        found = net.gradient_terms(X, D, T - 1)[name]
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-11 * np.abs(value).max(), err_msg=name)
    found, expected = (diagnostics.gradient_flow(net, X, D, backend=backend) for backend in ("core", "reference"))
    np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-10, atol=1e-14)


def test_steps_by_the_factors_take_less_memory():
    full, low = (RNN(3, 128, 2, rank=rank, random_state=0) for rank in (None, 8))
    whole = RNN(3, 128, 2, rank=33, random_state=0)  # too large a rank for steps by the factors
    for how in ({}, {"memory_limit": "auto"}):
        assert low.memory_estimate(100, 4, n_threads=1, **how) < full.memory_estimate(100, 4, n_threads=1, **how)
        assert low.memory_estimate(100, 4, n_threads=1, **how) + 5 * 4 * 128**2 < whole.memory_estimate(
            100, 4, n_threads=1, **how)
    for net in (low, factored(), factored(leak=0.3, trainable={"leak": True})):
        least = net.memory_estimate(T, B, n_threads=1, memory_limit="auto")
        net.loss_and_gradients(X, D, memory_limit=least, n_threads=1)
        with pytest.raises(MemoryError):
            net.loss_and_gradients(X, D, memory_limit=least - 1, n_threads=1)


# ---------------------------------------------------------------------------------------------------------------------
# Training and whatever a network does
# ---------------------------------------------------------------------------------------------------------------------


@every_cell
def test_training_is_that_of_the_reference_and_a_stream_that_of_its_chunks(cell):
    nets = [network(**cell, l2=1e-3, learn_initial_state=True, noise_std=0.1) if "cell" not in cell
            else network(**cell, l2=1e-3, input_noise_std=0.1, recurrent_dropout=0.2) for _ in range(2)]
    for net, backend in zip(nets, ("core", "reference")):
        net.fit(X, D, epochs=3, batch_size=3, learning_rate=0.02, random_state=1, backend=backend)
        net.train_step(X, D, "sgd", learning_rate=0.01, backend=backend)
        net.stream(X, D, tbptt=(2, 3), optimizer="sgd", learning_rate=0.01, backend=backend)
    np.testing.assert_allclose(nets[0].theta, nets[1].theta, rtol=0, atol=1e-10)
    assert not np.array_equal(nets[0].theta, network(**cell, learn_initial_state="cell" not in cell).theta)


@every_cell
def test_steps_are_the_forward_pass_and_generation_their_repetition(cell):
    net = network(**cell)
    Y, final = net.forward(X)
    state = None
    for t in range(T):
        y, state = net.step(X[t], state)
        np.testing.assert_allclose(y, Y[t], rtol=0, atol=1e-14)
    np.testing.assert_allclose(state, final, rtol=0, atol=1e-14)
    feed = {"feed": lambda y, rng: np.ones((B, I))}
    np.testing.assert_allclose(net.generate(3, prefix=X, **feed), without_rank(net).generate(3, prefix=X, **feed), atol=1e-13)


def test_a_network_learns_a_decision_with_one_dimension():
    def trials(n, rng):
        return datasets.perceptual_decision(n, stimulus=300, delay=0, noise=0.1, random_state=rng)

    net = RNN(3, 32, 2, rank=1, leak=0.2, random_state=0)
    X, D, weights = trials(200, 1)
    before = datasets.fraction_wrong(net.forward(X)[0], D, weights, tolerance=0.4)
    net.fit(batches=trials, batch_size=32, updates=300, learning_rate=1e-2, max_grad_norm=1.0)
    after = datasets.fraction_wrong(net.forward(X)[0], D, weights, tolerance=0.4)
    assert before > 0.9 and after < 0.35
    values = np.linalg.svd(net.effective_parameters()["W_s"].astype(float), compute_uv=False)
    assert values[0] > 0.5 and values[1] < 1e-6 * values[0]


def test_files_pickles_copies_and_checkpoints_keep_the_rank(tmp_path):
    for options in ({}, {"hidden_size": (5, 4), "rank": (2, 3)}, {"cell": "lstm", "trainable": {"M": False}}):
        net = network(**options)
        net.save(tmp_path / "net.npz")
        for again in (fastbptt.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
            assert again.rank == net.rank and list(again.parameters) == list(net.parameters)
            np.testing.assert_array_equal(again.theta, net.theta)
            np.testing.assert_array_equal(again.forward(X)[0], net.forward(X)[0])
        path = tmp_path / f"{net.rank}{net.cell}.npz"
        whole, part = net.copy(), net.copy()
        whole.fit(X, D, epochs=4, batch_size=2, random_state=0)
        part.fit(X, D, epochs=2, batch_size=2, random_state=0, checkpoint=path)
        part.fit(X, D, epochs=4, batch_size=2, random_state=0, checkpoint=path, resume=True)
        np.testing.assert_array_equal(part.theta, whole.theta)


def test_estimators_and_many_networks_take_a_rank(tmp_path):
    samples, y = np.swapaxes(X, 0, 1), np.swapaxes(D, 0, 1)
    with pytest.warns(UserWarning):
        model = RNNRegressor(H, rank=R, max_iter=2, random_state=0).fit(samples, y)
    model.save(tmp_path / "model.npz")
    again = fastbptt.load(tmp_path / "model.npz")
    assert again.rank == R and again.get_params()["rank"] == R
    np.testing.assert_array_equal(again.predict(samples), model.predict(samples))
    with pytest.warns(UserWarning):
        classifier = RNNClassifier(H, rank=R, cell="gru", max_iter=2, random_state=0).fit(samples, [0, 1, 0, 1])
    assert classifier.network_.parameters["M"].shape == (3 * H, R)

    alone, many = ([RNN(I, H, O, rank=R, random_state=n) for n in range(3)] for _ in range(2))
    fastbptt.fit_many(many, X, D, epochs=3, random_state=[0, 1, 2])
    for seed, net in enumerate(alone):
        net.fit(X, D, epochs=3, random_state=seed)
    for one, other in zip(alone, many):
        np.testing.assert_array_equal(one.theta, other.theta)
    population = Population(3, I, H, O, rank=R, random_state=0)
    losses, gradients = population.loss_and_gradients(X, D)
    assert losses.shape == (3,) and gradients["M"].shape == (3, H, R) and gradients["N"].shape == (3, H, R)


@every_cell
def test_diagnostics_see_the_product(cell):
    net = network(**cell, l1={"N": 0.1}, l2={"M": 0.1, "W_x": 0.2})  # penalties by names that the product has not
    full = without_rank(net, l1=0.0, l2=0.0)
    states = np.random.default_rng(3).uniform(-0.5, 0.5, (2, net._widths[0]))
    for look in (lambda net: diagnostics.jacobian(net, states, X[0, 0]),
                 lambda net: diagnostics.spectrum(net).eigenvalues,
                 lambda net: diagnostics.gradient_flow(net, X, D).norms,
                 lambda net: diagnostics.fixed_points(net, X[0, 0], states).points,
                 lambda net: diagnostics.lyapunov_exponents(net, X).exponents):
        np.testing.assert_allclose(look(net), look(full), rtol=0, atol=1e-12)
    assert net.gradcheck().passed
    np.testing.assert_allclose(reference.jacobian(net.parameters, states, X[0, 0], **net._engines["reference"].options),
                               diagnostics.jacobian(net, states, X[0, 0]), atol=1e-14)


@both_backends
def test_norms_of_gradients_are_those_with_parametrizations(backend):
    net = network(connectivity={"M": np.arange(H * R).reshape(H, R) % 2}, nonnegative=("W_y",))
    full = RNN(I, H, O, dtype="float64")
    full.load_state_dict(net.effective_parameters())
    found, expected = (each._engine(backend).gradient_flow(each.theta, Batch(X, D), CallOptions(), 0, T) for each in (net, full))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def test_plots_show_the_product():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    net = network()
    shown = diagnostics.plot_weights(net).collections[0].get_array().reshape(H, H)
    np.testing.assert_allclose(np.sort(shown.ravel()), np.sort(net.effective_parameters()["W_s"].ravel()))


def test_effective_parameters_are_those_of_the_network_without_a_rank():
    net = network(hidden_size=(5, 4), rank=2, bidirectional=True, nonnegative=("M",))
    effective = net.effective_parameters()
    assert list(effective) == list(without_rank(net, nonnegative=()).parameters)
    np.testing.assert_allclose(effective["W_s_l1_reverse"], net.parameters["M_l1_reverse"] @ net.parameters["N_l1_reverse"].T)
    np.testing.assert_allclose(effective["W_s"], np.abs(net.parameters["M"]) @ net.parameters["N"].T)
    np.testing.assert_array_equal(without_rank(net, nonnegative=()).forward(X)[0].round(12), net.forward(X)[0].round(12))


def test_converters_write_the_product_and_refuse_a_rank():
    net = network(cell="gru")
    state = net.to_torch()
    np.testing.assert_allclose(state["rnn.weight_hh_l0"], net.parameters["M"] @ net.parameters["N"].T)
    again = RNN.from_torch(state)
    np.testing.assert_allclose(again.forward(X)[0], net.forward(X)[0], atol=1e-13)
    with pytest.raises(ValueError, match="rank must be None"):
        RNN.from_torch(state, rank=2)


# ---------------------------------------------------------------------------------------------------------------------
# The option: shapes, initial values, penalties, errors
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_shapes_and_order_of_the_parameters():
    shapes = {name: value.shape for name, value in network(cell="gru", learn_initial_state=True).parameters.items()}
    assert list(shapes.items()) == [("W_x", (15, 3)), ("M", (15, 2)), ("N", (5, 2)), ("b_s", (15,)), ("b_n", (5,)),
                                    ("W_y", (2, 5)), ("b_y", (2,)), ("S_0", (5,))]
    names = list(network(hidden_size=(5, 4), rank=(2, 3), bidirectional=True, bias=False).parameters)
    assert names == ["W_x", "M", "N", "W_x_reverse", "M_reverse", "N_reverse", "W_x_l1", "M_l1", "N_l1", "W_x_l1_reverse",
                     "M_l1_reverse", "N_l1_reverse", "W_y"]


@pytest.mark.parametrize("initializer, radius", [
    ("orthogonal", 1), ("identity", 1), (("identity", 0.5), 0.5), (("spectral_radius", 1.3), 1.3), ("normal", None),
    (("normal", 0.1), None), ("glorot_uniform", None), (("sparse", 7), None)], ids=str)
@pytest.mark.parametrize("cell, gates", [("plain", 1), ("gru", 3), ("lstm", 4)])
def test_named_initialisers_make_a_product_of_their_kind(initializer, radius, cell, gates):
    H, R = 60, 7
    net = RNN(2, H, 1, rank=R, cell=cell, dtype="float64", initializer=initializer, random_state=5)
    N, W_s = net.parameters["N"], net.effective_parameters()["W_s"]
    np.testing.assert_allclose(N.T @ N, np.eye(R), atol=1e-12)
    name, number = initializer if isinstance(initializer, tuple) else (initializer, None)
    for block in np.split(W_s, gates):
        K = N.T @ block @ N
        np.testing.assert_allclose(N @ K @ N.T, block, atol=1e-12)  # it acts within the columns of N
        values = np.linalg.svd(K, compute_uv=False)
        if name == "orthogonal":
            np.testing.assert_allclose(values, 1)
        if radius is not None:
            assert np.abs(np.linalg.eigvals(block)).max() == pytest.approx(radius)
        else:  # norms of an (R, R) matrix whose large counterpart has this spectral radius
            expected = {"normal": 0.1 * np.sqrt(H) if number else 1, "glorot_uniform": 1, "sparse": np.sqrt(7)}[name]
            assert 0.5 * expected < np.sqrt((values**2).mean()) < 1.6 * expected


def test_initialisers_of_factors_by_themselves():
    M = np.arange(10.0).reshape(5, 2)
    net = RNN(I, H, O, rank=R, initializer={"M": M, "N": ("normal", 0.5)}, random_state=0, dtype="float64")
    np.testing.assert_array_equal(net.parameters["M"], M)
    assert 0.1 < net.parameters["N"].std() < 1
    alone = RNN(I, H, O, rank=R, initializer={"M": M}, random_state=0, dtype="float64").parameters["N"]
    np.testing.assert_array_equal(alone, RNN(I, H, O, rank=R, random_state=0, dtype="float64").parameters["N"])
    torch = RNN(I, 200, O, rank=R, initializer="torch", random_state=0)
    assert all(0.9 < np.abs(torch.parameters[name]).max() * np.sqrt(200) <= 1 for name in ("M", "N"))
    assert np.all(RNN(I, H, O, rank=R, initializer=lambda shape, rng: np.ones(shape)).effective_parameters()["W_s"] == R)
    layers = RNN(I, (H, H), O, rank=R, random_state=0)
    assert not np.array_equal(layers.parameters["N"], layers.parameters["N_l1"])
    one = RNN(I, H, O, rank=R, random_state=0)
    assert all(np.array_equal(one.parameters[name], layers.parameters[name]) for name in ("W_x", "M", "N"))
    full = RNN(I, H, O, random_state=0)
    assert all(np.array_equal(one.parameters[name], full.parameters[name]) for name in ("W_x", "W_y"))


@both_backends
def test_a_number_penalises_both_factors(backend):
    net, plain = network(l1=0.1, l2=0.2), network()
    loss, gradients = net.loss_and_gradients(X, D, backend=backend)
    before, without = plain.loss_and_gradients(X, D, backend=backend)
    weights = [net.parameters[name] for name in ("W_x", "M", "N", "W_y")]
    assert loss - before == pytest.approx(sum(0.1 * np.abs(W).sum() + 0.2 * (W**2).sum() for W in weights))
    for name in ("M", "N"):
        W = net.parameters[name]
        np.testing.assert_allclose(gradients[name] - without[name], 0.1 * np.sign(W) + 0.4 * W, atol=1e-13)


@pytest.mark.parametrize("options, words", [
    ({"rank": 6}, "rank must be at most hidden_size, .* 5; got 6"), ({"rank": 0}, "rank must be from 1"),
    ({"rank": 1.5}, "rank must be an int"), ({"rank": True}, "rank must be an int"), ({"rank": "1"}, "rank must be an int"),
    ({"rank": (1, 1)}, "rank must be an int, or one int for each of the 1 layers"), ({"rank": ()}, "rank must be an int"),
    ({"hidden_size": (5, 2), "rank": 3}, "rank must be at most hidden_size, .* 2 of layer 1; got 3"),
    ({"autapses": False}, "autapses must be True with rank=2"),
    ({"dale_ratio": 0.5}, "dale_ratio must not be given with rank=2"),
    ({"dale_signs": np.ones(5)}, "dale_signs must not be given with rank=2"),
    ({"connectivity": {"W_s": np.ones((5, 5))}}, "connectivity must not name 'W_s' with rank=2"),
    ({"trainable": {"W_s": False}}, "trainable must not name 'W_s' with rank=2"),
    ({"nonnegative": ("W_s",)}, "nonnegative must not name 'W_s' with rank=2"),
    ({"connectivity": {"M": np.ones((5, 3))}}, r"connectivity\['M'\] must have shape \(5, 2\)"),
    ({"l2": {"W_s": 0.1}}, "l2 names 'W_s'"), ({"initializer": {"W_s": "normal"}}, r"initializer names \['W_s'\]"),
], ids=str)
def test_what_a_rank_excludes_is_named(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        RNN(I, **{"hidden_size": H, "output_size": O, "rank": R} | options)


def test_factors_are_no_parameters_without_a_rank():
    for options in ({"connectivity": {"M": np.ones((5, 2))}}, {"l1": {"N": 0.1}}, {"initializer": {"M": "normal"}}):
        with pytest.raises(ValueError, match="this network's parameters are W_x, W_s"):
            RNN(I, H, O, **options)
