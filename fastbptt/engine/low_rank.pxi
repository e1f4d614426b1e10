# Low rank: W_s = M N.T, and the gradients of M and N.
#
# With a rank R, theta (P,) holds M (gates H, R) and N (H, R) in place of W_s. There are two ways to compute with them.
#
# Whole: the effective parameters are theta (P,), after the parametrizations of its entries, with W_s (gates H, H) behind it.
# Their length is p.effective. The rest of the engine reads W_s there, and adds its gradient there. `run` calls these functions
# once per call.
#
# Factored (`factored`, plan.pxi): a step computes S @ N, then (S @ N) @ M.T, and back delta @ M, then (delta @ M) @ N.T. No
# array has H x H numbers. Omega, `terms` and `flow` read W_s in the backward pass, so such calls go back by the whole W_s
# (`factored_back`); their states have the same bits.
#
# The products are those of the kernels.
# Add here what else maps whole matrices of theta. plan.pxi explains the letters.

cdef void find_effective(const Plan *p, const Kernels *k, const Shared *shared, const floating *given,
                         floating *theta) noexcept nogil:
    """Compute the effective parameters theta (effective,) from the given ones (P,)."""
    if p.maps != NULL:
        map_parameters(p.P, p.maps, given, theta)
    else:
        memcpy(theta, given, p.P * sizeof(floating))
    if p.rank > 0 and not shared.factored:
        multiply_factors(p, k, shared, theta)


cdef void multiply_factors(const Plan *p, const Kernels *k, const Shared *shared, floating *theta) noexcept nogil:
    """Compute W_s = M @ N.T, both in theta (effective,)."""
    cdef Py_ssize_t R = p.rank, H = p.H, rows = p.gates * p.H, ldr = padded(k, R, theta), ldh = padded(k, H, theta)
    cdef floating *M = <floating *> shared.factor
    cdef floating *N = <floating *> shared.packed_factor
    cdef floating *W_s = <floating *> shared.product
    gather(k, 1, rows, R, <const floating *> theta + p.M, 0, R, NULL, M, ldr)
    pack(k, R, H, <const floating *> theta + p.N, 1, R, N, ldh)
    affine(k, rows, R, H, <const floating *> M, ldr, N, ldh, <const floating *> NULL, W_s, ldh)
    scatter(k, 1, rows, H, <const floating *> W_s, ldh, theta + p.W_s, 0, H, NULL)


cdef void add_factor_gradients(const Plan *p, const Kernels *k, const Shared *shared, const floating *theta,
                               const floating *dW_s, floating *dM, floating *dN) noexcept nogil:
    """Compute dM += dW_s @ N (gates H, R) and dN += dW_s.T @ M (H, R) from dW_s (gates H, H) and theta (effective,)."""
    cdef Py_ssize_t R = p.rank, H = p.H, rows = p.gates * p.H, ldr = padded(k, R, theta), ldh = padded(k, H, theta), i, r
    cdef floating *M = <floating *> shared.factor
    cdef floating *N = <floating *> shared.packed_factor
    cdef floating *delta = <floating *> shared.product
    gather(k, 1, rows, H, dW_s, 0, H, NULL, delta, ldh)
    gather(k, 1, rows, R, theta + p.M, 0, R, NULL, M, ldr)
    accumulate(k, rows, H, R, <const floating *> delta, ldh, <const floating *> M, ldr, dN, R)
    pack(k, H, R, theta + p.N, R, 1, N, ldr)
    affine(k, rows, H, R, <const floating *> delta, ldh, N, ldr, <const floating *> NULL, M, ldr)
    for i in range(rows):
        for r in range(R):
            dM[i * R + r] += M[i * ldr + r]


# ---- Factored


cdef inline bint factored_back(const Plan *p, const Call *c) noexcept nogil:
    """Return whether no part of the call reads W_s or adds to its gradient."""
    return factored(p) and c.omega == 0 and not c.drops_noise and c.flow == NULL and c.terms_S == NULL


cdef void pack_factors(const Plan *p, const Kernels *k, const Shared *shared,
                       const floating *theta) noexcept nogil:
    """Pack N and M.T for the steps forward, and M and N.T for those back, from theta (P,)."""
    cdef Py_ssize_t R = p.rank, H = p.H, ldr = padded(k, R, theta), ldh = padded(k, H, theta)
    pack(k, H, R, theta + p.N, R, 1, <floating *> shared.N, ldr)
    pack(k, R, H, theta + p.M, 1, R, <floating *> shared.M_T, ldh)
    if shared.factored:
        pack(k, H, R, theta + p.M, R, 1, <floating *> shared.M, ldr)
        pack(k, R, H, theta + p.N, 1, R, <floating *> shared.N_T, ldh)


