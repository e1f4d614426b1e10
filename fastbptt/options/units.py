"""The options that say what becomes of a unit's pre-activation, and the keys of what is drawn at random on the way."""

from __future__ import annotations

import numpy as np

from .. import _checks, reference

FORMS = ("rate", "current")
DRAWN = ("noise_std", "input_noise_std", "recurrent_dropout")
PLAIN = {"leak": 1.0, "leak_form": "rate", **dict.fromkeys(DRAWN, 0.0)}
OPTIONS = ("leak", "dt", "tau", "leak_form", *DRAWN)


def options(leak, dt, tau, leak_form, noise_std, input_noise_std, recurrent_dropout):
    """The entries of a network's configuration, checked; dt and tau have become the leak."""
    return {"leak": _leak(leak, dt, tau), "leak_form": _checks.choose("leak_form", leak_form, FORMS),
            "noise_std": _checks.number("noise_std", noise_std, 0, low_allowed=True),
            "input_noise_std": _checks.number("input_noise_std", input_noise_std, 0, low_allowed=True),
            "recurrent_dropout": _checks.number("recurrent_dropout", recurrent_dropout, 0, 1, low_allowed=True)}


def _leak(leak, dt, tau):
    if leak is not None and not (dt is None and tau is None):
        raise TypeError("give leak, or dt and tau, of which it is the ratio, not both")
    if (dt is None) != (tau is None):
        raise TypeError(f"dt and tau go together, leak = dt / tau; got dt={dt!r}, tau={tau!r}")
    if dt is not None:
        dt, tau = _checks.number("dt", dt, 0), _checks.number("tau", tau, 0)
        if dt > tau:
            raise ValueError(f"dt must be at most tau, got dt={dt}, tau={tau}")
        return dt / tau
    leak = 1.0 if leak is None else _checks.number("leak", leak, 0)
    if leak > 1:
        raise ValueError(f"leak must be above 0 and at most 1, got {leak}")
    return leak


def for_engine(config):
    """The same as `_core.Engine` takes them."""
    return {"leak": config["leak"], "leak_form": config["leak_form"], "dropout": config["recurrent_dropout"],
            "noise": float(reference.noise_scale(config["noise_std"], config["leak"])),
            "input_noise": float(reference.noise_scale(config["input_noise_std"], config["leak"]))}


def key(entropy, stream):
    """64 bits, of a seed and the number of a stream."""
    return int(np.random.SeedSequence(entropy, spawn_key=(stream,)).generate_state(1, np.uint64)[0])
