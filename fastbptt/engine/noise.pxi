# Random numbers: noise on states and inputs, and dropout masks.

cdef inline unsigned int number_of(const Call *c, Py_ssize_t b) noexcept nogil:
    """Which sequence to the draws the shard's, or of an arranged call the caller's, sequence b is."""
    return <unsigned int> (c.numbers[c.begin + b] if c.numbers != NULL else c.begin + b)


cdef void add_noise(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places, unsigned int kind, double scale,
                    Py_ssize_t n, floating *A, Py_ssize_t lda) noexcept nogil:
    """A += noise, for the rows of the steps from t on                                                    (rows, n)"""
    cdef Py_ssize_t row, at
    for row in range(rows if scale > 0 else 0):
        at = place(c, t, places, row)
        add_normals(c.noise_key, kind, <unsigned int> (c.first + at // c.B), number_of(c, at % c.B), c.call, scale, n,
                    A + row * lda)


cdef void draw_masks(const Plan *p, const Call *c, const Workspace *w, floating *mask) noexcept nogil:
    """The masks of the sequences of a shard                                                              (rows, H)"""
    cdef Py_ssize_t row
    cdef unsigned int sequence
    memset(mask, 0, c.rows * w.ldh * sizeof(floating))
    for row in range(c.rows):
        sequence = number_of(c, c.order[row] if c.arranged else row)
        draw_mask(c.dropout_key, p.kind, sequence, c.call, 1 - c.dropout, p.H, mask + row * w.ldh)


cdef void drop_out(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end, const floating *source,
                   floating *masked) noexcept nogil:
    """masked[t] = mask * source[t] for the steps t ... end"""
    cdef Py_ssize_t i, n
    cdef const floating *mask = <floating *> w.mask
    for t in range(t, end):
        n = rows_at(c, w, t) * w.ldh
        for i in range(n):
            masked[i] = source[i] * mask[i]
        masked, source = masked + n, source + n
