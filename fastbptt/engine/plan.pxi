# Plan: what a network is, and where its parameters lie in theta.
#
# This file holds the engine's constants and the structs that describe a network. A new option of the engine starts here: add
# its field to `Plan`. What changes from call to call belongs in call.pxi.
#
# Letters, here and in the whole engine: T steps, B sequences, I inputs, H hidden units, O outputs, K targets per row,
# P parameters. theta (P,) is the flat vector of parameters. batching.pxi explains shard, block, run, segment and window.

cdef enum:
    BLOCK_BYTES = 256 * 1024    # size of one block of steps: half of a common second-level cache
    BLOCK_ROWS = 256            # least rows (steps times sequences) of a block if the weights outgrow that cache
    POOLED = 4                  # number of workspaces that an engine keeps for later calls
    POOLED_BYTES = 0x10000000   # 256 MiB; the engine frees a larger workspace after its call
    DONE = 0                    # status: the call is complete
    STOPPED = 1                 # status: Ctrl-C ended the call
    SHARD_WORK = 0x40000000     # most multiplications in a float32 product of one step of a shard with over 8 rows
    SHARD_LEAST = 0x80000       # least multiplications of a shard's forward pass; they take 0.05 ms with the gradient
    SHARD_LEAST_ROWS = 512      # least rows (steps times sequences) per shard: with 47, summing the shards' gradients took an
                                # eighth of the time
    PARTIALS_BYTES = 0x4000000  # 64 MiB: limit for the gradients of all shards together
    SPARSE_BELOW = 2            # the output's products skip rows without an error if fewer than 1 / SPARSE_BELOW of the
                                # weights are nonzero
    NO_LIMIT = 0                # value of memory_limit: use the memory that is fastest
    AUTOMATIC = -1              # value of memory_limit: use the least memory possible
    INPUT = 1023                # random stream of the input noise; a recurrence's number is the stream of its state noise
    SHORT = 0x8000              # a call below this work keeps the GIL; the unit is a multiplication, and each step adds at
                                # least 64
    MORE = 3                    # numbers that `index_run` may read and write beyond the end of its own
    FEW_WORDS = 512             # size of the stack buffer for the order of a packed call
    FACTORED_FROM = 64          # least H at which W_s of low rank stays in its factors (`factored`)
    FACTORED_RANKS = 4          # and least H / R
    SHARED_FROM = 8192          # product size m n k from which a BLAS may use several threads (OpenBLAS: gemv 9216)


cdef double NEVER = -1          # time of the last poll before the first one
cdef double LEAST_FLOW = 1e-30  # a row with a smaller ‖∂E/∂S‖ does not count in Ω; fastbptt.reference uses the same bound


cdef struct Penalty:
    # The penalty l1 Σ |w| + l2 Σ w² on the parameters w = theta[begin:end].
    Py_ssize_t begin, end
    double l1, l2


cdef struct Plan:
    # What a network is.
    Py_ssize_t I, H, O           # numbers of inputs, hidden units and outputs
    Py_ssize_t gates             # pre-activations per unit
    Py_ssize_t width             # length of a public state: H, or 2 H
    int activation               # g1, of the hidden units
    Units units                  # cell, leak and activation of the units
    const double *leaks          # (H,)  the leak of each unit; NULL if all are equal, or if leak_logit determines them
    unsigned int stream          # stream of random numbers for this recurrence's noise and dropout
    double noise, input_noise    # standard deviations of the noise on states and on inputs. If units have separate leaks, noise
                                 # is still to be multiplied by sqrt(2 / leak)
    double dropout               # probability that a hidden unit is dropped
    ErrorOptions error           # loss, output activation g2, K and the scale of the reduction
    # Offset of each parameter in theta, -1 if it does not exist; P is the length of theta
    Py_ssize_t W_x, W_s, M, N, b_s, b_n, leak_logit, W_y, b_y, S_0, P
    Py_ssize_t rank              # R of W_s = M N.T; 0 if W_s is a parameter
    Py_ssize_t effective         # length of the effective parameters: P, and with a rank W_s behind theta
    bint trains_leak             # leak_logit exists
    bint mean                    # the reduction is the mean, else the sum
    bint last                    # outputs and errors exist only at each sequence's last step
    bint one_hot                 # inputs are token ids
    const unsigned char *maps    # (P,)  parametrizations, see parametrizations.h; NULL if the network computes with theta
                                 # itself
    bint recurs                  # the network has a recurrence; else its inputs are states
    bint reads                   # the network has a readout; else its outputs are the states
    bint reverse                 # the recurrence runs from each sequence's last step to its first
    Py_ssize_t penalties         # number of penalties on parameters
    Penalty[10] penalty          # of these, the first `penalties` are in use
    double rate_penalty          # factor of the mean of S² in the loss
    double omega                 # factor of Ω in the loss
    bint drops_noise             # set ∂E/∂S to 0 where it is only rounding noise: this engine or another one of the
                                 # network has omega


