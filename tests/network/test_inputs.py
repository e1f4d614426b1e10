"""What is bad raises before anything is touched, and says which argument, what came and what was expected."""


import numpy as np
import pytest
from expectations import refused

import fastbptt
from fastbptt import RNN

T, B, I, H, O = 4, 6, 3, 5, 2
BACKENDS = ["core", "reference"]


def network(**options):
    return RNN(I, H, options.pop("output_size", O), **{"dtype": "float64", "random_state": 0, **options})


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))


# Every method that takes data: (net, X, D, backend, further arguments by name)
METHODS = {
    "forward": lambda net, X, D, backend, **k: net.forward(X, backend=backend, **k),
    "losses": lambda net, X, D, backend, **k: net.losses(X, D, backend=backend, **k),
    "evaluate": lambda net, X, D, backend, **k: net.evaluate(X, D, backend=backend, **k),
    "loss_and_gradients": lambda net, X, D, backend, **k: net.loss_and_gradients(X, D, backend=backend, **k),
    "backward": lambda net, X, D, backend, **k: net.backward(X, D, backend=backend, **k),
    "gradient_terms": lambda net, X, D, backend, **k: net.gradient_terms(X, D, 1, backend=backend, **k),
    "fit": lambda net, X, D, backend, **k: net.fit(X, D, backend=backend, epochs=1, **k),
    "objective": lambda net, X, D, backend, **k: net.objective(X, D, backend=backend, **k),
    "gradcheck": lambda net, X, D, backend, **k: net.gradcheck(X, D, **k),
}
WITH_TARGETS = [name for name in METHODS if name not in ("forward", "backward")]
WITH_WEIGHTS = ["evaluate", "loss_and_gradients", "fit", "objective", "gradcheck"]

every_method = pytest.mark.parametrize("method", METHODS)
both_backends = pytest.mark.parametrize("backend", BACKENDS)


# ---- Arrays of the wrong kind. `make` turns a right array into a bad one.

NOT_NUMBERS = {
    "None": (lambda A: None, TypeError, "NoneType"),
    "string": (lambda A: "abc", TypeError, "str"),
    "bytes": (lambda A: b"abc", TypeError, "bytes"),
    "dict": (lambda A: {"X": A}, TypeError, "dict"),
    "set": (lambda A: {1, 2}, TypeError, "object"),
    "array of strings": (lambda A: A.astype(str), TypeError, "<U"),
    "array of objects": (lambda A: A.astype(object), TypeError, "object"),
    "array of dates": (lambda A: A.astype("M8[s]"), TypeError, "datetime64"),
    "complex": (lambda A: A.astype(complex), ValueError, "complex"),
    "complex of another width": (lambda A: A.astype(np.complex64), ValueError, "complex"),
    "masked": (lambda A: np.ma.masked_array(A), ValueError, "masked"),
    "masked of another dtype": (lambda A: np.ma.masked_array(A.astype("f4"), mask=A > 0), ValueError, "masked"),
    "list of masked": (lambda A: [np.ma.masked_array(a, mask=a > 0) for a in A], ValueError, "masked"),
    "ragged list": (lambda A: [[[1.0, 2.0, 3.0]], [[1.0, 2.0]]], ValueError, "inhomogeneous"),
}
not_numbers = pytest.mark.parametrize("bad", NOT_NUMBERS)


@pytest.mark.share(3)
@not_numbers
@both_backends
@every_method
def test_x_that_holds_no_real_numbers_is_refused(method, backend, bad):
    make, error, word = NOT_NUMBERS[bad]
    net, (X, D) = network(), data()
    if bad == "None" and method == "gradcheck":
        pytest.skip("X=None asks gradcheck for random data")
    with refused(net, error, "X", word):
        METHODS[method](net, make(X), D, backend)


@pytest.mark.share(3)
@not_numbers
@both_backends
@pytest.mark.parametrize("method", [*WITH_TARGETS, "backward"])
def test_targets_that_hold_no_real_numbers_are_refused(method, backend, bad):
    make, error, word = NOT_NUMBERS[bad]
    net, (X, D) = network(), data()
    with refused(net, error, "dY" if method == "backward" else "D", "" if bad == "None" else word):
        METHODS[method](net, X, make(D), backend)


@pytest.mark.share(3)
@pytest.mark.parametrize("bad", [name for name in NOT_NUMBERS if name != "None"])
@both_backends
@pytest.mark.parametrize("method", WITH_WEIGHTS)
def test_weights_that_hold_no_real_numbers_are_refused(method, backend, bad):
    make, error, word = NOT_NUMBERS[bad]
    net, (X, D) = network(), data()
    with refused(net, error, "weights", word):
        METHODS[method](net, X, D, backend, weights=make(np.ones((T, B))))


