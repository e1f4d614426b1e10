"""Sizes that no memory holds, and allocations that fail: an error before anything is touched, and the network as it was."""

import importlib.util

from processes import run_python

from .table import check

OVERSIZE = """
import resource, time
import numpy as np
from fastbptt import Population, RNN, datasets

net, wide = RNN(3, 4, 2, random_state=0), RNN(3, 2000, 2, initializer="normal", random_state=0)
ids = RNN(3, 4, 2, one_hot=True, output="last", random_state=0)
theta = [each.theta.tobytes() for each in (net, wide, ids)]
zero = lambda *shape: np.broadcast_to(np.float32(0), shape)
ends = lambda *shape: np.broadcast_to(np.int64(0), shape)
tries = {
    "T above an int": lambda: net.forward(zero(2**31, 1, 3)),
    "B above an int": lambda: net.forward(zero(1, 2**31, 3)),
    "T B above 2**32": lambda: net.forward(zero(2**31 - 1, 2**31 - 1, 3)),
    "T B I above 2**63": lambda: net.loss_and_gradients(zero(2**31 - 1, 2**31 - 1, 3), zero(2**31 - 1, 2**31 - 1, 2)),
    "T B H bytes above 2**63": lambda: wide.forward(zero(2**30, 2**22, 3)),
    "I above an int": lambda: net.forward(zero(1, 1, 2**40)),
    "evaluate": lambda: net.evaluate(zero(2**31 - 1, 2**31 - 1, 3), zero(2**31 - 1, 2**31 - 1, 2)),
    "backward": lambda: net.backward(zero(2**31 - 1, 2**20, 3), zero(2**31 - 1, 2**20, 2)),
    "losses": lambda: net.losses(zero(2**31 - 1, 2**20, 3), zero(2**31 - 1, 2**20, 2)),
    "step": lambda: net.step(zero(2**31 - 1, 3)),
    "step, above": lambda: net.step(zero(2**31, 3)),
    "step, H": lambda: wide.step(zero(2**31 - 1, 3)),
    "ids": lambda: ids.forward(ends(2**31 - 1, 2**31 - 1)),
    "terms": lambda: wide.gradient_terms(zero(2**30, 1, 3), zero(2**30, 1, 2), -1),
    "train_step": lambda: net.train_step(zero(2**31 - 1, 2**20, 3), zero(2**31 - 1, 2**20, 2)),
    "fit": lambda: net.fit(zero(2**31 - 1, 2**20, 3), zero(2**31 - 1, 2**20, 2)),
    "generate": lambda: RNN(2, 4, 2).generate(2**31 - 1, prefix=zero(1, 2**31 - 1, 2)),
    "lengths": lambda: net.forward(zero(2**31 - 1, 2**20, 3), lengths=ends(2**20)),
    "initial state": lambda: net.forward(zero(0, 2**31 - 1, 3), zero(2**31 - 1, 2**31)),
    "H": lambda: RNN(1, 2**31 - 1, 1),
    "H above": lambda: RNN(1, 2**31, 1),
    "H of layers": lambda: RNN(1, (2**31 - 1,) * 3, 1),
    "I and O": lambda: RNN(2**31 - 1, 2**20, 2**31 - 1),
    "quantiles": lambda: RNN(1, 2**24, 2**24, loss=("quantile", (0.5,))),
    "population": lambda: Population(2**31 - 1, 2**15, 2**15, 2**15),
    "population of a batch": lambda: Population(2, 3, 4, 2).forward(zero(2, 2**31 - 1, 2**20, 3)),
    "task": lambda: datasets.adding_problem(2**31 - 1, 2**31 - 1, random_state=0),
    "torch": lambda: RNN.from_torch({"weight_ih_l0": zero(2**31 - 1, 2**20), "weight_hh_l0": zero(2**31 - 1, 2**31 - 1)}),
}
net.forward(np.zeros((2, 2, 3)))
resource.setrlimit(resource.RLIMIT_AS, (2**33, resource.RLIM_INFINITY))
for name, attempt in tries.items():
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        attempt()
    except (ValueError, MemoryError) as error:
        assert str(error), name
    else:
        raise AssertionError(f"{name}: no error")
    taken, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - begin
    assert taken < 2**14 and seconds < 1, f"{name}: {taken} KiB, {seconds} s"
assert theta == [each.theta.tobytes() for each in (net, wide, ids)]
for words, T, B in (("workspace", 2**31 - 1, 2**31 - 1), ("one sequence", 2**31 - 1, 1)):
    try:
        assert wide.memory_estimate(T, B) > 2**40
    except (ValueError, MemoryError, OverflowError) as error:
        assert type(error) is not OverflowError and str(error), words
print(len(tries))
"""


