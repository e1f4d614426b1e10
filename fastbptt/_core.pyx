"""Compute what fastbptt.reference specifies, compiled: the same kernels in the same order, in shards and blocks.

This module is one translation unit. The files of engine/ hold its parts; a new part is a new file there, under 400 lines,
and one more `include` below, in reading order.

Design
------
(a) The engine has three layers.
    - The kernels (`kernels/kernels.h`) do the arithmetic. They trust their arguments and do not know Python.
    - `forward`, `backward` and `terms` (engine/forward.pxi, backward.pxi, inspect.pxi) call the kernels in order and say
      which memory each one reads and writes.
    - `Engine` (engine/arguments.pxi, memory.pxi, operations.pxi) is the interface to Python. It checks dtypes and shapes in
      C. It returns NotImplemented if a dtype, shape or memory layout is wrong. The Python layer then converts the argument
      or raises a detailed error.
(b) A call divides the batch into shards, which are groups of sequences. Each shard goes through all steps forward, and then
    back. A shard is divided into blocks of steps that fit into the second-level cache. Forward, one block is completed before
    the next: gather, input product, recurrence, output, error. Backward does the same with the last block first. In these
    files a NumPy line stands above each kernel call. It describes what the kernel computes for the block t ... t + n of a
    shard of B rows.
(c) Threads share out the shards (engine/run.pxi) and never work on the same shard. The shards depend only on the call's
    shapes. Each shard has its own gradient, and these are summed in order. So results have the same bits for any number of
    threads.
(d) A forward pass saves S and delta_y for the backward pass. All other memory is scratch for one block. Both are parts of a
    thread's workspace, and only `lay_out` (engine/workspace.pxi) decides where each array is. `lay_out_shared` does the same
    for the weights, which are packed once per call. All of this is one piece of memory from a small pool that belongs to the
    engine, so a warm call allocates nothing but its results. Parametrizations of the parameters are applied before the
    packing, and once more to the finished gradient. Nothing in between depends on them.
(e) A call polls for Ctrl-C every 20 ms, between blocks and between shards. `rows_of_a_shard` (engine/batching.pxi) bounds the
    work between two polls. A call releases the GIL, unless it takes only some microseconds (`is_short`, engine/memory.pxi).
(f) A call whose sequences have unequal lengths or resets is packed (`pack_sequences`, engine/batching.pxi): each
    shard has its longest sequence first. The sequences that go on are then the first rows of every step, and the rows of one
    step follow those of the step before without a gap. Steps with the same rows are a run (`end_of_run`), which takes one
    kernel call.
    Copies into and out of this order use an index (`row_index`). The kernels in between see only rows. Padding has no rows.
(g) If few steps have an error (many weights are zero, or output="last"), the products of the output use only the rows with
    an error (`find_error_rows`, engine/rows.pxi).
(h) Truncated BPTT goes back once for each window of k1 steps (`backward`), over the states that one forward pass has saved.
    Each window begins with a new block.
(i) Under a memory limit (`fit_into`, engine/memory.pxi), forward keeps only the states at the ends of segments. `backward`
    computes each segment again before it goes back through it. Segments consist of whole blocks, so the order of every sum
    stays the same.
(j) Layers and directions (`backends/stack.py`) are engines that run one after another. Each is the engine of a network that
    lacks a part. One part is a recurrence without a readout: its outputs are its states (`states`), and it receives ∂E/∂S
    (`states_back`; both in engine/operations.pxi). The other part is a readout without a recurrence, whose inputs are states.
    A reverse recurrence reads and writes by row index, from each sequence's last step on. `states_back` receives the states
    that `states` has computed (c.precomputed), and saves no states itself.
(k) The C interface (`_core.pxd`, engine/embed_*.pxi) fills the same structs from its own arguments. It runs a call on one
    thread, in memory that its caller provides. Its backward pass is a separate call: the saved numbers are then in external
    memory (c.external), and are there already (c.has_saved).
(l) Leaky units: in these files S is what W_s and the output read. In the rate form that is the state, in the current form
    the rate. Other arrays hold what S does not: in the rate form `saves` holds the rates, which are saved like S; in the
    current form `carry` holds the states, of one block and the step before it. With an activation whose derivative reads the
    pre-activation a network uses another row of the table of cells: `saves` then holds the argument of g1, also without a leak.
    Separate leaks of units are vectors that `run` computes once per call (`find_leaks`, engine/leaks.pxi). The gradient of a
    trained leak reads the states, so the current form then uses the row that saves them.
    The gradient with respect to the state, dcarry, goes back beside delta. c.units says which form a call has; the code tests
    it once for some steps. Cells of several gates have other rows of the table: their pre-activations lie in `saves`, delta has
    a block for each slot (`slot_of`, engine/plan.pxi), and engine/gates.pxi computes the gradients of their weights.
(m) Noise is added to the input's part of the pre-activations, block by block, and to the inputs wherever they are gathered
    (engine/noise.pxi). Each random number is a function of key, call, step, sequence and unit (kernels/draws.h). So numbers
    that are computed again come out the same. Dropout multiplies what W_s reads by a mask, whose rows are drawn before the
    first step. The kernel of leaky units does this, with a leak of 1 if the network has none.
(n) A penalty on rates is added to ∂E/∂S block by block (`add_rates`, engine/regularizers.pxi). Ω of a block is computed as
    soon as its delta is known, in `add_omega_rows`, where delta goes back step by step. What Ω adds to ∂E/∂W_s is kept apart
    until all shards have counted their rows. Calls without these penalties pay nothing for them.
(o) Training (engine/train.pxi) is a sequence of calls without the GIL. Each batch is picked into the same arrays, and an update
    follows each call. It ends when a number is not finite, when the time is over, or at Ctrl-C.

Legend: T steps, B sequences, I inputs, H hidden units, O outputs, K targets; ld is the distance of rows.
"""

