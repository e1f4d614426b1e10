"""The `blas` kernel set: typed Cython loops, and row-major gemm from scipy.linalg.cython_blas.

Design
------
(a) Only `product` calls BLAS. Its matrices are row-major and those of BLAS column-major, so C = A B is computed as
    Cᵀ = Bᵀ Aᵀ, which is the same memory.
(b) Small products are plain loops: a call of gemm takes about the time of 300 multiplications (`LOOPS_BELOW`).
(c) P of `pack` is (K, N), so that in every product the innermost loop runs along rows of B and C. A compiler vectorises
    it without reordering a sum.
(d) This set has no padding (pad 1): a block of rows is one contiguous array, and pointwise stages run over all of it.
(e) During a call, BLAS is limited to one thread (`hold_blas`), for three reasons. The bits of a product depend on the number
    of its threads. Two threads are slower than one at most sizes of a recurrent network. Hundreds of callers of a threaded
    OpenBLAS corrupt its heap.
(f) At most 32 products of all callers are in gemm or gemv at a time. OpenBLAS has as many buffers for callers as it was built
    for threads (64 in SciPy's wheels). With more callers it reports an error or crashes.
A new kernel of kernels.h gets a function here and a line in the table at the end.
"""

import os

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_release_lock, PyThread_type_lock, WAIT_LOCK,
)

from cython cimport floating
from libc.float cimport DBL_EPSILON, FLT_EPSILON
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

from .kernels cimport (
    APART, CELL_COUNT, CROSS_ENTROPY, GATED, NOISE, RATE, SIGMOID, SOFTMAX, CellRow, ErrorOptions, Kernels, Units,
    UpdateOptions, cell_rows, exp, fabs, log, outputs_of, reads_input,
)
from .scalar cimport activate, back_from_output, differentiate, slope, update

cdef extern from "atomic.h" nogil:
    long add "fastbptt_add"(long *counter, long n) noexcept
    void enter "fastbptt_enter"(long *counter, long most) noexcept

cdef extern from "kernels.h":
    enum:  # the cells of several gates, which only this file names
        GRU "FASTBPTT_GRU"
        GRU_BEFORE "FASTBPTT_GRU_BEFORE"
        LSTM "FASTBPTT_LSTM"

include "_blas_int.pxi"  # setup.py writes it: it defines blas_int, a name that SciPy has from 1.18 on

# Products with a smaller m n k are plain loops, which beat gemm and gemv there. The time of loops divided by that of BLAS is
# 0.3 at 16, 0.6 to 0.9 at 256, 1 to 1.6 at 512, 1.2 to 2.3 at 2048 (2026-11, one core of an AMD Zen 3, OpenBLAS 0.3.30, float32
# and float64).
cdef enum:
    LOOPS_BELOW = 512

cdef long products = 0         # number in gemm or gemv now
cdef long most_products = 32


def products_now():
    """Return the number of products in gemm or gemv."""
    return add(&products, 0)


def set_most_products(long n):
    """Allow at most n products in gemm or gemv at a time. Return the limit before. Only tests change it."""
    global most_products
    before, most_products = most_products, n
    return before


# ---------------------------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------------------------


