"""Train and run many small networks of one shape at once: each vector lane computes one network.

The module repeats reference.py for all networks of a population. It holds the layout in lanes, the passes over one group of
lanes, training, and `Lanes`, the class that population.py uses. An operation that all networks do together belongs here.

Design
------
(a) Networks form groups. A group has as many networks as the kernel set has lanes. Each number of a group is a vector, with
    one lane for each network. What all networks share (inputs, targets, weights) stays one number. Threads divide the
    groups. One thread takes a group through all steps, forward and back, and through all updates of a run, in a workspace
    of that thread.
(b) Theta is (P, N) with the network as the innermost index. N is n rounded up to whole groups. The empty lanes of the last
    group hold zeros and learn nothing.
(c) The results of a network do not depend on its lane, on its neighbours, or on the number of threads: no kernel mixes lanes.
    Absent numbers, such as steps behind a sequence's end, are selected away. They are never multiplied by 0, so NaN in padding
    has no effect.

Legend: n networks, T steps, B sequences, I inputs, H hidden units, O outputs, K targets, P parameters, L lanes.
"""

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport fabs, frexp, isfinite, ldexp, sqrt
from libc.string cimport memcpy, memset

cimport numpy as cnp

from .kernels cimport lanes as lane
from .kernels.kernels cimport ErrorOptions, Kernels, reads_input, UpdateOptions
from .threads.workers cimport run_shares

from . import _core

cnp.import_array()

cdef extern from *:
    """
    #undef I /* NumPy's headers include <complex.h>, which defines it */
    """

cdef extern from "denormals.h" nogil:
    unsigned long long flush_denormals "fastbptt_flush"() noexcept  # returns the mode before, for `restore`
    void restore "fastbptt_restore"(unsigned long long mode) noexcept

cdef const Kernels *kernels = <const Kernels *> PyCapsule_GetPointer(_core.lane_kernels(), b"fastbptt.kernels")


cdef struct Plan:
    # The configuration of all networks. Offsets are into theta; -1 if the networks do not have the parameter.
    Py_ssize_t I, H, O, K, P
    Py_ssize_t W_x, W_s, b_s, W_y, b_y, S_0
    int activation
    bint mean
    ErrorOptions error


cdef struct Call:
    # The data of one call and where it puts its results. `own_...` is true if an array has a leading axis of n networks;
    # otherwise all networks share the array. Absent arrays are NULL.
    Py_ssize_t n, N, T, B
    void *theta                  # (P, N)
    const void *X                # (T, B, I)
    const void *D                # (T, B, K)
    const void *weights          # (T, B) or (T, B, K)
    int weight_width             # 0, 1 or K
    const double *unscale        # (n,), 1 / the scale of each network's weights, to undo `scale_weights`; NULL: not scaled
    const void *initial_state    # (B, H)
    const Py_ssize_t *lengths    # (B,)
    bint own_X, own_D, own_weights, own_initial_state, own_lengths
    void *Y                      # (n, T, B, O)
    void *S                      # (n, T + 1, B, H)
    void *final_state            # (n, B, H)
    void *losses                 # (n, T, B)
    void *gradient               # (P, N)
    double *reduced              # (n,)
    bint bare                    # true: batches are picked from these data; no room for states, outputs and deltas


cdef struct Group:
    # The arrays of one group; each number is a vector of L lanes.
    void *theta                  # (P,)
    void *gradient               # (P,)
    void *S                      # (T + 1, B, H)
    void *A                      # (T, B, H), the pre-activations, or NULL unless the derivative of g1 reads them
    void *Z                      # (T, B, O), first Z, then Y or delta_y
    void *delta                  # (T, B, H)
    void *X                      # (T, B, I), or the caller's array if it is shared
    void *D                      # (T, B, K), likewise
    void *weights                # (T, B, width), likewise
    void *ends                   # (B,), the lengths as real numbers, or NULL
    void *losses                 # (T, B), or NULL
    void *scale                  # (1,), the scale of the reduction: 1 / Σ m, or 1
    double *totals               # (L,), Σ m e
    double *weight               # (L,), Σ m
    double *unscale              # (L,), factor for all results that are linear in the weights; NULL: none


cdef void *take(char *base, Py_ssize_t *used, Py_ssize_t bytes) noexcept nogil:
    """Return the next `bytes` bytes behind base + used, and advance `used` to the next multiple of 64. NULL if base is."""
    cdef void *taken = base + used[0] if base != NULL else NULL
    used[0] += (bytes + 63) // 64 * 64
    return taken


cdef Py_ssize_t lay_out(const Plan *p, const Call *c, const floating *of, char *base, Group *g) noexcept nogil:
    """Place the arrays of a group one after another from `base` on, and return the number of bytes they need.

    With base = NULL it only counts the bytes. `of` selects the type of the numbers; it is not read.
    """
    cdef Py_ssize_t used = 0, L = lane.lanes(kernels, of), size = L * sizeof(floating), rows = c.T * c.B
    memset(g, 0, sizeof(Group))
    g.theta = take(base, &used, p.P * size)
    g.gradient = take(base, &used, (p.P if c.gradient != NULL else 0) * size)
    if not c.bare:
        g.S = take(base, &used, (rows + c.B) * p.H * size)
        g.A = take(base, &used, rows * p.H * size) if c.gradient != NULL and reads_input(p.activation) else NULL
        g.Z = take(base, &used, rows * p.O * size)
        g.delta = take(base, &used, (rows * p.H if c.gradient != NULL else 0) * size)
    g.X = take(base, &used, rows * p.I * size) if c.own_X else <void *> c.X
    g.D = take(base, &used, rows * p.K * size) if c.own_D else <void *> c.D
    g.weights = take(base, &used, rows * c.weight_width * size) if c.own_weights else <void *> c.weights
    g.ends = take(base, &used, c.B * size) if c.lengths != NULL else NULL
    g.losses = take(base, &used, rows * size) if c.losses != NULL else NULL
    g.scale = take(base, &used, size)
    g.totals = <double *> take(base, &used, L * sizeof(double))
    g.weight = <double *> take(base, &used, L * sizeof(double))
    g.unscale = <double *> take(base, &used, L * sizeof(double)) if c.unscale != NULL and not p.mean else NULL
    return used


# ---- Copies into lanes and out of lanes; `first` is the group's first network, `n` the number of its networks


