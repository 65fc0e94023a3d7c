/* The synchronisation types: sync/queue.c's machines behind threading's methods.  Here is what they share; the types are in
 * python/primitives/lock.c, python/primitives/event.c, python/primitives/condition.c and python/primitives/barrier.c.
 *
 * Lock and RLock are complete; Event, Semaphore, Condition and Barrier are bases that runtime/sync.py derives threading's
 * classes from.  No method gives up the GIL unless it has to sleep.  Signal handlers run while a thread sleeps. */
#include "python/primitives/primitives.h"

#include <errno.h>
#include <math.h>

PyTypeObject *lock_type, *rlock_type, *semaphore_type, *condition_type;

/* ---- arguments --------------------------------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030d0000
PyAPI_FUNC(int) _PyTime_FromSecondsObject(PyTime_t *ns, PyObject *seconds, int round); /* internal/pycore_time.h */
#endif

/* Seconds to nanoseconds as the interpreter does it: which types it takes, how it rounds, what it raises. */
static int nanoseconds(PyObject *seconds, int64_t *ns)
{
    return _PyTime_FromSecondsObject(ns, seconds, 3 /* _PyTime_ROUND_TIMEOUT */);
}

static int64_t after(int64_t ns)
{
    if (ns <= 0)
        return 0;
    int64_t now = park_now();
    return ns < PARK_FOREVER - now ? now + ns : PARK_FOREVER; /* TIMEOUT_MAX is 292 years */
}

int python_deadline(PyObject *timeout, int64_t *deadline)
{
    int64_t ns;

    *deadline = PARK_FOREVER;
    if (timeout == Py_None)
        return 0;
    if (nanoseconds(timeout, &ns) < 0)
        return -1;
    *deadline = after(ns);
    return 0;
}

/* Before 3.14 threading.Condition.wait asks `timeout > 0`, since then `timeout <= 0`: a NaN goes on, and is refused. */
int wait_deadline(PyObject *timeout, int64_t *deadline)
{
    enum { ASKS_LE = PY_VERSION_HEX >= 0x030e0000 };
    int waits;

    if (timeout == Py_None)
        waits = 1;
    else if (PyFloat_CheckExact(timeout))
        waits = ASKS_LE ? !(PyFloat_AS_DOUBLE(timeout) <= 0) : PyFloat_AS_DOUBLE(timeout) > 0;
    else {
        PyObject *zero = PyLong_FromLong(0);
        waits = zero ? PyObject_RichCompareBool(timeout, zero, ASKS_LE ? Py_LE : Py_GT) : -1;
        if (ASKS_LE && waits >= 0)
            waits = !waits;
        Py_XDECREF(zero);
    }
    *deadline = 0;
    return waits > 0 ? python_deadline(timeout, deadline) : waits;
}

int how_many(PyObject *number, long *n)
{
    int overflow = 0;

    if (PyFloat_Check(number) && PyFloat_AS_DOUBLE(number) == floor(PyFloat_AS_DOUBLE(number))) {
        double value = PyFloat_AS_DOUBLE(number);
        *n = value >= 0x1p63 ? LONG_MAX : value < -0x1p63 ? LONG_MIN : (long)value;
        return 0;
    }
    *n = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow)
        *n = overflow > 0 ? LONG_MAX : LONG_MIN;
    return *n == -1 && PyErr_Occurred() ? -1 : 0;
}

PyObject *get_attribute(PyObject *op, const char *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *value = interned ? PyObject_GetAttr(op, interned) : NULL;

    Py_XDECREF(interned);
    return value;
}

PyObject *call_method(PyObject *op, const char *name, PyObject *argument)
{
    PyObject *method = get_attribute(op, name);
    PyObject *result = !method ? NULL : argument ? PyObject_CallOneArg(method, argument) : PyObject_CallNoArgs(method);

    Py_XDECREF(method);
    return result;
}

static PyObject *stock_attribute(PyObject *op, const char *name)
{
    PyObject *stock = get_attribute(op, "_stock"), *found = stock ? get_attribute(stock, name) : NULL;

    Py_XDECREF(stock);
    return found;
}

