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


def draw(path, *, dates, observed, forecast, title, quantity, history, reach):
    """Write three panels to `path`: forecasts beside what came; losses by epoch; how far back the gradient reaches.

    Parameters
    ----------
    dates : (N,) datetime64[M]
    observed, forecast : (N,); NaN where a month is not observed yet
    title, quantity : str, of the first panel and of its values
    history : training.History
    reach : (K,), ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖
    """
    from matplotlib.figure import Figure  # with a canvas of its own: no display is needed, no state of pyplot's touched
    from matplotlib.ticker import LogLocator, MultipleLocator

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplot_mosaic([["series", "series"], ["loss", "reach"]])

    ax = axes["series"]
    ax.plot(dates, observed, color=OBSERVED, linewidth=0.9, label="observed")
    ax.plot(dates, forecast, color=FORECAST, linewidth=1.6, label="forecast")
    ax.set(ylabel=quantity, xlim=(dates[0], dates[-1]), ylim=(min(0, np.nanmin(forecast)), None))
    ax.set_title(title, loc="left", fontsize="medium")
    ax.legend(frameon=False, ncols=2, loc="upper right")

    ax = axes["loss"]
    ax.set_prop_cycle(color=[BLUE, FORECAST])
    history.plot(ax)
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    ax.yaxis.set_major_formatter("{x:g}")  # 0.3, where the default writes 3 × 10⁻¹
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.set(ylabel="mean squared error / variance")
    ax.set_title("Loss on the training and on the held-out part", loc="left", fontsize="medium")

    ax = axes["reach"]
    seen = max(24, np.flatnonzero(reach >= 1e-4)[-1])  # what lies further back is smaller than matters
    ax.plot(np.arange(len(reach)), reach, color=BLUE)
    ax.axhline(0.01, color="0.45", linestyle="--", linewidth=1)
    ax.annotate("1 %", (1, 0.01), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
                ha="right", color="0.35")
    ax.set(xlabel="months back, $k$", ylabel=r"$\|\partial E_t/\partial S_{t-k}\|\ /\ \|\partial E_t/\partial S_t\|$",
           yscale="log", xlim=(0, seen), ylim=(1e-4, 2 * reach.max()))
    ax.xaxis.set_major_locator(MultipleLocator(12 * (1 + seen // 120)))
    ax.set_title("How far back the gradient of an error reaches", loc="left", fontsize="medium")

    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=84)


def text(dates, observed, forecast, *, columns=66, rows=12):
    """The last eleven years as lines of ASCII, a column for two months: o observed, + forecast, * both.

    The arguments are those of `draw`.
    """
    dates, observed, forecast = (np.asarray(part)[-2 * columns:] for part in (dates, observed, forecast))
    observed, forecast = (part.reshape(columns, 2).mean(axis=1) for part in (observed, forecast))
    top = np.ceil(max(np.nanmax([observed, forecast]), 1) / 50) * 50
    cells = np.full((rows, columns), " ")
    for values, letter in ((observed, "o"), (forecast, "+")):
        for column in np.flatnonzero(np.isfinite(values)):
            row = int(np.clip(values[column] / top * rows, 0, rows - 1))
            cells[row, column] = "*" if cells[row, column] == "o" else letter
    labels = {rows - 1: f"{top:.0f}", rows // 2: f"{top / 2:.0f}", 0: "0"}
    lines = [f"{labels.get(row, ''):>5} |{''.join(cells[row])}".rstrip() for row in reversed(range(rows))]

    years = [" "] * (columns + 4)
    for column, month in enumerate(dates[1::2]):
        if month.astype(int) % 12 < 2:  # the column of a January
            years[column:column + 4] = str(month)[:4]
    return "\n".join([*lines, "      +" + "-" * columns, f"       {''.join(years)}".rstrip(),
                      "       o observed   + forecast   * both"])
