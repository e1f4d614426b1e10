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
        elif p.gates > 1:
            by_slots(p, ldh, I, theta + p.W_x, True, <floating *> shared.by_slots)
            pack(k, I, p.gates * ldh, <floating *> shared.by_slots, 1, I, P_x, p.gates * ldh)
        else:
            pack(k, I, H, theta + p.W_x, 1, I, P_x, ldh)
        if p.gates > 1:
            pack_gates(p, k, shared, theta, ldh)
        elif factored(p):
            pack_factors(p, k, shared, theta)
        elif c.most > 1 or not from_zero(p, c):
            pack(k, H, H, theta + p.W_s, 1, H, <floating *> shared.P_s, ldh)
    if p.reads:
        pack(k, H, O, theta + p.W_y, 1, H, <floating *> shared.P_y, ldo)
    # Q = W. A GATED product needs it at every step, because the gradient of the first gate passes W_s.
    if c.saves and p.recurs and not shared.factored and (
            c.most > 1 or to_first_state(p, c) or c.omega != 0 or cell_of(c).product == GATED):
        pack_back(p, k, theta, ldh, <floating *> shared.Q_s)
    if p.reads and (c.saves or c.dX != NULL):
        pack(k, O, H, theta + p.W_y, H, 1, <floating *> shared.Q_y, ldh)
    if c.dX != NULL and p.recurs and p.gates > 1:
        by_slots(p, ldh, I, theta + p.W_x, True, <floating *> shared.by_slots)
        pack(k, p.gates * ldh, I, <floating *> shared.by_slots, I, 1, <floating *> shared.Q_x, ldi)
    elif c.dX != NULL and p.recurs:
        pack(k, H, I, theta + p.W_x, I, 1, <floating *> shared.Q_x, ldi)


cdef void by_slots(const Plan *p, Py_ssize_t ldh, Py_ssize_t width, const floating *W, bint of_inputs,
                   floating *slots) noexcept nogil:
    """Copy W (gates H, width) to slots (gates ldh, width), one block of rows for each gate, padded with zeros.

    The blocks of W_x and b_s have the order of their slots in delta (`slot_of`), those of W_s the order of the gates.
    """
    cdef Py_ssize_t g, at, size = p.H * width
    memset(slots, 0, p.gates * ldh * width * sizeof(floating))
    for g in range(p.gates):
        at = (slot_of(p, g) if of_inputs else g) * ldh * width
        memcpy(slots + at, W + g * size, size * sizeof(floating))


cdef void pack_gates(const Plan *p, const Kernels *k, Shared *shared, const floating *theta, Py_ssize_t ldh) noexcept nogil:
    """Pack W_s of a cell of several gates for forward, and copy its biases block by block.

    A GATED product has another factor than the others, so its rows are packed by themselves, after the others.
    """
    cdef Py_ssize_t H = p.H, G = p.gates, others = G - 1 if cell_rows[p.units.form].product == GATED else G
    cdef floating *slots = <floating *> shared.by_slots
    cdef floating *P_s = <floating *> shared.P_s
    by_slots(p, ldh, H, theta + p.W_s, False, slots)
    pack(k, H, others * ldh, slots, 1, H, P_s, others * ldh)
    if others < G:
        pack(k, H, ldh, slots + others * ldh * H, 1, H, P_s + others * ldh * H, ldh)
    memset(shared.biases, 0, G * ldh * sizeof(floating))
    memset(shared.b_n, 0, ldh * sizeof(floating))
    if p.b_s >= 0:
        by_slots(p, ldh, 1, theta + p.b_s, True, <floating *> shared.biases)
    if p.b_n >= 0:
        memcpy(shared.b_n, theta + p.b_n, H * sizeof(floating))


cdef void pack_back(const Plan *p, const Kernels *k, const floating *theta, Py_ssize_t ldh, floating *Q_s) noexcept nogil:
    """Pack W_s (gates H, H) for backward: all gates as one matrix if delta has no padding between them, else one by one.

    A GATED product is packed by itself in both cases. `gates_back` (kernels.h) reads the same order.
    """
    cdef Py_ssize_t H = p.H, g = 0, n
    while g < p.gates:
        n = 1 if H < ldh else p.gates - g
        if n > 1 and g == 0 and cell_rows[p.units.form].product == GATED:
            n -= 1
        pack(k, n * H, H, theta + p.W_s + g * H * H, H, 1, Q_s + g * H * ldh, ldh)
        g += n


