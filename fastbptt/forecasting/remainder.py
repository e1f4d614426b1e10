"""The recurrent path: an ensemble of small networks that learn what the linear path leaves.

At each step a network reads what is known there, and forecasts the errors of the linear path for all steps 1 .. h from its
newest state. The members differ in seed and size. Each size is one `Population`, so its members train side by side in the
lanes of a vector. The median of the members, times one factor, is added to the linear path. The factor and the number of
updates come from the validation part, where the linear path's errors are those of steps that it has not seen. A factor of zero
leaves the linear path alone.
"""

from __future__ import annotations

import numpy as np

from ..population import Population

# Chosen by the development half of bench/forecasts.py.
WARM_UP = 24  # first steps of a training window, without weight
BODY = 48  # further steps of a training window
UPDATES = 480  # most updates
EVALUATIONS = 12  # number of times that the validation is looked at
BATCH = 8
LEARNING_RATE = 3e-3
L2 = 1e-4
MAX_GRAD_NORM = 1.0
# The networks are left out unless they lower the mean squared validation error by LEAST_GAIN / √n, where n is the number of
# forecasts in the validation part that do not overlap. Smaller gains were mostly luck in the development half: the test
# error rose in most of these series.
LEAST_GAIN = 0.5
FEWEST = 150  # least number of training steps; on shorter series networks did not pay
MOST_VALIDATION = 2000  # newest steps that the validation reads
LIMIT = 4.0  # inputs and targets are clipped to this many deviations


def features(x, ahead, first, seasons):
    """Return what a network reads after each of the origins first .. T of a series x (T,), (T − first + 1, I).

    `ahead` (T − first + 1, h) are the linear path's forecasts. The inputs are the newest error of the linear path, the newest
    change, the newest seasonal changes, the level relative to its own slow mean, and the linear forecasts of a few steps
    relative to the newest value.
    """
    at = np.arange(first, len(x) + 1)
    newest = x[at - 1]
    error = np.zeros(len(at))
    error[1:] = newest[1:] - ahead[:-1, 0]
    columns = [error, newest - x[at - 2]]
    for m in seasons:
        columns.append(newest - x[np.maximum(at - 1 - m, 0)])
    slow, rate, level = [], 1 / (2 * max([*seasons, 12])), float(x[:first].mean())
    for value in newest.tolist():
        level += rate * (value - level)
        slow.append(level)
    columns.append(newest - slow)
    for k in _few(ahead.shape[1]):
        columns.append(ahead[:, k] - newest)
    return np.stack(columns, axis=1)


