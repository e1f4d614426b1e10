"""What is timed: named shapes, each with the reason it is there, shapes drawn at random, and the data of a shape.

B sequences, T steps, I inputs, H hidden units, O outputs. `choose` turns what stands behind --cells into cells: names
of the groups below, or sizes as B,T,I,H,O. With --lengths a cell's sequences are of unequal length, drawn by `lengths`.
"""

import math
from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    B: int
    T: int
    I: int
    H: int
    O: int
    why: str
    lengths: str = ""  # one of LENGTHS, or nothing: the calls are told of no lengths
    units: str = "plain"  # one of GATES

    @property
    def sizes(self):
        return tuple(self[:5])


# Kinds of units, by the number of blocks of H rows that W_x, W_s and b_s have
GATES = {"plain": 1, "gru": 3, "lstm": 4}

# The ten cells that every claim about speed is made on
BAR = [
    Cell(1, 50, 4, 4, 1, "single trial: one sequence, tiny; what a call and a step cost"),
    Cell(1, 100, 8, 16, 2, "cognitive model: one trial, a dozen units"),
    Cell(16, 100, 8, 32, 4, "forecast of a few series"),
    Cell(32, 100, 10, 64, 10, "medium: where vector arithmetic begins to count"),
    Cell(128, 28, 28, 100, 10, "rows of an image: many short sequences, H no multiple of 16"),
    Cell(32, 100, 64, 128, 64, "character model, small"),
    Cell(64, 100, 100, 256, 100, "large: matrix products are all"),
    Cell(64, 100, 256, 512, 256, "character model, large: the weights leave the first caches"),
    Cell(1, 1000, 8, 64, 4, "system identification: one long record, a matrix-vector product a step"),
    Cell(1, 1000, 16, 256, 4, "system identification, H = 256: the weights fill the second-level cache"),
]
QUICK = [BAR[0], BAR[2], BAR[3], BAR[4], BAR[6]]  # five of docs/speed.md; continuous integration runs them
GATED = [*BAR[:7]]  # with GRU and LSTM units, unless --units says otherwise
EDGES = [
    Cell(1, 1000, 1, 1, 1, "one unit: the smallest network there is"),
    Cell(1, 10000, 4, 32, 2, "system identification, T = 10,000: states by far larger than the caches"),
    Cell(2, 200, 16, 96, 8, "two rows: neither a vector nor a matrix"),
    Cell(400, 20, 3, 24, 2, "trials of an experiment: many, short, small"),
    Cell(512, 28, 28, 128, 10, "rows of an image, the largest batch"),
    Cell(8, 50, 128, 1024, 128, "H = 1024: where BLAS is strongest, on few rows"),
]

# One size at a time away from one middle, for the pictures of scaling
MIDDLE = (32, 100, 10, 64, 10)
SWEPT = {
    "B": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "T": (10, 30, 100, 300, 1000, 3000, 10000),
    "H": (1, 4, 16, 32, 64, 128, 256, 512, 1024),
}


def sweep(letter):
    """Return cells that differ from MIDDLE in one size, `letter`, for the pictures of scaling."""
    place = Cell._fields.index(letter)
    return [Cell(*(n if i == place else size for i, size in enumerate(MIDDLE)), f"scaling with {letter}")
            for n in SWEPT[letter]]


GROUPS = {
    "quick": QUICK,
    "bar": BAR,
    "edges": EDGES,
    "gated": GATED,
    "sweep_B": sweep("B"),
    "sweep_T": sweep("T"),
    "sweep_H": sweep("H"),
    "all": [*BAR, *EDGES],
}


def choose(words):
    """Return the cells that `words` name: names of GROUPS, or sizes as B,T,I,H,O; each cell once. Exit for other words."""
    chosen = {}
    for word in words:
        if word in GROUPS:
            found = GROUPS[word]
        else:
            try:
                B, T, I, H, O = (int(n) for n in word.split(","))
            except ValueError:
                raise SystemExit(f"a cell is one of {', '.join(GROUPS)}, or B,T,I,H,O; got {word!r}") from None
            found = [Cell(B, T, I, H, O, "asked for")]
        chosen.update({cell.sizes: cell for cell in found if cell.sizes not in chosen})
    return list(chosen.values())


