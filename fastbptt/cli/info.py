"""`fastbptt info`: print versions, BLAS, processor, kernel set."""

from __future__ import annotations

import os
import platform

import numpy as np

from .. import _core, __version__


def _info(args):
    import scipy.linalg  # loads SciPy's BLAS, which may differ from NumPy's
    import threadpoolctl

    rows = [("fastbptt", __version__), ("Python", f"{platform.python_version()}, {platform.platform()}"),
            ("NumPy", np.__version__), ("SciPy", scipy.__version__), ("matplotlib", _version_of_matplotlib())]
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            words = (library["internal_api"], library["version"], library.get("architecture"),
                     library.get("threading_layer"), f"{library['num_threads']} threads", library["filepath"])
            rows.append(("BLAS", ", ".join(str(word) for word in words if word)))
    rows += [("processor", _processor()), ("cores", f"{_cores()} usable of {os.cpu_count()}"),
             ("kernel set", _core.kernel_set())]
    if hasattr(_core, "compiler"):
        rows.append(("compiler", _core.compiler()))
    for name, value in rows:
        print(f"{name:11} {value}")
    print("Next: fastbptt train forecasts the monthly sunspots; fastbptt gradcheck checks gradients.")
    return 0


def _version_of_matplotlib():
    try:
        import matplotlib
    except ImportError:
        return 'not installed (pip install "fastbptt[plot]" installs it)'
    return matplotlib.__version__


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