cdef inline Py_ssize_t slot_of(const Plan *p, Py_ssize_t gate) noexcept nogil:
    """Return which block of a row of delta belongs to a gate's product with W_x.

    A cell has a block of H numbers, a slot, for each gate, and if a product is APART one more for that product. The last gate
    then has the first slot, so that both its products adjoin the others: slots 0 ... gates - 1 belong to W_x, and slots
    `first_slot` ... first_slot + gates - 1 to W_s.
    """
    return (gate + first_slot(p)) % p.gates


cdef inline bint factored(const Plan *p) noexcept nogil:
    """Return whether the steps multiply by M and N of a W_s of low rank, and not by their product.

    Only the shapes decide, so that `step`, `forward` and the gradient have the same bits. Cells of several gates multiply by
    the product.

    Time of loss and gradients relative to that with the product (T = 50, 4 and 64 sequences, Intel Xeon with AVX-512, 2026-12):

        float32            R = 1           H / 16          H / 8           H / 4
        H = 64             0.72 and 0.72   0.72 and 0.75   0.76 and 0.78   0.82 and 0.86
        H = 128            0.29 and 0.31   0.41 and 0.44   0.44 and 0.50   0.62 and 0.77
        H = 256            0.15 and 0.22   0.23 and 0.24   0.33 and 0.58   0.72 and 0.79
        float64, H = 64    0.40 and 0.49   0.52 and 0.43   0.58 and 0.89   0.84 and 0.77
        float64, H = 256   0.11 and 0.15   0.21 and 0.25   0.30 and 0.39   0.47 and 0.66

    With H = 32 it is 0.95 to 1.67, with R = H / 2 and 16 or 64 sequences 0.66 to 1.9 (float32).
    """
    return p.rank > 0 and p.gates == 1 and p.H >= FACTORED_FROM and FACTORED_RANKS * p.rank <= p.H


cdef inline Py_ssize_t recurrent_width(const Plan *p) noexcept nogil:
    """Return how many multiplications each gate of a unit makes with the state before a step."""
    return 2 * p.rank if factored(p) else p.H


cdef inline bint separate_leaks(const Plan *p) noexcept nogil:
    """Return whether each unit has a leak of its own, given or trained."""
    return p.leaks != NULL or p.leak_logit >= 0


cdef inline Py_ssize_t first_slot(const Plan *p) noexcept nogil:
    """Return which block of a row of delta belongs to the first gate's product with W_s."""
    return cell_rows[p.units.form].slots - p.gates


cdef void place_parameters(Plan *p, bint bias, bint learn_initial_state) noexcept nogil:
    """Compute the offset of each parameter in theta, the length P of theta, and the sizes that depend on the cell."""
    cdef const CellRow *cell = &cell_rows[p.units.form]
    p.gates, p.width = cell.gates, 2 * p.H if cell.state == BOTH_CARRIES else p.H
    p.W_x = p.W_s = p.M = p.N = p.b_s = p.b_n = p.leak_logit = p.W_y = p.b_y = p.S_0 = -1
    p.P = 0
    if p.recurs:
        p.W_x, p.P = 0, p.gates * p.H * p.I
    if p.recurs and p.rank > 0:
        p.M, p.N = p.P, p.P + p.gates * p.H * p.rank
        p.P = p.N + p.H * p.rank
    elif p.recurs:
        p.W_s, p.P = p.P, p.P + p.gates * p.H * p.H
    if bias and p.recurs:
        p.b_s, p.P = p.P, p.P + p.gates * p.H
    if bias and p.recurs and cell.product == APART:
        p.b_n, p.P = p.P, p.P + p.H
    if p.trains_leak and p.recurs:
        p.leak_logit, p.P = p.P, p.P + p.H
    if p.reads:
        p.W_y, p.P = p.P, p.P + p.O * p.H
    if bias and p.reads:
        p.b_y, p.P = p.P, p.P + p.O
    if learn_initial_state and p.recurs:
        p.S_0, p.P = p.P, p.P + p.width
    p.effective = p.P
    if p.recurs and p.rank > 0:
        p.W_s, p.effective = p.P, p.P + p.gates * p.H * p.H
