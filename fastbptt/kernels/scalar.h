/* Instantiate the formulas of defs/ for single numbers, in float32 and float64, for the `blas` set.
 *
 * This file includes itself once for each type. It adds no formula: it only defines the macros of the formulas for a real.
 * The formulas have no branches, so that a compiler can vectorise the loops around them.
 */
#ifndef BITS
#ifndef FASTBPTT_SCALAR_H
#define FASTBPTT_SCALAR_H

#include <math.h>

#include "elementary.h"
#include "kernels.h"

#ifdef __GNUC__
/* Refuse to compile a row of a table without its function, or a constant without its case. */
#pragma GCC diagnostic error "-Wswitch"
#pragma GCC diagnostic error "-Wimplicit-function-declaration"
#define INLINE inline __attribute__((always_inline))
#else
#define INLINE inline
#endif
#ifdef _MSC_VER
#define restrict __restrict
#endif

#define JOIN_(a, b) fastbptt_##a##_f##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, BITS)
#define V real
#define W 1
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define SPLAT(x) ((real)(x))
#define SELECT(condition, yes, no) ((condition) ? (yes) : (no))
#define WIDE double
#define ONE 1.0
#define HALF 0.5
#define POSITIVE_PART(x) SELECT((x) <= 0, SPLAT(0), x) /* NaN stays */

#define BITS 32
#include "scalar.h"
#define BITS 64
#include "scalar.h"

#undef INLINE
#undef restrict
#undef JOIN_
#undef JOIN
#undef NAME
#undef V
#undef W
#undef LOAD
#undef STORE
#undef SPLAT
#undef SELECT
#undef POSITIVE_PART
#undef WIDE
#undef ONE
#undef HALF
#endif
#else

#if BITS == 32
#define real float
#define CALL(name) name##f
#else
#define real double
#define CALL(name) name
#endif
#define ABS(x) CALL(fabs)(x)
#define SQRT(x) CALL(sqrt)(x)

static INLINE real NAME(exp)(real x)
{
    return CALL(exp)(x);
}

static INLINE real NAME(expm1)(real x)
{
    return CALL(expm1)(x);
}

static INLINE real NAME(log1p)(real x)
{
    return CALL(log1p)(x);
}

static INLINE real NAME(tanh)(real x)
{
    return CALL(fastbptt_tanh)(x);
}

static INLINE real NAME(level)(const int beside, const fastbptt_error *what, ptrdiff_t o)
{
    (void)beside;
    return (real)what->levels[o / what->K];
}

#include "defs/activations.h"
#include "defs/losses.h"
#include "simd/update.h"

#undef real
#undef CALL
#undef ABS
#undef SQRT
#undef BITS
#endif
