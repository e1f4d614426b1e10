"""Choose the estimators' defaults, and compare the defaults before and after: one Markdown table each.

    pip install . scikit-learn && pip install --no-deps aeon sktime statsmodels     # for the data sets inside these packages
    python bench/estimators.py --choose         # cross-validation on the training parts alone; 20 to 60 minutes
    python bench/estimators.py --judge          # the old and the new defaults on the test parts; 5 to 15 minutes

Nothing is downloaded: the files are read where pip put them, and aeon, sktime and statsmodels are not imported. A task
whose package is not installed is left out, and named.

Tasks are classifications (accuracy), and regressions (R²) of three forms: one value per sequence, one per step of many
sequences, and the forecast of one series `horizon` steps ahead, in raw units with two_d="series". A series is divided by
time; its first 80 % train, and the folds of --choose are blocks within them. Elsewhere the data set's own test part is
kept apart, and the folds are stratified for labels.

--choose varies one group of options at a time around the best so far (the stages below), for classifiers and regressors
apart. It prints mean and median over tasks of the score, itself a mean over folds and seeds. The highest mean is taken, and
among equal ones (to three digits) the highest median. R² is counted as at least −1, so that one bad extrapolation does not
decide alone. Tasks marked "judged alone" take no part in the choice.
"""

import argparse
import csv
import datetime
import importlib.util
import itertools
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from run import processor

from fastbptt import RNNClassifier, RNNRegressor
from fastbptt.sequences import forecast_pairs

OLD = {"scale": None, "activation": "tanh", "initializer": "orthogonal", "batch_size": 32, "learning_rate_init": 1e-3,
       "learning_rate": "constant", "max_grad_norm": None, "max_iter": 200}
UNITS = {"tanh, orthogonal": ("tanh", "orthogonal"), "tanh, identity .95": ("tanh", ("identity", 0.95)),
         "relu, orthogonal": ("relu", "orthogonal"), "relu, identity .5": ("relu", ("identity", 0.5)),
         "relu, identity .95": ("relu", ("identity", 0.95)), "elu, identity .95": ("elu", ("identity", 0.95))}
# A stage is a dict of lists, of which all combinations are tried. A fit makes at least so many "epochs" and "updates"; a
# string is a multiple of the number of steps of the training data, up to 1,000.
START = {"units": "relu, identity .95", "rate": 2e-3, "schedule": "cosine", "clip": 1.0, "batch": 8,
         "updates": 1000, "epochs": 1}
STAGES = [{"units": list(UNITS), "rate": [1e-3, 2e-3, 5e-3, 1e-2]},
          {"updates": [100, 300, 1000], "epochs": [30, 100, 200]},
          {"units": ["tanh, orthogonal", "relu, identity .5", "relu, identity .95", "elu, identity .95"], "rate": [1e-3, 5e-3]},
          {"updates": [100, 1000, "1 x steps", "2 x steps", "4 x steps"]},
          {"batch": [8, 16, 32]},
          {"schedule": ["cosine", "constant"], "clip": [1.0, None]}]
SEEDS = 2  # fits of each fold in --choose
TIME_LIMIT = 20  # seconds of a fit in --choose


class Part(NamedTuple):
    """What fit, or score, is given."""

    X: object
    y: object
    weights: object = None


class Task(NamedTuple):
    name: str
    source: str
    kind: type
    options: dict
    folds: list   # pairs of Parts (fit, score), all within the training part
    train: Part
    test: Part
    chosen_on: bool = True


# ---------------------------------------------------------------------------------------------------------------------
# Data sets
# ---------------------------------------------------------------------------------------------------------------------


