# Plan: what a network is, and where its parameters lie in theta. A new option of the engine starts here.

cdef enum:
    BLOCK_BYTES = 256 * 1024   # of one block of steps: half of a common second-level cache
    BLOCK_ROWS = 256           # steps times sequences of a block, at least, where weights outgrow that cache
    POOLED = 4                 # workspaces that an engine keeps
    POOLED_BYTES = 0x10000000  # 256 MiB; a larger one goes back to the system after its call
    DONE = 0
    STOPPED = 1
    SHARD_WORK = 0x40000000    # multiplications of a float32 product of one step of a shard, at most, if it has over 8 rows
    SHARD_LEAST = 0x80000      # multiplications forward that are worth a shard: 0.05 ms with the gradient
    SHARD_LEAST_ROWS = 512     # times steps: with 47 the shards' own gradients took an eighth of the time
    PARTIALS_BYTES = 0x4000000 # 64 MiB: of the gradients of all shards
    PICK_BELOW = 2             # rows with errors are picked where over half of the weights are zero
    NO_LIMIT = 0               # of memory
    AUTOMATIC = -1
    INPUT = 1023               # the kind of noise of inputs; that of states is the number of their recurrence
    SHORT = 0x8000             # multiplications of a call that keeps the GIL, where a step is at least 64
    MORE = 3                   # numbers that `place_run` reads and writes beyond its own
    FEW_WORDS = 512            # of an arrangement, which lie on the stack
    SHARED_FROM = 8192         # m n k from which a BLAS may share a product among threads (OpenBLAS: gemv 9216)


cdef double NEVER = -1
cdef double LEAST_FLOW = 1e-30  # ‖∂E/∂S‖ below which a row does not count in Ω, as in reference.py


cdef struct Penalty:
    # Of theta[begin:end]: l1 Σ |w| + l2 Σ w².
    Py_ssize_t begin, end
    double l1, l2


cdef struct Plan:
    # What a network is. Offsets are into theta; -1 where there is no such parameter.
    Py_ssize_t I, H, O
    int activation
    Units units
    unsigned int kind            # of its noise and dropout
    double noise, input_noise    # what standard normal numbers are multiplied with
    double dropout
    ErrorOptions error           # with K, the targets a row
    Py_ssize_t W_x, W_s, b_s, W_y, b_y, S_0, P
    bint mean
    bint last                    # errors and outputs are those of each sequence's last step
    bint one_hot                 # inputs are ids
    const unsigned char *maps    # (P,), see parametrizations.h; NULL where theta is what the network computes with
    bint recurs                  # else inputs are states
    bint reads                   # else outputs are the states
    bint reverse                 # time is gone through from a sequence's last step to its first
    Py_ssize_t penalties
    Penalty[6] penalty           # the first `penalties` of them
    double rate_penalty          # times the mean of S²
    double omega                 # times Ω
    bint settles                 # what is only rounding noise in ∂E/∂S is 0: with omega, in this engine or one beside it


cdef void place_parameters(Plan *p, bint bias, bint learn_initial_state) noexcept nogil:
    """Where in theta each parameter begins, and how long it is."""
    p.W_x = p.W_s = p.b_s = p.W_y = p.b_y = p.S_0 = -1
    p.P = 0
    if p.recurs:
        p.W_x, p.W_s = 0, p.H * p.I
        p.P = p.W_s + p.H * p.H
    if bias and p.recurs:
        p.b_s, p.P = p.P, p.P + p.H
    if p.reads:
        p.W_y, p.P = p.P, p.P + p.O * p.H
    if bias and p.reads:
        p.b_y, p.P = p.P, p.P + p.O
    if learn_initial_state and p.recurs:
        p.S_0, p.P = p.P, p.P + p.H
