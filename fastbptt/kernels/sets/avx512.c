/* The kernel set avx512, on x86-64. */
#if defined(__x86_64__)
#define SET avx512
#define BYTES 64
#define ROWS 8
#define INSTRUCTIONS "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#include "set.h"
#else
typedef int fastbptt_avx512_is_for_x86_64; /* ISO C forbids an empty file */
#endif
