"""Parameters go to PyTorch's, Keras' and PsychRNN's names and back, in their layouts; nothing of the three is needed here.

tests/network/test_peers.py holds the results against PyTorch and Keras themselves.
"""


import numpy as np
import pytest
from processes import run_python

from fastbptt import RNN, convert

pytestmark = pytest.mark.quick
T, B, I, H, O = 4, 3, 2, 5, 6


def network(**options):
    net = RNN(I, H, O, **{"dtype": "float64", "random_state": 0, **options})
    net.theta = np.random.default_rng(1).standard_normal(net.theta.size)
    return net


def stack(sizes, bidirectional=False, **biases):
    """Parameters of a stack under our names."""
    rng = np.random.default_rng(2)
    directions, inputs, p = ("", "_reverse")[:1 + bidirectional], I, {}
    for k, size in enumerate(sizes):
        for reverse in directions:
            suffix = (f"_l{k}" if k else "") + reverse
            p |= {"W_x" + suffix: rng.normal(size=(size, inputs)), "W_s" + suffix: rng.normal(size=(size, size)),
                  "b_s" + suffix: rng.normal(size=size)}
        inputs = size * len(directions)
    return p | {"W_y": rng.normal(size=(O, inputs)), "b_y": rng.normal(size=O)}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


class Tensor:
    """What a tensor of PyTorch is to whoever does not import it."""

    def __init__(self, array):
        self.array = array

    def __array__(self, *args, **kwargs):
        raise RuntimeError("needs a gradient, or is on another device")

    def detach(self):
        return _Detached(self.array)


class _Detached(Tensor):
    def cpu(self):
        return _OnCpu(self.array)


class _OnCpu(Tensor):
    def numpy(self):
        return self.array


class Module:
    def __init__(self, state, **said):
        self.state = {name: Tensor(value) for name, value in state.items()}
        self.__dict__.update(said)

    def state_dict(self):
        return self.state


# ---- PyTorch


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"activation": "relu"}, {"learn_initial_state": True},
                                     {"dtype": "float32"}], ids=str)
def test_a_network_goes_to_torch_and_back(options):
    net = network(**options)
    state = net.to_torch()
    again = RNN.from_torch(state, activation=net.activation)
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.theta, net.theta)


def test_to_torch_has_pytorchs_names_and_shapes_and_is_a_copy():
    net = network(learn_initial_state=True)
    p, state = net.parameters, net.to_torch()
    assert_same(state, {"rnn.weight_ih_l0": p["W_x"], "rnn.weight_hh_l0": p["W_s"], "rnn.bias_ih_l0": p["b_s"],
                        "rnn.bias_hh_l0": np.zeros(H), "linear.weight": p["W_y"], "linear.bias": p["b_y"],
                        "h_0": p["S_0"].reshape(1, 1, H)})
    before = net.theta
    for value in state.values():
        value[...] = 7
    np.testing.assert_array_equal(net.theta, before)


def test_the_two_biases_of_torch_add_up():
    state = network().to_torch()
    state["rnn.bias_hh_l0"] = np.arange(H, dtype=float)
    np.testing.assert_array_equal(RNN.from_torch(state).parameters["b_s"], state["rnn.bias_ih_l0"] + np.arange(H))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("sizes", [(5,), (5, 5), (5, 5, 5)])
def test_names_of_every_layer_and_direction_go_to_torch_and_back(sizes, bidirectional):
    p = stack(sizes, bidirectional)
    state = convert.to_torch(p, {"activation": "tanh"})
    directions = 1 + bidirectional
    assert len(state) == 4 * len(sizes) * directions + 2
    last = f"_l{len(sizes) - 1}" + "_reverse" * bidirectional
    np.testing.assert_array_equal(state["rnn.weight_hh" + last], p["W_s" + last.removeprefix("_l0")])
    found = convert.from_torch(dict(sorted(state.items(), reverse=True)))  # a state dict may be in any order
    assert_same(found.parameters, p)
    assert found.options == {"input_size": I, "hidden_size": 5 if len(sizes) == 1 else sizes, "output_size": O,
                             "bias": True} | ({"bidirectional": True} if bidirectional else {})


def test_initial_states_of_every_layer_and_direction_go_to_torch_and_back():
    p = stack((5, 5), True)
    p |= {"S_0" + suffix: np.full(5, n, float) for n, suffix in enumerate(("", "_reverse", "_l1", "_l1_reverse"))}
    state = convert.to_torch(p, {"activation": "relu"})
    assert state["h_0"].shape == (4, 1, 5)
    np.testing.assert_array_equal(state["h_0"][:, 0, 0], [0, 1, 2, 3])
    found = convert.from_torch(state)
    assert_same(found.parameters, p)
    assert found.options["learn_initial_state"] is True


