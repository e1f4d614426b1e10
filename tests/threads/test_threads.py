"""Threads divide the batch: the same bits for any number, no hang in a child of fork, and defaults that leave room."""

import os
import sysconfig
import threading

import numpy as np
import pytest
from cases import all_states
from processes import run_python

from fastbptt import RNN, _core
from fastbptt.threads import policy as _threading, workers as _workers

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
HEADS = [("squared_error", "identity"), (("quantile", (0.25, 0.75)), "tanh"), ("cross_entropy", "softmax"), ("poisson", "exp")]


@pytest.fixture(autouse=True)
def helpers_that_come():
    """Let every call wake helpers, however short it is."""
    _workers.set_times(wake_ns=0)
    yield
    _workers.set_times()


def network(dtype="float32", loss="squared_error", output_activation="identity", **options):
    """A network whose batches of 45 make six shards."""
    net = RNN(3, 6, 4, dtype=dtype, loss=loss, output_activation=output_activation, random_state=0, **options)
    net._engines["core"].shard_work = 1
    return net


def data(net, T=60, B=45):
    rng = np.random.default_rng(0)
    X, initial_state = rng.standard_normal((T, B, 3)), rng.uniform(-1, 1, (B, 6))
    D = rng.uniform(0, 1, (T, B, net.target_size))
    return X.astype(net.dtype), D.astype(net.dtype), rng.uniform(0, 1, (T, B)).astype(net.dtype), \
        initial_state.astype(net.dtype)


def bits(result):
    if isinstance(result, dict):
        return {name: bits(value) for name, value in result.items()}
    return tuple(map(bits, result)) if isinstance(result, tuple) else np.asarray(result).tobytes()


@both_dtypes
@pytest.mark.parametrize(("loss", "output_activation"), HEADS)
def test_every_operation_has_the_same_bits_for_any_number_of_threads(loss, output_activation, dtype):
    net = network(dtype, loss, output_activation, learn_initial_state=True, l2=1e-3)
    X, D, weights, initial_state = data(net)
    operations = [
        lambda n: all_states(net.forward(X, return_states=True, n_threads=n)),
        lambda n: net.losses(X, D, initial_state=initial_state, n_threads=n),
        lambda n: net.evaluate(X, D, weights=weights, n_threads=n),
        lambda n: net.loss_and_gradients(X, D, weights=weights, input_gradient=True, initial_state_gradient=True,
                                         n_threads=n),
        lambda n: net.backward(X, np.ones((60, 45, 4), dtype), initial_state=initial_state, n_threads=n),
        lambda n: net.gradient_terms(X, D, 7, n_threads=n),
        lambda n: net.objective(X, D, n_threads=n)(net.theta),
    ]
    for operation in operations:
        one = bits(operation(1))
        assert all(bits(operation(n)) == one for n in (None, 2, 3, 64))


def test_several_threads_are_in_fact_used():
    script = """
import numpy as np, threading
from pathlib import Path
from fastbptt import RNN
from fastbptt.threads import workers as _workers
count = lambda: len(list(Path("/proc/self/task").iterdir()))
_workers.set_times(wake_ns=0)
net = RNN(3, 6, 4, random_state=0)
net._engines["core"].shard_work = 1
X, D = np.ones((4, 45, 3), "f4"), np.ones((4, 45, 4), "f4")
net.loss_and_gradients(X, D, n_threads=1)
before = count()
net.loss_and_gradients(X[:, :1].copy(), D[:, :1].copy(), n_threads=3)  # one sequence is one shard
assert count() == before and _workers.helpers() == 0
net.loss_and_gradients(X, D, n_threads=3)
print(count() - before, _workers.helpers())
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("no /proc here")
    run = run_python(script)
    assert run.stdout == "2 2\n", run.stderr


def test_a_short_call_creates_no_thread():
    """To wake a helper costs more than it brings (pool.h)."""
    script = """
import numpy as np
from fastbptt import RNN
from fastbptt.threads import workers as _workers
net = RNN(3, 6, 4, random_state=0)
net._engines["core"].shard_work = 1
X, D = np.ones((4, 45, 3), "f4"), np.ones((4, 45, 4), "f4")
net.loss_and_gradients(X, D, n_threads=3)
print(_workers.helpers())
"""
    run = run_python(script)
    assert run.stdout == "0\n", run.stderr


def test_a_call_computes_all_itself_where_no_helper_can_be_created():
    script = """
