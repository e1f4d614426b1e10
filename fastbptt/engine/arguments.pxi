# Arguments: what an engine is, and the methods that check arguments and put them into a call.
#
# Each method looks at dtype, shape and memory layout in C and returns False if one of them is wrong. The Python layer then
# converts the argument or raises a detailed error, so no error message belongs here. Add a method for a new argument.
# plan.pxi explains the letters.


cdef int find_cell(str cell, bint reset_after, bint leaky, bint trains_leak, str leak_form, int activation) except -1:
    """Return the row of the table of cells for the options of a network."""
    if cell == "plain":
        cell = "current" if leak_form == "current" else "rate" if leaky else "plain"
        # the gradient of a leak reads the states, which the current form else does not save
        if (reads_input(activation) or trains_leak) and cell + "_input" in CELLS_BY_NAME:
            cell += "_input"
    elif reads_input(activation):
        raise ValueError(f"an activation whose derivative reads the pre-activation requires cell='plain', got cell={cell!r}")
    elif cell == "gru" and not reset_after:
        cell = "gru_before"
    return CELLS_BY_NAME[cell]


cdef int with_activation(int cell, int activation, bint trains_leak) noexcept nogil:
    """Return the row for a cell of the C interface, the one that saves what the derivatives of activation and leak read."""
    if cell == PLAIN or cell == PLAIN_INPUT:
        return PLAIN_INPUT if reads_input(activation) else PLAIN
    if cell == CURRENT or cell == CURRENT_INPUT:
        return CURRENT_INPUT if reads_input(activation) or trains_leak else CURRENT
    return cell


