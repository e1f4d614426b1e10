"""The objects that backends take in place of long argument lists: data, options and what earlier calls have computed.

`protocol.py` says which operation takes which. Every call makes a Batch (the data), CallOptions (how a call is run) and perhaps
KnownStates (what earlier calls have computed). They are compiled, and engine/batch_and_options.pxi documents their fields. Add
a field there for a new argument of several operations, and read it in `take_arguments` (engine/arguments.pxi), in `stack.py`
and in `reference.py`.

The other objects are for whole runs. Compiled code reads their fields by position, so the order here and the order there must
be the same.

Letters: T steps, B sequences, I inputs, H hidden units, O outputs, K targets per row, P parameters, N lanes of a population.
Arrays are C-contiguous, and have the network's dtype unless another one is named. With output="last", the (T, B, ...) of D and
weights is (B, ...). With several recurrences, states are one array (..., sum of all H).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .._core import Batch, CallOptions, KnownStates  # noqa: F401 (backends import them from here)

DEFAULT_OPTIONS = CallOptions()


class CallShape(NamedTuple):
    """The shape of a batch that does not exist yet, from which `workspace` counts memory.

    T, B : int
    lengths : intp (B,) or None
    resets, labels : bool
        Whether the batch has resets, and whether its targets are labels.
    weight_width : int
        0 without weights, 1 for weights (T, B), K for weights (T, B, K).
    sparse : bool
        Whether most weights are 0.
    dropout : bool
        Whether the call draws dropout.
    """

    T: int
    B: int
    lengths: Any = None
    resets: bool = False
    labels: bool = False
    weight_width: int = 0
    sparse: bool = False
    dropout: bool = False


class Updates(NamedTuple):
    """The updates that compiled training makes, of one network (`Engine.train`) or of a population (`Lanes.train`).

    rule : str
        A key of `_core.RULES`.
    numbers : dict
        The numbers of the optimizer, by the names in optimizers.py.
    slots : list of arrays (P,), or (P, N) of a population
        The state of the rule, updated in place.
    rates : float64 (epochs,), or (epochs, N)
        The learning rate of each epoch.
    max_norm : float, or float64 (N,)
        Gradients with a larger norm are scaled to this norm.
    order : intp (rows,), or (1 or n, epochs, B), or None
        The sequences in the order of training. One network takes a flat vector: the sequences that are left of an epoch, and
        those of the epochs after it. None, only for a population, stands for the order of the data.
    batch_size : int
        Sequences per update. The last batch of an epoch may be smaller.
    earlier : int
        The number of updates made before.
    seconds : float
        `Engine.train` begins no further update after this time. `Lanes.train` does not read it.
    """

    rule: str
    numbers: dict[str, Any]
    slots: list[Any]
    rates: Any
    max_norm: Any
    order: Any
    batch_size: int
    earlier: int
    seconds: float = math.inf


class UpdateMemory(NamedTuple):
    """The arrays in which `Engine.train` computes an update. It overwrites them.

    gradient : array (P,)
    before : list of arrays (P,), one for theta and one for each slot
    batch : Batch
        Arrays for `batch_size` sequences of the data; None where the data have None.
    """

    gradient: Any
    before: list[Any]
    batch: Batch


class Learners(NamedTuple):
    """Which networks of a population learn, and their own penalties.

    going : array (N,) of the networks' dtype
        1 for a network that learns. Training sets it to 0 when the network stops.
    ended : intp (N,)
        Training writes the number of finished epochs of each network, or -1 minus it if a number was not finite.
    l1, l2 : array (P, N) or None
        The penalties of each parameter.
    """

    going: Any
    ended: Any
    l1: Any
    l2: Any


class Validation(NamedTuple):
    """The validation set of a population, and what it has found for each network so far.

    batch : Batch
        X, D, weights and lengths.
    best, target : float64 (N,)
        The lowest loss, and the loss that a network must improve on before its patience ends. Both are updated.
    best_epoch, target_epoch : intp (N,)
        The epochs in which they were reached, updated.
    best_theta : array (P, N)
        The parameters of the best epoch, updated if patience > 0.
    begun : int
        The number of the first epoch of this call.
    patience : int
        Epochs without improvement after which a network stops; 0 stands for no early stopping.
    min_improvement : float
    """

    batch: Batch
    best: Any
    target: Any
    best_epoch: Any
    target_epoch: Any
    best_theta: Any
    begun: int
    patience: int
    min_improvement: float
