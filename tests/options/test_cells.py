"""The options of gated cells: shapes and initial values of their parameters, and the options that a cell refuses."""

import numpy as np
import pytest

from fastbptt import RNN, Population, RNNClassifier, RNNRegressor, reference
from fastbptt.options import cells, declaration

GATES = {"gru": 3, "lstm": 4}
I, H, O = 3, 5, 2
HIDDEN = {"plain": (H,), "gru": (H,), "lstm": (2 * H,)}  # the shape of S_0


def shapes(net):
    return {name: value.shape for name, value in net.parameters.items()}


@pytest.mark.parametrize("cell, G", GATES.items())
def test_parameters_have_a_block_of_rows_for_each_gate_in_the_order_of_theta(cell, G):
    b_n = {"b_n": (H,)} if cell == "gru" else {}
    net = RNN(I, H, O, cell=cell, learn_initial_state=True)
    assert list(shapes(net).items()) == list({
        "W_x": (G * H, I), "W_s": (G * H, H), "b_s": (G * H,), **b_n, "W_y": (O, H), "b_y": (O,), "S_0": HIDDEN[cell]}.items())
    assert list(shapes(RNN(I, H, O, cell=cell, bias=False))) == ["W_x", "W_s", "W_y"]
    net.theta = np.arange(net.theta.size)
    assert (np.concatenate([value.ravel() for value in net.parameters.values()]) == net.theta).all()


def test_a_gru_that_resets_before_the_product_has_no_b_n():
    assert list(shapes(RNN(I, H, O, cell="gru", reset_after=False))) == ["W_x", "W_s", "b_s", "W_y", "b_y"]


@pytest.mark.parametrize("cell, G", GATES.items())
def test_layers_and_directions_have_the_shapes_of_the_cell(cell, G):
    net = RNN(I, (H, 4), O, cell=cell, bidirectional=True, learn_initial_state=True)
    found, width = shapes(net), {"": I, "_l1": 2 * H}
    for layer, units in (("", H), ("_l1", 4)):
        for suffix in (layer, layer + "_reverse"):
            assert found["W_x" + suffix] == (G * units, width[layer])
            assert found["W_s" + suffix] == (G * units, units)
            assert found["b_s" + suffix] == (G * units,)
            assert found["S_0" + suffix] == (units * (2 if cell == "lstm" else 1),)
            assert ("b_n" + suffix in found) == (cell == "gru")
    assert found["W_y"] == (O, 8)
    names = list(found)
    assert names[:names.index("S_0") + 1] == ["W_x", "W_s", "b_s", *(["b_n"] if cell == "gru" else []), "S_0"]
    assert names[-2:] == ["W_y", "b_y"]


def test_the_defaults_are_resolved_for_the_cell():
    plain, gru = RNN(I, H, O, random_state=0), RNN(I, H, O, cell="gru", random_state=0)
    assert (plain.cell, plain.activation, gru.cell, gru.activation) == ("plain", "tanh", "gru", "tanh")
    given = RNN(I, H, O, activation="tanh", initializer="orthogonal", random_state=0)
    assert given._config == plain._config and (given.theta == plain.theta).all()
    assert "cell" not in repr(plain) and "cell='gru'" in repr(gru)


# ---- Initial values


@pytest.mark.parametrize("cell, G", GATES.items())
@pytest.mark.parametrize("initializer, check", [
    (None, lambda W: np.allclose(W @ W.T, np.eye(H))), ("orthogonal", lambda W: np.allclose(W @ W.T, np.eye(H))),
    ("identity", lambda W: (W == np.eye(H)).all()), (("identity", 0.5), lambda W: (W == 0.5 * np.eye(H)).all()),
    (("spectral_radius", 0.9), lambda W: np.isclose(np.abs(np.linalg.eigvals(W)).max(), 0.9)),
    (("sparse", 2), lambda W: ((W != 0).sum(axis=1) == 2).all()),
    ("glorot_uniform", lambda W: 0.6 * np.sqrt(6 / (2 * H)) < np.abs(W).max() <= np.sqrt(6 / (2 * H))),
], ids=["default", "orthogonal", "identity", "half identity", "spectral_radius", "sparse", "glorot_uniform"])
def test_a_named_initialiser_fills_the_square_block_of_each_gate(cell, G, initializer, check):
    net = RNN(I, H, O, cell=cell, initializer=initializer, dtype="float64", random_state=1)
    blocks = np.split(net.parameters["W_s"], G)
    assert all(map(check, blocks))
    if initializer not in ("identity", ("identity", 0.5)):
        assert not np.array_equal(blocks[0], blocks[1])