def _few(horizon):
    return sorted({0, horizon // 2, horizon - 1})


def calendar(at, seasons):
    """Return sines and cosines of the position of steps `at` in each season, (n, C)."""
    columns = []
    for m in seasons:
        for harmonic in ((1, 2) if m > 4 else (1,)):
            angle = 2 * np.pi * harmonic * (np.asarray(at) % m) / m
            columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1) if columns else np.empty((len(at), 0))


def ahead_of(known, at, horizon):
    """Return the known inputs (T', U) of a few of the steps after the origins `at`, (n, 3·U). Later rows than known repeat."""
    return np.concatenate([known[np.minimum(np.asarray(at) + k, len(known) - 1)] for k in _few(horizon)], axis=1)


def windows(inputs, targets, ends):
    """Return X (T, B, I), D (T, B, O), weights (T, B) of overlapping windows of lists of inputs (n, I) and targets (n, O).

    Only the first `ends` origins of each series are used. The first steps of a window, its warm-up, have no weight.
    """
    length = WARM_UP + BODY
    X, D, W = [], [], []
    for z, r, end in zip(inputs, targets, ends):
        if end < 2:
            continue
        size = min(length, end)
        warm = WARM_UP if size == length else min(WARM_UP, size // 4)
        starts = list(range(end - size, -1, -BODY)) if size == length else [0]
        if starts[-1] != 0:
            starts.append(0)
        for begin in starts:
            x, d = z[begin:begin + size], r[begin:begin + size]
            w = np.isfinite(d).all(axis=1).astype(np.float32)
            w[:warm] = 0
            pad = length - size
            X.append(np.pad(x, ((pad, 0), (0, 0))))
            D.append(np.pad(np.nan_to_num(np.clip(d, -LIMIT, LIMIT)), ((pad, 0), (0, 0))))
            W.append(np.pad(w, (pad, 0)))
    return (np.stack(part, axis=1).astype(np.float32) for part in (X, D, W))


def sizes(members, hidden_size):
    """Return {hidden size: number of members}: three in four of the given size, the others half as large."""
    small = members // 4
    found = {hidden_size: members - small}
    half = max(hidden_size // 2, 1)
    if small:
        found[half] = found.get(half, 0) + small
    return found


class Ensemble:
    """The populations of one ensemble."""

    def __init__(self, populations):
        self.populations = populations

    @classmethod
    def new(cls, inputs, outputs, settings):
        """Return untrained networks of so many inputs and outputs, from the model's Settings."""
        seed = settings.seed
        made = []
        for k, (size, n) in enumerate(sizes(settings.members, settings.hidden_size).items()):
            seeds = [int(s) for s in np.random.default_rng([seed, k]).integers(0, 2**31, n)]
            made.append(Population(n, inputs, size, outputs, dtype="float32", l2=L2, random_state=seeds, cell=settings.cell))
            made[-1].parameters["W_y"][...] *= 0.1  # start near the linear path
        return cls(made)

    def outputs(self, inputs):
        """Return the median of the members' outputs (n, O), from one run through inputs (n, I)."""
        with np.errstate(over="ignore", invalid="ignore"):
            Y = np.concatenate([p.forward(inputs[:, None], n_threads=1)[0][:, :, 0] for p in self.populations])
        Y = np.where(np.isfinite(Y), Y, 0)
        return np.median(Y.astype(np.float64), axis=0)

    def train(self, X, D, weights, updates, look=None):
        """Train all members for `updates` updates, rounded up to epochs.

        With `look` (inputs (n, I)), return the numbers of updates at about EVALUATIONS moments, and the medians of the members'
        outputs then, (n, O).
        """
        each = -(-X.shape[1] // BATCH)
        epochs = max(-(-updates // each), 1)
        every = max(epochs // EVALUATIONS, 1)
        options = {"weights": weights, "epochs": epochs, "batch_size": BATCH, "learning_rate": LEARNING_RATE,
                   "schedule": "constant", "max_grad_norm": MAX_GRAD_NORM, "progress": False, "n_threads": 1}
        found = []  # for each population, or each network without a lane, {number of epochs: outputs (k, n, O) for each series}

        def watch(kept):
            def look_at(epoch, trained):
                if (epoch + 1) % every == 0:  # epochs count from 0
                    kept[epoch + 1] = [_each_output(trained, z) for z in look]
            return () if look is None else look_at

        for p in self.populations:
            if p._lanes is not None:
                found.append({})
                p.fit(X, D, callbacks=watch(found[-1]), **options)
                continue
            theta = p.theta  # without lanes a population shows its parameters only when all networks are trained
            for k, net in enumerate(p):
                found.append({})
                seen = watch(found[-1])
                net.fit(X, D, callbacks=seen and (lambda record, seen=seen: seen(record.epoch, record.network)), **options)
                theta[k] = net.theta
            p.theta = theta
        if look is None:
            return None
        epochs_seen = sorted(set.intersection(*(set(kept) for kept in found)))
        return ([epoch * each for epoch in epochs_seen],
                [[_median([kept[epoch][n] for kept in found]) for n in range(len(look))] for epoch in epochs_seen])


def _each_output(trained, z):
    """Return the outputs (k, n, O) of a population of k, or (1, n, O) of a network, for inputs (n, I)."""
    Y = trained.forward(z[:, None], n_threads=1)[0]
    return Y[:, :, 0] if Y.ndim == 4 else Y[None, :, 0]


def _median(parts):
    Y = np.concatenate(parts)
    return np.median(np.where(np.isfinite(Y), Y, 0).astype(np.float64), axis=0)


class Remainder:
    """The trained ensemble with its factor. `scale` (N, I) divides the inputs, `sizes` (N, O) multiply the outputs."""

    def __init__(self, ensemble, factor, scale, sizes, updates, gain):
        self.ensemble, self.factor, self.scale, self.sizes = ensemble, factor, scale, sizes
        self.updates, self.gain = updates, gain

    def correction(self, n, inputs):
        """Return what is added to the linear forecasts of series n, (T, O), from its unscaled inputs (T, I)."""
        return self.factor * self.sizes[n] * self.ensemble.outputs(scaled(inputs, self.scale[n]))


def scaled(inputs, scale):
    return np.clip(inputs / scale, -LIMIT, LIMIT).astype(np.float32)


def _spread(a, floor=0.0):
    s = np.sqrt(np.nanmean(np.square(a), axis=0))
    return np.where(np.isfinite(s) & (s > floor), s, 1.0)


def choose(inputs, errors, trained, judged, settings):
    """Return (updates, factor, gain): what the validation part prefers. A factor of 0 leaves the networks out.

    inputs and errors are lists of (n, I) and (n, O): the errors of linear paths that have not seen the judged part. The first
    `trained` origins of each series train; those from `judged` on count. NaN errors are unknown.
    """
    scale = [_spread(z[:end]) for z, end in zip(inputs, trained)]
    sizes_ = [_spread(r[:end]) for r, end in zip(errors, trained)]
    X = [scaled(z, s) for z, s in zip(inputs, scale)]
    R = [r / s for r, s in zip(errors, sizes_)]
    apart = sum(max(np.isfinite(r[begin:]).all(axis=1).sum() / settings.horizon, 1) for r, begin in zip(R, judged))
    least = LEAST_GAIN / np.sqrt(apart)
    if sum(trained) < FEWEST or least >= 1:
        return 0, 0.0, 0.0
    windowed = windows(X, R, trained)
    starts = [max(begin - MOST_VALIDATION // 4, 0) for begin in judged]
    look = [x[a:a + MOST_VALIDATION] for x, a in zip(X, starts)]
    ensemble = Ensemble.new(X[0].shape[1], R[0].shape[1], settings)
    counts, outputs = ensemble.train(*windowed, UPDATES, look)
    truth = [r[b:a + MOST_VALIDATION] for r, a, b in zip(R, starts, judged)]
    best = 0, 0.0, 0.0
    before = sum(np.nansum(np.square(np.clip(r, -LIMIT, LIMIT))) for r in truth)
    for count, made in zip(counts, outputs):
        Y = [y[b - a:] for y, a, b in zip(made, starts, judged)]
        cross = [np.nansum(np.clip(r, -LIMIT, LIMIT) * y, axis=1) for r, y in zip(truth, Y)]
        square = [np.sum(np.square(y) * np.isfinite(r), axis=1) for r, y in zip(truth, Y)]
        own = sum(map(np.sum, square))
        factor = float(np.clip(sum(map(np.sum, cross)) / max(own, 1e-300), 0, 1))
        profit = [2 * factor * c - factor**2 * s for c, s in zip(cross, square)]
        gain = float(sum(map(np.sum, profit)) / max(before, 1e-300))
        blocks = np.array([[part.sum() for part in np.array_split(p, 4)] for p in profit]).sum(axis=0)
        if gain > max(best[2], least) and (blocks > 0).sum() >= 3:
            best = count, factor, gain
    return best


def fit(inputs, errors, chosen, settings):
    """Return the Remainder trained on all origins whose errors are known, with what `choose` has chosen."""
    updates, factor, gain = chosen
    scale, sizes_ = [_spread(z) for z in inputs], [_spread(r) for r in errors]
    ends = [int(np.isfinite(r).all(axis=1).sum()) for r in errors]
    windowed = windows([scaled(z, s) for z, s in zip(inputs, scale)], [r / s for r, s in zip(errors, sizes_)], ends)
    ensemble = Ensemble.new(inputs[0].shape[1], errors[0].shape[1], settings)
    ensemble.train(*windowed, updates)
    return Remainder(ensemble, factor, np.stack(scale), np.stack(sizes_), updates, gain)
