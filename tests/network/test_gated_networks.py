"""Gated networks through RNN: states of the cell's width wherever a state enters or leaves, training, files, and messages.

The mathematics is tested in tests/reference. Here each operation must agree with others of the same network.
"""

import copy
import pickle

import numpy as np
import pytest

import fastbptt
from fastbptt import RNN, Population

T, B, I, H, O = 9, 4, 2, 5, 2
CELLS = {"gru": {"cell": "gru"}, "gru before": {"cell": "gru", "reset_after": False}, "lstm": {"cell": "lstm"}}
LAYERS = {"one layer": {}, "stacked": {"hidden_size": (5, 4)}}
BACKENDS = ["core", "reference"]
cells = pytest.mark.parametrize("options", CELLS.values(), ids=CELLS)
layers = pytest.mark.parametrize("more", LAYERS.values(), ids=LAYERS)
backends = pytest.mark.parametrize("backend", BACKENDS)


def network(**options):
    net = RNN(**{"input_size": I, "hidden_size": H, "output_size": O, "dtype": "float64", "random_state": 0, **options})
    net.theta += 0.1 * np.random.default_rng(1).standard_normal(net.theta.size)
    return net


def data(net, seed=2, steps=T):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, net.input_size, (steps, B)) if net.one_hot else rng.standard_normal((steps, B, I))
    return X, rng.standard_normal((steps, B, O))


def widths(net):
    sizes = net.hidden_size if isinstance(net.hidden_size, tuple) else (net.hidden_size,)
    return [(2 if net.cell == "lstm" else 1) * size for size in sizes for _ in range(1 + net.bidirectional)]


def states(net, seed=3):
    rng = np.random.default_rng(seed)
    found = tuple(rng.uniform(-1, 1, (B, width)) for width in widths(net))
    return found if len(found) > 1 else found[0]


def each(value):
    return value if isinstance(value, tuple) else (value,)


