"""The specification of gated cells (GRU, GRU with the reset before the product, LSTM): formulas and complex steps.

Every option meets every cell. The complex-step derivative of the forward pass is exact to rounding.
"""

import cases
import gated
import numpy as np
import pytest
from cases import ACTIVATIONS, HEADS, STEP
from gated import B, by_hand, CELLS, H, I, O, T

from fastbptt import reference
from fastbptt.backends.arguments import Batch, CallOptions, KnownStates
from fastbptt.backends.reference import ReferenceBackend
from fastbptt.options import cells

LIMIT = 1e-12  # relative, of gradients against the complex step

every_cell = pytest.mark.parametrize("name", CELLS)
STACKS = {"one": {}, "two layers": {"sizes": (5, 7)}, "both directions": {"both": True},
          "two layers, both directions": {"sizes": (5, 4), "both": True}}
every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=list(STACKS))


class Call:
    """The arguments of an operation of the reference: data, and options by keyword."""

    def __init__(self, name, seed=0, *, bias=True, learnt=False, given=True, ids=False, head=HEADS[0], weights="step",
                 lengths=False, resets=False, output="sequence", stack=None, **options):
        rng, stack = np.random.default_rng([seed, 1]), stack or {}
        case = cases.draw(cases.Shape(T, B, I, H, O, ""), head=head, choice=cases.Choice(bias, learnt, given, weights, "mean"),
                          seed=seed)
        last = output == "last"
        self.name, self.p = name, gated.parameters(name, seed, bias=bias, learnt=learnt, outputs=O * head.levels, **stack)
        if head.output_activation == "exp":  # else one sequence outweighs all others
            self.p["W_y"] *= 0.4
        self.X = rng.integers(I, size=(T, B)) if ids else case.X
        self.D = case.D[0] if last else case.D
        self.dY = case.dY[0] if last else case.dY
        self.state = gated.states(name, rng, **stack) if given else None
        self.kind = {"activation": "tanh", "output": output, "output_activation": head.output_activation} | CELLS[name] | options
        if lengths:
            self.kind["lengths"] = np.array([T, 2, 1 if last else 0, T - 1])
        if resets:
            self.kind["resets"] = rng.random((T, B)) < 0.3
            self.kind["resets"][0, 0] = self.kind["resets"][3, 0] = True
            self.kind["resets"][:T - 2, 3] = False  # errors of this sequence reach its initial state
        weights = None if case.weights is None else case.weights[0] if last else case.weights
        self.loss_kind = {"loss": head.loss, "loss_parameter": head.loss_parameter, "weights": weights}

    def forward(self, **more):
        return reference.forward(self.p, self.X, self.state, **self.kind, **more)

    def gradients(self, **more):
        return reference.loss_and_gradients(self.p, self.X, self.D, initial_state=self.state, input_gradient=self.X.ndim == 3,
                                            initial_state_gradient=True, **self.loss_kind, **self.kind, **more)


def moved(call, place, direction, function):
    """∂function/∂place along a direction, by complex step. `place` is a parameter, "X", or ("initial_state", number)."""
    step = 1j * STEP * direction
    p, X, state = dict(call.p), call.X, call.state
    if place == "X":
        X = X + step
    elif isinstance(place, tuple):
        all_states = list(state) if isinstance(state, tuple) else [state]
        all_states[place[1]] = all_states[place[1]] + step
        state = tuple(all_states) if isinstance(state, tuple) else all_states[0]
    else:
        p[place] = p[place] + step
    return function(p, X, state).imag / STEP


def places(call, gradients):
    """Everything that the error depends on, with its gradient."""
    for name in call.p:
        yield name, gradients[name]
    if call.X.ndim == 3:
        yield "X", gradients["X"]
    if call.state is not None:
        of_state = gradients["initial_state"]
        for n, gradient in enumerate(of_state if isinstance(of_state, tuple) else [of_state]):
            yield ("initial_state", n), gradient


