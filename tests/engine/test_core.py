"""The compiled core against the reference, tensor by tensor, by name; and what a caller may rely on beside the numbers.

float64 is held to 1e-11 of the largest entry. float32 is measured against the *float64* reference on the same data, and
may be off by four times what the reference itself is off in float32, and 3e-7 of the largest entry; where one run of the
reference allows too little, its error is the largest of 16 more runs on data close by (`errors_close_by` says why).
"""

import dataclasses
import itertools
import threading

import cases
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from cases import ACTIVATIONS, COVERING_CHOICES, HEADS, LARGE_SHAPES, LIMIT, SHAPES, SMALL, Head, allowed, assert_close, draw, error_of

from fastbptt import RNN, _core, diagnostics, optimizers, reference
from fastbptt.backends.arguments import Batch, CallOptions

DTYPES = ("float64", "float32")

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
every_head = pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])


# ---------------------------------------------------------------------------------------------------------------------
# Every operation of both backends
# ---------------------------------------------------------------------------------------------------------------------


def forward(network, case, dtype, backend):
    Y, final_state, run = network.forward(**case.inputs(dtype), return_states=True, backend=backend)
    S = run.S
    return {"Y": Y, "final state": final_state, "S": S}


def losses(network, case, dtype, backend):
    data = case.data(dtype)
    return {"losses": network.losses(data["X"], data["D"], initial_state=data["initial_state"], backend=backend)}


def evaluate(network, case, dtype, backend):
    return {"E of evaluate": network.evaluate(**case.data(dtype), backend=backend)}


def loss_and_gradients(network, case, dtype, backend):
    E, gradients = network.loss_and_gradients(**case.data(dtype), input_gradient=True, initial_state_gradient=True,
                                              backend=backend)
    return {"E": E, **{f"∂E/∂{name}": gradient for name, gradient in gradients.items()}}


def backward(network, case, dtype, backend):
    gradients = network.backward(case.X.astype(dtype), case.dY.astype(dtype), input_gradient=True,
                                 initial_state=case.inputs(dtype)["initial_state"], initial_state_gradient=True,
                                 backend=backend)
    return {f"∂E/∂{name} of backward": gradient for name, gradient in gradients.items()}


