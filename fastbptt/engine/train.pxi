# Training: the loop over batches, which runs without the GIL, and single updates.
#
# `train` copies the sequences of a batch together, runs the call as Engine does, clips the gradient and updates theta.
# `update` and `clip_norm` compute the same as the functions of these names in reference.py. The file is a part of _core.pyx,
# not a module, so that Engine and its structs need not be exported. Steps of the training loop belong here, update rules in
# the kernels.

cdef tuple train(Engine engine, theta, Batch whole, CallOptions call_options, updates, buffers, sums):
    """Train by one batch after another without the GIL. Engine.train documents the arguments and the result."""
    cdef str rule
    cdef list slots
    cdef Py_ssize_t batch_size, earlier
    cdef double max_grad_norm, seconds
    rule, numbers, slots, rates, max_grad_norm, rows, batch_size, earlier, seconds = updates
    gradient, before, batch = buffers
    cdef tuple picked = tuple(batch)
    cdef Plan *p = &engine.plan
    cdef Call data, c
    cdef UpdateOptions options = options_of(rule, numbers)
    cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), done = 0, begin = 0, slot
    cdef Py_ssize_t epochs = cnp.PyArray_DIM(rates, 0), epoch = 0, end  # end: of this epoch's rows
    cdef Py_ssize_t bytes = p.P * cnp.PyArray_ITEMSIZE(theta)
    cdef const Py_ssize_t *order = <const Py_ssize_t *> cnp.PyArray_DATA(rows)
    cdef void *batch_arrays[6]
    cdef void *state[3]
    cdef void *backup[3]
    cdef Py_ssize_t states = 1 + len(slots)
    cdef const double *rate = <double *> cnp.PyArray_DATA(rates)
    cdef double *sum = <double *> cnp.PyArray_DATA(sums)  # the row of this epoch
    cdef double start = now(), polled = start, total, loss, norm
    cdef volatile double product  # volatile rounds it before it is added, as in `State.add`: no fused multiply-add
    cdef Memory memory = None, packing
    cdef Planned planned
    cdef int status = DONE, stop = 0
    cdef unsigned long long mode = rounding_mode()
    cdef bint blas_limited = False
    if not (engine.take_arguments(&data, theta, whole, call_options) and engine.point_at_targets(&data, whole.D, whole.weights)
            and is_ready(rows, cnp.NPY_INTP, 1) and is_ready(rates, cnp.NPY_DOUBLE, 1) and is_ready(sums, cnp.NPY_DOUBLE, 2)
            and epochs > 0 and has_shape(sums, epochs, 5, -1) and n >= (epochs - 1) * data.B):
        raise ValueError("an argument has a wrong dtype, shape or memory layout, or a value out of range")
    check_vectors(engine.type, p.P, rule, theta, gradient, slots)
    for slot in range(n):
        if not 0 <= order[slot] < data.B:
            raise ValueError(f"rows must be from 0 to {data.B - 1}, got {order[slot]}")
    for slot in range(states):
        state[slot] = cnp.PyArray_DATA(([theta] + slots)[slot])
        backup[slot] = cnp.PyArray_DATA(before[slot])
    if states < 3:
        state[2] = NULL
    for slot in range(6):
        batch_arrays[slot] = cnp.PyArray_DATA(picked[slot]) if picked[slot] is not None else NULL
    c = data
    c.B, c.gradient, c.saves = min(batch_size, n), cnp.PyArray_DATA(gradient), True
    c.X, c.weights, c.initial_state = batch_arrays[0] if data.X != NULL else NULL, batch_arrays[2], batch_arrays[3]
    c.ids = <const Py_ssize_t *> batch_arrays[0] if data.ids != NULL else NULL
    c.lengths, c.resets = <const Py_ssize_t *> batch_arrays[4], <const char *> batch_arrays[5]
    planned.asked, end = 0, n - (epochs - 1) * data.B
    if data.labels != NULL:
        c.labels = <const Py_ssize_t *> batch_arrays[1]
    else:
        c.D = batch_arrays[1]
    add(&in_flight, 1)
    try:
        memory, packing = engine.check_out(1), Memory((c.B + 2 * (c.T + 1)) * sizeof(Py_ssize_t))
        if engine.shares_products(&data):
            hold_blas()
            blas_limited = True
        c.polled, c.polls, c.stop = &polled, True, &stop
        flush_denormals()
        with nogil:
            while status == DONE and begin < n:
                if begin == end:
                    epoch, end, sum = epoch + 1, end + data.B, sum + 5
                c.B = min(batch_size, end - begin)
                c.call, c.numbers = data.call + <unsigned int> done, order + begin
                if not pick_batch(engine, &data, &c, order + begin, batch_arrays):
                    break  # a callback or another thread has changed the data
                c.weights, c.weight_width = batch_arrays[2], data.weight_width  # the last batch may have removed them
                total = engine.take_weights(&c)
                if not (total >= 0 and engine.in_range(&c)):  # the data have changed, likewise
                    break
                engine.take_penalties(&c)
                plan_batch(engine, &c, <Py_ssize_t *> packing.base, &planned)
                if planned.bytes > memory.bytes:
                    with gil:
                        memory = Memory(planned.bytes)
                c.total = c.penalty = 0
                status = engine.run_in(&c, memory.base, planned.threads)
                if status != DONE:
                    break
                loss = c.total * c.error.scale
                if engine.type == cnp.NPY_FLOAT:
                    norm = clip(p.P, <float *> c.gradient, max_grad_norm)
                else:
                    norm = clip(p.P, <double *> c.gradient, max_grad_norm)
                if not (isfinite(loss + c.penalty) and isfinite(norm)):
                    break
                for slot in range(states):
                    memcpy(backup[slot], state[slot], bytes)
                options.learning_rate = rate[epoch]
                count_in(&options, earlier + done + 1)
                if not update_finite(engine, &options, c.gradient, state, backup[0]):
                    for slot in range(states):
                        memcpy(state[slot], backup[slot], bytes)
                    break
                done, begin = done + 1, begin + c.B
                product = loss * total if p.mean else loss
                sum[0] += product
                sum[1] += total if p.mean else 1
                sum[2] += c.penalty
                sum[3] += norm
                sum[4] = now() - start
                if sum[4] >= seconds or stopped(&c):
                    break
        restore(mode)
        error = None
        if stop:
            try:
                pass_on()
            except BaseException as raised:
                error = raised
    finally:
        restore(mode)
        add(&in_flight, -1)
        if blas_limited:
            release_blas()
        engine.check_in(memory)
    return done, error


