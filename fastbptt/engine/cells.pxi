# Cells: the recurrence of a block, forward and backward.
#
# Each function goes through a block run by run, so that one kernel call computes as many steps as possible.
#
# kernels/defs/cells.def is the table of cells: how many carries a cell has, what it saves, and whether a gradient goes back
# directly. CELLS below has the forward and the backward function of each. A new cell is a row of both tables. No other file
# of the engine names a cell.
#
# S is the first carry, which W_s and the output read. w.carry is the second carry (the state in the current form, c of the
# LSTM), w.saves what the cell saves in addition (the rate in the rate form, the gates of a GRU or LSTM, the argument of g1 if its
# derivative reads that). dcarry is the gradient that goes back directly, beside delta. delta is ∂E/∂ the pre-activations: for each row one block of H numbers per slot (see
# `slot_of`). Leaky units and cells of one gate have a single slot.
#
# batching.pxi explains row, block, run, packed and reset; plan.pxi explains the letters.

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


cdef inline const CellRow *cell_of(const Call *c) noexcept nogil:
    """Return the row of the call's cell in the table of cells."""
    return &cell_rows[c.units.form]


cdef inline Py_ssize_t saved_numbers(const Call *c) noexcept nogil:
    """Return how many numbers per unit `rates` and `past_rates` hold: those that the cell saves, or the first carry."""
    return max(cell_of(c).saves, 1)


cdef inline bint saves_state(const Call *c) noexcept nogil:
    """Return whether what the cell saves is its public state, the second carry. Then `rates` hold the first carry."""
    return cell_of(c).saves > 0 and cell_of(c).state == SECOND


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


# The functions of each cell, for both types. forward: `recur_through` for steps with the same rows; the arguments are those
# there. backward: `back`. start_back: `find_start_gradient`.
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
CELLS[PLAIN] = Cell(plain_forward[float], plain_forward[double], plain_backward[float], plain_backward[double])
CELLS[RATE] = Cell(leaky_forward[float], leaky_forward[double], leaky_backward[float], leaky_backward[double])
CELLS[CURRENT] = Cell(leaky_forward[float], leaky_forward[double], leaky_backward[float], leaky_backward[double])
CELLS[CURRENT_INPUT] = CELLS[CURRENT]
CELLS[PLAIN_INPUT] = CELLS[PLAIN]
CELLS[GRU] = Cell(gated_forward[float], gated_forward[double], gated_backward[float], gated_backward[double])
CELLS[GRU_BEFORE] = CELLS[GRU]
CELLS[LSTM] = CELLS[GRU]


cdef void plain_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute S[t] = g1(S[t] + S[t - 1] @ W_s.T)."""
    recur(k, p.activation, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, before, S,
          saves if cell_of(c).saves > 0 else <floating *> NULL)


cdef void plain_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t])."""
    recur_back(k, p.activation, steps, rows, p.H, Q_s, w.ldh, R, delta_next, delta)


cdef void leaky_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute both forms of leaky units, and dropout: kernels.h has the formulas."""
    integrate(k, &c.units, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, <const floating *> w.mask,
              <floating *> w.masked, before, carry_before, S, saves if cell_of(c).carries == 1 else carry)
    if saves_state(c):
        memcpy(saves, carry, steps * rows * w.ldh * sizeof(floating))


cdef void leaky_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute the backward steps of both forms of leaky units: kernels.h has the formulas."""
    integrate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh,
                   <const floating *> w.mask + row * w.ldh if w.mask != NULL else <const floating *> NULL,
                   <floating *> w.masked, R, delta_next, dcarry, delta)


cdef void gated_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                        floating *carry, floating *saves) noexcept nogil:
    """Compute the steps of a GRU or LSTM: kernels.h has the formulas."""
    gate(k, &c.units, steps, rows, p.H, <const floating *> shared.P_s, w.ldh, <const floating *> shared.b_n,
               <const floating *> w.mask, <floating *> w.masked, before, carry_before, S, carry, saves)


cdef void gated_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                         Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *before,
                         const floating *delta_next, floating *dcarry, floating *delta) noexcept nogil:
    """Compute the backward steps of a GRU or LSTM: kernels.h has the formulas."""
    gate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh,
                    <const floating *> w.mask + row * w.ldh if w.mask != NULL else <const floating *> NULL,
                    <floating *> w.masked, R, before, delta_next, dcarry, delta)


