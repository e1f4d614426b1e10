"""gradcheck passes for right gradients and fails for wrong ones: a check that cannot fail checks nothing. What is seen of a
gradient is what complex steps find, and what a pencil finds of networks whose gradient is known."""

import sys

import cases
import numpy as np
import pytest
from cases import ACTIVATIONS, COVERING_CHOICES, HEADS, SHAPES, SMALL, assert_close

from fastbptt import RNN, History, diagnostics, reference
from fastbptt.backends.arguments import Batch, CallOptions
from fastbptt.reference import gradients as reference_gradients, recurrence as reference_recurrence

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
    "silu": {"activation": "silu"},
    "gelu": {"activation": "gelu", "learn_initial_state": True},
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


@pytest.mark.quick
@pytest.mark.parametrize("parameter", ["W_x", "W_s", "b_s", "W_y", "b_y", "S_0"])
@pytest.mark.parametrize("fault", ["sign", "one entry", "two times", "zero", "nan"])
def test_a_wrong_gradient_of_any_parameter_fails(monkeypatch, parameter, fault):
    right = reference_gradients._backward

    def wrong(*args):
        gradients, flows = right(*args)
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
        return gradients, flows

    monkeypatch.setattr(reference_gradients, "_backward", wrong)
    check = network(learn_initial_state=True).gradcheck()
    assert not check.passed
    bad = {name for name, error in check.errors["reference float64"].items() if not error < 1e-10}
    assert bad == {parameter}
    assert "DISAGREE" in check.describe() and f"∂E/∂{parameter}" in check.describe()


KINKS = {
    "l1 at zero weights": {"initializer": "identity", "l1": 0.1},
    "no recurrence at all": {"initializer": {"W_s": np.zeros((4, 4))}, "l1": {"W_s": 0.1, "b_s": 0.1}},
    "Dale's law": {"initializer": {"W_s": np.zeros((4, 4))}, "dale_ratio": 0.5, "l1": 0.1},
    "omega": {"initializer": {"W_s": np.zeros((4, 4))}, "omega": 0.5},
    "relu": {"initializer": {"W_x": np.zeros((4, 2)), "W_s": "identity"}, "activation": "relu"},
    "leaky relu": {"initializer": {"W_x": np.zeros((4, 2))}, "activation": "leaky_relu", "leak": 0.5},
    "layers": {"hidden_size": (4, 4), "initializer": "identity", "activation": "relu", "l1": 0.1},
    "absolute error": {"loss": "absolute_error", "initializer": {"W_y": np.zeros((1, 4))}},
    "quantile": {"loss": ("quantile", (0.3,)), "initializer": {"W_y": np.zeros((1, 4))}},
    "huber": {"loss": "huber", "initializer": {"W_y": np.zeros((1, 4))}},
}


@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("name", KINKS)
def test_at_kinks_the_documented_subgradient_is_right(name, output):
    net = RNN(2, **{"hidden_size": 4, "output_size": 1, "random_state": 0, "output": output, **KINKS[name]})
    assert net.gradcheck().passed, net.gradcheck().describe()
    X = np.random.default_rng(0).standard_normal((7, 3, 2))
    D = np.zeros((3, 1) if output == "last" else (7, 3, 1))  # of some networks the very outputs
    check = net.gradcheck(X, D)
    assert check.passed and check.left_out == 0, check.describe()


@pytest.mark.parametrize("name", ["l1", "absolute_error", "quantile"])
def test_a_wrong_subgradient_at_a_kink_fails(name, monkeypatch):
    options = {"initializer": "identity", "l1": 0.1} if name == "l1" else {
        "loss": ("quantile", (0.3,)) if name == "quantile" else name, "initializer": {"W_y": np.zeros((1, 4))}}
    net = RNN(2, 4, 1, random_state=0, dtype="float64", **options)
    X = np.random.default_rng(0).standard_normal((7, 3, 2))
    assert net.gradcheck(X, np.zeros((7, 3, 1))).passed
    if name == "l1":
        right = reference.d_penalty
        monkeypatch.setattr(reference_gradients, "d_penalty", lambda p, l1, l2: {
            key: value + 0.1 * (p[key] == 0) for key, value in right(p, l1, l2).items()})
    else:
        monkeypatch.setitem(reference.LOSSES, name, (reference.LOSSES[name][0], lambda Y, Z, D, _: np.ones_like(Y)))
    check = net.gradcheck(X, np.zeros((7, 3, 1)))
    assert not check.passed and max(check.errors["core float64"].values()) < 1e-10


@pytest.mark.parametrize("options", [{"loss": "absolute_error"}, {"loss": ("quantile", (0.2, 0.7)), "output_size": 2},
                                     {"loss": "absolute_error", "output": "last"}], ids=str)
def test_errors_that_rounding_puts_on_either_side_of_a_kink_are_left_out(options):
    net = RNN(2, **{"hidden_size": 4, "output_size": 1, "random_state": 0, **options})
    X = np.random.default_rng(0).standard_normal((7, 3, 2))
    Y = net.forward(X)[0][..., :1].astype(float)
    D = Y + 1
    D[:2] = Y[:2]
    check = net.gradcheck(X, D)
    assert check.passed and 0 < check.left_out <= 6, check.describe()
    assert f"kink they are: {check.left_out}" in check.describe()


@pytest.mark.parametrize("fault", ["untransposed", "forgotten step", "wrong state"])
def test_a_wrong_back_propagation_fails(monkeypatch, fault):
    right = reference.recur_back

    def wrong(units, dF, R, F, through, resets):
        if fault == "untransposed":
            return right(units, dF, R, F, through._replace(W_s=through.W_s.T), resets)
        if fault == "wrong state":
            return right(units, dF, np.roll(R, 1, axis=0), F, through, resets)
        dF = dF.copy()
        dF[-1] = 0
        return right(units, dF, R, F, through, resets)

    monkeypatch.setattr(reference_recurrence, "recur_back", wrong)
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
    arguments = (net._theta, Batch(case.X, case.D, case.weights, case.initial_state), CallOptions(), 0, T)
    for of_core, of_reference in zip(*(net._engines[name].gradient_flow(*arguments) for name in ("core", "reference"))):
        assert_close(of_core, of_reference, LIMIT, "norms", case)


