# Memory: result arrays, the memory that a call needs, and running a call.
#
# `EngineCalls.run` takes a call that the methods of arguments.pxi have filled, finds threads and memory for it and runs it.
# Add here what decides how a call is run, but not what it computes. batching.pxi explains shard, packed, segment and border.


cdef class EngineCalls(EngineArguments):
    """An engine's result arrays and workspaces. `run` runs a call that `prepare` and others have filled."""

    @cython.final
    cdef object fresh_outputs(self, Call *c, Py_ssize_t width, void **data):
        """Return a new array (T, B, width), or (B, width) if outputs exist only at the last steps.

        If width is 0, the last axis is missing. `data` receives the array's memory.
        """
        if c.last:
            return self.fresh(2 if width else 1, c.B, width, 0, data)
        return self.fresh(3 if width else 2, c.T, c.B, width, data)

    @cython.final
    cdef object fresh(self, int ndim, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2, void **data):
        """Return a new array of the network's dtype, with `ndim` axes. `data` receives its memory, which is not set."""
        cdef cnp.npy_intp[3] shape
        shape[0], shape[1], shape[2] = n0, n1, n2
        array = cnp.PyArray_SimpleNew(ndim, shape, self.type)
        data[0] = cnp.PyArray_DATA(array)
        return array

    @cython.final
    cdef object view(self, cnp.ndarray flat, Py_ssize_t begin, int ndim, Py_ssize_t n0, Py_ssize_t n1):
        """Return flat[begin : begin + n0 * n1].reshape(n0, n1), or the vector of length n0 if ndim is 1."""
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = n0, n1
        cdef void *data = cnp.PyArray_BYTES(flat) + begin * cnp.PyArray_ITEMSIZE(flat)
        cpython.Py_INCREF(self.dtype)
        array = PyArray_NewFromDescr(&PyArray_Type, self.dtype, ndim, shape, NULL, data, cnp.NPY_ARRAY_CARRAY, NULL)
        cnp.set_array_base(array, flat)
        return array

    @cython.final
    cdef dict gradients(self, Call *c):
        """Run the call and return the dict of all gradients that it asks for.

        The gradients of parameters are views of one new vector (P,). "X" (T, B, I) and "initial_state" (B, H) have their own
        arrays.
        """
        cdef Plan *p = &self.plan
        flat = self.fresh(1, p.P, 0, 0, &c.gradient)
        c.saves = True
        dX = self.fresh(3, c.T, c.B, p.I, &c.dX) if c.input_gradient else None
        dS_0 = self.fresh(2, c.B, p.width, 0, &c.dS_0) if c.initial_state_gradient else None
        self.run(c)
        gradients = {"W_x": self.view(flat, p.W_x, 2, p.gates * p.H, p.I)}
        if p.rank > 0:
            gradients["M"] = self.view(flat, p.M, 2, p.gates * p.H, p.rank)
            gradients["N"] = self.view(flat, p.N, 2, p.H, p.rank)
        else:
            gradients["W_s"] = self.view(flat, p.W_s, 2, p.gates * p.H, p.H)
        if p.b_s >= 0:
            gradients["b_s"] = self.view(flat, p.b_s, 1, p.gates * p.H, 0)
        if p.b_n >= 0:
            gradients["b_n"] = self.view(flat, p.b_n, 1, p.H, 0)
        if p.leak_logit >= 0:
            gradients["leak_logit"] = self.view(flat, p.leak_logit, 1, p.H, 0)
        gradients["W_y"] = self.view(flat, p.W_y, 2, p.O, p.H)
        if p.b_y >= 0:
            gradients["b_y"] = self.view(flat, p.b_y, 1, p.O, 0)
        if p.S_0 >= 0:
            gradients["S_0"] = self.view(flat, p.S_0, 1, p.width, 0)
        if c.input_gradient:
            gradients["X"] = dX
        if c.initial_state_gradient:
            gradients["initial_state"] = dS_0
        return gradients

    @cython.final
    cdef int threads(self, const Call *c) noexcept nogil:
        """Return how many threads serve the call: c.n_threads, or its share of `default_threads` if that is 0.

        There are never more threads than shards.
        """
        cdef int n_threads = c.n_threads
        if c.terms_S != NULL or c.flow != NULL or c.rows == 0:  # all shards add to the same array
            return 1
        if n_threads <= 0:
            n_threads = max(1, default_threads // max(1, add(&in_flight, 0)))
        return <int> min(n_threads, shards_of(c))

    @cython.final
    cdef Py_ssize_t plan_memory(self, Call *c, int threads) except -1 nogil:
        """Return the bytes that a call, divided into shards, needs with `threads` threads. Raises MemoryError."""
        cdef Plan *p = &self.plan
        cdef Shared shared
        if not countable(p, c):
            with gil:
                raise MemoryError(f"T={c.T}, B={c.B} need more memory than a processor can address")
        if self.type == cnp.NPY_FLOAT:
            return lay_out_shared(p, c, self.kernels, <const float *> c.theta, NULL, threads, &shared)
        return lay_out_shared(p, c, self.kernels, <const double *> c.theta, NULL, threads, &shared)

    @cython.final
    cdef Py_ssize_t fit_into(self, Call *c, int *threads) except -1 nogil:
        """Return the bytes that the call needs, and choose segments and threads so that they fit into c.memory_limit.

        First tries more segments, then fewer threads. The limit also covers the order of a packed call. AUTOMATIC stands for
        the least possible memory, NO_LIMIT for no limit. Raises MemoryError if the call cannot fit.
        """
        cdef Py_ssize_t needed, least, best, segments, order_bytes = packed_words(c) * sizeof(Py_ssize_t)
        cdef Py_ssize_t limit = c.memory_limit
        while True:
            c.segments = best = 0
            segments, needed = 1, self.plan_memory(c, threads[0])
            if limit == NO_LIMIT or 0 < limit >= needed + order_bytes or not c.saves or c.k1 > 0:
                return needed
            least = needed
            while segments < steps_of_a_shard(c) and not c.precomputed:
                segments += 1 + segments // 16
                needed = self.plan_segments(c, segments, threads[0])
                if 0 < limit >= needed + order_bytes:
                    return needed
                if needed < least:
                    least, best = needed, segments
                elif needed > 2 * least:  # more borders now cost more than shorter segments save
                    break
            if limit == AUTOMATIC and best > 0:
                return self.plan_segments(c, best, threads[0])
            if limit == AUTOMATIC:
                c.segments = 0
                return self.plan_memory(c, threads[0])
            if threads[0] == 1:
                with gil:
                    raise MemoryError(f"memory_limit={limit} bytes, but this call needs at least {least + order_bytes}")
            threads[0] -= 1

    @cython.final
    cdef Py_ssize_t plan_segments(self, Call *c, Py_ssize_t segments, int threads) except -1 nogil:
        """Return the bytes that the call needs with about `segments` segments, and put these into the call."""
        cdef Py_ssize_t most = steps_of_a_shard(c), rows
        cdef Workspace w
        c.segments, c.segment_rows = segments, (most + segments - 1) // segments
        if self.type == cnp.NPY_FLOAT:
            lay_out(&self.plan, c, self.kernels, <const float *> c.theta, NULL, &w)
        else:
            lay_out(&self.plan, c, self.kernels, <const double *> c.theta, NULL, &w)
        if c.packed:  # blocks differ in rows, so a segment may end almost a block early
            c.segment_rows = max(c.segment_rows, 2 * w.rows)
            rows = c.segment_rows - w.rows + 1
        else:
            c.segment_rows = rows = max(1, c.segment_rows // w.rows) * w.rows
        c.segments = (most + rows - 1) // rows
        return self.plan_memory(c, threads)

    def workspace(self, theta, shape, CallOptions options not None):
        """Return the bytes that `loss_and_gradients` needs for its workspace.

        `shape` is a CallShape, already checked. theta (P,) is not read.
        """
        cdef Call c
        cdef Memory packing
        cdef int threads
        lengths, resets = shape.lengths, shape.resets
        memset(&c, 0, sizeof(Call))
        c.T, c.B, c.error, c.last, c.sparse = shape.T, shape.B, self.plan.error, self.plan.last, self.plan.last or shape.sparse
        c.units, c.n_threads, c.memory_limit = self.plan.units, options.n_threads, options.memory_limit
        if shape.dropout:
            self.take_dropout(&c)
        c.theta = c.weights = c.D = cnp.PyArray_DATA(theta)  # never read: a NULL would count less memory
        c.labels = <const Py_ssize_t *> c.theta if shape.labels else NULL
        c.gradient, c.saves, c.weight_width = cnp.PyArray_DATA(theta), self.plan.recurs, shape.weight_width
        c.precomputed = not self.plan.reads
        c.lengths = <const Py_ssize_t *> cnp.PyArray_DATA(lengths) if lengths is not None else NULL
        truncate(&c, options.tbptt)
        count(&c)
        c.packed = c.packed or resets
        self.take_penalties(&c)
        self.divide(&c)
        packing = Memory(packed_words(&c) * sizeof(Py_ssize_t))
        pack_sequences(&c, <Py_ssize_t *> packing.base)
        threads = self.threads(&c)
        return self.fit_into(&c, &threads) + packed_words(&c) * sizeof(Py_ssize_t)

    @cython.final
    cdef void divide(self, Call *c) noexcept nogil:
        """Set c.rows, the number of sequences per shard."""
        c.rows = rows_of_a_shard(&self.plan, c.steps, c.sequences, 4 if self.type == cnp.NPY_FLOAT else 8, self.shard_work)

    @cython.final
    cdef bint shares_products(self, const Call *c) noexcept:
        """Return whether a BLAS may use threads of its own for the call's products."""
        return (self.kernels == blas_kernels()
                and max(1.0 * c.T * c.B, self.plan.rank) * self.plan.gates * self.plan.H * max(
                    self.plan.I, self.plan.H, self.plan.O) >= SHARED_FROM)

    @cython.final
    cdef bint is_short(self, const Call *c) noexcept nogil:
        """Return whether the call takes less than about 10 us.

        It then keeps the GIL: releasing and taking it again takes 0.05 us.
        """
        return <double> c.steps * (64 + self.plan.H * (self.plan.gates * (self.plan.I + self.plan.H) + self.plan.O)) + (
            <double> self.plan.gates * self.plan.H * self.plan.H * self.plan.rank) < SHORT

    @cython.final
    cdef int run_in(self, Call *c, char *base, int threads) noexcept nogil:
        """Run the call in the memory at `base`, in the network's dtype. Return DONE or STOPPED."""
        if self.type == cnp.NPY_FLOAT:
            return run(&self.plan, c, self.kernels, base, <const float *> c.theta, threads)
        return run(&self.plan, c, self.kernels, base, <const double *> c.theta, threads)

    @cython.final
    cdef int run(self, Call *c) except -1:
        """Run a call in a pooled workspace, without the GIL unless the call is short.

        Raises MemoryError, or KeyboardInterrupt after Ctrl-C.
        """
        cdef Memory memory = None, packing
        cdef Py_ssize_t few[FEW_WORDS]
        cdef int status, threads, stop = 0
        cdef double polled = NEVER
        cdef Py_ssize_t needed
        cdef bint held = False
        add(&in_flight, 1)
        try:
            self.divide(c)
            if packed_words(c) > FEW_WORDS:
                packing = Memory(packed_words(c) * sizeof(Py_ssize_t))
                pack_sequences(c, <Py_ssize_t *> packing.base)
            elif c.packed:
                pack_sequences(c, few)
            threads = self.threads(c)
            needed = self.fit_into(c, &threads)
            memory = self.check_out(needed)
            if self.shares_products(c):
                hold_blas()
                held = True
            c.polled, c.polls, c.stop = &polled, True, &stop
            if threads == 1 and self.is_short(c):
                status = self.run_in(c, memory.base, 1)
            else:
                with nogil:
                    status = self.run_in(c, memory.base, threads)
            if status != DONE:
                pass_on()  # inside `try`: `finally` sets the exception aside, so that Python code can run
        finally:
            add(&in_flight, -1)
            if held:
                release_blas()
            self.check_in(memory)
        return 0

    @cython.final
    cdef void check_in(self, Memory memory):
        """Return a workspace to the pool, unless it is larger than POOLED_BYTES. The pool keeps POOLED of them."""
        if memory is not None and memory.bytes <= POOLED_BYTES:
            self.pool.append(memory)
            if len(self.pool) > POOLED:  # checked after append: without a GIL several threads may append at once
                del self.pool[POOLED:]

    @cython.final
    cdef Memory check_out(self, Py_ssize_t bytes):
        """Return a workspace of at least `bytes` bytes: the last one used if it is large enough, else a new one."""
        cdef cpython.PyObject *popped = PyObject_CallMethodNoArgs(self.pool, "pop")
        cdef Memory memory
        # NULL: the pool is empty. Pop without checking first: another thread may empty the pool in between. The C of `except`
        # crashes if there is no memory for a traceback (Cython 3.3), so the call is made in C.
        if popped == NULL:
            cpython.PyErr_Clear()
            return Memory(bytes)
        memory = <Memory> popped
        cpython.Py_DECREF(memory)  # the reference that pop gave
        return memory if memory.bytes >= bytes else Memory(bytes)