cdef void into_lanes(const Call *c, Py_ssize_t first, Py_ssize_t n, Py_ssize_t count, bint own, const floating *source,
                     floating *target) noexcept nogil:
    """Copy count numbers of each network into lanes: target[i, l] = source[first + l, i].

    source is (networks, count) if `own`, else (count,), which all networks share. target is (count, L).
    """
    cdef const floating *sources[64]
    cdef Py_ssize_t l
    for l in range(n):
        sources[l] = source + ((first + l) * count if own else 0)
    lane.gather(kernels, n, count, sources, target)


cdef void out_of_lanes(Py_ssize_t first, Py_ssize_t n, Py_ssize_t count, const floating *source,
                       floating *target) noexcept nogil:
    """Copy (count, L) out of lanes into target (networks, count): target[first + l, i] = source[i, l]."""
    cdef floating *targets[64]
    cdef Py_ssize_t l
    for l in range(n):
        targets[l] = target + (first + l) * count
    lane.scatter(kernels, n, count, source, targets)


cdef void rows_into_lanes(Py_ssize_t first, Py_ssize_t L, Py_ssize_t N, Py_ssize_t P, const floating *theta,
                          floating *target) noexcept nogil:
    """Copy the columns of a group out of theta (P, N): target (P, L) = theta[:, first : first + L]."""
    cdef Py_ssize_t i
    for i in range(P):
        memcpy(target + i * L, theta + i * N + first, L * sizeof(floating))


cdef void rows_out_of_lanes(Py_ssize_t first, Py_ssize_t L, Py_ssize_t N, Py_ssize_t P, const floating *source,
                            floating *theta) noexcept nogil:
    """Copy the columns of a group into theta (P, N): theta[:, first : first + L] = source (P, L)."""
    cdef Py_ssize_t i
    for i in range(P):
        memcpy(theta + i * N + first, source + i * L, L * sizeof(floating))


cdef inline Py_ssize_t length(const Call *c, Py_ssize_t network, Py_ssize_t b) noexcept nogil:
    """Return the number of steps of sequence b of a network."""
    return c.T if c.lengths == NULL else c.lengths[(network * c.B if c.own_lengths else 0) + b]


cdef void clear(const Call *c, Py_ssize_t first, Py_ssize_t n, Py_ssize_t L, Py_ssize_t width, floating *A) noexcept nogil:
    """Set A (T, B, width, L) to 0 in padding, whatever it held."""
    cdef Py_ssize_t l, b, t, j
    for l in range(n):
        for b in range(c.B):
            for t in range(length(c, first + l, b), c.T):
                for j in range(width):
                    A[((t * c.B + b) * width + j) * L + l] = 0


cdef void enter(const Plan *p, const Call *c, Group *g, Py_ssize_t first, Py_ssize_t n, const floating *of) noexcept nogil:
    """Copy the data of the call into lanes, and compute the sum of weights Σ m and the scale of the error.

    In padding, a network's own inputs and weights become 0.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, of), rows = c.T * c.B, l, b, t, j, i, width = c.weight_width
    cdef floating *ends = <floating *> g.ends
    cdef floating *scale = <floating *> g.scale
    cdef floating *weights = <floating *> g.weights
    cdef double m
    if c.own_X:
        into_lanes(c, first, n, rows * p.I, True, <const floating *> c.X, <floating *> g.X)
    if c.own_D:
        into_lanes(c, first, n, rows * p.K, True, <const floating *> c.D, <floating *> g.D)
    if c.own_weights:
        into_lanes(c, first, n, rows * width, True, <const floating *> c.weights, weights)
    for l in range(L if ends != NULL else 0):
        for b in range(c.B):
            ends[b * L + l] = <floating> length(c, first + l, b) if l < n else 0
    if c.lengths != NULL:
        if c.own_X:
            clear(c, first, n, L, p.I, <floating *> g.X)
        if c.own_weights:
            clear(c, first, n, L, width, weights)
    for l in range(L):
        g.weight[l] = rows if l < n else 0
        if l < n and width > 0:
            m = 0
            for i in range(rows * width):
                m += weights[i * L + l] if c.own_weights else weights[i]
            g.weight[l] = m / width
        scale[l] = 1
        if p.mean:
            scale[l] = <floating> (1 / g.weight[l]) if g.weight[l] > 0 else 0
        elif g.unscale != NULL:
            g.unscale[l] = c.unscale[first + l] if l < n else 1


cdef void begin(const Plan *p, const Call *c, Group *g, Py_ssize_t first, Py_ssize_t n, const floating *theta) noexcept nogil:
    """Set S[0] (B, H, L) to the initial states: those of the call, else S_0, else zero."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), b, H = p.H
    cdef floating *S = <floating *> g.S
    if c.initial_state != NULL:
        into_lanes(c, first, n, c.B * H, c.own_initial_state, <const floating *> c.initial_state, S)
    else:
        for b in range(c.B):
            if p.S_0 >= 0:
                memcpy(S + b * H * L, theta + p.S_0 * L, H * L * sizeof(floating))
            else:
                memset(S + b * H * L, 0, H * L * sizeof(floating))


# ---- The lines of reference.py, over lanes


cdef void forward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the states S (T + 1, B, H, L) and the pre-activations of the outputs Z (T, B, O, L)."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H, O = p.O
    cdef floating *S = <floating *> g.S
    cdef floating *A = S + B * H * L
    # A = X @ W_x.T + b_s ;  S[t + 1] = g1(A[t] + S[t] @ W_s.T) ;  Z = S[1:] @ W_y.T + b_y
    lane.affine(kernels, rows, I, H, <const floating *> g.X, not c.own_X, theta + p.W_x * L,
                theta + p.b_s * L if p.b_s >= 0 else NULL, A)
    lane.recur(kernels, p.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends, S, A, <floating *> g.A)
    lane.affine(kernels, rows, H, O, A, False, theta + p.W_y * L, theta + p.b_y * L if p.b_y >= 0 else NULL, <floating *> g.Z)


cdef void error(const Plan *p, const Call *c, Group *g, const floating *of) noexcept nogil:
    """Compute the errors of each network: g.totals (L,) = Σ m e. Z becomes delta_y, scaled for the reduction."""
    cdef Py_ssize_t l
    memset(g.totals, 0, lane.lanes(kernels, of) * sizeof(double))
    lane.error(kernels, &p.error, c.T * c.B, <const floating *> g.D, not c.own_D, <const floating *> g.weights, c.weight_width,
               not c.own_weights, <const floating *> g.scale, <floating *> g.Z, <floating *> g.losses, g.totals)
    for l in range(lane.lanes(kernels, of) if g.unscale != NULL else 0):
        g.totals[l] *= g.unscale[l]


