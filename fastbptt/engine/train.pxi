# Training, included by _core.pyx: updates by batches, one after another without the GIL, and one update by itself.
#
# `train` picks the sequences of a batch, runs the call as Engine does, clips the gradient and updates; `update` and
# `clip_norm` are those of reference.py. It is a part of _core.pyx, not a module, so that Engine and its structs need not be
# exported.

cdef tuple train(Engine engine, theta, X, D, weights, initial_state, lengths, resets, rows, Py_ssize_t batch_size,
                 str rule, dict numbers, rates, list slots, Py_ssize_t earlier, double max_grad_norm, gradient, list before,
                 list batch, sums, double seconds, Py_ssize_t memory_limit, int n_threads, draws):
    """The loop of Engine.train, which documents the arguments and what is returned."""
    cdef Plan *p = &engine.plan
    cdef Call data, c
    cdef UpdateOptions what = options_of(rule, numbers)
    cdef Py_ssize_t n = cnp.PyArray_DIM(rows, 0), done = 0, begin = 0, slot
    cdef Py_ssize_t epochs = cnp.PyArray_DIM(rates, 0), epoch = 0, end  # of the rows of this epoch
    cdef Py_ssize_t bytes = p.P * cnp.PyArray_ITEMSIZE(theta)
    cdef const Py_ssize_t *order = <const Py_ssize_t *> cnp.PyArray_DATA(rows)
    cdef void *into[6]
    cdef void *state[3]
    cdef void *kept[3]
    cdef Py_ssize_t states = 1 + len(slots)
    cdef const double *rate = <double *> cnp.PyArray_DATA(rates)
    cdef double *sum = <double *> cnp.PyArray_DATA(sums)  # of this epoch
    cdef double start = now(), polled = start, total, loss, norm
    cdef volatile double product  # rounded before it is added, as `State.add` does: no fused multiply-add
    cdef Memory memory = None, arrangement
    cdef Planned planned
    cdef int status = DONE, stop = 0
    cdef unsigned long long mode = rounding_mode()
    cdef bint held = False
    if not (engine.prepare(&data, theta, X, initial_state, lengths, resets, 1, draws)
            and engine.point_at_targets(&data, D, weights)
            and is_ready(rows, cnp.NPY_INTP, 1) and is_ready(rates, cnp.NPY_DOUBLE, 1) and is_ready(sums, cnp.NPY_DOUBLE, 2)
            and epochs > 0 and has_shape(sums, epochs, 5, -1) and n >= (epochs - 1) * data.B):
        raise ValueError("data are not in order")
    check_vectors(engine.type, p.P, rule, theta, gradient, slots)
    for slot in range(n):
        if not 0 <= order[slot] < data.B:
            raise ValueError("rows are not rows of the data")
    for slot in range(states):
        state[slot] = cnp.PyArray_DATA(([theta] + slots)[slot])
        kept[slot] = cnp.PyArray_DATA(before[slot])
    if states < 3:
        state[2] = NULL
    for slot in range(6):
        into[slot] = cnp.PyArray_DATA(batch[slot]) if batch[slot] is not None else NULL
    c = data
    c.B, c.gradient, c.saves = min(batch_size, n), cnp.PyArray_DATA(gradient), True
    c.X, c.weights, c.initial_state = into[0] if data.X != NULL else NULL, into[2], into[3]
    c.ids = <const Py_ssize_t *> into[0] if data.ids != NULL else NULL
    c.lengths, c.resets = <const Py_ssize_t *> into[4], <const char *> into[5]
    planned.asked, end = 0, n - (epochs - 1) * data.B
    if data.labels != NULL:
        c.labels = <const Py_ssize_t *> into[1]
    else:
        c.D = into[1]
    add(&in_flight, 1)
    try:
        memory, arrangement = engine.check_out(1), Memory((c.B + 2 * (c.T + 1)) * sizeof(Py_ssize_t))
        if engine.shares_products(&data):
            hold_blas()
            held = True
        c.polled, c.polls, c.stop = &polled, True, &stop
        flush_denormals()
        with nogil:
            while status == DONE and begin < n:
                if begin == end:
                    epoch, end, sum = epoch + 1, end + data.B, sum + 5
                c.B = min(batch_size, end - begin)
                c.call, c.numbers = data.call + <unsigned int> done, order + begin
                if not pick_batch(engine, &data, &c, order + begin, into):  # a callback or another thread has changed the data
                    break
                c.weights, c.weight_width = into[2], data.weight_width  # which the last batch may have had out
                total = engine.take_weights(&c)
                if not (total >= 0 and engine.in_range(&c)):  # likewise
                    break
                engine.penalize_flow(&c)
                plan_batch(engine, &c, <Py_ssize_t *> arrangement.base, n_threads, memory_limit, &planned)
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
                    memcpy(kept[slot], state[slot], bytes)
                what.learning_rate = rate[epoch]
                count_in(&what, earlier + done + 1)
                if not update_finite(engine, &what, c.gradient, state, kept[0]):
                    for slot in range(states):
                        memcpy(state[slot], kept[slot], bytes)
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
        if held:
            release_blas()
        engine.check_in(memory)
    return done, error


