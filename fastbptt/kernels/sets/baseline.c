/* The kernel set baseline: SSE2 on x86-64, NEON on ARM64, and the compiler's translation of 16-byte vectors elsewhere. */
#define SET baseline
#define BYTES 16
#if defined(__x86_64__)
#define ROWS 6
#else
#define ROWS 8 /* NEON has 32 registers */
#endif
#include "set.h"
