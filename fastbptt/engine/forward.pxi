# The forward pass of a shard, block by block.
#
# For each block: gather the inputs, multiply them by W_x, run the recurrence, compute outputs and errors. The block's arrays
# stay in the second-level cache meanwhile. Above each kernel call stands the NumPy line that it computes, for the block
# t ... end of a shard of B sequences. Add here what happens at every step of a forward pass; what happens between two states
# belongs in cells.pxi.
#
# Z (rows, O) are the output pre-activations. delta_y (rows, O) is ∂E/∂Z: `error` writes it in the place of Z.
# batching.pxi explains row, shard, block, run, packed, segment, border and window; plan.pxi explains the letters.

cdef int forward(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                 const floating *theta) noexcept nogil:
    """Run the forward pass of a shard: compute its outputs, states and errors. Return DONE or STOPPED.

    If c.gradient is wanted, also saves S and delta_y in the workspace and adds ∂E/∂W_y and ∂E/∂b_y to c.gradient (P,). If all
    states are precomputed, only prepares the workspace for `backward`.
    """
    cdef Py_ssize_t ldh = w.ldh
    cdef floating *S = <floating *> w.S
    # S[0] = S_0                                                                                      (B, H)
    if not c.has_saved:
        first_states(p, c, k, theta, ldh, S, <floating *> w.carry)
    if not c.packed and c.S != NULL:
        scatter_states(p, c, k, c.rows, S, <floating *> w.carry, ldh, <floating *> c.S, NULL)
    if c.packed:
        own_states(p, c, k, theta, 1, ldh, <floating *> w.initial, <floating *> w.initial + ldh)
    if w.mask != NULL:
        draw_masks(p, c, w, <floating *> w.mask)
    w.origin = w.segments = 0
    if c.precomputed:
        number_blocks(c, w)
        return DONE
    return forward_through(p, c, k, shared, w, theta, 0, c.most, False)


cdef void number_blocks(const Call *c, Workspace *w) noexcept nogil:
    """Compute w.begins, the first step of each block of a packed call; do nothing in other calls."""
    cdef Py_ssize_t t = 0, block = 0
    while c.packed and t < c.most:
        w.begins[block] = t
        t, block = end_of_block(c, w, t), block + 1


