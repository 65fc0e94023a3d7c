/* runtime.wait(): sleeps until the first of several things is ready, or all are.  How, stands in sync/any.h.
 *
 * WHAT IS TAKEN.  Threads, events and files stay as they are when they are reported; a semaphore and a lock are taken.  For the first of
 * several, the first in order that is ready decides: if it is one that is taken, it comes alone, since a program that looks for another
 * one first would lose it; else all others come that are ready and stay as they are.
 * For all: none is taken before all others have come, and none is kept while the wait sleeps for another.  It sleeps for one, then tries
 * the rest, and if one is missing gives all back and sleeps for that one, as C++'s std::lock does.  So two such waits don't deadlock. */
#include "base/fork.h"
#include "explore/explore.h"
#include "green/green.h"
#include "lwp/lwp.h"
#include "python/args.h"
#include "python/lwp.h"
#include "python/primitives/lock.h"
#include "python/primitives/waiters.h"
#include "python/rooms.h"
#include "python/sleep.h"
#include "python/waitable.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

PyAPI_FUNC(int) _PyOS_IsMainThread(void); /* internal/pycore_pylifecycle.h */

/* ns: a signal that comes just before the main thread sleeps doesn't end the sleep, and giving up the GIL may take long.  So its first sleep
 * is short, as in lwp_wait(). */
enum { SOON = 10000000 };

static PyObject *thread_class, *task_class; /* NULL: not loaded yet */

struct waiting {
    struct sync_any any;
    struct thing *things;
    Py_ssize_t count;
    int files; /* how many of them are */
    int all;
    int looks; /* it sleeps for a short time only, and then looks for signals */
    int64_t since, deadline;
    struct pollfd *polled; /* the files, and one more for the eventfd, and one for park_poll_all(); in the order of `things` */
    int uses_fd; /* it sleeps in ppoll(2) */
    int again; /* something can be taken that couldn't when the wait looked: it doesn't sleep */
    int error; /* of a file */
    PyObject *given; /* a tuple */
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const struct waitable file_waitable; /* without functions: what files need stands here */

static int is_file(const struct thing *thing)
{
    return thing->kind == &file_waitable;
}

/* What stays as it is, and is there, is claimed by the waiter itself. */
static void claim_thing(struct waiting *w, struct thing *thing)
{
    enum sync_claim claimed = sync_any_claim(&w->any);

    thing->ready = claimed != SYNC_TOO_LATE;
    if (claimed == SYNC_COMPLETES)
        atomic_store(&w->any.word, SYNC_WOKEN);
}

static void fill_polled(struct waiting *w)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++)
        if (is_file(&w->things[i])) {
            w->things[i].found = 0;
            *polled++ = (struct pollfd){.fd = w->things[i].ready ? -1 : w->things[i].fd, .events = POLLIN};
        }
}

/* asleep: what has come counts for this sleep. */
static void note_polled(struct waiting *w, int asleep)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (!is_file(thing))
            continue;
        if (polled->revents & POLLNVAL)
            w->error = EBADF;
        else if (polled->revents) {
            polled->fd = -1; /* poll(2) passes it over from now on */
            thing->found = 1;
            if (asleep)
                claim_thing(w, thing);
        }
        polled++;
    }
}

/* Looks, and doesn't sleep. */
static void look_at_files(struct waiting *w)
{
    if (!w->files)
        return;
    fill_polled(w);
    int result = park_poll_all(w->polled, w->files, 0);
    if (result == 0)
        note_polled(w, 0);
    else if (result != ETIMEDOUT && result != EINTR)
        w->error = result;
}

static int enter_file(struct waiting *w, struct thing *thing)
{
    if (!park_green)
        return 1; /* it is among those that are polled */
    int result = green_watch_fd(thing->fd, POLLIN, &thing->file, &w->any);
    if (result && result != EPERM) /* what epoll(7) can't wait for is ready */
        w->error = result;
    return !result;
}

static int leave_file(struct waiting *w, struct thing *thing)
{
    if (!park_green)
        return 0;
    unsigned found = green_unwatch_fd(thing->fd, &thing->file);
    if (found & POLLNVAL)
        w->error = EBADF;
    thing->found = found != 0;
    return 0; /* the waiter has claimed it */
}

/* By a green thread that was poked. */
static void claim_files(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (is_file(thing) && thing->entered && !thing->ready && atomic_load(&thing->file.found))
            claim_thing(w, thing);
    }
}

/* ---- sleeping, without the GIL ----------------------------------------------------------------------------------- */

