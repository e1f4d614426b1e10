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
    ranks = _ranks_of(config.get("rank"), sizes)
    for layer, (H, R) in enumerate(zip(sizes, ranks)):
        for end in ("", "_reverse") if both else ("",):
            suffix = (f"_l{layer}" if layer else "") + end
            shapes["W_x" + suffix] = G * H, width
            shapes |= {"W_s" + suffix: (G * H, H)} if R is None else {"M" + suffix: (G * H, R), "N" + suffix: (H, R)}
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


def _ranks_of(rank, sizes):
    """Return the rank of W_s of each layer, or None for each layer if W_s has full rank."""
    if rank is None:
        return [None] * len(sizes)
    ranks = rank if isinstance(rank, tuple) else (rank,) * len(sizes)
    if len(ranks) != len(sizes):
        raise ValueError(f"rank must be an int, or one int for each of the {len(sizes)} layers, got {rank}")
    for layer, (R, H) in enumerate(zip(ranks, sizes)):
        if R > H:
            where = f" of layer {layer}" if len(sizes) > 1 else ""
            raise ValueError(f"rank must be at most hidden_size, the largest rank that W_s can have: {H}{where}; got {R}")
    return ranks


def widths_of(shapes):
    """Return the number of hidden units of each recurrence: W_s (G·H, H), or N (H, R) in its place."""
    return [shape[1] if name[0] == "W" else shape[0] for name, shape in shapes.items() if name.startswith(("W_s", "N"))]


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