cdef class EngineArguments:
    """A network's plan and kernels.

    The methods read arguments into a call and return False if dtype, shape or memory layout of one is wrong.
    """

    cdef Plan plan
    cdef const Kernels *kernels
    cdef int type
    cdef cnp.dtype dtype
    cdef object levels          # the array that plan.error.levels points to
    cdef object maps            # the array that plan.maps points to
    cdef object leaks           # the array that plan.leaks points to
    cdef list pool
    cdef public Py_ssize_t shard_work  # most multiplications of one step of a shard; tests set it to get small shards

    def __init__(self, *, str dtype, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O, Py_ssize_t K, str activation,
                 str output_activation, str loss, loss_parameter, bint mean, bint bias, bint learn_initial_state,
                 dict l1, dict l2, bint last, bint one_hot, maps=None, double rate_penalty=0, double omega=0,
                 bint recurs=True, bint reads=True, bint reverse=False, EngineArguments pool_of=None, leak=1.0,
                 str leak_form="rate", str cell="plain", bint reset_after=True, double noise=0, double input_noise=0,
                 double dropout=0, unsigned int stream=0, bint drops_noise=False,
                 bint trains_leak=False, Py_ssize_t rank=0):
        """Describe a network: one recurrence, one readout or both.

        Parameters
        ----------
        dtype : "float32" or "float64"
        I, H, O, K : numbers of inputs, hidden units, outputs, and targets per row
        loss_parameter : threshold of "huber", levels of "quantile"
        mean : reduce by the mean, else by the sum
        l1, l2 : penalty of each parameter that has one, by name
        last : outputs and errors exist only at each sequence's last step
        one_hot : inputs are token ids
        maps : unsigned char (P,), the bits of each entry's parametrization, or None
        cell : "plain", "gru" or "lstm"
        rank : R of W_s = M N.T, whose factors are then the parameters; 0 if W_s is a parameter
        leak : a number, or float64 (H,), the leak of each unit
        trains_leak : leak_logit (H,) is a parameter that replaces `leak`
        noise : standard deviation of the noise; if `leak` is an array or trained, without the factor sqrt(2 / leak)
        recurs : if False, there are no W_x, W_s, b_s and S_0; inputs (T, B, H) are states, and I is H
        reads : if False, there are no W_y and b_y, and O is 0; only `states` and `states_back` may then be called
        reverse : run the recurrence from each sequence's last step to its first
        pool_of : engine whose workspaces this one shares, or None
        stream : stream of random numbers of this recurrence
        drops_noise : set rounding noise in ∂E/∂S to 0, because another engine of the network has omega
        """
        self.plan.units.form = find_cell(
            cell, reset_after, isinstance(leak, cnp.ndarray) or trains_leak or leak < 1, trains_leak, leak_form,
            ACTIVATIONS[activation]) if recurs else PLAIN
        self.plan.units.activation, self.plan.trains_leak, self.plan.leaks = ACTIVATIONS[activation], trains_leak, NULL
        if not isinstance(leak, cnp.ndarray):
            self.plan.units.leak = leak
        elif not trains_leak:
            self.leaks = cnp.PyArray_ContiguousFromAny(leak, cnp.NPY_DOUBLE, 1, 1)
            if cnp.PyArray_DIM(self.leaks, 0) != H:
                raise ValueError("leak is not that of these units")
            self.plan.leaks = <const double *> cnp.PyArray_DATA(self.leaks)
        self.plan.noise, self.plan.input_noise, self.plan.dropout, self.plan.stream = noise, input_noise, dropout, stream
        cdef Plan *p = &self.plan
        cdef Py_ssize_t end
        self.type = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.dtype = cnp.PyArray_DescrFromType(self.type)
        self.kernels = kernels_for(4 if dtype == "float32" else 8, H)
        self.pool = [] if pool_of is None else pool_of.pool
        self.shard_work = work_of_a_shard(4 if dtype == "float32" else 8)
        p.I, p.H, p.O, p.mean, p.last, p.one_hot = I, H, O, mean, last, one_hot
        p.recurs, p.reads, p.reverse, p.rank = recurs, reads, reverse, rank
        p.activation = ACTIVATIONS[activation]
        p.error.activation = OUTPUT_ACTIVATIONS[output_activation]
        p.error.loss = LOSSES[loss]
        p.error.O, p.error.K, p.error.scale = O, K, 1
        if loss == "huber":
            p.error.threshold = loss_parameter
        elif loss == "quantile":
            self.levels = cnp.PyArray_ContiguousFromAny(loss_parameter, cnp.NPY_DOUBLE, 1, 1)
            p.error.levels = <const double *> cnp.PyArray_DATA(self.levels)
        place_parameters(p, bias, learn_initial_state)
        p.maps = NULL
        if maps is not None:
            self.maps = cnp.PyArray_ContiguousFromAny(maps, cnp.NPY_UBYTE, 1, 1)
            if cnp.PyArray_DIM(self.maps, 0) != p.P:
                raise ValueError("maps are not those of these parameters")
            p.maps = <const unsigned char *> cnp.PyArray_DATA(self.maps)
        p.rate_penalty, p.omega, p.drops_noise = rate_penalty, omega, drops_noise or omega != 0
        p.penalties, end = 0, p.P
        for name, begin in (("S_0", p.S_0), ("b_y", p.b_y), ("W_y", p.W_y), ("leak_logit", p.leak_logit), ("b_n", p.b_n),
                            ("b_s", p.b_s), ("N", p.N), ("M", p.M), ("W_s", -1 if rank > 0 else p.W_s), ("W_x", p.W_x)):
            if begin < 0:
                continue
            if name in l1 or name in l2:
                p.penalty[p.penalties] = Penalty(begin, end, l1.get(name, 0), l2.get(name, 0))
                p.penalties += 1
            end = begin

    @cython.final
    cdef bint take_arguments(self, Call *c, theta, Batch batch, CallOptions options) except -1:
        """Put a Batch without its targets and weights, and CallOptions, into the call.

        Return False if one has a wrong dtype, shape or layout.
        """
        return (self.prepare(c, theta, batch.X, batch.initial_state, batch.lengths, batch.resets)
                and self.take_options(c, options))

    @cython.final
    cdef bint take_options(self, Call *c, CallOptions options) except -1:
        """Put CallOptions into a call that has its T and B. Return False if a part of `draws` is not ready."""
        c.n_threads, c.memory_limit = options.n_threads, options.memory_limit
        c.input_gradient, c.initial_state_gradient = options.input_gradient, options.initial_state_gradient
        truncate(c, options.tbptt)
        return options.draws is None or self.take_draws(c, options.draws)

    @cython.final
    cdef bint prepare(self, Call *c, theta, X, initial_state, lengths, resets, int in_time=1) noexcept:
        """Put the arguments of every operation into the call. Return False if one has a wrong dtype, shape or layout.

        The call then has no random numbers, no truncation, no memory limit and the default number of threads.
        `in_time` is the number of time axes of X: 0 if X is a single step (B, I) or (B,), else 1.
        """
        memset(c, 0, sizeof(Call))
        if not (is_ready(theta, self.type, 1) and has_shape(theta, self.plan.P, -1, -1) and is_ready(
                X, cnp.NPY_INTP if self.plan.one_hot else self.type, in_time + (1 if self.plan.one_hot else 2))):
            return False
        c.T, c.B = cnp.PyArray_DIM(X, 0) if in_time else 1, cnp.PyArray_DIM(X, in_time)
        if (not self.plan.one_hot and cnp.PyArray_DIM(X, in_time + 1) != self.plan.I) or c.T > INT_MAX or c.B > INT_MAX:
            return False
        c.theta, c.error, c.last, c.units = cnp.PyArray_DATA(theta), self.plan.error, self.plan.last, self.plan.units
        c.sparse, c.reverse = c.last, self.plan.reverse
        if initial_state is not None:
            if not (is_ready(initial_state, self.type, 2) and has_shape(initial_state, c.B, self.plan.width, -1)):
                return False
            c.initial_state = cnp.PyArray_DATA(initial_state)
        if lengths is not None:
            if not (is_ready(lengths, cnp.NPY_INTP, 1) and has_shape(lengths, c.B, -1, -1)):
                return False
            c.lengths = <const Py_ssize_t *> cnp.PyArray_DATA(lengths)
            if not lengths_in_range(c):
                return False
        elif c.last and c.T == 0 and c.B > 0:
            return False
        if resets is not None:
            if not (is_ready(resets, cnp.NPY_BOOL, 2) and has_shape(resets, c.T, c.B, -1)):
                return False
            c.resets = <const char *> cnp.PyArray_DATA(resets)
        count(c)
        if self.plan.one_hot:
            c.ids = <const Py_ssize_t *> cnp.PyArray_DATA(X)
            return ids_in_range(c, self.plan.I)
        c.X = cnp.PyArray_DATA(X)
        return True

    @cython.final
    cdef bint has_rates(self) noexcept nogil:
        """Return whether the rates of the units differ from their public states, so that calls return them as well."""
        return cell_rows[self.plan.units.form].direct and self.plan.gates == 1

    @cython.final
    cdef Py_ssize_t exchanged(self) noexcept nogil:
        """Return how many numbers per unit `states` passes on to `states_back`, beside the states."""
        cdef const CellRow *cell = &cell_rows[self.plan.units.form]
        return max(cell.saves, 1) if cell.direct else cell.saves

    @cython.final
    cdef bint takes_saved(self) noexcept nogil:
        """Return whether calls that go back through given states also need what the cell saved of them.

        Else it follows from the states: what the cell saves is the public state, or nothing.
        """
        cdef const CellRow *cell = &cell_rows[self.plan.units.form]
        return cell.saves > 0 and cell.state != SECOND

    @cython.final
    cdef void take_dropout(self, Call *c) noexcept nogil:
        """Put the probability of dropout into the call.

        Plain units with dropout run as the rate form with leak 1: only the kernels of leaky units apply a mask.
        """
        c.dropout = self.plan.dropout
        if c.dropout > 0 and not cell_of(c).direct:
            c.units.form, c.units.leak = RATE, 1

    @cython.final
    cdef bint take_draws(self, Call *c, draws) noexcept:
        """Put the keys and numbers of the random numbers into the call. Return False if `sequences` is not ready.

        draws = (noise_key, dropout_key, call, first, sequences), as in fastbptt.reference.Draws.
        """
        noise_key, dropout_key, call, first, sequences = draws
        c.call, c.first = call, first
        if noise_key is not None:
            c.noise_key, c.noise, c.input_noise = noise_key, self.plan.noise, self.plan.input_noise
        if dropout_key is not None:
            c.dropout_key = dropout_key
            self.take_dropout(c)
        if sequences is None:
            return True
        if not (is_ready(sequences, cnp.NPY_INTP, 1) and has_shape(sequences, c.B, -1, -1)):
            return False
        c.numbers = <const Py_ssize_t *> cnp.PyArray_DATA(sequences)
        return True

    @cython.final
    cdef bint take_out(self, Call *c, theta, x, state, out) noexcept:
        """Put the arrays of out = (y, next state) into the call, after its B and initial_state. Return whether they are usable.

        out must be a tuple of two writable, C-contiguous arrays of the network's dtype, y (B, O) and next state (B, width).
        They must overlap neither each other nor theta, x or state, with one exception: the next state may be the memory of
        `state`, which the step then updates in place. If the result is False, the call may hold their addresses and must not
        run.
        """
        if not (cpython.PyTuple_Check(out) and cpython.PyTuple_GET_SIZE(out) == 2):
            return False
        y, next = <object> cpython.PyTuple_GET_ITEM(out, 0), <object> cpython.PyTuple_GET_ITEM(out, 1)
        if not (is_ready(y, self.type, 2) and has_shape(y, c.B, self.plan.O, -1) and cnp.PyArray_ISWRITEABLE(y)
                and is_ready(next, self.type, 2) and has_shape(next, c.B, self.plan.width, -1)
                and cnp.PyArray_ISWRITEABLE(next)):
            return False
        c.Y, c.final_state = cnp.PyArray_DATA(y), cnp.PyArray_DATA(next)
        if overlap(y, next) or overlap(y, x) or overlap(y, theta) or overlap(next, x) or overlap(next, theta):
            return False
        return state is None or not overlap(y, state) and (c.final_state == c.initial_state or not overlap(next, state))

    @cython.final
    cdef bint take_old_starts(self, Call *c, past_S_0) noexcept:
        """Put the S_0 of earlier steps, past_S_0 (old, H), into the call. Return False if it is not ready."""
        if not (is_ready(past_S_0, self.type, 2) and cnp.PyArray_DIM(past_S_0, 0) <= c.T
                and has_shape(past_S_0, cnp.PyArray_DIM(past_S_0, 0), self.plan.width, -1)):
            return False
        c.old, c.past_S_0 = cnp.PyArray_DIM(past_S_0, 0), cnp.PyArray_DATA(past_S_0)
        return True

    @cython.final
    cdef bint is_ready_gradient(self, gradient) noexcept:
        """Return whether `gradient` is a writable vector (P,) of the network's dtype."""
        return (is_ready(gradient, self.type, 1) and has_shape(gradient, self.plan.P, -1, -1)
                and cnp.PyArray_ISWRITEABLE(gradient))

    @cython.final
    cdef bint take_targets(self, Call *c, D, weights) noexcept:
        """Put targets, weights and the scale of the reduction into the call.

        Return False if dtype, shape or layout is wrong, or if a label or a weight is out of range.
        """
        return self.point_at_targets(c, D, weights) and self.in_range(c) and self.take_weights(c) >= 0

    @cython.final
    cdef bint is_ready_out(self, array, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2) noexcept:
        """Return whether `array` is a writable array (n0, n1, n2) of the network's dtype."""
        return is_ready(array, self.type, 3) and has_shape(array, n0, n1, n2) and cnp.PyArray_ISWRITEABLE(array)

    @cython.final
    cdef bint is_ready_target(self, const Call *c, array, Py_ssize_t width) noexcept:
        """Return whether `array` is (T, B, width), or (B, width) if errors are those of the last steps."""
        if c.last:
            return is_ready(array, self.type, 2) and has_shape(array, c.B, width, -1)
        return is_ready(array, self.type, 3) and has_shape(array, c.T, c.B, width)

    @cython.final
    cdef bint is_ready_row(self, const Call *c, array, int type) noexcept:
        """Return whether `array` is (T, B), or (B,) if errors are those of the last steps."""
        if c.last:
            return is_ready(array, type, 1) and has_shape(array, c.B, -1, -1)
        return is_ready(array, type, 2) and has_shape(array, c.T, c.B, -1)

    @cython.final
    cdef bint point_at_targets(self, Call *c, D, weights) noexcept:
        """Put targets and weights into the call. Return False if their dtype, shape or layout is wrong."""
        cdef Py_ssize_t K = self.plan.error.K
        if self.plan.error.loss == CROSS_ENTROPY and self.is_ready_row(c, D, cnp.NPY_INTP):
            c.labels = <const Py_ssize_t *> cnp.PyArray_DATA(D)
        elif self.is_ready_target(c, D, K):
            c.D = cnp.PyArray_DATA(D)
        else:
            return False
        if weights is not None:
            if self.is_ready_row(c, weights, self.type):
                c.weight_width = 1
            elif self.is_ready_target(c, weights, K) and self.plan.error.loss != CROSS_ENTROPY:
                c.weight_width = K
            else:
                return False
            c.weights = cnp.PyArray_DATA(weights)
        return True

    @cython.final
    cdef bint in_range(self, const Call *c) noexcept nogil:
        """Return whether every label that is read is the index of an output."""
        if c.labels == NULL:
            return True
        if self.type == cnp.NPY_FLOAT:
            return labels_in_range(c, self.plan.O, <const float *> c.weights)
        return labels_in_range(c, self.plan.O, <const double *> c.weights)

    @cython.final
    cdef void take_penalties(self, Call *c) noexcept nogil:
        """Put the penalties on rates and by Ω into the call, and set their sums to 0."""
        cdef Py_ssize_t b, steps
        c.rates = c.omega_sum = 0
        c.omega_rows = 0
        c.omega = self.plan.omega
        c.drops_noise = c.error.settles = self.plan.omega != 0
        if self.plan.rate_penalty != 0:
            steps = c.steps
            for b in range(c.B if c.past > 0 else 0):
                steps -= min(c.past, c.lengths[b] if c.lengths != NULL else c.T)
            c.rates = self.plan.rate_penalty / (<double> max(steps, 1) * self.plan.H)

    @cython.final
    cdef double take_weights(self, Call *c) noexcept nogil:
        """Put the scale of the reduction into the call. Return Σ m, or -1 if a weight is out of range."""
        if self.type == cnp.NPY_FLOAT:
            return prepare_weights(&self.plan, c, <const float *> c.weights)
        return prepare_weights(&self.plan, c, <const double *> c.weights)

    def total_weight(self, theta, Batch batch not None):
        """Return Σ m as `loss_and_gradients` computes it. The arguments must be checked already."""
        cdef Call c
        if not (self.prepare(&c, theta, batch.X, batch.initial_state, batch.lengths, batch.resets)
                and self.point_at_targets(&c, batch.D, batch.weights)):
            raise ValueError("theta, X, D, weights, initial_state, lengths and resets must be C-contiguous arrays of the "
                             "right dtypes and shapes")
        return self.take_weights(&c)
