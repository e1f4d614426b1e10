"""The specification against the complex-step derivative of its own forward pass, and that against scalar formulas.

The first rung of the ladder: nothing compiled has a part in it.
"""

import dataclasses
import inspect
import itertools
import math
import warnings

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, COVERING_CHOICES, HEADS, SHAPES, SMALL, assert_close, draw, relative_error

from fastbptt import optimizers, reference

LIMIT = 1e-12  # relative, of gradients against the complex step

every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))


def reference_gradients(case, **more):
    return reference.loss_and_gradients(case.parameters, case.X, case.D, weights=case.weights,
                                        initial_state=case.initial_state, input_gradient=True,
                                        initial_state_gradient=True, **case.options, **more)


# ---------------------------------------------------------------------------------------------------------------------
# The forward pass, against formulas written out for one number at a time
# ---------------------------------------------------------------------------------------------------------------------

SCALAR_ACTIVATIONS = {
    "tanh": math.tanh,
    "relu": lambda a: max(a, 0.0),
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "identity": lambda a: a,
    "softplus": lambda a: math.log(1 + math.exp(a)),
    "leaky_relu": lambda a: a if a > 0 else 0.01 * a,
    "elu": lambda a: a if a > 0 else math.exp(a) - 1,
    "softsign": lambda a: a / (1 + abs(a)),
    "silu": lambda a: a / (1 + math.exp(-a)),
    "gelu": lambda a: a * (1 + math.erf(a / math.sqrt(2))) / 2,
}

SCALAR_OUTPUT_ACTIVATIONS = {
    "identity": lambda z, row: z,
    "sigmoid": lambda z, row: 1 / (1 + math.exp(-z)),
    "tanh": lambda z, row: math.tanh(z),
    "softmax": lambda z, row: math.exp(z) / sum(math.exp(other) for other in row),
    "exp": lambda z, row: math.exp(z),
}


def scalar_huber(y, d, threshold):
    r = abs(y - d)
    return 0.5 * r**2 if r <= threshold else threshold * r - 0.5 * threshold**2


# (y, d, parameter) -> e; the quantile's parameter is the level of the output
SCALAR_LOSSES = {
    "squared_error": lambda y, d, _: (d - y) ** 2,
    "absolute_error": lambda y, d, _: abs(d - y),
    "huber": scalar_huber,
    "quantile": lambda y, d, q: q * (d - y) if d > y else (1 - q) * (y - d),
    "binary_cross_entropy": lambda y, d, _: -(d * math.log(y) + (1 - d) * math.log(1 - y)),
    "cross_entropy": lambda y, d, _: -d * math.log(y),
    "poisson": lambda y, d, _: y - d * math.log(y),
}


def scalar_forward(case):
    """Y and S of a case by loops over single numbers."""
    p, (T, B, I, H, _, _) = case.parameters, case.shape  # noqa: E741
    g1 = SCALAR_ACTIVATIONS[case.activation]
    g2 = SCALAR_OUTPUT_ACTIVATIONS[case.head.output_activation]
    O = len(p["W_y"])  # noqa: E741
    S, Y = np.empty((T + 1, B, H)), np.empty((T, B, O))
    S[0] = cases.first_state(case)
    b_s, b_y = p.get("b_s", np.zeros(H)), p.get("b_y", np.zeros(O))
    for t, b in itertools.product(range(T), range(B)):
        for h in range(H):
            S[t + 1, b, h] = g1(math.fsum([b_s[h], *(p["W_x"][h, i] * case.X[t, b, i] for i in range(I)),
                                           *(p["W_s"][h, k] * S[t, b, k] for k in range(H))]))
        Z = [math.fsum([b_y[o], *(p["W_y"][o, h] * S[t + 1, b, h] for h in range(H))]) for o in range(O)]
        Y[t, b] = [g2(z, Z) for z in Z]
    return Y, S


@every_activation
def test_the_derivative_jumps_at_zero_for_kinked_activations_only(activation):
    g, derivative = reference.ACTIVATIONS[activation]
    A = np.array([-1e-9, 1e-9])
    below, above = derivative(A if reference.reads_input(activation) else g(A))
    assert (abs(above - below) > 1e-6) == (activation in reference.KINKED_ACTIVATIONS)


