"""`RNN.bind`: a prepared call gives the numbers of loss_and_gradients, for the present values of its arrays."""

import copy
import pickle
import weakref

import numpy as np
import pytest

from fastbptt import RNN
from fastbptt._core import Batch

T, B, I, H, O = 7, 3, 2, 5, 4  # noqa: E741

NETWORKS = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "leaky": {"leak": 0.4, "leak_form": "current", "l2": 0.1, "rate_penalty": 0.1},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm", "learn_initial_state": True},
    "last": {"output": "last"},
    "labels": {"loss": "cross_entropy", "output_activation": "softmax"},
    "ids": {"one_hot": True},
    "low rank": {"rank": 2},
    "dale": {"dale_ratio": 0.8, "activation": "relu"},
    "layers": {"layers": 2},
    "both directions": {"bidirectional": True},
}


def drawn(rng, name, net):
    """X and D of a network, by its options."""
    X = rng.integers(I, size=(T, B)) if net.one_hot else rng.standard_normal((T, B, I)).astype(net.dtype)
    shape = (B, O) if net.output == "last" else (T, B, O)
    D = rng.integers(O, size=shape[:-1]) if name == "labels" else rng.standard_normal(shape).astype(net.dtype)
    return X.astype(np.intp) if net.one_hot else X, D.astype(np.intp) if name == "labels" else D


def network(name, **more):
    options = {"dtype": "float64", "random_state": 1} | NETWORKS[name] | more
    layers = options.pop("layers", 1)
    return RNN(I, H if layers == 1 else (H,) * layers, O, **options)


def same(call, net, X, D, **more):
    """Compare the call with loss_and_gradients, to the bit."""
    loss, gradients = net.loss_and_gradients(X, D, **more)
    assert call() == loss
    assert list(call.gradients) == list(gradients)
    for key, value in gradients.items():
        for ours, theirs in zip(*((call.gradients[key], value) if isinstance(value, tuple) else (
                (call.gradients[key],), (value,))), strict=True):
            assert np.array_equal(ours, theirs), key
    assert np.array_equal(call.gradient, np.concatenate([gradients[key].ravel() for key in net.parameters]))


@pytest.mark.quick
@pytest.mark.parametrize("name", NETWORKS)
def test_a_bound_call_reads_the_present_values(name):
    rng = np.random.default_rng(0)
    net = network(name)
    X, D = drawn(rng, name, net)
    call = net.bind(X, D)
    same(call, net, X, D)
    results = dict(call.gradients)
    X[...], D[...] = drawn(rng, name, net)
    net.theta = net.theta + 0.01 * rng.standard_normal(net.theta.shape)
    same(call, net, X, D)
    assert all(call.gradients[key] is results[key] for key in results)


@pytest.mark.parametrize("name", ["plain", "lstm", "layers"])
def test_every_array_is_read_at_each_call(name):
    rng = np.random.default_rng(2)
    net = network(name)
    X, D = drawn(rng, name, net)
    width = 2 * H if name == "lstm" else H
    state = rng.standard_normal((B, width))
    more = {"initial_state": (state, state.copy()) if name == "layers" else state, "weights": rng.random((T, B)),
            "lengths": np.array([7, 3, 5]), "resets": rng.random((T, B)) < 0.2}
    asked = {"input_gradient": True, "initial_state_gradient": True}
    call = net.bind(X, D, **more, **asked)
    same(call, net, X, D, **more, **asked)
    state[...] = rng.standard_normal(state.shape)
    more["weights"][...] = rng.random((T, B))
    more["lengths"][...] = [2, 6, 7]
    more["resets"][...] = rng.random((T, B)) < 0.2
    same(call, net, X, D, **more, **asked)


def test_weights_may_become_others_than_one():
    """Weights that are all 1 take no memory. The sanitizers see it if a later call has too little."""
    rng = np.random.default_rng(3)
    net = network("plain")
    X, D = drawn(rng, "plain", net)
    weights = np.ones((T, B))
    call = net.bind(X, D, weights=weights)
    same(call, net, X, D, weights=weights)
    for values in (rng.random((T, B)), np.ones((T, B)), rng.random((T, B)) < 0.1, np.zeros((T, B))):
        weights[...] = values
        same(call, net, X, D, weights=weights)


