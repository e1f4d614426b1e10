"""Compute the states of a network, how saturated its units are, and the Jacobians of its steps: `states`, `jacobian`.

A property of single states or single steps belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _plots, reference
from ._networks import require_one_layer, states_and_inputs, with_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import Backend
    from ..network import RNN

SATURATED = 0.1
CLOSED, OPEN = 0.1, 0.9  # bounds of a gate's value (Karpathy, Johnson and Li 2015, arXiv:1506.02078)


@dataclass(frozen=True)
class States:
    """States of the units over time.

    Attributes
    ----------
    S : array (T+1, B, H), or (T+1, B, 2H) = [h | c] for an LSTM
        S[0] is the initial state, S[t+1] the state after X[t]. States after a sequence's end are 0.
    saturated : array (T,)
        The fraction of units whose slope g1' is under a tenth of its largest value (for tanh: |S| > 0.949), over the
        sequences that have step t; NaN if none has. In a gated cell it is the slope of the candidate, n of a GRU and g of an
        LSTM.
    dt : float or None
        Time step of the network, if it was created with dt and tau. Pictures then show time in place of steps.
    gates : dict of arrays (T, B, H)
        The values of the gates: "r" and "z" of a GRU, "i", "f" and "o" of an LSTM. It is empty for other cells. Values after
        a sequence's end are NaN.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> found = diagnostics.states(net, np.zeros((5, 3, 2)))
    >>> found.S.shape
    (6, 3, 8)
    """

    S: np.ndarray
    saturated: np.ndarray
    dt: float | None = None
    gates: dict[str, np.ndarray] = field(default_factory=dict)

    def describe(self) -> str:
        """Return a line about saturated units, and a line about each gate.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.states(net, np.zeros((5, 3, 2)))
        >>> print(found.describe())  # doctest: +ELLIPSIS
        Saturated units ...
        """
        lines = [describe_saturation(self.saturated)]
        for name, values in self.gates.items():
            seen = values[~np.isnan(values)]
            if len(seen):
                lines.append(f"Gate {name}: mean {seen.mean():.2f}, {100 * (seen < CLOSED).mean():.3g} % of the values under "
                             f"{CLOSED} (closed), {100 * (seen > OPEN).mean():.3g} % over {OPEN} (open).")
        return "\n".join(lines)

    def plot(self, ax: Any = None, sequence: int = 0, part: str | None = None) -> Any:
        """Draw the states of one sequence, lines of up to 8 units or an image of more, and return the Axes.

        An LSTM has two parts, "h" and "c". `part` chooses one. Without `part` and `ax`, both are drawn side by side in a new
        figure, and the Axes of h is returned. Without `part`, a given `ax` receives h. Needs matplotlib.

        Examples
        --------
        >>> net = RNN(2, 8, 1, random_state=0)
        >>> found = diagnostics.states(net, np.zeros((5, 3, 2)))
        >>> ax = found.plot()
        """
        H = next((values.shape[-1] for values in self.gates.values()), self.S.shape[-1])
        remembers = self.S.shape[-1] > H
        _checks.choose("part", part or "h", ["h", "c"] if remembers else ["h"])
        S = self.S[:, sequence]
        if not remembers:
            return _plots.states(ax, S, self.dt)
        parts = dict(zip("hc", np.split(S, 2, axis=-1)))
        return _plots.draw_parts(ax, part, lambda ax, name: _plots.states(ax, parts[name], self.dt, name))


def states(network: RNN, X: ArrayLike, initial_state: ArrayLike | None = None, *, lengths: ArrayLike | None = None,
           backend: Backend = "core") -> States:
    """Compute the states of a network over time, in float64, the gates, and the fraction of saturated units.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    X, initial_state, lengths, backend : as in `RNN.forward`

    Returns
    -------
    States

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> found = diagnostics.states(net, np.zeros((5, 3, 2)))
    >>> found.S.shape
    (6, 3, 8)
    """
    network = with_options(require_one_layer(network), dtype="float64")
    X, initial_state, lengths, _ = network._check_inputs(X, initial_state, lengths)
    _, _, run = network.forward(X, initial_state, lengths=lengths, return_states=True, backend=backend)
    steps = np.full(X.shape[1], len(X)) if lengths is None else lengths
    saturated, gates = saturation_and_gates(network, run, X, steps)
    return States(run.S, saturated, network.dt, gates)


def jacobian(network: RNN, S: ArrayLike, X: ArrayLike) -> np.ndarray:
    """Return the Jacobian ∂S_t/∂S_{t−1} of a step at given states and inputs, in float64.

    Parameters
    ----------
    network : RNN
        With one layer and one direction.
    S : array (..., H), or (..., 2H) = [h | c] for an LSTM
        The states S_{t−1}.
    X : array (..., I), or category indices (...)
        The inputs X_t. The leading axes of S and X are broadcast: S (n, H) and X (I,) have one input for all states.

    Returns
    -------
    array (..., H, H), or (..., 2H, 2H) for an LSTM
        Entry (h, j) is the derivative of number h of the state by number j of the state one step before.

    Raises
    ------
    TypeError, ValueError
        If the network, a shape or a category index is wrong.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> diagnostics.jacobian(net, np.zeros((1, 8)), np.zeros((1, 2))).shape
    (1, 8, 8)
    """
    network = with_options(require_one_layer(network), dtype="float64")
    return reference.jacobian(network.parameters, *states_and_inputs(network, S, X), **network._engines["reference"].options)


def saturation_and_gates(network, run, X, steps):
    """Return the fraction of units (T,) whose slope is under a tenth of the largest, and the gates (T, B, H) by name.

    `run` is the result of `forward(X, return_states=True)`, and `steps` (B,) are the numbers of steps of the sequences.
    """
    there = np.arange(len(X))[:, None] < steps
    R, gates = _slope_arguments_and_gates(network, run, X, there)
    g, dg = reference.ACTIVATIONS[network.activation]
    A = np.linspace(-20, 20, 4001)
    largest = dg(A if reference.reads_input(network.activation) else g(A)).max()
    flat = dg(R) < SATURATED * largest
    units = there.sum(axis=1) * R.shape[2]
    return np.where(units > 0, (flat & there[..., None]).sum(axis=(1, 2)) / np.maximum(units, 1), np.nan), gates


def _slope_arguments_and_gates(network, run, X, there):
    """Return the values (T, B, H) of which the slopes g1' are functions, and a dict of the gates.

    `run` is the result of `forward(X, return_states=True)`, and `there` (T, B) says which steps are not padding. The values
    are rates or pre-activations, depending on the activation.
    """
    row = reference.cell_of(network.cell)
    if len(row.gates) == 1:
        if not reference.reads_input(network.activation):
            return run.rates, {}
        return reference.argument(network.parameters, run.S[:-1], X, activation=network.activation, leak=network.leak,
                                  leak_form=network.leak_form), {}
    inputs = np.where(there if network.one_hot else there[..., None], X, 0)  # padding may be NaN
    kept = reference.kept(network.parameters, run.S[:-1], inputs, **network._engines["reference"].options)
    gates = {name: np.where(there[..., None], kept[name], np.nan) for name in row.gates if name != row.candidate}
    return kept[row.candidate], gates


def describe_saturation(saturated):
    """Return a sentence about the fractions of saturated units (T,), or "" if no step has any."""
    seen = saturated[~np.isnan(saturated)]
    if not len(seen):
        return ""
    return (f"Saturated units (g1' under a tenth of its largest value): {100 * seen.mean():.3g} % in the mean over steps, at "
            f"most {100 * seen.max():.3g} %, at step {int(np.nanargmax(saturated))}.")
