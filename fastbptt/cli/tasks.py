"""Training on the synthetic tasks: new sequences for every update, and the fraction answered correctly at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .. import RNN, datasets

HIDDEN_SIZE = 50  # as Pascanu et al. 2013
BATCH_SIZE = 32
LEARNING_RATE = 1e-3
MAX_GRAD_NORM = 1.0
JUDGED = 10_000  # number of new sequences, as in Pascanu et al. 2013
SOLVED = 0.01  # largest fraction of them that may be wrong
HELD_OUT = 500  # number of sequences that decide when to stop


@dataclass(frozen=True)
class Task:
    """A function of datasets, and the network for it."""

    words: str
    draw: Callable
    input_size: int
    output_size: int
    length: int
    shortest: int
    unit: str = "length"
    options: dict = field(default_factory=dict)


LABELS = {"loss": "cross_entropy", "output_activation": "softmax"}
TASKS = {
    "adding": Task("Adding problem: the mean of two marked numbers of a stream", datasets.adding_problem, 2, 1, 50, 10,
                   options={"activation": "relu", "initializer": "identity"}),  # Le, Jaitly and Hinton 2015
    "temporal_order": Task("Temporal order: which two symbols of a stream were A or B, and in which order",
                           datasets.temporal_order, 6, 4, 20, 10, options=LABELS),
    "copy_memory": Task("Copy memory: repeat ten symbols after a delay", datasets.copy_memory, 10, 9, 10, 1,
                        unit="delay", options=LABELS),
    "parity": Task("Parity: whether the number of ones of a stream so far is odd", datasets.parity, 1, 2, 10, 1,
                   options=LABELS),
}


def network(task, hidden_size=None, seed=0, cell="plain"):
    """Return a network with the sizes, loss and outputs of the task. Only plain cells have its activation and initialiser."""
    H = HIDDEN_SIZE if hidden_size is None else hidden_size
    options = {name: value for name, value in task.options.items()
               if cell == "plain" or name not in ("activation", "initializer")}
    return RNN(task.input_size, H, task.output_size, cell=cell, random_state=seed, **options)


EPOCHS = 150  # by default, also of a single network on a table


def fit(network, task, length, *, epochs, solver="adam", progress=None):
    """Train in place, in epochs of 100 updates, until at most SOLVED / 2 of the held-out sequences are wrong."""
    rng = np.random.default_rng(0)
    held = task.draw(HELD_OUT, length, random_state=rng)

    def solved(record):
        return wrong(network, held) <= SOLVED / 2

    return network.fit(batches=lambda size, rng: task.draw(size, length, random_state=rng), epochs=epochs,
                       updates_per_epoch=100, batch_size=BATCH_SIZE, optimizer=solver, learning_rate=LEARNING_RATE,
                       max_grad_norm=MAX_GRAD_NORM, callbacks=solved, progress=progress)


def wrong(network, data):
    """Return the fraction of sequences with a wrong answer."""
    X, D, weights = data
    return datasets.fraction_wrong(network.forward(X)[0], D, weights)


def judge(network, task, length, *, seed=1):
    """Return the fraction of `JUDGED` new sequences with a wrong answer, drawn a thousand at a time."""
    rng = np.random.default_rng(seed)
    return float(np.mean([wrong(network, task.draw(1000, length, random_state=rng)) for _ in range(JUDGED // 1000)]))
