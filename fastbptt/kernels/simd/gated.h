/* The recurrence of cells of several gates, forward and backward. Part of simd.h.
 *
 * kernels.h has the equations, defs/cells.def the sizes of each cell. A row of `saves` and of delta is one block of ldh numbers
 * per slot. The first slots of delta are those of the gates, in the order of W_s; only if a product is APART, the last gate
 * comes first. `saves` begins with the same slots: on entry of a step they hold the gates' pre-activations. The slots are
 *
 *                  saves                       delta
 *     GRU          n, r, z, hn                 n, r, z, hn
 *     GRU_BEFORE   r, z, n                     r, z, n
 *     LSTM         i, f, g, o, g1(c), c before i, f, g, o
 *
 * where hn is the product of the last gate with W_s plus b_n. Both products of the GRU's last gate so adjoin those of the others.
 *
 * A new cell needs two functions here, which the row of the table calls by the cell's name. Both compute all rows of one step, and
 * all cells have the same arguments:
 *
 *     NAME_step       from the pre-activations in `saves` to what the cell saves, to S, and to the second carry if it has one.
 *                     If the product of the last gate is GATED, the slots of the other gates already hold their sigmoids.
 *     NAME_step_back  from ∂E/∂S through the outputs and later products, in the first slot of delta, to delta. dcarry is that of
 *                     the step after, unless `comes` is 0, and becomes that of this step. If the product of the last gate is
 *                     GATED, the first slot is left with the gradient by the first gate's value, without the part that comes
 *                     through that product. `gate_back` adds this part, and multiplies by the slope of the sigmoid.
 */

#if BITS == 32
#define GATE_LOWEST -87.0f
#define GATE_HIGHEST 88.0f
#else
#define GATE_LOWEST -708.0
#define GATE_HIGHEST 709.0
#endif

/* Return the sigmoid of a. As in `exp`, but exp(-a) + 1 needs no factor for subnormal numbers, and no branch for the sign: the
 * quotient is accurate for both. The limits make exp(-a) finite and normal. */
static INLINE V NAME(gate_of)(V a)
{
    V n, q, scale;
    MASK n_bits;
    a = CLAMP(-a, GATE_LOWEST, GATE_HIGHEST);
    q = NAME(reduce)(1, a, &n, &n_bits);
    scale = POWER_OF_2(n_bits - SHIFT_BITS);
    return 1 / (scale * q + (scale + 1));
}

/* Return s (1 - s), the slope of the sigmoid s. */
static INLINE V NAME(slope_of_gate)(V s)
{
    return s * (1 - s);
}

/* ---- One vector of units at one step, forward: from pre-activations to what the cell saves and to its carries */

static INLINE void NAME(gru_unit)(const int activation, ptrdiff_t ldh, const real *before, real *S, real *saves)
{
    const V r = NAME(gate_of)(LOAD(saves + ldh)), z = NAME(gate_of)(LOAD(saves + 2 * ldh));
    const V n = NAME(g)(activation, LOAD(saves) + r * LOAD(saves + 3 * ldh));
    STORE(saves, n);
    STORE(saves + ldh, r);
    STORE(saves + 2 * ldh, z);
    STORE(S, n + z * (LOAD(before) - n));
}

static INLINE void NAME(lstm_unit)(const int activation, ptrdiff_t ldh, const real *carry_before, real *S, real *carry,
                                   real *saves)
{
    const V i = NAME(gate_of)(LOAD(saves)), f = NAME(gate_of)(LOAD(saves + ldh));
    const V g = NAME(g)(activation, LOAD(saves + 2 * ldh)), o = NAME(gate_of)(LOAD(saves + 3 * ldh));
    const V kept = LOAD(carry_before);
    V part = f * kept, c, r;
    IN_REGISTER(part);
    c = part + i * g;
    r = NAME(g)(activation, c);
    STORE(saves, i);
    STORE(saves + ldh, f);
    STORE(saves + 2 * ldh, g);
    STORE(saves + 3 * ldh, o);
    STORE(saves + 4 * ldh, r);
    STORE(saves + 5 * ldh, kept);
    STORE(carry, c);
    STORE(S, o * r);
}

/* ---- One vector of units at one step, back: dh is ∂E/∂S. Lanes of padding become 0, so that products may run over all slots. */

