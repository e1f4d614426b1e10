"""The `blas` kernel set: typed Cython loops, and row-major gemm over scipy.linalg.cython_blas.

Design
------
(a) All knowledge of BLAS is in `product`. Its matrices are row-major, BLAS's column-major: C = A B is asked for as
    Cᵀ = Bᵀ Aᵀ, which is the same memory.
(b) Small products stay in plain loops: a call of gemm costs about as much as 300 multiplications (`LOOPS_BELOW`).
(c) P of `pack` is (K, N), so that in every product the innermost loop runs along rows of B and C, which a compiler
    vectorises without reordering a sum.
(d) This set pads nothing (pad 1): a block of rows is one contiguous array, and pointwise stages run over all of it.
(e) While a call is inside, BLAS is held at one thread (`hold_blas`): a product's bits depend on how many threads share it,
    two are slower than one at most sizes of a recurrent network, and hundreds of callers of a threaded OpenBLAS corrupt
    its heap. At most 32 products are in gemm or gemv at a time, whoever asks: OpenBLAS has buffers for so many
    callers as it was built for threads (64 in SciPy's wheels), and says so or crashes where there are more.
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
    ADAGRAD, ADAMW, BINARY_CROSS_ENTROPY, CROSS_ENTROPY, ELU, EXP, HUBER, LEAKY_RELU, LEAKY_SLOPE, NOISE, POISSON, QUANTILE,
    ABSOLUTE_ERROR, CURRENT, RATE, RELU, RMSPROP, SGD, SIGMOID, SOFTMAX, SOFTPLUS, SOFTSIGN, SQUARED_ERROR, TANH,
    ErrorOptions, Kernels, Units, UpdateOptions, exp, expm1, fabs, log, log1p, sqrt, tanh,
)

cdef extern from "atomic.h" nogil:
    long add "fastbptt_add"(long *counter, long n) noexcept
    void enter "fastbptt_enter"(long *counter, long most) noexcept

include "_blas_int.pxi"  # blas_int, which SciPy names from 1.18 on; written by setup.py

# m n k under which plain loops beat gemm and gemv: the time of loops over that of BLAS is 0.3 at 16, 0.6 to 0.9 at 256, 1 to
# 1.6 at 512, 1.2 to 2.3 at 2048 (2026-11, one core of an AMD Zen 3, OpenBLAS 0.3.30, float32 and float64).
cdef enum:
    LOOPS_BELOW = 512

cdef long products = 0         # in gemm or gemv
cdef long most_products = 32


def products_now():
    """How many products are in gemm or gemv."""
    return add(&products, 0)


def set_most_products(long n):
    """Let n products be in gemm or gemv at a time; returns how many were let before. Only tests change it."""
    global most_products
    before, most_products = most_products, n
    return before


# ---------------------------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------------------------


cdef void product(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *A, Py_ssize_t ai, Py_ssize_t ak,
                  const floating *B, Py_ssize_t ldb, floating *C, Py_ssize_t ldc) noexcept nogil:
    """C += A @ B for A[i * ai + j * ak] (m, k), one of ai and ak being 1, B (k, n), C (m, n); 2 m n k flops."""
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
    else:  # the strided side is read: writes that miss the cache cost more
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


cdef inline floating sigmoid(floating x) noexcept nogil:
    cdef floating small = exp(-fabs(x))  # never overflows
    return (small if x < 0 else <floating> 1) / (1 + small)


cdef void activate(int activation, Py_ssize_t n, floating *A) noexcept nogil:
    """A <- g1(A)                                                                                             (n,)"""
    cdef Py_ssize_t i
    cdef floating slope = <floating> LEAKY_SLOPE
    if activation == TANH:
        for i in range(n):
            A[i] = tanh(A[i])
    elif activation == RELU:
        for i in range(n):
            A[i] = A[i] if not A[i] <= 0 else 0  # NaN stays
    elif activation == SIGMOID:
        for i in range(n):
            A[i] = sigmoid(A[i])
    elif activation == SOFTPLUS:
        for i in range(n):
            A[i] = (A[i] if not A[i] <= 0 else 0) + log1p(exp(-fabs(A[i])))
    elif activation == LEAKY_RELU:
        for i in range(n):
            A[i] = A[i] if A[i] > 0 else slope * A[i]
    elif activation == ELU:
        for i in range(n):
            A[i] = A[i] if A[i] > 0 else expm1(A[i])
    elif activation == SOFTSIGN:
        for i in range(n):
            A[i] = A[i] / (1 + fabs(A[i]))
    elif activation == EXP:
        for i in range(n):
            A[i] = exp(A[i])


cdef void differentiate(int activation, Py_ssize_t n, const floating *R, floating *delta) noexcept nogil:
    """delta <- delta * g1'(R), written in the output R = g1(A)                                               (n,)"""
    cdef Py_ssize_t i
    cdef floating slope = <floating> LEAKY_SLOPE
    if activation == TANH:
        for i in range(n):
            delta[i] *= 1 - R[i] * R[i]
    elif activation == RELU:
        for i in range(n):
            delta[i] *= 1 if R[i] > 0 else 0
    elif activation == SIGMOID:
        for i in range(n):
            delta[i] *= R[i] * (1 - R[i])
    elif activation == SOFTPLUS:
        for i in range(n):
            delta[i] *= -expm1(-R[i])
    elif activation == LEAKY_RELU:
        for i in range(n):
            delta[i] *= 1 if R[i] > 0 else slope
    elif activation == ELU:
        for i in range(n):
            delta[i] *= 1 if R[i] > 0 else R[i] + 1
    elif activation == SOFTSIGN:
        for i in range(n):
            delta[i] *= (1 - fabs(R[i])) * (1 - fabs(R[i]))