def test_modules_say_their_activation_and_tensors_are_asked_for_their_arrays():
    state = network().to_torch()
    rnn = Module({name.removeprefix("rnn."): value for name, value in state.items() if name.startswith("rnn")},
                 nonlinearity="relu")
    linear = Module({name.removeprefix("linear."): value for name, value in state.items() if name.startswith("linear")})
    net = RNN.from_torch(rnn, linear, loss="huber")
    assert net.activation == "relu" and net.loss == ("huber", 1.0) and net.dtype == "float64"
    np.testing.assert_array_equal(net.theta, network().theta)
    whole = Module({"encoder.cells.weight_ih_l0": rnn.state["weight_ih_l0"].array,
                    "encoder.cells.weight_hh_l0": rnn.state["weight_hh_l0"].array, "head.weight": state["linear.weight"]})
    whole.modules = lambda: [whole, rnn, linear]
    net = RNN.from_torch(whole)
    assert net.activation == "relu" and not net.bias
    np.testing.assert_array_equal(net.parameters["W_y"], state["linear.weight"])


def test_without_linear_the_outputs_are_the_states():
    state = {name: value for name, value in network().to_torch().items() if name.startswith("rnn")}
    net = RNN.from_torch(state)
    Y, _, run = net.forward(np.random.default_rng(3).standard_normal((T, B, I)), return_states=True)
    S = run.S
    np.testing.assert_array_equal(Y, S[1:])


def test_a_bias_of_one_part_alone_leaves_zeros_in_the_other():
    state = network().to_torch()
    del state["linear.bias"]
    net = RNN.from_torch(state)
    assert (net.parameters["b_y"] == 0).all() and (net.parameters["b_s"] == state["rnn.bias_ih_l0"]).all()


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


STATE = network().to_torch()


@pytest.mark.parametrize("rnn, options, error, words", [
    (STATE | {"norm.running_mean": np.ones(3)}, {}, ValueError, "must hold one nn.Linear"),
    (STATE | {"other.weight": np.ones((2, 2))}, {}, ValueError, "must hold one nn.Linear"),
    (STATE | {"b.weight_ih_l0": np.ones((2, 2))}, {}, ValueError, "must hold one nn.RNN"),
    ({}, {}, ValueError, "must hold one nn.RNN"),
    (3, {}, TypeError, "rnn must be a module or a state dict, got int"),
    (without(STATE, "rnn.weight_hh_l0"), {}, ValueError, "layers or directions are missing"),
    (STATE | {"rnn.weight_ih_l2": np.ones((5, 5)), "rnn.weight_hh_l2": np.ones((5, 5))}, {}, ValueError,
     "layers or directions are missing"),
    (STATE | {"rnn.weight_hh_l0": np.ones((2 * H, H)), "rnn.weight_ih_l0": np.ones((2 * H, I))}, {}, ValueError,
     r"square, or 3 \(GRU\) or 4 \(LSTM\) square blocks; got shape \(10, 5\)"),
    (STATE | {"rnn.weight_hh_l0": np.ones((4 * H, H)), "rnn.weight_ih_l0": np.ones((4 * H, I))}, {}, ValueError,
     r"b_s must have shape \(20,\), got \(5,\)"),
    (STATE, {"cell": "gru"}, ValueError, "cell must be 'plain' as in the converted network, got 'gru'"),
    (STATE | {"c_0": np.ones((1, 1, H))}, {}, ValueError, "h_0 and c_0 must be given together for nn.LSTM"),
    (STATE | {"rnn.weight_ih_l0": np.ones((H + 1, I))}, {}, ValueError, "W_x must have shape"),
    (STATE | {"linear.weight": np.ones((O, H + 1))}, {}, ValueError, "output weights must have shape"),
    (STATE | {"linear.bias": np.ones(O + 1)}, {}, ValueError, "b_y must have shape"),
    (STATE | {"h_0": np.ones((2, 1, H))}, {}, ValueError, "h_0 must have shape"),
    (STATE | {"linear.bias": np.full(O, np.nan)}, {}, ValueError, "b_y contains NaN"),
    (STATE, {"hidden_size": 7}, ValueError, "hidden_size must be 5 as in the converted network, got 7"),
    (STATE, {"bias": False}, ValueError, "bias must be True as in the converted network"),
    (STATE, {"initializer": "identity"}, TypeError, "initializer must not be given"),
    (STATE, {"linear": STATE}, ValueError, "must hold one nn.Linear"),
    (STATE, {"linear": {"weight": np.ones((O, H))}}, ValueError, "rnn must hold only an nn.RNN if linear is given; it also has 'linear.weight'"),
])
def test_what_is_no_network_of_torch_is_refused(rnn, options, error, words):
    with pytest.raises(error, match=words):
        RNN.from_torch(rnn, **options)


def test_what_torch_cannot_compute_is_not_written():
    with pytest.raises(ValueError, match="activation must be 'tanh' or 'relu' for nn.RNN, got 'sigmoid'"):
        network(activation="sigmoid").to_torch()
    with pytest.raises(ValueError, match=r"hidden_size must be the same for all layers for nn.RNN, got \[4, 5\]"):
        convert.to_torch(stack((5, 4)), {"activation": "tanh"})
    for leak, form in ((0.5, "rate"), (1, "current")):
        with pytest.raises(ValueError, match=f"leak must be 1 in the rate form for nn.RNN, .* got leak={leak} in the {form} form"):
            convert.to_torch(stack((5,)), {"activation": "tanh", "leak": leak, "leak_form": form})


# ---- Gated cells of PyTorch

GATES = {"plain": 1, "gru": 3, "lstm": 4}


