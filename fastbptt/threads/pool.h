/* A pool of helper threads, which share the work of a call with the thread that makes the call.
 *
 * Design
 * ------
 * (a) A job is a number of independent shares. The calling thread lists its job, then claims shares itself, one after
 *     another, until none is left. Helpers join a listed job and claim shares in the same way.
 * (b) A helper's first claim and its joining are one step under the pool's lock, and it claims its next share before it
 *     reports the last one as finished. The caller therefore waits for shares that a helper has claimed, and never for a
 *     helper that has not arrived: on a busy machine that may take a scheduler's time slice (4 ms).
 * (c) The results of a call do not depend on who computes a share (law 7 of the design: shards depend on shapes alone).
 *     So the pool is free to use no helper at all, and does so if a helper cannot be created or does not pay.
 * (d) An idle helper watches for jobs for FASTBPTT_WATCH_NS, then sleeps. A sleeping helper is woken only by a job that is
 *     long enough to pay for it, or by short jobs that follow one another so closely that the helper would still be
 *     watching. Waking costs both threads a system call, and the helper arrives late.
 * (e) A caller that has to wait watches for the same time, then sleeps. Its core is then free for the helper that it waits
 *     for, if another process occupies that helper's core.
 * (f) Where helpers cost more than they bring, because other threads keep the cores busy, they are left out for a while. The
 *     pool compares the time of shared jobs with the processor time that their callers alone would have taken, judged by the
 *     callers' own shares. If the sum over the last jobs is larger, no job is shared for 10 ms, and for twice as long each time
 *     that this happens again, up to 640 ms. With the second of two cores occupied, calls of 0.4 ms took 1.14 to 1.19 times as
 *     long with two threads as with one without this rule, and 0.88 to 1.10 times with it (2026-11).
 *
 * The pool allocates no memory. Jobs lie on the stacks of their callers. Any number of threads may call at once.
 */
#ifndef FASTBPTT_POOL_H
#define FASTBPTT_POOL_H

#include <stddef.h>

#define FASTBPTT_WATCH_NS 50e3 /* how long an idle thread watches before it sleeps */
#define FASTBPTT_WAKE_NS 400e3 /* work of one thread that pays for waking a helper */

/* Compute one share. Worker 0 is the calling thread, helpers have the numbers 1 ... workers - 1 of this job. */
typedef void (*fastbptt_share)(void *context, ptrdiff_t share, int worker);

/* Called about every 20 ms by a caller that waits for helpers, without a lock; may be NULL. */
typedef void (*fastbptt_poll)(void *context);

/* Compute shares 0 ... shares - 1 by at most `workers` threads, the calling one included; return when all are finished.
 *
 * work_ns is the time that the job takes one thread, in nanoseconds, by an estimate. A factor of two does not matter. */
void fastbptt_run_shares(fastbptt_share work, fastbptt_poll poll, void *context, ptrdiff_t shares, int workers,
                         double work_ns);

/* Number of helper threads that this process has. */
int fastbptt_count_helpers(void);

/* Prepare the pool; called once, when the module is imported. A child of fork starts with an empty pool. */
void fastbptt_prepare_pool(void);

/* Set the two times above; for benchmarks and tests, while no other thread makes a call. With wake_ns = 0 every job is shared,
 * also where that costs time. */
void fastbptt_set_times(double watch_ns, double wake_ns);

/* Tests only: let the next `n` attempts to create a helper fail. */
void fastbptt_fail_helpers(long n);

#endif