def gradient_terms(network, case, dtype, backend):
    if case.shape.T == 0:
        return {}
    t = min(case.shape.T // 2, 40)
    data = case.data(dtype)
    terms = network.gradient_terms(data["X"], data["D"], t, initial_state=data["initial_state"], backend=backend)
    return {f"{name} of gradient_terms": value for name, value in terms.items()}


def gradient_flow(network, case, dtype, backend):
    begin, data = case.shape.T // 2, case.data(dtype)
    arguments = network._theta, Batch(data["X"], data["D"], data["weights"], data["initial_state"]), CallOptions()
    norms, whole = network._engines[backend].gradient_flow(*arguments, begin, min(begin + 3, case.shape.T))
    return {"‖∂E_t/∂S_i‖": norms, "‖∂E/∂S_i‖": whole}


def objective(network, case, dtype, backend):
    E, gradient = network.objective(**case.data(dtype), backend=backend)(network.theta)
    assert gradient.dtype == np.float64
    return {"E of objective": E, "gradient of objective": gradient}


OPERATIONS = (forward, losses, evaluate, loss_and_gradients, backward, gradient_terms, gradient_flow, objective)


def check(case, operations=OPERATIONS):
    """Core against reference, in both types."""
    double, single = case.shared_network("float64"), case.shared_network("float32")
    for operation in operations:
        truth = operation(double, case, "float64", "reference")
        result = operation(double, case, "float64", "core")
        assert list(result) == list(truth), f"{operation.__name__}; {case}"
        for name in truth:
            assert np.asarray(result[name]).dtype == np.float64, name
            assert_close(result[name], truth[name], LIMIT, name, case)
        rough = operation(single, case, "float32", "reference")
        result = operation(single, case, "float32", "core")
        assert list(result) == list(truth), f"{operation.__name__}; {case}"
        rough_errors = {name: error_of(rough[name], truth[name]) for name in truth}
        if any(error_of(result[name], truth[name]) > allowed(rough_errors[name], truth[name]) for name in truth):
            rough_errors = errors_close_by(operation, case, rough_errors)
            for network in (double, single):  # which it shared
                network.theta = np.concatenate([value.ravel() for value in case.parameters.values()])
        for name in truth:
            assert np.ndim(truth[name]) == 0 or result[name].dtype == rough[name].dtype, name
            assert_close_in_float32(result[name], rough_errors[name], truth[name], name, case)


def assert_close_in_float32(value, rough_error, truth, name, case):
    error, limit = error_of(value, truth), allowed(rough_error, truth)
    assert error <= limit, (f"{name} is off by {error:.1e} in float32 where {limit:.1e} is allowed (the reference is "
                            f"off by {rough_error:.1e}; largest entry {np.abs(truth).max():.1e}); shape {np.shape(truth)}; "
                            f"{case}")


def errors_close_by(operation, case, errors, runs=16):
    """The largest error of the float32 reference, by name, here and on data that differ by about 1e-6.

    One run's error in a tensor of few entries is one draw of roundings, often a tenth of what is usual, and four times
    that measures nothing: of 64 960 tensors of the smallest shape the core exceeded what one run of the reference
    allows in 69, and the reference what one run of the core allows in 30. Close by, the problem is the same and every
    rounding is drawn anew; each run is held against the float64 reference on its own data.
    """
    rng = np.random.default_rng(10)

    def nudged(array):
        if array is None or array.dtype.kind != "f":
            return array
        return (array * (1 + rng.uniform(-1e-6, 1e-6, array.shape))).astype(np.float32).astype(np.float64)

    for _ in range(runs):
        other = dataclasses.replace(case, parameters={name: nudged(value) for name, value in case.parameters.items()},
                                    **{name: nudged(getattr(case, name))
                                       for name in ("X", "D", "weights", "initial_state", "dY")})
        truth = operation(other.shared_network("float64"), other, "float64", "reference")
        rough = operation(other.shared_network("float32"), other, "float32", "reference")
        errors = {name: max(errors[name], error_of(rough[name], truth[name])) for name in truth}
    return errors


@pytest.mark.share(3)
@every_activation
@every_head
def test_gradients_of_every_combination_of_options(activation, head):
    choices = cases.some_choices(head, ACTIVATIONS.index(activation) + HEADS.index(head))
    assert choices
    for choice in choices:
        check(draw(SMALL, activation, head, choice), [loss_and_gradients])


def test_each_sixth_of_the_combinations_has_every_value():
    sixths = [cases.sixth(turn) for turn in range(6)]
    assert sorted(map(repr, itertools.chain(*sixths))) == sorted(map(repr, cases.CHOICES))
    for part in sixths:
        assert all({choice[k] for choice in part} == {choice[k] for choice in cases.CHOICES} for k in range(len(part[0])))
        assert all(any(cases.legal(head, choice) for choice in part) for head in HEADS)


@pytest.mark.share(3)
@every_activation
@every_head
def test_every_operation_for_every_loss_and_activation(activation, head):
    turn = ACTIVATIONS.index(activation) + HEADS.index(head)
    for choice in (COVERING_CHOICES[turn % 6], COVERING_CHOICES[(turn + 3) % 6]):
        if not cases.legal(head, choice):
            choice = choice._replace(weights="step")
        check(draw(SMALL, activation, head, choice))


@pytest.mark.quick
@pytest.mark.share(2)
@pytest.mark.parametrize("choice", COVERING_CHOICES, ids=lambda c: f"{c.weights}, {c.reduction}, given={c.given}")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_every_operation_for_every_shape(shape, choice):
    check(draw(shape, choice=choice))


# Every loss runs over columns or rows of its own; tails of outputs meet each.
@every_head
@pytest.mark.parametrize("K", [1, 7, 17])
def test_every_loss_with_tails_of_outputs(head, K):
    if K == 1 and head.output_activation == "softmax" and head.levels == 1:
        pytest.skip("the softmax of one output is constant")
    shape = SHAPES["H = 7"]._replace(O=K)
    check(draw(shape, head=head, choice=COVERING_CHOICES[2]), [losses, loss_and_gradients, backward])


@every_activation
@pytest.mark.parametrize("H", [1, 7, 17, 33])
def test_every_activation_with_tails_of_hidden_units(activation, H):
    check(draw(SHAPES["H = 7"]._replace(H=H), activation), [forward, loss_and_gradients])


@pytest.mark.share(5)
@pytest.mark.parametrize("shape", LARGE_SHAPES.values(), ids=list(LARGE_SHAPES))
def test_every_operation_for_large_shapes(shape):
    check(draw(shape, choice=COVERING_CHOICES[0]))
    check(draw(shape, choice=COVERING_CHOICES[2]), [loss_and_gradients])


@pytest.mark.thorough
@pytest.mark.parametrize("head", [HEADS[0], *(head for head in HEADS if head.labels or head.loss == "quantile")],
                         ids=lambda head: head.name)
def test_targets_and_weights_move_on_with_the_blocks(head):
    weights = "step" if head.labels else "output"
    shape = LARGE_SHAPES["many blocks"]._replace(T=1500)
    case = draw(shape, head=head, choice=COVERING_CHOICES[0]._replace(weights=weights)) \
        if head.loss != "quantile" else _unchecked(shape, head, weights)
    check(case, [losses, evaluate, loss_and_gradients])


def _unchecked(shape, head, weights):
    """A long quantile case whose targets keep away from every output: no draw of so many would."""
    smooth = draw(shape._replace(O=shape.O * head.levels), head=Head("squared_error", None, head.output_activation),
                  choice=COVERING_CHOICES[0])
    Y = reference.forward(smooth.parameters, smooth.X, **smooth.options)[0][..., :shape.O]
    rng = np.random.default_rng(5)
    sign = rng.choice([-1.0, 1.0], Y.shape)
    D = (sign * rng.uniform(8, 9, Y.shape)).astype(np.float32).astype(float)  # outputs are within about ±4
    m = rng.uniform(0.25, 2, D.shape).astype(np.float32).astype(float)
    return dataclasses.replace(smooth, shape=shape, head=head, D=D, weights=m,
                               choice=smooth.choice._replace(weights=weights))


def test_error_is_carried_across_blocks_of_time():
    """The error of the last step alone, through 4000 rotations: what the first input gets has crossed every block."""
    shape = cases.Shape(4000, 1, 6, 6, 2, "")
    case = draw(shape, "identity", choice=cases.Choice(False, False, True, "step", "sum"))
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    weights = np.zeros((4000, 1))
    weights[-1] = 1
    case = dataclasses.replace(case, parameters={**case.parameters, "W_s": Q}, weights=weights)
    network = case.network()
    truth, result = (network.loss_and_gradients(**case.data(), input_gradient=True, backend=backend)[1]
                     for backend in ("reference", "core"))
    assert np.abs(truth["X"][0]).max() > 1e-3 * np.abs(truth["X"][-1]).max()
    for t in (0, 1000, 2000, 3000, 3999):
        assert_close(result["X"][t], truth["X"][t], 1e-10, f"∂E/∂X at t={t}")
    for name in truth:
        assert_close(result[name], truth[name], 1e-10, f"∂E/∂{name}")


# ---------------------------------------------------------------------------------------------------------------------
# Names, extremes, weights
# ---------------------------------------------------------------------------------------------------------------------


def test_core_knows_exactly_the_names_of_the_reference():
    assert set(_core.ACTIVATIONS) == set(reference.ACTIVATIONS)
    assert set(_core.OUTPUT_ACTIVATIONS) == set(reference.OUTPUT_ACTIVATIONS)
    assert set(_core.LOSSES) == set(reference.LOSSES)
    assert set(_core.RULES) == set(reference.UPDATE_RULES)
    for codes in (_core.ACTIVATIONS, _core.OUTPUT_ACTIVATIONS, _core.LOSSES, _core.RULES):
        assert len(set(codes.values())) == len(codes)


def head_alone(Z, D, loss, output_activation, dtype, backend):
    """E, Y and ∂E/∂Z, as ∂E/∂b_y, of a network whose Z is its output bias."""
    network = RNN(1, 1, len(Z), loss=loss, output_activation=output_activation, reduction="sum", dtype=dtype,
                  random_state=0)
    network.parameters.update({"W_y": np.zeros((len(Z), 1)), "b_y": Z})
    X, D = np.zeros((1, 1, 1)), np.asarray(D)[None, None]
    E, gradients = network.loss_and_gradients(X, D, backend=backend)
    return E, network.forward(X, backend=backend)[0].ravel().tolist(), gradients["b_y"].tolist()


both_backends = pytest.mark.parametrize("backend", ["reference", "core"])


@both_dtypes
@both_backends
def test_fused_losses_are_stable_at_a_thousand(dtype, backend):
    Z = [1000.0, -1000.0, 0.0]
    assert head_alone(Z, 0, "cross_entropy", "softmax", dtype, backend) == (0, [1, 0, 0], [0, 0, 0])
    assert head_alone(Z, 1, "cross_entropy", "softmax", dtype, backend) == (2000, [1, 0, 0], [1, -1, 0])
    assert head_alone(Z, [0.5, 0.25, 0.25], "cross_entropy", "softmax", dtype, backend) == \
        (750, [1, 0, 0], [0.5, -0.25, -0.25])
    assert head_alone(Z[:2], [0.0, 1.0], "binary_cross_entropy", "sigmoid", dtype, backend) == (2000, [1, 0], [1, -1])
    assert head_alone(Z[:2], [1.0, 0.0], "binary_cross_entropy", "sigmoid", dtype, backend) == (0, [1, 0], [0, 0])
    assert head_alone([-1000.0], [3.0], "poisson", "exp", dtype, backend) == (3000, [0], [-3])
    large = 80.0 if dtype == "float32" else 700.0
    E, (Y,), (gradient,) = head_alone([large], [3.0], "poisson", "exp", dtype, backend)
    assert [E, Y, gradient] == pytest.approx([np.exp(large)] * 3, rel=1e-5)


@both_dtypes
@every_activation
def test_activations_are_those_of_the_reference_far_out_and_close_to_zero(activation, dtype):
    A = np.array([0, 1e-30, 1e-7, 1e-3, 0.3, 1, 5, 9, 17, 19, 30, 88, 100, 700, 1000])
    A = np.concatenate([-A[::-1], A]).astype(np.float32).astype(float)
    network = RNN(1, 1, 1, activation=activation, dtype=dtype, bias=False, random_state=0)
    network.parameters.update({"W_x": [[1]], "W_s": [[0]], "W_y": [[1]]})
    R = network.forward(A[:, None, None])[0].ravel()
    truth = reference.ACTIVATIONS[activation][0](A)
    # Kernels take what is too small to be normal as zero, also a factor, which silu and gelu multiply by A. The reference's
    # Φ(A) has the relative error of A², times 900 here.
    exact = 5e-7 if dtype == "float32" else 1e-12 if activation == "gelu" else 1e-15
    least = np.finfo(dtype).tiny * (1024 if reference.reads_input(activation) else 1)
    np.testing.assert_allclose(R, truth, rtol=exact, atol=least)


# In units in the last place, as simd.h states them; NaN and the infinite stay what they are.
ULP = {"tanh": 2.5, "sigmoid": 2.5, "softplus": 3, "elu": 1.4, "softsign": 1.75, "silu": 3.5, "gelu": 7.5, "exp": 1.25}
LARGEST = {"float32": 88, "float64": 708}
TRUTH = {
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(-abs(x))),
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x * TRUTH["sigmoid"](x),
    "gelu": lambda x: x * scipy.special.erfc(-x * np.sqrt(x.dtype.type(0.5))) / 2,
    "exp": np.exp,
}


