# The backward pass of a shard, last block first; truncation windows and segments under a memory limit.
#
# Each block goes back from delta_y to ∂E/∂S, through the recurrence to delta, and from delta to the gradients. Above each
# kernel call stands the NumPy line that it computes. Add here what happens at every step of a backward pass; what happens
# between two states belongs in cells.pxi, penalties in regularizers.pxi.
#
# delta (rows, H) is ∂E/∂ the pre-activations of the hidden units, delta_y (rows, O) that of the outputs. `delta_next` is
# delta of the step after a block, dcarry the gradient that goes back directly, beside it.
# batching.pxi explains row, shard, block, run, packed, segment, border and window; plan.pxi explains the letters.

cdef void backward(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                   const floating *theta) noexcept nogil:
    """Compute every gradient except ∂E/∂W_y and ∂E/∂b_y, from the saved S and delta_y.

    Adds to c.gradient (P,), and writes c.dX (T, B, I) and c.dS_0 (B, H) if the call asks for them.
    """
    cdef Py_ssize_t B = c.rows, H = p.H, ldh = w.ldh, ldd = w.ldd, since = c.past, end, block = 0, i, g, h
    cdef bint begun = False  # an error went back to the first step
    cdef const floating *first
    cdef floating *start = <floating *> w.S  # the carries before the first step that the derivatives read
    cdef floating *first_delta = <floating *> w.first_delta
    cdef floating *delta = <floating *> w.delta
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *gradient = <floating *> c.gradient
    cdef floating *table = <floating *> w.table
    cdef floating *dcarry = <floating *> w.dcarry
    cdef floating *first_dcarry = <floating *> w.first_dcarry
    cdef bint direct = cell_of(c).direct
    cdef Py_ssize_t rows

    if c.packed:
        memset(w.reset_sums, 0, (B if direct else 1) * ldd * sizeof(double))
    if c.packed and direct:
        memset(w.reset_dcarry_sums, 0, B * ldh * sizeof(double))
        memset(w.old_start_sums, 0, ldh * sizeof(double))
    if p.one_hot:
        memset(table, 0, p.I * p.gates * ldh * sizeof(floating))
    if w.leak_dS != NULL:
        memset(w.leak_sums, 0, ldh * sizeof(double))
    first = <floating *> w.delta_next
    if c.k1 == 0:
        if c.segments > 0:
            begun = backward_again(p, c, k, shared, w, theta)
        elif c.most > 0:
            block = blocks_until(c, w, c.most, 0) if c.packed else 0
            begun = backward_through(p, c, k, shared, w, theta, 0, 0, c.most, block, <floating *> NULL)
    else:
        memset(first_delta, 0, B * ldd * sizeof(floating))
        if direct:
            memset(first_dcarry, 0, B * ldh * sizeof(floating))
        while since < c.most:  # one window: errors of since ... end, through k2 steps
            end = min(since + c.k1, c.T)
            block = blocks_until(c, w, min(end, c.most), block)
            if backward_through(p, c, k, shared, w, theta, max(0, end - c.k2), since, min(end, c.most), block,
                                <floating *> NULL):
                begun = True
                for i in range(rows_at(c, w, 0) * ldd):
                    first_delta[i] += first[i]
                for i in range(rows_at(c, w, 0) * ldh if direct else 0):
                    first_dcarry[i] += dcarry[i]
            since = end
        first = first_delta
        if direct:
            memcpy(dcarry, first_dcarry, B * ldh * sizeof(floating))
    if read_flag(c.stop):
        return

    # dleak_logit = (1 - leak) * (sum(dS * (S[1:] - S[:-1])) - sum(delta * noise) / 2)                  (H,)
    for h in range(H if w.leak_dS != NULL else 0):
        gradient[p.leak_logit + h] += <floating> ((<const floating *> c.units.keeps)[h] * w.leak_sums[h])
    for i in range(p.I if p.one_hot else 0):
        for g in range(p.gates):
            for h in range(H):
                gradient[p.W_x + (g * H + h) * p.I + i] += table[(i * p.gates + slot_of(p, g)) * ldh + h]
    # dS_0 = delta[0] @ W_s                                                                           (B, H)
    if not begun:
        if c.dS_0 != NULL and not c.packed:
            memset(c.dS_0, 0, B * p.width * sizeof(floating))
    elif to_first_state(p, c):
        first = cut_at_resets(p, c, k, w, 0, Q_s, first)
        if saves_state(c) and derivative_reads_saves(c):
            start = <floating *> w.carry
            first_states(p, c, k, theta, ldh, <floating *> w.S, start)
        first = find_start_gradient(p, c, k, w, B, Q_s, start, first, delta)
        if c.dS_0 != NULL:
            scatter(k, 1, B, H, first, ldd, <floating *> c.dS_0, 0, p.width, c.order)
            if p.width > H:
                scatter(k, 1, B, H, dcarry, ldh, <floating *> c.dS_0 + H, 0, p.width, c.order)
        if p.S_0 >= 0 and (c.initial_state == NULL or c.own_start):
            add_start_gradient(p, c, k, w, B, first, gradient + p.S_0)
    if p.S_0 >= 0 and c.packed:
        # dS_0 += the same from the rows that were reset: W_s read S_0 there                            (H,)
        rows = B if direct else 1
        start = <floating *> w.initial + (ldh if saves_state(c) and derivative_reads_saves(c) else 0)
        for i in range(rows):
            memcpy(<floating *> w.after_resets + i * ldh, start, ldh * sizeof(floating))
        if direct:
            to_dtype(rows * ldh, <double *> w.reset_dcarry_sums, dcarry)
        to_dtype(rows * ldd, <double *> w.reset_sums, <floating *> w.delta_next)
        first = find_start_gradient(p, c, k, w, rows, Q_s, <floating *> w.after_resets, <floating *> w.delta_next, delta)
        add_start_gradient(p, c, k, w, rows, first, gradient + p.S_0)
        if c.old > 0 and direct:
            to_dtype(ldh, <double *> w.old_start_sums, delta)
            column_sums(k, 1, H, delta, ldh, gradient + p.S_0)


