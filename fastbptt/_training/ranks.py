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

import numpy as np

from . import checkpoint as _checkpoint, loop as _loop
from ..threads import policy as _threading
from .batches import Positions, refuse_nonfinite
from .rank_run import RankRun
from .settings import described
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
            run = RankRun(network, source, validation, settings, entropy, self)
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


def _number(word):
    """A number of 48 bits, which a float holds, for a word."""
    return int.from_bytes(hashlib.blake2b(f"{word}".encode(), digest_size=6).digest())
