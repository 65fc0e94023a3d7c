/* The points of a copy of the core, whose files of protocols were compiled to come to one before each atomic operation and each futex
 * call.  An explored thread that calls the copy, by call(), stops at each of them; the explorer is that of runtime.native.
 *
 * THE KERNEL is here: which thread sleeps at which word, in the order of coming.  A sleep is two points: in the first the word is compared
 * and the thread enters; the second can be passed once it was woken, by its deadline, or by interrupt().  Deadlines are on the run's
 * clock.  A thread that is lost by fork() passes none.
 *
 * THE END OF A RUN.  A thread that is unwound leaves the C by longjmp() to its call(): what it had begun stays as it is, as nothing looks at
 * it any more. */
#include "points.h"

#include "python/explore/point.h"
#include "python/sync/lock.h"
#include "python/threads/lwp.h"
#include "python/threads/sleep.h"
#include "python/threads/wake.h"
#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"
#include "kernel/lwp/thread_main.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct explore_points *points;

/* ---- words ------------------------------------------------------------------------------------------------------- */

static PyObject *words; /* address: an object that stands for it in the explorer */

static PyObject *word_at(const volatile void *at)
{
    PyObject *address = PyLong_FromVoidPtr((void *)at), *word = address ? PyDict_GetItemWithError(words, address) : NULL;

    if (!word && !PyErr_Occurred() && (word = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type))) {
        PyDict_SetItem(words, address, word);
        Py_DECREF(word);
    }
    Py_XDECREF(address);
    return word;
}

/* A variable: each run begins with it 0. */
static struct {
    void *at;
    const struct point_site *site;
} variables[16];
static int variable_count;

static int is_variable(const char *text)
{
    if (*text++ != '&')
        return 0;
    while (isalnum((unsigned char)*text) || *text == '_')
        text++;
    return !*text;
}

static void note_variable(const struct point_site *site, const volatile void *at)
{
    for (int i = 0; i < variable_count; i++)
        if (variables[i].at == at)
            return;
    if (variable_count == sizeof variables / sizeof *variables)
        abort(); /* make it larger */
    variables[variable_count].at = (void *)at;
    variables[variable_count++].site = site;
}

/* ---- points ------------------------------------------------------------------------------------------------------ */

/* A call into the copy, of an explored thread. */
struct call {
    jmp_buf out;
    PyThreadState *tstate;
    PyObject *handler; /* called when a sleep was interrupted, as a signal handler is; or NULL */
};
static __thread struct call *my_call; /* the innermost; NULL: what the thread does is not explored */

static int lost[EXPLORE_THREADS]; /* by fork() */

/* What was done in this run, for a report. */
static struct step {
    int thread;
    const char *does;
    const struct point_site *site; /* or NULL */
} steps[4000];
static int step_count;

static void note_step(const struct explored *me, const char *does, const struct point_site *site)
{
    if (step_count < (int)(sizeof steps / sizeof *steps))
        steps[step_count++] = (struct step){me->index, does, site};
}

static int is_there(const struct explored *thread)
{
    return !lost[thread->index];
}

/* at NULL: what is done matters to all words. */
static void come_to(const char *does, const struct point_site *site, enum explore_kind kind, const volatile void *at, explore_can *can,
                    int64_t deadline)
{
    struct call *call = my_call;
    struct explored *me = points->me();
    int has_gil = PyGILState_Check(), result = -1;
    PyObject *word = NULL;

    if (!has_gil)
        PyEval_RestoreThread(call->tstate);
    PyObject *raised = PyErr_GetRaisedException(); /* what the C is about to raise: a report's notes are Python */
    my_call = NULL;
    if (!at)
        result = points->point(me, &(struct explore_op){kind, NULL, can, deadline});
    else if ((word = word_at(at)))
        result = points->point_at(me, kind, word, can, deadline);
    my_call = call;
    if (result < 0 || points->is_unwinding())
        longjmp(call->out, 1);
    PyErr_SetRaisedException(raised);
    note_step(me, does, site);
    if (!has_gil)
        PyEval_SaveThread();
}

