/* The elementary functions of every vector set: their largest errors in units in the last place, over all float32 numbers (or
 * every n-th), against float64, and over many float64 ones, against long double.
 *
 *     cc -O2 -fopenmp -I fastbptt/kernels tests/kernels/ulps.c fastbptt/kernels/dispatch.c fastbptt/kernels/sets/*.c -lm -o ulps && ./ulps [EVERY [DOUBLES]]
 *
 * A line for each set, type and function; the exit code is 1 where one is over its bound. All 2^32 floats take half an hour
 * on two cores, 10^8 doubles some minutes.
 */
#include "kernels.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"

#define ROOM 4096
#define LENGTH(a) ((int)(sizeof(a) / sizeof *(a)))

static const int kinds[] = {FASTBPTT_TANH, FASTBPTT_SIGMOID, FASTBPTT_SOFTPLUS, FASTBPTT_ELU, FASTBPTT_SOFTSIGN,
                            FASTBPTT_SILU, FASTBPTT_GELU, FASTBPTT_EXP};
static const char *const names[] = {"tanh", "sigmoid", "softplus", "elu", "softsign", "silu", "gelu", "exp"};

#define TRUTH(real, suffix) \
    static real truth_##suffix(int kind, real x) \
    { \
        const real a = fabs##suffix(x); \
        switch (kind) { \
        case FASTBPTT_TANH: return tanh##suffix(x); \
        case FASTBPTT_SIGMOID: return (x < 0 ? exp##suffix(-a) : 1) / (1 + exp##suffix(-a)); \
        case FASTBPTT_SOFTPLUS: return (x > 0 ? x : 0) + log1p##suffix(exp##suffix(-a)); \
        case FASTBPTT_ELU: return x > 0 ? x : expm1##suffix(x); \
        case FASTBPTT_SOFTSIGN: return x / (1 + a); \
        case FASTBPTT_SILU: return x * ((x < 0 ? exp##suffix(-a) : 1) / (1 + exp##suffix(-a))); \
        case FASTBPTT_GELU: return x * erfc##suffix(-x * sqrt##suffix((real)0.5)) / 2; \
        } \
        return exp##suffix(x); \
    }
#define fabs_ fabs
#define tanh_ tanh
#define exp_ exp
#define erfc_ erfc
#define sqrt_ sqrt
#define expm1_ expm1
#define log1p_ log1p
TRUTH(double, _)
TRUTH(long double, l)

typedef struct {
    double most, at;
} worst;

static void take(worst *w, double off, double x)
{
    if (!(off <= w->most)) { /* NaN is the worst */
        w->most = off;
        w->at = x;
    }
}

static double float_ulps(float got, double expected)
{
    int exponent;
    if ((float)expected == got || (got != got && expected != expected))
        return 0;
    frexp(expected, &exponent);
    return ldexp(fabs(got - expected), exponent < -125 ? 149 : 24 - exponent);
}

static double double_ulps(double got, long double expected)
{
    int exponent;
    if ((double)expected == got || (got != got && expected != expected))
        return 0;
    frexpl(expected, &exponent);
    return (double)ldexpl(fabsl(got - expected), exponent < -1021 ? 1074 : 53 - exponent);
}

static uint64_t mix(uint64_t n) /* splitmix64 (Steele, Lea and Flood 2014) */
{
    n += 0x9e3779b97f4a7c15u;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

/* The n-th double: near 0, over all of the domain, or of every magnitude */
static double drawn(uint64_t n)
{
    const uint64_t bits = mix(n);
    const double u = 2 * (bits >> 11) * 0x1p-53 - 1;
    return n % 3 == 0 ? 3 * u : n % 3 == 1 ? 700 * u : copysign(exp2(30 * u - 25), bits & 1 ? 1 : -1);
}

int main(int argc, char **argv)
{
    static const char *const sets[] = {"baseline", "avx2", "avx512"};
    const int64_t every = argc > 1 ? atoll(argv[1]) : 1, doubles = argc > 2 ? atoll(argv[2]) : 100000000;
    const int64_t floats = (((int64_t)1 << 32) + every - 1) / every;
    int k, s, over = 0;
    for (k = 0; k < LENGTH(kinds); k++) {
        worst single[3] = {{0, 0}, {0, 0}, {0, 0}}, twice[3] = {{0, 0}, {0, 0}, {0, 0}};
        int64_t begin;
#pragma omp parallel for schedule(dynamic, 64)
        for (begin = 0; begin < floats; begin += ROOM) {
            float x[ROOM], y[ROOM];
            double expected[ROOM];
            int i, of;
            for (i = 0; i < ROOM; i++) {
                const uint32_t bits = (uint32_t)((begin + i) * every);
                memcpy(x + i, &bits, sizeof bits);
                expected[i] = truth__(kinds[k], x[i]);
                if (kinds[k] == FASTBPTT_SOFTSIGN && isinf(x[i]))
                    expected[i] = NAN; /* as it is defined here */
            }
            for (of = 0; of < 3; of++) {
                const fastbptt_kernels *kernels = fastbptt_vector_kernels(sets[of]);
                worst found = {0, 0};
                if (kernels == NULL)
                    continue;
                memcpy(y, x, sizeof x);
                kernels->f32.recur(kinds[k], 1, ROOM / 64, 64, NULL, 64, NULL, y, NULL);
                for (i = 0; i < ROOM; i++)
                    take(&found, fmax(0, float_ulps(y[i], expected[i]) - vanishing(kinds[k], 24, -149, expected[i])), x[i]);
#pragma omp critical
                take(&single[of], found.most, found.at);
            }
        }
#pragma omp parallel for schedule(dynamic, 64)
        for (begin = 0; begin < doubles; begin += ROOM) {
            double x[ROOM], y[ROOM];
            long double expected[ROOM];
            int i, of;
            for (i = 0; i < ROOM; i++) {
                x[i] = drawn((uint64_t)(begin + i));
                expected[i] = truth_l(kinds[k], x[i]);
            }
            for (of = 0; of < 3; of++) {
                const fastbptt_kernels *kernels = fastbptt_vector_kernels(sets[of]);
                worst found = {0, 0};
                if (kernels == NULL)
                    continue;
                memcpy(y, x, sizeof x);
                kernels->f64.recur(kinds[k], 1, ROOM / 64, 64, NULL, 64, NULL, y, NULL);
                for (i = 0; i < ROOM; i++)
                    take(&found, fmax(0, double_ulps(y[i], expected[i]) - vanishing(kinds[k], 53, -1074, expected[i])), x[i]);
#pragma omp critical
                take(&twice[of], found.most, found.at);
            }
        }
        for (s = 0; s < 3; s++) {
            if (fastbptt_vector_kernels(sets[s]) == NULL)
                continue;
            printf("%s float32 %s %.3f at %.9g\n", sets[s], names[k], single[s].most, single[s].at);
            if (LDBL_MANT_DIG > DBL_MANT_DIG)
                printf("%s float64 %s %.3f at %.17g\n", sets[s], names[k], twice[s].most, twice[s].at);
            over |= !(single[s].most <= ulp_bound(kinds[k], 32) + 1e-6);
            over |= LDBL_MANT_DIG > DBL_MANT_DIG && !(twice[s].most <= ulp_bound(kinds[k], 64) + 1e-3);
        }
        fflush(stdout);
    }
    return over;
}