cdef void product(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *A, Py_ssize_t ai, Py_ssize_t ak,
                  const floating *B, Py_ssize_t ldb, floating *C, Py_ssize_t ldc) noexcept nogil:
    """Compute C += A @ B for A[i * ai + j * ak] (m, k), B (k, n) and C (m, n). ai or ak is 1. It takes 2 m n k flops."""
    cdef Py_ssize_t i, j, l
    cdef floating a
    cdef floating one = 1
    cdef const floating *b
    cdef floating *c
    cdef char *as_it_is = b"N"
    cdef char *a_transposed = b"T" if ak != 1 else b"N"
    cdef blas_int m_ = <blas_int> m, n_ = <blas_int> n, k_ = <blas_int> k, unit = 1
    cdef blas_int lda_ = <blas_int> max(ai, ak), ldb_ = <blas_int> ldb, ldc_ = <blas_int> ldc, step = <blas_int> ak

    if m * n * k < LOOPS_BELOW:
        for i in range(m):
            c = C + i * ldc
            for l in range(k):
                a = A[i * ai + l * ak]
                b = B + l * ldb
                for j in range(n):
                    c[j] += a * b[j]
        return
    enter(&products, most_products)
    if m == 1:  # C[0] += Bᵀ A[0]
        if floating is float:
            sgemv(as_it_is, &n_, &k_, &one, <float *> B, &ldb_, <float *> A, &step, &one, C, &unit)
        else:
            dgemv(as_it_is, &n_, &k_, &one, <double *> B, &ldb_, <double *> A, &step, &one, C, &unit)
    else:
        if floating is float:
            sgemm(as_it_is, a_transposed, &n_, &m_, &k_, &one, <float *> B, &ldb_, <float *> A, &lda_, &one, C, &ldc_)
        else:
            dgemm(as_it_is, a_transposed, &n_, &m_, &k_, &one, <double *> B, &ldb_, <double *> A, &lda_, &one, C, &ldc_)
    add(&products, -1)


cdef void pack(Py_ssize_t K, Py_ssize_t N, const floating *W, Py_ssize_t stride_k, Py_ssize_t stride_n, floating *P,
               Py_ssize_t ldp) noexcept nogil:
    cdef Py_ssize_t i, j
    if stride_n == 1:
        for i in range(K):
            memcpy(P + i * ldp, W + i * stride_k, N * sizeof(floating))
    else:  # the strided array is read, because writes that miss the cache take longer
        for i in range(K):
            for j in range(N):
                P[i * ldp + j] = W[i * stride_k + j * stride_n]


cdef void affine(Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const floating *A, Py_ssize_t lda, const floating *P,
                 Py_ssize_t ldp, const floating *b, floating *C, Py_ssize_t ldc) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(rows):
        if b == NULL:
            memset(C + i * ldc, 0, N * sizeof(floating))
        else:
            memcpy(C + i * ldc, b, N * sizeof(floating))
    product(rows, N, K, A, lda, <Py_ssize_t> 1, P, ldp, C, ldc)


cdef void add_product(Py_ssize_t rows, Py_ssize_t K, const floating *A, Py_ssize_t lda, const floating *P, Py_ssize_t ldp,
                      floating *C, Py_ssize_t ldc) noexcept nogil:
    product(rows, ldp, K, A, lda, <Py_ssize_t> 1, P, ldp, C, ldc)


cdef void accumulate(Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const floating *A, Py_ssize_t lda,
                     const floating *B, Py_ssize_t ldb, floating *C, Py_ssize_t ldc) noexcept nogil:
    product(M, N, rows, A, <Py_ssize_t> 1, lda, B, ldb, C, ldc)


cdef void column_sums(Py_ssize_t rows, Py_ssize_t N, const floating *A, Py_ssize_t lda, floating *sums) noexcept nogil:
    cdef Py_ssize_t i, j, n, width
    cdef double[16] total  # one long float32 sum was off by 6e-4 after 65,536 rows
    for n in range(0, N, 16):
        width = min(N - n, 16)
        for j in range(width):
            total[j] = 0
        for i in range(rows):
            for j in range(width):
                total[j] += A[i * lda + n + j]
        for j in range(width):
            sums[n + j] += <floating> total[j]


# ---------------------------------------------------------------------------------------------------------------------
# Copies
# ---------------------------------------------------------------------------------------------------------------------


cdef void gather(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const floating *X, Py_ssize_t stride_t,
                 Py_ssize_t stride_b, const Py_ssize_t *index, floating *A, Py_ssize_t lda) noexcept nogil:
    cdef Py_ssize_t t, b, place
    for t in range(steps):
        for b in range(rows):
            place = index[b] if index != NULL else b
            memcpy(A + (t * rows + b) * lda, X + t * stride_t + place * stride_b, width * sizeof(floating))


