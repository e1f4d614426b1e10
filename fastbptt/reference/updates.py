"""Updates of the flat parameters: clipping and the rules of optimisers.

A new rule is a branch of `update` and a row of UPDATE_RULES.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clip_norm(gradient: np.ndarray, max_norm: float) -> tuple[np.ndarray, float]:
    """The flat gradient, scaled to max_norm where its Euclidean norm exceeds it, and that norm (Pascanu et al. 2013).

    Both are found by way of the gradient divided by its largest entry, so that nothing overflows or underflows. A norm
    beyond the largest float is given as that.
    """
    largest = float(np.max(np.abs(gradient), initial=0))
    if largest == 0 or not np.isfinite(largest):
        return gradient, largest
    scaled = gradient / gradient.dtype.type(largest)
    length = float(np.sqrt(np.sum(np.square(scaled), dtype=np.float64)))
    norm = min(largest * length, float(np.finfo(np.float64).max))
    return (scaled * gradient.dtype.type(max_norm / length) if norm > max_norm else gradient), norm


# name: number of slots, arrays as long as theta that the rule carries from one update to the next
UPDATE_RULES = {"sgd": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "adamw": 2}


def update(rule: str, theta: np.ndarray, gradient: np.ndarray, slots: Sequence[np.ndarray], count: int, *,
           learning_rate: float, momentum: float = 0.0, nesterov: bool = False, rho: float = 0.99, beta_1: float = 0.9,
           beta_2: float = 0.999, epsilon: float = 1e-8,
           weight_decay: float = 0.01) -> tuple[np.ndarray, list[np.ndarray]]:
    """One update of the flat parameters: the new theta and the new slots. count is 1 in the first update.

    The rules are PyTorch's: SGD with momentum (Polyak 1964; Nesterov's after Sutskever et al. 2013), RMSprop (Tieleman
    and Hinton 2012), Adagrad (Duchi et al. 2011), Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019).
    """
    if rule == "sgd":
        v = momentum * slots[0] + gradient
        return theta - learning_rate * (gradient + momentum * v if nesterov else v), [v]
    if rule == "rmsprop":
        s = rho * slots[0] + (1 - rho) * gradient**2
        return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]
    if rule == "adagrad":
        s = slots[0] + gradient**2
        return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]
    if rule == "adamw":
        theta = theta * (1 - learning_rate * weight_decay)
    m = beta_1 * slots[0] + (1 - beta_1) * gradient
    v = beta_2 * slots[1] + (1 - beta_2) * gradient**2
    m_hat, v_hat = m / (1 - beta_1**count), v / (1 - beta_2**count)
    return theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), [m, v]