cdef struct Planned:
    # How a batch is run: threads and memory, and the shape of the batch for which they were computed.
    Py_ssize_t B, most, weight_width
    bint sparse
    int asked                    # threads before memory_limit reduces them; 0: compute all again for the next batch
    int threads
    Py_ssize_t bytes


cdef int plan_batch(Engine engine, Call *c, Py_ssize_t *packing, Planned *planned) except -1 nogil:
    """Divide the batch into shards, and choose threads and memory for it.

    If the batch has the shape of the batch before, the earlier choice in `planned` is kept: that saves time per update.
    """
    cdef bint same_shape = (planned.asked > 0 and not c.packed and c.B == planned.B and c.most == planned.most
                            and c.weight_width == planned.weight_width and c.sparse == planned.sparse)
    if not same_shape:
        engine.divide(c)
        pack_sequences(c, packing)
    if same_shape and engine.threads(c) == planned.asked:
        return 0
    planned.B, planned.most, planned.weight_width, planned.sparse = c.B, c.most, c.weight_width, c.sparse
    planned.threads = engine.threads(c)
    planned.asked = 0 if c.packed else planned.threads
    planned.bytes = engine.fit_into(c, &planned.threads)
    return 0


cdef fused number:
    float
    double
    Py_ssize_t
    char


cdef void pick_rows(Py_ssize_t T, Py_ssize_t n, Py_ssize_t width, const number *source, Py_ssize_t B, const Py_ssize_t *rows,
                    number *target) noexcept nogil:
    """Copy n sequences together: target (T, n, width) = source (T, B, width)[:, rows]. It does nothing if source is NULL."""
    cdef Py_ssize_t t, b, j
    cdef const number *row
    if source == NULL:
        return
    for t in range(T):
        for b in range(n):
            row = source + (t * B + rows[b]) * width
            for j in range(width):
                target[j] = row[j]
            target += width


