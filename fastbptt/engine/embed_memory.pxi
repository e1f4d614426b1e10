# The C interface: bytes that calls need, and the stamps that say what `saved` belongs to.


cdef unsigned long long hash_of(const void *at, Py_ssize_t bytes) noexcept nogil:
    """FNV-1a of these bytes (Fowler, Noll and Vo), eight at a time; the hash of the first is never 0."""
    cdef const unsigned char *byte = <const unsigned char *> at
    cdef unsigned long long hash = 0xCBF29CE484222325ULL, word
    cdef Py_ssize_t i
    for i in range(0, bytes, 8):
        word = 0
        memcpy(&word, byte + i, min(8, bytes - i))
        hash = (hash ^ word) * 0x100000001B3ULL
        hash ^= hash >> 32
    return hash | 1


cdef inline Py_ssize_t stamp_bytes() noexcept nogil:
    return whole(sizeof(Stamp))


cdef void make_stamp(const Embedded *e, const Batch *b, Stamp *stamp) noexcept nogil:
    """What a saved area of this plan and this batch begins with.

    Targets, weights, penalties and the truncation are not in it: forward does not read them.
    """
    cdef const Plan *p = &e.plan
    memset(stamp, 0, sizeof(Stamp))
    stamp.magic, stamp.size, stamp.kernels = SAVED_MAGIC, e.size, e.kernels
    stamp.I, stamp.H, stamp.O = p.I, p.H, p.O
    stamp.activation, stamp.output_activation = p.activation, p.error.activation
    stamp.bias, stamp.learns_initial_state, stamp.last, stamp.one_hot = e.bias, e.learns_initial_state, p.last, p.one_hot
    stamp.T, stamp.B, stamp.initial_state = b.T, b.B, b.initial_state
    stamp.lengths, stamp.resets = b.lengths, b.resets
    if p.one_hot:
        stamp.ids = b.ids
    else:
        stamp.X = b.X
    if b.lengths != NULL:
        stamp.of_lengths = hash_of(b.lengths, b.B * sizeof(Py_ssize_t))
    if b.resets != NULL:
        stamp.of_resets = hash_of(b.resets, b.T * b.B)


cdef inline Py_ssize_t arrangement_bytes(const Call *c) noexcept nogil:
    return whole(packed_words(c) * sizeof(Py_ssize_t))


cdef Py_ssize_t needs(const Embedded *e, const Call *c, Shared *shared) noexcept nogil:
    """The bytes of one thread's call, divided into shards, and of its arrangement; or a status."""
    cdef Py_ssize_t used
    if <double> shards_of(c) * e.plan.P * e.size > 2.0**62:
        return STATUS_TOO_LARGE
    if e.size == sizeof(float):
        used = lay_out_shared(&e.plan, c, e.kernels, <const float *> NULL, NULL, 1, shared)
    else:
        used = lay_out_shared(&e.plan, c, e.kernels, <const double *> NULL, NULL, 1, shared)
    return used + arrangement_bytes(c)


cdef void divide(const Embedded *e, Call *c) noexcept nogil:
    c.rows = rows_of_a_shard(&e.plan, c.steps, c.sequences, e.size, work_of_a_shard(e.size))


cdef Py_ssize_t most_needs(const Embedded *e, const Batch *b, Call *c, bint of_saved) noexcept nogil:
    """The most that the call needs whatever the weights and resets are, in scratch or of_saved; or a status."""
    cdef Py_ssize_t width = c.weight_width, most = 0, needed, shards
    cdef int weighed, packed
    cdef bint sparse = c.sparse
    cdef Shared shared
    count(c)
    divide(e, c)
    shards = shards_of(c)
    for packed in range(c.packed, 2 if b.resets != NULL or c.packed else 1):
        c.packed = packed
        # Σ sequences_of_shard(batch_sizes[t], shards, 0), at most
        c.kept = (c.steps + c.most * (shards - 1)) // shards if shards > 0 else 0
        for weighed in range(3 if width > 0 else 1):  # they may be all 1, or most of them 0
            c.weight_width, c.sparse = width if weighed > 0 else 0, sparse or weighed > 1
            needed = needs(e, c, &shared)
            if needed < 0:
                return needed
            most = max(most, shared.shards * shared.saved if of_saved else needed)
    return most


