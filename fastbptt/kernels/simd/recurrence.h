/* The recurrence of plain and of leaky units, forward and backward. Part of simd.h.
 *
 * Loops over time steps belong here. The product of a single step belongs in gemm.h.
 */

/* Compute s += before @ P for m rows of nv vectors by `tile`, with `parts` accumulators. */
static INLINE void NAME(add_rows)(const int m, const int nv, const int parts, ptrdiff_t H, const real *P, const real *before,
                                  V *s)
{
    NAME(tile)(m, nv, parts, 0, H, before, nv * W, 1, P, nv == 1 ? W : 2 * W, 2 * W * H, (const real *)s, nv * W, (real *)s,
               nv * W);
}

/* Compute the same with `before` also in registers, as `state`. Reading it back from memory would wait for the store, and
 * each factor would be one more load. */
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
            c[p][v] = p == 0 ? s[v] : -SPLAT(0); /* x + -0 has the bits of x */
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
        /* if GCC 12 unrolls this loop, H = 64 takes 53 ns in place of 47 */
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

/* `recur` for m rows of nv vectors with constant m, nv and parts. The state stays in registers from step to step.
 *
 * ns per step without and with this, first forward, then back; float32, avx512, one core of an AMD Zen 5 (2026-11):
 *
 *     rows   H = 4                       16                       32                       64
 *     1      14 and 5.8, 13 and 4.4                                                        55 and 48, 47 and 37
 *     2      19 and 9.9, 15 and 5.1      23 and 17, 20 and 10     39 and 27, 33 and 21
 *     3                                                           48 and 33, 45 and 28
 *     4      21 and 12, 19 and 6.1       31 and 20, 28 and 15
 *     6                                  43 and 34, 39 and 23
 *     8      32 and 16, 31 and 9
 */
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

/* STATE(rows, vectors, accumulators) lists the states that are kept in registers. The first list is for 16 registers; a few
 * values may spill to memory. The larger states support only tanh and relu: their code repeats the activation for each vector,
 * and with all activations the package had 5.3 MB. */
#define STATES_OF_16 STATE(1, 1, 2) STATE(2, 1, 2) STATE(3, 1, 2) STATE(4, 1, 2) STATE(1, 1, 4) STATE(2, 1, 4) STATE(1, 4, 2)
#define LARGER_OF_16 STATE(8, 1, 2) STATE(4, 1, 4)
#if ROWS > 6
#define STATES STATES_OF_16 STATE(3, 1, 4) STATE(1, 2, 3) STATE(2, 2, 3)
#define LARGER_STATES LARGER_OF_16 STATE(5, 1, 4) STATE(6, 1, 4) STATE(3, 2, 3)
#else
#define STATES STATES_OF_16 STATE(1, 2, 2)
#define LARGER_STATES LARGER_OF_16
#endif
#define STATES_OF_ONE STATE(1, 1, 2) STATE(1, 1, 4) STATE(1, 2, ROWS > 6 ? 3 : 2) /* for leaky units */
#define STATE_NUMBER(rows, ldh, H) \
    ((rows) * (ldh) <= MOST_STATE * W ? TILE_NUMBER(rows, (int)((ldh) / W), NAME(parts_of_step)(H, 0, (ldh) / W)) : 0)

static void NAME(recur)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh,
                        const real *before, real *S, real *A)
{
    ptrdiff_t t, n = rows * ldh;
    switch (fastbptt_reads_input(activation) ? 0 : STATE_NUMBER(rows, ldh, H)) {
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
            if (A != NULL && fastbptt_reads_input(activation))
                memcpy(A + t * n, S, n * sizeof(real));
            NAME(activate_rows)(activation, rows, H, ldh, S);
            before = S;
        }
    }
}

static void NAME(recur_back)(int activation, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh,
                             const real *R, const real *later, real *delta)
{
    ptrdiff_t t, n = rows * ldh;
    switch (fastbptt_reads_input(activation) ? 0 : STATE_NUMBER(rows, ldh, H)) {
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

/* Compute into = A * by. `into` may be A. */
static INLINE void NAME(multiply)(ptrdiff_t n, const real *A, const real *by, real *into)
{
    ptrdiff_t i;
    for (i = 0; i < n; i += W)
        STORE(into + i, LOAD(A + i) * LOAD(by + i));
}

/* Return a x + b y. IN_REGISTER makes a compiler that fuses a product with the sum choose the same product everywhere. */
static INLINE V NAME(mix)(V x, const real a, V y, const real b)
{
    V part = x * a;
    IN_REGISTER(part);
    return part + y * b;
}

/* Return a x + b y for separate factors of the elements. The bits are those of `mix` if all factors are equal. */
static INLINE V NAME(mix_units)(V x, V a, V y, V b)
{
    V part = x * a;
    IN_REGISTER(part);
    return part + y * b;
}

/* Return the factors of vector v of a row: `each` (ldh,), or `all` for every unit if `each` is NULL. */
static INLINE V NAME(factor_of)(const void *each, const real all, int v)
{
    return each != NULL ? LOAD((const real *)each + v * W) : SPLAT(all);
}

/* Compute into = keep * x + leak * y for rows (rows, H) of units with separate leaks. */
static void NAME(mix_rows)(const fastbptt_units *what, ptrdiff_t rows, ptrdiff_t ldh, const real *x, const real *y, real *into)
{
    const real *leaks = what->leaks, *keeps = what->keeps;
    ptrdiff_t r, i;
    for (r = 0; r < rows * ldh; r += ldh)
        for (i = 0; i < ldh; i += W)
            STORE(into + r + i, NAME(mix_units)(LOAD(x + r + i), LOAD(keeps + i), LOAD(y + r + i), LOAD(leaks + i)));
}

/* Compute dU = d + keep * dU and d = leak * dU for rows (rows, H) of units with separate leaks. */
static void NAME(mix_back_rows)(const fastbptt_units *what, ptrdiff_t rows, ptrdiff_t ldh, real *dU, real *d)
{
    const real *leaks = what->leaks, *keeps = what->keeps;
    ptrdiff_t r, i;
    for (r = 0; r < rows * ldh; r += ldh)
        for (i = 0; i < ldh; i += W) {
            const V whole = LOAD(d + r + i) + LOAD(dU + r + i) * LOAD(keeps + i);
            STORE(dU + r + i, whole);
            STORE(d + r + i, whole * LOAD(leaks + i));
        }
}

/* `integrate` for one row without a mask, as `recur_rows` is for `recur` */
static INLINE void NAME(integrate_row)(const int nv, const int parts, const fastbptt_units *what, ptrdiff_t steps,
                                       ptrdiff_t H, const real *P, const real *before, const real *integrated, real *S, real *other)
{
    const ptrdiff_t ld = nv * W;
    V leak[2], keep[2];
    ptrdiff_t t;
    int v;
    UNROLL for (v = 0; v < nv; v++) {
        leak[v] = NAME(factor_of)(what->leaks, (real)what->leak, v);
        keep[v] = NAME(factor_of)(what->keeps, (real)(1 - what->leak), v);
    }
    for (t = 0; t < steps; t++, S += ld, other += ld) {
        V s[2];
        UNROLL for (v = 0; v < nv; v++)
            s[v] = LOAD(S + v * W);
        NAME(add_rows)(1, nv, parts, H, P, before, s);
        UNROLL for (v = 0; v < nv; v++) {
            const V kept = LOAD((what->form == FASTBPTT_RATE ? before : integrated) + v * W);
            const V gone = what->form == FASTBPTT_RATE ? NAME(g)(what->activation, s[v]) : s[v];
            const V state = NAME(mix_units)(kept, keep[v], gone, leak[v]);
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
    const ptrdiff_t ld = nv * W;
    V leak[2], keep[2];
    ptrdiff_t t;
    int v;
    UNROLL for (v = 0; v < nv; v++) {
        leak[v] = NAME(factor_of)(what->leaks, (real)what->leak, v);
        keep[v] = NAME(factor_of)(what->keeps, (real)(1 - what->leak), v);
    }
    for (t = steps - 1; t >= 0; t--) {
        V d[2];
        UNROLL for (v = 0; v < nv; v++)
            d[v] = LOAD(delta + t * ld + v * W);
        if (later != NULL)
            NAME(add_rows)(1, nv, parts, H, P, later, d);
        later = delta + t * ld;
        UNROLL for (v = 0; v < nv; v++) {
            const V slope = NAME(slope_of_g)(what->activation, LOAD(R + t * ld + v * W));
            V back = what->form != FASTBPTT_RATE ? d[v] * slope : d[v], whole;
            IN_REGISTER(back);
            whole = back + LOAD(dU + v * W) * keep[v];
            STORE(dU + v * W, whole);
            STORE(delta + t * ld + v * W, what->form == FASTBPTT_RATE ? whole * leak[v] * slope : whole * leak[v]);
        }
    }
}

static void NAME(integrate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P,
                            ptrdiff_t ldh, const real *mask, real *masked, const real *before, const real *integrated,
                            real *S, real *other)
{
    const real leak = (real)what->leak, keep = (real)(1 - what->leak);
    const int reads_input = fastbptt_reads_input(what->activation);
    ptrdiff_t t, i, n = rows * ldh;
    switch (P != NULL && mask == NULL && rows == 1 && n <= 2 * W && !reads_input
                ? TILE_NUMBER(1, (int)(n / W), NAME(parts_of_step)(H, 0, n / W)) : 0) {
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
        if (P != NULL)
            NAME(add_product)(rows, H, mask != NULL ? masked : before, ldh, P, ldh, S, ldh);
        if (what->form == FASTBPTT_RATE) {
            real *rate = reads_input ? S : other; /* the other of the two keeps A */
            memcpy(other, S, n * sizeof(real));
            NAME(activate)(what->activation, n, rate);
            if (what->leaks != NULL)
                NAME(mix_rows)(what, rows, ldh, before, rate, S);
            for (i = 0; i < (what->leaks != NULL ? 0 : n); i += W)
                STORE(S + i, NAME(mix)(LOAD(before + i), keep, LOAD(rate + i), leak));
        } else {
            if (what->leaks != NULL) {
                NAME(mix_rows)(what, rows, ldh, integrated, S, other);
                memcpy(S, other, n * sizeof(real));
            }
            for (i = 0; i < (what->leaks != NULL ? 0 : n); i += W) {
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
    switch (P != NULL && mask == NULL && rows == 1 && n <= 2 * W && !fastbptt_reads_input(what->activation)
                ? TILE_NUMBER(1, (int)(n / W), NAME(parts_of_step)(H, 0, n / W)) : 0) {
#define STATE(m, nv, parts) \
    case TILE_NUMBER(m, nv, parts): \
        NAME(integrate_back_row)(nv, parts, what, steps, H, P, R, later, dU, delta); \
        return;
        STATES_OF_ONE
#undef STATE
    }
    for (t = steps - 1; t >= 0; t--) {
        real *d = delta + t * n;
        if (P != NULL && later != NULL && mask == NULL)
            NAME(add_product)(rows, H, later, ldh, P, ldh, d, ldh);
        if (P != NULL && later != NULL && mask != NULL) {
            memset(masked, 0, n * sizeof(real));
            NAME(add_product)(rows, H, later, ldh, P, ldh, masked, ldh);
            for (i = 0; i < n; i += W)
                STORE(d + i, LOAD(d + i) + LOAD(masked + i) * LOAD(mask + i));
        }
        if (what->form != FASTBPTT_RATE)
            NAME(differentiate)(what->activation, n, R + t * n, d);
        if (what->leaks != NULL)
            NAME(mix_back_rows)(what, rows, ldh, dU, d);
        for (i = 0; i < (what->leaks != NULL ? 0 : n); i += W) {
            V whole = LOAD(d + i) + LOAD(dU + i) * keep;
            STORE(dU + i, whole);
            STORE(d + i, whole * leak);
        }
        if (what->form == FASTBPTT_RATE)
            NAME(differentiate)(what->activation, n, R + t * n, d);
        later = d;
    }
}
