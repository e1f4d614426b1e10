"""Declare the lane kernels, which compute many networks at once, one per lane, for fused floating.

kernels.h documents each kernel. Like kernels.pxd, this file branches on `if floating is float`, so that other files need not.
"""

from cython cimport floating

from .kernels cimport ErrorOptions, Kernels, Units, UpdateOptions


cdef inline Py_ssize_t lanes(const Kernels *k, const floating *of) noexcept nogil:
    """Return the number of networks per lane kernel; 0 if the set has no lane kernels."""
    return k.lanes_f32 if floating is float else k.lanes_f64


cdef inline void affine(const Kernels *k, Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const floating *x, int shared,
                        const floating *W, const floating *b, floating *C, Py_ssize_t ldc) noexcept nogil:
    if floating is float:
        k.lane_f32.affine(rows, K, N, x, shared, W, b, C, ldc)
    else:
        k.lane_f64.affine(rows, K, N, x, shared, W, b, C, ldc)


cdef inline void affine_back(const Kernels *k, Py_ssize_t rows, Py_ssize_t K, Py_ssize_t N, const floating *x,
                             const floating *W, floating *C, Py_ssize_t ldc) noexcept nogil:
    if floating is float:
        k.lane_f32.affine_back(rows, K, N, x, W, C, ldc)
    else:
        k.lane_f64.affine_back(rows, K, N, x, W, C, ldc)


cdef inline void recur(const Kernels *k, int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *W,
                       const floating *ends, const floating *before, floating *S, floating *A) noexcept nogil:
    if floating is float:
        k.lane_f32.recur(activation, steps, rows, H, W, ends, before, S, A)
    else:
        k.lane_f64.recur(activation, steps, rows, H, W, ends, before, S, A)


cdef inline void recur_back(const Kernels *k, int activation, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                            const floating *W, const floating *ends, const floating *R, floating *delta) noexcept nogil:
    if floating is float:
        k.lane_f32.recur_back(activation, steps, rows, H, W, ends, R, delta)
    else:
        k.lane_f64.recur_back(activation, steps, rows, H, W, ends, R, delta)


cdef inline void output(const Kernels *k, int activation, Py_ssize_t rows, Py_ssize_t O, floating *Z) noexcept nogil:
    if floating is float:
        k.lane_f32.output(activation, rows, O, Z)
    else:
        k.lane_f64.output(activation, rows, O, Z)


cdef inline void error(const Kernels *k, const ErrorOptions *what, Py_ssize_t rows, const floating *D, int shared_D,
                       const floating *weights, int weight_width, int shared_weights, const floating *scale, floating *Z,
                       floating *losses, double *totals) noexcept nogil:
    if floating is float:
        k.lane_f32.error(what, rows, D, shared_D, weights, weight_width, shared_weights, scale, Z, losses, totals)
    else:
        k.lane_f64.error(what, rows, D, shared_D, weights, weight_width, shared_weights, scale, Z, losses, totals)


cdef inline void accumulate(const Kernels *k, Py_ssize_t rows, Py_ssize_t M, Py_ssize_t N, const floating *A, Py_ssize_t lda,
                            const floating *x, int shared, floating *C) noexcept nogil:
    if floating is float:
        k.lane_f32.accumulate(rows, M, N, A, lda, x, shared, C)
    else:
        k.lane_f64.accumulate(rows, M, N, A, lda, x, shared, C)


cdef inline void column_sums(const Kernels *k, Py_ssize_t rows, Py_ssize_t N, const floating *A, Py_ssize_t lda,
                             floating *sums) noexcept nogil:
    if floating is float:
        k.lane_f32.column_sums(rows, N, A, lda, sums)
    else:
        k.lane_f64.column_sums(rows, N, A, lda, sums)


cdef inline void gather(const Kernels *k, Py_ssize_t n, Py_ssize_t count, const floating **source, floating
                        *target) noexcept nogil:
    if floating is float:
        k.lane_f32.gather(n, count, source, target)
    else:
        k.lane_f64.gather(n, count, source, target)


cdef inline void scatter(const Kernels *k, Py_ssize_t n, Py_ssize_t count, const floating *source, floating
                         **target) noexcept nogil:
    if floating is float:
        k.lane_f32.scatter(n, count, source, target)
    else:
        k.lane_f64.scatter(n, count, source, target)


cdef inline void update(const Kernels *k, const UpdateOptions *what, Py_ssize_t n, const floating *rates, const floating
                        *going, const floating *gradient, floating *theta, floating *slot_1, floating
                        *slot_2) noexcept nogil:
    if floating is float:
        k.lane_f32.update(what, n, rates, going, gradient, theta, slot_1, slot_2)
    else:
        k.lane_f64.update(what, n, rates, going, gradient, theta, slot_1, slot_2)


cdef inline void gate(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H, const floating *W,
                      const floating *b_n, const floating *ends, const floating *before, const floating *carry_before,
                      floating *S, floating *carry, floating *saves, floating *gated) noexcept nogil:
    if floating is float:
        k.lane_f32.gate(what, steps, rows, H, W, b_n, ends, before, carry_before, S, carry, saves, gated)
    else:
        k.lane_f64.gate(what, steps, rows, H, W, b_n, ends, before, carry_before, S, carry, saves, gated)


cdef inline void gate_back(const Kernels *k, const Units *what, Py_ssize_t steps, Py_ssize_t rows, Py_ssize_t H,
                           const floating *W, const floating *ends, const floating *saves, const floating *before,
                           floating *delta, floating *dcarry, floating *start) noexcept nogil:
    if floating is float:
        k.lane_f32.gate_back(what, steps, rows, H, W, ends, saves, before, delta, dcarry, start)
    else:
        k.lane_f64.gate_back(what, steps, rows, H, W, ends, saves, before, delta, dcarry, start)
