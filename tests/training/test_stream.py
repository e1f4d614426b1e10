"""Truncated BPTT with updates in between: fit(tbptt=...), stream."""

import io
import sys

import numpy as np
import pytest
from expectations import Terminal

from fastbptt import RNN, training
from fastbptt._training import progress as _progress, windows as _windows

T, B = 23, 7
rng = np.random.default_rng(0)
X, D = rng.standard_normal((T, B, 3)), rng.standard_normal((T, B, 2))
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": rng.integers(0, T + 1, B)},
    "resets": {"resets": rng.uniform(size=(T, B)) < 0.1},
    "all": {"lengths": rng.integers(0, T + 1, B), "resets": rng.uniform(size=(T, B)) < 0.1,
            "initial_state": rng.standard_normal((B, 5)), "weights": rng.uniform(size=(T, B)) * (rng.uniform(size=(T, B)) < 0.7)},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
every_tbptt = pytest.mark.parametrize("tbptt", [(5, 5), (5, 3), (5, 12), (23, 10), (1, 1), (7, 100), (40, 40)], ids=str)


def network(**options):
    net = RNN(3, **{"hidden_size": 5, "output_size": 2, "dtype": "float64", "random_state": 1, "learn_initial_state": True,
                    **options})
    for name in net.parameters:
        if name.startswith("S_0"):
            net.parameters[name] = np.linspace(-1, 1, 5)
    return net


def by_definition(net, k1, k2, learning_rate, epochs=1, lengths=None, resets=None, initial_state=None, weights=None):
    """Gradient descent, window by window, where each gradient is found from complex steps: of a run from states that are
    numbers, computed by the parameters of their time, whose first-order change alone is that of the present parameters.
    That holds for the S_0 that a reset brought, too.

    All parameters are stepped at once, each in a copy of the network of its own: the first axis of p and s.
    """
    leak, current = net.leak, net.leak_form == "current"
    lengths = np.full(B, T) if lengths is None else lengths
    resets = np.zeros((T, B), bool) if resets is None else resets
    weights = np.ones((T, B)) if weights is None else weights
    theta = net.theta

    def named(thetas):
        """Parameters by name, each with a first axis, of thetas (N, P)."""
        each = [net._named(theta) for theta in thetas]
        return {name: np.array([one[name] for one in each]) for name in net.parameters}

    for _ in range(epochs):
        S = [np.tile(net._named(theta)["S_0"], (B, 1)) if initial_state is None else initial_state]
        starts, rates = [], []  # S_0 at each step, and the rates after it
        for since in range(0, T, k1):
            end = min(since + k1, T)
            begin = max(0, end - k2)
            m = np.where(np.arange(since, end)[:, None] < lengths, weights[since:end], 0)

            def loss(p, update):
                """Of the window; S grows by its states if `update`."""
                total = 0
                own, S_0 = begin == 0 and initial_state is None, p["S_0"][:, None]
                s = S_0 * np.ones((B, 1)) if own else S[min(begin, since)] + 0j
                if own:  # the value of its time, the derivative of now
                    s = S[0] + 1j * s.imag
                for t in range(min(begin, since), end):
                    start = S_0 if t >= since else starts[t] + 1j * S_0.imag
                    before = np.where(resets[t][:, None], start, s)
                    A = X[t] @ transposed(p["W_x"]) + p["b_s"][:, None] + (
                        np.tanh(before) if current else before) @ transposed(p["W_s"])
                    r = np.tanh(A)
                    if t < since and not current:  # known: its value is that of its time; the slope is taken there
                        r = rates[t] + 1j * (1 - rates[t] ** 2) * A.imag
                    s = (1 - leak) * before + leak * (A if current else r)
                    if t < since:
                        s = S[t + 1] + 1j * s.imag
                    elif update:
                        S.append(s[0].real.copy())
                        rates.append(r[0].real.copy())
                        starts.append(S_0[0, 0].real.copy())
                    if t < begin:
                        s = s.real + 0j  # what is older than k2 steps is a constant
                    s = np.where((t < lengths)[:, None], s, 0)
                    if t >= since:
                        y = (np.tanh(s) if current else s) @ transposed(p["W_y"]) + p["b_y"][:, None]
                        total = total + (m[t - since][:, None] * (y - D[t]) ** 2).sum(axis=(1, 2))
                return total / m.sum() if m.sum() else 0 * total

            loss(named(theta[None] + 0j), True)
            if m.sum():
                theta = theta - learning_rate * loss(named(theta + 1e-30j * np.eye(len(theta))), False).imag / 1e-30
    return theta