cdef void scatter(Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t width, const floating *A, Py_ssize_t lda, floating *X,
                  Py_ssize_t stride_t, Py_ssize_t stride_b, const Py_ssize_t *index) noexcept nogil:
    cdef Py_ssize_t t, b, place
    for t in range(steps):
        for b in range(rows):
            place = index[b] if index != NULL else b
            memcpy(X + t * stride_t + place * stride_b, A + (t * rows + b) * lda, width * sizeof(floating))


# ---------------------------------------------------------------------------------------------------------------------
# The recurrence
# ---------------------------------------------------------------------------------------------------------------------


cdef void recur(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                const floating *before, floating *S, floating *A) noexcept nogil:
    cdef Py_ssize_t t, n = rows * ldh
    for t in range(steps):
        if before != NULL:
            product(rows, H, H, before, ldh, <Py_ssize_t> 1, P, ldh, S + t * n, ldh)
        if A != NULL and reads_input(activation):
            memcpy(A + t * n, S + t * n, n * sizeof(floating))
        activate(activation, n, S + t * n)
        before = S + t * n


cdef void recur_back(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P,
                     Py_ssize_t ldh, const floating *R, const floating *later, floating *delta) noexcept nogil:
    cdef Py_ssize_t t, n = rows * ldh
    for t in range(steps - 1, -1, -1):
        if later != NULL:
            product(rows, H, H, later, ldh, <Py_ssize_t> 1, P, ldh, delta + t * n, ldh)
        differentiate(activation, n, R + t * n, delta + t * n)
        later = delta + t * n


cdef const floating *times_mask(Py_ssize_t n, const floating *states, const floating *mask, floating *masked) noexcept nogil:
    """Return states * mask, which is written to `masked`. Without a mask, return the states."""
    cdef Py_ssize_t i
    if mask == NULL:
        return states
    for i in range(n):
        masked[i] = states[i] * mask[i]
    return masked


cdef void mix_rows(const Units *what, Py_ssize_t rows, Py_ssize_t ldh, const floating *x, const floating *y,
                   floating *into) noexcept nogil:
    """Compute into = keep * x + leak * y for rows (rows, H) of units with separate leaks."""
    cdef Py_ssize_t row, i, h
    cdef const floating *leaks = <const floating *> what.leaks
    cdef const floating *keeps = <const floating *> what.keeps
    for row in range(rows):
        i = row * ldh
        for h in range(ldh):
            into[i + h] = x[i + h] * keeps[h] + y[i + h] * leaks[h]


cdef void integrate(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                    const floating *mask, floating *masked, const floating *before, const floating *integrated, floating *S,
                    floating *other) noexcept nogil:
    cdef Py_ssize_t t, i, n = rows * ldh
    cdef floating leak = <floating> what.leak, keep = <floating> (1 - what.leak)
    cdef const floating *factors
    cdef floating *rate
    for t in range(steps):
        factors = times_mask(n, before, mask, masked)
        if P != NULL:
            product(rows, H, H, factors, ldh, <Py_ssize_t> 1, P, ldh, S, ldh)
        if what.form == RATE:
            memcpy(other, S, n * sizeof(floating))
            rate = S if reads_input(what.activation) else other  # the other of the two keeps A
            activate(what.activation, n, rate)
            if what.leaks != NULL:
                mix_rows(what, rows, ldh, before, rate, S)
            for i in range(0 if what.leaks != NULL else n):
                S[i] = before[i] * keep + rate[i] * leak
        else:
            if what.leaks != NULL:
                mix_rows(what, rows, ldh, integrated, S, other)
            for i in range(0 if what.leaks != NULL else n):
                other[i] = integrated[i] * keep + S[i] * leak
            memcpy(S, other, n * sizeof(floating))
            activate(what.activation, n, S)
            integrated = other
        before = S
        S, other = S + n, other + n


