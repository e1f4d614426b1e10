/* The kernels for many small networks of one shape at once, one network per lane. simd.h includes this file last.
 *
 * A vector of simd.h holds the numbers h, h + 1, ... of one network. Here it holds one number of several networks: each number
 * of an array is LANES consecutive reals, two vectors. No width is padded, and no product adds the elements of a vector.
 * Distances (strides, ld) are in reals. An array that all networks share has one real per number. `shared` says so; it is a
 * constant in inlined loops.
 *
 * The bits of a lane do not depend on the other lanes, on the number of rows, or on the tile, because each sum is one chain
 * over k. A kernel for many networks belongs here.
 */

#define LANES (2 * W)

/* x[k] of a row: one number for all lanes, or one for each */
#define LANE(shared, x) ((shared) ? SPLAT(*(x)) : LOAD(x))

/* Compute C[i, n] = base[i, n] + Σ_k x[i, k] w[n, k] for m rows, N columns and nv vectors, which are constants when inlined. */
static INLINE void NAME(lanes_tile)(const int m, const int N, const int nv, const int shared, ptrdiff_t K, const real *x,
                                    ptrdiff_t xi, ptrdiff_t xk, const real *w, ptrdiff_t wn, ptrdiff_t wk,
                                    const real *base, ptrdiff_t bi, ptrdiff_t bn, real *C, ptrdiff_t ci)
{
    V c[4][4][2], b[4][2];
    ptrdiff_t k;
    int i, n, v;
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (n = 0; n < N; n++)
            UNROLL for (v = 0; v < nv; v++)
                c[i][n][v] = base != NULL ? LOAD(base + i * bi + n * bn + v * W) : SPLAT(0);
    for (k = 0; k < K; k++) {
        UNROLL for (n = 0; n < N; n++)
            UNROLL for (v = 0; v < nv; v++)
                b[n][v] = LOAD(w + n * wn + k * wk + v * W);
        UNROLL for (i = 0; i < m; i++)
            UNROLL for (v = 0; v < nv; v++) {
                const V a = LANE(shared, x + i * xi + k * xk + (shared ? 0 : v * W));
                UNROLL for (n = 0; n < N; n++)
                    c[i][n][v] += a * b[n][v];
            }
    }
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (n = 0; n < N; n++)
            UNROLL for (v = 0; v < nv; v++)
                STORE(C + i * ci + n * LANES + v * W, c[i][n][v]);
}

/* Compute C[r, n] = base[r, n] + Σ_k x[r, k] w[n, k]. bi and ci are the row strides of base and C. Many rows are computed four at
 * a time, one vector after the other. The remaining rows are computed one by one, with several columns at once to keep sums in
 * flight. */
static INLINE void NAME(lanes_product)(const int shared, ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, ptrdiff_t xi,
                                       ptrdiff_t xk, const real *w, ptrdiff_t wn, ptrdiff_t wk, const real *base,
                                       ptrdiff_t bi, ptrdiff_t bn, real *C, ptrdiff_t ci)
{
    ptrdiff_t r = 0, n, v;
    for (; r + 4 <= rows; r += 4)
        for (v = 0; v < LANES; v += W) {
            const real *xr = x + r * xi + (shared ? 0 : v), *br = base != NULL ? base + r * bi + v : NULL;
            real *c = C + r * ci + v;
            for (n = 0; n + 2 <= N; n += 2)
                NAME(lanes_tile)(4, 2, 1, shared, K, xr, xi, xk, w + n * wn + v, wn, wk, br != NULL ? br + n * bn : NULL, bi,
                                 bn, c + n * LANES, ci);
            if (n < N)
                NAME(lanes_tile)(4, 1, 1, shared, K, xr, xi, xk, w + n * wn + v, wn, wk, br != NULL ? br + n * bn : NULL, bi,
                                 bn, c + n * LANES, ci);
        }
    for (; r < rows; r++) {
        const real *xr = x + r * xi, *br = base != NULL ? base + r * bi : NULL;
        real *c = C + r * ci;
        for (n = 0; n + 4 <= N; n += 4)
            NAME(lanes_tile)(1, 4, 2, shared, K, xr, xi, xk, w + n * wn, wn, wk, br != NULL ? br + n * bn : NULL, bi, bn,
                             c + n * LANES, ci);
        for (; n < N; n++)
            NAME(lanes_tile)(1, 1, 2, shared, K, xr, xi, xk, w + n * wn, wn, wk, br != NULL ? br + n * bn : NULL, bi, bn,
                             c + n * LANES, ci);
    }
}

