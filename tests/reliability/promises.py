"""What is promised of numbers: the same bits for any number of threads and in another process, NaN in its place."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from processes import ROOT, run_python

from .table import check

TYPES = ("float32", "float64")

DRAWN = """
import hashlib, os, sys, tempfile
import numpy as np
from fastbptt import RNN


def drawn(seed):
    "A network and arguments of loss_and_gradients, drawn from all that it takes; shards are small, so that there are several."
    rng = np.random.default_rng(seed)
    pick = lambda *choices: choices[rng.integers(len(choices))]
    T, B, I, O = (int(rng.integers(1, high)) for high in (40, 70, 9, 9))
    H = pick(
        int(rng.integers(1, 40)),
        int(rng.integers(1, 40)),
        int(rng.integers(40, 130)),
        (int(rng.integers(1, 12)), int(rng.integers(1, 12))),
    )
    heads = [
        ("squared_error", "identity"),
        ("cross_entropy", "softmax"),
        ("poisson", "exp"),
        (("huber", 0.5), "tanh"),
        ("binary_cross_entropy", "sigmoid"),
        ("quantile", "identity"),
    ]
    loss, output_activation = heads[rng.integers(len(heads))]
    if loss == "quantile":
        O = 3 * O
    one_hot, last = rng.random() < 0.2, rng.random() < 0.2
    net = RNN(
        I,
        H,
        O,
        activation=pick("tanh", "relu", "sigmoid", "softplus", "softsign", "elu"),
        dtype=pick("float32", "float64"),
        loss=loss,
        output_activation=output_activation,
        bias=rng.random() < 0.8,
        learn_initial_state=rng.random() < 0.3,
        one_hot=bool(one_hot),
        output="last" if last else "sequence",
        bidirectional=bool(rng.random() < 0.15),
        l2=pick(0.0, 1e-3),
        random_state=seed,
        reduction=pick("mean", "sum"),
    )
    for engine in getattr(net._engines["core"], "engines", [net._engines["core"]]):
        if hasattr(engine, "shard_work"):
            engine.shard_work = 1
    shape = (B,) if last else (T, B)
    X = rng.integers(0, I, (T, B)) if one_hot else rng.standard_normal((T, B, I)).astype(net.dtype)
    D = (
        rng.integers(0, O, shape)
        if loss == "cross_entropy"
        else rng.uniform(0, 1, (*shape, net.target_size)).astype(net.dtype)
    )
    arguments = {"X": X, "D": D}
    if rng.random() < 0.4:
        arguments["lengths"] = rng.integers(1 if last else 0, T + 1, B)
    if rng.random() < 0.4:
        arguments["weights"] = rng.uniform(0, 1, shape).astype(net.dtype) * (rng.uniform(size=shape) < 0.7)
    if rng.random() < 0.3:
        arguments["resets"] = rng.uniform(size=(T, B)) < 0.1
    if rng.random() < 0.3 and not net._stacked:
        arguments["initial_state"] = rng.uniform(-1, 1, (B, H)).astype(net.dtype)
    if rng.random() < 0.2 and not net.bidirectional:
        arguments["tbptt"] = (int(rng.integers(1, 9)), int(rng.integers(1, 20)))
    return net, arguments


def bits(net, arguments, threads, fit):
    total = hashlib.blake2b(digest_size=16)

    def take(result):
        for part in result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else [result]:
            take(part) if isinstance(part, (dict, tuple, list)) else total.update(np.ascontiguousarray(part).tobytes())

    take(net.loss_and_gradients(**arguments, n_threads=threads))
    take(net.forward(arguments["X"], lengths=arguments.get("lengths"), n_threads=threads))
    if fit and "tbptt" not in arguments and "resets" not in arguments:
        trained = net.copy()
        trained.fit(
            **arguments,
            epochs=2,
            batch_size=1 + arguments["X"].shape[1] // 2,
            learning_rate=1e-3,
            on_nonfinite="skip",
            n_threads=threads,
        )
        take(trained.theta)
    return total.hexdigest()
"""

THREADS = DRAWN + """
for seed in range(int(sys.argv[1])):
    net, arguments = drawn(seed)
    found = [bits(net, arguments, threads, seed % 3 == 0) for threads in (1, 2, 3, 8)]
    assert len(set(found)) == 1, f"configuration {seed}: {found} of {net!r}"
    print(found[0])