def gated(cell, **options):
    return network(cell=cell, **options)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"learn_initial_state": True}, {"dtype": "float32"}, {"layers": True},
                                     {"layers": True, "learn_initial_state": True}], ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_gated_network_goes_to_torch_and_back(cell, options):
    options = dict(options)
    sizes = ((H, H), True) if options.pop("layers", False) else (H, False)
    net = RNN(I, sizes[0], O, cell=cell, bidirectional=sizes[1], **{"dtype": "float64"} | options)
    net.theta = np.random.default_rng(1).standard_normal(net.theta.size)
    state = net.to_torch()
    again = RNN.from_torch(dict(sorted(state.items(), reverse=True)))
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again.theta, net.theta)
    shapes = {name: value.shape for name, value in state.items()}
    G = GATES[cell]
    assert shapes["rnn.weight_ih_l0"] == (G * H, I) and shapes["rnn.weight_hh_l0"] == (G * H, H)
    assert shapes.get("rnn.bias_hh_l0", (G * H,)) == (G * H,)
    initial = {"h_0", "c_0"} if cell == "lstm" else {"h_0"}
    assert {name for name in state if name.endswith("_0")} == (initial if net.learn_initial_state else set())
    for name in initial & state.keys():
        assert shapes[name] == (4 if sizes[1] else 1, 1, H)


def test_b_n_is_the_hidden_bias_of_n_and_the_other_biases_add_up():
    net = gated("gru")
    state = net.to_torch()
    np.testing.assert_array_equal(state["rnn.bias_hh_l0"], np.concatenate([np.zeros(2 * H), net.parameters["b_n"]]))
    state["rnn.bias_hh_l0"] = np.arange(3.0 * H)
    again = RNN.from_torch(state).parameters
    np.testing.assert_array_equal(again["b_s"], state["rnn.bias_ih_l0"] + np.where(np.arange(3 * H) < 2 * H, np.arange(3 * H), 0))
    np.testing.assert_array_equal(again["b_n"], np.arange(2 * H, 3 * H))
    of_lstm = gated("lstm").to_torch()
    of_lstm["rnn.bias_hh_l0"] = np.arange(4.0 * H)
    np.testing.assert_array_equal(RNN.from_torch(of_lstm).parameters["b_s"], of_lstm["rnn.bias_ih_l0"] + np.arange(4 * H))


def test_the_initial_state_of_an_lstm_is_h_0_beside_c_0():
    net = gated("lstm", learn_initial_state=True)
    state = net.to_torch()
    np.testing.assert_array_equal(net.parameters["S_0"], np.concatenate([state["h_0"][0, 0], state["c_0"][0, 0]]))
    for missing in ("h_0", "c_0"):
        with pytest.raises(ValueError, match="^h_0 and c_0 must be given together"):
            RNN.from_torch(without(state, missing))
    with pytest.raises(ValueError, match=r"^c_0 must have the shape of h_0, \(1, 1, 5\), got \(1, 1, 4\)"):
        RNN.from_torch(state | {"c_0": state["c_0"][..., 1:]})


def test_options_that_contradict_a_gated_module_are_refused():
    state = gated("gru").to_torch()
    for options, words in (({"cell": "lstm"}, "cell must be 'gru'"), ({"activation": "relu"}, "activation must be 'tanh'"),
                           ({"reset_after": False}, "reset_after must be True")):
        with pytest.raises(ValueError, match=f"^{words} as in the converted network"):
            RNN.from_torch(state, **options)
    with pytest.raises(ValueError, match=r"without projections \(proj_size=0\), got 'rnn.weight_hr_l0'"):
        RNN.from_torch(gated("lstm").to_torch() | {"rnn.weight_hr_l0": np.ones((2, H))})
    with pytest.raises(ValueError, match=r"must have the same shape \(G·H,\), got \(15,\) and \(14,\)"):
        RNN.from_torch(state | {"rnn.bias_hh_l0": np.ones(14)})
    mixed = state | {"rnn.weight_ih_l1": np.ones((4 * H, H)), "rnn.weight_hh_l1": np.ones((4 * H, H))}
    with pytest.raises(ValueError, match="the layers must have one cell, got a gru and a lstm"):
        RNN.from_torch(mixed)


def test_what_gated_modules_of_torch_cannot_compute_is_not_written():
    with pytest.raises(ValueError, match="^activation must be 'tanh' for nn.LSTM, got 'relu'"):
        gated("lstm", activation="relu").to_torch()
    with pytest.raises(ValueError, match="^reset_after must be True for nn.GRU"):
        gated("gru", reset_after=False).to_torch()
    with pytest.raises(ValueError, match=r"^hidden_size must be the same for all layers for nn.GRU, got \[4, 5\]"):
        RNN(I, (5, 4), O, cell="gru").to_torch()


# ---- Keras


class Layer:
    def __init__(self, *weights, **config):
        self.weights, self.config = weights, config

    def get_weights(self):
        return list(self.weights)

    def get_config(self):
        return self.config


class Recurrent(Layer):
    def __init__(self, *weights, **config):
        super().__init__(*weights, **{"activation": "tanh", "return_sequences": True, "go_backwards": False} | config)


class SimpleRNN(Recurrent):
    pass