/* What is set once, before there are two threads, or is of no matter to a protocol. */
static int is_settled(const char *text)
{
    static const char *const settled[]
        = {"&events_wanted", "&park_ops",          "&park_cancel_ops", "&cancel_green", "&floors[floor]",
           "&self->owner",   "&wait->self->owner", "&self->bound",     "&lwps_ending",  "&lwps_beside_count",
           "&lwp_left",      "glibc.thread_count", "&lwp->refs"};

    for (size_t i = 0; i < sizeof settled / sizeof *settled; i++)
        if (strcmp(text, settled[i]) == 0)
            return 1;
    return 0;
}

void point_before(struct point_site *site, const volatile void *at)
{
    if (site->how == POINT_NEW && is_settled(site->text))
        site->how = POINT_PASSED_BY;
    if (!my_call || site->how == POINT_PASSED_BY || (strcmp(site->text, "forks") == 0 && !fork_generation))
        return;
    if (site->how == POINT_NEW && is_variable(site->text))
        note_variable(site, at);
    site->how = POINT_EXPLORED;
    come_to(site->does, site, site->writes ? EXPLORE_SIGNAL : EXPLORE_READ, at, is_there, PARK_FOREVER);
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

/* By thread.  It sleeps at one word, or, with futex_waitv(), at two. */
static struct sleeper {
    struct {
        const volatile void *at;
        unsigned bits;
    } words[2];
    long came; /* 0: it doesn't sleep */
    int ended; /* 0: it sleeps on; from 1 on: the word that was woken; or INTERRUPTED */
} sleepers[EXPLORE_THREADS];
enum { INTERRUPTED = -1 };
static long comings;

static int is_awake(const struct explored *thread)
{
    return is_there(thread) && sleepers[thread->index].ended;
}

static struct sleeper *me_sleeping(void)
{
    return &sleepers[points->me()->index];
}

static void enter(struct sleeper *me, int number, const volatile void *at, unsigned bits)
{
    me->words[number].at = at;
    me->words[number].bits = bits;
    if (!me->came)
        me->came = ++comings;
}

/* The word that it was woken at, or a negative error. */
static int sleep_until_ended(struct sleeper *me, const volatile void *at, int64_t deadline)
{
    come_to("goes on after its sleep", NULL, EXPLORE_WAKE, at, is_awake, deadline);
    int ended = me->ended; /* a wake-up that has come counts, also if the time is up now */
    *me = (struct sleeper){0};
    return ended == INTERRUPTED ? -EINTR : ended ? ended - 1 : -ETIMEDOUT;
}

static int futex_wait_at(const atomic_int *at, int expected, unsigned bits, int64_t deadline)
{
    struct sleeper *me = me_sleeping();

    come_to("futex wait", NULL, EXPLORE_WAIT, at, is_there, PARK_FOREVER);
    if (*at != expected)
        return -EAGAIN;
    enter(me, 0, at, bits);
    int woken = sleep_until_ended(me, at, deadline);
    return woken < 0 ? woken : 0;
}

/* The kernel compares and enters one word after the other, and of two that were woken names the last (kernel/futex/waitwake.c,
 * futex_wait_multiple_setup, futex_unqueue_multiple). */
static int futex_wait_at_two(const uint64_t *both, int64_t deadline)
{
    struct sleeper *me = me_sleeping();

    for (int i = 0; i < 2; i++) {
        const atomic_int *at = (const atomic_int *)(uintptr_t)both[3 * i + 1];
        come_to("futex wait", NULL, EXPLORE_WAIT, at, is_there, PARK_FOREVER);
        if (*at != (int)both[3 * i]) {
            int woken = me->ended;
            *me = (struct sleeper){0};
            return woken > 0 ? woken - 1 : -EAGAIN;
        }
        enter(me, i, at, FUTEX_BITSET_MATCH_ANY);
    }
    return sleep_until_ended(me, NULL, deadline);
}

static struct sleeper *first_at(const volatile void *at, unsigned bits, int *number)
{
    struct sleeper *first = NULL;

    for (int i = 0; i < points->run->count; i++)
        for (int word = 0; word < 2; word++) {
            struct sleeper *one = &sleepers[i];
            if (lost[i] || !one->came || one->words[word].at != at || !(one->words[word].bits & bits))
                continue;
            if (!first || one->came < first->came) {
                first = one;
                *number = word;
            }
        }
    return first;
}

static int futex_wake_at(const volatile void *at, int count, unsigned bits)
{
    struct sleeper *one;
    int woken = 0, number;

    come_to("futex wake", NULL, EXPLORE_SIGNAL, at, is_there, PARK_FOREVER);
    for (; woken < count && (one = first_at(at, bits, &number)); woken++) {
        one->words[number].at = NULL; /* it leaves this word's queue */
        one->ended = one->ended > number + 1 ? one->ended : number + 1;
    }
    return woken;
}

static int futex_requeue(const atomic_int *from, int count, const atomic_int *to, int expected)
{
    struct sleeper *one;
    int number;

    come_to("futex requeue", NULL, EXPLORE_SIGNAL, NULL, is_there, PARK_FOREVER);
    if (*from != expected)
        return -EAGAIN;
    for (; count-- && (one = first_at(from, FUTEX_BITSET_MATCH_ANY, &number));) {
        one->words[number].at = to;
        one->came = ++comings;
    }
    return 0;
}

static int64_t in_ns(const struct timespec *time)
{
    return time ? time->tv_sec * PARK_SECOND + time->tv_nsec : PARK_FOREVER;
}

static long do_futex(const long *args)
{
    const atomic_int *at = (const atomic_int *)args[0];
    const struct timespec *time = (const struct timespec *)args[3];

    switch (args[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
        return futex_wait_at(at, (int)args[2], FUTEX_BITSET_MATCH_ANY, time ? points->run->now + in_ns(time) : PARK_FOREVER);
    case FUTEX_WAIT_BITSET:
        return futex_wait_at(at, (int)args[2], (unsigned)args[5], in_ns(time));
    case FUTEX_WAKE:
        return futex_wake_at(at, (int)args[2], FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake_at(at, (int)args[2], (unsigned)args[5]);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(at, (int)args[3], (const atomic_int *)args[4], (int)args[5]);
    default:
        return -ENOSYS;
    }
}

long point_syscall(long number, ...)
{
    enum { WAITV = 449 };
    long args[6], result;
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        args[i] = va_arg(list, long);
    va_end(list);
    if (!my_call)
        return syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    if (number == SYS_futex)
        result = do_futex(args);
    else if (number == WAITV)
        result = futex_wait_at_two((const uint64_t *)args[0], in_ns((const struct timespec *)args[3]));
    else
        result = -ENOSYS;
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

int point_prctl(int option, ...)
{
    return 0; /* timer slack: there is no timer */
}

int point_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!my_call)
        return clock_gettime(clock, now);
    *now = (struct timespec){points->run->now / PARK_SECOND, points->run->now % PARK_SECOND};
    return 0;
}

/* All run on one processor, where no thread looks before it sleeps: otherwise a run would depend on where its threads happen to be. */
int point_sched_getcpu(void)
{
    return 0;
}

/* ---- a fork ------------------------------------------------------------------------------------------------------ */

static const struct fork_handlers *fork_handlers; /* of the queues */

void point_fork_handle(enum fork_floor floor, const struct fork_handlers *handlers)
{
    fork_handlers = handlers;
    fork_handle(floor, handlers);
}

/* (may): if may() is true then, the run is the child's from here on: of the threads that there are only the caller and the test's own
 * first one go on. */
static PyObject *fork_if(PyObject *module, PyObject *may)
{
    struct explored *me = points->me();

    if (points->point(me, &(struct explore_op){EXPLORE_SIGNAL, NULL, is_there, PARK_FOREVER}) < 0)
        return NULL;
    PyObject *answer = PyObject_CallNoArgs(may);
    if (answer != Py_True)
        return answer;
    for (int i = 1; i < points->run->count; i++)
        lost[i] = i != me->index;
    fork_generation++;
    fork_handlers->in_child();
    return answer;
}

/* ---- the end of a thread ----------------------------------------------------------------------------------------- */

/* An LWP that a run has begun, of which there is no more than the struct lwp and its context: an explored thread plays its end. */
static struct ending {
    struct lwp *lwp;
    enum { RUNS, EXITS, PUSHED, GONE } state;
    int explored; /* as an explored thread, in green/thread.c, it tells its end before it is left */
} endings[8];
static int ending_count;
static __thread struct ending *my_ending;
static __thread jmp_buf exited;

/* As the kernel: it clears the word, and wakes one sleeper there (kernel/fork.c, mm_release). */
_Noreturn void point_arch_exit(int status)
{
    atomic_int *alive = &my_ending->lwp->alive;

    my_ending->state = PUSHED;
    if (my_call)
        come_to("the kernel clears alive", NULL, EXPLORE_SIGNAL, alive, is_there, PARK_FOREVER);
    *alive = 0;
    my_ending->state = GONE; /* from here on another thread may reap and free it */
    if (my_call)
        futex_wake_at(alive, 1, FUTEX_BITSET_MATCH_ANY);
    longjmp(exited, 1);
}

/* `leave` of a green thread: leave_lwp() in green/thread.c, and what the next thread on that LWP does. */
static void leave_as_green(struct lwp *lwp)
{
    if (my_ending->explored)
        lwp_tell_end(lwp);
    registry_push_ended(lwp, lwp);
    my_ending->state = PUSHED;
    lwp_clear_alive(lwp);
    my_ending->state = GONE;
    longjmp(exited, 1);
}

static void do_nothing(void *arg)
{
}

static void exit_as(struct ending *ending)
{
    my_ending = ending;
    ending->state = EXITS;
    ending->lwp->counted = !ending->lwp->leave;
    /* Not before: a run goes on waiting as long as there are LWPs outside of it. */
    atomic_fetch_add(glibc.thread_count, ending->lwp->counted);
    if (setjmp(exited) == 0)
        thread_run(ending->lwp);
}

/* (LWP, whether it is green, whether it is explored as such): it runs from now on. */
static PyObject *begin_lwp(PyObject *module, PyObject *args)
{
    PyObject *lwp;
    int green, explored;

    if (!PyArg_ParseTuple(args, "Opp", &lwp, &green, &explored))
        return NULL;
    struct ending *one = &endings[ending_count++];
    *one = (struct ending){((LwpObject *)lwp)->lwp, RUNS, explored};
    if (lwp_prepare(one->lwp, lwp_thread_flags, 0, do_nothing, NULL))
        return PyErr_NoMemory();
    if (green)
        one->lwp->leave = leave_as_green;
    lwp_begins(one->lwp);
    Py_RETURN_NONE;
}

/* (LWP): the caller is that thread at its end, and then the kernel. */
static PyObject *end_lwp(PyObject *module, PyObject *lwp)
{
    struct ending *one = endings;

    while (one->lwp != ((LwpObject *)lwp)->lwp)
        one++;
    if (one->state == RUNS)
        exit_as(one);
    Py_RETURN_NONE;
}

/* (LWP, an enum waker_begun): its creator will wait until it has begun. */
static PyObject *expect_begin(PyObject *module, PyObject *args)
{
    PyObject *lwp;
    int begun;

    if (!PyArg_ParseTuple(args, "Oi", &lwp, &begun))
        return NULL;
    ((LwpObject *)lwp)->lwp->begun = begun;
    Py_RETURN_NONE;
}

static PyObject *await_begun(PyObject *module, PyObject *lwp)
{
    python_sleep(&(struct python_sleep){waker_await_begun, ((LwpObject *)lwp)->lwp, .no_point = 1});
    Py_RETURN_NONE;
}

static PyObject *say_begun(PyObject *module, PyObject *lwp)
{
    waker_say_begun(((LwpObject *)lwp)->lwp);
    Py_RETURN_NONE;
}

/* What happens where a thread of libpython's gives up the GIL. */
static PyObject *give_up_gil(PyObject *module, PyObject *unused)
{
    waker_wake_creator();
    Py_RETURN_NONE;
}

/* (LWP): whether no thread is counted as one of its joiners, or watches it. */
static PyObject *is_left(PyObject *module, PyObject *op)
{
    struct lwp *lwp = ((LwpObject *)op)->lwp;

    return PyBool_FromLong(lwp->joiners == 0 && !lwp->watchers);
}

/* Of a run that was cut short: what is left goes to its end. */
static void end_all(void)
{
    for (struct ending *one = endings; one < endings + ending_count; one++) {
        if (one->state == RUNS)
            exit_as(one);
        if (one->state == EXITS)
            registry_push_ended(one->lwp, one->lwp);
        if (one->state != GONE)
            one->lwp->alive = 0;
    }
    ending_count = 0;
    lwp_reap();
}

/* ---- what tests call --------------------------------------------------------------------------------------------- */

/* At the begin of each run. */
static PyObject *begin(PyObject *module, PyObject *unused)
{
    for (int i = 0; i < variable_count; i++)
        memset(variables[i].at, 0, variables[i].site->size);
    memset(sleepers, 0, sizeof sleepers);
    memset(lost, 0, sizeof lost);
    fork_generation = 0;
    comings = step_count = 0;
    end_all();
    PyDict_Clear(words);
    Py_RETURN_NONE;
}

/* (handler or None, function of the copy, arguments...): calls it with points inside. */
static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct call this = {.tstate = PyThreadState_Get(), .handler = args[0] == Py_None ? NULL : args[0]}, *volatile outer = my_call;
    PyObject *volatile result = NULL;

    if (setjmp(this.out) == 0) {
        my_call = &this;
        result = PyObject_Vectorcall(args[1], args + 2, (size_t)count - 2, NULL);
    } else if (!PyErr_Occurred())
        points->unwind();
    my_call = outer;
    return result;
}

/* `python_control` of the copy: raises what the handler of a signal raises. */
static int call_handler(int raise)
{
    struct call *call = my_call;

    if (!call || !call->handler)
        return 0;
    my_call = NULL;
    PyObject *none = PyObject_CallNoArgs(call->handler);
    my_call = call;
    Py_XDECREF(none);
    return !none;
}

static PyObject *no_scheduler(void)
{
    return NULL;
}

/* (condition, lock): waits as a thread that the end of the interpreter stops when it wants the GIL after its sleep: sleep_or_leave() in
 * python/threads/sleep.c.  The caller has the lock, and loses it. */
static PyObject *wait_and_be_stopped(PyObject *module, PyObject *args)
{
    PyObject *condition, *lock;

    if (!PyArg_ParseTuple(args, "OO", &condition, &lock))
        return NULL;
    struct sync_queue *queue = (struct sync_queue *)(condition + 1);
    struct sync_place place;
    int baton;
    sync_queue_lock(queue);
    sync_queue_enter(queue, &place, &((LockObject *)lock)->lock);
    sync_queue_unlock(queue);
    sync_lock_release(&((LockObject *)lock)->lock);
    sync_queue_wait(&place, points->run->now + PARK_SECOND);
    sync_queue_leave(queue, &place, &baton);
    if (baton)
        sync_queue_pass_baton(queue);
    Py_RETURN_NONE;
}

/* (thread): a signal, which ends its sleep. */
static PyObject *interrupt(PyObject *module, PyObject *thread)
{
    struct sleeper *one = &sleepers[PyLong_AsLong(thread)];

    if (points->point(points->me(), &(struct explore_op){EXPLORE_SIGNAL, NULL, is_there, PARK_FOREVER}) < 0)
        return NULL;
    if (one->came && !one->ended) {
        one->words[0].at = one->words[1].at = NULL;
        one->ended = INTERRUPTED;
    }
    Py_RETURN_NONE;
}

/* Of the last run: (thread, what it did, where, to what). */
static PyObject *list_steps(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    for (struct step *step = steps; step < steps + step_count; step++)
        append_to(&list, Py_BuildValue("(isss)", step->thread, step->does, step->site ? step->site->where : "",
                                       step->site ? step->site->text : ""));
    return list;
}

static PyMethodDef functions[] = {
    {"begin", begin, METH_NOARGS, NULL},
    {"call", FAST(call), METH_FASTCALL, NULL},
    {"wait_and_be_stopped", wait_and_be_stopped, METH_VARARGS, NULL},
    {"interrupt", interrupt, METH_O, NULL},
    {"fork_if", fork_if, METH_O, NULL},
    {"begin_lwp", begin_lwp, METH_VARARGS, NULL},
    {"end_lwp", end_lwp, METH_O, NULL},
    {"expect_begin", expect_begin, METH_VARARGS, NULL},
    {"await_begun", await_begun, METH_O, NULL},
    {"say_begun", say_begun, METH_O, NULL},
    {"give_up_gil", give_up_gil, METH_NOARGS, NULL},
    {"is_left", is_left, METH_O, NULL},
    {"steps", list_steps, METH_NOARGS, NULL},
    {0},
};

static int fill(PyObject *module)
{
    static const struct python_control control = {no_scheduler, call_handler};

    python_control = &control;
    points = PyCapsule_Import("lwp.native.explore_points", 0);
    words = PyDict_New();
    return points && words ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "points", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit_points(void)
{
    return PyModuleDef_Init(&definition);
}
