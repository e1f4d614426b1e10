# The C interface, part 2 of 4: batches, and how a plan and a batch become a Call. A new setter of a batch belongs here.


cdef Py_ssize_t batch_bytes() noexcept nogil:
    """Return the size of a batch in bytes."""
    return round_up_64(sizeof(EmbeddedBatch))


cdef inline int batch_status(const void *batch, Py_ssize_t size) noexcept nogil:
    """Return STATUS_OK if this is a batch with numbers of `size` bytes (0: of either size), else what is wrong."""
    if batch == NULL:
        return STATUS_NULL
    if <size_t> batch % 64:
        return STATUS_MISALIGNED
    if (<const EmbeddedBatch *> batch).magic != BATCH_MAGIC:
        return STATUS_NOT_A_BATCH
    return STATUS_OK if size == 0 or (<const EmbeddedBatch *> batch).size == size else STATUS_TYPE


cdef inline int array_status(const void *batch, Py_ssize_t of, const void *array, Py_ssize_t size) noexcept nogil:
    """Return STATUS_OK if this is a batch with numbers of `of` bytes, and `array` is aligned to `size` bytes."""
    cdef int status = batch_status(batch, of)
    return STATUS_MISALIGNED if status == STATUS_OK and <size_t> array % size else status


cdef int init_batch(void *batch, Py_ssize_t bytes, Py_ssize_t size, Py_ssize_t T, Py_ssize_t B,
                    const void *X) noexcept nogil:
    """Make a batch of T steps of B sequences with inputs X (T, B, I), of numbers of `size` bytes."""
    cdef EmbeddedBatch *b = <EmbeddedBatch *> batch
    cdef int status = block_status(batch, bytes, batch_bytes())
    if status != STATUS_OK:
        return status
    if min(T, B) < 0 or max(T, B) > INT_MAX:
        return STATUS_SIZE
    if <size_t> X % size:
        return STATUS_MISALIGNED
    memset(b, 0, sizeof(EmbeddedBatch))
    b.magic, b.size, b.T, b.B, b.X = BATCH_MAGIC, size, T, B, X
    return STATUS_OK


cdef int batch_init_f32(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const float *X) noexcept nogil:
    """Make a float32 batch."""
    return init_batch(batch, bytes, sizeof(float), T, B, X)


cdef int batch_init_f64(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const double *X) noexcept nogil:
    """Make a float64 batch."""
    return init_batch(batch, bytes, sizeof(double), T, B, X)


cdef int set_inputs(void *batch, Py_ssize_t size, const void *X) noexcept nogil:
    """Set X (T, B, I), of numbers of `size` bytes; both batch_set_inputs_... call it."""
    cdef int status = array_status(batch, size, X, size)
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).X = X
    return status


cdef int batch_set_inputs_f32(void *batch, const float *X) noexcept nogil:
    """Set the inputs X (T, B, I), float32."""
    return set_inputs(batch, sizeof(float), X)


cdef int batch_set_inputs_f64(void *batch, const double *X) noexcept nogil:
    """Set the inputs X (T, B, I), float64."""
    return set_inputs(batch, sizeof(double), X)


cdef int batch_set_ids(void *batch, const Py_ssize_t *ids) noexcept nogil:
    """Set the category indices ids (T, B)."""
    cdef int status = array_status(batch, 0, ids, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).ids = ids
    return status


cdef int set_initial_state(void *batch, Py_ssize_t size, const void *state) noexcept nogil:
    """Set the initial states (B, H), of numbers of `size` bytes."""
    cdef int status = array_status(batch, size, state, size)
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).initial_state = state
    return status


cdef int batch_set_initial_state_f32(void *batch, const float *state) noexcept nogil:
    """Set the initial states (B, H), float32; NULL removes them."""
    return set_initial_state(batch, sizeof(float), state)


cdef int batch_set_initial_state_f64(void *batch, const double *state) noexcept nogil:
    """Set the initial states (B, H), float64; NULL removes them."""
    return set_initial_state(batch, sizeof(double), state)