static int sleep_once(struct waiting *w, int64_t until)
{
    int poked = SYNC_POKED;

    if (w->uses_fd) {
        int result = park_poll_all(w->polled, w->files + (w->any.fd >= 0), until);
        if (result == 0)
            note_polled(w, 1);
        return result;
    }
    if (atomic_compare_exchange_strong(&w->any.word, &poked, SYNC_ASLEEP)) {
        claim_files(w);
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
            thing->ready |= is_file(thing) ? leave_file(w, thing) : thing->kind->leave(thing);
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

/* ---- one sleep --------------------------------------------------------------------------------------------------- */

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
    fill_polled(w);
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
        thing->entered = is_file(thing) ? enter_file(w, thing) : thing->kind->enter(thing, &w->any);
        if (!thing->entered && !w->error) {
            if (thing->kind->take)
                w->again = 1;
            else
                claim_thing(w, thing);
        }
        if (w->error || w->again || atomic_load(&w->any.word) == SYNC_WOKEN)
            return;
    }
}

static int sleep_with_cleanup(struct waiting *w)
{
    int result;

    /* Once the interpreter has ended, taking the GIL ends the thread: see sleep_or_leave() in python/sleep.c. */
    pthread_cleanup_push(pass_batons, w);
    result = python_sleep(&(struct python_sleep){sleep_until_woken, w, w->given, .since = w->since, .deadline = w->deadline});
    pthread_cleanup_pop(0);
    return result;
}

enum slept { COMPLETED, TIME_IS_UP, AGAIN, FAILED };

/* Sleeps until `needed` of the things from..to have come. */
static enum slept sleep_for(struct waiting *w, Py_ssize_t from, Py_ssize_t to, int needed)
{
    if (prepare_to_sleep(w, needed) < 0)
        return FAILED;
    enter_queues(w, from, to);
    int result = sleep_with_cleanup(w);
    pass_batons(w);
    if (w->any.fd >= 0)
        close(w->any.fd);
    if (result == 0)
        return COMPLETED;
    if (result == ETIMEDOUT)
        return TIME_IS_UP;
    if (result == EAGAIN)
        return AGAIN;
    if (result == EINTR)
        return python_interrupted(NULL, w->given) < 0 ? FAILED : AGAIN;
    errno = result;
    PyErr_SetFromErrno(PyExc_OSError);
    return FAILED;
}

/* ---- the first --------------------------------------------------------------------------------------------------- */

static int look_at(const struct thing *thing)
{
    return is_file(thing) ? thing->found : thing->kind->look(thing);
}

static Py_ssize_t find_ready(const struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    while (from < to && !look_at(&w->things[from]))
        from++;
    return from;
}

/* One decides: which others are reported. */
static void report_with(struct waiting *w, Py_ssize_t from, Py_ssize_t to, const struct thing *decides)
{
    for (; from < to; from++) {
        struct thing *thing = &w->things[from];
        if (thing != decides)
            thing->ready = !decides->kind->take && !thing->kind->take && look_at(thing);
    }
}

/* Without sleeping.  1: found; 0: none is ready; -1 with an exception. */
static int look_for_first(struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    for (;;) {
        Py_ssize_t first = find_ready(w, from, to);
        /* Also before a sleep with an eventfd, which would take the number of a descriptor that is closed. */
        if (first < to || w->deadline == 0 || w->files < w->count) {
            look_at_files(w);
            if (w->error) {
                errno = w->error;
                PyErr_SetFromErrno(PyExc_OSError);
                return -1;
            }
            first = find_ready(w, from, first);
        }
        if (first == to)
            return 0;
        struct thing *thing = &w->things[first];
        if (thing->kind->take && !thing->kind->take(thing))
            continue; /* another thread was faster */
        thing->ready = 1;
        report_with(w, from, to, thing);
        return 1;
    }
}

/* 1: one of from..to has come; 0: none by the deadline; -1 with an exception. */
static int wait_for_first(struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    for (;;) {
        int found = look_for_first(w, from, to);
        if (found || w->deadline == 0)
            return found;
        enum slept slept = sleep_for(w, from, to, 1);
        if (slept == FAILED || slept == TIME_IS_UP)
            return slept == FAILED ? -1 : 0;
        if (slept == AGAIN)
            continue;
        Py_ssize_t first = from;
        while (!w->things[first].ready)
            first++;
        report_with(w, from, to, &w->things[first]);
        return 1;
    }
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

/* How many have not come of those that stay as they are. */
static int count_missing(struct waiting *w)
{
    int missing = 0;

    look_at_files(w);
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (!thing->kind->take && !thing->ready && !(thing->ready = look_at(thing)))
            missing++;
    }
    return missing;
}

