"""The command line: `fastbptt train`, `predict`, `explain`, `gradcheck` and `info`; also `python -m fastbptt`.

Here is what is asked and what is printed; the work is done in _table, _forecast, _solve, _explain and _picture.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import platform
import secrets
import shlex
import sys
import tempfile
import time

import numpy as np

from . import RNN, __version__, _core, datasets, load, optimizers, reference
from .cli import explain as _explain, forecast as _forecast, picture as _picture, tasks as _solve, table as _table
from .cli.calendar import Calendar

FAILED, REFUSED, INTERRUPTED = 1, 2, 130  # exit codes; 130 is the shell's for Ctrl-C
HIDDEN_SIZE, HORIZON = 16, 12
SHOWN = 6  # targets whose errors are printed, where there are more
DRAWN = 60  # targets that have a panel in the picture, where there are more


class Refusal(Exception):
    """What was asked for cannot be done; the message is all that the user needs."""


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
    explain.set_defaults(run=_explain_by_hand)

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


# ---- train


def _train(args):
    if args.task is not None:
        return _train_task(args)
    if args.length is not None:
        raise Refusal("--length belongs to --task")
    data, heading, quantity = _data(args)
    model, picture = _files(args)
    print(heading)
    for note in data.notes:
        print(f"  {note}")
    _print_parts(data)
    forecaster, code = _fit(args, data, model)
    if forecaster is None:
        return code

    _save(forecaster, model)
    shown = _largest(data)
    made = forecaster.made(data.values)
    naive = _print_errors(args, data, made)
    agreed = _print_gradcheck(forecaster, data)
    reach = _print_reach(forecaster, data)
    place, panels = _panels(forecaster, data, made, naive, shown, quantity)
    if picture is None:
        print('No picture, as matplotlib is not installed: pip install "fastbptt[plot]" brings it.')
        for k, panel in enumerate(panels[:SHOWN]):
            print(f"The last {data.unit}{_of(data, shown, k)} as text:\n\n"
                  f"{_picture.text(place['axis'], panel['observed'], panel['forecast'])}\n")
    else:
        _draw(picture, **place, panels=panels[:DRAWN], unit=data.unit, reach=reach, history=forecaster.regressor.history_)
        print(f"Drew {_drawn(data, shown)}, the losses and the gradient's reach: {picture}")
    print(f"Saved the network, and all that it takes to forecast: {model}\n")
    print(f"Next: fastbptt predict {shlex.quote(model)} prints the {data.unit} to come; {_variant(args)} tries a "
          "larger network.")
    return 0 if agreed else FAILED


def _variant(args):
    """The command line of this run with twice the hidden units."""
    words = ["fastbptt", "train", *([args.csv] if args.csv is not None else ()), "--hidden-size",
             str(2 * (args.hidden_size or HIDDEN_SIZE))]
    for option, given in (("--target", args.target), ("--inputs", args.inputs), ("--id", args.id)):
        words += [option, *([given] if isinstance(given, str) else given)] if given else []
    return shlex.join(words + (["--horizon", str(args.horizon)] if args.horizon != HORIZON else []))


def _data(args):
    """The series, a line about them, and what their values are called."""
    if args.csv is None:
        _refuse_lost_csv(args)
        values, dates = datasets.load_sunspots(return_dates=True)
        data = _table.Series([values[0]], ["sunspots"], calendar=Calendar("M", 1), dates=[dates])
        heading, quantity = f"Monthly mean sunspot numbers, {len(dates)} months", "monthly mean sunspot number"
    else:
        data = _read(args.csv, args.target, args.inputs, args.id)
        heading, quantity = _heading(args.csv, data), data.targets[0]
    try:
        _forecast.refuse(data.values, data.targets + data.inputs, args.horizon, data.name, data.unit)
    except ValueError as error:
        raise Refusal(str(error)) from None
    return data, heading, quantity


def _refuse_lost_csv(args):
    for option, names in (("--target", args.target), ("--inputs", args.inputs), ("--id", args.id)):
        if names:
            lost = next((name for name in names if os.path.isfile(name)), "FILE") if isinstance(names, list) else "FILE"
            raise Refusal(f"{option} needs a CSV file, which comes first: fastbptt train {shlex.quote(lost)} {option} "
                          "...")


def _read(path, targets=None, inputs=None, id=None):
    try:
        return _table.read(path, targets, inputs, id)
    except ValueError as error:
        raise Refusal(str(error)) from None
    except OSError as error:
        raise Refusal(f"{path!r} cannot be read: {error.strerror}") from None


def _heading(path, data):
    """What was found in a file, in a line."""
    lengths = sorted({len(x) for x in data.values})
    size = f"{lengths[0]} to {lengths[-1]} {data.unit} each" if len(lengths) > 1 else data.steps(lengths[0])
    count = f"{len(data.values)} series of " if data.ids else ""
    beside = f", beside {_table.listed(data.inputs)}" if data.inputs else ""
    return f"{os.path.basename(path)}: {count}{_table.listed(data.targets)}{beside}; {size}"


def _files(args):
    """Where the model and the picture go; the picture is None without matplotlib. Refused, if they cannot."""
    stem = args.task or ("sunspots" if args.csv is None else os.path.splitext(os.path.basename(args.csv))[0])
    model = f"{stem}.npz" if args.model is None else args.model
    picture = f"{stem}.png" if args.plot is None else args.plot
    _refuse_unwritable("--model", model)
    for option, path in (("--model", model), ("--plot", picture)):
        _refuse_own_input(option, path, args.csv, "the file that the data come from")
    return model, picture if _can_draw(model, picture) else None


def _print_parts(data):
    if data.ids:
        print("  of each series the first 70 % train, the next 10 % decide, the last 20 % test")
        return
    T, split = len(data.values[0]), _forecast.Split(len(data.values[0]))
    for part, begin, end in (("training", 0, split.train_end), ("early stopping", split.train_end, split.test_start),
                             ("test", split.test_start, T)):
        print(f"  {part:15} {_step(data, begin)} to {_step(data, end - 1)} {end - begin:6} {data.unit}")


def _step(data, t, n=0):
    """A step of series n in words."""
    return data.calendar.text(data.dates[n][t]) if data.calendar else f"step {t + 1}"


def _fit(args, data, model):
    """The better of the forecasters of levels and of changes, or None, and the exit code."""
    candidates, start = [], time.perf_counter()
    try:
        _train_candidates(args, data, candidates)
    except KeyboardInterrupt:  # the first is done, or is all that there is
        regressor = candidates[0].regressor if candidates else None
        return None, _save_interrupted(candidates[:1], model, getattr(regressor, "history_", None))
    except FloatingPointError as error:
        candidates.pop()
        if not candidates:
            return None, _failed(error)
        print("  on changes: training failed")
    best = min(candidates, key=lambda forecaster: _forecast.held_out_error(forecaster, data.values))
    kept = f"; {_sees(best, data)} kept" if len(candidates) > 1 else ""
    print(f"trained in {time.perf_counter() - start:.1f} s{kept}\n")
    return best, 0


def _train_candidates(args, data, candidates):
    """Train on levels, on changes, or on both, as the series allow, and add the forecasters to `candidates`."""
    outputs, H = len(data.targets), args.hidden_size or HIDDEN_SIZE
    print(f"RNN of {H} {_forecast.ACTIVATION} units, {_parameters(H, outputs + len(data.inputs), outputs)} parameters, "
          f"{data.steps(args.horizon)} ahead, seed {args.random_state}", flush=True)
    differences = _forecast.differences(data.values, outputs, args.horizon)
    if differences == (args.horizon,):
        shift = _forecast.shift([x[:, :outputs] for x in data.values])
        print(f"  levels are not tried: the held-out part lies {shift:.1f} standard deviations off what trains")
    for difference in differences:
        candidates.append(_forecast.Forecaster(
            data.targets, data.inputs, horizon=args.horizon, difference=difference, ids=data.ids, id_column=args.id,
            calendar=data.calendar))
        candidates[-1].fit(data.values, data.dates, hidden_size=H, solver=args.solver, max_iter=args.max_iter,
                           random_state=args.random_state, verbose=sys.stderr is not None and sys.stderr.isatty())
        if candidates[-1].regressor.history_.best_epoch is None:
            raise FloatingPointError("the error on the held-out 10 % is not finite after any epoch")
        _print_candidate(candidates[-1], data)


def _parameters(H, I, O):
    return H * (I + H + 1) + O * (H + 1)


def _sees(forecaster, data):
    return f"changes over {data.steps(forecaster.difference)}" if forecaster.difference else "levels"


def _print_candidate(forecaster, data):
    history = forecaster.regressor.history_
    print(f"  on {_sees(forecaster, data)}: {len(history.train_loss)} epochs, held-out error "
          f"{_forecast.held_out_error(forecaster, data.values):.3f} standard deviations at its lowest, epoch "
          f"{history.best_epoch + 1}", flush=True)


def _save_interrupted(trained, model, history):
    """Save what there is, none or one, though not over what was there before."""
    if history is None:
        print("Interrupted before the first update; nothing is saved.")
        return INTERRUPTED
    if os.path.exists(model):
        stem, ending = os.path.splitext(model)
        model = f"{stem}.interrupted{ending}"
    _save(trained[0], model)
    epochs = len(history.train_loss)
    print(f"Interrupted after {epochs} whole epoch{'' if epochs == 1 else 's'}; the network as of its last whole "
          f"update is saved: {model}")
    return INTERRUPTED


def _failed(error):
    print(f"fastbptt: training failed: {error}", file=sys.stderr)
    return FAILED


def _print_errors(args, data, made):
    """Print the errors on the last 20 %, of the network, of repeating the last value and of an autoregression.

    Return the forecasts that repeat the last value.
    """
    outputs, values = len(data.targets), data.values
    linear, order, tried = _forecast.autoregression(values, outputs, args.horizon)
    repeated = _forecast.repeated(values, outputs, args.horizon)
    ours, naive, linear = (_forecast.errors(forecasts, values, "test") for forecasts in (made, repeated, linear))
    when = "the last 20 % of each series" if data.ids else (
        f"{_step(data, _forecast.Split(len(values[0])).test_start)} to {_step(data, -1 + len(values[0]))}")
    what = f" in {data.targets[0]}" if outputs == 1 else ""
    print(f"Forecasts {data.steps(args.horizon)} ahead for {when}, root mean squared error{what}:")
    choice = (f"order {order}, chosen among {', '.join(map(str, tried))} on the held-out 10 %" if len(tried) > 1
              else f"order {order}")
    share = f"{100 * abs(1 - ours.all / naive.all):.0f} % " if naive.all > 0 else ""
    side, scale = "under" if ours.all < naive.all else "OVER", ", in s.d." if outputs > 1 or data.ids else ""
    rows = (("this network", ours, f"{share}{side} repeating the last value{scale}"),
            ("repeating the last value", naive, ""), ("linear autoregression", linear, choice))
    _print_table(data.targets if outputs > 1 or data.ids else [], rows, naive)
    return repeated


def _print_table(targets, rows, naive):
    """A line for each (name, errors, words); with the names of targets over the figures, one of all comes last."""
    widths = [max(9, 2 + len(name)) for name in targets[:SHOWN]] or [9]
    more = "   ..." if len(targets) > SHOWN else ""
    if targets:
        print(" " * 27 + "".join(f"{name:>{width}}" for name, width in zip(targets, widths)) + more
              + "    all, in s.d.")
    for name, found, words in rows:
        figures = zip(found.by_target, naive.by_target, widths)
        print(f"  {name:25}" + "".join(f"{_figure(error, like):>{width}}" for error, like, width in figures)
              + " " * len(more) + (f"{found.all:16.3f}" if targets else "") + (f"   ({words})" if words else ""))
    print()


def _figure(error, like):
    """An error as text, with as many decimals as give `like` three figures."""
    if not 1e-6 < like < 1e9:
        return f"{error:.3g}"
    return f"{error:.{max(0, 2 - int(np.floor(np.log10(like))))}f}"


def _print_gradcheck(forecaster, data, steps=120):
    X, D = _forecast.pairs(forecaster, data.values, steps)
    check = forecaster.network.gradcheck(X, D)
    print(f"Gradient check on {len(X)} {data.unit}, largest relative error against the complex-step derivative:\n  "
          + ", ".join(f"{column} {max(errors.values()):.1e}" for column, errors in check.errors.items())
          + ("" if check.passed else "\n  GRADIENTS DISAGREE"))
    return check.passed


def _print_reach(forecaster, data):
    reach = _forecast.reach(forecaster, data.values)
    under = np.flatnonzero(reach < 0.01)
    print("The gradient of an error falls under 1 % "
          + (f"{under[0]} {data.unit} back.\n" if len(under) else f"further than {len(reach) - 1} {data.unit} back.\n"))
    return reach


def _largest(data):
    """The series that is drawn: the longest, and of those the first."""
    return int(np.argmax([len(x) for x in data.values]))


def _of(data, n, k):
    """Which column, if there are several targets, and which series, if there are several."""
    column = f" of {data.targets[k]}" if len(data.targets) > 1 else ""
    return column + (f" of {data.name(n)}" if data.ids else "")


def _subject(data, n, k, most=48):
    """What a panel shows: the names of its target and series, long ones shortened, if there are several."""
    target, series = (name if len(name) <= most else f"{name[:most]}…" for name in (data.targets[k], data.name(n)))
    if len(data.targets) > 1:
        return f"{target} of {series}," if series else f"{target},"
    return f"{series[0].upper()}{series[1:]}," if series else "Forecasts"


def _drawn(data, n):
    """Describe which of the forecasts the picture shows."""
    count = len(data.targets)
    targets = f" of {'the' if count <= DRAWN else f'the first {DRAWN} of'} {count} targets" if count > 1 else ""
    which = f", the longest of {len(data.values)}" if len(data.values) > 1 else ""
    return f"the forecasts{targets}" + (f" of {data.name(n)}{which}" if data.ids else "")


def _panels(forecaster, data, made, naive, n, quantity, most=600):
    """Of series n the axis and its marks, and a panel for each target: all steps, or of a long series the test part.

    `made` and `naive` are the forecasts of the network and of repeating the last value. The errors are those of series n.
    """
    x, horizon, several = data.values[n], forecaster.horizon, len(data.targets) > 1
    ahead = forecaster.forecast() if data.ids is None else forecaster.forecast()[n]
    split = _forecast.Split(len(x))
    first = split.test_start if len(x) > most else 0
    later = None if data.calendar is None else data.calendar.ahead(data.dates[n][-1], horizon)
    axis = np.arange(1, len(x) + horizon + 1) if later is None else np.concatenate([data.dates[n], later])
    ours, repeated = (_forecast.errors([forecasts[n]], [x], "test").by_target for forecasts in (made, naive))
    panels = []
    for k, target in enumerate(data.targets):
        observed = np.concatenate([x[:, k], np.full(horizon, np.nan)])
        forecast = np.concatenate([np.where(np.arange(len(x)) < split.test_start, np.nan, made[n][:, k]), ahead[:, k]])
        title = (f"{_subject(data, n, k)} {data.steps(horizon)} ahead. RMSE on the last 20 %: network "
                 f"{_figure(ours[k], repeated[k])}, repeating the last value {_figure(repeated[k], repeated[k])}")
        panels.append({"observed": observed[first:], "forecast": forecast[first:], "title": title,
                       "quantity": target if several else quantity})
    return {"axis": axis[first:], "test_start": split.test_start - first, "end": len(x) - first}, panels


def _refuse_own_input(option, path, source, what):
    """Refuse to write to the file that something is read from, however it is spelled; `source` may be None."""
    if source is None:
        return
    try:
        same = os.path.samefile(path, source)  # links too
    except (OSError, ValueError):  # one of them does not exist, or names no file
        same = os.path.realpath(path) == os.path.realpath(source)
    if same:
        raise Refusal(f"{option} {path!r} is {what}")


def _refuse_unwritable(option, path):
    """Find out now, not after the training, that `path` cannot be written."""
    folder = os.path.dirname(os.path.abspath(path))
    if not path or os.path.isdir(path):
        raise Refusal(f"{option} must name a file, got {path!r}" + (", which is a folder" if path else ""))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.path.exists(path):
            with open(path, "ab"):
                pass
    except OSError as error:
        raise Refusal(f"{option} {path!r} cannot be written: {error.strerror}") from error


def _can_draw(model, picture):
    """Whether matplotlib is there; if so, --plot must be a file that it can draw to."""
    try:
        types = _picture.file_types()
    except ImportError:
        return False
    _refuse_unwritable("--plot", picture)
    if os.path.realpath(picture) == os.path.realpath(model):
        raise Refusal(f"--model and --plot name the same file, {picture!r}")
    ending = os.path.splitext(picture)[1][1:].lower()
    if ending not in types:
        raise Refusal(f"--plot {picture!r} must end in one of {', '.join('.' + name for name in sorted(types))}")
    return True


def _save(model, path):
    try:
        model.save(path)
    except OSError as error:
        raise Refusal(f"--model {path!r} cannot be written: {error.strerror}") from error


def _draw(path, **panels):
    picture = io.BytesIO()
    _picture.draw(picture, os.path.splitext(path)[1][1:].lower(), **panels)
    _write("--plot", path, picture.getvalue())


def _write(option, path, data):
    """Write bytes to a file, whole or not at all."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device, which nothing can take the place of
            with open(path, "wb") as file:
                file.write(data)
            return
        path = os.path.realpath(path)
        temporary = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            if os.path.exists(path):
                os.chmod(temporary, os.stat(path).st_mode & 0o777)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise Refusal(f"{option} {path!r} cannot be written: {error.strerror}") from error