class LSTM(Recurrent):
    def __init__(self, *weights, **config):
        super().__init__(*weights, **{"recurrent_activation": "sigmoid"} | config)


class GRU(Recurrent):
    def __init__(self, *weights, **config):
        super().__init__(*weights, **{"recurrent_activation": "sigmoid", "reset_after": True} | config)


class Dense(Layer):
    def __init__(self, *weights, activation="linear"):
        super().__init__(*weights, activation=activation)


class Bidirectional(Layer):
    def __init__(self, forward, backward, merge_mode="concat"):
        super().__init__(merge_mode=merge_mode)
        self.forward_layer, self.backward_layer = forward, backward


class TimeDistributed(Layer):
    def __init__(self, layer):
        self.layer = layer


class InputLayer(Layer):
    pass


class ConvLSTM1D(Layer):
    pass


class Sequential:
    def __init__(self, *layers):
        self.layers = list(layers)


def keras_layers(p, sizes, bidirectional=False, **config):
    layers = []
    for k in range(len(sizes)):
        suffix = f"_l{k}" if k else ""
        forward, backward = (SimpleRNN(p["W_x" + s].T, p["W_s" + s].T, p["b_s" + s], **config, go_backwards=s != suffix)
                             for s in (suffix, suffix + "_reverse" * bidirectional))
        layers.append(Bidirectional(forward, backward) if bidirectional else forward)
    return [*layers, Dense(p["W_y"].T, p["b_y"])]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("sizes", [(5,), (2, 2), (4, 3)])
def test_layers_and_weights_of_keras_are_transposed_under_our_names(sizes, bidirectional):
    p = stack(sizes, bidirectional)
    layers = keras_layers(p, sizes, bidirectional)
    sizes_found = {"input_size": I, "hidden_size": sizes if len(sizes) > 1 else 5, "output_size": O, "bias": True} | (
        {"bidirectional": True} if bidirectional else {})
    for given in (layers, Sequential(InputLayer(), *layers[:-1], TimeDistributed(layers[-1]))):
        found = convert.from_keras(given)
        assert_same(found.parameters, p)
        assert found.options == sizes_found | {"activation": "tanh", "output_activation": "identity", "output": "sequence"}
    weights = [array for layer in layers[:-1] for part in
               ((layer.forward_layer, layer.backward_layer) if bidirectional else (layer,)) for array in part.get_weights()]
    found = convert.from_keras([*weights, *layers[-1].get_weights()])
    assert_same(found.parameters, p)
    assert found.options == sizes_found
    found = convert.from_keras([array for array in [*weights, p["W_y"].T] if array.ndim == 2])  # use_bias=False
    assert_same(found.parameters, {name: value for name, value in p.items() if name.startswith("W")})
    assert found.options["bias"] is False


def test_a_keras_model_makes_a_network_that_says_what_its_layers_said():
    p = network().parameters
    rnn = SimpleRNN(p["W_x"].T, p["W_s"].T, p["b_s"], activation="relu", return_sequences=False)
    net = RNN.from_keras([rnn, Dense(p["W_y"].T, p["b_y"], activation="softmax")], loss="cross_entropy")
    assert (net.activation, net.output_activation, net.output, net.loss) == ("relu", "softmax", "last", "cross_entropy")
    np.testing.assert_array_equal(net.theta, network().theta)
    found = convert.from_keras([*keras_layers(stack((5,), True), (5,), True, return_sequences=False)])
    assert found.options["output"] == "last"  # of both directions the final state, there and here
    for theirs, ours in (("silu", "silu"), ("swish", "silu"), ("gelu", "gelu")):
        assert RNN.from_keras(SimpleRNN(p["W_x"].T, p["W_s"].T, p["b_s"], activation=theirs)).activation == ours
    net = RNN.from_keras(rnn)
    np.testing.assert_array_equal(net.parameters["W_y"], np.eye(H))
    with pytest.raises(ValueError, match="activation must be 'relu' as in the converted network, got 'tanh'"):
        RNN.from_keras(rnn, activation="tanh")


K, R, V = np.ones((I, H)), np.ones((H, H)), np.ones(H)


