# Cells: the recurrence of a block, forward and backward.
#
# Each function goes through a block run by run, so that one kernel call computes as many steps as possible.
#
# kernels/defs/cells.def is the table of cells: how many carries a cell has, what it saves, and whether a gradient goes back
# directly. CELLS below has the forward and the backward function of each. `find_cells` chooses them by the columns of the
# table: a new cell needs no function here, unless the kernels that these functions call do not fit it.
#
# S is the first carry, which W_s and the output read. w.carry is the second carry: the state in the current form, the memory c
# of a gated cell. w.saves is what the cell saves in addition: the rate in the rate form, the gates of a gated cell, the
# argument of g1 if its derivative reads that. dcarry is the gradient that goes back directly, beside delta. delta is ∂E/∂ the
# pre-activations. Its rows have one block of H numbers per slot (`slot_of`); cells of one gate have a single slot.
#
# batching.pxi explains row, block, run, packed and reset; plan.pxi explains the letters.

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


# The functions of each cell, for both types. forward: `recur_through` for steps with the same rows. backward: `back`. The
# arguments are those of these two functions.
ctypedef void (*Forward_f32)(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                             Py_ssize_t steps, Py_ssize_t rows, const float *before, const float *carry_before, float *S,
                             float *carry, float *saves) noexcept nogil
ctypedef void (*Forward_f64)(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                             Py_ssize_t steps, Py_ssize_t rows, const double *before, const double *carry_before, double *S,
                             double *carry, double *saves) noexcept nogil
ctypedef void (*Backward_f32)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                              Py_ssize_t row, Py_ssize_t rows, const float *Q_s, const float *R, const float *before,
                              const float *delta_next, float *dcarry, float *delta) noexcept nogil
ctypedef void (*Backward_f64)(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                              Py_ssize_t row, Py_ssize_t rows, const double *Q_s, const double *R, const double *before,
                              const double *delta_next, double *dcarry, double *delta) noexcept nogil


cdef struct Cell:
    Forward_f32 forward_f32
    Forward_f64 forward_f64
    Backward_f32 backward_f32
    Backward_f64 backward_f64


cdef Cell[CELL_COUNT] CELLS


cdef void find_cells():
    """Fill CELLS: cells of several gates, else those with a direct gradient, which are leaky, else plain cells."""
    cdef int i
    for i in range(CELL_COUNT):
        if cell_rows[i].gates > 1:
            CELLS[i] = Cell(gated_forward[float], gated_forward[double], gated_backward[float], gated_backward[double])
        elif cell_rows[i].direct:
            CELLS[i] = Cell(leaky_forward[float], leaky_forward[double], leaky_backward[float], leaky_backward[double])
        else:
            CELLS[i] = Cell(plain_forward[float], plain_forward[double], plain_backward[float], plain_backward[double])


find_cells()


cdef void plain_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute S[t] = g1(S[t] + S[t - 1] @ W_s.T)."""
    if factored(p):
        factored_forward(p, c, k, shared, w, steps, rows, before, carry_before, S, carry, saves)
        return
    recur(k, p.activation, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, before, S,
          saves if cell_of(c).saves > 0 else <floating *> NULL)


cdef void plain_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t])."""
    if w.shared.factored:
        factored_backward(p, c, k, w, steps, row, rows, R, delta_next, dcarry, delta)
        return
    recur_back(k, p.activation, steps, rows, p.H, Q_s, w.ldh, R, delta_next, delta)


cdef void leaky_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute both forms of leaky units, and dropout: kernels.h has the formulas."""
    if factored(p):
        factored_forward(p, c, k, shared, w, steps, rows, before, carry_before, S, carry, saves)
        return
    integrate(k, &c.units, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, <const floating *> w.mask,
              <floating *> w.masked, before, carry_before, S, saves if cell_of(c).carries == 1 else carry)
    if saves_state(c):
        memcpy(saves, carry, steps * rows * w.ldh * sizeof(floating))


cdef void leaky_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute the backward steps of both forms of leaky units: kernels.h has the formulas.

    If leaks are trained, also keep ∂E/∂ the state after each step of a block, which is dcarry then, in w.leak_dS. Only w.delta
    holds steps of a block: delta elsewhere is scratch of a single step. What a later call leaves in w.leak_dS is not read.
    """
    cdef const floating *mask = <floating *> w.mask + row * w.ldh if w.mask != NULL else <floating *> NULL
    cdef Py_ssize_t n = rows * w.ldh, at = delta - <floating *> w.delta
    if w.shared.factored:
        factored_backward(p, c, k, w, steps, row, rows, R, delta_next, dcarry, delta)
        return
    if w.leak_dS == NULL or not 0 <= at < w.rows * w.ldd:
        integrate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh, mask, <floating *> w.masked, R, delta_next, dcarry, delta)
        return
    for steps in range(steps - 1, -1, -1):
        integrate_back(k, &c.units, 1, rows, p.H, Q_s, w.ldh, mask, <floating *> w.masked, R + steps * n, delta_next, dcarry,
                       delta + steps * n)
        memcpy(<floating *> w.leak_dS + at + steps * n, dcarry, n * sizeof(floating))
        delta_next = delta + steps * n


