"""`fastbptt predict`: forecast by a saved model, as CSV."""

from __future__ import annotations

import csv
import io
import shlex
import sys

from .. import load
from . import forecast as _forecast, table as _table
from .output import Refusal, refuse_own_input, refuse_unwritable, _write
from .train import _read


def _predict(args):
    if args.output is not None:
        refuse_own_input("--output", args.output, args.model, "the model that is read")
        refuse_own_input("--output", args.output, args.csv, "the file that the data come from")
    forecaster = _load(args.model)
    if forecaster.inputs and args.steps is not None and args.steps > forecaster.horizon:
        raise Refusal(f"--steps must be at most {forecaster.horizon}, the horizon of this model, got {args.steps}: more steps "
                      f"need future values of {_table.listed(forecaster.inputs)}")
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
        if sys.stdout.isatty():  # otherwise another program reads the output
            print("Next: --output FILE writes this to a file, --steps N looks further ahead.", file=sys.stderr)
        return 0
    refuse_unwritable("--output", args.output)
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
        raise Refusal(f"{path!r} contains an object of {type(model).__name__}, not a forecaster: `fastbptt train` without "
                      "--task makes a forecaster")
    return model


def _as_csv(forecaster, made, ids, calendar, ends):
    """Return rows of id, date or step, and targets, with the columns of the file."""
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
