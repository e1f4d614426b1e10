"""The kernels: the arithmetic of one step, or of a run of steps, for one instruction set and one real type.

`kernels.h` defines each kernel and `kernels.pxd` declares it to Cython. Each file of `sets/` compiles `simd.h` for one
instruction set, and `dispatch.c` chooses a set when fastbptt is imported. `blas.pyx` is the set `blas`: the same kernels with
BLAS and plain loops, for compilers without vector types. `lanes.h` has the kernels that compute many small networks at once.

`defs/` holds one table for each of activations, losses, update rules and cells (`.def`, one row each) and formulas (`.h`). The
C enums, the switches of every kernel set, the names in Python and the checks of the C interface are generated from the tables:

    to add an        write a row in         its functions in      and in fastbptt/reference
    activation       defs/activations.def   defs/activations.h    ACTIVATIONS or OUTPUT_ACTIVATIONS
    loss             defs/losses.def        defs/losses.h         LOSSES
    update rule      defs/rules.def         defs/rules.h          a function with the decorator _rule
    cell             defs/cells.def         simd/gated.h, blas.pyx  CELLS

A row without its functions does not compile. A build writes `names.py`, for type checkers, and `constants.pxi`, which the C
interface exports, from the tables (`defs/names.py`). `scalar.h` instantiates the formulas for single numbers.

A new kernel is declared in `kernels.h` and `kernels.pxd` and written in a file of `simd/` and in `blas.pyx`. Nothing here
knows Python objects, and nothing here includes a header from outside `kernels/`, except `atomic.h` of `threads/`.
"""
