"""What is said samples-first arrives time-major, and comes back."""

import pickle

import numpy as np
import pytest

import fastbptt
from fastbptt import _files
from fastbptt.sequences import SequenceScaler, forecast_pairs, to_samples, to_time_major

pytestmark = pytest.mark.quick
N, T, I = 4, 7, 3


def array(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_an_array_is_transposed_and_copied():
    X = array(N, T, I)
    time_major, lengths = to_time_major(X)
    assert time_major.shape == (T, N, I) and time_major.flags.c_contiguous
    assert all(np.array_equal(time_major[t, n], X[n, t]) for t in range(T) for n in range(N))
    assert lengths.tolist() == [T] * N
    assert not np.shares_memory(time_major, X)


@pytest.mark.parametrize("shape", [(1, T, I), (N, 1, I), (N, T, 1), (1, 1, 1), (0, T, I), (N, 0, I)])
def test_the_result_is_never_a_view_of_what_was_given(shape):
    X = array(*shape)
    time_major, _ = to_time_major(X)
    assert time_major.shape == (shape[1], shape[0], shape[2])
    assert not np.shares_memory(time_major, X) and not np.shares_memory(to_samples(time_major), time_major)


def test_sequences_of_different_lengths_are_padded_with_zeros_at_their_end():
    X = [array(3, I), array(T, I), array(1, I)]
    time_major, lengths = to_time_major(X)
    assert time_major.shape == (T, 3, I) and lengths.tolist() == [3, T, 1]
    for n, x in enumerate(X):
        assert np.array_equal(time_major[:len(x), n], x)
        assert not time_major[len(x):, n].any()


def test_an_empty_sequence_is_all_padding():
    time_major, lengths = to_time_major([np.zeros((0, I)), array(2, I)])
    assert lengths.tolist() == [0, 2] and not time_major[:, 0].any()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
def test_the_dtype_is_kept(dtype):
    X = array(N, T, I).astype(dtype)
    assert to_time_major(X)[0].dtype == to_time_major(list(X))[0].dtype == dtype


def test_to_samples_is_the_inverse():
    X = array(N, T, I)
    assert np.array_equal(to_samples(to_time_major(X)[0]), X)
    assert to_samples(to_time_major(X)[0]).flags.c_contiguous
    ragged = [array(3, I), array(T, I), np.zeros((0, I))]
    back = to_samples(*to_time_major(ragged))
    assert len(back) == 3 and all(np.array_equal(a, b) for a, b in zip(back, ragged))


@pytest.mark.parametrize("lengths, words", [([5, 6], "from 0 to T"), ([-1, 2], "from 0 to T"), ([1, 2, 3], "shape"),
                                            (np.array([2.5, 1]), "lengths"), (memoryview(np.array([2, 1], "f2")), "lengths")])
def test_to_samples_refuses_lengths_that_are_none(lengths, words):
    with pytest.raises((ValueError, TypeError), match=words):
        to_samples(np.zeros((5, 2, 3)), lengths)
    with pytest.raises(ValueError, match=r"\(T, N, I\)"):
        to_samples(np.zeros(5))


def test_sequences_of_to_samples_are_the_callers_own():
    padded, lengths = to_time_major([array(3, I), array(T, I)])
    back = to_samples(padded, lengths)
    assert not any(np.shares_memory(x, padded) for x in back)
    assert all(x.flags.c_contiguous for x in back)


def test_a_list_of_lists_is_a_list_of_sequences():
    time_major, lengths = to_time_major([[[1, 2], [3, 4]], [[5, 6]]])
    assert lengths.tolist() == [2, 1]
    assert time_major.tolist() == [[[1, 2], [5, 6]], [[3, 4], [0, 0]]]


@pytest.mark.parametrize(("X", "words"), [
    ([], ("empty list",)),
    ([np.ones((3, 2)), np.ones((3, 4))], ("X[1]", "(3, 4)", "(3, 2)")),
    ([np.ones((2, 3)), np.ones(3)], ("X[1]", "(3,)")),
    (np.ones(3), ("X[0]", "()")),
    ([np.ones((1, 2, 3))], ("X[0]", "(1, 2, 3)")),
    ([1.0, 2.0], ("X[0]", "()")),
])
def test_what_are_no_sequences_is_refused_in_words(X, words):
    with pytest.raises(ValueError) as caught:
        to_time_major(X)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def test_what_holds_no_numbers_is_refused():
    for X in (None, 3, np.ma.ones((N, T, I)), [np.ones((2, 3)), None]):
        with pytest.raises((TypeError, ValueError), match="X"):
            to_time_major(X)


def test_masks_are_not_dropped_in_silence():
    plain = np.ones((N, T, I))
    masked = np.ma.masked_array(plain, mask=plain > 0)
    for X, name in ((masked, "X"), (list(masked), r"X\[0\]")):
        with pytest.raises(ValueError, match=f"{name} is a masked array"):
            to_time_major(X)
        with pytest.raises(ValueError, match=f"{name.replace('X', 'series')} is a masked array"):
            forecast_pairs(X, 1)
        with pytest.raises(ValueError, match=f"{name.replace('X', 'exogenous')} is a masked array"):
            forecast_pairs(plain, 1, X)


@pytest.mark.parametrize("shape", [(T, I), (N, T, I)])
@pytest.mark.parametrize("horizon", [1, 3, T - 1])
def test_forecast_pairs_are_the_series_and_the_series_later(shape, horizon):
    series = array(*shape)
    X, D = forecast_pairs(series, horizon)
    assert X.shape == D.shape == (*shape[:-2], T - horizon, I)
    for t in range(T - horizon):
        assert np.array_equal(X[..., t, :], series[..., t, :])
        assert np.array_equal(D[..., t, :], series[..., t + horizon, :])


@pytest.mark.parametrize("horizon", [0, -1, T, T + 5])
def test_a_horizon_outside_the_series_is_refused(horizon):
    with pytest.raises(ValueError, match="horizon") as caught:
        forecast_pairs(array(T, I), horizon)
    assert str(horizon) in str(caught.value) and f"1 to {T - 1}" in str(caught.value)


@pytest.mark.parametrize("horizon", [1.0, 1.5, "1", True, None])
def test_a_horizon_that_is_no_int_is_refused(horizon):
    with pytest.raises(TypeError, match="horizon must be an int"):
        forecast_pairs(array(T, I), horizon)


@pytest.mark.parametrize("shape", [(), (T,), (1, N, T, I)])
def test_a_series_of_another_rank_is_refused(shape):
    with pytest.raises(ValueError, match="series") as caught:
        forecast_pairs(np.ones(shape), 1)
    assert str(shape) in str(caught.value)


def test_a_series_of_one_step_has_no_pairs_and_says_so():
    with pytest.raises(ValueError, match="1 steps|at least 2 steps"):
        forecast_pairs(array(1, I), 1)


# ---- Pairs of lists, and exogenous inputs


def ragged(lengths=(5, 9, 4), features=I, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, features)) for length in lengths]


