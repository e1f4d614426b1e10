/* A pool of helper threads, which share the work of a call with the calling thread.
 *
 * Design
 * ------
 * (a) A job is a number of independent shares. The calling thread claims the first share, lists the job, then claims more
 *     shares, one after another, until none is left. Helpers join a listed job and claim shares in the same way. The caller
 *     claims before it wakes helpers, because a helper may wake up on the caller's core and displace it.
 * (b) A helper joins a job and claims its first share in one step under the pool's lock. It claims its next share before it
 *     reports the last one as finished. The caller therefore waits only for shares that a helper has claimed. It never waits
 *     for a helper that has not arrived: on a busy machine that may take a scheduler's time slice (4 ms).
 * (c) The results of a call do not depend on which thread computes a share, because shards depend only on shapes (law 7 of
 *     the design). The pool may therefore use no helper at all. It uses none if a helper cannot be created or does not pay.
 * (d) An idle helper watches for jobs for FASTBPTT_WATCH_NS, then sleeps. Two things wake a sleeping helper: a job that is long
 *     enough to pay for it, and short jobs that follow one another so closely that the helper would still be watching.
 *     Waking costs both threads a system call, and the helper arrives late.
 * (e) A caller that has to wait watches for the same time, then sleeps. If another process occupies the core of the helper
 *     that it waits for, the caller's core is then free for that helper.
 * (f) The pool uses no helpers for a while if they bring little, because other threads keep the cores busy. It keeps a balance
 *     of the time that sharing saved: 0.9 times the processor time that the caller alone would have taken, less the time that
 *     the job took. It estimates the former from the caller's own shares. A debt of 4 ms, which is a time slice of the
 *     scheduler, begins a pause. The pause lasts until jobs have taken 10 ms, each time twice as long, up to 640 ms. A credit of
 *     10 ms makes the next pause short again. A pause is measured in the time of jobs: beside calls of other libraries, a pause
 *     in wall time would hold few jobs.
 * (g) A helper that wakes up does not displace the thread that runs on its core (Linux: SCHED_BATCH). If all cores are occupied,
 *     the scheduler often wakes it on the caller's core. It then computed all shares there while the caller waited: half of the
 *     calls of 0.4 ms beside a busy process, at 1.1 times the time of one thread, and 98 % of the calls between those of PyTorch.
 *     For the same reason the caller makes no system call between waking helpers and the end of its shares: reading the clock of
 *     the processor time let the helper in (Linux 6.18).
 *
 * Mean time of calls of 0.4 ms with two threads, divided by one thread's (2026-12, bench/busy.py):
 *     with the second of two cores occupied, 1.06 to 1.19 without (g) and with pauses in wall time, 0.98 with both;
 *     between calls of PyTorch 1.03 to 1.19 without (g), 0.97 to 1.03 with it (four runs).
 *
 * The pool allocates no memory. Jobs lie on the stacks of their callers. Any number of threads may call at once.
 * A rule about when and how helpers work belongs here and in pool.c. What a share computes belongs to the callers.
 */
#ifndef FASTBPTT_POOL_H
#define FASTBPTT_POOL_H

#include <stddef.h>

#define FASTBPTT_WATCH_NS 50e3 /* how long an idle thread watches before it sleeps */
#define FASTBPTT_WAKE_NS 400e3 /* work of one thread that pays for waking a helper */

/* Type of the function that computes one share. Worker 0 is the calling thread; the helpers of this job have the numbers
 * 1 ... workers - 1. */
typedef void (*fastbptt_share)(void *context, ptrdiff_t share, int worker);

/* Type of a function that the calling thread calls about every 20 ms while it waits for helpers. The calling thread holds no
 * lock then. It may be NULL. */
typedef void (*fastbptt_poll)(void *context);

/* Compute shares 0 ... shares - 1 by at most `workers` threads, including the calling one. Return when all are finished.
 *
 * work_ns estimates the time that one thread takes for the job, in nanoseconds. A factor of two does not matter. */
void fastbptt_run_shares(fastbptt_share work, fastbptt_poll poll, void *context, ptrdiff_t shares, int workers,
                         double work_ns);

/* Return the number of helper threads of this process. */
int fastbptt_count_helpers(void);

/* Prepare the pool. The module calls it once, when it is imported. A child of fork starts with an empty pool. */
void fastbptt_prepare_pool(void);

/* Set the two times above, for benchmarks and tests. No other thread may make a call meanwhile. With wake_ns = 0 every job is
 * shared, even if that costs time. */
void fastbptt_set_times(double watch_ns, double wake_ns);

/* Tests only: let the next `n` attempts to create a helper fail. */
void fastbptt_fail_helpers(long n);

#endif
