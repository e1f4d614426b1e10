"""CONTRIBUTING.md names files and folders that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
while not (ROOT / "pyproject.toml").exists() and ROOT != ROOT.parent:
    ROOT = ROOT.parent
PAGE = ROOT / "CONTRIBUTING.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="no CONTRIBUTING.md beside the tests")


def test_each_path_in_backticks_exists():
    names = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|toml|in))`", PAGE.read_text(encoding="utf-8")))
    assert {"setup.py", "fastbptt/_core.pyx", "fastbptt/kernels/sets/", "tests/saved/"} <= names
    lacking = sorted(name for name in names
                     if not ((ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file()))
    assert not lacking


def test_each_file_of_the_engine_is_in_the_reading_order():
    text = PAGE.read_text(encoding="utf-8")
    lacking = [path.name for path in (ROOT / "fastbptt/engine").glob("*.pxi") if f"`fastbptt/engine/{path.name}`" not in text]
    assert not lacking
