# Call: what one call has and wants. Every operation fills one and passes it to `run`.

cdef struct Call:
    # What one call is given and where it puts its results; void pointers are of the network's real type, NULL where
    # a thing is absent. Time-major and C-contiguous; T is missing where the network's output is that of the last step.
    # Of a shard: rows is the number of its sequences; the pointers are moved on to the first of them, unless the call is
    # arranged, and B, the whole batch's, stays the distance of time steps.
    Py_ssize_t T, B, rows
    const void *theta            # (P,)
    const void *X                # (T, B, I)
    const Py_ssize_t *ids        # (T, B), in place of X
    const void *initial_state    # (B, H)
    const void *D                # (T, B, K)
    const Py_ssize_t *labels     # (T, B)
    const void *weights          # (T, B) or (T, B, K)
    Py_ssize_t weight_width      # 0, 1 or K
    double weight_scale          # what weights are multiplied with before anything else: a power of two, mostly 1
    double unscale               # what all that is linear in them is multiplied with in the end; 0: nothing
    const Py_ssize_t *lengths    # (B,)
    const char *resets           # (T, B)
    Py_ssize_t k1, k2            # of truncated BPTT; 0 where errors go back through all steps
    Py_ssize_t past              # steps whose states are known, and which have no error
    const void *past_states     # (past, B, H), or where they are `given` (T, B, H)
    const void *past_rates      # likewise, of leaky units of the rate form
    const void *past_S_0         # (old, H), the S_0 that resets at the first `old` steps brought; later ones bring theta's
    Py_ssize_t old
    bint own_start               # initial_state is the S_0 of its time
    bint reverse                 # as of the plan
    bint given                   # all states are known: backward reads them block by block
    Units units
    double noise, input_noise, dropout  # as of the plan; 0 without draws
    unsigned long long noise_key, dropout_key
    unsigned int call
    Py_ssize_t first             # the step that X[0] is to the noise
    const Py_ssize_t *numbers    # (B,), which sequences these are to the noise; NULL: 0, 1, ...
    Py_ssize_t begin             # the first sequence of a shard, unless the call is arranged
    bint known                   # what is saved is there already, but for delta_y
    bint apart                   # what is saved lies in memory of its own
    char *saved                  # which this is, shard by shard
    ErrorOptions error
    void *Y                      # (T, B, O)
    void *S                      # (T + 1, B, H)
    void *R                      # (T, B, H), the rates of leaky units
    void *final_state            # (B, H)
    void *losses                 # (T, B)
    void *gradient               # (P,)
    void *dX                     # (T, B, I)
    void *dS_0                   # (B, H)
    void *terms_W_s              # (T, H, H)
    void *terms_W_x              # (T, H, I)
    void *terms_W_y              # (O, H), zeros
    void *terms_S                # (T, B, H)
    void *flow                   # (flow_end - flow_begin, T), zeros, as the next one
    void *flow_whole             # (T,)
    Py_ssize_t flow_begin, flow_end  # the steps whose errors are followed back
    double total                 # Σ m e
    double penalty               # where there is a gradient
    double rates                 # rate_penalty / how many rates there are; 0 where there is no such penalty
    double omega                 # 0 where there is no such penalty
    bint settles                 # what is only rounding noise in ∂E/∂S is 0; with the Frobenius norms of these:
    double norm_W_x, norm_W_s, norm_W_y
    double squares               # Σ S², where there is the first
    double spread                # Σ (‖δ W_s‖ / ‖∂E/∂S‖ - 1)², where there is the second,
    Py_ssize_t spread_rows       # of so many rows,
    void *spread_slope           # (H, H), and its derivative by W_s
    bint last                    # errors and outputs are those of each sequence's last step
    bint picks                   # errors stand on some steps only
    bint saves                   # S is kept for backward
    bint polls                   # for Ctrl-C: the thread that called does
    double *polled               # time of the last poll, of that thread alone, or NEVER
    volatile int *stop           # set once it came
    # What `count` and `arrange` find
    bint arranged
    Py_ssize_t sequences         # that have any step
    Py_ssize_t most              # steps of the longest
    Py_ssize_t steps             # of all together
    Py_ssize_t kept              # steps of the shard that has most, over all its sequences
    Py_ssize_t segments          # at most, of a call that computes states again; else 0
    Py_ssize_t segment_rows      # of a segment, at most
    const Py_ssize_t *order      # (sequences,), shard by shard, each shard's longest first; NULL where nothing is arranged
    const Py_ssize_t *alive      # (most + 1,), sequences of more than t steps