cdef bint pick_batch(Engine engine, const Call *data, Call *c, const Py_ssize_t *rows, void **batch_arrays) noexcept nogil:
    """Copy the c.B sequences `rows` of the data into the batch's arrays, without steps behind the longest of them.

    batch_arrays are X or ids, D or labels, weights, initial state, lengths and resets; NULL if absent. Return False if a length
    or an id is out of range.
    """
    cdef Py_ssize_t I = engine.plan.I, of_state = engine.plan.width, K = engine.plan.error.K, targets
    cdef Py_ssize_t width = data.weight_width
    pick_rows(1, c.B, 1, data.lengths, data.B, rows, <Py_ssize_t *> batch_arrays[4])
    c.T = data.T
    if c.lengths != NULL and not lengths_in_range(c):
        return False
    count(c)
    c.T = c.most
    targets = 1 if c.last else c.T
    pick_rows(c.T, c.B, 1, data.resets, data.B, rows, <char *> batch_arrays[5])
    pick_rows(targets, c.B, 1, data.labels, data.B, rows, <Py_ssize_t *> batch_arrays[1])
    pick_rows(c.T, c.B, 1, data.ids, data.B, rows, <Py_ssize_t *> batch_arrays[0])
    if engine.type == cnp.NPY_FLOAT:
        pick_rows(c.T, c.B, I, <const float *> data.X, data.B, rows, <float *> batch_arrays[0])
        pick_rows(targets, c.B, K, <const float *> data.D, data.B, rows, <float *> batch_arrays[1])
        pick_rows(targets, c.B, width, <const float *> data.weights, data.B, rows, <float *> batch_arrays[2])
        pick_rows(1, c.B, of_state, <const float *> data.initial_state, data.B, rows, <float *> batch_arrays[3])
    else:
        pick_rows(c.T, c.B, I, <const double *> data.X, data.B, rows, <double *> batch_arrays[0])
        pick_rows(targets, c.B, K, <const double *> data.D, data.B, rows, <double *> batch_arrays[1])
        pick_rows(targets, c.B, width, <const double *> data.weights, data.B, rows, <double *> batch_arrays[2])
        pick_rows(1, c.B, of_state, <const double *> data.initial_state, data.B, rows, <double *> batch_arrays[3])
    count(c)  # again, now with the resets of the batch
    return c.ids == NULL or ids_in_range(c, I)


cdef bint update_finite(Engine engine, const UpdateOptions *options, const void *gradient, void **state,
                        const void *before) noexcept nogil:
    """Update the trainable entries of theta and the slots, and return whether all of theta is finite afterwards.

    `state` is theta and the slots, (P,) each. `before` is theta before the update, from which frozen entries are restored.
    """
    cdef Py_ssize_t P = engine.plan.P
    if engine.type == cnp.NPY_FLOAT:
        update_verb(chosen, options, P, <const float *> gradient, <float *> state[0], <float *> state[1],
                    <float *> state[2])
        if engine.plan.maps != NULL:
            hold(P, engine.plan.maps, <const float *> before, <float *> state[0])
        return all_finite(P, <const float *> state[0])
    update_verb(chosen, options, P, <const double *> gradient, <double *> state[0], <double *> state[1],
                <double *> state[2])
    if engine.plan.maps != NULL:
        hold(P, engine.plan.maps, <const double *> before, <double *> state[0])
    return all_finite(P, <const double *> state[0])


cdef UpdateOptions options_of(str rule, dict numbers):
    """Return the options of an update rule. `numbers` has the numbers of the optimizer by the names in optimizers.py."""
    cdef UpdateOptions options
    options.rule = RULES[rule]
    options.learning_rate = numbers["learning_rate"]
    options.nesterov, options.momentum, options.rho = (
        numbers.get("nesterov", False), numbers.get("momentum", 0), numbers.get("rho", 0))
    options.beta_1, options.beta_2 = numbers.get("beta_1", 0), numbers.get("beta_2", 0)
    options.epsilon, options.weight_decay = numbers.get("epsilon", 0), numbers.get("weight_decay", 0)
    return options


cdef void count_in(UpdateOptions *options, Py_ssize_t count) noexcept nogil:
    """Set Adam's bias corrections 1 - beta**count for update number `count`, which begins at 1."""
    options.correction_1, options.correction_2 = 1 - options.beta_1**<double> count, 1 - options.beta_2**<double> count


def update(str rule, theta, gradient, list slots, count, **numbers):
    """Update theta and slots in place.

    Parameters
    ----------
    rule : a key of RULES
    theta, gradient, slots : C-contiguous vectors (P,) of one dtype, float32 or float64; slots has one or two of them
    count : number of this update, beginning with 1
    **numbers : the numbers of the optimizer, by the names in optimizers.py
    """
    cdef UpdateOptions options = options_of(rule, numbers)
    cdef const Kernels *k = chosen
    cdef int type = cnp.PyArray_TYPE(theta) if cnp.PyArray_Check(theta) else -1
    cdef Py_ssize_t n
    cdef void *slot_2
    cdef unsigned long long mode
    count_in(&options, count)
    if type not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or not is_ready(theta, type, 1):
        raise ValueError("theta must be a contiguous float32 or float64 vector")
    n = cnp.PyArray_DIM(theta, 0)
    check_vectors(type, n, rule, theta, gradient, slots)
    slot_2 = cnp.PyArray_DATA(slots[1]) if len(slots) == 2 else NULL
    mode = flush_denormals()
    if type == cnp.NPY_FLOAT:
        update_verb(k, &options, n, <const float *> cnp.PyArray_DATA(gradient), <float *> cnp.PyArray_DATA(theta),
                    <float *> cnp.PyArray_DATA(slots[0]), <float *> slot_2)
    else:
        update_verb(k, &options, n, <const double *> cnp.PyArray_DATA(gradient), <double *> cnp.PyArray_DATA(theta),
                    <double *> cnp.PyArray_DATA(slots[0]), <double *> slot_2)
    restore(mode)


