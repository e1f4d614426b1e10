"""One rank's part in a run over MPI: `RankRun`, whose updates rank 0 decides. `ranks` has the exchanges and their design.

Override a method of `Run` here if it must exchange something between ranks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from typing import NamedTuple

import numpy as np

from ..backends.arguments import Batch, CallOptions
from . import loop as _loop
from .batches import Arrays, Function, Positions
from .step import clip
from .windows import Windows


class Verdict(NamedTuple):
    """Rank 0's decision about an update. The new parameters follow it in the message."""

    outcome: float        # index into OUTCOMES
    loss: float = 0.0
    penalty: float = 0.0
    norm: float = 0.0
    weight: float = 0.0   # Σ m of all ranks
    culprits: float = 0.0  # number of ranks whose sums are not finite
    seconds: float = 0.0  # of the run
    time_is_up: float = 0.0
    save_is_due: float = 0.0


OUTCOMES = ("", "loss", "gradient", "update", "nothing", "failed")  # an update, what was not finite, ...
SUMS = 4  # numbers that follow the gradient in the Reduce: loss, Σ m, failed ranks, ranks whose sums are not finite


class RankRun(_loop.Run):
    """One call of `fit` on one of several ranks."""

    def __init__(self, network, source, validation, settings, entropy, ranks):
        """Prepare this rank's part of a run, and the arrays that it exchanges. `ranks` is a Ranks."""
        super().__init__(network, source, validation, settings, entropy)
        self.ranks, self.stretch, self.summing, self.cut_off = ranks, None, network._summing(), False
        dtype, P = network._theta.dtype, len(network._theta)
        self.sent, self.received = np.zeros(P + SUMS, dtype), np.zeros(P + SUMS, dtype)  # sent, and received by rank 0
        self.gradient = self.sent[:P]
        numbers = 8 * len(Verdict._fields)
        self.message = np.zeros(numbers + P * dtype.itemsize, np.uint8)
        self.verdict_numbers, self.parameters = self.message[:numbers].view(np.float64), self.message[numbers:].view(dtype)
        self.verdict = Verdict(0)
        self.rank_0_seconds, self.uses_network_streams = 0.0, False

    def begin_together(self):
        """Give all ranks rank 0's parameters and, if it has one, its checkpoint."""
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
        streams = super()._uses_network_streams(), network._positions
        rank_0 = json.loads(self.ranks.send_bytes(json.dumps(streams).encode(), 0))
        self.uses_network_streams, network._positions = rank_0[0], Positions(*rank_0[1])

    def _uses_network_streams(self):
        """Return rank 0's answer, which all ranks received in `begin_together`."""
        return self.uses_network_streams  # rank 0's answer

    # ---- Updates

    def _update(self):
        """Make one update: send the sums of all ranks to rank 0, and receive the parameters from it."""
        network, spare = self.network, self._copy_to_spare()
        epoch, k, data = spare.epoch, spare.batch, None
        with self.ranks.local() as local:
            data = self.source.batch(epoch, k)
            with np.errstate(over="ignore"):  # float32 may overflow
                self.sent[-SUMS:] = *self._sum(data, k, spare), 0, 0
        if local.error is not None:
            self.sent[-SUMS:] = 0, 0, 1, 0
        is_culprit = not np.isfinite(self.sent).all()
        self.sent[-1] = is_culprit
        self.ranks.comm.Reduce(self.sent, self.received, root=0)
        if self.ranks.rank == 0:
            with self.ranks.local() as deciding:
                self.verdict_numbers[...] = self._decide(spare)
            if deciding.error is not None:
                local.error = local.error or deciding.error
                self.verdict_numbers[0] = OUTCOMES.index("failed")
            self.parameters[...] = spare.theta
        self.ranks.comm.Bcast(self.message, root=0)
        self.verdict = verdict = Verdict(*self.verdict_numbers.tolist())
        spare.theta[...], self.rank_0_seconds = self.parameters, verdict.seconds
        outcome = OUTCOMES[int(verdict.outcome)]
        if outcome == "failed":
            self.ranks.settle(local.error)
        spare.batch = k + 1
        if outcome in ("loss", "gradient", "update"):
            self._raise_nonfinite_together(data, outcome, verdict, is_culprit)
            spare.skipped += 1
        elif outcome == "":
            spare.updates += 1
            spare.add(verdict.loss, verdict.penalty, verdict.norm, verdict.weight if network.reduction == "mean" else 1.0)
            network._theta[...] = spare.theta
        if self.ranks.calls["update_callbacks"] and outcome != "nothing":
            spare.owed = "update_callbacks", epoch, spare.updates, verdict.loss, None, verdict.norm
        self._swap_states(spare)

    def _sum(self, data, k, spare):
        """Return Σ m e and Σ m of this rank's part of batch k, the Batch `data`. `gradient` receives the gradient of Σ m e.

        `summing` is a copy of the network with reduction="sum" and without penalties: rank 0 divides and adds them. A
        window's states for the next one are kept in `spare`.
        """
        settings = self.settings
        if isinstance(self.source, Windows):
            total, _, weight = self._compute_window(self.summing, data, k, spare)
            return total, weight
        options = CallOptions(settings.threads, settings.memory_limit, self._draws_at(spare.epoch, k))
        total, _ = self.summing._loss_into(self.gradient, data, options, settings.backend)
        return total, self.summing._total_weight(data)

    def _decide(self, spare):
        """Make rank 0's update from the sums of all ranks in `received`, write it to `spare`, and return the Verdict."""
        network, settings = self.network, self.settings
        gradient, (loss, weight, failed, culprits) = self.received[:-SUMS], self.received[-SUMS:].tolist()
        common = {"weight": weight, "culprits": culprits, "time_is_up": super()._time_is_up(),
                  "save_is_due": super()._is_save_due(), "seconds": super()._seconds()}
        if failed:
            return Verdict(OUTCOMES.index("failed"), **common)
        if weight == 0 and isinstance(self.source, Windows):
            return Verdict(OUTCOMES.index("nothing"), **common)
        if network.reduction == "mean" and weight != 0:
            loss /= weight
            gradient /= gradient.dtype.type(weight)
        penalty = network._engines[settings.backend].penalize(network._theta, gradient)
        gradient, norm = clip(gradient, settings)
        return Verdict(OUTCOMES.index(self._apply_update(spare, gradient, loss + penalty, norm)), loss, penalty, norm, **common)

    def _raise_nonfinite_together(self, data, what, verdict, is_culprit):
        """Raise the error of `_raise_nonfinite` on all ranks, unless such batches are skipped.

        `data` is this rank's Batch, and `verdict` rank 0's Verdict, whose outcome is `what`. The message comes from a rank
        whose sums are not finite (`is_culprit`). If only the total is not finite, it comes from rank 0.
        """
        if self.settings.on_nonfinite == "skip":
            return
        with self.ranks.settled():
            if is_culprit if verdict.culprits else self.ranks.rank == 0:
                self._raise_nonfinite(data, what, verdict.loss + verdict.penalty, verdict.norm, f" of rank {self.ranks.rank}")

    def _time_is_up(self):
        """Return whether rank 0 found the time to be up, at the last update."""
        return bool(self.verdict.time_is_up)

    def _is_save_due(self):
        """Return whether rank 0 found a checkpoint to be due, at the last update."""
        return bool(self.verdict.save_is_due)

    # ---- Epochs

    def _has_callbacks(self, name):
        """Return whether any rank has callbacks of this name."""
        return self.ranks.calls[name]

    def _run_callbacks(self):
        """Call this rank's callbacks, and return whether a callback of any rank returned True.

        If they change the parameters on some rank, all ranks receive rank 0's.
        """
        stops = False
        with self.ranks.local() as local:
            stops = super()._run_callbacks()
        changed = not np.array_equal(self.network._theta, self.state.theta)
        answers = self.ranks.settle(local.error, stops, changed)
        if answers[:, 1].any():
            self.ranks.comm.Bcast(self.network._theta, root=0)
        return bool(answers[:, 0].any())

    def _validation_loss(self):
        """Return the reduced loss on the validation sets of all ranks together. Every rank evaluates its own part."""
        loss = weight = 0.0
        with self.ranks.local() as local:
            X, D, weights, lengths, resets = self.validation
            loss = self.summing.evaluate(X, D, weights=weights, lengths=lengths, resets=resets,
                                         n_threads=self.settings.threads or None, backend=self.settings.backend)
            weight = self.summing._total_weight(Batch(X, D, weights, None, lengths, resets))
        table = self.ranks.settle(local.error, loss, weight, super()._seconds())
        (loss, weight), self.rank_0_seconds = table[:, :2].sum(axis=0).tolist(), float(table[0, 2])
        if self.network.reduction == "mean":
            return loss / weight if weight else 0.0
        return loss

    def _seconds(self):
        """Return rank 0's seconds since the start of the run, as of its last message."""
        return self.rank_0_seconds

    # ---- Checkpoint and errors

    def save(self):
        """Write the checkpoint from rank 0, if the run has one. If that fails, it fails on all ranks."""
        if self.settings.checkpoint is None:
            return
        states = self.state.states
        if not self.cut_off and states is not None:
            states = self._gather_states(states)
        with contextlib.nullcontext() if self.cut_off else self.ranks.settled():
            if self.ranks.rank == 0 and not (self.cut_off and states is not None):
                self._write_checkpoint(dataclasses.replace(self.state, states=states))

    def _gather_states(self, states):
        """Return on rank 0 the states of the whole mini-batch, (n, B, H), which a checkpoint between two windows needs.

        Each rank gives the states of its own sequences: `states` (n, own sequences, H), where n is the number of kept steps.
        Ranks are added as bytes: each place is 0 on all ranks but one. Other ranks return zeros.
        """
        n, B = self.source.carried_shape(self.state.batch)
        own = np.zeros((n, B, states.shape[2]), states.dtype)
        own[:, self._columns_in_batch()] = states
        of_all = np.zeros_like(own)
        self.ranks.comm.Reduce(own.reshape(-1).view(np.uint8), of_all.reshape(-1).view(np.uint8), root=0)  # others send 0
        return of_all

    def _columns_in_batch(self):
        """Return the indices of this rank's sequences in the current mini-batch of all ranks."""
        return self.source.arrays.rows(self.state.epoch, self.state.batch // self.source.windows)[1]

    def resume(self):
        """Continue from rank 0's checkpoint, if there is one."""
        path, content, state = self.settings.checkpoint, None, self.state
        with self.ranks.settled():
            if self.ranks.rank == 0 and os.path.exists(path):
                with open(path, "rb") as file:
                    content = file.read()
        path, content = self.ranks.send_bytes(path.encode(), 0).decode(), self.ranks.send_bytes(content, 0)
        with self.ranks.settled():
            if content is not None:
                self._read_checkpoint(content, path, seed=self.ranks.rank == 0)  # rank 0's seed counts for all
            if state.states is not None:
                state.states = state.states[:, self._columns_in_batch()].copy()
        self.rank_0_seconds = state.seconds
        self._update_history(state)
        self.progress.update(self._batches_done())

    def _digest_together(self):
        """Compute `digests`, fingerprints of all ranks' data. They do not depend on how the data are divided between ranks.

        Each rank fingerprints its sequences one by one. The sum over all ranks is exchanged in three parts of 48 bits.
        """
        found = {}
        with self.ranks.local() as local:
            if isinstance(self.source, (Arrays, Windows)):
                arrays = getattr(self.source, "arrays", self.source)
                found["data"] = _digest(arrays.data, self.network.output, arrays.first)
            if self.validation is not None:
                X, D, weights, lengths, resets = self.validation
                found["validation"] = _digest(Batch(X, D, weights, None, lengths, resets), self.network.output,
                                              self.ranks.first_validation_sequence)
        parts = [number >> shift & 2**48 - 1 for number in found.values() for shift in (0, 48, 96)]  # floats hold 48 bits
        table = self.ranks.settle(local.error, *parts or [0] * 6)
        sums = [sum(int(low) + (int(middle) << 48) + (int(high) << 96) for low, middle, high in table[:, n:n + 3])
                for n in range(0, 3 * len(found), 3)]
        self.digests = {name: f"{total % 2**144:036x}" for name, total in zip(found, sums)}

    def _identity(self):
        """Return what `Run._identity` returns and, if a function draws the batches, the number of ranks."""
        return super()._identity() | ({"ranks": self.ranks.size} if isinstance(self.source, Function) else {})

    def fail(self, error):
        """Record the error as `Run.fail` does. If the other ranks do not know the error, exchange nothing."""
        self.cut_off = not any(error is each for each in self.ranks.told)
        self.network._theta[...] = self.state.theta
        try:
            super().fail(error)
        except RuntimeError as also:  # rank 0 could not write
            error.add_note(f"and the checkpoint could not be written: {also}")


def _digest(data, output, first):
    """Return a fingerprint under 2**144 of the sequences in `data`, numbered from `first` on among those of all ranks.

    `data` is (X, D, weights, initial_state, lengths, resets). `output` is the network's option. The fingerprints of parts add
    up to that of all sequences.
    """
    steps = 0 if output == "last" else 1  # the axis of sequences in D and weights
    lengths, total = data.lengths, 0
    for b in range(data.X.shape[1]):
        one = hashlib.blake2b(f"{first + b}".encode(), digest_size=18)
        length = None if lengths is None else lengths[b]
        for array, axis in zip(data, (1, steps, steps, 0, 0, 1), strict=True):
            if array is not None:
                own = array[:length, b] if axis else array[b]
                one.update(f"{array.dtype}{own.shape}".encode())
                one.update(np.ascontiguousarray(own).data)
        total += int.from_bytes(one.digest())
    return total % 2**144
