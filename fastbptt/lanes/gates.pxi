# Gates: the passes of cells of several gates over one group of lanes.
#
# A row of `saves` and of delta has a block of H numbers for each slot; simd/gated.h lists the slots. The gates of W_x, W_s and
# b_s are in another order if the product of the last gate with W_s is APART: the last gate then has the first slot, and its
# product an own one after the others. Add here what differs between cells of one and of several gates.

cdef inline Py_ssize_t summed(const Plan *p) noexcept nogil:
    """Return how many gates have neighbouring slots for their products with W_x: all, or all but the last."""
    return p.cell.gates - 1 if p.cell.product == APART else p.cell.gates


cdef inline Py_ssize_t first_slot(const Plan *p) noexcept nogil:
    """Return the slot of the first gate, in `saves` and in delta."""
    return p.cell.slots - p.cell.gates


cdef void gate_forward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the carries (T + 1, B, H, L) and what the cell saves (T, B, saves H, L)."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), rows = c.T * c.B, I = p.I, H = p.H, n = summed(p) * H
    cdef Py_ssize_t lds = p.cell.saves * H
    cdef floating *S = <floating *> g.S
    cdef floating *carry = <floating *> g.carry
    cdef floating *saves = <floating *> g.saves
    cdef const floating *W_x = theta + p.W_x * L
    cdef const floating *b_s = theta + p.b_s * L if p.b_s >= 0 else NULL
    # A = X @ W_x.T + b_s
    lane.affine(kernels, rows, I, n, <const floating *> g.X, not c.own_X, W_x, b_s, saves + first_slot(p) * H * L, lds)
    if n < p.cell.gates * H:
        lane.affine(kernels, rows, I, H, <const floating *> g.X, not c.own_X, W_x + n * I * L,
                    b_s + n * L if b_s != NULL else NULL, saves, lds)
    lane.gate(kernels, &p.units, c.T, c.B, H, theta + p.W_s * L, theta + p.b_n * L if p.b_n >= 0 else NULL,
              <const floating *> g.ends, S, carry, S + c.B * H * L, carry + c.B * H * L if carry != NULL else NULL, saves,
              <floating *> g.gated)


cdef void gate_backward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the gradients of W_x, W_s, b_s, b_n and S_0 from ∂E/∂S through the outputs, in the first slot of delta."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), rows = c.T * c.B, I = p.I, H = p.H, n = summed(p) * H
    cdef Py_ssize_t ldd = p.cell.slots * H, products = (p.cell.gates - 1 if p.cell.product == GATED else p.cell.gates) * H
    cdef floating *delta = <floating *> g.delta
    cdef floating *of_gates = delta + first_slot(p) * H * L
    cdef floating *gradient = <floating *> g.gradient
    cdef floating *dS_0 = gradient + p.S_0 * L
    cdef const floating *X = <const floating *> g.X
    lane.gate_back(kernels, &p.units, c.T, c.B, H, theta + p.W_s * L, <const floating *> g.ends, <const floating *> g.saves,
                   <const floating *> g.S, delta, <floating *> g.dcarry, <floating *> g.start)
    # dW_s = delta.T @ S[:-1] ;  the factor of the last gate's product may be another one
    lane.accumulate(kernels, rows, products, H, of_gates, ldd, <const floating *> g.S, False, gradient + p.W_s * L)
    if products < p.cell.gates * H:
        lane.accumulate(kernels, rows, H, H, of_gates + products * L, ldd, <const floating *> g.gated, False,
                        gradient + (p.W_s + products * H) * L)
    # dW_x = delta.T @ X ;  db_s = delta.sum(axis=0)
    lane.accumulate(kernels, rows, n, I, of_gates, ldd, X, not c.own_X, gradient + p.W_x * L)
    if n < p.cell.gates * H:
        lane.accumulate(kernels, rows, H, I, delta, ldd, X, not c.own_X, gradient + (p.W_x + n * I) * L)
    if p.b_s >= 0:
        lane.column_sums(kernels, rows, n, of_gates, ldd, gradient + p.b_s * L)
        if n < p.cell.gates * H:
            lane.column_sums(kernels, rows, H, delta, ldd, gradient + (p.b_s + n) * L)
    if p.b_n >= 0:
        lane.column_sums(kernels, rows, H, delta + (ldd - H) * L, ldd, gradient + p.b_n * L)
    if p.S_0 >= 0 and c.initial_state == NULL and c.T > 0:
        lane.column_sums(kernels, c.B, H, <floating *> g.start, H, dS_0)
        if p.width > H:
            lane.column_sums(kernels, c.B, H, <floating *> g.dcarry, H, dS_0 + H * L)
