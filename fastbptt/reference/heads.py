"""The error of the outputs: losses, weights, reduction, and the derivative with respect to Z.

Add what all losses share here; a new loss is a row of `tables.LOSSES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .tables import _softmax_back_settled, FUSED, LOSS_PARAMETERS, LOSSES, OUTPUT_ACTIVATIONS

if TYPE_CHECKING:
    from .._types import LossName, OutputActivation


def error(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, scale: Any, *, output_activation: OutputActivation,
          loss: LossName, loss_parameter: Any = None,
          settles: bool = False) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Return the outputs, their losses, the weighted error, and its derivative with respect to Z.

    Parameters
    ----------
    Z : array (T, B, O)
    D : array (T, B, K), or integer labels (T, B) for cross_entropy
    weights : array (T, B) or (T, B, K), non-negative
    scale : factor of delta_y, such as 1 / Σ m
    settles : whether delta_y is set to 0 if it is only rounding noise, as omega requires

    Returns
    -------
    Y : array (T, B, O), g2(Z)
    losses : array (T, B), the unweighted e summed over outputs
    total : scalar, Σ m e
    delta_y : array (T, B, O), scale ∂(Σ m e)/∂Z, in the dtype of Z
    """
    _, pull_back = OUTPUT_ACTIVATIONS[output_activation]
    _, de = LOSSES[loss]
    Y, D, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    delta_y = np.where(m == 0, 0, scale * m * de(Y, Z, D, loss_parameter))
    if settles and output_activation == "softmax":
        pull_back = _softmax_back_settled
    if loss not in FUSED:
        delta_y = pull_back(delta_y, Y)
    wide = np.result_type(Z, np.float64)  # so that no product of a weight and a loss is subnormal
    total = np.where(m == 0, 0, m.astype(wide) * losses).sum(dtype=wide)
    return Y, losses.sum(axis=-1), total, delta_y.astype(Z.dtype)


def weighted_losses(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, *, output_activation: OutputActivation, loss: LossName,
                    loss_parameter: Any = None) -> np.ndarray:
    """Return Σ_o m e (T, B), the contribution of each step and sequence to Σ m e. It is 0 where m is 0."""
    _, _, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    return np.multiply(m, losses, out=np.zeros_like(losses), where=m != 0).sum(axis=-1)


def _each_loss(Z, D, weights, output_activation, loss, loss_parameter):
    """Return Y, D, the weights m and the losses e of each output, all (T, B, O)."""
    g, _ = OUTPUT_ACTIVATIONS[output_activation]
    e, _ = LOSSES[loss]
    Y = g(Z)
    if loss == "cross_entropy" and D.ndim == Z.ndim - 1:  # labels become one-hot rows
        D = np.eye(Z.shape[-1])[np.where(_per_output(weights, 1)[..., 0] == 0, 0, D)]
    m = _per_output(weights, D.shape[-1]).astype(Z.real.dtype)
    D = np.where(m == 0, 0, D).astype(Z.real.dtype)  # a target without weight is never read
    if loss == "quantile":  # all levels have the same targets
        D, m = (np.tile(array, len(loss_parameter)) for array in (D, m))
    return Y, D, m, e(Y, Z, D, loss_parameter)


def _in_time(A, output):
    """Return A (T, B, ...). With output="last", add the axis of time: (B, ...) becomes (1, B, ...)."""
    return np.asarray(A) if output == "sequence" else np.asarray(A)[None]


def _default(loss, loss_parameter):
    return LOSS_PARAMETERS.get(loss) if loss_parameter is None else loss_parameter


def _normal(weights, dtype):
    """Return the weights in `dtype`. Subnormal weights become 0, because the core flushes denormals."""
    weights = np.asarray(weights, dtype)
    return np.where(weights < np.finfo(dtype).tiny, 0, weights)


def _per_output(weights, K):
    """Return weights (T, B) or (T, B, K) as (T, B, K)."""
    return weights if weights.ndim == 3 else np.broadcast_to(weights[..., None], (*weights.shape, K))


def _scale(reduction, weights):
    """Return 1 for reduction="sum", else 1 / Σ m.

    Weights (T, B, K) enter Σ m with their mean over the outputs, so that weights of 1 change nothing.
    """
    if reduction == "sum":
        return 1.0
    total = float(weights.sum(dtype=np.float64)) / (weights.shape[2] if weights.ndim == 3 else 1)
    return 1.0 / total if total >= np.finfo(np.float64).tiny else 0.0  # 1 / a subnormal sum is infinite