MOST_FLOPS = 2e10  # of a drawn cell, about 0.3 s of one core, so that a run of many ends
MOST_STATES = 5e7  # T B max(I, H, O) of a drawn cell: 400 MB in float64


def draw(count, seed):
    """Return `count` cells, every size log-uniform: B to 512, T to 10,000, I and O to 256, H to 1024.

    Cells of too much work or memory are drawn anew.
    """
    rng = np.random.default_rng(seed)
    cells = []
    while len(cells) < count:
        B, T, I, H, O = (round(math.exp(rng.uniform(0, math.log(most)))) for most in (512, 10_000, 256, 1024, 256))
        cell = Cell(B, T, I, H, O, f"drawn, seed {seed}")
        if flops(cell) <= MOST_FLOPS and T * B * max(I, H, O) <= MOST_STATES:
            cells.append(cell)
    return cells


# How long the B sequences of a cell are, of T steps at most
LENGTHS = {
    "full": lambda rng, B, T: np.full(B, T),
    "equal": lambda rng, B, T: np.full(B, max(1, T // 2)),
    "uniform": lambda rng, B, T: rng.integers(1, T, B, endpoint=True),
    "geometric": lambda rng, B, T: rng.geometric(min(1, 4 / T), B).clip(1, T),  # of mean T / 4: a few long ones
}


def lengths(cell):
    """Return the number of steps of each sequence (B,), from 1 to T, in random order, or None if the cell has no lengths.

    The longest ones are shortened by a step until all make a multiple of B, as many as in `full_batches`.
    """
    if not cell.lengths:
        return None
    found = LENGTHS[cell.lengths](np.random.default_rng(sum(cell.sizes)), cell.B, cell.T).astype(np.int64)
    found[np.argsort(-found, kind="stable")[:found.sum() % cell.B]] -= 1
    return found.clip(1)


def steps(cell):
    """Return the number of steps of all sequences of a cell together, without padding."""
    return int(lengths(cell).sum()) if cell.lengths else cell.B * cell.T


def full_batches(cell):
    """Return the cell of as many sequences and steps in which all sequences are equally long: what no padding would cost."""
    return cell._replace(T=steps(cell) // cell.B, lengths="")


def flops(cell, what="gradients"):
    """Return the floating-point operations of the matrix products, a multiply and an add counted as two; Adam's are left out.

    `what` is "gradients" or "forward". The products of W_x and W_s have GATES times as many rows for gated units.

    The state before the first step is zero: W_s has T - 1 products each way, and its gradient T - 1 terms.
    """
    B, _, I, H, O = cell.sizes
    N, G = steps(cell), GATES[cell.units]
    forward = H * (G * (N - B) * H + N * (G * I + O))
    return 2 * (forward if what == "forward" else forward + H * (2 * G * (N - B) * H + N * (G * I + 2 * O)))


def make(cell, dtype):
    """Return parameters (dict), X (T, B, I), D (T, B, O) and lengths, the same numbers in every dtype except for rounding.

    Numbers behind the ends of sequences are like any other, so that padding that leaks shows in the gradients. Each gate
    has its own orthogonal block in W_s. A GRU's b_n follows b_s.
    """
    rng = np.random.default_rng(sum(cell.sizes))
    B, T, I, H, O = cell.sizes
    G = GATES[cell.units]
    parameters = {
        "W_s": np.concatenate([np.linalg.qr(rng.standard_normal((H, H)))[0] for _ in range(G)]),
        "W_x": rng.uniform(-1, 1, (G * H, I)) * np.sqrt(6 / (H + I)),
        "b_s": rng.uniform(-0.1, 0.1, G * H),
        **({"b_n": rng.uniform(-0.1, 0.1, H)} if cell.units == "gru" else {}),
        "W_y": rng.uniform(-1, 1, (O, H)) * np.sqrt(6 / (H + O)),
        "b_y": rng.uniform(-0.1, 0.1, O),
    }
    order = [name for name in ("W_x", "W_s", "b_s", "b_n", "W_y", "b_y") if name in parameters]
    arrays = {name: np.ascontiguousarray(parameters[name], dtype) for name in order}
    X, D = (rng.standard_normal((T, B, size)).astype(dtype) for size in (I, O))
    return arrays, X, D, lengths(cell)
