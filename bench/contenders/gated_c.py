"""A GRU in C, compiled for each shape: gcc knows B, T, I, H and O, and the call has no arguments.

The input products of all steps are one product, and so are the weight gradients after the loop over time. The three gates
share each step's product. tanh and the sigmoid are polynomials that gcc vectorises.

Variants: "loops" multiplies in plain loops over vectors; "BLAS" calls SciPy's OpenBLAS, from H = 32 on. "512" lets gcc use
vectors of 512 bits where it prefers 256.
"""

import ctypes
import math
import shutil

import numpy as np
from contenders.c_library import COMPILER, c_library

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fno-math-errno", "-shared", "-fPIC", "-w"]
LEAST_H_OF_BLAS = 32

SOURCE = r"""
#include <stdint.h>
#include <string.h>
#define N ((long)T * B)
#define PAD(n) (((n) + V - 1) / V * V)
#define RESTRICT __restrict__
#define INLINE static inline __attribute__((always_inline))
typedef real vector __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));
typedef void gemm_type(int, int, int, int, int, int, real, const real *, int, const real *, int, real, real *, int);

static gemm_type *gemm;
static const real *X, *D, *theta;
static real *g, *Y;
#define W_x theta
#define W_s (W_x + 3 * H * I)
#define b_s (W_s + 3 * H * H)
#define b_n (b_s + 3 * H)
#define W_y (b_n + H)
#define b_y (W_y + O * H)

/* A is r, z, n of each row after the forward pass; HN is W_s,n h + b_n; Q is dn, dr, dz, dn r of each row. Rows of V
   numbers behind the arrays let vectors read and write past the last row. */
static real S[(N + B) * H + V] ALIGNED, A[N * 3 * H + V] ALIGNED, HN[N * H + V] ALIGNED, Q[N * 4 * H + V] ALIGNED;
static real E[N * H + V] ALIGNED, P[B * PAD(3 * H)] ALIGNED, C[B * PAD(H)] ALIGNED;
static real W_xT[I * PAD(3 * H)] ALIGNED, W_sT[H * PAD(3 * H)] ALIGNED, W_sP[3 * H * PAD(H)] ALIGNED;
static real W_yT[H * PAD(O)] ALIGNED, W_yP[O * PAD(H)] ALIGNED, G_x[3 * H * I + V] ALIGNED;

INLINE real exponential(real x)  /* 2**n times a polynomial of |r| <= ln 2 / 2 */
{
    x = x > END ? END : x;
    x = x < -END ? -END : x;
    real n = RINT(x * (real)1.4426950408889634), r = (x - n * LN2_HIGH) - n * LN2_LOW, p = SERIES(r);
    integer bits = ((integer)n + BIAS) << MANTISSA;
    real power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}
INLINE real sigmoid(real x) { return 1 / (1 + exponential(-x)); }
INLINE real hyperbolic(real x) { return 1 - 2 / (1 + exponential(2 * x)); }

/* out (padded to V) = bias + a W, where W has K rows of `width` numbers, padded to V */
INLINE void product(const real *a, int K, const real *W, int width, real *out)
{
    for (int j = 0; j < PAD(width); j += V) {
        vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        const real *w = W + j;
        int k = 0;
        for (; k + 4 <= K; k += 4, w += 4 * PAD(width)) {
            s0 += a[k] * *(const vector *)w;
            s1 += a[k + 1] * *(const vector *)(w + PAD(width));
            s2 += a[k + 2] * *(const vector *)(w + 2 * PAD(width));
            s3 += a[k + 3] * *(const vector *)(w + 3 * PAD(width));
        }
        for (; k < K; k++, w += PAD(width))
            s0 += a[k] * *(const vector *)w;
        *(vector *)(out + j) = (s0 + s1) + (s2 + s3);
    }
}

/* G (M, K) = sum over `rows` of a (M; one row to the next: la) times x (K; lx) */
INLINE void accumulate(long rows, int M, int K, const real *a, int la, const real *x, int lx, real *RESTRICT G)
{
    memset(G, 0, (size_t)M * K * sizeof(real));
    long row = 0;
    for (; row + 8 <= rows; row += 8, a += 8 * la, x += 8 * lx)
        for (int m = 0; m < M; m++)
            for (int k = 0; k < K; k++)
                G[m * K + k] += ((a[m] * x[k] + a[m + la] * x[k + lx])
                                 + (a[m + 2 * la] * x[k + 2 * lx] + a[m + 3 * la] * x[k + 3 * lx]))
                    + ((a[m + 4 * la] * x[k + 4 * lx] + a[m + 5 * la] * x[k + 5 * lx])
                       + (a[m + 6 * la] * x[k + 6 * lx] + a[m + 7 * la] * x[k + 7 * lx]));
    for (; row < rows; row++, a += la, x += lx)
        for (int m = 0; m < M; m++)
            for (int k = 0; k < K; k++)
                G[m * K + k] += a[m] * x[k];
}

INLINE void sum_rows(const real *RESTRICT a, long rows, int M, int la, real *RESTRICT G)
{
    real s[M];
    for (int m = 0; m < M; m++)
        s[m] = 0;
    for (long row = 0; row < rows; row++)
        for (int m = 0; m < M; m++)
            s[m] += a[row * la + m];
    for (int m = 0; m < M; m++)
        G[m] = s[m];
}

INLINE void transpose(const real *W, int rows, int columns, real *out)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            out[j * PAD(rows) + i] = W[i * columns + j];
}

INLINE void pad(const real *W, int rows, int columns, real *out)
{
    for (int i = 0; i < rows; i++)
        memcpy(out + i * PAD(columns), W + i * columns, columns * sizeof(real));
}

INLINE void step_forward(real *RESTRICT a, const real *RESTRICT p, real *RESTRICT hn, const real *RESTRICT before,
                         real *RESTRICT after)
{
    for (int k = 0; k < 2 * H; k++)
        a[k] = sigmoid(a[k] + p[k] + b_s[k]);
    for (int k = 0; k < H; k++) {
        real m = p[2 * H + k] + b_n[k], n = hyperbolic(a[2 * H + k] + b_s[2 * H + k] + a[k] * m);
        hn[k] = m;
        a[2 * H + k] = n;
        after[k] = n + a[H + k] * (before[k] - n);
    }
}

INLINE void step_backward(const real *RESTRICT a, const real *RESTRICT hn, const real *RESTRICT before,
                          const real *RESTRICT e, real *RESTRICT c, real *RESTRICT q)
{
    for (int k = 0; k < H; k++) {
        real r = a[k], z = a[H + k], n = a[2 * H + k], d = e[k] + c[k], dn = d * (1 - z) * (1 - n * n);
        q[k] = dn;
        q[H + k] = dn * hn[k] * r * (1 - r);
        q[2 * H + k] = d * (before[k] - n) * z * (1 - z);
        q[3 * H + k] = dn * r;
        c[k] = z * d;
    }
}

static real outputs(void)  /* Y becomes 2 (Y - D) / N, and the loss is returned */
{
    double total = 0;
    for (long row = 0; row < N; row++) {
        real *RESTRICT y = Y + row * O, part = 0;
        const real *RESTRICT d = D + row * O;
        for (int o = 0; o < O; o++) {
            real difference = y[o] + b_y[o] - d[o];
            part += difference * difference;
            y[o] = difference * (real)(2.0 / N);
        }
        total += part;
    }
    return total / N;
}

void prepare(gemm_type *function, const real *x, const real *d, const real *t, real *gradients, real *y)
{
    gemm = function; X = x; D = d; theta = t; g = gradients; Y = y;
}

double run(void)
{
    real *G_s = g + 3 * H * I, *g_b = G_s + 3 * H * H, *g_n = g_b + 3 * H, *G_y = g_n + H, *g_y = G_y + O * H;
    double loss;
#if BLAS
    enum { ROW = 101, NO = 111, YES = 112 };
    for (int i = 0; i < 3 * H; i++)
        for (int j = 0; j < H; j++)
            W_sT[j * 3 * H + i] = W_s[i * H + j];
    gemm(ROW, NO, YES, N, 3 * H, I, 1, X, I, W_x, I, 0, A, 3 * H);
    for (int t = 0; t < T; t++) {
        if (t)
            gemm(ROW, NO, NO, B, 3 * H, H, 1, S + t * B * H, H, W_sT, 3 * H, 0, P, 3 * H);
        else
            memset(P, 0, sizeof(real) * B * 3 * H);
        for (int b = 0; b < B; b++) {
            long row = (long)t * B + b;
            step_forward(A + row * 3 * H, P + b * 3 * H, HN + row * H, S + row * H, S + (row + B) * H);
        }
    }
    gemm(ROW, NO, YES, N, O, H, 1, S + B * H, H, W_y, H, 0, Y, O);
    loss = outputs();
    gemm(ROW, NO, NO, N, H, O, 1, Y, O, W_y, H, 0, E, H);
    memset(C, 0, sizeof(real) * B * H);
    for (int t = T - 1; t >= 0; t--) {
        for (int b = 0; b < B; b++) {
            long row = (long)t * B + b;
            step_backward(A + row * 3 * H, HN + row * H, S + row * H, E + row * H, C + b * H, Q + row * 4 * H);
        }
        if (t)
            gemm(ROW, NO, NO, B, H, 3 * H, 1, Q + (long)t * B * 4 * H + H, 4 * H, W_s, H, 1, C, H);
    }
    gemm(ROW, YES, NO, 3 * H, I, N, 1, Q, 4 * H, X, I, 0, G_x, I);
    if (T > 1)
        gemm(ROW, YES, NO, 3 * H, H, N - B, 1, Q + (long)B * 4 * H + H, 4 * H, S + B * H, H, 0, G_s, H);
    else
        memset(G_s, 0, sizeof(real) * 3 * H * H);
    gemm(ROW, YES, NO, O, H, N, 1, Y, O, S + B * H, H, 0, G_y, H);
#else
    real a[PAD(3 * H)], c[PAD(H)], y[PAD(O)], e[PAD(H)];
    transpose(W_x, 3 * H, I, W_xT);
    transpose(W_s, 3 * H, H, W_sT);
    transpose(W_y, O, H, W_yT);
    pad(W_s, 3 * H, H, W_sP);
    pad(W_y, O, H, W_yP);
    for (long row = 0; row < N; row++) {
        product(X + row * I, I, W_xT, 3 * H, A + row * 3 * H);  /* writes past the row, into one that comes later */
    }
    for (long row = 0; row < N; row++) {
        product(S + row * H, H, W_sT, 3 * H, a);
        step_forward(A + row * 3 * H, a, HN + row * H, S + row * H, S + (row + B) * H);
    }
    for (long row = 0; row < N; row++) {
        product(S + (row + B) * H, H, W_yT, O, y);
        memcpy(Y + row * O, y, O * sizeof(real));
    }
    loss = outputs();
    for (long row = 0; row < N; row++)
        product(Y + row * O, O, W_yP, H, E + row * H);
    memset(C, 0, sizeof C);
    for (int t = T - 1; t >= 0; t--)
        for (int b = 0; b < B; b++) {
            long row = (long)t * B + b;
            real *RESTRICT carry = C + b * PAD(H);
            step_backward(A + row * 3 * H, HN + row * H, S + row * H, E + row * H, carry, Q + row * 4 * H);
            product(Q + row * 4 * H + H, 3 * H, W_sP, H, c);
            for (int k = 0; k < H; k++)
                carry[k] += c[k];
        }
    accumulate(N, 3 * H, I, Q, 4 * H, X, I, G_x);
    accumulate(N, 3 * H, H, Q + H, 4 * H, S, H, G_s);
    accumulate(N, O, H, Y, O, S + B * H, H, G_y);
#endif
    memcpy(g, G_x + H * I, 2 * H * I * sizeof(real));
    memcpy(g + 2 * H * I, G_x, H * I * sizeof(real));
    real sums[4 * H];
    sum_rows(Q, N, 4 * H, 4 * H, sums);
    memcpy(g_b, sums + H, 2 * H * sizeof(real));
    memcpy(g_b + 2 * H, sums, H * sizeof(real));
    memcpy(g_n, sums + 3 * H, H * sizeof(real));
    sum_rows(Y, N, O, O, g_y);
    return loss;
}
"""

