"""A penalty on rates and Pascanu's Ω: by their definitions, by the complex step, and the core against the reference."""

import itertools

import numpy as np
import pytest
from expectations import refused

import fastbptt
from fastbptt import RNN, Population, _core, reference

T, B, I, H, O = 6, 4, 3, 5, 2
STEP = 1e-200
BACKENDS = ["core", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
PENALTIES = [{"rate_penalty": 0.7}, {"omega": 0.4}, {"rate_penalty": 0.7, "omega": 0.4, "l2": 0.1, "l1": {"W_s": 0.05}}]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=["rates", "omega", "all"])
LENGTHS = np.array([6, 1, 0, 4])
RESETS = np.random.default_rng(5).random((T, B)) < 0.3
NETWORKS = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "relu": {"activation": "relu"},
    "learnt": {"learn_initial_state": True},
    "last": {"output": "last"},
    "signs": {"dale_ratio": 0.6, "connectivity": {"W_s": np.arange(25).reshape(5, 5) % 3 > 0}},
    "layers": {"hidden_size": (5, 4)},
    "both": {"hidden_size": (5, 4), "bidirectional": True},
    "leak": {"leak": 0.3, "learn_initial_state": True},
    "current": {"leak": 0.3, "leak_form": "current", "activation": "sigmoid"},
    "leaky layers": {"hidden_size": (5, 4), "leak": 0.3, "leak_form": "current", "activation": "sigmoid"},
}
SEQUENCES = {"whole": {}, "lengths": {"lengths": LENGTHS}, "resets": {"resets": RESETS},
             "both": {"lengths": LENGTHS, "resets": RESETS}}


def network(**options):
    net = RNN(I, **{"hidden_size": H, "output_size": O, "dtype": "float64", "random_state": 0, **options})
    net.theta = 0.6 * np.random.default_rng(1).standard_normal(net.theta.size)
    return net


def data(net):
    rng = np.random.default_rng(2)
    X, D = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    return X, D[0] if net.output == "last" else D


def kinds():
    for (name, options), (more, sequences) in itertools.product(NETWORKS.items(), SEQUENCES.items()):
        if name == "last" and "lengths" in sequences:
            sequences = sequences | {"lengths": np.maximum(LENGTHS, 1)}
        yield pytest.param(options, sequences, id=f"{name}-{more}")


def penalties_of(options, penalty):
    """Without omega where it has no meaning."""
    return {name: number for name, number in penalty.items() if not (name == "omega" and "leak" in options)}


every_kind = pytest.mark.parametrize(("options", "sequences"), list(kinds()))


def reference_options(net):
    return net._engines["reference"].options


# ---- By the definitions


def rates_of(net, X, **sequences):
    """What W_s and W_y read after each step (T, B, H), of each recurrence."""
    states = net.forward(X, return_states=True, **sequences)[2]
    if net.leak_form == "current":
        return states.rates if isinstance(states.rates, tuple) else [states.rates]
    return [S[1:] for S in (states.S if isinstance(states.S, tuple) else (states.S,))]


@every_kind
@both_backends
def test_the_penalty_on_rates_is_the_mean_square_over_units_and_steps_that_there_are(options, sequences, backend):
    net, plain = network(rate_penalty=0.7, **options), network(**options)
    X, D = data(net)
    total, count = 0.0, 0
    for R in rates_of(net, X, **sequences):
        for b, n in enumerate(sequences.get("lengths", [T] * B)):
            total, count = total + (R[:n, b] ** 2).sum(), count + n * R.shape[2]
    loss = net.loss_and_gradients(X, D, **sequences, backend=backend)[0]
    expected = plain.loss_and_gradients(X, D, **sequences, backend=backend)[0] + 0.7 * total / count
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    assert net.evaluate(X, D, **sequences, backend=backend) == plain.evaluate(X, D, **sequences, backend=backend)


