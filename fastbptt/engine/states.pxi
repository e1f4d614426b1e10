# States: the carries of a cell, what it saves, and the public states that users give and receive.
#
# Public states are (.., width): H numbers, or 2 H if the table of cells says BOTH. Inside a shard they are one or two arrays
# (rows, H), the carries. Add here what copies states between these two forms, or asks the table of cells about them; what
# computes a state belongs in cells.pxi.
#
# batching.pxi explains row, block and row index; plan.pxi explains the letters.

cdef inline const CellRow *cell_of(const Call *c) noexcept nogil:
    """Return the row of the call's cell in the table of cells."""
    return &cell_rows[c.units.form]


cdef inline Py_ssize_t saved_numbers(const Call *c) noexcept nogil:
    """Return how many numbers per unit `rates` and `past_rates` hold: those that the cell saves, or the first carry."""
    return max(cell_of(c).saves, 1)


cdef inline bint saves_state(const Call *c) noexcept nogil:
    """Return whether what the cell saves is its public state, the second carry. Then `rates` hold the first carry."""
    return cell_of(c).saves > 0 and cell_of(c).state == SECOND


cdef inline bint derivative_reads_saves(const Call *c) noexcept nogil:
    """Return whether the derivatives read what the cell saves, and not the first carry.

    A trained leak needs the saved state in addition to the rates.
    """
    return cell_of(c).saves > 0 and (reads_input(c.units.activation) or not saves_state(c))


cdef inline floating *saved_rates(const Call *c, const Workspace *w, Py_ssize_t row, floating *A) noexcept nogil:
    """Return what the derivatives read, from row `row` of the saved rows on: what the cell saves, else A, its states."""
    return <floating *> w.saves + row * w.lds if derivative_reads_saves(c) else A


cdef inline Py_ssize_t saved_width(const Call *c, const Workspace *w) noexcept nogil:
    """Return the distance of rows in the array that `saved_rates` returns."""
    return w.lds if derivative_reads_saves(c) else w.ldh


cdef void to_rates(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *A) noexcept nogil:
    """Compute A = g1(A) in place, of shape (rows, H)."""
    cdef ErrorOptions what
    memset(&what, 0, sizeof(ErrorOptions))
    what.activation = c.units.activation
    error(k, &what, rows, <const floating *> NULL, 0, NULL, <const floating *> NULL, 0, A, ldh, <floating *> NULL)


cdef void start_carries(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *S,
                        floating *carry) noexcept nogil:
    """Turn public states S (rows, H) into the carries of the cell, if the public state is the second carry.

    S becomes the first, `carry` the second. `carry` may be NULL if only the first carry is needed.
    """
    if cell_of(c).state == SECOND:
        if carry != NULL:
            memcpy(carry, S, rows * ldh * sizeof(floating))
        to_rates(c, k, rows, ldh, S)


cdef void own_states(const Plan *p, const Call *c, const Kernels *k, const floating *theta, Py_ssize_t rows, Py_ssize_t ldh,
                     floating *S, floating *carry) noexcept nogil:
    """Write the network's own initial state to the carries (rows, H): S_0 in every row, or zeros if it has no S_0."""
    if p.S_0 >= 0:
        gather_states(p, c, k, rows, theta + p.S_0, 0, NULL, ldh, S, carry)
        return
    memset(S, 0, rows * ldh * sizeof(floating))
    if cell_of(c).carries > 1:
        memset(carry, 0, rows * ldh * sizeof(floating))
    start_carries(c, k, rows, ldh, S, carry)


cdef void first_states(const Plan *p, const Call *c, const Kernels *k, const floating *theta, Py_ssize_t ldh, floating *S,
                       floating *carry) noexcept nogil:
    """Write the states before the first step to the carries (rows, H): those of the call, else the network's own."""
    if c.initial_state != NULL:
        gather_states(p, c, k, c.rows, <const floating *> c.initial_state, p.width, c.order, ldh, S, carry)
    else:
        own_states(p, c, k, theta, c.rows, ldh, S, carry)


