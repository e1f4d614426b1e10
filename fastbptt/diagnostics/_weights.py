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
from ._states import CANDIDATES

if TYPE_CHECKING:
    from ..network import RNN


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and singular values of W_s, or of the block of W_s that belongs to one gate.

    Attributes
    ----------
    eigenvalues : complex array (H,), in order of decreasing magnitude
    singular_values : array (H,), in decreasing order
    leak : float
        Leak λ of the units. Units of slope 1 multiply a disturbance along the eigenvector of ν by 1 − λ + λν in each step.
        It grows if ν lies outside the circle |1 − λ + λν| = 1, which is the unit circle for units without a leak. The
        circle's radius is 1 / λ: it approaches the line Re ν = 1 as dt approaches 0.
    gate : str
        The gate whose block it is, "" for cells without gates. The block of the candidate (n of a GRU, g of an LSTM) decides
        about growth only while the gates let the candidate replace the whole state: r = 1 and z = 0 of a GRU. `jacobian` and
        `lyapunov_exponents` include the gates.
    """

    eigenvalues: np.ndarray
    singular_values: np.ndarray
    leak: float = 1.0
    gate: str = ""

    @property
    def spectral_radius(self) -> float:
        """The largest |ν| of the eigenvalues ν."""
        return float(np.abs(self.eigenvalues[0]))

    def describe(self) -> str:
        """Return one line with spectral radius, number of eigenvalues outside the circle, and range of singular values."""
        outside = int(_plots.outside(self.eigenvalues, self.leak).sum())
        circle = "the unit circle" if self.leak == 1 else f"the circle |1 − λ + λν| = 1 of leak λ = {self.leak:.3g}"
        name = f"W_s of gate {self.gate}" if self.gate else "W_s"
        return (f"{name}: spectral radius {self.spectral_radius:.3g}, {outside} of {len(self.eigenvalues)} eigenvalues outside "
                f"{circle}; singular values {self.singular_values[0]:.3g} to {self.singular_values[-1]:.3g}.")

    def plot(self, ax: Any = None) -> Any:
        """Draw the eigenvalues and the unit circle, with a leak also the circle of `leak`, and return the Axes.

        Needs matplotlib.
        """
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
    """
    W_s = require_one_layer(network).parameters["W_s"].astype(np.float64)
    gates = _cells.of(network._config).gates
    if len(gates) > 1:
        gate = CANDIDATES[network.cell] if gate is None else _checks.choose("gate", gate, gates)
        W_s = np.split(W_s, len(gates))[gates.index(gate)]
    elif gate is not None:
        raise ValueError(f"gate must not be given for cell={network.cell!r}, which has no gates; got gate={gate!r}")
    values, singular_values = _threading.interruptible(
        W_s.size, lambda: (np.linalg.eigvals(W_s).astype(complex), np.linalg.svd(W_s, compute_uv=False)))
    return Spectrum(values[np.argsort(-np.abs(values), kind="stable")], singular_values, network.leak, gate or "")


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
        A weight matrix of `network.parameters`: "W_s", "W_x", "W_y", those of layer 1 "W_s_l1" and so on, those of the
        reverse direction "W_s_reverse".
    ax : matplotlib Axes, optional

    Raises
    ------
    TypeError
        If network is not an RNN.
    ValueError
        If the network has no weight matrix of this name.

    Examples
    --------
    >>> fig, axes = plt.subplots(1, 2)
    >>> for ax, name in zip(axes, ("W_s", "W_s_l1")):
    ...     diagnostics.plot_weights(net, name, ax)
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
    to = "output" if name == "W_y" else f"unit of the gates {', '.join(gates)}, one below the other" if len(gates) > 1 else "unit"
    present = None if parametrization is None else parametrization.present
    return _plots.weights(ax, matrices[name], present, signs, name, to, source)