@both_backends
def test_omega_is_the_paper_s_sum_by_jacobians_of_steps(backend):
    """Each factor ∂S_t/∂S_{t-1} in full, and ∂E/∂S_t by the product of those after it."""
    net, plain = network(omega=0.4), network()
    X, D = data(net)
    S, p = net.forward(X, return_states=True)[2].S, net.parameters
    terms = []
    for b in range(B):
        jacobians = [(1 - S[t + 1, b] ** 2)[:, None] * p["W_s"] for t in range(T)]
        dS = np.zeros(H)
        for t in reversed(range(T)):
            y = p["W_y"] @ S[t + 1, b] + p["b_y"]
            dS = 2 * (y - D[t, b]) @ p["W_y"] + (dS @ jacobians[t + 1] if t + 1 < T else 0)
            terms.append((np.linalg.norm(dS @ jacobians[t]) / np.linalg.norm(dS) - 1) ** 2)
    loss = net.loss_and_gradients(X, D, backend=backend)[0]
    np.testing.assert_allclose(loss, plain.loss_and_gradients(X, D, backend=backend)[0] + 0.4 * np.mean(terms), rtol=1e-12)


# ---- By the complex step


@pytest.mark.share(4)
@every_kind
def test_gradients_are_the_complex_step_s(options, sequences):
    """Of E with the penalty on rates; of Ω with ∂E/∂S and δ as they are at the parameters themselves."""
    net = network(**penalties_of(options, {"rate_penalty": 0.7, "omega": 0.4, "l2": 0.1}), **options)
    X, D = data(net)
    how = {**reference_options(net), **sequences, "weights": np.random.default_rng(3).random(D.shape[:-1])}
    _, gradients = reference.loss_and_gradients(net.parameters, X, D, **how)
    held = reference.flows(net.parameters, X, D, **how)
    parameters = {name: value.astype(complex) for name, value in net.parameters.items()}

    def objective():
        p = reference.effective(parameters, how["maps"])
        spread = sum(reference.spread(p["W_s" + suffix], *flow) for suffix, flow in held.items()) if net.omega else 0
        return (reference.loss(parameters, X, D, **how) + reference.penalty(p, None, how["l2"])
                + 0.7 * reference.mean_square_rate(parameters, X, **how) + 0.4 * spread)

    for name, value in parameters.items():
        slope = np.empty(value.size)
        for k in range(value.size):
            value.flat[k] += 1j * STEP
            slope[k] = objective().imag / STEP
            value.flat[k] = value.flat[k].real
        np.testing.assert_allclose(gradients[name].ravel(), slope, rtol=1e-11, atol=1e-13, err_msg=name)


@every_penalty
def test_gradcheck_has_the_penalties(penalty):
    check = network(learn_initial_state=True, **penalty).gradcheck()
    assert max(check.errors["reference float64"].values()) < 1e-11
    assert max(check.errors["core float64"].values()) < 1e-11
    assert max(check.errors["core float32"].values()) < 1e-4


def test_omega_s_gradient_is_no_derivative_of_the_whole_loss():
    """docs/mathematics.md says so: ∂E/∂S moves with the parameters, and is held fixed here."""
    net, (X, D) = network(omega=10.0), data(network())
    _, gradients = net.loss_and_gradients(X, D)
    losses = []
    for step in (1e-6, -1e-6):
        other = net.copy()
        other.parameters["W_s"][1, 2] += step
        losses.append(other.loss_and_gradients(X, D)[0])
    assert abs((losses[0] - losses[1]) / 2e-6 - gradients["W_s"][1, 2]) > 1e-3


# ---- The core against the reference


@pytest.mark.share(3)
@every_kind
@every_penalty
def test_the_core_is_the_reference(options, sequences, penalty):
    penalty = penalties_of(options, penalty)
    for dtype, limit in (("float64", 1e-11), ("float32", 2e-5)):
        net = network(dtype=dtype, **penalty, **options)
        X, D = data(net)
        how = {**sequences, "weights": np.random.default_rng(3).random(D.shape[:-1]), "input_gradient": True,
               "initial_state_gradient": True}
        loss, gradients = net.loss_and_gradients(X, D, **how)
        expected_loss, expected = network(**penalty, **options).loss_and_gradients(X, D, **how, backend="reference")
        np.testing.assert_allclose(loss, expected_loss, rtol=limit)
        assert list(gradients) == list(expected)
        for name in expected:
            both = (part if isinstance(part, tuple) else (part,) for part in (gradients[name], expected[name]))
            for value, true in zip(*both):
                np.testing.assert_allclose(value, true, rtol=limit, atol=limit * np.abs(true).max(initial=0), err_msg=name)


