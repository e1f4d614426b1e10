"""The compiled twin of reference.py: the same verbs in the same order, in shards of the batch and blocks of time.

Design
------
(a) Three layers. The verbs (`kernels.h`) are the mathematics, trusted, without Python. `forward`, `backward` and `terms`
    say in which order the verbs run, and on what memory. `Engine` is what Python sees: it checks types and shapes in C
    and returns NotImplemented where something is not in order; the Python layer then finds the words, or converts.
(b) A call takes the batch in shards of rows, each through all of time and back, and a shard walks time in blocks of steps
    that stay in the second-level cache: gather, input product, recurrence, output and error of one block before the next;
    backward the same, last block first. Below, each verb stands under the NumPy line that it is, for the block t ... t + n
    of a shard of B rows.
(c) Threads divide the shards and never meet within one. Shards depend on the call's shapes alone, each has a gradient of its
    own, and these are summed in order: so the bits are the same for any number of threads.
(d) What must live from forward to backward is saved: S and delta_y. All else is scratch of one block. Both lie in a
    thread's workspace, which `lay_out` alone lays out; weights are packed once a call (`share_out`). All of it is one
    piece of memory from a small pool of the engine: a warm call allocates nothing but what it returns. Maps on the
    parameters act before the packing, and once more on the finished gradient; nothing between knows them.
(e) Between blocks and shards a call polls for Ctrl-C, every 20 ms; `rows_of_a_shard` bounds what lies between. It has given
    the GIL away, unless it is over in some microseconds (`is_short`).
(f) Sequences of unequal lengths, or with resets, are an arranged call: each shard has its longest sequence first (`arrange`),
    so that those which go on are the first rows of every step, and a step's rows follow the last step's without a gap.
    Steps of the same rows are a run (`end_of_run`), one call of a verb. Copies in and out then go by an index of places
    (`places`); the verbs between see rows alone. Padding has none.
(g) Where an error stands on few steps (many weights of zero, or output="last"), the output's products see those rows only
    (`pick`).
(h) Truncated BPTT goes back once for each window of k1 steps (`backward`), over what one forward pass has saved; blocks begin
    anew with each window.
(i) Under a limit of memory (`fit_into`) forward keeps the states at the ends of segments alone, and `backward` computes each
    segment again before it goes back through it. Segments are whole blocks, so that nothing is summed in another order.
(j) Layers and directions (`backends/stack.py`) are engines one after another, each of a network that lacks something: a recurrence
    without a readout, whose outputs are its states (`states`) and which is told ∂E/∂S (`states_back`); a readout without a
    recurrence, whose inputs are states. A reverse recurrence reads and writes by places, from each sequence's last step on.
    The states that `states` has found are given to `states_back` (c.given), which saves nothing of its own.
(k) The C interface (`_core.pxd`) fills the same structs from its own (`engine/embed.pxi`) and runs them by one thread, in memory
    of its caller. Its backward is a call of its own: what is saved then lies apart (c.apart), and is there already (c.known).
(l) Leaky units: S in this file is what W_s and the output read, which is the state in the rate form, the rate in the current
    form. Beside it goes `other`: the rates, saved as S is, or the states, of one block and the step before. The gradient by
    the state, dU, goes back beside delta. Which it is a call says (c.units), and is asked once for some steps.
(m) Noise is added to the input's part of the pre-activations, block by block, and to the inputs wherever they are gathered;
    each number is a function of key, call, step, sequence and unit (draws.h), so that what is computed again has the same.
    Dropout multiplies what W_s reads by a mask, whose rows are drawn before the first step; that is the leaky units' verb,
    with a leak of 1 where there is none.
(n) A penalty on rates is added to ∂E/∂S block by block (`add_rates`). Ω of a block is found as soon as its delta is
    (`spread`), where delta goes back step by step; what it adds to ∂E/∂W_s stays apart until all shards have said how many
    rows there were. Both cost a call that is without them nothing.
(o) Training (`engine/train.pxi`) is one call after another without the GIL: each of a batch that is picked into the same arrays,
    with an update behind it, until a number is not finite, the time is over, or Ctrl-C came.

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
from libc.math cimport fabs, frexp, hypot, isfinite, ldexp, sqrt
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strcmp

cimport numpy as cnp

from .kernels.blas cimport blas_kernels, hold_blas, release_blas
from .threads.workers cimport run_shares
from .kernels.kernels cimport (
    ACTIVATION_COUNT, ADAM, CROSS_ENTROPY, CURRENT, GIVEN, HIDDEN, HUBER, IDENTITY, LOSS_COUNT, NOISE, NONE, OUTPUT, PLAIN, QUANTILE,
    RATE, RULE_COUNT, SGD, SQUARED_ERROR, TANH,
    activation_rows, loss_rows, outputs_of, rule_rows,
    ErrorOptions, Kernels, Units, UpdateOptions,
    accumulate, add_normals, affine, column_sums, draw_mask, error, gather, halves_vectors, hold, integrate, integrate_back,
    map_parameters, pack, padded, pull_back, recur, recur_back, scatter, update as update_verb, vector_kernels,
)

# Files of one translation unit, in reading order.
include "engine/kernel_set.pxi"
include "engine/plan.pxi"
include "engine/call.pxi"
include "engine/workspace.pxi"
include "engine/batching.pxi"
include "engine/rows.pxi"
include "engine/noise.pxi"
include "engine/cells.pxi"
include "engine/forward.pxi"
include "engine/backward.pxi"
include "engine/regularizers.pxi"
include "engine/inspect.pxi"
include "engine/weights.pxi"
include "engine/run.pxi"
include "engine/arrays.pxi"
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
        cdef int threads = n_threads if type(n_threads) is int and 0 < n_threads <= INT_MAX else 0
        if len(given) == 2 and not others and (threads > 0 or n_threads is None):
            engine = self._at_once
            if type(engine) is Engine:
                result = (<Engine> engine).find_gradients(self._theta, given[0], given[1], weights, initial_state, lengths,
                                                          resets, None, 0, input_gradient, initial_state_gradient,
                                                          threads, None)
                if result is not NotImplemented:
                    return result
        return method(self, *given, initial_state=initial_state, weights=weights, lengths=lengths, resets=resets,
                      input_gradient=input_gradient, initial_state_gradient=initial_state_gradient, n_threads=n_threads,
                      **others)
    return loss_and_gradients


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
include "engine/embed_batch.pxi"
include "engine/embed_memory.pxi"
include "engine/embed_operations.pxi"
