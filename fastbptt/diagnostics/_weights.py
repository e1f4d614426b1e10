"""Show the weights of a network: the spectrum of W_s, and pictures of matrices (`spectrum`, `plot_weights`).

A property of the parameters alone belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _plots
from ..options import cells as _cells
from ..threads import policy as _threading
from ._networks import require_one_layer

if TYPE_CHECKING:
    from ..network import RNN


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and singular values of W_s, or of the block of W_s that belongs to one gate.

    Attributes
    ----------
    eigenvalues : complex array (H,), in order of decreasing magnitude
    singular_values : array (H,), in decreasing order
    leak : float or array (H,)
        Leak λ of the units, as it is now. Units of slope 1 multiply a disturbance along the eigenvector of ν by 1 − λ + λν in
        each step.
        It grows if ν lies outside the circle |1 − λ + λν| = 1, which is the unit circle for units without a leak. The
        circle's radius is 1 / λ: it approaches the line Re ν = 1 as dt approaches 0. If leaks differ between units, there is no
        such circle; see `step_eigenvalues`.
    gate : str
        The gate whose block it is, "" for cells without gates. The block of the candidate (n of a GRU, g of an LSTM) decides
        about growth only while the gates let the candidate replace the whole state: r = 1 and z = 0 of a GRU. `jacobian` and
        `lyapunov_exponents` include the gates.
    step_eigenvalues : complex array (H,) or None
        With different leaks λ_h: the eigenvalues of diag(1 − λ) + diag(λ) W_s, by which units of slope 1 multiply a disturbance
        in each step, in order of decreasing magnitude. It grows if one lies outside the unit circle. None if all leaks are
        equal.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> found = diagnostics.spectrum(net)
    >>> found.eigenvalues.shape
    (8,)
    """

    eigenvalues: np.ndarray
    singular_values: np.ndarray
    leak: Any = 1.0
    gate: str = ""
    step_eigenvalues: np.ndarray | None = None

    @property
    def spectral_radius(self) -> float:
        """The largest |ν| of the eigenvalues ν."""
        return float(np.abs(self.eigenvalues[0]))

    def describe(self) -> str:
        """Return one line with spectral radius, number of eigenvalues outside the circle, and range of singular values.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.spectrum(net)
        >>> print(found.describe())  # doctest: +ELLIPSIS
        W_s: spectral radius 1, 0 of 8 eigenvalues outside the unit circle...
        """
        name = f"W_s of gate {self.gate}" if self.gate else "W_s"
        if self.step_eigenvalues is not None:
            outside = int(_plots.outside(self.step_eigenvalues).sum())
            return (f"{name}: spectral radius {self.spectral_radius:.3g}; leaks λ from {np.min(self.leak):.3g} to "
                    f"{np.max(self.leak):.3g}: {outside} of {len(self.eigenvalues)} eigenvalues of 1 − λ + λ W_s outside the "
                    f"unit circle; singular values {self.singular_values[0]:.3g} to {self.singular_values[-1]:.3g}.")
        outside = int(_plots.outside(self.eigenvalues, self.leak).sum())
        circle = "the unit circle" if self.leak == 1 else f"the circle |1 − λ + λν| = 1 of leak λ = {self.leak:.3g}"
        return (f"{name}: spectral radius {self.spectral_radius:.3g}, {outside} of {len(self.eigenvalues)} eigenvalues outside "
                f"{circle}; singular values {self.singular_values[0]:.3g} to {self.singular_values[-1]:.3g}.")

    def plot(self, ax: Any = None) -> Any:
        """Draw the eigenvalues and the unit circle, with a leak also the circle of `leak`, and return the Axes.

        With different leaks, the eigenvalues are `step_eigenvalues`. Needs matplotlib.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.spectrum(net)
        >>> ax = found.plot()
        """
        if self.step_eigenvalues is not None:
            return _plots.eigenvalues(ax, self.step_eigenvalues)
        return _plots.eigenvalues(ax, self.eigenvalues, self.leak)


