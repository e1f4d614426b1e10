# The C interface of _core.pxd, included by _core.pyx: from a plan, a batch and pointers to a Plan and a Call, and `run`.
#
# No mathematics in here: arguments are checked, put into the structs that Engine fills too, and handed to the same functions
# in the same order. It is a part of _core.pyx, not a module, so that these structs need not be exported, and change freely.

cdef enum:
    # What a plan and a batch begin with: "fbp" and a kind; another one after the layout of either has changed
    PLAN_MAGIC = 0x66627001
    BATCH_MAGIC = 0x66627002
    SAVED_MAGIC = 0x66627003
    MOST_SPANS = 20


cdef struct Embedded:
    # What a plan is.
    Py_ssize_t magic
    Py_ssize_t size              # of a number: 4 or 8
    Plan plan
    const Kernels *kernels       # of operations; NULL where there are none
    const Kernels *updating      # of updates
    bint bias, learns_initial_state, allows_blas
    double[6] l1                 # by PARAMETER_...
    double[6] l2
    Py_ssize_t n_levels
    Py_ssize_t k1, k2            # of truncated BPTT; 0 where errors go back through all steps


cdef struct Batch:
    # What a batch is.
    Py_ssize_t magic
    Py_ssize_t size
    Py_ssize_t T, B
    const void *X                # the arrays are named as in Call
    const Py_ssize_t *ids
    const void *initial_state
    const void *D
    const Py_ssize_t *labels
    const void *weights
    Py_ssize_t weight_width
    const Py_ssize_t *lengths
    const char *resets
    const volatile int *stop


cdef struct Stamp:
    # What saved begins with: of which call it is. Compared byte by byte.
    Py_ssize_t magic
    Py_ssize_t size, I, H, O
    Py_ssize_t activation, output_activation, bias, learns_initial_state, last, one_hot
    const Kernels *kernels
    Py_ssize_t T, B
    const void *X
    const Py_ssize_t *ids
    const void *initial_state
    const Py_ssize_t *lengths
    const char *resets
    unsigned long long of_lengths, of_resets  # hashes of their values; 0 without them


cdef struct Span:
    size_t begin, end
    bint written


cdef struct Spans:
    # The memory that a call is given, and the first thing that is wrong with it.
    int status
    int n
    Span[MOST_SPANS] spans


cdef int[8] HIDDEN = [TANH, RELU, SIGMOID, IDENTITY, SOFTPLUS, LEAKY_RELU, ELU, SOFTSIGN]
cdef int[10] OUTPUTS = [TANH, -1, SIGMOID, IDENTITY, -1, -1, -1, -1, SOFTMAX, EXP]
cdef int[7] ERRORS = [SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, QUANTILE, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, POISSON]

cdef const char *STATUS_TEXTS[21]
STATUS_TEXTS[:] = [
    b"all went well",
    b"stopped by the batch's flag",
    b"a pointer that is needed is NULL",
    b"a pointer is not aligned: plans, batches, saved and scratch need multiples of 64 bytes, arrays of their numbers' size",
    b"memory that is written overlaps other memory that the call is given",
    b"this is not a plan of this version: plan_init_... makes one",
    b"this is not a batch of this version: batch_init_... makes one",
    b"float and double differ between function, plan and batch",
    b"a size is out of range",
    b"these sizes need more memory than can be addressed",
    b"plan, batch, saved or scratch have too few bytes",
    b"there is no such option, operation or parameter",
    b"a number is NaN or out of range",
    b"these options, or an option and an argument, exclude each other",
    b"a length is not one of 0 to T, or with an output of the last step not one of 1 to T",
    b"a label is not one of 0 to O - 1",
    b"an id is not one of 0 to I - 1",
    b"weights are negative or not finite, or not 1 or K a row",
    b"a reset is neither 0 nor 1",
    b"no kernels: this build has none without a BLAS, and the plan does not allow one",
    b"saved was not filled by forward_... with this plan and this batch",
]


cdef int abi_version() noexcept nogil:
    return ABI


cdef const char *status_text(int status) noexcept nogil:
    if -21 < status <= 0:
        return STATUS_TEXTS[-status]
    return b"there is no such status"


# ---- Memory that is given


cdef inline Py_ssize_t whole(Py_ssize_t bytes) noexcept nogil:
    """The next multiple of 64: what lies behind is aligned too."""
    return (bytes + 63) // 64 * 64


cdef inline int block_status(const void *at, Py_ssize_t size, Py_ssize_t needed) noexcept nogil:
    """Whether so many bytes can be worked in."""
    if at == NULL:
        return STATUS_NULL
    if <size_t> at % 64:
        return STATUS_MISALIGNED
    return STATUS_MEMORY if size < needed else STATUS_OK


cdef void give(Spans *s, const void *at, double numbers, Py_ssize_t size, bint needed, bint written) noexcept nogil:
    """Add memory of so many numbers to what the call is given."""
    cdef size_t begin = <size_t> at, bytes = <size_t> (numbers * size)  # which `countable` has bounded
    cdef int i
    if s.status != STATUS_OK or bytes == 0 or (at == NULL and not needed):
        return
    if at == NULL:
        s.status = STATUS_NULL
    elif begin % size:
        s.status = STATUS_MISALIGNED
    elif begin + bytes < begin:
        s.status = STATUS_TOO_LARGE
    for i in range(s.n):
        if (written or s.spans[i].written) and begin < s.spans[i].end and s.spans[i].begin < begin + bytes:
            s.status = STATUS_OVERLAP
    if s.status == STATUS_OK:
        s.spans[s.n] = Span(begin, begin + bytes, written)
        s.n += 1


