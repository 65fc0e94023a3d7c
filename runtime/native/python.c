/* From a bare LWP to a Python thread and back: the type LWP, and what its thread runs.
 *
 * The creator makes the PyThreadState, so that running out of memory fails the start; the new thread completes it, which needs
 * no GIL, and only then waits for the GIL: start() waits for nothing, unless many are on their way (python_entrance.c).  The
 * interpreter must not be taken down in that moment: `starting` counts the threads in it, see gate_close(). */
#include "python_types.h"

#include "python.h"
#include "python_trace.h"

#include "context.h"
#include "glibc.h"
#include "lwp.h"
#include "park.h"
#include "steps.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

PyTypeObject *lwp_type;

struct boot {
    PyThreadState *tstate;
    PyObject *function, *args, *kwargs; /* without args the function is a Thread */
    struct lwp *lwp;
    enum { STARTING, STARTED, RUNNING } stage; /* which of the counts below it is in */
};

static atomic_int starting;    /* threads that have not completed their PyThreadState yet */
static atomic_int gate_closed; /* the interpreter is about to end: starts wait until the thread has */
#if PY_VERSION_HEX < 0x030d0000
static atomic_int gate_refuses; /* the interpreter makes no more threads: see gate_refuse() */
#endif
static atomic_long running;    /* threads inside their Python function, for _thread._count() */

/* ---- the thread's side ----------------------------------------------------------------------------------------------- */

static void report(PyObject *function)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) { /* as _thread.start_new_thread: it ends the thread, silently */
        PyErr_Clear();
        return;
    }
#if PY_VERSION_HEX >= 0x030d0000
    PyErr_FormatUnraisable("Exception ignored in thread started by %R", function);
#else
    _PyErr_WriteUnraisableMsg("in thread started by", function);
#endif
}

static void started_one(void)
{
    if (atomic_fetch_sub(&starting, 1) == 1 && atomic_load(&gate_closed))
        park_wake(&starting, INT_MAX, PARK_PRIVATE);
}

#if PY_VERSION_HEX < 0x030c0000
PyAPI_FUNC(void) _PyThreadState_SetCurrent(PyThreadState *tstate); /* internal/pycore_pystate.h */
#endif

#if PY_VERSION_HEX >= 0x030e0000
#pragma weak PyUnstable_ThreadState_SetStackProtection /* not in the first 3.14 */
PyAPI_FUNC(int) PyUnstable_ThreadState_SetStackProtection(PyThreadState *tstate, void *start, size_t size);
#endif

/* The state is made for the thread that will have this ident, not for the caller. */
static PyThreadState *new_state(struct lwp *lwp)
{
#if PY_VERSION_HEX < 0x030c0000
    PyThreadState *tstate = _PyThreadState_Prealloc(PyInterpreterState_Get()); /* PyThreadState_New crashes there when memory is short */
#else
    PyThreadState *tstate = PyThreadState_New(PyInterpreterState_Get());
#endif
    if (!tstate)
        return NULL;
#if PY_VERSION_HEX >= 0x030e0000
    /* Else the thread would ask pthread_getattr_np, which calls the kernel, and malloc: with an arena for the thread. */
    if (PyUnstable_ThreadState_SetStackProtection
        && PyUnstable_ThreadState_SetStackProtection(tstate, (void *)lwp->stack_low, lwp->stack_high - lwp->stack_low) < 0)
        PyErr_Clear(); /* too small: let it ask */
#endif
    tstate->thread_id = lwp->ident;
    return tstate;
}

static void discard_state(PyThreadState *tstate)
{
    PyThreadState_Clear(tstate);
    PyThreadState_Delete(tstate);
}

static void complete_state(PyThreadState *tstate, struct lwp *lwp)
{
    tstate->native_thread_id = (unsigned long)lwp->tid;
#if PY_VERSION_HEX < 0x030c0000
    /* PyGILState_Ensure() in this thread must find the state.  From 3.12 on taking the GIL sees to that (tstate_activate). */
    _PyThreadState_SetCurrent(tstate);
#endif
}

