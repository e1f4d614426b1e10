# The C interface: the cell of a plan, its leaks and its rank, as embed_plan.pxi has the other options.
#
# A plan has one leak, a leak for each unit, or trained ones; each setter replaces what another one has set. A new option of the
# recurrence belongs here.

cdef int plan_set_cell(void *plan, int cell) noexcept nogil:
    """Set the cell, CELL_.... The layout of theta changes."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not (0 <= cell < CELL_COUNT and (cell <= CELL_CURRENT or cell_rows[cell].gates > 1)):
        status = STATUS_OPTION
    if status == STATUS_OK and <double> cell_rows[cell].gates * e.plan.H * (e.plan.I + e.plan.H) > 2.0**48:
        status = STATUS_TOO_LARGE
    if status == STATUS_OK:
        e.plan.units.form = cell
        settle(e)
    return status


cdef inline bint is_leaky(int form) noexcept nogil:
    """Return whether a row of the table of cells is one of leaky units."""
    return cell_rows[form].gates == 1 and cell_rows[form].direct


cdef inline bint is_leak(double leak) noexcept nogil:
    """Return whether a number is in (0, 1]."""
    return 0 < leak <= 1


cdef int plan_set_leak(void *plan, double leak) noexcept nogil:
    """Set one leak for all units of a leaky cell, above 0 and at most 1."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not is_leak(leak):
        status = STATUS_NUMBER
    if status == STATUS_OK:
        e.plan.units.leak, e.plan.leaks, e.plan.trains_leak = leak, NULL, False
        settle(e)
    return status


cdef int plan_set_leaks(void *plan, const double *leaks, Py_ssize_t n) noexcept nogil:
    """Set the leak of each unit. The plan keeps the pointer leaks (n,); n must be H."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = plan_status(plan)
    cdef Py_ssize_t h
    if status == STATUS_OK and leaks == NULL:
        status = STATUS_NULL
    if status == STATUS_OK and <size_t> leaks % sizeof(double):
        status = STATUS_MISALIGNED
    if status == STATUS_OK and n != e.plan.H:
        status = STATUS_SIZE
    for h in range(n if status == STATUS_OK else 0):
        if not is_leak(leaks[h]):
            status = STATUS_NUMBER
    if status == STATUS_OK:
        e.plan.units.leak, e.plan.leaks, e.plan.trains_leak = 1, leaks, False
        settle(e)
    return status


cdef int plan_set_trained_leak(void *plan, int trained) noexcept nogil:
    """Set whether leak_logit (H,) is a parameter. The layout of theta changes. It replaces the leaks that were set."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = flag_status(plan, trained)
    if status == STATUS_OK:
        e.plan.units.leak, e.plan.leaks, e.plan.trains_leak = 1, NULL, trained
        settle(e)
    return status


cdef int plan_set_rank(void *plan, Py_ssize_t rank) noexcept nogil:
    """Set the rank R of W_s = M N.T, or 0 for a full W_s. The layout of theta changes."""
    cdef Embedded *e = <Embedded *> plan
    cdef int status = plan_status(plan)
    if status == STATUS_OK and not 0 <= rank <= e.plan.H:
        status = STATUS_SIZE
    if status == STATUS_OK:
        e.plan.rank = rank
        settle(e)
    return status
