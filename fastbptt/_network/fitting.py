"""Training of a network: `RNN.fit`, `RNN.train_step` and `RNN.stream`, which check their arguments and call `training`.

An argument of `fit` is checked here, or in `training.settings` if populations have it too.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, optimizers, training
from .._training import batches as _batches, checkpoint as _checkpoint, ranks as _ranks, windows as _windows
from ..backends import protocol
from .arguments import _check_memory_limit, _threads
from .streams import STREAMS, _entropy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._training.types import Callback, Callbacks, OptimizerLike, ScheduleLike
    from .._types import (
        Backend, Batch, Batches, Bool, FilePath, Float, Int, MemoryLimit, OnNonfinite, Seed, Shuffle, Tbptt, Validation,
    )


class Fitting:
    """Methods of `RNN`: training."""

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
        """Train on X, D, or on fresh batches, from the parameters as they are, with a new optimiser.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as of `loss_and_gradients`; NaN and infinity are refused, but in
            padding and in D at weight 0
            Mini-batches are whole sequences of them. A 3-D X is always read as (T, B, I), time-major; `sequences.to_time_major`
            converts the samples-first layout of `batch_first=True` and of the estimators, which shapes alone do not betray.
        batches : function or iterator, in place of X and D
            f(batch_size, rng) -> X, D[, weights[, lengths[, resets]]] with X (T, B, I); an iterator gives the same. weights
            and lengths may be None; T and B may change. A function that returns another B than batch_size gets one warning.
        validation : (X, D[, weights[, lengths[, resets]]]) or float, optional
            Evaluated after each epoch. A number is the share of the sequences of X, D that is split off at random.
        epochs, updates : int, optional
            The run ends after so many epochs or updates, whichever comes first; 100 epochs by default.
        min_updates : int, optional
            Raises the number of epochs until at least so many updates are made, as few sequences make few updates an epoch.
        updates_per_epoch : int
            What an epoch is where batches are fresh: after it history, validation, schedule and callbacks have their turn.
        batch_size : int
            The last batch of an epoch may be smaller.
        optimizer : str or optimizers.Optimizer
            "adam", "sgd", "rmsprop", "adagrad", "adamw", or an object with numbers, or a rule, of its own.
        learning_rate : float, optional
            Of an optimiser given by name; 1e-3 by default.
        schedule : str, schedules.Schedule or function, optional
            Factor of the learning rate by epoch: "constant", "step", "exponential", "cosine", "invscaling", "plateau", an
            object with numbers of its own, or f(epoch) -> factor.
        max_grad_norm : float, optional
            The gradient is scaled down to this Euclidean norm where it exceeds it (Pascanu et al. 2013).
        tbptt : (k1, k2), optional
            Truncated BPTT: an update after every k1 steps of a mini-batch, and at its end, by the errors since the last
            one, which go back through the last k2 steps; the states are carried on. An epoch has as many times more
            updates. What goes back meets the states as they were computed, by the parameters of their time (a reset's S_0,
            too), with the present parameters (Williams and Peng 1990). A window in which no step has a weight makes no update.
        patience : int, optional
            Stop after this many epochs without an improvement: a validation loss that is lower by more than
            `min_improvement` than that of the last improvement. At the end, return to the parameters of the lowest
            validation loss, also if it was lower by less.
        min_improvement : float
            See `patience`, which it needs to have an effect. In the unit of the validation loss.
        shuffle : bool or "spread"
            Draw the sequences of an epoch in random order. "spread" does so within each of `batch_size` runs of consecutive
            sequences, and gives every batch one of each run: where sequences are sorted, by length or label, each batch has
            some of all; and each rank of a communicator has its part of every batch.
        random_state : None, int or Generator
            Seed of the order, of the split, of `batches`, and of noise and dropout, which act in updates and not in validation.
            By default the network's own streams go on after the last completed update of `fit`, `train_step` or `stream`: a
            second `fit` has new orders, batches and noise, and the same split. With a seed the run starts at the beginning
            of this seed's streams, and the network's own stay where they are, unless it is the network's own seed: then
            they move behind this run.
        validation_every : int
            Evaluate the validation set every so many epochs, and after the last.
        time_limit : float, optional
            Seconds after which the run ends, at the next whole update.
        on_nonfinite : "raise" or "skip"
            What happens where loss or gradient is infinite or NaN: FloatingPointError, or the next batch.
        checkpoint : path, optional
            Keep the run in this file: every `checkpoint_every` seconds, at its end, and when it is interrupted or fails.
            `fastbptt.load` reads it as the network of that moment. A file that is there already is replaced only if it is
            a checkpoint of this same run, from its start parameters, seed and `stream_positions`, and not of a longer one.
        resume : bool
            Go on from the checkpoint, where there is one: to the bit the run that was never interrupted, from the positions
            of the random streams at which it began. The other arguments must be the same, except those that say when the
            run ends and what is shown. The seed, the start parameters and `stream_positions` must be the same too; the
            network may also have the parameters of the checkpoint, and its streams may stand at 0, as in another process. A
            network that got its start parameters back after the run came to its end is refused: its next run is another
            one. A network whose random_state was not given begins with other parameters each time: it may go on with a run
            that was cut off, but not with one that came to its end. A run that is finished returns the finished network,
            and goes on if `epochs` or `updates` are larger than before. If a callback ended the run, the callbacks are
            called again for that moment, and the run goes on only if none of them returns True. With a larger number of
            epochs, a schedule over all epochs, such as "cosine", is that of the new number. Functions given as `batches`
            and callbacks cannot be compared: a run with others is taken for the same run, and a finished one returns its
            network without calling the new `batches`.
        overwrite : bool
            Replace whatever file `checkpoint` is, without a check.
        progress : bool, optional
            Report to standard error, by a bar where tqdm is installed; by default only on a terminal, if it takes long.
        memory_limit : as of `loss_and_gradients`, for each batch
        n_threads : as of `forward`
        callbacks, update_callbacks : functions of a training.Record (epoch, update, losses, gradient_norm, network)
            Called after each epoch, or each update; one that returns True ends the training. Where they are interrupted,
            or one raises, all of that moment are called again by the run that goes on from the checkpoint.
        backend : "core" or "reference"
        communicator : MPI communicator, such as ``mpi4py.MPI.COMM_WORLD``, optional
            Train one network on the data of several processes, which all call `fit` with the same arguments but for the
            data: X, D, validation and what goes with them are each rank's own part, of any number of sequences. The run is
            that of one process on the parts one after another, in the order of ranks, within rounding: `batch_size`,
            `shuffle`, a share as validation, Σ m and the losses are those of all. Parameters, at the beginning too, and the
            seed and `stream_positions` are those of rank 0, to the bit on all ranks, and so is the History. `batches` are
            asked for a share of batch_size, with an rng of each rank's own, ``rng.spawn(ranks)[rank]`` of the one process's.
            Callbacks are each rank's; one that returns True ends the run of all, and parameters that callbacks change become
            those of rank 0. Rank 0 alone reads and writes the checkpoint; of arrays it can be resumed by another number of
            ranks. Ctrl-C and exceptions end the run on all ranks; see docs/scaling.md.

        Returns
        -------
        training.History, also kept as the attribute `history`.

        Raises
        ------
        FloatingPointError : loss or gradient became infinite or NaN; it names epoch, batch, first bad time step and
            parameter, and the parameters are those before that update.
        KeyboardInterrupt : Ctrl-C; the parameters are those of the last whole update, `history.stopped` is
            "interrupted".
        ValueError : with resume=True the file is no checkpoint, or one of another network or run.
        FileExistsError : without `resume` and `overwrite` the file is anything but an earlier checkpoint of this run.
        RuntimeError : another rank of the communicator failed; it says which, and with which words.
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
                        raise ValueError('tbptt of fit needs output="sequence": most windows have no last step, and so no '
                                         'error')
                else:
                    if any(given is not None for given in (weights, initial_state, lengths, resets)):
                        raise TypeError("weights, initial_state, lengths and resets belong to X and D; batches give their "
                                        "own")
                    if share is not None:
                        raise TypeError(f"validation={share!r} is a share of X and D, and batches have none: give (X, D)")
                    if tbptt is not None:
                        raise TypeError("tbptt belongs to X and D: batches of windows have no state to carry on; see `stream`")
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
                    first, total = ranks.place(data[0].shape[1])  # type: ignore[index]  # no batches, so there are data
                    if share is not None:
                        data, validation, first, total = self._split(data, share, first, total, entropy)
                    source = _batches.Arrays(data, self.output, batch_size, shuffle, entropy, STREAMS.index("shuffling"),
                                             first, total, begin)
                    if tbptt is not None:
                        source = _windows.Windows(source, *tbptt)
                else:
                    source = _batches.Function(batches, self._check_batch, batch_size, updates_per_epoch, entropy,
                                               STREAMS.index("batches"), ranks.rank, ranks.size, begin)
                settings = training.with_least_updates(settings, min_updates, source.updates_per_epoch)
            return ranks.fit(self, source, validation, settings, entropy)

    def train_step(self, X: ArrayLike, D: ArrayLike, optimizer: OptimizerLike = "adam", *,
                   learning_rate: Float | None = None, weights: ArrayLike | None = None,
                   initial_state: ArrayLike | None = None, lengths: ArrayLike | None = None,
                   resets: ArrayLike | None = None, max_grad_norm: Float | None = None, n_threads: Int | None = None,
                   backend: Backend = "core") -> float:
        """One update by the gradient of this batch, for loops of one's own; the data loss before it.

        What the optimiser carries from step to step stays with the network, until an optimiser of another kind comes. Noise
        and dropout are new in each step.

        Parameters
        ----------
        X, D, weights, initial_state, lengths, resets : as of `loss_and_gradients`
        optimizer, learning_rate, max_grad_norm, n_threads : as of `fit`

        Raises
        ------
        FloatingPointError : loss, gradient or update are infinite or NaN; the parameters are those before the step.
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
        """Train on one pass over a series, or several at once, that may be far larger than memory, by truncated BPTT.

        Parameters
        ----------
        X, D, weights, resets : as of `loss_and_gradients`; memory maps are read a piece at a time
            Or X alone: an iterable of chunks (X, D[, weights[, resets]]) of any lengths T and one B, None where absent.
        tbptt : (k1, k2)
            An update after every k1 steps, and at the end, by the errors since the last one, which go back through the last
            k2 steps. States are carried on, also from chunk to chunk: how a series is cut into chunks changes no bit.
        initial_state : array (B, H), optional
        optimizer, learning_rate, max_grad_norm, progress, n_threads, backend : as of `fit`
            Noise and dropout differ from those of the last call.
        callback : function of a training.Record, called after each update; one that returns True ends the stream

        Returns
        -------
        training.StreamHistory : the losses of all updates, and the final state; also kept as the attribute `history`.

        Raises
        ------
        FloatingPointError, KeyboardInterrupt : the parameters are those of the last whole update.
        """
        self._engine(backend)
        self._refuse_reverse("stream")
        tbptt = self._check_tbptt(tbptt, whole=self.omega)
        if tbptt is None:
            raise TypeError("stream needs tbptt=(k1, k2)")
        if self.output == "last":
            raise ValueError('stream needs output="sequence": a stream has no last step')
        optimizer = optimizers.make(optimizer, learning_rate)
        limit = math.inf if max_grad_norm is None else _checks.number("max_grad_norm", max_grad_norm, 0)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be a function of a record, got {type(callback).__name__}")
        progress, windows = None if progress is None else _checks.flag("progress", progress), None
        if D is not None:
            chunks, windows = _windows.cut(X, D, weights, resets, tbptt[0]), -(-len(X) // tbptt[0]) if np.ndim(X) else None
        elif weights is not None or resets is not None:
            raise TypeError("weights and resets belong to X and D; chunks give their own")
        else:
            chunks = X
        if initial_state is not None and self._stacked:
            B = next((len(part) for part in initial_state if np.ndim(part) > 0), 0) if isinstance(initial_state, tuple) else 0
            initial_state = self._check_state("initial_state", initial_state, B)
        elif initial_state is not None:
            initial_state = _checks.array("initial_state", initial_state, self.dtype)
            if initial_state.ndim != 2 or initial_state.shape[1] != self.hidden_size:
                raise ValueError(f"initial_state must have shape (B, H) = (B, {self.hidden_size}), got {initial_state.shape}")
        if initial_state is not None:
            _checks.finite("initial_state", initial_state, "bh")
        chunks = self._checked_chunks(chunks, initial_state)
        how = training.UpdateSettings(optimizer, limit, _threads(n_threads), backend)
        return training.stream(self, chunks, how, tbptt, initial_state, callback=callback, progress=progress, windows=windows)

    def _checked_chunks(self, chunks, initial_state):
        """Yield the chunks of `stream`, checked. A message names the number of the chunk."""
        B = None if initial_state is None else len(initial_state)
        for n, chunk in enumerate(chunks):
            if not isinstance(chunk, (tuple, list)) or not 2 <= len(chunk) <= 4:
                raise TypeError(f"chunk {n} must be (X, D[, weights[, resets]]), got {type(chunk).__name__}")
            X, D, weights, resets = (*chunk, None, None)[:4]
            try:
                X, D, weights, _, _, resets = self._check_batch(X, D, weights, None, resets)
                _batches.refuse_nonfinite("", X, D, weights)
                if B is not None and X.shape[1] != B:
                    raise ValueError(f"X has {X.shape[1]} sequences, where the stream has {B}")
            except (TypeError, ValueError) as error:
                raise type(error)(f"chunk {n}: {error}") from None
            B = X.shape[1]
            yield X, D, weights, resets

    def _check_data(self, X, D, weights, initial_state, lengths, resets):
        """Return a checked Batch."""
        X, initial_state, lengths, resets = self._check_inputs(X, initial_state, lengths, resets)
        return protocol.Batch(X, *self._check_targets(X, D, weights, lengths), initial_state, lengths, resets)

    def _training_data(self, X, D, weights, initial_state, lengths, resets, validation, entropy):
        """Return checked data and the validation set, which is split off the data if `validation` is a share."""
        data = self._check_data(X, D, weights, initial_state, lengths, resets)
        if not _is_share(validation):
            return data, self._check_validation(validation)
        return self._split(data, validation, 0, data[0].shape[1], entropy)[:2]

    def _split(self, data, share, first, total, entropy):
        """Split a share of `total` sequences off as the validation set.

        `data` are those of the sequences that begin with number `first`. Return the data that remain, the validation set, the
        number of the first of the remaining sequences, and how many of the total remain.
        """
        share, B = _checks.number("validation", share, 0, 1), data[0].shape[1]
        if data[3] is not None:
            raise TypeError("a share as validation cannot be judged from an initial_state: give validation=(X, D)")
        count = round(share * total)
        if not 0 < count < total:
            raise ValueError(f"validation={share} of {total} sequences leaves {total - count} to train and {count} to judge "
                             "by")
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
        """Return a checked Batch without an initial state, from what `batches` and `validation` give."""
        X, _, lengths, resets = self._check_inputs(X, None, lengths, resets)
        return protocol.Batch(X, *self._check_targets(X, D, weights, lengths), None, lengths, resets)


def _is_share(validation):
    return isinstance(validation, numbers.Real) and not isinstance(validation, bool)
