#include "kernel/base/park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEAR 5000000 /* ns: a hundred times the usual slack */

__thread struct green *park_green;
__thread const int64_t *park_time;
__thread struct park_cancel *park_cancel;
const struct park_ops *_Atomic park_ops;

int64_t park_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * PARK_SECOND + now.tv_nsec;
}

int64_t park_now(void)
{
    return park_time ? *park_time : park_clock(CLOCK_MONOTONIC);
}

/* The kernel may fire a timer late, mostly by up to 50 us, to wake the processor once for several timers (prctl(2), PR_SET_TIMERSLACK).
 * For a near deadline that is much, so the thread drops its slack while it sleeps.  Returns the slack to restore, 0: unchanged. */
static int drop_slack(int64_t deadline)
{
    if (deadline == PARK_FOREVER || deadline - park_now() > NEAR)
        return 0;
    int slack = prctl(PR_GET_TIMERSLACK);
    if (slack > 0)
        prctl(PR_SET_TIMERSLACK, 1);
    return slack > 0 ? slack : 0;
}

/* The kernel refuses to sleep: it is out of memory, or a seccomp filter forbids it.  A caller can't go on without what it waits for, so
 * it gets EINTR: after that every caller looks at the word, the time and the signals again. */
static int awake_after_all(int64_t deadline)
{
    sched_yield();
    return park_now() < deadline ? EINTR : ETIMEDOUT;
}

static int wait_bits(atomic_int *word, int expected, int64_t deadline, int scope, unsigned bits)
{
    /* WAIT_BITSET, unlike WAIT, takes an absolute time: no drift when the caller repeats the wait after a signal. */
    int saved = errno, result = 0;
    struct timespec until = {deadline / PARK_SECOND, deadline % PARK_SECOND};

    if (deadline < 0)
        until = (struct timespec){0, 0};
    int slack = drop_slack(deadline);
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | scope, expected, deadline == PARK_FOREVER ? NULL : &until, NULL, bits) < 0
        && errno != EAGAIN)
        result = errno == ETIMEDOUT || errno == EINTR ? errno : awake_after_all(deadline);
    if (slack)
        prctl(PR_SET_TIMERSLACK, slack);
    errno = saved;
    return result;
}

int park_doze(atomic_int *word, int expected, int64_t ns)
{
    int saved = errno, result = 0;
    struct timespec length = {ns / PARK_SECOND, ns % PARK_SECOND};

    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &length, NULL, 0) < 0 && errno != EAGAIN)
        result = errno == ETIMEDOUT ? ETIMEDOUT : EINTR;
    errno = saved;
    return result;
}

static void wake_bits(atomic_int *word, int count, int scope, unsigned bits)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_BITSET | scope, count, NULL, NULL, bits);
    errno = saved;
}

static int private_if(enum park_scope scope)
{
    return scope == PARK_PRIVATE ? FUTEX_PRIVATE_FLAG : 0;
}

/* ---- two words --------------------------------------------------------------------------------------------------- */

enum { SYS_WAITV = 449, WAITV_32 = 2, WAITV_PRIVATE = 128 }; /* futex_waitv(2), linux/futex.h: older headers know nothing of it */
struct waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
};
static atomic_int no_waitv; /* the kernel is older, or a filter forbids it */

/* Sleeps at both; -ENOSYS: the kernel can't.  All bits: sync_lock_wait() says what that means there. */
static int wait_two(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, int scope)
{
    struct timespec at = {until / PARK_SECOND, until % PARK_SECOND};
    struct waitv both[] = {{0, (uintptr_t)&cancel->word, WAITV_32 | WAITV_PRIVATE, 0},
                           {(uint32_t)expected, (uintptr_t)word, WAITV_32 | (scope ? WAITV_PRIVATE : 0), 0}};
    int saved = errno, slack = drop_slack(until);

    if (until < 0)
        at = (struct timespec){0, 0};
    long woken = syscall(SYS_WAITV, both, 2, 0, until == PARK_FOREVER ? NULL : &at, CLOCK_MONOTONIC);
    int error = woken < 0 ? errno : 0;
    if (slack)
        prctl(PR_SET_TIMERSLACK, slack);
    errno = saved;
    if (error == EAGAIN) /* one of the words differs */
        return atomic_load(&cancel->word) ? EINTR : 0;
    if (error == ENOSYS || error == EPERM)
        return -ENOSYS;
    return !error ? (woken == 0 ? EINTR : 0) : error == ETIMEDOUT || error == EINTR ? error : awake_after_all(until);
}

/* The bit that a canceller wakes, so that few others at that word wake up with the thread; the four lowest are the callers'. */
static unsigned cancel_bit(const struct park_cancel *cancel)
{
    return 1u << (4 + (uintptr_t)cancel / sizeof *cancel % 28);
}

/* Without futex_waitv(): sleeps at the word alone, and says where, so that a canceller wakes it there.  One that comes between the look and
 * the sleep wakes nobody; for it each slice ends with another look.  Slices grow, or thousands of sleepers would take all processors. */
static int wait_in_slices(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, int scope, unsigned bits)
{
    int result;
    int64_t slice = PARK_SLICE, end;

    bits = (bits & 15) | cancel_bit(cancel);
    /* We write `at` and read the word, a canceller the other way round (sequentially consistent): it finds us, or we see the word. */
    atomic_store(&cancel->at, word);
    do {
        end = park_now() + slice;
        slice = slice < PARK_SECOND ? slice * 2 : slice;
        result = atomic_load(&cancel->word) ? EINTR : wait_bits(word, expected, end < until ? end : until, scope, bits);
    } while (result == ETIMEDOUT && end < until);
    atomic_store(&cancel->at, NULL);
    return result;
}

static int wait_lwp(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, int scope, unsigned bits)
{
    if (!atomic_load_explicit(&no_waitv, memory_order_relaxed)) {
        int result = wait_two(cancel, word, expected, until, scope);
        if (result != -ENOSYS)
            return result;
        atomic_store(&no_waitv, 1);
    }
    return wait_in_slices(cancel, word, expected, until, scope, bits);
}

static int wait_or_cancelled(atomic_int *word, int expected, int64_t deadline, int scope, unsigned bits)
{
    struct park_cancel *cancel = park_cancel;
    int64_t until = deadline < cancel->deadline ? deadline : cancel->deadline;

    if (atomic_load(&cancel->word))
        return EINTR;
    int result = park_green ? park_ops->wait(word, expected, until, bits) : wait_lwp(cancel, word, expected, until, scope, bits);
    return result == ETIMEDOUT && until < deadline ? EINTR : result;
}

void park_interrupt(struct park_cancel *cancel)
{
    const struct park_ops *ops = atomic_load_explicit(&park_ops, memory_order_acquire);
    int saved = errno;

    atomic_store(&cancel->word, 1);
    wake_bits(&cancel->word, 1, FUTEX_PRIVATE_FLAG, FUTEX_BITSET_MATCH_ANY);
    atomic_int *at = atomic_load(&cancel->at);
    if (at) { /* its scope isn't known here */
        wake_bits(at, INT_MAX, FUTEX_PRIVATE_FLAG, cancel_bit(cancel));
        wake_bits(at, INT_MAX, 0, cancel_bit(cancel));
    }
    if (ops)
        ops->interrupt(cancel);
    int fd = atomic_load(&cancel->fd);
    if (fd >= 0)
        eventfd_write(fd, 1);
    errno = saved;
}

/* ---- waiting and waking ------------------------------------------------------------------------------------------ */

static int wake_greens(atomic_int *word, int count, unsigned bits)
{
    const struct park_ops *ops = atomic_load_explicit(&park_ops, memory_order_acquire);
    return ops ? ops->wake(word, count, bits) : 0;
}

int park_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope)
{
    if (park_cancel)
        return wait_or_cancelled(word, expected, deadline, private_if(scope), FUTEX_BITSET_MATCH_ANY);
    if (park_green)
        return park_ops->wait(word, expected, deadline, FUTEX_BITSET_MATCH_ANY);
    return wait_bits(word, expected, deadline, private_if(scope), FUTEX_BITSET_MATCH_ANY);
}

void park_wake(atomic_int *word, int count, enum park_scope scope)
{
    if ((count -= wake_greens(word, count, FUTEX_BITSET_MATCH_ANY)) > 0)
        wake_bits(word, count, private_if(scope), FUTEX_BITSET_MATCH_ANY);
}

void park_move(atomic_int *from, int expected, atomic_int *to)
{
    int saved = errno;
    syscall(SYS_futex, from, FUTEX_CMP_REQUEUE, 0, (long)1, to, expected);
    errno = saved;
}

void park_wake_greens(atomic_int *word, int count)
{
    wake_greens(word, count, FUTEX_BITSET_MATCH_ANY);
}

int park_wait_lwp(atomic_int *word, int expected, int64_t deadline, enum park_scope scope)
{
    return wait_bits(word, expected, deadline, private_if(scope), FUTEX_BITSET_MATCH_ANY);
}

void park_wake_lwp(atomic_int *word, int count, enum park_scope scope)
{
    wake_bits(word, count, private_if(scope), FUTEX_BITSET_MATCH_ANY);
}

int park_wait_some(atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    if (park_cancel)
        return wait_or_cancelled(word, expected, deadline, FUTEX_PRIVATE_FLAG, bits);
    if (park_green)
        return park_ops->wait(word, expected, deadline, bits);
    return wait_bits(word, expected, deadline, FUTEX_PRIVATE_FLAG, bits);
}

void park_wake_some(atomic_int *word, int count, unsigned bits)
{
    if ((count -= wake_greens(word, count, bits)) > 0)
        wake_bits(word, count, FUTEX_PRIVATE_FLAG, bits);
}

struct timespec *park_timeout(int64_t deadline, struct timespec *into)
{
    int64_t left = deadline == PARK_FOREVER || deadline == 0 ? 0 : deadline - park_now();

    if (left < 0)
        left = 0;
    *into = (struct timespec){left / PARK_SECOND, left % PARK_SECOND};
    return deadline == PARK_FOREVER ? NULL : into;
}

static int poll_once(struct pollfd *polled, int count, int64_t deadline)
{
    struct timespec left;
    int found = ppoll(polled, (nfds_t)count, park_timeout(deadline, &left), NULL);

    return found < 0 ? errno : found == 0 ? ETIMEDOUT : 0;
}

static int poll_or_cancelled(struct park_cancel *cancel, struct pollfd *polled, int count, int64_t deadline)
{
    int64_t until = deadline < cancel->deadline ? deadline : cancel->deadline;
    int fd = atomic_load(&cancel->fd);
    eventfd_t read;

    if (fd < 0 && (fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return errno;
    polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
    /* A canceller writes the word and then reads `fd`; we write and read them the other way round (sequentially consistent).  So it
     * finds the eventfd, or we see the word. */
    atomic_store(&cancel->fd, fd);
    if (atomic_load(&cancel->word))
        return EINTR;
    int result = poll_once(polled, count + 1, until);
    if (result == ETIMEDOUT)
        return until < deadline ? EINTR : ETIMEDOUT;
    if (result || !polled[count].revents)
        return result;
    for (int i = 0; i < count; i++)
        if (polled[i].revents)
            return 0;
    eventfd_read(fd, &read); /* the word is what counts: a stale write would end every poll from now on */
    return EINTR;
}

int park_poll_all(struct pollfd *polled, int count, int64_t deadline)
{
    struct park_cancel *cancel = deadline == 0 ? NULL : park_cancel;
    int saved = errno;
    int result = cancel ? poll_or_cancelled(cancel, polled, count, deadline) : poll_once(polled, count, deadline);

    errno = saved;
    return result;
}

int park_poll(int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct pollfd polled[2] = {{.fd = fd, .events = (short)events}};
    int result = park_poll_all(polled, 1, deadline);

    *found = (unsigned)(unsigned short)polled[0].revents;
    return !result && *found & POLLNVAL ? EBADF : result;
}

void park_many(void)
{
    int saved = errno;
    prctl(78 /* PR_FUTEX_HASH */, 1 /* PR_FUTEX_HASH_SET_SLOTS */, 4096, 0, 0);
    errno = saved;
}

void park_lock_contended(atomic_int *lock)
{
    /* As 2, not 1: other threads may still sleep, and only the release of a 2 wakes one. */
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0)
        park_wait_lwp(lock, 2, PARK_FOREVER, PARK_PRIVATE);
}

static int call_membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0 ? 0 : errno;
}

int park_barrier(void)
{
    int saved = errno, error = call_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);

    if (error == EPERM && call_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0) /* the first time */
        error = call_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    if (error)
        error = call_membarrier(MEMBARRIER_CMD_GLOBAL); /* milliseconds */
    errno = saved;
    return error;
}