def folder(package):
    """Return the folder with the package's data sets. Raise ModuleNotFoundError if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(spec.origin).parent / "datasets"


def read_ts(package, name, part):
    """Return the sequences, a list of (T_n, I), and the labels (strings) of a .ts file of a package.

    `part` is TRAIN or TEST.
    """
    X, y, begun = [], [], False
    for line in open(folder(package) / "data" / name / f"{name}_{part}.ts", encoding="utf-8"):
        line = line.strip()
        if begun and line:
            *channels, label = line.split(":")
            X.append(np.array([[float(value) for value in channel.split(",")] for channel in channels], np.float32).T)
            y.append(label)
        begun = begun or line.lower() == "@data"
    return X, np.array(y)


def column(package, file, *names):
    """Return the named columns of a package's CSV file as (T, len(names)), with gaps filled linearly."""
    with open(folder(package) / file, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    values = np.array([[float(row[name]) if row[name] not in ("", "NA") else np.nan for name in names] for row in rows])
    for k in range(values.shape[1]):
        gap = np.isnan(values[:, k])
        values[gap, k] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), values[~gap, k])
    return values


def select(X, rows):
    """Return the sequences `rows` of an array or a list."""
    return [X[n] for n in rows] if isinstance(X, list) else X[rows]


def shuffled_folds(X, y, k, labels=None):
    """Return k folds of the sequences X, y in random order, with equal shares of each label, as pairs of Parts (fit, score).

    `labels` None is for targets that are not labels.
    """
    N = len(X)
    order = np.random.default_rng(0).permutation(N)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(N, int)
    fold[order] = np.arange(N) % k
    return [(Part(select(X, np.flatnonzero(fold != i)), select(y, np.flatnonzero(fold != i))),
             Part(select(X, np.flatnonzero(fold == i)), select(y, np.flatnonzero(fold == i)))) for i in range(k)]


def classification(name, package="aeon", k=3, chosen_on=True):
    """Return the Task of classifying the sequences of a package's data set, with k folds.

    `chosen_on` says whether --choose uses it.
    """
    (X, y), (V, v) = (read_ts(package, name, part) for part in ("TRAIN", "TEST"))
    return Task(name, package, RNNClassifier, {}, shuffled_folds(X, y, k, y), Part(X, y), Part(V, v), chosen_on)


def digits():
    """Return the Task of classifying scikit-learn's digits, one row of pixels per step."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 8, 8).astype(np.float32)
    return Task("digits, row by row", "scikit-learn", RNNClassifier, {}, shuffled_folds(X[:600], y[:600], 2, y[:600]),
                Part(X[:600], y[:600]), Part(X[600:], y[600:]))


def value_of_sequence(name, package="aeon"):
    """Return the Task of predicting one number for each sequence of a package's data set."""
    (X, y), (V, v) = ((X, y.astype(float)) for X, y in (read_ts(package, name, part) for part in ("TRAIN", "TEST")))
    return Task(name, package, RNNRegressor, {"output": "last"}, shuffled_folds(X, y, 3), Part(X, y), Part(V, v))


def next_step(name, package="aeon"):
    """Return the Task of forecasting each sequence of a package's data set one step ahead."""
    X, V = (read_ts(package, name, part)[0] for part in ("TRAIN", "TEST"))
    (X, y), (V, v) = forecast_pairs(X, 1), forecast_pairs(V, 1)
    return Task(f"{name}, next step", package, RNNRegressor, {}, shuffled_folds(X, y, 2), Part(X, y), Part(V, v))


def series(name, package, values, horizon, inputs=None, chosen_on=True):
    """Return the Task of forecasting `values` (T, O) `horizon` steps ahead.

    With `inputs` (T, I), it is a regression of the values on the inputs `horizon` steps before.
    """
    values = values.astype(np.float32)
    inputs = values if inputs is None else inputs.astype(np.float32)
    X, D, n = inputs[:len(inputs) - horizon], values[horizon:], len(values)

    def split(boundary, end):
        """Return the Parts to fit and to score: targets before `boundary` train, and those from there to `end` have weight."""
        last = end - horizon
        judged = (np.arange(last) + horizon >= boundary).astype(float)
        return (Part(X[:boundary - horizon], D[:boundary - horizon]), Part(X[:last], D[:last], judged))

    ends = [int(n * 0.8 * share) for share in (0.55, 0.7, 0.85, 1)]
    return Task(f"{name}, {horizon} ahead", package, RNNRegressor, {"two_d": "series"},
                [split(a, b) for a, b in zip(ends, ends[1:])], *split(int(n * 0.8), n), chosen_on)