@pytest.mark.parametrize("tbptt", [(2, 2), (2, 5), (3, 1), (6, 6)])
@pytest.mark.parametrize("options", [{}, {"hidden_size": (5, 4)}, NETWORKS["leak"], NETWORKS["current"],
                                     NETWORKS["leaky layers"]], ids=["plain", "layers", "leak", "current", "leaky layers"])
def test_rates_of_a_window_are_those_of_its_new_steps(options, tbptt):
    net = network(rate_penalty=0.7, **options)
    X, D = data(net)
    for sequences in SEQUENCES.values():
        (loss, gradients), (true, expected) = (net.loss_and_gradients(X, D, tbptt=tbptt, **sequences, backend=backend)
                                               for backend in BACKENDS)
        np.testing.assert_allclose(loss, true, rtol=1e-13)
        for name in expected:
            np.testing.assert_allclose(gradients[name], expected[name], rtol=1e-11, atol=1e-13, err_msg=name)
        thetas = []
        for backend in BACKENDS:
            other = net.copy()
            history = other.fit(X, D, tbptt=tbptt, **sequences, epochs=2, batch_size=3, optimizer="sgd", random_state=0,
                                backend=backend)
            thetas.append(np.concatenate([other.theta, history.penalty]))
        np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-10)
        assert history.penalty[0] > 0


@pytest.mark.parametrize("options", [
    {"omega": 0.4, "noise_std": 0.3, "input_noise_std": 0.2}, {"leak": 0.3, "noise_std": 0.3, "recurrent_dropout": 0.4},
    {"recurrent_dropout": 0.4, "hidden_size": (5, 4), "leak": 0.3, "leak_form": "current"}])
def test_noise_and_dropout_are_in_the_rates_that_are_penalised(options):
    net = network(rate_penalty=0.7, **options)
    X, D = data(net)
    for sequences in SEQUENCES.values():
        (loss, gradients), (true, expected) = (
            net.loss_and_gradients(X, D, **sequences, noise=3, dropout=4, backend=backend) for backend in BACKENDS)
        np.testing.assert_allclose(loss, true, rtol=1e-12)
        assert loss != net.loss_and_gradients(X, D, **sequences)[0]
        for name in expected:
            np.testing.assert_allclose(gradients[name], expected[name], rtol=1e-10, atol=1e-12, err_msg=name)


def large(**options):
    """A call of several shards and of several blocks of time."""
    net = network(hidden_size=40, rate_penalty=0.7, omega=0.4, **options)
    net.theta = 0.2 * net.theta  # else what rounding changes grows over 300 steps
    net._engines["core"].shard_work = 1
    rng = np.random.default_rng(4)
    return net, rng.standard_normal((300, 24, I)), rng.standard_normal((300, 24, O))


@pytest.mark.share(4)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ragged", [False, True])
def test_bits_are_those_of_one_thread_and_of_all_states_kept(ragged, dtype):
    net, X, D = large(dtype=dtype)
    how = {}
    if ragged:
        rng = np.random.default_rng(6)
        how = {"lengths": rng.integers(0, 301, 24), "resets": rng.random((300, 24)) < 0.02}
    loss, gradients = net.loss_and_gradients(X, D, n_threads=1, **how)
    for more in ({"n_threads": 2}, {"n_threads": 3}, {"memory_limit": "auto"}):
        other_loss, others = net.loss_and_gradients(X, D, **how, **more)
        assert other_loss == loss
        for name in gradients:
            assert others[name].tobytes() == gradients[name].tobytes(), name
    true, expected = net.loss_and_gradients(X, D, **how, backend="reference")
    limit = 1e-10 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(loss, true, rtol=limit)
    for name in expected:
        np.testing.assert_allclose(gradients[name], expected[name], rtol=limit, atol=limit * np.abs(expected[name]).max())


