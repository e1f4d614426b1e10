# The C interface, part 3 of 4: checks of the caller's memory, the memory that calls need, and the stamp that identifies the
# call which filled `saved`. A new check of memory belongs here.


# ---- Memory of the caller


cdef inline Py_ssize_t round_up_64(Py_ssize_t bytes) noexcept nogil:
    """Round a number of bytes up to a multiple of 64, so that the memory behind it is aligned too."""
    return (bytes + 63) // 64 * 64


cdef inline int block_status(const void *at, Py_ssize_t size, Py_ssize_t needed) noexcept nogil:
    """Return STATUS_OK if at has `size` bytes, aligned to 64, and at least `needed`; else what is wrong."""
    if at == NULL:
        return STATUS_NULL
    if <size_t> at % 64:
        return STATUS_MISALIGNED
    return STATUS_MEMORY if size < needed else STATUS_OK


cdef void give(Spans *s, const void *at, double numbers, Py_ssize_t size, bint needed, bint written) noexcept nogil:
    """Add an array of `numbers` numbers of `size` bytes to the memory of the call. Set s.status if it is not usable.

    The array must be aligned. If the call writes it, it may not overlap any array added before, and an array that is only
    read may not overlap one that is written. NULL is an error if the array is `needed`. An array of no numbers is ignored.
    """
    cdef size_t begin = <size_t> at, bytes = <size_t> (numbers * size)  # fits: `countable` has checked the sizes
    cdef int i
    if s.status != STATUS_OK or bytes == 0 or (at == NULL and not needed):
        return
    if at == NULL:
        s.status = STATUS_NULL
    elif begin % size:
        s.status = STATUS_MISALIGNED
    elif begin + bytes < begin:
        s.status = STATUS_TOO_LARGE
    for i in range(s.n):
        if (written or s.spans[i].written) and begin < s.spans[i].end and s.spans[i].begin < begin + bytes:
            s.status = STATUS_OVERLAP
    if s.status == STATUS_OK:
        s.spans[s.n] = Span(begin, begin + bytes, written)
        s.n += 1


cdef void give_block(Spans *s, const void *at, Py_ssize_t size, Py_ssize_t needed) noexcept nogil:
    """Add a block of `needed` bytes that is aligned to 64 and written; `size` is what the caller provides."""
    if s.status == STATUS_OK and needed > 0:
        s.status = block_status(at, size, needed)
        give(s, at, needed, 1, True, True)


# ---- The memory that calls need


cdef Py_ssize_t plan_parameters(const void *plan) noexcept nogil:
    """Return P, the length of theta, or a status below 0."""
    cdef int status = plan_status(plan)
    return (<const Embedded *> plan).plan.P if status == STATUS_OK else status


cdef Py_ssize_t plan_parameter_offset(const void *plan, int parameter) noexcept nogil:
    """Return the index in theta at which PARAMETER_... begins, or a status below 0."""
    cdef int status = plan_status(plan)
    cdef Py_ssize_t[10] begins
    if status != STATUS_OK:
        return status
    if not 0 <= parameter < 10:
        return STATUS_OPTION
    find_parameters(&(<const Embedded *> plan).plan, begins)
    return begins[parameter] if begins[parameter] >= 0 else STATUS_COMBINATION


cdef unsigned long long hash_of(const void *at, Py_ssize_t bytes) noexcept nogil:
    """Return the FNV-1a hash (Fowler, Noll and Vo) of some bytes, taken eight at a time. It is never 0."""
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
    """Return the size of a stamp in bytes, rounded up to a multiple of 64."""
    return round_up_64(sizeof(Stamp))


