"""The compiled twin of reference.py: the same verbs in the same order, in shards of the batch and blocks of time.

Design
------
(a) Three layers. The verbs (`_kernels.h`) are the mathematics, trusted, without Python. `forward`, `backward` and `terms`
    say in which order the verbs run, and on what memory. `Engine` is what Python sees: it checks types and shapes in C
    and returns NotImplemented where something is not in order; the Python layer then finds the words, or converts.
(b) A call takes the batch in shards of rows, each through all of time and back, and a shard walks time in blocks of steps
    that stay in the second-level cache: gather, input product, recurrence, output and error of one block before the next;
    backward the same, last block first. Below, each verb stands under the NumPy line that it is, for the block t ... t + n
    of a shard of B rows.
(c) Threads divide the shards and never meet within one. Shards depend on the call's shapes alone, each has a gradient of its
    own, and these are summed in order: so the bits are the same for any number of threads.
(d) What must live from forward to backward is saved: S and delta_y. All else is scratch of one block. Both lie in a
    thread's workspace, which `lay_out` alone lays out; weights are packed once a call (`share_out`). All of it is one
    piece of memory from a small pool of the engine: a warm call allocates nothing but what it returns. Maps on the
    parameters act before the packing, and once more on the finished gradient; nothing between knows them.
(e) Between blocks and shards a call polls for Ctrl-C, every 20 ms; `rows_of_a_shard` bounds what lies between. It has given
    the GIL away, unless it is over in some microseconds (`is_short`).
(f) Sequences of unequal lengths, or with resets, are an arranged call: each shard has its longest sequence first (`arrange`),
    so that those which go on are the first rows of every step, and a step's rows follow the last step's without a gap.
    Steps of the same rows are a run (`end_of_run`), one call of a verb. Copies in and out then go by an index of places
    (`places`); the verbs between see rows alone. Padding has none.
(g) Where an error stands on few steps (many weights of zero, or output="last"), the output's products see those rows only
    (`pick`).
(h) Truncated BPTT goes back once for each window of k1 steps (`backward`), over what one forward pass has saved; blocks begin
    anew with each window.
(i) Under a limit of memory (`fit_into`) forward keeps the states at the ends of segments alone, and `backward` computes each
    segment again before it goes back through it. Segments are whole blocks, so that nothing is summed in another order.
(j) Layers and directions (`_stack.py`) are engines one after another, each of a network that lacks something: a recurrence
    without a readout, whose outputs are its states (`states`) and which is told ∂E/∂S (`states_back`); a readout without a
    recurrence, whose inputs are states. A reverse recurrence reads and writes by places, from each sequence's last step on.
    The states that `states` has found are given to `states_back` (c.given), which saves nothing of its own.
(k) The C interface (`_core.pxd`) fills the same structs from its own (`_embed.pxi`) and runs them by one thread, in memory
    of its caller. Its backward is a call of its own: what is saved then lies apart (c.apart), and is there already (c.known).
(l) Leaky units: S in this file is what W_s and the output read, which is the state in the rate form, the rate in the current
    form. Beside it goes `other`: the rates, saved as S is, or the states, of one block and the step before. The gradient by
    the state, dU, goes back beside delta. Which it is a call says (c.units), and is asked once for some steps.
(m) Noise is added to the input's part of the pre-activations, block by block, and to the inputs wherever they are gathered;
    each number is a function of key, call, step, sequence and unit (_draws.h), so that what is computed again has the same.
    Dropout multiplies what W_s reads by a mask, whose rows are drawn before the first step; that is the leaky units' verb,
    with a leak of 1 where there is none.
(n) A penalty on rates is added to ∂E/∂S block by block (`add_rates`). Ω of a block is found as soon as its delta is
    (`spread`), where delta goes back step by step; what it adds to ∂E/∂W_s stays apart until all shards have said how many
    rows there were. Both cost a call that is without them nothing.
(o) Training (`_train.pxi`) is one call after another without the GIL: each of a batch that is picked into the same arrays,
    with an update behind it, until a number is not finite, the time is over, or Ctrl-C came.

Legend: T steps, B sequences, I inputs, H hidden units, O outputs, K targets; ld is the distance of rows.
"""

import functools
import os

cimport cpython
cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_New
from cython cimport floating
from libc.float cimport DBL_EPSILON, DBL_MAX, DBL_MIN, FLT_EPSILON
from libc.limits cimport INT_MAX
from libc.math cimport fabs, frexp, hypot, isfinite, ldexp, sqrt
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strcmp

cimport numpy as cnp

from ._blas cimport blas_kernels, hold_blas, release_blas
from ._workers cimport run_shares
from ._kernels cimport (
    ABSOLUTE_ERROR, ADAGRAD, ADAM, ADAMW, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, CURRENT, ELU, EXP, GIVEN, HUBER, IDENTITY,
    LEAKY_RELU, NOISE, PLAIN, POISSON, QUANTILE, RATE, RELU, RMSPROP, SGD, SIGMOID, SOFTMAX, SOFTPLUS, SOFTSIGN, SQUARED_ERROR,
    TANH,
    ErrorOptions, Kernels, Units, UpdateOptions,
    accumulate, add_normals, affine, column_sums, draw_mask, error, gather, halves_vectors, hold, integrate, integrate_back,
    map_parameters, pack, padded, pull_back, recur, recur_back, scatter, update as update_verb, vector_kernels,
)

cdef extern from "Python.h":
    cpython.PyObject *PyObject_CallMethodNoArgs(object owner, object name)  # NULL is not raised

cdef extern from "numpy/arrayobject.h":
    cpython.PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(cpython.PyTypeObject *type, cnp.dtype stolen, int ndim, const cnp.npy_intp *shape,
                                const cnp.npy_intp *strides, void *data, int flags, void *like)

cnp.import_array()

cdef extern from *:
    """
    #include <time.h>
    #undef I /* <complex.h>, which NumPy's headers include, defines it */
    static double fastbptt_now(void) {
        struct timespec now;
        timespec_get(&now, TIME_UTC);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }

    #if defined(__clang__)
    #define FASTBPTT_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTBPTT_COMPILER "GCC " __VERSION__
    #else
    #define FASTBPTT_COMPILER "unknown"
    #endif
    """
    double now "fastbptt_now"() noexcept nogil
    const char *COMPILER "FASTBPTT_COMPILER"

cdef extern from "_atomic.h":
    long add "fastbptt_add"(long *counter, long n) noexcept nogil  # the new value
    int read_flag "fastbptt_read_flag"(volatile int *flag) noexcept nogil
    void write_flag "fastbptt_write_flag"(volatile int *flag, int value) noexcept nogil

cdef extern from "_denormals.h" nogil:
    unsigned long long rounding_mode "fastbptt_get_mode"() noexcept
    unsigned long long flush_denormals "fastbptt_flush"() noexcept  # the mode before, for `restore`
    unsigned long long keep_denormals "fastbptt_keep"() noexcept
    void restore "fastbptt_restore"(unsigned long long mode) noexcept

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # leaves the exception set

ACTIVATIONS = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY, "softplus": SOFTPLUS,
               "leaky_relu": LEAKY_RELU, "elu": ELU, "softsign": SOFTSIGN}