def elementary(name, dtype):
    """One of the core's functions of a vector."""
    options = {"activation": name} if name != "exp" else {"activation": "identity", "output_activation": "exp",
                                                          "loss": "poisson"}
    network = RNN(1, 1, 1, dtype=dtype, bias=False, random_state=0, **options)
    network.parameters.update({"W_x": [[1]], "W_s": [[0]], "W_y": [[1]]})
    return lambda x: network.forward(x[:, None, None])[0].ravel()


@both_dtypes
@pytest.mark.parametrize("name", ULP)
def test_elementary_functions_are_within_their_bounds(name, dtype):
    rng, far = np.random.default_rng(14), LARGEST[dtype]
    x = np.concatenate([rng.uniform(-far, far, 50_000), rng.uniform(-10, 10, 50_000), rng.normal(0, 1, 50_000),
                        10.0**rng.uniform(-30, 1.9, 50_000) * rng.choice([-1, 1], 50_000)]).astype(dtype)
    wider = np.longdouble if dtype == "float64" else np.float64
    if np.finfo(wider).nmant == np.finfo(dtype).nmant:
        pytest.skip("long double is double here")
    if name == "gelu" and dtype == "float64":
        pytest.skip("SciPy has no erfc of long double; tests/kernels/harness.c takes the C library's")
    truth = TRUTH[name](x.astype(wider))
    ulp = np.abs(elementary(name, dtype)(x) - truth) / np.spacing(np.abs(truth).astype(dtype))
    # What is not normal is zero. So is a factor that is not normal; the other factor of silu and gelu is below 1024.
    least = np.finfo(dtype).tiny * (1024 if name in ("silu", "gelu") else 1)
    ulp = np.where((np.abs(truth) < least) & (elementary(name, dtype)(x) == 0), 0, ulp)
    assert ulp.max() <= ULP[name], f"{ulp.max()} at {x[ulp.argmax()]!r}"


