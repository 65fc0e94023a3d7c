/* From a bare LWP to a Python thread and back: what its thread runs, and how it is started.
 *
 * The creator makes the PyThreadState, so that a lack of memory fails the start.  The new thread completes it, which needs no GIL, and
 * only then waits for the GIL.  So boot_start() waits for nothing, unless many threads are on their way (gil_queue.c).  The interpreter
 * must not be finalized while a thread completes its state: `starting` counts those threads, and gate_close() waits for them.
 *
 * OWN_STATE.  A free-threaded interpreter binds a state to the thread that makes it (Python/pystate.c, bind_tstate): it finds the owner
 * of an object by that thread's id, because only the owner may change the object's counts without a lock (Python/brc.c), and the new
 * thread would allocate from that thread's heaps.  If the state were bound to the creator, a living thread would be taken for dead.  So
 * here the thread makes its own state, which needs no GIL either, and the creator waits until it has one: a lack of memory still fails
 * the start.  Two kinds of thread have no creator that could report ENOMEM: a green thread starts long after its creator has gone on,
 * and a process may be killed before it starts.  These retry until there is memory. */
#include "python/threads/boot.h"

#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/registry.h"
#include "python/args.h"
#include "python/threads/chunks.h"
#include "python/threads/faulthandler.h"
#include "python/threads/gil_crowd.h"
#include "python/threads/gil_queue.h"
#include "python/threads/gil_state.h"
#include "python/without_gil/heaps.h"
#include "python/room.h"
#include "python/green/scheduler.h"
#include "python/sync/serial.h"
#include "python/threads/sleep.h"
#include "python/threads/wake.h"
#include "green/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

enum { CROWD = 64 }; /* threads from which on they may crowd before the GIL: gil_crowd.c */

enum { OWN_STATE = WITHOUT_GIL };

/* Why a thread has not begun: an errno, or what its `first` has raised.  All 0: it has begun. */
struct failure {
    int error;
    PyObject *type, *value, *traceback;
};

struct boot {
    PyThreadState *tstate;     /* OWN_STATE: NULL until the thread has made it */
    struct boot_target target; /* with references */
    struct lwp *lwp;
    struct failure *failed;    /* its creator's, if the creator waits; otherwise NULL */
    int counted;               /* a green thread that its creator has counted as `starting` */
    enum { STARTING, STARTED, RUNNING } stage; /* STARTING, RUNNING: the count of that name includes it */
};

static atomic_int starting;    /* threads that have not completed their PyThreadState yet */
static atomic_int gate_closed; /* the interpreter is about to end: a start returns when its thread has completed its state */
static atomic_int gate_refuses; /* the interpreter makes no more threads: see boot_refused() */
static atomic_long running;    /* threads inside their Python function, for _thread._count() */

const struct boot_keeps *boot_keeps;
int (*boot_may_call)(void);
void (*boot_has_called)(void);

/* ---- the thread's side ------------------------------------------------------------------------------------------- */

static void report_exception(PyObject *function)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) { /* as _thread.start_new_thread: it ends the thread, silently */
        PyErr_Clear();
        return;
    }
    compat_report_unraisable(function);
}

static void started_one(void)
{
    if (atomic_fetch_sub(&starting, 1) == 1 && atomic_load(&gate_closed))
        park_wake(&starting, INT_MAX, PARK_PRIVATE);
}

/* Makes the state of the thread with this ident: the caller with OWN_STATE, otherwise a thread that is about to begin. */
static PyThreadState *new_state(struct lwp *lwp)
{
    PyThreadState *tstate = compat_new_state();

    if (!tstate)
        return NULL;
    compat_set_stack(tstate, lwp->stack_low, lwp->stack_high);
    tstate->thread_id = lwp->ident;
    return tstate;
}

static void discard_state(PyThreadState *tstate)
{
    if (!tstate)
        return;
    PyThreadState_Clear(tstate);
    PyThreadState_Delete(tstate);
}

static void complete_state(PyThreadState *tstate, struct lwp *lwp)
{
    tstate->native_thread_id = (unsigned long)lwp->tid;
    compat_bind_state(tstate);
}

static PyObject *call_function(const struct boot_target *target)
{
    if (boot_may_call && !boot_may_call())
        Py_RETURN_NONE;
    return target->body ? target->body->run(target->function) : PyObject_Call(target->function, target->args, target->kwargs);
}

static void call_target(struct boot *boot)
{
    const struct boot_target *target = &boot->target;
    PyObject *result = call_function(target);

    EVENT(EVENT_RETURNED, !result || (target->body && result == Py_True), 0);
    if (!result)
        report_exception(target->function);
    else if (!target->body && !(boot->lwp->flags & CLONE_THREAD) && PyLong_Check(result))
        boot->lwp->exit_status = (int)(PyLong_AsUnsignedLongMask(result) & 0xff);
    Py_XDECREF(result);
    if (target->body)
        target->body->leave(target->function);
    else if (serial_may_hold())
        serial_keep_name(PyUnicode_FromFormat("LWP %d", atomic_load(&boot->lwp->tid)));
    if (boot_has_called)
        boot_has_called();
}

