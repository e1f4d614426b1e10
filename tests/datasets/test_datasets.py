"""The packaged data are whole and the caller's own; the tasks are what their papers define."""

import numpy as np
import pytest

from fastbptt import RNN, datasets

TASKS = {"adding_problem": ("length", 10), "temporal_order": ("length", 10), "copy_memory": ("delay", 1),
         "parity": ("length", 1)}  # the name of the second argument, and its smallest value


# ---- Packaged data



@pytest.mark.quick
def test_sunspots_are_all_3120_months_in_order():
    series, dates = datasets.load_sunspots(return_dates=True)
    assert series.shape == (1, 3120, 1) and series.dtype == np.float64
    assert dates.dtype == np.dtype("datetime64[M]")
    np.testing.assert_array_equal(dates, np.arange("1749-01", "2009-01", dtype="datetime64[M]"))


def test_sunspots_have_the_sources_values_where_lines_and_years_begin_and_end():
    series = datasets.load_sunspots()[0, :, 0]
    np.testing.assert_array_equal(series[[0, 1, 11, 12, -13, -12, -1]], [58.0, 62.6, 85.2, 73.3, 10.1, 3.3, 0.8])
    assert series.max() == 253.8 and np.argmax(series) == (1957 - 1749) * 12 + 9  # October 1957, the record
    np.testing.assert_allclose(series.sum(), 162974.6, rtol=1e-14)


def test_sunspots_hold_no_missing_or_negative_value():
    series = datasets.load_sunspots()
    assert np.isfinite(series).all() and (series >= 0).all()


@pytest.mark.parametrize("load", [datasets.load_sunspots, datasets.load_airline_passengers])
def test_a_loaded_series_is_the_callers_own_and_comes_alone_without_dates(load):
    series = load()
    assert isinstance(series, np.ndarray) and series.flags.writeable and series.flags.c_contiguous
    value = series[0, 0, 0]
    series[...] = -1
    assert load()[0, 0, 0] == value


@pytest.mark.quick
def test_airline_passengers_are_all_144_months_with_the_sources_values():
    series, dates = datasets.load_airline_passengers(return_dates=True)
    assert series.shape == (1, 144, 1) and series.dtype == np.float64
    np.testing.assert_array_equal(dates, np.arange("1949-01", "1961-01", dtype="datetime64[M]"))
    np.testing.assert_array_equal(series[0, [0, 11, 12, -6, -5, -4, -1], 0], [112, 118, 115, 622, 606, 508, 432])
    assert series.sum() == 40363 and series.min() == 104 and series.max() == 622


@pytest.mark.parametrize("split, counts, steps, longest, total", [
    ("train", [30] * 9, 4274, 26, -1057.452303), ("test", [31, 35, 88, 44, 29, 24, 40, 50, 29], 5687, 29, -2146.51343)])
def test_japanese_vowels_are_all_utterances_in_the_sources_order(split, counts, steps, longest, total):
    X, y = datasets.load_japanese_vowels(split)
    assert isinstance(X, list) and len(X) == sum(counts)
    np.testing.assert_array_equal(y, np.repeat(np.arange(9), counts))  # speaker k of the source is k − 1
    lengths = [len(x) for x in X]
    assert sum(lengths) == steps and min(lengths) == 7 and max(lengths) == longest
    assert all(x.shape[1:] == (12,) and x.dtype == np.float64 and np.isfinite(x).all() for x in X)
    np.testing.assert_allclose(sum(x.sum() for x in X), total, rtol=1e-12)


