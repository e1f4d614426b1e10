"""Compute Lyapunov exponents from products of step Jacobians: `lyapunov_exponents`.

Another number that follows from the exponents belongs in `LyapunovExponents`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _plots, reference
from ..threads import policy as _threading
from ._networks import require_one_layer, state_width, with_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend, Int, Seed
    from ..network import RNN

CHUNK = 2**19  # numbers of the Jacobians that are computed together, 4 MiB
BLOCKS = 10  # parts of a sequence from which the error of an exponent is estimated


@dataclass(frozen=True)
class LyapunovExponents:
    """Lyapunov exponents: the mean rates at which small disturbances of the state grow, the largest first.

    Rates are logarithms to base e, per step, or per unit of dt if the network has one.

    Attributes
    ----------
    exponents : array (k,)
        The mean over sequences. −inf belongs to a direction that a step removes completely. Rounding may turn such an
        exponent into a number around −36 per step, the logarithm of the precision.
    of_sequences : array (B, k)
        The exponents of each sequence.
    spread : array (k,)
        Standard deviation of `of_sequences` over sequences; NaN for a single sequence.
    errors : array (k,)
        Estimated standard errors of `exponents`. They come from the means of 10 consecutive parts of each sequence, which are
        taken as independent. They contain no error by a warm-up that was too short. They are NaN if a sequence has fewer
        than 10 steps after the warm-up.
    running : array (n, k)
        The exponents that the first 1, 2, ... n steps after the warm-up give, the mean over the sequences that have the step.
    steps : int array (B,)
        Number of steps after the warm-up in each sequence.
    warm_up : int
        Number of steps before them.
    width : int
        Number of exponents that the network has: H, or 2H for an LSTM.
    dt : float or None
        Time step of the network, if it was created with dt and tau.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> found = diagnostics.lyapunov_exponents(net, np.zeros((50, 1, 2)))
    >>> found.exponents.shape
    (8,)
    """

    exponents: np.ndarray
    of_sequences: np.ndarray
    spread: np.ndarray
    errors: np.ndarray
    running: np.ndarray
    steps: np.ndarray
    warm_up: int
    width: int
    dt: float | None = None

    @property
    def largest(self) -> float:
        """The largest exponent."""
        return float(self.exponents[0])

    @property
    def verdict(self) -> str:
        """"chaotic", "stable" or "marginal": the sign of the largest exponent. It is marginal within 2 `errors` of 0.

        It is "unknown" if the error is unknown.
        """
        error = self.errors[0]
        if self.largest == -np.inf:
            return "stable"
        if np.isnan(error):
            return "unknown"
        return "marginal" if abs(self.largest) <= 2 * error else "chaotic" if self.largest > 0 else "stable"

    @property
    def entropy(self) -> float:
        """The sum of the positive exponents: an upper bound of the entropy rate (Pesin 1977, Ruelle 1978), in nats.

        It is NaN if all computed exponents are positive and the network has more.
        """
        if self.exponents[-1] > 0 and len(self.exponents) < self.width:
            return np.nan
        return float(self.exponents[self.exponents > 0].sum())

    @property
    def dimension(self) -> float:
        """The dimension of the attractor by Kaplan and Yorke (1979).

        It is j + (λ_1 + ... + λ_j) / |λ_{j+1}|, where j is the largest number for which the sum is not negative. It is 0 if
        λ_1 < 0. It is NaN if too few exponents were computed.
        """
        sums = np.cumsum(self.exponents)
        negative = np.flatnonzero(sums < 0)
        if not len(negative):
            return float(self.width) if len(sums) == self.width else np.nan
        j = int(negative[0])
        return float(j + sums[j - 1] / -self.exponents[j]) if j else 0.0

    def describe(self) -> str:
        """Return the largest exponent with its meaning, the number of positive exponents, entropy and dimension as text.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.lyapunov_exponents(net, np.zeros((50, 1, 2)))
        >>> print(found.describe())  # doctest: +ELLIPSIS
        Largest Lyapunov exponent ...
        """
        B, unit = len(self.steps), "step" if self.dt is None else "unit of dt"
        words = {"chaotic": "small disturbances grow", "stable": "small disturbances decay",
                 "marginal": "it cannot be told from 0: within 2 standard errors",
                 "unknown": "too few steps to estimate its error"}[self.verdict]
        error = "" if np.isnan(self.errors[0]) else f" ± {self.errors[0]:.2g}"
        if self.verdict in ("chaotic", "stable") and np.isfinite(self.largest) and self.largest:
            time = _three_digits(1 / abs(self.largest))
            words += f" by a factor of e every {time} {'steps' if self.dt is None else 'in the unit of dt'}"
        spread = "" if B == 1 else f", standard deviation over sequences {self.spread[0]:.2g}"
        counts = (f"{self.steps[0]} steps" if (self.steps == self.steps[0]).all()
                  else f"{self.steps.min()} to {self.steps.max()} steps")
        shown = ", ".join(f"{value:.4g}" for value in self.exponents[:8]) + (", ..." if len(self.exponents) > 8 else "")
        lines = [f"Largest Lyapunov exponent {self.largest:.4g}{error} per {unit}: {words}.",
                 f"{B} sequence{'s' * (B != 1)} of {counts} after a warm-up of {self.warm_up}{spread}.",
                 f"{int((self.exponents > 0).sum())} of {len(self.exponents)} exponents positive"
                 + ("" if len(self.exponents) == self.width else f" (the network has {self.width})") + f": {shown}."]
        if np.isfinite(self.entropy) and np.isfinite(self.dimension) and self.verdict == "chaotic":
            lines.append(f"Sum of the positive exponents {self.entropy:.4g} nats per {unit}; Kaplan-Yorke dimension "
                         f"{self.dimension:.4g} of {self.width}.")
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the exponents with 2 `errors` by index, and return the Axes. Needs matplotlib.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.lyapunov_exponents(net, np.zeros((50, 1, 2)))
        >>> ax = found.plot()
        """
        return _plots.exponents(ax, self.exponents, 2 * self.errors, self.dt)

    def plot_running(self, ax: Any = None, largest: int = 5) -> Any:
        """Draw `running` of the largest exponents by the number of steps, and return the Axes. Needs matplotlib.

        Curves that have become flat show that the sequences are long enough.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.lyapunov_exponents(net, np.zeros((50, 1, 2)))
        >>> ax = found.plot_running()
        """
        largest = _checks.size("largest", largest)
        return _plots.running_exponents(ax, self.running[:, :largest], self.dt)