@pytest.mark.share(3)
@pytest.mark.parametrize("bad", [name for name in NOT_NUMBERS if name != "None"])
@both_backends
@every_method
def test_an_initial_state_that_holds_no_real_numbers_is_refused(method, backend, bad):
    make, error, word = NOT_NUMBERS[bad]
    net, (X, D) = network(), data()
    with refused(net, error, "initial_state", word):
        METHODS[method](net, X, D, backend, initial_state=make(np.zeros((B, H))))


# ---- Arrays of the wrong shape


@pytest.mark.share(2)
@pytest.mark.parametrize(("shape", "words"), [
    ((), ("X must be 3-D (T, B, I)", "0-D")),
    ((I,), ("X must be 3-D (T, B, I)", "1-D", f"({I},)")),
    ((T, I), ("X must be 3-D (T, B, I)", "2-D", f"({T}, {I})")),
    ((1, T, B, I), ("X must be 3-D (T, B, I)", "4-D", f"(1, {T}, {B}, {I})")),
    ((T, B, I + 1), (f"X has {I + 1} features", f"input_size={I}", f"({T}, {B}, {I + 1}) was read as (T, B, I)")),
    ((T, B, 1), ("X has 1 features", f"input_size={I}")),
    ((T, B, 0), ("X has 0 features", f"input_size={I}")),
])
@both_backends
@every_method
def test_x_of_a_wrong_shape_is_refused(method, backend, shape, words):
    net, (_, D) = network(), data()
    with refused(net, ValueError, *words):
        METHODS[method](net, np.ones(shape), D, backend)


@both_backends
@every_method
def test_an_empty_list_is_refused(method, backend):
    net, (_, D) = network(), data()
    with refused(net, ValueError, "X must be 3-D (T, B, I)", "(0,)"):
        METHODS[method](net, [], D, backend)


# All of these but the first two and the last would broadcast to (T, B, O): none may
@pytest.mark.share(2)
@pytest.mark.parametrize("shape", [(T - 1, B, O), (T, B + 1, O), (T, B, 1), (T, 1, O), (1, B, O), (T, B), (B, O), (O,),
                                   (), (1, 1, 1), (1, T, B, O), (T, B, O + 1)])
@both_backends
@pytest.mark.parametrize("method", [*WITH_TARGETS, "backward"])
def test_targets_of_a_wrong_shape_are_refused_and_never_broadcast(method, backend, shape):
    net, (X, _) = network(), data()
    with refused(net, ValueError, "dY" if method == "backward" else "D", str((T, B, O)), str(shape)):
        METHODS[method](net, X, np.ones(shape), backend)


@pytest.mark.share(2)
@pytest.mark.parametrize("shape", [(T - 1, B), (T, B + 1), (T, 1), (1, B), (T,), (B,), (), (T, B, 1), (T, 1, O),
                                   (1, B, O), (T, B, O + 1), (T, B, O, 1)])
@both_backends
@pytest.mark.parametrize("method", WITH_WEIGHTS)
def test_weights_of_a_wrong_shape_are_refused_and_never_broadcast(method, backend, shape):
    net, (X, D) = network(), data()
    with refused(net, ValueError, "weights", str((T, B)).rstrip(")"), str(shape)):
        METHODS[method](net, X, D, backend, weights=np.ones(shape))


@pytest.mark.share(2)
@pytest.mark.parametrize("shape", [(H,), (1, H), (B, 1), (B + 1, H), (B, H + 1), (1, B, H), (), (H, B)])
@both_backends
@every_method
def test_an_initial_state_of_a_wrong_shape_is_refused_and_never_broadcast(method, backend, shape):
    net, (X, D) = network(), data()
    with refused(net, ValueError, "initial_state", str((B, H)), str(shape)):
        METHODS[method](net, X, D, backend, initial_state=np.zeros(shape))


@both_backends
def test_weights_for_each_output_are_refused_with_cross_entropy(backend):
    net = network(output_size=4, output_activation="softmax", loss="cross_entropy")
    with refused(net, ValueError, "weights", str((T, B)), str((T, B, 4))):
        net.loss_and_gradients(np.ones((T, B, I)), np.zeros((T, B), int), weights=np.ones((T, B, 4)), backend=backend)


@both_backends
def test_quantile_targets_are_one_for_all_levels(backend):
    net = network(output_size=6, loss="quantile")  # 3 levels of 2 targets
    assert net.loss_and_gradients(np.ones((T, B, I)), np.ones((T, B, 2)), backend=backend)[0] > 0
    with refused(net, ValueError, "D", "O / levels", str((T, B, 2)), str((T, B, 6))):
        net.loss_and_gradients(np.ones((T, B, I)), np.ones((T, B, 6)), backend=backend)


@pytest.mark.parametrize("shape", [(2**31, 2**20, I), (2**20, 2**31, I)])
@both_backends
@every_method
def test_a_dimension_beyond_the_blas_integer_is_refused_before_memory_is_taken(method, backend, shape):
    # A copy of such an array would need 2**51 times 24 bytes, more than any address space: MemoryError at the least
    net, giant = network(), np.broadcast_to(np.float64(0), shape)
    with refused(net, ValueError, "X", "2147483647", str(2**31)):
        METHODS[method](net, giant, giant[..., :O], backend)


