"""`step`, one step at a time, and `generate`, a closed loop of them: against `forward`, to the bit, and what is refused."""

import signal
import threading
import time
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest

import fastbptt
from fastbptt import RNN, _core, reference

T, B, I, H, O = 7, 5, 3, 6, 2
BACKENDS = ["core", "reference"]
DTYPES = ["float32", "float64"]

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
vectors_only = pytest.mark.skipif(_core.kernel_set() == "blas", reason="BLAS may serve one row otherwise than many")


def network(output_size=O, *, sizes=(I, H), seed=0, **options):
    """A network none of whose parameters is zero."""
    net = RNN(*sizes, output_size, **{"dtype": "float64", "random_state": 0, **options})
    rng = np.random.default_rng(seed)
    for name in ("b_s", "b_y", "S_0"):
        if name in net.parameters:
            net.parameters[name] = rng.standard_normal(net.parameters[name].shape)
    return net


def inputs(net, steps=T, batch=B, seed=1):
    rng = np.random.default_rng(seed)
    if net.one_hot:
        return rng.integers(net.input_size, size=(steps, batch))
    return rng.standard_normal((steps, batch, net.input_size)).astype(net.dtype)


def letters(size=5, **options):
    """A network that samples ids."""
    return network(**{"output_size": size, "sizes": (size, 8), "one_hot": True, "output_activation": "softmax",
                      "loss": "cross_entropy", **options})


def stepwise(net, X, state=None, **where):
    outputs, states = [], []
    for x in X:
        y, state = net.step(x, state, **where)
        outputs.append(y)
        states.append(state)
    return np.array(outputs), np.array(states)


@contextmanager
def refused(net, error, *words, untouched=()):
    """The block raises exactly `error` with all `words`, and changes neither the parameters nor the arrays."""
    before = [array.tobytes() for array in (net.theta, *untouched)]
    with pytest.raises(error) as caught:
        yield
    assert caught.type is error
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert [array.tobytes() for array in (net.theta, *untouched)] == before


# ---- A step against forward

OPTIONS = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "relu, exp": {"activation": "relu", "output_activation": "exp"},
    "softplus without bias": {"activation": "softplus", "bias": False},
    "sigmoid, softmax": {"activation": "sigmoid", "output_activation": "softmax"},
    "a learnt first state": {"learn_initial_state": True},
    "ids": {"one_hot": True},
    "ids in float32, without bias": {"one_hot": True, "dtype": "float32", "bias": False},
    "quantiles": {"loss": ("quantile", (0.25, 0.75))},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


@pytest.mark.share(2)
@pytest.mark.quick
@every_option
@both_backends
def test_steps_are_the_steps_of_forward(options, backend):
    net = network(**options)
    X, tolerance = inputs(net), 1e-12 if net.dtype == "float64" else 1e-5
    for state in (None, np.random.default_rng(2).standard_normal((B, H)).astype(net.dtype)):
        Y, final, run = net.forward(X, state, return_states=True, backend="reference")
        S = run.S
        outputs, states = stepwise(net, X, state, backend=backend)
        assert outputs.dtype == states.dtype == net.dtype
        np.testing.assert_allclose(outputs, Y, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(states, S[1:], rtol=tolerance, atol=tolerance)


# Sizes with and without tails of vectors, and above those at which the kernels change tiles; batches likewise.
@vectors_only
@both_dtypes
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 6, 2), (4, 16, 1), (16, 64, 4), (33, 40, 17), (7, 130, 65)])
def test_steps_have_the_bits_of_forward_whatever_the_batch(sizes, dtype):
    I, H, O = sizes  # noqa: E741
    net = network(O, sizes=(I, H), dtype=dtype, learn_initial_state=True)
    X = inputs(net, 6, 19)
    Y, _, run = net.forward(X, return_states=True)
    S = run.S
    for rows in (slice(0, 1), slice(3, 5), slice(2, 10), slice(0, 19)):
        outputs, states = stepwise(net, X[:, rows])
        assert outputs.tobytes() == Y[:, rows].tobytes(), rows
        assert states.tobytes() == S[1:, rows].tobytes(), rows


@vectors_only
@every_option
def test_steps_have_the_bits_of_forward_with_every_option(options):
    net = network(**options)
    X = inputs(net)
    Y, _, run = net.forward(X, return_states=True)
    S = run.S
    outputs, states = stepwise(net, X)
    assert outputs.tobytes() == Y.tobytes() and states.tobytes() == S[1:].tobytes()


@both_backends
def test_a_step_of_a_network_of_last_outputs_is_its_output_if_it_ended_here(backend):
    net = network(output="last", learn_initial_state=True)
    X = inputs(net)
    outputs, states = stepwise(net, X, backend=backend)
    for t in range(T):
        Y, final = net.forward(X[:t + 1], backend=backend)
        np.testing.assert_allclose(outputs[t], Y, rtol=1e-12)
        np.testing.assert_allclose(states[t], final, rtol=1e-12)


