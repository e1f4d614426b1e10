"""Leaky units in both forms: the reference against its equations and the complex step, the core against the reference."""

import copy
import pickle

import numpy as np
import pytest
from cases import ALL, STEP, all_states, allowed, assert_close, error_of, flat
from expectations import Collect, vectors_only
from leaky import B, H, I, O, T, data, network

import fastbptt
from fastbptt import RNN, diagnostics, reference
from fastbptt.backends.arguments import Batch, CallOptions
from fastbptt.diagnostics._networks import with_options
from fastbptt.estimators import RNNRegressor

FORMS = ("rate", "current")
rng = np.random.default_rng(0)
every_form = pytest.mark.parametrize("form", FORMS)
both_backends = pytest.mark.parametrize("backend", ["reference", "core"])


def by_hand(net, X, S, R_before):
    """State and rate after one step, from the state and what W_s reads before, for one sequence."""
    p, g = net.parameters, reference.ACTIVATIONS[net.activation][0]
    A = p["W_x"] @ X + p["W_s"] @ R_before + p.get("b_s", 0)
    if net.leak_form == "rate":
        rate = g(A)
        return (1 - net.leak) * S + net.leak * rate, rate
    S = (1 - net.leak) * S + net.leak * A
    return S, g(S)


@every_form
@both_backends
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_states_rates_and_outputs_are_those_of_the_equations(form, backend, activation):
    net = network(form, activation=activation, learn_initial_state=True)
    X, _, _ = data(net)
    Y, final_state, run = net.forward(X, return_states=True, backend=backend)
    S, R = run.S, run.rates
    p, g = net.parameters, reference.ACTIVATIONS[activation][0]
    for b in range(B):
        state = p["S_0"]
        for t in range(T):
            state, rate = by_hand(net, X[t, b], state, g(state) if form == "current" else state)
            np.testing.assert_allclose(S[t + 1, b], state, atol=1e-14)
            np.testing.assert_allclose(R[t, b], rate, atol=1e-14)
            read = rate if form == "current" else state
            np.testing.assert_allclose(Y[t, b], p["W_y"] @ read + p["b_y"], atol=1e-14)
    assert S.shape == (T + 1, B, H) and R.shape == (T, B, H)
    np.testing.assert_array_equal(final_state, S[-1])


@pytest.mark.share(3)
@every_form
@pytest.mark.parametrize("sizes, both", [(H, False), ((5, 4), False), (4, True)])
@pytest.mark.parametrize("options", [
    {"learn_initial_state": True, "activation": "softplus"}, {"output": "last", "learn_initial_state": True},
    {"one_hot": True, "bias": False, "activation": "elu", "leak": 0.05}, {"leak": 1.0},
], ids=str)
def test_every_gradient_of_the_reference_is_the_complex_step(form, sizes, both, options):
    for seed in range(4) if ALL else (1, 3):
        net = network(form, hidden_size=sizes, bidirectional=both, seed=seed, **options)
        X, D, more = data(net, seed, lengths=seed % 2, resets=seed > 0, weights=seed > 1, initial_state=seed != 2)
        settings = {name: getattr(net, name) for name in ("output", "activation", "leak", "leak_form")}
        _, gradients = reference.loss_and_gradients(dict(net.parameters), X, D, **more, **settings,
                                                    input_gradient=not net.one_hot, initial_state_gradient=True)
        places = {name: value.astype(complex) for name, value in net.parameters.items()}
        p = dict(places)
        given = more.get("initial_state")
        if given is not None:
            given = tuple(S_0.astype(complex) for S_0 in (given if net._stacked else [given]))
            places |= {("initial_state", n): S_0 for n, S_0 in enumerate(given)}
            more["initial_state"] = given if net._stacked else given[0]
        if not net.one_hot:
            X = places["X"] = X.astype(complex)
        for name, array in places.items():
            gradient = gradients[name] if isinstance(name, str) else gradients[name[0]]
            if not isinstance(name, str) and net._stacked:
                gradient = gradient[name[1]]
            for j in np.random.default_rng(seed).permutation(array.size)[:10 if ALL else 3]:
                array.flat[j] += 1j * STEP
                derivative = reference.loss(p, X, D, **more, **settings).imag / STEP
                array.flat[j] = array.flat[j].real
                assert abs(gradient.flat[j] - derivative) <= 1e-13 * max(1, np.abs(gradient).max()), (name, seed)


