"""Networks of several recurrences, in layers and in both directions.

The reference against its definition in words (plain networks one upon the other, sequences turned round) and against complex
steps; the core against the reference, whatever the options; and what a caller may rely on beside the numbers.
"""

import itertools
import pickle
import threading

import numpy as np
import pytest
from cases import STEP, all_states
from processes import run_python

import fastbptt
from fastbptt import RNN, RNNClassifier, RNNRegressor, reference

T, B, I, O = 7, 4, 3, 2  # noqa: E741
SIZES = [(5,), (5, 4), (3, 6, 4)]
NETWORKS = [(sizes, both) for sizes in SIZES for both in (False, True) if both or len(sizes) > 1]

every_network = pytest.mark.parametrize("sizes, both", NETWORKS, ids=lambda value: str(value))
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])


def network(sizes, both, *, seed=0, dtype="float64", **options):
    net = RNN(I, sizes, O, bidirectional=both, dtype=dtype, random_state=0, **options)
    net.theta = np.random.default_rng(seed).uniform(-0.6, 0.6, net.theta.size)
    return net


def widths(net):
    return [len(value) for name, value in net.parameters.items() if name.startswith("W_s")]


def data(net, seed=0, T=T, B=B, **chosen):
    """X, D and a dict of what else a call takes; `chosen` says which of weights, lengths, resets, initial_state."""
    rng = np.random.default_rng(seed)
    X = rng.integers(I, size=(T, B)) if net.one_hot else rng.standard_normal((T, B, I))
    last = net.output == "last"
    more = {}
    if chosen.get("weights"):
        more["weights"] = rng.uniform(0.5, 1.5, (B,) if last else (T, B)) * (rng.uniform(size=(B,) if last else (T, B)) < 0.6)
    if chosen.get("lengths"):
        more["lengths"] = rng.integers(1 if last else 0, T + 1, B)
    if chosen.get("resets"):
        more["resets"] = rng.uniform(size=(T, B)) < 0.3
    if chosen.get("initial_state"):
        more["initial_state"] = tuple(rng.uniform(-1, 1, (B, H)) for H in widths(net))
    return X, rng.standard_normal((B, O) if last else (T, B, O)), more


def assert_same(result, truth, limit, what=""):
    """Equal but for `limit` of the largest entry; 0 means to the bit. Tuples and dicts by entry."""
    if isinstance(truth, (tuple, dict)):
        assert type(result) is type(truth) and len(result) == len(truth), what
        keys = truth.keys() if isinstance(truth, dict) else range(len(truth))
        assert not isinstance(truth, dict) or list(result) == list(truth), what
        for key in keys:
            assert_same(result[key], truth[key], limit, f"{what} {key}")
        return
    result, truth = np.asarray(result), np.asarray(truth)
    assert result.shape == truth.shape and result.dtype == truth.dtype, what
    error = np.abs(result - truth).max(initial=0)
    assert error <= limit * max(np.abs(truth).max(initial=0), 1e-3), f"{what} is off by {error:.1e}"


# ---------------------------------------------------------------------------------------------------------------------
# The reference
# ---------------------------------------------------------------------------------------------------------------------


def one_recurrence(net, suffix, X, S_0, resets):
    """The states (T, I) -> (T, H) of one sequence, step by step, in the order given."""
    p = {name: net.parameters[name + suffix] for name in ("W_x", "W_s", "b_s", "S_0") if name + suffix in net.parameters}
    S, states = S_0, []
    for x, reset in zip(X, resets):
        S = p.get("S_0", np.zeros(len(p["W_s"]))) if reset else S
        S = np.tanh(p["W_x"] @ x + p["W_s"] @ S + p["b_s"])
        states.append(S)
    return np.array(states).reshape(len(X), len(p["W_s"]))


