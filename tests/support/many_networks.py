"""Networks of several kinds with sequences of several lengths, and what `fit_many` promises of any executor."""

import numpy as np

from fastbptt import RNN, RNNRegressor, cross_validate, fit_many

OPTIONS = [{"hidden_size": 2}, {"hidden_size": 3, "l2": 1e-3}, {"hidden_size": 3, "l1": {"W_s": 1e-3}}, {"hidden_size": 20},
           {"hidden_size": (3, 2)}, {"hidden_size": 3, "connectivity": {"W_s": np.eye(3)}},
           {"hidden_size": 3, "dtype": "float32"}, {"hidden_size": 2, "activation": "relu"}]


def networks(n=24, **more):
    """Return n networks, by turns of all kinds in OPTIONS."""
    return [RNN(2, output_size=1, random_state=k, **({"dtype": "float64"} | OPTIONS[k % len(OPTIONS)] | more))
            for k in range(n)]


def series(rng, n, B=2):
    """Return X and D as lists of n arrays of 4 to 29 steps."""
    T = rng.integers(4, 30, n)
    return [rng.standard_normal((t, B, 2)) for t in T], [rng.standard_normal((t, B, 1)) for t in T]


def check_executor(executor, **options):
    """Assert that fit_many and cross_validate give the same bits by an executor as in this process."""
    rng = np.random.default_rng(8)
    X, D = series(rng, 24)
    here, there = networks(), networks()
    right = fit_many(here, X, D, validation=(X, D), epochs=4, patience=2)
    fits = fit_many(there, X, D, validation=(X, D), epochs=4, patience=2, executor=executor, **options)
    assert all(np.array_equal(a.theta, b.theta) for a, b in zip(here, there))
    assert fits.stopped == right.stopped and np.array_equal(fits.train_loss, right.train_loss, equal_nan=True)
    assert np.array_equal(fits.validation_loss, right.validation_loss, equal_nan=True)
    y = [x[:, 0, :1] for x in X]
    found = cross_validate(RNNRegressor(2, max_iter=2, random_state=0), [x[:, 0] for x in X], y, cv=2, executor=executor)
    again = cross_validate(RNNRegressor(2, max_iter=2, random_state=0), [x[:, 0] for x in X], y, cv=2)
    assert np.array_equal(found.scores, again.scores)
