"""A GRU in C with one network per vector lane, compiled for each shape: gcc knows T, I, H and O, and B = 1.

It is what an expert writes for many small networks on a processor with AVX-512. A vector holds one number of 16 networks. The
states of a step and the sums of a gradient's tile stay in registers, and loops over units have constant bounds. tanh and the
sigmoid are quotients with an exponential of degree 6 and `vscalefps`. Parameters and gradients are (P, N) as in `Population`,
X (T, I) is shared, and D (N, T, O) belongs to each network.
"""

import ctypes
import shutil
from pathlib import Path

import numpy as np
from contenders.c_library import COMPILER, c_library

FLAGS = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-shared", "-fPIC", "-w"]
LANES = 16

SOURCE = r"""
#include <immintrin.h>
#define L 16
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
typedef float V __attribute__((vector_size(64), aligned(4), may_alias));

INLINE V exponential(V x)
{
    V n, r, p;
    x = (V)_mm512_max_ps(_mm512_set1_ps(-87), _mm512_min_ps(_mm512_set1_ps(88), (__m512)x));
    n = (V)_mm512_roundscale_ps((__m512)(x * 1.44269504f), 8);
    r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    p = 1 + r * (1 + r * (0.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
    return (V)_mm512_scalef_ps((__m512)p, (__m512)n);
}
INLINE V sigmoid(V x) { return 1 / (1 + exponential(-x)); }
INLINE V hyperbolic(V x) { return 1 - 2 / (1 + exponential(2 * x)); }

enum { W_x = 0, W_s = 3 * H * I, b_s = W_s + 3 * H * H, b_n = b_s + 3 * H, W_y = b_n + H, b_y = W_y + O * H, P = b_y + O };

/* G (M, K) = sum over t of a (T, la)[t, m] x[t, k]; x has one number per lane, or is shared */
#define OUTER(M, K, a, la, x, lx, row) \
    for (int m = 0; m < (M); m++) \
        for (int k = 0; k < (K); k += 4) { \
            V s[4] = {0}; \
            const int end = (K) - k < 4 ? (K) - k : 4; \
            for (int t = 0; t < T; t++) \
                UNROLL for (int j = 0; j < 4; j++) \
                    if (j < end) \
                        s[j] += (a)[t * (la) + m] * (x)[t * (lx) + k + j]; \
            for (int j = 0; j < end; j++) \
                *(V *)(g + ((row) + m * (K) + k + j) * N) = s[j]; \
        }

static void group(long N, const float *theta, const float *X, const float *D, float *g, double *losses)
{
    static __thread V p[P], S[(T + 1) * H], R[T * H], Z[T * H], C[T * H], M[T * H], d[T * O], Q[T * 4 * H];
    V dh[H], total = {0};
    for (int i = 0; i < P; i++)
        p[i] = *(const V *)(theta + i * N);
    for (int h = 0; h < H; h++)
        S[h] = (V){0};
    for (int l = 0; l < L; l++)
        for (int i = 0; i < T * O; i++)
            d[i][l] = D[l * T * O + i];
    for (int t = 0; t < T; t++) {
        const V *before = S + t * H;
        for (int h = 0; h < H; h++) {
            V r = p[b_s + h], z = p[b_s + H + h], n = p[b_s + 2 * H + h], m = p[b_n + h];
            UNROLL for (int i = 0; i < I; i++) {
                const float x = X[t * I + i];
                r += p[W_x + h * I + i] * x;
                z += p[W_x + (H + h) * I + i] * x;
                n += p[W_x + (2 * H + h) * I + i] * x;
            }
            UNROLL for (int k = 0; k < H; k++) {
                r += p[W_s + h * H + k] * before[k];
                z += p[W_s + (H + h) * H + k] * before[k];
                m += p[W_s + (2 * H + h) * H + k] * before[k];
            }
            r = sigmoid(r);
            z = sigmoid(z);
            n = hyperbolic(n + r * m);
            R[t * H + h] = r; Z[t * H + h] = z; C[t * H + h] = n; M[t * H + h] = m;
            S[(t + 1) * H + h] = n + z * (before[h] - n);
        }
    }
    for (int t = 0; t < T; t++)
        for (int o = 0; o < O; o++) {
            V y = p[b_y + o];
            UNROLL for (int h = 0; h < H; h++)
                y += p[W_y + o * H + h] * S[(t + 1) * H + h];
            y -= d[t * O + o];
            total += y * y;
            d[t * O + o] = y * (2.0f / T);
        }
    for (int h = 0; h < H; h++)
        dh[h] = (V){0};
    for (int t = T - 1; t >= 0; t--) {
        V *q = Q + t * 4 * H;
        for (int h = 0; h < H; h++) {
            const V r = R[t * H + h], z = Z[t * H + h], n = C[t * H + h];
            V e = dh[h], dn;
            UNROLL for (int o = 0; o < O; o++)
                e += p[W_y + o * H + h] * d[t * O + o];
            dn = e * (1 - z) * (1 - n * n);
            q[h] = dn * M[t * H + h] * r * (1 - r);
            q[H + h] = e * (S[t * H + h] - n) * z * (1 - z);
            q[2 * H + h] = dn * r;
            q[3 * H + h] = dn;
            dh[h] = z * e;
        }
        UNROLL for (int h = 0; h < H; h++) {
            V s = dh[h];
            UNROLL for (int k = 0; k < 3 * H; k++)
                s += p[W_s + k * H + h] * q[k];
            dh[h] = s;
        }
    }
    OUTER(2 * H, I, Q, 4 * H, X, I, W_x)
    OUTER(H, I, Q + 3 * H, 4 * H, X, I, W_x + 2 * H * I)
    OUTER(3 * H, H, Q, 4 * H, S, H, W_s)
    OUTER(O, H, d, O, S + H, H, W_y)
    for (int k = 0; k < 4 * H; k++) {
        V s = {0};
        for (int t = 0; t < T; t++)
            s += Q[t * 4 * H + k];
        *(V *)(g + (k < 2 * H ? b_s + k : k < 3 * H ? b_n + k - 2 * H : b_s + k - H) * N) = s;
    }
    for (int o = 0; o < O; o++) {
        V s = {0};
        for (int t = 0; t < T; t++)
            s += d[t * O + o];
        *(V *)(g + (b_y + o) * N) = s;
    }
    for (int l = 0; l < L; l++)
        losses[l] = total[l] / T;
}

void run(long N, const float *theta, const float *X, const float *D, float *g, double *losses)
{
    for (long first = 0; first < N; first += L)
        group(N, theta + first, X, D + first * T * O, g + first, losses + first);
}
"""