cdef void make_stamp(const Embedded *e, const EmbeddedBatch *b, Stamp *stamp) noexcept nogil:
    """Write the stamp of a saved area that forward fills with this plan and this batch.

    Targets, weights, penalties and the truncation are not part of it, because forward does not read them.
    """
    cdef const Plan *p = &e.plan
    memset(stamp, 0, sizeof(Stamp))
    stamp.magic, stamp.size, stamp.kernels = SAVED_MAGIC, e.size, e.kernels
    stamp.I, stamp.H, stamp.O = p.I, p.H, p.O
    stamp.cell, stamp.activation, stamp.output_activation, stamp.rank = p.units.form, p.activation, p.error.activation, p.rank
    stamp.bias, stamp.learns_initial_state, stamp.last, stamp.one_hot = e.bias, e.learns_initial_state, p.last, p.one_hot
    stamp.trains_leak, stamp.leak = p.trains_leak, p.units.leak
    if p.leaks != NULL:
        stamp.of_leaks = hash_of(p.leaks, p.H * sizeof(double))
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


cdef inline Py_ssize_t packing_bytes(const Call *c) noexcept nogil:
    """Return the number of bytes in which `pack_sequences` writes how the sequences are sorted by length."""
    return round_up_64(packed_words(c) * sizeof(Py_ssize_t))


cdef Py_ssize_t bytes_needed(const Embedded *e, const Call *c, Shared *shared) noexcept nogil:
    """Return the bytes of scratch of a call that is divided into shards, on one thread, or a status below 0."""
    cdef Py_ssize_t used
    if <double> shards_of(c) * e.plan.effective * e.size > 2.0**62:
        return STATUS_TOO_LARGE
    if e.size == sizeof(float):
        used = lay_out_shared(&e.plan, c, e.kernels, <const float *> NULL, NULL, 1, shared)
    else:
        used = lay_out_shared(&e.plan, c, e.kernels, <const double *> NULL, NULL, 1, shared)
    return used + packing_bytes(c)


cdef void divide(const Embedded *e, Call *c) noexcept nogil:
    """Choose the number of sequences per shard, c.rows, from the shapes."""
    c.rows = rows_of_a_shard(&e.plan, c.steps, c.sequences, e.size, work_of_a_shard(e.size))


cdef Py_ssize_t most_bytes_needed(const Embedded *e, const EmbeddedBatch *b, Call *c, bint of_saved) noexcept nogil:
    """Return the largest need in bytes over all values of weights and resets: of saved if `of_saved`, else of scratch.

    The result is a status below 0 if the number of bytes cannot be counted.
    """
    cdef Py_ssize_t width = c.weight_width, most = 0, needed, shards
    cdef int weighed, packed
    cdef bint sparse = c.sparse
    cdef Shared shared
    count(c)
    divide(e, c)
    shards = shards_of(c)
    for packed in range(c.packed, 2 if b.resets != NULL or c.packed else 1):
        c.packed = packed
        # an upper bound of Σ sequences_of_shard(batch_sizes[t], shards, 0), which `pack_sequences` computes
        c.kept = (c.steps + c.most * (shards - 1)) // shards if shards > 0 else 0
        for weighed in range(3 if width > 0 else 1):  # weights may be all 1 (unused), mixed, or mostly 0 (picked rows)
            c.weight_width, c.sparse = width if weighed > 0 else 0, sparse or weighed > 1
            needed = bytes_needed(e, c, &shared)
            if needed < 0:
                return needed
            most = max(most, shared.shards * shared.saved if of_saved else needed)
    return most


cdef Py_ssize_t saved_bytes(const void *plan, const void *batch) noexcept nogil:
    """Return the size of saved in bytes, or a status below 0."""
    cdef Call c
    cdef Py_ssize_t bytes
    cdef int status = ready_status(<const Embedded *> plan, batch, 0)
    if status == STATUS_OK:
        status = describe(<const Embedded *> plan, <const EmbeddedBatch *> batch, &c)
    if status != STATUS_OK:
        return status
    c.saves = c.external = True
    bytes = most_bytes_needed(<const Embedded *> plan, <const EmbeddedBatch *> batch, &c, True)
    return bytes + stamp_bytes() if bytes >= 0 else bytes


