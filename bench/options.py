"""What options cost: one Markdown table of loss and gradients with an option, divided by the same without.

    python bench/options.py                                       # three cells, float32
    python bench/options.py --cells 32,100,10,64,10 --dtype float64 --seconds 5

fastbptt alone, one thread where nothing else is said, in one process: the two calls of a row take turns, the first of a
round being the other each time. `ratio` is the median, over the rounds, of the first's time divided by the second's in
the same round; at the bar or below, the option costs no more than it was meant to. Each call's result is compared with
the float64 reference before it is timed. A sample is the mean of as many calls as take about 5 ms.
"""

import argparse
import platform
import sys
import time
from typing import NamedTuple

import cases
import fastbptt
import numpy as np
from run import LEAST_ROUNDS, TOLERANCES, largest_error, processor
from worker import Sampler

CELLS = ["16,100,8,32,4", "32,100,10,64,10", "64,100,100,256,100"]
IDS = 100  # inputs where they are ids: an alphabet
NEUTRAL = 1.05


class Call(NamedTuple):
    network: dict  # RNN's options
    X: np.ndarray
    D: np.ndarray
    arguments: dict  # of loss_and_gradients

    def __call__(self, parameters, dtype, backend="core"):
        """Return a function without arguments that computes loss and gradients of a network with these parameters and options.
        """
        H, I = parameters["W_x"].shape
        net = fastbptt.RNN(I, H, len(parameters["W_y"]), dtype=dtype, **self.network)
        net.load_state_dict(parameters)
        arguments = {"n_threads": 1} | self.arguments
        return lambda: net.loss_and_gradients(self.X, self.D, **arguments, backend=backend)


class Comparison(NamedTuple):
    title: str
    why: str
    bar: float  # or None: there is none
    cell: cases.Cell
    first: Call
    second: Call