def transposed(W):
    return W.swapaxes(-1, -2)


@pytest.mark.quick
@pytest.mark.share(4)
@every_option
@every_tbptt
def test_fit_is_the_definition(options, tbptt):
    net = network()
    expected = by_definition(net, *tbptt, 0.05, epochs=2, **options)
    net.fit(X, D, epochs=2, batch_size=B, shuffle=False, optimizer="sgd", learning_rate=0.05, tbptt=tbptt, **options)
    assert np.abs(net.theta - expected).max() < 1e-12


LEAKY = {"rate": {"leak": 0.4}, "current": {"leak": 0.4, "leak_form": "current"}}


@pytest.mark.share(4)
@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize("tbptt", [(5, 12), (3, 1), (1, 4)], ids=str)
@pytest.mark.parametrize("name", ["resets", "all"])
@pytest.mark.parametrize("leaky", LEAKY.values(), ids=list(LEAKY))
def test_fit_of_leaky_units_is_the_definition(leaky, name, tbptt, backend):
    net = network(**leaky)
    expected = by_definition(net, *tbptt, 0.05, **OPTIONS[name])
    net.fit(X, D, epochs=1, batch_size=B, shuffle=False, optimizer="sgd", learning_rate=0.05, tbptt=tbptt, backend=backend,
            **OPTIONS[name])
    assert np.abs(net.theta - expected).max() < 1e-12


@pytest.mark.share(3)
@pytest.mark.parametrize("options", [{}, *LEAKY.values(), {"hidden_size": (5, 5)}, {"hidden_size": (5, 5), **LEAKY["rate"]},
                                     {"hidden_size": (5, 5), **LEAKY["current"]}], ids=str)
@pytest.mark.parametrize("backend", ["core", "reference"])
def test_a_reset_that_brings_what_is_there_changes_nothing(options, backend):
    """A stream begins with S_0: a reset at its first step is none, though S_0 has moved when later windows go back there."""
    reset = np.zeros((T, B), bool)
    reset[0] = True
    streams = [network(**options) for _ in range(2)]
    fits = [network(**options) for _ in range(2)]
    for stream, fit, resets in zip(streams, fits, (None, reset)):
        stream.stream(X, D, resets=resets, tbptt=(2, 9), backend=backend)
        fit.fit(X, D, resets=resets, tbptt=(2, 9), epochs=1, learning_rate=0.01, backend=backend)
    np.testing.assert_allclose(streams[1].theta, streams[0].theta, rtol=0, atol=1e-13)
    np.testing.assert_allclose(fits[1].theta, fits[0].theta, rtol=0, atol=1e-13)


@pytest.mark.parametrize("options", [*LEAKY.values(), {"hidden_size": (5, 5)}, {"hidden_size": (5, 5), **LEAKY["rate"]},
                                     {"hidden_size": (5, 5), **LEAKY["current"]}], ids=str)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-3)])
def test_both_backends_know_the_first_states_of_their_time(options, dtype, tolerance):
    nets = [network(dtype=dtype, **options) for _ in range(2)]
    for net, backend in zip(nets, ("core", "reference")):
        net.fit(X, D, epochs=2, batch_size=4, tbptt=(3, 11), learning_rate=1e-2, backend=backend, **OPTIONS["all" if len(
            net._widths) == 1 else "resets"])
    assert np.abs(nets[0].theta - nets[1].theta).max() < tolerance


