"""Back-propagation through time by hand for a GRU and an LSTM: three steps, one unit. `explain` has the plain network.

A cell needs a row in CELLS and a function that returns the lines of a step back. Values come from the network itself; the tests
compare the printed steps with its gradients.
"""

from __future__ import annotations

import numpy as np

from .. import reference
from ..network import RNN
from .explain import D_3, RATE, X, _n, _sum

W_Y = 1.5
CELLS = {
    "gru": {"gates": "rzn", "W_x": (0.5, -0.5, 1.0), "W_s": (0.4, 0.6, 0.8), "start": (0.5,), "forward": [
        "r_t = σ(W_xr X_t + W_sr h_{t-1})      z_t = σ(W_xz X_t + W_sz h_{t-1})",
        "n_t = tanh(W_xn X_t + r_t W_sn h_{t-1})",
        "h_t = (1 − z_t) n_t + z_t h_{t-1}"]},
    "lstm": {"gates": "ifgo", "W_x": (0.5, 0.4, 1.0, 0.6), "W_s": (0.4, 0.7, 0.8, -0.3), "start": (0.5, 0.4), "forward": [
        "i_t, f_t, o_t = σ(W_x X_t + W_s h_{t-1}), each with its own W_x and W_s",
        "g_t = tanh(W_xg X_t + W_sg h_{t-1})",
        "c_t = f_t c_{t-1} + i_t g_t      h_t = o_t tanh(c_t)"]},
}


def network(cell):
    """Return the network of one unit."""
    net = RNN(1, 1, 1, cell=cell, bias=False, dtype="float64", reduction="sum", random_state=0)
    for name in ("W_x", "W_s"):
        net.parameters[name] = np.reshape(CELLS[cell][name], (-1, 1))
    net.parameters["W_y"] = [[W_Y]]
    return net


def text(cell):
    """Return the example as text."""
    row, net = CELLS[cell], network(cell)
    gates, (data, targets) = row["gates"], (np.reshape(X, (3, 1, 1)), np.full((3, 1, 1), D_3))
    start = np.array([row["start"]])
    Y, _, states = net.forward(data, start, return_states=True)
    S, y = states.S[:, 0], float(Y[2, 0, 0])
    options = {"cell": cell}
    kept = [{name: float(value[0, 0]) for name, value in
             reference.kept(net.parameters, states.S[t], data[t], **options).items()} for t in range(3)]
    E = float(net.losses(data, targets, initial_state=start)[2, 0])
    terms = net.gradient_terms(data, targets, 2, initial_state=start)
    dS, dY = terms["S"][:, 0], -2 * (D_3 - y)
    back = [line for t in (3, 2, 1) for line in STEPS_BACK[cell](t, kept[t - 1], S, dS)]
    gradient = {name: terms[name].sum(axis=0) for name in ("W_x", "W_s")} | {"W_y": terms["W_y"]}
    for name, value in gradient.items():
        net.parameters[name] = net.parameters[name] - RATE * value
    after = float(net.losses(data, targets, initial_state=start)[2, 0])
    names = [f"{name}{gate} = {w}" for name in ("W_x", "W_s") for gate, w in zip(gates, row[name])]
    begin = ", ".join(f"{name}_0 = {value}" for name, value in zip("hc", row["start"]))
    lines = [
        f"{ARTICLE[cell]} {cell.upper()} of one unit without biases, three steps, the error at the third:", "",
        *(f"    {line}" for line in row["forward"]),
        "    Y_t = W_y h_t      E_3 = (d_3 − Y_3)²", "",
        f"    {', '.join(names[:len(gates)])}", f"    {', '.join(names[len(gates):])}",
        f"    W_y = {W_Y};  {begin};  X = {X[0]}, {X[1]}, {X[2]};  d_3 = {D_3}", "",
        "Forward:", "",
        *(line for t in (1, 2, 3) for line in _forward(cell, t, kept[t - 1], S)),
        f"    Y_3 = {W_Y} · {_n(S[3, 0])} = {y:.4f}", f"    E_3 = ({D_3} − {_n(y)})² = {E:.4f}", "",
        f"Back through time (δh_t = ∂E_3/∂h_t; d{gates[0]} is the gradient with respect to the argument of gate {gates[0]}, "
        "and so on):", "",
        f"    ∂E_3/∂Y_3 = −2 (d_3 − Y_3) = {dY:.4f}",
        f"    δh_3 = ∂E_3/∂Y_3 · W_y = {dY:.4f} · {W_Y} = {dS[2, 0]:.4f}",
        *back, "",
        LASTING[cell], "",
        *_terms(gates, terms), "",
        f"    ∂E_3/∂W_y = ∂E_3/∂Y_3 · h_3 = {dY:.4f} · {_n(S[3, 0])} = {terms['W_y'][0, 0]:.4f}", "",
        f"One step down the gradient, W ← W − {RATE} ∂E_3/∂W:", "",
        f"    E_3 = {E:.4f} → {after:.4f}",
    ]
    return "\n".join(lines)


