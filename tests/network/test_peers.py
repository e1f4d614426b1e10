"""Against PyTorch, in float64: another implementation, another derivation of the gradient (reverse-mode autodiff).

And networks that go to PyTorch and back, and come from Keras, where that is installed too.
"""

import cases
import numpy as np
import pytest
from cases import COVERING_CHOICES, SHAPES, Head, Shape, assert_close, draw

from fastbptt import RNN, optimizers, reference, schedules

torch = pytest.importorskip("torch")

LIMIT = 1e-12

both_backends = pytest.mark.parametrize("backend", ["core", "reference"])


def tensor(array, **options):
    return torch.tensor(np.asarray(array), dtype=torch.float64, **options)


# ---------------------------------------------------------------------------------------------------------------------
# nn.RNN and nn.Linear
# ---------------------------------------------------------------------------------------------------------------------


def torch_network(network):
    """nn.RNN and nn.Linear with a network's parameters; b_s is split unevenly over the two biases of nn.RNN."""
    rnn = torch.nn.RNN(network.input_size, network.hidden_size, nonlinearity=network.activation,
                       bias=network.bias, dtype=torch.float64)
    linear = torch.nn.Linear(network.hidden_size, network.output_size, bias=network.bias, dtype=torch.float64)
    p = {name: tensor(value) for name, value in network.parameters.items()}
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(p["W_x"])
        rnn.weight_hh_l0.copy_(p["W_s"])
        linear.weight.copy_(p["W_y"])
        if network.bias:
            rnn.bias_ih_l0.copy_(0.25 * p["b_s"])
            rnn.bias_hh_l0.copy_(0.75 * p["b_s"])
            linear.bias.copy_(p["b_y"])
    return rnn, linear


def torch_gradients(rnn, linear, X, initial_state):
    gradients = {"W_x": rnn.weight_ih_l0.grad, "W_s": rnn.weight_hh_l0.grad, "W_y": linear.weight.grad, "X": X.grad,
                 "initial_state": initial_state.grad[0]}
    if rnn.bias:
        gradients |= {"b_s": rnn.bias_ih_l0.grad, "b_s again": rnn.bias_hh_l0.grad, "b_y": linear.bias.grad}
    return {name: gradient.numpy() for name, gradient in gradients.items()}


def assert_gradients(gradients, truth, case):
    """Every gradient of ours against torch's; b_s against that of both its biases."""
    assert gradients.keys() == truth.keys() - {"b_s again"}
    for name, gradient in gradients.items():
        assert_close(gradient, truth[name], LIMIT, f"∂E/∂{name}", case)
    if "b_s again" in truth:
        assert_close(gradients["b_s"], truth["b_s again"], LIMIT, "∂E/∂b_s", case)


def random_shapes(count):
    rng = np.random.default_rng(11)
    return [Shape(*(int(rng.integers(1, limit)) for limit in (30, 10, 12, 40, 8)), "random") for _ in range(count)]


@both_backends
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("shape", [SHAPES["discriminating"], SHAPES["one of all"], *random_shapes(30)],
                         ids=lambda shape: str(shape[:5]))
def test_outputs_loss_and_every_gradient_of_nn_rnn(shape, activation, backend):
    # relu has no draw of many units that keeps away from 0; both sides compute in float64, where none is on it.
    given = draw(shape, "tanh", choice=COVERING_CHOICES[0]._replace(given=True, learn_initial_state=False))
    for bias in (True, False):
        network = RNN(shape.I, shape.H, shape.O, activation=activation, bias=bias, reduction="sum", dtype="float64",
                      random_state=0)
        network.parameters.update({name: given.parameters[name] for name in network.parameters})
        rnn, linear = torch_network(network)
        X = tensor(given.X, requires_grad=True)
        initial_state = tensor(given.initial_state[None], requires_grad=True)
        S, final_state = rnn(X, initial_state)
        Y = linear(S)
        E = torch.nn.functional.mse_loss(Y, tensor(given.D), reduction="sum")
        E.backward()

        Y_ours, final_ours, run = network.forward(given.X, given.initial_state, return_states=True, backend=backend)
        S_ours = run.S
        assert_close(Y_ours, Y.detach().numpy(), LIMIT, "Y", given)
        assert_close(S_ours[1:], S.detach().numpy(), LIMIT, "S", given)
        assert_close(final_ours, final_state.detach().numpy()[0], LIMIT, "final state", given)
        E_ours, gradients = network.loss_and_gradients(given.X, given.D, initial_state=given.initial_state,
                                                       input_gradient=True, initial_state_gradient=True,
                                                       backend=backend)
        assert_close(E_ours, E.item(), LIMIT, "E", given)
        assert_gradients(gradients, torch_gradients(rnn, linear, X, initial_state), given)


