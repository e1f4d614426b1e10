"""Maps on the parameters: connections that are absent, entries that are frozen, Dale's law; the gradient is that by θ."""

import copy
import pickle

import numpy as np
import pytest
import scipy.optimize
from cases import STEP, all_states, assert_close
from expectations import taken

import fastbptt
from fastbptt import RNN, _files, optimizers, reference
from fastbptt.backends.arguments import Batch, CallOptions

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


# ---------------------------------------------------------------------------------------------------------------------
# Networks
# ---------------------------------------------------------------------------------------------------------------------

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
both_backends = pytest.mark.parametrize("backend", ["core", "reference"])
LENGTHS = np.array([6, 0, 4])


def entries(shape, share, seed):
    return np.random.default_rng(seed).random(shape) < share


def every_option(**more):
    """Every map there is, of every parameter."""
    return {"connectivity": {"W_s": entries((H, H), 0.8, 1), "W_y": entries((O, H), 0.7, 2), "b_s": entries(H, 0.7, 3)},
            "trainable": {"W_s": entries((H, H), 0.7, 4), "W_x": entries((H, I), 0.6, 5), "b_y": False,
                          "S_0": entries(H, 0.5, 6)},
            "dale_ratio": 0.6, "nonnegative": ("W_x", "b_s"), "autapses": False, "learn_initial_state": True,
            "l1": {"W_s": 0.1, "b_y": 0.2}, "l2": 0.05, "random_state": 0} | more


def network(dtype="float64", **options):
    """Its theta is of either sign everywhere, also where it is absent."""
    net = RNN(I, H, O, dtype=dtype, **every_option(**options))
    net.theta = np.random.default_rng(7).normal(0, 0.5, net.theta.size)
    return net


def data(net):
    x = np.random.default_rng(8).integers(I, size=(T, B)) if net.one_hot else X.astype(net.dtype)
    return x, (D[0] if net.output == "last" else D).astype(net.dtype)


def results(net, backend):
    """What every operation returns, by name."""
    x, d = data(net)
    kinds = {} if net.output == "last" else {"lengths": LENGTHS, "resets": RESETS}
    given = {"initial_state": np.full((B, H), 0.25, net.dtype), "backend": backend}
    gradient = np.empty(net.theta.size, net.dtype)
    found = {
        "forward": all_states(net.forward(x, return_states=True, backend=backend)),
        "forward of every kind": all_states(net.forward(x, return_states=True, **kinds, backend=backend)),
        "step": net.step(x[0], backend=backend),
        "losses": net.losses(x, d, backend=backend),
        "evaluate": net.evaluate(x, d, **kinds, backend=backend),
        "loss_and_gradients": net.loss_and_gradients(x, d, backend=backend),
        "loss_and_gradients of every kind": net.loss_and_gradients(x, d, **kinds, **given, initial_state_gradient=True,
                                                                   input_gradient=not net.one_hot),
        "loss_and_gradients, truncated": net.loss_and_gradients(x, d, tbptt=(2, 3), backend=backend),
        "loss_and_gradients, computed again": net.loss_and_gradients(x, d, memory_limit="auto", backend=backend),
        "backward": net.backward(x, d, **given, input_gradient=not net.one_hot),
        "gradient_terms": net.gradient_terms(x, d, 4, **given),
        "loss_into": net._loss_into(gradient, Batch(x, d), CallOptions(1), backend),
        "gradient": gradient,
    }
    if net.output == "sequence":
        width = net._kept_width  # states and, where there is one, the learnable S_0 of their time
        window, states = np.empty_like(gradient), np.empty((T + 1, B, width), net.dtype)
        past = np.full((2, B, width), 0.5, net.dtype)
        found["window_into"] = net._window_into(window, Batch(x, d, initial_state=given["initial_state"]),
                                                CallOptions(1, tbptt=(T, 3)), past, True, states, backend), window, states
    return {f"{operation}{n}": array for operation, value in found.items() for n, array in flat(value)}


def flat(value):
    if isinstance(value, dict):
        return [(f" {name}", array) for name, array in value.items()]
    if isinstance(value, tuple):
        return [(f", {n}{name}", array) for n, each in enumerate(value) for name, array in flat(each)]
    return [("", value)]


