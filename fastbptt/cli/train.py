"""`fastbptt train` on a table: training, the table of errors, the picture.

A new line of its output belongs here. What is fitted belongs to forecast.py.
"""

from __future__ import annotations

import os
import shlex
import sys
import time

import numpy as np

from .. import reference
from ..forecasting import tables as _tables
from ..forecasting.source import INSTALL, pandas
from . import forecast as _forecast, picture as _picture, train_table as _table
from .examples import train_task, words_of
from .output import (FAILED, Refusal, can_draw, _draw, _failed, read, refuse_own_input, refuse_unwritable, save,
                     save_interrupted)
from .tasks import EPOCHS

HIDDEN_SIZE, HORIZON = 16, 12
SHOWN = 6  # number of targets whose errors are printed, if there are more
DRAWN = 60  # number of targets with a panel in the picture, if there are more


def _train(args):
    if args.task is not None:
        return train_task(args)
    if args.length is not None:
        raise Refusal("--length needs --task")
    option = _given(args, "--max-iter", "--solver", "--inputs")
    if option is not None or (args.csv is None and not _has_pandas()):
        return _train_single(args, option)
    return _train_forecaster(args)


def _given(args, *options):
    """Return the first of these options that the user has given, or None."""
    return next((option for option in options if getattr(args, option[2:].replace("-", "_")) is not None), None)


def _has_pandas():
    try:
        pandas()
    except ImportError:
        return False
    return True


def _refuse_options_of_forecasters(args, option):
    """Raise Refusal if an option is given that only a Forecaster has. `option` asked for a single network; None: no pandas."""
    other = _given(args, "--season", "--members", "--known", "--interval", "--report")
    if other is None:
        return
    if option is None:
        raise Refusal(f"{other} requires pandas, which is not installed: {INSTALL} installs it")
    why = ("give columns that are known ahead by --known" if option == "--inputs" else
           "the number of updates of a forecaster is chosen on a validation part")
    raise Refusal(f"{option} cannot be combined with {other}: {why}")


def _train_single(args, option):
    """Train one network, because `option` was given, or because pandas is not installed."""
    _refuse_options_of_forecasters(args, option)
    if option is None:
        print(f"pandas is not installed, so this trains a single network. {INSTALL} installs what a "
              "fastbptt.Forecaster needs.\n")
    data, heading, quantity = _data(args)
    model, picture = _files(args)
    print(heading)
    for note in data.notes:
        print(f"  {note}")
    _print_parts(data)
    forecaster, code = _fit(args, data, model)
    if forecaster is None:
        return code

    save(forecaster, model)
    shown = _largest(data)
    made = forecaster.made(data.values)
    naive = _print_errors(args, data, made)
    agreed = _print_gradcheck(forecaster, data)
    reach = _print_reach(forecaster, data)
    place, panels = _panels(forecaster, data, made, naive, shown, quantity)
    if picture is None:
        print('No picture: matplotlib is not installed. pip install "fastbptt[plot]" installs it.')
        for k, panel in enumerate(panels[:SHOWN]):
            print(f"The last {data.unit}{_of(data, shown, k)} as text:\n\n"
                  f"{_picture.text(place['axis'], panel['observed'], panel['forecast'])}\n")
    else:
        _draw(picture, **place, panels=panels[:DRAWN], unit=data.unit, reach=reach, history=forecaster.regressor.history_)
        print(f"Drew {_drawn(data, shown)}, the losses and the gradient's reach: {picture}")
    print(f"Saved the network and all that a forecast needs: {model}\n")
    print(f"Next: fastbptt predict {shlex.quote(model)} prints the {data.unit} to come; {_variant(args)} tries a "
          "larger network.")
    return 0 if agreed else FAILED


def _train_forecaster(args):
    """Fit a `fastbptt.Forecaster`."""
    data, heading = _series(args, _table.shortest, known=args.known or [], season=args.season)
    _table.refuse_short(args, data)
    _table.refuse_report(args)
    model, picture = _files(args)
    print(heading)
    for note in data.notes:
        print(f"  {note}")
    return _table.fit(args, data, model, picture)


def _variant(args):
    """Return the command line of this run with twice as many hidden units."""
    words = ["fastbptt", "train", *([args.csv] if args.csv is not None else ()),
             *([] if args.cell == "plain" else ["--cell", args.cell]), "--hidden-size",
             str(2 * (args.hidden_size or HIDDEN_SIZE))]
    for option, given in (("--target", args.target), ("--inputs", args.inputs), ("--id", args.id), ("--time", args.time),
                          ("--decimal", args.decimal), ("--fill", args.fill)):
        words += [option, *([given] if isinstance(given, str) else given)] if given else []
    words += [] if args.dayfirst is None else ["--dayfirst" if args.dayfirst else "--no-dayfirst"]
    return shlex.join(words + (["--horizon", str(args.horizon)] if args.horizon != HORIZON else []))


