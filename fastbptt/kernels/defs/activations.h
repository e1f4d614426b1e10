/* The formulas of activations, included for vectors (simd/math.h) and for single numbers (scalar.h).
 *
 * To add an activation, add a row to activations.def and its two functions here. slope_<name> is a function of what the row's
 * column `reads` selects, g(a) or a. A function that several formulas need belongs at the top. The including file defines
 * `real`, V (a vector or a real), W (the number of reals in V), NAME, INLINE, LOAD, STORE, SPLAT, SELECT, ABS and
 * POSITIVE_PART, and the functions exp, expm1 (for x <= 0), log1p (for 0 <= x <= 1) and tanh. Formulas have no branches, so
 * that they compile for both.
 *
 * ONE, HALF and WIDE are 1, 0.5 and V for vectors. For single numbers they are double, because the `blas` set computes these
 * terms of float32 formulas in double. Rounding them would change its results in the last place.
 */

/* Return Φ(a), the distribution function of the normal distribution, and set *density to φ(a).
 *
 * Φ(-z) = exp(-z²/2) s p(v) for z = |a|, with s = 1 / (z + CENTRE) and v = (CENTRE - z) s. tests/kernels/normal_table.py
 * computes the polynomial p. z² is large where the tail is small, so that half an ulp of it would be hundreds of the result's. It is
 * therefore two numbers, square + left. The square of `high` is exact: adding and subtracting SHORTEN rounds z to half of its
 * digits. From z = HIGHEST on the tail is 0. */
#if BITS == 32
#define NORMAL_HIGHEST 15
#define NORMAL_SHORTEN 0x1.8p15f
#define NORMAL_CENTRE 4
#else
#define NORMAL_HIGHEST 39
#define NORMAL_SHORTEN 0x1.8p32
#define NORMAL_CENTRE 5
#endif

static INLINE V NAME(normal)(V a, V *density)
{
    const V z = SELECT(ABS(a) > NORMAL_HIGHEST, SPLAT(NORMAL_HIGHEST), ABS(a)); /* NaN stays */
    const V high = (z + NORMAL_SHORTEN) - NORMAL_SHORTEN, rest = (z - high) * (z + high);
    const V square = high * high + rest, left = (high * high - square) + rest;
    const V power = NAME(exp)(square * (real)-0.5);
    const V s = 1 / (z + NORMAL_CENTRE), v = (NORMAL_CENTRE - z) * s;
    const V scaled = s - s * (left * (real)0.5); /* s and not power, whose product with `left` may be subnormal: 0 in the core */
    V p, tail;
#if BITS == 32
    p = SPLAT(0.000136615286f);
    p = p * v + 0.000170426603f;
    p = p * v - 0.00156848563f;
    p = p * v - 0.00350717362f;
    p = p * v + 0.0075233886f;
    p = p * v + 0.0604027659f;
    p = p * v + 0.186523795f;
    p = p * v + 0.387136966f;
    p = p * v + 0.607896566f;
    p = p * v + 0.755285144f;
#else
    p = SPLAT(-3.0309974394690728e-10);
    p = p * v - 1.4289824927707208e-09;
    p = p * v + 7.9372969148262502e-09;
    p = p * v + 8.2881683038794657e-09;
    p = p * v - 6.5995473159634435e-08;
    p = p * v - 4.0875902090101492e-08;
    p = p * v + 4.3286253166556439e-07;
    p = p * v + 3.3553759489366746e-07;
    p = p * v - 2.7689364357183936e-06;
    p = p * v - 3.9803869810222915e-06;
    p = p * v + 1.668103394504037e-05;
    p = p * v + 4.9762656288785024e-05;
    p = p * v - 5.9375672721523567e-05;
    p = p * v - 0.00054489903379346645;
    p = p * v - 0.00079786940837397991;
    p = p * v + 0.0029933767667687508;
    p = p * v + 0.020795066800874992;
    p = p * v + 0.069118638706564928;
    p = p * v + 0.16502036617033547;
    p = p * v + 0.31353315667129639;
    p = p * v + 0.49530561596997735;
    p = p * v + 0.66538250289005674;
    p = p * v + 0.76919304975006297;
#endif
    tail = power * scaled * p;
    *density = (power - power * (left * (real)0.5)) * (real)0.3989422804014327; /* 1 / √(2 π) */
    return SELECT(a < 0, tail, 1 - tail);
}

