"""A network's configuration as keyword arguments of the backends.

If a backend takes an option unchanged, the option's row in options/declaration.py has the keyword. Add a line here only for an
option that a backend takes in another form.
"""

from __future__ import annotations

from .. import reference
from . import checks, parametrizations, units
from .declaration import OPTIONS


def loss_of(config):
    """Return the name of the loss, and its threshold or levels, or None."""
    return config["loss"] if isinstance(config["loss"], tuple) else (config["loss"], None)


def target_size_of(config):
    """Return the number of targets: the outputs divided by the quantile levels."""
    loss, parameter = loss_of(config)
    return config["output_size"] // (len(parameter) if loss == "quantile" else 1)


def for_core(config, shapes, maps):
    """Return the keyword arguments of `_core.Engine`, without the sizes I, H and O, which differ between layers."""
    loss, loss_parameter = loss_of(config)
    return {option.core: config[option.name] for option in OPTIONS if option.core} | {
        "K": target_size_of(config), "loss": loss, "loss_parameter": loss_parameter, "mean": config["reduction"] == "mean",
        "last": config["output"] == "last", "maps": parametrizations.codes(maps, shapes), **_penalties(config, shapes),
        "rank": config["rank"] or 0, "trains_leak": units.trains_leak(config),
        "noise": (float(reference.noise_scale(config["noise_std"], config["leak"]))
                  if isinstance(config["leak"], float) and not units.trains_leak(config) else config["noise_std"]),
        "input_noise": float(reference.noise_scale(config["input_noise_std"], reference.mean_leak(config["leak"])))}


def for_reference(config, shapes, maps):
    """Return the keyword arguments of the functions of `fastbptt.reference`."""
    loss, loss_parameter = loss_of(config)
    return {option.reference: config[option.name] for option in OPTIONS if option.reference} | {
        "loss": loss, "loss_parameter": loss_parameter, "maps": maps, **_penalties(config, shapes)}


def _penalties(config, shapes):
    return {name: checks.by_parameter(name, config[name], shapes) for name in ("l1", "l2")}
