"""Other people's checks through thin adapters: PyTorch's gradcheck in its slow mode, ONNX's RNN as onnxruntime computes it."""

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


# ---- ONNX


ONNX_NAMES = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softsign": "Softsign", "elu": "Elu"}


def onnx_session(net, B, lengths, state):
    """The recurrence of a network as a model of one RNN node of ONNX."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    p, directions = net.parameters, 2 if net.bidirectional else 1
    suffixes = ["", "_reverse"][:directions]
    zero = np.zeros(net.hidden_size, "f4")
    constants = {"W": np.stack([p["W_x" + end] for end in suffixes]), "R": np.stack([p["W_s" + end] for end in suffixes]),
                 "B": np.stack([np.concatenate([p["b_s" + end] if net.bias else zero, zero]) for end in suffixes]),
                 "lengths": lengths.astype(np.int32), "state": state}
    node = helper.make_node("RNN", ["X", "W", "R", "B", "lengths", "state"], ["Y", "Y_h"], hidden_size=net.hidden_size,
                            activations=[ONNX_NAMES[net.activation]] * directions,
                            direction="bidirectional" if net.bidirectional else "forward")
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "recurrence", [helper.make_tensor_value_info("X", real, [None, B, net.input_size])],
        [helper.make_tensor_value_info("Y", real, [None, directions, B, net.hidden_size]),
         helper.make_tensor_value_info("Y_h", real, [directions, B, net.hidden_size])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("seed", range(40))
def test_states_are_those_of_onnxruntime(seed):
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(n) for n in rng.integers(1, (30, 12, 12, 40)))  # noqa: E741
    activation = list(ONNX_NAMES)[seed % len(ONNX_NAMES)]
    net = RNN(I, H, 2, activation=activation, bias=seed % 3 != 0, bidirectional=seed % 4 == 0, random_state=seed)
    X, lengths = rng.standard_normal((T, B, I)).astype("f4"), rng.integers(1, T + 1, B)
    lengths[0] = T  # onnxruntime's Y has as many steps as X
    directions = 2 if net.bidirectional else 1
    state = rng.uniform(-1, 1, (directions, B, H)).astype("f4")
    Y, Y_h = onnx_session(net, B, lengths, state).run(None, {"X": X})
    _, final_state, run = net.forward(X, tuple(state) if net.bidirectional else state[0], lengths=lengths, return_states=True)
    S = run.S
    there = np.arange(T)[:, None] < lengths
    for d in range(directions):
        np.testing.assert_allclose(final_state[d] if net.bidirectional else final_state, Y_h[d], rtol=0, atol=5e-6)
    states = S[0] if net.bidirectional else S
    np.testing.assert_allclose(states[1:][there], Y[:, 0][there], rtol=0, atol=5e-6)
