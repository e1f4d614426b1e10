# Workspace: the memory of a call. `lay_out` alone assigns it, and counts it when base is NULL.

cdef struct Shared:
    # What the shards of a call share.
    Py_ssize_t shards, rows      # of a shard, but for the last
    Py_ssize_t bytes             # of a thread's workspace
    char *workspaces             # (threads, bytes)
    Py_ssize_t saved             # bytes of a shard, where they lie apart
    void *partials               # (shards, P), the gradients; of a single shard it is the call's
    double *totals               # (shards,), Σ m e
    double *squares              # (shards,), Σ S²; absent without a penalty on rates
    double *spreads              # (shards,), absent without omega, as the next two
    Py_ssize_t *spread_rows      # (shards,)
    void *spread_slopes          # (shards, H, H)
    void *theta                  # (P,), the effective parameters; absent without maps
    void *P_x                    # (I, ldh), packed for forward, as the next two; where inputs are ids a table of rows
    void *P_s                    # (H, ldh)
    void *P_y                    # (H, ldo)
    void *Q_x                    # (H, ldi), packed for backward, as the next two
    void *Q_s                    # (H, ldh)
    void *Q_y                    # (O, ldh)


cdef struct Workspace:
    Py_ssize_t rows                            # of a block, at most
    Py_ssize_t ldi, ldh, ldo, ldk
    Py_ssize_t saved                           # bytes of S and delta_y, where they lie apart
    Py_ssize_t origin                          # the row of `kept` that S and delta_y begin with: of the segment's first step
    void *S                                    # saved   (B + kept, ldh): the first states, then the steps' rows; or
                                               #         (B + segment_rows, ldh); where nothing is saved (B + rows, ldh)
    void *delta_y                              # saved   (kept, ldo), likewise; holds Z and Y on the way
    Py_ssize_t *first                          # saved   (most + 1,), the steps' first rows, of an arranged call
    Py_ssize_t *begins                         # saved   (most + 1,), the blocks' first steps, likewise or of windows
    void *X                                    # scratch (rows, ldi)
    void *D                                    # scratch (rows, ldk)
    Py_ssize_t *labels                         # scratch (rows,)
    void *weights                              # scratch (rows, weight_width)
    void *losses                               # scratch (rows,)
    void *delta                                # scratch (rows, ldh)
    void *later                                # scratch (B, ldh), delta of the step after the block
    Py_ssize_t segments                        # that there are
    Py_ssize_t *borders                        # saved   (segments + 1,), their first steps
    Py_ssize_t *border_blocks                  # saved   (segments + 1,), the blocks before them
    void *border_states                        # saved   (segments, B, ldh), the states before them
    void *first_delta                          # scratch (B, ldh), delta of the first step, summed over windows
    Py_ssize_t *places                         # scratch (rows,), of a block's rows in the caller's arrays
    Py_ssize_t placed, placed_until            # the steps whose rows' places these are
    void *before                               # scratch (rows, ldh), a block's states before each step
    void *initial                              # scratch (ldh,), the state that a reset brings back
    void *renewed                              # scratch (B, ldh), rows of one step of which some are reset
    void *dropped                              # scratch (ldh,) double, Σ delta of the rows reset; of leaky units (B, ldh)
    Py_ssize_t *at                             # scratch (rows,), rows of a block that have an error
    Py_ssize_t *outputs                        # scratch (rows,), their places in the caller's arrays
    void *R                                    # scratch (rows, ldh), their states, or ∂E/∂S
    void *table                                # scratch (I, ldh), ∂E/∂W_x of ids, transposed
    Py_ssize_t flow_errors                     # followed back at a time
    void *flow_dS                              # scratch (flow_errors * B, ldh)
    void *flow_delta                           # scratch (flow_errors * B, ldh)
    void *dS                                   # scratch (rows, ldh), ∂E/∂S of a block; absent without omega, as the next two
    void *back                                 # scratch (rows, ldh), delta @ W_s of a block
    void *later_back                           # scratch (B, ldh), that of the step after the block
    # Of leaky units
    void *other                                # saved   rate form: the rates, as S without the first states
                                               # scratch current form: (B + rows, ldh), the states before a block and its own
    void *border_others                        # saved   (segments, B, ldh), beside border_states, of the current form
    void *dU                                   # scratch (B, ldh), ∂E/∂ the states of the step after the block, or of the first
    void *first_dU                             # scratch (B, ldh), beside first_delta
    void *initial_other                        # scratch (ldh,), beside `initial`, of the current form
    void *renewed_other                        # scratch (B, ldh), beside `renewed`
    void *dropped_dU                           # scratch (B, ldh), beside `dropped`
    void *old                                  # scratch (2, ldh), an earlier S_0's rates, and zeros; of the current form
    void *old_dropped                          # scratch (ldh,) double, what goes back to earlier S_0
    void *flow_dU                              # scratch (flow_errors * B, ldh)
    void *mask                                 # saved   (B, ldh), of dropout; NULL without it
    void *masked                               # scratch (B, ldh)