def test_japanese_vowels_have_the_sources_lengths_and_values():
    X, _ = datasets.load_japanese_vowels()
    assert [len(x) for x in X[:12]] == [20, 26, 22, 20, 21, 23, 22, 18, 24, 15, 23, 15] and len(X[68]) == 7
    np.testing.assert_array_equal(X[0][0], [1.860936, -0.207383, 0.261557, -0.214562, -0.171253, -0.118167,
                                            -0.277557, 0.025668, 0.126701, -0.306756, -0.213076, 0.088728])
    np.testing.assert_array_equal(X[30][-1, :3], [0.563653, -1.317687, 0.778231])  # the second speaker's first
    np.testing.assert_array_equal(X[269][:, 0][[0, -1]], [1.240598, 0.966744])
    X, _ = datasets.load_japanese_vowels("test")
    assert [len(x) for x in X[-5:]] == [11, 12, 15, 14, 11] and len(X[7]) == 29 and len(X[136]) == 7
    np.testing.assert_array_equal(X[0][:2, :2], [[1.635533, 0.024848], [1.547694, 0.008754]])
    np.testing.assert_array_equal(X[369][-1], [1.177449, -0.40408, 0.052026, -0.284812, 0.42984, -0.203484, -0.072393,
                                               -0.080955, -0.244424, -0.001849, -0.016634, 0.224688])
    assert -9.63e-4 in X[4] and 8.86e-4 in X[5]  # the source writes such values with an exponent


def test_japanese_vowels_are_the_callers_own():
    X, y = datasets.load_japanese_vowels()
    assert all(x.flags.writeable and x.flags.c_contiguous and x.flags.owndata for x in X) and y.flags.writeable
    X[0][...], y[...] = 7, 7
    again, labels = datasets.load_japanese_vowels()
    assert again[0][0, 0] == 1.860936 and labels[0] == 0


def test_the_files_of_japanese_vowels_carry_the_attribution_that_their_licence_asks_for():
    for text in [datasets.load_japanese_vowels.__doc__,
                 *((datasets._loaders.resources.files(datasets) / f"japanese_vowels_{split}.csv").read_text("ascii")
                   for split in ("train", "test"))]:
        for words in ("Kudo", "UCI Machine Learning Repository", "CC BY", "creativecommons.org/licenses/by/4.0"):
            assert words in text


@pytest.mark.parametrize("split, error, words", [
    ("Train", ValueError, "unknown split 'Train'; use 'train'; choose from train, test"),
    (None, TypeError, "split must be a string, one of train, test; got NoneType"),
])
def test_another_split_is_refused(split, error, words):
    with pytest.raises(error) as caught:
        datasets.load_japanese_vowels(split)
    assert str(caught.value) == words


@pytest.mark.thorough
def test_errors_that_readme_names_beside_the_networks():
    """Forecasts 12 months ahead on the last 20 %: a linear autoregression of order 132, and the last value repeated."""
    series, order, ahead = datasets.load_sunspots().ravel(), 132, 12
    train_end, test_start = len(series) * 7 // 10, len(series) * 8 // 10

    def rows(targets):
        past = [np.append(series[target - ahead - order + 1:target - ahead + 1], 1) for target in targets]
        return np.array(past), series[targets]

    X, d = rows(np.arange(order + ahead, train_end))
    coefficients = np.linalg.lstsq(X, d, rcond=None)[0]
    X, d = rows(np.arange(test_start, len(series)))
    assert round(np.sqrt(np.mean((X @ coefficients - d) ** 2)), 1) == 27.1
    assert round(np.sqrt(np.mean((X[:, -2] - d) ** 2)), 1) == 37.7


# ---- Tasks: each batch is judged by a plain loop over its sequences


def sequences(X, D, weights):
    """The sequences of a batch one by one, as lists."""
    return zip(X.swapaxes(0, 1).tolist(), D.swapaxes(0, 1).tolist(), weights.T.tolist())


def symbols_of(x):
    """The symbols that one-hot steps stand for."""
    assert all(sorted(step) == [0] * (len(step) - 1) + [1] for step in x)
    return [step.index(1) for step in x]


def assert_only_last(d, weight):
    assert weight == [0] * (len(weight) - 1) + [1]
    assert all(np.isnan(value) if isinstance(value, list) else value == -1 for value in d[:-1])


