/* The interface of a kernel set: a table of functions, the kernels.
 *
 * A set fills one fastbptt_kernels. Every kernel works on a block of time steps of one shard. A block is packed row by row:
 * the row of step t and sequence b is row t * rows + b. Rows are ld numbers apart, where ld is the width rounded up to the
 * set's pad. Kernels never allocate, use Python, or fail. Sizes are >= 1 unless a kernel says otherwise. The NumPy line above
 * each kernel defines its result. Declare a new kernel here.
 */
#ifndef FASTBPTT_KERNELS_H
#define FASTBPTT_KERNELS_H

#include <stddef.h>

/* Each constant is the index of a row in a table of defs/. defs/tables.h has the columns of the tables. */
enum fastbptt_activation {
#define ACTIVATION(CONSTANT, name, layers, reads) FASTBPTT_##CONSTANT,
#define ROW_ACTIVATION(CONSTANT, name) FASTBPTT_##CONSTANT,
#include "defs/activations.def"
};

enum fastbptt_loss {
#define LOSS(CONSTANT, name, outputs, number) FASTBPTT_##CONSTANT,
#define ROW_LOSS(CONSTANT, name, outputs) FASTBPTT_##CONSTANT,
#include "defs/losses.def"
    FASTBPTT_GIVEN /* D is ∂E/∂Y, computed by the caller. This loss has no name. */
};

enum fastbptt_rule {
#define RULE(CONSTANT, name, slots) FASTBPTT_##CONSTANT,
#include "defs/rules.def"
};

enum fastbptt_reads { FASTBPTT_VALUE, FASTBPTT_INPUT };

/* Return whether the derivative of an activation is a function of the pre-activation. */
static inline int fastbptt_reads_input(int activation)
{
    switch ((enum fastbptt_activation)activation) {
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: return FASTBPTT_##reads == FASTBPTT_INPUT;
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: return 0;
#include "defs/activations.def"
    }
    return 0;
}

#define FASTBPTT_ANY -1 /* every output activation */

/* Return the output activation that a loss is fused with, or FASTBPTT_ANY. */
static inline int fastbptt_outputs_of(int loss)
{
    switch ((enum fastbptt_loss)loss) {
#define LOSS(CONSTANT, name, outputs, number) case FASTBPTT_##CONSTANT: return FASTBPTT_##outputs;
#define ROW_LOSS(CONSTANT, name, outputs) case FASTBPTT_##CONSTANT: return FASTBPTT_##outputs;
#include "defs/losses.def"
    case FASTBPTT_GIVEN: break;
    }
    return FASTBPTT_ANY;
}

#define FASTBPTT_LEAKY_SLOPE 0.01
#define FASTBPTT_NOISE 16 /* a sum up to this times the rounding unit times the size of its terms is rounding noise */

/* The state U of a unit, with its pre-activation A and its rate R:
 *     RATE     R[t] = g1(A[t]);  U[t] = (1 - leak) U[t - 1] + leak R[t];  W_s and the output read S = U
 *     CURRENT  U[t] = (1 - leak) U[t - 1] + leak A[t];  R[t] = g1(U[t]);  W_s and the output read S = R
 *
 * The equations of cells of several gates. A_g is the input's part of gate g's pre-activation, P_g its product with W_s, and s
 * the sigmoid:
 *     GRU         r = s(A_r + P_r);  z = s(A_z + P_z);  n = g1(A_n + r (P_n + b_n));  S[t] = (1 - z) n + z S[t - 1]
 *     GRU_BEFORE  the same, but n = g1(A_n + (r S[t - 1]) @ W_s,n.T)
 *     LSTM        i, f, o = s(A + P);  g = g1(A_g + P_g);  c[t] = f c[t - 1] + i g;  S[t] = o g1(c[t]) */
enum fastbptt_form {
#define CELL(CONSTANT, ...) FASTBPTT_##CONSTANT,
#include "defs/cells.def"
};

