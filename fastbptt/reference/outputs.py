"""Operations of a network without a gradient: outputs, single steps, sampled token ids, losses.

Operations that return a gradient belong in `gradients`, diagnostics in `inspection`.
"""

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
    """Return the outputs, the final state and all states of a network.

    Parameters
    ----------
    parameters : dict of arrays, as in the docstring of `fastbptt.reference`
    X : (T, B, I), or token ids (T, B)
    initial_state : (B, H); by default the learnable S_0 if the network has one, else zero
    return_rates : whether to return R as well
    lengths, resets, output, activation, output_activation, maps, leak, leak_form, draws, ... : see `fastbptt.reference`

    Returns
    -------
    Y : (T, B, O), or (B, O) if output="last"
    final_state : (B, H)
    S : (T+1, B, H). S[0] is the initial state and S[t+1] the state after X[t], also for a reverse recurrence.
    R : (T, B, H), only if `return_rates`. The rates after X[t]: g1 of the pre-activation, or g1 of the state in the current
        form.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt import reference
    >>> parameters = {"W_x": np.eye(2), "W_s": np.zeros((2, 2)), "W_y": np.ones((1, 2))}
    >>> Y, final_state, S = reference.forward(parameters, np.ones((3, 1, 2)), activation="identity")
    >>> Y.shape, final_state.shape, S.shape
    ((3, 1, 1), (1, 2), (4, 1, 2))
    """
    Y, final_state, run = _run(parameters, X, initial_state, **options)
    return (Y, final_state, run.S, run.fired) if return_rates else (Y, final_state, run.S)


def _run(parameters, X, initial_state, *, lengths=None, resets=None, output="sequence", activation="tanh",
         output_activation="identity", maps=None, **units):
    """Return the outputs, the final state and the run."""
    run = _forward(effective(parameters, maps), X, initial_state, _units(activation, units), lengths, resets, output)
    g2, _ = OUTPUT_ACTIVATIONS[output_activation]
    Y = only(run.there, g2(run.Z))
    final_states = (read(r.S, run.lengths, "last")[0] for r in run.recurrences)
    return scatter(Y if output == "sequence" else Y[0]), _one_or_all(final_states), run


def step(parameters: Parameters, x: ArrayLike, state: ArrayLike | None = None,
         **options: Any) -> tuple[np.ndarray, Any]:
    """Return the output y (B, O) and the state (B, H) after one step from `state` (B, H) with x (B, I), or token ids (B,).

    The options are those of `forward`. Without `state` the step starts from S_0.
    """
    y, state, _ = forward(parameters, np.asarray(x)[None], state, **options | {"output": "last"})
    return y, state


def sample(Y: np.ndarray, temperature: float, u: np.ndarray) -> np.ndarray:
    """Return category indices (B,) drawn from p ∝ Y^(1 / temperature).

    Each is the first index whose cumulative p exceeds u. Temperature 0 is the limit: the most probable index, and the first of
    equally probable ones. An index of probability 0 is never drawn. The computation is in float64 for any dtype of Y, so that
    Σ p has an error of 1e-16 and u Σ p stays below Σ p.

    Parameters
    ----------
    Y : array (B, O), probabilities
    temperature : float, at least 0
    u : array (B,), uniform random numbers in [0, 1)
    """
    if temperature == 0:
        return Y.argmax(axis=-1)
    with np.errstate(divide="ignore", over="ignore"):  # log 0 is -inf, and so is a logarithm divided by 1e-300
        logarithm = np.log(Y, dtype=np.float64)
        p = np.exp((logarithm - logarithm.max(axis=-1, keepdims=True)) / temperature)
    cumulative = p.cumsum(axis=-1)
    return (cumulative <= u[:, None] * cumulative[:, -1:]).sum(axis=-1)


def losses(parameters: Parameters, X: ArrayLike, D: ArrayLike, initial_state: ArrayLike | None = None, *,
           output: Output = "sequence", weights: ArrayLike | None = None, loss: LossName = "squared_error",
           loss_parameter: Any = None, output_activation: OutputActivation = "identity", **options: Any) -> np.ndarray:
    """Return the loss e(Y_tb, D_tb) of each step and sequence (T, B), or (B,) if output="last".

    It is E_t before the sum over b, without weights. With `weights` it is Σ_o m e, the contribution to Σ m e. The arguments are
    those of `loss_and_gradients`.
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
    """Return the reduced error E, a scalar: Σ m e, divided by Σ m if reduction="mean". It is 0 if Σ m = 0.

    The arguments are those of `loss_and_gradients`. E does not include penalties.
    """
    _, scale, (_, _, total, _) = _forward_and_error(parameters, X, D, weights, initial_state, **options)
    return scale * total
