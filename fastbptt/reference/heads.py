"""The error of outputs: losses, their weights, their reduction, and the derivative by Z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .tables import _softmax_back_settled, FUSED, LOSS_PARAMETERS, LOSSES, OUTPUT_ACTIVATIONS

if TYPE_CHECKING:
    from .._types import LossName, OutputActivation


def error(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, scale: Any, *, output_activation: OutputActivation,
          loss: LossName, loss_parameter: Any = None,
          settles: bool = False) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Y = g2(Z), the unweighted losses e summed over outputs (T, B), Σ m e, and delta_y = scale ∂(Σ m e)/∂Z.

    `settles`: as with omega, delta_y is 0 where it is only rounding noise.
    """
    _, pull_back = OUTPUT_ACTIVATIONS[output_activation]
    _, de = LOSSES[loss]
    Y, D, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    delta_y = np.where(m == 0, 0, scale * m * de(Y, Z, D, loss_parameter))
    if settles and output_activation == "softmax":
        pull_back = _softmax_back_settled
    if loss not in FUSED:
        delta_y = pull_back(delta_y, Y)
    wide = np.result_type(Z, np.float64)  # in which no product of a weight and a loss is subnormal
    total = np.where(m == 0, 0, m.astype(wide) * losses).sum(dtype=wide)
    return Y, losses.sum(axis=-1), total, delta_y.astype(Z.dtype)


def weighted_losses(Z: np.ndarray, D: np.ndarray, weights: np.ndarray, *, output_activation: OutputActivation, loss: LossName,
                    loss_parameter: Any = None) -> np.ndarray:
    """Σ_o m e of each step and sequence (T, B): what each adds to Σ m e. 0 where m is 0."""
    _, _, m, losses = _each_loss(Z, D, weights, output_activation, loss, loss_parameter)
    return np.multiply(m, losses, out=np.zeros_like(losses), where=m != 0).sum(axis=-1)


def _each_loss(Z, D, weights, output_activation, loss, loss_parameter):
    """Y, and D, weights m and losses e of each output (T, B, O)."""
    g, _ = OUTPUT_ACTIVATIONS[output_activation]
    e, _ = LOSSES[loss]
    Y = g(Z)
    if loss == "cross_entropy" and D.ndim == Z.ndim - 1:  # labels: the rows of the unit matrix
        D = np.eye(Z.shape[-1])[np.where(_per_output(weights, 1)[..., 0] == 0, 0, D)]
    m = _per_output(weights, D.shape[-1]).astype(Z.real.dtype)
    D = np.where(m == 0, 0, D).astype(Z.real.dtype)  # what has no weight is never read
    if loss == "quantile":  # every level sees the same targets
        D, m = (np.tile(array, len(loss_parameter)) for array in (D, m))
    return Y, D, m, e(Y, Z, D, loss_parameter)


def _in_time(A, output):
    """A (T, B, ...); what belongs to last steps alone, (B, ...), as (1, B, ...)."""
    return np.asarray(A) if output == "sequence" else np.asarray(A)[None]


def _default(loss, loss_parameter):
    return LOSS_PARAMETERS.get(loss) if loss_parameter is None else loss_parameter


def _normal(weights, dtype):
    """Weights in this dtype; one below its least normal number counts as 0, as in the core, which has no such numbers."""
    weights = np.asarray(weights, dtype)
    return np.where(weights < np.finfo(dtype).tiny, 0, weights)


def _per_output(weights, K):
    """Weights (T, B) or (T, B, K) as (T, B, K)."""
    return weights if weights.ndim == 3 else np.broadcast_to(weights[..., None], (*weights.shape, K))


def _scale(reduction, weights):
    """1, or 1 / Σ m; weights for each output count with their mean over outputs, so that ones change nothing."""
    if reduction == "sum":
        return 1.0
    total = float(weights.sum(dtype=np.float64)) / (weights.shape[2] if weights.ndim == 3 else 1)
    return 1.0 / total if total >= np.finfo(np.float64).tiny else 0.0  # else infinite
