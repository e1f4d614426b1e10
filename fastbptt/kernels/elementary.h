/* Compute tanh without branches and calls, so that a compiler vectorises the loop around it.
 *
 * Write +-2|x| = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite 1980). The Taylor sum q approximates expm1(r), and
 * exp(r) 2^n = 2^n q + 2^n. Adding SHIFT rounds to an integer and leaves it in the lowest bits, from where it moves into an
 * exponent. The function is odd. It is +-1 at +-infinity and NaN at NaN.
 *
 * float32 uses 1 - 2 / (exp(2|x|) + 1), and below 0.625 the polynomial of Cephes (Moshier). Its error is at most 1.4 ulp
 * (NumPy's: 1.4), 0.12 on average. float64 uses -t / (t + 2) with t = expm1(-2|x|). Its error is at most 2.5 ulp.
 *
 * The code requires IEEE arithmetic: -ffast-math would cancel SHIFT. On an AMD Zen 3 (2026-11, GCC 12, baseline x86-64, that is
 * SSE2) an element takes 3.9 ns in float32 and 10 ns in float64; the C library takes 15 ns in both. In float32 the formula of
 * float64 would take 2.7 ns, with an error of up to 2.5 ulp, 0.30 on average. A new function belongs here if the C library's
 * keeps loops from being vectorised.
 */
#ifndef FASTBPTT_ELEMENTARY_H
#define FASTBPTT_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float fastbptt_tanhf(float x)
{
    const float SHIFT = 0x1.8p23f;
    float a = fabsf(x), y, z, n, r, q, scale, large, square, small;
    uint32_t bits;
    a = a > 10.0f ? 10.0f : a; /* 1 - tanh 10 is below half an ulp; NaN stays NaN */
    y = 2.0f * a;
    z = y * 1.44269504f + SHIFT;
    n = z - SHIFT;
    r = y - n * 0.693359375f; /* ln 2 in two parts; the first is short enough for an exact product */
    r = r - n * -2.12194440e-4f;
    q = 1.0f / 5040;
    q = q * r + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    q = q * (r * r) + r;
    memcpy(&bits, &z, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(&scale, &bits, sizeof bits);
    large = 1.0f - 2.0f / ((scale * q + scale) + 1.0f);
    square = a * a;
    small = -5.70498872745e-3f;
    small = small * square + 2.06390887954e-2f;
    small = small * square - 5.37397155531e-2f;
    small = small * square + 1.33314422036e-1f;
    small = small * square - 3.33332819422e-1f;
    small = small * square * a + a;
    return copysignf(a < 0.625f ? small : large, x);
}

static inline double fastbptt_tanh(double x)
{
    const double SHIFT = 0x1.8p52;
    double a = fabs(x), y, z, n, r, q, scale, t;
    uint64_t bits;
    a = a > 20.0 ? 20.0 : a;
    y = -2.0 * a;
    z = y * 1.4426950408889634 + SHIFT;
    n = z - SHIFT;
    r = y - n * 6.93145751953125e-1;
    r = r - n * 1.42860682030941723e-6;
    q = 1.0 / 6227020800;
    q = q * r + 1.0 / 479001600;
    q = q * r + 1.0 / 39916800;
    q = q * r + 1.0 / 3628800;
    q = q * r + 1.0 / 362880;
    q = q * r + 1.0 / 40320;
    q = q * r + 1.0 / 5040;
    q = q * r + 1.0 / 720;
    q = q * r + 1.0 / 120;
    q = q * r + 1.0 / 24;
    q = q * r + 1.0 / 6;
    q = q * r + 0.5;
    q = q * (r * r) + r;
    memcpy(&bits, &z, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&scale, &bits, sizeof bits);
    t = scale * q + (scale - 1.0);
    return copysign(-t / (t + 2.0), x);
}

#endif