@pytest.mark.share(3)
@pytest.mark.parametrize("T", [10, 19, 50])
def test_adding_problem_asks_for_the_mean_of_two_marked_numbers(T):
    X, D, weights = datasets.adding_problem(2000, T, random_state=T)
    assert X.shape == (T, 2000, 2) and D.shape == (T, 2000, 1)
    seen = set()
    for x, d, weight in sequences(X, D, weights):
        marked = [t for t, (_, marker) in enumerate(x) if marker != 0]
        assert len(marked) == 2 and all(x[t][1] == 1 for t in marked)
        assert_only_last(d, weight)
        assert d[-1][0] == pytest.approx((x[marked[0]][0] + x[marked[1]][0]) / 2, rel=1e-15)
        seen |= {("first", marked[0]), ("second", marked[1])}
    n = T // 10
    assert seen == {("first", t) for t in range(n)} | {("second", t) for t in range(n, n + int(0.4 * T))}
    values = X[..., 0]
    assert 0 <= values.min() < 1e-3 and 1 - 1e-3 < values.max() < 1
    assert abs(values.mean() - 0.5) < 5 / np.sqrt(12 * values.size)  # five standard errors


def test_the_docstring_of_the_adding_problem_has_a_constants_errors():
    _, D, weights = datasets.adding_problem(20000, 10, random_state=0)
    constant = np.full(D.shape, 0.5)
    assert datasets.fraction_wrong(constant, D, weights) == pytest.approx(0.846, abs=0.01)
    assert datasets.fraction_wrong(constant, D, weights, tolerance=0.2) == pytest.approx(0.36, abs=0.01)
    assert np.mean((D[-1] - 0.5) ** 2) == pytest.approx(1 / 24, rel=0.03)


