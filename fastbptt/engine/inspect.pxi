# Inspect: terms of the gradient by step, and norms of the gradient that flows back.
#
# These calls explain a gradient (gradient_terms, gradient_flow). They run after a forward pass that saved S and delta_y. Add
# here a diagnostic that goes back on its own; it must not slow down forward.pxi or backward.pxi.
#
# E_t is the error of step t. delta, delta_y, delta_next and dcarry are those of backward.pxi.
# batching.pxi explains row, shard, block, run and packed; plan.pxi explains the letters.

cdef void find_states_before(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *S, const floating *A, floating *before) noexcept nogil:
    """Write the state before each of the steps t ... end, after resets, to before (rows, H).

    S are the states before step t, A (rows, H) those of the steps t ... end. A reset brings w.initial or an earlier S_0.
    """
    cdef Py_ssize_t ldh = w.ldh, row, rows, next
    while t < end:
        apply_resets(c, w, t, S, w.initial, before)
        for row in range(rows_at(c, w, t) if t < c.old and c.resets != NULL else 0):
            if is_reset(c, t, row):
                find_old_start(p, c, k, t, ldh, before + row * ldh)
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        # The other steps of the run have no reset: the states before them lie in one piece.
        memcpy(before + rows * ldh, A, (next - t - 1) * rows * ldh * sizeof(floating))
        before += (next - t) * rows * ldh
        A += (next - t) * rows * ldh
        S = A - rows * ldh
        t = next


cdef void terms(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                const floating *theta) noexcept nogil:
    """Compute what each step i <= t contributes to the gradient of E_t, for the call's last step t = T - 1.

    c.D and c.labels are the targets of that step. Writes c.terms_S (T, B, width), and adds this shard's part to c.terms_W_s
    (T, gates H, H), c.terms_W_x (T, gates H, I) and c.terms_W_y (O, H). Shards must come in order: the first one sets W_s and
    W_x to 0.
    """
    cdef Py_ssize_t T = c.T, B = c.rows, I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo, ldd = w.ldd, of_W_s = p.gates * H * H, of_W_x = p.gates * H * I
    cdef Py_ssize_t i, b, g, h
    cdef bint gated = p.gates > 1, direct = cell_of(c).direct
    cdef floating *S = <floating *> w.S
    cdef floating *delta_y = <floating *> w.delta_y
    cdef floating *X = <floating *> w.X
    cdef floating *D = <floating *> w.D if c.D != NULL else NULL
    cdef floating *delta = <floating *> w.delta
    cdef floating *P_y = <floating *> shared.P_y
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *Q_y = <floating *> shared.Q_y
    cdef floating *W_s = <floating *> c.terms_W_s
    cdef floating *W_x = <floating *> c.terms_W_x
    cdef floating *dS = <floating *> c.terms_S
    cdef floating *R
    cdef floating *before
    cdef const floating *delta_next = NULL

    # delta_y = ∂E_t/∂Z_t ;  dW_y = delta_y.T @ S[t + 1] ;  dS[t] = delta_y @ W_y
    affine(k, B, H, O, S + T * B * ldh, ldh, P_y, ldo, theta + p.b_y if p.b_y >= 0 else NULL, delta_y, ldo)
    if D != NULL:
        gather(k, 1, B, c.error.K, <const floating *> c.D, 0, c.error.K, NULL, D, w.ldk)
    error(k, &c.error, B, D, w.ldk, c.labels, <const floating *> NULL, 0, delta_y, ldo, <floating *> NULL)
    accumulate(k, B, O, H, delta_y, ldo, S + T * B * ldh, ldh, <floating *> c.terms_W_y, H)
    affine(k, B, O, H, delta_y, ldo, Q_y, ldh, <const floating *> NULL, delta, ldd)

    for i in range(T - 1, -1, -1):
        if stopped(c):
            return
        if c.begin == 0:  # the first shard
            memset(W_s + i * of_W_s, 0, of_W_s * sizeof(floating))
            memset(W_x + i * of_W_x, 0, of_W_x * sizeof(floating))
        before = S + i * B * ldh
        R = saved_rates(c, w, i * B, before + B * ldh)
        if gated and delta_next == NULL:
            memset(w.dcarry, 0, B * ldh * sizeof(floating))
        elif gated:  # what comes back to the states after step i
            find_start_gradient(p, c, k, w, B, Q_s, before, delta_next, delta)
        if not direct or gated:
            scatter(k, 1, B, H, delta, ldd, dS + i * c.B * p.width, 0, p.width, NULL)
        if p.width > H:
            scatter(k, 1, B, H, <floating *> w.dcarry, ldh, dS + i * c.B * p.width + H, 0, p.width, NULL)
        if gated and delta_next != NULL:
            memset(delta, 0, B * ldd * sizeof(floating))
        # delta[i] = dS[i] * g1'(S[i + 1])                                                            (B, H)
        back(p, c, k, w, 1, 0, B, Q_s, R, before, delta_next, <floating *> w.dcarry, delta)
        if direct and not gated:
            scatter(k, 1, B, H, <floating *> w.dcarry, ldh, dS + i * c.B * H, 0, H, NULL)
        # W_s[i] = delta[i].T @ S[i] ;  W_x[i] = delta[i].T @ X[i]                                  (H, H) ; (H, I)
        if w.gated != NULL:
            find_gated(p, w, B, R, before, <floating *> w.gated)
        if gated:
            add_recurrent_gradient(p, k, w, B, delta, before, W_s + i * of_W_s)
        else:
            accumulate(k, B, H, H, delta, ldh, before, ldh, W_s + i * H * H, H)
        if p.one_hot:
            for b in range(B):
                for g in range(p.gates):
                    for h in range(H):
                        W_x[i * of_W_x + (g * H + h) * I + c.ids[i * c.B + b]] += delta[b * ldd + slot_of(p, g) * ldh + h]
        else:
            gather(k, 1, B, I, <const floating *> c.X + i * c.B * I, 0, I, NULL, X, ldi)
            if gated:
                add_input_gradient(p, k, w, B, delta, X, ldi, I, W_x + i * of_W_x)
            else:
                accumulate(k, B, H, I, delta, ldh, X, ldi, W_x + i * H * I, I)
        # dS[i - 1] = delta[i] @ W_s                                                                  (B, H)
        if direct:
            memcpy(w.delta_next, delta, B * ldd * sizeof(floating))
            memset(delta, 0, B * ldd * sizeof(floating))
            delta_next = <floating *> w.delta_next
        elif i > 0:
            affine(k, B, H, H, delta, ldh, Q_s, ldh, <const floating *> NULL, <floating *> w.delta_next, ldh)
            memcpy(delta, w.delta_next, B * ldh * sizeof(floating))