static void discard_boot(struct boot *boot)
{
    Py_DECREF(boot->target.function);
    Py_XDECREF(boot->target.args);
    Py_XDECREF(boot->target.kwargs);
    Py_XDECREF(boot->target.first);
    PyMem_RawFree(boot);
}

/* Whether the main thread sleeps while this green thread runs, so the interpreter can't be finalized meanwhile. */
static int is_on_main_lwp(struct lwp *lwp)
{
    struct scheduler *scheduler = green_of_lwp(lwp)->scheduler;

    return !scheduler_own_lwps(scheduler) && scheduler_tid(scheduler) == getpid();
}

/* A green thread counts as `starting` only from its first turn on, because that may come late, and gate_close() must not wait for it.  One
 * that is started after gate_close() is counted by its creator.  0: it must not start, because the interpreter may be gone. */
static int green_may_start(const struct boot *boot)
{
    if (boot->counted)
        return 1;
    atomic_fetch_add(&starting, 1);
    if (!atomic_load(&gate_closed) || (is_on_main_lwp(boot->lwp) && !Py_IsFinalizing()))
        return 1;
    started_one();
    return 0;
}

/* 0: there is no memory, and the creator has been told.  Not inlined, as call_first(): run_python() lies below all frames of a thread, and
 * the page that holds them is nearly full when one that does little sleeps (tests/runtime/core/test_costs.py). */
__attribute__((noinline)) static int make_own_state(struct boot *boot)
{
    if (boot_keeps && (boot->tstate = boot_keeps->take(boot->lwp)))
        return 1;
    while (!(boot->tstate = new_state(boot->lwp))) {
        if (boot->failed) {
            lwp_uncount_start();
            boot->failed->error = ENOMEM;
            started_one();
            gil_queue_unreserve();
            return 0;
        }
        int64_t soon = park_now() + PARK_SECOND / 1000;
        python_sleep_until(&soon);
    }
    return 1;
}

/* 0: it has raised, and the creator will find the exception. */
__attribute__((noinline)) static int call_first(struct boot *boot)
{
    PyObject *result = PyObject_CallNoArgs(boot->target.first);

    if (!result) {
        lwp_uncount_start();
        PyErr_Fetch(&boot->failed->type, &boot->failed->value, &boot->failed->traceback);
    }
    Py_XDECREF(result);
    return result != NULL;
}

static void run_python(void *arg)
{
    struct boot *boot = arg;
    struct lwp *lwp = boot->lwp;

    if (green_of_lwp(lwp)->scheduler && !green_may_start(boot))
        return;
    if (OWN_STATE && !make_own_state(boot))
        return;
    PyThreadState *tstate = boot->tstate;
    complete_state(tstate, boot->lwp);
    chunks_begin_at(boot->lwp->context->scratch, tstate);
    boot->stage = STARTED;
    started_one();
    EVENT(EVENT_PYTHON, tstate, 0);
    /* Once the interpreter has ended this ends the thread by pthread_exit(): see thread_run() in kernel/lwp/thread_main.c.  A process takes no
     * place in the queue: if it were killed there, the threads behind it would wait without end.  A green thread needs none: those of a
     * scheduler start one at a time. */
    if ((boot->lwp->flags & CLONE_THREAD) && !green_of_lwp(boot->lwp)->scheduler)
        gil_queue_enter(tstate);
    else
        PyEval_RestoreThread(tstate);
    EVENT(EVENT_HAS_GIL, 0, 0);
    atomic_fetch_add(&running, 1);
    boot->stage = RUNNING;
    if (!boot->target.first || call_first(boot)) {
        waker_say_begun(boot->lwp);
        EVENT(EVENT_TARGET, boot->target.function, boot->target.body != NULL);
        call_target(boot);
    }
    atomic_store_explicit(&boot->lwp->arg, NULL, memory_order_relaxed); /* nothing is left for boot_reclaim() */
    discard_boot(boot);
    atomic_fetch_sub(&running, 1);
    int kept = boot_keeps && green_of_lwp(lwp)->explored && boot_keeps->put(tstate, lwp->context);
    if (!kept)
        heaps_clear_state(tstate);
    EVENT(EVENT_LEAVES_GIL, 0, 0);
    waker_forget_creator();
    if (kept)
        PyEval_SaveThread();
    else
        PyThreadState_DeleteCurrent();
    waker_do_deferred();
}

