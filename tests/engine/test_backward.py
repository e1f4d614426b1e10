"""One test for each statement of the backward pass, in networks in which little else can go wrong.

Both backends, float64, against the complex-step derivative of the reference's forward pass. The name of a test that
fails says which statement broke. Two plain networks single a statement out:

- `without_recurrence`: W_s = 0, so that nothing is carried back and each gradient is one sum over steps;
- `transparent`: moreover W_x and W_y are unit matrices, the activation is the identity and there are no biases, so that
  ∂E/∂X_t is δy_t itself.
"""

import dataclasses

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, COVERING_CHOICES, HEADS, SHAPES, Choice, Head, Shape, assert_close, draw

from fastbptt import reference

LIMIT = 1e-12

SHAPE = SHAPES["discriminating"]
SQUARE = Shape(5, 3, 4, 4, 2, "as many inputs as hidden units: W_x may be the unit matrix, and ∂E/∂X_t is then δ_t")
PLAIN = Choice(True, False, True, "none", "sum")
WEIGHTED = PLAIN._replace(weights="step")
LEARNT = Choice(True, True, False, "none", "sum")

pytestmark = pytest.mark.parametrize("backend", ["reference", "core"])
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])


def gradients_of(case, backend):
    return case.network().loss_and_gradients(**case.data(), input_gradient=True, initial_state_gradient=True,
                                             backend=backend)[1]


def check(case, backend, *names):
    gradients = gradients_of(case, backend)
    for name in names:
        truth = cases.derivative(case, name)
        assert truth.any(), f"∂E/∂{name} vanishes in this case and proves nothing; {case}"
        assert_close(gradients[name], truth, LIMIT, f"∂E/∂{name} ({backend})", case)


def with_parameters(case, **values):
    return dataclasses.replace(case, parameters={**case.parameters, **values})


def without_recurrence(case):
    return with_parameters(case, W_s=np.zeros_like(case.parameters["W_s"]))


def with_bare_delta(case):
    """W_x is the unit matrix: ∂E/∂X is δ."""
    return with_parameters(case, W_x=np.eye(*case.parameters["W_x"].shape))


def transparent(head, choice):
    for seed in range(100):
        case = draw(SQUARE, "identity", head, choice._replace(bias=False), seed=seed)
        case = without_recurrence(with_bare_delta(case))
        case = with_parameters(case, W_y=np.eye(*case.parameters["W_y"].shape))
        if cases.away_from_kinks(case):  # the draw was so with other parameters
            return case
    raise RuntimeError(f"no draw of {head} stays away from the kinks")


def with_weight_at_the_last_step_alone(case):
    weights = np.zeros((case.shape.T, case.shape.B))
    weights[-1] = 1
    return dataclasses.replace(case, weights=weights)


# ---- From the error to δy


@every_head
def test_derivative_of_the_loss_and_pull_back_of_the_output_activation(head, backend):
    check(transparent(head, PLAIN), backend, "X")


@pytest.mark.parametrize("output_activation", reference.OUTPUT_ACTIVATIONS)
def test_pull_back_of_an_error_of_ones_own(output_activation, backend):
    case = transparent(Head("squared_error", None, output_activation), PLAIN)
    gradients = case.network().backward(case.X, case.dY, initial_state=case.initial_state, input_gradient=True,
                                        backend=backend)
    truth = cases.derivative(case, "X", cases.weighted_output)
    assert_close(gradients["X"], truth, LIMIT, f"∂E/∂X of backward ({backend})", case)


def test_backward_is_never_divided(backend):
    """dY is ∂E/∂Y as it stands: a network's reduction and loss have no part in it."""
    case = draw(SQUARE, choice=PLAIN)
    for head in (HEADS[0], Head("quantile", (0.5,), "identity"), Head("huber", 0.5, "identity")):
        for reduction in ("mean", "sum"):
            other = dataclasses.replace(case, head=head, choice=PLAIN._replace(reduction=reduction))
            gradients = other.network().backward(case.X, case.dY, initial_state=case.initial_state, backend=backend)
            for name in case.parameters:
                truth = cases.derivative(case, name, cases.weighted_output)
                assert_close(gradients[name], truth, LIMIT, f"∂E/∂{name} of backward ({backend})", other)


