# Workspace: the memory of a call.
#
# `lay_out` lays out the arrays of one thread, `lay_out_shared` those that all shards share. The same code counts the bytes
# (base is NULL) and assigns the pointers, so an estimate of memory cannot differ from the real layout. A new array needs one
# field and one line in the function; nothing else in the engine may allocate numbers.
#
# ld is a leading dimension: the distance between rows, in numbers. ldi, ldh, ldo and ldk are I, H, O and K, padded to whole
# vectors. plan.pxi explains the letters, batching.pxi the terms row, shard, block, run, packed, segment, border and window.

cdef struct Shared:
    # What the shards of a call share.
    Py_ssize_t shards, rows      #                   number of shards; rows (sequences) of each, the last may have fewer
    Py_ssize_t bytes             #                   size of one thread's workspace
    char *workspaces             # (threads, bytes)
    Py_ssize_t saved             #                   bytes per shard of the saved arrays, if they lie in external memory
    bint factored                #                   nothing reads W_s: the call computes by M and N (low_rank.pxi)
    Py_ssize_t length            #                   length of a gradient: effective, or P if `factored`
    void *gradient               # (length,)         ∂E/∂ the effective parameters; with `length` = P the call's gradient
    void *partials               # (shards, length)  gradient of each shard; a single shard writes to `gradient`
    double *totals               # (shards,)         Σ m e
    double *squares              # (shards,)         Σ S²; absent without a penalty on rates
    double *omega_sums           # (shards,)         sum of Ω; absent without omega, like the next two
    Py_ssize_t *omega_rows       # (shards,)         rows in that sum
    void *omega_slopes           # (shards, H, H)    derivative of that sum with respect to W_s
    void *theta                  # (effective,)      effective parameters; absent without parametrizations and W_s
    void *product                # (gates H, ldh)    W_s or its gradient; absent if nothing reads W_s = M N.T, like the next two
    void *factor                 # (gates H, ldr)    M or its gradient
    void *packed_factor          # (R, ldh) or (H, ldr)  N.T or N, packed
    void *P_x                    # (I, gates ldh)    W_x.T, packed for forward; for token ids a table with one row per id
    void *P_s                    # (H, gates ldh)    W_s.T, packed for forward; absent if steps go by M and N
    void *P_y                    # (H, ldo)          W_y.T, packed for forward
    void *Q_x                    # (gates ldh, ldi)  W_x, packed for backward
    void *Q_s                    # (gates H, ldh)    W_s, packed for backward; absent if `factored`
    void *N                      # (H, ldr)          N, packed for forward; absent unless steps go by M and N, like the next
    void *M_T                    # (R, ldh)          M.T, packed for forward
    void *M                      # (H, ldr)          M, packed for backward; absent unless `factored`, like the next
    void *N_T                    # (R, ldh)          N.T, packed for backward
    void *Q_y                    # (O, ldh)          W_y, packed for backward
    void *biases                 # (gates ldh,)      b_s, one block per slot; absent if there is one gate, like the next
    void *b_n                    # (ldh,)            b_n, or zeros
    void *leaks                  # (ldh,)            the leak of each unit; NULL if all are equal, like the next two
    void *keeps                  # (ldh,)            1 - leak
    double *noise_scales         # (H,)              standard deviation of each unit's noise
    void *by_slots               # (gates ldh, I or H)  a weight matrix, one block of rows per slot, before it is packed