cdef void *take(char *base, Py_ssize_t *used, Py_ssize_t rows, Py_ssize_t ld, Py_ssize_t size) noexcept nogil:
    """The next rows * ld numbers of the workspace, from a multiple of 64 bytes on."""
    cdef void *taken = base + used[0] if base != NULL else NULL
    used[0] += (rows * ld * size + 63) // 64 * 64
    return taken


cdef Py_ssize_t lay_out(const Plan *p, const Call *c, const Kernels *k, const floating *of, char *base,
                        Workspace *w) noexcept nogil:
    """Put the arrays of a shard one after another from `base` on (NULL: count only); the bytes they need."""
    cdef Py_ssize_t used = 0, apart = 0, kept, size = sizeof(floating), word = sizeof(Py_ssize_t), B = c.rows
    cdef bint leaky = c.units.form != PLAIN
    w.mask = NULL
    w.placed = w.placed_until = 0
    w.ldi, w.ldh = 0 if p.one_hot or not p.recurs else padded(k, p.I, of), padded(k, p.H, of)
    w.ldo, w.ldk = padded(k, p.O, of), padded(k, c.error.K, of) if p.reads else 0
    w.rows = BLOCK_BYTES // ((w.ldi + (2 + (1 if c.arranged else 0) + (1 if c.picks else 0) + (1 if leaky else 0)) * w.ldh
                              + w.ldo + w.ldk) * size)
    if (w.ldi + w.ldh + w.ldo) * w.ldh * size > 4 * BLOCK_BYTES:
        # All weights, and all of the gradient, pass by once a block. 64,100,256,512,256 takes 0.94 of the time of blocks of
        # one step, 256,20,300,300,300 0.91 (float32, Intel Sapphire Rapids, 2026-11)
        w.rows = max(w.rows, BLOCK_ROWS)
    if c.arranged:
        w.rows = max(B, min(w.rows, c.kept))
    else:
        w.rows = max(1, min(w.rows // max(B, 1), c.most)) * B
    kept = w.rows
    if c.segments > 0:
        kept = max(w.rows, c.segment_rows)
    elif c.saves and not c.given:
        kept = steps_of_a_shard(c)
    w.S = take(c.saved if c.apart else base, &apart if c.apart else &used, B + kept, w.ldh, size)
    w.delta_y = take(c.saved if c.apart else base, &apart if c.apart else &used, kept, w.ldo, size)
    w.saved = apart
    w.X = take(base, &used, w.rows, w.ldi, size)
    w.D = take(base, &used, w.rows, w.ldk, size)
    w.labels = <Py_ssize_t *> take(base, &used, w.rows if c.labels != NULL else 0, 1, word)
    w.weights = take(base, &used, w.rows, c.weight_width, size)
    w.losses = take(base, &used, w.rows if c.losses != NULL else 0, 1, size)
    w.delta = take(base, &used, w.rows, w.ldh, size)
    w.later = take(base, &used, B, w.ldh, size)
    if c.arranged:
        w.first = <Py_ssize_t *> take(base, &used, c.most + 1, 1, word)
        w.initial = take(base, &used, 1, w.ldh, size)
        w.renewed = take(base, &used, B, w.ldh, size)
        w.dropped = take(base, &used, B if leaky else 1, w.ldh, sizeof(double))
    if c.arranged or c.dropout > 0:
        w.before = take(base, &used, w.rows, w.ldh, size)
    if c.arranged or c.k1 > 0:
        w.begins = <Py_ssize_t *> take(base, &used, c.most + 1, 1, word)
    if c.arranged or p.one_hot or p.reverse:
        w.places = <Py_ssize_t *> take(base, &used, w.rows + MORE, 1, word)
    if c.k1 > 0:
        w.first_delta = take(base, &used, B, w.ldh, size)
    if c.segments > 0:
        w.borders = <Py_ssize_t *> take(base, &used, c.segments + 1, 1, word)
        w.border_blocks = <Py_ssize_t *> take(base, &used, c.segments + 1, 1, word)
        w.border_states = take(base, &used, c.segments * B, w.ldh, size)
    if c.picks:
        w.at = <Py_ssize_t *> take(base, &used, w.rows, 1, word)
        w.outputs = <Py_ssize_t *> take(base, &used, w.rows, 1, word)
        w.R = take(base, &used, w.rows, w.ldh, size)
    if p.one_hot:
        w.table = take(base, &used, p.I, w.ldh, size)
    if c.flow != NULL:
        w.flow_errors = max(1, min(c.flow_end - c.flow_begin, BLOCK_BYTES // (2 * max(B, 1) * w.ldh * size)))
        w.flow_dS = take(base, &used, w.flow_errors * B, w.ldh, size)
        w.flow_delta = take(base, &used, w.flow_errors * B, w.ldh, size)
    if c.omega != 0:
        w.dS = take(base, &used, w.rows, w.ldh, size)
        w.back = take(base, &used, w.rows, w.ldh, size)
        w.later_back = take(base, &used, B, w.ldh, size)
    if leaky:
        w.other = take(base, &used, kept if c.units.form == RATE else B + w.rows, w.ldh, size)
        w.dU = take(base, &used, B, w.ldh, size)
        w.border_others = take(base, &used, c.segments * B, w.ldh, size)
        w.first_dU = take(base, &used, B if c.k1 > 0 else 0, w.ldh, size)
        w.flow_dU = take(base, &used, w.flow_errors * B if c.flow != NULL else 0, w.ldh, size)
        w.mask = take(base, &used, B, w.ldh, size) if c.dropout > 0 else NULL
        w.masked = take(base, &used, B if c.dropout > 0 else 0, w.ldh, size)
        if c.arranged:
            w.initial_other = take(base, &used, 1, w.ldh, size)
            w.renewed_other = take(base, &used, B, w.ldh, size)
            w.dropped_dU = take(base, &used, B, w.ldh, sizeof(double))
            w.old = take(base, &used, 2, w.ldh, size)
            w.old_dropped = take(base, &used, 1, w.ldh, sizeof(double))
    return used


cdef bint countable(const Plan *p, const Call *c) noexcept nogil:
    """Whether `lay_out` may count in Py_ssize_t, being far from overflow."""
    return 32.0 * (c.T + 2) * (c.B + 1) * (p.I + 3 * p.H + p.O + c.error.K) + 64.0 * p.P <= 2.0**62


cdef Py_ssize_t share_out(const Plan *p, const Call *c, const Kernels *k, const floating *of, char *base, int threads,
                          Shared *shared) noexcept nogil:
    """Lay out what the shards share, and a workspace for each thread, from `base` on (NULL: count only); the bytes."""
    cdef Py_ssize_t used = 0, size = sizeof(floating)
    cdef Py_ssize_t ldi = padded(k, p.I, of), ldh = padded(k, p.H, of), ldo = padded(k, p.O, of)
    cdef Workspace w
    shared.rows = c.rows
    shared.shards = shards_of(c)
    shared.P_x = take(base, &used, p.I, ldh, size)
    shared.P_s = take(base, &used, p.H, ldh, size)
    shared.P_y = take(base, &used, p.H, ldo, size)
    shared.Q_x = take(base, &used, p.H, ldi, size)
    shared.Q_s = take(base, &used, p.H, ldh, size)
    shared.Q_y = take(base, &used, p.O, ldh, size)
    shared.totals = <double *> take(base, &used, shared.shards, 1, sizeof(double))
    if p.maps != NULL:
        shared.theta = take(base, &used, 1, p.P, size)
    shared.partials = c.gradient
    if c.gradient != NULL and shared.shards > 1:
        shared.partials = take(base, &used, shared.shards, p.P, size)
    if c.rates != 0:
        shared.squares = <double *> take(base, &used, shared.shards, 1, sizeof(double))
    if c.omega != 0:
        shared.spreads = <double *> take(base, &used, shared.shards, 1, sizeof(double))
        shared.spread_rows = <Py_ssize_t *> take(base, &used, shared.shards, 1, sizeof(Py_ssize_t))
        shared.spread_slopes = take(base, &used, shared.shards, p.H * p.H, size)
    shared.bytes = lay_out(p, c, k, of, NULL, &w)
    shared.saved = w.saved
    shared.workspaces = <char *> take(base, &used, threads, shared.bytes, 1)
    return used