def _series(args, shortest, **more):
    """Return the series of the table, or the sunspot numbers, and a line about them. `more` are arguments of `read`.

    `shortest` returns the number of steps that a horizon needs. Shorter series of a panel are left out.
    """
    if args.csv is None:
        _refuse_lost_csv(args)
        data = _tables.packaged("sunspots")
        return data, f"Monthly mean sunspot numbers, {data.steps(len(data.values[0]))}"
    data = read(args.csv, "train", target=args.target, id=args.id, time=args.time, decimal=args.decimal,
                dayfirst=args.dayfirst, fill=args.fill, **more)
    data = data.without(shortest(args.horizon), f"a horizon of {args.horizon}")
    return data, _heading(args.csv, data)


def _data(args):
    """Return the series for a single network, a line about them, and the name of their values."""
    data, heading = _series(args, _forecast.Split.shortest, inputs=args.inputs)
    try:
        _forecast.refuse(data.values, data.targets + data.inputs, args.horizon, data.name, data.unit, _weights(data))
    except ValueError as error:
        raise Refusal(str(error)) from None
    return data, heading, "monthly mean sunspot number" if args.csv is None else data.targets[0]


def _weights(data):
    """Return the weights of the targets, or None if none is missing."""
    return data.weights if any((weights == 0).any() for weights in data.weights) else None


def _refuse_lost_csv(args):
    for option, names in (("--target", args.target), ("--inputs", args.inputs), ("--id", args.id), ("--time", args.time),
                          ("--known", args.known)):
        if names:
            lost = next((name for name in names if os.path.isfile(name)), "FILE") if isinstance(names, list) else "FILE"
            raise Refusal(f"{option} needs a CSV file, which comes first: fastbptt train {shlex.quote(lost)} {option} "
                          "...")


def _heading(path, data):
    """Return a line about the content of a file."""
    lengths = sorted({len(x) for x in data.values})
    size = f"{lengths[0]} to {lengths[-1]} {data.unit} each" if len(lengths) > 1 else data.steps(lengths[0])
    count = f"{len(data.values)} series of " if data.ids else ""
    beside = f", with inputs {_tables.listed(data.inputs)}" if data.inputs else ""
    return f"{os.path.basename(path)}: {count}{_tables.listed(data.targets)}{beside}; {size}"


def _files(args):
    """Return the files of the model and the picture, None without matplotlib. Raise Refusal if they cannot be written."""
    name = "sunspots" if args.csv is None else os.path.splitext(os.path.basename(args.csv))
    stem = args.task or (name if isinstance(name, str) else
                         os.path.splitext(name[0])[0] if name[1].lower() in (".gz", ".bz2", ".xz", ".zip") else name[0])
    model = f"{stem}.npz" if args.model is None else args.model
    picture = f"{stem}.png" if args.plot is None else args.plot
    refuse_unwritable("--model", model)
    for option, path in (("--model", model), ("--plot", picture)):
        refuse_own_input(option, path, args.csv, "the file that the data come from")
    return model, picture if can_draw(model, picture) else None


def _print_parts(data):
    if data.ids:
        print("  each series: the first 70 % for training, the next 10 % for all choices, the last 20 % for the test")
        return
    T, split = len(data.values[0]), _forecast.Split(len(data.values[0]))
    for part, begin, end in (("training", 0, split.train_end), ("early stopping", split.train_end, split.test_start),
                             ("test", split.test_start, T)):
        print(f"  {part:15} {_step(data, begin)} to {_step(data, end - 1)} {end - begin:6} {data.unit}")


def _step(data, t, n=0):
    """Describe a step of series n: its date, or its number."""
    return data.calendar.text(data.times[n][t]) if data.calendar else f"step {t + 1}"


def _fit(args, data, model):
    """Return the better of the forecasters of levels and of changes, or None, and the exit code."""
    candidates, start = [], time.perf_counter()
    try:
        _train_candidates(args, data, candidates)
    except KeyboardInterrupt:  # keep the first: it is finished, or the only one
        regressor = candidates[0].regressor if candidates else None
        return None, save_interrupted(candidates[:1], model, getattr(regressor, "history_", None))
    except FloatingPointError as error:
        candidates.pop()
        if not candidates:
            return None, _failed(error)
        print("  on changes: training failed")
    best = min(candidates, key=lambda forecaster: _forecast.held_out_error(forecaster, data.values, _weights(data)))
    kept = f"; {_sees(best, data)} kept" if len(candidates) > 1 else ""
    print(f"trained in {time.perf_counter() - start:.1f} s{kept}\n")
    return best, 0