def test_backward_of_quantiles_takes_an_error_for_every_level(backend):
    case = draw(SQUARE, "tanh", Head("quantile", (0.25, 0.5, 0.75), "tanh"), PLAIN)
    gradients = case.network().backward(case.X, case.dY, initial_state=case.initial_state, backend=backend)
    for name in case.parameters:
        truth = cases.derivative(case, name, cases.weighted_output)
        assert_close(gradients[name], truth, LIMIT, f"∂E/∂{name} of backward ({backend})", case)


@pytest.mark.quick
@pytest.mark.share(3)
@pytest.mark.parametrize("weights", ["step", "output"])
@every_head
def test_each_error_has_its_own_weight(head, weights, backend):
    choice = PLAIN._replace(weights=weights)
    if not cases.legal(head, choice):
        pytest.skip("cross-entropy has no weight for each output")
    check(transparent(head, choice), backend, "X")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", ["none", "step", "output"])
def test_gradient_is_divided_as_the_error_is(weights, reduction, backend):
    check(transparent(HEADS[0], PLAIN._replace(weights=weights, reduction=reduction)), backend, "X")


@every_head
def test_targets_at_weight_zero_are_never_read(head, backend):
    for weights in ("step", "output"):
        choice = PLAIN._replace(weights=weights)
        if not cases.legal(head, choice):
            continue
        case = draw(SQUARE, "tanh", head, choice)
        hidden = dataclasses.replace(case, D=case.hidden_targets())
        assert not np.array_equal(hidden.D, case.D)
        network = case.network()
        E, gradients = network.loss_and_gradients(**hidden.data(), backend=backend)
        assert network.evaluate(**hidden.data(), backend=backend) == E == network.evaluate(**case.data(),
                                                                                            backend=backend)
        for name, truth in network.loss_and_gradients(**case.data(), backend=backend)[1].items():
            assert np.array_equal(gradients[name], truth), f"∂E/∂{name}; {case}"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_no_weight_at_all_gives_loss_zero_and_zero_gradients(reduction, backend):
    case = draw(SQUARE, choice=Choice(True, True, False, "step", reduction))
    case = dataclasses.replace(case, weights=np.zeros_like(case.weights), D=np.full_like(case.D, np.nan))
    E, gradients = case.network().loss_and_gradients(**case.data(), input_gradient=True, initial_state_gradient=True,
                                                     backend=backend)
    assert E == 0 and case.network().evaluate(**case.data(), backend=backend) == 0
    assert not any(gradient.any() for gradient in gradients.values())


# ---- From δy to δ


def test_error_reaches_the_state_through_W_y(backend):
    check(without_recurrence(with_bare_delta(draw(SQUARE, "identity", choice=PLAIN))), backend, "X")


@every_activation
def test_derivative_of_the_activation_is_taken_at_the_state_after_the_step(activation, backend):
    check(without_recurrence(with_bare_delta(draw(SQUARE, activation, choice=PLAIN))), backend, "X")


def test_error_of_the_last_step_is_carried_back_through_W_s(backend):
    case = with_bare_delta(draw(SQUARE, "identity", choice=WEIGHTED))
    check(with_weight_at_the_last_step_alone(case), backend, "X")


@every_activation
def test_carried_error_is_multiplied_by_the_derivative_of_each_step(activation, backend):
    case = with_bare_delta(draw(SQUARE, activation, choice=WEIGHTED, seed=1))
    check(with_weight_at_the_last_step_alone(case), backend, "X")


def test_carried_error_is_added_to_that_of_each_step(backend):
    check(with_bare_delta(draw(SQUARE, "identity", choice=PLAIN)), backend, "X")


# ---- From δ to the gradients


def test_gradient_of_W_s_uses_the_state_before_the_step(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "W_s")


def test_gradient_of_W_s_counts_the_given_initial_state(backend):
    check(draw(SHAPES["one step"], choice=PLAIN), backend, "W_s")


