# The C interface, part 1 of 4: its structs, status texts and plans. _core.pxd documents the public functions.
#
# The embed_*.pxi files contain no mathematics. They check arguments, fill the structs Plan and Call as Engine does, and call
# the same functions as Engine in the same order. They are parts of _core.pyx, not modules: these structs need not be exported
# then, and may change at any time. A new setter of a plan belongs here, a setter of a batch in embed_batch.pxi.

cdef enum:
    # The first number of plans, batches and saved areas: "fbp" and a kind. Change it when the layout of the struct changes.
    PLAN_MAGIC = 0x66627001
    BATCH_MAGIC = 0x66627002
    SAVED_MAGIC = 0x66627003
    MOST_SPANS = 20


cdef struct Embedded:
    # The content of a caller's plan.
    Py_ssize_t magic
    Py_ssize_t size              # bytes of a number: 4 or 8
    Plan plan
    const Kernels *kernels       # for operations; NULL if this build has none for the plan
    const Kernels *updating      # for updates of theta
    bint bias, learns_initial_state, allows_blas
    double[10] l1                 # indexed by PARAMETER_...
    double[10] l2                 # likewise
    Py_ssize_t n_levels
    Py_ssize_t k1, k2            # of truncated BPTT; 0 without truncation


cdef struct EmbeddedBatch:
    # The content of a caller's batch.
    Py_ssize_t magic
    Py_ssize_t size              # bytes of a number: 4 or 8
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
    # The beginning of a saved area. It records the plan and the batch of the forward call that filled the area. backward
    # compares it byte by byte, so unused bytes must be 0.
    Py_ssize_t magic
    Py_ssize_t size, I, H, O
    Py_ssize_t cell, rank, activation, output_activation, bias, learns_initial_state, last, one_hot, trains_leak
    double leak
    unsigned long long of_leaks  # hash of the leaks of all units; 0 if they are equal or trained
    const Kernels *kernels
    Py_ssize_t T, B
    const void *X
    const Py_ssize_t *ids
    const void *initial_state
    const Py_ssize_t *lengths
    const char *resets
    unsigned long long of_lengths, of_resets  # hashes of the values; 0 if the array is NULL


cdef struct Span:
    # The addresses begin to end - 1 of one array of a call.
    size_t begin, end
    bint written


cdef struct Spans:
    # The memory of a call, to find overlaps.
    int status                   # of the first error that was found
    int n
    Span[MOST_SPANS] spans


cdef const char *STATUS_TEXTS[21]
STATUS_TEXTS[:] = [
    b"all went well",
    b"stopped by the batch's flag",
    b"a required pointer is NULL",
    b"a pointer is not aligned: plans, batches, saved and scratch need 64 bytes, arrays the size of a number",
    b"memory that is written overlaps other memory of the call",
    b"this is not a plan of this version: plan_init_... makes one",
    b"this is not a batch of this version: batch_init_... makes one",
    b"float and double differ between function, plan and batch",
    b"a size is out of range",
    b"these sizes need more memory than can be addressed",
    b"plan, batch, saved or scratch has too few bytes",
    b"there is no such option, operation or parameter",
    b"a number is NaN or out of range",
    b"these options, or an option and an argument, exclude each other",
    b"a length is not from 0 to T, or not from 1 to T with an output at the last step",
    b"a label is not from 0 to O - 1",
    b"an id is not from 0 to I - 1",
    b"a weight is negative or not finite, or a row has neither 1 weight nor K",
    b"a reset is neither 0 nor 1",
    b"this build has only kernels that call a BLAS, and the plan does not allow a BLAS",
    b"saved was not filled by forward_... with this plan and this batch",
]


cdef int abi_version() noexcept nogil:
    """Return the ABI of this build."""
    return ABI


cdef const char *status_text(int status) noexcept nogil:
    """Return the message of a status, a static text."""
    if -21 < status <= 0:
        return STATUS_TEXTS[-status]
    return b"there is no such status"


# ---- A plan


cdef Py_ssize_t plan_bytes() noexcept nogil:
    """Return the size of a plan in bytes."""
    return round_up_64(sizeof(Embedded))


cdef inline int plan_status(const void *plan) noexcept nogil:
    """Return STATUS_OK if the pointer is a plan of this version, else what is wrong."""
    if plan == NULL:
        return STATUS_NULL
    if <size_t> plan % 64:
        return STATUS_MISALIGNED
    return STATUS_OK if (<const Embedded *> plan).magic == PLAN_MAGIC else STATUS_NOT_A_PLAN