@pytest.mark.parametrize("cell, G", GATES.items())
def test_W_x_is_glorot_uniform_per_gate_and_biases_are_zero(cell, G):
    net = RNN(40, 30, O, cell=cell, random_state=1, forget_bias=1.0)
    limit = np.sqrt(6 / 70)  # not that of all rows together, √(6 / (40 + 30 G))
    for block in np.split(net.parameters["W_x"], G):
        assert 0.98 * limit < np.abs(block).max() <= limit
    biases = {name: value.copy() for name, value in net.parameters.items() if name.startswith("b_")}
    if cell == "lstm":
        assert (biases["b_s"][30:60] == 1).all()
        biases["b_s"][30:60] = 0
    assert not any(value.any() for value in biases.values())


def test_the_forget_bias_is_in_the_rows_of_gate_f_of_each_recurrence():
    net = RNN(I, (H, 4), O, cell="lstm", bidirectional=True, forget_bias=2.5)
    for suffix, units in (("", H), ("_reverse", H), ("_l1", 4), ("_l1_reverse", 4)):
        b_s = net.parameters["b_s" + suffix].reshape(4, units)
        assert (b_s[1] == 2.5).all() and not b_s[[0, 2, 3]].any()
    own = RNN(I, H, O, cell="lstm", initializer={"b_s": np.full(4 * H, 3.0)})
    assert (own.parameters["b_s"] == 3).all()  # the user's values take precedence
    assert (RNN(I, H, O, cell="lstm", initializer=lambda shape, rng: np.full(shape, 0.25)).theta == 0.25).all()


@pytest.mark.parametrize("cell", GATES)
def test_torch_draws_all_parameters_from_one_interval(cell):
    net = RNN(9, 16, O, cell=cell, initializer="torch", learn_initial_state=True, random_state=0)
    for name, value in net.parameters.items():
        assert np.abs(value).max() <= 0.25  # 1/√H
        assert (np.unique(value).size == value.size) == (name != "S_0")


def test_b_n_has_its_own_random_numbers_for_any_depth():
    one, two = (RNN(I, H, O, cell="gru", initializer="torch", random_state=0) for H in (5, (5, 5)))
    assert (one.parameters["b_n"] == two.parameters["b_n"]).all()
    assert not np.isin(one.parameters["b_n"], one.parameters["b_s"]).any()
    assert not np.isin(two.parameters["b_n_l1"], one.parameters["b_n"]).any()


@pytest.mark.parametrize("cell, G", GATES.items())
def test_connectivity_and_trainable_have_the_shape_of_all_gates(cell, G):
    there = np.random.default_rng(0).integers(0, 2, (G * H, H))
    net = RNN(I, H, O, cell=cell, connectivity={"W_s": there}, trainable={"W_x": False}, nonnegative=("W_y",), random_state=0)
    assert (net.effective_parameters()["W_s"][there == 0] == 0).all()
    blocks, free = np.split(net.effective_parameters()["W_s"], G), RNN(I, H, O, cell=cell, random_state=0).parameters["W_s"]
    for block, drawn in zip(blocks, np.split(free, G)):  # the radius of each gate's block, as for a plain network's W_s
        assert np.isclose(*(np.abs(np.linalg.eigvals(W)).max() for W in (block, drawn)), rtol=1e-5)
    with pytest.raises(ValueError, match=rf"connectivity\['W_s'\] must have shape \({G * H}, {H}\), got \({H}, {H}\)"):
        RNN(I, H, O, cell=cell, connectivity={"W_s": np.ones((H, H))})


# ---- Refusals


