"""The list of checks, how long each may be, and the table of what they found."""

import time
import traceback
from dataclasses import dataclass

CHECKS = {}
SIZES = ("quick", "usual", "full")


@dataclass(frozen=True)
class Check:
    """`run(size)` returns what was found, in words, and whether it meets `bar`; what it raises is a failure."""

    name: str
    bar: str
    run: object


def check(bar):
    """Add a function to the list. Its first argument picks one of three numbers: for --quick, as usual, for --full."""
    def add(function):
        name = function.__name__.replace("_", "-")
        CHECKS[name] = Check(name, bar, function)
        return function
    return add


def picker(size):
    """pick(quick, usual, full) of this size."""
    return lambda *numbers: numbers[SIZES.index(size)]


def run(names, size, write=print):
    """Run checks by name and write a line for each; whether all passed."""
    width = max(map(len, names))
    failed = []
    for name in names:
        begin = time.monotonic()
        try:
            figure, passed = CHECKS[name].run(picker(size))
        except Exception as error:
            traceback.print_exc()
            figure, passed = f"{type(error).__name__}: {str(error)[:300]}", False
        seconds = time.monotonic() - begin
        write(f"| {name:{width}} | {'passed' if passed else 'FAILED'} | {seconds:4.0f} s | {figure} | {CHECKS[name].bar} |")
        if not passed:
            failed.append(name)
    write(f"{len(names) - len(failed)} of {len(names)} passed" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return not failed