cdef void gated_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute the steps of cells of several gates: kernels.h has the formulas."""
    gate(k, &c.units, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, <const floating *> shared.b_n,
               <const floating *> w.mask, <floating *> w.masked, before, carry_before, S, carry, saves)


cdef void gated_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute the backward steps of cells of several gates: kernels.h has the formulas."""
    gate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh,
                    <const floating *> w.mask + row * w.ldh if w.mask != NULL else <const floating *> NULL,
                    <floating *> w.masked, R, before, delta_next, dcarry, delta)


cdef void recur_through(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t t, Py_ssize_t end, const floating *before, floating *S, floating *carry,
                        floating *saves) noexcept nogil:
    """Compute S[t] = g1(S[t] + S[t - 1] @ W_s.T), or the cell's own equations, for the steps t ... end.

    Their rows begin at S, `carry` (rows, H) and `saves` (rows, saves H). On entry S, or `saves` if the cell has several gates,
    holds the inputs' part of the pre-activations. On return S holds the first carry, `carry` the second and `saves` what the
    cell saves. `before` is the first carry before step t.
    """
    cdef Py_ssize_t rows, next, ldh = w.ldh, resets = c.rows * w.ldh
    cdef const floating *carry_before = <floating *> w.carry
    if t == 0 and from_zero(p, c):
        before = NULL
    while t < end:
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        if before != NULL and any_reset(c, w, t):
            apply_resets(c, w, t, before, w.initial, <floating *> w.after_resets)
            before = <floating *> w.after_resets
            if cell_of(c).carries > 1:
                apply_resets(c, w, t, carry_before, <floating *> w.initial + ldh, <floating *> w.after_resets + resets)
                carry_before = <floating *> w.after_resets + resets
        if floating is float:
            CELLS[c.units.form].forward_f32(p, c, k, shared, w, next - t, rows, before, carry_before, S, carry, saves)
        else:
            CELLS[c.units.form].forward_f64(p, c, k, shared, w, next - t, rows, before, carry_before, S, carry, saves)
        saves += (next - t) * rows * w.lds
        if cell_of(c).carries > 1:
            carry_before = carry + (next - t - 1) * rows * ldh
            carry += (next - t) * rows * ldh
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
    gather_states(p, c, k, 1, <const floating *> c.past_S_0 + t * p.width, 0, NULL, ldh, row, <floating *> NULL)


cdef void add_to_old_start(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t, Py_ssize_t row,
                           const floating *Q_s, const floating *delta) noexcept nogil:
    """Add the gradient by the S_0 of step t < c.old, from one reset row, to w.old_start_sums (H,).

    Only cells whose public state is the second carry need this: there the gradient depends on g1' of that earlier S_0. `delta`
    (H,) is the row's.
    """
    cdef Py_ssize_t ldh = w.ldh
    cdef floating *rates = <floating *> w.old
    cdef floating *nothing = rates + ldh
    if saves_state(c) and derivative_reads_saves(c):  # then the derivative reads that S_0 itself
        gather_states(p, c, k, 1, <const floating *> c.past_S_0 + t * p.width, 0, NULL, ldh, nothing, rates)
    else:
        find_old_start(p, c, k, t, ldh, rates)
    memset(nothing, 0, ldh * sizeof(floating))
    back(p, c, k, w, 1, row, 1, Q_s, rates, rates, delta, <floating *> w.dcarry + row * ldh, nothing)
    add_in_double(p.H, <floating *> w.dcarry + row * ldh, <double *> w.old_start_sums)


cdef const floating *cut_at_resets(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                                   const floating *Q_s, const floating *delta_next) noexcept nogil:
    """Return delta of step t as the step before receives it: rows that are reset are 0.

    `delta_next` is delta (rows, slots H) of step t. Adds the delta of reset rows to w.reset_sums, from which `backward`
    computes ∂E/∂S_0. One sum is enough, unless a gradient goes back directly: then each row has its own, and dcarry (rows, H)
    is treated likewise.
    """
    cdef Py_ssize_t row, own, ldh = w.ldh, ldd = w.ldd
    cdef floating *kept = <floating *> w.after_resets
    cdef floating *dcarry = <floating *> w.dcarry
    cdef bint direct = cell_of(c).direct
    if not any_reset(c, w, t):
        return delta_next
    memmove(kept, delta_next, rows_at(c, w, t) * ldd * sizeof(floating))
    for row in range(rows_at(c, w, t)):
        if is_reset(c, t, row):
            own = row if direct else 0
            if t < c.old and cell_of(c).state == SECOND:
                add_to_old_start(p, c, k, w, t, row, Q_s, kept + row * ldd)
            else:
                add_in_double(ldd if cell_of(c).slots > 1 else p.H, kept + row * ldd, <double *> w.reset_sums + own * ldd)
                if direct:
                    add_in_double(p.H, dcarry + row * ldh, <double *> w.reset_dcarry_sums + own * ldh)
            memset(kept + row * ldd, 0, ldd * sizeof(floating))
            if direct:
                memset(dcarry + row * ldh, 0, ldh * sizeof(floating))
    return kept