cdef Py_ssize_t saved_bytes(const void *plan, const void *batch) noexcept nogil:
    cdef Call c
    cdef Py_ssize_t bytes
    cdef int status = ready_status(<const Embedded *> plan, batch, 0)
    if status == STATUS_OK:
        status = describe(<const Embedded *> plan, <const Batch *> batch, &c)
    if status != STATUS_OK:
        return status
    c.saves = c.external = True
    bytes = most_needs(<const Embedded *> plan, <const Batch *> batch, &c, True)
    return bytes + stamp_bytes() if bytes >= 0 else bytes


cdef Py_ssize_t scratch_bytes(const void *plan, const void *batch, int operation) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef const Batch *b = <const Batch *> batch
    cdef Call c
    cdef Py_ssize_t bytes, least = 0
    cdef int status = ready_status(e, b, 0)
    if status == STATUS_OK:
        status = describe(e, b, &c)
    if status != STATUS_OK:
        return status
    if not FOR_FORWARD <= operation <= FOR_LOSS_AND_GRADIENTS:
        return STATUS_OPTION
    if operation == FOR_FORWARD:  # with saved and without it
        least = most_needs(e, b, &c, False)
        c.saves = c.external = True
    elif operation == FOR_BACKWARD:
        c.saves = c.external = c.has_saved = True
        c.error.K = e.plan.O
    else:
        c.labels, c.weight_width = b.labels, b.weight_width
        c.saves = operation == FOR_LOSS_AND_GRADIENTS
    if operation == FOR_BACKWARD or operation == FOR_LOSS_AND_GRADIENTS:
        c.gradient = &c  # not read
        truncate_to(&c, e.k1, e.k2)
    bytes = most_needs(e, b, &c, False)
    return max(bytes, least) if bytes >= 0 and least >= 0 else min(bytes, least)


cdef Py_ssize_t step_scratch_bytes(const void *plan, Py_ssize_t B) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Batch b
    cdef Call c
    cdef int status = one_step(e, B, 0, &b)
    if status != STATUS_OK:
        return status
    memset(&c, 0, sizeof(Call))
    c.T, c.B, c.error = 1, B, e.plan.error
    return most_needs(e, &b, &c, False) if countable(&e.plan, &c) else STATUS_TOO_LARGE


cdef int finish(const Embedded *e, const Batch *b, Call *c, Spans *s, void *saved, Py_ssize_t saved_size, void *scratch,
                Py_ssize_t scratch_size) noexcept nogil:
    """Run a call whose arguments are in it, in scratch, once all memory is known to be there."""
    cdef Shared shared
    cdef Stamp stamp
    cdef Py_ssize_t needed, packing
    cdef int never = 0, status
    count(c)
    divide(e, c)
    packing = arrangement_bytes(c)
    give_block(s, scratch, scratch_size, packing)
    if s.status != STATUS_OK:
        return s.status
    pack_sequences(c, <Py_ssize_t *> scratch)
    needed = needs(e, c, &shared)
    if needed < 0:
        return <int> needed
    s.n -= packing > 0  # of which that was a part
    give_block(s, scratch, scratch_size, needed)
    if c.external:
        c.saved = <char *> saved + stamp_bytes()
        give_block(s, saved, saved_size, stamp_bytes() + shared.shards * shared.saved)
    if s.status != STATUS_OK:
        return s.status
    memset(&stamp, 0, sizeof(Stamp))  # GCC 12 warns of an uninitialised one, although c.has_saved implies c.external
    if c.external:
        make_stamp(e, b, &stamp)
        if c.has_saved and memcmp(saved, &stamp, sizeof(Stamp)) != 0:
            return STATUS_NOT_SAVED
        if not c.has_saved:
            (<Stamp *> saved).magic = 0  # until all of it is there
    c.stop = <volatile int *> b.stop if b.stop != NULL else &never
    if e.size == sizeof(float):
        status = run(&e.plan, c, e.kernels, <char *> scratch + packing, <const float *> c.theta, 1)
    else:
        status = run(&e.plan, c, e.kernels, <char *> scratch + packing, <const double *> c.theta, 1)
    if c.external and not c.has_saved and status == DONE:
        memcpy(saved, &stamp, sizeof(Stamp))
    return STATUS_OK if status == DONE else STATUS_STOPPED
