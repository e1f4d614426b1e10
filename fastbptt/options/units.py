"""Checks of the leak, dt and tau, and the keys of the random numbers of noise and dropout.

Add the check of a new property of the units here.
"""

from __future__ import annotations

import numpy as np

from .. import _checks, reference

FORMS = ("rate", "current")
DRAWN = ("noise_std", "input_noise_std", "recurrent_dropout")


def leak_of(leak, dt, tau):
    """Return the user's leak, or dt / tau in tau's form if these are given."""
    if leak is not None and not (dt is None and tau is None):
        raise TypeError("leak is given with dt or tau; give either leak, or dt and tau with leak = dt / tau")
    if (dt is None) != (tau is None):
        raise TypeError(f"dt and tau must be given together, as leak = dt / tau; got dt={dt!r}, tau={tau!r}")
    if dt is not None:
        dt = _checks.number("dt", dt, 0)
        if isinstance(tau, tuple):
            return tuple(_leak_of_tau(f"tau[{n}]", dt, each) for n, each in enumerate(tau))
        return _leak_of_tau("tau", dt, tau)
    return leak


def _leak_of_tau(name, dt, tau):
    """Return dt / tau for a number or an array (H,)."""
    tau = _numbers(name, tau)
    if np.max(dt / tau) > 1:
        raise ValueError(f"dt must be at most tau, got dt={dt}, {name}={np.min(tau)}")
    return dt / tau


def leak(name, value):
    """Return the leak: a float, a read-only array (H,), or a tuple of these, one for each layer. None is 1.0."""
    if isinstance(value, tuple):
        return tuple(leak(f"{name}[{n}]", each) for n, each in enumerate(value))
    value = 1.0 if value is None else _numbers(name, value)
    if np.max(value) > 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {np.max(value)}")
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


def _numbers(name, value):
    """Return a float above 0, or an array (H,) of such numbers."""
    if not isinstance(value, list) and np.ndim(value) == 0:
        return _checks.number(name, value, 0)
    value = np.array(_checks.array(name, value, np.float64))
    if value.ndim != 1 or not value.size:
        raise ValueError(f"{name} must be a number or have shape (H,), got {value.shape}")
    bad = ~((value > 0) & (value < np.inf))
    if bad.any():
        raise ValueError(f"{name} must hold finite numbers above 0, got {value[bad][0]}")
    return value


def fit_to_layers(leak, hidden_size):
    """Return a checked leak in the form for a network of these layers, or raise ValueError if its shape is wrong.

    An array (H,) is for each layer. A tuple has an entry for each of several layers; with one layer it is an array.
    """
    sizes = hidden_size if isinstance(hidden_size, tuple) else (hidden_size,)
    if isinstance(leak, tuple):
        if len(sizes) == 1 and all(isinstance(each, float) for each in leak):
            leak = np.array(leak)
            leak.flags.writeable = False
        elif len(leak) == len(sizes) == 1:  # the array of the only layer
            leak = leak[0]
        elif len(leak) != len(sizes):
            raise ValueError(f"leak must be one for all layers, or a tuple of {len(sizes)}, one for each layer; got "
                             f"{len(leak)}")
    for n, H in enumerate(sizes):
        name, each = (f"leak[{n}]", leak[n]) if isinstance(leak, tuple) else ("leak", leak)
        if isinstance(each, np.ndarray) and each.shape != (H,):
            raise ValueError(f"{name} must be a number or have shape (H,) = ({H},), got {each.shape}"
                             + (f" for layer {n}: give a tuple with an entry for each layer" if len(sizes) > 1 else ""))
    return leak


def trains_leak(config):
    """Return whether leak_logit is a parameter: trainable names "leak", and not only with False."""
    return bool(np.any((config.get("trainable") or {}).get("leak", False)))


def check_trained_leak(config):
    """Raise ValueError if the leak is trained but has no finite logit, or if the cell has none."""
    if trains_leak(config) and config["cell"] != "plain":
        raise ValueError(f"trainable must not name 'leak' with cell={config['cell']!r}: only cell='plain' has leaks")
    leaks = config["leak"] if isinstance(config["leak"], tuple) else (config["leak"],)
    if trains_leak(config) and max(np.max(each) for each in leaks) >= 1:
        raise ValueError("leak must be below 1 with trainable={'leak': ...}, which trains leak_logit = ln(leak / (1 - leak)); "
                         f"got {max(np.max(each) for each in leaks)}")


def leak_of_layer(leak, layer, H):
    """Return the leaks (H,) of the units of a layer, float64."""
    return np.array(np.broadcast_to(leak[layer] if isinstance(leak, tuple) else leak, (H,)), float)


def given_leaks(config, shapes):
    """Return the leaks (H,) of the units with which a network starts, float64, by the name suffix of the recurrence."""
    suffixes = {name[3:] if name.startswith("W_s") else name[1:]: shape[1] if name.startswith("W_s") else shape[0]
                for name, shape in shapes.items() if name.startswith(("W_s", "N"))}  # N of a low rank replaces W_s
    return {suffix: leak_of_layer(config["leak"], int(suffix.removesuffix("_reverse").removeprefix("_l") or 0), H)
            for suffix, H in suffixes.items()}


def first_logits(config, shapes):
    """Return the values with which each leak_logit starts, by name."""
    return {"leak_logit" + suffix: np.log(leak) - np.log1p(-leak) for suffix, leak in given_leaks(config, shapes).items()
            if "leak_logit" + suffix in shapes}


def present_leaks(config, parameters):
    """Return the leaks (H,) of the units as their parameters are now, float64, a list with one array per recurrence."""
    given = given_leaks(config, {name: value.shape for name, value in parameters.items()})
    logits = [parameters.get("leak_logit" + suffix) for suffix in given]
    return [leak if logit is None else reference.ACTIVATIONS["sigmoid"][0](logit.astype(np.float64))
            for leak, logit in zip(given.values(), logits)]


def key(entropy, stream):
    """Return a 64-bit key from a seed and the number of a stream."""
    return int(np.random.SeedSequence(entropy, spawn_key=(stream,)).generate_state(1, np.uint64)[0])
