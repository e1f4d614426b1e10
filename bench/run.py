"""Time the loss with all its gradients: fastbptt, its NumPy reference, and PyTorch's nn.RNN with autograd.

    pip install .                          # the installed package is what is timed
    pip install torch==2.13.0              # or without: its rows are then missing
    python bench/run.py                    # five cells in float32, under two minutes, CSV on standard output
    python bench/run.py --dtype float64 --output results.csv

Every contender does the same work on the same numbers: tanh, biases, initial state zero, squared error summed over
outputs and divided by T · B, gradients of all parameters but none of X. Each result is compared with the float64
reference before anything is timed. Contenders take turns within one run, the first of a round being another each time;
a sample is the mean of as many calls as take about 5 ms. Everything runs on one thread: BLAS's, OpenMP's and PyTorch's
numbers of threads are set to 1 below, before NumPy is imported, and recorded.

OPENBLAS_CORETYPE, where it is set, makes OpenBLAS use another processor's kernels, mostly slower ones, in this process:
leave it unset for figures that mean anything. It is recorded.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "FASTBPTT_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import csv
import gc
import platform
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import cases
import numpy as np
import scipy
import threadpoolctl

TOLERANCES = {"float32": 2e-5, "float64": 1e-11}  # largest error of a gradient, relative to its largest entry
SAMPLE_SECONDS = 0.005
COLUMNS = ["B", "T", "I", "H", "O", "dtype", "contender", "min_us", "median_us", "ratio", "max_error", "rounds",
           "calls"]


def import_fastbptt():
    """The installed package; exits where there is none, or one without its compiled module."""
    try:
        import fastbptt
    except ImportError as error:
        sys.exit(f"bench/run.py times the installed package: run `pip install .` first ({error})")
    if not getattr(fastbptt._core, "__file__", "").endswith((".so", ".pyd")):
        sys.exit("bench/run.py times the compiled module, and this fastbptt has none: run `pip install .` first")
    return fastbptt


def import_torch():
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


# ---- Contenders: a function without arguments that returns the loss and a dict of the gradients as arrays


def network(fastbptt, cell, dtype):
    parameters, X, D = cases.make(cell, dtype)
    net = fastbptt.RNN(cell.I, cell.H, cell.O, dtype=dtype)
    net.load_state_dict(parameters)
    return net, X, D


def fastbptt_contender(fastbptt, cell, dtype, backend="core"):
    net, X, D = network(fastbptt, cell, dtype)
    return lambda: net.loss_and_gradients(X, D, backend=backend)


def torch_contender(torch, cell, dtype):
    """nn.RNN and a Linear layer, as a user writes them; the second bias of nn.RNN is zero here."""
    parameters, X, D = cases.make(cell, dtype)
    X, D = torch.from_numpy(X), torch.from_numpy(D)
    rnn = torch.nn.RNN(cell.I, cell.H, dtype=getattr(torch, dtype))
    linear = torch.nn.Linear(cell.H, cell.O, dtype=getattr(torch, dtype))
    named = {"W_x": rnn.weight_ih_l0, "W_s": rnn.weight_hh_l0, "b_s": rnn.bias_ih_l0, "W_y": linear.weight,
             "b_y": linear.bias}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(parameters[name]))
        rnn.bias_hh_l0.zero_()
    everything, steps = [*named.values(), rnn.bias_hh_l0], cell.T * cell.B

    def call():
        states, _ = rnn(X)
        difference = linear(states) - D
        loss = (difference * difference).sum() / steps
        gradients = torch.autograd.grad(loss, everything)
        return loss.item(), {name: gradient.numpy() for name, gradient in zip(named, gradients)}

    return call


def contenders(fastbptt, torch, cell, dtype):
    calls = {
        "fastbptt": fastbptt_contender(fastbptt, cell, dtype),
        "NumPy reference": fastbptt_contender(fastbptt, cell, dtype, "reference"),
    }
    if torch is not None:
        calls["PyTorch nn.RNN"] = torch_contender(torch, cell, dtype)
    return calls


# ---- Checking and timing


def largest_error(result, truth):
    """The largest error of the loss and of every gradient, each relative to its largest entry."""
    loss, gradients = result
    errors = [abs(loss - truth[0]) / abs(truth[0])]
    errors += [np.abs(gradients[name] - value).max() / np.abs(value).max() for name, value in truth[1].items()]
    return float(max(errors))


def samples(call, count):
    """Mean seconds of `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def time_cell(calls, seconds):
    """Seconds a call, samples of every contender taken in turn until the time is up; and calls a sample."""
    counts = {}
    for name, call in calls.items():
        call()
        counts[name] = max(1, round(SAMPLE_SECONDS / samples(call, 3)))
    times, end, names = {name: [] for name in calls}, time.perf_counter() + seconds, list(calls)
    gc.collect()
    gc.disable()
    try:
        while time.perf_counter() < end or len(times[names[0]]) < 5:
            for name in names:
                times[name].append(samples(calls[name], counts[name]))
            names.append(names.pop(0))
    finally:
        gc.enable()
    return times, counts


def measure(cell, dtype, fastbptt, torch, seconds):
    net, X, D = network(fastbptt, cell, "float64")
    truth = net.loss_and_gradients(X, D, backend="reference")
    calls = contenders(fastbptt, torch, cell, dtype)
    errors = {name: largest_error(call(), truth) for name, call in calls.items()}
    for name, error in errors.items():
        if not error < TOLERANCES[dtype]:
            sys.exit(f"{name} is wrong at {tuple(cell[:5])}: relative error {error:.1e}; nothing was timed")
    times, counts = time_cell(calls, seconds)
    base = np.median(times["fastbptt"])
    for name in calls:
        yield dict(zip(COLUMNS, [*cell[:5], dtype, name, f"{min(times[name]) * 1e6:.1f}",
                                 f"{np.median(times[name]) * 1e6:.1f}", f"{np.median(times[name]) / base:.2f}",
                                 f"{errors[name]:.1e}", len(times[name]), counts[name]]))


# ---- The header


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    model, flags = (re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE) for key in ("model name", "flags"))
    vectors = [flag for flag in ("sse2", "avx2", "fma", "avx512f") if flags and flag in flags[1].split()]
    return f"{model[1] if model else platform.machine()}, {' '.join(vectors)}"


def build(fastbptt):
    """Compiler, from the module itself, and the flags that setup.py names."""
    setup = Path(__file__).resolve().parent.parent / "setup.py"
    text = setup.read_text(encoding="utf-8") if setup.exists() else ""
    flags = re.search(r"^FLAGS = (.*(?:\n +.*)*)", text, re.MULTILINE)
    return (f"{fastbptt._core.compiler()}; flags in setup.py: "
            f"{' '.join(flags[1].split()) if flags else 'not found'}")


def header(fastbptt, torch, dtype):
    yield f"command: python bench/run.py {' '.join(sys.argv[1:])}".rstrip()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"processor: {processor()}; {usable} cores for this process"
    yield f"system: {platform.platform()}"
    yield (f"versions: fastbptt {fastbptt.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
           f"SciPy {scipy.__version__}, PyTorch {torch.__version__ if torch else 'not installed'}")
    yield f"build: {build(fastbptt)}"
    for library in threadpoolctl.threadpool_info():
        yield (f"threads: {library['num_threads']} in {library['internal_api']} {library['version'] or ''} "
               f"({library.get('architecture', 'no kernels of its own')}), {Path(library['filepath']).name}")
    if torch:
        yield f"threads: {torch.get_num_threads()} in PyTorch"
    yield f"OPENBLAS_CORETYPE: {os.environ.get('OPENBLAS_CORETYPE', 'not set')}"
    for name in sorted(name for name in os.environ if name.startswith("FASTBPTT_")):
        yield f"{name}: {os.environ[name]}"
    if hasattr(os, "getloadavg"):
        yield f"load at the start: {os.getloadavg()[0]:.2f}"
    yield "min_us, median_us: microseconds of one call, over the rounds; a sample is the mean of `calls` calls"
    yield "ratio: the row's median divided by fastbptt's median of the same cell and run; above 1, fastbptt was faster"
    yield (f"max_error: of loss and gradients against the float64 reference, relative to the largest entry of each; "
           f"checked to be under {TOLERANCES[dtype]:.0e} before timing")


def main():
    parser = argparse.ArgumentParser(description="Time loss and gradients: fastbptt, its NumPy reference, PyTorch.")
    parser.add_argument("--dtype", choices=list(TOLERANCES), default="float32")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each cell (default 10)")
    parser.add_argument("--output", help="a file for the CSV; by default standard output")
    arguments = parser.parse_args()
    fastbptt, torch = import_fastbptt(), import_torch()
    output = open(arguments.output, "w", newline="", encoding="utf-8") if arguments.output else nullcontext(sys.stdout)
    with output as file:
        for line in header(fastbptt, torch, arguments.dtype):
            print(f"# {line}", file=file)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for cell in cases.CELLS:
            for row in measure(cell, arguments.dtype, fastbptt, torch, arguments.seconds):
                writer.writerow(row)
            file.flush()
        if hasattr(os, "getloadavg"):
            print(f"# load at the end: {os.getloadavg()[0]:.2f}", file=file)


if __name__ == "__main__":
    main()
