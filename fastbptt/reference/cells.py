"""The table of cells: what a unit computes from one step to the next, forward and backward.

To add a cell, add its functions and a row to CELLS, and a row to kernels/defs/cells.def. The passes, and all other modules of
Python, know no cell by name: they read the rows.

Every function takes the units (activation and leak), and arrays of one step, (B, ...). The backward functions are linear in
the gradients, and also accept further leading axes. Names of the arguments:

    A        (B, G·H)       X_t W_xᵀ + b_s for the G gates of a unit
    S        (B, states·H)  the public state before the step
    F        (B, H)         the part of a state that W_s, W_y and layers above read, after `read`
    saved    (B, saves·H)   what a step keeps for the backward pass; plain units keep the new state. Cells of one gate keep what
                            g1' is a function of: the rate, or the argument of g1 if the activation reads that
    through  Through        W_s (G·H, H), b_n (H,) or None, and the mask M of recurrent dropout
    dS       (B, states·H)  ∂E/∂ the state after the step. Its parts are independent: the derivative with respect to the c of
                            an LSTM holds h fixed.
    delta    (B, G·H)       ∂E/∂A
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .elementary import _sigmoid
from .products import accumulate, column_sums, pack
from .tables import reads_input

Arrays: TypeAlias = tuple[Any, ...]


class Through(NamedTuple):
    """What a recurrence computes with at every step."""

    W_s: np.ndarray                # (G·H, H)
    b_n: np.ndarray | None = None  # (H,), of the GRU with reset_after=True
    mask: Any = 1                  # M (B, H) of recurrent dropout, or 1

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Return the rows of W_s of the gates begin ... end - 1."""
        H = self.W_s.shape[1]
        return self.W_s[begin * H:end * H]


class Cell(NamedTuple):
    """A row of the table."""

    gates: tuple[str, ...]   # blocks of H rows in W_x (G·H, I), W_s (G·H, H) and b_s (G·H,)
    states: tuple[str, ...]  # blocks of H columns in a public state
    saves: tuple[str, ...]   # blocks of H columns in what `forward(return_rates=True)` and past_rates hold
    forward: Callable[..., Arrays]         # (units, A, S, through) -> new state, saved
    recall: Callable[..., np.ndarray]      # (units, new state, past_rates or None) -> saved, at a step of the past
    read: Callable[..., np.ndarray]        # (units, S) -> F
    read_back: Callable[..., np.ndarray]   # (units, dF, saved) -> dS
    to_delta: Callable[..., np.ndarray]    # (units, dS, saved, S, through) -> delta
    to_before: Callable[..., np.ndarray]   # (units, delta, dS, saved, S, through) -> ∂E/∂ the state before
    to_weights: Callable[..., Arrays]      # (units, delta, saved, S, through) -> ∂E/∂W_s, ∂E/∂b_n, summed over all steps
    cell: str = "plain"      # the option `cell` of a network; other options choose between rows with the same value
    candidate: str = ""      # the gate whose value is g1 of its pre-activation. The values of the others are sigmoids.
    has_b_n: bool = False    # the product of the last gate with W_s has a bias of its own, b_n (H,)


def _parts(A, n):
    """Return n blocks of columns."""
    return np.split(A, n, axis=-1)


def _joined(*parts):
    """Return blocks of columns side by side."""
    return np.concatenate(parts, axis=-1)


def _slope(gate):
    """Return σ' from σ."""
    return gate * (1 - gate)


# ---------------------------------------------------------------------------------------------------------------------
# Plain units (Elman 1990): S' = g1(A + (M ∘ S) W_sᵀ). They have no dropout: with dropout they are the rate form with leak 1.
# ---------------------------------------------------------------------------------------------------------------------


def _plain(units, A, S, through):
    new = units.g(A + S @ pack(through.W_s))
    return new, new


def _plain_input(units, A, S, through):
    argument = A + S @ pack(through.W_s)
    return units.g(argument), argument


def _plain_to_delta(units, dS, saved, S, through):
    return dS * units.dg(saved)


def _plain_to_before(units, delta, dS, saved, S, through):
    return delta @ through.W_s


def _one_gate_to_weights(units, delta, saved, S, through):
    return accumulate(delta, through.mask * units.read(S)), None


