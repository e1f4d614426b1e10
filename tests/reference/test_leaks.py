"""The specification of separate and of trained leaks: its formulas, and its gradients against complex steps."""

import itertools

import numpy as np
import pytest

from fastbptt import reference

T, B, I, H, O = 6, 3, 2, 4, 2
LIMIT, STEP = 1e-12, 1e-30
FORMS = ("rate", "current")


def parameters(rng, layers=1, both=False, trained=True, initial_state=True):
    p, width = {}, I
    for layer in range(layers):
        for end in ("", "_reverse") if both else ("",):
            suffix = (f"_l{layer}" if layer else "") + end
            p |= {"W_x" + suffix: rng.normal(size=(H, width)), "W_s" + suffix: rng.normal(size=(H, H)) / 2,
                  "b_s" + suffix: rng.normal(size=H)}
            p |= {"leak_logit" + suffix: rng.normal(size=H)} if trained else {}
            p |= {"S_0" + suffix: rng.normal(size=H)} if initial_state else {}
        width = H * (2 if both else 1)
    return p | {"W_y": rng.normal(size=(O, width)), "b_y": rng.normal(size=O)}


def complex_step(p, name, direction, loss):
    """The derivative of loss(parameters) along a direction of one parameter."""
    q = {key: value.astype(complex) for key, value in p.items()}
    q[name] = q[name] + STEP * 1j * direction
    return loss(q).imag / STEP


@pytest.mark.parametrize("form, trained", [*itertools.product(FORMS, (False, True))])
def test_states_are_those_of_the_formula(form, trained):
    rng = np.random.default_rng(0)
    p, X, leak = parameters(rng, trained=trained), rng.normal(size=(T, B, I)), rng.uniform(0.1, 1, H)
    S, expected = np.broadcast_to(p["S_0"], (B, H)), []
    of_unit = 1 / (1 + np.exp(-p["leak_logit"])) if trained else leak
    for x in X:
        if form == "rate":
            S = S + of_unit * (np.tanh(x @ p["W_x"].T + S @ p["W_s"].T + p["b_s"]) - S)
        else:
            S = S + of_unit * (x @ p["W_x"].T + np.tanh(S) @ p["W_s"].T + p["b_s"] - S)
        expected.append(S)
    found = reference.forward(p, X, leak=leak, leak_form=form)[2]
    assert np.allclose(found[1:], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_equal_leaks_are_one_leak(form):
    rng = np.random.default_rng(0)
    p, X, D = parameters(rng, trained=False), rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))
    one, each = (reference.loss_and_gradients(p, X, D, leak=leak, leak_form=form) for leak in (0.3, np.full(H, 0.3)))
    assert one[0] == each[0] and all((one[1][name] == each[1][name]).all() for name in p)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("leak, trained", [(0.3, True), (np.linspace(0.1, 0.9, H), False)])
def test_terms_of_a_gradient_add_up_to_it(form, leak, trained):
    rng = np.random.default_rng(0)  # the trained leaks are others than the given one
    p, X, D = parameters(rng, trained=trained), rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))
    options = {"leak": leak, "leak_form": form}
    gradients = reference.loss_and_gradients(p, X, D, reduction="sum", **options)[1]
    terms = [reference.gradient_terms(p, X, D, t, **options) for t in range(T)]
    for name in ("W_x", "W_s"):
        assert np.allclose(sum(each[name].sum(axis=0) for each in terms), gradients[name], rtol=0, atol=1e-12)


def random_call(seed):
    """Parameters, X, D and options of the seed-th call; each option is there or not, with every other."""
    rng = np.random.default_rng(seed)
    has = dict(zip(("last", "noise", "dropout", "rates", "ids", "layers", "both", "S_0", "trained", "ragged", "resets",
                    "weights", "signs"), (rng.random(13) < 0.5).tolist()))
    layers = 2 if has["layers"] else 1
    p = parameters(rng, layers, has["both"], has["trained"] or seed % 2 == 0, has["S_0"])
    X = rng.integers(I, size=(T, B)) if has["ids"] else rng.normal(size=(T, B, I))
    D = rng.normal(size=(B, O) if has["last"] else (T, B, O))
    leak = rng.uniform(0.1, 0.9, H)
    signs = np.where(rng.random((H, H)) < 0.5, 1, -1)
    options = {
        "leak": (0.3, leak) if layers > 1 else leak, "leak_form": FORMS[rng.integers(2)],
        "activation": ("tanh", "silu", "relu", "sigmoid")[rng.integers(4)], "output": "last" if has["last"] else "sequence",
        "reduction": ("mean", "sum")[rng.integers(2)], "noise_std": 0.2 * has["noise"],
        "input_noise_std": 0.1 * (has["noise"] and not has["ids"]), "recurrent_dropout": 0.3 * has["dropout"],
        "draws": reference.Draws(5 if has["noise"] else None, 6 if has["dropout"] else None),
        "maps": {"W_s": reference.Map(np.ones((H, H), bool), signs, np.ones((H, H), bool))} if has["signs"] else None}
    if has["ragged"]:
        options["lengths"] = np.array([T, 2, 4])
    if has["resets"]:
        options["resets"] = rng.random((T, B)) < 0.3
    if has["weights"]:
        options["weights"] = rng.random(D.shape[:-1])
    penalties = {"rate_penalty": 0.3 * has["rates"], "l2": {"leak_logit": 0.1} if "leak_logit" in p else None}
    return rng, p, X, D, options, penalties