/* Set A to 0 in lanes whose sequence ends before step t. ends (rows, LANES) holds the lengths. */
static INLINE void NAME(lanes_end)(ptrdiff_t rows, ptrdiff_t N, ptrdiff_t t, const real *ends, real *A)
{
    ptrdiff_t r, n, v;
    for (r = 0; ends != NULL && r < rows; r++)
        for (v = 0; v < LANES; v += W) {
            const MASK alive = (MASK)(LOAD(ends + r * LANES + v) > (real)t);
            for (n = 0; n < N; n++) {
                real *a = A + (r * N + n) * LANES + v;
                STORE(a, SELECT(alive, LOAD(a), SPLAT(0)));
            }
        }
}

static void NAME(lanes_affine)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, int shared, const real *w,
                               const real *b, real *C, ptrdiff_t ldc)
{
    if (shared)
        NAME(lanes_product)(1, rows, K, N, x, K, 1, w, K * LANES, LANES, b, 0, LANES, C, ldc * LANES);
    else
        NAME(lanes_product)(0, rows, K, N, x, K * LANES, LANES, w, K * LANES, LANES, b, 0, LANES, C, ldc * LANES);
}

static void NAME(lanes_affine_back)(ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *x, const real *w, real *C,
                                    ptrdiff_t ldc)
{
    NAME(lanes_product)(0, rows, K, N, x, K * LANES, LANES, w, LANES, N * LANES, NULL, 0, 0, C, ldc * LANES);
}

static void NAME(lanes_recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w, const real *ends,
                              const real *before, real *S, real *A)
{
    const ptrdiff_t ld = H * LANES;
    ptrdiff_t t;
    for (t = 0; t < steps; t++) {
        NAME(lanes_product)(0, rows, H, H, before, ld, LANES, w, ld, LANES, S, ld, LANES, S, ld);
        if (A != NULL && fastbptt_reads_input(activation))
            memcpy(A + t * rows * ld, S, rows * ld * sizeof(real));
        NAME(activate)(activation, rows * ld, S);
        NAME(lanes_end)(rows, H, t, ends, S);
        before = S;
        S += rows * ld;
    }
}

static void NAME(lanes_recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w,
                                   const real *ends, const real *R, real *delta)
{
    const ptrdiff_t ld = H * LANES;
    ptrdiff_t t;
    for (t = steps - 1; t >= 0; t--) {
        real *d = delta + t * rows * ld;
        if (t < steps - 1)
            NAME(lanes_product)(0, rows, H, H, d + rows * ld, ld, LANES, w, LANES, ld, d, ld, LANES, d, ld);
        NAME(differentiate)(activation, rows * ld, R + t * rows * ld, d);
        NAME(lanes_end)(rows, H, t, ends, d);
    }
}

/* Compute C[i, n] += Σ_r A[r, i] x[r, n] for constant m and N. The sum is rounded before it is added, as in `tile`. */
static INLINE void NAME(lanes_outer)(const int m, const int N, const int shared, ptrdiff_t rows, const real *A, ptrdiff_t lda,
                                     const real *x, ptrdiff_t ldx, real *C, ptrdiff_t ci)
{
    V c[4][4], b[4];
    ptrdiff_t r;
    int i, n;
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (n = 0; n < N; n++)
            c[i][n] = SPLAT(0);
    for (r = 0; r < rows; r++) {
        UNROLL for (n = 0; n < N; n++)
            b[n] = LANE(shared, x + r * ldx + n * (shared ? 1 : LANES));
        UNROLL for (i = 0; i < m; i++) {
            const V a = LOAD(A + r * lda + i * LANES);
            UNROLL for (n = 0; n < N; n++)
                c[i][n] += a * b[n];
        }
    }
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (n = 0; n < N; n++)
            STORE(C + i * ci + n * LANES, LOAD(C + i * ci + n * LANES) + c[i][n]);
}

