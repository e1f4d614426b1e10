# Rows in and out: packed weights, copies between the caller's arrays and the workspace, rows that have an error.

cdef void pack_weights(const Plan *p, const Call *c, const Kernels *k, Shared *shared, const floating *theta) noexcept nogil:
    cdef Py_ssize_t I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = padded(k, I, theta), ldh = padded(k, H, theta), ldo = padded(k, O, theta)
    cdef floating *P_x = <floating *> shared.P_x
    # P = W.T
    if p.recurs:
        if p.one_hot:
            tabulate(p, theta, P_x, ldh)
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
    """`pull_back` of each step's terms."""
    cdef Py_ssize_t i, I = p.I, H = p.H
    for i in range(c.T):
        if stopped(c):
            return
        pull_back(H * H, p.maps + p.W_s, theta + p.W_s, <floating *> c.terms_W_s + i * H * H)
        pull_back(H * I, p.maps + p.W_x, theta + p.W_x, <floating *> c.terms_W_x + i * H * I)
    pull_back(p.O * H, p.maps + p.W_y, theta + p.W_y, <floating *> c.terms_W_y)


cdef void tabulate(const Plan *p, const floating *theta, floating *table, Py_ssize_t ldh) noexcept nogil:
    """table[id] = W_x[:, id] + b_s, row by row: a packed matrix lies in panels                            (I, H)"""
    cdef Py_ssize_t i, h
    memset(table, 0, p.I * ldh * sizeof(floating))
    for i in range(p.I):
        for h in range(p.H):
            table[i * ldh + h] = theta[p.W_x + h * p.I + i] + (theta[p.b_s + h] if p.b_s >= 0 else 0)


# ---- Rows in and out: of steps t ... t + n of the caller's (T, B, width), or from and to `places` there


cdef inline void read(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places,
                      Py_ssize_t width, const floating *source, floating *A, Py_ssize_t lda) noexcept nogil:
    if places != NULL:
        gather(k, 1, rows, width, source, 0, width, places, A, lda)
    elif c.rows == c.B:
        gather(k, 1, rows, width, source + t * c.B * width, 0, width, NULL, A, lda)
    else:
        gather(k, rows // c.rows, c.rows, width, source + t * c.B * width, c.B * width, width, NULL, A, lda)


cdef inline void write(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places,
                       Py_ssize_t width, const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    if places != NULL:
        scatter(k, 1, rows, width, A, lda, target, 0, width, places)
    elif c.rows == c.B:
        scatter(k, 1, rows, width, A, lda, target + t * c.B * width, 0, width, NULL)
    else:
        scatter(k, rows // c.rows, c.rows, width, A, lda, target + t * c.B * width, c.B * width, width, NULL)


cdef void multiply(Py_ssize_t n, double factor, floating *x) noexcept nogil:
    """x *= factor, which need not be a number of x's type"""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = <floating> (factor * x[i])


cdef void look_up(const Call *c, Py_ssize_t rows, const Py_ssize_t *places, const floating *table, Py_ssize_t ldh,
                  floating *A) noexcept nogil:
    """A = table[ids]                                                                                      (rows, H)"""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(A + i * ldh, table + c.ids[places[i]] * ldh, ldh * sizeof(floating))


cdef void add_by_id(const Call *c, Py_ssize_t rows, const Py_ssize_t *places, const floating *delta, Py_ssize_t ldh,
                    floating *table) noexcept nogil:
    """table[ids] += delta                                                                                 (rows, H)"""
    cdef Py_ssize_t i, h
    cdef floating *row
    for i in range(rows):
        row = table + c.ids[places[i]] * ldh
        for h in range(ldh):
            row[h] += delta[i * ldh + h]


cdef Py_ssize_t pick(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end, const floating *weights) noexcept nogil:
    """Which rows of the steps t ... end have an error, and where its target stands; how many these are."""
    cdef Py_ssize_t row, j, place, n = 0, i = 0
    cdef bint picked
    for t in range(t, end):
        for row in range(rows_at(c, w, t)):
            place = c.order[row] if c.arranged else row
            picked = row >= rows_at(c, w, t + 1) if c.arranged else t == c.most - 1
            if not c.last:
                place, picked = t * c.B + place, True
            if picked and c.weight_width > 0:
                picked = False
                for j in range(c.weight_width):
                    picked = picked or weights[place * c.weight_width + j] != 0
            if picked:
                w.at[n], w.outputs[n] = i, place
                n += 1
            i += 1
    return n
