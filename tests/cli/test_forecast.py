"""Forecasters use no future values, survive files unchanged, and are compared with fair baselines."""

import numpy as np
import pytest

import fastbptt
from fastbptt import datasets, sequences
from fastbptt.cli import forecast as _forecast, linear as _linear, picture as _picture, tasks as _solve
from fastbptt.forecasting.calendar import Calendar

OPTIONS = {"hidden_size": 3, "max_iter": 2, "random_state": 0}


@pytest.fixture(scope="module")
def sunspots():
    return datasets.load_sunspots()[0]


@pytest.fixture(scope="module")
def several():
    """Return five series of two targets and one input, 40 to 100 steps, on levels far apart."""
    rng = np.random.default_rng(0)
    return [10.0**n * (2 + np.cumsum(rng.standard_normal((40 + 15 * n, 3)), axis=0)) for n in range(5)]


def trained(series, *, targets=("a",), inputs=(), horizon=12, difference=0, dates=None, calendar=None, **options):
    ids = None if len(series) == 1 else [f"s{n}" for n in range(len(series))]
    forecaster = _forecast.Forecaster(targets, inputs, horizon=horizon, difference=difference, ids=ids,
                                      id_column=None if ids is None else "id", calendar=calendar)
    return forecaster.fit(series, dates, **OPTIONS | options)


# ---- Training without a look ahead


@pytest.mark.parametrize("difference", [0, 12])
def test_the_test_part_does_not_affect_scale_or_training(sunspots, difference):
    found = []
    for tail in (0, 1e3):
        series = sunspots.copy()
        series[2496:] += tail
        forecaster = trained([series], difference=difference)
        found.append((forecaster.network.theta, forecaster.mean, forecaster.scale,
                      forecaster.regressor.history_.validation_loss))
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("difference", [0, 12])
def test_the_held_out_part_affects_only_the_validation_loss(sunspots, difference):
    series = sunspots.copy()
    series[2184:] += 100
    one, other = (trained([data], difference=difference) for data in (sunspots, series))
    np.testing.assert_array_equal(one.scale, other.scale)
    assert one.regressor.history_.train_loss == other.regressor.history_.train_loss
    assert one.regressor.history_.validation_loss != other.regressor.history_.validation_loss


@pytest.mark.quick
def test_a_forecast_uses_no_later_step(sunspots):
    forecaster = trained([sunspots])
    later = sunspots.copy()
    later[1000:] += 10
    one, other = (forecaster.made([series])[0] for series in (sunspots, later))
    assert np.isnan(one[:12]).all() and np.isfinite(one[12:]).all()
    np.testing.assert_array_equal(one[12:1012], other[12:1012])
    assert one[1012] != other[1012]


@pytest.mark.parametrize("difference", [0, 4])
def test_the_held_out_loss_is_that_of_runs_from_the_start(several, difference):
    """Compare the loss of the run, in the network's units, with errors computed from the forecasts."""
    forecaster = trained(several, targets=("a", "b"), inputs=("c",), horizon=4, difference=difference, dtype="float64")
    squares = []
    for x, made, scale in zip(several, forecaster.made(several), forecaster.scale):
        split = _forecast.Split(len(x))
        squares.append((((made - x[:, :2]) / scale[:2])[split.train_end:split.test_start] ** 2).sum(axis=1))
    history = forecaster.regressor.history_
    assert history.validation_loss[history.best_epoch] == pytest.approx(np.concatenate(squares).mean(), rel=1e-9)


def test_steps_of_the_warm_up_have_no_weight(sunspots):
    """With one update per epoch, its loss is that of the initial network."""
    forecaster = trained([sunspots], max_iter=1, batch_size=1000, dtype="float64", learning_rate_init=1e-300)
    found = forecaster.regressor.history_.train_loss[0]
    z = forecaster.scaled([sunspots])[0]
    X, D = sequences.forecast_pairs(z[:2184], 12)
    losses = []
    for start in range(2172 - 270, -1, -27):
        Y, _ = forecaster.network.forward(X[start:start + 270, None])
        losses.append(np.mean((Y[135:, 0] - D[start + 135:start + 270])**2))
    assert len(losses) == 71
    assert found == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("longest, total", [(8, 8), (16, 16), (28, 4000), (88, 88), (2172, 2172), (100_000, 100_000)])