cdef int plan_check(const void *plan) noexcept nogil:
    """Return STATUS_OK if the plan is complete and its options fit together, else what every call would return."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef int status = plan_status(plan), loss, outputs
    cdef Py_ssize_t i
    if status != STATUS_OK:
        return status
    loss, outputs = e.plan.error.loss, e.plan.error.activation
    if outputs_of(loss) >= 0 and outputs_of(loss) != outputs:
        return STATUS_COMBINATION
    if e.plan.gates > 1 and reads_input(e.plan.activation):
        return STATUS_COMBINATION
    if (e.plan.leaks != NULL or e.plan.trains_leak or e.plan.units.leak < 1) and not is_leaky(e.plan.units.form):
        return STATUS_COMBINATION
    for i in range(e.plan.H if e.plan.leaks != NULL else 0):
        if not is_leak(e.plan.leaks[i]):
            return STATUS_NUMBER
    for i in range(e.n_levels):
        if not 0 < e.plan.error.levels[i] < 1:
            return STATUS_NUMBER
    return STATUS_OK if e.kernels != NULL else STATUS_KERNELS


cdef void settle(Embedded *e) noexcept nogil:
    """Derive from the options: the layout of theta, the list of penalties and the kernels. Setters call it after a change.

    The penalties have Engine's order, from the last parameter to the first, so that their sum has the same bits.
    """
    cdef Plan *p = &e.plan
    cdef Py_ssize_t[10] begins
    cdef int[10] from_last
    cdef Py_ssize_t end, i, k
    from_last[:] = [PARAMETER_S_0, PARAMETER_B_Y, PARAMETER_W_Y, PARAMETER_LEAK_LOGIT, PARAMETER_B_N, PARAMETER_B_S,
                    PARAMETER_N, PARAMETER_M, PARAMETER_W_S, PARAMETER_W_X]
    p.units.activation = p.activation
    p.units.form = with_activation(p.units.form, p.activation, p.trains_leak)
    place_parameters(p, e.bias, e.learns_initial_state)
    find_parameters(p, begins)
    p.penalties, end = 0, p.P
    for k in range(10):
        i = from_last[k]
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
        e.updating = chosen  # the updates of the `blas` kernels are plain loops that call no BLAS


cdef void find_parameters(const Plan *p, Py_ssize_t *begins) noexcept nogil:
    """Write the index in theta at which each parameter begins to begins (10,), indexed by PARAMETER_...; -1 if absent."""
    begins[PARAMETER_W_X], begins[PARAMETER_W_S], begins[PARAMETER_B_S] = p.W_x, p.W_s, p.b_s
    begins[PARAMETER_W_Y], begins[PARAMETER_B_Y], begins[PARAMETER_S_0] = p.W_y, p.b_y, p.S_0
    begins[PARAMETER_B_N], begins[PARAMETER_LEAK_LOGIT] = p.b_n, p.leak_logit
    begins[PARAMETER_M], begins[PARAMETER_N] = p.M, p.N
    if p.rank > 0:
        begins[PARAMETER_W_S] = -1  # the product of M and N, not a part of theta


cdef int init(void *plan, Py_ssize_t bytes, Py_ssize_t size, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    """Make a plan with the default options, for numbers of `size` bytes. plan_init_f32 and plan_init_f64 call it."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = block_status(plan, bytes, plan_bytes())
    if status != STATUS_OK:
        return status
    if min(I, H, O) < 1 or max(I, H, O) > INT_MAX:
        return STATUS_SIZE
    if <double> H * I + <double> H * H + <double> O * H > 2.0**48:  # parameters; processors address about as many bytes
        return STATUS_TOO_LARGE
    memset(e, 0, sizeof(Embedded))
    e.magic, e.size, e.bias = PLAN_MAGIC, size, True
    e.plan.I, e.plan.H, e.plan.O, e.plan.mean = I, H, O, True
    e.plan.recurs = e.plan.reads = True
    e.plan.activation, e.plan.error.activation = TANH, IDENTITY
    e.plan.units.leak = 1
    set_error(e, SQUARED_ERROR)
    settle(e)
    return STATUS_OK


cdef int plan_init_f32(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    """Make a float32 plan with `RNN`'s default options."""
    return init(plan, bytes, sizeof(float), I, H, O)


cdef int plan_init_f64(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil:
    """Make a float64 plan with `RNN`'s default options."""
    return init(plan, bytes, sizeof(double), I, H, O)


cdef void set_error(Embedded *e, int loss) noexcept nogil:
    """Set a loss, and reset its numbers (levels, threshold, targets a row) to those of a loss without any."""
    e.plan.error.loss, e.plan.error.O, e.plan.error.K = loss, e.plan.O, e.plan.O
    e.plan.error.levels, e.plan.error.threshold, e.plan.error.scale, e.n_levels = NULL, 0, 1, 0


cdef int plan_set_activation(void *plan, int activation) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= activation < ACTIVATION_COUNT and activation_rows[activation].layers & HIDDEN):
        status = STATUS_OPTION
    if status == STATUS_OK:
        (<Embedded *> plan).plan.activation = activation
        settle(<Embedded *> plan)
    return status


cdef int plan_set_output_activation(void *plan, int activation) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= activation < ACTIVATION_COUNT and activation_rows[activation].layers & OUTPUT):
        status = STATUS_OPTION
    if status == STATUS_OK:
        (<Embedded *> plan).plan.error.activation = activation
    return status