"""


@check("1, 2, 3 and 8 threads give the same bits; and so does a second run in a new process")
def same_bits(pick):
    count = pick(40, 250, 500)
    first, second = (run_python(THREADS, count, timeout=1800) for _ in range(2))
    for run in (first, second):
        assert run.returncode == 0, run.stderr[-2000:]
    same = first.stdout == second.stdout and len(first.stdout.split()) == count
    distinct = len(set(first.stdout.split()))
    return (f"{count} drawn configurations ({distinct} different results), 4 numbers of threads, 2 processes: "
            f"{'0 differ' if same else 'THEY DIFFER'}"), same and distinct == count


RESUMED = DRAWN + """
def end_after(updates):
    calls = []

    def end(record):
        calls.append(1)
        if len(calls) == updates:
            raise KeyboardInterrupt

    return end


count = 0
for seed in range(int(sys.argv[1])):
    net, arguments = drawn(seed + 10_000)
    arguments.pop("tbptt", None)
    B = arguments["X"].shape[1]
    options = {
        "batch_size": 1 + B // 3,
        "learning_rate": 1e-3,
        "random_state": 5,
        "on_nonfinite": "skip",
        "max_grad_norm": 10.0,
        "optimizer": ("adam", "sgd", "rmsprop", "adagrad", "adamw")[seed % 5],
        "schedule": ("constant", "cosine", "invscaling")[seed % 3],
    }
    whole, parts = net.copy(), net.copy()
    expected = whole.fit(**arguments, **options, epochs=4)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.npz")
        for updates in (1, 3, 3):  # ends within epochs and between them; each from the checkpoint alone, as in a new process
            try:
                net.copy().fit(
                    **arguments, **options, epochs=4, checkpoint=path, resume=True, update_callbacks=[end_after(updates)]
                )
            except KeyboardInterrupt:
                pass
        found = parts.fit(**arguments, **options, epochs=4, checkpoint=path, resume=True)
    assert parts.theta.tobytes() == whole.theta.tobytes(), f"configuration {seed}: {net!r}"
    assert repr(found.train_loss) == repr(expected.train_loss)
    count += 1
print(count)
"""


@check("parameters and losses of a run in four pieces are those of the run straight through, bit for bit")
def resume(pick):
    run = run_python(RESUMED, pick(30, 200, 500), timeout=1800)
    assert run.returncode == 0, run.stderr[-2000:]
    return f"{run.stdout.strip()} drawn configurations, 4 pieces each: 0 differ", True


PLACES = DRAWN + """
tried = 0
for seed in range(int(sys.argv[1])):
    net, arguments = drawn(seed + 20_000)
    if net.one_hot:
        continue
    rng = np.random.default_rng(seed)
    X, lengths = arguments["X"], arguments.get("lengths")
    T, B, _ = X.shape
    b = int(rng.integers(B))
    end = T if lengths is None else int(lengths[b])
    if end == 0:
        continue
    before, last = net.forward(X, lengths=lengths)
    X[int(rng.integers(end)), b, 0] = (np.nan, np.inf, -np.inf)[seed % 3]
    after, last_after = net.forward(X, lengths=lengths)
    others = np.arange(B) != b
    kernels_keep = os.environ.get("FASTBPTT_SIMD") != "blas"
    pairs = [(before[..., others, :], after[..., others, :])]
    pairs += [(x[others], y[others]) for x, y in zip(*((s if isinstance(s, tuple) else (s,)) for s in (last, last_after)))]
    for x, y in pairs:
        assert np.isfinite(y).all() == np.isfinite(x).all(), f"configuration {seed}"
        assert not kernels_keep or x.tobytes() == y.tobytes(), f"configuration {seed}"
    theta = net.theta.tobytes()
    try:
        net.fit(**{name: value for name, value in arguments.items() if name not in ("tbptt",)}, epochs=1)
    except ValueError as error:
        assert "X contains" in str(error) and f", {b}, " in str(error), error
    else:
        raise AssertionError("fit took it")
    assert net.theta.tobytes() == theta
    tried += 1
print(tried)

saturated = 0
for dtype, biggest in (("float32", 1e30), ("float64", 1e30), ("float64", 1e150)):
    for activation in ("tanh", "sigmoid", "softsign", "relu", "elu", "softplus", "leaky_relu", "identity", "silu", "gelu"):
        bounded = activation in ("tanh", "sigmoid", "softsign")
        net = RNN(3, 37, 2, activation=activation, dtype=dtype, random_state=0)
        rng = np.random.default_rng(0)
        X = (rng.choice((-1, 1), (6 if bounded else 1, 9, 3)) * biggest).astype(dtype)
        Y, S = net.forward(X)
        assert not np.isnan(Y).any() and not np.isnan(S).any(), (dtype, activation)
        loss, gradients = net.loss_and_gradients(X, np.zeros((len(X), 9, 2), dtype)) if bounded else (0, {})
        assert all(not np.isnan(g).any() for g in gradients.values()), (dtype, activation)
        saturated += 1
