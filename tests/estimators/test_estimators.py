"""RNNRegressor and RNNClassifier: the engine's results in the user's layout, and scikit-learn's conventions."""

import copy
import os
import pickle
import types
import warnings

import numpy as np
import pytest
import scipy.sparse
from processes import run_python

import fastbptt
from fastbptt import RNN, _files, optimizers, schedules, sequences
from fastbptt.estimators import NotFittedError, RNNClassifier, RNNRegressor
from fastbptt.sequences import SequenceScaler, forecast_pairs, to_time_major

pytestmark = pytest.mark.filterwarnings("ignore:fit ended no better than a constant")  # most fits here are short

LENGTHS = (5, 9, 3, 7, 1, 6, 9, 4)
N, T, I, O, H = len(LENGTHS), max(LENGTHS), 3, 2, 5


def ragged(features=I, lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, features)) for length in lengths]


def cube(features=I, seed=0):
    return np.random.default_rng(seed).standard_normal((N, T, features))


def targets(X):
    """Something to learn, (T_n, O) of each sequence."""
    return [np.cumsum(x[:, :O], axis=0) * 0.3 for x in X]


def labels(X):
    """Something to learn, a label of each sequence."""
    return np.array(["down", "up"])[[int(x[:, 0].sum() > 0) for x in X]]


# The options of RNN and RNN.fit, so that the tests compare with these
AS_ENGINE = {"scale": None, "activation": "tanh", "initializer": "orthogonal", "learning_rate_init": 1e-3,
         "learning_rate": "constant", "max_grad_norm": None, "hidden_size": H, "max_iter": 5, "batch_size": 3, "random_state": 0}


def regressor(**options):
    return RNNRegressor(**AS_ENGINE | options)


def classifier(**options):
    return RNNClassifier(**AS_ENGINE | options)


def padded(rows, fill=0):
    """Rows of each sequence as (T, N, ...)."""
    out = np.full((T, len(rows), *np.shape(rows[0])[1:]), fill, np.asarray(rows[0]).dtype)
    for n, row in enumerate(rows):
        out[:len(row), n] = row
    return out


# ---- The engine's run


def test_a_ragged_regressor_is_the_engine_with_lengths():
    X = ragged()
    y, m = targets(X), [np.linspace(0.5, 2, len(x)) for x in X]
    net = RNN(I, H, O, dtype="float64", l2=1e-3, random_state=0)
    history = net.fit(padded(X), padded(y), weights=padded(m), lengths=LENGTHS, epochs=5, batch_size=3,
                      optimizer=optimizers.Adam(), max_grad_norm=1.0, schedule="cosine")
    model = regressor(l2=1e-3, max_grad_norm=1.0, learning_rate="cosine").fit(X, y, m)
    assert np.array_equal(model.network_.theta, net.theta)
    assert model.loss_curve_ == history.train_loss == model.history_.train_loss and model.n_iter_ == 5


def test_an_array_needs_no_weights_and_is_the_engine_transposed():
    X = cube()
    net = RNN(I, H, O, dtype="float64", random_state=0)
    net.fit(X.swapaxes(0, 1), X[:, :, :O].swapaxes(0, 1), epochs=5, batch_size=3)
    assert np.array_equal(regressor().fit(X, X[:, :, :O]).network_.theta, net.theta)


def test_a_classifier_of_sequences_is_the_engine_with_an_error_at_the_last_real_steps():
    X = ragged()
    y, m = labels(X), np.linspace(1, 2, N)
    net = RNN(I, H, 2, dtype="float64", loss="cross_entropy", output_activation="softmax", output="last", random_state=0)
    net.fit(padded(X), np.array([label == "up" for label in y], int), weights=m, lengths=LENGTHS, epochs=5, batch_size=3)
    model = classifier().fit(X, y, m)
    assert np.array_equal(model.network_.theta, net.theta)
    assert model.classes_.tolist() == ["down", "up"] and model.n_outputs_ == 2


def test_a_classifier_of_steps_is_the_engine_with_lengths():
    X = ragged()
    y = [(x[:, 0] > 0) * 3 + 4 for x in X]
    net = RNN(I, H, 2, dtype="float64", loss="cross_entropy", output_activation="softmax", random_state=0)
    net.fit(padded(X), padded([(v == 7).astype(int) for v in y], fill=-1), lengths=LENGTHS, epochs=5, batch_size=3)
    model = classifier(output="sequence").fit(X, y)
    assert np.array_equal(model.network_.theta, net.theta) and model.classes_.tolist() == [4, 7]


def test_what_padding_holds_changes_neither_training_nor_predictions(monkeypatch):
    X = ragged()
    model = regressor().fit(X, targets(X))
    honest = sequences._to_time_major

    def filled(X, name):
        time_major, lengths = honest(X, name)
        time_major[np.arange(len(time_major))[:, None] >= lengths] = 17.5
        return time_major, lengths

    monkeypatch.setattr(sequences, "_to_time_major", filled)
    other = regressor().fit(X, targets(X))
    assert np.array_equal(model.network_.theta, other.network_.theta)
    assert all(np.array_equal(a, b) for a, b in zip(model.predict(X), other.predict(X)))


def test_targets_and_labels_without_weight_are_never_read():
    X = ragged()
    y, m = targets(X), [np.arange(len(x)) % 2 + (len(x) == 1) for x in X]
    hidden = [np.where(w[:, None] > 0, v, np.nan) for v, w in zip(y, m)]
    model, other = regressor().fit(X, y, m), regressor().fit(X, hidden, m)
    assert np.array_equal(model.network_.theta, other.network_.theta)
    assert model.score(X, y, m) == other.score(X, hidden, m)
    y = [(x[:, 0] > 0).astype(int) for x in X]
    hidden = [np.where(w > 0, v, -1) for v, w in zip(y, m)]
    model, other = (classifier(output="sequence").fit(X, v, m) for v in (y, hidden))
    assert np.array_equal(model.network_.theta, other.network_.theta) and other.classes_.tolist() == [0, 1]


def test_a_sequence_without_weight_counts_as_not_given():
    X = ragged()
    y, m = targets(X), np.array([1, 0, 2, 1, 0, 3, 1, 1.0])
    kept = np.flatnonzero(m)
    model = regressor().fit(X, y, m)
    other = regressor().fit([X[n] for n in kept], [y[n] for n in kept], m[kept])
    assert np.array_equal(model.network_.theta, other.network_.theta)


def test_a_weight_for_each_sequence_is_that_weight_at_each_of_its_steps():
    X = ragged()
    m = np.linspace(1, 2, N)
    model = regressor().fit(X, targets(X), m)
    other = regressor().fit(X, targets(X), [np.full(len(x), w) for x, w in zip(X, m)])
    assert np.array_equal(model.network_.theta, other.network_.theta)


def test_the_networks_dtype_is_the_datas_or_the_one_asked_for():
    X = cube()
    for given, dtype, expected in (("f4", None, "f4"), ("f8", None, "f8"), ("i8", None, "f8"), ("f8", "float32", "f4"),
                                   ("f4", "float64", "f8")):
        model = regressor(dtype=dtype, max_iter=1).fit(X.astype(given), X[:, :, 0])
        assert model.predict(X).dtype == expected == np.dtype(model.network_.dtype)


@pytest.mark.parametrize(("option", "value"), [
    ("activation", "relu"), ("reduction", "sum"), ("initializer", "glorot_uniform"), ("bias", False),
    ("learn_initial_state", True), ("l1", 0.125), ("l2", {"W_s": 0.25})])
def test_options_of_the_network_reach_it(option, value):
    for model in (regressor(**{option: value}), classifier(**{option: value})):
        y = cube()[:, :, 0] if model.output == "sequence" else np.arange(N) % 2
        network = model.fit(cube(), y).network_
        if option == "initializer":
            plain = RNN(I, H, network.output_size, initializer=value, dtype="float64", random_state=0,
                        loss=network.loss, output_activation=network.output_activation)
            before = []
            model.fit(cube(), y, update_callbacks=lambda record: before.append(record.network.theta))
            assert np.abs(before[0] - plain.theta).max() <= 2e-3  # one step of Adam
        else:
            assert getattr(network, option) == value


@pytest.mark.parametrize(("options", "optimizer"), [
    ({"solver": "sgd"}, optimizers.SGD(1e-3, momentum=0.9, nesterov=True)),
    ({"solver": "sgd", "momentum": 0.0}, optimizers.SGD(1e-3)),
    ({"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "learning_rate_init": 0.1},
     optimizers.SGD(0.1, momentum=0.5)),
    ({"beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-3, "momentum": 0.2}, optimizers.Adam(1e-3, 0.5, 0.75, 1e-3)),
    ({"solver": "rmsprop", "epsilon": 1e-2}, optimizers.RMSprop(1e-3, epsilon=1e-2)),
    ({"solver": optimizers.AdamW(0.2, weight_decay=0.3)}, optimizers.AdamW(0.2, weight_decay=0.3)),
])
def test_the_solver_has_those_numbers_that_it_knows(options, optimizer):
    assert regressor(**options)._optimizer() == optimizer


# ---- Layouts


@pytest.mark.quick
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("form", ["array", "list", "tuple", "steps", "series"])
@pytest.mark.parametrize("outputs", [(), (1,), (O,)])
def test_predictions_have_the_form_that_fit_was_given(output, form, outputs):
    X = {"array": cube(), "list": ragged(), "tuple": tuple(ragged()), "steps": cube()[0], "series": cube()[0]}[form]
    count = len(X) if form != "series" or output == "sequence" else 1
    if output == "last" or form in ("steps", "series"):
        y = np.random.default_rng(1).standard_normal((count, *outputs))
    elif form == "array":
        y = np.random.default_rng(1).standard_normal((N, T, *outputs))
    else:
        y = [np.random.default_rng(1).standard_normal((len(x), *outputs)) for x in X]
    model = regressor(output=output, two_d=form if form in ("steps", "series") else "raise").fit(X, y)
    predicted = model.predict(X)
    assert model.n_outputs_ == (outputs or (1,))[0] and model.n_features_in_ == I
    if isinstance(y, list):
        assert isinstance(predicted, list) and [p.shape for p in predicted] == [v.shape for v in y]
        assert all(p.base is None for p in predicted), "one that is kept does not keep the others"
    else:
        assert isinstance(predicted, np.ndarray) and predicted.shape == y.shape and predicted.flags.c_contiguous
    assert isinstance(model.score(X, y), float)


def test_predictions_of_ragged_sequences_are_those_of_one_at_a_time():
    X = ragged()
    model = regressor().fit(X, targets(X))
    for x, predicted in zip(X, model.predict(X)):
        assert np.abs(model.predict([x])[0] - predicted).max() < 1e-14
        assert np.abs(model.predict(x[None])[0] - predicted).max() < 1e-14


def test_output_last_is_what_the_last_real_step_gives():
    X = ragged()
    model = regressor(output="last").fit(X, [x[0, 0] for x in X])
    Y = [model.network_.forward(x[:, None])[0][0] for x in X]
    assert model.predict(X).tolist() == pytest.approx([y[0] for y in Y], rel=1e-14)
    sure = classifier().fit(X, labels(X))
    expected = np.array([sure.network_.forward(x[:, None])[0][0] for x in X])
    np.testing.assert_allclose(sure.predict_proba(X), expected, rtol=1e-14)
    assert sure.predict(X).tolist() == [["down", "up"][k] for k in expected.argmax(axis=1)]


def test_a_classifier_of_steps_predicts_labels_and_probabilities_of_steps():
    X = ragged()
    model = classifier(output="sequence").fit(X, [np.where(x[:, 0] > 0, "up", "down") for x in X])
    chances = model.predict_proba(X)
    for p, predicted, x in zip(chances, model.predict(X), X):
        assert p.shape == (len(x), 2) and np.abs(p.sum(axis=1) - 1).max() < 1e-14
        assert predicted.tolist() == [["down", "up"][k] for k in p.argmax(axis=1)]
    assert model.predict(cube()).shape == (N, T) and model.predict_proba(cube()).shape == (N, T, 2)


@pytest.mark.parametrize("y", [np.arange(N) % 3 - 1, np.arange(N) % 2 == 0, np.array(list("abbacbcc")),
                               np.array(["a", "b"] * 4, dtype=object), (np.arange(N) % 2).astype(float) * 2 + 1,
                               list("abbacbcc"), np.arange(N) % 2 * np.timedelta64(1, "D")],
                         ids=["int", "bool", "str", "object", "float", "list", "timedelta"])
def test_labels_may_be_of_any_kind_that_can_be_sorted(y):
    model = classifier(max_iter=60, learning_rate_init=0.05).fit(ragged(), y)
    predicted = model.predict(ragged())
    assert model.classes_.tolist() == np.unique(y).tolist() and predicted.dtype == np.asarray(y).dtype
    assert (predicted == y).all() and model.score(ragged(), y) == 1.0


def test_an_object_array_of_sequences_is_a_list_of_them():
    X, y = np.empty(N, object), np.empty(N, object)
    X[:], y[:] = ragged(), targets(ragged())
    model, other = regressor().fit(X, y), regressor().fit(ragged(), targets(ragged()))
    assert np.array_equal(model.network_.theta, other.network_.theta) and isinstance(model.predict(X), list)


def test_what_was_learnt_from_arrays_predicts_lists_and_the_other_way_round():
    model = regressor().fit(cube(), cube()[:, :, :O])
    assert [p.shape for p in model.predict(ragged())] == [(length, O) for length in LENGTHS]
    model = regressor().fit(ragged(), targets(ragged()))
    assert model.predict(cube()).shape == (N, T, O)


def test_an_empty_sequence_predicts_nothing_and_teaches_nothing():
    X = [*ragged(), np.zeros((0, I))]
    model = regressor().fit(X, targets(X))
    assert model.predict(X)[-1].shape == (0, O)
    seen = classifier(output="sequence").fit(X, [np.where(x[:, 0] > 0, 1, 2).tolist() for x in X])
    assert seen.predict(X)[-1].shape == (0,) and seen.classes_.dtype.kind == "i"


def test_inputs_are_not_modified_and_results_are_the_callers_own():
    X, y = cube(), cube()[:, :, :O]
    X.setflags(write=False)
    y.setflags(write=False)
    model = regressor().fit(X, y, np.ones(N))
    first = model.predict(X)
    first[...] = 0
    assert model.predict(X).any() and np.array_equal(X, cube())


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.4, 0.2), (0.5,)])
def test_quantile_levels_are_the_last_axis_and_the_one_nearest_the_median_is_judged(levels):
    X = ragged()
    y, L = targets(X), len(levels)
    model = regressor(loss=("quantile", levels)).fit(X, y)
    Y = model.network_.forward(padded(X))[0]
    for n, predicted in enumerate(model.predict(X)):
        assert predicted.shape == (LENGTHS[n], O, L) if L > 1 else (LENGTHS[n], O)
        for k in range(O):
            for level in range(L):
                ours = predicted[:, k, level] if L > 1 else predicted[:, k]
                assert np.array_equal(ours, Y[:LENGTHS[n], n, level * O + k])
    middle = min(range(L), key=lambda level: abs(levels[level] - 0.5))
    y_all, p_all = np.concatenate(y), np.concatenate([p[..., middle] if L > 1 else p for p in model.predict(X)])
    r2 = 1 - np.square(y_all - p_all).sum(axis=0) / np.square(y_all - y_all.mean(axis=0)).sum(axis=0)
    assert model.score(X, y) == pytest.approx(r2.mean(), rel=1e-12)
    flat = regressor(loss=("quantile", levels)).fit(X, [v[:, 0] for v in y])
    assert flat.predict(X)[0].shape == ((LENGTHS[0], L) if L > 1 else (LENGTHS[0],))