cdef int plan_set_loss(void *plan, int loss) noexcept nogil:
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= loss < LOSS_COUNT and loss_rows[loss].number == NONE):
        status = STATUS_OPTION
    if status == STATUS_OK:
        set_error(<Embedded *> plan, loss)
    return status


cdef int plan_set_huber(void *plan, double threshold) noexcept nogil:
    """Set the Huber loss with this threshold, a finite number above 0."""
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (threshold > 0 and isfinite(threshold)):
        status = STATUS_NUMBER
    if status == STATUS_OK:
        set_error(<Embedded *> plan, HUBER)
        (<Embedded *> plan).plan.error.threshold = threshold
    return status


cdef int plan_set_quantile(void *plan, const double *levels, Py_ssize_t n) noexcept nogil:
    """Set the quantile loss with levels (n,), whose pointer the plan keeps. O must be a multiple of n."""
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
    """Return the plan's status, or STATUS_OPTION if `flag` is neither 0 nor 1."""
    cdef int status = plan_status(plan)
    return STATUS_OPTION if status == STATUS_OK and flag != 0 and flag != 1 else status


cdef int plan_set_reduction(void *plan, int reduction) noexcept nogil:
    """Set the reduction of the errors, REDUCTION_MEAN or REDUCTION_SUM."""
    cdef int status = flag_status(plan, reduction)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.mean = reduction == REDUCTION_MEAN
    return status


cdef int plan_set_bias(void *plan, int bias) noexcept nogil:
    """Set whether the network has biases. The layout of theta changes."""
    cdef int status = flag_status(plan, bias)
    if status == STATUS_OK:
        (<Embedded *> plan).bias = bias
        settle(<Embedded *> plan)
    return status


cdef int plan_set_learnt_initial_state(void *plan, int learnt) noexcept nogil:
    """Set whether the initial state is a parameter. The layout of theta changes."""
    cdef int status = flag_status(plan, learnt)
    if status == STATUS_OK:
        (<Embedded *> plan).learns_initial_state = learnt
        settle(<Embedded *> plan)
    return status


cdef int plan_set_output(void *plan, int output) noexcept nogil:
    """Set whether outputs are at each step (OUTPUT_SEQUENCE) or at each sequence's last step (OUTPUT_LAST)."""
    cdef int status = flag_status(plan, output)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.last = output == OUTPUT_LAST
    return status


cdef int plan_set_one_hot(void *plan, int one_hot) noexcept nogil:
    """Set whether inputs are category indices (1) or X (0)."""
    cdef int status = flag_status(plan, one_hot)
    if status == STATUS_OK:
        (<Embedded *> plan).plan.one_hot = one_hot
    return status


cdef int plan_set_penalty(void *plan, int parameter, double l1, double l2) noexcept nogil:
    """Set the factors l1 and l2, finite and at least 0, of the penalty on PARAMETER_...."""
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not 0 <= parameter < 10:
        status = STATUS_OPTION
    if status == STATUS_OK and not (l1 >= 0 and l2 >= 0 and isfinite(l1) and isfinite(l2)):
        status = STATUS_NUMBER
    if status == STATUS_OK:
        (<Embedded *> plan).l1[parameter], (<Embedded *> plan).l2[parameter] = l1, l2
        settle(<Embedded *> plan)
    return status


cdef int plan_set_truncation(void *plan, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil:
    """Set k1 and k2 of truncated BPTT; both 0 means no truncation."""
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (min(k1, k2) >= 1 or k1 == k2 == 0):
        status = STATUS_SIZE
    if status == STATUS_OK:
        (<Embedded *> plan).k1, (<Embedded *> plan).k2 = k1, k2
    return status


cdef int plan_allow_blas(void *plan, int allowed) noexcept nogil:
    """Set whether the plan may use kernels that call a BLAS."""
    cdef int status = flag_status(plan, allowed)
    if status == STATUS_OK:
        (<Embedded *> plan).allows_blas = allowed
        settle(<Embedded *> plan)
    return status


cdef const char *plan_kernel_set(const void *plan) noexcept nogil:
    """Return the name of the plan's kernel set, or NULL if it has none or is not a plan."""
    cdef const Embedded *e = <const Embedded *> plan
    return e.kernels.name if plan_status(plan) == STATUS_OK and e.kernels != NULL else NULL