def assert_exact(call, gradients, function, directions=2):
    """Along random directions of each array by itself: a wrong entry shows in the one number."""
    rng = np.random.default_rng(5)
    for place, gradient in places(call, gradients):
        for _ in range(directions):
            direction = rng.standard_normal(gradient.shape)
            truth, products = moved(call, place, direction, function), gradient * direction
            size = np.abs(products).sum()
            assert size > 0, f"∂E/∂{place} is zero"
            assert abs(products.sum() - truth) <= LIMIT * size, f"∂E/∂{place} is off by {abs(products.sum() - truth) / size:.1e}"


def loss_of(call):
    def function(p, X, state):
        return reference.loss(p, X, call.D, initial_state=state, **call.loss_kind, **call.kind)
    return function


# ---------------------------------------------------------------------------------------------------------------------
# The forward pass
# ---------------------------------------------------------------------------------------------------------------------


@every_cell
@pytest.mark.parametrize("activation", ["tanh", "softsign"])
@pytest.mark.parametrize("bias", [True, False])
def test_states_gates_and_outputs_are_those_of_the_formulas(name, activation, bias):
    call = Call(name, bias=bias, learnt=True, lengths=True, resets=True, activation=activation)
    Y, final, S, R = call.forward(return_rates=True)
    row, g = gated.row_of(name), reference.ACTIVATIONS[activation][0]
    assert S.shape == (T + 1, B, len(row.states) * H) and R.shape == (T, B, len(row.saves) * H)
    for b, steps in enumerate(call.kind["lengths"]):
        state = call.state[b]
        for t in range(steps):
            state = call.p["S_0"] if call.kind["resets"][t, b] else state
            state, kept = by_hand(name, call.p, call.X[t, b], state, g)
            np.testing.assert_allclose(S[t + 1, b], state, atol=1e-14)
            np.testing.assert_allclose(R[t, b], kept, atol=1e-14)
            np.testing.assert_allclose(Y[t, b], call.p["W_y"] @ state[:H] + call.p.get("b_y", 0), atol=1e-14)
        np.testing.assert_allclose(final[b], state, atol=1e-14)
        assert not S[steps + 1:, b].any() and not R[steps:, b].any() and not Y[steps:, b].any()


@every_cell
def test_steps_in_a_row_are_the_forward_pass(name):
    call = Call(name, ids=True)
    Y, final, _ = call.forward()
    options, state = {key: value for key, value in call.kind.items() if key != "output"}, call.state
    for t in range(T):
        y, state = reference.step(call.p, call.X[t], state, **options)
        np.testing.assert_array_equal(y, Y[t])
    np.testing.assert_array_equal(state, final)


@every_cell
@pytest.mark.parametrize("dtype", ["float32", "longdouble", "complex64", "complex128"])
def test_results_have_the_dtype_of_the_parameters(name, dtype):
    call = Call(name)
    Y, _, S, R = call.forward(return_rates=True)
    _, gradients = call.gradients()
    call.p = {key: value.astype(dtype) for key, value in call.p.items()}
    results = call.forward(return_rates=True)
    _, in_dtype = call.gradients()
    assert {array.dtype for array in (*results, *in_dtype.values())} == {np.dtype(dtype)}
    limit = 1e-4 if np.dtype(dtype) in ("float32", "complex64") else 1e-13
    for result, truth in zip((*results, *in_dtype.values()), (Y, S[-1], S, R, *gradients.values()), strict=True):
        np.testing.assert_allclose(result, truth, atol=limit, rtol=limit)


# ---------------------------------------------------------------------------------------------------------------------
# Gradients
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.share(3)
@every_cell
def test_every_entry_of_every_gradient(name):
    call = Call(name, learnt=True, resets=True, lengths=True)
    _, gradients = call.gradients()
    assert list(gradients) == [*call.p, "X", "initial_state"]
    for place, gradient in places(call, gradients):
        truth = np.empty_like(gradient)
        for j in range(truth.size):
            truth.flat[j] = moved(call, place, np.eye(1, truth.size, j).reshape(truth.shape), loss_of(call))
        assert np.abs(gradient - truth).max() <= LIMIT * np.abs(truth).max(), place


