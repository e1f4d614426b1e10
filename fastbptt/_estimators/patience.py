"""Early stopping by the training loss, as in scikit-learn's MLPRegressor."""

from __future__ import annotations

import math


class Patience:
    """Callback that ends training if the training loss has not improved by more than `tol` for `epochs` epochs.

    As in MLPRegressor, an epoch does not count as an improvement if its loss is above the lowest earlier one minus tol. The
    callback reads the history, so it has no state that a resumed run would lose.
    """

    def __init__(self, epochs, tol):
        """Take the number of epochs without an improvement by more than `tol` after which training ends.

        `epochs` is the estimator's n_iter_no_change.
        """
        self.epochs, self.tol = epochs, tol
        self.seen, self.best, self.bad = 0, math.inf, 0

    def __repr__(self):  # checkpoints store and compare it
        return f"_Patience({self.epochs}, {self.tol})"

    def __call__(self, record):
        """Return whether training ends after the epoch of `record`, a training.Record."""
        return self.stops(record.network.history.train_loss)

    def stops(self, losses):
        """Return whether training ends now, given the list of training losses of all epochs so far.

        Only the losses since the last call are read. A shorter list belongs to a new run.
        """
        if len(losses) < self.seen:
            self.seen, self.best, self.bad = 0, math.inf, 0
        for loss in losses[self.seen:]:
            self.bad = self.bad + 1 if loss > self.best - self.tol else 0
            self.best = min(self.best, loss)
        self.seen = len(losses)
        return self.bad > self.epochs