OUTPUT_ACTIVATIONS = {"identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "softmax": SOFTMAX, "exp": EXP}
LOSSES = {"squared_error": SQUARED_ERROR, "absolute_error": ABSOLUTE_ERROR, "huber": HUBER, "quantile": QUANTILE,
          "binary_cross_entropy": BINARY_CROSS_ENTROPY, "cross_entropy": CROSS_ENTROPY, "poisson": POISSON}
KERNEL_SETS = ("blas", "baseline", "avx2", "avx512")

# The kernel set of this process: the best that this build and this processor have, or the one that FASTBPTT_SIMD names.
cdef bint forced = bool(os.environ.get("FASTBPTT_SIMD"))
cdef const Kernels *chosen = choose(os.environ.get("FASTBPTT_SIMD"))


cdef const Kernels *choose(str name) except NULL:
    cdef const Kernels *found
    if not name:
        found = vector_kernels(NULL)
        return found if found != NULL else blas_kernels()
    if name not in KERNEL_SETS:
        raise ImportError(f"FASTBPTT_SIMD must be one of {', '.join(KERNEL_SETS)}, got {name!r}")
    found = blas_kernels() if name == "blas" else vector_kernels(name.encode())
    if found == NULL:
        raise ImportError(f"FASTBPTT_SIMD={name}: this build or this processor has no such kernels")
    return found


cdef const Kernels *kernels_for(Py_ssize_t size, Py_ssize_t H) noexcept nogil:
    """The set of a network, of numbers of this size: the chosen one, or in place of AVX-512's, where no name forces it, AVX2's
    for a narrow network.

    That is one of which half a vector holds a row; and where the processor takes a vector in halves, one whose rows three
    halves hold. Time with AVX2 relative to AVX-512 (T = 50, float32, 2026-11), on an AMD Zen 4, which takes halves: 0.92
    (H = 4), 0.74 (8), 0.98 (24) for one row; 0.76, 0.75, 0.72 for 16 rows; 0.58, 0.62, 0.80 for 64. On a Zen 5 (T = 100),
    which does not: 0.98, 0.98, 1.28 and 1.01, 0.97, 1.43. With H = 16 or 32, where nothing is padded, 1.00 to 1.07; from
    H = 40 on 0.94 to 1.24, in no order (Zen 4). float64 crosses at half these widths.
    """
    cdef const Kernels *avx2
    cdef Py_ssize_t pad = chosen.pad_f32 if size == sizeof(float) else chosen.pad_f64
    if forced or strcmp(chosen.name, b"avx512") != 0 or (H - 1) % pad >= pad // 2:
        return chosen
    if 2 * H > (3 * pad if halves_vectors() else pad):
        return chosen
    avx2 = vector_kernels(b"avx2")
    return avx2 if avx2 != NULL else chosen


cdef enum:
    BLOCK_BYTES = 256 * 1024   # of one block of steps: half of a common second-level cache
    BLOCK_ROWS = 256           # steps times sequences of a block, at least, where weights outgrow that cache
    POOLED = 4                 # workspaces that an engine keeps
    POOLED_BYTES = 0x10000000  # 256 MiB; a larger one goes back to the system after its call
    DONE = 0
    STOPPED = 1
    SHARD_WORK = 0x40000000    # multiplications of a float32 product of one step of a shard, at most, if it has over 8 rows
    SHARD_LEAST = 0x80000      # multiplications forward that are worth a shard: 0.05 ms with the gradient
    SHARD_LEAST_ROWS = 512     # times steps: with 47 the shards' own gradients took an eighth of the time
    PARTIALS_BYTES = 0x4000000 # 64 MiB: of the gradients of all shards
    PICK_BELOW = 2             # rows with errors are picked where over half of the weights are zero
    NO_LIMIT = 0               # of memory
    AUTOMATIC = -1
    INPUT = 1023               # the kind of noise of inputs; that of states is the number of their recurrence
    SHORT = 0x8000             # multiplications of a call that keeps the GIL, where a step is at least 64
    MORE = 3                   # numbers that `place_run` reads and writes beyond its own
    FEW_WORDS = 512            # of an arrangement, which lie on the stack
    SHARED_FROM = 8192         # m n k from which a BLAS may share a product among threads (OpenBLAS: gemv 9216)


cdef double NEVER = -1
cdef double LEAST_FLOW = 1e-30  # ‖∂E/∂S‖ below which a row does not count in Ω, as in reference.py


cdef struct Penalty:
    # Of theta[begin:end]: l1 Σ |w| + l2 Σ w².
    Py_ssize_t begin, end
    double l1, l2


cdef struct Plan:
    # What a network is. Offsets are into theta; -1 where there is no such parameter.
    Py_ssize_t I, H, O
    int activation
    Units units
    unsigned int kind            # of its noise and dropout
    double noise, input_noise    # what standard normal numbers are multiplied with
    double dropout
    ErrorOptions error           # with K, the targets a row
    Py_ssize_t W_x, W_s, b_s, W_y, b_y, S_0, P
    bint mean
    bint last                    # errors and outputs are those of each sequence's last step
    bint one_hot                 # inputs are ids
    const unsigned char *maps    # (P,), see _maps.h; NULL where theta is what the network computes with
    bint recurs                  # else inputs are states
    bint reads                   # else outputs are the states
    bint reverse                 # time is gone through from a sequence's last step to its first
    Py_ssize_t penalties
    Penalty[6] penalty           # the first `penalties` of them
    double rate_penalty          # times the mean of S²
    double omega                 # times Ω
    bint settles                 # what is only rounding noise in ∂E/∂S is 0: with omega, in this engine or one beside it


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


cdef void place_parameters(Plan *p, bint bias, bint learn_initial_state) noexcept nogil:
    """Where in theta each parameter begins, and how long it is."""
    p.W_x = p.W_s = p.b_s = p.W_y = p.b_y = p.S_0 = -1
    p.P = 0
    if p.recurs:
        p.W_x, p.W_s = 0, p.H * p.I
        p.P = p.W_s + p.H * p.H
    if bias and p.recurs:
        p.b_s, p.P = p.P, p.P + p.H
    if p.reads:
        p.W_y, p.P = p.P, p.P + p.O * p.H
    if bias and p.reads:
        p.b_y, p.P = p.P, p.P + p.O
    if learn_initial_state and p.recurs:
        p.S_0, p.P = p.P, p.P + p.H


# ---------------------------------------------------------------------------------------------------------------------
# Memory and interrupts
# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------
# Shards, and sequences of unequal lengths
# ---------------------------------------------------------------------------------------------------------------------


cdef void count(Call *c) noexcept nogil:
    """How many sequences and steps there are, and whether they must be arranged."""
    cdef Py_ssize_t b
    cdef bint uneven = False
    c.sequences, c.most, c.steps = c.B, c.T, c.T * c.B
    c.order = c.alive = NULL
    if c.lengths != NULL and c.T > 0:
        c.sequences = c.most = c.steps = 0
        for b in range(c.B):
            c.sequences += c.lengths[b] > 0
            c.most = max(c.most, c.lengths[b])
            c.steps += c.lengths[b]
        uneven = c.steps < max(c.most, 1) * c.B  # equal lengths are those of a batch that ends earlier
    c.arranged = uneven or c.resets != NULL and memchr(c.resets, 1, c.most * c.B) != NULL  # no reset of padding


cdef Py_ssize_t rows_of_a_shard(const Plan *p, Py_ssize_t steps, Py_ssize_t B, Py_ssize_t size,
                                Py_ssize_t work) noexcept nogil:
    """Rows of a shard of a batch of B sequences of so many steps together: as equal as can be, and from the shapes alone.

    As many shards as threads may want, if each has work enough, and rows enough to use the weights that it reads; an even
    number, or one of two threads would wait for the other's last one (7 shards of 128,28,28,100,10 took 1.71 times as long
    with one thread as with two, 8 take 1.96); at least so many that one step stays under `work` multiplications; and not so
    many that their gradients fill the memory. Calls of 0.13 to 0.6 ms that SHARD_LEAST divides take 1.00 to 1.02 times as
    long with one thread and 0.53 with two (2026-11).
    """
    cdef double row = <double> p.H * ((p.I + p.H if p.recurs else 0) + p.O)
    cdef Py_ssize_t fewest = max(8, min(32, p.H // 16))  # 8 rows run at full speed where the weights stay in the cache
    cdef Py_ssize_t most = max(8, <Py_ssize_t> (<double> work / (<double> p.H * max(p.I, p.H, p.O))))
    cdef Py_ssize_t shards = <Py_ssize_t> min(<double> B, row * steps / SHARD_LEAST)
    shards = min(shards, B // fewest, <Py_ssize_t> (<double> steps / SHARD_LEAST_ROWS),
                 max(1, PARTIALS_BYTES // (p.P * size)))
    if shards > 1 and shards < B // fewest:
        shards += shards % 2
    shards = max(1, shards, (B + most - 1) // most)
    return (B + shards - 1) // shards


cdef Py_ssize_t work_of_a_shard(Py_ssize_t size) noexcept nogil:
    """Multiplications of one step of a shard, at most, of numbers of this size.

    About 25 ms on one core in either type, of which a step back has three; so Ctrl-C is heard within 100 ms. Smaller shards
    make BLAS pack the same weights more often: B = H = 2048 takes 1.2 times as long as in one shard at this bound, and twice
    as long at a quarter of it (2026-11, AMD Zen 3, OpenBLAS 0.3.30).
    """
    return SHARD_WORK if size == sizeof(float) else SHARD_WORK // 2


cdef inline Py_ssize_t shards_of(const Call *c) noexcept nogil:
    return (c.sequences + c.rows - 1) // c.rows if c.rows > 0 else 0


cdef inline Py_ssize_t steps_of_a_shard(const Call *c) noexcept nogil:
    """Of the shard that has most, over all its sequences."""
    return c.kept if c.arranged else c.most * c.rows


cdef inline Py_ssize_t share(Py_ssize_t n, Py_ssize_t shards, Py_ssize_t i) noexcept nogil:
    """How many of n sequences, dealt like cards, are shard i's."""
    if shards == 1:  # a division a step is much where a step is short
        return n
    return (n - i + shards - 1) // shards if n > i else 0


cdef inline Py_ssize_t dealt(Py_ssize_t n, Py_ssize_t shards, Py_ssize_t i) noexcept nogil:
    """How many of them are those of the shards before i."""
    return i * (n // shards) + min(i, n % shards)


cdef void arrange(Call *c, Py_ssize_t *memory) noexcept nogil:
    """Sort the sequences, the longest first, and deal them to the shards. `memory` has `arranged_words(c)` words."""
    cdef Py_ssize_t *order = memory
    cdef Py_ssize_t *alive = memory + c.B
    cdef Py_ssize_t *next = alive + c.T + 1
    cdef Py_ssize_t b, t, n, place, kept = 0, longer = 0, shards = shards_of(c)
    c.kept = 0
    if not c.arranged:
        return
    memset(alive, 0, (c.most + 1) * sizeof(Py_ssize_t))
    for b in range(c.B):
        n = c.lengths[b] if c.lengths != NULL else c.T
        if n > 0:
            alive[n - 1] += 1
    for t in range(c.most - 1, -1, -1):  # sums in registers: in memory each addition waited for the last one's store
        longer += alive[t]
        alive[t] = next[t] = longer
        kept += share(longer, shards, 0)
    next[c.most] = 0
    for b in range(c.B):
        n = c.lengths[b] if c.lengths != NULL else c.T
        if n > 0:  # next[n]: how many longer ones, and equal ones before it, there are
            place = next[n]
            order[place if shards == 1 else dealt(c.sequences, shards, place % shards) + place // shards] = b
            next[n] = place + 1
    c.order, c.alive, c.kept = order, alive, kept


cdef inline Py_ssize_t arranged_words(const Call *c) noexcept nogil:
    return c.B + 2 * (c.T + 1) if c.arranged else 0


cdef void make_shard(const Plan *p, const Call *c, Py_ssize_t i, Py_ssize_t size, Call *s) noexcept nogil:
    """The call for shard i, in s; `size` is that of a number."""
    cdef Py_ssize_t b = i * c.rows
    memcpy(s, c, sizeof(Call))
    if c.arranged:
        s.rows = share(c.sequences, shards_of(c), i)
        s.order = c.order + dealt(c.sequences, shards_of(c), i)
        return
    s.rows = min(c.rows, c.B - b)
    s.begin = b
    s.X = <const char *> c.X + b * p.I * size if c.X != NULL else NULL
    s.ids = c.ids + b if c.ids != NULL else NULL
    s.initial_state = <const char *> c.initial_state + b * p.H * size if c.initial_state != NULL else NULL
    s.past_states = <const char *> c.past_states + b * p.H * size if c.past_states != NULL else NULL
    s.past_rates = <const char *> c.past_rates + b * p.H * size if c.past_rates != NULL else NULL
    s.D = <const char *> c.D + b * c.error.K * size if c.D != NULL else NULL
    s.labels = c.labels + b if c.labels != NULL else NULL
    s.weights = <const char *> c.weights + b * c.weight_width * size if c.weights != NULL else NULL
    s.Y = <char *> c.Y + b * p.O * size if c.Y != NULL else NULL
    s.S = <char *> c.S + b * p.H * size if c.S != NULL else NULL
    s.R = <char *> c.R + b * p.H * size if c.R != NULL else NULL
    s.final_state = <char *> c.final_state + b * p.H * size if c.final_state != NULL else NULL
    s.losses = <char *> c.losses + b * size if c.losses != NULL else NULL
    s.dX = <char *> c.dX + b * p.I * size if c.dX != NULL else NULL
    s.dS_0 = <char *> c.dS_0 + b * p.H * size if c.dS_0 != NULL else NULL
    s.terms_S = <char *> c.terms_S + b * p.H * size if c.terms_S != NULL else NULL


cdef void number_rows(const Call *c, Py_ssize_t shards, Py_ssize_t i, Py_ssize_t *first) noexcept nogil:
    """first[t]: how many rows shard i of an arranged call has before step t."""
    cdef Py_ssize_t t, n = 0
    for t in range(c.most):
        first[t] = n
        n += share(c.alive[t], shards, i)
    first[c.most] = n


cdef inline Py_ssize_t rows_before(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Rows of the steps before t."""
    return w.first[t] if c.arranged else t * c.rows


cdef inline Py_ssize_t rows_at(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Rows of step t: the sequences that have it."""
    if not c.arranged:
        return c.rows
    return w.first[t + 1] - w.first[t] if t < c.most else 0


cdef Py_ssize_t end_of_block(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """The step after the last one of the block that begins with step t."""
    cdef Py_ssize_t end = t + 1, most = c.most
    if c.k1 > 0:
        most = min(most, (t // c.k1 + 1) * c.k1)
    if t < c.past:
        most = min(most, c.past)
    if not c.arranged:
        return min(most, t + max(1, w.rows // max(c.rows, 1)))
    if w.first[most] - w.first[t] <= w.rows:
        return most
    while end < most and w.first[end + 1] - w.first[t] <= w.rows:
        end += 1
    return end


cdef inline Py_ssize_t callers(const Call *c, Py_ssize_t t, Py_ssize_t b) noexcept nogil:
    """Which of the caller's steps a reverse recurrence takes as step t of sequence b."""
    return (c.lengths[b] if c.arranged and c.lengths != NULL else c.most) - 1 - t


cdef inline bint is_reset(const Call *c, Py_ssize_t t, Py_ssize_t row) noexcept nogil:
    if c.reverse:  # where the caller's next step begins with the network's own state, the two are parted
        return t > 0 and c.resets[(callers(c, t, c.order[row]) + 1) * c.B + c.order[row]]
    return c.resets[t * c.B + c.order[row]]


cdef bint find_reset(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(rows_at(c, w, t)):
        if is_reset(c, t, row):
            return True
    return False


cdef inline Py_ssize_t end_of_run(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """The step after the last of the run that begins with step t: of steps before `end` of the same rows, of which none is
    reset but at step t."""
    cdef Py_ssize_t rows = rows_at(c, w, t), next = t + 1
    if rows > 0 and c.arranged and c.lengths != NULL:
        end = min(end, c.lengths[c.order[rows - 1]])  # until the shortest of them ends
    if c.resets == NULL or not c.arranged:
        return end
    while next < end and not find_reset(c, w, next):
        next += 1
    return next


cdef inline Py_ssize_t begin_of_run(const Call *c, const Workspace *w, Py_ssize_t begin, Py_ssize_t t) noexcept nogil:
    """The first step, from step `begin` on, of the run that ends with step t."""
    cdef Py_ssize_t rows = rows_at(c, w, t)
    if rows < c.rows and c.lengths != NULL:
        begin = max(begin, c.lengths[c.order[rows]])  # where the longest of the others has ended
    if c.resets == NULL:
        return begin
    while t > begin and not find_reset(c, w, t):
        t -= 1
    return t


cdef inline bint any_reset(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Whether the state before step t is a new one for any of its rows."""
    return c.resets != NULL and c.arranged and find_reset(c, w, t)


cdef Py_ssize_t *find_places(const Plan *p, const Call *c, Workspace *w, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Where the rows of the steps t ... end stand in the caller's arrays (T, B, ...); NULL: in their order."""
    cdef Py_ssize_t row, rows, b, next
    cdef Py_ssize_t *places = w.places
    if not (c.arranged or p.one_hot or p.reverse):
        return NULL
    if w.placed == t and w.placed_until == end:
        return places
    w.placed, w.placed_until = t, end
    while t < end and c.arranged and not p.reverse:
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        place_run(next - t, rows, c.order, t * c.B, c.B, places)
        places += (next - t) * rows
        t = next
    for t in range(t, end):
        rows = rows_at(c, w, t)
        for row in range(rows):
            b = c.order[row] if c.arranged else row
            places[row] = (callers(c, t, b) if p.reverse else t) * c.B + b
        places += rows
    return w.places


cdef void place_run(Py_ssize_t steps, Py_ssize_t rows, const Py_ssize_t *order, Py_ssize_t begin, Py_ssize_t B,
                    Py_ssize_t *places) noexcept nogil:
    """places = begin + step B + order                                                                  (steps, rows)

    Four rows at a time, the last ones first: what they write beyond their own is written over by the others. What `order` has
    there is anything, so the sums are of unsigned numbers, which may overflow.
    """
    cdef Py_ssize_t i, row
    cdef Py_ssize_t *target
    cdef size_t x0, x1, x2, x3, first = <size_t> begin, step = <size_t> B
    for row in range((rows + 3) // 4 * 4 - 4, -1, -4):
        x0, x1 = first + <size_t> order[row], first + <size_t> order[row + 1]
        x2, x3 = first + <size_t> order[row + 2], first + <size_t> order[row + 3]
        target = places + row
        for i in range(steps):
            target[0], target[1], target[2], target[3] = <Py_ssize_t> x0, <Py_ssize_t> x1, <Py_ssize_t> x2, <Py_ssize_t> x3
            x0, x1, x2, x3 = x0 + step, x1 + step, x2 + step, x3 + step
            target += rows


cdef inline Py_ssize_t place(const Call *c, Py_ssize_t t, const Py_ssize_t *places, Py_ssize_t row) noexcept nogil:
    """Where in the caller's arrays (T, B, ...) a row of the block that begins with step t stands."""
    return places[row] if places != NULL else (t + row // c.rows) * c.B + row % c.rows


cdef void gather_labels(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places,
                        Py_ssize_t *gathered) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(rows):
        gathered[row] = c.labels[place(c, t, places, row)]


cdef void add_rows(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places, Py_ssize_t width,
                   const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    """target[place] += A                                                                              (rows, width)"""
    cdef Py_ssize_t row, j
    cdef floating *sum
    for row in range(rows):
        sum = target + place(c, t, places, row) * width
        for j in range(width):
            sum[j] += A[row * lda + j]


@cython.final
cdef class Memory:
    """Bytes from a multiple of 64 on."""

    cdef char *raw
    cdef char *base
    cdef Py_ssize_t bytes

    def __cinit__(self, Py_ssize_t bytes):
        self.raw = <char *> PyMem_RawMalloc(bytes + 64)
        if self.raw == NULL:
            raise MemoryError(f"no memory for a workspace of {bytes} bytes")
        self.base = self.raw + (64 - <size_t> self.raw % 64)
        self.bytes = bytes

    def __dealloc__(self):
        PyMem_RawFree(self.raw)


cdef bint stopped(Call *c) noexcept nogil:
    """Whether Ctrl-C came; asked at most every 20 ms. The exception is then set, and waits for the GIL."""
    cdef double time
    cdef unsigned long long mode
    if not c.polls or read_flag(c.stop):
        return read_flag(c.stop)
    time = now()
    if c.polled[0] == NEVER:
        c.polled[0] = time
    if 0 <= time - c.polled[0] < 0.02:
        return False
    c.polled[0] = time
    with gil:  # handlers are Python code
        mode = keep_denormals()
        write_flag(c.stop, PyErr_CheckSignals() != 0)
        restore(mode)
    return read_flag(c.stop)


cdef int pass_on() except -1:
    """Raise the exception that is set."""
    return -1


# ---------------------------------------------------------------------------------------------------------------------
# Forward, backward, and the terms of the gradient: reference.py over blocks
# ---------------------------------------------------------------------------------------------------------------------


cdef void pack_weights(const Plan *p, const Call *c, const Kernels *k, Shared *shared, const floating *theta) noexcept nogil:
    cdef Py_ssize_t I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = padded(k, I, theta), ldh = padded(k, H, theta), ldo = padded(k, O, theta)
    cdef floating *P_x = <floating *> shared.P_x
    # P = W.T
    if p.recurs:
        if p.one_hot:
            tabulate(p, theta, P_x, ldh)
        else:
            pack(k, I, H, theta + p.W_x, 1, I, P_x, ldh)
        if c.most > 1 or not from_zero(p, c):
            pack(k, H, H, theta + p.W_s, 1, H, <floating *> shared.P_s, ldh)
    if p.reads:
        pack(k, H, O, theta + p.W_y, 1, H, <floating *> shared.P_y, ldo)
    # Q = W
    if c.saves and p.recurs and (c.most > 1 or to_first_state(p, c) or c.omega != 0):
        pack(k, H, H, theta + p.W_s, H, 1, <floating *> shared.Q_s, ldh)
    if p.reads and (c.saves or c.dX != NULL):
        pack(k, O, H, theta + p.W_y, H, 1, <floating *> shared.Q_y, ldh)
    if c.dX != NULL and p.recurs:
        pack(k, H, I, theta + p.W_x, I, 1, <floating *> shared.Q_x, ldi)


cdef void pull_back_terms(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """`pull_back` of each step's terms."""
    cdef Py_ssize_t i, I = p.I, H = p.H
    for i in range(c.T):
        if stopped(c):
            return
        pull_back(H * H, p.maps + p.W_s, theta + p.W_s, <floating *> c.terms_W_s + i * H * H)
        pull_back(H * I, p.maps + p.W_x, theta + p.W_x, <floating *> c.terms_W_x + i * H * I)
    pull_back(p.O * H, p.maps + p.W_y, theta + p.W_y, <floating *> c.terms_W_y)


cdef void tabulate(const Plan *p, const floating *theta, floating *table, Py_ssize_t ldh) noexcept nogil:
    """table[id] = W_x[:, id] + b_s, row by row: a packed matrix lies in panels                            (I, H)"""
    cdef Py_ssize_t i, h
    memset(table, 0, p.I * ldh * sizeof(floating))
    for i in range(p.I):
        for h in range(p.H):
            table[i * ldh + h] = theta[p.W_x + h * p.I + i] + (theta[p.b_s + h] if p.b_s >= 0 else 0)


# ---- Rows in and out: of steps t ... t + n of the caller's (T, B, width), or from and to `places` there


cdef inline void read(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places,
                      Py_ssize_t width, const floating *source, floating *A, Py_ssize_t lda) noexcept nogil:
    if places != NULL:
        gather(k, 1, rows, width, source, 0, width, places, A, lda)
    elif c.rows == c.B:
        gather(k, 1, rows, width, source + t * c.B * width, 0, width, NULL, A, lda)
    else:
        gather(k, rows // c.rows, c.rows, width, source + t * c.B * width, c.B * width, width, NULL, A, lda)


cdef inline void write(const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places,
                       Py_ssize_t width, const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    if places != NULL:
        scatter(k, 1, rows, width, A, lda, target, 0, width, places)
    elif c.rows == c.B:
        scatter(k, 1, rows, width, A, lda, target + t * c.B * width, 0, width, NULL)
    else:
        scatter(k, rows // c.rows, c.rows, width, A, lda, target + t * c.B * width, c.B * width, width, NULL)


cdef void multiply(Py_ssize_t n, double factor, floating *x) noexcept nogil:
    """x *= factor, which need not be a number of x's type"""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = <floating> (factor * x[i])


cdef void look_up(const Call *c, Py_ssize_t rows, const Py_ssize_t *places, const floating *table, Py_ssize_t ldh,
                  floating *A) noexcept nogil:
    """A = table[ids]                                                                                      (rows, H)"""
    cdef Py_ssize_t i
    for i in range(rows):
        memcpy(A + i * ldh, table + c.ids[places[i]] * ldh, ldh * sizeof(floating))


cdef void add_by_id(const Call *c, Py_ssize_t rows, const Py_ssize_t *places, const floating *delta, Py_ssize_t ldh,
                    floating *table) noexcept nogil:
    """table[ids] += delta                                                                                 (rows, H)"""
    cdef Py_ssize_t i, h
    cdef floating *row
    for i in range(rows):
        row = table + c.ids[places[i]] * ldh
        for h in range(ldh):
            row[h] += delta[i * ldh + h]


cdef Py_ssize_t pick(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end, const floating *weights) noexcept nogil:
    """Which rows of the steps t ... end have an error, and where its target stands; how many these are."""
    cdef Py_ssize_t row, j, place, n = 0, i = 0
    cdef bint picked
    for t in range(t, end):
        for row in range(rows_at(c, w, t)):
            place = c.order[row] if c.arranged else row
            picked = row >= rows_at(c, w, t + 1) if c.arranged else t == c.most - 1
            if not c.last:
                place, picked = t * c.B + place, True
            if picked and c.weight_width > 0:
                picked = False
                for j in range(c.weight_width):
                    picked = picked or weights[place * c.weight_width + j] != 0
            if picked:
                w.at[n], w.outputs[n] = i, place
                n += 1
            i += 1
    return n


# ---- Noise and dropout


cdef inline unsigned int number_of(const Call *c, Py_ssize_t b) noexcept nogil:
    """Which sequence to the draws the shard's, or of an arranged call the caller's, sequence b is."""
    return <unsigned int> (c.numbers[c.begin + b] if c.numbers != NULL else c.begin + b)


cdef void add_noise(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *places, unsigned int kind, double scale,
                    Py_ssize_t n, floating *A, Py_ssize_t lda) noexcept nogil:
    """A += noise, for the rows of the steps from t on                                                    (rows, n)"""
    cdef Py_ssize_t row, at
    for row in range(rows if scale > 0 else 0):
        at = place(c, t, places, row)
        add_normals(c.noise_key, kind, <unsigned int> (c.first + at // c.B), number_of(c, at % c.B), c.call, scale, n,
                    A + row * lda)


cdef void draw_masks(const Plan *p, const Call *c, const Workspace *w, floating *mask) noexcept nogil:
    """The masks of the sequences of a shard                                                              (rows, H)"""
    cdef Py_ssize_t row
    cdef unsigned int sequence
    memset(mask, 0, c.rows * w.ldh * sizeof(floating))
    for row in range(c.rows):
        sequence = number_of(c, c.order[row] if c.arranged else row)
        draw_mask(c.dropout_key, p.kind, sequence, c.call, 1 - c.dropout, p.H, mask + row * w.ldh)


cdef void drop_out(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end, const floating *source,
                   floating *masked) noexcept nogil:
    """masked[t] = mask * source[t] for the steps t ... end"""
    cdef Py_ssize_t i, n
    cdef const floating *mask = <floating *> w.mask
    for t in range(t, end):
        n = rows_at(c, w, t) * w.ldh
        for i in range(n):
            masked[i] = source[i] * mask[i]
        masked, source = masked + n, source + n


# ---- The recurrence of a block, by as many steps at once as have the same rows


cdef void own_states(const Plan *p, const Kernels *k, const floating *theta, Py_ssize_t rows, Py_ssize_t ldh,
                     floating *S) noexcept nogil:
    """The network's own first state, S_0 or zero                                                          (rows, H)"""
    if p.S_0 >= 0:
        gather(k, 1, rows, p.H, theta + p.S_0, 0, 0, NULL, S, ldh)
    else:
        memset(S, 0, rows * ldh * sizeof(floating))


cdef inline bint from_zero(const Plan *p, const Call *c) noexcept nogil:
    """Whether what W_s reads first is all zero: its product with W_s is none, nor has ∂E/∂W_s anything of it."""
    return c.initial_state == NULL and p.S_0 < 0 and c.units.form == PLAIN


cdef inline bint to_first_state(const Plan *p, const Call *c) noexcept nogil:
    """Whether ∂E/∂S_0 is wanted, of the sequences or of the network's own."""
    return c.dS_0 != NULL or p.S_0 >= 0


cdef void renew(const Call *c, const Workspace *w, Py_ssize_t t, const floating *before, const void *initial,
                floating *renewed) noexcept nogil:
    """The states before step t: those of the step before, but for the rows that are reset."""
    cdef Py_ssize_t row, rows = rows_at(c, w, t), ldh = w.ldh
    memcpy(renewed, before, rows * ldh * sizeof(floating))
    for row in range(rows if c.resets != NULL else 0):
        if is_reset(c, t, row):
            memcpy(renewed + row * ldh, initial, ldh * sizeof(floating))


cdef void to_rates(const Call *c, const Kernels *k, Py_ssize_t rows, Py_ssize_t ldh, floating *A) noexcept nogil:
    """A = g1(A)                                                                                            (rows, H)"""
    cdef ErrorOptions what
    memset(&what, 0, sizeof(ErrorOptions))
    what.activation = c.units.activation
    error(k, &what, rows, <const floating *> NULL, 0, NULL, <const floating *> NULL, 0, A, ldh, <floating *> NULL)


cdef void recur_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t, Py_ssize_t end,
                        const floating *P_s, const floating *before, floating *S, floating *other) noexcept nogil:
    """S[t] = g1(S[t] + S[t - 1] @ W_s.T) for the steps t ... end, whose rows begin at S; of leaky units `integrate`."""
    cdef Py_ssize_t rows, next, ldh = w.ldh
    cdef const floating *integrated = <floating *> w.other
    if t == 0 and from_zero(p, c):
        before = NULL
    while t < end:
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        if before != NULL and any_reset(c, w, t):
            renew(c, w, t, before, w.initial, <floating *> w.renewed)
            before = <floating *> w.renewed
            if c.units.form == CURRENT:
                renew(c, w, t, integrated, w.initial_other, <floating *> w.renewed_other)
                integrated = <floating *> w.renewed_other
        if c.units.form == PLAIN:
            recur(k, p.activation, next - t, rows, p.H, P_s, ldh, before, S)
        else:
            integrate(k, &c.units, next - t, rows, p.H, P_s, ldh, <const floating *> w.mask, <floating *> w.masked, before,
                      integrated, S, other)
            integrated = other + (next - t - 1) * rows * ldh
            other += (next - t) * rows * ldh
        before = S + (next - t - 1) * rows * ldh
        S += (next - t) * rows * ldh
        t = next


cdef void add_in_double(Py_ssize_t n, const floating *x, double *sum) noexcept nogil:
    """sum += x: one by one a thousand float32 numbers would be off by 1e-6 of their sum."""
    cdef Py_ssize_t i
    for i in range(n):
        sum[i] += x[i]


cdef void narrow(Py_ssize_t n, const double *x, floating *y) noexcept nogil:
    """y = x"""
    cdef Py_ssize_t i
    for i in range(n):
        y[i] = <floating> x[i]


cdef void find_old_start(const Plan *p, const Call *c, const Kernels *k, Py_ssize_t t, Py_ssize_t ldh,
                         floating *row) noexcept nogil:
    """What W_s read of the S_0 that a reset at step t < c.old brought                                         (H,)"""
    gather(k, 1, 1, p.H, <const floating *> c.past_S_0 + t * p.H, 0, p.H, NULL, row, ldh)
    if c.units.form == CURRENT:
        to_rates(c, k, 1, ldh, row)


cdef void drop_to_old_start(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t, Py_ssize_t row,
                            const floating *Q_s, const floating *delta) noexcept nogil:
    """Add what goes back to the S_0 of step t < c.old to w.old_dropped: of the current form, where g1' of that S_0 counts."""
    cdef Py_ssize_t ldh = w.ldh
    cdef floating *rates = <floating *> w.old
    cdef floating *nothing = rates + ldh
    find_old_start(p, c, k, t, ldh, rates)
    memset(nothing, 0, ldh * sizeof(floating))
    back(p, c, k, w, 1, row, 1, Q_s, rates, delta, nothing)
    add_in_double(p.H, <floating *> w.dU + row * ldh, <double *> w.old_dropped)


cdef const floating *drop(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                          const floating *Q_s, const floating *later) noexcept nogil:
    """delta of step t as the step before receives it: nothing of the rows that are reset, whose sum goes to S_0.

    Of leaky units the same is done to dU, and each row has a sum of its own.
    """
    cdef Py_ssize_t row, own, ldh = w.ldh
    cdef floating *kept = <floating *> w.renewed
    cdef floating *dU = <floating *> w.dU
    cdef bint leaky = c.units.form != PLAIN
    if not any_reset(c, w, t):
        return later
    memmove(kept, later, rows_at(c, w, t) * ldh * sizeof(floating))
    for row in range(rows_at(c, w, t)):
        if is_reset(c, t, row):
            own = row * ldh if leaky else 0
            if t < c.old and c.units.form == CURRENT:
                drop_to_old_start(p, c, k, w, t, row, Q_s, kept + row * ldh)
            else:
                add_in_double(p.H, kept + row * ldh, <double *> w.dropped + own)
                if leaky:
                    add_in_double(p.H, dU + row * ldh, <double *> w.dropped_dU + own)
            memset(kept + row * ldh, 0, ldh * sizeof(floating))
            if leaky:
                memset(dU + row * ldh, 0, ldh * sizeof(floating))
    return kept


cdef inline void back(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t steps, Py_ssize_t row,
                      Py_ssize_t rows, const floating *Q_s, const floating *R, const floating *later,
                      floating *delta) noexcept nogil:
    """`recur_back`, or of leaky units `integrate_back`, of the sequences row ... row + rows."""
    if c.units.form == PLAIN:
        recur_back(k, p.activation, steps, rows, p.H, Q_s, w.ldh, R, later, delta)
    else:
        integrate_back(k, &c.units, steps, rows, p.H, Q_s, w.ldh,
                       <const floating *> w.mask + row * w.ldh if w.mask != NULL else <const floating *> NULL,
                       <floating *> w.masked, R, later, <floating *> w.dU + row * w.ldh, delta)


cdef void recur_back_through(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *Q_s, const floating *R, const floating *later,
                             floating *delta) noexcept nogil:
    """delta[t] = (delta[t] + delta[t + 1] @ W_s) * g1'(R[t]) for the steps t ... end; `later` is delta of step `end`."""
    cdef Py_ssize_t rows, before, others, at, ldh = w.ldh
    if not c.arranged:
        back(p, c, k, w, end - t, 0, c.rows, Q_s, R, later, delta)
        return
    while end > t:
        rows, others = rows_at(c, w, end - 1), rows_at(c, w, end) if later != NULL else 0
        before = begin_of_run(c, w, t, end - 1)
        if others > 0:
            later = drop(p, c, k, w, end, Q_s, later)
        if others < rows:  # of the others this is the last step
            at = (w.first[end - 1] - w.first[t]) * ldh
            if others > 0:
                back(p, c, k, w, 1, 0, others, Q_s, R + at, later, delta + at)
            back(p, c, k, w, 1, others, rows - others, Q_s, R + at + others * ldh, <const floating *> NULL,
                 delta + at + others * ldh)
            later = delta + at
            end -= 1
        at = (w.first[before] - w.first[t]) * ldh
        if end > before:
            back(p, c, k, w, end - before, 0, rows, Q_s, R + at, later, delta + at)
        later, end = delta + at, before


cdef int forward(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                 const floating *theta) noexcept nogil:
    """Outputs, states and errors; where c.gradient is wanted also delta_y, ∂E/∂W_y and ∂E/∂b_y."""
    cdef Py_ssize_t H = p.H, ldh = w.ldh
    cdef floating *S = <floating *> w.S
    # S[0] = S_0                                                                                      (B, H)
    if c.initial_state != NULL and not c.known:
        gather(k, 1, c.rows, H, <const floating *> c.initial_state, 0, H, c.order, S, ldh)
    elif not c.known:
        own_states(p, k, theta, c.rows, ldh, S)
    if not c.arranged and c.S != NULL:
        scatter(k, 1, c.rows, H, S, ldh, <floating *> c.S, 0, H, NULL)
    if c.units.form == CURRENT:
        memcpy(w.other, S, c.rows * ldh * sizeof(floating))
        to_rates(c, k, c.rows, ldh, S)
    if c.arranged:
        own_states(p, k, theta, 1, ldh, <floating *> w.initial)
    if c.arranged and c.units.form == CURRENT:
        memcpy(w.initial_other, w.initial, ldh * sizeof(floating))
        to_rates(c, k, 1, ldh, <floating *> w.initial)
    if w.mask != NULL:
        draw_masks(p, c, w, <floating *> w.mask)
    w.origin = w.segments = 0
    if c.given:
        number_blocks(c, w)
        return DONE
    return forward_through(p, c, k, shared, w, theta, 0, c.most, False)


cdef void number_blocks(const Call *c, Workspace *w) noexcept nogil:
    """The blocks' first steps, of an arranged call."""
    cdef Py_ssize_t t = 0, block = 0
    while c.arranged and t < c.most:
        w.begins[block] = t
        t, block = end_of_block(c, w, t), block + 1


cdef int forward_through(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, const floating *theta,
                         Py_ssize_t t, Py_ssize_t until, bint again) noexcept nogil:
    """The steps t ... until, from the states before them; `again`: for S and delta_y alone."""
    cdef Py_ssize_t B = c.B, I = p.I, H = p.H, O = p.O, K = c.error.K, width = c.weight_width
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo, ldk = w.ldk
    cdef Py_ssize_t end, block = 0, rows, errors, before = c.rows if t == 0 else rows_at(c, w, t - 1), after
    cdef bint targets = p.reads and (c.D != NULL or c.labels != NULL), keeps = c.saves and (c.segments == 0 or again)
    cdef double total
    cdef const Py_ssize_t *places
    cdef const Py_ssize_t *outputs
    cdef floating *S = <floating *> w.S + (c.rows - before) * w.ldh
    cdef floating *R
    cdef floating *A
    cdef floating *Z = <floating *> w.delta_y
    cdef floating *X = <floating *> w.X
    cdef floating *D = <floating *> w.D if c.D != NULL else NULL
    cdef floating *P_x = <floating *> shared.P_x
    cdef floating *P_s = <floating *> shared.P_s
    cdef floating *P_y = <floating *> shared.P_y
    cdef floating *gradient = <floating *> c.gradient
    cdef const floating *b_s = theta + p.b_s if p.b_s >= 0 else NULL
    cdef const floating *b_y = theta + p.b_y if p.b_y >= 0 else NULL
    cdef floating *weights = <floating *> w.weights
    cdef Py_ssize_t *labels = w.labels if c.labels != NULL else NULL
    cdef floating *losses = <floating *> w.losses if c.losses != NULL else NULL
    cdef floating *other = <floating *> w.other + (c.rows * ldh if c.units.form == CURRENT else 0)
    cdef floating *states  # of the block: A, or where that is the rates `other`

    while t < until:
        if t > 0 and stopped(c):
            return STOPPED
        end = end_of_block(c, w, t)
        if c.segments > 0 and not again:
            mark_border(c, w, t, end, block, S, before)
        if (c.arranged or c.k1 > 0) and not again:
            w.begins[block] = t
            block += 1
        rows, after = rows_before(c, w, end) - rows_before(c, w, t), rows_at(c, w, end - 1)
        places = find_places(p, c, w, t, end)
        A = S + before * ldh
        # A = X @ W_x.T + b_s, where S[1:] will be                                                    (rows, H)
        if t < c.past:
            read(c, k, t, rows, places, H, <const floating *> c.past_states, A, ldh)
            if c.units.form == CURRENT:
                memcpy(other, A, rows * ldh * sizeof(floating))
                to_rates(c, k, rows, ldh, A)
            elif c.units.form == RATE:
                read(c, k, t, rows, places, H, <const floating *> c.past_rates, other, ldh)
        elif not p.recurs:
            read(c, k, t, rows, places, H, <const floating *> c.X, A, ldh)
        elif p.one_hot and not c.known:
            look_up(c, rows, places, P_x, ldh, A)
        elif not c.known:
            read(c, k, t, rows, places, I, <const floating *> c.X, X, ldi)
            add_noise(c, t, rows, places, INPUT, c.input_noise, I, X, ldi)
            affine(k, rows, I, H, X, ldi, P_x, ldh, b_s, A, ldh)
        if t >= c.past and p.recurs and not c.known:
            add_noise(c, t, rows, places, p.kind, c.noise, H, A, ldh)
        # S[t + 1] = g1(A[t] + S[t] @ W_s.T)                                                          (rows, H)
        if t >= c.past and p.recurs and not c.known:
            recur_through(p, c, k, w, t, end, P_s, S, A, other)
        states = other if c.units.form == CURRENT else A
        if c.S != NULL and not again:
            write(c, k, t, rows, places, H, states, ldh, <floating *> c.S + B * H)
        if c.R != NULL and not again:
            write(c, k, t, rows, places, H, A if states == other else other, ldh, <floating *> c.R)
        if c.rates != 0 and t >= c.past and not again:
            c.squares += sum_of_squares(rows, H, A, ldh)

        if (targets or c.Y != NULL) and t >= c.past:
            R, errors, outputs = A, rows, places
            if c.picks:
                errors, outputs = pick(c, w, t, end, <const floating *> c.weights), w.outputs
                if 0 < errors < rows:
                    R = <floating *> w.R
                    gather(k, 1, errors, H, A, 0, ldh, w.at, R, ldh)
            # Z = S[1:] @ W_y.T + b_y                                                                 (errors, O)
            if errors > 0:
                affine(k, errors, H, O, R, ldh, P_y, ldo, b_y, Z, ldo)
                # Y = g2(Z), or e and delta_y = scale ∂(Σ m e)/∂Z, in the place of Z                  (errors, O)
                if D != NULL:
                    read(c, k, t, errors, outputs, K, <const floating *> c.D, D, ldk)
                if labels != NULL:
                    gather_labels(c, t, errors, outputs, labels)
                if width:
                    read(c, k, t, errors, outputs, width, <const floating *> c.weights, weights, width)
                if width and c.weight_scale != 1:
                    multiply(errors * width, c.weight_scale, weights)
                total = error(k, &c.error, errors, D, ldk, labels, weights, width, Z, ldo, losses)
                if not again:
                    c.total += total
                if losses != NULL:
                    write(c, k, t, errors, outputs, 1, losses, 1, <floating *> c.losses)
                if c.Y != NULL:
                    write(c, k, t, errors, outputs, O, Z, ldo, <floating *> c.Y)
                if gradient != NULL and not again:
                    # dW_y = delta_y.T @ S[1:] ;  db_y = delta_y.sum(axis=0)                          (O, H) ; (O,)
                    accumulate(k, errors, O, H, Z, ldo, R, ldh, gradient + p.W_y, H)
                    if p.b_y >= 0:
                        column_sums(k, errors, O, Z, ldo, gradient + p.b_y)
            if c.dX != NULL and not p.recurs:
                # dX = delta_y @ W_y                                                                  (rows, H)
                w.origin = rows_before(c, w, t)
                bring_back(p, c, k, w, <floating *> shared.Q_y, t, t, end, <floating *> w.delta)
                write(c, k, t, rows, places, H, <floating *> w.delta, ldh, <floating *> c.dX)
        if c.final_state != NULL and c.arranged:
            write_last_states(p, c, k, w, t, end, states)

        A += (rows - after) * ldh  # the last step's
        if c.units.form == CURRENT:
            memmove(w.other, other + (rows - after) * ldh, after * ldh * sizeof(floating))
        elif c.units.form == RATE and keeps:
            other += rows * ldh
        if keeps:
            S = A
            Z += rows * ldo
        else:  # the next block begins where this one ended
            memmove(S, A, after * ldh * sizeof(floating))
        before, t = after, end

    if c.segments > 0 and not again:
        w.borders[w.segments] = until
        w.border_blocks[w.segments] = block
    if c.final_state != NULL and not c.arranged:
        scatter(k, 1, before, H, <floating *> w.other if c.units.form == CURRENT else S, ldh, <floating *> c.final_state, 0, H,
                NULL)
    return DONE


cdef void mark_border(const Call *c, Workspace *w, Py_ssize_t t, Py_ssize_t end, Py_ssize_t block, const floating *S,
                      Py_ssize_t rows) noexcept nogil:
    """Let a new segment begin with the block t ... end where the last one has no room for it; S are the states before it."""
    cdef Py_ssize_t begin = w.borders[w.segments - 1] if w.segments > 0 else 0
    if w.segments > 0 and rows_before(c, w, end) - rows_before(c, w, begin) <= max(w.rows, c.segment_rows):
        return
    w.borders[w.segments] = t
    w.border_blocks[w.segments] = block
    memcpy(<floating *> w.border_states + w.segments * c.rows * w.ldh, S, rows * w.ldh * sizeof(floating))
    if c.units.form == CURRENT:
        memcpy(<floating *> w.border_others + w.segments * c.rows * w.ldh, w.other, rows * w.ldh * sizeof(floating))
    w.segments += 1


cdef void write_last_states(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                            Py_ssize_t end, const floating *S) noexcept nogil:
    """final_state of the sequences whose last step is one of t ... end, whose rows begin at S."""
    cdef Py_ssize_t others, begin = t
    for t in range(t, end):
        others = rows_at(c, w, t + 1)
        if others < rows_at(c, w, t):
            scatter(k, 1, rows_at(c, w, t) - others, p.H, S + (w.first[t] - w.first[begin] + others) * w.ldh, w.ldh,
                    <floating *> c.final_state, 0, p.H, c.order + others)


cdef void backward(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                   const floating *theta) noexcept nogil:
    """From the saved S and delta_y to every other gradient."""
    cdef Py_ssize_t B = c.rows, H = p.H, ldh = w.ldh, since = c.past, end, block = 0, i, h
    cdef bint begun = False  # some error went back through the first step
    cdef const floating *first
    cdef floating *first_delta = <floating *> w.first_delta
    cdef floating *delta = <floating *> w.delta
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *gradient = <floating *> c.gradient
    cdef floating *table = <floating *> w.table
    cdef floating *dU = <floating *> w.dU
    cdef floating *first_dU = <floating *> w.first_dU
    cdef bint leaky = c.units.form != PLAIN

    if c.arranged:
        memset(w.dropped, 0, (B if leaky else 1) * ldh * sizeof(double))
    if c.arranged and leaky:
        memset(w.dropped_dU, 0, B * ldh * sizeof(double))
        memset(w.old_dropped, 0, ldh * sizeof(double))
    if p.one_hot:
        memset(table, 0, p.I * ldh * sizeof(floating))
    first = <floating *> w.later
    if c.k1 == 0:
        if c.segments > 0:
            begun = backward_again(p, c, k, shared, w, theta)
        elif c.most > 0:
            block = blocks_until(c, w, c.most, 0) if c.arranged else 0
            begun = backward_through(p, c, k, shared, w, theta, 0, 0, c.most, block, <floating *> NULL)
    else:
        memset(first_delta, 0, B * ldh * sizeof(floating))
        if leaky:
            memset(first_dU, 0, B * ldh * sizeof(floating))
        while since < c.most:  # the errors of steps since ... end go back through the k2 steps before `end`
            end = min(since + c.k1, c.T)
            block = blocks_until(c, w, min(end, c.most), block)
            if backward_through(p, c, k, shared, w, theta, max(0, end - c.k2), since, min(end, c.most), block,
                                <floating *> NULL):
                begun = True
                for i in range(rows_at(c, w, 0) * ldh):
                    first_delta[i] += first[i]
                for i in range(rows_at(c, w, 0) * ldh if leaky else 0):
                    first_dU[i] += dU[i]
            since = end
        first = first_delta
        if leaky:
            memcpy(dU, first_dU, B * ldh * sizeof(floating))
    if read_flag(c.stop):
        return

    for i in range(p.I if p.one_hot else 0):
        for h in range(H):
            gradient[p.W_x + h * p.I + i] += table[i * ldh + h]
    # dS_0 = delta[0] @ W_s                                                                           (B, H)
    if not begun:
        if c.dS_0 != NULL and not c.arranged:
            memset(c.dS_0, 0, B * H * sizeof(floating))
    elif to_first_state(p, c):
        first = drop(p, c, k, w, 0, Q_s, first)
        if leaky:
            # dU = what goes back from step 0 to the states before it
            memset(delta, 0, B * ldh * sizeof(floating))
            back(p, c, k, w, 1, 0, B, Q_s, <floating *> w.S, first, delta)
            first = dU
        else:
            affine(k, B, H, H, first, ldh, Q_s, ldh, <const floating *> NULL, delta, ldh)
            first = delta
        if c.dS_0 != NULL:
            scatter(k, 1, B, H, first, ldh, <floating *> c.dS_0, 0, H, c.order)
        if p.S_0 >= 0 and (c.initial_state == NULL or c.own_start):
            column_sums(k, B, H, first, ldh, gradient + p.S_0)
    if p.S_0 >= 0 and c.arranged and leaky:
        # likewise from the steps that are reset
        for i in range(B):
            memcpy(<floating *> w.renewed + i * ldh, w.initial, ldh * sizeof(floating))
        memset(delta, 0, B * ldh * sizeof(floating))
        narrow(B * ldh, <double *> w.dropped_dU, dU)
        narrow(B * ldh, <double *> w.dropped, <floating *> w.later)
        back(p, c, k, w, 1, 0, B, Q_s, <floating *> w.renewed, <floating *> w.later, delta)
        column_sums(k, B, H, dU, ldh, gradient + p.S_0)
        if c.old > 0:
            narrow(ldh, <double *> w.old_dropped, delta)
            column_sums(k, 1, H, delta, ldh, gradient + p.S_0)
    elif p.S_0 >= 0 and c.arranged:
        narrow(ldh, <double *> w.dropped, <floating *> w.later)
        affine(k, 1, H, H, <floating *> w.later, ldh, Q_s, ldh, <const floating *> NULL, delta, ldh)
        column_sums(k, 1, H, delta, ldh, gradient + p.S_0)


cdef Py_ssize_t blocks_until(const Call *c, const Workspace *w, Py_ssize_t end, Py_ssize_t block) noexcept nogil:
    """How many blocks end with step `end` or before; `block` of them are known to."""
    while block == 0 or end_of_block(c, w, w.begins[block - 1]) < end:
        block += 1
    return block


cdef bint backward_again(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                         const floating *theta) noexcept nogil:
    """All errors back through all steps, segment by segment, each computed again; whether they came to the first step."""
    cdef Py_ssize_t i, begin, end, before, ldh = w.ldh
    cdef const floating *later = NULL
    for i in range(w.segments - 1, -1, -1):
        begin, end = w.borders[i], w.borders[i + 1]
        before = rows_at(c, w, begin - 1) if begin > 0 else c.rows
        w.origin = rows_before(c, w, begin)
        memcpy(<floating *> w.S + (c.rows - before) * ldh, <floating *> w.border_states + i * c.rows * ldh,
               before * ldh * sizeof(floating))
        if c.units.form == CURRENT:
            memcpy(w.other, <floating *> w.border_others + i * c.rows * ldh, before * ldh * sizeof(floating))
        if forward_through(p, c, k, shared, w, theta, begin, end, True) != DONE:
            return False
        if not backward_through(p, c, k, shared, w, theta, begin, begin, end, w.border_blocks[i + 1], later) and begin == 0:
            return False
        later = <floating *> w.later
    return later != NULL


cdef bint backward_through(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                           const floating *theta, Py_ssize_t begin, Py_ssize_t since, Py_ssize_t end, Py_ssize_t block,
                           const floating *later) noexcept nogil:
    """The errors of the steps since ... end, back through the steps begin ... end, the last of `block` blocks.

    `later` is delta of the step after them, if that goes back too. Whether they came to the first step of all; its delta
    is then in w.later.
    """
    cdef Py_ssize_t I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo
    cdef Py_ssize_t t, of_block, rows
    cdef const Py_ssize_t *places
    cdef floating *S
    cdef floating *A
    cdef floating *R
    cdef const floating *before
    cdef floating *X = <floating *> w.X
    cdef floating *delta = <floating *> w.delta
    cdef floating *Q_x = <floating *> shared.Q_x
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *gradient = <floating *> c.gradient
    cdef floating *dX = <floating *> c.dX

    while end > begin:
        if later != NULL and stopped(c):
            return False
        if c.arranged or c.k1 > 0:
            block -= 1
            of_block = w.begins[block]
        else:
            of_block = (end - 1) // (w.rows // c.rows) * (w.rows // c.rows)
        t = max(of_block, begin)
        rows = rows_before(c, w, end) - rows_before(c, w, t)
        if c.given:
            w.origin = rows_before(c, w, t)
        A = <floating *> w.S + (c.rows + rows_before(c, w, t) - w.origin) * ldh
        R = <floating *> w.other + (rows_before(c, w, t) - w.origin) * ldh if c.units.form == RATE else A
        S = A - (rows_at(c, w, t - 1) if t > 0 else c.rows) * ldh  # of the step before
        if c.given:
            read_known(p, c, k, w, t, S)
        places = find_places(p, c, w, t, end)
        if c.given:  # S[1:] of these steps
            read(c, k, t, rows, places, H, <const floating *> c.past_states, A, ldh)
        if c.given and c.units.form == CURRENT:
            to_rates(c, k, rows, ldh, A)
        elif c.given and c.units.form == RATE:
            read(c, k, t, rows, places, H, <const floating *> c.past_rates, R, ldh)
        # dS = delta_y @ W_y                                                                          (rows, H)
        if not p.reads:
            read(c, k, t, rows, places, H, <const floating *> c.D, delta, ldh)
        elif end > since:
            bring_back(p, c, k, w, <floating *> shared.Q_y, of_block, t, end, delta)
            if c.rates != 0:
                add_rates(rows, H, 2 * c.rates, A, ldh, delta)
        else:
            memset(delta, 0, rows * ldh * sizeof(floating))
        # delta[t] = (dS[t] + delta[t + 1] @ W_s) * g1'(S[t + 1])                                     (rows, H)
        if c.omega == 0:
            recur_back_through(p, c, k, w, t, end, Q_s, R, later, delta)
        else:
            recur_back_by_steps(p, c, k, w, t, end, Q_s, R, later, delta)
            spread(p, c, w, rows, <const floating *> delta)
            # slope += u.T @ (2 (1 - 1/r) v)                                                          (H, H)
            if H > 1:
                accumulate(k, rows, H, H, <floating *> w.dS, ldh, <floating *> w.back, ldh, <floating *> c.spread_slope, H)
            else:
                add_products(rows, <floating *> w.dS, <floating *> w.back, ldh, <floating *> c.spread_slope)
        # dW_s = delta.T @ S[:-1]                                                                     (H, H)
        before = S
        if c.arranged:
            find_states_before(p, c, k, w, t, end, S, A, <floating *> w.before)
            before = <floating *> w.before
        if w.mask != NULL:
            drop_out(c, w, t, end, before, <floating *> w.before)
            before = <floating *> w.before
        if end > 1 or not from_zero(p, c):
            accumulate(k, rows, H, H, delta, ldh, before, ldh, gradient + p.W_s, H)
        # dW_x = delta.T @ X ;  db_s = delta.sum(axis=0)                                              (H, I) ; (H,)
        if p.one_hot:
            add_by_id(c, rows, places, delta, ldh, <floating *> w.table)
        else:
            if end - t < c.most or c.given or c.known:  # of a single block forward has left X there
                read(c, k, t, rows, places, I, <const floating *> c.X, X, ldi)
                add_noise(c, t, rows, places, INPUT, c.input_noise, I, X, ldi)
            accumulate(k, rows, H, I, delta, ldh, X, ldi, gradient + p.W_x, I)
        if p.b_s >= 0:
            column_sums(k, rows, H, delta, ldh, gradient + p.b_s)
        if dX != NULL:
            # dX = delta @ W_x                                                                        (rows, I)
            affine(k, rows, H, I, delta, ldh, Q_x, ldi, <const floating *> NULL, X, ldi)
            if c.settles:
                settle_rows(rows, I, X, ldi, H, <const floating *> delta, ldh, c.norm_W_x)
            if c.k1 > 0:
                add_rows(c, t, rows, places, I, X, ldi, dX)
            else:
                write(c, k, t, rows, places, I, X, ldi, dX)
        later = <floating *> w.later
        memcpy(w.later, delta, rows_at(c, w, t) * ldh * sizeof(floating))
        end = t
    if begin > 0 and later != NULL and c.segments == 0:
        drop(p, c, k, w, begin, Q_s, later)  # what a reset there has from S_0, which is no constant
    return begin == 0 and later != NULL


cdef void add_rates(Py_ssize_t rows, Py_ssize_t H, double slope, const floating *S, Py_ssize_t ldh,
                    floating *dS) noexcept nogil:
    """dS += slope * S                                                                                     (rows, H)"""
    cdef Py_ssize_t i, h
    for i in range(rows):
        for h in range(H):
            dS[i * ldh + h] += <floating> slope * S[i * ldh + h]


cdef double sum_of_squares(Py_ssize_t rows, Py_ssize_t H, const floating *S, Py_ssize_t ldh) noexcept nogil:
    cdef Py_ssize_t i, h
    cdef double first = 0, second = 0, third = 0, fourth = 0  # one sum would wait for its last addition
    cdef const floating *row
    for i in range(rows):
        row = S + i * ldh
        for h in range(0, H - 3, 4):
            first += <double> row[h] * row[h]
            second += <double> row[h + 1] * row[h + 1]
            third += <double> row[h + 2] * row[h + 2]
            fourth += <double> row[h + 3] * row[h + 3]
        for h in range(H - H % 4, H):
            first += <double> row[h] * row[h]
    return first + second + third + fourth


cdef void recur_back_by_steps(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                              Py_ssize_t end, const floating *Q_s, const floating *R, const floating *later,
                              floating *delta) noexcept nogil:
    """`recur_back_through` with what Ω sees of each step: w.dS = ∂E/∂S and w.back = delta @ W_s                 (rows, H)

    delta is found from this very ∂E/∂S. Where the errors of two steps nearly cancel, another sum of them, rounded another
    way, is another number. Where they cancel but for rounding noise, ∂E/∂S is 0: else the noise would go back, too.
    """
    cdef double own, size
    cdef Py_ssize_t H = p.H, ldh = w.ldh, first = t, row, h, at, rows, others
    cdef floating *dS = <floating *> w.dS
    cdef floating *back = <floating *> w.back
    cdef const floating *after = <floating *> w.later_back  # of the step after
    for t in range(end - 1, first - 1, -1):
        at = (rows_before(c, w, t) - rows_before(c, w, first)) * ldh
        rows, others = rows_at(c, w, t), rows_at(c, w, t + 1) if later != NULL else 0
        if others > 0:
            drop(p, c, k, w, t + 1, Q_s, later)
        memcpy(dS + at, delta + at, rows * ldh * sizeof(floating))
        for row in range(others):
            if c.arranged and c.resets != NULL and is_reset(c, t + 1, row):
                continue
            own = norm_of(1, H, dS + at + row * ldh, ldh)
            for h in range(H):
                dS[at + row * ldh + h] += after[row * ldh + h]
            size = norm_of(1, H, later + row * ldh, ldh) * c.norm_W_s
            if is_noise(norm_of(1, H, dS + at + row * ldh, ldh), own + size, later):
                memset(dS + at + row * ldh, 0, ldh * sizeof(floating))
        memcpy(delta + at, dS + at, rows * ldh * sizeof(floating))
        recur_back(k, p.activation, 1, rows, H, Q_s, ldh, R + at, <const floating *> NULL, delta + at)
        affine(k, rows, H, H, <const floating *> delta + at, ldh, Q_s, ldh, <const floating *> NULL, back + at, ldh)
        later, after = delta + at, back + at
    memcpy(w.later_back, after, rows_at(c, w, first) * ldh * sizeof(floating))


cdef inline bint is_noise(double size, double terms, const floating *of) noexcept nogil:
    """Whether a row of this size is only rounding noise of the terms that were added, of numbers of this type."""
    cdef double epsilon = FLT_EPSILON if sizeof(floating) == sizeof(float) else DBL_EPSILON
    return size <= NOISE * epsilon * terms and isfinite(terms)


cdef void settle_rows(Py_ssize_t rows, Py_ssize_t width, floating *A, Py_ssize_t lda, Py_ssize_t n, const floating *delta,
                      Py_ssize_t ldd, double norm) noexcept nogil:
    """A = delta @ W (rows, width) with 0 in the rows that are only rounding noise; `norm` is W's, delta (rows, n)."""
    cdef Py_ssize_t i
    for i in range(rows):
        if is_noise(norm_of(1, width, <const floating *> A + i * lda, lda), norm_of(1, n, delta + i * ldd, ldd) * norm, delta):
            memset(A + i * lda, 0, lda * sizeof(floating))


cdef void find_norms(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """The Frobenius norms of the matrices, by which `settle_rows` judges products with them."""
    if p.recurs:
        c.norm_W_x, c.norm_W_s = norm_of(p.H, p.I, theta + p.W_x, p.I), norm_of(p.H, p.H, theta + p.W_s, p.H)
    if p.reads:
        c.norm_W_y = norm_of(p.O, p.H, theta + p.W_y, p.H)


cdef void spread(const Plan *p, Call *c, const Workspace *w, Py_ssize_t rows, const floating *delta) noexcept nogil:
    """Add Ω of some rows to the call's, and make the factors of its slope of what `recur_back_by_steps` has found.

    Of a row whose ∂E/∂S has the length n: u = delta / n, v = u @ W_s, r = ‖v‖; Ω sums (r - 1)², its slope 2 (1 - 1/r) uᵀ v.
    u takes the place of w.dS, 2 (1 - 1/r) v that of w.back.
    """
    cdef Py_ssize_t H = p.H, ldh = w.ldh, i, h
    cdef double size, r, u, v, least = LEAST_FLOW / c.unscale if c.unscale > 0 else LEAST_FLOW
    cdef floating *dS = <floating *> w.dS
    cdef floating *back = <floating *> w.back
    for i in range(rows):
        size, r = norm_of(1, H, dS + i * ldh, ldh), 0
        if size >= least:
            r = norm_of(1, H, back + i * ldh, ldh) / size
            c.spread += (r - 1) * (r - 1)
            c.spread_rows += 1
        if not r > 0:
            memset(dS + i * ldh, 0, ldh * sizeof(floating))
            memset(back + i * ldh, 0, ldh * sizeof(floating))
            continue
        u = 1 / size
        v = 2 * (1 - 1 / r) * u
        for h in range(H):
            dS[i * ldh + h] = <floating> (u * delta[i * ldh + h])
            back[i * ldh + h] = <floating> (v * back[i * ldh + h])
        for h in range(H, ldh):
            dS[i * ldh + h] = back[i * ldh + h] = 0


cdef void add_products(Py_ssize_t rows, const floating *u, const floating *v, Py_ssize_t ld, floating *sum) noexcept nogil:
    """sum += Σ u v in double: of one unit all rows have the same r, and a sum of equal numbers errs to one side each time."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(rows):
        total += <double> u[i * ld] * v[i * ld]
    sum[0] += <floating> total


cdef void read_known(const Plan *p, const Call *c, const Kernels *k, Workspace *w, Py_ssize_t t,
                     floating *S) noexcept nogil:
    """S = the states before step t, which are known                                                       (rows, H)"""
    if t > 0:
        read(c, k, t - 1, rows_at(c, w, t - 1), find_places(p, c, w, t - 1, t), p.H, <const floating *> c.past_states, S,
             w.ldh)
    else:
        gather(k, 1, c.rows, p.H, <const floating *> c.initial_state, 0, p.H, c.order, S, w.ldh)
    if c.units.form == CURRENT:
        to_rates(c, k, rows_at(c, w, t - 1) if t > 0 else c.rows, w.ldh, S)


cdef void bring_back(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, const floating *Q_y,
                     Py_ssize_t of_block, Py_ssize_t t, Py_ssize_t end, floating *dS) noexcept nogil:
    """dS = delta_y @ W_y for the steps t ... end of the block of_block ... end                             (rows, H)"""
    cdef Py_ssize_t O = p.O, H = p.H, ldh = w.ldh, ldo = w.ldo, i, skipped = 0, errors
    cdef Py_ssize_t above = rows_before(c, w, t) - rows_before(c, w, of_block)
    cdef Py_ssize_t rows = rows_before(c, w, end) - rows_before(c, w, t)
    cdef const floating *delta_y = <floating *> w.delta_y + (rows_before(c, w, of_block) - w.origin) * ldo
    errors = pick(c, w, of_block, end, <const floating *> c.weights) if c.picks else above + rows
    if errors == above + rows:
        affine(k, rows, O, H, delta_y + above * ldo, ldo, Q_y, ldh, <const floating *> NULL, dS, ldh)
        if c.settles:
            settle_rows(rows, H, dS, ldh, O, delta_y + above * ldo, ldo, c.norm_W_y)
        return
    memset(dS, 0, rows * ldh * sizeof(floating))
    while skipped < errors and w.at[skipped] < above:
        skipped += 1
    for i in range(skipped, errors):
        w.at[i] -= above
    if skipped < errors:
        affine(k, errors - skipped, O, H, delta_y + skipped * ldo, ldo, Q_y, ldh, <const floating *> NULL, <floating *> w.R,
               ldh)
        if c.settles:
            settle_rows(errors - skipped, H, <floating *> w.R, ldh, O, delta_y + skipped * ldo, ldo, c.norm_W_y)
        scatter(k, 1, errors - skipped, H, <floating *> w.R, ldh, dS, 0, ldh, w.at + skipped)


cdef void find_states_before(const Plan *p, const Call *c, const Kernels *k, const Workspace *w, Py_ssize_t t,
                             Py_ssize_t end, const floating *S, const floating *A, floating *before) noexcept nogil:
    """before[t] = S[t - 1], or what a reset brought, for the steps t ... end; A holds their states, S those before them."""
    cdef Py_ssize_t ldh = w.ldh, row, rows, next
    while t < end:
        renew(c, w, t, S, w.initial, before)
        for row in range(rows_at(c, w, t) if t < c.old and c.resets != NULL else 0):
            if is_reset(c, t, row):
                find_old_start(p, c, k, t, ldh, before + row * ldh)
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        # of the steps after it the states before are in one piece
        memcpy(before + rows * ldh, A, (next - t - 1) * rows * ldh * sizeof(floating))
        before += (next - t) * rows * ldh
        A += (next - t) * rows * ldh
        S = A - rows * ldh
        t = next


cdef void terms(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
                const floating *theta) noexcept nogil:
    """What each step i <= t contributes to the gradient of E_t, for t = T - 1, whose targets c.D and c.labels are."""
    cdef Py_ssize_t T = c.T, B = c.rows, I = p.I, H = p.H, O = p.O
    cdef Py_ssize_t ldi = w.ldi, ldh = w.ldh, ldo = w.ldo
    cdef Py_ssize_t i, b, h
    cdef floating *S = <floating *> w.S
    cdef floating *delta_y = <floating *> w.delta_y
    cdef floating *X = <floating *> w.X
    cdef floating *D = <floating *> w.D if c.D != NULL else NULL
    cdef floating *delta = <floating *> w.delta
    cdef floating *P_y = <floating *> shared.P_y
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *Q_y = <floating *> shared.Q_y
    cdef floating *W_s = <floating *> c.terms_W_s
    cdef floating *W_x = <floating *> c.terms_W_x
    cdef floating *dS = <floating *> c.terms_S
    cdef floating *R
    cdef const floating *later = NULL

    # delta_y = ∂E_t/∂Z_t ;  dW_y = delta_y.T @ S[t + 1] ;  dS[t] = delta_y @ W_y
    affine(k, B, H, O, S + T * B * ldh, ldh, P_y, ldo, theta + p.b_y if p.b_y >= 0 else NULL, delta_y, ldo)
    if D != NULL:
        gather(k, 1, B, c.error.K, <const floating *> c.D, 0, c.error.K, NULL, D, w.ldk)
    error(k, &c.error, B, D, w.ldk, c.labels, <const floating *> NULL, 0, delta_y, ldo, <floating *> NULL)
    accumulate(k, B, O, H, delta_y, ldo, S + T * B * ldh, ldh, <floating *> c.terms_W_y, H)
    affine(k, B, O, H, delta_y, ldo, Q_y, ldh, <const floating *> NULL, delta, ldh)

    for i in range(T - 1, -1, -1):
        if stopped(c):
            return
        if c.begin == 0:  # the first shard's; the others add to it
            memset(W_s + i * H * H, 0, H * H * sizeof(floating))
            memset(W_x + i * H * I, 0, H * I * sizeof(floating))
        R = <floating *> w.other + i * B * ldh if c.units.form == RATE else S + (i + 1) * B * ldh
        if c.units.form == PLAIN:
            scatter(k, 1, B, H, delta, ldh, dS + i * c.B * H, 0, H, NULL)
        # delta[i] = dS[i] * g1'(S[i + 1])                                                            (B, H)
        back(p, c, k, w, 1, 0, B, Q_s, R, later, delta)
        if c.units.form != PLAIN:
            scatter(k, 1, B, H, <floating *> w.dU, ldh, dS + i * c.B * H, 0, H, NULL)
        # W_s[i] = delta[i].T @ S[i] ;  W_x[i] = delta[i].T @ X[i]                                  (H, H) ; (H, I)
        accumulate(k, B, H, H, delta, ldh, S + i * B * ldh, ldh, W_s + i * H * H, H)
        if p.one_hot:
            for b in range(B):
                for h in range(H):
                    W_x[i * H * I + h * I + c.ids[i * c.B + b]] += delta[b * ldh + h]
        else:
            gather(k, 1, B, I, <const floating *> c.X + i * c.B * I, 0, I, NULL, X, ldi)
            accumulate(k, B, H, I, delta, ldh, X, ldi, W_x + i * H * I, I)
        # dS[i - 1] = delta[i] @ W_s                                                                  (B, H)
        if c.units.form != PLAIN:
            memcpy(w.later, delta, B * ldh * sizeof(floating))
            memset(delta, 0, B * ldh * sizeof(floating))
            later = <floating *> w.later
        elif i > 0:
            affine(k, B, H, H, delta, ldh, Q_s, ldh, <const floating *> NULL, <floating *> w.later, ldh)
            memcpy(delta, w.later, B * ldh * sizeof(floating))


cdef void flow(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w,
               const floating *theta) noexcept nogil:
    """‖∂E_t/∂S_i‖ of each error, as many at a time as stay in the cache, and of all together, added to c.flow."""
    cdef Py_ssize_t begin, end = c.flow_end
    cdef floating *norms = <floating *> c.flow
    flow_back(p, c, k, shared, w, 0, c.T, True, <floating *> c.flow_whole)
    while end > c.flow_begin:
        begin = max(c.flow_begin, end - w.flow_errors)
        flow_back(p, c, k, shared, w, begin, end, False, norms + (begin - c.flow_begin) * c.T)
        end = begin


cdef void flow_back(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, Py_ssize_t begin,
                    Py_ssize_t end, bint together, floating *norms) noexcept nogil:
    """The errors of steps begin ... end back through all steps before them, `together` or each by itself.

    Those by themselves are `errors` blocks of B rows, the last step's first, so that those which go on are the first rows.
    """
    cdef Py_ssize_t B = c.rows, T = c.T, H = p.H, ldh = w.ldh, ldo = w.ldo, errors = 0, i, n
    cdef const floating *delta_y = <floating *> w.delta_y
    cdef const floating *R
    cdef floating *dS = <floating *> w.flow_dS
    cdef floating *delta = <floating *> w.flow_delta
    cdef floating *norm
    cdef floating *Q_s = <floating *> shared.Q_s
    cdef floating *Q_y = <floating *> shared.Q_y
    if c.units.form != PLAIN:
        flow_back_leaky(p, c, k, shared, w, begin, end, together, norms)
        return
    for i in range(end - 1, -1, -1):
        if stopped(c):
            return
        R = <floating *> w.S + (i + 1) * B * ldh
        # dS[i] = delta[i + 1] @ W_s                                                                  (errors B, H)
        if errors > 0 and not together:
            affine(k, errors * B, H, H, delta, ldh, Q_s, ldh, <const floating *> NULL, dS, ldh)
        if i >= begin:
            # dS[i] = delta_y[i] @ W_y ;  together: + delta[i + 1] @ W_s                              (B, H)
            n = 0 if together else errors
            affine(k, B, p.O, H, delta_y + i * B * ldo, ldo, Q_y, ldh, <const floating *> NULL, dS + n * B * ldh, ldh)
            if together and errors > 0:
                recur_back(k, IDENTITY, 1, B, H, Q_s, ldh, R, delta, dS)
            errors = n + 1
        for n in range(errors):
            norm = norms + i if together else norms + (end - begin - 1 - n) * T + i
            norm[0] = <floating> hypot(norm[0], norm_of(B, H, dS + n * B * ldh, ldh))  # of the shards before, too
            # delta[i] = dS[i] * g1'(S[i + 1])                                                        (B, H)
            recur_back(k, p.activation, 1, B, H, Q_s, ldh, R, <const floating *> NULL, dS + n * B * ldh)
        dS, delta = delta, dS


cdef void flow_back_leaky(const Plan *p, Call *c, const Kernels *k, const Shared *shared, Workspace *w, Py_ssize_t begin,
                          Py_ssize_t end, bint together, floating *norms) noexcept nogil:
    """`flow_back` of leaky units, where ∂E/∂S is dU; that of the last error is the last of the `errors` blocks."""
    cdef Py_ssize_t B = c.rows, T = c.T, H = p.H, ldh = w.ldh, ldo = w.ldo, errors = 0, i, n, at
    cdef const floating *delta_y = <floating *> w.delta_y
    cdef const floating *R
    cdef const floating *later
    cdef floating *new = <floating *> w.flow_dS
    cdef floating *delta = <floating *> w.flow_delta
    cdef floating *dU = <floating *> w.flow_dU
    cdef floating *norm
    for i in range(end - 1, -1, -1):
        if stopped(c):
            return
        R = <floating *> w.other + i * B * ldh if c.units.form == RATE else <floating *> w.S + (i + 1) * B * ldh
        if i >= begin:
            errors = 1 if together else errors + 1
        for n in range(errors):
            at = n * B * ldh
            later = delta + at if i < end - 1 and (together or n < errors - 1 or i < begin) else NULL
            if i >= begin and n == errors - 1:
                affine(k, B, p.O, H, delta_y + i * B * ldo, ldo, <floating *> shared.Q_y, ldh, <const floating *> NULL, new,
                       ldh)
            else:
                memset(new, 0, B * ldh * sizeof(floating))
            integrate_back(k, &c.units, 1, B, H, <floating *> shared.Q_s, ldh, <const floating *> NULL, <floating *> NULL, R,
                           later, dU + at, new)
            memcpy(delta + at, new, B * ldh * sizeof(floating))
            norm = norms + i if together else norms + (end - begin - 1 - n) * T + i
            norm[0] = <floating> hypot(norm[0], norm_of(B, H, dU + at, ldh))  # of the shards before, too


cdef double norm_of(Py_ssize_t rows, Py_ssize_t width, const floating *A, Py_ssize_t lda) noexcept nogil:
    """The Euclidean norm of A (rows, width); nothing overflows or underflows on the way."""
    cdef Py_ssize_t i, j
    cdef const floating *row
    cdef double total = 0, other = 0, largest = 0
    for i in range(rows):
        row = A + i * lda
        for j in range(0, width - 1, 2):  # two sums: one would wait for its last addition
            total += <double> row[j] * row[j]
            other += <double> row[j + 1] * row[j + 1]
        if width % 2:
            total += <double> row[width - 1] * row[width - 1]
    if 1e-200 < total + other < 1e200:
        return sqrt(total + other)
    for i in range(rows):
        for j in range(width):
            if not fabs(A[i * lda + j]) <= largest:
                largest = fabs(A[i * lda + j])
                if not isfinite(largest):
                    return largest
    total = 0
    for i in range(rows if largest > 0 else 0):
        for j in range(width):
            total += (A[i * lda + j] / largest) * (A[i * lda + j] / largest)
    return largest * sqrt(total)


cdef void run_shard(const Plan *p, Call *c, const Kernels *k, const Shared *shared, const floating *theta, Py_ssize_t i,
                    int thread) noexcept nogil:
    """What the call asks for, of shard i, in the workspace of a thread, of which 0 is the one that called."""
    cdef Workspace w
    cdef Call s, before
    cdef unsigned long long mode
    make_shard(p, c, i, sizeof(floating), &s)
    s.polls = c.polls and thread == 0
    if i > 0 and stopped(&s):
        return
    mode = flush_denormals()
    lay_out(p, c, k, theta, shared.workspaces + thread * shared.bytes, &w)
    if c.apart:
        w.S, w.delta_y = <char *> w.S + i * shared.saved, <char *> w.delta_y + i * shared.saved
    if c.arranged:
        number_rows(c, shared.shards, i, w.first)
    if c.terms_S != NULL:  # only the last step has an error
        before = s
        before.D = before.labels = NULL
        if forward(p, &before, k, shared, &w, theta) == DONE:
            terms(p, &s, k, shared, &w, theta)
    elif c.gradient == NULL:
        if forward(p, &s, k, shared, &w, theta) == DONE and c.flow != NULL:
            flow(p, &s, k, shared, &w, theta)
    else:
        s.gradient = <floating *> shared.partials + (i * p.P if shared.shards > 1 else 0)
        memset(s.gradient, 0, p.P * sizeof(floating))
        if c.omega != 0:
            s.spread_slope = <floating *> shared.spread_slopes + i * p.H * p.H
            memset(s.spread_slope, 0, p.H * p.H * sizeof(floating))
        if forward(p, &s, k, shared, &w, theta) == DONE and p.recurs:
            backward(p, &s, k, shared, &w, theta)
    shared.totals[i] = s.total
    if c.rates != 0:
        shared.squares[i] = s.squares
    if c.omega != 0:
        shared.spreads[i], shared.spread_rows[i] = s.spread, s.spread_rows
    restore(mode)


cdef void fill(const Plan *p, Call *c, const floating *theta) noexcept nogil:
    """What the caller gets for steps and sequences that there are not: zeros, and first states."""
    cdef Py_ssize_t b, H = p.H, size = sizeof(floating), steps = 1 if c.last else c.T
    cdef floating *S = <floating *> c.S
    cdef floating *last = <floating *> c.final_state
    if c.Y != NULL:
        memset(c.Y, 0, steps * c.B * p.O * size)
    if c.losses != NULL:
        memset(c.losses, 0, steps * c.B * size)
    if c.dX != NULL:
        memset(c.dX, 0, c.T * c.B * p.I * size)
    if c.dS_0 != NULL:
        memset(c.dS_0, 0, c.B * H * size)
    if c.R != NULL:
        memset(c.R, 0, c.T * c.B * H * size)
    if S != NULL:
        memset(S, 0, (c.T + 1) * c.B * H * size)
    for b in range(c.B):
        if S != NULL:
            first_row(p, c, b, theta, S + b * H)
        if last != NULL:
            first_row(p, c, b, theta, last + b * H)


cdef void first_row(const Plan *p, const Call *c, Py_ssize_t b, const floating *theta, floating *row) noexcept nogil:
    """The first state of sequence b                                                                           (H,)"""
    cdef Py_ssize_t h
    for h in range(p.H):
        if c.initial_state != NULL:
            row[h] = (<const floating *> c.initial_state)[b * p.H + h]
        else:
            row[h] = theta[p.S_0 + h] if p.S_0 >= 0 else 0


cdef struct Job:
    # The arguments of run_shard that are equal for all shards, for the threads of the pool.
    const Plan *p
    Call *c
    const Kernels *k
    const Shared *shared
    const void *theta


cdef void run_share_f32(void *context, Py_ssize_t i, int worker) noexcept nogil:
    cdef Job *job = <Job *> context
    run_shard(job.p, job.c, job.k, job.shared, <const float *> job.theta, i, worker)


cdef void run_share_f64(void *context, Py_ssize_t i, int worker) noexcept nogil:
    cdef Job *job = <Job *> context
    run_shard(job.p, job.c, job.k, job.shared, <const double *> job.theta, i, worker)


cdef void poll_for_job(void *context) noexcept nogil:
    """Handle Ctrl-C while the calling thread waits for other threads; their shards then see `stop`."""
    stopped((<Job *> context).c)


cdef double nanoseconds_of(const Plan *p, const Call *c, Py_ssize_t size) noexcept nogil:
    """Estimate the time of a call on one thread, within a factor of about two (AVX2 and AVX-512, 2026-11).

    SHARD_LEAST multiplications forward take about 0.05 ms with the gradient in float32, so one takes 0.1 ns; a third of
    that without the gradient.
    """
    cdef double multiplications = <double> c.steps * p.H * ((p.I + p.H if p.recurs else 0) + p.O)
    return multiplications * (0.1 if c.gradient != NULL else 0.035) * (size // sizeof(float))


cdef int run(const Plan *p, Call *c, const Kernels *k, char *base, const floating *theta, int threads) noexcept nogil:
    """What the call asks for, in shards of c.rows rows, in the memory that `share_out` counted for so many threads."""
    cdef Shared shared
    cdef Job job
    cdef Py_ssize_t i, j
    cdef floating *partial
    cdef floating *gradient = <floating *> c.gradient
    cdef const floating *given = theta
    cdef unsigned long long mode = flush_denormals()
    share_out(p, c, k, theta, base, threads, &shared)
    if p.maps != NULL:
        # p = effective(theta, maps)                                                                  (P,)
        map_parameters(p.P, p.maps, given, <floating *> shared.theta)
        theta = <const floating *> shared.theta
    pack_weights(p, c, k, &shared, theta)
    if c.settles:
        find_norms(p, c, theta)
    if c.arranged or c.most < c.T:
        fill(p, c, theta)
    elif c.k1 > 0 and c.dX != NULL:
        memset(c.dX, 0, c.T * c.B * p.I * sizeof(floating))
    if threads == 1:
        for i in range(shared.shards):
            run_shard(p, c, k, &shared, theta, i, 0)
    else:
        job.p, job.c, job.k, job.shared, job.theta = p, c, k, &shared, theta
        run_shares(run_share_f32 if floating is float else run_share_f64, poll_for_job, &job, shared.shards, threads,
                   nanoseconds_of(p, c, sizeof(floating)))
    if read_flag(c.stop):
        restore(mode)
        return STOPPED
    for i in range(shared.shards):
        c.total += shared.totals[i]
    if gradient != NULL:
        if shared.shards != 1:
            memset(gradient, 0, p.P * sizeof(floating))
            for i in range(shared.shards):
                partial = <floating *> shared.partials + i * p.P
                for j in range(p.P):
                    gradient[j] += partial[j]
    if c.unscale > 0:
        undo_scale(p, c, gradient)
    if gradient != NULL:
        if c.error.loss != GIVEN and p.recurs:
            c.penalty = penalize(p, theta, gradient)
        if c.rates != 0:
            for i in range(shared.shards):
                c.penalty += c.rates * shared.squares[i]
        if c.omega != 0:
            c.penalty += add_spread(p, c, &shared, gradient + p.W_s)
    if p.maps != NULL:
        if gradient != NULL:
            # gradient = pulled_back(gradient, theta, maps)                                           (P,)
            pull_back(p.P, p.maps, given, gradient)
        elif c.terms_S != NULL:
            pull_back_terms(p, c, given)
    restore(mode)
    return STOPPED if read_flag(c.stop) else DONE


cdef void undo_scale(const Plan *p, Call *c, floating *gradient) noexcept nogil:
    """All that is linear in the weights, without the power of two that they were multiplied with."""
    c.total *= c.unscale
    if gradient != NULL:
        multiply(p.P, c.unscale, gradient)
    if c.dX != NULL:
        multiply(c.T * c.B * p.I, c.unscale, <floating *> c.dX)
    if c.dS_0 != NULL:
        multiply(c.B * p.H, c.unscale, <floating *> c.dS_0)
    if c.flow != NULL:
        multiply((c.flow_end - c.flow_begin) * c.T, c.unscale, <floating *> c.flow)
        multiply(c.T, c.unscale, <floating *> c.flow_whole)


cdef double add_spread(const Plan *p, Call *c, const Shared *shared, floating *gradient) noexcept nogil:
    """Add Ω's part of ∂E/∂W_s (H, H), and return omega Ω, of all shards."""
    cdef Py_ssize_t i, j
    cdef floating scale
    cdef const floating *slope
    for i in range(shared.shards):
        c.spread += shared.spreads[i]
        c.spread_rows += shared.spread_rows[i]
    scale = <floating> (c.omega / max(c.spread_rows, 1))
    for i in range(shared.shards):
        slope = <floating *> shared.spread_slopes + i * p.H * p.H
        for j in range(p.H * p.H):
            gradient[j] += scale * slope[j]
    return c.omega * c.spread / max(c.spread_rows, 1)


cdef double penalize(const Plan *p, const floating *theta, floating *gradient) noexcept nogil:
    """Add the penalties' gradient, 2 l2 w + l1 sign(w), and return the penalties' sum."""
    cdef double total = 0
    cdef floating l1, l2, w
    cdef Py_ssize_t i, k
    for k in range(p.penalties):
        l1, l2 = <floating> p.penalty[k].l1, <floating> p.penalty[k].l2
        for i in range(p.penalty[k].begin, p.penalty[k].end):
            w = theta[i]
            total += p.penalty[k].l2 * w * w + p.penalty[k].l1 * fabs(w)
            gradient[i] += 2 * l2 * w + l1 * ((w > 0) - (w < 0))
    return total


cdef double penalize_mapped(const Plan *p, const floating *theta, floating *gradient, floating *effective,
                            floating *part) noexcept nogil:
    """`penalize`, of the effective parameters where there are maps; effective and part, zeros, are then scratch (P,)."""
    cdef double total
    cdef Py_ssize_t i
    if p.maps == NULL:
        return penalize(p, theta, gradient)
    map_parameters(p.P, p.maps, theta, effective)
    total = penalize(p, effective, part)
    pull_back(p.P, p.maps, theta, part)
    for i in range(p.P):
        gradient[i] += part[i]
    return total


cdef double sum_of_weights(const floating *weights, Py_ssize_t n) noexcept nogil:
    """Their sum, or -1 where one is negative or not finite."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        if not weights[i] >= 0:
            return -1
        total += weights[i]
    return total if isfinite(total) else -1


cdef Py_ssize_t count_nonzero(const floating *weights, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, nonzero = 0
    for i in range(n):
        nonzero += weights[i] != 0
    return nonzero


cdef bint all_ones(const floating *weights, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        if weights[i] != 1:
            return False
    return True


cdef double weigh(const Plan *p, Call *c, const floating *weights) noexcept nogil:
    """Σ m of the steps that there are, or -1 where one is negative or not finite; and whether it pays to pick.

    Puts the scale of the reduction into the call, too, and that of weights whose products with errors would not be normal
    numbers, or infinite. A weight that is not a normal number counts as 0, as it does in the kernels.
    """
    cdef unsigned long long mode
    cdef double total
    c.weight_scale, c.unscale = 1, 0
    if weights == NULL:
        total = sum_weights(c, weights)
    else:
        mode = flush_denormals()
        total = sum_weights(c, weights)
        restore(mode)
    if p.mean:
        c.error.scale = 1 / (c.weight_scale * total) if total > 0 else 0
    else:
        c.error.scale = 1
        if c.weight_scale != 1 and p.rate_penalty == 0:
            c.unscale = 1 / c.weight_scale
        elif c.weight_scale != 1:  # beside a penalty, which is not linear in them, errors have their own size at once
            c.error.scale = 1 / c.weight_scale
    return total


cdef double scale_of(double typical, const floating *of) noexcept nogil:
    """The power of two that brings weights of this size to about 1, or 1 where they are far from the limits of the type.

    float32 numbers end at 1e-38 and 3e38, float64 ones at 2e-308 and 2e308. A power of two changes no digit.
    """
    cdef double widest = 1e18 if sizeof(floating) == sizeof(float) else 1e150
    cdef int exponent
    if 1 / widest <= typical <= widest:
        return 1
    frexp(typical, &exponent)
    return ldexp(1, min(max(-exponent, -1000), 1000))  # it and its reciprocal are normal numbers


cdef double sum_weights(Call *c, const floating *weights) noexcept nogil:
    """As `weigh`, without the scale of the reduction.

    Weights that are all 1 are taken out of the call: with them a call of 50 steps, H = 4, took 1.09 of the time (2026-11).
    """
    cdef Py_ssize_t t, b, steps = 1 if c.last else c.T, n = 0, nonzero = 0, known = 0
    cdef double total = 0, part
    c.picks = c.last
    if weights != NULL and c.lengths == NULL and all_ones(weights, steps * c.B * c.weight_width):
        c.weights = weights = NULL
        c.weight_width = 0
    if weights == NULL:
        for b in range(c.B if c.past > 0 else 0):
            known += min(c.past, c.lengths[b] if c.lengths != NULL else c.T)
        return <double> (c.sequences if c.last else c.steps - known)
    if c.lengths == NULL:
        n = (steps - c.past) * c.B * c.weight_width
        total = sum_of_weights(weights + c.past * c.B * c.weight_width, n)
        nonzero = count_nonzero(weights + c.past * c.B * c.weight_width, n)
    else:
        for t in range(c.past, steps):
            for b in range(c.B):
                if t < c.lengths[b]:
                    part = sum_of_weights(weights + (t * c.B + b) * c.weight_width, c.weight_width)
                    if part < 0:
                        return -1
                    total += part
                    nonzero += count_nonzero(weights + (t * c.B + b) * c.weight_width, c.weight_width)
                    n += c.weight_width
        if not isfinite(total):
            return -1
    c.picks = c.last or PICK_BELOW * nonzero < n
    if total > 0:
        c.weight_scale = scale_of(total / nonzero, weights)
    total /= c.weight_width
    return 0 if 0 < total < DBL_MIN else total  # the mean over outputs may not be normal: 1 / Σ m would be infinite


cdef bint lengths_in_range(const Call *c) noexcept nogil:
    """Whether every length is one of 0 ... T, or where errors are those of the last steps of 1 ... T."""
    cdef Py_ssize_t b
    for b in range(c.B):
        if not (1 if c.last else 0) <= c.lengths[b] <= c.T:
            return False
    return True


cdef bint labels_in_range(const Call *c, Py_ssize_t O, const floating *weights) noexcept nogil:
    """Whether every label that is read is one of 0 ... O - 1."""
    cdef Py_ssize_t t, b, i = 0
    for t in range(1 if c.last else c.T):
        for b in range(c.B):
            if not 0 <= c.labels[i] < O and (weights == NULL or weights[i] > 0) and (c.lengths == NULL or t < c.lengths[b]):
                return False
            i += 1
    return True


cdef bint ids_in_range(const Call *c, Py_ssize_t I) noexcept nogil:
    """Whether every id that is read is one of 0 ... I - 1."""
    cdef Py_ssize_t t, b
    for t in range(c.T):
        for b in range(c.B):
            if not 0 <= c.ids[t * c.B + b] < I and (c.lengths == NULL or t < c.lengths[b]):
                return False
    return True


# ---------------------------------------------------------------------------------------------------------------------
# What Python sees
# ---------------------------------------------------------------------------------------------------------------------


cdef inline bint is_ready(object a, int type, int ndim) noexcept:
    """Whether `a` is a C-contiguous, aligned, native array of that type and rank, and no subclass."""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(a) == type and cnp.PyArray_NDIM(a) == ndim
            and cnp.PyArray_ISCARRAY_RO(a))


cdef inline bint has_shape(object a, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2) noexcept:
    """Whether the array's lengths are these; -1 where it has no such dimension."""
    cdef cnp.npy_intp *shape = cnp.PyArray_DIMS(a)
    return shape[0] == n0 and (n1 < 0 or shape[1] == n1) and (n2 < 0 or shape[2] == n2)


cdef inline bint overlap(object a, object b) noexcept:
    """Whether two C-contiguous arrays have a byte in common."""
    cdef const char *A = cnp.PyArray_BYTES(a)
    cdef const char *B = cnp.PyArray_BYTES(b)
    return cnp.PyArray_SIZE(a) and cnp.PyArray_SIZE(b) and A < B + cnp.PyArray_NBYTES(b) and B < A + cnp.PyArray_NBYTES(a)


cdef long in_flight = 0        # calls under way
cdef int default_threads = 1   # of all calls together that do not say how many


def set_default_threads(int n):
    """Let n threads serve the calls that do not say how many."""
    global default_threads
    default_threads = n


def threads():
    """How many threads serve a call that does not say how many, if it is the only one."""
    return default_threads


def _after_fork():
    global default_threads, in_flight
    default_threads, in_flight = 1, 0  # a child leaves room for its siblings


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int truncate(Call *c, tbptt) except -1:
    """Put (k1, k2), which are at least 1, or None into the call."""
    cdef Py_ssize_t k1, k2
    if tbptt is not None:
        k1, k2 = tbptt
        truncate_to(c, k1, k2)
    return 0


cdef void truncate_to(Call *c, Py_ssize_t k1, Py_ssize_t k2) noexcept nogil:
    c.k1, c.k2 = min(k1, max(c.T, 1)), min(k2, max(c.T, 1))
    if c.k1 == c.k2 == max(c.T, 1):  # one window, through all steps
        c.k1 = c.k2 = 0


@cython.final
cdef class Engine:
    """The operations of networks of one configuration over flat parameters theta.

    `n_threads` 0 stands for the default. Each returns NotImplemented where an argument is not a ready array of the network's
    dtype and of the right shape: whoever calls then checks with words, converts, and calls again.
    """

    cdef Plan plan
    cdef const Kernels *kernels
    cdef int type
    cdef cnp.dtype dtype
    cdef object levels          # the array that plan.error.levels points to
    cdef object maps            # likewise
    cdef list pool
    cdef public Py_ssize_t shard_work  # multiplications of one step of a shard; tests make shards small by it

    def __init__(self, str dtype, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O, Py_ssize_t K, str activation,
                 str output_activation, str loss, loss_parameter, bint mean, bint bias, bint learn_initial_state,
                 dict l1, dict l2, bint last, bint one_hot, maps=None, double rate_penalty=0, double omega=0, *,
                 bint recurs=True, bint reads=True, bint reverse=False, Engine pool_of=None, double leak=1,
                 str leak_form="rate", double noise=0, double input_noise=0, double dropout=0, unsigned int kind=0,
                 bint settles=False):
        """l1 and l2 hold the penalty of each parameter that has one, by name; maps the bits of each entry (P,), or None.

        Where not `recurs` there are no W_x, W_s, b_s, S_0: inputs (T, B, H) are states, and I is H. Where not `reads` there
        are no W_y, b_y: `states` and `states_back` alone have a meaning, and O is 0. `reverse`: from the last step of each
        sequence to its first. pool_of: the engine whose workspaces this one shares. settles: another engine of the network has
        omega.
        """
        self.plan.units.form = CURRENT if leak_form == "current" else RATE if leak < 1 else PLAIN
        self.plan.units.leak, self.plan.units.activation = leak, ACTIVATIONS[activation]
        self.plan.noise, self.plan.input_noise, self.plan.dropout, self.plan.kind = noise, input_noise, dropout, kind
        cdef Plan *p = &self.plan
        cdef Py_ssize_t end
        self.type = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.dtype = cnp.PyArray_DescrFromType(self.type)
        self.kernels = kernels_for(4 if dtype == "float32" else 8, H)
        self.pool = [] if pool_of is None else pool_of.pool
        self.shard_work = work_of_a_shard(4 if dtype == "float32" else 8)
        p.I, p.H, p.O, p.mean, p.last, p.one_hot = I, H, O, mean, last, one_hot
        p.recurs, p.reads, p.reverse = recurs, reads, reverse
        p.activation = ACTIVATIONS[activation]
        p.error.activation = OUTPUT_ACTIVATIONS[output_activation]
        p.error.loss = LOSSES[loss]
        p.error.O, p.error.K, p.error.scale = O, K, 1
        if loss == "huber":
            p.error.threshold = loss_parameter
        elif loss == "quantile":
            self.levels = cnp.PyArray_ContiguousFromAny(loss_parameter, cnp.NPY_DOUBLE, 1, 1)
            p.error.levels = <const double *> cnp.PyArray_DATA(self.levels)
        place_parameters(p, bias, learn_initial_state)
        p.maps = NULL
        if maps is not None:
            self.maps = cnp.PyArray_ContiguousFromAny(maps, cnp.NPY_UBYTE, 1, 1)
            if cnp.PyArray_DIM(self.maps, 0) != p.P:
                raise ValueError("maps are not those of these parameters")
            p.maps = <const unsigned char *> cnp.PyArray_DATA(self.maps)
        p.rate_penalty, p.omega, p.settles = rate_penalty, omega, settles or omega != 0
        p.penalties, end = 0, p.P
        for name, begin in (("S_0", p.S_0), ("b_y", p.b_y), ("W_y", p.W_y), ("b_s", p.b_s), ("W_s", p.W_s),
                            ("W_x", p.W_x)):
            if begin < 0:
                continue
            if name in l1 or name in l2:
                p.penalty[p.penalties] = Penalty(begin, end, l1.get(name, 0), l2.get(name, 0))
                p.penalties += 1
            end = begin

    def forward(self, theta, X, D, weights, initial_state, lengths, resets, bint return_states, int n_threads, draws=None):
        """Y (T, B, O), final state (B, H) and, where asked for, S (T+1, B, H). D and weights are None."""
        cdef Call c
        if not self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws):
            return NotImplemented
        Y = self.fresh_outputs(&c, self.plan.O, &c.Y)
        final_state = self.fresh(2, c.B, self.plan.H, 0, &c.final_state)
        S = self.fresh(3, c.T + 1, c.B, self.plan.H, &c.S) if return_states else None
        R = self.fresh(3, c.T, c.B, self.plan.H, &c.R) if return_states and self.plan.units.form != PLAIN else None
        self.run(&c, n_threads)
        if R is not None:
            return Y, final_state, S, R
        return (Y, final_state, S) if return_states else (Y, final_state)

    def step(self, theta, x, state, out, int n_threads):
        """y (B, O) and the next state (B, H) for x (B, I) or ids (B,), in the arrays of the tuple `out` where it is given.

        The next state may overwrite `state`: a shard reads its rows of it before it writes them.
        """
        cdef Call c
        if not self.prepare(&c, theta, x, state, None, None, 0):
            return NotImplemented
        c.last = c.picks = False  # one step is the last in any case
        if out is None:
            out = self.fresh(2, c.B, self.plan.O, 0, &c.Y), self.fresh(2, c.B, self.plan.H, 0, &c.final_state)
        elif not self.take_out(&c, theta, x, state, out):
            return NotImplemented
        self.run(&c, n_threads)
        return out

    def losses(self, theta, X, D, weights, initial_state, lengths, resets, int n_threads, draws=None):
        """e (T, B); weights is None."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.take_targets(&c, D, None)):
            return NotImplemented
        e = self.fresh_outputs(&c, 0, &c.losses)
        self.run(&c, n_threads)
        return e

    def evaluate(self, theta, X, D, weights, initial_state, lengths, resets, int n_threads, draws=None):
        """The reduced error."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.take_targets(&c, D, weights)):
            return NotImplemented
        self.run(&c, n_threads)
        return c.total * c.error.scale

    def loss_and_gradients(self, theta, X, D, weights, initial_state, lengths, resets, tbptt, Py_ssize_t memory_limit,
                           bint input_gradient, bint initial_state_gradient, int n_threads, draws=None):
        """The reduced error with penalties, and a dict of fresh gradients."""
        return self.find_gradients(theta, X, D, weights, initial_state, lengths, resets, tbptt, memory_limit, input_gradient,
                                   initial_state_gradient, n_threads, draws)

    cdef object find_gradients(self, theta, X, D, weights, initial_state, lengths, resets, tbptt, Py_ssize_t memory_limit,
                               bint input_gradient, bint initial_state_gradient, int n_threads, draws):
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.take_targets(&c, D, weights) and not (input_gradient and self.plan.one_hot)):
            return NotImplemented
        truncate(&c, tbptt)
        self.penalize_flow(&c)
        gradients = self.gradients(&c, memory_limit, input_gradient, initial_state_gradient, n_threads)
        return c.total * c.error.scale + c.penalty, gradients

    def loss_into(self, theta, X, D, weights, initial_state, lengths, resets, gradient, Py_ssize_t memory_limit,
                  int n_threads, draws=None):
        """The reduced error and the penalties; the flat gradient of their sum overwrites `gradient` (P,)."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.take_targets(&c, D, weights)
                and is_ready(gradient, self.type, 1) and has_shape(gradient, self.plan.P, -1, -1)
                and cnp.PyArray_ISWRITEABLE(gradient)):
            return NotImplemented
        c.gradient, c.saves = cnp.PyArray_DATA(gradient), True
        self.penalize_flow(&c)
        self.run(&c, n_threads, memory_limit)
        return c.total * c.error.scale, c.penalty

    # ---- What a network of several recurrences is made of; arguments are checked already, and these raise if they are not

    def states(self, theta, X, initial_state, lengths, resets, S, int n_threads, R=None, draws=None):
        """The final state (B, H) of the recurrence. S (T+1, B, H) is overwritten: S[0] is the initial state, S[t+1] that after
        X[t] was read; of leaky units also R (T, B, H), the rates."""
        cdef Call c
        if not (self.plan.recurs and self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.is_ready_out(S, c.T + 1, c.B, self.plan.H)):
            raise ValueError("arguments are not in order")
        c.S = cnp.PyArray_DATA(S)
        if self.plan.units.form != PLAIN:
            if not self.is_ready_out(R, c.T, c.B, self.plan.H):
                raise ValueError("R is not in order")
            c.R = cnp.PyArray_DATA(R)
        final_state = self.fresh(2, c.B, self.plan.H, 0, &c.final_state)
        self.run(&c, n_threads)
        return final_state

    def states_back(self, theta, X, S, dS, lengths, resets, bint own_start, gradient, Py_ssize_t memory_limit, dX,
                    bint initial_state_gradient, bint spreads, int n_threads, R=None, draws=None, past_S_0=None):
        """∂E/∂S_0 (B, H), where asked for, and omega Ω, if `spreads`, for dS = ∂E/∂S (T, B, H) by the outputs, of the
        current form ∂E/∂R.

        S and R are as of `states`; own_start says that S[0] was the network's own. The flat gradient overwrites `gradient`
        (P,), ∂E/∂X dX (T, B, I), which may be None. past_S_0 (n, H) is what resets at the first n steps brought; others
        brought the S_0 of theta.
        """
        cdef Call c
        if not (self.plan.recurs and not self.plan.reads and is_ready(S, self.type, 3) and cnp.PyArray_DIM(S, 0) > 0
                and self.prepare(&c, theta, X, S[0], lengths, resets, 1, draws) and has_shape(S, c.T + 1, c.B, self.plan.H)
                and is_ready(dS, self.type, 3) and has_shape(dS, c.T, c.B, self.plan.H) and is_ready(gradient, self.type, 1)
                and has_shape(gradient, self.plan.P, -1, -1) and cnp.PyArray_ISWRITEABLE(gradient)):
            raise ValueError("arguments are not in order")
        c.given, c.past_states = True, cnp.PyArray_BYTES(S) + c.B * self.plan.H * cnp.PyArray_ITEMSIZE(S)
        c.D, c.error.loss, c.error.K = cnp.PyArray_DATA(dS), GIVEN, self.plan.H
        c.own_start, c.gradient, c.saves = own_start, cnp.PyArray_DATA(gradient), True
        c.past_rates = c.past_states  # of plain units with dropout
        if self.plan.units.form == RATE:
            if not (is_ready(R, self.type, 3) and has_shape(R, c.T, c.B, self.plan.H)):
                raise ValueError("R is not in order")
            c.past_rates = cnp.PyArray_DATA(R)
        if dX is not None:
            if not self.is_ready_out(dX, c.T, c.B, self.plan.I):
                raise ValueError("dX is not in order")
            c.dX = cnp.PyArray_DATA(dX)
        dS_0 = self.fresh(2, c.B, self.plan.H, 0, &c.dS_0) if initial_state_gradient else None
        c.omega = self.plan.omega if spreads else 0
        c.settles = c.omega != 0
        if past_S_0 is not None and not self.take_old_starts(&c, past_S_0):
            raise ValueError("past_S_0 must be a C-contiguous array (past, H) of the network's dtype")
        self.run(&c, n_threads, memory_limit)
        return dS_0, c.penalty

    def outputs(self, theta, S, lengths, int n_threads):
        """Y (T, B, O), or (B, O), of the readout for states S (T, B, H)."""
        cdef Call c
        if self.plan.recurs or not self.prepare(&c, theta, S, None, lengths, None):
            raise ValueError("arguments are not in order")
        Y = self.fresh_outputs(&c, self.plan.O, &c.Y)
        self.run(&c, n_threads)
        return Y

    def outputs_back(self, theta, S, D, dY, weights, lengths, gradient, dS, int n_threads):
        """The reduced error and Σ m of the readout; where dY = ∂E/∂Y is given it stands for D.

        The flat gradient overwrites `gradient` (P,), ∂E/∂S dS (T, B, H). Both are to be multiplied with the last number
        that is returned: where it is not 1, they might else be no normal numbers.
        """
        cdef Call c
        cdef double total = 0, unscale = 1
        if self.plan.recurs or not (self.prepare(&c, theta, S, None, lengths, None) and is_ready(gradient, self.type, 1)
                                    and has_shape(gradient, self.plan.P, -1, -1) and cnp.PyArray_ISWRITEABLE(gradient)
                                    and self.is_ready_out(dS, c.T, c.B, self.plan.H)):
            raise ValueError("arguments are not in order")
        if dY is not None:
            if not self.is_ready_target(&c, dY, self.plan.O):
                raise ValueError("dY is not in order")
            c.D, c.error.loss, c.error.K, c.error.scale = cnp.PyArray_DATA(dY), GIVEN, self.plan.O, 1
        else:
            if not (self.point_at_targets(&c, D, weights) and self.in_range(&c)):
                raise ValueError("targets are not in order")
            total = self.take_weights(&c)
            if total < 0:
                raise ValueError("weights are not in order")
            c.settles = c.error.settles = self.plan.settles
            if c.unscale > 0:
                unscale, c.unscale = c.unscale, 0
        c.gradient, c.dX = cnp.PyArray_DATA(gradient), cnp.PyArray_DATA(dS)
        self.run(&c, n_threads)
        return c.total * c.error.scale * unscale, total, unscale

    def penalize(self, theta, gradient):
        """The penalties of theta, whose gradient is added to `gradient`; both (P,)."""
        if not (is_ready(theta, self.type, 1) and has_shape(theta, self.plan.P, -1, -1) and is_ready(gradient, self.type, 1)
                and has_shape(gradient, self.plan.P, -1, -1) and cnp.PyArray_ISWRITEABLE(gradient)):
            raise ValueError("arguments are not in order")
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

    def window_into(self, theta, X, D, weights, initial_state, lengths, resets, past, bint own_start, Py_ssize_t k2,
                    gradient, S, int n_threads, past_rates=None, R=None, draws=None, past_S_0=None):
        """The reduced error of the steps after `past`, the penalties, and Σ m; their errors go back k2 steps.

        past (n, B, H) are the states after the first n steps, from initial_state on; own_start says that this was the
        network's own. The flat gradient overwrites `gradient` (P,), the states after all steps S (T+1, B, H); of leaky units
        of the rate form the rates R (T, B, H), and past_rates (n, B, H) go with past. past_S_0 (n, H) is what resets at the
        first n steps brought; without it that was the present S_0.
        """
        cdef Call c
        cdef double total
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.point_at_targets(&c, D, weights)
                and self.in_range(&c) and is_ready(past, self.type, 3) and cnp.PyArray_DIM(past, 0) <= c.T
                and has_shape(past, cnp.PyArray_DIM(past, 0), c.B, self.plan.H)
                and is_ready(gradient, self.type, 1) and has_shape(gradient, self.plan.P, -1, -1)
                and cnp.PyArray_ISWRITEABLE(gradient) and is_ready(S, self.type, 3)
                and has_shape(S, c.T + 1, c.B, self.plan.H) and cnp.PyArray_ISWRITEABLE(S) and not c.last):
            return NotImplemented
        c.past, c.past_states, c.own_start = cnp.PyArray_DIM(past, 0), cnp.PyArray_DATA(past), own_start
        c.past_rates = c.past_states  # of plain units with dropout
        if self.plan.units.form == RATE:
            if not (is_ready(past_rates, self.type, 3) and has_shape(past_rates, c.past, c.B, self.plan.H)
                    and self.is_ready_out(R, c.T, c.B, self.plan.H)):
                raise ValueError("rates are not in order")
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
        self.penalize_flow(&c)
        self.run(&c, n_threads)
        return c.total * c.error.scale, c.penalty, total

    def backward(self, theta, X, dY, weights, initial_state, lengths, resets, tbptt, Py_ssize_t memory_limit,
                 bint input_gradient, bint initial_state_gradient, int n_threads, draws=None):
        """The dict of gradients for dY = ∂E/∂Y (T, B, O); weights is None."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets, 1, draws)
                and self.is_ready_target(&c, dY, self.plan.O) and not (input_gradient and self.plan.one_hot)):
            return NotImplemented
        c.D = cnp.PyArray_DATA(dY)
        c.error.loss, c.error.K, c.error.scale = GIVEN, self.plan.O, 1
        truncate(&c, tbptt)
        return self.gradients(&c, memory_limit, input_gradient, initial_state_gradient, n_threads)

    def gradient_terms(self, theta, X, D, weights, initial_state, lengths, resets, Py_ssize_t t, int n_threads):
        """The dict of terms for step t, 0 <= t < T; weights, lengths and resets are None."""
        cdef Call c
        cdef Py_ssize_t I = self.plan.I, H = self.plan.H, O = self.plan.O
        if not (self.prepare(&c, theta, X, initial_state, None, None) and self.take_targets(&c, D, None)
                and 0 <= t < cnp.PyArray_DIM(X, 0)):
            return NotImplemented
        if c.D != NULL and not c.last:
            c.D = <char *> c.D + t * c.B * self.plan.error.K * cnp.PyArray_ITEMSIZE(D)
        if c.labels != NULL and not c.last:
            c.labels += t * c.B
        c.T, c.saves, c.error.scale = t + 1, True, 1
        W_s = self.fresh(3, t + 1, H, H, &c.terms_W_s)
        W_x = self.fresh(3, t + 1, H, I, &c.terms_W_x)
        W_y = self.fresh(2, O, H, 0, &c.terms_W_y)
        S = self.fresh(3, t + 1, c.B, H, &c.terms_S)
        W_y.fill(0)
        if c.B == 0:
            W_s.fill(0)
            W_x.fill(0)
        self.run(&c, n_threads)
        return {"W_s": W_s, "W_x": W_x, "W_y": W_y, "S": S}

    def gradient_flow(self, theta, X, D, weights, initial_state, Py_ssize_t begin, Py_ssize_t end):
        """‖∂E_t/∂S_i‖ (end - begin, T) of the errors of steps begin ... end, and ‖∂E/∂S_i‖ (T,) of all; not divided."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, None, None) and self.take_targets(&c, D, weights)
                and 0 <= begin <= end <= c.T and not c.last):
            return NotImplemented
        c.saves, c.picks, c.error.scale, c.flow_begin, c.flow_end = True, False, 1, begin, end
        c.unscale = 1 / c.weight_scale if c.weight_scale != 1 else 0
        norms = self.fresh(2, end - begin, c.T, 0, &c.flow)
        whole = self.fresh(1, c.T, 0, 0, &c.flow_whole)
        norms.fill(0)
        whole.fill(0)
        self.run(&c, 1)
        return norms, whole

    def kernel_set(self):
        """The name of the kernel set that serves this network."""
        return self.kernels.name.decode()

    # ---- Training

    def train(self, theta, X, D, weights, initial_state, lengths, resets, rows, Py_ssize_t batch_size, str rule,
              dict numbers, rates, list slots, Py_ssize_t earlier, double max_grad_norm, gradient, list before, list batch,
              sums, double seconds, Py_ssize_t memory_limit, int n_threads, draws=None):
        """Updates of theta and slots by batches of these rows, without the GIL, until `seconds` are over.

        Ends before that with the last row, at a batch that cannot be learnt from (its update is not made), or at Ctrl-C.

        Parameters
        ----------
        theta, gradient, slots, before : vectors (P,); `before` is like [theta, *slots], scratch like `gradient`
        X, D, weights, initial_state, lengths, resets : as of `loss_and_gradients`, already checked
        rows : intp vector, the sequences that are left of an epoch, `batch_size` an update, and those of the epochs after it
        rates : float64 vector, the learning rate of each epoch
        earlier : updates made before
        batch : scratch like [X, D, weights, initial_state, lengths, resets] with batch_size sequences, None where that is
            None
        draws : as of reference.Draws, with the call that the first of these updates is; sequences are those of the data
        sums : float64 (epochs, 5), added to: of each epoch the data losses, weighted as the loss is, the weights, penalties
            and norms of the gradients; set: the seconds to its last update

        Returns
        -------
        done : how many updates were made
        error : the exception that Ctrl-C raised, or None
        """
        return train(self, theta, X, D, weights, initial_state, lengths, resets, rows, batch_size, rule, numbers, rates, slots,
                     earlier, max_grad_norm, gradient, before, batch, sums, seconds, memory_limit, n_threads, draws)

    # ---- From Python's objects to a Call

    cdef bint prepare(self, Call *c, theta, X, initial_state, lengths, resets, int in_time=1, draws=None) noexcept:
        """Put what every operation has into the call; False where something is not in order.

        `in_time` is the number of X's axes of time: 0 where X is a single step.
        """
        memset(c, 0, sizeof(Call))
        if not (is_ready(theta, self.type, 1) and has_shape(theta, self.plan.P, -1, -1) and is_ready(
                X, cnp.NPY_INTP if self.plan.one_hot else self.type, in_time + (1 if self.plan.one_hot else 2))):
            return False
        c.T, c.B = cnp.PyArray_DIM(X, 0) if in_time else 1, cnp.PyArray_DIM(X, in_time)
        if (not self.plan.one_hot and cnp.PyArray_DIM(X, in_time + 1) != self.plan.I) or c.T > INT_MAX or c.B > INT_MAX:
            return False
        c.theta, c.error, c.last, c.units = cnp.PyArray_DATA(theta), self.plan.error, self.plan.last, self.plan.units
        c.picks, c.reverse = c.last, self.plan.reverse
        if draws is not None and not self.take_draws(c, draws):
            return False
        if initial_state is not None:
            if not (is_ready(initial_state, self.type, 2) and has_shape(initial_state, c.B, self.plan.H, -1)):
                return False
            c.initial_state = cnp.PyArray_DATA(initial_state)
        if lengths is not None:
            if not (is_ready(lengths, cnp.NPY_INTP, 1) and has_shape(lengths, c.B, -1, -1)):
                return False
            c.lengths = <const Py_ssize_t *> cnp.PyArray_DATA(lengths)
            if not lengths_in_range(c):
                return False
        elif c.last and c.T == 0 and c.B > 0:
            return False
        if resets is not None:
            if not (is_ready(resets, cnp.NPY_BOOL, 2) and has_shape(resets, c.T, c.B, -1)):
                return False
            c.resets = <const char *> cnp.PyArray_DATA(resets)
        count(c)
        if self.plan.one_hot:
            c.ids = <const Py_ssize_t *> cnp.PyArray_DATA(X)
            return ids_in_range(c, self.plan.I)
        c.X = cnp.PyArray_DATA(X)
        return True

    cdef void take_dropout(self, Call *c) noexcept nogil:
        c.dropout = self.plan.dropout
        if c.dropout > 0 and c.units.form == PLAIN:
            c.units.form, c.units.leak = RATE, 1

    cdef bint take_draws(self, Call *c, draws) noexcept:
        """Put (noise_key, dropout_key, call, first, sequences), as of reference.Draws, into the call."""
        noise_key, dropout_key, call, first, sequences = draws
        c.call, c.first = call, first
        if noise_key is not None:
            c.noise_key, c.noise, c.input_noise = noise_key, self.plan.noise, self.plan.input_noise
        if dropout_key is not None:
            c.dropout_key = dropout_key
            self.take_dropout(c)
        if sequences is None:
            return True
        if not (is_ready(sequences, cnp.NPY_INTP, 1) and has_shape(sequences, c.B, -1, -1)):
            return False
        c.numbers = <const Py_ssize_t *> cnp.PyArray_DATA(sequences)
        return True

    cdef bint take_out(self, Call *c, theta, x, state, out) noexcept:
        """Put the arrays of out = (y, next state) into the call; False where they are not in order.

        Neither may overlap what the step reads, but for the next state, which may stand where `state` does.
        """
        if not (cpython.PyTuple_Check(out) and cpython.PyTuple_GET_SIZE(out) == 2):
            return False
        y, next = <object> cpython.PyTuple_GET_ITEM(out, 0), <object> cpython.PyTuple_GET_ITEM(out, 1)
        if not (is_ready(y, self.type, 2) and has_shape(y, c.B, self.plan.O, -1) and cnp.PyArray_ISWRITEABLE(y)
                and is_ready(next, self.type, 2) and has_shape(next, c.B, self.plan.H, -1) and cnp.PyArray_ISWRITEABLE(next)):
            return False
        c.Y, c.final_state = cnp.PyArray_DATA(y), cnp.PyArray_DATA(next)
        if overlap(y, next) or overlap(y, x) or overlap(y, theta) or overlap(next, x) or overlap(next, theta):
            return False
        return state is None or not overlap(y, state) and (c.final_state == c.initial_state or not overlap(next, state))

    cdef bint take_old_starts(self, Call *c, past_S_0) noexcept:
        """Put the S_0 of earlier steps into the call. Return False if dtype, shape or memory layout is wrong."""
        if not (is_ready(past_S_0, self.type, 2) and cnp.PyArray_DIM(past_S_0, 0) <= c.T
                and has_shape(past_S_0, cnp.PyArray_DIM(past_S_0, 0), self.plan.H, -1)):
            return False
        c.old, c.past_S_0 = cnp.PyArray_DIM(past_S_0, 0), cnp.PyArray_DATA(past_S_0)
        return True

    cdef bint take_targets(self, Call *c, D, weights) noexcept:
        """Put targets, weights and the scale of the reduction into the call; False where something is not in order."""
        return self.point_at_targets(c, D, weights) and self.in_range(c) and self.take_weights(c) >= 0

    cdef bint is_ready_out(self, array, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2) noexcept:
        """Whether `array` is (n0, n1, n2), to be written into."""
        return is_ready(array, self.type, 3) and has_shape(array, n0, n1, n2) and cnp.PyArray_ISWRITEABLE(array)

    cdef bint is_ready_target(self, const Call *c, array, Py_ssize_t width) noexcept:
        """Whether `array` is (T, B, width), or (B, width) where errors are those of the last steps."""
        if c.last:
            return is_ready(array, self.type, 2) and has_shape(array, c.B, width, -1)
        return is_ready(array, self.type, 3) and has_shape(array, c.T, c.B, width)

    cdef bint is_ready_row(self, const Call *c, array, int type) noexcept:
        """Whether `array` is (T, B), or likewise (B,)."""
        if c.last:
            return is_ready(array, type, 1) and has_shape(array, c.B, -1, -1)
        return is_ready(array, type, 2) and has_shape(array, c.T, c.B, -1)

    cdef bint point_at_targets(self, Call *c, D, weights) noexcept:
        """Put targets and weights into the call; False where their types or shapes are not in order."""
        cdef Py_ssize_t K = self.plan.error.K
        if self.plan.error.loss == CROSS_ENTROPY and self.is_ready_row(c, D, cnp.NPY_INTP):
            c.labels = <const Py_ssize_t *> cnp.PyArray_DATA(D)
        elif self.is_ready_target(c, D, K):
            c.D = cnp.PyArray_DATA(D)
        else:
            return False
        if weights is not None:
            if self.is_ready_row(c, weights, self.type):
                c.weight_width = 1
            elif self.is_ready_target(c, weights, K) and self.plan.error.loss != CROSS_ENTROPY:
                c.weight_width = K
            else:
                return False
            c.weights = cnp.PyArray_DATA(weights)
        return True

    cdef bint in_range(self, const Call *c) noexcept nogil:
        """Whether every label that is read stands for an output."""
        if c.labels == NULL:
            return True
        if self.type == cnp.NPY_FLOAT:
            return labels_in_range(c, self.plan.O, <const float *> c.weights)
        return labels_in_range(c, self.plan.O, <const double *> c.weights)

    cdef void penalize_flow(self, Call *c) noexcept nogil:
        """Put the penalties on rates and by Ω into the call, of which there are none yet."""
        cdef Py_ssize_t b, steps
        c.rates = c.spread = 0
        c.spread_rows = 0
        c.omega = self.plan.omega
        c.settles = c.error.settles = self.plan.omega != 0
        if self.plan.rate_penalty != 0:
            steps = c.steps
            for b in range(c.B if c.past > 0 else 0):
                steps -= min(c.past, c.lengths[b] if c.lengths != NULL else c.T)
            c.rates = self.plan.rate_penalty / (<double> max(steps, 1) * self.plan.H)

    cdef double take_weights(self, Call *c) noexcept nogil:
        """Put the scale of the reduction into the call; Σ m, or what is below 0 where a weight is out of range."""
        if self.type == cnp.NPY_FLOAT:
            return weigh(&self.plan, c, <const float *> c.weights)
        return weigh(&self.plan, c, <const double *> c.weights)

    def total_weight(self, theta, X, D, weights, initial_state, lengths, resets):
        """Σ m as `loss_and_gradients` finds it, for arguments that are checked already."""
        cdef Call c
        if not (self.prepare(&c, theta, X, initial_state, lengths, resets) and self.point_at_targets(&c, D, weights)):
            raise ValueError("data are not in order")
        return self.take_weights(&c)

    cdef object fresh_outputs(self, Call *c, Py_ssize_t width, void **data):
        """A new array (T, B, width), or (B, width) where outputs are those of the last steps; without width of one less."""
        if c.last:
            return self.fresh(2 if width else 1, c.B, width, 0, data)
        return self.fresh(3 if width else 2, c.T, c.B, width, data)

    cdef object fresh(self, int ndim, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t n2, void **data):
        """A new array of the network's type, its memory unset and put into `data`."""
        cdef cnp.npy_intp[3] shape
        shape[0], shape[1], shape[2] = n0, n1, n2
        array = cnp.PyArray_SimpleNew(ndim, shape, self.type)
        data[0] = cnp.PyArray_DATA(array)
        return array

    cdef object view(self, cnp.ndarray flat, Py_ssize_t begin, int ndim, Py_ssize_t n0, Py_ssize_t n1):
        """flat[begin : begin + n0 * n1].reshape(n0, n1)"""
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = n0, n1
        cdef void *data = cnp.PyArray_BYTES(flat) + begin * cnp.PyArray_ITEMSIZE(flat)
        cpython.Py_INCREF(self.dtype)
        array = PyArray_NewFromDescr(&PyArray_Type, self.dtype, ndim, shape, NULL, data, cnp.NPY_ARRAY_CARRAY, NULL)
        cnp.set_array_base(array, flat)
        return array

    cdef dict gradients(self, Call *c, Py_ssize_t memory_limit, bint input_gradient, bint initial_state_gradient,
                        int n_threads):
        """Run the call for all gradients; the dict of them, views of one fresh vector."""
        cdef Plan *p = &self.plan
        flat = self.fresh(1, p.P, 0, 0, &c.gradient)
        c.saves = True
        dX = self.fresh(3, c.T, c.B, p.I, &c.dX) if input_gradient else None
        dS_0 = self.fresh(2, c.B, p.H, 0, &c.dS_0) if initial_state_gradient else None
        self.run(c, n_threads, memory_limit)
        gradients = {"W_x": self.view(flat, p.W_x, 2, p.H, p.I), "W_s": self.view(flat, p.W_s, 2, p.H, p.H)}
        if p.b_s >= 0:
            gradients["b_s"] = self.view(flat, p.b_s, 1, p.H, 0)
        gradients["W_y"] = self.view(flat, p.W_y, 2, p.O, p.H)
        if p.b_y >= 0:
            gradients["b_y"] = self.view(flat, p.b_y, 1, p.O, 0)
        if p.S_0 >= 0:
            gradients["S_0"] = self.view(flat, p.S_0, 1, p.H, 0)
        if input_gradient:
            gradients["X"] = dX
        if initial_state_gradient:
            gradients["initial_state"] = dS_0
        return gradients

    cdef int threads(self, const Call *c, int n_threads) noexcept nogil:
        """How many threads serve the call: as asked for, or its share of `default_threads`; no more than shards."""
        if c.terms_S != NULL or c.flow != NULL or c.rows == 0:  # all shards' go to one place
            return 1
        if n_threads <= 0:
            n_threads = max(1, default_threads // max(1, add(&in_flight, 0)))
        return <int> min(n_threads, shards_of(c))

    cdef Py_ssize_t plan_memory(self, Call *c, int threads) except -1 nogil:
        """The bytes that the call, divided into shards, needs with so many threads. Raises MemoryError."""
        cdef Plan *p = &self.plan
        cdef Shared shared
        if not countable(p, c):
            with gil:
                raise MemoryError(f"T={c.T}, B={c.B} need more memory than a processor can address")
        if self.type == cnp.NPY_FLOAT:
            return share_out(p, c, self.kernels, <const float *> c.theta, NULL, threads, &shared)
        return share_out(p, c, self.kernels, <const double *> c.theta, NULL, threads, &shared)

    cdef Py_ssize_t fit_into(self, Call *c, Py_ssize_t limit, int *threads) except -1 nogil:
        """The bytes that the call needs: at most `limit`, where it is one, by more segments, then by fewer threads.

        The limit is that of the arrangement too. AUTOMATIC stands for the least that can be. Raises MemoryError where the
        limit is below that.
        """
        cdef Py_ssize_t needed, least, best, segments, arranged = arranged_words(c) * sizeof(Py_ssize_t)
        while True:
            c.segments = best = 0
            segments, needed = 1, self.plan_memory(c, threads[0])
            if limit == NO_LIMIT or 0 < limit >= needed + arranged or not c.saves or c.k1 > 0:
                return needed
            least = needed
            while segments < steps_of_a_shard(c) and not c.given:
                segments += 1 + segments // 16
                needed = self.plan_segments(c, segments, threads[0])
                if 0 < limit >= needed + arranged:
                    return needed
                if needed < least:
                    least, best = needed, segments
                elif needed > 2 * least:  # the borders need more than shorter segments save
                    break
            if limit == AUTOMATIC and best > 0:
                return self.plan_segments(c, best, threads[0])
            if limit == AUTOMATIC:
                c.segments = 0
                return self.plan_memory(c, threads[0])
            if threads[0] == 1:
                with gil:
                    raise MemoryError(f"memory_limit={limit} bytes, but this call needs at least {least + arranged}")
            threads[0] -= 1

    cdef Py_ssize_t plan_segments(self, Call *c, Py_ssize_t segments, int threads) except -1 nogil:
        """The bytes that the call needs with about so many segments, which are put into the call."""
        cdef Py_ssize_t most = steps_of_a_shard(c), rows
        cdef Workspace w
        c.segments, c.segment_rows = segments, (most + segments - 1) // segments
        if self.type == cnp.NPY_FLOAT:
            lay_out(&self.plan, c, self.kernels, <const float *> c.theta, NULL, &w)
        else:
            lay_out(&self.plan, c, self.kernels, <const double *> c.theta, NULL, &w)
        if c.arranged:  # whose blocks have various numbers of rows: a segment may lack nearly one
            c.segment_rows = max(c.segment_rows, 2 * w.rows)
            rows = c.segment_rows - w.rows + 1
        else:
            c.segment_rows = rows = max(1, c.segment_rows // w.rows) * w.rows
        c.segments = (most + rows - 1) // rows
        return self.plan_memory(c, threads)

    def workspace(self, theta, Py_ssize_t T, Py_ssize_t B, lengths, bint resets, bint labels, Py_ssize_t weight_width,
                  bint picks, tbptt, Py_ssize_t memory_limit, int n_threads, bint dropout=False):
        """The bytes that `loss_and_gradients` takes for its workspace; lengths are None or intp (B,), checked."""
        cdef Call c
        cdef Memory arrangement
        cdef int threads
        memset(&c, 0, sizeof(Call))
        c.T, c.B, c.error, c.last, c.picks = T, B, self.plan.error, self.plan.last, self.plan.last or picks
        c.units = self.plan.units
        if dropout:
            self.take_dropout(&c)
        c.theta = c.weights = c.D = cnp.PyArray_DATA(theta)  # not read; absent ones would need less
        c.labels = <const Py_ssize_t *> c.theta if labels else NULL
        c.gradient, c.saves, c.weight_width = cnp.PyArray_DATA(theta), self.plan.recurs, weight_width
        c.given = not self.plan.reads
        c.lengths = <const Py_ssize_t *> cnp.PyArray_DATA(lengths) if lengths is not None else NULL
        truncate(&c, tbptt)
        count(&c)
        c.arranged = c.arranged or resets
        self.penalize_flow(&c)
        self.divide(&c)
        arrangement = Memory(arranged_words(&c) * sizeof(Py_ssize_t))
        arrange(&c, <Py_ssize_t *> arrangement.base)
        threads = self.threads(&c, n_threads)
        return self.fit_into(&c, memory_limit, &threads) + arranged_words(&c) * sizeof(Py_ssize_t)

    cdef void divide(self, Call *c) noexcept nogil:
        c.rows = rows_of_a_shard(&self.plan, c.steps, c.sequences, 4 if self.type == cnp.NPY_FLOAT else 8, self.shard_work)

    cdef bint shares_products(self, const Call *c) noexcept:
        """Whether a BLAS may share products of the call among threads of its own."""
        return (self.kernels == blas_kernels()
                and 1.0 * c.T * c.B * self.plan.H * max(self.plan.I, self.plan.H, self.plan.O) >= SHARED_FROM)

    cdef bint is_short(self, const Call *c) noexcept nogil:
        """Whether a call takes less than about 10 us: to give the GIL away and to take it back takes 0.05."""
        return <double> c.steps * (64 + self.plan.H * (self.plan.I + self.plan.H + self.plan.O)) < SHORT

    cdef int run_in(self, Call *c, char *base, int threads) noexcept nogil:
        if self.type == cnp.NPY_FLOAT:
            return run(&self.plan, c, self.kernels, base, <const float *> c.theta, threads)
        return run(&self.plan, c, self.kernels, base, <const double *> c.theta, threads)

    cdef int run(self, Call *c, int n_threads, Py_ssize_t memory_limit=NO_LIMIT) except -1:
        """Run a call, without the GIL unless it is short, in a pooled workspace. Raises MemoryError, KeyboardInterrupt."""
        cdef Memory memory = None, arrangement
        cdef Py_ssize_t few[FEW_WORDS]
        cdef int status, threads, stop = 0
        cdef double polled = NEVER
        cdef Py_ssize_t needed
        cdef bint held = False
        add(&in_flight, 1)
        try:
            self.divide(c)
            if arranged_words(c) > FEW_WORDS:
                arrangement = Memory(arranged_words(c) * sizeof(Py_ssize_t))
                arrange(c, <Py_ssize_t *> arrangement.base)
            elif c.arranged:
                arrange(c, few)
            threads = self.threads(c, n_threads)
            needed = self.fit_into(c, memory_limit, &threads)
            memory = self.check_out(needed)
            if self.shares_products(c):
                hold_blas()
                held = True
            c.polled, c.polls, c.stop = &polled, True, &stop
            if threads == 1 and self.is_short(c):
                status = self.run_in(c, memory.base, 1)
            else:
                with nogil:
                    status = self.run_in(c, memory.base, threads)
            if status != DONE:
                pass_on()  # in here: `finally` sets the exception aside, so that Python code can run
        finally:
            add(&in_flight, -1)
            if held:
                release_blas()
            self.check_in(memory)
        return 0

    cdef void check_in(self, Memory memory):
        if memory is not None and memory.bytes <= POOLED_BYTES:
            self.pool.append(memory)
            if len(self.pool) > POOLED:  # looked at afterwards: without a GIL several threads may append at once
                del self.pool[POOLED:]

    cdef Memory check_out(self, Py_ssize_t bytes):
        """A workspace of at least so many bytes, the last one used where it is large enough."""
        cdef cpython.PyObject *popped = PyObject_CallMethodNoArgs(self.pool, "pop")
        cdef Memory memory
        # The pool is empty: asked by leaping, as another thread may be as quick, and not by `except`, whose C crashes where
        # there is no memory for a traceback (Cython 3.3).
        if popped == NULL:
            cpython.PyErr_Clear()
            return Memory(bytes)
        memory = <Memory> popped
        cpython.Py_DECREF(memory)  # the reference that pop gave
        return memory if memory.bytes >= bytes else Memory(bytes)


def at_once(method):
    """`method`, RNN's loss_and_gradients, so that a call without rarer options goes to the network's engine straight away.

    Python takes 0.12 us to fill in the others of its arguments, and a call of the smallest networks 2.6 (2026-11).
    """
    @functools.wraps(method)
    def loss_and_gradients(self, *given, initial_state=None, weights=None, lengths=None, resets=None, input_gradient=False,
                           initial_state_gradient=False, n_threads=None, **others):
        cdef int threads = n_threads if type(n_threads) is int and 0 < n_threads <= INT_MAX else 0
        if len(given) == 2 and not others and (threads > 0 or n_threads is None):
            engine = self._at_once
            if type(engine) is Engine:
                result = (<Engine> engine).find_gradients(self._theta, given[0], given[1], weights, initial_state, lengths,
                                                          resets, None, 0, input_gradient, initial_state_gradient,
                                                          threads, None)
                if result is not NotImplemented:
                    return result
        return method(self, *given, initial_state=initial_state, weights=weights, lengths=lengths, resets=resets,
                      input_gradient=input_gradient, initial_state_gradient=initial_state_gradient, n_threads=n_threads,
                      **others)
    return loss_and_gradients


def lane_kernels():
    """The kernel set of this process for many networks at once, in a capsule."""
    return PyCapsule_New(<void *> chosen, b"fastbptt.kernels", NULL)


def kernel_set():
    """The name of the kernel set of this process, which `kernels_for` may leave for a shorter one."""
    return chosen.name.decode()


def compiler():
    """The compiler that built this module."""
    return COMPILER.decode()


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------

include "_train.pxi"

# ---------------------------------------------------------------------------------------------------------------------
# What C sees
# ---------------------------------------------------------------------------------------------------------------------

include "_embed.pxi"
