/* Elementary functions and activations in vectors. Part of simd.h.
 *
 * Functions of single numbers belong here. Formulas of activations belong in defs/activations.h.
 */

/* ---- Elementary functions
 *
 * Write x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite 1980). The Taylor sum q approximates expm1(r), and
 * exp(x) = 2^n q + 2^n. Adding SHIFT rounds to an integer and leaves it in the lowest bits, from where it moves into an
 * exponent.
 */
#if BITS == 32
#define SHIFT 0x1.8p23f
#define SHIFT_BITS 0x4b400000u
#define LOG2_E 1.44269504f
#define LN2_HIGH 0.693359375f /* short enough for an exact product with n */
#define LN2_LOW -2.12194440e-4f
#define SQRT __builtin_sqrtf
#define EXPONENT_BIAS 127
#define FRACTION_BITS 23
#define EXP_LOWEST -104.0f /* exp is 0 below, and infinite above EXP_HIGHEST */
#define EXP_HIGHEST 89.0f
#define EXPM1_LOWEST -80.0f /* expm1 is -1 below */
#define TANH_HIGHEST 9.5f /* 1 - tanh of this is below half an ulp */
#define TANH_INTERVALS 0x3e180000u /* 19/128, half of the beginning of the second interval */
#if BYTES == 64
#define PERMUTE(v, index) ((V)_mm512_permutexvar_ps((__m512i)(index), (__m512)(v)))
#define MIN_OR_NAN(x, limit) ((V)_mm512_min_ps((__m512)SPLAT(limit), (__m512)(x)))
#define NOT_NEGATIVE(n) ((MASK)_mm512_max_epi32((__m512i)(n), _mm512_setzero_si512()))
#elif BYTES == 32
#define PERMUTE(v, index) ((V)_mm256_permutevar8x32_ps((__m256)(v), (__m256i)(index)))
#define MIN_OR_NAN(x, limit) ((V)_mm256_min_ps((__m256)SPLAT(limit), (__m256)(x)))
#define NOT_NEGATIVE(n) ((MASK)_mm256_max_epi32((__m256i)(n), _mm256_setzero_si256()))
#endif
#else
#define SHIFT 0x1.8p52
#define SHIFT_BITS 0x4338000000000000u
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723e-6
#define SQRT __builtin_sqrt
#define EXPONENT_BIAS 1023
#define FRACTION_BITS 52
#define EXP_LOWEST -746.0
#define EXP_HIGHEST 710.0
#define EXPM1_LOWEST -700.0
#define TANH_HIGHEST 20.0
#if BYTES == 64
#define PERMUTE(v, index) ((V)_mm512_permutexvar_pd((__m512i)(index), (__m512d)(v)))
#endif
#endif
#define CLAMP(x, low, high) SELECT((x) > (high), SPLAT(high), SELECT((x) < (low), SPLAT(low), x)) /* NaN stays */
#define POWER_OF_2(n) ((V)(((n) + EXPONENT_BIAS) << FRACTION_BITS)) /* the shift drops the higher bits of n */

/* Return expm1(f r) for |f r| <= ln 2 / 2 and a constant f. The sum is a tree (Estrin 1960), because in Horner's scheme each
 * product waits for the one before. */
static INLINE V NAME(expm1_sum)(const real f, V r)
{
    const real f2 = f * f, f3 = f2 * f, f4 = f2 * f2, f5 = f4 * f, f6 = f4 * f2, f7 = f4 * f3;
    V r2 = r * r, sum;
#if BITS == 32
    sum = ((r * (f7 / 5040) + f6 / 720) * r2 + (r * (f5 / 120) + f4 / 24)) * r2 + (r * (f3 / 6) + f2 / 2);
#else
    const real f8 = f4 * f4, f9 = f8 * f, f10 = f8 * f2, f11 = f8 * f3, f12 = f8 * f4, f13 = f8 * f5;
    V r4 = r2 * r2;
    V low = (r * (f5 / 120) + f4 / 24) * r2 + (r * (f3 / 6) + f2 / 2);
    V middle = (r * (f9 / 362880) + f8 / 40320) * r2 + (r * (f7 / 5040) + f6 / 720);
    V high = (r * (f13 / 6227020800) + f12 / 479001600) * r2 + (r * (f11 / 39916800) + f10 / 3628800);
    sum = (high * r4 + middle) * r4 + low;
#endif
    return sum * r2 + r * f;
}

/* Return q of f x. Set n to the real n, and n_bits to the integer n plus SHIFT_BITS. f is a constant power of 2, so that
 * products with it are exact. */
static INLINE V NAME(reduce)(const real f, V x, V *n, MASK *n_bits)
{
    V z = x * (f * LOG2_E) + SHIFT;
    *n = z - SHIFT;
    *n_bits = (MASK)z;
    return NAME(expm1_sum)(f, (x - *n * (LN2_HIGH / f)) - *n * (LN2_LOW / f));
}

static INLINE V NAME(exp)(V x)
{
    V n, q, half;
    MASK n_bits, half_bits;
    q = NAME(reduce)(1, CLAMP(x, EXP_LOWEST, EXP_HIGHEST), &n, &n_bits);
    half = n * (real)0.5 + SHIFT; /* 2^n as two factors, because it may be infinite or subnormal */
    half_bits = (MASK)half;
    return (q + 1) * POWER_OF_2(half_bits - SHIFT_BITS) * POWER_OF_2(n_bits - half_bits);
}