cdef void gather_states(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t rows, const floating *source,
                        Py_ssize_t stride, const Py_ssize_t *index, Py_ssize_t ldh, floating *S,
                        floating *carry) noexcept nogil:
    """Copy public states to the carries S and `carry`, both (rows, H). carry may be NULL if only the first is needed.

    Row i is at source + stride * index[i], or source + stride * i if index is NULL.
    """
    gather(k, 1, rows, p.H, source, 0, stride, index, S, ldh)
    if cell_of(c).state == BOTH_CARRIES and carry != NULL:
        gather(k, 1, rows, p.H, source + p.H, 0, stride, index, carry, ldh)
    start_carries(c, k, rows, ldh, S, carry)


cdef void read_states(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows,
                      const Py_ssize_t *row_index, const floating *source, Py_ssize_t ldh, floating *S,
                      floating *carry) noexcept nogil:
    """Copy public states (T, B, width) of a block that begins with step t to the carries, as `gather_states` does."""
    read_part(c, k, t, rows, row_index, p.H, p.width, source, S, ldh)
    if cell_of(c).state == BOTH_CARRIES and carry != NULL:
        read_part(c, k, t, rows, row_index, p.H, p.width, source + p.H, carry, ldh)
    start_carries(c, k, rows, ldh, S, carry)


cdef void scatter_states(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t rows, const floating *S,
                         const floating *carry, Py_ssize_t ldh, floating *target, const Py_ssize_t *index) noexcept nogil:
    """Copy the carries (rows, H) to public states, target (.., width). index (rows,) may be NULL."""
    scatter(k, 1, rows, p.H, carry if cell_of(c).state == SECOND else S, ldh, target, 0, p.width, index)
    if cell_of(c).state == BOTH_CARRIES:
        scatter(k, 1, rows, p.H, carry, ldh, target + p.H, 0, p.width, index)


cdef void write_states(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows,
                       const Py_ssize_t *row_index, const floating *S, const floating *carry, Py_ssize_t ldh,
                       floating *target) noexcept nogil:
    """Copy the carries of a block that begins with step t to public states, target (T, B, width)."""
    write_part(c, k, t, rows, row_index, p.H, p.width, carry if cell_of(c).state == SECOND else S, ldh, target)
    if cell_of(c).state == BOTH_CARRIES:
        write_part(c, k, t, rows, row_index, p.H, p.width, carry, ldh, target + p.H)


cdef void write_saves(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows,
                      const Py_ssize_t *row_index, const floating *saves, Py_ssize_t lds, floating *target) noexcept nogil:
    """Copy what the cell saves, (rows, saves H), to target (T, B, saves H) for a block that begins with step t.

    In `target` the gates come first, in the order of their weights, then what else is saved.
    """
    cdef Py_ssize_t i, n = cell_of(c).saves, ldh = lds // n
    for i in range(n):
        write_part(c, k, t, rows, row_index, p.H, n * p.H, saves + (slot_of(p, i) if i < p.gates else i) * ldh, lds,
                   target + i * p.H)


cdef void read_saves(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows,
                     const Py_ssize_t *row_index, const floating *source, floating *saves, Py_ssize_t lds) noexcept nogil:
    """Do the reverse of `write_saves`. `gather` would not do: it writes zeros up to the next row."""
    cdef Py_ssize_t i, row, at, n = cell_of(c).saves, ldh = lds // n
    memset(saves, 0, rows * lds * sizeof(floating))
    for row in range(rows):
        at = row_index[row] if row_index != NULL else (t + row // c.rows) * c.B + row % c.rows
        for i in range(n):
            memcpy(saves + row * lds + (slot_of(p, i) if i < p.gates else i) * ldh, source + (at * n + i) * p.H,
                   p.H * sizeof(floating))
