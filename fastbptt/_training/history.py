"""The records of training: `History` of fit, `StreamHistory` of stream, and the `Record` that callbacks receive.

These classes are public names of `fastbptt.training`. Add here a curve or a count that users can read after a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _checks, _plots

RECENT = 100  # StreamHistory shows the mean loss of this many latest updates


@dataclass(repr=False)
class History:
    """The record of a run, with one entry per epoch in each list.

    If a run ends within an epoch, the last entry is about the updates of this epoch. After an interrupt or an error, these
    updates have no entry.

    Attributes
    ----------
    train_loss : list of float
        The data losses of the epoch's mini-batches, each before its update. With reduction="mean" their mean, weighted by each
        batch's Σ m; with reduction="sum" their sum.
    validation_loss : list of float
        The validation loss after the epoch. NaN in epochs that `validation_every` skips; empty without a validation set.
    penalty : list of float
        All penalties, l1 Σ |w| + l2 Σ w², the one on rates and omega · Ω, each before its update. With either reduction the
        entry is their mean over the mini-batches.
    gradient_norm : list of float
        The mean Euclidean norm of the gradients with penalties, before clipping.
    learning_rate : list of float
        The learning rate of the epoch.
    seconds : list of float
        Seconds since the start of the run. A resumed run includes the seconds before it was interrupted.
    stopped : str
        Why the run ended: "epochs", "updates", "patience", "callback", "time", "interrupted" or "nonfinite", or "error"
        after any other error.
    best_epoch : int or None
        Index of the epoch with the lowest validation loss.
    updates, skipped : int
        Number of updates, and of batches skipped with on_nonfinite="skip".

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2)
    >>> len(history.train_loss), history.stopped
    (2, 'epochs')
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
        """Return numbers of epochs and updates, the last losses, and why the run ended, as text."""
        epochs, losses = len(self.train_loss), self.validation_loss
        parts = [_checks.counted(epochs, "epoch")]
        parts += [_checks.counted(self.updates, "update")] * (self.updates > 0 or not epochs)  # fit_many does not keep them
        parts += [f"skipped={self.skipped}"] * (self.skipped > 0) + [f"train_loss={loss:.6g}" for loss in self.train_loss[-1:]]
        parts += [f"validation_loss={loss:.6g}" for loss in losses[-1:]]
        if self.best_epoch is not None and self.best_epoch < len(losses):
            parts.append(f"best_epoch={self.best_epoch} with {losses[self.best_epoch]:.6g}")
        return f"History({', '.join([*parts, f'stopped={self.stopped!r}', *_in_seconds(self.seconds)])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns with one row per epoch, for ``pandas.DataFrame(history.rows())``.

        The columns are "epoch", which counts from 0, and those lists above that are not empty.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> history = net.fit(X, D, epochs=2)
        >>> list(history.rows())[:2]
        ['epoch', 'train_loss']
        """
        return {"epoch": np.arange(len(self.train_loss))} | {
            name: np.array(getattr(self, name), np.float64) for name in self.CURVES if getattr(self, name)}

    def plot(self, ax: Any = None, *, gradient_norm: bool = False) -> Any:
        """Plot the losses by epoch on a logarithmic scale, mark the best epoch, and return the Axes. Requires matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to plot. The default is a new figure.
        gradient_norm : bool
            Whether to plot the mean gradient norm before clipping too, dotted, on its own axis.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
        >>> history = net.fit(X, D, epochs=2)
        >>> ax = history.plot()
        >>> len(ax.lines)
        1
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
        _plots.integer_ticks(ax.xaxis)
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
        """Keep the first `epochs` entries of each curve. An interrupt can leave some entries of an unfinished epoch."""
        for name in self.CURVES:
            del getattr(self, name)[epochs:]


def _in_seconds(seconds):
    """Return ["12.3 s"] for the last of these seconds, for the end of a repr; an empty list if there are none."""
    return [f"{last:.3g} s" for last in seconds[-1:]]


@dataclass(frozen=True)
class Record:
    """What a callback receives: an epoch's means after an epoch, or a batch's loss and norm after an update.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 0.
    update : int
        Number of updates so far.
    train_loss : float
    validation_loss : float or None
    gradient_norm : float
        Before clipping.
    network : RNN
    """

    epoch: int
    update: int
    train_loss: float
    validation_loss: float | None
    gradient_norm: float
    network: Any


@dataclass(repr=False)
class StreamHistory:
    """The record of RNN.stream.

    Attributes
    ----------
    loss : list of float
        Data loss of each update's window, before the update.
    gradient_norm : list of float
        Norm of each gradient with penalties, before clipping.
    steps : int
        Number of time steps that were read.
    final_state : array (B, H) or None
        The state after them, from which another stream can continue. None if no step was read.
    stopped : str
        "end", "callback", "interrupted", "nonfinite" or "error".
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    steps: int = 0
    final_state: np.ndarray | None = None
    stopped: str = ""

    def __repr__(self) -> str:
        """Return numbers of updates and steps, the last loss, the mean of recent ones, and why the stream ended, as text."""
        parts = [_checks.counted(len(self.loss), "update"), _checks.counted(self.steps, "step")]
        parts += [f"loss={loss:.6g}" for loss in self.loss[-1:]]
        if len(self.loss) > RECENT:
            parts.append(f"mean of the last {RECENT} losses {float(np.mean(self.loss[-RECENT:])):.6g}")
        return f"StreamHistory({', '.join([*parts, f'stopped={self.stopped!r}'])})"

    def rows(self) -> dict[str, np.ndarray]:
        """Return a dict of columns with one row per update, for ``pandas.DataFrame(history.rows())``."""
        return {"update": np.arange(1, len(self.loss) + 1), "loss": np.array(self.loss, np.float64),
                "gradient_norm": np.array(self.gradient_norm, np.float64)}