/* Arguments of `error`. */
typedef struct {
    int activation;       /* g2 */
    int loss;
    ptrdiff_t O, K;       /* outputs and targets per row; O = levels * K */
    const double *levels; /* of quantile */
    double threshold;     /* of huber */
    double scale;         /* factor of the derivative: 1, or 1 / Σ m */
    int settles;          /* whether rounding noise in the derivative of softmax becomes 0, as omega requires */
} fastbptt_error;

/* Arguments of `integrate`. leaks and keeps are arrays (ldh,) of the kernel's real type: the leak of each unit, and 1 - leak. They
 * are NULL if all units have the leak `leak`. */
typedef struct {
    int activation, form;
    double leak;
    const void *leaks, *keeps;
} fastbptt_units;

/* Arguments of `update`. correction_1 = 1 - beta_1^count and correction_2 = 1 - beta_2^count. */
typedef struct {
    int rule, nesterov;
    double learning_rate, momentum, rho, beta_1, beta_2, epsilon, weight_decay, correction_1, correction_2;
} fastbptt_update;

#define FASTBPTT_VERBS(real) \
    /* P = W.T for the strides (1, K), P = W for the strides (N, 1)                                   (K, N) */ \
    void (*pack)(ptrdiff_t K, ptrdiff_t N, const real *W, ptrdiff_t stride_k, ptrdiff_t stride_n, real *P, \
                 ptrdiff_t ldp); \
    /* A[t, b] = X[t, index[b]], for any strides of X; X[t, b] if index is NULL      (steps, rows, width) */ \
    void (*gather)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *X, ptrdiff_t stride_t, \
                   ptrdiff_t stride_b, const ptrdiff_t *index, real *A, ptrdiff_t lda); \
    /* X[t, index[b]] = A[t, b], for any strides of X; X[t, b] if index is NULL */ \
    void (*scatter)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *A, ptrdiff_t lda, real *X, \
                    ptrdiff_t stride_t, ptrdiff_t stride_b, const ptrdiff_t *index); \
    /* C = A @ P + b; b may be NULL                                                                (rows, N) */ \
    void (*affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P, \
                   ptrdiff_t ldp, const real *b, real *C, ptrdiff_t ldc); \
    /* C += A @ P. Whole rows of C are read and written, ldp numbers each                        (rows, ldp) */ \
    void (*add_product)(ptrdiff_t rows, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *P, ptrdiff_t ldp, real *C, \
                        ptrdiff_t ldc); \
    /* S[t] = g1(S[t] + S[t - 1] @ P), where S initially holds the product of the inputs. S[-1] is `before`; NULL is zero. \
     * P is not read for a single step with before == NULL. If g1 reads INPUT, A receives the pre-activations unless it is \
     * NULL; else A is not used                                                                (steps, rows, H) */ \
    void (*recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                  const real *before, real *S, real *A); \
    /* Z <- g2(Z) if D and labels are NULL. Else Z <- scale ∂(Σ m e)/∂Z, losses[row] = e unless losses is NULL, and return \
     * Σ m e. weights has 0, 1 or K numbers per row. Targets D with weight 0 are not read.               (rows, O) */ \
    double (*error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, ptrdiff_t ldd, const ptrdiff_t *labels, \
                    const real *weights, ptrdiff_t weight_width, real *Z, ptrdiff_t ldz, real *losses); \
    /* delta[t] = (delta[t] + delta[t + 1] @ P) * g1'(R[t]), from the last step to the first. delta[steps] is `later`; \
     * NULL is zero. R is what g1' reads: S, or A if g1 reads INPUT                       (steps, rows, H) */ \
    void (*recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                       const real *R, const real *later, real *delta); \
    /* C += A.T @ B                                                                                    (M, N) */ \
    void (*accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *B, \
                       ptrdiff_t ldb, real *C, ptrdiff_t ldc); \
    /* sums += A.sum(axis=0)                                                                             (N,) */ \
    void (*column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums); \
    /* Update theta and the slots by the rule. slot_2 is used only if the rule has two slots              (n,) */ \
    void (*update)(const fastbptt_update *what, ptrdiff_t n, const real *gradient, real *theta, real *slot_1, \
                   real *slot_2); \
    /* `recur` for leaky units: A[t] = S[t] + (mask * S[t - 1]) @ P, then the equations at fastbptt_form. S[t] becomes the \
     * array that W_s reads. `other`, the auxiliary state, is in the form RATE R, or A if g1 reads INPUT, and in the form \
     * CURRENT U, with U[-1] in `integrated`. mask (rows, H) may be NULL; masked is scratch. With P == NULL, S already holds A \
     * of a single step                                                                      (steps, rows, H) */ \
    void (*integrate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, \
                      ptrdiff_t ldh, const real *mask, real *masked, const real *before, const real *integrated, real *S, \
                      real *other); \
    /* `recur_back` for leaky units. q = mask * (delta[t + 1] @ P), and delta[t] is at first the gradient from the output: \
     *     RATE     dU[t] = delta[t] + q + (1 - leak) dU[t + 1];              delta[t] = leak dU[t] * g1'(R[t]) \
     *     CURRENT  dU[t] = (delta[t] + q) * g1'(R[t]) + (1 - leak) dU[t + 1]; delta[t] = leak dU[t] \
     * dU (rows, H) is at first that of step `steps`, in the end that of step 0. It is not read if `later` is NULL. If g1 \
     * reads INPUT, the array R is A in the form RATE and U in the form CURRENT. With P == NULL, delta already contains q of a \
     * single step \
     *                                                                                     (steps, rows, H) */ \
    void (*integrate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, \
                           ptrdiff_t ldh, const real *mask, real *masked, const real *R, const real *later, real *dU, \
                           real *delta); \
    /* `recur` for cells of several gates, by the equations at fastbptt_form. simd/gated.h has the slots of a row of `saves` and \
     * of delta. `saves` initially holds the input's part of the pre-activations. P is W_s packed by `pack_gates`, `before` and \
     * carry_before are the carries before the first step, carry is the second one. mask (rows, H) may be NULL; masked is \
     * scratch (2, rows, H)                                                                (steps, rows, H) */ \
    void (*gate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                 const real *b_n, const real *mask, real *masked, const real *before, const real *carry_before, real *S, \
                 real *carry, real *saves); \
    /* `recur_back` for cells of several gates. On entry the first slot of delta holds ∂E/∂S through the outputs. P is W_s packed \
     * by `pack_back`, `before` (steps, rows, H) are the states before each step. dcarry (rows, H) is at first the gradient that \
     * goes back directly from step `steps`, in the end that from step 0: of the second carry, or of S if there is none. It is \
     * not read if `later` is NULL. With steps = 0, add to the first slot of delta (rows, slots H) the gradient with respect to \
     * the state before `later`: later @ P, plus dcarry if it is of S                  (steps, rows, slots H) */ \
    void (*gate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                      const real *mask, real *masked, const real *saves, const real *before, const real *later, real *dcarry, \
                      real *delta);

