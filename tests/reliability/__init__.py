"""Faults, hostile data, leaks, threads and promises, measured: `python -m tests.reliability` in the source folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as conftest.py does, for `processes`
