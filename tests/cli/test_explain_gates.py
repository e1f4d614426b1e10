"""`fastbptt explain --cell gru` and `--cell lstm` print what complex steps through scalar formulas give."""

import re

import numpy as np
import pytest

from fastbptt.__main__ import main
from fastbptt.cli.explain_gates import CELLS

X, D_3, RATE, STEP = (1.0, 0.5, -1.0), 1.0, 0.1, 1e-30


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def step(cell, w, x, state):
    """The state after one step of one unit; w has W_x and W_s of each gate."""
    h = state[0]
    a = {gate: (w["W_x" + gate] * x, w["W_s" + gate] * h) for gate in CELLS[cell]["gates"]}
    if cell == "gru":
        r, z = sigmoid(sum(a["r"])), sigmoid(sum(a["z"]))
        return [(1 - z) * np.tanh(a["n"][0] + r * a["n"][1]) + z * h]
    c = sigmoid(sum(a["f"])) * state[1] + sigmoid(sum(a["i"])) * np.tanh(sum(a["g"]))
    return [sigmoid(sum(a["o"])) * np.tanh(c), c]


def error(cell, w, begin=0, state=None):
    """E_3 from the state before step `begin`, counted from 0."""
    state = list(CELLS[cell]["start"]) if state is None else state
    for x in X[begin:]:
        state = step(cell, w, x, state)
    return (D_3 - w["W_y"] * state[0])**2


@pytest.mark.quick
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_printed_gradients_are_those_of_complex_steps(cell, capsys):
    assert main(["explain", "--cell", cell]) == 0
    out, row = capsys.readouterr().out, CELLS[cell]
    w = {kind + gate: value for kind in ("W_x", "W_s") for gate, value in zip(row["gates"], row[kind])} | {"W_y": 1.5}
    gradient = {name: error(cell, w | {name: value + 1j * STEP}).imag / STEP for name, value in w.items()}

    def printed(start):
        line = next(line for line in out.splitlines() if line.strip().startswith(start))
        return float(line.rpartition(" = ")[2])

    for name, value in gradient.items():
        assert printed(f"∂E_3/∂{name} = ") == pytest.approx(value, abs=6e-5)
        terms = re.search(rf"∂E_3/∂{name} = (.+) = ", out)[1]
        if name != "W_y":
            assert sum(float(term.strip("()")) for term in terms.split(" + ")) == pytest.approx(value, abs=2e-4)
    state = list(row["start"])
    for t in range(3):
        flow = [error(cell, w, t, [s + 1j * STEP * (k == part) for k, s in enumerate(state)]).imag / STEP
                for part in range(len(state))]
        assert printed(f"δh_{t} = ") == pytest.approx(flow[0], abs=6e-5)
        state = step(cell, w, X[t], state)
        assert printed(f"h_{t + 1} = ") == pytest.approx(state[0], abs=6e-5)
        if cell == "lstm":
            assert printed(f"c_{t + 1} = ") == pytest.approx(state[1], abs=6e-5)
    after = error(cell, {name: value - RATE * gradient[name] for name, value in w.items()})
    assert f"E_3 = {error(cell, w):.4f} → {after:.4f}" in out and after < error(cell, w)
    for line in out.splitlines():  # each product that is written out gives the number after it
        factors = re.fullmatch(r".* = ((?:\(?-?[\d.]+\)? · )+\(?-?[\d.]+\)?) = (-?[\d.]+)", line)
        if factors:
            product = np.prod([float(factor.strip("()")) for factor in factors[1].split(" · ")])
            assert product == pytest.approx(float(factors[2]), abs=2e-4), line


def test_a_picture_of_a_gated_cell_is_refused(capsys, tmp_path):
    assert main(["explain", "--cell", "gru", "--svg", str(tmp_path / "x.svg")]) == 2
    assert "--svg draws the plain network; it cannot be combined with --cell gru" in capsys.readouterr().err
    assert main(["explain", "--cell", "elman"]) == 2 and not list(tmp_path.iterdir())
    assert "gru" in capsys.readouterr().err