# ---- train --task


def _train_task(args):
    for option, value in (("CSV", args.csv), ("--target", args.target), ("--inputs", args.inputs), ("--id", args.id),
                          ("--plot", args.plot)):
        if value is not None:
            raise Refusal(f"--task makes its own data: {option} cannot be given with it")
    task = _solve.TASKS[args.task]
    model, length = args.model or f"{args.task}.npz", args.length or task.length
    if length < task.shortest:
        raise Refusal(f"--length must be at least {task.shortest} for {args.task}, got {length}")
    _refuse_unwritable("--model", model)
    network = _solve.network(task, args.hidden_size, args.random_state)
    print(f"{task.words}; {task.unit} {length}\nRNN of {network.hidden_size} {network.activation} units, "
          f"{network.theta.size} parameters, seed {args.random_state}", flush=True)
    start = time.perf_counter()
    try:
        history = _solve.fit(network, task, length, epochs=args.max_iter, solver=args.solver)
    except KeyboardInterrupt:
        return _save_interrupted([network], model, network.history)
    except FloatingPointError as error:
        return _failed(error)
    _save(network, model)
    print(f"trained {history.updates} updates in {time.perf_counter() - start:.1f} s\n")
    wrong = _solve.judge(network, task, length)
    print(f"Of {_solve.JUDGED} fresh sequences {100 * (1 - wrong):.2f} % are told right: "
          + ("solved" if wrong <= _solve.SOLVED else "NOT solved") + f" (at most {100 * _solve.SOLVED:g} % wrong)\n")
    print(f"Saved the network: {model}\n\nNext: fastbptt train --task {args.task} --length {2 * length} asks for a "
          "longer memory.")
    return 0