@pytest.mark.share(2)
@both_dtypes
@pytest.mark.parametrize("options", [{}, {"one_hot": True}, {"output": "last"}], ids=str)
def test_the_core_is_the_reference_in_every_operation(options, dtype):
    net, exact = network(dtype, **options), network("float64", **options)
    exact.theta = net.theta
    expected, found = results(exact, "reference"), results(net, "core")
    assert list(found) == list(expected) and len(found) > 30
    for name, truth in expected.items():
        assert_close(np.asarray(found[name]), np.asarray(truth), TOLERANCE[dtype], name)


@pytest.mark.parametrize("options", [{}, {"one_hot": True}, {"output": "last"}, {"bias": False, "learn_initial_state": False,
                                     "connectivity": None, "trainable": {"W_y": False}, "nonnegative": (), "l1": 0}], ids=str)
def test_gradcheck_knows_maps(options):
    check = network(**options).gradcheck()
    assert check.passed, check.describe()
    assert max(check.errors["core float64"].values()) < 1e-12


@both_dtypes
@both_backends
def test_a_mapped_network_is_the_plain_network_of_its_effective_parameters(dtype, backend):
    net, (x, d) = network(dtype), (X.astype(dtype), D.astype(dtype))
    plain = RNN(I, H, O, dtype=dtype, learn_initial_state=True, l1={"W_s": 0.1, "b_y": 0.2}, l2=0.05)
    plain.load_state_dict(net.effective_parameters())
    loss, gradients = net.loss_and_gradients(x, d, backend=backend)
    plain_loss, by_effective = plain.loss_and_gradients(x, d, backend=backend)
    assert loss == plain_loss
    for name, expected in reference.pulled_back(by_effective, net.parameters, net._maps).items():
        np.testing.assert_array_equal(gradients[name], expected, err_msg=name)
    np.testing.assert_array_equal(net.forward(x, backend=backend)[0], plain.forward(x, backend=backend)[0])


def test_the_effective_parameters_are_what_the_options_say():
    net = network()
    W_s, W_x, W_y, b_s = (net.effective_parameters()[name] for name in ("W_s", "W_x", "W_y", "b_s"))
    assert net.unit_signs.tolist() == [1, 1, 1, 1, -1, -1, -1]
    assert (W_s[:, :4] >= 0).all() and (W_s[:, 4:] <= 0).all() and not np.diag(W_s).any()
    present = entries((H, H), 0.8, 1) & ~np.eye(H, dtype=bool)
    np.testing.assert_array_equal(np.abs(W_s), np.where(present, np.abs(net.parameters["W_s"]), 0))
    np.testing.assert_array_equal(W_x, np.abs(net.parameters["W_x"]))
    np.testing.assert_array_equal(W_y, np.where(entries((O, H), 0.7, 2), net.parameters["W_y"], 0))
    np.testing.assert_array_equal(b_s, np.where(entries(H, 0.7, 3), np.abs(net.parameters["b_s"]), 0))
    W_x[...] = 0
    assert net.effective_parameters()["W_x"].all(), "a copy"


def test_signs_a_unit_stand_in_for_the_ratio():
    signs = np.array([-1, 1, 1, -1, 1, 1, 1])
    W_s = RNN(I, H, O, dale_signs=signs, random_state=0).effective_parameters()["W_s"]
    np.testing.assert_array_equal(np.sign(W_s), np.broadcast_to(signs, (H, H)))


@both_dtypes
def test_threads_and_shards_change_no_bit(dtype):
    rng = np.random.default_rng(9)
    x, d = rng.standard_normal((40, 200, I)).astype(dtype), rng.standard_normal((40, 200, O)).astype(dtype)
    net = network(dtype)
    loss, gradients = net.loss_and_gradients(x, d, n_threads=1)
    other, twice = net.loss_and_gradients(x, d, n_threads=2)
    assert loss == other and all((gradients[name] == twice[name]).all() for name in gradients)
    expected = net.loss_and_gradients(x, d, backend="reference")[1]
    for name, truth in expected.items():
        assert_close(gradients[name], truth, TOLERANCE[dtype], name)


