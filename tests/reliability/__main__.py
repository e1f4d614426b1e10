"""python -m tests.reliability [--quick | --full] [--only NAME ...] [--list]"""

import argparse
import functools
import signal
import sys

from processes import find_package

from .table import CHECKS, run


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", default="usual", help="two minutes in all")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="the numbers of a night")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these checks alone")
    parser.add_argument("--list", action="store_true", help="name the checks and their bars")
    options = parser.parse_args(arguments)
    if not find_package():
        parser.exit(4, 'fastbptt is not installed: run `pip install ".[test]"` in the source folder first\n')
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored

    from . import calls, faults, files, leaks, promises, sizes, threads  # noqa: F401  which add their checks
    names = options.only or list(CHECKS)
    for name in names:
        if name not in CHECKS:
            parser.error(f"no check {name!r}; there are {', '.join(CHECKS)}")
    if options.list:
        for name in names:
            print(f"{name}: {CHECKS[name].bar}")
        return 0
    return 0 if run(names, options.size, functools.partial(print, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