cdef Py_ssize_t blocks_until(const Call *c, const Workspace *w, Py_ssize_t end, Py_ssize_t block) noexcept nogil:
    """Return the number of blocks that end at step `end` or before it.

    The caller knows that the first `block` blocks do. Needs w.begins, so the call must be packed or have windows.
    """
    while block == 0 or end_of_block(c, w, w.begins[block - 1]) < end:
        block += 1
    return block


cdef bint backward_again(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                         const floating *theta) noexcept nogil:
    """Take all errors back through all steps under a memory limit: recompute each segment, last one first.

    Return whether an error came back to the first step. Delta of that step is then in w.delta_next (B, H).
    """
    cdef Py_ssize_t i, begin, end, before, ldh = w.ldh
    cdef const floating *saved
    cdef const floating *delta_next = NULL
    for i in range(w.segments - 1, -1, -1):
        begin, end = w.borders[i], w.borders[i + 1]
        before = rows_at(c, w, begin - 1) if begin > 0 else c.rows
        w.origin = rows_before(c, w, begin)
        saved = <floating *> w.border_states + i * cell_of(c).carries * c.rows * ldh
        memcpy(<floating *> w.S + (c.rows - before) * ldh, saved, before * ldh * sizeof(floating))
        if cell_of(c).carries > 1:
            memcpy(w.carry, saved + c.rows * ldh, before * ldh * sizeof(floating))
        if forward_through(p, c, k, shared, w, theta, begin, end, True) != DONE:
            return False
        if (not backward_through(p, c, k, shared, w, theta, begin, begin, end, w.border_blocks[i + 1], delta_next)
                and begin == 0):
            return False
        delta_next = <floating *> w.delta_next
    return delta_next != NULL


