"""Diagnostics of GRU and LSTM networks: gradient flow of h and c, gates, Jacobians, fixed points, spectra, gradcheck."""

import numpy as np
import pytest
from gated import CELLS

from fastbptt import RNN, diagnostics
from fastbptt.diagnostics import _gradient_check

I, H, O, T, B = 3, 5, 2, 9, 4
every_cell = pytest.mark.parametrize("name", CELLS)
draw = np.random.default_rng(0)
X, D = draw.standard_normal((T, B, I)), draw.standard_normal((T, B, O))


def network(name, **options):
    return RNN(I, H, O, dtype="float64", random_state=0, **CELLS[name] | options)


def norms_of(S):
    """The norms of ∂E_t/∂S_i by step."""
    return np.linalg.norm(S.reshape(len(S), -1), axis=1)


@every_cell
def test_norms_are_those_of_gradient_terms(name):
    net = network(name)
    flow = diagnostics.gradient_flow(net, X, D)
    for t in range(T):
        S = net.gradient_terms(X, D, t)["S"]
        np.testing.assert_allclose(flow.norms[t, :t + 1], norms_of(S[..., :H]), rtol=1e-11)
        assert not flow.norms[t, t + 1:].any()
        if name == "lstm":
            np.testing.assert_allclose(flow.c.norms[t, :t + 1], norms_of(S[..., H:]), rtol=1e-11, atol=1e-300)
            assert flow.c.norms[t, t] == 0  # the error reads h_t, not c_t
    single = diagnostics.gradient_flow(net, X, D, 5, backend="reference")
    np.testing.assert_allclose(single.norms[0], flow.norms[5], rtol=1e-11)
    np.testing.assert_allclose(single.whole, flow.whole, rtol=1e-11)
    assert (flow.c is None) == (name != "lstm")


@every_cell
def test_products_are_those_of_jacobians(name):
    net = network(name)
    flow, S = diagnostics.gradient_flow(net, X, D), diagnostics.states(net, X).S
    J = [diagnostics.jacobian(net, S[t], X[t]) for t in range(T)]
    product = np.eye(S.shape[-1])
    for i in range(T - 1, -1, -1):
        np.testing.assert_allclose(flow.products[i], np.linalg.norm(np.broadcast_to(product, J[0].shape), 2, axis=(1, 2)), rtol=1e-10)
        product = product @ J[i]


def test_a_memory_cell_keeps_the_gradient_of_c_as_its_forget_gates_say():
    """With W_s = 0 nothing but c passes from step to step, and ∂c_t/∂c_{t−1} = f."""
    f = 0.9
    net = network("lstm")
    parameters = {name: np.zeros_like(value) for name, value in net.parameters.items()} | {"W_y": np.ones((O, H))}
    parameters["b_s"] = np.repeat([0, np.log(f / (1 - f)), 0, 0], H)  # σ of the second is f
    net.load_state_dict(parameters)
    flow = diagnostics.gradient_flow(net, np.zeros((40, B, I)), np.ones((40, B, O)))
    assert np.isclose(flow.c.factor, f) and flow.c.verdict == "vanishes" and flow.verdict == "vanishes"
    np.testing.assert_allclose(flow.c.by_distance[1:], flow.c.by_distance[1] * f**np.arange(39), rtol=1e-10)
    assert (flow.by_distance[1:] == 0).all()
    lines = flow.describe().splitlines()
    assert lines[0].startswith("The gradient of h of 40 errors") and "exactly 0 from 1 step back on" in lines[0]
    assert lines[1].startswith("The gradient of c of 40 errors") and "0.9 (fitted to" in lines[1]
    gates = diagnostics.states(net, np.zeros((3, B, I))).describe().splitlines()
    assert gates[2].startswith("Gate f: mean 0.90, 0 % of the values under 0.1 (closed)")