@both_backends
def test_a_first_step_begins_with_the_learnt_state_else_with_zero(backend):
    for learnt in (False, True):
        net = network(learn_initial_state=learnt)
        x = inputs(net)[0]
        first = np.broadcast_to(net.parameters["S_0"], (B, H)) if learnt else np.zeros((B, H))
        for one, other in zip(net.step(x, backend=backend), net.step(x, first, backend=backend)):
            np.testing.assert_array_equal(one, other)


@both_backends
def test_what_comes_back_is_the_callers_own_and_what_goes_in_is_left_alone(backend):
    net = network()
    x, state = inputs(net)[0], np.ones((B, H))
    before = x.copy()
    y, new = net.step(x, state, backend=backend)
    again, _ = net.step(x, state, backend=backend)
    assert (again == y).all() and (state == 1).all() and (x == before).all()
    for result in (y, new):
        result[...] = np.nan
    assert not np.isnan(again).any() and (state == 1).all() and (x == before).all()
    assert (net.step(x, state, backend=backend)[0] == again).all()


@both_backends
def test_lists_integers_read_only_and_strided_arrays_are_converted(backend):
    net = network()
    x, state = np.arange(B * I).reshape(B, I), np.ones((B, H))
    expected = net.step(x.astype(float), state, backend=backend)
    fixed = x.astype(float)
    fixed.flags.writeable = False
    for X, S in ((x.tolist(), state.tolist()), (x, state.astype("f4")), (fixed, state), (np.asfortranarray(x), state[:, ::-1])):
        for one, other in zip(net.step(X, S, backend=backend), expected):
            np.testing.assert_array_equal(one, other)
    ids = network(one_hot=True)
    for x in ([0, 1, 2, 1, 0], np.array([0, 1, 2, 1, 0], np.uint8), np.array([0, 9, 1, 9, 2, 9, 1, 9, 0])[::2]):
        np.testing.assert_array_equal(ids.step(x, backend=backend)[0], ids.step(np.array([0, 1, 2, 1, 0]), backend=backend)[0])


@both_backends
def test_an_empty_batch_makes_empty_results(backend):
    net = network()
    y, state = net.step(np.zeros((0, I)), np.zeros((0, H)), out=(np.zeros((0, O)), np.zeros((0, H))), backend=backend)
    assert y.shape == (0, O) and state.shape == (0, H)
    assert net.step(np.zeros((0, I)), backend=backend)[1].shape == (0, H)
    assert net.generate(3, prefix=np.zeros((2, 0, I)), feed=lambda y, rng: np.zeros((0, I)), backend=backend).shape == (3, 0, O)
    assert letters().generate(3, prefix=np.zeros((2, 0), int), backend=backend).shape == (3, 0)


# ---- out=


@pytest.mark.share(2)
@every_option
@both_backends
def test_out_gets_the_same_bits_and_comes_back(options, backend):
    net = network(**options)
    x, state = inputs(net)[0], np.random.default_rng(2).standard_normal((B, H)).astype(net.dtype)
    expected = net.step(x, state, backend=backend)
    for new in (np.full((B, H), np.nan, net.dtype), state):  # the second in place
        out = np.full((B, O), np.nan, net.dtype), new
        results = net.step(x, state, out=out, backend=backend)
        for result, array, value in zip(results, out, expected, strict=True):
            assert result is array and result.tobytes() == value.tobytes()


def test_the_state_may_be_overwritten_by_a_view_of_the_same_memory():
    net = network()
    x, state = inputs(net)[0], np.ones((B, H))
    expected = net.step(x, state)
    for backend in BACKENDS:
        memory = np.ones((B, H))
        net.step(x, memory, out=(np.empty((B, O)), memory[:]), backend=backend)
        np.testing.assert_allclose(memory, expected[1], rtol=1e-12)


def test_a_batch_of_many_shards_may_overwrite_its_state():
    net = network()
    net._engines["core"].shard_work = 1
    X = inputs(net, T, 40)
    expected = stepwise(net, X)
    for n_threads in (1, 2, 3):
        state, y = np.zeros((40, H)), np.empty((40, O))
        for t in range(T):
            net.step(X[t], state, out=(y, state), n_threads=n_threads)
            assert y.tobytes() == expected[0][t].tobytes() and state.tobytes() == expected[1][t].tobytes()


def frozen(array):
    array.flags.writeable = False
    return array