def _train_candidates(args, data, candidates):
    """Train on levels, on changes, or on both, depending on the series. Append the forecasters to `candidates`."""
    outputs, H = len(data.targets), args.hidden_size or HIDDEN_SIZE
    activation = _forecast.options_of(args.cell)["activation"]
    print(f"{words_of(args.cell, H, activation)}, {_parameters(args.cell, H, outputs + len(data.inputs), outputs)} parameters, "
          f"{data.steps(args.horizon)} ahead, seed {args.random_state}", flush=True)
    differences = _forecast.differences(data.values, outputs, args.horizon)
    if differences == (args.horizon,):
        shift = _forecast.shift([x[:, :outputs] for x in data.values])
        print(f"  levels are not tried: the held-out part is {shift:.1f} standard deviations from the training part")
    for difference in differences:
        candidates.append(_forecast.Forecaster(
            data.targets, data.inputs, horizon=args.horizon, difference=difference, ids=data.ids, id_column=args.id,
            calendar=data.calendar, reading=data.options))
        candidates[-1].fit(data.values, data.times, _weights(data), cell=args.cell, hidden_size=H, solver=args.solver or "adam",
                           max_iter=args.max_iter or EPOCHS, random_state=args.random_state,
                           verbose=sys.stderr is not None and sys.stderr.isatty())
        if candidates[-1].regressor.history_.best_epoch is None:
            raise FloatingPointError("the error on the held-out 10 % is not finite after any epoch")
        _print_candidate(candidates[-1], data)


def _parameters(cell, H, I, O):
    row = reference.cell_of(cell)
    return len(row.gates) * H * (I + H + 1) + (H if row.has_b_n else 0) + O * (H + 1)


def _sees(forecaster, data):
    return f"changes over {data.steps(forecaster.difference)}" if forecaster.difference else "levels"


def _print_candidate(forecaster, data):
    history = forecaster.regressor.history_
    print(f"  on {_sees(forecaster, data)}: {len(history.train_loss)} epochs, lowest held-out error "
          f"{_forecast.held_out_error(forecaster, data.values, _weights(data)):.3f} standard deviations, in epoch "
          f"{history.best_epoch + 1}", flush=True)


def _print_errors(args, data, made):
    """Print the errors on the last 20 %: of the network, of repeating the last value and of an autoregression.

    Return the forecasts that repeat the last value.
    """
    outputs, values = len(data.targets), data.values
    linear, order, tried = _forecast.autoregression(values, outputs, args.horizon, _weights(data))
    repeated = _forecast.repeated(values, outputs, args.horizon)
    ours, naive, linear = (_forecast.errors(forecasts, values, "test", _weights(data))
                           for forecasts in (made, repeated, linear))
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
    """Print a line for each (name, errors, words). With names of targets there is a header, and a last column for all."""
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
    """Format an error with the number of decimals that gives `like` three significant digits."""
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
    """Return the index of the series to draw: the first of the longest."""
    return int(np.argmax([len(x) for x in data.values]))


def _of(data, n, k):
    """Describe the column, if there are several targets, and the series, if there are several."""
    column = f" of {data.targets[k]}" if len(data.targets) > 1 else ""
    return column + (f" of {data.name(n)}" if data.ids else "")


def _subject(data, n, k, most=48):
    """Describe a panel by its target and series, if there are several. Long names are shortened."""
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
    """Return the axis of series n with its marks, and a panel for each target. Of a long series only the test part is shown.

    `made` and `naive` are the forecasts of the network and of repeating the last value. The errors are those of series n.
    """
    x, horizon, several = data.values[n], forecaster.horizon, len(data.targets) > 1
    ahead = forecaster.forecast() if data.ids is None else forecaster.forecast()[n]
    split = _forecast.Split(len(x))
    first = split.test_start if len(x) > most else 0
    later = None if data.calendar is None else data.calendar.ahead(data.times[n][-1], horizon)
    axis = np.arange(1, len(x) + horizon + 1) if later is None else np.concatenate([data.times[n], later])
    weights = None if _weights(data) is None else data.weights[n:n + 1]
    ours, repeated = (_forecast.errors([forecasts[n]], [x], "test", weights).by_target for forecasts in (made, naive))
    panels = []
    for k, target in enumerate(data.targets):
        observed = np.concatenate([np.where(data.weights[n][:, k] > 0, x[:, k], np.nan), np.full(horizon, np.nan)])
        forecast = np.concatenate([np.where(np.arange(len(x)) < split.test_start, np.nan, made[n][:, k]), ahead[:, k]])
        title = (f"{_subject(data, n, k)} {data.steps(horizon)} ahead. RMSE on the last 20 %: network "
                 f"{_figure(ours[k], repeated[k])}, repeating the last value {_figure(repeated[k], repeated[k])}")
        panels.append({"observed": observed[first:], "forecast": forecast[first:], "title": title,
                       "quantity": target if several else quantity})
    return {"axis": axis[first:], "test_start": split.test_start - first, "end": len(x) - first}, panels