cdef void integrate_back(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                         const floating *mask, floating *masked, const floating *R, const floating *later, floating *dU,
                         floating *delta) noexcept nogil:
    cdef Py_ssize_t t, i, h, n = rows * ldh
    cdef floating leak = <floating> what.leak, keep = <floating> (1 - what.leak)
    cdef floating *d
    if later == NULL:
        memset(dU, 0, n * sizeof(floating))
    for t in range(steps - 1, -1, -1):
        d = delta + t * n
        if P != NULL and later != NULL and mask == NULL:
            product(rows, H, H, later, ldh, <Py_ssize_t> 1, P, ldh, d, ldh)
        elif P != NULL and later != NULL:
            memset(masked, 0, n * sizeof(floating))
            product(rows, H, H, later, ldh, <Py_ssize_t> 1, P, ldh, masked, ldh)
            for i in range(n):
                d[i] += masked[i] * mask[i]
        if what.form != RATE:
            differentiate(what.activation, n, R + t * n, d)
        if what.leaks != NULL:
            for i in range(n):
                h = i % ldh
                dU[i] = d[i] + dU[i] * (<const floating *> what.keeps)[h]
                d[i] = dU[i] * (<const floating *> what.leaks)[h]
        for i in range(0 if what.leaks != NULL else n):
            dU[i] = d[i] + dU[i] * keep
            d[i] = dU[i] * leak
        if what.form == RATE:
            differentiate(what.activation, n, R + t * n, d)
        later = d


# Cells of several gates. simd/gated.h lists the slots of `saves` and delta, and says what the two functions of a cell compute:
# here for one row, and dcarry is 0 if nothing comes back. A new cell needs them, and a row of GATED_CELLS.


cdef void gru_step(int activation, Py_ssize_t H, const floating *before, const floating *carry_before, floating *S,
                   floating *carry, floating *s) noexcept nogil:
    cdef Py_ssize_t h
    activate(SIGMOID, 2 * H, s + H)
    for h in range(H):
        s[h] += s[H + h] * s[3 * H + h]
    activate(activation, H, s)
    for h in range(H):
        S[h] = s[h] + s[2 * H + h] * (before[h] - s[h])


cdef void gru_step_back(int activation, Py_ssize_t H, const floating *s, const floating *before, floating *dcarry,
                        floating *d) noexcept nogil:
    cdef Py_ssize_t h
    cdef floating dh
    for h in range(H):
        dh = d[h] = d[h] + dcarry[h]
        dcarry[h] = dh * s[2 * H + h]
        d[2 * H + h] = dh * (before[h] - s[h]) * s[2 * H + h] * (1 - s[2 * H + h])
        d[h] = dh * (1 - s[2 * H + h])
    differentiate(activation, H, s, d)
    for h in range(H):
        d[3 * H + h] = d[h] * s[H + h]
        d[H + h] = d[h] * s[3 * H + h] * s[H + h] * (1 - s[H + h])


cdef void gru_before_step(int activation, Py_ssize_t H, const floating *before, const floating *carry_before, floating *S,
                          floating *carry, floating *s) noexcept nogil:
    cdef Py_ssize_t h
    activate(activation, H, s + 2 * H)
    for h in range(H):
        S[h] = s[2 * H + h] + s[H + h] * (before[h] - s[2 * H + h])


cdef void gru_before_step_back(int activation, Py_ssize_t H, const floating *s, const floating *before, floating *dcarry,
                               floating *d) noexcept nogil:
    cdef Py_ssize_t h
    cdef floating dh
    for h in range(H):
        dh = d[h] + dcarry[h]
        dcarry[h] = dh * s[H + h]
        d[h] = 0
        d[H + h] = dh * (before[h] - s[2 * H + h]) * s[H + h] * (1 - s[H + h])
        d[2 * H + h] = dh * (1 - s[H + h])
    differentiate(activation, H, s + 2 * H, d + 2 * H)