cdef void start_carries(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *S,
                        floating *carry) noexcept nogil:
    """Turn public states S (rows, H) into the carries of the cell, if the public state is the second carry.

    S becomes the first, `carry` the second. `carry` may be NULL if only the first carry is needed.
    """
    if cell_of(c).state == SECOND:
        if carry != NULL:
            memcpy(carry, S, rows * ldh * sizeof(floating))
        to_rates(c, k, rows, ldh, S)


cdef void recur_through(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                        Py_ssize_t t, Py_ssize_t end, const floating *before, floating *S, floating *carry, floating *saves) noexcept nogil:
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
    if saves_state(c):  # then the derivative reads that S_0 itself
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

    On entry delta (steps, rows, slots H) holds ∂E/∂S by the outputs in its first slot. `delta_next` is delta of the next step,
    or NULL. R is what the derivatives read (see `saved_rates`), `before` (steps, rows, H) the states before these steps. Cells
    with a direct gradient also read and update dcarry (rows, H). With steps = 0, a cell of several gates adds to delta (rows,
    slots H) what comes back to the state before the next step.
    """
    if floating is float:
        CELLS[c.units.form].backward_f32(p, c, k, w, steps, row, rows, Q_s, R, before, delta_next, dcarry, delta)
    else:
        CELLS[c.units.form].backward_f64(p, c, k, w, steps, row, rows, Q_s, R, before, delta_next, dcarry, delta)


cdef const floating *find_start_gradient(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t rows,
                                         const floating *Q_s, const floating *S, const floating *delta_next,
                                         floating *delta) noexcept nogil:
    """Return the gradient by the public states before a step, from delta_next and w.dcarry of that step.

    It is (rows, H) with w.ldd as the distance of rows. If the public state has both carries, the gradient by the second is
    w.dcarry (rows, H). S (rows, H) are the first carries before the step; of a cell that `saves_state`, the second. delta (rows,
    slots H) is scratch.
    """
    cdef floating *dcarry = <floating *> w.dcarry
    memset(delta, 0, rows * w.ldd * sizeof(floating))
    if cell_of(c).gates > 1:
        back(p, c, k, w, 0, 0, rows, Q_s, S, S, delta_next, dcarry, delta)
        return delta
    if cell_of(c).direct:
        back(p, c, k, w, 1, 0, rows, Q_s, S, S, delta_next, dcarry, delta)
        return dcarry
    affine(k, rows, p.H, p.H, delta_next, w.ldh, Q_s, w.ldh, <const floating *> NULL, delta, w.ldh)
    return delta


cdef void add_start_gradient(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t rows,
                             const floating *first, floating *sums) noexcept nogil:
    """Add the rows that `find_start_gradient` returned to sums (width,), the gradient by S_0."""
    column_sums(k, rows, p.H, first, w.ldd, sums)
    if cell_of(c).state == BOTH_CARRIES:
        column_sums(k, rows, p.H, <const floating *> w.dcarry, w.ldh, sums + p.H)


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


cdef inline floating *saved_rates(const Call *c, const Workspace *w, Py_ssize_t row, floating *A) noexcept nogil:
    """Return what the derivatives read, from row `row` of the saved rows on: what the cell saves, else A, its states."""
    return <floating *> w.saves + row * w.lds if cell_of(c).saves > 0 else A


cdef inline Py_ssize_t saved_width(const Call *c, const Workspace *w) noexcept nogil:
    """Return the distance of rows in the array that `saved_rates` returns."""
    return w.lds if cell_of(c).saves > 0 else w.ldh


cdef void recur_back_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *Q_s, const floating *R, const floating *before,
                             const floating *delta_next, floating *delta) noexcept nogil:
    """Compute delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t]) for the steps t ... end, last run first.

    On entry delta (rows, slots H) holds ∂E/∂S by the outputs in its first slot. `delta_next` is delta of step `end`, or NULL if
    none comes back. `before` (rows, H) are the states before these steps.
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
                 dcarry + others * ldh, delta + at * ldd)
            at -= others
            delta_next = delta + at * ldd
            end -= 1
        at = w.first[begin] - w.first[t]
        if end > begin:
            back(p, c, k, w, end - begin, 0, rows, Q_s, R + at * ldr, before + at * ldh, delta_next, dcarry, delta + at * ldd)
        delta_next, end = delta + at * ldd, begin
