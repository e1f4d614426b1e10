"""The C interface: train and run networks from other compiled packages. `from fastbptt cimport loss_and_gradients_f32, ...`

All functions take pointers and sizes. They use no Python object and no GIL, raise no exception, allocate no memory and start
no threads. They need no header but Cython's. The caller owns all memory and all threads. docs/embedding.md has an
overview and an example.

    plan    describes a network: sizes, activations, loss. Opaque, `plan_bytes()` bytes.
    batch   describes the data of one call: T, B, and pointers to arrays. Opaque, `batch_bytes()` bytes.
    theta   (P,) holds all parameters, one after another: W_x (H, I), W_s (H, H), b_s (H,), W_y (O, H), b_y (O,), S_0 (H,).
            Some cells, a rank and trained leaks have other parameters: see their setters. Parameters that the network does not
            have are left out. `plan_parameters` returns P. `plan_parameter_offset` returns where each parameter begins.
            Gradients have the same layout.
    saved   holds what `backward` needs from `forward`. It must live from one to the other. Opaque, `saved_bytes` bytes.
    scratch is working memory of one call, `scratch_bytes` bytes. Its content before and after the call does not matter.

Legend: T steps, B sequences, I inputs, H hidden units, O outputs, K targets a row: K = O, or O / levels with the quantile
loss. All arrays are C-contiguous and time-major. Their real type is the plan's. A function's ending names it: _f32 is float,
_f64 is double.

Rules for every function
    Status   An int result is a status: STATUS_OK, or a value below 0. A Py_ssize_t result is a size, or a status if it is
             below 0. `status_text` returns the message. After STATUS_OK the results are complete. After STATUS_STOPPED the
             outputs are undefined. After any other status no output has been written, and plan_set_... and batch_set_...
             have changed nothing.
    Checked  Each function checks its arguments before it writes anything: sizes, alignment of pointers, options, labels,
             ids, lengths, weights and overlap. C cannot check that a pointer points to enough memory, or that this memory
             is initialised.
    NULL     Not allowed, unless the function's comment allows it. An array of no numbers may be NULL.
    Aligned  Plans, batches, saved and scratch begin at multiples of 64 bytes. Arrays begin at multiples of the size of their
             numbers.
    Aliases  Memory that is written may not overlap any other memory of the call, unless the function's comment allows it.
             Memory that is only read may overlap other memory that is only read.
    Life     A plan and a batch keep the pointers that they are given and read them at each call. These arrays must live as
             long as the plan or the batch is used. Their content may change between calls. All other pointers are forgotten
             when a call returns. To dispose of a plan or a batch, free its memory. Both may be copied by memcpy within this
             process.
    Threads  Any number of threads may call at once. They may share a plan, a theta and a batch as long as no thread changes
             them. Each thread needs its own scratch, saved and outputs. Calls share no state, and a call starts no thread.
    NaN      Calls do not search for NaN, except in weights, where it is refused. NaN in a sequence's inputs stays in the
             outputs of that sequence.
    Bits     Results have the same bits as those of `RNN`'s methods for the same arguments on the same machine, with any
             n_threads. There is one exception: a truncated backward pass through a BLAS agrees only to rounding. There the
             bits of a row depend on the rows beside it.
"""