def test_sequences_cover_the_pairs_and_keep_steps_with_weight(longest, total):
    windows = _forecast.Windows(longest, total)
    for length in {longest, longest // 2 + 1}:
        X = np.arange(length)[:, None]
        starts, targets, weights = windows.cut(X, X + 0.5)
        counted = np.zeros(length)
        for x, d, w in zip(starts, targets, weights):
            assert len(x) == len(d) == len(w) and w[-1] == 1 and (d == x + 0.5).all()
            counted[x[:, 0]] += w
        assert counted[-1] >= 1 and (counted > 0).mean() > (0.5 if length == longest else 0.4)
    assert len(starts) < 3 * _forecast.SEQUENCES


# ---- Forecasting


@pytest.mark.parametrize("difference", [0, 6])
def test_forecasts_beyond_the_end_match_those_within_a_longer_series(several, difference):
    """The forecast of a series without its last `horizon` steps equals the forecast for these steps in the whole series."""
    forecaster = trained(several, targets=("a", "b"), inputs=("c",), horizon=6, difference=difference, dtype="float64")
    cut = forecaster.forecast([x[:-6] for x in several], ids=forecaster.ids)
    for x, found, made in zip(several, cut, forecaster.made(several)):
        np.testing.assert_allclose(found, made[-6:], rtol=1e-9)


def test_forecasts_from_forecasts_continue_a_straight_line():
    """On a straight line the changes are constant, so forecasts beyond the horizon continue the line."""
    line = np.arange(100.0)[:, None]
    forecaster = trained([line], horizon=5, difference=5, dtype="float64", max_iter=1)
    forecaster.network.parameters["W_y"] = np.zeros((1, 3))
    forecaster.network.parameters["b_y"] = np.zeros(1)
    np.testing.assert_allclose(forecaster.forecast(steps=12)[:, 0], np.arange(100.0, 112), rtol=1e-12)


def test_without_series_forecast_continues_the_training_series(several):
    forecaster = trained(several, targets=("a", "b", "c"), horizon=4)
    for found, expected in zip(forecaster.forecast(steps=9), forecaster.forecast(several, 9, ids=forecaster.ids)):
        np.testing.assert_array_equal(found, expected)
        assert found.shape == (9, 3)


def test_a_new_series_is_scaled_by_itself_and_a_known_one_as_in_training(several):
    forecaster = trained(several, targets=("a", "b", "c"), horizon=4, dtype="float64")
    x = several[2]
    known, = forecaster.forecast([x], ids=["s2"])
    new, = forecaster.forecast([x * 1e3 + 7], ids=["another"])
    own, = forecaster.forecast([x])
    np.testing.assert_allclose(new, own * 1e3 + 7, rtol=1e-9)
    assert not np.allclose(known, own)


@pytest.mark.parametrize("arguments, words", [
    ((np.zeros((30, 2)),), r"series\[0\] must be \(T, 3\), of a, b, c; got shape \(30, 2\)"),
    ((np.zeros((7, 3)),), r"series\[0\] has 7 steps; a forecast 4 steps ahead needs 8"),
    ((np.full((30, 3), np.nan),), r"series\[0\] contains NaN, first at \(t, c\) = \(0, 0\)"),
    ((None, 5), "steps must be at most 4, the horizon, got 5: more steps need future values of c"),
    ((None, 0), "steps must be from 1"),
])
def test_forecast_refuses_invalid_arguments(several, arguments, words):
    forecaster = trained(several[:1], targets=("a", "b"), inputs=("c",), horizon=4, difference=4)
    with pytest.raises(ValueError, match=words):
        forecaster.forecast(*arguments)


# ---- Files


@pytest.mark.parametrize("calendar", [None, Calendar("M", 1, "end"), Calendar("D", None)])
def test_a_loaded_forecaster_forecasts_the_same(several, tmp_path, calendar):
    dates = None if calendar is None else [np.arange(len(x)).astype(f"M8[{calendar.unit}]") for x in several]
    forecaster = trained(several, targets=("a", "b"), inputs=("c",), horizon=4, difference=4, dates=dates,
                         calendar=calendar)
    forecaster.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    assert isinstance(loaded, _forecast.Forecaster)
    for name in ("targets", "inputs", "ids", "id_column", "horizon", "difference", "calendar"):
        assert getattr(loaded, name) == getattr(forecaster, name)
    if calendar is not None:
        np.testing.assert_array_equal(loaded.ends, forecaster.ends)
    for one, other in zip(loaded.forecast(), forecaster.forecast()):
        np.testing.assert_array_equal(one, other)


def test_a_long_series_keeps_only_its_last_steps(monkeypatch, sunspots):
    monkeypatch.setattr(_forecast, "KEPT", 500)
    forecaster = trained([sunspots])
    assert len(forecaster.series[0]) == 500
    np.testing.assert_array_equal(forecaster.forecast(), forecaster.forecast(sunspots[-500:]))


@pytest.mark.parametrize("name, value", [
    ("targets", ["a"]), ("targets", "ab"), ("horizon", 3), ("horizon", 0), ("difference", 2), ("ids", ["x"] * 5),
    ("ids", ["x"]), ("lengths", [40]), ("lengths", [1] * 5), ("ends", ["2020"]), ("calendar", {"unit": "M"}),
    ("calendar", 7),
])
def test_an_inconsistent_file_is_refused(several, tmp_path, monkeypatch, name, value):
    forecaster = trained(several, targets=("a", "b"), inputs=("c",), horizon=4)
    write = _forecast._files.write
    monkeypatch.setattr(_forecast._files, "write", lambda path, header, arrays: write(
        path, header | {"forecaster": header["forecaster"] | {name: value}}, arrays))
    forecaster.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="model.npz"):
        fastbptt.load(tmp_path / "model.npz")