/* A process in our memory that was killed, or called _exit(), has left its PyThreadState on the interpreter's list.  If it stayed there,
 * faulthandler, sys._current_frames() and finalization would read a stack that another thread uses by then.  The objects of its frames
 * leak, because nobody knows how far it had come with them. */
void boot_reclaim(struct lwp *lwp)
{
    struct boot *boot = atomic_exchange(&lwp->arg, NULL); /* several may join it */

    if (!boot)
        return;
    if (boot->tstate)
        compat_unbind_state(boot->tstate);
    discard_state(boot->tstate);
    if (boot->stage == STARTING)
        started_one();
    else if (boot->stage == RUNNING)
        atomic_fetch_sub(&running, 1);
    discard_boot(boot);
}

/* ---- the creator's side ------------------------------------------------------------------------------------------ */

/* The rule of the interpreter's own threads.  3.11 never refuses.  3.12 refuses once interp->finalizing is set, which we can't read:
 * Python calls gate_refuse() at that point.  From 3.13 on Py_IsFinalizing() is the answer. */
int boot_refused(const char *text)
{
    if (FINALIZING_REFUSES ? !Py_IsFinalizing() : !atomic_load(&gate_refuses))
        return 0;
    PyErr_SetString(PyExc_PythonFinalizationError, text);
    return 1;
}

static int wait_for_starters(void *Py_UNUSED(unused))
{
    int n;

    while ((n = atomic_load(&starting)) != 0)
        park_wait(&starting, n, PARK_FOREVER, PARK_PRIVATE);
    return 0;
}

/* The record of what the thread runs, with its PyThreadState unless OWN_STATE.  NULL with an exception. */
static struct boot *new_boot(struct lwp *lwp, const struct boot_target *target)
{
    PyThreadState *tstate = NULL;
    struct boot *boot;

    if (boot_refused("can't create new thread at interpreter shutdown"))
        return NULL;
    EVENT(EVENT_PREPARES, 0, 0);
    if ((!OWN_STATE && !(tstate = new_state(lwp))) || !(boot = PyMem_RawMalloc(sizeof *boot))) {
        discard_state(tstate);
        return (struct boot *)raise_errno(ENOMEM);
    }
    *boot = (struct boot){.tstate = tstate, .target = *target, .lwp = lwp, .stage = STARTING};
    Py_INCREF(target->function);
    Py_XINCREF(target->args);
    Py_XINCREF(target->kwargs);
    Py_XINCREF(target->first);
    return boot;
}

static int not_begun(struct boot *boot, int error)
{
    discard_state(boot->tstate);
    discard_boot(boot);
    raise_errno(error);
    return -1;
}

/* After gate_close() a start returns only when no thread is `starting` any more. */
static void see_gate(int gives_up_gil)
{
    if (!atomic_load(&gate_closed))
        return;
    if (gives_up_gil)
        python_sleep(&(struct python_sleep){wait_for_starters, .no_point = 1});
    else
        wait_for_starters(NULL);
}

int boot_start_green(struct lwp *lwp, const struct boot_target *target, struct scheduler *scheduler)
{
    struct boot *boot = new_boot(lwp, target);

    if (!boot)
        return -1;
    int counted = boot->counted = atomic_load(&gate_closed) && scheduler_is_run(scheduler);
    atomic_fetch_add(&starting, counted);
    python_give_up_begin();
    int error = python_spawn_carriers(scheduler);
    if (!error)
        error = lwp_start_green(lwp, scheduler, run_python, boot);
    python_give_up_end();
    if (error && counted)
        started_one();
    if (error)
        return not_begun(boot, error);
    if (counted)
        see_gate(1); /* the thread may come to wait for the GIL on the caller's LWP */
    return 0;
}

struct cloning {
    struct lwp *lwp;
    unsigned long flags;
    int exit_signal;
    struct boot *boot;
};

static int clone_thread(void *arg)
{
    struct cloning *c = arg;

    return lwp_start(c->lwp, c->flags, c->exit_signal, run_python, c->boot);
}

/* Counts the thread as `starting` and clones it: 0, or an errno. */
static int clone_counted(struct cloning *c)
{
    int error;

    atomic_fetch_add(&starting, 1);
    if (c->flags & CLONE_VFORK) /* clone() returns when the child has ended, and the child wants the GIL */
        error = python_sleep(&(struct python_sleep){clone_thread, c, .no_point = 1});
    else {
        python_give_up_begin();
        error = clone_thread(c);
        python_give_up_end();
    }
    if (error)
        started_one();
    return error;
}

/* Gives the thread a place to say why it can't begin, if it has a step that may fail: 1, its creator must see it begin. */
static int may_fail(struct boot *boot, struct failure *failed)
{
    if (!OWN_STATE && !boot->target.first)
        return 0;
    boot->failed = failed;
    return 1;
}

