"""The cells of `RNN`: their gates, their public states, and the options that each cell accepts.

To add a cell, add a row to CELLS. `shapes.py` derives the shapes of the parameters from it. The mathematics of the cells is in
`fastbptt.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

PLAIN = "plain"


class Cell(NamedTuple):
    """What a cell's parameters and states look like."""

    gates: tuple[str, ...]   # the blocks of H rows in W_x (G·H, I), W_s (G·H, H) and b_s (G·H,), in PyTorch's order
    states: tuple[str, ...]  # the blocks of H columns in a public state
    options: tuple[str, ...] = ()  # options of this cell alone


CELLS = {
    PLAIN: Cell(("",), ("h",)),
    "gru": Cell(("r", "z", "n"), ("h",), ("reset_after",)),
    "lstm": Cell(("i", "f", "g", "o"), ("h", "c"), ("forget_bias",)),
}
# Options of plain units only, and the kept value that every cell accepts
PLAIN_ONLY = {"leak": 1.0, "leak_form": "rate", "noise_std": 0.0, "omega": 0.0, "dale_ratio": None, "dale_signs": None,
              "autapses": True}
OWN_DEFAULTS = {"reset_after": True, "forget_bias": 1.0}


def of(config: Mapping[str, Any]) -> Cell:
    """Return the row of a configuration's cell. Configurations of version 0.1 have no cell: they are plain."""
    return CELLS[config.get("cell", PLAIN)]


def is_gated(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration's cell has gates."""
    return len(of(config).gates) > 1


def has_b_n(config: Mapping[str, Any]) -> bool:
    """Return whether there is a parameter b_n (H,): the bias of a GRU that the reset gate multiplies."""
    return config.get("cell", PLAIN) == "gru" and config["bias"] and config.get("reset_after", True)


def saves(config: Mapping[str, Any]) -> int:
    """Return how many numbers per unit and step a gated cell keeps for the backward pass, besides its states.

    These are r, z, n and W_s,n h + b_n of a GRU, without the last if reset_after=False; i, f, g, o, g1(c) and the c before the
    step of an LSTM.
    """
    return 6 if config["cell"] == "lstm" else 4 if config["reset_after"] else 3


def refuse_options_of_others(config: Mapping[str, Any], dt: Any = None, tau: Any = None) -> None:
    """Raise ValueError if a checked configuration, or dt or tau, sets an option that its cell does not have."""
    cell = config["cell"]
    if is_gated(config):
        given = {"dt": dt, "tau": tau} | {name: config[name] for name in PLAIN_ONLY}
        for name, value in given.items():
            same = PLAIN_ONLY.get(name)
            if value is not same and (name == "dale_signs" or value != same):
                raise ValueError(f"{name} must not be given with cell={cell!r}: only cell='plain' has it; got "
                                 f"{name}={_short(value)}")
    for name, default in OWN_DEFAULTS.items():
        if name not in of(config).options and config[name] != default:
            other = next(each for each, row in CELLS.items() if name in row.options)
            raise ValueError(f"{name} must not be given with cell={cell!r}: only cell={other!r} has it; got "
                             f"{name}={config[name]!r}")
    if not config["bias"] and config["forget_bias"] != OWN_DEFAULTS["forget_bias"]:
        raise ValueError(f"forget_bias must not be given with bias=False, which has no b_s; got "
                         f"forget_bias={config['forget_bias']!r}")


def _short(value):
    return "an array" if hasattr(value, "shape") and value.shape else repr(value)