cdef void backward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the gradient (P, L) from delta_y (T, B, O, L) and the states."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H, O = p.O, i
    cdef floating *S = <floating *> g.S
    cdef floating *R = S + B * H * L
    cdef floating *slopes = <floating *> g.A if g.A != NULL else R  # what the derivative of g1 reads
    cdef floating *delta_y = <floating *> g.Z
    cdef floating *delta = <floating *> g.delta
    cdef floating *gradient = <floating *> g.gradient
    memset(gradient, 0, p.P * L * sizeof(floating))
    # dS = delta_y @ W_y ;  delta[t] = (dS[t] + delta[t + 1] @ W_s) * g1'(S[t + 1])
    lane.affine_back(kernels, rows, O, H, delta_y, theta + p.W_y * L, delta)
    lane.recur_back(kernels, p.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends, slopes, delta)
    # dW_x = delta.T @ X ;  dW_s = delta.T @ S[:-1] ;  dW_y = delta_y.T @ S[1:] ;  db = the sums of delta and delta_y
    lane.accumulate(kernels, rows, H, I, delta, <const floating *> g.X, not c.own_X, gradient + p.W_x * L)
    lane.accumulate(kernels, rows, H, H, delta, S, False, gradient + p.W_s * L)
    lane.accumulate(kernels, rows, O, H, delta_y, R, False, gradient + p.W_y * L)
    if p.b_s >= 0:
        lane.column_sums(kernels, rows, H, delta, gradient + p.b_s * L)
        lane.column_sums(kernels, rows, O, delta_y, gradient + p.b_y * L)
    if p.S_0 >= 0 and c.initial_state == NULL and c.T > 0:
        # dS_0 = delta[0] @ W_s, written over S, which is no longer needed
        lane.affine_back(kernels, B, H, H, delta, theta + p.W_s * L, S)
        lane.column_sums(kernels, B, H, S, gradient + p.S_0 * L)
    for i in range(p.P * L if g.unscale != NULL else 0):
        gradient[i] = <floating> (g.unscale[i % L] * gradient[i])


cdef void write_final_states(const Plan *p, const Call *c, const Group *g, Py_ssize_t first, Py_ssize_t n,
                             floating *target) noexcept nogil:
    """Write the state after each sequence's last step to target (N, B, H), for networks first ... first + n - 1 of a group."""
    cdef Py_ssize_t L = lane.lanes(kernels, target), l, b, h, row
    for l in range(n):
        for b in range(c.B):
            row = length(c, first + l, b) * c.B + b
            for h in range(p.H):
                target[((first + l) * c.B + b) * p.H + h] = (<const floating *> g.S)[(row * p.H + h) * L + l]


cdef void run_group(const Plan *p, Call *c, Py_ssize_t i, char *base, const floating *of) noexcept nogil:
    """Run the call for group i in the workspace `base`: outputs, or errors and gradients, as the call asks for."""
    cdef unsigned long long mode = flush_denormals()
    cdef Group g
    cdef Py_ssize_t L = lane.lanes(kernels, of), first = i * L, n = min(L, c.n - first), l, rows = c.T * c.B
    cdef floating *theta
    lay_out(p, c, of, base, &g)
    theta = <floating *> g.theta
    rows_into_lanes(first, L, c.N, p.P, <const floating *> c.theta, theta)
    enter(p, c, &g, first, n, theta)
    begin(p, c, &g, first, n, theta)
    forward(p, c, &g, theta)
    if c.S != NULL:
        out_of_lanes(first, n, (rows + c.B) * p.H, <const floating *> g.S, <floating *> c.S)
    if c.final_state != NULL:
        write_final_states(p, c, &g, first, n, <floating *> c.final_state)
    if c.Y != NULL:
        lane.output(kernels, p.error.activation, rows, p.O, <floating *> g.Z)
        if c.lengths != NULL:
            clear(c, first, n, L, p.O, <floating *> g.Z)
        out_of_lanes(first, n, rows * p.O, <const floating *> g.Z, <floating *> c.Y)
        restore(mode)
        return
    error(p, c, &g, theta)
    if c.losses != NULL:
        if c.lengths != NULL:
            clear(c, first, n, L, 1, <floating *> g.losses)
        out_of_lanes(first, n, rows, <const floating *> g.losses, <floating *> c.losses)
    for l in range(n):
        c.reduced[first + l] = g.totals[l] * (<const floating *> g.scale)[l]
    if c.gradient != NULL:
        backward(p, c, &g, theta)
        rows_out_of_lanes(first, L, c.N, p.P, <const floating *> g.gradient, <floating *> c.gradient)
    restore(mode)


cdef struct Training:
    # The options and the state of a training run.
    UpdateOptions what           # without the learning rate: each network has its own
    void *slot_1                 # (P, N), as theta: the first state of the update rule
    void *slot_2                 # (P, N), the second state, or NULL
    const double *rates          # (epochs, N), learning rates
    void *going                  # (N,), 1 while a network learns, set to 0 when it stops
    Py_ssize_t *ended            # (N,), epochs finished in this call; -1 - epochs if the network became infinite or NaN
    const void *l1               # (P, N), or NULL
    const void *l2               # (P, N), or NULL
    const double *max_norm       # (N,)
    Py_ssize_t epochs, batch_size, earlier
    const Py_ssize_t *order      # (epochs, B), order of the sequences; NULL: the order of the data
    bint own_order               # true: order is (n, epochs, B)
    # Validation: NULL without a validation set. Epochs count from the first call on; this call begins with epoch `begun`.
    double *judged               # (n, epochs), the validation loss after each epoch
    double *best                 # (N,), the lowest so far
    double *target               # (N,), the loss that a network must improve on before patience ends
    Py_ssize_t *best_epoch       # (N,), when best was reached
    Py_ssize_t *target_epoch     # (N,), when target was reached
    void *best_theta             # (P, N), written if patience > 0
    Py_ssize_t begun, patience   # patience 0: no early stopping
    double min_improvement
    double *losses               # (n, epochs), mean loss of the epoch, or the sum with reduction="sum"
    double *penalties            # (n, epochs), mean penalty of the updates
    double *norms                # (n, epochs), mean norm of the gradients


