"""One contender in a process of its own, told by run.py through pipes what to do: python worker.py NAME.

A process each keeps them apart: threads that wait by spinning, BLAS libraries, settings of threads, memory. A message
is a pickled tuple (method, *arguments), its answer (True, value) or (False, traceback).
"""

import gc
import importlib
import math
import os
import pickle
import re
import sys
import time
import traceback
from pathlib import Path

import contenders

SAMPLE_SECONDS = 0.005  # a sample is the mean of as many calls as take about that
WARM_SECONDS = 0.001  # calls before a sample, untimed, because the others have had the caches since
WARM_ONCE = 0.02  # a call that takes up to this long is made once untimed; a longer one fills the caches by itself
CHOICE_SECONDS = 0.1  # of each variant, before the one with the shortest call is chosen
ADAM_STEPS = 3  # before the parameters are compared


class Product:
    """The largest square product of BLAS as a contender: the rate that others are held against."""

    N = 768

    @staticmethod
    def variants(problem):
        """Return the only variant."""
        return ("",)

    def __init__(self, problem, variant=""):
        """Make a matrix of N columns in the dtype of `problem`, a Problem; `variant` is not used."""
        import numpy as np
        from scipy.linalg import blas

        self.A = np.asfortranarray(np.random.default_rng(0).standard_normal((self.N, self.N)).astype(problem.dtype))
        self.product = blas.sgemm if problem.dtype == "float32" else blas.dgemm

    def gradients(self):
        """Compute the product."""
        return self.product(1, self.A, self.A)

    forward = adam = parameters = gradients

    @staticmethod
    def threads():
        """Return the number of threads, as text."""
        return "as SciPy's BLAS"


class Sampler:
    """Samples of a call that takes about so many seconds, divided by the number of updates that it makes."""

    def __init__(self, call, seconds, updates=1):
        """Choose how many times `call` is called in a sample, and before it to warm up.

        `seconds` is the time of one call, measured before, and `updates` the number of updates that it makes.
        """
        self.call, self.updates = call, updates
        self.count = max(1, round(SAMPLE_SECONDS / seconds))
        self.warm = max(seconds < WARM_ONCE, round(WARM_SECONDS / seconds))

    def sample(self):
        """Return the seconds and processor seconds of a call, as means over a sample."""
        call, count = self.call, self.count
        gc.disable()
        for _ in range(self.warm):
            call()
        cpu, start = time.process_time(), time.perf_counter()
        for _ in range(count):
            call()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        gc.enable()
        return seconds / count / self.updates, cpu / count / self.updates


