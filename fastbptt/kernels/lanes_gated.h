/* The recurrence of cells of several gates for many small networks, one network per lane. Part of lanes.h.
 *
 * The functions of a cell are its NAME_step and NAME_step_back of simd/gated.h, so a new cell needs nothing here. There a vector
 * holds units of one network, here one unit of several networks, and ldh = H * LANES is the distance between the slots of a row.
 */

static void NAME(lanes_gate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w,
                             const real *b_n, const real *ends, const real *before, const real *carry_before, real *S,
                             real *carry, real *saves, real *gated)
{
    const struct fastbptt_cell_row *cell = &fastbptt_cells[what->form];
    const int apart = cell->product == FASTBPTT_APART, last = apart || cell->product == FASTBPTT_GATED;
    const ptrdiff_t ldh = H * LANES, n = rows * ldh, lds = cell->saves * ldh;
    const ptrdiff_t units = (cell->gates - last) * H; /* of the gates whose products are added to their inputs' parts */
    ptrdiff_t t, i, j;
    for (t = 0; t < steps; t++, before = S, S += n, saves += rows * lds) {
        real *first = saves + (apart ? ldh : 0);
        NAME(lanes_product)(0, rows, H, units, before, ldh, LANES, w, ldh, LANES, first, lds, LANES, first, lds);
        if (apart)
            NAME(lanes_product)(0, rows, H, H, before, ldh, LANES, w + units * ldh, ldh, LANES, b_n, 0, LANES,
                                saves + cell->gates * ldh, lds);
        else if (last) {
            for (i = 0; i < rows; i++)
                for (j = 0; j < units * LANES; j += W) {
                    const V s = NAME(gate_of)(LOAD(saves + i * lds + j));
                    STORE(saves + i * lds + j, s);
                    if (j < ldh)
                        STORE(gated + i * ldh + j, s * LOAD(before + i * ldh + j));
                }
            NAME(lanes_product)(0, rows, H, H, gated, ldh, LANES, w + units * ldh, ldh, LANES, saves + units * LANES, lds, LANES,
                                saves + units * LANES, lds);
            NAME(lanes_end)(rows, H, t, ends, gated);
            gated += n;
        }
        switch (what->form) {
#define CELL(CONSTANT, ...)
#define GATED_CELL(CONSTANT, name, ...) \
    case FASTBPTT_##CONSTANT: BY_ACTIVATION(name##_step, rows, ldh, before, carry_before, S, carry, saves); break;
#include "defs/cells.def"
        }
        NAME(lanes_end)(rows, H, t, ends, S);
        if (cell->carries > 1) {
            NAME(lanes_end)(rows, H, t, ends, carry);
            carry_before = carry;
            carry += n;
        }
    }
}

static void NAME(lanes_gate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w,
                                  const real *ends, const real *saves, const real *before, real *delta, real *dcarry,
                                  real *start)
{
    const struct fastbptt_cell_row *cell = &fastbptt_cells[what->form];
    const int gated = cell->product == FASTBPTT_GATED;
    const ptrdiff_t ldh = H * LANES, n = rows * ldh, lds = cell->saves * ldh, ldd = cell->slots * ldh;
    const ptrdiff_t first = (cell->slots - cell->gates) * ldh; /* where the product that goes back to the step before begins */
    const ptrdiff_t units = (cell->gates - gated) * H;         /* of that product */
    ptrdiff_t t, i, j;
    memset(dcarry, 0, n * sizeof(real));
    for (t = steps - 1; t >= 0; t--) {
        real *d = delta + t * rows * ldd;
        const real *s = saves + t * rows * lds, *b = before + t * n;
        const int comes = t < steps - 1;
        if (comes)
            NAME(lanes_product)(0, rows, units, H, d + rows * ldd + first, ldd, LANES, w, LANES, ldh, d, ldd, LANES, d, ldd);
        switch (what->form) {
#define CELL(CONSTANT, ...)
#define GATED_CELL(CONSTANT, name, ...) \
    case FASTBPTT_##CONSTANT: BY_ACTIVATION(name##_step_back, rows, ldh, ldh, s, b, comes, dcarry, d); break;
#include "defs/cells.def"
        }
        if (gated) { /* start is scratch here: ∂E/∂ the first gate times the state */
            NAME(lanes_product)(0, rows, H, H, d + units * LANES, ldd, LANES, w + units * ldh, LANES, ldh, NULL, 0, 0, start, ldh);
            for (i = 0; i < rows; i++)
                for (j = 0; j < ldh; j += W) {
                    const V r = LOAD(s + i * lds + j), back = LOAD(start + i * ldh + j);
                    V direct = back * r;
                    IN_REGISTER(direct);
                    STORE(dcarry + i * ldh + j, LOAD(dcarry + i * ldh + j) + direct);
                    STORE(d + i * ldd + j, (LOAD(d + i * ldd + j) + back * LOAD(b + i * ldh + j)) * NAME(slope_of_gate)(r));
                }
        }
        NAME(lanes_end)(rows, cell->slots * H, t, ends, d);
        NAME(lanes_end)(rows, H, t, ends, dcarry);
    }
    NAME(lanes_product)(0, rows, steps > 0 ? units : 0, H, delta + first, ldd, LANES, w, LANES, ldh,
                        cell->carries > 1 ? NULL : dcarry, ldh, LANES, start, ldh);
}