static void call(struct boot *boot)
{
    PyObject *result = PyObject_Call(boot->function, boot->args, boot->kwargs);

    STEP(STEP_RETURNED, result == NULL, 0);
    if (!result)
        report(boot->function);
    else if (!(boot->lwp->flags & CLONE_THREAD) && PyLong_Check(result))
        boot->lwp->exit_status = (int)(PyLong_AsUnsignedLongMask(result) & 0xff);
    Py_XDECREF(result);
}

static void discard_boot(struct boot *boot)
{
    Py_DECREF(boot->function);
    Py_XDECREF(boot->args);
    Py_XDECREF(boot->kwargs);
    PyMem_RawFree(boot);
}

/* A green thread may have its first turn late; until then nobody waits for it. */
static int green_may_start(void)
{
    atomic_fetch_add(&starting, 1);
    if (!atomic_load(&gate_closed))
        return 1;
    started_one();
    return 0;
}

static void run_python(void *arg)
{
    struct boot *boot = arg;
    PyThreadState *tstate = boot->tstate;

    if (boot->lwp->green.scheduler && !green_may_start())
        return; /* the interpreter may be gone, and what it would run with it */
    complete_state(tstate, boot->lwp);
    python_chunk_at(boot->lwp->context->room);
    boot->stage = STARTED;
    started_one();
    STEP(STEP_PYTHON, tstate, 0);
    TRACE(TRACE_WANTS_GIL, 0, 0);
    /* May end the thread by pthread_exit when the interpreter has ended: see life.c, run().  A process may be killed on the way,
     * and nobody would follow; green threads come one by one as it is. */
    if ((boot->lwp->flags & CLONE_THREAD) && !boot->lwp->green.scheduler)
        python_enter(tstate);
    else
        PyEval_RestoreThread(tstate);
    TRACE(TRACE_RUNS, 0, 0);
    if (TRACING())
        trace_begins(boot->function, !boot->args);
    atomic_fetch_add(&running, 1);
    boot->stage = RUNNING;
    lwp_say_begun(boot->lwp);

    STEP(STEP_TARGET, boot->function, 0);
    if (boot->args)
        call(boot);
    else
        thread_run(boot->function);
    boot->lwp->arg = NULL; /* nothing left for bury() */
    discard_boot(boot);
    atomic_fetch_sub(&running, 1);
    PyThreadState_Clear(tstate);
    TRACE(TRACE_LEAVES, 0, 0);
    PyThreadState_DeleteCurrent();
}

/* A process in our memory that was killed, or called _exit, has left its PyThreadState.  On the interpreter's list it would lead
 * faulthandler, sys._current_frames() and the end of the interpreter to a stack that serves another thread by then.  What its
 * frames refer to stays: nobody knows how far they had come. */
static void bury(struct lwp *lwp)
{
    struct boot *boot = lwp->arg;

    if (!boot)
        return;
    lwp->arg = NULL;
#if PY_VERSION_HEX >= 0x030c0000
    boot->tstate->_status.bound_gilstate = 0; /* else PyThreadState_Delete would take away the caller's */
#endif
    discard_state(boot->tstate);
    if (boot->stage == STARTING)
        started_one();
    else if (boot->stage == RUNNING)
        atomic_fetch_sub(&running, 1);
    discard_boot(boot);
}

/* ---- LWP ------------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(lwp_doc,
"A kernel thread made by clone(2) on a stack and TLS block of our own.\n\n"
"Made by runtime.scheduler.spawn().  A handle: dropping it lets the thread run on, its memory is recycled when it has ended.");

LwpObject *lwp_object(PyTypeObject *type, struct lwp *lwp)
{
    LwpObject *self = (LwpObject *)type->tp_alloc(type, 0);

    if (self)
        self->lwp = lwp;
    else
        lwp_release(lwp);
    return self;
}

LwpObject *lwp_make(PyTypeObject *type, size_t stack_size)
{
    struct lwp *lwp = stack_size ? lwp_new(stack_size) : lwp_copied();

    return lwp ? lwp_object(type, lwp) : (LwpObject *)PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *lwp_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t stack_size;
    static char *names[] = {"stack_size", NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:LWP", names, &stack_size))
        return NULL;
    if (stack_size < 0) {
        PyErr_SetString(PyExc_ValueError, "stack_size must not be negative");
        return NULL;
    }
    return (PyObject *)lwp_make(type, (size_t)stack_size);
}

static void lwp_tp_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    LwpObject *self = (LwpObject *)op;

    if (self->lwp)
        lwp_release(self->lwp);
    type->tp_free(op);
    Py_DECREF(type);
}

/* As the interpreter refuses its own: 3.11 never, 3.12 from its interp->finalizing on, which can't be read, 3.13 when it says so. */
static int refused(const char *text)
{
#if PY_VERSION_HEX >= 0x030d0000
    if (!Py_IsFinalizing())
        return 0;
    PyErr_SetString(PyExc_PythonFinalizationError, text);
#else
    if (!atomic_load(&gate_refuses))
        return 0;
    PyErr_SetString(PyExc_RuntimeError, text);
#endif
    return 1;
}

/* Whether faulthandler is to report crashes: then a thread gets a signal stack, without which the overflow of its own stack
 * could not be told.  Asked at every start, hence without the ways of a call. */
static PyObject *faulthandler_is_enabled;

int python_faulthandler_on(void)
{
    if (!faulthandler_is_enabled)
        return 0;
    PyObject *result = PyCFunction_GET_FUNCTION(faulthandler_is_enabled)(PyCFunction_GET_SELF(faulthandler_is_enabled), NULL);
    int on = result == Py_True;
    Py_XDECREF(result);
    return on;
}

static int find_faulthandler(void)
{
    PyObject *module = PyImport_ImportModule("faulthandler"), *found = NULL;

    if (module)
        found = PyObject_GetAttrString(module, "is_enabled");
    if (found && PyCFunction_Check(found) && PyCFunction_GET_FLAGS(found) == METH_NOARGS)
        Py_XSETREF(faulthandler_is_enabled, Py_NewRef(found));
    Py_XDECREF(found);
    Py_XDECREF(module);
    return found ? 0 : -1;
}

static int wait_for_starters(void)
{
    int n;
    while ((n = atomic_load(&starting)) != 0)
        park_wait(&starting, n, PARK_FOREVER, PARK_PRIVATE);
    return 0;
}

/* What the thread is to run: NULL with an exception. */
static struct boot *new_boot(struct lwp *lwp, PyObject *function, PyObject *args, PyObject *kwargs)
{
    PyThreadState *tstate = NULL;
    struct boot *boot;

    if (refused("can't create new thread at interpreter shutdown"))
        return NULL;
    if (!(tstate = new_state(lwp)) || !(boot = PyMem_RawMalloc(sizeof *boot))) {
        if (tstate)
            discard_state(tstate);
        errno = ENOMEM;
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    *boot = (struct boot){tstate, Py_NewRef(function), Py_XNewRef(args), Py_XNewRef(kwargs), lwp, STARTING};
    return boot;
}

static int not_begun(struct boot *boot, int error)
{
    discard_state(boot->tstate);
    discard_boot(boot);
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int lwp_begin_green(LwpObject *self, PyObject *function, PyObject *args, PyObject *kwargs, struct scheduler *scheduler)
{
    struct boot *boot = new_boot(self->lwp, function, args, kwargs);

    if (!boot)
        return -1;
    int error = python_provide(scheduler);
    if (!error)
        error = lwp_start_green(self->lwp, scheduler, run_python, boot);
    return error ? not_begun(boot, error) : 0;
}

int lwp_begin(LwpObject *self, PyObject *function, PyObject *args, PyObject *kwargs, unsigned long flags, int exit_signal, int wait)
{
    struct boot *boot = new_boot(self->lwp, function, args, kwargs);

    if (!boot)
        return -1;
    if (flags & CLONE_THREAD)
        wait |= python_entrance_announce();
    atomic_store(&self->lwp->begun, wait ? LWP_BEGUN_AWAITED : LWP_BEGUN_UNASKED);
    self->lwp->signal_stack = python_faulthandler_on();
    atomic_fetch_add(&starting, 1);
    int error;
    if (flags & CLONE_VFORK) { /* clone() returns when the child has ended, and the child wants the GIL */
        Py_BEGIN_ALLOW_THREADS
        error = lwp_start(self->lwp, flags, exit_signal, run_python, boot);
        Py_END_ALLOW_THREADS
    } else
        error = lwp_start(self->lwp, flags, exit_signal, run_python, boot);
    if (error) {
        started_one();
        if (flags & CLONE_THREAD)
            python_entrance_revoke();
        return not_begun(boot, error);
    }
    if (atomic_load(&gate_closed))
        wait_for_starters();
    if (wait) {
        if (TRACING())
            trace_thread(TRACE_AWAITS, self->lwp->ident);
        Py_BEGIN_ALLOW_THREADS
        lwp_await_begun(self->lwp);
        TRACE(TRACE_WANTS_GIL, 0, 0);
        Py_END_ALLOW_THREADS
        TRACE(TRACE_RUNS, 0, 0);
    }
    return 0;
}

static PyObject *lwp_begin_method(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count < 4 || count > 7 || !PyTuple_Check(args[1]) || !(args[2] == Py_None || PyDict_Check(args[2]))) {
        PyErr_SetString(PyExc_TypeError, "_begin(function, args tuple, kwargs dict or None, flags, exit_signal=0, name=None, wait=False)");
        return NULL;
    }
    unsigned long flags = PyLong_AsUnsignedLong(args[3]);
    if (flags == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    long exit_signal = count > 4 ? PyLong_AsLong(args[4]) : 0;
    if (exit_signal == -1 && PyErr_Occurred())
        return NULL;
    if (self->lwp->started || !self->lwp->context) {
        PyErr_SetString(PyExc_RuntimeError, "an LWP can only be started once");
        return NULL;
    }
    if (count > 5 && args[5] != Py_None) {
        const char *name = PyUnicode_AsUTF8(args[5]);
        if (!name)
            return NULL;
        strncpy(self->lwp->name, name, sizeof self->lwp->name - 1); /* the kernel keeps 15 bytes: prctl(2), PR_SET_NAME */
    }
    int wait = count > 6 ? PyObject_IsTrue(args[6]) : 0;
    if (wait < 0 || lwp_begin(self, args[0], args[1], args[2] == Py_None ? NULL : args[2], flags, (int)exit_signal, wait) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *lwp_begin_green_method(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count != 4 || !PyTuple_Check(args[1]) || !(args[2] == Py_None || PyDict_Check(args[2]))) {
        PyErr_SetString(PyExc_TypeError, "_begin_green(function, args tuple, kwargs dict or None, scheduler)");
        return NULL;
    }
    struct scheduler *scheduler = python_scheduler(args[3]);
    if (!scheduler)
        return NULL;
    if (self->lwp->started || !self->lwp->context) {
        PyErr_SetString(PyExc_RuntimeError, "an LWP can only be started once");
        return NULL;
    }
    if (lwp_begin_green(self, args[0], args[1], args[2] == Py_None ? NULL : args[2], scheduler) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *lwp_fork(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "_fork(flags, exit_signal)");
        return NULL;
    }
    unsigned long flags = PyLong_AsUnsignedLong(args[0]);
    long exit_signal = PyLong_AsLong(args[1]);
    if (PyErr_Occurred() || refused("can't fork at interpreter shutdown"))
        return NULL;
    PyOS_BeforeFork();
    long pid = lwp_copy(self->lwp, flags, (int)exit_signal);
    if (pid == 0)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
    if (pid < 0) {
        errno = (int)-pid;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLong(pid);
}

PyDoc_STRVAR(join_doc,
"join($self, /, timeout=None)\n--\n\n"
"Waits until the kernel has cleared the thread's word: then nothing uses its stack or TLS any more.  A process-style LWP is\n"
"reaped with waitpid(2) too.  timeout: seconds on the monotonic clock; None waits for ever, 0 or less only looks.\n"
"True when it has ended, False when the time is up.  Signal handlers run meanwhile.\n"
"RuntimeError: the LWP was not started, is detached, or is the calling thread.");

PyObject *lwp_wait(LwpObject *self, PyObject *timeout)
{
    int64_t deadline, until, since = park_now();
    int result, looked = park_green != NULL; /* its scheduler sees to it */

    if (python_deadline(timeout, &deadline) < 0)
        return NULL;
    if (deadline == PARK_FOREVER && self->lwp->green.scheduler && lwp_alive(self->lwp) && scheduler_forsaken(self->lwp->green.scheduler)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot join a green thread that nobody runs: call its scheduler's run()");
        return NULL;
    }
    for (;; looked = 1) {
        /* Giving up the GIL may take long: it waits until a thread that asked for it has it (ceval_gil, drop_gil).  A signal that
         * comes then interrupts that wait and not ours, so the first sleep is short and we look for it. */
        until = looked ? deadline : since + 10000000;
        if (until > deadline)
            until = deadline;
        if ((self->lwp->flags & CLONE_THREAD) && !lwp_alive(self->lwp))
            result = lwp_join(self->lwp, deadline); /* it won't block */
        else {
            if (TRACING())
                trace_thread(TRACE_JOINS, self->lwp->ident);
            before_sleep();
            wait_begins((PyObject *)self, NULL, since, deadline);
            Py_BEGIN_ALLOW_THREADS
            result = lwp_join(self->lwp, until);
            wait_ends();
            TRACE(TRACE_WANTS_GIL, result == ETIMEDOUT && until < deadline ? EAGAIN : result, 0);
            Py_END_ALLOW_THREADS
            after_sleep();
        }
        if (result == 0) {
            if ((self->lwp->flags & (CLONE_VM | CLONE_THREAD)) == CLONE_VM)
                bury(self->lwp);
            Py_RETURN_TRUE;
        }
        if (result == ETIMEDOUT && until < deadline)
            result = EINTR;
        if (result == ETIMEDOUT)
            Py_RETURN_FALSE;
        if (result != EINTR) {
            errno = result;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (Py_MakePendingCalls() < 0) /* signal handlers, and what Py_AddPendingCall has left */
            return NULL;
    }
}

static PyObject *lwp_join_method(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    LwpObject *self = (LwpObject *)op;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "join() takes one argument, timeout");
        return NULL;
    }
    const char *wrong = !self->lwp->started ? "cannot join an LWP that was not started"
                        : self->detached    ? "cannot join a detached LWP"
                        : self->lwp->ident && (void *)self->lwp->ident == (void *)pthread_self() && lwp_alive(self->lwp)
                            ? "cannot join the calling LWP"
                            : NULL;
    if (wrong) {
        PyErr_SetString(PyExc_RuntimeError, wrong);
        return NULL;
    }
    return lwp_wait(self, count || names ? args[0] : Py_None);
}

PyDoc_STRVAR(is_alive_doc,
"is_alive($self, /)\n--\n\n"
"True from the start until the kernel has cleared the thread's word (a process-style LWP: until it has ended).");

static PyObject *lwp_is_alive(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(lwp_alive(((LwpObject *)op)->lwp));
}

unsigned long lwp_ident_alive(LwpObject *self)
{
    return self->lwp->ident && lwp_alive(self->lwp) ? self->lwp->ident : 0;
}

PyDoc_STRVAR(detach_doc,
"detach($self, /)\n--\n\n"
"Gives up the right to join: the thread's memory is recycled after its end anyway.  RuntimeError: already detached.\n"
"As pthread_detach(3).");

static PyObject *lwp_detach(PyObject *op, PyObject *unused)
{
    LwpObject *self = (LwpObject *)op;

    (void)unused;
    if (self->detached) {
        PyErr_SetString(PyExc_RuntimeError, "the LWP is detached already");
        return NULL;
    }
    self->detached = 1;
    Py_RETURN_NONE;
}

static PyObject *get_tid(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromLong(atomic_load(&((LwpObject *)op)->lwp->tid));
}

static PyObject *get_ident(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(((LwpObject *)op)->lwp->ident);
}

static PyObject *get_flags(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(((LwpObject *)op)->lwp->flags);
}

static PyObject *get_exit_signal(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((LwpObject *)op)->lwp->exit_signal);
}

static PyObject *get_exit_status(PyObject *op, void *unused)
{
    struct lwp *lwp = ((LwpObject *)op)->lwp;

    (void)unused;
    if (lwp->wait_status < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(WIFSIGNALED(lwp->wait_status) ? -WTERMSIG(lwp->wait_status) : WEXITSTATUS(lwp->wait_status));
}

static PyObject *get_name(PyObject *op, void *unused)
{
    const char *name = ((LwpObject *)op)->lwp->name;

    (void)unused;
    if (!name[0])
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "ignore");
}

static PyObject *get_places(PyObject *op, void *unused)
{
    struct lwp *l = ((LwpObject *)op)->lwp;

    (void)unused;
    if (!l->tp)
        Py_RETURN_NONE;
    return Py_BuildValue("(KKKKKK)", (unsigned long long)l->guard_low, (unsigned long long)l->stack_low,
                         (unsigned long long)l->stack_high, (unsigned long long)l->block_low,
                         (unsigned long long)l->block_high, (unsigned long long)l->tp);
}

static PyObject *lwp_repr(PyObject *op)
{
    LwpObject *self = (LwpObject *)op;
    return PyUnicode_FromFormat("<LWP tid=%d %s>", atomic_load(&self->lwp->tid),
                                !self->lwp->started ? "not started" : lwp_alive(self->lwp) ? "alive" : "ended");
}

static PyMethodDef lwp_methods[] = {
    {"_begin", (PyCFunction)(void (*)(void))lwp_begin_method, METH_FASTCALL, NULL},
    {"_begin_green", (PyCFunction)(void (*)(void))lwp_begin_green_method, METH_FASTCALL, NULL},
    {"_fork", (PyCFunction)(void (*)(void))lwp_fork, METH_FASTCALL, NULL},
    {"join", (PyCFunction)(void (*)(void))lwp_join_method, METH_FASTCALL | METH_KEYWORDS, join_doc},
    {"is_alive", lwp_is_alive, METH_NOARGS, is_alive_doc},
    {"detach", lwp_detach, METH_NOARGS, detach_doc},
    {0},
};

static PyGetSetDef lwp_attributes[] = {
    {"tid", get_tid, NULL, "The kernel's id of the LWP (gettid(2)); the pid for a process-style one.  0: not started.", NULL},
    {"ident", get_ident, NULL, "pthread_self() and threading.get_ident() in the thread.  Known before the start.", NULL},
    {"exit_signal", get_exit_signal, NULL, "The signal its end sends to the parent, 0 for none (clone(2)).", NULL},
    {"exit_status", get_exit_status, NULL,
     "Of a process-style LWP after join(): its exit status, or minus the signal that killed it; None before, for threads, and\n"
     "when somebody else has waited for it.", NULL},
    {"name", get_name, NULL, "The name given to the kernel, 15 bytes at most, or None.", NULL},
    {"_flags", get_flags, NULL, NULL, NULL},
    {"_places", get_places, NULL, NULL, NULL},
    {0},
};

static PyType_Slot lwp_slots[] = {
    {Py_tp_doc, (void *)lwp_doc},
    {Py_tp_new, lwp_tp_new},
    {Py_tp_dealloc, lwp_tp_dealloc},
    {Py_tp_repr, lwp_repr},
    {Py_tp_methods, lwp_methods},
    {Py_tp_getset, lwp_attributes},
    {0, NULL},
};

static PyType_Spec lwp_spec = {
    .name = "runtime.native.LWP",
    .basicsize = sizeof(LwpObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lwp_slots,
};

/* ---- the module -------------------------------------------------------------------------------------------------------- */

long python_running(void)
{
    return atomic_load(&running);
}

static PyObject *count_running(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(python_running());
}

/* Before the interpreter goes: from now on no thread of ours is between clone and a complete PyThreadState when its creator
 * goes on, so that finalization meets either a known thread, which it stops at the GIL, or none.  Such a thread needs no GIL
 * to get there: the wait is short. */
static PyObject *gate_close(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    atomic_store(&gate_closed, 1);
    scheduler_stop_all();
    Py_BEGIN_ALLOW_THREADS
    wait_for_starters();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

#if PY_VERSION_HEX < 0x030d0000
static PyObject *gate_refuse(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    atomic_store(&gate_refuses, 1);
    Py_RETURN_NONE;
}
#endif

static void after_fork_in_child(void)
{
    struct lwp_statistics left; /* lwp_fork.c's own handler has run before: only the caller can be left */

    lwp_read_statistics(&left);
    python_sync_after_fork();
    python_entrance_after_fork();
    atomic_store(&starting, 0);
    atomic_store(&running, left.alive);
}

size_t default_stack_size(void)
{
    size_t set = PyThread_get_stacksize();
    return set ? set : glibc_default_stack();
}

/* threading.stack_size() can't be asked for that: without an argument it sets the size back to the default. */
static PyObject *stack_size(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromSize_t(default_stack_size());
}

static PyMethodDef functions[] = {
    {"stack_size", stack_size, METH_NOARGS, "What was set by threading.stack_size(n), or what a pthread would get, in bytes."},
    {"running", count_running, METH_NOARGS, "How many LWPs are inside their Python function."},
    {"gate_close", gate_close, METH_NOARGS, "For the end of the interpreter: see python.c."},
#if PY_VERSION_HEX < 0x030d0000
    {"gate_refuse", gate_refuse, METH_NOARGS, "From now on no LWP can be started: RuntimeError."},
#endif
    {0},
};

int runtime_attach(void *module)
{
    PyGILState_STATE state = PyGILState_Ensure();
    lwp_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lwp_spec, NULL);
    int result = !lwp_type || PyModule_AddType(module, lwp_type) < 0 || PyModule_AddFunctions(module, functions) < 0
                 || find_faulthandler() < 0 || python_add_thread(module) < 0 || python_add_sync(module) < 0
                 || python_add_local(module) < 0 || python_add_waits(module) < 0 || python_add_watch(module) < 0
                 || python_add_trace(module) < 0 || python_add_green(module) < 0;

    if (!result && pthread_atfork(NULL, NULL, after_fork_in_child) != 0)
        result = 1;
    if (!result)
        python_keep_chunks();
#ifdef Py_GIL_DISABLED
    /* Nothing here is kept consistent by the GIL: objects' state is atomic or under a lock of its own. */
    if (!result && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED) < 0)
        result = 1;
#endif
    if (PyErr_Occurred())
        PyErr_Print();
    PyGILState_Release(state);
    return result ? -1 : 0;
}