@both_backends
def test_backward_takes_the_gradient_that_torch_has_by_the_outputs(backend):
    """A loss of one's own, by autodiff on Y, handed to backward."""
    case = draw(SHAPES["discriminating"], choice=COVERING_CHOICES[1])
    network = case.network()
    rnn, linear = torch_network(network)
    X = tensor(case.X, requires_grad=True)
    initial_state = tensor(case.initial_state[None], requires_grad=True)
    own_loss = linear(rnn(X, initial_state)[0]).cosh().log().sum()
    own_loss.backward()

    Y = tensor(network.forward(case.X, case.initial_state, backend=backend)[0], requires_grad=True)
    Y.cosh().log().sum().backward()
    gradients = network.backward(case.X, Y.grad.numpy(), initial_state=case.initial_state, input_gradient=True,
                                 initial_state_gradient=True, backend=backend)
    assert_gradients(gradients, torch_gradients(rnn, linear, X, initial_state), case)


# ---------------------------------------------------------------------------------------------------------------------
# num_layers and bidirectional
# ---------------------------------------------------------------------------------------------------------------------

PARTS = {"W_x": "weight_ih", "W_s": "weight_hh", "b_s": "bias_ih"}  # bias_hh is set to zero


def torch_names(network):
    """Our name of each parameter of a recurrence: its name in nn.RNN."""
    return {ours + suffix: f"{theirs}_l{layer}{'_reverse' * suffix.endswith('_reverse')}"
            for layer, suffixes in enumerate(reference.recurrences(network.parameters)) for suffix in suffixes
            for ours, theirs in PARTS.items()}


@both_backends
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_outputs_and_every_gradient_of_layers_in_both_directions(num_layers, bidirectional, activation, backend):
    """Of sequences of one length, and of unequal ones as nn.RNN has them packed."""
    rng = np.random.default_rng(num_layers)
    T, B, I, H, O = 9, 5, 4, 6, 3  # noqa: E741
    network = RNN(I, (H,) * num_layers, O, bidirectional=bidirectional, activation=activation, reduction="sum", dtype="float64",
                  initializer="torch", random_state=0)
    rnn = torch.nn.RNN(I, H, num_layers, nonlinearity=activation, bidirectional=bidirectional, dtype=torch.float64)
    linear = torch.nn.Linear(H * (1 + bidirectional), O, dtype=torch.float64)
    names = torch_names(network)
    with torch.no_grad():
        for ours, theirs in names.items():
            getattr(rnn, theirs).copy_(tensor(network.parameters[ours]))
            if ours.startswith("b_s"):
                getattr(rnn, theirs.replace("_ih", "_hh")).zero_()
        linear.weight.copy_(tensor(network.parameters["W_y"]))
        linear.bias.copy_(tensor(network.parameters["b_y"]))
    initial_state = rng.uniform(-1, 1, (num_layers * (1 + bidirectional), B, H))
    ours_initial = tuple(initial_state) if len(initial_state) > 1 else initial_state[0]
    for lengths in (None, np.array([5, 9, 1, 7, 9])):
        X, D = tensor(rng.standard_normal((T, B, I)), requires_grad=True), rng.standard_normal((T, B, O))
        h_0 = tensor(initial_state, requires_grad=True)
        for module in (rnn, linear):
            module.zero_grad()
        if lengths is None:
            S, h_n = rnn(X, h_0)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(X, torch.tensor(lengths), enforce_sorted=False)
            S, h_n = rnn(packed, h_0)
            S, _ = torch.nn.utils.rnn.pad_packed_sequence(S)
        Y = linear(S)
        there = np.ones((T, B)) if lengths is None else np.arange(T)[:, None] < lengths
        E = (tensor(there)[..., None] * (Y - tensor(D)) ** 2).sum()
        E.backward()

        Y_ours, final_ours = network.forward(X.detach().numpy(), ours_initial, lengths=lengths, backend=backend)
        assert_close(Y_ours, (tensor(there)[..., None] * Y).detach().numpy(), LIMIT, "Y")
        assert_close(np.stack(final_ours) if len(initial_state) > 1 else final_ours[None], h_n.detach().numpy(), LIMIT, "h_n")
        E_ours, gradients = network.loss_and_gradients(X.detach().numpy(), D, initial_state=ours_initial, lengths=lengths,
                                                       input_gradient=True, initial_state_gradient=True, backend=backend)
        assert_close(E_ours, E.item(), LIMIT, "E")
        truth = {ours: getattr(rnn, theirs).grad for ours, theirs in names.items()}
        truth |= {"W_y": linear.weight.grad, "b_y": linear.bias.grad, "X": X.grad, "initial_state": h_0.grad}
        assert gradients.keys() == truth.keys()
        if len(initial_state) > 1:
            gradients["initial_state"] = np.stack(gradients["initial_state"])
        for name, gradient in truth.items():
            expected = gradient.numpy().reshape(gradients[name].shape)
            assert_close(gradients[name], expected, LIMIT, f"∂E/∂{name}")