import numpy as np
from fastbptt import Population, RNN
from fastbptt.threads import workers as _workers
_workers.set_times(wake_ns=0)
_workers.fail_helpers(1000)
net = RNN(3, 6, 4, random_state=0)
net._engines["core"].shard_work = 1
rng = np.random.default_rng(0)
X, D = rng.standard_normal((4, 45, 3)), rng.standard_normal((4, 45, 4))
one, two = (net.loss_and_gradients(X, D, n_threads=n) for n in (1, 2))
assert one[0] == two[0] and all(np.array_equal(one[1][name], two[1][name]) for name in one[1])
many = Population(40, 3, 6, 4, random_state=0)
assert np.array_equal(many.evaluate(X, D, n_threads=1), many.evaluate(X, D, n_threads=2))
print(_workers.helpers())
"""
    run = run_python(script)
    assert run.stdout == "0\n", run.stderr


def test_training_has_the_same_bits_for_any_number_of_threads():
    thetas = []
    for n in (1, 2, 5):
        net = network()
        X, D, _, _ = data(net)
        net.fit(X, D, epochs=2, batch_size=20, n_threads=n)
        net.train_step(X, D, n_threads=n)
        thetas.append(net.theta.tobytes())
    assert len(set(thetas)) == 1


@pytest.mark.parametrize("backend", ["core", "reference"])
@pytest.mark.parametrize(("n_threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError),
                                                  (True, TypeError), (2**31, ValueError)])
def test_a_bad_number_of_threads_is_refused_by_name(n_threads, error, backend):
    net = network()
    X, D, _, _ = data(net)
    before = net.theta
    for call in (net.loss_and_gradients, net.evaluate, net.fit, net.train_step, net.objective):
        with pytest.raises(error, match="n_threads"):
            call(X, D, n_threads=n_threads, backend=backend)
    with pytest.raises(error, match="n_threads"):
        net.forward(X, n_threads=n_threads, backend=backend)
    assert np.array_equal(net.theta, before)


def test_python_threads_with_threads_of_their_own_get_the_serial_result():
    net = network()
    X, D, _, _ = data(net)
    truth, results = bits(net.loss_and_gradients(X, D, n_threads=1)), []

    def work():
        for _ in range(20):
            results.append(bits(net.loss_and_gradients(X, D, n_threads=2)) == truth)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="of free-threaded Python")
def test_a_gil_that_is_off_stays_off():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    run = run_python("import sys, fastbptt; print(sys._is_gil_enabled())", environment=environment, options=("-W", "error"))
    assert run.stdout == "False\n", run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_fork_has_one_thread_by_default_and_helpers_of_its_own():
    script = """
import os, numpy as np
from fastbptt import RNN, _core
from fastbptt.threads import workers as _workers
_workers.set_times(wake_ns=0)
net = RNN(3, 6, 4, random_state=0)
net._engines["core"].shard_work = 1
X, D = np.ones((30, 45, 3), "f4"), np.ones((30, 45, 4), "f4")
loss, gradients = net.loss_and_gradients(X, D, n_threads=2)
assert _workers.helpers() == 1
child = os.fork()
if child == 0:
    assert _workers.helpers() == 0 and _core.threads() == 1
    again, of_child = net.loss_and_gradients(X, D)
    assert _workers.helpers() == 0
    third = net.loss_and_gradients(X, D, n_threads=2)[0]
    same = loss == again == third and all(np.array_equal(gradients[name], of_child[name]) for name in gradients)
    os._exit(0 if same and _workers.helpers() == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert net.loss_and_gradients(X, D, n_threads=2)[0] == loss
"""
    run = run_python(script)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of Windows reach a Python program in other ways")
def test_ctrl_c_ends_a_call_of_several_threads():
    script = """
import signal, threading, time, numpy as np
from fastbptt import RNN
signal.signal(signal.SIGINT, signal.default_int_handler)
net = RNN(8, 64, 4, random_state=0)
X, D = np.zeros((20000, 64, 8), "f4"), np.zeros((20000, 64, 4), "f4")
small = net.loss_and_gradients(X[:50].copy(), D[:50].copy(), n_threads=2)[0]
threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
try:
    for _ in range(100):
        net.loss_and_gradients(X, D, n_threads=2)
    print("not interrupted")
except KeyboardInterrupt:
    assert net.loss_and_gradients(X[:50].copy(), D[:50].copy(), n_threads=2)[0] == small
    print("interrupted")
"""
    run = run_python(script)
    assert run.stdout == "interrupted\n", run.stderr


def default(**variables):
    environment = {name: value for name, value in os.environ.items() if name not in _threading.VARIABLES} | variables
    run = run_python("import fastbptt; print(fastbptt._core.threads())", environment=environment)
    return int(run.stdout), run.stderr


@pytest.mark.thorough
def test_the_default_is_what_the_environment_says_else_the_cores():
    assert default()[0] == _threading.cores()
    assert default(OMP_NUM_THREADS="3")[0] == 3
    assert default(OMP_NUM_THREADS="5,2")[0] == 5
    assert default(OMP_NUM_THREADS="3", FASTBPTT_NUM_THREADS="4")[0] == 4
    count, warning = default(FASTBPTT_NUM_THREADS="many")
    assert count == _threading.cores()
    assert "FASTBPTT_NUM_THREADS='many' is not a number of threads and is ignored" in warning


def _threads_of_a_child(_):
    return _threading.default()


def test_a_child_process_has_one_thread_by_default(monkeypatch):
    import multiprocessing

    for name in _threading.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_threads_of_a_child, [0]) == [1]


def test_the_cores_are_those_of_the_control_group(tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000\n")
    assert _threading.cores(quota) == 1
    quota.write_text("max 100000\n")
    assert _threading.cores(quota) == _threading.cores("/no/such/file") >= 1


@pytest.mark.thorough
@pytest.mark.parametrize("most", [1, 3])
def test_only_so_many_products_are_in_blas_at_once(most):
    script = f"""
import threading, numpy as np
from fastbptt import RNN
from fastbptt.kernels import blas as _blas
assert _blas.set_most_products({most}) == 32
net = RNN(20, 300, 20, random_state=0)
X, D = np.ones((2, 2, 60, 20), "float32")
right = net.loss_and_gradients(X, D, n_threads=1)[1]["W_s"]
wrong, seen, over = [], [], threading.Event()

def work():
    while not over.is_set():
        if not np.array_equal(net.loss_and_gradients(X, D, n_threads=1)[1]["W_s"], right):
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
while len(seen) < 100 or max(seen) < {most} and len(seen) < 10_000:
    seen.append(_blas.products_now())
    over.wait(0.003)
over.set()
for thread in threads:
    thread.join()
print(max(seen), len(wrong), _blas.products_now())
"""
    run = run_python(script, environment=os.environ | {"FASTBPTT_SIMD": "blas", "OPENBLAS_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(most), "0", "0"]
