from .kernels cimport Kernels

cdef const Kernels *blas_kernels() noexcept nogil
cdef int hold_blas() except -1
cdef int release_blas() except -1
