"""The training loop: epochs, mini-batches, clipping, early stopping, history and progress.

It sees a network only through `theta` and `_loss_into`, so that `network` may import it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core, _words, optimizers, reference


@dataclass
class History:
    """What a run did, one entry an epoch.

    Attributes
    ----------
    train_loss : list of float
        The mean of the mini-batches' losses, each before its update, weighted as the loss is.
    validation_loss : list of float
        After the epoch; empty without a validation set.
    gradient_norm : list of float
        The mean Euclidean norm of the gradients before clipping.
    seconds : list of float
        Since the start of the run.
    stopped : str
        "epochs", "patience", "callback", "interrupted" or "nonfinite".
    best_epoch : int or None
        Index of the epoch with the lowest validation loss.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: str = ""
    best_epoch: int | None = None

    def plot(self, ax=None):
        """Losses by epoch, on a logarithmic scale, with the best epoch marked; returns the Axes. Needs matplotlib."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots()[1]
        epochs = np.arange(1, len(self.train_loss) + 1)
        ax.plot(epochs, self.train_loss, label="training")
        if self.validation_loss:
            ax.plot(epochs[:len(self.validation_loss)], self.validation_loss, label="validation")
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch + 1, color="0.6", linestyle=":", label=f"best, epoch {self.best_epoch + 1}")
        ax.set(xlabel="epoch", ylabel="loss", yscale="log")
        ax.legend(frameon=False)
        return ax


@dataclass(frozen=True)
class Record:
    """What a callback gets after each epoch (counted from 0): losses, updates made so far, and the network itself."""

    epoch: int
    update: int
    train_loss: float
    validation_loss: float | None
    gradient_norm: float
    network: Any


def fit(network, X, D, weights, initial_state, *, validation, epochs, batch_size, optimizer, learning_rate,
        max_grad_norm, patience, shuffle, rng, progress, callbacks, backend):
    """The loop behind RNN.fit, which documents the arguments and has checked X, D, weights and initial_state."""
    epochs = _words.size("epochs", epochs, smallest=0)
    batch_size = _words.size("batch_size", batch_size)
    optimizer = optimizers.make(optimizer, learning_rate)
    if max_grad_norm is not None:
        max_grad_norm = _words.number("max_grad_norm", max_grad_norm, 0)
    if patience is not None:
        patience = _words.size("patience", patience)
        if validation is None:
            raise ValueError("patience needs validation=(X, D), whose loss it watches")
    shuffle = _words.flag("shuffle", shuffle)
    if progress is not None:
        progress = _words.flag("progress", progress)
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be functions of a record, got {type(callback).__name__} {callback!r}")
    _refuse_nonfinite("", X, D, weights)
    if initial_state is not None:
        _words.finite("initial_state", initial_state, "bh")
    if validation is not None:
        _refuse_nonfinite("validation's ", *validation)
        if 0 in validation[0].shape[:2]:
            raise ValueError(f"validation's X has nothing to judge by: shape {validation[0].shape} was read as (T, B, I)")
    if X.shape[1] == 0:
        raise ValueError(f"X has no sequences to train on: shape {X.shape} was read as (T, B, I)")

    run = _Run(network, optimizer, max_grad_norm, backend)
    network.history = history = History()
    report = _Progress(epochs, progress)
    best_loss, best_theta, start = np.inf, None, time.perf_counter()
    try:
        for epoch in range(epochs):
            order = rng.permutation(X.shape[1]) if shuffle else np.arange(X.shape[1])
            train_loss, norm = run.epoch(epoch, order, batch_size, X, D, weights, initial_state)
            history.train_loss.append(train_loss)
            history.gradient_norm.append(norm)
            history.seconds.append(time.perf_counter() - start)
            validation_loss = None
            if validation is not None:
                validation_loss = network.evaluate(*validation[:2], weights=validation[2], backend=backend)
                history.validation_loss.append(validation_loss)
                if validation_loss < best_loss:
                    best_loss, history.best_epoch = validation_loss, epoch
                    if patience is not None:
                        best_theta = network.theta
            record = Record(epoch, run.updates, train_loss, validation_loss, norm, network)
            report(record)
            if any([isinstance(answer, (bool, np.bool_)) and answer for answer in [call(record) for call in callbacks]]):
                history.stopped = "callback"
                break
            if patience is not None and epoch - (history.best_epoch or 0) >= patience:
                history.stopped = "patience"
                break
        else:
            history.stopped = "epochs"
    except KeyboardInterrupt:
        history.stopped = "interrupted"
        raise
    except FloatingPointError:
        history.stopped = "nonfinite"
        raise
    finally:
        report.close()
    if best_theta is not None:
        network.theta = best_theta
    return history


class _Run:
    """The updates of one run: optimiser state, buffers, counters."""

    def __init__(self, network, optimizer, max_grad_norm, backend):
        self.network, self.optimizer, self.max_grad_norm, self.backend = network, optimizer, max_grad_norm, backend
        self.theta = network._theta
        self.gradient, self.before = np.empty_like(self.theta), np.empty_like(self.theta)
        self.slots = optimizer.slots(self.theta)
        self.updates = 0
        self.clip_norm = _core.clip_norm if backend == "core" else reference.clip_norm

    def epoch(self, epoch, order, batch_size, X, D, weights, initial_state):
        """One update for each mini-batch; the epoch's mean loss and mean gradient norm."""
        total, total_weight, norms = 0.0, 0.0, []
        mean = self.network.reduction == "mean"
        for begin in range(0, len(order), batch_size):
            rows = order[begin:begin + batch_size]
            m = None if weights is None else weights.take(rows, axis=1)
            loss, norm = self.update(epoch, X.take(rows, axis=1), D.take(rows, axis=1), m,
                                     None if initial_state is None else initial_state[rows])
            weight = (X.shape[0] * len(rows) if m is None else float(m.sum(dtype=np.float64))) if mean else 1.0
            total, total_weight = total + loss * weight, total_weight + weight
            norms.append(norm)
        return total / total_weight if mean and total_weight else total, float(np.mean(norms))

    def update(self, epoch, X, D, weights, initial_state):
        loss = self.network._loss_into(self.gradient, X, D, weights, initial_state, self.backend)
        limit = np.inf if self.max_grad_norm is None else self.max_grad_norm
        gradient, norm = self.clip_norm(self.gradient, limit)
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise FloatingPointError(
                f"{'gradient' if np.isfinite(loss) else 'loss'} is not finite in epoch {epoch}, at update "
                f"{self.updates}: loss {loss}, gradient norm {norm}; the parameters are those before this update. A "
                "smaller learning_rate or max_grad_norm may help")
        self.before[...] = self.theta
        self.optimizer.update(self.theta, gradient, self.slots, self.updates + 1, self.backend)
        if not np.isfinite(self.theta).all():
            self.theta[...] = self.before
            raise FloatingPointError(
                f"an update is not finite in epoch {epoch}, at update {self.updates}: loss {loss}, gradient norm {norm}; "
                "the parameters are those before this update. A smaller learning_rate or max_grad_norm may help")
        self.updates += 1
        return loss, norm


