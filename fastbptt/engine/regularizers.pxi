# Regularizers: penalties on rates and by omega inside the backward pass, and penalties on parameters.
#
# Add a new penalty here: its part of ∂E/∂S (before delta is found) or of the finished gradient, and its value.
#
# Ω is the mean, over all rows whose ∂E/∂S is not negligible, of (‖delta @ W_s‖ / ‖∂E/∂S‖ - 1)² (Pascanu et al. 2013). `size`
# is the norm of a row. A row is rounding noise if it is tiny relative to the terms that were added to get it.
# batching.pxi explains row, shard, block and run; plan.pxi explains the letters.

cdef void add_rates(Py_ssize_t rows, Py_ssize_t H, double slope, const floating *S, Py_ssize_t ldh,
                    floating *dS, Py_ssize_t ldd) noexcept nogil:
    """Compute dS += slope * S, of shape (rows, H): the penalty's part of ∂E/∂S."""
    cdef Py_ssize_t i, h
    for i in range(rows):
        for h in range(H):
            dS[i * ldd + h] += <floating> slope * S[i * ldh + h]


cdef double sum_of_squares(Py_ssize_t rows, Py_ssize_t H, const floating *S, Py_ssize_t ldh) noexcept nogil:
    """Return Σ S² of S (rows, H), in double."""
    cdef Py_ssize_t i, h
    cdef double first = 0, second = 0, third = 0, fourth = 0  # four sums: one sum would wait for its last addition
    cdef const floating *row
    for i in range(rows):
        row = S + i * ldh
        for h in range(0, H - 3, 4):
            first += <double> row[h] * row[h]
            second += <double> row[h + 1] * row[h + 1]
            third += <double> row[h + 2] * row[h + 2]
            fourth += <double> row[h + 3] * row[h + 3]
        for h in range(H - H % 4, H):
            first += <double> row[h] * row[h]
    return first + second + third + fourth


cdef void recur_back_by_steps(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                              Py_ssize_t end, const floating *Q_s, const floating *R, const floating *delta_next,
                              floating *delta) noexcept nogil:
    """Do what `recur_back_through` does, one step at a time, and keep what Ω reads of each step.

    That is w.dS = ∂E/∂S and w.back = delta @ W_s, both (rows, H). delta is computed from exactly this ∂E/∂S: if the errors of
    two steps nearly cancel, a sum that is rounded in another way is another number. If they cancel except for rounding noise,
    ∂E/∂S is set to 0. Otherwise the noise would go back, too.
    """
    cdef double own, size
    cdef Py_ssize_t H = p.H, ldh = w.ldh, first = t, row, h, at, rows, others
    cdef floating *dS = <floating *> w.dS
    cdef floating *back = <floating *> w.back
    cdef const floating *after = <floating *> w.back_next  # delta @ W_s of the step after
    for t in range(end - 1, first - 1, -1):
        at = (rows_before(c, w, t) - rows_before(c, w, first)) * ldh
        rows, others = rows_at(c, w, t), rows_at(c, w, t + 1) if delta_next != NULL else 0
        if others > 0:
            cut_at_resets(p, c, k, w, t + 1, Q_s, delta_next)
        memcpy(dS + at, delta + at, rows * ldh * sizeof(floating))
        for row in range(others):
            if c.packed and c.resets != NULL and is_reset(c, t + 1, row):
                continue
            own = norm_of(1, H, dS + at + row * ldh, ldh)
            for h in range(H):
                dS[at + row * ldh + h] += after[row * ldh + h]
            size = norm_of(1, H, delta_next + row * ldh, ldh) * c.norm_W_s
            if is_noise(norm_of(1, H, dS + at + row * ldh, ldh), own + size, delta_next):
                memset(dS + at + row * ldh, 0, ldh * sizeof(floating))
        memcpy(delta + at, dS + at, rows * ldh * sizeof(floating))
        recur_back(k, p.activation, 1, rows, H, Q_s, ldh, R + at, <const floating *> NULL, delta + at)
        affine(k, rows, H, H, <const floating *> delta + at, ldh, Q_s, ldh, <const floating *> NULL, back + at, ldh)
        delta_next, after = delta + at, back + at
    memcpy(w.back_next, after, rows_at(c, w, first) * ldh * sizeof(floating))


cdef inline bint is_noise(double size, double terms, const floating *of) noexcept nogil:
    """Return whether a row of norm `size` is only rounding noise of the terms that were added to get it.

    `terms` is the sum of the terms' norms. `of` is never read: its type selects float32 or float64.
    """
    cdef double epsilon = FLT_EPSILON if sizeof(floating) == sizeof(float) else DBL_EPSILON
    return size <= NOISE * epsilon * terms and isfinite(terms)


cdef void drop_noise_rows(Py_ssize_t rows, Py_ssize_t width, floating *A, Py_ssize_t lda, Py_ssize_t n, const floating *delta,
                          Py_ssize_t ldd, double norm) noexcept nogil:
    """Set the rows of A = delta @ W, of shape (rows, width), to 0 if they are only rounding noise.

    `norm` is the Frobenius norm of W; delta is (rows, n).
    """
    cdef Py_ssize_t i
    for i in range(rows):
        if is_noise(norm_of(1, width, <const floating *> A + i * lda, lda), norm_of(1, n, delta + i * ldd, ldd) * norm, delta):
            memset(A + i * lda, 0, lda * sizeof(floating))


