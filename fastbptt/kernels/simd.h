/* The verbs of kernels.h in vectors, for one instruction set and one real type; sets/set.h includes this for each type.
 *
 * Before the inclusion are defined
 *     SET           the set's name
 *     BITS          of a real: 32 or 64
 *     BYTES         of a vector
 *     ROWS          of a tile, at most 8: ROWS * 2 accumulators, two vectors and a factor are to fit the registers
 * A new instruction set is one more file in sets/, and its name in dispatch.c.
 *
 * Design
 * ------
 * (a) A row of a block is padded to whole vectors, so no loop here has a scalar tail; only what is the caller's, biases and
 *     gradients, has one (`base` of `affine`, `buffer` of `outer`). What stands in the padding is never stored there.
 * (b) `pack` cuts a matrix into panels two vectors wide, the last one maybe narrower, each (K, width) and contiguous: P takes
 *     the place that (K, ldp) would. Few rows read up to four panels at once, so that there are sums enough in flight.
 * (c) `tile` is the only product, but for one of a vector in a register (`add_state`). Into how many parts each of its sums is
 *     cut depends on shapes, never on the number of rows: so a row has the same bits whatever rows stand beside it.
 * (d) Elementary functions have no branches, in either type within these bounds, in units in the last place (all float32
 *     numbers, against float64, and 10^8 float64 ones, against the x87's long double; tests/kernels/ulps.c): exp 1.1, elu
 *     1.3, softsign 1.5, sigmoid 2.5, tanh 2.2 (float32 1.0, in four numbers at a time 1.21), softplus 2.9. They need IEEE
 *     arithmetic: -ffast-math would cancel SHIFT.
 */

#define real NAME(real)
#define whole NAME(whole)
#define V NAME(V)
#define U NAME(U)
#define MASK NAME(MASK)

#if BITS == 32
typedef float real;
typedef uint32_t whole;
#else
typedef double real;
typedef uint64_t whole;
#endif
typedef real V __attribute__((vector_size(BYTES)));
typedef real U __attribute__((vector_size(BYTES), may_alias, aligned(BITS / 8))); /* at any address of a real */
typedef whole MASK __attribute__((vector_size(BYTES)));

#define W ((ptrdiff_t)(BYTES / sizeof(real)))
#define LOAD(p) ((V)*(const U *)(p))
#define STORE(p, v) (*(U *)(p) = (U)(v))
#define SPLAT(x) ((V){0} + (real)(x))
#define BROADCAST(x) ((real)(x) - (V){0}) /* -0 too */
/* a b + c, rounded once wherever the set can: left to itself, GCC 12 at -O3 sometimes rounds the product as well, and a row
 * would have other bits beside other rows */
#if BYTES == 64 && BITS == 32
#define FUSED(a, b, c) ((V)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#elif BYTES == 64
#define FUSED(a, b, c) ((V)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif BYTES == 32 && BITS == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#elif BYTES == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define FUSED(a, b, c) ((a) * (b) + (c))
#endif
#define SELECT(mask, yes, no) ((V)(((MASK)(mask) & (MASK)(yes)) | (~(MASK)(mask) & (MASK)(no))))
#define ABS(x) ((V)((MASK)(x) & ~SIGN))
#define SIGN ((MASK)(-SPLAT(0)))
#define POSITIVE_PART(x) SELECT((x) <= 0, SPLAT(0), x) /* NaN stays */

/* ---- Elementary functions
 *
 * With x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite 1980), expm1(r) is its Taylor sum q and exp(x) = 2^n q + 2^n. Adding
 * SHIFT rounds to a whole number and leaves it in the lowest bits, from where it is moved into an exponent.
 */
#if BITS == 32
#define SHIFT 0x1.8p23f
#define SHIFT_BITS 0x4b400000u
#define LOG2_E 1.44269504f
#define LN2_HIGH 0.693359375f /* short enough that its product with n is exact */
#define LN2_LOW -2.12194440e-4f
#define SQRT __builtin_sqrtf
#define EXPONENT_BIAS 127
#define FRACTION_BITS 23
#define EXP_LOWEST -104.0f /* below, exp is 0; above EXP_HIGHEST it is infinite */
#define EXP_HIGHEST 89.0f
#define EXPM1_LOWEST -80.0f /* below, expm1 is -1 */
#define TANH_HIGHEST 9.5f /* 1 - tanh of it is under half an ulp */
#define TANH_INTERVALS 0x3e180000u /* 19/128, half of where the second one begins */
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
#define POWER_OF_2(n) ((V)(((n) + EXPONENT_BIAS) << FRACTION_BITS)) /* its higher bits are shifted out */

/* expm1(f r), |f r| <= ln 2 / 2, f being a constant: sums of sums (Estrin 1960), as one after the other waits for its last
 * product */
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

/* q of f x, and n as a real and as a whole number plus SHIFT_BITS; f is a constant, a power of 2: it costs no rounding */
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
    half = n * (real)0.5 + SHIFT; /* 2^n in two factors: it may be infinite, or less than a normal number */
    half_bits = (MASK)half;
    return (q + 1) * POWER_OF_2(half_bits - SHIFT_BITS) * POWER_OF_2(n_bits - half_bits);
}

