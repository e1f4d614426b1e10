"""Plots of the results of `diagnostics`. Only this module imports matplotlib, and only when a plot is drawn.

A new plot is a function (ax, data) -> Axes.
"""

from __future__ import annotations

import numpy as np

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # colour-blind readers can distinguish them (Okabe and Ito 2008)

DECADES = 8  # the range of a heat map, in powers of ten below its largest value
UNIT = "unit of dt"
FEW = 8  # up to this number of units, each is a line; more are rows of an image


def axes(ax):
    """Return `ax`, or new Axes if it is None. Raise ImportError if matplotlib is not installed."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('matplotlib is required for a plot and is not installed: pip install "fastbptt[plot]"') from error
    return plt.subplots(layout="constrained")[1]


def draw_parts(ax, part, draw):
    """Draw a part, "h" or "c", of the state of an LSTM by draw(ax, part), and return the Axes.

    Without a part and Axes, both are drawn in a new figure, and the Axes of h is returned.
    """
    if ax is not None or part is not None:
        return draw(ax, part or "h")
    first = axes(None)
    second = first.figure.add_subplot(1, 2, 2)
    first.set_subplotspec(first.figure.add_gridspec(1, 2)[0])
    first.figure.set_figwidth(1.8 * first.figure.get_figwidth())
    draw(second, "c")
    return draw(first, "h")


def heat_map(ax, errors, norms, dt=None, letter="S"):
    """Draw ‖∂E_t/∂S_i‖ as a heat map, with a row for each error t and a column for each state i, and return the Axes.

    `errors` (n,) are the steps t and `norms` is (n, T). `letter` stands in the labels for S. Zeros stay white.
    """
    ax = axes(ax)
    from matplotlib.colors import LogNorm

    shown = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    top = np.nanmax(shown, initial=-np.inf)
    if not np.isfinite(top):
        top = 1.0
    bottom = max(np.nanmin(shown, initial=np.inf), top * 10.0**-DECADES)
    scale = LogNorm(min(bottom, top / 10), top)  # at least a decade, so that norms that hardly change look alike
    edges = np.concatenate([errors - 0.5, errors[-1:] + 0.5])
    columns = np.arange(norms.shape[1] + 1) - 0.5
    image = ax.pcolormesh(_steps_or_times(columns, dt), _steps_or_times(edges, dt), shown, norm=scale, cmap="viridis",
                          rasterized=True)
    bar = ax.figure.colorbar(image, ax=ax, label=rf"$\|\partial E_t/\partial {letter}_i\|$", extend="min")
    _label_decades(bar.ax.yaxis, scale.vmin, scale.vmax)
    ax.set(xlabel="state $i$" if dt is None else f"time of state ${letter}_i$ ({UNIT})",
           ylabel="error $t$" if dt is None else f"time of error $E_t$ ({UNIT})")
    if dt is None:
        integer_ticks(ax.xaxis, ax.yaxis)
    return ax


def one_error(ax, t, norms, dt=None):
    """Draw ‖∂E_t/∂S_i‖ of one error t, by state i. `norms` has a curve (t + 1,) for each letter: S, or h and c."""
    ax = axes(ax)
    labels = [rf"$\|\partial E_{{{t}}}/\partial {letter}_i\|$" for letter in norms]
    for curve, label, color in zip(norms.values(), labels, (BLUE, GREEN)):
        ax.plot(_steps_or_times(np.arange(len(curve)), dt), _nan_unless_positive(curve), color=color, label=label)
    ax.set(xlabel="state $i$" if dt is None else f"time of state $S_i$ ({UNIT})",
           ylabel=labels[0] if len(labels) == 1 else "norm")
    logarithmic(ax)
    if len(labels) > 1:
        ax.legend(frameon=False, fontsize="small")
    if dt is None:
        integer_ticks(ax.xaxis)
    return _hide_top_and_right(ax)


def distance(ax, ratios, fit, products, t, dt=None, letter="S", memory=None):
    """Draw how the gradient of an error changes by steps back, and return the Axes.

    These are the median and the middle 80 % of the `ratios` (n, K), the fitted line `fit` (K,) or None, and the norms of the
    `products` (K', m) of step Jacobians that end at step t. `letter` is h for an LSTM, and `memory` the medians (K,) of c.
    """
    ax = axes(ax)
    step = 1 if dt is None else dt
    k = np.arange(ratios.shape[1]) * step
    seen = np.isfinite(ratios)
    low, middle, high = (_quantile(ratios, seen, q) for q in (0.1, 0.5, 0.9))
    ax.plot(k, _nan_unless_positive(middle), color=BLUE,
            label=_ratio_label(letter, letter, t, len(ratios) > 1))
    if memory is not None:
        ax.plot(np.arange(len(memory)) * step, _nan_unless_positive(memory), color=GREEN,
                label=_ratio_label("c", letter, t, len(ratios) > 1))
    if len(ratios) > 1:
        ax.fill_between(k, _nan_unless_positive(low), _nan_unless_positive(high), color=BLUE, alpha=0.2, linewidth=0,
                        label="its middle 80 %")
    if fit is not None:
        ax.plot(k, fit, color="0.2", linestyle=":", linewidth=1.2, label="fitted rate")
    if products.size:
        norms = np.median(products, axis=1)[::-1]
        ax.plot(np.arange(len(norms)) * step, _nan_unless_positive(norms), color=ORANGE, linestyle="--",
                label=rf"$\|\partial S_{{{t}}}/\partial S_{{{t}-k}}\|_2$, median")
    ax.set(xlabel="steps back, $k$" if dt is None else f"time back ({UNIT})")
    logarithmic(ax)
    ax.legend(frameon=False, fontsize="small")
    if dt is None:
        integer_ticks(ax.xaxis)
    return _hide_top_and_right(ax)


def _ratio_label(letter, own, t, is_median):
    """Return the label of ‖∂E_t/∂S_{t−k}‖ / ‖∂E_t/∂S_t‖ with `letter` and `own` in place of the two S.

    If the ratio is a median over several errors (`is_median`), the label has t in place of its number.
    """
    t = "t" if is_median else t
    label = rf"$\|\partial E_{{{t}}}/\partial {letter}_{{{t}-k}}\|\ /\ \|\partial E_{{{t}}}/\partial {own}_{{{t}}}\|$"
    return f"{label}, median" if is_median else label


def terms(ax, t, W_s, W_x, dt=None):
    """Draw the norms W_s and W_x (t + 1,) of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x, by step."""
    ax = axes(ax)
    for norms, color, style, name in ((W_s, ORANGE, "-", "W_s"), (W_x, BLUE, "--", "W_x")):
        ax.plot(_steps_or_times(np.arange(len(norms)), dt), _nan_unless_positive(norms), color=color, linestyle=style,
                marker=".", label=rf"term $i$ of $\partial E_{{{t}}}/\partial {name}$")
    ax.set(xlabel="step $i$" if dt is None else f"time of step $i$ ({UNIT})", ylabel="norm")
    logarithmic(ax)
    ax.legend(frameon=False, fontsize="small")
    if dt is None:
        integer_ticks(ax.xaxis)
    return _hide_top_and_right(ax)


def eigenvalues(ax, values, leak=1.0):
    """Draw complex eigenvalues (`values`) with the unit circle, and return the Axes.

    With a leak, also draw the circle outside which leaky units of slope 1 are unstable.
    """
    ax = axes(ax)
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="0.5", linewidth=1)
    ax.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    out = outside(values, leak)
    circle = "the unit circle" if leak == 1 else r"the dashed circle $|1 - \lambda + \lambda\nu| = 1$"
    ax.scatter(values.real[~out], values.imag[~out], s=18, color=BLUE, label=f"{(~out).sum()} within or on {circle}")
    if leak != 1:  # a large circle: only its part near the eigenvalues is drawn
        reach = 1.15 * max(np.abs(values).max(initial=0), 1)
        border = (np.exp(1j * np.linspace(-np.pi, np.pi, 20001)) - (1 - leak)) / leak
        border = border[np.abs(border.real) + np.abs(border.imag) < 4 * reach]
        ax.plot(border.real, border.imag, color=ORANGE, linestyle="--", linewidth=1)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
    if out.any():
        ax.scatter(values.real[out], values.imag[out], s=22, marker="D", color=ORANGE, label=f"{out.sum()} outside")
    ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return _hide_top_and_right(ax)


def outside(values, leak=1.0):
    """Return which eigenvalues ν (`values`) lie outside the circle |1 − leak + leak ν| = 1, by more than float32's rounding."""
    return np.abs(1 - leak + leak * values) > 1 + 1e-6 * leak


def states(ax, S, dt=None, letter=None):
    """Draw the states S (T + 1, H) of one sequence: as lines for up to FEW units, else as an image. `letter` is h or c."""
    ax = axes(ax)
    step, name = (1, "step") if dt is None else (dt, f"time ({UNIT})")
    if S.shape[1] <= FEW:
        ax.plot(np.arange(len(S)) * step, S, linewidth=1.2)
        ax.set(xlabel=name, ylabel=f"{letter or 'state'} of each unit")
        if dt is None:
            integer_ticks(ax.xaxis)
        return _hide_top_and_right(ax)
    largest = np.abs(S).max() or 1.0
    image = ax.imshow(S.T, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest",
                      extent=(-0.5 * step, (len(S) - 0.5) * step, -0.5, S.shape[1] - 0.5))
    ax.figure.colorbar(image, ax=ax, label=letter or "state")
    ax.set(xlabel=name, ylabel="unit")
    integer_ticks(ax.yaxis, *([ax.xaxis] if dt is None else []))
    return ax


def fixed_points(ax, points, stable, marginal, starts):
    """Draw fixed points (n, 2) and the starts of the search (m, 2), both along the first two principal axes.

    `stable` and `marginal` (n,) say how small disturbances behave at each point.
    """
    ax = axes(ax)
    ax.scatter(*starts.T, s=8, color="0.75", label="starts")
    ax.set(xlabel="first principal axis", ylabel="second principal axis")
    return _scatter_fixed_points(ax, *points.T, stable, marginal)


def fixed_points_of_one_unit(ax, points, radius, stable, marginal):
    """Draw fixed points (n,) of a single unit against the magnitude of the eigenvalue, `radius` (n,), and return the Axes.

    `stable` and `marginal` (n,) say how small disturbances behave at each point.
    """
    ax = axes(ax)
    ax.axhline(1, color="0.5", linewidth=1, linestyle=":")
    ax.set(xlabel="state", ylabel="|eigenvalue| of the Jacobian of one step")
    return _scatter_fixed_points(ax, points, radius, stable, marginal)


def weights(ax, W, present, signs, name, to, source):
    """Draw a matrix W (rows, columns) in colours centred at 0.

    Hatch absent entries; draw signs (columns,) of Dale's law above.

    `present` says which entries exist, or is None. `to` and `source` name what rows and columns stand for.
    """
    ax = axes(ax)
    absent = np.zeros(W.shape, bool) if present is None else ~np.broadcast_to(present, W.shape)
    largest = np.abs(W[np.isfinite(W)]).max(initial=0) or 1.0
    edges = [np.arange(n + 1) - 0.5 for n in W.shape[::-1]]
    image = ax.pcolormesh(*edges, np.ma.masked_where(absent, W), cmap="RdBu_r", vmin=-largest, vmax=largest, rasterized=True)
    if absent.any():
        ax.patch.set(facecolor="0.93", hatch="////", edgecolor="0.75", linewidth=0)  # shows through the masked entries
    if signs is not None:
        colours = np.where(signs > 0, "#B2182B", "#2166AC")  # the ends of RdBu_r
        ax.bar(np.arange(len(signs)), 0.02, width=1, bottom=1.01, color=colours, transform=ax.get_xaxis_transform(),
               clip_on=False)
    label = "weight (hatched: no connection)" if absent.any() else "weight"
    ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel=f"from {source}", ylabel=f"to {to}", xlim=(-0.5, W.shape[1] - 0.5), ylim=(W.shape[0] - 0.5, -0.5))
    ax.set_title(name + ("" if signs is None else ", signs of Dale's law above"), loc="left", fontsize="medium",
                 pad=12 if signs is not None else None)
    integer_ticks(ax.xaxis, ax.yaxis)
    return ax