@both_backends
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_outputs_and_every_gradient_of_gated_cells(num_layers, bidirectional, cell, backend):
    """nn.GRU and nn.LSTM, of sequences of one length and packed ones. The order of gates is ours.

    b_s is the sum of both biases. The GRU's candidate n is the exception: its second bias is b_n.
    """
    rng = np.random.default_rng(num_layers)
    T, B, I, H, O = 9, 5, 4, 6, 3  # noqa: E741
    G = {"gru": 3, "lstm": 4}[cell]
    network = RNN(I, (H,) * num_layers, O, cell=cell, bidirectional=bidirectional, reduction="sum", dtype="float64",
                  random_state=0)
    p = network.parameters
    for value in p.values():
        value[...] = rng.normal(0, 0.5, value.shape)
    rnn = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](I, H, num_layers, bidirectional=bidirectional,
                                                              dtype=torch.float64)
    linear = torch.nn.Linear(H * (1 + bidirectional), O, dtype=torch.float64)
    names = torch_names(network)
    apart = {name: name.replace("b_s", "b_n") for name in names if name.startswith("b_s") and cell == "gru"}
    with torch.no_grad():
        for ours, theirs in names.items():
            getattr(rnn, theirs).copy_(tensor(p[ours]))
            if ours.startswith("b_s"):
                second = getattr(rnn, theirs.replace("_ih", "_hh"))
                second.zero_()
                if ours in apart:
                    second[2 * H:] = tensor(p[apart[ours]])
        linear.weight.copy_(tensor(p["W_y"]))
        linear.bias.copy_(tensor(p["b_y"]))
    each = num_layers * (1 + bidirectional)
    start = [rng.uniform(-1, 1, (each, B, H)) for _ in range(1 + (cell == "lstm"))]
    initial = np.concatenate(start, axis=-1)
    initial = tuple(initial) if each > 1 else initial[0]
    for lengths in (None, np.array([5, 9, 1, 7, 9])):
        X, D = tensor(rng.standard_normal((T, B, I)), requires_grad=True), rng.standard_normal((T, B, O))
        first = [tensor(state, requires_grad=True) for state in start]
        for module in (rnn, linear):
            module.zero_grad()
        given = X if lengths is None else torch.nn.utils.rnn.pack_padded_sequence(
            X, torch.tensor(lengths), enforce_sorted=False)
        S, last = rnn(given, tuple(first) if cell == "lstm" else first[0])
        if lengths is not None:
            S, _ = torch.nn.utils.rnn.pad_packed_sequence(S)
        last = torch.cat(last, -1) if cell == "lstm" else last
        there = tensor(np.ones((T, B)) if lengths is None else np.arange(T)[:, None] < lengths)[..., None]
        Y = linear(S)
        E = (there * (Y - tensor(D)) ** 2).sum()
        E.backward()

        how = {"lengths": lengths, "backend": backend}
        Y_ours, final = network.forward(X.detach().numpy(), initial, **how)
        assert_close(Y_ours, (there * Y).detach().numpy(), LIMIT, "Y")
        assert_close(np.stack(final) if each > 1 else final[None], last.detach().numpy(), LIMIT, "final state")
        E_ours, found = network.loss_and_gradients(X.detach().numpy(), D, initial_state=initial, input_gradient=True,
                                                   initial_state_gradient=True, **how)
        assert_close(E_ours, E.item(), LIMIT, "E")
        truth = {ours: getattr(rnn, theirs).grad for ours, theirs in names.items()}
        truth |= {apart[ours]: getattr(rnn, names[ours].replace("_ih", "_hh")).grad[2 * H:] for ours in apart}
        truth |= {"W_y": linear.weight.grad, "b_y": linear.bias.grad, "X": X.grad,
                  "initial_state": torch.cat([state.grad for state in first], -1)}
        assert found.keys() == truth.keys() and len(p["W_s"]) == G * H
        if each > 1:
            found["initial_state"] = np.stack(found["initial_state"])
        for name, gradient in truth.items():
            assert_close(found[name], gradient.numpy().reshape(found[name].shape), LIMIT, f"∂E/∂{name}")


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


