/* Let the processor treat subnormal numbers as zero, in the calling thread, if it can.
 *
 * Subnormal numbers are those below 1.2e-38 in float32 and 2.2e-308 in float64. On many processors each operation with one
 * takes over 100 cycles, and a vanishing gradient produces millions of them. A processor's mode switch belongs here. */
#ifndef FASTBPTT_DENORMALS_H
#define FASTBPTT_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define FASTBPTT_FLUSH 0x8040 /* FTZ: subnormal results become zero; DAZ: subnormal arguments count as zero */
#define fastbptt_get_mode() _mm_getcsr()
#define fastbptt_set_mode(mode) _mm_setcsr((unsigned int)(mode))
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define FASTBPTT_FLUSH (1 << 24)
static inline uint64_t fastbptt_get_mode(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void fastbptt_set_mode(uint64_t mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#define FASTBPTT_FLUSH 0
#define fastbptt_get_mode() 0
#define fastbptt_set_mode(mode) ((void)(mode))
#endif

/* Treat subnormal numbers as zero from now on. Return the mode before, for fastbptt_restore. */
static inline uint64_t fastbptt_flush(void)
{
    const uint64_t before = fastbptt_get_mode();
    fastbptt_set_mode(before | FASTBPTT_FLUSH);
    return before;
}

/* Compute with subnormal numbers from now on, for example while a user's Python code runs. Return the mode before, for
 * fastbptt_restore. */
static inline uint64_t fastbptt_keep(void)
{
    const uint64_t before = fastbptt_get_mode();
    fastbptt_set_mode(before & ~(uint64_t)FASTBPTT_FLUSH);
    return before;
}

/* Restore a mode that fastbptt_flush or fastbptt_keep returned. */
#define fastbptt_restore(mode) fastbptt_set_mode(mode)

#endif
