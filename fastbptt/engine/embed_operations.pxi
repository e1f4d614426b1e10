# The C interface, part 4 of 4: operations (forward, backward, loss_and_gradients, step) and updates. A new one belongs here.
#
# The any_... functions take the size of a number in bytes, 4 or 8. The public functions _f32 and _f64 only call them.


cdef struct Outputs:
    # What forward and step write; NULL: not wanted. _core.pxd has the shapes.
    void *Y
    void *S
    void *final_state


cdef struct Gradients:
    # What backward and loss_and_gradients write; NULL: not wanted.
    double *loss
    double *penalty
    void *gradient
    void *dX
    void *dS_0


cdef struct StepInputs:
    # What step reads; NULL: absent.
    const void *x
    const Py_ssize_t *ids
    const void *state


cdef struct Updated:
    # The arrays (P,) of an update. slot_2 is only Adam's.
    const void *gradient
    void *theta
    void *slot_1
    void *slot_2


cdef int any_forward(const void *plan, const void *batch, Py_ssize_t size, const void *theta, Outputs out,
                     Room room) noexcept nogil:
    """Compute outputs and states. See forward_f32 in _core.pxd."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, <const EmbeddedBatch *> batch, theta, &c, &s)
    if status != STATUS_OK:
        return status
    return forward_into(e, <const EmbeddedBatch *> batch, &c, &s, out, room)


cdef int forward_into(const Embedded *e, const EmbeddedBatch *b, Call *c, Spans *s, Outputs out, Room room) noexcept nogil:
    """Add the outputs of forward to a prepared Call, and run it.

    out.final_state may be the array of the initial state, so that a caller can step in place.
    """
    cdef const Plan *p = &e.plan
    c.Y, c.S, c.final_state = out.Y, out.S, out.final_state
    c.saves = c.external = room.saved != NULL
    give(s, out.Y, (1.0 if c.last else <double> c.T) * c.B * p.O, e.size, False, True)
    give(s, out.S, (c.T + 1.0) * c.B * p.width, e.size, False, True)
    if out.final_state != c.initial_state:
        give(s, out.final_state, <double> c.B * p.width, e.size, False, True)
    else:
        give_again(s, out.final_state)
    return check_and_run(e, b, c, s, room)


cdef void give_again(Spans *s, const void *at) noexcept nogil:
    """Mark an array of the call, added as read, as written too. Set s.status if another array overlaps it."""
    cdef int i, j
    for i in range(s.n if at != NULL else 0):
        if s.spans[i].begin != <size_t> at:
            continue
        s.spans[i].written = True
        for j in range(s.n):
            if j != i and s.spans[j].begin < s.spans[i].end and s.spans[i].begin < s.spans[j].end:
                s.status = STATUS_OVERLAP


cdef int forward_f32(const void *plan, const void *batch, const float *theta, float *Y, float *S, float *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    """Compute outputs Y (T, B, O), states S (T + 1, B, H) and final states (B, H), float32."""
    return any_forward(plan, batch, sizeof(float), theta, Outputs(Y, S, final_state),
                       Room(saved, saved_size, scratch, scratch_size))


cdef int forward_f64(const void *plan, const void *batch, const double *theta, double *Y, double *S, double *final_state,
                     void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    """Compute outputs Y (T, B, O), states S (T + 1, B, H) and final states (B, H), float64."""
    return any_forward(plan, batch, sizeof(double), theta, Outputs(Y, S, final_state),
                       Room(saved, saved_size, scratch, scratch_size))


cdef int any_backward(const void *plan, const void *batch, Py_ssize_t size, const void *theta, const void *dY, Gradients out,
                      Room room) noexcept nogil:
    """Compute gradients from dY (T, B, O) and from what forward saved. See backward_f32 in _core.pxd."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, <const EmbeddedBatch *> batch, theta, &c, &s)
    if status != STATUS_OK:
        return status
    c.D, c.error.loss, c.error.K, c.error.scale = dY, GIVEN, e.plan.O, 1
    give(&s, dY, (1.0 if c.last else <double> c.T) * c.B * e.plan.O, size, True, False)
    status = take_gradients(e, &c, &s, out.gradient, out.dX, out.dS_0)
    if status != STATUS_OK:
        return status
    c.external = c.has_saved = True
    return check_and_run(e, <const EmbeddedBatch *> batch, &c, &s, room)


