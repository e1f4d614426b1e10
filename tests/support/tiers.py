"""Which tests a run takes.

quick     `python -m pytest -m quick`: tests with the mark `quick`. They call a function of every module of fastbptt.
plain     `python -m pytest`: every test without the mark `thorough`, but of each test at most MOST instances, and one in n of a
          test with the mark `share(n)`. They are those with the most different values of each parameter.
instances FASTBPTT_TESTS=instances: every test and every instance.
K/N       FASTBPTT_TESTS=2/3: every test, and the second of three parts of its instances. CI takes another part with each kernel
          set, so that each set meets every test and all sets together meet every instance.
all       FASTBPTT_TESTS=all: every instance, and the tests that are skipped otherwise (`cases.ALL`).

A mark `share` is for a test whose instances take long, a mark `thorough` for one that takes long by itself: about half a second
or more. CI runs them all. A run that names a test by its id (`file::test`) takes what it names.
"""

import ast
import os
import sys
import threading
import zlib
from collections import defaultdict
from pathlib import Path

import pytest

MOST = 3  # instances of one test


def left_out(items):
    """Return the items that a run leaves out. Which instances it takes follows from their names and parameters alone."""
    part = asked_part()
    if part is not None:
        return others(items, *part)
    instances = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("share")
        instances[item.nodeid.partition("[")[0], 1 if mark is None else mark.args[0]].append(item)
    found = {item for item in items if item.get_closest_marker("thorough") is not None}
    for (_, n), group in instances.items():
        found |= set(group) - set(various(group, min(-(-len(group) // n), MOST)))
    return found


def asked_part():
    """Return K and N of FASTBPTT_TESTS=K/N, or None."""
    asked = os.environ.get("FASTBPTT_TESTS", "")
    if "/" not in asked:
        return None
    k, _, n = asked.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        pytest.exit(f"FASTBPTT_TESTS={asked}: K/N needs 1 <= K <= N", returncode=4)
    return int(k), int(n)


def others(items, k, n):
    """Return the items that are not in part k of n. A part has ceil(count / n) instances of each test."""
    instances = defaultdict(list)
    for item in items:
        instances[item.nodeid.partition("[")[0]].append(item)
    found = set()
    for group in instances.values():
        by_name = sorted(group, key=checksum)
        count = -(-len(group) // n)
        found |= set(group) - {by_name[((k - 1) * count + j) % len(group)] for j in range(count)}
    return found


def checksum(item):
    """Return a number that follows from the name of an instance."""
    return zlib.crc32(item.nodeid.rpartition("/")[2].encode())


def various(group, count):
    """Return `count` instances of a test, one after the other the one that brings most new values of parameters.

    Of those that bring as many, the first by a checksum of the name. If no value is new any more, all count as new again.
    """
    if len(group) <= count:
        return group
    by_name = sorted(group, key=checksum)
    left = {item: values_of(item) for item in by_name}
    taken, seen = [], set()
    while len(taken) < count:
        best = max(left, key=lambda item: len(left[item] - seen))
        seen = seen | left[best] if left[best] - seen else left[best]
        taken.append(best)
        del left[best]
    return taken


def values_of(item):
    """Return the parameters of an instance with their values, as a set of hashable pairs."""
    call = getattr(item, "callspec", None)
    return set() if call is None else {(name, id(value)) for name, value in call.params.items()}


def takes_all(config):
    """Return whether a run takes every test: by FASTBPTT_TESTS, or because it names a test."""
    return os.environ.get("FASTBPTT_TESTS") in ("instances", "all") or any("::" in each for each in config.args)


def has_function(source):
    """Return whether a module has a function that does something.

    A method of a Protocol is `...` or a docstring, and what stands under TYPE_CHECKING never runs.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return any(isinstance(node, ast.FunctionDef) and not all(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)
        for node in ast.walk(tree))


class Calls:
    """The modules of fastbptt that have a function, and those of them that no test has called one of.

    Python calls `see` for every call until all are seen. Compiled modules do not call it; they are seen when imported.
    """

    def __init__(self, package):
        """Find the modules of the package's folder that have a function."""
        self.unseen = {str(path) for path in Path(package).rglob("*.py") if has_function(path.read_text(encoding="utf-8"))}

    def watch(self):
        """Let Python call `see` for every call while modules are unseen."""
        sys.setprofile(self.see if self.unseen else None)
        threading.setprofile(self.see if self.unseen else None)  # of threads that start from now on

    def see(self, frame, event, argument):
        """Note the module of a called function as seen. Python's profile hook calls it."""
        if event == "call" and frame.f_code.co_filename in self.unseen and frame.f_code.co_name != "<module>":
            self.unseen.discard(frame.f_code.co_filename)
            self.watch()
