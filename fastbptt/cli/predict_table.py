"""`fastbptt predict` with a model that `fastbptt.Forecaster.save` has written. It needs pandas."""

from __future__ import annotations

import sys
import warnings

from .output import Refusal, read
from ..forecasting.tables import listed

FAR = 1.0  # a value is far outside what was learnt if it lies beyond it by this share of its range


def forecast(args, model):
    """Return the forecasts of a `Forecaster` as CSV, and the number of rows. Notes go to stderr."""
    names = model._columns[2]
    if args.known_file is not None and not names:
        raise Refusal("--known-file must not be given: this model has no columns that are known ahead")
    try:
        kept, notes = None, []
        if args.csv is not None:
            table = _read(args, model, args.csv, model.targets_, names)
            kept = _ids(model, table, args.csv)
            new = [id for id, own in zip(table.ids or (), kept) if own is None]
            notes = [f"left out, as they are not in the training data: {listed(new)}"] if new else []
            notes = [*table.notes, *notes, *_far(model, table, kept)]
            model.update(_frame(model, table, kept))
        known = None
        if args.known_file is not None:
            ahead = _read(args, model, args.known_file, names, ())
            known = _frame(model, ahead, _ids(model, ahead, args.known_file))
        with warnings.catch_warnings():  # the note says the same
            warnings.filterwarnings("ignore", "steps .* lie beyond the horizon", UserWarning)
            before = list(model.notes_)
            made = model.predict(args.steps, known)
            notes += [note for note in model.notes_ if note not in before]
    except (TypeError, ValueError) as error:
        raise Refusal(_in_options(str(error), args)) from None
    for note in notes:
        print(f"fastbptt: {note}", file=sys.stderr)
    if kept is not None and model._columns[0] is not None:
        made = made[made[model._columns[0]].isin(kept)]
    return made.to_csv(index=False, float_format="%.7g", lineterminator="\n"), len(made)


def _read(args, model, path, targets, known):
    """Return the Table of a file with the columns of the model."""
    id, time, _ = model._columns
    return read(path, "predict", target=list(targets), known=list(known), id=id, time=args.time or time, decimal=args.decimal,
                dayfirst=args.dayfirst, fill=args.fill or model.fill)


def _ids(model, table, path):
    """Return the model's ids of the series of a table, in the table's order. An id of which the model knows nothing gives None.

    A table reads all ids as text. Raise Refusal if the model knows none of them.
    """
    if table.ids is None:
        return [None]
    own = {str(id): id for id in model.ids_}
    new = [id for id in table.ids if id not in own]
    if len(new) == len(table.ids):
        raise Refusal(f"{path}: {listed(new)} in column {table.id!r} is not in the training data, which has "
                      f"{listed(list(own))}")
    return [own.get(id) for id in table.ids]


def _frame(model, table, ids):
    """Return the DataFrame for `Forecaster.update` and `predict`."""
    id, time, _ = model._columns
    return long_frame(table, ids, id, time, model._series[0].axis)


def long_frame(table, ids, id, time, axis=None):
    """Return the long DataFrame of a table, with rows of known inputs after the last target.

    `id` and `time` name its columns. The dates get the form of those of `axis`.
    """
    import pandas as pd

    parts = []
    for n, part in enumerate(table.frames()):
        if id is not None and ids[n] is None:
            continue
        ahead = table.ahead[n]
        if len(ahead):
            index = _continued(table, n, len(ahead), part)
            part = pd.concat([part, pd.DataFrame(ahead, columns=table.known, index=index)])
        if axis is not None and isinstance(part.index, pd.DatetimeIndex) and not isinstance(axis.freq, int):
            if axis.period:
                part.index = part.index.to_period(axis.freq)
            elif table.calendar.unit in "YM":  # the reader keeps the month, and the model has its first or last day
                part.index = pd.DatetimeIndex([axis.freq.rollforward(date) for date in part.index])
        if time is not None:
            part = part.assign(**{time: part.index}).reset_index(drop=True)
        parts.append(part if id is None else part.assign(**{id: [ids[n]] * len(part)}))
    return pd.concat(parts)


def _continued(table, n, count, part):
    """Return the index of `count` steps after the last row of series n."""
    if table.calendar is None or table.times is None:
        return range(len(part), len(part) + count)
    from dataclasses import replace

    times = table.calendar.ahead(table.times[n][-1], count)
    blank = [part.to_numpy()[:1].repeat(count, axis=0)]
    return replace(table, values=blank, times=[times], weights=[], ahead=[], ids=None).frames()[0].index


def _far(model, table, ids):
    """Return a warning for each target that has values far outside the training data."""
    found = []
    for k, name in enumerate(model.targets_):
        for n, x in enumerate(table.values):
            if ids[n] not in model.ids_:
                continue
            learnt = model._series[model.ids_.index(ids[n])].values[:, k]
            low, high = learnt.min(), learnt.max()
            worst = max(x[:, k], key=lambda value: max(value - high, low - value))
            if max(worst - high, low - worst) > FAR * (high - low):
                whose = f" of {table.name(n)}" if table.ids else ""
                found.append(f"warning: column {name!r}{whose} has {worst:.6g}, far outside {low:.6g} to {high:.6g}, from "
                             "which the model has learnt")
                break
    return found


def _in_options(message, args):
    """Return an error of `Forecaster` with the options of the command."""
    message = message.partition(": give known=")[0]
    if message.startswith("known has ") and args.known_file is None:
        return f"--known-file must be given: {args.csv or args.model} has too few rows after the last target; " + message
    if message.startswith(("known has ", "known must begin")):
        return f"--known-file {args.known_file!r}: {message}"
    return f"{args.csv}: {message}" if args.csv is not None else message