@check("ValueError or MemoryError in words, before 16 MiB and a second are taken; the network as it was")
def sizes_that_overflow(pick):
    result = run_python(OVERSIZE)
    assert result.returncode == 0, result.stderr[-3000:]
    return f"{result.stdout.strip()} calls and constructions whose sizes pass 2**31, 2**32 or 2**63: 0 wrong", True


LIMITED = """
import resource, sys
import numpy as np
from fastbptt import Population, RNN, load

net = RNN(20, 300, 20, random_state=0)
deep, population = RNN(20, (100, 100), 20, random_state=0), Population(20, 2, 8, 2, random_state=0)
X, D = np.zeros((400, 64, 20), "f4"), np.zeros((400, 64, 20), "f4")
small, small_D = np.ones((5, 4, 20)), np.zeros((5, 4, 20))
truth = net.loss_and_gradients(small, small_D, n_threads=1)
before = net.theta
theta, deep_theta, other = net.theta.tobytes(), deep.theta.tobytes(), population.theta.tobytes()
net.copy().fit(small, small_D, epochs=1)
net.loss_and_gradients(X, D, n_threads=2)


def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


tries = {
    "forward": lambda: net.forward(X, return_states=True),
    "loss_and_gradients": lambda: net.loss_and_gradients(X, D),
    "two threads": lambda: net.loss_and_gradients(X, D, n_threads=2),
    "backward": lambda: net.backward(X, D, input_gradient=True),
    "fit": lambda: net.fit(X, D, epochs=1, batch_size=64, learning_rate=1e-9),
    "layers": lambda: deep.loss_and_gradients(X, D),
    "train_step": lambda: net.train_step(X, D),
    "population": lambda: population.loss_and_gradients(X[:, :, :2], D[:, :, :2]),
    "step": lambda: net.step(X[0]),
    "copy": lambda: net.copy(),
    "RNN": lambda: RNN(20, 1000, 20, initializer="normal"),
}
failed = done = 0
for k in range(int(sys.argv[1])):
    for name, attempt in tries.items():
        resource.setrlimit(resource.RLIMIT_AS, (used() + (k * k + 1) * 2**18, resource.RLIM_INFINITY))
        try:
            attempt()
            went = True
        except MemoryError:
            went = False
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        failed, done = failed + (not went), done + went
        if went and name in ("fit", "train_step"):
            net.theta = before
        assert (net.theta.tobytes(), deep.theta.tobytes(), population.theta.tobytes()) == (theta, deep_theta, other), (name, k)
    again = net.loss_and_gradients(small, small_D, n_threads=1)
    assert again[0] == truth[0] and all(np.array_equal(again[1][name], truth[1][name]) for name in truth[1])
print(failed, done)
"""

NO_MEMORY = """
import sys
import _testcapi
import numpy as np
from fastbptt import RNN

net, fresh = RNN(3, 8, 2, random_state=0), [RNN(3, 8, 2, random_state=0) for _ in range(int(sys.argv[1]))]
X, D = np.ones((6, 4, 3), "f4"), np.zeros((6, 4, 2), "f4")
theta, truth = net.theta.tobytes(), net.loss_and_gradients(X, D)[0]
x, failed, done = X[0].copy(), 0, 0

for name, attempt in {
    "first": lambda: fresh[k].forward(X),
    "forward": lambda: net.forward(X),
    "gradients": lambda: net.loss_and_gradients(X, D),
    "step": lambda: net.step(x),
    "arguments": lambda: net.evaluate(X, D),
    "theta": lambda: net.theta,
}.items():
    for k in range(int(sys.argv[1])):
        went = False
        _testcapi.set_nomemory(k, k + 1)
        try:
            attempt()
            went = True
        except MemoryError:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        failed, done = failed + (not went), done + went
        assert net.theta.tobytes() == theta, (name, k)
assert net.loss_and_gradients(X, D)[0] == truth
print(failed, done)
"""


@check("MemoryError, or success; the network bit for bit as it was, and it computes again")
def failing_allocations(pick):
    result = run_python(LIMITED, pick(5, 10, 24), timeout=1200)
    assert result.returncode == 0, (result.returncode, result.stderr[-3000:])
    failed, done = map(int, result.stdout.split())
    assert failed > 20
    figure = f"address space limited: {failed} MemoryErrors, {done} went through"
    if importlib.util.find_spec("_testcapi") is None:
        return figure + "; Python's own allocations: no _testcapi here", True
    result = run_python(NO_MEMORY, pick(60, 300, 300), timeout=1200)
    assert result.returncode == 0, (result.returncode, result.stderr[-3000:])
    failed, done = map(int, result.stdout.split())
    return figure + f"; the k-th allocation of Python refused: {failed} MemoryErrors, {done} went through", failed > 20
