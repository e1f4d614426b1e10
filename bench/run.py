"""Time fastbptt and its peers on the same work: loss and gradients, forward pass, training step, and what comes first.

    pip install .                                   # the installed package is what is timed
    pip install torch==2.13.0 jax numba tensorflow  # those that are missing are left out, and the header says so
    python bench/run.py                             # five cells in float32, loss and gradients, CSV on standard output
    python bench/run.py --cells bar --dtype float64 --threads 2 --output results.csv
    python bench/run.py --what forward adam first import memory --cells 16,100,8,32,4
    python bench/run.py --random 20 --seed 1 --contenders fastbptt jax_hand numba
    python bench/run.py --cells gated               # seven cells with GRU and with LSTM units
    python bench/run.py --random 100 --seed 1 --units gru lstm --output random.csv  # report.py sums up what was lost
    python bench/run.py --lengths full equal uniform geometric --cells 32,100,10,64,10  # sequences of unequal length
    python bench/report.py results.csv              # tables and pictures

Every contender does the same work on the same numbers; `contenders/__init__.py` says which, and who they are. Each
result is compared with the float64 reference before anything is timed; who is wrong is not. Each contender lives in a
process of its own; only one of them works at a time, the others being stopped, and they take turns, the first of a
round being another each time, together with a large product of SciPy's BLAS, which tells what the processor gives
just then. A sample is the mean of as many calls as take about 5 ms.

The numbers of threads (--threads) are set in the environment of every process before it begins, and recorded; `cpu`,
the processor time used per time passed, shows whether they were kept to.

With --lengths the same B sequences have T steps at most (cases.LENGTHS), and every contender has its own way with the
padding. `full_batches` is fastbptt without lengths, on as many steps in B sequences of one length: what the same work
costs where nothing is unequal.

OPENBLAS_CORETYPE, where it is set, makes OpenBLAS use another processor's kernels, mostly slower ones: leave it unset
for figures that mean anything. FASTBPTT_SIMD forces a kernel set upon fastbptt. Both are recorded.
"""

import argparse
import csv
import os
import pickle
import platform
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import cases
import numpy as np
import scipy
from contenders import LEARNING_RATE, REGISTRY
from worker import ADAM_STEPS, Product

# largest error relative to the largest entry: of the loss, of outputs, of each gradient; Adam's is that of the way that
# the parameters have gone, as a whole: where a gradient is nearly zero its direction is rounding's
TOLERANCES = {"float32": 2e-5, "float64": 1e-11}
ADAM_TOLERANCES = {"float32": 1e-2, "float64": 1e-6}
REPEATED = ("gradients", "forward", "adam")
FRESH = ("first", "import", "memory")  # one figure of a process
LEAST_ROUNDS = 7  # of a cell, however short --seconds
FRESH_ROUNDS = 3
COLUMNS = ["what", "B", "T", "I", "H", "O", "units", "lengths", "dtype", "threads", "contender", "group", "variant", "unit",
           "min", "median", "ratio", "gflops", "gemm_gflops", "cpu", "max_error", "rounds", "calls"]


# ---- Processes


