/* Helpers: LWPs that call for green threads what blocks in the kernel.
 *
 * THE DESIGN.  A call that can't be waited for in the poller would keep the caller's LWP, and all green threads with it.  So the caller
 * hands it to a helper and sleeps.  A helper takes the next call, or rests; one that has rested for REST ends.  There is no manager: a
 * caller that finds no helper at rest makes one.  A bounded call waits for its turn while MOST others run.  A call that isn't bounded
 * waits for another thread or process, which may itself need a helper, so it always gets a helper.
 *
 * The pool, `begun` and `abandoned` are under pool.lock, which is held for a few lines without Python.  A green thread's turn, a signal
 * handler or an asynchronous exception can't come between two lines here, so no call and no helper is lost on the way.
 *
 *   WAITING  bounded, and MOST run              -> BEGUN             by a helper that has finished another
 *   READY    a helper is on its way             -> BEGUN             by the first that comes
 *   BEGUN    runs, without the GIL where it blocks -> DONE, or freed if ABANDONED
 *   WAITING, READY -> freed, BEGUN -> ABANDONED the caller's wait has ended by an exception
 *   DONE     -> freed                           the caller has the result
 *
 * WAKING.  The caller wakes the helper, and the helper wakes the caller, each as part of its own sleep and without the GIL, because the
 * woken thread wants it.
 *
 * DEADLOCK.  A helper at rest can wake no thread, so is_deadlocked() in green/carrier.c doesn't count it.  The caller that takes a helper
 * counts it again before it sleeps itself.
 *
 * REJECTED.  To have the green thread itself go on on another LWP for the time of the call: the main thread, which lends its own, can't
 * leave that, and its calls block the others as well.  An LWP for each call: it takes four times as long (docs/measured/green.md), and has
 * no bound. */
#include "kernel/base/fork.h"
#include "kernel/base/park.h"
#include "green/green.h"
#include "green/shared_lwp.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/thread_main.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/threads/lwp.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <errno.h>
#include <string.h>

enum { MOST = 32 }; /* bounded calls at one time; as concurrent.futures has threads at most.  They sleep: processors don't matter */
#define REST (5 * PARK_SECOND)

struct call {
    PyObject *function, *args, *kwargs;
    PyObject *discard;                  /* called with a result that nobody takes, or NULL */
    PyObject *context, *handled;        /* the caller's context variables, a copy; the exception that it handles, or NULL */
    PyObject *result, *raised;          /* what it has returned; or NULL, and what it has raised */
    int bounded, begun, abandoned;
    uint64_t mask;                      /* the signals that the caller blocks */
    int forks;                          /* the fork_generation in which it was handed over */
    atomic_int done;                    /* the caller sleeps here */
    struct call *next;
};

struct calls {
    struct call *first, **end;
};

/* On the helper's stack; in the list only while it rests. */
struct helper {
    atomic_int taken; /* it sleeps here: 0 until a caller has taken it out of the list */
    atomic_int *done; /* of the call before: its caller must be woken.  It may be gone by then: only the address counts */
    struct helper *next;
};

static struct {
    atomic_int lock; /* order: docs/architecture.md */
    struct calls waiting, ready;
    struct helper *resting;
    int bounded; /* how many calls that are ready or begun are bounded, up to MOST */
} pool;

static PyObject *helper_function, *active; /* active: threading._active, the Threads by their ident */

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static void append_call(struct calls *calls, struct call *call)
{
    if (!calls->first)
        calls->end = &calls->first;
    *calls->end = call;
    calls->end = &call->next;
}

/* 1: it was there. */
static int remove_call(struct calls *calls, struct call *call)
{
    struct call **at = &calls->first;

    while (*at && *at != call)
        at = &(*at)->next;
    if (!*at)
        return 0;
    if (!(*at = call->next))
        calls->end = at;
    call->next = NULL;
    return 1;
}

static struct call *take_call(struct calls *calls)
{
    struct call *call = calls->first;

    if (call)
        remove_call(calls, call);
    return call;
}

static void free_call(struct call *call)
{
    Py_DECREF(call->function);
    Py_DECREF(call->args);
    Py_XDECREF(call->kwargs);
    Py_XDECREF(call->discard);
    Py_XDECREF(call->context);
    Py_XDECREF(call->handled);
    Py_XDECREF(call->result);
    Py_XDECREF(call->raised);
    PyMem_Free(call);
}

