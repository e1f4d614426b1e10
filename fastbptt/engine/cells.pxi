# Cells: the recurrence of a block, forward and backward.
#
# Each function goes through a block run by run, so that one kernel call computes as many steps as possible.
#
# kernels/defs/cells.def is the table of cells: how many carries a cell has, what it saves, and whether a gradient goes back
# directly. CELLS below has the forward and the backward function of each. A new cell is a row of both tables. No other file
# of the engine names a cell.
#
# S is the first carry, which W_s and the output read. w.auxiliary is the second carry, or what the cell saves in addition:
# the state in the current form, the rate in the rate form. If the derivative of g1 reads the pre-activation (`reads_input`),
# the plain cell saves it there, too, and the rate form saves it in place of the rate. In the current form that derivative
# reads the state, which w.saved_carry then keeps of all steps. dcarry is the gradient that goes back directly, beside delta.
# delta (rows, H) is ∂E/∂ the pre-activations.
#
# batching.pxi explains row, block, run, packed and reset; plan.pxi explains the letters.

cdef void own_states(const Plan *p, const Kernels *k, const floating *theta, Py_ssize_t rows, Py_ssize_t ldh,
                     floating *S) noexcept nogil:
    """Write the network's own initial state to S (rows, H): S_0 in every row, or zeros if it has no S_0."""
    if p.S_0 >= 0:
        gather(k, 1, rows, p.H, theta + p.S_0, 0, 0, NULL, S, ldh)
    else:
        memset(S, 0, rows * ldh * sizeof(floating))


cdef inline const CellRow *cell_of(const Call *c) noexcept nogil:
    """Return the row of the call's cell in the table of cells."""
    return &cell_rows[c.units.form]


cdef inline bint saves_beside(const Plan *p, const Call *c) noexcept nogil:
    """Return whether w.auxiliary is saved like S, for the derivative of g1. Else it is the second carry, if there is one."""
    return cell_of(c).saves > 0 or cell_of(c).carries == 1 and reads_input(p.activation)


cdef inline bint saves_carry(const Plan *p, const Call *c) noexcept nogil:
    """Return whether the second carry is saved, in w.saved_carry: if the derivative of g1 reads it."""
    return cell_of(c).carries > 1 and reads_input(p.activation)


cdef void first_states(const Plan *p, const Call *c, const Kernels *k, const floating *theta, Py_ssize_t ldh,
                       floating *S) noexcept nogil:
    """Write the public states before the first step to S (rows, H): those of the call, else the network's own."""
    if c.initial_state != NULL:
        gather(k, 1, c.rows, p.H, <const floating *> c.initial_state, 0, p.H, c.order, S, ldh)
    else:
        own_states(p, k, theta, c.rows, ldh, S)


cdef inline bint from_zero(const Plan *p, const Call *c) noexcept nogil:
    """Return whether W_s reads only zeros at the first step.

    Its product with W_s and its part of ∂E/∂W_s are then zero and need no computation.
    """
    return c.initial_state == NULL and p.S_0 < 0 and not cell_of(c).direct


cdef inline bint to_first_state(const Plan *p, const Call *c) noexcept nogil:
    """Return whether the call needs ∂E/∂S_0, of the sequences or of the network's own initial state."""
    return c.dS_0 != NULL or p.S_0 >= 0


cdef void apply_resets(const Call *c, const Workspace *w, Py_ssize_t t, const floating *before, const void *initial,
                       floating *after_resets) noexcept nogil:
    """Write the states before step t, after its resets, to after_resets (rows, H).

    They are those after the step before (`before`), except that each reset row receives `initial` (H,).
    """
    cdef Py_ssize_t row, rows = rows_at(c, w, t), ldh = w.ldh
    memcpy(after_resets, before, rows * ldh * sizeof(floating))
    for row in range(rows if c.resets != NULL else 0):
        if is_reset(c, t, row):
            memcpy(after_resets + row * ldh, initial, ldh * sizeof(floating))