def test_gradient_of_W_s_counts_the_learnt_initial_state(backend):
    check(draw(SHAPES["one step"], choice=LEARNT), backend, "W_s")


def test_gradient_of_W_x_uses_the_input_of_the_step(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "W_x")


def test_gradient_of_W_y_uses_the_state_after_the_step(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "W_y")


def test_gradient_of_b_s_sums_delta_over_steps_and_sequences(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "b_s")


def test_gradient_of_b_y_sums_delta_y_over_steps_and_sequences(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "b_y")


def test_gradient_of_X_goes_through_W_x(backend):
    check(without_recurrence(draw(SHAPE, choice=PLAIN)), backend, "X")


def test_gradient_of_the_initial_state_is_the_first_delta_through_W_s(backend):
    check(draw(SHAPES["one step"], choice=PLAIN), backend, "initial_state")
    check(draw(SHAPE, choice=PLAIN), backend, "initial_state")


def test_gradient_of_the_state_a_network_starts_from_by_itself(backend):
    check(draw(SHAPE, choice=LEARNT), backend, "initial_state")
    check(draw(SHAPE, choice=PLAIN._replace(given=False)), backend, "initial_state")


def test_gradient_of_a_learnt_S_0_sums_over_the_sequences(backend):
    check(draw(SHAPES["one step"], choice=LEARNT), backend, "S_0")
    check(draw(SHAPE, choice=LEARNT), backend, "S_0")


def test_gradient_of_S_0_is_zero_where_a_state_is_given(backend):
    case = draw(SHAPE, choice=LEARNT._replace(given=True))
    assert not gradients_of(case, backend)["S_0"].any()
    assert not case.network().backward(case.X, case.dY, initial_state=case.initial_state, backend=backend)["S_0"].any()


def test_given_state_stands_before_the_learnt_one(backend):
    case = draw(SHAPE, choice=LEARNT._replace(given=True))
    other = with_parameters(case, S_0=case.parameters["S_0"] + 1)
    for name, gradient in gradients_of(case, backend).items():
        assert np.array_equal(gradient, gradients_of(other, backend)[name]), name


@pytest.mark.share(6)
@pytest.mark.parametrize("choice", COVERING_CHOICES, ids=lambda c: f"{c.weights}, {c.reduction}, given={c.given}")
def test_all_gradients_of_a_long_path(choice, backend):
    case = draw(SHAPE, choice=choice)
    gradients = gradients_of(case, backend)
    assert list(gradients) == [*case.parameters, "X", "initial_state"]
    for name, gradient in gradients.items():
        assert_close(gradient, cases.derivative(case, name), LIMIT, f"∂E/∂{name} ({backend})", case)


# ---- The terms of one step's gradient


TERMS_HEADS = [HEADS[0], *(head for head in HEADS if head.loss in reference.FUSED or head.loss == "quantile")]


def terms(case, t, backend):
    return case.network().gradient_terms(case.X, case.D, t, initial_state=case.initial_state, backend=backend)


@pytest.mark.parametrize("t", [0, 2, 4])
@pytest.mark.parametrize("head", TERMS_HEADS, ids=[head.name for head in TERMS_HEADS])
def test_terms_of_S_are_the_derivatives_by_the_states(head, t, backend):
    case = draw(SQUARE, "tanh", head, PLAIN)
    S = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]
    result = terms(case, t, backend)["S"]
    assert len(result) == t + 1
    for i in range(t + 1):
        truth = cases.complex_step(lambda state: cases.error_from_state(case, state, i, t), S[i + 1])
        assert_close(result[i], truth, LIMIT, f"∂E_t/∂S_i, t={t}, i={i} ({backend})", case)


def terms_by_step(case, t, name):
    """∂E_t by the weights of one step at a time, the state before it held fixed."""
    p, X = case.parameters, case.X
    S = reference.forward(p, X, case.initial_state, **case.options)[2]
    g1, _ = reference.ACTIVATIONS[case.activation]
    result = []
    for i in range(t + 1):
        def error(W):
            q = {**p, name: W}
            return cases.error_from_state(case, g1(X[i] @ q["W_x"].T + S[i] @ q["W_s"].T + p.get("b_s", 0)), i, t)

        result.append(cases.complex_step(error, p[name]))
    return np.array(result)