static struct call *new_call(PyObject *function, PyObject *args, PyObject *kwargs, PyObject *discard, int bounded)
{
    struct call *call = PyMem_Calloc(1, sizeof *call);

    if (!call)
        return (struct call *)PyErr_NoMemory();
    call->function = Py_NewRef(function);
    call->args = Py_NewRef(args);
    call->kwargs = Py_XNewRef(kwargs);
    call->discard = Py_XNewRef(discard);
    call->handled = PyErr_GetHandledException();
    call->bounded = bounded;
    call->forks = fork_generation;
    call->mask = green_lwp_mask();
    if ((call->context = PyContext_CopyCurrent()))
        return call;
    free_call(call);
    return NULL;
}

static void discard_result(struct call *call)
{
    if (!call->result || !call->discard)
        return;
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *none = PyObject_CallOneArg(call->discard, call->result);
    if (none)
        Py_DECREF(none);
    else
        PyErr_WriteUnraisable(call->discard);
    PyErr_SetRaisedException(raised);
}

/* ---- a helper ---------------------------------------------------------------------------------------------------- */

static struct call *next_call(void)
{
    park_lock(&pool.lock);
    struct call *call = take_call(&pool.ready);
    if (!call && pool.bounded < MOST && (call = take_call(&pool.waiting)))
        pool.bounded++;
    if (call)
        call->begun = 1;
    park_unlock(&pool.lock);
    return call;
}

static void run_call(struct call *call)
{
    /* An exception that it raises gets the one that the caller handles for its context, as if it were called there. */
    PyErr_SetHandledException(call->handled);
    if (PyContext_Enter(call->context) == 0) {
        call->result = PyObject_Call(call->function, call->args, call->kwargs);
        call->raised = PyErr_GetRaisedException(); /* PyContext_Exit() must not meet an exception */
        if (PyContext_Exit(call->context) < 0)
            PyErr_Clear(); /* the function has entered another context and not left it; ours goes with the call */
    } else
        call->raised = PyErr_GetRaisedException();
    PyErr_SetHandledException(NULL);
}

/* threading.current_thread() has made a Thread for the helper, if the function has called that, as logging does.  It would stay in
 * threading.enumerate(); up to Python 3.12 also after the helper's end. */
static void forget_thread(void)
{
    PyObject *ident = PyLong_FromUnsignedLong(my_ident());

    if (ident && PyDict_Contains(active, ident) > 0)
        PyDict_DelItem(active, ident);
    Py_XDECREF(ident);
    PyErr_Clear();
}

/* Where its caller sleeps, or NULL if the caller is gone. */
static atomic_int *finish_call(struct call *call)
{
    park_lock(&pool.lock);
    pool.bounded -= call->bounded;
    int abandoned = call->abandoned;
    atomic_int *done = abandoned ? NULL : &call->done;
    if (done)
        atomic_store(done, 1); /* from here on its caller may free it */
    park_unlock(&pool.lock);
    if (done)
        return done;
    discard_result(call);
    free_call(call);
    return NULL;
}

static void wake_caller(struct helper *me)
{
    if (me->done)
        park_wake(me->done, 1, PARK_PRIVATE);
    me->done = NULL;
}

static int rest_once(void *arg)
{
    struct helper *me = arg;
    int64_t until = park_now() + REST;

    wake_caller(
        me); /* before it counts as resting: otherwise a scheduler could find that nobody is left to wake the caller, a deadlock */
    green_lwp_rests();
    while (!atomic_load(&me->taken) && park_wait(&me->taken, 0, until, PARK_PRIVATE) != ETIMEDOUT)
        ;
    return 0;
}

/* 0: no caller has taken it for REST.  When the interpreter is being finalized, taking the GIL ends the thread, and its place stays in the
 * list: no caller looks there any more, is_for_helper(). */
static int rest_helper(struct helper *me)
{
    atomic_store(&me->taken, 0);
    park_lock(&pool.lock);
    me->next = pool.resting;
    pool.resting = me;
    park_unlock(&pool.lock);
    python_sleep(&(struct python_sleep){rest_once, me});
    park_lock(&pool.lock);
    int taken = atomic_load(&me->taken);
    if (!taken) {
        struct helper **at = &pool.resting;
        while (*at != me)
            at = &(*at)->next;
        *at = me->next;
    }
    park_unlock(&pool.lock);
    if (!taken)
        green_lwp_works();
    return taken;
}