def test_core_follows_more_errors_than_stay_in_the_cache_and_shards_of_the_batch():
    case = cases.draw(cases.Shape(70, 40, 3, 33, 2, ""))  # 256 KiB hold 11 errors of 40 rows
    net = case.network()
    net._engines["core"].shard_work = 10 * 33 * 33  # 4 shards of 10 rows
    arguments = net._theta, Batch(case.X, case.D, case.weights, case.initial_state), CallOptions()
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
    norms, whole = net._engines[backend].gradient_flow(net._theta, Batch(np.ones((1, 1, 1)), D), CallOptions(), 0, 1)
    np.testing.assert_allclose(norms[0, 0], expected, rtol=1e-12)
    assert whole[0] == norms[0, 0]


def data(T=9, B=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


def linear(scale, H=6, **options):
    return RNN(I, H, O, activation="identity", initializer=("identity", scale), random_state=0, **options)


@pytest.mark.parametrize("backend", ["core", "reference"])
def test_flow_of_a_single_precision_network_is_that_of_its_numbers_in_double_precision(backend):
    net, (X, D) = network(activation="softsign"), data()
    flow = diagnostics.gradient_flow(net, X, D, backend=backend)
    parameters = {name: value.astype(float) for name, value in net.parameters.items()}
    norms, whole = reference.gradient_flow(parameters, X, D, activation="softsign")
    assert_close(flow.norms, norms, LIMIT, "norms")
    assert_close(flow.whole, whole, LIMIT, "whole")
    assert flow.errors.tolist() == list(range(9)) and flow.t == 8
    for t in (3, -1, -9):
        one = diagnostics.gradient_flow(net, X, D, t, backend=backend)
        assert one.t == t % 9 == one.errors[0]
        assert_close(one.norms, norms[[t]], LIMIT, "one row")
        terms = reference.gradient_terms(parameters, X, D, t, activation="softsign")
        for name, found in (("W_s", one.terms_W_s), ("W_x", one.terms_W_x)):
            assert_close(found, np.linalg.norm(terms[name], axis=(1, 2)), LIMIT, f"terms of {name}")


@pytest.mark.quick
@pytest.mark.parametrize("scale, verdict, words", [(1, "persists", "neither vanishes nor explodes"),
                                                   (0.5, "vanishes", "halves it every 1 step; under 1 % from 7 steps"),
                                                   (2, "explodes", "doubles it every 1 step; over 100 times as large from 7 ")])
def test_a_multiple_of_the_identity_has_its_factor_for_a_rate(scale, verdict, words):
    flow = diagnostics.gradient_flow(linear(scale), *data(20))
    assert flow.verdict == verdict and words in flow.describe()
    np.testing.assert_allclose(flow.factor, scale, rtol=1e-12)
    np.testing.assert_allclose(flow.by_distance, float(scale) ** np.arange(20), rtol=1e-12)
    np.testing.assert_allclose(flow.products, float(scale) ** np.arange(19, -1, -1)[:, None] * np.ones(4), rtol=1e-12)
    for t in range(20):
        np.testing.assert_allclose(flow.norms[t, :t + 1], flow.norms[t, t] * float(scale) ** np.arange(t, -1, -1))
        assert not flow.norms[t, t + 1:].any()


def test_a_rotation_keeps_what_it_turns():
    net = RNN(I, 2, O, activation="identity", random_state=0)
    net.parameters["W_s"] = [[0.6, -0.8], [0.8, 0.6]]
    flow = diagnostics.gradient_flow(net, *data(30))
    assert flow.verdict == "persists" and abs(flow.factor - 1) < 1e-7  # 0.6 and 0.8 are of float32
    assert abs(flow.spectrum.spectral_radius - 1) < 1e-7 and "0 of 2 eigenvalues outside" in flow.spectrum.describe()
    np.testing.assert_allclose(flow.spectrum.eigenvalues.imag, [0.8, -0.8], rtol=1e-6)
    np.testing.assert_allclose(flow.spectrum.singular_values, 1, rtol=1e-6)


def test_a_shear_has_larger_singular_values_than_eigenvalues():
    net = linear(0.5, H=2)
    net.parameters["W_s"] = [[0.5, 2], [0, 0.5]]
    flow = diagnostics.gradient_flow(net, *data(4), t=3)
    assert flow.spectrum.spectral_radius == 0.5
    power = np.array([[0.5, 2], [0, 0.5]])
    expected = [np.linalg.norm(np.linalg.matrix_power(power, k), 2) for k in (3, 2, 1, 0)]
    np.testing.assert_allclose(flow.products[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("zeros", [0, 4])
def test_the_rate_is_that_of_the_way_back_whatever_the_first_step_does(zeros):
    norms = np.zeros((10, 10))
    for t in range(10):
        back = 100 * 0.5 ** np.arange(t + 1)
        back[0], back[10 - zeros:] = 3, 0
        norms[t, :t + 1] = back[::-1]
    flow = diagnostics.GradientFlow(np.arange(10), norms, None, 9, None, None, None, None, None)
    np.testing.assert_allclose(flow.factor, 0.5, rtol=1e-12)
    assert flow.verdict == "vanishes"


def test_labels_without_weight_may_be_none():
    net = network(loss="cross_entropy", output_activation="softmax", dtype="float64")
    X, labels, weights = data()[0], np.full((9, 4), -1), np.zeros((9, 4))
    labels[5], weights[5] = (0, 3, 2, 1), 1
    flow = diagnostics.gradient_flow(net, X, labels, weights=weights)
    terms = net.gradient_terms(X, np.tile(labels[5], (9, 1)), 5)
    np.testing.assert_allclose(flow.terms_W_x, np.linalg.norm(terms["W_x"], axis=(1, 2)), rtol=1e-12)
    assert flow.t == 5 and np.flatnonzero(flow.norms.any(axis=1)).tolist() == [5]


def test_nothing_is_left_of_a_gradient_through_dead_units():
    net = linear(1)
    net.parameters["W_s"] = np.zeros((6, 6))
    flow = diagnostics.gradient_flow(net, *data())
    assert flow.verdict == "vanishes" and np.isnan(flow.factor) and flow.by_distance.tolist() == [1] + 8 * [0]
    assert "exactly 0 from 1 step back on" in flow.describe()
    net.parameters["W_y"] = np.zeros((O, 6))
    assert diagnostics.gradient_flow(net, *data()).describe().startswith("No error has a gradient.")
    assert diagnostics.gradient_flow(linear(1), *data(1)).verdict == "unknown"


def test_products_are_those_of_jacobians_whatever_the_size():
    net = RNN(I, 80, O, dtype="float64", initializer=("normal", 0.12), random_state=0)
    X, D = data(12)
    flow = diagnostics.gradient_flow(net, X, D, t=9, sequences=2)
    S, product = net.forward(X, return_states=True)[2].S, np.eye(80)
    assert flow.products.shape == (10, 2)
    for i in range(8, -1, -1):
        product = product @ diagnostics.jacobian(net, S[i + 1, 1], X[i + 1, 1])
        largest = np.linalg.norm(product, 2)
        assert 0.97 * largest < flow.products[i, 1] <= largest * (1 + 1e-12)
    assert diagnostics.gradient_flow(net, X, D, sequences=0).products.shape == (12, 0)


@pytest.mark.parametrize("backend", ["core", "reference"])
def test_padding_and_targets_without_weight_are_not_read(backend):
    net, (X, D), lengths = network(dtype="float64"), data(), np.array([9, 2, 0, 5])
    weights = np.random.default_rng(1).choice([0.5, 2, 0], (9, 4))
    flow = diagnostics.gradient_flow(net, X, D, lengths=lengths, weights=weights)
    padded, hidden = X.copy(), D.copy()
    padded[np.arange(9)[:, None] >= lengths] = np.nan
    hidden[(weights == 0) | (np.arange(9)[:, None] >= lengths)] = np.nan
    for t in (None, 4, 5, 8):  # the last sequence ends before step 5
        found = diagnostics.gradient_flow(net, padded, hidden, t, lengths=lengths, weights=weights, backend=backend)
        np.testing.assert_allclose(found.norms, flow.norms if t is None else flow.norms[[t]], rtol=1e-12)
        assert found.products.shape[1] == (lengths > found.t).sum()
    # squares of norms add up over sequences, each by itself
    alone = [diagnostics.gradient_flow(net, X[:n, [b]], D[:n, [b]], weights=weights[:n, [b]]).norms
             for b, n in enumerate(lengths) if n]
    squares = sum(np.pad(norms**2, (0, 9 - len(norms))) for norms in alone)
    np.testing.assert_allclose(flow.norms**2, squares, rtol=1e-12)


def test_terms_are_weighted_as_their_error_is():
    net, (X, D) = network(dtype="float64"), data()
    weights = np.ones((9, 4))
    weights[5] = 3, 0, 0.5, 3
    D[5, 1] = np.nan
    flow = diagnostics.gradient_flow(net, X, D, 5, weights=weights)
    truth = sum(m * net.gradient_terms(X[:, [b]], D[:, [b]], 5)["W_s"] for b, m in enumerate(weights[5]) if m)
    np.testing.assert_allclose(flow.terms_W_s, np.linalg.norm(truth, axis=(1, 2)), rtol=1e-12)
    assert not diagnostics.gradient_flow(net, X, D, 5, weights=np.zeros((9, 4))).terms_W_s.any()


@pytest.mark.parametrize("labels", [False, True])
def test_the_error_of_last_steps_is_followed_from_there(labels):
    head = {"loss": "cross_entropy", "output_activation": "softmax"} if labels else {}
    last, every = (network(dtype="float64", output=output, **head) for output in ("last", "sequence"))
    X, D = data()
    lengths, D = np.array([9, 4, 4, 1]), np.array([2, 0, 3, 1]) if labels else D[0]
    at_end = (np.arange(9)[:, None] == lengths - 1) * np.array([1, 2, 0, 1.0])
    flow = diagnostics.gradient_flow(last, X, D, lengths=lengths, weights=np.array([1, 2, 0, 1.0]))
    same = diagnostics.gradient_flow(every, X, np.broadcast_to(D, (9, *D.shape)), lengths=lengths, weights=at_end)
    assert np.flatnonzero(np.diagonal(flow.norms)).tolist() == [0, 3, 8]
    np.testing.assert_array_equal(flow.norms, same.norms)
    np.testing.assert_array_equal(flow.terms_W_s, same.terms_W_s)


def test_the_one_error_of_all_sequences_last_step_is_named_by_its_step():
    X, D = data()
    words = diagnostics.gradient_flow(network(output="last"), X, D[0]).describe()
    assert words.startswith(f"The gradient of the error at step {len(X) - 1}, up to {len(X) - 1} steps back, ")


def test_the_error_that_terms_belong_to_is_the_last_with_a_gradient():
    net, (X, D) = network(), data()
    for last in (0, 4):
        weights = np.zeros((9, 4))
        weights[:last + 1] = 1
        flow = diagnostics.gradient_flow(net, X, D, weights=weights)
        assert flow.t == last and len(flow.terms_W_s) == last + 1


def test_ids_are_followed_as_their_unit_vectors():
    ids = np.random.default_rng(0).integers(I, size=(9, 4))
    _, D = data()
    by_id, by_vector = (network(dtype="float64", one_hot=one_hot) for one_hot in (True, False))
    flow, same = diagnostics.gradient_flow(by_id, ids, D), diagnostics.gradient_flow(by_vector, np.eye(I)[ids], D)
    for name in ("norms", "whole", "terms_W_x", "products", "saturated"):
        np.testing.assert_allclose(getattr(flow, name), getattr(same, name), rtol=1e-12)


def test_saturated_units_are_counted_where_there_are_steps():
    net = RNN(1, 2, 1, activation="tanh", bias=False, initializer={"W_x": np.array([[2.0], [1.5]])}, random_state=0)
    X = np.zeros((3, 2, 1))
    X[0], X[1, 0] = 1, 1  # tanh(2) = 0.964, tanh(1.5) = 0.905: one of two, by 0.949
    net.parameters["W_s"] = np.zeros((2, 2))
    states = diagnostics.states(net, X, lengths=[2, 1])
    np.testing.assert_array_equal(states.saturated, [0.5, 0.5, np.nan])
    assert "50 % in the mean" in states.describe() and states.S.shape == (4, 2, 2) and states.S.dtype == np.float64
    np.testing.assert_array_equal(diagnostics.states(net, X).saturated, [0.5, 0.25, 0])
    sigmoid = RNN(1, 1, 1, activation="sigmoid", bias=False, initializer={"W_x": np.array([[1.0]]), "W_s": np.zeros((1, 1))})
    X = np.array([3.6, 3.7, 0]).reshape(3, 1, 1)  # slopes 0.0259, 0.0236: a tenth of the largest is 0.025
    np.testing.assert_array_equal(diagnostics.states(sigmoid, X).saturated, [0, 1, 0])
    silu = RNN(1, 1, 1, activation="silu", bias=False, initializer={"W_x": np.array([[1.0]]), "W_s": np.zeros((1, 1))})
    X = np.array([-1.1, -1.0, 5]).reshape(3, 1, 1)  # slopes 0.044, 0.072, 1.03: a tenth of the largest is 0.11
    np.testing.assert_array_equal(diagnostics.states(silu, X).saturated, [1, 1, 0])
    np.testing.assert_array_equal(diagnostics.states(silu, -X).saturated, [0, 0, 1])  # slopes 0.96, 0.93, -0.03


# ---- Jacobians


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_jacobian_is_the_derivative_by_the_state_before(activation):
    case = cases.draw(SMALL, activation, choice=COVERING_CHOICES[1])
    S = reference.forward(case.parameters, case.X, case.initial_state, **case.options)[2]
    net = case.network()
    found = diagnostics.jacobian(net, S[:-1], case.X)
    assert found.shape == (3, 5, 4, 4) and found.dtype == np.float64
    for t in range(3):
        for h in range(4):
            def unit(state):
                return reference.forward(case.parameters, case.X[t:t + 1], state, **case.options)[1][:, h].sum()

            assert_close(found[t, :, h], cases.complex_step(unit, S[t]), LIMIT, f"unit {h} at step {t}")
    several, single = diagnostics.jacobian(net, S[1], case.X[1, 2])[3], diagnostics.jacobian(net, S[1, 3], case.X[1, 2])
    if reference.reads_input(activation):  # BLAS rounds A of one row in another way
        np.testing.assert_allclose(several, single, rtol=1e-13)
    else:
        np.testing.assert_array_equal(several, single)


def test_a_jacobian_at_an_id_is_that_at_its_unit_vector():
    by_id, by_vector, S = network(one_hot=True), network(), np.linspace(-1, 1, 2 * H).reshape(2, H)
    np.testing.assert_array_equal(diagnostics.jacobian(by_id, S, 2), diagnostics.jacobian(by_vector, S, np.eye(I)[2]))
    np.testing.assert_array_equal(diagnostics.jacobian(by_id, S, [0, 2])[1], diagnostics.jacobian(by_id, S[1], 2))


def test_a_check_says_that_the_gradient_of_omega_is_the_immediate_one():
    net = RNN(2, 4, 1, dtype="float64", omega=0.5, random_state=1)
    check = net.gradcheck()
    assert check.passed and check.omega == 0.5
    assert "omega = 0.5: both sides use the immediate derivative of Ω by W_s, with all S_t and ∂E/∂S_t held fixed" in check.describe()
    plain = RNN(2, 4, 1, random_state=1).gradcheck()
    assert plain.omega == 0 and "Ω" not in plain.describe()
    # The statement is true: differences of the whole loss give other gradients than those that pass
    X, D = np.random.default_rng(0).standard_normal((2, 6, 3, 2))
    D, h = D[..., :1], 1e-6
    gradients, start = net.loss_and_gradients(X, D)[1], net.theta
    differences = np.empty_like(start)
    for j in range(len(start)):
        ends = []
        for sign in (1, -1):
            net.theta = start + sign * h * (np.arange(len(start)) == j)
            ends.append(net.loss_and_gradients(X, D)[0])
        differences[j] = (ends[0] - ends[1]) / (2 * h)
    net.theta = start
    flat = np.concatenate([value.ravel() for value in gradients.values()])
    assert np.abs(flat - differences).max() > 1e-3 * np.abs(flat).max()


# ---- Fixed points


def bistable(w=2.0):
    """S ← tanh(w S): for w > 1 it stands still at 0 and at ± the root of S = tanh(w S)."""
    return RNN(1, 1, 1, initializer={"W_x": np.ones((1, 1)), "W_s": np.full((1, 1), w), "W_y": np.ones((1, 1))})


@pytest.mark.quick
def test_a_bistable_unit_has_two_stable_points_and_one_between_them():
    found = diagnostics.fixed_points(bistable(), np.zeros(1), np.linspace(-1, 1, 21)[:, None])
    root = 0.957504024077268  # of S = tanh(2 S), by bisection
    order = np.argsort(found.points[:, 0])
    np.testing.assert_allclose(found.points[order, 0], [-root, 0, root], atol=1e-9)
    np.testing.assert_allclose(found.eigenvalues[order, 0], [2 * (1 - root**2), 2, 2 * (1 - root**2)], atol=1e-8)
    assert found.stable[order].tolist() == [True, False, True] and (found.speed < 1e-20).all()
    assert found.found.sum() == 21 and found.lost == 0
    assert "3 fixed, of which 2 stable" in found.describe() and len(found.describe().splitlines()) == 4


def test_a_strong_input_leaves_one_point():
    found = diagnostics.fixed_points(bistable(), np.array([3.0]), np.linspace(-1, 1, 9)[:, None])
    fixed = found.points[found.speed < 1e-20]
    assert len(fixed) == 1 and found.stable.all()
    np.testing.assert_allclose(fixed, np.tanh(3 + 2 * fixed), atol=1e-12)


def test_a_ghost_of_a_point_is_slow_and_not_fixed():
    net = bistable()
    edge = np.sqrt(0.5)  # there tanh'(A) = 1/2, and S and tanh(2 S + x) touch
    x = np.arctanh(edge) - 2 * edge - 1e-4  # 1e-4 short of it
    found = diagnostics.fixed_points(net, np.array([x]), np.array([[0.7], [0.72]]))
    assert len(found.points) == 1 and found.found.tolist() == [2] and 1e-20 < found.speed[0] < 1e-6
    np.testing.assert_allclose(found.points[0], edge, atol=1e-2)
    assert "0 fixed" in found.describe() and "1 slow" in found.describe()
    none = diagnostics.fixed_points(net, np.array([x]), np.array([[0.7]]), max_speed=1e-12)
    assert none.points.shape == (0, 1) and none.lost == 1 and "1 start(s) ended nowhere" in none.describe()


def test_fixed_points_of_many_units_stand_still_in_the_core_too():
    net = RNN(I, 10, O, dtype="float64", initializer=("normal", 0.1), random_state=3)
    net.parameters["W_s"] += 1.6 * np.eye(10)
    x = np.array([0.1, -0.2, 0.3])
    starts = diagnostics.states(net, np.broadcast_to(x, (40, 5, I)), np.random.default_rng(0).uniform(-1, 1, (5, 10))).S[::8]
    found = diagnostics.fixed_points(net, x, starts.reshape(-1, 10))
    still = found.points[found.speed < 1e-20]
    assert len(still) > 1
    np.testing.assert_allclose(net.step(np.tile(x, (len(still), 1)), still)[1], still, atol=1e-9)
    for point, values in zip(found.points, found.eigenvalues):
        truth = np.linalg.eigvals(diagnostics.jacobian(net, point, x))
        np.testing.assert_allclose(np.abs(values), np.sort(np.abs(truth))[::-1], rtol=1e-12)
    assert found.stable.tolist() == [np.abs(values).max() < 1 for values in found.eigenvalues]
    assert found.stable.any() and not found.stable.all()
    apart = [np.linalg.norm(a - b) for n, a in enumerate(found.points) for b in found.points[:n]]
    assert min(apart) > 1e-4 and (np.diff(found.speed) >= 0).all()
    merged = diagnostics.fixed_points(net, x, starts.reshape(-1, 10), distance=100)
    assert len(merged.points) == 1 and merged.found.sum() == found.found.sum()


def test_the_jacobian_of_the_search_is_the_exact_one():
    net = RNN(1, 2, 1, bias=False, dtype="float64", initializer={"W_s": np.array([[0.0, -3.0], [3.0, 0.5]])})
    found = diagnostics.fixed_points(net, np.zeros(1), np.random.default_rng(0).uniform(-0.3, 0.3, (8, 2)))
    assert found.found.tolist() == [8] and found.lost == 0 and not found.stable[0]
    np.testing.assert_allclose(found.points, 0, atol=1e-10)


def test_an_id_is_a_constant_input():
    by_id, by_vector = network(one_hot=True, dtype="float64"), network(dtype="float64")
    starts = np.random.default_rng(0).uniform(-1, 1, (6, H))
    found, same = diagnostics.fixed_points(by_id, 1, starts), diagnostics.fixed_points(by_vector, np.eye(I)[1], starts)
    np.testing.assert_allclose(found.points, same.points, atol=1e-9)


LEAKY = {"rate": {}, "current": {"leak_form": "current"}}


def with_dt(dt, form, tau=100.0, trained=False, **options):
    """The same random or trained network with a time step of dt."""
    first = RNN(I, 10, O, dtype="float64", dt=20.0, tau=tau, initializer=("spectral_radius", 1.7), random_state=3, **LEAKY[form])
    if trained:
        first.fit(*data(30, 16), epochs=5, learning_rate=1e-2)
    net = RNN(I, 10, O, dtype="float64", random_state=3, **({"dt": dt, "tau": tau} if dt else {}), **LEAKY[form], **options)
    net.load_state_dict(first.state_dict())
    return net


def linear_network(W, **options):
    return RNN(1, len(W), 1, activation="identity", initializer={"W_x": np.zeros((len(W), 1)), "W_s": W}, bias=False, **options)


@pytest.mark.share(12)
@pytest.mark.parametrize("options", [{}, {"leak": 0.3}, {"leak": 0.3, "leak_form": "current"}, {"dt": 1.0, "tau": 1000.0}], ids=str)
@pytest.mark.parametrize("H", [1, 7, 40])
def test_a_point_whose_largest_eigenvalue_is_one_is_marginal(H, options):
    rng = np.random.default_rng(H)
    starts = rng.standard_normal((5, H))
    Q = np.linalg.qr(rng.standard_normal((H, H)))[0]
    symmetric = np.eye(H) if H == 1 else Q @ np.diag([1, *rng.uniform(-1, 1, H - 1)]) @ Q.T  # 1 within rounding
    rotated = [] if "leak" in options or "dt" in options else [Q]  # a leak draws the others' eigenvalues inside
    for W in (np.eye(H), symmetric, *rotated):
        found = diagnostics.fixed_points(linear_network(W, dtype="float64", **options), np.zeros(1), starts, max_speed=1e-20)
        assert len(found.points) and not found.stable.any() and found.marginal.all()
        assert (found.time_constants[:, 0] == np.inf).all() and (found.tolerance < 1e-11).all()
        words = found.describe().splitlines()
        assert f"{len(found.points)} fixed, of which 0 stable and {len(found.points)} marginal;" in words[0]
        assert all("  marginal  " in line and ", 0 of" not in line for line in words[1:])
        plt = pytest.importorskip("matplotlib.pyplot")
        plt.switch_backend("Agg")
        assert f"{len(found.points)} marginal" in found.plot().get_legend_handles_labels()[1]
        plt.close("all")
        for factor, is_stable in ((1 - 1e-9, True), (1 + 1e-9, False)):  # what is no rounding decides as before
            near = diagnostics.fixed_points(linear_network(factor * W, dtype="float64", **options), np.zeros(1), starts[:1])
            assert near.stable.tolist() == [is_stable] and not near.marginal.any() and "marginal" not in near.describe()


@pytest.mark.share(4)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("form", LEAKY)
def test_fixed_and_slow_points_do_not_depend_on_dt(form, trained):
    x, starts = np.array([0.05, -0.1, 0.0]), np.random.default_rng(0).uniform(-1.5, 1.5, (25, 10))
    fine, coarse, plain = (with_dt(dt, form, trained=trained) for dt in (1.0, 20.0, None))
    for max_speed in (1e-6, 3e-2):
        a, b, c = (diagnostics.fixed_points(net, x, starts, max_speed=max_speed) for net in (fine, coarse, plain))
        for name in ("points", "speed", "found", "lost", "axes", "mean"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
            np.testing.assert_array_equal(getattr(a, name), getattr(c, name), err_msg=name)
        assert len(a.points) and (a.found.sum() + a.lost) == 25
    for net, found in ((fine, a), (coarse, b)):
        leak, S = net.leak, found.points
        moved = net.step(np.tile(x, (len(S), 1)), S)[1] - S
        np.testing.assert_allclose(found.speed, 0.5 * ((moved / leak) ** 2).sum(axis=1), rtol=1e-6, atol=1e-20)
    # per step: 1 − λ + λν of the eigenvalues ν at λ = 1, so times are those of the continuous system within dt / tau
    for found, leak in ((a, 0.01), (b, 0.2)):
        expected = 1 - leak + leak * c.eigenvalues
        expected = np.take_along_axis(expected, np.argsort(-np.abs(expected), axis=1, kind="stable"), axis=1)
        np.testing.assert_allclose(np.abs(found.eigenvalues), np.abs(expected), rtol=1e-9)
        np.testing.assert_array_equal(found.stable, np.abs(found.eigenvalues).max(axis=1) < 1)
    growth = (c.eigenvalues.real.max(axis=1) - 1) / 100  # per unit of dt
    np.testing.assert_allclose(1 / -a.time_constants[:, 0], growth, rtol=0.05, atol=1e-4)
    assert "in the unit of dt" in a.describe() and "per step" in a.describe() and " steps, " in c.describe()


@pytest.mark.parametrize("form", LEAKY)
@pytest.mark.parametrize(("short", "slow"), [(2e-2, 0), (1e-4, 1)])
def test_a_ghost_of_a_point_is_slow_for_every_dt_or_for_none(form, short, slow):
    edge = np.sqrt(0.5)  # as above, where S and tanh(2 S + x) nearly touch
    x, starts = np.array([np.arctanh(edge) - 2 * edge - short]), np.array([[0.7], [0.72]])
    for dt in (1.0, 5.0, 20.0, 100.0):
        net = RNN(1, 1, 1, dtype="float64", dt=dt, tau=100.0, initializer=bistable().state_dict(), **LEAKY[form])
        found = diagnostics.fixed_points(net, x, starts if form == "rate" else np.arctanh(starts))
        assert len(found.points) == slow and found.lost == 2 * (1 - slow), dt


def test_time_constants_are_those_of_a_linear_unit():
    for dt, expected in ((1.0, 200.0), (0.1, 200.0)):  # τ dS/dt = −S / 2, by which it shrinks to 1/e in 2 τ
        net = RNN(1, 1, 1, activation="identity", dtype="float64", dt=dt, tau=100.0, initializer={"W_s": np.array([[0.5]])})
        found = diagnostics.fixed_points(net, np.zeros(1), np.ones((1, 1)))
        np.testing.assert_allclose(found.time_constants, [[expected]], rtol=5e-3)


def test_principal_axes_place_states_in_the_picture():
    net, x = with_dt(20.0, "rate"), np.zeros(I)
    run = diagnostics.states(net, np.zeros((40, 5, I)), np.random.default_rng(0).uniform(-1, 1, (5, 10)))
    found = diagnostics.fixed_points(net, x, run.S[::4].reshape(-1, 10))
    pooled = np.concatenate([found.starts, found.points])
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(10), atol=1e-12)
    np.testing.assert_allclose(found.mean, pooled.mean(axis=0), atol=1e-14)
    variance = ((pooled - found.mean) @ found.axes.T).var(axis=0)
    assert (np.diff(variance) <= 1e-12).all() and np.isclose(variance.sum(), pooled.var(axis=0).sum())
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in found.axes)
    at = found.project(run)
    np.testing.assert_array_equal(at, found.project(run.S))
    assert at.shape == (41, 5, 2) and found.project(run.S[3, 2], 12).shape == (12,)
    np.testing.assert_allclose(found.mean + found.project(run.S, 10) @ found.axes, run.S, atol=1e-12)
    one = diagnostics.fixed_points(net, x, run.S[-1, :1])
    assert len(one.axes) == 2 and not one.project(one.starts, 5)[:, 2:].any()  # two states have two axes
    with pytest.raises(ValueError, match="states must have shape"):
        found.project(np.zeros((4, 9)))
    with pytest.raises(TypeError, match="dimensions"):
        found.project(run.S, 1.5)


def test_the_spectrum_of_leaky_units_is_judged_by_the_circle_of_their_leak():
    weights = {"W_s": np.diag([-1.5, 0.5, 1.2]), "W_x": np.zeros((3, 1))}
    plain, leaky, slow = (RNN(1, 3, 1, initializer=weights, random_state=0, **more)
                          for more in ({}, {"leak": 0.5}, {"leak": 0.9}))
    assert "2 of 3 eigenvalues outside the unit circle" in diagnostics.spectrum(plain).describe()
    assert "1 of 3 eigenvalues outside the circle" in diagnostics.spectrum(leaky).describe()  # 1 − 0.5 − 0.75 = −0.25
    assert "2 of 3 eigenvalues outside the circle" in diagnostics.spectrum(slow).describe()  # 1 − 0.9 − 1.35 = −1.25
    for net, expected in ((leaky, 1.1), (slow, -1.25)):  # the largest of a step's Jacobian at slope 1
        values = np.diag(diagnostics.jacobian(net, np.zeros(3), np.zeros(1)))
        assert np.isclose(values[np.abs(values).argmax()], expected)


# ---- What is refused


@pytest.mark.parametrize("call, error, words", [
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, t=9), IndexError, "t=9 is out of range for 9 time steps"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, t=1.5), TypeError, "t must be an int"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X[:0], D[:0]), ValueError, "X has no steps"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, weights=np.ones((9, 4, O))), ValueError, "one for each error"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, weights=-np.ones((9, 4))), ValueError, "must not be negative"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X[:, :, :2], D), ValueError, "input_size=3"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, backend="c"), ValueError, "backend"),
    (lambda net, X, D: diagnostics.gradient_flow(net, X, D, sequences=-1), ValueError, "sequences"),
    (lambda net, X, D: diagnostics.gradient_flow(X, X, D), TypeError, "network must be an RNN, got ndarray"),
    (lambda net, X, D: diagnostics.spectrum(X), TypeError, "network must be an RNN"),
    (lambda net, X, D: diagnostics.states(net, X[0]), ValueError, "3-D"),
    (lambda net, X, D: diagnostics.plot_weights(X), TypeError, "network must be an RNN, got ndarray"),
    (lambda net, X, D: diagnostics.plot_weights(net, "W_s_l1"), ValueError, "unknown name 'W_s_l1'; did you mean"),
    (lambda net, X, D: diagnostics.plot_weights(net, "b_s"), ValueError, "choose from W_x, W_s, W_y"),
    (lambda net, X, D: diagnostics.jacobian(net, np.ones(4), X[0]), ValueError, "S must have shape"),
    (lambda net, X, D: diagnostics.jacobian(net, np.ones(H), np.ones(2)), ValueError, "X must have shape"),
    (lambda net, X, D: diagnostics.jacobian(net, np.ones((3, H)), X[0]), ValueError, "cannot be broadcast"),
    (lambda net, X, D: diagnostics.jacobian(network(one_hot=True), np.ones(H), 3), ValueError, "not from 0 to 2"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0, 0], np.ones(H)), ValueError, "starts must have shape"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0, 0], np.ones((0, H))), ValueError, "n >= 1"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0, 0], np.full((2, H), np.nan)), ValueError, "starts contains NaN"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0], np.ones((2, H))), ValueError, "X must be one input"),
    (lambda net, X, D: diagnostics.fixed_points(net, np.full(I, np.inf), np.ones((2, H))), ValueError, "X contains infinity"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0, 0], np.ones((2, H)), max_speed=0), ValueError, "max_speed"),
    (lambda net, X, D: diagnostics.fixed_points(net, X[0, 0], np.ones((2, H)), distance=-1), ValueError, "distance"),
])
def test_what_is_bad_is_refused(call, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        call(network(), *data())


# ---- Pictures


@pytest.mark.thorough
def test_pictures_are_axes_with_words_at_them():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    net, (X, D) = RNN(I, 12, O, random_state=0), data()
    net.parameters["W_s"] *= 1.5
    flow, one = diagnostics.gradient_flow(net, X, D), diagnostics.gradient_flow(net, X, D, 5)
    few = diagnostics.states(network(), X)
    for draw, labels in ((flow.plot, ("state $i$", "error $t$")), (one.plot, ("state $i$", "5")),
                         (flow.plot_distance, ("steps back, $k$", "")), (one.plot_distance, ("steps back, $k$", "")),
                         (flow.plot_terms, ("step $i$", "norm")), (flow.spectrum.plot, ("real part", "imaginary part")),
                         (diagnostics.states(net, X).plot, ("step", "unit")), (few.plot, ("step", "state"))):
        ax = plt.figure().add_subplot()
        assert draw(ax) is ax
        assert ax.get_xlabel() == labels[0] and labels[1] in ax.get_ylabel()
        ax.figure.canvas.draw()
    assert flow.plot_distance().get_legend() is not None  # axes of its own
    shown = flow.plot().collections[0].get_array()
    np.testing.assert_array_equal(shown.filled(0).reshape(9, 9), flow.norms)
    lines = one.plot().lines
    np.testing.assert_array_equal(lines[0].get_ydata(), one.norms[0, :6])
    plt.close("all")


def labels_of(axis):
    """The labels that stand at ticks within the axis's limits, major and minor."""
    axis.figure.canvas.draw()
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1.get_text() or tick.label2.get_text() for tick in ticks
            if low <= tick.get_loc() <= high and (tick.label1.get_text() or tick.label2.get_text())]


