/* The kernel set avx2, on x86-64. */
#if defined(__x86_64__)
#define SET avx2
#define BYTES 32
#define ROWS 6
#define INSTRUCTIONS "avx2,fma"
#include "set.h"
#else
typedef int fastbptt_avx2_is_for_x86_64; /* ISO C forbids an empty file */
#endif