@pytest.mark.parametrize("layers, words", [
    ([], "kernel, recurrent_kernel"),
    ([V], "kernel, recurrent_kernel"),
    ([K], "kernel, recurrent_kernel"),
    ([K, R, V, V], "kernel, recurrent_kernel"),
    ([K, R, V, R, V, R], "kernel, recurrent_kernel"),
    ([K, R[:-1], V], "must be square"),
    ([K, R, V, R, R, V], "give the layers"),
    ([K, R, V, np.ones((H + 1, O))], "output weights must have shape"),
    ([Dense(K)], "must be SimpleRNN"),
    ([ConvLSTM1D(K)], "got ConvLSTM1D"),
    ([SimpleRNN(K, R, V), ConvLSTM1D(K)], "got ConvLSTM1D"),
    (ConvLSTM1D(K), "got ConvLSTM1D"),
    ([SimpleRNN(K, R, V), GRU(np.ones((H, 15)), np.ones((H, 15)))], "all of one kind, .*; got SimpleRNN, GRU"),
    ([GRU(np.ones((I, 15)), np.ones((H, 15)), recurrent_activation="hard_sigmoid")], "recurrent_activation must be 'sigmoid'"),
    ([GRU(np.ones((I, 15)), np.ones((H, 15))), GRU(np.ones((H, 15)), np.ones((H, 15)), reset_after=False)], "same reset_after"),
    ([LSTM(np.ones((I, 15)), np.ones((H, 15)))], "kernel of a lstm must have 4 square blocks, got shape \\(5, 15\\)"),
    ([np.ones((I, 6)), np.ones((2, 6)), np.ones((2, 6))], "may be that of a bias or of a kernel: give the layers"),
    ([np.ones((I, 15)), np.ones((H, 15)), np.ones((2, 15)), np.ones((H, 20)), np.ones((H, 20)), np.ones(20), np.ones((H, O))],
     "same reset_after|one cell"),
    ([SimpleRNN(K, R, V, activation="leaky_relu")], "activation of SimpleRNN must be one of .*; got 'leaky_relu'"),
    ([SimpleRNN(K, R, V, activation={"class_name": "own"})], "must be one of"),
    ([SimpleRNN(K, R, V), SimpleRNN(R, R, V, activation="relu")], "same activation, got activations relu, tanh"),
    ([SimpleRNN(K, R, V, return_sequences=False), SimpleRNN(R, R, V)], "return_sequences=True"),
    ([SimpleRNN(K, R, V, go_backwards=True)], "go_backwards"),
    ([SimpleRNN()], "no weights yet"),
    ([Bidirectional(SimpleRNN(K, R, V), SimpleRNN(K, R, V))], "go_backwards"),
    ([Bidirectional(SimpleRNN(K, R, V), SimpleRNN(K, R, V, go_backwards=True), "sum")], "merge_mode='concat', got 'sum'"),
    ([SimpleRNN(K, R, V), Bidirectional(SimpleRNN(R, R, V), SimpleRNN(R, R, V, go_backwards=True))], "all of them or none"),
    ([SimpleRNN(K, R, V), Dense(np.ones((H, O)), activation="relu")], "activation of Dense must be one of .*; got 'relu'"),
])
def test_what_is_no_plain_network_of_keras_is_refused(layers, words):
    with pytest.raises(ValueError, match=words):
        RNN.from_keras(layers)


def theirs(cell, array):
    """Return an array with our blocks of rows, with the blocks in Keras' order."""
    if cell != "gru":
        return array
    r, z, n = np.split(array, 3)
    return np.concatenate([z, r, n])


def layers_of(net):
    """Return the layers of Keras that compute what a gated network does, with input and recurrent biases that add up."""
    p, kind = net.parameters, {"gru": GRU, "lstm": LSTM}[net.cell]
    config = {"return_sequences": net.output == "sequence", "activation": net.activation}
    if net.cell == "gru":
        config["reset_after"] = net.reset_after
    sizes, both = net.hidden_size if isinstance(net.hidden_size, tuple) else (net.hidden_size,), net.bidirectional
    layers = []
    for k in range(len(sizes)):
        pair = []
        for direction in ("", "_reverse")[:1 + both]:
            s = (f"_l{k}" if k else "") + direction
            arrays = [theirs(net.cell, p[name + s]).T for name in ("W_x", "W_s")]
            if net.bias and "b_n" + s in p:
                of_states = np.arange(3.0 * sizes[k])
                of_inputs = p["b_s" + s] - np.where(np.arange(3 * sizes[k]) < 2 * sizes[k], of_states, 0)
                of_states[2 * sizes[k]:] = p["b_n" + s]
                arrays.append(np.stack([theirs("gru", of_inputs), theirs("gru", of_states)]))
            elif net.bias:
                arrays.append(theirs(net.cell, p["b_s" + s]))
            pair.append(kind(*arrays, **config, go_backwards=direction != ""))
        layers.append(Bidirectional(*pair) if both else pair[0])
    return [*layers, Dense(p["W_y"].T, *([p["b_y"]] if net.bias else []))]


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"hidden_size": (4, 3), "bidirectional": True}, {"output": "last"},
                                     {"hidden_size": (4, 4)}], ids=str)
@pytest.mark.parametrize("cell", [{"cell": "gru"}, {"cell": "gru", "reset_after": False}, {"cell": "lstm"},
                                  {"cell": "lstm", "activation": "relu"}], ids=str)
def test_gated_layers_of_keras_go_to_our_order_of_gates(cell, options):
    options = cell | options
    net = RNN(I, options.pop("hidden_size", H), O, dtype="float64", **options)
    net.theta = np.random.default_rng(1).standard_normal(net.theta.size)
    layers = layers_of(net)
    again = RNN.from_keras(layers)
    assert repr(again) == repr(net)
    np.testing.assert_allclose(again.theta, net.theta, rtol=0, atol=1e-14)
    weights = [array for layer in layers[:-1] for part in
               ((layer.forward_layer, layer.backward_layer) if net.bidirectional else (layer,)) for array in part.get_weights()]
    said = {name: options[name] for name in ("output", "activation", "reset_after") if name in options}
    if net.bias:
        said.pop("reset_after", None)  # the biases tell
    again = RNN.from_keras([*weights, *layers[-1].get_weights()], **said)
    assert repr(again) == repr(net)
    np.testing.assert_allclose(again.theta, net.theta, rtol=0, atol=1e-14)


