# Arrays: checks of NumPy arrays in C, the default number of threads, and truncation windows.
#
# Add here a check that every operation may need and that knows no network. batching.pxi explains window.

cdef inline bint is_ready(object a, int type, int ndim) noexcept:
    """Return whether `a` is a C-contiguous, aligned, native array of this type and rank, and no subclass."""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(a) == type and cnp.PyArray_NDIM(a) == ndim
            and cnp.PyArray_ISCARRAY_RO(a))


cdef inline bint has_shape(object a, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2) noexcept:
    """Return whether the array has the shape (n0, n1, n2). Pass -1 for an axis that it does not have."""
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(a)
    return shape[0] == n0 and (n1 < 0 or shape[1] == n1) and (n2 < 0 or shape[2] == n2)


cdef inline bint overlap(object a, object b) noexcept:
    """Return whether two C-contiguous arrays share a byte."""
    cdef const char *A = cnp.PyArray_BYTES(a)
    cdef const char *B = cnp.PyArray_BYTES(b)
    return cnp.PyArray_SIZE(a) and cnp.PyArray_SIZE(b) and A < B + cnp.PyArray_NBYTES(b) and B < A + cnp.PyArray_NBYTES(a)


cdef long in_flight = 0        # number of calls that run at present
cdef int default_threads = 1   # shared by all calls that pass no n_threads


def set_default_threads(int n):
    """Let n threads serve the calls that pass no n_threads. All such calls share them."""
    global default_threads
    default_threads = n


def threads():
    """Return how many threads serve a call that passes no n_threads, if it runs alone."""
    return default_threads


def _after_fork():
    """Reset the counters in a child process, which uses one thread until told otherwise."""
    global default_threads, in_flight
    default_threads, in_flight = 1, 0  # a forked child leaves the other cores to its siblings


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int truncate(Call *c, tbptt) except -1:
    """Put tbptt = (k1, k2), both at least 1, into the call. None means no truncation."""
    cdef Py_ssize_t k1, k2
    if tbptt is not None:
        k1, k2 = tbptt
        truncate_to(c, k1, k2)
    return 0


cdef void truncate_to(Call *c, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil:
    """Put k1 and k2 into the call, limited to T; 0 and 0 if a single window covers all steps."""
    c.k1, c.k2 = min(k1, max(c.T, 1)), min(k2, max(c.T, 1))
    if c.k1 == c.k2 == max(c.T, 1):  # one window covers all steps
        c.k1 = c.k2 = 0
