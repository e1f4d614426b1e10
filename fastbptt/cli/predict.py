"""`fastbptt predict`: forecast by a saved model, as CSV."""

from __future__ import annotations

import csv
import io
import shlex
import sys

import numpy as np

from .. import Forecaster, load
from ..forecasting.tables import listed
from . import forecast as _forecast, predict_table as _table
from .output import Refusal, read, refuse_own_input, refuse_unwritable, _write

FAR = 1.0  # a value is far outside what was learnt if it lies beyond it by this share of its range


def _predict(args):
    if args.output is not None:
        refuse_own_input("--output", args.output, args.model, "the model that is read")
        refuse_own_input("--output", args.output, args.csv, "the file that the data come from")
    if args.output is not None and args.known_file is not None:
        refuse_own_input("--output", args.output, args.known_file, "the file of --known-file")
    forecaster = _load(args.model)
    if not isinstance(forecaster, _forecast.Forecaster):
        return _put(args, *_table.forecast(args, forecaster))
    if args.known_file is not None:
        raise Refusal("--known-file must not be given: this model has no columns that are known ahead")
    if forecaster.inputs and args.steps is not None and args.steps > forecaster.horizon:
        raise Refusal(f"--steps must be at most {forecaster.horizon}, the horizon of this model, got {args.steps}: more steps "
                      f"need future values of {listed(forecaster.inputs)}")
    if args.csv is None:
        ids, calendar, ends = forecaster.ids, forecaster.calendar, forecaster.ends
        series = forecaster.series
    else:
        data = _read(args, forecaster)
        ids, calendar, series = data.ids, data.calendar, data.values
        ends = None if data.times is None else [times[-1] for times in data.times]
        for note in [*data.notes, *_doubts(forecaster, data)]:
            print(f"fastbptt: {note}", file=sys.stderr)
    try:
        made = forecaster.forecast(series, args.steps, ids=ids)
    except ValueError as error:
        raise Refusal(f"the series cannot be forecast: {error}") from None
    return _put(args, _as_csv(forecaster, made, ids, calendar, ends), sum(map(len, made)))


def _put(args, text, rows):
    """Write the forecasts to standard output or to the file of --output. Return the exit code."""
    if args.output is None:
        if sys.stdout is None:
            raise Refusal("standard output is closed; --output FILE writes to a file")
        print(text, end="")
        if sys.stdout.isatty():  # otherwise another program reads the output
            print("Next: --output FILE writes this to a file, --steps N looks further ahead.", file=sys.stderr)
        return 0
    refuse_unwritable("--output", args.output)
    _write("--output", args.output, text.encode())
    print(f"Wrote {rows} rows: {args.output}\nNext: fastbptt predict {shlex.quote(args.model)} NEW.csv "
          "forecasts from newer data of the same columns.")
    return 0


def _read(args, forecaster):
    """Return the Table that the forecaster continues. Raise Refusal if it has another step than the training data."""
    options = {name: value for name, value in forecaster.reading.items() if value is not None}
    given = {name: getattr(args, name) for name in ("time", "decimal", "dayfirst", "fill")}
    options |= {name: value for name, value in given.items() if value is not None}
    data = read(args.csv, "predict", target=forecaster.targets, inputs=forecaster.inputs, id=forecaster.id_column, **options)
    ours, theirs = (None if calendar is None else calendar.length for calendar in (forecaster.calendar, data.calendar))
    if ours is not None and data.calendar is not None and not _same(ours, theirs):
        raise Refusal(f"{args.csv}: a step of the file is {data.calendar.describe()}, and a step of the model is "
                      f"{forecaster.calendar.describe()}")
    data = data.without(forecaster.shortest, "this model")
    for n, x in enumerate(data.values):
        if len(x) < forecaster.shortest:
            raise Refusal(f"{args.csv}: {data.name(n) or 'the series'} has {len(x)} rows; this model needs at "
                          f"least {forecaster.shortest} to forecast from")
    return data


def _same(one, other):
    """Return whether two lengths of a step are the same, but for the rounding of decimal years."""
    return other is not None and one[0] == other[0] and abs(one[1] - other[1]) <= (0.01 * one[1] if one[0] == "numbers" else 0)


def _doubts(forecaster, data):
    """Return sentences about what differs from the training data."""
    found = []
    if forecaster.calendar is not None and data.calendar is None:
        found.append("the file has no time axis, so its steps are numbered; a step of the model is "
                     f"{forecaster.calendar.describe()}")
    if data.ids is not None and forecaster.ids is not None:
        new = [id for id in data.ids if id not in forecaster.ids]
        if new:
            found.append(f"not in the training data, and therefore scaled by their own mean and deviation: {listed(new)}")
    for k, name in enumerate(data.targets + data.inputs):
        for n, x in enumerate(data.values):
            learnt = _learnt(forecaster, data.ids and data.ids[n])[:, k]
            low, high = learnt.min(), learnt.max()
            worst = x[np.argmax(np.maximum(x[:, k] - high, low - x[:, k])), k]
            if max(worst - high, low - worst) > FAR * (high - low):
                whose = f" of {data.name(n)}" if data.ids else ""
                found.append(f"warning: column {name!r}{whose} has {worst:.6g}, far outside {low:.6g} to {high:.6g}, from "
                             "which the model has learnt")
                break
    return found


def _learnt(forecaster, id):
    """Return the training data (T, C) of a series, or of all if the id is unknown."""
    if forecaster.ids is not None and id in forecaster.ids:
        return forecaster.series[forecaster.ids.index(id)]
    return np.concatenate(forecaster.series)


def _load(path):
    try:
        model = load(path)
    except OSError as error:
        raise Refusal(f"{path!r} cannot be read: {error.strerror}") from None
    except (ImportError, ValueError) as error:
        raise Refusal(str(error)) from None
    if not isinstance(model, (_forecast.Forecaster, Forecaster)):
        raise Refusal(f"{path!r} contains an object of {type(model).__name__}, not a forecaster: `fastbptt train` without "
                      "--task makes a forecaster, and so does fastbptt.Forecaster")
    return model


def _as_csv(forecaster, made, ids, calendar, ends):
    """Return rows of id, date or step, and targets, with the columns of the file."""
    timed = calendar is not None and calendar.step is not None
    dated = timed and calendar.unit != "1"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*([forecaster.id_column] if ids else ()), "date" if dated else "step", *forecaster.targets])
    for n, values in enumerate(made):
        steps = ([calendar.text(date) for date in calendar.ahead(ends[n], len(values))] if timed
                 else range(1, len(values) + 1))
        for step, row in zip(steps, values):
            writer.writerow([*([ids[n]] if ids else ()), step, *(f"{value:.7g}" for value in row)])
    return file.getvalue()