static INLINE void NAME(lanes_sum)(const int shared, ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda,
                                   const real *x, real *C)
{
    const ptrdiff_t ldx = shared ? N : N * LANES, xn = shared ? 1 : LANES, ci = N * LANES;
    ptrdiff_t i, n, v;
    for (v = 0; v < LANES; v += W) {
        const real *xv = x + (shared ? 0 : v);
        for (i = 0; i + 4 <= M; i += 4) {
            for (n = 0; n + 2 <= N; n += 2)
                NAME(lanes_outer)(4, 2, shared, rows, A + i * LANES + v, lda, xv + n * xn, ldx, C + i * ci + n * LANES + v, ci);
            if (n < N)
                NAME(lanes_outer)(4, 1, shared, rows, A + i * LANES + v, lda, xv + n * xn, ldx, C + i * ci + n * LANES + v, ci);
        }
        for (; i < M; i++) {
            for (n = 0; n + 4 <= N; n += 4)
                NAME(lanes_outer)(1, 4, shared, rows, A + i * LANES + v, lda, xv + n * xn, ldx, C + i * ci + n * LANES + v, ci);
            for (; n < N; n++)
                NAME(lanes_outer)(1, 1, shared, rows, A + i * LANES + v, lda, xv + n * xn, ldx, C + i * ci + n * LANES + v, ci);
        }
    }
}

static void NAME(lanes_accumulate)(ptrdiff_t rows, ptrdiff_t M, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *x,
                                   int shared, real *C)
{
    ptrdiff_t r;
    lda *= LANES;
    for (r = 0; r < rows; r += CHUNK, A += CHUNK * lda, x += CHUNK * N * (shared ? 1 : LANES))
        if (shared)
            NAME(lanes_sum)(1, MIN(rows - r, CHUNK), M, N, A, lda, x, C);
        else
            NAME(lanes_sum)(0, MIN(rows - r, CHUNK), M, N, A, lda, x, C);
}

static void NAME(lanes_column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums)
{
    ptrdiff_t r, i, j;
    lda *= LANES;
    for (j = 0; j < N * LANES; j += W)
        for (r = 0; r < rows; r += CHUNK) {
            V s[4] = {{0}, {0}, {0}, {0}}; /* a single sum would wait for each addition */
            const ptrdiff_t end = MIN(rows, r + CHUNK);
            for (i = r; i + 4 <= end; i += 4) {
                s[0] += LOAD(A + i * lda + j);
                s[1] += LOAD(A + (i + 1) * lda + j);
                s[2] += LOAD(A + (i + 2) * lda + j);
                s[3] += LOAD(A + (i + 3) * lda + j);
            }
            if (i < end) /* row r always goes to sum r % 4, so that appended rows of zeros change no bit */
                s[0] += LOAD(A + i * lda + j);
            if (i + 1 < end)
                s[1] += LOAD(A + (i + 1) * lda + j);
            if (i + 2 < end)
                s[2] += LOAD(A + (i + 2) * lda + j);
            STORE(sums + j, LOAD(sums + j) + ((s[0] + s[1]) + (s[2] + s[3])));
        }
}

#include "lanes_gated.h"

/* ---- The error */

/* Return log(x) for x >= 1, from x = m 2^k with 1 <= m < 2. */
static INLINE V NAME(lanes_log)(V x)
{
    const MASK bits = (MASK)x, fraction = bits & ((((MASK){0} + 1) << FRACTION_BITS) - 1);
    const V m = (V)(fraction | (MASK)SPLAT(1)), k = (V)((bits >> FRACTION_BITS) - EXPONENT_BIAS + SHIFT_BITS) - SHIFT;
    return SELECT(x == x, k * LN2_HIGH + (k * LN2_LOW + NAME(log1p)(m - 1)), x);
}

/* Return the largest z of every lane; NaN if one of them is NaN. */
static INLINE V NAME(lanes_largest)(ptrdiff_t O, const real *z)
{
    V most = LOAD(z);
    ptrdiff_t o;
    for (o = 1; o < O; o++) {
        const V x = LOAD(z + o * LANES);
        most = SELECT((x > most) | (x != x), x, most);
    }
    return most;
}

