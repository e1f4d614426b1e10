"""What an update is: the rule, its numbers, and the arrays that it carries from one update to the next.

An optimiser describes; it holds no state of a run, so one object may serve many. `reference.update` is the mathematics
of every rule, `_core.update` its compiled twin. The defaults are PyTorch's, except that the
learning rate is 1e-3 for every rule (PyTorch's RMSprop and Adagrad have 1e-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from . import _core, _checks, reference

if TYPE_CHECKING:
    from ._types import Backend, Float, OptimizerName


@dataclass(frozen=True)
class Optimizer:
    """The base of all rules, for rules of one's own too: a frozen dataclass that overrides `update`, and `slots` if need be.

    Its fields are its numbers; learning_rate comes first.
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if type(self).update is Optimizer.update:
            raise TypeError(f"Optimizer is the base of all rules; take one of {', '.join(OPTIMIZERS)}, or override update")
        _checks.number("learning_rate", self.learning_rate, 0)

    def slots(self, theta: np.ndarray) -> list[np.ndarray]:
        """What the rule carries from one update to the next: a list of arrays of theta's dtype; none by default."""
        return []

    def update(self, theta: np.ndarray, gradient: np.ndarray, slots: list[np.ndarray], count: int,
               learning_rate: float) -> None:
        """Change theta (P,) and slots in place by the gradient (P,). count is 1 the first time.

        `learning_rate` is the field times the schedule's factor. Interrupts need not be thought of: theta and slots are
        copies that take their place when the update is whole.
        """
        raise NotImplementedError

    def _update(self, theta, gradient, slots, count, learning_rate, backend):
        self.update(theta, gradient, slots, count, learning_rate)


@dataclass(frozen=True)
class _Rule(Optimizer):
    """A rule that reference.update and _core.update know."""

    rule: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "nesterov":
                _checks.flag(name, value)
            else:
                _checks.number(name, value, 0, 1 if name in ("momentum", "rho", "beta_1", "beta_2") else np.inf,
                              low_allowed=name != "learning_rate")

    def slots(self, theta: np.ndarray) -> list[np.ndarray]:
        """Zeros, as many arrays like theta as the rule carries."""
        return [np.zeros_like(theta) for _ in range(reference.UPDATE_RULES[self.rule])]

    def update(self, theta: np.ndarray, gradient: np.ndarray, slots: list[np.ndarray], count: int,
               learning_rate: float | None = None, backend: Backend = "core") -> None:
        """Change theta and slots in place, whole: an interrupt comes before or after. count is 1 the first time."""
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
class SGD(_Rule):
    """v ← μ v + g;  θ ← θ − η v, or θ − η (g + μ v) with nesterov. Polyak 1964; Sutskever et al. 2013."""

    momentum: float = 0.0
    nesterov: bool = False
    rule: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0, got momentum=0.0")


@dataclass(frozen=True)
class RMSprop(_Rule):
    """s ← ρ s + (1 − ρ) g²;  θ ← θ − η g / (√s + ε). Tieleman and Hinton 2012."""

    rho: float = 0.99
    epsilon: float = 1e-8
    rule: ClassVar[str] = "rmsprop"


@dataclass(frozen=True)
class Adagrad(_Rule):
    """s ← s + g²;  θ ← θ − η g / (√s + ε). Duchi, Hazan and Singer 2011."""

    epsilon: float = 1e-10
    rule: ClassVar[str] = "adagrad"


@dataclass(frozen=True)
class Adam(_Rule):
    """m ← β1 m + (1 − β1) g;  v ← β2 v + (1 − β2) g²;  θ ← θ − η m̂ / (√v̂ + ε). Kingma and Ba 2015."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    rule: ClassVar[str] = "adam"


@dataclass(frozen=True)
class AdamW(Adam):
    """θ ← (1 − η λ) θ, then Adam. Loshchilov and Hutter 2019."""

    weight_decay: float = 0.01
    rule: ClassVar[str] = "adamw"


OPTIMIZERS = {"sgd": SGD, "rmsprop": RMSprop, "adagrad": Adagrad, "adam": Adam, "adamw": AdamW}


def make(optimizer: OptimizerName | Optimizer, learning_rate: Float | None = None) -> Optimizer:
    """The optimiser that a name (with a learning rate) or an Optimizer stands for."""
    if isinstance(optimizer, Optimizer):
        if learning_rate is not None:
            raise ValueError(f"learning_rate={learning_rate!r} beside optimizer={optimizer!r}, which has its own: "
                             "give one of the two")
        return optimizer
    kind = OPTIMIZERS[_checks.choose("optimizer", optimizer, OPTIMIZERS)]
    return kind() if learning_rate is None else kind(learning_rate=learning_rate)