OPTIONS = [
    {}, {"bias": False}, {"learnt": True, "given": False}, {"learnt": True, "resets": True}, {"resets": True, "given": False},
    {"lengths": True}, {"lengths": True, "resets": True, "learnt": True}, {"output": "last"},
    {"output": "last", "lengths": True, "resets": True, "learnt": True, "given": False}, {"ids": True},
    {"ids": True, "lengths": True, "output": "last", "bias": False}, {"weights": "none"}, {"weights": "output"},
]


@pytest.mark.share(3)
@every_cell
@every_stack
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_the_complex_step(name, stack, options):
    call = Call(name, 3, stack=stack, **options)
    E, gradients = call.gradients()
    assert E == reference.loss(call.p, call.X, call.D, initial_state=call.state, **call.loss_kind, **call.kind)
    assert_exact(call, gradients, loss_of(call), directions=1)


@every_cell
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation(name, activation):
    call = Call(name, 4, activation=activation, learnt=True, resets=True)
    if reference.reads_input(activation):
        with pytest.raises(ValueError, match=f"activation='{activation}' requires cell='plain', got cell='{name[:3]}"):
            call.gradients()
        return
    assert_exact(call, call.gradients()[1], loss_of(call))


@pytest.mark.share(3)
@every_cell
@pytest.mark.parametrize("head", HEADS, ids=[head.name for head in HEADS])
def test_gradients_of_every_loss(name, head):
    call = Call(name, 5, head=head, lengths=True)
    assert_exact(call, call.gradients()[1], loss_of(call), directions=1)


@every_cell
@every_stack
@pytest.mark.parametrize("output", ["sequence", "last"])
def test_gradients_of_any_loss_from_its_dY(name, stack, output):
    call = Call(name, 6, stack=stack, output=output, lengths=True, resets=True, learnt=True,
                head=cases.Head("squared_error", None, "softmax"))
    gradients = reference.backward(call.p, call.X, call.dY, initial_state=call.state, input_gradient=True,
                                   initial_state_gradient=True, **call.kind)
    assert_exact(call, gradients, lambda p, X, state: (call.dY * reference.forward(p, X, state, **call.kind)[0]).sum(),
                 directions=1)


@every_cell
@every_stack
def test_gradients_of_penalties(name, stack):
    call = Call(name, 7, stack=stack, learnt=True, lengths=True, resets=True)
    numbers = {key: 0.1 * k for k, key in enumerate(call.p, 1)}
    rates = {key: value for key, value in call.kind.items() if key not in ("output", "output_activation")}
    E, gradients = call.gradients(rate_penalty=0.7, l1=numbers, l2=numbers)

    def penalized(p, X, state):
        return (loss_of(call)(p, X, state) + 0.7 * reference.mean_square_rate(p, X, initial_state=state, **rates)
                + reference.penalty(p, numbers, numbers))

    assert_exact(call, gradients, penalized, directions=1)
    np.testing.assert_allclose(E, penalized(call.p, call.X, call.state), rtol=1e-14)
    if not stack:  # h alone, not c
        S, alive = call.forward()[2], np.arange(T)[:, None] < call.kind["lengths"]
        np.testing.assert_allclose(reference.mean_square_rate(call.p, call.X, initial_state=call.state, **rates),
                                   (S[1:, :, :H][alive] ** 2).mean(), rtol=1e-14)


