/* The vector kernel sets: _simd.h, once for each instruction set and real type. No Python in here.
 *
 * Which sets there are depends on compiler and processor; which one serves is asked when the module loads, never when it
 * is built. A compiler without GCC's vector types gets none of them (nor one that is given FASTBPTT_NO_VECTORS): the `blas`
 * set serves there.
 */
#include "_kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && !defined(FASTBPTT_NO_VECTORS)

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define INLINE inline __attribute__((always_inline))
#define KEEP_LOOP __asm__ volatile("")
/* a product that is rounded before it is added */
#if defined(__x86_64__)
#define KEEP_ROUNDED(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define KEEP_ROUNDED(v) __asm__("" : "+w"(v))
#else
#define KEEP_ROUNDED(v) __asm__("" : "+m"(v))
#endif
#define PRAGMA(x) _Pragma(#x)
#ifdef __clang__
#define UNROLL PRAGMA(unroll)
#define TARGET(x) PRAGMA(clang attribute push(__attribute__((target(x))), apply_to = function))
#define END_OF_TARGET PRAGMA(clang attribute pop)
#else
#define UNROLL PRAGMA(GCC unroll 16)
#define TARGET(x) PRAGMA(GCC push_options) PRAGMA(GCC target(x))
#define END_OF_TARGET PRAGMA(GCC pop_options)
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are handed to inlined functions alone */
#endif

#define JOIN_(a, b, c) a##_##b##_f##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define NAME(x) JOIN(x, SET, BITS)

#define MOST_ROWS 8    /* of a tile */
#define MOST_VECTORS 8 /* of a tile */
#define CHUNK 128      /* rows whose outer products are added to a gradient at once */
/* Rows of a gradient from which on it pays to pack the right factor of δᵀS: from M = N = 100 on, GFLOP/s without and with,
 * one core of an AMD Zen 4 (2026-11), float32: 512: 80, 99 (avx2), 104, 110 (avx512); 1024: 58, 83 and 85, 92; float64,
 * 256: 36, 47 and 38, 51. */
#define PACKED_FROM 100
/* Rows of a gradient from which on both factors are packed, so many of its rows at a time, and C is fetched before it is
 * needed: a column of A finds few lines in the first-level cache where A's rows are a power of 2 apart. GFLOP/s without and
 * with, float32, avx512, one core of an Intel Xeon (Sapphire Rapids, 2026-11): M = N = 512: 142, 158; 1024: 120, 155; 256,
 * where it is not done: 157, 157. */
#define BOTH_PACKED_FROM 300
#define BOTH_PACKED (8 * ROWS)

#if defined(__x86_64__)

#define SET baseline
#define BYTES 16
#define ROWS 6
#define BITS 32
#include "_simd.h"
#define BITS 64
#include "_simd.h"
#undef SET
#undef BYTES

#define SET avx2
#define BYTES 32
TARGET("avx2,fma")
#define BITS 32
#include "_simd.h"
#define BITS 64
#include "_simd.h"
END_OF_TARGET
#undef SET
#undef BYTES
#undef ROWS

#define SET avx512
#define BYTES 64
#define ROWS 8
TARGET("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#define BITS 32
#include "_simd.h"
#define BITS 64
#include "_simd.h"
END_OF_TARGET

#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define HAS_AVX512 \
    (HAS_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") \
     && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))

#else

#define SET baseline
#define BYTES 16
#define ROWS 8 /* NEON has 32 registers */
#define BITS 32
#include "_simd.h"
#define BITS 64
#include "_simd.h"

#endif

#define VERBS(set, bits) \
    { \
        JOIN(pack, set, bits), JOIN(gather, set, bits), JOIN(scatter, set, bits), JOIN(affine, set, bits), \
            JOIN(recur, set, bits), JOIN(error, set, bits), JOIN(recur_back, set, bits), JOIN(accumulate, set, bits), \
            JOIN(column_sums, set, bits), JOIN(update, set, bits), JOIN(integrate, set, bits), \
            JOIN(integrate_back, set, bits) \
    }
#define LANE_VERBS(set, bits) \
    { \
        JOIN(lanes_affine, set, bits), JOIN(lanes_affine_back, set, bits), JOIN(lanes_recur, set, bits), \
            JOIN(lanes_recur_back, set, bits), JOIN(lanes_output, set, bits), JOIN(lanes_error, set, bits), \
            JOIN(lanes_accumulate, set, bits), JOIN(lanes_column_sums, set, bits), JOIN(lanes_gather, set, bits), \
            JOIN(lanes_scatter, set, bits), JOIN(lanes_update, set, bits) \
    }
#define KERNELS(set, bytes) \
    { \
        #set, (bytes) / 4, (bytes) / 8, VERBS(set, 32), VERBS(set, 64), (bytes) / 2, (bytes) / 4, LANE_VERBS(set, 32), \
            LANE_VERBS(set, 64) \
    }

/* The best first. */
const fastbptt_kernels *fastbptt_vector_kernels(const char *name)
{
#if defined(__x86_64__)
    static const fastbptt_kernels avx512 = KERNELS(avx512, 64), avx2 = KERNELS(avx2, 32);
#endif
    static const fastbptt_kernels baseline = KERNELS(baseline, 16);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (HAS_AVX512 && (name == NULL || strcmp(name, "avx512") == 0))
        return &avx512;
    if (HAS_AVX2 && (name == NULL || strcmp(name, "avx2") == 0))
        return &avx2;
#endif
    return name == NULL || strcmp(name, "baseline") == 0 ? &baseline : NULL;
}

#else

const fastbptt_kernels *fastbptt_vector_kernels(const char *name)
{
    (void)name;
    return NULL;
}

#endif
