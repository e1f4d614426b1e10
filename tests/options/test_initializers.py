"""Every initialiser has its defining property, and no draw depends on another parameter's."""

import numpy as np
import pytest

from fastbptt import RNN
from fastbptt.initializers import INITIALIZERS
from fastbptt.network import STREAMS

pytestmark = pytest.mark.quick
I, H, O = 7, 40, 5


def network(initializer="orthogonal", **options):
    return RNN(**{"input_size": I, "hidden_size": H, "output_size": O, "initializer": initializer, "dtype": "float64",
                  "random_state": 0, "learn_initial_state": True, **options})


def weights(initializer, **options):
    return network(initializer, **options).parameters["W_s"]


def test_orthogonal_is_orthogonal():
    W = weights("orthogonal")
    np.testing.assert_allclose(W @ W.T, np.eye(H), atol=1e-13)
    np.testing.assert_allclose(W.T @ W, np.eye(H), atol=1e-13)


@pytest.mark.parametrize(("name", "shape"), [("W_x", (H, I)), ("W_y", (O, H))])
def test_an_orthogonal_rectangle_has_orthonormal_rows_or_columns(name, shape):
    W = network({name: "orthogonal"}).parameters[name]
    assert W.shape == shape
    np.testing.assert_allclose(W @ W.T if shape[0] < shape[1] else W.T @ W, np.eye(min(shape)), atol=1e-13)


def test_orthogonal_matrices_are_drawn_without_preference_of_a_sign():
    # QR alone would give every diagonal entry of R, and so the traces, one sign
    draws = np.array([weights("orthogonal", hidden_size=3, random_state=seed) for seed in range(400)])
    assert np.abs(draws.mean(axis=0)).max() < 5 * (1 / np.sqrt(3)) / np.sqrt(400)
    assert 120 < (np.linalg.det(draws) > 0).sum() < 280


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_the_number_of_orthogonal_is_its_gain(gain):
    np.testing.assert_allclose(np.linalg.svd(weights(("orthogonal", gain)))[1], gain, rtol=1e-13)


@pytest.mark.parametrize("name", ["W_x", "W_s", "W_y"])
def test_glorot_uniform_fills_its_limits(name):
    W = network("glorot_uniform").parameters[name]
    limit = np.sqrt(6 / sum(W.shape))
    assert 0.9 * limit < np.abs(W).max() <= limit
    assert abs(W.mean()) < 5 * limit / np.sqrt(3 * W.size)
    np.testing.assert_allclose(W.var(), limit**2 / 3, rtol=0.2)


@pytest.mark.parametrize("initializer", ["orthogonal", "identity", "normal", "sparse", "spectral_radius"])
def test_a_name_sets_the_recurrent_matrix_alone(initializer):
    net, glorot = network(initializer), network("glorot_uniform")
    for name in ("W_x", "W_y"):
        assert np.array_equal(net.parameters[name], glorot.parameters[name])
    assert not np.array_equal(net.parameters["W_s"], glorot.parameters["W_s"])
    assert not any(net.parameters[name].any() for name in ("b_s", "b_y", "S_0"))


@pytest.mark.parametrize("hidden_size", [4, 40])
def test_torch_draws_every_parameter_between_its_limits_but_the_initial_state(hidden_size):
    net = network("torch", hidden_size=hidden_size)
    limit = 1 / np.sqrt(hidden_size)
    for name, value in net.parameters.items():
        if name == "S_0":
            assert not value.any()
        else:
            assert 0.4 * limit < np.abs(value).max() <= limit
            assert len(np.unique(value)) == value.size
    everything = np.concatenate([net.parameters[name].ravel() for name in ("W_x", "W_s", "W_y")])
    assert everything.min() < -0.8 * limit and everything.max() > 0.8 * limit


@pytest.mark.parametrize(("initializer", "scale"), [("identity", 1.0), (("identity", 0.01), 0.01),
                                                    (["identity", 2], 2.0)])
def test_identity_is_the_scaled_unit_matrix(initializer, scale):
    assert np.array_equal(weights(initializer), scale * np.eye(H))


@pytest.mark.parametrize(("initializer", "radius"), [("spectral_radius", 1.1), (("spectral_radius", 0.5), 0.5),
                                                     (("spectral_radius", 1), 1.0)])
def test_spectral_radius_is_the_largest_modulus_of_an_eigenvalue(initializer, radius):
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(weights(initializer))).max(), radius, rtol=1e-12)


@pytest.mark.parametrize(("initializer", "nonzeros"), [("sparse", 15), (("sparse", 4), 4), (("sparse", 1), 1),
                                                       (("sparse", H), H), (("sparse", 1000), H)])
def test_sparse_has_so_many_nonzeros_in_every_row(initializer, nonzeros):
    W = weights(initializer)
    assert ((W != 0).sum(axis=1) == nonzeros).all()
    if nonzeros == 15:  # drawn afresh for each row, over all columns
        assert len({tuple(np.flatnonzero(row)) for row in W}) == H
        assert (W != 0).any(axis=0).all()


def test_sparse_in_a_small_network_fills_its_rows():
    assert (weights("sparse", hidden_size=6) != 0).all()


@pytest.mark.parametrize(("initializer", "deviation"), [("normal", 1 / np.sqrt(H)), (("normal", 0.5), 0.5)])
def test_normal_has_its_standard_deviation(initializer, deviation):
    W = weights(initializer)
    np.testing.assert_allclose(W.std(), deviation, rtol=5 / np.sqrt(2 * W.size))
    assert abs(W.mean()) < 5 * deviation / H
    assert np.abs(W).max() > 2.5 * deviation  # not uniform


# ---- Ways to say it


def test_a_dict_sets_each_parameter_its_own_way():
    W_y = np.arange(O * H, dtype=float).reshape(O, H)
    net = network({"W_x": ("normal", 1e-3), "W_y": W_y, "b_s": lambda shape, rng: np.full(shape, 0.25), "b_y": "torch",
                   "S_0": np.linspace(-1, 1, H)})
    p, default = net.parameters, network().parameters
    assert 0 < np.abs(p["W_x"]).max() < 1e-2
    assert np.array_equal(p["W_y"], W_y)
    assert (p["b_s"] == 0.25).all() and np.array_equal(p["S_0"], np.linspace(-1, 1, H))
    assert 0 < np.abs(p["b_y"]).max() <= 1 / np.sqrt(H)
    assert np.array_equal(p["W_s"], default["W_s"])  # what is not named is as by default
    W_y[...] = 0
    assert p["W_y"].any()


def test_a_function_gets_shape_and_generator_of_every_parameter():
    seen = {}

    def function(shape, rng):
        assert isinstance(rng, np.random.Generator)
        seen[shape] = rng.standard_normal(shape)
        return seen[shape]

    net = network(function)
    assert list(seen) == [(H, I), (H, H), (H,), (O, H), (O,)]
    for name in ("W_x", "W_s", "W_y", "b_y"):
        assert np.array_equal(net.parameters[name], seen[net.parameters[name].shape])


def test_a_function_that_returns_numbers_that_are_not_finite_is_refused():
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="W_x"):
            network(lambda shape, rng: np.full(shape, value))


@pytest.mark.parametrize(("initializer", "error", "words"), [
    (("normal", 1.0, 2.0), ValueError, ("initializer", "(name, number)")),
    ((), ValueError, ("initializer", "(name, number)")),
    (("torch", 0.5), ValueError, ("'torch'", "takes no number")),
    (np.eye(H), TypeError, ("initializer", "dict", "W_s")),
    ({"W_s": None}, TypeError, ("initializer", "NoneType")),
    ({"W_s": 0.5}, TypeError, ("initializer", "float")),
    ({3: "normal"}, ValueError, ("initializer", "3")),
], ids=lambda value: str(value)[:30])
def test_what_is_no_initialiser_is_refused_in_words(initializer, error, words):
    with pytest.raises(error) as caught:
        network(initializer)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def test_a_list_of_numbers_in_a_dict_is_an_array():
    assert network({"b_y": [1, 2, 3, 4, 5]}).parameters["b_y"].tolist() == [1, 2, 3, 4, 5]


# ---- Draws


@pytest.mark.parametrize("initializer", [*INITIALIZERS, ("sparse", 3), ("normal", 0.1)], ids=str)
def test_a_seed_fixes_the_draw(initializer):
    same = [network(initializer, random_state=seed).theta.tobytes() for seed in (5, 5, np.random.default_rng(1))]
    assert same[0] == same[1] != same[2]
    assert network(initializer, random_state=np.random.default_rng(1)).theta.tobytes() == same[2]
    assert network(initializer, random_state=6).theta.tobytes() != same[0]


def test_without_a_seed_every_network_is_another():
    assert network(random_state=None).theta.tobytes() != network(random_state=None).theta.tobytes()


def test_one_generator_makes_one_network_after_another():
    rng = np.random.default_rng(0)
    assert network(random_state=rng).theta.tobytes() != network(random_state=rng).theta.tobytes()


@pytest.mark.parametrize("option", [{"bias": False}, {"learn_initial_state": False}, {"activation": "relu"},
                                    {"loss": "huber"}, {"reduction": "sum"}], ids=str)
@pytest.mark.parametrize("initializer", ["orthogonal", "torch"])
def test_no_option_shifts_the_draw_of_what_both_networks_have(option, initializer):
    base, other = network(initializer), network(initializer, **option)
    for name, value in other.parameters.items():
        assert np.array_equal(value, base.parameters[name]), name


@pytest.mark.parametrize("name", ["W_x", "W_s", "b_s", "W_y", "b_y", "S_0"])
def test_the_initialiser_of_one_parameter_shifts_no_other(name):
    base = network(lambda shape, rng: rng.standard_normal(shape)).parameters
    draw = lambda shape, rng: rng.standard_normal(shape)
    chosen = {other: draw for other in base}
    changed = network({**chosen, name: lambda shape, rng: rng.uniform(2, 3, (9, *shape))[0]}).parameters
    for other in base:
        assert np.array_equal(base[other], changed[other]) == (other != name)


def test_the_random_streams_of_a_network_are_different_ones():
    states = {name: tuple(network()._stream(name).generate_state(4)) for name in STREAMS}
    assert len(set(states.values())) == len(STREAMS)


def test_a_wider_input_or_output_leaves_the_recurrent_matrix():
    W = weights("orthogonal")
    assert np.array_equal(W, weights("orthogonal", input_size=I + 3))
    assert np.array_equal(W, weights("orthogonal", output_size=O + 3))


def test_parameters_of_one_shape_are_drawn_from_different_streams():
    net = RNN(H, H, H, dtype="float64", initializer="glorot_uniform", random_state=0)
    assert not np.array_equal(net.parameters["W_x"], net.parameters["W_s"])
    assert not np.array_equal(net.parameters["W_s"], net.parameters["W_y"])


def test_both_dtypes_draw_the_same_numbers():
    single, double = network(dtype="float32"), network(dtype="float64")
    assert np.array_equal(single.theta, double.theta.astype("f4"))