cdef struct Job:
    # The arguments that run_group and train_group have in common for all groups; the pool passes it to its threads.
    const Plan *p
    Call *c                      # the data
    Call *batch                  # training: one batch
    Call *held                   # training: the validation set, if training.judged is not NULL
    Training *training           # NULL: a single call, not training
    char *base                   # (threads, bytes), a workspace for each thread
    Py_ssize_t bytes


# ---------------------------------------------------------------------------------------------------------------------
# Training: each group makes all its updates independently of the others
# ---------------------------------------------------------------------------------------------------------------------


cdef struct Kept:
    # The state of a group, besides its arrays, for a whole training run.
    void *slot_1                 # (P,)
    void *slot_2                 # (P,)
    void *rates                  # (1,), learning rates of the epoch
    void *going                  # (1,), 1 for lanes that learn, else 0
    void *best_theta             # (P,)
    void *l1                     # (P,), or NULL
    void *l2                     # (P,), or NULL
    double *sums                 # (4, L), sums over the epoch: Σ m e, Σ m, penalties, norms
    double *penalty              # (L,), of the last update
    double *norm                 # (L,), of the last gradient


cdef struct Learning:
    # The arrays of a group in training.
    Group data
    Group batch
    Group held                   # the validation set, if there is one
    Kept kept


cdef Py_ssize_t lay_out_training(const Job *job, const floating *of, char *base, Learning *m) noexcept nogil:
    """Place all arrays of a group in training from `base` on, and return the number of bytes they need.

    These are the arrays of the data, of a batch, of the validation set, and the state of the run. With base = NULL it only
    counts the bytes.
    """
    cdef Py_ssize_t used = 0, size = lane.lanes(kernels, of) * sizeof(floating)
    cdef const Plan *p = job.p
    cdef const Training *t = job.training
    cdef Kept *kept = &m.kept
    used = lay_out(p, job.c, of, base, &m.data)
    used += lay_out(p, job.batch, of, base + used if base != NULL else NULL, &m.batch)
    if t.judged != NULL:
        used += lay_out(p, job.held, of, base + used if base != NULL else NULL, &m.held)
    kept.best_theta = take(base, &used, p.P * size) if t.judged != NULL else NULL
    kept.slot_1 = take(base, &used, p.P * size)
    kept.slot_2 = take(base, &used, p.P * size)
    kept.rates = take(base, &used, size)
    kept.going = take(base, &used, size)
    kept.l1 = take(base, &used, p.P * size) if t.l1 != NULL else NULL
    kept.l2 = take(base, &used, p.P * size) if t.l2 != NULL else NULL
    kept.sums = <double *> take(base, &used, 4 * lane.lanes(kernels, of) * sizeof(double))
    kept.penalty = <double *> take(base, &used, lane.lanes(kernels, of) * sizeof(double))
    kept.norm = <double *> take(base, &used, lane.lanes(kernels, of) * sizeof(double))
    return used


cdef struct Picked:
    # The sequences of a batch, which a group picks from the data.
    Py_ssize_t first, n          # the group's first network, and the number of its networks
    Py_ssize_t epoch, begin      # the batch begins at position `begin` of the epoch's order
    Py_ssize_t B, size           # number of sequences of the data, and of the batch


cdef Py_ssize_t picked_sequence(const Training *t, const Picked *q, Py_ssize_t l, Py_ssize_t b) noexcept nogil:
    """Return the number of the sequence of the data that is sequence b of the batch, for the network in lane l."""
    if t.order == NULL:
        return q.begin + b
    return t.order[((q.first + l if t.own_order else 0) * t.epochs + q.epoch) * q.B + q.begin + b]


cdef void pick(const Training *t, const Picked *q, Py_ssize_t steps, Py_ssize_t width, bint own_source,
               const floating *source, floating *target) noexcept nogil:
    """Copy the sequences of a batch into lanes: source (steps, B, width[, L]) to target (steps, size, width, L).

    `own_source` says whether the source is in lanes. It does nothing if the source is NULL.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, source), s, b, j, l, of
    if source == NULL:
        return
    for l in range(q.n):
        for b in range(q.size):
            of = picked_sequence(t, q, l, b)
            for s in range(steps):
                for j in range(width):
                    if own_source:
                        target[((s * q.size + b) * width + j) * L + l] = source[((s * q.B + of) * width + j) * L + l]
                    else:
                        target[((s * q.size + b) * width + j) * L + l] = source[(s * q.B + of) * width + j]


cdef void weigh(const Plan *p, const Call *c, Group *g, Py_ssize_t n, const floating *of) noexcept nogil:
    """Compute the sum of weights Σ m of a batch, g.weight (L,), and the scale of its error."""
    cdef Py_ssize_t L = lane.lanes(kernels, of), l, i, width = c.weight_width
    cdef floating *scale = <floating *> g.scale
    cdef const floating *weights = <const floating *> g.weights
    cdef double m
    for l in range(L):
        m = c.T * c.B if l < n else 0
        if l < n and width > 0:
            m = 0
            for i in range(c.T * c.B * width):
                m += weights[i * L + l] if c.own_weights else weights[i]
            m /= width
        g.weight[l] = m
        scale[l] = 1
        if p.mean:
            scale[l] = <floating> (1 / m) if m > 0 else 0


cdef void penalize(const Plan *p, const Kept *kept, Py_ssize_t L, const floating *theta, floating *gradient) noexcept nogil:
    """Add the penalties' gradient 2 l2 w + l1 sign(w) to gradient (P, L). Set kept.penalty (L,) to each lane's penalties."""
    cdef Py_ssize_t i, l
    cdef floating l1, l2, w
    memset(kept.penalty, 0, L * sizeof(double))
    for i in range(p.P * L if kept.l1 != NULL or kept.l2 != NULL else 0):
        l1 = (<const floating *> kept.l1)[i] if kept.l1 != NULL else 0
        l2 = (<const floating *> kept.l2)[i] if kept.l2 != NULL else 0
        if l1 != 0 or l2 != 0:
            l, w = i % L, theta[i]
            kept.penalty[l] += <double> l2 * w * w + <double> l1 * fabs(w)
            gradient[i] += 2 * l2 * w + l1 * ((w > 0) - (w < 0))


cdef void clip(const Plan *p, const double *max_norm, Py_ssize_t L, floating *gradient, double *norm) noexcept nogil:
    """Scale each lane's gradient to its max_norm if its Euclidean norm is larger. Write the norms before to norm (L,)."""
    cdef Py_ssize_t i, l
    cdef floating factor[64]
    cdef bint any = False
    memset(norm, 0, L * sizeof(double))
    for i in range(p.P):
        for l in range(L):
            norm[l] += <double> gradient[i * L + l] * gradient[i * L + l]
    for l in range(L):
        norm[l] = sqrt(norm[l])
        factor[l] = 1
        if norm[l] > max_norm[l]:
            factor[l] = <floating> (max_norm[l] / norm[l])
            any = True
    for i in range(p.P if any else 0):
        for l in range(L):
            gradient[i * L + l] *= factor[l]