def test_a_list_of_biases_tells_whether_a_gru_resets_after_the_product():
    for after in (True, False):
        net = gated("gru", reset_after=after)
        arrays = [array for layer in layers_of(net) for array in layer.get_weights()]
        assert convert.from_keras(arrays).options["reset_after"] is after
        with pytest.raises(ValueError, match=f"^reset_after must be {after} as in the converted network"):
            RNN.from_keras(arrays, reset_after=not after)
    assert "reset_after" not in convert.from_keras([arrays[0], arrays[1], arrays[3]]).options
    mixed = [array for after in (True, False) for array in layers_of(gated("gru", reset_after=after))[0].get_weights()]
    with pytest.raises(ValueError, match="all GRU must have the same reset_after, which the number of rows of their biases"):
        RNN.from_keras([*mixed, np.ones((H, O))])


def test_biases_of_a_gru_must_have_three_blocks():
    state = {"weight_ih_l0": np.ones((3 * H, I)), "weight_hh_l0": np.ones((3 * H, H))}
    with pytest.raises(ValueError, match=r"^the biases of layer _l0 of rnn must have the same shape \(G·H,\), got \(16,\)"):
        RNN.from_torch(state | {name: np.ones(3 * H + 1) for name in ("bias_ih_l0", "bias_hh_l0")})


# ---- Numbers that Keras 3.15.1 states of its own layers, in keras/src/layers/rnn/gru_test.py and lstm_test.py (Apache 2.0)

# Every entry of W_x is 0.01, of W_s 0.02, and of the biases 0.03. The inputs count up from 0, samples first. A row is the shape
# (B, T, I) of the inputs, the units, how the layer is called, and its output at the last step: one number if all units are
# equal.
KERAS_OUTPUTS = {
    "gru": (GRU, (3, 6, 4), 3, {}, [0.5217289, 0.6371659, 0.39384964]),
    "gru, go_backwards": (GRU, (3, 6, 4), 3, {"backwards": True}, [0.24406259, 0.611516, 0.3928808]),
    "gru, reset before": (GRU, (3, 6, 4), 3, {"reset_after": False}, [0.51447755, 0.6426879, 0.40208298]),
    "gru, no bias": (GRU, (3, 6, 4), 3, {"bias": False}, [0.49988455, 0.64701194, 0.4103359]),
    "gru, twice": (GRU, (2, 3, 4), 4, {"calls": 2}, [0.29542392, 0.5885018]),
    "gru, state": (GRU, (2, 4, 3), 2, {"state": True}, [[0.23774096, 0.33508456], [0.83659905, 1.0227708]]),
    "gru, state, go_backwards": (GRU, (2, 4, 3), 2, {"state": True, "backwards": True},
                                 [[0.13486053, 0.23261218], [0.78257304, 0.9691353]]),
    "gru, mask": (GRU, (2, 4, 3), 2, {"mask": ["1101", "1001"]}, [0.19393763, 0.30818558]),
    "gru, mask, go_backwards": (GRU, (2, 4, 3), 2, {"mask": ["1101", "1001"], "backwards": True}, [0.11669192, 0.28380975]),
    "lstm": (LSTM, (3, 6, 4), 3, {}, [0.6288687, 0.86899155, 0.9460773]),
    "lstm, go_backwards": (LSTM, (3, 6, 4), 3, {"backwards": True}, [0.35622165, 0.74789524, 0.8872726]),
    "lstm, no forget bias": (LSTM, (3, 6, 4), 3, {"forget_bias": 0.03}, [0.57019705, 0.8661914, 0.9459622]),
    "lstm, no bias": (LSTM, (3, 6, 4), 3, {"bias": False}, [0.54986924, 0.86226785, 0.9443936]),
    "lstm, twice": (LSTM, (2, 3, 4), 4, {"calls": 2}, [0.3124785, 0.6863672]),
    "lstm, state": (LSTM, (2, 4, 3), 2, {"state": True}, [[0.20574439, 0.3558822], [0.64930826, 0.66276]]),
    "lstm, state, go_backwards": (LSTM, (2, 4, 3), 2, {"state": True, "backwards": True},
                                  [[0.13281618, 0.2790356], [0.5839337, 0.5992567]]),
    "lstm, mask": (LSTM, (2, 4, 3), 2, {"mask": ["1110", "1100"]}, [0.11755939, 0.28556206]),
    "lstm, mask, go_backwards": (LSTM, (2, 4, 3), 2, {"mask": ["0111", "0011"], "backwards": True}, [0.15341201, 0.3844719]),
}
# The same with return_sequences and zero_output_for_mask: the outputs (B, T), which are the same for all units
KERAS_SEQUENCES = {"gru, mask": [[0.03606692, 0.09497581, 0, 0.19393763], [0.16051409, 0, 0, 0.30818558]],
                   "lstm, mask": [[0.01588910, 0.05552048, 0.11755939, 0], [0.14185596, 0.28556206, 0, 0]]}


