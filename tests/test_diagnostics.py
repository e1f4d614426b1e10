"""gradcheck passes for right gradients and fails for wrong ones: a check that cannot fail checks nothing. What is seen of a
gradient is what complex steps find, and what a pencil finds of networks whose gradient is known."""

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, COVERING_CHOICES, HEADS, SHAPES, SMALL, assert_close

from fastbptt import RNN, reference

I, H, O = 3, 5, 4
LIMIT = 1e-12

NETWORKS = {
    "default": {},
    "float64": {"dtype": "float64"},
    "no biases": {"bias": False, "dtype": "float64"},
    "learnt initial state": {"learn_initial_state": True, "activation": "sigmoid"},
    "sum": {"reduction": "sum", "activation": "softplus"},
    "relu": {"activation": "relu", "output_activation": "tanh"},
    "labels": {"loss": "cross_entropy", "output_activation": "softmax"},
    "binary": {"loss": "binary_cross_entropy", "output_activation": "sigmoid", "activation": "elu"},
    "counts": {"loss": "poisson", "output_activation": "exp", "activation": "softsign"},
    "huber": {"loss": ("huber", 0.3), "activation": "leaky_relu"},
    "absolute": {"loss": "absolute_error", "activation": "identity"},
    "quantile": {"loss": ("quantile", (0.2, 0.7))},
}


def network(**options):
    return RNN(I, H, O, random_state=0, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_right_network_passes(name):
    net = network(**NETWORKS[name])
    before, history = net.theta.tobytes(), net.history
    check = net.gradcheck()
    assert check.passed, check.describe()
    assert list(check.errors) == ["reference float64", "core float64", "core float32"]
    for errors in check.errors.values():
        assert list(errors) == list(net.parameters)
    assert max(check.errors["reference float64"].values()) < 1e-12
    assert max(check.errors["core float64"].values()) < 1e-12
    assert 0 < max(check.errors["core float32"].values()) < 1e-4  # it is float32 that ran
    assert net.theta.tobytes() == before and net.history is history and net.dtype == network(**NETWORKS[name]).dtype


def test_a_network_without_error_passes():
    net = RNN(1, 16, 1, activation="elu", random_state=0)
    zeros = np.zeros((96, 1, 1))
    assert net.evaluate(zeros, zeros) == 0
    check = net.gradcheck(zeros, zeros)
    assert check.passed, check.describe()


@pytest.mark.parametrize("parameter", ["W_x", "W_s", "b_s", "W_y", "b_y", "S_0"])
@pytest.mark.parametrize("fault", ["sign", "one entry", "two times", "zero", "nan"])
def test_a_wrong_gradient_of_any_parameter_fails(monkeypatch, parameter, fault):
    right = reference._backward

    def wrong(*args):
        gradients = right(*args)
        g = gradients[parameter] = gradients[parameter].copy()
        if fault == "sign":
            g *= -1
        elif fault == "two times":
            g *= 2
        elif fault == "zero":
            g[...] = 0
        elif fault == "nan":
            g.flat[0] = np.nan
        else:
            g.flat[-1] += 1e-6 * np.abs(g).max()
        return gradients

    monkeypatch.setattr(reference, "_backward", wrong)
    check = network(learn_initial_state=True).gradcheck()
    assert not check.passed
    bad = {name for name, error in check.errors["reference float64"].items() if not error < 1e-10}
    assert bad == {parameter}
    assert "DISAGREE" in check.describe() and f"∂E/∂{parameter}" in check.describe()


@pytest.mark.parametrize("fault", ["untransposed", "forgotten step", "wrong state"])
def test_a_wrong_back_propagation_fails(monkeypatch, fault):
    right = reference.recur_back

    def wrong(activation, dS, R, P, *rest):
        if fault == "untransposed":
            return right(activation, dS, R, P.T, *rest)
        if fault == "wrong state":
            return right(activation, dS, np.roll(R, 1, axis=0), P, *rest)
        dS = dS.copy()
        dS[-1] = 0
        return right(activation, dS, R, P, *rest)

    monkeypatch.setattr(reference, "recur_back", wrong)
    check = network().gradcheck()
    assert not check.passed
    assert check.errors["reference float64"]["W_s"] > 1e-3
    assert "DISAGREE" in check.describe()


def test_the_description_is_a_table_of_every_parameter_and_column():
    check = network(learn_initial_state=True).gradcheck()
    text = check.describe()
    assert "every gradient agrees" in text
    lines = text.splitlines()
    assert all(column in lines[1] for column in ("entries", "reference float64", "core float64", "core float32"))
    assert [line.split()[0] for line in lines[2:-1]] == [f"∂E/∂{name}" for name in check.entries]
    for line in lines[2:-1]:
        name, entries, *errors = line.split()
        assert int(entries) == check.entries[name.removeprefix("∂E/∂")] and len(errors) == 3
    assert len({len(line) for line in lines[1:-1]}) == 1


def test_entries_bounds_what_is_checked_of_each_parameter():
    net = network()
    assert net.gradcheck(entries=4).entries == {"W_x": 4, "W_s": 4, "b_s": 4, "W_y": 4, "b_y": 4}
    assert net.gradcheck(entries=10**6).entries == {name: value.size for name, value in net.parameters.items()}


@pytest.mark.parametrize(("entries", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("a", TypeError),
                                                (None, TypeError), (True, TypeError)])
def test_a_check_of_nothing_is_refused(entries, error):
    with pytest.raises(error, match="entries"):
        network().gradcheck(entries=entries)


def test_the_random_state_chooses_data_and_entries():
    net = network(dtype="float64")
    assert net.gradcheck(entries=3).errors == net.gradcheck(entries=3).errors
    assert net.gradcheck(entries=3).errors != net.gradcheck(entries=3, random_state=1).errors


def test_own_data_are_what_is_checked():
    rng = np.random.default_rng(0)
    net = network(dtype="float64")
    X, D = rng.standard_normal((6, 2, I)), rng.standard_normal((6, 2, O))
    weights, state = rng.uniform(0, 1, (6, 2)), rng.standard_normal((2, H))
    assert net.gradcheck(X, D, weights=weights, initial_state=state).passed
    D[2, 1], weights[2, 1] = np.nan, 0
    assert net.gradcheck(X, D, weights=weights).passed
    with pytest.raises(TypeError, match="D must be given with X"):
        net.gradcheck(X)


def test_own_data_without_steps_have_zero_gradients_that_agree():
    assert network().gradcheck(np.zeros((0, 2, I)), np.zeros((0, 2, O))).passed


def test_targets_weights_or_states_without_inputs_are_refused():
    net = network()
    for given in ({"D": np.ones((12, 3, O))}, {"weights": np.ones((12, 3))}, {"initial_state": np.ones((3, H))}):
        with pytest.raises(TypeError, match="X"):
            net.gradcheck(**given)


# ---------------------------------------------------------------------------------------------------------------------
# Where the gradient goes
# ---------------------------------------------------------------------------------------------------------------------

FLOW_CASES = [(a, HEADS[0]) for a in ACTIVATIONS] + [("tanh", head) for head in HEADS[1:]]


def reference_flow(case, **arguments):
    return reference.gradient_flow(case.parameters, case.X, case.D, weights=case.weights, initial_state=case.initial_state,
                                   **case.options, **arguments)


@pytest.mark.parametrize("activation, head", FLOW_CASES, ids=[f"{a}-{h.name}" for a, h in FLOW_CASES])
def test_norms_are_those_of_the_derivatives_by_complex_steps(activation, head):
    case = cases.draw(SMALL, activation, head, COVERING_CHOICES[1])
    T, S = SMALL.T, reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]
    norms, whole = reference_flow(case)
    truth, together = np.zeros((T, T)), np.zeros(T)
    for i in range(T):
        by_state = [cases.complex_step(lambda state: cases.error_from_state(case, state, i, t), S[i + 1])
                    for t in range(i, T)]
        truth[i:, i] = [np.linalg.norm(d) for d in by_state]
        together[i] = np.linalg.norm(sum(by_state))
    assert_close(norms, truth, LIMIT, "‖∂E_t/∂S_i‖", case)
    assert_close(whole, together, LIMIT, "‖∂E/∂S_i‖", case)