print(saturated)
"""


@check("NaN and infinity stay in their own sequence (the others' bits stay), fit names the place; |A| of 1e30 gives no NaN")
def places_of_nan(pick):
    run = run_python(PLACES, pick(60, 400, 2000), timeout=1800)
    assert run.returncode == 0, run.stderr[-2000:]
    tried, saturated = run.stdout.split()
    return f"{tried} drawn configurations with one number spoiled, {saturated} activations saturated: 0 wrong", True


DENORMAL = """
import time
import numpy as np
from fastbptt import RNN

rows = {False: [], True: []}
for dtype, tiny, H, all_of_it in (
    (dtype, tiny, H, all_of_it)
    for dtype, tiny in (("float32", 1e-41), ("float64", 1e-310))
    for H in (16, 64)
    for all_of_it in (False, True)
):
    net = RNN(8, H, 2, dtype=dtype, activation="tanh", random_state=0)
    if not all_of_it:
        net.parameters["b_s"] += 0.1
    X = np.random.default_rng(0).standard_normal((200, 16, 8)).astype(dtype)
    D = np.full((200, 16, 2), 0.0 if all_of_it else 0.5, dtype)
    inputs = {"normal": X, "denormal": (X * np.array(tiny, dtype)).astype(dtype)}
    assert (inputs["denormal"] != 0).any()
    seconds = {name: [] for name in inputs}
    for _ in range(7):
        for name, given in inputs.items():
            begin = time.perf_counter()
            net.loss_and_gradients(given, D, n_threads=1)
            seconds[name].append(time.perf_counter() - begin)
    rows[all_of_it].append(min(seconds["denormal"]) / min(seconds["normal"]))
print(max(rows[False]), max(rows[True]))
"""


@check("numbers too small to be normal cost at most 2 × the time")
def denormals(pick):
    run = run_python(DENORMAL)
    assert run.returncode == 0, run.stderr[-2000:]
    inputs, everything = map(float, run.stdout.split())
    return (f"loss and gradients with denormal inputs take {inputs:.1f} × the time; where states and gradients are denormal "
            f"too, {everything:.1f} × (H = 16 and 64, both dtypes)"), max(inputs, everything) <= 2


MODE = """
import ctypes, sys, threading
import numpy as np
import scipy.linalg.cython_blas

if sys.argv[1] == "fastbptt":
    import fastbptt
found = []


def look():
    tiny = np.full(4, 2.3e-308)
    found.append(bool((tiny * 0.5 != 0).all() and (np.full(4, 1.2e-38, "f4") * np.float32(0.5) != 0).all()))


look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
if sys.argv[1] == "fastbptt":
    net = fastbptt.RNN(3, 40, 2)
    net.loss_and_gradients(np.ones((50, 64, 3), "f4"), np.ones((50, 64, 2), "f4"), n_threads=2)
    look()
print(found)
"""


@check("numbers below 2.2e-308 (1.2e-38) are not flushed to zero after import, in any thread, or after a call")
def floating_point_mode(pick):
    run = run_python(MODE, "fastbptt")
    assert run.returncode == 0, run.stderr
    return f"import, another thread, a call of two threads: {run.stdout.strip()}", run.stdout.strip() == "[True, True, True]"


@check("no elementary function of any kernel set is over its bound, in units in the last place (tests/kernels/bounds.h)")
def ulps(pick):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "not run: there is no C compiler", True
    every, doubles = pick(9973, 251, 1), pick(10**5, 10**6, 10**8)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ulps"
        subprocess.run([compiler, "-O2", "-fopenmp", f"-I{ROOT / 'fastbptt/kernels'}", ROOT / "tests/kernels/ulps.c",
                        ROOT / "fastbptt/kernels/dispatch.c", *(ROOT / "fastbptt/kernels/sets").glob("*.c"), "-lm", "-o", program], check=True)
        run = subprocess.run([program, str(every), str(doubles)], capture_output=True, text=True)
    largest = {}
    for line in run.stdout.splitlines():
        _, dtype, name, off, *_ = line.split()
        largest[name, dtype] = max(float(off), largest.get((name, dtype), 0))
    names = dict.fromkeys(name for name, _ in largest)
    found = ", ".join(f"{name} {' and '.join(f'{largest[name, d]:.2f}' for d in TYPES if (name, d) in largest)}" for name in names)
    return f"float32 (every {every}th number) and float64 ({doubles} of them): {found}", run.returncode == 0 and bool(largest)