# ---- predict


def _predict(args):
    if args.output is not None:
        _refuse_own_input("--output", args.output, args.model, "the model that is read")
        _refuse_own_input("--output", args.output, args.csv, "the file that the data come from")
    forecaster = _load(args.model)
    if forecaster.inputs and args.steps is not None and args.steps > forecaster.horizon:
        raise Refusal(f"--steps must be at most {forecaster.horizon}, the horizon of this model, got {args.steps}: for more steps, "
                      f"{_table.listed(forecaster.inputs)} would have to be known ahead")
    if args.csv is None:
        ids, calendar, ends = forecaster.ids, forecaster.calendar, forecaster.ends
        series = forecaster.series
    else:
        data = _read(args.csv, forecaster.targets, forecaster.inputs, forecaster.id_column)
        ids, calendar, series = data.ids, data.calendar, data.values
        ends = None if data.dates is None else [dates[-1] for dates in data.dates]
        for n, x in enumerate(series):
            if len(x) < forecaster.shortest:
                raise Refusal(f"{args.csv}: {data.name(n) or 'the series'} has {len(x)} rows; this model needs at "
                              f"least {forecaster.shortest} to forecast from")
    try:
        made = forecaster.forecast(series, args.steps, ids=ids)
    except ValueError as error:
        raise Refusal(f"the series cannot be forecast: {error}") from None
    text = _as_csv(forecaster, made, ids, calendar, ends)
    if args.output is None:
        if sys.stdout is None:
            raise Refusal("standard output is closed; --output FILE writes to a file")
        print(text, end="")
        if sys.stdout.isatty():  # else it is a file that other programs are to read
            print("Next: --output FILE writes this to a file, --steps N looks further ahead.", file=sys.stderr)
        return 0
    _refuse_unwritable("--output", args.output)
    _write("--output", args.output, text.encode())
    print(f"Wrote {sum(map(len, made))} rows: {args.output}\nNext: fastbptt predict {shlex.quote(args.model)} NEW.csv "
          "forecasts from newer data of the same columns.")
    return 0