# ---- Rivals and figures


def test_changes_are_tried_if_the_series_are_long_enough():
    lengths = [40, 60], [37, 60], [45, 45], [44, 44]  # 28 + 42, 25 + 42, 31 + 31, 30 + 30 steps train
    found = [len(_forecast.differences([np.cos(np.arange(T))[:, None] for T in pair], 1, 12)) for pair in lengths]
    assert found == [2, 1, 1, 1]
    assert _forecast.differences([np.cos(np.arange(46))[:, None]], 1, 12) == (0, 12)


def test_levels_are_not_tried_if_the_targets_have_shifted(several):
    level = np.cos(np.arange(100.0))
    x = np.stack([level, np.arange(100.0), level], axis=1)
    assert _forecast.shift([x[:, 1:2]]) == pytest.approx((74.5 - 34.5) / np.arange(70).std())
    assert _forecast.differences([x], 1, 12) == (0, 12)  # what is only read may shift
    assert _forecast.differences([x[:, 1:]], 1, 12) == (12,)
    assert _forecast.differences([x[:30, 1:]], 1, 12) == (0,)


def test_errors_are_pooled_over_series_in_units_and_in_standard_deviations(several):
    made = [x[:, :2] + n for n, x in enumerate(several)]
    found = _forecast.errors(made, several, "test")
    lengths = [len(x) - len(x) * 8 // 10 for x in several]
    pooled = np.sqrt(np.average(np.arange(5.0)**2, weights=lengths))
    np.testing.assert_allclose(found.by_target, [pooled, pooled], rtol=1e-12)
    scales = np.array([x[:len(x) * 7 // 10, :2].std(axis=0) for x in several])
    squares = ((np.arange(5)[:, None] / scales)**2).mean(axis=1)
    assert found.all == pytest.approx(np.sqrt(np.average(squares, weights=lengths)), rel=1e-12)


def test_repeating_the_last_value_has_the_sunspots_published_error(sunspots):
    found = _forecast.errors(_forecast.repeated([sunspots], 1, 12), [sunspots], "test").by_target
    assert found == pytest.approx(np.sqrt(np.mean((sunspots[2496:] - sunspots[2484:-12])**2)), rel=1e-12)
    assert f"{found[0]:.1f}" == "37.7"


@pytest.mark.quick
def test_the_autoregression_finds_the_coefficients_of_a_linear_process():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    for t in range(6, 60):
        x[t] = [0.3, -1] + np.array([0.9, 0.2]) * x[t - 3] - 0.4 * x[t - 5]  # without noise, three steps ahead
    model = _linear.Autoregression.fit([x[:50], x[20:]], [50, 40], 3, 4)
    np.testing.assert_allclose(model.coefficients, [[0.9, 0.2], [0, 0], [-0.4, -0.4], [0, 0], [0.3, -1]], atol=1e-9)
    made = model.forecasts(x)
    assert np.isnan(made[:6]).all()
    np.testing.assert_allclose(made[6:], x[6:], atol=1e-9)


@pytest.mark.thorough
def test_the_autoregressions_order_is_chosen_on_the_held_out_part(sunspots):
    made, order, tried = _forecast.autoregression([sunspots], 1, 12)
    assert order == 132 and tried == [12, 24, 36, 60, 132]
    assert f"{_forecast.errors(made, [sunspots], 'test').by_target[0]:.1f}" == "27.1"
    later = sunspots.copy()
    later[2496:] += 100
    other = _forecast.autoregression([later], 1, 12)
    assert other[1] == 132
    np.testing.assert_array_equal(other[0][144:2496], made[144:2496])


def test_short_series_have_the_longest_possible_autoregression():
    assert _linear.orders([100], 12) == [12, 24, 36]
    assert _linear.orders([28, 84], 12) == [12]
    assert _linear.orders([20, 84], 12) == [9]
    assert _linear.orders([9], 1) == [3]  # of order 4 there are five targets for five coefficients


def test_the_gradients_reach_is_the_mean_over_single_targets_of_whole_runs(sunspots):
    forecaster = trained([sunspots], dtype="float64")
    z = forecaster.scaled([sunspots])[0]
    X, D = (part[:, None] for part in sequences.forecast_pairs(z, 12))
    found = _forecast.reach(forecaster, [sunspots], steps=30, samples=2)
    expected = []
    for t in (2496 - 12, 3120 - 12 - 1):  # the first and the last target of the test part
        norms = np.linalg.norm(forecaster.network.gradient_terms(X, D, t)["S"][::-1, 0], axis=1)[:30]
        expected.append(norms / norms[0])
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-10)
    assert found[0] == 1


def test_the_reach_of_short_series_has_all_their_steps(several):
    forecaster = trained(several, targets=("a", "b"), inputs=("c",), horizon=4, difference=4)
    assert len(_forecast.reach(forecaster, several)) == 80 - 4 - 4


# ---- What is refused before training


@pytest.mark.parametrize("horizon, changes", [(1, True), (12, True), (20, False), (20, True)])
def test_the_shortest_series_allowed_can_be_trained_judged_and_forecast(horizon, changes):
    rng = np.random.default_rng(0)
    T = _forecast.Split.shortest(horizon) + (horizon * 10 // 7 + 1 if changes else 0)
    series = [rng.standard_normal((T, 1)) + np.arange(T)[:, None] % 3]
    _forecast.refuse(series, ["a"], horizon)
    assert _forecast.differences(series, 1, horizon) == ((0, horizon) if changes else (0,))
    for difference in _forecast.differences(series, 1, horizon):
        forecaster = trained(series, horizon=horizon, difference=difference)
        assert np.isfinite(_forecast.errors(forecaster.made(series), series, "test").all)
        assert np.isfinite(_forecast.reach(forecaster, series)).all()
        assert forecaster.forecast().shape == (horizon, 1)
    made, order, _ = _forecast.autoregression(series, 1, horizon)
    assert order >= 1 and np.isfinite(_forecast.errors(made, series, "test").all)


def refusal(series, horizon=12, names=("a", "b", "c"), **options):
    with pytest.raises(ValueError) as found:
        _forecast.refuse(series, names, horizon, **options)
    return str(found.value)


def test_series_that_are_too_short_are_refused_with_a_valid_horizon(several):
    assert refusal(several[:1], 24, unit="months") == (
        "the series has 40 months, and a horizon of 24 needs at least 46; --horizon must be from 1 to 20 here")
    assert refusal(several, 40, name_of="series {}".format) == (
        "series 0 has 40 steps, and a horizon of 40 needs at least 69 (2 series are too short); --horizon must be "
        "from 1 to 20 here")
    assert refusal([np.zeros((5, 1))]) == (
        "the series has 5 steps, and a horizon of 12 needs at least 29; even a horizon of 1 needs 13")


def test_constant_columns_are_refused(several):
    several = [x.copy() for x in several]
    several[1][:len(several[1]) * 7 // 10, 2] = 4.5
    assert refusal(several, 4, name_of="series {}".format).startswith(
        "column 'c' of series 1 is 4.5 in all of the first 70 % of its rows, the training part")


def test_numbers_whose_squares_are_infinite_are_refused():
    assert "too large" in refusal([np.arange(60.0)[:, None] * 1e300])


# ---- The text chart


def test_the_text_chart_places_values_by_month_and_size():
    dates = np.arange("1998-01", "2010-01", dtype="datetime64[M]")
    observed, forecast = np.full(144, 10.0), np.full(144, 91.0)
    observed[-12:] = np.nan
    forecast[-2:] = 10
    *lines, _, years, _ = _picture.text(dates, observed, forecast).splitlines()
    assert lines[0].startswith("  100 |") and lines[-1].startswith("    0 |")
    assert lines[1] == "      |" + 65 * "+"
    assert lines[-2] == "      |" + 60 * "o" + "     +"
    assert years.split() == [str(year) for year in range(1999, 2010)]
    assert years.index("2009") - years.index("1999") == 60


def test_the_text_chart_shows_negative_short_and_constant_series():
    for values in (np.sin(np.arange(50)) - 9, np.full(7, 3.0), np.full(7, -3.0), np.zeros(7), 1e6 + np.arange(20.0)):
        chart = _picture.text(np.arange(1, len(values) + 1), values, np.full(len(values), np.nan))
        *lines, _, steps, _ = chart.splitlines()
        assert sum(line.count("o") for line in lines) == len(values)
        assert steps.split()[0] == "1"
        top, bottom = float(lines[0].split("|")[0]), float(lines[-1].split("|")[0])
        assert bottom <= values.min() and values.max() <= top


# ---- Synthetic tasks


@pytest.mark.parametrize("name", _solve.TASKS)
def test_every_task_has_a_network_that_fits_it(name):
    task = _solve.TASKS[name]
    network = _solve.network(task, 4, 0)
    history = _solve.fit(network, task, task.shortest, epochs=1)
    assert history.updates == 100 and 0 <= _solve.wrong(network, task.draw(50, task.shortest, random_state=0)) <= 1


def test_training_ends_when_temporal_order_is_solved():
    task = _solve.TASKS["temporal_order"]
    network = _solve.network(task)
    history = _solve.fit(network, task, task.length, epochs=20)
    assert history.stopped == "callback" and _solve.judge(network, task, task.length) <= _solve.SOLVED
