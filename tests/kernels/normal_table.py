"""The polynomials of `normal_tail` in defs/activations.h: `python tests/kernels/normal_table.py` prints them and their errors.

Φ(-z) exp(z²/2) = s p(v) for z in [0, TOP], with s = 1 / (z + CENTRE) and v = (CENTRE - z) s. v is 2 CENTRE s - 1, but this
product has the relative rounding error of v. p is the least-squares polynomial for the relative error, at Chebyshev's nodes.
The exact values are sums of Φ's series, in decimal numbers long enough for the difference 1/2 - (Φ(z) - 1/2).
"""

from decimal import Decimal, getcontext

import numpy as np

# real: (top, centre, degree)
CHOICES = {np.float32: (15, 4, 9), np.float64: (39, 5, 22)}
NODES = 200
exact = np.longdouble
getcontext().prec = 460  # Φ(-39) is 1e-333


def inverse_tangent(n):
    """Return arctan(1 / n)."""
    term = total = Decimal(1) / n
    k = 1
    while abs(term) > Decimal(10) ** -455:
        term, k = -term / (n * n), k + 2
        total += term / k
    return total


ROOT = (8 * (4 * inverse_tangent(5) - inverse_tangent(239))).sqrt()  # √(2 π), by Machin's formula


def scaled_tail(z):
    """Return Φ(-z) exp(z²/2) = exp(z²/2) / 2 - Σ z^(2 k + 1) / (2 k + 1)!! / √(2 π) for a float z."""
    z = Decimal(float(z))
    term = total = z
    n = 1
    while abs(term) > Decimal(10) ** -455 * total:
        n += 2
        term = term * z * z / n
        total += term
    return exact(str(((z * z / 2).exp() / 2 - total / ROOT).quantize(Decimal(10) ** -40)))


def fit(top, centre, degree):
    """Return the coefficients of 1, v, v², ..., and the largest relative error, in long double."""
    highest, lowest = 1 / exact(centre), 1 / (exact(top) + centre)
    v = np.cos(exact(np.pi) * (np.arange(NODES) + exact(0.5)) / NODES)
    z = np.clip(2 / (v * (highest - lowest) + (highest + lowest)) - centre, 0, top).astype(float)
    s = 1 / (z.astype(exact) + centre)
    slope, offset = 1 / (centre * (highest - lowest)), (1 / exact(centre) - highest - lowest) / (highest - lowest)
    v = slope * (2 * centre * s - 1) + offset  # from -1 to 1
    target = np.array([scaled_tail(each) for each in z]) / s
    waves = [np.ones_like(v), v]  # Chebyshev's polynomials, and their coefficients of powers
    powers = [np.eye(degree + 1, dtype=exact)[0], np.eye(degree + 1, dtype=exact)[1]]
    for _ in range(degree - 1):
        waves.append(2 * v * waves[-1] - waves[-2])
        powers.append(2 * np.roll(powers[-1], 1) - powers[-2])
    matrix, rest, solution = np.stack(waves, 1) / target[:, None], np.ones_like(v), 0
    for _ in range(3):  # again in what the one before left: a least-squares solution is found in double
        part = np.linalg.lstsq(matrix.astype(float), rest.astype(float), rcond=None)[0].astype(exact)
        solution, rest = solution + part, rest - matrix @ part
    coefficients = np.zeros(1, exact)
    for x in (solution @ np.stack(powers))[::-1]:  # the polynomial of the v above, as one of (v - offset) / slope
        coefficients = np.convolve(coefficients, [offset, slope])
        coefficients[0] += x
    return coefficients[:degree + 1], abs(rest).max()


def main():
    for real, (top, centre, degree) in CHOICES.items():
        coefficients, error = fit(top, centre, degree)
        print(f"{real.__name__}: error of the fit {float(error / np.finfo(real).eps):.3f} ulp")
        for x in coefficients[::-1]:
            print(f"    {real(x):.{9 if real is np.float32 else 17}g}")
        z = np.linspace(0, top, 2001).astype(real)
        s = real(1) / (z + real(centre))
        v = (real(centre) - z) * s
        p = np.full_like(v, real(coefficients[-1]))
        for x in coefficients[-2::-1]:
            p = p * v + real(x)
        truth = np.array([scaled_tail(each) for each in z])
        print(f"    error with every rounding: {float(abs((p * s) / truth - 1).max() / np.finfo(real).eps):.2f} ulp")


if __name__ == "__main__":
    main()
