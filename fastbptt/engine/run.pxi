# Run a call: hand the shards to threads, sum their gradients, poll for Ctrl-C.
#
# `run` is the order of one call: lay out memory, pack weights, run the shards, sum, apply penalties and parametrizations. Add
# here what happens once per call or once per shard, without the GIL. batching.pxi explains shard, block, packed and padding;
# plan.pxi explains the letters.

@cython.final
cdef class Memory:
    """A piece of memory, freed with this object. `base` is a multiple of 64, and `bytes` bytes follow it.

    Raises MemoryError if the system has no such piece.
    """

    cdef char *raw
    cdef char *base
    cdef Py_ssize_t bytes

    def __cinit__(self, Py_ssize_t bytes):
        self.raw = <char *> PyMem_RawMalloc(bytes + 64)
        if self.raw == NULL:
            raise MemoryError(f"no memory for a workspace of {bytes} bytes")
        self.base = self.raw + (64 - <size_t> self.raw % 64)
        self.bytes = bytes

    def __dealloc__(self):
        PyMem_RawFree(self.raw)


cdef bint stopped(Call *c) noexcept nogil:
    """Return whether Ctrl-C came. Looks at most every 20 ms, and only in the thread that polls.

    If Ctrl-C came, the Python exception is set. It is raised as soon as the call holds the GIL again (`pass_on`).
    """
    cdef double time
    cdef unsigned long long mode
    if not c.polls or read_flag(c.stop):
        return read_flag(c.stop)
    time = now()
    if c.polled[0] == NEVER:
        c.polled[0] = time
    if 0 <= time - c.polled[0] < 0.02:
        return False
    c.polled[0] = time
    with gil:  # signal handlers are Python code, which expects denormals
        mode = keep_denormals()
        write_flag(c.stop, PyErr_CheckSignals() != 0)
        restore(mode)
    return read_flag(c.stop)


cdef int pass_on() except -1:
    """Raise the exception that is already set."""
    return -1


cdef void run_shard(const Plan *p, Call *c, const Kernels *k, const Shared *shared, const floating *theta, Py_ssize_t i,
                    int thread) noexcept nogil:
    """Do what the call asks for, for shard i, in the workspace of this thread. Thread 0 is the calling one.

    Writes the shard's sums (totals, squares, Ω) to `shared`, and its gradient to its own row of shared.partials (shards,
    length).
    """
    cdef Workspace w
    cdef Call s, before
    cdef unsigned long long mode
    make_shard(p, c, i, sizeof(floating), &s)
    s.polls = c.polls and thread == 0
    if i > 0 and stopped(&s):
        return
    mode = flush_denormals()
    lay_out(p, c, k, theta, shared.workspaces + thread * shared.bytes, &w)
    w.shared = shared
    if c.external:
        w.S, w.delta_y = <char *> w.S + i * shared.saved, <char *> w.delta_y + i * shared.saved
        w.saves = <char *> w.saves + i * shared.saved if w.saves != NULL else NULL
    if c.packed:
        number_rows(c, shared.shards, i, w.first)
    if c.terms_S != NULL:  # only the last step has an error
        before = s
        before.D = before.labels = NULL
        if forward(p, &before, k, shared, &w, theta) == DONE:
            terms(p, &s, k, shared, &w, theta)
    elif c.gradient == NULL:
        if forward(p, &s, k, shared, &w, theta) == DONE and c.flow != NULL:
            flow(p, &s, k, shared, &w, theta)
    else:
        s.gradient = <floating *> shared.partials + (i * shared.length if shared.shards > 1 else 0)
        memset(s.gradient, 0, shared.length * sizeof(floating))
        if c.omega != 0:
            s.omega_slope = <floating *> shared.omega_slopes + i * p.H * p.H
            memset(s.omega_slope, 0, p.H * p.H * sizeof(floating))
        if forward(p, &s, k, shared, &w, theta) == DONE and p.recurs:
            backward(p, &s, k, shared, &w, theta)
    shared.totals[i] = s.total
    if c.rates != 0:
        shared.squares[i] = s.squares
    if c.omega != 0:
        shared.omega_sums[i], shared.omega_rows[i] = s.omega_sum, s.omega_rows
    restore(mode)