@pytest.mark.parametrize("seed", range(60))
def test_gradients_are_the_complex_step(seed):
    rng, p, X, D, options, penalties = random_call(seed)

    def loss(q):
        value = reference.loss(q, X, D, **options) + reference.penalty(
            reference.effective(q, options["maps"]), None, penalties["l2"])
        rest = {name: given for name, given in options.items() if name not in ("weights", "reduction")}
        return value + penalties["rate_penalty"] * reference.mean_square_rate(q, X, **rest)

    _, gradients = reference.loss_and_gradients(p, X, D, **options, **penalties)
    assert list(gradients) == list(p)
    for name in p:
        direction = rng.normal(size=p[name].shape)
        expected = complex_step(p, name, direction, loss)
        scale = np.abs(gradients[name] * direction).sum()
        assert abs((gradients[name] * direction).sum() - expected) <= LIMIT * max(scale, 1e-3), (name, options)


@pytest.mark.parametrize("form, tbptt", [*itertools.product(FORMS, ((2, 3), (1, 1), (4, 2), (3, 6)))])
def test_truncation_holds_the_state_before_a_window_constant(form, tbptt):
    rng = np.random.default_rng(3)
    p, X, D = parameters(rng), rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))
    options = {"leak": 0.5, "leak_form": form, "reduction": "sum"}
    _, gradients = reference.loss_and_gradients(p, X, D, tbptt=tbptt, **options)
    S, expected = reference.forward(p, X, **options)[2], 0
    for begin, since, end in reference.windows(T, tbptt):
        weights = np.zeros((end - begin, B))
        weights[max(0, since - begin):] = 1
        _, of_window = reference.loss_and_gradients(p, X[begin:end], D[begin:end], weights=weights, initial_state=S[begin],
                                                    **options)
        expected = expected + of_window["leak_logit"]
    assert np.allclose(gradients["leak_logit"], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_errors_go_back_through_past_steps(form):
    rng = np.random.default_rng(4)
    p, X, D = parameters(rng), rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))
    options = {"leak": 0.5, "leak_form": form, "activation": "silu"}
    S, R = reference.forward(p, X, return_rates=True, **options)[2:]
    if form == "rate":
        R = np.stack([reference.argument(p, S[t], X[t], **options) for t in range(T)])
    weights = np.repeat(np.arange(T)[:, None] >= 3, B, axis=1).astype(float)
    _, expected = reference.loss_and_gradients(p, X, D, weights=weights, **options)
    _, found = reference.loss_and_gradients(p, X, D, past=S[1:4], past_rates=R[:3], **options)
    for name in p:
        assert np.allclose(found[name], expected[name], rtol=1e-12, atol=1e-13), name


@pytest.mark.parametrize("form, trained", [*itertools.product(FORMS, (False, True))])
def test_next_state_and_its_jacobian(form, trained):
    rng = np.random.default_rng(5)
    p, S, x = parameters(rng, trained=trained), rng.normal(size=H), rng.normal(size=I)
    options = {"leak": rng.uniform(0.1, 0.9, H), "leak_form": form}
    new = reference.next_state(p, S, x, **options)
    assert np.allclose(new, reference.forward(p, x[None, None], S[None], **options)[1][0], rtol=1e-14)
    columns = [reference.next_state(p, S + STEP * 1j * unit, x, **options).imag / STEP for unit in np.eye(H)]
    assert np.allclose(reference.jacobian(p, S, x, **options), np.transpose(columns), rtol=1e-13, atol=1e-15)


def test_a_leak_near_one_does_not_keep_its_gradient_from_the_state():
    p = {"W_x": np.ones((1, 1)), "W_s": np.zeros((1, 1)), "W_y": np.ones((1, 1)), "leak_logit": np.array([40.0])}
    _, gradients = reference.loss_and_gradients(p, np.ones((1, 1, 1)), np.zeros((1, 1, 1)), leak=0.5, activation="identity")
    assert np.isclose(gradients["leak_logit"][0], 2 * np.exp(-40.0), rtol=1e-12)  # 1 - sigmoid(40) is 0 in float64


def test_dtype_and_refusals():
    rng = np.random.default_rng(6)
    p = {name: value.astype(np.float32) for name, value in parameters(rng, 2).items()}
    X, D = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))
    _, gradients = reference.loss_and_gradients(p, X, D, leak=(0.5, np.full(H, 0.2)))
    assert all(value.dtype == np.float32 for value in gradients.values())
    with pytest.raises(ValueError, match="leak must be below 1 for a network with leak_logit, got leak=1.0"):
        reference.loss_and_gradients(p, X, D)
    with pytest.raises(ValueError, match="leak requires cell='plain'"):
        reference.cell_of("gru", leak=np.full(H, 0.5))