BAD_OUT = {
    "a list": (lambda y, s: [y, s], TypeError, ("out must be a tuple of two arrays, (y, state)", "list")),
    "one array": (lambda y, s: y, TypeError, ("out must be a tuple", "ndarray")),
    "three arrays": (lambda y, s: (y, s, s), TypeError, ("out must be a tuple", "3")),
    "no output": (lambda y, s: (None, s), TypeError, ("out's y must be a NumPy array", "NoneType")),
    "a list for a state": (lambda y, s: (y, s.tolist()), TypeError, ("out's state must be a NumPy array", "list")),
    "masked": (lambda y, s: (np.ma.masked_array(y), s), TypeError, ("out's y", "MaskedArray")),
    "another dtype": (lambda y, s: (y.astype("f4"), s), TypeError, ("out's y must have the network's dtype, float64, got f",)),
    "integers": (lambda y, s: (y, s.astype(int)), TypeError, ("out's state must have", "int64")),
    "another byte order": (lambda y, s: (y.astype(">f8"), s), TypeError, ("out's y must have", "float64", ">f8")),
    "too few rows": (lambda y, s: (y[1:], s), ValueError, ("out's y must have shape (B, O) = (5, 2), got (4, 2)",)),
    "too wide": (lambda y, s: (y, np.zeros((B, H + 1))), ValueError, ("out's state must have shape (B, H) = (5, 6)", "(5, 7)")),
    "an axis of time": (lambda y, s: (y[None], s), ValueError, ("out's y must have shape", "(1, 5, 2)")),
    "Fortran order": (lambda y, s: (np.asfortranarray(y), s), ValueError, ("out's y must be C-contiguous",)),
    "strided": (lambda y, s: (y, np.zeros((B, 2 * H))[:, ::2]), ValueError, ("out's state must be C-contiguous", "strides")),
    "read-only": (lambda y, s: (frozen(y), s), ValueError, ("out's y must be", "writable=False")),
    "unaligned": (lambda y, s: (np.zeros(B * O * 8 + 1, np.uint8)[1:].view(float).reshape(B, O), s), ValueError, ("aligned",)),
}


@both_backends
@pytest.mark.parametrize("bad", BAD_OUT)
def test_out_that_cannot_be_written_to_is_refused(bad, backend):
    make, error, words = BAD_OUT[bad]
    net = network()
    y, new, x, state = np.full((B, O), 7.0), np.full((B, H), 7.0), inputs(net)[0], np.ones((B, H))
    with refused(net, error, *words, untouched=(y, new, x, state)):
        net.step(x, state, out=make(y, new), backend=backend)


@both_backends
def test_out_that_overlaps_is_refused(backend):
    net = network(H, sizes=(H, H))  # so that any array may stand for another
    memory = np.arange(4.0 * B * H)

    def at(row):
        return memory[row * H:(row + B) * H].reshape(B, H)

    one, other, third, own = at(0), at(B), at(2 * B), net.parameters["W_s"][:B]
    for x, state, out, words in (
            (one, other, (third, third), "out's y must not overlap out's state"),
            (one, other, (third, at(2 * B + 1)), "out's y must not overlap out's state"),
            (one, other, (one, third), "out's y must not overlap x"),
            (one, other, (other, third), "out's y must not overlap state"),
            (one, other, (at(1), third), "out's y must not overlap x"),
            (one, other, (third, one), "out's state must not overlap x"),
            (one, one, (third, one), "out's state must not overlap x"),
            (one, third, (other, at(2 * B + 1)), "out's state must not overlap state, unless it is the same array"),
            (one, None, (one, third), "out's y must not overlap x"),
            (one, other, (third, own), "out's state must not overlap the parameters"),
            (one, other, (own, third), "out's y must not overlap the parameters")):
        with refused(net, ValueError, words, untouched=(memory,)):
            net.step(x, state, out=out, backend=backend)
    ids = network(one_hot=True)
    shared = np.zeros(max(B * O, B * H))
    with refused(ids, ValueError, "out's y must not overlap x", untouched=(shared,)):
        ids.step(shared.view(np.intp)[:B], out=(shared[:B * O].reshape(B, O), np.zeros((B, H))), backend=backend)
    side_by_side = net.step(one, other, out=(third, other), backend=backend)
    assert side_by_side[0] is third and side_by_side[1] is other


def test_a_thousand_steps_with_out_allocate_nothing():
    for net in (network(), network(dtype="float32", one_hot=True), network(output="last", learn_initial_state=True)):
        x, state, y = inputs(net)[0], np.zeros((B, H), net.dtype), np.empty((B, O), net.dtype)
        out = y, state

        def run(n):
            for _ in range(n):
                net.step(x, state, out=out)

        run(10)
        tracemalloc.start()
        try:
            run(10)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            run(1000)
            now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert now - before < 200 and peak - before < 1000  # frames and counters; a workspace has more


# ---- Bad arguments of a step

BAD_STEPS = {
    "x without a batch": ({"x": np.ones(I)}, ValueError, ("x must be 2-D (B, I)", "1-D", "(3,)")),
    "x in time": ({"x": np.ones((1, B, I))}, ValueError, ("x must be 2-D (B, I)", "3-D", "(1, 5, 3)")),
    "x too wide": ({"x": np.ones((B, I + 1))}, ValueError, ("x has 4 features", "input_size=3", "(5, 4) was read as (B, I)")),
    "x of text": ({"x": "abc"}, TypeError, ("x must be an array of numbers", "str")),
    "no x": ({"x": None}, TypeError, ("x must be an array of numbers", "NoneType")),
    "complex x": ({"x": np.ones((B, I), complex)}, ValueError, ("x is complex",)),
    "masked x": ({"x": np.ma.masked_array(np.ones((B, I)))}, ValueError, ("x is a masked array",)),
    "state of too few": ({"state": np.ones((B - 1, H))}, ValueError, ("state must have shape (B, H) = (5, 6)", "(4, 6)")),
    "state for all": ({"state": np.ones(H)}, ValueError, ("state must have shape (B, H) = (5, 6)", "(6,)")),
    "state of text": ({"state": "zero"}, TypeError, ("state must be an array of numbers", "str")),
    "no threads": ({"n_threads": 0}, ValueError, ("n_threads must be from 1",)),
    "half a thread": ({"n_threads": 0.5}, TypeError, ("n_threads must be an int",)),
}


@both_backends
@pytest.mark.parametrize("bad", BAD_STEPS)
def test_a_bad_argument_of_a_step_is_refused(bad, backend):
    arguments, error, words = BAD_STEPS[bad]
    net, out = network(), (np.full((B, O), 7.0), np.full((B, H), 7.0))
    for given in ({}, {"out": out}):
        with refused(net, error, *words, untouched=out):
            net.step(**{"x": np.ones((B, I)), **arguments, **given}, backend=backend)


@both_backends
@pytest.mark.parametrize(("x", "error", "words"), [
    (np.zeros((B, I)), TypeError, ("x must hold integers", "float64")),
    (np.zeros((1, B), int), ValueError, ("x must be token ids, 1-D (B,)", "2-D", "(1, 5)")),
    (np.array([0, 1, I, 0, 0]), ValueError, ("x has id 3 at (b) = (2,)", "0 to 2")),
    (np.array([0, 1, 1, 0, -1]), ValueError, ("x has id -1", "0 to 2 (input_size=3)")),
])
def test_bad_ids_of_a_step_are_refused(x, error, words, backend):
    net = network(one_hot=True)
    with refused(net, error, *words):
        net.step(x, backend=backend)


def test_an_unknown_backend_is_refused():
    net = network(I)
    for call in (lambda: net.step(np.ones((B, I)), backend="cores"),
                 lambda: net.generate(2, prefix=np.ones((T, B, I)), backend="cores")):
        with refused(net, ValueError, "unknown backend 'cores'", "did you mean 'core'"):
            call()


# ---- Closed loops


def rotation(angle, dtype="float64", **options):
    """A network whose closed loop is the rotation of its input by `angle` a step: S = X, Y = R X."""
    net = RNN(2, 2, 2, activation="identity", dtype=dtype, bias=False, random_state=0, **options)
    c, s = np.cos(angle), np.sin(angle)
    net.parameters.update({"W_x": np.eye(2), "W_s": np.zeros((2, 2)), "W_y": [[c, -s], [s, c]]})
    return net


@both_backends
@both_dtypes
@pytest.mark.parametrize("output", ["sequence", "last"])
def test_a_sine_goes_on_in_a_closed_loop(output, dtype, backend):
    net, angle = rotation(0.1, dtype, output=output), 0.1 * np.arange(205)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    Y = net.generate(200, prefix=circle[:5], backend=backend)
    assert Y.shape == (200, 1, 2) and Y.dtype == dtype
    np.testing.assert_allclose(Y, circle[5:], atol=1e-12 if dtype == "float64" else 1e-4)


def test_a_sine_in_the_state_goes_on_though_the_input_is_zero():
    """The recurrence rotates, the input is not read: the loop shows states that are carried, and the last of them."""
    net = rotation(0.0)
    c, s = np.cos(0.3), np.sin(0.3)
    net.parameters.update({"W_x": np.zeros((2, 2)), "W_s": [[c, -s], [s, c]], "W_y": np.eye(2)})
    Y, state = net.generate(50, prefix=np.zeros((2, 1, 2)), initial_state=[[1.0, 0.0]], return_state=True)
    angle = 0.3 * np.arange(2, 52)
    np.testing.assert_allclose(Y[:, 0], np.stack([np.cos(angle), np.sin(angle)], axis=-1), atol=1e-12)
    np.testing.assert_allclose(state[0], [np.cos(angle[-1]), np.sin(angle[-1])], atol=1e-12)


@pytest.mark.share(2)
@pytest.mark.quick
@both_backends
@pytest.mark.parametrize("options", [{}, {"learn_initial_state": True}, {"output": "last"}, {"dtype": "float32"}])
def test_a_closed_loop_is_forward_over_what_was_fed_back(options, backend):
    net = network(I, **options)
    prefix, state = inputs(net), np.random.default_rng(3).standard_normal((B, H))
    for given in (None, state):
        Y, final = net.generate(9, prefix=prefix, initial_state=given, return_state=True, backend=backend)
        assert Y.shape == (9, B, I)
        whole = np.concatenate([prefix, Y[:-1]])
        single = 1e-12 if net.dtype == "float64" else 1e-5
        for k in range(9):
            outputs, after = net.forward(whole[:T + k], given, backend="reference")
            np.testing.assert_allclose(Y[k], outputs if net.output == "last" else outputs[-1], rtol=single, atol=single)
        np.testing.assert_allclose(final, after, rtol=single, atol=single)


@vectors_only
def test_a_closed_loop_has_the_bits_of_forward_for_any_batch():
    net = network(I)
    prefix = inputs(net, T, 11)
    Y = net.generate(9, prefix=prefix)
    assert net.forward(np.concatenate([prefix, Y[:-1]]))[0][T - 1:].tobytes() == Y.tobytes()
    assert net.generate(9, prefix=prefix[:, 4:5].copy()).tobytes() == Y[:, 4:5].tobytes()


@vectors_only
def test_a_loop_goes_on_from_its_last_output_and_state():
    net = network(I)
    prefix = inputs(net)
    whole, end = net.generate(12, prefix=prefix, return_state=True)
    Y, state = net.generate(5, prefix=prefix, return_state=True)
    others, other_end = net.generate(7, prefix=Y[-1:], initial_state=state, return_state=True)
    assert np.concatenate([Y, others]).tobytes() == whole.tobytes() and other_end.tobytes() == end.tobytes()


@both_backends
def test_one_step_is_the_output_after_the_prefix(backend):
    net = network(I)
    prefix = inputs(net)
    before = prefix.copy()
    Y, state = net.generate(1, prefix=prefix, return_state=True, backend=backend)
    outputs, final = net.forward(prefix, backend=backend)
    np.testing.assert_array_equal(Y, outputs[-1:])
    np.testing.assert_array_equal(state, final)
    assert (prefix == before).all()


@both_backends
def test_feed_makes_the_next_input_of_the_output(backend):
    net = network()  # two outputs, three inputs
    prefix, seen = inputs(net), []

    def feed(y, rng):
        seen.append(y.copy())
        x = np.concatenate([y, y.sum(axis=1, keepdims=True)], axis=1) + rng.normal(size=(B, 1))
        y[...] = np.nan  # a copy
        return x

    Y = net.generate(6, prefix=prefix, feed=feed, random_state=3, backend=backend)
    assert Y.shape == (6, B, O) and len(seen) == 5  # the last output is not fed back
    np.testing.assert_array_equal(seen, Y[:-1])
    rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(fastbptt.network.STREAMS.index("generation"),)))
    fed = [np.concatenate([y, y.sum(axis=1, keepdims=True)], axis=1) + rng.normal(size=(B, 1)) for y in Y[:-1]]
    np.testing.assert_allclose(Y, net.forward(np.concatenate([prefix, fed]), backend=backend)[0][T - 1:], rtol=1e-12)


@both_backends
def test_feed_may_return_lists_and_ids(backend):
    net = network(one_hot=True)
    Y = net.generate(4, prefix=inputs(net), feed=lambda y, rng: [0, 1, 2, 1, 0], backend=backend)
    X = np.concatenate([inputs(net), [[0, 1, 2, 1, 0]] * 3])
    np.testing.assert_allclose(Y, net.forward(X, backend=backend)[0][T - 1:], rtol=1e-12)


def test_feed_says_what_of_quantiles_is_fed_back():
    net = network(3, sizes=(1, H), loss="quantile")
    Y = net.generate(4, prefix=inputs(net), feed=lambda y, rng: y[:, 1:2])
    X = np.concatenate([inputs(net), Y[:-1, :, 1:2]])
    np.testing.assert_allclose(Y, net.forward(X)[0][T - 1:], rtol=1e-12)


def test_one_quantile_level_is_fed_back_as_it_is():
    net = network(1, sizes=(1, H), loss=("quantile", 0.5))
    assert net.generate(4, prefix=inputs(net)).shape == (4, B, 1)


# ---- Ids