static INLINE void NAME(gru_unit_back)(const int activation, MASK there, ptrdiff_t ldh, const real *saves, const real *before,
                                       V dh, real *dcarry, real *delta)
{
    const V n = LOAD(saves), r = LOAD(saves + ldh), z = LOAD(saves + 2 * ldh), hn = LOAD(saves + 3 * ldh);
    const V dn = SELECT(there, dh * (1 - z) * NAME(slope_of_g)(activation, n), SPLAT(0));
    const V dz = SELECT(there, dh * (LOAD(before) - n) * NAME(slope_of_gate)(z), SPLAT(0));
    STORE(dcarry, dh * z);
    STORE(delta, dn);
    STORE(delta + ldh, SELECT(there, dn * hn * NAME(slope_of_gate)(r), SPLAT(0)));
    STORE(delta + 2 * ldh, dz);
    STORE(delta + 3 * ldh, dn * r);
}

static INLINE void NAME(lstm_unit_back)(const int activation, MASK there, ptrdiff_t ldh, const real *saves, V dh, V dc,
                                        real *dcarry, real *delta)
{
    const V i = LOAD(saves), f = LOAD(saves + ldh), g = LOAD(saves + 2 * ldh), o = LOAD(saves + 3 * ldh);
    const V r = LOAD(saves + 4 * ldh), kept = LOAD(saves + 5 * ldh);
    V through = dh * o * NAME(slope_of_g)(activation, r);
    IN_REGISTER(through);
    dc = SELECT(there, dc + through, SPLAT(0));
    STORE(dcarry, dc * f);
    STORE(delta, dc * g * NAME(slope_of_gate)(i));
    STORE(delta + ldh, SELECT(there, dc * kept * NAME(slope_of_gate)(f), SPLAT(0)));
    STORE(delta + 2 * ldh, dc * i * NAME(slope_of_g)(activation, g));
    STORE(delta + 3 * ldh, SELECT(there, dh * r * NAME(slope_of_gate)(o), SPLAT(0)));
}

/* ---- All rows of one step */

static INLINE void NAME(gru_step)(const int activation, ptrdiff_t rows, ptrdiff_t ldh, const real *before,
                                  const real *carry_before, real *S, real *carry, real *saves)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, S += ldh, saves += 4 * ldh)
        for (j = 0; j < ldh; j += W)
            NAME(gru_unit)(activation, ldh, before + j, S + j, saves + j);
}

static INLINE void NAME(lstm_step)(const int activation, ptrdiff_t rows, ptrdiff_t ldh, const real *before,
                                   const real *carry_before, real *S, real *carry, real *saves)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, carry_before += ldh, S += ldh, carry += ldh, saves += 6 * ldh)
        for (j = 0; j < ldh; j += W)
            NAME(lstm_unit)(activation, ldh, carry_before + j, S + j, carry + j, saves + j);
}

static INLINE void NAME(gru_before_step)(const int activation, ptrdiff_t rows, ptrdiff_t ldh, const real *before,
                                         const real *carry_before, real *S, real *carry, real *saves)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, S += ldh, saves += 3 * ldh)
        for (j = 0; j < ldh; j += W) {
            const V n = NAME(g)(activation, LOAD(saves + 2 * ldh + j));
            STORE(saves + 2 * ldh + j, n);
            STORE(S + j, n + LOAD(saves + ldh + j) * (LOAD(before + j) - n));
        }
}

static INLINE void NAME(gru_step_back)(const int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, const real *saves,
                                       const real *before, int comes, real *dcarry, real *delta)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, dcarry += ldh, saves += 4 * ldh, delta += 4 * ldh)
        for (j = 0; j < ldh; j += W) {
            const V dh = comes ? LOAD(delta + j) + LOAD(dcarry + j) : LOAD(delta + j);
            NAME(gru_unit_back)(activation, NAME(there)(H - j), ldh, saves + j, before + j, dh, dcarry + j, delta + j);
        }
}

static INLINE void NAME(lstm_step_back)(const int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, const real *saves,
                                        const real *before, int comes, real *dcarry, real *delta)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, dcarry += ldh, saves += 6 * ldh, delta += 4 * ldh)
        for (j = 0; j < ldh; j += W)
            NAME(lstm_unit_back)(activation, NAME(there)(H - j), ldh, saves + j, LOAD(delta + j),
                                 comes ? LOAD(dcarry + j) : SPLAT(0), dcarry + j, delta + j);
}

