"""How many threads a process may use, where nobody says."""

from __future__ import annotations

import math
import os
import sys
import warnings
from pathlib import Path

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
