"""Early stopping by the training loss, as of scikit-learn's MLPRegressor."""

from __future__ import annotations

import math


class Patience:
    """Callback that ends training after `epochs` epochs without a training loss that is lower by more than `tol`.

    As in MLPRegressor: an epoch counts if its loss is above the lowest one before minus tol. It reads the history, so it
    carries nothing that a resumed run would lose.
    """

    def __init__(self, epochs, tol):
        self.epochs, self.tol = epochs, tol
        self.seen, self.best, self.bad = 0, math.inf, 0

    def __repr__(self):  # checkpoints keep it, and compare it
        return f"_Patience({self.epochs}, {self.tol})"

    def __call__(self, record):
        return self.stops(record.network.history.train_loss)

    def stops(self, losses):
        """Return whether training with these losses ends now."""
        if len(losses) < self.seen:
            self.seen, self.best, self.bad = 0, math.inf, 0
        for loss in losses[self.seen:]:
            self.bad = self.bad + 1 if loss > self.best - self.tol else 0
            self.best = min(self.best, loss)
        self.seen = len(losses)
        return self.bad > self.epochs