def same(a, b):
    for one, other in zip(each(a), each(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@cells
@layers
@backends
def test_states_have_the_width_of_the_cell_everywhere(options, more, backend):
    net = network(**options | more)
    X, D = data(net)
    Y, final, all_states = net.forward(X, states(net), return_states=True, backend=backend)
    _, gradients = net.loss_and_gradients(X, D, initial_state=states(net), initial_state_gradient=True, backend=backend)
    for found in (final, gradients["initial_state"]):
        assert [array.shape for array in each(found)] == [(B, width) for width in widths(net)]
    assert [array.shape for array in each(all_states.S)] == [(T + 1, B, width) for width in widths(net)]
    same(tuple(S[-1] for S in each(all_states.S)), each(final))
    same(tuple(S[0] for S in each(all_states.S)), each(states(net)))
    for h, S in zip(each(all_states.h), each(all_states.S)):
        assert np.shares_memory(h, S) and (h == S[..., :h.shape[-1]]).all()
    if net.cell == "lstm":
        for c, h, S in zip(each(all_states.c), each(all_states.h), each(all_states.S)):
            assert np.shares_memory(c, S) and (np.concatenate([h, c], axis=-1) == S).all()
    np.testing.assert_allclose(Y, each(all_states.h)[-1][1:] @ net.parameters["W_y"].T + net.parameters["b_y"], rtol=1e-12)


@cells
@layers
@backends
def test_a_sequence_goes_on_from_its_state_in_forward_and_step(options, more, backend):
    net = network(**options | more)
    X, _ = data(net)
    Y, final = net.forward(X, states(net), backend=backend)
    first, state = net.forward(X[:4], states(net), backend=backend)
    second, end = net.forward(X[4:], state, backend=backend)
    np.testing.assert_allclose(np.concatenate([first, second]), Y, rtol=1e-12)
    same(end, final)
    state = states(net)
    for x, y in zip(X, Y):
        found, state = net.step(x, state, backend=backend)
        np.testing.assert_allclose(found, y, rtol=1e-12)
    same(state, final)
    out = np.empty((B, O)), tuple(np.empty((B, width)) for width in widths(net))
    out = out if len(widths(net)) > 1 else (out[0], out[1][0])
    y, state = net.step(X[0], states(net), out=out, backend=backend)
    assert y is out[0]
    same(state, net.step(X[0], states(net), backend=backend)[1])


@cells
@backends
def test_a_learned_initial_state_starts_sequences_and_resets(options, backend):
    net = network(**options, learn_initial_state=True)
    width = widths(net)[0]
    net.parameters["S_0"] = np.linspace(-0.5, 0.5, width)
    X, _ = data(net)
    resets = np.zeros((T, B), bool)
    resets[5, 1] = True
    Y, _, found = net.forward(X, resets=resets, return_states=True, backend=backend)
    assert (found.S[0] == net.parameters["S_0"]).all()
    np.testing.assert_allclose(Y[5:, 1:2], net.forward(X[5:, 1:2], backend=backend)[0], rtol=1e-12)


@cells
@backends
def test_generation_goes_on_from_the_state_that_it_returns(options, backend):
    net = network(**options, hidden_size=(4, 3))
    X, _ = data(net)
    Y, _ = net.generate(6, prefix=X, initial_state=states(net), return_state=True, backend=backend)
    first, state = net.generate(3, prefix=X, initial_state=states(net), return_state=True, backend=backend)
    assert [array.shape for array in state] == [(B, width) for width in widths(net)]
    np.testing.assert_allclose(net.generate(3, prefix=first[-1:], initial_state=state, backend=backend), Y[3:], rtol=1e-12)


@cells
@layers
@backends
def test_gradients_are_those_of_differences_of_the_loss(options, more, backend):
    net = network(**options | more, learn_initial_state=True, l2=0.01, rate_penalty=0.1)
    X, D = data(net)
    lengths, resets = np.array([9, 5, 1, 7]), np.random.default_rng(4).random((T, B)) < 0.2
    given = {"lengths": lengths, "resets": resets, "backend": backend}
    _, gradients = net.loss_and_gradients(X, D, **given)
    fun = net.objective(X, D, **given)
    flat = np.concatenate([gradients[name].ravel() for name in net.parameters])
    np.testing.assert_allclose(fun(net.theta)[1], flat, rtol=1e-12, atol=1e-14)
    direction = np.random.default_rng(5).standard_normal(flat.size)
    up, down = (fun(net.theta + step * direction)[0] for step in (1e-5, -1e-5))
    assert (up - down) / 2e-5 == pytest.approx(flat @ direction, rel=1e-7)


@cells
@layers
@backends
def test_training_in_windows_and_in_a_stream_keeps_the_states_of_the_cell(options, more, backend):
    """With one window, and with the learning rate 0, truncated training is forward over the whole series."""
    X, D = data(network())
    for learns in (False, True):
        nets = [network(**options | more, learn_initial_state=learns) for _ in range(3)]
        how = {"optimizer": "sgd", "learning_rate": 0.1, "backend": backend}
        whole, windows, stream = nets
        whole.fit(X, D, epochs=1, **how)
        windows.fit(X, D, epochs=1, tbptt=(T, T), **how)
        stream.stream(X, D, tbptt=(T, T), **how)
        np.testing.assert_allclose(windows.theta, whole.theta, rtol=1e-11)
        np.testing.assert_allclose(stream.theta, whole.theta, rtol=1e-11)
    net = network(**options | more)
    losses = []
    net.stream(X, D, tbptt=(2, 5), optimizer="sgd", learning_rate=1e-300, backend=backend, initial_state=states(net),
               callback=lambda record: losses.append(record.train_loss))
    e = net.losses(X, D, initial_state=states(net), backend=backend)
    np.testing.assert_allclose(losses, [e[t:t + 2].mean() for t in range(0, T, 2)], rtol=1e-10)


@cells
@layers
def test_a_run_in_windows_resumes_from_its_checkpoint(options, more, tmp_path):
    how = {"tbptt": (2, 5), "learning_rate": 0.01, "backend": "reference", "batch_size": B, "random_state": 5}
    X, D = data(network())
    whole, part = (network(**options | more, learn_initial_state=True) for _ in range(2))
    whole.fit(X, D, updates=8, **how)
    file = tmp_path / "run.npz"
    part.fit(X, D, updates=3, **how, checkpoint=file)
    again = network(**options | more, learn_initial_state=True)
    again.fit(X, D, updates=8, **how, checkpoint=file, resume=True)
    np.testing.assert_array_equal(again.theta, whole.theta)
    assert fastbptt.load(file).cell == whole.cell


@cells
@layers
def test_files_pickles_and_copies_keep_the_cell(options, more, tmp_path):
    net = network(**options | more, learn_initial_state=True, forget_bias=0.5 if options["cell"] == "lstm" else 1.0)
    net.save(tmp_path / "net.npz")
    for again in (fastbptt.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
        assert repr(again) == repr(net) and again._config == net._config
        np.testing.assert_array_equal(again.theta, net.theta)
    population = Population.from_networks([net, net.copy()])
    population.save(tmp_path / "population.npz")
    assert repr(fastbptt.load(tmp_path / "population.npz")) == repr(population)


def test_a_file_says_version_2_and_one_of_version_1_has_no_cell(tmp_path):
    from fastbptt import _files

    network().save(tmp_path / "net.npz")
    header, arrays = _files.read(tmp_path / "net.npz")
    assert header["version"] == 2 and header["config"]["cell"] == "plain"
    for name in ("cell", "reset_after", "forget_bias"):
        del header["config"][name]
    _files.write(tmp_path / "old.npz", header | {"version": 1}, arrays)
    assert _files.read(tmp_path / "old.npz")[0]["version"] == 1
    old = fastbptt.load(tmp_path / "old.npz")
    assert (old.cell, old._config) == ("plain", network()._config)


@pytest.mark.parametrize("config", [{"cell": "lstm"}, {"cell": "elman"}, {"cell": ["gru"]}, {"cell": None}, {"leak": 0.5},
                                    {"reset_after": False}, {"reset_after": "yes"}, {"forget_bias": 2.0}], ids=str)
def test_a_file_with_another_cell_than_its_parameters_is_refused(config, tmp_path):
    from fastbptt import _files

    network(cell="gru").save(tmp_path / "net.npz")
    header, arrays = _files.read(tmp_path / "net.npz")
    header["config"] |= config
    _files.write(tmp_path / "net.npz", header, arrays)
    with pytest.raises(ValueError, match="is not a model that this fastbptt knows"):
        fastbptt.load(tmp_path / "net.npz")


# ---- Messages


@pytest.mark.parametrize("cell, letters, width", [("gru", r"\(B, H\)", 5), ("lstm", r"\(B, 2H\)", 10)])
def test_a_state_of_another_width_is_refused_with_the_letters_of_the_cell(cell, letters, width):
    net, wrong = network(cell=cell), np.zeros((B, 7))
    X, D = data(net)
    calls = {"initial_state": lambda: net.forward(X, wrong, backend="reference"),
             "state": lambda: net.step(X[0], wrong, backend="reference"),
             "out's state": lambda: net.step(X[0], out=(np.zeros((B, O)), wrong), backend="reference")}
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{name} must have shape {letters} = \({B}, {width}\), got \({B}, 7\)"):
            call()
    with pytest.raises(ValueError, match=rf"^initial_state must have shape {letters} = \(B, {width}\), got"):
        net.stream(X, D, tbptt=(2, 2), initial_state=wrong, backend="reference")
    two = network(cell=cell, hidden_size=(5, 4))
    with pytest.raises(TypeError, match=f"^initial_state must be a tuple of 2 arrays {letters}, one for each recurrence"):
        two.forward(X, wrong, backend="reference")
    with pytest.raises(ValueError, match=rf"^initial_state\[0\] must have shape {letters}"):
        two.forward(X, (wrong, wrong), backend="reference")
    with pytest.raises(ValueError, match=rf"^initial_state must have shape {letters}"):
        Population(2, I, H, O, cell=cell).forward(X, wrong)


def test_states_of_a_cell_say_what_they_have():
    X, _ = data(network())
    of = {cell: network(cell=cell).forward(X, return_states=True, backend="reference")[2] for cell in ("plain", "gru", "lstm")}
    assert {cell: tuple(vars(found)) for cell, found in of.items()} == {
        "plain": ("S", "rates"), "gru": ("S", "h"), "lstm": ("S", "h", "c")}
    with pytest.raises(AttributeError, match="the states of this network have S, h, and no 'c'"):
        of["gru"].c
    with pytest.raises(AttributeError, match="have S, h, c, and no 'rates'"):
        of["lstm"].rates
    with pytest.raises(TypeError, match=r"index states.S \(T\+1, B, 2H\)$"):
        of["lstm"][0]
    with pytest.raises(AttributeError, match="S of the states that forward returns cannot be assigned"):
        of["lstm"].S = 3
    assert repr(of["gru"]) == "NetworkStates(S=<float64 array (10, 4, 5)>, h=<float64 array (10, 4, 5)>)"
    again = pickle.loads(pickle.dumps(of["lstm"]))
    np.testing.assert_array_equal(again.c, of["lstm"].c)