# ---- At the edges


@both_backends
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_has_no_gradient_does_not_count(dtype, backend):
    """Steps behind the last error, padding, and no error at all."""
    net = network(omega=0.4, dtype=dtype)
    X, D = data(net)
    weights = np.zeros((T, B))
    loss, gradients = net.loss_and_gradients(X, D, weights=weights, backend=backend)
    assert loss == 0 and not any(gradient.any() for gradient in gradients.values())
    weights[:3] = 1
    whole, late = (net.loss_and_gradients(X[:n], D[:n], weights=weights[:n], backend=backend) for n in (T, 3))
    np.testing.assert_allclose(whole[0], late[0], rtol=1e-6)
    np.testing.assert_allclose(whole[1]["W_s"], late[1]["W_s"], rtol=1e-4, atol=1e-6)


@both_backends
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_omega_is_of_no_size_of_the_error(dtype, backend):
    """Ratios: errors of 1e-24 and of 1e15 have the same Ω, and the same slope of it."""
    X, D = data(network())
    found = []
    for size in (1.0, 1e-24, 1e15):
        net = network(dtype=dtype, omega=0.4, reduction="sum")
        plain = network(dtype=dtype, reduction="sum")
        (loss, gradients), (error, others) = (each.loss_and_gradients(X, D, weights=np.full((T, B), size), backend=backend)
                                              for each in (net, plain))
        found.append((loss, error, gradients["W_s"] - others["W_s"]))
    omega = found[0][0] - found[0][1]
    np.testing.assert_allclose(found[1][0], omega, rtol=1e-5)  # of which the error is nothing
    np.testing.assert_allclose(found[1][2], found[0][2], rtol=1e-3, atol=1e-4)


@both_backends
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_that_ends_in_a_step_adds_one_and_has_no_slope(dtype, backend):
    net = RNN(1, 1, 1, activation="relu", omega=0.5, bias=False, dtype=dtype, random_state=0,
              initializer={name: np.ones((1, 1)) for name in ("W_x", "W_s", "W_y")})
    X = np.array([1.0, 1, -9])[:, None, None]  # states 1, 2, 0: the third's slope is zero
    loss, gradients = net.loss_and_gradients(X, np.ones((3, 1, 1)), backend=backend)
    plain = net.copy()
    loss_alone = plain.evaluate(X, np.ones((3, 1, 1)))
    # ∂E/∂S is -2/3 at the third step; its way back is 0. The second has 2/3, which comes to the first whole.
    np.testing.assert_allclose(loss - loss_alone, 0.5 * 1 / 3, rtol=1e-6)
    assert np.isfinite(gradients["W_s"]).all()


@both_backends
def test_off_is_the_plain_network_to_the_bit(backend):
    options = {"rate_penalty": 0, "omega": 0.0}
    net, plain = network(**options), network()
    X, D = data(net)
    (loss, gradients), (other, others) = (each.loss_and_gradients(X, D, backend=backend) for each in (net, plain))
    assert loss == other and all(gradients[name].tobytes() == others[name].tobytes() for name in others)
    assert net.memory_estimate(50, 20) == plain.memory_estimate(50, 20)
    assert network(omega=0.1).memory_estimate(50, 20) > plain.memory_estimate(50, 20)


@both_backends
@pytest.mark.parametrize("hidden_size", [5, (5, 4)])
def test_what_is_no_sum_over_the_whole_loss_has_neither(hidden_size, backend):
    net, plain = (network(hidden_size=hidden_size, **more) for more in ({"rate_penalty": 0.7, "omega": 0.4}, {}))
    X, D = data(net)
    for name, gradient in net.backward(X, D, backend=backend).items():
        np.testing.assert_array_equal(gradient, plain.backward(X, D, backend=backend)[name])
    np.testing.assert_array_equal(net.losses(X, D, backend=backend), plain.losses(X, D, backend=backend))


