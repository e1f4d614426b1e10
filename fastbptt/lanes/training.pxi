# Training: each group makes all its updates independently of the others.
#
# Add what happens once per epoch or once per run here.

cdef void train_group(const Job *job, Py_ssize_t i, char *base, const floating *dtype) noexcept nogil:
    """Train the networks of group i for job.training.epochs epochs in the workspace `base`.

    It copies theta and the state of the run into lanes, makes the updates of all epochs, and copies the results back. It ends
    early when no lane learns any more. `dtype` selects the type of the numbers; it is not read.
    """
    cdef const Plan *p = job.p
    cdef Call *data = job.c
    cdef Call *batch = job.batch
    cdef Training *t = job.training
    cdef Learning m
    cdef Group *g = &m.data
    cdef Group *b = &m.batch
    cdef RunState *kept = &m.kept
    cdef BatchPosition position
    cdef Call c
    cdef UpdateOptions update = t.update
    cdef Py_ssize_t L = lane.lanes(kernels, dtype), first = i * L, n = min(L, data.n - first), l, epoch, begin_row, count
    cdef floating *theta
    cdef Py_ssize_t batches = (data.B + t.batch_size - 1) // t.batch_size
    cdef floating *rates
    cdef floating *going
    cdef floating was_going[64]
    cdef unsigned long long mode = flush_denormals()
    lay_out_training(job, dtype, base, &m)
    position.first, position.n, position.B = first, n, data.B
    b.unscale = g.unscale
    theta, rates, going = <floating *> g.theta, <floating *> kept.rates, <floating *> kept.going
    columns_into_lanes(first, L, data.N, p.P, <const floating *> data.theta, theta)
    columns_into_lanes(first, L, data.N, p.P, <const floating *> t.slot_1, <floating *> kept.slot_1)
    if t.slot_2 != NULL:
        columns_into_lanes(first, L, data.N, p.P, <const floating *> t.slot_2, <floating *> kept.slot_2)
    memcpy(kept.going, <const floating *> t.going + first, L * sizeof(floating))
    if t.l1 != NULL:
        columns_into_lanes(first, L, data.N, p.P, <const floating *> t.l1, <floating *> kept.l1)
    if t.l2 != NULL:
        columns_into_lanes(first, L, data.N, p.P, <const floating *> t.l2, <floating *> kept.l2)
    load_group(p, data, g, first, n, theta)
    if t.judged != NULL:
        load_group(p, job.held, &m.held, first, n, theta)
        columns_into_lanes(first, L, data.N, p.P, <const floating *> t.best_theta, <floating *> kept.best_theta)
    count = t.earlier
    for epoch in range(t.epochs):
        if not any_lane_learns(L, going):
            break
        memcpy(was_going, going, L * sizeof(floating))
        for l in range(L):
            rates[l] = <floating> t.rates[epoch * data.N + first + l]
        memset(kept.sums, 0, 4 * L * sizeof(double))
        begin_row = 0
        while begin_row < data.B:
            c = batch[0]
            c.B = min(t.batch_size, data.B - begin_row)
            if c.B == data.B and t.order == NULL:  # the batch is the whole data set, which is in lanes already
                b.X, b.D, b.weights, b.ends, b.scale, b.weight = g.X, g.D, g.weights, g.ends, g.scale, g.weight
                c.own_X, c.own_D, c.own_weights = data.own_X, data.own_D, data.own_weights
            else:
                position.epoch, position.begin, position.size = epoch, begin_row, c.B
                copy_batch(t, &position, c.T, p.I, data.own_X, <const floating *> g.X, <floating *> b.X)
                copy_batch(t, &position, c.T, p.K, data.own_D, <const floating *> g.D, <floating *> b.D)
                copy_batch(t, &position, c.T, c.weight_width, data.own_weights, <const floating *> g.weights,
                           <floating *> b.weights)
                copy_batch(t, &position, 1, 1, True, <const floating *> g.ends, <floating *> b.ends)
                set_loss_scale(p, &c, b, n, theta)
            set_initial_states(p, &c, b, first, n, theta)
            forward(p, &c, b, theta)
            compute_errors(p, &c, b, theta)
            backward(p, &c, b, theta)
            penalize(p, kept, L, theta, <floating *> b.gradient)
            clip(p, t.max_norm + first, L, <floating *> b.gradient, kept.norm)
            for l in range(L):
                kept.sums[l] += b.totals[l]
                kept.sums[L + l] += b.weight[l]
                kept.sums[2 * L + l] += kept.penalty[l]
                kept.sums[3 * L + l] += kept.norm[l]
            count += 1
            update.correction_1, update.correction_2 = 1 - update.beta_1**<double> count, 1 - update.beta_2**<double> count
            if stop_nonfinite_lanes(p, L, b, kept.penalty, kept.norm, <floating *> kept.going):
                lane.update(kernels, &update, p.P, <const floating *> kept.rates, <const floating *> kept.going,
                            <const floating *> b.gradient, theta, <floating *> kept.slot_1, <floating *> kept.slot_2)
            begin_row += c.B
        for l in range(n):
            if not p.mean:
                t.losses[(first + l) * t.epochs + epoch] = kept.sums[l]
            elif kept.sums[L + l] > 0:
                t.losses[(first + l) * t.epochs + epoch] = kept.sums[l] / kept.sums[L + l]
            t.penalties[(first + l) * t.epochs + epoch] = kept.sums[2 * L + l] / batches
            t.norms[(first + l) * t.epochs + epoch] = kept.sums[3 * L + l] / batches
            if was_going[l] != 0:
                t.ended[first + l] = epoch + 1 if going[l] != 0 else -1 - epoch
        if t.judged != NULL:
            validate_lanes(job, &m, first, n, epoch, theta)
    if t.judged != NULL:
        columns_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.best_theta, <floating *> t.best_theta)
    columns_out_of_lanes(first, L, data.N, p.P, theta, <floating *> data.theta)
    columns_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.slot_1, <floating *> t.slot_1)
    if t.slot_2 != NULL:
        columns_out_of_lanes(first, L, data.N, p.P, <const floating *> kept.slot_2, <floating *> t.slot_2)
    memcpy(<floating *> t.going + first, kept.going, L * sizeof(floating))
    restore(mode)
