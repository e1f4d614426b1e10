"""What an update is: the rule, its numbers, and the arrays that it carries from one update to the next.

An optimiser describes; it holds no state of a run, so one object may serve many. `reference.update` is the mathematics
of every rule, `_core.update` its compiled twin. The defaults are PyTorch's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from . import _core, _words, reference


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its numbers."""

    learning_rate: float = 1e-3
    rule: ClassVar[str]

    def __post_init__(self):
        if not hasattr(self, "rule"):
            raise TypeError(f"Optimizer is the base of all rules; take one of {', '.join(OPTIMIZERS)}")
        for name, value in asdict(self).items():
            if name == "nesterov":
                _words.flag(name, value)
            else:
                _words.number(name, value, 0, 1 if name in ("momentum", "rho", "beta_1", "beta_2") else np.inf,
                              low_allowed=name != "learning_rate")

    def slots(self, theta: np.ndarray) -> list[np.ndarray]:
        """Zeros for what the rule carries: a list of arrays like theta."""
        return [np.zeros_like(theta) for _ in range(reference.UPDATE_RULES[self.rule])]

    def update(self, theta, gradient, slots, count, backend="core") -> None:
        """Change theta and slots in place, whole: an interrupt comes before or after. count is 1 the first time."""
        if backend == "core":
            _core.update(self.rule, theta, gradient, slots, count, **asdict(self))
        else:
            new_theta, new_slots = reference.update(self.rule, theta, gradient, slots, count, **asdict(self))
            theta[...] = new_theta
            for slot, new in zip(slots, new_slots):
                slot[...] = new


@dataclass(frozen=True)
class SGD(Optimizer):
    """v ← μ v + g;  θ ← θ − η v, or θ − η (g + μ v) with nesterov. Polyak 1964; Sutskever et al. 2013."""

    momentum: float = 0.0
    nesterov: bool = False
    rule: ClassVar[str] = "sgd"

    def __post_init__(self):
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0, got momentum=0.0")


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← ρ s + (1 − ρ) g²;  θ ← θ − η g / (√s + ε). Tieleman and Hinton 2012."""

    rho: float = 0.99
    epsilon: float = 1e-8
    rule: ClassVar[str] = "rmsprop"


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g²;  θ ← θ − η g / (√s + ε). Duchi, Hazan and Singer 2011."""

    epsilon: float = 1e-10
    rule: ClassVar[str] = "adagrad"


@dataclass(frozen=True)
class Adam(Optimizer):
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


def make(optimizer, learning_rate=None) -> Optimizer:
    """The optimiser that a name (with a learning rate) or an Optimizer stands for."""
    if isinstance(optimizer, Optimizer):
        if learning_rate is not None:
            raise ValueError(f"learning_rate={learning_rate!r} beside optimizer={optimizer!r}, which has its own: "
                             "give one of the two")
        return optimizer
    kind = OPTIMIZERS[_words.choose("optimizer", optimizer, OPTIMIZERS)]
    return kind() if learning_rate is None else kind(learning_rate=learning_rate)