cdef bint select_going(const Plan *p, Py_ssize_t L, const Group *g, const double *penalty, const double *norm,
                       floating *going) noexcept nogil:
    """Stop the lanes whose loss or gradient is infinite or NaN. Return whether any lane still learns."""
    cdef Py_ssize_t l
    cdef bint any = False
    for l in range(L):
        if not isfinite(g.totals[l] + penalty[l] + norm[l]):
            going[l] = 0
        any = any or going[l] != 0
    return any


cdef void judge(const Job *job, Learning *m, Py_ssize_t first, Py_ssize_t n, Py_ssize_t epoch,
                const floating *theta) noexcept nogil:
    """Compute the validation losses of the lanes that learn. Keep the best parameters. Stop lanes whose patience has ended."""
    cdef const Plan *p = job.p
    cdef const Call *held = job.held
    cdef Training *t = job.training
    cdef Group *v = &m.held
    cdef Py_ssize_t L = lane.lanes(kernels, theta), l, i, k, now = t.begun + epoch
    cdef floating *going = <floating *> m.kept.going
    cdef floating *best_theta = <floating *> m.kept.best_theta
    cdef double loss
    begin(p, held, v, first, n, theta)
    forward(p, held, v, theta)
    error(p, held, v, theta)
    for l in range(n):
        k = first + l
        if going[l] == 0:
            continue
        loss = v.totals[l] * (<const floating *> v.scale)[l]
        t.judged[k * t.epochs + epoch] = loss
        if loss < t.best[k]:
            t.best[k], t.best_epoch[k] = loss, now
            for i in range(p.P if t.patience > 0 else 0):
                best_theta[i * L + l] = theta[i * L + l]
        if loss < t.target[k] - t.min_improvement:
            t.target[k], t.target_epoch[k] = loss, now
        if t.patience > 0 and now - t.target_epoch[k] >= t.patience:
            going[l] = 0


cdef bint any_goes(Py_ssize_t L, const floating *going) noexcept nogil:
    """Return whether any lane still learns."""
    cdef Py_ssize_t l
    for l in range(L):
        if going[l] != 0:
            return True
    return False


cdef void train_group(const Job *job, Py_ssize_t i, char *base, const floating *of) noexcept nogil:
    """Train the networks of group i for job.training.epochs epochs in the workspace `base`.

    It copies theta and the state of the run into lanes, makes the updates of all epochs, and copies the results back. It ends
    early when no lane learns any more.
    """
    cdef const Plan *p = job.p
    cdef Call *data = job.c
    cdef Call *batch = job.batch
    cdef Training *t = job.training
    cdef Learning m
    cdef Group *g = &m.data
    cdef Group *b = &m.batch
    cdef Kept *kept = &m.kept
    cdef Picked picked
    cdef Call c
    cdef UpdateOptions what = t.what
    cdef Py_ssize_t L = lane.lanes(kernels, of), first = i * L, n = min(L, data.n - first), l, epoch, begin_row, count
    cdef floating *theta
    cdef Py_ssize_t batches = (data.B + t.batch_size - 1) // t.batch_size
    cdef floating *rates
    cdef floating *going
    cdef floating was_going[64]
    cdef unsigned long long mode = flush_denormals()
    lay_out_training(job, of, base, &m)
    picked.first, picked.n, picked.B = first, n, data.B
    b.unscale = g.unscale
    theta, rates, going = <floating *> g.theta, <floating *> kept.rates, <floating *> kept.going
    rows_into_lanes(first, L, data.N, p.P, <const floating *> data.theta, theta)
    rows_into_lanes(first, L, data.N, p.P, <const floating *> t.slot_1, <floating *> kept.slot_1)
    if t.slot_2 != NULL:
        rows_into_lanes(first, L, data.N, p.P, <const floating *> t.slot_2, <floating *> kept.slot_2)
    memcpy(kept.going, <const floating *> t.going + first, L * sizeof(floating))
    if t.l1 != NULL:
        rows_into_lanes(first, L, data.N, p.P, <const floating *> t.l1, <floating *> kept.l1)
    if t.l2 != NULL:
        rows_into_lanes(first, L, data.N, p.P, <const floating *> t.l2, <floating *> kept.l2)
    enter(p, data, g, first, n, theta)
    if t.judged != NULL:
        enter(p, job.held, &m.held, first, n, theta)
        rows_into_lanes(first, L, data.N, p.P, <const floating *> t.best_theta, <floating *> kept.best_theta)
    count = t.earlier
    for epoch in range(t.epochs):
        if not any_goes(L, going):
            break
        memcpy(was_going, going, L * sizeof(floating))
        for l in range(L):
            rates[l] = <floating> t.rates[epoch * data.N + first + l]
        memset(kept.sums, 0, 4 * L * sizeof(double))
        begin_row = 0
        while begin_row < data.B:
            c = batch[0]
            c.B = min(t.batch_size, data.B - begin_row)
            if c.B == data.B and t.order == NULL:  # the batch is the whole data set, which is in lanes already
                b.X, b.D, b.weights, b.ends, b.scale, b.weight = g.X, g.D, g.weights, g.ends, g.scale, g.weight
                c.own_X, c.own_D, c.own_weights = data.own_X, data.own_D, data.own_weights
            else:
                picked.epoch, picked.begin, picked.size = epoch, begin_row, c.B
                pick(t, &picked, c.T, p.I, data.own_X, <const floating *> g.X, <floating *> b.X)
                pick(t, &picked, c.T, p.K, data.own_D, <const floating *> g.D, <floating *> b.D)
                pick(t, &picked, c.T, c.weight_width, data.own_weights, <const floating *> g.weights, <floating *> b.weights)
                pick(t, &picked, 1, 1, True, <const floating *> g.ends, <floating *> b.ends)
                weigh(p, &c, b, n, theta)
            begin(p, &c, b, first, n, theta)
            forward(p, &c, b, theta)
            error(p, &c, b, theta)
            backward(p, &c, b, theta)
            penalize(p, kept, L, theta, <floating *> b.gradient)
            clip(p, t.max_norm + first, L, <floating *> b.gradient, kept.norm)
            for l in range(L):
                kept.sums[l] += b.totals[l]
                kept.sums[L + l] += b.weight[l]
                kept.sums[2 * L + l] += kept.penalty[l]
                kept.sums[3 * L + l] += kept.norm[l]
            count += 1
            what.correction_1, what.correction_2 = 1 - what.beta_1**<double> count, 1 - what.beta_2**<double> count
            if select_going(p, L, b, kept.penalty, kept.norm, <floating *> kept.going):
                lane.update(kernels, &what, p.P, <const floating *> kept.rates, <const floating *> kept.going,
                            <const floating *> b.gradient, theta, <floating *> kept.slot_1, <floating *> kept.slot_2)
            begin_row += c.B
        for l in range(n):
            if not p.mean:
                t.losses[(first + l) * t.epochs + epoch] = kept.sums[l]
            elif kept.sums[L + l] > 0:
                t.losses[(first + l) * t.epochs + epoch] = kept.sums[l] / kept.sums[L + l]
            t.penalties[(first + l) * t.epochs + epoch] = kept.sums[2 * L + l] / batches
            t.norms[(first + l) * t.epochs + epoch] = kept.sums[3 * L + l] / batches
            if was_going[l] != 0:
                t.ended[first + l] = epoch + 1 if going[l] != 0 else -1 - epoch
        if t.judged != NULL:
            judge(job, &m, first, n, epoch, theta)
    if t.judged != NULL:
        rows_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.best_theta, <floating *> t.best_theta)
    rows_out_of_lanes(first, L, data.N, p.P, theta, <floating *> data.theta)
    rows_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.slot_1, <floating *> t.slot_1)
    if t.slot_2 != NULL:
        rows_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.slot_2, <floating *> t.slot_2)
    memcpy(<floating *> t.going + first, kept.going, L * sizeof(floating))
    restore(mode)


