"""The command line: `fastbptt train`, `predict`, `explain`, `gradcheck` and `info`; also `python -m fastbptt`.

This module has `main` and the parser; `cli/` has the commands. A new command needs a parser here and a module there.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import optimizers, reference, __version__
from .cli import explain_gates as _explain_gates, tasks as _solve
from .cli.examples import explain_by_hand, _gradcheck
from .cli.info import _info
from .cli.output import FAILED, INTERRUPTED, REFUSED, Refusal
from .cli.predict import _predict
from .cli.train import EPOCHS, HIDDEN_SIZE, HORIZON, _train
from .forecasting import tables as _tables


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options):
        """Make a parser that accepts no abbreviations of options."""
        super().__init__(**options, allow_abbrev=False)  # with abbreviations, a new option could change old command lines

    def error(self, message):  # one line; argparse would print the usage above it
        """Raise Refusal with argparse's message."""
        raise Refusal(f"{message} ({self.prog} --help lists the options)")


def main(argv: list[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # print ∂ as ? if the encoding lacks it
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        if sys.stdout is not None:  # None if it is closed
            sys.stdout.flush()  # raise BrokenPipeError here, not at the end of the process
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
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe: drop the remaining output
        _drop_output()
        return FAILED
    except OSError as error:
        if error.filename is not None:
            raise
        _drop_output()
        print(f"fastbptt: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _drop_output():
    """Redirect standard output to the null device, so that Python does not report the closed pipe again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
    """Return the parser of the command line.

    Each command sets `run`, the function of the parsed arguments that executes it.
    """
    parser = _Parser(prog="fastbptt", description="Recurrent networks, trained by exact back-propagation through "
                                                  "time.")
    parser.add_argument("--version", action="version", version=f"fastbptt {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help() or REFUSED)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    _add_train(commands)
    _add_predict(commands)

    explain = commands.add_parser(
        "explain", help="compute back-propagation through time by hand: three steps, one unit",
        description="Compute back-propagation through time for a network of one unit and three steps, number by number, "
                    "down to one update that lowers the error.")
    explained = ("plain", *_explain_gates.CELLS)
    explain.add_argument("--cell", choices=explained, default="plain", metavar="NAME",
                         help=f"{', '.join(explained[:-1])} or {explained[-1]} (default: plain)")
    explain.add_argument("--svg", metavar="FILE", help="draw the unrolled network with its gradients to this file")
    explain.set_defaults(run=explain_by_hand)

    check = commands.add_parser(
        "gradcheck", help="compare gradients with complex-step derivatives",
        description="Compare the gradients of the reference and of the core with complex-step derivatives, for every "
                    "activation and every loss, or for those given. The exit code is 1 if any disagrees.")
    check.add_argument("--activation", choices=reference.ACTIVATIONS, metavar="NAME",
                       help=f"one of {', '.join(reference.ACTIVATIONS)} (default: all)")
    check.add_argument("--loss", choices=reference.LOSSES, metavar="NAME",
                       help=f"one of {', '.join(reference.LOSSES)} (default: all)")
    _add_option(check, "--hidden-size", _whole_number(1), 5, "hidden units")
    _add_option(check, "--random-state", _whole_number(0), 0, "seed of parameters and data")
    check.set_defaults(run=_gradcheck)

    info = commands.add_parser("info", help="print versions, BLAS, processor, kernel set",
                               description="Print versions, BLAS libraries, processor and kernel set.")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands):
    """Add the parser of `fastbptt train` to the subparsers `commands`."""
    train = commands.add_parser(
        "train", help="fit a forecaster to series, and test it on steps it never saw",
        description="Fit a fastbptt.Forecaster to the series of a table, or without one to the monthly sunspot numbers of 1749 "
                    "to 2008: linear paths and an ensemble of networks, with intervals. Rolling forecasts over the last 20 % "
                    "of each series, by a model that has not seen them, give the printed errors. The saved model is fitted to "
                    "all rows. A column of dates, or of evenly spaced numbers, is the time axis. With --id the rows belong to "
                    "several series.")
    train.add_argument("csv", nargs="?", metavar="CSV", help="table with columns of numbers: CSV with any separator, "
                       "compressed or not, Excel, Parquet")
    train.add_argument("--target", nargs="+", metavar="COLUMN",
                       help="columns to forecast; numbers from 1 if there is no header (default: all columns of numbers)")
    train.add_argument("--id", metavar="COLUMN", help="column with the name of each row's series (default: one series)")
    _add_reading(train)
    _add_option(train, "--season", _whole_number(1), None,
                "number of steps of a season (default: from the dates, or a period in the data)")
    _add_option(train, "--members", _whole_number(0), None,
                "number of networks, whose median output corrects the linear forecast (default: 8)")
    train.add_argument("--known", nargs="+", metavar="COLUMN", help="columns that are known ahead, such as holidays")
    train.add_argument("--interval", nargs="+", type=float, metavar="PERCENT", help="levels of the intervals (default: 80)")
    train.add_argument("--report", metavar="FILE", help="write all figures to this file, as JSON")
    _add_option(train, "--horizon", _whole_number(1), HORIZON, "number of steps to forecast ahead")
    train.add_argument("--cell", choices=reference.CELL_NAMES, metavar="NAME", default="plain",
                       help=f"what the units compute: {', '.join(reference.CELL_NAMES)} (default: plain)")
    _add_option(train, "--hidden-size", _whole_number(1), None,
            f"hidden units (default: {HIDDEN_SIZE}; with --task {_solve.HIDDEN_SIZE})")
    single = train.add_argument_group(
        "one network", "Any of these trains a single network instead, on the first 70 % of each series, and tests it on the "
        "last 20 %. The next 10 % decide when to stop and all other choices. It learns from all series, and forecasts each "
        "target from all columns. This needs no pandas for the sunspot numbers.")
    _add_option(single, "--max-iter", _whole_number(1), None,
                f"number of epochs (default: {EPOCHS}); with --task an epoch has 100 updates", metavar="EPOCHS")
    single.add_argument("--solver", choices=list(optimizers.OPTIMIZERS), metavar="NAME",
                        help=f"one of {', '.join(optimizers.OPTIMIZERS)} (default: adam)")
    single.add_argument("--inputs", nargs="+", metavar="COLUMN", help="columns to read in addition (default: none)")
    _add_option(train, "--random-state", _whole_number(0), 0, "seed; the same seed gives the same run")
    train.add_argument("--model", metavar="FILE", help="save the model to this file, with the rows that a forecast needs "
                       "(default: the CSV's name, ending in .npz)")
    train.add_argument("--plot", metavar="FILE",
                       help="draw the picture to this file, .png, .svg ... (default: the CSV's name, ending in .png)")
    train.add_argument("--task", choices=list(_solve.TASKS), metavar="NAME",
                       help=f"train on a synthetic task instead: {', '.join(_solve.TASKS)}")
    _add_option(train, "--length", _whole_number(1), None, "number of steps of a task's sequences, or of its delay")
    train.set_defaults(run=_train)


def _add_predict(commands):
    """Add the parser of `fastbptt predict` to the subparsers `commands`."""
    predict = commands.add_parser(
        "predict", help="forecast beyond the end of the data, as CSV",
        description="Forecast beyond the end of a CSV file, with a model that `fastbptt train` or "
                    "`fastbptt.Forecaster.save` has saved. The file needs the same columns as the training data. Without a "
                    "file, forecast beyond the end of the training data. Models of `fastbptt.Forecaster` also give intervals.")
    predict.add_argument("model", metavar="MODEL", help="file that `fastbptt train` or `fastbptt.Forecaster.save` has written")
    predict.add_argument("csv", nargs="?", metavar="CSV", help="file with the columns of the training data")
    predict.add_argument("--steps", type=_whole_number(1), metavar="N", help="number of steps (default: the model's horizon)")
    predict.add_argument("--known-file", metavar="FILE", help="table of the inputs that are known ahead, for models of "
                         "fastbptt.Forecaster that have them")
    _add_reading(predict)
    predict.add_argument("--output", metavar="FILE", help="write the CSV to this file (default: standard output)")
    predict.set_defaults(run=_predict)


def _add_reading(command):
    """Add the options of reading a table."""
    default = "" if command.prog.endswith("train") else "; default: as in training"
    command.add_argument("--time", metavar="COLUMN", help=f"column of times ({default[2:] or 'default: detected'})")
    command.add_argument("--decimal", choices=(".", ","), metavar="SIGN",
                         help=f"decimal sign, . or , and the other may separate thousands{default and f' ({default[2:]})'}")
    command.add_argument("--dayfirst", action=argparse.BooleanOptionalAction, default=None,
                         help="whether 01/02/2020 is in February (default: the order that gives evenly spaced dates)")
    command.add_argument("--fill", choices=_tables.FILLS, metavar="HOW",
                         help=f"fill missing values and rows: {', '.join(_tables.FILLS)} "
                              f"(default: {'refuse them' if not default else 'as in training'})")


def _add_option(parser, name, kind, default, words, metavar="N"):
    """Add an option with a value to a parser. Its help is `words` with the default, unless that is None.

    `kind` converts the text of the value, and `metavar` stands for it in the help.
    """
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(name, type=kind, default=default, metavar=metavar, help=words + shown)


def _whole_number(smallest):
    """Return a function that converts the text of an option to an int from `smallest` to 2**31 - 1, for argparse."""
    def convert(text):
        """Return the text as an int, or raise argparse's error."""
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not smallest <= value <= 2**31 - 1:
            raise argparse.ArgumentTypeError(f"expected a whole number from {smallest}, got {text!r}")
        return value

    return convert


if __name__ == "__main__":
    sys.exit(main())
