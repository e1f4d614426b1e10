# Plan: what the networks are, what a call is, and where the arrays of one group of lanes lie.
#
# Add the field of a new option to `Plan`, and what changes from call to call to `Call`. `lay_out` alone places arrays.
# The module's docstring in _population.pyx explains group, lane and the letters.

cdef struct Plan:
    # The configuration of all networks. Offsets are into theta; -1 if the networks do not have the parameter.
    Py_ssize_t I, H, O, K, P
    Py_ssize_t width             # length of a public state: H, or 2 H
    Py_ssize_t W_x, W_s, b_s, b_n, W_y, b_y, S_0
    Units units                  # activation and cell
    const CellRow *cell          # the cell's row in the table
    bint mean
    ErrorOptions error


cdef struct Call:
    # The data of one call and where it puts its results. `own_...` is true if an array has a leading axis of n networks;
    # otherwise all networks share the array. Absent arrays are NULL.
    Py_ssize_t n, N, T, B
    void *theta                  # (P, N)
    const void *X                # (T, B, I)
    const void *D                # (T, B, K)
    const void *weights          # (T, B) or (T, B, K)
    int weight_width             # 0, 1 or K
    const double *unscale        # (n,), 1 / the scale of each network's weights, to undo `scale_weights`; NULL: not scaled
    const void *initial_state    # (B, width)
    const Py_ssize_t *lengths    # (B,)
    bint own_X, own_D, own_weights, own_initial_state, own_lengths
    void *Y                      # (n, T, B, O)
    void *S                      # (n, T + 1, B, width)
    void *final_state            # (n, B, width)
    void *losses                 # (n, T, B)
    void *gradient               # (P, N)
    double *reduced              # (n,)
    bint bare                    # true: batches are copied from these data; no room for states, outputs and deltas


cdef struct Group:
    # The arrays of one group; each number is a vector of L lanes.
    void *theta                  # (P,)
    void *gradient               # (P,)
    void *S                      # (T + 1, B, H), what W_s and the output read: the first carry
    void *carry                  # (T + 1, B, H), the second carry, or NULL
    void *saves                  # (T, B, saves H), what the cell saves, or NULL
    void *gated                  # (T, B, H), the factor of a GATED product, or NULL
    void *Z                      # (T, B, O), first Z, then Y or delta_y
    void *delta                  # (T, B, slots H)
    void *dcarry                 # (B, H), the gradient that goes back directly, or NULL
    void *start                  # (B, width): the initial states of a call; then the gradient with respect to them
    void *X                      # (T, B, I), or the caller's array if it is shared
    void *D                      # (T, B, K), likewise
    void *weights                # (T, B, width), likewise
    void *ends                   # (B,), the lengths as real numbers, or NULL
    void *losses                 # (T, B), or NULL
    void *scale                  # (1,), the scale of the reduction: 1 / Σ m, or 1
    double *totals               # (L,), Σ m e
    double *weight               # (L,), Σ m
    double *unscale              # (L,), factor for all results that are linear in the weights; NULL: none


cdef void *take_bytes(char *base, Py_ssize_t *used, Py_ssize_t bytes) noexcept nogil:
    """Return the address of the next `bytes` bytes of a workspace, base + used, and advance `used` to the next multiple of 64.

    Return NULL if base is NULL, to count bytes only.
    """
    cdef void *taken = base + used[0] if base != NULL else NULL
    used[0] += (bytes + 63) // 64 * 64
    return taken


cdef Py_ssize_t lay_out(const Plan *p, const Call *c, const floating *dtype, char *base, Group *g) noexcept nogil:
    """Place the arrays of a group one after another from `base` on, set the pointers in `g`, and return the bytes they need.

    The call c says which arrays it needs. With base = NULL it only counts the bytes. `dtype` selects the type of the numbers;
    it is not read.
    """
    cdef Py_ssize_t used = 0, L = lane.lanes(kernels, dtype), size = L * sizeof(floating), rows = c.T * c.B
    memset(g, 0, sizeof(Group))
    g.theta = take_bytes(base, &used, p.P * size)
    g.gradient = take_bytes(base, &used, (p.P if c.gradient != NULL else 0) * size)
    if not c.bare:
        g.S = take_bytes(base, &used, (rows + c.B) * p.H * size)
        g.carry = take_bytes(base, &used, (rows + c.B) * p.H * size) if p.cell.carries > 1 else NULL
        # cells of several gates compute in `saves`; the others save only what the derivative of g1 reads
        if p.cell.gates > 1 or c.gradient != NULL and p.cell.saves > 0:
            g.saves = take_bytes(base, &used, rows * p.cell.saves * p.H * size)
        g.gated = take_bytes(base, &used, rows * p.H * size) if p.cell.product == GATED else NULL
        g.Z = take_bytes(base, &used, rows * p.O * size)
        g.delta = take_bytes(base, &used, (rows * p.cell.slots * p.H if c.gradient != NULL else 0) * size)
        g.dcarry = take_bytes(base, &used, c.B * p.H * size) if p.cell.gates > 1 else NULL
        g.start = take_bytes(base, &used, c.B * p.width * size)
    g.X = take_bytes(base, &used, rows * p.I * size) if c.own_X else <void *> c.X
    g.D = take_bytes(base, &used, rows * p.K * size) if c.own_D else <void *> c.D
    g.weights = take_bytes(base, &used, rows * c.weight_width * size) if c.own_weights else <void *> c.weights
    g.ends = take_bytes(base, &used, c.B * size) if c.lengths != NULL else NULL
    g.losses = take_bytes(base, &used, rows * size) if c.losses != NULL else NULL
    g.scale = take_bytes(base, &used, size)
    g.totals = <double *> take_bytes(base, &used, L * sizeof(double))
    g.weight = <double *> take_bytes(base, &used, L * sizeof(double))
    g.unscale = <double *> take_bytes(base, &used, L * sizeof(double)) if c.unscale != NULL and not p.mean else NULL
    return used