def functional(name):
    """torch's loss of (Z, D), summed, where the definitions agree; the factor of ours by it."""
    F = torch.nn.functional
    return {
        "squared error": (Head("squared_error", None, "identity"), lambda Z, D: F.mse_loss(Z, D, reduction="sum")),
        "squared error of sigmoid": (Head("squared_error", None, "sigmoid"),
                                     lambda Z, D: F.mse_loss(Z.sigmoid(), D, reduction="sum")),
        "squared error of tanh": (Head("squared_error", None, "tanh"),
                                  lambda Z, D: F.mse_loss(Z.tanh(), D, reduction="sum")),
        "squared error of softmax": (Head("squared_error", None, "softmax"),
                                     lambda Z, D: F.mse_loss(Z.softmax(-1), D, reduction="sum")),
        "squared error of exp": (Head("squared_error", None, "exp"),
                                 lambda Z, D: F.mse_loss(Z.exp(), D, reduction="sum")),
        "absolute error": (Head("absolute_error", None, "identity"), lambda Z, D: F.l1_loss(Z, D, reduction="sum")),
        "huber": (Head("huber", 0.75, "identity"), lambda Z, D: F.huber_loss(Z, D, reduction="sum", delta=0.75)),
        "binary cross-entropy": (Head("binary_cross_entropy", None, "sigmoid"),
                                 lambda Z, D: F.binary_cross_entropy_with_logits(Z, D, reduction="sum")),
        "cross-entropy of labels": (Head("cross_entropy", None, "softmax", labels=True),
                                    lambda Z, D: F.cross_entropy(Z.flatten(0, 1), D.flatten().long(), reduction="sum")),
        "cross-entropy of distributions": (Head("cross_entropy", None, "softmax"),
                                           lambda Z, D: F.cross_entropy(Z.flatten(0, 1), D.flatten(0, 1),
                                                                        reduction="sum")),
        "poisson": (Head("poisson", None, "exp"),
                    lambda Z, D: F.poisson_nll_loss(Z, D, log_input=True, full=False, reduction="sum")),
        "quantile": (Head("quantile", (0.25, 0.875), "identity"), pinball),
    }[name]


def pinball(Z, D):
    """torch has no quantile loss: max(q r, (q − 1) r), by autodiff."""
    r_1, r_2 = D - Z[..., :D.shape[-1]], D - Z[..., D.shape[-1]:]
    return torch.maximum(0.25 * r_1, -0.75 * r_1).sum() + torch.maximum(0.875 * r_2, -0.125 * r_2).sum()


LOSSES = ["squared error", "squared error of sigmoid", "squared error of tanh", "squared error of softmax",
          "squared error of exp", "absolute error", "huber", "binary cross-entropy", "cross-entropy of labels",
          "cross-entropy of distributions", "poisson", "quantile"]


@both_backends
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_its_gradients(name, backend):
    head, loss = functional(name)
    choice = COVERING_CHOICES[0]._replace(given=True, learn_initial_state=False)
    for reduction in ("sum", "mean"):
        case = draw(SHAPES["discriminating"], head=head, choice=choice._replace(reduction=reduction))
        network = case.network()
        rnn, linear = torch_network(network)
        X = tensor(case.X, requires_grad=True)
        initial_state = tensor(case.initial_state[None], requires_grad=True)
        E = loss(linear(rnn(X, initial_state)[0]), tensor(case.D))
        if reduction == "mean":  # ours is divided by steps and sequences, not by outputs
            E = E / (case.shape.T * case.shape.B)
        E.backward()
        E_ours, gradients = network.loss_and_gradients(**case.data(), input_gradient=True, initial_state_gradient=True,
                                                       backend=backend)
        assert_close(E_ours, E.item(), LIMIT, "E", case)
        assert_gradients(gradients, torch_gradients(rnn, linear, X, initial_state), case)