# ---- In training


@both_backends
@pytest.mark.parametrize("hidden_size", [5, (5, 4)])
def test_history_keeps_data_loss_and_penalty_apart(hidden_size, backend):
    net = network(rate_penalty=0.7, omega=0.4, hidden_size=hidden_size)
    X, D = data(net)
    loss, error = net.loss_and_gradients(X, D)[0], net.evaluate(X, D)
    history = net.fit(X, D, epochs=1, batch_size=B, backend=backend)
    np.testing.assert_allclose(history.train_loss, [error], rtol=1e-12)
    np.testing.assert_allclose(history.penalty, [loss - error], rtol=1e-11)


def test_compiled_training_is_the_loop_s_to_the_bit():
    thetas = []
    for more in ({}, {"update_callbacks": lambda record: None}):
        net = network(rate_penalty=0.7, omega=0.4, learn_initial_state=True)
        X, D = data(net)
        history = net.fit(X, D, epochs=5, batch_size=3, random_state=0, lengths=LENGTHS, resets=RESETS, **more)
        thetas.append((net.theta.tobytes(), tuple(history.penalty)))
    assert thetas[0] == thetas[1]


def test_a_penalty_on_rates_lowers_rates():
    sizes = []
    for rate_penalty in (0.0, 3.0):
        net = network(rate_penalty=rate_penalty)
        X, D = data(net)
        net.fit(X, D, epochs=200, learning_rate=0.01)
        sizes.append((net.forward(X, return_states=True)[2].S ** 2).mean())
    assert sizes[1] < sizes[0] / 4


def test_omega_brings_the_gradient_s_length_from_step_to_step_near_one():
    spreads = []
    for omega in (0.0, 5.0):
        net = RNN(I, 20, O, dtype="float64", initializer=("normal", 0.05), omega=omega, random_state=0)
        rng = np.random.default_rng(0)
        X, D = 0.3 * rng.standard_normal((20, 8, I)), rng.standard_normal((8, O))
        weights = np.zeros((20, 8))
        weights[-1] = 1
        D = np.broadcast_to(D, (20, 8, O))
        net.fit(X, D, weights=weights, epochs=150, batch_size=8, learning_rate=0.01)
        flow = reference.flows(net.parameters, X, D, weights=weights)[""]
        spreads.append(reference.spread(net.parameters["W_s"], *flow))
    assert spreads[1] < spreads[0] / 4


@every_penalty
def test_networks_with_the_penalties_are_saved_copied_and_shown(penalty, tmp_path):
    net = network(**penalty)
    X, D = data(net)
    net.save(tmp_path / "net.npz")
    for other in (fastbptt.load(tmp_path / "net.npz"), net.copy()):
        assert repr(other) == repr(net) and other.loss_and_gradients(X, D)[0] == net.loss_and_gradients(X, D)[0]


def test_populations_train_networks_with_the_penalties_one_at_a_time():
    options = {"rate_penalty": 0.7, "omega": 0.4, "dtype": "float64"}
    population = Population(3, I, H, O, random_state=0, **options)
    X, D = data(network())
    assert "one at a time" in population.describe()
    singles = [population[k] for k in range(3)]
    losses, gradients = population.loss_and_gradients(X, D)
    for k, net in enumerate(singles):
        loss, gradient = net.loss_and_gradients(X, D)
        assert losses[k] == loss and (gradients["W_s"][k] == gradient["W_s"]).all()
    history = population.fit(X, D, epochs=2)
    assert (np.asarray(history.penalty) > 0).all()