static INLINE void NAME(gru_before_step_back)(const int activation, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh,
                                              const real *saves, const real *before, int comes, real *dcarry, real *delta)
{
    ptrdiff_t i, j;
    for (i = 0; i < rows; i++, before += ldh, dcarry += ldh, saves += 3 * ldh, delta += 3 * ldh)
        for (j = 0; j < ldh; j += W) {
            const MASK there = NAME(there)(H - j);
            const V dh = comes ? LOAD(delta + j) + LOAD(dcarry + j) : LOAD(delta + j);
            const V z = LOAD(saves + ldh + j), n = LOAD(saves + 2 * ldh + j);
            const V dz = dh * (LOAD(before + j) - n) * NAME(slope_of_gate)(z);
            STORE(delta + j, SPLAT(0));
            STORE(delta + ldh + j, SELECT(there, dz, SPLAT(0)));
            STORE(delta + 2 * ldh + j, SELECT(there, dh * (1 - z) * NAME(slope_of_g)(activation, n), SPLAT(0)));
            STORE(dcarry + j, dh * z);
        }
}

/* Compute C += A @ P for the blocks of n gates in A. P is packed as one matrix if A has no padding, else gate by gate. */
static INLINE void NAME(add_gates)(ptrdiff_t n, ptrdiff_t rows, ptrdiff_t H, ptrdiff_t ldh, const real *A, ptrdiff_t lda,
                                   const real *P, real *C, ptrdiff_t ldc)
{
    ptrdiff_t g;
    if (H == ldh)
        NAME(add_product)(rows, n * H, A, lda, P, ldh, C, ldc);
    else
        for (g = 0; g < n; g++)
            NAME(add_product)(rows, H, A + g * ldh, lda, P + g * H * ldh, ldh, C, ldc);
}

#define BY_ACTIVATION(step, ...) \
    do { \
        if (what->activation == FASTBPTT_TANH) \
            NAME(step)(FASTBPTT_TANH, __VA_ARGS__); \
        else \
            NAME(step)(what->activation, __VA_ARGS__); \
    } while (0)

/* ---- One row of at most two vectors, of GRU and LSTM. Its products are inlined tiles: a step of a small network takes less time
 * than the calls and branches of `add_product`. Each sum has the accumulators that it has there, so that a row keeps its bits. A
 * cell without such functions computes these rows as any others. */

#define FEW_OF_TWO (REGISTERS > 16 ? 3 : 2)

/* Compute C += A @ P for one row and a constant number n of vectors. */
static INLINE void NAME(add_row)(const int n, ptrdiff_t K, const real *A, const real *P, real *C)
{
#define TILE_OF_ROW(v, nv, parts) \
    NAME(tile)(1, nv, parts, 0, K, A, 0, 1, P + (v) * W * K, nv == 1 ? W : 2 * W, 2 * W * K, C + (v) * W, 0, C + (v) * W, 0)
#define LAST_OF_ROW(v) \
    do { \
        if (K < FOUR_PARTS_FROM) \
            TILE_OF_ROW(v, 1, 2); \
        else \
            TILE_OF_ROW(v, 1, 4); \
    } while (0)
    if (n == 1)
        LAST_OF_ROW(0);
    else if (n == 2)
        TILE_OF_ROW(0, 2, FEW_OF_TWO);
    else if (n == 3) {
        TILE_OF_ROW(0, 2, FEW_OF_TWO);
        LAST_OF_ROW(2);
    } else if (n == 4)
        TILE_OF_ROW(0, 4, 2);
    else if (n == 6) {
        TILE_OF_ROW(0, 4, 2);
        TILE_OF_ROW(4, 2, 2);
    } else /* 8 */
        TILE_OF_ROW(0, 8, 1);
#undef TILE_OF_ROW
#undef LAST_OF_ROW
}

static INLINE void NAME(gru_row)(const int nv, const int activation, ptrdiff_t steps, ptrdiff_t H, const real *P,
                                 const real *b_n, const real *before, real *S, real *saves)
{
    const ptrdiff_t ldh = nv * W;
    int v;
    for (; steps > 0; steps--, before = S, S += ldh, saves += 4 * ldh) {
        UNROLL for (v = 0; v < nv; v++)
            STORE(saves + 3 * ldh + v * W, LOAD(b_n + v * W));
        NAME(add_row)(3 * nv, H, before, P, saves + ldh);
        UNROLL for (v = 0; v < nv; v++)
            NAME(gru_unit)(activation, ldh, before + v * W, S + v * W, saves + v * W);
    }
}

static INLINE void NAME(lstm_row)(const int nv, const int activation, ptrdiff_t steps, ptrdiff_t H, const real *P,
                                  const real *before, const real *carry_before, real *S, real *carry, real *saves)
{
    const ptrdiff_t ldh = nv * W;
    int v;
    for (; steps > 0; steps--, before = S, carry_before = carry, S += ldh, carry += ldh, saves += 6 * ldh) {
        NAME(add_row)(4 * nv, H, before, P, saves);
        UNROLL for (v = 0; v < nv; v++)
            NAME(lstm_unit)(activation, ldh, carry_before + v * W, S + v * W, carry + v * W, saves + v * W);
    }
}