@every_cell
def test_gradients_of_parametrized_parameters(name):
    call, rng = Call(name, 8), np.random.default_rng(0)
    maps = {key: reference.Map(rng.random(call.p[key].shape) < 0.7, rng.integers(-1, 2, call.p[key].shape),
                               np.ones(call.p[key].shape, bool)) for key in ("W_s", "W_x", "b_s")}
    call.kind["maps"] = maps
    assert_exact(call, call.gradients()[1], loss_of(call))
    frozen = {key: each._replace(trainable=np.zeros(each.present.shape, bool)) for key, each in maps.items()}
    call.kind["maps"] = frozen
    assert not any(call.gradients()[1][key].any() for key in maps)


# ---------------------------------------------------------------------------------------------------------------------
# Noise and dropout
# ---------------------------------------------------------------------------------------------------------------------

DRAWS = reference.Draws(11, 12, call=3, first=5)


@every_cell
@every_stack
def test_gradients_with_input_noise_and_dropout(name, stack):
    call = Call(name, 9, stack=stack, learnt=True, resets=True, lengths=True, input_noise_std=0.3, recurrent_dropout=0.4,
                draws=DRAWS)
    assert_exact(call, call.gradients()[1], loss_of(call), directions=1)


@every_cell
def test_one_mask_drops_h_before_W_s_for_all_gates(name):
    call = Call(name, 9, recurrent_dropout=0.4, draws=DRAWS)
    mask, state = reference.dropout_mask(DRAWS, 0, B, H, 0.4), call.state
    assert 0 < np.count_nonzero(mask) < mask.size
    S = call.forward()[2]
    for t in range(T):
        state = np.stack([by_hand(name, call.p, call.X[t, b], state[b], mask=mask[b])[0] for b in range(B)])
        np.testing.assert_allclose(S[t + 1], state, atol=1e-14)


