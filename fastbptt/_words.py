"""Checks of arguments, and the words in which they fail: the argument's name, what came, what was expected."""

import difflib
import numbers

import numpy as np


def choose(name, value, choices):
    """`value` where it is one of `choices` (strings); else ValueError with the nearest ones."""
    if isinstance(value, str) and value in choices:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {', '.join(choices)}; got {type(value).__name__}")
    near = difflib.get_close_matches(value, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown {name} {value!r}; {hint}choose from {', '.join(choices)}")


def size(name, value, smallest=1):
    """`value` as an int of at least `smallest`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    if not smallest <= value <= 2**31 - 1:
        raise ValueError(f"{name} must be from {smallest} to {2**31 - 1}, got {value}")
    return int(value)


def counted(number, word):
    """A number of things, such as "1 epoch" or "3 epochs"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def reasons(stopped):
    """How many of the reasons in a list are alike, such as "3 'epochs', 1 'patience'"."""
    return ", ".join(f"{stopped.count(reason)} {reason!r}" for reason in dict.fromkeys(stopped))


def count(name, value):
    """`value` as an int from 0 on, below 2**63."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    if not 0 <= value < 2**63:
        raise ValueError(f"{name} must be from 0 to 2**63 - 1, got {value}")
    return int(value)


def flag(name, value):
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__} {value!r}")
    return bool(value)


def number(name, value, low, high=np.inf, low_allowed=False):
    """`value` as a finite float above `low` (or equal, where allowed) and under `high`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__} {value!r}")
    try:
        value = float(value)
    except OverflowError:  # of an int of 400 digits
        value = np.inf if value > 0 else -np.inf
    if not (low < value < high or (low_allowed and value == low)):
        raise ValueError(f"{name} must be finite and {'>=' if low_allowed else '>'} {low}"
                         f"{'' if high == np.inf else f' and < {high}'}, got {value}")
    return value


def array(name, value, dtype):
    """`value` as a C-contiguous, aligned, native array of `dtype`; a copy only where it is not one already.

    Integers and booleans are converted to a floating `dtype`. Raises TypeError for what holds no numbers, ValueError for
    complex numbers, masked arrays and ragged lists.
    """
    refuse_masked(name, value)
    if value is None or isinstance(value, (str, bytes, dict)):
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}")
    try:
        converted = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from error
    if converted.dtype.kind == "c":
        raise ValueError(f"{name} is complex; complex data is not supported, but by fastbptt.reference")
    if max(converted.shape, default=0) > 2**31 - 1:  # before a copy is made of what may be a broadcast view
        raise ValueError(f"{name} has shape {converted.shape}; a dimension above 2147483647 exceeds what BLAS counts")
    if converted.dtype.kind not in "buif":
        raise TypeError(f"{name} must be an array of numbers, got dtype {converted.dtype}")
    if np.dtype(dtype).kind == "i" and converted.dtype.kind == "f":
        raise TypeError(f"{name} must hold integers, got dtype {converted.dtype}")
    return np.require(converted, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def flags(name, value):
    """`value` as a C-contiguous, aligned array of bool, which nothing else is converted to."""
    refuse_masked(name, value)
    try:
        converted = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array of True and False: {error}") from error
    if converted.dtype != bool:
        raise TypeError(f"{name} must hold True and False, got dtype {converted.dtype}")
    return np.require(converted, bool, ["C_CONTIGUOUS", "ALIGNED"])


def refuse_masked(name, value):
    """Raise ValueError for a masked array, or a list of such, whose mask NumPy's conversions would drop in silence."""
    if isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            if isinstance(item, np.ma.MaskedArray):
                refuse_masked(f"{name}[{n}]", item)
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, which is not supported: fill it, and give weights of 0 instead")


def first(bad, axes):
    """The first True of `bad` as an index and in words, such as "(t, b) = (3, 0)"."""
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    return place, f"({', '.join(axes[:len(place)])}) = {place}"


def finite(name, value, axes, skip=None):
    """Raise ValueError naming the first place where `value` is NaN or infinite (and `skip` is not True)."""
    bad = ~np.isfinite(value)
    if skip is not None:
        bad &= ~skip
    if bad.any():
        place, words = first(bad, axes)
        raise ValueError(f"{name} contains {'NaN' if np.isnan(value[place]) else 'infinity'}, first at {words}")


def lengths(value, T, B):
    """`value` as intp (B,), each from 0 to T."""
    found = array("lengths", value, np.intp)
    if found.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = {(B,)}, got {found.shape}")
    bad = (found < 0) | (found > T)
    if bad.any():
        raise ValueError(f"lengths must be from 0 to T = {T}, got {found[bad][0]} for sequence {bad.argmax()}")
    return found


def seed(name, value):
    """`value` as a non-negative int of any length."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be None, an int or a numpy.random.Generator, got {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return int(value)


def short(value):
    """repr, but that an array is told by its shape alone."""
    if isinstance(value, np.ndarray):
        return f"<array {value.shape}>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {short(each)}" for key, each in value.items()) + "}"
    return repr(value)
