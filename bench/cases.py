"""What is timed: five networks from tiny to large, and their data.

Sizes are those of the design's table, so that figures can be held against it: B sequences, T steps, I inputs, H hidden
units, O outputs.
"""

from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    B: int
    T: int
    I: int
    H: int
    O: int
    why: str


CELLS = [
    Cell(1, 50, 4, 4, 1, "one sequence, tiny: what a call and a step cost"),
    Cell(16, 100, 8, 32, 4, "small: a forecast of a few series"),
    Cell(32, 100, 10, 64, 10, "medium: where vector arithmetic begins to count"),
    Cell(128, 28, 28, 100, 10, "rows of digits: many short sequences, H no multiple of 16"),
    Cell(64, 100, 100, 256, 100, "large: matrix products are all"),
]


def make(cell, dtype):
    """Parameters (dict), X (T, B, I) and D (T, B, O) of a cell, the same numbers in every dtype but for rounding."""
    rng = np.random.default_rng(sum(cell[:5]))
    B, T, I, H, O, _ = cell
    Q, _ = np.linalg.qr(rng.standard_normal((H, H)))
    parameters = {
        "W_x": rng.uniform(-1, 1, (H, I)) * np.sqrt(6 / (H + I)),
        "W_s": Q,
        "b_s": rng.uniform(-0.1, 0.1, H),
        "W_y": rng.uniform(-1, 1, (O, H)) * np.sqrt(6 / (H + O)),
        "b_y": rng.uniform(-0.1, 0.1, O),
    }
    arrays = {name: np.ascontiguousarray(value, dtype) for name, value in parameters.items()}
    return arrays, rng.standard_normal((T, B, I)).astype(dtype), rng.standard_normal((T, B, O)).astype(dtype)
