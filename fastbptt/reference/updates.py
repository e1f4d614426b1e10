"""Updates of the flat parameters: clipping and the update rules of optimisers.

To add a rule, add a function with the decorator `_rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def clip_norm(gradient: np.ndarray, max_norm: float) -> tuple[np.ndarray, float]:
    """Return the flat gradient (P,), scaled to max_norm if its Euclidean norm is larger, and the norm before scaling.

    The gradient is divided by its largest entry first, so that squares neither overflow nor underflow. A norm above the largest
    float64 is returned as the largest float64. If an entry is not finite, the gradient is returned unchanged, and the norm is
    NaN or infinity. Source: Pascanu et al. 2013.
    """
    largest = float(np.max(np.abs(gradient), initial=0))
    if largest == 0 or not np.isfinite(largest):
        return gradient, largest
    scaled = gradient / gradient.dtype.type(largest)
    length = float(np.sqrt(np.sum(np.square(scaled), dtype=np.float64)))
    norm = min(largest * length, float(np.finfo(np.float64).max))
    return (scaled * gradient.dtype.type(max_norm / length) if norm > max_norm else gradient), norm


# name: number of slots, the arrays as long as theta that the rule keeps between updates
UPDATE_RULES: dict[str, int] = {}
_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _rule(name, slots):
    """Register a function as the update rule `name`. It takes theta, gradient, slots, count and the rule's numbers."""
    def register(function):
        UPDATE_RULES[name], _FUNCTIONS[name] = slots, function
        return function
    return register


@_rule("sgd", slots=1)
def _sgd(theta, gradient, slots, count, *, learning_rate, momentum, nesterov, **_):
    v = momentum * slots[0] + gradient
    return theta - learning_rate * (gradient + momentum * v if nesterov else v), [v]


@_rule("rmsprop", slots=1)
def _rmsprop(theta, gradient, slots, count, *, learning_rate, rho, epsilon, **_):
    s = rho * slots[0] + (1 - rho) * gradient**2
    return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]


@_rule("adagrad", slots=1)
def _adagrad(theta, gradient, slots, count, *, learning_rate, epsilon, **_):
    s = slots[0] + gradient**2
    return theta - learning_rate * gradient / (np.sqrt(s) + epsilon), [s]


@_rule("adam", slots=2)
def _adam(theta, gradient, slots, count, *, learning_rate, beta_1, beta_2, epsilon, **_):
    m = beta_1 * slots[0] + (1 - beta_1) * gradient
    v = beta_2 * slots[1] + (1 - beta_2) * gradient**2
    m_hat, v_hat = m / (1 - beta_1**count), v / (1 - beta_2**count)
    return theta - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), [m, v]


@_rule("adamw", slots=2)
def _adamw(theta, gradient, slots, count, *, learning_rate, weight_decay, **numbers):
    theta = theta * (1 - learning_rate * weight_decay)
    return _adam(theta, gradient, slots, count, learning_rate=learning_rate, **numbers)


def update(rule: str, theta: np.ndarray, gradient: np.ndarray, slots: Sequence[np.ndarray], count: int, *,
           learning_rate: float, momentum: float = 0.0, nesterov: bool = False, rho: float = 0.99, beta_1: float = 0.9,
           beta_2: float = 0.999, epsilon: float = 1e-8,
           weight_decay: float = 0.01) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the new theta (P,) and the new slots after one update of the flat parameters. The arguments are not changed.

    The rules are PyTorch's: SGD with momentum (Polyak 1964; Nesterov's after Sutskever et al. 2013), RMSprop (Tieleman
    and Hinton 2012), Adagrad (Duchi et al. 2011), Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019).

    Parameters
    ----------
    rule : a name in UPDATE_RULES
    theta, gradient : arrays (P,)
    slots : arrays (P,), as many as UPDATE_RULES has for the rule; zeros before the first update
    count : int, 1 in the first update
    learning_rate and the other numbers : those of the rule; it ignores the others

    Raises
    ------
    KeyError : there is no such rule.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt import reference
    >>> theta, slots = reference.update("sgd", np.ones(2), np.array([1.0, -2.0]), [np.zeros(2)], 1, learning_rate=0.5)
    >>> print(theta)
    [0.5 2. ]
    """
    return _FUNCTIONS[rule](theta, gradient, slots, count, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov,
                            rho=rho, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, weight_decay=weight_decay)
