"""The C interface: networks for other compiled packages. `from fastbptt cimport loss_and_gradients_f32, ...`

Functions over pointers and sizes alone: no Python object, no GIL, no exception, no memory of their own, no threads of their
own, and no header but Cython's. Whoever calls owns all memory and all threads. docs and an example: README, "Embedding".

    plan    what a network is: sizes, activations, loss. Opaque, `plan_bytes()` bytes.
    batch   what one call is given: T, B, and pointers to arrays. Opaque, `batch_bytes()` bytes.
    theta   (P,), all parameters, one after another: W_x (H, I), W_s (H, H), b_s (H,), W_y (O, H), b_y (O,), S_0 (H,), as far
            as the network has them; P is `plan_parameters`, where each begins says `plan_parameter_offset`. Gradients
            likewise.
    saved   what must live from `forward` to `backward`. Opaque, `saved_bytes` bytes.
    scratch what is dead when a call returns. `scratch_bytes` bytes; neither its content before a call nor that after it
            matters.

Legend: T steps, B sequences, I inputs, H hidden units, O outputs, K targets a row: O, or of a quantile loss O / levels. All
arrays are C-contiguous, time-major, and of the plan's real type, that of a function's ending: _f32 float, _f64 double.

What holds for every function
    Status   An int is a status, STATUS_OK or below 0; a Py_ssize_t is a size, or a status where it is below 0. `status_text`
             has the words. After any status but STATUS_OK and STATUS_STOPPED nothing has been written, but by plan_set_... and
             batch_set_... nothing changed; after STATUS_STOPPED outputs are undefined.
    Checked  Every size, pointer's alignment, option, label, id, length, weight and overlap, before anything is written: what
             C can see. That a pointer points to so much memory, and to memory that is initialised, it can't.
    NULL     Not allowed, but where it says so; and for arrays of no numbers.
    Aligned  Plans, batches, saved and scratch begin at multiples of 64 bytes; arrays at multiples of their numbers' size.
    Aliases  What is written may not overlap anything else that the call is given, but where it says so. What is read may.
    Life     A plan and a batch keep pointers that they are given, and read them at each call: they must live as long as the
             plan or the batch is used, and may change between calls. All else is forgotten when a call returns. Plans and
             batches need no end: free their memory. They may be copied by memcpy, within this process.
    Threads  Any number of threads may call at once, with one plan, one theta and one batch as long as none changes them, each
             with its own scratch, saved and outputs. Nothing is shared between calls, and a call makes no thread.
    NaN      is not looked for: it stays in its own sequence's outputs; in weights it is refused.
    Bits     As of `RNN`'s methods for the same arguments on the same machine, whatever n_threads there; of a truncated backward
             through a BLAS, whose bits of a row depend on the rows beside it, to rounding.
"""