cdef int set_targets(void *batch, Py_ssize_t size, const void *D) noexcept nogil:
    """Let the batch point to the targets D (T, B, K), which have numbers of `size` bytes. Return a status code.

    K is the number of targets per step. D is not copied: the caller keeps it while the batch is used.
    """
    cdef int status = array_status(batch, size, D, size)
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).D = D
    return status


cdef int batch_set_targets_f32(void *batch, const float *D) noexcept nogil:
    """Set the targets D (T, B, K), float32; NULL removes them."""
    return set_targets(batch, sizeof(float), D)


cdef int batch_set_targets_f64(void *batch, const double *D) noexcept nogil:
    """Set the targets D (T, B, K), float64; NULL removes them."""
    return set_targets(batch, sizeof(double), D)


cdef int batch_set_labels(void *batch, const Py_ssize_t *labels) noexcept nogil:
    """Set the class labels (T, B); NULL removes them."""
    cdef int status = array_status(batch, 0, labels, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).labels = labels
    return status


cdef int set_weights(void *batch, Py_ssize_t size, const void *weights, Py_ssize_t width) noexcept nogil:
    """Set the weights (T, B, width), of numbers of `size` bytes. NULL removes them."""
    cdef int status = array_status(batch, size, weights, size)
    if status == STATUS_OK and (width < 0 if weights == NULL else width < 1):
        status = STATUS_WEIGHTS
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).weights, (<EmbeddedBatch *> batch).weight_width = weights, width if weights != NULL else 0
    return status


cdef int batch_set_weights_f32(void *batch, const float *m, Py_ssize_t width) noexcept nogil:
    """Set the weights m (T, B) or (T, B, K), float32. `width` is 1 or K."""
    return set_weights(batch, sizeof(float), m, width)


cdef int batch_set_weights_f64(void *batch, const double *m, Py_ssize_t width) noexcept nogil:
    """Set the weights m (T, B) or (T, B, K), float64. `width` is 1 or K."""
    return set_weights(batch, sizeof(double), m, width)


cdef int batch_set_lengths(void *batch, const Py_ssize_t *lengths) noexcept nogil:
    """Set the lengths (B,) of the sequences; NULL removes them."""
    cdef int status = array_status(batch, 0, lengths, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).lengths = lengths
    return status


cdef int batch_set_resets(void *batch, const char *resets) noexcept nogil:
    """Set the resets (T, B) of 0 and 1; NULL removes them."""
    cdef int status = batch_status(batch, 0)
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).resets = resets
    return status


cdef int batch_set_stop(void *batch, const volatile int *stop) noexcept nogil:
    """Set the flag that stops a running call; NULL removes it."""
    cdef int status = array_status(batch, 0, <const void *> stop, sizeof(int))
    if status == STATUS_OK:
        (<EmbeddedBatch *> batch).stop = stop
    return status


# ---- How a plan and a batch become a Call


cdef int ready_status(const Embedded *e, const void *batch, Py_ssize_t size) noexcept nogil:
    """Return STATUS_OK if the plan is ready, and plan and batch have numbers of `size` bytes (0: of the same size)."""
    cdef int status = plan_check(e)
    if status == STATUS_OK and size > 0 and e.size != size:
        status = STATUS_TYPE
    return batch_status(batch, e.size) if status == STATUS_OK else status


cdef int describe(const Embedded *e, const EmbeddedBatch *b, Call *c) noexcept nogil:
    """Fill a new Call with sizes, initial state and lengths, and check them. It does not set what the call computes."""
    cdef const Plan *p = &e.plan
    memset(c, 0, sizeof(Call))
    c.T, c.B, c.error, c.last, c.sparse, c.units = b.T, b.B, p.error, p.last, p.last, p.units
    if not countable(p, c):
        return STATUS_TOO_LARGE
    c.initial_state, c.lengths = b.initial_state, b.lengths
    if c.lengths != NULL and not lengths_in_range(c) or c.last and c.T == 0 and c.B > 0:
        return STATUS_LENGTHS
    return STATUS_OK


