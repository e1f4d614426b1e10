/* The pool of helper threads without Python: what pool.h promises, each promise one function.
 *
 *     cc -O2 -pthread -Ifastbptt/threads tests/threads/pool.c fastbptt/threads/pool.c -o pool && ./pool
 *
 * A broken promise prints a line and exits with 1, or the program never ends: whoever runs it sets a limit.
 */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "atomic.h"
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_SHARES 300
#define MOST_WORKERS 9

static void require(int holds, const char *what)
{
    if (!holds) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* ---- Each share once, by workers of which no two have the same number at one time */

struct counted {
    long done[MOST_SHARES];
    long busy[MOST_WORKERS]; /* of each worker number: shares being computed */
    long bad;
    long work; /* loops of a share */
    int workers;
};

static void count_share(void *context, ptrdiff_t share, int worker)
{
    struct counted *counted = context;
    volatile long loops;
    if (share == 0 && worker != 0) /* the caller claims share 0 before it wakes a helper */
        fastbptt_add(&counted->bad, 1);
    if (worker < 0 || worker >= counted->workers || fastbptt_add(&counted->busy[worker], 1) != 1)
        fastbptt_add(&counted->bad, 1);
    fastbptt_add(&counted->done[share], 1);
    for (loops = 0; loops < counted->work; loops++)
        ;
    fastbptt_add(&counted->busy[worker], -1);
}

static void run_counted(ptrdiff_t shares, int workers, long work, double work_ns)
{
    static const struct counted zero;
    struct counted counted = zero;
    ptrdiff_t share;
    counted.workers = workers;
    counted.work = work;
    fastbptt_run_shares(count_share, NULL, &counted, shares, workers, work_ns);
    require(counted.bad == 0, "two threads had one worker number, a number was out of range, or a helper had share 0");
    for (share = 0; share < MOST_SHARES; share++)
        require(counted.done[share] == (share < shares), "a share was not computed exactly once");
}

static void *many_jobs(void *seed)
{
    unsigned state = (unsigned)(size_t)seed;
    int k;
    for (k = 0; k < 400; k++) {
        state = state * 1664525u + 1013904223u;
        run_counted((state >> 8) % MOST_SHARES, 1 + (state >> 16) % MOST_WORKERS, (state >> 20) % 2000,
                    (state >> 4) % 2 ? 1e9 : 0);
        if (k % 50 == 0)
            sleep_ms(1); /* helpers fall asleep */
    }
    return NULL;
}

static void each_share_once(void)
{
    pthread_t threads[8];
    size_t k;
    run_counted(0, 3, 0, 1e9);
    run_counted(1, 3, 0, 1e9);
    many_jobs((void *)1);
    for (k = 0; k < 8; k++)
        require(pthread_create(&threads[k], NULL, many_jobs, (void *)(k + 2)) == 0, "no thread for the test");
    for (k = 0; k < 8; k++)
        pthread_join(threads[k], NULL);
}

/* ---- No more threads work on a job than it allows, however many helpers are idle */

struct narrow {
    long inside, most;
};

static void watch_width(void *context, ptrdiff_t share, int worker)
{
    struct narrow *narrow = context;
    long inside = fastbptt_add(&narrow->inside, 1);
    (void)share;
    if (inside > 2 || worker > 1)
        fastbptt_write(&narrow->most, inside);
    sleep_ms(1);
    fastbptt_add(&narrow->inside, -1);
}

static void a_job_has_no_more_workers_than_it_allows(void)
{
    struct narrow narrow = {0, 0};
    run_counted(20, MOST_WORKERS, 1000, 1e9);
    require(fastbptt_count_helpers() == MOST_WORKERS - 1, "there are not as many helpers as were asked for");
    fastbptt_run_shares(watch_width, NULL, &narrow, 60, 2, 1e9);
    require(narrow.most == 0, "three threads worked on a job for two");
}

/* ---- A caller does not wait for helpers that have not come */

struct stuck {
    long entered, leave;
};

static void stick(void *context, ptrdiff_t share, int worker)
{
    struct stuck *stuck = context;
    (void)share;
    (void)worker;
    fastbptt_add(&stuck->entered, 1);
    while (!fastbptt_read(&stuck->leave))
        sleep_ms(1);
}

static void *run_stuck(void *context)
{
    fastbptt_run_shares(stick, NULL, context, MOST_WORKERS, MOST_WORKERS, 1e9);
    return NULL;
}

static void nobody_waits_for_busy_helpers(void)
{
    struct stuck stuck = {0, 0};
    pthread_t thread;
    require(pthread_create(&thread, NULL, run_stuck, &stuck) == 0, "no thread for the test");
    while (fastbptt_read(&stuck.entered) < MOST_WORKERS) /* all helpers and their caller are in a share */
        sleep_ms(1);
    run_counted(20, MOST_WORKERS, 1000, 1e9); /* would never return */
    fastbptt_write(&stuck.leave, 1);
    pthread_join(thread, NULL);
}

/* ---- A caller that waits for a helper polls */

struct polled {
    long caller_free, polls;
};

static void wait_for_poll(void *context, ptrdiff_t share, int worker)
{
    struct polled *polled = context;
    (void)share;
    if (worker == 0)
        while (!fastbptt_read(&polled->caller_free)) /* the helper has claimed the other share */
            sleep_ms(1);
    else {
        fastbptt_write(&polled->caller_free, 1);
        while (fastbptt_read(&polled->polls) < 2)
            sleep_ms(1);
    }
}

static void poll_once(void *context)
{
    fastbptt_add(&((struct polled *)context)->polls, 1);
}

static void a_waiting_caller_polls(void)
{
    struct polled polled = {0, 0};
    fastbptt_run_shares(wait_for_poll, poll_once, &polled, 2, 2, 1e9);
    require(polled.polls >= 2, "the waiting caller did not poll");
}

/* ---- Short jobs wake nobody; many in a row do */

static void short_jobs_wake_a_helper_only_in_a_row(void)
{
    int k;
    for (k = 0; k < 5; k++) {
        run_counted(2, 2, 10, 1e3);
        sleep_ms(1);
    }
    require(fastbptt_count_helpers() == 0, "a short job made a helper");
    for (k = 0; k < 10000 && fastbptt_count_helpers() == 0; k++)
        run_counted(2, 2, 10, 1e3);
    require(fastbptt_count_helpers() == 1, "short jobs in a row made no helper");
}

/* ---- Helpers that cost more than they bring are left out for a while */

static void delay_by_helper(void *context, ptrdiff_t share, int worker)
{
    const clock_t begin = clock();
    (void)share;
    if (worker > 0) {
        fastbptt_write((long *)context, 1);
        sleep_ms(5);
    } else {
        while (clock() - begin < CLOCKS_PER_SEC / 2000)
            ;
    }
}

static void costly_helpers_are_left_out(void)
{
    int helped_jobs = 0, alone_in_a_row = 0;
    while (helped_jobs < 500) {
        long helped = 0;
        fastbptt_run_shares(delay_by_helper, NULL, &helped, 2, 2, 1e9);
        helped_jobs += (int)helped;
        alone_in_a_row = helped ? 0 : alone_in_a_row + 1;
        if (helped_jobs > 0 && alone_in_a_row == 5)
            return;
    }
    require(0, "helpers that delay every job were asked each time");
}

/* ---- A helper does not displace the thread that runs on its core */

static void read_policy(void *context, ptrdiff_t share, int worker)
{
    (void)share;
    if (worker > 0)
        fastbptt_write((long *)context, sched_getscheduler(0));
    else
        sleep_ms(1);
}

static void helpers_are_patient(void)
{
#if defined(SCHED_BATCH)
    long policy = -1;
    if (sched_getscheduler(0) != SCHED_OTHER)
        return;
    while (policy == -1)
        fastbptt_run_shares(read_policy, NULL, &policy, 4, 2, 1e9);
    require(policy == SCHED_BATCH, "a helper displaces the thread that runs on its core");
#endif
}

/* ---- Helpers that cannot be created */

static void without_helpers_the_caller_computes_all(void)
{
    fastbptt_fail_helpers(1);
    run_counted(20, 5, 1000, 1e9);
    require(fastbptt_count_helpers() == 0, "a helper is counted that could not be created");
    fastbptt_fail_helpers(0);
    run_counted(20, 5, 1000, 1e9);
    require(fastbptt_count_helpers() == 0, "creation was tried again at once");
}

/* ---- Children of fork */

static void a_child_has_helpers_of_its_own(void)
{
    int status;
    pid_t child;
    run_counted(20, 3, 1000, 1e9);
    require(fastbptt_count_helpers() >= 2, "the parent has no helpers");
    fflush(stdout);
    child = fork();
    if (child == 0) {
        int k, none = fastbptt_count_helpers() == 0;
        for (k = 0; k < 50; k++)
            run_counted(20, 3, 1000, 1e9);
        _exit(none && fastbptt_count_helpers() == 2 ? 0 : 1);
    }
    require(child > 0 && waitpid(child, &status, 0) == child, "no child");
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of fork has the parent's helpers, or none");
}

/* ---- A signal handler may fork while its thread waits for a helper; the child cannot finish that call, and says so */

struct forked {
    long claimed, over;
    pid_t child;
};

static void wait_for_child(void *context, ptrdiff_t share, int worker)
{
    struct forked *forked = context;
    (void)share;
    fastbptt_add(&forked->claimed, 1);
    while (worker == 0 ? fastbptt_read(&forked->claimed) < 2 : !fastbptt_read(&forked->over))
        sleep_ms(1);
}

static void fork_once(void *context)
{
    struct forked *forked = context;
    int status;
    if (forked->child != 0)
        return;
    forked->child = fork();
    if (forked->child == 0) {
        forked->child = -1;
        fclose(stderr);
        return; /* to the call that nobody will finish */
    }
    require(waitpid(forked->child, &status, 0) == forked->child, "no child");
    require(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "the child did not abort");
    fastbptt_write(&forked->over, 1);
}

static void a_child_made_during_a_call_aborts(void)
{
    struct forked forked = {0, 0, 0};
    fastbptt_run_shares(wait_for_child, fork_once, &forked, 2, 2, 1e9);
    require(forked.child > 0, "no child");
}

int main(int count, char **names)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } checks[] = {
        {"without-helpers", without_helpers_the_caller_computes_all},
        {"short-jobs", short_jobs_wake_a_helper_only_in_a_row},
        {"each-share-once", each_share_once},
        {"no-more-workers", a_job_has_no_more_workers_than_it_allows},
        {"busy-helpers", nobody_waits_for_busy_helpers},
        {"poll", a_waiting_caller_polls},
        {"costly-helpers", costly_helpers_are_left_out},
        {"patient-helpers", helpers_are_patient},
        {"fork", a_child_has_helpers_of_its_own},
        {"fork-in-a-call", a_child_made_during_a_call_aborts},
    };
    size_t k;
    fastbptt_prepare_pool();
    for (k = 0; k < sizeof checks / sizeof checks[0]; k++)
        if (count < 2 || strcmp(names[1], checks[k].name) == 0) {
            checks[k].run();
            printf("%s holds\n", checks[k].name);
        }
    return 0;
}