@pytest.mark.parametrize("loss", reference.LOSSES)
def test_the_derivative_jumps_at_the_target_for_kinked_losses_only(loss):
    output_activation = reference.FUSED.get(loss, "identity")
    g2 = {"identity": lambda Z: Z, "sigmoid": reference.OUTPUT_ACTIVATIONS["sigmoid"][0], "exp": np.exp,
          "softmax": reference.OUTPUT_ACTIVATIONS["softmax"][0]}[output_activation]
    parameter = {"huber": 1.0, "quantile": (0.3,)}.get(loss)
    Z = np.array([[0.2, -0.4]])
    D = g2(Z)[:, :1] if loss == "quantile" else g2(Z)
    Z = Z[:, :D.shape[1]]
    slopes = [reference.LOSSES[loss][1](g2(Z + step), Z + step, D, parameter)[0, 0] for step in (-1e-9, 1e-9)]
    assert (abs(slopes[1] - slopes[0]) > 1e-6) == (loss in reference.KINKED_LOSSES)


@every_activation
@pytest.mark.parametrize("choice", COVERING_CHOICES[:4], ids=lambda c: f"bias={c.bias}, given={c.given}")
def test_states_are_the_formula(activation, choice):
    case = draw(SMALL, activation, choice=choice)
    Y, S = scalar_forward(case)
    Y_reference, final, S_reference = reference.forward(case.parameters, case.X, case.initial_state, **case.options)
    assert_close(S_reference, S, 1e-14, "S", case)
    assert_close(Y_reference, Y, 1e-14, "Y", case)
    assert np.array_equal(final, S_reference[-1])


@pytest.mark.parametrize("output_activation", reference.OUTPUT_ACTIVATIONS)
def test_outputs_are_the_formula(output_activation):
    case = draw(SMALL, head=cases.Head("squared_error", None, output_activation))
    Y = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[0]
    assert_close(Y, scalar_forward(case)[0], 1e-14, "Y", case)


