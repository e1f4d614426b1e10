"""The declaration of the options of RNN: signatures, files and backends are those of its rows."""

import inspect

import numpy as np
import pytest

from fastbptt import RNN, Population, RNNClassifier, RNNRegressor, _core, reference
from fastbptt.options import declaration, for_backends
from fastbptt.options.declaration import OPTIONS, REQUIRED

OWN_DEFAULTS = {"activation": None, "initializer": None}  # of the estimators, which choose


def test_the_signature_of_rnn_is_the_declaration():
    signature = {name: each.default for name, each in inspect.signature(RNN).parameters.items()}
    declared = {option.name: option.default if option.default is not REQUIRED else inspect.Parameter.empty
                for option in OPTIONS}
    assert list(signature.items()) == list(declared.items())


@pytest.mark.parametrize("kind", [RNNRegressor, RNNClassifier])
def test_estimators_have_the_options_that_the_declaration_hands_to_their_network(kind):
    signature = inspect.signature(kind).parameters
    expected = {option.name: option.default for option in OPTIONS if option.estimators} | OWN_DEFAULTS
    expected["output"] = "last" if kind is RNNClassifier else "sequence"
    assert {name: signature[name].default for name in expected} == expected


def test_a_network_keeps_the_checked_options_in_the_order_of_the_declaration():
    net = RNN(1, 2, 1)
    kept = declaration.names(lambda option: option.check is not None)
    assert tuple(net._config) == kept
    assert all(declaration.is_default(name, value) for name, value in net._config.items() if name not in kept[:3])
    changed = RNN(1, 2, 1, leak=0.5, l1={"W_s": 0.1}, output="last", connectivity={"W_s": np.eye(2)}, dale_signs=[1, -1])
    assert [name for name, value in changed._config.items() if not declaration.is_default(name, value)] == [
        *kept[:3], "output", "l1", "connectivity", "dale_signs", "leak"]


def test_a_configuration_that_lacks_later_options_gets_their_defaults():
    net = RNN(1, 2, 1, bias=False)
    config = {name: value for name, value in net._config.items() if name not in ("leak", "rate_penalty", "autapses")}
    assert declaration.completed(config) == net._config


def test_keywords_of_backends_are_those_that_they_take():
    net = RNN(2, 3, 2, loss=("quantile", (0.1, 0.9)), noise_std=0.1, leak=0.5, l2=0.1, dale_ratio=0.5)
    shapes = {name: value.shape for name, value in net.parameters.items()}
    core = for_backends.for_core(net._config, shapes, net._maps)
    _core.Engine(I=2, H=3, O=2, **core)
    with pytest.raises(TypeError, match="unknown"):
        _core.Engine(I=2, H=3, O=2, **core, unknown=1)
    assert core["K"] == 1 and core["noise"] == pytest.approx(0.2) and core["l2"] == dict.fromkeys(("W_x", "W_s", "W_y"), 0.1)
    taken = {*inspect.signature(reference.loss_and_gradients).parameters, *reference.Units._fields}
    assert set(for_backends.for_reference(net._config, shapes, net._maps)) <= taken


def test_every_kept_option_reaches_both_backends_or_is_seen_in_the_parameters():
    converted = {"loss", "l1", "l2", "noise_std", "input_noise_std", "reduction", "output"}  # by for_backends.py
    in_parameters = {"input_size", "hidden_size", "output_size", "dtype", "bias", "learn_initial_state", "bidirectional",
                     "forget_bias"}
    ids = {"one_hot"}  # the reference sees by the dtype of X whether they are ids
    kept = [option for option in OPTIONS if option.check is not None and not option.constrains and option.name not in converted]
    assert [option.name for option in kept if not option.core and option.name not in in_parameters] == []
    assert [option.name for option in kept if not option.reference and option.name not in in_parameters | ids] == []


def test_populations_compute_in_lanes_what_the_declaration_says():
    for options in ({}, {"cell": "gru"}, {"cell": "gru", "reset_after": False}, {"cell": "lstm", "forget_bias": 2.0}):
        assert Population(8, 1, 2, 1, **options)._lanes is not None or not _core.lane_kernels()
    assert Population(8, 1, 2, 1, leak=0.5)._lanes is None