def test_quantile_by_its_name_alone_has_the_networks_three_levels():
    model = regressor(loss="quantile").fit(cube(), cube()[:, :, :O])
    assert model.predict(cube()).shape == (N, T, O, 3) and model.network_.loss == ("quantile", (0.1, 0.5, 0.9))


def test_batch_size_auto_is_200():
    X = np.ones((401, 1, 1))
    assert regressor(batch_size="auto", max_iter=1).fit(X, X).history_.updates == 3


def test_poisson_has_its_output_activation_by_itself():
    X = cube()
    model = regressor(loss="poisson").fit(X, np.abs(X[:, :, 0]))
    assert model.network_.output_activation == "exp" and (model.predict(X) > 0).all()


# ---- Scores


@pytest.mark.share(2)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_score_is_r2_on_the_concatenated_steps(weighted):
    metrics = pytest.importorskip("sklearn.metrics")
    X = ragged()
    y = [np.column_stack([v, np.full(len(v), 3.0)]) for v in targets(X)]  # one output is constant
    m = [np.arange(len(x)) % 3 + 0.5 for x in X] if weighted else None
    model = regressor().fit(X, y)
    expected = metrics.r2_score(np.concatenate(y), np.concatenate(model.predict(X)),
                                sample_weight=np.concatenate(m) if weighted else None)
    assert model.score(X, y, m) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("output", ["sequence", "last"])
def test_the_score_is_accuracy_on_the_concatenated_steps(weighted, output):
    metrics = pytest.importorskip("sklearn.metrics")
    X = ragged()
    y = labels(X) if output == "last" else [np.where(x[:, 0] > 0, "up", "down") for x in X]
    m = [np.arange(len(x)) % 3 + 0.5 for x in X] if output == "sequence" else np.arange(N) + 1.0
    model = classifier(output=output).fit(X, y)
    flat = np.concatenate if output == "sequence" else np.asarray
    expected = metrics.accuracy_score(flat(y), flat(model.predict(X)), sample_weight=flat(m) if weighted else None)
    assert model.score(X, y, m if weighted else None) == pytest.approx(expected, rel=1e-12)


def test_a_score_of_one_step_is_not_a_number_and_labels_never_seen_are_wrong():
    model = regressor(output="last").fit(cube(), np.arange(N))
    assert np.isnan(model.score(cube()[:1], [1.0]))
    assert classifier().fit(cube(), np.arange(N) % 2).score(cube(), np.full(N, 7)) == 0


# ---- Early stopping, warm starts, single epochs


def test_early_stopping_returns_to_the_best_epoch():
    X = cube()
    model = regressor(early_stopping=True, max_iter=300, n_iter_no_change=3, learning_rate_init=0.3)
    thetas = []
    model.fit(X, X[:, ::-1, :O], validation=(X, -X[:, ::-1, :O]), callbacks=[lambda r: thetas.append(r.network.theta)])
    best = int(np.argmin(model.validation_loss_curve_))
    assert model.history_.stopped == "patience" and model.n_iter_ == best + 4 == len(model.loss_curve_)
    assert np.array_equal(model.network_.theta, thetas[best])
    assert model.best_loss_ == min(model.validation_loss_curve_) and model.loss_ == model.loss_curve_[-1]


def test_an_improvement_of_less_than_tol_counts_as_none():
    X = cube()
    options = {"early_stopping": True, "max_iter": 50, "n_iter_no_change": 4}
    assert regressor(**options, tol=100.0).fit(X, X[:, :, 0]).n_iter_ == 5  # the first epoch is better than none
    assert regressor(**options, tol=None).fit(X, X[:, :, 0]).n_iter_ == 50


def test_a_given_validation_set_without_early_stopping_is_only_watched():
    X = ragged()
    y = targets(X)
    model = regressor().fit(X, y)
    watched = regressor().fit(X, y, validation=(X[:2], y[:2], [1.0, 2.0]))
    assert np.array_equal(model.network_.theta, watched.network_.theta)
    assert model.validation_loss_curve_ == [] and len(watched.validation_loss_curve_) == 5
    weights = padded([np.full(len(x), w) for x, w in zip(X[:2], (1.0, 2.0))])
    loss = watched.network_.evaluate(padded(X[:2]), padded(y[:2]), weights=weights)
    assert watched.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)  # which adds up in another order


def test_the_split_takes_whole_sequences_at_random_and_labels_in_proportion(monkeypatch):
    fit = RNN.fit

    def held_out(model, X, y):
        """What the engine is given: X, D and the validation set."""
        seen = []
        monkeypatch.setattr(RNN, "fit", lambda self, X, D, **options: seen.append((X, D, options["validation"]))
                            or fit(self, X, D, **options))
        model.fit(X, y)
        return seen[0]

    X = np.arange(40.0)[:, None, None] * np.ones((1, 2, 1))
    y = np.array([0] * 28 + [1] * 8 + [2] * 4)
    kept = []
    for seed in range(3):
        model = classifier(early_stopping=True, validation_fraction=0.25, max_iter=1, random_state=seed)
        trained, D, (held, D_held, *_) = held_out(model, X, y)
        assert np.bincount(D_held).tolist() == [7, 2, 1] and np.bincount(D).tolist() == [21, 6, 3]
        assert sorted([*trained[0, :, 0], *held[0, :, 0]]) == list(range(40))
        kept.append(tuple(held[0, :, 0]))
    assert len(set(kept)) == 3
    trained, _, (held, *_) = held_out(regressor(early_stopping=True, max_iter=1), X[:3], X[:3, :, 0])
    assert held.shape[1] == 1 and trained.shape[1] == 2
    trained, _, (held, *_) = held_out(regressor(early_stopping=True, max_iter=1), X, X[:, :, 0])
    assert held.shape[1] == 4 and sorted([*trained[0, :, 0], *held[0, :, 0]]) == list(range(40))


def test_partial_fit_is_train_step_after_train_step():
    X = ragged()
    y = targets(X)
    model = regressor(batch_size=N, shuffle=False, solver="adam")
    net = RNN(I, H, O, dtype="float64", random_state=0)
    losses = []
    for _ in range(4):
        assert model.partial_fit(X, y) is model
        losses.append(net.train_step(padded(X), padded(y), lengths=LENGTHS))
    assert np.array_equal(model.network_.theta, net.theta)
    assert model.loss_curve_ == pytest.approx(losses, rel=1e-15) and model.n_iter_ == 4 and model.history_ is None


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_first_partial_fit_is_a_fit_of_one_epoch(reduction):
    X = ragged()
    options = {"reduction": reduction, "max_grad_norm": 0.01, "solver": "sgd", "learning_rate_init": 0.1}
    once, model = (regressor(**options, max_iter=1) for _ in range(2))
    once.fit(X, targets(X))
    model.partial_fit(X, targets(X))
    assert np.array_equal(model.network_.theta, once.network_.theta)
    assert model.loss_curve_ == pytest.approx(once.loss_curve_, rel=1e-14)


def test_partial_fit_goes_on_with_another_solver_anew():
    X = ragged()
    model = regressor(solver="rmsprop").partial_fit(X, targets(X))
    net = model.network_.copy()
    model.set_params(solver="sgd", shuffle=False, batch_size=N).partial_fit(X, targets(X))
    net.train_step(padded(X), padded(targets(X)), optimizers.SGD(1e-3, momentum=0.9, nesterov=True),
                   weights=padded([np.ones(len(x)) for x in X]))
    np.testing.assert_allclose(model.network_.theta, net.theta, rtol=1e-5, atol=1e-6)  # sums in another order


def test_partial_fit_makes_one_epoch_of_batches_in_another_order_each_time(monkeypatch):
    X = np.arange(6.0)[:, None, None] * np.ones((1, 2, 1))
    model = regressor(batch_size=4)
    orders = []
    step = fastbptt.training.Stepper.step

    def spy(self, network, optimizer, data, *rest, **named):
        orders.append(tuple(data.X[0, :, 0]))
        return step(self, network, optimizer, data, *rest, **named)

    monkeypatch.setattr(fastbptt.training.Stepper, "step", spy)
    for _ in range(3):
        model.partial_fit(X, X[:, :, 0])
    assert [len(order) for order in orders] == [4, 2] * 3
    epochs = [orders[k] + orders[k + 1] for k in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs) and len(set(epochs)) == 3


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_goes_on_with_partial_fit_as_the_original_does(again):
    X = ragged()
    model = classifier().partial_fit(X, labels(X), classes=["up", "sideways", "down"])
    assert model.classes_.tolist() == ["down", "sideways", "up"]
    other = again(model)
    for each in (model, other):
        each.partial_fit(X, labels(X)).partial_fit(X[:3], labels(X)[:3], sample_weight=[1, 2, 3])
    assert np.array_equal(model.network_.theta, other.network_.theta) and model.n_iter_ == 3


def test_a_warm_start_goes_on_from_the_last_network():
    X = ragged()
    y = targets(X)
    model = regressor(warm_start=True, solver="sgd", momentum=0.0, shuffle=False).fit(X, y)
    model.fit(X, y)
    straight = regressor(solver="sgd", momentum=0.0, shuffle=False, max_iter=10).fit(X, y)
    assert np.array_equal(model.network_.theta, straight.network_.theta)
    assert model.loss_curve_ == straight.loss_curve_ and model.n_iter_ == 10 and len(model.history_.train_loss) == 5
    model.set_params(l2=1e-2, activation="relu").fit(X, y)
    assert model.network_.l2 == 1e-2 and model.network_.activation == "relu" and model.n_iter_ == 15
    model.fit([x.astype("f4") for x in X], y)
    assert model.network_.dtype == "float64", "dtype=None is what the first data had"
    model.set_params(warm_start=False).fit(X, y)
    assert model.n_iter_ == 5
    unseeded = regressor(warm_start=True, random_state=None).fit(X, y)
    entropy = unseeded.network_._entropy
    assert unseeded.fit(X, y).network_._entropy == entropy


def test_a_warm_start_draws_another_order():
    X = cube()
    model = regressor(warm_start=True, solver="sgd", momentum=0.0).fit(X, X[:, :, 0])
    net, data = model.network_.copy(), (X.swapaxes(0, 1), X[:, :, :1].swapaxes(0, 1))
    replayed = net.copy()
    replayed.stream_positions = {"shuffling": 0}
    for each in (net, replayed):
        each.fit(*data, epochs=5, batch_size=3, optimizer=optimizers.SGD())
    model.fit(X, X[:, :, 0])
    assert np.array_equal(model.network_.theta, net.theta) and not np.array_equal(net.theta, replayed.theta)
    again = regressor(warm_start=True, solver="sgd", momentum=0.0).fit(X, X[:, :, 0]).fit(X, X[:, :, 0])
    assert np.array_equal(model.network_.theta, again.network_.theta)


def test_a_warm_start_of_another_shape_or_with_new_labels_is_refused_and_changes_nothing():
    X = ragged()
    model = regressor(warm_start=True).fit(X, targets(X))
    before = model.network_.theta
    with pytest.raises(ValueError, match="warm_start=True continues from the last network, which does not fit"):
        model.set_params(hidden_size=H + 1).fit(X, targets(X))
    with pytest.raises(ValueError, match="y has 1 outputs, but this RNNRegressor has 2"):
        model.set_params(hidden_size=H).fit(X, [x[:, 0] for x in X])
    assert np.array_equal(model.network_.theta, before) and model.n_iter_ == 5
    model = classifier(warm_start=True).fit(X, labels(X))
    with pytest.raises(ValueError, match="none of the classes"):
        model.fit(X, ["new"] * N)


@pytest.mark.parametrize("changed", [{"loss": "poisson"}, {"output_activation": "tanh"}, {"output_activation": "exp"}])
def test_a_warm_start_whose_outputs_cannot_have_the_scaling_of_targets_is_refused(changed):
    X = cube()
    y = np.abs(X[:, :, 0])
    model = regressor(warm_start=True, scale="standard").fit(X, y)
    before, made = model.network_, model.predict(X)
    with pytest.raises(ValueError, match="needs targets that are not scaled; set warm_start=False"):
        model.set_params(**changed).fit(X, y)
    assert model.network_ is before and np.array_equal(model.predict(X), made)
    assert model.set_params(warm_start=False).fit(X, y).scaling_.y_mean is None
    model.set_params(warm_start=True, loss="squared_error", output_activation=None).fit(X, y)
    assert model.scaling_.y_mean is None, "targets that were not scaled stay so"


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "validation_fraction": 0.3}])
def test_the_same_random_state_gives_the_same_run(options):
    X = ragged()
    runs = [regressor(random_state=seed, **options).fit(X, targets(X)).network_.theta for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    model = regressor(**options).fit(X, targets(X))
    assert np.array_equal(model.fit(X, targets(X)).network_.theta, runs[0]), "a second fit starts anew"


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, np.int64])
def test_random_state_may_be_a_generator_of_either_kind(make):
    X = ragged()
    runs = [regressor(random_state=make(3)).fit(X, targets(X)).network_.theta for _ in range(2)]
    assert np.array_equal(*runs)
    unseeded = [regressor(random_state=None).fit(X, targets(X)).network_.theta for _ in range(2)]
    assert not np.array_equal(*unseeded)


def test_progress_is_silent_by_default_and_changes_nothing(capfd):
    X = ragged()
    model = regressor().fit(X, targets(X))
    assert capfd.readouterr() == ("", "")
    loud = regressor(verbose=True).fit(X, targets(X))
    assert np.array_equal(model.network_.theta, loud.network_.theta) and capfd.readouterr().err


# ---- Ends of a run