@every_head
def test_losses_are_the_formula(head):
    case = draw(SMALL, head=head, choice=COVERING_CHOICES[2])
    Y, K = scalar_forward(case)[0], SMALL.O
    e = SCALAR_LOSSES[head.loss]
    expected = np.zeros(Y.shape[:2])
    for t, b, o in np.ndindex(Y.shape):
        d = float(o == case.D[t, b]) if head.labels else case.D[t, b, o % K]
        parameter = head.loss_parameter[o // K] if head.loss == "quantile" else head.loss_parameter
        expected[t, b] += e(Y[t, b, o], d, parameter)
    losses = reference.losses(case.parameters, case.X, case.D, case.initial_state, **case.options)
    assert_close(losses, expected, 1e-13, "losses", case)
    total = reference.loss(case.parameters, case.X, case.D, weights=case.weights, initial_state=case.initial_state,
                           **case.options)
    assert_close(total, (case.weights * expected).sum(), 1e-13, "the weighted sum", case)


def test_squared_error_has_no_half_and_sums_over_outputs():
    parameters = {"W_x": np.ones((1, 1)), "W_s": np.zeros((1, 1)), "W_y": np.array([[1.0], [2.0]])}
    X, D = np.full((1, 1, 1), 3.0), np.zeros((1, 1, 2))
    assert reference.loss(parameters, X, D, activation="identity") == 3.0**2 + 6.0**2


def test_defaults_of_huber_and_quantile():
    case = draw(SMALL)
    p, X, D = case.parameters, case.X, case.D
    assert np.array_equal(reference.losses(p, X, D, loss="huber"),
                          reference.losses(p, X, D, loss="huber", loss_parameter=1.0))
    case = draw(SMALL._replace(O=3))
    p, X, D = case.parameters, case.X, case.D[..., :1]
    assert np.array_equal(reference.losses(p, X, D, loss="quantile"),
                          reference.losses(p, X, D, loss="quantile", loss_parameter=(0.1, 0.5, 0.9)))


# ---------------------------------------------------------------------------------------------------------------------
# Worked by hand: T = 3, B = I = H = O = 1, no biases, identity
# ---------------------------------------------------------------------------------------------------------------------

# W_x = 2, W_s = -1, W_y = 3, S_0 = 1/2, X = 1, -2, 3, D = 1, 0, -1:
# S = 3/2, -11/2, 23/2;  Y = 9/2, -33/2, 69/2;  Y - D = 7/2, -33/2, 71/2;  δy = 2 (Y - D) = 7, -33, 71
# δ_3 = 71·3 = 213;  δ_2 = -33·3 + 213·(-1) = -312;  δ_1 = 7·3 + (-312)·(-1) = 333
BY_HAND = {
    "parameters": {"W_x": np.array([[2.0]]), "W_s": np.array([[-1.0]]), "W_y": np.array([[3.0]])},
    "X": np.array([1.0, -2, 3]).reshape(3, 1, 1),
    "D": np.array([1.0, 0, -1]).reshape(3, 1, 1),
    "initial_state": np.array([[0.5]]),
    "activation": "identity",
}


def test_three_steps_worked_by_hand():
    E, gradients = reference.loss_and_gradients(**BY_HAND, reduction="sum", input_gradient=True,
                                                initial_state_gradient=True)
    assert E == 3.5**2 + 16.5**2 + 35.5**2
    assert {name: value.ravel().tolist() for name, value in gradients.items()} == {
        "W_x": [333 * 1 + (-312) * (-2) + 213 * 3],
        "W_s": [333 * 0.5 + (-312) * 1.5 + 213 * (-5.5)],
        "W_y": [7 * 1.5 + (-33) * (-5.5) + 71 * 11.5],
        "X": [333 * 2, -312 * 2, 213 * 2],
        "initial_state": [-333],
    }


def test_terms_of_the_third_error_worked_by_hand():
    # ∂E_3/∂S_3 = 71·3 = 213, ∂E_3/∂S_2 = 213·W_s = -213, ∂E_3/∂S_1 = 213
    terms = reference.gradient_terms(**BY_HAND, t=2)
    assert {name: value.ravel().tolist() for name, value in terms.items()} == {
        "S": [213, -213, 213],
        "W_s": [213 * 0.5, -213 * 1.5, 213 * (-5.5)],
        "W_x": [213 * 1, -213 * (-2), 213 * 3],
        "W_y": [71 * 11.5],
    }


def test_the_total_derivative_in_place_of_the_immediate_one_gives_another_number():
    # Total: dS_1/dW_s = S_0 = 1/2, dS_2/dW_s = S_1 + W_s/2 = 1, dS_3/dW_s = S_2 + W_s·1 = -13/2. The true derivative
    # of E_3 is the last alone times ∂E_3/∂S_3; to sum over i with totals counts every path more than once.
    terms = reference.gradient_terms(**BY_HAND, t=2)
    true = 213 * (-6.5)
    assert terms["W_s"].sum() == true
    assert np.dot(terms["S"].ravel(), [0.5, 1, -6.5]) == -1491 != true


def test_three_steps_of_tanh_worked_by_the_formulas():
    w_x, w_s, w_y, b_s, b_y, s0 = 0.5, -0.75, 1.5, 0.125, -0.25, 0.25
    x, d = (1.0, -0.5, 2.0), (0.5, 1.0, -1.0)
    s1 = math.tanh(w_x * x[0] + w_s * s0 + b_s)
    s2 = math.tanh(w_x * x[1] + w_s * s1 + b_s)
    s3 = math.tanh(w_x * x[2] + w_s * s2 + b_s)
    dy1, dy2, dy3 = (2 * (w_y * s + b_y - target) for s, target in zip((s1, s2, s3), d))
    d3 = dy3 * w_y * (1 - s3**2)
    d2 = (dy2 * w_y + d3 * w_s) * (1 - s2**2)
    d1 = (dy1 * w_y + d2 * w_s) * (1 - s1**2)
    parameters = {"W_x": np.array([[w_x]]), "W_s": np.array([[w_s]]), "b_s": np.array([b_s]),
                  "W_y": np.array([[w_y]]), "b_y": np.array([b_y]), "S_0": np.array([s0])}
    _, gradients = reference.loss_and_gradients(parameters, np.reshape(x, (3, 1, 1)), np.reshape(d, (3, 1, 1)),
                                                reduction="sum", input_gradient=True)
    expected = {"W_x": d1 * x[0] + d2 * x[1] + d3 * x[2], "W_s": d1 * s0 + d2 * s1 + d3 * s2, "b_s": d1 + d2 + d3,
                "W_y": dy1 * s1 + dy2 * s2 + dy3 * s3, "b_y": dy1 + dy2 + dy3, "S_0": d1 * w_s}
    for name, value in expected.items():
        assert_close(gradients[name].ravel(), np.array([value]), 1e-15, f"∂E/∂{name}")
    assert_close(gradients["X"].ravel(), np.array([d1, d2, d3]) * w_x, 1e-15, "∂E/∂X")


# ---------------------------------------------------------------------------------------------------------------------
# Gradients against the complex step
# ---------------------------------------------------------------------------------------------------------------------


def assert_gradients_match_complex_step(case):
    E, gradients = reference_gradients(case)
    assert_close(E, cases.reference_loss(case, case.parameters, case.X, case.initial_state), 0, "E", case)
    assert list(gradients) == [*case.parameters, "X", "initial_state"]
    for name, gradient in gradients.items():
        assert_close(gradient, cases.derivative(case, name), LIMIT, f"∂E/∂{name}", case)


@pytest.mark.share(3)
@every_activation
@every_head
def test_every_entry_of_every_gradient(activation, head):
    """Two rows of options for each loss and activation, entry by entry; in turn, so that all six are met."""
    turn = ACTIVATIONS.index(activation) + HEADS.index(head)
    for choice in (COVERING_CHOICES[turn % 6], COVERING_CHOICES[(turn + 3) % 6]):
        if not cases.legal(head, choice):
            choice = choice._replace(weights="step")
        assert_gradients_match_complex_step(draw(SMALL, activation, head, choice))


@pytest.mark.share(2)
@every_activation
@every_head
def test_gradients_of_every_combination_of_options(activation, head):
    """Each combination along one random direction of everything: a wrong entry anywhere shows in the one number."""
    for choice in cases.some_choices(head, ACTIVATIONS.index(activation) + HEADS.index(head)):
        case = draw(SMALL, activation, head, choice)
        _, gradients = reference_gradients(case)
        rng = np.random.default_rng(1)
        direction = {name: rng.normal(size=gradients[name].shape) for name in cases.names(case)}
        products = [gradients[name] * v for name, v in direction.items()]
        size = sum(np.abs(product).sum() for product in products)
        error = abs(sum(product.sum() for product in products) - cases.directional_derivative(case, direction))
        assert error <= LIMIT * size, f"the gradient is off by {error / size:.1e} in a random direction; {case}"


@pytest.mark.share(2)
@every_shape
@pytest.mark.parametrize("choice", COVERING_CHOICES[::2], ids=lambda c: f"{c.weights}, {c.reduction}")
def test_gradients_of_every_shape(shape, choice):
    if shape.H * shape.H > 600 or shape.I * shape.T * shape.B > 600:  # too many entries for one test: a direction
        case = draw(shape, choice=choice)
        _, gradients = reference_gradients(case)
        for name in cases.names(case):
            v = np.random.default_rng(2).normal(size=gradients[name].shape)
            truth = cases.directional_derivative(case, {name: v})
            size = np.abs(gradients[name] * v).sum()
            assert abs((gradients[name] * v).sum() - truth) <= LIMIT * size, f"∂E/∂{name}; {case}"
    else:
        assert_gradients_match_complex_step(draw(shape, choice=choice))


@pytest.mark.share(2)
@every_activation
@pytest.mark.parametrize("output_activation", reference.OUTPUT_ACTIVATIONS)
def test_backward_of_an_error_of_ones_own(activation, output_activation):
    head = cases.Head("squared_error", None, output_activation)
    for choice in COVERING_CHOICES[:2]:
        case = draw(SMALL, activation, head, choice)
        gradients = reference.backward(case.parameters, case.X, case.dY, initial_state=case.initial_state,
                                       input_gradient=True, initial_state_gradient=True, **case.options)
        assert list(gradients) == [*case.parameters, "X", "initial_state"]
        for name, gradient in gradients.items():
            truth = cases.derivative(case, name, cases.weighted_output)
            assert_close(gradient, truth, LIMIT, f"∂E/∂{name} of backward", case)


def test_extra_gradients_come_only_when_asked_for():
    case = draw(SMALL)
    _, gradients = reference.loss_and_gradients(case.parameters, case.X, case.D)
    assert list(gradients) == list(case.parameters)
    assert list(reference.backward(case.parameters, case.X, case.dY)) == list(case.parameters)


# ---------------------------------------------------------------------------------------------------------------------
# The sum taken apart
# ---------------------------------------------------------------------------------------------------------------------


def terms_of(case, t):
    return reference.gradient_terms(case.parameters, case.X, case.D, t, case.initial_state, **case.options)


TERMS_CASES = [(a, HEADS[0]) for a in ACTIVATIONS] + [("tanh", head) for head in HEADS[1:]]
every_terms_case = pytest.mark.parametrize("activation, head", TERMS_CASES,
                                           ids=[f"{a}-{h.name}" for a, h in TERMS_CASES])


@pytest.mark.share(2)
@every_terms_case
def test_each_term_is_the_derivative_by_the_weights_of_one_step(activation, head):
    """Each step gets weights of its own; ∂E_t by those of step i is term i: the state before it is held fixed."""
    case, t = draw(SMALL, activation, head, COVERING_CHOICES[1]._replace(bias=True)), 2
    terms, p = terms_of(case, t), case.parameters
    S = reference.forward(p, case.X, case.initial_state, **case.options)[2]
    g1, _ = reference.ACTIVATIONS[activation]
    assert [terms[name].shape for name in ("W_s", "W_x", "S")] == [(3, 4, 4), (3, 4, 1), (3, 5, 4)]
    for i in range(t + 1):
        def by_W_s(W):
            return cases.error_from_state(case, g1(case.X[i] @ p["W_x"].T + S[i] @ W.T + p["b_s"]), i, t)

        def by_W_x(W):
            return cases.error_from_state(case, g1(case.X[i] @ W.T + S[i] @ p["W_s"].T + p["b_s"]), i, t)

        assert_close(terms["W_s"][i], cases.complex_step(by_W_s, p["W_s"]), LIMIT, f"term {i} of ∂E_t/∂W_s", case)
        assert_close(terms["W_x"][i], cases.complex_step(by_W_x, p["W_x"]), LIMIT, f"term {i} of ∂E_t/∂W_x", case)


@pytest.mark.share(2)
@every_terms_case
def test_derivative_by_each_state_is_that_of_a_perturbed_state(activation, head):
    case, t = draw(SMALL, activation, head), 2
    S = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]
    terms = terms_of(case, t)
    for i in range(t + 1):
        truth = cases.complex_step(lambda state: cases.error_from_state(case, state, i, t), S[i + 1])
        assert_close(terms["S"][i], truth, LIMIT, f"∂E_t/∂S_{i}", case)


