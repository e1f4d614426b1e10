# BoundCall: loss and gradients of arrays that are chosen once, for loops of thousands of short calls.
#
# `RNN.bind` checks the arrays and makes the results. A call then makes no object but its float. Add here what such a call does
# before and after `run`.


@cython.final
cdef class BoundCall:
    """Loss and gradients of a network for fixed arrays, written to fixed arrays. `RNN.bind` makes it.

    Calling it returns the reduced error with penalties, a float, for the present values of the arrays and of the network's
    parameters. The gradients are those of `RNN.loss_and_gradients`, to the bit. They overwrite the arrays below.

    Attributes
    ----------
    gradients : dict of arrays
        The gradients by the names of the parameters, and "X" (T, B, I) and "initial_state" (B, H) if `bind` was asked for them.
    gradient : array (P,)
        All gradients of parameters in the order of `RNN.theta`. The arrays in `gradients` are views of it.

    Notes
    -----
    The caller owns the arrays that were given to `bind`. The object reads them at each call, keeps them alive, and never writes
    to them. The object owns its results: copy what the next call must not overwrite. Only one thread at a time may call it.
    After an exception the contents of the results are undefined.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbptt import RNN
    >>> net = RNN(2, 4, 1, dtype="float64", random_state=0)
    >>> X, D = np.zeros((5, 1, 2)), np.ones((5, 1, 1))
    >>> call = net.bind(X, D)
    >>> X[...] = 0.5
    >>> call() == net.loss_and_gradients(X, D)[0]
    True
    >>> call.gradients["W_s"].shape
    (4, 4)
    """

    cdef object network, theta, engine
    cdef Batch batch
    cdef Memory memory  # the workspace of short calls
    cdef long busy      # atomic: number of threads that want it
    cdef int n_threads
    cdef Py_ssize_t T, B  # for which the results have room
    cdef void *dX
    cdef void *dS_0
    cdef tuple kept       # the arrays of dX and dS_0, which `gradients` may lose
    cdef readonly dict gradients
    cdef readonly cnp.ndarray gradient

    def __cinit__(self, network, Batch batch not None, cnp.ndarray gradient not None, dict gradients not None, int n_threads):
        """Bind the call. `gradients` are named views of `gradient` (P,), and the other arrays that are wanted.

        n_threads = 0 stands for the default. As __cinit__, this also refuses an object without arrays, which would crash.
        """
        self.network, self.batch, self.n_threads = network, batch, n_threads
        self.theta, self.engine = network._theta, network._at_once
        self.gradient, self.gradients = gradient, gradients
        self.T, self.B = batch.X.shape[0], batch.X.shape[1]
        self.kept = gradients.get("X"), gradients.get("initial_state")
        if type(self.engine) is Engine and not self.has_room(<Engine> self.engine):
            raise ValueError("gradient and gradients must be arrays of the network's dtype and sizes; use RNN.bind")
        self.dX = cnp.PyArray_DATA(self.kept[0]) if isinstance(self.kept[0], cnp.ndarray) else NULL
        self.dS_0 = cnp.PyArray_DATA(self.kept[1]) if isinstance(self.kept[1], cnp.ndarray) else NULL

    def __call__(self):
        """Return the reduced error with penalties, and write the gradients."""
        cdef Call c
        cdef Batch batch = self.batch
        cdef Engine engine
        if type(self.engine) is Engine:
            engine = <Engine> self.engine
            if (engine.prepare(&c, self.theta, batch.X, batch.initial_state, batch.lengths, batch.resets)
                    and c.T == self.T and c.B == self.B and engine.take_targets(&c, batch.D, batch.weights)):
                c.n_threads, c.saves = self.n_threads, True
                c.gradient, c.dX, c.dS_0 = cnp.PyArray_DATA(self.gradient), self.dX, self.dS_0
                c.input_gradient, c.initial_state_gradient = self.dX != NULL, self.dS_0 != NULL
                engine.take_penalties(&c)
                if c.packed or not engine.is_short(&c) or engine.shares_products(&c) or not self.run_here(engine, &c):
                    engine.run(&c)
                return c.total * c.error.scale + c.penalty
        return self.call_network()

    cdef bint has_room(self, Engine engine):
        """Return whether the arrays for the results have the sizes of this engine's results."""
        dX, dS_0 = self.kept
        return (engine.is_ready_gradient(self.gradient)
                and (dX is None or engine.is_ready_out(dX, self.T, self.B, engine.plan.I))
                and (dS_0 is None or is_ready(dS_0, engine.type, 2) and has_shape(dS_0, self.B, engine.plan.width, -1)
                     and cnp.PyArray_ISWRITEABLE(dS_0)))

    def __reduce__(self):
        raise TypeError("a BoundCall can be neither copied nor pickled: it is bound to arrays of its caller; use RNN.bind")

    cdef bint run_here(self, Engine engine, Call *c) except -1:
        """Run a short call in this object's own memory, with the GIL and one thread. Return False if another thread does so.

        It saves what `run` does for calls of any length: the pool of workspaces, the number of calls that run, and limits.
        """
        cdef double polled = NEVER
        cdef int status, stop = 0
        cdef Py_ssize_t needed
        if add(&self.busy, 1) > 1:
            add(&self.busy, -1)
            return False
        try:
            engine.divide(c)
            needed = engine.plan_memory(c, 1)  # anew: weights that are all 1 need no memory, for example
            if self.memory is None or self.memory.bytes < needed:
                self.memory = Memory(needed)
            c.polled, c.polls, c.stop = &polled, True, &stop
            status = engine.run_in(c, self.memory.base, 1)
            if status != DONE:
                pass_on()
        finally:
            add(&self.busy, -1)
        return True

    def call_network(self):
        """Do the same by `loss_and_gradients`: for networks of several recurrences, and to raise the error for bad values."""
        batch = self.batch
        if batch.X.shape[:2] != (self.T, self.B):
            raise ValueError(f"X must keep the T and B that it had when it was bound, ({self.T}, {self.B}), got "
                             f"{batch.X.shape[:2]}")
        loss, gradients = self.network.loss_and_gradients(
            batch.X, batch.D, initial_state=batch.initial_state, weights=batch.weights, lengths=batch.lengths,
            resets=batch.resets, input_gradient="X" in self.gradients,
            initial_state_gradient="initial_state" in self.gradients, n_threads=self.n_threads or None)
        for name, value in gradients.items():
            for whole, part in zip(*((value, self.gradients[name]) if isinstance(value, tuple) else
                                     ((value,), (self.gradients[name],)))):
                part[...] = whole
        return loss

    def __repr__(self):
        return f"<BoundCall of {self.network!r}, X {self.batch.X.shape}>"
