"""Where the tests find the package, and Ctrl-C as they expect it."""

import importlib.util
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# `python -m pytest` puts this folder's sources before the installed package. They serve only where built in place.
if not [*(ROOT / "fastbptt").glob("_core*.so"), *(ROOT / "fastbptt").glob("_core*.pyd")]:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
    if importlib.util.find_spec("fastbptt") is None:
        pytest.exit('fastbptt is not installed: run `pip install ".[test]"` in the source folder first', returncode=4)


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