def missing():
    """Return why it cannot be timed here, or an empty string."""
    if not shutil.which(COMPILER):
        return f"no compiler {COMPILER}"
    flags = Path("/proc/cpuinfo")
    return "" if flags.exists() and " avx512f" in flags.read_text(encoding="utf-8") else "no AVX-512"


class Lanes:
    """Loss and gradients of a population of GRUs, whose number is a multiple of the lanes."""

    def __init__(self, population, X, D):
        n, (T, _, I), O = population.n, X.shape, D.shape[-1]
        if n % LANES:
            raise ValueError(f"n must be a multiple of {LANES}, got {n}")
        H = population[0].hidden_size
        macros = [f"{name} {size}" for name, size in zip("TIHO", (T, I, H, O))]
        self.run = c_library(macros, SOURCE, FLAGS).run
        self.theta = np.ascontiguousarray(population.theta.T)
        self.X, self.D = np.ascontiguousarray(X), np.ascontiguousarray(D)
        self.gradient, self.losses = np.empty_like(self.theta), np.empty(n)
        self.run.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 5
        self.run.restype = None
        self.arguments = n, *(array.ctypes.data for array in (self.theta, self.X, self.D, self.gradient, self.losses))
        self.shapes = {name: value.shape[1:] for name, value in population.parameters.items()}

    def __call__(self):
        self.run(*self.arguments)
        gradients, begin = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            gradients[name] = self.gradient[begin:begin + size].reshape(*shape, -1).transpose(-1, *range(len(shape)))
            begin += size
        return self.losses, gradients
