# Passes: the lines of fastbptt.reference over one group of lanes, forward and backward.
#
# `run_group` does what a call asks for. Add a step of the forward or backward pass here.

cdef void load_group(const Plan *p, const Call *c, Group *g, Py_ssize_t first, Py_ssize_t n,
                     const floating *dtype) noexcept nogil:
    """Copy the data of the call c for networks first ... first + n - 1 into lanes, the arrays of g.

    Also compute Σ m and the scale of the error. In padding, a network's own inputs and weights become 0. `dtype` selects the
    type and is not read.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, dtype), rows = c.T * c.B, l, b, width = c.weight_width
    cdef floating *ends = <floating *> g.ends
    cdef floating *weights = <floating *> g.weights
    if c.own_X:
        into_lanes(c, first, n, rows * p.I, True, <const floating *> c.X, <floating *> g.X)
    if c.own_D:
        into_lanes(c, first, n, rows * p.K, True, <const floating *> c.D, <floating *> g.D)
    if c.own_weights:
        into_lanes(c, first, n, rows * width, True, <const floating *> c.weights, weights)
    for l in range(L if ends != NULL else 0):
        for b in range(c.B):
            ends[b * L + l] = <floating> length(c, first + l, b) if l < n else 0
    if c.lengths != NULL:
        if c.own_X:
            clear_padding(c, first, n, L, p.I, <floating *> g.X)
        if c.own_weights:
            clear_padding(c, first, n, L, width, weights)
    set_loss_scale(p, c, g, n, dtype)
    for l in range(L if g.unscale != NULL else 0):
        g.unscale[l] = c.unscale[first + l] if l < n else 1


cdef void set_loss_scale(const Plan *p, const Call *c, Group *g, Py_ssize_t n, const floating *dtype) noexcept nogil:
    """Compute the sum of weights Σ m of a batch c, g.weight (L,), and the factor of its errors, g.scale (L,).

    The factor is 1 / Σ m, or 1 for reduction="sum". The group has n networks; other lanes get Σ m = 0.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, dtype), l, i, width = c.weight_width
    cdef floating *scale = <floating *> g.scale
    cdef const floating *weights = <const floating *> g.weights
    cdef double m
    for l in range(L):
        m = c.T * c.B if l < n else 0
        if l < n and width > 0:
            m = 0
            for i in range(c.T * c.B * width):
                m += weights[i * L + l] if c.own_weights else weights[i]
            m /= width
        g.weight[l] = m
        scale[l] = 1
        if p.mean:
            scale[l] = <floating> (1 / m) if m > 0 else 0


