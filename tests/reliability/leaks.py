"""Resident memory stays where it was, over many calls, errors and small fits."""

import tempfile

from processes import run_python

from .table import check

CALLS = """
import ctypes, gc, os, sys, warnings
import numpy as np
from fastbptt import (
    Population,
    RNN,
    RNNClassifier,
    RNNRegressor,
    SequenceScaler,
    datasets,
    diagnostics,
    load,
    optimizers,
    schedules,
    sequences,
)

warnings.simplefilter("ignore")
N, fits, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


rng = np.random.default_rng(0)
T, B, I, H, O = 5, 3, 2, 6, 2
X, D, W = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O)), np.ones((T, B))
f4 = [a.astype("f4") for a in (X, D, W)]
lengths, S = np.array([5, 2, 0]), np.zeros((B, H))
net, ids = (
    RNN(I, H, O, random_state=0),
    RNN(4, H, 4, one_hot=True, loss="cross_entropy", output_activation="softmax", random_state=0),
)
deep, maps = (
    RNN(I, (4, 3), O, bidirectional=True),
    RNN(I, H, O, dale_ratio=0.5, l1=1e-3, connectivity={"W_s": np.ones((H, H))}),
)
gru, lstm = (RNN(I, H, O, cell="gru", random_state=0), RNN(I, H, O, cell="lstm", learn_initial_state=True, random_state=0))
population, labels = Population(5, I, 4, O, random_state=0), rng.integers(0, 4, (T, B))
x, y = np.zeros((B, I), "f4"), (np.empty((B, O), "f4"), np.empty((B, H), "f4"))
regressor = RNNRegressor(3, max_iter=1).fit(X, D)
net.save(path)
scaler = SequenceScaler().fit(X)
optimizer, theta = optimizers.Adam(), net.theta
slots, gradient, objective = optimizer.slots(theta), np.ones_like(theta), net.objective(X, D)

CALLS = {
    "forward": lambda: net.forward(X),
    "forward, all": lambda: net.forward(X, S, lengths=lengths, resets=W > 1, return_states=True),
    "forward, as it is": lambda: net.forward(f4[0]),
    "forward, two threads": lambda: net.forward(f4[0], n_threads=2),
    "forward, layers": lambda: deep.forward(X),
    "forward, ids": lambda: ids.forward(labels),
    "step": lambda: net.step(x),
    "step, out": lambda: net.step(x, out=y),
    "losses": lambda: net.losses(X, D),
    "evaluate": lambda: net.evaluate(X, D, weights=W),
    "loss_and_gradients": lambda: net.loss_and_gradients(*f4[:2]),
    "loss_and_gradients, all": lambda: net.loss_and_gradients(
        X, D, weights=W, lengths=lengths, input_gradient=True, initial_state_gradient=True
    ),
    "loss_and_gradients, windows": lambda: net.loss_and_gradients(X, D, tbptt=(2, 3)),
    "loss_and_gradients, little memory": lambda: net.loss_and_gradients(X, D, memory_limit="auto"),
    "loss_and_gradients, layers": lambda: deep.loss_and_gradients(X, D),
    "loss_and_gradients, maps": lambda: maps.loss_and_gradients(X, D),
    "loss_and_gradients, ids": lambda: ids.loss_and_gradients(labels, labels),
    "loss_and_gradients, gru": lambda: gru.loss_and_gradients(X, D, lengths=lengths),
    "loss_and_gradients, lstm": lambda: lstm.loss_and_gradients(X, D, resets=W > 1, tbptt=(2, 3)),
    "forward, lstm": lambda: lstm.forward(X, return_states=True),
    "backward": lambda: net.backward(X, D),
    "gradient_terms": lambda: net.gradient_terms(X, D, 2),
    "memory_estimate": lambda: net.memory_estimate(50, 3),
    "generate": lambda: net.generate(2, prefix=X),
    "generate, ids": lambda: ids.generate(2, prefix=labels),
    "train_step": lambda: net.train_step(X, D, learning_rate=1e-9),
    "objective": lambda: objective(theta),
    "theta": lambda: setattr(net, "theta", theta),
    "state_dict": lambda: net.load_state_dict(net.state_dict()),
    "effective_parameters": lambda: maps.effective_parameters(),
    "to_torch": lambda: net.to_torch(),
    "update": lambda: optimizer.update(theta, gradient, slots, 1),
    "population": lambda: population.loss_and_gradients(X, D),
    "population, forward": lambda: population.forward(X),
    "predict": lambda: regressor.predict(X),
    "to_time_major": lambda: sequences.to_time_major([X[0], X[0, :2]]),
    "scaler": lambda: scaler.transform(X),
    "task": lambda: datasets.adding_problem(3, 12, random_state=0),
    "jacobian": lambda: diagnostics.jacobian(net, S, X[0, :B]),
}
RARE = {  # of these a tenth
    "RNN": lambda: RNN(I, H, O),
    "copy": lambda: net.copy(),
    "layers": lambda: RNN(I, (3, 2), O),
    "Population": lambda: Population(3, I, 4, O),
    "load": lambda: load(path),
    "gradient_flow": lambda: diagnostics.gradient_flow(net, X, D),
}
BAD = {
    "X": lambda: net.forward("x"),
    "shape": lambda: net.forward(X[..., :1]),
    "complex": lambda: net.loss_and_gradients(X + 1j, D),
    "D": lambda: net.loss_and_gradients(X, D[:2]),
    "weights": lambda: net.loss_and_gradients(X, D, weights=-W),
    "lengths": lambda: net.forward(X, lengths=[9, 9, 9]),
    "state": lambda: net.forward(X, S[:, :2]),
    "labels": lambda: ids.evaluate(labels, labels + 9),
    "ids": lambda: ids.forward(labels - 9),
    "out": lambda: net.step(x, out=(y[0], y[0])),
    "word": lambda: net.forward(X, h0=S),
    "threads": lambda: net.forward(X, n_threads=0),
    "backend": lambda: net.forward(X, backend="x"),
    "tbptt": lambda: net.loss_and_gradients(X, D, tbptt=0),
    "limit": lambda: net.loss_and_gradients(X, D, memory_limit=1),
    "option": lambda: RNN(I, H, O, activation="x"),
    "theta": lambda: setattr(net, "theta", theta[:3]),
    "state dict": lambda: net.load_state_dict({}),
    "fit": lambda: net.fit(X, D, optimizer="x"),
    "nan": lambda: net.fit(X * np.nan, D),
    "infinite": lambda: net.train_step(X * 1e200, D),
    "deep": lambda: deep.step(x),
    "population": lambda: population.forward(X[0]),
    "predict": lambda: regressor.predict(X[..., :1]),
}


def bad(call):
    def run():
        try:
            call()
        except (TypeError, ValueError, IndexError, MemoryError, FloatingPointError):
            return
        raise AssertionError("no error")

    return run


SMALL = {
    "fit": lambda: net.copy().fit(X, D, epochs=2, batch_size=2),
    "fit, Python": lambda: net.copy().fit(X, D, epochs=2, callbacks=lambda record: None),
    "fit, layers": lambda: deep.copy().fit(X, D, epochs=1),
    "fit, checkpoint": lambda: net.copy().fit(X, D, epochs=1, checkpoint=path + "2"),
    "fit of a population": lambda: population.copy().fit(X, D, epochs=2),
    "fit of an estimator": lambda: RNNRegressor(3, max_iter=2).fit(X, D),
}
most, worst = -1.0, ""
groups = [(CALLS, N), (RARE, N // 10), ({name: bad(call) for name, call in BAD.items()}, N // 2), (SMALL, fits)]
calls = 0
for group, count in groups:
    for name, call in group.items():
        for _ in range(min(count // 10 + 10, 2000)):
            call()
        gc.collect()
        before = resident()
        for _ in range(count):
            call()
        gc.collect()
        grown = resident() - before
        calls += count
        if grown > 2**20:  # twice over, or it was the allocator's
            before = resident()
            for _ in range(count):
                call()
            gc.collect()
            grown = resident() - before
        if grown > most:
            most, worst = grown, f"{name} ({count})"
print(calls, sum(len(group) for group, _ in groups), most, worst)
"""


@check("under 1 MiB more resident memory after each function's calls, once warm; errors and fits too")
def leaks(pick):
    with tempfile.TemporaryDirectory() as folder:
        result = run_python(CALLS, pick(1_000, 10_000, 100_000), pick(50, 200, 1_000), f"{folder}/net.npz", timeout=7200)
    assert result.returncode == 0, result.stderr[-3000:]
    calls, functions, most, *name = result.stdout.split()
    most = int(most)
    return (f"{calls} calls of {functions} functions, errors and fits; most {most / 1024:.0f} KiB more, by {' '.join(name)}",
            most < 2**20)