/* Compute z <- exp(z - most) / Σ exp(z - most) and return the sum. */
static INLINE V NAME(lanes_softmax)(ptrdiff_t O, V most, real *z)
{
    V sum = {0};
    ptrdiff_t o;
    for (o = 0; o < O; o++) {
        const V x = NAME(exp)(LOAD(z + o * LANES) - most);
        STORE(z + o * LANES, x);
        sum += x;
    }
    for (o = 0; o < O; o++)
        STORE(z + o * LANES, LOAD(z + o * LANES) / sum);
    return sum;
}

/* Compute Z <- g2(Z). */
static void NAME(lanes_output)(int activation, ptrdiff_t rows, ptrdiff_t O, real *Z)
{
    ptrdiff_t r, v;
    if (activation != FASTBPTT_SOFTMAX) {
        NAME(activate)(activation, rows * O * LANES, Z);
        return;
    }
    for (r = 0; r < rows; r++)
        for (v = 0; v < LANES; v += W)
            NAME(lanes_softmax)(O, NAME(lanes_largest)(O, Z + r * O * LANES + v), Z + r * O * LANES + v);
}

/* Compute Z <- m ∂e/∂Z * scale for every lane. Set losses (rows, LANES) to e unless it is NULL, and add Σ m e to totals
 * (LANES,). D (rows, K) and m (rows, width), with width 0, 1 or K, may be shared by all lanes. Targets without weight are not
 * read. */
static void NAME(lanes_error)(const fastbptt_error *what, ptrdiff_t rows, const real *D, int shared_D, const real *m, int width,
                              int shared_m, const real *scale, real *Z, real *losses, double *totals)
{
    const int one_function = fastbptt_outputs_of(what->loss) != FASTBPTT_ANY;
    const ptrdiff_t O = what->O, K = what->K, d_k = shared_D ? 1 : LANES, m_k = shared_m ? 1 : LANES;
    ptrdiff_t r, o, v, j;
    for (v = 0; v < LANES; v += W) {
        const V factor = LOAD(scale + v);
        V sum = {0};
        for (r = 0; r < rows; r++) {
            real *z = Z + r * O * LANES + v;
            const real *d = D + r * K * d_k + (shared_D ? 0 : v);
            const real *weight = width ? m + r * width * m_k + (shared_m ? 0 : v) : NULL;
            V one = width == 1 ? LANE(shared_m, weight) : SPLAT(1), e = {0}, part = {0};
            if (what->loss == FASTBPTT_CROSS_ENTROPY) {
                const V top = NAME(lanes_largest)(O, z);
                V mass = {0}, linear = {0}, total;
                for (o = 0; o < O; o++) {
                    const V target = SELECT(one != 0, LANE(shared_D, d + o * d_k), SPLAT(0));
                    mass += target;
                    linear += target * (LOAD(z + o * LANES) - top);
                }
                total = NAME(lanes_softmax)(O, top, z);
                for (o = 0; o < O; o++) {
                    const V target = SELECT(one != 0, LANE(shared_D, d + o * d_k), SPLAT(0));
                    STORE(z + o * LANES, SELECT(one != 0, (LOAD(z + o * LANES) * mass - target) * (one * factor), SPLAT(0)));
                }
                e = SELECT(one != 0, mass * NAME(lanes_log)(total) - linear, SPLAT(0));
                part = one * e;
            } else {
                V inner = {0};
                if (!one_function && what->activation == FASTBPTT_SOFTMAX) {
                    NAME(lanes_softmax)(O, NAME(lanes_largest)(O, z), z);
                    for (o = 0; o < O; o++) {
                        const V y = LOAD(z + o * LANES), w = width > 1 ? LANE(shared_m, weight + o % K * m_k) : one;
                        V e_o, dy = NAME(slope)(0, what, y, LANE(shared_D, d + o % K * d_k), o, &e_o);
                        inner += SELECT(w != 0, dy * (factor * w), SPLAT(0)) * y;
                    }
                }
                for (o = 0; o < O; o++) {
                    const V w = width > 1 ? LANE(shared_m, weight + o % K * m_k) : one;
                    V y = LOAD(z + o * LANES), e_o, dy;
                    if (!one_function && what->activation != FASTBPTT_SOFTMAX)
                        y = NAME(g)(what->activation, y);
                    dy = NAME(slope)(0, what, y, LANE(shared_D, d + o % K * d_k), o, &e_o);
                    dy = SELECT(w != 0, dy * (factor * w), SPLAT(0));
                    e_o = SELECT(w != 0, e_o, SPLAT(0));
                    e += e_o;
                    part += w * e_o;
                    if (!one_function)
                        dy = what->activation == FASTBPTT_SOFTMAX ? y * (dy - inner)
                                                                  : NAME(back_from_output)(what->activation, dy, y);
                    STORE(z + o * LANES, dy);
                }
            }
            if (losses != NULL)
                STORE(losses + r * LANES + v, e);
            sum += part;
            if (r % 16 == 15 || r == rows - 1) { /* rarely, for speed, but before rounding errors accumulate */
                for (j = 0; j < W; j++)
                    totals[v + j] += sum[j];
                sum = SPLAT(0);
            }
        }
    }
}

