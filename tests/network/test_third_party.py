"""Other people's checks through thin adapters: PyTorch's gradcheck in slow mode, and ONNX's operators RNN, GRU and LSTM.

ONNX's own backend tests of these operators have constant weights, so they cannot tell one gate from another. Random weights in
ONNX's reference implementation and in onnxruntime can.
"""

import importlib

import numpy as np
import pytest

from fastbptt import RNN

# ---- torch.autograd.gradcheck: every entry of every Jacobian by differences, and that two runs have the same bits


def as_function(torch, net):
    """Outputs of a network as an autograd.Function of inputs, initial state and parameters: its backward is ours."""

    class Outputs(torch.autograd.Function):
        @staticmethod
        def forward(ctx, X, initial_state, *parameters):
            ctx.save_for_backward(X, initial_state, *parameters)
            put(parameters)
            Y, _ = net.forward(X.detach().numpy(), initial_state.detach().numpy())
            return torch.from_numpy(Y)

        @staticmethod
        def backward(ctx, dY):
            X, initial_state, *parameters = ctx.saved_tensors
            put(parameters)
            found = net.backward(X.detach().numpy(), dY.contiguous().numpy(), initial_state=initial_state.detach().numpy(),
                                 input_gradient=True, initial_state_gradient=True)
            names = ("X", "initial_state", *net.parameters)
            return tuple(torch.from_numpy(found[name]) for name in names)

    def put(parameters):
        for view, value in zip(net.parameters.values(), parameters):
            view[...] = value.detach().numpy()

    return Outputs.apply


