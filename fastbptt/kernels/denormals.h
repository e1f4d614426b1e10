/* Numbers too small to be normal (under 1.2e-38, 2.2e-308) as zero, where the processor can be told so, in the calling
 * thread: on many processors each operation with one takes over 100 cycles, and a gradient that vanishes makes millions. */
#ifndef FASTBPTT_DENORMALS_H
#define FASTBPTT_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define FASTBPTT_FLUSH 0x8040 /* results to zero, arguments as zero */
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

/* From here on denormal numbers are zero; returns what fastbptt_restore is to be given. */
static inline uint64_t fastbptt_flush(void)
{
    const uint64_t before = fastbptt_get_mode();
    fastbptt_set_mode(before | FASTBPTT_FLUSH);
    return before;
}

/* They are numbers, while the caller's Python code runs. */
static inline uint64_t fastbptt_keep(void)
{
    const uint64_t before = fastbptt_get_mode();
    fastbptt_set_mode(before & ~(uint64_t)FASTBPTT_FLUSH);
    return before;
}

#define fastbptt_restore(mode) fastbptt_set_mode(mode)

#endif