@pytest.mark.share(3)
@every_form
@both_backends
@pytest.mark.parametrize("tbptt", [(2, 3), (3, 3), (4, 2), (1, 1), (3, 100)])
@pytest.mark.parametrize("sizes", [H, (5, 4)])
def test_truncation_holds_the_state_before_a_window_constant(form, backend, tbptt, sizes):
    """Each window is an exact gradient: of its steps as a sequence that begins with constant states."""
    net = network(form, hidden_size=sizes, reduction="sum", learn_initial_state=True)
    for seed in range(3) if ALL else (2,):
        X, D, more = data(net, seed, resets=seed > 0, initial_state=seed > 1)
        S = net.forward(X, **more, return_states=True)[2].S
        truth = {name: np.zeros_like(value) for name, value in net.parameters.items()} | {"X": np.zeros_like(X)}
        for name in ("W_y", "b_y"):
            truth[name] = net.loss_and_gradients(X, D, **more)[1][name]
        for begin, since, end in reference.windows(T, tbptt):
            window = {"resets": more["resets"][begin:end]} if "resets" in more else {}
            if begin > 0 or "initial_state" in more:
                window["initial_state"] = tuple(s[begin] for s in S) if net._stacked else S[begin]
            m = np.ones((end - begin, B))
            m[:max(0, since - begin)] = 0
            _, part = net.loss_and_gradients(X[begin:end], D[begin:end], weights=m, **window, input_gradient=True,
                                             backend="reference")
            truth["X"][begin:end] += part["X"]
            for name in net.parameters.keys() - {"W_y", "b_y"}:
                truth[name] += part[name]
        _, gradients = net.loss_and_gradients(X, D, **more, tbptt=tbptt, input_gradient=True, backend=backend)
        for name, value in truth.items():
            assert_close(gradients[name], value, 1e-12, name, net)


@both_backends
@pytest.mark.parametrize("sizes, both", [(H, False), ((5, 4), False), (4, True)])
@pytest.mark.parametrize("options", [{}, {"leak": 0.3}, {"leak": 1.0, "leak_form": "current"}, {"leak": 0.3, "leak_form": "current"}])
def test_every_network_returns_three_values_with_states_and_two_without(options, sizes, both, backend):
    net = RNN(I, sizes, O, bidirectional=both, dtype="float64", random_state=0, **options)
    population = fastbptt.Population.from_networks([net, net])
    X, _, more = data(net, lengths=True)
    for network, axes in ((net, ()), (population, (2,))):
        how = {"lengths": more["lengths"]} | ({"backend": backend} if network is net else {})
        assert len(network.forward(X, **how)) == 2
        Y, final_state, states = network.forward(X, **how, return_states=True)
        finals, S, rates = (value if net._stacked else (value,) for value in (final_state, states.S, states.rates))
        assert Y.shape == (*axes, T, B, O) and len(finals) == len(S) == len(rates) == len(net._widths)
        for width, end, s, r in zip(net._widths, finals, S, rates):
            assert end.shape == (*axes, B, width) and s.shape == (*axes, T + 1, B, width) and r.shape == (*axes, T, B, width)
            if not options:
                np.testing.assert_array_equal(r, s[..., 1:, :, :])
            elif "leak_form" in options:  # behind a sequence's end both are 0, which tanh keeps
                np.testing.assert_allclose(r, np.tanh(s[..., 1:, :, :]), atol=1e-14)
        if network is population and not net._stacked:
            np.testing.assert_allclose(S[0][1], net.forward(X, **how, return_states=True)[2].S, atol=1e-13)


def test_the_states_say_what_they_are_and_what_to_index():
    states = RNN(I, (4, 5), O, leak=0.5).forward(np.zeros((T, B, I)), return_states=True)[2]
    assert repr(states) == ("NetworkStates(S=(<float32 array (8, 4, 4)>, <float32 array (8, 4, 5)>), "
                            "rates=(<float32 array (7, 4, 4)>, <float32 array (7, 4, 5)>))")
    again = pickle.loads(pickle.dumps(states))
    np.testing.assert_array_equal(again.rates[1], states.rates[1])
    for use in (lambda: states[0], lambda: states[:, 0], lambda: np.asarray(states), lambda: list(states)):
        with pytest.raises(TypeError, match=r"states\.S"):
            use()


