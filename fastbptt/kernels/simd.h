/* The verbs of kernels.h in vectors, for one instruction set and one real type; sets/set.h includes this for each type.
 *
 * Before the inclusion are defined
 *     SET           the set's name
 *     BITS          of a real: 32 or 64
 *     BYTES         of a vector
 *     ROWS          of a tile, at most 8: ROWS * 2 accumulators, two vectors and a factor are to fit the registers
 * A new instruction set is one more file in sets/, and its name in dispatch.c.
 *
 * The kernels are in simd/: math.h (elementary functions), gemm.h (products and sums), recurrence.h, copy.h, loss.h, update.h.
 * Each file uses those before it. A new file is one more inclusion at the end of this one.
 *
 * Design
 * ------
 * (a) A row of a block is padded to whole vectors, so no loop here has a scalar tail; only what is the caller's, biases and
 *     gradients, has one (`base` of `affine`, `buffer` of `outer`). What stands in the padding is never stored there.
 * (b) `pack` cuts a matrix into panels two vectors wide, the last one maybe narrower, each (K, width) and contiguous: P takes
 *     the place that (K, ldp) would. Few rows read up to four panels at once, so that there are sums enough in flight.
 * (c) `tile` is the only product, but for one of a vector in a register (`add_state`). Into how many parts each of its sums is
 *     cut depends on shapes, never on the number of rows: so a row has the same bits whatever rows stand beside it.
 * (d) Elementary functions have no branches, in either type within these bounds, in units in the last place (all float32
 *     numbers, against float64, and 10^8 float64 ones, against the x87's long double; tests/kernels/ulps.c): exp 1.1, elu
 *     1.3, softsign 1.5, sigmoid 2.5, tanh 2.2 (float32 1.0, in four numbers at a time 1.21), softplus 2.9. They need IEEE
 *     arithmetic: -ffast-math would cancel SHIFT.
 */

#ifdef __GNUC__
/* A row of a table without its function, or a constant without its case, does not compile. */
#pragma GCC diagnostic error "-Wswitch"
#pragma GCC diagnostic error "-Wimplicit-function-declaration"
#endif

#define real NAME(real)
#define whole NAME(whole)
#define V NAME(V)
#define U NAME(U)
#define MASK NAME(MASK)

#if BITS == 32
typedef float real;
typedef uint32_t whole;
#else
typedef double real;
typedef uint64_t whole;
#endif
typedef real V __attribute__((vector_size(BYTES)));
typedef real U __attribute__((vector_size(BYTES), may_alias, aligned(BITS / 8))); /* at any address of a real */
typedef whole MASK __attribute__((vector_size(BYTES)));

#define W ((ptrdiff_t)(BYTES / sizeof(real)))
#define LOAD(p) ((V)*(const U *)(p))
#define STORE(p, v) (*(U *)(p) = (U)(v))
#define SPLAT(x) ((V){0} + (real)(x))
#define BROADCAST(x) ((real)(x) - (V){0}) /* -0 too */
/* a b + c, rounded once wherever the set can: left to itself, GCC 12 at -O3 sometimes rounds the product as well, and a row
 * would have other bits beside other rows */
#if BYTES == 64 && BITS == 32
#define FUSED(a, b, c) ((V)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#elif BYTES == 64
#define FUSED(a, b, c) ((V)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif BYTES == 32 && BITS == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#elif BYTES == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define FUSED(a, b, c) ((a) * (b) + (c))
#endif
#define SELECT(mask, yes, no) ((V)(((MASK)(mask) & (MASK)(yes)) | (~(MASK)(mask) & (MASK)(no))))
#define ABS(x) ((V)((MASK)(x) & ~SIGN))
#define SIGN ((MASK)(-SPLAT(0)))
#define WIDE V /* defs/activations.h says what these three are for */
#define ONE 1
#define HALF (real)0.5
#define POSITIVE_PART(x) SELECT((x) <= 0, SPLAT(0), x) /* NaN stays */

#include "simd/math.h"
#include "simd/gemm.h"
#include "simd/recurrence.h"
#include "simd/copy.h"
#include "simd/loss.h"
#include "simd/update.h"
#include "lanes.h"

#undef real
#undef whole
#undef V
#undef U
#undef MASK
#undef W
#undef LOAD
#undef STORE
#undef SPLAT
#undef BROADCAST
#undef FUSED
#undef SELECT
#undef ABS
#undef SIGN
#undef POSITIVE_PART
#undef WIDE
#undef ONE
#undef HALF
#undef SHIFT
#undef SHIFT_BITS
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef EXPONENT_BIAS
#undef FRACTION_BITS
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef EXPM1_LOWEST
#undef TANH_HIGHEST
#undef TANH_INTERVALS
#undef PERMUTE
#undef MIN_OR_NAN
#undef NOT_NEGATIVE
#undef SQRT
#undef CLAMP
#undef POWER_OF_2
#undef EVERY_TILE
#undef HALF_OF_TILES
#undef LONG_TILES
#undef TILE_NUMBER
#undef STATES
#undef STATES_OF_16
#undef LARGER_STATES
#undef LARGER_OF_16
#undef STATES_OF_ONE
#undef STATE_NUMBER
#undef BITS
