"""What threads cost beside other work: mean times of calls with all cores' threads, divided by one thread's.

    pip install . torch==2.13.0 jax numba           # peers that are missing are left out
    python bench/busy.py                            # all tables, as Markdown
    python bench/busy.py --tables busy spaced --seconds 5

busy          another process occupies the last core: fastbptt's default call, and those of the peers
idle          nothing else runs: one call after another
spaced        nothing else runs: calls 0.1, 1 and 10 ms apart
processes     eight processes at once, each with the default number of threads, and each with one thread
alternating   fastbptt's calls alternate with those of PyTorch, JAX or Numba, which have threads of their own, in one process

Each figure is a mean, not a median: the rare call that waits for a scheduler's time slice counts with its full time. Both
numbers of threads are measured in processes of their own, which take turns (run.py); all are stopped but the one whose turn it
is. A turn lasts about 0.1 s, so that both meet the same interruptions by the machine's other work: in a second without turns a
call of 0.4 ms with one thread varies by a quarter. A ratio above 1 means that threads cost time; ± is its standard error.
"""

import argparse
import contextlib
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import cases
from contenders import REGISTRY
from run import Process, processor

BUSY = ["20,90,12,48,7", "50,60,20,96,20", "32,100,40,200,30"]
PEERS = ("torch", "jax", "numba")
GAPS = (0.1e-3, 1e-3, 10e-3)
AT_ONCE = 8
TURN, LONG_TURN = 0.1, 0.4  # seconds; the long one is for AT_ONCE processes, which also take turns on the cores
LEAST_ROUNDS = 8  # turns of each number of threads
SPIN = "while True: pass"


def cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextlib.contextmanager
def occupied_core():
    """Keep the last core that this process may use occupied."""
    spinning = subprocess.Popen([sys.executable, "-c", SPIN])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(spinning.pid, [max(os.sched_getaffinity(0))])
    time.sleep(0.5)
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


def prepare_pair(stack, name, cell, dtype, **variables):
    """Return two processes of a contender, {1: one thread, n: all cores' threads}, which are ready to time the cell.

    `stack`, an ExitStack, ends them. `variables` may hold environment variables as with_1={...}.
    """
    processes = {threads: stack.enter_context(Process(name, threads, variables.get(f"with_{threads}")))
                 for threads in (1, cores())}
    for threads, process in processes.items():
        process.ask("prepare", cell, dtype, threads, "gradients")
    return processes


def means_in_turn(processes, seconds, ask, turn=TURN):
    """Return the mean seconds of a call with one thread and with all threads, and the standard error of their ratio.

    The processes take turns of `turn` seconds. ask(process, seconds) is a turn. It returns the total time of its calls, and
    their number. The standard error is the jackknife's over the rounds, so that a row of few calls shows how uncertain it is.
    """
    rounds = max(LEAST_ROUNDS, round(seconds / turn / len(processes)))
    turns = {threads: [] for threads in processes}
    for k in range(rounds):
        for threads in list(processes)[::1 - 2 * (k % 2)]:
            turns[threads].append(ask(processes[threads], seconds / rounds / len(processes)))
    left_out = [ratio(*means([pairs[:k] + pairs[k + 1:] for pairs in turns.values()])) for k in range(rounds)]
    spread = sum((each - sum(left_out) / rounds) ** 2 for each in left_out)
    return *means(turns.values()), math.sqrt(spread * (rounds - 1) / rounds)


def means(turns):
    """Return the mean seconds of a call for each list of turns (total seconds, number of calls)."""
    return [sum(total for total, _ in pairs) / sum(count for _, count in pairs) for pairs in turns]


def ratio(one, all_of_them):
    """Return the time with all threads divided by that with one."""
    return all_of_them / one


def means_of_calls(processes, seconds):
    """Return what `means_in_turn` returns, for calls that follow one another.

    `processes` come from `prepare_pair`, and take turns for `seconds` together.
    """
    return means_in_turn(processes, seconds, lambda process, share: process.ask("repeat", share))


def print_row(cell, name, one, all_of_them, error, *more):
    """Print a row of a table: cell, contender, and the seconds of a call with one thread (`one`) and with all threads.

    `error` is the standard error of their ratio, and `more` are further entries.
    """
    print(f"| {','.join(map(str, cell.sizes))} | {name} | {one * 1e3:.3f} | {all_of_them * 1e3:.3f} | "
          f"{ratio(one, all_of_them):.2f} ± {error:.2f} |{''.join(f' {word} |' for word in more)}", flush=True)


