/* Implement the kernels of kernels.h in vectors, for one instruction set and one real type.
 *
 * sets/set.h includes this file once for each type. Before the inclusion it defines
 *     SET           the set's name
 *     BITS          of a real: 32 or 64
 *     BYTES         of a vector
 *     ROWS          of a tile, at most 8: ROWS * 2 accumulators, two vectors and a factor must fit the registers
 * To add an instruction set, add a file to sets/ and its name to dispatch.c.
 *
 * The kernels are in simd/: math.h (elementary functions), gemm.h (products and sums), recurrence.h, copy.h, loss.h, update.h.
 * Each file uses only earlier ones. To add a file, include it at the end of this one.
 *
 * Design
 * ------
 * (a) Rows of a block are padded to whole vectors, so loops over blocks have no scalar tail. Only the caller's own arrays,
 *     biases and gradients, need one (`base` of `affine`, `buffer` of `outer`). Padding is never stored in these arrays.
 * (b) `pack` cuts a matrix into contiguous panels (K, width). A panel is two vectors wide; the last one may be narrower. P is as
 *     large as (K, ldp). A product with few rows reads up to four panels at once, so that enough sums are in flight.
 * (c) `tile` computes all products, except those of a vector in a register (`add_state`). The number of accumulators of a sum
 *     depends on shapes, never on the number of rows. A row therefore has the same bits next to any other rows.
 * (d) Elementary functions have no branches. In both types, their errors in units in the last place are at most: exp 1.1, elu
 *     1.3, softsign 1.5, sigmoid 2.5, tanh 2.2 (float32 1.0, with four numbers per vector 1.21), softplus 2.9, silu 3.4,
 *     gelu 10 (float32 7.5). A result of silu or gelu below 1024 times the least normal number may be 0. The bounds are
 *     for all float32 numbers, compared with float64, and for 10^8 float64 numbers, compared with the x87's long double
 *     (tests/kernels/ulps.c). The functions require IEEE arithmetic: -ffast-math would cancel SHIFT.
 */

#ifdef __GNUC__
/* Refuse to compile a row of a table without its function, or a constant without its case. */
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
typedef real U __attribute__((vector_size(BYTES), may_alias, aligned(BITS / 8))); /* aligned like a real only */
typedef whole MASK __attribute__((vector_size(BYTES)));

#define W ((ptrdiff_t)(BYTES / sizeof(real)))
#define LOAD(p) ((V)*(const U *)(p))
#define STORE(p, v) (*(U *)(p) = (U)(v))
#define SPLAT(x) ((V){0} + (real)(x))
#define BROADCAST(x) ((real)(x) - (V){0}) /* keeps -0 */
/* a b + c, rounded once if the set has an instruction for it. Without the intrinsics, GCC 12 at -O3 sometimes rounds the
 * product too, and the bits of a row would depend on the number of rows. */
#if BYTES == 64 && BITS == 32
#define FUSED(a, b, c) ((V)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#elif BYTES == 64
#define FUSED(a, b, c) ((V)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif BYTES == 32 && BITS == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#elif BYTES == 32
#define FUSED(a, b, c) ((V)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#elif defined(__aarch64__) && BITS == 32
#define FUSED(a, b, c) ((V)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#elif defined(__aarch64__)
#define FUSED(a, b, c) ((V)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#else
#define FUSED(a, b, c) ((a) * (b) + (c))
#endif
#define SELECT(mask, yes, no) ((V)(((MASK)(mask) & (MASK)(yes)) | (~(MASK)(mask) & (MASK)(no))))
#define ABS(x) ((V)((MASK)(x) & ~SIGN))
#define SIGN ((MASK)(-SPLAT(0)))
#define WIDE V /* defs/activations.h explains these three */
#define ONE 1
#define HALF (real)0.5
#define POSITIVE_PART(x) SELECT((x) <= 0, SPLAT(0), x) /* NaN stays */

#include "simd/math.h"
#include "simd/gemm.h"
#include "simd/recurrence.h"
#include "simd/gated.h"
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