def test_pairs_of_a_list_are_lists_of_the_pairs_of_each():
    series = ragged()
    X, D = forecast_pairs(series, 3)
    for x, inputs, targets in zip(series, X, D, strict=True):
        assert np.array_equal(inputs, x[:-3]) and np.array_equal(targets, x[3:])


@pytest.mark.parametrize("shape", [(T, I), (N, T, I)])
def test_exogenous_inputs_stand_beside_the_series_at_the_same_step(shape):
    series, exogenous = array(*shape), array(*shape[:-1], 2) + 10
    X, D = forecast_pairs(series, 2, exogenous)
    assert np.array_equal(X, np.concatenate([series, exogenous], axis=-1)[..., :-2, :])
    assert np.array_equal(D, series[..., 2:, :])


def test_exogenous_inputs_of_lists_stand_beside_their_series():
    series, exogenous = ragged(), ragged(features=2, seed=1)
    X, D = forecast_pairs(series, 1, exogenous)
    for x, e, inputs, targets in zip(series, exogenous, X, D, strict=True):
        assert np.array_equal(inputs, np.hstack([x, e])[:-1]) and np.array_equal(targets, x[1:])


@pytest.mark.parametrize(("series", "exogenous", "words"), [
    (ragged((5, 3)), None, r"series\[1\]: horizon must be from 1 to 2 for a series of 3 steps, got 3"),
    ([], None, "series is an empty list"),
    ([np.zeros((5, 1)), np.zeros(5)], None, r"series\[1\] must have shape \(T_n, I\), got \(5,\)"),
    (ragged(), ragged()[:2], "exogenous has 2 series, but series has 3"),
    (ragged(), ragged((5, 8, 4)), r"series\[1\]: exogenous must have shape \(9, E\) for series of shape \(9, 3\), got \(8"),
    (array(N, T, I), array(N, T - 1, I), r"exogenous must have shape \(4, 7, E\) for series of .*, got \(4, 6, 3\)"),
    (array(N, T, I), array(T, I), r"exogenous must have shape \(4, 7, E\)"),
])
def test_series_that_have_no_pairs_are_named(series, exogenous, words):
    with pytest.raises(ValueError, match=words):
        forecast_pairs(series, 3, exogenous)


