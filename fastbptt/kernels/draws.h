/* Counter-based random numbers: each number is a function of a key and a position, and of nothing else.
 *
 * The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, SC11). Normal numbers come from it by the formulas of
 * Box and Muller 1958. A key has 64 bits. A counter has four words: (stream * 2^22 + unit / 4, step, sequence, call).
 *
 * All arithmetic is +, -, *, / and the square root in double precision, and each operation is rounded by itself.
 * reference/draws.py therefore computes the same bits. Fused multiply-adds would change the bits, so the pragmas forbid them:
 * on processors that always have them (arm64) a compiler uses them by default. A new distribution belongs here, and in
 * reference/draws.py with the same bits.
 */
#ifndef FASTBPTT_DRAWS_H
#define FASTBPTT_DRAWS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

enum { FASTBPTT_DRAWN = 4 }; /* counters at a time, with four words each: small networks need no more */

/* Compute words (4, FASTBPTT_DRAWN): words[i][j] is word i of Philox for the counter (first + j, c1, c2, c3). */
static inline void fastbptt_philox(uint64_t key, uint32_t first, uint32_t c1, uint32_t c2, uint32_t c3,
                                   uint32_t words[4][FASTBPTT_DRAWN])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    int round, j;
    for (j = 0; j < FASTBPTT_DRAWN; j++) {
        words[0][j] = first + (uint32_t)j;
        words[1][j] = c1;
        words[2][j] = c2;
        words[3][j] = c3;
    }
    for (round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (j = 0; j < FASTBPTT_DRAWN; j++) {
            const uint64_t p0 = (uint64_t)0xD2511F53u * words[0][j], p1 = (uint64_t)0xCD9E8D57u * words[2][j];
            words[0][j] = (uint32_t)(p1 >> 32) ^ words[1][j] ^ k0;
            words[2][j] = (uint32_t)(p0 >> 32) ^ words[3][j] ^ k1;
            words[1][j] = (uint32_t)p1;
            words[3][j] = (uint32_t)p0;
        }
}

/* Compute two standard normal numbers x[j], y[j] from each pair of words a[j], b[j].
 *
 * x = sqrt(-2 ln u) cos(2 pi v) and y = sqrt(-2 ln u) sin(2 pi v), with u = (a + 1) / 2^32 and v = b / 2^32. The logarithm,
 * sine and cosine are polynomials here, so that reference/draws.py has the same bits. */
static inline void fastbptt_polar(const uint32_t *a, const uint32_t *b, double *x, double *y)
{
    int j;
    for (j = 0; j < FASTBPTT_DRAWN; j++) {
        const double u = (double)a[j] + 1;
        uint64_t bits, e, mantissa;
        uint32_t quadrant = ((b[j] >> 29) + 1) >> 1;
        double m, s, q, log_m, r, angle, sine, cosine, c, d;
        memcpy(&bits, &u, sizeof bits);
        e = (bits - 0x3FE6A09E667F3BCDu) >> 52; /* u = m 2^e with sqrt(1/2) <= m < sqrt(2) */
        mantissa = bits - (e << 52);
        memcpy(&m, &mantissa, sizeof m);
        s = (m - 1) / (m + 1); /* ln m = 2 atanh s */
        q = s * s;
        log_m = 2.0 / 17;
        log_m = log_m * q + 2.0 / 15;
        log_m = log_m * q + 2.0 / 13;
        log_m = log_m * q + 2.0 / 11;
        log_m = log_m * q + 2.0 / 9;
        log_m = log_m * q + 2.0 / 7;
        log_m = log_m * q + 2.0 / 5;
        log_m = log_m * q + 2.0 / 3;
        log_m = log_m * q * s + s * 2;
        r = sqrt(((double)(32 - (int32_t)e) * 0.6931471805599453 - log_m) * 2);
        angle = ((double)b[j] - (double)quadrant * 1073741824.0) * 1.4629180792671596e-09; /* 2 pi / 2^32; |angle| <= pi / 4 */
        q = angle * angle;
        sine = -1.0 / 1307674368000;
        sine = sine * q + 1.0 / 6227020800;
        sine = sine * q + -1.0 / 39916800;
        sine = sine * q + 1.0 / 362880;
        sine = sine * q + -1.0 / 5040;
        sine = sine * q + 1.0 / 120;
        sine = sine * q + -1.0 / 6;
        sine = sine * q * angle + angle;
        cosine = 1.0 / 20922789888000;
        cosine = cosine * q + -1.0 / 87178291200;
        cosine = cosine * q + 1.0 / 479001600;
        cosine = cosine * q + -1.0 / 3628800;
        cosine = cosine * q + 1.0 / 40320;
        cosine = cosine * q + -1.0 / 720;
        cosine = cosine * q + 1.0 / 24;
        cosine = cosine * q + -0.5;
        cosine = cosine * q + 1;
        c = quadrant & 1 ? sine : cosine;
        d = quadrant & 1 ? cosine : sine;
        x[j] = (quadrant + 1) & 2 ? -(r * c) : r * c;
        y[j] = quadrant & 2 ? -(r * d) : r * d;
    }
}

/* Add noise to a row (n,): row[i] += scale * the standard normal number of unit i, step, sequence, call and stream `kind`. If
 * scales (n,) is not NULL, scales[i] replaces scale. */
#define FASTBPTT_ADD_NORMALS(name, real) \
    static void name(uint64_t key, uint32_t kind, uint32_t step, uint32_t sequence, uint32_t call, double scale, \
                     const double *scales, ptrdiff_t n, real *row) \
    { \
        uint32_t words[4][FASTBPTT_DRAWN]; \
        double normal[4][FASTBPTT_DRAWN]; \
        ptrdiff_t i, j; \
        for (i = 0; i < n; i += 4 * FASTBPTT_DRAWN) { \
            fastbptt_philox(key, (kind << 22) + (uint32_t)(i / 4), step, sequence, call, words); \
            fastbptt_polar(words[0], words[1], normal[0], normal[1]); \
            fastbptt_polar(words[2], words[3], normal[2], normal[3]); \
            for (j = i; j < n && j < i + 4 * FASTBPTT_DRAWN; j++) \
                row[j] += (real)((scales != NULL ? scales[j] : scale) * normal[j % 4][(j - i) / 4]); \
        } \
    }
FASTBPTT_ADD_NORMALS(fastbptt_add_normals_f32, float)
FASTBPTT_ADD_NORMALS(fastbptt_add_normals_f64, double)

/* Draw a dropout mask (n,): row[i] = 1 / keep with probability keep, else 0. Each unit i, sequence and call has its own. */
#define FASTBPTT_DRAW_MASK(name, real) \
    static void name(uint64_t key, uint32_t kind, uint32_t sequence, uint32_t call, double keep, ptrdiff_t n, real *row) \
    { \
        const uint64_t below = (uint64_t)(keep * 4294967296.0); \
        uint32_t words[4][FASTBPTT_DRAWN]; \
        ptrdiff_t i, j; \
        for (i = 0; i < n; i += 4 * FASTBPTT_DRAWN) { \
            fastbptt_philox(key, (kind << 22) + (uint32_t)(i / 4), 0, sequence, call, words); \
            for (j = i; j < n && j < i + 4 * FASTBPTT_DRAWN; j++) \
                row[j] = words[j % 4][(j - i) / 4] < below ? (real)(1 / keep) : 0; \
        } \
    }
FASTBPTT_DRAW_MASK(fastbptt_draw_mask_f32, float)
FASTBPTT_DRAW_MASK(fastbptt_draw_mask_f64, double)

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
