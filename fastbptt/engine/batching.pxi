# Batching: how a call is divided into shards, blocks and runs, and how sequences of unequal lengths are packed.
#
# This file holds the functions that answer "which rows, at which step, in which order", from the shapes of a call alone. Add
# here what decides about order or division; copies of numbers belong in rows.pxi.
#
# Glossary of the engine
#   row      the numbers of one sequence at one step. In the workspace the rows of a step follow those of the step before.
#   shard    some sequences of the batch. One thread takes a shard forward through all steps, and then back. Each shard has its
#            own gradient; `run` sums them in a fixed order, so results have the same bits for any number of threads.
#   block    consecutive steps of a shard, few enough that their arrays stay in the second-level cache.
#   run      consecutive steps of a block that have the same rows, with no reset after the first of them. One call of a
#            kernel computes a run.
#   packed   a call whose sequences are sorted by length, longest first, as in PyTorch's PackedSequence. Then the sequences
#            that go on are the first rows of every step. A call is packed if lengths differ or if there is a reset.
#            (Packed weights are something else: a matrix in the layout that the kernels read.)
#   row index: for each row of a block, its position (step * B + sequence) in the caller's arrays (T, B, ...).
#   padding  the steps after the end of a sequence. A packed call never reads them.
#   segment  consecutive blocks that the backward pass computes again, together, under a memory limit.
#   border   the states before a segment. Forward saves only these; the segment is recomputed from them.
#   window   in truncated BPTT, k1 steps whose errors go back through k2 steps together. Blocks never cross a window's end.

cdef void count(Call *c) noexcept nogil:
    """Compute how many sequences and steps the call has, and whether it must be packed.

    Sets c.sequences, c.most, c.steps and c.packed from c.lengths (B,) and c.resets (T, B).
    """
    cdef Py_ssize_t b
    cdef bint uneven = False
    c.sequences, c.most, c.steps = c.B, c.T, c.T * c.B
    c.order = c.batch_sizes = NULL
    if c.lengths != NULL and c.T > 0:
        c.sequences = c.most = c.steps = 0
        for b in range(c.B):
            c.sequences += c.lengths[b] > 0
            c.most = max(c.most, c.lengths[b])
            c.steps += c.lengths[b]
        uneven = c.steps < max(c.most, 1) * c.B  # equal lengths: the batch only ends before T
    c.packed = uneven or c.resets != NULL and memchr(c.resets, 1, c.most * c.B) != NULL  # resets of padding do not count