@pytest.mark.share(2)
@pytest.mark.parametrize("net", [bistable(), RNN(I, 10, O, initializer=("spectral_radius", 1.6), random_state=3)])
def test_a_picture_of_fixed_points_has_them_at_their_places(net):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    starts = np.random.default_rng(0).uniform(-1, 1, (12, net.hidden_size))
    for max_speed in (1e-6, 1e-300):
        found = diagnostics.fixed_points(net, np.zeros(net.input_size), starts, max_speed=max_speed)
        ax = found.plot()
        ax.figure.canvas.draw()
        dots = {group.get_label().split(" ", 1)[-1]: group.get_offsets() for group in ax.collections}
        for name, chosen in (("stable", found.stable), ("not stable", ~found.stable)):
            if net.hidden_size == 1:
                expected = np.column_stack([found.points[chosen, 0], np.abs(found.eigenvalues[chosen, 0])])
            else:
                expected = found.project(found.points[chosen])
                np.testing.assert_array_equal(dots["starts"], found.project(starts))
            assert (name in dots) == chosen.any()
            if chosen.any():
                np.testing.assert_array_equal(dots[name], expected)
        assert len(found.points) or max_speed < 1e-6
    plt.close("all")


@pytest.mark.thorough
def test_extreme_flows_show_what_is_positive_alone():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    net = linear(1)
    net.parameters["W_s"] = np.zeros((6, 6))
    for weights, shown in ((None, 9), (np.zeros((9, 4)), 0)):  # errors reach their own states, or none has a gradient
        flow = diagnostics.gradient_flow(net, *data(), weights=weights)
        own = weights is None  # with W_s = 0 each error reaches its own state alone
        assert (np.diag(flow.norms) > 0).all() == own and np.count_nonzero(flow.norms) == 9 * own
        assert flow.plot().collections[0].get_array().count() == shown
        assert np.isfinite(flow.plot_terms().lines[0].get_ydata()).sum() == min(shown, 1)
        assert np.isfinite(flow.plot_distance().lines[0].get_ydata()).sum() == min(shown, 1)  # at distance 0
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")