cdef enum:
    ABI = 1  # goes up where a program that was compiled before would no longer work

    STATUS_OK = 0
    STATUS_STOPPED = -1           # the batch's stop flag was set
    STATUS_NULL = -2              # a pointer that is needed is NULL
    STATUS_MISALIGNED = -3
    STATUS_OVERLAP = -4           # what is written overlaps something else
    STATUS_NOT_A_PLAN = -5        # no plan_init_... has been there, or one of another version
    STATUS_NOT_A_BATCH = -6
    STATUS_TYPE = -7              # float where the plan's or batch's is double, or the other way round
    STATUS_SIZE = -8              # a size is out of range
    STATUS_TOO_LARGE = -9         # so large that bytes cannot be counted
    STATUS_MEMORY = -10           # plan, batch, saved or scratch have too few bytes
    STATUS_OPTION = -11           # there is no such option, or operation, or parameter
    STATUS_NUMBER = -12           # a number is NaN or out of range
    STATUS_COMBINATION = -13      # options, or an option and an argument, exclude each other
    STATUS_LENGTHS = -14          # a length is not one of 0 ... T, or with OUTPUT_LAST not one of 1 ... T
    STATUS_LABELS = -15           # a label that is read is not one of 0 ... O - 1
    STATUS_IDS = -16              # an id that is read is not one of 0 ... I - 1
    STATUS_WEIGHTS = -17          # a weight is negative or not finite, or there are not 1 or K a row
    STATUS_RESETS = -18           # a reset is neither 0 nor 1
    STATUS_KERNELS = -19          # this build has no kernels without a BLAS, and the plan does not allow one
    STATUS_NOT_SAVED = -20        # saved was not filled by forward with this plan and this batch

    ACTIVATION_TANH = 0
    ACTIVATION_RELU = 1
    ACTIVATION_SIGMOID = 2
    ACTIVATION_IDENTITY = 3
    ACTIVATION_SOFTPLUS = 4
    ACTIVATION_LEAKY_RELU = 5     # slope 0.01 below 0
    ACTIVATION_ELU = 6
    ACTIVATION_SOFTSIGN = 7
    ACTIVATION_SOFTMAX = 8        # of outputs alone, as the next one
    ACTIVATION_EXP = 9

    LOSS_SQUARED_ERROR = 0        # (D - Y)², without ½, summed over outputs, as all of them
    LOSS_ABSOLUTE_ERROR = 1
    LOSS_HUBER = 2                # needs plan_set_huber
    LOSS_QUANTILE = 3             # needs plan_set_quantile
    LOSS_BINARY_CROSS_ENTROPY = 4 # needs ACTIVATION_SIGMOID of the outputs
    LOSS_CROSS_ENTROPY = 5        # needs ACTIVATION_SOFTMAX of the outputs
    LOSS_POISSON = 6              # needs ACTIVATION_EXP of the outputs

    REDUCTION_MEAN = 0            # E = Σ m e / Σ m over steps and sequences with weights m; 0 where Σ m is 0
    REDUCTION_SUM = 1             # E = Σ m e

    OUTPUT_SEQUENCE = 0
    OUTPUT_LAST = 1

    PARAMETER_W_X = 0
    PARAMETER_W_S = 1
    PARAMETER_B_S = 2
    PARAMETER_W_Y = 3
    PARAMETER_B_Y = 4
    PARAMETER_S_0 = 5

    FOR_FORWARD = 0               # operations that scratch_bytes counts for
    FOR_BACKWARD = 1
    FOR_LOSS = 2                  # loss_and_gradients without a gradient
    FOR_LOSS_AND_GRADIENTS = 3


# The ABI of the package that is installed. A program compiled with another ABI must not go on: compare it with ABI, once.
cdef int abi_version() noexcept nogil

# One sentence for a status. The text is static: it lives for ever and is not to be freed.
cdef const char *status_text(int status) noexcept nogil


# ---- A plan
#
# plan   (plan_bytes(),) 64-byte-aligned, the caller's; plan_init_... sets all of it, whatever was there.
#
# Each setter may be called at any time before the plan is shared by threads; what it decides counts from then on. theta's
# layout depends on bias and learnt initial state, so set these before asking for it.

cdef Py_ssize_t plan_bytes() noexcept nogil

