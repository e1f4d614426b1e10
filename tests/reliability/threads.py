"""Many Python threads, pools, forks and joblib: right results, nothing on stderr, no deadlock, one thread inside workers."""

import importlib.util
import os
import tempfile
from pathlib import Path

from processes import run_python

from .table import check



def defaults():
    """The environment without what chooses kernels and threads."""
    return {name: value for name, value in os.environ.items() if name not in ("FASTBPTT_SIMD", *_threading_variables())}


def _threading_variables():
    from fastbptt.threads.policy import VARIABLES
    return VARIABLES


FLOOD = """
import os, sys, threading
import numpy as np
from fastbptt import RNN

# OpenBLAS with kernels of another processor rounds otherwise in other threads than the first (0.3.30, Haswell's on a Zen 5)
exact = not ("OPENBLAS_CORETYPE" in os.environ and os.environ.get("FASTBPTT_SIMD") == "blas")
same = np.array_equal if exact else lambda a, b: np.allclose(a, b, rtol=1e-5, atol=1e-6)
count, shared, calls = int(sys.argv[1]), sys.argv[2] == "shared", int(sys.argv[3])
rng = np.random.default_rng(0)
T = 20 if calls > 1 else 4
X, D = rng.standard_normal((T, 24, 5)).astype("f4"), rng.standard_normal((T, 24, 3)).astype("f4")
one = RNN(5, 80, 3, random_state=0)
right = one.loss_and_gradients(X, D, n_threads=1)
nets = [one if shared else RNN(5, 80, 3, random_state=0) for _ in range(count)]
barrier, wrong = threading.Barrier(count), []


def work(net):
    barrier.wait()
    for _ in range(calls):
        loss, gradients = net.loss_and_gradients(X, D)
        if not same(loss, right[0]) or any(not same(gradients[name], right[1][name]) for name in gradients):
            wrong.append(1)


threads = [threading.Thread(target=work, args=(net,)) for net in nets]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(wrong))
"""


@check("400 threads at once, default environment and FASTBPTT_SIMD=blas: the serial bits, exit code 0, empty stderr")
def thread_flood(pick):
    runs = 0
    for simd, calls in ((None, 3), ("blas", pick(1, 3, 3))):  # with blas they wait for one another: a minute, not a second
        for kind in ("shared", "own"):
            for _ in range(pick(1, 3, 20) if simd is None else pick(1, 1, 20)):
                environment = defaults() | ({"FASTBPTT_SIMD": simd} if simd else {})
                result = run_python(FLOOD, 400, kind, calls, environment=environment, timeout=600)
                if result.returncode or result.stderr or result.stdout != "0\n":
                    return f"run {runs} ({simd}, {kind}): rc {result.returncode}, {result.stderr[-300:]!r}", False
                runs += 1
    return f"{runs} runs of 400 threads: 0 wrong, 0 crashes", True


FITS = """
import faulthandler, multiprocessing, os, sys, threading
import numpy as np

faulthandler.dump_traceback_later(100, exit=True)  # a deadlock
import fastbptt
from fastbptt import RNN, _core


def fitted(seed):
    "What a fit of this seed gives, to the bit, and the default number of threads where it ran."
    rng = np.random.default_rng(seed)
    X, D = rng.standard_normal((30, 64, 3)), rng.standard_normal((30, 64, 2))
    net = RNN(3, 24, 2, random_state=seed)
    net.fit(X, D, epochs=3, batch_size=32)
    return net.theta.tobytes(), _core.threads()
"""
RUN_FITS = """
if __name__ == "__main__":
    import many_fits
    from many_fits import fitted

    kind = sys.argv[1]
    seeds = range(8)
    right = [fitted(seed)[0] for seed in seeds]  # the parent has a team of threads now
    if kind == "threads":
        found = [None] * 8
        threads = [threading.Thread(target=lambda seed=seed: found.__setitem__(seed, fitted(seed))) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif kind in ("loky", "threading", "multiprocessing"):
        from joblib import Parallel, delayed

        found = Parallel(n_jobs=8, backend=kind)(delayed(fitted)(seed) for seed in seeds)
    elif kind == "after fork":
        found = []
        for seed in seeds:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                theta, count = fitted(seed)
                os.write(writer, bytes([count]) + theta)
                os._exit(0)
            os.close(writer)
            content = b""
            while part := os.read(reader, 65536):
                content += part
            os.waitpid(child, 0)
            found.append((content[1:], content[0]))
    else:
        with multiprocessing.get_context(kind).Pool(4) as pool:
            found = pool.map(fitted, seeds)
    wrong = sum(theta != own for (theta, _), own in zip(found, right))
    counts = {count for _, count in found}
    print(wrong, max(counts))
"""


@check("8 fits at once give the serial bits; the default is one thread in a worker process; no deadlock in 100 s")
def fits_in_pools(pick):
    kinds = ["threads", "after fork", "fork", "spawn", "forkserver"]
    if importlib.util.find_spec("joblib"):
        kinds += ["loky", "threading", "multiprocessing"]
    wrong, many = [], []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "many_fits.py").write_text(FITS)
        for _ in range(pick(1, 1, 10)):
            for kind in kinds:
                result = run_python(f"import sys; sys.path.insert(0, {folder!r})\n" + FITS + RUN_FITS, kind,
                                    environment=defaults(), timeout=200)
                if result.returncode or result.stderr or result.stdout.split()[0] != "0":
                    wrong.append(f"{kind}: rc {result.returncode}, {result.stdout!r}, {result.stderr[-300:]!r}")
                elif kind not in ("threads", "threading") and result.stdout.split()[1] != "1":
                    many.append(f"{kind}: {result.stdout.split()[1]} threads")
    figure = f"{', '.join(kinds)}: " + ("; ".join(wrong + many) or "0 wrong, one thread in each process")
    return figure + ("" if "loky" in kinds else " (joblib is not installed)"), not wrong + many
