# Rows in and out: packed weights, copies between the caller's arrays and the workspace, and rows that have an error.
#
# Add here a function that moves numbers without computing with them. batching.pxi explains row, block, packed and row index;
# plan.pxi explains the letters. `row_index` is NULL if the rows stand in the caller's order.

cdef void pack_weights(const Plan *p, const Call *c, const Kernels *k, Shared *shared, const floating *theta) noexcept nogil:
    """Pack the weight matrices of theta (P,) for forward (P = W.T) and backward (Q = W), if the call reads them.

    Packed matrices lie in panels, as the kernels read them, and are shared by all shards.
    """
    cdef Py_ssize_t I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = padded(k, I, theta), ldh = padded(k, H, theta), ldo = padded(k, O, theta)
    cdef floating *P_x = <floating *> shared.P_x
    # P = W.T
    if p.recurs:
        if p.one_hot:
            make_input_table(p, theta, P_x, ldh)
        else:
            pack(k, I, H, theta + p.W_x, 1, I, P_x, ldh)
        if c.most > 1 or not from_zero(p, c):
            pack(k, H, H, theta + p.W_s, 1, H, <floating *> shared.P_s, ldh)
    if p.reads:
        pack(k, H, O, theta + p.W_y, 1, H, <floating *> shared.P_y, ldo)
    # Q = W
    if c.saves and p.recurs and (c.most > 1 or to_first_state(p, c) or c.omega != 0):
        pack(k, H, H, theta + p.W_s, H, 1, <floating *> shared.Q_s, ldh)
    if p.reads and (c.saves or c.dX != NULL):
        pack(k, O, H, theta + p.W_y, H, 1, <floating *> shared.Q_y, ldh)
    if c.dX != NULL and p.recurs:
        pack(k, H, I, theta + p.W_x, I, 1, <floating *> shared.Q_x, ldi)


cdef void pull_back_terms(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """Apply `pull_back`, the vjp of the parametrizations, to each step's terms of ∂E/∂W_s and ∂E/∂W_x, and to ∂E/∂W_y.

    Afterwards the terms are those with respect to theta (P,).
    """
    cdef Py_ssize_t i, I = p.I, H = p.H
    for i in range(c.T):
        if stopped(c):
            return
        pull_back(H * H, p.maps + p.W_s, theta + p.W_s, <floating *> c.terms_W_s + i * H * H)
        pull_back(H * I, p.maps + p.W_x, theta + p.W_x, <floating *> c.terms_W_x + i * H * I)
    pull_back(p.O * H, p.maps + p.W_y, theta + p.W_y, <floating *> c.terms_W_y)


cdef void make_input_table(const Plan *p, const floating *theta, floating *table, Py_ssize_t ldh) noexcept nogil:
    """Compute table[id] = W_x[:, id] + b_s, of shape (I, H).

    The table lies row by row, because a packed matrix lies in panels and a token id needs one row.
    """
    cdef Py_ssize_t i, h
    memset(table, 0, p.I * ldh * sizeof(floating))
    for i in range(p.I):
        for h in range(p.H):
            table[i * ldh + h] = theta[p.W_x + h * p.I + i] + (theta[p.b_s + h] if p.b_s >= 0 else 0)


# ---- Copies between blocks and the caller's arrays


cdef inline void read(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                      Py_ssize_t width, const floating *source, floating *A, Py_ssize_t lda) noexcept nogil:
    """Copy the rows of a block that begins with step t from source (T, B, width) to A (rows, width)."""
    if row_index != NULL:
        gather(k, 1, rows, width, source, 0, width, row_index, A, lda)
    elif c.rows == c.B:
        gather(k, 1, rows, width, source + t * c.B * width, 0, width, NULL, A, lda)
    else:
        gather(k, rows // c.rows, c.rows, width, source + t * c.B * width, c.B * width, width, NULL, A, lda)


cdef inline void write(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                       Py_ssize_t width, const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    """Copy the rows A (rows, width) of a block that begins with step t to target (T, B, width)."""
    if row_index != NULL:
        scatter(k, 1, rows, width, A, lda, target, 0, width, row_index)
    elif c.rows == c.B:
        scatter(k, 1, rows, width, A, lda, target + t * c.B * width, 0, width, NULL)
    else:
        scatter(k, rows // c.rows, c.rows, width, A, lda, target + t * c.B * width, c.B * width, width, NULL)


cdef void multiply(Py_ssize_t n, double factor, floating *x) noexcept nogil:
    """Compute x *= factor for n numbers. The factor is a double: it may be out of the range of x's type."""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = <floating> (factor * x[i])


cdef void look_up(const Call *c, Py_ssize_t rows, const Py_ssize_t *row_index, const floating *table, Py_ssize_t ldh,
                  floating *A) noexcept nogil:
    """Copy the table's rows of some token ids: A = table[ids], of shape (rows, H)."""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(A + i * ldh, table + c.ids[row_index[i]] * ldh, ldh * sizeof(floating))


cdef void add_by_id(const Call *c, Py_ssize_t rows, const Py_ssize_t *row_index, const floating *delta, Py_ssize_t ldh,
                    floating *table) noexcept nogil:
    """Compute table[ids] += delta, where delta is (rows, H) and table (I, H)."""
    cdef Py_ssize_t i, h
    cdef floating *row
    for i in range(rows):
        row = table + c.ids[row_index[i]] * ldh
        for h in range(ldh):
            row[h] += delta[i * ldh + h]


cdef Py_ssize_t find_error_rows(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end,
                                const floating *weights) noexcept nogil:
    """Find the rows of the steps t ... end that have an error, and return their number n.

    Writes their positions in the block to w.error_rows (n,), and those in the caller's targets to w.error_index (n,).
    A row has an error if its weight is not 0. If outputs exist only at the last steps, it must also be its sequence's last
    step.
    """
    cdef Py_ssize_t row, j, place, n = 0, i = 0
    cdef bint has_error
    for t in range(t, end):
        for row in range(rows_at(c, w, t)):
            place = c.order[row] if c.packed else row
            has_error = row >= rows_at(c, w, t + 1) if c.packed else t == c.most - 1
            if not c.last:
                place, has_error = t * c.B + place, True
            if has_error and c.weight_width > 0:
                has_error = False
                for j in range(c.weight_width):
                    has_error = has_error or weights[place * c.weight_width + j] != 0
            if has_error:
                w.error_rows[n], w.error_index[n] = i, place
                n += 1
            i += 1
    return n