cdef void lstm_step(int activation, Py_ssize_t H, const floating *before, const floating *carry_before, floating *S,
                    floating *carry, floating *s) noexcept nogil:
    cdef Py_ssize_t h
    activate(SIGMOID, 2 * H, s)
    activate(activation, H, s + 2 * H)
    activate(SIGMOID, H, s + 3 * H)
    for h in range(H):
        s[5 * H + h] = carry_before[h]
        s[4 * H + h] = carry[h] = s[H + h] * s[5 * H + h] + s[h] * s[2 * H + h]
    activate(activation, H, s + 4 * H)
    for h in range(H):
        S[h] = s[3 * H + h] * s[4 * H + h]


cdef void lstm_step_back(int activation, Py_ssize_t H, const floating *s, const floating *before, floating *dcarry,
                         floating *d) noexcept nogil:
    cdef Py_ssize_t h
    cdef floating dh
    for h in range(H):
        dh = d[h]
        d[2 * H + h] = dh * s[3 * H + h]  # times g1'(c)
        d[3 * H + h] = dh * s[4 * H + h] * s[3 * H + h] * (1 - s[3 * H + h])
    differentiate(activation, H, s + 4 * H, d + 2 * H)
    for h in range(H):
        dh = dcarry[h] + d[2 * H + h]
        dcarry[h] = dh * s[H + h]
        d[h] = dh * s[2 * H + h] * s[h] * (1 - s[h])
        d[H + h] = dh * s[5 * H + h] * s[H + h] * (1 - s[H + h])
        d[2 * H + h] = dh * s[h]
    differentiate(activation, H, s + 2 * H, d + 2 * H)


ctypedef void (*Step_f32)(int activation, Py_ssize_t H, const float *before, const float *carry_before, float *S, float *carry,
                          float *s) noexcept nogil
ctypedef void (*Step_f64)(int activation, Py_ssize_t H, const double *before, const double *carry_before, double *S,
                          double *carry, double *s) noexcept nogil
ctypedef void (*StepBack_f32)(int activation, Py_ssize_t H, const float *s, const float *before, float *dcarry,
                              float *d) noexcept nogil
ctypedef void (*StepBack_f64)(int activation, Py_ssize_t H, const double *s, const double *before, double *dcarry,
                              double *d) noexcept nogil


cdef struct GatedCell:
    Step_f32 step_f32
    Step_f64 step_f64
    StepBack_f32 back_f32
    StepBack_f64 back_f64


cdef GatedCell[CELL_COUNT] GATED_CELLS
GATED_CELLS[GRU] = GatedCell(gru_step[float], gru_step[double], gru_step_back[float], gru_step_back[double])
GATED_CELLS[GRU_BEFORE] = GatedCell(gru_before_step[float], gru_before_step[double], gru_before_step_back[float],
                                    gru_before_step_back[double])
GATED_CELLS[LSTM] = GatedCell(lstm_step[float], lstm_step[double], lstm_step_back[float], lstm_step_back[double])


def check_cells():
    """Raise ImportError if a cell of several gates has no row in GATED_CELLS."""
    cdef int i
    for i in range(CELL_COUNT):
        if cell_rows[i].gates > 1 and GATED_CELLS[i].step_f32 == NULL:
            raise ImportError(f"the kernel set 'blas' has no functions for the cell {cell_rows[i].name.decode()!r}")


check_cells()