cdef void to_rates(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *A) noexcept nogil:
    """Compute A = g1(A) in place, of shape (rows, H)."""
    cdef ErrorOptions what
    memset(&what, 0, sizeof(ErrorOptions))
    what.activation = c.units.activation
    error(k, &what, rows, <const floating *> NULL, 0, NULL, <const floating *> NULL, 0, A, ldh, <floating *> NULL)


# The functions of each cell, for both types. forward: `recur_through` for steps with the same rows; S, `integrated` and
# `auxiliary` as there. backward: `back`.
ctypedef void (*Forward_f32)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                             Py_ssize_t rows, const float *P_s, const float *before, const float *integrated, float *S,
                             float *auxiliary) noexcept nogil
ctypedef void (*Forward_f64)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                             Py_ssize_t rows, const double *P_s, const double *before, const double *integrated, double *S,
                             double *auxiliary) noexcept nogil
ctypedef void (*Backward_f32)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                              Py_ssize_t row, Py_ssize_t rows, const float *Q_s, const float *R, const float *delta_next,
                              float *delta) noexcept nogil
ctypedef void (*Backward_f64)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                              Py_ssize_t row, Py_ssize_t rows, const double *Q_s, const double *R, const double *delta_next,
                              double *delta) noexcept nogil


cdef struct Cell:
    Forward_f32 forward_f32
    Forward_f64 forward_f64
    Backward_f32 backward_f32
    Backward_f64 backward_f64


cdef Cell[CELL_COUNT] CELLS
CELLS[PLAIN] = Cell(plain_forward[float], plain_forward[double], plain_backward[float], plain_backward[double])
CELLS[RATE] = Cell(leaky_forward[float], leaky_forward[double], leaky_backward[float], leaky_backward[double])
CELLS[CURRENT] = Cell(leaky_forward[float], leaky_forward[double], leaky_backward[float], leaky_backward[double])


cdef void plain_forward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t rows,
                        const floating *P_s, const floating *before, const floating *integrated, floating *S,
                        floating *auxiliary) noexcept nogil:
    """Compute S[t] = g1(S[t] + S[t - 1] @ W_s.T)."""
    recur(k, p.activation, steps, rows, p.H, P_s, w.ldh, before, S,
          auxiliary if reads_input(p.activation) else <floating *> NULL)