@every_network
@pytest.mark.parametrize("output", ["sequence", "last"])
def test_reference_is_one_recurrence_upon_the_other(sizes, both, output):
    """Sequence by sequence, and the backward direction on the sequence written backward."""
    net = network(sizes, both, output=output, learn_initial_state=True)
    X, _, more = data(net, lengths=True, initial_state=True)
    Y, final, S = reference.forward(dict(net.parameters), X, more["initial_state"], lengths=more["lengths"], output=output)
    for b, n in enumerate(more["lengths"]):
        below, r = X[:n, b], 0
        for layer in range(len(sizes)):
            level, states, ends = f"_l{layer}" if layer else "", [], []
            for end in ("", "_reverse") if both else ("",):
                order = slice(None, None, -1 if end else 1)
                own = one_recurrence(net, level + end, below[order], more["initial_state"][r][b], np.zeros(n))
                np.testing.assert_array_equal(S[r][0, b], more["initial_state"][r][b])
                np.testing.assert_allclose(S[r][1:n + 1, b], own[order], atol=1e-14)
                assert (S[r][n + 1:, b] == 0).all()
                np.testing.assert_allclose(final[r][b], own[-1] if n else more["initial_state"][r][b], atol=1e-14)
                states.append(own[order])
                ends.append(final[r][b])
                r += 1
            below = np.concatenate(states, axis=1)
        read = np.concatenate(ends)[None] if output == "last" else below
        expected = read @ net.parameters["W_y"].T + net.parameters["b_y"]
        np.testing.assert_allclose(Y[b:b + 1] if output == "last" else Y[:n, b], expected, atol=1e-14)


@both_backends
@every_network
def test_a_reset_parts_a_record_into_two(sizes, both, backend):
    """In both directions: outputs are those of the two parts as sequences of their own, of which the first is given a state."""
    net = network(sizes, both, learn_initial_state=True)
    X, _, _ = data(net)
    resets = np.zeros((T, B), bool)
    resets[3] = True
    Y, _ = net.forward(X, resets=resets, backend=backend)
    parts = [net.forward(X[:3], backend=backend)[0], net.forward(X[3:], backend=backend)[0]]
    np.testing.assert_allclose(Y, np.concatenate(parts), rtol=0, atol=1e-13)


OPTIONS = [dict(zip(("weights", "lengths", "resets", "initial_state"), chosen))
           for chosen in itertools.product((False, True), repeat=4)]


@pytest.mark.share(60)
@every_network
@pytest.mark.parametrize("options", [
    {}, {"learn_initial_state": True}, {"output": "last", "learn_initial_state": True}, {"one_hot": True, "bias": False},
], ids=str)
@pytest.mark.parametrize("chosen", OPTIONS[::3], ids=lambda chosen: " ".join(name for name in chosen if chosen[name]) or "none")
def test_every_gradient_of_the_reference_is_the_complex_step(sizes, both, options, chosen):
    rng, seed = np.random.default_rng(3), OPTIONS.index(chosen)
    net = network(sizes, both, **options)
    X, D, more = data(net, seed, **chosen)
    p = {name: value.astype(complex) for name, value in net.parameters.items()}
    more["initial_state"] = more.get("initial_state")
    if more["initial_state"] is not None:
        more["initial_state"] = tuple(S_0.astype(complex) for S_0 in more["initial_state"])
    kinds = {"output": net.output, "reduction": "mean"}
    _, gradients = reference.loss_and_gradients(dict(net.parameters), X, D, **more, **kinds,
                                                input_gradient=not net.one_hot, initial_state_gradient=True)
    places = {name: p[name] for name in p}
    if not net.one_hot:
        X = places["X"] = X.astype(complex)
    if more["initial_state"] is not None:
        places |= {("initial_state", n): S_0 for n, S_0 in enumerate(more["initial_state"])}
    for name, array in places.items():
        gradient = gradients[name] if isinstance(name, str) else gradients[name[0]][name[1]]
        for j in rng.permutation(array.size)[:12]:
            array.flat[j] += 1j * STEP
            derivative = reference.loss(p, X, D, **more, **kinds).imag / STEP
            array.flat[j] = array.flat[j].real
            assert abs(gradient.flat[j] - derivative) <= 1e-13 * max(1, np.abs(gradient).max()), (name, chosen)