SERIES = {  # degree of exp's series, and macros
    "float": (6, "END 87.f", "LN2_HIGH 0.693359375f", "LN2_LOW -2.12194440e-4f", "RINT __builtin_rintf", "V 16",
              "BIAS 127", "MANTISSA 23", "integer int32_t"),
    "double": (11, "END 700.", "LN2_HIGH 0.693145751953125", "LN2_LOW 1.42860682030941723212e-6", "RINT __builtin_rint",
               "V 8", "BIAS 1023", "MANTISSA 52", "integer int64_t"),
}


def series(degree):
    """Return C text: the series of exp around 0 up to this degree, by Horner's rule."""
    text = f"(real)(1.0 / {math.factorial(degree)}.0)"
    for k in reversed(range(degree)):
        text = f"((real)(1.0 / {math.factorial(k)}.0) + (r) * {text})"
    return text


def compiled(problem, variant):
    """Return the loaded library of the C text, compiled for the shape of the problem in this variant."""
    real = "float" if problem.dtype == "float32" else "double"
    degree, *macros = SERIES[real]
    macros = [f"{name} {size}" for name, size in zip("BTIHO", problem[:5])] + macros
    macros += [f"real {real}", f"SERIES(r) {series(degree)}", "ALIGNED __attribute__((aligned(64)))",
               f"BLAS {int('BLAS' in variant)}"]
    return c_library(macros, SOURCE, FLAGS + (["-mprefer-vector-width=512"] if "512" in variant else []))


