"""Optimisers: update rules with their hyperparameters.

An optimiser holds no state of a run, so one object can serve many runs. `reference.update` defines the mathematics of every
rule, and `_core.update` is its compiled counterpart. The defaults are PyTorch's, except that the learning rate is 1e-3 for
every rule (1e-2 in PyTorch's RMSprop and Adagrad). To add a rule, add a class here with its name, and the rule to both
counterparts.

Examples
--------
>>> from fastbptt import optimizers
>>> optimizers.SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import _core, _checks, reference

if TYPE_CHECKING:
    from ._types import Backend, Float, OptimizerName

OPTIMIZERS: dict[str, type[_Rule]] = {}  # by the name of the rule; each class registers itself


@dataclass(frozen=True)
class Optimizer:
    """Base class of all rules. A rule of your own is a frozen dataclass that overrides `update` and, if it has state, `slots`.

    Its fields are the hyperparameters, with `learning_rate` first.

    Raises
    ------
    TypeError : the class does not override `update`.
    ValueError : learning_rate is not positive and finite.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from fastbptt import RNN, optimizers
    >>> @dataclass(frozen=True)
    ... class SignSGD(optimizers.Optimizer):
    ...     def update(self, theta, gradient, slots, count, learning_rate):
    ...         theta -= learning_rate * np.sign(gradient)
    >>> history = RNN(1, 2, 1).fit(np.ones((3, 4, 1)), np.ones((3, 4, 1)), epochs=1, optimizer=SignSGD(0.01))
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Raise TypeError for the base class itself, and ValueError for a learning rate that is not positive."""
        if type(self).update is Optimizer.update:
            raise TypeError(f"Optimizer is only the base class of rules; use one of {', '.join(OPTIMIZERS)}, or override "
                            "update")
        _checks.number("learning_rate", self.learning_rate, 0)

    def slots(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return the rule's state before the first update, such as a momentum: a list of arrays of theta's dtype.

        The default is an empty list.
        """
        return []

    def update(self, theta: np.ndarray, gradient: np.ndarray, slots: list[np.ndarray], count: int,
               learning_rate: float) -> None:
        """Update theta (P,) and the slots in place by the gradient (P,). `count` is 1 in the first update.

        `learning_rate` is the field times the factor of the schedule. The method need not handle interrupts: theta and the
        slots are copies, which replace the originals when the update is complete.
        """
        raise NotImplementedError

    def _update(self, theta, gradient, slots, count, learning_rate, backend):
        """Make update number `count` of theta and slots in place.

        The loop calls this form; rules of users have no `backend`.
        """
        self.update(theta, gradient, slots, count, learning_rate)


@dataclass(frozen=True)
class _Rule(Optimizer):
    """Base class of the rules that reference.update and _core.update implement."""

    rule: ClassVar[str]

    def __init_subclass__(cls, *, rule: str | None = None, **others: Any) -> None:
        """Register the class under the rule's name. A class of a user inherits its rule."""
        super().__init_subclass__(**others)
        if rule is not None:
            cls.rule = rule
            OPTIMIZERS[rule] = cls

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is out of range."""
        for name, value in vars(self).items():
            if name == "nesterov":
                _checks.flag(name, value)
            else:
                _checks.number(name, value, 0, 1 if name in ("momentum", "rho", "beta_1", "beta_2") else np.inf,
                              low_allowed=name != "learning_rate")

    def slots(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return the state before the first update: arrays of zeros like theta, as many as the rule needs."""
        return [np.zeros_like(theta) for _ in range(reference.UPDATE_RULES[self.rule])]

    def update(self, theta: np.ndarray, gradient: np.ndarray, slots: list[np.ndarray], count: int,
               learning_rate: float | None = None, backend: Backend = "core") -> None:
        """Update theta and the slots in place. An interrupt takes effect before or after, never during the update.

        `count` is 1 in the first update. `learning_rate` is by default the field.
        """
        numbers = vars(self) if learning_rate is None else vars(self) | {"learning_rate": learning_rate}
        if backend == "core":
            _core.update(self.rule, theta, gradient, slots, count, **numbers)
        else:
            new_theta, new_slots = reference.update(self.rule, theta, gradient, slots, count, **numbers)
            theta[...] = new_theta
            for slot, new in zip(slots, new_slots):
                slot[...] = new

    _update = update


@dataclass(frozen=True)
class SGD(_Rule, rule="sgd"):
    """Stochastic gradient descent: v ← μ v + g;  θ ← θ − η v, or θ − η (g + μ v) with `nesterov`.

    Here η is learning_rate and μ is `momentum`, in [0, 1). Sources: Polyak 1964; Sutskever et al. 2013.

    Raises
    ------
    TypeError, ValueError : a number is out of range, or `nesterov` is True without momentum.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2, optimizer=optimizers.SGD(0.01, momentum=0.9))
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError also for `nesterov` without momentum."""
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True requires momentum > 0, got momentum=0.0")


@dataclass(frozen=True)
class RMSprop(_Rule, rule="rmsprop"):
    """RMSprop: s ← ρ s + (1 − ρ) g²;  θ ← θ − η g / (√s + ε).

    Here η is learning_rate, ρ is `rho`, in [0, 1), and ε is `epsilon`. Source: Tieleman and Hinton 2012.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2, optimizer=optimizers.RMSprop(1e-3))
    """

    rho: float = 0.99
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Adagrad(_Rule, rule="adagrad"):
    """Adagrad: s ← s + g²;  θ ← θ − η g / (√s + ε).

    Here η is learning_rate and ε is `epsilon`. Source: Duchi, Hazan and Singer 2011.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2, optimizer=optimizers.Adagrad(1e-2))
    """

    epsilon: float = 1e-10


@dataclass(frozen=True)
class Adam(_Rule, rule="adam"):
    """Adam: m ← β1 m + (1 − β1) g;  v ← β2 v + (1 − β2) g²;  θ ← θ − η m̂ / (√v̂ + ε).

    Here m̂ = m / (1 − β1^count) and v̂ = v / (1 − β2^count). η is learning_rate, β1 and β2 are `beta_1` and `beta_2`, in [0,
    1), and ε is `epsilon`. Source: Kingma and Ba 2015.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2, optimizer=optimizers.Adam(1e-3))
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8


@dataclass(frozen=True)
class AdamW(Adam, rule="adamw"):
    """AdamW: θ ← (1 − η λ) θ, then an update of Adam. λ is `weight_decay`. Source: Loshchilov and Hutter 2019.

    Examples
    --------
    >>> net = RNN(2, 8, 1, random_state=0)
    >>> X, D = np.zeros((5, 3, 2)), np.ones((5, 3, 1))
    >>> history = net.fit(X, D, epochs=2, optimizer=optimizers.AdamW(1e-3, weight_decay=0.1))
    """

    weight_decay: float = 0.01


def make(optimizer: OptimizerName | Optimizer, learning_rate: Float | None = None) -> Optimizer:
    """Return the Optimizer for the argument `optimizer`: the object itself, or the rule of this name.

    `learning_rate` None is the rule's default. Raise ValueError if an object and a learning rate are given.
    """
    if isinstance(optimizer, Optimizer):
        if learning_rate is not None:
            raise ValueError(f"learning_rate={learning_rate!r} is given with optimizer={optimizer!r}, which has its own; give "
                             "only one of them")
        return optimizer
    kind = OPTIMIZERS[_checks.choose("optimizer", optimizer, OPTIMIZERS)]
    return kind() if learning_rate is None else kind(learning_rate=learning_rate)