cdef inline void back(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                      Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                      const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute delta of the sequences row ... row + rows for some steps in place, by the cell's backward function.

    On entry delta (steps, rows, slots H) holds ∂E/∂S through the outputs in its first slot. `delta_next` is delta of the next
    step, or NULL. R is what the derivatives read (see `saved_rates`), `before` (steps, rows, H) the states before these steps.
    Cells with a direct gradient also read and update dcarry (rows, H). With steps = 0, a cell of several gates adds to delta
    (rows, slots H) what comes back to the state before the next step.
    """
    if floating is float:
        CELLS[c.units.form].backward_f32(p, c, k, w, steps, row, rows, Q_s, R, before, delta_next, dcarry, delta)
    else:
        CELLS[c.units.form].backward_f64(p, c, k, w, steps, row, rows, Q_s, R, before, delta_next, dcarry, delta)


cdef const floating *find_start_gradient(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t rows,
                                         const floating *Q_s, const floating *S, const floating *delta_next,
                                         floating *delta) noexcept nogil:
    """Return the gradient with respect to the public states before a step, from delta_next and w.dcarry of that step.

    It is (rows, H) with w.ldd as the distance of rows. If the public state has both carries, the gradient with respect to the
    second is w.dcarry (rows, H). S (rows, H) are the first carries before the step, or the second if the derivative reads that.
    delta (rows, slots H) is scratch.
    """
    cdef floating *dcarry = <floating *> w.dcarry
    memset(delta, 0, rows * w.ldd * sizeof(floating))
    if cell_of(c).gates > 1:
        back(p, c, k, w, 0, 0, rows, Q_s, S, S, delta_next, dcarry, delta)
        return delta
    if cell_of(c).direct:
        back(p, c, k, w, 1, 0, rows, Q_s, S, S, delta_next, dcarry, delta)
        return dcarry
    if w.shared.factored:
        add_by_factors(p, k, w, rows, delta_next, w.shared.M, w.shared.N_T, <const floating *> NULL, delta)
        return delta
    affine(k, rows, p.H, p.H, delta_next, w.ldh, Q_s, w.ldh, <const floating *> NULL, delta, w.ldh)
    return delta


cdef void add_start_gradient(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t rows,
                             const floating *first, floating *sums) noexcept nogil:
    """Add the rows that `find_start_gradient` returned to sums (width,), the gradient with respect to S_0."""
    column_sums(k, rows, p.H, first, w.ldd, sums)
    if cell_of(c).state == BOTH_CARRIES:
        column_sums(k, rows, p.H, <const floating *> w.dcarry, w.ldh, sums + p.H)


cdef void recur_back_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *Q_s, const floating *R, const floating *before,
                             const floating *delta_next, floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t]) for the steps t ... end, last run first.

    On entry delta (rows, slots H) holds ∂E/∂S through the outputs in its first slot. `delta_next` is delta of step `end`, or
    NULL if none comes back. `before` (rows, H) are the states before these steps.
    """
    cdef Py_ssize_t rows, begin, others, at, ldh = w.ldh, ldd = w.ldd, ldr = saved_width(c, w)
    cdef floating *dcarry = <floating *> w.dcarry
    if not c.packed:
        back(p, c, k, w, end - t, 0, c.rows, Q_s, R, before, delta_next, dcarry, delta)
        return
    while end > t:
        rows, others = rows_at(c, w, end - 1), rows_at(c, w, end) if delta_next != NULL else 0
        begin = begin_of_run(c, w, t, end - 1)
        if others > 0:
            delta_next = cut_at_resets(p, c, k, w, end, Q_s, delta_next)
        if others < rows:  # the other rows end here: nothing comes back to them
            at = w.first[end - 1] - w.first[t]
            if others > 0:
                back(p, c, k, w, 1, 0, others, Q_s, R + at * ldr, before + at * ldh, delta_next, dcarry, delta + at * ldd)
            at += others
            back(p, c, k, w, 1, others, rows - others, Q_s, R + at * ldr, before + at * ldh, <const floating *> NULL,
                 dcarry + others * ldh if dcarry != NULL else dcarry, delta + at * ldd)
            at -= others
            delta_next = delta + at * ldd
            end -= 1
        at = w.first[begin] - w.first[t]
        if end > begin:
            back(p, c, k, w, end - begin, 0, rows, Q_s, R + at * ldr, before + at * ldh, delta_next, dcarry, delta + at * ldd)
        delta_next, end = delta + at * ldd, begin