PyObject *stock_method(PyObject *op, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *all[4] = {op}, *method, *result;
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);

    if (given > 3) {
        PyErr_Format(PyExc_TypeError, "%s() got %zd arguments", name, given);
        return NULL;
    }
    if (!(method = stock_attribute(op, name)))
        return NULL;
    for (Py_ssize_t i = 0; i < given; i++)
        all[1 + i] = args[i];
    result = PyObject_Vectorcall(method, all, (size_t)count + 1, names);
    Py_DECREF(method);
    return result;
}

PyObject *stock_property(PyObject *op, const char *name)
{
    PyObject *property = stock_attribute(op, name);
    PyObject *result = property ? PyObject_CallMethod(property, "__get__", "O", op) : NULL;

    Py_XDECREF(property);
    return result;
}

PyObject *none_of(PyObject *result)
{
    if (!result)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

int overrides(PyObject *op, PyTypeObject *base, const char *name)
{
    PyObject *own = get_attribute((PyObject *)Py_TYPE(op), name);
    PyObject *ours = own ? get_attribute((PyObject *)base, name) : NULL;
    int result = ours ? own != ours : -1;

    Py_XDECREF(own);
    Py_XDECREF(ours);
    return result;
}

int acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    if (count == 1 && !names && PyBool_Check(args[0])) { /* acquire(False): most calls */
        *deadline = args[0] == Py_True ? PARK_FOREVER : 0;
        return 0;
    }
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;

    if (count + keywords > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count + keywords);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        given[i] = args[i];
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = PyUnicode_CompareWithASCIIString(name, "blocking") == 0  ? 0
                 : PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 1
                                                                          : -1;
        if (at < 0 || given[at]) {
            PyErr_Format(PyExc_TypeError,
                         at < 0 ? "'%U' is an invalid keyword argument for acquire()"
                                : "argument for acquire() given by name ('%U') and position",
                         name);
            return -1;
        }
        given[at] = args[count + i];
    }
    int blocking = 1;
#if PY_VERSION_HEX < 0x030c0000 /* an int then, any truth value since */
    if (given[0]) {
        if (!PyArg_Parse(given[0], "i", &blocking))
            return -1;
        blocking = blocking != 0;
    }
#else
    if (given[0])
        blocking = PyObject_IsTrue(given[0]);
#endif
    const int64_t none = -1000000000;
    int64_t timeout = none;
    if (blocking < 0 || (given[1] && nanoseconds(given[1], &timeout) < 0))
        return -1;
    if (!blocking && timeout != none) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return -1;
    }
    if (timeout < 0 && timeout != none) {
        PyErr_SetString(PyExc_ValueError,
                        PY_VERSION_HEX < 0x030d0000 ? "timeout value must be positive" : "timeout value must be a non-negative number");
        return -1;
    }
    *deadline = !blocking ? 0 : timeout == none ? PARK_FOREVER : after(timeout);
    return 0;
}

void simple_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    type->tp_free(op);
    Py_DECREF(type);
}

PyObject *new_primitive(PyTypeObject *type)
{
    PyObject *op = type->tp_alloc(type, 0);

    if (TRACING() && op)
        trace_made(op);
    return op;
}

PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return new_primitive(type);
}

/* ---- when threading's locks are somebody else's -------------------------------------------------------------------
 *
 * gevent and its like put locks of their own into threading, and threading's classes, made of these, sleep as they do.  A
 * primitive of ours would put the LWP to sleep, with all their threads on it.  So it is asked for another one. */

static PyObject *threading_names, *lock_name, *usual_locks[2], *make_instead;

static int locks_are_usual(void)
{
    PyObject *lock = make_instead ? PyDict_GetItemWithError(threading_names, lock_name) : NULL;

    return !lock || lock == usual_locks[0] || lock == usual_locks[1];
}

PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (locks_are_usual())
        return new_primitive(type);
    PyObject *instead = PyObject_CallFunctionObjArgs(make_instead, type, args, kwargs ? kwargs : Py_None, NULL);
    if (instead != Py_None) /* type.__call__ doesn't initialise what is of another type */
        return instead;
    Py_DECREF(instead);
    return new_primitive(type);
}