@pytest.mark.share(3)
@pytest.mark.parametrize("backend", ["reference", "core"])
@pytest.mark.parametrize("tbptt", [(2, 3), (3, 3), (2, 5), (4, 2), (1, 1), (3, 100)])
@pytest.mark.parametrize("sizes", SIZES[1:], ids=str)
def test_truncation_goes_back_through_all_layers_from_window_to_window(sizes, tbptt, backend):
    """Each window is an exact gradient: of its steps as a sequence that begins with constant states."""
    net = network(sizes, False, reduction="sum", learn_initial_state=True)
    for seed, chosen in enumerate(OPTIONS[:8]):
        X, D, more = data(net, seed, **chosen)
        _, _, run = net.forward(X, **{name: array for name, array in more.items() if name != "weights"}, return_states=True)
        S = run.S
        truth = {name: np.zeros_like(value) for name, value in net.parameters.items()} | {"X": np.zeros_like(X)}
        for name in ("W_y", "b_y"):
            truth[name] = net.loss_and_gradients(X, D, **more)[1][name]
        weights = more.get("weights", np.ones((T, B)))
        for begin, since, end in reference.windows(T, tbptt):
            window = {name: array[begin:end] for name, array in more.items() if name == "resets"}
            if "lengths" in more:
                window["lengths"] = np.clip(more["lengths"] - begin, 0, end - begin)
            if begin > 0 or "initial_state" in more:
                window["initial_state"] = tuple(states[begin] for states in S)
            of_window = weights[begin:end].copy()
            of_window[:max(0, since - begin)] = 0
            _, part = net.loss_and_gradients(X[begin:end], D[begin:end], weights=of_window, **window, input_gradient=True,
                                             backend="reference")
            truth["X"][begin:end] += part["X"]
            for name in net.parameters:
                if name not in ("W_y", "b_y"):
                    truth[name] += part[name]
        loss, gradients = net.loss_and_gradients(X, D, **more, tbptt=tbptt, input_gradient=True, backend=backend)
        assert loss == pytest.approx(net.evaluate(X, D, **more))
        assert_same(gradients, truth, 1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# The core against the reference
# ---------------------------------------------------------------------------------------------------------------------


def operations(net, X, D, more, backend, **options):
    """What every operation gives, by name."""
    given = {name: value for name, value in more.items() if name != "weights"}
    asked = {"input_gradient": not net.one_hot, "initial_state_gradient": True, "backend": backend, **options}
    return {"forward": all_states(net.forward(X, **given, return_states=True, backend=backend)),
            "losses": net.losses(X, D, **given, backend=backend),
            "evaluate": net.evaluate(X, D, **more, backend=backend),
            "loss_and_gradients": net.loss_and_gradients(X, D, **more, **asked),
            "backward": net.backward(X, D, **given, **asked),
            "objective": net.objective(X, D, **more, backend=backend)(net.theta)}


@pytest.mark.quick
@pytest.mark.share(3)
@every_network
@pytest.mark.parametrize("seed", range(24))
def test_every_operation_of_the_core_is_the_reference_s(sizes, both, seed):
    """Options at random: pairs that have a meaning all do."""
    rng = np.random.default_rng(seed)
    chosen = dict(zip(("weights", "lengths", "resets", "initial_state"), rng.uniform(size=4) < 0.5))
    flags = rng.uniform(size=5) < 0.5
    options = {"output": "last" if flags[0] else "sequence", "one_hot": bool(flags[1]), "learn_initial_state": bool(flags[2]),
               "bias": bool(flags[3]), "l1": 1e-2 * flags[4], "l2": {"W_s": 0.1, "W_y": 0.2} if flags[4] else 0.0,
               "activation": ("tanh", "sigmoid", "softplus")[seed % 3], "reduction": ("mean", "sum")[seed % 2]}
    steps, sequences = ((0 if not flags[0] else 1, 4), (1, 5), (7, 1), (6, 0), (7, 4), (30, 21))[seed % 6]
    net = network(sizes, both, **options)
    if seed % 4 == 3:
        for engine in engines(net):
            engine.shard_work = 1  # shards of few rows
    X, D, more = data(net, seed, steps, sequences, **chosen)
    truncated = {"tbptt": (int(rng.integers(1, 8)), int(rng.integers(1, 8)))} if not both and rng.uniform() < 0.5 else {}
    assert_same(operations(net, X, D, more, "core", **truncated), operations(net, X, D, more, "reference", **truncated), 1e-11,
                f"{chosen} {options}")


def engines(net):
    stack = net._engines["core"]
    return [stack.readout, *(r.engine for r in stack.recurrences)]


@every_network
def test_in_float32_too(sizes, both):
    rough, net = network(sizes, both, dtype="float32"), network(sizes, both)
    net.theta = rough.theta
    X, D, more = data(net, weights=True, lengths=True, resets=True, initial_state=True)
    X, D = X.astype("f4"), D.astype("f4")
    loss, gradients = rough.loss_and_gradients(X, D, **more)
    true_loss, truth = net.loss_and_gradients(X, D, **more, backend="reference")
    assert loss == pytest.approx(true_loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(gradient, truth[name], rtol=0, atol=2e-6 * np.abs(truth[name]).max())


@pytest.mark.share(5)
@every_network
def test_across_blocks_of_time(sizes, both):
    """Which are some hundred steps long."""
    net = network(sizes, both, activation="tanh")
    X, D, more = data(net, 1, 9000, 2, lengths=True, weights=True)
    more["lengths"][:] = 8999, 7001
    assert_same(net.loss_and_gradients(X, D, **more, input_gradient=True),
                net.loss_and_gradients(X, D, **more, input_gradient=True, backend="reference"), 1e-11)


# ---------------------------------------------------------------------------------------------------------------------
# What a caller may rely on
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learnt", [False, True])
def test_one_layer_is_exactly_the_plain_network(learnt):
    plain = RNN(I, 5, O, learn_initial_state=learnt, random_state=4)
    stack = RNN(I, (5,), O, learn_initial_state=learnt, random_state=4)
    assert stack.hidden_size == 5 and type(stack._engines["core"]) is type(plain._engines["core"])
    assert list(stack.parameters) == list(plain.parameters) == ["W_x", "W_s", "b_s", "W_y", "b_y"] + ["S_0"] * learnt
    np.testing.assert_array_equal(stack.theta, plain.theta)


def test_names_shapes_and_the_order_of_theta():
    net = RNN(I, (5, 4), O, bidirectional=True, learn_initial_state=True)
    assert {name: value.shape for name, value in net.parameters.items()} == {
        "W_x": (5, 3), "W_s": (5, 5), "b_s": (5,), "S_0": (5,),
        "W_x_reverse": (5, 3), "W_s_reverse": (5, 5), "b_s_reverse": (5,), "S_0_reverse": (5,),
        "W_x_l1": (4, 10), "W_s_l1": (4, 4), "b_s_l1": (4,), "S_0_l1": (4,),
        "W_x_l1_reverse": (4, 10), "W_s_l1_reverse": (4, 4), "b_s_l1_reverse": (4,), "S_0_l1_reverse": (4,),
        "W_y": (2, 8), "b_y": (2,)}
    assert list(net.parameters)[:4] == ["W_x", "W_s", "b_s", "S_0"] and list(net.parameters)[-2:] == ["W_y", "b_y"]
    net.theta = np.arange(net.theta.size)
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in net.parameters.values()]), net.theta)


