"""Operations of a network that need no gradient: outputs, steps, sampled ids, losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .heads import _default, _in_time, weighted_losses
from .maps import effective
from .passes import _forward, _forward_and_error, _one_or_all
from .products import only, read, scatter
from .tables import OUTPUT_ACTIVATIONS
from .units import _units

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._types import LossName, Output, OutputActivation, Parameters


def forward(parameters: Parameters, X: ArrayLike, initial_state: ArrayLike | None = None, *, return_rates: bool = False,
            **options: Any) -> tuple[Any, ...]:
    """Outputs Y (T, B, O), or (B, O) if output="last", final state (B, H) and states S (T+1, B, H) of the network.

    S[0] is the initial state and S[t+1] the one after X[t] was read, of a reverse recurrence too. return_rates adds R
    (T, B, H), the rates of leaky units: g1 of the pre-activation, or in the current form of the state, after X[t].
    """
    Y, final_state, run = _run(parameters, X, initial_state, **options)
    return (Y, final_state, run.S, run.R) if return_rates else (Y, final_state, run.S)


def _run(parameters, X, initial_state, *, lengths=None, resets=None, output="sequence", activation="tanh",
         output_activation="identity", maps=None, **units):
    """Outputs, final state, and the run."""
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output)
    g2, _ = OUTPUT_ACTIVATIONS[output_activation]
    Y = only(run.there, g2(run.Z))
    final_states = (read(r.S, run.lengths, "last")[0] for r in run.recurrences)
    return scatter(Y if output == "sequence" else Y[0]), _one_or_all(final_states), run


def step(parameters: Parameters, x: ArrayLike, state: ArrayLike | None = None,
         **options: Any) -> tuple[np.ndarray, Any]:
    """The output y (B, O) and the state (B, H) after one step with x (B, I), or ids (B,), from the state (B, H)."""
    y, state, _ = forward(parameters, np.asarray(x)[None], state, **options | {"output": "last"})
    return y, state


def sample(Y: np.ndarray, temperature: float, u: np.ndarray) -> np.ndarray:
    """Ids (B,) drawn from p ∝ Y^(1 / temperature), for probabilities Y (B, O) and u (B,), uniform in [0, 1).

    It is the first id whose cumulative p exceeds u. Temperature 0 is the limit: the most probable id, of equals the first.
    What has probability 0 is never drawn. In float64 whatever Y is, so that Σ p is known to 1e-16 and u times it is below it.
    """
    if temperature == 0:
        return Y.argmax(axis=-1)
    with np.errstate(divide="ignore", over="ignore"):  # the logarithm of 0, and what it is divided by 1e-300, is -inf
        logarithm = np.log(Y, dtype=np.float64)
        p = np.exp((logarithm - logarithm.max(axis=-1, keepdims=True)) / temperature)
    cumulative = p.cumsum(axis=-1)
    return (cumulative <= u[:, None] * cumulative[:, -1:]).sum(axis=-1)


def losses(parameters: Parameters, X: ArrayLike, D: ArrayLike, initial_state: ArrayLike | None = None, *,
           output: Output = "sequence", weights: ArrayLike | None = None, loss: LossName = "squared_error",
           loss_parameter: Any = None, output_activation: OutputActivation = "identity", **options: Any) -> np.ndarray:
    """e(Y_tb, D_tb) of each step and sequence (T, B), or (B,) if output="last": the source's E_t before the sum over b.

    Unweighted, or with `weights` Σ_o m e, what each step and sequence adds to Σ m e.
    """
    head = {"loss": loss, "loss_parameter": loss_parameter, "output_activation": output_activation}
    run, _, (_, e, _, _) = _forward_and_error(parameters, X, D, weights, initial_state, output=output, **head, **options)
    if weights is not None:
        e = weighted_losses(run.Z, _in_time(D, output), only(run.there, _in_time(weights, output)),
                            **head | {"loss_parameter": _default(loss, loss_parameter)})
    e = only(run.there, e)
    return e if output == "sequence" else e[0]


def loss(parameters: Parameters, X: ArrayLike, D: ArrayLike, *, weights: ArrayLike | None = None,
         initial_state: ArrayLike | None = None, **options: Any) -> Any:
    """The reduced error E, a scalar: Σ m e, divided by Σ m where reduction="mean" (0 where Σ m = 0)."""
    _, scale, (_, _, total, _) = _forward_and_error(parameters, X, D, weights, initial_state, **options)
    return scale * total
