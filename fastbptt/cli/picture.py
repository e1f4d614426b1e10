"""Pictures of `fastbptt train`: by matplotlib if it is installed, else as lines of text."""

from __future__ import annotations

import textwrap

import numpy as np

from .._plots import BLUE, ORANGE

# Okabe and Ito's colours, which colour-blind readers can distinguish.
OBSERVED, FORECAST = "0.45", ORANGE


def file_types():
    """Return the endings of file names that `draw` can write, without the dot. Raise ImportError without matplotlib."""
    import matplotlib  # noqa: F401  so that the ImportError names the package
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg.get_supported_filetypes().keys()


def draw(file, ending, *, axis, test_start, end, unit, panels, history, reach):
    """Write a picture to a binary file: forecasts of each target, losses, and how far back the gradient reaches.

    Parameters
    ----------
    ending : str, one of `file_types`
    axis : (N,) of dates, datetime64, or of step numbers
    test_start, end : int
        Indices where the last 20 % and the unobserved steps begin.
    unit : str, of the steps
    panels : list of dicts
        "observed" and "forecast" (N,) are NaN at steps without a value. "title" and "quantity" (str) name the panel and its
        values.
    history : training.History
    reach : (K,), ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖
    """
    from matplotlib.figure import Figure  # has its own canvas: needs no display, does not change pyplot's state

    columns = 1 + (len(panels) > 3) + (len(panels) > 12)
    rows = -(-len(panels) // columns)
    height, width = (3.5 if len(panels) == 1 else 2.6), (10 if columns == 1 else 5.5 * columns)
    figure = Figure(figsize=(width, rows * height + 3.5), layout="constrained")
    cells = [[n if n < len(panels) else "." for n in range(row * columns, (row + 1) * columns) for _ in range(6 // columns)]
             for row in range(rows)]
    axes = figure.subplot_mosaic([*cells, ["loss"] * 3 + ["reach"] * 3], height_ratios=[height] * rows + [3.5])
    for n, panel in enumerate(panels):
        ax = axes[n]
        _draw_series(ax, axis, panel["observed"], panel["forecast"], test_start=test_start, end=end, unit=unit,
                     inches=width / columns - 1, room=len(panels) == 1)
        ax.set_ylabel(_wrapped(panel["quantity"], height - 0.8, lines=2), parse_math=False)
        ax.set_title(_wrapped(panel["title"], width / columns - 1, lines=4), loc="left", fontsize="medium", parse_math=False)
    handles, labels = axes[0].get_legend_handles_labels()
    if len(panels) == 1:
        axes[0].legend(handles, labels, ncols=4, loc="upper left", edgecolor="none", borderaxespad=0)
    else:  # one legend for all panels
        figure.legend(handles, labels, ncols=4, loc="outside upper left", edgecolor="none")
    _draw_losses(axes["loss"], history, len(panels))
    draw_reach(axes["reach"], reach, unit)
    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format=ending, dpi=84)


def _wrapped(words, inches, lines):
    """Wrap words to this many inches of medium text. "…" replaces text that does not fit."""
    return "\n".join(textwrap.wrap(words, max(8, int(13 * inches)), max_lines=lines, placeholder=" …"))


def _draw_series(ax, axis, observed, forecast, *, test_start, end, unit, inches, room):
    """Draw one series. `inches` is the width of the axes; `room` leaves space for a legend above the values."""
    from matplotlib.dates import AutoDateFormatter, AutoDateLocator

    ax.plot(axis, observed, color=OBSERVED, linewidth=0.9, label="observed")
    ax.plot(axis, forecast, color=FORECAST, linewidth=1.6, label="forecast")
    if test_start > 0:
        ax.axvline(axis[test_start], color="0.6", linestyle=":", linewidth=1, label="last 20 % begin")
    if end < len(axis):
        ax.axvspan(axis[end - 1], axis[-1], color=BLUE, alpha=0.12, linewidth=0, label=f"{unit} that nobody has seen")
    values = np.concatenate([observed, forecast])
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.05 * (high - low)
    bottom = min(0, low) if low - 0.5 * (high - low) < 0 <= high else low - margin
    if axis.dtype.kind == "M":  # as many dates as fit
        locator = AutoDateLocator(minticks=2, maxticks=max(3, int(inches / 1.1)))
        ax.xaxis.set(major_locator=locator, major_formatter=AutoDateFormatter(locator))
    ax.set(xlim=(axis[0], axis[-1]), ylim=(bottom, high + (0.2 * (high - bottom) if room else margin)))


def _draw_losses(ax, history, targets):
    ax.set_prop_cycle(color=[BLUE, FORECAST])
    history.plot(ax)
    ax.set(ylabel="mean squared error / variance" + (", sum of targets" if targets > 1 else ""))
    ax.set_title("Loss on the training and on the held-out part", loc="left", fontsize="medium")


def draw_reach(ax, reach, unit):
    """Draw how far back the gradient reaches. `reach` and `unit` are those of `draw`."""
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    seen = max([min(24, len(reach) - 1), *np.flatnonzero(reach >= 1e-4)[-1:]])  # later values are too small to see
    ax.plot(np.arange(len(reach)), reach, color=BLUE)
    ax.axhline(0.01, color="0.45", linestyle="--", linewidth=1)
    ax.annotate("1 %", (1, 0.01), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
                ha="right", color="0.35")
    ax.set(xlabel=f"{unit} back, $k$", ylabel=r"$\|\partial E_t/\partial S_{t-k}\|\ /\ \|\partial E_t/\partial S_t\|$",
           yscale="log", xlim=(0, max(seen, 1)), ylim=(1e-4, 2))
    by_years = MultipleLocator(12 * (1 + seen // 120))
    ax.xaxis.set_major_locator(by_years if unit == "months" else MaxNLocator(integer=True))
    ax.set_title("How far back the gradient of an error reaches", loc="left", fontsize="medium")


def text(axis, observed, forecast, *, columns=66, rows=12):
    """Draw the last steps as lines of ASCII, one or two steps per column: o observed, + forecast, * both.

    Parameters
    ----------
    axis : (N,) of dates, datetime64, or of step numbers
    observed, forecast : (N,); NaN at steps without a value
    """
    each = 1 if len(axis) <= columns else 2
    columns = min(columns, len(axis) // each)
    axis, observed, forecast = (np.asarray(part)[-each * columns:] for part in (axis, observed, forecast))
    observed, forecast = (part.reshape(columns, each).mean(axis=1) for part in (observed, forecast))
    bottom, top = _bounds(np.concatenate([observed, forecast]))
    cells = np.full((rows, columns), " ")
    for values, letter in ((observed, "o"), (forecast, "+")):
        for column in np.flatnonzero(np.isfinite(values)):
            row = int(np.clip((values[column] - bottom) / (top - bottom) * rows, 0, rows - 1))
            cells[row, column] = "*" if cells[row, column] == "o" else letter
    labels = {row: f"{bottom + share * (top - bottom):.6g}" for row, share in ((0, 0), (rows // 2, 0.5), (rows - 1, 1))}
    width = max(5, *map(len, labels.values()))
    lines = [f"{labels.get(row, ''):>{width}} |{''.join(cells[row])}".rstrip() for row in reversed(range(rows))]
    lines += [" " * width + " +" + "-" * columns, " " * (width + 2) + _labels(axis, each, columns),
              " " * (width + 2) + "o observed   + forecast   * both"]
    return "\n".join(lines)


def _bounds(values):
    """Return round numbers below and above all values. The lower one is 0 if 0 is near."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    bottom = 0.0 if 0 <= low < high - low or low == high >= 0 else low
    step = max(high - bottom, 1e-9 * max(abs(high), 1e-290)) / 16
    power = 10.0 ** np.floor(np.log10(step))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step)
    bottom = np.floor(bottom / step) * step
    return bottom, max(np.ceil(high / step) * step, bottom + step)


def _labels(axis, each, columns):
    """Return the labels under the columns: the year at each January for months, else a date or number every 16 columns."""
    line = [" "] * (columns + 12)
    months = axis.dtype.kind == "M" and np.datetime_data(axis.dtype)[0] == "M"
    free = 0
    for column, step in enumerate(axis[each - 1::each]):
        wanted = step.astype(int) % 12 < each if months else column % 16 == 0
        label = str(step)[:4] if months else str(step)
        if wanted and column >= free and len(label) <= 12:
            line[column:column + len(label)] = label
            free = column + len(label) + 1
    return "".join(line).rstrip()
