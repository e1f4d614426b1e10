"""Checks of the arguments of a network's operations, and their conversion to the arrays that backends take.

Each check returns the converted argument, or raises an error with the argument's name, what came, and what is allowed.
`options/` checks the constructor's options.
"""

from __future__ import annotations

import numbers

import numpy as np

from .. import _checks
from ..backends import stack as _stack
from ..options import cells as _cells


class Arguments:
    """Methods of `RNN` that check the arguments of its operations."""

    def _check_inputs(self, X, initial_state, lengths=None, resets=None, name="X"):
        """Return X, initial_state, lengths and resets in the backends' form. Error messages call X `name`."""
        X = self._check_vectors_or_ids(name, X, "T, B")
        T, B = X.shape[:2]
        if initial_state is not None:
            initial_state = self._check_state("initial_state", initial_state, B, X)
        if lengths is not None:
            if np.ndim(lengths) == 1 and len(lengths) != B:
                _check_shape("lengths", _checks.array("lengths", lengths, np.intp), (B,), "(B,)", X)
            lengths = _checks.lengths(lengths, T, B)
        if self.output == "last":
            steps = np.full(B, T) if lengths is None else lengths
            if not steps.all():
                raise ValueError('lengths and T must be at least 1 with output="last", got no steps in sequence '
                                 f'{steps.argmin()}')
        if resets is not None:
            resets = _check_shape("resets", _checks.flags("resets", resets), (T, B), "(T, B)", X)
        if self.one_hot:
            self._check_range(name, X, _is_step(T, B, lengths), "tb")
        return X, initial_state, lengths, resets

    def _check_state(self, name, state, B, X=None):
        """Return a state in the backends' form: (B, H), or (B, sum of all H) for several recurrences; 2H for an LSTM.

        X, if given, is the array from which B was read. The error message then says how X was read.
        """
        if not self._stacked:
            return _check_shape(name, _checks.array(name, state, self.dtype), (B, *self._widths), self._state_letters(), X)
        if not isinstance(state, (tuple, list)) or len(state) != len(self._widths):
            what = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
            raise TypeError(f"{name} must be a tuple of {len(self._widths)} arrays {self._state_letters()}, "
                            "one for each recurrence, layer by layer"
                            f"{', forward before reverse' if self.bidirectional else ''}; got {what}")
        return np.concatenate([_check_shape(f"{name}[{n}]", _checks.array(f"{name}[{n}]", part, self.dtype), (B, H),
                                            self._state_letters(), X)
                               for n, (part, H) in enumerate(zip(state, self._widths))], axis=1)

    def _state_letters(self, rows="B"):
        """Return the shape of a public state in letters, for error messages."""
        parts = len(_cells.of(self._config).states)
        return f"({rows}, {parts if parts > 1 else ''}H)"

    def _as_given(self, states):
        """Return states of the backends in the caller's form: a tuple for several recurrences."""
        if states is not None and states.shape[-1] > sum(self._widths):  # with rates
            states = np.ascontiguousarray(states[..., :sum(self._widths)])
        return _stack.split(states, self._widths) if self._stacked else states

    def _check_tbptt(self, tbptt, whole=False):
        """Return (k1, k2) or None. With whole=True the loss needs the gradient through all steps, so truncation is refused."""
        if tbptt is not None:
            self._refuse_reverse("truncated BPTT")
            if whole:
                raise ValueError(f"tbptt must be None with omega={self.omega}, got {tbptt}: Ω needs ∂E/∂S_t through all "
                                 "steps, and each window has its own")
        return _check_tbptt(tbptt)

    def _refuse_reverse(self, what):
        if self.bidirectional:
            raise ValueError(f"{what} requires bidirectional=False: each output would depend on future inputs")

    def _check_vectors_or_ids(self, name, X, axes):
        """Return X (*axes, I), or token ids (*axes) with one_hot=True. axes is "T, B", or "B" for one step."""
        dtype, letters = (np.intp, axes) if self.one_hot else (self.dtype, f"{axes}, I")
        if axes == "T, B":
            _checks.refuse_list_of_sequences(name, X, 2 if self.one_hot else 3)
        X, ndim = _checks.array(name, X, dtype), len(letters.split(","))
        letters = f"({letters},)" if ndim == 1 else f"({letters})"
        if X.ndim != ndim and self.one_hot:
            raise ValueError(f"{name} must be token ids, {ndim}-D {letters}, because the network has one_hot=True; got "
                             f"{X.ndim}-D with shape {X.shape}")
        if X.ndim != ndim:
            hint = "" if ndim != 3 else ": time-major, as sequences.to_time_major makes it of sequences (T, I)"
            raise ValueError(f"{name} must be {ndim}-D {letters}, got {X.ndim}-D with shape {X.shape}{hint}")
        if not self.one_hot and X.shape[-1] != self.input_size:
            raise ValueError(f"{name} has {X.shape[-1]} features, but this network expects input_size={self.input_size}; "
                             f"shape {X.shape} was read as {letters}")
        return X

    def _check_range(self, name, ids, is_read, axes):
        bad = ((ids < 0) | (ids >= self.input_size)) & is_read
        if bad.any():
            place, words = _checks.first(bad, axes)
            raise ValueError(f"{name} has id {ids[place]} at {words}, but this network's ids are 0 to {self.input_size - 1} "
                             f"(input_size={self.input_size})")

    def _check_step(self, name, x, B=None):
        """Return the inputs (B, I), or token ids (B,), of one step. If B is given, refuse another number of sequences."""
        x = self._check_vectors_or_ids(name, x, "B")
        if B is not None and len(x) != B:
            raise ValueError(f"{name} has {len(x)} sequences, but the prefix has {B}; shape {x.shape}")
        if self.one_hot:
            self._check_range(name, x, True, "b")
        return x

    def _check_feedback(self, feed, temperature):
        """Raise if `generate` has nothing to feed back, or `temperature` has no effect."""
        if feed is not None and not callable(feed):
            raise TypeError(f"feed must be a function f(y, rng) -> x, got {type(feed).__name__}")
        if temperature != 1 and (feed is not None or not self.one_hot):
            raise TypeError("temperature must be 1 unless token ids are sampled (one_hot=True without feed), got "
                            f"{temperature}")
        if feed is not None:
            return
        if self.target_size != self.output_size:
            raise ValueError(f"feed is required: the outputs are {self.output_size // self.target_size} quantile levels of "
                             f"each of {self.target_size} targets, and feed selects what to feed back")
        if self.output_size != self.input_size:
            raise ValueError(f"feed is required: output_size={self.output_size} outputs cannot be the input_size="
                             f"{self.input_size} inputs")
        if self.one_hot and self.output_activation != "softmax":
            raise ValueError("feed is required: token ids are sampled only with output_activation='softmax', and this "
                             f"network has {self.output_activation!r}")

    def _check_out(self, out, x, state):
        """Raise if `step` may not write its results into out = (y, state), which must not overlap x, state or parameters."""
        if not isinstance(out, tuple) or len(out) != 2:
            words = f"{len(out)} of them" if isinstance(out, tuple) else type(out).__name__
            raise TypeError(f"out must be a tuple of two arrays, (y, state), got {words}")
        y, new = out
        if self._stacked and (not isinstance(new, tuple) or len(new) != len(self._widths)):
            raise TypeError(f"out's state must be a tuple of {len(self._widths)} arrays, one for each recurrence, got "
                            f"{type(new).__name__}")
        states = {f"out's state[{n}]": array for n, array in enumerate(new)} if self._stacked else {"out's state": new}
        for name, array, width, letters in (("out's y", y, self.output_size, "(B, O)"),
                                            *((*named, width, self._state_letters())
                                              for named, width in zip(states.items(), self._widths))):
            if type(array) is not np.ndarray:
                raise TypeError(f"{name} must be a NumPy array to write into, got {type(array).__name__}")
            if array.dtype != self.dtype:
                raise TypeError(f"{name} must have the network's dtype, {self.dtype}, got {array.dtype}")
            _check_shape(name, array, (len(x), width), letters)
            if not array.flags.carray:
                raise ValueError(f"{name} must be C-contiguous, aligned and writable, got strides {array.strides}, "
                                 f"writable={array.flags.writeable}")
        if self._stacked:  # `step` reads a copy of the caller's state, so out may overlap it
            arrays = {"out's y": y, **states}
            pairs = [(name, array, {**{other: arrays[other] for other in arrays if other > name}, "x": x,
                                    "the parameters": self._theta}) for name, array in arrays.items()]
        else:
            in_place = state is not None and new.ctypes.data == state.ctypes.data
            pairs = (("out's y", y, {"out's state": new, "x": x, "state": state, "the parameters": self._theta}),
                     ("out's state", new, {"x": x, "state, unless it is the same array": None if in_place else state,
                                           "the parameters": self._theta}))
        for name, array, others in pairs:
            for words, other in others.items():
                if other is not None and np.may_share_memory(array, other):
                    raise ValueError(f"{name} must not overlap {words}")

    def _check_rows(self, name, value, X, width, letter):
        """Return `value` as an array (T, B, width), or (B, width) with output="last"."""
        shape, letters = ((X.shape[1], width), f"(B, {letter})") if self.output == "last" else (
            (*X.shape[:2], width), f"(T, B, {letter})")
        return _check_shape(name, _checks.array(name, value, self.dtype), shape, letters, X)

    def _check_targets(self, X, D, weights, lengths=None):
        """Return D and weights in the backends' form. Entries of D without weight or beyond `lengths` are not read."""
        last = self.output == "last"
        shape = X.shape[1:2] if last else X.shape[:2]
        steps, axes = "(B,)" if last else "(T, B)", "b" if last else "tb"
        is_step = None if last or lengths is None else _is_step(*shape, lengths)
        if not last:
            for ndim in (2, 3):  # labels (T, B), or D (T, B, O)
                _checks.refuse_list_of_sequences("D", D, ndim)
        labels = self._engines["reference"].loss == "cross_entropy" and np.ndim(D) == len(shape)
        if labels:
            D = _check_shape("D", _checks.array("D", D, np.intp), shape, steps, X)
        else:
            D = self._check_rows("D", D, X, self.target_size, "O" if self.target_size == self.output_size else "O / levels")
        if weights is not None:
            weights = _checks.array("weights", weights, self.dtype)
            per_output = weights.ndim == len(shape) + 1 and self._engines["reference"].loss != "cross_entropy"
            _check_shape("weights", weights, (*shape, self.target_size) if per_output else shape,
                         "of D" if per_output else steps, X)
            read = weights if is_step is None else np.where(is_step[..., None] if per_output else is_step, weights, 0)
            _checks.finite("weights", read, axes + "o")
            if (read < 0).any():
                place, words = _checks.first(read < 0, axes + "o")
                raise ValueError(f"weights must not be negative, got {weights[place]} at {words}")
            with np.errstate(over="ignore"):
                if not np.isfinite(read.sum(dtype=np.float64)):
                    raise ValueError("weights must have a finite sum, got infinity")
        if labels:
            bad = (D < 0) | (D >= self.output_size)
            if weights is not None:
                bad &= read > 0
            if is_step is not None:
                bad &= is_step
            if bad.any():
                place, words = _checks.first(bad, axes)
                raise ValueError(f"D has label {D[place]} at {words}, but this network's labels are 0 to "
                                 f"{self.output_size - 1} (output_size={self.output_size})")
        return D, weights


