"""Lyapunov exponents against networks whose exponents are known, and against the distance of two trajectories."""

import pickle
import signal
import threading
import time

import numpy as np
import pytest

from fastbptt import RNN, diagnostics
from fastbptt.diagnostics import lyapunov_exponents

rng = np.random.default_rng(0)


def network(W_s, b_s=0.0, **options):
    """A network without inputs, of these weights."""
    H = len(W_s)
    return RNN(1, H, 1, dtype="float64", initializer={"W_s": np.asarray(W_s, float), "W_x": np.zeros((H, 1)),
                                                      "b_s": np.zeros(H) + b_s}, **options)


def nothing(T, B=1):
    return np.zeros((T, B, 1))


def gated(cell, scale=8.0, H=6, **options):
    net = RNN(2, H, 1, cell=cell, dtype="float64", random_state=1, **options)
    net.parameters["W_s"] *= scale
    return net


def two_trajectories(net, X, state, warm_up, distance=1e-7):
    """The largest exponent from the distance of two trajectories (Benettin, Galgani and Strelcyn 1976), without a derivative."""
    other, logarithms = state + distance * rng.standard_normal(state.shape) / state.size**0.5, []
    for t, x in enumerate(X):
        _, state = net.step(x, state)
        _, other = net.step(x, other)
        apart = np.linalg.norm(other - state)
        if t >= warm_up:
            logarithms.append(np.log(apart / distance))
        other = state + (other - state) * (distance / apart)
    return np.mean(logarithms[1:])


@pytest.mark.quick
def test_exponents_of_a_linear_network_are_the_logarithms_of_its_eigenvalues():
    values = np.array([1.05, 0.9, -0.6, 0.2])
    V = rng.standard_normal((4, 4)) + 2 * np.eye(4)
    net = network(V @ np.diag(values) @ np.linalg.inv(V), activation="identity")
    found = lyapunov_exponents(net, nothing(300, 2), warm_up=100)
    np.testing.assert_allclose(found.exponents, np.log(np.abs(values)), atol=1e-10)
    assert found.of_sequences.shape == (2, 4) and found.running.shape == (200, 4) and found.width == 4
    np.testing.assert_allclose(found.spread, 0, atol=1e-12)
    assert found.verdict == "chaotic" and found.largest == found.exponents[0]  # disturbances grow without bound
    few = lyapunov_exponents(net, nothing(300, 2), warm_up=100, n_exponents=2)
    np.testing.assert_allclose(few.exponents, found.exponents[:2], atol=1e-9)
    rotation = lyapunov_exponents(network([[0.0, -1.1], [1.1, 0.0]], activation="identity"), nothing(50))
    np.testing.assert_allclose(rotation.exponents, np.log(1.1), atol=1e-13)


@pytest.mark.parametrize("form", ["rate", "current"])
def test_exponents_of_linear_leaky_units_are_per_unit_of_time(form):
    net = network(np.diag([1.2, 0.5, -0.4]), activation="identity", dt=0.5, tau=2.0, leak_form=form)
    found = lyapunov_exponents(net, nothing(200), warm_up=50)
    np.testing.assert_allclose(found.exponents, np.log(0.75 + 0.25 * np.array([1.2, 0.5, -0.4])) / 0.5, atol=1e-9)
    assert found.dt == 0.5 and "per unit of dt" in found.describe()


def tent(slope=1.9):
    """x' = slope · min(x, 1 − x) by two relu units, u = relu(x) and relu(x − 1/2) with x = slope u_1 − 2 slope u_2."""
    return network([[slope, -2 * slope]] * 2, [0, -0.5], activation="relu")


def test_the_tent_map_has_the_logarithm_of_its_slope():
    start = np.array([[0.3, 0.0]])
    found = lyapunov_exponents(tent(), nothing(400), start, warm_up=2)
    np.testing.assert_allclose(found.exponents[0], np.log(1.9), atol=1e-13)
    assert found.exponents[1] == -np.inf  # both units are functions of one number
    assert found.verdict == "chaotic" and "0.6419" in found.describe() and np.isclose(found.entropy, np.log(1.9))
    assert found.dimension == 1


def test_the_lozi_map_has_the_exponents_of_its_two_dimensions():
    """x' = 1 − a |x| + y, y' = b x by three relu units: relu(x), relu(−x) and y + c > 0."""
    a, b, c, T, warm_up = 1.7, 0.5, 4.0, 4000, 100
    net = network([[-a, -a, 1], [a, a, -1], [b, -b, 0]], [1 - c, c - 1, c], activation="relu")
    found = lyapunov_exponents(net, nothing(T), np.array([[0.1, 0, c + 0.05]]), warm_up=warm_up)
    np.testing.assert_allclose(found.exponents[:2].sum(), np.log(b), atol=1e-10)  # the map shrinks areas by b
    assert found.exponents[2] < -30
    x, y, v, logarithm = 0.1, 0.05, np.array([1.0, 0.0]), 0.0  # the same map as two numbers, with its tangent
    for t in range(T):
        v = np.array([[-a * np.sign(x), 1], [b, 0]]) @ v
        x, y = 1 - a * abs(x) + y, b * x
        logarithm += np.log(np.linalg.norm(v)) * (t >= warm_up)
        v /= np.linalg.norm(v)
    # Rounding separates the two trajectories: they agree as two samples of the attractor.
    assert abs(found.largest - logarithm / (T - warm_up)) < 0.02
    assert abs(found.largest - 0.470) < 0.02  # Sprott 2003, Chaos and Time-Series Analysis: 0.47023
    assert 1.3 < found.dimension < 1.5 and found.errors[0] < 0.02


@pytest.mark.parametrize("leaky", [False, True])
def test_a_random_network_becomes_chaotic_above_a_gain_of_one(leaky):
    """Sompolinsky, Crisanti and Sommers 1988, Physical Review Letters 61:259: τ dS/dt = −S + g J tanh(S)."""
    draw = np.random.default_rng(3)
    H, options = 80, {"leak_form": "current", "dt": 0.2, "tau": 1.0} if leaky else {}
    J = draw.standard_normal((H, H)) / H**0.5
    start, T = draw.standard_normal((2, H)), 900
    below = lyapunov_exponents(network(0.7 * J, **options), nothing(T, 2), start, n_exponents=3, warm_up=400)
    values = np.linalg.eigvals(0.7 * J)
    radius = np.abs(1 - 0.2 + 0.2 * values if leaky else values).max()  # of the step at the only fixed point, 0
    np.testing.assert_allclose(below.largest, np.log(radius) / (0.2 if leaky else 1), atol=0.02)
    assert below.verdict == "stable"
    above = lyapunov_exponents(network(4 * J, **options), nothing(T, 2), start, n_exponents=3, warm_up=200)
    assert above.verdict == "chaotic" and above.largest > 0.05


@pytest.mark.parametrize("net", [gated("gru"), gated("gru", reset_after=False), gated("lstm"),
                                 RNN(2, 8, 1, dtype="float64", initializer=("normal", 1.2), random_state=2)], ids=repr)
def test_the_largest_exponent_is_that_of_two_trajectories(net):
    X, T, warm_up = 0.3 * rng.standard_normal((500, 1, 2)), 500, 100
    start = np.zeros((1, net._widths[0]))
    found = lyapunov_exponents(net, X, start, warm_up=warm_up)
    assert abs(found.largest - two_trajectories(net, X, start, warm_up)) < 0.01
    states = diagnostics.states(net, X, start).S[:, 0]
    logarithms = np.linalg.slogdet(diagnostics.jacobian(net, states[warm_up:T], X[warm_up:, 0]))[1]
    np.testing.assert_allclose(found.exponents.sum(), logarithms.mean(), rtol=1e-9)  # volumes shrink by |det J|


def test_fewer_decompositions_give_the_same_exponents():
    net, X = gated("gru"), 0.3 * rng.standard_normal((203, 2, 2))
    every = lyapunov_exponents(net, X, warm_up=50, n_exponents=3)
    for more in ({"qr_every": 4}, {"backend": "reference"}, {"random_state": 0}):
        found = lyapunov_exponents(net, X, warm_up=50, n_exponents=3, **more)
        np.testing.assert_allclose(found.of_sequences, every.of_sequences, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.running[-1], every.exponents, rtol=1e-9, atol=1e-12)


def test_each_sequence_of_a_ragged_batch_has_the_exponents_that_it_has_alone(monkeypatch):
    monkeypatch.setattr(diagnostics._lyapunov, "CHUNK", 500)  # several chunks
    net, X, lengths = gated("lstm"), 0.3 * rng.standard_normal((60, 3, 2)), [60, 35, 48]
    for b, length in enumerate(lengths):
        X[length:, b] = np.nan
    for qr_every in (1, 7):
        found = lyapunov_exponents(net, X, lengths=lengths, warm_up=10, qr_every=qr_every, n_exponents=4)
        assert found.steps.tolist() == [50, 25, 38] and found.running.shape == (50, 4)
        alone = [lyapunov_exponents(net, X[:length, b:b + 1], warm_up=10, n_exponents=4) for b, length in enumerate(lengths)]
        for b, each in enumerate(alone):
            np.testing.assert_allclose(np.sort(found.of_sequences[b]), np.sort(each.of_sequences[0]), rtol=1e-7)
        np.testing.assert_allclose(found.exponents, found.of_sequences.mean(axis=0))
        np.testing.assert_allclose(found.spread, found.of_sequences.std(axis=0, ddof=1))
    assert "25 to 50 steps" in found.describe() and "standard deviation over sequences" in found.describe()


def test_category_indices_float32_and_dales_law_are_taken():
    ids = rng.integers(3, size=(40, 2))
    net = RNN(3, 5, 2, one_hot=True, random_state=0)
    same = RNN(3, 5, 2, dtype="float64", initializer=net.state_dict())
    np.testing.assert_allclose(lyapunov_exponents(net, ids).exponents, lyapunov_exponents(same, np.eye(3)[ids]).exponents)
    dale = RNN(3, 5, 2, dale_ratio=0.6, autapses=False, dtype="float64", random_state=0)
    plain = RNN(3, 5, 2, dtype="float64", initializer=dale.effective_parameters())
    X = np.eye(3)[ids]
    assert np.array_equal(lyapunov_exponents(dale, X).exponents, lyapunov_exponents(plain, X).exponents)


def test_what_the_words_say():
    stable = lyapunov_exponents(network(np.diag([0.5, 0.25]), activation="identity"), nothing(130), warm_up=100)
    assert stable.verdict == "stable" and stable.dimension == stable.entropy == 0
    assert "Largest Lyapunov exponent -0.6931" in stable.describe() and "decay by a factor of e every 1.44 steps" in stable.describe()
    still = lyapunov_exponents(network(np.eye(2), activation="identity"), nothing(30))
    assert still.verdict == "marginal" and "cannot be told from 0" in still.describe()
    short = lyapunov_exponents(network(np.eye(2), activation="identity"), nothing(5))
    assert short.verdict == "unknown" and np.isnan(short.errors).all() and np.isnan(short.spread).all()
    dead = lyapunov_exponents(network(np.eye(2), -1.0, activation="relu"), nothing(30))
    assert (dead.exponents == -np.inf).all() and dead.verdict == "stable" and "-inf" in dead.describe()
    growing = lyapunov_exponents(network(np.diag([1.1, 1.05, 0.5]), activation="identity"), nothing(400), warm_up=300)
    log = np.log([1.1, 1.05, 0.5])
    np.testing.assert_allclose([growing.entropy, growing.dimension], [log[:2].sum(), 2 + log[:2].sum() / -log[2]], rtol=1e-9)
    few = lyapunov_exponents(network(np.diag([1.1, 1.05, 0.5]), activation="identity"), nothing(400), warm_up=300, n_exponents=2)
    assert np.isnan(few.entropy) and np.isnan(few.dimension) and "(the network has 3)" in few.describe()
    assert np.array_equal(pickle.loads(pickle.dumps(few)).exponents, few.exponents)


@pytest.mark.parametrize("call, error, words", [
    (lambda net, X: lyapunov_exponents(net, X, n_exponents=9), ValueError, "n_exponents must be at most the width of the state, 6"),
    (lambda net, X: lyapunov_exponents(net, X, n_exponents=0), ValueError, "n_exponents"),
    (lambda net, X: lyapunov_exponents(net, X, warm_up=20), ValueError, "warm_up must be less than the number of steps"),
    (lambda net, X: lyapunov_exponents(net, X, lengths=[20, 4], warm_up=4), ValueError, "4 with 4 steps of sequence 1"),
    (lambda net, X: lyapunov_exponents(net, X[:0]), ValueError, "warm_up must be less"),
    (lambda net, X: lyapunov_exponents(net, X[:, :0]), ValueError, "no sequences"),
    (lambda net, X: lyapunov_exponents(net, X, qr_every=0), ValueError, "qr_every"),
    (lambda net, X: lyapunov_exponents(net, X, warm_up=-1), ValueError, "warm_up"),
    (lambda net, X: lyapunov_exponents(net, X[..., :1]), ValueError, "input_size=2"),
    (lambda net, X: lyapunov_exponents(net, X, np.zeros((2, 5))), ValueError, "initial_state"),
    (lambda net, X: lyapunov_exponents(X, X), TypeError, "network must be an RNN"),
    (lambda net, X: lyapunov_exponents(RNN(2, (3, 3), 1), X), ValueError, "one layer and one direction"),
    (lambda net, X: lyapunov_exponents(net, np.full_like(X, np.nan)), ValueError, "the states of the network contains NaN"),
])
def test_what_is_bad_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(gated("gru"), np.zeros((20, 2, 2)))


def test_ctrl_c_ends_the_computation():
    net, X = gated("gru", H=16), np.zeros((200_000, 1, 2))  # takes much longer than the test
    timer = threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,))
    begin = time.monotonic()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            lyapunov_exponents(net, X)
            pytest.fail(f"not interrupted in {time.monotonic() - begin:.1f} s")
    finally:
        timer.cancel()
        timer.join()


def test_pictures_show_the_exponents():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    found = lyapunov_exponents(network(np.diag([1.1, 0.5, 0.0]), activation="identity", dt=0.5, tau=0.5), nothing(60), warm_up=20)
    ax = found.plot()
    shown = np.concatenate([container[0].get_xydata() for container in ax.containers])
    np.testing.assert_allclose(shown, [[1, found.exponents[0]], [2, found.exponents[1]]])  # −inf is left out
    assert ax.get_xlabel() == "index" and "per unit of dt" in ax.get_ylabel()
    own = plt.figure().add_subplot()
    assert found.plot_running(own, 2) is own
    curve = own.lines[1].get_xydata()  # after the line at 0
    np.testing.assert_allclose(curve, np.column_stack([0.5 * np.arange(1, 41), found.running[:, 0]]))
    for figure in (ax.figure, own.figure):
        figure.canvas.draw()
    plt.close("all")