cdef int prepare(const Embedded *e, const EmbeddedBatch *b, const void *theta, Call *c, Spans *s) noexcept nogil:
    """Fill the Call with what every operation needs: sizes, theta, inputs, initial state, lengths and resets.

    All memory of the call so far goes into the new Spans s. The values of ids, lengths and resets are checked.
    """
    cdef const Plan *p = &e.plan
    cdef double steps
    cdef Py_ssize_t i
    cdef int status = describe(e, b, c)
    memset(s, 0, sizeof(Spans))
    if status != STATUS_OK:
        return status
    steps = <double> c.T * c.B
    c.theta, c.resets = theta, b.resets
    if p.one_hot:
        c.ids = b.ids
    else:
        c.X = b.X
    give(s, e, sizeof(Embedded), 1, True, False)
    give(s, b, sizeof(EmbeddedBatch), 1, True, False)
    give(s, theta, p.P, e.size, True, False)
    give(s, c.ids, steps, sizeof(Py_ssize_t), p.one_hot, False)
    give(s, c.X, steps * p.I, e.size, not p.one_hot, False)
    give(s, c.initial_state, <double> c.B * p.width, e.size, False, False)
    give(s, c.lengths, c.B, sizeof(Py_ssize_t), False, False)
    give(s, c.resets, steps, 1, False, False)
    give(s, p.leaks, p.H, sizeof(double), False, False)
    give(s, p.error.levels, e.n_levels, sizeof(double), False, False)
    if s.status != STATUS_OK:
        return s.status
    if c.ids != NULL and not ids_in_range(c, p.I):
        return STATUS_IDS
    for i in range(c.T * c.B if c.resets != NULL else 0):
        if c.resets[i] != 0 and c.resets[i] != 1:
            return STATUS_RESETS
    count(c)
    return STATUS_OK


cdef int take_targets(const Embedded *e, const EmbeddedBatch *b, Call *c, Spans *s) noexcept nogil:
    """Put targets, weights and the scale of the reduction into the Call, and their memory into s.

    The weights, and the labels of the rows whose weight is not 0, are checked.
    """
    cdef const Plan *p = &e.plan
    cdef double rows = (1.0 if c.last else <double> c.T) * c.B, total
    cdef bint in_range, classes = p.error.loss == CROSS_ENTROPY
    if b.labels != NULL and (b.D != NULL or not classes):
        return STATUS_COMBINATION
    if b.weights != NULL and b.weight_width != 1 and (classes or b.weight_width != p.error.K):
        return STATUS_WEIGHTS
    c.D, c.labels, c.weights, c.weight_width = b.D, b.labels, b.weights, b.weight_width
    give(s, c.labels, rows, sizeof(Py_ssize_t), False, False)
    give(s, c.D, rows * p.error.K, e.size, c.labels == NULL, False)
    give(s, c.weights, rows * c.weight_width, e.size, False, False)
    if s.status != STATUS_OK:
        return s.status
    if e.size == sizeof(float):
        in_range = c.labels == NULL or labels_in_range(c, p.O, <const float *> c.weights)
        total = prepare_weights(p, c, <const float *> c.weights)
    else:
        in_range = c.labels == NULL or labels_in_range(c, p.O, <const double *> c.weights)
        total = prepare_weights(p, c, <const double *> c.weights)
    if total < 0:
        return STATUS_WEIGHTS
    return STATUS_OK if in_range else STATUS_LABELS


cdef int take_gradients(const Embedded *e, Call *c, Spans *s, void *gradient, void *dX, void *dS_0) noexcept nogil:
    """Put the pointers for the gradients into the Call, and their memory into s. The Call then saves states for backward."""
    cdef const Plan *p = &e.plan
    if dX != NULL and p.one_hot:
        return STATUS_COMBINATION
    c.gradient, c.dX, c.dS_0, c.saves = gradient, dX, dS_0, True
    truncate_to(c, e.k1, e.k2)
    give(s, gradient, p.P, e.size, True, True)
    give(s, dX, <double> c.T * c.B * p.I, e.size, False, True)
    give(s, dS_0, <double> c.B * p.width, e.size, False, True)
    return s.status
