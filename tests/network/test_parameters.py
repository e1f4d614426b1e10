"""Parameters are live, a change is whole, and every result is the caller's own."""

import copy
import pickle

import numpy as np
import pytest

from fastbptt import RNN

pytestmark = pytest.mark.quick
T, B, I, H, O = 5, 4, 3, 6, 2
BACKENDS = ["core", "reference"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
NAMES = {
    "all": (dict(learn_initial_state=True), ["W_x", "W_s", "b_s", "W_y", "b_y", "S_0"]),
    "default": ({}, ["W_x", "W_s", "b_s", "W_y", "b_y"]),
    "no biases": (dict(bias=False), ["W_x", "W_s", "W_y"]),
    "no biases, learnt S_0": (dict(bias=False, learn_initial_state=True), ["W_x", "W_s", "W_y", "S_0"]),
}
SHAPES = {"W_x": (H, I), "W_s": (H, H), "b_s": (H,), "W_y": (O, H), "b_y": (O,), "S_0": (H,)}


def network(**options):
    return RNN(I, H, O, **{"dtype": "float64", "random_state": 0, "learn_initial_state": True, **options})


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


@pytest.mark.parametrize("case", NAMES)
@both_backends
def test_gradients_have_exactly_the_names_shapes_and_order_of_the_parameters(case, backend):
    options, names = NAMES[case]
    net = RNN(I, H, O, random_state=0, **options)
    X, D = data()
    assert list(net.parameters) == names
    assert {name: value.shape for name, value in net.parameters.items()} == {name: SHAPES[name] for name in names}
    for gradients in (net.loss_and_gradients(X, D, backend=backend)[1], net.backward(X, D, backend=backend)):
        assert list(gradients) == names
        assert all(gradients[name].shape == SHAPES[name] and gradients[name].dtype == np.float32 for name in names)
    more = net.loss_and_gradients(X, D, input_gradient=True, initial_state_gradient=True, backend=backend)[1]
    assert list(more) == [*names, "X", "initial_state"]


def test_a_parameter_is_a_live_view():
    net, (X, D) = network(), data()
    before = net.evaluate(X, D)
    W = net.parameters["W_s"]
    W[2, 3] += 1
    assert net.parameters["W_s"][2, 3] == W[2, 3]
    assert net.evaluate(X, D) != before
    W[2, 3] -= 1
    net.parameters["W_s"][...] = 0
    assert not W.any()


@both_backends
def test_one_visible_update_lowers_the_loss(backend):
    net, (X, D) = network(), data()
    loss, gradients = net.loss_and_gradients(X, D, backend=backend)
    for name in net.parameters:
        net.parameters[name] -= 0.01 * gradients[name]
    assert net.evaluate(X, D, backend=backend) < loss


def test_assignment_copies_and_keeps_the_view():
    net = network()
    view, W = net.parameters["W_s"], np.random.default_rng(1).standard_normal((H, H))
    net.parameters["W_s"] = W
    assert np.array_equal(view, W) and net.parameters["W_s"] is view
    W[...] = 0
    assert view.any()
    net.parameters["b_y"] = [1, 2]  # a list of integers is converted
    assert net.parameters["b_y"].tolist() == [1.0, 2.0]
    net.parameters["W_s"] = net.parameters["W_s"].T  # of its own memory
    assert np.array_equal(net.parameters["W_s"], view)


def test_a_transposed_view_of_a_parameter_can_be_assigned_to_it():
    net = network()
    W = net.parameters["W_s"].copy()
    net.parameters["W_s"] = net.parameters["W_s"].T
    assert np.array_equal(net.parameters["W_s"], W.T)


def test_operators_on_all_parameters_work_in_place():
    net, other = network(), network(random_state=1)
    views = dict(net.parameters)
    net.parameters.update(other.state_dict())
    assert net.theta.tobytes() == other.theta.tobytes()
    net.parameters |= {"b_y": np.ones(O)}
    net.parameters.update(b_s=np.ones(H))
    assert net.parameters["b_y"].tolist() == [1, 1] and net.parameters["b_s"].tolist() == [1] * H
    assert all(net.parameters[name] is views[name] for name in views)


@pytest.mark.parametrize("shape", [(), (1,), (H,), (1, H), (H, 1), (H, H + 1), (H * H,), (1, H, H)])
def test_an_assigned_parameter_is_never_broadcast(shape):
    net = network()
    before = net.theta.tobytes()
    with pytest.raises(ValueError, match="W_s") as caught:
        net.parameters["W_s"] = np.ones(shape)
    assert str((H, H)) in str(caught.value) and str(shape) in str(caught.value)
    assert net.theta.tobytes() == before


@pytest.mark.parametrize(("value", "error"), [
    (None, TypeError), ("a", TypeError), (np.ones((H, H), complex), ValueError), (np.ones((H, H), object), TypeError),
    (np.ma.ones((H, H)), ValueError),
])
def test_an_assigned_parameter_holds_real_numbers(value, error):
    net = network()
    before = net.theta.tobytes()
    with pytest.raises(error, match="W_s"):
        net.parameters["W_s"] = value
    assert net.theta.tobytes() == before


def test_unknown_parameters_are_refused_with_the_names_there_are():
    net = network(bias=False)
    before = net.theta.tobytes()
    for name in ("W", "b_s", "w_s", 3):
        with pytest.raises(KeyError) as caught:
            net.parameters[name] = np.ones(H)
        assert repr(name) in str(caught.value) and "W_x, W_s, W_y, S_0" in str(caught.value)
    with pytest.raises(KeyError):
        net.parameters.update({"W": 1})
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("remove", [
    lambda p: p.pop("W_s"), lambda p: p.clear(), lambda p: p.popitem(), lambda p: p.__delitem__("W_s"),
    lambda p: p.setdefault("W_q", 1),
])
def test_parameters_cannot_be_added_or_removed(remove):
    net = network()
    with pytest.raises(TypeError, match="cannot be removed or added"):
        remove(net.parameters)
    assert list(net.parameters) == list(SHAPES)


def test_the_dict_of_parameters_can_be_copied_and_pickled():
    net = network()
    for other in (copy.deepcopy(net.parameters), pickle.loads(pickle.dumps(net.parameters))):
        assert list(other) == list(net.parameters)
        for name, value in net.parameters.items():
            assert np.array_equal(other[name], value) and not np.shares_memory(other[name], value)


# ---- theta


def test_theta_is_all_parameters_in_order_copied_out_and_in():
    net = network()
    assert np.array_equal(net.theta, np.concatenate([net.parameters[name].ravel() for name in SHAPES]))
    theta = net.theta
    theta += 1
    assert not np.array_equal(net.theta, theta)
    views = dict(net.parameters)
    net.theta = theta
    assert np.array_equal(net.theta, theta)
    assert all(net.parameters[name] is views[name] for name in views)
    theta[...] = 0
    assert net.theta.any()
    net.theta = theta.astype("f4").tolist()
    assert not net.theta.any()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1000,), (1, 80)])
def test_theta_of_a_wrong_shape_is_refused(shape):
    net = network()
    before = net.theta
    assert before.shape == (80,)
    with pytest.raises(ValueError, match="theta") as caught:
        net.theta = np.ones(shape)
    assert "(80,)" in str(caught.value) and str(shape) in str(caught.value)
    assert np.array_equal(net.theta, before)


# ---- state_dict


def test_state_dict_is_a_copy_that_load_state_dict_takes():
    net, other = network(), network(random_state=1)
    state = net.state_dict()
    assert type(state) is dict and list(state) == list(net.parameters)
    other.load_state_dict(state)
    assert other.theta.tobytes() == net.theta.tobytes()
    for value in state.values():
        value += 1
    assert other.theta.tobytes() == net.theta.tobytes() == network().theta.tobytes()
    other.load_state_dict(dict(reversed(net.state_dict().items())))  # the order does not matter
    assert other.theta.tobytes() == net.theta.tobytes()


BAD_STATES = {
    "missing": (lambda s: {k: v for k, v in s.items() if k != "b_y"}, ValueError, "b_y"),
    "extra": (lambda s: {**s, "W_q": np.ones(3)}, ValueError, "W_q"),
    "a wrong shape": (lambda s: {**s, "b_y": np.ones(O + 1)}, ValueError, "b_y"),
    "one that would broadcast": (lambda s: {**s, "S_0": np.ones(1)}, ValueError, "S_0"),
    "NaN": (lambda s: {**s, "S_0": np.full(H, np.nan)}, ValueError, "S_0"),
    "infinity": (lambda s: {**s, "S_0": np.full(H, -np.inf)}, ValueError, "S_0"),
    "complex": (lambda s: {**s, "S_0": s["S_0"] + 0j}, ValueError, "S_0"),
    "objects": (lambda s: {**s, "S_0": s["S_0"].astype(object)}, TypeError, "S_0"),
    "None": (lambda s: {**s, "S_0": None}, TypeError, "S_0"),
    "masked": (lambda s: {**s, "S_0": np.ma.array(s["S_0"])}, ValueError, "S_0"),
    "names that are numbers": (lambda s: {**s, 3: np.ones(3)}, ValueError, "3"),
    "mixed names": (lambda s: {**s, 3: np.ones(3), "a": np.ones(3)}, ValueError, "3"),
    "empty": (lambda s: {}, ValueError, "W_s"),
    "no dict": (lambda s: None, TypeError, "state"),
    "a list": (lambda s: list(s.items()), TypeError, "state"),
}