cdef void add_by_factors(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *A,
                         const void *first, const void *second, const floating *mask, floating *C) noexcept nogil:
    """Compute C += mask * (A @ first @ second), (rows, H), for packed factors (H, R) and (R, H). mask (rows, H) may be NULL."""
    cdef Py_ssize_t i, ldh = w.ldh
    cdef floating *narrow = <floating *> w.narrow
    cdef floating *product = <floating *> w.masked
    affine(k, rows, p.H, p.rank, A, ldh, <const floating *> first, w.ldr, <const floating *> NULL, narrow, w.ldr)
    if mask == NULL:
        add_product(k, rows, p.rank, <const floating *> narrow, w.ldr, <const floating *> second, ldh, C, ldh)
        return
    memset(product, 0, rows * ldh * sizeof(floating))
    add_product(k, rows, p.rank, <const floating *> narrow, w.ldr, <const floating *> second, ldh, product, ldh)
    for i in range(rows * ldh):
        C[i] += product[i] * mask[i]


cdef void factored_forward(const Plan *p, const Call *c, const Kernels *k, const Shared *shared, const Workspace *w,
                           Py_ssize_t steps, Py_ssize_t rows, const floating *before, const floating *carry_before, floating *S,
                           floating *carry, floating *saves) noexcept nogil:
    """Do what `plain_forward` or `leaky_forward` does, by the factors of W_s, one step after another."""
    cdef Py_ssize_t t, i, n = rows * w.ldh
    cdef bint direct = cell_of(c).direct, second = cell_of(c).carries > 1
    cdef const floating *mask = <const floating *> w.mask
    cdef const floating *read
    cdef floating *masked = <floating *> w.masked
    cdef floating *other = carry if second else saves if cell_of(c).saves > 0 else <floating *> NULL
    for t in range(steps):
        read = before
        for i in range(n if mask != NULL else 0):
            masked[i] = before[i] * mask[i]
        if mask != NULL:
            read = masked
        if before != NULL:
            add_by_factors(p, k, w, rows, read, shared.N, shared.M_T, <const floating *> NULL, S)
        if direct:
            integrate(k, &c.units, 1, rows, p.H, <const floating *> NULL, w.ldh, <const floating *> NULL, <floating *> NULL,
                      before, carry_before, S, other)
        else:
            recur(k, p.activation, 1, rows, p.H, <const floating *> NULL, w.ldh, <const floating *> NULL, S, other)
        if second:
            carry_before = other
        before = S
        S += n
        if other != NULL:
            other += n
    if saves_state(c):
        memcpy(saves, carry, steps * n * sizeof(floating))


cdef void factored_backward(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps,
                            Py_ssize_t row, Py_ssize_t rows, const floating *R, const floating *delta_next, floating *dcarry,
                            floating *delta) noexcept nogil:
    """Do what `plain_backward` or `leaky_backward` does, by the factors of W_s."""
    cdef Py_ssize_t n = rows * w.ldh, at = delta - <floating *> w.delta
    cdef bint keeps = w.leak_dS != NULL and 0 <= at < w.rows * w.ldd
    cdef const floating *mask = <floating *> w.mask + row * w.ldh if w.mask != NULL else <floating *> NULL
    cdef floating *d
    for steps in range(steps - 1, -1, -1):
        d = delta + steps * n
        if delta_next != NULL:
            add_by_factors(p, k, w, rows, delta_next, w.shared.M, w.shared.N_T, mask, d)
        if cell_of(c).direct:
            integrate_back(k, &c.units, 1, rows, p.H, <const floating *> NULL, w.ldh, <const floating *> NULL,
                           <floating *> NULL, R + steps * n, delta_next, dcarry, d)
        else:
            recur_back(k, p.activation, 1, rows, p.H, <const floating *> NULL, w.ldh, R + steps * n, <const floating *> NULL, d)
        if keeps:
            memcpy(<floating *> w.leak_dS + at + steps * n, dcarry, n * sizeof(floating))
        delta_next = d


cdef void add_to_factors(const Plan *p, const Kernels *k, const Workspace *w, Py_ssize_t rows, const floating *delta,
                         const floating *before, floating *gradient) noexcept nogil:
    """Compute dM += delta.T @ (before @ N) and dN += before.T @ (delta @ M), both (H, R) in gradient (P,), for a block."""
    cdef Py_ssize_t H = p.H, R = p.rank, ldh = w.ldh, ldr = w.ldr
    cdef floating *narrow = <floating *> w.narrow
    affine(k, rows, H, R, before, ldh, <const floating *> w.shared.N, ldr, <const floating *> NULL, narrow, ldr)
    accumulate(k, rows, H, R, delta, ldh, <const floating *> narrow, ldr, gradient + p.M, R)
    affine(k, rows, H, R, delta, ldh, <const floating *> w.shared.M, ldr, <const floating *> NULL, narrow, ldr)
    accumulate(k, rows, H, R, before, ldh, <const floating *> narrow, ldr, gradient + p.N, R)