# ---------------------------------------------------------------------------------------------------------------------
# Leaky units. Rate form: R = g1(A + (M ∘ S) W_sᵀ), S' = (1 - leak) S + leak R (Yang et al. 2019).
# Current form: S' = (1 - leak) S + leak (A + (M ∘ g1(S)) W_sᵀ), R = g1(S') (Song, Yang and Wang 2016).
# ---------------------------------------------------------------------------------------------------------------------


def _rate(units, A, S, through):
    argument = A + (S * through.mask) @ pack(through.W_s)
    return units.keep * S + units.leak * units.g(argument), units.of_slope(argument)


def _rate_to_delta(units, dS, saved, S, through):
    return units.leak * dS * units.dg(saved)


def _rate_to_before(units, delta, dS, saved, S, through):
    return _leaked(units, delta @ through.W_s * through.mask, dS)


def _current(units, A, S, through):
    new = units.keep * S + units.leak * (A + (units.g(S) * through.mask) @ pack(through.W_s))
    return new, units.of_slope(new)


def _current_to_delta(units, dS, saved, S, through):
    return units.leak * dS


def _current_to_before(units, delta, dS, saved, S, through):
    return _leaked(units, delta @ through.W_s * through.mask * units.dg(units.of_slope(S)), dS)


def _rate_recall(units, new, past_rates):
    return new if not has_leak(units.leak) and not units.reads_input else _kept(units, new, past_rates)


def _leaked(units, back, dS):
    return back if not has_leak(units.leak) else back + units.keep * dS


# ---------------------------------------------------------------------------------------------------------------------
# GRU (Cho et al. 2014, EMNLP, equations 5 to 8), with the reset after the product as in cuDNN, PyTorch and Keras
# ---------------------------------------------------------------------------------------------------------------------


def _gru(units, A, h, through):
    """Return the new state h' and [r z n hn].

    r = σ(A_r + W_s,r (M ∘ h)) ;  z = σ(A_z + W_s,z (M ∘ h)) ;  hn = W_s,n (M ∘ h) + b_n ;  n = g1(A_n + r ∘ hn)
    h' = (1 - z) ∘ n + z ∘ h
    """
    (A_r, A_z, A_n), (C_r, C_z, hn) = _parts(A, 3), _parts((through.mask * h) @ pack(through.W_s), 3)
    r, z = _sigmoid(A_r + C_r), _sigmoid(A_z + C_z)
    if through.b_n is not None:
        hn = hn + through.b_n
    n = units.g(A_n + r * hn)
    return (1 - z) * n + z * h, _joined(r, z, n, hn)


def _gru_to_delta(units, dS, saved, h, through):
    """Return [dr dz dn] from δh = dS.

    dn = δh ∘ (1 - z) ∘ g1'(n) ;  dz = δh ∘ (h - n) ∘ z (1 - z) ;  dr = dn ∘ hn ∘ r (1 - r)
    """
    r, z, n, hn = _parts(saved, 4)
    dn = dS * (1 - z) * units.dg(n)
    return _joined(dn * hn * _slope(r), dS * (h - n) * _slope(z), dn)


def _gru_products(delta, saved):
    """Return [dr dz dhn], the gradient with respect to W_s (M ∘ h) + b_n: dhn = dn ∘ r."""
    (r, _, _, _), (dr, dz, dn) = _parts(saved, 4), _parts(delta, 3)
    return _joined(dr, dz, dn * r)


def _gru_to_before(units, delta, dS, saved, h, through):
    """Return ∂E/∂h of the state h before the step: z ∘ dS + M ∘ [dr dz dhn] W_s, all (B, H).

    dS is ∂E/∂ the state after the step, `delta` ∂E/∂ the pre-activations, and `saved` has r, z, n and hn = W_s,n h + b_n.
    `through` has W_s (3 H, H) and the dropout mask M. `units` and `h` are not needed here, but for other cells.
    """
    _, z, _, _ = _parts(saved, 4)
    return z * dS + through.mask * (_gru_products(delta, saved) @ through.W_s)


def _gru_to_weights(units, delta, saved, h, through):
    """Return ∂E/∂W_s = Σ [dr dz dhn]ᵀ (M ∘ h) and ∂E/∂b_n = Σ dhn."""
    products = _gru_products(delta, saved)
    return accumulate(products, through.mask * h), column_sums(_parts(products, 3)[2])