def lyapunov_exponents(network: RNN, X: ArrayLike, initial_state: ArrayLike | None = None, *,
                       lengths: ArrayLike | None = None, n_exponents: Int | None = None, warm_up: Int = 0,
                       qr_every: Int = 1, random_state: Seed = 0, backend: Backend = "core") -> LyapunovExponents:
    """Compute Lyapunov exponents along the trajectories of a network under inputs X, in float64.

    An orthonormal basis Q of disturbances is multiplied by each step's exact Jacobian and made orthonormal again by a QR
    decomposition. The exponents are the means of log |diag R| (Benettin et al. 1980; for recurrent networks Engelken, Wolf
    and Abbott 2023). They are those of the network under these inputs: all disturbed copies receive the same X. A network
    without inputs has X = 0. Noise and dropout of the network do not act.

    Parameters
    ----------
    network : RNN
        With one layer and one direction, and any cell.
    X : array (T, B, I), or category indices (T, B)
        The exponents of each sequence are computed, and their mean.
    initial_state : array (B, H), or (B, 2H) for an LSTM, optional
        As in `RNN.forward`.
    lengths : int array (B,), optional
        As in `RNN.forward`. Each sequence needs more than `warm_up` steps.
    n_exponents : int, optional
        Number of exponents k to compute, the largest. The default is all: H, or 2H for an LSTM.
    warm_up : int
        Number of steps at the start of each sequence that are not counted. They bring the state close to the attractor and
        turn Q into the directions of fastest growth. With 0, the first steps bias the result by about 1 / T.
    qr_every : int
        Number of steps between QR decompositions. More than 1 saves time. Columns of Q become parallel in between, so small
        exponents lose precision: about exp(−qr_every (λ_1 − λ_k)) must stay far above 1e-16.
    random_state : None, int or Generator
        Seed of the initial Q. The default gives the same numbers in each call.
    backend : "core" or "reference"
        Computes the states.

    Returns
    -------
    LyapunovExponents

    Raises
    ------
    TypeError, ValueError
        If the network or an argument has a wrong type, shape or value.

    Notes
    -----
    A step costs about B W² (k + G H) multiplications, with W = H (2H for an LSTM) and G gates, and a QR decomposition of B
    matrices (W, k). Results take 8 T B k bytes. Ctrl-C interrupts the computation between steps.

    References
    ----------
    Benettin, Galgani, Giorgilli and Strelcyn 1980, Meccanica 15:9. Engelken, Wolf and Abbott 2023, Physical Review Research
    5:043044. Kaplan and Yorke 1979, Lecture Notes in Mathematics 730:204.

    Examples
    --------
    >>> net = RNN(1, 100, 1, initializer=("normal", 2 / 100**0.5), random_state=0)   # g = 2: chaotic without inputs
    >>> found = diagnostics.lyapunov_exponents(net, np.zeros((1500, 1, 1)), np.full((1, 100), 0.1), n_exponents=10, warm_up=500)
    >>> found.verdict
    'chaotic'
    """
    network = with_options(require_one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = network._check_inputs(X, initial_state, lengths)
    T, B = X.shape[:2]
    width = state_width(network)
    warm_up, qr_every = _checks.size("warm_up", warm_up, smallest=0), _checks.size("qr_every", qr_every)
    k = width if n_exponents is None else _checks.size("n_exponents", n_exponents)
    if k > width:
        raise ValueError(f"n_exponents must be at most the width of the state, {width}, got {k}")
    rng = np.random.default_rng(random_state)
    if B == 0:
        raise ValueError("X has no sequences")
    ends = np.full(B, T) if lengths is None else lengths
    if (ends <= warm_up).any():
        short = int(np.argmax(ends <= warm_up))
        raise ValueError(f"warm_up must be less than the number of steps of each sequence, got {warm_up} with {ends[short]} "
                         f"steps of sequence {short}")
    _, _, run = network.forward(X, initial_state, lengths=lengths, return_states=True, backend=backend)
    there = np.arange(T)[:, None] < ends
    X = np.where(there if network.one_hot else there[..., None], X, 0)  # padding may be NaN
    _checks.finite("the states of the network", run.S, "tbh")
    Q = np.tile(np.linalg.qr(rng.standard_normal((width, k)))[0], (B, 1, 1))
    growth = _log_growth(network, run.S, X, Q, ends, warm_up, qr_every)
    return _summary(growth / (1.0 if network.dt is None else network.dt), ends - warm_up, warm_up, width, network.dt)


def _log_growth(network, S, X, Q, ends, warm_up, qr_every):
    """Return log |diag R| of the steps after the warm-up (n, B, k), spread evenly over the steps between decompositions.

    These are the logarithms of the growth of k disturbances. S (T + 1, B, W) are the states under inputs X, Q (B, W, k) the
    initial disturbances, and `ends` (B,) the numbers of steps of the sequences.
    """
    p, options = network.parameters, network._engines["reference"].options
    (T, B), (_, W, k) = X.shape[:2], Q.shape
    growth = np.zeros((T - warm_up, B, k))
    chunk, since = max(1, CHUNK // (B * W * W)), 0
    for begin in range(0, T, chunk):
        end = min(begin + chunk, T)
        jacobians = reference.jacobian(p, S[begin:end], X[begin:end], **options)
        for t in range(begin, end):
            here = ends > t  # the others have ended: they keep Q
            Q = jacobians[t - begin] @ Q if here.all() else np.where(here[:, None, None], jacobians[t - begin] @ Q, Q)
            since += 1
            # The warm-up and each sequence end with a decomposition, so that no growth is counted elsewhere.
            if since == qr_every or t + 1 in (warm_up, T) or (ends == t + 1).any():
                Q, R = _threading.interruptible(Q.size, np.linalg.qr, Q)
                with np.errstate(divide="ignore"):
                    logarithms = np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))
                if t >= warm_up:
                    growth[t + 1 - warm_up - since:t + 1 - warm_up, here] = logarithms[here] / since
                since = 0
    return growth


