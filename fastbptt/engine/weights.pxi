# Weights of the loss: their sum, their scale near the limits of the type, and the scale of the reduction.

cdef double sum_of_weights(const floating *weights, Py_ssize_t n) noexcept nogil:
    """Their sum, or -1 where one is negative or not finite."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        if not weights[i] >= 0:
            return -1
        total += weights[i]
    return total if isfinite(total) else -1


cdef Py_ssize_t count_nonzero(const floating *weights, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, nonzero = 0
    for i in range(n):
        nonzero += weights[i] != 0
    return nonzero


cdef bint all_ones(const floating *weights, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if weights[i] != 1:
            return False
    return True


cdef double weigh(const Plan *p, Call *c, const floating *weights) noexcept nogil:
    """Σ m of the steps that there are, or -1 where one is negative or not finite; and whether it pays to pick.

    Puts the scale of the reduction into the call, too, and that of weights whose products with errors would not be normal
    numbers, or infinite. A weight that is not a normal number counts as 0, as it does in the kernels.
    """
    cdef unsigned long long mode
    cdef double total
    c.weight_scale, c.unscale = 1, 0
    if weights == NULL:
        total = sum_weights(c, weights)
    else:
        mode = flush_denormals()
        total = sum_weights(c, weights)
        restore(mode)
    if p.mean:
        c.error.scale = 1 / (c.weight_scale * total) if total > 0 else 0
    else:
        c.error.scale = 1
        if c.weight_scale != 1 and p.rate_penalty == 0:
            c.unscale = 1 / c.weight_scale
        elif c.weight_scale != 1:  # beside a penalty, which is not linear in them, errors have their own size at once
            c.error.scale = 1 / c.weight_scale
    return total


cdef double scale_of(double typical, const floating *of) noexcept nogil:
    """The power of two that brings weights of this size to about 1, or 1 where they are far from the limits of the type.

    float32 numbers end at 1e-38 and 3e38, float64 ones at 2e-308 and 2e308. A power of two changes no digit.
    """
    cdef double widest = 1e18 if sizeof(floating) == sizeof(float) else 1e150
    cdef int exponent
    if 1 / widest <= typical <= widest:
        return 1
    frexp(typical, &exponent)
    return ldexp(1, min(max(-exponent, -1000), 1000))  # it and its reciprocal are normal numbers


cdef double sum_weights(Call *c, const floating *weights) noexcept nogil:
    """As `weigh`, without the scale of the reduction.

    Weights that are all 1 are taken out of the call: with them a call of 50 steps, H = 4, took 1.09 of the time (2026-11).
    """
    cdef Py_ssize_t t, b, steps = 1 if c.last else c.T, n = 0, nonzero = 0, known = 0
    cdef double total = 0, part
    c.picks = c.last
    if weights != NULL and c.lengths == NULL and all_ones(weights, steps * c.B * c.weight_width):
        c.weights = weights = NULL
        c.weight_width = 0
    if weights == NULL:
        for b in range(c.B if c.past > 0 else 0):
            known += min(c.past, c.lengths[b] if c.lengths != NULL else c.T)
        return <double> (c.sequences if c.last else c.steps - known)
    if c.lengths == NULL:
        n = (steps - c.past) * c.B * c.weight_width
        total = sum_of_weights(weights + c.past * c.B * c.weight_width, n)
        nonzero = count_nonzero(weights + c.past * c.B * c.weight_width, n)
    else:
        for t in range(c.past, steps):
            for b in range(c.B):
                if t < c.lengths[b]:
                    part = sum_of_weights(weights + (t * c.B + b) * c.weight_width, c.weight_width)
                    if part < 0:
                        return -1
                    total += part
                    nonzero += count_nonzero(weights + (t * c.B + b) * c.weight_width, c.weight_width)
                    n += c.weight_width
        if not isfinite(total):
            return -1
    c.picks = c.last or PICK_BELOW * nonzero < n
    if total > 0:
        c.weight_scale = scale_of(total / nonzero, weights)
    total /= c.weight_width
    return 0 if 0 < total < DBL_MIN else total  # the mean over outputs may not be normal: 1 / Σ m would be infinite


cdef bint lengths_in_range(const Call *c) noexcept nogil:
    """Whether every length is one of 0 ... T, or where errors are those of the last steps of 1 ... T."""
    cdef Py_ssize_t b
    for b in range(c.B):
        if not (1 if c.last else 0) <= c.lengths[b] <= c.T:
            return False
    return True


cdef bint labels_in_range(const Call *c, Py_ssize_t O, const floating *weights) noexcept nogil:
    """Whether every label that is read is one of 0 ... O - 1."""
    cdef Py_ssize_t t, b, i = 0
    for t in range(1 if c.last else c.T):
        for b in range(c.B):
            if not 0 <= c.labels[i] < O and (weights == NULL or weights[i] > 0) and (c.lengths == NULL or t < c.lengths[b]):
                return False
            i += 1
    return True


cdef bint ids_in_range(const Call *c, Py_ssize_t I) noexcept nogil:
    """Whether every id that is read is one of 0 ... I - 1."""
    cdef Py_ssize_t t, b
    for t in range(c.T):
        for b in range(c.B):
            if not 0 <= c.ids[t * c.B + b] < I and (c.lengths == NULL or t < c.lengths[b]):
                return False
    return True
