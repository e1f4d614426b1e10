"""Where the tests find the package, and options of the test run: `--run-slow` adds the tests marked slow."""

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


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run with --run-slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))
