/* The type LWP: a handle. */
#include "python/threads/lwp.h"

#include "kernel/base/events.h"
#include "kernel/base/park.h"
#include "kernel/context/context.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/registry.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/waits/end_fd.h"
#include "python/room.h"
#include "python/green/scheduler.h"
#include "python/threads/sleep.h"
#include "python/waits/waitable.h"
#include "waits/watch.h"
#include "green/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

PyTypeObject *lwp_type;

PyDoc_STRVAR(lwp_doc,
"LWP(stack_size)\n--\n\n"
"A kernel thread made by clone(2), on a stack and TLS block that the runtime has made.\n\n"
"runtime.scheduler.spawn() returns one.  It is a handle: a thread whose handle is dropped runs on, and its memory is recycled when\n"
"it has ended.");

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
    struct lwp *lwp = stack_size ? lwp_new(stack_size) : lwp_blank();

    return lwp ? lwp_object(type, lwp) : (LwpObject *)PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *lwp_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t stack_size;
    static char *names[] = {"stack_size", NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:LWP", names, &stack_size))
        return NULL;
    if (stack_size < 0)
        return PyErr_Format(PyExc_ValueError, "stack_size must not be negative");
    return (PyObject *)lwp_make(type, (size_t)stack_size);
}

static void lwp_tp_dealloc(PyObject *op)
{
    LwpObject *self = (LwpObject *)op;

    end_fd_close(&self->end_fd);
    if (self->lwp)
        lwp_release(self->lwp);
    simple_dealloc(op);
}

/* 1: the caller may start it, and nobody else.  0 with an exception. */
static int claim_start(LwpObject *self)
{
    if (!self->lwp->started && self->lwp->context && !atomic_exchange(&self->claimed, 1))
        return 1;
    PyErr_SetString(PyExc_RuntimeError, "an LWP can only be started once");
    return 0;
}

/* A start that has failed leaves it as it was. */
static PyObject *started_or_not(LwpObject *self, int error)
{
    if (!error)
        Py_RETURN_NONE;
    atomic_store(&self->claimed, 0);
    return NULL;
}

static PyObject *lwp_begin_method(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count < 4 || count > 8 || !PyTuple_Check(args[1]) || !(args[2] == Py_None || PyDict_Check(args[2])))
        return PyErr_Format(
            PyExc_TypeError,
            "_begin(function, args tuple, kwargs dict or None, flags, exit_signal=0, name=None, wait=False, first=None)");
    unsigned long flags = PyLong_AsUnsignedLong(args[3]);
    if (flags == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    long exit_signal = count > 4 ? PyLong_AsLong(args[4]) : 0;
    if (exit_signal == -1 && PyErr_Occurred())
        return NULL;
    int wait = count > 6 ? PyObject_IsTrue(args[6]) : 0;
    const char *name = count > 5 && args[5] != Py_None ? PyUnicode_AsUTF8(args[5]) : "";
    PyObject *first = count > 7 && args[7] != Py_None ? args[7] : NULL;
    if (wait < 0 || !name || !claim_start(self))
        return NULL;
    lwp_set_name(self->lwp, name, name[0] != 0);
    struct boot_target target = {args[0], args[1], args[2] == Py_None ? NULL : args[2], NULL, first};
    return started_or_not(self, boot_start(self->lwp, &target, flags, (int)exit_signal, wait));
}

static PyObject *lwp_begin_green_method(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count != 4 || !PyTuple_Check(args[1]) || !(args[2] == Py_None || PyDict_Check(args[2])))
        return PyErr_Format(PyExc_TypeError, "_begin_green(function, args tuple, kwargs dict or None, scheduler)");
    struct scheduler *scheduler = python_scheduler(args[3]);
    if (!scheduler || !claim_start(self))
        return NULL;
    struct boot_target target = {args[0], args[1], args[2] == Py_None ? NULL : args[2], NULL, NULL};
    return started_or_not(self, boot_start_green(self->lwp, &target, scheduler));
}

static PyObject *lwp_fork(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    LwpObject *self = (LwpObject *)op;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "_fork(flags, exit_signal)");
    unsigned long flags = PyLong_AsUnsignedLong(args[0]);
    long exit_signal = PyLong_AsLong(args[1]);
    if (PyErr_Occurred() || boot_refused("can't fork at interpreter shutdown"))
        return NULL;
    PyOS_BeforeFork();
    long pid = lwp_copy(self->lwp, flags, (int)exit_signal);
    if (pid == 0)
        PyOS_AfterFork_Child();
    else
        PyOS_AfterFork_Parent();
    return pid < 0 ? raise_errno((int)-pid) : PyLong_FromLong(pid);
}

PyDoc_STRVAR(join_doc,
"join($self, /, timeout=None)\n--\n\n"
"Waits until the kernel has cleared the thread's word: then nothing uses its stack or TLS any more.  A process-style LWP is\n"
"reaped with waitpid(2) too.  timeout: seconds on the monotonic clock; None: no limit, 0 or less only looks.\n"
"True when it has ended, False when the time is up.  Signal handlers run meanwhile.\n"
"RuntimeError: the LWP was not started, is detached, or is the calling thread.");

/* A joiner sleeps at once.  REJECTED.  To look for the end several times before the sleep.  With sched_yield(2) between the looks, a start
 * and a join took 17.4 us on one processor in place of 18.4, and 31 on two in place of 33.5; but beside another process that computes they
 * took 1,400 in place of 67 (spin.c, 3).  With the processor's pause between them, the looks had to go on for 15 us: on two processors a
 * start and a join took 30 us and a third more processor time, on one twice as long as without looks. */
struct joining {
    struct lwp *lwp;
    int64_t deadline;
};

static int join_once(void *arg)
{
    struct joining *j = arg;

    return lwp_join(j->lwp, j->deadline);
}

int lwp_is_over(LwpObject *self)
{
    struct lwp *lwp = self->lwp;

    return !lwp_alive(lwp) || ((lwp->flags & CLONE_THREAD) && Py_IsFinalizing() && lwp->ident != PyThread_get_thread_ident());
}

PyObject *lwp_wait(LwpObject *self, PyObject *timeout)
{
    struct joining joining = {.lwp = self->lwp};
    int64_t since = park_now();
    int result;

    if (args_deadline(timeout, &joining.deadline) < 0)
        return NULL;
    if (lwp_is_over(self) && lwp_alive(self->lwp))
        Py_RETURN_TRUE; /* its memory stays in use */
    if (joining.deadline == PARK_FOREVER && green_of_lwp(self->lwp)->scheduler && lwp_alive(self->lwp)
        && scheduler_is_orphaned(green_of_lwp(self->lwp)->scheduler))
        return PyErr_Format(PyExc_RuntimeError, "cannot join a green thread that nobody runs: call its scheduler's run()");
    for (;;) {
        if ((self->lwp->flags & CLONE_THREAD) && !lwp_alive(self->lwp))
            result = lwp_join(self->lwp, joining.deadline); /* it has ended, so this doesn't block: no need to give up the GIL */
        else {
            result = python_sleep(
                &(struct python_sleep){join_once, &joining, (PyObject *)self, .since = since, .deadline = joining.deadline});
        }
        if (result == 0) {
            if ((self->lwp->flags & (CLONE_VM | CLONE_THREAD)) == CLONE_VM)
                boot_reclaim(self->lwp);
            Py_RETURN_TRUE;
        }
        if (result == ETIMEDOUT)
            Py_RETURN_FALSE;
        if (result != EINTR)
            return raise_errno(result);
        if (python_interrupted(NULL, (PyObject *)self) < 0)
            return NULL;
    }
}

static PyObject *lwp_join_method(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    LwpObject *self = (LwpObject *)op;
    PyObject *timeout;

    if (args_one("join", "timeout", args, count, names, &timeout) < 0)
        return NULL;
    const char *wrong = !self->lwp->started ? "cannot join an LWP that was not started"
                        : self->detached    ? "cannot join a detached LWP"
                        : self->lwp->ident && (void *)self->lwp->ident == (void *)pthread_self() && lwp_alive(self->lwp)
                            ? "cannot join the calling LWP"
                            : NULL;
    if (wrong)
        return PyErr_Format(PyExc_RuntimeError, wrong);
    return lwp_wait(self, timeout ? timeout : Py_None);
}

/* ---- among several things ---------------------------------------------------------------------------------------- */

static struct lwp *lwp_of_thing(const struct thing *thing)
{
    return ((LwpObject *)thing->object)->lwp;
}

static int look_at_lwp(const struct thing *thing)
{
    return lwp_is_over((LwpObject *)thing->object);
}

static int enter_lwp(struct thing *thing, struct sync_any *any)
{
    return lwp_watch(lwp_of_thing(thing), &thing->watch, any);
}

static int leave_lwp(struct thing *thing)
{
    return lwp_unwatch(&thing->watch);
}

static void finish_lwp(struct thing *thing, struct sync_any *any)
{
    lwp_finish_watch(lwp_of_thing(thing), any);
}

const struct waitable lwp_waitable = {.look = look_at_lwp, .enter = enter_lwp, .leave = leave_lwp, .finish = finish_lwp, .shared = 1};

/* ---- the rest of its methods ------------------------------------------------------------------------------------- */

PyDoc_STRVAR(is_alive_doc,
"is_alive($self, /)\n--\n\n"
"True from the start until the kernel has cleared the thread's word (a process-style LWP: until it has ended).");

RETURNS(lwp_is_alive, PyBool_FromLong(!lwp_is_over((LwpObject *)op)))

static PyObject *count_as_ended(PyObject *op, PyObject *Py_UNUSED(unused))
{
    lwp_count_as_ended(((LwpObject *)op)->lwp);
    Py_RETURN_NONE;
}

unsigned long lwp_ident_alive(LwpObject *self)
{
    return self->lwp->ident && lwp_alive(self->lwp) ? self->lwp->ident : 0;
}

PyDoc_STRVAR(detach_doc,
"detach($self, /)\n--\n\n"
"Gives up the right to join: the thread's memory is recycled after its end anyway.  RuntimeError: already detached.\n"
"As pthread_detach(3).");

static PyObject *lwp_detach(PyObject *op, PyObject *Py_UNUSED(unused))
{
    LwpObject *self = (LwpObject *)op;

    if (atomic_exchange(&self->detached, 1))
        return PyErr_Format(PyExc_RuntimeError, "the LWP is detached already");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc,
"fileno($self, /)\n--\n\n"
"A descriptor that can be read once the LWP has ended, for select, poll and event loops.  A pidfd from Linux 6.9 on, with what that can\n"
"do; before, and for a green thread, an eventfd.  It is the LWP's: the same at each call, closed with the object, and anew in a\n"
"forked child.  RuntimeError: it was not started.");

static PyObject *lwp_fileno(PyObject *op, PyObject *Py_UNUSED(unused))
{
    LwpObject *self = (LwpObject *)op;
    int fd;

    if (!self->lwp->started)
        return PyErr_Format(PyExc_RuntimeError, "an LWP that was not started has no descriptor");
    Py_BEGIN_CRITICAL_SECTION(op); /* where there is no GIL two threads may ask at one time */
    fd = end_fd_of(&self->end_fd, self->lwp);
    Py_END_CRITICAL_SECTION();
    return fd < 0 ? NULL : PyLong_FromLong(fd);
}

GETTER(get_tid, PyLong_FromLong(atomic_load(&((LwpObject *)op)->lwp->tid)))
GETTER(get_ident, PyLong_FromSize_t(((LwpObject *)op)->lwp->ident))
GETTER(get_flags, PyLong_FromUnsignedLong(((LwpObject *)op)->lwp->flags))
GETTER(get_exit_signal, PyLong_FromLong(((LwpObject *)op)->lwp->exit_signal))

