"""The backend that calls `fastbptt.reference`, the specification: `backend="reference"` of the methods of `RNN`.

A new operation of `protocol.Backend` needs a method here. It converts flat parameters and concatenated states to the form of
`fastbptt.reference`, which has the mathematics.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import reference
from ..options import cells
from ..options.shapes import save_widths_of, state_widths_of, views_of
from .arguments import Batch, CallOptions, KnownStates
from .stack import split


class ReferenceBackend:
    """The operations of `protocol.Backend` by the functions of `fastbptt.reference`.

    options.n_threads and options.memory_limit have no effect.
    """

    def __init__(self, shapes: Any, **options: Any) -> None:
        self.shapes, self.options, self.loss = shapes, options, options["loss"]
        self.cell = cells.of(options)
        self.leaky = options["leak"] < 1 or options["leak_form"] == "current"
        self.widths = state_widths_of(shapes, self.cell)
        self.save_widths = save_widths_of(shapes, self.cell)

    def _parameters(self, theta):
        return views_of(theta, self.shapes)

    def _states(self, packed):
        """Return states in the reference's form: a tuple for several recurrences."""
        return packed if len(self.widths) == 1 else split(packed, self.widths)

    def _rates(self, packed):
        """Return what past steps kept in the reference's form, None for None or if the units keep no more than their state."""
        if packed is None or not self.cell.saves:
            return None
        return packed if len(self.save_widths) == 1 else split(packed, self.save_widths)

    def _data(self, batch):
        """Return the arguments of a batch that all operations share, by the reference's names."""
        return {"initial_state": self._states(batch.initial_state), "lengths": batch.lengths, "resets": batch.resets}

    def forward(self, theta: np.ndarray, batch: Batch, options: CallOptions, return_states: bool) -> tuple[Any, ...]:
        results = reference.forward(self._parameters(theta), batch.X, **self._data(batch), return_rates=self.leaky,
                                    draws=options.draws, **self.options)
        return results if return_states else results[:2]

    def step(self, theta: np.ndarray, x: np.ndarray, state: Any, out: Any, n_threads: int) -> tuple[Any, Any]:
        results = reference.step(self._parameters(theta), x, self._states(state), **self.options)
        if out is None:
            return results
        for array, result in zip(out, results):
            array[...] = result
        return out

    def losses(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> np.ndarray:
        return reference.losses(self._parameters(theta), batch.X, batch.D, **self._data(batch), draws=options.draws,
                                **self.options)

    def evaluate(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> float:
        return float(reference.loss(self._parameters(theta), batch.X, batch.D, weights=batch.weights, **self._data(batch),
                                    draws=options.draws, **self.options))

    def loss_and_gradients(self, theta: np.ndarray, batch: Batch,
                           options: CallOptions) -> tuple[float, dict[str, np.ndarray]]:
        loss, gradients = reference.loss_and_gradients(
            self._parameters(theta), batch.X, batch.D, weights=batch.weights, **self._data(batch), tbptt=options.tbptt,
            input_gradient=options.input_gradient, initial_state_gradient=options.initial_state_gradient, draws=options.draws,
            **self.options)
        return float(loss), gradients

    def loss_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, gradient: np.ndarray) -> tuple[float, float]:
        error, penalties, gradients, _ = reference._loss_and_gradients(
            self._parameters(theta), batch.X, batch.D, batch.weights, **self._data(batch), draws=options.draws, **self.options)
        np.concatenate([value.ravel() for value in gradients.values()], out=gradient)
        return float(error), float(penalties)

    def penalize(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        p, penalties = self._parameters(theta), {name: self.options[name] for name in ("l1", "l2")}
        effective, views = reference.effective(p, self.options["maps"]), self._parameters(gradient)
        for name, dw in reference.pulled_back(reference.d_penalty(effective, **penalties), p, self.options["maps"]).items():
            views[name] += dw
        return float(reference.penalty(effective, **penalties))

    def window_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, known: KnownStates, gradient: np.ndarray,
                    S: np.ndarray, R: Any) -> tuple[float, float, float]:
        p, (X, D, weights, *_), (_, k2) = self._parameters(theta), batch, options.tbptt or (0, max(len(batch.X), 1))
        given = {"weights": weights, **self._data(batch), "past": self._states(known.S), "past_rates": self._rates(known.R),
                 "past_S_0": None if known.S_0 is None else self._states(known.S_0), "draws": options.draws, **self.options}
        run, _, _ = reference._forward_and_error(p, X, D, **given)
        error, penalties, gradients, _ = reference._loss_and_gradients(
            p, X, D, own_start=known.own_start, tbptt=(max(len(X), 1), k2), **given)
        for array, found in ((S, run.S), (R, run.R)):
            if array is not None:
                array[...] = found if len(self.widths) == 1 else np.concatenate(found, axis=-1)
        np.concatenate([value.ravel() for value in gradients.values()], out=gradient)
        if weights is not None:
            weights = reference._normal(weights, theta.dtype)
        there = run.there if weights is None else np.where(run.there if weights.ndim == 2 else run.there[..., None], weights, 0)
        weight = there.sum(dtype=np.float64) / (weights.shape[2] if weights is not None and weights.ndim == 3 else 1)
        return float(error), float(penalties), float(weight)

    def backward(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> dict[str, np.ndarray]:
        return reference.backward(self._parameters(theta), batch.X, batch.D, **self._data(batch), tbptt=options.tbptt,
                                  input_gradient=options.input_gradient,
                                  initial_state_gradient=options.initial_state_gradient, draws=options.draws, **self.options)

    def gradient_terms(self, theta: np.ndarray, batch: Batch, options: CallOptions, t: int) -> dict[str, np.ndarray]:
        return reference.gradient_terms(self._parameters(theta), batch.X, batch.D, t, batch.initial_state, **self.options)

    def gradient_flow(self, theta: np.ndarray, batch: Batch, options: CallOptions, begin: int,
                      end: int) -> tuple[np.ndarray, ...]:
        return reference.gradient_flow(self._parameters(theta), batch.X, batch.D, range(begin, end), weights=batch.weights,
                                       initial_state=batch.initial_state, **self.options)
