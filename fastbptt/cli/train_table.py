"""`fastbptt train` with a `fastbptt.Forecaster`: the fit, rolling forecasts, the forecast, the picture. It needs pandas."""

from __future__ import annotations

import io
import json
import os
import shlex
import time

import numpy as np

from .. import RNN, Forecaster
from ..forecasting import remainder as _remainder
from .output import FAILED, Refusal, refuse_own_input, refuse_unwritable, save, _write
from .picture import BLUE, FORECAST, OBSERVED, draw_reach, text
from .predict_table import long_frame

SHOWN = 6  # number of pairs of series and target whose errors by step are printed, if there are more
ORIGINS = 1000  # largest number of origins of the rolling forecasts of a series
DRAWN = 12  # number of panels of the picture, if there are more
STEPS = 120  # of the run that shows how far back the gradient reaches


def refuse_report(args):
    """Raise Refusal if the report cannot be written."""
    if args.report is not None:
        refuse_unwritable("--report", args.report)
        refuse_own_input("--report", args.report, args.csv, "the file that the data come from")


def shortest(horizon):
    """Return the number of steps that a fit with rolling forecasts needs."""
    return max(-(-5 * (horizon + 8) // 4) + 1, 2 * horizon + 8)


def refuse_short(args, table):
    """Raise Refusal if a series is too short for a fit with rolling forecasts."""
    n = min(range(len(table.values)), key=lambda n: len(table.values[n]))
    length, longest = len(table.values[n]), args.horizon
    while longest and shortest(longest) > length:
        longest -= 1
    if longest < args.horizon:
        advice = f"; --horizon {longest} is the longest" if longest else ""
        raise Refusal(f"{table.name(n) or args.csv or 'the sunspot numbers'} has {table.steps(length)}, and a horizon of "
                      f"{args.horizon} needs {shortest(args.horizon)}{advice}")


def fit(args, table, model, picture):
    """Fit, save, print and draw. Return the exit code."""
    given = {name: value for name in ("members", "hidden_size", "interval") if (value := getattr(args, name)) is not None}
    try:
        forecaster = Forecaster(args.horizon, season=args.season, cell=args.cell, fill=args.fill,
                                random_state=args.random_state, **given)
        count = forecaster.members
        networks = f"{count} networks of up to {forecaster.hidden_size} units, " if count else ""
        print(f"\nfitting linear paths, {networks}{table.steps(args.horizon)} ahead, seed {args.random_state}", flush=True)
        start = time.perf_counter()
        frame = long_frame(table, table.ids or [None], table.id, table.time)
        forecaster.fit(frame, table.targets, id=table.id, time=table.time, known=table.known)
        print(f"fitted in {time.perf_counter() - start:.1f} s\n{forecaster.describe()}\n", flush=True)
        tested = forecaster.backtest(origins=ORIGINS)
    except (TypeError, ValueError) as error:
        raise Refusal(f"{args.csv or 'the sunspot numbers'}: {error}") from None
    save(forecaster, model)
    _print_errors(tested)
    try:
        ahead = forecaster.predict()
        print(f"\nThe next {table.steps(args.horizon)}:\n{ahead.to_string(index=False, float_format='{:.6g}'.format)}\n")
    except ValueError as error:  # known inputs of the next steps are not given
        ahead = None
        print(f"\nNo forecast yet: {str(error).partition(': give known=')[0]}. fastbptt predict takes them by --known-file.\n")
    agreed, reach = _gradients(forecaster)
    if args.report is not None:
        _write("--report", args.report, _json(forecaster, tested, ahead, reach).encode())
        print(f"Wrote all figures: {args.report}")
    if picture is None:
        print('No picture: matplotlib is not installed. pip install "fastbptt[plot]" installs it.')
        if ahead is not None:
            _print_text(table, ahead)
    else:
        _draw(picture, table, tested, ahead, reach)
        print("Drew the rolling forecasts, the next steps, the errors by step"
              + (f": {picture}" if reach is None else f" and the gradient's reach: {picture}"))
    print(f"Saved the forecaster: {model}\n\nNext: fastbptt predict {shlex.quote(model)} prints the forecast as CSV.")
    return 0 if agreed else FAILED


def _print_errors(tested):
    print(tested.describe())
    by = [name for name in ("id", "target") if name in tested.table.columns]
    groups = list(tested.steps.groupby(by, sort=False))
    for key, part in groups[-SHOWN:]:  # the pooled ones are last
        for measure in ("rmse", "mase"):
            shown = part.pivot(index="step", columns="method", values=measure)[list(part["method"].unique())]
            shown.columns.name = None
            print(f"\n{measure.upper()} by step ahead, {', '.join(map(str, key))}:\n"
                  + shown.reset_index().to_string(index=False, float_format="{:.6g}".format))
    if len(groups) > SHOWN:
        print(f"\nErrors by step of {len(groups) - SHOWN} more pairs of series and target: --report FILE.json writes them.")
    pooled = tested.table[tested.table["id"] == "all"] if "id" in tested.table.columns else tested.table
    for target, part in pooled.groupby("target", sort=False):
        errors = part.set_index("method")["rmse"]
        best = errors.drop("Forecaster").idxmin()
        less = errors["Forecaster"] < errors[best]
        print(f"\n{target}: the RMSE of the forecaster, {errors['Forecaster']:.6g}, is "
              f"{'below' if less else 'NOT BELOW'} that of the best simple method, {best}, {errors[best]:.6g}.")


def _gradients(forecaster):
    """Print the gradient check of a network and how far back its gradient reaches. Return whether it agrees, and the reach."""
    model = forecaster._model
    part = model.remainder
    net = (RNN(3, forecaster.hidden_size, forecaster.horizon, cell=forecaster.cell, random_state=0) if part is None
           else next(iter(part.ensemble.populations[0])))
    check = net.gradcheck()
    print("Gradient check of a network, largest relative error against the complex-step derivative:\n  "
          + ", ".join(f"{column} {max(errors.values()):.1e}" for column, errors in check.errors.items())
          + ("" if check.passed else "\n  GRADIENTS DISAGREE"))
    if part is None:
        print("The forecast uses no network, so no gradient reaches back.\n")
        return check.passed, None
    known = [x.known for x in forecaster._series] if forecaster._columns[2] else None
    clean = model._clean([x.values for x in forecaster._series], known)
    inputs, errors, _ = model._for_networks(clean, known)
    last = int(np.isfinite(errors[0]).all(axis=1).sum())
    X = _remainder.scaled(inputs[0], part.scale[0])[max(last - STEPS, 0):last, None]
    D = (errors[0] / part.sizes[0])[max(last - STEPS, 0):last, None]
    norms = np.linalg.norm(net.gradient_terms(X, D, -1)["S"].astype(np.float64), axis=(1, 2))[::-1]
    reach = norms / norms[0] if norms[0] > 0 else np.zeros(len(norms))
    under = np.flatnonzero(reach < 0.01)
    print("The gradient of an error falls under 1 % " + (f"{under[0]} steps back.\n" if len(under) else
                                                        f"further than {len(reach) - 1} steps back.\n"))
    return check.passed, reach


def _print_text(table, ahead):
    """Draw the end and the forecast of the first targets of the longest series, as text."""
    n = int(np.argmax([len(x) for x in table.values]))
    for target in table.targets[:SHOWN]:
        rows = ahead["target"] == target
        if table.ids:
            rows &= ahead[table.id].astype(str) == str(table.ids[n])
        made = ahead["forecast"][rows].to_numpy()
        x = table.values[n][:, table.targets.index(target)]
        later = None if table.calendar is None else table.calendar.ahead(table.times[n][-1], len(made))
        axis = np.arange(1, len(x) + len(made) + 1) if later is None else np.concatenate([table.times[n], later])
        of = (f" of {target}" if len(table.targets) > 1 else "") + (f" of {table.name(n)}" if table.ids else "")
        print(f"The last {table.unit}{of} and the next ones as text:\n\n"
              + text(axis, np.append(x, np.full(len(made), np.nan)), np.append(np.full(len(x), np.nan), made)) + "\n")


def _json(forecaster, tested, ahead, reach):
    def rows(frame):
        return None if frame is None else json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))

    return json.dumps({"horizon": forecaster.horizon, "seasons": list(forecaster.seasons_), "targets": forecaster.targets_,
                       "updates": forecaster.updates_, "share": forecaster.share_, "gain": forecaster.gain_,
                       "notes": forecaster.notes_, "errors": rows(tested.table), "errors_by_step": rows(tested.steps),
                       "coverage": {f"{level:g}": share for level, share in tested.coverage.items()}, "forecast": rows(ahead),
                       "gradient_reach": None if reach is None else reach.tolist()}, indent=1)