class Process:
    """A contender's process: process.ask(method, ...) is that method of worker.Worker in it."""

    def __init__(self, name, threads, more=None):
        """Start the process of the contender `name` with this number of threads.

        `more` are variables of its environment that override all others.
        """
        environment = os.environ | environment_of(threads)
        if name in REGISTRY:
            environment |= dict(REGISTRY[name].environment)
        environment |= more or {}
        worker = Path(__file__).resolve().with_name("worker.py")
        self.name = name
        self.process = subprocess.Popen([sys.executable, str(worker), name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def ask(self, *message):
        """Return the process's answer to a message (method, *arguments).

        In between it is stopped: an idle thread of a BLAS or of OpenMP goes on looking for work for a while.
        """
        try:
            self.process.send_signal(signal.SIGCONT)
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()
            fine, answer = pickle.load(self.process.stdout)
            self.process.send_signal(signal.SIGSTOP)
        except (EOFError, BrokenPipeError):
            sys.exit(f"{self.name}: the process ended with {self.process.wait()} in {message}")
        if not fine:
            sys.exit(f"{self.name}: {message} failed\n{answer}")
        return answer


def environment_of(threads):
    """Return the environment variables that set every library's number of threads.

    NPROC is XLA's, which otherwise takes all cores.
    """
    words = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "FASTBPTT_NUM_THREADS",
             "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
    found = dict.fromkeys(words, str(threads))
    if threads == 1:
        found["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return found


# ---- Checking


def reference_result(cell, dtype, what):
    """Return what the float64 reference computes from the same numbers that the contenders get.

    `what` is "gradients", "forward" or "adam". For the latter, it is the parameters before and after ADAM_STEPS updates.
    """
    from fastbptt import reference

    parameters, X, D, lengths = cases.make(cell, dtype)
    parameters = {name: value.astype(np.float64) for name, value in parameters.items()}
    X, D = X.astype(np.float64), D.astype(np.float64)
    if what == "gradients":
        return reference.loss_and_gradients(parameters, X, D, lengths=lengths, cell=cell.units)
    if what == "forward":
        return reference.forward(parameters, X, cell=cell.units)[0]
    now, slots = dict(parameters), {name: [np.zeros_like(w)] * 2 for name, w in parameters.items()}
    for count in range(1, ADAM_STEPS + 1):
        _, gradients = reference.loss_and_gradients(now, X, D, cell=cell.units)
        for name in now:
            now[name], slots[name] = reference.update("adam", now[name], gradients[name], slots[name], count,
                                                      learning_rate=LEARNING_RATE)
    return parameters, now


def largest_error(result, right, what):
    """Return the largest error of loss, outputs and gradients, each relative to its largest entry; Adam's as said above.

    `result` is a contender's, `right` comes from `reference_result`, and `what` is the kind of work.
    """
    if what == "adam":
        before, after = right
        missed = sum(np.square(result[name] - after[name]).sum() for name in after)
        return float(np.sqrt(missed / sum(np.square(after[name] - before[name]).sum() for name in after)))
    if what == "forward":
        pairs = [(result, right)]
    else:
        pairs = [(result[0], right[0]), *((result[1][name], value) for name, value in right[1].items())]
    return float(max(np.abs(found - value).max() / (np.abs(value).max() or 1) for found, value in pairs))


def describe_cell(cell):
    """Return the sizes of a cell, its units if they are gated, and its lengths as text."""
    units = "" if cell.units == "plain" else f"{cell.units} "
    return f"{','.join(map(str, cell.sizes))} {units}{cell.lengths}".rstrip()


def check(contender, cell, dtype, what, result, right):
    """Return the largest error of a contender's result, or None if it is too large.

    A peer is then left out of the cell, and fastbptt ends the run. `right` comes from `reference_result`.
    """
    error = largest_error(result, right, what)
    limit = max(ADAM_TOLERANCES[dtype], contender.adam_tolerance) if what == "adam" else TOLERANCES[dtype]
    if error < limit:
        return error
    words = (f"{contender.title} is wrong at {describe_cell(cell)}, {what}: "
             f"error {error:.1e}, allowed {limit:.0e}; it was not timed")
    if contender.group == "fastbptt":
        sys.exit(words)
    print(words, file=sys.stderr)


# ---- Timing


def timed_cell(name, cell):
    """Return the cell that a contender is given for a cell: full batches for the contender of that name."""
    return cases.full_batches(cell) if REGISTRY[name].full_batches else cell


def measure(cell, dtype, threads, what, processes, gemm, seconds):
    """Yield a row for each contender, from samples of all in turn until `seconds` have passed.

    `processes` are the contenders' by name. `gemm` is the process of the large product, which is sampled in between.
    Contenders with wrong results are left out.
    """
    ready, rights = {}, {}
    for name, process in processes.items():
        if REGISTRY[name].takes(cell, dtype, what):
            own = timed_cell(name, cell)
            if own not in rights:
                rights[own] = reference_result(own, dtype, what)
            result, variant, calls = process.ask("prepare", own, dtype, threads, what)
            error = check(REGISTRY[name], own, dtype, what, result, rights[own])
            if error is not None:
                ready[name] = {"variant": variant, "calls": calls, "max_error": f"{error:.1e}"}
    gemm.ask("prepare", cell, dtype, threads, "gradients")
    asked = {**{name: processes[name] for name in ready}, "gemm": gemm}
    order, samples, end = list(asked), {name: [] for name in asked}, time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples["gemm"]) < LEAST_ROUNDS:
        for name in order:
            samples[name].append(asked[name].ask("sample"))
        order.append(order.pop(0))
    times = {name: np.array(pairs) for name, pairs in samples.items()}
    peak = 2e-9 * Product.N**3 / np.median(times["gemm"][:, 0])
    base = np.median(times["fastbptt"][:, 0]) if "fastbptt" in times else None
    for name, about in ready.items():
        passed, used = times[name].T
        median = np.median(passed)
        yield about | make_row(what, cell, dtype, threads, name, "us", passed * 1e6, base and base * 1e6) | {
            "gflops": f"{1e-9 * cases.flops(timed_cell(name, cell), what) / median:.2f}", "gemm_gflops": f"{peak:.1f}",
            "cpu": f"{np.median(used / passed):.2f}"}


def measure_fresh(cell, dtype, threads, what, names):
    """Yield a row for each contender of `names`, from FRESH_ROUNDS new processes, taken in turn; memory gives two rows.

    `what` is one of FRESH.
    """
    found = {name: [] for name in names if REGISTRY[name].takes(cell, dtype, what)}
    for _ in range(FRESH_ROUNDS):
        for name in found:
            with Process(name, threads) as process:
                found[name].append(process.ask("imports") if what == "import"
                                   else process.ask(what, timed_cell(name, cell), dtype, threads))
    figures = {name: np.array(values) for name, values in found.items()}
    kinds = [("memory", "MB", [1e-6, 0]), ("memory, whole process", "MB", [0, 1e-6])] if what == "memory" \
        else [(what, "us", 1e6)]
    for title, unit, scale in kinds:
        values = {name: (array * scale).sum(axis=-1) if what == "memory" else array * scale
                  for name, array in figures.items()}
        base = np.median(values["fastbptt"]) if "fastbptt" in values else None
        for name in values:
            yield make_row(title, cell, dtype, threads, name, unit, values[name], base)


def make_row(what, cell, dtype, threads, name, unit, values, base):
    """Return a row of the CSV, a dict, from the figures `values` of the contender `name`, in this unit.

    `base` is fastbptt's median, or None.
    """
    median = np.median(values)
    place = (*cell.sizes, cell.units, cell.lengths) if cell else [""] * 7
    return dict(zip(COLUMNS[:11], [what, *place, dtype, threads, REGISTRY[name].title])) | {
        "group": REGISTRY[name].group, "unit": unit, "min": f"{min(values):.1f}", "median": f"{median:.1f}",
        "ratio": f"{median / base:.2f}" if base else "", "rounds": len(values)}


# ---- The header


def processor():
    """Return the name of the processor and its vector extensions."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model, flags = (re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE) for key in ("model name", "flags"))
    vectors = [flag for flag in ("sse2", "avx2", "fma", "avx512f") if flags and flag in flags[1].split()]
    return f"{model[1] if model else platform.machine()}, {' '.join(vectors)}"


def compiler_flags():
    """Return the compiler's flags as setup.py names them."""
    setup = Path(__file__).resolve().parent.parent / "setup.py"
    text = setup.read_text(encoding="utf-8") if setup.exists() else ""
    found = re.search(r"^FLAGS = (.*(?:\n +.*)*)", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else "not found"


def peak_gflops(gemm, dtype, threads):
    """Return the GFLOP/s of the best of five large products in the process `gemm`."""
    gemm.ask("prepare", cases.QUICK[0], dtype, threads, "gradients")
    return 2e-9 * Product.N**3 / min(gemm.ask("sample")[0] for _ in range(5))


def header_lines(arguments, processes, gemm, missing):
    """Yield the lines about the run that stand above the CSV: processor, versions, threads, meaning of the columns.

    `missing` has the reason for each contender that is left out.
    """
    yield f"command: python bench/run.py {' '.join(sys.argv[1:])}".rstrip()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"processor: {processor()}; {usable} cores for this process"
    yield f"system: {platform.platform()}"
    if "fastbptt" in processes:
        version, compiler, kernels = processes["fastbptt"].ask("core")
        yield f"fastbptt: {version}, kernel set {kernels}, built by {compiler}; flags in setup.py: {compiler_flags()}"
    versions = {f"numpy {np.__version__}", f"scipy {scipy.__version__}"}
    versions.update(*(REGISTRY[name].versions() for name in processes))
    yield f"versions: Python {platform.python_version()}, {', '.join(sorted(versions))}"
    for name, why in missing.items():
        yield f"left out: {REGISTRY[name].title}, {why}"
    for name, process in processes.items():
        yield f"threads of {REGISTRY[name].title}: {'; '.join(process.ask('describe'))}"
    for dtype in arguments.dtype:
        product = f"{'sgemm' if dtype == 'float32' else 'dgemm'} of {Product.N} x {Product.N}"
        yield f"peak: {peak_gflops(gemm, dtype, arguments.threads):.1f} GFLOP/s, {product}, {arguments.threads} threads"
    yield f"threads of the peak: {'; '.join(gemm.ask('describe'))}"
    yield f"OPENBLAS_CORETYPE: {os.environ.get('OPENBLAS_CORETYPE', 'not set')}"
    yield f"FASTBPTT_SIMD: {os.environ.get('FASTBPTT_SIMD', 'not set')}"
    if hasattr(os, "getloadavg"):
        yield f"load at the start: {os.getloadavg()[0]:.2f}"
    yield "min, median: over the rounds; a sample is the mean of `calls` calls; import and first: of new processes"
    yield "ratio: the row's median divided by fastbptt's median of the same cell and run; above 1, fastbptt was faster"
    yield "gflops: the matrix products' multiplications and additions, Adam's left out, divided by the median"
    yield f"gemm_gflops: a product of {Product.N} x {Product.N} by SciPy's BLAS, the median of one a round, in between"
    yield "cpu: processor time used per time passed"
    for cell in arguments.cells:
        if cell.lengths:
            found = cases.lengths(cell)
            yield (f"lengths of {','.join(map(str, cell.sizes))}, {cell.lengths}: {found.min()} to {found.max()}, "
                   f"{found.sum()} of {cell.B * cell.T} steps")
    yield (f"max_error: against the float64 reference, relative to the largest entry of each array, checked to be "
           f"under {TOLERANCES}; of Adam, of the parameters' way over {ADAM_STEPS} steps, under {ADAM_TOLERANCES}"
           + "".join(f", {REGISTRY[name].title} {REGISTRY[name].adam_tolerance}" for name in processes
                     if REGISTRY[name].adam_tolerance))


def parse():
    """Return the command line's arguments, with `cells` as a list of cases.Cell."""
    parser = argparse.ArgumentParser(description="Time fastbptt and its peers on the same work.")
    parser.add_argument("--cells", nargs="+", default=None,
                        help=f"{', '.join(cases.GROUPS)}, or B,T,I,H,O (default quick)")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N cells drawn log-uniformly, after --cells")
    parser.add_argument("--seed", type=int, default=0, help="of --random (default 0)")
    parser.add_argument("--lengths", nargs="+", choices=list(cases.LENGTHS),
                        help="each cell with sequences of such lengths; gradients, first and memory")
    parser.add_argument("--units", nargs="+", choices=list(cases.GATES),
                        help="of the hidden layer; default plain, and gru and lstm with --cells gated")
    parser.add_argument("--dtype", nargs="+", choices=list(TOLERANCES), default=["float32"])
    parser.add_argument("--threads", type=int, default=1, help="of every contender (default 1)")
    parser.add_argument("--what", nargs="+", choices=[*REPEATED, *FRESH], default=["gradients"])
    parser.add_argument("--contenders", nargs="+", choices=list(REGISTRY), default=list(REGISTRY))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each cell (default 10)")
    parser.add_argument("--output", help="a file for the CSV; by default standard output")
    arguments = parser.parse_args()
    words = arguments.cells or ([] if arguments.random else ["quick"])
    units = arguments.units or (["gru", "lstm"] if "gated" in words else ["plain"])
    arguments.cells = [cell._replace(units=kind) for kind in units
                       for cell in cases.choose(words) + cases.draw(arguments.random, arguments.seed)]
    if arguments.lengths:
        if {"forward", "adam"}.intersection(arguments.what):
            parser.error("--lengths is of gradients, first and memory: the peers' outputs in the padding are not 0")
        arguments.cells = [cell._replace(lengths=kind) for cell in arguments.cells for kind in arguments.lengths]
    return arguments


def measure_all(arguments, processes, gemm):
    """Yield the rows of all kinds of work, dtypes and cells."""
    for what in arguments.what:
        for dtype in arguments.dtype:
            if what == "import":
                yield from measure_fresh(None, dtype, arguments.threads, what, processes)
                continue
            for cell in arguments.cells:
                if what in FRESH:
                    yield from measure_fresh(cell, dtype, arguments.threads, what, processes)
                else:
                    yield from measure(cell, dtype, arguments.threads, what, processes, gemm, arguments.seconds)


def main():
    """Run the command; the module's docstring describes it."""
    arguments = parse()
    if REGISTRY["fastbptt"].missing():
        sys.exit("bench/run.py times the installed package: run `pip install .` first")
    missing = {name: why for name in arguments.contenders if (why := REGISTRY[name].missing())}
    names = [name for name in arguments.contenders if name not in missing
             and any(REGISTRY[name].takes(cell, dtype, what) for cell in arguments.cells for dtype in arguments.dtype
                     for what in arguments.what)]
    lost = []
    with ExitStack() as stack:
        output = stack.enter_context(open(arguments.output, "w", newline="", encoding="utf-8")
                                     if arguments.output else nullcontext(sys.stdout))
        processes = {name: stack.enter_context(Process(name, arguments.threads)) for name in names}
        gemm = stack.enter_context(Process("gemm", arguments.threads))
        for line in header_lines(arguments, processes, gemm, missing):
            print(f"# {line}", file=output)
        writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for found in measure_all(arguments, processes, gemm):
            writer.writerow(found)
            output.flush()
            if found["ratio"] and float(found["ratio"]) < 1 and found["group"] != "fastbptt":
                lost.append(f"{found['what']}, {','.join(str(found[size]) for size in 'BTIHO')}, "
                            f"{found['units'] not in ('', 'plain') and found['units'] + ', ' or ''}"
                            f"{found['lengths'] and found['lengths'] + ', '}{found['dtype']}: "
                            f"{found['contender']} took {found['ratio']} of fastbptt's time")
        for line in lost:
            print(f"# fastbptt lost: {line}", file=output)
        print(f"# fastbptt lost {len(lost)} comparisons of those above", file=output)
        if hasattr(os, "getloadavg"):
            print(f"# load at the end: {os.getloadavg()[0]:.2f}", file=output)


if __name__ == "__main__":
    main()
