"""What the experiments share: a picture of curves."""

COLORS = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito


def picture(path, curves, x, y, *, level=None, logarithmic=False, limits=None):
    """Draw curves {name: (x, y)} and a level (value, name), with matplotlib, to `path`. Do nothing if it is None.

    x and y are the labels of the axes, and `limits` those of the y axis, which may be logarithmic.
    """
    if path is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    for (name, (at, values)), color in zip(curves.items(), COLORS):
        ax.plot(at, values, label=name, color=color)
    if level is not None:
        ax.axhline(level[0], label=level[1], color="0.5", linestyle=":")
    ax.set(xlabel=x, ylabel=y, yscale="log" if logarithmic else "linear", ylim=limits)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(path, dpi=100)