/* (vars(threading), threading's lock, ours, function): who makes a primitive when threading's `_allocate_lock` is neither. */
static PyObject *watch_locks(PyObject *module, PyObject *args)
{
    PyObject *names, *stock, *ours, *function;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!OOO:watch_locks", &PyDict_Type, &names, &stock, &ours, &function))
        return NULL;
    if (!lock_name && !(lock_name = PyUnicode_InternFromString("_allocate_lock")))
        return NULL;
    Py_XSETREF(threading_names, Py_NewRef(names));
    Py_XSETREF(usual_locks[0], Py_NewRef(stock));
    Py_XSETREF(usual_locks[1], Py_NewRef(ours));
    Py_XSETREF(make_instead, Py_NewRef(function));
    Py_RETURN_NONE;
}

/* ---- sleeping in a queue ----------------------------------------------------------------------------------------- */

struct sleeper {
    struct sync_queue *queue;
    struct sync_place *place;
};

static void never_woke(void *arg)
{
    struct sleeper *sleeper = arg;
    int baton;

    sync_queue_leave(sleeper->queue, sleeper->place, &baton);
    if (baton)
        sync_queue_pass_baton(sleeper->queue);
}

/* Once the interpreter is being finalized, taking the GIL ends a daemon thread by pthread_exit.  Then its place must not stay
 * behind in the queue of an object that lives on. */
static int sleep_without_gil(PyObject *op, struct sync_queue *queue, struct sync_place *place, struct sync_lock *give_up,
                             int64_t deadline)
{
    struct sleeper sleeper = {queue, place};
    int result;

    if (TRACING())
        trace_blocked(op, queue, place->ticket);
    int dozes = sleeper_dozes(deadline);
    pthread_cleanup_push(never_woke, &sleeper);
    PyThreadState *tstate = before_sleep(give_up);
    result = dozes ? sync_queue_doze(place, deadline) : sync_queue_wait(place, deadline);
    wait_ends();
    TRACE(TRACE_WANTS_GIL, result, 0);
    after_sleep(tstate);
    pthread_cleanup_pop(0);
    return result;
}

enum outcome sleep_in(PyObject *op, struct sync_queue *queue, struct sync_place *place, struct sync_lock *give_up, int64_t deadline,
                      int *baton)
{
    int64_t since = park_now();

    for (;; give_up = NULL) {
        wait_begins(op, place, since, deadline);
        int result = sleep_without_gil(op, queue, place, give_up, deadline);
        *baton = result == 0;
        if (result == 0)
            return ENTITLED;
        if (result == EAGAIN)
            sleeper_dozed_in_vain();
        else if (result != EINTR)
            return sync_queue_leave(queue, place, baton) ? ENTITLED : LEFT;
        int entitled = sync_queue_away(queue, place, 1);
        int raised = python_interrupted(NULL, op) < 0;
        entitled = entitled || sync_queue_away(queue, place, 0);
        if (raised && !entitled)
            entitled = sync_queue_leave(queue, place, baton);
        if (raised || entitled)
            return !raised ? ENTITLED : entitled ? RAISED_ENTITLED : RAISED;
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"allocate_lock", allocate_lock, METH_NOARGS, "allocate_lock($module, /)\n--\n\nA new lock; _thread.allocate_lock."},
    {"watch_locks", watch_locks, METH_VARARGS, NULL},
    {0},
};

int python_add_sync(PyObject *module)
{
    const struct {
        PyType_Spec *spec;
        PyTypeObject **type;
    } made[] = {{&lock_spec, &lock_type},           {&rlock_spec, &rlock_type},         {&event_spec, NULL},
                {&semaphore_spec, &semaphore_type}, {&condition_spec, &condition_type}, {&barrier_spec, NULL}};

    sync_wake = python_wake;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, made[i].spec, NULL);
        if (!type || PyModule_AddType(module, type) < 0) /* as lock, RLock, EventBase ... */
            return -1;
        if (made[i].type)
            *made[i].type = type;
    }
    if (python_quick_with(lock_type, lock_enter, lock_release) < 0 || python_quick_with(rlock_type, rlock_enter, rlock_release) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
