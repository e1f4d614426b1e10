"""The protocol of the backends: each class has its methods, with the same arguments, and the results are of its form."""

import inspect

import numpy as np
import pytest

from fastbptt import RNN, _core
from fastbptt.backends import protocol
from fastbptt.backends.reference import ReferenceBackend
from fastbptt.backends.stack import Stack


def methods(*protocols):
    return {name: function for each in protocols for name, function in vars(each).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind, protocols", [
    (_core.Engine, (protocol.Backend, protocol.OneRecurrence, protocol.Compiled)), (Stack, (protocol.Backend, protocol.Compiled)),
    (ReferenceBackend, (protocol.Backend, protocol.OneRecurrence))])
def test_a_backend_has_the_methods_of_its_protocol_with_the_same_arguments(kind, protocols):
    for name, function in methods(*protocols).items():
        try:
            own = inspect.signature(getattr(kind, name)).parameters
        except ValueError:  # compiled without its signature: mypy compares the stub
            continue
        expected = inspect.signature(function).parameters
        assert [(each.name, each.default) for each in own.values()] == [(each.name, each.default) for each in expected.values()]


def test_the_fields_of_a_batch_are_the_arguments_of_every_operation_on_data():
    for name, function in methods(protocol.Backend, protocol.OneRecurrence, protocol.Compiled).items():
        if name in ("step", "penalize", "workspace", "gradient_flow"):
            continue
        arguments = [*inspect.signature(function).parameters][2:8]  # without self and theta
        assert arguments == ["dY" if (field, name) == ("D", "backward") else field for field in protocol.Batch._fields]


def test_methods_of_the_parts_of_rnn_are_shown_as_those_of_rnn():
    for name in ("fit", "save", "from_torch", "forward"):
        method = getattr(RNN, name)
        assert (method.__module__, method.__qualname__) == ("fastbptt.network", f"RNN.{name}")
    with pytest.raises(TypeError, match=r"^RNN\.train_step\(\) "):
        RNN(1, 2, 1).train_step()


@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("sizes", [3, (3, 2)])
def test_results_have_the_form_that_the_protocol_says(backend, sizes):
    net = RNN(2, sizes, 1, dtype="float64", l2=0.1, random_state=0)
    engine, rng = net._engines[backend], np.random.default_rng(0)
    batch = protocol.Batch(rng.standard_normal((4, 5, 2)), rng.standard_normal((4, 5, 1)), None, None, None, None)
    gradient = np.full(len(net.theta), np.nan)
    error, penalties = engine.loss_into(net.theta, *batch, gradient, 0, 1)
    loss, gradients = engine.loss_and_gradients(net.theta, *batch, None, 0, False, False, 1)
    assert error + penalties == pytest.approx(loss) and error == pytest.approx(engine.evaluate(net.theta, *batch, 1))
    assert np.concatenate([value.ravel() for value in gradients.values()]) == pytest.approx(gradient)
    added = np.zeros_like(gradient)
    assert engine.penalize(net.theta, added) == pytest.approx(penalties) and added.any()
    assert engine.losses(net.theta, *batch, 1).mean() == pytest.approx(error)
    Y, final_state, S = engine.forward(net.theta, *batch, True, 1)
    assert Y.shape == (4, 5, 1) and isinstance(final_state, tuple) == isinstance(S, tuple) == isinstance(sizes, tuple)


def test_the_engine_modifies_nothing_if_an_argument_is_wrong():
    net, gradient = RNN(2, 3, 1), np.full(22, 7, np.float32)
    X = np.zeros((4, 5, 2))  # float64, and the network is float32
    D = np.zeros((4, 5, 1), np.float32)
    found = net._engines["core"].loss_into(net.theta, X, D, None, None, None, None, gradient, 0, 1)
    assert found is NotImplemented and (gradient == 7).all()
