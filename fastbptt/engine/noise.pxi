# Random numbers: noise on states and inputs, and dropout masks.
#
# Each number is a function of key, stream, call, step, sequence and unit (draws.h). So a step that is computed again has the
# same numbers, and results do not depend on shards. Add here what draws numbers for a call. batching.pxi explains row,
# shard, block and packed.

cdef inline unsigned int sequence_number(const Call *c, Py_ssize_t b) noexcept nogil:
    """Return the number that identifies a sequence to the random numbers.

    b counts from the shard's first sequence, or from the batch's first one in a packed call.
    """
    return <unsigned int> (c.numbers[c.begin + b] if c.numbers != NULL else c.begin + b)


cdef void add_noise(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index, unsigned int stream,
                    double scale, const double *scales, Py_ssize_t n, floating *A, Py_ssize_t lda) noexcept nogil:
    """Add scale times standard normal numbers to A (rows, n), the rows of the block that begins with step t.

    `stream` selects the random numbers: INPUT, or the number of the recurrence. Nothing happens if scale is 0. If scales (n,)
    is not NULL, it replaces scale.
    """
    cdef Py_ssize_t row, at
    for row in range(rows if scale > 0 else 0):
        at = place(c, t, row_index, row)
        add_normals(c.noise_key, stream, <unsigned int> (c.first + at // c.B), sequence_number(c, at % c.B), c.call, scale,
                    scales, n, A + row * lda)


cdef void draw_masks(const Plan *p, const Call *c, const Workspace *w, floating *mask) noexcept nogil:
    """Draw the dropout mask (rows, H) of a shard's sequences: one row per sequence, for all its steps."""
    cdef Py_ssize_t row
    cdef unsigned int sequence
    memset(mask, 0, c.rows * w.ldh * sizeof(floating))
    for row in range(c.rows):
        sequence = sequence_number(c, c.order[row] if c.packed else row)
        draw_mask(c.dropout_key, p.stream, sequence, c.call, 1 - c.dropout, p.H, mask + row * w.ldh)


cdef void drop_out(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end, const floating *source,
                   floating *masked) noexcept nogil:
    """Compute masked[t] = mask * source[t] for the steps t ... end, whose rows (rows, H) follow each other."""
    cdef Py_ssize_t i, n
    cdef const floating *mask = <floating *> w.mask
    for t in range(t, end):
        n = rows_at(c, w, t) * w.ldh
        for i in range(n):
            masked[i] = source[i] * mask[i]
        masked, source = masked + n, source + n
