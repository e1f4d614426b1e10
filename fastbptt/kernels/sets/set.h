/* Define one kernel set: simd.h in both real types, and the table of its kernels, `fastbptt_SET`, for dispatch.c.
 *
 * A file of this folder includes this one after it has defined
 *     SET           the set's name
 *     BYTES         of a vector
 *     ROWS          of a tile (see simd.h)
 *     INSTRUCTIONS  the instruction sets to compile for, in the syntax of the compiler's attribute `target`. The set
 *                   `baseline` omits it, because it needs only what every processor of the family has.
 *
 * Each set is a separate file, so that setup.py compiles the sets in parallel. All of them have the same compiler flags, because
 * the source selects the instruction set. Without GCC's vector types, or with FASTBPTT_NO_VECTORS, the files are empty.
 */
#include "defs/tables.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if (defined(__GNUC__) || defined(__clang__)) && !defined(FASTBPTT_NO_VECTORS)

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define INLINE inline __attribute__((always_inline))
#define KEEP_LOOP __asm__ volatile("")
/* Keep a computed value in a register: the compiler neither fuses it with later operations nor loads it again. */
#if defined(__x86_64__)
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define IN_REGISTER(v) __asm__("" : "+w"(v))
#else
#define IN_REGISTER(v) __asm__("" : "+m"(v))
#endif
#define PRAGMA(x) _Pragma(#x)
#ifdef __clang__
#define UNROLL PRAGMA(unroll)
#define NOT_UNROLLED PRAGMA(nounroll)
#define TARGET(x) PRAGMA(clang attribute push(__attribute__((target(x))), apply_to = function))
#define END_OF_TARGET PRAGMA(clang attribute pop)
#else
#define UNROLL PRAGMA(GCC unroll 16)
#define NOT_UNROLLED PRAGMA(GCC unroll 1)
#define TARGET(x) PRAGMA(GCC push_options) PRAGMA(GCC target(x))
#define END_OF_TARGET PRAGMA(GCC pop_options)
#pragma GCC diagnostic ignored "-Wpsabi" /* only inlined functions have vector arguments */
#endif

#define JOIN_(a, b, c) a##_##b##_f##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(x) JOIN(x, SET, BITS)

#define REGISTERS (ROWS > 6 ? 32 : 16) /* vector registers */
#define MOST_ROWS 8    /* of a tile */
#define MOST_VECTORS 8 /* of a tile */
#define MOST_PARTS 4   /* accumulators of a sum */
#define MOST_STATE 8   /* vectors of a state in registers */
#define FOUR_PARTS_FROM 8 /* terms from which a step's sum has four accumulators, if a row is one vector */
#define CHUNK 128      /* rows whose outer products are added to a gradient at once */
/* Rows of a gradient from which the right factor of δᵀS is packed. GFLOP/s without and with packing for M = N, one core of an
 * AMD Zen 4 (2026-11), float32: 512: 80, 99 (avx2), 104, 110 (avx512); 1024: 58, 83 and 85, 92; float64, 256: 36, 47 and 38,
 * 51. Packing is faster from M = N = 100 on. */
#define PACKED_FROM 100
/* Rows of a gradient from which both factors are packed, BOTH_PACKED rows at a time, and C is prefetched. Without this, a column
 * of A maps to few lines of the first-level cache if A's rows are a power of 2 apart. GFLOP/s without and with, float32, avx512,
 * one core of an Intel Xeon (Sapphire Rapids, 2026-11): M = N = 512: 142, 158; 1024: 120, 155; 256 (below the limit): 157,
 * 157. */
#define BOTH_PACKED_FROM 300
#define BOTH_PACKED (8 * ROWS)

#if defined(__x86_64__)

/* tanh a = k + l (a - c) + Σ_j p_j (a - c)^j, j = 1 ... 8, for a in [0, 19/64), [19/64, 19/32), ... [19/4, 19/2), and 1 for
 * larger a. The rows are c, k, l, p_1, ... p_8. The columns are the intervals, padded to the 8 or 16 numbers of a vector. In the
 * first interval l replaces p_1, because l = 1 adds no rounding. In the others c is chosen so that k = tanh c is nearly a float.
 * tests/kernels/tanh_table.py computes the table. */
