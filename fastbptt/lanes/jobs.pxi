# Jobs: threads divide the groups of a call or of a training run.
#
# Add here what depends on the number of threads.

cdef void run_share(const Job *job, Py_ssize_t i, int worker, const floating *of) noexcept nogil:
    """Run group i of a job, or train it, in the workspace of thread `worker`."""
    if job.training != NULL:
        train_group(job, i, job.base + worker * job.bytes, of)
    else:
        run_group(job.p, job.c, i, job.base + worker * job.bytes, of)


cdef void run_share_f32(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float32 Job, for the pool."""
    run_share(<const Job *> context, i, worker, <const float *> NULL)


cdef void run_share_f64(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float64 Job, for the pool."""
    run_share(<const Job *> context, i, worker, <const double *> NULL)


cdef double nanoseconds_of(const Plan *p, const Call *c, Py_ssize_t groups, Py_ssize_t times, Py_ssize_t size) noexcept nogil:
    """Estimate the time of a call on one thread, within a factor of about two.

    One step of a group, forward and back, takes 15 ns with H = 4 and 40 ns with H = 8. That is 0.5 ns a multiplication plus
    5 ns.
    """
    cdef double multiplications = <double> p.H * (p.I + p.H + p.O)
    return <double> groups * times * c.T * c.B * (5 + 0.5 * multiplications)


cdef int run(Job *job, const floating *of, int threads) except -1:
    """Run all groups of a job by at most `threads` threads, without the GIL. Raise MemoryError if there is no workspace."""
    cdef Py_ssize_t L = lane.lanes(kernels, of), groups = (job.c.n + L - 1) // L, i
    cdef Py_ssize_t times = job.training.epochs if job.training != NULL else 1
    cdef Group g
    cdef Learning m
    cdef char *raw
    threads = <int> max(1, min(threads, groups))
    job.bytes = lay_out_training(job, of, NULL, &m) if job.training != NULL else lay_out(job.p, job.c, of, NULL, &g)
    raw = <char *> PyMem_RawMalloc(job.bytes * threads + 64)
    if raw == NULL:
        raise MemoryError(f"no memory for a workspace of {job.bytes * threads} bytes")
    job.base = raw + (64 - <size_t> raw % 64)
    try:
        with nogil:
            if threads == 1:
                for i in range(groups):
                    run_share(job, i, 0, of)
            else:
                run_shares(run_share_f32 if floating is float else run_share_f64, NULL, job, groups, threads,
                           nanoseconds_of(job.p, job.c, groups, times, sizeof(floating)))
    finally:
        PyMem_RawFree(raw)
    return 0