cdef int forward_through(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, const floating *theta,
                         Py_ssize_t t, Py_ssize_t until, bint again) noexcept nogil:
    """Compute the steps t ... until from the states before them. Return DONE or STOPPED.

    `again` says that `backward` computes a segment again: then only S and delta_y are written, and no result of the call.
    """
    cdef Py_ssize_t B = c.B, I = p.I, H = p.H, O = p.O, K = c.error.K, width = c.weight_width
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo, ldk = w.ldk
    cdef Py_ssize_t end, block = 0, rows, errors, before = c.rows if t == 0 else rows_at(c, w, t - 1), after
    cdef bint targets = p.reads and (c.D != NULL or c.labels != NULL), keeps = c.saves and (c.segments == 0 or again)
    cdef double total
    cdef const Py_ssize_t *row_index
    cdef const Py_ssize_t *error_index
    cdef floating *S = <floating *> w.S + (c.rows - before) * w.ldh
    cdef floating *R
    cdef floating *A
    cdef floating *Z = <floating *> w.delta_y
    cdef floating *X = <floating *> w.X
    cdef floating *D = <floating *> w.D if c.D != NULL else NULL
    cdef floating *P_x = <floating *> shared.P_x
    cdef floating *P_y = <floating *> shared.P_y
    cdef floating *gradient = <floating *> c.gradient
    cdef const floating *b_s = <const floating *> shared.biases if p.gates > 1 else theta + p.b_s if p.b_s >= 0 else NULL
    cdef const floating *b_y = theta + p.b_y if p.b_y >= 0 else NULL
    cdef floating *weights = <floating *> w.weights
    cdef Py_ssize_t *labels = w.labels if c.labels != NULL else NULL
    cdef floating *losses = <floating *> w.losses if c.losses != NULL else NULL
    cdef const CellRow *cell = cell_of(c)
    cdef bint saved = cell.saves > 0, second = cell.carries > 1, gated = cell.gates > 1
    cdef floating *saves = <floating *> w.saves
    cdef floating *carry = <floating *> w.carry + c.rows * ldh if second else NULL
    cdef Py_ssize_t lda = w.lds if gated else ldh, width_of_A = cell.gates * ldh
    cdef floating *inputs  # the inputs' part of the pre-activations: in `saves` if there are several gates, else A

    while t < until:
        if t > 0 and stopped(c):
            return STOPPED
        end = end_of_block(c, w, t)
        if c.segments > 0 and not again:
            mark_border(c, w, t, end, block, S, before)
        if (c.packed or c.k1 > 0) and not again:
            w.begins[block] = t
            block += 1
        rows, after = rows_before(c, w, end) - rows_before(c, w, t), rows_at(c, w, end - 1)
        row_index = find_row_index(p, c, w, t, end)
        A = S + before * ldh
        inputs = saves if gated else A
        # A = X @ W_x.T + b_s, in the memory of S[1:] or of `saves`                                     (rows, gates H)
        if t < c.past:
            read_states(p, c, k, t, rows, row_index, <const floating *> c.past_states, ldh, A, carry)
            if saved:
                read_saves(p, c, k, t, rows, row_index, <const floating *> c.past_rates, saves, w.lds)
        elif not p.recurs:
            read(c, k, t, rows, row_index, H, <const floating *> c.X, A, ldh)
        elif p.one_hot and not c.has_saved:
            look_up(c, rows, row_index, P_x, width_of_A, inputs, lda)
        elif not c.has_saved:
            read(c, k, t, rows, row_index, I, <const floating *> c.X, X, ldi)
            add_noise(c, t, rows, row_index, INPUT, c.input_noise, NULL, I, X, ldi)
            affine(k, rows, I, width_of_A if gated else H, X, ldi, P_x, width_of_A, b_s, inputs, lda)
        if t >= c.past and p.recurs and not c.has_saved:
            add_noise(c, t, rows, row_index, p.stream, c.noise, c.noise_scales, H, A, ldh)
        # S[t + 1] = g1(A[t] + S[t] @ W_s.T)                                                          (rows, H)
        if t >= c.past and p.recurs and not c.has_saved:
            recur_through(p, c, k, shared, w, t, end, S, A, carry, saves)
        if c.S != NULL and not again:
            write_states(p, c, k, t, rows, row_index, A, carry, ldh, <floating *> c.S + B * p.width)
        if c.R != NULL and c.rates_of_saved and saved and reads_input(p.activation) and not saves_state(c):
            to_rates(c, k, rows, ldh, saves)  # such a call keeps nothing, so nothing reads the pre-activations
        if c.R != NULL and not again and saved and not saves_state(c):
            write_saves(p, c, k, t, rows, row_index, saves, w.lds, <floating *> c.R)
        elif c.R != NULL and not again:
            write(c, k, t, rows, row_index, H, A, ldh, <floating *> c.R)
        if c.rates != 0 and t >= c.past and not again:
            c.squares += sum_of_squares(rows, H, A, ldh)

        if (targets or c.Y != NULL) and t >= c.past:
            R, errors, error_index = A, rows, row_index
            if c.sparse:
                errors, error_index = find_error_rows(c, w, t, end, <const floating *> c.weights), w.error_index
                if 0 < errors < rows:
                    R = <floating *> w.R
                    gather(k, 1, errors, H, A, 0, ldh, w.error_rows, R, ldh)
            # Z = S[1:] @ W_y.T + b_y                                                                 (errors, O)
            if errors > 0:
                affine(k, errors, H, O, R, ldh, P_y, ldo, b_y, Z, ldo)
                # Y = g2(Z), or e and delta_y = scale ∂(Σ m e)/∂Z, written over Z                     (errors, O)
                if D != NULL:
                    read(c, k, t, errors, error_index, K, <const floating *> c.D, D, ldk)
                if labels != NULL:
                    gather_labels(c, t, errors, error_index, labels)
                if width:
                    read(c, k, t, errors, error_index, width, <const floating *> c.weights, weights, width)
                if width and c.weight_scale != 1:
                    multiply(errors * width, c.weight_scale, weights)
                total = error(k, &c.error, errors, D, ldk, labels, weights, width, Z, ldo, losses)
                if not again:
                    c.total += total
                if losses != NULL:
                    write(c, k, t, errors, error_index, 1, losses, 1, <floating *> c.losses)
                if c.Y != NULL:
                    write(c, k, t, errors, error_index, O, Z, ldo, <floating *> c.Y)
                if gradient != NULL and not again:
                    # dW_y = delta_y.T @ S[1:] ;  db_y = delta_y.sum(axis=0)                          (O, H) ; (O,)
                    accumulate(k, errors, O, H, Z, ldo, R, ldh, gradient + p.W_y, H)
                    if p.b_y >= 0:
                        column_sums(k, errors, O, Z, ldo, gradient + p.b_y)
            if c.dX != NULL and not p.recurs:
                # dX = delta_y @ W_y                                                                  (rows, H)
                w.origin = rows_before(c, w, t)
                readout_back(p, c, k, w, <floating *> shared.Q_y, t, t, end, <floating *> w.delta, ldh)
                write(c, k, t, rows, row_index, H, <floating *> w.delta, ldh, <floating *> c.dX)
        if c.final_state != NULL and c.packed:
            write_last_states(p, c, k, w, t, end, A, carry)

        A += (rows - after) * ldh  # the states of the block's last step
        if second:
            memmove(w.carry, carry + (rows - after) * ldh, after * ldh * sizeof(floating))
        if saved and keeps:
            saves += rows * w.lds
        if keeps:
            S = A
            Z += rows * ldo
        else:  # states are not saved: the next block overwrites this one, from its last states on
            memmove(S, A, after * ldh * sizeof(floating))
        before, t = after, end

    if c.segments > 0 and not again:
        w.borders[w.segments] = until
        w.border_blocks[w.segments] = block
    if c.final_state != NULL and not c.packed:
        scatter_states(p, c, k, before, S, <floating *> w.carry, ldh, <floating *> c.final_state, NULL)
    return DONE