def _summary(growth, steps, warm_up, width, dt):
    """Return the LyapunovExponents for the rates of growth (n, B, k) per unit of time, 0 after a sequence's end.

    `steps` (B,) are the numbers of steps after the warm-up. `width` is the number of exponents that the network has.
    """
    n, B, _ = growth.shape
    of_sequences = growth.sum(axis=0) / steps[:, None]
    exponents = of_sequences.mean(axis=0)
    order = np.argsort(-exponents, kind="stable")
    growth, of_sequences = growth[..., order], of_sequences[:, order]
    count = np.arange(1, n + 1)
    there = count[:, None] <= steps
    running = np.cumsum(growth, axis=0)
    running /= count[:, None, None]
    running = np.where(there[..., None], running, 0).sum(axis=1) / there.sum(axis=1)[:, None]
    with np.errstate(invalid="ignore"):  # −inf has no spread
        spread = of_sequences.std(axis=0, ddof=1) if B > 1 else np.full(len(order), np.nan)
        variances = [_variance_of_mean(growth[:end, b]) for b, end in enumerate(steps)]
    return LyapunovExponents(exponents[order], of_sequences, spread, np.sqrt(np.sum(variances, axis=0)) / B, running, steps,
                             warm_up, width, dt)


def _variance_of_mean(growth):
    """Return the variance of the mean (k,) of the rates of growth (n, k) of one sequence, from the means of BLOCKS parts."""
    if len(growth) < BLOCKS:
        return np.full(growth.shape[1], np.nan)
    return np.var([part.mean(axis=0) for part in np.array_split(growth, BLOCKS)], axis=0, ddof=1) / BLOCKS


def _three_digits(number):
    """Return the number as text with three digits."""
    return f"{number:.3g}"