# ---- The scaler


@pytest.mark.parametrize("form", [list, tuple, np.asarray])
def test_all_features_have_mean_0_and_deviation_1_over_all_steps(form):
    X = form([3 + 2 * x for x in (ragged() if form is not np.asarray else array(N, T, I))])
    scaler = SequenceScaler()
    Z = scaler.fit_transform(X)
    rows = np.concatenate(list(Z))
    assert np.abs(rows.mean(axis=0)).max() < 1e-15 and np.abs(rows.std(axis=0) - 1).max() < 1e-15
    assert np.array_equal(scaler.mean_, np.concatenate(list(X)).mean(axis=0)) and scaler.n_features_in_ == I
    assert isinstance(Z, list) == (form is not np.asarray)
    assert [z.shape for z in Z] == [np.shape(x) for x in X]


def test_each_series_has_its_own_mean_and_deviation():
    X = [(n + 1) * x + 10 * n for n, x in enumerate(ragged())]
    scaler = SequenceScaler(per="series")
    Z = scaler.fit_transform(X)
    for n, (x, z) in enumerate(zip(X, Z, strict=True)):
        assert np.array_equal(z, (x - x.mean(axis=0)) / x.std(axis=0))
        assert np.array_equal(scaler.mean_[n], x.mean(axis=0)) and np.array_equal(scaler.scale_[n], x.std(axis=0))
    others = ragged((6, 2, 3, 8), seed=5)
    for x, z in zip(others, scaler.transform(others), strict=True):
        assert np.array_equal(z, (x - x.mean(axis=0)) / x.std(axis=0)), "transform takes each sequence's own"


@pytest.mark.parametrize("per", ["all", "series"])
def test_the_inverse_gives_back_what_was_there_and_the_forecasts_their_units(per):
    X = [(n + 1) * x + 10 * n for n, x in enumerate(ragged())]
    scaler = SequenceScaler(per=per).fit(X)
    for x, back in zip(X, scaler.inverse_transform(scaler.transform(X)), strict=True):
        assert np.abs(x - back).max() < 1e-13
    forecasts = scaler.inverse_transform([np.ones((2, I))] * 3)
    for n, made in enumerate(forecasts):
        mean, scale = (scaler.mean_, scaler.scale_) if per == "all" else (scaler.mean_[n], scaler.scale_[n])
        assert np.array_equal(made, np.tile(scale + mean, (2, 1)))


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, 0.0, 1e-300])
@pytest.mark.parametrize("per", ["all", "series"])
def test_a_constant_feature_is_divided_by_1(value, per):
    X = array(N, T, I)
    X[:, :, 1] = value  # whose deviation as computed may be a rounding error
    scaler = SequenceScaler(per=per).fit(X)
    assert (scaler.scale_[..., 1] == 1).all() and (scaler.mean_[..., 1] == value).all()
    assert not scaler.transform(X)[:, :, 1].any()


@pytest.mark.parametrize("per", ["all", "series"])
@pytest.mark.parametrize(("dtype", "value"), [("f8", 0.3), ("f8", -3e100), ("f4", 0.3), ("f4", 1e8)])
def test_a_feature_that_is_constant_but_for_rounding_is_divided_by_1(dtype, value, per):
    X = array(3, 6, 2).astype(dtype)
    X[:, :, 1] = value
    X[:, ::3, 1] = np.nextafter(X[:, ::3, 1], np.inf)
    scaler = SequenceScaler(per=per).fit(X)
    assert (scaler.scale_[..., 1] == 1).all() and (scaler.scale_[..., 0] > 0.1).all() and scaler.scale_.dtype == np.float64
    assert (scaler.scale_[..., 0] != 1).all()
    X[:, :, 1] = value + np.array(1e3 * abs(value) * np.finfo(dtype).eps) * np.arange(6)
    assert (SequenceScaler(per=per).fit(X).scale_[..., 1] != 1).all(), "a small deviation is one, if it is more than rounding"


def test_numbers_whose_squares_vanish_are_divided_by_1():
    scaler = SequenceScaler().fit(array(N, T, I) * 1e-200)
    assert (scaler.scale_ == 1).all()


