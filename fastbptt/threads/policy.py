"""How many threads a process may use, where nobody says; and a thread for what Ctrl-C cannot end."""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLES = ("FASTBPTT_NUM_THREADS", "OMP_NUM_THREADS")


def default() -> int:
    """What the environment says; else 1 in a child process, whose siblings want their share; else the usable cores."""
    return said() or (1 if is_child() else cores())


def said() -> int | None:
    """What the environment says, None where it says nothing."""
    for name in VARIABLES:
        text = os.environ.get(name, "")
        first = text.split(",")[0].strip()  # OpenMP's is a list, one a level of nesting
        if first.isdecimal() and int(first) > 0:
            return min(int(first), 2**15)
        if text:
            warnings.warn(f"{name}={text!r} is not a number of threads and is ignored", RuntimeWarning, stacklevel=3)
    return None


def is_child() -> bool:
    """Whether another Python process started this one by multiprocessing, joblib and pools included."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def cores(quota: str = "/sys/fs/cgroup/cpu.max") -> int:
    """Cores that affinity and control group leave to this process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = Path(quota).read_text().split()
        count = min(count, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no Linux, no such group, or "max"
        pass
    return max(1, count)


POLL = 0.05  # seconds
LARGE = 2**14  # numbers of a matrix: below it LAPACK takes less than about 50 ms


def interruptible(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments), where Ctrl-C ends the wait for it if it works on `size` numbers, many.

    A call of LAPACK or of a random generator cannot be ended, so it runs in a thread of its own. After Ctrl-C it goes on there,
    without Python's lock, and what it returns is dropped. In other threads than the main one, which alone hears of Ctrl-C, it
    is called as it is.
    """
    if size < LARGE or threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def work():
        try:
            outcome.append(function(*arguments))
        except BaseException as error:  # raised again where somebody waits
            errors.append(error)

    thread = threading.Thread(target=work, name="fastbptt.interruptible", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be created; Ctrl-C then waits for the call
        return function(*arguments)
    while thread.is_alive():
        thread.join(POLL)
    if errors:
        raise errors[0]
    return outcome[0]