@every_network
def test_bits_are_the_same_for_any_number_of_threads_and_any_memory(sizes, both):
    for chosen in ({}, {"lengths": True, "resets": True, "weights": True}):
        net = network(sizes, both, dtype="float32", learn_initial_state=True)
        for engine in engines(net):
            engine.shard_work = 1
        X, D, more = data(net, 2, 300, 30, **chosen)
        options = {**more, "input_gradient": True, "initial_state_gradient": True}
        truth = net.loss_and_gradients(X, D, **options, n_threads=1)
        for other in ({"n_threads": 2}, {"n_threads": 3}, {"memory_limit": "auto", "n_threads": 1}):
            assert_same(net.loss_and_gradients(X, D, **options, **other), truth, 0)


def test_a_limit_of_memory_that_a_layer_cannot_keep_raises():
    net = network((5, 4), False)
    X, D, _ = data(net, 0, 500, 3)
    with pytest.raises(MemoryError, match="memory_limit=100 bytes, but this call needs at least"):
        net.loss_and_gradients(X, D, memory_limit=100)
    net.loss_and_gradients(X, D, memory_limit=net.memory_estimate(500, 3))


@every_network
def test_the_estimate_of_memory_grows_with_what_lies_between_the_layers(sizes, both):
    net = network(sizes, both, dtype="float64")
    states = 8 * sum(widths(net))
    short, long, limited = (net.memory_estimate(steps, 10, memory_limit=limit) for steps, limit in (
        (1000, None), (2000, None), (2000, "auto")))
    assert 1000 * 10 * states <= long - short <= 5 * 1000 * 10 * states
    assert limited == long  # which is all that there is to save
    X, D, _ = data(net, 0, 2000, 10)
    net.loss_and_gradients(X, D, n_threads=1)
    scratch, = net._engines["core"].free
    between = sum(array.nbytes for array in scratch.arrays.values())
    assert between < long <= between + 2**20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("sizes", SIZES[1:], ids=str)
