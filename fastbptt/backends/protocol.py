"""What every backend of a network can do: the interface that `_core.Engine`, `Stack` and `ReferenceBackend` share.

mypy holds the three to it (the assignments at the end). A new operation of a network is added here first. The three classes
differ in what they cannot do, so there are three protocols: `Backend` is common to all, `OneRecurrence` is for networks of one
recurrence, `Compiled` is for what only compiled code has.

Arguments that return everywhere:

theta : array (P,), all parameters in the order of `options.shapes.shapes_of`
X : array (T, B, I), or ids (T, B)
D : targets as `RNN.loss_and_gradients` takes them
weights : array (T, B) or of D's shape, or None
initial_state : array (B, H), or None for the network's own; several recurrences: one array, (B, sum of all H)
lengths : array (B,) of intp, or None
resets : array (T, B) of bool, or None
n_threads : int, 0 for the default
draws : reference.Draws, or None for a call without noise and dropout

Arrays have the network's dtype unless another one is named, and are C-contiguous. With output="last", what is (T, B, ...) in D,
weights, Y and losses is (B, ...).

The rule of NotImplemented: `_core.Engine` checks dtypes, shapes and memory layout in C, before it modifies
anything, and returns NotImplemented if one is wrong. The Python layer then converts the argument or raises a detailed error.
`Stack` and `ReferenceBackend` take arguments that are checked already and never return NotImplemented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from .. import _core, reference
    from .reference import ReferenceBackend
    from .stack import Stack


class Batch(NamedTuple):
    """The data of a call, checked. The fields are in the order of the backends' arguments: ``operation(theta, *batch, ...)``."""

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
        """Return Y (T, B, O) and the final state (B, H); D and weights are not read.

        With return_states, S (T+1, B, H) follows, and of leaky units the rates R (T, B, H). Several recurrences: the final
        state, S and R are tuples with an array for each.
        """

    def step(self, theta: np.ndarray, x: np.ndarray, state: Any, out: Any, n_threads: int) -> tuple[Any, Any]:
        """Return y (B, O) and the new state (B, H) after x (B, I) or ids (B,).

        `out` is None or a tuple of two arrays, which are written and returned.
        """

    def losses(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
               n_threads: int, draws: reference.Draws | None = None) -> np.ndarray:
        """Return the unweighted losses (T, B), summed over outputs; weights are not read."""

    def evaluate(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                 n_threads: int, draws: reference.Draws | None = None) -> float:
        """Return the reduced error, without penalties."""

    def loss_and_gradients(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                           resets: Any, tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool,
                           initial_state_gradient: bool, n_threads: int,
                           draws: reference.Draws | None = None) -> tuple[float, dict[str, Any]]:
        """Return the reduced error with penalties, and a dict of fresh gradients by parameter.

        memory_limit is a number of bytes, 0 for none, -1 for as few as possible. input_gradient adds "X" (T, B, I),
        initial_state_gradient adds "initial_state" (B, H), or a tuple for several recurrences.
        """

    def loss_into(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                  gradient: np.ndarray, memory_limit: int, n_threads: int,
                  draws: reference.Draws | None = None) -> tuple[float, float]:
        """Return the reduced error and the penalties; overwrite `gradient` (P,) with the gradient of their sum."""

    def window_into(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                    past: np.ndarray, own_start: bool, k2: int, gradient: np.ndarray, S: np.ndarray, n_threads: int,
                    past_rates: Any = None, R: Any = None, draws: reference.Draws | None = None,
                    past_S_0: Any = None) -> tuple[float, float, float]:
        """Return the reduced error of the steps after `past`, the penalties, and Σ m; the errors go back k2 steps.

        past (n, B, H) are the states after the first n steps, from initial_state on. own_start says that this was the
        network's own. Leaky units of the rate form also need the rates past_rates (n, B, H). past_S_0 (n, H) is the S_0 that
        resets at the first n steps brought; without it that was the present one. `gradient` (P,), S (T+1, B, H) and R
        (T, B, H) are overwritten.
        """

    def backward(self, theta: np.ndarray, X: np.ndarray, dY: Any, weights: Any, initial_state: Any, lengths: Any, resets: Any,
                 tbptt: tuple[int, int] | None, memory_limit: int, input_gradient: bool, initial_state_gradient: bool,
                 n_threads: int, draws: reference.Draws | None = None) -> dict[str, Any]:
        """Return the dict of gradients for dY = ∂E/∂Y (T, B, O); weights are not read."""

    def penalize(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """Return the penalties l1 and l2 of theta; add their gradient to `gradient` (P,)."""


class OneRecurrence(Backend, Protocol):
    """A backend of networks of one layer and one direction."""

    def gradient_terms(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                       resets: Any, t: int, n_threads: int) -> dict[str, np.ndarray]:
        """Return the terms of the gradient of E_t, 0 <= t < T; weights, lengths and resets are None."""

    def gradient_flow(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, begin: int,
                      end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ‖∂E_t/∂S_i‖ (end - begin, T) for the errors of steps begin ... end, and ‖∂E/∂S_i‖ (T,) of all; not divided."""


class Compiled(Backend, Protocol):
    """A backend that computes in a workspace of its own."""

    def total_weight(self, theta: np.ndarray, X: np.ndarray, D: Any, weights: Any, initial_state: Any, lengths: Any,
                     resets: Any) -> float:
        """Return Σ m as `loss_and_gradients` finds it; raise ValueError if an argument is wrong."""

    def workspace(self, theta: np.ndarray, T: int, B: int, lengths: Any, resets: bool, labels: bool, weight_width: int,
                  sparse: bool, tbptt: tuple[int, int] | None, memory_limit: int, n_threads: int,
                  dropout: bool = False) -> int:
        """Return the bytes that `loss_and_gradients` takes for its workspace; see `RNN.memory_estimate`."""


if TYPE_CHECKING:
    def _compiled_backends(engine: _core.Engine, stack: Stack) -> tuple[Compiled, Compiled]:
        return engine, stack

    def _backends_of_one_recurrence(engine: _core.Engine, backend: ReferenceBackend) -> tuple[OneRecurrence, OneRecurrence]:
        return engine, backend
