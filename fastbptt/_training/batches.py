"""The sources of a run's batches: arrays, a function or an iterator. Each batch is a function of seed and position.

Add a new source of batches here, with the methods of `Arrays`. Add a new random stream to `Positions`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _checks
from ..backends.arguments import Batch


class Positions(NamedTuple):
    """How much of each random stream of a network has been used. Append a new stream at the end: files keep the order."""

    shuffling: int = 0  # orders, one for each epoch
    batches: int = 0    # generators given to a function of batches
    noise: int = 0      # batches, steps or streams with noise or dropout: both share this count

    def moved(self, by: Positions) -> Positions:
        """Return the positions after using `by` more: the sum for each stream."""
        return Positions(self.shuffling + by.shuffling, self.batches + by.batches, self.noise + by.noise)

    def later(self, other: Positions) -> Positions:
        """Return the larger of these positions and those of `other` for each stream, so that a stream never moves back."""
        return Positions(*map(max, self, other)) if other != self else self

    def where(self, used: Positions) -> Positions:
        """Return these positions for the streams where `used` is 1, and 0 for the others. `used` comes from `used_streams`.

        Two runs may differ in the positions of streams that they do not draw from.
        """
        return Positions(*(position * use for position, use in zip(self, used)))

    def changed(self, name: str, value: Any) -> Positions:
        """Return a copy in which the streams named in the dict `value` have its counts.

        Error messages call the dict `name`.
        """
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a dict of ints, got {type(value).__name__}")
        for stream in value:
            _checks.choose(f"stream of {name}", stream, self._fields)
        return self._replace(**{stream: _checks.count(f"{name}[{stream!r}]", count) for stream, count in value.items()})

    @classmethod
    def read(cls, given: Any) -> Positions:
        """Return the positions in the dict `given` of a file, 0 for a missing one.

        Raise ValueError or TypeError if one is not a count.
        """
        if given is None:  # as in files of the first versions
            return cls()
        for name, value in dict(given).items():
            if type(value) is not int or not 0 <= value < 2**63:
                raise ValueError(f"the position of {name} must be an int from 0 to 2**63 - 1, got {value!r}")
        return cls(**{name: given[name] for name in cls._fields if name in given})


def used_streams(shuffle: bool | str, batches: bool, noise: bool) -> Positions:
    """Return Positions with 1 for each random stream on which a run depends, and 0 for the others.

    `shuffle` is the option of `fit`. `batches` says whether a function draws the batches, and `noise` whether the network has
    noise or dropout.
    """
    return Positions(shuffling=int(bool(shuffle)), batches=int(batches), noise=int(noise))


def noise_keys_at(draws, call, first, sequences):
    """Return the network's noise keys `draws` (backends' Draws), set to one batch of a run.

    `call` is the batch's number in the stream of noise, `first` its first time step, and `sequences` the indices of its
    sequences in the data, or None for 0, 1, ... The core computes the noise from these numbers and the seed.
    """
    return draws._replace(call=call % 2**32, first=first, sequences=sequences)


class Arrays:
    """Mini-batches of the sequences of `data`, in a new order each epoch.

    `data` is a Batch that RNN.fit has checked. With several ranks it is a part of `total` sequences, from number `first` on.
    The order is then that of all sequences, and a batch has those of this rank. `entropy` and `stream` are the seed and the
    number of the random stream that gives the orders. `begin` holds the positions of the random streams at the start of the
    run.
    """

    def __init__(self, data, output, batch_size, shuffle, *, entropy, stream, first=0, total=None, begin=Positions()):
        """Check that the data are finite and hold a sequence, and the options `batch_size` and `shuffle` of `fit`."""
        self.data, self.output, self.begin = data, output, begin
        self.batch_size = _checks.size("batch_size", batch_size)
        self.shuffle = check_shuffle(shuffle)
        self.entropy, self.stream = entropy, stream
        X, D, weights, initial_state, lengths, _ = data
        refuse_nonfinite("", X, D, weights, lengths)
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        self.first, self.total = first, X.shape[1] if total is None else total
        if self.total == 0:
            raise ValueError(f"X must have sequences to train on: shape {X.shape} was read as (T, B, I)")
        self.updates_per_epoch = -(-self.total // self.batch_size)
        self.ordered = None, None  # an epoch and its order

    def batch(self, epoch, k):
        """Return batch k of an epoch as a Batch: this rank's sequences, without the steps that are padding in all of them."""
        batch = take(self.data, self.rows(epoch, k)[0], self.output)
        X, D, weights, initial_state, lengths, resets = batch
        if lengths is None:
            return batch
        steps = lengths.max(initial=0)  # drop steps that no sequence has, as compiled code does
        X, resets = X[:steps], None if resets is None else resets[:steps]
        if self.output == "sequence":
            D, weights = D[:steps], None if weights is None else weights[:steps]
        return Batch(X, D, weights, initial_state, lengths, resets)

    def noise_position(self, epoch, k):
        """Return the number of batch k in the stream of noise, the time step 0 at which it begins, and its sequences.

        These are the last three arguments of `noise_keys_at`. The sequences are indices into the data of all ranks.
        """
        return self.begin.noise + epoch * self.updates_per_epoch + k, 0, self.first + self.rows(epoch, k)[0]

    def streams_used(self, epoch, k, begun=False):
        """Return the Positions that a run has used up before batch k of an epoch, counted from `begin`.

        With begun=True the order of this epoch counts as used, even if none of its batches is done.
        """
        return Positions(shuffling=epoch + (k > 0 or begun), noise=epoch * self.updates_per_epoch + k)

    def rows(self, epoch, k):
        """Return the indices in `data` of this rank's sequences of batch k, and their indices in the batch of all ranks."""
        rows, B = self._order(epoch)[k * self.batch_size:(k + 1) * self.batch_size], self.data.X.shape[1]
        if B == self.total:
            return rows, slice(None)
        rows = rows - self.first
        places = np.flatnonzero((rows >= 0) & (rows < B))
        return rows[places], places

    def remaining(self, epoch, k, epochs=1):
        """Return the indices of the sequences from batch k of an epoch on, in the order of training, for compiled updates.

        `epochs` is the number of epochs to include, with this one.
        """
        first = self._order(epoch)[k * self.batch_size:]
        if epochs == 1:
            return first
        return np.concatenate([first, *(self._order(epoch + ahead) for ahead in range(1, epochs))])

    def _order(self, epoch):
        """Return the order of all sequences in an epoch, an array (total,) of indices. The last order is cached."""
        if self.ordered[0] != epoch:
            rng = generator(self.entropy, self.stream, self.begin.shuffling + epoch)
            self.ordered = epoch, order(self.shuffle, self.total, self.batch_size, rng)
        return self.ordered[1]


