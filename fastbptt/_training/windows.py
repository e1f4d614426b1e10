"""Windows of truncated BPTT: of mini-batches (`Windows`), and of a stream (`StreamWindow`).

An update after every k1 steps uses the errors of these steps, which go back through the last k2 steps. A window thus reads its
k1 new steps and up to k2 − k1 steps before them, whose states the previous window has computed. All code on windows above the
engines is here. The engines' `window_into` computes one window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _checks
from ..backends.arguments import Batch, CallOptions
from .batches import noise_keys_at, take
from .settings import UpdateSettings

CUT = 2**22  # numbers of X read at a time


class Windows:
    """The mini-batches of Arrays, cut into windows of k1 steps whose errors go back k2 steps. Batch k is one window."""

    def __init__(self, arrays, k1, k2):
        """Cut the mini-batches of `arrays`, an Arrays, into windows of k1 steps whose errors go back k2 steps."""
        self.arrays, self.data, self.output, self.batch_size = arrays, arrays.data, arrays.output, arrays.batch_size
        self.k1, self.k2, self.shuffle, self.begin = k1, k2, arrays.shuffle, arrays.begin
        self.windows = max(1, -(-len(self.data.X) // k1))
        self.updates_per_epoch = arrays.updates_per_epoch * self.windows
        self.taken = None, None  # the last mini-batch, and its number

    def window(self, k):
        """Return three steps of batch k: the first that it reads, the first whose error counts, and the end."""
        since = k % self.windows * self.k1
        end = min(since + self.k1, len(self.data.X))
        return min(since, max(0, end - self.k2)), since, end

    def batch(self, epoch, k):
        """Return the Batch of the steps that batch k of an epoch reads. The mini-batch it belongs to is cached."""
        start, _, end = self.window(k)
        which = epoch, k // self.windows
        if self.taken[0] != which:
            self.taken = which, take(self.data, self.arrays.rows(*which)[0], self.output)
        X, D, weights, initial_state, lengths, resets = self.taken[1]
        X, D, weights, resets = (None if array is None else array[start:end] for array in (X, D, weights, resets))
        lengths = None if lengths is None else np.clip(lengths - start, 0, end - start)
        return Batch(X, D, weights, initial_state, lengths, resets)

    def noise_position(self, epoch, k):
        """Return what `Arrays.noise_position` does.

        All windows of a mini-batch count as one batch, and begin at their first step.
        """
        number, _, sequences = self.arrays.noise_position(epoch, k // self.windows)
        return number, self.window(k)[0], sequences

    def streams_used(self, epoch, k, begun=False):
        """Return what `Arrays.streams_used` does. A mini-batch counts from its first window on."""
        return self.arrays.streams_used(epoch, -(-k // self.windows), begun)

    def states_for_next(self, k, S):
        """Return the states of S (T + 1, B, H) of batch k that the next window needs.

        None after a mini-batch's last window.
        """
        if (k + 1) % self.windows == 0:
            return None
        return S[self.window(k + 1)[0] - self.window(k)[0]:].copy()

    def carried_shape(self, k):
        """Return (n, B), the number of states and of sequences that are carried to batch k, or None if none are."""
        start, since, _ = self.window(k)
        first = k // self.windows * self.batch_size
        return None if since == 0 else (since - start + 1, min(self.batch_size, self.arrays.total - first))


def cut(X, D, weights, resets, k1):
    """Yield pieces (X, D, weights, resets) of a series, each of a whole number of windows of k1 steps but the last.

    Only one piece is read at a time. The series, such as a memory map, may thus be larger than memory.
    """
    for name, array in (("X", X), ("D", D)):
        for ndim in (2, 3):
            _checks.refuse_list_of_sequences(name, array, ndim)
    X, D = (array if isinstance(array, np.ndarray) else np.asarray(array) for array in (X, D))
    if X.ndim < 2 or D.ndim < 2 or len(X) != len(D):
        raise ValueError(f"X and D must have the same T, got shapes {X.shape} and {D.shape}")
    for name, array in (("weights", weights), ("resets", resets)):
        if array is not None and np.shape(array)[:1] != X.shape[:1]:
            raise ValueError(f"{name} must have the T of X, got shapes {np.shape(array)} and {X.shape}")
    steps = max(1, CUT // max(1, X[:1].size) // k1) * k1
    for t in range(0, len(X), steps):
        yield tuple(None if array is None else array[t:t + steps] for array in (X, D, weights, resets))


def compute_window(network: Any, gradient: np.ndarray, how: UpdateSettings, data: Batch, *, k2: int,
                   states: np.ndarray | None, own_start: bool, draws: Any) -> tuple[float, float, float, np.ndarray]:
    """Compute loss and gradient of one window of truncated BPTT.

    A window has T steps. The states of the first n are known, and earlier windows have used their errors. Only the other,
    new, steps are computed forward and add to the loss. Their errors go back to the last k2 steps of the window, which may
    include some of the n.

    Parameters
    ----------
    network : RNN
    gradient : array (P,), overwritten
        Receives the gradient with respect to theta.
    how : UpdateSettings
        Only its number of threads and its backend are used.
    data : Batch
        All T steps, checked. The initial state is used only without `states`.
    k2 : int
        Number of steps from the window's end that errors go back.
    states : array (n + 1, B, kept width) or None
        The state before the first step, and the states after the first n steps. None at the start of the sequences.
        The kept width is the number of values that a sequence keeps per step: H, or more with several layers.
    own_start : bool
        Whether the state before the first step is the network's own S_0, which then receives a gradient.
    draws : Draws or None
        The keys of the window's noise and dropout. Earlier steps draw the same numbers again.

    Returns
    -------
    loss, penalty : float
        The reduced loss of the new steps, and the penalty, which is not part of it.
    weight : float
        Σ m, the sum of the loss weights of the new steps.
    S : array (T + 1, B, kept width)
        The state before the first step and after each. The last ones are the `states` of the next window.
    """
    T, B = data.X.shape[:2]
    S = np.empty((T + 1, B, network._kept_width), network.dtype)
    past = S[:0]
    if states is not None:
        data, past = data.replace(initial_state=states[0]), states[1:]
    options = CallOptions(how.threads, draws=draws, tbptt=(T, k2))
    loss, penalty, weight = network._window_into(gradient, data, options, past, own_start, S, how.backend)
    return loss, penalty, weight, S


class StreamWindow:
    """The last steps of a stream: steps of earlier windows, whose states are known, then the new steps."""

    def __init__(self, network, gradient, how, k1, k2, initial_state):
        """Prepare the first window of a stream.

        `gradient` (P,) receives the gradient of each window. `how` are the UpdateSettings. Errors of k1 new steps go back k2
        steps. The stream begins at `initial_state` (B, H), or at S_0 for None.
        """
        self.network, self.gradient, self.how, self.k1, self.k2 = network, gradient, how, k1, k2
        self.draws = network._keys(network._entropy, network._entropy)
        self.call = network._positions.noise
        self.own_start, self.states = initial_state is None, None if initial_state is None else initial_state[None]
        self.known = None     # X, D, weights, resets of the steps before states[1:]
        self.waiting = []     # chunks that do not fill a window yet
        self.read = 0

    def add(self, chunk):
        """Take in a chunk (X, D, weights, resets), and yield the k1 new steps of each window that it completes."""
        self.waiting.append(chunk)
        while sum(len(part[0]) for part in self.waiting) >= self.k1:
            yield self._pop_waiting(self.k1)
        self.waiting = [_concatenate_pieces([part]) for part in self.waiting]

    def rest(self):
        """Return the steps that no window has used, fewer than k1, or None if there are none."""
        left = sum(len(part[0]) for part in self.waiting)
        return self._pop_waiting(left) if left else None

    def _pop_waiting(self, n):
        """Remove the first n steps from `waiting` and return them as (X, D, weights, resets)."""
        taken = []
        while n > 0:
            part = self.waiting.pop(0)
            if len(part[0]) > n:
                self.waiting.insert(0, tuple(None if array is None else array[n:] for array in part))
                part = tuple(None if array is None else array[:n] for array in part)
            taken.append(part)
            n -= len(part[0])
        return _concatenate_pieces(taken)

    def compute(self, new):
        """Return loss, penalty and Σ m of the steps `new`. `gradient` receives the gradient."""
        self.new = len(new[0])
        self._drop_known(max(0, self.k2 - self.new))
        self.steps = new if self.known is None else _concatenate_pieces([self.known, new])
        n = 0 if self.states is None else len(self.states) - 1  # number of known steps
        draws = None if self.draws is None else noise_keys_at(self.draws, self.call, self.read - n, None)
        own = self.own_start and self.states is not None and self.read == n
        *found, self.S = compute_window(self.network, self.gradient, self.how, self.data(), k2=self.k2, states=self.states,
                                        own_start=own, draws=draws)
        return found

    def _drop_known(self, most):
        """Drop all known steps except the last `most`, and all states except those before and after these steps."""
        first = max(0, len(self.known[0]) - most) if self.known is not None else 0
        if first > 0:
            self.states = self.states[first:].copy()
            self.known = tuple(None if array is None else array[first:].copy() for array in self.known) if most else None

    def data(self):
        """Return a Batch of all steps that the window reads."""
        X, D, weights, resets = self.steps
        return Batch(X, D, weights, None if self.states is None else self.states[0], None, resets)

    def keep_for_next_window(self):
        """Keep the steps and states through which the errors of the next window go back."""
        self.read += self.new
        self.known, self.states = self.steps, self.S
        self._drop_known(self.k2 - 1)  # the last window may have only one step


def _concatenate_pieces(parts):
    """Return the pieces (X, D, weights, resets) of the list `parts` concatenated in time, as copies.

    If only some of them have weights or resets, the others get weights 1 or resets 0.
    """
    if len(parts) == 1:
        return tuple(None if array is None else array.copy() for array in parts[0])  # the caller may overwrite the original
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