#undef NORMAL_HIGHEST
#undef NORMAL_SHORTEN
#undef NORMAL_CENTRE

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

static INLINE V NAME(g_silu)(V a)
{
    const V e = NAME(exp)(-ABS(a)); /* never overflows */
    return a * (SELECT(a < 0, e, SPLAT(1)) / (ONE + e));
}

static INLINE WIDE NAME(slope_silu)(V a)
{
    const V e = NAME(exp)(-ABS(a));
    const WIDE sigmoid = SELECT(a < 0, e, SPLAT(1)) / (ONE + e), rest = SELECT(a < 0, SPLAT(1), e) / (ONE + e);
    return sigmoid * (ONE + a * rest);
}

static INLINE V NAME(g_gelu)(V a)
{
    V density;
    return a * NAME(normal)(a, &density);
}

static INLINE WIDE NAME(slope_gelu)(V a)
{
    V density;
    const V probability = NAME(normal)(a, &density);
    return probability + a * density;
}

/* ---- Functions generated from the table.
 *
 * `g` and `slope_of_g` are inlined into the loops over steps. Their caller must have checked the number of the activation: one
 * more case makes a backward step up to 1.16 times as long (two rows of H = 8, avx2, Intel Xeon, 2026-11). For this reason they
 * have no activation that reads INPUT, and recurrences compute these step by step. The other functions give NaN for a number
 * without a row. */

/* Return g(a) if the activation reads VALUE. It is a constant or the same in every call, so that the branch is predicted. */
static INLINE V NAME(g)(int activation, V a)
{
    switch ((enum fastbptt_activation)activation) {
#define G_VALUE(name) return NAME(g_##name)(a)
#define G_INPUT(name) break
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: G_##reads(name);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
#undef G_VALUE
#undef G_INPUT
    }
    return a;
}

/* Return g'(a) from r = g(a) of a hidden activation that reads VALUE. */
static INLINE WIDE NAME(slope_of_g)(int activation, V r)
{
    switch ((enum fastbptt_activation)activation) {
#define SLOPE_HIDDEN_VALUE(name) return NAME(slope_##name)(r)
#define SLOPE_BOTH_VALUE(name) return NAME(slope_##name)(r)
#define SLOPE_OUTPUT_VALUE(name) break
#define SLOPE_HIDDEN_INPUT(name) break
#define SLOPE_BOTH_INPUT(name) break
#define SLOPE_OUTPUT_INPUT(name) break
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: SLOPE_##layers##_##reads(name);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
#undef SLOPE_HIDDEN_VALUE
#undef SLOPE_BOTH_VALUE
#undef SLOPE_OUTPUT_VALUE
#undef SLOPE_HIDDEN_INPUT
#undef SLOPE_BOTH_INPUT
#undef SLOPE_OUTPUT_INPUT
    }
    return SPLAT(1);
}

/* Return dy g'(z) for an output y = g(z). */
static INLINE V NAME(back_from_output)(int activation, V dy, V y)
{
    if (activation == FASTBPTT_SIGMOID)
        return dy * y * (ONE - y); /* other bits than dy * (y * (1 - y)): results must keep their bits */
    switch ((enum fastbptt_activation)activation) {
#define BACK_VALUE(name) return dy * NAME(slope_##name)(y)
#define BACK_INPUT(name) break
#define ACTIVATION(CONSTANT, name, layers, reads) case FASTBPTT_##CONSTANT: BACK_##reads(name);
#define ROW_ACTIVATION(CONSTANT, name) case FASTBPTT_##CONSTANT: break;
#include "activations.def"
#undef BACK_VALUE
#undef BACK_INPUT
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

/* Compute delta <- delta * g'(A). R is what the table's column `reads` selects: g(A) or A. */
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