cdef void give_block(Spans *s, const void *at, Py_ssize_t size, Py_ssize_t needed) noexcept nogil:
    """Add aligned memory, which is written."""
    if s.status == STATUS_OK and needed > 0:
        s.status = block_status(at, size, needed)
        give(s, at, needed, 1, True, True)


# ---- A plan


cdef Py_ssize_t plan_bytes() noexcept nogil:
    return whole(sizeof(Embedded))


cdef inline int plan_status(const void *plan) noexcept nogil:
    """Whether it is one."""
    if plan == NULL:
        return STATUS_NULL
    if <size_t> plan % 64:
        return STATUS_MISALIGNED
    return STATUS_OK if (<const Embedded *> plan).magic == PLAN_MAGIC else STATUS_NOT_A_PLAN


cdef int plan_check(const void *plan) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef int status = plan_status(plan), loss, outputs
    cdef Py_ssize_t i
    if status != STATUS_OK:
        return status
    loss, outputs = e.plan.error.loss, e.plan.error.activation
    if ((loss == BINARY_CROSS_ENTROPY and outputs != SIGMOID) or (loss == CROSS_ENTROPY and outputs != SOFTMAX)
            or (loss == POISSON and outputs != EXP)):
        return STATUS_COMBINATION
    for i in range(e.n_levels):
        if not 0 < e.plan.error.levels[i] < 1:
            return STATUS_NUMBER
    return STATUS_OK if e.kernels != NULL else STATUS_KERNELS


cdef void settle(Embedded *e) noexcept nogil:
    """What follows from the options: the layout of theta, the penalties in Engine's order, the kernels."""
    cdef Plan *p = &e.plan
    cdef Py_ssize_t[6] begins
    cdef Py_ssize_t end, i
    place_parameters(p, e.bias, e.learns_initial_state)
    find_parameters(p, begins)
    p.penalties, end = 0, p.P
    for i in range(5, -1, -1):
        if begins[i] < 0:
            continue
        if e.l1[i] > 0 or e.l2[i] > 0:
            p.penalty[p.penalties].begin, p.penalty[p.penalties].end = begins[i], end
            p.penalty[p.penalties].l1, p.penalty[p.penalties].l2 = e.l1[i], e.l2[i]
            p.penalties += 1
        end = begins[i]
    e.kernels, e.updating = kernels_for(e.size, p.H), chosen
    if not e.allows_blas and chosen == blas_kernels():
        e.kernels = e.updating = vector_kernels(b"baseline")
    if e.updating == NULL:
        e.updating = chosen  # whose updates are loops without a BLAS


cdef void find_parameters(const Plan *p, Py_ssize_t *begins) noexcept nogil:
    """Where each begins, by PARAMETER_..."""
    begins[PARAMETER_W_X], begins[PARAMETER_W_S], begins[PARAMETER_B_S] = p.W_x, p.W_s, p.b_s
    begins[PARAMETER_W_Y], begins[PARAMETER_B_Y], begins[PARAMETER_S_0] = p.W_y, p.b_y, p.S_0


