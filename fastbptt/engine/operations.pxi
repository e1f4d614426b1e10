# Operations: one method of Engine for each operation of a network.
#
# Each method fills a call, runs it and returns new arrays. Add a new operation here. It may not compute anything itself.
# arguments.pxi checks the arguments, memory.pxi runs the call; batching.pxi explains the engine's terms, plan.pxi the letters.


@cython.final
cdef class Engine(EngineCalls):
    """The operations of networks of one configuration, for flat parameters theta (P,).

    Each operation returns NotImplemented if a dtype, shape or memory layout is wrong. The Python layer then converts the
    argument and calls again, or raises a detailed error.

    batch_and_options.pxi documents the fields of `batch`, `options` and `known`. Other types raise TypeError.
    """

    def forward(self, theta, Batch batch not None, CallOptions options not None, bint return_states):
        """Return Y (T, B, O) and the final state (B, H).

        If return_states, also returns S (T+1, B, H) and, for leaky units, the rates R (T, B, H). D and weights are not read.
        """
        cdef Call c
        if not self.take_arguments(&c, theta, batch, options):
            return NotImplemented
        Y = self.fresh_outputs(&c, self.plan.O, &c.Y)
        final_state = self.fresh(2, c.B, self.plan.width, 0, &c.final_state)
        S = self.fresh(3, c.T + 1, c.B, self.plan.width, &c.S) if return_states else None
        R = self.fresh(3, c.T, c.B, self.plan.H, &c.R) if return_states and self.has_rates() else None
        c.rates_of_saved = True
        self.run(&c)
        if R is not None:
            return Y, final_state, S, R
        return (Y, final_state, S) if return_states else (Y, final_state)

    def step(self, theta, x, state, out, int n_threads):
        """Return y (B, O) and the next state (B, H) for one step x, (B, I) or token ids (B,).

        If `out` is a tuple of two arrays, the results overwrite them. The next state may overwrite `state`: a shard reads its
        rows before it writes them.
        """
        cdef Call c
        if not self.prepare(&c, theta, x, state, None, None, 0):
            return NotImplemented
        c.n_threads = n_threads
        c.last = c.sparse = False  # a single step is always the last one
        if out is None:
            out = self.fresh(2, c.B, self.plan.O, 0, &c.Y), self.fresh(2, c.B, self.plan.width, 0, &c.final_state)
        elif not self.take_out(&c, theta, x, state, out):
            return NotImplemented
        self.run(&c)
        return out

    def losses(self, theta, Batch batch not None, CallOptions options not None):
        """Return the errors e (T, B), not weighted; weights are not read."""
        cdef Call c
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, batch.D, None)):
            return NotImplemented
        e = self.fresh_outputs(&c, 0, &c.losses)
        self.run(&c)
        return e

    def evaluate(self, theta, Batch batch not None, CallOptions options not None):
        """Return the reduced error, without penalties."""
        cdef Call c
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, batch.D, batch.weights)):
            return NotImplemented
        self.run(&c)
        return c.total * c.error.scale

    def loss_and_gradients(self, theta, Batch batch not None, CallOptions options not None):
        """Return the reduced error plus penalties, and a dict of new gradients."""
        cdef Call c
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, batch.D, batch.weights)):
            return NotImplemented
        return self.find_gradients(&c)

    cdef object find_gradients(self, Call *c):
        """Do what `loss_and_gradients` does, for a call that has its arguments. `at_once` calls this directly."""
        if c.input_gradient and self.plan.one_hot:
            return NotImplemented
        self.take_penalties(c)
        gradients = self.gradients(c)
        return c.total * c.error.scale + c.penalty, gradients

    def loss_into(self, theta, Batch batch not None, CallOptions options not None, gradient):
        """Return the reduced error, and the penalties.

        The flat gradient of their sum overwrites `gradient` (P,).
        """
        cdef Call c
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, batch.D, batch.weights)
                and self.is_ready_gradient(gradient)):
            return NotImplemented
        c.gradient, c.saves = cnp.PyArray_DATA(gradient), True
        self.take_penalties(&c)
        self.run(&c)
        return c.total * c.error.scale, c.penalty

    # ---- The parts of a network of several recurrences. The Python layer has checked the arguments; a wrong one is a bug
    # ---- there, so these methods raise.

    def states(self, theta, Batch batch not None, CallOptions options not None, S, R, bint only_rates=False):
        """Return the final state (B, width) of the recurrence.

        S (T+1, B, width) is overwritten: S[0] is the initial state, S[t+1] the state after X[t]. Leaky units also overwrite the
        rates R (T, B, H), gated cells what they save, R (T, B, saves H). If the derivative of the activation reads the
        pre-activation, plain units and the rate form overwrite R with the pre-activations, which `states_back` needs, unless
        `only_rates`. R may be None if nothing overwrites it.
        """
        cdef Call c
        if not (self.plan.recurs and self.take_arguments(&c, theta, batch, options)
                and self.is_ready_out(S, c.T + 1, c.B, self.plan.width)):
            raise ValueError("states requires a recurrence, and C-contiguous arrays of the right dtypes and shapes")
        c.S = cnp.PyArray_DATA(S)
        c.rates_of_saved = only_rates
        if self.has_rates() or self.exchanged() > 0 and not only_rates:
            if not self.is_ready_out(R, c.T, c.B, self.exchanged() * self.plan.H):
                raise ValueError("R must be a writable, C-contiguous array (T, B, saves H) of the network's dtype")
            c.R = cnp.PyArray_DATA(R)
        final_state = self.fresh(2, c.B, self.plan.width, 0, &c.final_state)
        self.run(&c)
        return final_state

    def states_back(self, theta, Batch batch not None, CallOptions options not None, KnownStates known not None, gradient, dX,
                    bint with_omega):
        """Return ∂E/∂S_0 (B, H), or None if not asked for, and omega Ω, which is 0 unless `with_omega`.

        batch.D (T, B, H) is ∂E/∂S through the outputs; in the current form, ∂E/∂R. `known` is KnownStates: its S and R are as
        in `states`. S[0] is the initial state, in place of that of the batch. The flat gradient overwrites `gradient` (P,), and
        ∂E/∂X overwrites dX (T, B, I), which may be None.
        """
        cdef Call c
        S, R, past_S_0, dS = known.S, known.R, known.S_0, batch.D
        if not (self.plan.recurs and not self.plan.reads and is_ready(S, self.type, 3) and cnp.PyArray_DIM(S, 0) > 0
                and self.prepare(&c, theta, batch.X, S[0], batch.lengths, batch.resets) and self.take_options(&c, options)
                and has_shape(S, c.T + 1, c.B, self.plan.width) and is_ready(dS, self.type, 3)
                and has_shape(dS, c.T, c.B, self.plan.H) and self.is_ready_gradient(gradient)):
            raise ValueError("states_back requires a recurrence without a readout, and C-contiguous arrays of the right "
                             "dtypes and shapes")
        c.precomputed, c.past_states = True, cnp.PyArray_BYTES(S) + c.B * self.plan.width * cnp.PyArray_ITEMSIZE(S)
        c.D, c.error.loss, c.error.K = cnp.PyArray_DATA(dS), GIVEN, self.plan.H
        c.own_start, c.gradient, c.saves = known.own_start, cnp.PyArray_DATA(gradient), True
        c.past_rates = c.past_states  # of the current form, and of plain units with dropout, whose states are their rates
        if self.takes_saved():
            if not (is_ready(R, self.type, 3) and has_shape(R, c.T, c.B, self.exchanged() * self.plan.H)):
                raise ValueError("R must be a C-contiguous array (T, B, saves H) of the network's dtype")
            c.past_rates = cnp.PyArray_DATA(R)
        if dX is not None:
            if not self.is_ready_out(dX, c.T, c.B, self.plan.I):
                raise ValueError("dX must be a writable, C-contiguous array (T, B, I) of the network's dtype")
            c.dX = cnp.PyArray_DATA(dX)
        dS_0 = self.fresh(2, c.B, self.plan.width, 0, &c.dS_0) if c.initial_state_gradient else None
        c.omega = self.plan.omega if with_omega else 0
        c.drops_noise = c.omega != 0
        if past_S_0 is not None and not self.take_old_starts(&c, past_S_0):
            raise ValueError("past_S_0 must be a C-contiguous array (past, H) of the network's dtype")
        self.run(&c)
        return dS_0, c.penalty

    def outputs(self, theta, S, lengths, int n_threads):
        """Return the readout's Y, (T, B, O) or (B, O), for states S (T, B, H)."""
        cdef Call c
        if self.plan.recurs or not self.prepare(&c, theta, S, None, lengths, None):
            raise ValueError("outputs requires a readout without a recurrence, and C-contiguous arrays of the right "
                             "dtypes and shapes")
        c.n_threads = n_threads
        Y = self.fresh_outputs(&c, self.plan.O, &c.Y)
        self.run(&c)
        return Y

    def outputs_back(self, theta, Batch batch not None, CallOptions options not None, bint is_derivative, gradient, dS):
        """Return the readout's reduced error, Σ m, and the factor that both gradients still need.

        batch.X (T, B, H) are the states. If is_derivative, batch.D is ∂E/∂Y. The flat gradient overwrites `gradient` (P,), and
        ∂E/∂S overwrites dS (T, B, H). The caller must multiply both by the factor. It is 1 unless they would then contain
        subnormal or infinite numbers.
        """
        cdef Call c
        cdef double total = 0, unscale = 1
        D, weights = batch.D, batch.weights
        if self.plan.recurs or not (self.take_arguments(&c, theta, batch, options) and self.is_ready_gradient(gradient)
                                    and self.is_ready_out(dS, c.T, c.B, self.plan.H)):
            raise ValueError("outputs_back requires a readout without a recurrence, and C-contiguous arrays of the right "
                             "dtypes and shapes")
        if is_derivative:
            if not self.is_ready_target(&c, D, self.plan.O):
                raise ValueError("D = ∂E/∂Y must be a C-contiguous array (T, B, O), or (B, O), of the network's dtype")
            c.D, c.error.loss, c.error.K, c.error.scale = cnp.PyArray_DATA(D), GIVEN, self.plan.O, 1
        else:
            if not (self.point_at_targets(&c, D, weights) and self.in_range(&c)):
                raise ValueError("D and weights must be C-contiguous arrays of the right dtypes and shapes, with labels "
                                 "in 0 ... O - 1")
            total = self.take_weights(&c)
            if total < 0:
                raise ValueError("weights must be finite and not negative, with a finite sum")
            c.drops_noise = c.error.settles = self.plan.drops_noise
            if c.unscale > 0:
                unscale, c.unscale = c.unscale, 0
        c.gradient, c.dX = cnp.PyArray_DATA(gradient), cnp.PyArray_DATA(dS)
        self.run(&c)
        return c.total * c.error.scale * unscale, total, unscale

    def penalize(self, theta, gradient):
        """Return the penalties on theta (P,), and add their gradient to `gradient` (P,)."""
        if not (is_ready(theta, self.type, 1) and has_shape(theta, self.plan.P, -1, -1) and self.is_ready_gradient(gradient)):
            raise ValueError("theta and gradient must be C-contiguous vectors (P,) of the network's dtype, and gradient "
                             "writable")
        effective = part = None
        if self.plan.maps != NULL:
            effective, part = theta.copy(), gradient * 0
        if self.type == cnp.NPY_FLOAT:
            return penalize_mapped(&self.plan, <float *> cnp.PyArray_DATA(theta), <float *> cnp.PyArray_DATA(gradient),
                                   <float *> (cnp.PyArray_DATA(effective) if part is not None else NULL),
                                   <float *> (cnp.PyArray_DATA(part) if part is not None else NULL))
        return penalize_mapped(&self.plan, <double *> cnp.PyArray_DATA(theta), <double *> cnp.PyArray_DATA(gradient),
                               <double *> (cnp.PyArray_DATA(effective) if part is not None else NULL),
                               <double *> (cnp.PyArray_DATA(part) if part is not None else NULL))

    def window_into(self, theta, Batch batch not None, CallOptions options not None, KnownStates known not None, gradient, S,
                    R):
        """Return the reduced error of the steps after the known ones, the penalties, and Σ m.

        These errors go back k2 steps of options.tbptt = (T, k2). `known` is KnownStates, which started from the initial state
        of the batch. The flat gradient overwrites `gradient` (P,). The states of all steps overwrite S (T+1, B, width). If the
        cell saves anything, that overwrites R (T, B, saves H), and the known R is needed.
        """
        cdef Call c
        cdef double total
        cdef Py_ssize_t k2
        past, past_rates, past_S_0 = known.S, known.R, known.S_0
        if not (self.take_arguments(&c, theta, batch, options) and self.point_at_targets(&c, batch.D, batch.weights)
                and self.in_range(&c) and is_ready(past, self.type, 3) and cnp.PyArray_DIM(past, 0) <= c.T
                and has_shape(past, cnp.PyArray_DIM(past, 0), c.B, self.plan.width) and self.is_ready_gradient(gradient)
                and self.is_ready_out(S, c.T + 1, c.B, self.plan.width) and not c.last):
            return NotImplemented
        k2 = c.T if options.tbptt is None else options.tbptt[1]
        c.past, c.past_states, c.own_start = cnp.PyArray_DIM(past, 0), cnp.PyArray_DATA(past), known.own_start
        c.past_rates = c.past_states  # of the current form, and of plain units with dropout, whose states are their rates
        if self.takes_saved():
            if not (is_ready(past_rates, self.type, 3)
                    and has_shape(past_rates, c.past, c.B, self.exchanged() * self.plan.H)
                    and self.is_ready_out(R, c.T, c.B, self.exchanged() * self.plan.H)):
                raise ValueError("past_rates (past, B, saves H) and R (T, B, saves H) must be C-contiguous arrays of the "
                                 "network's dtype, and R writable")
            c.past_rates, c.R = cnp.PyArray_DATA(past_rates), cnp.PyArray_DATA(R)
        if past_S_0 is not None and not self.take_old_starts(&c, past_S_0):
            raise ValueError("past_S_0 must be a C-contiguous array (past, H) of the network's dtype")
        total = self.take_weights(&c)
        if total < 0:
            return NotImplemented
        c.k1, c.k2 = max(c.T, 1), k2
        if c.past == 0 and k2 >= c.T:
            c.k1 = c.k2 = 0
        c.gradient, c.saves, c.S = cnp.PyArray_DATA(gradient), True, cnp.PyArray_DATA(S)
        self.take_penalties(&c)
        self.run(&c)
        return c.total * c.error.scale, c.penalty, total

    def backward(self, theta, Batch batch not None, CallOptions options not None):
        """Return the dict of gradients for batch.D = ∂E/∂Y (T, B, O); weights are not read."""
        cdef Call c
        dY = batch.D
        if not (self.take_arguments(&c, theta, batch, options) and self.is_ready_target(&c, dY, self.plan.O)
                and not (c.input_gradient and self.plan.one_hot)):
            return NotImplemented
        c.D = cnp.PyArray_DATA(dY)
        c.error.loss, c.error.K, c.error.scale = GIVEN, self.plan.O, 1
        return self.gradients(&c)

    def gradient_terms(self, theta, Batch batch not None, CallOptions options not None, Py_ssize_t t):
        """Return the dict of what each step contributes to the gradient of step t's error, 0 <= t < T.

        "W_s" is (t+1, H, H), "W_x" (t+1, H, I), "W_y" (O, H) and "S" (t+1, B, H). With a rank, "M" (t+1, H, R) and "N" (t+1,
        H, R) replace "W_s". weights, lengths and resets are None.
        """
        cdef Call c
        cdef Py_ssize_t I = self.plan.I, H = self.plan.H, O = self.plan.O, G = self.plan.gates
        D = batch.D
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, D, None) and 0 <= t < c.T):
            return NotImplemented
        if c.D != NULL and not c.last:
            c.D = <char *> c.D + t * c.B * self.plan.error.K * cnp.PyArray_ITEMSIZE(D)
        if c.labels != NULL and not c.last:
            c.labels += t * c.B
        c.T, c.saves, c.error.scale = t + 1, True, 1
        W_s = self.fresh(3, t + 1, G * H, H, &c.terms_W_s)
        W_x = self.fresh(3, t + 1, G * H, I, &c.terms_W_x)
        W_y = self.fresh(2, O, H, 0, &c.terms_W_y)
        S = self.fresh(3, t + 1, c.B, self.plan.width, &c.terms_S)
        W_y.fill(0)
        if c.B == 0:
            W_s.fill(0)
            W_x.fill(0)
        if self.plan.rank > 0:
            M = self.fresh(3, t + 1, G * H, self.plan.rank, &c.terms_M)
            N = self.fresh(3, t + 1, H, self.plan.rank, &c.terms_N)
            M.fill(0)
            N.fill(0)
            self.run(&c)
            return {"M": M, "N": N, "W_x": W_x, "W_y": W_y, "S": S}
        self.run(&c)
        return {"W_s": W_s, "W_x": W_x, "W_y": W_y, "S": S}

    def gradient_flow(self, theta, Batch batch not None, CallOptions options not None, Py_ssize_t begin, Py_ssize_t end):
        """Return ‖∂E_t/∂S_i‖ (end - begin, T) of the errors of steps begin ... end, and ‖∂E/∂S_i‖ (T,) of all errors.

        The LSTM returns these two for h, then for c. Errors are weighted but not reduced: the norms are not divided by Σ m.
        lengths and resets are None.
        """
        cdef Call c
        if not (self.take_arguments(&c, theta, batch, options) and self.take_targets(&c, batch.D, batch.weights)
                and 0 <= begin <= end <= c.T and not c.last):
            return NotImplemented
        of_carry = ()
        c.saves, c.sparse, c.error.scale, c.flow_begin, c.flow_end = True, False, 1, begin, end
        c.unscale = 1 / c.weight_scale if c.weight_scale != 1 else 0
        norms = self.fresh(2, end - begin, c.T, 0, &c.flow)
        whole = self.fresh(1, c.T, 0, 0, &c.flow_whole)
        norms.fill(0)
        whole.fill(0)
        if cell_rows[self.plan.units.form].state == BOTH_CARRIES:
            of_carry = self.fresh(2, end - begin, c.T, 0, &c.flow_carry), self.fresh(1, c.T, 0, 0, &c.flow_carry_whole)
            of_carry[0].fill(0)
            of_carry[1].fill(0)
        self.run(&c)
        return (norms, whole) + of_carry

    def kernel_set(self):
        """Return the name of the kernel set that serves this network."""
        return self.kernels.name.decode()

    # ---- Training

    def train(self, theta, Batch data not None, CallOptions options not None, updates, memory, sums):
        """Update theta and its slots by one batch after another, without the GIL, until updates.seconds are over.

        Ends before that with the last sequence, at a batch from which nothing can be learnt (its update is not made), or at
        Ctrl-C.

        Parameters
        ----------
        theta : vector (P,)
        data : Batch, already checked
        options : CallOptions; the call of `draws` is that of the first update, its sequences are those of the data
        updates : Updates, of one network
        memory : UpdateMemory
        sums : float64 (epochs, 5). Columns 0 to 3 are added to: of each epoch the data losses (weighted as in the loss), the
            weights, the penalties and the norms of the gradients. Column 4 is set: seconds until its last update.

        Returns
        -------
        done : number of updates made
        error : the exception that Ctrl-C raised, or None
        """
        return train(self, theta, data, options, updates, memory, sums)