@both_backends
@both_dtypes
def test_sampled_ids_are_those_of_the_outputs_and_the_seed(dtype, backend):
    net = letters(dtype=dtype)
    prefix = inputs(net)
    ids, state = net.generate(8, prefix=prefix, temperature=0.7, random_state=5, return_state=True, backend=backend)
    assert ids.shape == (8, B) and ids.dtype == np.intp and ids.min() >= 0 and ids.max() < 5
    Y, final = net.forward(np.concatenate([prefix, ids[:-1]]), backend=backend)
    rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(fastbptt.network.STREAMS.index("generation"),)))
    for k in range(8):
        np.testing.assert_array_equal(ids[k], reference.sample(Y[T - 1 + k], 0.7, rng.random(B)))
    np.testing.assert_allclose(state, final, rtol=1e-5)


@both_dtypes
@pytest.mark.parametrize("temperature", [0, 0.3, 1.0, 3])
def test_both_backends_sample_the_same_ids(temperature, dtype):
    net = letters(dtype=dtype)
    one, other = (net.generate(30, prefix=inputs(net), temperature=temperature, backend=backend) for backend in BACKENDS)
    np.testing.assert_array_equal(one, other)


def test_the_seed_decides_the_ids_and_the_networks_own_is_the_default():
    net = letters()
    prefix = inputs(net)
    by_default, again, same, other = (net.generate(20, prefix=prefix, random_state=seed) for seed in (None, None, 0, 1))
    assert (by_default == again).all() and (by_default == same).all() and (by_default != other).any()
    assert (net.generate(20, prefix=prefix, random_state=np.random.default_rng(1)) != by_default).any()


@both_backends
def test_ids_at_temperature_zero_are_the_most_probable(backend):
    net = letters()
    prefix = inputs(net)
    ids = net.generate(6, prefix=prefix, temperature=0, backend=backend)
    Y, _ = net.forward(np.concatenate([prefix, ids[:-1]]), backend=backend)
    np.testing.assert_array_equal(ids, Y[T - 1:].argmax(axis=-1))


def test_ids_of_a_network_of_last_outputs():
    net = letters(output="last")
    ids = net.generate(6, prefix=inputs(net), temperature=0)
    for k in range(6):
        np.testing.assert_array_equal(ids[k], net.forward(np.concatenate([inputs(net), ids[:k]]))[0].argmax(axis=-1))


# ---- sample: the id for a given u, frequencies, extremes


@pytest.mark.parametrize(("p", "temperature", "u", "id"), [
    ([0.25, 0.5, 0.25], 1, 0.0, 0),
    ([0.25, 0.5, 0.25], 1, 0.2499999, 0),
    ([0.25, 0.5, 0.25], 1, 0.2500001, 1),
    ([0.25, 0.5, 0.25], 1, 0.7499999, 1),
    ([0.25, 0.5, 0.25], 1, 0.7500001, 2),
    ([0.25, 0.5, 0.25], 1, np.nextafter(1, 0), 2),
    ([0.2, 0.6, 0.2], 0.5, 0.090908, 0),  # p² are as 1, 9, 1
    ([0.2, 0.6, 0.2], 0.5, 0.090910, 1),
    ([0.2, 0.6, 0.2], 0.5, 0.909090, 1),
    ([0.2, 0.6, 0.2], 0.5, 0.909092, 2),
    ([0.1, 0.9], 2, 0.2499999, 0),  # √p are as 1, 3
    ([0.1, 0.9], 2, 0.2500001, 1),
    ([0.25, 0.25, 0.5], 0, 0.0, 2),
    ([0.4, 0.4, 0.2], 0, 0.9, 0),  # of equals the first
])
@both_dtypes
def test_sample_is_the_first_id_whose_cumulative_probability_exceeds_u(p, temperature, u, id, dtype):
    assert reference.sample(np.array([p], dtype), temperature, np.array([u])).tolist() == [id]


@pytest.mark.parametrize("temperature", [0, 1e-300, 0.01, 1.0, 100.0, 1e300])
@both_dtypes
def test_what_has_probability_zero_is_never_drawn(temperature, dtype):
    p = np.zeros((4, 6), dtype)
    for row, (one, other) in zip(p, [(1, 3), (0, 5), (2, 4), (1, 2)]):
        row[one], row[other] = 0.25, 0.75
    for u in (0.0, 5e-324, 2.0**-53, 0.3, 0.5, np.nextafter(1, 0)):
        assert (p[np.arange(4), reference.sample(p, temperature, np.full(4, u))] > 0).all()
    alone = np.zeros((1, 3), dtype)
    alone[0, 1] = np.finfo(dtype).tiny
    assert [reference.sample(alone, temperature, np.array([u])).item() for u in (0.0, np.nextafter(1, 0))] == [1, 1]


