"""The loop behind RNN.stream: one pass over a series of any length, by truncated BPTT.

`windows.StreamWindow` cuts the series into windows; `step.Stepper` makes the updates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import Positions
from .history import Record, StreamHistory
from .progress import Progress
from .settings import UpdateSettings
from .step import Stepper
from .windows import StreamWindow

if TYPE_CHECKING:
    from .types import Callback


def stream(network: Any, chunks: Iterable[tuple[Any, ...]], how: UpdateSettings, tbptt: tuple[int, int],
           initial_state: np.ndarray | None = None, *, callback: Callback | None = None, progress: bool | None = None,
           windows: int | None = None) -> StreamHistory:
    """Train on a stream. RNN.stream has checked the arguments and documents them.

    Parameters
    ----------
    chunks : iterable of (X, D, weights, resets)
        Checked chunks of any lengths.
    tbptt : (k1, k2)
    windows : int, optional
        Number of windows in all chunks, if it is known.
    """
    history, shown = StreamHistory(), Progress(None, windows, progress, "window")
    stepper = Stepper(network, how.optimizer)
    window = StreamWindow(network, stepper.gradient, how, *tbptt, initial_state)
    network.history = history
    try:
        for chunk in chunks:
            for steps in window.add(chunk):
                if _learn(network, window, steps, stepper, history, shown, callback):
                    history.stopped = "callback"
                    return history
        steps = window.rest()
        if steps is not None:
            _learn(network, window, steps, stepper, history, shown, callback)
        history.stopped = "end"
    except BaseException as error:
        names = {KeyboardInterrupt: "interrupted", FloatingPointError: "nonfinite"}
        history.stopped = next((name for kind, name in names.items() if isinstance(error, kind)), "error")
        raise
    finally:
        shown.close()
    return history


def _learn(network, window, steps, stepper, history, shown, callback):
    """Compute one window and make its update. Return whether the callback ends the stream.

    `window` is the StreamWindow and `steps` its new steps (X, D, weights, resets). The Stepper makes the update. `history`
    and the Progress `shown` receive the loss. A window without weights makes no update.
    """
    loss, penalty, weight = window.compute(steps)
    if weight > 0:
        stepper.step(network, window.how, window.data(), lambda: (loss, penalty))
        if window.draws is not None:  # the noise of the whole stream belongs to one call
            network._positions = network._positions.later(Positions(noise=window.call + 1))
        history.loss.append(loss)
        history.gradient_norm.append(stepper.norm)
    window.keep_for_next_window()
    history.steps, history.final_state = window.read, network._as_given(window.states[-1].copy())
    if shown.wanted:
        shown.update()
        shown.window(window.read, history.loss)
    if weight == 0 or callback is None:
        return False
    answer = callback(Record(0, len(history.loss), loss, None, stepper.norm, network))
    return isinstance(answer, (bool, np.bool_)) and bool(answer)
