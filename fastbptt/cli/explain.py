"""Back-propagation through time by hand: three steps, one unit. The network itself computes each number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..network import RNN

W_X, W_S, W_Y, S_0 = 0.5, 0.8, 1.5, 0.5
X, D_3 = (1.0, 0.5, -1.0), 1.0
RATE = 0.1
ERROR = "#555555"
COLORS = {"W_x": "#0072B2", "W_s": "#D55E00", "W_y": "#009E73"}  # Okabe and Ito's


class Example(NamedTuple):
    S: list      # S_0 ... S_3
    Y: float     # Y_3
    E: float     # E_3
    terms: dict  # from `gradient_terms`: lists of W_s, W_x, S, and the number W_y
    after: dict  # the weights after one step of gradient descent
    E_after: float

    @property
    def gradient(self):
        return {"W_x": sum(self.terms["W_x"]), "W_s": sum(self.terms["W_s"]), "W_y": self.terms["W_y"]}


def example():
    """Return the network of three steps and one unit, its terms, and one update."""
    net = RNN(1, 1, 1, bias=False, dtype="float64", reduction="sum", random_state=0)
    for name, value in (("W_x", W_X), ("W_s", W_S), ("W_y", W_Y)):
        net.parameters[name] = [[value]]
    data, targets, start = np.reshape(X, (3, 1, 1)), np.full((3, 1, 1), D_3), np.array([[S_0]])
    Y, _, states = net.forward(data, start, return_states=True)
    S = states.S
    E = net.losses(data, targets, initial_state=start)[2, 0]
    terms = {name: value.ravel().tolist() for name, value in net.gradient_terms(data, targets, 2, initial_state=start).items()}
    terms["W_y"] = terms["W_y"][0]
    before = Example(S.ravel().tolist(), float(Y[2, 0, 0]), float(E), terms, {}, 0.0)
    for name, gradient in before.gradient.items():
        net.parameters[name] = net.parameters[name] - RATE * gradient
    after = {name: float(value[0, 0]) for name, value in net.parameters.items()}
    return before._replace(after=after, E_after=float(net.losses(data, targets, initial_state=start)[2, 0]))


def text(found=None):
    """Return the example as text."""
    found = example() if found is None else found
    S, Y, E, terms, after, E_after = found
    dS, slopes = terms["S"], [1 - s * s for s in S]
    lines = [
        "A network of one unit, three steps, the error at the third:",
        "",
        "    S_t = tanh(W_x X_t + W_s S_{t-1})      Y_t = W_y S_t      E_3 = (d_3 − Y_3)²",
        "",
        f"    W_x = {W_X}, W_s = {W_S}, W_y = {W_Y};  S_0 = {S_0};  X = {X[0]}, {X[1]}, {X[2]};  d_3 = {D_3}",
        "",
        "Forward:",
        "",
        *[f"    S_{t} = tanh({W_X} · {_n(X[t - 1], 1)} + {W_S} · {_n(S[t - 1])}) = {S[t]:.4f}" for t in (1, 2, 3)],
        f"    Y_3 = {W_Y} · {_n(S[3])} = {Y:.4f}",
        f"    E_3 = ({D_3} − {_n(Y)})² = {E:.4f}",
        "",
        "Back through time, each step by ∂S_t/∂S_{t-1} = (1 − S_t²) W_s:",
        "",
        f"    ∂E_3/∂Y_3 = −2 (d_3 − Y_3) = {dS[2] / W_Y:.4f}",
        f"    ∂E_3/∂S_3 = ∂E_3/∂Y_3 · W_y = {dS[2] / W_Y:.4f} · {W_Y} = {dS[2]:.4f}",
        *[f"    ∂E_3/∂S_{t} = ∂E_3/∂S_{t + 1} · (1 − S_{t + 1}²) W_s = {dS[t]:.4f} · {slopes[t + 1]:.4f} · {W_S} = "
          f"{dS[t - 1]:.4f}" for t in (2, 1)],
        "",
        "W_y acts once; W_s and W_x act at every step, and each step i adds a term ∂E_3/∂S_i · ∂S_i/∂W, S_{i-1} held fixed:",
        "",
        f"    ∂E_3/∂W_y = ∂E_3/∂Y_3 · S_3 = {dS[2] / W_Y:.4f} · {_n(S[3])} = {terms['W_y']:.4f}",
        "",
        *[f"    i = {i}:  ∂E_3/∂S_{i} · (1 − S_{i}²) S_{i - 1} = {dS[i - 1]:.4f} · {slopes[i]:.4f} · {_n(S[i - 1])} = "
          f"{terms['W_s'][i - 1]:.4f}" for i in (1, 2, 3)],
        f"    ∂E_3/∂W_s = {_sum(terms['W_s'])} = {found.gradient['W_s']:.4f}",
        "",
        *[f"    i = {i}:  ∂E_3/∂S_{i} · (1 − S_{i}²) X_{i} = {dS[i - 1]:.4f} · {slopes[i]:.4f} · {_n(X[i - 1], 1)} = "
          f"{terms['W_x'][i - 1]:.4f}" for i in (1, 2, 3)],
        f"    ∂E_3/∂W_x = {_sum(terms['W_x'])} = {found.gradient['W_x']:.4f}",
        "",
        f"One step down the gradient, W ← W − {RATE} ∂E_3/∂W:",
        "",
        *[f"    {name} = {value} − {RATE} · {_n(found.gradient[name])} = {after[name]:.4f}"
          for name, value in (("W_x", W_X), ("W_s", W_S), ("W_y", W_Y))],
        f"    E_3 = {E:.4f} → {E_after:.4f}",
    ]
    return "\n".join(lines)


def _n(number, digits=4):
    """Format a number as a factor or a summand: in brackets if it is negative."""
    return f"{number:.{digits}f}" if number >= 0 else f"({number:.{digits}f})"


def _sum(numbers):
    return " + ".join(_n(number) for number in numbers)


def svg(found=None):
    """Return an SVG of the unrolled network. Colours mark the paths of W_x, W_s and W_y and their gradient terms."""
    found = example() if found is None else found
    S, Y, E, terms, _, _ = found
    column, states, inputs, outputs = (90, 290, 490, 690), 230, 390, 90
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 490" font-family="sans-serif" font-size="14">',
             '<rect width="900" height="490" fill="white"/>']
    for t in (1, 2, 3):
        parts += _arrow(column[t - 1] + 30, states, column[t] - 28, states, COLORS["W_s"])
        parts += _label((column[t - 1] + column[t]) / 2, states - 12, "W_s", COLORS["W_s"])
        parts += _label((column[t - 1] + column[t]) / 2, states + 22, f"{terms['W_s'][t - 1]:+.4f}", COLORS["W_s"])
        parts += _arrow(column[t], inputs - 24, column[t], states + 28, COLORS["W_x"])
        parts += _label(column[t] + 8, states + 90, "W_x", COLORS["W_x"], "start")
        parts += _label(column[t] + 8, states + 110, f"{terms['W_x'][t - 1]:+.4f}", COLORS["W_x"], "start")
        parts += _node(column[t], inputs, f"X_{t}", f"{X[t - 1]:g}", COLORS["W_x"])
    parts += _arrow(column[3], states - 30, column[3], outputs + 28, COLORS["W_y"])
    parts += _label(column[3] + 8, states - 75, "W_y", COLORS["W_y"], "start")
    parts += _label(column[3] + 8, states - 55, f"{terms['W_y']:+.4f}", COLORS["W_y"], "start")
    parts += _arrow(column[3] + 30, outputs, 798, outputs, ERROR)
    for t in range(4):
        parts += _node(column[t], states, f"S_{t}", f"{S[t]:.3f}", "#222222")
        if t > 0:
            place = (column[t], states - 36) if t < 3 else (column[t] + 36, states + 5)
            parts += _label(*place, f"∂E_3/∂S_{t} = {terms['S'][t - 1]:.4f}", ERROR, "middle" if t < 3 else "start")
    parts += _node(column[3], outputs, "Y_3", f"{Y:.3f}", COLORS["W_y"])
    parts += _label(804, outputs + 5, f"E_3 = {E:.4f}", ERROR, "start")
    legend = (("W_s", "terms of ∂E_3/∂W_s, which add up to "), ("W_x", "terms of ∂E_3/∂W_x, which add up to "),
              ("W_y", "the one term of ∂E_3/∂W_y: "))
    for n, (name, words) in enumerate(legend):
        parts += _label(40, 40 + 22 * n, f"{words}{found.gradient[name]:.4f}", COLORS[name], "start")
    parts += _label(40, 450, "Arrows point forward; the numbers are what comes back along them from E_3.", ERROR, "start")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(x0, y0, x1, y1, color):
    """Return an arrow to the right, or upwards."""
    head = (f"{x1},{y1} {x1 - 12},{y1 - 6} {x1 - 12},{y1 + 6}" if y0 == y1 else
            f"{x1},{y1} {x1 - 6},{y1 + 12} {x1 + 6},{y1 + 12}")
    end = (x1 - 8, y1) if y0 == y1 else (x1, y1 + 8)
    return [f'<line x1="{x0}" y1="{y0}" x2="{end[0]}" y2="{end[1]}" stroke="{color}" stroke-width="3"/>',
            f'<polygon points="{head}" fill="{color}"/>']


def _label(x, y, words, color, anchor="middle"):
    return [f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}">{words}</text>']


def _node(x, y, name, value, color):
    return [f'<circle cx="{x:g}" cy="{y:g}" r="26" fill="white" stroke="{color}" stroke-width="2"/>',
            *_label(x, y - 2, name, color), f'<text x="{x:g}" y="{y + 14:g}" fill="{color}" text-anchor="middle" '
            f'font-size="11">{value}</text>']