/* for x <= 0 */
static INLINE V NAME(expm1)(V x)
{
    V n, q, scale;
    MASK n_bits;
    q = NAME(reduce)(1, SELECT(x < EXPM1_LOWEST, SPLAT(EXPM1_LOWEST), x), &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    return scale * q + (scale - 1);
}

/* log(1 + u) = 2 atanh(s / 2) for 0 <= u <= 1, s = 2 u / (2 + u): its Taylor sum */
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
/* A polynomial of |x| for each of some intervals, which begin at 19/16 times a power of 2; its coefficients are picked by
 * permutations. No division, and a result is waited for 30 cycles, not 58: every step waits for the one before. */
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
#if BITS == 32 /* 1 - 2 / (exp(2 a) + 1), and under 0.625 the polynomial of Cephes (Moshier) */
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
#else /* -t / (t + 2) with t = expm1(-2 a); 0 - t, as tanh(0) is no -0 */
    q = NAME(reduce)(-2, a, &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    large = (0 - (scale * q + (scale - 1))) / (scale * q + (scale + 1));
#endif
    large = SELECT(a > TANH_HIGHEST, SPLAT(1), large); /* what was computed for such a is thrown away; NaN stays */
    return (V)((MASK)large | ((MASK)x & SIGN));
}
#endif

static INLINE V NAME(sigmoid)(V x)
{
    V e = NAME(exp)(-ABS(x));
    return SELECT(x < 0, e, SPLAT(1)) / (e + 1);
}

static INLINE V NAME(softplus)(V x)
{
    return POSITIVE_PART(x) + NAME(log1p)(NAME(exp)(-ABS(x)));
}

/* g(a). The kind is a constant, or the same every time, so that the branch is foreseen. */
static INLINE V NAME(g)(int activation, V a)
{
    switch (activation) {
    case FASTBPTT_TANH: return NAME(tanh)(a);
    case FASTBPTT_RELU: return POSITIVE_PART(a);
    case FASTBPTT_SIGMOID: return NAME(sigmoid)(a);
    case FASTBPTT_SOFTPLUS: return NAME(softplus)(a);
    case FASTBPTT_LEAKY_RELU: return SELECT(a > 0, a, a * (real)FASTBPTT_LEAKY_SLOPE);
    case FASTBPTT_ELU: return SELECT(a > 0, a, NAME(expm1)(a));
    case FASTBPTT_SOFTSIGN: return a / (ABS(a) + 1);
    case FASTBPTT_EXP: return NAME(exp)(a);
    }
    return a;
}

/* g'(a), written in r = g(a) */
static INLINE V NAME(slope_of_g)(int activation, V r)
{
    switch (activation) {
    case FASTBPTT_TANH: return 1 - r * r;
    case FASTBPTT_RELU: return SELECT(r > 0, SPLAT(1), SPLAT(0));
    case FASTBPTT_SIGMOID: return r * (1 - r);
    case FASTBPTT_SOFTPLUS: return -NAME(expm1)(-r);
    case FASTBPTT_LEAKY_RELU: return SELECT(r > 0, SPLAT(1), SPLAT(FASTBPTT_LEAKY_SLOPE));
    case FASTBPTT_ELU: return SELECT(r > 0, SPLAT(1), r + 1);
    case FASTBPTT_SOFTSIGN: return (1 - ABS(r)) * (1 - ABS(r));
    }
    return SPLAT(1);
}

/* The loop, once for each activation, with `kind` a constant */
#define FOR_EACH_KIND(f) \
    switch (activation) { \
        f(FASTBPTT_TANH) f(FASTBPTT_RELU) f(FASTBPTT_SIGMOID) f(FASTBPTT_SOFTPLUS) f(FASTBPTT_LEAKY_RELU) \
            f(FASTBPTT_ELU) f(FASTBPTT_SOFTSIGN) f(FASTBPTT_EXP) \
    }

/* A <- g(A), n being a multiple of W */
static void NAME(activate)(int activation, ptrdiff_t n, real *A)
{
    ptrdiff_t i;
#define LOOP(kind) \
    case kind: \
        for (i = 0; i < n; i += W) \
            STORE(A + i, NAME(g)(kind, LOAD(A + i))); \
        break;
    FOR_EACH_KIND(LOOP)
#undef LOOP
}

/* The same for rows of one vector of which at most half are numbers, width numbers a row: these are put side by side, for
 * g costs tens of instructions. What pads a row stays. */
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
    /* from 10 on: 8 rows of H = 4 take 30 ns side by side and 28 as they are, 16 take 41 and 55 (AMD Zen 5, 2026-11) */
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

/* delta <- delta * g'(A), written in R = g(A) */
static void NAME(differentiate)(int activation, ptrdiff_t n, const real *R, real *delta)
{
    ptrdiff_t i;
#define LOOP(kind) \
    case kind: \
        for (i = 0; i < n; i += W) \
            STORE(delta + i, LOAD(delta + i) * NAME(slope_of_g)(kind, LOAD(R + i))); \
        break;
    FOR_EACH_KIND(LOOP)
#undef LOOP
}

/* ---- Products */

/* C[i, v] = base[i, v] + Σ_k A[i, k] B[k, v] for m rows and nv vectors. Each sum is of so many `parts`, one for k = 0,
 * parts, 2 parts, ..., as an addition waits for the one before. These three are constants where this is inlined, as is
 * whether the base comes last: where many sums go to one place each is rounded for itself. `pair` is the distance of pairs
 * of vectors in B. 2 m nv W K flops. */
static INLINE void NAME(tile)(const int m, const int nv, const int parts, const int base_last, ptrdiff_t K, const real *A,
                              ptrdiff_t ai, ptrdiff_t ak, const real *B, ptrdiff_t bk, ptrdiff_t pair, const real *base,
                              ptrdiff_t ldbase, real *C, ptrdiff_t ldc)
{
    /* GCC 12 reads b anew for each of two or three rows, and reads are what such a tile waits for */
    const int shares = m > 1 && nv > 1 && (m * parts + 1) * nv < REGISTERS;
    V c[MOST_PARTS][MOST_ROWS][MOST_VECTORS];
    ptrdiff_t k;
    int i, v, p;
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (v = 0; v < nv; v++) {
            c[0][i][v] = base_last ? SPLAT(0) : LOAD(base + i * ldbase + v * W);
            UNROLL for (p = 1; p < parts; p++)
                c[p][i][v] = -SPLAT(0); /* which leaves every number as it is */
        }
#define PRODUCT(p) \
    do { \
        V b[MOST_VECTORS]; \
        UNROLL for (v = 0; v < nv; v++) { \
            b[v] = LOAD(B + (k + p) * bk + v / 2 * pair + v % 2 * W); \
            if (shares) \
                IN_REGISTER(b[v]); \
        } \
        UNROLL for (i = 0; i < m; i++) { \
            const V a = BROADCAST(A[i * ai + (k + p) * ak]); \
            UNROLL for (v = 0; v < nv; v++) \
                c[p][i][v] = FUSED(a, b[v], c[p][i][v]); \
        } \
    } while (0)
    for (k = 0; k + parts <= K; k += parts)
        UNROLL for (p = 0; p < parts; p++)
            PRODUCT(p);
    UNROLL for (p = 0; p < parts - 1; p++)
        if (k + p < K)
            PRODUCT(p);
#undef PRODUCT
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (v = 0; v < nv; v++) {
            V sum = c[0][i][v];
            if (parts > 1)
                sum += c[1][i][v];
            if (parts > 2)
                sum += parts == 3 ? c[2][i][v] : c[2][i][v] + c[3][i][v];
            STORE(C + i * ldc + v * W, base_last ? LOAD(base + i * ldbase + v * W) + sum : sum);
        }
}

#if ROWS > 6
#define EVERY_TILE(nv, parts) HALF_OF_TILES(nv, parts) TILE(5, nv, parts) TILE(6, nv, parts) TILE(7, nv, parts) TILE(8, nv, parts)
#define HALF_OF_TILES(nv, parts) TILE(1, nv, parts) TILE(2, nv, parts) TILE(3, nv, parts) TILE(4, nv, parts)
#else
#define EVERY_TILE(nv, parts) HALF_OF_TILES(nv, parts) TILE(4, nv, parts) TILE(5, nv, parts) TILE(6, nv, parts)
#define HALF_OF_TILES(nv, parts) TILE(1, nv, parts) TILE(2, nv, parts) TILE(3, nv, parts)
#endif
/* those of a sum in one part, or where one vector waits for itself in two */
#define LONG_TILES EVERY_TILE(1, 2) EVERY_TILE(2, 1) TILE(1, 4, 1) TILE(2, 4, 1) TILE(3, 4, 1) TILE(1, 8, 1)
#define TILE_NUMBER(m, nv, parts) (((parts) * (MOST_VECTORS + 1) + (nv)) * (MOST_ROWS + 1) + (int)(m)) /* each its own */

/* C = base + A @ P for nv vectors of columns: a panel, or where there are few rows several */
static void NAME(panels)(ptrdiff_t rows, int nv, int parts, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *P,
                         const real *base, ptrdiff_t ldbase, real *C, ptrdiff_t ldc)
{
    const int full = nv * parts <= 2; /* so many sums registers hold */
    ptrdiff_t tiles = full ? (rows + ROWS - 1) / ROWS : (rows + ROWS / 2 - 1) / (ROWS / 2);
    for (; tiles > 0; tiles--) {
        const ptrdiff_t m = tiles == 1 ? rows : (rows + tiles - 1) / tiles; /* as equal as can be */
        switch (TILE_NUMBER(m, nv, parts)) {
#define TILE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(tile)(m, nv, parts, 0, K, A, lda, 1, P, nv == 1 ? W : 2 * W, 2 * W * K, base, ldbase, C, ldc); \
        break;
            LONG_TILES
            HALF_OF_TILES(1, 4)
            HALF_OF_TILES(2, 2)
            TILE(1, 4, 2)
#if ROWS > 6
            HALF_OF_TILES(2, 3)
            TILE(2, 4, 2)
#endif
#undef TILE
        }
        A += m * lda;
        base += m * ldbase;
        C += m * ldc;
        rows -= m;
    }
}

/* Whether a lane stands for one of `left` numbers */
static INLINE MASK NAME(there)(ptrdiff_t left)
{
    static const real lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (MASK)(LOAD(lanes) < (real)MIN(left, W));
}

/* ---- Few columns of long sums, as the input product of two hidden units: the vectors go along k, and P is (N, K padded).
 * Each sum is one vector's, whose lanes are added in the end, whatever the number of rows. */

static INLINE int NAME(is_narrow)(ptrdiff_t K, ptrdiff_t N)
{
    return 2 * N * (K + 8 * W) <= K * W; /* the adding of lanes costs about as much as eight products */
}

static INLINE real NAME(sum_lanes)(V v)
{
    real lanes[W];
    ptrdiff_t j, n;
    STORE(lanes, v);
    UNROLL for (n = W / 2; n > 0; n /= 2)
        UNROLL for (j = 0; j < n; j++)
            lanes[j] += lanes[j + n];
    return lanes[0];
}

/* C[i, n] = A[i] @ P[n] + b[n] for m rows, a constant; the row's other numbers are 0 */
static INLINE void NAME(dots)(const int m, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P,
                              const real *b, real *C, ptrdiff_t ldc)
{
    const MASK last = NAME(there)(K % W); /* what pads a row of A may be anything */
    ptrdiff_t n, k;
    int i;
    UNROLL for (i = 0; i < m; i++)
        STORE(C + i * ldc, SPLAT(0));
    for (n = 0; n < N; n++) {
        V c[4];
        UNROLL for (i = 0; i < m; i++)
            c[i] = SPLAT(0);
        for (k = 0; k + W <= K; k += W, P += W)
            UNROLL for (i = 0; i < m; i++)
                c[i] += LOAD(A + i * lda + k) * LOAD(P);
        if (k < K) {
            UNROLL for (i = 0; i < m; i++)
                c[i] += SELECT(last, LOAD(A + i * lda + k), SPLAT(0)) * LOAD(P);
            P += W;
        }
        UNROLL for (i = 0; i < m; i++)
            C[i * ldc + n] = NAME(sum_lanes)(c[i]) + (b != NULL ? b[n] : 0);
    }
}

/* How many vectors of columns so many rows take at once: about eight sums in flight hide what one of them waits for. */
static INLINE int NAME(at_once)(ptrdiff_t rows, ptrdiff_t left)
{
    if (rows == 1 && left >= 8)
        return 8;
    if (rows <= 3 && left >= 4)
        return 4;
    return left >= 2 ? 2 : 1;
}

static void NAME(pack)(ptrdiff_t K, ptrdiff_t N, const real *X, ptrdiff_t stride_k, ptrdiff_t stride_n, real *P,
                       ptrdiff_t ldp)
{
    ptrdiff_t n, k, j;
    if (NAME(is_narrow)(K, N)) {
        for (n = 0; n < N; n++)
            for (k = 0; k < (K + W - 1) / W * W; k++)
                *P++ = k < K ? X[k * stride_k + n * stride_n] : 0;
        return;
    }
    for (n = 0; n < ldp; n += 2 * W) {
        const ptrdiff_t width = MIN(ldp - n, 2 * W), there = MIN(N - n, width);
        for (k = 0; k < K; k++, P += width) {
            const real *x = X + k * stride_k + n * stride_n;
            j = 0;
            for (; stride_n == 1 && j + W <= there; j += W)
                STORE(P + j, LOAD(x + j));
            for (; j < there; j++)
                P[j] = x[j * stride_n];
            for (; j < width; j++)
                P[j] = 0;
        }
    }
}

static void NAME(affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P,
                         ptrdiff_t ldp, const real *b, real *C, ptrdiff_t ldc)
{
    real base[MOST_VECTORS * W];
    ptrdiff_t n, j;
    int nv;
    if (NAME(is_narrow)(K, N)) {
        for (n = 0; n + 4 <= rows; n += 4)
            NAME(dots)(4, K, N, A + n * lda, lda, P, b, C + n * ldc, ldc);
        for (; n < rows; n++)
            NAME(dots)(1, K, N, A + n * lda, lda, P, b, C + n * ldc, ldc);
        return;
    }
    for (n = 0; n < ldp; n += nv * W) {
        nv = NAME(at_once)(rows, (ldp - n) / W);
        for (j = 0; j < nv * W; j++)
            base[j] = b != NULL && n + j < N ? b[n + j] : 0;
        NAME(panels)(rows, nv, nv == 1 ? 2 : 1, K, A, lda, P + n * K, base, 0, C + n, ldc);
    }
}

/* Into how many parts a step's sums are cut, in a panel from vector v of n on: so that about eight are in flight where there
 * is one row. It depends on nothing else, so that a row's bits do not depend on the rows beside it. ns of a step forward and
 * back of one row, float32, avx512, in one part (of one vector two) and so, one core of an AMD Zen 5 (2026-11): H = 16: 31 and
 * 26; 32: 75 and 40; 64: 141 and 103; 96: 329 and 226. Of 16 rows going back takes 1.08, 1.00, 1.03 and 1.02 of the time.
 * Of two or three vectors three parts are as many as registers hold for four rows. In two parts one row of H = 32 takes 47 ns,
 * in four 37, but then 16 rows take 1.05 of the time: there each part is one more addition. */
static INLINE int NAME(parts_of_step)(ptrdiff_t K, ptrdiff_t v, ptrdiff_t n)
{
    if (n - v == 1)
        return K < FOUR_PARTS_FROM ? 2 : 4;
    if (n < 4 && REGISTERS > 16)
        return 3;
    return v < n / 8 * 8 ? 1 : 2;
}

/* C += A @ P, a step's product */
static void NAME(add_product)(ptrdiff_t rows, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *P, ptrdiff_t ldp,
                              real *C, ptrdiff_t ldc)
{
    ptrdiff_t n;
    int nv, parts;
    if (ldp <= 2 * W) { /* the only panel */
        nv = (int)(ldp / W);
        NAME(panels)(rows, nv, NAME(parts_of_step)(K, 0, nv), K, A, lda, P, C, ldc, C, ldc);
        return;
    }
    for (n = 0; n < ldp; n += nv * W) {
        parts = NAME(parts_of_step)(K, n / W, ldp / W);
        nv = NAME(at_once)(rows, (ldp - n) / W);
        if (parts > 1 && rows > (ROWS > 6 ? 2 : 1))
            nv = MIN(nv, 2);
        NAME(panels)(rows, nv, parts, K, A, lda, P + n * K, C + n, ldc, C + n, ldc);
    }
}

/* s = s + before @ P for m rows of nv vectors, as `tile` with so many parts */
static INLINE void NAME(add_rows)(const int m, const int nv, const int parts, ptrdiff_t H, const real *P, const real *before,
                                  V *s)
{
    NAME(tile)(m, nv, parts, 0, H, before, nv * W, 1, P, nv == 1 ? W : 2 * W, 2 * W * H, (const real *)s, nv * W, (real *)s,
               nv * W);
}

/* The same where `state` holds `before` in registers: read back from memory it would be waited for, and each factor would be
 * one more read. */
static INLINE void NAME(add_state)(const int m, const int nv, const int parts, ptrdiff_t H, const real *P,
                                   const real *before, const V *state, V *s)
{
#ifdef PERMUTE
    const ptrdiff_t ld = nv == 1 ? W : 2 * W;
    V c[MOST_PARTS][MOST_STATE];
    ptrdiff_t k, left;
    int i, v, p, r;
    (void)before;
    UNROLL for (v = 0; v < m * nv; v++)
        UNROLL for (p = 0; p < parts; p++)
            c[p][v] = p == 0 ? s[v] : -SPLAT(0); /* which leaves every number as it is */
#define PRODUCT(p) \
    do { \
        V b[MOST_STATE]; \
        UNROLL for (v = 0; v < nv; v++) { \
            b[v] = LOAD(P + v / 2 * ld * H + v % 2 * W + (k + p) * ld); \
            if (m > 1) \
                IN_REGISTER(b[v]); \
        } \
        UNROLL for (r = 0; r < m; r++) { \
            const V factor = PERMUTE(state[r * nv + i], lane[p]); \
            V *sums = c[(i * W + p) % parts] + r * nv; \
            UNROLL for (v = 0; v < nv; v++) \
                sums[v] = FUSED(factor, b[v], sums[v]); \
        } \
        lane[p] += (whole)parts; \
    } while (0)
    UNROLL for (i = 0; i < nv; i++) {
        MASK lane[MOST_PARTS];
        UNROLL for (p = 0; p < parts; p++)
            lane[p] = (MASK){0} + (whole)p;
        k = i * W;
        /* unrolled by GCC 12, H = 64 takes 53 ns in place of 47 */
        NOT_UNROLLED for (left = i == nv - 1 ? H - k : W; left >= parts; left -= parts, k += parts)
            UNROLL for (p = 0; p < parts; p++)
                PRODUCT(p);
        UNROLL for (p = 0; p < parts - 1; p++)
            if (p < left)
                PRODUCT(p);
    }
#undef PRODUCT
    UNROLL for (v = 0; v < m * nv; v++) {
        s[v] = c[0][v] + c[1][v];
        if (parts > 2)
            s[v] += parts == 3 ? c[2][v] : c[2][v] + c[3][v];
    }
#else
    (void)state;
    NAME(add_rows)(m, nv, parts, H, P, before, s);
#endif
}

/* m rows of nv vectors, m, nv and parts being constants: what one step hands to the next does not leave the registers. ns a
 * step forward and back, without and with, float32, avx512, one core of an AMD Zen 5 (2026-11): one row, H = 4: 14 and 5.8,
 * 13 and 4.4; 64: 55 and 48, 47 and 37; two rows, H = 4: 19 and 9.9, 15 and 5.1; 16: 23 and 17, 20 and 10; 32: 39 and 27, 33
 * and 21; four rows, H = 4: 21 and 12, 19 and 6.1; 16: 31 and 20, 28 and 15; three rows, H = 32: 48 and 33, 45 and 28; six
 * rows, H = 16: 43 and 34, 39 and 23; eight rows, H = 4: 32 and 16, 31 and 9. */
static INLINE void NAME(recur_rows)(const int m, const int nv, const int parts, int activation, ptrdiff_t steps,
                                    ptrdiff_t H, const real *P, const real *before, real *S)
{
    const ptrdiff_t ld = m * nv * W;
    V state[MOST_STATE];
    ptrdiff_t t;
    int v;
    UNROLL for (v = 0; v < m * nv; v++)
        state[v] = before != NULL ? LOAD(before + v * W) : SPLAT(0);
    for (t = 0; t < steps; t++, S += ld) {
        V s[MOST_STATE];
        UNROLL for (v = 0; v < m * nv; v++)
            s[v] = LOAD(S + v * W);
        if (before != NULL)
            NAME(add_state)(m, nv, parts, H, P, before, state, s);
        UNROLL for (v = 0; v < m * nv; v++)
            STORE(S + v * W, state[v] = NAME(g)(activation, s[v]));
        before = S;
    }
}

static INLINE void NAME(recur_back_rows)(const int m, const int nv, const int parts, int activation, ptrdiff_t steps,
                                         ptrdiff_t H, const real *P, const real *R, const real *later, real *delta)
{
    const ptrdiff_t ld = m * nv * W;
    V state[MOST_STATE];
    ptrdiff_t t;
    int v;
    UNROLL for (v = 0; v < m * nv; v++)
        state[v] = later != NULL ? LOAD(later + v * W) : SPLAT(0);
    for (t = steps - 1; t >= 0; t--) {
        V d[MOST_STATE];
        UNROLL for (v = 0; v < m * nv; v++)
            d[v] = LOAD(delta + t * ld + v * W);
        if (later != NULL)
            NAME(add_state)(m, nv, parts, H, P, later, state, d);
        later = delta + t * ld;
        UNROLL for (v = 0; v < m * nv; v++)
            STORE(delta + t * ld + v * W, state[v] = d[v] * NAME(slope_of_g)(activation, LOAD(R + t * ld + v * W)));
    }
}

/* Rows and vectors of the states that registers hold, and the parts of their sums; the first are those that 16 hold, if need
 * be with a little help of memory. The larger ones serve tanh and relu alone: they have the activation's code for each vector,
 * and with every activation the package had 5.3 MB. */
#define STATES_OF_16 STATE(1, 1, 2) STATE(2, 1, 2) STATE(3, 1, 2) STATE(4, 1, 2) STATE(1, 1, 4) STATE(2, 1, 4) STATE(1, 4, 2)
#define LARGER_OF_16 STATE(8, 1, 2) STATE(4, 1, 4)
#if ROWS > 6
#define STATES STATES_OF_16 STATE(3, 1, 4) STATE(1, 2, 3) STATE(2, 2, 3)
#define LARGER_STATES LARGER_OF_16 STATE(5, 1, 4) STATE(6, 1, 4) STATE(3, 2, 3)
#else
#define STATES STATES_OF_16 STATE(1, 2, 2)
#define LARGER_STATES LARGER_OF_16
#endif
#define STATES_OF_ONE STATE(1, 1, 2) STATE(1, 1, 4) STATE(1, 2, ROWS > 6 ? 3 : 2) /* leaky units' */
#define STATE_NUMBER(rows, ldh, H) \
    ((rows) * (ldh) <= MOST_STATE * W ? TILE_NUMBER(rows, (int)((ldh) / W), NAME(parts_of_step)(H, 0, (ldh) / W)) : 0)

static void NAME(recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh,
                        const real *before, real *S)
{
    ptrdiff_t t, n = rows * ldh;
    switch (STATE_NUMBER(rows, ldh, H)) {
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(recur_rows)(m, nv, parts, activation, steps, H, P, before, S); \
        break;
        STATES
#undef STATE
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        if (activation == FASTBPTT_TANH) \
            NAME(recur_rows)(m, nv, parts, FASTBPTT_TANH, steps, H, P, before, S); \
        else if (activation == FASTBPTT_RELU) \
            NAME(recur_rows)(m, nv, parts, FASTBPTT_RELU, steps, H, P, before, S); \
        else \
            goto by_steps; \
        break;
        LARGER_STATES
#undef STATE
    default:
    by_steps:
        for (t = 0; t < steps; t++, S += n) {
            if (before != NULL)
                NAME(add_product)(rows, H, before, ldh, P, ldh, S, ldh);
            NAME(activate_rows)(activation, rows, H, ldh, S);
            before = S;
        }
    }
}

static void NAME(recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh,
                             const real *R, const real *later, real *delta)
{
    ptrdiff_t t, n = rows * ldh;
    switch (STATE_NUMBER(rows, ldh, H)) {
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(recur_back_rows)(m, nv, parts, activation, steps, H, P, R, later, delta); \
        break;
        STATES
#undef STATE
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        if (activation == FASTBPTT_TANH) \
            NAME(recur_back_rows)(m, nv, parts, FASTBPTT_TANH, steps, H, P, R, later, delta); \
        else if (activation == FASTBPTT_RELU) \
            NAME(recur_back_rows)(m, nv, parts, FASTBPTT_RELU, steps, H, P, R, later, delta); \
        else \
            goto by_steps; \
        break;
        LARGER_STATES
#undef STATE
    default:
    by_steps:
        for (t = steps - 1; t >= 0; t--) {
            if (later != NULL)
                NAME(add_product)(rows, H, later, ldh, P, ldh, delta + t * n, ldh);
            NAME(differentiate)(activation, n, R + t * n, delta + t * n);
            later = delta + t * n;
        }
    }
}

/* A <- A * by, or where `into` is another array into <- A * by */
static INLINE void NAME(multiply)(ptrdiff_t n, const real *A, const real *by, real *into)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += W)
        STORE(into + i, LOAD(A + i) * LOAD(by + i));
}