cdef struct Workspace:
    # The memory of one thread, for the shard that it works on.
    #
    # An array is either saved from forward to backward, or scratch of one block. `kept` is the number of rows of all steps.
    # Fields from `carry` on belong to cells with a direct gradient (cells.pxi); `mask` belongs to dropout. A row of delta has a
    # block of ldh numbers for each slot (cells.pxi).
    const Shared *shared              #                                what the shards share
    Py_ssize_t rows                   #                                most rows of a block
    Py_ssize_t ldi, ldh, ldo, ldk     #                                leading dimensions
    Py_ssize_t ldr                    #                                R, padded
    Py_ssize_t ldd, lds               #                                those of delta (slots ldh) and of `saves` (saves ldh)
    Py_ssize_t saved                  #                                bytes of S, delta_y and `saves`, if they lie in external
                                      #                                memory
    Py_ssize_t origin                 #                                the shard's row with which delta_y, and S after its
                                      #                                first states, begin: that of the segment's first step
    void *S                           # saved   (B + kept, ldh)        the first states, then the rows of all steps; with
                                      #                                segments (B + segment_rows, ldh), if nothing is saved (B
                                      #                                + rows, ldh)
    void *delta_y                     # saved   (kept, ldo)            ∂E/∂Z, likewise; holds Z and Y on the way
    Py_ssize_t *first                 # saved   (most + 1,)            first row of each step, of a packed call
    Py_ssize_t *begins                # saved   (most + 1,)            first step of each block, of a packed call or with
                                      #                                windows
    void *X                           # scratch (rows, ldi)            inputs of a block
    void *D                           # scratch (rows, ldk)            targets of a block
    Py_ssize_t *labels                # scratch (rows,)                classes of a block
    void *weights                     # scratch (rows, weight_width)   weights of a block
    void *losses                      # scratch (rows,)                errors of a block
    void *delta                       # scratch (rows, ldd)            ∂E/∂ the pre-activations of a block
    void *delta_next                  # scratch (B, ldd)               delta of the step after the block
    Py_ssize_t segments               #                                number of segments
    Py_ssize_t *borders               # saved   (segments + 1,)        first step of each segment
    Py_ssize_t *border_blocks         # saved   (segments + 1,)        number of blocks before each segment
    void *border_states               # saved   (segments, carries, B, ldh)  carries before each segment
    void *first_delta                 # scratch (B, ldd)               delta of the first step, summed over windows
    Py_ssize_t *row_index             # scratch (rows,)                index of each row of a block in the caller's arrays
    Py_ssize_t indexed, indexed_until #                                begin and end of the steps that this index is for
    void *before                      # scratch (rows, ldh)            state before each step of a block
    void *initial                     # scratch (carries, ldh)         the carries that a reset brings
    void *after_resets                # scratch (carries, B, ldh)      rows of one step, some of which are reset; or (B, ldd)
    void *reset_sums                  # scratch (ldh,) double          Σ delta of the rows that are reset; (B, ldd) with a
                                      #                                direct gradient
    Py_ssize_t *error_rows            # scratch (rows,)                rows of a block that have an error
    Py_ssize_t *error_index           # scratch (rows,)                index of these rows in the caller's arrays
    void *R                           # scratch (rows, ldh)            their states, or ∂E/∂S
    void *table                       # scratch (I, gates ldh)         ∂E/∂W_x.T for token ids
    Py_ssize_t flow_errors            #                                number of errors that are followed back at a time
    void *flow_dS                     # scratch (flow_errors * B, ldd) ∂E_t/∂S of these errors
    void *flow_delta                  # scratch (flow_errors * B, ldd) their delta
    void *dS                          # scratch (rows, ldh)            ∂E/∂S of a block; absent without omega, like the next
                                      #                                two
    void *back                        # scratch (rows, ldh)            delta @ W_s of a block
    void *back_next                   # scratch (B, ldh)               delta @ W_s of the step after the block
    void *saves                       # saved   (kept, lds)            what the cell saves, in the order of S without the first
                                      #                                states
    void *carry                       # scratch (B + rows, ldh)        the second carry before a block and in the block
    void *dcarry                      # scratch (B, ldh)               gradient that goes back directly from the step after the
                                      #                                block, or to the first state
    void *first_dcarry                # scratch (B, ldh)               beside first_delta
    void *reset_dcarry_sums           # scratch (B, ldh) double        beside `reset_sums`
    void *old                         # scratch (2, ldh)               first carry of an earlier S_0, and zeros
    void *old_start_sums              # scratch (ldh,) double          gradient that goes back to the earlier S_0
    void *flow_dcarry                 # scratch (flow_errors * B, ldh) beside flow_delta
    void *mask                        # saved   (B, ldh)               dropout mask; NULL without dropout
    void *masked                      # scratch (2, B, ldh)            states times mask, and times a gate
    void *gated                       # scratch (rows, ldh)            the factor of a GATED product, of a block
    void *narrow                      # scratch (rows, ldr)            S @ N or delta @ M of a step or a block; absent unless
                                      #                                steps go by M and N
    double *leak_sums                 # scratch (ldh,)                 ∂E/∂leak_logit / (1 - leak); absent if leaks are not
                                      #                                trained, like all below
    void *leak_dS                     # scratch (rows, ldh)            ∂E/∂ the state after each step of a block
    void *leak_before                 # scratch (rows, ldh)            second carry before each step of a block
    void *leak_first                  # scratch (B, ldh)               second carry before the block's first step
    void *leak_noise                  # scratch (rows, ldh)            noise of a block