/* `gate_back` for one row: `gates` gates from slot `first` on go back to the step before. */
static INLINE void NAME(back_of_row)(const int nv, const int lstm, const int activation, ptrdiff_t steps, ptrdiff_t H,
                                     const real *P, const real *saves, const real *before, const real *later, real *dcarry,
                                     real *delta)
{
    const ptrdiff_t ldh = nv * W, lds = (lstm ? 6 : 4) * ldh, first = lstm ? 0 : ldh;
    const int gates = lstm ? 4 : 3;
    ptrdiff_t t, g;
    int v;
    for (t = steps - 1; t >= 0; t--) {
        const real *s = saves + t * lds;
        real *d = delta + t * 4 * ldh;
        if (later != NULL && H == ldh)
            NAME(add_row)(nv, gates * H, later + first, P, d);
        else if (later != NULL)
            for (g = 0; g < gates; g++)
                NAME(add_row)(nv, H, later + first + g * ldh, P + g * H * ldh, d);
        UNROLL for (v = 0; v < nv; v++) {
            const MASK there = NAME(there)(H - v * W);
            const V direct = later != NULL ? LOAD(dcarry + v * W) : SPLAT(0);
            if (lstm)
                NAME(lstm_unit_back)(activation, there, ldh, s + v * W, LOAD(d + v * W), direct, dcarry + v * W, d + v * W);
            else
                NAME(gru_unit_back)(activation, there, ldh, s + v * W, before + t * ldh + v * W,
                                    later != NULL ? LOAD(d + v * W) + direct : LOAD(d + v * W), dcarry + v * W, d + v * W);
        }
        later = d;
    }
}

/* Call NAME(function)(nv, ...) for a row of nv vectors; tanh is a constant in it. */
#define BY_WIDTH(function, ...) \
    do { \
        if (ldh == W && what->activation == FASTBPTT_TANH) \
            NAME(function)(1, __VA_ARGS__ FASTBPTT_TANH, ROW_ARGUMENTS); \
        else if (ldh == W) \
            NAME(function)(1, __VA_ARGS__ what->activation, ROW_ARGUMENTS); \
        else if (what->activation == FASTBPTT_TANH) \
            NAME(function)(2, __VA_ARGS__ FASTBPTT_TANH, ROW_ARGUMENTS); \
        else \
            NAME(function)(2, __VA_ARGS__ what->activation, ROW_ARGUMENTS); \
        return; \
    } while (0)

static void NAME(gate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P, ptrdiff_t ldh,
                       const real *b_n, const real *mask, real *masked, const real *before, const real *carry_before, real *S,
                       real *carry, real *saves)
{
    const struct fastbptt_cell_row *cell = &fastbptt_cells[what->form];
    const int apart = cell->product == FASTBPTT_APART, gated = cell->product == FASTBPTT_GATED;
    const ptrdiff_t n = rows * ldh, lds = cell->saves * ldh;
    const ptrdiff_t width = (cell->gates - gated) * ldh; /* of the product with the state */
    ptrdiff_t t, i, j;
    if (rows == 1 && mask == NULL && ldh <= 2 * W) {
#define ROW_ARGUMENTS steps, H, P, b_n, before, S, saves
        if (what->form == FASTBPTT_GRU)
            BY_WIDTH(gru_row, );
#undef ROW_ARGUMENTS
#define ROW_ARGUMENTS steps, H, P, before, carry_before, S, carry, saves
        if (what->form == FASTBPTT_LSTM)
            BY_WIDTH(lstm_row, );
#undef ROW_ARGUMENTS
    }
    for (t = 0; t < steps; t++, before = S, S += n, saves += rows * lds) {
        const real *factor = before;
        if (mask != NULL) {
            NAME(multiply)(n, before, mask, masked);
            factor = masked;
        }
        for (i = 0; i < (apart ? rows : 0); i++)
            memcpy(saves + i * lds + cell->gates * ldh, b_n, ldh * sizeof(real));
        NAME(add_product)(rows, H, factor, ldh, P, width, saves + (apart ? ldh : 0), lds);
        if (gated) { /* the product of the first gate and the state is the factor of the last gate */
            real *product = masked + n;
            for (i = 0; i < rows; i++)
                for (j = 0; j < width; j += W) {
                    const V s = NAME(gate_of)(LOAD(saves + i * lds + j));
                    STORE(saves + i * lds + j, s);
                    if (j < ldh)
                        STORE(product + i * ldh + j, s * LOAD(factor + i * ldh + j));
                }
            NAME(add_product)(rows, H, product, ldh, P + width * H, ldh, saves + width, lds);
        }
        switch (what->form) {
#define CELL(CONSTANT, ...)
#define GATED_CELL(CONSTANT, name, ...) \
    case FASTBPTT_##CONSTANT: BY_ACTIVATION(name##_step, rows, ldh, before, carry_before, S, carry, saves); break;
#include "../defs/cells.def"
        }
        if (cell->carries > 1) {
            carry_before = carry;
            carry += n;
        }
    }
}