/* a x + b y. A compiler that fuses one of the products with the sum is to fuse the same one everywhere. */
static INLINE V NAME(mix)(V x, const real a, V y, const real b)
{
    V part = x * a;
    IN_REGISTER(part);
    return part + y * b;
}

/* `integrate` of one row without a mask, as `recur_row` is `recur` */
static INLINE void NAME(integrate_row)(const int nv, const int parts, const fastbptt_units *what, ptrdiff_t steps,
                                       ptrdiff_t H, const real *P, const real *before, const real *integrated, real *S, real *other)
{
    const real leak = (real)what->leak, keep = (real)(1 - what->leak);
    const ptrdiff_t ld = nv * W;
    ptrdiff_t t;
    int v;
    for (t = 0; t < steps; t++, S += ld, other += ld) {
        V s[2];
        UNROLL for (v = 0; v < nv; v++)
            s[v] = LOAD(S + v * W);
        NAME(add_rows)(1, nv, parts, H, P, before, s);
        UNROLL for (v = 0; v < nv; v++) {
            const V kept = LOAD((what->form == FASTBPTT_RATE ? before : integrated) + v * W);
            const V gone = what->form == FASTBPTT_RATE ? NAME(g)(what->activation, s[v]) : s[v];
            const V state = NAME(mix)(kept, keep, gone, leak);
            STORE(other + v * W, what->form == FASTBPTT_RATE ? gone : state);
            STORE(S + v * W, what->form == FASTBPTT_RATE ? state : NAME(g)(what->activation, state));
        }
        before = S;
        integrated = other;
    }
}