@both_dtypes
@pytest.mark.parametrize("name", ULP)
def test_elementary_functions_of_what_is_no_number_or_far_out(name, dtype):
    largest = float(np.finfo(dtype).max)
    ends = {"tanh": (-1, 1), "sigmoid": (0, 1), "softplus": (0, largest), "elu": (-1, largest), "softsign": (-1, 1),
            "silu": (0, largest), "gelu": (0, largest), "exp": (0, np.inf)}[name]
    f = elementary(name, dtype)
    assert np.isnan(f(np.array([np.nan], dtype))).all()
    assert f(np.array([-largest, largest], dtype)).tolist() == list(ends)


@both_dtypes
def test_tanh_is_odd_and_bounded(dtype):
    x, tanh = np.random.default_rng(14).normal(0, 5, 10_000).astype(dtype), elementary("tanh", dtype)
    assert np.array_equal(tanh(-x), -tanh(x))
    assert (np.abs(tanh(x)) <= 1).all()


@both_dtypes
@every_head
def test_weights_of_one_equal_no_weights(head, dtype):
    for reduction in ("mean", "sum"):
        case = draw(SMALL, head=head, choice=COVERING_CHOICES[0]._replace(reduction=reduction))
        network, data = case.network(dtype), case.data(dtype)
        E, gradients = network.loss_and_gradients(**data)
        for shape in ((SMALL.T, SMALL.B), (SMALL.T, SMALL.B, SMALL.O))[:1 if head.loss == "cross_entropy" else 2]:
            data["weights"] = np.ones(shape, dtype)
            E_ones, gradients_ones = network.loss_and_gradients(**data)
            assert E_ones == pytest.approx(E, rel=1e-15)
            for name in gradients:
                assert_close(gradients_ones[name], gradients[name], 4 * np.finfo(dtype).eps, name, case)


def test_nan_stays_in_its_own_sequence():
    case = draw(SHAPES["discriminating"])
    network = case.network()
    Y, final_state = network.forward(case.X)
    X = case.X.copy()
    X[3, 2, 1] = np.nan
    Y_nan, final_nan = network.forward(X)
    others = [0, 1, 3]
    assert np.isnan(Y_nan[3:, 2]).all() and np.array_equal(Y_nan[:3], Y[:3])
    assert_close(Y_nan[:, others], Y[:, others], 1e-15, "Y of the other sequences")
    assert_close(final_nan[others], final_state[others], 1e-15, "final state of the other sequences")


@both_dtypes
def test_one_pass_equals_two_halves_that_hand_on_their_state(dtype):
    case = draw(SHAPES["discriminating"], choice=COVERING_CHOICES[1])
    network, X = case.network(dtype), case.X.astype(dtype)
    Y, final_state = network.forward(X, case.initial_state)
    Y_1, state = network.forward(X[:7], case.initial_state)
    Y_2, state = network.forward(X[7:], state)
    limit = 8 * np.finfo(dtype).eps
    assert_close(np.concatenate([Y_1, Y_2]), Y, limit, "Y")
    assert_close(state, final_state, limit, "final state")


def test_a_million_steps_keep_a_float32_loss_accurate():
    """Added one after another in float32, a million errors of about 10 are off by more than 1e-5."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(10**6, 1, 1)).astype(np.float32)
    D = (3 + rng.normal(size=(10**6, 1, 1))).astype(np.float32)
    case = draw(cases.Shape(1, 1, 1, 2, 1, ""))
    single, double = (case.network(dtype) for dtype in ("float32", "float64"))
    truth = double.evaluate(X, D)
    assert truth > 1
    assert abs(single.evaluate(X, D) / truth - 1) < 1e-6
    assert abs(single.loss_and_gradients(X, D)[0] / truth - 1) < 1e-6
    weights = np.ones((10**6, 1), np.float32)
    assert abs(single.evaluate(X, D, weights=weights) / truth - 1) < 1e-6


# ---------------------------------------------------------------------------------------------------------------------
# The same bits
# ---------------------------------------------------------------------------------------------------------------------


def bits(network, case, dtype):
    """Everything that the network returns for the case, as bytes by name."""
    results = {}
    for operation in OPERATIONS:
        results |= operation(network, case, dtype, "core")
    return {name: np.asarray(value).tobytes() for name, value in results.items()}


def differing(one, other):
    return [name for name in one if one[name] != other[name]]


@both_dtypes
def test_reused_workspace_gives_the_same_bits(dtype):
    case = draw(SHAPES["discriminating"], choice=COVERING_CHOICES[2])
    network = case.network(dtype)
    first = bits(network, case, dtype)
    assert differing(first, bits(network, case, dtype)) == []
    for T, B in ((3, 17), (50, 9), (1, 1), (0, 4)):  # the same network on other shapes
        other = draw(case.shape._replace(T=T, B=B), choice=COVERING_CHOICES[2])
        bits(network, other, dtype)
        assert differing(first, bits(network, case, dtype)) == []
    assert differing(first, bits(case.network(dtype), case, dtype)) == []  # a fresh workspace


@both_dtypes
@pytest.mark.parametrize("shape", [SHAPES[name] for name in ("discriminating", "one of all", "H = 17", "O = 7",
                                                              "B = 13")], ids=lambda shape: str(shape[:5]))
def test_scratch_memory_never_leaks_into_results(shape, dtype):
    """A larger call full of NaN dirties the network's workspaces between two equal calls."""
    case = draw(shape, choice=COVERING_CHOICES[2])
    network = case.network(dtype)
    first = bits(network, case, dtype)
    larger = draw(shape._replace(T=shape.T + 30, B=shape.B + 20), choice=COVERING_CHOICES[2])
    larger = dataclasses.replace(larger, X=np.full_like(larger.X, np.nan), D=np.full_like(larger.D, np.nan),
                                 initial_state=np.full_like(larger.initial_state, np.nan),
                                 dY=np.full_like(larger.dY, np.nan))
    theta = network.theta
    network.theta = np.full_like(theta, np.nan)
    for operation in OPERATIONS:
        operation(network, larger, dtype, "core")
    network.theta = theta
    assert differing(first, bits(network, case, dtype)) == []