def take(data, sequences, output):
    """Return the Batch that holds these sequences of the Batch `data`.

    `sequences` are indices. `output` is the network's option: with "last", D and weights have no axis of time.
    """
    steps = 0 if output == "last" else 1  # the axis of sequences in D and weights
    return Batch(*(None if array is None else array.take(sequences, axis=axis)
                   for array, axis in zip(data, (1, steps, steps, 0, 0, 1), strict=True)))


class Function:
    """Fresh batches: f(batch_size, rng) -> X, D[, weights[, lengths[, resets]]], or the next item of an iterator.

    With several ranks, each rank draws its share of the batch with its own generator.
    """

    def __init__(self, batches, check, batch_size, updates_per_epoch, *, entropy, stream, rank=0, ranks=1, begin=Positions()):
        """Check the arguments of `fit`.

        Parameters
        ----------
        batches : function or iterator
        check : function
            It returns the Batch of the checked arrays that `batches` returned.
        batch_size : int
            Number of sequences of all ranks.
        updates_per_epoch : int
        entropy, stream : int
            The seed and the number of the random stream from which the generators come.
        rank, ranks : int
        begin : Positions
            The positions of the random streams at the start of the run.
        """
        if not callable(batches) and not hasattr(batches, "__next__"):
            raise TypeError("batches must be a function f(batch_size, rng) -> X, D[, weights[, lengths[, resets]]] or "
                            f"an iterator of such, got "
                            f"{type(batches).__name__}")
        self.iterator = None if callable(batches) else batches
        self.function, self.check = batches, check
        self.batch_size, self.ranks = _checks.size("batch_size", batch_size), ranks
        if self.batch_size < ranks:
            raise ValueError(f"batch_size must be at least the number of ranks, {ranks}, got {batch_size}: it counts the "
                             "sequences of all ranks")
        self.first = self.batch_size * rank // ranks
        self.share, self.sequences = self.batch_size * (rank + 1) // ranks - self.first, None
        self.child = (rank,) if ranks > 1 else ()  # the key of the generator rng.spawn(ranks)[rank]
        self.updates_per_epoch = _checks.size("updates_per_epoch", updates_per_epoch)
        self.entropy, self.stream, self.items_taken, self.begin, self.warned = entropy, stream, 0, begin, False

    def noise_position(self, epoch, k):
        """Return what `Arrays.noise_position` does, for the last batch drawn.

        Sequences are numbered in the batch of all ranks.
        """
        return self.begin.noise + epoch * self.updates_per_epoch + k, 0, self.sequences

    def streams_used(self, epoch, k, begun=False):
        """Return the Positions that a run has used up before batch k of an epoch, as `Arrays.streams_used` does.

        The argument `begun` is ignored, because no order is drawn. An iterator gets no generator.
        """
        count = epoch * self.updates_per_epoch + k
        return Positions(batches=count if self.iterator is None else 0, noise=count)

    def batch(self, epoch, k):
        """Draw batch k of an epoch from the user's function or iterator, check it, and return it as a Batch.

        The errors name the number of the batch. An iterator first skips the items that a resumed run has already used.
        """
        index = epoch * self.updates_per_epoch + k
        if self.iterator is None:
            data = self.function(self.share, generator(self.entropy, self.stream, self.begin.batches + index, *self.child))
        else:
            while self.items_taken < index:  # a resumed run has already used these
                next(self.iterator, None)
                self.items_taken += 1
            try:
                data = next(self.iterator)
            except StopIteration:
                raise ValueError(f"batches must last until the run ends, got only {index}") from None
            self.items_taken += 1
        if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 5:
            raise TypeError(f"batches must return X, D[, weights[, lengths[, resets]]]; batch {index} is of type "
                            f"{type(data).__name__}" + (f" with {len(data)} items" if isinstance(data, (tuple, list)) else ""))
        try:
            batch = self.check(*data)
            refuse_nonfinite("", batch.X, batch.D, batch.weights, batch.lengths)
            self.sequences = None if self.ranks == 1 else self.first + np.arange(batch.X.shape[1])
        except (TypeError, ValueError) as error:
            raise type(error)(f"batch {index}: {error}") from None
        if self.iterator is None and batch.X.shape[1] != self.share and not self.warned:  # an iterator gets no size
            self.warned = True
            self._warn_of_size(batch.X.shape)
        return batch


    def _warn_of_size(self, shape):
        """Warn that a batch does not have the number of sequences that the function was asked for.

        `shape` is that of its X.
        """
        letters = "(T, B, I)" if len(shape) == 3 else "(T, B)"
        words = (f"batches was asked for {self.share} sequences and returned X of shape {shape}, which fit reads as {letters}, "
                 f"time-major: {shape[0]} time steps of {shape[1]} sequences")
        if shape[0] == self.share:
            words += ". If its arrays are samples-first, swap their first two axes, as sequences.to_time_major does"
        warnings.warn(words, UserWarning, stacklevel=10)  # the caller of RNN.fit


