"""The main job: a network that forecasts a series, trained and judged without a look ahead.

Split by time: the first 70 % train (and give mean and deviation), the next 10 % stop the training and decide every
choice, the last 20 % are for figures alone. The forecast for month t + horizon is made at month t, by a network that
ran through the series from its start to t and no further.

A series is (T, I), with I = O; pair i of `forecast_pairs` is the input of step i and the target of step i + horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sequences import forecast_pairs, to_time_major

# Chosen on the held-out 10 % of the monthly sunspots, never on the last 20 %.
WINDOW = 264  # steps of a training sequence: two cycles of the sun
WARM_UP = 132  # first steps of a sequence, without weight: its state starts at zero, the series' own does not
STRIDE = 24  # steps from the start of one sequence to the start of the next
LEARNING_RATE = 5e-3
BATCH_SIZE = 8
MAX_GRAD_NORM = 1.0
PATIENCE = 40


@dataclass(frozen=True)
class Split:
    """Where a series of `length` steps is divided: training before `train_end`, held out from there to `test_start`."""

    length: int

    @property
    def train_end(self) -> int:
        return self.length * 7 // 10

    @property
    def test_start(self) -> int:
        return self.length * 8 // 10

    @property
    def longest_horizon(self) -> int:
        """The longest that leaves a training sequence."""
        return self.train_end - WINDOW


def standardisation(series):
    """Mean (I,) and standard deviation (I,) of the training part."""
    part = series[:Split(len(series)).train_end]
    return part.mean(axis=0), part.std(axis=0)


def train(network, series, horizon, *, epochs):
    """Fit `network` to a standardised `series` (T, I), in place; what it returns and raises is RNN.fit's."""
    split = Split(len(series))
    X, D = forecast_pairs(series[:split.train_end], horizon)
    starts = range(0, len(X) - WINDOW + 1, STRIDE)
    X, D = (np.stack([part[start:start + WINDOW] for start in starts], axis=1) for part in (X, D))
    weights = np.ones(X.shape[:2])
    weights[:WARM_UP] = 0

    # The held-out part as it will be met in use: one run from the start of the series, judged on that part's targets.
    X_v, D_v = pairs(series[:split.test_start], horizon)
    weights_v = np.zeros(X_v.shape[:2])
    weights_v[split.train_end - horizon:] = 1
    return network.fit(X, D, weights=weights, validation=(X_v, D_v, weights_v), epochs=epochs, batch_size=BATCH_SIZE,
                       learning_rate=LEARNING_RATE, max_grad_norm=MAX_GRAD_NORM, patience=PATIENCE)


def pairs(series, horizon):
    """Inputs and targets (T − horizon, 1, I) of one run through the whole series."""
    return tuple(to_time_major(part[None])[0] for part in forecast_pairs(series, horizon))


def fold(network, mean, deviation):
    """The network that takes and returns raw numbers where `network` takes and returns (raw − mean) / deviation.

    W_x' = W_x / sd,  b_s' = b_s − W_x mean / sd,  W_y' = sd W_y,  b_y' = sd b_y + mean; the states are the same.
    """
    p = {name: value.astype(np.float64) for name, value in network.parameters.items()}
    W_x = p["W_x"] / deviation
    folded = network.copy()
    folded.load_state_dict(p | {"W_x": W_x, "b_s": p["b_s"] - W_x @ mean, "W_y": deviation[:, None] * p["W_y"],
                                "b_y": deviation * p["b_y"] + mean})
    return folded


def forecasts(network, series):
    """Y (T, I) of one run through the series: Y[t], made at step t, is the forecast for step t + horizon."""
    return network.forward(series[:, None])[0][:, 0].astype(np.float64)


def rmse(forecast, target):
    """Root mean squared error."""
    return float(np.sqrt(np.mean(np.square(forecast - target))))


def reach(network, series, horizon, *, steps=241, samples=48):
    """How strongly the error at step t depends on the state k steps back: ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖, (steps,).

    The mean over `samples` targets spread over the test part. Divided so, the size of an error does not count.
    """
    X, D = pairs(series, horizon)
    S = network.forward(X, return_states=True)[2]
    last = np.linspace(max(Split(len(series)).test_start - horizon, steps), len(X) - 1, samples).astype(int)
    rows = last - np.arange(steps)[::-1, None]  # (steps, samples): each target's steps beside the others', as a batch
    terms = network.gradient_terms(X[rows, 0], D[rows, 0], -1, initial_state=S[rows[0], 0])
    norms = np.linalg.norm(terms["S"].astype(np.float64), axis=2)[::-1]
    norms = norms[:, norms[0] > 0]  # an error of exactly zero has no gradient
    return (norms / norms[0]).mean(axis=1)