cdef void gate(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
               const floating *b_n, const floating *mask, floating *masked, const floating *before,
               const floating *carry_before, floating *S, floating *carry, floating *saves) noexcept nogil:
    cdef const CellRow *cell = &cell_rows[what.form]
    cdef bint apart = cell.product == APART, gated = cell.product == GATED
    cdef Py_ssize_t t, i, h, n = rows * H, lds = cell.saves * H, width = (cell.gates - gated) * H
    cdef Py_ssize_t ldc = H if cell.carries > 1 else 0  # else the pointers to the second carry are NULL
    cdef const floating *factor
    cdef floating *s
    cdef floating *scratch = masked + n
    for t in range(steps):
        factor = times_mask(n, before, mask, masked)
        for i in range(rows if apart else 0):
            memcpy(saves + i * lds + cell.gates * H, b_n, H * sizeof(floating))
        product(rows, width, H, factor, H, <Py_ssize_t> 1, P, width, saves + (H if apart else 0), lds)
        if gated:
            for i in range(rows):
                s = saves + i * lds
                activate(SIGMOID, width, s)
                for h in range(H):
                    scratch[i * H + h] = s[h] * factor[i * H + h]
            product(rows, H, H, scratch, H, <Py_ssize_t> 1, P + width * H, H, saves + width, lds)
        for i in range(rows):
            if floating is float:
                GATED_CELLS[what.form].step_f32(what.activation, H, before + i * H, carry_before + i * ldc, S + i * H,
                                                carry + i * ldc, saves + i * lds)
            else:
                GATED_CELLS[what.form].step_f64(what.activation, H, before + i * H, carry_before + i * ldc, S + i * H,
                                                carry + i * ldc, saves + i * lds)
        before, carry_before = S, carry
        S, saves = S + n, saves + rows * lds
        carry += rows * ldc


cdef void gate_back(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                    const floating *mask, floating *masked, const floating *saves, const floating *before,
                    const floating *later, floating *dcarry, floating *delta) noexcept nogil:
    cdef const CellRow *cell = &cell_rows[what.form]
    cdef Py_ssize_t t, i, h, n = rows * H, lds = cell.saves * H, ldd = cell.slots * H
    cdef Py_ssize_t width = (cell.gates - (cell.product == GATED)) * H, first = (cell.slots - cell.gates) * H
    cdef const floating *s
    cdef const floating *b
    cdef floating *d
    cdef floating *scratch = masked + n
    cdef floating back
    if later == NULL:
        memset(dcarry, 0, n * sizeof(floating))
    for t in range(steps - 1 if steps > 0 else 0, -1, -1):
        d = delta + t * rows * ldd
        if later != NULL and mask == NULL:
            product(rows, H, width, later + first, ldd, <Py_ssize_t> 1, P, H, d, ldd)
        elif later != NULL:
            memset(masked, 0, n * sizeof(floating))
            product(rows, H, width, later + first, ldd, <Py_ssize_t> 1, P, H, masked, H)
            for i in range(rows):
                for h in range(H):
                    d[i * ldd + h] += masked[i * H + h] * mask[i * H + h]
        if steps == 0:
            for i in range(rows if cell.carries == 1 else 0):
                for h in range(H):
                    d[i * ldd + h] += dcarry[i * H + h]
            return
        for i in range(rows):
            if floating is float:
                GATED_CELLS[what.form].back_f32(what.activation, H, saves + (t * rows + i) * lds, before + t * n + i * H,
                                                dcarry + i * H, d + i * ldd)
            else:
                GATED_CELLS[what.form].back_f64(what.activation, H, saves + (t * rows + i) * lds, before + t * n + i * H,
                                                dcarry + i * H, d + i * ldd)
        if cell.product == GATED:
            memset(scratch, 0, n * sizeof(floating))
            product(rows, H, H, d + width, ldd, <Py_ssize_t> 1, P + width * H, H, scratch, H)
            for i in range(rows):
                s, b = saves + (t * rows + i) * lds, before + t * n + i * H
                for h in range(H):
                    back = scratch[i * H + h]
                    if mask != NULL:
                        back *= mask[i * H + h]
                    dcarry[i * H + h] += back * s[h]
                    d[i * ldd + h] = (d[i * ldd + h] + back * b[h]) * s[h] * (1 - s[h])
        later = d


# ---------------------------------------------------------------------------------------------------------------------
# The error
# ---------------------------------------------------------------------------------------------------------------------


