/* Products: packed matrices, tiles, sums over rows. Part of simd.h.
 *
 * Code that multiplies a block by a matrix or sums over its rows belongs here.
 */

/* Compute C[i, v] = base[i, v] + Σ_k A[i, k] B[k, v] for m rows and nv vectors; 2 m nv W K flops.
 *
 * Each sum has `parts` independent accumulators, because an addition waits for the one before: the first takes k = 0, parts,
 * 2 parts, ... The call is inlined with constant m, nv, parts and base_last. With base_last the base is added last, so that a
 * sum of many such products rounds each one separately. `pair` is the distance between pairs of vectors in B. */
static INLINE void NAME(tile)(const int m, const int nv, const int parts, const int base_last, ptrdiff_t K, const real *A,
                              ptrdiff_t ai, ptrdiff_t ak, const real *B, ptrdiff_t bk, ptrdiff_t pair, const real *base,
                              ptrdiff_t ldbase, real *C, ptrdiff_t ldc)
{
    /* Without this, GCC 12 loads b again for each of two or three rows, and loads limit the speed of such a tile. */
    const int shares = m > 1 && nv > 1 && (m * parts + 1) * nv < REGISTERS;
    V c[MOST_PARTS][MOST_ROWS][MOST_VECTORS];
    ptrdiff_t k;
    int i, v, p;
    UNROLL for (i = 0; i < m; i++)
        UNROLL for (v = 0; v < nv; v++) {
            c[0][i][v] = base_last ? SPLAT(0) : LOAD(base + i * ldbase + v * W);
            UNROLL for (p = 1; p < parts; p++)
                c[p][i][v] = -SPLAT(0); /* x + -0 has the bits of x */
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
/* The tiles of long sums: one accumulator per sum, or two if a row has one vector and would wait for it */
#define LONG_TILES EVERY_TILE(1, 2) EVERY_TILE(2, 1) TILE(1, 4, 1) TILE(2, 4, 1) TILE(3, 4, 1) TILE(1, 8, 1)
#define TILE_NUMBER(m, nv, parts) (((parts) * (MOST_VECTORS + 1) + (nv)) * (MOST_ROWS + 1) + (int)(m)) /* unique */


/* Compute C = base + A @ P for nv vectors of columns: a panel, or several panels if there are few rows. */
static void NAME(panels)(ptrdiff_t rows, int nv, int parts, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *P,
                         const real *base, ptrdiff_t ldbase, real *C, ptrdiff_t ldc)
{
    const int full = nv * parts <= 2; /* registers hold the sums of ROWS rows */
    ptrdiff_t tiles = full ? (rows + ROWS - 1) / ROWS : (rows + ROWS / 2 - 1) / (ROWS / 2);
    for (; tiles > 0; tiles--) {
        const ptrdiff_t m = tiles == 1 ? rows : (rows + tiles - 1) / tiles; /* tiles as equal as possible */
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

/* Return the mask of the first `left` lanes. */
static INLINE MASK NAME(there)(ptrdiff_t left)
{
    static const real lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (MASK)(LOAD(lanes) < (real)MIN(left, W));
}

/* ---- Few columns with long sums, such as the input product of two hidden units. Vectors run along k, and P is (N, K padded).
 * Each sum is one vector, whose lanes are added at the end, for any number of rows. */

static INLINE int NAME(is_narrow)(ptrdiff_t K, ptrdiff_t N)
{
    return 2 * N * (K + 8 * W) <= K * W; /* adding the lanes takes about the time of eight products */
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

/* Compute C[i, n] = A[i] @ P[n] + b[n] for a constant number m of rows. Padding of a row becomes 0. */
static INLINE void NAME(dots)(const int m, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P,
                              const real *b, real *C, ptrdiff_t ldc)
{
    const MASK last = NAME(there)(K % W); /* padding of A may hold any value */
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

/* Return the number of vectors of columns to compute at once. About eight sums in flight hide the latency of an addition. */
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

/* Return the number of independent accumulators per dot product of a step, for the panel that starts at vector v of n.
 *
 * One row then has about eight sums in flight. The number depends only on the shape, so that the bits of a row do not depend on
 * the number of rows. ns per step forward and back of one row, with one accumulator (two if there is one vector) and with this
 * function, float32, avx512, one core of an AMD Zen 5 (2026-11): H = 16: 31 and 26; 32: 75 and 40; 64: 141 and 103; 96: 329
 * and 226. With 16 rows the backward step takes 1.08, 1.00, 1.03 and 1.02 times as long. For two or three vectors, registers
 * hold at most three accumulators for four rows. One row of H = 32 takes 47 ns with two accumulators and 37 ns with four, but
 * 16 rows then take 1.05 times as long, because each accumulator needs one more addition. */
static INLINE int NAME(parts_of_step)(ptrdiff_t K, ptrdiff_t v, ptrdiff_t n)
{
    if (n - v == 1)
        return K < FOUR_PARTS_FROM ? 2 : 4;
    if (n < 4 && REGISTERS > 16)
        return 3;
    return v < n / 8 * 8 ? 1 : 2;
}

/* Compute C += A @ P, the product of a step. */
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

/* Compute C += A.T @ B for a tile of C with m rows and `there` <= nv W columns, which are `step` apart. */
static INLINE void NAME(outer)(ptrdiff_t m, int nv, ptrdiff_t there, ptrdiff_t K, const real *A, ptrdiff_t lda, const real *B,
                               ptrdiff_t ldb, real *C, ptrdiff_t ldc, ptrdiff_t step)
{
    real buffer[MOST_ROWS * 2 * W], *c = C; /* at least 12 vectors: 3 rows of 4, or one of 8 */
    ptrdiff_t ld = ldc, i, j;
    if (there < nv * W || step > 1) { /* the caller's memory ends before the vector, or is strided */
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

/* Copy m columns of A into contiguous tiles (K, ROWS). Padding of the last tile is neither written nor read. */
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

/* Compute C += A.T @ B for at most CHUNK rows, panel by panel of B. If pack_tiles has packed A, B is packed too. */
static void NAME(accumulate_chunk)(ptrdiff_t step, ptrdiff_t K, ptrdiff_t M, ptrdiff_t N, int packs_B, int packed_A,
                                   const real *A, ptrdiff_t lda, const real *B, ptrdiff_t ldb, real *C, ptrdiff_t ldc)
{
    real packed[CHUNK * 2 * W] __attribute__((aligned(64)));
    ptrdiff_t n, i, m, k, j;
    int nv;
    for (n = 0; n < N; n += nv * W) {
        const ptrdiff_t there = MIN(N - n, (nv = NAME(at_once)(packs_B ? ROWS : M, (N - n + W - 1) / W)) * W);
        const real *b = B + n;
        if (packs_B) { /* a panel of two vectors or one */
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
            for (k = 0; packed_A && k < m; k++) /* C is read at the end of the tile, which would wait for it */
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
    if (2 * N <= W && N < M) /* C.T += B.T @ A, so that vectors run along the longer dimension */
        NAME(accumulate_by)(ldc, rows, N, M, B, ldb, A, lda, C, 1);
    else
        NAME(accumulate_by)(1, rows, M, N, A, lda, B, ldb, C, ldc);
}

static void NAME(column_sums)(ptrdiff_t rows, ptrdiff_t N, const real *A, ptrdiff_t lda, real *sums)
{
    ptrdiff_t n, r, j;
    for (n = 0; n < N; n += W) {
        V total = {0};
        for (r = 0; r < rows;) { /* partial sums of at most CHUNK rows: one long sum would round more */
            const ptrdiff_t end = MIN(rows, r + CHUNK);
            V s[4] = {{0}, {0}, {0}, {0}}; /* a single sum would wait for each addition */
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