@pytest.mark.share(2)
@every_terms_case
def test_term_of_W_y_is_the_derivative_of_one_error(activation, head):
    case, t = draw(SMALL, activation, head), 1
    S = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]

    def by_W_y(W):
        return cases.error_from_state(case, S[t + 1], t, t, {**case.parameters, "W_y": W})

    truth = cases.complex_step(by_W_y, case.parameters["W_y"])
    assert_close(terms_of(case, t)["W_y"], truth, LIMIT, "∂E_t/∂W_y", case)


@pytest.mark.share(3)
@every_activation
@every_head
def test_terms_sum_to_the_gradient_of_the_sum(activation, head):
    case = draw(SMALL, activation, head, COVERING_CHOICES[1])
    _, gradients = reference_gradients(case)
    terms = [terms_of(case, t) for t in range(SMALL.T)]
    for name in ("W_s", "W_x"):
        assert_close(sum(term[name].sum(axis=0) for term in terms), gradients[name], LIMIT, name, case)
    assert_close(sum(term["W_y"] for term in terms), gradients["W_y"], LIMIT, "W_y", case)


def test_total_derivatives_of_the_states_do_not_sum_to_the_gradient():
    case, t = draw(SHAPES["discriminating"], choice=COVERING_CHOICES[1]), 5
    p, terms = case.parameters, terms_of(case, t)

    def state_sum(W, i):  # Σ_b ∂E_t/∂S_i · S_i(W), the first factor held fixed, S_i with all that it depends on
        S = reference.forward({**p, "W_s": W}, case.X, case.initial_state, **case.options)[2]
        return (terms["S"][i] * S[i + 1]).sum()

    with_totals = sum(cases.complex_step(lambda W: state_sum(W, i), p["W_s"]) for i in range(t + 1))
    last_alone = cases.complex_step(lambda W: state_sum(W, t), p["W_s"])
    assert_close(terms["W_s"].sum(axis=0), last_alone, LIMIT, "the gradient of E_t", case)
    assert relative_error(with_totals, last_alone) > 0.01


