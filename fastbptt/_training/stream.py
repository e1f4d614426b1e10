"""The loop behind RNN.stream: one pass over a series of any length, by truncated BPTT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import optimizers
from .batches import Positions, draws_at
from .history import Record, StreamHistory
from .progress import Progress
from .step import Stepper

if TYPE_CHECKING:
    from .._types import Backend
    from .types import Callback


def stream(network: Any, chunks: Iterable[tuple[Any, ...]], k1: int, k2: int, initial_state: np.ndarray | None,
           optimizer: optimizers.Optimizer, max_grad_norm: float, callback: Callback | None, threads: int,
           backend: Backend, progress: bool | None = None, windows: int | None = None) -> StreamHistory:
    """The loop behind RNN.stream; `chunks` gives checked (X, D, weights, resets), which may be of any length.

    `windows` is how many windows of k1 steps they hold, if that is known.
    """
    history, stepper, shown = StreamHistory(), Stepper(network, optimizer), Progress(None, windows, progress, "window")
    window = _Window(network, stepper.gradient, k1, k2, initial_state, threads, backend)
    network.history = history
    try:
        for chunk in chunks:
            for ready in window.add(chunk):
                if _learn(network, window, ready, stepper, optimizer, max_grad_norm, callback, history, shown):
                    history.stopped = "callback"
                    return history
        ready = window.rest()
        if ready is not None:
            _learn(network, window, ready, stepper, optimizer, max_grad_norm, callback, history, shown)
        history.stopped = "end"
    except BaseException as error:
        names = {KeyboardInterrupt: "interrupted", FloatingPointError: "nonfinite"}
        history.stopped = next((name for kind, name in names.items() if isinstance(error, kind)), "error")
        raise
    finally:
        shown.close()
    return history


def _learn(network, window, steps, stepper, optimizer, max_grad_norm, callback, history, shown):
    """One update by a window that ends with these new steps; whether the callback ends the stream."""
    loss, penalty, weight = window.compute(steps)
    if weight > 0:
        stepper.step(network, optimizer, window.data(), max_grad_norm, window.threads, window.backend, lambda: (loss, penalty))
        if window.draws is not None:  # the noise of the whole stream belongs to one call
            network._positions = network._positions.later(Positions(noise=window.call + 1))
        history.loss.append(loss)
        history.gradient_norm.append(stepper.norm)
    window.move_on()
    history.steps, history.final_state = window.read, network._as_given(window.states[-1].copy())
    if shown.wanted:
        shown.update()
        shown.window(window.read, history.loss)
    if weight == 0 or callback is None:
        return False
    answer = callback(Record(0, len(history.loss), loss, None, stepper.norm, network))
    return isinstance(answer, (bool, np.bool_)) and bool(answer)


class _Window:
    """The last steps of a stream: those whose states are known, and behind them those to learn from."""

    def __init__(self, network, gradient, k1, k2, initial_state, threads, backend):
        self.network, self.gradient, self.k1, self.k2 = network, gradient, k1, k2
        self.threads, self.backend, self.draws = threads, backend, network._keys(network._entropy, network._entropy)
        self.call = network._positions.noise
        self.own_start, self.states = initial_state is None, None if initial_state is None else initial_state[None]
        self.known = None     # X, D, weights, resets of the steps that the states but the first stand behind
        self.waiting = []     # chunks that do not make a window yet
        self.read = 0

    def add(self, chunk):
        """The windows of k1 new steps that this chunk completes, one after another."""
        self.waiting.append(chunk)
        while sum(len(part[0]) for part in self.waiting) >= self.k1:
            yield self._take(self.k1)
        self.waiting = [_joined([part]) for part in self.waiting]

    def rest(self):
        """What no window has taken, None where there is nothing."""
        left = sum(len(part[0]) for part in self.waiting)
        return self._take(left) if left else None

    def _take(self, n):
        """The first n steps of those that wait."""
        taken = []
        while n > 0:
            part = self.waiting.pop(0)
            if len(part[0]) > n:
                self.waiting.insert(0, tuple(None if array is None else array[n:] for array in part))
                part = tuple(None if array is None else array[:n] for array in part)
            taken.append(part)
            n -= len(part[0])
        return _joined(taken)

    def compute(self, new):
        """Loss, penalty and Σ m of the new steps; the gradient is in `gradient`."""
        self.new = len(new[0])
        self._forget(max(0, self.k2 - self.new))
        self.steps = new if self.known is None else _joined([self.known, new])
        X, D, weights, resets = self.steps
        self.S = np.empty((len(X) + 1, X.shape[1], self.network._kept_width), self.network.dtype)
        past = self.S[:0] if self.states is None else self.states[1:]
        own = self.own_start and self.states is not None and self.read == len(past)
        return self.network._window_into(self.gradient, X, D, weights, None if self.states is None else self.states[0], None,
                                         resets, past, own, self.k2, self.S, self.threads, self.backend,
                                         None if self.draws is None else draws_at(self.draws, self.call, self.read - len(past),
                                                                             None))

    def _forget(self, most):
        """All but the last `most` of the known steps, and the states before and after these."""
        first = max(0, len(self.known[0]) - most) if self.known is not None else 0
        if first > 0:
            self.states = self.states[first:].copy()
            self.known = tuple(None if array is None else array[first:].copy() for array in self.known) if most else None

    def data(self):
        """The window as RNN.loss_and_gradients takes it, to find words for what is not finite."""
        X, D, weights, resets = self.steps
        return X, D, weights, None if self.states is None else self.states[0], None, resets

    def move_on(self):
        """Keep of the steps and states what the next window goes back through."""
        self.read += self.new
        self.known, self.states = self.steps, self.S
        self._forget(self.k2 - 1)  # the last window may be of one step


def _joined(parts):
    """Pieces of (X, D, weights, resets) as one; where one of them has weights or resets, the others get neutral ones."""
    if len(parts) == 1:
        return tuple(None if array is None else array.copy() for array in parts[0])  # whoever made it may use it again
    joined = []
    for n, arrays in enumerate(zip(*parts)):
        if all(array is None for array in arrays):
            joined.append(None)
            continue
        model = next(array for array in arrays if array is not None)
        neutral = 1 if n == 2 else 0
        joined.append(np.concatenate([
            np.full((len(part[0]), *model.shape[1:]), neutral, model.dtype) if array is None else array
            for part, array in zip(parts, arrays)]))
    return tuple(joined)