def test_estimators_take_them_by_name():
    X, D = data(network())
    model = fastbptt.RNNRegressor(H, rate_penalty=0.7, omega=0.4, max_iter=3, random_state=0)
    model.fit(X.transpose(1, 0, 2), D.transpose(1, 0, 2))
    assert model.network_.rate_penalty == 0.7 and model.network_.omega == 0.4 and model.history_.penalty[0] > 0
    labels = np.array([0, 1, 0, 1])
    model = fastbptt.RNNClassifier(H, rate_penalty=0.7, omega=0.4, max_iter=3, random_state=0)
    model.fit(X.transpose(1, 0, 2), labels)
    assert model.history_.penalty[0] > 0


@pytest.mark.parametrize("name", ["rate_penalty", "omega"])
@pytest.mark.parametrize(("value", "error", "words"), [
    (-1, ValueError, "must be finite and >= 0, got -1"), (np.nan, ValueError, "must be finite"),
    (np.inf, ValueError, "must be finite"), ("1", TypeError, "must be a number, got str"), (True, TypeError, "got bool")])
def test_what_is_no_penalty_is_refused_in_words(name, value, error, words):
    with refused(network(), error, f"{name} {words}" if words.startswith("must") else words):
        network(**{name: value})


def test_the_reference_refuses_omega_of_windows_and_of_leaks():
    net = network(omega=0.4)
    X, D = data(net)
    with pytest.raises(ValueError, match="omega requires tbptt=None, got tbptt="):
        reference.loss_and_gradients(net.parameters, X, D, omega=0.4, tbptt=(2, 2))
    with pytest.raises(ValueError, match="omega requires plain units without leak and dropout; got cell="):
        reference.loss_and_gradients(net.parameters, X, D, omega=0.4, leak=0.5)


@both_backends
def test_the_mean_of_one_rate_is_its_square(backend):
    net = RNN(1, 1, 1, rate_penalty=3.0, dtype="float64", random_state=0)
    X = np.full((1, 1, 1), 0.5)
    rate = net.forward(X, return_states=True)[2].S[1, 0, 0]
    expected = net.evaluate(X, X, backend=backend) + 3 * rate ** 2
    np.testing.assert_allclose(net.loss_and_gradients(X, X, backend=backend)[0], expected, rtol=1e-14)


def test_a_sum_of_squares_is_that_of_all_entries():
    array = np.random.default_rng(0).standard_normal((3, 4, 5))
    np.testing.assert_allclose(_core.sum_of_all_squares(array), (array ** 2).sum(), rtol=1e-14)
    np.testing.assert_allclose(_core.sum_of_all_squares(array.astype("float32")), (array ** 2).sum(), rtol=1e-6)
    for bad in (array.astype(int), array[:, ::2]):
        with pytest.raises(ValueError, match="contiguous"):
            _core.sum_of_all_squares(bad)


@pytest.mark.parametrize("more", [{}, {"hidden_size": (5, 4)}], ids=["plain", "layers"])
def test_omega_of_a_single_step_has_the_weights_of_its_time(more):
    """A step from a state of zero needs no W_s, but Ω does: not the one that an earlier call has left."""
    net = network(omega=0.4, **more)
    X, D = data(net)
    net.loss_and_gradients(X, D)
    net.theta = net.theta / 2
    E, gradients = net.loss_and_gradients(X[:1], D[:1])
    true, expected = net.loss_and_gradients(X[:1], D[:1], backend="reference")
    assert E == pytest.approx(true, rel=1e-12)
    assert all(gradients[name] == pytest.approx(expected[name], rel=1e-11, abs=1e-13) for name in expected)


# ---- Rounding noise


NOISY = {"plain": {}, "learnt": {"learn_initial_state": True}, "layers": {"hidden_size": (5, 4)},
         "both": {"hidden_size": (5, 4), "bidirectional": True}, "rates": {"rate_penalty": 0.3}}