def exponents(ax, values, errors, dt=None):
    """Draw Lyapunov exponents (k,), `values`, with error bars by index, and return the Axes. Values of −inf are left out."""
    ax = axes(ax)
    ax.axhline(0, color="0.5", linewidth=1)
    seen = np.isfinite(values)
    index, errors = np.arange(1, len(values) + 1), np.where(np.isfinite(errors), errors, 0)
    for chosen, color, name in ((values > 0, ORANGE, "positive"), (values <= 0, BLUE, "not positive")):
        if (chosen & seen).any():
            chosen &= seen
            ax.errorbar(index[chosen], values[chosen], errors[chosen], fmt="o", markersize=4, color=color, elinewidth=1,
                        label=f"{chosen.sum()} {name}")
    if seen.any():
        ax.legend(frameon=False, fontsize="small")
    ax.set(xlabel="index", ylabel=_exponent_label(dt))
    integer_ticks(ax.xaxis)
    return _hide_top_and_right(ax)


def running_exponents(ax, running, dt=None):
    """Draw the running estimates (n, k) of Lyapunov exponents by the number of steps."""
    ax = axes(ax)
    ax.axhline(0, color="0.5", linewidth=1)
    count = np.arange(1, len(running) + 1) * (1 if dt is None else dt)
    for shade, curve in zip(np.linspace(1, 0.3, running.shape[1]), running.T):
        ax.plot(count, np.where(np.isfinite(curve), curve, np.nan), color=BLUE, alpha=shade, linewidth=1.2)
    ax.set(xlabel="steps" if dt is None else f"time ({UNIT})", ylabel=_exponent_label(dt))
    if dt is None:
        integer_ticks(ax.xaxis)
    return _hide_top_and_right(ax)


def _exponent_label(dt):
    """Return the label of the axis of Lyapunov exponents, with their unit."""
    return f"Lyapunov exponent per {'step' if dt is None else UNIT}"


def _scatter_fixed_points(ax, x, y, stable, marginal):
    """Draw fixed points at (x, y) with a colour by stability and a legend, and return the Axes.

    `stable` and `marginal` (n,) say how small disturbances behave at each point.
    """
    for chosen, face, edge, name in ((stable, BLUE, BLUE, "stable"), (marginal, "white", BLUE, "marginal"),
                                     (~stable & ~marginal, "white", ORANGE, "not stable")):
        if chosen.any():
            ax.scatter(x[chosen], y[chosen], s=45, facecolor=face, edgecolor=edge, linewidth=1.6,
                       label=f"{chosen.sum()} {name}", zorder=3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return _hide_top_and_right(ax)


def _quantile(A, seen, q):
    """Return the quantile q of the entries of each column of A (n, K) where `seen` (n, K) is True, or NaN if it nowhere is."""
    return np.array([np.quantile(A[seen[:, k], k], q) if seen[:, k].any() else np.nan for k in range(A.shape[1])])


def _nan_unless_positive(A):
    """Return A with NaN in place of values that a logarithmic axis cannot show."""
    return np.where(np.isfinite(A) & (A > 0), A, np.nan)


def _steps_or_times(step, dt):
    """Return numbers of steps unchanged, or with dt as the times of the states after them.

    S_i, the state after X[i], has the time (i + 1) dt.
    """
    return step if dt is None else (step + 1) * dt


def logarithmic(ax):
    """Make the y axis logarithmic, with at least two labelled ticks even for a small range."""
    ax.set_yscale("log")
    _label_decades(ax.yaxis, *ax.get_ylim())


def _label_decades(axis, low, high):
    """Label minor ticks of a logarithmic axis, from `low` to `high`, if its range has fewer than three powers of ten."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    decades = np.log10(high) - np.log10(low)
    if not 0 < decades < 3:
        return
    if decades < 0.5:  # such a range may contain fewer than two of the ticks 1, 2, 5
        axis.set_major_locator(MaxNLocator(nbins=5))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_minor_locator(LogLocator(subs=(2, 5) if decades > 1 else (1.5, 2, 3, 5, 7)))
        axis.set_minor_formatter("{x:g}")
    axis.set_major_formatter("{x:g}")


def integer_ticks(*axes):
    """Place the ticks of these axes of matplotlib only at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _hide_top_and_right(ax):
    """Hide the lines at the top and right of the Axes, and return the Axes."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax
