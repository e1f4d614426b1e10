"""Where the tests find the package and what they share, which tests a run takes, and Ctrl-C as they expect it."""

import signal
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))  # what tests share

import tiers  # noqa: E402
from processes import find_package  # noqa: E402

if not find_package():
    pytest.exit('fastbptt is not installed: run `pip install ".[test]"` in the source folder first', returncode=4)


def pytest_configure(config):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored


def pytest_collection_modifyitems(config, items):
    if tiers.takes_all(config):
        return
    left_out = tiers.left_out(items)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def quick_calls(request):
    """Fail at the end of `pytest -m quick`, whole and in one process, if it called no function of some module."""
    config = request.config
    whole = config.option.markexpr == "quick" and not config.option.keyword and not hasattr(config, "workerinput")
    if not whole or any(Path(each).name != "tests" for each in config.args) or config.option.maxfail:
        yield
        return
    import fastbptt

    calls = tiers.Calls(Path(fastbptt.__file__).parent)
    calls.watch()
    yield
    sys.setprofile(None)
    threading.setprofile(None)
    assert not calls.unseen, f"no quick test calls a function of {sorted(calls.unseen)}"
