"""cross_validate's scores by name, against scikit-learn's and the formulas, and nested cross-validation against loops."""

import math

import numpy as np
import pytest

from fastbptt import RNNClassifier, RNNRegressor, cross_validate

pytestmark = pytest.mark.filterwarnings("ignore:fit ended no better")
SCORES = {"classifier": ("log_likelihood", "accuracy", "balanced_accuracy"),
          "regressor": ("r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error")}
EACH = [(kind, name) for kind, names in SCORES.items() for name in names]


def score_of(name, estimator, X, y):
    """The score `name` of one fold that is trained on all of X and tested on it."""
    rows = np.arange(len(X))
    return cross_validate(estimator, X, y, cv=[(rows, rows)], scoring=name).scores[0, 0, 0]


def drawn(kind, output, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((12, 6, 2))
    y = X[..., :1] + 0.3 * rng.standard_normal((12, 6, 2)) if kind == "regressor" else rng.integers(3, size=(12, 6))
    return X, y[:, -1] if output == "last" else y


@pytest.mark.quick
@pytest.mark.parametrize("output", ["sequence", "last"])
@pytest.mark.parametrize("kind, name", EACH)
def test_scores_are_those_of_scikit_learn(kind, name, output):
    metrics = pytest.importorskip("sklearn.metrics")
    X, y = drawn(kind, output)
    model = {"classifier": RNNClassifier, "regressor": RNNRegressor}[kind](
        3, max_iter=5, dtype="float64", output=output, random_state=0)
    found = score_of(name, model, X, y)
    model.fit(X, y)
    if kind == "classifier":
        flat, guess, p = y.ravel(), model.predict(X).ravel(), model.predict_proba(X).reshape(-1, 3)
        expected = {"log_likelihood": lambda: -metrics.log_loss(flat, p),
                    "accuracy": lambda: metrics.accuracy_score(flat, guess),
                    "balanced_accuracy": lambda: metrics.balanced_accuracy_score(flat, guess)}[name]()
    else:
        flat, guess = y.reshape(-1, 2), model.predict(X).reshape(-1, 2)
        expected = {"r2": lambda: metrics.r2_score(flat, guess),
                    "neg_mean_squared_error": lambda: -metrics.mean_squared_error(flat, guess),
                    "neg_root_mean_squared_error": lambda: -np.sqrt(np.square(flat - guess).mean(axis=0)).mean(),
                    "neg_mean_absolute_error": lambda: -metrics.mean_absolute_error(flat, guess)}[name]()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_scores_of_sequences_of_unequal_length_count_real_steps():
    rng = np.random.default_rng(1)
    X = [rng.standard_normal((n, 1)) for n in (3, 7, 5, 4)]
    y = [rng.integers(2, size=len(x)) for x in X]
    model = RNNClassifier(2, max_iter=3, output="sequence", random_state=0, washout=1)
    found = score_of("log_likelihood", model, X, y)
    p = model.fit(X, y).predict_proba(X)
    logs = [np.log(each[range(1, len(each)), labels[1:]]) for each, labels in zip(p, y)]
    np.testing.assert_allclose(found, np.concatenate(logs).mean(), rtol=1e-6)


def test_the_likelihood_of_counts():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    X = rng.standard_normal((6, 5, 1))
    y = rng.poisson(2, (6, 5))
    model = RNNRegressor(2, max_iter=4, loss="poisson", output_activation="exp", dtype="float64", random_state=0)
    found = score_of("log_likelihood", model, X, y)
    mean = model.fit(X, y).predict(X)
    expected = stats.poisson(mean).logpmf(y).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_a_class_that_was_not_learnt_has_no_likelihood():
    X = np.random.default_rng(3).standard_normal((6, 4, 1))
    y = np.array(["a", "b", "a", "b", "c", "c"])
    found = cross_validate(RNNClassifier(2, max_iter=2, output="last"), X, y, scoring="log_likelihood",
                           cv=[(np.arange(4), np.arange(4, 6)), (np.arange(6), np.arange(6))])
    assert found.scores[0, 0, 0] == -math.inf and math.isfinite(found.scores[0, 0, 1])


def test_a_score_that_the_estimator_has_not_is_refused():
    X, y = drawn("regressor", "sequence")
    for scoring, error, words in (("accuracy", ValueError, "^scoring must be one of 'log_likelihood', 'r2'"),
                                  ("log_likelihood", ValueError, "requires a regressor with loss='poisson'.*squared_error"),
                                  (3, TypeError, "^scoring must be a name or a function")):
        with pytest.raises(error, match=words):
            cross_validate(RNNRegressor(2), X, y, scoring=scoring)


@pytest.mark.parametrize("nested", [None, 2])
def test_warnings_name_the_line_of_the_call(nested):
    X, y = drawn("regressor", "sequence")
    with pytest.warns(UserWarning, match="no better than a constant") as caught:
        cross_validate(RNNRegressor(2, max_iter=1, random_state=0), X, np.full_like(y, 3) + y, cv=2, nested=nested)
    assert {each.filename for each in caught} == {__file__}


# ---- Nested


@pytest.mark.thorough
def test_nested_cross_validation_is_a_loop_of_cross_validations():
    X, y = drawn("regressor", "sequence", seed=4)
    grid, seeds = {"hidden_size": [1, 3], "l2": [0.0, 0.1]}, [3, 5]
    model = RNNRegressor(2, max_iter=4, dtype="float64")
    found = cross_validate(model, X, y, grid, cv=3, nested=2, seeds=seeds, scoring="neg_mean_squared_error")
    assert list(found["fold"]) == [0, 1, 2] and found.scores.shape == (3, 2) and len(found.fits) == 6
    for f in range(3):
        test = np.arange(4 * f, 4 * f + 4)
        train = np.setdiff1d(np.arange(12), test)
        choice = cross_validate(model, X[train], y[train], grid, cv=2, seeds=seeds, scoring="neg_mean_squared_error")
        np.testing.assert_allclose(found.inner[f].scores, choice.scores, rtol=1e-8)
        assert found["params"][f] == choice.best_params
        assert found["param_hidden_size"][f] == choice.best_params["hidden_size"]
        np.testing.assert_allclose(found["inner_score"][f], choice["mean_test_score"].max(), rtol=1e-8)
        for s, seed in enumerate(seeds):
            right = RNNRegressor(max_iter=4, dtype="float64", random_state=seed, **choice.best_params).fit(X[train], y[train])
            error = -np.square(right.predict(X[test]) - y[test]).mean()
            np.testing.assert_allclose(found.scores[f, s], error, rtol=1e-8)
    np.testing.assert_allclose(found["test_score"], found.scores.mean(axis=1))
    assert found.mean_test_score == pytest.approx(found.scores.mean())


def test_bad_arguments_of_nested_are_refused():
    X, y = drawn("regressor", "sequence")
    for nested, more, error, words in (([(0, 1)], {}, TypeError, "^nested must be an int or a splitter"),
                                       (True, {}, TypeError, "^nested must be an int or a splitter"),
                                       (9, {}, ValueError, "^nested, in outer fold 0: cv must not exceed .* 8, got 9"),
                                       (2, {"resume": True}, ValueError, "^resume must be left out with nested")):
        with pytest.raises(error, match=words):
            cross_validate(RNNRegressor(2), X, y, cv=3, nested=nested, **more)
