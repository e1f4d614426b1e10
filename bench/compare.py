"""Compare two builds of fastbptt in paired runs: the second's time divided by the first's, cell by cell.

    python bench/compare.py BEFORE AFTER --cells bar --threads 1 2

BEFORE and AFTER are folders that hold a compiled package `fastbptt`: a checkout built in place, or the site-packages of a
virtual environment. Each build lives in a process of its own; the two take turns, the first of a round being the other each
time. `ratio` is the median over the rounds of one build's time divided by the other's in the same round; `spread` is the range
of its middle half. Above 1 the second build is slower.
"""

import argparse
import math
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

import cases
import numpy as np
from run import LEAST_ROUNDS, TOLERANCES, Process, check, processor, reference_result
from contenders import REGISTRY


def ratios(folders, cell, dtype, threads, what, seconds):
    """Return the ratio of the two builds' times in each round, and the median times of both in us.

    `folders` are the two builds, `what` the kind of call, such as "gradients", and `seconds` the time for this cell.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(Process("fastbptt", threads, {"PYTHONPATH": str(folder)})) for folder in folders]
        right = reference_result(cell, dtype, what)
        for process in processes:
            check(REGISTRY["fastbptt"], cell, dtype, what, process.ask("prepare", cell, dtype, threads, what)[0], right)
        samples, passed = [[], []], 0.0
        while passed < seconds or len(samples[0]) < LEAST_ROUNDS:
            for k in (0, 1) if len(samples[0]) % 2 else (1, 0):
                samples[k].append(min(processes[k].ask("sample")[0] for _ in range(3)))
                passed += 3 * max(0.006, samples[k][-1])
    before, after = map(np.array, samples)
    return after / before, np.median(before) * 1e6, np.median(after) * 1e6


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="Compare two builds of fastbptt in paired runs.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--cells", nargs="+", default=["bar"], help=f"{', '.join(cases.GROUPS)}, or B,T,I,H,O")
    parser.add_argument("--dtype", nargs="+", choices=list(TOLERANCES), default=["float32"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--what", nargs="+", choices=["gradients", "forward", "adam"], default=["gradients"])
    parser.add_argument("--seconds", type=float, default=4, help="of each cell (default 4)")
    arguments = parser.parse_args()
    folders = [arguments.before.resolve(), arguments.after.resolve()]
    for folder in folders:
        if not (folder / "fastbptt").is_dir():
            sys.exit(f"{folder} holds no package fastbptt")
    print(f"{processor()}\n\n| B, T, I, H, O | dtype | threads | what | before, us | after, us | ratio | spread |\n"
          "|---|---|---|---|---|---|---|---|")
    for what in arguments.what:
        for dtype in arguments.dtype:
            for threads in arguments.threads:
                medians = []
                for cell in cases.choose(arguments.cells):
                    found, before, after = ratios(folders, cell, dtype, threads, what, arguments.seconds)
                    medians.append(statistics.median(found))
                    low, high = np.quantile(found, [0.25, 0.75])
                    print(f"| {','.join(map(str, cell.sizes))} | {dtype} | {threads} | {what} | {before:.1f} | {after:.1f} | "
                          f"{medians[-1]:.3f} | {low:.2f} to {high:.2f} |", flush=True)
                mean = math.exp(statistics.fmean(map(math.log, medians)))
                print(f"| geometric mean | {dtype} | {threads} | {what} | | | {mean:.3f} | |", flush=True)


if __name__ == "__main__":
    main()
