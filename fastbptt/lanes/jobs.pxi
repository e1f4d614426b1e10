# Jobs: threads divide the groups of a call or of a training run.
#
# Add here what depends on the number of threads.

cdef void run_or_train_group(const Job *job, Py_ssize_t i, int worker, const floating *dtype) noexcept nogil:
    """Run group i of a job, or train it, in the workspace of thread `worker`. `dtype` selects the type and is not read."""
    if job.training != NULL:
        train_group(job, i, job.base + worker * job.bytes, dtype)
    else:
        run_group(job.p, job.c, i, job.base + worker * job.bytes, dtype)


cdef void run_group_of_f32(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float32 Job, `context`, in the workspace of thread `worker`. The thread pool calls it."""
    run_or_train_group(<const Job *> context, i, worker, <const float *> NULL)


cdef void run_group_of_f64(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run group i of a float64 Job, `context`, in the workspace of thread `worker`. The thread pool calls it."""
    run_or_train_group(<const Job *> context, i, worker, <const double *> NULL)


cdef double estimated_nanoseconds(const Plan *p, const Call *c, Py_ssize_t groups, Py_ssize_t times) noexcept nogil:
    """Return an estimate of the time of a call c for these groups on one thread, within a factor of about two.

    The pool chooses by it how many threads to use. `times` is the number of epochs, or 1. One step of a group, forward and
    back, takes 15 ns with H = 4 and 40 ns with H = 8. That is 0.5 ns a multiplication plus 5 ns.
    """
    cdef double multiplications = <double> p.H * (p.I + p.H + p.O)
    return <double> groups * times * c.T * c.B * (5 + 0.5 * multiplications)


cdef int run_groups(Job *job, const floating *dtype, int threads) except -1:
    """Run all groups of a job by at most `threads` threads, without the GIL. Raise MemoryError if there is no workspace.

    `dtype` selects the type of the numbers and is not read.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, dtype), groups = (job.c.n + L - 1) // L, i
    cdef Py_ssize_t times = job.training.epochs if job.training != NULL else 1
    cdef Group g
    cdef Learning m
    cdef char *raw
    threads = <int> max(1, min(threads, groups))
    job.bytes = lay_out_training(job, dtype, NULL, &m) if job.training != NULL else lay_out(job.p, job.c, dtype, NULL, &g)
    raw = <char *> PyMem_RawMalloc(job.bytes * threads + 64)
    if raw == NULL:
        raise MemoryError(f"no memory for a workspace of {job.bytes * threads} bytes")
    job.base = raw + (64 - <size_t> raw % 64)
    try:
        with nogil:
            if threads == 1:
                for i in range(groups):
                    run_or_train_group(job, i, 0, dtype)
            else:
                run_shares(run_group_of_f32 if floating is float else run_group_of_f64, NULL, job, groups, threads,
                           estimated_nanoseconds(job.p, job.c, groups, times))
    finally:
        PyMem_RawFree(raw)
    return 0