static INLINE void NAME(integrate_back_row)(const int nv, const int parts, const fastbptt_units *what, ptrdiff_t steps,
                                            ptrdiff_t H, const real *P, const real *R, const real *later, real *dU, real *delta)
{
    const real leak = (real)what->leak, keep = (real)(1 - what->leak);
    const ptrdiff_t ld = nv * W;
    ptrdiff_t t;
    int v;
    for (t = steps - 1; t >= 0; t--) {
        V d[2];
        UNROLL for (v = 0; v < nv; v++)
            d[v] = LOAD(delta + t * ld + v * W);
        if (later != NULL)
            NAME(add_rows)(1, nv, parts, H, P, later, d);
        later = delta + t * ld;
        UNROLL for (v = 0; v < nv; v++) {
            const V slope = NAME(slope_of_g)(what->activation, LOAD(R + t * ld + v * W));
            V back = what->form == FASTBPTT_CURRENT ? d[v] * slope : d[v], whole;
            IN_REGISTER(back);
            whole = back + LOAD(dU + v * W) * keep;
            STORE(dU + v * W, whole);
            STORE(delta + t * ld + v * W, what->form == FASTBPTT_RATE ? whole * leak * slope : whole * leak);
        }
    }
}

static void NAME(integrate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P,
                            ptrdiff_t ldh, const real *mask, real *masked, const real *before, const real *integrated,
                            real *S, real *other)
{
    const real leak = (real)what->leak, keep = (real)(1 - what->leak);
    ptrdiff_t t, i, n = rows * ldh;
    switch (mask == NULL && rows == 1 && n <= 2 * W ? TILE_NUMBER(1, (int)(n / W), NAME(parts_of_step)(H, 0, n / W)) : 0) {
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(integrate_row)(nv, parts, what, steps, H, P, before, integrated, S, other); \
        return;
        STATES_OF_ONE
#undef STATE
    }
    for (t = 0; t < steps; t++, S += n, other += n) {
        if (mask != NULL)
            NAME(multiply)(n, before, mask, masked);
        NAME(add_product)(rows, H, mask != NULL ? masked : before, ldh, P, ldh, S, ldh);
        if (what->form == FASTBPTT_RATE) {
            memcpy(other, S, n * sizeof(real));
            NAME(activate)(what->activation, n, other);
            for (i = 0; i < n; i += W)
                STORE(S + i, NAME(mix)(LOAD(before + i), keep, LOAD(other + i), leak));
        } else {
            for (i = 0; i < n; i += W) {
                STORE(other + i, NAME(mix)(LOAD(integrated + i), keep, LOAD(S + i), leak));
                STORE(S + i, LOAD(other + i));
            }
            NAME(activate)(what->activation, n, S);
            integrated = other;
        }
        before = S;
    }
}

