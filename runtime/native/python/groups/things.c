#include "python/groups/wait.h"

#include "green/thread.h"
#include "python/args.h"
#include "python/threads/lwp.h"
#include "python/sync/future.h"
#include "python/sync/common.h"
#include "python/sync/waiters.h"
#include "python/room.h"

#include <errno.h>
#include <sched.h>

static PyObject *thread_class; /* threading's; NULL: not loaded yet */

/* ---- what the program gives -------------------------------------------------------------------------------------- */

static int set_lwp(struct thing *thing, PyObject *object)
{
    struct lwp *lwp = ((LwpObject *)object)->lwp;

    if (!lwp->started)
        return refuse(PyExc_RuntimeError, "%R has not been started", thing->given);
    if (((LwpObject *)object)->detached)
        return refuse(PyExc_RuntimeError, "%R is detached", thing->given);
    if (!(lwp->flags & CLONE_THREAD))
        return refuse(PyExc_TypeError, "%R is a process: select, poll and selectors wait for its fileno()", thing->given);
    if (lwp->ident == PyThread_get_thread_ident() && lwp_alive(lwp))
        return refuse(PyExc_RuntimeError, "%R is the calling thread", thing->given);
    if (thing->forever && green_of_lwp(lwp)->scheduler && lwp_alive(lwp) && scheduler_is_orphaned(green_of_lwp(lwp)->scheduler))
        return refuse(PyExc_RuntimeError, "%R is a green thread that nobody runs: call its scheduler's run()", thing->given);
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
                 : lwp == Py_None ? refuse(PyExc_RuntimeError, "%R has not been started", thing->given)
                                  : refuse(PyExc_RuntimeError, "%R is a thread of threading's own", thing->given);

    Py_XDECREF(lwp);
    return result;
}

static int set_primitive(struct thing *thing, PyObject *object, const struct waitable *kind)
{
    thing->object = Py_NewRef(object);
    thing->kind = kind;
    return 0;
}

static int set_unless_derived(struct thing *thing, const struct waitable *kind)
{
    if (PyObject_TypeCheck(thing->given, in_python_type))
        return refuse(PyExc_TypeError, "can't wait for %R: a derived class keeps it in Python", thing->given);
    return set_primitive(thing, thing->given, kind);
}

static int set_future(struct thing *thing)
{
    if (thing->forever && future_is_lost((FutureObject *)thing->given))
        return refuse(PyExc_RuntimeError, "the thread that would end %R is in the process that has forked", thing->given);
    return set_primitive(thing, thing->given, &future_waitable);
}

/* What to say of a type, by its name; a lock of the runtime has the name of _thread's. */
#define IS_STOCK "can't wait for %R, which is threading's own: use runtime.sync's, or make it after runtime.install()"
#define IS_LOCK "can't wait for the lock %R among several things: use Semaphore(1), which a wait acquires, or the lock's own acquire()"
#define IS_FILE "can't wait for the file %R among other things: select, poll and selectors wait for files, and for fileno() of a thread"
static const struct {
    const char *type, *text;
} refusals[] = {
    {"threading.Event", IS_STOCK}, {"threading.Semaphore", IS_STOCK}, {"threading._RLock", IS_LOCK},
    {"_thread.lock", IS_LOCK},     {"_thread.RLock", IS_LOCK},
};

static const char *refusal_by_type(PyObject *given)
{
    PyObject *bases = Py_TYPE(given)->tp_mro;
    const char *text = NULL;

    for (Py_ssize_t i = 0; !text && i < PyTuple_GET_SIZE(bases); i++) {
        PyObject *base = PyTuple_GET_ITEM(bases, i), *module = get_attribute(base, NAME("__module__"));
        PyObject *name = get_attribute(base, NAME("__name__"));
        PyObject *whole = module && name ? PyUnicode_FromFormat("%S.%S", module, name) : NULL;
        for (size_t j = 0; whole && j < sizeof refusals / sizeof *refusals; j++)
            if (PyUnicode_CompareWithASCIIString(whole, refusals[j].type) == 0)
                text = refusals[j].text;
        Py_XDECREF(module);
        Py_XDECREF(name);
        Py_XDECREF(whole);
    }
    PyErr_Clear();
    return text;
}

static int refuse_other(PyObject *given)
{
    const char *text = PyLong_Check(given) || PyObject_HasAttrString(given, "fileno") ? IS_FILE : refusal_by_type(given);

    return refuse(PyExc_TypeError,
                  text ? text : "can wait for threads, tasks, futures of runtime.pool, LWPs, events and semaphores, not for %R", given);
}

int wait_set_thing(struct thing *thing, PyObject *given, int forever)
{
    thing->given = given;
    thing->forever = forever;
    if (PyObject_TypeCheck(given, event_type))
        return set_unless_derived(thing, &event_waitable);
    if (PyObject_TypeCheck(given, semaphore_type))
        return set_unless_derived(thing, &semaphore_waitable);
    if (PyObject_TypeCheck(given, lwp_type))
        return set_lwp(thing, given);
    if (PyObject_TypeCheck(given, future_type))
        return set_future(thing);
    return thread_class && PyObject_TypeCheck(given, (PyTypeObject *)thread_class) ? set_thread(thing) : refuse_other(given);
}

/* ---- a class in Python ------------------------------------------------------------------------------------------- */

static PyObject *set_thread_class(PyObject *Py_UNUSED(module), PyObject *type)
{
    Py_XSETREF(thread_class, Py_NewRef(type));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"wait_thread_class", set_thread_class, METH_O, "(threading's Thread)"},
    {0},
};

const struct entries entries_things = {.functions = functions};
