"""A batch in several shards gives what the reference gives, and what a single shard gives, whatever the call asks for.

Shards are made small by the engine's `shard_work`: at 1 they have at most 8 rows, so that 21 sequences make three of 7 and
20 make two of 7 and one of 6.
"""

import numpy as np
import pytest
from cases import all_states

from fastbptt import RNN, reference

HEADS = [("squared_error", "identity"), ("absolute_error", "softmax"), ("huber", "tanh"), ("quantile", "exp"),
         ("binary_cross_entropy", "sigmoid"), ("cross_entropy", "softmax"), ("poisson", "exp")]


def network(loss="squared_error", output_activation="identity", dtype="float64", shard_work=1, **options):
    net = RNN(3, 5, 6, loss=loss, output_activation=output_activation, dtype=dtype, random_state=0, **options)
    net.theta = np.random.default_rng(1).uniform(-0.5, 0.5, net.theta.size)
    net._engines["core"].shard_work = shard_work
    return net


def data(net, B, T=4, labels=False):
    rng = np.random.default_rng(B)
    X, initial_state = rng.standard_normal((T, B, 3)), rng.uniform(-1, 1, (B, 5))
    D = rng.integers(6, size=(T, B)) if labels else rng.uniform(0, 1, (T, B, net.target_size))
    weights = rng.uniform(0, 1, (T, B)) * rng.integers(2, size=(T, B))
    return X, D, initial_state, weights


def assert_equal(result, truth, limit=1e-11):
    if isinstance(truth, dict):
        assert list(result) == list(truth)
        result, truth = list(result.values()), list(truth.values())
    for value, true in zip(result, truth, strict=True):
        if isinstance(true, dict):
            assert_equal(value, true, limit)
        else:
            assert np.shape(value) == np.shape(true)
            np.testing.assert_allclose(value, true, rtol=0, atol=limit * np.abs(true).max(initial=0))


@pytest.mark.parametrize("B", [0, 1, 8, 9, 20, 21])
@pytest.mark.parametrize(("loss", "output_activation"), HEADS)
def test_gradients_of_a_batch_in_shards(loss, output_activation, B):
    net = network(loss, output_activation, learn_initial_state=True)
    for labels in (False, True)[:1 + (loss == "cross_entropy")]:
        X, D, initial_state, weights = data(net, B, labels=labels)
        for options in ({}, {"weights": weights}, {"initial_state": initial_state},
                        {"weights": weights, "initial_state": initial_state}):
            options |= {"input_gradient": True, "initial_state_gradient": True}
            assert_equal(net.loss_and_gradients(X, D, **options),
                         net.loss_and_gradients(X, D, backend="reference", **options))


@pytest.mark.parametrize("loss", sorted(set(reference.LOSSES) - {"cross_entropy"}))
def test_a_weight_for_each_output_moves_on_with_the_shards(loss):
    net = network(loss, reference.FUSED.get(loss, "tanh"))
    X, D, _, _ = data(net, 21)
    weights = np.random.default_rng(0).uniform(0, 1, D.shape)
    assert_equal(net.loss_and_gradients(X, D, weights=weights),
                 net.loss_and_gradients(X, D, weights=weights, backend="reference"))


@pytest.mark.parametrize("labels", [False, True])
def test_losses_outputs_and_states_of_a_batch_in_shards_stand_in_their_rows(labels):
    net = network("cross_entropy", "softmax")
    X, D, initial_state, weights = data(net, 20, labels=labels)
    assert_equal(all_states(net.forward(X, initial_state, return_states=True)),
                 all_states(net.forward(X, initial_state, return_states=True, backend="reference")))
    assert_equal([net.losses(X, D)], [net.losses(X, D, backend="reference")])
    assert_equal([net.evaluate(X, D, weights=weights)], [net.evaluate(X, D, weights=weights, backend="reference")])


@pytest.mark.parametrize("labels", [False, True])
def test_terms_of_a_batch_in_shards_are_summed_over_all_of_it(labels):
    net = network("cross_entropy", "softmax")
    X, D, initial_state, _ = data(net, 21, labels=labels)
    assert_equal(net.gradient_terms(X, D, 2, initial_state=initial_state),
                 net.gradient_terms(X, D, 2, initial_state=initial_state, backend="reference"))


def test_an_error_of_ones_own_moves_on_with_the_shards():
    net = network("quantile", "softmax")
    X, _, initial_state, _ = data(net, 21)
    dY = np.random.default_rng(2).standard_normal((4, 21, 6))
    assert_equal(net.backward(X, dY, initial_state=initial_state, input_gradient=True),
                 net.backward(X, dY, initial_state=initial_state, input_gradient=True, backend="reference"))


def test_shards_and_blocks_together_give_the_float32_result_of_one_shard():
    """Many blocks in each of three shards: what is carried from block to block is each shard's own."""
    one, three = network(dtype="float32", shard_work=2**40), network(dtype="float32")
    X, D, initial_state, weights = data(one, 21, T=3000)
    assert_equal(three.loss_and_gradients(X, D, weights=weights, initial_state=initial_state, input_gradient=True),
                 one.loss_and_gradients(X, D, weights=weights, initial_state=initial_state, input_gradient=True), 2e-5)


@pytest.mark.thorough
def test_a_large_step_is_divided_by_itself():
    net = RNN(2, 1024, 3, random_state=0)
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((1, 1100, 2)), rng.standard_normal((1, 1100, 3))
    assert 1100 * 1024 * 1024 > net._engines["core"].shard_work
    assert_equal(net.loss_and_gradients(X, D), net.loss_and_gradients(X, D, backend="reference"), 2e-5)


def test_states_that_are_known_move_on_with_the_shards():
    """Of truncated BPTT whose errors go back further than the last update."""
    networks = [network() for _ in range(2)]
    X, D, _, _ = data(networks[0], 21, T=9)
    for net, backend in zip(networks, ("core", "reference")):
        net.fit(X, D, tbptt=(2, 5), epochs=2, batch_size=21, optimizer="sgd", shuffle=False, backend=backend)
    np.testing.assert_allclose(networks[0].theta, networks[1].theta, rtol=0, atol=1e-12)


def test_the_gradient_of_a_bias_over_many_rows_is_rounded_as_a_sum_of_sums():
    net = RNN(1, 1, 1, activation="identity", reduction="sum", random_state=0)
    net.theta = np.zeros_like(net.theta)
    net.parameters["W_y"][...] = 1
    X, D = np.zeros((65536, 1, 1)), np.full((65536, 1, 1), -0.1)
    found = net.loss_and_gradients(X, D)[1]["b_s"][0]
    assert abs(found / (2 * 65536 * np.float64(np.float32(0.1))) - 1) < 1e-6  # one sum of a block's rows: 3e-6 and more