def _threads(n_threads):
    """Return the number of threads in the backends' form: 0 stands for the default."""
    return 0 if n_threads is None else _checks.size("n_threads", n_threads)


def _check_memory_limit(limit, tbptt=None):
    """Return the limit in the backends' form: 0 for none, −1 for as little memory as possible."""
    if limit is None:
        return 0
    if tbptt is not None:
        raise ValueError("memory_limit has no effect on truncated BPTT: give tbptt or memory_limit, not both")
    if isinstance(limit, str) and limit != "auto":
        raise ValueError(f'memory_limit must be a number of bytes, "auto" or None, got {limit!r}')
    return -1 if isinstance(limit, str) else _bytes(limit)


def _bytes(limit):
    if isinstance(limit, (bool, np.bool_)) or not isinstance(limit, numbers.Integral):
        raise TypeError(f'memory_limit must be a number of bytes, "auto" or None, got {type(limit).__name__} {limit!r}')
    if not 0 < limit < 2**62:
        raise ValueError(f"memory_limit must be a positive number of bytes, got {limit}")
    return int(limit)


def _check_tbptt(tbptt):
    if tbptt is None:
        return None
    if not isinstance(tbptt, tuple) or len(tbptt) != 2:
        raise TypeError("tbptt must be (k1, k2): every k1 steps, errors go back k2 steps; got "
                        f"{type(tbptt).__name__} {tbptt!r}")
    return _checks.size("k1 of tbptt", tbptt[0]), _checks.size("k2 of tbptt", tbptt[1])


