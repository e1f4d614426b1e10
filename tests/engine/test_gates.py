"""Cells of several gates in the engine: every option against the reference, rows beside any other rows, threads."""

import itertools

import numpy as np
import pytest

from fastbptt import RNN, _core, reference
from fastbptt.backends.arguments import Batch, CallOptions

from gated import CELLS

T, B, I, O = 20, 4, 5, 3
LENGTHS = np.array([20, 7, 13, 1])
# One unit, a narrow vector, padding, whole vectors and a row of several vectors in every kernel set
WIDTHS = (1, 8, 13, 17, 32, 33)
OPTIONS = ({}, {"learn_initial_state": True}, {"bias": False}, {"one_hot": True}, {"output": "last"}, {"rate_penalty": 0.1},
           {"l2": 0.01, "l1": 0.02}, {"activation": "relu"}, {"activation": "softsign"}, {"recurrent_dropout": 0.3})


def network(cell, H, dtype="float64", **options):
    net = RNN(I, H, O, dtype=dtype, random_state=1, **CELLS[cell], **options)
    rng = np.random.default_rng(2)
    for values in net.parameters.values():
        values[...] = rng.normal(0, 0.3, values.shape)
    return net


def data(net, rng):
    X = rng.integers(0, I, (T, B)) if net.one_hot else rng.normal(size=(T, B, I))
    D = rng.normal(size=(B, O) if net.output == "last" else (T, B, O))
    width = len(net.parameters["W_s"].T) * len(reference.cell_of(net.cell).states)
    return X, D, rng.normal(size=(B, width)), rng.random((T, B)) < 0.1, rng.random(D.shape[:-1])


def calls(net, S_0, resets, m):
    """Keyword arguments of calls: lengths, resets, states, weights, truncation and memory limits, alone and together."""
    few = m * (np.random.default_rng(3).random(m.shape) < 0.4)
    yield {}
    yield {"initial_state": S_0, "initial_state_gradient": True}
    yield {"lengths": LENGTHS, "weights": few}
    yield {"resets": resets, "initial_state": S_0, "lengths": LENGTHS, "weights": m, "initial_state_gradient": True}
    yield {"memory_limit": "auto", "lengths": LENGTHS, "resets": resets}
    if net.output == "sequence":
        yield {"tbptt": (4, 7)}
        yield {"tbptt": (5, 9), "resets": resets, "lengths": LENGTHS, "initial_state": S_0}


def flat(gradients):
    """Gradients by name, with one name for each of several initial states."""
    several = gradients.get("initial_state")
    if not isinstance(several, tuple):
        return gradients
    return gradients | {"initial_state": several[0]} | {f"initial_state {n}": each for n, each in enumerate(several)}


def assert_equal(found, expected, tolerance):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, atol=tolerance * max(1e-3, np.abs(value).max()), rtol=0, err_msg=name)