cdef void pull_back_terms(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """Apply `pull_back`, the vjp of the parametrizations, to each step's terms of ∂E/∂W_s and ∂E/∂W_x, and to ∂E/∂W_y.

    Afterwards the terms are those with respect to theta (P,). With a rank, M and N have terms in place of W_s.
    """
    cdef Py_ssize_t i, I = p.I, H = p.H, G = p.gates, R = p.rank
    for i in range(c.T):
        if stopped(c):
            return
        if p.rank > 0:
            pull_back(G * H * R, p.maps + p.M, theta + p.M, <floating *> c.terms_M + i * G * H * R)
            pull_back(H * R, p.maps + p.N, theta + p.N, <floating *> c.terms_N + i * H * R)
        else:
            pull_back(G * H * H, p.maps + p.W_s, theta + p.W_s, <floating *> c.terms_W_s + i * G * H * H)
        pull_back(G * H * I, p.maps + p.W_x, theta + p.W_x, <floating *> c.terms_W_x + i * G * H * I)
    pull_back(p.O * H, p.maps + p.W_y, theta + p.W_y, <floating *> c.terms_W_y)


cdef void make_input_table(const Plan *p, const floating *theta, floating *table, Py_ssize_t ldh) noexcept nogil:
    """Compute table[id] = W_x[:, id] + b_s, of shape (I, gates H), with a block of ldh numbers for each slot.

    The table lies row by row, because a packed matrix lies in panels and a token id needs one row.
    """
    cdef Py_ssize_t i, g, h, at
    memset(table, 0, p.I * p.gates * ldh * sizeof(floating))
    for i in range(p.I):
        for g in range(p.gates):
            at = (i * p.gates + slot_of(p, g)) * ldh
            for h in range(p.H):
                table[at + h] = (theta[p.W_x + (g * p.H + h) * p.I + i]
                                 + (theta[p.b_s + g * p.H + h] if p.b_s >= 0 else 0))


# ---- Copies between blocks and the caller's arrays


cdef inline void read(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                      Py_ssize_t width, const floating *source, floating *A, Py_ssize_t lda) noexcept nogil:
    """Copy the rows of a block that begins with step t from source (T, B, width) to A (rows, width)."""
    read_part(c, k, t, rows, row_index, width, width, source, A, lda)


cdef inline void read_part(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                           Py_ssize_t width, Py_ssize_t whole, const floating *source, floating *A,
                           Py_ssize_t lda) noexcept nogil:
    """Do what `read` does for `width` of the `whole` numbers in each row of source (T, B, whole)."""
    if row_index != NULL:
        gather(k, 1, rows, width, source, 0, whole, row_index, A, lda)
    elif c.rows == c.B:
        gather(k, 1, rows, width, source + t * c.B * whole, 0, whole, NULL, A, lda)
    else:
        gather(k, rows // c.rows, c.rows, width, source + t * c.B * whole, c.B * whole, whole, NULL, A, lda)


cdef inline void write(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                       Py_ssize_t width, const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    """Copy the rows A (rows, width) of a block that begins with step t to target (T, B, width)."""
    write_part(c, k, t, rows, row_index, width, width, A, lda, target)


cdef inline void write_part(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                            Py_ssize_t width, Py_ssize_t whole, const floating *A, Py_ssize_t lda,
                            floating *target) noexcept nogil:
    """Do what `write` does for `width` of the `whole` numbers in each row of target (T, B, whole)."""
    if row_index != NULL:
        scatter(k, 1, rows, width, A, lda, target, 0, whole, row_index)
    elif c.rows == c.B:
        scatter(k, 1, rows, width, A, lda, target + t * c.B * whole, 0, whole, NULL)
    else:
        scatter(k, rows // c.rows, c.rows, width, A, lda, target + t * c.B * whole, c.B * whole, whole, NULL)


cdef void multiply(Py_ssize_t n, double factor, floating *x) noexcept nogil:
    """Compute x *= factor for n numbers. The factor is a double: it may be out of the range of x's type."""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = <floating> (factor * x[i])


cdef void look_up(const Call *c, Py_ssize_t rows, const Py_ssize_t *row_index, const floating *table, Py_ssize_t width,
                  floating *A, Py_ssize_t lda) noexcept nogil:
    """Copy the table's rows of some token ids: A = table[ids], of shape (rows, width)."""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(A + i * lda, table + c.ids[row_index[i]] * width, width * sizeof(floating))


cdef void add_by_id(const Call *c, Py_ssize_t rows, const Py_ssize_t *row_index, const floating *delta, Py_ssize_t ldd,
                    Py_ssize_t width, floating *table) noexcept nogil:
    """Compute table[ids] += delta, where delta is (rows, width) and table (I, width)."""
    cdef Py_ssize_t i, h
    cdef floating *row
    for i in range(rows):
        row = table + c.ids[row_index[i]] * width
        for h in range(width):
            row[h] += delta[i * ldd + h]


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
