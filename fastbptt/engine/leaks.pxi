# Trained leaks: their values, and the gradient of leak_logit.
#
# E depends on leak_logit at each step through S' = (1 - leak) S + leak R, or A in place of R in the current form:
# ∂S'/∂leak_logit = (1 - leak) (S' - S), and through the noise in A, sqrt(2 / leak) σ ξ.
#
# Add here what else belongs to a parameter of the units themselves. batching.pxi and plan.pxi explain the words and letters.

cdef void find_leaks(const Plan *p, const Call *c, const floating *theta, const Shared *shared) noexcept nogil:
    """Compute the leak of each unit, 1 - leak, and the standard deviation of its noise, from theta (P,) after parametrizations.

    1 - sigmoid(x) would be rounded to 0 for large x, so it is computed as sigmoid(-x).
    """
    cdef Py_ssize_t h
    cdef double leak, keep
    cdef floating *leaks = <floating *> shared.leaks
    cdef floating *keeps = <floating *> shared.keeps
    for h in range(p.H):
        if p.leak_logit >= 0:
            leak, keep = 1 / (1 + exp(-<double> theta[p.leak_logit + h])), 1 / (1 + exp(<double> theta[p.leak_logit + h]))
        else:
            leak, keep = p.leaks[h], 1 - p.leaks[h]
        leaks[h], keeps[h], shared.noise_scales[h] = <floating> leak, <floating> keep, sqrt(2 / leak) * c.noise


cdef void find_currents_before(const Plan *p, const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end,
                               const floating *U) noexcept nogil:
    """Write the second carry before each of the steps t ... end, after resets, to w.leak_before (rows, H).

    w.leak_first is the carry before step t, U (rows, H) are those after these steps. `find_states_before` does this for the
    first carry.
    """
    cdef Py_ssize_t ldh = w.ldh, row, rows
    cdef const floating *first = <floating *> w.leak_first
    cdef const floating *initial
    cdef floating *before = <floating *> w.leak_before
    for t in range(t, end):
        rows = rows_at(c, w, t)
        memcpy(before, first, rows * ldh * sizeof(floating))
        initial = <const floating *> c.past_S_0 + t * p.width if t < c.old else <floating *> w.initial + ldh
        for row in range(rows if c.packed and c.resets != NULL else 0):
            if is_reset(c, t, row):
                memcpy(before + row * ldh, initial, p.H * sizeof(floating))
        first = U
        U += rows * ldh
        before += rows * ldh


cdef void add_leak_sums(const Plan *p, const Call *c, const Workspace *w, Py_ssize_t rows, const floating *after,
                        const floating *before, const floating *delta) noexcept nogil:
    """Add the rows of a block to w.leak_sums: dS * (S' - S) for the states after and before each step, and the noise's part.

    The derivative of the noise with respect to the leak is -1 / (2 leak) times the noise.
    """
    cdef Py_ssize_t row, i, h, ldh = w.ldh
    cdef double *sums = w.leak_sums
    cdef const floating *dS = <floating *> w.leak_dS
    cdef const floating *noise = <floating *> w.leak_noise
    for row in range(rows):
        i = row * ldh
        for h in range(p.H):
            sums[h] += <double> dS[i + h] * (<double> after[i + h] - before[i + h])
        for h in range(p.H if c.noise > 0 else 0):
            sums[h] -= 0.5 * delta[i + h] * noise[i + h]