@pytest.mark.parametrize("argument", ["D", "weights", "initial_state"])
@both_backends
def test_another_argument_of_giant_dimensions_is_refused_before_memory_is_taken(backend, argument):
    net, (X, D) = network(), data()
    giant = np.broadcast_to(np.float32(0), (2**31, 2**24))
    arguments = {"D": D, "weights": None, "initial_state": None, argument: giant}
    with refused(net, ValueError, argument):
        net.loss_and_gradients(X, **arguments, backend=backend)


@both_backends
def test_data_beyond_all_memory_raise_and_leave_the_network_whole(backend):
    net, giant = network(), np.broadcast_to(np.float32(0), (2**24, 2**24, I))
    before = net.theta.tobytes()
    with pytest.raises((MemoryError, ValueError)):
        net.forward(giant, backend=backend)
    assert net.theta.tobytes() == before
    assert np.isfinite(net.forward(data()[0], backend=backend)[0]).all()


# ---- Values


@pytest.mark.parametrize(("value", "word"), [(-1.0, "negative"), (-1e-300, "negative"), (-np.inf, "infinity"),
                                             (np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("shape", [(T, B), (T, B, O)])
@both_backends
@pytest.mark.parametrize("method", WITH_WEIGHTS)
def test_a_bad_weight_is_refused_with_its_place(method, backend, shape, value, word):
    net, (X, D) = network(), data()
    weights = np.ones(shape)
    place = (2, 3, 1)[:len(shape)]
    weights[place] = value
    with refused(net, ValueError, "weights", word, str(place)):
        METHODS[method](net, X, D, backend, weights=weights)


def classifier():
    return network(output_size=4, output_activation="softmax", loss="cross_entropy")


@pytest.mark.parametrize("label", [4, -1, -5, 2**40, -2**62])
@both_backends
@pytest.mark.parametrize("method", WITH_TARGETS)
def test_a_label_out_of_range_is_refused_with_its_place(method, backend, label):
    net, labels = classifier(), np.zeros((T, B), np.int64)
    labels[2, 3] = label
    with refused(net, ValueError, "D", f"label {label}", "(2, 3)", "0 to 3", "output_size=4"):
        METHODS[method](net, data()[0], labels, backend)


@pytest.mark.parametrize("label", [4, -1, 2**40, -2**62])
@both_backends
def test_any_label_is_legal_where_its_weight_is_zero(backend, label):
    X, labels, weights = data()[0], np.ones((T, B), np.int64), np.ones((T, B))
    weights[2, 3] = 0
    expected = classifier().loss_and_gradients(X, labels, weights=weights, backend=backend)
    labels[2, 3] = label
    loss, gradients = classifier().loss_and_gradients(X, labels, weights=weights, backend=backend)
    assert loss == expected[0]
    assert all(np.array_equal(gradients[name], expected[1][name]) for name in gradients)
    classifier().fit(X, labels, weights=weights, backend=backend, epochs=1)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8", ">i4", "?"])
@both_backends
def test_labels_of_every_integer_dtype_are_the_same_labels(backend, dtype):
    labels = np.random.default_rng(0).integers(2, size=(T, B))
    X = data()[0]
    assert (classifier().evaluate(X, labels.astype(dtype), backend=backend)
            == classifier().evaluate(X, labels, backend=backend))


@both_backends
def test_labels_that_are_not_integers_are_refused(backend):
    net = classifier()
    with refused(net, TypeError, "D must hold integers", "float64"):
        net.loss_and_gradients(data()[0], np.ones((T, B)), backend=backend)


@both_backends
def test_nan_in_targets_at_weight_zero_is_never_read(backend):
    X, D = data()
    weights, bad = np.ones((T, B)), D.copy()
    weights[1, 2], bad[1, 2] = 0, np.nan
    expected, gradients = network().loss_and_gradients(X, D, weights=weights, backend=backend)
    loss, others = network().loss_and_gradients(X, bad, weights=weights, backend=backend)
    assert loss == expected
    assert all(np.array_equal(gradients[name], others[name]) for name in gradients)


# ---- What is converted, and left as it was


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", ">f4", ">f8", ">i4",
                                   "longdouble"])
@both_backends
def test_integers_booleans_and_other_floats_are_converted(backend, dtype):
    rng = np.random.default_rng(0)
    X, D = rng.integers(0, 2, (T, B, I)), rng.integers(0, 2, (T, B, O))
    expected, _ = network().loss_and_gradients(X.astype(float), D.astype(float), backend=backend)
    loss, gradients = network().loss_and_gradients(
        X.astype(dtype), D.astype(dtype), weights=np.ones((T, B), dtype), initial_state=np.zeros((B, H), dtype),
        backend=backend)
    assert loss == expected
    assert all(value.dtype == np.float64 for value in gradients.values())


@pytest.mark.parametrize("layout", ["lists", "Fortran order", "strided", "reversed", "unaligned", "read-only",
                                    "subclass"])
@both_backends
def test_every_layout_gives_the_bits_of_the_contiguous_one_and_is_not_modified(backend, layout):
    def laid_out(A):
        if layout == "lists":
            return A.tolist()
        if layout == "Fortran order":
            return np.asfortranarray(A)
        if layout == "strided":
            wide = np.zeros((*A.shape[:-1], 2 * A.shape[-1]))
            wide[..., ::2] = A
            return wide[..., ::2]
        if layout == "reversed":
            return np.ascontiguousarray(A[::-1])[::-1]
        if layout == "unaligned":
            memory = np.zeros(A.nbytes + 1, np.uint8)[1:]
            memory[:] = np.frombuffer(A.tobytes(), np.uint8)
            return memory.view(A.dtype).reshape(A.shape)
        if layout == "subclass":
            class Plain(np.ndarray):
                pass
            return A.copy().view(Plain)
        A = A.copy()
        A.flags.writeable = False
        return A

    rng = np.random.default_rng(1)
    arrays = {"X": rng.standard_normal((T, B, I)), "D": rng.standard_normal((T, B, O)),
              "weights": rng.uniform(0, 1, (T, B)), "initial_state": rng.standard_normal((B, H))}
    given = {name: laid_out(A) for name, A in arrays.items()}
    expected, gradients = network().loss_and_gradients(**arrays, backend=backend)
    loss, others = network().loss_and_gradients(**given, backend=backend)
    assert loss == expected
    assert all(np.array_equal(gradients[name], others[name]) for name in gradients)
    assert all(np.array_equal(given[name], arrays[name]) for name in arrays)


def assert_nothing(net, method, result, theta):
    """Of no errors: the loss is 0, all that is returned is 0 or empty, and training moves nothing."""
    if method == "fit":
        assert result.train_loss == [0] and result.gradient_norm == [0]
    elif method == "objective":
        E, gradient = result(theta)
        assert E == 0 and gradient.shape == theta.shape and not gradient.any()
    elif method == "gradcheck":
        assert result.passed
    elif method == "gradient_terms":
        assert set(result) >= {"W_x", "W_s", "W_y"} and not any(term.any() for term in result.values())
    else:
        loss, gradients = result if method == "loss_and_gradients" else (0, result) if method == "backward" else (result, {})
        arrays = loss if method == "forward" else [np.asarray(loss), *gradients.values()]
        assert not any(array.any() for array in arrays)
        assert method not in ("loss_and_gradients", "backward") or set(gradients) == set(net.parameters)
    np.testing.assert_array_equal(net.theta, theta)


@both_backends
@every_method
def test_no_steps_are_legal(method, backend):
    net = network()
    X, D = np.zeros((0, B, I)), np.zeros((0, B, O))
    if method == "gradient_terms":
        with refused(net, IndexError, "t=1", "0 time steps"):
            net.gradient_terms(X, D, 1, backend=backend)
        return
    theta, result = net.theta, METHODS[method](net, X, D, backend)
    assert_nothing(net, method, result, theta)
    if method == "forward":
        state = np.random.default_rng(0).standard_normal((B, H))
        Y, final_state, run = net.forward(X, state, return_states=True, backend=backend)
        S = run.S
        assert Y.shape == (0, B, O) and S.shape == (1, B, H)
        assert np.array_equal(final_state, state) and np.array_equal(S[0], state)
    if method == "loss_and_gradients":
        loss, gradients = net.loss_and_gradients(X, D, input_gradient=True, initial_state_gradient=True,
                                                 backend=backend)
        assert loss == 0 and gradients["X"].shape == X.shape and gradients["initial_state"].shape == (B, H)
        assert all(not value.any() for value in gradients.values())
    if method == "losses":
        assert net.losses(X, D, backend=backend).shape == (0, B)


@both_backends
@every_method
def test_no_sequences_are_legal_but_in_fit(method, backend):
    net = network()
    X, D = np.zeros((T, 0, I)), np.zeros((T, 0, O))
    if method == "fit":
        with refused(net, ValueError, "X must have sequences", str((T, 0, I))):
            net.fit(X, D, backend=backend)
        return
    theta, result = net.theta, METHODS[method](net, X, D, backend)
    assert_nothing(net, method, result, theta)
    if method == "forward":
        Y, final_state = net.forward(X, backend=backend)
        assert Y.shape == (T, 0, O) and final_state.shape == (0, H)
    if method == "loss_and_gradients":
        loss, gradients = net.loss_and_gradients(X, D, backend=backend)
        assert loss == 0 and all(not value.any() for value in gradients.values())


@both_backends
def test_weights_that_are_all_zero_give_loss_zero_and_zero_gradients(backend):
    loss, gradients = network().loss_and_gradients(*data(), weights=np.zeros((T, B)), backend=backend)
    assert loss == 0
    assert all(not value.any() for value in gradients.values())


# ---- Names and numbers of the methods


@every_method
@pytest.mark.parametrize(("backend", "error", "words"), [
    ("cor", ValueError, ("backend", "'cor'", "did you mean 'core'", "reference")),
    ("gpu", ValueError, ("backend", "'gpu'", "core, reference")),
    (None, TypeError, ("backend", "NoneType")),
    ([], TypeError, ("backend", "list")),
])
def test_an_unknown_backend_is_refused(method, backend, error, words):
    if method == "gradcheck":
        pytest.skip("gradcheck compares the backends")
    net = network()
    with refused(net, error, *words):
        METHODS[method](net, *data(), backend)


@pytest.mark.parametrize(("t", "error", "words"), [
    (T, IndexError, (f"t={T}", f"{T} time steps")),
    (-T - 1, IndexError, (f"t={-T - 1}", f"{T} time steps")),
    (2**31 - 1, IndexError, ("t=2147483647",)),
    (2**70, ValueError, ("t must be", str(2**70))),
    (1.0, TypeError, ("t must be an int", "float")),
    (True, TypeError, ("t must be an int", "bool")),
    ("1", TypeError, ("t must be an int", "str")),
    (None, TypeError, ("t must be an int", "NoneType")),
])
@both_backends
def test_a_time_step_out_of_range_is_refused(backend, t, error, words):
    net = network()
    with refused(net, error, *words):
        net.gradient_terms(*data(), t, backend=backend)


@pytest.mark.parametrize("t", [-1, -T, np.int8(-2)])
@both_backends
def test_a_negative_time_step_counts_from_the_end(backend, t):
    terms, same = (network().gradient_terms(*data(), i, backend=backend) for i in (t, int(t) + T))
    assert len(terms["S"]) == t + T + 1
    assert all(np.array_equal(terms[name], same[name]) for name in terms)


@pytest.mark.parametrize("keyword", ["alpha", "mask", "batch_first", "h0"])
@every_method
def test_the_words_of_other_libraries_are_refused_by_every_method(method, keyword):
    net = network()
    with refused(net, TypeError, keyword):
        METHODS[method](net, *data(), "core", **{keyword: 1})


@pytest.mark.parametrize("keyword", ["alpha", "mask", "batch_first", "h0", "nonlinearity"])
def test_the_words_of_other_libraries_are_refused_by_the_constructor(keyword):
    with pytest.raises(TypeError, match=keyword):
        RNN(I, H, O, **{keyword: 1})


def test_alpha_is_refused_with_the_two_words_that_it_may_stand_for():
    with pytest.raises(TypeError, match="leak.*l2"):
        RNN(I, H, O, alpha=0.1)


def test_a_misspelt_option_is_refused_with_the_near_one():
    with pytest.raises(TypeError, match="'activatoin'.*'activation'"):
        RNN(I, H, O, activatoin="relu")


# ---- The constructor


@pytest.mark.parametrize("argument", ["input_size", "hidden_size", "output_size"])
@pytest.mark.parametrize(("value", "error"), [
    (0, ValueError), (-1, ValueError), (2**31, ValueError), (2**70, ValueError), (2.0, TypeError), ("3", TypeError),
    (True, TypeError), (np.True_, TypeError), (None, TypeError), ([3], TypeError), (np.array([3]), TypeError),
])
def test_a_bad_size_is_refused(argument, value, error):
    sizes = {"input_size": I, "hidden_size": H, "output_size": O, argument: value}
    with pytest.raises(error) as caught:
        RNN(**sizes)
    assert caught.type is error
    assert str(caught.value).startswith(argument)
    assert (str(value) if error is ValueError else type(value).__name__) in str(caught.value)


@pytest.mark.parametrize("sizes", [(1, 2**31 - 1, 1), (2**31 - 1, 2**31 - 1, 2**31 - 1), (2**24, 2**25, 1)])
def test_more_parameters_than_any_memory_holds_are_refused_at_once(sizes):
    with pytest.raises(MemoryError, match=f"hidden_size={sizes[1]}"):
        RNN(*sizes)


def test_numpy_integers_are_sizes():
    net = RNN(np.int8(I), np.uint64(H), np.int32(O))
    assert (net.input_size, net.hidden_size, net.output_size) == (I, H, O)
    assert type(net.hidden_size) is int


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"activation": "tahn"}, ValueError, ("activation", "'tahn'", "did you mean 'tanh'", "softsign")),
    ({"activation": "qqqq"}, ValueError, ("activation", "'qqqq'", "choose from tanh, relu")),
    ({"activation": "TANH"}, ValueError, ("activation", "'TANH'")),
    ({"activation": 3}, TypeError, ("activation", "int")),
    ({"activation": np.tanh}, TypeError, ("activation", "ufunc")),
    ({"output_activation": "relu"}, ValueError, ("output_activation", "'relu'", "choose from identity, sigmoid")),
    ({"output_activation": "sofmax"}, ValueError, ("output_activation", "did you mean 'softmax'")),
    ({"reduction": "avg"}, ValueError, ("reduction", "'avg'", "mean, sum")),
    ({"reduction": None}, TypeError, ("reduction", "NoneType")),
    ({"loss": "mse"}, ValueError, ("loss", "'mse'", "squared_error")),
    ({"loss": "crossentropy"}, ValueError, ("loss", "use 'cross_entropy'")),
    ({"loss": None}, TypeError, ("loss", "NoneType")),
    ({"loss": ("squared_error", 1.0)}, ValueError, ("squared_error", "must be given without a number", "1.0")),
    ({"loss": ("huber", 0.0)}, ValueError, ("huber", "0.0")),
    ({"loss": ("huber", -1)}, ValueError, ("huber", "-1")),
    ({"loss": ("huber", np.nan)}, ValueError, ("huber", "nan")),
    ({"loss": ("huber", np.inf)}, ValueError, ("huber", "inf")),
    ({"loss": ("huber", "1")}, TypeError, ("huber", "str")),
    ({"loss": ("huber", True)}, TypeError, ("huber", "bool")),
    ({"loss": ("huber", 1.0, 2.0)}, TypeError, ("loss", "tuple")),
    ({"loss": ("quantile", 0)}, ValueError, ("quantile", "0.0")),
    ({"loss": ("quantile", 1.0)}, ValueError, ("quantile", "1.0")),
    ({"loss": ("quantile", [0.5, 1.5])}, ValueError, ("quantile", "1.5")),
    ({"loss": ("quantile", [np.nan, 0.5])}, ValueError, ("quantile", "nan")),
    ({"loss": ("quantile", [])}, ValueError, ("quantile", "at least one level")),
    ({"loss": ("quantile", ["a", "b"])}, TypeError, ("quantile", "str")),
    ({"loss": "quantile"}, ValueError, ("output_size", "3 quantile levels", str(O))),
    ({"loss": ("quantile", [0.1, 0.2, 0.3])}, ValueError, ("output_size", "3 quantile levels")),
    ({"loss": "cross_entropy"}, ValueError, ("cross_entropy", "output_activation='softmax'", "'identity'")),
    ({"loss": "binary_cross_entropy", "output_activation": "tanh"}, ValueError,
     ("binary_cross_entropy", "output_activation='sigmoid'", "'tanh'")),
    ({"loss": "poisson"}, ValueError, ("poisson", "output_activation='exp'", "'identity'")),
    ({"dtype": "float16"}, ValueError, ("dtype", "float32 or float64", "float16")),
    ({"dtype": "flaot32"}, ValueError, ("dtype", "float32 or float64", "flaot32")),
    ({"dtype": complex}, ValueError, ("dtype", "float32 or float64")),
    ({"dtype": None}, ValueError, ("dtype", "float32 or float64", "None")),
    ({"dtype": 3}, ValueError, ("dtype", "float32 or float64", "3")),
    ({"bias": 1}, TypeError, ("bias", "True or False", "int")),
    ({"bias": "True"}, TypeError, ("bias", "True or False", "str")),
    ({"bias": None}, TypeError, ("bias", "True or False", "NoneType")),
    ({"learn_initial_state": 0}, TypeError, ("learn_initial_state", "True or False", "int")),
    ({"random_state": -1}, ValueError, ("random_state", "-1")),
    ({"random_state": 1.5}, TypeError, ("random_state", "float")),
    ({"random_state": "1"}, TypeError, ("random_state", "str")),
    ({"random_state": True}, TypeError, ("random_state", "bool")),
    ({"random_state": np.random.RandomState(0)}, TypeError, ("random_state", "RandomState")),
    ({"initializer": "orthogonl"}, ValueError, ("initializer", "did you mean 'orthogonal'")),
    ({"initializer": 3}, TypeError, ("initializer", "int")),
    ({"l2": -1.0}, ValueError, ("l2", "-1.0")),
    ({"l2": 10**400}, ValueError, ("l2", "inf")),  # no float holds it
    ({"l1": -10**400}, ValueError, ("l1", "-inf")),
    ({"l1": np.inf}, ValueError, ("l1", "inf")),
    ({"l1": "W_s"}, TypeError, ("l1", "str")),
    ({"l2": {"W_q": 1.0}}, ValueError, ("l2", "'W_q'", "W_x, W_s")),
    ({"l2": {"W_s": -1.0}}, ValueError, ("l2['W_s']", "-1.0")),
    ({"l2": {"S_0": 1.0}}, ValueError, ("l2", "'S_0'")),
    ({"initializer": ("normal", -1.0)}, ValueError, ("initializer", "'normal'", "-1.0")),
    ({"initializer": ("normal", np.nan)}, ValueError, ("initializer", "'normal'", "nan")),
    ({"initializer": ("normal", "1")}, TypeError, ("initializer", "'normal'", "str")),
    ({"initializer": ("sparse", 0)}, ValueError, ("sparse", "0")),
    ({"initializer": ("sparse", 3.5)}, TypeError, ("sparse", "float")),
    ({"initializer": {"W_q": "normal"}}, ValueError, ("initializer", "W_q", "W_x, W_s")),
    ({"initializer": {"b_s": "normal"}, "bias": False}, ValueError, ("initializer", "b_s", "W_x, W_s, W_y")),
    ({"initializer": {"b_s": "normal"}}, ValueError, ("initializer", "'normal'", "b_s", str((H,)))),
    ({"initializer": {"W_s": np.eye(H + 1)}}, ValueError, ("W_s", str((H, H)), str((H + 1, H + 1)))),
    ({"initializer": lambda shape, rng: np.zeros(1)}, ValueError, ("W_x", str((H, I)), "(1,)")),
    ({"initializer": lambda shape, rng: None}, TypeError, ("W_x", "NoneType")),
    ({"initializer": lambda shape, rng: np.zeros(shape, complex)}, ValueError, ("W_x", "complex")),
])
def test_a_bad_option_is_refused(options, error, words):
    with pytest.raises(error) as caught:
        network(**options)
    assert caught.type is error
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