static PyObject *get_exit_status(PyObject *op, void *Py_UNUSED(unused))
{
    int status = ((LwpObject *)op)->lwp->wait_status;

    if (status < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
}

static PyObject *get_name(PyObject *op, void *Py_UNUSED(unused))
{
    const struct lwp *lwp = ((LwpObject *)op)->lwp;

    if (!lwp->named)
        Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(lwp->name, (Py_ssize_t)strnlen(lwp->name, 15), "ignore"); /* what the kernel keeps */
}

static PyObject *get_places(PyObject *op, void *Py_UNUSED(unused))
{
    struct lwp *l = ((LwpObject *)op)->lwp;

    if (!l->tp)
        Py_RETURN_NONE;
    return Py_BuildValue("(KKKKKK)", (unsigned long long)l->guard_low, (unsigned long long)l->stack_low,
                         (unsigned long long)l->stack_high, (unsigned long long)l->block_low, (unsigned long long)l->block_high,
                         (unsigned long long)l->tp);
}

static PyObject *lwp_repr(PyObject *op)
{
    LwpObject *self = (LwpObject *)op;
    return PyUnicode_FromFormat("<LWP tid=%d %s>", atomic_load(&self->lwp->tid),
                                !self->lwp->started    ? "not started"
                                : lwp_alive(self->lwp) ? "alive"
                                                       : "ended");
}

static PyMethodDef lwp_methods[] = {
    POSITIONAL("_begin", lwp_begin_method, NULL),
    POSITIONAL("_begin_green", lwp_begin_green_method, NULL),
    POSITIONAL("_fork", lwp_fork, NULL),
    {"_count_as_ended", count_as_ended, METH_NOARGS, NULL},
    KEYWORDS("join", lwp_join_method, join_doc),
    {"is_alive", lwp_is_alive, METH_NOARGS, is_alive_doc},
    {"detach", lwp_detach, METH_NOARGS, detach_doc},
    {"fileno", lwp_fileno, METH_NOARGS, fileno_doc},
    {0},
};

static PyGetSetDef lwp_attributes[] = {
    {"tid", get_tid, NULL, "The kernel's id of the LWP (gettid(2)); the pid for a process-style one.  0: not started.", NULL},
    {"ident", get_ident, NULL, "pthread_self() and threading.get_ident() in the thread.  Known before the start.", NULL},
    {"exit_signal", get_exit_signal, NULL, "The signal its end sends to the parent, 0 for none (clone(2)).", NULL},
    {"exit_status", get_exit_status, NULL,
     "Of a process-style LWP after join(): its exit status, or minus the signal that killed it; None before, for threads, and\n"
     "if another call of waitpid(2) has reaped it.",
     NULL},
    {"name", get_name, NULL, "The name given to the kernel, 15 bytes at most, or None.", NULL},
    {"_flags", get_flags, NULL, NULL, NULL},
    {"_places", get_places, NULL, NULL, NULL},
    {0},
};

TYPE_SPEC(lwp, "runtime.native.LWP", LwpObject, Py_TPFLAGS_BASETYPE, {Py_tp_doc, (void *)lwp_doc}, {Py_tp_new, lwp_tp_new},
          {Py_tp_dealloc, lwp_tp_dealloc}, {Py_tp_repr, lwp_repr}, {Py_tp_methods, lwp_methods}, {Py_tp_getset, lwp_attributes});

/* ---- of all LWPs ------------------------------------------------------------------------------------------------- */

static PyObject *reap_ended(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    Py_BEGIN_ALLOW_THREADS
    lwp_reap();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *count_contexts(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct context_counts counts;

    context_count(&counts);
    return Py_BuildValue("(lln)", counts.made, counts.cached, (Py_ssize_t)counts.bytes);
}

RETURNS(count_alive, PyLong_FromLong(registry_alive()))
RETURNS(count_started, PyLong_FromLong(registry_read().started))

static PyObject *trace_placed(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (PyUnicode_Check(text))
        EVENT(EVENT_PLACED, text, 0);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"lwp_reap", reap_ended, METH_NOARGS, "Puts back the contexts of threads that have ended."},
    {"lwp_alive", count_alive, METH_NOARGS, "How many LWPs there are."},
    {"lwp_started", count_started, METH_NOARGS, "How many were started since the process began."},
    {"context_counts", count_contexts, METH_NOARGS, "(made, cached, bytes)."},
    {"trace_placed", trace_placed, METH_O, "For the trace: the calling thread was given this placement at its birth."},
    {0},
};

static int add_lwp(PyObject *module)
{
    return PyModule_AddIntConstant(module, "THREAD_FLAGS", (long)lwp_thread_flags) < 0
                   || PyModule_AddIntConstant(module, "OWN_FLAGS", (long)lwp_own_flags) < 0
               ? -1
               : 0;
}

const struct entries entries_lwp = {.spec = &lwp_spec, .type = &lwp_type, .add = add_lwp, .functions = functions};