cdef void recur(int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                const floating *before, floating *S) noexcept nogil:
    cdef Py_ssize_t t, n = rows * ldh
    for t in range(steps):
        if before != NULL:
            product(rows, H, H, before, ldh, <Py_ssize_t> 1, P, ldh, S + t * n, ldh)
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


cdef void integrate(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                    const floating *mask, floating *masked, const floating *before, const floating *integrated, floating *S,
                    floating *other) noexcept nogil:
    cdef Py_ssize_t t, i, n = rows * ldh
    cdef floating leak = <floating> what.leak, keep = <floating> (1 - what.leak)
    cdef const floating *factors
    for t in range(steps):
        factors = before
        if mask != NULL:
            for i in range(n):
                masked[i] = before[i] * mask[i]
            factors = masked
        product(rows, H, H, factors, ldh, <Py_ssize_t> 1, P, ldh, S, ldh)
        if what.form == RATE:
            memcpy(other, S, n * sizeof(floating))
            activate(what.activation, n, other)
            for i in range(n):
                S[i] = before[i] * keep + other[i] * leak
        else:
            for i in range(n):
                other[i] = integrated[i] * keep + S[i] * leak
            memcpy(S, other, n * sizeof(floating))
            activate(what.activation, n, S)
            integrated = other
        before = S
        S, other = S + n, other + n


cdef void integrate_back(const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *P, Py_ssize_t ldh,
                         const floating *mask, floating *masked, const floating *R, const floating *later, floating *dU,
                         floating *delta) noexcept nogil:
    cdef Py_ssize_t t, i, n = rows * ldh
    cdef floating leak = <floating> what.leak, keep = <floating> (1 - what.leak)
    cdef floating *d
    if later == NULL:
        memset(dU, 0, n * sizeof(floating))
    for t in range(steps - 1, -1, -1):
        d = delta + t * n
        if later != NULL and mask == NULL:
            product(rows, H, H, later, ldh, <Py_ssize_t> 1, P, ldh, d, ldh)
        elif later != NULL:
            memset(masked, 0, n * sizeof(floating))
            product(rows, H, H, later, ldh, <Py_ssize_t> 1, P, ldh, masked, ldh)
            for i in range(n):
                d[i] += masked[i] * mask[i]
        if what.form == CURRENT:
            differentiate(what.activation, n, R + t * n, d)
        for i in range(n):
            dU[i] = d[i] + dU[i] * keep
            d[i] = dU[i] * leak
        if what.form == RATE:
            differentiate(what.activation, n, R + t * n, d)
        later = d


# ---------------------------------------------------------------------------------------------------------------------
# The error
# ---------------------------------------------------------------------------------------------------------------------


