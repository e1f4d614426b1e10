"""The interface of a network's backends, which `_core.Engine`, `Stack` and `ReferenceBackend` share.

mypy checks the three against it (see the end of this module). Add a new operation of a network here first. The three classes
differ in what they can do, so there are three protocols. `Backend` is common to all. `OneRecurrence` is for networks with one
recurrence. `Compiled` is for what only compiled code has.

Arguments of several methods:

theta : array (P,), all parameters in the order of `options.shapes.shapes_of`
X : array (T, B, I), or token ids (T, B)
D : targets in the form of `RNN.loss_and_gradients`
weights : array (T, B) or of D's shape, or None
initial_state : array (B, width), or None for the network's own; with several recurrences one array (B, sum of all widths)
lengths : array (B,) of intp, or None
resets : array (T, B) of bool, or None
n_threads : int, 0 for the default
draws : reference.Draws, or None for a call without noise and dropout

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

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from .. import _core, reference
    from .reference import ReferenceBackend
    from .stack import Stack


class Batch(NamedTuple):
    """The checked data of a call. The fields have the order of the backends' arguments: ``operation(theta, *batch, ...)``."""

    X: Any
    D: Any
    weights: Any
    initial_state: Any
    lengths: Any
    resets: Any


class Backend(Protocol):
    """The operations that every backend has."""

    def forward(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                return_states: bool, n_threads: int, draws: reference.Draws | None = None) -> tuple[Any, ...]:
        """Return Y (T, B, O) and the final state (B, width). D and weights are not read.

        With return_states, S (T+1, B, width) follows, and for leaky units the rates R (T, B, H). With several recurrences, the
        final state, S and R are tuples with one array for each.
        """

    def step(self, theta: np.ndarray, x: np.ndarray, state: Any, out: Any, n_threads: int) -> tuple[Any, Any]:
        """Return y (B, O) and the new state (B, width) after inputs x (B, I) or token ids (B,).

        `out` is None, or a tuple of two arrays, which are written and returned.
        """

    def losses(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
               n_threads: int, draws: reference.Draws | None = None) -> np.ndarray:
        """Return the unweighted losses (T, B), summed over outputs. Weights are not read."""

    def evaluate(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                 n_threads: int, draws: reference.Draws | None = None) -> float:
        """Return the reduced error, without penalties."""

    def loss_and_gradients(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                           resets: Any, tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool,
                           initial_state_gradient: bool, n_threads: int,
                           draws: reference.Draws | None = None) -> tuple[float, dict[str, Any]]:
        """Return the reduced error with penalties, and a dict of new gradients by parameter.

        memory_limit is a number of bytes, 0 for no limit, -1 for as few as possible. input_gradient adds "X" (T, B, I).
        initial_state_gradient adds "initial_state" (B, width), or a tuple with several recurrences.
        """

    def loss_into(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                  gradient: np.ndarray, memory_limit: int, n_threads: int,
                  draws: reference.Draws | None = None) -> tuple[float, float]:
        """Return the reduced error and the penalties. Overwrite `gradient` (P,) with the gradient of their sum."""

    def window_into(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                    past: np.ndarray, own_start: bool, k2: int, gradient: np.ndarray, S: np.ndarray, n_threads: int,
                    past_rates: Any = None, R: Any = None, draws: reference.Draws | None = None,
                    past_S_0: Any = None) -> tuple[float, float, float]:
        """Return the reduced error of the steps after `past`, the penalties, and Σ m. The errors go back k2 steps.

        past (n, B, width) holds the states after the first n steps, from initial_state on. own_start says whether that was the
        network's own initial state. Leaky units of the rate form and gated cells also need the R of these steps, past_rates.
        past_S_0 (n, width) holds the S_0 that resets used at the first n steps; the default is the current S_0. `gradient`
        (P,), S (T+1, B, width) and R are overwritten.
        """

    def backward(self, theta: np.ndarray, X: np.ndarray, dY: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                 tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool, initial_state_gradient: bool,
                 n_threads: int, draws: reference.Draws | None = None) -> dict[str, Any]:
        """Return the dict of gradients for dY = ∂E/∂Y (T, B, O). Weights are not read."""

    def penalize(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """Return the penalties l1 and l2 of theta, and add their gradient to `gradient` (P,)."""


class OneRecurrence(Backend, Protocol):
    """A backend of networks with one layer and one direction."""

    def gradient_terms(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                       resets: Any, t: int, n_threads: int) -> dict[str, np.ndarray]:
        """Return the terms of the gradient of E_t, 0 <= t < T. weights, lengths and resets are None."""

    def gradient_flow(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, begin: int,
                      end: int) -> tuple[np.ndarray, ...]:
        """Return ‖∂E_t/∂S_i‖ (end - begin, T) for the errors of steps begin to end − 1, and ‖∂E/∂S_i‖ (T,) for all errors.

        For the LSTM these are the norms of h. The same two arrays of c follow. The errors are not divided by Σ m.
        """


class Compiled(Backend, Protocol):
    """A backend that computes in its own workspace."""

    def total_weight(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                     resets: Any) -> float:
        """Return the Σ m of `loss_and_gradients`. Raise ValueError if an argument is wrong."""

    def workspace(self, theta: np.ndarray, T: int, B: int, lengths: Any, resets: bool, labels: bool, weight_width: int,
                  sparse: bool, tbptt: tuple[int, int] | None, memory_limit: int, n_threads: int,
                  dropout: bool = False) -> int:
        """Return the bytes of workspace that `loss_and_gradients` takes. See `RNN.memory_estimate`."""


if TYPE_CHECKING:
    def _compiled_backends(engine: _core.Engine, stack: Stack) -> tuple[Compiled, Compiled]:
        return engine, stack

    def _backends_of_one_recurrence(engine: _core.Engine, backend: ReferenceBackend) -> tuple[OneRecurrence, OneRecurrence]:
        return engine, backend