cdef Py_ssize_t scratch_bytes(const void *plan, const void *batch, int operation) noexcept nogil:
    """Return the size of scratch in bytes for an operation FOR_..., or a status below 0."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef const EmbeddedBatch *b = <const EmbeddedBatch *> batch
    cdef Call c
    cdef Py_ssize_t bytes, least = 0
    cdef int status = ready_status(e, b, 0)
    if status == STATUS_OK:
        status = describe(e, b, &c)
    if status != STATUS_OK:
        return status
    if not FOR_FORWARD <= operation <= FOR_LOSS_AND_GRADIENTS:
        return STATUS_OPTION
    if operation == FOR_FORWARD:  # may be called with saved or without it: return the larger need
        least = most_bytes_needed(e, b, &c, False)
        c.saves = c.external = True
    elif operation == FOR_BACKWARD:
        c.saves = c.external = c.has_saved = True
        c.error.K = e.plan.O
    else:
        c.labels, c.weight_width = b.labels, b.weight_width
        c.saves = operation == FOR_LOSS_AND_GRADIENTS
    if operation == FOR_BACKWARD or operation == FOR_LOSS_AND_GRADIENTS:
        c.gradient = &c  # not NULL; nothing reads it
        truncate_to(&c, e.k1, e.k2)
    bytes = most_bytes_needed(e, b, &c, False)
    return max(bytes, least) if bytes >= 0 and least >= 0 else min(bytes, least)


cdef Py_ssize_t step_scratch_bytes(const void *plan, Py_ssize_t B) noexcept nogil:
    """Return the size of scratch in bytes for step with B sequences, or a status below 0."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef EmbeddedBatch b
    cdef Call c
    cdef int status = one_step(e, B, 0, &b)
    if status != STATUS_OK:
        return status
    memset(&c, 0, sizeof(Call))
    c.T, c.B, c.error, c.units = 1, B, e.plan.error, e.plan.units
    return most_bytes_needed(e, &b, &c, False) if countable(&e.plan, &c) else STATUS_TOO_LARGE


cdef struct Room:
    # The caller's memory for a call, and its size in bytes.
    void *saved                  # NULL without it
    Py_ssize_t saved_size
    void *scratch
    Py_ssize_t scratch_size


cdef int check_and_run(const Embedded *e, const EmbeddedBatch *b, Call *c, Spans *s, Room room) noexcept nogil:
    """Check saved and scratch, and run the Call in scratch.

    All arguments are in the Call, and their memory is in s. Nothing but scratch is written before all checks have passed.
    """
    cdef Shared shared
    cdef Stamp stamp
    cdef Py_ssize_t needed, packing
    cdef int never = 0, status
    count(c)
    divide(e, c)
    packing = packing_bytes(c)
    give_block(s, room.scratch, room.scratch_size, packing)
    if s.status != STATUS_OK:
        return s.status
    pack_sequences(c, <Py_ssize_t *> room.scratch)
    needed = bytes_needed(e, c, &shared)
    if needed < 0:
        return <int> needed
    s.n -= packing > 0  # the packing is a part of scratch: replace its span by the whole
    give_block(s, room.scratch, room.scratch_size, needed)
    if c.external:
        c.saved = <char *> room.saved + stamp_bytes()
        give_block(s, room.saved, room.saved_size, stamp_bytes() + shared.shards * shared.saved)
    if s.status != STATUS_OK:
        return s.status
    memset(&stamp, 0, sizeof(Stamp))  # else GCC 12 warns that it is uninitialised, although c.has_saved implies c.external
    if c.external:
        make_stamp(e, b, &stamp)
        if c.has_saved and memcmp(room.saved, &stamp, sizeof(Stamp)) != 0:
            return STATUS_NOT_SAVED
        if not c.has_saved:
            (<Stamp *> room.saved).magic = 0  # invalid until it is complete
    c.stop = <volatile int *> b.stop if b.stop != NULL else &never
    if e.size == sizeof(float):
        status = run(&e.plan, c, e.kernels, <char *> room.scratch + packing, <const float *> c.theta, 1)
    else:
        status = run(&e.plan, c, e.kernels, <char *> room.scratch + packing, <const double *> c.theta, 1)
    if c.external and not c.has_saved and status == DONE:
        memcpy(room.saved, &stamp, sizeof(Stamp))
    return STATUS_OK if status == DONE else STATUS_STOPPED
