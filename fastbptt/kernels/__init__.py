"""The kernels: the arithmetic of one step, or of a run of steps, for one instruction set and one real type.

`kernels.h` states what each kernel does and `kernels.pxd` declares it to Cython. Each file of `sets/` compiles `simd.h` for
one instruction set, and `dispatch.c` chooses a set when fastbptt is imported. `blas.pyx` is the set `blas`: the same kernels
by BLAS and plain loops, for compilers without vector types. `lanes.h` holds the kernels that compute many small networks at
once.

A new kernel is declared in `kernels.h` and `kernels.pxd` and written in `simd.h` and `blas.pyx`. Nothing here knows Python
objects, and nothing here includes a header from outside `kernels/`, except `atomic.h` of `threads/`.
"""