def _load(path):
    try:
        model = load(path)
    except OSError as error:
        raise Refusal(f"{path!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refusal(str(error)) from None
    if not isinstance(model, _forecast.Forecaster):
        raise Refusal(f"{path!r} holds no forecaster but an object of {type(model).__name__}: `fastbptt train` without "
                      "--task makes one that can be asked for a forecast")
    return model


def _as_csv(forecaster, made, ids, calendar, ends):
    """Rows of id, date or step, and targets; columns as they stood in the file."""
    dated = calendar is not None and calendar.step is not None
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*([forecaster.id_column] if ids else ()), "date" if dated else "step", *forecaster.targets])
    for n, values in enumerate(made):
        steps = ([calendar.text(date) for date in calendar.ahead(ends[n], len(values))] if dated
                 else range(1, len(values) + 1))
        for step, row in zip(steps, values):
            writer.writerow([*([ids[n]] if ids else ()), step, *(f"{value:.7g}" for value in row)])
    return file.getvalue()


# ---- explain


def _explain_by_hand(args):
    if args.svg is not None:
        _refuse_unwritable("--svg", args.svg)
    found = _explain.example()
    print(f"{_explain.text(found)}\n")
    if args.svg is None:
        print("Next: fastbptt explain --svg unrolled.svg draws this; fastbptt gradcheck proves the gradients of any size.")
    else:
        _write("--svg", args.svg, _explain.svg(found).encode())
        print(f"Drew the unrolled network: {args.svg}\nNext: fastbptt gradcheck proves the gradients of any size.")
    return 0


