"""Search for fixed and slow points, minima of ½‖(F(S, x) − S) / λ‖² (Sussillo and Barak 2013): `fixed_points`.

Another property of the points belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plots, _checks, reference
from ._networks import require_one_layer, state_width, states_and_inputs, with_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Float
    from ..network import RNN

# Factor of H, eps and the norm of the Jacobian in the bound on an eigenvalue's rounding error. LAPACK's eigenvalues are those
# of a matrix that differs by a modest multiple of eps ‖∂F/∂S‖, and the Jacobian's own entries are rounded too.
ROUNDING = 10
STILL = 1e-20  # q below which a point counts as fixed


@dataclass(frozen=True)
class FixedPoints:
    """Fixed and slow points of the state under a constant input, the slowest first.

    Attributes
    ----------
    points : array (n, H), or (n, 2H) for an LSTM
        States. With leak_form="current" they are currents. Those of an LSTM are [h | c]. Every H of this page is then 2H.
    speed : array (n,)
        q = ½‖(F(S, x) − S) / λ‖², where F is one step of the network and λ the leak of each unit (1 without a leak). Since
        leaky units approximate τ dS/dt, q is ½‖τ dS/dt‖² and does not depend on dt. Below 1e-20 the point is fixed, otherwise
        slow.
    eigenvalues : complex array (n, H)
        Eigenvalues of the Jacobian ∂F/∂S of one step, in order of decreasing magnitude. They are per step: they approach 1
        as dt approaches 0. `time_constants` expresses them as times.
    stable : bool array (n,)
        Whether all eigenvalues lie within the unit circle by more than `tolerance`, so that small disturbances decay in
        this network. A large dt can make a point unstable that a smaller dt leaves stable.
    tolerance : array (n,)
        10 H eps ‖∂F/∂S‖, with the Frobenius norm and eps of float64. If an |eigenvalue| differs from 1 by no more, rounding
        would decide whether it is below 1, and the linear part does not tell whether a disturbance along it shrinks or grows.
        Eigenvalues of a Jacobian that is far from normal may have larger errors.
    found : int array (n,)
        Number of starts that ended there.
    starts : array (m, H)
    lost : int
        Number of starts that ended in faster points, or did not converge. These are left out.
    mean : array (H,)
        Mean of `starts` and `points` together.
    axes : array (k, H)
        Principal axes of `starts` and `points` together: orthonormal rows, the largest variance first. Each row's entry of
        largest magnitude is positive. k is H, or the number of starts and points if it is smaller.
    dt : float or None
        Time step of the network, if it was created with dt and tau.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> points = diagnostics.fixed_points(net, np.zeros(2), np.random.default_rng(0).standard_normal((10, 8)))
    >>> points.points.shape[1]
    8
    """

    points: np.ndarray
    speed: np.ndarray
    eigenvalues: np.ndarray
    stable: np.ndarray
    tolerance: np.ndarray
    found: np.ndarray
    starts: np.ndarray
    lost: int
    mean: np.ndarray
    axes: np.ndarray
    dt: float | None = None

    @property
    def marginal(self) -> np.ndarray:
        """Whether the largest |eigenvalue| of each point (n,) is 1 within `tolerance`: neither stable nor unstable."""
        return np.abs(np.abs(self.eigenvalues[:, 0]) - 1) <= self.tolerance

    @property
    def time_constants(self) -> np.ndarray:
        """Times (n, H) in which a disturbance along each eigenvector shrinks to 1/e: −1 / ln |eigenvalue|.

        They are in the unit of dt, or in steps if the network has no dt. They are negative for disturbances that grow, and
        inf if |eigenvalue| is 1 within `tolerance`.
        """
        radius = np.abs(self.eigenvalues)
        with np.errstate(divide="ignore"):
            times = -(1.0 if self.dt is None else self.dt) / np.log(radius)
        return np.where(np.abs(radius - 1) <= self.tolerance[:, None], np.inf, times)

    def project(self, states: ArrayLike, dimensions: int = 2) -> np.ndarray:
        """Return the coordinates (..., dimensions) of states (..., H) along the first principal axes, as `plot` draws them.

        Parameters
        ----------
        states : array (..., H), or an object with such an array `S`
            A result of `forward(return_states=True)` or `diagnostics.states`, or any part of its S.
        dimensions : int
            Number of axes. Coordinates along axes that do not exist are 0.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> points = diagnostics.fixed_points(net, np.zeros(2), np.random.default_rng(0).standard_normal((10, 8)))
        >>> states = net.forward(np.ones((20, 1, 2)), return_states=True)[2]
        >>> ax = points.plot()
        >>> lines = ax.plot(*points.project(states.S[:, 0]).T)  # the trajectory of the first sequence
        """
        S = _checks.array("states", getattr(states, "S", states), np.float64)
        if S.ndim < 1 or S.shape[-1] != len(self.mean):
            raise ValueError(f"states must have shape (..., H) = (..., {len(self.mean)}), got {S.shape}")
        dimensions = _checks.size("dimensions", dimensions)
        along = (S - self.mean) @ self.axes[:dimensions].T
        return np.concatenate([along, np.zeros((*S.shape[:-1], dimensions - along.shape[-1]))], axis=-1)

    def describe(self) -> str:
        """Return a line about all points and a line about each.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> points = diagnostics.fixed_points(net, np.zeros(2), np.random.default_rng(0).standard_normal((10, 8)))
        >>> print(points.describe().splitlines()[0])  # doctest: +ELLIPSIS
        2 point(s) of 10 start(s): 2 fixed...
        """
        still = self.speed < STILL
        unit = "steps" if self.dt is None else "in the unit of dt"
        marginal = (still & self.marginal).sum()
        words = np.where(self.stable, "stable", np.where(self.marginal, "marginal", "unstable")).tolist()
        head = (f"{len(self.points)} point(s) of {len(self.starts)} start(s): {still.sum()} fixed, of which "
                f"{(still & self.stable).sum()} stable{f' and {marginal} marginal' if marginal else ''}; "
                f"{(~still).sum()} slow; {self.lost} start(s) ended nowhere slow.")
        lines = [f"  {n:3}  q = {q:.1e}  {'fixed' if is_still else 'slow ':5}  {word:8}  "
                 f"largest |eigenvalue| {abs(values[0]):.4f} per step, time constant {times[0]:.3g} {unit}, "
                 f"{int((np.abs(values) >= 1 - tolerance).sum())} of {len(values)} at 1 or above, "
                 f"{found} start(s)"
                 for n, (q, is_still, word, values, tolerance, times, found) in enumerate(zip(
                     self.speed, still, words, self.eigenvalues, self.tolerance, self.time_constants, self.found))]
        return "\n".join([head, *lines])

    def plot(self, ax: Any = None) -> Any:
        """Draw the points on the first two principal axes (for one unit, by |eigenvalue|), and return the Axes.

        Stable points are filled, and marginal ones have the colour of stable ones as their edge. `project` gives the
        coordinates of other states in the same picture. Needs matplotlib.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> points = diagnostics.fixed_points(net, np.zeros(2), np.random.default_rng(0).standard_normal((10, 8)))
        >>> ax = points.plot()
        """
        if self.points.shape[1] == 1:
            return _plots.fixed_points_of_one_unit(ax, self.points[:, 0], np.abs(self.eigenvalues[:, 0]), self.stable,
                                                  self.marginal)
        return _plots.fixed_points(ax, self.project(self.points), self.stable, self.marginal, self.project(self.starts))


def fixed_points(network: RNN, X: ArrayLike, starts: ArrayLike, *, max_speed: Float = 1e-6,
                 distance: Float = 1e-4) -> FixedPoints:
    """Find states that are fixed or slow under a constant input, and whether they are stable.

    From each start, scipy.optimize.least_squares (Levenberg and Marquardt) minimises q = ½‖(F(S, x) − S) / λ‖² with the exact
    Jacobian, in float64. F is one step of the network and λ the leak of each unit, 1 without a leak. As q is ½‖τ dS/dt‖²,
    the points and their q do not depend on dt, in both leak forms. Results that are close together are merged.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    X : array (I,), or one category index
        The constant input.
    starts : array (n, H), or (n, 2H) = [h | c] for an LSTM
        Starts of the search, such as states of trajectories: ``states(net, X).S.reshape(-1, H)[::10]``.
    max_speed : float
        Points with a larger q are left out. Points that are slow but not fixed can guide trajectories too.
    distance : float
        Euclidean distance up to which two points are merged.

    Returns
    -------
    FixedPoints

    Raises
    ------
    TypeError, ValueError
        If the network, a shape, a category index or a number is wrong.

    References
    ----------
    Sussillo and Barak 2013, Neural Computation 25:626.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> points = diagnostics.fixed_points(net, np.zeros(2), np.random.default_rng(0).standard_normal((10, 8)))
    >>> points.points.shape[1]
    8
    """
    network = with_options(require_one_layer(network), dtype="float64")
    starts = check_starts(network, starts)
    _, X = states_and_inputs(network, starts[0], X)
    if X.ndim != (0 if network.one_hot else 1):
        raise ValueError(f"X must be one input {'id' if network.one_hot else f'(I,) = ({network.input_size},)'}, got {X.shape}")
    _checks.finite("X", X, "i")
    return search(network, X, starts, _checks.number("max_speed", max_speed, 0),
                              _checks.number("distance", distance, 0, low_allowed=True))


def search(network, x, starts, max_speed, distance):
    """Search for fixed and slow points from each start and return the FixedPoints, for `diagnostics.fixed_points`.

    The network is float64 and the arguments are checked: x (I,) or a category index, starts (n, H). Points with q above
    `max_speed` are left out, and points within `distance` are merged.
    """
    import scipy.optimize  # slow to import: a fifth of a second

    p, options = network.parameters, network._engines["reference"].options
    # (F(S) − S) / λ is F(S) − S of the same network with λ = 1. Computed like this, it has the same bits for every dt, and
    # nothing cancels if λ is small.
    without_leak, parameters = options | {"leak": 1.0}, {name: value for name, value in p.items() if name != "leak_logit"}

    def change(S):
        """Return (F(S) − S) / λ for a state S (H,), whose squared norm is minimised."""
        return reference.next_state(parameters, S, x, **without_leak) - S

    def jacobian_of_change(S):
        """Return the derivative of `change` by S, (H, H)."""
        return reference.jacobian(parameters, S, x, **without_leak) - np.eye(len(S))

    ends = [scipy.optimize.least_squares(change, start, jacobian_of_change, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15)
            for start in starts]
    slow = sorted((end for end in ends if end.cost <= max_speed), key=lambda end: end.cost)
    points, speed, found = [], [], []
    for end in slow:  # the slowest of several close points represents all
        near = [n for n, point in enumerate(points) if np.linalg.norm(end.x - point) <= distance]
        if near:
            found[near[0]] += 1
        else:
            points.append(end.x)
            speed.append(end.cost)
            found.append(1)
    points = np.array(points).reshape(-1, starts.shape[1])
    jacobians = reference.jacobian(p, points, x, **options)
    tolerance = ROUNDING * starts.shape[1] * np.finfo(float).eps * np.linalg.norm(jacobians, axis=(1, 2))
    values = np.linalg.eigvals(jacobians).astype(complex)
    values = np.take_along_axis(values, np.argsort(-np.abs(values), axis=1, kind="stable"), axis=1)
    return FixedPoints(points, np.array(speed), values, np.abs(values[:, 0]) < 1 - tolerance, tolerance,
                       np.array(found, int), starts, len(starts) - len(slow),
                       *_principal_axes(np.concatenate([starts, points])), network.dt)


def _principal_axes(states):
    """Return the mean (H,) and principal axes (k, H) of states (n, H). Signs do not depend on the LAPACK."""
    mean = states.mean(axis=0)
    _, _, axes = np.linalg.svd(states - mean, full_matrices=False)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return mean, axes * np.where(largest < 0, -1.0, 1.0)


def check_starts(network, starts):
    """Return the argument `starts` as a float64 array (n, H), or (n, 2H) for an LSTM.

    Raise ValueError for another shape or NaN.
    """
    starts = _checks.array("starts", starts, np.float64)
    width = state_width(network)
    if starts.ndim != 2 or starts.shape[1] != width or len(starts) == 0:
        raise ValueError(f"starts must have shape {network._state_letters('n')} = (n, {width}) with n >= 1, got {starts.shape}")
    _checks.finite("starts", starts, "nh")
    return starts
