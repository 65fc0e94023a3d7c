/* threading.Thread's life on an LWP: what has to be done for each thread.
 *
 * A Thread holds what it was made with, `_ident`, and `_lwp`: None until it is started, then its LWP.  Whatever else threading
 * keeps in a Thread (`_started`, `_native_id`, `_handle` ...) runtime/thread.py computes from these when it is read.  Anything else at
 * `_lwp` means that the runtime has not made the thread, or not yet: then these functions return None, and thread.py goes on.
 *
 * `_name` and `_ident` must be in the Thread itself.  py-spy reads them from another process, where it can't call anything, and memray
 * puts descriptors of these names on the class, to see when they are set. */
#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/threads/lwp.h"
#include "python/room.h"
#include "python/sync/serial.h"
#include "python/green/scheduler.h"
#include "python/threads/thread.h"

/* Interned names. */
/* clang-format off */
#define NAMES(of) \
    of(lwp, "_lwp") of(target, "_target") of(args, "_args") of(kwargs, "_kwargs") of(name, "_name") of(ident, "_ident") \
    of(daemon, "daemon") of(daemonic, "_daemonic") of(stderr, "_stderr") of(sys_stderr, "stderr") of(flags, "_lwp_flags") \
    of(stack_size, "_lwp_stack_size") of(scheduler, "_lwp_scheduler") of(first, "_lwp_first") of(bootstrap, "_bootstrap") \
    of(counter, "_counter") of(function_name, "__name__") of(context, "_context") of(dangling, "_dangling") \
    of(get_ident, "get_ident")
/* clang-format on */
#define NAME_VARIABLE(name, text) static PyObject *name_##name;
#define NAME_ROW(name, text) {&name_##name, text},
NAMES(NAME_VARIABLE)

/* What thread.py passes to thread_setup() once. */
static PyObject *threading_names; /* vars(threading) */
static PyObject *sys_names;       /* vars(sys) */
static PyObject *usual_stderr;    /* the class Thread's `_stderr` */
static PyObject *usual_daemon;    /* the class Thread's `daemon`, a property */
static PyObject *active;          /* threading._active: ident -> Thread, of the threads that run */
static PyObject *dangling;        /* threading._dangling, a WeakSet of all Thread objects */
static PyObject *dangling_refs;   /* its set of weak references */
static PyObject *dangling_remove; /* their callback */
static PyObject *stock_current_thread;

static __thread PyObject *current; /* borrowed: the calling thread's Thread, while it runs */

/* ---- making ------------------------------------------------------------------------------------------------------ */

/* A new reference to the calling thread's Thread. */
static PyObject *current_thread(void)
{
    if (current)
        return Py_NewRef(current);
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident()), *thread = NULL;
    int found = ident ? PyDict_GetItemRef(active, ident, &thread) : -1;
    Py_XDECREF(ident);
    return found ? thread : PyObject_CallNoArgs(stock_current_thread);
}

static int set_new(PyObject *self, PyObject *name, PyObject *value)
{
    int result = value ? PyObject_SetAttr(self, name, value) : -1;

    Py_XDECREF(value);
    return result;
}

/* "Thread-N (function)".  It doesn't use PyUnicode_FromFormat(), which would take half as long as the rest of Thread(). */
static PyObject *numbered_name(unsigned long long number, const void *function, size_t length)
{
    char text[32] = "Thread-";
    size_t count = strlen(text), digits = 1;

    for (unsigned long long rest = number; rest > 9; rest /= 10)
        digits++;
    for (size_t i = digits; i-- > 0; number /= 10)
        text[count + i] = (char)('0' + number % 10);
    count += digits;
    PyObject *name = PyUnicode_New((Py_ssize_t)(count + (function ? length + 3 : 0)), 127);
    if (!name)
        return NULL;
    Py_UCS1 *to = PyUnicode_1BYTE_DATA(name);
    memcpy(to, text, count);
    if (function) {
        memcpy(to + count, " (", 2);
        memcpy(to + count + 2, function, length);
        to[count + 2 + length] = ')';
    }
    return name;
}