@every_activation
def test_terms_of_W_s_use_the_state_before_each_step(activation, backend):
    case = draw(SQUARE, activation, choice=PLAIN)
    assert_close(terms(case, 3, backend)["W_s"], terms_by_step(case, 3, "W_s"), LIMIT, f"W_s ({backend})", case)


@every_activation
def test_terms_of_W_x_use_the_input_of_each_step(activation, backend):
    case = draw(SQUARE, activation, choice=PLAIN)
    assert_close(terms(case, 3, backend)["W_x"], terms_by_step(case, 3, "W_x"), LIMIT, f"W_x ({backend})", case)


def test_term_of_W_y_uses_the_state_after_the_step(backend):
    case = draw(SQUARE, choice=PLAIN)
    S = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]
    for t in range(SQUARE.T):
        truth = cases.complex_step(lambda W: cases.error_from_state(case, S[t + 1], t, t,
                                                                    {**case.parameters, "W_y": W}),
                                   case.parameters["W_y"])
        assert_close(terms(case, t, backend)["W_y"], truth, LIMIT, f"W_y of t={t} ({backend})", case)


def test_terms_sum_to_the_gradient(backend):
    case = draw(SHAPE, choice=LEARNT)
    gradients = gradients_of(case, backend)
    every = [terms(case, t, backend) for t in range(SHAPE.T)]
    for name in ("W_s", "W_x"):
        assert_close(sum(term[name].sum(axis=0) for term in every), gradients[name], LIMIT, f"{name} ({backend})", case)
    assert_close(sum(term["W_y"] for term in every), gradients["W_y"], LIMIT, f"W_y ({backend})", case)


def test_terms_are_neither_weighted_nor_divided(backend):
    case = draw(SHAPE, choice=PLAIN)
    mean = dataclasses.replace(case, choice=PLAIN._replace(reduction="mean"))
    for name, value in terms(case, 7, backend).items():
        assert np.array_equal(terms(mean, 7, backend)[name], value), name


def test_step_of_the_terms_counts_from_the_end_where_negative(backend):
    case = draw(SHAPE, choice=PLAIN)
    for name, value in terms(case, SHAPE.T - 3, backend).items():
        assert np.array_equal(terms(case, -3, backend)[name], value), name
    for t in (SHAPE.T, -SHAPE.T - 1):
        with pytest.raises(IndexError, match=f"{t}"):
            terms(case, t, backend)


def test_three_steps_worked_by_hand(backend):
    """The numbers are worked in test_reference.py; all are exact in both types."""
    for dtype in ("float32", "float64"):
        parameters = {"W_x": np.array([[2.0]]), "W_s": np.array([[-1.0]]), "W_y": np.array([[3.0]])}
        X, D = np.array([1, -2, 3.0]).reshape(3, 1, 1), np.array([1, 0, -1.0]).reshape(3, 1, 1)
        case = cases.Case(Shape(3, 1, 1, 1, 1, ""), "identity", HEADS[0], PLAIN._replace(bias=False), parameters, X, D,
                          None, np.array([[0.5]]), D)
        E, gradients = case.network(dtype).loss_and_gradients(**case.data(dtype), input_gradient=True,
                                                              initial_state_gradient=True, backend=backend)
        assert E == 1544.75
        assert {name: gradient.ravel().tolist() for name, gradient in gradients.items()} == {
            "W_x": [1596], "W_s": [-1473], "W_y": [1008.5], "X": [666, -624, 426], "initial_state": [-333]}
        result = case.network(dtype).gradient_terms(X, D, 2, initial_state=case.initial_state, backend=backend)
        assert {name: value.ravel().tolist() for name, value in result.items()} == {
            "S": [213, -213, 213], "W_s": [106.5, -319.5, -1171.5], "W_x": [213, 426, 639], "W_y": [816.5]}
