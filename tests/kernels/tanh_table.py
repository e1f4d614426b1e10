"""The table of tanh in sets/set.h, anew: `python tests/kernels/tanh_table.py` prints its lines and each interval's error.

Each polynomial is the minimax one for the error in ulp of float32 (Lawson's weights, in long double), around a centre c near
which tanh c is nearly a float. Its error here counts every rounding, as the kernel computes it.
"""

import numpy as np

DEGREE = 8
EDGES = [0, *(19 / 16 * 2.0**k for k in range(-2, 4))]  # 1 from the last one on
CENTRES = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8)  # where in its interval c may be
exact, single = np.longdouble, np.float32


def ulp(x):
    return np.spacing(np.minimum(x.astype(single), single(1 - 2.0**-24))).astype(exact)


def fused(a, b, c):
    """a b + c in float32, rounded once (but for the rarest ties)."""
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(single)


def centre(middle, width):
    """(c, tanh c), the latter nearly a float."""
    top = single(np.tanh(exact(middle)))
    values = (exact(top) + np.arange(-3000, 3001) * exact(np.spacing(top))).astype(single)
    values = values[(values > 0) & (values < 1)]
    c = np.arctanh(values.astype(exact)).astype(single)
    off = abs(np.tanh(c.astype(exact)) - values.astype(exact)) / np.spacing(values).astype(exact)
    best = np.argmin(np.where(abs(c - middle) <= 0.06 * width, off, np.inf))
    return c[best], values[best]


def minimax(low, high, c, k, first):
    """Coefficients of (a - c)^first, ..., of which k + Σ is tanh a."""
    n = 600
    a = (np.cos(exact(np.pi) * (np.arange(n) + exact(0.5)) / n) * (high - low) + (high + low)) / 2
    v, scale = a - exact(c), exact(high - low) / 2
    target = np.tanh(a) - exact(k) - (v if first == 2 else 0)
    size = np.spacing(np.tanh(a).astype(single)).astype(exact) if low > 0 else np.tanh(a) * exact(1.2e-7)
    powers = np.stack([(v / scale)**j for j in range(first, DEGREE + 1)], 1) / size[:, None]
    target, weights, least, best = target / size, np.ones(n), np.inf, None
    for _ in range(300):
        root, solution = np.sqrt(weights), 0
        for _ in range(2):  # the second time in what the first one left
            rest = target - powers @ solution if np.ndim(solution) else target
            solution = solution + np.linalg.lstsq((powers * root[:, None]).astype(float), (rest * root).astype(float),
                                                  rcond=None)[0].astype(exact)
        error = abs(target - powers @ solution)
        if error.max() < least:
            least, best = error.max(), solution
        weights = weights * (error / error.max()).astype(float) + 1e-12
        weights /= weights.mean()
    return best / scale**np.arange(first, DEGREE + 1)


def evaluate(row, a):
    c, k, l, *p = (np.full(a.shape, x) for x in row)
    v = a - c
    square = v * v
    low = fused(fused(p[3], v, p[2]), square, fused(p[1], v, p[0]))
    high = fused(fused(p[7], v, p[6]), square, fused(p[5], v, p[4]))
    return fused(fused(high, square * square, low), v, fused(l, v, k))


def interval(low, high):
    """(error in ulp, row) of the centre that serves best."""
    a = np.linspace(max(low, 1e-4), high, 200001).astype(single)
    truth, tried = np.tanh(a.astype(exact)), []
    for where in CENTRES if low > 0 else (0,):
        c, k = centre(low + where * (high - low), high - low) if low > 0 else (0, 0)
        p = minimax(low, high, c, k, 1 if low > 0 else 2)
        row = np.array([c, k, 0, *p] if low > 0 else [0, 0, 1, 0, *p], dtype=single)
        y = evaluate(row, a)
        if y.max() <= 1:
            tried.append((float((abs(y.astype(exact) - truth) / ulp(truth)).max()), row))
    return min(tried, key=lambda pair: pair[0])


def main():
    rows = []
    for low, high in zip(EDGES[:-1], EDGES[1:]):
        error, row = interval(low, high)
        print(f"[{low:g}, {high:g}): {error:.3f} ulp")
        rows.append(row)
    rows.append(np.array([EDGES[-1], 1] + [0] * (DEGREE + 1), dtype=single))
    for column in np.array(rows).T:
        print("    INTERVALS(" + ", ".join(f"{x:.9g}f" if x % 1 else f"{x:.0f}" for x in column) + "),")


if __name__ == "__main__":
    main()
