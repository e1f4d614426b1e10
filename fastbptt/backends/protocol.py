"""The interface of a network's backends, which `_core.Engine`, `Stack` and `ReferenceBackend` share.

mypy checks the three against it (see the end of this module). Add a new operation of a network here first. The three classes
differ in what they can do, so there are three protocols. `Backend` is common to all. `OneRecurrence` is for networks with one
recurrence. `Compiled` is for what only compiled code has.

Operations on data begin with three arguments:

theta : array (P,), all parameters in the order of `options.shapes.shapes_of`
batch : Batch, the data
options : CallOptions, how the call is run and which gradients it returns

`arguments.py` describes these objects and the others.

A public state has `width` numbers: H, or 2 H for the LSTM, [h c]. The rates R (T, B, n) are what a step keeps for the backward
pass and its state does not tell: n is H for leaky units (their rates), 4 H for the GRU (r, z, n, W_s,n h + b_n), 3 H with
reset_after=False (r, z, n), 6 H for the LSTM (i, f, g, o, g1(c), and c before the step). Plain units have no R. The table
`reference.CELLS` has the names. With several recurrences in one array, all numbers of a recurrence are side by side.

Arrays are C-contiguous, and have the network's dtype unless another one is named. With output="last", the (T, B, ...) of D,
weights, Y and losses is (B, ...).

The rule of NotImplemented: `_core.Engine` checks dtypes, shapes and memory layout in C, before it modifies anything. It
returns NotImplemented if one is wrong. The Python layer then converts the argument or raises a detailed error. `Stack` and
`ReferenceBackend` take checked arguments and never return NotImplemented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .arguments import Batch, CallOptions, CallShape, KnownStates

if TYPE_CHECKING:
    from .. import _core
    from .reference import ReferenceBackend
    from .stack import Stack


class Backend(Protocol):
    """The operations that every backend has."""

    def forward(self, theta: np.ndarray, batch: Batch, options: CallOptions, return_states: bool) -> tuple[Any, ...]:
        """Return Y (T, B, O) and the final state (B, width). D and weights are not read.

        With return_states, S (T+1, B, width) follows, and for leaky units the rates R (T, B, H). With several recurrences, the
        final state, S and R are tuples with one array for each.
        """

    def step(self, theta: np.ndarray, x: np.ndarray, state: Any, out: Any, n_threads: int) -> tuple[Any, Any]:
        """Return y (B, O) and the new state (B, width) after inputs x (B, I) or token ids (B,).

        `out` is None, or a tuple of two arrays, which are written and returned.
        """

    def losses(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> np.ndarray:
        """Return the unweighted losses (T, B), summed over outputs. Weights are not read."""

    def evaluate(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> float:
        """Return the reduced error, without penalties."""

    def loss_and_gradients(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> tuple[float, dict[str, Any]]:
        """Return the reduced error with penalties, and a dict of new gradients by parameter.

        options.input_gradient adds "X" (T, B, I). options.initial_state_gradient adds "initial_state" (B, width), or a tuple
        with several recurrences.
        """

    def loss_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, gradient: np.ndarray) -> tuple[float, float]:
        """Return the reduced error and the penalties. Overwrite `gradient` (P,) with the gradient of their sum."""

    def window_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, known: KnownStates, gradient: np.ndarray,
                    S: np.ndarray, R: Any) -> tuple[float, float, float]:
        """Return the reduced error of the steps after the known ones, the penalties, and Σ m.

        The errors go back k2 steps of options.tbptt = (T, k2), or all steps without tbptt. The known states are those from
        initial_state on. `gradient` (P,), S (T+1, B, width) and R are overwritten. R is None if the units keep none. If the
        derivative of the activation reads the pre-activation, R has the pre-activations, and plain units have an R, too.
        """

    def backward(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> dict[str, Any]:
        """Return the dict of gradients for batch.D = ∂E/∂Y (T, B, O). Weights are not read."""

    def penalize(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """Return the penalties l1 and l2 of theta, and add their gradient to `gradient` (P,)."""


class OneRecurrence(Backend, Protocol):
    """A backend of networks with one layer and one direction."""

    def gradient_terms(self, theta: np.ndarray, batch: Batch, options: CallOptions, t: int) -> dict[str, np.ndarray]:
        """Return the terms of the gradient of E_t, 0 <= t < T. weights, lengths and resets are None."""

    def gradient_flow(self, theta: np.ndarray, batch: Batch, options: CallOptions, begin: int,
                      end: int) -> tuple[np.ndarray, ...]:
        """Return ‖∂E_t/∂S_i‖ (end - begin, T) for the errors of steps begin to end − 1, and ‖∂E/∂S_i‖ (T,) for all errors.

        For the LSTM these are the norms of h. The same two arrays of c follow. The errors are not divided by Σ m. lengths and
        resets are None.
        """


class Compiled(Backend, Protocol):
    """A backend that computes in its own workspace."""

    def total_weight(self, theta: np.ndarray, batch: Batch) -> float:
        """Return the Σ m of `loss_and_gradients`. Raise ValueError if an argument is wrong."""

    def workspace(self, theta: np.ndarray, shape: CallShape, options: CallOptions) -> int:
        """Return the bytes of workspace that `loss_and_gradients` takes. See `RNN.memory_estimate`."""


if TYPE_CHECKING:
    def _compiled_backends(engine: _core.Engine, stack: Stack) -> tuple[Compiled, Compiled]:
        return engine, stack

    def _backends_of_one_recurrence(engine: _core.Engine, backend: ReferenceBackend) -> tuple[OneRecurrence, OneRecurrence]:
        return engine, backend