def test_an_empty_sequence_has_mean_0_and_scale_1():
    scaler = SequenceScaler(per="series").fit([array(4, I), np.zeros((0, I))])
    assert not scaler.mean_[1].any() and (scaler.scale_[1] == 1).all()
    assert scaler.transform([array(4, I), np.zeros((0, I))])[1].shape == (0, I)


@pytest.mark.parametrize(("given", "expected"), [("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("f2", "f8")])
def test_float32_stays_and_all_else_becomes_float64(given, expected):
    X = (10 * array(N, T, I)).astype(given)
    scaler = SequenceScaler().fit(X)
    assert scaler.transform(X).dtype == scaler.inverse_transform(X).dtype == expected
    assert scaler.transform(list(X))[0].dtype == expected and scaler.mean_.dtype == "f8"
    assert np.array_equal(scaler.mean_, X.astype("f8").mean(axis=(0, 1)))


def test_the_scaler_does_not_modify_its_input():
    X = array(N, T, I)
    X.setflags(write=False)
    scaler = SequenceScaler().fit(X)
    scaler.inverse_transform(scaler.transform(X))
    assert np.array_equal(X, array(N, T, I)) and not np.shares_memory(scaler.transform(X), X)


@pytest.mark.parametrize("two_d", ["steps", "series"])
def test_two_dimensions_are_what_two_d_says(two_d):
    x = array(T, I)
    assert np.array_equal(SequenceScaler(two_d=two_d).fit_transform(x), (x - x.mean(axis=0)) / x.std(axis=0))
    each = SequenceScaler(per="series", two_d=two_d).fit_transform(x)
    assert each.any() == (two_d == "series"), "a series of one step is its own mean"


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: SequenceScaler().fit(array(T, I)), ValueError, r'two_d="steps".*two_d="series".*X\[:, :, None\]'),
    (lambda: SequenceScaler(per="feature").fit(array(N, T, I)), ValueError, "unknown per 'feature'"),
    (lambda: SequenceScaler(two_d="yes").fit(array(N, T, I)), ValueError, "unknown two_d 'yes'"),
    (lambda: SequenceScaler("all"), TypeError, "SequenceScaler: too many positional"),
    (lambda: SequenceScaler().set_params(pre="all"), ValueError, "Invalid parameter 'pre' for estimator"),
    (lambda: SequenceScaler().fit([array(3, I), array(3, I) * np.nan]), ValueError,
     "X contains NaN, first at sequence 1, step 0, feature 0"),
    (lambda: SequenceScaler().fit(array(N, T, I)).transform(array(N, T, I) / 0), ValueError, "X contains"),
    (lambda: SequenceScaler().fit(array(N, T, I) * 1e200), ValueError, "X is too large for its standard deviation"),
    (lambda: SequenceScaler().fit(array(N, T, I)).transform(array(N, T, 2)), ValueError,
     "X has 2 features, but SequenceScaler is expecting 3 features"),
    (lambda: SequenceScaler(per="series").fit(array(N, T, I)).inverse_transform(array(2, T, I)), ValueError,
     'X has 2 sequences, but with per="series" inverse_transform needs the 4 that fit saw, in their order'),
    (lambda: SequenceScaler().transform(array(N, T, I)), ValueError, "not fitted yet: call fit before transform"),
    (lambda: SequenceScaler().inverse_transform(array(N, T, I)), ValueError, "call fit before inverse_transform"),
    (lambda: SequenceScaler().save("scaler.npz"), ValueError, "call fit before save"),
])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_scaled_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_scaler_whose_parameter_was_set_after_fit_is_saved_as_it_was_fitted(tmp_path):
    scaler = SequenceScaler().fit(np.random.default_rng(0).standard_normal((4, 6, 2)))
    scaler.set_params(per="series").save(tmp_path / "scaler.npz")
    loaded = SequenceScaler._from_file(*_files.read(tmp_path / "scaler.npz"))
    assert loaded.per == "all" and np.array_equal(loaded.mean_, scaler.mean_)


@pytest.mark.parametrize("per", ["all", "series"])
def test_a_loaded_scaler_is_the_saved_one(per, tmp_path):
    X = ragged()
    scaler = SequenceScaler(per=per, two_d="steps").fit(X)
    scaler.save(tmp_path / "scaler.npz")
    loaded = SequenceScaler._from_file(*_files.read(tmp_path / "scaler.npz"))
    assert repr(loaded) == repr(scaler) and loaded.n_features_in_ == I
    assert np.array_equal(loaded.mean_, scaler.mean_) and np.array_equal(loaded.scale_, scaler.scale_)
    for a, b in zip(loaded.inverse_transform(X), scaler.inverse_transform(X), strict=True):
        assert np.array_equal(a, b)
    copied = pickle.loads(pickle.dumps(scaler))
    assert all(np.array_equal(a, b) for a, b in zip(copied.transform(X), scaler.transform(X), strict=True))


@pytest.mark.parametrize("change", [
    {"scaler.mean": np.zeros(2)}, {"scaler.mean": np.full(I, np.nan)}, {"scaler.scale": np.zeros(I)},
    {"scaler.scale": np.ones((I, I)), "scaler.mean": np.ones((I, I))},
    {"scaler.scale": np.zeros(0), "scaler.mean": np.zeros(0)},
])
def test_a_made_up_scaler_is_refused(change):
    header, arrays = SequenceScaler().fit(array(N, T, I))._to_file()
    with pytest.raises(ValueError, match="its scaler"):
        SequenceScaler._from_file(header, arrays | change)


# ---- Labels, one feature, quantiles, frames


def test_labels_and_weights_of_steps_become_time_major():
    labels, lengths = to_time_major([[1, 2, 3], [4]])
    assert labels.tolist() == [[1, 4], [2, 0], [3, 0]] and lengths.tolist() == [3, 1] and labels.dtype.kind == "i"
    labels, lengths = to_time_major(np.array([[1, 2, 3], [4, 5, 6]]))
    assert labels.tolist() == [[1, 4], [2, 5], [3, 6]] and lengths.tolist() == [3, 3]
    back = to_samples(*to_time_major([np.array([True, False]), np.array([True])]))
    assert [x.tolist() for x in back] == [[True, False], [True]]
    given = np.arange(6).reshape(2, 3)
    assert not np.shares_memory(to_time_major(given)[0], given)


def test_pairs_of_a_list_of_one_dimensional_series_have_one_feature():
    X, D = forecast_pairs([[1.0, 2, 3], [4.0, 5]], 1, [[7.0, 8, 9], [6.0, 5]])
    assert [x.tolist() for x in X] == [[[1, 7], [2, 8]], [[4, 6]]] and [d.tolist() for d in D] == [[[2], [3]], [[5]]]
    Z = SequenceScaler().fit_transform([[1.0, 2, 3], [4.0, 5]])
    assert [z.shape for z in Z] == [(3, 1), (2, 1)] and abs(np.concatenate(Z).mean()) < 1e-15


@pytest.mark.parametrize("per", ["all", "series"])
def test_forecasts_of_quantiles_have_their_levels_scaled_back(per):
    X = [(n + 1) * x + 10 * n for n, x in enumerate(ragged())]
    scaler = SequenceScaler(per=per).fit(X)
    levels = [np.random.default_rng(n).standard_normal((4, I, 5)) for n in range(3)]
    found = scaler.inverse_transform(levels)
    for level in range(5):
        expected = scaler.inverse_transform([x[..., level] for x in levels])
        assert all(np.array_equal(a[..., level], b) for a, b in zip(found, expected, strict=True))
    stacked = scaler.inverse_transform(np.stack(levels))
    assert stacked.shape == (3, 4, I, 5) and all(np.array_equal(a, b) for a, b in zip(stacked, found))
    one = SequenceScaler(per=per, two_d="series").fit(X[0])
    assert np.array_equal(one.inverse_transform(levels[0])[..., 2], one.inverse_transform(levels[0][..., 2]))
    with pytest.raises(ValueError, match=r"may be sequences \(N, T, 3\) or forecasts"):
        one.inverse_transform(np.zeros((4, I, I)))
    with pytest.raises(ValueError, match="contains NaN"):
        scaler.inverse_transform([np.full((2, I, 2), np.nan)] * 3)


def test_quantile_forecasts_of_a_regressor_pass_through_the_scaler():
    X = [(n + 1) * x + 10 * n for n, x in enumerate(ragged())]
    for given in (X, np.stack([x[:3] for x in X])):
        scaler = SequenceScaler(per="series")
        Z = scaler.fit_transform(given)
        model = fastbptt.RNNRegressor(3, loss=("quantile", (0.1, 0.9)), max_iter=1, random_state=0).fit(*forecast_pairs(Z, 1))
        made = model.forecast(Z, 2)
        back = scaler.inverse_transform(made)
        for n in range(3):
            assert np.allclose(back[n], made[n] * scaler.scale_[n][:, None] + scaler.mean_[n][:, None])


