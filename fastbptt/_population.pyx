"""Train and run many small networks of one shape at once: each vector lane computes one network.

The module repeats reference.py for all networks of a population. It is one translation unit. The files of lanes/ hold the
layout in lanes, the passes over one group of lanes, training, and the division among threads. This file holds `Lanes`, the
class that population.py uses. An operation that all networks do together belongs here.

Design
------
(a) Networks form groups. A group has as many networks as the kernel set has lanes. Each number of a group is a vector, with
    one lane for each network. What all networks share (inputs, targets, weights) stays one number. Threads divide the
    groups. One thread takes a group through all steps, forward and back, and through all updates of a run, in a workspace
    of that thread.
(b) Theta is (P, N) with the network as the innermost index. N is n rounded up to whole groups. The empty lanes of the last
    group hold zeros and learn nothing.
(c) The results of a network do not depend on its lane, on its neighbours, or on the number of threads: no kernel mixes lanes.
    Absent numbers, such as steps behind a sequence's end, are selected away. They are never multiplied by 0, so NaN in padding
    has no effect.

Legend: n networks, T steps, B sequences, I inputs, H hidden units, O outputs, K targets, P parameters, L lanes.
"""

cimport cython
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cython cimport floating
from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport fabs, frexp, isfinite, ldexp, sqrt
from libc.string cimport memcpy, memset

cimport numpy as cnp

from .kernels cimport lanes as lane
from .kernels.kernels cimport APART, BOTH_CARRIES, cell_rows, CellRow, ErrorOptions, GATED, Kernels, Units, UpdateOptions
from .threads.workers cimport run_shares

from . import _core

cnp.import_array()

cdef extern from *:
    """
    #undef I /* NumPy's headers include <complex.h>, which defines it */
    """

cdef extern from "denormals.h" nogil:
    unsigned long long flush_denormals "fastbptt_flush"() noexcept  # returns the mode before, for `restore`
    void restore "fastbptt_restore"(unsigned long long mode) noexcept

cdef const Kernels *kernels = <const Kernels *> PyCapsule_GetPointer(_core.lane_kernels(), b"fastbptt.kernels")

include "lanes/plan.pxi"
include "lanes/copies.pxi"
include "lanes/gates.pxi"
include "lanes/passes.pxi"
include "lanes/learning.pxi"
include "lanes/training.pxi"
include "lanes/jobs.pxi"


def lanes(str dtype):
    """Return how many networks of this dtype one vector holds, or 0 if the kernels of this process have no lanes."""
    return kernels.lanes_f32 if dtype == "float32" else kernels.lanes_f64


cdef void *memory_of(array, int type, Py_ssize_t size) except? NULL:
    """Return the memory of an array, or NULL for None. The caller keeps the array alive.

    Raise ValueError unless it is a C-contiguous np.ndarray of NumPy's type number `type` with `size` numbers.
    """
    if array is None:
        return NULL
    if not (cnp.PyArray_CheckExact(array) and cnp.PyArray_TYPE(array) == type and cnp.PyArray_ISCARRAY_RO(array)
            and cnp.PyArray_SIZE(array) == size):
        raise ValueError("an array has another dtype, size or memory layout than this call documents; all are C-contiguous")
    return cnp.PyArray_DATA(array)


cdef double weight_scale_of(Py_ssize_t n, const floating *weights) noexcept nogil:
    """Return the power of two that scales the mean of n weights to about 1, without subnormal weights.

    Return 1 if the mean is far from the limits of the type, so that no scaling is necessary.
    """
    cdef double tiny = FLT_MIN if sizeof(floating) == sizeof(float) else DBL_MIN
    cdef double widest = 1e18 if sizeof(floating) == sizeof(float) else 1e150, total = 0
    cdef Py_ssize_t i, nonzero = 0
    cdef int exponent
    for i in range(n):
        if weights[i] >= tiny:
            total += weights[i]
            nonzero += 1
    if nonzero == 0 or 1 / widest <= total / nonzero <= widest:
        return 1
    frexp(total / nonzero, &exponent)
    return ldexp(1, min(max(-exponent, -1000), 1000))


