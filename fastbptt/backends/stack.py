"""Several recurrences, in layers and in both directions, as calls of the recurrence that `_core.Engine` compiles.

Add here what concerns several recurrences together. What one recurrence computes belongs to the engine.

Design
------
(a) A `Stack` has the operations of `protocol.Compiled`, like an Engine, so `network` only chooses between the two. It has one
    engine without a readout for each recurrence, and one readout without a recurrence. Each reads its slice of theta, and
    writes its slice of the gradient. Arguments are already checked.
(b) In the forward pass, the states S of a recurrence are the X of the layer above: S[1:], or those of both directions
    concatenated. Of an LSTM's states [h c], the layer above reads h. In the backward pass, a layer's ∂E/∂X is the ∂E/∂S of the
    layer below. Nothing is computed twice, because the arrays between layers are kept. They lie in a scratch that a call
    borrows; a simultaneous call borrows another one. Fresh arrays are slower, because the system must find their pages: a call
    of 3.2 ms took 4.9 (2 layers of 64, B = 32, T = 100, float32, AMD Zen 4, 2026-11).
(c) Truncated BPTT is the same backward pass, window by window, on slices of the arrays.
(d) Inside, the states of several recurrences are one array (..., sum of all widths). Batches, streams and checkpoints thus
    handle them like the states of one. `RNN` takes and returns tuples.
(e) With leaky units and gated cells, each recurrence also has an R, what its steps keep for the backward pass: the rates, or
    the gates (`protocol.py` has the widths). In the current form, the layer above and the readout read the rates. The backward
    pass carries the gradient with respect to what is read. If the derivative of the activation reads the pre-activation, R is
    that of plain units and of the rate form.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import _core, reference
from ..options import cells, units
from ..options.shapes import save_widths_of, state_widths_of, views_of, widths_of
from .arguments import Batch, CallOptions, CallShape, KnownStates


def split(packed, widths):
    """Return states (..., sum of all widths) as a tuple of arrays (..., width), or None for None."""
    if packed is None:
        return None
    return tuple(np.ascontiguousarray(part) for part in np.split(packed, np.cumsum(widths)[:-1], axis=-1))


# Engine arguments that switch off what a part of a stack does not have
NO_RECURRENCE = {"learn_initial_state": False, "one_hot": False, "rate_penalty": 0.0, "omega": 0.0, "leak": 1.0,
                 "trains_leak": False, "leak_form": "rate", "noise": 0.0, "input_noise": 0.0, "dropout": 0.0,
                 "rank": 0}
NO_READOUT = {"output_activation": "identity", "loss": "squared_error", "loss_parameter": None, "mean": False, "last": False,
              "rate_penalty": 0.0}


class _Recurrence(NamedTuple):
    engine: _core.Engine
    own: slice     # of theta
    H: int         # number of hidden units
    states: slice  # of the concatenated states
    saves: slice   # of the concatenated R
    width: int     # of a state, and of R
    saved: int
    number: int    # of the recurrence in the stack


class _Scratch:
    """Arrays by name, which a call borrows from `free` and returns."""

    KEPT, KEPT_BYTES = 4, 2**28  # limits; the system gets the rest back after a call

    def __init__(self, free, dtype):
        self.free, self.dtype, self.arrays, self.bytes = free, dtype, {}, 0
        self.shaped = {}  # the last view of each array: most calls have the shapes of the call before

    def take(self, name, *shape):
        found = self.shaped.get(name)
        if found is not None and found.shape == shape:
            return found
        size, old = math.prod(shape), self.arrays.get(name)
        if old is None or old.size < size:
            self.arrays[name] = np.empty(size, self.dtype)
            self.bytes += self.arrays[name].nbytes - (0 if old is None else old.nbytes)
        found = self.shaped[name] = self.arrays[name][:size].reshape(shape)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bytes <= self.KEPT_BYTES:
            self.free.append(self)
            del self.free[self.KEPT:]  # without checking first: another thread may append in between


class _Passed(NamedTuple):
    """What a forward pass of all recurrences has computed, in the order of `Stack.recurrences`."""

    scratch: _Scratch       # the memory of these arrays, and of those of the backward pass
    S: list[Any]            # states (T+1, B, width) of each recurrence
    R: list[Any]            # what each recurrence keeps beside them, (T, B, saves H); None if it keeps nothing
    finals: list[Any]       # final states (B, width) of each recurrence
    inputs: list[Any]       # what each layer reads: X (T, B, I), then arrays (T, B, H); the last one is what the readout reads


class _Errors(NamedTuple):
    """What a backward pass takes besides ∂E/∂S."""

    own_start: bool         # the initial states were the network's own S_0
    slope: float = 0.0      # of a penalty on the rates
    since: int = 0          # the step from which that penalty counts
    spreads: bool = False   # add omega Ω to the errors
    past_S_0: Any = None    # (n, sum of all widths), the S_0 that resets at the first n steps used; None for the current S_0


class Stack:
    """The operations of `protocol.Compiled` for networks with several recurrences. Arguments are already checked."""

    def __init__(self, shapes: Any, options: dict[str, Any]) -> None:
        """Take the shapes of all parameters, and an Engine's keyword arguments for all recurrences together."""
        self.rate_penalty, self.omega = options["rate_penalty"], options["omega"]
        self.shapes, self.last, cell = shapes, options["last"], cells.of(options)
        self.sizes, self.widths = widths_of(shapes), state_widths_of(shapes, cell)  # hidden units, numbers of a state
        self.save_widths = save_widths_of(shapes, cell)
        self.dtype = np.dtype(options["dtype"])
        self.free: list[_Scratch] = []
        self.activation = options["activation"]
        self.current = options["leak_form"] == "current"
        self.leaky = cells.is_leaky(options)
        self.keeps = bool(cell.saves)
        suffixes = reference.recurrences(shapes)
        self.both = len(suffixes[0]) == 2
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()]).tolist()
        slices = {name: slice(begin, end) for name, begin, end in zip(shapes, [0, *ends], ends)}

        def part(names, suffix=""):
            """Return the slice of theta with these parameters, and their maps and penalties as arguments."""
            found = {name: name + suffix for name in names if name + suffix in shapes}
            own = slice(min(slices[name].start for name in found.values()), max(slices[name].stop for name in found.values()))
            penalties = {kind: {name: options[kind][full] for name, full in found.items() if full in options[kind]}
                         for kind in ("l1", "l2")}
            return own, {"maps": None if options["maps"] is None else options["maps"][own], **penalties}

        O, top = shapes["W_y"]
        self.own_y, of_readout = part(("W_y", "b_y"))
        self.readout = _core.Engine(I=top, H=top, O=O, **options | NO_RECURRENCE | of_readout, recurs=False,
                                    drops_noise=self.omega != 0)
        self.layers: list[list[_Recurrence]] = []
        self.recurrences: list[_Recurrence] = []  # of all layers
        self.penalized = bool(options["l1"] or options["l2"]) or options["maps"] is not None
        begin, begin_saves = 0, 0
        for layer, ends in enumerate(suffixes):
            self.layers.append([])
            for suffix in ends:
                H, width = self.sizes[len(self.recurrences)], shapes["W_x" + suffix][1]
                own, of_recurrence = part(("W_x", "W_s", "M", "N", "b_s", "b_n", "leak_logit", "S_0"), suffix)
                of_recurrence["rank"] = shapes["N" + suffix][1] if "N" + suffix in shapes else 0
                lowest = {} if layer == 0 else {"one_hot": False, "input_noise": 0.0}
                leak = options["leak"]
                lowest |= {"leak": leak if isinstance(leak, float) else units.leak_of_layer(leak, layer, H)}
                engine = _core.Engine(I=width, H=H, O=0, **options | NO_READOUT | {"K": H} | lowest | of_recurrence,
                                      reads=False, reverse=suffix.endswith("_reverse"), pool_of=self.readout,
                                      stream=len(self.recurrences))
                end, end_saves = begin + len(cell.states) * H, begin_saves + len(cell.saves) * H
                r = _Recurrence(engine, own, H, slice(begin, end), slice(begin_saves, end_saves), end - begin,
                                end_saves - begin_saves, len(self.recurrences))
                self.layers[-1].append(r)
                self.recurrences.append(r)
                begin, begin_saves = end, end_saves

    # ---- Operations

    def forward(self, theta: np.ndarray, batch: Batch, options: CallOptions, return_states: bool) -> tuple[Any, ...]:
        with self._scratch() as scratch:
            passed = self._up(scratch, theta, batch, options, own=return_states)
            read, lengths = self._read(passed, batch.lengths)
            Y = self.readout.outputs(theta[self.own_y], read, lengths, options.n_threads)
        finals, S, R = (tuple(arrays) for arrays in (passed.finals, passed.S, passed.R))
        results = (Y, finals, S, R) if self.leaky else (Y, finals, S)
        return results if return_states else results[:2]

    def step(self, theta: np.ndarray, x: np.ndarray, state: Any, out: Any, n_threads: int) -> tuple[Any, Any]:
        """Return y and the new states after one step, by `forward`. out is None."""
        y, states = self.forward(theta, Batch(x[None], initial_state=state), CallOptions(n_threads), False)
        return y if self.last else y[0], states

    def losses(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> np.ndarray:
        return self._judge(self.readout.losses, theta, batch, options)

    def evaluate(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> float:
        return self._judge(self.readout.evaluate, theta, batch, options)

    def _judge(self, operation, theta, batch, options):
        """Return the result of an operation of the readout."""
        with self._scratch() as scratch:
            read, lengths = self._read(self._up(scratch, theta, batch, options), batch.lengths)
            return operation(theta[self.own_y], Batch(read, batch.D, batch.weights, None, lengths),
                             CallOptions(options.n_threads))

    def loss_and_gradients(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> tuple[float, dict[str, Any]]:
        gradient = np.empty_like(theta)
        loss, penalty, more = self._gradient(theta, batch, options, gradient)
        return loss + penalty + self.penalize(theta, gradient), views_of(gradient, self.shapes) | more

    def loss_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, gradient: np.ndarray) -> tuple[float, float]:
        loss, penalty, _ = self._gradient(theta, batch, options, gradient)
        return loss, penalty + self.penalize(theta, gradient)

    def backward(self, theta: np.ndarray, batch: Batch, options: CallOptions) -> dict[str, Any]:
        gradient = np.empty_like(theta)
        _, _, more = self._gradient(theta, batch, options, gradient, is_derivative=True)
        return views_of(gradient, self.shapes) | more

    def window_into(self, theta: np.ndarray, batch: Batch, options: CallOptions, known: KnownStates, gradient: np.ndarray,
                    S: np.ndarray, R: Any) -> tuple[float, float, float]:
        """Return what `protocol.Backend.window_into` says. The arrays of all recurrences are concatenated."""
        X, D, weights, initial_state, lengths, resets = batch
        T, n = len(X), len(known.S)
        _, k2 = options.tbptt or (T, T)
        own_start = known.own_start or (initial_state is None and n == 0)
        late = Batch(X[n:], _cut(D, n, T), _cut(weights, n, T), None,
                     None if lengths is None else np.clip(lengths - n, 0, T - n), _cut(resets, n, T))
        options = options.replace(tbptt=None)
        late_options = options.replace(draws=_later(options.draws, n))
        with self._scratch() as scratch:
            passed = _Passed(scratch, [], [], [], [X])
            for r in self.recurrences:  # one per layer
                states = np.empty((T + 1, X.shape[1], r.width), self.dtype)
                rates: Any = np.empty((T, X.shape[1], r.saved), self.dtype) if self.keeps else None
                first = None if initial_state is None else np.ascontiguousarray(initial_state[:, r.states])
                if n > 0:  # the last known state is the new steps' initial state, and is rewritten
                    states[0], states[1:n + 1] = first, known.S[..., r.states]
                    first = states[n].copy()
                r.engine.states(theta[r.own], late.replace(X=passed.inputs[-1][n:], initial_state=first), late_options,
                                states[n:], _cut(rates, n, T))
                if self.current and n > 0:
                    rates[:n] = reference.ACTIVATIONS[self.activation][0](  # type: ignore[operator]
                        states[1:n + 1])
                elif self.keeps and n > 0:
                    rates[:n] = known.R[..., r.saves]
                S[..., r.states] = states
                if R is not None:
                    R[..., r.saves] = rates
                passed.S.append(states)
                passed.R.append(rates)
                passed.inputs.append(np.ascontiguousarray(self._read_by_W(r, states, rates)))
            dS = np.zeros_like(passed.inputs[-1])
            loss, weight, unscale = self.readout.outputs_back(
                theta[self.own_y], late.replace(X=passed.inputs[-1][n:], resets=None), CallOptions(options.n_threads), False,
                gradient[self.own_y], dS[n:])
            unscale = self._unscaled(unscale, gradient[self.own_y], dS)
            begin = max(0, T - k2)
            slope, penalty = self._rates(passed, T - n if late.lengths is None else late.lengths, n)
            errors = _Errors(own_start, slope, n, past_S_0=known.S_0)
            self._down(theta, *_part((batch.replace(D=dS[begin:]), options, passed, errors), begin, T), gradient)
        if unscale != 1:
            _multiply(unscale, gradient)
        return loss, penalty + self.penalize(theta, gradient), weight

    def total_weight(self, theta: np.ndarray, batch: Batch) -> float:
        T, B = (1 if self.last else batch.X.shape[0]), batch.X.shape[1]
        read = np.empty((T, B, self.shapes["W_y"][1]), self.dtype)  # not read
        return self.readout.total_weight(theta[self.own_y], Batch(read, batch.D, batch.weights,
                                                                  lengths=None if self.last else batch.lengths))

    def workspace(self, theta: np.ndarray, shape: CallShape, options: CallOptions) -> int:
        """Return the bytes of the arrays between layers and of the largest workspace of one, which memory_limit bounds."""
        T, B = shape.T, shape.B
        options = options.replace(tbptt=None)
        numbers = ((T + 1) * sum(self.widths) + T * sum(self.save_widths)) * B  # S, R
        tops = [sum(r.H for r in layer) for layer in self.layers]
        numbers += T * B * tops[-1]  # ∂E/∂S
        numbers += T * B * (max(tops[0:-1:2], default=0) + max(tops[1:-1:2], default=0))  # ∂E/∂X, in two alternating arrays
        if self.rate_penalty:  # its term of ∂E/∂S
            numbers += T * B * max(self.sizes)
        if self.widths != self.sizes and not self.both:  # the part of the states that is read
            numbers += T * B * sum(self.sizes)
        if self.both:  # both directions concatenated, and ∂E/∂S and ∂E/∂X of one
            numbers += T * B * (sum(tops) + max(tops) // 2 + max(tops[:-1], default=0))
        of_readout = shape._replace(resets=False, dropout=False, **({"T": 1, "lengths": None} if self.last else {}))
        of_recurrence = shape._replace(labels=False, weight_width=0, sparse=False)
        largest = self.readout.workspace(theta[self.own_y], of_readout, CallOptions(options.n_threads))
        for r in self.recurrences:
            largest = max(largest, r.engine.workspace(theta[r.own], of_recurrence, options))
        return numbers * self.dtype.itemsize + largest

    # ---- Forward and backward pass

    def _scratch(self):
        try:
            return self.free.pop()  # without checking first: another thread may empty it in between
        except IndexError:
            return _Scratch(self.free, self.dtype)

    def _up(self, scratch, theta, batch, options, own=False):
        """Run all recurrences forward, and return _Passed.

        With own=True, S and R are new arrays, and R has the rates; each R is None without a leak. Else S and R are in the
        scratch, and R has what the backward pass needs.
        """
        options = _through_all(options)  # windows are those of the backward pass
        S, R, finals, inputs, given = [], [], [], [batch.X], split(batch.initial_state, self.widths)
        (T, B), lengths, resets = batch.X.shape[:2], batch.lengths, batch.resets
        has_R = self.leaky if own else self.keeps
        for layer in self.layers:
            X, parts = inputs[-1], []
            for r in layer:
                shape, rates = (T + 1, B, r.width), None
                states = np.empty(shape, self.dtype) if own else scratch.take(("S", r.number), *shape)
                if has_R:
                    rates = np.empty((T, B, r.saved), self.dtype) if own else scratch.take(("R", r.number), T, B, r.saved)
                first = None if given is None else given[r.number]
                of_one = Batch(X, None, None, first, lengths, resets)
                finals.append(r.engine.states(theta[r.own], of_one, options, states, rates, own))
                S.append(states)
                R.append(rates)
                parts.append(self._read_by_W(r, states, rates))
            if len(layer) == 1 and (self.current or r.width == r.H):  # contiguous
                inputs.append(parts[0])
            else:
                whole = scratch.take(("read", r.number), T, B, sum(r.H for r in layer))
                inputs.append(np.concatenate(parts, axis=2, out=whole))
        return _Passed(scratch, S, R, finals, inputs)

    def _read(self, passed, lengths):
        """Return what the readout reads, and its lengths: all states (T, B, H), or the final ones (1, B, H)."""
        states, finals = passed.inputs[-1], passed.finals
        if not self.last:
            return states, lengths
        if self.current:
            T, B = states.shape[:2]
            ends = (np.full(B, T) if lengths is None else lengths) - 1, np.zeros(B, int)  # the reverse one ends at step 0
            finals = [rates[end, np.arange(B)] for rates, end in zip(passed.R[-len(self.layers[-1]):], ends)]
        top = self.layers[-1]
        return np.concatenate([final[:, :r.H] for r, final in zip(top, finals[-len(top):])], axis=1)[None], None

    def _read_back(self, scratch, dR, T, lengths):
        """Return ∂E/∂S (T, B, H) of the top layer, from the gradient with respect to what `_read` returned."""
        if not self.last:
            return dR
        B, H = dR.shape[1], self.sizes[-1]
        dS = scratch.take("dS", T, B, dR.shape[2])
        dS[...] = 0
        dS[(np.full(B, T) if lengths is None else lengths) - 1, np.arange(B), :H] = dR[0, :, :H]
        dS[:1, :, H:] = dR[:, :, H:]  # the reverse direction ends with the first step
        return dS

    def _gradient(self, theta, batch, options, gradient, is_derivative=False):
        """Return the reduced error, the penalties on rates and by Ω, and a dict of the requested ∂E/∂X and ∂E/∂S_0.

        The flat gradient overwrites `gradient`. With is_derivative=True, D is ∂E/∂Y and there are no penalties.
        """
        T, lengths = len(batch.X), batch.lengths
        with self._scratch() as scratch:
            passed = self._up(scratch, theta, batch, options)
            read, steps = self._read(passed, lengths)
            dR = scratch.take("dR", *read.shape)
            of_readout = Batch(read, batch.D, None if is_derivative else batch.weights, None, steps)
            loss, _, unscale = self.readout.outputs_back(theta[self.own_y], of_readout, CallOptions(options.n_threads),
                                                         is_derivative, gradient[self.own_y], dR)
            unscale = self._unscaled(unscale, gradient[self.own_y], dR)
            dS = self._read_back(scratch, dR, T, lengths)
            slope, penalty = (0.0, 0.0) if is_derivative else self._rates(passed, T if lengths is None else lengths)
            whole = options.tbptt is None or min(options.tbptt) >= T  # one window, through all steps
            down = self._down if whole else self._down_windows
            errors = _Errors(batch.initial_state is None, slope, spreads=not is_derivative)
            of_states = Batch(batch.X, dS, None, None, lengths, batch.resets)
            dX, dS_0, of_flow = down(theta, of_states, options, passed, errors, gradient)
            more = ({"X": dX} if options.input_gradient else {}) | (
                {"initial_state": dS_0} if options.initial_state_gradient else {})
            if unscale != 1:
                _multiply(unscale, gradient, *((dX,) if options.input_gradient else ()),
                          *(dS_0 if options.initial_state_gradient else ()))
        return loss, penalty + of_flow, more

    def _unscaled(self, unscale, *arrays):
        """Undo the scale of weights if penalties require it now, and return the scale that is still to undo.

        rate_penalty and omega are not linear in the scaled arrays.
        """
        if unscale == 1 or not (self.rate_penalty or self.omega):
            return unscale
        _multiply(unscale, *arrays)
        return 1

    def _rates(self, passed, steps, past=0):
        """Return the slope 2 rate_penalty / n of the penalty on n rates, and the penalty.

        `steps` counts the steps after the past.
        """
        if not self.rate_penalty:
            return 0.0, 0.0
        count = int(np.broadcast_to(steps, passed.S[0].shape[1]).sum()) * sum(self.sizes)
        squares = sum(_core.sum_of_all_squares(np.ascontiguousarray(self._read_by_W(*each)[past:]))
                      for each in zip(self.recurrences, passed.S, passed.R))
        return 2 * self.rate_penalty / max(count, 1), self.rate_penalty * squares / max(count, 1)

    def _read_by_W(self, r, states, rates):
        """Return a view of what W_s and W_y read (T, B, H) of a recurrence r."""
        if self.current:
            return rates
        return states[1:] if r.width == r.H else states[1:, :, :r.H]

    def _down(self, theta, batch, options, passed, errors, gradient):
        """Return ∂E/∂X and the tuple of ∂E/∂S_0, each if requested, and omega Ω if `errors.spreads`.

        batch.D is ∂E/∂S (T, B, H) of the top layer. The gradient of all recurrences overwrites their slices.
        """
        scratch, dS, options = passed.scratch, batch.D, _through_all(options)
        dS_0, penalty = [], 0.0
        for n in range(len(self.layers) - 1, -1, -1):
            layer, X, below = self.layers[n], passed.inputs[n], None
            for r in reversed(layer):
                dX, own = None, dS
                if len(layer) > 1:
                    H = dS.shape[2] // 2
                    own = scratch.take("dS of one", *dS.shape[:2], H)
                    own[...] = dS[..., :H] if r is layer[0] else dS[..., H:]
                if n > 0:
                    dX = scratch.take(("dX", n % 2) if below is None else "dX of one", *X.shape)
                elif options.input_gradient:
                    dX = np.empty_like(X)
                states, rates = passed.S[r.number], passed.R[r.number]
                if errors.slope:
                    part = self._read_by_W(r, states, rates)[errors.since:]
                    own[errors.since:] += np.multiply(part, errors.slope, out=scratch.take("rates", *part.shape))
                past_S_0 = None if errors.past_S_0 is None else np.ascontiguousarray(errors.past_S_0[:, r.states])
                of_one = Batch(X, own, None, None, batch.lengths, batch.resets)
                known = KnownStates(states, rates, past_S_0, errors.own_start)
                first, of_flow = r.engine.states_back(theta[r.own], of_one, options, known, gradient[r.own], dX, errors.spreads)
                dS_0.insert(0, first)
                penalty += of_flow
                if below is None:
                    below = dX
                elif dX is not None:
                    below += dX
            dS = below
        return dS, tuple(dS_0), penalty

    def _down_windows(self, theta, batch, options, passed, errors, gradient):
        """Run `_down` on the errors of each window separately, and sum the results."""
        total, part, dS = np.zeros_like(gradient), np.zeros_like(gradient), batch.D
        dX = np.zeros_like(passed.inputs[0]) if options.input_gradient else None
        dS_0 = tuple(np.zeros((dS.shape[1], width), self.dtype) for width in self.widths)
        for begin, since, end in reference.windows(len(dS), options.tbptt):
            of_window = dS[begin:end].copy()
            of_window[:max(0, since - begin)] = 0
            cut = _part((batch.replace(D=of_window), options, passed, errors._replace(since=since, spreads=False)), begin, end)
            dX_part, first, _ = self._down(theta, *cut, part)
            total += part
            if options.input_gradient:
                dX[begin:end] += dX_part
            if options.initial_state_gradient and begin == 0:
                for sum_of, new in zip(dS_0, first):
                    sum_of += new
        gradient[:self.own_y.start] = total[:self.own_y.start]
        return dX, dS_0, 0.0

    def penalize(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        if not self.penalized:
            return 0.0
        parts = [(r.engine, r.own) for r in self.recurrences] + [(self.readout, self.own_y)]
        return sum(engine.penalize(theta[own], gradient[own]) for engine, own in parts)


def _multiply(factor, *arrays):
    with np.errstate(over="ignore", under="ignore"):  # as in compiled code, results may be infinity and zero
        for array in arrays:
            array *= factor


def _part(arguments, begin, end):
    """Return (batch, options, passed, errors) of `_down` for the steps `begin` to `end` alone. batch.D holds only these."""
    batch, options, passed, errors = arguments
    lengths = None if batch.lengths is None else np.clip(batch.lengths - begin, 0, end - begin)
    return (batch.replace(lengths=lengths, resets=_cut(batch.resets, begin, end)),
            options.replace(memory_limit=0, draws=_later(options.draws, begin)),
            passed._replace(S=[states[begin:end + 1] for states in passed.S],
                            R=[_cut(rates, begin, end) for rates in passed.R],
                            inputs=[_cut(array, begin, end) for array in passed.inputs]),
            errors._replace(own_start=errors.own_start and begin == 0, since=max(0, errors.since - begin),
                            past_S_0=_cut(errors.past_S_0, begin, end)))


def _through_all(options):
    """Return the options without truncation."""
    return options if options.tbptt is None else options.replace(tbptt=None)


def _later(draws, steps):
    """Return the draws of a call that begins this many steps later."""
    return None if draws is None else draws._replace(first=draws.first + steps)


def _cut(array, begin, end):
    return None if array is None else array[begin:end]