def test_the_scaler_compares_the_columns_of_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    X = [pandas.DataFrame(x, columns=["a", "b", "c"]) for x in ragged()]
    other = [x[["a", "c", "b"]] for x in X]
    scaler = SequenceScaler().fit(X)
    assert scaler.feature_names_in_.tolist() == ["a", "b", "c"]
    scaler.save(tmp_path / "scaler.npz")
    for each in (scaler, fastbptt.load(tmp_path / "scaler.npz")):
        for method in (each.transform, each.inverse_transform):
            with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
                method(other)
    assert scaler.get_feature_names_out().tolist() == ["a", "b", "c"]
    assert not hasattr(scaler.fit(ragged()), "feature_names_in_")
    assert scaler.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    with pytest.raises(ValueError, match="length equal to number of features"):
        scaler.get_feature_names_out(["a"])


def test_set_output_gives_frames():
    pandas = pytest.importorskip("pandas")
    X = [pandas.DataFrame(x, columns=["a", "b", "c"], index=np.arange(len(x)) + 10) for x in ragged()]
    scaler = SequenceScaler().set_output(transform="pandas")
    made, arrays = scaler.fit_transform(X), SequenceScaler().fit_transform(X)
    for x, frame, array_ in zip(X, made, arrays, strict=True):
        assert isinstance(frame, pandas.DataFrame) and isinstance(array_, np.ndarray)
        assert frame.columns.tolist() == ["a", "b", "c"] and frame.index.equals(x.index)
        assert np.array_equal(frame.to_numpy(), array_)
    one = SequenceScaler(two_d="series").set_output(transform="pandas").fit_transform(X[0])
    assert isinstance(one, pandas.DataFrame) and one.index.equals(X[0].index)
    assert scaler.set_output() is scaler and isinstance(scaler.transform(X)[0], pandas.DataFrame)
    assert isinstance(scaler.set_output(transform="default").transform(X)[0], np.ndarray)
    with pytest.raises(ValueError, match=r"X is an array \(N, T, I\), which cannot become a DataFrame"):
        scaler.set_output(transform="pandas").transform(array(2, T, I))
    with pytest.raises(ValueError, match="unknown transform 'polars'"):
        scaler.set_output(transform="polars")


def test_scikit_learn_decides_the_output_of_the_scaler():
    sklearn, pandas = pytest.importorskip("sklearn"), pytest.importorskip("pandas")
    base = pytest.importorskip("sklearn.base")
    scaler = SequenceScaler(two_d="series").fit(array(T, I))
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(scaler.transform(array(T, I)), pandas.DataFrame)
        assert isinstance(base.clone(scaler.set_output(transform="default")).fit(array(T, I)).transform(array(T, I)), np.ndarray)


def test_pairs_of_frames_are_frames_with_their_columns_and_index():
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2026-01-01", periods=6)
    x = pandas.DataFrame(array(6, 2), index, ["price", "volume"])
    e = pandas.DataFrame(array(6, 1), columns=["rain"])
    for series, exogenous in ((x, e), ([x, x[:4]], [e, e])):
        X, D = forecast_pairs(series, 2)
        wide, same = forecast_pairs(series, 2, exogenous)
        plain = forecast_pairs([v.to_numpy() for v in series] if isinstance(series, list) else series.to_numpy(), 2)
        if not isinstance(series, list):
            X, D, wide, same, plain = [X], [D], [wide], [same], [[v] for v in plain]
        for a, b, c, d, v, w in zip(X, D, wide, same, *plain, strict=True):
            assert np.array_equal(a, v) and np.array_equal(b, w) and b.equals(d)
            assert list(a.columns) == list(b.columns) == ["price", "volume"]
            assert list(c.columns) == ["price", "volume", "rain"] and np.array_equal(c, np.hstack([v, e[:len(v)]]))
            assert list(a.index) == list(c.index) == list(index[:len(a)]) and list(b.index) == list(index[2:2 + len(a)])
    X, D = forecast_pairs(x, 2, e.to_numpy())
    assert isinstance(X, np.ndarray) and list(D.columns) == ["price", "volume"]
    X, D = forecast_pairs(x, 2, e.rename(columns={"rain": 0}))
    assert isinstance(X, np.ndarray), "there are no names for all of its columns"