def comparisons(cell, dtype):
    """Return the list of Comparisons for a cell: each option with the call without it."""
    T, B, H = cell.T, cell.B, cell.H
    wide = cell._replace(I=IDS)
    _, X, D, lengths = cases.make(cell._replace(lengths="uniform"), dtype)
    ids = np.random.default_rng(sum(cell.sizes)).integers(0, IDS, (T, B))
    plain = Call({}, X, D, {})
    uneven = Call({}, X, D, {"lengths": lengths})
    rng = np.random.default_rng(0)
    maps = {"dale_ratio": 0.8, "autapses": False, "nonnegative": ("W_x", "W_y"),
            "connectivity": {"W_s": rng.random((H, H)) < 0.5}, "trainable": {"b_s": rng.random(H) < 0.5}}
    window = max(1, T // 10)
    ends = [*range(window, T, window), T]

    def against_plain(title, why, bar, **arguments):
        """Return the Comparison of a call with these arguments with the plain call.

        `title`, `why` and `bar` are for its row.
        """
        return Comparison(title, why, bar, cell, plain._replace(arguments=arguments), plain)

    return [
        Comparison("ids / their one-hot vectors", "W_x's columns are looked up: no product, little to read", 1, wide,
                   Call({"one_hot": True}, ids, D, {}), Call({}, np.eye(IDS, dtype=dtype)[ids], D, {})),
        Comparison('output="last" / "sequence"', "output products of one step instead of T", 1, cell,
                   Call({"output": "last"}, X, D[-1], {}), plain),
        against_plain("lengths, all T / none", "neutral: nothing is left out", NEUTRAL,
                      lengths=np.full(B, T)),
        against_plain("resets, all False / none", "neutral: nothing begins anew", NEUTRAL,
                      resets=np.zeros((T, B), bool)),
        against_plain("weights of ones / none", "neutral: T B numbers to read", NEUTRAL,
                      weights=np.ones((T, B), dtype)),
        Comparison("Dale's law, half the connections, frozen entries / none", "two passes over the parameters a call", NEUTRAL,
                   cell, Call(maps, X, D, {}), plain),
        Comparison("leak, rate form / plain units", "a pass over the states, and the rates are kept", None, cell,
                   Call({"leak": 0.2}, X, D, {}), plain),
        Comparison("leak, current form / plain units", "a pass over the rates", None, cell,
                   Call({"leak": 0.2, "leak_form": "current"}, X, D, {}), plain),
        Comparison("noise of states / without", "T B H normal numbers", None, cell,
                   Call({"noise_std": 0.1}, X, D, {"noise": 1}), plain),
        Comparison("recurrent dropout / without", "a product of what W_s reads with a mask, twice a step", None, cell,
                   Call({"recurrent_dropout": 0.2}, X, D, {"dropout": 1}), plain),
        Comparison("uniform lengths, 2 threads / 1",
                   "the bar is 1 / 1.7; one sequence, or a batch of little work (under about 0.5 ms), is served by one thread",
                   1 / 1.7 if B > 1 else None, cell, uneven._replace(arguments=uneven.arguments | {"n_threads": 2}), uneven),
        against_plain("tbptt k1 = k2 = T/10 / none", f"as many steps back, in {len(ends)} windows", None,
                      tbptt=(window, window)),
        against_plain("tbptt k1 = T/10, k2 = T / none",
                      f"{len(ends)} windows, each back to the beginning: {sum(ends) / T:.1f} times the steps back", None,
                      tbptt=(window, T)),
    ]


def samplers(comparison, dtype):
    """Return Samplers of the comparison's two calls, after comparing each call's result with the float64 reference."""
    parameters = cases.make(comparison.cell, dtype)[0]
    found = []
    for call in (comparison.first, comparison.second):
        ours = call(parameters, dtype)
        exit_if_wrong(comparison, ours(), call(parameters, "float64", "reference")(), dtype)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            ours()
            times.append(time.perf_counter() - start)
        found.append(Sampler(ours, min(times)))
    return found


def exit_if_wrong(comparison, result, right, dtype):
    """End the program if the result of a call of a Comparison differs from the reference's, `right`, by more than allowed."""
    error = largest_error(result, right, "gradients")
    if not error < TOLERANCES[dtype]:
        sys.exit(f"{comparison.title} is wrong at {comparison.cell.sizes}: error {error:.1e}, allowed "
                 f"{TOLERANCES[dtype]:.0e}; it was not timed")


def measure(pair, seconds):
    """Return the seconds of the two calls in each round, (rounds, 2). `pair` has their Samplers."""
    rounds, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < LEAST_ROUNDS:
        order = (0, 1) if len(rounds) % 2 else (1, 0)
        found = {i: pair[i].sample()[0] for i in order}
        rounds.append((found[0], found[1]))
    return np.array(rounds)


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="What options of loss_and_gradients cost, in fastbptt alone.")
    parser.add_argument("--cells", nargs="+", default=CELLS,
                        help=f"{', '.join(cases.GROUPS)}, or B,T,I,H,O; ids have I = {IDS} (default {' '.join(CELLS)})")
    parser.add_argument("--dtype", choices=list(TOLERANCES), default="float32")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each row (default 4)")
    arguments = parser.parse_args()
    version, core = fastbptt.__version__, fastbptt._core
    print(f"fastbptt {version}, kernel set {core.kernel_set()}, built by {core.compiler()}; {processor()}; "
          f"Python {platform.python_version()}, NumPy {np.__version__}; {arguments.dtype}\n")
    print("| B, T, I, H, O | loss and gradients | µs | µs | ratio | bar | why |\n|---|---|---|---|---|---|---|")
    for cell in cases.choose(arguments.cells):
        for comparison in comparisons(cell, arguments.dtype):
            times = measure(samplers(comparison, arguments.dtype), arguments.seconds)
            first, second = 1e6 * np.median(times, axis=0)
            bar = "" if comparison.bar is None else f"{comparison.bar:.2f}"
            print(f"| {', '.join(map(str, comparison.cell.sizes))} | {comparison.title} | {first:.1f} | {second:.1f} | "
                  f"{np.median(times[:, 0] / times[:, 1]):.2f} | {bar} | {comparison.why} |", flush=True)


if __name__ == "__main__":
    main()