def keras_constant_layer(kind, inputs, units, *, bias=True, reset_after=True, forget_bias=1.0):
    G = 3 if kind is GRU else 4
    arrays = [np.full((inputs, G * units), 0.01), np.full((units, G * units), 0.02)]
    if bias:
        arrays.append(np.full((2, G * units) if kind is GRU and reset_after else G * units, 0.03))
    if bias and kind is LSTM:
        arrays[-1][units:2 * units] = forget_bias  # unit_forget_bias of Keras
    return kind(*arrays, **{"reset_after": reset_after} if kind is GRU else {})


@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("case", KERAS_OUTPUTS)
def test_outputs_are_the_numbers_in_the_tests_of_keras(case, backend):
    """A masked step of Keras leaves the state as it is. So the steps that are left follow each other here, and lengths differ."""
    kind, (B, T, inputs), units, how, expected = KERAS_OUTPUTS[case]
    how = dict(how)
    mask = np.array([[step == "1" for step in row] for row in how.pop("mask", ["1" * T] * B)])
    backwards, calls, state = how.pop("backwards", False), how.pop("calls", 1), None
    if how.pop("state", False):
        state = np.arange(B * units).reshape(B, units) if kind is GRU else np.tile(np.arange(B * units).reshape(B, units), 2)
    sequences = np.arange(B * T * inputs).reshape(B, T, inputs)
    X, lengths = np.zeros((T, B, inputs)), mask.sum(axis=1)
    for b in range(B):
        left = sequences[b, mask[b]]
        X[:lengths[b], b] = left[::-1] if backwards else left
    net = RNN.from_keras(keras_constant_layer(kind, inputs, units, **how))
    for _ in range(calls):
        Y, state = net.forward(X, state, lengths=lengths, backend=backend)
    expected = np.array(expected)
    expected = np.broadcast_to(expected.reshape(B, -1), (B, units))
    np.testing.assert_allclose(Y[lengths - 1, np.arange(B)], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(state[:, :units], Y[lengths - 1, np.arange(B)])
    if case in KERAS_SEQUENCES:
        found = np.zeros((B, T, units))
        for b in range(B):
            found[b, mask[b]] = Y[:lengths[b], b]
        expected = np.repeat(np.array(KERAS_SEQUENCES[case])[..., None], units, axis=-1)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


# ---- PsychRNN


def psychrnn_weights(dale_ratio=None, raw=False, readout=0):
    """As `get_weights` of PsychRNN 1.0 names them; raw, as its initialisers write them, before signs and connectivity."""
    rng = np.random.default_rng(4)
    there = {name: (rng.random(shape) < 0.7).astype(np.float32) for name, shape in (
        ("input_connectivity", (H, I)), ("rec_connectivity", (H, H)), ("output_connectivity", (O, H)))}
    dale = np.where(np.arange(H) < int((1 if dale_ratio is None else dale_ratio) * H), 1, -1).astype(np.float32)
    out = np.where(dale > 0, 1, readout).astype(np.float32)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (
        ("W_in", (H, I)), ("W_rec", (H, H)), ("W_out", (O, H)), ("b_rec", H), ("b_out", O), ("init_state", (1, H)))}
    acting = {name: weights[name] * mask for name, mask in zip(("W_in", "W_rec", "W_out"), there.values())}
    if dale_ratio:
        acting = {"W_in": abs(acting["W_in"]), "W_rec": abs(acting["W_rec"]) * dale, "W_out": abs(acting["W_out"]) * out}
    truth = weights | acting
    return (weights if raw else truth) | there | {
        "Dale_rec": np.diag(dale), "Dale_out": np.diag(out),
        "dale_ratio": dale_ratio}, truth


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("dale_ratio, readout", [(None, 0), (0.0, 0), (0.8, 0), (0.5, -1)])
def test_a_file_of_psychrnn_holds_weights_as_they_act(dale_ratio, readout, raw, tmp_path):
    weights, truth = psychrnn_weights(dale_ratio, raw, readout)
    np.savez(tmp_path / "weights.npz", **weights | {"W_in/Adam": np.ones(3)})
    for given in (weights, tmp_path / "weights.npz", str(tmp_path / "weights.npz")):
        found = convert.from_psychrnn(given)
        assert_same(found.parameters, {"W_x": truth["W_in"], "W_s": truth["W_rec"], "W_y": truth["W_out"],
                                       "b_s": truth["b_rec"], "b_y": truth["b_out"], "S_0": truth["init_state"][0]})
        options = dict(found.options)
        read = np.diag(weights["Dale_out"]) != 0 if dale_ratio else True
        assert_same(options.pop("connectivity"), {"W_x": weights["input_connectivity"], "W_s": weights["rec_connectivity"],
                                                  "W_y": weights["output_connectivity"] * read})
        if dale_ratio:
            np.testing.assert_array_equal(options.pop("dale_signs"), np.diag(weights["Dale_rec"]))
            assert options.pop("nonnegative") == (("W_x", "W_y") if readout == 0 else ("W_x",))
        assert options == {"input_size": I, "hidden_size": H, "output_size": O, "bias": True, "learn_initial_state": True}
        assert found.dtype == "float32"


