# Low rank: W_s = M N.T, and the gradients of M and N.
#
# With a rank R, theta (P,) holds M (gates H, R) and N (H, R) in place of W_s. The effective parameters are theta (P,), after the
# parametrizations of its entries, with W_s (gates H, H) behind it. Their length is p.effective. The rest of the engine reads
# W_s there, and adds its gradient there. `run` calls these functions once per call. The products are those of the kernels.
# Add here what else maps whole matrices of theta. plan.pxi explains the letters.

cdef void find_effective(const Plan *p, const Kernels *k, const Shared *shared, const floating *given,
                         floating *theta) noexcept nogil:
    """Compute the effective parameters theta (effective,) from the given ones (P,)."""
    if p.maps != NULL:
        map_parameters(p.P, p.maps, given, theta)
    else:
        memcpy(theta, given, p.P * sizeof(floating))
    if p.rank > 0:
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
