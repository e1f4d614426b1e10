/* Atomic operations on counters and flags that threads share, for GCC, Clang and MSVC. A new atomic operation belongs here. */
#ifndef FASTBPTT_ATOMIC_H
#define FASTBPTT_ATOMIC_H

#include <stddef.h>

/* fastbptt_add(counter, n)          add n to a long, return the value after
 * fastbptt_read, fastbptt_write     read or write a long
 * fastbptt_claim(size)              add 1 to a ptrdiff_t, return the value before
 * fastbptt_report(size)             add 1 to a ptrdiff_t
 * fastbptt_read_size(size)          read a ptrdiff_t
 * fastbptt_read_flag, _write_flag   read or write an int
 *
 * All are sequentially consistent, except those on flags. Flags are relaxed, because they guard no other data. */
#if defined(_MSC_VER)
#include <intrin.h>
#define fastbptt_add(counter, n) (_InterlockedExchangeAdd((counter), (n)) + (n))
#define fastbptt_read(counter) _InterlockedOr((counter), 0)
#define fastbptt_write(counter, value) ((void)_InterlockedExchange((counter), (value)))
#if defined(_WIN64)
#define fastbptt_claim(size) ((ptrdiff_t)_InterlockedExchangeAdd64((__int64 *)(size), 1))
#define fastbptt_report(size) ((void)_InterlockedExchangeAdd64((__int64 *)(size), 1))
#define fastbptt_read_size(size) ((ptrdiff_t)_InterlockedOr64((__int64 *)(size), 0))
#else
#define fastbptt_claim(size) ((ptrdiff_t)_InterlockedExchangeAdd((long *)(size), 1))
#define fastbptt_report(size) ((void)_InterlockedExchangeAdd((long *)(size), 1))
#define fastbptt_read_size(size) ((ptrdiff_t)_InterlockedOr((long *)(size), 0))
#endif
#define fastbptt_read_flag(flag) (*(flag))
#define fastbptt_write_flag(flag, value) ((void)(*(flag) = (value)))
#else
#define fastbptt_add(counter, n) __atomic_add_fetch((counter), (n), __ATOMIC_SEQ_CST)
#define fastbptt_read(counter) __atomic_load_n((counter), __ATOMIC_SEQ_CST)
#define fastbptt_write(counter, value) __atomic_store_n((counter), (value), __ATOMIC_SEQ_CST)
#define fastbptt_claim(size) __atomic_fetch_add((size), 1, __ATOMIC_SEQ_CST)
#define fastbptt_report(size) ((void)__atomic_fetch_add((size), 1, __ATOMIC_SEQ_CST))
#define fastbptt_read_size(size) __atomic_load_n((size), __ATOMIC_SEQ_CST)
#define fastbptt_read_flag(flag) __atomic_load_n((flag), __ATOMIC_RELAXED)
#define fastbptt_write_flag(flag, value) __atomic_store_n((flag), (value), __ATOMIC_RELAXED)
#endif

#if defined(_WIN32)
#include <windows.h>
#define fastbptt_yield() SwitchToThread()
#else
#include <sched.h>
#define fastbptt_yield() sched_yield()
#endif

/* Wait until the counter is below `most`, then add 1. A counter that only this function raises never exceeds `most`. */
static inline void fastbptt_enter(long *counter, long most)
{
    for (;;) {
#if defined(_MSC_VER)
        long now = *(volatile long *)counter;
        if (now < most && _InterlockedCompareExchange(counter, now + 1, now) == now)
            return;
#else
        long now = __atomic_load_n(counter, __ATOMIC_RELAXED);
        if (now < most
            && __atomic_compare_exchange_n(counter, &now, now + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            return;
#endif
        if (now >= most)
            fastbptt_yield();
    }
}

#endif