cdef void flow(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
               const floating *theta) noexcept nogil:
    """Compute ‖∂E_t/∂S_i‖ of each error of steps flow_begin ... flow_end, and ‖∂E/∂S_i‖ of all errors together.

    Adds this shard's part to c.flow and c.flow_whole. Follows as many errors at a time as stay in the cache.
    """
    cdef Py_ssize_t begin, end = c.flow_end
    cdef floating *norms = <floating *> c.flow
    cdef floating *of_carry = <floating *> c.flow_carry
    flow_back(p, c, k, shared, w, 0, c.T, True, <floating *> c.flow_whole, <floating *> c.flow_carry_whole)
    while end > c.flow_begin:
        begin = max(c.flow_begin, end - w.flow_errors)
        flow_back(p, c, k, shared, w, begin, end, False, norms + (begin - c.flow_begin) * c.T,
                  of_carry + (begin - c.flow_begin) * c.T if of_carry != NULL else NULL)
        end = begin


cdef void flow_back(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, Py_ssize_t begin,
                    Py_ssize_t end, bint together, floating *norms, floating *of_carry) noexcept nogil:
    """Take the errors of steps begin ... end back through all steps before them, `together` or each by itself.

    Puts ‖∂E/∂S_i‖ over this and earlier shards into norms: (T,) if together, else (end - begin, T).

    Errors by themselves are `errors` blocks of B rows in w.flow_dS. The last step's error comes first, so errors that have
    begun are always the first rows.
    """
    cdef Py_ssize_t B = c.rows, T = c.T, H = p.H, ldh = w.ldh, ldo = w.ldo, errors = 0, i, n
    cdef const floating *delta_y = <floating *> w.delta_y
    cdef const floating *R
    cdef floating *dS = <floating *> w.flow_dS
    cdef floating *delta = <floating *> w.flow_delta
    cdef floating *norm
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *Q_y = <floating *> shared.Q_y
    if cell_of(c).direct:
        flow_back_direct(p, c, k, shared, w, begin, end, together, norms, of_carry)
        return
    for i in range(end - 1, -1, -1):
        if stopped(c):
            return
        R = saved_rates(c, w, i * B, <floating *> w.S + (i + 1) * B * ldh)
        # dS[i] = delta[i + 1] @ W_s                                                                  (errors B, H)
        if errors > 0 and not together:
            affine(k, errors * B, H, H, delta, ldh, Q_s, ldh, <const floating *> NULL, dS, ldh)
        if i >= begin:
            # dS[i] = delta_y[i] @ W_y ;  together: + delta[i + 1] @ W_s                              (B, H)
            n = 0 if together else errors
            affine(k, B, p.O, H, delta_y + i * B * ldo, ldo, Q_y, ldh, <const floating *> NULL, dS + n * B * ldh, ldh)
            if together and errors > 0:
                recur_back(k, IDENTITY, 1, B, H, Q_s, ldh, R, delta, dS)
            errors = n + 1
        for n in range(errors):
            norm = norms + i if together else norms + (end - begin - 1 - n) * T + i
            norm[0] = <floating> hypot(norm[0], norm_of(B, H, dS + n * B * ldh, ldh))  # norm over all shards so far
            # delta[i] = dS[i] * g1'(S[i + 1])                                                        (B, H)
            recur_back(k, p.activation, 1, B, H, Q_s, ldh, R, <const floating *> NULL, dS + n * B * ldh)
        dS, delta = delta, dS


