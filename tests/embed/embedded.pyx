# cython: language_level=3, boundscheck=False, freethreading_compatible=True
"""Train one network by eight threads. Each thread has its own part of the sequences, its own scratch and its own gradient."""

from cython.parallel cimport prange

from fastbptt cimport (
    ABI, FOR_LOSS_AND_GRADIENTS, REDUCTION_SUM, abi_version, adam_f32, batch_bytes, batch_init_f32, batch_set_targets_f32,
    clip_norm_f32, loss_and_gradients_f32, plan_bytes, plan_init_f32, plan_parameters, plan_set_reduction, scratch_bytes,
    status_text,
)

if abi_version() != ABI:
    raise ImportError("this module was compiled for another fastbptt: compile it again for the installed one")


cdef Py_ssize_t check(Py_ssize_t result) except -1:
    """Return the result of a function of fastbptt. Raise RuntimeError if it is a status below 0."""
    if result < 0:
        raise RuntimeError(status_text(<int> result).decode())
    return result


cdef class Memory:
    """Memory of zeros in `parts` equal parts. Each part begins at a multiple of 64 bytes."""

    cdef bytearray owner
    cdef Py_ssize_t stride

    def __init__(self, Py_ssize_t bytes, int parts=1):
        self.stride = (bytes + 63) // 64 * 64
        self.owner = bytearray(64 + parts * self.stride)

    cdef char *part(self, int i):
        """Return the address of part i."""
        cdef char *memory = self.owner
        return memory + (64 - <size_t> memory % 64) + i * self.stride


def train(float[::1] theta not None, const float[:, :, :, ::1] X not None, const float[:, :, :, ::1] D not None,
          Py_ssize_t hidden_size, int updates, double learning_rate=1e-2, double max_norm=10):
    """Train theta (P,) in place on X (8, T, B, I) and D (8, T, B, O). Return the loss of each update, a list.

    The first axis of X and D divides the sequences into eight parts of B, one for each thread.
    """
    cdef Py_ssize_t T = X.shape[1], B = X.shape[2], I = X.shape[3], O = D.shape[3], P, scratch_size
    cdef Memory plans = Memory(plan_bytes()), batches = Memory(batch_bytes(), 8), scratches, gradients, moments
    cdef const void *plan = plans.part(0)
    cdef void *batch[8]
    cdef void *scratch[8]
    cdef float *gradient[8]
    cdef double loss[8]
    cdef int status[8]
    cdef int share, update, failed = 0
    cdef Py_ssize_t i
    cdef float *m
    cdef float *v
    if D.shape[0] != 8 or X.shape[0] != 8 or D.shape[1] != T or D.shape[2] != B:
        raise ValueError("X must have shape (8, T, B, I), and D (8, T, B, O)")

    check(plan_init_f32(plans.part(0), plan_bytes(), I, hidden_size, O))
    check(plan_set_reduction(plans.part(0), REDUCTION_SUM))
    P = check(plan_parameters(plan))
    if theta.shape[0] != P:
        raise ValueError(f"theta must have {P} numbers, got {theta.shape[0]}")
    for share in range(8):
        batch[share] = batches.part(share)
        check(batch_init_f32(batch[share], batch_bytes(), T, B, &X[share, 0, 0, 0]))
        check(batch_set_targets_f32(batch[share], &D[share, 0, 0, 0]))
    scratch_size = check(scratch_bytes(plan, batch[0], FOR_LOSS_AND_GRADIENTS))
    scratches, gradients, moments = Memory(scratch_size, 8), Memory(P * sizeof(float), 8), Memory(P * sizeof(float), 2)
    for share in range(8):
        scratch[share], gradient[share] = scratches.part(share), <float *> gradients.part(share)
    m, v = <float *> moments.part(0), <float *> moments.part(1)

    errors = [0.0] * updates
    for update in range(updates):
        with nogil:
            for share in prange(8, num_threads=8, schedule="static"):
                status[share] = loss_and_gradients_f32(plan, batch[share], &theta[0], &loss[share], NULL, gradient[share],
                                                       NULL, NULL, scratch[share], scratch_size)
            for share in range(8):
                failed = min(failed, status[share])
            for share in range(1, 8):  # always add in this order, so that the bits do not depend on which thread is first
                loss[0] += loss[share]
                for i in range(P):
                    gradient[0][i] += gradient[share][i]
            if failed == 0:
                failed = clip_norm_f32(P, gradient[0], max_norm, NULL)
            if failed == 0:
                failed = adam_f32(plan, gradient[0], &theta[0], m, v, update + 1, learning_rate, 0.9, 0.999, 1e-8)
        check(failed)
        errors[update] = loss[0]
    return errors