@pytest.mark.parametrize("options", [
    {"leak": 0.5}, {"dt": 1.0, "tau": 2.0}, {"dt": 2.0, "tau": 2.0}, {"leak_form": "current"}, {"noise_std": 0.1},
    {"omega": 0.1}, {"dale_ratio": 0.8}, {"dale_signs": [1, 1, 1, -1, -1]}, {"autapses": False},
], ids=str)
@pytest.mark.parametrize("cell", GATES)
def test_options_of_plain_units_are_refused_with_gated_cells(cell, options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"^{name} must not be given with cell='{cell}': only cell='plain' has it; got {name}="):
        RNN(I, H, O, cell=cell, **options)
    assert RNN(I, H, O, **options).cell == "plain"


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("cell", GATES)
def test_activations_that_read_the_pre_activation_are_refused_with_gated_cells(cell, activation):
    if not reference.reads_input(activation):
        assert RNN(I, H, O, cell=cell, activation=activation).activation == activation
        return
    with pytest.raises(ValueError, match=f"^activation must not be '{activation}' with cell='{cell}'"):
        RNN(I, H, O, cell=cell, activation=activation)
    assert RNN(I, H, O, activation=activation).cell == "plain"


@pytest.mark.parametrize("options, message", [
    ({"cell": "lstm", "reset_after": False}, "reset_after must not be given with cell='lstm': only cell='gru' has it"),
    ({"reset_after": False}, "reset_after must not be given with cell='plain': only cell='gru' has it"),
    ({"cell": "gru", "forget_bias": 2.0}, "forget_bias must not be given with cell='gru': only cell='lstm' has it"),
    ({"forget_bias": 0.0}, "forget_bias must not be given with cell='plain': only cell='lstm' has it"),
    ({"cell": "lstm", "bias": False, "forget_bias": 0.0}, "forget_bias must not be given with bias=False"),
    ({"cell": "lstm", "forget_bias": np.inf}, "forget_bias must be finite"),
    ({"cell": "GRU"}, "unknown cell 'GRU'; use 'gru'"),
    ({"cell": "elman"}, "unknown cell 'elman'"),
], ids=str)
def test_options_of_one_cell_are_refused_with_others(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        RNN(I, H, O, **options)


@pytest.mark.parametrize("options, name", [({"cell": None}, "cell"), ({"cell": 3}, "cell"),
                                           ({"cell": "gru", "reset_after": 1}, "reset_after"),
                                           ({"cell": "lstm", "forget_bias": "1"}, "forget_bias")], ids=str)
def test_options_of_cells_of_another_type_are_refused(options, name):
    with pytest.raises(TypeError, match=f"^{name} must be"):
        RNN(I, H, O, **options)


def test_options_at_values_that_every_cell_has_are_accepted():
    net = RNN(I, H, O, cell="gru", leak=1.0, leak_form="rate", noise_std=0.0, omega=0.0, autapses=True, forget_bias=1.0)
    assert net._config == RNN(I, H, O, cell="gru")._config


def test_every_cell_has_a_row_of_the_reference_and_no_other_has():
    rows = {id(cells.of(config)) for config in ({"cell": "plain"}, {"leak": 0.5}, {"leak_form": "current"}, {"cell": "gru"},
                                                {"activation": "silu"}, {"activation": "gelu", "leak_form": "current"},
                                                {"cell": "gru", "reset_after": False}, {"cell": "lstm"})}
    assert rows == {id(row) for row in reference.CELLS.values()}
    assert set(cells.PLAIN_ONLY) | set(cells.OWN) <= set(declaration.BY_NAME)


@pytest.mark.parametrize("kind", [RNNRegressor, RNNClassifier])
def test_populations_and_estimators_take_the_cell(kind):
    assert shapes(Population(2, I, H, O, cell="lstm", forget_bias=0.5)[1])["W_s"] == (4 * H, H)
    assert (Population(2, I, H, O, cell="lstm", forget_bias=0.5).parameters["b_s"][:, H:2 * H] == 0.5).all()
    found = Population(2, I, H, O, cell="lstm").describe()
    assert "one a vector lane" in found or "has no lanes" in found
    with pytest.raises(ValueError, match="^leak must not be given with cell='gru'"):
        kind(cell="gru", leak=0.5).fit(np.zeros((4, 3, 1)), np.arange(4) % 2 if kind is RNNClassifier else np.zeros((4, 3)))
