"""Checks of the leak, dt and tau, and the keys of the random numbers of noise and dropout.

Add the check of a new property of the units here.
"""

from __future__ import annotations

import numpy as np

from .. import _checks

FORMS = ("rate", "current")
DRAWN = ("noise_std", "input_noise_std", "recurrent_dropout")


def leak_of(leak, dt, tau):
    """Return the user's leak, a number or None, or dt / tau if these are given."""
    if leak is not None and not (dt is None and tau is None):
        raise TypeError("leak is given with dt or tau; give either leak, or dt and tau with leak = dt / tau")
    if (dt is None) != (tau is None):
        raise TypeError(f"dt and tau must be given together, as leak = dt / tau; got dt={dt!r}, tau={tau!r}")
    if dt is not None:
        dt, tau = _checks.number("dt", dt, 0), _checks.number("tau", tau, 0)
        if dt > tau:
            raise ValueError(f"dt must be at most tau, got dt={dt}, tau={tau}")
        return dt / tau
    return leak


def leak(name, value):
    """Return the leak as a float in (0, 1]; None is 1."""
    value = 1.0 if value is None else _checks.number(name, value, 0)
    if value > 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return value


def key(entropy, stream):
    """Return a 64-bit key from a seed and the number of a stream."""
    return int(np.random.SeedSequence(entropy, spawn_key=(stream,)).generate_state(1, np.uint64)[0])