def _is_step(T, B, lengths):
    """Return a bool array (T, B): whether the sequence has this step."""
    return np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < lengths


def _check_shape(name, value, shape, letters, X=None):
    """Return `value` if it has this shape, else raise ValueError. If X is given, the message says how X was read."""
    if value.shape != tuple(shape):
        expected = f"{letters} = {tuple(shape)}" if letters else tuple(shape)
        words = "" if X is None else _read_as(X.shape, value.shape, shape)
        raise ValueError(f"{name} must have shape {expected}, got {value.shape}{words}")
    return value


def _read_as(shape, found, expected):
    """Return the end of a message about an array that does not fit X: how X was read, and a remedy if it is samples-first."""
    (T, B), letters = shape[:2], "(T, B, I)" if len(shape) == 3 else "(T, B)"
    words = f"; X of shape {shape} was read as {letters}, time-major: {T} time steps of {B} sequences"
    in_time = expected[:2] == (T, B)
    if not in_time and found[:2] == (T, B):  # with output="last"
        return words + '. With output="last" there is one for each sequence, not for each step'
    if T != B and (found[:2] == (B, T) if in_time else found[:1] == (T,)):
        words += f". {'One of the two' if in_time else 'X'} seems to be samples-first; sequences.to_time_major converts it"
    return words


def _refuse_nan(Y, t=0):
    """Raise FloatingPointError if the outputs Y (n, B, O), generated from step t on, contain NaN."""
    if np.isnan(Y).any():
        n, b, o = np.argwhere(np.isnan(Y))[0].tolist()
        raise FloatingPointError(f"generated outputs contain NaN, first at (t, b, o) = {(n + t, b, o)}")