@pytest.mark.share(4)
@every_option
@every_tbptt
def test_both_backends_make_the_same_run(options, tbptt):
    nets = network(), network()
    histories = [net.fit(X, D, epochs=3, batch_size=4, tbptt=tbptt, learning_rate=1e-2, backend=backend, **options)
                 for net, backend in zip(nets, ("core", "reference"))]
    assert np.abs(nets[0].theta - nets[1].theta).max() < 1e-9
    assert histories[0].train_loss == pytest.approx(histories[1].train_loss, rel=1e-9)
    assert histories[0].updates == histories[1].updates


@pytest.mark.parametrize("options", [{}, {"lengths": np.arange(40) % (T + 1)}], ids=["plain", "lengths"])
def test_each_shard_of_a_batch_goes_on_from_states_of_its_own(options):
    rng = np.random.default_rng(0)
    X, D, thetas = rng.standard_normal((T, 40, 3)), rng.standard_normal((T, 40, 2)), []
    for backend, shard_work in (("core", 1), ("core", 1 << 30), ("reference", 1)):
        net = network()
        net._engines["core"].shard_work = shard_work
        net.fit(X, D, epochs=1, batch_size=40, tbptt=(5, 12), learning_rate=1e-2, backend=backend, **options)
        thetas.append(net.theta)
    assert np.abs(thetas[0] - thetas[2]).max() < 1e-12 and np.abs(thetas[1] - thetas[2]).max() < 1e-12


@every_option
def test_one_window_of_all_steps_is_plain_training_to_the_bit(options):
    whole, windows = network(), network()
    whole.fit(X, D, epochs=3, batch_size=4, **options)
    windows.fit(X, D, epochs=3, batch_size=4, tbptt=(T, T), **options)
    assert np.array_equal(whole.theta, windows.theta)


def test_equal_ks_are_training_on_chunks_to_the_bit():
    net, hand = network(learn_initial_state=False), network(learn_initial_state=False)
    net.fit(X[:20], D[:20], epochs=1, batch_size=B, shuffle=False, tbptt=(5, 5), learning_rate=1e-2)
    state = None
    for t in range(0, 20, 5):
        after = hand.forward(X[t:t + 5], state)[1]
        hand.train_step(X[t:t + 5], D[t:t + 5], learning_rate=1e-2, initial_state=state)
        state = after
    assert np.array_equal(net.theta, hand.theta)


@every_option
def test_a_run_goes_on_from_a_checkpoint_within_a_batch(options, tmp_path):
    arguments = {"epochs": 3, "batch_size": 4, "tbptt": (5, 12), **options}
    whole = network()
    history = whole.fit(X, D, **arguments)
    for update in (1, 2, 4, 7, 11, 13):
        def interrupt(record):
            if record.update == update:
                raise KeyboardInterrupt
        path = tmp_path / f"{update}.npz"
        with pytest.raises(KeyboardInterrupt):
            network().fit(X, D, checkpoint=path, update_callbacks=interrupt, **arguments)
        again = network()
        resumed = again.fit(X, D, checkpoint=path, resume=True, **arguments)
        assert np.array_equal(again.theta, whole.theta) and resumed.train_loss == history.train_loss
    with pytest.raises(ValueError, match="tbptt is"):
        network().fit(X, D, checkpoint=path, resume=True, **{**arguments, "tbptt": (5, 5)})


def test_a_checkpoint_of_version_0_1_has_no_first_states_and_goes_on_with_the_present_one(tmp_path):
    arguments = {"epochs": 3, "batch_size": 4, "tbptt": (5, 12)}  # without resets no other one is read
    path, whole = tmp_path / "run.npz", network()
    whole.fit(X, D, **arguments)

    def interrupt(record):
        if record.update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network().fit(X, D, checkpoint=path, update_callbacks=interrupt, **arguments)
    with np.load(path) as file:
        arrays = dict(file)
    assert arrays["run.states"].shape[1] == 10
    arrays["run.states"] = np.ascontiguousarray(arrays["run.states"][:, :5])
    np.savez(path, **arrays)
    again = network()
    again.fit(X, D, checkpoint=path, resume=True, **arguments)
    assert np.array_equal(again.theta, whole.theta)


# ---- Streams