cdef void mark_border(const Call *c, Workspace *w, Py_ssize_t t, Py_ssize_t end, Py_ssize_t block, const floating *S,
                      Py_ssize_t rows) noexcept nogil:
    """Begin a new segment with the block t ... end if the present segment has no room for it.

    Saves the carries before the block, of which S (rows, H) is the first, in w.border_states: `backward` recomputes the segment
    from them.
    """
    cdef floating *saved
    cdef Py_ssize_t begin = w.borders[w.segments - 1] if w.segments > 0 else 0
    if w.segments > 0 and rows_before(c, w, end) - rows_before(c, w, begin) <= max(w.rows, c.segment_rows):
        return
    w.borders[w.segments] = t
    w.border_blocks[w.segments] = block
    saved = <floating *> w.border_states + w.segments * cell_of(c).carries * c.rows * w.ldh
    memcpy(saved, S, rows * w.ldh * sizeof(floating))
    if cell_of(c).carries > 1:
        memcpy(saved + c.rows * w.ldh, w.carry, rows * w.ldh * sizeof(floating))
    w.segments += 1


cdef void write_last_states(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                            Py_ssize_t end, const floating *S, const floating *carry) noexcept nogil:
    """Write c.final_state (B, width) for the sequences whose last step is one of t ... end.

    S and `carry` (rows, H) are the carries of these steps. Only packed calls use this function.
    """
    cdef Py_ssize_t others, at, begin = t
    for t in range(t, end):
        others = rows_at(c, w, t + 1)
        if others < rows_at(c, w, t):
            at = (w.first[t] - w.first[begin] + others) * w.ldh
            scatter_states(p, c, k, rows_at(c, w, t) - others, S + at, carry + at, w.ldh, <floating *> c.final_state,
                           c.order + others)