/* In a child that the function has forked: the caller and the other helpers are lost, and this is its only thread. */
static void end_in_child(struct call *call)
{
    if (call->raised) {
        PyErr_SetRaisedException(Py_NewRef(call->raised));
        PyErr_WriteUnraisable(call->function);
    }
    free_call(call);
}

static PyObject *run_helper(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct helper me = {0};
    int forks = fork_generation;

    boot_count_running(-1); /* a helper is no thread of the program: _thread._count() */
    thread_set_signals(&green_all_signals);
    for (;;) {
        struct call *call = next_call();
        if (!call && rest_helper(&me))
            continue;
        if (!call)
            break;
        wake_caller(&me);
        thread_set_signals(&call->mask);
        run_call(call);
        if (forks != fork_generation) {
            end_in_child(call);
            break;
        }
        thread_set_signals(&green_all_signals);
        forget_thread();
        me.done = finish_call(call);
    }
    boot_count_running(1);
    Py_RETURN_NONE;
}

/* -1: there can be no more LWPs. */
static int start_helper(void)
{
    LwpObject *lwp = lwp_make(lwp_type, boot_stack_size());
    PyObject *none = PyTuple_New(0);
    int result = -1;

    if (lwp && none) {
        lwp_set_name(lwp->lwp, "lwp-helper", 1);
        lwp->lwp->aside = 1; /* its call belongs to a thread that counts */
        result = boot_start(lwp->lwp, &(struct boot_target){helper_function, none, NULL, NULL, NULL}, lwp_thread_flags, 0, 0);
    }
    Py_XDECREF(lwp);
    Py_XDECREF(none);
    PyErr_Clear();
    return result;
}

/* ---- the caller -------------------------------------------------------------------------------------------------- */

struct handing {
    struct call *call;
    atomic_int *taken; /* of the helper to wake, or NULL */
};

/* Puts the call into a list, and takes a helper that rests.  1: it needs a new one. */
static int list_call(struct handing *handing)
{
    struct call *call = handing->call;
    struct helper *helper = pool.resting;

    if (call->bounded && pool.bounded == MOST) {
        append_call(&pool.waiting, call);
        return 0;
    }
    pool.bounded += call->bounded;
    append_call(&pool.ready, call);
    if (!helper)
        return 1;
    pool.resting = helper->next;
    green_lwp_works();
    atomic_store(&helper->taken, 1);
    handing->taken = &helper->taken;
    return 0;
}

/* Hands the call over.  The helper is woken by send_and_sleep().  -1: there is none, and no more LWPs. */
static int hand_over(struct handing *handing)
{
    struct call *call = handing->call;

    park_lock(&pool.lock);
    int lacks = list_call(handing);
    park_unlock(&pool.lock);
    if (!lacks || start_helper() == 0)
        return 0;
    /* Other threads may have run since, so that a helper has begun the call already. */
    park_lock(&pool.lock);
    int removed = remove_call(&pool.ready, call);
    if (removed)
        pool.bounded -= call->bounded;
    park_unlock(&pool.lock);
    return removed ? -1 : 0;
}

static int send_and_sleep(void *arg)
{
    struct handing *handing = arg;

    if (handing->taken)
        park_wake(handing->taken, 1, PARK_PRIVATE);
    handing->taken = NULL;
    return park_wait(&handing->call->done, 0, PARK_FOREVER, PARK_PRIVATE);
}

static PyObject *take_result(struct call *call)
{
    PyObject *result = Py_XNewRef(call->result), *raised = Py_XNewRef(call->raised);

    free_call(call);
    PyErr_SetRaisedException(raised);
    return result;
}

/* With the lock.  1: the helper that runs it will free it. */
static int leave_to_helper(struct call *call)
{
    if (atomic_load(&call->done))
        return 0;
    if (call->begun)
        return call->abandoned = 1;
    if (!remove_call(&pool.waiting, call)) {
        remove_call(&pool.ready, call);
        pool.bounded -= call->bounded;
    }
    return 0;
}