@both_dtypes
def test_four_threads_give_the_serial_bits(dtype):
    """One network for all four, and one of its own for each, at once."""
    shared = draw(SHAPES["H = 33"], choice=COVERING_CHOICES[0]).network(dtype)
    work = []
    for k in range(4):
        case = draw(SHAPES["H = 33"]._replace(T=20 + 7 * k, B=3 + k), choice=COVERING_CHOICES[0], seed=k)
        work.append((case, case.network(dtype)))
    serial = [(bits(shared, case, dtype), bits(own, case, dtype)) for case, own in work]
    barrier, wrong = threading.Barrier(4), []

    def run(k):
        case, own = work[k]
        barrier.wait()
        for _ in range(10):
            wrong.extend(differing(serial[k][0], bits(shared, case, dtype)))
            wrong.extend(differing(serial[k][1], bits(own, case, dtype)))
        finished.append(k)

    finished = []
    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == [0, 1, 2, 3] and wrong == []


class Subclass(np.ndarray):
    pass


def read_only(a, folder):
    a = a.copy()
    a.flags.writeable = False
    return a


def every_second(a, folder):
    larger = np.full([2 * n for n in a.shape], 7).astype(a.dtype)
    larger[tuple(slice(None, None, 2) for _ in a.shape)] = a
    return larger[tuple(slice(None, None, 2) for _ in a.shape)]


def negative_strides(a, folder):
    return a[::-1, ::-1].copy()[::-1, ::-1]


def unaligned(a, folder):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    result = memory[1:].view(a.dtype).reshape(a.shape)
    result[...] = a
    assert not result.flags.aligned
    return result


def memory_map(a, folder):
    path = folder / f"{len(list(folder.iterdir()))}"
    result = np.memmap(path, a.dtype, "w+", shape=a.shape)
    result[...] = a
    return result


FORMS = {
    "read-only": read_only,
    "not contiguous": every_second,
    "Fortran order": lambda a, folder: np.asfortranarray(a),
    "axes swapped": lambda a, folder: np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1),
    "negative strides": negative_strides,
    "byte-swapped": lambda a, folder: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "memory-mapped": memory_map,
    "a subclass": lambda a, folder: a.view(Subclass),
    "nested lists": lambda a, folder: a.tolist(),
    "longer numbers": lambda a, folder: a.astype(np.int64 if a.dtype.kind == "i" else np.float64),
}


@both_dtypes
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", [HEADS[0], HEADS[-1]], ids=lambda head: head.name)
def test_every_form_of_input_gives_the_bits_of_the_contiguous_copy(form, head, dtype, tmp_path):
    case = draw(SHAPES["H = 7"], head=head, choice=COVERING_CHOICES[2])
    network, data = case.network(dtype), case.data(dtype)
    if head.labels:
        data["D"] = data["D"].astype(np.int32)
    formed = {name: FORMS[form](value, tmp_path) for name, value in data.items()}
    E, gradients = network.loss_and_gradients(**data, input_gradient=True)
    E_formed, gradients_formed = network.loss_and_gradients(**formed, input_gradient=True)
    assert E_formed == E
    for name in gradients:
        assert np.array_equal(gradients_formed[name], gradients[name]) and type(gradients_formed[name]) is np.ndarray
    Y, _ = network.forward(data["X"], data["initial_state"])
    assert np.array_equal(network.forward(formed["X"], formed["initial_state"])[0], Y)
    dY = case.dY.astype(dtype)
    expected = network.backward(data["X"], dY)
    for name, gradient in network.backward(formed["X"], FORMS[form](dY, tmp_path)).items():
        assert np.array_equal(gradient, expected[name]), name
    losses = network.losses(data["X"], data["D"])
    assert np.array_equal(network.losses(formed["X"], formed["D"]), losses)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, bool])
def test_integers_are_converted(kind):
    network = draw(SMALL).network("float32")
    rng = np.random.default_rng(7)
    X, D = (rng.integers(0, 2, (6, 4, n)).astype(kind) for n in (SMALL.I, SMALL.O))
    E, gradients = network.loss_and_gradients(X, D)
    E_float, gradients_float = network.loss_and_gradients(X.astype(np.float32), D.astype(np.float32))
    assert E == E_float
    for name in gradients:
        assert np.array_equal(gradients[name], gradients_float[name])


@both_dtypes
@both_backends
def test_inputs_and_parameters_are_not_modified(backend, dtype):
    for head in (HEADS[0], HEADS[-1]):
        case = draw(SHAPES["B = 7"], head=head, choice=COVERING_CHOICES[2])
        before = [array.tobytes() for array in (case.X, case.D, case.weights, case.initial_state, case.dY)]
        network = case.network(dtype)
        theta = network.theta
        for operation in OPERATIONS:
            operation(network, case, dtype, backend)
        assert before == [array.tobytes() for array in (case.X, case.D, case.weights, case.initial_state, case.dY)]
        assert np.array_equal(network.theta, theta)
        data = case.data(dtype)
        before = {name: array.tobytes() for name, array in data.items()}
        network.loss_and_gradients(**data, input_gradient=True, backend=backend)
        assert before == {name: array.tobytes() for name, array in data.items()}


@both_dtypes
@both_backends
def test_results_are_the_callers_own(backend, dtype):
    case = draw(SHAPES["H = 7"], choice=COVERING_CHOICES[0])
    network, data = case.network(dtype), case.data(dtype)
    terms = network.gradient_terms(data["X"], data["D"], 2, backend=backend)
    _, gradients = network.loss_and_gradients(**data, input_gradient=True, initial_state_gradient=True,
                                              backend=backend)
    Y, final_state, states = network.forward(data["X"], return_states=True, backend=backend)
    results = [Y, final_state, states.S, *gradients.values(), *terms.values(),
               network.losses(data["X"], data["D"], backend=backend)]
    for k, result in enumerate(results):
        assert type(result) is np.ndarray and result.dtype == dtype
        assert result.flags.writeable and result.flags.c_contiguous and result.flags.aligned
        for other in [*results[:k], data["X"], data["D"], *network.parameters.values()]:
            assert not np.shares_memory(result, other)
    copies = [result.copy() for result in results]
    for operation in OPERATIONS:
        operation(network, case, dtype, backend)
    for result, copy in zip(results, copies):
        assert np.array_equal(result, copy)


