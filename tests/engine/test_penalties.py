"""Penalties are part of the gradient, of both backends alike, and kept apart from the data loss in the history."""

import numpy as np
import pytest

from fastbptt import RNN, reference

T, B, I, H, O = 4, 3, 2, 5, 2
BACKENDS = ["core", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
PENALTIES = [
    {"l2": 0.3},
    {"l1": 0.2},
    {"l1": 0.1, "l2": 0.4},
    {"l1": {"W_s": 0.5}, "l2": {"W_y": 0.7}},
    {"l1": {"b_s": 0.5, "S_0": 0.25}, "l2": {"b_y": 0.7, "S_0": 0.125, "W_x": 2.0}},
]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)


def network(**options):
    net = RNN(I, H, O, **{"dtype": "float64", "random_state": 0, "learn_initial_state": True, **options})
    net.theta = np.random.default_rng(1).standard_normal(net.theta.size)  # biases and S_0 are not zero
    return net


def data():
    rng = np.random.default_rng(2)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


def by_hand(net, penalty):
    """Σ l1 |w| + l2 Σ w², entry by entry."""
    total = 0.0
    for name, value in net.parameters.items():
        for kind, power in (("l1", 1), ("l2", 2)):
            given = penalty.get(kind, 0)
            number = given.get(name, 0) if isinstance(given, dict) else given * name.startswith("W_")
            total += sum(number * abs(w) ** power for w in value.ravel().tolist())
    return total


@every_penalty
@both_backends
def test_the_loss_has_the_penalty_and_evaluate_has_not(penalty, backend):
    net, plain, (X, D) = network(**penalty), network(), data()
    loss, _ = net.loss_and_gradients(X, D, backend=backend)
    expected = plain.loss_and_gradients(X, D, backend=backend)[0] + by_hand(net, penalty)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    assert net.evaluate(X, D, backend=backend) == plain.evaluate(X, D, backend=backend)


@every_penalty
def test_the_gradient_with_penalties_agrees_with_the_complex_step(penalty):
    check = network(**penalty).gradcheck(*data())
    assert max(check.errors["reference float64"].values()) < 1e-12
    assert max(check.errors["core float64"].values()) < 1e-12
    assert max(check.errors["core float32"].values()) < 1e-5


@every_penalty
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_core_adds_the_references_penalty_to_every_parameter(penalty, dtype):
    net, (X, D) = network(dtype=dtype, **penalty), data()
    loss, gradients = net.loss_and_gradients(X, D)
    expected_loss, expected = net.loss_and_gradients(X, D, backend="reference")
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(loss, expected_loss, rtol=tolerance)
    for name in expected:
        np.testing.assert_allclose(gradients[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


@both_backends
def test_penalties_stand_where_no_error_has_weight(backend):
    net, (X, D) = network(l2=0.5), data()
    loss, gradients = net.loss_and_gradients(X, D, weights=np.zeros((T, B)), backend=backend)
    np.testing.assert_allclose(loss, by_hand(net, {"l2": 0.5}), rtol=1e-13)
    np.testing.assert_allclose(gradients["W_s"], net.parameters["W_s"], rtol=1e-13)
    assert not gradients["b_s"].any()


@both_backends
def test_what_is_no_sum_over_the_whole_loss_has_no_penalty(backend):
    penalised, plain, (X, D) = network(l1=0.3, l2=0.5), network(), data()
    for name, gradient in penalised.backward(X, D, backend=backend).items():
        np.testing.assert_array_equal(gradient, plain.backward(X, D, backend=backend)[name])
    for name, term in penalised.gradient_terms(X, D, 2, backend=backend).items():
        np.testing.assert_array_equal(term, plain.gradient_terms(X, D, 2, backend=backend)[name])


@both_backends
def test_the_slope_of_l1_at_zero_is_zero(backend):
    net, (X, D) = network(l1=0.5), data()
    net.theta = np.zeros(net.theta.size)
    _, gradients = net.loss_and_gradients(X, D, backend=backend)
    plain = network()
    plain.theta = net.theta
    for name, gradient in plain.loss_and_gradients(X, D, backend=backend)[1].items():
        np.testing.assert_array_equal(gradients[name], gradient)


@both_backends
def test_history_keeps_data_loss_and_penalty_apart(backend):
    net, (X, D) = network(l1=0.01, l2=0.02), data()
    data_loss, penalty = net.evaluate(X, D), by_hand(net, {"l1": 0.01, "l2": 0.02})
    history = net.fit(X, D, epochs=1, batch_size=B, backend=backend)
    np.testing.assert_allclose(history.train_loss, [data_loss], rtol=1e-12)
    np.testing.assert_allclose(history.penalty, [penalty], rtol=1e-12)
    assert network().fit(X, D, epochs=2, backend=backend).penalty == [0, 0]


def test_training_with_a_penalty_makes_weights_smaller():
    X, D = data()
    sizes = []
    for l2 in (0.0, 1.0):
        net = network(l2={"W_s": l2})
        net.fit(X, D, epochs=200, learning_rate=0.01)
        sizes.append(np.linalg.norm(net.parameters["W_s"]))
    assert sizes[1] < 0.5 * sizes[0]


def test_the_objective_for_scipy_has_the_penalty():
    net, (X, D) = network(l2=0.3), data()
    value, gradient = net.objective(X, D)(net.theta)
    loss, gradients = net.loss_and_gradients(X, D)
    np.testing.assert_allclose(value, loss, rtol=1e-14)
    np.testing.assert_array_equal(gradient, np.concatenate([g.ravel() for g in gradients.values()]))


@every_penalty
def test_penalties_are_saved_copied_and_shown(penalty, tmp_path):
    import fastbptt

    net, (X, D) = network(**penalty), data()
    net.save(tmp_path / "net.npz")
    for other in (fastbptt.load(tmp_path / "net.npz"), net.copy()):
        assert repr(other) == repr(net) and other.loss_and_gradients(X, D)[0] == net.loss_and_gradients(X, D)[0]


def test_the_penalty_in_the_reference_is_its_formula_for_complex_numbers():
    W = np.array([[1 + 2j, -3 - 1j]])
    assert reference.penalty({"W_s": W}, {"W_s": 0.5}, {"W_s": 2.0}) == 0.5 * ((1 + 2j) + (3 + 1j)) + 2 * (W**2).sum()
