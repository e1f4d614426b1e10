"""The runs of test_ranks.py between processes, by mpi4py and mpiexec: what only they can show."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastbptt

pytest.importorskip("mpi4py")
BESIDE = Path(sys.executable).with_name("mpiexec")  # where PyPI's wheels of an MPI put it
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")

BEGIN = """
import os, signal, sys, time
import numpy as np
from mpi4py import MPI
from fastbptt import RNN

comm = MPI.COMM_WORLD
T, B, I, H, O = 6, 22, 3, 5, 2
rng = np.random.default_rng(0)
X, D, weights = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O)), rng.uniform(0, 1, (T, B))
mine = slice(B * comm.rank // comm.size, B * (comm.rank + 1) // comm.size)
rank, folder = comm.rank, sys.argv[1]

def say(*words):
    os.write(1, " ".join(map(str, ("<", rank, *words, ">\\n"))).encode())  # one write: lines of ranks do not mix
"""


def mpiexec(n, script, folder, timeout=60):
    """The script on n ranks: exit code, what was said as {rank: words}, standard error, seconds."""
    version = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, timeout=60)
    open_mpi = ["--oversubscribe"] if "Open MPI" in version.stdout + version.stderr else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    begin = time.monotonic()
    done = subprocess.run([MPIEXEC, *open_mpi, "-n", str(n), sys.executable, "-P", "-c", BEGIN + script, str(folder)],
                          capture_output=True, text=True, timeout=timeout, env=environment, cwd=folder)
    said = {}
    for rank, words in re.findall(r"< (\d+) (.*?) >\n", done.stdout):
        said.setdefault(int(rank), []).append(words)
    return done.returncode, said, done.stderr, time.monotonic() - begin


def test_the_script_of_the_page_runs(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "many.md"
    if not page.exists():
        pytest.skip("no docs beside the tests")
    script = re.search(r"```text\n(# train.py\n.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)[1]
    for updates in (120, 120):  # the second has nothing to do but to read the checkpoint
        code, _, error, _ = mpiexec(2, f"{script}\nassert history.updates == {updates} and len(history.train_loss) == 3\n",
                                    tmp_path)
        assert code == 0, error


EQUAL = """
more = {"validation": 0.3, "patience": 4, "epochs": 5, "batch_size": 6, "learning_rate": 0.02, "max_grad_norm": 0.5,
        "random_state": 7}
whole = RNN(I, H, O, dtype="float64", random_state=0, l2=1e-3)
expected = whole.fit(X, D, weights=weights, **more)
net = RNN(I, H, O, dtype="float64", random_state=rank, l2=1e-3)
history = net.fit(X[:, mine], D[:, mine], weights=weights[:, mine], communicator=comm, **more)
assert np.allclose(net.theta, whole.theta, rtol=0, atol=1e-12), abs(net.theta - whole.theta).max()
assert np.allclose(history.train_loss, expected.train_loss, rtol=1e-11)
assert np.allclose(history.validation_loss, expected.validation_loss, rtol=1e-11)
say(net.theta.tobytes().hex(), history)
"""


@pytest.mark.parametrize("n", [2, 4])
def test_processes_train_one_network_to_the_bit_and_as_one_process_does(n, tmp_path):
    code, said, error, _ = mpiexec(n, EQUAL, tmp_path)
    assert code == 0, error
    assert sorted(said) == list(range(n)) and len({words for (words,) in said.values()}) == 1


TELL = """
def stop(record):
    if rank == 1 and record.update == 4:
        WHAT
net = RNN(I, H, O, dtype="float64", random_state=0)
try:
    net.fit(X[:, mine], D[:, mine], batch_size=5, epochs=1000, update_callbacks=stop, communicator=comm,
            checkpoint=os.path.join(folder, "run.npz"))
except BaseException as error:
    say(type(error).__name__, error, net.history.stopped, net.history.updates, net.theta.tobytes().hex())
    raise SystemExit(3)
"""


@pytest.mark.parametrize("what, words", [
    ("raise ValueError('no more')", ["RuntimeError rank 1: ValueError: no more error 4 ", "ValueError no more error 4 "]),
    ("os.kill(os.getpid(), signal.SIGINT)", ["KeyboardInterrupt  interrupted 4 ", "KeyboardInterrupt  interrupted 4 "]),
], ids=["exception", "ctrl-c"])
def test_what_happens_to_one_process_ends_both_at_the_same_update(what, words, tmp_path):
    code, said, error, _ = mpiexec(2, TELL.replace("WHAT", what), tmp_path)
    assert code != 0 and sorted(said) == [0, 1], error
    theta = fastbptt.load(tmp_path / "run.npz").theta.tobytes().hex()
    assert [said[0], said[1]] == [[words[0] + theta], [words[1] + theta]]


KILLED = """
def die(record):
    if record.update == 40 and rank == WHO:
        say("dies")
        os.kill(os.getpid(), signal.SIGKILL)
net = RNN(I, H, O, dtype="float64", random_state=0)
net.fit(X[:, mine], D[:, mine], batch_size=5, updates=10**9, update_callbacks=die, communicator=comm, checkpoint_every=0,
        checkpoint=os.path.join(folder, "run.npz"))
say("alive")
"""


@pytest.mark.parametrize("who", [0, 1])
def test_a_killed_process_takes_the_others_with_it_and_leaves_the_checkpoint(who, tmp_path):
    code, said, _, _ = mpiexec(2, KILLED.replace("WHO", str(who)), tmp_path)
    assert code != 0 and list(said) == [who]
    header, arrays = fastbptt._files.read(tmp_path / "run.npz")
    assert 38 <= header["run"]["numbers"]["updates"] <= 40 and np.isfinite(arrays["W_s"]).all()
    resumed = EQUAL.split("whole =")[0] + """
net = RNN(I, H, O, dtype="float64", random_state=rank)  # rank 0 has the seed of the run
history = net.fit(X[:, mine], D[:, mine], batch_size=5, updates=60, communicator=comm, resume=True,
                  checkpoint=os.path.join(folder, "run.npz"))
say(history.updates)
"""
    assert mpiexec(2, resumed, tmp_path)[1] == {0: ["60"], 1: ["60"]}


@pytest.mark.parametrize("arguments", [[], ["--model"]])
def test_the_script_that_measures_runs(arguments, tmp_path):
    bench = Path(__file__).parents[2] / "bench" / "scaling.py"
    if not bench.exists():
        pytest.skip("no bench beside the tests")
    words = ["scaling.py", "--rounds", "1", "--cells", "6,10,2,3,1", *arguments]
    script = f"""
import runpy
sys.argv = {words}
sys.path.insert(0, {str(bench.parent)!r})
runpy.run_path({str(bench)!r}, run_name="__main__")
"""
    code, _, error, _ = mpiexec(1 if arguments else 2, script, tmp_path)
    assert code == 0, error


ABORT = """
from fastbptt import schedules
class Untold(schedules.Schedule):
    def watch(self, carried, loss):
        if rank == 1:
            raise OSError("where nobody listens")
        return carried
net = RNN(I, H, O, random_state=0)
net.fit(X[:, mine], D[:, mine], epochs=10**9, schedule=Untold(), communicator=comm)
say("alive")
"""


def test_what_cannot_be_told_aborts(tmp_path):
    code, said, error, _ = mpiexec(2, ABORT, tmp_path)
    assert code != 0 and not said and "where nobody listens" in error