static void NAME(gate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *P,
                            ptrdiff_t ldh, const real *mask, real *masked, const real *saves, const real *before,
                            const real *later, real *dcarry, real *delta)
{
    const struct fastbptt_cell_row *cell = &fastbptt_cells[what->form];
    const int gated = cell->product == FASTBPTT_GATED;
    const ptrdiff_t n = rows * ldh, lds = cell->saves * ldh, ldd = cell->slots * ldh;
    const ptrdiff_t first = (cell->slots - cell->gates) * ldh; /* where the product that goes back to the step before begins */
    const ptrdiff_t gates = cell->gates - gated;               /* of that product */
    ptrdiff_t t, i, j;
    if (later == NULL)
        memset(dcarry, 0, n * sizeof(real));
    if (rows == 1 && mask == NULL && ldh <= 2 * W && steps > 0) {
#define ROW_ARGUMENTS steps, H, P, saves, before, later, dcarry, delta
        if (what->form == FASTBPTT_GRU)
            BY_WIDTH(back_of_row, 0, );
        if (what->form == FASTBPTT_LSTM)
            BY_WIDTH(back_of_row, 1, );
#undef ROW_ARGUMENTS
    }
    for (t = steps - 1; t >= 0 || steps == 0; t--) {
        real *d = delta + (steps == 0 ? 0 : t * rows * ldd);
        const real *s = saves + t * rows * lds, *b = before + t * n;
        const int comes = later != NULL;
        if (comes && mask == NULL)
            NAME(add_gates)(gates, rows, H, ldh, later + first, ldd, P, d, ldd);
        else if (comes) {
            memset(masked, 0, n * sizeof(real));
            NAME(add_gates)(gates, rows, H, ldh, later + first, ldd, P, masked, ldh);
            for (i = 0; i < rows; i++)
                for (j = 0; j < ldh; j += W)
                    STORE(d + i * ldd + j, LOAD(d + i * ldd + j) + LOAD(masked + i * ldh + j) * LOAD(mask + i * ldh + j));
        }
        if (steps == 0) {
            for (i = 0; i < (cell->carries > 1 ? 0 : rows); i++)
                for (j = 0; j < ldh; j += W)
                    STORE(d + i * ldd + j, LOAD(d + i * ldd + j) + LOAD(dcarry + i * ldh + j));
            return;
        }
        switch (what->form) {
#define CELL(CONSTANT, ...)
#define GATED_CELL(CONSTANT, name, ...) \
    case FASTBPTT_##CONSTANT: BY_ACTIVATION(name##_step_back, rows, H, ldh, s, b, comes, dcarry, d); break;
#include "../defs/cells.def"
        }
        if (gated) {
            real *product = masked + n; /* ∂E/∂ the first gate times the state */
            memset(product, 0, n * sizeof(real));
            NAME(add_product)(rows, H, d + gates * ldh, ldd, P + gates * H * ldh, ldh, product, ldh);
            for (i = 0; i < rows; i++)
                for (j = 0; j < ldh; j += W) {
                    const MASK there = NAME(there)(H - j);
                    const V r = LOAD(s + i * lds + j);
                    V back = LOAD(product + i * ldh + j), direct, dr;
                    if (mask != NULL)
                        back *= LOAD(mask + i * ldh + j);
                    direct = back * r;
                    IN_REGISTER(direct);
                    STORE(dcarry + i * ldh + j, LOAD(dcarry + i * ldh + j) + direct);
                    dr = LOAD(d + i * ldd + j) + back * LOAD(b + i * ldh + j);
                    STORE(d + i * ldd + j, SELECT(there, dr * NAME(slope_of_gate)(r), SPLAT(0)));
                }
        }
        later = d;
    }
}
#undef BY_WIDTH
#undef FEW_OF_TWO
#undef GATE_LOWEST
#undef GATE_HIGHEST