static void NAME(integrate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P,
                                 ptrdiff_t ldh, const real *mask, real *masked, const real *R, const real *later, real *dU,
                                 real *delta)
{
    const real leak = (real)what->leak, keep = (real)(1 - what->leak);
    ptrdiff_t t, i, n = rows * ldh;
    if (later == NULL)
        memset(dU, 0, n * sizeof(real));
    switch (mask == NULL && rows == 1 && n <= 2 * W ? TILE_NUMBER(1, (int)(n / W), NAME(parts_of_step)(H, 0, n / W)) : 0) {
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(integrate_back_row)(nv, parts, what, steps, H, P, R, later, dU, delta); \
        return;
        STATES_OF_ONE
#undef STATE
    }
    for (t = steps - 1; t >= 0; t--) {
        real *d = delta + t * n;
        if (later != NULL && mask == NULL)
            NAME(add_product)(rows, H, later, ldh, P, ldh, d, ldh);
        if (later != NULL && mask != NULL) {
            memset(masked, 0, n * sizeof(real));
            NAME(add_product)(rows, H, later, ldh, P, ldh, masked, ldh);
            for (i = 0; i < n; i += W)
                STORE(d + i, LOAD(d + i) + LOAD(masked + i) * LOAD(mask + i));
        }
        if (what->form == FASTBPTT_CURRENT)
            NAME(differentiate)(what->activation, n, R + t * n, d);
        for (i = 0; i < n; i += W) {
            V whole = LOAD(d + i) + LOAD(dU + i) * keep;
            STORE(dU + i, whole);
            STORE(d + i, whole * leak);
        }
        if (what->form == FASTBPTT_RATE)
            NAME(differentiate)(what->activation, n, R + t * n, d);
        later = d;
    }
}

/* C += A.T @ B for a tile of m rows and nv vectors of C, whose columns are `step` apart; there <= nv W */
static INLINE void NAME(outer)(ptrdiff_t m, int nv, ptrdiff_t there, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *B,
                               ptrdiff_t ldb, real *C, ptrdiff_t ldc, ptrdiff_t step)
{
    real buffer[MOST_ROWS * 2 * W], *c = C; /* 12 vectors at least: 3 rows of 4, or one of 8 */
    ptrdiff_t ld = ldc, i, j;
    if (there < nv * W || step > 1) { /* the caller's memory ends before the vector does */
        c = buffer;
        ld = nv * W;
        for (i = 0; i < m; i++)
            for (j = 0; j < nv * W; j++)
                c[i * ld + j] = j < there ? C[i * ldc + j * step] : 0;
    }
    switch (TILE_NUMBER(m, nv, nv == 1 ? 2 : 1)) {
#define TILE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(tile)(m, nv, parts, 1, K, A, 1, lda, B, ldb, 2 * W, c, ld, c, ld); \
        break;
        LONG_TILES
#undef TILE
    }
    if (c == buffer)
        for (i = 0; i < m; i++)
            for (j = 0; j < there; j++)
                C[i * ldc + j * step] = c[i * ld + j];
}