@pytest.mark.quick
@pytest.mark.parametrize("options", [{}, {"resets": OPTIONS["resets"]["resets"]}, {"weights": OPTIONS["all"]["weights"]}],
                         ids=["plain", "resets", "weights"])
@every_tbptt
def test_a_stream_is_a_fit_of_one_batch(options, tbptt):
    fitted, streamed = network(), network()
    fitted.fit(X, D, epochs=1, batch_size=B, shuffle=False, tbptt=tbptt, learning_rate=1e-2, **options)
    history = streamed.stream(X, D, tbptt=tbptt, learning_rate=1e-2, **options)
    assert np.array_equal(fitted.theta, streamed.theta)
    assert history.steps == T and history.stopped == "end" and len(history.loss) == -(-T // tbptt[0])
    assert streamed.history is history


@pytest.mark.parametrize("backend", ["core", "reference"])
@every_tbptt
def test_how_a_stream_is_cut_changes_nothing(tbptt, backend):
    whole = network()
    expected = whole.stream(X, D, tbptt=tbptt, initial_state=np.ones((B, 5)), backend=backend)
    for cuts in ([1, 2, 3, 20], [11], range(1, T), [23], []):
        edges = [0, *cuts, T]
        net = network()
        history = net.stream(((X[a:b], D[a:b]) for a, b in zip(edges, edges[1:])), tbptt=tbptt,
                             initial_state=np.ones((B, 5)), backend=backend)
        assert np.array_equal(net.theta, whole.theta)
        assert np.array_equal(history.final_state, expected.final_state) and history.loss == expected.loss


def test_chunks_may_have_weights_and_resets_or_not():
    m, r = OPTIONS["all"]["weights"], OPTIONS["resets"]["resets"]
    m[:10], r[:5] = 1, False
    whole, pieces = network(), network()
    whole.stream(X, D, weights=m, resets=r, tbptt=(4, 9))
    pieces.stream([(X[:5], D[:5]), (X[5:10], D[5:10], None, r[5:10]), (X[10:], D[10:], m[10:], r[10:])], tbptt=(4, 9))
    assert np.array_equal(whole.theta, pieces.theta)


def test_a_memory_map_is_read_in_pieces(tmp_path, monkeypatch):
    long = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "<f4", (5000, 2, 3))
    long[...] = rng.standard_normal(long.shape)
    monkeypatch.setattr(_windows, "CUT", 3000)
    pieces, seen = _windows.cut, []
    monkeypatch.setattr(_windows, "cut", lambda *args: (seen.append(len(piece[0])) or piece for piece in pieces(*args)))
    mapped, held = network(dtype="float32"), network(dtype="float32")
    mapped.stream(long, long[..., :2], tbptt=(10, 25))
    monkeypatch.setattr(_windows, "CUT", 2**22)
    held.stream(np.array(long), np.array(long[..., :2]), tbptt=(10, 25))
    assert np.array_equal(mapped.theta, held.theta) and len(seen) == 10 + 1 and max(seen) <= 5000


def test_a_callback_ends_a_stream_and_nan_leaves_the_last_whole_update():
    net = network()
    history = net.stream(X, D, tbptt=(5, 5), callback=lambda record: record.update == 2)
    assert len(history.loss) == 2 and history.steps == 10 and history.stopped == "callback"
    before, bad = net.theta, D.copy()
    bad[7] = 1e200
    with pytest.raises(FloatingPointError, match="loss is not finite in step 1"):
        net.stream(X, bad, tbptt=(5, 5))
    assert net.history.stopped == "nonfinite" and len(net.history.loss) == 1 and not np.array_equal(net.theta, before)
    assert np.isfinite(net.theta).all()


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"X": X, "D": D, "tbptt": None}, TypeError, "is required by stream"),
    ({"X": X, "D": D[:5], "tbptt": (1, 1)}, ValueError, "the same T"),
    ({"X": X, "D": D, "weights": np.ones((5, B)), "tbptt": (1, 1)}, ValueError, "weights must have the T of X"),
    ({"X": [(X, D)], "resets": np.zeros((T, B), bool), "tbptt": (1, 1)}, TypeError, "chunks have their own"),
    ({"X": [(X, D), X], "tbptt": (1, 1)}, TypeError, "chunk 1 must be"),
    ({"X": [(X, D), (X[:, :2], D[:, :2])], "tbptt": (1, 1)}, ValueError, "chunk 1: X must have the stream's 7 sequences, got 2"),
    ({"X": [(X * np.nan, D)], "tbptt": (1, 1)}, ValueError, "chunk 0: X contains NaN"),
    ({"X": X, "D": D, "tbptt": (1, 1), "initial_state": np.ones((B, 4))}, ValueError, "initial_state"),
    ({"X": X, "D": D, "tbptt": (1, 1), "callback": 3}, TypeError, "callback must be a function"),
])
def test_a_bad_stream_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        network().stream(**arguments)