cdef void fill(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """Fill the results with what padding and sequences without steps receive: zeros, and initial states.

    `run` calls this before the shards, which then write the steps that exist.
    """
    cdef Py_ssize_t b, size = sizeof(floating), steps = 1 if c.last else c.T
    cdef floating *S = <floating *> c.S
    cdef floating *last = <floating *> c.final_state
    if c.Y != NULL:
        memset(c.Y, 0, steps * c.B * p.O * size)
    if c.losses != NULL:
        memset(c.losses, 0, steps * c.B * size)
    if c.dX != NULL:
        memset(c.dX, 0, c.T * c.B * p.I * size)
    if c.dS_0 != NULL:
        memset(c.dS_0, 0, c.B * p.width * size)
    if c.R != NULL:
        memset(c.R, 0, c.T * c.B * saved_numbers(c) * p.H * size)
    if S != NULL:
        memset(S, 0, (c.T + 1) * c.B * p.width * size)
    for b in range(c.B):
        if S != NULL:
            first_row(p, c, b, theta, S + b * p.width)
        if last != NULL:
            first_row(p, c, b, theta, last + b * p.width)


cdef void first_row(const Plan *p, const Call *c, Py_ssize_t b, const floating *theta, floating *row) noexcept nogil:
    """Write the initial state of sequence b to row (width,): the given one, S_0 or zeros."""
    cdef Py_ssize_t h
    for h in range(p.width):
        if c.initial_state != NULL:
            row[h] = (<const floating *> c.initial_state)[b * p.width + h]
        else:
            row[h] = theta[p.S_0 + h] if p.S_0 >= 0 else 0


cdef struct Job:
    # The arguments of run_shard that are equal for all shards. The thread pool passes them on as one pointer.
    const Plan *p
    Call *c
    const Kernels *k
    const Shared *shared
    const void *theta


cdef void run_share_f32(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run shard i of a float32 job; the thread pool calls this."""
    cdef Job *job = <Job *> context
    run_shard(job.p, job.c, job.k, job.shared, <const float *> job.theta, i, worker)


cdef void run_share_f64(void *context, Py_ssize_t i, int worker) noexcept nogil:
    """Run shard i of a float64 job; the thread pool calls this."""
    cdef Job *job = <Job *> context
    run_shard(job.p, job.c, job.k, job.shared, <const double *> job.theta, i, worker)


cdef void poll_for_job(void *context) noexcept nogil:
    """Poll for Ctrl-C while the calling thread waits for other threads. Their shards then see `stop`."""
    stopped((<Job *> context).c)


cdef double nanoseconds_of(const Plan *p, const Call *c, Py_ssize_t size) noexcept nogil:
    """Estimate the time of a call on one thread, within a factor of about two (AVX2 and AVX-512, 2026-11).

    SHARD_LEAST multiplications of the forward pass take about 0.05 ms with the gradient in float32, so one takes 0.1 ns.
    Without the gradient it takes a third of that. `size` is the size of a number in bytes.
    """
    cdef double multiplications = <double> c.steps * p.H * (p.gates * (p.I + recurrent_width(p) if p.recurs else 0) + p.O)
    return multiplications * (0.1 if c.gradient != NULL else 0.035) * (size // sizeof(float))


cdef int run(const Plan *p, Call *c, const Kernels *k, char *base, const floating *theta, int threads) noexcept nogil:
    """Do what the call asks for, on `threads` threads. Return DONE or STOPPED.

    `base` is memory of the size that `lay_out_shared` counted for so many threads. theta (P,) are the parameters before
    parametrizations.
    """
    cdef Shared shared
    cdef Job job
    cdef Py_ssize_t i, j
    cdef floating *partial
    cdef floating *gradient
    cdef const floating *given = theta
    cdef unsigned long long mode = flush_denormals()
    lay_out_shared(p, c, k, theta, base, threads, &shared)
    gradient = <floating *> shared.gradient
    if p.maps != NULL or shared.length > p.P:
        # p = effective(theta, maps)                                                          (length,)
        find_effective(p, k, &shared, given, <floating *> shared.theta)
        theta = <const floating *> shared.theta
    pack_weights(p, c, k, &shared, theta)
    if separate_leaks(p):
        find_leaks(p, c, theta, &shared)
        c.units.leaks, c.units.keeps, c.noise_scales = shared.leaks, shared.keeps, shared.noise_scales
    if c.drops_noise:
        find_norms(p, c, theta)
    if c.packed or c.most < c.T:
        fill(p, c, theta)
    elif c.k1 > 0 and c.dX != NULL:
        memset(c.dX, 0, c.T * c.B * p.I * sizeof(floating))
    if threads == 1:
        for i in range(shared.shards):
            run_shard(p, c, k, &shared, theta, i, 0)
    else:
        job.p, job.c, job.k, job.shared, job.theta = p, c, k, &shared, theta
        run_shares(run_share_f32 if floating is float else run_share_f64, poll_for_job, &job, shared.shards, threads,
                   nanoseconds_of(p, c, sizeof(floating)))
    if read_flag(c.stop):
        restore(mode)
        return STOPPED
    for i in range(shared.shards):
        c.total += shared.totals[i]
    if gradient != NULL:
        if shared.shards != 1:
            memset(gradient, 0, shared.length * sizeof(floating))
            for i in range(shared.shards):
                partial = <floating *> shared.partials + i * shared.length
                for j in range(shared.length):
                    gradient[j] += partial[j]
    if c.unscale > 0:
        undo_scale(p, c, shared.length, gradient)
    if gradient != NULL:
        if c.error.loss != GIVEN and p.recurs:
            c.penalty = penalize(p, theta, gradient)
        if c.rates != 0:
            for i in range(shared.shards):
                c.penalty += c.rates * shared.squares[i]
        if c.omega != 0:
            c.penalty += add_omega(p, c, &shared, gradient + p.W_s)
    # gradient = pulled_back(gradient, theta, maps)                                                   (P,)
    if shared.length > p.P and gradient != NULL:
        add_factor_gradients(p, k, &shared, theta, gradient + p.W_s, gradient + p.M, gradient + p.N)
    for i in range(c.T if p.rank > 0 and c.terms_S != NULL else 0):
        if stopped(c):
            break
        add_factor_gradients(p, k, &shared, theta, <floating *> c.terms_W_s + i * p.gates * p.H * p.H,
                             <floating *> c.terms_M + i * p.gates * p.H * p.rank, <floating *> c.terms_N + i * p.H * p.rank)
    if p.maps != NULL:
        if gradient != NULL:
            pull_back(p.P, p.maps, given, gradient)
        elif c.terms_S != NULL:
            pull_back_terms(p, c, given)
    if shared.length > p.P and gradient != NULL:
        memcpy(c.gradient, gradient, p.P * sizeof(floating))
    restore(mode)
    return STOPPED if read_flag(c.stop) else DONE


cdef void undo_scale(const Plan *p, Call *c, Py_ssize_t length, floating *gradient) noexcept nogil:
    """Multiply all results that are linear in the weights by c.unscale. gradient is (length,), or NULL."""
    c.total *= c.unscale
    if gradient != NULL:
        multiply(length, c.unscale, gradient)
    if c.dX != NULL:
        multiply(c.T * c.B * p.I, c.unscale, <floating *> c.dX)
    if c.dS_0 != NULL:
        multiply(c.B * p.width, c.unscale, <floating *> c.dS_0)
    if c.flow != NULL:
        multiply((c.flow_end - c.flow_begin) * c.T, c.unscale, <floating *> c.flow)
        multiply(c.T, c.unscale, <floating *> c.flow_whole)
    if c.flow_carry != NULL:
        multiply((c.flow_end - c.flow_begin) * c.T, c.unscale, <floating *> c.flow_carry)
        multiply(c.T, c.unscale, <floating *> c.flow_carry_whole)