cdef int backward_f32(const void *plan, const void *batch, const float *theta, const float *dY, float *gradient, float *dX,
                      float *dS_0, void *saved, Py_ssize_t saved_size, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    """Compute gradient (P,), dX (T, B, I) and dS_0 (B, H) from dY (T, B, O), float32."""
    return any_backward(plan, batch, sizeof(float), theta, dY, Gradients(NULL, NULL, gradient, dX, dS_0),
                        Room(saved, saved_size, scratch, scratch_size))


cdef int backward_f64(const void *plan, const void *batch, const double *theta, const double *dY, double *gradient,
                      double *dX, double *dS_0, void *saved, Py_ssize_t saved_size, void *scratch,
                      Py_ssize_t scratch_size) noexcept nogil:
    """Compute gradient (P,), dX (T, B, I) and dS_0 (B, H) from dY (T, B, O), float64."""
    return any_backward(plan, batch, sizeof(double), theta, dY, Gradients(NULL, NULL, gradient, dX, dS_0),
                        Room(saved, saved_size, scratch, scratch_size))


cdef int any_loss(const void *plan, const void *batch, Py_ssize_t size, const void *theta, Gradients out,
                  Room room) noexcept nogil:
    """Compute the loss, and the gradients if out.gradient is not NULL. See loss_and_gradients_f32 in _core.pxd."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef const EmbeddedBatch *b = <const EmbeddedBatch *> batch
    cdef Call c
    cdef Spans s
    cdef int status = ready_status(e, batch, size)
    if status == STATUS_OK:
        status = prepare(e, b, theta, &c, &s)
    if status == STATUS_OK:
        status = take_targets(e, b, &c, &s)
    if status == STATUS_OK and out.gradient != NULL:
        status = take_gradients(e, &c, &s, out.gradient, out.dX, out.dS_0)
    elif status == STATUS_OK and (out.dX != NULL or out.dS_0 != NULL):
        status = STATUS_NULL
    if status == STATUS_OK:
        give(&s, out.loss, 1, sizeof(double), True, True)
        give(&s, out.penalty, 1, sizeof(double), False, True)
        status = check_and_run(e, b, &c, &s, room)
    if status == STATUS_OK:
        out.loss[0] = c.total * c.error.scale
        if out.penalty != NULL:
            out.penalty[0] = c.penalty
    return status


cdef int loss_and_gradients_f32(const void *plan, const void *batch, const float *theta, double *loss, double *penalty,
                                float *gradient, float *dX, float *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil:
    """Compute the loss, and gradient (P,), dX (T, B, I) and dS_0 (B, H) with penalties, float32."""
    return any_loss(plan, batch, sizeof(float), theta, Gradients(loss, penalty, gradient, dX, dS_0),
                    Room(NULL, 0, scratch, scratch_size))


cdef int loss_and_gradients_f64(const void *plan, const void *batch, const double *theta, double *loss, double *penalty,
                                double *gradient, double *dX, double *dS_0, void *scratch,
                                Py_ssize_t scratch_size) noexcept nogil:
    """Compute the loss, and gradient (P,), dX (T, B, I) and dS_0 (B, H) with penalties, float64."""
    return any_loss(plan, batch, sizeof(double), theta, Gradients(loss, penalty, gradient, dX, dS_0),
                    Room(NULL, 0, scratch, scratch_size))


cdef int one_step(const Embedded *e, Py_ssize_t B, Py_ssize_t size, EmbeddedBatch *b) noexcept nogil:
    """Fill a batch of one step of B sequences; check plan and B. `size` is the bytes of a number (0: as in the plan)."""
    cdef int status = plan_check(e)
    memset(b, 0, sizeof(EmbeddedBatch))
    b.T, b.B = 1, B
    if status == STATUS_OK and size > 0 and e.size != size:
        status = STATUS_TYPE
    return STATUS_SIZE if status == STATUS_OK and not 0 <= B <= INT_MAX else status


cdef int any_step(const void *plan, Py_ssize_t B, Py_ssize_t size, const void *theta, StepInputs given, Outputs out,
                  Room room) noexcept nogil:
    """Compute outputs y (B, O) and next states (B, H) of one step. See step_f32 in _core.pxd."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef EmbeddedBatch b
    cdef Call c
    cdef Spans s
    cdef int status = one_step(e, B, size, &b)
    b.X, b.ids, b.initial_state = given.x, given.ids, given.state
    if status == STATUS_OK:
        status = prepare(e, &b, theta, &c, &s)
    if status != STATUS_OK:
        return status
    c.last = c.sparse = False  # a single step is always the last
    return forward_into(e, &b, &c, &s, out, room)


cdef int step_f32(const void *plan, Py_ssize_t B, const float *theta, const float *x, const Py_ssize_t *ids,
                  const float *state, float *y, float *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    """Compute outputs y (B, O) and next states (B, H) of one step, float32."""
    return any_step(plan, B, sizeof(float), theta, StepInputs(x, ids, state), Outputs(y, NULL, next_state),
                    Room(NULL, 0, scratch, scratch_size))


cdef int step_f64(const void *plan, Py_ssize_t B, const double *theta, const double *x, const Py_ssize_t *ids,
                  const double *state, double *y, double *next_state, void *scratch, Py_ssize_t scratch_size) noexcept nogil:
    """Compute outputs y (B, O) and next states (B, H) of one step, float64."""
    return any_step(plan, B, sizeof(double), theta, StepInputs(x, ids, state), Outputs(y, NULL, next_state),
                    Room(NULL, 0, scratch, scratch_size))


# ---- Updates


cdef int any_clip(Py_ssize_t n, Py_ssize_t size, void *gradient, double max_norm, double *norm) noexcept nogil:
    """Scale gradient (n,) in place to the Euclidean norm max_norm if its norm is larger. Write the norm before to `norm`."""
    cdef Spans s
    cdef double found
    memset(&s, 0, sizeof(Spans))
    if n < 0:
        return STATUS_SIZE
    if <double> n * size > 2.0**62:
        return STATUS_TOO_LARGE
    if not max_norm > 0:
        return STATUS_NUMBER
    give(&s, gradient, n, size, True, True)
    give(&s, norm, 1, sizeof(double), False, True)
    if s.status != STATUS_OK:
        return s.status
    if size == sizeof(float):
        found = clip(n, <float *> gradient, max_norm)
    else:
        found = clip(n, <double *> gradient, max_norm)
    if norm != NULL:
        norm[0] = found
    return STATUS_OK


cdef int clip_norm_f32(Py_ssize_t n, float *gradient, double max_norm, double *norm) noexcept nogil:
    """Clip gradient (n,) by its norm, in place, float32."""
    return any_clip(n, sizeof(float), gradient, max_norm, norm)


cdef int clip_norm_f64(Py_ssize_t n, double *gradient, double max_norm, double *norm) noexcept nogil:
    """Clip gradient (n,) by its norm, in place, float64."""
    return any_clip(n, sizeof(double), gradient, max_norm, norm)


cdef int any_update(const void *plan, Py_ssize_t size, const UpdateOptions *what, Updated of) noexcept nogil:
    """Check the arrays of an update, and update theta and the slots in place."""
    cdef const Embedded *e = <const Embedded *> plan
    cdef Spans s
    cdef unsigned long long mode
    cdef int status = plan_status(plan)
    memset(&s, 0, sizeof(Spans))
    if status == STATUS_OK and e.size != size:
        status = STATUS_TYPE
    if status == STATUS_OK and not (0 < what.learning_rate and isfinite(what.learning_rate)):
        status = STATUS_NUMBER
    if status != STATUS_OK:
        return status
    give(&s, of.gradient, e.plan.P, size, True, False)
    give(&s, of.theta, e.plan.P, size, True, True)
    give(&s, of.slot_1, e.plan.P, size, True, True)
    give(&s, of.slot_2, e.plan.P, size, rule_rows[what.rule].slots == 2, True)
    if s.status != STATUS_OK:
        return s.status
    mode = flush_denormals()
    if size == sizeof(float):
        update_verb(e.updating, what, e.plan.P, <const float *> of.gradient, <float *> of.theta, <float *> of.slot_1,
                    <float *> of.slot_2)
    else:
        update_verb(e.updating, what, e.plan.P, <const double *> of.gradient, <double *> of.theta, <double *> of.slot_1,
                    <double *> of.slot_2)
    restore(mode)
    return STATUS_OK


cdef int any_sgd(const void *plan, Py_ssize_t size, Updated of, double learning_rate, double momentum,
                 int nesterov) noexcept nogil:
    """Check the numbers of stochastic gradient descent, and update theta (P,) and v (P,), the first slot, in place."""
    cdef UpdateOptions what
    memset(&what, 0, sizeof(UpdateOptions))
    what.rule, what.learning_rate, what.momentum, what.nesterov = SGD, learning_rate, momentum, nesterov
    if nesterov != 0 and nesterov != 1:
        return STATUS_OPTION
    if not 0 <= momentum < 1:
        return STATUS_NUMBER
    if nesterov and momentum == 0:
        return STATUS_COMBINATION
    return any_update(plan, size, &what, of)


cdef int sgd_f32(const void *plan, const float *gradient, float *theta, float *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil:
    """Update theta (P,) and v (P,) by stochastic gradient descent, float32."""
    return any_sgd(plan, sizeof(float), Updated(gradient, theta, v, NULL), learning_rate, momentum, nesterov)


cdef int sgd_f64(const void *plan, const double *gradient, double *theta, double *v, double learning_rate, double momentum,
                 int nesterov) noexcept nogil:
    """Update theta (P,) and v (P,) by stochastic gradient descent, float64."""
    return any_sgd(plan, sizeof(double), Updated(gradient, theta, v, NULL), learning_rate, momentum, nesterov)


cdef UpdateOptions adam_options(double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    """Return the options of Adam, without its bias corrections."""
    cdef UpdateOptions what
    memset(&what, 0, sizeof(UpdateOptions))
    what.rule, what.learning_rate, what.beta_1, what.beta_2, what.epsilon = ADAM, learning_rate, beta_1, beta_2, epsilon
    return what


cdef int any_adam(const void *plan, Py_ssize_t size, Updated of, Py_ssize_t n, UpdateOptions what) noexcept nogil:
    """Check the numbers of Adam's n-th update, and update theta (P,), m (P,) and v (P,), the two slots, in place."""
    if not (n >= 1 and 0 <= what.beta_1 < 1 and 0 <= what.beta_2 < 1 and 0 <= what.epsilon and isfinite(what.epsilon)):
        return STATUS_NUMBER
    count_in(&what, n)
    return any_update(plan, size, &what, of)


cdef int adam_f32(const void *plan, const float *gradient, float *theta, float *m, float *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    """Update theta (P,), m (P,) and v (P,) by Adam, float32."""
    return any_adam(plan, sizeof(float), Updated(gradient, theta, m, v), count,
                    adam_options(learning_rate, beta_1, beta_2, epsilon))


cdef int adam_f64(const void *plan, const double *gradient, double *theta, double *m, double *v, Py_ssize_t count,
                  double learning_rate, double beta_1, double beta_2, double epsilon) noexcept nogil:
    """Update theta (P,), m (P,) and v (P,) by Adam, float64."""
    return any_adam(plan, sizeof(double), Updated(gradient, theta, m, v), count,
                    adam_options(learning_rate, beta_1, beta_2, epsilon))
