"""Where the states of a network stand still: minima of ½‖F(S, x) − S‖² (Sussillo and Barak 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _plots, _words, reference

STILL = 1e-20  # q below which a point is fixed, but for rounding


@dataclass(frozen=True)
class FixedPoints:
    """Points where the state hardly changes under a constant input, the slowest first.

    Attributes
    ----------
    points : (n, H)
    speed : (n,)
        q = ½‖F(S, x) − S‖², F being one step of the network; under 1e-20 the point is fixed, else only slow.
    eigenvalues : (n, H) of complex
        Of the Jacobian ∂F/∂S there, the largest first.
    stable : (n,) of bool
        Whether all of them lie within the unit circle: small disturbances die out.
    found : (n,) of int
        How many starts ended there.
    starts : (m, H)
    lost : int
        How many starts ended in faster points, or nowhere; these are left out.
    """

    points: np.ndarray
    speed: np.ndarray
    eigenvalues: np.ndarray
    stable: np.ndarray
    found: np.ndarray
    starts: np.ndarray
    lost: int

    def describe(self) -> str:
        """A line about all points and one about each."""
        still = self.speed < STILL
        head = (f"{len(self.points)} point(s) of {len(self.starts)} start(s): {still.sum()} fixed, of which "
                f"{(still & self.stable).sum()} stable; {(~still).sum()} slow; {self.lost} start(s) ended nowhere slow.")
        lines = [f"  {n:3}  q = {q:.1e}  {'fixed' if is_still else 'slow ':5}  {'stable' if stable else 'unstable':8}  "
                 f"largest |λ| {abs(values[0]):.4f}, {int((np.abs(values) >= 1).sum())} of {len(values)} at 1 or above, "
                 f"{found} start(s)"
                 for n, (q, is_still, stable, values, found) in enumerate(zip(self.speed, still, self.stable,
                                                                              self.eigenvalues, self.found))]
        return "\n".join([head, *lines])

    def plot(self, ax: Any = None) -> Any:
        """The points, stable ones filled, on their first two principal components, of one unit by |λ|; returns the Axes.

        Needs matplotlib.
        """
        return _plots.fixed_points(ax, self.points, self.stable, self.starts, np.abs(self.eigenvalues[:, 0]))


def find(network, x, starts, max_speed, distance):
    """As `diagnostics.fixed_points`; the network is of float64 and the arguments are checked."""
    import scipy.optimize  # which takes a fifth of a second

    p, options = network.parameters, network._engines["reference"].options

    def change(S):
        return reference.next_state(p, S, x, **options) - S

    def by_state(S):
        return reference.jacobian(p, S, x, **options) - np.eye(len(S))

    ends = [scipy.optimize.least_squares(change, start, by_state, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15)
            for start in starts]
    slow = sorted((end for end in ends if end.cost <= max_speed), key=lambda end: end.cost)
    points, speed, found = [], [], []
    for end in slow:  # the slowest of those that lie together stands for all
        near = [n for n, point in enumerate(points) if np.linalg.norm(end.x - point) <= distance]
        if near:
            found[near[0]] += 1
        else:
            points.append(end.x)
            speed.append(end.cost)
            found.append(1)
    points = np.array(points).reshape(-1, starts.shape[1])
    values = np.linalg.eigvals(reference.jacobian(p, points, x, **options)).astype(complex)
    values = np.take_along_axis(values, np.argsort(-np.abs(values), axis=1, kind="stable"), axis=1)
    return FixedPoints(points, np.array(speed), values, np.abs(values[:, 0]) < 1, np.array(found, int), starts,
                       len(starts) - len(slow))


def check_starts(network, starts):
    starts = _words.array("starts", starts, np.float64)
    if starts.ndim != 2 or starts.shape[1] != network.hidden_size or len(starts) == 0:
        raise ValueError(f"starts must have shape (n, H) = (n, {network.hidden_size}) with n >= 1, got {starts.shape}")
    _words.finite("starts", starts, "nh")
    return starts
