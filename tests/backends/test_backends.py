"""The protocol of the backends: each class has its methods, with the same arguments, and the results are of its form."""

import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from fastbptt import RNN, _core
from fastbptt.backends import arguments, protocol
from fastbptt.backends.arguments import Batch, CallOptions, KnownStates
from fastbptt.backends.reference import ReferenceBackend
from fastbptt.backends.stack import Stack


def methods(*protocols):
    return {name: function for each in protocols for name, function in vars(each).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind, protocols", [
    (_core.Engine, (protocol.Backend, protocol.OneRecurrence, protocol.Compiled)),
    (Stack, (protocol.Backend, protocol.Compiled)), (ReferenceBackend, (protocol.Backend, protocol.OneRecurrence))])
def test_a_backend_has_the_methods_of_its_protocol_with_the_same_arguments(kind, protocols):
    for name, function in methods(*protocols).items():
        try:
            own = inspect.signature(getattr(kind, name)).parameters
        except ValueError:  # compiled without its signature: mypy compares the stub
            continue
        expected = inspect.signature(function).parameters
        assert [(each.name, each.default) for each in own.values()] == [(each.name, each.default) for each in expected.values()]


def test_every_operation_on_data_begins_with_a_batch_and_options():
    for name, function in methods(protocol.Backend, protocol.OneRecurrence, protocol.Compiled).items():
        if name in ("step", "penalize", "workspace"):
            continue
        names = [*inspect.signature(function).parameters][1:4]  # without self
        assert names == ["theta", "batch", "options"][:2 if name == "total_weight" else 3]


def test_the_core_reads_the_fields_of_each_object_in_the_order_of_their_definition():
    found = {}
    for file in ("engine/train.pxi", "_population.pyx"):
        text = (Path(arguments.__file__).parents[1] / file)
        if not text.exists():
            pytest.skip("no sources beside the tests")
        for names, of in re.findall(r"^ +([\w, .]+) = (\w+)(?:  #.*)?$", text.read_text(encoding="utf-8"), re.MULTILINE):
            if names.count(",") >= 2:
                found.setdefault(of, []).append([name.strip() for name in names.split(",")])
    # What the core calls a field that has another name in the definition. An underscore skips a field.
    names = {"max_grad_norm": "max_norm", "rows": "order", "held_batch": "batch", "t.begun": "begun",
             "t.patience": "patience", "t.min_improvement": "min_improvement"}
    for of, kind in (("updates", arguments.Updates), ("buffers", arguments.UpdateMemory), ("learners", arguments.Learners),
                     ("validation", arguments.Validation)):
        assert found[of]
        for fields in found[of]:
            assert all(name in ("_", field) or names.get(name) == field for name, field in zip(fields, kind._fields, strict=True))


BATCH = {"X": 1, "D": 2, "weights": 3, "initial_state": 4, "lengths": 5, "resets": 6}
OPTIONS = {"n_threads": 1, "memory_limit": 2**40, "draws": "keys", "tbptt": (3, 4), "input_gradient": True,
           "initial_state_gradient": True}
KNOWN = {"S": 1, "R": 2, "S_0": 3, "own_start": True}


@pytest.mark.parametrize("kind, fields, defaults", [
    (Batch, BATCH, dict.fromkeys(BATCH, None) | {"X": 1}),
    (KnownStates, KNOWN, {"S": 1, "R": None, "S_0": None, "own_start": False}),
    (CallOptions, OPTIONS, {"n_threads": 0, "memory_limit": 0, "draws": None, "tbptt": None, "input_gradient": False,
                            "initial_state_gradient": False})])
def test_objects_keep_their_fields_which_cannot_be_set_anew(kind, fields, defaults):
    def read(made):
        return {name: getattr(made, name) for name in fields}

    assert read(kind(**fields)) == read(kind(*fields.values())) == fields
    required = [1] if "S" in fields or "X" in fields else []
    assert read(kind(*required)) == defaults
    for name in fields:
        with pytest.raises(AttributeError):
            setattr(kind(*required), name, 0)
        if hasattr(kind, "replace"):
            assert read(kind(*required).replace(**{name: fields[name]})) == defaults | {name: fields[name]}
    with pytest.raises(TypeError, match="unexpected keyword"):
        kind(**fields, other=1)


def test_a_batch_yields_its_fields_and_is_copied_to_workers():
    batch = Batch(**BATCH)
    assert [*batch] == [*pickle.loads(pickle.dumps(batch))] == [*BATCH.values()]
    with pytest.raises(TypeError, match="unexpected keyword argument 'Y'"):
        batch.replace(Y=1)


@pytest.mark.parametrize("batch, options", [
    (None, CallOptions()), ((1, 2), CallOptions()), (Batch(1), None), (Batch(1), (1, 0))])
def test_the_core_takes_no_other_objects(batch, options):
    net = RNN(1, 2, 1)
    with pytest.raises(TypeError, match="has incorrect type|must not be None"):
        net._engines["core"].forward(net._theta, batch, options, False)


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
    batch, options = Batch(rng.standard_normal((4, 5, 2)), rng.standard_normal((4, 5, 1))), CallOptions(1)
    gradient = np.full(len(net.theta), np.nan)
    error, penalties = engine.loss_into(net.theta, batch, options, gradient)
    loss, gradients = engine.loss_and_gradients(net.theta, batch, options)
    assert error + penalties == pytest.approx(loss) and error == pytest.approx(engine.evaluate(net.theta, batch, options))
    assert np.concatenate([value.ravel() for value in gradients.values()]) == pytest.approx(gradient)
    added = np.zeros_like(gradient)
    assert engine.penalize(net.theta, added) == pytest.approx(penalties) and added.any()
    assert engine.losses(net.theta, batch, options).mean() == pytest.approx(error)
    Y, final_state, S = engine.forward(net.theta, batch, options, True)
    assert Y.shape == (4, 5, 1) and isinstance(final_state, tuple) == isinstance(S, tuple) == isinstance(sizes, tuple)


def test_the_engine_modifies_nothing_if_an_argument_is_wrong():
    net, gradient = RNN(2, 3, 1), np.full(22, 7, np.float32)
    X = np.zeros((4, 5, 2))  # float64, and the network is float32
    D = np.zeros((4, 5, 1), np.float32)
    found = net._engines["core"].loss_into(net.theta, Batch(X, D), CallOptions(1), gradient)
    assert found is NotImplemented and (gradient == 7).all()