cdef inline floating slope(const ErrorOptions *what, floating y, floating d, Py_ssize_t o, double *e) noexcept nogil:
    """∂e/∂y of one output, whose loss is put into e; of the losses that do not fuse with an output activation."""
    cdef floating r = y - d
    cdef floating q
    if what.loss == SQUARED_ERROR:
        e[0] = r * r
        return 2 * r
    elif what.loss == ABSOLUTE_ERROR:
        e[0] = fabs(r)
        return 1 if r > 0 else (-1 if r < 0 else r)  # NaN stays
    elif what.loss == HUBER:
        q = <floating> what.threshold
        if fabs(r) <= q:
            e[0] = r * r / 2
            return r
        e[0] = q * (fabs(r) - q / 2)
        return q if r > 0 else (-q if r < 0 else r)
    elif what.loss == QUANTILE:
        q = <floating> what.levels[o // what.K]
        e[0] = (-q if r < 0 else 1 - q) * r
        return -q if r < 0 else (1 - q if r > 0 else r)
    e[0] = 0  # GIVEN
    return d


cdef double softmax_row(const ErrorOptions *what, const floating *d, Py_ssize_t label, floating m, floating *z,
                        double *e) noexcept nogil:
    """z <- scale m ∂e/∂z for softmax with cross-entropy: Y Σ D - D; e is put into e, m e returned."""
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


cdef double fused_row(const ErrorOptions *what, const floating *d, const floating *m, Py_ssize_t weight_width,
                      floating *z, double *e) noexcept nogil:
    """z <- scale m ∂e/∂z = scale m (Y - D) for sigmoid with binary cross-entropy and exp with poisson."""
    cdef Py_ssize_t o
    cdef floating y, weight = 1
    cdef double e_o, total = 0
    e[0] = 0
    for o in range(what.O):
        if weight_width:
            weight = m[o if weight_width > 1 else 0]
        if weight == 0:
            z[o] = 0
            continue
        if what.loss == BINARY_CROSS_ENTROPY:
            y = sigmoid(z[o])
            e_o = (z[o] if z[o] > 0 else 0) - z[o] * d[o] + log1p(exp(-fabs(z[o])))
        else:
            y = exp(z[o])
            e_o = y - d[o] * z[o]
        z[o] = <floating> what.scale * weight * (y - d[o])
        e[0] += e_o
        total += weight * e_o
    return total


cdef double plain_row(const ErrorOptions *what, const floating *d, const floating *m, Py_ssize_t weight_width,
                      floating *y, double *e) noexcept nogil:
    """y <- scale m ∂e/∂z for any other loss, from y = g2(z)."""
    cdef Py_ssize_t o, k
    cdef floating weight = 1, dy, inner = 0, factor = <floating> what.scale
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
        elif what.activation == SIGMOID:
            y[o] = dy * y[o] * (1 - y[o])
        elif what.activation == TANH:
            y[o] = dy * (1 - y[o] * y[o])
        elif what.activation == EXP:
            y[o] = dy * y[o]
        else:
            y[o] = dy
    if what.activation == SOFTMAX:  # Y (dY - Σ dY Y): dY a second time, now that the sum is known
        for o in range(what.O):
            k = o % what.K
            if weight_width:
                weight = m[k if weight_width > 1 else 0]
            dy = factor * weight * slope(what, y[o], d[k], o, &e_o) if weight != 0 else 0
            if what.settles and fabs(dy - inner) <= NOISE * epsilon * (fabs(dy) + fabs(inner)):
                y[o] = 0  # only rounding noise is left
            else:
                y[o] *= dy - inner
    return total


cdef double error(const ErrorOptions *what, Py_ssize_t rows, const floating *D, Py_ssize_t ldd,
                  const Py_ssize_t *labels, const floating *weights, Py_ssize_t weight_width, floating *Z,
                  Py_ssize_t ldz, floating *losses) noexcept nogil:
    cdef Py_ssize_t i, n = rows * ldz
    cdef bint fused = what.loss in (BINARY_CROSS_ENTROPY, CROSS_ENTROPY, POISSON)
    cdef bint targets = D != NULL or labels != NULL
    cdef const floating *d
    cdef const floating *m
    cdef double e, total = 0
    if not (fused and targets):
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
            if m != NULL and m[0] == 0:  # a label of -1 is legal here
                memset(Z + i * ldz, 0, what.O * sizeof(floating))
                e = 0
            else:
                total += softmax_row(what, d, labels[i] if labels != NULL else 0, m[0] if m != NULL else 1,
                                     Z + i * ldz, &e)
        elif fused:
            total += fused_row(what, d, m, weight_width, Z + i * ldz, &e)
        else:
            total += plain_row(what, d, m, weight_width, Z + i * ldz, &e)
        if losses != NULL:
            losses[i] = <floating> e
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Updates
# ---------------------------------------------------------------------------------------------------------------------


cdef void update(const UpdateOptions *what, Py_ssize_t n, const floating *gradient, floating *theta, floating *slot_1,
                 floating *slot_2) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating eta = <floating> what.learning_rate, epsilon = <floating> what.epsilon
    cdef floating momentum = <floating> what.momentum
    cdef floating rho = <floating> what.rho, new = <floating> (1 - what.rho)
    cdef floating beta_1 = <floating> what.beta_1, new_1 = <floating> (1 - what.beta_1)
    cdef floating beta_2 = <floating> what.beta_2, new_2 = <floating> (1 - what.beta_2)
    cdef floating correction_1 = <floating> what.correction_1, correction_2 = <floating> what.correction_2
    cdef floating decay = <floating> (1 - what.learning_rate * what.weight_decay)
    cdef floating g
    if what.rule == SGD:
        for i in range(n):
            slot_1[i] = momentum * slot_1[i] + gradient[i]
            theta[i] -= eta * (gradient[i] + momentum * slot_1[i] if what.nesterov else slot_1[i])
    elif what.rule == RMSPROP:
        for i in range(n):
            slot_1[i] = rho * slot_1[i] + new * gradient[i] * gradient[i]
            theta[i] -= eta * gradient[i] / (sqrt(slot_1[i]) + epsilon)
    elif what.rule == ADAGRAD:
        for i in range(n):
            slot_1[i] += gradient[i] * gradient[i]
            theta[i] -= eta * gradient[i] / (sqrt(slot_1[i]) + epsilon)
    else:
        for i in range(n):
            g = gradient[i]
            slot_1[i] = beta_1 * slot_1[i] + new_1 * g
            slot_2[i] = beta_2 * slot_2[i] + new_2 * g * g
            if what.rule == ADAMW:
                theta[i] *= decay
            theta[i] -= eta * (slot_1[i] / correction_1) / (sqrt(slot_2[i] / correction_2) + epsilon)


# ---------------------------------------------------------------------------------------------------------------------
# BLAS at one thread
# ---------------------------------------------------------------------------------------------------------------------

# The limit is the process's, not the caller's: the first call in takes it, the last one out gives back what was there.
# Compiled code, in which no Ctrl-C can strike between taking the limit and counting it.
cdef PyThread_type_lock lock = PyThread_allocate_lock()
cdef int inside = 0
cdef object libraries = None
cdef list before = []


cdef void enter_lock() noexcept:
    with nogil:
        PyThread_acquire_lock(lock, WAIT_LOCK)


cdef int set_threads(list counts) except -1:
    """Set each library's number of threads, all of them even where Ctrl-C strikes in between."""
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
    """BLAS stays at one thread until `release_blas`; calls may nest and overlap. 7 µs where it had more."""
    global inside, libraries, before
    enter_lock()
    try:
        if inside == 0:
            if libraries is None:  # a millisecond, once
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
    inside = products = 0  # the threads that were inside are not here
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
table.f32.recur, table.f64.recur = recur[float], recur[double]
table.f32.error, table.f64.error = error[float], error[double]
table.f32.recur_back, table.f64.recur_back = recur_back[float], recur_back[double]
table.f32.accumulate, table.f64.accumulate = accumulate[float], accumulate[double]
table.f32.column_sums, table.f64.column_sums = column_sums[float], column_sums[double]
table.f32.update, table.f64.update = update[float], update[double]
table.f32.integrate, table.f64.integrate = integrate[float], integrate[double]
table.f32.integrate_back, table.f64.integrate_back = integrate_back[float], integrate_back[double]


cdef const Kernels *blas_kernels() noexcept nogil:
    return &table