cdef void find_norms(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """Compute the Frobenius norms of the weight matrices, by which `drop_noise_rows` judges products with them."""
    if p.recurs:
        c.norm_W_x, c.norm_W_s = norm_of(p.H, p.I, theta + p.W_x, p.I), norm_of(p.H, p.H, theta + p.W_s, p.H)
    if p.reads:
        c.norm_W_y = norm_of(p.O, p.H, theta + p.W_y, p.H)


cdef void add_omega_rows(const Plan *p, Call *c, const Workspace *w, Py_ssize_t rows, const floating *delta) noexcept nogil:
    """Add Ω of some rows to the call's sum, and compute the factors of its derivative with respect to W_s.

    Let n = ‖∂E/∂S‖ of a row, u = delta / n, v = u @ W_s and r = ‖v‖. Ω sums (r - 1)², with the derivative 2 (1 - 1/r) uᵀ v.
    On return w.dS holds u and w.back holds 2 (1 - 1/r) v, both (rows, H). Rows that do not count are 0.
    """
    cdef Py_ssize_t H = p.H, ldh = w.ldh, i, h
    cdef double size, r, u, v, least = LEAST_FLOW / c.unscale if c.unscale > 0 else LEAST_FLOW
    cdef floating *dS = <floating *> w.dS
    cdef floating *back = <floating *> w.back
    for i in range(rows):
        size, r = norm_of(1, H, dS + i * ldh, ldh), 0
        if size >= least:
            r = norm_of(1, H, back + i * ldh, ldh) / size
            c.omega_sum += (r - 1) * (r - 1)
            c.omega_rows += 1
        if not r > 0:
            memset(dS + i * ldh, 0, ldh * sizeof(floating))
            memset(back + i * ldh, 0, ldh * sizeof(floating))
            continue
        u = 1 / size
        v = 2 * (1 - 1 / r) * u
        for h in range(H):
            dS[i * ldh + h] = <floating> (u * delta[i * ldh + h])
            back[i * ldh + h] = <floating> (v * back[i * ldh + h])
        for h in range(H, ldh):
            dS[i * ldh + h] = back[i * ldh + h] = 0


cdef void add_products(Py_ssize_t rows, const floating *u, const floating *v, Py_ssize_t ld, floating *sum) noexcept nogil:
    """Add Σ u v over rows to sum[0]; u and v are (rows, 1).

    With one unit all rows have the same r. Adding equal numbers accumulates rounding bias, so the sum is kept in double.
    """
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(rows):
        total += <double> u[i * ld] * v[i * ld]
    sum[0] += <floating> total


cdef double add_omega(const Plan *p, Call *c, const Shared *shared, floating *gradient) noexcept nogil:
    """Add Ω's part of ∂E/∂W_s to gradient (H, H), from all shards, and return omega Ω."""
    cdef Py_ssize_t i, j
    cdef floating scale
    cdef const floating *slope
    for i in range(shared.shards):
        c.omega_sum += shared.omega_sums[i]
        c.omega_rows += shared.omega_rows[i]
    scale = <floating> (c.omega / max(c.omega_rows, 1))
    for i in range(shared.shards):
        slope = <floating *> shared.omega_slopes + i * p.H * p.H
        for j in range(p.H * p.H):
            gradient[j] += scale * slope[j]
    return c.omega * c.omega_sum / max(c.omega_rows, 1)


cdef double penalize(const Plan *p, const floating *theta, floating *gradient) noexcept nogil:
    """Add the gradient of the penalties on theta (P,), 2 l2 w + l1 sign(w), and return their sum."""
    cdef double total = 0
    cdef floating l1, l2, w
    cdef Py_ssize_t i, k
    for k in range(p.penalties):
        l1, l2 = <floating> p.penalty[k].l1, <floating> p.penalty[k].l2
        for i in range(p.penalty[k].begin, p.penalty[k].end):
            w = theta[i]
            total += p.penalty[k].l2 * w * w + p.penalty[k].l1 * fabs(w)
            gradient[i] += 2 * l2 * w + l1 * ((w > 0) - (w < 0))
    return total


cdef double penalize_mapped(const Plan *p, const floating *theta, floating *gradient, floating *effective,
                            floating *part) noexcept nogil:
    """Do what `penalize` does, for the effective parameters if there are parametrizations.

    `effective` and `part` (P,) are then scratch; `part` must hold zeros. Without parametrizations they may be NULL.
    """
    cdef double total
    cdef Py_ssize_t i
    if p.maps == NULL:
        return penalize(p, theta, gradient)
    map_parameters(p.P, p.maps, theta, effective)
    total = penalize(p, effective, part)
    pull_back(p.P, p.maps, theta, part)
    for i in range(p.P):
        gradient[i] += part[i]
    return total
