"""What fit_many returns and raises: `Fits` and `WorkersFailed`.

Both are public names of `fastbptt.many`. A new result of each network becomes a field of `Fits`, and `files` keeps it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..training import History

if TYPE_CHECKING:
    from .._types import Int

CURVES = ("train_loss", "validation_loss", "penalty", "gradient_norm")
KEPT = ("epochs", "updates", "patience", "nonfinite", "callback", "time")  # ends after which resume= does not train again


@dataclass(repr=False)
class Fits:
    """The result of `fit_many`, with an entry or a row per network, in the order of the networks.

    Attributes
    ----------
    networks : list of RNN, or of estimators
    train_loss, validation_loss, penalty, gradient_norm : arrays (n, epochs)
        As in `History`; NaN after a network's end. validation_loss has no columns if there was no validation set.
    seconds : array (n,)
        Seconds that the network took, or the population that trained it.
    stopped : list of str
        As in `History`. "nonfinite": loss or gradient became infinite or NaN, and the parameters are those before that update.
        "error": see `errors`. "": not reached.
    best_epoch : array (n,) of int
        From 0; −1 without a validation set.
    errors : list of Exception or None
    lanes : array (n,) of bool
        Whether the network was trained in a vector lane.
    """

    networks: list[Any]
    train_loss: np.ndarray
    validation_loss: np.ndarray
    penalty: np.ndarray
    gradient_norm: np.ndarray
    seconds: np.ndarray
    stopped: list[str]
    best_epoch: np.ndarray
    errors: list[Exception | None]
    lanes: np.ndarray

    _begun = None  # a list of Begun, by which `resume` recognizes the runs

    @classmethod
    def _empty(cls, networks):
        """Return a Fits for these networks without any result."""
        n = len(networks)
        return cls(networks, *(np.full((n, 0), np.nan) for _ in CURVES), np.zeros(n), [""] * n, np.full(n, -1),
                   [None] * n, np.zeros(n, bool))

    def __len__(self) -> int:
        return len(self.networks)

    def __repr__(self) -> str:
        return f"Fits({self.describe()}, stopped: {_checks.reasons(self.stopped)})"

    def rows(self) -> dict[str, Any]:
        """Return a dict of columns with one row per network, for ``pandas.DataFrame(fits.rows())``."""
        epochs, every = np.isfinite(self.train_loss).sum(axis=1), range(len(self))
        columns = {"network": np.arange(len(self)), "epochs": epochs, "stopped": list(self.stopped), "seconds": self.seconds,
                   "train_loss": np.array([self.train_loss[k, epochs[k] - 1] if epochs[k] else math.nan for k in every])}
        if self.validation_loss.shape[1]:
            columns |= {"best_epoch": self.best_epoch, "validation_loss": np.array(
                [self.validation_loss[k, e] if e >= 0 else math.nan for k, e in enumerate(self.best_epoch)])}
        return columns

    def history(self, k: Int) -> History:
        """Return the training.History of network k. Its learning_rate and seconds are empty."""
        found = History(stopped=self.stopped[k], best_epoch=None if self.best_epoch[k] < 0 else int(self.best_epoch[k]))
        epochs = np.flatnonzero(~np.isnan(self.gradient_norm[k]))
        for name in CURVES:
            row = getattr(self, name)[k]
            if not np.isnan(row).all():  # only some networks may have a validation set
                setattr(found, name, row[:epochs[-1] + 1].tolist())
        return found

    def describe(self) -> str:
        """Return a sentence that says how many networks were trained in lanes, and how many one at a time."""
        lanes = int(self.lanes.sum())
        return f"{len(self)} networks: {lanes} in vector lanes, {len(self) - lanes} one at a time"

    def _write(self, k, found):
        """Write the Found of network k to row k of each array. The arrays of curves grow as needed.

        `found` is that result.
        """
        self.stopped[k], self.best_epoch[k], self.seconds[k] = found.stopped, found.best_epoch, found.seconds
        self.lanes[k], self.errors[k] = found.in_lanes, found.error
        for name in CURVES:
            values, table = found.curves[name], getattr(self, name)
            if len(values) > table.shape[1]:
                wider = np.full((len(self), max(len(values), 2 * table.shape[1])), np.nan)
                wider[:, :table.shape[1]] = table
                setattr(self, name, wider)
                table = wider
            table[k] = np.nan
            table[k, :len(values)] = values

    def _drop_empty_epochs(self):
        """Cut the columns after the last epoch of any network from the curves. `_write` adds more columns than it needs."""
        for name in CURVES:
            table = getattr(self, name)
            seen = np.flatnonzero(~np.isnan(table).all(axis=0))
            setattr(self, name, table[:, :seen[-1] + 1 if len(seen) else 0].copy())


class WorkersFailed(RuntimeError):
    """Some networks could not be trained; the others are.

    `fits` holds the results, for ``resume=``.
    """

    def __init__(self, words: str, fits: Fits) -> None:
        """Keep the message `words` and the results."""
        super().__init__(words)
        self.fits = fits

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to rebuild the exception, for pickle."""
        return type(self), (self.args[0], self.fits)
