# Weights of the loss: their sum, their scale near the limits of the type, and the scale of the reduction.
#
# The checks of numbers that a call reads (lengths, labels, ids) are here, too, since they follow the same steps. Add here what
# reads the weights m before a call runs. batching.pxi explains packed and padding; plan.pxi explains the letters.

cdef double sum_of_weights(const floating *weights, Py_ssize_t n) noexcept nogil:
    """Return the sum of n weights, or -1 if one is negative or not finite."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        if not weights[i] >= 0:
            return -1
        total += weights[i]
    return total if isfinite(total) else -1


cdef Py_ssize_t count_nonzero(const floating *weights, Py_ssize_t n) noexcept nogil:
    """Return how many of n weights are not 0."""
    cdef Py_ssize_t i, nonzero = 0
    for i in range(n):
        nonzero += weights[i] != 0
    return nonzero


cdef bint all_ones(const floating *weights, Py_ssize_t n) noexcept nogil:
    """Return whether all n weights are 1."""
    cdef Py_ssize_t i
    for i in range(n):
        if weights[i] != 1:
            return False
    return True


cdef double prepare_weights(const Plan *p, Call *c, const floating *weights) noexcept nogil:
    """Return Σ m over all steps except padding, or -1 if a weight is negative or not finite.

    Also sets the scale of the reduction (c.error.scale), the scale of the weights (c.weight_scale, c.unscale), and c.sparse:
    whether it pays to compute outputs only for rows with an error. Weights are scaled if their products with errors would be
    subnormal or infinite. A subnormal weight counts as 0, as it does in the kernels.
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
        elif c.weight_scale != 1:  # a penalty on rates is not linear in the weights, so errors are unscaled at once
            c.error.scale = 1 / c.weight_scale
    return total


cdef double scale_of(double typical, const floating *of) noexcept nogil:
    """Return the power of two that brings weights of this typical size to about 1.

    Returns 1 if they are far from the limits of the type: 1e-38 and 3e38 in float32, 2e-308 and 2e308 in float64. A power of
    two changes no digit. `of` is never read: its type selects float32 or float64.
    """
    cdef double widest = 1e18 if sizeof(floating) == sizeof(float) else 1e150
    cdef int exponent
    if 1 / widest <= typical <= widest:
        return 1
    frexp(typical, &exponent)
    return ldexp(1, min(max(-exponent, -1000), 1000))  # both the scale and its reciprocal are normal


cdef double sum_weights(Call *c, const floating *weights) noexcept nogil:
    """Do what `prepare_weights` does, except for the scale of the reduction.

    Removes weights that are all 1 from the call: with them a call of 50 steps, H = 4, took 1.09 of the time (2026-11).
    """
    cdef Py_ssize_t t, b, steps = 1 if c.last else c.T, n = 0, nonzero = 0, past = 0
    cdef double total = 0, part
    c.sparse = c.last
    if weights != NULL and c.lengths == NULL and all_ones(weights, steps * c.B * c.weight_width):
        c.weights = weights = NULL
        c.weight_width = 0
    if weights == NULL:
        for b in range(c.B if c.past > 0 else 0):
            past += min(c.past, c.lengths[b] if c.lengths != NULL else c.T)
        return <double> (c.sequences if c.last else c.steps - past)
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
    c.sparse = c.last or SPARSE_BELOW * nonzero < n
    if total > 0:
        c.weight_scale = scale_of(total / nonzero, weights)
    total /= c.weight_width
    return 0 if 0 < total < DBL_MIN else total  # treat a subnormal sum as zero: 1 / Σ m would overflow


cdef bint lengths_in_range(const Call *c) noexcept nogil:
    """Return whether every length is in 0 ... T.

    If outputs exist only at the last steps, every sequence needs a step: the range is 1 ... T.
    """
    cdef Py_ssize_t b
    for b in range(c.B):
        if not (1 if c.last else 0) <= c.lengths[b] <= c.T:
            return False
    return True


cdef bint labels_in_range(const Call *c, Py_ssize_t O, const floating *weights) noexcept nogil:
    """Return whether every label that is read, outside padding and with a positive weight, is in 0 ... O - 1."""
    cdef Py_ssize_t t, b, i = 0
    for t in range(1 if c.last else c.T):
        for b in range(c.B):
            if not 0 <= c.labels[i] < O and (weights == NULL or weights[i] > 0) and (c.lengths == NULL or t < c.lengths[b]):
                return False
            i += 1
    return True


cdef bint ids_in_range(const Call *c, Py_ssize_t I) noexcept nogil:
    """Return whether every token id outside padding is in 0 ... I - 1."""
    cdef Py_ssize_t t, b
    for t in range(c.T):
        for b in range(c.B):
            if not 0 <= c.ids[t * c.B + b] < I and (c.lengths == NULL or t < c.lengths[b]):
                return False
    return True