def test_what_has_no_meaning_is_refused():
    last = network(output="last")
    with pytest.raises(ValueError, match='tbptt of fit requires output="sequence"'):
        last.fit(X, D[0], tbptt=(2, 2))
    with pytest.raises(ValueError, match='stream requires output="sequence"'):
        last.stream(X, D[0], tbptt=(2, 2))
    with pytest.raises(ValueError, match="not both"):
        network().fit(X, D, tbptt=(2, 2), memory_limit="auto")
    with pytest.raises(TypeError, match="tbptt requires X and D"):
        network().fit(batches=lambda n, rng: (X, D), updates=1, tbptt=(2, 2))


# ---- What is shown of it


def series(steps):
    rng = np.random.default_rng(3)
    return rng.standard_normal((steps, 2, 3)), rng.standard_normal((steps, 2, 2))


@pytest.mark.parametrize("tqdm", [True, False])
def test_a_stream_shows_its_progress_as_fit_does(tqdm, monkeypatch):
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    X, D = series(31)
    chunks = [(X[:10], D[:10]), (X[10:], D[10:])]
    monkeypatch.setattr(_progress, "DELAY", 0)
    for progress, silent in ((None, False), (False, True), (True, False)):
        for arguments in ({"X": X, "D": D}, {"X": iter(chunks)}):
            terminal = Terminal()
            monkeypatch.setattr(sys, "stderr", terminal)
            history = network().stream(**arguments, tbptt=(3, 5), progress=progress)
            text = terminal.getvalue()
            assert (text == "") is silent
            if not silent:
                assert f"step 31  loss {history.loss[-1]:.6g}" in text and text.endswith("\n")
                if tqdm:
                    assert ("11/11" if "D" in arguments else "11window") in text
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # a pipe gets nothing unless it asks
    network().stream(X, D, tbptt=(3, 5))
    assert sys.stderr.getvalue() == ""
    history = network().stream(X, D, tbptt=(3, 5), progress=True)
    assert sys.stderr.getvalue().endswith(f"step 31  loss {history.loss[-1]:.6g}\n")
    with pytest.raises(TypeError, match="progress must be True or False"):
        network().stream(X, D, tbptt=(3, 5), progress=1)


def test_the_line_of_a_stream_is_ended_when_it_is_interrupted(monkeypatch):
    def interrupt(record):
        if record.update == 3:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    X, D = series(12)
    with pytest.raises(KeyboardInterrupt):
        network().stream(X, D, tbptt=(3, 5), progress=True, callback=interrupt)
    assert terminal.getvalue().endswith("\n")


def test_the_history_of_a_long_stream_is_told_in_one_line_and_gives_a_table():
    X, D = series(500)
    history = network().stream(X, D, tbptt=(2, 4))
    assert repr(history) == (f"StreamHistory(250 updates, 500 steps, loss={history.loss[-1]:.6g}, mean of the last 100 losses "
                             f"{np.mean(history.loss[-100:]):.6g}, stopped='end')")
    rows = history.rows()
    assert rows["update"].tolist() == list(range(1, 251))
    np.testing.assert_array_equal(rows["loss"], history.loss)
    np.testing.assert_array_equal(rows["gradient_norm"], history.gradient_norm)
    assert repr(training.StreamHistory()) == "StreamHistory(0 updates, 0 steps, stopped='')"