def _forward(cell, t, k, S):
    """Return the lines of step t forward."""
    row, x, h = CELLS[cell], X[t - 1], S[t - 1, 0]
    lines = []
    for gate, w_x, w_s in zip(row["gates"], row["W_x"], row["W_s"]):
        name, reset = ("tanh" if gate in "ng" else "σ"), (f"{_n(k['r'])} · " if gate == "n" else "")
        lines.append(f"    {gate}_{t} = {name}({_n(w_x, 1)} · {_n(x, 1)} + {reset}{_n(w_s, 1)} · {_n(h)}) = {k[gate]:.4f}")
    if cell == "gru":
        lines.append(f"    h_{t} = (1 − {_n(k['z'])}) · {_n(k['n'])} + {_n(k['z'])} · {_n(h)} = {S[t, 0]:.4f}")
    else:
        lines += [f"    c_{t} = {_n(k['f'])} · {_n(S[t - 1, 1])} + {_n(k['i'])} · {_n(k['g'])} = {S[t, 1]:.4f}",
                  f"    h_{t} = {_n(k['o'])} · tanh({_n(S[t, 1])}) = {S[t, 0]:.4f}"]
    return [*lines, ""]


def _gru_back(t, k, S, dS):
    """Return the lines of step t backward."""
    dh, h, (w_r, w_z, w_n) = dS[t - 1, 0], S[t - 1, 0], CELLS["gru"]["W_s"]
    r, z, n, hn = (k[name] for name in ("r", "z", "n", "hn"))
    dn = dh * (1 - z) * (1 - n * n)
    dr, dz = dn * hn * r * (1 - r), dh * (h - n) * z * (1 - z)
    through = dr * w_r + dz * w_z + dn * r * w_n
    return [
        "",
        f"    dn_{t} = δh_{t} (1 − z) (1 − n²) = {dh:.4f} · {1 - z:.4f} · {1 - n * n:.4f} = {dn:.4f}",
        f"    dz_{t} = δh_{t} (h_{t - 1} − n) z (1 − z) = {dh:.4f} · {_n(h - n)} · {z * (1 - z):.4f} = {dz:.4f}",
        f"    dr_{t} = dn_{t} W_sn h_{t - 1} r (1 − r) = {dn:.4f} · {_n(hn)} · {r * (1 - r):.4f} = {dr:.4f}",
        f"    δh_{t - 1} = z δh_{t} + dr W_sr + dz W_sz + dn r W_sn = {_n(z * dh)} + {_n(through)} = {z * dh + through:.4f}"]


def _lstm_back(t, k, S, dS):
    """Return the lines of step t backward."""
    (dh, dc), c, w = dS[t - 1], S[t - 1, 1], CELLS["lstm"]["W_s"]
    i, f, g, o, tanh_c = (k[name] for name in ("i", "f", "g", "o", "tanh_c"))
    all_c = dc + dh * o * (1 - tanh_c * tanh_c)
    d = (all_c * g * i * (1 - i), all_c * c * f * (1 - f), all_c * i * (1 - g * g), dh * tanh_c * o * (1 - o))
    before = sum(a * b for a, b in zip(d, w))
    later = "0 at the last step" if t == 3 else f"f_{t + 1} δc_{t + 1}"
    return [
        "",
        f"    δc_{t} = {later} + δh_{t} o (1 − tanh(c)²) = {_n(dc)} + {_n(dh)} · {o:.4f} · {1 - tanh_c**2:.4f} = {all_c:.4f}",
        f"    di_{t} = δc_{t} g i (1 − i) = {all_c:.4f} · {_n(g)} · {i * (1 - i):.4f} = {d[0]:.4f}",
        f"    df_{t} = δc_{t} c_{t - 1} f (1 − f) = {all_c:.4f} · {_n(c)} · {f * (1 - f):.4f} = {d[1]:.4f}",
        f"    dg_{t} = δc_{t} i (1 − g²) = {all_c:.4f} · {i:.4f} · {1 - g * g:.4f} = {d[2]:.4f}",
        f"    do_{t} = δh_{t} tanh(c) o (1 − o) = {dh:.4f} · {_n(tanh_c)} · {o * (1 - o):.4f} = {d[3]:.4f}",
        f"    δh_{t - 1} = di W_si + df W_sf + dg W_sg + do W_so = {before:.4f}"]


STEPS_BACK = {"gru": _gru_back, "lstm": _lstm_back}
ARTICLE = {"gru": "A", "lstm": "An"}
LASTING = {"gru": "The part z δh passes a step without a weight and without a slope of tanh. It lasts while z is near 1.",
           "lstm": "The part f δc passes a step without a weight and without a slope of tanh. It lasts while f is near 1."}


def _terms(gates, terms):
    """Return the lines of the gradients: each step adds the argument's gradient times what the weight reads."""
    lines = ["Each step i adds to a weight the gradient of the argument, times what the weight reads (X_i, or h_{i-1};"
             + (" for W_sn r_i h_{i-1}" if "r" in gates else " for all gates the same") + "):", ""]
    for name in ("W_s", "W_x"):
        for gate, of_steps in zip(gates, terms[name][..., 0].T):
            lines.append(f"    ∂E_3/∂{name}{gate} = {_sum(of_steps)} = {of_steps.sum():.4f}")
        lines.append("")
    return lines[:-1]