/* ---- Copies: element i of network l is source[l][i]. Lanes from n on are zeros. */

static void NAME(lanes_gather)(ptrdiff_t n, ptrdiff_t count, const real *const *source, real *target)
{
    ptrdiff_t i, l;
    for (l = 0; l < LANES; l++)
        for (i = 0; i < count; i++)
            target[i * LANES + l] = l < n ? source[l][i] : 0;
}

static void NAME(lanes_scatter)(ptrdiff_t n, ptrdiff_t count, const real *source, real *const *target)
{
    ptrdiff_t i, l;
    for (l = 0; l < n; l++)
        for (i = 0; i < count; i++)
            target[l][i] = source[i * LANES + l];
}

/* ---- Updates, with a learning rate for each lane. Lanes that are 0 in `going` do not change. */

static INLINE V NAME(lanes_root)(V x)
{
    V root = SPLAT(0);
    ptrdiff_t j;
    for (j = 0; j < W; j++)
        root[j] = SQRT(x[j]);
    return root;
}

#define T V
#define RULE_NAME(name) NAME(lanes_rule_##name)
#define ROOT(x) NAME(lanes_root)(x)
#define CORRECTED(x, reciprocal) ((x) * (reciprocal))
#include "defs/rules.h"
#undef T
#undef ROOT
#undef CORRECTED

/* Update theta and the slots. A rule that is not in the table gives NaN. */
static void NAME(lanes_update)(const fastbptt_update *what, ptrdiff_t n, const real *rates, const real *going,
                               const real *gradient, real *theta, real *slot_1, real *slot_2)
{
    NAME(lanes_rule_options) by = {
        {0}, {0}, (real)what->epsilon, (real)what->momentum, (real)what->rho, (real)(1 - what->rho), (real)what->beta_1,
        (real)(1 - what->beta_1), (real)what->beta_2, (real)(1 - what->beta_2), (real)(1 / what->correction_1),
        (real)(1 / what->correction_2), what->nesterov
    };
    ptrdiff_t i, v;
    for (v = 0; v < LANES; v += W) {
        const V goes = LOAD(going + v);
        by.eta = LOAD(rates + v);
        by.decay = 1 - by.eta * (real)what->weight_decay;
        for (i = v; i < n * LANES; i += LANES) {
            const V g = LOAD(gradient + i), w = LOAD(theta + i), old_1 = LOAD(slot_1 + i);
            V s_1 = old_1, s_2, updated = SPLAT(NAN);
            switch ((enum fastbptt_rule)what->rule) {
#define RULE(CONSTANT, name, slots) \
    case FASTBPTT_##CONSTANT: \
        if ((slots) > 1) \
            s_2 = LOAD(slot_2 + i); \
        updated = RULE_NAME(name)(&by, g, w, &s_1, &s_2); \
        if ((slots) > 1) \
            STORE(slot_2 + i, SELECT(goes != 0, s_2, LOAD(slot_2 + i))); \
        break;
#include "defs/rules.def"
            }
            STORE(slot_1 + i, SELECT(goes != 0, s_1, old_1));
            STORE(theta + i, SELECT(goes != 0, updated, w));
        }
    }
}

#undef BY_ACTIVATION
#undef RULE_NAME
#undef LANES
#undef LANE