# ---------------------------------------------------------------------------------------------------------------------
# Jobs: threads divide the groups
# ---------------------------------------------------------------------------------------------------------------------


cdef void run_share(const Job *job, Py_ssize_t i, int worker, const floating *of) noexcept nogil:
    """Run group i of a job, or train it, in the workspace of thread `worker`."""
    if job.training != NULL:
        train_group(job, i, job.base + worker * job.bytes, of)
    else:
        run_group(job.p, job.c, i, job.base + worker * job.bytes, of)


cdef void run_share_f32(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float32 Job, for the pool."""
    run_share(<const Job *> context, i, worker, <const float *> NULL)


cdef void run_share_f64(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float64 Job, for the pool."""
    run_share(<const Job *> context, i, worker, <const double *> NULL)


cdef double nanoseconds_of(const Plan *p, const Call *c, Py_ssize_t groups, Py_ssize_t times, Py_ssize_t size) noexcept nogil:
    """Estimate the time of a call on one thread, within a factor of about two.

    One step of a group, forward and back, takes 15 ns with H = 4 and 40 ns with H = 8. That is 0.5 ns a multiplication plus
    5 ns.
    """
    cdef double multiplications = <double> p.H * (p.I + p.H + p.O)
    return <double> groups * times * c.T * c.B * (5 + 0.5 * multiplications)


cdef int run(Job *job, const floating *of, int threads) except -1:
    """Run all groups of a job by at most `threads` threads, without the GIL. Raise MemoryError if there is no workspace."""
    cdef Py_ssize_t L = lane.lanes(kernels, of), groups = (job.c.n + L - 1) // L, i
    cdef Py_ssize_t times = job.training.epochs if job.training != NULL else 1
    cdef Group g
    cdef Learning m
    cdef char *raw
    threads = <int> max(1, min(threads, groups))
    job.bytes = lay_out_training(job, of, NULL, &m) if job.training != NULL else lay_out(job.p, job.c, of, NULL, &g)
    raw = <char *> PyMem_RawMalloc(job.bytes * threads + 64)
    if raw == NULL:
        raise MemoryError(f"no memory for a workspace of {job.bytes * threads} bytes")
    job.base = raw + (64 - <size_t> raw % 64)
    try:
        with nogil:
            if threads == 1:
                for i in range(groups):
                    run_share(job, i, 0, of)
            else:
                run_shares(run_share_f32 if floating is float else run_share_f64, NULL, job, groups, threads,
                           nanoseconds_of(job.p, job.c, groups, times, sizeof(floating)))
    finally:
        PyMem_RawFree(raw)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# The Python interface
# ---------------------------------------------------------------------------------------------------------------------


def lanes(str dtype):
    """Return how many networks of this dtype one vector holds, or 0 if the kernels of this process have no lanes."""
    return kernels.lanes_f32 if dtype == "float32" else kernels.lanes_f64


cdef void *data_of(array, int type, Py_ssize_t size) except? NULL:
    """Return the memory of an array, or NULL for None. The caller keeps the array alive.

    Raise ValueError unless it is a C-contiguous np.ndarray of NumPy's type number `type` with `size` numbers.
    """
    if array is None:
        return NULL
    if not (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(array) == type and cnp.PyArray_ISCARRAY_RO(array)
            and cnp.PyArray_SIZE(array) == size):
        raise ValueError("an array has another dtype, size or memory layout than this call documents; all are C-contiguous")
    return cnp.PyArray_DATA(array)


cdef double scale_of(Py_ssize_t n, const floating *weights) noexcept nogil:
    """Return the power of two that scales the mean of the normal weights to about 1.

    Return 1 if the mean is far from the limits of the type, so that no scaling is necessary.
    """
    cdef double tiny = FLT_MIN if sizeof(floating) == sizeof(float) else DBL_MIN
    cdef double widest = 1e18 if sizeof(floating) == sizeof(float) else 1e150, total = 0
    cdef Py_ssize_t i, nonzero = 0
    cdef int exponent
    for i in range(n):
        if weights[i] >= tiny:
            total += weights[i]
            nonzero += 1
    if nonzero == 0 or 1 / widest <= total / nonzero <= widest:
        return 1
    frexp(total / nonzero, &exponent)
    return ldexp(1, min(max(-exponent, -1000), 1000))


@cython.final
cdef class Lanes:
    """Run and train the networks of a population, which have one configuration. Parameters are theta (P, N).

    `offsets` has the index in theta at which each parameter begins. `loss_parameter` is Huber's threshold or the levels of
    the quantile loss. `batch` is a Batch of backends/arguments.py, with these differences: X is (T, B, I) or (n, T, B, I),
    D (T, B, K) or (n, T, B, K), weights (n or 1, T, B, width), initial_state (B, H) or (n, B, H), lengths (B,) or (n, B).
    There are no resets. population.py has checked all arguments. See the module's docstring for the layout.
    """

    cdef Plan plan
    cdef int type
    cdef object levels

    def __init__(self, *, str dtype, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O, Py_ssize_t K, str activation,
                 str output_activation, str loss, loss_parameter, bint mean, dict offsets, Py_ssize_t P):
        cdef Plan *p = &self.plan
        self.type = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        memset(p, 0, sizeof(Plan))
        p.I, p.H, p.O, p.K, p.P, p.mean = I, H, O, K, P, mean
        p.activation = _core.ACTIVATIONS[activation]
        p.error.activation, p.error.loss = _core.OUTPUT_ACTIVATIONS[output_activation], _core.LOSSES[loss]
        p.error.O, p.error.K, p.error.scale = O, K, 1
        if loss == "huber":
            p.error.threshold = loss_parameter
        elif loss == "quantile":
            self.levels = cnp.PyArray_ContiguousFromAny(loss_parameter, cnp.NPY_DOUBLE, 1, 1)
            p.error.levels = <const double *> cnp.PyArray_DATA(self.levels)
        p.W_x, p.W_s, p.W_y = offsets["W_x"], offsets["W_s"], offsets["W_y"]
        p.b_s, p.b_y, p.S_0 = offsets.get("b_s", -1), offsets.get("b_y", -1), offsets.get("S_0", -1)

    cdef object take(self, Call *c, Py_ssize_t n, theta, batch):
        """Fill the Call with theta (P, N) and a batch. All of the batch except X may be None.

        The Call points to the arrays that are returned: the caller must keep them as long as the call runs.
        """
        cdef Plan *p = &self.plan
        X, D, weights, initial_state, lengths = batch.X, batch.D, batch.weights, batch.initial_state, batch.lengths
        memset(c, 0, sizeof(Call))
        c.n, c.N = n, cnp.PyArray_DIM(theta, 1)
        c.own_X = cnp.PyArray_NDIM(X) == 4
        c.T, c.B = cnp.PyArray_DIM(X, c.own_X), cnp.PyArray_DIM(X, c.own_X + 1)
        c.theta = data_of(theta, self.type, p.P * c.N)
        c.X = data_of(X, self.type, (n if c.own_X else 1) * c.T * c.B * p.I)
        if D is not None:
            c.own_D = cnp.PyArray_NDIM(D) == 4
            c.D = data_of(D, self.type, (n if c.own_D else 1) * c.T * c.B * p.K)
        if weights is not None:  # (n or 1, T, B, width)
            c.own_weights, c.weight_width = cnp.PyArray_DIM(weights, 0) != 1, <int> cnp.PyArray_DIM(weights, 3)
            c.weights = data_of(weights, self.type, (n if c.own_weights else 1) * c.T * c.B * c.weight_width)
        if initial_state is not None:
            c.own_initial_state = cnp.PyArray_NDIM(initial_state) == 3
            c.initial_state = data_of(initial_state, self.type, (n if c.own_initial_state else 1) * c.B * p.H)
        if lengths is not None:
            c.own_lengths = cnp.PyArray_NDIM(lengths) == 2
            c.lengths = <const Py_ssize_t *> data_of(lengths, cnp.NPY_INTP, (n if c.own_lengths else 1) * c.B)
        return self.scale_weights(c, weights) if weights is not None else None

    cdef object scale_weights(self, Call *c, weights):
        """Scale weights near the limits of their type by a power of two, in a copy, so that sums neither overflow nor vanish.

        Set c.weights and c.unscale. Return the new arrays, which must live as long as the call, or None without scaling.
        `weigh` of the core does the same for one network.
        """
        cdef Py_ssize_t k, sets = cnp.PyArray_DIM(weights, 0), count = c.T * c.B * c.weight_width
        cdef double scale
        scales = None
        for k in range(sets):
            if self.type == cnp.NPY_FLOAT:
                scale = scale_of(count, <const float *> c.weights + k * count)
            else:
                scale = scale_of(count, <const double *> c.weights + k * count)
            if scale != 1 and scales is None:
                scales = [1.0] * sets
            if scales is not None:
                scales[k] = scale
        if scales is None:
            return None
        tiny = FLT_MIN if self.type == cnp.NPY_FLOAT else DBL_MIN
        scaled = weights * (weights >= tiny)  # a subnormal weight counts as 0
        for k in range(sets):
            scaled[k] = scaled[k].astype("float64") * scales[k]
        unscale = cnp.PyArray_ZEROS(1, [c.n], cnp.NPY_DOUBLE, 0)
        for k in range(c.n):
            unscale[k] = 1 / scales[k if sets > 1 else 0]
        c.weights, c.unscale = cnp.PyArray_DATA(scaled), <const double *> cnp.PyArray_DATA(unscale)
        return scaled, unscale

    cdef object fresh(self, tuple shape, void **data):
        """Return a new array of the networks' type, with unset content, and write its address to data[0]."""
        array = cnp.PyArray_EMPTY(len(shape), <cnp.npy_intp *> cnp.PyArray_DATA(cnp.PyArray_ContiguousFromAny(
            shape, cnp.NPY_INTP, 1, 1)), self.type, 0)
        data[0] = cnp.PyArray_DATA(array)
        return array

    cdef int run(self, Call *c, int threads) except -1:
        """Run a call in the networks' type."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.p, job.c = &self.plan, c
        return self.run_job(&job, threads)

    cdef int run_job(self, Job *job, int threads) except -1:
        """Run a job in the networks' type."""
        if self.type == cnp.NPY_FLOAT:
            return run(job, <const float *> NULL, threads)
        return run(job, <const double *> NULL, threads)

    def forward(self, Py_ssize_t n, theta, batch, bint return_states, int threads):
        """Return outputs Y (n, T, B, O), final states (n, B, H) and, if `return_states`, states S (n, T + 1, B, H)."""
        cdef Call c
        self.take(&c, n, theta, batch.replace(D=None, weights=None))
        Y = self.fresh((n, c.T, c.B, self.plan.O), &c.Y)
        final_state = self.fresh((n, c.B, self.plan.H), &c.final_state)
        S = self.fresh((n, c.T + 1, c.B, self.plan.H), &c.S) if return_states else None
        self.run(&c, threads)
        return (Y, final_state, S) if return_states else (Y, final_state)

    def losses(self, Py_ssize_t n, theta, batch, int threads):
        """Return the errors e (n, T, B) of each step and sequence, 0 in padding."""
        cdef Call c
        owners = self.take(&c, n, theta, batch)
        reduced = cnp.PyArray_EMPTY(1, [n], cnp.NPY_DOUBLE, 0)
        c.reduced = <double *> cnp.PyArray_DATA(reduced)
        e = self.fresh((n, c.T, c.B), &c.losses)
        self.run(&c, threads)
        return e

    def loss_and_gradient(self, Py_ssize_t n, theta, batch, bint gradient, int threads):
        """Return the reduced errors (n,), float64, and the gradient (P, N), or None if `gradient` is false."""
        cdef Call c
        owners = self.take(&c, n, theta, batch)
        reduced = cnp.PyArray_EMPTY(1, [n], cnp.NPY_DOUBLE, 0)
        c.reduced = <double *> cnp.PyArray_DATA(reduced)
        flat = self.fresh((self.plan.P, c.N), &c.gradient) if gradient else None
        self.run(&c, threads)
        return reduced, flat

    def train(self, Py_ssize_t n, theta, batch, updates, learners, validation, int threads):
        """Train the networks for some epochs: update theta and slots (P, N) in place.

        Parameters
        ----------
        updates, learners : Updates and Learners of backends/arguments.py
        validation : Validation, or None

        Returns
        -------
        losses, penalties, norms : float64 (n, epochs); norms are those of the gradients
        judged : float64 (n, epochs), the losses on the validation set, or None without one
        """
        cdef Call data, of_batch, held_call
        cdef Training t
        cdef Plan *p = &self.plan
        cdef Job job
        cdef Py_ssize_t batch_size, earlier, epochs
        rule, numbers, slots, rates, max_norm, order, batch_size, earlier, _ = updates
        going, ended, l1, l2 = learners
        epochs = cnp.PyArray_DIM(rates, 0)
        owners = self.take(&data, n, theta, batch)
        if batch.initial_state is not None and batch_size < data.B:
            raise ValueError(f"batch_size must be at least {data.B}, the number of sequences, if initial_state is given, "
                             f"got {batch_size}")
        memset(&t, 0, sizeof(Training))
        t.what.rule, t.what.learning_rate = _core.RULES[rule], 0
        t.what.nesterov, t.what.momentum, t.what.rho = numbers.get("nesterov", False), numbers.get("momentum", 0), numbers.get(
            "rho", 0)
        t.what.beta_1, t.what.beta_2 = numbers.get("beta_1", 0), numbers.get("beta_2", 0)
        t.what.epsilon, t.what.weight_decay = numbers.get("epsilon", 0), numbers.get("weight_decay", 0)
        t.slot_1 = data_of(slots[0], self.type, p.P * data.N)
        t.slot_2 = data_of(slots[1], self.type, p.P * data.N) if len(slots) == 2 else NULL
        t.rates, t.going = <const double *> data_of(rates, cnp.NPY_DOUBLE, epochs * data.N), data_of(going, self.type, data.N)
        t.ended = <Py_ssize_t *> data_of(ended, cnp.NPY_INTP, data.N)
        t.l1, t.l2 = data_of(l1, self.type, p.P * data.N), data_of(l2, self.type, p.P * data.N)
        t.max_norm = <const double *> data_of(max_norm, cnp.NPY_DOUBLE, data.N)
        t.epochs, t.batch_size, t.earlier = epochs, max(1, min(batch_size, data.B)), earlier
        if order is not None:
            t.own_order = cnp.PyArray_DIM(order, 0) != 1
            t.order = <const Py_ssize_t *> data_of(order, cnp.NPY_INTP, (n if t.own_order else 1) * epochs * data.B)
        losses, penalties, norms = [cnp.PyArray_ZEROS(2, [n, epochs], cnp.NPY_DOUBLE, 0) for _ in range(3)]
        t.losses, t.penalties, t.norms = (<double *> cnp.PyArray_DATA(losses), <double *> cnp.PyArray_DATA(penalties),
                                          <double *> cnp.PyArray_DATA(norms))
        judged = None
        if validation is not None:
            held_batch, best, target, best_epoch, target_epoch, best_theta, t.begun, t.patience, t.min_improvement = validation
            held_owners = self.take(&held_call, n, theta, held_batch)
            judged = cnp.PyArray_ZEROS(2, [n, epochs], cnp.NPY_DOUBLE, 0)
            t.judged = <double *> cnp.PyArray_DATA(judged)
            t.best = <double *> data_of(best, cnp.NPY_DOUBLE, data.N)
            t.target = <double *> data_of(target, cnp.NPY_DOUBLE, data.N)
            t.best_epoch = <Py_ssize_t *> data_of(best_epoch, cnp.NPY_INTP, data.N)
            t.target_epoch = <Py_ssize_t *> data_of(target_epoch, cnp.NPY_INTP, data.N)
            t.best_theta = data_of(best_theta, self.type, p.P * data.N)
        of_batch = data
        of_batch.B = t.batch_size
        of_batch.gradient = of_batch.theta  # not NULL: `lay_out` then makes room for a gradient; nothing reads the pointer
        data.bare = True
        if of_batch.B < data.B or order is not None:  # picked sequences go into lanes
            of_batch.own_X = of_batch.own_D = True
            of_batch.own_weights = data.weights != NULL
        job.p, job.c, job.batch, job.held, job.training = p, &data, &of_batch, &held_call, &t
        self.run_job(&job, threads)
        return losses, penalties, norms, judged