@cython.final
cdef class Lanes:
    """Run and train the networks of a population, which have one configuration. Parameters are theta (P, N).

    `offsets` has the index in theta at which each parameter begins. `loss_parameter` is Huber's threshold or the levels of
    the quantile loss. `cell` is a row of the table of cells, by name. `batch` is a Batch of backends/arguments.py, with these
    differences: X is (T, B, I) or (n, T, B, I), D (T, B, K) or (n, T, B, K), weights (n or 1, T, B, width), initial_state
    (B, H) or (n, B, H), lengths (B,) or (n, B). There are no resets. population.py has checked all
    arguments. See the module's docstring for the layout.
    """

    cdef Plan plan
    cdef int type
    cdef object levels

    def __init__(self, *, str dtype, Py_ssize_t I, Py_ssize_t H, Py_ssize_t O, Py_ssize_t K, str cell, str activation,
                 str output_activation, str loss, loss_parameter, bint mean, dict offsets, Py_ssize_t P):
        """Set the plan from the networks' options. `Population` has checked them. See the class for the arguments."""
        cdef Plan *p = &self.plan
        self.type = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        memset(p, 0, sizeof(Plan))
        p.I, p.H, p.O, p.K, p.P, p.mean = I, H, O, K, P, mean
        p.units.form, p.units.activation, p.units.leak = _core.CELLS_BY_NAME[cell], _core.ACTIVATIONS[activation], 1
        p.cell = &cell_rows[p.units.form]
        p.width = 2 * H if p.cell.state == BOTH_CARRIES else H
        p.error.activation, p.error.loss = _core.OUTPUT_ACTIVATIONS[output_activation], _core.LOSSES[loss]
        p.error.O, p.error.K, p.error.scale = O, K, 1
        if loss == "huber":
            p.error.threshold = loss_parameter
        elif loss == "quantile":
            self.levels = cnp.PyArray_ContiguousFromAny(loss_parameter, cnp.NPY_DOUBLE, 1, 1)
            p.error.levels = <const double *> cnp.PyArray_DATA(self.levels)
        p.W_x, p.W_s, p.W_y = offsets["W_x"], offsets["W_s"], offsets["W_y"]
        p.b_s, p.b_n, p.b_y, p.S_0 = [offsets.get(name, -1) for name in ("b_s", "b_n", "b_y", "S_0")]

    cdef object fill_call(self, Call *c, Py_ssize_t n, theta, batch):
        """Fill the Call c with theta (P, N) and a batch for n networks. All of the batch except X may be None.

        Return the objects that own the call's memory, or None: the caller must keep them, and the arrays, as long as the call
        runs.
        """
        cdef Plan *p = &self.plan
        X, D, weights, initial_state, lengths = batch.X, batch.D, batch.weights, batch.initial_state, batch.lengths
        memset(c, 0, sizeof(Call))
        c.n, c.N = n, cnp.PyArray_DIM(theta, 1)
        c.own_X = cnp.PyArray_NDIM(X) == 4
        c.T, c.B = cnp.PyArray_DIM(X, c.own_X), cnp.PyArray_DIM(X, c.own_X + 1)
        c.theta = memory_of(theta, self.type, p.P * c.N)
        c.X = memory_of(X, self.type, (n if c.own_X else 1) * c.T * c.B * p.I)
        if D is not None:
            c.own_D = cnp.PyArray_NDIM(D) == 4
            c.D = memory_of(D, self.type, (n if c.own_D else 1) * c.T * c.B * p.K)
        if weights is not None:  # (n or 1, T, B, width)
            c.own_weights, c.weight_width = cnp.PyArray_DIM(weights, 0) != 1, <int> cnp.PyArray_DIM(weights, 3)
            c.weights = memory_of(weights, self.type, (n if c.own_weights else 1) * c.T * c.B * c.weight_width)
        if initial_state is not None:
            c.own_initial_state = cnp.PyArray_NDIM(initial_state) == 3
            c.initial_state = memory_of(initial_state, self.type, (n if c.own_initial_state else 1) * c.B * p.width)
        if lengths is not None:
            c.own_lengths = cnp.PyArray_NDIM(lengths) == 2
            c.lengths = <const Py_ssize_t *> memory_of(lengths, cnp.NPY_INTP, (n if c.own_lengths else 1) * c.B)
        return self.scale_weights(c, weights) if weights is not None else None

    cdef object scale_weights(self, Call *c, weights):
        """Scale weights near the limits of their type by a power of two, in a copy, so that sums neither overflow nor vanish.

        Set c.weights and c.unscale. Return the new arrays, which must live as long as the call, or None without scaling.
        `weigh` of the core does the same for one network.
        """
        cdef Py_ssize_t k, sets = cnp.PyArray_DIM(weights, 0), count = c.T * c.B * c.weight_width
        cdef double scale
        scales = None
        for k in range(sets):
            if self.type == cnp.NPY_FLOAT:
                scale = weight_scale_of(count, <const float *> c.weights + k * count)
            else:
                scale = weight_scale_of(count, <const double *> c.weights + k * count)
            if scale != 1 and scales is None:
                scales = [1.0] * sets
            if scales is not None:
                scales[k] = scale
        if scales is None:
            return None
        tiny = FLT_MIN if self.type == cnp.NPY_FLOAT else DBL_MIN
        scaled = weights * (weights >= tiny)  # a subnormal weight counts as 0
        for k in range(sets):
            scaled[k] = scaled[k].astype("float64") * scales[k]
        unscale = cnp.PyArray_ZEROS(1, [c.n], cnp.NPY_DOUBLE, 0)
        for k in range(c.n):
            unscale[k] = 1 / scales[k if sets > 1 else 0]
        c.weights, c.unscale = cnp.PyArray_DATA(scaled), <const double *> cnp.PyArray_DATA(unscale)
        return scaled, unscale

    cdef object new_array(self, tuple shape, void **data):
        """Return a new array of this shape and of the networks' type, with unset content, and write its address to data[0]."""
        array = cnp.PyArray_EMPTY(len(shape), <cnp.npy_intp *> cnp.PyArray_DATA(cnp.PyArray_ContiguousFromAny(
            shape, cnp.NPY_INTP, 1, 1)), self.type, 0)
        data[0] = cnp.PyArray_DATA(array)
        return array

    cdef int run_call(self, Call *c, int threads) except -1:
        """Run all groups of the call c in the networks' type, by at most `threads` threads."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.p, job.c = &self.plan, c
        return self.run_job(&job, threads)

    cdef int run_job(self, Job *job, int threads) except -1:
        """Run all groups of a job, a call or a training run, in the networks' type, by at most `threads` threads."""
        if self.type == cnp.NPY_FLOAT:
            return run_groups(job, <const float *> NULL, threads)
        return run_groups(job, <const double *> NULL, threads)

    def forward(self, Py_ssize_t n, theta, batch, bint return_states, int threads):
        """Return outputs Y (n, T, B, O), final states (n, B, width) and, if `return_states`, states S (n, T + 1, B, width)."""
        cdef Call c
        self.fill_call(&c, n, theta, batch.replace(D=None, weights=None))
        Y = self.new_array((n, c.T, c.B, self.plan.O), &c.Y)
        final_state = self.new_array((n, c.B, self.plan.width), &c.final_state)
        S = self.new_array((n, c.T + 1, c.B, self.plan.width), &c.S) if return_states else None
        self.run_call(&c, threads)
        return (Y, final_state, S) if return_states else (Y, final_state)

    def losses(self, Py_ssize_t n, theta, batch, int threads):
        """Return the errors e (n, T, B) of each step and sequence, 0 in padding."""
        cdef Call c
        owners = self.fill_call(&c, n, theta, batch)
        reduced = cnp.PyArray_EMPTY(1, [n], cnp.NPY_DOUBLE, 0)
        c.reduced = <double *> cnp.PyArray_DATA(reduced)
        e = self.new_array((n, c.T, c.B), &c.losses)
        self.run_call(&c, threads)
        return e

    def loss_and_gradient(self, Py_ssize_t n, theta, batch, bint gradient, int threads):
        """Return the reduced errors (n,), float64, and the gradient (P, N), or None if `gradient` is false."""
        cdef Call c
        owners = self.fill_call(&c, n, theta, batch)
        reduced = cnp.PyArray_EMPTY(1, [n], cnp.NPY_DOUBLE, 0)
        c.reduced = <double *> cnp.PyArray_DATA(reduced)
        flat = self.new_array((self.plan.P, c.N), &c.gradient) if gradient else None
        self.run_call(&c, threads)
        return reduced, flat

    def train(self, Py_ssize_t n, theta, batch, updates, learners, validation, int threads):
        """Train the networks for some epochs: update theta and slots (P, N) in place.

        Parameters
        ----------
        updates, learners : Updates and Learners of backends/arguments.py
        validation : Validation, or None

        Returns
        -------
        losses, penalties, norms : float64 (n, epochs); norms are those of the gradients
        judged : float64 (n, epochs), the losses on the validation set, or None without one
        """
        cdef Call data, of_batch, held_call
        cdef Training t
        cdef Plan *p = &self.plan
        cdef Job job
        cdef Py_ssize_t batch_size, earlier, epochs
        rule, numbers, slots, rates, max_norm, order, batch_size, earlier, _ = updates
        going, ended, l1, l2 = learners
        epochs = cnp.PyArray_DIM(rates, 0)
        owners = self.fill_call(&data, n, theta, batch)
        if batch.initial_state is not None and batch_size < data.B:
            raise ValueError(f"batch_size must be at least {data.B}, the number of sequences, if initial_state is given, "
                             f"got {batch_size}")
        memset(&t, 0, sizeof(Training))
        t.update.rule, t.update.learning_rate = _core.RULES[rule], 0
        t.update.nesterov, t.update.momentum = numbers.get("nesterov", False), numbers.get("momentum", 0)
        t.update.rho = numbers.get("rho", 0)
        t.update.beta_1, t.update.beta_2 = numbers.get("beta_1", 0), numbers.get("beta_2", 0)
        t.update.epsilon, t.update.weight_decay = numbers.get("epsilon", 0), numbers.get("weight_decay", 0)
        t.slot_1 = memory_of(slots[0], self.type, p.P * data.N)
        t.slot_2 = memory_of(slots[1], self.type, p.P * data.N) if len(slots) == 2 else NULL
        t.rates = <const double *> memory_of(rates, cnp.NPY_DOUBLE, epochs * data.N)
        t.going = memory_of(going, self.type, data.N)
        t.ended = <Py_ssize_t *> memory_of(ended, cnp.NPY_INTP, data.N)
        t.l1, t.l2 = memory_of(l1, self.type, p.P * data.N), memory_of(l2, self.type, p.P * data.N)
        t.max_norm = <const double *> memory_of(max_norm, cnp.NPY_DOUBLE, data.N)
        t.epochs, t.batch_size, t.earlier = epochs, max(1, min(batch_size, data.B)), earlier
        if order is not None:
            t.own_order = cnp.PyArray_DIM(order, 0) != 1
            t.order = <const Py_ssize_t *> memory_of(order, cnp.NPY_INTP, (n if t.own_order else 1) * epochs * data.B)
        losses, penalties, norms = [cnp.PyArray_ZEROS(2, [n, epochs], cnp.NPY_DOUBLE, 0) for _ in range(3)]
        t.losses, t.penalties, t.norms = (<double *> cnp.PyArray_DATA(losses), <double *> cnp.PyArray_DATA(penalties),
                                          <double *> cnp.PyArray_DATA(norms))
        judged = None
        if validation is not None:
            held_batch, best, target, best_epoch, target_epoch, best_theta, t.begun, t.patience, t.min_improvement = validation
            held_owners = self.fill_call(&held_call, n, theta, held_batch)
            judged = cnp.PyArray_ZEROS(2, [n, epochs], cnp.NPY_DOUBLE, 0)
            t.judged = <double *> cnp.PyArray_DATA(judged)
            t.best = <double *> memory_of(best, cnp.NPY_DOUBLE, data.N)
            t.target = <double *> memory_of(target, cnp.NPY_DOUBLE, data.N)
            t.best_epoch = <Py_ssize_t *> memory_of(best_epoch, cnp.NPY_INTP, data.N)
            t.target_epoch = <Py_ssize_t *> memory_of(target_epoch, cnp.NPY_INTP, data.N)
            t.best_theta = memory_of(best_theta, self.type, p.P * data.N)
        of_batch = data
        of_batch.B = t.batch_size
        of_batch.gradient = of_batch.theta  # not NULL: `lay_out` then makes room for a gradient; nothing reads the pointer
        data.bare = True
        if of_batch.B < data.B or order is not None:  # picked sequences go into lanes
            of_batch.own_X = of_batch.own_D = True
            of_batch.own_weights = data.weights != NULL
        job.p, job.c, job.batch, job.held, job.training = p, &data, &of_batch, &held_call, &t
        self.run_job(&job, threads)
        return losses, penalties, norms, judged
