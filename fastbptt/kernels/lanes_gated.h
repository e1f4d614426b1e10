/* The recurrence of GRU and LSTM for many small networks, one network per lane. Part of lanes.h.
 *
 * The functions of single vectors and of all rows of a step are those of simd/gated.h: there a vector holds units of one
 * network, here one unit of several networks, and ldh = H * LANES is the distance between the slots of a row. simd/gated.h
 * lists these slots. A new cell of several gates needs its step forward and its step back here.
 */

static void NAME(lanes_gate)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w,
                             const real *b_n, const real *ends, const real *before, const real *carry_before, real *S,
                             real *carry, real *saves, real *gated)
{
    const int gru = what->form == FASTBPTT_GRU, lstm = what->form == FASTBPTT_LSTM;
    const ptrdiff_t ldh = H * LANES, n = rows * ldh, lds = (gru ? 4 : lstm ? 6 : 3) * ldh;
    ptrdiff_t t, i, j;
    for (t = 0; t < steps; t++, before = S, S += n, saves += rows * lds) {
        if (gru) {
            NAME(lanes_product)(0, rows, H, 2 * H, before, ldh, LANES, w, ldh, LANES, saves + ldh, lds, LANES, saves + ldh, lds);
            NAME(lanes_product)(0, rows, H, H, before, ldh, LANES, w + 2 * H * ldh, ldh, LANES, b_n, 0, LANES, saves + 3 * ldh,
                                lds);
            BY_ACTIVATION(gru_step, rows, ldh, before, S, saves);
        } else if (lstm) {
            NAME(lanes_product)(0, rows, H, 4 * H, before, ldh, LANES, w, ldh, LANES, saves, lds, LANES, saves, lds);
            BY_ACTIVATION(lstm_step, rows, ldh, carry_before, S, carry, saves);
            NAME(lanes_end)(rows, H, t, ends, carry);
            carry_before = carry;
            carry += n;
        } else {
            NAME(lanes_product)(0, rows, H, 2 * H, before, ldh, LANES, w, ldh, LANES, saves, lds, LANES, saves, lds);
            for (i = 0; i < rows; i++)
                for (j = 0; j < ldh; j += W) {
                    const V r = NAME(gate_of)(LOAD(saves + i * lds + j));
                    STORE(saves + i * lds + j, r);
                    STORE(saves + i * lds + ldh + j, NAME(gate_of)(LOAD(saves + i * lds + ldh + j)));
                    STORE(gated + i * ldh + j, r * LOAD(before + i * ldh + j));
                }
            NAME(lanes_product)(0, rows, H, H, gated, ldh, LANES, w + 2 * H * ldh, ldh, LANES, saves + 2 * ldh, lds, LANES,
                                saves + 2 * ldh, lds);
            BY_ACTIVATION(gru_before_step, rows, ldh, before, S, saves);
            NAME(lanes_end)(rows, H, t, ends, gated);
            gated += n;
        }
        NAME(lanes_end)(rows, H, t, ends, S);
    }
}

static void NAME(lanes_gate_back)(const fastbptt_units *what, ptrdiff_t steps, ptrdiff_t rows, ptrdiff_t H, const real *w,
                                  const real *ends, const real *saves, const real *before, real *delta, real *dcarry,
                                  real *start)
{
    const int gru = what->form == FASTBPTT_GRU, lstm = what->form == FASTBPTT_LSTM;
    const ptrdiff_t ldh = H * LANES, n = rows * ldh, lds = (gru ? 4 : lstm ? 6 : 3) * ldh, ldd = (gru || lstm ? 4 : 3) * ldh;
    const ptrdiff_t terms = (gru ? 3 : lstm ? 4 : 2) * H; /* of the product that goes back to the step before */
    ptrdiff_t t, i, j;
    memset(dcarry, 0, n * sizeof(real));
    for (t = steps - 1; t >= 0; t--) {
        real *d = delta + t * rows * ldd;
        const real *s = saves + t * rows * lds, *b = before + t * n, *later = d + rows * ldd + (gru ? ldh : 0);
        const int comes = t < steps - 1;
        if (comes)
            NAME(lanes_product)(0, rows, terms, H, later, ldd, LANES, w, LANES, ldh, d, ldd, LANES, d, ldd);
        if (gru)
            BY_ACTIVATION(gru_step_back, rows, ldh, ldh, s, b, comes, dcarry, d);
        else if (lstm)
            BY_ACTIVATION(lstm_step_back, rows, ldh, ldh, s, comes, dcarry, d);
        else {
            BY_ACTIVATION(gru_before_step_back, rows, ldh, ldh, s, b, comes, dcarry, d);
            /* start is scratch here: ∂E/∂ r ∘ S */
            NAME(lanes_product)(0, rows, H, H, d + 2 * ldh, ldd, LANES, w + 2 * H * ldh, LANES, ldh, NULL, 0, 0, start, ldh);
            for (i = 0; i < rows; i++)
                for (j = 0; j < ldh; j += W) {
                    const V r = LOAD(s + i * lds + j), back = LOAD(start + i * ldh + j);
                    V direct = back * r;
                    IN_REGISTER(direct);
                    STORE(dcarry + i * ldh + j, LOAD(dcarry + i * ldh + j) + direct);
                    STORE(d + i * ldd + j, back * LOAD(b + i * ldh + j) * NAME(slope_of_gate)(r));
                }
        }
        NAME(lanes_end)(rows, ldd / LANES, t, ends, d);
        NAME(lanes_end)(rows, H, t, ends, dcarry);
    }
    NAME(lanes_product)(0, rows, steps > 0 ? terms : 0, H, delta + (gru ? ldh : 0), ldd, LANES, w, LANES, ldh,
                        lstm ? NULL : dcarry, ldh, LANES, start, ldh);
}
