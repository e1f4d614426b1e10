# Gates: gradients of the weights of cells of several gates, from delta.
#
# A row of delta has a block of ldh numbers for each slot (`slot_of`, plan.pxi). Neighbouring gates share a product if there is
# no padding between their blocks. Add here a gradient that differs between cells of one and of several gates.
#
# plan.pxi explains the letters.

cdef void add_gate_gradients(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *delta,
                             const floating *before, const floating *X, bint one_hot, floating *gradient) noexcept nogil:
    """Add the gradients of W_s, W_x, b_s and b_n of a cell of several gates to gradient (P,).

    One product serves neighbouring gates if delta has no padding between them. X (rows, I) is not read if one_hot.
    """
    add_recurrent_gradient(p, k, w, rows, delta, before, gradient + p.W_s)
    if not one_hot:
        add_input_gradient(p, k, w, rows, delta, X, w.ldi, p.I, gradient + p.W_x)
    if p.b_s >= 0:
        add_biases(p, k, w, rows, delta, gradient + p.b_s)
    if p.b_n >= 0:
        # db_n = delta's last slot.sum(axis=0)                                                             (H,)
        column_sums(k, rows, p.H, delta + p.gates * w.ldh, w.ldd, gradient + p.b_n)


cdef void add_recurrent_gradient(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *delta,
                                 const floating *before, floating *dW_s) noexcept nogil:
    """Compute dW_s += delta.T @ before, of shape (gates H, H). A GATED product has the factor w.gated."""
    cdef Py_ssize_t H = p.H, ldh = w.ldh, g = 0, n, gated = p.gates - 1 if w.gated != NULL else p.gates
    delta += first_slot(p) * ldh
    while g < p.gates:
        n = 1 if H < ldh or g == gated else gated - g
        accumulate(k, rows, n * H, H, delta + g * ldh, w.ldd, <const floating *> w.gated if g == gated else before, ldh,
                   dW_s + g * H * H, H)
        g += n


cdef void add_input_gradient(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *delta,
                             const floating *X, Py_ssize_t ldi, Py_ssize_t I, floating *dW_x) noexcept nogil:
    """Compute dW_x += delta.T @ X, of shape (gates H, I)."""
    cdef Py_ssize_t H = p.H, ldh = w.ldh, g = 0, n
    while g < p.gates:
        n = 1 if H < ldh else neighbours(p, g)
        accumulate(k, rows, n * H, I, delta + slot_of(p, g) * ldh, w.ldd, X, ldi, dW_x + g * H * I, I)
        g += n


cdef void add_biases(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *delta,
                     floating *db_s) noexcept nogil:
    """Compute db_s += delta.sum(axis=0), of shape (gates H,)."""
    cdef Py_ssize_t H = p.H, g = 0, n
    while g < p.gates:
        n = 1 if H < w.ldh else neighbours(p, g)
        column_sums(k, rows, n * H, delta + slot_of(p, g) * w.ldh, w.ldd, db_s + g * H)
        g += n


cdef void find_gated(const Plan *p, const Workspace *w, Py_ssize_t rows, const floating *saves, const floating *before,
                     floating *gated) noexcept nogil:
    """Compute gated = r * before, (rows, H), the factor of a GATED product. r is the first of the saved gates."""
    cdef Py_ssize_t i, h
    for i in range(rows):
        for h in range(p.H):
            gated[i * w.ldh + h] = saves[i * w.lds + h] * before[i * w.ldh + h]


cdef inline Py_ssize_t neighbours(const Plan *p, Py_ssize_t g) noexcept nogil:
    """Return how many gates from g on have slots that follow each other."""
    cdef Py_ssize_t n = 1
    while g + n < p.gates and slot_of(p, g + n) == slot_of(p, g) + n:
        n += 1
    return n
