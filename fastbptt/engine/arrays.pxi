# Checks of NumPy arrays in C, threads of a call that does not say how many, truncation windows.

cdef inline bint is_ready(object a, int type, int ndim) noexcept:
    """Whether `a` is a C-contiguous, aligned, native array of that type and rank, and no subclass."""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(a) == type and cnp.PyArray_NDIM(a) == ndim
            and cnp.PyArray_ISCARRAY_RO(a))


cdef inline bint has_shape(object a, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2) noexcept:
    """Whether the array's lengths are these; -1 where it has no such dimension."""
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(a)
    return shape[0] == n0 and (n1 < 0 or shape[1] == n1) and (n2 < 0 or shape[2] == n2)


cdef inline bint overlap(object a, object b) noexcept:
    """Whether two C-contiguous arrays have a byte in common."""
    cdef const char *A = cnp.PyArray_BYTES(a)
    cdef const char *B = cnp.PyArray_BYTES(b)
    return cnp.PyArray_SIZE(a) and cnp.PyArray_SIZE(b) and A < B + cnp.PyArray_NBYTES(b) and B < A + cnp.PyArray_NBYTES(a)


cdef long in_flight = 0        # calls under way
cdef int default_threads = 1   # of all calls together that do not say how many


def set_default_threads(int n):
    """Let n threads serve the calls that do not say how many."""
    global default_threads
    default_threads = n


def threads():
    """How many threads serve a call that does not say how many, if it is the only one."""
    return default_threads


def _after_fork():
    global default_threads, in_flight
    default_threads, in_flight = 1, 0  # a child leaves room for its siblings


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int truncate(Call *c, tbptt) except -1:
    """Put (k1, k2), which are at least 1, or None into the call."""
    cdef Py_ssize_t k1, k2
    if tbptt is not None:
        k1, k2 = tbptt
        truncate_to(c, k1, k2)
    return 0


cdef void truncate_to(Call *c, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil:
    c.k1, c.k2 = min(k1, max(c.T, 1)), min(k2, max(c.T, 1))
    if c.k1 == c.k2 == max(c.T, 1):  # one window, through all steps
        c.k1 = c.k2 = 0
