/* The formulas of losses, included for vectors (simd/loss.h) and for single numbers (scalar.h).
 *
 * To add a loss, add a row to losses.def and its function here. The function sets *e to e(y, d) and returns ∂e/∂y. For a loss
 * fused with its output activation, y is z, and the function returns ∂e/∂z. q is the parameter in the table's column `number`.
 * The including file defines the names that activations.h requires, and the function `level`, the quantile level of output o.
 */

static INLINE V NAME(loss_squared_error)(V y, V d, V q, WIDE *e)
{
    const V r = y - d;
    (void)q;
    *e = r * r;
    return r * 2;
}

static INLINE V NAME(loss_absolute_error)(V y, V d, V q, WIDE *e)
{
    const V r = y - d;
    (void)q;
    *e = ABS(r);
    return SELECT(r > 0, SPLAT(1), SELECT(r < 0, SPLAT(-1), r)); /* NaN stays, here and below */
}

static INLINE V NAME(loss_huber)(V y, V d, V q, WIDE *e)
{
    const V r = y - d;
    *e = SELECT(ABS(r) <= q, r * r * HALF, q * (ABS(r) - q * HALF));
    return SELECT(ABS(r) <= q, r, SELECT(r > 0, q, SELECT(r < 0, -q, r)));
}

static INLINE V NAME(loss_quantile)(V y, V d, V q, WIDE *e)
{
    const V r = y - d;
    *e = SELECT(r < 0, -q, 1 - q) * r;
    return SELECT(r < 0, -q, SELECT(r > 0, 1 - q, r));
}

static INLINE V NAME(loss_binary_cross_entropy)(V y, V d, V q, WIDE *e)
{
    const V exponential = NAME(exp)(-ABS(y)), probability = SELECT(y < 0, exponential, SPLAT(1)) / (ONE + exponential);
    (void)q;
    *e = POSITIVE_PART(y) - y * d + NAME(log1p)(exponential);
    return probability - d;
}

static INLINE V NAME(loss_poisson)(V y, V d, V q, WIDE *e)
{
    const V exponential = NAME(exp)(y);
    (void)q;
    *e = exponential - d * y;
    return exponential - d;
}

/* Set *e to the loss of output o and return its derivative. `beside` is a constant: 1 if a vector holds the outputs o, o + 1,
 * ... of one row, 0 if it holds output o of many networks. A row loss or a number without a row gives NaN. */
static INLINE V NAME(slope)(const int beside, const fastbptt_error *what, V y, V d, ptrdiff_t o, WIDE *e)
{
    switch ((enum fastbptt_loss)what->loss) {
#define NUMBER_NONE SPLAT(0)
#define NUMBER_THRESHOLD SPLAT(what->threshold)
#define NUMBER_LEVEL NAME(level)(beside, what, o)
#define LOSS(CONSTANT, name, outputs, number) case FASTBPTT_##CONSTANT: return NAME(loss_##name)(y, d, NUMBER_##number, e);
#define ROW_LOSS(CONSTANT, name, outputs) case FASTBPTT_##CONSTANT: break;
#include "losses.def"
#undef NUMBER_NONE
#undef NUMBER_THRESHOLD
#undef NUMBER_LEVEL
    case FASTBPTT_GIVEN:
        *e = SPLAT(0);
        return d;
    }
    *e = SPLAT(NAN);
    return SPLAT(NAN);
}
