/* Choose a vector kernel set. This file does not use Python.
 *
 * The compiler and the processor family determine which sets are built (sets/). The processor determines which of them is used
 * when fastbptt is imported. No vector set is built by a compiler without GCC's vector types or with FASTBPTT_NO_VECTORS: the
 * set `blas` is used then.
 *
 * To add a set, add a file to sets/, a declaration below, and its condition to `fastbptt_vector_kernels`.
 */
#include "kernels.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if (defined(__GNUC__) || defined(__clang__)) && !defined(FASTBPTT_NO_VECTORS)

extern const fastbptt_kernels fastbptt_baseline;
#if defined(__x86_64__)
extern const fastbptt_kernels fastbptt_avx2, fastbptt_avx512;

#define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define HAS_AVX512 \
    (HAS_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") \
     && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
#endif

/* Return the set of a name, or the best one if name is NULL. Return NULL if this processor does not have it. */
const fastbptt_kernels *fastbptt_vector_kernels(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (HAS_AVX512 && (name == NULL || strcmp(name, "avx512") == 0))
        return &fastbptt_avx512;
    if (HAS_AVX2 && (name == NULL || strcmp(name, "avx2") == 0))
        return &fastbptt_avx2;
#endif
    return name == NULL || strcmp(name, "baseline") == 0 ? &fastbptt_baseline : NULL;
}

#else

const fastbptt_kernels *fastbptt_vector_kernels(const char *name)
{
    (void)name;
    return NULL;
}

#endif

int fastbptt_halves_vectors(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid(0, &a, &b, &c, &d) && memcmp(&b, "Auth", 4) == 0 && memcmp(&c, "cAMD", 4) == 0
        && __get_cpuid(1, &a, &b, &c, &d))
        return (a >> 8 & 15) + (a >> 20 & 255) == 0x19; /* the family */
#endif
    return 0;
}