class Worker:
    """Times one contender, `name` of REGISTRY, in this process. Another name stands for Product."""

    def __init__(self, name):
        self.entry = contenders.REGISTRY.get(name)

    def type(self):
        """Return the class of the contender."""
        return self.entry.load() if self.entry else Product

    def describe(self):
        """Return lines about threads, BLAS and kernels in this process."""
        import threadpoolctl

        kind = self.type()
        lines = [kind.threads()]
        for library in threadpoolctl.threadpool_info():
            lines.append(f"{library['num_threads']} in {library['internal_api']} {library['version'] or ''} "
                         f"({library.get('architecture', 'no kernels of its own')}), {Path(library['filepath']).name}")
        return lines

    def core(self):
        """Return what only fastbptt knows of itself: version, compiler, kernel set."""
        import fastbptt

        if not getattr(fastbptt._core, "__file__", "").endswith((".so", ".pyd")):
            raise ImportError("this fastbptt has no compiled module")
        return fastbptt.__version__, fastbptt._core.compiler(), fastbptt._core.kernel_set()

    def problem(self, cell, dtype, threads):
        """Return the contenders.Problem of a cell."""
        import cases

        return contenders.Problem(*cell.sizes, dtype, threads, *cases.make(cell, dtype), cell.units)

    def prepare(self, cell, dtype, threads, what):
        """Prepare the fastest variant for `sample`. Return its result, its name, and the number of calls of a sample.

        `what` is the method to time: "gradients", "forward" or "adam".
        """
        kind, problem = self.type(), self.problem(cell, dtype, threads)
        calls, results, updates = {}, {}, {}
        for variant in kind.variants(problem):
            contender = kind(problem, variant)
            calls[variant] = call = getattr(contender, what)
            if what == "adam":
                for _ in range(ADAM_STEPS):
                    call()
                results[variant] = to_numpy(contender.parameters())
            else:
                results[variant] = to_numpy(call())
            calls[variant], updates[variant] = getattr(contender, "timed", call), getattr(contender, "updates", 1)
        times, end = dict.fromkeys(calls, math.inf), time.perf_counter() + CHOICE_SECONDS * len(calls)
        while max(times.values()) == math.inf or time.perf_counter() < end:
            for variant, call in calls.items():  # in turn, so that a busy processor does not choose
                start = time.perf_counter()
                call()
                times[variant] = min(times[variant], time.perf_counter() - start)
        fastest = min(times, key=times.get)
        self.sampler = Sampler(calls[fastest], times[fastest], updates[fastest])
        gc.collect()
        return results[fastest], fastest, self.sampler.count

    def sample(self):
        """Return a sample of the prepared variant: seconds and processor seconds of a call."""
        return self.sampler.sample()

    def spaced(self, gap, seconds):
        """Return the sum of the seconds of calls with `gap` seconds of sleep before each, and their number."""
        return sum_calls(self.sampler.call, lambda: time.sleep(gap), seconds)

    def repeat(self, seconds):
        """Return the sum of the seconds of calls of the prepared variant, one after another, and their number."""
        return sum_calls(self.sampler.call, None, seconds)

    def alternate(self, name, cell, dtype, threads, seconds):
        """Return what `spaced` does, with a call of the contender `name` in this process in place of the sleep."""
        if getattr(self, "other", None) is None:
            kind, problem = contenders.REGISTRY[name].load(), self.problem(cell, dtype, threads)
            self.other = kind(problem, kind.variants(problem)[0])
            self.other.gradients()  # which may compile
        return sum_calls(self.sampler.call, self.other.gradients, seconds)

    def imports(self):
        """Return the seconds that importing the contender's library takes, with whatever it imports."""
        start = time.perf_counter()
        importlib.import_module(self.entry.needs[0])
        return time.perf_counter() - start

    def first(self, cell, dtype, threads):
        """Return the seconds of making the contender and of its first call, with compilation.

        Its modules were imported before.
        """
        kind, problem = self.type(), self.problem(cell, dtype, threads)
        variant = kind.variants(problem)[0]
        start = time.perf_counter()
        kind(problem, variant).gradients()
        return time.perf_counter() - start

    def memory(self, cell, dtype, threads):
        """Return by how many bytes three calls, and what they need made, raise the resident memory, and its peak as a whole."""
        kind, problem = self.type(), self.problem(cell, dtype, threads)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident_bytes("VmRSS")
        contender = kind(problem, kind.variants(problem)[0])
        for _ in range(3):
            contender.gradients()
        peak = resident_bytes("VmHWM")
        return peak - before, peak


def sum_calls(call, before, seconds):
    """Return the sum of the seconds of the calls that begin within `seconds`, and their number.

    before(), which may be None, runs before each call and is not timed.
    """
    total, count, end = 0.0, 0, time.perf_counter() + seconds
    while True:
        if before:
            before()
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        total, count = total + now - start, count + 1
        if now > end:
            return total, count


def resident_bytes(key):
    """Return a number of bytes from the process's status, such as "VmRSS", the resident memory (Linux)."""
    return 1024 * int(re.search(rf"^{key}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def to_numpy(result):
    """Return a contender's result, a number, an array, a dict or a tuple of such, with copies as NumPy arrays."""
    import numpy as np

    if isinstance(result, dict):
        return {name: to_numpy(value) for name, value in result.items()}
    if isinstance(result, tuple):
        return tuple(to_numpy(value) for value in result)
    return np.asarray(result).copy()


def main():
    """Answer the messages that run.py sends through standard input, until it closes it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = Worker(sys.argv[1])
    while True:
        try:
            method, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, getattr(worker, method)(*arguments)
        except Exception:
            answer = False, traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