/* The kernels for many networks of one shape, with one network per vector lane. Every number is `lanes` consecutive reals. Arrays
 * are contiguous unless a distance of rows is an argument (lda, ldc, in numbers). An array that all networks share may have one
 * real per number. Rows are steps times sequences. */
#define FASTBPTT_LANE_VERBS(real) \
    /* C = x @ W.T + b; b may be NULL                                                               (rows, N) */ \
    void (*affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, int shared, const real *W, const real *b, \
                   real *C, ptrdiff_t ldc); \
    /* C = x @ W                                                                                    (rows, N) */ \
    void (*affine_back)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, const real *W, real *C, ptrdiff_t ldc); \
    /* S[t] = g1(S[t] + S[t - 1] @ W.T), and 0 from step ends[row] on. ends (rows,) may be NULL. A as in `recur` above \
     *                                                                                     (steps, rows, H) */ \
    void (*recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *ends, \
                  const real *before, real *S, real *A); \
    /* delta[t] = (delta[t] + delta[t + 1] @ W) * g1'(R[t]), and 0 from step ends[row] on. R as in `recur_back` above \
     *                                                                                     (steps, rows, H) */ \
    void (*recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *ends, \
                       const real *R, real *delta); \
    /* Z <- g2(Z)                                                                                   (rows, O) */ \
    void (*output)(int activation, ptrdiff_t rows, ptrdiff_t O, real *Z); \
    /* Z <- scale ∂(Σ m e)/∂Z. losses (rows,) = e unless it is NULL, and totals += Σ m e. scale (lanes,) replaces what->scale. \
     * weights has 0, 1 or K numbers per row. Targets D with weight 0 are not read.                            (rows, O) */ \
    void (*error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, int shared_D, const real *weights, \
                  int weight_width, int shared_weights, const real *scale, real *Z, real *losses, double *totals); \
    /* C += A.T @ x                                                                                    (M, N) */ \
    void (*accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *x, int shared, \
                       real *C); \
    /* sums += A.sum(axis=0)                                                                             (N,) */ \
    void (*column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums); \
    /* target[i, l] = source[l][i] for the first n networks, 0 for the others                         (count,) */ \
    void (*gather)(ptrdiff_t n, ptrdiff_t count, const real *const *source, real *target); \
    void (*scatter)(ptrdiff_t n, ptrdiff_t count, const real *source, real *const *target); \
    /* `update` as above. rates (lanes,), a learning rate for each network, replaces what->learning_rate. A network with \
     * going == 0 does not change                                                                        (n,) */ \
    void (*update)(const fastbptt_update *what, ptrdiff_t n, const real *rates, const real *going, const real *gradient, \
                   real *theta, real *slot_1, real *slot_2); \
    /* `gate` as above, for all steps of a pass, and 0 from step ends[row] on. b_n may be NULL. gated (steps, rows, H) receives \
     * the factor of a GATED product, and is not used by other cells                       (steps, rows, H) */ \
    void (*gate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *b_n, \
                 const real *ends, const real *before, const real *carry_before, real *S, real *carry, real *saves, \
                 real *gated); \
    /* `gate_back` as above, for all steps of a pass, and 0 from step ends[row] on. On return start (rows, H) is the gradient with \
     * respect to the first carry before step 0, and dcarry (rows, H) that of the LSTM's c   (steps, rows, slots H) */ \
    void (*gate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *ends, \
                      const real *saves, const real *before, real *delta, real *dcarry, real *start);

typedef struct { FASTBPTT_VERBS(float) } fastbptt_verbs_f32;
typedef struct { FASTBPTT_VERBS(double) } fastbptt_verbs_f64;
typedef struct { FASTBPTT_LANE_VERBS(float) } fastbptt_lane_verbs_f32;
typedef struct { FASTBPTT_LANE_VERBS(double) } fastbptt_lane_verbs_f64;

typedef struct {
    const char *name;
    ptrdiff_t pad_f32, pad_f64; /* widths are rounded up to these */
    fastbptt_verbs_f32 f32;
    fastbptt_verbs_f64 f64;
    ptrdiff_t lanes_f32, lanes_f64; /* networks per lane kernel; 0 if the set has no lane kernels */
    fastbptt_lane_verbs_f32 lane_f32;
    fastbptt_lane_verbs_f64 lane_f64;
} fastbptt_kernels;

/* Return the vector set of a name, or the best one if name is NULL. Return NULL if the build or the processor has none. */
const fastbptt_kernels *fastbptt_vector_kernels(const char *name);

/* Return whether this processor computes the halves of a 64-byte vector one after the other, as AMD's Zen 4 does. */
int fastbptt_halves_vectors(void);

#endif
