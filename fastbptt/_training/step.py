"""Single updates: clipping, the update itself and its check, and `Stepper`.

Add here what every update does, in `fit`, `train_step` and `stream`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, optimizers, reference
from ..backends.arguments import CallOptions
from .batches import Positions, noise_keys_at
from .nonfinite import first_nonfinite
from .settings import UpdateSettings


def clip(gradient: np.ndarray, how: UpdateSettings) -> tuple[np.ndarray, float]:
    """Return the gradient, scaled down if its Euclidean norm exceeds `how.max_grad_norm`, and its norm before.

    `how` are UpdateSettings.
    """
    clip_norm = _core.clip_norm if how.backend == "core" else reference.clip_norm
    return clip_norm(gradient, how.max_grad_norm)


def nonfinite_part(loss: float, norm: float) -> str:
    """Return "loss" or "gradient", whichever is not finite first, else "". `norm` is the norm of the gradient."""
    if math.isfinite(loss):
        return "" if math.isfinite(norm) else "gradient"
    return "loss"


def update(network: Any, how: UpdateSettings, theta: np.ndarray, slots: Any, gradient: np.ndarray, *, count: int,
           learning_rate: float) -> bool:
    """Let the optimiser of the UpdateSettings `how` update `theta` and `slots` in place.

    Return whether all parameters are finite.

    `slots` are the optimiser's arrays, such as its momentum. `count` is the number of this update, from 1, for Adam's bias
    correction. `learning_rate` includes the schedule's factor. Frozen and absent entries of theta keep their values.
    """
    how.optimizer._update(theta, gradient, slots, count, learning_rate=learning_rate, backend=how.backend)
    network._hold(theta)
    return bool(np.isfinite(theta).all())


class Stepper:
    """What an optimiser carries from one call of RNN.train_step, or one window of a stream, to the next.

    It keeps two sets of slots. An update is made in the spare set, and the two are swapped if the update is complete.
    """

    def __init__(self, network: Any, optimizer: optimizers.Optimizer) -> None:
        """Allocate the arrays of updates of this network by this optimiser."""
        self.kind, self.count, self.draws = type(optimizer), 0, network._keys(network._entropy, network._entropy)
        self.theta, self.gradient = network.theta, np.empty_like(network._theta)
        self.slots = optimizer.slots(network._theta), optimizer.slots(network._theta)

    def step(self, network: Any, how: UpdateSettings, data: Any,
             compute: Callable[[], tuple[float, float]] | None = None, sequences: np.ndarray | None = None) -> float:
        """Make one update, completely or not at all, and return the data loss before it.

        Parameters
        ----------
        data : Batch
            Already checked.
        compute : function, optional
            Returns loss and penalty, and writes the gradient into `gradient`. It replaces the loss of `data`.
        sequences : array of int, optional
            Indices of the batch's sequences in the data from which they were taken. Noise depends on them.

        Raises
        ------
        FloatingPointError
            If loss, gradient or update is not finite. Parameters and slots are those before the step.
        """
        slots, spare = self.slots
        for copy, slot in zip(spare, slots):
            copy[...] = slot
        self.theta[...] = network._theta
        draws = None if self.draws is None else noise_keys_at(self.draws, network._positions.noise, 0, sequences)
        if compute:
            loss, penalty = compute()
        else:
            loss, penalty = network._loss_into(self.gradient, data, CallOptions(how.threads, draws=draws), how.backend)
        gradient, norm = clip(self.gradient, how)
        bad_part = nonfinite_part(loss + penalty, norm)
        if not bad_part and not update(network, how, self.theta, spare, gradient, count=self.count + 1,
                                       learning_rate=how.optimizer.learning_rate):
            bad_part = "update"
        if bad_part:
            culprit = "" if bad_part == "update" else first_nonfinite(network, data, how.backend)
            raise FloatingPointError(f"{bad_part} is not finite in step {self.count}{culprit}: loss {loss + penalty}, gradient "
                                     f"norm {norm}; the parameters are those before this step")
        network._theta[...] = self.theta
        self.slots, self.count = (spare, slots), self.count + 1
        if draws is not None and compute is None:
            network._positions = network._positions.moved(Positions(noise=1))
        self.norm = norm
        return loss
