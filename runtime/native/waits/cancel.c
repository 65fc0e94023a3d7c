#include "waits/cancel.h"

#include "kernel/base/poll.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

void (*_Atomic cancel_green)(struct park_cancel *cancel);

/* ---- two words --------------------------------------------------------------------------------------------------- */

enum { SYS_WAITV = 449, WAITV_32 = 2, WAITV_PRIVATE = 128 }; /* futex_waitv(2), linux/futex.h: older headers lack it */
struct waitv {
    uint64_t value, address;
    uint32_t flags, reserved;
};
enum { FIRST_SLICE = 10000000 }; /* ns */
static atomic_int no_waitv; /* the kernel is older, or a filter forbids it */

/* Sleeps at both; -ENOSYS: the kernel can't.  All bits: sync_lock_wait() says what that means there. */
static int wait_two(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, enum park_scope scope)
{
    struct timespec at = {until / PARK_SECOND, until % PARK_SECOND};
    struct waitv both[] = {{0, (uintptr_t)&cancel->word, WAITV_32 | WAITV_PRIVATE, 0},
                           {(uint32_t)expected, (uintptr_t)word, WAITV_32 | (scope == PARK_PRIVATE ? WAITV_PRIVATE : 0), 0}};
    int saved = errno, slack = futex_drop_slack(until);

    if (until < 0)
        at = (struct timespec){0, 0};
    long woken = syscall(SYS_WAITV, both, 2, 0, until == PARK_FOREVER ? NULL : &at, CLOCK_MONOTONIC);
    int error = woken < 0 ? errno : 0;
    futex_restore_slack(slack);
    errno = saved;
    if (error == EAGAIN) /* one of the words differs */
        return atomic_load(&cancel->word) ? EINTR : 0;
    if (error == ENOSYS || error == EPERM)
        return -ENOSYS;
    return !error ? (woken == 0 ? EINTR : 0) : error == ETIMEDOUT || error == EINTR ? error : futex_refused(until);
}

/* The bit that a canceller wakes, so that few others at that word wake up with the thread; the four lowest are the callers'. */
static unsigned cancel_bit(const struct park_cancel *cancel)
{
    return 1u << (4 + (uintptr_t)cancel / sizeof *cancel % 28);
}

/* Without futex_waitv(): sleeps at the word alone, and says where, so that a canceller wakes it there.  A canceller that comes between the
 * look and the sleep wakes nobody, so each slice ends with another look.  Slices grow, or thousands of sleepers would take all
 * processors. */
static int wait_in_slices(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, enum park_scope scope,
                          unsigned bits)
{
    int result;
    int64_t slice = FIRST_SLICE, end;

    bits = (bits & 15) | cancel_bit(cancel);
    /* We write `at` and read the word, a canceller the other way round (sequentially consistent): it finds us, or we see the word. */
    atomic_store(&cancel->at, word);
    do {
        end = park_now() + slice;
        slice = slice < PARK_SECOND ? slice * 2 : slice;
        result = atomic_load(&cancel->word) ? EINTR : futex_wait_some(word, expected, end < until ? end : until, scope, bits);
    } while (result == ETIMEDOUT && end < until);
    atomic_store(&cancel->at, NULL);
    return result;
}

static int wait_lwp(struct park_cancel *cancel, atomic_int *word, int expected, int64_t until, enum park_scope scope, unsigned bits)
{
    if (!atomic_load_explicit(&no_waitv, memory_order_relaxed)) {
        int result = wait_two(cancel, word, expected, until, scope);
        if (result != -ENOSYS)
            return result;
        atomic_store(&no_waitv, 1);
    }
    return wait_in_slices(cancel, word, expected, until, scope, bits);
}

static int cancel_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope, unsigned bits)
{
    struct park_cancel *cancel = park_cancel;
    int64_t until = deadline < cancel->deadline ? deadline : cancel->deadline;

    if (atomic_load(&cancel->word))
        return EINTR;
    int result = park_green ? park_ops->wait(word, expected, until, bits) : wait_lwp(cancel, word, expected, until, scope, bits);
    return result == ETIMEDOUT && until < deadline ? EINTR : result;
}

/* ---- ppoll(2) ---------------------------------------------------------------------------------------------------- */

static int cancel_poll(struct pollfd *polled, int count, int64_t deadline)
{
    struct park_cancel *cancel = park_cancel;
    int64_t until = deadline < cancel->deadline ? deadline : cancel->deadline;
    int fd = atomic_load(&cancel->fd);
    eventfd_t read;

    if (fd < 0 && (fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return errno;
    polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
    /* A canceller writes the word and then reads `fd`; we write and read them the other way round (sequentially consistent).  The
     * canceller finds the eventfd, or we see the word. */
    atomic_store(&cancel->fd, fd);
    if (atomic_load(&cancel->word))
        return EINTR;
    int result = park_poll_once(polled, count + 1, until);
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

/* ---- the record -------------------------------------------------------------------------------------------------- */

static const struct park_cancel_ops cancel_ops = {cancel_wait, cancel_poll};

void cancel_init(struct park_cancel *cancel)
{
    *cancel = (struct park_cancel){.fd = -1, .deadline = PARK_FOREVER};
    atomic_store_explicit(&park_cancel_ops, &cancel_ops, memory_order_release);
}

void park_interrupt(struct park_cancel *cancel)
{
    void (*green)(struct park_cancel *) = atomic_load_explicit(&cancel_green, memory_order_acquire);
    int saved = errno;

    atomic_store(&cancel->word, 1);
    futex_wake(&cancel->word, 1, PARK_PRIVATE);
    atomic_int *at = atomic_load(&cancel->at);
    if (at) { /* its scope isn't known here */
        futex_wake_some(at, INT_MAX, PARK_PRIVATE, cancel_bit(cancel));
        futex_wake_some(at, INT_MAX, PARK_SHARED, cancel_bit(cancel));
    }
    if (green)
        green(cancel);
    int fd = atomic_load(&cancel->fd);
    if (fd >= 0)
        eventfd_write(fd, 1);
    errno = saved;
}