def test_steps_have_the_bits_of_forward(sizes, output, dtype):
    net = network(sizes, False, dtype=dtype, output=output, learn_initial_state=True)
    X, _, _ = data(net)
    if net._engines["core"].readout.kernel_set() == "blas":
        pytest.skip("rows of a BLAS are not the same beside others")
    Y, final, run = net.forward(X, return_states=True)
    S = run.S
    state, out = None, (np.empty((B, O), dtype), tuple(np.empty((B, H), dtype) for H in sizes))
    for t, x in enumerate(X):
        y, state = net.step(x, state)
        assert_same(state, tuple(states[t + 1] for states in S), 0)
        assert net.step(x, None if t == 0 else out[1], out=out) is out
        assert_same(out, (y, state), 0)
        if output == "sequence":
            assert_same(y, Y[t], 0)
    assert_same(state, final, 0)
    assert output == "sequence" or np.array_equal(y, Y)


def test_a_closed_loop_is_steps_of_its_own_outputs():
    net = RNN(O, (5, 4), O, dtype="float64", random_state=0)
    prefix = np.random.default_rng(0).standard_normal((4, B, O))
    Y, state = net.generate(6, prefix=prefix, return_state=True)
    whole = net.forward(np.concatenate([prefix, Y[:-1]]))
    np.testing.assert_allclose(Y, whole[0][3:], rtol=0, atol=1e-12)
    assert_same(state, whole[1], 1e-12)
    np.testing.assert_array_equal(net.generate(2, prefix=Y[-1:], initial_state=state),
                                  net.generate(8, prefix=prefix)[6:])


@every_network
def test_nan_stays_in_its_sequence(sizes, both):
    net = network(sizes, both)
    X, _, _ = data(net)
    clean = net.forward(X)
    X[2, 1] = np.nan
    Y, final = net.forward(X)
    others = [0, 2, 3]
    assert_same(Y[:, others], clean[0][:, others], 0)
    assert_same(tuple(S[others] for S in final), tuple(S[others] for S in clean[1]), 0)
    assert np.isnan(Y[2:, 1]).all() and (both or not np.isnan(Y[:2, 1]).any())
    X[2:, 1] = np.nan  # padding is not read
    lengths = np.array([T, 2, T, T])
    assert np.isfinite(net.forward(X, lengths=lengths)[0]).all()


@every_network
def test_calls_at_once_share_nothing(sizes, both):
    net = network(sizes, both)
    batches = [data(net, seed, 40, 6)[:2] for seed in range(4)]
    truth = [net.loss_and_gradients(*batch, input_gradient=True) for batch in batches]
    found = [[] for _ in batches]

    def work(n):
        for _ in range(20):
            found[n].append(net.loss_and_gradients(*batches[n], input_gradient=True))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results, true in zip(found, truth):
        assert len(results) == 20
        for result in results:
            assert_same(result, true, 0)


def test_ctrl_c_ends_a_call():
    script = """
import signal, threading, numpy as np
from fastbptt import RNN
signal.signal(signal.SIGINT, signal.default_int_handler)
net = RNN(8, (64, 64), 4, random_state=0)
X, D = np.zeros((4000, 32, 8), "f4"), np.zeros((4000, 32, 4), "f4")
small = net.loss_and_gradients(X[:50], D[:50])[0]
threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
try:
    for _ in range(1000):
        net.loss_and_gradients(X, D)
    print("not interrupted")
except KeyboardInterrupt:
    assert net.loss_and_gradients(X[:50], D[:50])[0] == small
    print("interrupted")
"""
    run = run_python(script, timeout=100)
    assert run.stdout == "interrupted\n", run.stderr


@every_network
def test_inputs_are_not_modified_and_results_are_the_caller_s_own(sizes, both):
    net = network(sizes, both)
    X, D, more = data(net, weights=True, lengths=True, resets=True, initial_state=True)
    arrays = [X, D, more["weights"], more["lengths"], more["resets"], *more["initial_state"]]
    copies, theta = [array.copy() for array in arrays], net.theta
    for array in arrays:
        array.flags.writeable = False
    Y, final, run = net.forward(X, more["initial_state"], lengths=more["lengths"], return_states=True)
    S = run.S
    _, gradients = net.loss_and_gradients(X, D, **more, input_gradient=True, initial_state_gradient=True)
    for result in (Y, *final, *S, *(value for value in gradients.values() if not isinstance(value, tuple)),
                   *gradients["initial_state"]):
        assert result.flags.writeable and not any(np.may_share_memory(result, array) for array in arrays)
        result[...] = 0
    for array, copy in zip(arrays, copies):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(net.theta, theta)


# ---------------------------------------------------------------------------------------------------------------------
# Parameters, penalties, files
# ---------------------------------------------------------------------------------------------------------------------


