"""Checks and conversion of the arguments of a population's methods: one for all networks, or one for each.

Add a check here if several methods of Population need it.
"""

from __future__ import annotations

import numpy as np

from .. import _checks, network as _network
from .._training import batches as _batches

NETWORKS_FIRST = {1: (1, 0), 2: (2, 0, 1)}  # axis orders that bring the last axis, the networks, to the front


# The two readings of an ambiguous shape, and how to choose one
AMBIGUOUS = {
    "D": ("labels of each network, or distributions that all share", "give distributions as floats, or labels as a list of"),
    "weights": ("weights of each network, or weights of each output that all share",
                "repeat the latter to (n, T, B, O), or give the former as a list of"),
}


class _Arguments:
    """The base class of Population that checks and reads its arguments."""

    def _check(self, X, D, weights, initial_state, lengths, *, finite=False, name="", targets=True):
        """Check the data arguments of a method and return them as arrays of the network's dtype.

        Arrays of each network's own have a first axis n. Weights get four axes: (n or 1, ..., 1 or O). `name` stands before
        the names in messages, such as "validation's ". With `finite`, NaN and infinity are refused where they are read. With
        targets=False, D may be None.
        """
        net, n = self._like, self.n
        if D is None and targets:
            raise TypeError(f"{name}D must be an array of numbers, got NoneType")
        X = self._as_array(f"{name}X", X, np.intp if net.one_hot else net.dtype)
        own_X = X.ndim == (3 if net.one_hot else 4)
        self._check_first_axis(f"{name}X", X, own_X)
        one = X[0] if own_X else X
        if net.one_hot:
            one = np.zeros_like(one)  # ids are compared below, with the lengths
        net._check_inputs(one, None, None, None, name=f"{name}X")
        T, B = one.shape[:2]
        fine = True
        if lengths is not None:
            lengths = self._as_array(f"{name}lengths", lengths, np.intp)
            self._check_first_axis(f"{name}lengths", lengths, lengths.ndim == 2)
            fine = ((lengths >= (1 if net.output == "last" else 0)) & (lengths <= T)).all()
        fine = fine and not (net.one_hot and ((X < 0) | (X >= net.input_size)).any())  # such ids may be padding
        for k in range(1 if fine else n):
            net._check_inputs(self._own_part(k, X, 2 if net.one_hot else 3), None, self._own_part(k, lengths, 1), None,
                              name=f"{name}X")
        if initial_state is not None:
            initial_state = self._check_states(initial_state, B)
        if D is not None:
            rows = (B,) if net.output == "last" else (T, B)
            is_cross_entropy = net._engines["reference"].loss == "cross_entropy"
            is_labels = is_cross_entropy and np.asarray(D[0] if isinstance(D, (list, tuple)) else D).dtype.kind in "iu"
            given = D
            D = self._as_array(f"{name}D", D, np.intp if is_labels else net.dtype)
            own = self._check_first_axis(f"{name}D", D, D.ndim == len(rows) + (1 if is_labels else 2))
            if own and is_labels and not _is_list(given, n) and D.shape == (*rows, net.target_size):
                raise ValueError(_ambiguous(f"{name}D", D.shape, rows, *AMBIGUOUS["D"]))
            if weights is not None:
                is_list, weights = _is_list(weights, n), self._as_array(f"{name}weights", weights, net.dtype)
                per_output = () if is_cross_entropy else ((*rows, net.target_size),)
                shapes = {s: o for o in (False, True) for s in (((n, *each) if o else each) for each in (rows, *per_output))}
                if weights.shape not in shapes:
                    each = "T, B" if len(rows) == 2 else "B"
                    forms = [f"({each})", f"({each}, O)", f"(n, {each})", f"(n, {each}, O)"][::1 if per_output else 2]
                    raise ValueError(f"{name}weights must have shape {', '.join(forms[:-1])} or {forms[-1]} for T, B = {T}, "
                                     f"{B}, O = {net.target_size}, n = {n}; got {weights.shape}")
                own_weights = shapes[weights.shape]
                if own_weights and not is_list and weights.shape in per_output:
                    raise ValueError(_ambiguous(f"{name}weights", weights.shape, rows, *AMBIGUOUS["weights"]))
                per_output = weights.ndim - (1 if own_weights else 0) > len(rows)
                if not own_weights:
                    weights = weights[None]
                if not per_output:
                    weights = weights[..., None]
            fine = weights is None or (weights >= 0).all() and np.isfinite(weights.sum(dtype=np.float64))
            fine = fine and (not is_labels or ((D >= 0) & (D < net.output_size)).all())
            for k in range(1 if fine else n):  # if all values are valid, one network's shapes prove all
                own_lengths = lengths is not None and lengths.ndim == 2
                net._check_targets(one, D[k] if own else D, self._own_weights(k, weights),
                                   lengths[k] if own_lengths else lengths)
        if finite and not all(array.dtype.kind == "i" or np.isfinite(array).all() for array in (X, D)):
            for k in range(n):  # NaN is legal in padding and in D at weight 0
                x, d = self._own_data(k, X, D)
                _batches.refuse_nonfinite(name, x, d, self._own_weights(k, weights), self._own_part(k, lengths, 1))
        return X, D, weights, initial_state, lengths

    def _is_ready_for_lanes(self, X, D):
        """Return whether X and D need neither checks nor conversion: float arrays in C order with the shapes that lanes take.

        This saves time: a small population takes 10 µs, and `_check` takes 25.
        """
        net = self._like
        return (not net.one_hot and net.output == "sequence" and self._lanes is not None and type(X) is type(D) is np.ndarray
                and X.dtype == D.dtype == net._theta.dtype and X.flags.carray and D.flags.carray
                and X.shape[-3:-1] == D.shape[-3:-1] and X.shape[-1] == net.input_size and D.shape[-1] == net.target_size
                and X.shape[:-3] in ((), (self.n,)) and D.shape[:-3] in ((), (self.n,)) and X.ndim > 2 and D.ndim > 2)

    def _as_array(self, name, value, dtype):
        """Return the argument `name` as one array of this dtype.

        A list of n arrays, one for each network, gets a first axis n.
        """
        if _is_list(value, self.n):
            if name.endswith("X"):
                for k, part in enumerate(value):
                    _checks.refuse_list_of_sequences(f"{name}[{k}]", part, 2 if self._like.one_hot else 3)
            parts = [_checks.array(f"{name}[{k}]", part, dtype) for k, part in enumerate(value)]
            if name.endswith("X") and parts[0].ndim == (1 if self._like.one_hot else 2):
                raise ValueError(f"{name} is a list of {self.n} arrays, one for each network, and so each must be "
                                 f"{'(T, B)' if self._like.one_hot else '(T, B, I)'}; {name}[0] has shape {parts[0].shape}")
            shapes = {part.shape for part in parts}
            if len(shapes) > 1:
                raise ValueError(f"{name} holds arrays of different shapes, {' and '.join(map(str, sorted(shapes)[:2]))}: pad "
                                 "them, as fastbptt.sequences.to_time_major does, and give lengths (n, B)")
            return np.stack(parts)
        if name.endswith("X"):
            _checks.refuse_list_of_sequences(name, value, 2 if self._like.one_hot else 3)
        return _checks.array(name, value, dtype)

    def _check_first_axis(self, name, array, own):
        """Return `own`, whether each network has its own part of the array.

        If so, raise ValueError unless its first axis is n.
        """
        if own and len(array) != self.n:
            raise ValueError(f"{name} must have a first axis of {self.n}, one entry per network, got shape {array.shape}")
        return own

    def _check_states(self, given, B):
        """Return the argument initial_state, `given`, as an array (B, H) or (n, B, H).

        For several recurrences it is a tuple of such arrays.
        """
        net = self._like
        if not net._stacked:
            return self._check_state("initial_state", given, B, net._widths[0])
        if not isinstance(given, (tuple, list)) or len(given) != len(net._widths):
            what = f"{len(given)} of them" if isinstance(given, (tuple, list)) else type(given).__name__
            raise TypeError(f"initial_state must be a tuple of {len(net._widths)} arrays {net._state_letters()} or "
                            f"{net._state_letters('n, B')}, one for each recurrence, layer by layer"
                            f"{', forward before reverse' if net.bidirectional else ''}; got {what}")
        return tuple(self._check_state(f"initial_state[{n}]", part, B, H)
                     for n, (part, H) in enumerate(zip(given, net._widths)))

    def _check_state(self, name, given, B, H):
        """Return the initial state of one recurrence, `given`, as an array (B, H) or (n, B, H)."""
        state = self._as_array(name, given, self._like.dtype)
        own = self._check_first_axis(name, state, state.ndim == 3)
        _network._check_shape(name, state[0] if own else state, (B, H), self._like._state_letters())
        return state

    def _own_part(self, k, array, ndim):
        """Return network k's part of an array, or of a tuple of states.

        An array of `ndim` dimensions is shared, and returned whole.
        """
        if isinstance(array, tuple):  # states of several recurrences
            return tuple(self._own_part(k, each, ndim) for each in array)
        return array if array is None or array.ndim == ndim else array[k]

    def _own_weights(self, k, weights):
        """Return network k's weights as RNN.fit takes them, from an array (n or 1, ..., 1 or O).

        A last axis of 1 is dropped.
        """
        if weights is None:
            return None
        own = weights[min(k, len(weights) - 1)]
        return own[..., 0] if own.shape[-1] == 1 else own

    def _own_data(self, k, X, D):
        """Return network k's X and D from checked arrays that are shared or have a first axis of n."""
        rows = 1 if self._like.output == "last" else 2
        of_D = D if D.ndim == rows + (0 if D.dtype.kind == "i" else 1) else D[k]
        return self._own_part(k, X, 2 if self._like.one_hot else 3), of_D

    def _labels_as_distributions(self, D):
        """Return labels D as distributions of the network's dtype, with a last axis O. Other D are returned unchanged.

        Lanes read only distributions. A label outside the range has no weight, so its distribution is not read.
        """
        if D.dtype.kind != "i":
            return D
        return np.eye(self._like.output_size, dtype=self._like.dtype)[np.clip(D, 0, self._like.output_size - 1)]

    def _for_lanes(self, X, D, weights, lengths):
        """Return X, D, weights and lengths as lanes read them: real inputs, targets of all steps, no effect of the padding.

        Token ids become one-hot vectors, and labels distributions. With output="last", the targets stand at every step, and
        only each sequence's last step has a weight. D may be None.
        """
        net = self._like
        if net.one_hot:  # ids in the padding may be any number
            X = np.eye(net.input_size, dtype=net.dtype)[np.clip(X, 0, net.input_size - 1)]
        if D is not None:
            D = self._labels_as_distributions(D)
            if net.output == "last":
                there = self._is_last_step(X, lengths)[..., None]  # (T, B, 1) or (n, T, B, 1)
                D = np.ascontiguousarray(np.broadcast_to(D[..., None, :, :], (*D.shape[:-2], X.shape[-3], *D.shape[-2:])))
                there = there if there.ndim == 4 else there[None]
                weights = np.ones(1, net.dtype) if weights is None else weights[:, None]
                weights = np.where(there, weights, np.zeros((), net.dtype))
        return self._zero_in_padding(X, D, weights, lengths)

    def _is_last_step(self, X, lengths):
        """Return which steps are the last of their sequences, as a bool array (T, B), or (n, T, B) if lengths are (n, B)."""
        T, B = X.shape[-3:-1]
        ends = np.full(B, T) if lengths is None else lengths
        return np.arange(T)[:, None] == ends[..., None, :] - 1

    def _at_last_steps(self, values, X, lengths):
        """Return the entries of values (n, T, B, ...) at each sequence's last step, (n, B, ...); 0 without steps."""
        last = self._is_last_step(X, lengths)
        last = np.broadcast_to(last, (len(values), *last.shape[-2:]))
        last = last.reshape(*last.shape, *[1] * (values.ndim - 3))
        return np.where(last, values, values.dtype.type(0)).sum(axis=1, dtype=values.dtype)

    def _zero_in_padding(self, X, D, weights, lengths):
        """Return X, D, weights and lengths with X and weights set to 0 in the padding. Without lengths, return them unchanged.

        Lanes then compute padding like all other steps, and it has no effect. D needs no zeros, because it is not read there.
        """
        if lengths is None:
            return X, D, weights, lengths
        T, B = X.shape[-3:-1]
        there = np.arange(T)[:, None] < (lengths if lengths.ndim == 1 else lengths[:, None])  # (T, B) or (n, T, B)
        if X.ndim == 3 and there.ndim == 3 and not np.isfinite(X).all():
            X = np.broadcast_to(X, (self.n, *X.shape))
        if X.ndim == 4 or there.ndim == 2:
            X = np.where(there[..., None], X, X.dtype.type(0))
        weights = np.ones((1, T, B, 1), X.dtype) if weights is None else weights
        weights = np.where((there if there.ndim == 3 else there[None])[..., None], weights, X.dtype.type(0))
        return X, D, weights, lengths


def _seeds_of_networks(n, random_state):
    """Return a list of seeds for n networks: the n given ones, or n drawn from one `random_state`."""
    if isinstance(random_state, (list, tuple, np.ndarray)):
        if len(random_state) != n:
            raise ValueError(f"random_state must hold {n} seeds, got {len(random_state)}")
        return [_checks.seed(f"random_state[{k}]", seed) for k, seed in enumerate(random_state)]
    words = np.random.SeedSequence(_network._entropy(random_state)).generate_state(2 * n).tolist()
    return [high * 2**32 + low for high, low in zip(words[::2], words[1::2])]


def _is_list(value, n):
    """Return whether `value` is a list of n arrays, one for each network."""
    return isinstance(value, (list, tuple)) and len(value) == n and n > 0 and np.ndim(value[0]) > 0


def _ambiguous(name, shape, rows, readings, remedy):
    """Return the error message for an array whose shape fits both one for each network and one for all.

    `rows` are the sizes of its axes of steps and sequences. `readings` and `remedy` come from AMBIGUOUS.
    """
    each = "T, B" if len(rows) == 2 else "B"
    return (f"{name} has shape {shape}, which fits both (n, {each}) and ({each}, O): {readings}. To say which, {remedy} n "
            f"arrays ({each})")
