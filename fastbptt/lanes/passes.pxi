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
    """Set the carries of g before step 0 to the initial states: those of the call c, else S_0, else zero.

    The group has the n networks from `first` on.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, theta), b, H = p.H
    cdef floating *start = <floating *> g.start
    if c.initial_state != NULL:
        into_lanes(c, first, n, c.B * p.width, c.own_initial_state, <const floating *> c.initial_state, start)
    elif p.S_0 >= 0:
        for b in range(c.B):
            memcpy(start + b * p.width * L, theta + p.S_0 * L, p.width * L * sizeof(floating))
    else:
        memset(start, 0, c.B * p.width * L * sizeof(floating))
    for b in range(c.B):
        memcpy(<floating *> g.S + b * H * L, start + b * p.width * L, H * L * sizeof(floating))
        if p.width > H:
            memcpy(<floating *> g.carry + b * H * L, start + (b * p.width + H) * L, H * L * sizeof(floating))


cdef void forward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the carries (T + 1, B, H, L) and the pre-activations of the outputs Z (T, B, O, L) of g, for the call c."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H, O = p.O
    cdef floating *S = <floating *> g.S
    cdef floating *A = S + B * H * L
    # A = X @ W_x.T + b_s ;  S[t + 1] = g1(A[t] + S[t] @ W_s.T) ;  Z = S[1:] @ W_y.T + b_y
    if p.cell.gates > 1:
        gate_forward(p, c, g, theta)
    else:
        lane.affine(kernels, rows, I, H, <const floating *> g.X, not c.own_X, theta + p.W_x * L,
                    theta + p.b_s * L if p.b_s >= 0 else NULL, A, H)
        lane.recur(kernels, p.units.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends, S, A,
                   <floating *> g.saves)
    lane.affine(kernels, rows, H, O, A, False, theta + p.W_y * L, theta + p.b_y * L if p.b_y >= 0 else NULL, <floating *> g.Z,
                O)


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
    """Compute g.gradient (P, L) from delta_y (T, B, O, L) and the states, for the inputs of call c."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), rows = c.T * c.B, H = p.H, O = p.O, i
    cdef floating *delta_y = <floating *> g.Z
    cdef floating *gradient = <floating *> g.gradient
    memset(gradient, 0, p.P * L * sizeof(floating))
    # dS = delta_y @ W_y ;  dW_y = delta_y.T @ S[1:] ;  db_y = delta_y.sum(axis=0)
    lane.affine_back(kernels, rows, O, H, delta_y, theta + p.W_y * L, <floating *> g.delta, p.cell.slots * H)
    lane.accumulate(kernels, rows, O, H, delta_y, O, <floating *> g.S + c.B * H * L, False, gradient + p.W_y * L)
    if p.b_y >= 0:
        lane.column_sums(kernels, rows, O, delta_y, O, gradient + p.b_y * L)
    if p.cell.gates > 1:
        gate_backward(p, c, g, theta)
    else:
        plain_backward(p, c, g, theta)
    for i in range(p.P * L if g.unscale != NULL else 0):
        gradient[i] = <floating> (g.unscale[i % L] * gradient[i])


cdef void plain_backward(const Plan *p, const Call *c, Group *g, const floating *theta) noexcept nogil:
    """Compute the gradients of W_x, W_s, b_s and S_0 from ∂E/∂S through the outputs, in delta, for cells of one gate."""
    cdef Py_ssize_t L = lane.lanes(kernels, theta), B = c.B, rows = c.T * c.B, I = p.I, H = p.H
    cdef floating *S = <floating *> g.S
    cdef floating *delta = <floating *> g.delta
    cdef floating *gradient = <floating *> g.gradient
    # delta[t] = (dS[t] + delta[t + 1] @ W_s) * g1'(S[t + 1])
    lane.recur_back(kernels, p.units.activation, c.T, B, H, theta + p.W_s * L, <const floating *> g.ends,
                    <floating *> g.saves if g.saves != NULL else S + B * H * L, delta)
    # dW_x = delta.T @ X ;  dW_s = delta.T @ S[:-1] ;  db_s = delta.sum(axis=0)
    lane.accumulate(kernels, rows, H, I, delta, H, <const floating *> g.X, not c.own_X, gradient + p.W_x * L)
    lane.accumulate(kernels, rows, H, H, delta, H, S, False, gradient + p.W_s * L)
    if p.b_s >= 0:
        lane.column_sums(kernels, rows, H, delta, H, gradient + p.b_s * L)
    if p.S_0 >= 0 and c.initial_state == NULL and c.T > 0:
        # dS_0 = delta[0] @ W_s
        lane.affine_back(kernels, B, H, H, delta, theta + p.W_s * L, <floating *> g.start, H)
        lane.column_sums(kernels, B, H, <floating *> g.start, H, gradient + p.S_0 * L)


cdef void write_states(const Plan *p, const Call *c, const Group *g, Py_ssize_t first, Py_ssize_t n,
                       floating *target) noexcept nogil:
    """Copy the public states of all steps out of lanes into target (networks, T + 1, B, width)."""
    cdef Py_ssize_t L = lane.lanes(kernels, target), rows = (c.T + 1) * c.B, row, l
    if p.width == p.H:
        out_of_lanes(first, n, rows * p.H, <const floating *> g.S, target)
        return
    for l in range(n):
        for row in range(rows):
            write_state(p, g, row, l, L, target + ((first + l) * rows + row) * p.width)


cdef void write_final_states(const Plan *p, const Call *c, const Group *g, Py_ssize_t first, Py_ssize_t n,
                             floating *target) noexcept nogil:
    """Copy the state after each sequence's last step out of lanes into target (N, B, width), for the networks of g.

    They are first ... first + n - 1 of call c. `target` has all N networks of the call.
    """
    cdef Py_ssize_t L = lane.lanes(kernels, target), l, b
    for l in range(n):
        for b in range(c.B):
            write_state(p, g, length(c, first + l, b) * c.B + b, l, L, target + ((first + l) * c.B + b) * p.width)


cdef inline void write_state(const Plan *p, const Group *g, Py_ssize_t row, Py_ssize_t l, Py_ssize_t L,
                             floating *target) noexcept nogil:
    """Copy the public state (width,) of lane l in a row of the carries (rows, H, L) to target."""
    cdef Py_ssize_t h
    for h in range(p.H):
        target[h] = (<const floating *> g.S)[(row * p.H + h) * L + l]
    for h in range(p.H if p.width > p.H else 0):
        target[p.H + h] = (<const floating *> g.carry)[(row * p.H + h) * L + l]


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
        write_states(p, c, &g, first, n, <floating *> c.S)
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
