"""Single updates: `Stepper`, what an optimiser carries between the calls of RNN.train_step and the windows of a stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, optimizers, reference
from .batches import Positions, draws_at
from .nonfinite import first_nonfinite

if TYPE_CHECKING:
    from .._types import Backend


class Stepper:
    """What an optimiser carries between calls of RNN.train_step."""

    def __init__(self, network: Any, optimizer: optimizers.Optimizer) -> None:
        self.kind, self.count, self.draws = type(optimizer), 0, network._keys(network._entropy, network._entropy)
        self.theta, self.gradient = network.theta, np.empty_like(network._theta)
        self.slots = optimizer.slots(network._theta), optimizer.slots(network._theta)

    def step(self, network: Any, optimizer: optimizers.Optimizer, data: Any, max_grad_norm: float,
             threads: int, backend: Backend, compute: Callable[[], tuple[float, float]] | None = None,
             sequences: np.ndarray | None = None) -> float:
        """One update, whole or not at all; the data loss before it.

        `sequences` are the places of the batch's sequences in the data that they were taken from: noise is a function of them.
        compute() -> loss, penalty, with `gradient` overwritten, stands in for the loss of `data`.
        """
        slots, spare = self.slots
        for mine, its in zip(spare, slots):
            mine[...] = its
        self.theta[...] = network._theta
        draws = None if self.draws is None else draws_at(self.draws, network._positions.noise, 0, sequences)
        loss, penalty = compute() if compute else network._loss_into(self.gradient, *data, threads, backend, draws=draws)
        clip_norm = _core.clip_norm if backend == "core" else reference.clip_norm
        gradient, norm = clip_norm(self.gradient, max_grad_norm)
        what = "loss" if not math.isfinite(loss + penalty) else "gradient"
        if math.isfinite(loss + penalty) and math.isfinite(norm):
            optimizer._update(self.theta, gradient, spare, self.count + 1, learning_rate=optimizer.learning_rate,
                              backend=backend)
            network._hold(self.theta)
            what = "" if np.isfinite(self.theta).all() else "update"
        if what:
            culprit = "" if what == "update" else first_nonfinite(network, data, backend)
            raise FloatingPointError(f"{what} is not finite in step {self.count}{culprit}: loss {loss + penalty}, gradient "
                                     f"norm {norm}; the parameters are those before this step")
        network._theta[...] = self.theta
        self.slots, self.count = (spare, slots), self.count + 1
        if draws is not None and compute is None:
            network._positions = network._positions.moved(Positions(noise=1))
        self.norm = norm
        return loss