@both_backends
@pytest.mark.parametrize("name", ["cross-entropy of labels", "squared error"])
def test_weights_are_those_of_a_weighted_sum(name, backend):
    head, _ = functional(name)
    case = draw(SHAPES["discriminating"], head=head, choice=COVERING_CHOICES[2]._replace(learn_initial_state=False))
    network = case.network()
    rnn, linear = torch_network(network)
    X = tensor(case.X, requires_grad=True)
    initial_state = tensor(case.initial_state[None], requires_grad=True)
    Z = linear(rnn(X, initial_state)[0])
    if head.labels:
        e = torch.nn.functional.cross_entropy(Z.flatten(0, 1), tensor(case.D).flatten().long(), reduction="none")
        e = e.reshape(case.weights.shape)
    else:
        e = torch.nn.functional.mse_loss(Z, tensor(case.D), reduction="none").sum(-1)
    assert_close(network.losses(case.X, case.D, initial_state=case.initial_state, backend=backend),
                 e.detach().numpy(), LIMIT, "losses", case)
    (tensor(case.weights) * e).sum().backward()
    _, gradients = network.loss_and_gradients(**case.data(), input_gradient=True, initial_state_gradient=True,
                                              backend=backend)
    assert_gradients(gradients, torch_gradients(rnn, linear, X, initial_state), case)


# ---------------------------------------------------------------------------------------------------------------------
# Optimisers
# ---------------------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    (optimizers.SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (optimizers.SGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (optimizers.SGD(0.1, momentum=0.9, nesterov=True),
     lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    (optimizers.RMSprop(0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    (optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-3), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-3)),
    (optimizers.Adagrad(0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    (optimizers.Adam(0.05), lambda p: torch.optim.Adam(p, lr=0.05)),
    (optimizers.Adam(), lambda p: torch.optim.Adam(p)),
    (optimizers.Adam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
     lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3)),
    (optimizers.AdamW(0.05), lambda p: torch.optim.AdamW(p, lr=0.05)),
    (optimizers.AdamW(0.05, weight_decay=0.5), lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.5)),
]


@both_backends
@pytest.mark.parametrize("ours, make", OPTIMIZERS, ids=[repr(ours) for ours, _ in OPTIMIZERS])
def test_ten_updates(ours, make, backend):
    rng = np.random.default_rng(12)
    theta, gradients = rng.normal(size=50), rng.normal(size=(10, 50))
    parameter = tensor(theta, requires_grad=True)
    theirs, slots = make([parameter]), ours.slots(theta)
    for count, gradient in enumerate(gradients, 1):
        ours.update(theta, gradient, slots, count, backend=backend)
        parameter.grad = tensor(gradient)
        theirs.step()
        assert_close(theta, parameter.detach().numpy(), LIMIT, f"theta after update {count}", ours)


@both_backends
def test_clipping(backend):
    """torch adds 1e-6 to the norm before it divides."""
    from fastbptt import _core, reference

    clip_norm = {"core": _core, "reference": reference}[backend].clip_norm
    gradient = np.random.default_rng(13).normal(size=100)
    parameter = tensor(np.zeros(100), requires_grad=True)
    parameter.grad = tensor(gradient)
    norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0).item()
    clipped, norm_ours = clip_norm(gradient, 1.0)
    assert_close(norm_ours, norm, 1e-14, "norm")
    assert_close(clipped, parameter.grad.numpy() * (norm + 1e-6) / norm, LIMIT, "the clipped gradient")