cdef enum:
    ABI = 2  # increases when programs that were compiled before would no longer work

    STATUS_OK = 0
    STATUS_STOPPED = -1           # the batch's stop flag was set
    STATUS_NULL = -2              # a required pointer is NULL
    STATUS_MISALIGNED = -3
    STATUS_OVERLAP = -4           # memory that is written overlaps other memory of the call
    STATUS_NOT_A_PLAN = -5        # plan_init_... did not fill it, or that of another version did
    STATUS_NOT_A_BATCH = -6
    STATUS_TYPE = -7              # function, plan and batch disagree: one has float, another double
    STATUS_SIZE = -8              # a size is out of range
    STATUS_TOO_LARGE = -9         # the number of bytes exceeds what can be addressed
    STATUS_MEMORY = -10           # plan, batch, saved or scratch has too few bytes
    STATUS_OPTION = -11           # there is no such option, operation or parameter
    STATUS_NUMBER = -12           # a number is NaN or out of range
    STATUS_COMBINATION = -13      # options, or an option and an argument, exclude each other
    STATUS_LENGTHS = -14          # a length is not from 0 to T (with OUTPUT_LAST: from 1 to T)
    STATUS_LABELS = -15           # a label that is read is not from 0 to O - 1
    STATUS_IDS = -16              # an id that is read is not from 0 to I - 1
    STATUS_WEIGHTS = -17          # a weight is negative or not finite, or a row has neither 1 weight nor K
    STATUS_RESETS = -18           # a reset is neither 0 nor 1
    STATUS_KERNELS = -19          # this build has no kernels without a BLAS, and the plan does not allow one
    STATUS_NOT_SAVED = -20        # forward with this plan and this batch did not fill saved

    REDUCTION_MEAN = 0            # E = Σ m e / Σ m over steps and sequences, with weights m; 0 if Σ m is 0
    REDUCTION_SUM = 1             # E = Σ m e

    OUTPUT_SEQUENCE = 0
    OUTPUT_LAST = 1

    PARAMETER_W_X = 0
    PARAMETER_W_S = 1
    PARAMETER_B_S = 2
    PARAMETER_W_Y = 3
    PARAMETER_B_Y = 4
    PARAMETER_S_0 = 5
    PARAMETER_B_N = 6             # of CELL_GRU only
    PARAMETER_LEAK_LOGIT = 7      # with plan_set_trained_leak only
    PARAMETER_M = 8               # with a rank only, in place of PARAMETER_W_S
    PARAMETER_N = 9

    FOR_FORWARD = 0               # operations, for scratch_bytes
    FOR_BACKWARD = 1
    FOR_LOSS = 2                  # loss_and_gradients without a gradient
    FOR_LOSS_AND_GRADIENTS = 3

include "kernels/constants.pxi"   # CELL_..., ACTIVATION_... and LOSS_...


# Return the ABI of the installed package. Compare it with ABI once: a program compiled with another ABI must not continue.
cdef int abi_version() noexcept nogil

# Return the message of a status. The text is static: it is never freed, and must not be.
cdef const char *status_text(int status) noexcept nogil


# ---- A plan
#
# plan   (plan_bytes(),) 64-byte-aligned memory of the caller. plan_init_... sets all of it, whatever its content was.
#
# Each setter may be called at any time before threads share the plan. Its value applies to all later calls. The layout of
# theta depends on the cell, the rank, the trained leak, the bias and the learnable initial state. Set these first. Then ask for
# the layout.

# Return the size of a plan in bytes.
cdef Py_ssize_t plan_bytes() noexcept nogil