@pytest.mark.parametrize("bad", BAD_STATES)
def test_load_state_dict_takes_all_or_nothing(bad):
    make, error, word = BAD_STATES[bad]
    net = network()
    before = net.theta.tobytes()
    # All the others are new values, and the bad one stands last: nothing of them may get in
    state = {name: value + 1 for name, value in net.state_dict().items()}
    with pytest.raises(error) as caught:
        net.load_state_dict(make(state))
    assert word in str(caught.value)
    assert net.theta.tobytes() == before


def test_load_state_dict_converts_other_dtypes_and_layouts():
    net = network(dtype="float32")
    other = network(random_state=5)
    state = {name: np.asfortranarray(value.astype(float)) for name, value in other.state_dict().items()}
    net.load_state_dict(state)
    assert all(np.array_equal(net.parameters[name], state[name].astype("f4")) for name in state)


# ---- repr


@pytest.mark.parametrize("options", [
    {}, {"dtype": "float32", "bias": False}, {"activation": "elu", "reduction": "sum"}, {"loss": ("huber", 0.25)},
    {"loss": ("quantile", (0.1, 0.9))}, {"output_activation": "softmax", "loss": "cross_entropy"},
    {"loss": ("huber", 1e-300)},
], ids=str)
def test_repr_evaluates_to_the_same_configuration(options):
    net = network(**options)
    again = eval(repr(net), {"RNN": RNN})
    assert repr(again) == repr(net)
    assert list(again.parameters) == list(net.parameters) and again.theta.dtype == net.theta.dtype
    again.theta = net.theta
    X = data()[0]
    assert np.array_equal(again.forward(X)[0], net.forward(X)[0])


def test_repr_names_every_option_that_shapes_the_network():
    import inspect

    words = repr(network(leak=0.5, leak_form="current", noise_std=0.1, input_noise_std=0.1, recurrent_dropout=0.1))
    words += repr(RNN(2, 3, 1, cell="gru", reset_after=False)) + repr(RNN(2, 3, 1, cell="lstm", forget_bias=2, rank=2))
    without = "initializer", "random_state", "unknown", "dt", "tau"  # the last two are the leak
    assert [name for name in inspect.signature(RNN).parameters if name not in without and f"{name}=" not in words] == []


@pytest.mark.parametrize(("name", "value"), [("hidden_size", 9), ("activation", "relu"), ("loss", "huber"),
                                             ("reduction", "sum"), ("dtype", "float32"), ("bias", False)])
def test_an_option_cannot_be_changed_into_something_the_network_is_not(name, value):
    net, (X, D) = network(), data()
    before = net.evaluate(X, D)
    with pytest.raises(AttributeError, match=name):
        setattr(net, name, value)
    assert getattr(net, name) != value and f"{name}={value!r}" not in repr(net)
    assert net.evaluate(X, D) == before


def test_parameters_assigned_as_a_whole_are_copied_and_not_put_in_their_place():
    net = network()
    view, state = net.parameters["W_s"], network(random_state=1).state_dict()
    net.parameters = state
    assert net.theta.tobytes() == network(random_state=1).theta.tobytes()
    assert net.parameters["W_s"] is view


# ---- Results