/* m columns of A in tiles, each (K, ROWS) and contiguous; what pads the last one stays as it was and is not read */
static void NAME(pack_tiles)(ptrdiff_t K, ptrdiff_t m, const real *A, ptrdiff_t lda, real *tiles)
{
    ptrdiff_t k, i, j;
    for (k = 0; k < K; k++, A += lda, tiles += ROWS) {
        for (i = 0; i + ROWS <= m; i += ROWS)
            memcpy(tiles + i * K, A + i, ROWS * sizeof(real));
        for (j = i; j < m; j++)
            tiles[i * K + j - i] = A[j];
    }
}

/* C += A.T @ B for at most CHUNK rows, panel by panel of B; A may have been packed by pack_tiles, then B is packed too */
static void NAME(accumulate_chunk)(ptrdiff_t step, ptrdiff_t K, ptrdiff_t M, ptrdiff_t N, int packs_B, int packed_A,
                                   const real *A, ptrdiff_t lda, const real *B, ptrdiff_t ldb, real *C, ptrdiff_t ldc)
{
    real packed[CHUNK * 2 * W] __attribute__((aligned(64)));
    ptrdiff_t n, i, m, k, j;
    int nv;
    for (n = 0; n < N; n += nv * W) {
        const ptrdiff_t there = MIN(N - n, (nv = NAME(at_once)(packs_B ? ROWS : M, (N - n + W - 1) / W)) * W);
        const real *b = B + n;
        if (packs_B) { /* of two vectors or one */
            for (k = 0; k < K; k++) {
                STORE(packed + 2 * k * W, LOAD(b + k * ldb));
                if (there > W)
                    STORE(packed + (2 * k + 1) * W, LOAD(b + k * ldb + W));
            }
            b = packed;
        }
        for (i = 0; i < M; i += m) {
            const ptrdiff_t tiles = (M - i + ROWS - 1) / ROWS;
            m = packed_A ? MIN(M - i, ROWS) : (M - i + tiles - 1) / tiles;
            for (k = 0; packed_A && k < m; k++) /* the tile's C is needed last, when it would be waited for */
                for (j = 0; j < there; j += W)
                    __builtin_prefetch(C + (i + k) * ldc + (n + j) * step, 1);
            NAME(outer)(m, nv, there, K, A + (packed_A ? i * K : i), lda, b, b == packed ? 2 * W : ldb,
                        C + i * ldc + n * step, ldc, step);
        }
    }
}

static void NAME(accumulate_by)(ptrdiff_t step, ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda,
                                const real *B, ptrdiff_t ldb, real *C, ptrdiff_t ldc)
{
    real tiles[CHUNK * BOTH_PACKED] __attribute__((aligned(64)));
    ptrdiff_t r, i;
    for (r = 0; r < rows; r += CHUNK, A += CHUNK * lda, B += CHUNK * ldb) {
        const ptrdiff_t K = MIN(rows - r, CHUNK);
        if (M < BOTH_PACKED_FROM)
            NAME(accumulate_chunk)(step, K, M, N, M >= PACKED_FROM, 0, A, lda, B, ldb, C, ldc);
        else
            for (i = 0; i < M; i += BOTH_PACKED) {
                const ptrdiff_t m = MIN(M - i, BOTH_PACKED);
                NAME(pack_tiles)(K, m, A + i, lda, tiles);
                NAME(accumulate_chunk)(step, K, m, N, 1, 1, tiles, ROWS, B, ldb, C + i * ldc, ldc);
            }
    }
}

static void NAME(accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *B,
                             ptrdiff_t ldb, real *C, ptrdiff_t ldc)
{
    if (2 * N <= W && N < M) /* C.T += B.T @ A: vectors are filled by what there is more of */
        NAME(accumulate_by)(ldc, rows, N, M, B, ldb, A, lda, C, 1);
    else
        NAME(accumulate_by)(1, rows, M, N, A, lda, B, ldb, C, ldc);
}

static void NAME(column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums)
{
    ptrdiff_t n, r, j;
    for (n = 0; n < N; n += W) {
        V total = {0};
        for (r = 0; r < rows;) { /* a sum of at most CHUNK rows is added to the others: one long sum would round more */
            const ptrdiff_t end = MIN(rows, r + CHUNK);
            V s[4] = {{0}, {0}, {0}, {0}}; /* one would wait for its last addition */
            for (; r + 4 <= end; r += 4)
                UNROLL for (j = 0; j < 4; j++)
                    s[j] += LOAD(A + (r + j) * lda + n);
            for (; r < end; r++)
                s[0] += LOAD(A + r * lda + n);
            total += (s[0] + s[1]) + (s[2] + s[3]);
        }
        for (j = 0; j < MIN(N - n, W); j++)
            sums[n + j] += total[j];
    }
}

/* ---- Copies */

/* `width` numbers, and zeros up to ld. So many of x may be read; `there` stands for those that are left of a vector. */
static INLINE void NAME(copy)(ptrdiff_t width, ptrdiff_t ld, const real *x, ptrdiff_t readable, MASK there, real *y)
{
    ptrdiff_t j = 0;
    for (; j + W <= width; j += W)
        STORE(y + j, LOAD(x + j));
    if (j < width && j + W <= MIN(ld, readable)) {
        STORE(y + j, SELECT(there, LOAD(x + j), SPLAT(0)));
        j += W;
    } else if (j < width && W <= width) { /* some of them twice */
        STORE(y + width - W, LOAD(x + width - W));
        j = width;
    }
    for (; j < width; j++) {
        y[j] = x[j];
        KEEP_LOOP; /* a call of memcpy takes longer */
    }
    for (; j < ld; j++) {
        y[j] = 0;
        KEEP_LOOP;
    }
}

#if BYTES > 16
typedef real NAME(half) __attribute__((vector_size(BYTES / 2), may_alias, aligned(BITS / 8)));
typedef whole NAME(half_mask) __attribute__((vector_size(BYTES / 2), may_alias));

/* So many rows of a few numbers, of which a half vector may be read, each to one vector: a whole one would often begin in one
 * line of the cache and end in the next. ns of 320 rows of 4 and of 8 floats, avx512, from places out of order, whole and so,
 * one core of an AMD Zen 5 (2026-11): 356 and 176, 285 and 200. */
static INLINE ptrdiff_t NAME(gather_halves)(ptrdiff_t rows, ptrdiff_t width, const real *X, ptrdiff_t stride,
                                            const ptrdiff_t *index, const real *end, real *A)
{
    const MASK there = NAME(there)(width);
    const NAME(half_mask) mask = *(const NAME(half_mask) *)&there;
    ptrdiff_t b;
    for (b = 0; b < rows; b++, A += W) {
        const real *x = X + (index != NULL ? index[b] : b) * stride;
        if (x + W / 2 > end)
            break;
        *(NAME(half) *)A = (NAME(half))((NAME(half_mask))*(const NAME(half) *)x & mask);
        *(NAME(half) *)(A + W / 2) = (NAME(half)){0};
    }
    return b;
}
#endif

static void NAME(gather)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *X, ptrdiff_t stride_t,
                         ptrdiff_t stride_b, const ptrdiff_t *index, real *A, ptrdiff_t lda)
{
    const MASK there = NAME(there)(lda == W ? width : width % W);
    const real *end;
    ptrdiff_t t, b, last = rows - 1;
    if (index != NULL) {
        last = 0;
        for (b = 0; b < rows; b++)
            last = index[b] > last ? index[b] : last;
    }
    end = X + (steps - 1) * stride_t + last * stride_b + width;
    if (index == NULL && stride_t == rows * stride_b) { /* one run */
        rows *= steps;
        steps = 1;
    }
    for (t = 0; t < steps; t++) {
        const real *x = X + t * stride_t;
        b = 0;
#if BYTES > 16
        if (lda == W && 2 * width <= W) {
            b = NAME(gather_halves)(rows, width, x, stride_b, index, end, A);
            A += b * W;
            x += index == NULL ? b * stride_b : 0;
        }
#endif
        if (lda == W && index == NULL) /* what follows the row is the caller's as well */
            for (; b < rows && x + W <= end; b++, x += stride_b, A += W)
                STORE(A, SELECT(there, LOAD(x), SPLAT(0)));
        for (; lda == W && index != NULL && b < rows && x + index[b] * stride_b + W <= end; b++, A += W)
            STORE(A, SELECT(there, LOAD(x + index[b] * stride_b), SPLAT(0)));
        for (; b < rows; b++, A += lda) {
            x = X + t * stride_t + (index != NULL ? index[b] : b) * stride_b;
            NAME(copy)(width, lda, x, end - x, there, A);
        }
    }
}

