"""Kills, full disks, read-only folders and Ctrl-C: what stands afterwards is whole."""

import os
import tempfile
from pathlib import Path

from processes import run_python

from .table import check

# What all of these train: compiled stretches, updates from Python, a validation set with the best epoch to go back to, batches
# of a function, truncated windows, two layers. name -> (network, arguments of fit). A run ends after `updates`.
RUNS = """
import hashlib, os, random, resource, signal, sys, threading, time
import numpy as np
import fastbptt
from fastbptt import RNN, load, _files

rng = np.random.default_rng(0)
X, D = rng.standard_normal((30, 24, 3)), rng.standard_normal((30, 24, 2))
ARRAYS = {"X": X, "D": D, "batch_size": 4, "learning_rate": 1e-3, "random_state": 7}


def fresh(batch_size, rng):
    X = rng.standard_normal((12, batch_size, 3))
    return X, X[:, :, :2]


RUNS = {
    "stretches": (lambda: RNN(3, 16, 2, random_state=0), ARRAYS),
    "python": (lambda: RNN(3, 16, 2, random_state=0), ARRAYS | {"backend": "reference", "max_grad_norm": 1.0}),
    "validation": (
        lambda: RNN(3, 16, 2, dtype="float64", random_state=0),
        ARRAYS | {"validation": 0.25, "schedule": "plateau", "optimizer": "rmsprop"},
    ),
    "batches": (lambda: RNN(3, 16, 2, random_state=0), {"batches": fresh, "updates_per_epoch": 7, "random_state": 3}),
    "windows": (lambda: RNN(3, 16, 2, random_state=0), ARRAYS | {"tbptt": (5, 10)}),
    "layers": (lambda: RNN(3, (8, 8), 2, random_state=0), ARRAYS | {"schedule": "cosine"}),
}


def digest(net):
    return hashlib.blake2b(net.theta.tobytes(), digest_size=16).hexdigest()


def trail(name, updates):
    "The parameters' hash after every update of the run that nothing disturbs, and the network at its end."
    make, arguments = RUNS[name]
    net = make()
    hashes = [digest(net)]
    net.fit(**arguments, updates=updates, epochs=10**6, update_callbacks=[lambda record: hashes.append(digest(net))])
    return hashes, net
"""

KILLS = RUNS + """
name, kills, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
make, arguments = RUNS[name]
UPDATES = 600
hashes, whole = trail(name, UPDATES)
arguments = arguments | {"updates": UPDATES, "epochs": 10**6, "checkpoint": path}


def written():
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


def over(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


moments, done, rounds = random.Random(0), 0, 0
while done < kills:
    child = os.fork()
    if child == 0:
        try:
            make().fit(**arguments, checkpoint_every=0, resume=True, n_threads=1)
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    before = written()
    while moments.random() < 0.999 and written() == before and not over(child):  # it has gone on from where the last one was
        time.sleep(0.001)
    time.sleep(moments.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a resumed run failed"
    if os.WIFSIGNALED(status):
        done += 1
    if os.path.exists(path):
        net, updates = load(path), _files.read(path)[0]["run"]["numbers"]["updates"]
        assert digest(net) == hashes[updates], f"not the parameters of update {updates}"
        if updates == UPDATES:
            net = make()
            history = net.fit(**arguments, resume=True)
            assert digest(net) == digest(whole) and history.train_loss == whole.history.train_loss
            os.unlink(path)
            rounds += 1
net = make()
history = net.fit(**arguments, resume=True)
assert digest(net) == digest(whole) and history.train_loss == whole.history.train_loss
print(done, rounds + 1)
"""


@check("the checkpoint loads as the k-th update's parameters, and resumes to the uninterrupted run's bits")
def kill_9(pick):
    done, runs = 0, 0
    for name, share in (("stretches", 0.4), ("python", 0.1), ("validation", 0.2), ("batches", 0.1), ("windows", 0.1),
                        ("layers", 0.1)):
        with tempfile.TemporaryDirectory() as folder:
            result = run_python(KILLS, name, max(1, round(share * pick(20, 100, 200))), Path(folder) / "run.npz", timeout=900)
        assert result.returncode == 0, f"{name}: {result.stderr[-2000:]}"
        done, runs = done + int(result.stdout.split()[0]), runs + int(result.stdout.split()[1])
    return f"{done} kills in 6 kinds of runs, {runs} runs resumed to the end, 0 wrong", True


