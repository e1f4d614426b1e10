"""Calls of a network's backends. `RNN` selects a backend by name, and converts arguments only if the core declines them.

Add a method here for an operation that passes checked data to a backend. The fast paths do not come here: `_core.at_once`
for `RNN.loss_and_gradients`, and `RNN.step`. They call the compiled engine directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks, _core
from ..backends import stack as _stack
from ..backends.arguments import Batch, CallOptions, DEFAULT_OPTIONS, KnownStates
from ..backends.reference import ReferenceBackend
from ..options import for_backends as _for_backends, parametrizations as _maps
from .arguments import _threads
from .parameters import _aligned

if TYPE_CHECKING:
    from .._types import Bool, Int

BACKENDS = ("core", "reference")


class Dispatch:
    """Methods of `RNN` that hold its backends and call them."""

    def _make_engines(self, shapes):
        """Make both backends from the options and maps. Note which entries of theta training must not change."""
        options = _for_backends.for_core(self._config, shapes, self._maps)
        self._held = None if options["maps"] is None else np.flatnonzero(options["maps"] & _maps.TRAINABLE == 0)
        self._engines = {
            "core": (_stack.Stack(shapes, options) if self._stacked
                     else _core.Engine(I=self.input_size, H=self.hidden_size, O=self.output_size, **options)),
            "reference": ReferenceBackend(shapes, **_for_backends.for_reference(self._config, shapes, self._maps)),
        }
        self._at_once = _Unchecked() if self._stacked else self._engines["core"]

    def bind(self, X: np.ndarray, D: np.ndarray, *, initial_state: np.ndarray | tuple[np.ndarray, ...] | None = None,
             weights: np.ndarray | None = None, lengths: np.ndarray | None = None, resets: np.ndarray | None = None,
             input_gradient: Bool = False, initial_state_gradient: Bool = False,
             n_threads: Int | None = None) -> _core.BoundCall:
        """Return a prepared call of `loss_and_gradients` for loops that put new values into the same arrays.

        The call checks its arguments and makes its result arrays once. A call of the smallest networks then takes about half
        the time of `loss_and_gradients` (docs/speed.md).

        Parameters
        ----------
        X, D, initial_state, weights, lengths, resets
            As in `loss_and_gradients`, but NumPy arrays that no call has to convert: C-contiguous, of the network's dtype;
            token ids, class labels and lengths of dtype intp, resets of dtype bool. Each call reads their present values. They
            belong to the caller.
        input_gradient, initial_state_gradient : bool
            Whether to add "X" and "initial_state" to the gradients.
        n_threads : int, optional
            As in `forward`.

        Returns
        -------
        BoundCall
            Calling it returns the loss, a float, and overwrites the arrays in its dict `gradients`. It uses the present
            parameters of the network. Copy a gradient that the next call must not overwrite. Only one thread at a time may call
            it.

        Raises
        ------
        TypeError, ValueError
            If an argument would have to be converted, or is refused by `loss_and_gradients`. Values that have become invalid
            later (a label that is out of range) raise in the call.

        Examples
        --------
        >>> net = RNN(1, 4, 1, dtype="float64", random_state=0)
        >>> X, D = np.zeros((10, 1, 1)), np.zeros((10, 1, 1))
        >>> call = net.bind(X, D)
        >>> rng = np.random.default_rng(0)
        >>> for _ in range(3):
        ...     X[...] = rng.standard_normal(X.shape)
        ...     loss = call()
        ...     net.theta = net.theta - 0.01 * call.gradient
        """
        return self._bound_call(Batch(X, D, weights, initial_state, lengths, resets), bool(input_gradient),
                                bool(initial_state_gradient), _threads(n_threads))

    def _bound_call(self, batch, input_gradient, initial_state_gradient, n_threads):
        """Return the BoundCall of a Batch that the user gave. One call of `loss_and_gradients` checks its values."""
        labels = self._engines["reference"].loss == "cross_entropy" and np.ndim(batch.D) == (1 if self.output == "last" else 2)
        for name, value, dtype in (("X", batch.X, np.intp if self.one_hot else self.dtype),
                                   ("D", batch.D, np.intp if labels else self.dtype), ("weights", batch.weights, self.dtype),
                                   ("initial_state", batch.initial_state, self.dtype), ("lengths", batch.lengths, np.intp),
                                   ("resets", batch.resets, np.bool_)):
            parts = value if self._stacked and name == "initial_state" and isinstance(value, tuple) else (value,)
            for part in parts if value is not None else ():
                _checks.unconverted(name, part, dtype)
        _, found = self.loss_and_gradients(
            batch.X, batch.D, initial_state=batch.initial_state, weights=batch.weights, lengths=batch.lengths,
            resets=batch.resets, input_gradient=input_gradient, initial_state_gradient=initial_state_gradient,
            n_threads=n_threads or None)
        gradient = _aligned(self._theta.size, self.dtype)
        named = self._named(gradient)
        return _core.BoundCall(self, batch, gradient, named | {name: found[name] for name in found if name not in named},
                               n_threads)

    def _call_options(self, n_threads, noise, dropout):
        """Return the CallOptions of an operation that takes these three arguments of the user and no others."""
        if noise is dropout is False:
            return DEFAULT_OPTIONS if n_threads is None else CallOptions(_threads(n_threads))
        return CallOptions(_threads(n_threads), 0, self._draws(noise, dropout))

    def _run(self, backend, operation, batch, options, *rest):
        """Run an operation. If the core takes the arguments unchanged, run it directly; else check and convert them first.

        `batch` is a Batch of what the user gave, `options` are CallOptions, already checked. `rest` holds the operation's own
        arguments, which follow these two in `protocol.Backend`.
        """
        try:
            run = getattr(self._engines[backend], operation)
        except (KeyError, TypeError):
            run = getattr(self._engine(backend), operation)  # which raises the detailed error
        if backend == "core" and not self._stacked:
            result = run(self._theta, batch, options, *rest)
            if result is not NotImplemented:
                return result
        X, initial_state, lengths, resets = self._check_inputs(batch.X, batch.initial_state, batch.lengths, batch.resets)
        D, weights = batch.D, batch.weights
        if operation == "backward":
            D = self._check_rows("dY", D, X, self.output_size, "O")
        elif operation != "forward":
            D, weights = self._check_targets(X, D, weights, lengths)
        if options.input_gradient and self.one_hot:
            raise ValueError("input_gradient must be False with one_hot=True: token ids have no gradient")
        if operation == "gradient_terms":
            t, T = rest[0], X.shape[0]
            if not -T <= t < T:
                raise IndexError(f"t={t} is out of range for {T} time steps")
            rest = (t % T,)
        return run(self._theta, Batch(X, D, weights, initial_state, lengths, resets), options, *rest)

    def _loss_into(self, gradient, batch, options=DEFAULT_OPTIONS, backend="core"):
        """Return data loss and penalty of a checked Batch. Overwrite `gradient` (P,) with the gradient of their sum.

        Return NotImplemented if a dtype, shape or memory layout is wrong.
        """
        return self._engines[backend].loss_into(self._theta, batch, options, gradient)

    def _window_into(self, gradient, batch, options, past, own_start, S, backend):
        """Return the result of `_loss_into` for the last window of truncated BPTT, and its Σ m.

        `protocol.Backend.window_into` describes the arguments. `past` (n, B, kept width) holds the states after the first n
        steps. `past`, the initial state and S hold the parts of `_kept_parts` side by side: states, rates, learnable initial
        states. own_start is that of KnownStates.
        """
        window_into, width, parts = self._engines[backend].window_into, sum(self._widths), self._kept_parts
        X, initial_state = batch.X, batch.initial_state
        if self._kept_width == width:
            return window_into(self._theta, batch, options, KnownStates(past, own_start=own_start), gradient, S, None)
        if initial_state is not None:
            batch = batch.replace(initial_state=np.ascontiguousarray(initial_state[:, :width]))
        n, end, place = len(past), 0, {}
        for name, of_part in parts.items():
            place[name], end = slice(end, end + of_part), end + of_part
        kept = {name: np.ascontiguousarray(past[..., place[name]]) if n  # a given initial state holds only states
                else np.empty((*past.shape[:-1], of_part), self.dtype) for name, of_part in parts.items()}
        new = {"S": np.empty((*S.shape[:2], width), self.dtype), "rates": None}
        if "rates" in parts:
            new["rates"] = np.empty((*X.shape[:2], parts["rates"]), self.dtype)
        past_S_0 = np.ascontiguousarray(kept["S_0"][:, 0]) if n and "S_0" in parts and X.shape[1] else None
        found = window_into(self._theta, batch, options, KnownStates(kept["S"], kept.get("rates"), past_S_0, own_start),
                            gradient, new["S"], new["rates"])
        S[...] = 0
        S[..., place["S"]] = new["S"]
        if "rates" in parts:
            S[1:, :, place["rates"]] = new["rates"]
        if "S_0" in parts:
            S[1:n + 1, :, place["S_0"]] = kept["S_0"]
            S[n + 1:, :, place["S_0"]] = np.concatenate([value for name, value in self._named(self._theta).items()
                                                    if name.startswith("S_0")])  # `_summing` has no parameters of its own
        return found

    def _total_weight(self, batch):
        """Return Σ m of a checked Batch."""
        return self._engines["core"].total_weight(self._theta, batch)

    def _engine(self, backend):
        try:
            return self._engines[backend]
        except (KeyError, TypeError):
            _checks.choose("backend", backend, BACKENDS)
            raise


class _Unchecked:
    """The fast path of a network whose backend does not check arguments. It declines every call."""

    def step(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        return NotImplemented