# ---------------------------------------------------------------------------------------------------------------------
# GRU with reset_after=False, the reset before the product as in Cho et al. 2014
# ---------------------------------------------------------------------------------------------------------------------


def _gru_before(units, A, h, through):
    """Return the new state h' and [r z n]: as `_gru`, with n = g1(A_n + W_s,n (r ∘ M ∘ h))."""
    A_r, A_z, A_n = _parts(A, 3)
    C_r, C_z = _parts((through.mask * h) @ pack(through.rows(0, 2)), 2)
    r, z = _sigmoid(A_r + C_r), _sigmoid(A_z + C_z)
    n = units.g(A_n + (r * through.mask * h) @ pack(through.rows(2, 3)))
    return (1 - z) * n + z * h, _joined(r, z, n)


def _gru_before_to_delta(units, dS, saved, h, through):
    """Return [dr dz dn]: as `_gru_to_delta`, with dr = (dn W_s,n) ∘ M ∘ h ∘ r (1 - r)."""
    r, z, n = _parts(saved, 3)
    dn = dS * (1 - z) * units.dg(n)
    dr = (dn @ through.rows(2, 3)) * through.mask * h * _slope(r)
    return _joined(dr, dS * (h - n) * _slope(z), dn)


def _gru_before_to_before(units, delta, dS, saved, h, through):
    """Return ∂E/∂h = z ∘ δh + M ∘ ([dr dz] W_s,rz + r ∘ (dn W_s,n))."""
    (r, z, _), (dr, dz, dn) = _parts(saved, 3), _parts(delta, 3)
    return z * dS + through.mask * (_joined(dr, dz) @ through.rows(0, 2) + r * (dn @ through.rows(2, 3)))


def _gru_before_to_weights(units, delta, saved, h, through):
    """Return ∂E/∂W_s: Σ [dr dz]ᵀ (M ∘ h) for two gates, Σ dnᵀ (r ∘ M ∘ h) for the last."""
    (r, _, _), (dr, dz, dn) = _parts(saved, 3), _parts(delta, 3)
    read = through.mask * h
    return np.concatenate([accumulate(_joined(dr, dz), read), accumulate(dn, r * read)]), None


# ---------------------------------------------------------------------------------------------------------------------
# LSTM (Hochreiter and Schmidhuber 1997, Neural Computation 9:1735) with a forget gate (Gers, Schmidhuber and Cummins 2000,
# Neural Computation 12:2451) and without peepholes
# ---------------------------------------------------------------------------------------------------------------------


def _lstm(units, A, S, through):
    """Return the new state [h' c'] and [i f g o tanh_c c].

    i, f, o = σ(A + W_s (M ∘ h)) ;  g = g1(A_g + W_s,g (M ∘ h)) ;  c' = f ∘ c + i ∘ g ;  h' = o ∘ g1(c')
    """
    h, c = _parts(S, 2)
    i, f, g, o = _parts(A + (through.mask * h) @ pack(through.W_s), 4)
    i, f, g, o = _sigmoid(i), _sigmoid(f), units.g(g), _sigmoid(o)
    new = f * c + i * g
    tanh_c = units.g(new)
    return _joined(o * tanh_c, new), _joined(i, f, g, o, tanh_c, c)


def _lstm_read_back(units, dF, saved):
    """Return ∂E/∂[h' c'] of what reads h' alone."""
    return _joined(dF, np.zeros_like(dF))


def _lstm_of_c(units, dS, saved):
    """Return δc, ∂E/∂c' on all ways, that through h' included: δc + δh ∘ o ∘ g1'(c')."""
    (dh, dc), (_, _, _, o, tanh_c, _) = _parts(dS, 2), _parts(saved, 6)
    return dc + dh * o * units.dg(tanh_c)


def _lstm_to_delta(units, dS, saved, S, through):
    """Return [di df dg do] from δh and the δc of `_lstm_of_c`.

    di = δc ∘ g ∘ i (1 - i) ;  df = δc ∘ c ∘ f (1 - f) ;  dg = δc ∘ i ∘ g1'(g) ;  do = δh ∘ g1(c') ∘ o (1 - o)
    """
    dh, dc, (i, f, g, o, tanh_c, c) = _parts(dS, 2)[0], _lstm_of_c(units, dS, saved), _parts(saved, 6)
    return _joined(dc * g * _slope(i), dc * c * _slope(f), dc * i * units.dg(g), dh * tanh_c * _slope(o))