cdef struct Planned:
    # How a batch is run, and the shape of the batch that this was found for.
    Py_ssize_t B, most, weight_width
    bint picks
    int asked                    # threads, before a memory_limit takes some; 0 where the next batch is to be planned anew
    int threads
    Py_ssize_t bytes


cdef int plan_batch(Engine engine, Call *c, Py_ssize_t *arrangement, int n_threads, Py_ssize_t memory_limit,
                    Planned *planned) except -1 nogil:
    """Divide the batch, and find threads and memory for it; anew only where its shape is not that of the batch before."""
    cdef bint again = (planned.asked > 0 and not c.arranged and c.B == planned.B and c.most == planned.most
                       and c.weight_width == planned.weight_width and c.picks == planned.picks)
    if not again:
        engine.divide(c)
        arrange(c, arrangement)
    if again and engine.threads(c, n_threads) == planned.asked:
        return 0
    planned.B, planned.most, planned.weight_width, planned.picks = c.B, c.most, c.weight_width, c.picks
    planned.threads = engine.threads(c, n_threads)
    planned.asked = 0 if c.arranged else planned.threads
    planned.bytes = engine.fit_into(c, memory_limit, &planned.threads)
    return 0


cdef fused number:
    float
    double
    Py_ssize_t
    char


cdef void pick_rows(Py_ssize_t T, Py_ssize_t n, Py_ssize_t width, const number *source, Py_ssize_t B, const Py_ssize_t *rows,
                    number *target) noexcept nogil:
    """target = source[:, rows] of (T, B, width), for n rows; nothing where there is no source."""
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


cdef bint pick_batch(Engine engine, const Call *data, Call *c, const Py_ssize_t *rows, void **into) noexcept nogil:
    """Copy c.B sequences of the data to the batch, no more steps of them than the longest has.

    False where a length or an id is out of range.
    """
    cdef Py_ssize_t I = engine.plan.I, H = engine.plan.H, K = engine.plan.error.K, width = data.weight_width, targets
    pick_rows(1, c.B, 1, data.lengths, data.B, rows, <Py_ssize_t *> into[4])
    c.T = data.T
    if c.lengths != NULL and not lengths_in_range(c):
        return False
    count(c)
    c.T = c.most
    targets = 1 if c.last else c.T
    pick_rows(c.T, c.B, 1, data.resets, data.B, rows, <char *> into[5])
    pick_rows(targets, c.B, 1, data.labels, data.B, rows, <Py_ssize_t *> into[1])
    pick_rows(c.T, c.B, 1, data.ids, data.B, rows, <Py_ssize_t *> into[0])
    if engine.type == cnp.NPY_FLOAT:
        pick_rows(c.T, c.B, I, <const float *> data.X, data.B, rows, <float *> into[0])
        pick_rows(targets, c.B, K, <const float *> data.D, data.B, rows, <float *> into[1])
        pick_rows(targets, c.B, width, <const float *> data.weights, data.B, rows, <float *> into[2])
        pick_rows(1, c.B, H, <const float *> data.initial_state, data.B, rows, <float *> into[3])
    else:
        pick_rows(c.T, c.B, I, <const double *> data.X, data.B, rows, <double *> into[0])
        pick_rows(targets, c.B, K, <const double *> data.D, data.B, rows, <double *> into[1])
        pick_rows(targets, c.B, width, <const double *> data.weights, data.B, rows, <double *> into[2])
        pick_rows(1, c.B, H, <const double *> data.initial_state, data.B, rows, <double *> into[3])
    count(c)  # with the batch's own resets
    return c.ids == NULL or ids_in_range(c, I)


cdef bint update_finite(Engine engine, const UpdateOptions *what, const void *gradient, void **state,
                        const void *before) noexcept nogil:
    """Update what is trainable, the parameters were those of `before`; whether all are finite then."""
    cdef Py_ssize_t P = engine.plan.P
    if engine.type == cnp.NPY_FLOAT:
        update_verb(chosen, what, P, <const float *> gradient, <float *> state[0], <float *> state[1],
                    <float *> state[2])
        if engine.plan.maps != NULL:
            hold(P, engine.plan.maps, <const float *> before, <float *> state[0])
        return all_finite(P, <const float *> state[0])
    update_verb(chosen, what, P, <const double *> gradient, <double *> state[0], <double *> state[1],
                <double *> state[2])
    if engine.plan.maps != NULL:
        hold(P, engine.plan.maps, <const double *> before, <double *> state[0])
    return all_finite(P, <const double *> state[0])