# ---- Training


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"epochs": -1}, ValueError, ("epochs", "-1")),
    ({"epochs": 1.5}, TypeError, ("epochs", "float")),
    ({"epochs": True}, TypeError, ("epochs", "bool")),
    ({"updates": -1}, ValueError, ("updates", "-1")),
    ({"updates": 1.0}, TypeError, ("updates", "float")),
    ({"updates_per_epoch": 0, "batches": lambda n, rng: 0}, ValueError, ("updates_per_epoch", "0")),
    ({"batches": "data"}, TypeError, ("batches", "function")),
    ({"batch_size": 0}, ValueError, ("batch_size", "0")),
    ({"batch_size": -3}, ValueError, ("batch_size", "-3")),
    ({"batch_size": "auto"}, TypeError, ("batch_size", "str")),
    ({"batch_size": 2.0}, TypeError, ("batch_size", "float")),
    ({"patience": 0, "validation": "data"}, ValueError, ("patience", "0")),
    ({"patience": 1.0, "validation": "data"}, TypeError, ("patience", "float")),
    ({"patience": 3}, ValueError, ("patience", "validation")),
    ({"optimizer": "adm"}, ValueError, ("optimizer", "'adm'", "did you mean 'adam'", "sgd")),
    ({"optimizer": "lbfgs"}, ValueError, ("optimizer", "'lbfgs'", "choose from sgd")),
    ({"optimizer": None}, TypeError, ("optimizer", "NoneType")),
    ({"optimizer": fastbptt.optimizers.Adam}, TypeError, ("optimizer", "type")),
    ({"optimizer": fastbptt.optimizers.Adam(), "learning_rate": 0.1}, ValueError, ("learning_rate=0.1", "Adam(")),
    ({"learning_rate": np.nan}, ValueError, ("learning_rate", "finite", "nan")),
    ({"learning_rate": np.inf}, ValueError, ("learning_rate", "finite", "inf")),
    ({"learning_rate": -np.inf}, ValueError, ("learning_rate", "-inf")),
    ({"learning_rate": -1e-3}, ValueError, ("learning_rate", "-0.001")),
    ({"learning_rate": 0}, ValueError, ("learning_rate", "> 0", "0.0")),
    ({"learning_rate": "fast"}, TypeError, ("learning_rate", "str")),
    ({"learning_rate": True}, TypeError, ("learning_rate", "bool")),
    ({"learning_rate": 1j}, TypeError, ("learning_rate", "complex")),
    ({"max_grad_norm": 0}, ValueError, ("max_grad_norm", "> 0")),
    ({"max_grad_norm": -1.0}, ValueError, ("max_grad_norm", "-1.0")),
    ({"max_grad_norm": np.nan}, ValueError, ("max_grad_norm", "nan")),
    ({"max_grad_norm": np.inf}, ValueError, ("max_grad_norm", "inf")),
    ({"max_grad_norm": "1"}, TypeError, ("max_grad_norm", "str")),
    ({"random_state": -1}, ValueError, ("random_state", "-1")),
    ({"random_state": "a"}, TypeError, ("random_state", "str")),
    ({"schedule": "cosin"}, ValueError, ("schedule", "'cosin'", "did you mean 'cosine'")),
    ({"schedule": 0.5}, TypeError, ("schedule", "float")),
    ({"schedule": fastbptt.schedules.Step}, TypeError, ("schedule", "type")),
    ({"schedule": lambda epoch: -1.0}, ValueError, ("schedule(0)", "-1.0")),
    ({"schedule": lambda epoch: "low"}, TypeError, ("schedule(0)", "str")),
    ({"min_improvement": -1.0, "validation": "data", "patience": 1}, ValueError, ("min_improvement", "-1.0")),
    ({"validation_every": 0, "validation": "data"}, ValueError, ("validation_every", "0")),
    ({"time_limit": 0}, ValueError, ("time_limit", "> 0")),
    ({"time_limit": "1h"}, TypeError, ("time_limit", "str")),
    ({"on_nonfinite": "ignore"}, ValueError, ("on_nonfinite", "'ignore'", "raise, skip")),
    ({"checkpoint": "no such folder/run.npz"}, FileNotFoundError, ("checkpoint", "no such folder")),
    ({"checkpoint": "."}, IsADirectoryError, ("checkpoint", "folder")),
    ({"checkpoint": 3.5}, TypeError, ("checkpoint", "float")),
    ({"checkpoint": "run.npz", "checkpoint_every": -1}, ValueError, ("checkpoint_every", "-1")),
    ({"resume": True}, ValueError, ("resume", "checkpoint")),
    ({"resume": 1, "checkpoint": "run.npz"}, TypeError, ("resume", "True or False")),
    ({"update_callbacks": [3]}, TypeError, ("update_callbacks", "int")),
    ({"shuffle": "no"}, TypeError, ("shuffle", "True or False", "str")),
    ({"progress": 2}, TypeError, ("progress", "True or False", "int")),
    ({"callbacks": [3]}, TypeError, ("callbacks", "int")),
    ({"callbacks": "stop"}, TypeError, ("callbacks", "str")),
])
@both_backends
def test_a_bad_option_of_fit_is_refused(backend, options, error, words):
    net, (X, D) = network(), data()
    if "validation" in options:
        options = {**options, "validation": data(1)}
    if "batches" in options:
        X = D = None
    with refused(net, error, *words):
        net.fit(X, D, backend=backend, **{"epochs": 1, **options})
    assert net.history is None


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda X, D: [X, D], TypeError, ("validation", "(X, D)")),
    (lambda X, D: X, TypeError, ("validation", "(X, D)")),
    (lambda X, D: (X,), TypeError, ("validation", "(X, D)")),
    (lambda X, D: (X, D, None, None, None, None), TypeError, ("validation", "(X, D)")),
    (lambda X, D: (X, D, None, np.full(B, T + 1)), ValueError, ("validation's lengths", f"T = {T}", str(T + 1))),
    (lambda X, D: 1.0, ValueError, ("validation", "< 1", "1.0")),
    (lambda X, D: 0.001, ValueError, ("validation must leave", f"share 0.001 of {B} sequences", "0 to evaluate")),
    (lambda X, D: True, TypeError, ("validation", "(X, D)")),
    (lambda X, D: (X[..., :2], D), ValueError, ("validation's X has 2 features", "input_size=3")),
    (lambda X, D: (X, D[:2]), ValueError, ("validation's D", str((T, B, O)), str((2, B, O)))),
    (lambda X, D: (X, D, np.ones(T)), ValueError, ("validation's weights", str((T, B)))),
    (lambda X, D: (X, D, -np.ones((T, B))), ValueError, ("validation's weights", "negative")),
    (lambda X, D: (X, None), TypeError, ("validation's D", "NoneType")),
])
@both_backends
def test_a_bad_validation_set_is_refused(backend, make, error, words):
    net, (X, D) = network(), data()
    with refused(net, error, *words):
        net.fit(X, D, epochs=1, validation=make(*data(1)), backend=backend)
    assert net.history is None


