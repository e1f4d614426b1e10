"""What a run leaves: `History` of fit, `StreamHistory` of stream, and the `Record` that callbacks get.

These classes are public as names of `fastbptt.training`. A curve or a count that users can look at after a run goes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _checks, _plots

RECENT = 100  # updates of a stream whose mean loss its history shows


@dataclass(repr=False)
class History:
    """What a run did, with one entry for each epoch.

    Attributes
    ----------
    train_loss : list of float
        The data losses of the epoch's mini-batches, each before its update: their mean, weighted by each batch's Σ m, with
        reduction="mean", and their sum with reduction="sum".
    validation_loss : list of float
        After the epoch; NaN in epochs that `validation_every` skips; empty without a validation set.
    penalty : list of float
        The mean over the mini-batches, with either reduction, of all penalties, l1 Σ |w| + l2 Σ w² and those on rates and
        by Ω, each before its update.
    gradient_norm : list of float
        The mean Euclidean norm of the gradients, penalties included, before clipping.
    learning_rate : list of float
        Of the epoch.
    seconds : list of float
        Since the start of the run; of a resumed run, with the seconds before.
    stopped : str
        Why the run ended: "epochs", "updates", "patience", "callback", "time", "interrupted" or "nonfinite"; "error" after any
        other error.
    best_epoch : int or None
        Index of the epoch with the lowest validation loss.
    updates, skipped : int
        Number of updates, and of batches skipped with on_nonfinite="skip".

    If a run ends within an epoch, the updates of this epoch are the last entry; after an interrupt or an error they have no
    entry.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: str = ""
    best_epoch: int | None = None
    updates: int = 0
    skipped: int = 0

    CURVES = ("train_loss", "validation_loss", "penalty", "gradient_norm", "learning_rate", "seconds")

    def __repr__(self) -> str:
        epochs, losses = len(self.train_loss), self.validation_loss
        parts = [_checks.counted(epochs, "epoch")]
        parts += [_checks.counted(self.updates, "update")] * (self.updates > 0 or not epochs)  # fit_many does not keep them
        parts += [f"skipped={self.skipped}"] * (self.skipped > 0) + [f"train_loss={loss:.6g}" for loss in self.train_loss[-1:]]
        parts += [f"validation_loss={loss:.6g}" for loss in losses[-1:]]
        if self.best_epoch is not None and self.best_epoch < len(losses):
            parts.append(f"best_epoch={self.best_epoch} with {losses[self.best_epoch]:.6g}")
        return f"History({', '.join([*parts, f'stopped={self.stopped!r}', *_in_seconds(self.seconds)])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns, a row for each epoch: ``pandas.DataFrame(history.rows())``.

        The columns are "epoch", which counts from 0, and those of the lists above that are not empty.
        """
        return {"epoch": np.arange(len(self.train_loss))} | {
            name: np.array(getattr(self, name), np.float64) for name in self.CURVES if getattr(self, name)}

    def plot(self, ax: Any = None, *, gradient_norm: bool = False) -> Any:
        """Plot the losses by epoch on a logarithmic scale, with the best epoch marked, and return the Axes. Needs matplotlib.

        With gradient_norm=True, also plot the mean norm of the gradient before clipping, dotted, on an axis of its own.
        """
        ax = _plots.axes(ax)
        epochs = np.arange(1, len(self.train_loss) + 1)
        ax.plot(epochs, self.train_loss, label="training")
        if self.validation_loss:
            seen = np.isfinite(self.validation_loss)
            ax.plot(epochs[:len(seen)][seen], np.array(self.validation_loss)[seen], label="validation")
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch + 1, color="0.6", linestyle=":", label=f"best, epoch {self.best_epoch + 1}")
        ax.set(xlabel="epoch", ylabel="loss")
        _plots.logarithmic(ax)
        _plots.whole(ax.xaxis)
        lines = ax.get_legend_handles_labels()
        if gradient_norm:
            right = ax.twinx()
            right.plot(epochs, self.gradient_norm, color="0.35", linestyle=":", label="gradient norm")
            right.set(ylabel="gradient norm before clipping")
            _plots.logarithmic(right)
            lines = [a + b for a, b in zip(lines, right.get_legend_handles_labels())]
            ax.legend(*lines, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # two curves leave no room
        else:
            ax.legend(*lines, frameon=False)
        return ax

    def _truncate(self, epochs):
        """Drop the entries that an interrupt left of an unfinished epoch."""
        for name in self.CURVES:
            del getattr(self, name)[epochs:]


def _in_seconds(seconds):
    """Return the last of these seconds as a list for the end of a repr, empty if there are none."""
    return [f"{last:.3g} s" for last in seconds[-1:]]


@dataclass(frozen=True)
class Record:
    """What a callback gets: after an epoch its means; after an update that batch's loss and norm. Epochs count from 0."""

    epoch: int
    update: int
    train_loss: float
    validation_loss: float | None
    gradient_norm: float
    network: Any


@dataclass(repr=False)
class StreamHistory:
    """What RNN.stream did.

    Attributes
    ----------
    loss : list of float
        Data loss of each update's window, before the update.
    gradient_norm : list of float
        Before clipping, penalties included.
    steps : int
        Number of time steps that were read.
    final_state : array (B, H)
        The state after them, from which another stream can go on; None if no step was read.
    stopped : str
        "end", or "callback", "interrupted", "nonfinite" or "error".
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    steps: int = 0
    final_state: np.ndarray | None = None
    stopped: str = ""

    def __repr__(self) -> str:
        parts = [_checks.counted(len(self.loss), "update"), _checks.counted(self.steps, "step")]
        parts += [f"loss={loss:.6g}" for loss in self.loss[-1:]]
        if len(self.loss) > RECENT:
            parts.append(f"mean of the last {RECENT} losses {float(np.mean(self.loss[-RECENT:])):.6g}")
        return f"StreamHistory({', '.join([*parts, f'stopped={self.stopped!r}'])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns, a row for each update: ``pandas.DataFrame(history.rows())``."""
        return {"update": np.arange(1, len(self.loss) + 1), "loss": np.array(self.loss, np.float64),
                "gradient_norm": np.array(self.gradient_norm, np.float64)}