@pytest.mark.parametrize("seed", range(12))
def test_gradcheck_of_torch_in_slow_mode(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    T, B, I, H, O = (int(n) for n in rng.integers(1, (6, 4, 4, 6, 4)))  # noqa: E741
    net = RNN(I, H, O, activation=("tanh", "sigmoid", "softplus")[seed % 3], dtype="float64", bias=seed % 4 != 3,
              output_activation=("identity", "tanh", "sigmoid", "exp")[seed % 4], random_state=seed)
    given = [rng.standard_normal((T, B, I)), rng.standard_normal((B, H)),
             *(value + 0.3 * rng.standard_normal(value.shape) for value in net.parameters.values())]
    tensors = [torch.tensor(value, requires_grad=True) for value in given]
    assert torch.autograd.gradcheck(as_function(torch, net), tensors, nondet_tol=0.0, fast_mode=False)


def test_gradcheck_at_a_size_that_tells_faults_apart():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    net = RNN(5, 8, 2, dtype="float64", random_state=0)
    given = [rng.standard_normal((20, 4, 5)), rng.standard_normal((4, 8)), *net.state_dict().values()]
    tensors = [torch.tensor(value, requires_grad=True) for value in given]
    assert torch.autograd.gradcheck(as_function(torch, net), tensors, atol=1e-8, rtol=1e-6, nondet_tol=0.0, fast_mode=False)


# ---- ONNX: a node RNN, GRU or LSTM, computed by a network

# The cell of each operator, and which block of ONNX's weights each of our gates is: ONNX has z, r, h and i, o, f, c
OPERATORS = {"RNN": ("plain", (0,)), "GRU": ("gru", (1, 0, 2)), "LSTM": ("lstm", (0, 2, 3, 1))}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
ACTIVATIONS = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid", "Softsign": "softsign", "Elu": "elu"}
REFUSED = {"P": "an LSTM with peephole connections", "clip": "clipped pre-activations", "input_forget": "coupled gates",
           "activation_alpha": "activations with a parameter", "activation_beta": "activations with a parameter"}

both_backends = pytest.mark.parametrize("backend", ["core", "reference"])


def hidden_activation(op, names):
    """Return our name of g1, given ONNX's names of the activations of one direction: gates first."""
    *gates, last = names[:2] if op == "LSTM" else names
    if set(gates) - {"Sigmoid"} or last not in ACTIVATIONS or (op == "LSTM" and names[2] != last):
        raise ValueError(f"activations must be Sigmoid for gates and one other function, got {', '.join(names)}")
    return ACTIVATIONS[last]


def network_of(op, given, attributes):
    """Return the network with the weights of a node. Its outputs are its states."""
    for name in given.keys() | attributes.keys():
        if name in REFUSED:
            raise ValueError(f"{name} must not be given: fastbptt does not have {REFUSED[name]}")
    cell, order = OPERATORS[op]
    directions, _, I = given["W"].shape
    H = given["R"].shape[2]
    names = attributes.get("activations", {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"]}.get(op, ["Sigmoid", "Tanh", "Tanh"])
                           * directions)
    names = [name.decode() if isinstance(name, bytes) else name for name in names]
    each = {hidden_activation(op, list(part)) for part in np.array(names).reshape(directions, -1)}
    if len(each) != 1:
        raise ValueError(f"activations must be the same in both directions, got {', '.join(names)}")
    options = {"reset_after": bool(attributes.get("linear_before_reset", 0))} if op == "GRU" else {}
    options |= {"activation": each.pop(), "bidirectional": directions == 2, "bias": "B" in given}
    net = RNN(I, H, directions * H, cell=cell, **options)
    net.parameters["W_y"][...] = np.eye(directions * H)
    if net.bias:
        net.parameters["b_y"][...] = 0

    def ours(array):
        return np.concatenate([np.split(array, len(order))[k] for k in order])

    for d, end in enumerate(("", "_reverse")[:directions]):
        net.parameters["W_x" + end][...] = ours(given["W"][d])
        net.parameters["W_s" + end][...] = ours(given["R"][d])
        if net.bias:
            of_inputs, of_states = (ours(part) for part in np.split(given["B"][d], 2))
            if "b_n" + end in net.parameters:
                net.parameters["b_n" + end][...] = of_states[2 * H:]
                of_states[2 * H:] = 0
            net.parameters["b_s" + end][...] = of_inputs + of_states
    return net


def in_reverse(X, lengths):
    """Return X (T, B, ..) with each sequence from its last step to its first. Padding stays."""
    X = X.copy()
    for row, n in enumerate(lengths):
        X[:n, row] = X[:n, row][::-1].copy()
    return X


def compute_node(node, inputs, backend="core"):
    """Return the outputs of a node RNN, GRU or LSTM that it names, as the network computes them."""
    onnx = pytest.importorskip("onnx")
    inputs = iter(inputs)
    given = {slot: next(inputs) for slot, name in zip(INPUTS, node.input) if name}
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    net = network_of(node.op_type, given, attributes)
    samples_first, reverse = attributes.get("layout", 0) == 1, attributes.get("direction") == b"reverse"
    X = given["X"].swapaxes(0, 1) if samples_first else given["X"]
    lengths = given.get("sequence_lens", np.full(X.shape[1], len(X)))
    zeros = np.zeros((len(given["W"]), X.shape[1], net.hidden_size), np.float32)
    states = [given.get(name, zeros) for name in ("initial_h", "initial_c")[:1 + (net.cell == "lstm")]]
    states = [state.swapaxes(0, 1) if samples_first and state is not zeros else state for state in states]
    start = tuple(np.concatenate(states, axis=-1))
    Y, final = net.forward(in_reverse(X, lengths) if reverse else X, start if len(start) > 1 else start[0], lengths=lengths,
                           backend=backend)
    Y = in_reverse(Y, lengths) if reverse else Y
    Y = Y.reshape(*Y.shape[:2], len(start), -1).swapaxes(1, 2)
    last = np.split(np.stack(final) if len(start) > 1 else final[None], len(states), axis=-1)
    if samples_first:
        Y, last = Y.transpose(2, 0, 1, 3), [each.swapaxes(0, 1) for each in last]
    return [value for name, value in zip(node.output, (Y, *last)) if name]


def assert_outputs(found, expected):
    assert [each.shape for each in found] == [each.shape for each in expected]
    for each, value in zip(found, expected):
        assert each.dtype == value.dtype == np.float32
        np.testing.assert_allclose(each, value, rtol=1e-5, atol=1e-6)


# ---- ONNX's backend tests of these operators

NODE_CASES = [f"test_{name}" for name in (
    *(f"{op}_{case}" for op in ("gru", "lstm", "simple_rnn")
      for case in ("defaults", "with_initial_bias", "batchwise", "reverse", "bidirectional")),
    "gru_seq_length", "rnn_seq_length")]
PEEPHOLES = "test_lstm_with_peepholes"


@pytest.fixture(scope="module")
def node_cases():
    """Return the node, the inputs and the outputs of each of ONNX's backend tests of RNN, GRU and LSTM, by name."""
    pytest.importorskip("onnx")
    node, found = importlib.import_module("onnx.backend.test.case.node"), {}
    for op in OPERATORS:
        module = importlib.import_module(f"{node.__name__}.{op.lower()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "expect", lambda node, inputs, outputs, name: found.update({name: (node, inputs, outputs)}))
            for name, export in vars(getattr(module, op)).items():
                if name.startswith("export"):
                    np.random.seed(0)  # as ONNX does
                    export()
    return found


def test_every_backend_test_of_onnx_is_taken(node_cases):
    assert sorted(node_cases) == sorted([*NODE_CASES, PEEPHOLES])


@both_backends
@pytest.mark.parametrize("name", NODE_CASES)
def test_outputs_are_those_of_onnxs_backend_test(node_cases, name, backend):
    node, inputs, outputs = node_cases[name]
    assert_outputs(compute_node(node, inputs, backend), outputs)


def test_peepholes_of_onnx_are_refused_by_name(node_cases):
    node, inputs, _ = node_cases[PEEPHOLES]
    with pytest.raises(ValueError, match="^P must not be given: .* peephole"):
        compute_node(node, inputs)


# ---- Random nodes: each gate has its own weights


def random_node(op, seed, plain=False):
    """Return a node and its inputs. `plain`: one direction, no lengths."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(n) for n in rng.integers(1, (30, 12, 12, 40)))  # noqa: E741
    G, direction = len(OPERATORS[op][1]), "forward" if plain else ("bidirectional", "forward", "reverse", "forward")[seed % 4]
    directions = 2 if direction == "bidirectional" else 1
    lengths = rng.integers(1, T + 1, B).astype(np.int32)
    lengths[0] = T  # onnxruntime's Y has as many steps as X

    def draw(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(shape[-1]))

    inputs = {"X": rng.standard_normal((T, B, I)).astype(np.float32), "W": draw(directions, G * H, I),
              "R": draw(directions, G * H, H), "B": draw(directions, 2 * G * H), "sequence_lens": lengths,
              "initial_h": draw(directions, B, H)}
    if op == "LSTM":
        inputs["initial_c"] = draw(directions, B, H)
    if plain:
        del inputs["sequence_lens"]
    if seed % 3 == 0:
        del inputs["B"]
    g = list(ACTIVATIONS)[0 if plain else seed % len(ACTIVATIONS)]
    attributes = {"activations": {"RNN": [g], "GRU": ["Sigmoid", g], "LSTM": ["Sigmoid", g, g]}[op] * directions}
    if op == "GRU":
        attributes["linear_before_reset"] = seed // 2 % 2
    last = ["Y_h", "Y_c"][:1 + (op == "LSTM")]
    names = [name if name in inputs else "" for name in INPUTS[:7 if op == "LSTM" else 6]]
    node = onnx.helper.make_node(op, names, ["Y", *last], hidden_size=H, direction=direction, **attributes)
    return node, inputs


def model_of(node, inputs):
    """Return the model that consists of a node."""
    from onnx import TensorProto, helper

    kinds = {np.dtype("f4"): TensorProto.FLOAT, np.dtype("i4"): TensorProto.INT32}
    given = [helper.make_tensor_value_info(name, kinds[each.dtype], each.shape) for name, each in inputs.items()]
    graph = helper.make_graph(
        [node], "recurrence", given,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("op", OPERATORS)
def test_states_are_those_of_onnxs_reference(op, seed):
    """Which has no lengths, and no other activations."""
    node, inputs = random_node(op, seed, plain=True)
    from onnx.reference import ReferenceEvaluator

    expected = ReferenceEvaluator(model_of(node, inputs)).run(None, inputs)
    assert_outputs(compute_node(node, inputs.values()), [np.asarray(each, np.float32) for each in expected])


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("op", OPERATORS)
def test_states_are_those_of_onnxruntime(op, seed):
    runtime = pytest.importorskip("onnxruntime")
    node, inputs = random_node(op, seed)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(model_of(node, inputs).SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert_outputs(compute_node(node, inputs.values()), session.run(None, inputs))
