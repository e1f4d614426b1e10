# Call: the arguments, results and intermediate sums of one call.
#
# Every operation of the engine fills a `Call` and passes it to `run` (run.pxi). Add a field here for a new argument or result;
# `make_shard` (batching.pxi) must then move its pointer to a shard's first sequence, if the array has an axis of sequences.
# plan.pxi explains the letters, batching.pxi the terms shard, packed, segment and window.

cdef struct Call:
    # Arguments, results and sums of one call, or of one shard of it.
    #
    # Void pointers have the network's real type. They are NULL if the array is absent. Arrays are time-major and C-contiguous.
    # The T axis of D, labels, weights, Y and losses is missing if outputs exist only at the last steps (`last`).
    #
    # In a shard's Call the pointers start at the shard's first sequence, unless the call is packed. B stays that of the whole
    # batch: it is the distance between time steps.
    int n_threads                #                     at most this many threads; 0: the default
    Py_ssize_t memory_limit      #                     most bytes of workspace, NO_LIMIT or AUTOMATIC
    bint input_gradient, initial_state_gradient  # return ∂E/∂X, ∂E/∂ the initial states
    Py_ssize_t T, B, rows        #                     steps, sequences of the whole batch, sequences of this shard (or of a
                                 #                     full shard)
    const void *theta            # (P,)                parameters
    const void *X                # (T, B, I)           inputs; NULL if ids are given
    const Py_ssize_t *ids        # (T, B)              token ids, in place of X
    const void *initial_state    # (B, width)
    const void *D                # (T, B, K)           targets; ∂E/∂Y or ∂E/∂S if error.loss is GIVEN
    const Py_ssize_t *labels     # (T, B)              classes, in place of D
    const void *weights          # (T, B[, K])         m, the weights of the errors
    Py_ssize_t weight_width      #                     0 (no weights), 1 or K
    double weight_scale          #                     power of two that multiplies the weights before anything else; mostly 1
    double unscale               #                     factor that `run` applies at the end to all results that are linear in
                                 #                     the weights; 0: none
    const Py_ssize_t *lengths    # (B,)                steps of each sequence
    const char *resets           # (T, B)              1: the state before this step is the network's own initial state
    Py_ssize_t k1, k2            #                     truncated BPTT: the errors of k1 steps go back k2 steps; 0: through all
                                 #                     steps
    Py_ssize_t past              #                     number of first steps whose states are given and which have no error
    const void *past_states      # (past, B, width)    their states; (T, B, width) if all states are precomputed
    const void *past_rates       # (past, B, saves H)  what the cell saved at these steps, likewise
    const void *past_S_0         # (old, width)        the S_0 that resets at the first `old` steps brought; later resets
                                 #                     bring theta's S_0
    Py_ssize_t old               #                     number of steps with an earlier S_0
    bint own_start               #                     initial_state is the network's own S_0 of that time
    bint reverse                 #                     as in Plan
    bint precomputed             #                     all states are precomputed: backward reads them block by block
    Units units                  #                     as in Plan, or the rate form with leak 1 for plain units with dropout
    double noise, input_noise, dropout  # as in Plan; 0 for a call without random numbers
    const double *noise_scales   # (H,)                standard deviation of each unit's noise, in place of noise; NULL if all
                                 #                     are equal
    unsigned long long noise_key, dropout_key  # keys of the random numbers
    unsigned int call            #                     number of this call for the random numbers
    Py_ssize_t first             #                     number of step X[0] for the random numbers
    const Py_ssize_t *numbers    # (B,)                numbers of the sequences for the random numbers; NULL: 0, 1, ...
    Py_ssize_t begin             #                     the shard's first sequence; 0 in a packed call
    bint has_saved               #                     an earlier call has saved everything but delta_y
    bint external                #                     the saved arrays lie in external memory
    char *saved                  #                     that memory, shard by shard
    ErrorOptions error           #                     as in Plan; error.scale is the scale of the reduction
    void *Y                      # (T, B, O)           outputs
    void *S                      # (T + 1, B, width)   states; S[0] holds the initial states
    void *R                      # (T, B, saves H)     rates of leaky units, or what the cell saves
    bint rates_of_saved          #                     R receives the rates also where the cell saves the pre-activations
    void *final_state            # (B, width)          states after each sequence's last step
    void *losses                 # (T, B)              errors e, not weighted
    void *gradient               # (P,)                ∂E/∂theta
    void *dX                     # (T, B, I)           ∂E/∂X
    void *dS_0                   # (B, width)          ∂E/∂ the initial states
    void *terms_W_s              # (T, gates H, H)     what each step contributes to ∂E/∂W_s
    void *terms_M                # (T, gates H, R)     likewise of a low rank; zeros at first, like the next
    void *terms_N                # (T, H, R)
    void *terms_W_x              # (T, gates H, I)     what each step contributes to ∂E/∂W_x
    void *terms_W_y              # (O, H)              ∂E/∂W_y; zeros at first
    void *terms_S                # (T, B, width)       ∂E/∂S of each step
    void *flow                   # (errors, T)         ‖∂E_t/∂S_i‖ of the errors of steps flow_begin ... flow_end; zeros at
                                 #                     first
    void *flow_whole             # (T,)                ‖∂E/∂S_i‖ of all errors; zeros at first
    void *flow_carry             # (errors, T)         likewise of the second carry, if the public state has both
    void *flow_carry_whole       # (T,)
    Py_ssize_t flow_begin, flow_end  # the steps whose errors are followed back
    double total                 #                     Σ m e
    double penalty               #                     sum of the penalties, in a call with a gradient
    double rates                 #                     rate_penalty / number of rates; 0 without this penalty
    double omega                 #                     factor of Ω; 0 without this penalty
    bint drops_noise             #                     set ∂E/∂S to 0 where it is only rounding noise, judged by the three
                                 #                     norms below
    double norm_W_x, norm_W_s, norm_W_y  # Frobenius norms
    double squares               #                     Σ S², with a penalty on rates
    double omega_sum             #                     Σ (‖δ W_s‖ / ‖∂E/∂S‖ - 1)² over rows, with omega
    Py_ssize_t omega_rows        #                     number of these rows
    void *omega_slope            # (H, H)              derivative of that sum with respect to W_s
    bint last                    #                     as in Plan
    bint sparse                  #                     errors are sparse: only some rows have one
    bint saves                   #                     keep S for backward
    bint polls                   #                     this thread polls for Ctrl-C; only the calling thread does
    double *polled               #                     time of that thread's last poll, or NEVER
    volatile int *stop           #                     set once Ctrl-C came
    bint packed                  #                     the call is packed; `count` and `pack_sequences` set this and all below
    Py_ssize_t sequences         #                     number of sequences that have a step
    Py_ssize_t most              #                     length of the longest sequence
    Py_ssize_t steps             #                     sum of the lengths
    Py_ssize_t kept              #                     rows of the largest shard, summed over its steps
    Py_ssize_t segments          #                     most segments of a call that recomputes states; else 0
    Py_ssize_t segment_rows      #                     most rows of a segment
    const Py_ssize_t *order      # (sequences,)        sequences shard by shard, each shard's longest first; NULL if the call
                                 #                     is not packed
    const Py_ssize_t *batch_sizes  # (most + 1,) number of sequences with more than t steps