@pytest.mark.thorough
def test_the_estimate_of_memory_counts_the_effective_parameters():
    plain, net = RNN(3, 200, 2, random_state=0), RNN(3, 200, 2, dale_ratio=0.8, random_state=0)
    expected, P = net.memory_estimate(10, 1, n_threads=1), 4 * net.theta.size
    assert 0 <= expected - plain.memory_estimate(10, 1, n_threads=1) - P < 64
    x, d = np.ones((10, 1, 3), np.float32), np.ones((10, 1, 2), np.float32)
    most = taken(net, lambda net: net.loss_and_gradients(x, d, n_threads=1))
    assert expected <= most <= expected + P + 20_000  # the gradients, and Python's objects


# ---- Training


def held(net):
    """Where theta may not change, of the options as they were given."""
    present = {name: np.array(mask, bool) for name, mask in net.connectivity.items()}
    present["W_s"] &= ~np.eye(H, dtype=bool)
    parts = []
    for name, value in net.parameters.items():
        free = present.get(name, np.ones(value.shape, bool)) & np.array(np.broadcast_to(net.trainable.get(name, True),
                                                                                        value.shape), bool)
        parts.append(~free.ravel())
    return np.concatenate(parts)


OPTIMIZERS = {"sgd": optimizers.SGD(0.05, momentum=0.9, nesterov=True), "adam": "adam", "rmsprop": "rmsprop",
              "adagrad": "adagrad", "adamw": optimizers.AdamW(0.01, weight_decay=0.3)}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def own_fit(net, optimizer, backend, dtype):
    net.fit(X, D, epochs=4, batch_size=2, optimizer=optimizer, max_grad_norm=0.5, backend=backend)


def fit_of_fresh_batches(net, optimizer, backend, dtype):
    net.fit(batches=lambda batch_size, rng: (X, D), updates=4, optimizer=optimizer, backend=backend)


def fit_of_windows(net, optimizer, backend, dtype):
    net.fit(X, D, tbptt=(2, 3), epochs=2, optimizer=optimizer, backend=backend)


def steps(net, optimizer, backend, dtype):
    for _ in range(4):
        net.train_step(X, D, optimizer, backend=backend)


def streamed(net, optimizer, backend, dtype):
    net.stream(X.astype(dtype), D.astype(dtype), tbptt=(2, 3), optimizer=optimizer, backend=backend)


@pytest.mark.share(4)
@pytest.mark.parametrize("train", [own_fit, fit_of_fresh_batches, fit_of_windows, steps, streamed])
@every_optimizer
@both_backends
@both_dtypes
def test_training_keeps_what_is_frozen_or_absent_to_the_bit_and_moves_all_else(train, optimizer, backend, dtype):
    net = network(dtype, l1=0.001)
    before, fixed = net.theta, held(net)
    train(net, optimizer, backend, dtype)
    assert net.theta[fixed].tobytes() == before[fixed].tobytes()
    changed = net.theta[~fixed] != before[~fixed]
    assert changed.all(), f"{(~changed).sum()} entries did not move"
    signs = np.sign(net.effective_parameters()["W_s"])
    assert (signs[:, :4] >= 0).all() and (signs[:, 4:] <= 0).all()


def test_scipys_minimizer_keeps_what_is_frozen_or_absent():
    net = network()
    before, fixed = net.theta, held(net)
    result = scipy.optimize.minimize(net.objective(X, D), net.theta, jac=True, method="L-BFGS-B", options={"maxiter": 20})
    assert (result.x[fixed] == before[fixed]).all() and (result.x[~fixed] != before[~fixed]).all()


@every_optimizer
def test_training_in_compiled_code_is_that_of_single_updates(optimizer):
    compiled, single = network(), network()
    order = np.arange(B)
    compiled.fit(X, D, epochs=5, batch_size=B, shuffle=False, optimizer=optimizer)
    single.fit(batches=lambda batch_size, rng: (X[:, order], D[:, order]), updates=5, optimizer=optimizer)
    assert compiled.theta.tobytes() == single.theta.tobytes()


class Restless(optimizers.SGD):
    """A rule of one's own that moves every entry, whatever its gradient."""

    def update(self, theta, gradient, slots, count, *, learning_rate):
        theta -= learning_rate * (gradient + 1)


@both_backends
def test_a_rule_of_ones_own_moves_nothing_that_is_frozen(backend):
    net = network()
    before, fixed = net.theta, held(net)
    net.fit(X, D, epochs=2, optimizer=Restless(0.1), backend=backend)
    assert (net.theta[fixed] == before[fixed]).all() and (net.theta[~fixed] != before[~fixed]).all()


