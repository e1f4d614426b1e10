"""The command line: `fastbptt train`, `predict`, `explain`, `gradcheck` and `info`; also `python -m fastbptt`.

`main` and the parser are here; `cli/` has each command. A new command gets a parser here and a module there.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import optimizers, reference, __version__
from .cli import forecast as _forecast, tasks as _solve
from .cli.examples import explain_by_hand, _gradcheck
from .cli.info import _info
from .cli.output import FAILED, INTERRUPTED, REFUSED, Refusal
from .cli.predict import _predict
from .cli.train import HIDDEN_SIZE, HORIZON, _train


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)  # else a new option changes what old command lines mean

    def error(self, message):  # one line; argparse would print the usage above it
        raise Refusal(f"{message} ({self.prog} --help shows what can be given)")


def main(argv: list[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a ∂ must not end the program where the encoding lacks it
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        if sys.stdout is not None:  # None where it is closed
            sys.stdout.flush()  # here, where a closed pipe is met below, and not as the process ends
        return code
    except SystemExit as exit:  # --help and --version
        return int(exit.code or 0)
    except Refusal as refusal:
        print(f"fastbptt: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("fastbptt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError as error:
        print(f"fastbptt: not enough memory: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader, `head` say, has what it wanted: what is still buffered goes nowhere, silently
        _drop_output()
        return FAILED
    except OSError as error:
        if error.filename is not None:
            raise
        _drop_output()
        print(f"fastbptt: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _drop_output():
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
    parser = _Parser(prog="fastbptt", description="Plain recurrent networks, trained by exact back-propagation through "
                                                  "time.")
    parser.add_argument("--version", action="version", version=f"fastbptt {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help() or REFUSED)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    _add_train(commands)
    _add_predict(commands)

    explain = commands.add_parser(
        "explain", help="back-propagation through time by hand: three steps, one unit",
        description="Work back-propagation through time out for a network of one unit and three steps, number by number, "
                    "down to one update that lowers the error.")
    explain.add_argument("--svg", metavar="FILE", help="file that the unrolled network is drawn to, with what flows back")
    explain.set_defaults(run=explain_by_hand)

    check = commands.add_parser(
        "gradcheck", help="compare gradients with complex-step derivatives",
        description="Compare the gradients of the reference and of the core with complex-step derivatives, for every "
                    "activation and every loss, or for those given. Exit code 1 where any disagrees.")
    check.add_argument("--activation", choices=reference.ACTIVATIONS, metavar="NAME",
                       help=f"one of {', '.join(reference.ACTIVATIONS)} (default: all)")
    check.add_argument("--loss", choices=reference.LOSSES, metavar="NAME",
                       help=f"one of {', '.join(reference.LOSSES)} (default: all)")
    _option(check, "--hidden-size", _whole(1), 5, "hidden units")
    _option(check, "--random-state", _whole(0), 0, "seed of parameters and data")
    check.set_defaults(run=_gradcheck)

    info = commands.add_parser("info", help="versions, BLAS, processor, kernel set",
                               description="Print versions, BLAS libraries, processor and kernel set.")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands):
    train = commands.add_parser(
        "train", help="train a network to forecast series, and judge it on steps it never saw",
        description="Train a network to forecast the series of a CSV file, or without one the monthly sunspot numbers "
                    "of 1749 to 2008. Of each series the first 70 % train, the next 10 % decide when to stop and all "
                    "other choices, the last 20 % give the figures. A column of ISO dates is the axis. With --id the "
                    "rows belong to several series, and one network learns from all of them; without, each column is "
                    "forecast from all columns.")
    train.add_argument("csv", nargs="?", metavar="CSV", help="file of columns of numbers, with dates or without")
    train.add_argument("--target", nargs="+", metavar="COLUMN",
                       help="columns to forecast; by number, from 1, where there is no header (default: all numbers)")
    train.add_argument("--inputs", nargs="+", metavar="COLUMN", help="columns to read beside them (default: none)")
    train.add_argument("--id", metavar="COLUMN", help="column that says which series a row belongs to (default: one)")
    _option(train, "--horizon", _whole(1), HORIZON, "steps ahead that are forecast")
    _option(train, "--hidden-size", _whole(1), None,
            f"hidden units (default: {HIDDEN_SIZE}; with --task {_solve.HIDDEN_SIZE})")
    _option(train, "--max-iter", _whole(1), 150, "epochs; with --task of 100 updates each", metavar="EPOCHS")
    train.add_argument("--solver", choices=list(optimizers.OPTIMIZERS), metavar="NAME", default="adam",
                       help=f"one of {', '.join(optimizers.OPTIMIZERS)} (default: adam)")
    _option(train, "--random-state", _whole(0), 0, "seed; the same seed gives the same run")
    train.add_argument("--model", metavar="FILE", help="file that what was learnt is saved to, with the last "
                       f"{_forecast.KEPT} rows of each series (default: the CSV's name, ending in .npz)")
    train.add_argument("--plot", metavar="FILE",
                       help="file that the picture is drawn to, .png, .svg ... (default: the CSV's name with .png)")
    train.add_argument("--task", choices=list(_solve.TASKS), metavar="NAME",
                       help=f"train on a synthetic task instead: {', '.join(_solve.TASKS)}")
    _option(train, "--length", _whole(1), None, "steps of a task's sequences, or of its delay")
    train.set_defaults(run=_train)


def _add_predict(commands):
    predict = commands.add_parser(
        "predict", help="forecast what comes after the end of the data, as CSV",
        description="Forecast, with a model that `fastbptt train` has saved, what comes after the end of a CSV file "
                    "with the same columns, or without one after the data that it was trained on.")
    predict.add_argument("model", metavar="MODEL", help="file that `fastbptt train` has written")
    predict.add_argument("csv", nargs="?", metavar="CSV", help="file with the columns that it was trained on")
    predict.add_argument("--steps", type=_whole(1), metavar="N", help="steps ahead (default: the model's horizon)")
    predict.add_argument("--output", metavar="FILE", help="file that the CSV is written to (default: standard output)")
    predict.set_defaults(run=_predict)


def _option(parser, name, kind, default, words, metavar="N"):
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(name, type=kind, default=default, metavar=metavar, help=words + shown)


def _whole(smallest):
    def whole(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not smallest <= value <= 2**31 - 1:
            raise argparse.ArgumentTypeError(f"expected a whole number from {smallest}, got {text!r}")
        return value

    return whole


if __name__ == "__main__":
    sys.exit(main())
