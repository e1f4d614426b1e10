"""What is said samples-first arrives time-major, and comes back."""

import numpy as np
import pytest

from fastbptt.sequences import forecast_pairs, to_samples, to_time_major

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
    ([np.ones(3), np.ones(3)], ("X[0]", "(3,)")),
    ([np.ones((2, 3)), np.ones(3)], ("X[1]", "(3,)")),
    (np.ones((3, 4)), ("X", "(N, T, I)", "(4,)")),
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