/* Return expm1(x) for x <= 0. */
static INLINE V NAME(expm1)(V x)
{
    V n, q, scale;
    MASK n_bits;
    q = NAME(reduce)(1, SELECT(x < EXPM1_LOWEST, SPLAT(EXPM1_LOWEST), x), &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    return scale * q + (scale - 1);
}

/* Return log(1 + u) for 0 <= u <= 1: the Taylor sum of 2 atanh(s / 2) with s = 2 u / (2 + u). */
static INLINE V NAME(log1p)(V u)
{
    V s = u * 2 / (u + 2), square = s * s * (real)0.25, p;
#if BITS == 32
    p = SPLAT(1.0f / 15);
    p = p * square + 1.0f / 13;
#else
    p = SPLAT(1.0 / 33);
    p = p * square + 1.0 / 31;
    p = p * square + 1.0 / 29;
    p = p * square + 1.0 / 27;
    p = p * square + 1.0 / 25;
    p = p * square + 1.0 / 23;
    p = p * square + 1.0 / 21;
    p = p * square + 1.0 / 19;
    p = p * square + 1.0 / 17;
    p = p * square + 1.0 / 15;
    p = p * square + 1.0 / 13;
#endif
    p = p * square + (real)(1.0 / 11);
    p = p * square + (real)(1.0 / 9);
    p = p * square + (real)(1.0 / 7);
    p = p * square + (real)(1.0 / 5);
    p = p * square + (real)(1.0 / 3);
    return p * square * s + s;
}

#if BITS == 32 && BYTES >= 32
/* Compute tanh by a polynomial of |x| for each interval. Intervals begin at 19/16 times a power of 2, and permutations select
 * the coefficients. Without a division the latency is 30 cycles in place of 58, which matters because every time step waits
 * for the one before. */
static INLINE V NAME(tanh)(V x)
{
    V a = ABS(x), v, square, p, q;
    MASK interval;
    a = MIN_OR_NAN(a, TANH_HIGHEST);
    interval = NOT_NEGATIVE((MASK)a - TANH_INTERVALS) >> FRACTION_BITS;
#define PICK(j) PERMUTE(LOAD(tanh_table[j]), interval)
    v = a - PICK(0);
    square = v * v;
    p = (PICK(6) * v + PICK(5)) * square + (PICK(4) * v + PICK(3));
    q = (PICK(10) * v + PICK(9)) * square + (PICK(8) * v + PICK(7));
    p = q * (square * square) + p;
    p = p * v + (PICK(2) * v + PICK(1));
#undef PICK
    return (V)((MASK)p | ((MASK)x & SIGN));
}
#else
static INLINE V NAME(tanh)(V x)
{
    V a = ABS(x), n, q, scale, large;
    MASK n_bits;
#if BITS == 32 /* 1 - 2 / (exp(2 a) + 1), and below 0.625 the polynomial of Cephes (Moshier) */
    V square = a * a, small;
    q = NAME(reduce)(2, a, &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    large = 1 - 2 / (scale * q + (scale + 1));
    small = square * -5.70498872745e-3f + 2.06390887954e-2f;
    small = small * square - 5.37397155531e-2f;
    small = small * square + 1.33314422036e-1f;
    small = small * square - 3.33332819422e-1f;
    small = small * square * a + a;
    large = SELECT(a < 0.625f, small, large);
#else /* -t / (t + 2) with t = expm1(-2 a); 0 - t in place of -t, so that tanh(0) is not -0 */
    q = NAME(reduce)(-2, a, &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    large = (0 - (scale * q + (scale - 1))) / (scale * q + (scale + 1));
#endif
    large = SELECT(a > TANH_HIGHEST, SPLAT(1), large); /* replaces the result for large a; NaN stays */
    return (V)((MASK)large | ((MASK)x & SIGN));
}
#endif

#include "../defs/activations.h"

/* Compute `activate` for rows of one vector that hold `width` numbers, at most half of the vector. The numbers of several rows
 * are copied into one vector, because g takes tens of instructions. Padding is not changed. */
static INLINE void NAME(activate_side_by_side)(const ptrdiff_t width, int activation, ptrdiff_t rows, real *S)
{
    real beside[16 * W];
    ptrdiff_t i, n;
    for (; rows > 0; rows -= n, S += n * W) {
        n = MIN(rows, 16 * W / width);
        for (i = 0; i < n; i++)
            memcpy(beside + i * width, S + i * W, width * sizeof(real));
        for (; i * width % W != 0; i++)
            memset(beside + i * width, 0, width * sizeof(real));
        NAME(activate)(activation, i * width, beside);
        for (i = 0; i < n; i++)
            memcpy(S + i * W, beside + i * width, width * sizeof(real));
    }
}

static void NAME(activate_rows)(int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, real *S)
{
    /* The limit of 10 rows: 8 rows of H = 4 take 30 ns side by side and 28 ns directly, 16 rows 41 and 55 ns (AMD Zen 5,
     * 2026-11). */
    if (rows < 10 || ldh > W || 2 * H > W)
        NAME(activate)(activation, rows * ldh, S);
    else if (H == 1)
        NAME(activate_side_by_side)(1, activation, rows, S);
    else if (H == 2)
        NAME(activate_side_by_side)(2, activation, rows, S);
    else if (H <= 4)
        NAME(activate_side_by_side)(4, activation, rows, S);
    else
        NAME(activate_side_by_side)(8, activation, rows, S);
}