static void NAME(scatter)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, const real *A, ptrdiff_t lda, real *X,
                          ptrdiff_t stride_t, ptrdiff_t stride_b, const ptrdiff_t *index)
{
    ptrdiff_t t, b;
    for (t = 0; t < steps; t++)
        for (b = 0; b < rows; b++)
            NAME(copy)(width, width, A + (t * rows + b) * lda, 0, (MASK){0},
                       X + t * stride_t + (index != NULL ? index[b] : b) * stride_b);
}

/* ---- The error */

static INLINE double NAME(sum)(V v)
{
    double lanes[W];
    ptrdiff_t j, n;
    UNROLL for (j = 0; j < W; j++)
        lanes[j] = v[j];
    UNROLL for (n = W / 2; n > 0; n /= 2)
        UNROLL for (j = 0; j < n; j++)
            lanes[j] += lanes[j + n];
    return lanes[0];
}

/* x[o % K], x[(o + 1) % K], ...: what stands beside the outputs o, o + 1, ... < O */
static INLINE V NAME(beside)(const real *x, ptrdiff_t K, ptrdiff_t o, ptrdiff_t O)
{
    V v = {0};
    ptrdiff_t j;
    for (j = 0; j < MIN(O - o, W); j++)
        v[j] = x[(o + j) % K];
    return v;
}

/* ∂e/∂y, or for a loss that is one function with its activation ∂e/∂z, y being z; e of each output is put into e */
static INLINE V NAME(slope)(const fastbptt_error *what, V y, V d, ptrdiff_t o, V *e)
{
    V r = y - d, q, exponential;
    ptrdiff_t j;
    switch (what->loss) {
    case FASTBPTT_SQUARED_ERROR:
        *e = r * r;
        return r * 2;
    case FASTBPTT_ABSOLUTE_ERROR:
        *e = ABS(r);
        return SELECT(r > 0, SPLAT(1), SELECT(r < 0, SPLAT(-1), r)); /* NaN stays, here and below */
    case FASTBPTT_HUBER:
        q = SPLAT(what->threshold);
        *e = SELECT(ABS(r) <= q, r * r * (real)0.5, q * (ABS(r) - q * (real)0.5));
        return SELECT(ABS(r) <= q, r, SELECT(r > 0, q, SELECT(r < 0, -q, r)));
    case FASTBPTT_QUANTILE:
        q = SPLAT(0);
        for (j = 0; j < MIN(what->O - o, W); j++)
            q[j] = (real)what->levels[(o + j) / what->K];
        *e = SELECT(r < 0, -q, 1 - q) * r;
        return SELECT(r < 0, -q, SELECT(r > 0, 1 - q, r));
    case FASTBPTT_BINARY_CROSS_ENTROPY:
        exponential = NAME(exp)(-ABS(y));
        *e = POSITIVE_PART(y) - y * d + NAME(log1p)(exponential);
        return SELECT(y < 0, exponential, SPLAT(1)) / (exponential + 1) - d;
    case FASTBPTT_POISSON:
        exponential = NAME(exp)(y);
        *e = exponential - d * y;
        return exponential - d;
    }
    *e = SPLAT(0); /* FASTBPTT_GIVEN */
    return d;
}