@both_dtypes
def test_a_very_low_temperature_is_that_of_the_most_probable_and_a_very_high_one_is_even(dtype):
    p = np.array([[0.1, 0.3, 0.0, 0.6]], dtype).repeat(1000, axis=0)
    u = (np.arange(1000) + 0.5) / 1000
    for temperature in (5e-324, 1e-300, 1e-6):
        assert (reference.sample(p, temperature, u) == 3).all()
    for temperature in (1e6, 1e300):
        counts = np.bincount(reference.sample(p, temperature, u), minlength=4)
        assert counts[2] == 0 and counts.sum() == 1000 and np.abs(counts[[0, 1, 3]] - 1000 / 3).max() < 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_within_five_standard_deviations(temperature):
    n, p = 100_000, np.array([0.02, 0.0, 0.5, 0.18, 0.3])
    expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    u = np.random.default_rng(7).random(n)
    counts = np.bincount(reference.sample(np.broadcast_to(p, (n, 5)), temperature, u), minlength=5)
    assert (np.abs(counts - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))).all()


def test_sampled_transitions_of_a_network_have_its_probabilities():
    """A network without memory, whose softmax of the next id is a row of a matrix: 60,000 steps of a Markov chain."""
    P = np.array([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25], [0.0, 0.2, 0.8]])
    net = RNN(3, 3, 3, one_hot=True, output_activation="softmax", loss="cross_entropy", activation="identity", bias=False,
              dtype="float64", random_state=0)
    with np.errstate(divide="ignore"):
        net.parameters.update({"W_x": np.eye(3), "W_s": np.zeros((3, 3)), "W_y": np.maximum(np.log(P.T), -800)})
    ids = net.generate(200, prefix=np.zeros((1, 300), int), random_state=0)
    counts = np.zeros((3, 3))
    np.add.at(counts, (ids[:-1].ravel(), ids[1:].ravel()), 1)
    n = counts.sum(axis=1, keepdims=True)
    assert (np.abs(counts - n * P) <= 5 * np.sqrt(n * P * (1 - P))).all() and counts[2, 0] == 0


# ---- What generate refuses

SQUARE = {"prefix": np.ones((T, B, I))}
BAD_LOOPS = {
    "no prefix": ({}, {"prefix": None}, TypeError, ("prefix is required", "no output to feed back")),
    "an empty prefix": ({}, {"prefix": np.ones((0, B, I))}, ValueError, ("prefix must have at least one step", "(0, 5, 3)")),
    "a prefix without a batch": ({}, {"prefix": np.ones((T, I))}, ValueError, ("prefix must be 3-D (T, B, I)", "(7, 3)")),
    "a prefix too wide": ({}, {"prefix": np.ones((T, B, 4))}, ValueError, ("prefix has 4 features", "input_size=3")),
    "a prefix of text": ({}, {"prefix": "abc"}, TypeError, ("prefix must be an array of numbers",)),
    "a state of too few": ({}, {"initial_state": np.ones((1, H))}, ValueError, ("initial_state must have shape (B, H)",)),
    "no steps": ({}, {"steps": 0}, ValueError, ("steps must be from 1",)),
    "half a step": ({}, {"steps": 1.5}, TypeError, ("steps must be an int",)),
    "a cold temperature": ({}, {"temperature": -1}, ValueError, ("temperature must be finite and >= 0",)),
    "a hot temperature": ({}, {"temperature": np.inf}, ValueError, ("temperature must be finite",)),
    "a word for a temperature": ({}, {"temperature": "hot"}, TypeError, ("temperature must be a number",)),
    "a temperature without ids": ({}, {"temperature": 0.5}, TypeError, ("temperature must be 1 unless token ids", "got 0.5")),
    "a seed of text": ({}, {"random_state": "x"}, TypeError, ("random_state must be None, an int",)),
    "a feed that is none": ({}, {"feed": np.ones((B, I))}, TypeError, ("feed must be a function f(y, rng) -> x", "ndarray")),
    "other outputs than inputs": ({"output_size": 2}, {}, ValueError, ("output_size=2", "input_size=3", "feed is required")),
    "quantiles": ({"loss": "quantile"}, {}, ValueError, ("3 quantile levels", "1 targets", "feed is required")),
    "feed without a batch": ({}, {"feed": lambda y, rng: y[0]}, ValueError, ("what feed returned must be 2-D (B, I)",)),
    "feed of too few": ({}, {"feed": lambda y, rng: y[1:]}, ValueError, ("what feed returned has 4 sequences", "prefix has 5")),
    "feed too narrow": ({}, {"feed": lambda y, rng: y[:, 1:]}, ValueError, ("what feed returned has 2 features",)),
    "feed of nothing": ({}, {"feed": lambda y, rng: None}, TypeError, ("what feed returned must be an array", "NoneType")),
    "no threads": ({}, {"n_threads": 0}, ValueError, ("n_threads must be from 1",)),
}