def _lstm_to_before(units, delta, dS, saved, S, through):
    """Return ∂E/∂[h c] = [M ∘ (delta W_s), f ∘ δc]."""
    f = _parts(saved, 6)[1]
    return _joined(through.mask * (delta @ through.W_s), f * _lstm_of_c(units, dS, saved))


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


def _kept(units, new, past_rates):
    if past_rates is None:
        raise ValueError("past_rates must be given with past: what the steps of leaky and gated units keep does not follow "
                         "from the state")
    return past_rates


def _state(units, S):
    return S


def _as_it_is(units, dF, saved):
    return dF


_of_states = (_current, lambda units, new, past_rates: units.of_slope(new), lambda units, S: units.g(S),
                 lambda units, dF, saved: dF * units.dg(saved), _current_to_delta, _current_to_before, _one_gate_to_weights)

# The rows _input are for activations whose derivative is a function of the argument of g1. The rate form keeps that in place of
# the rate
CELLS = {
    "plain": Cell(("",), ("h",), (), _plain, lambda units, new, past_rates: new, _state, _as_it_is,
                  _plain_to_delta, _plain_to_before, _one_gate_to_weights),
    "rate": Cell(("",), ("h",), ("rate",), _rate, _rate_recall, _state, _as_it_is,
                 _rate_to_delta, _rate_to_before, _one_gate_to_weights),
    "current": Cell(("",), ("h",), ("rate",), *_of_states),
    "current_input": Cell(("",), ("h",), ("argument",), *_of_states),
    "gru": Cell(("r", "z", "n"), ("h",), ("r", "z", "n", "hn"), _gru, _kept, _state, _as_it_is,
                _gru_to_delta, _gru_to_before, _gru_to_weights, "gru", "n", has_b_n=True),
    "gru_before": Cell(("r", "z", "n"), ("h",), ("r", "z", "n"), _gru_before, _kept, _state, _as_it_is,
                       _gru_before_to_delta, _gru_before_to_before, _gru_before_to_weights, "gru", "n"),
    "lstm": Cell(("i", "f", "g", "o"), ("h", "c"), ("i", "f", "g", "o", "tanh_c", "c_before"), _lstm, _kept,
                 lambda units, S: _parts(S, 2)[0], _lstm_read_back,
                 _lstm_to_delta, _lstm_to_before, _one_gate_to_weights, "lstm", "g"),
    "plain_input": Cell(("",), ("h",), ("argument",), _plain_input, _kept, _state, _as_it_is,
                        _plain_to_delta, _plain_to_before, _one_gate_to_weights),
}
CELL_NAMES = tuple(dict.fromkeys(row.cell for row in CELLS.values()))  # the values of the option `cell`


def has_leak(leak: Any) -> bool:
    """Return whether units with this leak are leaky: a number below 1, or separate leaks of units or layers."""
    return not isinstance(leak, Real) or leak < 1  # type: ignore[operator]


def cell_of(cell: str = "plain", reset_after: bool = True, leak: Any = 1.0, leak_form: str = "rate",
            activation: str = "tanh") -> Cell:
    """Return the row of CELLS for a network's options.

    Raises
    ------
    ValueError : `cell` is unknown, or a gated cell has a leak or an activation whose derivative reads the pre-activation.
    """
    if cell == "plain":
        name = "current" if leak_form == "current" else "rate" if has_leak(leak) else "plain"
        return CELLS[name + "_input" if reads_input(activation) and name != "rate" else name]
    if cell not in CELL_NAMES:
        raise ValueError(f"cell must be {', '.join(map(repr, CELL_NAMES[:-1]))} or {CELL_NAMES[-1]!r}, got {cell!r}")
    if has_leak(leak) or leak_form != "rate":
        raise ValueError(f"leak requires cell='plain', got cell={cell!r} with leak={leak}, leak_form={leak_form!r}")
    if reads_input(activation):
        raise ValueError(f"activation={activation!r} requires cell='plain', got cell={cell!r}: the derivative of this "
                         "activation is a function of the pre-activation, which gated cells do not keep")
    return CELLS["gru_before" if cell == "gru" and not reset_after else cell]