# A network of I inputs, H hidden units, O outputs, each at least 1, in `bytes` bytes at plan. As `RNN`'s defaults: tanh,
# identity, squared error, mean, bias, no learnt initial state, an output at each step, no penalties, errors back through all
# steps. STATUS_TOO_LARGE: over 2**48 parameters.
cdef int plan_init_f32(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil
cdef int plan_init_f64(void *plan, Py_ssize_t bytes, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O) noexcept nogil

# g1 of the hidden units: ACTIVATION_..., but softmax and exp.
cdef int plan_set_activation(void *plan, int activation) noexcept nogil

# g2 of the outputs: ACTIVATION_IDENTITY, _SIGMOID, _TANH, _SOFTMAX or _EXP. That loss and outputs fit is checked at each call
# (STATUS_COMBINATION), so they may be set in any order.
cdef int plan_set_output_activation(void *plan, int activation) noexcept nogil

# LOSS_..., but Huber's and quantile.
cdef int plan_set_loss(void *plan, int loss) noexcept nogil

# LOSS_HUBER: squared up to threshold > 0, linear from there on.
cdef int plan_set_huber(void *plan, double threshold) noexcept nogil

# LOSS_QUANTILE: n levels, each between 0 and 1; O is a multiple of n, and output l * K + k is level l of target k.
# levels (n,) is kept: it must live, and not change, as long as the plan is used.
cdef int plan_set_quantile(void *plan, const double *levels, Py_ssize_t n) noexcept nogil

# REDUCTION_MEAN or REDUCTION_SUM.
cdef int plan_set_reduction(void *plan, int reduction) noexcept nogil

# 1: there are b_s and b_y; 0: there are none.
cdef int plan_set_bias(void *plan, int bias) noexcept nogil

# 1: S_0 (H,), the state of every sequence that is given none, is a parameter; 0: it is zero.
cdef int plan_set_learnt_initial_state(void *plan, int learnt) noexcept nogil

# OUTPUT_SEQUENCE: Y, D, dY (T, B, ...), labels and weights (T, B). OUTPUT_LAST: one of each sequence, at its last step: Y, D,
# dY (B, ...), labels and weights (B,), wherever this page has T before them.
cdef int plan_set_output(void *plan, int output) noexcept nogil

# 1: inputs are ids (T, B), which stand for one-hot vectors: batch_set_ids in place of X; 0: they are X.
cdef int plan_set_one_hot(void *plan, int one_hot) noexcept nogil

# l1 Σ |w| + l2 Σ w² of a parameter, PARAMETER_..., without ½; both finite and at least 0. One that the plan has not is
# ignored.
cdef int plan_set_penalty(void *plan, int parameter, double l1, double l2) noexcept nogil

# Every k1 steps, errors go back k2 steps (Williams and Peng 1990); both at least 1, or both 0: through all steps.
cdef int plan_set_truncation(void *plan, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil

# 1: where the kernels of this process are those over SciPy's BLAS (a build without vector types, or FASTBPTT_SIMD=blas), this
# plan may use them; 0, the default: it never enters a BLAS. Whoever allows it holds the BLAS to one thread while any call is
# inside (threadpoolctl does): else bits depend on its threads, and hundreds of threads inside a threaded OpenBLAS corrupt its
# heap.
cdef int plan_allow_blas(void *plan, int allowed) noexcept nogil

# Whether the plan is ready: STATUS_OK, or what every call with it would return. It reads nothing but the plan and its levels.
cdef int plan_check(const void *plan) noexcept nogil

# P, the length of theta.
cdef Py_ssize_t plan_parameters(const void *plan) noexcept nogil

# Where in theta PARAMETER_... begins; STATUS_COMBINATION where the plan has no such parameter.
cdef Py_ssize_t plan_parameter_offset(const void *plan, int parameter) noexcept nogil

# The name of the kernel set that serves the plan, static; NULL where there is none, or no plan.
cdef const char *plan_kernel_set(const void *plan) noexcept nogil


# ---- A batch
#
# batch  (batch_bytes(),) 64-byte-aligned, the caller's; batch_init_... sets all of it. Every array is kept by its pointer, and
#        read at each call; a setter with NULL takes it out again. What stands behind a sequence's length is never read: it may
#        be NaN.

cdef Py_ssize_t batch_bytes() noexcept nogil

# T steps of B sequences, each from 0 to 2**31 - 1, in `bytes` bytes at batch.
# X      (T, B, I) inputs; NULL with ids.
cdef int batch_init_f32(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const float *X) noexcept nogil
cdef int batch_init_f64(void *batch, Py_ssize_t bytes, Py_ssize_t T, Py_ssize_t B, const double *X) noexcept nogil

# X      (T, B, I) inputs of the next calls, in place of those before.
cdef int batch_set_inputs_f32(void *batch, const float *X) noexcept nogil
cdef int batch_set_inputs_f64(void *batch, const double *X) noexcept nogil

# ids    (T, B) inputs of a one-hot plan, from 0 to I - 1. NULL: none.
cdef int batch_set_ids(void *batch, const Py_ssize_t *ids) noexcept nogil

# state  (B, H) the states before the first step. NULL, the default: S_0 where it is learnt, else zero.
cdef int batch_set_initial_state_f32(void *batch, const float *state) noexcept nogil
cdef int batch_set_initial_state_f64(void *batch, const double *state) noexcept nogil

# D      (T, B, K) targets, of cross entropy distributions. NULL: none. forward and backward do not read them.
cdef int batch_set_targets_f32(void *batch, const float *D) noexcept nogil
cdef int batch_set_targets_f64(void *batch, const double *D) noexcept nogil

# labels (T, B) targets of cross entropy in place of D, from 0 to O - 1. NULL: none.
cdef int batch_set_labels(void *batch, const Py_ssize_t *labels) noexcept nogil

# m      (T, B) where width is 1, (T, B, K) where it is K > 1 (not of cross entropy): weights of the errors, finite and at
#        least 0. NULL, with width 0: all are 1. Targets of weight 0 are never read. A weight below the least normal number
#        counts as 0. forward and backward do not read weights.
cdef int batch_set_weights_f32(void *batch, const float *m, Py_ssize_t width) noexcept nogil
cdef int batch_set_weights_f64(void *batch, const double *m, Py_ssize_t width) noexcept nogil

# lengths (B,) steps of each sequence, from 0 to T, in any order. NULL: T of each.
cdef int batch_set_lengths(void *batch, const Py_ssize_t *lengths) noexcept nogil

# resets (T, B) of 0 and 1: where there is 1 the state before that step is S_0 where it is learnt, else zero, and errors end
#        there. NULL: none.
cdef int batch_set_resets(void *batch, const char *resets) noexcept nogil

# stop   a flag that another thread or a signal's handler may set to anything but 0 while a call runs: it then returns
#        STATUS_STOPPED, after at most some 25 ms. It is read between blocks of steps, and never written. NULL: none.
cdef int batch_set_stop(void *batch, const volatile int *stop) noexcept nogil


# ---- Memory
#
# Both read the plan and the batch as they stand: sizes, which arrays there are, the values of lengths. Ask again where one of
# these changes; other values may change. Time grows with B where there are lengths, else neither with T nor with B.

# The bytes of saved.
cdef Py_ssize_t saved_bytes(const void *plan, const void *batch) noexcept nogil

# The bytes of scratch for an operation, FOR_...
cdef Py_ssize_t scratch_bytes(const void *plan, const void *batch, int operation) noexcept nogil

# The bytes of scratch for step with B sequences.
cdef Py_ssize_t step_scratch_bytes(const void *plan, Py_ssize_t B) noexcept nogil


# ---- Operations
#
# scratch (scratch_bytes,) 64-byte-aligned, any content; of this call alone, free again when it returns.

# Outputs and states. 2 T B H (I + H + O) flop; the weights, H (I + H + O) numbers, are packed anew.
# theta       (P,)        read.
# Y           (T, B, O)   written: outputs; 0 behind a sequence's length. NULL: not wanted.
# S           (T+1, B, H) written: S[0] the initial states, S[t+1] those after X[t]; 0 behind a length. NULL: not wanted.
# final_state (B, H)      written: that after each sequence's last step. May be the very batch's initial state. NULL: not
#                         wanted.
# saved       (saved_bytes,) written: for backward, and must then live until it, as must plan, batch, its arrays and theta,
#             unchanged, but for the initial state's values. NULL, with 0 bytes: no backward will come.
cdef int forward_f32(const void *plan, const void *batch, const float *theta, float *Y, float *S, float *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int forward_f64(const void *plan, const void *batch, const double *theta, double *Y, double *S, double *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil

# Gradients of any function of the outputs, by its derivative dY. No penalties. About twice the flop of forward.
# theta       (P,)        read: that of forward, unchanged.
# dY          (T, B, O)   read: ∂E/∂Y. What stands behind a sequence's length is not read.
# gradient    (P,)        written over, not added to: ∂E/∂theta.
# dX          (T, B, I)   written: ∂E/∂X; 0 behind a length. Not with one-hot inputs. NULL: not wanted.
# dS_0        (B, H)      written: ∂E/∂(initial state). NULL: not wanted.
# saved       (saved_bytes,) that of forward with this plan and this batch; else STATUS_NOT_SAVED. What backward needs of it
#             stays, so that it may be called again with another dY; what it writes there is its own. forward writes into it
#             what the plan and the batch are: sizes, options of the network, pointers to inputs, and the values of lengths and
#             resets. That theta and the inputs' values are those of forward cannot be seen.
cdef int backward_f32(const void *plan, const void *batch, const float *theta, const float *dY, float *gradient, float *dX,
                      float *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int backward_f64(const void *plan, const void *batch, const double *theta, const double *dY, double *gradient, double *dX,
                      double *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil

# The error of the batch's targets and its gradients with penalties, forward and backward in one: nothing is saved. About three
# times the flop of forward.
# theta       (P,)        read.
# loss        one number  written: the reduced error, without penalties.
# penalty     one number  written: the penalties' sum; 0 without gradient. NULL: not wanted.
# gradient    (P,)        written over, not added to: ∂(loss + penalty)/∂theta. NULL: the loss alone is wanted (FOR_LOSS).
# dX, dS_0    as of backward; not without gradient.
cdef int loss_and_gradients_f32(const void *plan, const void *batch, const float *theta, double *loss, double *penalty,
                                float *gradient, float *dX, float *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil
cdef int loss_and_gradients_f64(const void *plan, const void *batch, const double *theta, double *loss, double *penalty,
                                double *gradient, double *dX, double *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil

# One step, as the data come: forward of one step. With OUTPUT_LAST it has an output all the same.
# x           (B, I)      read; NULL with ids.
# ids         (B,)        read with one-hot inputs; else NULL.
# state       (B, H)      read: the states before. NULL: S_0 where it is learnt, else zero.
# y           (B, O)      written: outputs. NULL: not wanted.
# next_state  (B, H)      written: the states after. May be the very `state`. NULL: not wanted.
# scratch     (step_scratch_bytes,)
cdef int step_f32(const void *plan, Py_ssize_t B, const float *theta, const float *x, const Py_ssize_t *ids,
                  const float *state, float *y, float *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil
cdef int step_f64(const void *plan, Py_ssize_t B, const double *theta, const double *x, const Py_ssize_t *ids,
                  const double *state, double *y, double *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil


# ---- Updates

# gradient <- gradient * min(1, max_norm / norm), by its Euclidean norm (Pascanu, Mikolov and Bengio 2013).
# gradient    (n,)        read and written; unchanged where the norm is not finite.
# max_norm                above 0.
# norm        one number  written: the norm before. NULL: not wanted.
cdef int clip_norm_f32(Py_ssize_t n, float *gradient, double max_norm, double *norm) noexcept nogil
cdef int clip_norm_f64(Py_ssize_t n, double *gradient, double max_norm, double *norm) noexcept nogil

# v <- momentum v + g;  theta <- theta - learning_rate v, or with nesterov 1 by g + momentum v.
# Polyak 1964; Sutskever et al. 2013.
# gradient    (P,)        read.
# theta, v    (P,)        read and written; v is zeros before the first update, and must live until the last, without momentum
#                         too.
# learning_rate           above 0 and finite.
# momentum                0 <= momentum < 1; nesterov needs one above 0.
cdef int sgd_f32(const void *plan, const float *gradient, float *theta, float *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil
cdef int sgd_f64(const void *plan, const double *gradient, double *theta, double *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil

# m <- beta_1 m + (1 - beta_1) g;  v <- beta_2 v + (1 - beta_2) g²;  theta <- theta - learning_rate m̂ / (√v̂ + epsilon), where
# m̂ = m / (1 - beta_1**count) and v̂ likewise. Kingma and Ba 2015.
# gradient    (P,)        read.
# theta, m, v (P,)        read and written; m and v are zeros before the first update, and must live until the last.
# count                   1 for the first update, then one more each time.
# learning_rate           above 0 and finite.
# beta_1, beta_2          from 0 to under 1.
# epsilon                 at least 0 and finite.
cdef int adam_f32(const void *plan, const float *gradient, float *theta, float *m, float *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil
cdef int adam_f64(const void *plan, const double *gradient, double *theta, double *m, double *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil
