/* The pool of helper threads; pool.h has its design. It uses POSIX threads, or those of Windows, and nothing of Python. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* declares clock_gettime and pthread_atfork under -std=c11 */
#endif

#include "pool.h"

#include "atomic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#include <immintrin.h>
#define relax() _mm_pause()
#elif defined(__aarch64__) && !defined(_MSC_VER)
#define relax() __asm__ volatile("yield")
#else
#define relax() ((void)0)
#endif

/* ---- The platform: lock, condition, thread, clock ----
 *
 * Both branches define the same functions. sleep_on releases the lock, sleeps until another thread wakes it, and takes the lock
 * again; sleep_20_ms does so for at most 20 ms. clock_ns reads a clock that never goes back. create_helper starts a thread that
 * runs serve_jobs(), and returns 0 if it cannot. */

#if defined(_WIN32)

#include <windows.h>

typedef SRWLOCK lock_type;
typedef CONDITION_VARIABLE condition_type;

static void init_lock(lock_type *lock) { InitializeSRWLock(lock); }
static void init_condition(condition_type *condition) { InitializeConditionVariable(condition); }
static void acquire(lock_type *lock) { AcquireSRWLockExclusive(lock); }
static void release(lock_type *lock) { ReleaseSRWLockExclusive(lock); }
static void wake_one(condition_type *condition) { WakeConditionVariable(condition); }
static void wake_all(condition_type *condition) { WakeAllConditionVariable(condition); }
static void sleep_on(condition_type *condition, lock_type *lock) { SleepConditionVariableSRW(condition, lock, INFINITE, 0); }
static void sleep_20_ms(condition_type *condition, lock_type *lock) { SleepConditionVariableSRW(condition, lock, 20, 0); }

/* Return the time of a clock that never goes back, in nanoseconds. */
static double clock_ns(void)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return 1e9 * (double)now.QuadPart / (double)frequency.QuadPart;
}

/* Return the processor time of this thread. Windows counts it in steps of 15 ms only, so the wall clock replaces it. */
static double thread_ns(void) { return clock_ns(); }

static void serve_jobs(void);

/* Run a helper thread, for CreateThread. */
static DWORD WINAPI run_helper(LPVOID nothing)
{
    (void)nothing;
    serve_jobs();
    return 0;
}

/* Start a helper thread. Return whether that succeeded. */
static int create_helper(void)
{
    HANDLE thread = CreateThread(NULL, 0, run_helper, NULL, 0, NULL);
    if (thread == NULL)
        return 0;
    CloseHandle(thread);
    return 1;
}

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

typedef pthread_mutex_t lock_type;
typedef pthread_cond_t condition_type;

static void init_lock(lock_type *lock) { pthread_mutex_init(lock, NULL); }
static void init_condition(condition_type *condition) { pthread_cond_init(condition, NULL); }
static void release(lock_type *lock) { pthread_mutex_unlock(lock); }
static void wake_one(condition_type *condition) { pthread_cond_signal(condition); }
static void wake_all(condition_type *condition) { pthread_cond_broadcast(condition); }
static void sleep_on(condition_type *condition, lock_type *lock) { pthread_cond_wait(condition, lock); }

/* Release the lock, sleep until another thread wakes this one or for 20 ms, and take the lock again. */
static void sleep_20_ms(condition_type *condition, lock_type *lock)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until); /* the default clock of conditions; macOS has no other */
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec += 1;
    }
    pthread_cond_timedwait(condition, lock, &until);
}

/* Return the time of a clock in nanoseconds. */
static double read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static double clock_ns(void) { return read_clock(CLOCK_MONOTONIC); }
static double thread_ns(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); } /* processor time of this thread only */

/* Take the lock. Threads hold it for about 50 ns, so a thread that tries again a few times rarely has to sleep. */
static void acquire(lock_type *lock)
{
    int k;
    for (k = 0; k < 50; k++) {
        if (pthread_mutex_trylock(lock) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(lock);
}

static void serve_jobs(void);

/* Let this thread wait until the core that it wakes up on is free: rule (g) of pool.h. Only Linux can do this. */
static void be_patient(void)
{
#if defined(SCHED_BATCH)
    const struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER) /* a real-time program keeps its policy */
        sched_setscheduler(0, SCHED_BATCH, &none); /* for this thread; without success it stays impatient */
#endif
}

/* Run a helper thread, for pthread_create. */
static void *run_helper(void *nothing)
{
    (void)nothing;
    be_patient();
    serve_jobs();
    return NULL;
}

/* Start a helper thread. Return whether that succeeded. */
static int create_helper(void)
{
    pthread_t thread;
    sigset_t all, before;
    int status;
    sigfillset(&all); /* helpers block all signals: the program's own threads handle them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = pthread_create(&thread, NULL, run_helper, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0)
        return 0;
    pthread_detach(thread);
    return 1;
}

#endif

/* ---- The pool ---- */

static double watch_ns = FASTBPTT_WATCH_NS, wake_ns = FASTBPTT_WAKE_NS;
static int pauses = 1; /* whether the pool pauses by rule (f) of pool.h; 0 in tests */

enum {
    CLOSE_JOBS = 8,     /* number of short jobs in close succession after which helpers are woken */
    MOST_HELPERS = 4096 /* bound on the threads that a caller can ask for */
};
#define RETRY_NS 1e9 /* time between a failure to create a helper and the next attempt */

/* Numbers of rule (f) of pool.h. Times are those of jobs, except in WALL_FACTOR. */
#define GOOD_RATIO 0.9       /* sharing pays if a job takes less than this part of the time that its caller alone would take */
#define MOST_CREDIT_NS 10e6  /* bound on the balance; the next pause is short again when it is reached */
#define MOST_DEBT_NS 4e6     /* debt at which a pause begins: a time slice of the scheduler */
#define SHORT_PAUSE_NS 10e6
#define LONG_PAUSE_NS 640e6
#define WALL_FACTOR 16       /* a pause ends after this multiple of its length, even if there were few jobs */
#define LONGEST_JUDGED_NS 1e9 /* longer jobs are not judged: a time slice does not matter to them, and shares may be unequal */

/* A job: the shares that one call of fastbptt_run_shares computes. */
struct job {
    fastbptt_share work;
    fastbptt_poll poll;
    void *context;
    ptrdiff_t shares;
    int workers;
    int joined;          /* under the lock: number of helpers that have joined */
    ptrdiff_t next;      /* atomic: the next share to claim */
    ptrdiff_t finished;  /* atomic: number of finished shares; the job is over when all are */
    struct job *after;   /* under the lock: the next job of the list */
    long forks;          /* pool.forks when the job began */
};

static struct {
    lock_type lock;
    condition_type listed;   /* helpers sleep on it */
    condition_type finished; /* callers sleep on it */
    struct job *first;       /* first job of the list; under the lock, like all members that are not atomic */
    long helpers;            /* helpers of this process */
    long sleeping;           /* helpers that sleep and that nobody has woken yet */
    double retry;            /* time from which on a helper may be created again */
    double balance;          /* what shared jobs saved, in ns; negative if they cost time */
    double pause;            /* length of the next pause */
    long paused;             /* atomic: whether there is a pause, in which no job is shared */
    long pause_us;           /* atomic: time of jobs that the pause still lasts */
    long paused_until_us;    /* atomic, modulo 2^30: the time at which the pause ends in any case */
    long lists;              /* atomic: number of jobs listed so far */
    long watching;           /* atomic: helpers that watch for a job */
    long waiting;            /* atomic: callers that sleep */
    long close;              /* atomic: number of jobs in close succession */
    long ended_us;           /* atomic: time at which the last job ended, modulo 2^30 us */
    long failures;           /* atomic: number of attempts to create a helper that shall fail, for tests */
    long forks;              /* number of forks between the first process and this one */
} pool;

/* Return a time in ns as microseconds, modulo 2^30, so that it fits into a long of 32 bits. */
static long in_us(double ns)
{
    return (long)((long long)(ns / 1000) & 0x3fffffff);
}

/* Compute `share` of a job as thread number `worker`, then claim and compute more shares until none is left.
 * Return the number of shares computed. */
static ptrdiff_t work_on(struct job *job, ptrdiff_t share, int worker)
{
    ptrdiff_t next, count = 0;
    do {
        job->work(job->context, share, worker);
        count++;
        next = fastbptt_claim(&job->next);
        share = next < job->shares ? next : -1;
        /* A helper that found no more shares uses the job for the last time here: the caller may return now. */
    } while (fastbptt_report(&job->finished), share >= 0);
    return count;
}

/* Join a listed job that has shares left, and claim a share. Return the job, or NULL without one. The caller holds the lock.
 *
 * `share` receives the claimed share, and `worker` the number of this helper in the job. */
static struct job *join_job(ptrdiff_t *share, int *worker)
{
    struct job *job;
    for (job = pool.first; job != NULL; job = job->after) {
        if (job->joined + 1 >= job->workers)
            continue;
        *share = fastbptt_claim(&job->next);
        if (*share < job->shares) {
            *worker = ++job->joined;
            return job;
        }
    }
    return NULL;
}

/* Wait actively until a job is listed, for at most watch_ns. Return whether one was. `seen` is pool.lists at the last look. */
static int watch_for_job(long seen)
{
    const double begin = clock_ns();
    int found, k;
    fastbptt_add(&pool.watching, 1);
    do {
        for (k = 0, found = 0; k < 16 && !found; k++) {
            relax();
            found = fastbptt_read(&pool.lists) != seen;
        }
    } while (!found && clock_ns() - begin < watch_ns);
    fastbptt_add(&pool.watching, -1);
    return found;
}

/* Join jobs, watch and sleep, for ever: the function that each helper thread runs. */
static void serve_jobs(void)
{
    struct job *job;
    ptrdiff_t share;
    int worker, tired = 0;
    long seen;
    for (;;) {
        seen = fastbptt_read(&pool.lists);
        acquire(&pool.lock);
        job = join_job(&share, &worker);
        if (job == NULL && tired) {
            pool.sleeping++;
            sleep_on(&pool.listed, &pool.lock); /* the thread that wakes it has reduced `sleeping` */
        }
        release(&pool.lock);
        if (job != NULL) {
            work_on(job, share, worker);
            if (fastbptt_read(&pool.waiting) > 0) { /* do not read `job`: it may be gone */
                acquire(&pool.lock);
                wake_all(&pool.finished);
                release(&pool.lock);
            }
        }
        tired = job == NULL && !tired && !watch_for_job(seen);
    }
}

/* Add a job to the list, and wake or create helpers until `wanted` helpers watch for it. `now` is the time in ns.
 *
 * If a helper cannot be created, no attempt is made for RETRY_NS. */
static void list_job(struct job *job, long wanted, double now)
{
    struct job **end;
    long missing, woken = 0;
    acquire(&pool.lock);
    for (end = &pool.first; *end != NULL; end = &(*end)->after)
        ;
    *end = job;
    wanted -= fastbptt_read(&pool.watching);
    if (wanted > 0) {
        woken = wanted < pool.sleeping ? wanted : pool.sleeping;
        pool.sleeping -= woken;
    }
    missing = job->workers - 1 - pool.helpers;
    if (missing > wanted - woken)
        missing = wanted - woken;
    if (missing < 0 || now < pool.retry)
        missing = 0;
    pool.helpers += missing;
    release(&pool.lock);
    fastbptt_add(&pool.lists, 1); /* after the release, because watching helpers take the lock at once */
    for (; woken > 0; woken--)
        wake_one(&pool.listed);
    for (; missing > 0; missing--)
        if (fastbptt_add(&pool.failures, -1) >= 0 || !create_helper()) {
            acquire(&pool.lock);
            pool.helpers -= missing;
            pool.retry = now + RETRY_NS;
            release(&pool.lock);
            break;
        }
}

/* Remove a job from the list, so that no more helpers join it. */
static void take_from_list(struct job *job)
{
    struct job **at;
    acquire(&pool.lock);
    for (at = &pool.first; *at != NULL && *at != job; at = &(*at)->after)
        ;
    if (*at != NULL) /* a child of fork has an empty list */
        *at = job->after;
    release(&pool.lock);
}

/* Wait until all shares of the job are finished: helpers have claimed those that are not. Call the job's poll meanwhile. */
static void wait_for_helpers(struct job *job)
{
    const double begin = clock_ns();
    int k;
    do {
        for (k = 0; k < 16; k++) {
            if (fastbptt_read_size(&job->finished) == job->shares)
                return;
            relax();
        }
    } while (clock_ns() - begin < watch_ns);
    acquire(&pool.lock);
    fastbptt_add(&pool.waiting, 1);
    while (fastbptt_read_size(&job->finished) < job->shares) {
        if (job->forks != pool.forks) { /* the parent's helpers work on this job: nobody will finish it here */
            fputs("fastbptt: a child of fork, made by a signal handler during a call, cannot finish that call\n", stderr);
            abort();
        }
        if (job->poll == NULL) {
            sleep_on(&pool.finished, &pool.lock);
        } else {
            sleep_20_ms(&pool.finished, &pool.lock);
            release(&pool.lock);
            job->poll(job->context);
            acquire(&pool.lock);
        }
    }
    fastbptt_add(&pool.waiting, -1);
    release(&pool.lock);
}

/* Add to the balance what a shared job saved: it took `taken` ns, and its caller alone would have taken `alone` ns.
 * Begin a pause if the balance shows that sharing costs time (rule (f) of pool.h). `now` is the time in ns. */
static void record_job_time(double taken, double alone, double now)
{
    acquire(&pool.lock);
    pool.balance += GOOD_RATIO * alone - taken;
    if (pool.balance > MOST_CREDIT_NS) {
        pool.balance = MOST_CREDIT_NS;
        pool.pause = SHORT_PAUSE_NS;
    } else if (pool.balance < -MOST_DEBT_NS) {
        pool.balance = 0;
        fastbptt_write(&pool.paused_until_us, in_us(now + WALL_FACTOR * pool.pause));
        fastbptt_write(&pool.pause_us, (long)(pool.pause / 1000));
        fastbptt_write(&pool.paused, 1);
        pool.pause = 2 * pool.pause < LONG_PAUSE_NS ? 2 * pool.pause : LONG_PAUSE_NS;
    }
    release(&pool.lock);
}

/* Return whether the pool is in a pause at the time `now`, in which no job is shared. End a pause that is over. */
static int is_paused(double now)
{
    const long longest = (long)(WALL_FACTOR * LONG_PAUSE_NS / 1000);
    if (!fastbptt_read(&pool.paused))
        return 0;
    /* If the end is farther away than the longest pause, it lies in the past, because times are modulo 2^30. */
    if (fastbptt_read(&pool.pause_us) > 0 && ((fastbptt_read(&pool.paused_until_us) - in_us(now)) & 0x3fffffff) <= longest)
        return 1;
    fastbptt_write(&pool.paused, 0);
    return 0;
}

/* Compute all shares in the calling thread, without the pool. */
static void run_alone(fastbptt_share work, void *context, ptrdiff_t shares)
{
    ptrdiff_t share;
    for (share = 0; share < shares; share++)
        work(context, share, 0);
}

/* Decide by the job's size and the pool's state whether to share the job, and compute all shares. See pool.h. */
void fastbptt_run_shares(fastbptt_share work, fastbptt_poll poll, void *context, ptrdiff_t shares, int workers,
                         double work_ns)
{
    struct job job;
    double now, own_time, end;
    long gap, wanted;
    ptrdiff_t own;
    if (workers > MOST_HELPERS)
        workers = MOST_HELPERS;
    if (workers > shares)
        workers = (int)shares;
    if (workers <= 1) {
        run_alone(work, context, shares);
        return;
    }
    now = clock_ns();
    gap = (in_us(now) - fastbptt_read(&pool.ended_us)) & 0x3fffffff;
    if (1e3 * (double)gap > watch_ns)
        fastbptt_write(&pool.close, 0);
    else if (fastbptt_read(&pool.close) < CLOSE_JOBS)
        fastbptt_add(&pool.close, 1);
    wanted = work_ns >= wake_ns || fastbptt_read(&pool.close) >= CLOSE_JOBS ? workers - 1 : 0;
    if (wanted == 0 && fastbptt_read(&pool.watching) == 0) {
        run_alone(work, context, shares);
        end = clock_ns();
    } else if (pauses && is_paused(now)) {
        run_alone(work, context, shares);
        end = clock_ns();
        fastbptt_add(&pool.pause_us, -1 - in_us(end - now));
    } else {
        memset(&job, 0, sizeof job);
        job.work = work;
        job.poll = poll;
        job.context = context;
        job.shares = shares;
        job.workers = workers;
        job.forks = pool.forks;
        job.next = 1; /* the caller has claimed share 0 */
        own_time = thread_ns(); /* no system call between here and the end of the job: a helper may wait for this core */
        list_job(&job, wanted, now);
        own = work_on(&job, 0, 0);
        take_from_list(&job);
        own_time = job.joined > 0 ? thread_ns() - own_time : clock_ns() - now;
        if (fastbptt_read_size(&job.finished) < shares)
            wait_for_helpers(&job);
        end = clock_ns();
        if (pauses && end - now < LONGEST_JUDGED_NS)
            record_job_time(end - now, own_time * (double)shares / (double)own, end);
    }
    fastbptt_write(&pool.ended_us, in_us(end));
}

/* See pool.h. */
int fastbptt_count_helpers(void)
{
    int helpers;
    acquire(&pool.lock);
    helpers = (int)pool.helpers;
    release(&pool.lock);
    return helpers;
}

/* Set the two times in ns. wake = 0 also turns the pauses of rule (f) off. See pool.h. */
void fastbptt_set_times(double watch, double wake)
{
    watch_ns = watch;
    wake_ns = wake;
    pauses = wake > 0;
}

/* For tests: let the next n attempts to create a helper fail. */
void fastbptt_fail_helpers(long n)
{
    fastbptt_write(&pool.failures, n);
}

/* Set the pool to its first state, without helpers and jobs. */
static void empty_pool(void)
{
    const long forks = pool.forks + 1;
    memset(&pool, 0, sizeof pool);
    pool.forks = forks;
    pool.pause = SHORT_PAUSE_NS;
    init_lock(&pool.lock);
    init_condition(&pool.listed);
    init_condition(&pool.finished);
}

/* Empty the pool now and in every child of fork. The module calls it once, when it is imported. */
void fastbptt_prepare_pool(void)
{
    empty_pool();
#if !defined(_WIN32)
    pthread_atfork(NULL, NULL, empty_pool); /* a child of fork has no helpers, and no thread that would release the lock */
#endif
}
