"""Training over the ranks of an MPI communicator. Each rank has some of the sequences, and all train one network.

Design
------
(a) Rank 0 decides. In every update, one Reduce adds the ranks' sums at rank 0: gradient, loss, Σ m, failures. Rank 0 divides,
    adds penalties, clips, updates and checks the time. One Bcast then gives all ranks the new parameters and the numbers of a
    `Verdict`. Parameters and history thus have the same bits on all ranks. They do not depend on MPI's order of summation,
    the ranks' processors, or a user's optimiser. Only rank 0 holds the optimiser's state.
(b) Nothing leaves a rank between two exchanges. `local` keeps an error that is raised in a rank's own work. The next exchange
    tells the other ranks, and all ranks raise the error (`settle`). Ctrl-C is noted and told in the same way. An error
    outside `local` cannot be told, because the other ranks wait in another exchange. Abort then ends all processes.
(c) The communicator is any object with mpi4py's upper-case methods Reduce, Bcast, Allgather, Dup, Free and Abort, and with
    Get_rank and Get_size. Its Reduce must sum by default. fastbptt does not import mpi4py, and pickles nothing.

Add an exchange here as a method of `Ranks`. All ranks must call it in the same order.
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
MEANS = ("rate_penalty", "omega")  # penalties that are means themselves: sums over ranks do not give them
KINDS = (None, KeyboardInterrupt, FloatingPointError, RuntimeError)  # of an error that a rank tells; the last is for any other


def over(communicator):
    """Return the `Ranks` of a communicator, or `ALONE` for None. Both are context managers with the same methods."""
    if communicator is None:
        return ALONE
    missing = [name for name in METHODS if not callable(getattr(communicator, name, None))]
    if missing:
        raise TypeError("communicator must be an MPI communicator with mpi4py's methods, such as mpi4py.MPI.COMM_WORLD; "
                        f"{type(communicator).__name__} has no {', '.join(missing)}")
    return Ranks(communicator)


class _Alone:
    """One process without other ranks."""

    rank, size = 0, 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    fit = staticmethod(_loop.fit)

    def settled(self):
        """Return a context manager that does nothing: no other rank needs to know of an error."""
        return self

    def path(self, checkpoint):
        """Return the checkpoint's path unchanged."""
        return checkpoint

    def meet(self, network, settings, streams, data, validation, **words):
        """Return seed and positions of the streams unchanged: there is no other rank with which to compare arguments."""
        return streams

    def place(self, B):
        """Return 0 and B: the first of the B sequences is the first of all."""
        return 0, B


ALONE = _Alone()


class _Local:
    """A part of a rank's own work. `error` keeps what is raised in it, and Ctrl-C."""

    def __init__(self, ranks):
        """Begin a part of the work of this rank of `ranks`."""
        self.ranks, self.error = ranks, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        """Keep the error, or a noted Ctrl-C, in `error`, and suppress it. `Ranks.settle` raises it on all ranks."""
        self.error = error
        if error is None and self.ranks.interrupted:
            self.ranks.interrupted, self.error = False, KeyboardInterrupt()
        return True