import functools
import os

cimport cpython
cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_New
from cython cimport floating
from libc.float cimport DBL_EPSILON, DBL_MAX, DBL_MIN, FLT_EPSILON
from libc.limits cimport INT_MAX
from libc.math cimport exp, fabs, frexp, hypot, isfinite, ldexp, sqrt
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strcmp

cimport numpy as cnp

from .kernels.blas cimport blas_kernels, hold_blas, release_blas
from .threads.workers cimport run_shares
from .kernels.kernels cimport (
    ACTIVATION_COUNT, ADAM, APART, BOTH_CARRIES, CELL_COUNT, CROSS_ENTROPY, CURRENT, CURRENT_INPUT, GATED, GIVEN, HIDDEN, HUBER,
    IDENTITY, LOSS_COUNT, NOISE, NONE, OUTPUT, PLAIN, PLAIN_INPUT, QUANTILE, RATE, RULE_COUNT, SECOND, SGD, SQUARED_ERROR, TANH,
    activation_rows, cell_rows, loss_rows, outputs_of, rule_rows,
    CellRow, ErrorOptions, Kernels, Units, UpdateOptions,
    accumulate, add_normals, add_product, affine, column_sums, draw_mask, error, gate, gate_back, gather, halves_vectors, hold,
    integrate, integrate_back, map_parameters, pack, padded, pull_back, reads_input, recur, recur_back, scatter,
    update as update_verb, vector_kernels,
)

# Files of one translation unit, in reading order.
include "engine/kernel_set.pxi"
include "engine/plan.pxi"
include "engine/call.pxi"
include "engine/workspace.pxi"
include "engine/batching.pxi"
include "engine/rows.pxi"
include "engine/low_rank.pxi"
include "engine/noise.pxi"
include "engine/states.pxi"
include "engine/gates.pxi"
include "engine/cells.pxi"
include "engine/leaks.pxi"
include "engine/forward.pxi"
include "engine/backward.pxi"
include "engine/regularizers.pxi"
include "engine/inspect.pxi"
include "engine/weights.pxi"
include "engine/run.pxi"
include "engine/arrays.pxi"
include "engine/batch_and_options.pxi"
include "engine/arguments.pxi"
include "engine/memory.pxi"
include "engine/operations.pxi"


def at_once(method):
    """`method`, RNN's loss_and_gradients, so that a call without rarer options goes to the network's engine straight away.

    Python takes 0.12 us to fill in the others of its arguments, and a call of the smallest networks 2.6 (2026-11).
    """
    @functools.wraps(method)
    def loss_and_gradients(self, *given, initial_state=None, weights=None, lengths=None, resets=None, input_gradient=False,
                           initial_state_gradient=False, n_threads=None, **others):
        cdef Call c
        cdef int threads = n_threads if type(n_threads) is int and 0 < n_threads <= INT_MAX else 0
        if len(given) == 2 and not others and (threads > 0 or n_threads is None):
            engine = self._at_once
            if type(engine) is Engine:
                # not by `_run`: it takes 0.8 us more, and a call of the smallest network 1.7 (2026-12)
                if ((<Engine> engine).prepare(&c, self._theta, given[0], initial_state, lengths, resets)
                        and (<Engine> engine).take_targets(&c, given[1], weights)):
                    c.n_threads = threads
                    c.input_gradient, c.initial_state_gradient = input_gradient, initial_state_gradient
                    result = (<Engine> engine).find_gradients(&c)
                    if result is not NotImplemented:
                        return result
        return method(self, *given, initial_state=initial_state, weights=weights, lengths=lengths, resets=resets,
                      input_gradient=input_gradient, initial_state_gradient=initial_state_gradient, n_threads=n_threads,
                      **others)
    return loss_and_gradients


include "engine/bound.pxi"


def lane_kernels():
    """The kernel set of this process for many networks at once, in a capsule."""
    return PyCapsule_New(<void *> chosen, b"fastbptt.kernels", NULL)


def kernel_set():
    """The name of the kernel set of this process, which `kernels_for` may leave for a shorter one."""
    return chosen.name.decode()


def compiler():
    """The compiler that built this module."""
    return COMPILER.decode()


include "engine/train.pxi"
include "engine/embed_plan.pxi"
include "engine/embed_cell.pxi"
include "engine/embed_batch.pxi"
include "engine/embed_memory.pxi"
include "engine/embed_operations.pxi"
