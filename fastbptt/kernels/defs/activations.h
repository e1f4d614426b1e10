/* The formulas of activations, included for vectors (simd/math.h) and for single numbers (scalar.h).
 *
 * To add an activation, add a row to activations.def and its two functions here. The including file defines `real`, V (a vector
 * or a real), W (the number of reals in V), NAME, INLINE, LOAD, STORE, SPLAT, SELECT, ABS and POSITIVE_PART, and the functions
 * exp, expm1 (for x <= 0), log1p (for 0 <= x <= 1) and tanh. Formulas have no branches, so that they compile for both.
 *
 * ONE, HALF and WIDE are 1, 0.5 and V for vectors. For single numbers they are double, because the `blas` set computes these
 * terms of float32 formulas in double. Rounding them would change its results in the last place.
 */

static INLINE V NAME(g_tanh)(V a)
{
    return NAME(tanh)(a);
}

static INLINE WIDE NAME(slope_tanh)(V r)
{
    return ONE - r * r;
}

static INLINE V NAME(g_relu)(V a)
{
    return POSITIVE_PART(a);
}

static INLINE WIDE NAME(slope_relu)(V r)
{
    return SELECT(r > 0, SPLAT(1), SPLAT(0));
}

static INLINE V NAME(g_sigmoid)(V a)
{
    const V e = NAME(exp)(-ABS(a)); /* never overflows */
    return SELECT(a < 0, e, SPLAT(1)) / (ONE + e);
}

static INLINE WIDE NAME(slope_sigmoid)(V r)
{
    return r * (ONE - r);
}

static INLINE V NAME(g_identity)(V a)
{
    return a;
}

static INLINE WIDE NAME(slope_identity)(V r)
{
    (void)r;
    return SPLAT(1);
}

static INLINE V NAME(g_softplus)(V a)
{
    return POSITIVE_PART(a) + NAME(log1p)(NAME(exp)(-ABS(a)));
}

static INLINE WIDE NAME(slope_softplus)(V r)
{
    return -NAME(expm1)(-r);
}

static INLINE V NAME(g_leaky_relu)(V a)
{
    return SELECT(a > 0, a, a * (real)FASTBPTT_LEAKY_SLOPE);
}

static INLINE WIDE NAME(slope_leaky_relu)(V r)
{
    return SELECT(r > 0, SPLAT(1), SPLAT(FASTBPTT_LEAKY_SLOPE));
}

static INLINE V NAME(g_elu)(V a)
{
    return SELECT(a > 0, a, NAME(expm1)(a));
}

static INLINE WIDE NAME(slope_elu)(V r)
{
    return SELECT(r > 0, SPLAT(1), r + 1);
}

static INLINE V NAME(g_softsign)(V a)
{
    return a / (ONE + ABS(a));
}

static INLINE WIDE NAME(slope_softsign)(V r)
{
    return (ONE - ABS(r)) * (ONE - ABS(r));
}

static INLINE V NAME(g_exp)(V a)
{
    return NAME(exp)(a);
}

static INLINE WIDE NAME(slope_exp)(V r)
{
    return r;
}

/* ---- Functions generated from the table.
 *
 * `g` and `slope_of_g` are inlined into the loops over steps. Their caller must have checked the number of the activation: one
 * more case makes a backward step up to 1.16 times as long (two rows of H = 8, avx2, Intel Xeon, 2026-11). The other functions
 * give NaN for a number without a row. */

/* Return g(a). The activation is a constant or the same in every call, so that the branch is predicted. */
static INLINE V NAME(g)(int activation, V a)
{
    switch ((enum fastbptt_activation)activation) {
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: return NAME(g_##name)(a);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
    }
    return a;
}

/* Return g'(a) of a hidden activation from r = g(a), the value that the table's column `reads` selects. */
static INLINE WIDE NAME(slope_of_g)(int activation, V r)
{
    switch ((enum fastbptt_activation)activation) {
#define SLOPE_HIDDEN(name) return NAME(slope_##name)(r)
#define SLOPE_BOTH(name) return NAME(slope_##name)(r)
#define SLOPE_OUTPUT(name) break
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: SLOPE_##layers(name);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
#undef SLOPE_HIDDEN
#undef SLOPE_BOTH
#undef SLOPE_OUTPUT
    }
    return SPLAT(1);
}

/* Return dy g'(z) for an output y = g(z). */
static INLINE V NAME(back_from_output)(int activation, V dy, V y)
{
    if (activation == FASTBPTT_SIGMOID)
        return dy * y * (ONE - y); /* other bits than dy * (y * (1 - y)): results must keep their bits */
    switch ((enum fastbptt_activation)activation) {
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: return dy * NAME(slope_##name)(y);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
    }
    return SPLAT(NAN);
}

/* Compute A <- g(A). n is a multiple of W. Each activation has its own loop. */
static void NAME(activate)(int activation, ptrdiff_t n, real *A)
{
    ptrdiff_t i;
    switch ((enum fastbptt_activation)activation) {
#define ACTIVATION(CONSTANT, name, layers, reads) \
    case FASTBPTT_##CONSTANT: \
        for (i = 0; i < n; i += W) \
            STORE(A + i, NAME(g_##name)(LOAD(A + i))); \
        return;
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
    }
    for (i = 0; i < n; i++)
        A[i] = (real)NAN;
}

/* Compute delta <- delta * g'(A) from R = g(A). */
static void NAME(differentiate)(int activation, ptrdiff_t n, const real *R, real *delta)
{
    ptrdiff_t i;
    switch ((enum fastbptt_activation)activation) {
#define ACTIVATION(CONSTANT, name, layers, reads) \
    case FASTBPTT_##CONSTANT: \
        for (i = 0; i < n; i += W) \
            STORE(delta + i, LOAD(delta + i) * NAME(slope_##name)(LOAD(R + i))); \
        return;
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
    }
    for (i = 0; i < n; i++)
        delta[i] = (real)NAN;
}