cdef bint backward_through(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                           const floating *theta, Py_ssize_t begin, Py_ssize_t since, Py_ssize_t end, Py_ssize_t block,
                           const floating *delta_next) noexcept nogil:
    """Take the errors of the steps since ... end back through the steps begin ... end, block by block.

    `block` is the number of blocks before `end`. `delta_next` is delta (rows, H) of step `end`, or NULL if nothing comes from
    there.

    Return whether an error came back to the very first step. Delta of that step is then in w.delta_next (B, H).
    """
    cdef Py_ssize_t I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo, ldd = w.ldd, slots_of_X = p.gates * w.ldh
    cdef Py_ssize_t t, of_block, rows
    cdef const Py_ssize_t *row_index
    cdef floating *S
    cdef floating *A
    cdef floating *R
    cdef floating *saves
    cdef const floating *before
    cdef floating *X = <floating *> w.X
    cdef floating *delta = <floating *> w.delta
    cdef floating *Q_x = <floating *> shared.Q_x
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *gradient = <floating *> c.gradient
    cdef floating *dX = <floating *> c.dX

    while end > begin:
        if delta_next != NULL and stopped(c):
            return False
        if c.packed or c.k1 > 0:
            block -= 1
            of_block = w.begins[block]
        else:
            of_block = (end - 1) // (w.rows // c.rows) * (w.rows // c.rows)
        t = max(of_block, begin)
        rows = rows_before(c, w, end) - rows_before(c, w, t)
        if c.precomputed:
            w.origin = rows_before(c, w, t)
        A = <floating *> w.S + (c.rows + rows_before(c, w, t) - w.origin) * ldh
        R = saved_rates(c, w, rows_before(c, w, t) - w.origin, A)
        saves = <floating *> w.saves + (rows_before(c, w, t) - w.origin) * w.lds if cell_of(c).saves > 0 else <floating *> NULL
        S = A - (rows_at(c, w, t - 1) if t > 0 else c.rows) * ldh  # states of the step before
        if c.precomputed:
            read_precomputed(p, c, k, w, t, S)
        if w.leak_dS != NULL and cell_of(c).carries > 1:
            read_current_before(p, c, k, w, theta, t)
        row_index = find_row_index(p, c, w, t, end)
        if c.precomputed:
            read_states(p, c, k, t, rows, row_index, <const floating *> c.past_states, ldh, A, <floating *> NULL)
        if c.precomputed and cell_of(c).saves > 0:
            read_saves(p, c, k, t, rows, row_index, <const floating *> c.past_rates, saves, w.lds)
        # dS = delta_y @ W_y                                                                          (rows, H)
        if not p.reads:
            read(c, k, t, rows, row_index, H, <const floating *> c.D, delta, ldd)
        elif end > since:
            readout_back(p, c, k, w, <floating *> shared.Q_y, of_block, t, end, delta, ldd)
            if c.rates != 0:
                add_rates(rows, H, 2 * c.rates, A, ldh, delta, ldd)
        else:
            memset(delta, 0, rows * ldd * sizeof(floating))
        before = S
        if c.packed:
            find_states_before(p, c, k, w, t, end, S, A, <floating *> w.before)
            before = <floating *> w.before
        # delta[t] = (dS[t] + delta[t + 1] @ W_s) * g1'(S[t + 1])                                     (rows, H)
        if c.omega == 0:
            recur_back_through(p, c, k, w, t, end, Q_s, R, before, delta_next, delta)
        else:
            recur_back_by_steps(p, c, k, w, t, end, Q_s, R, delta_next, delta)
            add_omega_rows(p, c, w, rows, <const floating *> delta)
            # slope += u.T @ (2 (1 - 1/r) v)                                                          (H, H)
            if H > 1:
                accumulate(k, rows, H, H, <floating *> w.dS, ldh, <floating *> w.back, ldh, <floating *> c.omega_slope, H)
            else:
                add_products(rows, <floating *> w.dS, <floating *> w.back, ldh, <floating *> c.omega_slope)
        if w.leak_dS != NULL:
            if c.noise > 0:
                memset(w.leak_noise, 0, rows * ldh * sizeof(floating))
                add_noise(c, t, rows, row_index, p.stream, c.noise, c.noise_scales, H, <floating *> w.leak_noise, ldh)
            if cell_of(c).carries > 1:
                find_currents_before(p, c, w, t, end, <const floating *> saves)
                add_leak_sums(p, c, w, rows, saves, <floating *> w.leak_before, delta)
            else:
                add_leak_sums(p, c, w, rows, A, before, delta)
        # dW_s = delta.T @ S[:-1]                                                                     (H, H)
        if w.mask != NULL:
            drop_out(c, w, t, end, before, <floating *> w.before)
            before = <floating *> w.before
        if w.gated != NULL:
            find_gated(p, w, rows, R, before, <floating *> w.gated)
        if w.shared.factored and (end > 1 or not from_zero(p, c)):
            add_to_factors(p, k, w, rows, delta, before, gradient)
        elif p.gates == 1 and (end > 1 or not from_zero(p, c)):
            accumulate(k, rows, H, H, delta, ldh, before, ldh, gradient + p.W_s, H)
        # dW_x = delta.T @ X ;  db_s = delta.sum(axis=0)                                              (H, I) ; (H,)
        if p.one_hot:
            add_by_id(c, rows, row_index, delta, ldd, slots_of_X, <floating *> w.table)
        else:
            if end - t < c.most or c.precomputed or c.has_saved:  # if there is only one block, X still holds its inputs
                read(c, k, t, rows, row_index, I, <const floating *> c.X, X, ldi)
                add_noise(c, t, rows, row_index, INPUT, c.input_noise, NULL, I, X, ldi)
            if p.gates == 1:
                accumulate(k, rows, H, I, delta, ldh, X, ldi, gradient + p.W_x, I)
        if p.gates > 1:
            add_gate_gradients(p, k, w, rows, delta, before, X, p.one_hot, gradient)
        elif p.b_s >= 0:
            column_sums(k, rows, H, delta, ldh, gradient + p.b_s)
        if dX != NULL:
            # dX = delta @ W_x                                                                        (rows, I)
            affine(k, rows, H if p.gates == 1 else slots_of_X, I, delta, ldd, Q_x, ldi, <const floating *> NULL, X, ldi)
            if c.drops_noise:
                drop_noise_rows(rows, I, X, ldi, H, <const floating *> delta, ldh, c.norm_W_x)
            if c.k1 > 0:
                add_rows(c, t, rows, row_index, I, X, ldi, dX)
            else:
                write(c, k, t, rows, row_index, I, X, ldi, dX)
        delta_next = <floating *> w.delta_next
        memcpy(w.delta_next, delta, rows_at(c, w, t) * ldd * sizeof(floating))
        end = t
    if begin > 0 and delta_next != NULL and c.segments == 0:
        # A reset at the window's start reads S_0, so its gradient still reaches S_0.
        cut_at_resets(p, c, k, w, begin, Q_s, delta_next)
    return begin == 0 and delta_next != NULL