@every_cell
def test_gates_are_those_of_the_formulas_and_padding_is_not_read(name):
    net, lengths = network(name), np.array([T, 4, 6, 0])
    padded = X.copy()
    for b, length in enumerate(lengths):
        padded[length:, b] = np.nan
    found, p = diagnostics.states(net, padded, lengths=lengths), net.parameters
    A = X @ p["W_x"].T + p["b_s"] + found.S[:-1, :, :H] @ p["W_s"].T
    order = {"r": 0, "z": 1} if name != "lstm" else {"i": 0, "f": 1, "o": 3}
    assert list(found.gates) == list(order)
    there = np.arange(T)[:, None] < lengths
    for gate, k in order.items():
        np.testing.assert_allclose(found.gates[gate][there], 1 / (1 + np.exp(-A[..., k * H:(k + 1) * H][there])), rtol=1e-12)
        assert np.isnan(found.gates[gate][~there]).all()
    assert np.isfinite(found.saturated).all() and "Gate" in found.describe()


@every_cell
def test_fixed_points_stand_still(name):
    net = network(name)
    x, width = X[0, 0], net._widths[0]
    found = diagnostics.fixed_points(net, x, draw.uniform(-1, 1, (6, width)))
    assert len(found.points) and found.points.shape[1] == width and (found.speed < 1e-20).all()
    for point in found.points:
        np.testing.assert_allclose(net.step(x[None], point[None])[1][0], point, atol=1e-9)
    values = np.linalg.eigvals(diagnostics.jacobian(net, found.points[0], x))
    np.testing.assert_allclose(np.sort(np.abs(values)), np.sort(np.abs(found.eigenvalues[0])), atol=1e-10)


def test_a_spectrum_is_that_of_one_gate():
    for name, gates in (("gru", "rzn"), ("lstm", "ifgo")):
        net = network(name, initializer="torch")  # orthogonal blocks would have the same singular values
        for gate, block in zip(gates, np.split(net.parameters["W_s"], len(gates))):
            found = diagnostics.spectrum(net, gate)
            np.testing.assert_allclose(found.singular_values, np.linalg.svd(block, compute_uv=False))
            assert found.describe().startswith(f"W_s of gate {gate}: spectral radius")
    assert diagnostics.spectrum(network("gru")).gate == "n" and diagnostics.spectrum(network("lstm")).gate == "g"
    assert diagnostics.spectrum(RNN(I, H, O)).gate == ""


@pytest.mark.share(6)
@every_cell
@pytest.mark.parametrize("options", [{}, {"activation": "relu"}, {"activation": "relu", "hidden_size": (4, 3)},
                                     {"learn_initial_state": True, "bidirectional": True, "activation": "leaky_relu"}])
def test_gradcheck_passes(name, options):
    options = {"input_size": I, "hidden_size": H, "output_size": O, "random_state": 0} | CELLS[name] | options
    check = RNN(**options).gradcheck()
    assert check.passed, check.describe()


@every_cell
def test_gates_are_described_by_their_values_before_padding(name):
    net = network(name, one_hot=True)
    ids = np.zeros((T, B), int)
    lengths = np.array([3, 9, 5, 1])
    ids[np.arange(T)[:, None] >= lengths] = 99  # no input: padding is never read
    found = diagnostics.states(net, ids, lengths=lengths)
    whole = diagnostics.states(net, np.zeros((T, B), int))
    there = np.arange(T)[:, None] < lengths
    for gate, values in found.gates.items():
        np.testing.assert_array_equal(values[there], whole.gates[gate][there])
        assert f"Gate {gate}: mean {values[there].mean():.2f}, " in found.describe()


