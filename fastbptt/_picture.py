"""What `fastbptt train` draws: a picture where matplotlib is installed, else lines of text."""

from __future__ import annotations

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind eyes too.
OBSERVED, FORECAST, BLUE = "0.45", "#D55E00", "#0072B2"


def file_types():
    """Endings of file names that `draw` can write, without the dot. Raises ImportError without matplotlib."""
    import matplotlib  # noqa: F401  where it is missing, say so of the package, not of a part of it
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg.get_supported_filetypes().keys()


def draw(file, ending, *, axis, observed, forecast, test_start, end, title, quantity, unit, history, reach):
    """Write three panels to a binary file: forecasts beside what came; losses; how far back the gradient reaches.

    Parameters
    ----------
    ending : str, one of `file_types`
    axis : (N,) of dates, datetime64, or of step numbers
    observed, forecast : (N,); NaN where a step is not observed yet, or none was forecast
    test_start, end : int, where the last 20 % begin, and where what nobody has seen begins
    title, quantity, unit : str, of the first panel, of its values and of its steps
    history : training.History
    reach : (K,), ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖
    """
    from matplotlib.figure import Figure  # with a canvas of its own: no display is needed, no state of pyplot's touched

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplot_mosaic([["series", "series"], ["loss", "reach"]])
    _draw_series(axes["series"], axis, observed, forecast, test_start, end, unit)
    axes["series"].set(ylabel=quantity)
    axes["series"].set_title(title, loc="left", fontsize="medium")
    _draw_losses(axes["loss"], history)
    _draw_reach(axes["reach"], reach, unit)
    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format=ending, dpi=84)


def _draw_series(ax, axis, observed, forecast, test_start, end, unit):
    ax.plot(axis, observed, color=OBSERVED, linewidth=0.9, label="observed")
    ax.plot(axis, forecast, color=FORECAST, linewidth=1.6, label="forecast")
    if test_start > 0:
        ax.axvline(axis[test_start], color="0.6", linestyle=":", linewidth=1, label="last 20 % begin")
    if end < len(axis):
        ax.axvspan(axis[end - 1], axis[-1], color=BLUE, alpha=0.12, linewidth=0, label=f"{unit} that nobody has seen")
    values = np.concatenate([observed, forecast])
    low, high = np.nanmin(values), np.nanmax(values)
    bottom = min(0, low) if low - 0.5 * (high - low) < 0 <= high else low - 0.05 * (high - low)
    ax.set(xlim=(axis[0], axis[-1]), ylim=(bottom, high + 0.2 * (high - bottom)))  # room for the legend
    ax.legend(ncols=4, loc="upper left", edgecolor="none", borderaxespad=0)


def _draw_losses(ax, history):
    from matplotlib.ticker import LogLocator

    ax.set_prop_cycle(color=[BLUE, FORECAST])
    history.plot(ax)
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    ax.yaxis.set_major_formatter("{x:g}")  # 0.3, where the default writes 3 × 10⁻¹
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.set(ylabel="mean squared error / variance")
    ax.set_title("Loss on the training and on the held-out part", loc="left", fontsize="medium")


def _draw_reach(ax, reach, unit):
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    seen = max([min(24, len(reach) - 1), *np.flatnonzero(reach >= 1e-4)[-1:]])  # what lies further back is too small
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
    """The last steps as lines of ASCII, a column for one or two of them: o observed, + forecast, * both.

    Parameters
    ----------
    axis : (N,) of dates, datetime64, or of step numbers
    observed, forecast : (N,); NaN where there is none
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
    """Round numbers under and over all values; 0 is the lower one where it is not far."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    bottom = 0.0 if 0 <= low < high - low or low == high >= 0 else low
    step = max(high - bottom, 1e-9 * max(abs(high), 1e-290)) / 16
    power = 10.0 ** np.floor(np.log10(step))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step)
    bottom = np.floor(bottom / step) * step
    return bottom, max(np.ceil(high / step) * step, bottom + step)


def _labels(axis, each, columns):
    """What stands under the columns: Januaries' years where steps are months, else now and then a date or number."""
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
