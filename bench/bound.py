"""Time `RNN.bind` beside `loss_and_gradients`: what a prepared call saves in the shortest calls.

    python bench/bound.py [--seconds 2]

Both are called in turn in one process, 200 calls at a time. A figure is the lower quartile of these turns, in microseconds.
"""

import argparse
import time

import fastbptt
import numpy as np

SHAPES = ((1, 1, 4, 4, 1), (1, 50, 4, 4, 1), (1, 100, 8, 16, 2))
CALLS = 200


def turn(call):
    """Return the mean microseconds of a call over CALLS calls."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="Time RNN.bind beside loss_and_gradients.")
    parser.add_argument("--seconds", type=float, default=2, help="of each row (default 2)")
    seconds = parser.parse_args().seconds
    print("| cell | B, T, I, H, O | `loss_and_gradients` | bound | ratio |\n|---|---|---|---|---|")
    for cell in ("plain", "gru", "lstm"):
        for B, T, I, H, O in SHAPES:
            net = fastbptt.RNN(I, H, O, cell=cell, random_state=0)
            rng = np.random.default_rng(0)
            X, D = rng.standard_normal((T, B, I)).astype(net.dtype), rng.standard_normal((T, B, O)).astype(net.dtype)
            bound, turns, end = net.bind(X, D), [], time.perf_counter() + seconds
            while time.perf_counter() < end or len(turns) < 4:
                turns.append((turn(lambda net=net, X=X, D=D: net.loss_and_gradients(X, D)), turn(bound)))
            usual, prepared = np.quantile(turns, 0.25, axis=0)
            print(f"| {cell} | {B}, {T}, {I}, {H}, {O} | {usual:.2f} | {prepared:.2f} | {prepared / usual:.2f} |", flush=True)


if __name__ == "__main__":
    main()