/* The caller's wait has ended by an exception, which is set. */
static void abandon_call(struct call *call)
{
    int left = 0;

    if (call->forks == fork_generation) {
        park_lock(&pool.lock);
        left = leave_to_helper(call);
        park_unlock(&pool.lock);
    }
    if (left)
        return;
    discard_result(call);
    free_call(call);
}

static PyObject *call_directly(struct call *call)
{
    PyObject *result = PyObject_Call(call->function, call->args, call->kwargs);

    free_call(call);
    return result;
}

static PyObject *await_call(struct call *call)
{
    struct handing handing = {call, NULL};
    int64_t since = park_now();

    if (hand_over(&handing) < 0)
        return call_directly(call);
    while (!atomic_load(&call->done)) {
        int result
            = python_sleep(&(struct python_sleep){send_and_sleep, &handing, call->function, .since = since, .deadline = PARK_FOREVER});
        if (result == EINTR && !atomic_load(&call->done) && python_interrupted(NULL, call->function) < 0) {
            abandon_call(call);
            return NULL;
        }
        if (call->forks != fork_generation) /* a signal handler has forked: in the child no helper is left */
            return call_directly(call);
    }
    return take_result(call);
}

static int is_for_helper(void)
{
    return park_green && !Py_IsFinalizing();
}

static PyObject *on_helper(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyTuple_Check(args[1]) || !(args[2] == Py_None || PyDict_Check(args[2])))
        return PyErr_Format(PyExc_TypeError, "on_helper(function, args tuple, kwargs dict or None, discard or None)");
    PyObject *kwargs = args[2] == Py_None ? NULL : args[2], *discard = args[3] == Py_None ? NULL : args[3];
    if (!is_for_helper())
        return PyObject_Call(args[0], args[1], kwargs);
    struct call *call = new_call(args[0], args[1], kwargs, discard, 0);
    return call ? await_call(call) : NULL;
}

PyDoc_STRVAR(blocking_doc,
"blocking($module, function, /, *args, **kwargs)\n--\n\n"
"function(*args, **kwargs), which blocks in the kernel or in C code that releases the GIL: other green threads run meanwhile.\n\n"
"Called by a green thread, the function runs on a helper, an LWP of a pool, with a copy of the caller's context variables; what it\n"
"returns or raises, this does.  threading.local, and what else belongs to a thread, is the helper's.  Any other thread calls it\n"
"directly, and so does one under runtime.explore.\n"
"At most 32 such calls run at one time, more wait for their turn: so it must not wait for another one.  Helpers are made when they\n"
"are needed, end when they have had no work for 5 s, and don't delay the end of the program; where none can be made, the caller's own\n"
"LWP does the call.\n"
"If a signal handler raises in the main thread's wait, that ends the wait: the function runs on, and its result is dropped.");

static PyObject *call_blocking(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) == 0)
        return PyErr_Format(PyExc_TypeError, "blocking() missing 1 required positional argument: 'function'");
    PyObject *function = PyTuple_GET_ITEM(args, 0), *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args)), *result = NULL;
    if (!rest)
        return NULL;
    struct call *call = NULL;
    if (!is_for_helper() || park_green->explored)
        result = PyObject_Call(function, rest, kwargs);
    else if ((call = new_call(function, rest, kwargs, NULL, 1)))
        result = await_call(call);
    Py_DECREF(rest);
    return result;
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* The calls of lost threads stay in memory with all that they refer to, as everything of a lost thread does. */
static void helpers_after_fork(void)
{
    memset(&pool, 0, sizeof pool);
}

static PyMethodDef helper_method = {"helper", run_helper, METH_NOARGS, NULL};

static PyMethodDef functions[] = {
    {"blocking", FAST(call_blocking), METH_VARARGS | METH_KEYWORDS, blocking_doc},
    POSITIONAL(
        "on_helper", on_helper,
        "(function, args, kwargs, discard): as blocking(), but the call doesn't wait for its turn; discard: called with a result that is\n"
        "dropped, unless None."),
    {0},
};

static int add_helpers(PyObject *module)
{
    PyObject *threading = PyImport_ImportModule("threading");

    active = threading ? PyObject_GetAttrString(threading, "_active") : NULL;
    Py_XDECREF(threading);
    return !active || !(helper_function = PyCFunction_New(&helper_method, NULL)) ? -1 : 0;
}

const struct entries entries_helpers = {.add = add_helpers, .functions = functions, .after_fork = helpers_after_fork};