#define INTERVALS(a, b, c, d, e, f, g) {a, b, c, d, e, f, g, g, a, b, c, d, e, f, g, g}
static const float tanh_table[11][16] __attribute__((aligned(64))) = {
    INTERVALS(0, 0.430391073f, 0.831172049f, 1.7228018f, 3.55478215f, 6.17943096f, 9.5f),
    INTERVALS(0, 0.405648082f, 0.681104839f, 0.93819952f, 0.998366833f, 0.999991417f, 1),
    INTERVALS(1, 0, 0, 0, 0, 0, 0),
    INTERVALS(0, 0.835449636f, 0.536096215f, 0.119781695f, 0.00326352147f, 1.72868313e-05f, 0),
    INTERVALS(7.76800402e-09f, -0.33889854f, -0.365137756f, -0.112378672f, -0.00325838127f, -1.71771426e-05f, 0),
    INTERVALS(-0.333334029f, -0.141009718f, 0.0699980631f, 0.0655051619f, 0.00216657692f, 1.10894271e-05f, 0),
    INTERVALS(2.04128537e-05f, 0.170165882f, 0.0740405694f, -0.0240080543f, -0.00107526488f, -5.60802346e-06f, 0),
    INTERVALS(0.133042857f, -0.00345076877f, -0.0618372485f, 0.00336249592f, 0.000420676253f, 2.53806388e-06f, 0),
    INTERVALS(0.00223114761f, -0.0627941564f, 0.00920471456f, 0.00242700474f, -0.000138029805f, -9.02553211e-07f, 0),
    INTERVALS(-0.0635403618f, 0.0211776439f, 0.0146493884f, -0.00223383959f, 4.10943103e-05f, 1.91119199e-07f, 0),
    INTERVALS(0.0219552405f, 0.015000063f, -0.00936650299f, 0.000785176933f, -8.21680987e-06f, -1.68572178e-08f, 0),
};
#endif

#ifdef INSTRUCTIONS
TARGET(INSTRUCTIONS)
#endif
#define BITS 32
#include "simd.h"
#define BITS 64
#include "simd.h"
#ifdef INSTRUCTIONS
END_OF_TARGET
#endif

#define VERBS(set, bits) \
    { \
        JOIN(pack, set, bits), JOIN(gather, set, bits), JOIN(scatter, set, bits), JOIN(affine, set, bits), \
            JOIN(add_product, set, bits), JOIN(recur, set, bits), JOIN(error, set, bits), JOIN(recur_back, set, bits), \
            JOIN(accumulate, set, bits), JOIN(column_sums, set, bits), JOIN(update, set, bits), JOIN(integrate, set, bits), \
            JOIN(integrate_back, set, bits), JOIN(gate, set, bits), JOIN(gate_back, set, bits) \
    }
#define LANE_VERBS(set, bits) \
    { \
        JOIN(lanes_affine, set, bits), JOIN(lanes_affine_back, set, bits), JOIN(lanes_recur, set, bits), \
            JOIN(lanes_recur_back, set, bits), JOIN(lanes_output, set, bits), JOIN(lanes_error, set, bits), \
            JOIN(lanes_accumulate, set, bits), JOIN(lanes_column_sums, set, bits), JOIN(lanes_gather, set, bits), \
            JOIN(lanes_scatter, set, bits), JOIN(lanes_update, set, bits), JOIN(lanes_gate, set, bits), \
            JOIN(lanes_gate_back, set, bits) \
    }
#define TABLE_(set) fastbptt_##set
#define TABLE(set) TABLE_(set)
#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

extern const fastbptt_kernels TABLE(SET);
const fastbptt_kernels TABLE(SET) = {
    TEXT(SET), BYTES / 4, BYTES / 8, VERBS(SET, 32), VERBS(SET, 64), BYTES / 2, BYTES / 4, LANE_VERBS(SET, 32),
    LANE_VERBS(SET, 64),
};

#endif