class Ranks:
    """The exchanges between the ranks of a communicator. All ranks take part in each, in the same order."""

    def __init__(self, communicator):
        """Copy the communicator, so that messages of the run do not meet the user's."""
        self.comm = communicator.Dup()  # apart from the user's messages
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.interrupted, self.told, self.handler = False, [], None

    # ---- From the first exchange to the last

    def __enter__(self):
        """Start to note Ctrl-C. A second Ctrl-C, before the first is told, is raised immediately."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.handler = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number, frame):
        """Note Ctrl-C. The next exchange tells the other ranks. Python calls it with the signal's number and frame."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __exit__(self, kind, error, trace):
        """Free the communicator.

        After an error that the other ranks do not know, abort all processes, because the others wait.
        """
        if self.handler is not None:
            signal.signal(signal.SIGINT, self.handler)
        if error is not None and not any(error is each for each in self.told):
            print(f"fastbptt: rank {self.rank} of {self.size} failed where it cannot tell the others; all are aborted:",
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
        """Return the numbers of all ranks, float64 (ranks, n). Each rank gives its n numbers."""
        table = np.empty((self.size, len(numbers)))
        self.comm.Allgather(np.array(numbers, np.float64), table)
        return table

    def send_bytes(self, content, root):
        """Return on all ranks the bytes, or None, that the rank `root` gives as `content`.

        The other ranks' content is not read.
        """
        length = np.array([-1 if content is None else len(content)])
        self.comm.Bcast(length, root=root)
        if length[0] < 0:
            return None
        content = np.frombuffer(content, np.uint8).copy() if self.rank == root else np.empty(length[0], np.uint8)
        self.comm.Bcast(content, root=root)
        return content.tobytes()

    def local(self):
        """Return a context manager for a rank's own work between two exchanges. Its `error` keeps what was raised in it."""
        return _Local(self)

    def settle(self, error, *numbers):
        """Return the numbers of all ranks, (ranks, n). If a rank brings an error, raise it on all ranks.

        `error` is the exception of this rank's own work, or None. The other ranks raise one of the types of KINDS with the
        message of the first rank that failed.
        """
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
        """Run a rank's own work (the with-block), and raise its error on all ranks. This is `local`, then `settle`."""
        with self.local() as local:
            yield
        self.settle(local.error)

    # ---- The beginning

    def path(self, checkpoint):
        """Return the checkpoint's path on rank 0, and os.devnull on others, which write no file and need no folder for it."""
        return checkpoint if self.rank == 0 or checkpoint is None else os.devnull

    def meet(self, network, settings, streams, data, validation, **words):
        """Compare the arguments of `fit` between ranks, and return rank 0's seed and Positions of the streams.

        Every rank gives its network, Settings and data; `streams`, its seed and Positions; and `words`, further arguments by
        name that must agree. Raise ValueError if arguments differ between ranks. Set `counts`, the number of sequences of
        each rank; `calls`, whether any rank has callbacks; and `neighbours`, the number of ranks on the same cores.
        """
        with self.settled():
            for name in MEANS:
                if network._config.get(name):
                    raise ValueError(f"{name} must be 0 with a communicator, got {network._config[name]}: it is a mean over "
                                     "the steps of a batch, and no rank knows their number")
            words = {"fastbptt": __version__, "network": json.dumps(network._config, default=_checkpoint._json_value),
                     "X, D or batches": "batches" if data is None else "X, D",
                     "validation": "a set" if isinstance(validation, tuple) else validation,
                     "time steps of X": len(data.X) if words["tbptt"] else "any", **words,
                     "optimizer": described(settings.optimizer), "schedule": described(settings.schedule),
                     **{name: getattr(settings, name) for name in (
                         "epochs", "updates", "max_grad_norm", "patience", "min_improvement", "validation_every",
                         "on_nonfinite", "resume", "overwrite", "backend")},
                     "checkpoint": "None" if settings.checkpoint is None else "a path"}
        theirs = self.exchange(*map(_number_of_word, words.values()))
        with self.settled():
            for name, word, column in zip(words, words.values(), theirs.T):
                if (column != column[0]).any():
                    other = np.flatnonzero(column != column[0])[0]
                    raise ValueError(f"{name} must be the same on all ranks, but rank {other} differs from rank 0; on rank "
                                     f"{self.rank} it is {word}")
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        table = self.exchange(0 if data is None else data.X.shape[1], bool(settings.callbacks),
                              bool(settings.update_callbacks), _number_of_word(f"{socket.gethostname()} {sorted(cores)}"))
        self.counts = table[:, 0].astype(np.int64)
        self.calls = dict(zip(("callbacks", "update_callbacks"), table[:, 1:3].any(axis=0).tolist()))
        self.neighbours = int((table[:, 3] == table[self.rank, 3]).sum())  # ranks on the same cores
        entropy, begin = json.loads(self.send_bytes(json.dumps(streams).encode(), 0))
        return entropy, Positions(*begin)

    def place(self, B):
        """Return the index of this rank's first sequence among those of all ranks, and the total number of sequences.

        `B`, this rank's number of sequences, is already known from `meet`.
        """
        return int(self.counts[:self.rank].sum()), int(self.counts.sum())

    def fit(self, network, source, validation, settings, entropy):
        """Train with a communicator, and return the History. The arguments are those of `loop.fit`, with this rank's data."""
        with self.local() as local:
            if validation is not None:
                refuse_nonfinite("validation's ", *validation[:4])
                if len(validation[0]) == 0:
                    raise ValueError(f"validation's X must have steps: shape {validation[0].shape} was read as (T, B, I)")
        judged = self.settle(local.error, 0 if validation is None else validation[0].shape[1])[:, 0].astype(np.int64)
        self.first_validation_sequence = int(judged[:self.rank].sum())
        with self.settled():
            if validation is not None and judged.sum() == 0:
                raise ValueError("validation's X must have sequences on at least one rank")
            if settings.threads == 0 and _threading.number_from_environment() is None:  # ranks share the cores
                settings = dataclasses.replace(settings, threads=max(1, _threading.default() // self.neighbours))
            if self.rank > 0:
                settings = dataclasses.replace(settings, progress=False)
            run = RankRun(network, source, validation, settings, entropy, self)
        run.begin_together()
        return run.complete()


def _number_of_word(word):
    """Return a fingerprint of 48 bits of str(word), so that ranks can compare words as float64 numbers."""
    return int.from_bytes(hashlib.blake2b(f"{word}".encode(), digest_size=6).digest())