@pytest.mark.share(9)
@pytest.mark.parametrize("H", WIDTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_the_reference(cell, H):
    rng = np.random.default_rng(4)
    for options in OPTIONS:
        net = network(cell, H, **options)
        X, D, S_0, resets, m = data(net, rng)
        for more in calls(net, S_0, resets, m):
            more = more if net.one_hot else {**more, "input_gradient": True}
            loss, found = net.loss_and_gradients(X, D, **more)
            more.pop("memory_limit", None)
            expected_loss, expected = net.loss_and_gradients(X, D, backend="reference", **more)
            assert loss == pytest.approx(expected_loss, rel=1e-12)
            assert_equal(found, expected, 1e-11)


@pytest.mark.share(6)
@pytest.mark.parametrize("both", (False, True), ids=("forward", "both directions"))
@pytest.mark.parametrize("sizes", ((5,), (9, 5)), ids=("one layer", "two layers"))
@pytest.mark.parametrize("cell", CELLS)
def test_stacks_have_the_gradients_of_the_reference_and_of_the_complex_step(cell, sizes, both):
    """Layers and directions, with lengths, resets, truncation and memory limits."""
    rng = np.random.default_rng(11)
    net = network(cell, sizes, bidirectional=both, learn_initial_state=True, recurrent_dropout=0.3)
    assert net.gradcheck(entries=10).passed
    X, D, _, resets, m = data(net, rng)
    final = net.forward(X)[1]
    S_0 = tuple(rng.normal(size=state.shape) for state in (final if isinstance(final, tuple) else (final,)))
    for more in calls(net, S_0 if len(S_0) > 1 else S_0[0], resets, m):
        if both and "tbptt" in more:
            continue  # a reverse direction has no earlier steps
        loss, found = net.loss_and_gradients(X, D, **more)
        more.pop("memory_limit", None)
        expected_loss, expected = net.loss_and_gradients(X, D, backend="reference", **more)
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert_equal(flat(found), flat(expected), 1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_a_single_step_has_the_gradients_of_the_reference(cell):
    """With an initial state that is given, so that no gradient by a first state is asked for; and windows of one step."""
    rng = np.random.default_rng(10)
    for H in WIDTHS:
        net = network(cell, H)
        X, D, S_0, *_ = data(net, rng)
        for steps, more in ((1, {}), (5, {"tbptt": (1, 1)}), (5, {"tbptt": (3, 1)})):
            more = {"initial_state": S_0, "input_gradient": True, **more}
            (_, found), (_, expected) = (net.loss_and_gradients(X[:steps], D[:steps], backend=backend, **more)
                                         for backend in ("core", "reference"))
            assert_equal(found, expected, 1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_near_float64(cell):
    rng = np.random.default_rng(5)
    for H, options in itertools.product(WIDTHS, ({}, {"learn_initial_state": True}, {"activation": "softsign"})):
        net = network(cell, H, "float32", **options)
        X, D, S_0, resets, m = data(net, rng)
        for more in calls(net, S_0, resets, m):
            _, found = net.loss_and_gradients(X, D, **more)
            more.pop("memory_limit", None)
            _, expected = network(cell, H, **options).loss_and_gradients(X, D, backend="reference", **more)
            assert_equal(found, expected, 2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_has_the_same_bits_beside_any_rows(cell, dtype):
    """Sequences alone, together, in shards of several threads, and step by step."""
    if _core.kernel_set() == "blas":
        pytest.skip("a product of BLAS has other bits beside other rows")
    rng = np.random.default_rng(6)
    for H in WIDTHS:
        net = network(cell, H, dtype)
        X = rng.normal(size=(12, 40, I)).astype(dtype)
        Y, final, states = net.forward(X, return_states=True)
        assert all(np.array_equal(a, b) for a, b in zip((Y, final), net.forward(X, n_threads=3)))
        for n in (1, 2, 3, 5, 8, 17):
            part = net.forward(X[:, :n], return_states=True)
            assert np.array_equal(part[0], Y[:, :n]) and np.array_equal(part[2].S, states.S[:, :n]), (H, n)
        S = np.zeros_like(final)
        for t in range(12):
            y, S = net.step(X[t], S)
            assert np.array_equal(y, Y[t]), (H, t)
        assert np.array_equal(S, final)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_have_the_same_bits_for_any_threads_and_memory(cell, dtype):
    rng = np.random.default_rng(7)
    for H in (8, 33):
        net = network(cell, H, dtype)
        engine = net._engines["core"]
        engine.shard_work = 8 * H * H * 4  # several shards
        X, D = rng.normal(size=(30, 40, I)).astype(dtype), rng.normal(size=(30, 40, O)).astype(dtype)
        lengths = rng.integers(1, 31, 40)
        for more in ({}, {"lengths": lengths}):
            loss, whole = net.loss_and_gradients(X, D, n_threads=1, **more)
            for other in ({"n_threads": 2}, {"n_threads": 3, "memory_limit": "auto"}):
                again, found = net.loss_and_gradients(X, D, **other, **more)
                assert again == loss
                assert all(np.array_equal(found[name], whole[name]) for name in whole)


@pytest.mark.share(4)
@pytest.mark.parametrize("H", (5, 13, 32))
@pytest.mark.parametrize("cell", CELLS)
def test_terms_and_flow_are_those_of_the_reference(cell, H):
    rng = np.random.default_rng(8)
    for options in ({}, {"one_hot": True}, {"learn_initial_state": True}):
        net = network(cell, H, **options)
        X, D, S_0, _, m = data(net, rng)
        for t in (0, 9, T - 1):
            assert_equal(net.gradient_terms(X, D, t, initial_state=S_0),
                         net.gradient_terms(X, D, t, initial_state=S_0, backend="reference"), 1e-11)
        arguments = net.theta, Batch(X, D, m, S_0), CallOptions(1), 3, 11
        for found, expected in zip(*(net._engines[backend].gradient_flow(*arguments) for backend in ("core", "reference")),
                                   strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_has_the_gradients_of_the_reference(cell):
    """Sequences that end at different steps have rows of the mask that do not begin with the first."""
    rng = np.random.default_rng(11)
    for H in (8, 13, 33):
        net = network(cell, H, recurrent_dropout=0.4)
        X, D, S_0, resets, m = data(net, rng)
        for more in ({}, {"lengths": LENGTHS, "initial_state": S_0, "weights": m, "initial_state_gradient": True},
                     {"tbptt": (4, 7), "resets": resets, "lengths": LENGTHS}):
            (_, found), (_, expected) = (net.loss_and_gradients(X, D, dropout=3, input_gradient=True, backend=backend, **more)
                                         for backend in ("core", "reference"))
            assert_equal(found, expected, 1e-11)


@pytest.mark.parametrize("H", (8, 13))
@pytest.mark.parametrize("cell", CELLS)
def test_windows_that_overlap_have_the_updates_of_the_reference(cell, H):
    """Each window goes back into steps whose states, and what the cell saved, are those of the windows before."""
    for lengths in (None, LENGTHS):
        after = []
        for backend in ("core", "reference"):
            net = network(cell, H)
            X, D, *_ = data(net, np.random.default_rng(13))
            net.fit(X, D, epochs=1, batch_size=B, tbptt=(3, 8), optimizer="sgd", learning_rate=0.1, lengths=lengths,
                    backend=backend, random_state=0)
            after.append(net.parameters)
        assert_equal(*after, 1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_of_a_row_is_never_read(cell):
    """A sequence that is not finite changes no other one, nor the gradient by it."""
    net = network(cell, 13)
    X, D, S_0, *_ = data(net, np.random.default_rng(9))
    expected = net.loss_and_gradients(X[:, 1:], D[:, 1:], initial_state=S_0[1:], input_gradient=True)[1]["X"]
    X[2, 0], S_0[0] = np.nan, np.inf
    m = np.ones((T, B))
    m[:, 0] = 0
    _, found = net.loss_and_gradients(X, D, initial_state=S_0, weights=m, input_gradient=True)
    np.testing.assert_allclose(found["X"][:, 1:], expected, rtol=0, atol=1e-13)