@both_backends
@pytest.mark.parametrize("bad", BAD_LOOPS)
def test_a_bad_argument_of_generate_is_refused(bad, backend):
    options, arguments, error, words = BAD_LOOPS[bad]
    net = network(**{"output_size": I, **options})
    with refused(net, error, *words):
        net.generate(**{"steps": 3, **SQUARE, **arguments}, backend=backend)


@both_backends
@pytest.mark.parametrize(("options", "arguments", "error", "words"), [
    ({}, {"prefix": np.ones((T, B, 5))}, TypeError, ("prefix must hold integers",)),
    ({}, {"prefix": np.zeros(B, int)}, ValueError, ("prefix must be token ids, 2-D (T, B)", "1-D")),
    ({}, {"prefix": np.array([[0, 5]])}, ValueError, ("prefix has id 5 at (t, b) = (0, 1)",)),
    ({}, {"feed": lambda y, rng: [5] * B}, ValueError, ("what feed returned has id 5", "0 to 4")),
    ({}, {"feed": lambda y, rng: y}, TypeError, ("what feed returned must hold integers", "float64")),
    ({}, {"feed": lambda y, rng: y.argmax(1), "temperature": 2}, TypeError, ("temperature must be 1 unless", "got 2.0")),
    ({"output_size": 4}, {}, ValueError, ("output_size=4", "input_size=5", "feed is required")),
    ({"output_activation": "sigmoid", "loss": "squared_error"}, {}, ValueError, ("softmax", "'sigmoid'", "feed is required")),
])
def test_a_bad_argument_of_generated_ids_is_refused(options, arguments, error, words, backend):
    net = letters(**options)
    with refused(net, error, *words):
        net.generate(3, **{"prefix": np.zeros((T, B), int), **arguments}, backend=backend)


# ---- NaN, interrupts


@both_backends
def test_nan_is_an_error_that_names_the_step(backend):
    net = network(I, activation="identity", dtype="float32")
    prefix = inputs(net)
    prefix[2, 3] = np.nan
    with refused(net, FloatingPointError, "generated outputs contain NaN, first at (t, b, o) = (0, 3, 0)"):
        net.generate(5, prefix=prefix, backend=backend)
    net = rotation(0.0)  # S = X, of which each step is 1e200 times the one before: infinity, and 0 times that
    net.parameters["W_y"] = [[1e200, 0], [0, 1]]
    with np.errstate(all="ignore"), refused(net, FloatingPointError, "first at (t, b, o) = (2,"):
        net.generate(9, prefix=np.ones((1, 1, 2)), backend=backend)

    def feed(y, rng):
        assert not np.isnan(y).any()
        return y if np.abs(y).max() < 100 else np.full_like(y, np.nan)

    net.parameters["W_y"] = [[10.0, 0], [0, 1]]
    with refused(net, FloatingPointError, "first at (t, b, o) = (2, 0, 0)"):
        net.generate(9, prefix=np.ones((1, 1, 2)), feed=feed, backend=backend)


@both_backends
def test_nan_is_never_sampled_from(backend):
    """Id 2 makes the state 1e308, and the output infinity less infinity; else id 2 is certain to be the next one."""
    net = letters(activation="identity", bias=True)
    net.parameters.update({"W_x": 1e308 * (np.arange(5) == 2) * np.ones((8, 1)), "W_s": np.zeros((8, 8)), "b_s": np.zeros(8),
                           "W_y": np.full((5, 8), 10.0), "b_y": [0, 0, 100, 0, 0]})
    for prefix, t in ([[0]], 1), ([[2]], 0):
        for arguments in ({}, {"feed": lambda y, rng: [2]}, {"temperature": 0}):
            with np.errstate(all="ignore"), refused(net, FloatingPointError, f"first at (t, b, o) = ({t}, 0, 0)"):
                net.generate(9, prefix=prefix, **arguments, backend=backend)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_ctrl_c_ends_a_loop_and_leaves_the_network_as_it_was():
    net = network(I, dtype="float32")
    main = threading.main_thread().ident
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT))
    before, begin = net.theta.tobytes(), time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.generate(10_000_000, prefix=np.ones((1, 1, I)))  # 13 s at the least
    assert time.monotonic() - begin < 5
    timer.join()
    assert net.theta.tobytes() == before and net.generate(2, prefix=np.ones((1, 1, I))).shape == (2, 1, I)


def test_old_random_streams_keep_their_numbers():
    assert fastbptt.network.STREAMS[:6] == ("initialisation", "shuffling", "noise", "dropout", "validation", "batches")
    assert fastbptt.network.STREAMS[6] == "generation"
