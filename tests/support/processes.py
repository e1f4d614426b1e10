"""Python in a process of its own, with the package that is tested here, and where that package is.

-P keeps the current folder off the path: in the source folder that is `fastbptt/` without its compiled modules.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"


def find_package():
    """Return whether there is a compiled package to import, once the source folder is off the path if it has none.

    `python -m pytest` and `python -m tests.reliability` put this folder's sources before the installed package. They serve
    only where built in place.
    """
    if not [*(ROOT / "fastbptt").glob("_core*.so"), *(ROOT / "fastbptt").glob("_core*.pyd")]:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
    return importlib.util.find_spec("fastbptt") is not None


def run_python(script, *arguments, environment=None, timeout=300, options=()):
    """Return the result of `python -c script arguments`. environment: all that it gets, in place of this process's."""
    environment = {**(os.environ if environment is None else environment), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-P", *options, "-c", script, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, env=environment)