def _refuse_nonfinite(whose, X, D, weights):
    _words.finite(f"{whose}X", X, "tbi")
    if D.dtype.kind == "f":
        unread = None
        if weights is not None:
            unread = np.broadcast_to((weights if weights.ndim == 3 else weights[..., None]) == 0, D.shape)
        _words.finite(f"{whose}D", D, "tbo", skip=unread)


class _Progress:
    """A line an epoch, rewritten in place on a terminal, at most ten times a second; nothing in a pipe unless asked for."""

    def __init__(self, epochs, wanted):
        self.terminal = sys.stderr is not None and sys.stderr.isatty()  # None in programs without a console
        self.wanted = sys.stderr is not None and (self.terminal if wanted is None else wanted)
        self.epochs, self.printed, self.line = epochs, 0.0, ""

    def __call__(self, record):
        if not self.wanted:
            return
        validation = "" if record.validation_loss is None else f"  validation {record.validation_loss:.6g}"
        self.line = f"epoch {record.epoch + 1}/{self.epochs}  loss {record.train_loss:.6g}{validation}"
        now = time.monotonic()
        if now - self.printed >= (0.1 if self.terminal else 1.0):
            self.printed = now
            self._show(end="" if self.terminal else "\n")

    def close(self):
        if self.line:
            self._show(end="\n")

    def _show(self, end):
        print(f"\r{self.line}\x1b[K" if self.terminal else self.line, end=end, file=sys.stderr, flush=True)
        if not self.terminal:
            self.line = ""
