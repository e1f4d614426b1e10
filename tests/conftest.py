"""Where the tests find the package, and Ctrl-C as they expect it."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))  # what tests share

from processes import find_package  # noqa: E402

if not find_package():
    pytest.exit('fastbptt is not installed: run `pip install ".[test]"` in the source folder first', returncode=4)


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