@pytest.mark.parametrize("choice", COVERING_CHOICES)
def test_one_sequence_weighted_by_m_has_m_times_the_norms(choice):
    case = cases.draw(SHAPES["one sequence"], choice=choice._replace(weights="none"))
    norms, _ = reference_flow(case)
    case.weights = np.arange(6.0)[:, None]
    weighted, whole = reference_flow(case)
    assert_close(weighted, np.arange(6.0)[:, None] * norms, LIMIT, "‖∂E_t/∂S_i‖", case)
    assert whole[-1] == weighted[-1, -1] > 0
    assert_close(reference_flow(case, errors=range(2, 4))[0], weighted[2:4], 0, "two errors", case)


@pytest.mark.parametrize("shape", ["discriminating", "H = 33", "B = 65", "one of all", "one hidden unit"])
@pytest.mark.parametrize("choice", COVERING_CHOICES)
def test_core_follows_every_error_as_the_reference_does(shape, choice):
    case = cases.draw(SHAPES[shape], "softplus", HEADS[2], choice)
    net, T = case.network(), case.shape.T
    arguments = (net._theta, case.X, case.D, case.weights, case.initial_state, 0, T)
    for of_core, of_reference in zip(*(net._engines[name].gradient_flow(*arguments) for name in ("core", "reference"))):
        assert_close(of_core, of_reference, LIMIT, "norms", case)


def test_core_follows_more_errors_than_stay_in_the_cache_and_shards_of_the_batch():
    case = cases.draw(cases.Shape(70, 40, 3, 33, 2, ""))  # 256 KiB hold 11 errors of 40 rows
    net = case.network()
    net._engines["core"].shard_work = 10 * 33 * 33  # 4 shards of 10 rows
    arguments = (net._theta, case.X, case.D, case.weights, case.initial_state)
    norms, whole = net._engines["core"].gradient_flow(*arguments, 0, 70)
    truth, true_whole = net._engines["reference"].gradient_flow(*arguments, 0, 70)
    assert_close(norms, truth, LIMIT, "norms", case)
    assert_close(whole, true_whole, LIMIT, "whole", case)
    some, _ = net._engines["core"].gradient_flow(*arguments, 30, 55)
    assert some.tobytes() == norms[30:55].tobytes()  # whatever errors stand beside them


@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("size, expected", [(1e-150, 1e-300), (1e-200, 0), (1e150, 1e300)])
def test_squares_of_extreme_gradients_neither_overflow_nor_vanish(backend, size, expected):
    net = RNN(1, 4, 1, activation="identity", dtype="float64", bias=False, initializer=lambda shape, rng: np.zeros(shape))
    net.parameters["W_y"] = np.full((1, 4), size / 2)
    D = np.full((1, 1, 1), -size / 2)  # ∂E/∂Y = size
    norms, whole = net._engines[backend].gradient_flow(net._theta, np.ones((1, 1, 1)), D, None, None, 0, 1)
    np.testing.assert_allclose(norms[0, 0], expected, rtol=1e-12)
    assert whole[0] == norms[0, 0]