@both_backends
def test_clipping_does_not_see_what_is_frozen(backend):
    net = network(l1=0, l2=0)
    gradients = net.loss_and_gradients(X, D, backend=backend)[1]
    free = np.concatenate([gradient.ravel() for gradient in gradients.values()])[~held(net)]
    history = net.fit(X, D, epochs=1, batch_size=B, max_grad_norm=0.1, backend=backend)
    assert history.gradient_norm[0] == pytest.approx(np.linalg.norm(free), rel=1e-12)


@both_backends
def test_a_connection_of_strength_zero_can_be_learnt_under_dales_law(backend):
    net = RNN(I, H, O, dale_ratio=0.6, dtype="float64", initializer={"W_s": np.zeros((H, H))}, random_state=0)
    net.fit(X, D, epochs=3, backend=backend)
    assert net.effective_parameters()["W_s"].all()


# ---- Files, copies, runs that go on


def same(net, other):
    assert repr(other) == repr(net) and other.theta.tobytes() == net.theta.tobytes()
    expected, found = net.loss_and_gradients(X, D), other.loss_and_gradients(X, D)
    assert found[0] == expected[0] and all((found[1][name] == expected[1][name]).all() for name in expected[1])
    assert held(net).tolist() == held(other).tolist()


@pytest.mark.parametrize("options", [{}, {"dale_ratio": None, "dale_signs": [-1, 1, 1, -1, 1, 1, 1]}], ids=str)
def test_files_pickles_and_copies_keep_maps(options, tmp_path):
    net = network(**options)
    net.save(tmp_path / "net.npz")
    for other in (fastbptt.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
        same(net, other)
    with np.load(tmp_path / "net.npz") as arrays:  # without pickle
        np.testing.assert_array_equal(arrays["connectivity.W_s"], entries((H, H), 0.8, 1))


@pytest.mark.share(3)
@every_optimizer
@both_backends
def test_an_interrupted_run_goes_on_to_the_bit(optimizer, backend, tmp_path):
    arguments = {"X": X, "D": D, "batch_size": 2, "optimizer": optimizer, "backend": backend, "random_state": 5}
    whole, first, second = (network(random_state=seed) for seed in (0, 0, 9))
    whole.fit(**arguments, epochs=6)
    first.fit(**arguments, epochs=3, checkpoint=tmp_path / "run.npz")
    same(first, fastbptt.load(tmp_path / "run.npz"))
    second.fit(**arguments, epochs=6, checkpoint=tmp_path / "run.npz", resume=True)
    assert second.theta.tobytes() == whole.theta.tobytes()


@pytest.mark.parametrize("changed", [{"connectivity": every_option()["connectivity"] | {"W_s": entries((H, H), 0.8, 11)}},
                                     {"trainable": {"W_s": False}}, {"dale_ratio": 0.8}, {"autapses": True},
                                     {"nonnegative": ("W_x",)}], ids=str)
def test_a_run_of_other_maps_is_not_gone_on_with(changed, tmp_path):
    network().fit(X, D, epochs=1, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match=f"of another network: {next(iter(changed))}"):
        network(**changed).fit(X, D, epochs=2, checkpoint=tmp_path / "run.npz", resume=True)


def test_the_users_arrays_are_neither_kept_nor_changed():
    present, before = np.ones((H, H)), None
    net = RNN(I, H, O, connectivity={"W_s": present}, autapses=False, random_state=0)
    before = net.forward(X)[0]
    present[...] = 0
    np.testing.assert_array_equal(net.forward(X)[0], before)
    with pytest.raises(ValueError, match="read-only"):
        net.connectivity["W_s"][0, 0] = 0


def test_repr_is_short():
    net = RNN(3, 60, 1, connectivity={"W_s": np.ones((60, 60))}, dale_signs=np.ones(60))
    assert len(repr(net)) < 450 and "connectivity={'W_s': <array (60, 60)>}" in repr(net)


# ---- What they begin with

HALF = {"W_s": entries((40, 40), 0.5, 0) | np.eye(40, dtype=bool)}


@pytest.mark.parametrize("initializer", ["orthogonal", "glorot_uniform", "normal", "sparse", "torch", "identity",
                                         ("spectral_radius", 1.3)], ids=str)
@pytest.mark.parametrize("options", [{"dale_ratio": 0.8}, {"connectivity": HALF}, {"dale_ratio": 0.5, "connectivity": HALF}],
                         ids=["dale", "sparse", "both"])
def test_what_a_name_draws_keeps_its_spectral_radius_under_maps(initializer, options):
    plain = RNN(I, 40, O, dtype="float64", initializer=initializer, random_state=0)
    net = RNN(I, 40, O, dtype="float64", initializer=initializer, random_state=0, **options)
    W_s = net.effective_parameters()["W_s"]
    assert radius(W_s) == pytest.approx(radius(plain.parameters["W_s"]), rel=1e-9)
    np.testing.assert_array_equal(W_s, W_s * net._maps["W_s"].present)
    np.testing.assert_array_equal(net.parameters["W_x"], plain.parameters["W_x"])
    if net.dale_ratio is not None and initializer != "identity":
        both = (W_s > 0).any(axis=1) & (W_s < 0).any(axis=1)
        assert both.any()
        np.testing.assert_allclose(W_s[both].sum(axis=1), 0, atol=1e-12)


def radius(W):
    return np.abs(np.linalg.eigvals(W)).max()


def test_a_chain_begins_as_it_was_drawn():
    order = [3, 0, 4, 1, 5, 2]
    chain = np.tri(6, k=-1)[order][:, order]  # its eigenvalues are 0
    plain, net = RNN(I, 6, O, random_state=0), RNN(I, 6, O, random_state=0, connectivity={"W_s": chain})
    np.testing.assert_array_equal(net.parameters["W_s"], plain.parameters["W_s"] * chain)


def test_a_small_spectral_radius_is_not_brought_back_by_huge_weights():
    norms = [np.linalg.norm(RNN(1, 2, 1, dale_ratio=0.5, random_state=seed).parameters["W_s"], 2) for seed in range(50)]
    assert 5 < max(norms) < 10


def test_given_start_values_are_taken_as_they_are_where_they_are_present():
    W, present = np.random.default_rng(0).standard_normal((H, H)), entries((H, H), 0.5, 0)
    for given in (W, W.tolist(), lambda shape, rng: W):
        net = RNN(I, H, O, dtype="float64", dale_ratio=0.5, connectivity={"W_s": present}, initializer={"W_s": given})
        np.testing.assert_array_equal(net.parameters["W_s"], np.where(present, W, 0))


def test_maps_shift_no_other_draw():
    plain, net = RNN(I, H, O, random_state=3), RNN(I, H, O, random_state=3, dale_ratio=0.5)
    for name in ("W_x", "W_y"):
        np.testing.assert_array_equal(net.parameters[name], plain.parameters[name])


# ---- What is refused


@pytest.mark.parametrize("options, error, words", [
    ({"connectivity": np.ones((H, H))}, TypeError, "connectivity must be a dict by parameter.*got ndarray"),
    ({"connectivity": {"W": np.ones((H, H))}}, ValueError, "connectivity names 'W', but this network's parameters are W_x"),
    ({"connectivity": {"W_s": np.ones((H, H + 1))}}, ValueError, r"\['W_s'\] must have shape \(7, 7\), got \(7, 8\)"),
    ({"connectivity": {"W_s": np.ones(H)}}, ValueError, r"must have shape \(7, 7\), got \(7,\)"),
    ({"connectivity": {"W_s": False}}, ValueError, r"must have shape \(7, 7\), got \(\)"),
    ({"connectivity": {"W_s": np.full((H, H), 0.5)}}, ValueError, r"connectivity\['W_s'\] must hold only 0 and 1, got 0.5"),
    ({"connectivity": {"W_s": np.full((H, H), np.nan)}}, ValueError, "must hold only 0 and 1, got nan"),
    ({"connectivity": {"W_s": "all"}}, TypeError, r"connectivity\['W_s'\] must be an array of numbers, got str"),
    ({"trainable": False}, TypeError, "trainable must be a dict by parameter"),
    ({"trainable": {"S_0": False}}, ValueError, "trainable names 'S_0', but"),
    ({"trainable": {"b_s": np.ones(3, bool)}}, ValueError, r"trainable\['b_s'\] must have shape \(7,\), got \(3,\)"),
    ({"trainable": {"b_s": np.full(H, 2)}}, ValueError, "must hold only 0 and 1, got 2"),
    ({"dale_ratio": 0.8, "dale_signs": np.ones(H)}, TypeError, "dale_ratio and dale_signs are both given"),
    ({"dale_ratio": 0}, ValueError, "dale_ratio must be finite and > 0"),
    ({"dale_ratio": 1.01}, ValueError, "dale_ratio must be > 0 and <= 1, got 1.01"),
    ({"dale_ratio": float("nan")}, ValueError, "dale_ratio must be finite"),
    ({"dale_ratio": True}, TypeError, "dale_ratio must be a number"),
    ({"dale_signs": np.ones(H + 1)}, ValueError, r"dale_signs must have shape \(H,\) = \(7,\), got \(8,\)"),
    ({"dale_signs": np.ones((H, H))}, ValueError, r"dale_signs must have shape \(H,\), got \(7, 7\)"),
    ({"dale_signs": np.zeros(H)}, ValueError, "dale_signs must hold only 1 and -1, got 0"),
    ({"nonnegative": "W_x"}, TypeError, r"nonnegative must be a tuple of names of parameters, such as \('W_x',\)"),
    ({"nonnegative": True}, TypeError, "nonnegative must be a tuple of names"),
    ({"nonnegative": ("W_z",)}, ValueError, "nonnegative names 'W_z', but"),
    ({"nonnegative": ("W_s",), "dale_ratio": 0.5}, ValueError, "nonnegative names 'W_s', whose signs dale_ratio or dale_signs already fix"),
    ({"autapses": 0}, TypeError, "autapses must be True or False"),
], ids=str)
def test_bad_options_are_refused_in_words(options, error, words):
    with pytest.raises(error, match=words):
        RNN(I, H, O, **options)


@pytest.mark.parametrize("damage", [lambda header, arrays: arrays.pop("connectivity.W_s"),
                                    lambda header, arrays: arrays.update({"connectivity.W_s": np.full((H, H), 3, np.uint8)}),
                                    lambda header, arrays: arrays.update({"trainable.W_s": np.ones(3, np.uint8)}),
                                    lambda header, arrays: header["config"].update(connectivity="W_s"),
                                    lambda header, arrays: header["config"].update(dale_signs=[2] * H)])
def test_damaged_maps_of_a_file_are_refused(damage, tmp_path):
    network().save(tmp_path / "net.npz")
    header, arrays = _files.read(tmp_path / "net.npz")
    damage(header, arrays)
    _files.write(tmp_path / "bad.npz", header, arrays)
    with pytest.raises(ValueError, match="is not a model that this fastbptt knows"):
        fastbptt.load(tmp_path / "bad.npz")


# ---- Estimators


ESTIMATOR_OPTIONS = {"connectivity": {"W_s": entries((H, H), 0.8, 1)}, "trainable": {"W_x": False},
                     "dale_signs": [1, 1, 1, 1, 1, -1, -1], "nonnegative": ("W_y",), "autapses": False}


def test_estimators_take_maps_by_the_same_names(tmp_path):
    samples, targets = np.swapaxes(X, 0, 1), np.swapaxes(D, 0, 1)
    model = fastbptt.RNNRegressor(H, max_iter=3, random_state=0, **ESTIMATOR_OPTIONS).fit(samples, targets)
    W_s = model.network_.effective_parameters()["W_s"]
    assert (W_s[:, :5] >= 0).all() and (W_s[:, 5:] <= 0).all() and not W_s[~entries((H, H), 0.8, 1)].any()
    before = model.network_.parameters["W_x"].copy()
    model.partial_fit(samples, targets)
    np.testing.assert_array_equal(model.network_.parameters["W_x"], before)
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))
    assert repr(loaded) == repr(model) and len(repr(model)) < 400
    loaded.set_params(warm_start=True).fit(samples, targets)
    np.testing.assert_array_equal(loaded.network_.parameters["W_x"], before)
    with pytest.raises(ValueError, match=r"dale_signs must have shape \(H,\) = \(4,\), got \(7,\)"):
        model.set_params(hidden_size=4).fit(samples, targets)


def test_scikit_learns_clone_keeps_maps():
    base = pytest.importorskip("sklearn.base")
    model = fastbptt.RNNClassifier(H, **ESTIMATOR_OPTIONS)
    twin = base.clone(model)
    np.testing.assert_array_equal(twin.get_params()["connectivity"]["W_s"], ESTIMATOR_OPTIONS["connectivity"]["W_s"])
    assert repr(twin) == repr(model)
