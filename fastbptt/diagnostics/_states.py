"""Compute the states of a network, how saturated its units are, and the Jacobians of its steps: `states`, `jacobian`.

A property of single states or single steps belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _plots, reference
from ._networks import one_layer, states_and_inputs, with_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend
    from ..network import RNN

LARGEST_SLOPES = {"sigmoid": 0.25}  # of g1', if it is not 1
SATURATED = 0.1


@dataclass(frozen=True)
class States:
    """States of the units over time.

    Attributes
    ----------
    S : array (T+1, B, H)
        S[0] is the initial state, S[t+1] the state after X[t]. States after a sequence's end are 0.
    saturated : array (T,)
        The fraction of units whose slope g1' is under a tenth of its largest value (for tanh: |S| > 0.949), over the
        sequences that have step t; NaN if none has.
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps.
    """

    S: np.ndarray
    saturated: np.ndarray
    dt: float | None = None

    def describe(self) -> str:
        """Return one line."""
        return describe_saturation(self.saturated)

    def plot(self, ax: Any = None, sequence: int = 0) -> Any:
        """Draw the states of one sequence, lines of up to 8 units or an image of more, and return the Axes.

        Needs matplotlib.
        """
        return _plots.states(ax, self.S[:, sequence], self.dt)


def states(network: RNN, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
           backend: Backend = "core") -> States:
    """Compute the states of a network over time, in float64, and the fraction of saturated units. Arguments as in `forward`."""
    network = with_options(one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = network._check_inputs(X, initial_state, lengths)
    _, _, run = network.forward(X, initial_state, lengths=lengths, return_states=True, backend=backend)
    steps = np.full(X.shape[1], len(X)) if lengths is None else lengths
    return States(run.S, saturated_units(network, run.rates, steps), network.dt)


def jacobian(network: RNN, S: ArrayLike, X: ArrayLike) -> np.ndarray:
    """Return the Jacobian ∂S_t/∂S_{t−1} of a step at given states and inputs, in float64.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    S : array (..., H)
        The states S_{t−1}.
    X : array (..., I), or category indices (...)
        The inputs X_t. The leading axes of S and X are broadcast: S (n, H) and X (I,) have one input for all states.

    Returns
    -------
    array (..., H, H)
        Entry (h, j) is the derivative of unit h by unit j one step before.

    Raises
    ------
    TypeError, ValueError
        If the network, a shape or a category index is wrong.
    """
    network = with_options(one_layer(network), dtype="float64")
    return reference.jacobian(network.parameters, *states_and_inputs(network, S, X), **network._engines["reference"].options)


def saturated_units(network, R, steps):
    """Return the fraction of units (T,) whose slope is under a tenth of the largest."""
    _, dg = reference.ACTIVATIONS[network.activation]
    flat = dg(R) < SATURATED * LARGEST_SLOPES.get(network.activation, 1)
    there = np.arange(len(R))[:, None] < steps
    units = there.sum(axis=1) * R.shape[2]
    return np.where(units > 0, (flat & there[..., None]).sum(axis=(1, 2)) / np.maximum(units, 1), np.nan)


def describe_saturation(saturated):
    seen = saturated[~np.isnan(saturated)]
    if not len(seen):
        return ""
    return (f"Saturated units (g1' under a tenth of its largest value): {100 * seen.mean():.3g} % in the mean over steps, at "
            f"most {100 * seen.max():.3g} %, at step {int(np.nanargmax(saturated))}.")