def test_callbacks_and_limits_are_those_of_the_engine(tmp_path):
    X = ragged()
    model = regressor().fit(X, targets(X), callbacks=lambda record: record.epoch == 1)
    assert model.n_iter_ == 2 and model.history_.stopped == "callback"
    model.fit(X, targets(X), update_callbacks=[lambda record: record.update == 4], checkpoint=tmp_path / "run.npz")
    assert model.history_.updates == 4 and (tmp_path / "run.npz").exists()
    model.fit(X, targets(X), checkpoint=tmp_path / "run.npz", resume=True)
    assert np.array_equal(model.network_.theta, regressor().fit(X, targets(X)).network_.theta)


def test_a_warm_start_that_is_resumed_has_each_epoch_once(tmp_path):
    X, path = ragged(), tmp_path / "run.npz"
    whole, model = (regressor(warm_start=True).fit(X, targets(X)) for _ in range(2))
    whole.fit(X, targets(X), validation=(X, targets(X)))
    model.fit(X, targets(X), validation=(X, targets(X)), callbacks=[lambda record: record.epoch == 2], checkpoint=path)
    assert model.n_iter_ == 8
    for _ in range(2):  # the second time it is done already
        model.fit(X, targets(X), validation=(X, targets(X)), checkpoint=path, resume=True)
        assert model.loss_curve_ == whole.loss_curve_ and model.n_iter_ == 10
        assert model.validation_loss_curve_ == whole.validation_loss_curve_
        assert np.array_equal(model.network_.theta, whole.network_.theta)


@pytest.mark.parametrize("random_state", [None, np.random.default_rng(0)], ids=["None", "Generator"])
def test_a_run_that_holds_sequences_out_resumes_whatever_its_seed_was(random_state, tmp_path):
    X = ragged(lengths=[4, 3, 5, 6, 2, 4, 3, 5, 4])
    model = regressor(early_stopping=True, validation_fraction=0.3, n_iter_no_change=5, random_state=random_state)

    def cut_off(record):
        if record.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, targets(X), callbacks=cut_off, checkpoint=tmp_path / "run.npz")
    begun = model.loss_curve_, model.validation_loss_curve_
    model.fit(X, targets(X), checkpoint=tmp_path / "run.npz", resume=True)
    assert (model.loss_curve_[:2], model.validation_loss_curve_[:2]) == begun and model.n_iter_ == 5
    with pytest.raises(ValueError, match="of a finished run"):  # of which another fit is not to return the network
        model.fit(X, targets(X), checkpoint=tmp_path / "run.npz", resume=True)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.fit(X, targets(X), checkpoint=tmp_path / "run.npz")
    model.fit(X, targets(X), checkpoint=tmp_path / "run.npz", overwrite=True)


def test_an_interrupted_fit_keeps_the_last_whole_update():
    X = ragged()

    def interrupt(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    model = regressor()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, targets(X), callbacks=interrupt)
    assert model.history_.stopped == "interrupted" and len(model.predict(X)) == N
    assert np.array_equal(model.network_.theta, regressor(max_iter=3).fit(X, targets(X)).network_.theta)


def test_a_training_that_blows_up_keeps_the_last_finite_network():
    X = cube()
    model = regressor(solver="sgd", learning_rate_init=1e30, activation="identity", dtype="float32")
    with pytest.raises(FloatingPointError, match="not finite in epoch"):
        model.fit(X, 1e10 * X[:, :, 0])
    assert model.history_.stopped == "nonfinite" and np.isfinite(model.network_.theta).all()


def test_a_refused_fit_leaves_the_fitted_estimator_as_it_was():
    X = ragged()
    model = regressor().fit(X, targets(X))
    before = dict(vars(model))
    for options in ({"callbacks": 3}, {"validation": (X,)}, {"time_limit": -1}, {"sample_weight": -np.ones(N)}):
        with pytest.raises((TypeError, ValueError)):
            model.fit(X, targets(X), **options)
        assert vars(model) == before


# ---- Forecasts


def by_hand(network, series, steps, horizon, exogenous=None):
    """A closed loop, one series and one step at a time: the whole run is made anew for each forecast."""
    x, O = list(series), series.shape[1]
    forecasts = []
    for k in range(steps):
        end = len(series) + k + 1 - horizon  # the forecast for step len(series) + k comes from step end − 1
        inputs = np.array([np.concatenate([x[t], exogenous[t]]) if exogenous is not None else x[t] for t in range(end)])
        forecasts.append(network.forward(inputs[:, None])[0][-1, 0])
        x.append(forecasts[-1][:O])
    return np.array(forecasts)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("exogenous", [False, True])
def test_a_forecast_is_the_closed_loop_by_hand(horizon, steps, exogenous):
    series = ragged(O, lengths=(12, 20, 9))
    known = ragged(2, lengths=(22, 30, 19), seed=1) if exogenous else None
    X, y = forecast_pairs(series, horizon, None if known is None else [k[:len(s)] for k, s in zip(known, series)])
    model = regressor(horizon=horizon).fit(X, y)
    forecast = model.forecast(series, steps, exogenous=known)
    assert [f.shape for f in forecast] == [(steps, O)] * 3
    for n in range(3):
        expected = by_hand(model.network_, series[n], steps, horizon, known and known[n])
        assert np.abs(forecast[n] - expected).max() < 1e-13


def test_what_is_known_may_be_any_buffer():
    series, known = [np.ones((6, 1)), np.zeros((6, 1))], np.arange(24.0).reshape(2, 6, 2)
    for given in (known, memoryview(known), list(known)):
        X, _ = forecast_pairs(series, 1, given)
        assert np.array_equal(X[1][:, 1:], known[1, :5])


def test_forecasts_have_the_layout_of_the_series():
    series = np.cumsum(cube(O), axis=1)
    model = regressor(horizon=2).fit(*forecast_pairs(series, 2))
    many, single, listed = model.forecast(series, 5), model.forecast(series[3], 5), model.forecast(list(series), 5)
    assert many.shape == (N, 5, O) and single.shape == (5, O) and isinstance(listed, list)
    assert np.abs(many[3] - single).max() < 1e-13 and np.abs(np.array(listed) - many).max() < 1e-13
    one = regressor(two_d="series", horizon=1).fit(*forecast_pairs(series[0], 1))
    assert one.forecast(series[0], 4).shape == (4, O)
    flat = regressor().fit(series[:, :-1, :1], series[:, 1:, 0])  # a y without its axis of outputs
    assert flat.forecast(series[:, :, :1], 3).shape == (N, 3, 1)


def test_forecasts_of_quantiles_go_on_from_the_level_nearest_the_median():
    series = np.cumsum(cube(O), axis=1)
    model = regressor(loss=("quantile", (0.1, 0.6, 0.9)), horizon=2).fit(*forecast_pairs(series, 2))
    forecast = model.forecast(series[0], 5)
    assert forecast.shape == (5, O, 3)
    x = list(series[0])
    for k in range(5):
        y = model.network_.forward(np.array(x[:len(series[0]) + k - 1])[:, None])[0][-1, 0]
        assert np.abs(forecast[k] - y.reshape(3, O).T).max() < 1e-13
        x.append(y[O:2 * O])


def test_a_forecast_can_be_scaled_back():
    t = np.arange(60.0)
    series = [10 * n + (n + 1) * np.sin(t[:40 + 5 * n] / 3)[:, None] for n in range(4)]
    scaler = SequenceScaler(per="series")
    scaled = scaler.fit_transform(series)
    model = regressor(hidden_size=16, max_iter=150, learning_rate_init=0.01, batch_size=2)
    model.fit(*forecast_pairs(scaled, 1))
    forecast = scaler.inverse_transform(model.forecast(scaled, 4))
    for n, made in enumerate(forecast):
        expected = 10 * n + (n + 1) * np.sin((len(series[n]) + np.arange(4)) / 3)
        assert np.abs(made[:, 0] - expected).max() < 0.5 * (n + 1), "not even near the sine"


@pytest.mark.parametrize(("change", "call", "words"), [
    ({}, {"steps": 0}, "steps must be from 1"),
    ({}, {"steps": 2.0}, "steps must be an int"),
    ({"horizon": 0}, {}, "horizon must be from 1"),
    ({"horizon": "3"}, {}, "horizon must be an int"),
    ({"output": "last"}, {}, 'forecast needs output="sequence"'),
    ({"horizon": 13}, {}, r"series has 12 steps, but with horizon=13 a forecast needs at least as many"),
    ({"horizon": 13}, {"series": ragged(O, (20, 12))}, r"series\[1\] has 12 steps"),
    ({}, {"series": np.zeros((3, 4, 5))}, "series has 5 features, but fit's y had 2"),
    ({}, {"series": np.zeros(4)}, r"series must be an array \(N, T, I\)"),
    ({}, {"series": np.full((4, 2), np.nan)}, "series contains NaN, first at step 0, feature 0"),
    ({}, {"series": "abc"}, "series must be an array of numbers"),
    ({}, {"exogenous": np.zeros((12, 1))}, "exogenous must be None: fit's X had"),
])
def test_a_forecast_that_cannot_be_made_says_why(change, call, words):
    model = regressor(horizon=3).fit(*forecast_pairs(cube(O), 3)).set_params(**change)
    call = {"series": np.zeros((12, O)), "steps": 2, **call}
    with pytest.raises((TypeError, ValueError), match=words):
        model.forecast(call["series"], call["steps"], exogenous=call.get("exogenous"))


def test_a_forecast_with_exogenous_inputs_needs_them_as_far_as_it_goes():
    series, known = cube(O), cube(2, seed=1)
    model = regressor(horizon=3).fit(*forecast_pairs(series, 3, known))
    assert model.forecast(series, 3, exogenous=known).shape == (N, 3, O)
    for exogenous, words in ((None, "exogenous must have 2 features, got None"),
                             (known, f"exogenous has {T} steps, but this forecast needs {T + 2}: the {T} of the series "
                              "and the 2 after them"),
                             (known[:, :, :1], f"exogenous must be {N} series of 2 features, got {N} of 1"),
                             (known[:2], f"exogenous must be {N} series of 2 features, got 2 of 2"),
                             (known * np.nan, "exogenous contains NaN")):
        with pytest.raises(ValueError, match=words):
            model.forecast(series, 5, exogenous=exogenous)
    with pytest.raises(ValueError, match="fitted to forecast_pairs, but fit's X had 1 features and its y 2"):
        regressor().fit(series[:, :, :1], series).forecast(series, 1)


# ---- Files


SAVED = [
    lambda: regressor().fit(ragged(), targets(ragged())),
    lambda: regressor(dtype="float32", output="last", loss=("huber", 0.5)).fit(cube(), cube()[:, 0]),
    lambda: regressor(loss=("quantile", (0.2, 0.8)), solver=optimizers.SGD(0.1, momentum=0.5, nesterov=True),
                      learning_rate=schedules.Cosine(length=7), early_stopping=True).fit(cube(), cube()[:, :, 0]),
    lambda: regressor(initializer={"W_s": np.eye(H), "W_x": ("normal", 0.5)}, dtype=np.float32, horizon=np.int64(4),
                      l2={"W_s": np.float64(0.5)}, max_grad_norm=np.float32(2)).fit(cube(), cube()[:, :, 0]),
    lambda: classifier().fit(ragged(), labels(ragged())),
    lambda: classifier(output="sequence", two_d="series").fit(cube()[0], np.arange(T) % 2 == 0),
    lambda: classifier().fit(cube(), np.array(["a", "b"] * 4, dtype=object)),
    lambda: classifier().partial_fit(cube(), np.arange(N).astype(np.uint8), classes=np.arange(9, dtype=np.uint8)),
]