cdef int check_vectors(int type, Py_ssize_t n, str rule, theta, gradient, list slots) except -1:
    """Raise ValueError unless theta, gradient and slots are vectors (n,) of this type, writable, as many as the rule has."""
    for array in (theta, gradient, *slots):
        if not (is_ready(array, type, 1) and has_shape(array, n, -1, -1)):
            raise ValueError(f"gradient and slots must be contiguous vectors like theta, of length {n}")
    for array in (theta, *slots):
        if not cnp.PyArray_ISWRITEABLE(array):
            raise ValueError("theta and slots must be writable")
    if len(slots) != rule_rows[<int> RULES[rule]].slots:
        raise ValueError(f"rule {rule!r} has not {len(slots)} slots")
    return 0


def sum_of_all_squares(array):
    """Return Σ a² of a C-contiguous float32 or float64 array as a float."""
    if is_ready(array, cnp.NPY_FLOAT, cnp.PyArray_NDIM(array)):
        return sum_of_squares(1, cnp.PyArray_SIZE(array), <const float *> cnp.PyArray_DATA(array), 0)
    if is_ready(array, cnp.NPY_DOUBLE, cnp.PyArray_NDIM(array)):
        return sum_of_squares(1, cnp.PyArray_SIZE(array), <const double *> cnp.PyArray_DATA(array), 0)
    raise ValueError("array must be contiguous and of float32 or float64")


cdef bint all_finite(Py_ssize_t n, const floating *x) noexcept nogil:
    """Return whether all n numbers of x are finite."""
    cdef Py_ssize_t i, j
    cdef floating[8] zero = [0, 0, 0, 0, 0, 0, 0, 0]  # with one sum, each addition waits for the last one: 0.9 us with P = 434
    for i in range(0, n - 7, 8):
        for j in range(8):
            zero[j] += x[i + j] * 0  # 0 * x is NaN if x is NaN or infinite, and the sum stays NaN
    for i in range(n - n % 8, n):
        zero[0] += x[i] * 0
    for j in range(1, 8):
        zero[0] += zero[j]
    return zero[0] == 0


cdef double clip(Py_ssize_t n, floating *gradient, double max_norm) noexcept nogil:
    """Scale gradient (n,) in place by min(1, max_norm / norm), and return its Euclidean norm before.

    No intermediate result overflows or underflows.
    """
    cdef Py_ssize_t i
    cdef double total = 0, total_odd = 0, norm
    for i in range(0, n - 1, 2):  # two sums: with one, each addition waits for the last one
        total += <double> gradient[i] * gradient[i]
        total_odd += <double> gradient[i + 1] * gradient[i + 1]
    if n % 2:
        total += <double> gradient[n - 1] * gradient[n - 1]
    norm = sqrt(total + total_odd)
    if not 1e-10 < norm < 1e10:
        return clip_extreme(n, gradient, max_norm)
    if norm > max_norm:
        for i in range(n):
            gradient[i] = gradient[i] * <floating> (max_norm / norm)
    return norm


cdef double clip_extreme(Py_ssize_t n, floating *gradient, double max_norm) noexcept nogil:
    """Do what `clip` does for norms whose squares might overflow or underflow: compute with gradient / largest."""
    cdef Py_ssize_t i
    cdef double largest = 0, total = 0, norm
    cdef floating scale
    for i in range(n):
        if not fabs(gradient[i]) <= largest:
            largest = fabs(gradient[i])
            if not isfinite(largest):
                return largest
    if largest == 0:
        return 0
    for i in range(n):
        total += (gradient[i] / largest) * (gradient[i] / largest)
    norm = min(largest * sqrt(total), DBL_MAX)
    if norm > max_norm:
        scale = <floating> (max_norm / sqrt(total))
        for i in range(n):
            gradient[i] = gradient[i] / <floating> largest * scale
    return norm


def clip_norm(gradient, double max_norm):
    """Scale gradient (P,) in place to max_norm if its Euclidean norm is larger. Return gradient and the norm before."""
    if is_ready(gradient, cnp.NPY_FLOAT, 1) and cnp.PyArray_ISWRITEABLE(gradient):
        return gradient, clip(cnp.PyArray_DIM(gradient, 0), <float *> cnp.PyArray_DATA(gradient), max_norm)
    if is_ready(gradient, cnp.NPY_DOUBLE, 1) and cnp.PyArray_ISWRITEABLE(gradient):
        return gradient, clip(cnp.PyArray_DIM(gradient, 0), <double *> cnp.PyArray_DATA(gradient), max_norm)
    raise ValueError("gradient must be a contiguous, writable float32 or float64 vector")