cdef void flow_back_direct(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, Py_ssize_t begin,
                          Py_ssize_t end, bint together, floating *norms, floating *of_carry) noexcept nogil:
    """Do what `flow_back` does, for cells with a direct gradient: there ∂E/∂S is dcarry, or, with several gates, what
    `find_start_gradient` finds.

    The kernel finds dcarry and delta of a step together, so the error that begins is the last of the `errors` blocks.
    """
    cdef Py_ssize_t B = c.rows, T = c.T, H = p.H, ldh = w.ldh, ldo = w.ldo, ldd = w.ldd, errors = 0, i, n, at
    cdef Py_ssize_t at_norms
    cdef bint gated = p.gates > 1
    cdef double size = 0
    cdef const floating *delta_y = <floating *> w.delta_y
    cdef const floating *R
    cdef const floating *before
    cdef const floating *delta_next
    cdef floating *new = <floating *> w.flow_dS
    cdef floating *delta = <floating *> w.flow_delta
    cdef floating *dcarry = <floating *> w.flow_dcarry
    for i in range(end - 1, -1, -1):
        if stopped(c):
            return
        before = <floating *> w.S + i * B * ldh
        R = saved_rates(c, w, i * B, <floating *> w.S + (i + 1) * B * ldh)
        if i >= begin:
            errors = 1 if together else errors + 1
        for n in range(errors):
            at = n * B * ldh
            delta_next = delta + n * B * ldd if i < end - 1 and (together or n < errors - 1 or i < begin) else NULL
            memset(new, 0, B * ldd * sizeof(floating))
            if i >= begin and n == errors - 1:
                affine(k, B, p.O, H, delta_y + i * B * ldo, ldo, <floating *> shared.Q_y, ldh, <const floating *> NULL, new,
                       ldd)
            if gated and delta_next != NULL:
                back(p, c, k, w, 0, 0, B, <floating *> shared.Q_s, R, before, delta_next, dcarry + at, new)
            at_norms = i if together else (end - begin - 1 - n) * T + i
            if gated:
                size = norm_of(B, H, <const floating *> new, ldd)
            if of_carry != NULL and delta_next != NULL:
                of_carry[at_norms] = <floating> hypot(of_carry[at_norms], norm_of(B, H, <const floating *> dcarry + at, ldh))
            if gated and delta_next != NULL:
                memset(new, 0, B * ldd * sizeof(floating))
                if i >= begin and n == errors - 1:
                    affine(k, B, p.O, H, delta_y + i * B * ldo, ldo, <floating *> shared.Q_y, ldh, <const floating *> NULL,
                           new, ldd)
            back(p, c, k, w, 1, 0, B, <floating *> shared.Q_s, R, before, delta_next, dcarry + at, new)
            memcpy(delta + n * B * ldd, new, B * ldd * sizeof(floating))
            if not gated:
                size = norm_of(B, H, <const floating *> dcarry + at, ldh)
            norms[at_norms] = <floating> hypot(norms[at_norms], size)  # norm over all shards so far


cdef double norm_of(Py_ssize_t rows, Py_ssize_t width, const floating *A, Py_ssize_t lda) noexcept nogil:
    """Return the Euclidean norm of A (rows, width). Nothing overflows or underflows on the way."""
    cdef Py_ssize_t i, j
    cdef const floating *row
    cdef double total = 0, other = 0, largest = 0
    for i in range(rows):
        row = A + i * lda
        for j in range(0, width - 1, 2):  # two sums: one sum would wait for its last addition
            total += <double> row[j] * row[j]
            other += <double> row[j + 1] * row[j + 1]
        if width % 2:
            total += <double> row[width - 1] * row[width - 1]
    if 1e-200 < total + other < 1e200:
        return sqrt(total + other)
    for i in range(rows):
        for j in range(width):
            if not fabs(A[i * lda + j]) <= largest:
                largest = fabs(A[i * lda + j])
                if not isfinite(largest):
                    return largest
    total = 0
    for i in range(rows if largest > 0 else 0):
        for j in range(width):
            total += (A[i * lda + j] / largest) * (A[i * lda + j] / largest)
    return largest * sqrt(total)
