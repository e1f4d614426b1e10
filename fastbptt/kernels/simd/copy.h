/* Copies between the caller's arrays, with any strides, and packed blocks. Part of simd.h.
 *
 * Code that moves numbers without changing them belongs here.
 */

/* Copy `width` numbers of x to y, and write zeros up to ld. `readable` numbers of x may be read. `there` is the mask of the
 * numbers in the last, incomplete vector. */
static INLINE void NAME(copy)(ptrdiff_t width, ptrdiff_t ld, const real *x, ptrdiff_t readable, MASK there, real *y)
{
    ptrdiff_t j = 0;
    for (; j + W <= width; j += W)
        STORE(y + j, LOAD(x + j));
    if (j < width && j + W <= MIN(ld, readable)) {
        STORE(y + j, SELECT(there, LOAD(x + j), SPLAT(0)));
        j += W;
    } else if (j < width && W <= width) { /* copies some numbers twice */
        STORE(y + width - W, LOAD(x + width - W));
        j = width;
    }
    for (; j < width; j++) {
        y[j] = x[j];
        KEEP_LOOP; /* a call of memcpy would take longer */
    }
    for (; j < ld; j++) {
        y[j] = 0;
        KEEP_LOOP;
    }
}

#if BYTES > 16
typedef real NAME(half) __attribute__((vector_size(BYTES / 2), may_alias, aligned(BITS / 8)));
typedef whole NAME(half_mask) __attribute__((vector_size(BYTES / 2), may_alias));

/* Copy rows of at most half a vector to one vector each, reading half vectors. Return the number of rows copied: it ends where a
 * half vector would exceed X.
 *
 * A whole vector would often cross a cache line. Reading 320 rows in random order with whole and with half vectors, in ns,
 * avx512, one core of an AMD Zen 5 (2026-11): 356 and 176 for rows of 4 floats, 285 and 200 for rows of 8. */
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
    if (index == NULL && stride_t == rows * stride_b) { /* all rows are equally spaced */
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
        if (lda == W && index == NULL) /* the numbers after the row also belong to the caller */
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