def check_shuffle(shuffle):
    """Return the option `shuffle` as a bool, or "spread". Raise TypeError for anything else."""
    if isinstance(shuffle, str) and shuffle == "spread":
        return shuffle
    return _checks.flag('shuffle, where it is not "spread",', shuffle)


def order(shuffle, count, batch_size, rng):
    """Return the order of `count` sequences in an epoch, an array (count,) of their indices, as intp.

    `shuffle` is True (random), False (0, 1, ...) or "spread", which depends on `batch_size` (see `spread`). `rng` belongs to
    this epoch.
    """
    if shuffle == "spread":
        found = spread(count, batch_size, rng)
    else:
        found = rng.permutation(count) if shuffle else np.arange(count)
    return found.astype(np.intp, copy=False)


def spread(count, batch_size, rng):
    """Return an order of `count` sequences that spreads each batch over all of them, an array (count,) of indices.

    The sequences are cut into batch_size runs of consecutive ones. Each run is shuffled, and gives one sequence to every
    batch. The shorter runs give none to the last batch, which is smaller. Batches then sample all parts of data that are
    sorted.
    """
    batches = -(-count // batch_size)
    ends = np.arange(batch_size + 1) * count // batch_size
    runs = ends[:-1, None] + np.arange(batches)
    short = np.diff(ends) < batches
    runs[~short] = rng.permuted(runs[~short], axis=1)
    runs[short, :-1] = rng.permuted(runs[short, :-1], axis=1)
    runs[short, -1] = -1
    order = runs.T.ravel()
    return order[order >= 0]


def generator(entropy, stream, *position):
    """Return a NumPy generator that depends only on the seed `entropy`, the number of the random stream, and the position."""
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(stream, *position)))


def refuse_nonfinite(whose, X, D, weights, lengths=None):
    """Raise ValueError if X, or D at a weight above 0, is NaN or infinite. The message names the first place.

    Padding is not read. `whose` stands before the array's name in the message, such as "validation's ".
    """
    padding = None if lengths is None else np.arange(len(X))[:, None] >= lengths
    if X.dtype.kind == "f":
        _checks.finite(f"{whose}X", X, "tbi", skip=None if padding is None else padding[..., None])
    if D.dtype.kind == "f":
        unread = np.zeros(D.shape, bool)
        per_step = D.ndim - 1  # axes of steps and sequences; one axis if D holds only last steps
        if weights is not None:
            unread |= (weights if weights.ndim == D.ndim else weights[..., None]) == 0
        if padding is not None and per_step == 2:
            unread |= padding[..., None]
        _checks.finite(f"{whose}D", D, "tbo" if per_step == 2 else "bo", skip=unread)
