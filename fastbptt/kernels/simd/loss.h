/* Output activations and losses of a block of rows, and the derivative with respect to Z. Part of simd.h.
 *
 * Formulas of single losses belong in defs/losses.h.
 */

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

/* Return the targets or weights x[o % K], x[(o + 1) % K], ... of the outputs o, o + 1, ... < O. */
static INLINE V NAME(beside)(const real *x, ptrdiff_t K, ptrdiff_t o, ptrdiff_t O)
{
    V v = {0};
    ptrdiff_t j;
    for (j = 0; j < MIN(O - o, W); j++)
        v[j] = x[(o + j) % K];
    return v;
}

/* Return the quantile level of output o, or, if `beside`, those of the outputs o, o + 1, ... < O. */
static INLINE V NAME(level)(const int beside, const fastbptt_error *what, ptrdiff_t o)
{
    V q = SPLAT(0);
    ptrdiff_t j;
    if (!beside)
        return SPLAT(what->levels[o / what->K]);
    for (j = 0; j < MIN(what->O - o, W); j++)
        q[j] = (real)what->levels[(o + j) / what->K];
    return q;
}

#include "../defs/losses.h"

/* Return y (dy - inner), or, if what->settles, 0 where the difference is only rounding noise. NaN stays. */
static INLINE V NAME(softmax_back)(const fastbptt_error *what, V y, V dy, V inner)
{
    const real noise = FASTBPTT_NOISE * (real)(sizeof(real) == sizeof(float) ? FLT_EPSILON : DBL_EPSILON);
    const V left = dy - inner;
    if (!what->settles)
        return y * left;
    return SELECT(ABS(left) <= (ABS(dy) + ABS(inner)) * noise, SPLAT(0), y * left);
}

/* Compute z <- scale m ∂e/∂z for every loss except cross-entropy. z holds y = g2(z), or z for a loss that is fused with its
 * activation. Set e to Σ e of the row and return Σ m e, both as one partial sum per lane. */
static INLINE V NAME(row)(const fastbptt_error *what, const real *d, const real *m, ptrdiff_t weight_width, real *z, V *e)
{
    const int one_function = fastbptt_outputs_of(what->loss) != FASTBPTT_ANY;
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
            dy = NAME(slope)(1, what, y, what->K == what->O ? LOAD(d + o) : NAME(beside)(d, what->K, o, what->O), o, &e_o);
            dy = SELECT((weight != 0) & there, dy * (factor * weight), SPLAT(0));
            if (pass == 0) {
                e_o = SELECT((weight != 0) & there, e_o, SPLAT(0));
                *e += e_o;
                total += weight * e_o;
            }
            if (!one_function && what->activation != FASTBPTT_SOFTMAX)
                dy = NAME(back_from_output)(what->activation, dy, y);
            else if (!one_function && pass == 0) { /* Y (dY - Σ dY Y) */
                inner += SELECT(there, dy * y, SPLAT(0));
                dy = y;
            } else if (!one_function) {
                if (o == 0)
                    inner = SPLAT(NAME(sum)(inner));
                dy = NAME(softmax_back)(what, y, dy, inner);
            }
            STORE(z + o, dy);
        }
    return total;
}

/* Compute z <- exp(z - top), where top is the largest z. Return top, and set `total` to the sum of z. NaN spreads. */
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

/* Compute z <- scale m ∂e/∂z for softmax with cross-entropy, which is Y Σ D - D. Set e to the loss and return m e. d is NULL
 * if the target is a label. */
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

/* Compute z <- 2 scale (z - d) and return Σ (z - d)²: `row` for squared errors, the most common loss, over all rows. */
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
            sum += SELECT(there, r * r, SPLAT(0)); /* rounded before the addition, like a weighted loss */
            STORE(Z + o, SELECT(there, r * 2 * factor, SPLAT(0)));
        }
        if (i % 16 == 15 || i == rows - 1) { /* rarely, for speed, but before rounding errors accumulate */
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
    const int one_function = fastbptt_outputs_of(what->loss) != FASTBPTT_ANY;
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
            if (i % 16 == 15 || i == rows - 1) { /* rarely, for speed, but before rounding errors accumulate */
                total += NAME(sum)(totals);
                totals = SPLAT(0);
            }
        } else if (m != NULL && m[0] == 0) { /* the label may be -1 */
            memset(Z, 0, what->O * sizeof(real));
            e = 0;
        } else
            total += NAME(softmax_row)(what, d, labels != NULL ? labels[i] : 0, m != NULL ? m[0] : 1, Z, &e);
        if (losses != NULL)
            losses[i] = (real)e;
    }
    return total;
}