cdef double softmax_row(const ErrorOptions *what, const floating *d, Py_ssize_t label, floating m, floating *z,
                        double *e) noexcept nogil:
    """Compute z <- scale m ∂e/∂z for softmax with cross-entropy, which is Y Σ D - D. Set e to the loss and return m e."""
    cdef Py_ssize_t o
    cdef floating top = z[0], total = 0, mass = 1, factor = m * <floating> what.scale
    cdef double linear = 0
    for o in range(1, what.O):
        if z[o] > top or z[o] != z[o]:
            top = z[o]
    if d != NULL:
        mass = 0
        for o in range(what.O):
            mass += d[o]
            linear += d[o] * (z[o] - top)
    else:
        linear = z[label] - top
    for o in range(what.O):
        z[o] = exp(z[o] - top)
        total += z[o]
    e[0] = mass * log(total) - linear
    for o in range(what.O):
        z[o] = factor * (z[o] / total * mass - (d[o] if d != NULL else (1 if o == label else 0)))
    return m * e[0]


cdef void softmax(Py_ssize_t n, floating *z) noexcept nogil:
    cdef Py_ssize_t o
    cdef floating top = z[0], total = 0
    for o in range(1, n):
        if z[o] > top or z[o] != z[o]:
            top = z[o]
    for o in range(n):
        z[o] = exp(z[o] - top)
        total += z[o]
    for o in range(n):
        z[o] /= total


cdef double row(const ErrorOptions *what, const floating *d, const floating *m, Py_ssize_t weight_width, floating *y,
                double *e) noexcept nogil:
    """Compute y <- scale m ∂e/∂z for every loss except cross-entropy. y holds g2(z), or z for a fused loss. Return Σ m e."""
    cdef Py_ssize_t o, k
    cdef floating weight = 1, dy, inner = 0, factor = <floating> what.scale
    cdef bint one_function = outputs_of(what.loss) >= 0
    cdef double e_o, total = 0, epsilon = FLT_EPSILON if sizeof(floating) == sizeof(float) else DBL_EPSILON
    e[0] = 0
    for o in range(what.O):
        k = o % what.K
        if weight_width:
            weight = m[k if weight_width > 1 else 0]
        if weight == 0:
            dy = 0
        else:
            dy = factor * weight * slope(what, y[o], d[k], o, &e_o)
            e[0] += e_o
            total += weight * e_o
        if what.activation == SOFTMAX:
            inner += dy * y[o]
        elif one_function:
            y[o] = dy
        else:
            y[o] = back_from_output(what.activation, dy, y[o])
    if what.activation == SOFTMAX:  # Y (dY - Σ dY Y): compute dY again, now that the sum is known
        for o in range(what.O):
            k = o % what.K
            if weight_width:
                weight = m[k if weight_width > 1 else 0]
            dy = factor * weight * slope(what, y[o], d[k], o, &e_o) if weight != 0 else 0
            if what.settles and fabs(dy - inner) <= NOISE * epsilon * (fabs(dy) + fabs(inner)):
                y[o] = 0  # the difference is only rounding noise
            else:
                y[o] *= dy - inner
    return total


cdef double error(const ErrorOptions *what, Py_ssize_t rows, const floating *D, Py_ssize_t ldd,
                  const Py_ssize_t *labels, const floating *weights, Py_ssize_t weight_width, floating *Z,
                  Py_ssize_t ldz, floating *losses) noexcept nogil:
    cdef Py_ssize_t i, n = rows * ldz
    cdef bint one_function = outputs_of(what.loss) >= 0
    cdef bint targets = D != NULL or labels != NULL
    cdef const floating *d
    cdef const floating *m
    cdef double e, total = 0
    if not (one_function and targets):
        if what.activation == SOFTMAX:
            for i in range(rows):
                softmax(what.O, Z + i * ldz)
        else:
            activate(what.activation, n, Z)
    if not targets:
        return 0
    for i in range(rows):
        d = D + i * ldd if D != NULL else NULL
        m = weights + i * weight_width if weight_width else NULL
        if what.loss == CROSS_ENTROPY:
            if m != NULL and m[0] == 0:  # the label may be -1
                memset(Z + i * ldz, 0, what.O * sizeof(floating))
                e = 0
            else:
                total += softmax_row(what, d, labels[i] if labels != NULL else 0, m[0] if m != NULL else 1,
                                     Z + i * ldz, &e)
        else:
            total += row(what, d, m, weight_width, Z + i * ldz, &e)
        if losses != NULL:
            losses[i] = <floating> e
    return total


