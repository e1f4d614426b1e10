"""Training of a network: `RNN.fit`, `RNN.train_step` and `RNN.stream`, which check their arguments and call `training`.

An argument of `fit` is checked here. If populations have it too, `training.settings` checks it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, optimizers, training
from .._training import batches as _batches, checkpoint as _checkpoint, ranks as _ranks, windows as _windows
from ..backends.arguments import Batch as _Batch
from .arguments import _check_memory_limit, _threads
from .streams import STREAMS, _entropy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._training.types import Callback, Callbacks, OptimizerLike, ScheduleLike
    from .._types import (
        Backend, Batch, Batches, Bool, FilePath, Float, Int, MemoryLimit, OnNonfinite, Seed, Shuffle, Tbptt, Validation,
    )


class Fitting:
    """Methods of `RNN` that train it."""

    def fit(self, X: ArrayLike | None = None, D: ArrayLike | None = None, *, weights: ArrayLike | None = None,
            initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None, resets: ArrayLike | None = None,
            batches: Batches | None = None, validation: Validation | None = None, epochs: Int | None = None,
            updates: Int | None = None, min_updates: Int | None = None, updates_per_epoch: Int = 100, batch_size: Int = 32,
            optimizer: OptimizerLike = "adam", learning_rate: Float | None = None, schedule: ScheduleLike | None = None,
            max_grad_norm: Float | None = None, tbptt: Tbptt | None = None, patience: Int | None = None,
            min_improvement: Float = 0.0, shuffle: Shuffle = True, random_state: Seed = None, validation_every: Int = 1,
            time_limit: Float | None = None, on_nonfinite: OnNonfinite = "raise", checkpoint: FilePath | None = None,
            checkpoint_every: Float = 60, resume: Bool = False, overwrite: Bool = False, progress: Bool | None = None,
            callbacks: Callbacks = (), update_callbacks: Callbacks = (), memory_limit: MemoryLimit | None = None,
            n_threads: Int | None = None, backend: Backend = "core", communicator: Any = None) -> training.History:
        """Train on X and D, or on fresh batches, from the current parameters, with a new optimiser.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as in `loss_and_gradients`
            Mini-batches are subsets of these sequences, each with all its steps. NaN and infinity are refused, except in
            padding and in D at weight 0. A 3-D X is always read as (T, B, I), time-major. `sequences.to_time_major`
            converts the samples-first layout of `batch_first=True` and of the estimators. Shapes alone cannot reveal that
            layout.
        batches : function or iterator, optional
            The source of fresh batches, in place of X and D. A function f(batch_size, rng) returns X, D[, weights[,
            lengths[, resets]]] with X (T, B, I). An iterator yields the same. weights and lengths may be None. T and B may
            change. If a function returns another B than batch_size, it gets one warning.
        validation : (X, D[, weights[, lengths[, resets]]]) or float, optional
            Data to evaluate after each epoch. A number is the share of the sequences of X and D to split off at random.
        epochs, updates : int, optional
            The run ends after this many epochs or updates, whichever comes first. The default is 100 epochs.
        min_updates : int, optional
            The run has enough epochs for at least this many updates. This helps with few sequences, where an epoch has few
            updates.
        updates_per_epoch : int
            The length of an epoch of fresh batches. History, validation, schedule and callbacks work once per epoch.
        batch_size : int
            The number of sequences per batch. The last batch of an epoch may be smaller.
        optimizer : str or optimizers.Optimizer
            "adam", "sgd", "rmsprop", "adagrad", "adamw", or an object with its own numbers or its own update rule.
        learning_rate : float, optional
            The learning rate of an optimiser given by name. The default is 1e-3.
        schedule : str, schedules.Schedule or function, optional
            The factor of the learning rate in each epoch: "constant", "step", "exponential", "cosine", "invscaling",
            "plateau", an object with its own numbers, or f(epoch) -> factor.
        max_grad_norm : float, optional
            If the Euclidean norm of the gradient exceeds this number, the gradient is scaled down to it (Pascanu et al. 2013).
        tbptt : (k1, k2), optional
            Truncated BPTT (Williams and Peng 1990). There is an update after every k1 steps of a mini-batch, and at its
            end. This multiplies the updates per epoch by the number of windows. The errors of the steps since the last
            update go back through the last k2 steps. States carry over from window to window. The backward pass uses the
            current parameters, but the states (and a reset's S_0) as they were computed, with the parameters of that time.
            A window in which no step has a weight makes no update.
        patience : int, optional
            Stop after this many epochs without an improvement. An improvement is a validation loss that is lower than that
            of the last improvement by more than `min_improvement`. At its end, the run restores the parameters of the
            lowest validation loss, even if that one was lower by less.
        min_improvement : float
            See `patience`, without which it has no effect. In the unit of the validation loss.
        shuffle : bool or "spread"
            Whether to draw the sequences of an epoch in random order. "spread" cuts the sequences into `batch_size` runs of
            consecutive ones, shuffles each run, and gives every batch one sequence of each run. If sequences are sorted by
            length or label, each batch thus has some of all. With a communicator, each rank then has its part of every
            batch.
        random_state : None, int or Generator
            Seed of the order, of the split, of `batches`, and of noise and dropout. Noise and dropout act in updates and
            not in validation.

            - None: the network's own streams continue after the last completed update of `fit`, `train_step` or `stream`. A
              second `fit` thus has new orders, batches and noise, and the same split.
            - A seed: the run starts at the beginning of this seed's streams, and the network's own streams stay where they
              are. If it is the network's own seed, these streams move to the end of this run.
        validation_every : int
            Number of epochs from one validation to the next. The last epoch is always followed by one.
        time_limit : float, optional
            Seconds after which the run ends. It still completes the current update.
        on_nonfinite : "raise" or "skip"
            What to do if loss or gradient is infinite or NaN: raise FloatingPointError, or continue with the next batch.
        checkpoint : path, optional
            A file that keeps the run. It is written every `checkpoint_every` seconds, at the end, on interruption and on
            failure. `fastbptt.load` reads it as the network of that moment. An existing file is replaced only if it is a
            checkpoint of this same run: from the same start parameters, seed and `stream_positions`, and not from a longer
            run.
        checkpoint_every : float
            Seconds between two checkpoints.
        resume : bool
            Continue from the checkpoint, if there is one. The result has the bits of a run without interruption, from the same
            positions of the random streams. What must be the same, and what may change:

            - All other arguments must be the same, except those that say when the run ends and what it shows.
            - The seed, the start parameters and `stream_positions` must be the same. The network may instead have the
              parameters of the checkpoint, and its streams may stand at 0, as in another process.
            - A network that got its start parameters back after the run finished is refused, because its next run is
              another run.
            - A network without a random_state has other parameters each time it is created. It may resume a run that was
              cut off, but not a run that finished.
            - A finished run returns the finished network. It continues if `epochs` or `updates` are larger than before. A
              schedule over all epochs, such as "cosine", then has the new number of epochs.
            - If a callback ended the run, the callbacks are called again for that moment. The run continues only if none of
              them returns True.
            - Functions given as `batches`, and callbacks, cannot be compared. A run with other functions counts as the same
              run. A finished run returns its network without calling the new `batches`.
        overwrite : bool
            Whether to replace an existing file at `checkpoint`, whatever it is, without a check.
        progress : bool, optional
            Whether to report to standard error, with a bar if tqdm is installed. The default reports only on a terminal,
            and only if the run takes long.
        callbacks, update_callbacks : functions of a training.Record (epoch, update, losses, gradient_norm, network)
            Functions to call after each epoch, or after each update. If one returns True, the training ends. If they are
            interrupted, or one raises, the run that resumes from the checkpoint calls all callbacks of that moment again.
        memory_limit : as in `loss_and_gradients`, for each batch
        n_threads : as in `forward`
        backend : "core" or "reference"
        communicator : MPI communicator, such as ``mpi4py.MPI.COMM_WORLD``, optional
            Train one network on the data of several processes. All of them call `fit`:

            - X, D, validation and the arrays that belong to them are each rank's own part, with any number of sequences.
              All other arguments must be the same.
            - The run is that of one process on all parts in the order of ranks, within rounding. `batch_size`, `shuffle`, a
              share as validation, Σ m and the losses refer to all parts together.
            - Parameters, seed and `stream_positions` are those of rank 0, also at the start. Parameters and History have
              the same bits on all ranks.
            - `batches` is asked for a share of batch_size, with an rng for each rank: ``rng.spawn(ranks)[rank]`` of the rng
              that one process would have.
            - Callbacks belong to their rank. If one returns True, the run ends on all ranks. If callbacks change
              parameters, those of rank 0 count.
            - Only rank 0 reads and writes the checkpoint. With arrays, another number of ranks can resume it.
            - Ctrl-C and exceptions end the run on all ranks; see docs/scaling.md.

        Returns
        -------
        training.History
            The record of the run. The attribute `history` keeps it too.

        Raises
        ------
        FloatingPointError
            If loss or gradient became infinite or NaN. The message names epoch, batch, first bad time step and parameter. The
            parameters are those before that update.
        KeyboardInterrupt
            On Ctrl-C. The parameters are those of the last completed update, and `history.stopped` is "interrupted".
        ValueError
            If resume=True and the file is no checkpoint, or one of another network or run.
        FileExistsError
            If the file is anything but an earlier checkpoint of this run, and neither `resume` nor `overwrite` is given.
        RuntimeError
            If another rank of the communicator failed. The message names the rank and has its error message.

        Examples
        --------
        >>> X = np.random.default_rng(0).standard_normal((20, 10, 1))
        >>> net = RNN(1, 16, 1, random_state=0)
        >>> history = net.fit(X[:-1], X[1:], epochs=50, validation=0.2, patience=5)
        >>> len(history.validation_loss) == len(history.train_loss)
        True
        """
        self._engine(backend)
        with _ranks.over(communicator) as ranks:
            with ranks.settled():
                if (X is None and D is None) == (batches is None):
                    raise TypeError("give X and D, or batches" + ("" if batches is None else ", not both"))
                if random_state is None:
                    streams = self._entropy, self._positions
                else:
                    streams = _entropy(random_state), _batches.Positions()
                wanted = streams
                if ranks.rank == 0 and resume is True and checkpoint is not None:
                    streams = _checkpoint.streams(_checkpoint.path(checkpoint), *streams)
                share = validation if _is_share(validation) else None
                if batches is None:
                    data = self._check_data(X, D, weights, initial_state, lengths, resets)
                    if tbptt is not None and self.output == "last":
                        raise ValueError('tbptt of fit requires output="sequence": most windows have no last step and '
                                         'thus no error')
                else:
                    if any(given is not None for given in (weights, initial_state, lengths, resets)):
                        raise TypeError("weights, initial_state, lengths and resets require X and D: batches have their "
                                        "own")
                    if share is not None:
                        raise TypeError(f"validation must be a tuple (X, D) with batches, got the share {share!r}")
                    if tbptt is not None:
                        raise TypeError("tbptt requires X and D: batches do not carry a state to the next; see `stream`")
                    data = None
                if share is None:
                    validation = self._check_validation(validation)
                settings = training.settings(
                    validation, optimizer=optimizer, learning_rate=learning_rate, schedule=schedule, epochs=epochs,
                    updates=updates, max_grad_norm=max_grad_norm, patience=patience, min_improvement=min_improvement,
                    validation_every=validation_every, time_limit=time_limit, on_nonfinite=on_nonfinite,
                    checkpoint=ranks.path(checkpoint), checkpoint_every=checkpoint_every, resume=resume,
                    overwrite=overwrite, seed=wanted[0], begin=wanted[1], progress=progress,
                    callbacks=callbacks, update_callbacks=update_callbacks, threads=_threads(n_threads), backend=backend,
                    memory_limit=_check_memory_limit(memory_limit, tbptt))
                tbptt = self._check_tbptt(tbptt, whole=self.omega)
            entropy, begin = ranks.meet(self, settings, streams, data, validation, batch_size=batch_size, shuffle=shuffle,
                                        tbptt=tbptt, updates_per_epoch=None if batches is None else updates_per_epoch,
                                        min_updates=min_updates)
            with ranks.settled():
                if batches is None:
                    first, total = ranks.place(data.X.shape[1])  # type: ignore[union-attr]  # without batches there are data
                    if share is not None:
                        data, validation, first, total = self._split(data, share, first, total, entropy)
                    source = _batches.Arrays(data, self.output, batch_size, shuffle, entropy=entropy,
                                             stream=STREAMS.index("shuffling"), first=first, total=total, begin=begin)
                    if tbptt is not None:
                        source = _windows.Windows(source, *tbptt)
                else:
                    source = _batches.Function(batches, self._check_batch, batch_size, updates_per_epoch, entropy=entropy,
                                               stream=STREAMS.index("batches"), rank=ranks.rank, ranks=ranks.size,
                                               begin=begin)
                settings = training.with_least_updates(settings, min_updates, source.updates_per_epoch)
            return ranks.fit(self, source, validation, settings, entropy)

    def train_step(self, X: ArrayLike, D: ArrayLike, optimizer: OptimizerLike = "adam", *,
                   learning_rate: Float | None = None, weights: ArrayLike | None = None,
                   initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                   resets: ArrayLike | None = None, max_grad_norm: Float | None = None, n_threads: Int | None = None,
                   backend: Backend = "core") -> float:
        """Make one update by the gradient of this batch, and return the data loss before it.

        Use it in your own training loops. The network keeps the optimiser's state from step to step, until a call has another
        kind of optimiser. Noise and dropout are new in each step.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as in `loss_and_gradients`
        optimizer, learning_rate, max_grad_norm, n_threads, backend : as in `fit`

        Returns
        -------
        float
            The data loss, without penalties.

        Raises
        ------
        FloatingPointError
            If loss, gradient or update is infinite or NaN. The parameters are those before the step.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> adam = optimizers.Adam(0.01)
        >>> losses = [net.train_step(X, D, adam) for _ in range(20)]
        >>> losses[-1] < losses[0]
        True
        """
        self._engine(backend)
        optimizer = optimizers.make(optimizer, learning_rate)
        limit = math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0)
        data = self._check_data(X, D, weights, initial_state, lengths, resets)
        stepper = self.__dict__.get("_stepper")
        if stepper is None or stepper.kind is not type(optimizer):
            stepper = self._stepper = training.Stepper(self, optimizer)
        return stepper.step(self, training.UpdateSettings(optimizer, limit, _threads(n_threads), backend), data)

    def stream(self, X: ArrayLike | Iterable[Batch], D: ArrayLike | None = None, *, tbptt: Tbptt,
               weights: ArrayLike | None = None, resets: ArrayLike | None = None,
               initial_state: ArrayLike | None = None, optimizer: OptimizerLike = "adam",
               learning_rate: Float | None = None, max_grad_norm: Float | None = None, callback: Callback | None = None,
               progress: Bool | None = None, n_threads: Int | None = None, backend: Backend = "core") -> Any:
        """Train by truncated BPTT in one pass over one or several long series, which may be far larger than memory.

        Parameters
        ----------
        X, D, weights, resets : as in `loss_and_gradients`
            Memory maps are read piece by piece. Or give only X: an iterable of chunks (X, D[, weights[, resets]]) with any
            lengths T, the same B, and None for what is absent.
        tbptt : (k1, k2)
            There is an update after every k1 steps, and at the end. The errors of the steps since the last update go back
            through the last k2 steps. States carry over, also from chunk to chunk. The cuts between chunks change no bit of
            the result.
        initial_state : array (B, H), optional
        optimizer, learning_rate, max_grad_norm, progress, n_threads, backend : as in `fit`
            Noise and dropout are new in each call.
        callback : function of a training.Record, optional
            A function to call after each update. If it returns True, the stream ends.

        Returns
        -------
        training.StreamHistory
            The losses of all updates, and the final state. The attribute `history` keeps it too.

        Raises
        ------
        FloatingPointError, KeyboardInterrupt
            If a loss, gradient or update is infinite or NaN, or on Ctrl-C. The parameters are those of the last completed
            update.

        Examples
        --------
        >>> net = RNN(1, 8, 1, random_state=0)
        >>> series = np.sin(np.arange(200) / 5)[:, None, None]
        >>> history = net.stream(series[:-1], series[1:], tbptt=(10, 20))
        >>> len(history.loss)
        20
        """
        self._engine(backend)
        self._refuse_reverse("stream")
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        if tbptt is None:
            raise TypeError("tbptt=(k1, k2) is required by stream")
        if self.output == "last":
            raise ValueError('stream requires output="sequence": a stream has no last step')
        optimizer = optimizers.make(optimizer, learning_rate)
        limit = math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be a function of a record, got {type(callback).__name__}")
        progress, windows = None if progress is None else _checks.flag("progress", progress), None
        if D is not None:
            chunks, windows = _windows.cut(X, D, weights, resets, tbptt[0]), -(-len(X) // tbptt[0]) if np.ndim(X) else None
        elif weights is not None or resets is not None:
            raise TypeError("weights and resets require X and D: chunks have their own")
        else:
            chunks = X
        if initial_state is not None and self._stacked:
            B = next((len(part) for part in initial_state if np.ndim(part) > 0), 0) if isinstance(initial_state, tuple) else 0
            initial_state = self._check_state("initial_state", initial_state, B)
        elif initial_state is not None:
            initial_state = _checks.array("initial_state", initial_state, self.dtype)
            if initial_state.ndim != 2 or initial_state.shape[1] != self._widths[0]:
                raise ValueError(f"initial_state must have shape {self._state_letters()} = (B, {self._widths[0]}), got "
                                 f"{initial_state.shape}")
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        chunks = self._checked_chunks(chunks, initial_state)
        how = training.UpdateSettings(optimizer, limit, _threads(n_threads), backend)
        return training.stream(self, chunks, how, tbptt, initial_state, callback=callback, progress=progress, windows=windows)

    def _checked_chunks(self, chunks, initial_state):
        """Yield the checked chunks of `stream`. Error messages name the number of the chunk."""
        B = None if initial_state is None else len(initial_state)
        for n, chunk in enumerate(chunks):
            if not isinstance(chunk, (tuple, list)) or not 2 <= len(chunk) <= 4:
                raise TypeError(f"chunk {n} must be (X, D[, weights[, resets]]), got {type(chunk).__name__}")
            X, D, weights, resets = (*chunk, None, None)[:4]
            try:
                X, D, weights, _, _, resets = self._check_batch(X, D, weights, None, resets)
                _batches.refuse_nonfinite("", X, D, weights)
                if B is not None and X.shape[1] != B:
                    raise ValueError(f"X must have the stream's {B} sequences, got {X.shape[1]}")
            except (TypeError, ValueError) as error:
                raise type(error)(f"chunk {n}: {error}") from None
            B = X.shape[1]
            yield X, D, weights, resets

    def _check_data(self, X, D, weights, initial_state, lengths, resets):
        """Return a checked Batch."""
        X, initial_state, lengths, resets = self._check_inputs(X, initial_state, lengths, resets)
        return _Batch(X, *self._check_targets(X, D, weights, lengths), initial_state, lengths, resets)

    def _training_data(self, given, validation, entropy):
        """Return checked data and the validation set. If `validation` is a share, split it off the data.

        `given` is a Batch of what the user gave.
        """
        data = self._check_data(*given)
        if not _is_share(validation):
            return data, self._check_validation(validation)
        return self._split(data, validation, 0, data.X.shape[1], entropy)[:2]

    def _split(self, data, share, first, total, entropy):
        """Split a share of `total` sequences off as the validation set.

        `data` holds the sequences from number `first` on. Return the remaining data, the validation set, the number of the
        first remaining sequence, and how many of the total remain.
        """
        share, B = _checks.number("validation", share, 0, 1), data.X.shape[1]
        if data.initial_state is not None:
            raise TypeError(f"validation must be a tuple (X, D) with an initial_state, got the share {share}")
        count = round(share * total)
        if not 0 < count < total:
            raise ValueError("validation must leave sequences to train on and to evaluate, got the share "
                             f"{share} of {total} sequences: {total - count} to train on, {count} to evaluate")
        order = _batches.generator(entropy, STREAMS.index("validation")).permutation(total)
        is_held = np.zeros(total, bool)
        is_held[order[:count]] = True
        place = int(np.count_nonzero(~is_held[:first])), total - count
        is_held = is_held[first:first + B]
        data, (X, D, weights, _, lengths, resets) = (_batches.take(data, np.flatnonzero(rows), self.output)
                                                     for rows in (~is_held, is_held))
        return data, (X, D, weights, lengths, resets), *place

    def _check_validation(self, validation):
        if validation is None:
            return None
        if not isinstance(validation, tuple) or not 2 <= len(validation) <= 5:
            raise TypeError("validation must be a tuple (X, D), (X, D, weights), (X, D, weights, lengths) or (X, D, weights, "
                            f"lengths, resets), or a share of X and D, got {type(validation).__name__}")
        try:
            X, D, weights, _, lengths, resets = self._check_batch(*validation)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation's {error}") from None
        return X, D, weights, lengths, resets

    def _check_batch(self, X, D, weights=None, lengths=None, resets=None):
        """Return a checked Batch without an initial state from an item of `batches` or from `validation`."""
        X, _, lengths, resets = self._check_inputs(X, None, lengths, resets)
        return _Batch(X, *self._check_targets(X, D, weights, lengths), None, lengths, resets)


def _is_share(validation):
    return isinstance(validation, numbers.Real) and not isinstance(validation, bool)
