"""The units of a network: activation, cell, leak, noise and dropout, as every operation of the reference takes them.

To add a property of the units, add a field to `Units`. What a cell computes is in `cells`, the loop over steps in `recurrence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .cells import Cell, cell_of, CELLS
from .draws import Draws, dropout_mask, noise_scale, normals
from .elementary import _sigmoid
from .products import column_sums, only, turn
from .tables import ACTIVATIONS, reads_input


class Units(NamedTuple):
    """Activation g1, cell, leak and its form, noise and dropout. Noise and dropout act only if `draws` is given."""

    activation: str
    leak: Any = 1.0  # a number or (H,); before `of_recurrence` also a tuple of these, one for each layer
    leak_form: str = "rate"
    noise_std: float = 0.0
    input_noise_std: float = 0.0
    recurrent_dropout: float = 0.0
    draws: Draws | None = None
    cell: str = "plain"
    reset_after: bool = True
    rest: Any = None  # 1 - leak, if it is not to be computed from the leak

    @property
    def keep(self) -> Any:
        """1 - leak."""
        return 1 - self.leak if self.rest is None else self.rest

    def of_recurrence(self, layer: int, leak_logit: np.ndarray | None, dtype: Any) -> Units:
        """Return the units of one recurrence: with the leak of its layer, or leak = sigmoid(leak_logit)."""
        if leak_logit is not None:  # 1 - sigmoid would be rounded to 0 for a leak near 1
            return self._replace(leak=_sigmoid(leak_logit), rest=_sigmoid(-leak_logit))
        leak = self.leak[layer] if isinstance(self.leak, tuple) else self.leak
        if leak is self.leak and not isinstance(leak, np.ndarray):
            return self
        leak = np.asarray(leak, float)  # also a number of one of several layers: all layers are leaky
        return self._replace(leak=leak.astype(dtype), rest=(1 - leak).astype(dtype))

    @property
    def g(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][0]

    @property
    def dg(self) -> Callable[[np.ndarray], np.ndarray]:
        return ACTIVATIONS[self.activation][1]

    @property
    def row(self) -> Cell:
        """The row of the table of cells. Plain units with dropout are the rate form with leak 1, which has a mask."""
        row = cell_of(self.cell, self.reset_after, self.leak, self.leak_form, self.activation)
        return CELLS["rate"] if _is_plain(row) and self.drops else row

    @property
    def is_plain(self) -> bool:
        return _is_plain(self.row)

    @property
    def reads_input(self) -> bool:
        return reads_input(self.activation)

    @property
    def width(self) -> int:
        """Numbers per unit of a public state."""
        return len(self.row.states)

    @property
    def drops(self) -> bool:
        return self.draws is not None and self.draws.dropout_key is not None and self.recurrent_dropout > 0

    def noisy(self, A: np.ndarray, std: float, kind: int, there: np.ndarray,
              lengths: np.ndarray | None = None) -> np.ndarray:
        """Return A (T, B, n) plus noise of the stream `kind` where `there` is True.

        `lengths` is given for a reverse recurrence, whose steps are in reverse order.
        """
        if not self.has_noise or std == 0:
            return A
        return A + self.noise(A, std, self.leak, kind, there, lengths)

    def noise(self, A: np.ndarray, std: float, leak: Any, kind: int, there: np.ndarray,
              lengths: np.ndarray | None = None) -> np.ndarray:
        """Return the noise that `noisy` adds to A, for this leak."""
        noise = only(there, noise_scale(std, leak) * normals(self.draws, kind, *A.shape))  # type: ignore[arg-type]
        noise = noise.astype(A.dtype if np.iscomplexobj(noise) else A.real.dtype)
        return noise if lengths is None else turn(noise, lengths)

    @property
    def has_noise(self) -> bool:
        return self.draws is not None and self.draws.noise_key is not None

    def leak_logit_gradient(self, dS: np.ndarray, S: np.ndarray, before: np.ndarray, delta: np.ndarray,
                            noise: np.ndarray | None) -> np.ndarray:
        """Return ∂E/∂leak_logit (H,) from ∂E/∂S and δ of all steps, the states after and before them, and the noise.

        S' - S = leak (R - S), or leak (A - S) in the current form, so ∂S'/∂leak_logit = (1 - leak) (S' - S) without noise. The
        derivative of sqrt(2 / leak) by the leak is -1 / (2 leak) of it.
        """
        total = column_sums(dS * (S - before))
        return self.keep * (total if noise is None else total - column_sums(delta * noise) / 2)

    def mask(self, kind: int, B: int, H: int, dtype: Any) -> Any:
        """Return the dropout mask M (B, H) in a real dtype, or 1 without dropout."""
        if not self.drops:
            return dtype.type(1)
        return dropout_mask(self.draws, kind, B, H, self.recurrent_dropout).astype(dtype)  # type: ignore[arg-type]

    def read(self, S: np.ndarray) -> np.ndarray:
        """Return what W_s, W_y and a layer above read of states S (..., states·H): h, or g1(S) in the current form."""
        return self.row.read(self, S)


    def of_slope(self, A: np.ndarray) -> np.ndarray:
        """Return what g1' is a function of where the argument of g1 is A: the rates g1(A), or A if `reads_input`."""
        return A if self.reads_input else self.g(A)


def mean_leak(leak: Any) -> float:
    """Return the mean leak of the first layer's units, by which input noise is scaled."""
    leak = leak[0] if isinstance(leak, tuple) else leak
    return leak if np.ndim(leak) == 0 else float(np.mean(leak))


def _is_plain(row):
    return row is CELLS["plain"] or row is CELLS["plain_input"]


def _units(activation, options):
    units = Units(activation, **{name: options[name] for name in Units._fields[1:] if name in options})
    if units.noise_std and len(units.row.gates) > 1:
        raise ValueError(f"noise_std requires cell='plain', got cell={units.cell!r} with noise_std={units.noise_std}")
    return units