@both_backends
@pytest.mark.parametrize("loss", ["absolute_error", ("huber", 0.5)], ids=str)
@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_errors_without_a_gradient_do_not_count(name, loss, dtype, backend):
    """Targets beyond 1 of a softmax: ∂E/∂Y is the same for all outputs, whose sum is 1, so ∂E/∂S is 0. Such steps count as
    steps without weight do."""
    rng, O = np.random.default_rng(1), 4
    X, D = rng.standard_normal((8, 3, I)).astype(dtype), rng.uniform(0, 1, (8, 3, O)).astype(dtype)
    beyond = rng.random((8, 3)) < 0.5
    D[beyond] = 3
    weights = np.where(beyond, 0, 1).astype(dtype)
    options = {"hidden_size": 5, "output_size": O, "dtype": dtype, "output_activation": "softmax", "loss": loss,
               "reduction": "sum", "random_state": 0, **NOISY[name]}
    net, plain = RNN(I, omega=0.5, **options), RNN(I, **options)

    def omega(weights):
        return (net.loss_and_gradients(X, D, weights=weights, backend=backend)[0]
                - plain.loss_and_gradients(X, D, weights=weights, backend=backend)[0])

    assert omega(weights) > 1e-3
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    assert omega(None) == pytest.approx(omega(weights), rel=tolerance)
    D[...] = 3
    if name != "rates":  # else rates go back
        gradients = net.loss_and_gradients(X, D, backend=backend)[1]
        assert omega(None) == 0 and not any(gradients[key].any() for key in gradients if key.startswith("W_s"))


@both_backends
def test_errors_of_two_steps_that_cancel_do_not_count(backend):
    """δ_{t+1} W_s is what the error of step t takes away, but for rounding: nothing is left, and nothing goes back further."""
    net = RNN(1, 1, 1, activation="identity", output_activation="identity", omega=1.0, reduction="sum", dtype="float64",
              random_state=0)
    w, v = 0.7, 1.3
    net.parameters.update({"W_x": [[0.3]], "W_s": [[w]], "b_s": [0.1], "W_y": [[v]], "b_y": [0.2]})
    X = np.random.default_rng(0).standard_normal((6, 50, 1))
    Y, _ = net.forward(X)[:2]
    r = np.zeros((6, 50, 1))
    r[4], r[3] = 1 / 3, -w / 3  # Y - D
    D = Y - r
    loss = net.loss_and_gradients(X, D, backend=backend)[0]
    # only step 4 counts: its own r is |w|
    assert loss - (r**2).sum() == pytest.approx((w - 1) ** 2, rel=1e-9)


@both_backends
@pytest.mark.parametrize("options", [{}, {"hidden_size": (5, 4)}], ids=["plain", "layers"])
def test_omega_does_not_hang_on_the_size_of_errors(options, backend):
    """Down to errors that are the size of others' rounding noise."""
    sizes, spreads = (1, 1e-9, 1e-13), []
    net, plain = network(omega=0.4, reduction="sum", **options), network(reduction="sum", **options)
    X, D = data(net)
    for size in sizes:
        m = np.full((T, B), size)
        spreads.append(net.loss_and_gradients(X, D, weights=m, backend=backend)[1]["W_s"]
                       - plain.loss_and_gradients(X, D, weights=m, backend=backend)[1]["W_s"])
    for found in spreads[1:]:
        np.testing.assert_allclose(found, spreads[0], rtol=1e-6, atol=1e-9)


@both_backends
def test_a_reset_step_counts_with_its_own_jacobian(backend):
    """Though nothing goes back from it."""
    net, plain = network(omega=0.4), network()
    X, D = data(net)
    resets = np.ones((T, B), bool)
    p = net.parameters
    S = np.tanh(X @ p["W_x"].T + p["b_s"])  # each step begins with zero
    dS = 2 * (S @ p["W_y"].T + p["b_y"] - D) @ p["W_y"]
    delta = dS * (1 - S**2)
    terms = (np.linalg.norm(delta @ p["W_s"], axis=2) / np.linalg.norm(dS, axis=2) - 1) ** 2
    loss = net.loss_and_gradients(X, D, resets=resets, backend=backend)[0]
    expected = plain.loss_and_gradients(X, D, resets=resets, backend=backend)[0] + 0.4 * terms.mean()
    assert loss == pytest.approx(expected, rel=1e-12)