def test_each_recurrence_is_drawn_by_the_initialiser_from_a_stream_of_its_own():
    net = RNN(I, (6, 6), O, bidirectional=True, dtype="float64", random_state=0)
    drawn = [value for name, value in net.parameters.items() if name.startswith("W_s")]
    for W in drawn:
        np.testing.assert_allclose(W @ W.T, np.eye(6), atol=1e-12)
    assert not any(np.allclose(a, b) for a, b in itertools.combinations(drawn, 2))
    plain = RNN(I, 6, O, dtype="float64", random_state=0)
    np.testing.assert_array_equal(net.parameters["W_s"], plain.parameters["W_s"])
    chosen = RNN(I, (6, 5), O, initializer={"W_s_l1": ("identity", 0.5)}, dtype="float64", random_state=0)
    np.testing.assert_array_equal(chosen.parameters["W_s_l1"], 0.5 * np.eye(5))
    np.testing.assert_array_equal(chosen.parameters["W_s"], plain.parameters["W_s"])
    torch_like = RNN(I, (400, 16), O, bidirectional=True, initializer="torch", learn_initial_state=True, random_state=0)
    for name, H in (("W_x", 400), ("b_s_reverse", 400), ("W_x_l1", 16), ("W_s_l1_reverse", 16), ("W_y", 32), ("b_y", 32)):
        largest = np.abs(torch_like.parameters[name]).max()
        assert 0.5 / np.sqrt(H) < largest <= 1 / np.sqrt(H) or name == "b_y", name
    assert not torch_like.parameters["S_0_l1_reverse"].any()


@both_backends
def test_penalties_fall_on_every_matrix_or_on_what_is_named(backend):
    net = network((5, 4), True, l2=0.5)
    X, D, _ = data(net)
    squares = sum((value**2).sum() for name, value in net.parameters.items() if name.startswith("W_"))
    assert net.loss_and_gradients(X, D, backend=backend)[0] - net.evaluate(X, D) == pytest.approx(0.5 * squares)
    named = network((5, 4), True, l1={"b_s_l1_reverse": 2.0})
    assert named.loss_and_gradients(X, D, backend=backend)[0] - named.evaluate(X, D) == pytest.approx(
        2 * np.abs(named.parameters["b_s_l1_reverse"]).sum())
    with pytest.raises(ValueError, match="W_s_l2"):
        RNN(I, (5, 4), O, l1={"W_s_l2": 1.0})


@every_network
def test_files_pickles_and_copies(sizes, both, tmp_path):
    net = network(sizes, both, learn_initial_state=True, dtype="float32")
    X, _, _ = data(net)
    net.save(tmp_path / "net.npz")
    for other in (fastbptt.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), net.copy()):
        assert other.hidden_size == net.hidden_size and other.bidirectional is both and repr(other) == repr(net)
        assert_same(other.forward(X), net.forward(X), 0)


@pytest.mark.share(5)
@every_network
def test_gradcheck_passes(sizes, both):
    assert RNN(I, sizes, O, bidirectional=both, random_state=0).gradcheck(entries=10).passed


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@every_network
def test_fit_is_the_same_in_both_backends(sizes, both):
    found = []
    for backend in ("core", "reference"):
        net = network(sizes, both, l2=1e-3, learn_initial_state=True)
        X, D, more = data(net, 0, 8, 10, weights=True, lengths=True, resets=True)
        history = net.fit(X, D, **more, epochs=3, batch_size=4, learning_rate=1e-2, max_grad_norm=1.0, validation=0.3,
                          backend=backend)
        found.append((np.array(history.train_loss), np.array(history.validation_loss), net.theta))
        assert history.train_loss[-1] < history.train_loss[0]
    assert_same(found[0], found[1], 1e-9)


@pytest.mark.parametrize("tbptt", [(2, 5), (3, 3), (4, 2)])
def test_training_by_truncation_is_the_same_in_both_backends_and_as_a_stream(tbptt):
    found = []
    for backend in ("core", "reference"):
        net = network((5, 4), False, learn_initial_state=True)
        X, D, more = data(net, 0, 11, 3, resets=True)
        net.fit(X, D, **more, tbptt=tbptt, epochs=1, batch_size=3, optimizer="sgd", learning_rate=0.05, shuffle=False,
                backend=backend)
        streamed = network((5, 4), False, learn_initial_state=True)
        history = streamed.stream(X, D, **more, tbptt=tbptt, optimizer="sgd", learning_rate=0.05, backend=backend)
        assert_same(streamed.theta, net.theta, 1e-12)
        assert [S.shape for S in history.final_state] == [(3, 5), (3, 4)]
        found.append(net.theta)
    assert_same(found[0], found[1], 1e-11)