# ---------------------------------------------------------------------------------------------------------------------
# BLAS at one thread
# ---------------------------------------------------------------------------------------------------------------------

# The limit holds for the whole process, not for one caller: the first concurrent call sets it, and the last one restores the
# former number of threads. This is compiled code, so that Ctrl-C cannot interrupt between setting the limit and counting it.
cdef PyThread_type_lock lock = PyThread_allocate_lock()
cdef int inside = 0
cdef object libraries = None
cdef list before = []


cdef void enter_lock() noexcept:
    with nogil:
        PyThread_acquire_lock(lock, WAIT_LOCK)


cdef int set_threads(list counts) except -1:
    """Set each library's number of threads. A Ctrl-C takes effect only after all of them are set."""
    interrupt = None
    for library, count in counts:
        while True:
            try:
                library.set_num_threads(count)
                break
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    return 0


cdef int hold_blas() except -1:
    """Limit BLAS to one thread until `release_blas`. Calls may nest and overlap. It takes 7 µs if BLAS had more threads."""
    global inside, libraries, before
    enter_lock()
    try:
        if inside == 0:
            if libraries is None:  # the first call takes a millisecond
                import threadpoolctl

                libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
            before = [(library, library.num_threads) for library in libraries]
            before = [(library, count) for library, count in before if count != 1]
            try:
                set_threads([(library, 1) for library, _ in before])
            except KeyboardInterrupt:
                set_threads(before)
                raise
        inside += 1
    finally:
        PyThread_release_lock(lock)
    return 0


cdef int release_blas() except -1:
    global inside
    enter_lock()
    try:
        inside -= 1
        if inside == 0:
            set_threads(before)
    finally:
        PyThread_release_lock(lock)
    return 0


def _before_fork():
    enter_lock()


def _after_fork_in_parent():
    PyThread_release_lock(lock)


def _after_fork_in_child():
    global inside, products
    inside = products = 0  # the child does not have the threads that were in a call
    PyThread_release_lock(lock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------

cdef Kernels table
table.name = b"blas"
table.pad_f32 = table.pad_f64 = 1

table.f32.pack, table.f64.pack = pack[float], pack[double]
table.f32.gather, table.f64.gather = gather[float], gather[double]
table.f32.scatter, table.f64.scatter = scatter[float], scatter[double]
table.f32.affine, table.f64.affine = affine[float], affine[double]
table.f32.add_product, table.f64.add_product = add_product[float], add_product[double]
table.f32.recur, table.f64.recur = recur[float], recur[double]
table.f32.error, table.f64.error = error[float], error[double]
table.f32.recur_back, table.f64.recur_back = recur_back[float], recur_back[double]
table.f32.accumulate, table.f64.accumulate = accumulate[float], accumulate[double]
table.f32.column_sums, table.f64.column_sums = column_sums[float], column_sums[double]
table.f32.update, table.f64.update = update[float], update[double]
table.f32.integrate, table.f64.integrate = integrate[float], integrate[double]
table.f32.integrate_back, table.f64.integrate_back = integrate_back[float], integrate_back[double]
table.f32.gate, table.f64.gate = gate[float], gate[double]
table.f32.gate_back, table.f64.gate_back = gate_back[float], gate_back[double]


cdef const Kernels *blas_kernels() noexcept nogil:
    return &table