cdef void read_precomputed(const Plan *p, const Call *c, const Kernels *k, Workspace *w, Py_ssize_t t,
                           floating *S) noexcept nogil:
    """Write the first carry of the precomputed states before step t to S (rows, H)."""
    if t > 0:
        read_states(p, c, k, t - 1, rows_at(c, w, t - 1), find_row_index(p, c, w, t - 1, t),
                    <const floating *> c.past_states, w.ldh, S, <floating *> NULL)
    else:
        gather_states(p, c, k, c.rows, <const floating *> c.initial_state, p.width, c.order, w.ldh, S, <floating *> NULL)


cdef void read_current_before(const Plan *p, const Call *c, const Kernels *k, Workspace *w, const floating *theta,
                              Py_ssize_t t) noexcept nogil:
    """Write the second carry before step t, of a cell that saves its state, to w.leak_first (B, H).

    It comes from the start of the sequences, from precomputed states, from the border of a segment, or from what the step
    before saved. w.leak_before may receive the first carry, which is not needed.
    """
    cdef Py_ssize_t i, rows = rows_at(c, w, t - 1) if t > 0 else c.rows
    cdef const floating *source
    cdef floating *carry = <floating *> w.leak_first
    cdef floating *unused = <floating *> w.leak_before
    if t == 0:
        first_states(p, c, k, theta, w.ldh, unused, carry)
        return
    if c.precomputed:
        read_states(p, c, k, t - 1, rows, find_row_index(p, c, w, t - 1, t), <const floating *> c.past_states, w.ldh, unused,
                    carry)
        return
    source = <floating *> w.saves + (rows_before(c, w, t - 1) - w.origin) * w.lds
    for i in range(w.segments):
        if w.borders[i] == t:  # the steps before are not in memory
            source = <floating *> w.border_states + (2 * i + 1) * c.rows * w.ldh
    memcpy(carry, source, rows * w.ldh * sizeof(floating))


cdef void readout_back(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, const floating *Q_y,
                       Py_ssize_t of_block, Py_ssize_t t, Py_ssize_t end, floating *dS, Py_ssize_t ldd) noexcept nogil:
    """Compute dS = delta_y @ W_y, (rows, H) with rows ldd apart, for the steps t ... end of the block of_block ... end.

    If errors are sparse, delta_y holds only the rows with an error. The other rows of dS become 0.
    """
    cdef Py_ssize_t O = p.O, H = p.H, ldh = w.ldh, ldo = w.ldo, i, skipped = 0, errors
    cdef Py_ssize_t above = rows_before(c, w, t) - rows_before(c, w, of_block)
    cdef Py_ssize_t rows = rows_before(c, w, end) - rows_before(c, w, t)
    cdef const floating *delta_y = <floating *> w.delta_y + (rows_before(c, w, of_block) - w.origin) * ldo
    errors = find_error_rows(c, w, of_block, end, <const floating *> c.weights) if c.sparse else above + rows
    if errors == above + rows:
        affine(k, rows, O, H, delta_y + above * ldo, ldo, Q_y, ldh, <const floating *> NULL, dS, ldd)
        if c.drops_noise:
            drop_noise_rows(rows, H, dS, ldd, O, delta_y + above * ldo, ldo, c.norm_W_y)
        return
    memset(dS, 0, rows * ldd * sizeof(floating))
    while skipped < errors and w.error_rows[skipped] < above:
        skipped += 1
    for i in range(skipped, errors):
        w.error_rows[i] -= above
    if skipped < errors:
        affine(k, errors - skipped, O, H, delta_y + skipped * ldo, ldo, Q_y, ldh, <const floating *> NULL, <floating *> w.R,
               ldh)
        if c.drops_noise:
            drop_noise_rows(errors - skipped, H, <floating *> w.R, ldh, O, delta_y + skipped * ldo, ldo, c.norm_W_y)
        scatter(k, 1, errors - skipped, H, <floating *> w.R, ldh, dS, 0, ldd, w.error_rows + skipped)