@pytest.mark.parametrize("make", SAVED)
def test_a_loaded_estimator_is_the_saved_one_to_the_bit(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    X = cube()[0] if model.two_d == "series" else ragged()
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            ours, theirs = getattr(model, method)(X), getattr(loaded, method)(X)
            for a, b in zip(ours, theirs, strict=True):
                assert np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype
    assert type(loaded) is type(model) and loaded.loss_curve_ == model.loss_curve_
    assert loaded.history_ == model.history_ and loaded.n_iter_ == model.n_iter_
    for name, value in model.get_params().items():
        found = getattr(loaded, name)
        if name == "dtype" and value is not None:
            assert found == np.dtype(value)
        elif name == "initializer" and isinstance(value, dict):
            assert found["W_x"] == value["W_x"] and np.array_equal(found["W_s"], value["W_s"])
        else:
            assert found == value and isinstance(found, tuple) == isinstance(value, tuple)
    if hasattr(model, "classes_"):
        assert np.array_equal(loaded.classes_, model.classes_)
        assert loaded.classes_.dtype.kind == model.classes_.dtype.kind


def test_a_loaded_estimator_goes_on_as_the_saved_one(tmp_path):
    X = ragged()
    model = classifier(warm_start=True).fit(X, labels(X))
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    for each in (model, loaded):
        each.fit(X, labels(X))
    assert np.array_equal(model.network_.theta, loaded.network_.theta) and loaded.n_iter_ == 10


@pytest.mark.parametrize("changed", [
    {"loss": "poisson"}, {"output_activation": "tanh"}, {"scale": None}, {"hidden_size": 9, "dtype": "float32"},
    {"loss": ("quantile", (0.1, 0.9))}, {"output": "last"}, {"bidirectional": True}, {"two_d": "steps", "activation": "elu"},
])
def test_a_file_keeps_the_fitted_network_whatever_is_set_after_fit(changed, tmp_path):
    X = cube()
    model = regressor(scale="standard").fit(X, X[:, :, :O])
    made, score = model.predict(X), model.score(X, X[:, :, :O])
    model.set_params(**changed).save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    assert all(getattr(loaded, name) == value for name, value in changed.items())
    for each in (model, loaded):
        if "output" in changed:
            for call in (lambda: each.predict(X), lambda: each.partial_fit(X, X[:, -1, :O]),
                         lambda: each.score(X, X[:, -1, :O])):
                with pytest.raises(ValueError, match="output='last' was set after fit, whose network has output='sequence'"):
                    call()
            each.set_params(output="sequence")
        assert np.array_equal(each.predict(X), made)
        assert each.score(X, X[:, :, :O]) == score, "negative targets too, whatever loss the next fit is to have"
        each.partial_fit(X, X[:, :, :O])
    assert np.array_equal(model.network_.theta, loaded.network_.theta)


@pytest.mark.parametrize(("classes", "weights"), [
    ([0, 1], {0: 1.0, 1: 5.0}), ([0, 1], {np.int64(1): np.float32(5)}), ([False, True], {True: 5}), ([0.0, 2.0], {2.0: 5}),
    (["0", "1"], {"0": 1.0, "1": 5.0}), ([0, 1], types.MappingProxyType({1: 5})),
], ids=repr)
def test_a_file_keeps_the_labels_of_class_weights(classes, weights, tmp_path):
    y = np.array(classes)[np.arange(N) % 2]
    model = classifier(class_weight=weights, warm_start=True).fit(cube(), y)
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    assert loaded.class_weight == dict(weights)
    assert [type(label) for label in loaded.class_weight] == [type(y[:1].tolist()[0])] * len(weights)
    assert np.array_equal(loaded.fit(cube(), y).network_.theta, model.fit(cube(), y).network_.theta)


@pytest.mark.parametrize(("name", "value"), [
    ("initializer", lambda shape, rng: np.zeros(shape)), ("learning_rate", lambda epoch: 1.0),
    ("random_state", np.random.default_rng(0)),
])
def test_a_parameter_that_a_file_cannot_hold_is_named(name, value, tmp_path):
    model = regressor(**{name: value}).fit(cube(), cube()[:, :, 0])
    with pytest.raises(TypeError, match=f"{name}=.* cannot be saved"):
        model.save(tmp_path / "model.npz")
    assert not os.listdir(tmp_path)


def test_labels_that_a_file_cannot_hold_are_refused(tmp_path):
    model = classifier().fit(cube(), np.arange(N) % 2 * np.timedelta64(1, "D"))
    with pytest.raises(TypeError, match="classes_ of dtype timedelta64"):
        model.save(tmp_path / "model.npz")


@pytest.mark.parametrize("change", [
    {"params": None}, {"params": [1]}, {"params": {"unknown": 1}}, {"params": {"solver": {"Trojan": {}}}},
    {"params": {"solver": {"Adam": {"unknown": 1}}}}, {"params": {"loss": {"tuple": 3}}}, {"fitted": 3},
    {"params": {"output": "last", "class_weight": {"pairs": 3}}},
    {"params": {"output": "last", "class_weight": {"pairs": [[1, 2, 3]]}}},
    {"params": {"output": "last", "class_weight": {"pairs": [[{"list": []}, 1.0]]}}},
    {"fitted": {"classes": []}}, {"coding": {"kind": "U", "classes": ["a"], "dtype": ""}},
    {"coding": {"kind": "U", "classes": ["a", 2], "dtype": ""}},
    {"coding": {"kind": "i", "classes": [1, 10**30], "dtype": "int8"}},
    {"coding": {"kind": "i", "classes": [1, 2], "dtype": "O"}}, {"coding": {"kind": "V", "classes": [1, 2], "dtype": ""}},
    {"feature_names": ["a"]}, {"feature_names": [1, 2, 3]}, {"loss_curve": 3}, {"loss_curve": [10**400]},
    {"history": {"unknown": 1}}, {"config": {}},
], ids=repr)
def test_a_made_up_header_is_refused_in_words(change, tmp_path):
    header, arrays = classifier().fit(cube(), np.arange(N) % 2)._to_file()
    for name, value in change.items():
        (header if name in header else header["fitted"])[name] = value
    _files.write(tmp_path / "model.npz", header | {"kind": "RNNClassifier"}, arrays)
    with pytest.raises(ValueError, match="is not a model that this fastbptt knows|is not a fastbptt model"):
        fastbptt.load(tmp_path / "model.npz")


def test_model_and_scaler_fit_into_one_file(tmp_path):
    scaler = SequenceScaler().fit(cube())
    model = regressor().fit(cube(), cube()[:, :, 0])
    header, arrays = (a | b for a, b in zip(model._to_file(), scaler._to_file()))
    _files.write(tmp_path / "both.npz", header, arrays)
    read = _files.read(tmp_path / "both.npz")
    assert np.array_equal(RNNRegressor._from_file(*read).predict(cube()), model.predict(cube()))
    assert np.array_equal(SequenceScaler._from_file(*read).transform(cube()), scaler.transform(cube()))


# ---- Arguments that are none


BAD = [
    ({"hidden_size": 0}, ValueError, "hidden_size must be from 1"),
    ({"hidden_size": 2.5}, TypeError, "hidden_size must be an int"),
    ({"activation": "tan"}, ValueError, "unknown activation 'tan'; did you mean 'tanh'"),
    ({"reduction": "median"}, ValueError, "unknown reduction"),
    ({"dtype": "float16"}, ValueError, "dtype must be float32 or float64"),
    ({"initializer": "orthogonol"}, ValueError, "orthogonol"),
    ({"bias": 1}, TypeError, "bias must be True or False"),
    ({"learn_initial_state": "yes"}, TypeError, "learn_initial_state must be True or False"),
    ({"l1": -1.0}, ValueError, "l1 must be finite and >= 0"),
    ({"l2": "big"}, TypeError, "l2 must be a number"),
    ({"output": "first"}, ValueError, "unknown output 'first'"),
    ({"two_d": "rows"}, ValueError, "unknown two_d 'rows'"),
    ({"solver": "lbfgs"}, ValueError, "unknown solver 'lbfgs'"),
    ({"solver": 3}, TypeError, "solver must be a string"),
    ({"learning_rate_init": 0.0}, ValueError, "learning_rate_init must be finite and > 0"),
    ({"learning_rate_init": "fast"}, TypeError, "learning_rate_init must be a number"),
    ({"learning_rate": 0.01}, TypeError, "learning_rate must be the name of a schedule, such as 'constant', got the "
     "number 0.01, which learning_rate_init is for"),
    ({"learning_rate": "adaptive"}, ValueError, "unknown learning_rate 'adaptive'"),
    ({"learning_rate": None}, TypeError, "learning_rate must be the name of a schedule, a schedules.Schedule or a fun"),
    ({"max_iter": 0}, ValueError, "max_iter must be from 1"),
    ({"max_iter": "auto"}, TypeError, "max_iter must be an int"),
    ({"min_updates": 0}, ValueError, "min_updates must be from 1"),
    ({"scale": "minmax"}, ValueError, "unknown scale 'minmax'"),
    ({"scale": True}, TypeError, "scale must be a string"),
    ({"washout": -1}, ValueError, "washout must be from 0"),
    ({"washout": 1, "output": "last"}, ValueError, 'washout=1 needs output="sequence"'),
    ({"washout": 9, "output": "sequence"}, ValueError, "washout=9 leaves no step with a weight"),
    ({"batch_size": 0}, ValueError, "batch_size must be from 1"),
    ({"batch_size": "all"}, ValueError, 'batch_size must be None, "auto" or an int, got'),
    ({"batch_size": 2.0}, TypeError, "batch_size must be an int"),
    ({"max_grad_norm": 0}, ValueError, "max_grad_norm must be finite and > 0"),
    ({"early_stopping": 1}, TypeError, "early_stopping must be True or False"),
    ({"validation_fraction": 1.0}, ValueError, "validation_fraction must be finite and > 0 and < 1"),
    ({"early_stopping": True, "validation_fraction": 0.99}, ValueError, "holds out 8 of 8 sequence"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be from 1"),
    ({"tol": -1e-4}, ValueError, "tol must be finite and >= 0"),
    ({"shuffle": None}, TypeError, "shuffle must be True or False"),
    ({"random_state": -1}, ValueError, "random_state must not be negative"),
    ({"random_state": "seed"}, TypeError, "random_state must be None, an int or a numpy.random.Generator"),
    ({"warm_start": "no"}, TypeError, "warm_start must be True or False"),
    ({"verbose": "very"}, TypeError, "verbose must be True or False"),
    ({"solver": "sgd", "momentum": 1.0}, ValueError, "momentum must be finite and >= 0.* < 1"),
    ({"nesterovs_momentum": 1}, TypeError, "nesterovs_momentum must be True or False"),
    ({"beta_1": 1.0}, ValueError, "beta_1 must be"),
    ({"beta_2": -0.1}, ValueError, "beta_2 must be"),
    ({"epsilon": "small"}, TypeError, "epsilon must be a number"),
]
BAD_REGRESSOR = [
    ({"loss": "cross_entropy"}, ValueError, "unknown loss 'cross_entropy'; .*choose from squared_error"),
    ({"loss": 3}, TypeError, "loss must be a string"),
    ({"loss": ("huber", -1)}, ValueError, "the threshold of huber"),
    ({"loss": ("quantile", ())}, ValueError, "quantile"),
    ({"loss": ("quantile", (0.5, 2))}, ValueError, "quantile level"),
    ({"loss": "poisson", "output_activation": "identity"}, ValueError, "requires output_activation='exp'"),
    ({"output_activation": "soft"}, ValueError, "unknown output_activation"),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD, ids=[repr(options) for options, *_ in BAD])
@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_bad_argument_is_refused_by_fit_by_name(make, options, error, words):
    model = make(**options)  # not here: scikit-learn's clone and set_params need it so
    y = np.zeros((N, T)) if model.output == "sequence" else np.arange(N) % 2
    with pytest.raises(error, match=words):
        model.fit(cube(), y)
    assert not hasattr(model, "network_") and not hasattr(model, "n_features_in_")
    if "validation_fraction" not in options and "early_stopping" not in options:
        with pytest.raises(error, match=words):
            model.partial_fit(cube(), y, **{"classes": [0, 1]} if make is classifier else {})


@pytest.mark.parametrize(("options", "error", "words"), BAD_REGRESSOR)
def test_a_bad_argument_of_the_regressor_alone_is_refused_by_name(options, error, words):
    with pytest.raises(error, match=words):
        regressor(**options).fit(cube(), np.ones((N, T)))


@pytest.mark.parametrize("kind", [RNNRegressor, RNNClassifier])
def test_alpha_is_refused_with_the_words_to_use_and_misspelt_names_are_refused(kind):
    for call in (lambda: kind(alpha=1e-4), lambda: kind().set_params(alpha=1e-4)):
        with pytest.raises(TypeError, match="takes no alpha: use leak .* l2 "):
            call()
    with pytest.raises(TypeError, match=f"{kind.__name__}: .*hiden_size"):
        kind(hiden_size=3)
    with pytest.raises(TypeError, match=f"{kind.__name__}: too many positional"):
        kind(32, "tanh")
    with pytest.raises(ValueError, match="Invalid parameter 'hiden_size' for estimator .* Valid .*'hidden_size'"):
        kind().set_params(hiden_size=3)


HOLE = cube()
HOLE[2, 4, 1] = np.nan
HOLE[5, 0, 0] = np.inf
RAGGED_HOLE = ragged()
RAGGED_HOLE[3][6, 2] = -np.inf
BAD_X = [
    (HOLE, {}, ValueError, "X contains NaN, first at sequence 2, step 4, feature 1"),
    (RAGGED_HOLE, {}, ValueError, "X contains infinity, first at sequence 3, step 6, feature 2"),
    (HOLE[2], {"two_d": "steps"}, ValueError, "X contains NaN, first at row 4, feature 1"),
    (HOLE[2], {"two_d": "series"}, ValueError, "X contains NaN, first at step 4, feature 1"),
    (cube()[0], {}, ValueError, r'two_d="steps".*two_d="series".*X\[:, :, None\]'),
    (cube()[0, 0], {}, ValueError, "Reshape your data"),
    (cube()[None], {}, ValueError, "got 4 dimension"),
    (5.0, {}, ValueError, "got 0 dimension"),
    ([], {}, ValueError, "X must be an array"),
    (np.zeros((0, T, I)), {}, ValueError, "X has no numbers: 0 sequence"),
    (np.zeros((N, 0, I)), {}, ValueError, "X has no numbers: 8 sequence.* at most 0 step"),
    (np.zeros((N, T, 0)), {}, ValueError, r"X has 0 feature\(s\)"),
    ([np.zeros((0, I))], {}, ValueError, "X has no numbers"),
    ([np.zeros((3, 2)), np.zeros((3, 4))], {}, ValueError, r"X\[1\] has shape \(3, 4\), X\[0\] has shape \(3, 2\)"),
    ([np.zeros((3, 2)), np.zeros(3)], {}, ValueError, r"X\[1\] has shape \(3,\)"),
    ([[[1, 2], [3]]], {}, ValueError, r"X\[0\] must be an array of numbers"),
    ([np.zeros((3, 2)), np.array([["a", "b"]])], {}, TypeError, r"X\[1\] must be an array of numbers"),
    (np.full((2, 3, 1), "a"), {}, TypeError, "X must be an array of numbers, got dtype <U1"),
    (np.full((2, 3, 1), {}, dtype=object), {}, TypeError, "X must be an array of numbers: float"),
    (cube() + 1j, {}, ValueError, "Complex data not supported: X"),
    (np.ma.array(cube()), {}, ValueError, "X is a masked array"),
    (None, {}, TypeError, "X must be an array of numbers, got NoneType"),
    (scipy.sparse.eye_array(3).tocsr(), {"two_d": "steps"}, TypeError, r"X is sparse; .* X.toarray\(\)"),
    (cube() * 1e300, {"dtype": "float32"}, ValueError, "X contains a number too large for float32"),
    ([np.zeros((0, I)), np.ones((2, I))], {"output": "last"}, ValueError, r"X\[0\] has no steps"),
]


@pytest.mark.parametrize(("X", "options", "error", "words"), BAD_X, ids=[words for *_, words in BAD_X])
def test_a_bad_X_is_refused_with_its_place(X, options, error, words):
    with pytest.raises(error, match=words):
        regressor(**options).fit(X, np.zeros((N, T)) if "output" not in options else [1.0, 2.0])
    fitted = regressor(**{"dtype": "float64"} | options)
    fitted.fit(np.ones((2, 3, I)), np.ones((2, 3)) if "output" not in options else np.ones(2))
    with pytest.raises(error, match=words):
        fitted.predict(X)


def one_bad(y, place, value):
    y = np.array(y)
    y[place] = value
    return y


PLAIN = np.ones((N, T))
BAD_Y = [
    (cube(), None, {}, ValueError, "RNNRegressor requires y to be passed, but the target y is None"),
    (cube(), one_bad(PLAIN, (3, 5), np.nan), {}, ValueError, "y contains NaN, first at sequence 3, step 5, output 0"),
    (ragged(), [*targets(ragged())[:7], np.full((4, O), np.inf)], {}, ValueError,
     "y contains infinity, first at sequence 7, step 0, output 0"),
    (cube(), one_bad(np.ones((N, O)), (6, 1), np.nan), {"output": "last"}, ValueError,
     "y contains NaN, first at sequence 6, output 1"),
    (cube()[0], one_bad(np.ones(T), 4, np.nan), {"two_d": "steps"}, ValueError, "y contains NaN, first at row 4"),
    (cube()[0], one_bad(np.ones(T), 4, np.nan), {"two_d": "series"}, ValueError, "y contains NaN, first at step 4"),
    (cube(), one_bad(PLAIN, (0, 1), -1), {"loss": "poisson"}, ValueError,
     "y contains -1.0, first at sequence 0, step 1, output 0, which loss=\"poisson\" cannot have"),
    (cube(), PLAIN[:, 0], {}, ValueError, r"y must have an entry for each step of each sequence, .* output=\"last\""),
    (cube(), PLAIN[:3], {}, ValueError, r"y must have 8 sequences, as X has, got shape \(3, 9\)"),
    (cube(), PLAIN[:, :4], {}, ValueError, r"y\[0\] must have 9 entries, one for each step of X\[0\], got "),
    (ragged(), PLAIN, {}, ValueError, r"y\[0\] must have 5 entries, one for each step of X\[0\], got shape \(9,\)"),
    (ragged(), targets(ragged())[:5], {}, ValueError, "y must have 8 sequences, as X has, got a list of 5"),
    (ragged(), [*targets(ragged())[:7], np.ones(4)], {}, ValueError, "y must have entries of one shape"),
    (cube(), PLAIN, {"output": "last"}, None, ""),
    (cube(), PLAIN[0], {"output": "last"}, ValueError, r"y must have 8 entries, one for each sequence, got shape "),
    (cube()[0], PLAIN[:, 0], {"two_d": "series"}, ValueError, r"y must have 9 entries, one for each row of X"),
    (cube(), np.ones((N, T, 1, 1)), {}, ValueError, "y must have one number, or O numbers, for each step"),
    (cube(), np.ones((N, T, 0)), {}, ValueError, "y must have one number, or O numbers, for each step"),
    (cube(), np.full((N, T), "a"), {}, TypeError, "y must be an array of numbers"),
    (cube(), 3.0, {}, ValueError, "y must have 8 sequences"),
    (cube(), PLAIN + 1j, {}, ValueError, "Complex data not supported: y"),
    (cube(), np.ma.array(PLAIN), {}, ValueError, "y is a masked array"),
    (cube(), list(np.ma.array(PLAIN)), {}, ValueError, r"y\[0\] is a masked array"),
    (cube(), PLAIN * 1e300, {"dtype": "float32"}, ValueError, "y contains a number too large for float32"),
    (cube(), [1, [2]] * 4, {"output": "last"}, ValueError, "y must have one entry of one shape for each sequence"),
]


@pytest.mark.parametrize(("X", "y", "options", "error", "words"), BAD_Y, ids=[repr(words) for *_, words in BAD_Y])
def test_a_bad_y_is_refused_with_its_place(X, y, options, error, words):
    if error is None:
        regressor(**options).fit(X, y)
        return
    model = regressor(**options)
    with pytest.raises(error, match=words):
        model.fit(X, y)
    assert not hasattr(model, "network_")


BAD_LABELS = [
    (np.arange(N) + 0.5, {}, "Unknown label type: continuous"),
    (one_bad(np.ones(N), 3, np.nan), {}, "y contains nan, which is not a label"),
    (one_bad(np.ones(N), 3, np.inf), {}, "y contains infinity, which is not a label"),
    (np.array([None, "a"] * 4, dtype=object), {}, "y contains None, which is not a label"),
    (np.array([3, "a"] * 4, dtype=object), {}, "labels that cannot be sorted"),
    (np.ones((N, 2), int), {}, r"y must have one label for each sequence, got entries of shape \(2,\)"),
    (np.ones((N, T, 2), int), {"output": "sequence"}, r"y must have one label for each step, got entries of shape"),
]


@pytest.mark.parametrize(("y", "options", "words"), BAD_LABELS, ids=[words for *_, words in BAD_LABELS])
def test_what_are_no_labels_is_refused(y, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        classifier(**options).fit(cube(), y)


def test_labels_that_are_none_of_the_classes_are_named_with_their_place():
    X = ragged()
    model = classifier().partial_fit(X, [1] * N, classes=[1, 2])
    with pytest.raises(ValueError, match=r"y has label np.int64\(3\), first at sequence 5, which is none of .* \[1 2\]"):
        model.partial_fit(X, [1] * 5 + [3] * 3)
    with pytest.raises(ValueError, match="classes=.* must be the classes of the first call"):
        model.partial_fit(X, [1] * N, classes=[1, 2, 3])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(X, [1] * N)
    with pytest.raises(ValueError, match="validation's y has label .*'c'.*, first at sequence 0, which is none"):
        classifier().fit(X, ["a", "b"] * 4, validation=(X, ["c"] * N))


def test_a_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        model = classifier().fit(cube(), (np.arange(N) % 2)[:, None])
    assert model.predict(cube()).shape == (N,)


@pytest.mark.parametrize(("weight", "options", "words"), [
    (np.ones(N - 1), {}, "sample_weight has 7 entries, but X has 8 sequences"),
    (np.ones((N, T - 1)), {}, r"sample_weight\[0\] must have 9 entries"),
    (np.ones((N, T, 1)), {}, r"sample_weight must be one number for each step, got entries of shape \(1,\)"),
    (np.ones((N, T)), {"output": "last"}, "sample_weight must be one number for each sequence"),
    (one_bad(PLAIN, (1, 2), -1), {}, "must be finite and not negative, got -1.0, first at sequence 1, step 2"),
    (one_bad(np.ones(N), 4, np.nan), {"output": "last"}, "finite and not negative, got nan, first at sequence 4"),
    (np.zeros(N), {}, "sample_weight is zero everywhere"),
    (np.full(N, 1e-39), {"dtype": "float32"}, "at least 1.18e-38, the least normal number of float32, got at most 1e-39"),
    (["a"] * N, {}, "sample_weight must be an array of numbers"),
    (3.0, {}, "sample_weight"),
])
def test_bad_weights_are_refused_with_their_place(weight, options, words):
    model = regressor(**options)
    y = PLAIN if model.output == "sequence" else PLAIN[:, 0]
    with pytest.raises((TypeError, ValueError), match=words):
        model.fit(cube(), y, weight)


@pytest.mark.parametrize(("call", "error", "words"), [
    ({"validation": 0.2}, TypeError, r"validation must be a tuple \(X, y\) or \(X, y, sample_weight\), got float"),
    ({"validation": (cube(),)}, TypeError, "validation must be a tuple"),
    ({"validation": (cube(2), PLAIN)}, ValueError, "validation's X has 2 features, but the X to train on has 3"),
    ({"validation": (HOLE, PLAIN)}, ValueError, "validation's X contains NaN, first at sequence 2"),
    ({"validation": (cube(), cube())}, ValueError, "validation's y has 3 outputs, but this RNNRegressor has 1"),
    ({"callbacks": [3]}, TypeError, "callbacks must be functions"),
    ({"time_limit": 0}, ValueError, "time_limit"),
    ({"epochs": 3}, TypeError, "fit takes no 'epochs', only X, y, sample_weight, validation, callbacks, "),
    ({"on_nonfinite": "ignore"}, ValueError, "on_nonfinite"),
])
def test_a_bad_argument_of_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        regressor().fit(cube(), PLAIN, **call)


def test_what_is_not_fitted_says_so():
    for model in (regressor(), classifier()):
        methods = [lambda: model.predict(cube()), lambda: model.score(cube(), PLAIN), lambda: model.save("model.npz")]
        methods.append((lambda: model.predict_proba(cube())) if hasattr(model, "predict_proba")
                       else lambda: model.forecast(cube(), 1))
        for method in methods:
            with pytest.raises(ValueError, match="is not fitted yet: call fit before") as caught:
                method()
            assert isinstance(caught.value, AttributeError)
    assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)


def test_another_number_of_features_is_refused_and_early_stopping_has_no_partial_fit():
    model = regressor().fit(cube(), PLAIN)
    for call in (lambda: model.predict(cube(2)), lambda: model.partial_fit(cube(2), PLAIN)):
        with pytest.raises(ValueError, match="X has 2 features, but RNNRegressor is expecting 3 features as input"):
            call()
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        regressor(early_stopping=True).partial_fit(cube(), PLAIN)


class Frame:
    """As much of a DataFrame as is looked at."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_the_columns_of_a_frame_are_remembered_and_compared():
    model = regressor(two_d="steps").fit(Frame(cube()[0], ["a", "b", "c"]), np.arange(T))
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        model.predict(Frame(cube()[0], ["a", "c", "b"]))
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        model.partial_fit(Frame(cube()[0], ["a", "c", "b"]), np.arange(T))
    assert model.predict(cube()[0]).shape == (T,)
    assert not hasattr(model.fit(cube()[0], np.arange(T)), "feature_names_in_")


# ---- Scaling


def raw(seed=0):
    """Ragged sequences whose features have means and deviations of very different sizes, and targets of their own."""
    X = [x * (1, 30, 1e-3) + (5, -400, 7) for x in ragged(seed=seed)]
    return X, [1e4 + 50 * v for v in targets(ragged(seed=seed))]


def scaled_by_hand(X, y, m):
    """X and y (lists) scaled by the statistics of the steps with weights m (lists) above 0, and these of y."""
    w = np.concatenate(m)
    used, found = w > 0, []
    for values in (X, y):
        rows = np.concatenate(values)[used]
        mean = (w[used, None] * rows).sum(axis=0) / w.sum()
        sd = np.sqrt((w[used, None] * (rows - mean) ** 2).sum(axis=0) / w.sum())
        found.append(([(v - mean) / sd for v in values], mean, sd))
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", ("quantile", (0.2, 0.5, 0.7))])
def test_a_scaled_fit_is_the_fit_on_data_scaled_by_hand(weighted, loss):
    X, y = raw()
    m = [np.arange(len(x)) % 3 * 0.5 if weighted and len(x) > 1 else np.ones(len(x)) for x in X]
    (Z, _, _), (v, mean, sd) = scaled_by_hand(X, y, m)
    model = regressor(scale="standard", loss=loss).fit(X, y, m if weighted else None)
    alone = regressor(loss=loss).fit(Z, v, m if weighted else None)
    assert np.abs(model.network_.theta - alone.network_.theta).max() < 1e-10
    assert np.allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-9), "the losses are in scaled units"
    for made, expected in zip(model.predict(X), alone.predict(Z), strict=True):
        shape = (-1, 1) if isinstance(loss, tuple) else (-1,)
        assert np.allclose(made, expected * sd.reshape(shape) + mean.reshape(shape), rtol=1e-9)
    assert model.score(X, y, m) == pytest.approx(alone.score(Z, v, m), abs=1e-9)


def test_statistics_come_from_the_training_part_alone():
    X, y = raw()
    held = regressor(scale="standard", early_stopping=True, validation_fraction=0.25).fit(X, y)
    kept = [n for n in range(N) if any(np.allclose(held.scaling_.X_mean, np.concatenate(
        [X[k] for k in range(N) if k not in pair]).mean(axis=0)) for pair in [(n, k) for k in range(N) if k != n])]
    assert len(kept) == 2, "the mean is that of all sequences but two"
    given = regressor(scale="standard").fit(X[:5], y[:5], validation=(X[5:], y[5:]))
    assert np.allclose(given.scaling_.X_mean, np.concatenate(X[:5]).mean(axis=0))
    assert np.allclose(given.scaling_.y_scale, np.concatenate(y[:5]).std(axis=0))
    Z = [(x - given.scaling_.X_mean) / given.scaling_.X_scale for x in X]
    v = [(x - given.scaling_.y_mean) / given.scaling_.y_scale for x in y]
    alone = regressor().fit(Z[:5], v[:5], validation=(Z[5:], v[5:]))
    assert np.allclose(given.validation_loss_curve_, alone.validation_loss_curve_)


def test_steps_and_sequences_without_weight_and_padding_have_no_part_in_the_statistics(monkeypatch):
    X, y = raw()
    m = [np.ones(len(x)) for x in X]
    m[3][:] = 0
    m[1][5:] = 0
    changed = [x.copy() for x in X]
    changed[3] += 1e6
    changed[1][5:] -= 1e6  # the loss does not see these steps, nor do the steps before
    one, other = (regressor(scale="standard").fit(x, y, m) for x in (X, changed))
    assert np.array_equal(one.network_.theta, other.network_.theta)
    assert np.array_equal(one.scaling_.X_mean, other.scaling_.X_mean)


@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_scaled_fit_with_whole_weights_is_that_on_repeated_sequences(output):
    X, y = raw()
    times = np.array([2, 0, 1, 3, 1, 0, 2, 1])
    repeated = np.repeat(np.arange(N), times)
    for make, given in ((regressor, [v[-1] for v in y] if output == "last" else y),
                        (classifier, labels(X) if output == "last" else [np.where(x[:, 0] > 5, "up", "down") for x in X])):
        weighted = make(scale="standard", output=output, batch_size=99, max_iter=20).fit(X, given, times)
        other = make(scale="standard", output=output, batch_size=99, max_iter=20).fit(
            [X[n] for n in repeated], [given[n] for n in repeated])
        assert np.allclose(weighted.scaling_.X_mean, other.scaling_.X_mean, rtol=1e-13)
        assert np.allclose(weighted.scaling_.X_scale, other.scaling_.X_scale, rtol=1e-13)
        assert np.abs(weighted.network_.theta - other.network_.theta).max() < 1e-9


@pytest.mark.parametrize(("options", "scaled"), [
    ({}, True), ({"output_activation": "tanh"}, False), ({"loss": "poisson"}, False),
    ({"loss": "poisson", "output_activation": "exp"}, False), ({"output_activation": "exp"}, False),
])
def test_targets_are_scaled_if_outputs_are_not_bounded(options, scaled):
    X = cube()
    y = np.abs(X[:, :, 0])
    model = regressor(scale="standard", **options).fit(X, y)
    assert (model.scaling_.y_mean is not None) == scaled
    assert model.scaling_.X_mean.shape == (I,)
    if options.get("loss") == "poisson":
        assert (model.predict(X) > 0).all()


def test_a_classifier_scales_its_inputs_alone():
    X, _ = raw()
    model = classifier(scale="standard").fit(X, labels(X), np.arange(1.0, N + 1))
    w = np.repeat(np.arange(1.0, N + 1), LENGTHS)
    mean = np.average(np.concatenate(X), axis=0, weights=w)
    assert np.allclose(model.scaling_.X_mean, mean) and model.scaling_.y_mean is None
    Z = [(x - mean) / np.sqrt(np.average((np.concatenate(X) - mean) ** 2, axis=0, weights=w)) for x in X]
    assert np.allclose(model.predict_proba(X), classifier().fit(Z, labels(X), np.arange(1.0, N + 1)).predict_proba(Z))


def test_constant_features_and_targets_are_shifted_alone():
    X = cube()
    X[:, :, 1] = 1e8
    y = np.full((N, T), -1e7)
    model = regressor(scale="standard", max_iter=40).fit(X, y)
    assert model.scaling_.X_scale[1] == 1 and model.scaling_.y_scale[0] == 1
    assert np.abs(model.predict(X) - y).max() < 2


@pytest.mark.parametrize("weighted", [False, True])
def test_features_and_targets_that_are_constant_but_for_rounding_are_shifted_alone(weighted):
    X = cube()
    X[:, ::2, 1], X[:, 1::2, 1] = 0.3, 0.1 + 0.2
    y = np.where(np.arange(T) % 2, 0.7, 0.1 * 7) + np.zeros((N, 1))
    model = regressor(scale="standard", activation="relu").fit(X, y, np.arange(1.0, N + 1) if weighted else None)
    assert model.scaling_.X_scale[1] == 1 and model.scaling_.y_scale[0] == 1
    X[:, :, 1] = 0.4
    assert np.abs(model.predict(X)).max() < 100


def test_float32_inputs_with_a_large_mean_keep_their_digits():
    x = np.random.default_rng(0).standard_normal((N, T, 1))
    X = (x + 1e4).astype("f4")
    model = regressor(scale="standard").fit(X, x)
    assert model.network_.dtype == "float32" and model.predict(X).dtype == np.float64
    assert np.abs(model._scaled_inputs("X", X.swapaxes(0, 1), np.full(N, T)).std() - 1) < 1e-3


@pytest.mark.parametrize("loss", ["squared_error", ("quantile", (0.2, 0.5))])
def test_float32_networks_predict_targets_with_a_large_offset_in_float64(loss):
    X = cube().astype("f4")
    y = X[:, :, 0].astype(float)
    options = {"scale": "standard", "loss": loss, "max_iter": 30, "learning_rate_init": 0.01}
    alone, model = regressor(**options).fit(X, y), regressor(**options).fit(X, y + 2.0**27)
    made = model.predict(X)
    assert model.network_.dtype == "float32" and made.dtype == np.float64
    assert np.abs(made - 2.0**27 - alone.predict(X)).max() < 1e-3
    assert model.score(X, y + 2.0**27) == pytest.approx(alone.score(X, y), abs=1e-3)
    last = regressor(**options, output="last").fit(X, y[:, -1] + 2.0**27)
    assert last.predict(X).dtype == np.float64 and len(np.unique(last.predict(X))) > N // 2
    assert regressor(loss=loss).fit(X, y).predict(X).dtype == np.float32, "without scaling the dtype is the network's"


def test_forecasts_of_float32_networks_are_fed_back_in_float64():
    series = cube(1)
    options = {"scale": "standard", "dtype": "float32", "max_iter": 30, "learning_rate_init": 0.01}
    alone, model = (regressor(**options).fit(*forecast_pairs(x, 1)) for x in (series, series + 2.0**27))
    made = model.forecast(series + 2.0**27, 6)
    assert made.dtype == np.float64
    assert np.abs(made - 2.0**27 - alone.forecast(series, 6)).max() < 1e-3


def test_partial_fit_and_warm_start_keep_the_first_statistics():
    X, y = raw()
    model = regressor(scale="standard").partial_fit(X[:4], y[:4])
    first = model.scaling_
    assert np.allclose(first.X_mean, np.concatenate(X[:4]).mean(axis=0))
    assert model.partial_fit(X[4:], y[4:]).scaling_ is first
    model.set_params(warm_start=True).fit(X, y)
    assert model.scaling_ is first
    assert model.set_params(warm_start=False).fit(X, y).scaling_ is not first


def test_a_forecast_of_raw_series_is_that_of_scaled_ones():
    series = [200 + 30 * x for x in ragged(O, (20, 14))]
    z = [(x - 200) / 30 for x in series]
    for loss in ("squared_error", ("quantile", (0.2, 0.5))):
        model = regressor(scale="standard", loss=loss, horizon=2).fit(*forecast_pairs(series, 2))
        alone = regressor(scale="standard", loss=loss, horizon=2).fit(*forecast_pairs(z, 2))
        for made, expected in zip(model.forecast(series, 7), alone.forecast(z, 7), strict=True):
            assert np.allclose(made, 200 + 30 * expected)
    wide = forecast_pairs(series, 1, [x[:, :1] for x in series])
    model = regressor(scale="standard").fit(*wide)
    assert model.forecast(series, 1, exogenous=[x[:, :1] for x in series])[0].shape == (1, O)


def test_statistics_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="X is too large for its standard deviation"):
        regressor(scale="standard").fit(1e300 * cube(), cube())
    with pytest.raises(ValueError, match="y is too large for its standard deviation"):
        regressor(scale="standard").fit(cube(), 1e300 * cube())
    model = regressor(scale="standard", dtype="float32").fit(cube(), cube())
    with pytest.raises(ValueError, match="X contains a number that is too large for float32 after scaling"):
        model.predict(1e60 * cube())


def test_a_file_keeps_the_scaling_and_one_from_before_has_none(tmp_path):
    X, y = raw()
    model = regressor(scale="standard").fit(X, y)
    model.save(tmp_path / "model.npz")
    loaded = fastbptt.load(tmp_path / "model.npz")
    assert loaded.scale == "standard"
    assert all(np.array_equal(a, b) for a, b in zip(model.predict(X), loaded.predict(X)))
    assert loaded.partial_fit(X, y).loss_curve_[-1] == model.partial_fit(X, y).loss_curve_[-1]
    header, arrays = _files.read(tmp_path / "model.npz")
    for name, value in (("scaling.X_mean", arrays["scaling.X_mean"][:2]), ("scaling.y_scale", 0 * arrays["scaling.y_scale"]),
                        ("scaling.X_scale", np.full(I, np.nan))):
        _files.write(tmp_path / "bad.npz", header, arrays | {name: value})
        with pytest.raises(ValueError, match="its scaling does not belong"):
            fastbptt.load(tmp_path / "bad.npz")

    old = regressor().fit(X, y)
    old.save(tmp_path / "old.npz")
    header, arrays = _files.read(tmp_path / "old.npz")
    for name in ("scale", "washout", "min_updates"):
        del header["params"][name]
    _files.write(tmp_path / "old.npz", header, arrays)
    loaded = fastbptt.load(tmp_path / "old.npz")
    assert loaded.scale is None and loaded.scaling_ is None
    assert all(np.array_equal(a, b) for a, b in zip(old.predict(X), loaded.predict(X)))


# ---- Defaults


def test_defaults_that_are_none_are_chosen_for_the_data():
    for make, y in ((RNNRegressor, cube()), (RNNClassifier, np.arange(N) % 2)):
        model = make(H, max_iter=1).fit(cube(), y)
        assert model.network_.activation == make._ACTIVATION and model.activation is None
    relu = RNNRegressor(H, activation="relu", bias=False, max_iter=1, max_grad_norm=1e-12).fit(cube(), cube())
    assert np.abs(relu.network_.parameters["W_s"] - 0.5 * np.eye(H)).max() < 0.01
    tanh = RNNRegressor(H, activation="tanh", max_iter=1, random_state=0, max_grad_norm=1e-12).fit(cube(), cube())
    W = tanh.network_.parameters["W_s"]
    assert np.abs(W @ W.T - np.eye(H)).max() < 0.05, "orthogonal"
    dale = RNNClassifier(8, dale_ratio=0.75, max_iter=1, random_state=0).fit(cube(), np.arange(N) % 2)
    W = dale.network_.parameters["W_s"]
    assert np.count_nonzero(W[~np.eye(8, dtype=bool)]) == 56, "a multiple of the identity would have no other entries"
    assert RNN(1, 2, 1).activation == "tanh"


@pytest.mark.parametrize(("options", "shape", "epochs", "batch"), [
    ({}, (8, 9), 100, 8), ({}, (1, 300), 300, 8), ({}, (1, 2000), 1000, 8), ({}, (33, 50), 200, 8), ({}, (200, 50), 100, 8),
    ({"min_updates": 1500}, (8, 9), 1500, 8), ({"max_iter": 3}, (8, 9), 3, 8),
    ({"max_iter": 3, "min_updates": 10}, (16, 9), 5, 8), ({"max_iter": 30, "min_updates": 10}, (16, 9), 30, 8),
    ({"max_iter": 2}, (40, 1), 2, 32), ({"max_iter": 2, "batch_size": 3}, (8, 9), 2, 3),
])
def test_updates_and_batches_by_default(options, shape, epochs, batch):
    X = np.random.default_rng(0).standard_normal((*shape, 1))
    fitting = RNNRegressor(2, random_state=0, **options)._prepare_fit(X, X, None, None, (), {})
    assert (fitting.settings["epochs"], fitting.settings["batch_size"]) == (epochs, batch)


def test_a_raw_series_is_learnt_with_the_defaults():
    t = np.arange(400)
    x = (300 + 40 * np.sin(t / 4) + 15 * np.sin(t / 11))[:, None]
    X, y = forecast_pairs(x, 1)
    model = RNNRegressor(two_d="series", random_state=0).fit(X[:300], y[:300])
    late = (np.arange(len(X)) >= 300) * 1.0
    assert model.score(X, y, late) > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = RNNRegressor(two_d="series", random_state=0, scale=None, activation="tanh", max_iter=200).fit(X[:300], y[:300])
    assert before.score(X, y, late) < 0, "as it was without scaling"


# ---- Fits that learned nothing


def noise_to_learn(loss):
    rng = np.random.default_rng(1)
    y = rng.standard_normal((N, T, 1))
    return rng.standard_normal((N, T, I)), np.abs(y) if loss == "poisson" else y


@pytest.mark.parametrize("options", [
    {}, {"scale": "standard"}, {"loss": "absolute_error"}, {"loss": "huber"}, {"loss": ("quantile", (0.1, 0.9))},
    {"loss": "poisson"}, {"reduction": "sum"}, {"output": "last"},
])
@pytest.mark.filterwarnings("default:fit ended no better than a constant")
def test_a_fit_that_is_no_better_than_a_constant_warns(options):
    X, y = noise_to_learn(options.get("loss"))
    y = y[:, 0] if options.get("output") == "last" else y
    words = "no better than a constant: its loss on the training data is .*targets' (mean|median|quantiles) is"
    with pytest.warns(UserWarning, match=words) as found:
        regressor(max_iter=1, learning_rate_init=1e-9, **options).fit(X, y)
    assert [each.filename for each in found] == [__file__], "the place of the call"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor(hidden_size=20, max_iter=400, learning_rate_init=1e-2, activation="tanh", **options).fit(X, y)
        regressor(max_iter=1, learning_rate_init=1e-9, **options).fit(X, 0 * y + 1)  # a constant cannot be beaten


@pytest.mark.filterwarnings("default:fit ended no better than a constant")
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_classifier_that_is_no_better_than_the_largest_class_warns(output):
    X = cube()
    y = np.arange(N) % 4 == 0 if output == "last" else X[:, :, 0] > 1
    with pytest.warns(UserWarning, match=r"largest class \(False\) has a share of 0\.\d+\. Try scale=\"standard\", more epochs"):
        classifier(output=output, max_iter=1, learning_rate_init=1e-9, initializer=lambda shape, rng: np.zeros(shape)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(output=output, hidden_size=20, max_iter=300, learning_rate_init=1e-2).fit(X, y)


def test_an_interrupted_fit_is_not_judged():
    def stop(record):
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            regressor(learning_rate_init=1e-9).fit(cube(), cube(), callbacks=stop)


# ---- Stopping without a validation set


@pytest.mark.quick
def test_a_tol_stops_by_the_training_loss_as_in_scikit_learn(tmp_path):
    X, y = cube(), cube()[:, :, 0]
    whole = regressor(max_iter=60, learning_rate_init=1e-2).fit(X, y).loss_curve_
    tol, n = 5e-3, 3
    best, bad, end = np.inf, 0, None
    for k, loss in enumerate(whole):  # the rule of MLPRegressor
        bad = bad + 1 if loss > best - tol else 0
        best = min(best, loss)
        if bad > n:
            end = k + 1
            break
    assert end is not None and 5 < end < 60
    model = regressor(max_iter=60, learning_rate_init=1e-2, tol=tol, n_iter_no_change=n).fit(X, y)
    assert model.loss_curve_ == whole[:end] and model.history_.stopped == "patience"
    part = regressor(max_iter=end - 2, learning_rate_init=1e-2, tol=tol, n_iter_no_change=n)
    part.fit(X, y, checkpoint=tmp_path / "run.npz")
    bare = fastbptt.load(tmp_path / "run.npz")  # as the docstrings of `load` and `fit` say
    assert type(bare) is RNN and np.array_equal(bare.theta, part.network_.theta)
    part.set_params(max_iter=60).fit(X, y, checkpoint=tmp_path / "run.npz", resume=True)
    assert part.loss_curve_ == whole[:end], "a resumed run stops where the whole one does"
    many = fastbptt.fit_many([regressor(max_iter=60, learning_rate_init=1e-2, tol=tol, n_iter_no_change=n),
                              regressor(max_iter=60, learning_rate_init=1e-2)], X, y)
    assert [len(each.loss_curve_) for each in many.networks] == [end, 60]
    assert many.networks[0].history_.stopped == many.stopped[0] == "patience"


def test_n_iter_no_change_that_has_no_effect_warns():
    with pytest.warns(UserWarning, match="n_iter_no_change=3 has no effect: it needs early_stopping=True, or a tol"):
        regressor(n_iter_no_change=3).fit(cube(), cube())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "n_iter_no_change")
        regressor(n_iter_no_change=3, early_stopping=True).fit(cube(), cube())
        regressor(n_iter_no_change=3, tol=0.0).fit(cube(), cube())
        regressor().fit(cube(), cube())


# ---- Weights of classes, washout, initial states


@pytest.mark.parametrize("output", ["last", "sequence"])
def test_class_weights_are_sample_weights(output):
    X = ragged()
    y = labels(X) if output == "last" else [np.where(x[:, 0] > 1, "up", "down") for x in X]
    m = np.arange(1.0, N + 1)
    rows, w = (y, m) if output == "last" else (np.concatenate(y), np.repeat(m, LENGTHS))
    up = rows == "up"
    sums = {"up": w[up].sum(), "down": w[~up].sum()}
    balanced = {label: w.sum() / (2 * each) for label, each in sums.items()}
    for given, factors in (("balanced", balanced), ({"up": 3.0}, {"up": 3.0, "down": 1.0})):
        model = classifier(output=output, class_weight=given).fit(X, y, m)
        own = np.array([factors[label] for label in rows]) * w
        own = own if output == "last" else np.split(own, np.cumsum(LENGTHS)[:-1])
        assert np.allclose(model.network_.theta, classifier(output=output).fit(X, y, own).network_.theta, rtol=1e-12, atol=1e-12)


def test_class_weights_leave_statistics_alone_and_reach_the_validation_loss():
    X = ragged()
    plain, weighted = (classifier(scale="standard", class_weight=given).fit(X, labels(X), validation=(X, labels(X)))
                       for given in (None, {"up": 9.0}))
    assert np.array_equal(plain.scaling_.X_mean, weighted.scaling_.X_mean)
    own = np.where(labels(X) == "up", 9.0, 1.0)
    m = classifier(scale="standard", class_weight={"up": 9.0}).fit(X, labels(X), validation=(X, labels(X)))
    net = m.network_
    Z = [(x - m.scaling_.X_mean) / m.scaling_.X_scale for x in X]
    loss = net.evaluate(padded(Z), (labels(X) == "up").astype(int), weights=own, lengths=LENGTHS)
    assert m.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize(("given", "error", "words"), [
    ("even", ValueError, 'class_weight must be None, "balanced" or a dict of labels and weights, got'),
    ([1, 2], TypeError, "class_weight must be None, \"balanced\" or a dict"),
    ({"left": 1.0}, ValueError, "class_weight has label 'left', which is none of the classes"),
    ({"up": -1.0}, ValueError, r"class_weight\['up'\] must be finite and >= 0"),
    ({"up": 0.0, "down": 0}, ValueError, "class_weight is zero for every class"),
])
def test_bad_class_weights_are_refused(given, error, words):
    with pytest.raises(error, match=words):
        classifier(class_weight=given).fit(ragged(), labels(ragged()))


def test_balanced_class_weights_have_no_partial_fit():
    with pytest.raises(ValueError, match='partial_fit does not support class_weight="balanced"'):
        classifier(class_weight="balanced").partial_fit(cube(), np.arange(N) % 2, classes=[0, 1])
    model = classifier(class_weight={1: 4.0}).partial_fit(cube(), np.arange(N) % 2, classes=[0, 1])
    other = classifier().partial_fit(cube(), np.arange(N) % 2, classes=[0, 1], sample_weight=1.0 + 3 * (np.arange(N) % 2))
    assert np.allclose(model.network_.theta, other.network_.theta, rtol=1e-12)


def test_a_washout_gives_the_first_steps_no_weight():
    X = ragged()
    y, m = targets(X), [np.linspace(0.5, 2, len(x)) for x in X]
    late = [np.where(np.arange(len(x)) < 2, 0, w) for x, w in zip(X, m)]
    for weights, own in ((m, late), (None, [(np.arange(len(x)) >= 2) * 1.0 for x in X])):
        for scale in (None, "standard"):
            model = regressor(washout=2, scale=scale).fit(X, y, weights, validation=(X, y))
            other = regressor(scale=scale).fit(X, y, own, validation=(X, y, [(np.arange(len(x)) >= 2) * 1.0 for x in X]))
            assert np.array_equal(model.network_.theta, other.network_.theta)
            assert model.validation_loss_curve_ == other.validation_loss_curve_
            assert model.score(X, y, weights) == other.score(X, y, own)
    hidden = [np.where(np.arange(len(v))[:, None] < 2, np.nan, v) for v in y]
    assert np.array_equal(regressor(washout=2).fit(X, hidden).network_.theta, regressor(washout=2).fit(X, y).network_.theta)
    steps = [(x[:, 0] > 0).astype(int) for x in X]
    other = classifier(output="sequence").fit(X, steps, [(np.arange(len(x)) >= 2) * 1.0 for x in X])
    assert np.array_equal(classifier(output="sequence", washout=2).fit(X, steps).network_.theta, other.network_.theta)


def test_initial_states_reach_predictions_and_scores():
    X, S = ragged(), np.random.default_rng(3).standard_normal((N, H))
    model = regressor(scale="standard").fit(X, targets(X))
    Z = padded([(x - model.scaling_.X_mean) / model.scaling_.X_scale for x in X])
    Y, _ = model.network_.forward(Z, S, lengths=LENGTHS)
    for n, made in enumerate(model.predict(X, initial_state=S)):
        assert np.allclose(made, Y[:LENGTHS[n], n] * model.scaling_.y_scale + model.scaling_.y_mean)
    assert model.score(X, model.predict(X, initial_state=S), initial_state=S) == 1
    assert model.score(X, model.predict(X, initial_state=S)) < 1
    last = classifier().fit(X, labels(X))
    P = last.network_.forward(padded(X), S, lengths=LENGTHS)[0]
    assert np.allclose(last.predict_proba(X, initial_state=S), P)
    assert (last.predict(X, initial_state=S) == last.classes_[P.argmax(axis=1)]).all()
    assert last.score(X, last.predict(X, initial_state=S), initial_state=S) == 1
    with pytest.raises(ValueError, match="initial_state"):
        model.predict(X, initial_state=S[:2])


@pytest.mark.parametrize(("options", "X", "state", "error", "words"), [
    ({}, cube(), np.ones(H), ValueError,
     r"initial_state must have shape \(N, H\) = \(8, 5\), one state for each of the 8 sequence\(s\) of X, got \(5,\)$"),
    ({}, cube(), np.ones((T, H)), ValueError, r"= \(8, 5\), .*, got \(9, 5\)$"),
    ({}, cube()[:1], np.ones((N, H)), ValueError, r"= \(1, 5\), .*, got \(8, 5\)$"),
    ({}, ragged(), "abc", TypeError, "initial_state must be an array of numbers, got str"),
    ({"hidden_size": (H, 4)}, ragged(), (np.ones((N, H)), np.ones((N, H))), ValueError,
     r"initial_state\[1\] must have shape \(N, H\) = \(8, 4\), .*, got \(8, 5\)$"),
    ({"hidden_size": (H, 4)}, ragged(), np.ones((N, H)), TypeError, r"a tuple of 2 arrays \(N, H\), .*; got ndarray$"),
    ({"bidirectional": True}, ragged(), [np.ones((N, H))], TypeError, "forward before reverse; got 1 of them$"),
])
def test_a_bad_initial_state_is_refused_in_the_users_layout(options, X, state, error, words):
    model, classes = regressor(**options).fit(cube(), cube()), classifier(**options).fit(cube(), labels(cube()))
    for call in (lambda: model.predict(X, initial_state=state), lambda: model.score(X, X, initial_state=state),
                 lambda: classes.predict(X, initial_state=state), lambda: classes.predict_proba(X, initial_state=state)):
        with pytest.raises(error, match=words) as caught:
            call()
        assert "time-major" not in str(caught.value) and "B, H" not in str(caught.value)


# ---- Frames


def frames(columns=("price", "volume"), lengths=(9, 6, 7), seed=0):
    pandas = pytest.importorskip("pandas")
    return [pandas.DataFrame(x, columns=list(columns)) for x in ragged(2, lengths, seed)]


def test_frames_of_a_list_have_the_columns_of_fit_in_their_order():
    X = frames()
    y = [x["price"].to_numpy() for x in X]
    model = regressor().fit(X, y)
    assert model.feature_names_in_.tolist() == ["price", "volume"]
    other = [x[["volume", "price"]] for x in X]
    for call in (lambda: model.predict(other), lambda: model.score(other, y), lambda: model.partial_fit(other, y),
                 lambda: model.predict(tuple(other)), lambda: model.predict([other[0]]),
                 lambda: model.predict(frames(("price", "size")))):
        with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
            call()
    with pytest.raises(ValueError, match="validation's The feature names should match"):
        regressor().fit(X, y, validation=(other, y))
    assert len(model.predict([x.to_numpy() for x in X])) == 3, "what has no names is not checked"
    assert not hasattr(model.fit([x.to_numpy() for x in X], y), "feature_names_in_")
    classes = classifier().fit(X, ["a", "b", "a"])
    with pytest.raises(ValueError, match="The feature names should match"):
        classes.predict_proba(other)


@pytest.mark.parametrize("mix", [
    lambda X: [X[0], X[1][["volume", "price"]], X[2]], lambda X: (X[0], X[1].rename(columns={"volume": "size"}), X[2]),
    lambda X: [X[0].to_numpy(), X[1], X[2][["volume", "price"]]],
])
def test_frames_with_different_columns_are_refused_in_one_list(mix):
    X = frames()
    y = [x.to_numpy() for x in X]
    for call in (lambda bad: regressor().fit(bad, y), lambda bad: regressor().fit(X, y).predict(bad),
                 lambda bad: regressor().partial_fit(bad, y), lambda bad: SequenceScaler().fit(bad),
                 lambda bad: SequenceScaler().fit(X).transform(bad), lambda bad: forecast_pairs(bad, 1),
                 lambda bad: forecast_pairs(y, 1, bad), lambda bad: regressor().fit(y, X).forecast(bad, 1),
                 lambda bad: to_time_major(bad)):
        with pytest.raises(ValueError, match=r"\[\d\] must have the columns of \w+\[\d\], in their order"):
            call(mix(X))
    with pytest.raises(ValueError, match=r"y\[\d\] must have the columns of y\[\d\]"):
        regressor().fit(X, mix(X))


def test_a_forecast_compares_the_columns_of_series_and_exogenous_inputs():
    X = frames()
    wide = [x.assign(rain=x["price"] ** 2) for x in X]
    model = regressor(horizon=1).fit([x[:-1] for x in wide], [x[["price", "volume"]][1:].to_numpy() for x in wide])
    rain = [x[["rain"]] for x in wide]
    assert len(model.forecast(X, 1, exogenous=rain)) == 3
    with pytest.raises(ValueError, match="The feature names should match.*\n.*series has volume, price; fit had price, volume"):
        model.forecast([x[["volume", "price"]] for x in X], 1, exogenous=rain)
    with pytest.raises(ValueError, match="exogenous has wind; fit had rain"):
        model.forecast(X, 1, exogenous=[x.rename(columns={"rain": "wind"}) for x in rain])


def swapped(X):
    return [x[x.columns[::-1]] for x in X]


def test_a_forecast_compares_the_columns_that_forecast_pairs_was_given():
    X = frames()
    rain = [x[["price"]].rename(columns={"price": "rain"}) ** 2 for x in X]
    model = regressor().fit(*forecast_pairs(X, 1))
    assert model.feature_names_in_.tolist() == ["price", "volume"]
    plain = regressor().fit(*forecast_pairs([x.to_numpy() for x in X], 1))
    assert np.array_equal(model.network_.theta, plain.network_.theta)
    assert all(np.array_equal(a, b) for a, b in zip(model.forecast(X, 3), plain.forecast(X, 3), strict=True))
    wide = regressor().fit(*forecast_pairs(X, 1, rain))
    assert wide.feature_names_in_.tolist() == ["price", "volume", "rain"]
    arrays = regressor().fit(*forecast_pairs(X, 1, [x.to_numpy() for x in rain]))
    assert not hasattr(arrays, "feature_names_in_")
    single = regressor(two_d="series").fit(*forecast_pairs(X[0], 1))
    for call in (lambda: model.forecast(swapped(X), 1), lambda: wide.forecast(swapped(X), 1, exogenous=rain),
                 lambda: arrays.forecast(swapped(X), 1, exogenous=rain), lambda: single.forecast(X[0][["volume", "price"]], 1)):
        with pytest.raises(ValueError, match="The feature names should match.*\n.*series has volume, price; fit had price, volume"):
            call()


@pytest.mark.parametrize("known", [True, False])
def test_a_warm_start_compares_columns_and_features(known):
    X = frames()
    y = [x.to_numpy() for x in X]
    model = regressor(warm_start=True).fit(X, y)
    before = model.network_
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        model.fit(swapped(X), y)
    with pytest.raises(ValueError, match="validation's The feature names should match"):
        model.fit(X if known else y, y, validation=(swapped(X), y))
    with pytest.raises(ValueError, match="X has 1 features, but RNNRegressor is expecting 2"):
        model.fit([x[:, :1] for x in y], y)
    assert model.network_ is before
    assert model.fit(X if known else y, y).feature_names_in_.tolist() == ["price", "volume"]


def test_the_columns_of_targets_are_those_of_fit_in_their_order(tmp_path):
    X = [x.to_numpy() for x in frames()]
    y = frames(("v1", "p1"))
    model = regressor(warm_start=True).fit(X, y)
    model.save(tmp_path / "model.npz")
    for each in (model, fastbptt.load(tmp_path / "model.npz"), copy.deepcopy(model)):
        for call in (lambda: each.score(X, swapped(y)), lambda: each.partial_fit(X, swapped(y)), lambda: each.fit(X, swapped(y))):
            with pytest.raises(ValueError, match="The target names should match.*\n.*y has p1, v1; fit had v1, p1"):
                call()
        assert each.score(X, y) == each.score(X, [v.to_numpy() for v in y])
    with pytest.raises(ValueError, match="validation's The target names should match"):
        regressor().fit(X, y, validation=(X, swapped(y)))
    with pytest.raises(ValueError, match="The target names should match"):
        regressor().partial_fit(X, y).partial_fit(X, swapped(y))
    assert regressor(horizon=1).fit(X, y).forecast(X, 1)[0].shape == (1, 2)
    header, arrays = _files.read(tmp_path / "model.npz")
    del header["fitted"]["target_names"]  # as in files of earlier versions
    _files.write(tmp_path / "old.npz", header, arrays)
    assert fastbptt.load(tmp_path / "old.npz").score(X, y) == model.score(X, y)
    for bad in (["v1"], [1, 2], "v1"):
        header["fitted"]["target_names"] = bad
        _files.write(tmp_path / "bad.npz", header, arrays)
        with pytest.raises(ValueError, match="does not name the 2 target"):
            fastbptt.load(tmp_path / "bad.npz")


def test_the_column_of_labels_is_compared(tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y = cube(), pandas.DataFrame({"state": np.arange(N) % 2})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = classifier().fit(X, y)
        model.save(tmp_path / "model.npz")
        loaded = fastbptt.load(tmp_path / "model.npz")
        assert loaded.score(X, y) == model.score(X, y["state"])
        with pytest.raises(ValueError, match="The target names should match.*\n.*y has kind; fit had state"):
            loaded.score(X, y.rename(columns={"state": "kind"}))


def test_the_names_of_a_list_of_frames_are_kept_in_a_file(tmp_path):
    X = frames()
    model = regressor().fit(X, [x.to_numpy() for x in X])
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="The feature names should match"):
        fastbptt.load(tmp_path / "model.npz").predict(frames(("volume", "price")))


def test_column_names_of_several_types_are_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="X has column names of several types, and all or none must be strings; got "):
        regressor(two_d="series").fit(pandas.DataFrame({"a": [1.0, 2.0], 3: [1.0, 2.0]}), [1.0, 2.0])


def test_frames_of_one_column_are_taken_wherever_frames_are():
    pandas = pytest.importorskip("pandas")
    X = frames()
    for each in (lambda x: x, lambda x: x.astype(object), lambda x: x.astype("Float64")):
        one = [each(x[["price"]]) for x in X]
        y = [x[["price"]].to_numpy() for x in X]
        weights = [each(x[["price"]].abs()) for x in X]
        model = regressor().fit(one, one, weights)
        alone = regressor().fit(y, y, [np.abs(x[:, 0]) for x in y])
        assert np.array_equal(model.network_.theta, alone.network_.theta)
        assert model.score(one, one, weights) == alone.score(y, y, [np.abs(x[:, 0]) for x in y])
        single = regressor(two_d="series").fit(each(X[0]), each(X[0][["price"]]), each(X[0][["price"]].abs()))
        assert single.predict(each(X[0])).shape == (9, 1)
    weights = pandas.DataFrame({"w": [1.0, 2.0, 3.0]})
    model, alone = classifier().fit(X, list("aba"), weights), classifier().fit(X, list("aba"), [1.0, 2.0, 3.0])
    assert np.array_equal(model.network_.theta, alone.network_.theta)


def test_one_dimensional_sequences_of_unequal_lengths_have_one_feature():
    pandas = pytest.importorskip("pandas")
    x = [np.arange(5.0), np.arange(3.0) ** 2]
    model = regressor().fit([v[:, None] for v in x], x)
    for given in ([v.tolist() for v in x], x, tuple(x), [pandas.Series(v) for v in x], np.array(x, dtype=object)):
        assert np.array_equal(regressor().fit(given, x).network_.theta, model.network_.theta)
        assert all(np.array_equal(a, b) for a, b in zip(model.predict(given), model.predict([v[:, None] for v in x])))
    with pytest.raises(ValueError, match=r"numpy.asarray\(X\)\[:, :, None\] if it is a list"):
        regressor().fit([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(TypeError, match=r"got a dict: give list\(X.values\(\)\)"):
        regressor().fit({"a": x[0], "b": x[1]}, x)


def test_a_model_of_one_feature_takes_one_dimensional_sequences_of_any_lengths():
    pandas = pytest.importorskip("pandas")
    x = [np.arange(5.0), np.arange(3.0) ** 2]
    model = regressor(warm_start=True).fit(x, x)
    for given in (x[:1], [x[0], x[0]], (x[1], x[1]), [x[0].tolist()] * 2, [pandas.Series(x[0])], [x[0][:1], x[1][:1]]):
        columns = [np.asarray(v)[:, None] for v in given]
        targets_of_them = [np.asarray(v) for v in given]
        made, expected = model.predict(given), model.predict(columns)
        assert isinstance(made, list) and all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))
        assert [v.shape for v in made] == [v.shape for v in targets_of_them]
        if len(np.concatenate(given)) > 2:
            assert model.score(given, targets_of_them) == model.score(columns, targets_of_them)
        for call in ("fit", "partial_fit"):
            one, other = copy.deepcopy(model), copy.deepcopy(model)
            getattr(one, call)(given, targets_of_them)
            getattr(other, call)(columns, targets_of_them)
            assert np.array_equal(one.network_.theta, other.network_.theta)
        held = regressor().fit(x, x, validation=(given, targets_of_them))
        assert held.validation_loss_curve_ == regressor().fit(x, x, validation=(columns, targets_of_them)).validation_loss_curve_
        scaler = SequenceScaler().fit(x)
        for a, b in zip(scaler.inverse_transform(scaler.transform(given)), columns, strict=True):
            assert a.shape == b.shape and np.allclose(a, b)
    labelled = classifier().fit(x, ["a", "b"])
    assert np.array_equal(labelled.predict_proba([x[0], x[0]]), labelled.predict_proba([x[0][:, None]] * 2))
    for call in (lambda: model.predict(np.array([x[0], x[0]])), lambda: regressor().fit(cube(), cube()).predict([x[0], x[0]])):
        with pytest.raises(ValueError, match="X has two dimensions"):
            call()
    assert regressor(two_d="steps").fit([[1.0], [2.0]], [1.0, 2.0]).predict([[1.0], [2.0]]).shape == (2,)
    with pytest.raises(ValueError, match="X has 5 features, but RNNRegressor is expecting 1"):
        regressor(two_d="steps").fit([[1.0], [2.0]], [1.0, 2.0]).predict([x[0], x[0]])


def test_a_forecast_takes_one_dimensional_series_of_any_lengths():
    x, e = [np.arange(5.0), np.arange(7.0) ** 2], [np.ones(9), np.arange(9.0)]
    model = regressor().fit(*forecast_pairs(x, 1))
    wide = regressor().fit(*forecast_pairs(x, 1, [v[:len(u)] for u, v in zip(x, e)]))
    for given in (x[:1], [x[0], x[0]], x):
        columns, known = [v[:, None] for v in given], e[:len(given)]
        for made, expected in ((model.forecast(given, 3), model.forecast(columns, 3)),
                               (wide.forecast(given, 3, exogenous=known),
                                wide.forecast(columns, 3, exogenous=[v[:, None] for v in known]))):
            assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True)) and made[0].shape == (3, 1)
    assert model.forecast([[1.0], [2.0], [4.0]], 2).shape == (2, 1), "one series of one feature, as a list of rows"


# ---- Parameters


def test_parameters_are_kept_as_they_came_and_are_not_changed_by_fit():
    given = {"hidden_size": np.int64(4), "loss": ("huber", 2), "dtype": np.float32, "l2": {"W_s": 0.1}, "max_iter": 2,
             "solver": optimizers.Adam(0.01), "random_state": np.random.default_rng(0)}
    model = RNNRegressor(**given)
    model.fit(cube(), PLAIN)
    for name, value in given.items():
        assert getattr(model, name) is value
    assert set(model.get_params()) == set(vars(RNNRegressor())) and given["l2"] == {"W_s": 0.1}


def test_a_repr_names_what_differs_from_the_defaults():
    assert repr(RNNRegressor()) == "RNNRegressor()"
    assert repr(RNNClassifier(16, l2=0.5, solver=optimizers.SGD(0.1))) == (
        "RNNClassifier(hidden_size=16, l2=0.5, solver=SGD(learning_rate=0.1, momentum=0.0, nesterov=False))")


def test_the_two_estimators_have_the_same_defaults_but_for_output():
    regression, classification = RNNRegressor().get_params(), RNNClassifier().get_params()
    assert set(regression) - set(classification) == {"loss", "output_activation", "horizon"}
    assert set(classification) - set(regression) == {"class_weight"}
    assert {name for name in regression if name in classification and regression[name] != classification[name]} == {"output"}


# ---- scikit-learn


@pytest.mark.thorough
def test_neither_the_package_nor_a_fit_imports_scikit_learn():
    program = """if True:
        import sys, numpy as np, fastbptt
        from fastbptt.estimators import RNNRegressor, RNNClassifier, NotFittedError
        from fastbptt.sequences import SequenceScaler
        X = np.ones((4, 3, 2))
        RNNRegressor(2, max_iter=1).fit(SequenceScaler().fit_transform(X), X).score(X, X)
        try:
            repr(RNNClassifier(2, max_iter=1).fit(X, [0, 1, 1, 0])), RNNClassifier().predict(X)
        except NotFittedError as error:
            assert type(error) is NotFittedError
        assert not [name for name in sys.modules if name.startswith(("sklearn", "joblib", "pandas"))]
    """
    run = run_python(program)
    assert run.returncode == 0, run.stderr


FAST = {"max_iter": 60, "learning_rate_init": 0.01}


@pytest.mark.thorough
@pytest.mark.parametrize("estimator", [
    RNNRegressor(two_d="steps"), RNNClassifier(two_d="steps"), RNNRegressor(two_d="steps", output="last", **FAST),
    RNNClassifier(two_d="steps", output="sequence", **FAST), SequenceScaler(two_d="steps")], ids=repr)
def test_scikit_learns_own_checks_pass(estimator):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimator .* does not inherit", UserWarning)
        results = checks.check_estimator(estimator, on_skip=None, on_fail=None)
    assert [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"] == []
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert len(passed) > 35 and "check_fit_idempotent" in passed
    assert {result["status"] for result in results} <= {"passed", "skipped"}  # skipped: where pandas is not installed


@pytest.mark.quick
def test_not_fitted_is_scikit_learns_exception_where_it_is_imported():
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.raises(exceptions.NotFittedError):
        regressor().predict(cube())
    with pytest.warns(exceptions.DataConversionWarning):
        classifier().fit(cube(), (np.arange(N) % 2)[:, None])


@pytest.mark.quick
def test_tags_say_what_is_taken():
    utils, base = pytest.importorskip("sklearn.utils"), pytest.importorskip("sklearn.base")
    assert base.is_regressor(regressor()) and base.is_classifier(classifier())
    for model in (regressor(), classifier(), SequenceScaler()):
        tags = utils.get_tags(model)
        assert tags.input_tags.three_d_array and not tags.input_tags.two_d_array and not tags.input_tags.allow_nan
    assert utils.get_tags(regressor(two_d="series")).input_tags.two_d_array
    assert utils.get_tags(regressor()).target_tags.multi_output
    assert not utils.get_tags(classifier()).target_tags.multi_output


def test_a_clone_has_the_parameters_and_is_not_fitted():
    base = pytest.importorskip("sklearn.base")
    model = classifier(l2={"W_s": 0.1}, solver=optimizers.SGD(0.5)).fit(cube(), np.arange(N) % 2)
    other = base.clone(model)
    assert other.get_params() == model.get_params() and not hasattr(other, "network_")
    assert other.l2 is not model.l2


def test_grid_search_takes_ragged_lists():
    selection = pytest.importorskip("sklearn.model_selection")
    X = ragged()
    search = selection.GridSearchCV(regressor(), {"hidden_size": [2, 4], "l2": [0.0, 0.1]}, cv=3).fit(X, targets(X))
    assert len(search.cv_results_["params"]) == 4 and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["hidden_size"] in (2, 4) and len(search.predict(X)) == N
    m = list(np.arange(1.0, N + 1))
    again = selection.GridSearchCV(regressor(), {"hidden_size": [2]}, cv=3).fit(X, targets(X), sample_weight=m)
    alone = regressor(hidden_size=2).fit(X, targets(X), m)
    assert np.array_equal(again.best_estimator_.network_.theta, alone.network_.theta)
    search = selection.GridSearchCV(classifier(), {"activation": ["tanh", "relu"]}, cv=2).fit(X, labels(X))
    assert np.isfinite(search.best_score_)


def test_cross_validation_judges_what_was_not_trained_on():
    selection = pytest.importorskip("sklearn.model_selection")
    X = ragged()
    y = targets(X)
    scores = selection.cross_val_score(regressor(), X, y, cv=selection.KFold(4))
    half = regressor().fit(X[2:], y[2:])
    assert len(scores) == 4 and scores[0] == half.score(X[:2], y[:2])


def test_a_pipeline_scales_what_it_is_given():
    pipeline, selection = pytest.importorskip("sklearn.pipeline"), pytest.importorskip("sklearn.model_selection")
    X = [3 + 2 * x for x in ragged()]
    y = targets(X)
    pipe = pipeline.make_pipeline(SequenceScaler(), regressor()).fit(X, y)
    scaler = SequenceScaler().fit(X)
    alone = regressor().fit(scaler.transform(X), y)
    assert all(np.array_equal(a, b) for a, b in zip(pipe.predict(X), alone.predict(scaler.transform(X))))
    assert pipe.score(X, y) == alone.score(scaler.transform(X), y)
    grid = {"sequencescaler__per": ["all", "series"], "rnnregressor__hidden_size": [2, 3]}
    search = selection.GridSearchCV(pipe, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4 and len(search.predict(X)) == N
    pipe.set_params(rnnregressor__two_d="steps", sequencescaler__two_d="steps").fit(X[1], y[1])
    assert pipe.predict(X[1]).shape == (LENGTHS[1], O)


def test_weights_are_routed_where_routing_is_on():
    sklearn, selection = pytest.importorskip("sklearn"), pytest.importorskip("sklearn.model_selection")
    pipeline = pytest.importorskip("sklearn.pipeline")
    X, m = ragged(), np.arange(1.0, N + 1)
    with sklearn.config_context(enable_metadata_routing=True):
        model = regressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = selection.GridSearchCV(model, {"hidden_size": [2]}, cv=2).fit(X, targets(X), sample_weight=m)
        with pytest.raises(ValueError, match="sample_weight"):
            selection.GridSearchCV(regressor(), {"hidden_size": [2]}, cv=2).fit(X, targets(X), sample_weight=m)
        pipe = pipeline.make_pipeline(SequenceScaler(), model).fit(X, targets(X), sample_weight=m)
    alone = regressor(hidden_size=2).fit(X, targets(X), m)
    assert np.array_equal(search.best_estimator_.network_.theta, alone.network_.theta)
    scaled = SequenceScaler().fit_transform(X)
    assert np.array_equal(pipe[-1].network_.theta, regressor().fit(scaled, targets(X), m).network_.theta)


@pytest.mark.parametrize("make", SAVED[:2] + SAVED[4:])
def test_pickle_joblib_and_copies_predict_the_same(make, tmp_path):
    model = make()
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    try:
        import joblib
    except ImportError:
        pass
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        copies.append(joblib.load(tmp_path / "model.joblib"))
    X = cube()[0] if model.two_d == "series" else ragged()
    for other in copies:
        assert all(np.array_equal(a, b) for a, b in zip(model.predict(X), other.predict(X)))
        assert other.loss_curve_ == model.loss_curve_ and repr(other) == repr(model)
        before = model.network_.theta
        other.network_.theta = 0 * before
        assert np.array_equal(model.network_.theta, before)


def test_the_padding_of_lists_is_that_of_to_time_major():
    X = ragged()
    assert np.array_equal(sequences.read(X, "raise").padded, to_time_major(X)[0])


def test_weights_count_in_full_with_the_default_batches():
    """The loss of a batch is divided by its own sum of weights: in small batches a rare class hardly counted."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((400, 6, 1)), (np.arange(400) % 20 == 0).astype(int)  # X says nothing about y
    balanced = RNNClassifier(hidden_size=2, class_weight="balanced", max_iter=40, learning_rate_init=1e-2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no better than a constant, which is right
        shares = balanced.fit(X, y).predict_proba(X)[:, 1]
        mean = RNNRegressor(hidden_size=2, output="last", max_iter=40, learning_rate_init=1e-2, random_state=0).fit(
            X, y.astype(float), sample_weight=np.where(y, 19.0, 1.0)).predict(X)
    assert abs(shares.mean() - 0.5) < 0.1 and abs(mean.mean() - 0.5) < 0.1