def test_arrays_that_a_call_would_convert_are_refused():
    net = network("plain")
    X, D = drawn(np.random.default_rng(0), "plain", net)
    refused = [
        (TypeError, "^X must be a NumPy array", (X.tolist(), D), {}),
        (TypeError, "^X must have dtype float64.*got float32", (X.astype("float32"), D), {}),
        (TypeError, "^X must have dtype float64", (X.astype(">f8"), D), {}),
        (ValueError, "^D must be C-contiguous", (X, np.asfortranarray(D)), {}),
        (TypeError, "^lengths must have dtype int64", (X, D), {"lengths": np.ones(B, np.int32)}),
        (TypeError, "^resets must have dtype bool", (X, D), {"resets": np.zeros((T, B))}),
        (TypeError, "^weights must have dtype float64", (X, D), {"weights": np.ones((T, B), np.float32)}),
        (ValueError, "^D must have shape", (X, D[1:].copy()), {}),
        (ValueError, "^n_threads", (X, D), {"n_threads": 0}),
    ]
    for error, words, arguments, more in refused:
        with pytest.raises(error, match=words):
            net.bind(*arguments, **more)


def test_arrays_that_have_another_shape_now_are_refused():
    net = network("plain")
    X, D = drawn(np.random.default_rng(0), "plain", net)
    call = net.bind(X, D, input_gradient=True)
    X.shape, D.shape = (B, T, I), (B, T, O)
    with pytest.raises(ValueError, match=r"^X must keep the T and B .* \(7, 3\), got \(3, 7\)"):
        call()
    X.shape, D.shape = (T, B, I), (T, B, O)
    same(call, net, X, D, input_gradient=True)


def test_ids_have_no_gradient():
    net = network("ids")
    with pytest.raises((TypeError, ValueError), match="input_gradient"):
        net.bind(*drawn(np.random.default_rng(0), "ids", net), input_gradient=True)


def test_values_that_become_invalid_raise_in_the_call():
    net = network("labels")
    X, D = drawn(np.random.default_rng(0), "labels", net)
    call = net.bind(X, D)
    D[3, 1] = O
    with pytest.raises(ValueError, match="^D has label"):
        call()
    D[3, 1] = 0
    same(call, net, X, D)


def test_a_bound_call_is_bound_to_its_network():
    net = network("plain")
    X, D = drawn(np.random.default_rng(0), "plain", net)
    call, loss = net.bind(X, D), net.loss_and_gradients(X, D)[0]
    del net
    assert call() == loss
    assert "X (7, 3, 2)" in repr(call)


def test_arrays_of_results_live_as_long_as_the_call_writes_them():
    net = network("plain")
    X, D = drawn(np.random.default_rng(0), "plain", net)
    call = net.bind(X, D, input_gradient=True, initial_state_gradient=True)
    alive = [weakref.ref(call.gradients[name]) for name in ("X", "initial_state")]
    call.gradients.clear()
    assert all(each() is not None for each in alive)
    assert call() == net.loss_and_gradients(X, D)[0]


def test_a_bound_call_cannot_be_copied_or_made_without_its_arrays():
    net = network("plain")
    X, D = drawn(np.random.default_rng(0), "plain", net)
    call = net.bind(X, D, input_gradient=True, initial_state_gradient=True)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="^a BoundCall can be neither copied nor pickled"):
            copied(call)
    make, batch, gradients = type(call), Batch(X, D), call.gradients
    with pytest.raises(TypeError):
        make.__new__(make)
    assert make(net, batch, call.gradient, gradients, 0)() == call()
    theta = call.gradient
    for gradient, changed in ((theta[:-1].copy(), {}), (theta.astype(np.float32), {}), (theta, {"X": X[:-1]}),
                              (theta, {"initial_state": np.zeros((B, H + 1))}),
                              (theta, {"initial_state": np.zeros((B, H), np.float32)})):
        with pytest.raises(ValueError, match="^gradient and gradients must be arrays"):
            make(net, batch, gradient, gradients | changed, 0)