cdef void *take(char *base, Py_ssize_t *used, Py_ssize_t rows, Py_ssize_t ld, Py_ssize_t size) noexcept nogil:
    """Reserve rows * ld numbers of `size` bytes, starting at a multiple of 64 bytes.

    Adds their bytes to used[0]. Returns their address, or NULL if `base` is NULL.
    """
    cdef void *taken = base + used[0] if base != NULL else NULL
    used[0] += (rows * ld * size + 63) // 64 * 64
    return taken


cdef Py_ssize_t lay_out(const Plan *p, const Call *c, const Kernels *k, const floating *of, char *base,
                        Workspace *w) noexcept nogil:
    """Assign the arrays of a shard one after another from `base` on, and return the bytes that they need.

    If `base` is NULL, only the bytes are counted. `of` is never read: its type selects float32 or float64.
    """
    cdef Py_ssize_t used = 0, external = 0, kept, size = sizeof(floating), word = sizeof(Py_ssize_t), B = c.rows
    cdef const CellRow *cell = cell_of(c)
    w.mask = w.gated = w.carry = w.dcarry = w.leak_dS = NULL
    w.ldr = padded(k, p.rank, of) if factored(p) else 0
    w.indexed = w.indexed_until = 0
    w.ldi, w.ldh = 0 if p.one_hot or not p.recurs else padded(k, p.I, of), padded(k, p.H, of)
    w.ldo, w.ldk = padded(k, p.O, of), padded(k, c.error.K, of) if p.reads else 0
    w.ldd, w.lds = cell.slots * w.ldh, cell.saves * w.ldh
    w.rows = BLOCK_BYTES // ((w.ldi + (1 + cell.slots + (1 if c.packed else 0) + (1 if c.sparse else 0) + cell.saves
                                       + cell.carries - 1) * w.ldh + w.ldo + w.ldk + w.ldr) * size)
    if ((w.ldi + (2 * w.ldr if factored(p) else w.ldh)) * cell.gates + w.ldo) * w.ldh * size > 4 * BLOCK_BYTES:
        # Each block reads all weights and updates the whole gradient, so longer blocks save memory traffic.
        # Time relative to blocks of one step: 0.94 for 64,100,256,512,256, 0.91 for 256,20,300,300,300
        # (float32, Intel Sapphire Rapids, 2026-11).
        w.rows = max(w.rows, BLOCK_ROWS)
    if c.packed:
        w.rows = max(B, min(w.rows, c.kept))
    else:
        w.rows = max(1, min(w.rows // max(B, 1), c.most)) * B
    kept = w.rows
    if c.segments > 0:
        kept = max(w.rows, c.segment_rows)
    elif c.saves and not c.precomputed:
        kept = steps_of_a_shard(c)
    w.S = take(c.saved if c.external else base, &external if c.external else &used, B + kept, w.ldh, size)
    w.delta_y = take(c.saved if c.external else base, &external if c.external else &used, kept, w.ldo, size)
    if cell.saves > 0:
        w.saves = take(c.saved if c.external else base, &external if c.external else &used, kept, w.lds, size)
    w.saved = external
    w.X = take(base, &used, w.rows, w.ldi, size)
    w.D = take(base, &used, w.rows, w.ldk, size)
    w.labels = <Py_ssize_t *> take(base, &used, w.rows if c.labels != NULL else 0, 1, word)
    w.weights = take(base, &used, w.rows, c.weight_width, size)
    w.losses = take(base, &used, w.rows if c.losses != NULL else 0, 1, size)
    w.delta = take(base, &used, w.rows, w.ldd, size)
    w.delta_next = take(base, &used, B, w.ldd, size)
    if c.packed:
        w.first = <Py_ssize_t *> take(base, &used, c.most + 1, 1, word)
        w.initial = take(base, &used, cell.carries, w.ldh, size)
        w.after_resets = take(base, &used, max(cell.carries, cell.slots) * B, w.ldh, size)
        w.reset_sums = take(base, &used, B if cell.direct else 1, w.ldd, sizeof(double))
    if c.packed or c.dropout > 0:
        w.before = take(base, &used, w.rows, w.ldh, size)
    if c.packed or c.k1 > 0:
        w.begins = <Py_ssize_t *> take(base, &used, c.most + 1, 1, word)
    if c.packed or p.one_hot or p.reverse:
        w.row_index = <Py_ssize_t *> take(base, &used, w.rows + MORE, 1, word)
    if c.k1 > 0:
        w.first_delta = take(base, &used, B, w.ldd, size)
    if c.segments > 0:
        w.borders = <Py_ssize_t *> take(base, &used, c.segments + 1, 1, word)
        w.border_blocks = <Py_ssize_t *> take(base, &used, c.segments + 1, 1, word)
        w.border_states = take(base, &used, c.segments * cell.carries * B, w.ldh, size)
    if c.sparse:
        w.error_rows = <Py_ssize_t *> take(base, &used, w.rows, 1, word)
        w.error_index = <Py_ssize_t *> take(base, &used, w.rows, 1, word)
        w.R = take(base, &used, w.rows, w.ldh, size)
    if p.one_hot:
        w.table = take(base, &used, p.I, cell.gates * w.ldh, size)
    if c.flow != NULL:
        w.flow_errors = max(1, min(c.flow_end - c.flow_begin, BLOCK_BYTES // (2 * max(B, 1) * w.ldd * size)))
        w.flow_dS = take(base, &used, w.flow_errors * B, w.ldd, size)
        w.flow_delta = take(base, &used, w.flow_errors * B, w.ldd, size)
    if c.omega != 0:
        w.dS = take(base, &used, w.rows, w.ldh, size)
        w.back = take(base, &used, w.rows, w.ldh, size)
        w.back_next = take(base, &used, B, w.ldh, size)
    if cell.direct:
        w.carry = take(base, &used, B + w.rows if cell.carries > 1 else 0, w.ldh, size)
        w.dcarry = take(base, &used, B, w.ldh, size)
        w.first_dcarry = take(base, &used, B if c.k1 > 0 else 0, w.ldh, size)
        w.flow_dcarry = take(base, &used, w.flow_errors * B if c.flow != NULL else 0, w.ldh, size)
        w.mask = take(base, &used, B, w.ldh, size) if c.dropout > 0 else NULL
        w.masked = take(base, &used, 2 * B if c.dropout > 0 or cell.product == GATED else 0, w.ldh, size)
        w.gated = take(base, &used, w.rows, w.ldh, size) if cell.product == GATED else NULL
        if c.packed:
            w.reset_dcarry_sums = take(base, &used, B, w.ldh, sizeof(double))
            w.old = take(base, &used, 2, w.ldh, size)
            w.old_start_sums = take(base, &used, 1, w.ldh, sizeof(double))
    if factored(p):
        w.narrow = take(base, &used, w.rows, w.ldr, size)
    if p.leak_logit >= 0 and c.gradient != NULL:
        w.leak_sums = <double *> take(base, &used, 1, w.ldh, sizeof(double))
        w.leak_dS = take(base, &used, w.rows, w.ldh, size)
        w.leak_before = take(base, &used, w.rows if cell.carries > 1 else 0, w.ldh, size)
        w.leak_first = take(base, &used, B if cell.carries > 1 else 0, w.ldh, size)
        w.leak_noise = take(base, &used, w.rows if p.noise > 0 else 0, w.ldh, size)
    return used


cdef bint countable(const Plan *p, const Call *c) noexcept nogil:
    """Return whether the sizes that `lay_out` computes stay far below the limit of Py_ssize_t."""
    return 32.0 * (c.T + 2) * (c.B + 1) * (p.I + 16 * p.H + p.O + c.error.K) + (
        128.0 if p.rank > 0 else 64.0) * p.effective <= 2.0**62


cdef Py_ssize_t lay_out_shared(const Plan *p, const Call *c, const Kernels *k, const floating *of, char *base, int threads,
                               Shared *shared) noexcept nogil:
    """Assign what the shards share, and one workspace per thread, from `base` on, and return the bytes that they need.

    If `base` is NULL, only the bytes are counted. `of` is never read: its type selects float32 or float64.
    """
    cdef Py_ssize_t used = 0, size = sizeof(floating), gates = p.gates
    cdef Py_ssize_t ldi = padded(k, p.I, of), ldh = padded(k, p.H, of), ldo = padded(k, p.O, of), ldr
    cdef Workspace w
    shared.rows = c.rows
    shared.shards = shards_of(c)
    shared.P_x = take(base, &used, p.I, gates * ldh, size)
    shared.factored = factored_back(p, c)
    shared.length = p.P if shared.factored else p.effective
    shared.P_s = take(base, &used, 0 if factored(p) else p.H, gates * ldh, size)
    shared.P_y = take(base, &used, p.H, ldo, size)
    shared.Q_x = take(base, &used, gates * ldh if gates > 1 else p.H, ldi, size)
    shared.Q_s = take(base, &used, 0 if shared.factored else gates * p.H, ldh, size)
    shared.Q_y = take(base, &used, p.O, ldh, size)
    if gates > 1:
        shared.biases = take(base, &used, gates, ldh, size)
        shared.b_n = take(base, &used, 1, ldh, size)
        shared.by_slots = take(base, &used, gates * ldh, max(p.I, p.H), size)
    shared.leaks = shared.keeps = NULL
    if separate_leaks(p):
        shared.leaks = take(base, &used, 1, ldh, size)
        shared.keeps = take(base, &used, 1, ldh, size)
        shared.noise_scales = <double *> take(base, &used, 1, p.H, sizeof(double))
    shared.totals = <double *> take(base, &used, shared.shards, 1, sizeof(double))
    if p.maps != NULL or shared.length > p.P:
        shared.theta = take(base, &used, 1, shared.length, size)
    if factored(p):
        ldr = padded(k, p.rank, of)
        shared.N = take(base, &used, p.H, ldr, size)
        shared.M_T = take(base, &used, p.rank, ldh, size)
        shared.M = take(base, &used, p.H if shared.factored else 0, ldr, size)
        shared.N_T = take(base, &used, p.rank if shared.factored else 0, ldh, size)
    if shared.length > p.P:
        ldr = padded(k, p.rank, of)
        shared.product = take(base, &used, gates * p.H, ldh, size)
        shared.factor = take(base, &used, gates * p.H, ldr, size)
        shared.packed_factor = take(base, &used, 1, max(p.rank * ldh, p.H * ldr), size)
    shared.gradient = c.gradient
    if c.gradient != NULL and shared.length > p.P:
        shared.gradient = take(base, &used, 1, shared.length, size)
    shared.partials = shared.gradient
    if c.gradient != NULL and shared.shards > 1:
        shared.partials = take(base, &used, shared.shards, shared.length, size)
    if c.rates != 0:
        shared.squares = <double *> take(base, &used, shared.shards, 1, sizeof(double))
    if c.omega != 0:
        shared.omega_sums = <double *> take(base, &used, shared.shards, 1, sizeof(double))
        shared.omega_rows = <Py_ssize_t *> take(base, &used, shared.shards, 1, sizeof(Py_ssize_t))
        shared.omega_slopes = take(base, &used, shared.shards, p.H * p.H, size)
    shared.bytes = lay_out(p, c, k, of, NULL, &w)
    shared.saved = w.saved
    shared.workspaces = <char *> take(base, &used, threads, shared.bytes, 1)
    return used
