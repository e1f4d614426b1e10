"""Options that constrain parameters (connectivity, trainable, Dale's law): their checks and the reference.Map of a parameter.

Add a new constraint to `build` and to `codes`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import _checks
from ..reference import Map

PRESENT, TRAINABLE, SIGNED, NEGATIVE = 1, 2, 4, 8  # the bits of an entry, as in parametrizations.h


def refuse_two_sources_of_signs(dale_ratio, dale_signs):
    """Raise TypeError if Dale's law is given both by a ratio and by signs."""
    if dale_ratio is not None and dale_signs is not None:
        raise TypeError("dale_ratio and dale_signs are both given; give only one of them")


def refuse_with_low_rank(config):
    """Raise ValueError if a configuration with a rank constrains single entries of W_s, which M and N replace."""
    if config["rank"] is None:
        return
    words = f"with rank={config['rank']}: W_s = M Nᵀ has no entries of its own"
    for option in ("dale_ratio", "dale_signs"):
        if config[option] is not None:
            raise ValueError(f"{option} must not be given {words}")
    if not config["autapses"]:
        raise ValueError(f"autapses must be True {words}; got False")
    for option in ("connectivity", "trainable", "nonnegative"):
        for name in config[option]:
            if name.startswith("W_s"):
                raise ValueError(f"{option} must not name {name!r} {words}; it may name M{name[3:]} and N{name[3:]}")


def build(given, shapes):
    """Return the Map of each constrained parameter, and the signs (H,) of the units or None without Dale's law."""
    for option in ("connectivity", "trainable", "nonnegative"):
        for name in given[option] or ():
            if name.startswith("leak_logit") and option != "trainable" and name in shapes:
                raise ValueError(f"{option} must not name {name!r}: every unit has a leak, for which leak_logit may have any "
                                 "sign")
            if name not in shapes and not (option == "trainable" and name == "leak"):
                raise ValueError(f"{option} names {name!r}, but this network's parameters are {', '.join(shapes)}")
    signs = unit_signs(given, shapes["W_s"][0]) if "W_s" in shapes else None  # a rank refuses signs
    if signs is not None and "W_s" in given["nonnegative"]:
        raise ValueError("nonnegative names 'W_s', whose signs dale_ratio or dale_signs already fix")
    maps = {}
    for name, shape in shapes.items():
        present, trainable = (_array_of(option, given[option], name, shape) for option in ("connectivity", "trainable"))
        if name.startswith("leak_logit"):
            trainable &= _array_of("trainable", given["trainable"], "leak", shape)
        sign = np.zeros(shape, np.int8)
        if name == "W_s" and not given["autapses"]:
            np.fill_diagonal(present, False)
        if name == "W_s" and signs is not None:
            sign[...] = signs
        if name in given["nonnegative"]:
            sign[...] = 1
        if not present.all() or not trainable.all() or sign.any():
            maps[name] = Map(present, sign, trainable)
    return maps, signs


def unit_signs(given, H):
    """Return the signs (H,) of the units, int8, or None without Dale's law."""
    if given["dale_signs"] is not None:
        if len(given["dale_signs"]) != H:
            raise ValueError(f"dale_signs must have shape (H,) = ({H},), got {given['dale_signs'].shape}")
        return given["dale_signs"]
    if given["dale_ratio"] is None:
        return None
    return np.where(np.arange(H) < round(given["dale_ratio"] * H), 1, -1).astype(np.int8)


def codes(maps, shapes):
    """Return the maps in the form for the core, a byte for each entry of theta (P,); None if there are no maps."""
    if not maps:
        return None
    parts = []
    for name, shape in shapes.items():
        code = np.full(shape, PRESENT | TRAINABLE, np.uint8)
        if name in maps:
            present, sign, trainable = maps[name]
            bits = ((PRESENT, present), (TRAINABLE, present & trainable), (SIGNED, sign != 0), (NEGATIVE, sign < 0))
            code = sum(np.uint8(bit) * where for bit, where in bits)
        parts.append(code.ravel())
    return np.concatenate(parts)