def torn(name, state=0.0, **biases):
    """Which errors (T, B) `gradcheck` leaves out: W_x and W_s are zero, and g1 is relu."""
    net = network(name, activation="relu")
    p = {key: np.zeros_like(value) for key, value in net.parameters.items()} | {"W_y": np.ones((O, H))}
    net.load_state_dict(p | {key: np.repeat(value, H).astype(float) for key, value in biases.items()})
    networks = {dtype: _with_dtype(net, dtype) for dtype in ("float64", "float32")}
    initial_state = np.full((B, net._widths[0]), state)
    return _gradient_check._across_kinks(networks, {"X": X, "D": D, "weights": None, "initial_state": initial_state})


def _with_dtype(net, dtype):
    copy = RNN(**{**net._config, "dtype": dtype}, random_state=0)
    copy.load_state_dict(net.state_dict())
    return copy


def test_gradcheck_leaves_out_errors_behind_a_unit_whose_kink_lies_between_the_precisions():
    """1e-50 is 0 in float32. The candidate of all cells passes g1, and so does c of an LSTM; gates and hn do not."""
    assert torn("gru", b_s=[0, 0, 1e-50], b_n=[0]).all() and torn("lstm", b_s=[0, 0, 1e-50, 0]).all()
    assert torn("gru_before", b_s=[0, 0, 1e-50]).all()
    assert torn("gru", 1, b_s=[0, 0, 1e-50], b_n=[0]).all() and torn("lstm", 1, b_s=[0, 0, 1e-50, 0]).all()  # S is above 0
    assert torn("lstm", b_s=[-300, 0, 1, 0]).all()  # i is 0 in float32, and so is c
    assert not torn("gru", b_s=[0, 0, 1], b_n=[-1e-50]).any() and not torn("lstm", b_s=[0, 0, 1, 0]).any()


@pytest.mark.parametrize("call, error, words", [
    (lambda: diagnostics.spectrum(network("gru"), "f"), ValueError, "unknown gate 'f'"),
    (lambda: diagnostics.spectrum(RNN(I, H, O), "r"), ValueError, "gate must not be given for cell='plain'"),
    (lambda: diagnostics.jacobian(network("lstm"), np.zeros(H), X[0, 0]), ValueError, r"S must have shape \(..., 2H\) = \(..., 10\)"),
    (lambda: diagnostics.fixed_points(network("lstm"), X[0, 0], np.zeros((2, H))), ValueError, r"\(n, 2H\) = \(n, 10\)"),
    (lambda: diagnostics.gradient_flow(network("gru"), X, D).plot(part="c"), ValueError, "part"),
    (lambda: diagnostics.states(network("gru"), X).plot(part="c"), ValueError, "part"),
    (lambda: diagnostics.gradient_flow(RNN(I, (H, H), O, cell="lstm"), X, D), ValueError, "one layer and one direction"),
])
def test_what_is_bad_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.thorough
def test_pictures_show_h_and_c():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    net = network("lstm")
    flow, one, states = diagnostics.gradient_flow(net, X, D), diagnostics.gradient_flow(net, X, D, 5), diagnostics.states(net, X)
    ax = flow.plot()
    maps = [each for each in ax.figure.axes if each.get_xlabel() == "state $i$"]
    for each, norms in zip(sorted(maps, key=lambda each: each is not ax), (flow.norms, flow.c.norms)):
        np.testing.assert_array_equal(each.collections[0].get_array().filled(0).reshape(T, T), norms)
    of_c = flow.plot(plt.figure().add_subplot(), part="c")
    np.testing.assert_array_equal(of_c.collections[0].get_array().filled(0).reshape(T, T), flow.c.norms)
    lines = one.plot().lines
    np.testing.assert_array_equal(lines[0].get_ydata(), one.norms[0, :6])
    np.testing.assert_array_equal(lines[1].get_ydata()[:5], one.c.norms[0, :5])
    labels = [line.get_label() for line in flow.plot_distance().lines]
    assert any("partial c" in label for label in labels) and any("partial h" in label for label in labels)
    ax = states.plot()
    assert [each.get_ylabel() for each in ax.figure.axes] == ["h of each unit", "c of each unit"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), states.S[:, 0, 0])
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")
