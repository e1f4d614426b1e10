"""What a long run shows while it runs: a bar or a line."""

from __future__ import annotations

import sys
import time

DELAY = 0.5  # seconds before a run shows progress that nobody asked for


class Progress:
    """A bar by tqdm on a terminal if tqdm is installed, else a line now and then; in a pipe nothing, unless asked for.

    Parameters
    ----------
    epochs, count : int or None
        At most so many epochs, and so many of what the bar counts, whose name is `unit`.
    wanted : bool or None
        None: only where standard error is a terminal, and the run is long.
    """

    def __init__(self, epochs, count, wanted, unit="update"):
        self.terminal = sys.stderr is not None and sys.stderr.isatty()  # None in programs without a console
        self.wanted = sys.stderr is not None and (self.terminal if wanted is None else wanted)
        self.epochs = "" if epochs is None else f"/{epochs}"
        self.line, self.begin, self.last = "", time.monotonic() + (0 if wanted else DELAY), 0.0
        self.done = 0
        self.bar = self._bar(count, unit) if self.wanted and self.terminal else None

    def _bar(self, count, unit):
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=count, delay=max(0, self.begin - time.monotonic()), unit=unit, dynamic_ncols=True)

    def update(self, count=1):
        """Count so many more as done."""
        self.reach(self.done + count)

    def reach(self, count):
        """Set how many are done in all; a number with a fraction is shown to a tenth."""
        self.done = count
        if self.bar is not None:
            self.bar.update(round(count, 1) - self.bar.n)

    def epoch(self, epoch, train_loss, validation_loss):
        """Show an epoch that is over; epochs count from 0."""
        if not self.wanted:
            return
        validation = "" if validation_loss is None else f"  validation {validation_loss:.6g}"
        self._tell(f"epoch {epoch + 1}{self.epochs}  loss {train_loss:.6g}{validation}")

    def window(self, steps, losses):
        """Show a window of a stream that is over, after so many time steps; `losses` are those of all updates."""
        if self.wanted:
            self._tell(f"step {steps}" + "".join(f"  loss {loss:.6g}" for loss in losses[-1:]))

    def _tell(self, line):
        self.line = line
        if self.bar is not None:
            self.bar.set_postfix_str(self.line, refresh=False)
        elif self._due() and time.monotonic() - self.last >= (0.1 if self.terminal else 1.0):
            self.last = time.monotonic()
            self._show(end="" if self.terminal else "\n")

    def network(self, history):
        """Count a network that was trained by itself."""
        self.update()
        if history.train_loss:
            self.epoch(len(history.train_loss) - 1, history.train_loss[-1], (history.validation_loss or [None])[-1])

    def close(self):
        if self.bar is not None:
            self.bar.close()
        elif self.line and self._due():
            self._show(end="\n")

    def part(self):
        """Return a Progress for a part of this one: its counts are added to what was done before."""
        return _Part(self)

    def _due(self):
        return time.monotonic() >= self.begin

    def _show(self, end):
        print(f"\r{self.line}\x1b[K" if self.terminal else self.line, end=end, file=sys.stderr, flush=True)
        if not self.terminal:
            self.line = ""


class _Part(Progress):
    def __init__(self, whole):
        self.whole, self.before, self.done = whole, whole.done, 0

    def reach(self, count):
        self.done = count
        self.whole.reach(self.before + count)

    def epoch(self, epoch, train_loss, validation_loss):
        self.whole.epoch(epoch, train_loss, validation_loss)

    def close(self):
        """The whole goes on."""
