"""Choose the default number of threads of a process, and make long calls interruptible by Ctrl-C.

What the environment, the operating system or a parent process decides about threads belongs here.
"""

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
    """Return the default number of threads.

    It is the number that the environment sets. Otherwise it is 1 in a child process, because its siblings need cores too, and
    in other processes the number of usable cores.
    """
    return number_from_environment() or (1 if is_child() else cores())


def number_from_environment() -> int | None:
    """Return the number of threads that an environment variable of VARIABLES sets, None if none does."""
    for name in VARIABLES:
        text = os.environ.get(name, "")
        first = text.split(",")[0].strip()  # OpenMP's value may be a list, with one number for each level of nesting
        if first.isdecimal() and int(first) > 0:
            return min(int(first), 2**15)
        if text:
            warnings.warn(f"{name}={text!r} is not a number of threads and is ignored", RuntimeWarning, stacklevel=3)
    return None


def is_child() -> bool:
    """Return whether another Python process started this one by multiprocessing. joblib and process pools do so too."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def cores(quota: str = "/sys/fs/cgroup/cpu.max") -> int:
    """Return the number of cores that the affinity mask and the control group allow this process to use.

    `quota` is the file with the control group's limit, for tests.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = Path(quota).read_text().split()
        count = min(count, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # not Linux, no such control group, or "max"
        pass
    return max(1, count)


POLL = 0.05  # seconds between checks for Ctrl-C
LARGE = 2**14  # numbers of a matrix; with fewer, LAPACK takes less than about 50 ms


def interruptible(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments). Ctrl-C ends the wait for it if `size`, the number of numbers it works on, is large.

    A call of LAPACK or of a random generator cannot be ended, so it runs in a thread of its own. After Ctrl-C it continues
    there without the GIL, and its result is dropped. Only the main thread receives Ctrl-C, so other threads call the function
    directly.
    """
    if size < LARGE or threading.current_thread() is not threading.main_thread():
        return function(*arguments)
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def work():
        """Call the function in the thread, and keep its result or its error."""
        try:
            outcome.append(function(*arguments))
        except BaseException as error:  # the waiting thread raises it again
            errors.append(error)

    thread = threading.Thread(target=work, name="fastbptt.interruptible", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be created: Ctrl-C waits for the call then
        return function(*arguments)
    while thread.is_alive():
        thread.join(POLL)
    if errors:
        raise errors[0]
    return outcome[0]