cdef UpdateOptions options_of(str rule, dict numbers):
    """A rule with the numbers that `optimizers` names."""
    cdef UpdateOptions what
    what.rule = RULES[rule]
    what.learning_rate = numbers["learning_rate"]
    what.nesterov, what.momentum, what.rho = numbers.get("nesterov", False), numbers.get("momentum", 0), numbers.get("rho", 0)
    what.beta_1, what.beta_2 = numbers.get("beta_1", 0), numbers.get("beta_2", 0)
    what.epsilon, what.weight_decay = numbers.get("epsilon", 0), numbers.get("weight_decay", 0)
    return what


cdef void count_in(UpdateOptions *what, Py_ssize_t count) noexcept nogil:
    what.correction_1, what.correction_2 = 1 - what.beta_1**<double> count, 1 - what.beta_2**<double> count


def update(str rule, theta, gradient, list slots, count, **numbers):
    """One update of theta and slots in place, whole. All are C-contiguous vectors of one length and float type."""
    cdef UpdateOptions what = options_of(rule, numbers)
    cdef const Kernels *k = chosen
    cdef int type = cnp.PyArray_TYPE(theta) if cnp.PyArray_Check(theta) else -1
    cdef Py_ssize_t n
    cdef void *slot_2
    cdef unsigned long long mode
    count_in(&what, count)
    if type not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or not is_ready(theta, type, 1):
        raise ValueError("theta must be a contiguous float32 or float64 vector")
    n = cnp.PyArray_DIM(theta, 0)
    check_vectors(type, n, rule, theta, gradient, slots)
    slot_2 = cnp.PyArray_DATA(slots[1]) if len(slots) == 2 else NULL
    mode = flush_denormals()
    if type == cnp.NPY_FLOAT:
        update_verb(k, &what, n, <const float *> cnp.PyArray_DATA(gradient), <float *> cnp.PyArray_DATA(theta),
                    <float *> cnp.PyArray_DATA(slots[0]), <float *> slot_2)
    else:
        update_verb(k, &what, n, <const double *> cnp.PyArray_DATA(gradient), <double *> cnp.PyArray_DATA(theta),
                    <double *> cnp.PyArray_DATA(slots[0]), <double *> slot_2)
    restore(mode)


cdef int check_vectors(int type, Py_ssize_t n, str rule, theta, gradient, list slots) except -1:
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
    """Σ a² of a C-contiguous float32 or float64 array, a float."""
    if is_ready(array, cnp.NPY_FLOAT, cnp.PyArray_NDIM(array)):
        return sum_of_squares(1, cnp.PyArray_SIZE(array), <const float *> cnp.PyArray_DATA(array), 0)
    if is_ready(array, cnp.NPY_DOUBLE, cnp.PyArray_NDIM(array)):
        return sum_of_squares(1, cnp.PyArray_SIZE(array), <const double *> cnp.PyArray_DATA(array), 0)
    raise ValueError("array must be contiguous and of float32 or float64")


cdef bint all_finite(Py_ssize_t n, const floating *x) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef floating[8] zero = [0, 0, 0, 0, 0, 0, 0, 0]  # one sum would wait for its last addition: 0.9 us with P = 434
    for i in range(0, n - 7, 8):
        for j in range(8):
            zero[j] += x[i + j] * 0  # NaN, for ever, where it is neither
    for i in range(n - n % 8, n):
        zero[0] += x[i] * 0
    for j in range(1, 8):
        zero[0] += zero[j]
    return zero[0] == 0


cdef double clip(Py_ssize_t n, floating *gradient, double max_norm) noexcept nogil:
    """gradient <- gradient * min(1, max_norm / norm), and the norm; nothing overflows or underflows on the way."""
    cdef Py_ssize_t i
    cdef double total = 0, other = 0, norm
    for i in range(0, n - 1, 2):  # two sums: one would wait for its last addition
        total += <double> gradient[i] * gradient[i]
        other += <double> gradient[i + 1] * gradient[i + 1]
    if n % 2:
        total += <double> gradient[n - 1] * gradient[n - 1]
    norm = sqrt(total + other)
    if not 1e-10 < norm < 1e10:
        return clip_extreme(n, gradient, max_norm)
    if norm > max_norm:
        for i in range(n):
            gradient[i] = gradient[i] * <floating> (max_norm / norm)
    return norm


cdef double clip_extreme(Py_ssize_t n, floating *gradient, double max_norm) noexcept nogil:
    """`clip` where squares might overflow or underflow, by way of gradient / largest."""
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
    """The flat gradient, scaled in place to max_norm where its Euclidean norm exceeds it, and that norm."""
    if is_ready(gradient, cnp.NPY_FLOAT, 1) and cnp.PyArray_ISWRITEABLE(gradient):
        return gradient, clip(cnp.PyArray_DIM(gradient, 0), <float *> cnp.PyArray_DATA(gradient), max_norm)
    if is_ready(gradient, cnp.NPY_DOUBLE, 1) and cnp.PyArray_ISWRITEABLE(gradient):
        return gradient, clip(cnp.PyArray_DIM(gradient, 0), <double *> cnp.PyArray_DATA(gradient), max_norm)
    raise ValueError("gradient must be a contiguous, writable float32 or float64 vector")