@both_backends
def test_results_are_the_callers_own(backend):
    net, (X, D) = network(), data()
    state, weights = np.full((B, H), 0.1), np.full((T, B), 0.5)

    def call():
        Y, final_state, run = net.forward(X, state, return_states=True, backend=backend)
        S = run.S
        losses = net.losses(X, D, initial_state=state, backend=backend)
        _, gradients = net.loss_and_gradients(X, D, initial_state=state, weights=weights, input_gradient=True,
                                              initial_state_gradient=True, backend=backend)
        terms = net.gradient_terms(X, D, 2, initial_state=state, backend=backend)
        backward = net.backward(X, D, initial_state=state, input_gradient=True, initial_state_gradient=True,
                                backend=backend)
        return [Y, final_state, S, losses, *gradients.values(), *terms.values(), *backward.values()]

    first = call()
    before = [value.tobytes() for value in first]
    second = call()
    inputs = [X, D, state, weights, net.theta, *net.parameters.values()]
    for value in first:
        assert value.flags.writeable and value.flags.c_contiguous
        assert not any(np.shares_memory(value, other) for other in [*second, *inputs])
    assert before == [value.tobytes() for value in first] == [value.tobytes() for value in second]
    inputs_before = [value.tobytes() for value in inputs]
    for value in first:
        value[...] = np.nan
    assert inputs_before == [value.tobytes() for value in inputs]
    assert before == [value.tobytes() for value in call()]


@both_backends
def test_results_of_one_call_share_no_memory_with_each_other(backend):
    # A gradient may be a view of one flat vector, but no two may overlap
    net, (X, D) = network(), data()
    _, gradients = net.loss_and_gradients(X, D, input_gradient=True, initial_state_gradient=True, backend=backend)
    Y, final_state, states = net.forward(X, return_states=True, backend=backend)
    arrays = [Y, final_state, states.S, *gradients.values()]
    for k, value in enumerate(arrays):
        assert not any(np.shares_memory(value, other) for other in arrays[:k])


@both_backends
def test_a_result_outlives_the_network(backend):
    X, D = data()
    expected = network().loss_and_gradients(X, D, backend=backend)[1]
    gradients = RNN(I, H, O, dtype="float64", random_state=0, learn_initial_state=True).loss_and_gradients(
        X, D, backend=backend)[1]
    assert all(np.array_equal(gradients[name], expected[name]) for name in expected)


# ---- objective


@both_backends
def test_an_objective_leaves_the_network_as_it_is(backend):
    net, (X, D) = network(), data()
    before = net.theta.tobytes()
    fun = net.objective(X, D, backend=backend)
    theta = net.theta + 0.1
    loss, gradient = fun(theta)
    assert net.theta.tobytes() == before
    assert gradient.dtype == np.float64 and gradient.shape == theta.shape
    net.theta = theta
    expected, gradients = net.loss_and_gradients(X, D, backend=backend)
    assert loss == expected
    assert np.array_equal(gradient, np.concatenate([g.ravel() for g in gradients.values()]))
    assert not np.shares_memory(gradient, fun(theta)[1])


@both_backends
@pytest.mark.parametrize(("theta", "error"), [
    (np.zeros(3), ValueError), (np.zeros(79), ValueError), (np.zeros(81), ValueError), (np.zeros((80, 1)), ValueError),
    (np.zeros(()), ValueError), (np.zeros(80, complex), ValueError), (None, TypeError), ("a", TypeError),
])
def test_an_objective_refuses_a_theta_that_does_not_fit(backend, theta, error):
    fun = network().objective(*data(), backend=backend)
    with pytest.raises(error, match="theta"):
        fun(theta)


@pytest.mark.share(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scipy_minimises_an_objective(dtype):
    minimize = pytest.importorskip("scipy.optimize").minimize
    X = data()[0]
    teacher, net = network(dtype=dtype, random_state=3), network(dtype=dtype)
    D = teacher.forward(X)[0]
    before = net.evaluate(X, D)
    result = minimize(net.objective(X, D), net.theta, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    assert net.evaluate(X, D) == before
    net.theta = result.x
    assert net.evaluate(X, D) < 0.05 * before


def test_scipys_check_of_the_gradient_agrees():
    check_grad = pytest.importorskip("scipy.optimize").check_grad
    net = network()
    fun = net.objective(*data())
    assert check_grad(lambda x: fun(x)[0], lambda x: fun(x)[1], net.theta) < 1e-6