def missing():
    """Return why the contender cannot be timed on this machine, as text; an empty string if it can."""
    return "" if shutil.which(COMPILER) else f"no compiler {COMPILER}"


def blas():
    """Return SciPy's OpenBLAS, one of the libraries that SciPy has loaded, and the name of its sgemm."""
    import scipy.linalg.blas  # noqa: F401 (loads the library)
    import threadpoolctl

    for found in threadpoolctl.threadpool_info():
        if found["internal_api"] == "openblas":
            opened = ctypes.CDLL(found["filepath"])
            for name in ("scipy_cblas_sgemm", "cblas_sgemm"):  # the one with 64-bit integers has other names
                if hasattr(opened, name):
                    return opened, name
    raise RuntimeError("SciPy's OpenBLAS has no cblas_sgemm with 32-bit integers here")


class GRU:
    @staticmethod
    def variants(problem):
        """Return the names of the variants for this problem."""
        ways = ("loops",) if problem.H < LEAST_H_OF_BLAS else ("BLAS",)
        return tuple(f"{way}{width}" for way in ways for width in (", 512", ""))

    def __init__(self, problem, variant="loops, 512"):
        """Prepare what may be done once for the shapes of the problem, in this variant."""
        self.theta = np.concatenate([value.ravel() for value in problem.parameters.values()])
        self.g = np.empty_like(self.theta)
        self.Y = np.empty((problem.T, problem.B, problem.O), problem.dtype)
        self.X, self.D = problem.X, problem.D
        self.named, begin = {}, 0
        for name, value in problem.parameters.items():
            self.named[name] = self.g[begin:begin + value.size].reshape(value.shape)
            begin += value.size
        self.compiled = compiled(problem, variant)
        opened, name = blas()
        gemm = getattr(opened, name if problem.dtype == "float32" else name.replace("sgemm", "dgemm"))
        self.compiled.prepare.argtypes = [ctypes.c_void_p] * 6
        self.compiled.prepare(ctypes.cast(gemm, ctypes.c_void_p),
                             *(array.ctypes.data for array in (self.X, self.D, self.theta, self.g, self.Y)))
        self.run = self.compiled.run
        self.run.restype, self.run.argtypes = ctypes.c_double, []

    def gradients(self):
        """Return the loss and a dict of the gradients by parameter."""
        return self.run(), self.named

    @staticmethod
    def threads():
        """Return as text how many threads it may use."""
        return "1 in C, and 1 in SciPy's BLAS, which it calls"
