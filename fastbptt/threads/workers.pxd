"""What the package's other extensions cimport of the pool of helper threads. pool.h has its design."""

ctypedef void (*share_function)(void *context, Py_ssize_t share, int worker) noexcept nogil
ctypedef void (*poll_function)(void *context) noexcept nogil

cdef void run_shares(share_function work, poll_function poll, void *context, Py_ssize_t shares, int workers,
                     double work_ns) noexcept nogil
