"""Maps on the parameters: connections that are absent, entries that are frozen, Dale's law; the gradient is that by θ."""

import numpy as np
import pytest
from cases import STEP, assert_close

from fastbptt import reference

T, B, I, H, O = 6, 3, 4, 7, 2
OPTIONS = {"activation": "tanh", "output_activation": "sigmoid", "reduction": "sum", "l1": {"W_s": 0.1, "b_s": 0.2},
           "l2": {"W_x": 0.3, "W_s": 0.4}}
SHAPES = {"W_x": (H, I), "W_s": (H, H), "b_s": (H,), "W_y": (O, H), "b_y": (O,), "S_0": (H,)}
rng = np.random.default_rng(0)
X, D, RESETS = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O)), rng.random((T, B)) < 0.2


def parameters():
    return {name: np.random.default_rng(n).normal(0, 0.6, shape) for n, (name, shape) in enumerate(SHAPES.items())}


def random_map(shape, seed=0):
    """Each of present and absent, free and of either sign, trainable and frozen, in every combination."""
    rng = np.random.default_rng(seed)
    return reference.Map(rng.random(shape) < 0.7, rng.integers(-1, 2, shape), rng.random(shape) < 0.7)


MAPS = {
    "one of all": {name: random_map(shape, n) for n, (name, shape) in enumerate(SHAPES.items())},
    "of some": {"W_s": random_map((H, H)), "S_0": random_map((H,))},
    "none": {},
}
every_map = pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)


def by_entry(w, of):
    """θ' by the definition, and ∂θ'/∂θ where it is trainable."""
    if not of[0]:
        return 0.0, 0.0
    value, slope = (w, 1.0) if of[1] == 0 else (of[1] * abs(w), of[1] * (-1.0 if w < 0 else 1.0))
    return value, slope * of[2]


@every_map
def test_effective_parameters_and_their_slopes_are_those_of_the_definition(maps):
    p = parameters()
    found = reference.effective(p, maps)
    slopes = reference.pulled_back({name: np.ones_like(w) for name, w in p.items()}, p, maps)
    assert list(found) == list(slopes) == list(p)
    for name, w in p.items():
        of = maps.get(name, (np.ones(w.shape, bool), np.zeros(w.shape), np.ones(w.shape, bool)))
        expected = np.array([by_entry(*entry) for entry in zip(w.flat, zip(*(part.flat for part in of)))])
        np.testing.assert_array_equal(found[name].ravel(), expected[:, 0], err_msg=name)
        np.testing.assert_array_equal(slopes[name].ravel(), expected[:, 1], err_msg=name)


def complex_step(function, p, maps):
    """∂function/∂θ of what is trainable."""
    p = {name: value.astype(complex) for name, value in p.items()}
    derivatives = {}
    for name, value in p.items():
        derivatives[name] = np.empty(value.shape)
        for j in range(value.size):
            value.flat[j] += 1j * STEP
            derivatives[name].flat[j] = function(p).imag / STEP
            value.flat[j] = value.flat[j].real
        if name in maps:
            derivatives[name] *= maps[name].trainable
    return derivatives


@every_map
def test_the_gradient_by_theta_is_that_of_the_complex_step(maps):
    given, p = {"resets": RESETS, "lengths": np.array([6, 4, 5])}, parameters()
    forward = {name: value for name, value in OPTIONS.items() if name not in ("l1", "l2")}

    def loss(p):
        return (reference.loss(p, X, D, maps=maps, **given, **forward)
                + reference.penalty(reference.effective(p, maps), OPTIONS["l1"], OPTIONS["l2"]))

    value, gradients = reference.loss_and_gradients(p, X, D, maps=maps, **given, **OPTIONS)
    assert value == pytest.approx(loss(p), rel=1e-14)
    for name, truth in complex_step(loss, p, maps).items():
        assert_close(gradients[name], truth, 1e-13, name)


@every_map
def test_the_gradient_of_a_given_error_is_that_of_the_complex_step(maps):
    p, options = parameters(), {"activation": "tanh", "output_activation": "sigmoid", "maps": maps}
    gradients = reference.backward(p, X, D, **options)
    for name, truth in complex_step(lambda p: (D * reference.forward(p, X, **options)[0]).sum(), p, maps).items():
        assert_close(gradients[name], truth, 1e-13, name)


@every_map
def test_the_terms_sum_to_the_gradient(maps):
    p, options = parameters(), {"activation": "tanh", "output_activation": "sigmoid", "reduction": "sum", "maps": maps}
    _, gradients = reference.loss_and_gradients(p, X, D, **options)
    terms = [reference.gradient_terms(p, X, D, t, **options) for t in range(T)]
    for name in ("W_s", "W_x"):
        assert_close(sum(term[name].sum(axis=0) for term in terms), gradients[name], 1e-13, name)
    assert_close(sum(term["W_y"] for term in terms), gradients["W_y"], 1e-13, "W_y")


def test_what_is_zero_can_leave_it_by_the_slope_of_the_right():
    ones = {"W_s": np.ones((1, 3))}
    signs = {"W_s": reference.Map(np.ones((1, 3), bool), np.array([[1, -1, 0]]), np.ones((1, 3), bool))}
    for zero in (0.0, -0.0):
        slopes = reference.pulled_back(ones, {"W_s": np.full((1, 3), zero)}, signs)
        np.testing.assert_array_equal(slopes["W_s"], [[1, -1, 1]])


def test_what_is_absent_is_not_read():
    p, maps = parameters(), {"W_s": random_map((H, H))}
    p["W_s"][~maps["W_s"].present] = np.nan
    _, gradients = reference.loss_and_gradients(p, X, D, maps=maps, **OPTIONS)
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