cdef int init(void *plan, Py_ssize_t bytes, Py_ssize_t size, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    cdef Embedded *e = <Embedded *> plan
    cdef int status = block_status(plan, bytes, plan_bytes())
    if status != STATUS_OK:
        return status
    if min(I, H, O) < 1 or max(I, H, O) > INT_MAX:
        return STATUS_SIZE
    if <double> H * I + <double> H * H + <double> O * H > 2.0**48:  # numbers, where a processor addresses so many bytes
        return STATUS_TOO_LARGE
    memset(e, 0, sizeof(Embedded))
    e.magic, e.size, e.bias = PLAN_MAGIC, size, True
    e.plan.I, e.plan.H, e.plan.O, e.plan.mean = I, H, O, True
    e.plan.recurs = e.plan.reads = True
    e.plan.activation, e.plan.error.activation = TANH, IDENTITY
    set_error(e, SQUARED_ERROR)
    settle(e)
    return STATUS_OK


cdef int plan_init_f32(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    return init(plan, bytes, sizeof(float), I, H, O)


cdef int plan_init_f64(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    return init(plan, bytes, sizeof(double), I, H, O)


cdef void set_error(Embedded *e, int loss) noexcept nogil:
    """A loss without numbers."""
    e.plan.error.loss, e.plan.error.O, e.plan.error.K = loss, e.plan.O, e.plan.O
    e.plan.error.levels, e.plan.error.threshold, e.plan.error.scale, e.n_levels = NULL, 0, 1, 0


cdef int plan_set_activation(void *plan, int activation) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not 0 <= activation < 8:
        status = STATUS_OPTION
    if status == STATUS_OK:
        (<Embedded *> plan).plan.activation = HIDDEN[activation]
    return status


cdef int plan_set_output_activation(void *plan, int activation) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= activation < 10 and OUTPUTS[activation] >= 0):
        status = STATUS_OPTION
    if status == STATUS_OK:
        (<Embedded *> plan).plan.error.activation = OUTPUTS[activation]
    return status


cdef int plan_set_loss(void *plan, int loss) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= loss < 7 and loss != LOSS_HUBER and loss != LOSS_QUANTILE):
        status = STATUS_OPTION
    if status == STATUS_OK:
        set_error(<Embedded *> plan, ERRORS[loss])
    return status


cdef int plan_set_huber(void *plan, double threshold) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (threshold > 0 and isfinite(threshold)):
        status = STATUS_NUMBER
    if status == STATUS_OK:
        set_error(<Embedded *> plan, HUBER)
        (<Embedded *> plan).plan.error.threshold = threshold
    return status


cdef int plan_set_quantile(void *plan, const double *levels, Py_ssize_t n) noexcept nogil:
    cdef Embedded *e = <Embedded *> plan
    cdef int status = plan_status(plan)
    cdef Py_ssize_t i
    if status == STATUS_OK and levels == NULL:
        status = STATUS_NULL
    if status == STATUS_OK and <size_t> levels % sizeof(double):
        status = STATUS_MISALIGNED
    if status == STATUS_OK and (n < 1 or e.plan.O % n):
        status = STATUS_SIZE
    for i in range(n if status == STATUS_OK else 0):
        if not 0 < levels[i] < 1:
            status = STATUS_NUMBER
    if status == STATUS_OK:
        set_error(e, QUANTILE)
        e.plan.error.levels, e.plan.error.K, e.n_levels = levels, e.plan.O // n, n
    return status


cdef inline int flag_status(const void *plan, int flag) noexcept nogil:
    """Whether it is a plan, and an option of two values."""
    cdef int status = plan_status(plan)
    return STATUS_OPTION if status == STATUS_OK and flag != 0 and flag != 1 else status


cdef int plan_set_reduction(void *plan, int reduction) noexcept nogil:
    cdef int status = flag_status(plan, reduction)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.mean = reduction == REDUCTION_MEAN
    return status


cdef int plan_set_bias(void *plan, int bias) noexcept nogil:
    cdef int status = flag_status(plan, bias)
    if status == STATUS_OK:
        (<Embedded *> plan).bias = bias
        settle(<Embedded *> plan)
    return status


cdef int plan_set_learnt_initial_state(void *plan, int learnt) noexcept nogil:
    cdef int status = flag_status(plan, learnt)
    if status == STATUS_OK:
        (<Embedded *> plan).learns_initial_state = learnt
        settle(<Embedded *> plan)
    return status


cdef int plan_set_output(void *plan, int output) noexcept nogil:
    cdef int status = flag_status(plan, output)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.last = output == OUTPUT_LAST
    return status


cdef int plan_set_one_hot(void *plan, int one_hot) noexcept nogil:
    cdef int status = flag_status(plan, one_hot)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.one_hot = one_hot
    return status


cdef int plan_set_penalty(void *plan, int parameter, double l1, double l2) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not 0 <= parameter < 6:
        status = STATUS_OPTION
    if status == STATUS_OK and not (l1 >= 0 and l2 >= 0 and isfinite(l1) and isfinite(l2)):
        status = STATUS_NUMBER
    if status == STATUS_OK:
        (<Embedded *> plan).l1[parameter], (<Embedded *> plan).l2[parameter] = l1, l2
        settle(<Embedded *> plan)
    return status


cdef int plan_set_truncation(void *plan, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (min(k1, k2) >= 1 or k1 == k2 == 0):
        status = STATUS_SIZE
    if status == STATUS_OK:
        (<Embedded *> plan).k1, (<Embedded *> plan).k2 = k1, k2
    return status


cdef int plan_allow_blas(void *plan, int allowed) noexcept nogil:
    cdef int status = flag_status(plan, allowed)
    if status == STATUS_OK:
        (<Embedded *> plan).allows_blas = allowed
        settle(<Embedded *> plan)
    return status


cdef Py_ssize_t plan_parameters(const void *plan) noexcept nogil:
    cdef int status = plan_status(plan)
    return (<const Embedded *> plan).plan.P if status == STATUS_OK else status


cdef Py_ssize_t plan_parameter_offset(const void *plan, int parameter) noexcept nogil:
    cdef int status = plan_status(plan)
    cdef Py_ssize_t[6] begins
    if status != STATUS_OK:
        return status
    if not 0 <= parameter < 6:
        return STATUS_OPTION
    find_parameters(&(<const Embedded *> plan).plan, begins)
    return begins[parameter] if begins[parameter] >= 0 else STATUS_COMBINATION


cdef const char *plan_kernel_set(const void *plan) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    return e.kernels.name if plan_status(plan) == STATUS_OK and e.kernels != NULL else NULL


# ---- A batch


cdef Py_ssize_t batch_bytes() noexcept nogil:
    return whole(sizeof(Batch))


cdef inline int batch_status(const void *batch, Py_ssize_t size) noexcept nogil:
    """Whether it is one, of numbers of this size (0: of either)."""
    if batch == NULL:
        return STATUS_NULL
    if <size_t> batch % 64:
        return STATUS_MISALIGNED
    if (<const Batch *> batch).magic != BATCH_MAGIC:
        return STATUS_NOT_A_BATCH
    return STATUS_OK if size == 0 or (<const Batch *> batch).size == size else STATUS_TYPE


cdef inline int array_status(const void *batch, Py_ssize_t of, const void *array, Py_ssize_t size) noexcept nogil:
    """Whether it is a batch of numbers of size `of`, and an aligned array of numbers of `size`."""
    cdef int status = batch_status(batch, of)
    return STATUS_MISALIGNED if status == STATUS_OK and <size_t> array % size else status


cdef int init_batch(void *batch, Py_ssize_t bytes, Py_ssize_t size, Py_ssize_t T, Py_ssize_t B,
                    const void *X) noexcept nogil:
    cdef Batch *b = <Batch *> batch
    cdef int status = block_status(batch, bytes, batch_bytes())
    if status != STATUS_OK:
        return status
    if min(T, B) < 0 or max(T, B) > INT_MAX:
        return STATUS_SIZE
    if <size_t> X % size:
        return STATUS_MISALIGNED
    memset(b, 0, sizeof(Batch))
    b.magic, b.size, b.T, b.B, b.X = BATCH_MAGIC, size, T, B, X
    return STATUS_OK


cdef int batch_init_f32(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const float *X) noexcept nogil:
    return init_batch(batch, bytes, sizeof(float), T, B, X)


cdef int batch_init_f64(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const double *X) noexcept nogil:
    return init_batch(batch, bytes, sizeof(double), T, B, X)


cdef int set_inputs(void *batch, Py_ssize_t size, const void *X) noexcept nogil:
    cdef int status = array_status(batch, size, X, size)
    if status == STATUS_OK:
        (<Batch *> batch).X = X
    return status


cdef int batch_set_inputs_f32(void *batch, const float *X) noexcept nogil:
    return set_inputs(batch, sizeof(float), X)


cdef int batch_set_inputs_f64(void *batch, const double *X) noexcept nogil:
    return set_inputs(batch, sizeof(double), X)


cdef int batch_set_ids(void *batch, const Py_ssize_t *ids) noexcept nogil:
    cdef int status = array_status(batch, 0, ids, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<Batch *> batch).ids = ids
    return status


cdef int set_initial_state(void *batch, Py_ssize_t size, const void *state) noexcept nogil:
    cdef int status = array_status(batch, size, state, size)
    if status == STATUS_OK:
        (<Batch *> batch).initial_state = state
    return status


cdef int batch_set_initial_state_f32(void *batch, const float *state) noexcept nogil:
    return set_initial_state(batch, sizeof(float), state)


cdef int batch_set_initial_state_f64(void *batch, const double *state) noexcept nogil:
    return set_initial_state(batch, sizeof(double), state)


cdef int set_targets(void *batch, Py_ssize_t size, const void *D) noexcept nogil:
    cdef int status = array_status(batch, size, D, size)
    if status == STATUS_OK:
        (<Batch *> batch).D = D
    return status


cdef int batch_set_targets_f32(void *batch, const float *D) noexcept nogil:
    return set_targets(batch, sizeof(float), D)


cdef int batch_set_targets_f64(void *batch, const double *D) noexcept nogil:
    return set_targets(batch, sizeof(double), D)


cdef int batch_set_labels(void *batch, const Py_ssize_t *labels) noexcept nogil:
    cdef int status = array_status(batch, 0, labels, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<Batch *> batch).labels = labels
    return status


cdef int set_weights(void *batch, Py_ssize_t size, const void *weights, Py_ssize_t width) noexcept nogil:
    cdef int status = array_status(batch, size, weights, size)
    if status == STATUS_OK and (width < 0 if weights == NULL else width < 1):
        status = STATUS_WEIGHTS
    if status == STATUS_OK:
        (<Batch *> batch).weights, (<Batch *> batch).weight_width = weights, width if weights != NULL else 0
    return status


cdef int batch_set_weights_f32(void *batch, const float *m, Py_ssize_t width) noexcept nogil:
    return set_weights(batch, sizeof(float), m, width)


cdef int batch_set_weights_f64(void *batch, const double *m, Py_ssize_t width) noexcept nogil:
    return set_weights(batch, sizeof(double), m, width)


cdef int batch_set_lengths(void *batch, const Py_ssize_t *lengths) noexcept nogil:
    cdef int status = array_status(batch, 0, lengths, sizeof(Py_ssize_t))
    if status == STATUS_OK:
        (<Batch *> batch).lengths = lengths
    return status


cdef int batch_set_resets(void *batch, const char *resets) noexcept nogil:
    cdef int status = batch_status(batch, 0)
    if status == STATUS_OK:
        (<Batch *> batch).resets = resets
    return status


cdef int batch_set_stop(void *batch, const volatile int *stop) noexcept nogil:
    cdef int status = array_status(batch, 0, <const void *> stop, sizeof(int))
    if status == STATUS_OK:
        (<Batch *> batch).stop = stop
    return status


# ---- From a plan and a batch to a Call


cdef int ready_status(const Embedded *e, const void *batch, Py_ssize_t size) noexcept nogil:
    """Whether a plan is ready, and it and the batch are of numbers of this size (0: of the same)."""
    cdef int status = plan_check(e)
    if status == STATUS_OK and size > 0 and e.size != size:
        status = STATUS_TYPE
    return batch_status(batch, e.size) if status == STATUS_OK else status


cdef int describe(const Embedded *e, const Batch *b, Call *c) noexcept nogil:
    """Sizes and lengths of a call, without what it is asked for."""
    cdef const Plan *p = &e.plan
    memset(c, 0, sizeof(Call))
    c.T, c.B, c.error, c.last, c.picks = b.T, b.B, p.error, p.last, p.last
    if not countable(p, c):
        return STATUS_TOO_LARGE
    c.initial_state, c.lengths = b.initial_state, b.lengths
    if c.lengths != NULL and not lengths_in_range(c) or c.last and c.T == 0 and c.B > 0:
        return STATUS_LENGTHS
    return STATUS_OK


cdef int prepare(const Embedded *e, const Batch *b, const void *theta, Call *c, Spans *s) noexcept nogil:
    """What every operation has, into the call, and the memory of it into `s`."""
    cdef const Plan *p = &e.plan
    cdef double steps
    cdef Py_ssize_t i
    cdef int status = describe(e, b, c)
    memset(s, 0, sizeof(Spans))
    if status != STATUS_OK:
        return status
    steps = <double> c.T * c.B
    c.theta, c.resets = theta, b.resets
    if p.one_hot:
        c.ids = b.ids
    else:
        c.X = b.X
    give(s, e, sizeof(Embedded), 1, True, False)
    give(s, b, sizeof(Batch), 1, True, False)
    give(s, theta, p.P, e.size, True, False)
    give(s, c.ids, steps, sizeof(Py_ssize_t), p.one_hot, False)
    give(s, c.X, steps * p.I, e.size, not p.one_hot, False)
    give(s, c.initial_state, <double> c.B * p.H, e.size, False, False)
    give(s, c.lengths, c.B, sizeof(Py_ssize_t), False, False)
    give(s, c.resets, steps, 1, False, False)
    if s.status != STATUS_OK:
        return s.status
    if c.ids != NULL and not ids_in_range(c, p.I):
        return STATUS_IDS
    for i in range(c.T * c.B if c.resets != NULL else 0):
        if c.resets[i] != 0 and c.resets[i] != 1:
            return STATUS_RESETS
    count(c)
    return STATUS_OK


cdef int take_targets(const Embedded *e, const Batch *b, Call *c, Spans *s) noexcept nogil:
    """Targets, weights and the scale of the reduction, into the call."""
    cdef const Plan *p = &e.plan
    cdef double rows = (1.0 if c.last else <double> c.T) * c.B, total
    cdef bint in_range, classes = p.error.loss == CROSS_ENTROPY
    if b.labels != NULL and (b.D != NULL or not classes):
        return STATUS_COMBINATION
    if b.weights != NULL and b.weight_width != 1 and (classes or b.weight_width != p.error.K):
        return STATUS_WEIGHTS
    c.D, c.labels, c.weights, c.weight_width = b.D, b.labels, b.weights, b.weight_width
    give(s, c.labels, rows, sizeof(Py_ssize_t), False, False)
    give(s, c.D, rows * p.error.K, e.size, c.labels == NULL, False)
    give(s, c.weights, rows * c.weight_width, e.size, False, False)
    if s.status != STATUS_OK:
        return s.status
    if e.size == sizeof(float):
        in_range = c.labels == NULL or labels_in_range(c, p.O, <const float *> c.weights)
        total = weigh(p, c, <const float *> c.weights)
    else:
        in_range = c.labels == NULL or labels_in_range(c, p.O, <const double *> c.weights)
        total = weigh(p, c, <const double *> c.weights)
    if total < 0:
        return STATUS_WEIGHTS
    return STATUS_OK if in_range else STATUS_LABELS


cdef int take_gradients(const Embedded *e, Call *c, Spans *s, void *gradient, void *dX, void *dS_0) noexcept nogil:
    """Where gradients go, into the call."""
    cdef const Plan *p = &e.plan
    if dX != NULL and p.one_hot:
        return STATUS_COMBINATION
    c.gradient, c.dX, c.dS_0, c.saves = gradient, dX, dS_0, True
    truncate_to(c, e.k1, e.k2)
    give(s, gradient, p.P, e.size, True, True)
    give(s, dX, <double> c.T * c.B * p.I, e.size, False, True)
    give(s, dS_0, <double> c.B * p.H, e.size, False, True)
    return s.status


# ---- Memory and its bytes


cdef unsigned long long hash_of(const void *at, Py_ssize_t bytes) noexcept nogil:
    """FNV-1a of these bytes (Fowler, Noll and Vo), eight at a time; the hash of the first is never 0."""
    cdef const unsigned char *byte = <const unsigned char *> at
    cdef unsigned long long hash = 0xCBF29CE484222325ULL, word
    cdef Py_ssize_t i
    for i in range(0, bytes, 8):
        word = 0
        memcpy(&word, byte + i, min(8, bytes - i))
        hash = (hash ^ word) * 0x100000001B3ULL
        hash ^= hash >> 32
    return hash | 1


cdef inline Py_ssize_t stamp_bytes() noexcept nogil:
    return whole(sizeof(Stamp))


cdef void make_stamp(const Embedded *e, const Batch *b, Stamp *stamp) noexcept nogil:
    """What a saved area of this plan and this batch begins with.

    Targets, weights, penalties and the truncation are not in it: forward does not read them.
    """
    cdef const Plan *p = &e.plan
    memset(stamp, 0, sizeof(Stamp))
    stamp.magic, stamp.size, stamp.kernels = SAVED_MAGIC, e.size, e.kernels
    stamp.I, stamp.H, stamp.O = p.I, p.H, p.O
    stamp.activation, stamp.output_activation = p.activation, p.error.activation
    stamp.bias, stamp.learns_initial_state, stamp.last, stamp.one_hot = e.bias, e.learns_initial_state, p.last, p.one_hot
    stamp.T, stamp.B, stamp.initial_state = b.T, b.B, b.initial_state
    stamp.lengths, stamp.resets = b.lengths, b.resets
    if p.one_hot:
        stamp.ids = b.ids
    else:
        stamp.X = b.X
    if b.lengths != NULL:
        stamp.of_lengths = hash_of(b.lengths, b.B * sizeof(Py_ssize_t))
    if b.resets != NULL:
        stamp.of_resets = hash_of(b.resets, b.T * b.B)


cdef inline Py_ssize_t arrangement_bytes(const Call *c) noexcept nogil:
    return whole(arranged_words(c) * sizeof(Py_ssize_t))


cdef Py_ssize_t needs(const Embedded *e, const Call *c, Shared *shared) noexcept nogil:
    """The bytes of one thread's call, divided into shards, and of its arrangement; or a status."""
    cdef Py_ssize_t used
    if <double> shards_of(c) * e.plan.P * e.size > 2.0**62:
        return STATUS_TOO_LARGE
    if e.size == sizeof(float):
        used = share_out(&e.plan, c, e.kernels, <const float *> NULL, NULL, 1, shared)
    else:
        used = share_out(&e.plan, c, e.kernels, <const double *> NULL, NULL, 1, shared)
    return used + arrangement_bytes(c)


cdef void divide(const Embedded *e, Call *c) noexcept nogil:
    c.rows = rows_of_a_shard(&e.plan, c.steps, c.sequences, e.size, work_of_a_shard(e.size))


cdef Py_ssize_t most_needs(const Embedded *e, const Batch *b, Call *c, bint of_saved) noexcept nogil:
    """The most that the call needs whatever the weights and resets are, in scratch or of_saved; or a status."""
    cdef Py_ssize_t width = c.weight_width, most = 0, needed, shards
    cdef int weighed, arranged
    cdef bint picks = c.picks
    cdef Shared shared
    count(c)
    divide(e, c)
    shards = shards_of(c)
    for arranged in range(c.arranged, 2 if b.resets != NULL or c.arranged else 1):
        c.arranged = arranged
        # Σ share(alive[t], shards, 0), at most
        c.kept = (c.steps + c.most * (shards - 1)) // shards if shards > 0 else 0
        for weighed in range(3 if width > 0 else 1):  # they may be all 1, or most of them 0
            c.weight_width, c.picks = width if weighed > 0 else 0, picks or weighed > 1
            needed = needs(e, c, &shared)
            if needed < 0:
                return needed
            most = max(most, shared.shards * shared.saved if of_saved else needed)
    return most


cdef Py_ssize_t saved_bytes(const void *plan, const void *batch) noexcept nogil:
    cdef Call c
    cdef Py_ssize_t bytes
    cdef int status = ready_status(<const Embedded *> plan, batch, 0)
    if status == STATUS_OK:
        status = describe(<const Embedded *> plan, <const Batch *> batch, &c)
    if status != STATUS_OK:
        return status
    c.saves = c.apart = True
    bytes = most_needs(<const Embedded *> plan, <const Batch *> batch, &c, True)
    return bytes + stamp_bytes() if bytes >= 0 else bytes


cdef Py_ssize_t scratch_bytes(const void *plan, const void *batch, int operation) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef const Batch *b = <const Batch *> batch
    cdef Call c
    cdef Py_ssize_t bytes, least = 0
    cdef int status = ready_status(e, b, 0)
    if status == STATUS_OK:
        status = describe(e, b, &c)
    if status != STATUS_OK:
        return status
    if not FOR_FORWARD <= operation <= FOR_LOSS_AND_GRADIENTS:
        return STATUS_OPTION
    if operation == FOR_FORWARD:  # with saved and without it
        least = most_needs(e, b, &c, False)
        c.saves = c.apart = True
    elif operation == FOR_BACKWARD:
        c.saves = c.apart = c.known = True
        c.error.K = e.plan.O
    else:
        c.labels, c.weight_width = b.labels, b.weight_width
        c.saves = operation == FOR_LOSS_AND_GRADIENTS
    if operation == FOR_BACKWARD or operation == FOR_LOSS_AND_GRADIENTS:
        c.gradient = &c  # not read
        truncate_to(&c, e.k1, e.k2)
    bytes = most_needs(e, b, &c, False)
    return max(bytes, least) if bytes >= 0 and least >= 0 else min(bytes, least)


cdef Py_ssize_t step_scratch_bytes(const void *plan, Py_ssize_t B) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Batch b
    cdef Call c
    cdef int status = one_step(e, B, 0, &b)
    if status != STATUS_OK:
        return status
    memset(&c, 0, sizeof(Call))
    c.T, c.B, c.error = 1, B, e.plan.error
    return most_needs(e, &b, &c, False) if countable(&e.plan, &c) else STATUS_TOO_LARGE


cdef int finish(const Embedded *e, const Batch *b, Call *c, Spans *s, void *saved, Py_ssize_t saved_size, void *scratch,
                Py_ssize_t scratch_size) noexcept nogil:
    """Run a call whose arguments are in it, in scratch, once all memory is known to be there."""
    cdef Shared shared
    cdef Stamp stamp
    cdef Py_ssize_t needed, arrangement
    cdef int never = 0, status
    count(c)
    divide(e, c)
    arrangement = arrangement_bytes(c)
    give_block(s, scratch, scratch_size, arrangement)
    if s.status != STATUS_OK:
        return s.status
    arrange(c, <Py_ssize_t *> scratch)
    needed = needs(e, c, &shared)
    if needed < 0:
        return <int> needed
    s.n -= arrangement > 0  # of which that was a part
    give_block(s, scratch, scratch_size, needed)
    if c.apart:
        c.saved = <char *> saved + stamp_bytes()
        give_block(s, saved, saved_size, stamp_bytes() + shared.shards * shared.saved)
    if s.status != STATUS_OK:
        return s.status
    memset(&stamp, 0, sizeof(Stamp))  # GCC 12 warns of an uninitialised one, although c.known implies c.apart
    if c.apart:
        make_stamp(e, b, &stamp)
        if c.known and memcmp(saved, &stamp, sizeof(Stamp)) != 0:
            return STATUS_NOT_SAVED
        if not c.known:
            (<Stamp *> saved).magic = 0  # until all of it is there
    c.stop = <volatile int *> b.stop if b.stop != NULL else &never
    if e.size == sizeof(float):
        status = run(&e.plan, c, e.kernels, <char *> scratch + arrangement, <const float *> c.theta, 1)
    else:
        status = run(&e.plan, c, e.kernels, <char *> scratch + arrangement, <const double *> c.theta, 1)
    if c.apart and not c.known and status == DONE:
        memcpy(saved, &stamp, sizeof(Stamp))
    return STATUS_OK if status == DONE else STATUS_STOPPED


# ---- Operations


cdef int any_forward(const void *plan, const void *batch, Py_ssize_t size, const void *theta, void *Y, void *S,
                     void *final_state, void *saved, Py_ssize_t saved_size, void *scratch,
                     Py_ssize_t scratch_size) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, <const Batch *> batch, theta, &c, &s)
    if status != STATUS_OK:
        return status
    return forward_into(e, <const Batch *> batch, &c, &s, Y, S, final_state, saved, saved_size, scratch, scratch_size)


cdef int forward_into(const Embedded *e, const Batch *b, Call *c, Spans *s, void *Y, void *S, void *final_state, void *saved,
                      Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    cdef const Plan *p = &e.plan
    c.Y, c.S, c.final_state = Y, S, final_state
    c.saves = c.apart = saved != NULL
    give(s, Y, (1.0 if c.last else <double> c.T) * c.B * p.O, e.size, False, True)
    give(s, S, (c.T + 1.0) * c.B * p.H, e.size, False, True)
    if final_state != c.initial_state:
        give(s, final_state, <double> c.B * p.H, e.size, False, True)
    else:
        give_again(s, final_state)
    return finish(e, b, c, s, saved, saved_size, scratch, scratch_size)


cdef void give_again(Spans *s, const void *at) noexcept nogil:
    """Memory that was given to be read is written too."""
    cdef int i, j
    for i in range(s.n if at != NULL else 0):
        if s.spans[i].begin != <size_t> at:
            continue
        s.spans[i].written = True
        for j in range(s.n):
            if j != i and s.spans[j].begin < s.spans[i].end and s.spans[i].begin < s.spans[j].end:
                s.status = STATUS_OVERLAP


cdef int forward_f32(const void *plan, const void *batch, const float *theta, float *Y, float *S, float *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    return any_forward(plan, batch, sizeof(float), theta, Y, S, final_state, saved, saved_size, scratch, scratch_size)


cdef int forward_f64(const void *plan, const void *batch, const double *theta, double *Y, double *S, double *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    return any_forward(plan, batch, sizeof(double), theta, Y, S, final_state, saved, saved_size, scratch, scratch_size)


cdef int any_backward(const void *plan, const void *batch, Py_ssize_t size, const void *theta, const void *dY,
                      void *gradient, void *dX, void *dS_0, void *saved, Py_ssize_t saved_size, void *scratch,
                      Py_ssize_t scratch_size) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, <const Batch *> batch, theta, &c, &s)
    if status != STATUS_OK:
        return status
    c.D, c.error.loss, c.error.K, c.error.scale = dY, GIVEN, e.plan.O, 1
    give(&s, dY, (1.0 if c.last else <double> c.T) * c.B * e.plan.O, size, True, False)
    status = take_gradients(e, &c, &s, gradient, dX, dS_0)
    if status != STATUS_OK:
        return status
    c.apart = c.known = True
    return finish(e, <const Batch *> batch, &c, &s, saved, saved_size, scratch, scratch_size)


cdef int backward_f32(const void *plan, const void *batch, const float *theta, const float *dY, float *gradient, float *dX,
                      float *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    return any_backward(plan, batch, sizeof(float), theta, dY, gradient, dX, dS_0, saved, saved_size, scratch, scratch_size)


cdef int backward_f64(const void *plan, const void *batch, const double *theta, const double *dY, double *gradient,
                      double *dX, double *dS_0, void *saved, Py_ssize_t saved_size, void *scratch,
                      Py_ssize_t scratch_size) noexcept nogil:
    return any_backward(plan, batch, sizeof(double), theta, dY, gradient, dX, dS_0, saved, saved_size, scratch, scratch_size)


cdef int any_loss(const void *plan, const void *batch, Py_ssize_t size, const void *theta, double *loss, double *penalty,
                  void *gradient, void *dX, void *dS_0, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef const Batch *b = <const Batch *> batch
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, b, theta, &c, &s)
    if status == STATUS_OK:
        status = take_targets(e, b, &c, &s)
    if status == STATUS_OK and gradient != NULL:
        status = take_gradients(e, &c, &s, gradient, dX, dS_0)
    elif status == STATUS_OK and (dX != NULL or dS_0 != NULL):
        status = STATUS_NULL
    if status == STATUS_OK:
        give(&s, loss, 1, sizeof(double), True, True)
        give(&s, penalty, 1, sizeof(double), False, True)
        status = finish(e, b, &c, &s, NULL, 0, scratch, scratch_size)
    if status == STATUS_OK:
        loss[0] = c.total * c.error.scale
        if penalty != NULL:
            penalty[0] = c.penalty
    return status


cdef int loss_and_gradients_f32(const void *plan, const void *batch, const float *theta, double *loss, double *penalty,
                                float *gradient, float *dX, float *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil:
    return any_loss(plan, batch, sizeof(float), theta, loss, penalty, gradient, dX, dS_0, scratch, scratch_size)


cdef int loss_and_gradients_f64(const void *plan, const void *batch, const double *theta, double *loss, double *penalty,
                                double *gradient, double *dX, double *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil:
    return any_loss(plan, batch, sizeof(double), theta, loss, penalty, gradient, dX, dS_0, scratch, scratch_size)


cdef int one_step(const Embedded *e, Py_ssize_t B, Py_ssize_t size, Batch *b) noexcept nogil:
    """A batch of one step, of numbers of this size (0: of the plan's)."""
    cdef int status = plan_check(e)
    memset(b, 0, sizeof(Batch))
    b.T, b.B = 1, B
    if status == STATUS_OK and size > 0 and e.size != size:
        status = STATUS_TYPE
    return STATUS_SIZE if status == STATUS_OK and not 0 <= B <= INT_MAX else status


cdef int any_step(const void *plan, Py_ssize_t B, Py_ssize_t size, const void *theta, const void *x, const Py_ssize_t *ids,
                  const void *state, void *y, void *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Batch b
    cdef Call c
    cdef Spans s
    cdef int status = one_step(e, B, size, &b)
    b.X, b.ids, b.initial_state = x, ids, state
    if status == STATUS_OK:
        status = prepare(e, &b, theta, &c, &s)
    if status != STATUS_OK:
        return status
    c.last = c.picks = False  # one step is the last in any case
    return forward_into(e, &b, &c, &s, y, NULL, next_state, NULL, 0, scratch, scratch_size)


cdef int step_f32(const void *plan, Py_ssize_t B, const float *theta, const float *x, const Py_ssize_t *ids,
                  const float *state, float *y, float *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    return any_step(plan, B, sizeof(float), theta, x, ids, state, y, next_state, scratch, scratch_size)


cdef int step_f64(const void *plan, Py_ssize_t B, const double *theta, const double *x, const Py_ssize_t *ids,
                  const double *state, double *y, double *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    return any_step(plan, B, sizeof(double), theta, x, ids, state, y, next_state, scratch, scratch_size)


# ---- Updates


cdef int any_clip(Py_ssize_t n, Py_ssize_t size, void *gradient, double max_norm, double *norm) noexcept nogil:
    cdef Spans s
    cdef double found
    memset(&s, 0, sizeof(Spans))
    if n < 0:
        return STATUS_SIZE
    if <double> n * size > 2.0**62:
        return STATUS_TOO_LARGE
    if not max_norm > 0:
        return STATUS_NUMBER
    give(&s, gradient, n, size, True, True)
    give(&s, norm, 1, sizeof(double), False, True)
    if s.status != STATUS_OK:
        return s.status
    if size == sizeof(float):
        found = clip(n, <float *> gradient, max_norm)
    else:
        found = clip(n, <double *> gradient, max_norm)
    if norm != NULL:
        norm[0] = found
    return STATUS_OK


cdef int clip_norm_f32(Py_ssize_t n, float *gradient, double max_norm, double *norm) noexcept nogil:
    return any_clip(n, sizeof(float), gradient, max_norm, norm)


cdef int clip_norm_f64(Py_ssize_t n, double *gradient, double max_norm, double *norm) noexcept nogil:
    return any_clip(n, sizeof(double), gradient, max_norm, norm)


cdef int any_update(const void *plan, Py_ssize_t size, const UpdateOptions *what, const void *gradient, void *theta,
                    void *slot_1, void *slot_2) noexcept nogil:
    cdef const Embedded *e = <const Embedded *> plan
    cdef Spans s
    cdef unsigned long long mode
    cdef int status = plan_status(plan)
    memset(&s, 0, sizeof(Spans))
    if status == STATUS_OK and e.size != size:
        status = STATUS_TYPE
    if status == STATUS_OK and not (0 < what.learning_rate and isfinite(what.learning_rate)):
        status = STATUS_NUMBER
    if status != STATUS_OK:
        return status
    give(&s, gradient, e.plan.P, size, True, False)
    give(&s, theta, e.plan.P, size, True, True)
    give(&s, slot_1, e.plan.P, size, True, True)
    give(&s, slot_2, e.plan.P, size, what.rule == ADAM, True)
    if s.status != STATUS_OK:
        return s.status
    mode = flush_denormals()
    if size == sizeof(float):
        update_verb(e.updating, what, e.plan.P, <const float *> gradient, <float *> theta, <float *> slot_1, <float *> slot_2)
    else:
        update_verb(e.updating, what, e.plan.P, <const double *> gradient, <double *> theta, <double *> slot_1,
                    <double *> slot_2)
    restore(mode)
    return STATUS_OK


cdef int any_sgd(const void *plan, Py_ssize_t size, const void *gradient, void *theta, void *v, double learning_rate,
                 double momentum, int nesterov) noexcept nogil:
    cdef UpdateOptions what
    memset(&what, 0, sizeof(UpdateOptions))
    what.rule, what.learning_rate, what.momentum, what.nesterov = SGD, learning_rate, momentum, nesterov
    if nesterov != 0 and nesterov != 1:
        return STATUS_OPTION
    if not 0 <= momentum < 1:
        return STATUS_NUMBER
    if nesterov and momentum == 0:
        return STATUS_COMBINATION
    return any_update(plan, size, &what, gradient, theta, v, NULL)


cdef int sgd_f32(const void *plan, const float *gradient, float *theta, float *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil:
    return any_sgd(plan, sizeof(float), gradient, theta, v, learning_rate, momentum, nesterov)


cdef int sgd_f64(const void *plan, const double *gradient, double *theta, double *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil:
    return any_sgd(plan, sizeof(double), gradient, theta, v, learning_rate, momentum, nesterov)


cdef int any_adam(const void *plan, Py_ssize_t size, const void *gradient, void *theta, void *m, void *v, Py_ssize_t n,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    cdef UpdateOptions what
    memset(&what, 0, sizeof(UpdateOptions))
    what.rule, what.learning_rate, what.beta_1, what.beta_2, what.epsilon = ADAM, learning_rate, beta_1, beta_2, epsilon
    if not (n >= 1 and 0 <= beta_1 < 1 and 0 <= beta_2 < 1 and 0 <= epsilon and isfinite(epsilon)):
        return STATUS_NUMBER
    count_in(&what, n)
    return any_update(plan, size, &what, gradient, theta, m, v)


cdef int adam_f32(const void *plan, const float *gradient, float *theta, float *m, float *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    return any_adam(plan, sizeof(float), gradient, theta, m, v, count, learning_rate, beta_1, beta_2, epsilon)


cdef int adam_f64(const void *plan, const double *gradient, double *theta, double *m, double *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    return any_adam(plan, sizeof(double), gradient, theta, m, v, count, learning_rate, beta_1, beta_2, epsilon)
