# Batch, CallOptions, KnownStates: the objects that operations take in place of long argument lists.
#
# backends/arguments.py says how backends use them. They are compiled because every call makes two to ten of them: that takes
# 0.06 us each, a NamedTuple 0.36 to 0.7, and a whole `evaluate` of the smallest networks 1.4 (AMD Zen 4, 2026-12). Add a field
# here for a new argument of several operations, and in _core.pyi.
#
# Letters: T steps, B sequences, I inputs, H hidden units, O outputs, K targets per row. Arrays are C-contiguous, and have the
# network's dtype unless another one is named. With output="last", the (T, B, ...) of D and weights is (B, ...). With several
# recurrences, states are one array (..., sum of all H).


@cython.final
@cython.freelist(8)
cdef class Batch:
    """The data of a call. The fields cannot be set anew.

    X : array (T, B, I), or token ids (T, B) of intp
    D : array (T, B, K), class labels (T, B) of intp, or None
        `backward` and `outputs_back` may take ∂E/∂Y (T, B, O) in its place, and `states_back` takes ∂E/∂S (T, B, H).
    weights : array (T, B) or of D's shape, or None
    initial_state : array (B, H), or None for the network's own
    lengths : intp (B,), the number of steps of each sequence, or None
    resets : bool (T, B), or None

    A batch of a population may have an additional first axis of networks in each array. Iteration yields the six fields.
    """

    cdef readonly object X, D, weights, initial_state, lengths, resets

    def __cinit__(self, X, D=None, weights=None, initial_state=None, lengths=None, resets=None):
        self.X, self.D, self.weights = X, D, weights
        self.initial_state, self.lengths, self.resets = initial_state, lengths, resets

    def __iter__(self):
        return iter((self.X, self.D, self.weights, self.initial_state, self.lengths, self.resets))

    def __reduce__(self):
        return Batch, tuple(self)  # workers of `fit_many` receive batches

    def replace(self, **changes):
        """Return a copy in which these fields are different."""
        fields = {"X": self.X, "D": self.D, "weights": self.weights, "initial_state": self.initial_state,
                  "lengths": self.lengths, "resets": self.resets}
        fields.update(changes)
        return Batch(**fields)


@cython.final
@cython.freelist(8)
cdef class CallOptions:
    """How a call is run, and what it should return. The fields cannot be set anew.

    n_threads : int
        At most this many threads. 0 stands for the default.
    memory_limit : int
        At most this many bytes of workspace. 0 stands for no limit, -1 for as few as possible.
    draws : reference.Draws or None
        The keys of noise and dropout. None stands for a call without both.
    tbptt : (k1, k2) or None
        Truncated BPTT, both at least 1.
    input_gradient, initial_state_gradient : bool
        Whether to return ∂E/∂X (T, B, I) and ∂E/∂S_0 (B, H).
    """

    cdef readonly int n_threads
    cdef readonly Py_ssize_t memory_limit
    cdef readonly object draws, tbptt
    cdef readonly bint input_gradient, initial_state_gradient

    def __cinit__(self, int n_threads=0, Py_ssize_t memory_limit=0, draws=None, tbptt=None, bint input_gradient=False,
                  bint initial_state_gradient=False):
        self.n_threads, self.memory_limit, self.draws, self.tbptt = n_threads, memory_limit, draws, tbptt
        self.input_gradient, self.initial_state_gradient = input_gradient, initial_state_gradient

    def replace(self, **changes):
        """Return a copy in which these fields are different."""
        fields = {"n_threads": self.n_threads, "memory_limit": self.memory_limit, "draws": self.draws, "tbptt": self.tbptt,
                  "input_gradient": self.input_gradient, "initial_state_gradient": self.initial_state_gradient}
        fields.update(changes)
        return CallOptions(**fields)


@cython.final
@cython.freelist(8)
cdef class KnownStates:
    """The states that earlier calls have computed, for the first n of the T steps of a call. The fields cannot be set anew.

    S : array (n, B, H)
        The states after these steps. `states_back` takes all states (T+1, B, H), with the initial state first.
    R : array (n, B, H) or None
        The rates of these steps, which leaky units of the rate form need. In the current form `states_back` needs them too.
    S_0 : array (m, H) or None
        The S_0 that resets at the first m steps used. None stands for the current S_0.
    own_start : bool
        Whether the initial state was the network's own S_0.
    """

    cdef readonly object S, R, S_0
    cdef readonly bint own_start

    def __cinit__(self, S, R=None, S_0=None, bint own_start=False):
        self.S, self.R, self.S_0, self.own_start = S, R, S_0, own_start