def split(config):
    """Return options for JSON, with names in place of arrays, and a dict of the arrays by these names."""
    plain, arrays = dict(config), {}
    for option in ("connectivity", "trainable"):
        plain[option] = dict(config[option])
        for name, value in config[option].items():
            if isinstance(value, np.ndarray):
                plain[option][name] = f"{option}.{name}"
                arrays[f"{option}.{name}"] = value
    if config["dale_signs"] is not None:
        plain["dale_signs"] = config["dale_signs"].tolist()
    leaks = plain["leak"] if isinstance(plain["leak"], tuple) else (plain["leak"],)
    arrays |= {f"leak.{n}": leak for n, leak in enumerate(leaks) if isinstance(leak, np.ndarray)}
    leaks = [f"leak.{n}" if isinstance(leak, np.ndarray) else leak for n, leak in enumerate(leaks)]
    plain["leak"] = leaks if isinstance(plain["leak"], tuple) else leaks[0]
    return plain, arrays


def join(config, arrays):
    """Return the options that `split` separated. `config` may be of a version without connectivity and trainable."""
    joined = dict(config)
    for option in ("connectivity", "trainable"):
        joined[option] = {name: arrays[value] if isinstance(value, str) else value
                          for name, value in dict(config.get(option, {})).items()}
    if "leak" in config:
        leaks = config["leak"] if isinstance(config["leak"], list) else [config["leak"]]
        leaks = [arrays[leak] if isinstance(leak, str) else leak for leak in leaks]
        joined["leak"] = tuple(leaks) if isinstance(config["leak"], list) else leaks[0]
    return joined


# ---- Checks. A network keeps arrays as read-only copies.


def connectivity(name, value):
    """Return a dict of arrays of 0 and 1 by parameter; None is an empty dict."""
    return _by_parameter(name, value)


def trainable(name, value):
    """Return a dict of bools, or of arrays of 0 and 1, by parameter; None is an empty dict."""
    return _by_parameter(name, value)


def dale_ratio(name, value):
    """Return a float in (0, 1], or None."""
    return None if value is None else _share(name, value)


def dale_signs(name, value):
    """Return an array (H,) of 1 and -1, int8, or None."""
    return None if value is None else _signs(name, value)


def _by_parameter(option, given):
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{option} must be a dict by parameter, such as {{'W_s': array}}, got {type(given).__name__}")
    return {str(name): bool(value) if option == "trainable" and isinstance(value, (bool, np.bool_))
            else _flags(f"{option}[{name!r}]", value) for name, value in given.items()}


def _flags(name, value):
    """Return an array of 0 and 1, or False and True, as uint8."""
    value = _checks.array(name, value, np.float64)
    bad = (value != 0) & (value != 1)
    if bad.any():
        raise ValueError(f"{name} must hold only 0 and 1, got {value[bad][0]}")
    return _kept(value.astype(np.uint8))


def _array_of(option, given, name, shape):
    """Return the option's array for one parameter, as bool; ones if the option does not name the parameter."""
    value = given.get(name, True)
    if isinstance(value, np.ndarray) and value.shape != shape:
        raise ValueError(f"{option}[{name!r}] must have shape {shape}, got {value.shape}")
    return np.array(np.broadcast_to(value, shape), bool)


def _share(name, value):
    value = _checks.number(name, value, 0)
    if value > 1:
        raise ValueError(f"{name} must be > 0 and <= 1, got {value}")
    return value


def _signs(name, value):
    value = _checks.array(name, value, np.float64)
    if value.ndim != 1:
        raise ValueError(f"{name} must have shape (H,), got {value.shape}")
    bad = np.abs(value) != 1
    if bad.any():
        raise ValueError(f"{name} must hold only 1 and -1, got {value[bad][0]}")
    return _kept(value.astype(np.int8))


def nonnegative(option, given):
    """Return a tuple of names of parameters."""
    if isinstance(given, str):
        raise TypeError(f"{option} must be a tuple of names of parameters, such as ({given!r},), got the string {given!r}")
    if not isinstance(given, (tuple, list)) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{option} must be a tuple of names of parameters, got {given!r}")
    return tuple(given)


def _kept(array):
    array.flags.writeable = False
    return array
