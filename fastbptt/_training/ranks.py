"""Training over the ranks of an MPI communicator: each has a part of the sequences, and one network is trained on all.

Design
------
(a) Rank 0 decides. In every update the ranks' sums (gradient, loss, Σ m, what went wrong) are added up at rank 0 by one
    Reduce; it divides, adds penalties, clips, updates, looks at the clock, and one Bcast gives all ranks the new parameters
    and the numbers of a `Verdict`. Parameters and history are thus the same to the bit everywhere, whatever MPI's order of
    summation, the processors of the ranks or an optimiser of the user's own do. What the optimiser carries is at rank 0.
(b) Nothing leaves a rank between two exchanges. What is raised in its own part of the work (`local`) is kept, told to the
    others in the next exchange, and raised on all ranks (`settle`). Ctrl-C is noted, and told in the same way. What is raised
    elsewhere cannot be told, as the others wait in an exchange of their own: then all processes are ended by Abort.
(c) The communicator is any object with mpi4py's upper-case methods Reduce, Bcast, Allgather, Dup, Free and Abort, Get_rank
    and Get_size, whose Reduce sums where no operation is named. mpi4py is not imported, and nothing is pickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from typing import NamedTuple

import numpy as np

from . import checkpoint as _checkpoint, loop as _loop
from ..threads import policy as _threading
from .batches import Arrays, Function, Positions, refuse_nonfinite
from .settings import described
from .step import clip
from .windows import Windows
from .._version import __version__

METHODS = ("Get_rank", "Get_size", "Reduce", "Bcast", "Allgather", "Dup", "Free", "Abort")
MEANS = ("rate_penalty", "omega")  # penalties that are means of their own, which sums over ranks do not give
KINDS = (None, KeyboardInterrupt, FloatingPointError, RuntimeError)  # of what a rank tells; any other error is the last


def over(communicator):
    """The ranks of a communicator, or of None the one process; to be entered."""
    if communicator is None:
        return ALONE
    missing = [name for name in METHODS if not callable(getattr(communicator, name, None))]
    if missing:
        raise TypeError("communicator must be an MPI communicator with mpi4py's methods, such as mpi4py.MPI.COMM_WORLD; "
                        f"{type(communicator).__name__} has no {', '.join(missing)}")
    return Ranks(communicator)


class _Alone:
    """One process, which has nobody to tell anything."""

    rank, size = 0, 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    fit = staticmethod(_loop.fit)

    def settled(self):
        return self

    def path(self, checkpoint):
        return checkpoint

    def meet(self, network, settings, streams, data, validation, **words):
        return streams

    def place(self, B):
        return 0, B


ALONE = _Alone()


class _Local:
    """A stretch of a rank's own work: what is raised in it is kept in `error`, as is Ctrl-C."""

    def __init__(self, ranks):
        self.ranks, self.error = ranks, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.error = error
        if error is None and self.ranks.interrupted:
            self.ranks.interrupted, self.error = False, KeyboardInterrupt()
        return True


