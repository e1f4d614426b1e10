/* The verbs: what a set of kernels is.
 *
 * A set fills one fastbptt_kernels. Every verb works on a block of time steps of one shard, packed row by row: the row of
 * step t and sequence b is row t * rows + b, rows are ld apart, ld being the width rounded up to the set's pad. Nothing
 * here allocates, touches Python, or fails. Sizes are >= 1 unless said otherwise. Below, each verb stands under the NumPy
 * line that it is.
 */
#ifndef FASTBPTT_KERNELS_H
#define FASTBPTT_KERNELS_H

#include <stddef.h>

/* The constants are the rows of the tables in defs/, and defs/tables.h has what the tables say of each. */
enum fastbptt_activation {
#define ACTIVATION(CONSTANT, name, layers, reads) FASTBPTT_##CONSTANT,
#define ROW_ACTIVATION(CONSTANT, name) FASTBPTT_##CONSTANT,
#include "defs/activations.def"
};

enum fastbptt_loss {
#define LOSS(CONSTANT, name, outputs, number) FASTBPTT_##CONSTANT,
#define ROW_LOSS(CONSTANT, name, outputs) FASTBPTT_##CONSTANT,
#include "defs/losses.def"
    FASTBPTT_GIVEN /* D is ∂E/∂Y, from the caller. It has no name. */
};

enum fastbptt_rule {
#define RULE(CONSTANT, name, slots) FASTBPTT_##CONSTANT,
#include "defs/rules.def"
};

#define FASTBPTT_ANY -1 /* every output activation */

/* Return the output activation that a loss is one function with, or FASTBPTT_ANY. */
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
#define FASTBPTT_NOISE 16 /* times the rounding unit and the size of the terms: a sum below it is rounding noise */

/* What becomes of a unit's state U from step to step, A being its pre-activation and R its rate:
 *     RATE     R[t] = g1(A[t]);  U[t] = (1 - leak) U[t - 1] + leak R[t];  W_s and the output read S = U
 *     CURRENT  U[t] = (1 - leak) U[t - 1] + leak A[t];  R[t] = g1(U[t]);  W_s and the output read S = R */
enum fastbptt_form {
#define CELL(CONSTANT, name, gates, carries, saves, direct) FASTBPTT_##CONSTANT,
#include "defs/cells.def"
};

/* What `error` has to know. */
typedef struct {
    int activation;       /* g2 */
    int loss;
    ptrdiff_t O, K;       /* outputs and targets a row; O = levels * K */
    const double *levels; /* of quantile */
    double threshold;     /* of huber */
    double scale;         /* of the derivative: 1, or 1 / Σ m */
    int settles;          /* whether what is only rounding noise in the derivative of softmax is 0, as with omega */
} fastbptt_error;

/* What `integrate` has to know. */
typedef struct {
    int activation, form;
    double leak;
} fastbptt_units;

/* What `update` has to know; correction_1 = 1 - beta_1^count, correction_2 likewise. */
typedef struct {
    int rule, nesterov;
    double learning_rate, momentum, rho, beta_1, beta_2, epsilon, weight_decay, correction_1, correction_2;
} fastbptt_update;

#define FASTBPTT_VERBS(real) \
    /* P = W.T where the strides are (1, K), P = W where they are (N, 1)                              (K, N) */ \
    void (*pack)(ptrdiff_t K, ptrdiff_t N, const real *W, ptrdiff_t stride_k, ptrdiff_t stride_n, real *P, \
                 ptrdiff_t ldp); \
    /* A[t, b] = X[t, index[b]], of any strides; index may be NULL: X[t, b]          (steps, rows, width) */ \
    void (*gather)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *X, ptrdiff_t stride_t, \
                   ptrdiff_t stride_b, const ptrdiff_t *index, real *A, ptrdiff_t lda); \
    /* X[t, index[b]] = A[t, b], likewise */ \
    void (*scatter)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *A, ptrdiff_t lda, real *X, \
                    ptrdiff_t stride_t, ptrdiff_t stride_b, const ptrdiff_t *index); \
    /* C = A @ P + b, b may be NULL                                                                (rows, N) */ \
    void (*affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P, \
                   ptrdiff_t ldp, const real *b, real *C, ptrdiff_t ldc); \
    /* S[t] = g1(S[t] + S[t - 1] @ P), where S holds the input's part; S[-1] is `before`, which is NULL where it is zero: \
     * P may then be missing for a single step                                                 (steps, rows, H) */ \
    void (*recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                  const real *before, real *S); \
    /* Z <- g2(Z) where D and labels are NULL; else Z <- scale ∂(Σ m e)/∂Z, losses[row] = e unless losses is NULL, and \
     * Σ m e is returned. weights holds 0, 1 or K numbers a row; what has weight 0 is not read in D.     (rows, O) */ \
    double (*error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, ptrdiff_t ldd, const ptrdiff_t *labels, \
                    const real *weights, ptrdiff_t weight_width, real *Z, ptrdiff_t ldz, real *losses); \
    /* delta[t] = (delta[t] + delta[t + 1] @ P) * g1'(R[t]), last step first; delta[steps] is `later`, which is NULL \
     * where there is none                                                                (steps, rows, H) */ \
    void (*recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh, \
                       const real *R, const real *later, real *delta); \
    /* C += A.T @ B                                                                                    (M, N) */ \
    void (*accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *B, \
                       ptrdiff_t ldb, real *C, ptrdiff_t ldc); \
    /* sums += A.sum(axis=0)                                                                             (N,) */ \
    void (*column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums); \
    /* theta and slots <- one update by the rule; slot_2 only where the rule has two                      (n,) */ \
    void (*update)(const fastbptt_update *what, ptrdiff_t n, const real *gradient, real *theta, real *slot_1, \
                   real *slot_2); \
    /* `recur` of leaky units: A[t] = S[t] + (mask * S[t - 1]) @ P, and what fastbptt_form says of it. S[t] is overwritten \
     * by what W_s reads; other is R where the form is RATE, U where it is CURRENT, whose U[-1] is `integrated`. mask \
     * (rows, H) may be NULL, masked is scratch                                            (steps, rows, H) */ \
    void (*integrate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, \
                      ptrdiff_t ldh, const real *mask, real *masked, const real *before, const real *integrated, real *S, \
                      real *other); \
    /* `recur_back` of leaky units. With q = mask * (delta[t + 1] @ P), delta[t] being what S[t] has of the output at first: \
     *     RATE     dU[t] = delta[t] + q + (1 - leak) dU[t + 1];              delta[t] = leak dU[t] * g1'(R[t]) \
     *     CURRENT  dU[t] = (delta[t] + q) * g1'(R[t]) + (1 - leak) dU[t + 1]; delta[t] = leak dU[t] \
     * dU (rows, H) is that of step `steps` at first and of step 0 in the end; where `later` is NULL it is not read \
     *                                                                                     (steps, rows, H) */ \
    void (*integrate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, \
                           ptrdiff_t ldh, const real *mask, real *masked, const real *R, const real *later, real *dU, \
                           real *delta);

