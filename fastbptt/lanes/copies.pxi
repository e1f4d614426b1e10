# Copies: from arrays of networks into lanes and back, and the padding of unequal lengths.
#
# `first` is the group's first network, and `n` is the number of its networks. Add a copy between the two layouts here.

cdef void into_lanes(const Call *c, Py_ssize_t first, Py_ssize_t n, Py_ssize_t count, bint own, const floating *source,
                     floating *target) noexcept nogil:
    """Copy `count` numbers of each of a group's n networks into lanes: target[i, l] = source[first + l, i].

    `first` is the group's first network. source is (networks, count) if `own`, else (count,), which all networks share.
    target is (count, L).
    """
    cdef const floating *sources[64]
    cdef Py_ssize_t l
    for l in range(n):
        sources[l] = source + ((first + l) * count if own else 0)
    lane.gather(kernels, n, count, sources, target)


cdef void out_of_lanes(Py_ssize_t first, Py_ssize_t n, Py_ssize_t count, const floating *source,
                       floating *target) noexcept nogil:
    """Copy (count, L) out of lanes into target (networks, count): target[first + l, i] = source[i, l]."""
    cdef floating *targets[64]
    cdef Py_ssize_t l
    for l in range(n):
        targets[l] = target + (first + l) * count
    lane.scatter(kernels, n, count, source, targets)


cdef void columns_into_lanes(Py_ssize_t first, Py_ssize_t L, Py_ssize_t N, Py_ssize_t P, const floating *theta,
                             floating *target) noexcept nogil:
    """Copy the columns of a group out of theta (P, N): target (P, L) = theta[:, first : first + L]."""
    cdef Py_ssize_t i
    for i in range(P):
        memcpy(target + i * L, theta + i * N + first, L * sizeof(floating))


cdef void columns_out_of_lanes(Py_ssize_t first, Py_ssize_t L, Py_ssize_t N, Py_ssize_t P, const floating *source,
                               floating *theta) noexcept nogil:
    """Copy the columns of a group into theta (P, N): theta[:, first : first + L] = source (P, L)."""
    cdef Py_ssize_t i
    for i in range(P):
        memcpy(theta + i * N + first, source + i * L, L * sizeof(floating))


cdef inline Py_ssize_t length(const Call *c, Py_ssize_t network, Py_ssize_t b) noexcept nogil:
    """Return the number of steps of sequence b of the network with this index, in the call c."""
    return c.T if c.lengths == NULL else c.lengths[(network * c.B if c.own_lengths else 0) + b]


cdef void clear_padding(const Call *c, Py_ssize_t first, Py_ssize_t n, Py_ssize_t L, Py_ssize_t width,
                        floating *A) noexcept nogil:
    """Set A (T, B, width, L) to 0 in the padding of the sequences of a group's n networks, which begin with network `first`.

    What the padding held then has no effect. c has the lengths.
    """
    cdef Py_ssize_t l, b, t, j
    for l in range(n):
        for b in range(c.B):
            for t in range(length(c, first + l, b), c.T):
                for j in range(width):
                    A[((t * c.B + b) * width + j) * L + l] = 0