# ---------------------------------------------------------------------------------------------------------------------
# The core against the reference
# ---------------------------------------------------------------------------------------------------------------------


def operations(net, X, D, more, backend, **options):
    """Every tensor that the operations return, by name."""
    given = {name: value for name, value in more.items() if name != "weights"}
    asked = {"input_gradient": not net.one_hot, "initial_state_gradient": True, "backend": backend, **options}
    found = {"forward": all_states(net.forward(X, **given, return_states=True, backend=backend)),
             "losses": net.losses(X, D, **given, backend=backend),
             "evaluate": net.evaluate(X, D, **more, backend=backend),
             "loss_and_gradients": net.loss_and_gradients(X, D, **more, **asked),
             "backward": net.backward(X, D, **given, **asked),
             "objective": net.objective(X, D, **more, backend=backend)(net.theta)}
    if not net._stacked:
        found["terms"] = net.gradient_terms(X, D, T - 3, initial_state=given.get("initial_state"), backend=backend)
        if net.output == "sequence" and not net._maps:
            start = given.get("initial_state")
            found["flow"] = net._engine(backend).gradient_flow(net._theta, Batch(X, D, initial_state=start), CallOptions(), 1, len(X) - 1)
    return dict(flat(found))


def random_case(seed, form, dtype="float64", **fixed):
    rng = np.random.default_rng(seed)
    flags = rng.random(12) < 0.5
    options = {"output": "last" if flags[0] else "sequence", "one_hot": bool(flags[1]), "learn_initial_state": bool(flags[2]),
               "bias": bool(flags[3]), "reduction": "sum" if flags[4] else "mean",
               "activation": ["tanh", "relu", "silu", "gelu", "softplus", "leaky_relu", "elu", "softsign"][seed % 8],
               "leak": [0.02, 0.5, 0.9, 1.0][rng.integers(4)], "connectivity": {"W_s": rng.random((H, H)) < 0.7},
               "dale_ratio": 0.7 if flags[5] else None, **fixed}
    if options.get("hidden_size", H) != H or options.get("bidirectional"):
        options["connectivity"] = options["dale_ratio"] = None
    net = network(form, seed=seed, dtype=dtype, **options)
    return net, lambda net: data(net, seed, lengths=flags[6], resets=flags[7], weights=flags[8], initial_state=flags[9])


@pytest.mark.share(3)
@every_form
@pytest.mark.parametrize("sizes, both", [(H, False), ((5, 4), False), (4, True)])
@pytest.mark.parametrize("seed", range(24 if ALL else 8))
def test_every_operation_of_the_core_is_the_reference_s(form, sizes, both, seed):
    net, draw = random_case(seed, form, hidden_size=sizes, bidirectional=both)
    X, D, more = draw(net)
    found, truth = (operations(net, X, D, more, backend) for backend in ("core", "reference"))
    assert list(found) == list(truth)
    for name in truth:
        assert_close(found[name], truth[name], 1e-12, name, net)
    rough = network(form, hidden_size=sizes, bidirectional=both, dtype="float32",
                    **{name: value for name, value in net._config.items() if name not in (
                        "input_size", "hidden_size", "output_size", "dtype", "bidirectional", "leak_form")})
    rough.theta = net.theta
    more = {name: tuple(np.float32(part) for part in value) if isinstance(value, tuple) else
            np.float32(value) if value.dtype.kind == "f" else value for name, value in more.items()}
    X, D = (np.float32(array) if array.dtype.kind == "f" else array for array in (X, D))
    single, near = (operations(rough, X, D, more, backend) for backend in ("core", "reference"))
    for name in truth:
        assert error_of(single[name], truth[name]) <= 4 * allowed(error_of(near[name], truth[name]), truth[name]), name