cdef Py_ssize_t rows_of_a_shard(const Plan *p, Py_ssize_t steps, Py_ssize_t B, Py_ssize_t size,
                                Py_ssize_t work) noexcept nogil:
    """Return the number of sequences per shard, for a batch of B sequences with `steps` steps in total.

    Shards are as equal as possible and depend only on shapes, never on the number of threads. `size` is the size of a number
    in bytes, `work` the most multiplications of one step of a shard.

    The number of shards follows four rules. (1) There are as many shards as threads may want, if each has enough work, and
    enough rows to use the weights that it reads. (2) The number is even: with an odd number, one of two threads would wait
    for the other's last shard. With 7 shards, 128,28,28,100,10 took 1.71 times as long with one thread as with two; with 8 it
    takes 1.96 times as long. (3) One step of a shard stays under `work` multiplications. (4) The gradients of all shards must
    not fill the memory.

    Calls of 0.13 to 0.6 ms that SHARD_LEAST divides take 1.00 to 1.02 times as long with one thread and 0.53 with two
    (2026-11).
    """
    cdef double row = <double> p.H * (p.gates * (p.I + recurrent_width(p) if p.recurs else 0) + p.O)
    cdef Py_ssize_t fewest = max(8, min(32, p.H // 16))  # 8 rows run at full speed if the weights stay in the cache
    cdef Py_ssize_t most = max(8, <Py_ssize_t> (<double> work / (<double> p.H * p.gates * max(p.I, p.H, p.O))))
    cdef Py_ssize_t shards = <Py_ssize_t> min(<double> B, row * steps / SHARD_LEAST)
    shards = min(shards, B // fewest, <Py_ssize_t> (<double> steps / SHARD_LEAST_ROWS),
                 max(1, PARTIALS_BYTES // (p.effective * size)))
    if shards > 1 and shards < B // fewest:
        shards += shards % 2
    shards = max(1, shards, (B + most - 1) // most)
    return (B + shards - 1) // shards


cdef Py_ssize_t work_of_a_shard(Py_ssize_t size) noexcept nogil:
    """Return the most multiplications of one step of a shard, for numbers of `size` bytes.

    They take about 25 ms on one core in either type. A step of the backward pass needs three times as many, so the engine
    answers Ctrl-C within 100 ms. Smaller shards make BLAS pack the same weights more often: B = H = 2048 takes 1.2 times as
    long as in one shard at this bound, and twice as long at a quarter of it (2026-11, AMD Zen 3, OpenBLAS 0.3.30).
    """
    return SHARD_WORK if size == sizeof(float) else SHARD_WORK // 2


cdef inline Py_ssize_t shards_of(const Call *c) noexcept nogil:
    """Return the number of shards: c.sequences divided by c.rows, rounded up."""
    return (c.sequences + c.rows - 1) // c.rows if c.rows > 0 else 0


cdef inline Py_ssize_t steps_of_a_shard(const Call *c) noexcept nogil:
    """Return the number of rows of the largest shard, summed over all its steps."""
    return c.kept if c.packed else c.most * c.rows


cdef inline Py_ssize_t sequences_of_shard(Py_ssize_t n, Py_ssize_t shards, Py_ssize_t i) noexcept nogil:
    """Return how many of the first n sequences belong to shard i.

    The sorted sequences are dealt to the shards like cards: sequence j belongs to shard j % shards.
    """
    if shards == 1:  # a division per step is slow compared with a short step
        return n
    return (n - i + shards - 1) // shards if n > i else 0


cdef inline Py_ssize_t sequences_before_shard(Py_ssize_t n, Py_ssize_t shards, Py_ssize_t i) noexcept nogil:
    """Return how many of the first n sequences, dealt like cards, belong to the shards before shard i."""
    return i * (n // shards) + min(i, n % shards)


cdef void pack_sequences(Call *c, Py_ssize_t *memory) noexcept nogil:
    """Sort the sequences by length, longest first, deal them to the shards and count the sequences of each step.

    Sets c.order (sequences,), c.batch_sizes (most + 1,) and c.kept. They lie in `memory`, of `packed_words(c)` words. Does
    nothing if the call is not packed. This is a counting sort, so equal lengths keep their order.
    """
    cdef Py_ssize_t *order = memory
    cdef Py_ssize_t *batch_sizes = memory + c.B
    cdef Py_ssize_t *next = batch_sizes + c.T + 1
    cdef Py_ssize_t b, t, n, place, kept = 0, longer = 0, shards = shards_of(c)
    c.kept = 0
    if not c.packed:
        return
    memset(batch_sizes, 0, (c.most + 1) * sizeof(Py_ssize_t))
    for b in range(c.B):
        n = c.lengths[b] if c.lengths != NULL else c.T
        if n > 0:
            batch_sizes[n - 1] += 1
    for t in range(c.most - 1, -1, -1):  # the sum is a local: in memory each addition waited for the last store
        longer += batch_sizes[t]
        batch_sizes[t] = next[t] = longer
        kept += sequences_of_shard(longer, shards, 0)
    next[c.most] = 0
    for b in range(c.B):
        n = c.lengths[b] if c.lengths != NULL else c.T
        if n > 0:  # next[n]: number of longer sequences, and of equal ones before this one
            place = next[n]
            order[place if shards == 1 else sequences_before_shard(c.sequences, shards, place % shards) + place // shards] = b
            next[n] = place + 1
    c.order, c.batch_sizes, c.kept = order, batch_sizes, kept


cdef inline Py_ssize_t packed_words(const Call *c) noexcept nogil:
    """Return the number of words that `pack_sequences` needs; 0 if the call is not packed."""
    return c.B + 2 * (c.T + 1) if c.packed else 0


cdef void make_shard(const Plan *p, const Call *c, Py_ssize_t i, Py_ssize_t size, Call *s) noexcept nogil:
    """Fill s with the call for shard i of c. `size` is the size of a number in bytes.

    Moves each pointer to the shard's first sequence. In a packed call only `order` moves: rows are found by the row index.
    """
    cdef Py_ssize_t b = i * c.rows
    memcpy(s, c, sizeof(Call))
    if c.packed:
        s.rows = sequences_of_shard(c.sequences, shards_of(c), i)
        s.order = c.order + sequences_before_shard(c.sequences, shards_of(c), i)
        return
    s.rows = min(c.rows, c.B - b)
    s.begin = b
    s.X = <const char *> c.X + b * p.I * size if c.X != NULL else NULL
    s.ids = c.ids + b if c.ids != NULL else NULL
    s.initial_state = <const char *> c.initial_state + b * p.width * size if c.initial_state != NULL else NULL
    s.past_states = <const char *> c.past_states + b * p.width * size if c.past_states != NULL else NULL
    s.past_rates = <const char *> c.past_rates + b * saved_numbers(c) * p.H * size if c.past_rates != NULL else NULL
    s.D = <const char *> c.D + b * c.error.K * size if c.D != NULL else NULL
    s.labels = c.labels + b if c.labels != NULL else NULL
    s.weights = <const char *> c.weights + b * c.weight_width * size if c.weights != NULL else NULL
    s.Y = <char *> c.Y + b * p.O * size if c.Y != NULL else NULL
    s.S = <char *> c.S + b * p.width * size if c.S != NULL else NULL
    s.R = <char *> c.R + b * saved_numbers(c) * p.H * size if c.R != NULL else NULL
    s.final_state = <char *> c.final_state + b * p.width * size if c.final_state != NULL else NULL
    s.losses = <char *> c.losses + b * size if c.losses != NULL else NULL
    s.dX = <char *> c.dX + b * p.I * size if c.dX != NULL else NULL
    s.dS_0 = <char *> c.dS_0 + b * p.width * size if c.dS_0 != NULL else NULL
    s.terms_S = <char *> c.terms_S + b * p.width * size if c.terms_S != NULL else NULL


cdef void number_rows(const Call *c, Py_ssize_t shards, Py_ssize_t i, Py_ssize_t *first) noexcept nogil:
    """Compute first[t] (most + 1,): the number of rows that shard i of a packed call has before step t."""
    cdef Py_ssize_t t, n = 0
    for t in range(c.most):
        first[t] = n
        n += sequences_of_shard(c.batch_sizes[t], shards, i)
    first[c.most] = n


cdef inline Py_ssize_t rows_before(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Return the number of rows of the steps before t."""
    return w.first[t] if c.packed else t * c.rows


cdef inline Py_ssize_t rows_at(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Return the number of rows of step t: the sequences of the shard that have this step."""
    if not c.packed:
        return c.rows
    return w.first[t + 1] - w.first[t] if t < c.most else 0


cdef Py_ssize_t end_of_block(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Return the step after the last one of the block that begins with step t."""
    cdef Py_ssize_t end = t + 1, most = c.most
    if c.k1 > 0:
        most = min(most, (t // c.k1 + 1) * c.k1)
    if t < c.past:
        most = min(most, c.past)
    if not c.packed:
        return min(most, t + max(1, w.rows // max(c.rows, 1)))
    if w.first[most] - w.first[t] <= w.rows:
        return most
    while end < most and w.first[end + 1] - w.first[t] <= w.rows:
        end += 1
    return end


cdef inline Py_ssize_t caller_step(const Call *c, Py_ssize_t t, Py_ssize_t b) noexcept nogil:
    """Return the caller's step that a reverse recurrence takes as step t of sequence b."""
    return (c.lengths[b] if c.packed and c.lengths != NULL else c.most) - 1 - t


cdef inline bint is_reset(const Call *c, Py_ssize_t t, Py_ssize_t row) noexcept nogil:
    """Return whether the state before step t is reset for this row of a packed call."""
    if c.reverse:  # time runs backward: a reset before the caller's next step separates the two
        return t > 0 and c.resets[(caller_step(c, t, c.order[row]) + 1) * c.B + c.order[row]]
    return c.resets[t * c.B + c.order[row]]


cdef bint find_reset(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Return whether any sequence that has step t is reset before it. c.resets must not be NULL."""
    cdef Py_ssize_t row
    for row in range(rows_at(c, w, t)):
        if is_reset(c, t, row):
            return True
    return False


cdef inline Py_ssize_t end_of_run(const Call *c, const Workspace *w, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Return the step after the last one of the run that begins with step t.

    A run holds steps before `end` that have the same rows. No row is reset in it, except before step t.
    """
    cdef Py_ssize_t rows = rows_at(c, w, t), next = t + 1
    if rows > 0 and c.packed and c.lengths != NULL:
        end = min(end, c.lengths[c.order[rows - 1]])  # the run ends with the shortest of its sequences
    if c.resets == NULL or not c.packed:
        return end
    while next < end and not find_reset(c, w, next):
        next += 1
    return next


cdef inline Py_ssize_t begin_of_run(const Call *c, const Workspace *w, Py_ssize_t begin, Py_ssize_t t) noexcept nogil:
    """Return the first step, from step `begin` on, of the run that ends with step t."""
    cdef Py_ssize_t rows = rows_at(c, w, t)
    if rows < c.rows and c.lengths != NULL:
        begin = max(begin, c.lengths[c.order[rows]])  # the step after the end of the longest other sequence
    if c.resets == NULL:
        return begin
    while t > begin and not find_reset(c, w, t):
        t -= 1
    return t


cdef inline bint any_reset(const Call *c, const Workspace *w, Py_ssize_t t) noexcept nogil:
    """Return whether any row of step t is reset; False if the call is not packed."""
    return c.resets != NULL and c.packed and find_reset(c, w, t)


cdef Py_ssize_t *find_row_index(const Plan *p, const Call *c, Workspace *w, Py_ssize_t t, Py_ssize_t end) noexcept nogil:
    """Compute the row index of the steps t ... end: the position of each row in the caller's arrays (T, B, ...).

    Returns w.row_index (rows,), or NULL if the rows stand in the caller's order. Keeps the index of the last steps asked for.
    """
    cdef Py_ssize_t row, rows, b, next
    cdef Py_ssize_t *row_index = w.row_index
    if not (c.packed or p.one_hot or p.reverse):
        return NULL
    if w.indexed == t and w.indexed_until == end:
        return row_index
    w.indexed, w.indexed_until = t, end
    while t < end and c.packed and not p.reverse:
        rows, next = rows_at(c, w, t), end_of_run(c, w, t, end)
        index_run(next - t, rows, c.order, t * c.B, c.B, row_index)
        row_index += (next - t) * rows
        t = next
    for t in range(t, end):
        rows = rows_at(c, w, t)
        for row in range(rows):
            b = c.order[row] if c.packed else row
            row_index[row] = (caller_step(c, t, b) if p.reverse else t) * c.B + b
        row_index += rows
    return w.row_index


cdef void index_run(Py_ssize_t steps, Py_ssize_t rows, const Py_ssize_t *order, Py_ssize_t begin, Py_ssize_t B,
                    Py_ssize_t *row_index) noexcept nogil:
    """Compute places = begin + step B + order, of shape (steps, rows).

    Writes four rows at a time, the last four first: what they write beyond their own end, the next ones overwrite. It also
    reads up to MORE undefined numbers beyond the end of `order`, so the sums are of unsigned numbers, which may overflow.
    """
    cdef Py_ssize_t i, row
    cdef Py_ssize_t *target
    cdef size_t x0, x1, x2, x3, first = <size_t> begin, step = <size_t> B
    for row in range((rows + 3) // 4 * 4 - 4, -1, -4):
        x0, x1 = first + <size_t> order[row], first + <size_t> order[row + 1]
        x2, x3 = first + <size_t> order[row + 2], first + <size_t> order[row + 3]
        target = row_index + row
        for i in range(steps):
            target[0], target[1], target[2], target[3] = <Py_ssize_t> x0, <Py_ssize_t> x1, <Py_ssize_t> x2, <Py_ssize_t> x3
            x0, x1, x2, x3 = x0 + step, x1 + step, x2 + step, x3 + step
            target += rows


cdef inline Py_ssize_t place(const Call *c, Py_ssize_t t, const Py_ssize_t *row_index, Py_ssize_t row) noexcept nogil:
    """Return the position, in the caller's arrays (T, B, ...), of a row of the block that begins with step t."""
    return row_index[row] if row_index != NULL else (t + row // c.rows) * c.B + row % c.rows


cdef void gather_labels(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index,
                        Py_ssize_t *gathered) noexcept nogil:
    """Copy the labels of some rows of the block that begins with step t to gathered (rows,)."""
    cdef Py_ssize_t row
    for row in range(rows):
        gathered[row] = c.labels[place(c, t, row_index, row)]


cdef void add_rows(const Call *c, Py_ssize_t t, Py_ssize_t rows, const Py_ssize_t *row_index, Py_ssize_t width,
                   const floating *A, Py_ssize_t lda, floating *target) noexcept nogil:
    """Compute target[place] += A for the rows of the block that begins with step t.

    A is (rows, width) with leading dimension lda, target (T, B, width).
    """
    cdef Py_ssize_t row, j
    cdef floating *sum
    for row in range(rows):
        sum = target + place(c, t, row_index, row) * width
        for j in range(width):
            sum[j] += A[row * lda + j]