def spectrum(network: RNN, gate: str | None = None) -> Spectrum:
    """Return the eigenvalues and singular values of W_s, in float64.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    gate : str, optional
        The block of W_s in a network with gates: "r", "z" or "n" of a GRU, "i", "f", "g" or "o" of an LSTM. The default is
        the candidate, "n" or "g".

    Returns
    -------
    Spectrum

    Raises
    ------
    TypeError, ValueError
        If the network is not an RNN of one layer and one direction, or the cell has no such gate.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> found = diagnostics.spectrum(net)
    >>> found.eigenvalues.shape
    (8,)
    """
    network = require_one_layer(network)
    W_s = network.parameters["W_s"].astype(np.float64)
    row = _cells.of(network._config)
    gates = row.gates
    if len(gates) > 1:
        gate = row.candidate if gate is None else _checks.choose("gate", gate, gates)
        W_s = np.split(W_s, len(gates))[gates.index(gate)]
    elif gate is not None:
        raise ValueError(f"gate must not be given for cell={network.cell!r}, which has no gates; got gate={gate!r}")
    values, singular_values = _threading.interruptible(
        W_s.size, lambda: (_eigenvalues(W_s), np.linalg.svd(W_s, compute_uv=False)))
    leak, of_steps = network.unit_leaks, None
    if (leak == leak[0]).all():
        leak = float(leak[0])
    else:
        step = np.diag(1 - leak) + leak[:, None] * W_s
        of_steps = _threading.interruptible(W_s.size, lambda: _eigenvalues(step))
    return Spectrum(values, singular_values, leak, gate or "", of_steps)


def _eigenvalues(W):
    """Return the eigenvalues of a matrix in order of decreasing magnitude."""
    values = np.linalg.eigvals(W).astype(complex)
    return values[np.argsort(-np.abs(values), kind="stable")]


def plot_weights(network: RNN, name: str = "W_s", ax: Any = None) -> Any:
    """Draw a weight matrix in colours, red for positive and blue for negative weights, and return the Axes.

    Row and column of an entry are the target and the source of the connection. The weights are those of
    `network.effective_parameters()`: Dale's law fixes the signs. Absent connections are hatched, to distinguish them from
    weights of 0. Under Dale's law, marks above the columns of a matrix that reads the hidden units are red for excitatory
    and blue for inhibitory units.

    Parameters
    ----------
    network : RNN of any layers and directions
    name : str
        A weight matrix of `network.effective_parameters()`: "W_s", "W_x", "W_y", those of layer 1 "W_s_l1" and so on, those of
        the reverse direction "W_s_reverse".
    ax : matplotlib Axes, optional

    Raises
    ------
    TypeError
        If network is not an RNN.
    ValueError
        If the network has no weight matrix of this name.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> net = RNN(2, (8, 8), 1, random_state=0)
    >>> fig, axes = plt.subplots(1, 2)
    >>> for ax, name in zip(axes, ("W_s", "W_s_l1")):
    ...     ax = diagnostics.plot_weights(net, name, ax)
    """
    if not hasattr(network, "effective_parameters"):
        raise TypeError(f"network must be an RNN, got {type(network).__name__}")
    matrices = {each: value for each, value in network.effective_parameters().items() if value.ndim == 2}
    _checks.choose("name", name, list(matrices))
    parametrization = network._maps.get(name)
    signs = network.unit_signs if name in ("W_s", "W_y") else None
    layer_below = name.startswith("W_x_l")
    source = "unit of the layer below" if layer_below else "input" if name.startswith("W_x") else "unit"
    gates = _cells.of(network._config).gates
    to = ("output" if name == "W_y" else f"unit of the gates {', '.join(gates)}, one below the other" if len(gates) > 1
          else "unit")
    present = None if parametrization is None else parametrization.present
    return _plots.weights(ax, matrices[name], present, signs, name, to, source)
