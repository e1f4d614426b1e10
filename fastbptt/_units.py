"""The options that say what becomes of a unit's pre-activation."""

from __future__ import annotations

from . import _words

FORMS = ("rate", "current")
OPTIONS = ("leak", "dt", "tau", "leak_form")


def options(leak, dt, tau, leak_form):
    """The entries of a network's configuration, checked; dt and tau have become the leak."""
    return {"leak": _leak(leak, dt, tau), "leak_form": _words.choose("leak_form", leak_form, FORMS)}


def _leak(leak, dt, tau):
    if leak is not None and not (dt is None and tau is None):
        raise TypeError("give leak, or dt and tau, of which it is the ratio, not both")
    if (dt is None) != (tau is None):
        raise TypeError(f"dt and tau go together, leak = dt / tau; got dt={dt!r}, tau={tau!r}")
    if dt is not None:
        dt, tau = _words.number("dt", dt, 0), _words.number("tau", tau, 0)
        if dt > tau:
            raise ValueError(f"dt must be at most tau, got dt={dt}, tau={tau}")
        return dt / tau
    leak = 1.0 if leak is None else _words.number("leak", leak, 0)
    if leak > 1:
        raise ValueError(f"leak must be above 0 and at most 1, got {leak}")
    return leak