# ---- gradcheck


def _gradcheck(args):
    activations = [args.activation] if args.activation else list(reference.ACTIVATIONS)
    losses = [args.loss] if args.loss else list(reference.LOSSES)
    checks = {(activation, loss): _network(activation, loss, args).gradcheck(random_state=args.random_state)
              for activation in activations for loss in losses}
    if len(checks) == 1:
        (check,) = checks.values()
        print(check.describe())
        print("Next: fastbptt gradcheck, with neither, checks all activations with all losses.")
        return 0 if check.passed else FAILED
    print("Largest relative error of any gradient against the complex-step derivative:\n")
    columns = list(next(iter(checks.values())).errors)
    print(f"{'activation':12}{'loss':22}" + "".join(f"{column:>20}" for column in columns))
    for (activation, loss), check in checks.items():
        figures = "".join(f"{max(check.errors[column].values()):20.1e}" for column in columns)
        print(f"{activation:12}{loss:22}{figures}{'' if check.passed else '  DISAGREES'}")
    failed = sum(not check.passed for check in checks.values())
    print(f"\n{failed} of {len(checks)} networks DISAGREE" if failed else f"\nall {len(checks)} networks agree")
    print("Next: fastbptt gradcheck --activation tanh --loss squared_error shows the parameters one by one.")
    return FAILED if failed else 0


