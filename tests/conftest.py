"""Where the tests find the package, and Ctrl-C as they expect it."""

import signal

import pytest
from processes import find_package

if not find_package():
    pytest.exit('fastbptt is not installed: run `pip install ".[test]"` in the source folder first', returncode=4)


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