@pytest.mark.share(2)
@every_form
def test_across_blocks_of_time_segments_and_threads(form):
    """A long call in many blocks: the reference's numbers; the same bits for any threads and any memory."""
    net = network(form, hidden_size=33, learn_initial_state=True, activation="relu", leak=0.2)
    net.parameters["W_s"] *= 0.3
    engine = net._engines["core"]
    for ragged in (False, True):
        X, D, more = data(net, 1, T=200, B=11, lengths=ragged, resets=ragged, weights=ragged)
        asked = {"input_gradient": True, "initial_state_gradient": True}
        truth = dict(flat(net.loss_and_gradients(X, D, **more, **asked, backend="reference")))
        for work in (engine.shard_work, 1):
            engine.shard_work = work
            plain = dict(flat(net.loss_and_gradients(X, D, **more, **asked, n_threads=1)))
            for name in truth:
                assert_close(plain[name], truth[name], 1e-11, name, net)
            for how in ({"n_threads": 2}, {"memory_limit": "auto"}, {"memory_limit": "auto", "n_threads": 2}):
                other = dict(flat(net.loss_and_gradients(X, D, **more, **asked, **how)))
                for name in truth:
                    np.testing.assert_array_equal(other[name], plain[name], err_msg=f"{name} {how}")
        sizes = {name: value for name, value in more.items() if name == "lengths"}
        least, most = (net.memory_estimate(200, 11, **sizes, resets=ragged, memory_limit=limit, n_threads=1)
                       for limit in ("auto", None))
        assert least < most  # there are segments
        truncated = [dict(flat(net.loss_and_gradients(X, D, **more, **asked, tbptt=(30, 50), backend=backend)))
                     for backend in ("core", "reference")]
        for name in truth:
            assert_close(*(found[name] for found in truncated), 1e-11, name, net)


@vectors_only
@every_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_have_the_bits_of_forward_and_a_sequence_those_it_has_alone(form, dtype):
    net = network(form, dtype=dtype, hidden_size=13, learn_initial_state=True)
    X, _, _ = data(net, B=9)
    Y, final_state, run = net.forward(X, return_states=True)
    S, R = run.S, run.rates
    state = None
    for t in range(T):
        y, state = net.step(X[t], state)
        np.testing.assert_array_equal(y, Y[t])
        np.testing.assert_array_equal(state, S[t + 1])
    alone = all_states(net.forward(X[:, 3:4], return_states=True))
    for array, alone in zip((Y, S, R), (alone[0], *alone[2:])):
        np.testing.assert_array_equal(array[:, 3:4], alone)
    out = np.empty((9, O), dtype), S[0].copy()
    for t in range(T):
        net.step(X[t], out[1], out=out)
    np.testing.assert_array_equal(out[1], final_state)


@both_backends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_leak_of_one_in_the_rate_form_is_the_plain_network_to_the_bit(backend, dtype):
    plain = RNN(I, H, O, dtype=dtype, random_state=0)
    for options in ({"leak": 1.0}, {"dt": 5, "tau": 5}):
        net = RNN(I, H, O, dtype=dtype, random_state=0, **options)
        X, D, more = data(net, lengths=True, resets=True)
        for (name, found), (_, truth) in zip(flat(net.loss_and_gradients(X, D, **more, backend=backend)),
                                             flat(plain.loss_and_gradients(X, D, **more, backend=backend))):
            np.testing.assert_array_equal(found, truth, err_msg=name)


@both_backends
def test_a_leak_of_one_in_the_current_form_is_the_plain_network_seen_before_g1(backend):
    net, plain = network("current", leak=1.0), network("rate", leak=1.0)
    X, D, _ = data(net)
    start = np.random.default_rng(1).standard_normal((B, H))
    loss, found = net.loss_and_gradients(X, D, initial_state=start, backend=backend)
    expected, truth = plain.loss_and_gradients(X, D, initial_state=np.tanh(start), backend=backend)
    assert loss == pytest.approx(expected, rel=1e-14)
    for name in truth:
        assert_close(found[name], truth[name], 1e-13, name, net)
    Y, _, run = net.forward(X, start, return_states=True, backend=backend)
    S, R = run.S, run.rates
    np.testing.assert_allclose(np.tanh(S[1:]), R, atol=1e-15)
    np.testing.assert_allclose(R, plain.forward(X, np.tanh(start), return_states=True, backend=backend)[2].S[1:], atol=1e-14)


