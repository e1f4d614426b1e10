"""Progress of a long run: a bar or a line.

Add a method to `Progress` for a new kind of run that reports.
"""

from __future__ import annotations

import sys
import time

DELAY = 0.5  # seconds before a run shows progress by default


class Progress:
    """Progress of a run: on a terminal tqdm's bar if tqdm is installed, else a line now and then.

    By default nothing is shown in a pipe.

    Parameters
    ----------
    epochs : int or None
        The most epochs that the run can have.
    count : int or None
        The most items that the bar can count. `unit` is the name of an item.
    wanted : bool or None
        Whether to show progress. None shows it only if standard error is a terminal and the run is long.
    """

    def __init__(self, epochs, count, wanted, unit="update"):
        """Decide whether to show progress, by the terminal and `wanted`, and make the bar."""
        self.terminal = sys.stderr is not None and sys.stderr.isatty()  # None in programs without a console
        self.wanted = sys.stderr is not None and (self.terminal if wanted is None else wanted)
        self.epochs = "" if epochs is None else f"/{epochs}"
        self.line, self.begin, self.last = "", time.monotonic() + (0 if wanted else DELAY), 0.0
        self.done = 0
        self.bar = self._bar(count, unit) if self.wanted and self.terminal else None

    def _bar(self, count, unit):
        """Return tqdm's bar for `count` items called `unit`, or None if tqdm is not installed."""
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=count, delay=max(0, self.begin - time.monotonic()), unit=unit, dynamic_ncols=True)

    def update(self, count=1):
        """Count `count` more items as done."""
        self.reach(self.done + count)

    def reach(self, count):
        """Set the total number of done items to `count`. A fraction is shown to a tenth."""
        self.done = count
        if self.bar is not None:
            self.bar.update(round(count, 1) - self.bar.n)

    def epoch(self, epoch, train_loss, validation_loss):
        """Show a finished epoch with its losses. Epochs count from 0. validation_loss may be None."""
        if not self.wanted:
            return
        validation = "" if validation_loss is None else f"  validation {validation_loss:.6g}"
        self._tell(f"epoch {epoch + 1}{self.epochs}  loss {train_loss:.6g}{validation}")

    def window(self, steps, losses):
        """Show a finished window of a stream, after this many time steps. `losses` has the losses of all updates."""
        if self.wanted:
            self._tell(f"step {steps}" + "".join(f"  loss {loss:.6g}" for loss in losses[-1:]))

    def _tell(self, line):
        """Show `line` beside the bar.

        Without a bar, print it, at most ten times a second on a terminal and once elsewhere.
        """
        self.line = line
        if self.bar is not None:
            self.bar.set_postfix_str(self.line, refresh=False)
        elif self._due() and time.monotonic() - self.last >= (0.1 if self.terminal else 1.0):
            self.last = time.monotonic()
            self._show(end="" if self.terminal else "\n")

    def network(self, history):
        """Count one more network as done, and show the last epoch of its History. For populations and fit_many."""
        self.update()
        if history.train_loss:
            self.epoch(len(history.train_loss) - 1, history.train_loss[-1], (history.validation_loss or [None])[-1])

    def close(self):
        """End the display: close the bar, or print the last line."""
        if self.bar is not None:
            self.bar.close()
        elif self.line and self._due():
            self._show(end="\n")

    def part(self):
        """Return a Progress for a part of this run. Its counts are added to what was done before."""
        return _Part(self)

    def _due(self):
        """Return whether the run is long enough to show its progress (DELAY; at once if the user asked for it)."""
        return time.monotonic() >= self.begin

    def _show(self, end):
        """Print the current line to standard error, followed by `end`. On a terminal it replaces the line before."""
        print(f"\r{self.line}\x1b[K" if self.terminal else self.line, end=end, file=sys.stderr, flush=True)
        if not self.terminal:
            self.line = ""


class _Part(Progress):
    def __init__(self, whole):
        """Begin a part of the Progress `whole`."""
        self.whole, self.before, self.done = whole, whole.done, 0

    def reach(self, count):
        """Set the number of done items of this part to `count`. The bar shows it plus what was done before the part."""
        self.done = count
        self.whole.reach(self.before + count)

    def epoch(self, epoch, train_loss, validation_loss):
        """Show a finished epoch in the display of the whole."""
        self.whole.epoch(epoch, train_loss, validation_loss)

    def close(self):
        """Do nothing: the bar of all parts stays open."""