# ---------------------------------------------------------------------------------------------------------------------
# Weights, reductions, empty batches
# ---------------------------------------------------------------------------------------------------------------------


def with_weights(case, weights, reduction=None):
    choice = case.choice if reduction is None else case.choice._replace(reduction=reduction)
    return dataclasses.replace(case, weights=weights, choice=choice)


def assert_same_bits(result, expected, case):
    assert result[0] == expected[0], case
    for name, gradient in expected[1].items():
        assert np.array_equal(result[1][name], gradient), f"{name}; {case}"


@pytest.mark.share(2)
@every_shape
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_one_equal_no_weights(shape, reduction):
    case = with_weights(draw(shape), None, reduction)
    expected = reference_gradients(case)
    for extent in ((shape.T, shape.B), (shape.T, shape.B, shape.O)):
        assert_same_bits(reference_gradients(with_weights(case, np.ones(extent))), expected, case)


@every_head
@pytest.mark.parametrize("weights", ["step", "output"])
def test_targets_at_weight_zero_are_never_read(head, weights):
    choice = COVERING_CHOICES[2]._replace(weights=weights)
    if not cases.legal(head, choice):
        pytest.skip("cross-entropy has no weight for each output")
    case = draw(SMALL, head=head, choice=choice)
    hidden = dataclasses.replace(case, D=case.hidden_targets())
    assert not np.array_equal(hidden.D, case.D)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(reference_gradients(hidden), reference_gradients(case), case)
        assert cases.reference_loss(hidden, hidden.parameters, hidden.X, hidden.initial_state) == \
            cases.reference_loss(case, case.parameters, case.X, case.initial_state)


