"""The command line: `fastbptt train`, `fastbptt gradcheck`, `fastbptt info`; also `python -m fastbptt`."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time

import numpy as np

from . import RNN, __version__, _core, _forecast, _picture, datasets, reference

FAILED, REFUSED, INTERRUPTED = 1, 2, 130  # exit codes; 130 is the shell's for Ctrl-C


class Refusal(Exception):
    """What was asked for cannot be done; the message is all that the user needs."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)  # else a new option changes what old command lines mean

    def error(self, message):  # one line; argparse would print the usage above it
        raise Refusal(f"{message} ({self.prog} --help shows what can be given)")


def main(argv=None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a ∂ must not end the program where the encoding lacks it
    try:
        args = _parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()  # here, where a closed pipe is met below, and not as the process ends
        return code
    except SystemExit as exit:  # --help and --version
        return exit.code
    except Refusal as refusal:
        print(f"fastbptt: {refusal}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("fastbptt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has what it wanted: what is still buffered goes nowhere, silently
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser():
    parser = _Parser(prog="fastbptt", description="Plain recurrent networks, trained by exact back-propagation through "
                                                  "time.")
    parser.add_argument("--version", action="version", version=f"fastbptt {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help() or REFUSED)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    train = commands.add_parser(
        "train", help="train a network to forecast the monthly sunspots, and judge it on months it never saw",
        description="Train a network on the monthly sunspot numbers of 1749 to 2008: the first 70 %% of the months "
                    "train, the next 10 %% stop the training, the last 20 %% give the figures.")
    _option(train, "--hidden-size", _whole(1), 16, "hidden units")
    _option(train, "--horizon", _whole(1), 12, "months ahead that are forecast")
    _option(train, "--max-iter", _whole(1), 300, "at most so many epochs", metavar="EPOCHS")
    _option(train, "--random-state", _whole(0), 0, "seed; the same seed gives the same run")
    _option(train, "--model", str, "sunspots.npz", "file that the network is saved to", metavar="FILE")
    _option(train, "--plot", str, "sunspots.png", "file that the picture is drawn to (.png, .svg ...)", metavar="FILE")
    train.set_defaults(run=_train)

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


def _option(parser, name, kind, default, words, metavar="N"):
    parser.add_argument(name, type=kind, default=default, metavar=metavar, help=f"{words} (default: {default})")


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
    series, dates = datasets.load_sunspots(return_dates=True)
    series, split = series[0], _forecast.Split(len(dates))
    if args.horizon > split.longest_horizon:
        raise Refusal(f"--horizon must be from 1 to {split.longest_horizon} for {len(dates)} months, "
                      f"got {args.horizon}")
    _refuse_unwritable("--model", args.model)
    can_draw = _can_draw(args)

    print(f"Monthly mean sunspot numbers, {len(dates)} months")
    for part, begin, end in (("training", 0, split.train_end), ("early stopping", split.train_end, split.test_start),
                             ("test", split.test_start, len(dates))):
        print(f"  {part:15} {dates[begin]} to {dates[end - 1]} {end - begin:6} months")
    mean, deviation = _forecast.standardisation(series)
    standardised = (series - mean) / deviation
    trained = RNN(1, args.hidden_size, 1, random_state=args.random_state)
    print(f"RNN of {args.hidden_size} {trained.activation} units, {trained.theta.size} parameters, "
          f"{args.horizon} months ahead, seed {args.random_state}", flush=True)
    start = time.perf_counter()
    try:
        history = _forecast.train(trained, standardised, args.horizon, epochs=args.max_iter)
    except KeyboardInterrupt:
        _save(_forecast.fold(trained, mean, deviation), args.model)
        epochs = len(trained.history.train_loss) if trained.history else 0
        print(f"Interrupted after {epochs} whole epochs; the network as of its last whole update is saved: "
              f"{args.model}")
        return INTERRUPTED
    except FloatingPointError as error:
        print(f"fastbptt: training failed: {error}", file=sys.stderr)
        return FAILED
    network = _forecast.fold(trained, mean, deviation)  # from here on raw numbers: the figures are those of the file
    _save(network, args.model)
    print(f"trained {len(history.train_loss)} epochs in {time.perf_counter() - start:.1f} s; lowest held-out loss, and "
          f"the network kept: epoch {history.best_epoch + 1}\n")

    forecast = _forecast.forecasts(network, series)
    ours, naive = _print_errors(args.horizon, series, dates, forecast)
    X, D = _forecast.pairs(standardised[:split.train_end], args.horizon)
    check = trained.gradcheck(X[:120], D[:120])
    print("Gradient check on 120 months, largest relative error against the complex-step derivative:\n  "
          + ", ".join(f"{column} {max(errors.values()):.1e}" for column, errors in check.errors.items())
          + ("" if check.passed else "\n  GRADIENTS DISAGREE"))
    reach = _forecast.reach(network, series, args.horizon)
    under = np.flatnonzero(reach < 0.01)
    print("The gradient of an error falls under 1 % "
          + (f"{under[0]} months back.\n" if len(under) else f"further than {len(reach) - 1} months back.\n"))

    ahead = dates[-1] + np.arange(1, args.horizon + 1)
    shown = {"dates": np.concatenate([dates, ahead])[split.test_start:],
             "observed": np.concatenate([series[:, 0], np.full(args.horizon, np.nan)])[split.test_start:],
             "forecast": forecast[split.test_start - args.horizon:, 0]}
    if can_draw:
        _draw(args, **shown, history=history, reach=reach,
              title=f"Forecasts made {args.horizon} months ahead, on months that training never saw: "
                    f"error {ours:.1f}, of repeating the last value {naive:.1f}")
    else:
        print('No picture, as matplotlib is not installed: pip install "fastbptt[plot]" brings it. The last years as '
              f"text:\n\n{_picture.text(**shown)}\n")
    print("Saved the network, which takes and returns sunspot numbers: "
          f"{args.model}\n{_example(args.model, args.horizon)}\n")
    print("Next: fastbptt train --horizon 24 --hidden-size 32, or fastbptt gradcheck, which checks every gradient.")
    return 0 if check.passed else FAILED


def _print_errors(horizon, series, dates, forecast):
    """Print and return the errors on the last 20 %, of the network and of repeating the last value."""
    start = _forecast.Split(len(series)).test_start
    ours, naive = (_forecast.rmse(made[start - horizon:-horizon], series[start:]) for made in (forecast, series))
    print(f"Forecasts {horizon} months ahead for {dates[start]} to {dates[-1]}, root mean squared error in sunspots:")
    print(f"  this network             {ours:6.1f}   ({100 * abs(1 - ours / naive):.0f} % "
          f"{'under' if ours < naive else 'OVER'} repeating the last value)")
    print(f"  repeating the last value {naive:6.1f}\n")
    return ours, naive


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


def _can_draw(args):
    """Whether matplotlib is there; if so, --plot must be a file that it can draw to."""
    try:
        types = _picture.file_types()
    except ImportError:
        return False
    _refuse_unwritable("--plot", args.plot)
    if os.path.realpath(args.plot) == os.path.realpath(args.model):
        raise Refusal(f"--model and --plot name the same file, {args.plot!r}")
    ending = os.path.splitext(args.plot)[1][1:].lower()
    if ending not in types:
        raise Refusal(f"--plot {args.plot!r} must end in one of {', '.join('.' + name for name in sorted(types))}")
    return True


def _save(network, path):
    try:
        network.save(path)
    except OSError as error:
        raise Refusal(f"--model {path!r} cannot be written: {error.strerror}") from error


def _draw(args, **panels):
    try:
        _picture.draw(args.plot, quantity="monthly mean sunspot number", **panels)
    except OSError as error:
        raise Refusal(f"--plot {args.plot!r} cannot be written: {error.strerror}") from error
    print(f"Drew series, losses and the gradient's reach: {args.plot}")


def _example(path, horizon):
    """A line for the shell that prints the forecasts beyond the end of the data."""
    code = ("import fastbptt; x = fastbptt.datasets.load_sunspots().swapaxes(0, 1); "
            f"print(fastbptt.load({path!r}).forward(x)[0][-{horizon}:, 0, 0])")
    return "  python -c " + (shlex.quote(code) if set(path) & set("'\"$`\\!") else f'"{code}"')


# ---- gradcheck


def _gradcheck(args):
    activations = [args.activation] if args.activation else list(reference.ACTIVATIONS)
    losses = [args.loss] if args.loss else list(reference.LOSSES)
    checks = {(activation, loss): _network(activation, loss, args).gradcheck(random_state=args.random_state)
              for activation in activations for loss in losses}
    if len(checks) == 1:
        (check,) = checks.values()
        print(check.describe())
        return 0 if check.passed else FAILED
    print("Largest relative error of any gradient against the complex-step derivative:\n")
    columns = list(next(iter(checks.values())).errors)
    print(f"{'activation':12}{'loss':22}" + "".join(f"{column:>20}" for column in columns))
    for (activation, loss), check in checks.items():
        figures = "".join(f"{max(check.errors[column].values()):20.1e}" for column in columns)
        print(f"{activation:12}{loss:22}{figures}{'' if check.passed else '  DISAGREES'}")
    failed = sum(not check.passed for check in checks.values())
    print(f"\n{failed} of {len(checks)} networks DISAGREE" if failed else f"\nall {len(checks)} networks agree")
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
