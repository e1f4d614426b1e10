"""Where a run stands: `State` holds everything that its continuation depends on. A checkpoint is such a state.

Add here a number or an array that updates change. Add a number also to `State.NUMBERS`, which checkpoints keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(eq=False)
class State:
    """The state of a run between two updates: everything that its continuation depends on."""

    theta: np.ndarray
    slots: list[np.ndarray]
    epoch: int = 0            # the current epoch
    batch: int = 0            # its finished batches
    updates: int = 0
    skipped: int = 0
    loss: float = 0.0         # sums over the batches of the epoch
    weight: float = 0.0
    penalty: float = 0.0
    norm: float = 0.0
    averaged: int = 0         # batches in those sums
    carried: tuple = ()       # the schedule's own state
    best_loss: float = math.inf
    best_epoch: int | None = None
    best_theta: np.ndarray | None = None  # never written to
    target: float = math.inf  # the loss that the next ones must beat, for patience
    target_epoch: int = -1    # the epoch that set it
    seconds: float = 0.0      # before this call
    states: np.ndarray | None = None  # the network's, for the next window; never written to
    owed: tuple = ()          # callbacks still to call, and the numbers of their Record
    refused: bool = False     # whether they were called and ended the run

    NUMBERS = ("epoch", "batch", "updates", "skipped", "loss", "weight", "penalty", "norm", "averaged", "carried",
               "best_loss", "best_epoch", "target", "target_epoch", "seconds", "owed", "refused")

    def add(self, loss: float, penalty: float, norm: float, weight: float) -> None:
        """Add the loss (times `weight`), penalty and gradient norm of a batch to the epoch's sums."""
        self.loss += loss * weight
        self.weight += weight
        self.penalty += penalty
        self.norm += norm
        self.averaged += 1

    def take(self, other: State, theta: np.ndarray) -> None:
        """Become a copy of the State `other`, with the parameters `theta`. This state keeps its own arrays and fills them."""
        vars(self).update({**vars(other), "theta": self.theta, "slots": self.slots})
        self.theta[...] = theta
        for copy, slot in zip(self.slots, other.slots):
            copy[...] = slot

    def copy_sharing_arrays(self) -> State:
        """Return a copy that shares the arrays with this state. Only its numbers may be changed."""
        other = object.__new__(State)
        vars(other).update(vars(self))
        return other