def test_a_stream_goes_on_from_its_final_state():
    nets = [network((5, 4), False) for _ in range(2)]
    X, D, _ = data(nets[0], 0, 12, 3)
    options = {"tbptt": (3, 3), "optimizer": "sgd", "learning_rate": 0.05}
    nets[0].stream(X, D, **options)
    half = nets[1].stream(X[:6], D[:6], **options)
    nets[1].stream(X[6:], D[6:], initial_state=half.final_state, **options)
    assert_same(nets[1].theta, nets[0].theta, 0)


@pytest.mark.parametrize("tbptt", [None, (3, 5)])
def test_a_run_that_was_cut_off_goes_on_to_the_bit(tbptt, tmp_path):
    def run(net, updates, resume=False):
        net.fit(X, D, tbptt=tbptt, epochs=4, updates=updates, batch_size=3, checkpoint=tmp_path / "run.npz", resume=resume)

    whole = network((5, 4), False)
    X, D, _ = data(whole, 0, 8, 7)
    whole.fit(X, D, tbptt=tbptt, epochs=4, updates=9, batch_size=3)
    run(network((5, 4), False), 5)
    resumed = network((5, 4), False)
    run(resumed, 9, resume=True)
    assert_same(resumed.theta, whole.theta, 0)


def test_an_update_that_is_not_finite_is_found_with_words():
    net = network((5, 4), False, activation="relu")
    X, D, more = data(net, initial_state=True)
    with pytest.raises(FloatingPointError, match="loss is not finite in epoch 0"):
        net.fit(X * 1e200, D * 1e200, **more, epochs=1)


def test_train_step_lowers_the_loss():
    net = network((5, 4), True)
    X, D, more = data(net, initial_state=True)
    first = net.train_step(X, D, learning_rate=1e-2, **more)
    assert [net.train_step(X, D, learning_rate=1e-2, **more) for _ in range(20)][-1] < first


@pytest.mark.parametrize("bidirectional", [False, True])
def test_estimators(bidirectional, tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((n, 2)) for n in rng.integers(3, 9, 40)]
    model = RNNRegressor((8, 6), bidirectional=bidirectional, max_iter=30, learning_rate_init=1e-2, random_state=0)
    model.fit(X, [x[:, 0] for x in X])
    assert model.score(X, [x[:, 0] for x in X]) > 0.8
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(fastbptt.load(tmp_path / "model.npz").predict(X)[3], model.predict(X)[3])
    first = [x[0, 0] > 0 for x in X]  # the backward direction ends with it
    classes = RNNClassifier((8, 6), bidirectional=bidirectional, max_iter=60, learning_rate_init=1e-2, random_state=0)
    assert classes.fit(X, first).score(X, first) > 0.8


def test_forecasts_go_on_from_the_states_of_all_layers():
    series = np.sin(np.arange(200) / 5)[None, :, None]
    X, y = fastbptt.sequences.forecast_pairs(series, 1)
    model = RNNRegressor((12, 8), max_iter=150, learning_rate_init=1e-2, random_state=0).fit(X, y)
    forecast = model.forecast(series, 5)
    again = model.forecast(np.concatenate([series, forecast[:, :2]], axis=1), 3)
    np.testing.assert_allclose(forecast[:, 2:], again, atol=1e-5)
    both = RNNRegressor(6, bidirectional=True, max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="forecast requires bidirectional=False"):
        both.forecast(series, 1)


# ---------------------------------------------------------------------------------------------------------------------
# What is bad, or has no meaning
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, error, words", [
    ((), ValueError, "got an empty tuple"), ((5, 0), ValueError, r"hidden_size\[1\] must be from 1"),
    ((5, 2.5), TypeError, r"hidden_size\[1\] must be an int"), ("5", TypeError, "hidden_size must be an int")])
def test_bad_sizes(size, error, words):
    with pytest.raises(error, match=words):
        RNN(I, size, O)


def test_bidirectional_must_be_a_flag():
    with pytest.raises(TypeError, match="bidirectional must be True or False"):
        RNN(I, 5, O, bidirectional="yes")