def print_heading(title, *more):
    """Print the title and the header of a table. `more` are the names of further columns."""
    print(f"\n### {title}\n\n| B, T, I, H, O | | one thread, ms | {cores()} threads, ms | ratio |"
          f"{''.join(f' {word} |' for word in more)}\n|---|---|---|---|---|{'---|' * len(more)}", flush=True)


def busy(arguments):
    """Print the table of calls beside a process that occupies the last core."""
    print_heading("Another process occupies the last core")
    with occupied_core():
        for cell in cases.choose(arguments.cells or BUSY):
            for name in ("fastbptt", *arguments.peers):
                with ExitStack() as stack:
                    print_row(cell, REGISTRY[name].title,
                              *means_of_calls(prepare_pair(stack, name, cell, arguments.dtype), arguments.seconds))


def idle(arguments):
    """Print the table of calls that follow one another while nothing else runs."""
    print_heading("Nothing else runs")
    for cell in cases.choose(arguments.cells or ["bar"]):
        with ExitStack() as stack:
            print_row(cell, "fastbptt",
                      *means_of_calls(prepare_pair(stack, "fastbptt", cell, arguments.dtype), arguments.seconds))


def spaced(arguments):
    """Print the table of calls that are GAPS apart."""
    print_heading("Calls that are some time apart", "ms apart")
    for cell in cases.choose(arguments.cells or ["bar"]):
        with ExitStack() as stack:
            processes = prepare_pair(stack, "fastbptt", cell, arguments.dtype)
            for gap in GAPS:
                print_row(cell, "fastbptt", *means_in_turn(processes, arguments.seconds, lambda process, share, gap=gap:
                                                           process.ask("spaced", gap, share)), f"{gap * 1e3:g}")


def processes(arguments):
    """Print the table of eight processes of each kind at once; the time is that of a call in each."""
    print_heading(f"{AT_ONCE} processes at once")
    for cell in cases.choose(arguments.cells or BUSY):
        with ExitStack() as stack:
            groups = {threads: [stack.enter_context(Process("fastbptt", threads)) for _ in range(AT_ONCE)]
                      for threads in (1, cores())}
            for threads, group in groups.items():
                for process in group:
                    process.ask("prepare", cell, arguments.dtype, threads, "gradients")
            pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))

            def ask(group, share, pool=pool):
                """Return the total time and the number of calls that a group's processes make at once, in `share` seconds."""
                pairs = pool.map(lambda process: process.ask("repeat", share), group)
                return [sum(values) for values in zip(*pairs, strict=True)]

            print_row(cell, "fastbptt", *means_in_turn(groups, arguments.seconds, ask, LONG_TURN))


def alternating(arguments):
    """Print the table of fastbptt's calls that alternate with a peer's in one process."""
    print_heading("Calls that alternate with a peer's in one process", "the peer")
    for cell in cases.choose(arguments.cells or BUSY):
        for name in arguments.peers:
            with ExitStack() as stack:
                # the peer has all cores' threads in both processes
                both = {threads: {**dict(REGISTRY[name].environment), **all_threads(), "FASTBPTT_NUM_THREADS": str(threads)}
                        for threads in (1, cores())}
                ready = prepare_pair(stack, "fastbptt", cell, arguments.dtype,
                                     **{f"with_{threads}": words for threads, words in both.items()})

                def ask(process, share, name=name, cell=cell):
                    """Return the total time and the number of calls that alternate with the peer's for `share` seconds."""
                    return process.ask("alternate", name, cell, arguments.dtype, cores(), share)

                for process in ready.values():
                    ask(process, 0)
                print_row(cell, "fastbptt", *means_in_turn(ready, arguments.seconds, ask), REGISTRY[name].title)


def all_threads():
    """Return the environment variables that give every library all cores' threads."""
    from run import environment_of
    return environment_of(cores())


TABLES = {table.__name__: table for table in (busy, idle, spaced, processes, alternating)}


def main():
    """Run the command; the module's docstring describes it."""
    parser = argparse.ArgumentParser(description="Measure what threads cost beside other work.")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--cells", nargs="+", help=f"{', '.join(cases.GROUPS)}, or B,T,I,H,O")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--seconds", type=float, default=8, help="of each row (default 8)")
    arguments = parser.parse_args()
    arguments.peers = [name for name in arguments.peers if not REGISTRY[name].missing()]
    if cores() < 2:
        sys.exit("bench/busy.py needs two cores")
    print(f"python bench/busy.py {' '.join(sys.argv[1:])}: {processor()}, {cores()} cores, load {os.getloadavg()[0]:.2f}")
    for name in arguments.tables:
        TABLES[name](arguments)


if __name__ == "__main__":
    main()