static int await_end(void *lwp)
{
    return lwp_join(lwp, PARK_FOREVER);
}

/* Returns when the thread has begun.  -1 with an exception: it couldn't, and has ended. */
static int see_begin(struct boot *boot, struct lwp *lwp, const struct failure *failed)
{
    EVENT(EVENT_AWAITS, lwp->tp, 0);
    python_sleep(&(struct python_sleep){waker_await_begun, lwp, .no_point = 1});
    gil_crowd_ask_at_once(0);
    if (!failed->error && !failed->type)
        return 0;
    while (python_sleep(&(struct python_sleep){await_end, lwp, .no_point = 1}) == EINTR)
        ; /* handlers run when the start returns: it ends at once */
    if (failed->error)
        return not_begun(boot, failed->error);
    PyErr_Restore(failed->type, failed->value, failed->traceback); /* the thread has freed the rest */
    return -1;
}

int boot_start(struct lwp *lwp, const struct boot_target *target, unsigned long flags, int exit_signal, int wait)
{
    struct boot *boot = new_boot(lwp, target);
    struct failure failed = {0};

    if (!boot)
        return -1;
    if (flags & CLONE_THREAD) { /* a process may be killed before it has begun: nobody waits for it */
        wait |= may_fail(boot, &failed);
        wait |= gil_queue_reserve();
    }
    if (atomic_load_explicit(&running, memory_order_relaxed) >= CROWD)
        gil_crowd_begins();
    waker_expect(lwp, wait);
    lwp->signal_stack = faulthandler_is_on();
    int error = clone_counted(&(struct cloning){lwp, flags, exit_signal, boot});
    if (error) {
        if (flags & CLONE_THREAD)
            gil_queue_unreserve();
        return not_begun(boot, error);
    }
    see_gate(OWN_STATE); /* there the thread may have to stop this thread before it can make a state */
    return wait ? see_begin(boot, lwp, &failed) : 0;
}

/* ---- the end of the interpreter ---------------------------------------------------------------------------------- */

void boot_count_running(int more)
{
    atomic_fetch_add(&running, more);
}

RETURNS(count_running, PyLong_FromLong(atomic_load(&running)))

/* Called before finalization, which must not meet a PyThreadState that its thread hasn't completed.  From here on a start returns only
 * when its thread has, and this call waits for the threads on the way.  So finalization meets known threads only, and stops them at the
 * GIL.  The wait is short, since completing a state needs no GIL. */
static PyObject *gate_close(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    atomic_store(&gate_closed, 1);
    python_sleep(&(struct python_sleep){wait_for_starters, .no_point = 1});
    Py_RETURN_NONE;
}

static PyObject *gate_refuse(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    atomic_store(&gate_refuses, 1);
    Py_RETURN_NONE;
}

static void boot_after_fork(void)
{
    atomic_store(&starting, 0);
    atomic_store(&running, registry_alive()); /* kernel/lwp/fork.c's handler has run before this one: it counts the caller at most */
}

size_t boot_stack_size(void)
{
    size_t set = PyThread_get_stacksize();
    return set ? set : glibc_default_stack();
}

/* threading.stack_size() can't be called to learn it: without an argument it resets the size to the default. */
RETURNS(stack_size, PyLong_FromSize_t(boot_stack_size()))

/* ---- the program of `lwp run` ------------------------------------------------------------------------------------ */

/* (function, *args): the program begins as a new thread does, with no Python frame below its first one.  So it sees what it sees under
 * `python`: sys._getframe(1) raises, warnings with a high stacklevel name no file of ours, and the recursion limit is as far away. */
static PyObject *call_outermost(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "call_outermost(function, *args)");
    PyThreadState *tstate = PyThreadState_Get();
    struct compat_frames below = compat_hide_frames(tstate, args[0]);
    PyObject *result = PyObject_Vectorcall(args[0], args + 1, (size_t)count - 1, NULL);
    compat_show_frames(tstate, below);
    return result;
}

static PyMethodDef functions[] = {
    POSITIONAL("call_outermost", call_outermost, NULL),
    {"stack_size", stack_size, METH_NOARGS, "Bytes: what threading.stack_size(n) has set, or what a pthread would get."},
    {"running", count_running, METH_NOARGS, "How many LWPs are inside their Python function."},
    {"gate_close", gate_close, METH_NOARGS, "For the end of the interpreter: see python/threads/boot.c."},
    {"gate_refuse", gate_refuse, METH_NOARGS, "From now on no LWP can be started: RuntimeError.  From 3.13 on it changes nothing."},
    {0},
};

static int add_boot(PyObject *module)
{
    waker_init();
    chunks_init();
    return faulthandler_find() < 0 ? -1 : 0;
}

const struct entries entries_boot = {.add = add_boot, .functions = functions, .after_fork = boot_after_fork};