@pytest.mark.thorough
@pytest.mark.parametrize("scale", [0.999, 0.98, 0.93, 0.7, 0.1])
def test_logarithmic_axes_label_several_ticks_whatever_their_range(scale):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    flow, one = (diagnostics.gradient_flow(linear(scale), *data(40), t=t) for t in (None, 39))
    for draw in (flow.plot_distance, one.plot_distance, one.plot, flow.plot_terms):
        labels = labels_of(draw().yaxis)
        assert len(labels) >= 3 and len(set(labels)) == len(labels), (draw, labels)
    history = History(train_loss=[scale**k for k in range(9)], gradient_norm=[2 * scale**k for k in range(9)])
    ax = history.plot(gradient_norm=True)
    for axes in ax.figure.axes:
        assert len(labels_of(axes.yaxis)) >= 3
    assert all(float(label).is_integer() for label in labels_of(ax.xaxis))
    bar = flow.plot().figure.axes[-1]
    assert len(labels_of(bar.yaxis)) >= 3
    plt.close("all")


def test_pictures_of_a_network_with_dt_show_time():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    net, (X, D) = with_dt(20.0, "current"), data(12)
    flow, one = (diagnostics.gradient_flow(net, X, D, t=t) for t in (None, 7))
    few = RNN(I, 3, O, dt=0.5, tau=2, random_state=0)
    for ax, words, last in ((one.plot(), "time of state $S_i$ (unit of dt)", 160), (one.plot_terms(), "time of step", 160),
                            (flow.plot_distance(), "time back (unit of dt)", 220),
                            (diagnostics.states(few, X).plot(), "time (unit of dt)", 6)):
        assert words in ax.get_xlabel()
        assert ax.lines[0].get_xdata()[-1] == last
    heat = flow.plot()
    assert (heat.get_xlabel(), heat.get_ylabel()) == ("time of state $S_i$ (unit of dt)", "time of error $E_t$ (unit of dt)")
    assert heat.get_xlim() == heat.get_ylim() == (10, 250)
    image = diagnostics.states(net, X).plot()
    assert image.get_xlabel() == "time (unit of dt)" and image.get_ylabel() == "unit" and image.get_xlim() == (-10, 250)
    leak_alone = diagnostics.states(RNN(I, 3, O, leak=0.25, random_state=0), X).plot()
    assert leak_alone.get_xlabel() == "step"
    plt.close("all")