def tasks():
    """Return all tasks whose data are installed, and the messages about the others."""
    made, missing = [], []
    for make in (
        lambda: classification("ArrowHead"), lambda: classification("GunPoint"), lambda: classification("ItalyPowerDemand"),
        lambda: classification("BasicMotions"), lambda: classification("JapaneseVowels", k=2),
        lambda: classification("PickupGestureWiimoteZ"), lambda: classification("Covid3Month_disc"),
        lambda: classification("UnitTest"), digits, lambda: classification("OSULeaf", chosen_on=False),
        lambda: classification("ACSF1", chosen_on=False),
        lambda: value_of_sequence("Covid3Month"), lambda: value_of_sequence("CardanoSentiment"),
        lambda: value_of_sequence("Tecator", "sktime"),
        lambda: next_step("ItalyPowerDemand"), lambda: next_step("JapaneseVowels"), lambda: next_step("BasicMotions"),
        lambda: series("airline passengers", "aeon", column("aeon", "data/Airline/Airline.csv", "Passengers"), 12),
        lambda: series("lynx", "aeon", column("aeon", "data/Lynx/Lynx.csv", "0"), 1),
        lambda: series("solar power", "aeon", column("aeon", "data/solar/solar.csv", "solar_gen"), 1),
        lambda: series("sunspots", "statsmodels", column("statsmodels", "sunspots/sunspots.csv", "SUNACTIVITY"), 1),
        lambda: series("sea temperature", "statsmodels", column("statsmodels", "elnino/elnino.csv", *(
            "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split())).reshape(-1, 1), 3),
        lambda: series("Nile", "statsmodels", column("statsmodels", "nile/nile.csv", "volume"), 1),
        lambda: series("seatbelts", "sktime", column("sktime", "data/seatbelts/seatbelts.csv", "KSI"), 12),
        lambda: series("consumption from four others", "aeon", *us_change()),
        lambda: series("CO2, weekly", "statsmodels", column("statsmodels", "co2/co2.csv", "co2"), 4, chosen_on=False),
        lambda: series("unemployment", "statsmodels", column("statsmodels", "macrodata/macrodata.csv", "unemp"), 4,
                       chosen_on=False),
    ):
        try:
            made.append(make())
        except ModuleNotFoundError as error:
            missing.append(str(error))
    return made, sorted(set(missing))


def us_change():
    """Return consumption (T, 1), the horizon 0, and four other economic series (T, 4), as arguments of `series`."""
    values = column("aeon", "data/Uschange/Uschange.csv", "Consumption", "Income", "Production", "Savings", "Unemployment")
    return values[1:, :1], 0, values[1:, 1:]


# ---------------------------------------------------------------------------------------------------------------------
# Choosing and judging
# ---------------------------------------------------------------------------------------------------------------------


def options_of(cell, N, steps):
    """Return the estimator's constructor arguments of a candidate, the dict `cell`.

    They are for N sequences of `steps` steps together.
    """
    activation, initializer = UNITS[cell["units"]]
    updates = cell["updates"]
    if isinstance(updates, str):
        updates = min(1000, int(updates.split()[0]) * steps)
    epochs = max(cell["epochs"], -(-updates // -(-N // cell["batch"])))
    return {"scale": "standard", "activation": activation, "initializer": initializer, "learning_rate_init": cell["rate"],
            "learning_rate": cell["schedule"], "max_grad_norm": cell["clip"], "batch_size": cell["batch"],
            "max_iter": epochs}


def score(task, options, fit, judged, seed, time_limit=None):
    """Fit the Task's estimator on the Part `fit`, and return its score on the Part `judged`, and the seconds of the fit.

    `options` are further arguments of the constructor, and `time_limit` that of the fit. A fit that diverged has the score
    −1, or 0 for labels.
    """
    model = task.kind(**task.options | options, random_state=seed)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(*fit, n_threads=1, time_limit=time_limit)
        except FloatingPointError:
            return (0.0 if task.kind is RNNClassifier else -1.0), time.perf_counter() - begin
        seconds = time.perf_counter() - begin
        return float(model.score(*judged)), seconds


def cross_validated(task, cell):
    """Return the mean score of a Task over its folds, R² at least −1, and the mean seconds of a fit.

    `cell` is a candidate's dict.
    """
    found = []
    for seed, (fit, judged) in itertools.product(range(SEEDS), task.folds):
        N, steps = (1, len(fit.X)) if task.options.get("two_d") == "series" else (len(fit.X), sum(map(len, fit.X)))
        found.append(score(task, options_of(cell, N, steps), fit, judged, seed, TIME_LIMIT))
    return float(np.mean([max(each, -1.0) for each, _ in found])), float(np.mean([each for _, each in found]))


def choose(all_tasks, kind):
    """Print the tables of --choose for one kind of estimator, and the best options."""
    best, done = dict(START), {}
    chosen_on = [task for task in all_tasks if task.chosen_on and task.kind is kind]
    print(f"\n## {kind.__name__}: {', '.join(task.name for task in chosen_on)}")
    for stage in STAGES:
        print("\n| " + " | ".join(stage) + " | mean score | median score | s |\n|" + " --- |" * (len(stage) + 3))
        ranking = []
        for values in itertools.product(*stage.values()):
            cell = best | dict(zip(stage, values))
            key = tuple(cell.items())
            if key not in done:
                done[key] = [cross_validated(task, cell) for task in chosen_on]
            scores, seconds = zip(*done[key])
            ranking.append((round(float(np.mean(scores)), 3), float(np.median(scores)), cell))
            print("| " + " | ".join(map(str, values)) + f" | {np.mean(scores):.3f} | {np.median(scores):.3f} | "
                  f"{np.mean(seconds):.2f} |", flush=True)
        best = max(ranking, key=lambda each: each[:2])[2]
    print(f"\nBest: {best}\n\n| task | score |\n| --- | --- |")
    for task, (mean, _) in zip(chosen_on, done[tuple(best.items())]):
        print(f"| {task.name} | {mean:.3f} |", flush=True)


def compare_defaults(all_tasks, seeds):
    """Print the table of --judge: the median scores of the old and the new defaults on the test parts, over some seeds."""
    print("| task | data in | measure | old defaults | new defaults | s, old | s, new |\n|" + " --- |" * 7)
    for task in all_tasks:
        rows = [[score(task, options, task.train, task.test, seed) for seed in range(seeds)] for options in (OLD, {})]
        (old, before), (new, after) = (np.median(row, axis=0) for row in rows)
        measure = "accuracy" if task.kind is RNNClassifier else "R²"
        name = task.name if task.chosen_on else f"{task.name} (judged alone)"
        print(f"| {name} | {task.source} | {measure} | {old:.2f} | {new:.2f} | {before:.1f} | {after:.1f} |", flush=True)


def main(arguments=None):
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--choose", action="store_true", help="cross-validation on the training parts")
    mode.add_argument("--judge", action="store_true", help="old and new defaults on the test parts")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each task in --judge; their median is printed")
    given = parser.parse_args(arguments)
    found, missing = tasks()
    print(f"{datetime.date.today()}, {processor()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread")
    for each in missing:
        print(f"left out: {each}", file=sys.stderr)
    if given.choose:
        for kind in (RNNClassifier, RNNRegressor):
            choose(found, kind)
    else:
        compare_defaults(found, given.seeds)


if __name__ == "__main__":
    main()