@both_dtypes
@pytest.mark.parametrize("steps", [0, 1, 9, 3000])
@pytest.mark.parametrize("options", [{}, {"hidden_size": (4, 3)}, {"output": "last"}, {"rate_penalty": 0.1}],
                         ids=["plain", "layers", "last", "rates"])
def test_a_call_of_inputs_and_targets_alone_is_the_one_that_says_everything(options, steps, dtype):
    last = options.get("output") == "last"
    if last and steps == 0:
        pytest.skip("there is no last step")
    rng = np.random.default_rng(0)
    net = RNN(3, **{"hidden_size": 4, "output_size": 2, **options}, dtype=dtype, random_state=0)
    X = rng.standard_normal((steps, 2, 3)).astype(dtype)
    D = rng.standard_normal((2, 2) if last else (steps, 2, 2)).astype(dtype)
    everything = {"initial_state": None, "weights": None, "lengths": None, "resets": None, "tbptt": None,
                  "memory_limit": None, "input_gradient": False, "initial_state_gradient": False, "noise": False,
                  "dropout": False, "n_threads": 1, "backend": "core"}
    E, gradients = net.loss_and_gradients(X, D, **everything)
    whole = np.full(2, steps)
    for given, more in [((X, D), {}), ((X, D), {"n_threads": 2}), ((X, D), {"n_threads": np.int64(1)}),
                        ((X, D), {"lengths": whole}), ((X.tolist(), D), {})][:5 if steps else 4]:  # the last is converted
        E_alone, alone = net.loss_and_gradients(*given, **more)
        assert E_alone == E and list(alone) == list(gradients)
        for name in gradients:
            assert alone[name].tobytes() == gradients[name].tobytes(), name


def test_a_call_without_targets_is_refused_in_python_s_words():
    net = RNN(3, 4, 2)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'D'"):
        net.loss_and_gradients(np.zeros((1, 1, 3)))
    with pytest.raises(TypeError, match="unexpected keyword argument 'weigths'"):
        net.loss_and_gradients(np.zeros((1, 1, 3)), np.zeros((1, 1, 2)), weigths=None)
    for n_threads, kind in ((0, ValueError), (-1, ValueError), (2**40, ValueError), (True, TypeError), (1.0, TypeError)):
        with pytest.raises(kind, match="n_threads"):
            net.loss_and_gradients(np.zeros((1, 1, 3)), np.zeros((1, 1, 2)), n_threads=n_threads)


@both_backends
def test_extra_gradients_come_only_when_asked_for(backend):
    case = draw(SMALL, choice=COVERING_CHOICES[0])
    network = case.network()
    names = list(network.parameters)
    assert names == list(case.parameters)
    assert list(network.loss_and_gradients(case.X, case.D, backend=backend)[1]) == names
    assert list(network.loss_and_gradients(case.X, case.D, input_gradient=True, backend=backend)[1]) == [*names, "X"]
    assert list(network.loss_and_gradients(case.X, case.D, initial_state_gradient=True, backend=backend)[1]) == \
        [*names, "initial_state"]
    assert list(network.backward(case.X, case.dY, backend=backend)) == names
    assert len(network.forward(case.X, backend=backend)) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Training and optimisation
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [HEADS[0], HEADS[-1]], ids=lambda head: head.name)
@pytest.mark.parametrize("optimizer", [optimizers.SGD(0.05, momentum=0.9), optimizers.Adam(0.01)], ids=repr)
def test_ten_training_losses_agree(optimizer, head):
    case = draw(SHAPES["B = 13"], head=head, choice=COVERING_CHOICES[0])
    histories = {}
    for backend in ("core", "reference"):
        for dtype in DTYPES:
            histories[backend, dtype] = case.network(dtype).fit(
                case.X, case.D, epochs=10, batch_size=13, optimizer=optimizer, max_grad_norm=0.5, progress=False,
                random_state=0, backend=backend)
    truth = np.array(histories["reference", "float64"].train_loss)
    assert len(truth) == 10 and truth[-1] < truth[0]
    assert_close(histories["core", "float64"].train_loss, truth, 1e-11, "training losses", case)
    assert_close(histories["core", "float64"].gradient_norm, histories["reference", "float64"].gradient_norm, 1e-10,
                 "gradient norms", case)
    for backend in ("core", "reference"):
        assert_close(histories[backend, "float32"].train_loss, truth, 1e-5, f"float32 losses of {backend}", case)


@both_backends
@pytest.mark.parametrize("head", [HEADS[0], HEADS[-1], HEADS[-2]], ids=lambda head: head.name)
def test_objective_passes_check_grad_of_scipy(head, backend):
    case = draw(SHAPES["two steps"], head=head, choice=COVERING_CHOICES[2])
    network = case.network()
    fun = network.objective(**case.data(), backend=backend)
    gradient = fun(network.theta)[1]
    error = scipy.optimize.check_grad(lambda theta: fun(theta)[0], lambda theta: fun(theta)[1], network.theta)
    assert error < 1e-6 * np.linalg.norm(gradient)


@both_backends
def test_objective_leaves_the_network_alone_and_orders_as_theta(backend):
    case = draw(SMALL, choice=COVERING_CHOICES[0])
    network = case.network()
    theta = network.theta
    E, gradient = network.objective(case.X, case.D, backend=backend)(theta + 0.125)
    assert np.array_equal(network.theta, theta)
    network.theta = theta + 0.125
    E_moved, gradients = network.loss_and_gradients(case.X, case.D, backend=backend)
    assert E == E_moved
    assert np.array_equal(gradient, np.concatenate([value.ravel() for value in gradients.values()]))