/* y (dy - inner), or 0 where only rounding noise is left of the difference. NaN stays. */
static INLINE V NAME(softmax_back)(const fastbptt_error *what, V y, V dy, V inner)
{
    const real noise = FASTBPTT_NOISE * (real)(sizeof(real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON);
    const V left = dy - inner;
    if (!what->settles)
        return y * left;
    return SELECT(ABS(left) <= (ABS(dy) + ABS(inner)) * noise, SPLAT(0), y * left);
}

/* z <- scale m ∂e/∂z from y = g2(z), or for a loss that is one function with its activation from z; every loss but
 * cross-entropy. Σ e of the row is put into e, Σ m e returned, both by lanes. */
static INLINE V NAME(row)(const fastbptt_error *what, const real *d, const real *m, ptrdiff_t weight_width, real *z, V *e)
{
    const int one_function = what->loss == FASTBPTT_BINARY_CROSS_ENTROPY || what->loss == FASTBPTT_POISSON;
    const real factor = (real)what->scale;
    V total = {0}, inner = {0};
    ptrdiff_t o;
    int pass;
    *e = total;
    for (pass = 0; pass < (what->activation == FASTBPTT_SOFTMAX ? 2 : 1); pass++)
        for (o = 0; o < what->O; o += W) {
            const MASK there = NAME(there)(what->O - o);
            V y = LOAD(z + o), weight, dy, e_o;
            weight = weight_width == 0 ? SPLAT(1) : weight_width == 1 ? SPLAT(m[0])
                                                                      : NAME(beside)(m, weight_width, o, what->O);
            dy = NAME(slope)(what, y, what->K == what->O ? LOAD(d + o) : NAME(beside)(d, what->K, o, what->O), o, &e_o);
            dy = SELECT((weight != 0) & there, dy * (factor * weight), SPLAT(0));
            if (pass == 0) {
                e_o = SELECT((weight != 0) & there, e_o, SPLAT(0));
                *e += e_o;
                total += weight * e_o;
            }
            if (!one_function)
                switch (what->activation) {
                case FASTBPTT_SIGMOID: dy = dy * y * (1 - y); break;
                case FASTBPTT_TANH: dy = dy * (1 - y * y); break;
                case FASTBPTT_EXP: dy = dy * y; break;
                case FASTBPTT_SOFTMAX: /* Y (dY - Σ dY Y) */
                    if (pass == 0) {
                        inner += SELECT(there, dy * y, SPLAT(0));
                        dy = y;
                    } else {
                        if (o == 0)
                            inner = SPLAT(NAME(sum)(inner));
                        dy = NAME(softmax_back)(what, y, dy, inner);
                    }
                }
            STORE(z + o, dy);
        }
    return total;
}

/* z <- exp(z - top) where top, which is returned, is the largest; their sum is put into `total`. NaN spreads. */
static INLINE real NAME(exponentials)(ptrdiff_t O, real *z, real *total)
{
    V tops = SPLAT(z[0]), sums = {0};
    real top = z[0];
    ptrdiff_t o, j;
    for (o = 0; o < O; o += W) {
        V x = SELECT(NAME(there)(O - o), LOAD(z + o), SPLAT(z[0]));
        tops = SELECT((x > tops) | (x != x), x, tops);
    }
    for (j = 0; j < W; j++)
        if (tops[j] > top || tops[j] != tops[j])
            top = tops[j];
    for (o = 0; o < O; o += W) {
        V x = SELECT(NAME(there)(O - o), NAME(exp)(LOAD(z + o) - top), SPLAT(0));
        STORE(z + o, x);
        sums += x;
    }
    *total = (real)NAME(sum)(sums);
    return top;
}

static void NAME(softmax)(ptrdiff_t O, real *z)
{
    real total;
    ptrdiff_t o;
    NAME(exponentials)(O, z, &total);
    for (o = 0; o < O; o += W)
        STORE(z + o, LOAD(z + o) / total);
}

/* z <- scale m ∂e/∂z for softmax with cross-entropy: Y Σ D - D; e is put into e, m e returned. d is NULL where there is a
 * label. */
static double NAME(softmax_row)(const fastbptt_error *what, const real *d, ptrdiff_t label, real m, real *z, double *e)
{
    const real factor = m * (real)what->scale, at_label = d == NULL ? z[label] : 0;
    real mass = 1, total, top;
    double linear;
    V masses = {0}, products = {0};
    ptrdiff_t o;
    if (d != NULL) {
        for (o = 0; o < what->O; o += W) {
            V part = SELECT(NAME(there)(what->O - o), LOAD(d + o), SPLAT(0));
            masses += part;
        }
        mass = (real)NAME(sum)(masses);
        top = z[0];
        for (o = 1; o < what->O; o++)
            if (z[o] > top || z[o] != z[o])
                top = z[o];
        for (o = 0; o < what->O; o += W)
            products += SELECT(NAME(there)(what->O - o), LOAD(d + o) * (LOAD(z + o) - top), SPLAT(0));
        linear = NAME(sum)(products);
        NAME(exponentials)(what->O, z, &total);
    } else {
        top = NAME(exponentials)(what->O, z, &total);
        linear = at_label - top;
    }
    *e = mass * log(total) - linear;
    for (o = 0; o < what->O; o += W) {
        V y = LOAD(z + o) / total * mass;
        STORE(z + o, (d != NULL ? y - LOAD(d + o) : y) * factor);
    }
    if (d == NULL)
        z[label] -= factor;
    return m * *e;
}

/* z <- 2 scale (z - d), and Σ (z - d)²: what `row` does for the commonest of all losses, over all rows at once. */
static double NAME(squares)(const fastbptt_error *what, ptrdiff_t rows, const real *D, real *Z, ptrdiff_t ld)
{
    const real factor = (real)what->scale;
    const MASK all = NAME(there)(W), last = NAME(there)(what->O - (ld - W));
    double total = 0;
    V sum = {0};
    ptrdiff_t i, o;
    for (i = 0; i < rows; i++, Z += ld, D += ld) {
        for (o = 0; o < ld; o += W) {
            const MASK there = o + W < ld ? all : last;
            V r = LOAD(Z + o) - LOAD(D + o);
            sum += SELECT(there, r * r, SPLAT(0)); /* rounded before it is added, as a weighted one is */
            STORE(Z + o, SELECT(there, r * 2 * factor, SPLAT(0)));
        }
        if (i % 16 == 15 || i == rows - 1) { /* seldom, and before much is lost to rounding */
            total += NAME(sum)(sum);
            sum = SPLAT(0);
        }
    }
    return total;
}

static double NAME(error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, ptrdiff_t ldd,
                          const ptrdiff_t *labels, const real *weights, ptrdiff_t weight_width, real *Z, ptrdiff_t ldz,
                          real *losses)
{
    const int targets = D != NULL || labels != NULL;
    const int one_function = what->loss == FASTBPTT_BINARY_CROSS_ENTROPY || what->loss == FASTBPTT_POISSON
                             || what->loss == FASTBPTT_CROSS_ENTROPY;
    double total = 0, e;
    V totals = {0}, errors;
    ptrdiff_t i;
    if (!(one_function && targets)) {
        if (what->activation == FASTBPTT_SOFTMAX)
            for (i = 0; i < rows; i++)
                NAME(softmax)(what->O, Z + i * ldz);
        else
            NAME(activate)(what->activation, rows * ldz, Z);
    }
    if (what->loss == FASTBPTT_SQUARED_ERROR && what->activation == FASTBPTT_IDENTITY && targets && !weight_width
        && losses == NULL)
        return NAME(squares)(what, rows, D, Z, ldz);
    for (i = 0; targets && i < rows; i++, Z += ldz) {
        const real *d = D != NULL ? D + i * ldd : NULL;
        const real *m = weight_width ? weights + i * weight_width : NULL;
        if (what->loss != FASTBPTT_CROSS_ENTROPY) {
            totals += NAME(row)(what, d, m, weight_width, Z, &errors);
            e = losses != NULL ? NAME(sum)(errors) : 0;
            if (i % 16 == 15 || i == rows - 1) { /* seldom, and before much is lost to rounding */
                total += NAME(sum)(totals);
                totals = SPLAT(0);
            }
        } else if (m != NULL && m[0] == 0) { /* a label of -1 is legal here */
            memset(Z, 0, what->O * sizeof(real));
            e = 0;
        } else
            total += NAME(softmax_row)(what, d, labels != NULL ? labels[i] : 0, m != NULL ? m[0] : 1, Z, &e);
        if (losses != NULL)
            losses[i] = (real)e;
    }
    return total;
}

/* ---- Updates: loops that the compiler makes vectors of */

static void NAME(update)(const fastbptt_update *what, ptrdiff_t n, const real *restrict gradient, real *restrict theta,
                         real *restrict slot_1, real *restrict slot_2)
{
    const real eta = (real)what->learning_rate, epsilon = (real)what->epsilon, momentum = (real)what->momentum;
    const real rho = (real)what->rho, new = (real)(1 - what->rho);
    const real beta_1 = (real)what->beta_1, new_1 = (real)(1 - what->beta_1);
    const real beta_2 = (real)what->beta_2, new_2 = (real)(1 - what->beta_2);
    const real correction_1 = (real)what->correction_1, correction_2 = (real)what->correction_2;
    const real decay = what->rule == FASTBPTT_ADAMW ? (real)(1 - what->learning_rate * what->weight_decay) : 1;
    ptrdiff_t i;
    switch (what->rule) {
    case FASTBPTT_SGD:
        for (i = 0; i < n; i++) {
            slot_1[i] = momentum * slot_1[i] + gradient[i];
            theta[i] -= eta * (what->nesterov ? gradient[i] + momentum * slot_1[i] : slot_1[i]);
        }
        break;
    case FASTBPTT_RMSPROP:
        for (i = 0; i < n; i++) {
            slot_1[i] = rho * slot_1[i] + new * gradient[i] * gradient[i];
            theta[i] -= eta * gradient[i] / (SQRT(slot_1[i]) + epsilon);
        }
        break;
    case FASTBPTT_ADAGRAD:
        for (i = 0; i < n; i++) {
            slot_1[i] += gradient[i] * gradient[i];
            theta[i] -= eta * gradient[i] / (SQRT(slot_1[i]) + epsilon);
        }
        break;
    default: /* Adam, AdamW */
        for (i = 0; i < n; i++) {
            slot_1[i] = beta_1 * slot_1[i] + new_1 * gradient[i];
            slot_2[i] = beta_2 * slot_2[i] + new_2 * gradient[i] * gradient[i];
            theta[i] = theta[i] * decay - eta * (slot_1[i] / correction_1) / (SQRT(slot_2[i] / correction_2) + epsilon);
        }
    }
}

#include "lanes.h"

#undef real
#undef whole
#undef V
#undef U
#undef MASK
#undef W
#undef LOAD
#undef STORE
#undef SPLAT
#undef BROADCAST
#undef FUSED
#undef SELECT
#undef ABS
#undef SIGN
#undef POSITIVE_PART
#undef SHIFT
#undef SHIFT_BITS
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef EXPONENT_BIAS
#undef FRACTION_BITS
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXPM1_LOWEST
#undef TANH_HIGHEST
#undef TANH_INTERVALS
#undef PERMUTE
#undef MIN_OR_NAN
#undef NOT_NEGATIVE
#undef SQRT
#undef CLAMP
#undef POWER_OF_2
#undef EVERY_TILE
#undef HALF_OF_TILES
#undef LONG_TILES
#undef TILE_NUMBER
#undef STATES
#undef STATES_OF_16
#undef LARGER_STATES
#undef LARGER_OF_16
#undef STATES_OF_ONE
#undef STATE_NUMBER
#undef FOR_EACH_KIND
#undef BITS