cdef void set_initial_states(const Plan *p, const Call *c, Group *g, Py_ssize_t first, Py_ssize_t n,
                             const floating *theta) noexcept nogil:
    """Set S[0] (B, H, L) of g to the initial states: those of the call c, else S_0, else zero.

    The group has the n networks from `first` on.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, theta), b, H = p.H
    cdef floating *S = <floating *> g.S
    if c.initial_state != NULL:
        into_lanes(c, first, n, c.B * H, c.own_initial_state, <const floating *> c.initial_state, S)
    else:
        for b in range(c.B):
            if p.S_0 >= 0:
                memcpy(S + b * H * L, theta + p.S_0 * L, H * L * sizeof(floating))
            else:
                memset(S + b * H * L, 0, H * L * sizeof(floating))


cdef void forward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the states S (T + 1, B, H, L) and the pre-activations of the outputs Z (T, B, O, L) of g, for the call c."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H, O = p.O
    cdef floating *S = <floating *> g.S
    cdef floating *A = S + B * H * L
    # A = X @ W_x.T + b_s ;  S[t + 1] = g1(A[t] + S[t] @ W_s.T) ;  Z = S[1:] @ W_y.T + b_y
    lane.affine(kernels, rows, I, H, <const floating *> g.X, not c.own_X, theta + p.W_x * L,
                theta + p.b_s * L if p.b_s >= 0 else NULL, A)
    lane.recur(kernels, p.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends, S, A, <floating *> g.A)
    lane.affine(kernels, rows, H, O, A, False, theta + p.W_y * L, theta + p.b_y * L if p.b_y >= 0 else NULL, <floating *> g.Z)


cdef void compute_errors(const Plan *p, const Call *c, Group *g, const floating *dtype) noexcept nogil:
    """Compute the errors of each network for the targets of call c: g.totals (L,) = Σ m e.

    Z becomes delta_y = dE/dZ, scaled for the reduction.
    """
    cdef Py_ssize_t l
    memset(g.totals, 0, lane.lanes(kernels, dtype) * sizeof(double))
    lane.error(kernels, &p.error, c.T * c.B, <const floating *> g.D, not c.own_D, <const floating *> g.weights, c.weight_width,
               not c.own_weights, <const floating *> g.scale, <floating *> g.Z, <floating *> g.losses, g.totals)
    for l in range(lane.lanes(kernels, dtype) if g.unscale != NULL else 0):
        g.totals[l] *= g.unscale[l]


cdef void backward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute g.gradient (P, L) from delta_y (T, B, O, L) and the states, for the inputs of call c.

    It overwrites delta and, for S_0, the states.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H, O = p.O, i
    cdef floating *S = <floating *> g.S
    cdef floating *R = S + B * H * L
    cdef floating *slopes = <floating *> g.A if g.A != NULL else R  # what the derivative of g1 reads
    cdef floating *delta_y = <floating *> g.Z
    cdef floating *delta = <floating *> g.delta
    cdef floating *gradient = <floating *> g.gradient
    memset(gradient, 0, p.P * L * sizeof(floating))
    # dS = delta_y @ W_y ;  delta[t] = (dS[t] + delta[t + 1] @ W_s) * g1'(S[t + 1])
    lane.affine_back(kernels, rows, O, H, delta_y, theta + p.W_y * L, delta)
    lane.recur_back(kernels, p.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends, slopes, delta)
    # dW_x = delta.T @ X ;  dW_s = delta.T @ S[:-1] ;  dW_y = delta_y.T @ S[1:] ;  db = the sums of delta and delta_y
    lane.accumulate(kernels, rows, H, I, delta, <const floating *> g.X, not c.own_X, gradient + p.W_x * L)
    lane.accumulate(kernels, rows, H, H, delta, S, False, gradient + p.W_s * L)
    lane.accumulate(kernels, rows, O, H, delta_y, R, False, gradient + p.W_y * L)
    if p.b_s >= 0:
        lane.column_sums(kernels, rows, H, delta, gradient + p.b_s * L)
        lane.column_sums(kernels, rows, O, delta_y, gradient + p.b_y * L)
    if p.S_0 >= 0 and c.initial_state == NULL and c.T > 0:
        # dS_0 = delta[0] @ W_s, written over S, which is no longer needed
        lane.affine_back(kernels, B, H, H, delta, theta + p.W_s * L, S)
        lane.column_sums(kernels, B, H, S, gradient + p.S_0 * L)
    for i in range(p.P * L if g.unscale != NULL else 0):
        gradient[i] = <floating> (g.unscale[i % L] * gradient[i])


cdef void write_final_states(const Plan *p, const Call *c, const Group *g, Py_ssize_t first, Py_ssize_t n,
                             floating *target) noexcept nogil:
    """Write the state after each sequence's last step to target (N, B, H), for networks first ... first + n - 1 of call c.

    g has the states S (T + 1, B, H, L) of these networks.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, target), l, b, h, row
    for l in range(n):
        for b in range(c.B):
            row = length(c, first + l, b) * c.B + b
            for h in range(p.H):
                target[((first + l) * c.B + b) * p.H + h] = (<const floating *> g.S)[(row * p.H + h) * L + l]


cdef void run_group(const Plan *p, Call *c, Py_ssize_t i, char *base, const floating *dtype) noexcept nogil:
    """Run the call c for group i in the workspace `base`: outputs, or errors and gradients, as the call asks for.

    The results go to the arrays of the call that are not NULL. `dtype` selects the type and is not read.
    """
    cdef unsigned long long mode = flush_denormals()
    cdef Group g
    cdef Py_ssize_t L = lane.lanes(kernels, dtype), first = i * L, n = min(L, c.n - first), l, rows = c.T * c.B
    cdef floating *theta
    lay_out(p, c, dtype, base, &g)
    theta = <floating *> g.theta
    columns_into_lanes(first, L, c.N, p.P, <const floating *> c.theta, theta)
    load_group(p, c, &g, first, n, theta)
    set_initial_states(p, c, &g, first, n, theta)
    forward(p, c, &g, theta)
    if c.S != NULL:
        out_of_lanes(first, n, (rows + c.B) * p.H, <const floating *> g.S, <floating *> c.S)
    if c.final_state != NULL:
        write_final_states(p, c, &g, first, n, <floating *> c.final_state)
    if c.Y != NULL:
        lane.output(kernels, p.error.activation, rows, p.O, <floating *> g.Z)
        if c.lengths != NULL:
            clear_padding(c, first, n, L, p.O, <floating *> g.Z)
        out_of_lanes(first, n, rows * p.O, <const floating *> g.Z, <floating *> c.Y)
        restore(mode)
        return
    compute_errors(p, c, &g, theta)
    if c.losses != NULL:
        if c.lengths != NULL:
            clear_padding(c, first, n, L, 1, <floating *> g.losses)
        out_of_lanes(first, n, rows, <const floating *> g.losses, <floating *> c.losses)
    for l in range(n):
        c.reduced[first + l] = g.totals[l] * (<const floating *> g.scale)[l]
    if c.gradient != NULL:
        backward(p, c, &g, theta)
        columns_out_of_lanes(first, L, c.N, p.P, <const floating *> g.gradient, <floating *> c.gradient)
    restore(mode)