def _draw(path, table, tested, ahead, reach):
    from matplotlib.figure import Figure

    pairs = list(tested.forecasts)[:DRAWN]
    columns = min(len(pairs), 3) if len(pairs) > 2 else 1
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(10 if columns == 1 else 5 * columns, 3.4 * rows + 3), layout="constrained")
    cells = [[n if n < len(pairs) else "." for n in range(row * columns, (row + 1) * columns) for _ in range(6 // columns)]
             for row in range(rows)]
    axes = figure.subplot_mosaic([*cells, ["steps"] * 6 if reach is None else ["steps"] * 3 + ["reach"] * 3])
    frames = dict(zip(table.ids or [None], table.frames()))
    for n, (id, target) in enumerate(pairs):
        own = ahead
        if ahead is not None:
            own = ahead[(ahead["target"] == target) & (True if id is None else ahead[table.id] == id)]
        _draw_series(axes[n], frames[id if id is None else str(id)][target], tested, id, target, own)
        axes[n].set_title(target if id is None else f"{target}, {id}", loc="left", fontsize="medium", parse_math=False)
    handles = {label: handle for handle, label in zip(*axes[0].get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), ncols=5, loc="outside upper left", edgecolor="none")
    part = tested.steps[tested.steps["id"] == "all"] if "id" in tested.steps.columns else tested.steps
    for k, (method, errors) in enumerate(part.groupby("method", sort=False)):
        mean = errors.groupby("step")["mase"].mean()
        axes["steps"].plot(mean.index, mean, color=(FORECAST, OBSERVED, BLUE, "#009E73")[k], marker="o", markersize=3,
                           linewidth=2 if k == 0 else 1.2, label=method)
    axes["steps"].set(xlabel=f"{table.unit} ahead", ylabel="MASE")
    axes["steps"].set_ylim(0, (1.2 if reach is None else 1.35) * axes["steps"].get_ylim()[1])  # room for the legend
    axes["steps"].set_title("Error of the rolling forecasts by step ahead", loc="left", fontsize="medium")
    axes["steps"].legend(ncols=4 if reach is None else 2, loc="upper left", edgecolor="none")
    if reach is not None:
        draw_reach(axes["reach"], reach, table.unit)
    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format=os.path.splitext(path)[1][1:].lower(), dpi=84)
    _write("--plot", path, file.getvalue())


def _draw_series(ax, values, tested, id, target, ahead, most=300):
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    shown = min(len(values), max(most, 0))
    place = {time: n for n, time in enumerate(values.index)}
    dated = values.index.dtype.kind == "M"
    axis = values.index.tz_localize(None) if dated and values.index.tz is not None else values.index
    ax.plot(axis[-shown:], values.to_numpy()[-shown:], color=OBSERVED, linewidth=0.9, label="observed")
    made, origins = tested.forecasts[id, target], tested.origins[id]
    apart = None
    for origin, row in zip(origins, made):  # forecasts that do not overlap
        begin = place[origin] + 1
        if begin < len(values) - shown or (apart is not None and begin < apart):
            continue
        ax.plot(axis[begin:begin + len(row)], row, color=FORECAST, linewidth=1.2, label="rolling forecasts")
        apart = begin + len(row)
    if ahead is not None:
        times = ahead["time"].dt.tz_localize(None) if dated else ahead["time"]
        levels = sorted((float(name[6:]) for name in ahead.columns if name.startswith("lower_")), reverse=True)
        for k, level in enumerate(levels):
            ax.fill_between(times, ahead[f"lower_{level:g}"], ahead[f"upper_{level:g}"], color=BLUE, alpha=0.15 + 0.15 * k,
                            linewidth=0, label=f"{level:g} % interval")
        ax.plot(times, ahead["forecast"], color=BLUE, linewidth=1.8, label="the next steps")
    if dated:
        locator = AutoDateLocator(minticks=3, maxticks=7)
        ax.xaxis.set(major_locator=locator, major_formatter=ConciseDateFormatter(locator))