@every_form
def test_terms_sum_to_the_gradient_and_the_flow_is_their_norm(form):
    net = network(form, reduction="sum")
    X, D, _ = data(net)
    for backend in ("core", "reference"):
        terms = [net.gradient_terms(X, D, t, backend=backend) for t in range(T)]
        _, truth = net.loss_and_gradients(X, D)
        for name in ("W_s", "W_x", "W_y"):
            total = sum(term[name] if name == "W_y" else term[name].sum(axis=0) for term in terms)
            assert_close(total, truth[name], 1e-12, name, net)
        flow = diagnostics.gradient_flow(net, X, D, backend=backend)
        for t, term in enumerate(terms):
            np.testing.assert_allclose(flow.norms[t, :t + 1], np.linalg.norm(term["S"], axis=(1, 2)), rtol=1e-12)
            assert (flow.norms[t, t + 1:] == 0).all()


@every_form
def test_the_derivative_by_a_state_is_that_of_the_states_that_follow(form):
    """`S` of the terms: E_t of the network that begins with that state."""
    net = network(form)
    X, D, _ = data(net)
    S = net.forward(X, return_states=True)[2].S
    terms = net.gradient_terms(X, D, T - 1)["S"]
    for i in range(T - 1):
        weights = np.zeros((T - 1 - i, B))
        weights[-1] = 1
        more = {"weights": weights, "initial_state": S[i + 1], "initial_state_gradient": True}
        found = net.loss_and_gradients(X[i + 1:], D[i + 1:], **more)[1]["initial_state"] * B
        assert_close(terms[i], found, 1e-12, i, net)


@every_form
def test_jacobians_are_the_complex_step_and_fixed_points_stand_still(form):
    net = network(form, leak=0.25)
    rng = np.random.default_rng(2)
    S, x = rng.standard_normal((5, H)), rng.standard_normal(I)
    jacobian = diagnostics.jacobian(net, S, x)
    options = net._engines["reference"].options
    for j in range(H):
        turned = S.astype(complex)
        turned[:, j] += 1j * STEP
        np.testing.assert_allclose(jacobian[..., j], reference.next_state(net.parameters, turned, x, **options).imag / STEP,
                                   atol=1e-14)
    np.testing.assert_allclose(reference.next_state(net.parameters, S, x, **options), net.step(np.tile(x, (5, 1)), S)[1],
                               atol=1e-14)
    found = diagnostics.fixed_points(net, x, S)
    assert len(found.points)
    for point in found.points[found.speed < 1e-20]:
        np.testing.assert_allclose(net.step(x[None], point[None])[1][0], point, atol=1e-9)