FULL = """
import os, resource, sys
import numpy as np
from fastbptt import RNN, RNNRegressor, Population, SequenceScaler, load

folder, steps = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
X, y = rng.standard_normal((8, 12, 3)), rng.standard_normal((8, 12, 2))
old, new = (
    [
        RNN(3, 40, 2, random_state=seed),
        Population(3, 3, 4, 2, random_state=seed),
        RNNRegressor(4, max_iter=1, random_state=seed).fit(X, y),
        SequenceScaler().fit(X + seed),
    ]
    for seed in (0, 1)
)
tries = 0
for a, b in zip(old, new):
    path = os.path.join(folder, "model.npz")
    b.save(path)
    size = os.path.getsize(path)
    a.save(path)
    before = open(path, "rb").read()
    for limit in [0, 1, 63, size - 1, *range(17, size, max(size // steps, 1))]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            b.save(path)
        except OSError as error:
            assert "File too large" in str(error) or "No space" in str(error), error
        else:
            raise AssertionError(f"saved {size} bytes where {limit} may be written")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert open(path, "rb").read() == before and os.listdir(folder) == ["model.npz"]
        tries += 1
    b.save(path)
    load(path)
    os.unlink(path)
if os.path.exists("/dev/full"):
    try:
        new[0].save("/dev/full")
    except OSError as error:
        assert "No space left" in str(error)
    else:
        raise AssertionError("/dev/full took it")
    tries += 1
# in the middle of a training run: the error says what could not be written, and the old checkpoint stays
path = os.path.join(folder, "run.npz")
X, D = X.swapaxes(0, 1), y.swapaxes(0, 1)
net = RNN(3, 40, 2, random_state=0)
net.fit(X, D, epochs=2, checkpoint=path)
before = open(path, "rb").read()
net = RNN(3, 40, 2, random_state=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    net.fit(X, D, epochs=50, checkpoint=path, checkpoint_every=0)
except OSError as error:
    assert "File too large" in str(error), error
else:
    raise AssertionError("a checkpoint was written where none can be")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert open(path, "rb").read() == before and os.listdir(folder) == ["run.npz"] and np.isfinite(net.theta).all()
print(tries + 1)
"""


@check("OSError, the old file intact to the byte, nothing left beside it")
def disk_full(pick):
    with tempfile.TemporaryDirectory() as folder:
        result = run_python(FULL, folder, pick(20, 200, 2000))
    assert result.returncode == 0, result.stderr[-2000:]
    return f"{result.stdout.strip()} saves that ran out of space at different bytes, 0 wrong", True


READ_ONLY = """
import os, sys
import numpy as np
from fastbptt import RNN, load

folder = sys.argv[1]
path = os.path.join(folder, "model.npz")
old, new = RNN(3, 8, 2, random_state=0), RNN(3, 8, 2, random_state=1)
old.save(path)
load(path)  # which imports what nobody may not read
os.chmod(folder, 0o555)
if os.getuid() == 0:
    os.setuid(65534)  # nobody: root may write everywhere
X, D = np.zeros((5, 4, 3)), np.zeros((5, 4, 2))
for attempt in (
    lambda: new.save(path),
    lambda: new.save(os.path.join(folder, "other.npz")),
    lambda: new.fit(X, D, epochs=1, checkpoint=path, overwrite=True),
):
    try:
        attempt()
    except PermissionError as error:
        assert folder in str(error), error
    else:
        raise AssertionError("written")
assert load(path).theta.tobytes() == old.theta.tobytes() and os.listdir(folder) == ["model.npz"]
"""


@check("PermissionError that names the file, the old file intact")
def read_only_folder(pick):
    folder = tempfile.mkdtemp()
    try:
        os.chmod(folder, 0o755)
        result = run_python(READ_ONLY, folder)
        assert result.returncode == 0, result.stderr[-2000:]
    finally:
        os.chmod(folder, 0o755)
        for entry in Path(folder).iterdir():
            entry.unlink()
        os.rmdir(folder)
    return "save, save under a new name, checkpoint: each refused", True


INTERRUPTS = RUNS + """
name, count = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGINT, signal.default_int_handler)
large = name == "large"
if large:  # an update takes a good part of a second
    X, D = rng.standard_normal((400, 64, 3)), rng.standard_normal((400, 64, 2))
    RUNS[name] = (lambda: RNN(3, 200, 2, random_state=0), {"X": X, "D": D, "batch_size": 64, "random_state": 7})
make, arguments = RUNS[name]
hashes, longest = trail(name, 12 if large else 3000)
hashes = set(hashes)
moments, main, latencies, caught = random.Random(0), threading.main_thread().ident, [], 0
while caught < count:
    net, sent = make(), []

    def interrupt(delay):
        time.sleep(delay)
        sent.append(time.perf_counter())
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, args=(moments.uniform(0, 1.0 if large else 0.08),))
    at = 0.0
    try:
        thread.start()
        try:
            net.fit(**arguments, updates=12 if large else 3000, epochs=10**6)
        finally:
            at = time.perf_counter()
            thread.join()
    except KeyboardInterrupt:
        if sent and at >= sent[0]:
            latencies.append(at - sent[0])
    assert digest(net) in hashes, "parameters of no whole update"
    caught += 1
latencies.sort()
print(len(latencies), *(latencies[int(part * len(latencies))] for part in (0.5, 0.95)), latencies[-1])
"""


@check("KeyboardInterrupt, its median within 100 ms whatever else runs; parameters are those of a whole update, by hash")
def ctrl_c(pick):
    total, middle, high, highest = 0, 0.0, 0.0, 0.0
    for name, share in (("stretches", 0.3), ("python", 0.1), ("validation", 0.2), ("windows", 0.1), ("layers", 0.1),
                        ("large", 0.2)):
        result = run_python(INTERRUPTS, name, max(5, round(share * pick(40, 200, 1000))), timeout=900)
        assert result.returncode == 0, f"{name}: {result.stderr[-2000:]}"
        count, *seconds = map(float, result.stdout.split())
        total, (middle, high, highest) = total + int(count), map(max, (middle, high, highest), seconds)
    return (f"{total} interrupts in 6 kinds of runs, 0 torn; the slowest kind's median {1000 * middle:.0f} ms, 95 % in "
            f"{1000 * high:.0f}, longest {1000 * highest:.0f}"), middle <= 0.1