static int wait_for_states(struct waiting *w)
{
    int missing;

    while ((missing = count_missing(w)) > 0 && !w->error) {
        if (w->deadline == 0)
            return 0;
        enum slept slept = sleep_for(w, 0, w->count, missing);
        if (slept == FAILED || slept == TIME_IS_UP)
            return slept == FAILED ? -1 : 0;
    }
    if (!w->error)
        return 1;
    errno = w->error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static void give_all_back(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind->take && thing->ready) {
            thing->kind->give_back(thing);
            thing->ready = 0;
        }
    }
}

/* Takes all that can be taken; the index of the first that is missing, or the count. */
static Py_ssize_t take_rest(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind->take && !thing->ready && !(thing->ready = thing->kind->take(thing)))
            return i;
    }
    return w->count;
}

static int wait_for_all(struct waiting *w)
{
    int result = wait_for_states(w);
    Py_ssize_t missing;

    w->files = 0;
    while (result > 0 && (missing = take_rest(w)) < w->count) {
        give_all_back(w);
        result = w->deadline == 0 ? 0 : wait_for_first(w, missing, missing + 1);
    }
    return result;
}

/* ---- what the program gives -------------------------------------------------------------------------------------- */

static int refuse_thing(PyObject *exception, const char *text, PyObject *given)
{
    PyErr_Format(exception, text, given);
    return -1;
}

static int set_lwp(struct thing *thing, PyObject *object)
{
    struct lwp *lwp = ((LwpObject *)object)->lwp;

    if (!lwp->started)
        return refuse_thing(PyExc_RuntimeError, "%R has not been started", thing->given);
    if (((LwpObject *)object)->detached)
        return refuse_thing(PyExc_RuntimeError, "%R is detached", thing->given);
    if (!(lwp->flags & CLONE_THREAD))
        return refuse_thing(PyExc_TypeError, "%R is a process: wait for os.pidfd_open() of it", thing->given);
    if (lwp->ident == PyThread_get_thread_ident() && lwp_alive(lwp))
        return refuse_thing(PyExc_RuntimeError, "%R is the calling thread", thing->given);
    if (thing->forever && lwp->green.scheduler && lwp_alive(lwp) && scheduler_is_orphaned(lwp->green.scheduler))
        return refuse_thing(PyExc_RuntimeError, "%R is a green thread that nobody runs: call its scheduler's run()", thing->given);
    thing->object = Py_NewRef(object);
    thing->kind = &lwp_waitable;
    return 0;
}

static int set_thread(struct thing *thing)
{
    PyObject *lwp = get_attribute(thing->given, NAME("_lwp"));

    if (!lwp && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    int result = lwp && PyObject_TypeCheck(lwp, lwp_type) ? set_lwp(thing, lwp)
                 : lwp == Py_None ? refuse_thing(PyExc_RuntimeError, "%R has not been started", thing->given)
                                  : refuse_thing(PyExc_RuntimeError, "%R is a thread of threading's own", thing->given);

    Py_XDECREF(lwp);
    return result;
}

static int set_primitive(struct thing *thing, PyObject *object, const struct waitable *kind, int in_c)
{
    if (!in_c)
        return refuse_thing(PyExc_TypeError, "can't wait for %R: a derived class keeps it in Python", thing->given);
    thing->object = Py_NewRef(object);
    thing->kind = kind;
    return 0;
}

static int set_task(struct thing *thing)
{
    PyObject *done = get_attribute(thing->given, NAME("_done"));
    int result = done ? set_primitive(thing, done, &event_waitable, 1) : -1;

    Py_XDECREF(done);
    return result;
}

static int set_file(struct thing *thing)
{
    PyObject *given = thing->given;

    if (!PyLong_Check(given) && !PyObject_HasAttrString(given, "fileno"))
        return refuse_thing(PyExc_TypeError, "can wait for threads, tasks, LWPs, events, semaphores, locks and files, not for %R",
                            given);
    thing->kind = &file_waitable;
    return (thing->fd = PyObject_AsFileDescriptor(given)) < 0 ? -1 : 0;
}

int wait_set_thing(struct thing *thing, PyObject *given, int forever)
{
    thing->given = given;
    thing->forever = forever;
    if (PyObject_TypeCheck(given, event_type))
        return set_primitive(thing, given, &event_waitable, event_is_in_c(given));
    if (PyObject_TypeCheck(given, semaphore_type))
        return set_primitive(thing, given, &semaphore_waitable, semaphore_count(given) >= 0);
    if (PyObject_TypeCheck(given, lock_type))
        return set_primitive(thing, given, &lock_waitable, 1);
    if (PyObject_TypeCheck(given, rlock_type))
        return set_primitive(thing, given, &rlock_waitable, 1);
    if (PyObject_TypeCheck(given, lwp_type))
        return set_lwp(thing, given);
    if (thread_class && PyObject_TypeCheck(given, (PyTypeObject *)thread_class))
        return set_thread(thing);
    return task_class && PyObject_TypeCheck(given, (PyTypeObject *)task_class) ? set_task(thing) : set_file(thing);
}

/* Two permits of one semaphore can't be had by trying one after the other: -1 with an exception. */
static int refuse_twice(const struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        for (Py_ssize_t j = 0; j < i && w->things[i].kind->take; j++)
            if (w->things[j].object == w->things[i].object)
                return refuse_thing(PyExc_ValueError, "%R can't be acquired twice at once", w->things[i].given);
    return 0;
}

static void forget_things(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        Py_XDECREF(w->things[i].object);
    PyMem_Free(w->things);
    PyMem_Free(w->polled);
}

static int set_things(struct waiting *w)
{
    Py_ssize_t count = PyTuple_GET_SIZE(w->given);

    if (!(w->things = PyMem_Calloc((size_t)count + 1, sizeof *w->things))) {
        PyErr_NoMemory();
        return -1;
    }
    for (; w->count < count; w->count++) {
        if (wait_set_thing(&w->things[w->count], PyTuple_GET_ITEM(w->given, w->count), w->deadline == PARK_FOREVER) < 0)
            return -1;
        w->files += is_file(&w->things[w->count]);
    }
    if (w->files && !(w->polled = PyMem_Calloc((size_t)w->files + 2, sizeof *w->polled))) {
        PyErr_NoMemory();
        return -1;
    }
    return w->all ? refuse_twice(w) : 0;
}

/* Those that are ready: NULL with an exception, and then nothing is taken. */
static PyObject *list_ready(struct waiting *w)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < w->count; i++)
        if (w->things[i].ready && PyList_Append(list, w->things[i].given) < 0)
            Py_CLEAR(list);
    if (!list)
        give_all_back(w);
    return list;
}

/* As Event.wait() takes it; there NaN is 0 before Python 3.14. */
static int set_deadline(struct waiting *w, PyObject *timeout)
{
    if (!PyFloat_Check(timeout) || !isnan(PyFloat_AS_DOUBLE(timeout)))
        return args_wait_deadline(timeout, &w->deadline);
    PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)"); /* as the interpreter's own */
    return -1;
}

/* (tuple of things, timeout, for all of them): a list. */
static PyObject *wait_things(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct waiting w = {.since = park_now()};
    PyObject *list = NULL;

    (void)module;
    if (count != 3 || !PyTuple_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "wait_things(tuple, timeout, all)");
        return NULL;
    }
    w.given = args[0];
    w.all = args[2] == Py_True;
    w.looks = !park_green && _PyOS_IsMainThread(); /* a scheduler looks for signals itself */
    if (explore_me())
        PyErr_SetString(PyExc_NotImplementedError, "runtime.wait() can't be explored");
    else if (set_deadline(&w, args[1]) == 0 && set_things(&w) == 0
             && (w.all     ? wait_for_all(&w)
                 : w.count ? wait_for_first(&w, 0, w.count)
                           : 0)
                    >= 0)
        list = list_ready(&w);
    forget_things(&w);
    return list;
}

static PyObject *set_class(PyObject **at, PyObject *type)
{
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "must be a class");
        return NULL;
    }
    Py_XSETREF(*at, Py_NewRef(type));
    Py_RETURN_NONE;
}

static PyObject *set_thread_class(PyObject *module, PyObject *type)
{
    (void)module;
    return set_class(&thread_class, type);
}

static PyObject *set_task_class(PyObject *module, PyObject *type)
{
    (void)module;
    return set_class(&task_class, type);
}

static PyMethodDef functions[] = {
    {"wait_thread_class", set_thread_class, METH_O, "(threading's Thread)"},
    {"wait_task_class", set_task_class, METH_O, "(the class Task)"},
    {"wait_things", FAST(wait_things), METH_FASTCALL, "(tuple of things, timeout, whether all): those that are ready."},
    {0},
};

int python_add_wait(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