# Make a plan in the `bytes` bytes at plan, for a network of I inputs, H hidden units and O outputs, each at least 1. The
# options begin as `RNN`'s defaults: plain cell, tanh, identity, squared error, mean, bias, no learnable initial state, an
# output at each step, no penalties, no truncation. STATUS_TOO_LARGE: more than 2**48 parameters.
cdef int plan_init_f32(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil
cdef int plan_init_f64(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil

# Set the cell, one of CELL_.... A cell has G gates: 1 (PLAIN, RATE, CURRENT), 3 (both forms of the GRU) or 4 (LSTM). W_x is
# (G H, I), W_s (G H, H) and b_s (G H,). The gates follow each other as r, z, n (GRU) and as i, f, g, o (LSTM).
# theta holds W_x W_s b_s b_n leak_logit W_y b_y S_0, in this order.
# A state has H numbers. That of the LSTM has 2 H, [h | c]: states, S_0 and dS_0 are then (B, 2 H) and (T+1, B, 2 H) where this
# file says (B, H) and (T+1, B, H).
cdef int plan_set_cell(void *plan, int cell) noexcept nogil

# Set the rank R of W_s, from 1 to H: W_s is the product of M (G H, R) and the transpose of N (H, R). theta then holds M and N
# in place of W_s: W_x M N b_s b_n leak_logit W_y b_y S_0. Each call computes W_s in scratch. With R = 0, the default, W_s is a
# parameter. STATUS_SIZE: R is below 0 or above H.
cdef int plan_set_rank(void *plan, Py_ssize_t rank) noexcept nogil

# Set the leak of CELL_RATE or CELL_CURRENT: one λ for all units, or leaks (n,) with n = H. Each is above 0 and at most 1. The
# default is 1. CELL_RATE computes S' = (1 - λ) S + λ g1(A). CELL_CURRENT computes S' = (1 - λ) S + λ A, and W_s and W_y read
# g1(S). The plan keeps the pointer `leaks`: the array must live, and must not change, as long as the plan is used. With another
# cell, calls return STATUS_COMBINATION for a leak below 1, for leaks of units and for trained leaks. Of plan_set_leak,
# plan_set_leaks and plan_set_trained_leak, the last call counts.
cdef int plan_set_leak(void *plan, double leak) noexcept nogil
cdef int plan_set_leaks(void *plan, const double *leaks, Py_ssize_t n) noexcept nogil

# Set whether leak_logit (H,) is a parameter of CELL_RATE or CELL_CURRENT (1) or not (0, then λ is 1). It determines
# λ = 1 / (1 + exp(-leak_logit)).
cdef int plan_set_trained_leak(void *plan, int trained) noexcept nogil

# Set the activation g1 of the hidden units: any ACTIVATION_... that is not of outputs only. With silu or gelu and a cell of
# several gates, calls return STATUS_COMBINATION.
cdef int plan_set_activation(void *plan, int activation) noexcept nogil

# Set the activation g2 of the outputs: ACTIVATION_IDENTITY, _SIGMOID, _TANH, _SOFTMAX or _EXP. It may be set before or after
# the loss: each call checks that the two fit together (STATUS_COMBINATION).
cdef int plan_set_output_activation(void *plan, int activation) noexcept nogil

# Set the loss: any LOSS_... except Huber and quantile, which have their own functions.
cdef int plan_set_loss(void *plan, int loss) noexcept nogil

# Set LOSS_HUBER: squared up to threshold > 0, linear above it.
cdef int plan_set_huber(void *plan, double threshold) noexcept nogil

# Set LOSS_QUANTILE with n levels, each between 0 and 1. O must be a multiple of n. Output l * K + k is level l of target k.
# The plan keeps the pointer levels (n,): the array must live, and not change, as long as the plan is used.
cdef int plan_set_quantile(void *plan, const double *levels, Py_ssize_t n) noexcept nogil

# Set the reduction: REDUCTION_MEAN or REDUCTION_SUM.
cdef int plan_set_reduction(void *plan, int reduction) noexcept nogil

# Set whether the network has biases b_s and b_y (1) or none (0).
cdef int plan_set_bias(void *plan, int bias) noexcept nogil

# Set whether the initial state S_0 (H,) is a parameter (1) or zero (0). A batch with an initial state does not use S_0,
# except at resets.
cdef int plan_set_learnt_initial_state(void *plan, int learnt) noexcept nogil

# Set where outputs are. OUTPUT_SEQUENCE: at each step; Y, D and dY are (T, B, ...), labels and weights (T, B).
# OUTPUT_LAST: at each sequence's last step; Y, D and dY are (B, ...), labels and weights (B,). With OUTPUT_LAST, drop the
# leading T from the shapes of these arrays in this file.
cdef int plan_set_output(void *plan, int output) noexcept nogil

# Set whether inputs are category indices (1) or X (0). Indices are ids (T, B), each of which stands for a one-hot vector.
# They are given by batch_set_ids in place of X.
cdef int plan_set_one_hot(void *plan, int one_hot) noexcept nogil

# Set the penalty l1 Σ |w| + l2 Σ w², without ½, of one parameter, PARAMETER_.... Both numbers are finite and at least 0. The
# penalty of a parameter that the network does not have is ignored.
cdef int plan_set_penalty(void *plan, int parameter, double l1, double l2) noexcept nogil

# Set truncated BPTT: every k1 steps, errors go back k2 steps (Williams and Peng 1990). Both are at least 1. With both 0,
# errors go back through all steps.
cdef int plan_set_truncation(void *plan, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil

# Set whether this plan may use kernels that call SciPy's BLAS (1) or not (0, the default). The process has such kernels in a
# build without vector types, or with FASTBPTT_SIMD=blas. If you allow a BLAS, limit it to one thread while any call runs
# (threadpoolctl can). Otherwise the bits of results depend on the BLAS threads. In addition, hundreds of threads inside a
# threaded OpenBLAS corrupt its heap.
cdef int plan_allow_blas(void *plan, int allowed) noexcept nogil

# Return STATUS_OK if the plan is ready, else the status that every call with it would return. It reads only the plan and its
# levels.
cdef int plan_check(const void *plan) noexcept nogil

# Return P, the length of theta.
cdef Py_ssize_t plan_parameters(const void *plan) noexcept nogil

# Return the index in theta at which PARAMETER_... begins, or STATUS_COMBINATION if the network does not have this parameter.
cdef Py_ssize_t plan_parameter_offset(const void *plan, int parameter) noexcept nogil

# Return the name of the plan's kernel set, a static text. Return NULL if there is no kernel set or this is not a plan.
cdef const char *plan_kernel_set(const void *plan) noexcept nogil


# ---- A batch
#
# batch  (batch_bytes(),) 64-byte-aligned memory of the caller. batch_init_... sets all of it. A batch keeps the pointer to
#        each array, and each call reads the array. A setter with NULL removes the array. Padding behind a sequence's length
#        is never read; it may contain NaN.

# Return the size of a batch in bytes.
cdef Py_ssize_t batch_bytes() noexcept nogil

# Make a batch of T steps of B sequences in the `bytes` bytes at batch. T and B are from 0 to 2**31 - 1.
# X      (T, B, I) inputs. NULL with ids.
cdef int batch_init_f32(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const float *X) noexcept nogil
cdef int batch_init_f64(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const double *X) noexcept nogil

# Replace the inputs.
# X      (T, B, I) inputs of the next calls.
cdef int batch_set_inputs_f32(void *batch, const float *X) noexcept nogil
cdef int batch_set_inputs_f64(void *batch, const double *X) noexcept nogil

# Set the category indices that are the inputs of a one-hot plan.
# ids    (T, B) indices from 0 to I - 1. NULL: none.
cdef int batch_set_ids(void *batch, const Py_ssize_t *ids) noexcept nogil

# Set the initial states.
# state  (B, H) the states before the first step. NULL, the default: S_0 if it is learnable, else zero.
cdef int batch_set_initial_state_f32(void *batch, const float *state) noexcept nogil
cdef int batch_set_initial_state_f64(void *batch, const double *state) noexcept nogil

# Set the targets. forward and backward do not read them.
# D      (T, B, K) targets; for cross entropy, probability distributions. NULL: none.
cdef int batch_set_targets_f32(void *batch, const float *D) noexcept nogil
cdef int batch_set_targets_f64(void *batch, const double *D) noexcept nogil

# Set class labels, which are the targets of cross entropy in place of D.
# labels (T, B) classes from 0 to O - 1. NULL: none.
cdef int batch_set_labels(void *batch, const Py_ssize_t *labels) noexcept nogil

# Set the weights of the errors. forward and backward do not read them. Targets of weight 0 are never read. A subnormal weight
# counts as 0.
# m      (T, B) if width is 1. (T, B, K) if width is K > 1, which cross entropy does not allow. Weights are finite and at
#        least 0. NULL, with width 0: all weights are 1.
cdef int batch_set_weights_f32(void *batch, const float *m, Py_ssize_t width) noexcept nogil
cdef int batch_set_weights_f64(void *batch, const double *m, Py_ssize_t width) noexcept nogil

# Set the lengths of the sequences.
# lengths (B,) number of steps of each sequence, from 0 to T, in any order. NULL: every sequence has T steps.
cdef int batch_set_lengths(void *batch, const Py_ssize_t *lengths) noexcept nogil

# Set where states are reset. At a reset, the state before the step is S_0 if it is learnable, else zero. Errors do not go back
# beyond it.
# resets (T, B) of 0 and 1; 1 is a reset. NULL: none.
cdef int batch_set_resets(void *batch, const char *resets) noexcept nogil

# Set a flag that stops a running call.
# stop   Another thread or a signal handler may set the flag to any value except 0 while a call runs. The call then returns
#        STATUS_STOPPED after at most about 25 ms. Calls read the flag between blocks of steps and never write it. NULL: none.
cdef int batch_set_stop(void *batch, const volatile int *stop) noexcept nogil


# ---- Memory
#
# saved_bytes and scratch_bytes read the plan and the batch: sizes, which arrays are set, and the values of lengths. Call them
# again when one of these changes. Other values do not matter. They take time proportional to B if there are lengths. Without
# lengths the time depends neither on T nor on B.

# Return the size of saved in bytes.
cdef Py_ssize_t saved_bytes(const void *plan, const void *batch) noexcept nogil

# Return the size of scratch in bytes for an operation, FOR_....
cdef Py_ssize_t scratch_bytes(const void *plan, const void *batch, int operation) noexcept nogil

# Return the size of scratch in bytes for step with B sequences.
cdef Py_ssize_t step_scratch_bytes(const void *plan, Py_ssize_t B) noexcept nogil


# ---- Operations
#
# scratch (scratch_bytes,) 64-byte-aligned memory of any content. Only one call may use it at a time.

# Compute outputs and states. It takes 2 T B H (I + H + O) flop. Each call also packs the weights, H (I + H + O) numbers.
# theta       (P,)        read.
# Y           (T, B, O)   written: outputs, 0 in padding. NULL: not wanted.
# S           (T+1, B, H) written: S[0] is the initial states, S[t+1] the states after X[t]; 0 in padding. NULL: not wanted.
# final_state (B, H)      written: the state after each sequence's last step. It may be the same array as the batch's initial
#                         state. NULL: not wanted.
# saved       (saved_bytes,) written, for backward. Until backward returns, saved, plan, batch, the batch's arrays and theta
#             must live and not change, except the values of the initial state. NULL, with 0 bytes: no backward will follow.
cdef int forward_f32(const void *plan, const void *batch, const float *theta, float *Y, float *S, float *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int forward_f64(const void *plan, const void *batch, const double *theta, double *Y, double *S, double *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil

# Compute gradients of any function E of the outputs from its derivative dY. Penalties are not included. It takes about twice
# the flop of forward.
# theta       (P,)        read: the theta of forward, unchanged.
# dY          (T, B, O)   read: ∂E/∂Y. Padding is not read.
# gradient    (P,)        overwritten, not added to: ∂E/∂theta.
# dX          (T, B, I)   written: ∂E/∂X, 0 in padding. Must be NULL with one-hot inputs. NULL: not wanted.
# dS_0        (B, H)      written: ∂E/∂(initial state). NULL: not wanted.
# saved       (saved_bytes,) that of forward with this plan and this batch; otherwise STATUS_NOT_SAVED. backward writes only
#             to a part of it that it does not need again, so it may be called repeatedly with other dY. forward records there
#             what backward compares: sizes, options of the network, pointers to inputs, and the values of lengths and resets.
#             backward cannot detect that theta or the values of the inputs have changed since forward.
cdef int backward_f32(const void *plan, const void *batch, const float *theta, const float *dY, float *gradient, float *dX,
                      float *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int backward_f64(const void *plan, const void *batch, const double *theta, const double *dY, double *gradient, double *dX,
                      double *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil

# Compute the loss of the batch's targets and the gradients, which include penalties. One call does forward and backward, and
# needs no saved. It takes about three times the flop of forward.
# theta       (P,)        read.
# loss        one number  written: the reduced error, without penalties.
# penalty     one number  written: the sum of the penalties; 0 without gradient. NULL: not wanted.
# gradient    (P,)        overwritten, not added to: ∂(loss + penalty)/∂theta. NULL: compute only the loss (FOR_LOSS).
# dX, dS_0    as in backward. Must be NULL without gradient.
cdef int loss_and_gradients_f32(const void *plan, const void *batch, const float *theta, double *loss, double *penalty,
                                float *gradient, float *dX, float *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil
cdef int loss_and_gradients_f64(const void *plan, const void *batch, const double *theta, double *loss, double *penalty,
                                double *gradient, double *dX, double *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil

# Compute one step, for data that arrive step by step. It returns outputs with OUTPUT_LAST too.
# theta       (P,)        read.
# x           (B, I)      read: inputs. NULL with ids.
# ids         (B,)        read: category indices, with one-hot inputs. Otherwise NULL.
# state       (B, H)      read: the states before the step. NULL: S_0 if it is learnable, else zero.
# y           (B, O)      written: outputs. NULL: not wanted.
# next_state  (B, H)      written: the states after the step. It may be the same array as `state`. NULL: not wanted.
# scratch     (step_scratch_bytes,)
cdef int step_f32(const void *plan, Py_ssize_t B, const float *theta, const float *x, const Py_ssize_t *ids,
                  const float *state, float *y, float *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int step_f64(const void *plan, Py_ssize_t B, const double *theta, const double *x, const Py_ssize_t *ids,
                  const double *state, double *y, double *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil


# ---- Updates

# Clip the gradient by its Euclidean norm: gradient <- gradient * min(1, max_norm / norm) (Pascanu, Mikolov and Bengio 2013).
# gradient    (n,)        read and written. It is unchanged if the norm is not finite.
# max_norm                above 0.
# norm        one number  written: the norm before clipping. NULL: not wanted.
cdef int clip_norm_f32(Py_ssize_t n, float *gradient, double max_norm, double *norm) noexcept nogil
cdef int clip_norm_f64(Py_ssize_t n, double *gradient, double max_norm, double *norm) noexcept nogil

# Update theta by stochastic gradient descent: v <- momentum v + g;  theta <- theta - learning_rate v. With nesterov 1, the
# second step is theta <- theta - learning_rate (g + momentum v). Polyak 1964; Sutskever et al. 2013.
# gradient    (P,)        read: g.
# theta, v    (P,)        read and written. v is zeros before the first update and must live until the last one. It is
#                         required without momentum too.
# learning_rate           above 0 and finite.
# momentum                0 <= momentum < 1. nesterov requires momentum > 0.
# nesterov                0 or 1.
cdef int sgd_f32(const void *plan, const float *gradient, float *theta, float *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil
cdef int sgd_f64(const void *plan, const double *gradient, double *theta, double *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil

# Update theta by Adam (Kingma and Ba 2015): m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g²;
# theta <- theta - learning_rate m̂ / (√v̂ + epsilon), where m̂ = m / (1 - beta_1**count) and v̂ = v / (1 - beta_2**count).
# gradient    (P,)        read: g.
# theta, m, v (P,)        read and written. m and v are zeros before the first update and must live until the last one.
# count                   1 for the first update, then one more each time.
# learning_rate           above 0 and finite.
# beta_1, beta_2          at least 0 and below 1.
# epsilon                 at least 0 and finite.
cdef int adam_f32(const void *plan, const float *gradient, float *theta, float *m, float *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil
cdef int adam_f64(const void *plan, const double *gradient, double *theta, double *m, double *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil
