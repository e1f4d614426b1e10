/* The checks of harness.c for one real type: BITS is 32 or 64.
 *
 * What is expected comes from the formulas, one number after another, in `truth`: double for float32, long double for
 * float64 (x87's, or quadruple precision on arm64; where it is no wider than double, what is expected has errors of its
 * own, for which SLACK makes room). An error is measured against the sum of the magnitudes that went in, and may be as
 * many rounding errors of it as there were operations.
 */

#if BITS == 32
#define real float
#define truth double
#define M(f) f
#define UNIT 0x1p-24
#define FRACTION 24
#define LOWEST_EXPONENT (-149)
#define SLACK 0
#define DOMAIN 110 /* exp is 0 below -this and infinite above */
#else
#define real double
#ifdef FASTBPTT_MEMCHECK
#define truth double
#define M(f) f
#else
#define truth long double
#define M(f) f##l
#endif
#define UNIT 0x1p-53
#define FRACTION 53
#define LOWEST_EXPONENT (-1074)
#define SLACK (sizeof(truth) > 8 && LDBL_MANT_DIG > 60 ? 0 : 1)
#define DOMAIN 760
#endif
#define verbs NAME(fastbptt_verbs)

/* ---- Arrays and comparisons */

static ptrdiff_t NAME(padded)(ptrdiff_t width, ptrdiff_t pad)
{
    return (width + pad - 1) / pad * pad;
}

static real *NAME(empty)(ptrdiff_t n)
{
    return new_block(n, sizeof(real));
}

/* (rows, width) random numbers, ld apart, guards between */
static real *NAME(numbers)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t ld, double low, double high)
{
    real *x = NAME(empty)(rows * ld);
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < width; j++)
            x[i * ld + j] = (real)uniform(low, high);
    return x;
}

static real *NAME(copied)(ptrdiff_t n, const real *from)
{
    real *x = NAME(empty)(n);
    memcpy(x, from, (size_t)n * sizeof(real));
    return x;
}

/* Whether `got` is `expected` within so many rounding errors of `magnitude` */
static void NAME(close)(int kind, real got, truth expected, truth magnitude, double errors, const char *name,
                        ptrdiff_t i, ptrdiff_t j)
{
    const truth off = M(fabs)((truth)got - expected), least = M(ldexp)(1, LOWEST_EXPONENT + 8);
    checks++;
    if (!(off <= errors * (1 + SLACK) * UNIT * magnitude + least))
        fail("%s[%d, %d] is %.17g, expected %.17g: off by %.3g, allowed %.3g", name, (int)i, (int)j, (double)got,
             (double)expected, (double)off, (double)(errors * UNIT * magnitude));
    if (magnitude > 0 && (double)(off / magnitude) > worst[kind])
        worst[kind] = (double)(off / magnitude);
}

static void NAME(same)(real got, real expected, const char *name, ptrdiff_t i, ptrdiff_t j)
{
    checks++;
    if (memcmp(&got, &expected, sizeof got) != 0)
        fail("%s[%d, %d] is %.17g, expected %.17g to the bit", name, (int)i, (int)j, (double)got, (double)expected);
}

static void NAME(is_nan)(real got, const char *name, ptrdiff_t i, ptrdiff_t j)
{
    checks++;
    if (got == got)
        fail("%s[%d, %d] is %.17g, expected NaN", name, (int)i, (int)j, (double)got);
}

/* Rows `first` ... `first + few` of a block of `rows`, (steps, few, ld), as a block of their own */
static real *NAME(part)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t ld, const real *x, ptrdiff_t first, ptrdiff_t few)
{
    real *y = NAME(empty)(steps * few * ld);
    ptrdiff_t t;
    for (t = 0; t < steps; t++)
        memcpy(y + t * few * ld, x + (t * rows + first) * ld, (size_t)(few * ld) * sizeof(real));
    return y;
}

static void NAME(same_part)(ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t ld, const real *whole,
                            ptrdiff_t first, ptrdiff_t few, const real *part)
{
    ptrdiff_t t, i, j;
    for (t = 0; t < steps; t++)
        for (i = 0; i < few; i++)
            for (j = 0; j < width; j++)
                NAME(same)(part[(t * few + i) * ld + j], whole[(t * rows + first + i) * ld + j],
                           "a row beside fewer rows", t * few + i, j);
}

/* ---- The formulas */

static truth NAME(g)(int activation, truth x)
{
    const truth e = M(exp)(-M(fabs)(x));
    switch ((enum fastbptt_activation)activation) {
    case FASTBPTT_TANH: return M(tanh)(x);
    case FASTBPTT_RELU: return x > 0 ? x : 0;
    case FASTBPTT_SIGMOID: return (x < 0 ? e : 1) / (1 + e);
    case FASTBPTT_SOFTPLUS: return (x > 0 ? x : 0) + M(log1p)(e);
    case FASTBPTT_LEAKY_RELU: return x > 0 ? x : x * (truth)FASTBPTT_LEAKY_SLOPE;
    case FASTBPTT_ELU: return x > 0 ? x : M(expm1)(x);
    case FASTBPTT_SOFTSIGN: return x / (1 + M(fabs)(x));
    case FASTBPTT_SILU: return x * ((x < 0 ? e : 1) / (1 + e));
    case FASTBPTT_GELU: return x * M(erfc)(-x * M(sqrt)((truth)0.5)) / 2;
    case FASTBPTT_IDENTITY: return x;
    case FASTBPTT_EXP: return M(exp)(x);
    case FASTBPTT_SOFTMAX: break; /* of a row: `outputs` */
    }
    return (truth)NAN;
}

/* What g' is a function of, at x */
static truth NAME(of_slope)(int activation, truth x)
{
    return fastbptt_reads_input(activation) ? x : NAME(g)(activation, x);
}

/* g'(x) where y is that: x or g(x) */
static truth NAME(g_prime)(int activation, truth y)
{
    const truth e = M(exp)(-M(fabs)(y));
    switch ((enum fastbptt_activation)activation) {
    case FASTBPTT_TANH: return (1 - y) * (1 + y);
    case FASTBPTT_RELU: return y > 0;
    case FASTBPTT_SIGMOID: return y - y * y;
    case FASTBPTT_SOFTPLUS: return 1 - M(exp)(-y);
    case FASTBPTT_LEAKY_RELU: return y > 0 ? 1 : (truth)FASTBPTT_LEAKY_SLOPE;
    case FASTBPTT_ELU: return y > 0 ? 1 : 1 + y;
    case FASTBPTT_SOFTSIGN: return M(pow)(1 - M(fabs)(y), 2);
    case FASTBPTT_SILU: return (y < 0 ? e : 1) / (1 + e) * (1 + y * (y < 0 ? 1 : e) / (1 + e));
    case FASTBPTT_GELU:
        return M(erfc)(-y * M(sqrt)((truth)0.5)) / 2 + y * M(exp)(-y * y / 2) / M(sqrt)(8 * M(atan)((truth)1));
    case FASTBPTT_IDENTITY: return 1;
    case FASTBPTT_EXP: return y;
    case FASTBPTT_SOFTMAX: break;
    }
    return (truth)NAN;
}

/* base + Σ_k a[k] W[k, n]; their magnitudes are put into `magnitude` */
static truth NAME(dot)(truth base, ptrdiff_t K, const real *a, const real *W, ptrdiff_t stride_k, truth *magnitude)
{
    truth sum = base;
    ptrdiff_t k;
    *magnitude = M(fabs)(base);
    for (k = 0; k < K; k++) {
        const truth term = (truth)a[k] * W[k * stride_k];
        sum += term;
        *magnitude += M(fabs)(term);
    }
    return sum;
}

/* ---- Products */

static real *NAME(pack)(const verbs *v, ptrdiff_t K, ptrdiff_t N, const real *W, int transposed, ptrdiff_t ldp)
{
    real *P = NAME(empty)(K * ldp);
    v->pack(K, N, W, transposed ? 1 : N, transposed ? K : 1, P, ldp);
    return P;
}

/* Compute C = A @ P + b, or with `before` C = before + A @ P. */
static void NAME(multiply)(const verbs *v, ptrdiff_t rows, ptrdiff_t K, ptrdiff_t N, const real *A, ptrdiff_t lda, const real *P,
                           ptrdiff_t ldp, const real *b, const real *before, real *C)
{
    if (before == NULL) {
        v->affine(rows, K, N, A, lda, P, ldp, b, C, ldp);
        return;
    }
    memcpy(C, before, rows * ldp * sizeof(real));
    v->add_product(rows, K, A, lda, P, ldp, C, ldp);
}

/* `affine`, with a bias or without, or `add_product`, for all rows and for some of them, which have the same bits */
static void NAME(check_product)(const verbs *v, ptrdiff_t pad, ptrdiff_t K, ptrdiff_t N, int transposed, int biased, int added)
{
    const ptrdiff_t lda = NAME(padded)(K, pad), ldp = NAME(padded)(N, pad);
    const real *W = NAME(numbers)(1, K * N, K * N, -1, 1), *A = NAME(numbers)(MOST_ROWS, K, lda, -1, 1), *P, *A_few;
    const real *b = biased ? NAME(numbers)(1, N, N, -1, 1) : NULL;
    const real *before = added ? NAME(numbers)(MOST_ROWS, N, ldp, -1, 1) : NULL;
    const char *verb = added ? "add_product" : "affine";
    real *C, *C_few;
    ptrdiff_t i, n, few, first;
    truth magnitude, expected;
    seal();
    P = NAME(pack)(v, K, N, W, transposed, ldp);
    seal();
    C = NAME(empty)(MOST_ROWS * ldp);
    at("%s float%d %s rows=%d K=%d N=%d transposed=%d bias=%d", set, BITS, verb, MOST_ROWS, (int)K, (int)N, transposed, biased);
    NAME(multiply)(v, MOST_ROWS, K, N, A, lda, P, ldp, b, before, C);
    for (i = 0; i < MOST_ROWS; i++)
        for (n = 0; n < N; n++) {
            expected = NAME(dot)(added ? before[i * ldp + n] : biased ? b[n] : 0, K, A + i * lda, W + n * (transposed ? K : 1),
                                 transposed ? 1 : N, &magnitude);
            NAME(close)(PRODUCTS, C[i * ldp + n], expected, magnitude, (double)K + 1, "C", i, n);
        }
    for (few = 1; few < MOST_ROWS; few++) {
        const int keep = block_count;
        at("%s float%d %s rows=%d K=%d N=%d transposed=%d bias=%d", set, BITS, verb, (int)few, (int)K, (int)N, transposed, biased);
        first = below(MOST_ROWS - few + 1);
        A_few = NAME(part)(1, MOST_ROWS, lda, A, first, few);
        C_few = NAME(empty)(few * ldp);
        NAME(multiply)(v, few, K, N, A_few, lda, P, ldp, b, added ? before + first * ldp : NULL, C_few);
        NAME(same_part)(1, MOST_ROWS, N, ldp, C, first, few, C_few);
        release(keep);
    }
    release(0);
}

static void NAME(check_recur)(const verbs *v, ptrdiff_t pad, int activation, ptrdiff_t H)
{
    const ptrdiff_t steps = 3, ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh;
    const double scale = 2 / sqrt((double)H);
    const real *W = NAME(numbers)(H, H, H, -scale, scale), *before, *elsewhere, *P;
    real *S, *S_few, *A;
    ptrdiff_t t, i, j, few, first;
    truth magnitude, expected;
    before = NAME(numbers)((steps + 1) * MOST_ROWS, H, ldh, -1.5, 1.5);
    seal();
    P = NAME(pack)(v, H, H, W, 1, ldh);
    seal();
    at("%s float%d recur %s rows=%d H=%d", set, BITS, fastbptt_activations[activation].name, MOST_ROWS, (int)H);
    S = NAME(copied)((steps + 1) * n, before);
    A = fastbptt_reads_input(activation) ? NAME(empty)(steps * n) : NULL;
    v->recur(activation, steps, MOST_ROWS, H, P, ldh, S, S + n, A);
    for (i = 0; i < n; i++)
        if (i % ldh < H)
            NAME(same)(S[i], before[i], "S[0]", i / ldh, i % ldh);
    for (t = 0; t < steps; t++)
        for (i = t * MOST_ROWS; i < (t + 1) * MOST_ROWS; i++)
            for (j = 0; j < H; j++) { /* from the states that the verb found: errors do not add up */
                const ptrdiff_t next = (i + MOST_ROWS) * ldh + j;
                expected = NAME(dot)(before[next], H, S + i * ldh, W + j * H, 1, &magnitude);
                if (A != NULL)
                    NAME(close)(RECURRENCES, A[i * ldh + j], expected, magnitude, (double)H + 1, "A", i, j);
                expected = NAME(g)(activation, expected);
                NAME(close)(RECURRENCES, S[next], expected, magnitude + M(fabs)(expected), (double)H + 6, "S",
                            i + MOST_ROWS, j);
            }
    for (few = 1; few < MOST_ROWS; few++) {
        const int keep = block_count;
        at("%s float%d recur %s rows=%d H=%d", set, BITS, fastbptt_activations[activation].name, (int)few, (int)H);
        first = below(MOST_ROWS - few + 1);
        S_few = NAME(part)(steps + 1, MOST_ROWS, ldh, before, first, few);
        v->recur(activation, steps, few, H, P, ldh, S_few, S_few + few * ldh, NULL);
        NAME(same_part)(steps + 1, MOST_ROWS, H, ldh, S, first, few, S_few);
        elsewhere = NAME(copied)(few * ldh, S_few); /* the state before the first step need not stand before it */
        S_few = NAME(part)(steps, MOST_ROWS, ldh, before + n, first, few);
        v->recur(activation, steps, few, H, P, ldh, elsewhere, S_few, NULL);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, S + n, first, few, S_few);
        release(keep);
    }
    at("%s float%d recur %s rows=%d H=%d from zero", set, BITS, fastbptt_activations[activation].name, MOST_ROWS, (int)H);
    S = NAME(copied)(steps * n, before + n);
    v->recur(activation, steps, MOST_ROWS, H, P, ldh, NAME(numbers)(MOST_ROWS, H, ldh, 0, 0), S, NULL);
    S_few = NAME(copied)(steps * n, before + n);
    v->recur(activation, steps, MOST_ROWS, H, P, ldh, NULL, S_few, NULL);
    NAME(same_part)(steps, MOST_ROWS, H, ldh, S, 0, MOST_ROWS, S_few);
    S_few = NAME(copied)(ldh, before + n);
    v->recur(activation, 1, 1, H, NULL, ldh, NULL, S_few, NULL);
    NAME(same_part)(1, MOST_ROWS, H, ldh, S, 0, 1, S_few);
    release(0);
}

/* Many rows of few numbers, which go through the activation side by side, and each by itself */
static void NAME(check_many_rows)(const verbs *v, ptrdiff_t pad, int activation, ptrdiff_t H)
{
    const ptrdiff_t ldh = NAME(padded)(H, pad), rows = 32 * ldh + 1;
    const real *before = NAME(numbers)(rows, H, ldh, -1.5, 1.5);
    real *S, *S_one;
    ptrdiff_t i;
    seal();
    at("%s float%d recur %s rows=%d H=%d", set, BITS, fastbptt_activations[activation].name, (int)rows, (int)H);
    S = NAME(copied)(rows * ldh, before);
    v->recur(activation, 1, rows, H, NULL, ldh, NULL, S, NULL);
    for (i = 0; i < rows; i++) {
        const int keep = block_count;
        S_one = NAME(part)(1, rows, ldh, before, i, 1);
        v->recur(activation, 1, 1, H, NULL, ldh, NULL, S_one, NULL);
        NAME(same_part)(1, rows, H, ldh, S, i, 1, S_one);
        release(keep);
    }
    release(0);
}

/* Where everything added to -0 is -0, so is the sum: no rows may differ by a zero's sign from what they are beside others. */
static void NAME(check_sign_of_zero)(const verbs *v, ptrdiff_t pad, ptrdiff_t rows, ptrdiff_t H)
{
    const ptrdiff_t ldh = NAME(padded)(H, pad), n = rows * ldh;
    real *W = NAME(numbers)(H, H, H, 0, 0), *R = NAME(numbers)(rows, H, ldh, 0, 0), *P, *S, *delta;
    const real *later = NAME(numbers)(rows, H, ldh, 1, 1);
    ptrdiff_t i;
    for (i = 0; i < H * H; i++)
        W[i] = (real)-0.0;
    P = NAME(pack)(v, H, H, W, 1, ldh);
    S = NAME(numbers)(2 * rows, H, ldh, 1, 1);
    delta = NAME(numbers)(rows, H, ldh, 0, 0);
    for (i = 0; i < n; i++)
        S[n + i] = delta[i] = (real)-0.0;
    v->recur(FASTBPTT_TANH, 1, rows, H, P, ldh, S, S + n, NULL);
    v->recur_back(FASTBPTT_TANH, 1, rows, H, P, ldh, R, later, delta);
    at("%s float%d sign of zero rows=%d H=%d", set, BITS, (int)rows, (int)H);
    for (i = 0; i < n; i++)
        if (ZERO_SIGNS && i % ldh < H && !(signbit(S[n + i]) && signbit(delta[i])))
            fail("S or delta is 0, expected -0");
    release(0);
}

static void NAME(check_recur_back)(const verbs *v, ptrdiff_t pad, int activation, ptrdiff_t H, int with_later)
{
    const ptrdiff_t steps = 3, ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh;
    const double scale = 2 / sqrt((double)H);
    const real *W = NAME(numbers)(H, H, H, -scale, scale), *before, *P, *R_few, *later_few;
    real *R = NAME(empty)(steps * n), *delta, *delta_few;
    const real *later = with_later ? NAME(numbers)(MOST_ROWS, H, ldh, -1, 1) : NULL;
    ptrdiff_t t, i, j, few, first;
    truth magnitude, expected;
    before = NAME(numbers)(steps * MOST_ROWS, H, ldh, -1, 1);
    for (i = 0; i < steps * MOST_ROWS; i++)
        for (j = 0; j < H; j++)
            R[i * ldh + j] = (real)NAME(of_slope)(activation, below(8) ? uniform(-3, 3) : 0);
    seal();
    P = NAME(pack)(v, H, H, W, 0, ldh);
    seal();
    at("%s float%d recur_back %s rows=%d H=%d later=%d", set, BITS, fastbptt_activations[activation].name, MOST_ROWS, (int)H,
       with_later);
    delta = NAME(copied)(steps * n, before);
    v->recur_back(activation, steps, MOST_ROWS, H, P, ldh, R, later, delta);
    for (t = 0; t < steps; t++)
        for (i = 0; i < MOST_ROWS; i++)
            for (j = 0; j < H; j++) {
                const ptrdiff_t k = t * n + i * ldh + j;
                const real *next = t + 1 < steps ? delta + (t + 1) * n : later;
                expected = before[k];
                magnitude = M(fabs)(expected);
                if (next != NULL)
                    expected = NAME(dot)(expected, H, next + i * ldh, W + j, H, &magnitude);
                NAME(close)(RECURRENCES, delta[k], expected * NAME(g_prime)(activation, R[k]), magnitude, (double)H + 6,
                            "delta", t * MOST_ROWS + i, j);
            }
    for (few = 1; few < MOST_ROWS; few++) {
        const int keep = block_count;
        at("%s float%d recur_back %s rows=%d H=%d later=%d", set, BITS, fastbptt_activations[activation].name, (int)few, (int)H,
           with_later);
        first = below(MOST_ROWS - few + 1);
        R_few = NAME(part)(steps, MOST_ROWS, ldh, R, first, few);
        later_few = later != NULL ? NAME(part)(1, MOST_ROWS, ldh, later, first, few) : NULL;
        delta_few = NAME(part)(steps, MOST_ROWS, ldh, before, first, few);
        v->recur_back(activation, steps, few, H, P, ldh, R_few, later_few, delta_few);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, delta, first, few, delta_few);
        release(keep);
    }
    release(0);
}

/* What W_s reads of a row, mask * x */
static const real *NAME(read_by)(ptrdiff_t H, const real *mask, const real *x, real *product)
{
    ptrdiff_t j;
    if (mask == NULL)
        return x;
    for (j = 0; j < H; j++)
        product[j] = mask[j] * x[j];
    return product;
}

static void NAME(check_integrate)(const verbs *v, ptrdiff_t pad, int activation, int form, ptrdiff_t H, int with_mask)
{
    const ptrdiff_t steps = 3, ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh;
    const double scale = 2 / sqrt((double)H);
    const int each = below(2); /* whether units have separate leaks */
    const real *leaks = NAME(numbers)(1, H, ldh, 0.05, 1), *keeps = NAME(numbers)(1, H, ldh, 0, 0.95);
    const fastbptt_units what = {activation, form, 0.3, each ? leaks : NULL, each ? keeps : NULL};
    const truth leak = (real)what.leak, keep = (real)(1 - what.leak);
    const real *W = NAME(numbers)(H, H, H, -scale, scale), *before = NAME(numbers)(MOST_ROWS, H, ldh, -1, 1);
    const real *integrated = form == FASTBPTT_CURRENT ? NAME(numbers)(MOST_ROWS, H, ldh, -1.5, 1.5) : NULL;
    const real *start = NAME(numbers)(steps * MOST_ROWS, H, ldh, -1.5, 1.5), *P;
    const real *mask = with_mask ? NAME(numbers)(MOST_ROWS, H, ldh, 0, 2) : NULL;
    real *masked, *product, *S, *other;
    ptrdiff_t t, i, j, few, first;
    seal();
    P = NAME(pack)(v, H, H, W, 1, ldh);
    seal();
    masked = NAME(empty)(n);
    product = NAME(empty)(H);
    at("%s float%d integrate %s form=%d rows=%d H=%d mask=%d", set, BITS, fastbptt_activations[activation].name, form, MOST_ROWS, (int)H,
       with_mask);
    S = NAME(copied)(steps * n, start);
    other = NAME(empty)(steps * n);
    v->integrate(&what, steps, MOST_ROWS, H, P, ldh, mask, masked, before, integrated, S, other);
    for (t = 0; t < steps; t++)
        for (i = 0; i < MOST_ROWS; i++) {
            const ptrdiff_t row = t * n + i * ldh;
            const real *last = t > 0 ? S + row - n : before + i * ldh; /* as the verb found it: errors do not add up */
            const real *U = form == FASTBPTT_RATE ? last : t > 0 ? other + row - n : integrated + i * ldh;
            const real *factors = NAME(read_by)(H, with_mask ? mask + i * ldh : NULL, last, product);
            for (j = 0; j < H; j++) {
                truth magnitude, a = NAME(dot)(start[row + j], H, factors, W + j * H, 1, &magnitude);
                truth rate = form == FASTBPTT_RATE ? NAME(g)(activation, a) : NAME(g)(activation, other[row + j]);
                truth state = (each ? keeps[j] : keep) * U[j] + (each ? leaks[j] : leak) * (form == FASTBPTT_RATE ? rate : a);
                magnitude += M(fabs)(U[j]) + M(fabs)(rate) + M(fabs)(state);
                NAME(close)(RECURRENCES, form == FASTBPTT_RATE ? other[row + j] : S[row + j],
                            form == FASTBPTT_RATE && fastbptt_reads_input(activation) ? a : rate, magnitude, (double)H + 8,
                            "the rate, or what is kept in place of it", t * MOST_ROWS + i, j);
                NAME(close)(RECURRENCES, form == FASTBPTT_RATE ? S[row + j] : other[row + j], state, magnitude,
                            (double)H + 8, "the state", t * MOST_ROWS + i, j);
            }
        }
    for (few = 1; few <= MOST_ROWS && !with_mask; few += MOST_ROWS - 1) { /* a step whose product is already there */
        const int keep_blocks = block_count;
        real *S_one = NAME(copied)(few * ldh, start), *other_one = NAME(empty)(few * ldh);
        v->add_product(few, H, before, ldh, P, ldh, S_one, ldh);
        v->integrate(&what, 1, few, H, NULL, ldh, NULL, NULL, before, integrated, S_one, other_one);
        NAME(same_part)(1, MOST_ROWS, H, ldh, S, 0, few, S_one);
        NAME(same_part)(1, MOST_ROWS, H, ldh, other, 0, few, other_one);
        release(keep_blocks);
    }
    for (few = 1; few < MOST_ROWS; few++) {
        const int keep_blocks = block_count;
        const real *before_few, *integrated_few = NULL, *mask_few = NULL;
        real *masked_few = NAME(empty)(few * ldh), *S_few, *other_few = NAME(empty)(steps * few * ldh);
        at("%s float%d integrate %s form=%d rows=%d H=%d mask=%d", set, BITS, fastbptt_activations[activation].name, form, (int)few, (int)H,
           with_mask);
        first = below(MOST_ROWS - few + 1);
        before_few = NAME(part)(1, MOST_ROWS, ldh, before, first, few);
        if (integrated != NULL)
            integrated_few = NAME(part)(1, MOST_ROWS, ldh, integrated, first, few);
        if (mask != NULL)
            mask_few = NAME(part)(1, MOST_ROWS, ldh, mask, first, few);
        S_few = NAME(part)(steps, MOST_ROWS, ldh, start, first, few);
        v->integrate(&what, steps, few, H, P, ldh, mask_few, masked_few, before_few, integrated_few, S_few, other_few);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, S, first, few, S_few);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, other, first, few, other_few);
        release(keep_blocks);
    }
    release(0);
}

static void NAME(check_integrate_back)(const verbs *v, ptrdiff_t pad, int activation, int form, ptrdiff_t H, int with_mask,
                                       int with_later)
{
    const ptrdiff_t steps = 3, ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh;
    const double scale = 1 / sqrt((double)H);
    const int each = below(2); /* whether units have separate leaks */
    const real *leaks = NAME(numbers)(1, H, ldh, 0.05, 1), *keeps = NAME(numbers)(1, H, ldh, 0, 0.95);
    const fastbptt_units what = {activation, form, 0.3, each ? leaks : NULL, each ? keeps : NULL};
    const truth leak = (real)what.leak, keep = (real)(1 - what.leak);
    const real *W = NAME(numbers)(H, H, H, -scale, scale), *before = NAME(numbers)(steps * MOST_ROWS, H, ldh, -1, 1);
    const real *dU_before = NAME(numbers)(MOST_ROWS, H, ldh, -1, 1), *P;
    const real *later = with_later ? NAME(numbers)(MOST_ROWS, H, ldh, -1, 1) : NULL;
    const real *mask = with_mask ? NAME(numbers)(MOST_ROWS, H, ldh, 0, 2) : NULL;
    real *R = NAME(empty)(steps * n), *delta, *dU, *masked;
    ptrdiff_t t, i, j, few, first;
    for (i = 0; i < steps * MOST_ROWS; i++)
        for (j = 0; j < H; j++)
            R[i * ldh + j] = (real)NAME(of_slope)(activation, uniform(-3, 3));
    seal();
    P = NAME(pack)(v, H, H, W, 0, ldh);
    seal();
    at("%s float%d integrate_back %s form=%d rows=%d H=%d mask=%d later=%d", set, BITS, fastbptt_activations[activation].name, form,
       MOST_ROWS, (int)H, with_mask, with_later);
    delta = NAME(copied)(steps * n, before);
    dU = NAME(copied)(n, dU_before);
    masked = NAME(empty)(n);
    v->integrate_back(&what, steps, MOST_ROWS, H, P, ldh, mask, masked, R, later, dU, delta);
    for (i = 0; i < MOST_ROWS; i++)
        for (j = 0; j < H; j++) {
            truth whole = with_later ? dU_before[i * ldh + j] : 0, all = M(fabs)(whole); /* dU of the step after */
            for (t = steps - 1; t >= 0; t--) {
                const ptrdiff_t k = t * n + i * ldh + j;
                const real *next = t + 1 < steps ? delta + (t + 1) * n : later;
                const truth slope = NAME(g_prime)(activation, R[k]);
                truth magnitude = 0, q = next != NULL ? NAME(dot)(0, H, next + i * ldh, W + j, H, &magnitude) : 0;
                if (with_mask)
                    q *= mask[i * ldh + j], magnitude *= mask[i * ldh + j];
                magnitude += M(fabs)(before[k]);
                whole = (before[k] + q) * (form == FASTBPTT_CURRENT ? slope : 1) + (each ? keeps[j] : keep) * whole;
                all += magnitude * (form == FASTBPTT_CURRENT ? M(fabs)(slope) + 1 : 1);
                NAME(close)(RECURRENCES, delta[k], (each ? leaks[j] : leak) * whole * (form == FASTBPTT_RATE ? slope : 1), all,
                            (double)H + 12, "delta", t * MOST_ROWS + i, j);
            }
            NAME(close)(RECURRENCES, dU[i * ldh + j], whole, all, (double)H + 12, "dU", i, j);
        }
    for (few = 1; few <= MOST_ROWS && !with_mask && with_later; few += MOST_ROWS - 1) { /* likewise, the last step */
        const int keep_blocks = block_count;
        const ptrdiff_t last = (steps - 1) * n;
        real *delta_one = NAME(copied)(few * ldh, before + last), *dU_one = NAME(copied)(few * ldh, dU_before);
        v->add_product(few, H, later, ldh, P, ldh, delta_one, ldh);
        v->integrate_back(&what, 1, few, H, NULL, ldh, NULL, NULL, R + last, later, dU_one, delta_one);
        NAME(same_part)(1, MOST_ROWS, H, ldh, delta + last, 0, few, delta_one);
        release(keep_blocks);
    }
    for (few = 1; few < MOST_ROWS; few++) {
        const int keep_blocks = block_count;
        const real *R_few, *later_few = NULL, *mask_few = NULL;
        real *delta_few, *dU_few, *masked_few = NAME(empty)(few * ldh);
        at("%s float%d integrate_back %s form=%d rows=%d H=%d mask=%d later=%d", set, BITS, fastbptt_activations[activation].name, form,
           (int)few, (int)H, with_mask, with_later);
        first = below(MOST_ROWS - few + 1);
        R_few = NAME(part)(steps, MOST_ROWS, ldh, R, first, few);
        if (later != NULL)
            later_few = NAME(part)(1, MOST_ROWS, ldh, later, first, few);
        if (mask != NULL)
            mask_few = NAME(part)(1, MOST_ROWS, ldh, mask, first, few);
        delta_few = NAME(part)(steps, MOST_ROWS, ldh, before, first, few);
        dU_few = NAME(part)(1, MOST_ROWS, ldh, dU_before, first, few);
        v->integrate_back(&what, steps, few, H, P, ldh, mask_few, masked_few, R_few, later_few, dU_few, delta_few);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, delta, first, few, delta_few);
        NAME(same_part)(1, MOST_ROWS, H, ldh, dU, first, few, dU_few);
        release(keep_blocks);
    }
    release(0);
}

static void NAME(check_leaky_units)(const verbs *v, ptrdiff_t pad)
{
    static const ptrdiff_t states[] = {1, 3, 4, 7, 8, 12, 16, 17, 24, 33};
    ptrdiff_t i;
    int form, mask, activation, cases = 0;
    for (i = 0; i < LENGTH(states); i++)
        for (form = FASTBPTT_RATE; form <= FASTBPTT_CURRENT; form++)
            for (mask = 0; mask < 2; mask++) {
                activation = hidden_activation(cases++);
                NAME(check_integrate)(v, pad, activation, form, states[i], mask);
                NAME(check_integrate_back)(v, pad, activation, form, states[i], mask, 0);
                NAME(check_integrate_back)(v, pad, activation, form, states[i], mask, 1);
            }
}

/* ---- Cells of several gates: W is (gates H, H), and a block has ldh numbers for each slot */

/* W packed for `gate`: all gates at a time, each with zeros in its padding; one that is GATED by itself */
static real *NAME(pack_gates)(const verbs *v, int form, ptrdiff_t H, ptrdiff_t ldh, const real *W)
{
    const ptrdiff_t gates = cell_of(form)->gates, others = gates - (cell_of(form)->product == FASTBPTT_GATED);
    real *slots = NAME(empty)(gates * ldh * H), *P = NAME(empty)(gates * ldh * H);
    ptrdiff_t g;
    memset(slots, 0, (size_t)(gates * ldh * H) * sizeof(real));
    for (g = 0; g < gates; g++)
        memcpy(slots + g * ldh * H, W + g * H * H, (size_t)(H * H) * sizeof(real));
    v->pack(H, others * ldh, slots, 1, H, P, others * ldh);
    if (others < gates)
        v->pack(H, ldh, slots + others * ldh * H, 1, H, P + others * ldh * H, ldh);
    return P;
}

/* W packed for `gate_back`: all gates at a time if rows have no padding, else one by one; one that is GATED by itself */
static real *NAME(pack_back)(const verbs *v, int form, ptrdiff_t H, ptrdiff_t ldh, const real *W)
{
    const ptrdiff_t gates = cell_of(form)->gates, others = gates - (cell_of(form)->product == FASTBPTT_GATED);
    real *P = NAME(empty)(gates * H * ldh);
    ptrdiff_t g = 0, n;
    for (; g < gates; g += n) {
        n = H < ldh || g == others ? 1 : others - g;
        v->pack(n * H, H, W + g * H * H, H, 1, P + g * H * ldh, ldh);
    }
    return P;
}

/* (rows, slots ldh) random numbers in the first `slots` slots, 0 in their paddings */
static real *NAME(in_slots)(ptrdiff_t rows, ptrdiff_t slots, ptrdiff_t H, ptrdiff_t ldh, ptrdiff_t ld, double low, double high)
{
    real *x = NAME(empty)(rows * ld);
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < slots * ldh; j++)
            x[i * ld + j] = j % ldh < H ? (real)uniform(low, high) : 0;
    return x;
}

static truth NAME(sigmoid)(truth x)
{
    return NAME(g)(FASTBPTT_SIGMOID, x);
}

/* What one unit saves at one step, its state and its second carry. a and m are the pre-activations of its gates with their
 * magnitudes, the last one without the product if that is APART, which is then in `apart`. */
static void NAME(gated_unit)(int activation, int form, const truth *a, const truth *m, truth apart, truth m_apart, truth last,
                             truth carried, truth *saves, truth *bounds, truth *state, truth *carry, truth *bound)
{
    switch ((enum fastbptt_form)form) {
    case FASTBPTT_GRU:
    case FASTBPTT_GRU_BEFORE: {
        const int after = form == FASTBPTT_GRU;
        const truth r = NAME(sigmoid)(a[0]), z = NAME(sigmoid)(a[1]);
        const truth n = NAME(g)(activation, a[2] + (after ? r * apart : 0));
        const truth m_n = m[2] + M(fabs)(n) + (after ? m_apart + M(fabs)(apart) * (m[0] + 1) : 0);
        const truth gates[] = {r, z}, of_gates[] = {m[0] + 1, m[1] + 1};
        memcpy(saves + (after ? 1 : 0), gates, sizeof gates);
        memcpy(bounds + (after ? 1 : 0), of_gates, sizeof of_gates);
        saves[after ? 0 : 2] = n;
        bounds[after ? 0 : 2] = m_n;
        if (after) {
            saves[3] = apart;
            bounds[3] = m_apart;
        }
        *state = n + z * (last - n);
        *bound = m_n + M(fabs)(last) + M(fabs)(last - n) * (m[1] + 1);
        return;
    }
    case FASTBPTT_LSTM: {
        const truth i = NAME(sigmoid)(a[0]), f = NAME(sigmoid)(a[1]), g = NAME(g)(activation, a[2]), o = NAME(sigmoid)(a[3]);
        const truth c = f * carried + i * g, r = NAME(g)(activation, c);
        const truth m_g = m[2] + M(fabs)(g), m_c = M(fabs)(carried) * (m[1] + 1) + M(fabs)(g) * (m[0] + 1) + m_g;
        const truth all[] = {i, f, g, o, r, carried}, of_all[] = {m[0] + 1, m[1] + 1, m_g, m[3] + 1, m_c + M(fabs)(r), 0};
        memcpy(saves, all, sizeof all);
        memcpy(bounds, of_all, sizeof of_all);
        *carry = c;
        *state = o * r;
        *bound = m_c + M(fabs)(r) * (m[3] + 2);
        return;
    }
    case CELLS_OF_ONE_GATE: break;
    }
    fail("there are no formulas of cell %d", form);
}

static void NAME(check_gate)(const verbs *v, ptrdiff_t pad, int activation, int form, ptrdiff_t H, ptrdiff_t steps, int with_mask)
{
    const struct fastbptt_cell_row *cell = cell_of(form);
    const int apart = cell->product == FASTBPTT_APART, gated = cell->product == FASTBPTT_GATED, carries = cell->carries > 1;
    const ptrdiff_t ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh, G = cell->gates, lds = cell->saves * ldh;
    const double scale = 2 / sqrt((double)H);
    const fastbptt_units what = {activation, form, 1};
    const real *W = NAME(numbers)(G * H, H, H, -scale, scale), *before = NAME(numbers)(MOST_ROWS, H, ldh, -1, 1), *P;
    const real *carry_before = carries ? NAME(numbers)(MOST_ROWS, H, ldh, -1.5, 1.5) : NULL;
    const real *b_n = NAME(in_slots)(1, 1, H, ldh, ldh, -1, 1);
    const real *start = NAME(in_slots)(steps * MOST_ROWS, G, H, ldh, lds, -1.5, 1.5);
    const real *mask = with_mask ? NAME(numbers)(MOST_ROWS, H, ldh, 0, 2) : NULL;
    real *masked, *product, *gated_product, *S, *carry, *saves;
    ptrdiff_t t, i, j, k, g, few, first;
    seal();
    P = NAME(pack_gates)(v, form, H, ldh, W);
    seal();
    masked = NAME(empty)(2 * n);
    product = NAME(empty)(H);
    gated_product = NAME(empty)(H);
    at("%s float%d gate %s %s steps=%d rows=%d H=%d mask=%d", set, BITS, cell->name, fastbptt_activations[activation].name, (int)steps,
       MOST_ROWS, (int)H, with_mask);
    S = NAME(empty)(steps * n);
    carry = carries ? NAME(empty)(steps * n) : NULL;
    saves = NAME(copied)(steps * MOST_ROWS * lds, start);
    v->gate(&what, steps, MOST_ROWS, H, P, ldh, b_n, mask, masked, before, carry_before, S, carry, saves);
    for (t = 0; t < steps; t++)
        for (i = 0; i < MOST_ROWS; i++) {
            const ptrdiff_t row = t * n + i * ldh;
            const real *last = t > 0 ? S + row - n : before + i * ldh; /* as the verb found it: errors do not add up */
            const real *carried = !carries ? NULL : t > 0 ? carry + row - n : carry_before + i * ldh;
            const real *given = start + (t * MOST_ROWS + i) * lds, *got = saves + (t * MOST_ROWS + i) * lds;
            const real *factors = NAME(read_by)(H, with_mask ? mask + i * ldh : NULL, last, product);
            for (k = 0; k < H; k++)
                gated_product[k] = got[k] * factors[k];
            for (j = 0; j < H; j++) {
                truth a[4], m[4], kept[6], bounds[6], state = 0, memory = 0, bound = 0, P_n = 0, m_n = 0;
                for (g = 0; g < G; g++) {
                    const real *row_of_W = W + (g * H + j) * H;
                    a[g] = given[slot_of(form, g) * ldh + j];
                    m[g] = M(fabs)(a[g]);
                    if (apart && g == G - 1)
                        P_n = NAME(dot)(b_n[j], H, factors, row_of_W, 1, &m_n);
                    else
                        a[g] = NAME(dot)(a[g], H, gated && g == G - 1 ? gated_product : factors, row_of_W, 1, &m[g]);
                }
                NAME(gated_unit)(activation, form, a, m, P_n, m_n, last[j], carries ? carried[j] : 0, kept, bounds, &state,
                                 &memory, &bound);
                for (k = 0; k < cell->saves; k++)
                    NAME(close)(RECURRENCES, got[k * ldh + j], kept[k], bounds[k], (double)H + 12, "saves", k, j);
                NAME(close)(RECURRENCES, S[row + j], state, bound, (double)H + 16, "the state", t * MOST_ROWS + i, j);
                if (carries)
                    NAME(close)(RECURRENCES, carry[row + j], memory, bound, (double)H + 16, "the second carry", t * MOST_ROWS + i, j);
            }
        }
    for (few = 1; few < MOST_ROWS; few += 1 + few / 4) {
        const int keep_blocks = block_count;
        const real *before_few, *carry_before_few = NULL, *mask_few = NULL;
        real *masked_few = NAME(empty)(2 * few * ldh), *S_few = NAME(empty)(steps * few * ldh), *saves_few;
        real *carry_few = carries ? NAME(empty)(steps * few * ldh) : NULL;
        at("%s float%d gate %s %s steps=%d rows=%d H=%d mask=%d", set, BITS, cell->name, fastbptt_activations[activation].name,
           (int)steps, (int)few, (int)H, with_mask);
        first = below(MOST_ROWS - few + 1);
        before_few = NAME(part)(1, MOST_ROWS, ldh, before, first, few);
        if (carries)
            carry_before_few = NAME(part)(1, MOST_ROWS, ldh, carry_before, first, few);
        if (mask != NULL)
            mask_few = NAME(part)(1, MOST_ROWS, ldh, mask, first, few);
        saves_few = NAME(part)(steps, MOST_ROWS, lds, start, first, few);
        v->gate(&what, steps, few, H, P, ldh, b_n, mask_few, masked_few, before_few, carry_before_few, S_few, carry_few, saves_few);
        NAME(same_part)(steps, MOST_ROWS, H, ldh, S, first, few, S_few);
        if (carries)
            NAME(same_part)(steps, MOST_ROWS, H, ldh, carry, first, few, carry_few);
        for (k = 0; k < cell->saves; k++)
            NAME(same_part)(steps, MOST_ROWS, H, lds, saves + k * ldh, first, few, saves_few + k * ldh);
        release(keep_blocks);
    }
    release(0);
}

/* The gradients of one unit's pre-activations, by its slots, from dh, ∂E/∂S without what goes back directly, and from `direct`,
 * which becomes that of this step. `back` is what comes back through a GATED product. Each bound is of all that went in. */
static void NAME(gated_unit_back)(int activation, int form, const real *s, ptrdiff_t ldh, truth before, truth dh, truth back,
                                  truth *direct, truth *delta)
{
    switch ((enum fastbptt_form)form) {
    case FASTBPTT_GRU: {
        const truth n = s[0], r = s[ldh], z = s[2 * ldh], hn = s[3 * ldh], whole = dh + *direct;
        delta[0] = whole * (1 - z) * NAME(g_prime)(activation, n);
        delta[1] = delta[0] * hn * r * (1 - r);
        delta[2] = whole * (before - n) * z * (1 - z);
        delta[3] = delta[0] * r;
        *direct = whole * z;
        return;
    }
    case FASTBPTT_GRU_BEFORE: {
        const truth r = s[0], z = s[ldh], n = s[2 * ldh], whole = dh + *direct;
        delta[0] = back * before * r * (1 - r);
        delta[1] = whole * (before - n) * z * (1 - z);
        delta[2] = whole * (1 - z) * NAME(g_prime)(activation, n);
        *direct = whole * z + back * r;
        return;
    }
    case FASTBPTT_LSTM: {
        const truth i = s[0], f = s[ldh], g = s[2 * ldh], o = s[3 * ldh], r = s[4 * ldh], carried = s[5 * ldh];
        const truth dc = *direct + dh * o * NAME(g_prime)(activation, r);
        delta[0] = dc * g * i * (1 - i);
        delta[1] = dc * carried * f * (1 - f);
        delta[2] = dc * i * NAME(g_prime)(activation, g);
        delta[3] = dh * r * o * (1 - o);
        *direct = dc * f;
        return;
    }
    case CELLS_OF_ONE_GATE: break;
    }
    fail("there are no formulas of cell %d", form);
}

static void NAME(check_gate_back)(const verbs *v, ptrdiff_t pad, int activation, int form, ptrdiff_t H, ptrdiff_t steps,
                                  int with_mask, int with_later)
{
    const struct fastbptt_cell_row *cell = cell_of(form);
    const int gated = cell->product == FASTBPTT_GATED;
    const ptrdiff_t blocks_of_delta = steps > 0 ? steps : 1, ldh = NAME(padded)(H, pad), n = MOST_ROWS * ldh, G = cell->gates;
    const ptrdiff_t lds = cell->saves * ldh, ldd = cell->slots * ldh, first_slot = cell->slots - G, others = G - gated;
    const double scale = 1 / sqrt((double)H);
    const fastbptt_units what = {activation, form, 1};
    const real *W = NAME(numbers)(G * H, H, H, -scale, scale), *before = NAME(in_slots)(blocks_of_delta * MOST_ROWS, 1, H, ldh, ldh, -1, 1);
    const real *dcarry_before = NAME(in_slots)(MOST_ROWS, 1, H, ldh, ldh, -1, 1), *P;
    const real *later = with_later ? NAME(in_slots)(MOST_ROWS, cell->slots, H, ldh, ldd, -1, 1) : NULL;
    const real *mask = with_mask ? NAME(in_slots)(MOST_ROWS, 1, H, ldh, ldh, 0, 2) : NULL;
    const real *start = NAME(in_slots)(blocks_of_delta * MOST_ROWS, 1, H, ldh, ldd, -1, 1);
    real *saves = NAME(empty)(blocks_of_delta * MOST_ROWS * lds), *delta, *dcarry, *masked;
    ptrdiff_t t, i, j, k, g, few, first;
    for (k = 0; k < blocks_of_delta * MOST_ROWS * lds; k++) /* values of gates and of g1, which lie between 0 and g1(1) */
        saves[k] = (real)NAME(g)(activation, uniform(0.1, 1)) / 2;
    seal();
    P = NAME(pack_back)(v, form, H, ldh, W);
    seal();
    at("%s float%d gate_back %s %s steps=%d rows=%d H=%d mask=%d later=%d", set, BITS, cell->name,
       fastbptt_activations[activation].name, (int)steps, MOST_ROWS, (int)H, with_mask, with_later);
    delta = NAME(copied)(blocks_of_delta * MOST_ROWS * ldd, start);
    dcarry = NAME(copied)(n, dcarry_before);
    masked = NAME(empty)(2 * n);
    v->gate_back(&what, steps, MOST_ROWS, H, P, ldh, mask, masked, saves, before, later, dcarry, delta);
    for (i = 0; i < MOST_ROWS; i++)
        for (j = 0; j < H; j++) {
            truth direct = with_later ? dcarry_before[i * ldh + j] : 0, all = M(fabs)(direct);
            for (t = blocks_of_delta - 1; t >= 0; t--) {
                const ptrdiff_t row = (t * MOST_ROWS + i) * ldd;
                const real *next = t + 1 < blocks_of_delta ? delta + row + MOST_ROWS * ldd : later != NULL ? later + i * ldd : NULL;
                const truth factor = with_mask ? mask[i * ldh + j] : 1;
                truth magnitude = 0, part = 0, dh = 0, back = 0, m_back = 0, expected[4];
                for (g = 0; g < others && next != NULL; g++) {
                    dh += NAME(dot)(0, H, next + (first_slot + g) * ldh, W + g * H * H + j, H, &part);
                    magnitude += part;
                }
                dh = dh * factor + start[row + j];
                magnitude = magnitude * factor + M(fabs)(start[row + j]);
                if (steps == 0) {
                    dh += cell->carries > 1 ? 0 : direct;
                    NAME(close)(RECURRENCES, delta[row + j], dh, magnitude + all, (double)(G * H) + 4, "∂E/∂S before", i, j);
                    break;
                }
                if (gated) /* of delta as the verb found it */
                    back = factor * NAME(dot)(0, H, delta + row + others * ldh, W + others * H * H + j, H, &m_back);
                all += magnitude + factor * m_back;
                NAME(gated_unit_back)(activation, form, saves + (t * MOST_ROWS + i) * lds + j, ldh, before[t * n + i * ldh + j], dh,
                                      back, &direct, expected);
                for (k = 0; k < cell->slots; k++)
                    NAME(close)(RECURRENCES, delta[row + k * ldh + j], expected[k], all, (double)(G * H) + 16, "delta", k, j);
            }
            NAME(close)(RECURRENCES, dcarry[i * ldh + j], direct, all, (double)(G * H) + 16, "dcarry", i, j);
        }
    for (i = 0; i < steps * MOST_ROWS; i++)
        for (k = 0; k < ldd; k++)
            if (k % ldh >= H && delta[i * ldd + k] != 0)
                fail("the padding of delta[%d, %d] is %.9g, not 0", (int)i, (int)k, (double)delta[i * ldd + k]);
    for (few = 1; few < MOST_ROWS; few += 1 + few / 4) {
        const int keep_blocks = block_count;
        const real *saves_few, *before_few, *later_few = NULL, *mask_few = NULL;
        real *delta_few, *dcarry_few, *masked_few = NAME(empty)(2 * few * ldh);
        at("%s float%d gate_back %s %s steps=%d rows=%d H=%d mask=%d later=%d", set, BITS, cell->name,
           fastbptt_activations[activation].name, (int)steps, (int)few, (int)H, with_mask, with_later);
        first = below(MOST_ROWS - few + 1);
        saves_few = NAME(part)(blocks_of_delta, MOST_ROWS, lds, saves, first, few);
        before_few = NAME(part)(blocks_of_delta, MOST_ROWS, ldh, before, first, few);
        if (later != NULL)
            later_few = NAME(part)(1, MOST_ROWS, ldd, later, first, few);
        if (mask != NULL)
            mask_few = NAME(part)(1, MOST_ROWS, ldh, mask, first, few);
        delta_few = NAME(part)(blocks_of_delta, MOST_ROWS, ldd, start, first, few);
        dcarry_few = NAME(part)(1, MOST_ROWS, ldh, dcarry_before, first, few);
        v->gate_back(&what, steps, few, H, P, ldh, mask_few, masked_few, saves_few, before_few, later_few, dcarry_few, delta_few);
        for (k = 0; k < (steps > 0 ? cell->slots : 1); k++)
            NAME(same_part)(blocks_of_delta, MOST_ROWS, H, ldd, delta + k * ldh, first, few, delta_few + k * ldh);
        NAME(same_part)(1, MOST_ROWS, H, ldh, dcarry, first, few, dcarry_few);
        release(keep_blocks);
    }
    release(0);
}

/* One step and several, and none: the gradient with respect to the state before `later` */
static void NAME(check_cell)(const verbs *v, ptrdiff_t pad, int activation, int form, ptrdiff_t H, int mask)
{
    static const ptrdiff_t steps[] = {1, 3};
    ptrdiff_t i;
    for (i = 0; i < LENGTH(steps); i++) {
        NAME(check_gate)(v, pad, activation, form, H, steps[i], mask);
        NAME(check_gate_back)(v, pad, activation, form, H, steps[i], mask, 0);
        NAME(check_gate_back)(v, pad, activation, form, H, steps[i], mask, 1);
    }
    NAME(check_gate_back)(v, pad, activation, form, H, 0, mask, 1);
}

static void NAME(check_gates)(const verbs *v, ptrdiff_t pad)
{
    static const ptrdiff_t states[] = {1, 3, 4, 7, 8, 12, 16, 17, 24, 33}; /* one vector, two, more; with padding and without */
    int form, mask, activation, last = 0;
    ptrdiff_t i;
    for (form = 0; form < FASTBPTT_CELL_COUNT; form++)
        for (mask = 0; mask < 2 && cell_of(form)->gates > 1; mask++) {
            for (i = 0; i < LENGTH(states); i++) {
                while (fastbptt_reads_input(activation = hidden_activation(last++)))
                    ;
                NAME(check_cell)(v, pad, activation, form, states[i], mask);
            }
            for (activation = 0; activation < FASTBPTT_ACTIVATION_COUNT; activation++)
                if (fastbptt_activations[activation].layers & FASTBPTT_HIDDEN && !fastbptt_reads_input(activation))
                    NAME(check_cell)(v, pad, activation, form, mask ? 5 : 8, mask);
        }
}

static void NAME(check_accumulate)(const verbs *v, ptrdiff_t pad, ptrdiff_t rows, ptrdiff_t M_, ptrdiff_t N,
                                   ptrdiff_t gap)
{
    const ptrdiff_t lda = NAME(padded)(M_, pad), ldb = NAME(padded)(N, pad), ldc = N + gap;
    const real *A = NAME(numbers)(rows, M_, lda, -1, 1), *B = NAME(numbers)(rows, N, ldb, -1, 1);
    const real *before = NAME(numbers)(1, M_ * ldc - gap, M_ * ldc - gap, -1, 1);
    real *C;
    ptrdiff_t i, j, r;
    seal();
    C = NAME(copied)(M_ * ldc - gap, before);
    at("%s float%d accumulate rows=%d M=%d N=%d ldc=%d", set, BITS, (int)rows, (int)M_, (int)N, (int)ldc);
    v->accumulate(rows, M_, N, A, lda, B, ldb, C, ldc);
    for (i = 0; i < M_; i++)
        for (j = 0; j < (i + 1 < M_ ? ldc : N); j++) {
            truth sum = before[i * ldc + j], magnitude = M(fabs)(sum);
            if (j >= N) {
                NAME(same)(C[i * ldc + j], before[i * ldc + j], "what lies between rows of C", i, j);
                continue;
            }
            for (r = 0; r < rows; r++) {
                const truth term = (truth)A[r * lda + i] * B[r * ldb + j];
                sum += term;
                magnitude += M(fabs)(term);
            }
            NAME(close)(PRODUCTS, C[i * ldc + j], sum, magnitude, (double)rows + 2, "C", i, j);
        }
    release(0);
}

/* Products that each are lost beside a large gradient, but not their sum: they are added up by themselves. */
static void NAME(check_small_products_are_not_lost)(const verbs *v, ptrdiff_t pad, ptrdiff_t M_, ptrdiff_t N)
{
    const ptrdiff_t rows = 64, lda = NAME(padded)(M_, pad), ldb = NAME(padded)(N, pad);
    const real *A = NAME(numbers)(rows, M_, lda, 0.5, 0.5), *B = NAME(numbers)(rows, N, ldb, UNIT, UNIT);
    real *C;
    ptrdiff_t i;
    seal();
    C = NAME(numbers)(1, M_ * N, M_ * N, 1, 1);
    at("%s float%d accumulate small products M=%d N=%d", set, BITS, (int)M_, (int)N);
    v->accumulate(rows, M_, N, A, lda, B, ldb, C, N);
    for (i = 0; i < M_ * N; i++)
        NAME(same)(C[i], (real)(1 + 32 * UNIT), "C", i / N, i % N);
    release(0);
}

static void NAME(check_column_sums)(const verbs *v, ptrdiff_t pad, ptrdiff_t rows, ptrdiff_t N)
{
    const ptrdiff_t lda = NAME(padded)(N, pad);
    const real *A = NAME(numbers)(rows, N, lda, -1, 1), *before = NAME(numbers)(1, N, N, -1, 1);
    real *sums;
    ptrdiff_t r, j;
    seal();
    sums = NAME(copied)(N, before);
    at("%s float%d column_sums rows=%d N=%d", set, BITS, (int)rows, (int)N);
    v->column_sums(rows, N, A, lda, sums);
    for (j = 0; j < N; j++) {
        truth sum = before[j], magnitude = M(fabs)(sum);
        for (r = 0; r < rows; r++) {
            sum += A[r * lda + j];
            magnitude += M(fabs)(A[r * lda + j]);
        }
        NAME(close)(SUMS, sums[j], sum, magnitude, (double)rows, "sums", 0, j);
    }
    release(0);
}

/* ---- Copies */

/* X is (steps, all, width), of which `rows` are meant; or one row or one step for all where the strides are 0 */
static void NAME(check_gather)(const verbs *v, ptrdiff_t pad, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t all,
                               ptrdiff_t width)
{
    const ptrdiff_t stride_t = all > 0 ? all * width : 0, stride_b = all != 0 ? width : 0;
    const ptrdiff_t used = (steps - 1) * stride_t + (rows - 1) * stride_b + width;
    const real *X = NAME(numbers)(1, used, used, -1, 1);
    real *A;
    ptrdiff_t t, b, j, lda;
    seal();
    for (lda = width;; lda = NAME(padded)(width, pad)) { /* rows of weights and losses have no padding */
        const int keep = block_count;
        at("%s float%d gather steps=%d rows=%d of %d width=%d lda=%d", set, BITS, (int)steps, (int)rows, (int)all,
           (int)width, (int)lda);
        A = NAME(empty)(steps * rows * lda);
        v->gather(steps, rows, width, X, stride_t, stride_b, NULL, A, lda);
        for (t = 0; t < steps; t++)
            for (b = 0; b < rows; b++)
                for (j = 0; j < width; j++)
                    NAME(same)(A[(t * rows + b) * lda + j], X[t * stride_t + b * stride_b + j], "A", t * rows + b, j);
        release(keep);
        if (lda == NAME(padded)(width, pad))
            break;
    }
    release(0);
}

static void NAME(check_scatter)(const verbs *v, ptrdiff_t pad, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t all,
                                ptrdiff_t width)
{
    const ptrdiff_t used = ((steps - 1) * all + rows) * width;
    ptrdiff_t t, b, j, lda;
    for (lda = width;; lda = NAME(padded)(width, pad)) {
        const real *A = NAME(numbers)(steps * rows, width, lda, -1, 1);
        real *X;
        seal();
        at("%s float%d scatter steps=%d rows=%d of %d width=%d lda=%d", set, BITS, (int)steps, (int)rows, (int)all,
           (int)width, (int)lda);
        X = NAME(empty)(used);
        v->scatter(steps, rows, width, A, lda, X, all * width, width, NULL);
        for (t = 0; t < steps; t++)
            for (b = 0; b < (t + 1 < steps ? all : rows); b++)
                for (j = 0; j < width; j++)
                    if (b < rows)
                        NAME(same)(X[(t * all + b) * width + j], A[(t * rows + b) * lda + j], "X", t * all + b, j);
                    else if (FILLED && memcmp(X + (t * all + b) * width + j, guard(sizeof(real)), sizeof(real)) != 0)
                        fail("X[%d, %d], another shard's, was written", (int)(t * all + b), (int)j);
        release(0);
        if (lda == NAME(padded)(width, pad))
            break;
    }
}

/* Rows in an order of their own, of `all`, and back; what no row stands for is neither read nor written. */
static void NAME(check_index)(const verbs *v, ptrdiff_t pad, ptrdiff_t rows, ptrdiff_t all, ptrdiff_t width)
{
    const ptrdiff_t lda = NAME(padded)(width, pad);
    ptrdiff_t *index = new_block(all, sizeof(ptrdiff_t)), used = 0, b, j, other;
    real *X, *A, *back;
    for (b = 0; b < all; b++)
        index[b] = b;
    for (b = 0; b < rows; b++) {
        ptrdiff_t chosen = b + below(all - b);
        other = index[b];
        index[b] = index[chosen];
        index[chosen] = other;
        used = index[b] >= used ? index[b] + 1 : used;
    }
    at("%s float%d index rows=%d of %d width=%d", set, BITS, (int)rows, (int)all, (int)width);
    X = NAME(numbers)(1, used * width, used * width, -1, 1); /* ends with the last row that is meant */
    seal();
    A = NAME(empty)(rows * lda);
    v->gather(1, rows, width, X, 0, width, index, A, lda);
    for (b = 0; b < rows; b++)
        for (j = 0; j < width; j++)
            NAME(same)(A[b * lda + j], X[index[b] * width + j], "A", b, j);
    back = NAME(empty)(used * width);
    v->scatter(1, rows, width, A, lda, back, 0, width, index);
    for (b = 0; b < rows; b++)
        for (j = 0; j < width; j++)
            NAME(same)(back[index[b] * width + j], X[index[b] * width + j], "X", index[b], j);
    for (other = 0; other < used; other++) {
        for (b = 0; b < rows && index[b] != other; b++)
            ;
        if (FILLED && b == rows && memcmp(back + other * width, guard(sizeof(real)), sizeof(real)) != 0)
            fail("X[%d], which no row stands for, was written", (int)other);
    }
    release(0);
}

/* ---- The error */

/* Y = g2(Z) of a row */
static void NAME(outputs)(int activation, ptrdiff_t O, const real *z, truth *y)
{
    truth top = z[0], sum = 0;
    ptrdiff_t o;
    for (o = 0; o < O; o++) {
        y[o] = NAME(g)(activation, z[o]);
        top = z[o] > top ? z[o] : top;
    }
    if (activation != FASTBPTT_SOFTMAX)
        return;
    for (o = 0; o < O; o++)
        sum += y[o] = M(exp)(z[o] - top);
    for (o = 0; o < O; o++)
        y[o] /= sum;
}

static void NAME(check_outputs)(const verbs *v, ptrdiff_t pad, int activation, int loss, ptrdiff_t rows, ptrdiff_t O)
{
    const fastbptt_error what = {activation, loss, O, O, NULL, 1, 1};
    const ptrdiff_t ldz = NAME(padded)(O, pad);
    const real *before = NAME(numbers)(rows, O, ldz, -3, 3);
    real *Z;
    const double errors = activation == FASTBPTT_SOFTMAX ? 24 + (double)O : 6;
    truth y[256];
    ptrdiff_t i, o;
    seal();
    Z = NAME(copied)(rows * ldz, before);
    at("%s float%d error without targets %s %s rows=%d O=%d", set, BITS, fastbptt_activations[activation].name, losses_named[loss],
       (int)rows, (int)O);
    if (v->error(&what, rows, NULL, ldz, NULL, NULL, 0, Z, ldz, NULL) != 0)
        fail("it is not 0");
    for (i = 0; i < rows; i++) {
        NAME(outputs)(activation, O, before + i * ldz, y);
        for (o = 0; o < O; o++)
            NAME(close)(ERRORS, Z[i * ldz + o], y[o], M(fabs)(y[o]), errors, "Y", i, o);
    }
    release(0);
}

/* e of one output where y = g2(z); ∂e/∂y, or ∂e/∂z of a fused loss, is put into `slope`, and their magnitudes behind */
static truth NAME(loss)(const fastbptt_error *what, truth z, truth y, truth d, ptrdiff_t o, truth *slope,
                        truth *e_magnitude, truth *slope_magnitude)
{
    const truth r = y - d, size = M(fabs)(y) + M(fabs)(d), q = what->threshold;
    const int sign = (r > 0) - (r < 0);
    truth level;
    *slope_magnitude = 1;
    *e_magnitude = size;
    switch ((enum fastbptt_loss)what->loss) {
    case FASTBPTT_SQUARED_ERROR:
        *e_magnitude = size * size;
        *slope_magnitude = 2 * size;
        *slope = 2 * r;
        return r * r;
    case FASTBPTT_ABSOLUTE_ERROR:
        *slope = sign;
        return sign * r;
    case FASTBPTT_HUBER:
        *e_magnitude = size * (size + q);
        *slope_magnitude = size + q;
        *slope = sign * r > q ? sign * q : r;
        return sign * r > q ? q * (sign * r) - q * q / 2 : r * r / 2;
    case FASTBPTT_QUANTILE: /* Koenker and Bassett 1978, r being of the other sign */
        level = what->levels[o / what->K];
        *slope = sign > 0 ? 1 - level : sign * level;
        return sign > 0 ? (1 - level) * r : -level * r;
    case FASTBPTT_BINARY_CROSS_ENTROPY:
        *e_magnitude = M(fabs)(z) * (1 + M(fabs)(d)) + 1;
        *slope_magnitude = size;
        *slope = r;
        return NAME(g)(FASTBPTT_SOFTPLUS, z) - z * d;
    case FASTBPTT_POISSON:
        *e_magnitude = y + M(fabs)(d * z);
        *slope_magnitude = size;
        *slope = r;
        return y - d * z;
    case FASTBPTT_GIVEN:
        *slope_magnitude = M(fabs)(d);
        *slope = d;
        return *e_magnitude = 0;
    case FASTBPTT_CROSS_ENTROPY: break; /* of a row: `cross_entropy_row` */
    }
    return *slope = *e_magnitude = (truth)NAN;
}

/* A row of every loss but cross-entropy: dz and its magnitudes; e is Σ e, Σ m e, and their magnitudes */
static void NAME(error_row)(const fastbptt_error *what, const real *z, const real *d, const real *m,
                            ptrdiff_t weight_width, truth *dz, truth *magnitude, truth e[4])
{
    const int fused = fastbptt_outputs_of(what->loss) != FASTBPTT_ANY;
    truth y[256], inner = 0, inner_magnitude = 0, e_o, e_magnitude, weight;
    ptrdiff_t o;
    NAME(outputs)(what->activation, what->O, z, y);
    e[0] = e[1] = e[2] = e[3] = 0;
    for (o = 0; o < what->O; o++) {
        weight = weight_width == 0 ? 1 : m[weight_width == 1 ? 0 : o % what->K];
        dz[o] = magnitude[o] = 0;
        if (weight == 0)
            continue;
        e_o = NAME(loss)(what, z[o], y[o], d[o % what->K], o, &dz[o], &e_magnitude, &magnitude[o]);
        e[0] += e_o;
        e[1] += weight * e_o;
        e[2] += e_magnitude;
        e[3] += weight * e_magnitude;
        dz[o] *= weight * what->scale;
        magnitude[o] *= weight * what->scale;
        inner += dz[o] * y[o];
        inner_magnitude += magnitude[o] * y[o];
    }
    for (o = 0; o < what->O && !fused; o++)
        if (what->activation == FASTBPTT_SOFTMAX) {
            dz[o] = y[o] * (dz[o] - inner);
            magnitude[o] = y[o] * (magnitude[o] + inner_magnitude);
        } else {
            dz[o] *= NAME(g_prime)(what->activation, y[o]);
            magnitude[o] *= what->activation == FASTBPTT_EXP || what->activation == FASTBPTT_SIGMOID ? y[o] : 1;
        }
}

/* As `error_row`, of cross-entropy; d is NULL where there is a label */
static void NAME(cross_entropy_row)(const fastbptt_error *what, const real *z, const real *d, ptrdiff_t label,
                                    truth weight, truth *dz, truth *magnitude, truth e[4])
{
    truth y[256], mass = 0, target;
    ptrdiff_t o;
    NAME(outputs)(FASTBPTT_SOFTMAX, what->O, z, y);
    e[0] = e[1] = e[2] = e[3] = 0;
    for (o = 0; o < what->O; o++)
        dz[o] = magnitude[o] = 0;
    if (weight == 0)
        return;
    for (o = 0; o < what->O; o++)
        mass += d != NULL ? d[o] : o == label;
    for (o = 0; o < what->O; o++) {
        target = d != NULL ? d[o] : o == label;
        e[0] -= target * M(log)(y[o]);
        e[2] += target * (1 + M(fabs)(M(log)(y[o])));
        dz[o] = weight * what->scale * (y[o] * mass - target);
        magnitude[o] = weight * what->scale * (y[o] * mass + target);
    }
    e[1] = weight * e[0];
    e[3] = weight * e[2];
}

/* Targets of a row: nowhere so near to an output that rounding could change a derivative's sign, but sometimes equal to
 * it where outputs are not rounded */
static void NAME(targets)(const fastbptt_error *what, const real *z, real *d)
{
    const int jumps = what->loss == FASTBPTT_ABSOLUTE_ERROR || what->loss == FASTBPTT_QUANTILE;
    truth y[256];
    ptrdiff_t o, k;
    NAME(outputs)(what->activation, what->O, z, y);
    for (k = 0; k < what->K; k++)
        switch (what->loss) {
        case FASTBPTT_BINARY_CROSS_ENTROPY: d[k] = (real)(below(3) ? below(2) : uniform(0, 1)); break;
        case FASTBPTT_CROSS_ENTROPY: d[k] = (real)(below(3) ? uniform(0, 1) : 0); break;
        case FASTBPTT_POISSON: d[k] = (real)below(4); break;
        default:
            d[k] = (real)uniform(-1.5, 1.5);
            if (what->activation == FASTBPTT_IDENTITY && below(6) == 0)
                d[k] = z[k];
            else
                for (o = k; jumps && o < what->O; o += what->K)
                    if (M(fabs)(y[o] - d[k]) < 0.01) {
                        d[k] += (real)0.05;
                        o = k - what->K;
                    }
        }
}

static void NAME(check_error)(const verbs *v, ptrdiff_t pad, int activation, int loss, ptrdiff_t rows, ptrdiff_t O,
                              ptrdiff_t K, ptrdiff_t weight_width, int with_labels, int with_losses)
{
    const double levels[] = {0.5, 0.1, 0.95};
    const fastbptt_error what = {activation, loss, O, K, levels, 0.7, 0.37};
    const ptrdiff_t ldz = NAME(padded)(O, pad), ldd = NAME(padded)(K, pad);
    const double few = activation == FASTBPTT_SOFTMAX ? 48 + 3 * (double)O : 24;
    const real *before = NAME(numbers)(rows, O, ldz, -3, 3);
    real *Z, *D = with_labels ? NULL : NAME(empty)(rows * ldd), *losses = NULL;
    real *weights = weight_width ? NAME(numbers)(rows, weight_width, weight_width, 0.25, 2) : NULL;
    ptrdiff_t *labels = with_labels ? new_block(rows, sizeof(ptrdiff_t)) : NULL;
    truth dz[256], magnitude[256], e[4], total = 0, total_magnitude = 0;
    double returned;
    ptrdiff_t i, o, k;
    for (i = 0; i < rows; i++) {
        if (labels != NULL)
            labels[i] = below(O);
        else
            NAME(targets)(&what, before + i * ldz, D + i * ldd);
        for (k = 0; k < weight_width; k++)
            if (below(3) == 0) {
                weights[i * weight_width + k] = 0;
                if (labels != NULL)
                    labels[i] = -1;
                for (o = k; o < K && D != NULL; o += weight_width)
                    D[i * ldd + o] = (real)NAN;
            }
    }
    seal();
    Z = NAME(copied)(rows * ldz, before);
    if (with_losses)
        losses = NAME(empty)(rows);
    at("%s float%d error %s %s rows=%d O=%d K=%d weights=%d labels=%d losses=%d", set, BITS, fastbptt_activations[activation].name,
       losses_named[loss], (int)rows, (int)O, (int)K, (int)weight_width, with_labels, with_losses);
    returned = v->error(&what, rows, D, ldd, labels, weights, weight_width, Z, ldz, losses);
    for (i = 0; i < rows; i++) {
        const real *z = before + i * ldz, *d = D != NULL ? D + i * ldd : NULL;
        const real *m = weights != NULL ? weights + i * weight_width : NULL;
        if (loss == FASTBPTT_CROSS_ENTROPY)
            NAME(cross_entropy_row)(&what, z, d, labels != NULL ? labels[i] : 0, m != NULL ? m[0] : 1, dz, magnitude,
                                    e);
        else
            NAME(error_row)(&what, z, d, m, weight_width, dz, magnitude, e);
        for (o = 0; o < O; o++)
            NAME(close)(ERRORS, Z[i * ldz + o], dz[o], magnitude[o], few, "delta_y", i, o);
        if (losses != NULL)
            NAME(close)(SUMS, losses[i], e[0], e[2], few + (double)O, "losses", i, 0);
        total += e[1];
        total_magnitude += e[3];
    }
    NAME(close)(SUMS, (real)returned, total, total_magnitude, few + (double)O + 17, "total", 0, 0);
    release(0);
}

/* Equal errors, so that rounding goes the same way again and again: their sum is as exact as that of few rows. */
static void NAME(check_total_of_many_rows)(const verbs *v, ptrdiff_t pad, ptrdiff_t rows, int with_losses)
{
    const fastbptt_error what = {FASTBPTT_IDENTITY, FASTBPTT_SQUARED_ERROR, 3, 3, NULL, 1, 1};
    const ptrdiff_t ld = NAME(padded)(3, pad);
    const real *D = NAME(numbers)(rows, 3, ld, 0, 0);
    real *Z, *losses;
    truth expected;
    double returned;
    seal();
    Z = NAME(numbers)(rows, 3, ld, 0.1, 0.1);
    losses = with_losses ? NAME(empty)(rows) : NULL;
    expected = 3 * rows * (truth)Z[0] * Z[0];
    at("%s float%d error total of many rows=%d losses=%d", set, BITS, (int)rows, with_losses);
    returned = v->error(&what, rows, D, ld, NULL, NULL, 0, Z, ld, losses);
    NAME(close)(SUMS, (real)returned, expected, expected, 32, "total", 0, 0);
    release(0);
}

/* A NaN target or output makes its own error and derivative NaN, a softmax's whole row, and no other row's. */
static void NAME(check_nan)(const verbs *v, ptrdiff_t pad, int activation, int loss, ptrdiff_t O, int in_target)
{
    const double level = 0.3;
    const fastbptt_error what = {activation, loss, O, O, &level, 0.7, 0.37};
    const ptrdiff_t rows = 3, ld = NAME(padded)(O, pad);
    const int spreads = activation == FASTBPTT_SOFTMAX;
    ptrdiff_t at_o, i, o;
    for (at_o = 0; at_o < O; at_o++) {
        real *D = NAME(numbers)(rows, O, ld, 0.25, 1), *Z = NAME(numbers)(rows, O, ld, -3, 3);
        real *losses = NAME(empty)(rows);
        (in_target ? D : Z)[ld + at_o] = (real)NAN;
        at("%s float%d error %s %s O=%d NaN in %s[1, %d]", set, BITS, fastbptt_activations[activation].name, losses_named[loss],
           (int)O, in_target ? "D" : "Z", (int)at_o);
        v->error(&what, rows, D, ld, NULL, NULL, 0, Z, ld, losses);
        for (i = 0; i < rows; i++) {
            for (o = 0; o < O; o++)
                if (i == 1 && (o == at_o || spreads))
                    NAME(is_nan)(Z[i * ld + o], "delta_y", i, o);
                else if (Z[i * ld + o] != Z[i * ld + o])
                    fail("delta_y[%d, %d] is NaN", (int)i, (int)o);
            if (i == 1)
                NAME(is_nan)(losses[i], "losses", i, 0);
            else if (losses[i] != losses[i])
                fail("losses[%d] is NaN", (int)i);
        }
        release(0);
    }
}

/* ---- Updates */

static void NAME(check_update)(const verbs *v, int rule, int nesterov, double momentum, ptrdiff_t n)
{
    const int two = fastbptt_rules[rule].slots == 2;
    fastbptt_update what = {rule, nesterov, 0.01, momentum, 0.97, 0.9, 0.999, 1e-6, 0.05, 0, 0};
    const real *gradient = NAME(numbers)(1, n, n, -2, 2), *before, *before_1, *before_2 = NULL;
    real *theta, *slot_1, *slot_2 = NULL;
    ptrdiff_t i;
    int count;
    before = NAME(numbers)(1, n, n, -1, 1);
    before_1 = NAME(numbers)(1, n, n, rule == FASTBPTT_RMSPROP || rule == FASTBPTT_ADAGRAD ? 0 : -1, 1);
    if (two)
        before_2 = NAME(numbers)(1, n, n, 0, 1);
    if (n > 2) { /* nothing but epsilon in the denominator */
        ((real *)before_1)[1] = ((real *)gradient)[1] = 0;
        if (two)
            ((real *)before_2)[1] = 0;
    }
    seal();
    for (count = 1; count < 100; count *= 9) {
        const int keep = block_count;
        theta = NAME(copied)(n, before);
        slot_1 = NAME(copied)(n, before_1);
        if (two)
            slot_2 = NAME(copied)(n, before_2);
        what.correction_1 = 1 - pow(what.beta_1, count);
        what.correction_2 = 1 - pow(what.beta_2, count);
        at("%s float%d update %s nesterov=%d momentum=%g n=%d count=%d", set, BITS, fastbptt_rules[rule].name, nesterov, momentum,
           (int)n, count);
        v->update(&what, n, gradient, theta, slot_1, slot_2);
        for (i = 0; i < n; i++) {
            const truth g = gradient[i], s = before_1[i], decay = rule == FASTBPTT_ADAMW;
            truth first, step = (truth)NAN, size = 0, second = 0; /* size: that of the step's numerator before anything cancels */
            switch ((enum fastbptt_rule)rule) {
            case FASTBPTT_SGD:
                first = what.momentum * s + g;
                step = nesterov ? g + what.momentum * first : first;
                size = 2 * (M(fabs)(g) + M(fabs)(s));
                NAME(close)(UPDATES, slot_1[i], first, size, 3, "slot_1", 0, i);
                break;
            case FASTBPTT_RMSPROP:
            case FASTBPTT_ADAGRAD:
                first = rule == FASTBPTT_ADAGRAD ? s + g * g : what.rho * s + (1 - (truth)what.rho) * g * g;
                step = g / (M(sqrt)(first) + what.epsilon);
                size = M(fabs)(step);
                NAME(close)(UPDATES, slot_1[i], first, first, 6, "slot_1", 0, i);
                break;
            case FASTBPTT_ADAM:
            case FASTBPTT_ADAMW:
                first = what.beta_1 * s + (1 - (truth)what.beta_1) * g;
                second = what.beta_2 * before_2[i] + (1 - (truth)what.beta_2) * g * g;
                step = first / what.correction_1;
                size = (M(fabs)(s) + M(fabs)(g)) / what.correction_1;
                step /= M(sqrt)(second / what.correction_2) + what.epsilon;
                size /= M(sqrt)(second / what.correction_2) + what.epsilon;
                NAME(close)(UPDATES, slot_1[i], first, M(fabs)(s) + M(fabs)(g), 4, "slot_1", 0, i);
                NAME(close)(UPDATES, slot_2[i], second, second, 8, "slot_2", 0, i);
            }
            NAME(close)(UPDATES, theta[i],
                        before[i] * (1 - decay * what.learning_rate * what.weight_decay) - what.learning_rate * step,
                        M(fabs)(before[i]) + what.learning_rate * size, 10, "theta", 0, i);
        }
        release(keep);
    }
    release(0);
}

/* ---- Elementary functions, through the verbs that use them */

/* A <- g(A) for n numbers, n a multiple of `pad` */
static void NAME(apply)(const verbs *v, ptrdiff_t pad, int activation, ptrdiff_t n, real *A)
{
    const fastbptt_error what = {activation, FASTBPTT_GIVEN, n, n, NULL, 1, 1};
    if (activation == FASTBPTT_EXP)
        v->error(&what, 1, NULL, n, NULL, NULL, 0, A, n, NULL);
    else { /* g(A + S @ 0) with S < 0, so that -0 stays */
        real *W = NAME(empty)(pad * pad), *S = NAME(empty)(2 * n), *P;
        ptrdiff_t i;
        for (i = 0; i < pad * pad; i++)
            W[i] = 0;
        for (i = 0; i < n; i++)
            S[i] = -1;
        memcpy(S + n, A, (size_t)n * sizeof(real));
        P = NAME(pack)(v, pad, pad, W, 1, pad);
        v->recur(activation, 1, n / pad, pad, P, pad, S, S + n, NULL);
        memcpy(A, S + n, (size_t)n * sizeof(real));
    }
}

/* The error in units in the last place of the expected number */
static double NAME(ulps)(real got, truth expected)
{
    int exponent;
    M(frexp)(expected, &exponent);
    exponent -= FRACTION;
    if (exponent < LOWEST_EXPONENT)
        exponent = LOWEST_EXPONENT;
    return (double)M(ldexp)(M(fabs)((truth)got - expected), -exponent);
}

/* The largest error of many arguments, near 0, over all of the domain, and of every magnitude */
static double NAME(check_elementary)(const verbs *v, ptrdiff_t pad, int activation)
{
    const ptrdiff_t n = 3 * 8192;
    real *x = NAME(empty)(n), *y;
    double off, most = 0;
    ptrdiff_t i;
    for (i = 0; i < n; i++)
        x[i] = (real)(i % 3 == 0 ? uniform(-3, 3) : i % 3 == 1 ? uniform(-DOMAIN, DOMAIN)
                                                                : copysign(exp2(uniform(-60, 7)), uniform(-1, 1)));
    seal();
    y = NAME(copied)(n, x);
    at("%s float%d %s of many numbers", set, BITS, fastbptt_activations[activation].name);
    NAME(apply)(v, pad, activation, n, y);
    for (i = 0; i < n; i++) {
        const truth expected = NAME(g)(activation, x[i]);
        checks++;
        if ((real)expected == y[i]) /* an infinite one too */
            continue;
#if defined(FASTBPTT_MEMCHECK) && BITS == 64
        if (activation == FASTBPTT_GELU) /* without long double, the expected Φ(x) is off by about x² units in the last place */
            continue;
#endif
        off = NAME(ulps)(y[i], expected) - vanishing(activation, FRACTION, LOWEST_EXPONENT, (double)expected);
        if (!(off <= ulp_bound(activation, BITS) + SLACK))
            fail("of %.17g it is %.17g, expected %.17g: off by %.3g ulp", (double)x[i], (double)y[i], (double)expected,
                 off);
        most = off > most ? off : most;
    }
    release(0);
    return most;
}

/* Where the last terms of a series count most, near log1p(1) and where tanh's polynomial ends: rounding averages out
 * over many arguments, a term that is missing or wrong does not. */
static void NAME(check_ends_of_series)(const verbs *v, ptrdiff_t pad, int activation, double low, double high)
{
    const ptrdiff_t n = 4096;
    const real *x = NAME(numbers)(1, n, n, low, high);
    real *y;
    double mean = 0;
    ptrdiff_t i;
    seal();
    y = NAME(copied)(n, x);
    at("%s float%d %s at the end of its series", set, BITS, fastbptt_activations[activation].name);
    NAME(apply)(v, pad, activation, n, y);
    for (i = 0; i < n; i++) {
        const truth expected = NAME(g)(activation, x[i]);
        mean += copysign(NAME(ulps)(y[i], expected), (double)(y[i] - expected)) / (double)n;
    }
    checks++;
    if (!(fabs(mean) <= 0.1 + SLACK))
        fail("off by %.3g ulp on average", mean);
    release(0);
}

static void NAME(check_special)(const verbs *v, ptrdiff_t pad, int activation)
{
    const real inf = (real)INFINITY, tiny = (real)M(ldexp)(1, LOWEST_EXPONENT), large = (real)M(ldexp)(1, 120);
    const real special[] = {0, -(real)0, tiny, -tiny, 1, -1, large, -large, inf, -inf, (real)NAN};
    const ptrdiff_t n = NAME(padded)(LENGTH(special), pad);
    const int signed_zero = ZERO_SIGNS && (activation == FASTBPTT_TANH || activation == FASTBPTT_RELU);
    real *y = NAME(numbers)(1, n, n, -1, 1);
    ptrdiff_t i;
    memcpy(y, special, sizeof special);
    at("%s float%d %s of special numbers", set, BITS, fastbptt_activations[activation].name);
    NAME(apply)(v, pad, activation, n, y);
    for (i = 0; i < LENGTH(special); i++) {
        const real x = special[i], expected = (real)NAME(g)(activation, x);
        if (x != x || expected != expected || (activation == FASTBPTT_SOFTSIGN && x - x != 0)) /* 0 ∞, ∞ / ∞ */
            NAME(is_nan)(y[i], "g", 0, i);
        else if (expected - expected != 0 || expected == 0 || x - x != 0) {
            checks++;
            if (y[i] != expected || (signed_zero && signbit(y[i]) != signbit(expected)))
                fail("of %g it is %g, expected %g", (double)x, (double)y[i], (double)expected);
        } else
            NAME(close)(ERRORS, y[i], expected, M(fabs)(expected), 6, "g", 0, i);
    }
    release(0);
}

/* ---- All of them */

static void NAME(check_products)(const verbs *v, ptrdiff_t pad)
{
    static const ptrdiff_t depths[] = {1, 2, 5, 17, 64}, rows[] = {1, 2, 5, 16, 40}, large[] = {99, 100, 101, 130};
    static const ptrdiff_t larger[] = {299, 300, 301, 385}; /* 385 is 1 more than 6 * 64 and 8 * 48 */
    ptrdiff_t i, j, k;
    for (i = 0; i < LENGTH(widths); i++) {
        for (j = 0; j < LENGTH(depths); j++)
            NAME(check_product)(v, pad, depths[j], widths[i], (i + j) % 2, (i + j) % 3 != 0, 0);
        for (j = 0; j < LENGTH(depths); j++)
            NAME(check_product)(v, pad, depths[j] < widths[i] ? depths[j] : widths[i], widths[i], (i + j) % 2, 0, 1);
        for (j = 1; j <= MOST_ROWS; j++)
            NAME(check_accumulate)(v, pad, rows[(i + j) % LENGTH(rows)], j, widths[i], (i + j) % 2 * 3);
        for (j = 1; j <= 2 * MOST_ROWS; j++)
            NAME(check_column_sums)(v, pad, j, widths[i]);
        NAME(check_accumulate)(v, pad, 3, 100, widths[i], i % 2);
        NAME(check_small_products_are_not_lost)(v, pad, 1 + i % MOST_ROWS, widths[i]);
    }
    for (i = 1; i <= 5; i += 1 + i / 3) /* few columns of long sums, on either side of what a set takes for narrow */
        for (j = 16; j <= 128; j += j)
            for (k = -1; k <= 1; k++)
                NAME(check_product)(v, pad, j + k, i, (i + k) % 2 != 0, k != 0, 0);
    for (i = 0; i < LENGTH(large); i++) { /* chunks of rows, and a packed right factor */
        NAME(check_product)(v, pad, large[i], 130, 0, 1, 0);
        for (k = 127; k <= 129; k++)
            NAME(check_accumulate)(v, pad, k, 3 + i, large[i], 0);
        NAME(check_accumulate)(v, pad, 129, large[i], 7 + 6 * i, 0);
    }
    NAME(check_accumulate)(v, pad, 257, 100, 33, 1);
    for (i = 0; i < LENGTH(larger); i++) { /* both factors packed */
        NAME(check_accumulate)(v, pad, 127 + i, larger[i], 9 + 30 * i, i % 2);
        NAME(check_small_products_are_not_lost)(v, pad, larger[i], 17);
    }
    NAME(check_column_sums)(v, pad, 1000, 9);
}

static void NAME(check_recurrences)(const verbs *v, ptrdiff_t pad)
{
    static const ptrdiff_t states[] = {1, 3, 8, 17, 24, 33};
    ptrdiff_t i;
    int activation;
    for (i = 0; i < LENGTH(widths); i++) {
        NAME(check_sign_of_zero)(v, pad, 1, widths[i]);
        NAME(check_sign_of_zero)(v, pad, 3, widths[i]);
        NAME(check_recur)(v, pad, hidden_activation(i), widths[i]);
        NAME(check_recur_back)(v, pad, hidden_activation(i), widths[i], i % 3 != 0);
    }
    for (i = 1; i <= 9; i++)
        NAME(check_many_rows)(v, pad, hidden_activation(i), i);
    for (activation = 0; activation < FASTBPTT_ACTIVATION_COUNT; activation++)
        for (i = 0; i < LENGTH(states) && fastbptt_activations[activation].layers & FASTBPTT_HIDDEN; i++) {
            NAME(check_recur)(v, pad, activation, states[i]);
            NAME(check_recur_back)(v, pad, activation, states[i], 0);
            NAME(check_recur_back)(v, pad, activation, states[i], 1);
        }
}

static void NAME(check_copies)(const verbs *v, ptrdiff_t pad)
{
    ptrdiff_t i, steps, rows;
    for (i = 0; i < LENGTH(widths); i++)
        for (steps = 1; steps <= 3; steps++)
            for (rows = 1; rows <= 5; rows += 2) {
                NAME(check_gather)(v, pad, steps, rows, rows, widths[i]);
                NAME(check_gather)(v, pad, steps, rows, rows + 2, widths[i]);
                NAME(check_gather)(v, pad, steps, rows, 0, widths[i]);  /* one row for all */
                NAME(check_gather)(v, pad, steps, rows, -1, widths[i]); /* one step for all */
                NAME(check_scatter)(v, pad, steps, rows, rows, widths[i]);
                NAME(check_scatter)(v, pad, steps, rows, rows + 2, widths[i]);
                NAME(check_index)(v, pad, rows, rows + steps - 1, widths[i]);
            }
}

/* One loss with one output activation, at all widths and all kinds of weights */
static void NAME(check_head)(const verbs *v, ptrdiff_t pad, int activation, int loss)
{
    static const ptrdiff_t quantile_widths[] = {1, 2, 3, 4, 5, 8, 11, 16, 17, 33};
    const int entropy = loss == FASTBPTT_CROSS_ENTROPY, quantile = loss == FASTBPTT_QUANTILE;
    const ptrdiff_t count = quantile ? LENGTH(quantile_widths) : LENGTH(widths);
    ptrdiff_t i, levels, weights, rows;
    int labels;
    for (i = 0; i < count; i++)
        for (levels = 1; levels <= (quantile ? 3 : 1); levels++) {
            const ptrdiff_t K = quantile ? quantile_widths[i] : widths[i], widest = entropy || K == 1 ? 1 : 2;
            for (weights = 0; weights <= widest; weights++)
                for (labels = 0; labels <= entropy; labels++) {
                    rows = 1 + (i * 5 + levels * 3 + weights + activation) % MOST_ROWS;
                    NAME(check_error)(v, pad, activation, loss, rows, levels * K, K, weights == 2 ? K : weights, labels,
                                      (i + weights) % 2);
                }
        }
    NAME(check_error)(v, pad, activation, loss, 70, 3, 3, 1, 0, 1); /* sums are handed over every 16 rows */
    if (loss != FASTBPTT_GIVEN) /* which has no e */
        for (i = 0; i < 20; i += 3) {
            NAME(check_nan)(v, pad, activation, loss, widths[i], 0);
            NAME(check_nan)(v, pad, activation, loss, widths[i], 1);
        }
}

static void NAME(check_errors)(const verbs *v, ptrdiff_t pad)
{
    ptrdiff_t j;
    int activation, loss, needed;
    for (activation = 0; activation < FASTBPTT_ACTIVATION_COUNT; activation++) {
        if (!(fastbptt_activations[activation].layers & FASTBPTT_OUTPUT))
            continue;
        for (loss = 0; loss <= FASTBPTT_GIVEN; loss++)
            if (fastbptt_outputs_of(loss) == FASTBPTT_ANY)
                NAME(check_head)(v, pad, activation, loss);
        for (j = 0; j < LENGTH(widths); j++)
            NAME(check_outputs)(v, pad, activation, FASTBPTT_SQUARED_ERROR, 1 + j % MOST_ROWS, widths[j]);
    }
    NAME(check_total_of_many_rows)(v, pad, 4099, 0);
    NAME(check_total_of_many_rows)(v, pad, 4099, 1);
    for (loss = 0; loss < FASTBPTT_LOSS_COUNT; loss++) {
        needed = fastbptt_outputs_of(loss);
        if (needed != FASTBPTT_ANY) {
            NAME(check_head)(v, pad, needed, loss);
            NAME(check_outputs)(v, pad, needed, loss, 4, 9);
        }
    }
}

static void NAME(check_updates)(const verbs *v)
{
    ptrdiff_t i;
    int rule;
    for (i = 0; i < LENGTH(widths); i++) {
        for (rule = 0; rule < FASTBPTT_RULE_COUNT; rule++)
            NAME(check_update)(v, rule, 0, 0.9, widths[i]);
        NAME(check_update)(v, FASTBPTT_SGD, 1, 0.9, widths[i]);
        NAME(check_update)(v, FASTBPTT_SGD, 0, 0, widths[i]);
    }
}

/* A number that is no row of its table gives NaN: it does not act as another row. The recurrences trust their caller. */
static void NAME(check_unknown)(const verbs *v, ptrdiff_t pad)
{
    const fastbptt_update update = {FASTBPTT_RULE_COUNT, 0, 0.01, 0, 0.9, 0.9, 0.999, 1e-6, 0, 0.1, 0.1};
    const ptrdiff_t ld = NAME(padded)(3, pad);
    const real *D = NAME(numbers)(2, 3, ld, -1, 1);
    real *Z, *slots = NAME(numbers)(2, ld, ld, -1, 1);
    ptrdiff_t k;
    int which;
    for (which = 0; which < 3; which++) { /* the activation without and with targets, and the loss */
        const int keep = block_count;
        const fastbptt_error what = {which < 2 ? 99 : FASTBPTT_IDENTITY, which < 2 ? FASTBPTT_SQUARED_ERROR : FASTBPTT_GIVEN + 1, 3, 3,
                                     NULL, 1, 1, 0};
        at("%s float%d error, unknown %s", set, BITS, which < 2 ? "activation" : "loss");
        Z = NAME(numbers)(2, ld, ld, -1, 1);
        v->error(&what, 2, which == 0 ? NULL : D, ld, NULL, NULL, 0, Z, ld, NULL);
        for (k = 0; k < 2 * ld; k++)
            if (k % ld < 3)
                NAME(is_nan)(Z[k], "Z", k / ld, k % ld);
        release(keep);
    }
    at("%s float%d update, unknown rule", set, BITS);
    Z = NAME(numbers)(2, ld, ld, -1, 1);
    v->update(&update, 2 * ld, slots, Z, slots, slots);
    for (k = 0; k < 2 * ld; k++)
        NAME(is_nan)(Z[k], "theta", 0, k);
    release(0);
}

/* Everything, and one line about it */
static void NAME(check)(const verbs *v, ptrdiff_t pad)
{
    double ulps[FASTBPTT_ACTIVATION_COUNT];
    ptrdiff_t i;
    checks = 0;
    memset(worst, 0, sizeof worst);
    for (i = 0; i < FASTBPTT_ACTIVATION_COUNT; i++) {
        if (i == FASTBPTT_SOFTMAX) /* of a row */
            continue;
        ulps[i] = NAME(check_elementary)(v, pad, (int)i);
        NAME(check_special)(v, pad, (int)i);
    }
    NAME(check_ends_of_series)(v, pad, FASTBPTT_SOFTPLUS, -0.01, 0.01);
    NAME(check_ends_of_series)(v, pad, FASTBPTT_TANH, 0.6, 0.6249);
    NAME(check_products)(v, pad);
    NAME(check_recurrences)(v, pad);
    NAME(check_leaky_units)(v, pad);
    NAME(check_gates)(v, pad);
    NAME(check_copies)(v, pad);
    NAME(check_errors)(v, pad);
    NAME(check_updates)(v);
    NAME(check_unknown)(v, pad);
    printf("%-8s float%d: %8ld checks;", set, BITS, checks);
    for (i = 0; i < KINDS; i++)
        printf(" %s %.1e", kinds[i], worst[i]);
    printf("; ulp:");
    for (i = 0; i < FASTBPTT_ACTIVATION_COUNT; i++)
        if (ulp_bound((int)i, BITS) > 0)
            printf(" %s %.2f", fastbptt_activations[i].name, ulps[i]);
    printf("\n");
    fflush(stdout);
}

#undef real
#undef truth
#undef M
#undef UNIT
#undef FRACTION
#undef LOWEST_EXPONENT
#undef SLACK
#undef DOMAIN
#undef verbs