/* What threading.Thread.__init__ calls a thread without a name: "Thread-N", or "Thread-N (function)". */
static PyObject *new_name(PyObject *target)
{
    PyObject *counter, *function = NULL, *name = NULL;
    PyObject *count = PyDict_GetItemRef(threading_names, name_counter, &counter) > 0 ? PyObject_CallNoArgs(counter) : NULL;

    Py_XDECREF(counter);
    if (count && target != Py_None && !(function = PyObject_GetAttr(target, name_function_name))
        && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    unsigned long long number = count && !PyErr_Occurred() ? PyLong_AsUnsignedLongLong(count) : 0;
    if (PyErr_Occurred())
        ;
    else if (!function)
        name = numbered_name(number, NULL, 0);
    else if (PyUnicode_Check(function) && PyUnicode_IS_ASCII(function))
        name = numbered_name(number, PyUnicode_DATA(function), (size_t)PyUnicode_GET_LENGTH(function));
    else
        name = PyUnicode_FromFormat("Thread-%llu (%S)", number, function);
    Py_XDECREF(count);
    Py_XDECREF(function);
    return name;
}

static int set_name(PyObject *self, PyObject *name, PyObject *target)
{
    int named = name == Py_None ? 0 : PyObject_IsTrue(name);

    return named < 0 ? -1 : set_new(self, name_name, named ? PyObject_Str(name) : new_name(target));
}

/* Reads the public `daemon`, as CPython does for the end of the program and for what a new thread inherits (_set_tstate_lock() in 3.11 and
 * 3.12, start() in 3.13, __init__()): a class may say `daemon = True`.  threading's own property isn't called, because it is Python, and
 * returns `_daemonic`. */
static PyObject *daemon_of(PyObject *thread)
{
    PyObject *property = PyObject_GetAttr((PyObject *)Py_TYPE(thread), name_daemon);

    if (!property)
        PyErr_Clear(); /* the look-up in the thread fails too, and raises */
    Py_XDECREF(property);
    return PyObject_GetAttr(thread, property == usual_daemon ? name_daemonic : name_daemon);
}

/* False needs no attribute of the object: the class has it. */
static int set_daemonic(PyObject *self, PyObject *daemon)
{
    if (daemon != Py_None)
        return daemon == Py_False ? 0 : PyObject_SetAttr(self, name_daemonic, daemon);
    PyObject *creator = current_thread(), *its = creator ? daemon_of(creator) : NULL;
    int result = !its ? -1 : its == Py_False ? 0 : PyObject_SetAttr(self, name_daemonic, its);
    Py_XDECREF(creator);
    Py_XDECREF(its);
    return result;
}

/* threading.excepthook() writes there when sys.stderr is gone.  The usual one needs no attribute of the object: the class has it. */
static int set_stderr(PyObject *self)
{
    PyObject *now;

    if (PyDict_GetItemRef(sys_names, name_sys_stderr, &now) < 0)
        return -1;
    int result = now == usual_stderr ? 0 : PyObject_SetAttr(self, name_stderr, now ? now : Py_None);
    Py_XDECREF(now);
    return result;
}

static int fill_thread(PyObject *self, PyObject *target, PyObject *name, PyObject *args, PyObject *kwargs, PyObject *daemon)
{
    return set_name(self, name, target) < 0 || PyObject_SetAttr(self, name_target, target) < 0
                   || PyObject_SetAttr(self, name_args, args) < 0
                   || set_new(self, name_kwargs, kwargs == Py_None ? PyDict_New() : Py_NewRef(kwargs)) < 0
                   || set_daemonic(self, daemon) < 0 || PyObject_SetAttr(self, name_ident, Py_None) < 0 || set_stderr(self) < 0
                   || PyObject_SetAttr(self, name_lwp, Py_None) < 0
               ? -1
               : 0;
}

/* (thread, target, name, args, kwargs, daemon) */
static PyObject *thread_make(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 6)
        return PyErr_Format(PyExc_TypeError, "thread_make() takes 6 arguments");
    if (fill_thread(args[0], args[1], args[2], args[3], args[4], args[5]) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Calls threading.get_ident(), because a program may have put a function of its own there: so pebble learns of a thread's end. */
static PyObject *own_ident(void)
{
    PyObject *get_ident;

    if (PyDict_GetItemRef(threading_names, name_get_ident, &get_ident) < 0)
        return NULL;
    PyObject *ident = !get_ident || PyCFunction_CheckExact(get_ident) ? PyLong_FromUnsignedLong(PyThread_get_thread_ident())
                                                                      : PyObject_CallNoArgs(get_ident);
    Py_XDECREF(get_ident);
    return ident;
}

static PyObject *key_in_active(PyObject *thread)
{
    PyObject *found = NULL, *key, *value;
    Py_ssize_t at = 0;

    Py_BEGIN_CRITICAL_SECTION(active);
    while (!found && PyDict_Next(active, &at, &key, &value))
        if (value == thread)
            found = Py_NewRef(key);
    Py_END_CRITICAL_SECTION();
    return found;
}

static void leave_active(PyObject *thread)
{
    PyObject *ident = own_ident();

    if (!ident) { /* no memory, or the program's get_ident() has raised */
        PyErr_WriteUnraisable(thread);
        ident = key_in_active(thread);
    }
    if (!ident || PyDict_DelItem(active, ident) < 0)
        PyErr_Clear(); /* the program has removed the entry itself */
    Py_XDECREF(ident);
}

/* Calls `_bootstrap`: runtime/bootstrap.py's, or a derived class's. */
static PyObject *run_thread_object(PyObject *thread)
{
    current = thread;
    return PyObject_CallMethodNoArgs(thread, name_bootstrap);
}

static void thread_leave(PyObject *thread)
{
    if (serial_may_hold())
        serial_keep_name(PyObject_GetAttr(thread, name_name));
    current = NULL;
    leave_active(thread);
}

void thread_pass_for(PyObject *thread)
{
    current = thread;
}

static const struct boot_body thread_body = {run_thread_object, thread_leave};

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* A new reference to what is at `_lwp`, and whether that is an LWP. */
static PyObject *lwp_of(PyObject *thread, int *is_lwp)
{
    PyObject *lwp = PyObject_GetAttr(thread, name_lwp);

    *is_lwp = lwp && PyObject_TypeCheck(lwp, lwp_type);
    return lwp;
}

struct options {
    size_t stack_size;
    unsigned long flags;
    int waited;
    struct scheduler *scheduler; /* NULL: it gets an LWP */
    PyObject *first;             /* a reference, or NULL: struct boot_target's */
};

/* Reads how the thread is to be made.  0, or -1 with an exception; the caller drops o->first in either case. */
static int read_options(PyObject *thread, struct options *o)
{
    PyObject *size = PyObject_GetAttr(thread, name_stack_size);
    PyObject *some = size ? PyObject_GetAttr(thread, name_flags) : NULL;
    PyObject *scheduler = some ? PyObject_GetAttr(thread, name_scheduler) : NULL;
    o->first = scheduler ? PyObject_GetAttr(thread, name_first) : NULL;
    PyObject *daemon = o->first ? daemon_of(thread) : NULL;
    int is_daemon = daemon ? PyObject_IsTrue(daemon) : -1;

    if (is_daemon >= 0) {
        o->waited = !is_daemon;
        o->stack_size = size == Py_None ? boot_stack_size() : PyLong_AsSize_t(size);
        o->flags = some == Py_None ? lwp_thread_flags : PyLong_AsUnsignedLong(some);
        o->scheduler = scheduler == Py_None ? NULL : python_scheduler(scheduler); /* the thread's attribute keeps it alive */
    }
    Py_XDECREF(size);
    Py_XDECREF(some);
    Py_XDECREF(scheduler);
    Py_XDECREF(daemon);
    if (o->first == Py_None)
        Py_CLEAR(o->first);
    if (o->scheduler && o->first)
        PyErr_SetString(PyExc_ValueError, "a green thread shares its LWP with others, so it has no placement of its own");
    return PyErr_Occurred() ? -1 : 0;
}

/* What doesn't inherit a context begins with the empty one of its PyThreadState. */
static int inherit_context(PyObject *thread)
{
    int inherits = compat_inherits_context();

    if (inherits <= 0)
        return inherits;
    PyObject *given = PyObject_GetAttr(thread, name_context);
    Py_XDECREF(given);
    return !given ? -1 : given != Py_None ? 0 : set_new(thread, name_context, PyContext_CopyCurrent());
}

/* threading._dangling.add(thread), without running Python.  In a forked child threading resets the locks of all threads in there. */
static int add_to_dangling(PyObject *thread)
{
    PyObject *now = PyDict_GetItemWithError(threading_names, name_dangling);

    if (now != dangling) /* the program has replaced it */
        return 0;
    PyObject *reference = PyWeakref_NewRef(thread, dangling_remove);
    int result = reference ? PySet_Add(dangling_refs, reference) : -1;
    Py_XDECREF(reference);
    return result;
}

/* The Threads that are being started.  `_lwp` is set late in a start.  Until then a second start() of the same Thread could slip in: without a
 * GIL at any time, with a GIL whenever start() runs Python code or waits for glibc.  This list closes that window. */
struct starting {
    PyObject *thread; /* borrowed */
    struct starting *next;
};
static struct starting *starting;
static atomic_int starting_lock; /* order: docs/architecture.md */

/* 0: another caller is starting it. */
static int enter_starting(struct starting *me, PyObject *thread)
{
    struct starting *other;

    park_lock(&starting_lock);
    for (other = starting; other && other->thread != thread; other = other->next)
        ;
    if (!other) {
        *me = (struct starting){thread, starting};
        starting = me;
    }
    park_unlock(&starting_lock);
    return !other;
}

static void leave_starting(struct starting *me)
{
    struct starting **at = &starting;

    park_lock(&starting_lock);
    while (*at && *at != me)
        at = &(*at)->next;
    if (*at) /* otherwise this is a child that was forked meanwhile */
        *at = me->next;
    park_unlock(&starting_lock);
}

static void thread_after_fork(void)
{
    starting = NULL; /* the records of lost threads */
    atomic_store(&starting_lock, 0);
}

/* Debuggers read this name (lwp/study/gdb_threads.py), because in a core file no Python runs that could be asked. */
static void copy_name(PyObject *thread, struct lwp *lwp)
{
    PyObject *name = PyObject_GetAttr(thread, name_name);
    const char *text = name && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;

    if (text)
        lwp_set_name(lwp, text, 0);
    else
        PyErr_Clear(); /* it has no name, or a name that can't be encoded */
    Py_XDECREF(name);
}

static int start_with(PyObject *thread, const struct options *o, PyTypeObject *type, int wait)
{
    LwpObject *lwp = lwp_make(type, o->stack_size);

    if (!lwp)
        return -1;
    lwp->lwp->waited = o->waited;
    copy_name(thread, lwp->lwp);
    PyObject *ident = PyLong_FromSize_t(lwp->lwp->ident);
    const struct boot_target target = {thread, NULL, NULL, &thread_body, o->first};
    int result = !ident || PyObject_SetAttr(thread, name_lwp, (PyObject *)lwp) < 0 || PyObject_SetAttr(thread, name_ident, ident) < 0
                         || PyDict_SetItem(active, ident, thread) < 0
                         || (o->scheduler ? boot_start_green(lwp->lwp, &target, o->scheduler)
                                          : boot_start(lwp->lwp, &target, o->flags, 0, wait))
                                < 0
                     ? -1
                     : 0;
    if (result < 0) { /* the thread is as before, and may be started again */
        PyObject *raised = PyErr_GetRaisedException(), *registered = NULL;
        if (ident && PyDict_GetItemRef(active, ident, &registered) > 0 && registered == thread)
            PyDict_DelItem(active, ident);
        Py_XDECREF(registered);
        PyObject_SetAttr(thread, name_ident, Py_None);
        PyObject_SetAttr(thread, name_lwp, Py_None);
        PyErr_SetRaisedException(raised);
    }
    Py_XDECREF(ident);
    Py_DECREF(lwp);
    return result;
}

static int start_thread(PyObject *thread, PyTypeObject *type, int wait)
{
    struct options o = {0};
    int result = read_options(thread, &o) < 0 || inherit_context(thread) < 0 || add_to_dangling(thread) < 0
                     ? -1
                     : start_with(thread, &o, type, wait);

    Py_XDECREF(o.first);
    return result;
}

static PyObject *started_before(void)
{
    return PyErr_Format(PyExc_RuntimeError, "threads can only be started once");
}

static PyObject *start_unless_started(PyObject *thread, PyTypeObject *type, int wait)
{
    int is_lwp;
    PyObject *lwp = lwp_of(thread, &is_lwp);

    if (!lwp)
        return NULL;
    int ours = lwp == Py_None;
    Py_DECREF(lwp);
    if (is_lwp)
        return started_before();
    if (!ours)
        Py_RETURN_NONE;
    return start_thread(thread, type, wait) < 0 ? NULL : Py_NewRef(Py_True);
}

/* (thread, class of its LWP, wait): True, or None if the runtime does not make this thread: see the head. */
static PyObject *thread_start(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    struct starting me;

    if (count != 3 || !PyType_Check(args[1]) || !PyType_IsSubtype((PyTypeObject *)args[1], lwp_type))
        return PyErr_Format(PyExc_TypeError, "thread_start(thread, LWP class, wait)");
    if (!enter_starting(&me, args[0]))
        return started_before();
    PyObject *result = start_unless_started(args[0], (PyTypeObject *)args[1], args[2] == Py_True);
    leave_starting(&me);
    return result;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* (thread, timeout): True when it has ended, False when the time was up, None if the runtime has not made it. */
static PyObject *thread_join(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    int is_lwp;

    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "thread_join(thread, timeout)");
    PyObject *lwp = lwp_of(args[0], &is_lwp), *result = NULL;
    if (!lwp)
        return NULL;
    if (!is_lwp)
        result = Py_NewRef(Py_None);
    else if (!((LwpObject *)lwp)->lwp->started) /* another thread is just starting it */
        PyErr_SetString(PyExc_RuntimeError, "cannot join thread before it is started");
    else if (((LwpObject *)lwp)->lwp->ident == PyThread_get_thread_ident() && lwp_alive(((LwpObject *)lwp)->lwp))
        PyErr_SetString(PyExc_RuntimeError, "cannot join current thread");
    else
        result = lwp_wait((LwpObject *)lwp, args[1]);
    Py_DECREF(lwp);
    return result;
}

static PyObject *thread_is_alive(PyObject *Py_UNUSED(module), PyObject *thread)
{
    int is_lwp;
    PyObject *lwp = lwp_of(thread, &is_lwp), *result;

    if (!lwp)
        return NULL;
    result = is_lwp ? PyBool_FromLong(!lwp_is_over((LwpObject *)lwp)) : Py_NewRef(Py_None);
    Py_DECREF(lwp);
    return result;
}

RETURNS(thread_current, current_thread())

/* The next LWP that the end of the program must wait for, as an object of that class, or None. */
static PyObject *thread_waited(PyObject *Py_UNUSED(module), PyObject *type)
{
    struct lwp *lwp = lwp_next_waited();
    return lwp ? (PyObject *)lwp_object((PyTypeObject *)type, lwp) : Py_NewRef(Py_None);
}

static int find_dangling(PyObject *names_)
{
    PyObject *set = PyDict_GetItemWithError(names_, name_dangling);
    PyObject *refs = set ? PyObject_GetAttrString(set, "data") : NULL, *remove = refs ? PyObject_GetAttrString(set, "_remove") : NULL;

    if (!remove || !PySet_Check(refs)) {
        Py_XDECREF(refs);
        Py_XDECREF(remove);
        return refuse(PyExc_ImportError, "threading has no WeakSet _dangling, or it holds no set of weak references");
    }
    Py_XSETREF(dangling, Py_NewRef(set));
    Py_XSETREF(dangling_refs, refs);
    Py_XSETREF(dangling_remove, remove);
    return 0;
}

/* (vars(threading), vars(sys), Thread, Thread._stderr) */
static PyObject *thread_setup(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *dict, *sys_dict, *type, *usual;

    if (!PyArg_ParseTuple(args, "O!O!O!O:thread_setup", &PyDict_Type, &dict, &PyDict_Type, &sys_dict, &PyType_Type, &type, &usual))
        return NULL;
    PyObject *running = PyDict_GetItemString(dict, "_active"), *stock = PyDict_GetItemString(dict, "current_thread");
    if (!running || !PyDict_Check(running) || !stock)
        return PyErr_Format(PyExc_ImportError, "threading has no dict _active, or no current_thread");
    PyObject *daemon = PyObject_GetAttr(type, name_daemon);
    if (!daemon || find_dangling(dict) < 0) {
        Py_XDECREF(daemon);
        return NULL;
    }
    Py_XSETREF(usual_daemon, daemon);
    Py_XSETREF(threading_names, Py_NewRef(dict));
    Py_XSETREF(sys_names, Py_NewRef(sys_dict));
    Py_XSETREF(usual_stderr, Py_NewRef(usual));
    Py_XSETREF(active, Py_NewRef(running));
    Py_XSETREF(stock_current_thread, Py_NewRef(stock));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"thread_setup", thread_setup, METH_VARARGS, NULL},
    POSITIONAL("thread_make", thread_make, NULL),
    POSITIONAL("thread_start", thread_start, NULL),
    POSITIONAL("thread_join", thread_join, NULL),
    {"thread_is_alive", thread_is_alive, METH_O, NULL},
    {"thread_waited", thread_waited, METH_O, NULL},
    {"current_thread", thread_current, METH_NOARGS,
     "current_thread($module, /)\n--\n\nThe calling thread's Thread; threading.current_thread."},
    {0},
};

static int add_thread(PyObject *module)
{
    static const struct {
        PyObject **name;
        const char *text;
    } names[] = {NAMES(NAME_ROW)};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(*names[i].name = PyUnicode_InternFromString(names[i].text)))
            return -1;
    return 0;
}

const struct entries entries_thread = {.add = add_thread, .functions = functions, .after_fork = thread_after_fork};