@every_head
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_no_weight_at_all_gives_loss_zero_and_zero_gradients(head, reduction):
    case = draw(SMALL, head=head)
    case = with_weights(case, np.zeros((SMALL.T, SMALL.B)), reduction)
    E, gradients = reference_gradients(dataclasses.replace(case, D=case.hidden_targets()))
    assert E == 0
    for name, gradient in gradients.items():
        assert not gradient.any(), f"∂E/∂{name} is not zero"


@pytest.mark.parametrize("weights", ["none", "step", "output"])
def test_mean_is_the_sum_divided_by_the_sum_of_weights(weights):
    case = draw(SMALL, choice=COVERING_CHOICES[0]._replace(weights=weights))
    E, gradients = reference_gradients(with_weights(case, case.weights, "mean"))
    E_sum, gradients_sum = reference_gradients(with_weights(case, case.weights, "sum"))
    divisor = SMALL.T * SMALL.B if weights == "none" else case.weights.sum() / (SMALL.O if weights == "output" else 1)
    assert_close(E, E_sum / divisor, 1e-15, "E", case)
    for name, gradient in gradients.items():
        assert_close(gradient, gradients_sum[name] / divisor, 1e-14, name, case)


def test_losses_are_unweighted_and_sum_to_the_loss():
    case = draw(SMALL, choice=COVERING_CHOICES[2])
    losses = reference.losses(case.parameters, case.X, case.D, case.initial_state, **case.options)
    assert losses.shape == (SMALL.T, SMALL.B)
    total = cases.reference_loss(case, case.parameters, case.X, case.initial_state)
    assert_close(total, (case.weights * losses).sum(), 1e-14, "E", case)


@pytest.mark.parametrize("name", cases.EMPTY)
@every_head
def test_no_step_or_no_sequence_gives_loss_zero_and_zero_gradients(name, head):
    case = draw(SHAPES[name], head=head, choice=COVERING_CHOICES[0])
    E, gradients = reference_gradients(case)
    assert E == 0
    for key, gradient in gradients.items():
        expected = {"X": case.X, "initial_state": cases.first_state(case)}.get(key, case.parameters.get(key)).shape
        assert gradient.shape == expected and not gradient.any(), key


def test_no_step_leaves_the_state_as_it_is():
    case = draw(SHAPES["no step"], choice=COVERING_CHOICES[1])
    Y, final, S = reference.forward(case.parameters, case.X, case.initial_state)
    assert Y.shape == (0, 4, 3) and S.shape == (1, 4, 8)
    assert np.array_equal(final, case.initial_state) and np.array_equal(S[0], case.initial_state)