cdef void plain_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *delta_next,
                         floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t])."""
    recur_back(k, p.activation, steps, rows, p.H, Q_s, w.ldh, R, delta_next, delta)


cdef void leaky_forward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t rows,
                        const floating *P_s, const floating *before, const floating *integrated, floating *S,
                        floating *auxiliary) noexcept nogil:
    """Compute both forms of leaky units, and dropout: kernels.h has the formulas."""
    integrate(k, &c.units, steps, rows, p.H, P_s, w.ldh, <const floating *> w.mask, <floating *> w.masked, before, integrated,
              S, auxiliary)


cdef void leaky_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *delta_next,
                         floating *delta) noexcept nogil:
    """Compute the backward steps of both forms of leaky units: kernels.h has the formulas."""
    integrate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh,
                   <const floating *> w.mask + row * w.ldh if w.mask != NULL else <const floating *> NULL,
                   <floating *> w.masked, R, delta_next, <floating *> w.dcarry + row * w.ldh, delta)


cdef void start_carries(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *S,
                        floating *auxiliary) noexcept nogil:
    """Turn public states S (rows, H) into the carries of the cell: S becomes the first, `auxiliary` the second, if any.

    `auxiliary` may be NULL if only the first carry is needed.
    """
    if cell_of(c).carries > 1:
        if auxiliary != NULL:
            memcpy(auxiliary, S, rows * ldh * sizeof(floating))
        to_rates(c, k, rows, ldh, S)


cdef void recur_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t, Py_ssize_t end,
                        const floating *P_s, const floating *before, floating *S, floating *auxiliary) noexcept nogil:
    """Compute S[t] = g1(S[t] + S[t - 1] @ W_s.T) for the steps t ... end, whose rows begin at S.

    On entry S holds the inputs' part of the pre-activations, on return the first carry. `before` is the first carry before
    step t. P_s is W_s, packed. `auxiliary` receives the second carry, or what the cell saves.
    """
    cdef Py_ssize_t rows, next, ldh = w.ldh, resets = c.rows * w.ldh
    cdef const floating *integrated = <floating *> w.auxiliary
    if t == 0 and from_zero(p, c):
        before = NULL
    while t < end:
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        if before != NULL and any_reset(c, w, t):
            apply_resets(c, w, t, before, w.initial, <floating *> w.after_resets)
            before = <floating *> w.after_resets
            if cell_of(c).carries > 1:
                apply_resets(c, w, t, integrated, <floating *> w.initial + ldh, <floating *> w.after_resets + resets)
                integrated = <floating *> w.after_resets + resets
        if floating is float:
            CELLS[c.units.form].forward_f32(p, c, k, w, next - t, rows, P_s, before, integrated, S, auxiliary)
        else:
            CELLS[c.units.form].forward_f64(p, c, k, w, next - t, rows, P_s, before, integrated, S, auxiliary)
        if cell_of(c).direct or saves_beside(p, c):
            integrated = auxiliary + (next - t - 1) * rows * ldh
            auxiliary += (next - t) * rows * ldh
        before = S + (next - t - 1) * rows * ldh
        S += (next - t) * rows * ldh
        t = next


cdef void add_in_double(Py_ssize_t n, const floating *x, double *sum) noexcept nogil:
    """Compute sum += x for n numbers.

    The sum is kept in double: in float32 a sum of a thousand numbers would be off by 1e-6 of its size.
    """
    cdef Py_ssize_t i
    for i in range(n):
        sum[i] += x[i]


cdef void to_dtype(Py_ssize_t n, const double *x, floating *y) noexcept nogil:
    """Copy n doubles x to y, rounding them to y's type."""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <floating> x[i]


cdef void find_old_start(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t ldh,
                         floating *row) noexcept nogil:
    """Compute what W_s read after a reset at step t < c.old, and write it to row (H,).

    Such a reset brought an earlier S_0 (c.past_S_0). W_s reads the first carry.
    """
    gather(k, 1, 1, p.H, <const floating *> c.past_S_0 + t * p.H, 0, p.H, NULL, row, ldh)
    start_carries(c, k, 1, ldh, row, <floating *> NULL)


cdef void add_to_old_start(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t, Py_ssize_t row,
                           const floating *Q_s, const floating *delta) noexcept nogil:
    """Add the gradient by the S_0 of step t < c.old, from one reset row, to w.old_start_sums (H,).

    Only cells with two carries need this: there the gradient depends on g1' of that earlier S_0. `delta` (H,) is the row's.
    """
    cdef Py_ssize_t ldh = w.ldh
    cdef floating *rates = <floating *> w.old
    cdef floating *nothing = rates + ldh
    if reads_input(p.activation):  # then the derivative reads that S_0 itself
        gather(k, 1, 1, p.H, <const floating *> c.past_S_0 + t * p.H, 0, p.H, NULL, rates, ldh)
    else:
        find_old_start(p, c, k, t, ldh, rates)
    memset(nothing, 0, ldh * sizeof(floating))
    back(p, c, k, w, 1, row, 1, Q_s, rates, delta, nothing)
    add_in_double(p.H, <floating *> w.dcarry + row * ldh, <double *> w.old_start_sums)


