# Learning: the structs of a training run, the memory of a group in training, and the steps of one update.
#
# Add a penalty, a rule for gradients, or a rule that stops a network here. training.pxi calls these steps in order.

cdef struct Training:
    # The options and the state of a training run.
    UpdateOptions update         # without the learning rate: each network has its own
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


cdef struct RunState:
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
    RunState kept


cdef Py_ssize_t lay_out_training(const Job *job, const floating *dtype, char *base, Learning *m) noexcept nogil:
    """Place all arrays of a group in training from `base` on, set the pointers in `m`, and return the bytes they need.

    These are the arrays of the data, of a batch, of the validation set, and the state of the run. With base = NULL it only
    counts the bytes. `dtype` selects the type and is not read.
    """
    cdef Py_ssize_t used = 0, size = lane.lanes(kernels, dtype) * sizeof(floating)
    cdef const Plan *p = job.p
    cdef const Training *t = job.training
    cdef RunState *kept = &m.kept
    used = lay_out(p, job.c, dtype, base, &m.data)
    used += lay_out(p, job.batch, dtype, base + used if base != NULL else NULL, &m.batch)
    if t.judged != NULL:
        used += lay_out(p, job.held, dtype, base + used if base != NULL else NULL, &m.held)
    kept.best_theta = take_bytes(base, &used, p.P * size) if t.judged != NULL else NULL
    kept.slot_1 = take_bytes(base, &used, p.P * size)
    kept.slot_2 = take_bytes(base, &used, p.P * size)
    kept.rates = take_bytes(base, &used, size)
    kept.going = take_bytes(base, &used, size)
    kept.l1 = take_bytes(base, &used, p.P * size) if t.l1 != NULL else NULL
    kept.l2 = take_bytes(base, &used, p.P * size) if t.l2 != NULL else NULL
    kept.sums = <double *> take_bytes(base, &used, 4 * lane.lanes(kernels, dtype) * sizeof(double))
    kept.penalty = <double *> take_bytes(base, &used, lane.lanes(kernels, dtype) * sizeof(double))
    kept.norm = <double *> take_bytes(base, &used, lane.lanes(kernels, dtype) * sizeof(double))
    return used


cdef struct BatchPosition:
    # Where a batch of a group lies in the data: the sequences that copy_batch copies.
    Py_ssize_t first, n          # the group's first network, and the number of its networks
    Py_ssize_t epoch, begin      # the batch begins at position `begin` of the epoch's order
    Py_ssize_t B, size           # number of sequences of the data, and of the batch


cdef Py_ssize_t batch_sequence(const Training *t, const BatchPosition *q, Py_ssize_t l, Py_ssize_t b) noexcept nogil:
    """Return the index in the data of sequence b of the batch at `q`, for the network in lane l, by the orders of `t`."""
    if t.order == NULL:
        return q.begin + b
    return t.order[((q.first + l if t.own_order else 0) * t.epochs + q.epoch) * q.B + q.begin + b]


cdef void copy_batch(const Training *t, const BatchPosition *q, Py_ssize_t steps, Py_ssize_t width, bint own_source,
                     const floating *source, floating *target) noexcept nogil:
    """Copy the sequences of the batch at `q`, in the order of `t`, into lanes.

    source is (steps, B, width[, L]), and target (steps, size, width, L). `own_source` says whether the source is in lanes.
    The function does nothing if the source is NULL.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, source), s, b, j, l, sequence
    if source == NULL:
        return
    for l in range(q.n):
        for b in range(q.size):
            sequence = batch_sequence(t, q, l, b)
            for s in range(steps):
                for j in range(width):
                    if own_source:
                        target[((s * q.size + b) * width + j) * L + l] = source[((s * q.B + sequence) * width + j) * L + l]
                    else:
                        target[((s * q.size + b) * width + j) * L + l] = source[(s * q.B + sequence) * width + j]


cdef void penalize(const Plan *p, const RunState *kept, Py_ssize_t L, const floating *theta, floating *gradient) noexcept nogil:
    """Add the penalties' gradient 2 l2 w + l1 sign(w) to gradient (P, L), and set kept.penalty (L,) to each lane's penalty."""
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


cdef bint stop_nonfinite_lanes(const Plan *p, Py_ssize_t L, const Group *g, const double *penalty, const double *norm,
                               floating *going) noexcept nogil:
    """Set going to 0 for lanes whose loss (in g), penalty or gradient is infinite or NaN.

    Return whether any lane still learns.

    `norm` (L,) is the gradient's norm, which is not finite if any of its numbers is not.
    """
    cdef Py_ssize_t l
    cdef bint any = False
    for l in range(L):
        if not isfinite(g.totals[l] + penalty[l] + norm[l]):
            going[l] = 0
        any = any or going[l] != 0
    return any


cdef void validate_lanes(const Job *job, Learning *m, Py_ssize_t first, Py_ssize_t n, Py_ssize_t epoch,
                         const floating *theta) noexcept nogil:
    """Compute the validation losses of the lanes that learn, after `epoch` epochs of this call.

    The lanes are networks first ... first + n - 1, and `m` has their arrays. Keep the best parameters, in lanes, and set
    `going` to 0 for lanes whose patience has ended. `theta` (P, L) has the parameters.
    """
    cdef const Plan *p = job.p
    cdef const Call *held = job.held
    cdef Training *t = job.training
    cdef Group *v = &m.held
    cdef Py_ssize_t L = lane.lanes(kernels, theta), l, i, k, now = t.begun + epoch
    cdef floating *going = <floating *> m.kept.going
    cdef floating *best_theta = <floating *> m.kept.best_theta
    cdef double loss
    set_initial_states(p, held, v, first, n, theta)
    forward(p, held, v, theta)
    compute_errors(p, held, v, theta)
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


cdef bint any_lane_learns(Py_ssize_t L, const floating *going) noexcept nogil:
    """Return whether any of the L lanes still learns (`going` is not 0)."""
    cdef Py_ssize_t l
    for l in range(L):
        if going[l] != 0:
            return True
    return False
