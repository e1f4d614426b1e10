"""The extension that owns the process's pool of helper threads. The other extensions cimport `run_shares` from it.

pool.h has the design of the pool. Functions that tests and benchmarks need to control the pool belong here.
"""

cdef extern from "pool.h" nogil:
    ctypedef void (*fastbptt_share)(void *context, Py_ssize_t share, int worker) noexcept
    ctypedef void (*fastbptt_poll)(void *context) noexcept
    void fastbptt_run_shares(fastbptt_share work, fastbptt_poll poll, void *context, Py_ssize_t shares, int workers,
                             double work_ns) noexcept
    int fastbptt_count_helpers() noexcept
    void fastbptt_prepare_pool() noexcept
    void fastbptt_set_times(double watch_ns, double wake_ns) noexcept
    void fastbptt_fail_helpers(long n) noexcept
    const double WATCH_NS "FASTBPTT_WATCH_NS"
    const double WAKE_NS "FASTBPTT_WAKE_NS"

fastbptt_prepare_pool()


cdef void run_shares(share_function work, poll_function poll, void *context, Py_ssize_t shares, int workers,
                     double work_ns) noexcept nogil:
    """Compute all shares by at most `workers` threads, including the calling one. Return when all are finished.

    `work_ns` estimates the time that one thread takes. See fastbptt_run_shares in pool.h.
    """
    fastbptt_run_shares(work, poll, context, shares, workers, work_ns)


def helpers():
    """Return the number of helper threads of this process."""
    return fastbptt_count_helpers()


def set_times(double watch_ns=WATCH_NS, double wake_ns=WAKE_NS):
    """Set how long an idle helper watches for a job, and how much work pays for waking one, in nanoseconds (see pool.h)."""
    fastbptt_set_times(watch_ns, wake_ns)


def fail_helpers(long n):
    """Let the next n attempts to create a helper fail, for tests."""
    fastbptt_fail_helpers(n)
