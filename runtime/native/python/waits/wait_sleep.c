#include "python/waits/wait.h"

#include "kernel/base/fork.h"
#include "python/threads/sleep.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ns: a signal that comes just before the main thread sleeps doesn't end the sleep, and giving up the GIL may take long.  So its first sleep
 * is short, as in lwp_wait(). */
enum { SOON = 10000000 };

/* ---- without the GIL --------------------------------------------------------------------------------------------- */

static int sleep_once(struct waiting *w, int64_t until)
{
    int poked = SYNC_POKED;

    if (w->uses_fd) {
        int result = park_poll_all(w->polled, w->files + (w->any.fd >= 0), until);
        if (result == 0)
            wait_note_polled(w, 1);
        return result;
    }
    if (atomic_compare_exchange_strong(&w->any.word, &poked, SYNC_ASLEEP)) {
        wait_claim_files(w);
        return 0;
    }
    if (w->any.wake)
        return park_wait(&w->any.word, SYNC_ASLEEP, until, PARK_SHARED);
    return park_wait_some(&w->any.word, SYNC_ASLEEP, until, SYNC_NORMAL);
}

static void leave_all(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->entered)
            thing->ready |= thing_is_file(thing) ? wait_leave_file(w, thing) : thing->kind->leave(thing);
        thing->entered = 0;
    }
    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].ready && w->things[i].kind->finish)
            w->things[i].kind->finish(&w->things[i], &w->any);
}

/* 0: completed; or an errno. */
static int sleep_until_woken(void *arg)
{
    struct waiting *w = arg;
    int64_t soon = w->since + SOON, until = w->looks && soon < w->deadline ? soon : w->deadline;
    int result = 0;

    while (!w->again && !w->error && !result && atomic_load_explicit(&w->any.word, memory_order_acquire) != SYNC_WOKEN)
        result = sleep_once(w, until);
    if (result == ETIMEDOUT && until < w->deadline)
        result = EINTR;
    w->looks = 0;
    int completed = !sync_any_close(&w->any);
    park_cancel = NULL; /* what follows is short, and must be done */
    leave_all(w);
    return completed ? 0 : w->error ? w->error : w->again ? EAGAIN : result;
}

static void pass_batons(void *arg)
{
    struct waiting *w = arg;

    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].baton) {
            sync_queue_pass_baton(w->things[i].baton);
            w->things[i].baton = NULL;
        }
}

/* ---- with it ----------------------------------------------------------------------------------------------------- */

static int has_shared(const struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].kind->shared)
            return 1;
    return 0;
}

/* How the wait sleeps, and is woken.  0, or -1 with an exception. */
static int prepare_to_sleep(struct waiting *w, int needed)
{
    w->any = (struct sync_any){.needed = needed, .forks = fork_generation, .fd = -1};
    w->again = 0;
    w->uses_fd = w->files && !park_green;
    if (!w->uses_fd) {
        if (has_shared(w)) {
            w->any.wake = sync_any_wake_shared;
            w->any.moves = !park_green;
        }
        return 0;
    }
    w->any.wake = sync_any_wake_fd;
    wait_fill_polled(w);
    if (w->files == w->count)
        return 0;
    if ((w->any.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    w->polled[w->files] = (struct pollfd){.fd = w->any.fd, .events = POLLIN};
    return 0;
}

/* Enters the queues of those that are not ready; one that stays as it is, and is ready by now, is claimed instead. */
static void enter_queues(struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    for (Py_ssize_t i = from; i < to; i++) {
        struct thing *thing = &w->things[i];
        if (thing->ready || (w->all && thing->kind->take && to - from > 1))
            continue;
        thing->entered = thing_is_file(thing) ? wait_enter_file(w, thing) : thing->kind->enter(thing, &w->any);
        if (!thing->entered && !w->error) {
            if (thing->kind->take)
                w->again = 1;
            else
                wait_claim(w, thing);
        }
        if (w->error || w->again || atomic_load(&w->any.word) == SYNC_WOKEN)
            return;
    }
}

static int sleep_with_cleanup(struct waiting *w)
{
    int result;

    /* Once the interpreter has ended, taking the GIL ends the thread: see sleep_or_leave() in python/threads/sleep.c. */
    pthread_cleanup_push(pass_batons, w);
    result = python_sleep(&(struct python_sleep){sleep_until_woken, w, w->given, .since = w->since, .deadline = w->deadline});
    pthread_cleanup_pop(0);
    return result;
}

enum wait_slept wait_sleep(struct waiting *w, Py_ssize_t from, Py_ssize_t to, int needed)
{
    if (prepare_to_sleep(w, needed) < 0)
        return WAIT_FAILED;
    enter_queues(w, from, to);
    int result = sleep_with_cleanup(w);
    pass_batons(w);
    if (w->any.fd >= 0)
        close(w->any.fd);
    if (result == 0)
        return WAIT_COMPLETED;
    if (result == ETIMEDOUT)
        return WAIT_TIME_IS_UP;
    if (result == EAGAIN)
        return WAIT_AGAIN;
    if (result == EINTR)
        return python_interrupted(NULL, w->given) < 0 ? WAIT_FAILED : WAIT_AGAIN;
    errno = result;
    PyErr_SetFromErrno(PyExc_OSError);
    return WAIT_FAILED;
}
