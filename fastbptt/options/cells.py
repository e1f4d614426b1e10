"""The cells of `RNN`: which options each cell accepts, and the row of `reference.CELLS` that a configuration chooses.

A new cell needs only its row in `fastbptt.reference`. An option of one cell alone is a row of OWN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import reference

PLAIN = "plain"
NAMES = reference.CELL_NAMES
# Options of plain units only, and the kept value that every cell accepts
PLAIN_ONLY = {"leak": 1.0, "leak_form": "rate", "noise_std": 0.0, "omega": 0.0, "dale_ratio": None, "dale_signs": None,
              "autapses": True}
OWN = {"reset_after": ("gru", True), "forget_bias": ("lstm", 1.0)}  # options of one cell, and the value that others accept


def of(config: Mapping[str, Any]) -> reference.Cell:
    """Return the row of a configuration's cell. Configurations of version 0.1 have no cell: they are plain."""
    return reference.cell_of(**{name: config[name] for name in ("cell", "reset_after", "leak", "leak_form", "activation")
                                if name in config})


def row_name(config: Mapping[str, Any]) -> str:
    """Return the name of a configuration's row, the same in `reference.CELLS` and in kernels/defs/cells.def."""
    row = of(config)
    return next(name for name, each in reference.CELLS.items() if each is row)


def is_gated(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration's cell has gates."""
    return len(of(config).gates) > 1


def is_leaky(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration has leaky units, whose rates are not their states."""
    return reference.has_leak(config["leak"]) or config["leak_form"] != "rate"


def has_b_n(config: Mapping[str, Any]) -> bool:
    """Return whether there is a parameter b_n (H,): the bias of a GRU that the reset gate multiplies."""
    return config["bias"] and of(config).has_b_n


def owns(config: Mapping[str, Any], option: str) -> bool:
    """Return whether the configuration's cell is the one that has this option, a name of OWN."""
    return config["cell"] == OWN[option][0]


def refuse_options_of_others(config: Mapping[str, Any], dt: Any = None, tau: Any = None) -> None:
    """Raise ValueError if a checked configuration, or dt or tau, sets an option that its cell does not have."""
    cell = config["cell"]
    if cell != PLAIN:
        given = {"dt": dt, "tau": tau} | {name: config[name] for name in PLAIN_ONLY}
        for name, value in given.items():
            same = PLAIN_ONLY.get(name)
            is_array = isinstance(value, (np.ndarray, tuple))
            if value is not same and (is_array or value != same):
                words = "an array" if is_array else repr(value)
                raise ValueError(f"{name} must not be given with cell={cell!r}: only cell='plain' has it; got {name}={words}")
        if reference.reads_input(config["activation"]):
            raise ValueError(f"activation must not be {config['activation']!r} with cell={cell!r}: its derivative is a "
                             "function of the pre-activation, which only cell='plain' keeps")
    for name, (owner, default) in OWN.items():
        if cell != owner and config[name] != default:
            raise ValueError(f"{name} must not be given with cell={cell!r}: only cell={owner!r} has it; got "
                             f"{name}={config[name]!r}")
    if not config["bias"] and config["forget_bias"] != OWN["forget_bias"][1]:
        raise ValueError("forget_bias must not be given with bias=False, which has no b_s; got "
                         f"forget_bias={config['forget_bias']!r}")