def _network(activation, loss, args):
    """Three inputs, and three outputs: as many as there are levels of `quantile`."""
    return RNN(3, args.hidden_size, 3, activation=activation, loss=loss, random_state=args.random_state,
               output_activation=reference.FUSED.get(loss, "identity"))


# ---- info


def _info(args):
    import scipy.linalg  # its BLAS, which may be another than NumPy's, is loaded only now
    import threadpoolctl

    rows = [("fastbptt", __version__), ("Python", f"{platform.python_version()}, {platform.platform()}"),
            ("NumPy", np.__version__), ("SciPy", scipy.__version__), ("matplotlib", _version_of_matplotlib())]
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            words = (library["internal_api"], library["version"], library.get("architecture"),
                     library.get("threading_layer"), f"{library['num_threads']} threads", library["filepath"])
            rows.append(("BLAS", ", ".join(str(word) for word in words if word)))
    rows += [("processor", _processor()), ("cores", f"{_cores()} usable of {os.cpu_count()}"),
             ("kernel set", _core.kernel_set())]
    if hasattr(_core, "compiler"):
        rows.append(("compiler", _core.compiler()))
    for name, value in rows:
        print(f"{name:11} {value}")
    print("Next: fastbptt train, which forecasts the monthly sunspots; fastbptt gradcheck, which checks gradients.")
    return 0


def _version_of_matplotlib():
    try:
        import matplotlib
    except ImportError:
        return 'not installed (pip install "fastbptt[plot]" brings it)'
    return matplotlib.__version__


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


if __name__ == "__main__":
    sys.exit(main())