/* The same for many networks of one shape, one a lane: every number is `lanes` reals beside each other, in arrays that are
 * contiguous. What is the same for all of them may be shared: one real a number then. Rows are steps times sequences. */
#define FASTBPTT_LANE_VERBS(real) \
    /* C = x @ W.T + b, b may be NULL                                                               (rows, N) */ \
    void (*affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, int shared, const real *W, const real *b, \
                   real *C); \
    /* C = x @ W                                                                                    (rows, N) */ \
    void (*affine_back)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, const real *W, real *C); \
    /* S[t] = g1(S[t] + S[t - 1] @ W.T), and 0 from step ends[row] on; ends (rows,) may be NULL       (steps, rows, H) */ \
    void (*recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *ends, \
                  const real *before, real *S); \
    /* delta[t] = (delta[t] + delta[t + 1] @ W) * g1'(R[t]), likewise                           (steps, rows, H) */ \
    void (*recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *W, const real *ends, \
                       const real *R, real *delta); \
    /* Z <- g2(Z)                                                                                   (rows, O) */ \
    void (*output)(int activation, ptrdiff_t rows, ptrdiff_t O, real *Z); \
    /* Z <- scale ∂(Σ m e)/∂Z; e is put into losses (rows,), which may be NULL, Σ m e is added to totals; what->scale is \
     * not read, but scale (lanes,). weights has 0, 1 or K numbers a row; what has weight 0 is not read in D.  (rows, O) */ \
    void (*error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, int shared_D, const real *weights, \
                  int weight_width, int shared_weights, const real *scale, real *Z, real *losses, double *totals); \
    /* C += A.T @ x                                                                                    (M, N) */ \
    void (*accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, const real *x, int shared, real *C); \
    /* sums += A.sum(axis=0)                                                                             (N,) */ \
    void (*column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, real *sums); \
    /* target[i, l] = source[l][i] of the first n networks, and 0 of the others                       (count,) */ \
    void (*gather)(ptrdiff_t n, ptrdiff_t count, const real *const *source, real *target); \
    void (*scatter)(ptrdiff_t n, ptrdiff_t count, const real *source, real *const *target); \
    /* as above, with a learning rate of each network; what->learning_rate is not read. Where `going` is 0, nothing \
     * changes                                                                                           (n,) */ \
    void (*update)(const fastbptt_update *what, ptrdiff_t n, const real *rates, const real *going, const real *gradient, \
                   real *theta, real *slot_1, real *slot_2);

typedef struct { FASTBPTT_VERBS(float) } fastbptt_verbs_f32;
typedef struct { FASTBPTT_VERBS(double) } fastbptt_verbs_f64;
typedef struct { FASTBPTT_LANE_VERBS(float) } fastbptt_lane_verbs_f32;
typedef struct { FASTBPTT_LANE_VERBS(double) } fastbptt_lane_verbs_f64;

typedef struct {
    const char *name;
    ptrdiff_t pad_f32, pad_f64; /* widths are rounded up to these */
    fastbptt_verbs_f32 f32;
    fastbptt_verbs_f64 f64;
    ptrdiff_t lanes_f32, lanes_f64; /* networks side by side; 0 where the set has no verbs for them */
    fastbptt_lane_verbs_f32 lane_f32;
    fastbptt_lane_verbs_f64 lane_f64;
} fastbptt_kernels;

/* The vector set of that name, or where name is NULL the best one; NULL where this build or this processor has none. */
const fastbptt_kernels *fastbptt_vector_kernels(const char *name);

/* Whether this processor computes the halves of a vector of 64 bytes one after the other, as AMD's Zen 4 does. */
int fastbptt_halves_vectors(void);

#endif