@both_dtypes
def test_lbfgs_of_scipy_lowers_the_loss(dtype):
    case = draw(SHAPES["discriminating"])
    network = case.network(dtype)
    before = network.evaluate(case.X, case.D)
    result = scipy.optimize.minimize(network.objective(case.X, case.D), network.theta, jac=True, method="L-BFGS-B",
                                     options={"maxiter": 30})
    network.theta = result.x
    assert network.evaluate(case.X, case.D) == pytest.approx(result.fun, rel=1e-6)
    assert result.fun < 0.5 * before


OPTIMIZERS = [
    optimizers.SGD(0.1), optimizers.SGD(0.1, momentum=0.9), optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    optimizers.RMSprop(0.01), optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-3), optimizers.Adagrad(0.1),
    optimizers.Adagrad(0.1, epsilon=1e-3), optimizers.Adam(0.05),
    optimizers.Adam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3), optimizers.AdamW(0.05),
    optimizers.AdamW(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3, weight_decay=0.5),
]


def ten_updates(optimizer, start, gradients, dtype, backend):
    theta = start.astype(dtype)
    slots = optimizer.slots(theta)
    for count, gradient in enumerate(gradients.astype(dtype), 1):
        before = gradient.copy()
        optimizer.update(theta, gradient, slots, count, backend=backend)
        assert np.array_equal(gradient, before)
    return {"theta": theta, **{f"slot {k}": slot for k, slot in enumerate(slots)}}


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_ten_updates_agree_with_the_reference(optimizer, size):
    rng = np.random.default_rng(8)
    start, gradients = (rng.normal(size=shape).astype(np.float32).astype(float) for shape in (size, (10, size)))
    gradients[:, 0] = 0  # an entry that never gets a gradient
    truth = ten_updates(optimizer, start, gradients, "float64", "reference")
    rough = ten_updates(optimizer, start, gradients, "float32", "reference")
    for name, value in ten_updates(optimizer, start, gradients, "float64", "core").items():
        assert_close(value, truth[name], 1e-14, name, optimizer)
    for name, value in ten_updates(optimizer, start, gradients, "float32", "core").items():
        assert value.dtype == np.float32
        assert_close_in_float32(value, error_of(rough[name], truth[name]), truth[name], name, optimizer)


@both_dtypes
@pytest.mark.parametrize("size", [0, 1, 7, 64, 1000])
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e6, np.inf])
def test_clipping_agrees_with_the_reference(size, max_norm, dtype):
    gradient = np.random.default_rng(9).normal(size=size).astype(dtype)
    expected, norm = reference.clip_norm(gradient.copy(), max_norm)
    clipped, norm_core = _core.clip_norm(gradient.copy(), max_norm)
    assert norm_core == pytest.approx(norm, rel=1e-14 if dtype == "float64" else 1e-7)
    assert clipped.dtype == dtype
    assert_close(clipped, expected, 4 * np.finfo(dtype).eps, "the clipped gradient")
    if norm <= max_norm:
        assert np.array_equal(clipped, gradient)


@pytest.mark.parametrize("dtype, sizes", [("float64", (1e300, 1e-300)), ("float32", (1e37, 1e-37))])
def test_norm_neither_overflows_nor_underflows(dtype, sizes):
    for size in sizes:
        gradient = (np.array([3.0, 0.0, -4.0]) * size).astype(dtype)
        clipped, norm = _core.clip_norm(gradient.copy(), np.inf)
        assert norm == pytest.approx(5 * size, rel=1e-6) and np.array_equal(clipped, gradient)
        clipped, norm = _core.clip_norm(gradient.copy(), size)
        assert norm == pytest.approx(5 * size, rel=1e-6)
        assert_close(clipped / dtype_of(dtype)(size), np.array([0.6, 0.0, -0.8]), 4 * np.finfo(dtype).eps, "clipped")


def dtype_of(name):
    return np.dtype(name).type


def test_norm_of_zeros_and_nonfinite_gradients():
    for clip_norm in (_core.clip_norm, reference.clip_norm):
        assert clip_norm(np.zeros(3), 1.0)[1] == 0
        assert np.isnan(clip_norm(np.array([1.0, np.nan, 2.0]), 1.0)[1])
        assert np.isnan(clip_norm(np.array([np.nan, 1.0]), 1.0)[1])
        assert clip_norm(np.array([1.0, -np.inf]), 1.0)[1] == np.inf


@pytest.mark.parametrize("clip_norm", [reference.clip_norm, _core.clip_norm], ids=["reference", "core"])
@pytest.mark.parametrize(("gradient", "dtype", "max_norm", "norm", "clipped"), [
    ([1.5e308] * 1000, "float64", 1.0, np.finfo(float).max, [1000**-0.5] * 1000),
    ([3e38, 4e38 / 2], "float32", 1e-6, 13**0.5 * 1e38, [3 / 13**0.5 * 1e-6, 2 / 13**0.5 * 1e-6]),
    ([3e-300, 4e-300], "float64", 1e-300, 5e-300, [0.6e-300, 0.8e-300]),
    ([3e-300, 4e-300], "float64", 1.0, 5e-300, [3e-300, 4e-300]),
])
def test_clipping_neither_overflows_nor_underflows(clip_norm, gradient, dtype, max_norm, norm, clipped):
    result, found = clip_norm(np.array(gradient, dtype), max_norm)
    np.testing.assert_allclose(found, norm, rtol=1e-6)
    np.testing.assert_allclose(result, clipped, rtol=1e-6)


@pytest.mark.parametrize("choice", COVERING_CHOICES, ids=lambda c: f"{c.weights}, {c.reduction}, given={c.given}")
def test_every_operation_for_one_sequence_of_a_wide_network(choice):
    """Products of a matrix with one row, too large for plain loops."""
    check(draw(SMALL._replace(T=4, B=1, I=33, H=65, O=30), choice=choice))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("largest", range(4))
