"""What mutate.py showed to be unprotected: kinks, large products of one row, the order of outputs, labels, signals."""

import signal

import cases
import numpy as np
import pytest
from cases import SHAPES, Shape, assert_close, draw, zeros

from fastbptt import RNN

both_backends = pytest.mark.parametrize("backend", ["reference", "core"])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def gradients_at_zero(dtype, backend, *, D, weights=None, reduction="sum", **options):
    """∂E/∂ of the biases of a network whose state and output are zero but for g1(0) and b_y = 0."""
    network = RNN(1, 1, options.pop("output_size", 1), reduction=reduction, dtype=dtype, initializer=zeros,
                  random_state=0, **options)
    network.parameters["W_y"] = np.ones_like(network.parameters["W_y"])
    return network.loss_and_gradients(np.zeros((1, 1, 1)), D, weights=weights, backend=backend)[1]


# ---- At a kink both backends take the same of the two slopes


@both_backends
@both_dtypes
@pytest.mark.parametrize("activation, slope", [("relu", 0), ("leaky_relu", 0.01), ("elu", 1)])
def test_slope_of_the_activation_at_zero_is_that_of_the_left(activation, slope, dtype, backend):
    gradient = gradients_at_zero(dtype, backend, D=np.full((1, 1, 1), -0.5), activation=activation)["b_s"]
    assert gradient == pytest.approx([slope], rel=1e-6)


@both_backends
@both_dtypes
@pytest.mark.parametrize("loss", ["absolute_error", "huber", ("quantile", 0.25)])
def test_an_error_of_zero_has_gradient_zero(loss, dtype, backend):
    gradients = gradients_at_zero(dtype, backend, D=np.zeros((1, 1, 1)), loss=loss)
    assert all((gradient == 0).all() for gradient in gradients.values())


@both_backends
@both_dtypes
@pytest.mark.parametrize("loss, below, above", [("absolute_error", 1, -1), (("quantile", 0.25), 0.75, -0.25)])
def test_slope_of_the_loss_is_the_same_close_to_zero_as_far_from_it(loss, below, above, dtype, backend):
    """For targets below and above an output of zero."""
    for size in (1e-30, 1e-3, 0.5, 1e3):
        for D, slope in ((-size, below), (size, above)):
            assert gradients_at_zero(dtype, backend, D=np.full((1, 1, 1), D), loss=loss)["b_y"] == [slope]


# ---- Products of one row that are large enough for BLAS, whose gemv serves them

ONE_ROW = {
    "one sequence": Shape(4, 1, 30, 40, 20, "a row of states, X or delta times a matrix"),
    "one output": Shape(40, 8, 5, 16, 1, "dW_y is a row, and delta_y a column that is read with a stride"),
    "one hidden unit": Shape(60, 16, 12, 1, 1, "dW_x is a row"),
}


@both_dtypes
@pytest.mark.parametrize("shape", ONE_ROW.values(), ids=list(ONE_ROW))
def test_large_products_of_one_row(shape, dtype):
    case = draw(shape, choice=cases.COVERING_CHOICES[0])
    gradients, truth = (case.network(kind).loss_and_gradients(**case.data(kind), input_gradient=True, backend=backend)[1]
                        for kind, backend in ((dtype, "core"), ("float64", "reference")))
    for name in truth:
        assert_close(gradients[name], truth[name], 1e-11 if dtype == "float64" else 1e-5, f"∂E/∂{name}", case)


# ---- The largest output of a softmax


@both_backends
@both_dtypes
@pytest.mark.parametrize("output_size", [2, 3, 5])
def test_softmax_is_stable_wherever_its_largest_input_stands(output_size, dtype, backend):
    network = RNN(1, 1, output_size, loss="cross_entropy", output_activation="softmax", reduction="sum", dtype=dtype,
                  initializer=zeros, random_state=0)
    X = np.zeros((1, 1, 1))
    for largest, label in np.ndindex(output_size, output_size):
        Z = np.linspace(-1000, 0, output_size)
        Z[largest] = 1000
        network.parameters["b_y"] = Z
        Y, D = np.eye(output_size)[[largest, label]]
        for targets in (np.array([[label]]), D[None, None]):
            E, gradients = network.loss_and_gradients(X, targets, backend=backend)
            assert E == pytest.approx(1000 - Z[label], rel=1e-6)
            assert gradients["b_y"].tolist() == (Y - D).tolist()
        assert network.forward(X, backend=backend)[0].ravel().tolist() == Y.tolist()


# ---- Labels


@both_dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("label", [-1, 4])
def test_label_of_no_class_is_refused_at_every_place(label, weighted, dtype):
    case = draw(SHAPES["two steps"]._replace(O=4), head=cases.HEADS[-1], choice=cases.COVERING_CHOICES[0])
    network = case.network(dtype)
    weights = np.ones(case.D.shape, dtype) if weighted else None
    X = case.X.astype(dtype)  # ready for the core, whose own check this is about
    for place in np.ndindex(case.D.shape):
        D = case.D.astype(np.intp)
        D[place] = label
        with pytest.raises(ValueError, match=str(label)):
            network.loss_and_gradients(X, D, weights=weights)


@both_backends
@both_dtypes
def test_label_of_no_class_is_legal_where_there_is_one_class_and_no_weight(dtype, backend):
    gradients = gradients_at_zero(dtype, backend, D=np.array([[-1]]), weights=np.zeros((1, 1)), loss="cross_entropy",
                                  output_activation="softmax")
    assert not any(gradient.any() for gradient in gradients.values())


# ---- Ctrl-C inside a call


class Stop(Exception):
    pass


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.parametrize("operation", ["loss_and_gradients", "gradient_terms"])
def test_an_exception_of_a_signal_handler_ends_a_call_wherever_it_comes(operation):
    """Forward, backward, or between: the exception itself comes out, and the next call gives the right numbers."""
    case = draw(SHAPES["one step"]._replace(T=12000, B=8, H=16), choice=cases.COVERING_CHOICES[0])
    network = case.network()
    small = np.s_[:3]
    expected = network.loss_and_gradients(case.X[small], case.D[small])[0]

    def stop(number, frame):
        raise Stop

    def call():
        if operation == "gradient_terms":
            network.gradient_terms(case.X, case.D, -1)
        else:
            network.loss_and_gradients(case.X, case.D)

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for k in range(1, 25):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.01 * k)
                while True:
                    call()
            except Stop:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert network.loss_and_gradients(case.X[small], case.D[small])[0] == expected
    finally:
        signal.signal(signal.SIGALRM, before)
