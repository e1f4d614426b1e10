"""The shapes of a network's parameters, which follow from its options, and their positions in the flat vector theta.

An option that adds a parameter adds a line to `shapes_of`: its name, its shape, and its place in theta.
"""

from __future__ import annotations

import math

from . import cells, units


def shapes_of(config):
    """Return the shapes of a configuration's parameters by name, in theta's order."""
    I, O, H = config["input_size"], config["output_size"], config["hidden_size"]  # noqa: E741
    both, G, states = config.get("bidirectional", False), len(cells.of(config).gates), len(cells.of(config).states)
    shapes, width, sizes = {}, I, H if isinstance(H, tuple) else (H,)
    for layer, H in enumerate(sizes):
        for end in ("", "_reverse") if both else ("",):
            suffix = (f"_l{layer}" if layer else "") + end
            shapes |= {"W_x" + suffix: (G * H, width), "W_s" + suffix: (G * H, H)}
            if config["bias"]:
                shapes["b_s" + suffix] = (G * H,)
            if cells.has_b_n(config):
                shapes["b_n" + suffix] = (H,)
            if units.trains_leak(config):
                shapes["leak_logit" + suffix] = (H,)
            if config["learn_initial_state"]:
                shapes["S_0" + suffix] = (states * H,)
        width = H * (2 if both else 1)
    shapes["W_y"] = (O, width)
    if config["bias"]:
        shapes["b_y"] = (O,)
    if len(sizes) == 1 and not both and "S_0" in shapes:  # the order of a single recurrence
        shapes["S_0"] = shapes.pop("S_0")
    return shapes


def widths_of(shapes):
    """Return the number of hidden units of each recurrence."""
    return [shape[1] for name, shape in shapes.items() if name.startswith("W_s")]


def state_widths_of(shapes, cell):
    """Return the width of the public state of each recurrence: H, or 2H = [h | c] of an LSTM. `cell` is a reference.Cell."""
    return [len(cell.states) * H for H in widths_of(shapes)]


def save_widths_of(shapes, cell):
    """Return the width of what each recurrence keeps of a step besides its state: 0 for plain units."""
    return [len(cell.saves) * H for H in widths_of(shapes)]


def views_of(theta, shapes):
    """Return consecutive views of a flat vector (P,), by the names of the shapes."""
    views, begin = {}, 0
    for name, shape in shapes.items():
        end = begin + math.prod(shape)
        views[name] = theta[begin:end].reshape(shape)
        begin = end
    return views
