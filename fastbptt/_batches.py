"""Where a training run's batches come from: arrays, a function, an iterator. Each is a function of seed and position."""

from __future__ import annotations

import numpy as np

from . import _words


class Arrays:
    """Mini-batches of the sequences of X (T, B, I), D, weights and initial_state, in an order of its own each epoch."""

    def __init__(self, X, D, weights, initial_state, batch_size, shuffle, entropy, stream):
        self.data = X, D, weights, initial_state
        self.batch_size = _words.size("batch_size", batch_size)
        self.shuffle, self.entropy, self.stream = _words.flag("shuffle", shuffle), entropy, stream
        refuse_nonfinite("", X, D, weights)
        if initial_state is not None:
            _words.finite("initial_state", initial_state, "bh")
        if X.shape[1] == 0:
            raise ValueError(f"X has no sequences to train on: shape {X.shape} was read as (T, B, I)")
        self.updates_per_epoch = -(-X.shape[1] // self.batch_size)
        self.ordered = None, None  # an epoch and its order

    def batch(self, epoch, k):
        """Batch k of an epoch: X, D, weights, initial_state."""
        X, D, weights, initial_state = self.data
        rows = self._order(epoch)[k * self.batch_size:(k + 1) * self.batch_size]
        return (X.take(rows, axis=1), D.take(rows, axis=1), None if weights is None else weights.take(rows, axis=1),
                None if initial_state is None else initial_state[rows])

    def rest(self, epoch, k):
        """The sequences of an epoch from batch k on."""
        return self._order(epoch)[k * self.batch_size:]

    def _order(self, epoch):
        if self.ordered[0] != epoch:
            B = self.data[0].shape[1]
            order = generator(self.entropy, self.stream, epoch).permutation(B) if self.shuffle else np.arange(B)
            order = order.astype(np.intp, copy=False)
            self.ordered = epoch, order
        return self.ordered[1]


class Function:
    """Fresh batches, f(batch_size, rng) -> X, D[, weights], or the next of an iterator."""

    def __init__(self, batches, check, batch_size, updates_per_epoch, entropy, stream):
        if not callable(batches) and not hasattr(batches, "__next__"):
            raise TypeError("batches must be a function f(batch_size, rng) -> X, D[, weights] or an iterator of such, got "
                            f"{type(batches).__name__}")
        self.iterator = None if callable(batches) else batches
        self.function, self.check = batches, check
        self.batch_size = _words.size("batch_size", batch_size)
        self.updates_per_epoch = _words.size("updates_per_epoch", updates_per_epoch)
        self.entropy, self.stream, self.taken = entropy, stream, 0

    def batch(self, epoch, k):
        index = epoch * self.updates_per_epoch + k
        if self.iterator is None:
            data = self.function(self.batch_size, generator(self.entropy, self.stream, index))
        else:
            while self.taken < index:  # of a resumed run: these it had already
                next(self.iterator, None)
                self.taken += 1
            try:
                data = next(self.iterator)
            except StopIteration:
                raise ValueError(f"batches has ended after {index} batches, before the run did") from None
            self.taken += 1
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise TypeError(f"batches must give X, D or X, D, weights; batch {index} is a {type(data).__name__}"
                            + (f" of {len(data)}" if isinstance(data, (tuple, list)) else ""))
        try:
            return self.check(*data)
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {index}: {error}") from None


def generator(entropy, stream, *position):
    """A generator that is a function of the seed, the stream and the position."""
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream, *position)))


def refuse_nonfinite(whose, X, D, weights):
    """Raise ValueError naming the first place where X, or D at a weight above 0, is NaN or infinite."""
    _words.finite(f"{whose}X", X, "tbi")
    if D.dtype.kind == "f":
        unread = None
        if weights is not None:
            unread = np.broadcast_to((weights if weights.ndim == 3 else weights[..., None]) == 0, D.shape)
        _words.finite(f"{whose}D", D, "tbo", skip=unread)
