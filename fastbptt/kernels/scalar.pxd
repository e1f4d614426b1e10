"""Declare the formulas of activations, losses and update rules in scalar.h for fused floating, for the `blas` set.

defs/activations.h, defs/losses.h and simd/update.h document each function.
"""

from cython cimport floating

from .kernels cimport ErrorOptions, UpdateOptions

cdef extern from "scalar.h" nogil:
    void activate_f32 "fastbptt_activate_f32"(int activation, Py_ssize_t n, float *A) noexcept
    void activate_f64 "fastbptt_activate_f64"(int activation, Py_ssize_t n, double *A) noexcept
    void differentiate_f32 "fastbptt_differentiate_f32"(int activation, Py_ssize_t n, const float *R, float *delta) noexcept
    void differentiate_f64 "fastbptt_differentiate_f64"(int activation, Py_ssize_t n, const double *R, double *delta) noexcept
    float back_from_output_f32 "fastbptt_back_from_output_f32"(int activation, float dy, float y) noexcept
    double back_from_output_f64 "fastbptt_back_from_output_f64"(int activation, double dy, double y) noexcept
    float slope_f32 "fastbptt_slope_f32"(int beside, const ErrorOptions *what, float y, float d, Py_ssize_t o,
                                        double *e) noexcept
    double slope_f64 "fastbptt_slope_f64"(int beside, const ErrorOptions *what, double y, double d, Py_ssize_t o,
                                          double *e) noexcept
    void update_f32 "fastbptt_update_f32"(const UpdateOptions *what, Py_ssize_t n, const float *gradient, float *theta,
                                          float *slot_1, float *slot_2) noexcept
    void update_f64 "fastbptt_update_f64"(const UpdateOptions *what, Py_ssize_t n, const double *gradient, double *theta,
                                          double *slot_1, double *slot_2) noexcept


cdef inline void activate(int activation, Py_ssize_t n, floating *A) noexcept nogil:
    if floating is float:
        activate_f32(activation, n, A)
    else:
        activate_f64(activation, n, A)


cdef inline void differentiate(int activation, Py_ssize_t n, const floating *R, floating *delta) noexcept nogil:
    if floating is float:
        differentiate_f32(activation, n, R, delta)
    else:
        differentiate_f64(activation, n, R, delta)


cdef inline floating back_from_output(int activation, floating dy, floating y) noexcept nogil:
    if floating is float:
        return back_from_output_f32(activation, dy, y)
    else:
        return back_from_output_f64(activation, dy, y)


cdef inline floating slope(const ErrorOptions *what, floating y, floating d, Py_ssize_t o, double *e) noexcept nogil:
    if floating is float:
        return slope_f32(0, what, y, d, o, e)
    else:
        return slope_f64(0, what, y, d, o, e)


cdef inline void update(const UpdateOptions *what, Py_ssize_t n, const floating *gradient, floating *theta, floating *slot_1,
                        floating *slot_2) noexcept nogil:
    if floating is float:
        update_f32(what, n, gradient, theta, slot_1, slot_2)
    else:
        update_f64(what, n, gradient, theta, slot_1, slot_2)