cdef const floating *cut_at_resets(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                                   const floating *Q_s, const floating *delta_next) noexcept nogil:
    """Return delta of step t as the step before receives it: rows that are reset are 0.

    `delta_next` is delta (rows, H) of step t. Adds the delta of reset rows to w.reset_sums, from which `backward` computes
    ∂E/∂S_0. One sum (H,) is enough, unless a gradient goes back directly: then each row has its own, and dcarry (rows, H) is
    treated likewise.
    """
    cdef Py_ssize_t row, own, ldh = w.ldh
    cdef floating *kept = <floating *> w.after_resets
    cdef floating *dcarry = <floating *> w.dcarry
    cdef bint direct = cell_of(c).direct
    if not any_reset(c, w, t):
        return delta_next
    memmove(kept, delta_next, rows_at(c, w, t) * ldh * sizeof(floating))
    for row in range(rows_at(c, w, t)):
        if is_reset(c, t, row):
            own = row * ldh if direct else 0
            if t < c.old and cell_of(c).carries > 1:
                add_to_old_start(p, c, k, w, t, row, Q_s, kept + row * ldh)
            else:
                add_in_double(p.H, kept + row * ldh, <double *> w.reset_sums + own)
                if direct:
                    add_in_double(p.H, dcarry + row * ldh, <double *> w.reset_dcarry_sums + own)
            memset(kept + row * ldh, 0, ldh * sizeof(floating))
            if direct:
                memset(dcarry + row * ldh, 0, ldh * sizeof(floating))
    return kept


cdef inline void back(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                      Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *delta_next,
                      floating *delta) noexcept nogil:
    """Compute delta of the sequences row ... row + rows for some steps in place, by the cell's backward function.

    On entry delta (steps, rows, H) holds ∂E/∂S by the outputs. `delta_next` is delta of the next step, or NULL. R is what the
    derivative of g1 reads (see `saved_rates`). Cells with a direct gradient also read and update w.dcarry.
    """
    if floating is float:
        CELLS[c.units.form].backward_f32(p, c, k, w, steps, row, rows, Q_s, R, delta_next, delta)
    else:
        CELLS[c.units.form].backward_f64(p, c, k, w, steps, row, rows, Q_s, R, delta_next, delta)


cdef inline floating *saved_rates(const Plan *p, const Call *c, const Workspace *w, Py_ssize_t row,
                                  floating *A) noexcept nogil:
    """Return what the derivative of g1 reads, from row `row` of the saved rows on: what the cell saves, else A, its states."""
    if saves_beside(p, c):
        return <floating *> w.auxiliary + row * w.ldh
    return <floating *> w.saved_carry + row * w.ldh if saves_carry(p, c) else A


cdef void recur_back_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *Q_s, const floating *R, const floating *delta_next,
                             floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t]) for the steps t ... end, last run first.

    On entry delta (rows, H) holds ∂E/∂S by the outputs. `delta_next` is delta of step `end`, or NULL if none comes back.
    """
    cdef Py_ssize_t rows, before, others, at, ldh = w.ldh
    if not c.packed:
        back(p, c, k, w, end - t, 0, c.rows, Q_s, R, delta_next, delta)
        return
    while end > t:
        rows, others = rows_at(c, w, end - 1), rows_at(c, w, end) if delta_next != NULL else 0
        before = begin_of_run(c, w, t, end - 1)
        if others > 0:
            delta_next = cut_at_resets(p, c, k, w, end, Q_s, delta_next)
        if others < rows:  # the other rows end here: nothing comes back to them
            at = (w.first[end - 1] - w.first[t]) * ldh
            if others > 0:
                back(p, c, k, w, 1, 0, others, Q_s, R + at, delta_next, delta + at)
            back(p, c, k, w, 1, others, rows - others, Q_s, R + at + others * ldh, <const floating *> NULL,
                 delta + at + others * ldh)
            delta_next = delta + at
            end -= 1
        at = (w.first[before] - w.first[t]) * ldh
        if end > before:
            back(p, c, k, w, end - before, 0, rows, Q_s, R + at, delta_next, delta + at)
        delta_next, end = delta + at, before
