"""Random parameters of gated networks, data for them, and each cell by its formulas for one sequence."""

import numpy as np

from fastbptt import reference

# All sizes differ. The states are not zero at the start, and there is an error at every step.
T, B, I, H, O = 6, 4, 3, 5, 2

# Options of each cell of the table that has several gates, so that tests take every such cell
CELLS = {name: {"cell": row.cell} | ({"reset_after": False} if name == "gru_before" else {})
         for name, row in reference.CELLS.items() if len(row.gates) > 1}


def row_of(name):
    """Return the row of the reference's table of cells."""
    return reference.CELLS[name]


def suffixes(sizes, both):
    """Yield the suffix of the names, the hidden units and the inputs of each recurrence of a network with these layer sizes."""
    width = I
    for layer, H in enumerate(sizes):
        for end in ("", "_reverse") if both else ("",):
            yield (f"_l{layer}" if layer else "") + end, H, width
        width = H * (2 if both else 1)


def parameters(name, seed=0, *, sizes=(H,), both=False, bias=True, learnt=False, outputs=O):
    """Return random parameters of the cell `name` in theta's order within a layer.

    `sizes` are the hidden units of each layer. `both` is for two directions, and `learnt` for a learnable S_0.
    """
    rng, row, p = np.random.default_rng(seed), row_of(name), {}
    G, carries = len(row.gates), len(row.states)
    for suffix, H, width in suffixes(sizes, both):
        shapes = {"W_x": (G * H, width), "W_s": (G * H, H)}
        shapes |= {"b_s": (G * H,)} if bias else {}
        shapes |= {"b_n": (H,)} if bias and row.has_b_n else {}
        shapes |= {"S_0": (carries * H,)} if learnt else {}
        p |= {each + suffix: rng.normal(0, 0.7, shape) for each, shape in shapes.items()}
    p["W_y"] = rng.normal(0, 0.7, (outputs, sizes[-1] * (2 if both else 1)))
    if bias:
        p["b_y"] = rng.normal(0, 0.5, outputs)
    return p


def states(name, rng, *, sizes=(H,), both=False, batch=B):
    """Return a random initial state, a tuple for several recurrences."""
    drawn = tuple(rng.standard_normal((batch, len(row_of(name).states) * H)) for _, H, _ in suffixes(sizes, both))
    return drawn if len(drawn) > 1 else drawn[0]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_hand(name, p, x, S, g=np.tanh, mask=1):
    """Return the state after one step of one sequence, and what the step keeps, by the formulas of each gate.

    `name` is that of CELLS, x the input, and S is h, or [h | c] of an LSTM. `g` is the activation g1, and `mask` the factors
    of recurrent dropout.
    """
    H, b = p["W_s"].shape[1], p.get("b_s", np.zeros(len(p["W_s"])))
    h = S[:H]
    W_x, W_s, b_s = ([array[k * H:(k + 1) * H] for k in range(len(array) // H)] for array in (p["W_x"], p["W_s"], b))
    A = [u @ x + v for u, v in zip(W_x, b_s)]
    if name == "lstm":
        i, f, o = (sigmoid(A[k] + W_s[k] @ (mask * h)) for k in (0, 1, 3))
        candidate = g(A[2] + W_s[2] @ (mask * h))
        c = f * S[H:] + i * candidate
        return np.concatenate([o * g(c), c]), np.concatenate([i, f, candidate, o, g(c), S[H:]])
    r, z = (sigmoid(A[k] + W_s[k] @ (mask * h)) for k in (0, 1))
    if name == "gru":
        hn = W_s[2] @ (mask * h) + p.get("b_n", 0)
        n = g(A[2] + r * hn)
        return (1 - z) * n + z * h, np.concatenate([r, z, n, hn])
    n = g(A[2] + W_s[2] @ (r * mask * h))
    return (1 - z) * n + z * h, np.concatenate([r, z, n])