class Ranks:
    """The exchanges between the ranks of a communicator, of which all take part in each, in the same order."""

    def __init__(self, communicator):
        self.comm = communicator.Dup()  # so that nothing that the user has under way is met
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.interrupted, self.told, self.handler = False, [], None

    # ---- From the first exchange to the last

    def __enter__(self):
        """From here on Ctrl-C is noted; a second one, while the first is not told yet, is raised at once."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.handler = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number, frame):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __exit__(self, kind, error, trace):
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)
        if error is not None and not any(error is each for each in self.told):
            print(f"fastbptt: rank {self.rank} of {self.size} failed where it cannot tell the others, which are ended:",
                  file=sys.stderr)
            traceback.print_exception(error)
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            self.comm.Abort(1)
            return
        self.comm.Free()
        if error is None and self.interrupted:
            raise KeyboardInterrupt

    # ---- Exchanges

    def exchange(self, *numbers):
        """The numbers of all ranks, float64 (ranks, n)."""
        table = np.empty((self.size, len(numbers)))
        self.comm.Allgather(np.array(numbers, np.float64), table)
        return table

    def send_bytes(self, content, root):
        """The bytes that `root` has, or None, on all ranks."""
        length = np.array([-1 if content is None else len(content)])
        self.comm.Bcast(length, root=root)
        if length[0] < 0:
            return None
        content = np.frombuffer(content, np.uint8).copy() if self.rank == root else np.empty(length[0], np.uint8)
        self.comm.Bcast(content, root=root)
        return content.tobytes()

    def local(self):
        return _Local(self)

    def settle(self, error, *numbers):
        """The numbers of all ranks, (ranks, n); but where a rank brings an error, it is raised on all of them."""
        other = 0 if error is None else len(KINDS) - 1
        table = self.exchange(next((n for n, kind in enumerate(KINDS) if kind and isinstance(error, kind)), other), *numbers)
        failed = np.flatnonzero(table[:, 0])
        if len(failed) == 0:
            return table[:, 1:]
        teller = int(failed[0])
        words = f"{error}" if isinstance(error, FloatingPointError) else f"rank {self.rank}: {type(error).__name__}: {error}"
        words = self.send_bytes(words.encode(errors="replace"), teller).decode()
        if error is None:
            kind = KINDS[int(table[teller, 0])]
            error = kind() if kind is KeyboardInterrupt else kind(words)
        self.told.append(error)
        raise error

    @contextlib.contextmanager
    def settled(self):
        """A stretch of a rank's own work that is followed by `settle`."""
        with self.local() as local:
            yield
        self.settle(local.error)

    # ---- The beginning

    def path(self, checkpoint):
        """Rank 0's file: the others need not have a folder for it."""
        return checkpoint if self.rank == 0 or checkpoint is None else os.devnull

    def meet(self, network, settings, streams, data, validation, **words):
        """Return rank 0's seed and positions of streams; raise where arguments differ between ranks."""
        with self.settled():
            for name in MEANS:
                if network._config.get(name):
                    raise ValueError(f"{name}={network._config[name]} has no meaning with a communicator: it is a mean over "
                                     "the steps of a batch, and no rank knows how many there are")
            words = {"fastbptt": __version__, "network": json.dumps(network._config, default=_checkpoint._in_words),
                     "X, D or batches": "batches" if data is None else "X, D",
                     "validation": "a set" if isinstance(validation, tuple) else validation,
                     "time steps of X": len(data[0]) if words["tbptt"] else "any", **words,
                     "optimizer": described(settings.optimizer), "schedule": described(settings.schedule),
                     **{name: getattr(settings, name) for name in (
                         "epochs", "updates", "max_grad_norm", "patience", "min_improvement", "validation_every",
                         "on_nonfinite", "resume", "overwrite", "backend")},
                     "checkpoint": "None" if settings.checkpoint is None else "a path"}
        theirs = self.exchange(*map(_number, words.values()))
        with self.settled():
            for name, word, column in zip(words, words.values(), theirs.T):
                if (column != column[0]).any():
                    other = np.flatnonzero(column != column[0])[0]
                    raise ValueError(f"{name} must be the same on all ranks, and that of rank {other} is not rank 0's; here, "
                                     f"on rank {self.rank}, it is {word}")
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        table = self.exchange(0 if data is None else data[0].shape[1], bool(settings.callbacks),
                              bool(settings.update_callbacks), _number(f"{socket.gethostname()} {sorted(cores)}"))
        self.counts = table[:, 0].astype(np.int64)
        self.calls = dict(zip(("callbacks", "update_callbacks"), table[:, 1:3].any(axis=0).tolist()))
        self.neighbours = int((table[:, 3] == table[self.rank, 3]).sum())  # ranks that have the same cores
        entropy, begin = json.loads(self.send_bytes(json.dumps(streams).encode(), 0))
        return entropy, Positions(*begin)

    def place(self, B):
        """The number of this rank's first sequence among those of all, and how many these are."""
        return int(self.counts[:self.rank].sum()), int(self.counts.sum())

    def fit(self, network, source, validation, settings, entropy):
        """The loop behind RNN.fit with a communicator."""
        with self.local() as local:
            if validation is not None:
                refuse_nonfinite("validation's ", *validation[:4])
                if len(validation[0]) == 0:
                    raise ValueError(f"validation's X has no steps: shape {validation[0].shape} was read as (T, B, I)")
        judged = self.settle(local.error, 0 if validation is None else validation[0].shape[1])[:, 0].astype(np.int64)
        self.first_judged = int(judged[:self.rank].sum())
        with self.settled():
            if validation is not None and judged.sum() == 0:
                raise ValueError("validation's X has no sequences on any rank")
            if settings.threads == 0 and _threading.said() is None:  # the cores are for all ranks that share them
                settings = dataclasses.replace(settings, threads=max(1, _threading.default() // self.neighbours))
            if self.rank > 0:
                settings = dataclasses.replace(settings, progress=False)
            run = Run(network, source, validation, settings, entropy, self)
        run.begin_together()
        network.history = run.history
        try:
            run.history.stopped = run.loop()
            run.save()
            run.close()
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            run.progress.close()
        return run.history


class Verdict(NamedTuple):
    """What rank 0 says of an update, to which it adds the parameters."""

    outcome: float        # one of OUTCOMES, by number
    loss: float = 0.0
    penalty: float = 0.0
    norm: float = 0.0
    weight: float = 0.0   # Σ m of all ranks
    culprits: float = 0.0  # how many ranks had sums that are not finite
    seconds: float = 0.0  # of the run
    time_is_up: float = 0.0
    save_is_due: float = 0.0


OUTCOMES = ("", "loss", "gradient", "update", "nothing", "failed")  # the first: an update; then what was not finite
SUMS = 4  # numbers behind the gradient in what is summed: loss, Σ m, ranks that failed, ranks with sums that are not finite


class Run(_loop.Run):
    """One call of `fit` on one of several ranks."""

    def __init__(self, network, source, validation, settings, entropy, ranks):
        super().__init__(network, source, validation, settings, entropy)
        self.ranks, self.stretch, self.summing, self.cut_off = ranks, None, network._summing(), False
        dtype, P = network._theta.dtype, len(network._theta)
        self.mine, self.sums = np.zeros(P + SUMS, dtype), np.zeros(P + SUMS, dtype)  # sent, and received by rank 0
        self.gradient = self.mine[:P]
        numbers = 8 * len(Verdict._fields)
        self.message = np.zeros(numbers + P * dtype.itemsize, np.uint8)
        self.spoken, self.parameters = self.message[:numbers].view(np.float64), self.message[numbers:].view(dtype)
        self.verdict = Verdict(0)
        self.told_seconds, self.own = 0.0, False

    def begin_together(self):
        """Rank 0's parameters and, where there is one, its checkpoint, on all ranks."""
        network, settings = self.network, self.settings
        if settings.checkpoint is not None:
            self._digest_together()
        self.ranks.comm.Bcast(self.state.theta, root=0)
        if settings.resume:
            self.resume()
        else:
            with self.ranks.settled():
                self.check_replaceable()
        network._theta[...] = self.state.theta
        rank_0 = json.loads(self.ranks.send_bytes(json.dumps([super()._is_own(), network._positions]).encode(), 0))
        self.own, network._positions = rank_0[0], Positions(*rank_0[1])

    def _is_own(self):
        return self.own  # as of rank 0

    # ---- Updates

    def _update(self):
        """One update: the sums of all ranks to rank 0, parameters from there."""
        network, spare = self.network, self._next()
        epoch, k, data = spare.epoch, spare.batch, None
        with self.ranks.local() as local:
            data = self.source.batch(epoch, k)
            with np.errstate(over="ignore"):  # of what float32 does not hold
                self.mine[-SUMS:] = *self._sum(data, k, spare), 0, 0
        if local.error is not None:
            self.mine[-SUMS:] = 0, 0, 1, 0
        is_culprit = not np.isfinite(self.mine).all()
        self.mine[-1] = is_culprit
        self.ranks.comm.Reduce(self.mine, self.sums, root=0)
        if self.ranks.rank == 0:
            with self.ranks.local() as deciding:
                self.spoken[...] = self._decide(spare)
            if deciding.error is not None:
                local.error = local.error or deciding.error
                self.spoken[0] = OUTCOMES.index("failed")
            self.parameters[...] = spare.theta
        self.ranks.comm.Bcast(self.message, root=0)
        self.verdict = verdict = Verdict(*self.spoken.tolist())
        spare.theta[...], self.told_seconds = self.parameters, verdict.seconds
        what = OUTCOMES[int(verdict.outcome)]
        if what == "failed":
            self.ranks.settle(local.error)
        spare.batch = k + 1
        if what in ("loss", "gradient", "update"):
            self._refuse_together(data, what, verdict, is_culprit)
            spare.skipped += 1
        elif what == "":
            spare.updates += 1
            spare.add(verdict.loss, verdict.penalty, verdict.norm, verdict.weight if network.reduction == "mean" else 1.0)
            network._theta[...] = spare.theta
        if self.ranks.calls["update_callbacks"] and what != "nothing":
            spare.owed = "update_callbacks", epoch, spare.updates, verdict.loss, None, verdict.norm
        self._commit(spare)

    def _sum(self, data, k, spare):
        """Σ m e and Σ m of this rank's part of a batch; the gradient of the former is in `gradient`."""
        settings = self.settings
        if isinstance(self.source, Windows):
            total, _, weight = self._window(self.summing, data, k, spare)
            return total, weight
        total, _ = self.summing._loss_into(self.gradient, *data, settings.threads, settings.backend, settings.memory_limit,
                                           self._draws_at(spare.epoch, k))
        return total, self.summing._total_weight(*data)

    def _decide(self, spare):
        """Rank 0's part of an update, from the sums of all ranks into `spare`; the Verdict."""
        network, settings = self.network, self.settings
        gradient, (loss, weight, failed, culprits) = self.sums[:-SUMS], self.sums[-SUMS:].tolist()
        more = {"weight": weight, "culprits": culprits, "time_is_up": super()._time_is_up(),
                "save_is_due": super()._is_save_due(), "seconds": super()._seconds()}
        if failed:
            return Verdict(OUTCOMES.index("failed"), **more)
        if weight == 0 and isinstance(self.source, Windows):
            return Verdict(OUTCOMES.index("nothing"), **more)
        if network.reduction == "mean" and weight != 0:
            loss /= weight
            gradient /= gradient.dtype.type(weight)
        penalty = network._engines[settings.backend].penalize(network._theta, gradient)
        gradient, norm = clip(gradient, settings)
        return Verdict(OUTCOMES.index(self._learn(spare, gradient, loss + penalty, norm)), loss, penalty, norm, **more)

    def _refuse_together(self, data, what, verdict, is_culprit):
        """`_refuse` on all ranks, in the words of one whose sums are not finite, or of rank 0 where only their sum is not."""
        if self.settings.on_nonfinite == "skip":
            return
        with self.ranks.settled():
            if is_culprit if verdict.culprits else self.ranks.rank == 0:
                self._refuse(data, what, verdict.loss + verdict.penalty, verdict.norm, f" of rank {self.ranks.rank}")

    def _time_is_up(self):
        return bool(self.verdict.time_is_up)

    def _is_save_due(self):
        return bool(self.verdict.save_is_due)

    # ---- Epochs

    def _is_called(self, name):
        return self.ranks.calls[name]

    def _ask(self):
        stops = False
        with self.ranks.local() as local:
            stops = super()._ask()
        changed = not np.array_equal(self.network._theta, self.state.theta)
        answers = self.ranks.settle(local.error, stops, changed)
        if answers[:, 1].any():
            self.ranks.comm.Bcast(self.network._theta, root=0)
        return bool(answers[:, 0].any())

    def _validation_loss(self):
        loss = weight = 0.0
        with self.ranks.local() as local:
            X, D, weights, lengths, resets = self.validation
            loss = self.summing.evaluate(X, D, weights=weights, lengths=lengths, resets=resets,
                                         n_threads=self.settings.threads or None, backend=self.settings.backend)
            weight = self.summing._total_weight(X, D, weights, None, lengths, resets)
        table = self.ranks.settle(local.error, loss, weight, super()._seconds())
        (loss, weight), self.told_seconds = table[:, :2].sum(axis=0).tolist(), float(table[0, 2])
        if self.network.reduction == "mean":
            return loss / weight if weight else 0.0
        return loss

    def _seconds(self):
        return self.told_seconds

    # ---- What stays

    def save(self):
        """Rank 0 writes the checkpoint, where there is to be one; what fails there fails on all ranks."""
        if self.settings.checkpoint is None:
            return
        states = self.state.states
        if not self.cut_off and states is not None:
            states = self._gathered(states)
        with contextlib.nullcontext() if self.cut_off else self.ranks.settled():
            if self.ranks.rank == 0 and not (self.cut_off and states is not None):
                self._write(dataclasses.replace(self.state, states=states))

    def _gathered(self, states):
        """Rank 0's are then the states (n, B, H) that all ranks carry to the next window, in the order of the mini-batch."""
        n, B = self.source.shape(self.state.batch)
        own = np.zeros((n, B, states.shape[2]), states.dtype)
        own[:, self._places()] = states
        whole = np.zeros_like(own)
        self.ranks.comm.Reduce(own.reshape(-1).view(np.uint8), whole.reshape(-1).view(np.uint8), root=0)  # the others' are 0
        return whole

    def _places(self):
        """Where this rank's sequences stand in the mini-batch that is going on."""
        return self.source.arrays.rows(self.state.epoch, self.state.batch // self.source.windows)[1]

    def resume(self):
        """Go on from rank 0's checkpoint, where there is one."""
        path, content, state = self.settings.checkpoint, None, self.state
        with self.ranks.settled():
            if self.ranks.rank == 0 and os.path.exists(path):
                with open(path, "rb") as file:
                    content = file.read()
        path, content = self.ranks.send_bytes(path.encode(), 0).decode(), self.ranks.send_bytes(content, 0)
        with self.ranks.settled():
            if content is not None:
                self._read(content, path, seed=self.ranks.rank == 0)  # whose seed and parameters are those of all
            if state.states is not None:
                state.states = state.states[:, self._places()].copy()
        self.told_seconds = state.seconds
        self.tell_history(state)
        self.progress.update(self._drawn())

    def _digest_together(self):
        """Fingerprints of all ranks' data, the same however these are divided between ranks."""
        found = {}
        with self.ranks.local() as local:
            if isinstance(self.source, (Arrays, Windows)):
                arrays = getattr(self.source, "arrays", self.source)
                found["data"] = _digest(arrays.data, self.network.output, arrays.first)
            if self.validation is not None:
                X, D, weights, lengths, resets = self.validation
                found["validation"] = _digest((X, D, weights, None, lengths, resets), self.network.output,
                                              self.ranks.first_judged)
        parts = [number >> shift & 2**48 - 1 for number in found.values() for shift in (0, 48, 96)]  # which floats hold
        table = self.ranks.settle(local.error, *parts or [0] * 6)
        sums = [sum(int(low) + (int(middle) << 48) + (int(high) << 96) for low, middle, high in table[:, n:n + 3])
                for n in range(0, 3 * len(found), 3)]
        self.digests = {name: f"{total % 2**144:036x}" for name, total in zip(found, sums)}

    def _identity(self):
        return super()._identity() | ({"ranks": self.ranks.size} if isinstance(self.source, Function) else {})

    def fail(self, error):
        """As ever; but where the others do not know of it, nothing is to be exchanged."""
        self.cut_off = not any(error is each for each in self.ranks.told)
        self.network._theta[...] = self.state.theta
        try:
            super().fail(error)
        except RuntimeError as also:  # rank 0 could not write, and says why
            error.add_note(f"and the checkpoint could not be written: {also}")


def _number(word):
    """A number of 48 bits, which a float holds, for a word."""
    return int.from_bytes(hashlib.blake2b(f"{word}".encode(), digest_size=6).digest())


def _digest(data, output, first):
    """A fingerprint of sequences that are those from number `first` on, under 2**144; those of parts add up to the whole's."""
    steps = 0 if output == "last" else 1  # the axis of sequences in D and weights
    lengths, total = data[4], 0
    for b in range(data[0].shape[1]):
        one = hashlib.blake2b(f"{first + b}".encode(), digest_size=18)
        length = None if lengths is None else lengths[b]
        for array, axis in zip(data, (1, steps, steps, 0, 0, 1), strict=True):
            if array is not None:
                own = array[:length, b] if axis else array[b]
                one.update(f"{array.dtype}{own.shape}".encode())
                one.update(np.ascontiguousarray(own).data)
        total += int.from_bytes(one.digest())
    return total % 2**144
