"""Diagnostics of a network: whether its gradients are correct, how they propagate, and what its states do.

- `_gradient_check`: `gradcheck`
- `_flow`: `gradient_flow`
- `_states`: `states`, `jacobian`
- `_lyapunov`: `lyapunov_exponents`
- `_fixed_points`: `fixed_points`
- `_weights`: `spectrum`, `plot_weights`
- `_networks`: what they share

A new diagnostic is a module here. It returns a frozen dataclass with arrays, `describe` and `plot`. Drawing belongs to
`fastbptt/_plots.py`.
"""

from __future__ import annotations

from ._fixed_points import FixedPoints, fixed_points
from ._flow import GradientFlow, gradient_flow, MemoryFlow
from ._gradient_check import GradientCheck, gradcheck
from ._lyapunov import lyapunov_exponents, LyapunovExponents
from ._states import jacobian, States, states
from ._weights import plot_weights, Spectrum, spectrum

__all__ = ["FixedPoints", "GradientCheck", "GradientFlow", "LyapunovExponents", "MemoryFlow", "Spectrum", "States",
           "fixed_points", "gradcheck", "gradient_flow", "jacobian", "lyapunov_exponents", "plot_weights", "spectrum", "states"]

# Pickles and messages name this module.
for _public in (FixedPoints, GradientCheck, GradientFlow, LyapunovExponents, MemoryFlow, Spectrum, States):
    _public.__module__ = __name__