def test_softmax_with_cross_entropy_is_finite_wherever_the_largest_output_stands(largest, labels, dtype):
    Z = np.array([-1000.0, 3.0, 900.0, 998.0])
    Z[largest] = 1000
    network = RNN(1, 1, 4, loss="cross_entropy", output_activation="softmax", dtype=dtype, random_state=0)
    network.parameters["W_y"], network.parameters["b_y"] = np.zeros((4, 1)), Z
    X = np.ones((1, 1, 1))
    for target in range(4):
        D = np.array([[target]]) if labels else np.eye(4)[target].reshape(1, 1, 4)
        E, gradients = network.loss_and_gradients(X, D)
        softmax = np.exp(Z - 1000) / np.exp(Z - 1000).sum()
        np.testing.assert_allclose(E, np.log(np.exp(Z - 1000).sum()) + 1000 - Z[target], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradients["b_y"], softmax - np.eye(4)[target], rtol=1e-6, atol=1e-30)


# ---- Weights near the limits of their type

LIMITS = {"float32": [1.3e-38, 1e-37, 1e-36, 1e19, 1e36], "float64": [3e-308, 1e-306, 1e305]}
REDUCED = [{}, {"reduction": "sum"}, {"reduction": "sum", "rate_penalty": 0.1}, {"hidden_size": (6, 5), "reduction": "sum"},
           {"hidden_size": (6, 5), "bidirectional": True}, {"output": "last", "reduction": "sum"},
           {"output_activation": "softmax", "loss": "cross_entropy", "reduction": "sum"},
           {"output_activation": "sigmoid", "loss": "binary_cross_entropy"}]


def weighted(options, dtype):
    """A network, X and D, and weights of about 1, a step's and an output's."""
    rng = np.random.default_rng(11)
    net = RNN(3, **{"hidden_size": 6, "output_size": 2, "dtype": dtype, "random_state": 0, **options})
    steps = (4,) if net.output == "last" else (7, 4)
    X, D = rng.standard_normal((7, 4, 3)).astype(dtype), rng.uniform(0.1, 1, (*steps, 2))
    weights = [rng.uniform(1, 1.5, steps)]
    if net.loss == "cross_entropy":
        D /= D.sum(axis=-1, keepdims=True)
    else:
        weights.append(rng.uniform(1, 1.5, (*steps, 2)) * rng.integers(0, 2, (*steps, 2)))
    return net, X, D.astype(dtype), weights


@pytest.mark.parametrize("options", REDUCED, ids=str)
@pytest.mark.parametrize("dtype", LIMITS)
def test_weights_near_the_limits_of_their_type_lose_nothing(options, dtype):
    net, X, D, weights = weighted(options, dtype)
    tiny = np.finfo(dtype).tiny
    for size in LIMITS[dtype]:
        for m in weights:
            m = (m * size).astype(dtype)
            loss, gradients = net.loss_and_gradients(X, D, weights=m, input_gradient=True)
            right, expected = net.loss_and_gradients(X, D, weights=m, input_gradient=True, backend="reference")
            assert loss == pytest.approx(right, rel=1e-6 if dtype == "float32" else 1e-12), size
            assert net.evaluate(X, D, weights=m) == pytest.approx(
                net.evaluate(X, D, weights=m, backend="reference"), rel=1e-6 if dtype == "float32" else 1e-12)
            # The core flushes subnormal numbers. Where weights are not scaled, each of a sum's T B products may be one.
            flushed = 4 if not net.rate_penalty else X.shape[0] * X.shape[1]
            for name, gradient in gradients.items():
                atol = flushed * tiny + (2e-5 if dtype == "float32" else 1e-12) * np.abs(expected[name]).max()
                np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=atol, err_msg=f"{name} {size}")


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}], ids=["mean", "sum"])
def test_a_power_of_two_of_all_weights_changes_no_digit(options, dtype):
    """Neither where weights are scaled nor where they are not."""
    net, X, D, weights = weighted(options, dtype)
    for m in weights:
        m = m.astype(dtype)
        loss, gradients = net.loss_and_gradients(X, D, weights=m)
        for exponent in ((-90, -50, 50, 90) if dtype == "float32" else (-900, -400, 400, 900)):
            factor = 1 if net.reduction == "mean" else 2.0**exponent
            scaled, others = net.loss_and_gradients(X, D, weights=m * np.dtype(dtype).type(2.0**exponent))
            assert scaled == loss * factor
            for name in gradients:
                assert np.array_equal(others[name], gradients[name] * np.dtype(dtype).type(factor)), (name, exponent)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("backend", ["core", "reference"])
def test_a_weight_that_is_no_normal_number_is_none(dtype, backend):
    net, X, D, (m, _) = weighted({}, dtype)
    m = (m * np.finfo(dtype).tiny).astype(dtype)
    none, below = m.copy(), m.copy()
    none[::2], below[::2], D[::2] = 0, np.finfo(dtype).tiny / 4, np.nan
    loss, gradients = net.loss_and_gradients(X, D, weights=none, backend=backend)
    found, others = net.loss_and_gradients(X, D, weights=below, backend=backend)
    assert found == loss > 0 and all(np.array_equal(gradients[name], others[name]) for name in gradients)


def test_training_and_gradient_flow_with_tiny_weights_are_those_with_weights_of_one_size():
    net, X, D, (m, _) = weighted({}, "float32")
    histories, nets = [], [RNN(3, 6, 2, dtype="float32", random_state=0) for _ in "ab"]
    for one, factor in zip(nets, (1, 2.0**-120)):
        weights = m.astype(np.float32) * np.float32(factor)
        histories.append(one.fit(X, D, weights=weights, validation=(X, D, weights), epochs=3, batch_size=2))
    assert np.array_equal(nets[0].theta, nets[1].theta)
    assert histories[0].validation_loss == histories[1].validation_loss
    np.testing.assert_allclose(histories[0].train_loss, histories[1].train_loss, rtol=1e-14)
    wide = RNN(3, 6, 2, dtype="float64", random_state=0)
    flows = [diagnostics.gradient_flow(wide, X, D, weights=m * factor).norms / factor for factor in (1, 2.0**-1015)]
    np.testing.assert_allclose(*flows, rtol=1e-14)