SCHEDULES = {
    "constant": (None, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1.0)),
    "step": (schedules.Step(every=3, gamma=0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "exponential": (schedules.Exponential(0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    "cosine": (schedules.Cosine(minimum=0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(
        o, 10, eta_min=0.1 * o.param_groups[0]["lr"])),
    "invscaling": ("invscaling", lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: (1 + epoch) ** -0.5)),
    "plateau": (schedules.Plateau(gamma=0.5, patience=0, threshold=0.05),
                lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.05)),
}


@both_backends
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("ours, make", OPTIMIZERS, ids=[repr(ours) for ours, _ in OPTIMIZERS])
def test_ten_epochs_of_training(ours, make, schedule, backend):
    """The losses of a run of `fit`, with clipping, are those of PyTorch's loop around its own module and optimiser."""
    rng = np.random.default_rng(14)
    X, D = rng.normal(size=(7, 5, 3)), rng.normal(size=(7, 5, 2))
    net = RNN(3, 6, 2, dtype="float64", random_state=0)
    rnn, linear = torch_network(net)
    rnn.bias_hh_l0.requires_grad_(False)  # PyTorch has two biases where one will do
    parameters = [p for p in (*rnn.parameters(), *linear.parameters()) if p.requires_grad]
    theirs = make(parameters)
    rate, scheduler = SCHEDULES[schedule][0], SCHEDULES[schedule][1](theirs)
    losses, rates = [], []
    for _ in range(10):
        theirs.zero_grad()
        loss = ((linear(rnn(tensor(X))[0]) - tensor(D)) ** 2).sum(dim=2).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1e9)
        theirs.step()
        losses.append(loss.item())
        rates.append(theirs.param_groups[0]["lr"])
        scheduler.step(*([loss.item()] if schedule == "plateau" else []))
    history = net.fit(X, D, epochs=10, batch_size=X.shape[1], optimizer=ours, schedule=rate, max_grad_norm=1e9,
                      backend=backend)
    np.testing.assert_allclose(history.learning_rate, rates, rtol=1e-12)
    np.testing.assert_allclose(history.train_loss, losses, rtol=1e-9)
    np.testing.assert_allclose(history.gradient_norm[-1], norm.item(), rtol=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# Converters
# ---------------------------------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """A module as a user of PyTorch writes it."""

    def __init__(self, sizes, nonlinearity="tanh", bias=True, layers=1, bidirectional=False):
        super().__init__()
        I, H, O = sizes
        self.rnn = torch.nn.RNN(I, H, layers, nonlinearity=nonlinearity, bias=bias, bidirectional=bidirectional,
                                dtype=torch.float64)
        self.linear = torch.nn.Linear(H * (1 + bidirectional), O, bias=bias, dtype=torch.float64)

    def forward(self, X, initial_state=None):
        return self.linear(self.rnn(X, initial_state)[0])


# Layers, and whether in two directions: as far as RNN has them
STACKS = [(1, False), (3, False), (1, True), (2, True)] if hasattr(RNN(1, 1, 1), "bidirectional") else [(1, False)]
every_stack = pytest.mark.parametrize("layers, bidirectional", STACKS)


@every_stack
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_module_of_torch_and_the_network_made_of_it_compute_the_same(nonlinearity, bias, layers, bidirectional):
    torch.manual_seed(0)
    model = Model((3, 7, 2), nonlinearity, bias, layers, bidirectional)
    X = np.random.default_rng(15).normal(size=(20, 4, 3))
    Y = model(tensor(X)).detach().numpy()
    for net in (RNN.from_torch(model), RNN.from_torch(model.rnn, model.linear),
                RNN.from_torch(model.state_dict(), activation=nonlinearity)):
        assert (net.activation, net.bias, net.dtype) == (nonlinearity, bias, "float64")
        assert_close(net.forward(X)[0], Y, LIMIT, "Y", net)
    assert_close(RNN.from_torch(model.rnn).forward(X)[0], model.rnn(tensor(X))[0].detach().numpy(), LIMIT, "S", net)


@every_stack
@pytest.mark.parametrize("learn_initial_state", [True, False])
def test_a_network_and_the_module_of_torch_made_of_it_compute_the_same(learn_initial_state, layers, bidirectional):
    shape = {} if layers == 1 else {"hidden_size": (7,) * layers}
    shape |= {"bidirectional": True} if bidirectional else {}
    net = RNN(**{"input_size": 3, "hidden_size": 7, "output_size": 2, "dtype": "float64", "random_state": 0,
                 "learn_initial_state": learn_initial_state} | shape)
    net.theta = np.random.default_rng(16).normal(size=net.theta.size)
    state = {name: torch.from_numpy(value) for name, value in net.to_torch().items()}
    initial_state = state.pop("h_0").expand(-1, 4, -1).contiguous() if learn_initial_state else None
    model = Model((3, 7, 2), layers=layers, bidirectional=bidirectional)
    model.load_state_dict(state)
    X = np.random.default_rng(17).normal(size=(20, 4, 3))
    assert_close(net.forward(X)[0], model(tensor(X), initial_state).detach().numpy(), LIMIT, "Y", net)
    again = RNN.from_torch(model.state_dict() | ({"h_0": initial_state[:, :1]} if learn_initial_state else {}))
    np.testing.assert_array_equal(again.theta, net.theta)


def test_other_modules_of_torch_are_refused():
    with pytest.raises(ValueError, match="proj_size"):
        RNN.from_torch(torch.nn.LSTM(3, 4, proj_size=2))
    with pytest.raises(ValueError, match="must hold one nn.RNN"):
        RNN.from_torch(torch.nn.Linear(3, 4))


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


@every_stack
@pytest.mark.parametrize("activation", ["tanh", "relu", "softsign", "elu"])
def test_a_model_of_keras_and_the_network_made_of_it_compute_the_same(keras, activation, layers, bidirectional):
    keras.utils.set_random_seed(0)

    def layer():
        rnn = keras.layers.SimpleRNN(7, activation=activation, return_sequences=True, dtype="float64",
                                     bias_initializer="random_normal")
        return keras.layers.Bidirectional(rnn, dtype="float64") if bidirectional else rnn

    dense = keras.layers.Dense(2, activation="sigmoid", dtype="float64", bias_initializer="random_normal")
    model = keras.Sequential([keras.Input((20, 3), dtype="float64"), *(layer() for _ in range(layers)), dense])
    X = np.random.default_rng(18).normal(size=(20, 4, 3))
    Y = np.asarray(model(X.swapaxes(0, 1))).swapaxes(0, 1)
    assert Y.dtype == np.float64
    for net in (RNN.from_keras(model), RNN.from_keras(model.layers),
                RNN.from_keras(model.get_weights(), activation=activation, output_activation="sigmoid")):
        assert_close(net.forward(X)[0], Y, LIMIT, "Y", net)
    p = net.parameters
    if (layers, bidirectional) == (1, False):
        model.set_weights([p["W_x"].T, p["W_s"].T, p["b_s"], p["W_y"].T, p["b_y"]])
        assert_close(np.asarray(model(X.swapaxes(0, 1))).swapaxes(0, 1), Y, 0, "Y of its own weights", net)


@every_stack
def test_a_keras_model_of_the_last_step(keras, layers, bidirectional):
    keras.utils.set_random_seed(1)
    rnns = [keras.layers.SimpleRNN(7, return_sequences=k < layers - 1, dtype="float64") for k in range(layers)]
    if bidirectional:
        rnns = [keras.layers.Bidirectional(rnn, dtype="float64") for rnn in rnns]
    model = keras.Sequential([keras.Input((20, 3), dtype="float64"), *rnns, keras.layers.Dropout(0.5, dtype="float64"),
                              keras.layers.Dense(2, dtype="float64")])
    X = np.random.default_rng(19).normal(size=(20, 4, 3))
    net = RNN.from_keras(model)
    assert net.output == "last"
    assert_close(net.forward(X)[0], np.asarray(model(X.swapaxes(0, 1))), LIMIT, "Y", net)


def keras_order(cell, array):
    """Return an array with our blocks of rows, with the blocks in Keras' order: z, r, n of a GRU."""
    if cell != "gru":
        return array
    r, z, n = np.split(array, 3)
    return np.concatenate([z, r, n])


def keras_loss_gradients(model, weights, X, there, D):
    """Return the outputs, Σ (D − Y)² over the real steps, and its gradients by the weights and X, by TensorFlow's autodiff."""
    tf = pytest.importorskip("tensorflow")
    X = tf.Variable(X)
    with tf.GradientTape() as tape:
        Y = model(X, mask=there)
        E = tf.reduce_sum(tf.where(there[..., None] if Y.ndim == 3 else True, (Y - D) ** 2, 0))
    found = tape.gradient(E, [*(weight.value for weight in weights), X])
    return Y.numpy(), float(E), [each.numpy() for each in found]


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both directions"])
@pytest.mark.parametrize("sequences", [True, False], ids=["sequences", "last"])
@pytest.mark.parametrize("options", [{"cell": "gru"}, {"cell": "gru", "reset_after": False}, {"cell": "gru", "bias": False},
                                     {"cell": "lstm"}, {"cell": "lstm", "bias": False, "activation": "softsign"}], ids=str)
def test_gated_layers_of_keras_have_our_outputs_and_gradients(keras, options, sequences, both):
    """In float64. A mask of Keras ends each sequence, as lengths do."""
    T, B, I, H, O = 9, 4, 3, 5, 2  # noqa: E741
    rng = np.random.default_rng(20)
    cell, activation, bias = options["cell"], options.get("activation", "tanh"), options.get("bias", True)
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    more = {"reset_after": options["reset_after"]} if "reset_after" in options else {}

    class Model(keras.Model):
        """A Sequential hands a mask on only from a layer that makes it."""

        def __init__(self):
            super().__init__(dtype="float64")
            self.supports_masking = True
            rnn = kind(H, activation=activation, use_bias=bias, return_sequences=sequences, dtype="float64", **more)
            self.rnn = keras.layers.Bidirectional(rnn, dtype="float64") if both else rnn
            self.dense = keras.layers.Dense(O, use_bias=bias, dtype="float64")

        def call(self, X, mask=None):
            return self.dense(self.rnn(X, mask=mask))

    model = Model()
    lengths = np.array([5, 9, 1, 7])
    there = np.arange(T) < lengths[:, None]
    X, D = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, O) if sequences else (B, O))
    model(X, mask=there)  # Keras builds its weights
    for layer in (model.rnn, model.dense):
        layer.set_weights([rng.normal(0, 0.5, array.shape) for array in layer.get_weights()])
    Y, E, gradients = keras_loss_gradients(model, [*model.rnn.weights, *model.dense.weights], X, there, D)

    net = RNN.from_keras([model.rnn, model.dense], reduction="sum")
    assert (net.cell, net.dtype, net.bias, net.output) == (cell, "float64", bias, "sequence" if sequences else "last")
    how = {"lengths": lengths}
    found, _ = net.forward(X.swapaxes(0, 1), **how)
    expected = np.where(there[..., None], Y, 0).swapaxes(0, 1) if sequences else Y
    assert_close(found, expected, LIMIT, "Y", net)
    D = D.swapaxes(0, 1) if sequences else D
    E_ours, ours = net.loss_and_gradients(X.swapaxes(0, 1), D, input_gradient=True, **how)
    assert_close(E_ours, E, LIMIT, "E", net)
    for end in ("", "_reverse")[:1 + both]:
        for name in ("W_x", "W_s"):
            assert_close(keras_order(cell, ours[name + end]).T, gradients.pop(0), LIMIT, f"∂E/∂{name + end}", net)
        if bias:
            d_b = gradients.pop(0)
            b_s = ours["b_s" + end]
            if "b_n" + end in ours:  # of the biases beside W_s, that of n is b_n, and those of the gates have b_s's gradient
                b_s = np.stack([b_s, np.concatenate([b_s[:2 * H], ours["b_n" + end]])])
            assert_close(keras_order(cell, b_s.T).T, d_b, LIMIT, f"∂E/∂b_s{end}", net)
    assert_close(ours["W_y"].T, gradients.pop(0), LIMIT, "∂E/∂W_y", net)
    if bias:
        assert_close(ours["b_y"], gradients.pop(0), LIMIT, "∂E/∂b_y", net)
    assert_close(ours["X"].swapaxes(0, 1), gradients.pop(), LIMIT, "∂E/∂X", net)
    assert not gradients


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_gated_layer_of_keras_that_goes_backwards_reads_the_steps_from_the_last_on(keras, cell):
    """from_keras refuses the layer and takes its weights. Initial and final states are the same too, in float32."""
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    rng = np.random.default_rng(21)
    layer = kind(7, return_sequences=True, return_state=True, go_backwards=True, dtype="float32")
    X = rng.standard_normal((4, 20, 3)).astype("f4")
    states = [rng.uniform(-1, 1, (4, 7)).astype("f4") for _ in range(1 + (cell == "lstm"))]
    layer(X)
    layer.set_weights([rng.normal(0, 0.5, array.shape).astype("f4") for array in layer.get_weights()])
    Y, *last = map(np.asarray, layer(X, initial_state=states))
    with pytest.raises(ValueError, match="go_backwards"):
        RNN.from_keras(layer)
    net = RNN.from_keras(layer.get_weights())
    assert (net.cell, net.dtype) == (cell, "float32")
    found, final = net.forward(X.swapaxes(0, 1)[::-1], np.concatenate(states, axis=-1))
    np.testing.assert_allclose(found.swapaxes(0, 1), Y, rtol=0, atol=1e-6)
    np.testing.assert_allclose(final, np.concatenate(last, axis=-1), rtol=0, atol=1e-6)


def test_shapes_are_at_least_thirty():
    assert len({shape[:5] for shape in random_shapes(30)}) == 30
    assert all(cases.SHAPES["one of all"][:5] != shape[:5] for shape in random_shapes(30))
