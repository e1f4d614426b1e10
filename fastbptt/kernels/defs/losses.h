/* The formulas of losses, once for vectors (simd/loss.h) and once for single numbers (scalar.h).
 *
 * A new loss is a row in losses.def and its function here: it puts e(y, d) into *e and returns ∂e/∂y. If the loss is one
 * function with its output activation, y stands for z and it returns ∂e/∂z. q is the number that the table names. The
 * includer defines what activations.h needs, and the function `level`, the quantile level of output o.
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

/* The function of the loss of output o. `beside`, a constant, says whether a vector holds the outputs o, o + 1, ... of one
 * row, or output o of many networks. A number that is no row's, or a row loss, gives NaN. */
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