@every_cell
def test_input_noise_is_that_of_units_without_leak(name):
    call = Call(name, 9)
    noise = np.sqrt(2) * 0.3 * reference.normals(DRAWS, reference.INPUT, T, B, I)
    noisy = reference.forward(call.p, call.X, call.state, input_noise_std=0.3, draws=DRAWS, **call.kind)
    for found, truth in zip(noisy, reference.forward(call.p, call.X + noise, call.state, **call.kind)):
        np.testing.assert_allclose(found, truth, atol=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# Padding and truncation
# ---------------------------------------------------------------------------------------------------------------------


@every_cell
@every_stack
def test_padding_is_never_read(name, stack):
    call = Call(name, 10, stack=stack, lengths=True, resets=True, weights="none")
    E, gradients = call.gradients()
    padding = np.arange(T)[:, None] >= call.kind["lengths"]
    call.X[padding], call.D[padding] = np.nan, np.nan
    E_padded, padded = call.gradients()
    assert E == E_padded
    for (key, gradient), (_, with_nan) in zip(places(call, gradients), places(call, padded), strict=True):
        np.testing.assert_array_equal(gradient, with_nan, str(key))
    assert not padded["X"][padding].any()


@every_cell
@pytest.mark.parametrize("sizes", [(H,), (5, 7)])
@pytest.mark.parametrize("tbptt", [(2, 3), (3, 3), (4, 2), (1, 1), (3, 100)])
def test_truncation_holds_the_state_before_a_window_constant(name, sizes, tbptt):
    """Each window is an exact gradient: of its steps as a sequence that begins with constant states."""
    call = Call(name, 11, stack={"sizes": sizes}, learnt=True, resets=True, weights="none", reduction="sum")
    _, gradients = call.gradients(tbptt=tbptt)
    _, whole = call.gradients()
    S = call.forward()[2]
    truth = {key: np.zeros_like(value) for key, value in call.p.items()} | {"X": np.zeros_like(call.X)}
    truth |= {key: whole[key] for key in ("W_y", "b_y")}
    options = {key: value for key, value in call.kind.items() if key != "resets"}
    for begin, since, end in reference.windows(T, tbptt):
        m = np.ones((end - begin, B))
        m[:max(0, since - begin)] = 0
        first = tuple(each[begin] for each in S) if len(sizes) > 1 else S[begin]
        _, part = reference.loss_and_gradients(call.p, call.X[begin:end], call.D[begin:end], weights=m, initial_state=first,
                                               resets=call.kind["resets"][begin:end], input_gradient=True, **options)
        truth["X"][begin:end] += part["X"]
        for key in call.p.keys() - {"W_y", "b_y"}:
            truth[key] += part[key]
    for key, value in truth.items():
        assert np.abs(gradients[key] - value).max() <= LIMIT * np.abs(value).max(), key


@every_cell
@pytest.mark.parametrize("sizes", [(H,), (5, 7)])
def test_errors_go_back_through_past_steps(name, sizes):
    call, n = Call(name, 12, stack={"sizes": sizes}, learnt=True, resets=True, weights="none", reduction="sum"), 4
    _, _, S, R = call.forward(return_rates=True)

    def cut(arrays, *ends):
        return tuple(each[slice(*ends)] for each in arrays) if len(sizes) > 1 else arrays[slice(*ends)]

    past = {"past": cut(S, 1, n + 1), "past_rates": cut(R, n)}
    late = np.arange(T)[:, None] >= n + np.zeros(B)
    E, gradients = reference.loss_and_gradients(call.p, call.X, call.D, initial_state=call.state, weights=late,
                                                input_gradient=True, **call.kind)
    E_past, with_past = reference.loss_and_gradients(call.p, call.X, call.D, initial_state=call.state, input_gradient=True,
                                                     **call.kind, **past)
    assert E_past == E
    for key, gradient in gradients.items():
        np.testing.assert_allclose(with_past[key], gradient, rtol=0, atol=1e-13 * np.abs(gradient).max(), err_msg=key)
    halved = past | {"past_rates": cut(0.5 * R if len(sizes) == 1 else tuple(0.5 * each for each in R), n)}
    _, other = reference.loss_and_gradients(call.p, call.X, call.D, initial_state=call.state, **call.kind, **halved)
    assert np.abs(other["W_s"] - gradients["W_s"]).max() > 1e-3  # what the steps kept is read
    with pytest.raises(ValueError, match="past_rates must be given"):
        reference.loss(call.p, call.X, call.D, initial_state=call.state, **call.kind, past=past["past"])


@every_cell
@pytest.mark.parametrize("sizes", [(H,), (5, 7)])
def test_the_backend_exchanges_states_and_gates_as_flat_arrays(name, sizes):
    call, n, k2 = Call(name, 13, stack={"sizes": sizes}, learnt=True, resets=True, weights="none"), 2, 3
    theta = np.concatenate([value.ravel() for value in call.p.values()])
    options = {"activation": "tanh", "output": "sequence", "output_activation": "identity", "loss": "squared_error",
               "loss_parameter": None, "reduction": "mean", "leak": 1.0, "leak_form": "rate", "l1": {}, "l2": {}, "maps": None,
               "rate_penalty": 0.2, **CELLS[name]}
    backend = ReferenceBackend({key: value.shape for key, value in call.p.items()}, **options)
    row = cells.of(options)
    assert row is gated.row_of(name)
    assert backend.widths == [len(row.states) * H for H in sizes]
    resets, state = call.kind["resets"], call.state
    flat = np.concatenate(state, axis=-1) if len(sizes) > 1 else state
    results = call.forward(return_rates=True)
    batch = Batch(call.X, call.D, None, flat, None, resets)
    public = backend.forward(theta, batch, CallOptions(), True)
    assert len(public) == 3  # the gates are no result of a network
    for found, truth in zip(public[2] if len(sizes) > 1 else public[2:], results[2] if len(sizes) > 1 else results[2:3]):
        np.testing.assert_array_equal(found, truth)
    S, R = (np.concatenate(each, axis=-1) if len(sizes) > 1 else each for each in results[2:])
    assert S.shape == (T + 1, B, len(row.states) * sum(sizes)) and R.shape == (T, B, len(row.saves) * sum(sizes))
    found = {"gradient": np.empty_like(theta), "S": np.empty_like(S)}
    kept = np.empty_like(R)
    error, penalties, weight = backend.window_into(theta, batch, CallOptions(tbptt=(T, k2)),
                                                   KnownStates(S[1:n + 1], R[:n], own_start=True), R=kept, **found)
    np.testing.assert_array_equal(found["S"], S)
    np.testing.assert_array_equal(kept, R)
    assert weight == (T - n) * B
    options = {key: value for key, value in options.items() if key not in ("l1", "l2", "maps")}
    E, truth = reference.loss_and_gradients(
        call.p, call.X, call.D, initial_state=state, resets=resets, own_start=True, tbptt=(T, k2), **options,
        past=tuple(each[1:n + 1] for each in results[2]) if len(sizes) > 1 else S[1:n + 1],
        past_rates=tuple(each[:n] for each in results[3]) if len(sizes) > 1 else R[:n])
    np.testing.assert_allclose(error + penalties, E, rtol=1e-14)
    np.testing.assert_array_equal(found["gradient"], np.concatenate([truth[key].ravel() for key in call.p]))


# ---------------------------------------------------------------------------------------------------------------------
# Diagnostics
# ---------------------------------------------------------------------------------------------------------------------


def of_last_step(call, p, X, D, state):
    """E_t, the error of the last step of X."""
    return reference.losses(p, X, D, state, **call.kind)[-1].sum()


@every_cell
@pytest.mark.parametrize("t", [0, 3, T - 1])
def test_terms_of_a_gradient(name, t):
    call, rng = Call(name, 14, weights="none"), np.random.default_rng(2)
    p, X, D = call.p, call.X[:t + 1], call.D[:t + 1]
    terms = reference.gradient_terms(p, call.X, call.D, t, call.state, **call.kind)
    states = call.forward()[2]
    assert {key: value.shape for key, value in terms.items()} == {
        "W_s": (t + 1, *p["W_s"].shape), "W_x": (t + 1, *p["W_x"].shape), "W_y": p["W_y"].shape, "S": (t + 1, *states.shape[1:])}
    for i in range(t + 1):
        v = rng.standard_normal(terms["S"][i].shape)
        if i < t:
            at = states[i + 1] + 1j * STEP * v
            truth = of_last_step(call, p, X[i + 1:], D[i + 1:], at).imag / STEP
        else:  # the output reads h alone, and h is held fixed for the derivative with respect to c
            Z = (states[i + 1] + 1j * STEP * v)[:, :H] @ p["W_y"].T + p["b_y"]
            truth = ((Z - D[i]) ** 2).sum().imag / STEP
        assert abs((terms["S"][i] * v).sum() - truth) <= LIMIT * np.abs(terms["S"][i] * v).sum(), i
        for key in ("W_s", "W_x"):  # the immediate derivative: the parameter of step i alone
            v = rng.standard_normal(p[key].shape)
            step = p | {key: p[key] + 1j * STEP * v}
            if i < t:
                now = reference.step(step, X[i], states[i], **{k: a for k, a in call.kind.items() if k != "output"})[1]
                truth = of_last_step(call, p, X[i + 1:], D[i + 1:], now).imag / STEP
            else:
                truth = of_last_step(call, step, X[i:], D[i:], states[i]).imag / STEP
            assert abs((terms[key][i] * v).sum() - truth) <= LIMIT * np.abs(terms[key][i] * v).sum(), (key, i)
    _, gradients = reference.loss_and_gradients(p, X, D, initial_state=call.state, reduction="sum", **call.kind,
                                                weights=np.arange(t + 1)[:, None] == t + np.zeros(B))
    for key in ("W_s", "W_x"):
        np.testing.assert_allclose(terms[key].sum(axis=0), gradients[key], atol=1e-13)
    np.testing.assert_allclose(terms["W_y"], gradients["W_y"], atol=1e-13)


@every_cell
def test_gradient_flow_is_the_norm_of_the_terms(name):
    call = Call(name, 15)
    m = call.loss_kind["weights"]
    options = {key: value for key, value in call.kind.items() if key != "output"}
    flow = reference.gradient_flow(call.p, call.X, call.D, weights=m, initial_state=call.state, **options)
    parts = len(gated.row_of(name).states)
    assert len(flow) == 2 * parts
    whole = np.zeros((T, B, parts * H))
    for t in range(T):
        dS = np.zeros_like(whole)
        for b in range(B):  # the terms of each sequence alone, times its weight
            terms = reference.gradient_terms(call.p, call.X[:, [b]], call.D[:, [b]], t, call.state[[b]], **options)
            dS[:t + 1, b] = m[t, b] * terms["S"][:, 0]
        whole += dS
        for k in range(parts):
            np.testing.assert_allclose(flow[2 * k][t], np.linalg.norm(dS[..., k * H:(k + 1) * H], axis=(1, 2)), rtol=1e-12)
    for k in range(parts):
        np.testing.assert_allclose(flow[2 * k + 1], np.linalg.norm(whole[..., k * H:(k + 1) * H], axis=(1, 2)), rtol=1e-12)
    if parts == 2:
        assert not np.diag(flow[2]).any() and np.triu(flow[0].T).any()


@every_cell
@pytest.mark.parametrize("ids", [False, True])
def test_next_state_and_its_jacobian(name, ids):
    call = Call(name, 16, ids=ids)
    S = np.stack([call.state, -call.state])  # (2, B, ...), with X (B, ...)
    found = reference.jacobian(call.p, S, call.X[1], **call.kind)
    after = reference.next_state(call.p, S, call.X[1], **call.kind)
    step = reference.step(call.p, call.X[1], call.state, **{key: value for key, value in call.kind.items() if key != "output"})
    np.testing.assert_allclose(after[0], step[1], atol=1e-15)
    assert found.shape == (*S.shape, S.shape[-1])
    for j in range(S.shape[-1]):
        turned = S.astype(complex)
        turned[..., j] += 1j * STEP
        truth = reference.next_state(call.p, turned, call.X[1], **call.kind).imag / STEP
        np.testing.assert_allclose(found[..., j], truth, atol=1e-14)


@every_cell
def test_terms_are_products_of_jacobians(name):
    call = Call(name, 17, weights="none")
    states, dS = call.forward()[2], reference.gradient_terms(call.p, call.X, call.D, T - 1, call.state, **call.kind)["S"]
    for i in range(T - 1):
        J = reference.jacobian(call.p, states[i + 1], call.X[i + 1], **call.kind)
        np.testing.assert_allclose(dS[i], np.einsum("bk,bkj->bj", dS[i + 1], J), atol=1e-13)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, match", [
    ("gru", {"omega": 0.1}, "omega requires plain units"), ("lstm", {"noise_std": 0.1}, "noise_std requires cell='plain'"),
    ("gru_before", {"leak": 0.5}, "leak requires cell='plain'"),
    ("lstm", {"leak_form": "current"}, "leak requires cell='plain'"),
])
def test_options_of_plain_units_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        Call(name).gradients(**options)


def test_an_unknown_cell_is_refused():
    call = Call("gru")
    with pytest.raises(ValueError, match="cell must be 'plain', 'gru' or 'lstm', got 'elman'"):
        reference.forward(call.p, call.X, activation="tanh", cell="elman")


def test_the_table_has_the_numbers_of_each_cell():
    assert {name: (len(row.gates), len(row.states), len(row.saves)) for name, row in reference.CELLS.items()} == {
        "plain": (1, 1, 0), "rate": (1, 1, 1), "current": (1, 1, 1), "gru": (3, 1, 4), "gru_before": (3, 1, 3),
        "lstm": (4, 2, 6), "plain_input": (1, 1, 1), "current_input": (1, 1, 1)}