@pytest.mark.parametrize("argument", ["X", "D", "initial_state", "validation's X", "validation's D"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@both_backends
def test_nan_or_infinity_in_the_data_of_fit_is_refused_with_its_place(backend, argument, value, word):
    net = network()
    (X, D), (X_v, D_v), state = data(), data(1), np.zeros((B, H))
    array = {"X": X, "D": D, "initial_state": state, "validation's X": X_v, "validation's D": D_v}[argument]
    place = (2, 3, 1)[:array.ndim]
    array[place] = value
    array[(-1,) * array.ndim] = value  # the first place is named, not the last
    with refused(net, ValueError, f"{argument} contains {word}", str(place)):
        net.fit(X, D, initial_state=state, validation=(X_v, D_v), epochs=1, backend=backend)


@both_backends
def test_numbers_too_large_for_float32_are_refused_by_fit_and_not_turned_into_infinity(backend):
    net, (X, D) = network(dtype="float32"), data()
    X[1, 2, 0] = 1e300
    with np.errstate(over="ignore"), refused(net, ValueError, "X contains infinity", "(1, 2, 0)"):
        net.fit(X, D, epochs=1, backend=backend)


@pytest.mark.parametrize("backend", ["core", "reference"])
def test_weights_whose_sum_overflows_are_refused(backend):
    net = RNN(2, 3, 1, dtype="float64", random_state=0)
    X, D = np.zeros((2, 2, 2)), np.zeros((2, 2, 1))
    with pytest.raises(ValueError, match="weights must have a finite sum"):
        net.loss_and_gradients(X, D, weights=np.full((2, 2), 1e308), backend=backend)