@pytest.mark.quick
def test_a_picture_of_weights_shows_signs_and_absent_connections():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    present = np.random.default_rng(0).random((8, 8)) < 0.5
    net = RNN(I, 8, O, dale_ratio=0.75, connectivity={"W_s": present}, autapses=False, random_state=0)
    ax = diagnostics.plot_weights(net)
    ax.figure.canvas.draw()
    mesh, (marks,) = ax.collections[0], ax.containers
    W, there = net.effective_parameters()["W_s"], present & ~np.eye(8, dtype=bool)
    shown = mesh.get_array().reshape(8, 8)
    np.testing.assert_array_equal(shown.mask, ~there)
    np.testing.assert_array_equal(shown.filled(0), W)
    assert -mesh.norm.vmin == mesh.norm.vmax == np.abs(W).max() and ax.patch.get_hatch()
    colours = [patch.get_facecolor() for patch in marks]
    assert len(set(colours[:6])) == len(set(colours[6:])) == 1 and colours[0] != colours[6]
    assert ax.get_xlabel() == "from unit" and ax.get_ylabel() == "to unit" and ax.get_title(loc="left").startswith("W_s")
    assert ax.get_ylim() == (7.5, -0.5)  # row 0 on top, as a matrix is written
    deep = RNN(I, (4, 6), O, bidirectional=True, random_state=0)
    for name, value in deep.parameters.items():
        if value.ndim == 2:
            own = plt.figure().add_subplot()
            assert diagnostics.plot_weights(deep, name, own) is own
            np.testing.assert_array_equal(own.collections[0].get_array().reshape(value.shape), value)
            assert not own.containers and not own.patch.get_hatch()
    assert own.get_ylabel() == "to output"
    plt.close("all")


def test_a_picture_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    flow = diagnostics.gradient_flow(network(), *data())
    for draw in (flow.plot, flow.plot_distance, flow.spectrum.plot):
        with pytest.raises(ImportError, match=r'pip install "fastbptt\[plot\]"'):
            draw()


def test_maps_are_looked_through():
    rng = np.random.default_rng(0)
    net = RNN(2, 5, 1, dale_ratio=0.6, connectivity={"W_s": rng.random((5, 5)) < 0.7}, dtype="float64", random_state=0)
    net.theta = rng.standard_normal(net.theta.size)
    plain = RNN(2, 5, 1, dtype="float64")
    plain.load_state_dict(net.effective_parameters())
    X, D = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 1))
    assert np.array_equal(diagnostics.gradient_flow(net, X, D).norms, diagnostics.gradient_flow(plain, X, D).norms)
    assert np.array_equal(diagnostics.spectrum(net).singular_values, diagnostics.spectrum(plain).singular_values)
    assert np.array_equal(diagnostics.jacobian(net, X[..., :1] + np.zeros(5), X), diagnostics.jacobian(
        plain, X[..., :1] + np.zeros(5), X))