@every_form
@both_backends
def test_a_leaky_state_forgets_with_its_time_constant(form, backend):
    """Without connections and input a state decays as (1 - dt / tau)^t."""
    net = RNN(1, 1, 1, activation="identity", dt=2, tau=20, leak_form=form, dtype="float64", initializer=lambda s, rng:
              np.zeros(s))
    assert net.leak == 0.1
    S = net.forward(np.zeros((10, 1, 1)), np.ones((1, 1)), return_states=True, backend=backend)[2].S
    np.testing.assert_allclose(S[:, 0, 0], 0.9 ** np.arange(11), rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------------------
# Training, files, estimators
# ---------------------------------------------------------------------------------------------------------------------

TBPTT = [None, (3, 3), (2, 5)]


@pytest.mark.share(3)
@every_form
@pytest.mark.parametrize("tbptt", TBPTT)
@pytest.mark.parametrize("sizes", [H, (5, 4)])
def test_training_is_the_same_in_both_backends(form, tbptt, sizes):
    nets = [network(form, hidden_size=sizes, learn_initial_state=True) for _ in range(2)]
    X, D, more = data(nets[0], lengths=tbptt is None, resets=True)
    for net, backend in zip(nets, ("core", "reference")):
        net.fit(X, D, **more, epochs=3, batch_size=3, tbptt=tbptt, optimizer="sgd", learning_rate=0.1, backend=backend)
    assert_close(nets[0].theta, nets[1].theta, 1e-12, "theta", nets[0])


@every_form
def test_training_in_compiled_code_is_that_of_single_updates_to_the_bit(form):
    nets = [network(form, learn_initial_state=True) for _ in range(2)]
    X, D, more = data(nets[0], lengths=True)
    nets[0].fit(X, D, **more, epochs=4, batch_size=3)
    nets[1].fit(X, D, **more, epochs=4, batch_size=3, update_callbacks=lambda record: None)
    np.testing.assert_array_equal(nets[0].theta, nets[1].theta)


@every_form
@pytest.mark.parametrize("tbptt", TBPTT[1:])
@pytest.mark.parametrize("sizes", [H, (5, 4)])
def test_a_stream_is_fit_by_truncation_and_goes_on_from_its_final_state(form, tbptt, sizes):
    nets = [network(form, hidden_size=sizes, learn_initial_state=True) for _ in range(3)]
    X, D, _ = data(nets[0], T=12)
    nets[0].fit(X, D, tbptt=tbptt, epochs=1, batch_size=B, optimizer="sgd", learning_rate=0.1, shuffle=False)
    nets[1].stream(X, D, tbptt=tbptt, optimizer="sgd", learning_rate=0.1)
    assert_close(nets[1].theta, nets[0].theta, 1e-13, "theta", nets[0])
    chunks = ((X[t:t + 5], D[t:t + 5]) for t in range(0, 12, 5))
    history = nets[2].stream(chunks, tbptt=tbptt, optimizer="sgd", learning_rate=0.1)
    np.testing.assert_array_equal(nets[2].theta, nets[1].theta)
    states = history.final_state if nets[2]._stacked else (history.final_state,)
    assert [state.shape for state in states] == [(B, width) for width in nets[2]._widths]
    nets[2].stream(X, D, tbptt=tbptt, initial_state=history.final_state)


@every_form
@both_backends
@pytest.mark.parametrize("sizes", [H, (5, 4)])
def test_the_windows_of_a_stream_that_learns_nothing_sum_to_the_truncated_gradient(form, backend, sizes):
    net, optimizer = network(form, hidden_size=sizes, reduction="sum", learn_initial_state=True), Collect()
    X, D, more = data(net, T=12, resets=True)
    _, truth = net.loss_and_gradients(X, D, **more, tbptt=(2, 5))
    net.stream(X, D, **more, tbptt=(2, 5), optimizer=optimizer, backend=backend)
    expected = np.concatenate([gradient.ravel() for gradient in truth.values()])
    assert_close(np.sum(optimizer.gradients, axis=0), expected, 1e-12, "gradient", net)


@pytest.mark.share(3)
@every_form
@both_backends
@pytest.mark.parametrize("tbptt", TBPTT)
def test_a_run_that_was_cut_off_goes_on_to_the_bit(form, backend, tbptt, tmp_path):
    nets = [network(form) for _ in range(2)]
    X, D, _ = data(nets[0])
    how = {"batch_size": 3, "tbptt": tbptt, "backend": backend, "random_state": 3}
    nets[0].fit(X, D, updates=11, **how)
    nets[1].fit(X, D, updates=4, checkpoint=tmp_path / "run.npz", **how)
    again = network(form)
    again.fit(X, D, updates=11, checkpoint=tmp_path / "run.npz", resume=True, **how)
    np.testing.assert_array_equal(again.theta, nets[0].theta)


@every_form
@pytest.mark.parametrize("sizes, both", [(H, False), ((5, 4), False), (4, True)])
def test_files_pickles_copies_and_gradcheck(form, sizes, both, tmp_path):
    net = network(form, hidden_size=sizes, bidirectional=both, learn_initial_state=True)
    net.save(tmp_path / "net.npz")
    X, _, _ = data(net)
    for other in (fastbptt.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
        assert (other.leak, other.leak_form) == (net.leak, form)
        np.testing.assert_array_equal(other.forward(X)[0], net.forward(X)[0])
    check = net.gradcheck()
    assert check.passed, check.describe()
    assert "leak=0.3" in repr(net) and ("leak_form='current'" in repr(net)) == (form == "current")


def test_the_time_step_stays_with_a_network(tmp_path):
    X, D, _ = data(network("rate", dtype="float32"))
    net = RNN(I, H, O, dt=20, tau=100, random_state=0)
    population = fastbptt.Population(2, I, H, O, dt=20, tau=100)
    net.fit(X, D, epochs=1, checkpoint=tmp_path / "run.npz")
    for each in (net, population):
        each.save(tmp_path / f"{type(each).__name__}.npz")
    for other in (net, pickle.loads(pickle.dumps(net)), net.copy(),
                  *map(fastbptt.load, (tmp_path / "RNN.npz", tmp_path / "run.npz")), population[1], fastbptt.load(tmp_path / "Population.npz")[0], with_options(net, dtype="float64")):
        assert other.dt == 20 and other.leak == 0.2
    assert RNN(I, H, O, leak=0.2).dt is RNN(I, H, O).dt is None
    state = net.__getstate__()
    del state["dt"]  # as a pickle of an earlier version has none
    other.__setstate__(state)
    assert other.dt is None


def test_a_pickle_of_an_earlier_version_is_a_plain_network():
    net = RNN(I, H, O, random_state=0)
    state = net.__getstate__()
    old = RNN.__new__(RNN)
    old.__setstate__({**state, "config": {name: value for name, value in state["config"].items() if "leak" not in name}})
    X, _, _ = data(net)
    np.testing.assert_array_equal(old.forward(X)[0], net.forward(X)[0])
    assert old.leak == 1.0


@every_form
def test_a_population_runs_leaky_networks_one_at_a_time(form):
    population = fastbptt.Population(3, I, 4, O, leak=0.3, leak_form=form, random_state=0)
    assert "one at a time" in population.describe()
    X, D, _ = data(network(form, dtype="float32"))
    population.fit(X, D, epochs=2)
    assert population[1].leak == 0.3
    np.testing.assert_array_equal(population.forward(X)[0][1], population[1].forward(X)[0])


@every_form
def test_closed_loops_are_steps(form):
    net = RNN(2, H, 2, leak=0.4, leak_form=form, dtype="float64", random_state=0)
    X = np.random.default_rng(1).standard_normal((5, B, 2))
    Y, state = net.generate(4, prefix=X, return_state=True)
    again = net.forward(np.concatenate([X, Y[:3]]))[0][-4:]
    np.testing.assert_allclose(Y, again, atol=1e-14)
    for k, y in enumerate(net.generate(4, prefix=X, backend="reference")):
        np.testing.assert_allclose(Y[k], y, atol=1e-14)


@every_form
def test_estimators_take_the_options_by_the_same_names(form):
    X, y = np.random.default_rng(0).standard_normal((8, 20, 2)), np.random.default_rng(1).standard_normal((8, 20))
    model = RNNRegressor(4, dt=1, tau=5, leak_form=form, max_iter=2, random_state=0).fit(X, y)
    assert model.network_.leak == 0.2 and model.network_.leak_form == form
    series = y[..., None]
    model = RNNRegressor(4, leak=0.5, leak_form=form, max_iter=2, random_state=0).fit(series[:, :-1], series[:, 1:])
    assert model.network_.leak == 0.5 and model.forecast(series, 3).shape == (8, 3, 1)


@pytest.mark.parametrize("options, error, words", [
    ({"leak": 0}, ValueError, "leak must be"), ({"leak": 1.1}, ValueError, "leak must be above 0 and at most 1, got 1.1"),
    ({"leak": "0.1"}, TypeError, "leak must be"), ({"leak": np.nan}, ValueError, "leak must be"),
    ({"dt": 1}, TypeError, "dt and tau must be given together"), ({"tau": 1}, TypeError, "dt and tau must be given together"),
    ({"dt": 2, "tau": 1}, ValueError, "dt must be at most tau"), ({"dt": -1, "tau": 1}, ValueError, "dt must be"),
    ({"leak": 0.1, "dt": 1, "tau": 10}, TypeError, "leak is given with dt or tau"),
    ({"leak_form": "state"}, ValueError, "unknown leak_form .state."),
], ids=str)
def test_bad_options_are_refused_in_words(options, error, words):
    with pytest.raises(error, match=words):
        RNN(I, H, O, **options)