# ---------------------------------------------------------------------------------------------------------------------
# Types, extremes, and what is not touched
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.share(3)
@every_activation
@every_head
def test_float32_stays_float32(activation, head):
    case = draw(SMALL, activation, head, COVERING_CHOICES[2])
    p, data = {name: value.astype(np.float32) for name, value in case.parameters.items()}, case.data("float32")
    E, gradients = reference.loss_and_gradients(p, **data, **case.options, input_gradient=True,
                                                initial_state_gradient=True)
    arrays = dict(gradients)
    arrays.update(zip(("Y", "final", "S"), reference.forward(p, data["X"], data["initial_state"], **case.options)))
    arrays["losses"] = reference.losses(p, data["X"], data["D"], data["initial_state"], **case.options)
    arrays |= {f"terms {name}": value for name, value in
               reference.gradient_terms(p, data["X"], data["D"], 1, data["initial_state"], **case.options).items()}
    arrays |= {f"backward {name}": value for name, value in
               reference.backward(p, data["X"], case.dY, initial_state=data["initial_state"], **case.options).items()}
    assert {name: array.dtype for name, array in arrays.items() if array.dtype != np.float32} == {}
    assert np.ndim(E) == 0


def head_alone(Z, D, loss, output_activation, dtype):
    """E and ∂E/∂Z, as ∂E/∂b_y, of a network whose Z is its output bias."""
    Z = np.asarray(Z, dtype)
    parameters = {"W_x": np.zeros((1, 1), dtype), "W_s": np.zeros((1, 1), dtype), "b_s": np.zeros(1, dtype),
                  "W_y": np.zeros((len(Z), 1), dtype), "b_y": Z}
    D = np.asarray(D)[None, None]
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        E, gradients = reference.loss_and_gradients(parameters, np.zeros((1, 1, 1), dtype), D, reduction="sum",
                                                    loss=loss, output_activation=output_activation)
    return E, gradients["b_y"].tolist()


both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_dtypes
def test_cross_entropy_is_stable_at_a_thousand(dtype):
    Z = [1000, -1000, 0]
    assert head_alone(Z, 0, "cross_entropy", "softmax", dtype) == (0, [0, 0, 0])
    assert head_alone(Z, 1, "cross_entropy", "softmax", dtype) == (2000, [1, -1, 0])
    assert head_alone(Z, 2, "cross_entropy", "softmax", dtype) == (1000, [1, 0, -1])
    assert head_alone(Z, [0.5, 0.25, 0.25], "cross_entropy", "softmax", dtype) == (750, [0.5, -0.25, -0.25])
    assert head_alone([-1000] * 2, 1, "cross_entropy", "softmax", dtype)[1] == [0.5, -0.5]


@both_dtypes
def test_binary_cross_entropy_is_stable_at_a_thousand(dtype):
    E, gradient = head_alone([1000, -1000], [1, 0], "binary_cross_entropy", "sigmoid", dtype)
    assert (E, gradient) == (0, [0, 0])
    E, gradient = head_alone([1000, -1000], [0, 1], "binary_cross_entropy", "sigmoid", dtype)
    assert (E, gradient) == (2000, [1, -1])


@both_dtypes
def test_poisson_is_stable_at_minus_a_thousand_and_at_large_rates(dtype):
    assert head_alone([-1000], [3], "poisson", "exp", dtype) == (3000, [-3])
    large = 80 if dtype == "float32" else 700
    E, (gradient,) = head_alone([large], [3], "poisson", "exp", dtype)
    assert E == pytest.approx(math.exp(large), rel=1e-5) and gradient == pytest.approx(math.exp(large), rel=1e-5)


@both_dtypes
@every_activation
def test_activations_are_finite_at_a_thousand(activation, dtype):
    g, dg = reference.ACTIVATIONS[activation]
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        A = np.array([-1000, -30, 0, 30, 1000], dtype)
        R = g(A)
        slopes = dg(A if reference.reads_input(activation) else R)
    assert np.isfinite(R).all() and np.isfinite(slopes).all()
    if activation in ("silu", "gelu"):  # these fall before they rise
        np.testing.assert_allclose(slopes, [0, 0, 0.5, 1, 1], atol=1e-10)
    elif not reference.reads_input(activation):
        assert (np.diff(R) >= 0).all() and (slopes >= 0).all() and (slopes <= 1).all()


def test_nothing_given_is_modified():
    for choice in COVERING_CHOICES[1:]:
        case = draw(SMALL, choice=choice)
        for array in (*case.parameters.values(), case.X, case.D, case.weights, case.initial_state, case.dY):
            if array is not None:
                array.flags.writeable = False  # NumPy raises at any write
        _, gradients = reference_gradients(case)
        results = [*gradients.values(), *terms_of(case, 1).values(),
                   *reference.forward(case.parameters, case.X, case.initial_state, **case.options)]
        for result in results:
            assert result.flags.writeable and not any(np.shares_memory(result, array) for array in
                                                      (*case.parameters.values(), case.X, case.D))


