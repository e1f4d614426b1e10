"""Pictures of what `diagnostics` finds. matplotlib is imported here alone, when a picture is asked for."""

from __future__ import annotations

import numpy as np

from ._picture import BLUE, FORECAST as ORANGE

DECADES = 8  # of a heat map, below its largest value
FEW = 8  # units that are drawn as lines; more of them are rows of an image


def axes(ax):
    """`ax`, or a new one. Raises ImportError where matplotlib is missing."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('a picture needs matplotlib: pip install "fastbptt[plot]" brings it') from error
    return plt.subplots(layout="constrained")[1]


def heat_map(ax, errors, norms):
    """‖∂E_t/∂S_i‖ in colours, a row for each error t and a column for each state i; what is 0 stays white."""
    ax = axes(ax)
    from matplotlib.colors import LogNorm

    shown = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
    top = np.nanmax(shown, initial=-np.inf)
    if not np.isfinite(top):
        top = 1.0
    bottom = max(np.nanmin(shown, initial=np.inf), top * 10.0**-DECADES)
    scale = LogNorm(min(bottom, top / 10), top)  # over a decade at least: what hardly changes shall look so
    edges = np.concatenate([errors - 0.5, errors[-1:] + 0.5])
    image = ax.pcolormesh(np.arange(norms.shape[1] + 1) - 0.5, edges, shown, norm=scale, cmap="viridis", rasterized=True)
    ax.figure.colorbar(image, ax=ax, label=r"$\|\partial E_t/\partial S_i\|$", extend="min")
    ax.set(xlabel="state $i$", ylabel="error $t$")
    _whole_steps(ax)
    return ax


def one_error(ax, t, norms):
    """‖∂E_t/∂S_i‖ of one error t, by state."""
    ax = axes(ax)
    ax.plot(np.arange(len(norms)), _positive(norms), color=BLUE)
    ax.set(xlabel="state $i$", ylabel=rf"$\|\partial E_{{{t}}}/\partial S_i\|$", yscale="log")
    _whole_steps(ax, y=False)
    return _bare(ax)


def distance(ax, ratios, fit, products, t):
    """Median and middle 80 % of the ratios (n, K), the fitted line (K,) or None, and norms of products (K', m)."""
    ax = axes(ax)
    k = np.arange(ratios.shape[1])
    seen = np.isfinite(ratios)
    low, middle, high = (_quantile(ratios, seen, q) for q in (0.1, 0.5, 0.9))
    ax.plot(k, _positive(middle), color=BLUE,
            label=r"$\|\partial E_t/\partial S_{t-k}\|\ /\ \|\partial E_t/\partial S_t\|$, median" if len(ratios) > 1 else
                  rf"$\|\partial E_{{{t}}}/\partial S_{{{t}-k}}\|\ /\ \|\partial E_{{{t}}}/\partial S_{{{t}}}\|$")
    if len(ratios) > 1:
        ax.fill_between(k, _positive(low), _positive(high), color=BLUE, alpha=0.2, linewidth=0, label="its middle 80 %")
    if fit is not None:
        ax.plot(k, fit, color="0.2", linestyle=":", linewidth=1.2, label="fitted rate")
    if products.size:
        norms = np.median(products, axis=1)[::-1]
        ax.plot(np.arange(len(norms)), _positive(norms), color=ORANGE, linestyle="--",
                label=rf"$\|\partial S_{{{t}}}/\partial S_{{{t}-k}}\|_2$, median")
    ax.set(xlabel="steps back, $k$", yscale="log")
    ax.legend(frameon=False, fontsize="small")
    _whole_steps(ax, y=False)
    return _bare(ax)


def terms(ax, t, W_s, W_x):
    """Norms of the terms of ∂E_t/∂W_s and ∂E_t/∂W_x, by the step that they belong to."""
    ax = axes(ax)
    for norms, color, style, name in ((W_s, ORANGE, "-", "W_s"), (W_x, BLUE, "--", "W_x")):
        ax.plot(np.arange(len(norms)), _positive(norms), color=color, linestyle=style, marker=".",
                label=rf"term $i$ of $\partial E_{{{t}}}/\partial {name}$")
    ax.set(xlabel="step $i$", ylabel="norm", yscale="log")
    ax.legend(frameon=False, fontsize="small")
    _whole_steps(ax, y=False)
    return _bare(ax)


def eigenvalues(ax, values):
    """Complex numbers, in and around the unit circle."""
    ax = axes(ax)
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="0.5", linewidth=1)
    ax.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    out = outside(values)
    ax.scatter(values.real[~out], values.imag[~out], s=18, color=BLUE, label=f"{(~out).sum()} within or on the unit circle")
    if out.any():
        ax.scatter(values.real[out], values.imag[out], s=22, marker="D", color=ORANGE, label=f"{out.sum()} outside")
    ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return _bare(ax)


def outside(values):
    """Which of them lie outside the unit circle, by more than what single precision rounds."""
    return np.abs(values) > 1 + 1e-6


def states(ax, S):
    """S (T + 1, H) of one sequence: lines where units are few, else an image."""
    ax = axes(ax)
    if S.shape[1] <= FEW:
        ax.plot(np.arange(len(S)), S, linewidth=1.2)
        ax.set(xlabel="step", ylabel="state of each unit")
        _whole_steps(ax, y=False)
        return _bare(ax)
    largest = np.abs(S).max() or 1.0
    image = ax.imshow(S.T, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest",
                      extent=(-0.5, len(S) - 0.5, -0.5, S.shape[1] - 0.5))
    ax.figure.colorbar(image, ax=ax, label="state")
    ax.set(xlabel="step", ylabel="unit")
    _whole_steps(ax)
    return ax


def fixed_points(ax, points, stable, starts, radius):
    """Points (n, H) and where the search began, on the two directions in which they differ most; of one unit, by |λ|."""
    ax = axes(ax)
    if points.shape[1] == 1:
        ax.axhline(1, color="0.5", linewidth=1, linestyle=":")
        place = lambda A, y: (A[:, 0], y)  # noqa: E731
        ax.set(xlabel="state", ylabel=r"$|\lambda|$ of the Jacobian")
    else:
        pooled = np.concatenate([starts, points])
        centre = pooled.mean(axis=0)
        _, _, directions = np.linalg.svd(pooled - centre, full_matrices=False)
        directions = np.vstack([directions, np.zeros((2, points.shape[1]))])[:2]
        place = lambda A, y: tuple(((A - centre) @ directions.T).T)  # noqa: E731
        ax.scatter(*place(starts, None), s=8, color="0.75", label="starts")
        ax.set(xlabel="first principal component", ylabel="second principal component")
    for chosen, face, name in ((stable, BLUE, "stable"), (~stable, "white", "not stable")):
        if chosen.any():
            ax.scatter(*place(points[chosen], radius[chosen]), s=45, facecolor=face, edgecolor=BLUE if face == BLUE else ORANGE,
                       linewidth=1.6, label=f"{chosen.sum()} {name}", zorder=3)
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return _bare(ax)


def _quantile(A, seen, q):
    """The quantile q of each column's entries that are seen; NaN where none is."""
    return np.array([np.quantile(A[seen[:, k], k], q) if seen[:, k].any() else np.nan for k in range(A.shape[1])])


def _positive(A):
    """What a logarithmic axis can show."""
    return np.where(np.isfinite(A) & (A > 0), A, np.nan)


def _whole_steps(ax, y=True):
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if y:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _bare(ax):
    ax.spines[["top", "right"]].set_visible(False)
    return ax