@both_backends
def test_bad_states(backend):
    net = network((5, 4), True)
    X, D, more = data(net, initial_state=True)
    good = more["initial_state"]
    for state, error, words in ((good[0], TypeError, "a tuple of 4 arrays .* layer by layer, forward before reverse; got nda"),
                                (good[:3], TypeError, "got 3 of them"),
                                (good[:3] + (good[0],), ValueError, r"initial_state\[3\] must have shape \(B, H\) = \(4, 4\)"),
                                (good[:3] + ("abcd",), TypeError, r"initial_state\[3\] must be an array of numbers")):
        with pytest.raises(error, match=words):
            net.forward(X, state, backend=backend)
        with pytest.raises(error, match=words):
            net.loss_and_gradients(X, D, initial_state=state, backend=backend)


@both_backends
@pytest.mark.parametrize("bad, error, words", [
    ({"X": np.zeros((T, B, I + 1))}, ValueError, "X has 4 features"),
    ({"D": np.zeros((T, B))}, ValueError, "D must have shape"),
    ({"weights": -np.ones((T, B))}, ValueError, "weights must not be negative"),
    ({"lengths": np.full(B, T + 1)}, ValueError, "lengths must be from 0"),
    ({"resets": np.zeros((T, B + 1), bool)}, ValueError, "resets must have shape")])
def test_bad_arguments_are_found_before_anything_is_computed(bad, error, words, backend):
    net = network((5, 4), False)
    X, D, _ = data(net)
    with pytest.raises(error, match=words):
        net.loss_and_gradients(**{"X": X, "D": D} | bad, backend=backend)


@both_backends
def test_what_has_no_meaning_raises(backend):
    net = RNN(I, 5, I, bidirectional=True, dtype="float64", random_state=0)
    X = np.zeros((T, B, I))
    for call in (lambda: net.step(X[0], backend=backend), lambda: net.generate(3, prefix=X, backend=backend),
                 lambda: net.stream(X, X, tbptt=(2, 2), backend=backend),
                 lambda: net.fit(X, X, tbptt=(2, 2), backend=backend),
                 lambda: net.loss_and_gradients(X, X, tbptt=(2, 2), backend=backend),
                 lambda: net.backward(X, X, tbptt=(2, 2), backend=backend),
                 lambda: net.memory_estimate(T, B, tbptt=(2, 2))):
        with pytest.raises(ValueError, match="requires bidirectional=False"):
            call()
    for other in (net, RNN(I, (5, 4), I, dtype="float64", random_state=0)):
        with pytest.raises(ValueError, match="gradient_terms requires a network with one recurrence, got one with 2"):
            other.gradient_terms(X, X, 0, backend=backend)
    with pytest.raises(ValueError, match="tbptt requires bidirectional=False"):
        reference.loss_and_gradients(dict(net.parameters), X, X, tbptt=(2, 2))


def test_arrays_that_a_step_cannot_write_into():
    net = network((5, 4), False)
    x, y, states = np.zeros((B, I)), np.zeros((B, O)), (np.zeros((B, 5)), np.zeros((B, 4)))
    shared = np.zeros((B, 9))
    for out, error, words in (((y, states[0]), TypeError, "out's state must be a tuple of 2 arrays"),
                              ((y, states[::-1]), ValueError, r"out's state\[0\] must have shape"),
                              ((y, (states[0], states[1].astype("f4"))), TypeError, r"out's state\[1\] must have the netw"),
                              ((y, (shared[:, :5], states[1])), ValueError, "must be C-contiguous"),
                              ((y, (net._theta[:20].reshape(B, 5), states[1])), ValueError, "overlap the parameters")):
        with pytest.raises(error, match=words):
            net.step(x, out=out)


# ---------------------------------------------------------------------------------------------------------------------
# With maps on the parameters
# ---------------------------------------------------------------------------------------------------------------------


@every_network
def test_maps_by_the_names_of_parameters_act_on_their_recurrence(sizes, both):
    last = "W_s" + (f"_l{len(sizes) - 1}" if len(sizes) > 1 else "") + ("_reverse" if both else "")
    present = np.random.default_rng(1).random((sizes[-1], sizes[-1])) < 0.5
    net = network(sizes, both, connectivity={last: present}, trainable={"b_s": False}, nonnegative=("W_y",), l1=0.1, l2=0.2)
    X, D, more = data(net, weights=True, lengths=True, initial_state=True)
    truth = operations(net, X, D, more, "reference")
    assert_same(operations(net, X, D, more, "core"), truth, 1e-11)
    assert not truth["loss_and_gradients"][1][last][~present].any() and not truth["loss_and_gradients"][1]["b_s"].any()
    for options in ({"dale_ratio": 0.8}, {"autapses": False}):
        with pytest.raises(ValueError, match="require a network with one recurrence; for others name each parameter"):
            network(sizes, both, **options)