# ---------------------------------------------------------------------------------------------------------------------
# Updates and clipping
# ---------------------------------------------------------------------------------------------------------------------


def scalar_updates(optimizer, theta, gradients):
    """The rules, one number at a time, as their papers and PyTorch's documentation write them."""
    o, v, s = optimizer, 0.0, 0.0
    for count, g in enumerate(gradients, 1):
        if o.rule == "sgd":
            v = o.momentum * v + g
            theta -= o.learning_rate * (g + o.momentum * v if o.nesterov else v)
        elif o.rule == "rmsprop":
            s = o.rho * s + (1 - o.rho) * g * g
            theta -= o.learning_rate * g / (math.sqrt(s) + o.epsilon)
        elif o.rule == "adagrad":
            s += g * g
            theta -= o.learning_rate * g / (math.sqrt(s) + o.epsilon)
        else:
            if o.rule == "adamw":
                theta -= o.learning_rate * o.weight_decay * theta
            v = o.beta_1 * v + (1 - o.beta_1) * g
            s = o.beta_2 * s + (1 - o.beta_2) * g * g
            theta -= (o.learning_rate * (v / (1 - o.beta_1**count))
                      / (math.sqrt(s / (1 - o.beta_2**count)) + o.epsilon))
    return theta


OPTIMIZERS = [
    optimizers.SGD(0.1), optimizers.SGD(0.1, momentum=0.9), optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-3), optimizers.Adagrad(0.1, epsilon=1e-3),
    optimizers.Adam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3), optimizers.AdamW(0.05, weight_decay=0.2),
    optimizers.AdamW(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3, weight_decay=0.5),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_ten_updates_are_the_formula(optimizer):
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=7), rng.normal(size=(10, 7))
    theta, slots = start.copy(), optimizer.slots(start)
    assert len(slots) == reference.UPDATE_RULES[optimizer.rule]
    for count, gradient in enumerate(gradients, 1):
        optimizer.update(theta, gradient, slots, count, backend="reference")
    expected = np.array([scalar_updates(optimizer, float(start[j]), gradients[:, j].tolist()) for j in range(7)])
    assert_close(theta, expected, 1e-13, "theta", optimizer)


def test_defaults_of_the_rules_are_those_of_the_optimisers():
    defaults = {name: p.default for name, p in inspect.signature(reference.update).parameters.items()
                if p.default is not p.empty}
    for optimizer in (optimizers.SGD(), optimizers.RMSprop(), optimizers.Adam(), optimizers.AdamW()):
        for name, value in dataclasses.asdict(optimizer).items():
            assert name == "learning_rate" or value == defaults[name], (optimizer, name)


@both_dtypes
def test_clipped_gradient_has_the_largest_norm_allowed_and_its_direction(dtype):
    gradient = np.array([3.0, 0.0, -4.0], dtype)
    clipped, norm = reference.clip_norm(gradient.copy(), 1.0)
    assert norm == 5.0 and clipped.dtype == dtype
    assert_close(clipped, gradient / 5, 1e-15 if dtype == "float64" else 1e-7, "the clipped gradient")


def test_gradient_within_the_norm_is_left_alone():
    gradient = np.array([3.0, 0.0, -4.0])
    for max_norm in (5.0, 6.0, np.inf):
        clipped, norm = reference.clip_norm(gradient.copy(), max_norm)
        assert norm == 5.0 and np.array_equal(clipped, gradient)


@pytest.mark.parametrize("size", [1e300, 1e-300, 1e-310])
def test_norm_neither_overflows_nor_underflows(size):
    gradient = np.array([3.0, 0.0, -4.0]) * size
    clipped, norm = reference.clip_norm(gradient.copy(), 1e-320)
    assert norm == pytest.approx(5 * size, rel=1e-12) and np.isfinite(clipped).all()
    clipped, _ = reference.clip_norm(gradient.copy(), size)
    assert_close(clipped, np.array([0.6, 0.0, -0.8]) * size, 1e-11, "the clipped gradient")


def test_norm_of_nothing_zeros_and_nonfinite_gradients():
    assert reference.clip_norm(np.zeros(0), 1.0)[1] == 0
    assert reference.clip_norm(np.zeros(3), 1.0)[1] == 0
    assert np.isnan(reference.clip_norm(np.array([1.0, np.nan]), 1.0)[1])
    assert reference.clip_norm(np.array([1.0, -np.inf]), 1.0)[1] == np.inf