def test_what_a_file_of_psychrnn_does_not_say_is_all_there():
    weights, truth = psychrnn_weights()
    names = ("W_in", "W_rec", "W_out", "b_rec", "b_out", "init_state")
    found = convert.from_psychrnn({name: weights[name] for name in names})
    assert "connectivity" not in found.options and "dale_signs" not in found.options
    np.testing.assert_array_equal(found.parameters["W_s"], truth["W_rec"])


def psychrnn_forward(weights, X, leak):
    """Outputs of PsychRNN's Basic with relu and without noise, from its own description, in float64."""
    state, outputs = weights["init_state"].astype(float), []
    for x in X:
        recurrent = np.maximum(state, 0) @ weights["W_rec"].T.astype(float)
        state = (1 - leak) * state + leak * (recurrent + x @ weights["W_in"].T.astype(float) + weights["b_rec"])
        outputs.append(np.maximum(state, 0) @ weights["W_out"].T.astype(float) + weights["b_out"])
    return np.array(outputs)


@pytest.mark.skipif(not hasattr(RNN(1, 1, 1), "leak") or not hasattr(RNN, "effective_parameters"),
                    reason="needs leaky units, connectivity and Dale's law")
@pytest.mark.parametrize("dale_ratio, readout", [(None, 0), (0.8, 0), (0.5, -1)])
def test_the_network_made_of_a_file_of_psychrnn_computes_what_that_did(dale_ratio, readout, tmp_path):
    weights, truth = psychrnn_weights(dale_ratio, False, readout)
    np.savez(tmp_path / "weights.npz", **weights)
    X = np.random.default_rng(5).standard_normal((20, B, I))
    expected = psychrnn_forward(truth, X, 0.1)
    for options in ({"dt": 10, "tau": 100}, {"leak": 0.1}):
        net = RNN.from_psychrnn(tmp_path / "weights.npz", dtype="float64", **options)
        assert net.activation == "relu" and net.leak == 0.1 and net.leak_form == "current"
        for backend in ("core", "reference"):
            np.testing.assert_allclose(net.forward(X, backend=backend)[0], expected, rtol=0, atol=1e-12 * abs(expected).max())
    effective = net.effective_parameters()
    for name, theirs in (("W_x", "W_in"), ("W_s", "W_rec"), ("W_y", "W_out")):
        np.testing.assert_array_equal(effective[name], truth[theirs].astype(float))
    net.fit(X, expected + 1, epochs=3, learning_rate=1e-2)
    effective = net.effective_parameters()
    for name, theirs in (("W_x", "input_connectivity"), ("W_s", "rec_connectivity"), ("W_y", "output_connectivity")):
        assert (effective[name][weights[theirs] == 0] == 0).all()
    if dale_ratio:
        assert (effective["W_s"] * np.diag(weights["Dale_rec"]) >= 0).all() and (effective["W_x"] >= 0).all()
        assert (effective["W_y"][:, np.diag(weights["Dale_out"]) == 0] == 0).all()


def test_signs_of_units_are_made_of_the_ratio_where_a_file_has_no_matrix_of_them():
    weights, truth = psychrnn_weights(0.8, raw=True)
    found = convert.from_psychrnn(without(weights, "Dale_rec"))
    np.testing.assert_array_equal(found.options["dale_signs"], [1, 1, 1, 1, -1])
    np.testing.assert_array_equal(found.parameters["W_s"], truth["W_rec"])
    assert found.dtype == "float32"


def test_bad_files_of_psychrnn_are_refused(tmp_path):
    weights, _ = psychrnn_weights()
    for change, words in [({"rec_connectivity": np.full((H, H), 0.5)}, "rec_connectivity must hold only 0 and 1"),
                          ({"rec_connectivity": np.ones((H, I))}, "rec_connectivity must hold only 0 and 1"),
                          ({"W_rec": np.ones((H, H + 1))}, "must be square"),
                          ({"W_out": np.ones((O, H + 1))}, "output weights must have shape")]:
        with pytest.raises(ValueError, match=words):
            RNN.from_psychrnn(weights | change, leak=0.2)
    with pytest.raises(ValueError, match="it has no W_in, W_rec"):
        RNN.from_psychrnn({"W_f": np.ones(3)}, leak=0.2)
    with pytest.raises(TypeError, match="dt and tau, or leak"):
        RNN.from_psychrnn(weights)
    path = tmp_path / "weights.npz"
    np.savez(path, **weights | {"W_rec": np.array([[None]])})
    with pytest.raises(ValueError, match="file must be an .npz of PsychRNN"):  # a pickle, which is not read
        RNN.from_psychrnn(path, leak=0.2)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="file must be an .npz of PsychRNN"):
        RNN.from_psychrnn(path, leak=0.2)
    np.save(path.with_suffix(".npy"), np.ones(3))
    with pytest.raises(ValueError, match="file must be an .npz of PsychRNN"):
        RNN.from_psychrnn(path.with_suffix(".npy"), leak=0.2)
    with pytest.raises(FileNotFoundError):
        RNN.from_psychrnn(tmp_path / "none.npz", leak=0.2)


@pytest.mark.thorough
def test_nothing_of_the_other_packages_is_imported():
    code = "import sys, fastbptt.convert; assert not {'torch', 'keras', 'tensorflow', 'psychrnn'} & sys.modules.keys()"
    assert run_python(code).returncode == 0