@pytest.mark.share(3)
@pytest.mark.parametrize("T", [10, 20, 57])
def test_temporal_order_asks_which_two_letters_came_in_which_order(T):
    X, D, weights = datasets.temporal_order(2000, T, random_state=T)
    assert X.shape == (T, 2000, 6) and D.shape == (T, 2000)
    seen, classes, distractors = set(), [], []
    for x, d, weight in sequences(X, D, weights):
        symbols = symbols_of(x)
        first, second = [t for t, symbol in enumerate(symbols) if symbol < 2]
        assert_only_last(d, weight)
        assert d[-1] == ["AA", "AB", "BA", "BB"].index("".join("AB"[symbols[t]] for t in (first, second)))
        seen |= {("first", first), ("second", second)}
        classes.append(d[-1])
        distractors += [symbol for symbol in symbols if symbol >= 2]
    n = T // 10
    assert seen == {("first", t) for t in range(n, 2 * n)} | {("second", t) for t in range(T // 2, T // 2 + n)}
    np.testing.assert_allclose(np.bincount(classes) / 2000, 0.25, atol=5 * np.sqrt(3 / 16 / 2000))
    np.testing.assert_allclose(np.bincount(distractors)[2:] / len(distractors), 0.25, atol=0.02)


@pytest.mark.quick
@pytest.mark.share(3)
@pytest.mark.parametrize("delay, options", [(1, {}), (7, {}), (20, {"symbols": 3, "categories": 5})])
def test_copy_memory_asks_for_the_first_symbols_after_the_delimiter(delay, options):
    n, kinds = options.get("symbols", 10), options.get("categories", 8)
    X, D, weights = datasets.copy_memory(500, delay, random_state=0, **options)
    assert X.shape == (delay + 2 * n, 500, kinds + 2) and (weights == 1).all()
    counts = np.zeros((n, kinds), int)
    for x, d, _ in sequences(X, D, weights):
        symbols, blank, delimiter = symbols_of(x), kinds, kinds + 1
        shown, rest = symbols[:n], symbols[n:]
        assert all(symbol < kinds for symbol in shown)
        assert rest == [blank] * (delay - 1) + [delimiter] + [blank] * n
        assert d == [blank] * (delay + n) + shown
        counts[range(n), shown] += 1
    np.testing.assert_allclose(counts / 500, 1 / kinds, atol=5 * np.sqrt(0.25 / 500))


@pytest.mark.parametrize("T", [1, 2, 25])
def test_parity_asks_at_each_step_whether_the_ones_so_far_are_odd(T):
    X, D, weights = datasets.parity(1000, T, random_state=0)
    assert X.shape == (T, 1000, 1) and D.shape == weights.shape == (T, 1000) and (weights == 1).all()
    for x, d, _ in sequences(X, D, weights):
        odd = False
        for (value,), answer in zip(x, d):
            assert value in (-1, 1)
            odd ^= value == 1
            assert answer == odd
    assert abs((X == 1).mean() - 0.5) < 5 * 0.5 / np.sqrt(X.size)


@pytest.mark.parametrize("name", TASKS)
class TestTask:
    def test_an_int_gives_the_same_batch_a_generator_the_next_and_none_another(self, name):
        draw = getattr(datasets, name)
        batch = draw(8, 30, random_state=3)
        for again in (draw(8, 30, random_state=3), draw(8, 30, random_state=np.int64(3)),
                      draw(8, 30, random_state=np.random.default_rng(3))):
            for a, b in zip(batch, again):
                np.testing.assert_array_equal(a, b)
        rng = np.random.default_rng(3)
        streams = [draw(8, 30, random_state=state)[0].tobytes() for state in (rng, rng, None, None, 4)]
        assert streams[0] == batch[0].tobytes() and len(set(streams)) == 5

    def test_no_state_of_numpys_own_generator_is_used(self, name):
        before = np.random.get_state()[1].copy()
        getattr(datasets, name)(2, 12)
        np.testing.assert_array_equal(np.random.get_state()[1], before)

    def test_dtypes_are_float64_and_the_labels_integers(self, name):
        X, D, weights = getattr(datasets, name)(3, 12, random_state=0)
        assert X.dtype == weights.dtype == np.float64
        assert D.dtype == (np.float64 if name == "adding_problem" else np.intp)
        assert all(array.flags.c_contiguous and array.flags.writeable for array in (X, D, weights))

    def test_one_sequence_and_the_smallest_length_are_drawn(self, name):
        smallest = TASKS[name][1]
        X, D, weights = getattr(datasets, name)(1, smallest, random_state=0)
        T = smallest + 20 * (name == "copy_memory")
        assert X.shape[:2] == D.shape[:2] == weights.shape == (T, 1)

    def test_bad_arguments_are_refused(self, name):
        draw, (second, smallest) = getattr(datasets, name), TASKS[name]
        cases = [((0, 20), {}, ValueError, "batch_size must be from 1 to 2147483647, got 0"),
                 ((-1, 20), {}, ValueError, "batch_size must be from 1 to 2147483647, got -1"),
                 ((2.0, 20), {}, TypeError, "batch_size must be an int, got float 2.0"),
                 ((True, 20), {}, TypeError, "batch_size must be an int, got bool True"),
                 ((2, smallest - 1), {}, ValueError,
                  f"{second} must be from {smallest} to 2147483647, got {smallest - 1}"),
                 ((2, "20"), {}, TypeError, f"{second} must be an int, got str '20'"),
                 ((2, 20), {"random_state": -1}, ValueError, "random_state must not be negative, got -1"),
                 ((2, 20), {"random_state": 0.5}, TypeError,
                  "random_state must be None, an int or a numpy.random.Generator, got float")]
        for args, options, error, words in cases:
            rng = np.random.default_rng(0)
            with pytest.raises(error) as caught:
                draw(*args, **({"random_state": rng} | options))
            assert str(caught.value) == words
            assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn before the refusal

    def test_a_network_is_trained_on_fresh_batches(self, name):
        """fit takes what is drawn, and its loss counts only the answers that are due."""
        draw = getattr(datasets, name)
        X, D, weights = draw(4, 12, random_state=0)
        options = {} if D.ndim == 3 else {"output_activation": "softmax", "loss": "cross_entropy"}
        outputs = 1 if D.ndim == 3 else X.shape[2] if name == "temporal_order" else X.shape[2] + 1
        net = RNN(X.shape[2], 5, outputs, random_state=0, dtype="float64", **options)
        due = weights > 0
        errors = [net.losses(X[:t + 1], np.where(due if D.ndim == 2 else due[..., None], D, 0)[:t + 1])[t, b]
                  for t, b in np.argwhere(due)]
        assert net.evaluate(X, D, weights=weights) == pytest.approx(np.mean(errors), rel=1e-12)
        history = net.fit(batches=lambda batch_size, rng: draw(batch_size, 12, random_state=rng), updates=3)
        assert history.updates == 3 and np.isfinite(history.train_loss).all()


@pytest.mark.parametrize("name, value, options", [
    ("adding_problem", "NaN", {}), ("temporal_order", "-1", {"output_activation": "softmax", "loss": "cross_entropy"})])
def test_weights_that_were_forgotten_are_noticed(name, value, options):
    X, D, _ = getattr(datasets, name)(4, 12, random_state=0)
    net = RNN(X.shape[2], 5, 1 if D.ndim == 3 else 4, random_state=0, **options)
    with pytest.raises(ValueError, match=value):
        net.fit(X, D, epochs=1)


@pytest.mark.parametrize("name", ["symbols", "categories"])
def test_bad_sizes_of_copy_memory_are_refused(name):
    for value, error, words in [(0, ValueError, f"{name} must be from 1 to 2147483647, got 0"),
                                (1.5, TypeError, f"{name} must be an int, got float 1.5")]:
        with pytest.raises(error) as caught:
            datasets.copy_memory(2, 5, **{name: value})
        assert str(caught.value) == words


# ---- The judge


def test_fraction_wrong_counts_sequences_with_any_wrong_answer():
    D = np.array([[0, 1, 2, 0], [1, 1, -1, 2]])
    Y = np.eye(3)[np.array([[0, 1, 0, 2], [1, 2, 0, 2]])]  # sequence 1 is wrong at its end, 2 and 3 at their first step
    assert datasets.fraction_wrong(Y, D) == 0.75
    assert datasets.fraction_wrong(Y, D, [[1, 1, 1, 0], [1, 1, 0, 1]]) == 0.5
    assert datasets.fraction_wrong(Y, D, [[0, 0, 0, 0], [1, 1, 0, 1]]) == 0.25


def test_fraction_wrong_takes_numbers_nearer_than_the_tolerance_and_reads_nothing_that_is_not_due():
    D = np.array([[[np.nan, np.nan]] * 4, [[0, 0], [0, 0], [0, 0], [0, 0]]])
    Y = np.array([[[9, 9]] * 4, [[0.03, 0.0], [0.05, 0.0], [0.0, -0.05], [np.nan, 0]]])
    weights = [[0] * 4, [1, 0.5, 2, 1]]
    assert datasets.fraction_wrong(Y, D, weights) == 0.75
    assert datasets.fraction_wrong(Y, D, weights, tolerance=0.06) == 0.25
    assert datasets.fraction_wrong(Y, D, weights, tolerance=0.01) == 1
    assert datasets.fraction_wrong([[[0.25]]], [[[0.0]]], tolerance=0.25) == 1  # as near is not nearer
    assert datasets.fraction_wrong([[[np.nan, 0, 0]]], [[0]]) == 1


@pytest.mark.parametrize("Y, D, weights, error, words", [
    (np.zeros((2, 3)), np.zeros((2, 3), int), None, ValueError,
     "Y must be (T, B, O), with at least one of each, got shape (2, 3)"),
    (np.zeros((2, 0, 1)), np.zeros((2, 0), int), None, ValueError,
     "Y must be (T, B, O), with at least one of each, got shape (2, 0, 1)"),
    (np.zeros((2, 3, 1)), np.zeros((3, 2), int), None, ValueError,
     "D must be labels (2, 3) or numbers (2, 3, 1) to judge Y of shape (2, 3, 1), got shape (3, 2)"),
    (np.zeros((2, 3, 1)), np.zeros(2), None, ValueError,
     "D must be labels (2, 3) or numbers (2, 3, 1) to judge Y of shape (2, 3, 1), got shape (2,)"),
    (np.zeros((2, 3, 1)), np.zeros((2, 3)), None, TypeError, "D must hold integers, got dtype float64"),
    (np.zeros((2, 3, 1)), np.zeros((2, 3), int), np.ones(3), ValueError,
     "weights must be (T, B) = (2, 3), got shape (3,)"),
    ("Y", np.zeros((2, 3)), None, TypeError, "Y must be an array of numbers, got str"),
])
def test_fraction_wrong_refuses_what_does_not_go_together(Y, D, weights, error, words):
    with pytest.raises(error) as caught:
        datasets.fraction_wrong(Y, D, weights)
    assert str(caught.value) == words


def test_fraction_wrong_refuses_a_tolerance_of_zero():
    with pytest.raises(ValueError, match="tolerance must be finite and > 0, got 0.0"):
        datasets.fraction_wrong(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), tolerance=0)
