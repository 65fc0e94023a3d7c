/* What a trace needs from Python: names of threads, kinds of primitives, and the lines of the program (sites.h).  Each becomes a text of
 * the trace once, and has a number from then on; in the usual case that number is found in a table.  All of this is done between
 * sites_quiet() and sites_go_on(), and only while a trace is recorded. */
#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"
#include "observe/calls.h"
#include "observe/sampler.h"
#include "observe/trace.h"
#include "python/observe/sites.h"
#include "python/sync/lock.h"
#include "python/threads/gil_state.h"
#include "python/threads/lwp.h"
#include "python/rooms.h"
#include "python/threads/sleep.h"

#include <string.h>

enum { TYPES = 32, NAMED_BITS = 12, MOST_UNNAMED = 4096, NAMING_SHARE = 50 };

static struct type {
    PyTypeObject *type;
    uint16_t text;
} types[TYPES];

/* What threads have been blocked on, by a hash of its address: a later one replaces an earlier one with the same hash.  Its name is found
 * out in Python, and so not just before a sleep: when a thread's function has returned, and at the end. */
static struct named {
    PyObject *op; /* not a reference */
    const void *key;
} named[1 << NAMED_BITS];
static PyObject *unnamed, *namer; /* a list of such, and the function that returns their names */
static _Atomic int64_t naming_due;

static PyObject *texts; /* text -> number */

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* Takes over the reference; 0 if it is NULL or something fails. */
static uint32_t number_of(PyObject *text)
{
    PyObject *known = text ? PyDict_GetItemWithError(texts, text) : NULL;
    uint32_t number = 0;
    Py_ssize_t length;

    if (known)
        number = (uint32_t)PyLong_AsUnsignedLong(known);
    else if (text && !PyErr_Occurred()) {
        const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
        number = utf8 ? trace_text(utf8, (size_t)length) : 0;
        PyObject *made_now = number ? PyLong_FromUnsignedLong(number) : NULL;
        if (made_now)
            PyDict_SetItem(texts, text, made_now);
        Py_XDECREF(made_now);
    }
    Py_XDECREF(text);
    PyErr_Clear();
    return number;
}

static uint32_t text_of(uint32_t number)
{
    return number ? number_of(Py_NewRef(site_text(number))) : 0;
}

/* TRACE_TEXTS / 8 is about as much as fits. */
static uint16_t kind_named(const char *name)
{
    uint32_t text = number_of(PyUnicode_FromString(name));
    return text < UINT16_MAX ? (uint16_t)text : 0;
}

static uint16_t kind_of(PyTypeObject *type)
{
    struct type *known = &types[((uintptr_t)type >> 4) % TYPES];

    if (known->type != type) {
        const char *dot = strrchr(type->tp_name, '.'), *name = dot ? dot + 1 : type->tp_name;
        if (type == &PyTuple_Type)
            name = "runtime.wait()"; /* its things */
        uint16_t text = kind_named(strcmp(name, "lock") == 0 ? "Lock" : name);
        Py_XSETREF(known->type, (PyTypeObject *)Py_NewRef(type));
        known->text = text;
    }
    return known->text;
}

static struct named *named_of(PyObject *op)
{
    return &named[((uint64_t)(uintptr_t)op * 0x9e3779b97f4a7c15) >> (64 - NAMED_BITS)];
}

/* ---- what is recorded -------------------------------------------------------------------------------------------- */

static void note_blocked(PyObject *op, const void *key, unsigned long ticket)
{
    struct quiet quiet = sites_quiet();
    uint32_t site = text_of(site_current()), made_at = text_of(site_made(op));
    uint16_t what = kind_of(Py_TYPE(op));
    if (named_of(op)->op != op && !PyTuple_Check(op) && PyList_GET_SIZE(unnamed) < MOST_UNNAMED && PyList_Append(unnamed, op) == 0)
        *named_of(op) = (struct named){op, key};
    PyErr_Clear();

    sites_go_on(&quiet);
    trace_note(TRACE_BLOCKED, what, site, (uint64_t)(uintptr_t)key, (uint32_t)ticket | (uint64_t)made_at << 32);
}

static void note_made(PyObject *op)
{
    struct quiet quiet = sites_quiet();
    struct named *place = named_of(op);
    const void *key = place->op == op ? place->key : NULL;

    if (key)
        place->op = NULL;
    sites_go_on(&quiet);
    if (key)
        trace_note(TRACE_NAMED, 0, 0, (uint64_t)(uintptr_t)key, 0);
}

static void note_name_of(PyObject *op, PyObject *name)
{
    struct quiet quiet = sites_quiet();
    struct named *place = named_of(op);
    const void *key = place->op == op ? place->key : NULL;
    uint32_t number = key && PyUnicode_Check(name) ? number_of(Py_NewRef(name)) : 0;

    sites_go_on(&quiet);
    if (number)
        trace_note(TRACE_NAMED, 0, number, (uint64_t)(uintptr_t)key, 0);
}

static int are_unnamed(void)
{
    struct quiet quiet = sites_quiet();
    int are = PyList_GET_SIZE(unnamed) != 0;

    sites_go_on(&quiet);
    return are;
}

/* Calls Python.  Ctrl-C may end that call; the program then still gets it. */
static void name_things(void)
{
    PyObject *new = PyList_New(0);
    int64_t begun = park_now();

    if (new) {
        struct quiet quiet = sites_quiet();
        PyObject *things = unnamed;
        unnamed = new;
        sites_go_on(&quiet);
        PyObject *names = PyObject_CallOneArg(namer, things);
        for (Py_ssize_t i = 0; names && PyList_Check(names) && i < PyList_GET_SIZE(names) && i < PyList_GET_SIZE(things); i++)
            note_name_of(PyList_GET_ITEM(things, i), PyList_GET_ITEM(names, i));
        if (!names && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
            PyErr_SetInterrupt();
        Py_XDECREF(names);
        Py_DECREF(things);
    }
    PyErr_Clear();
    naming_due = park_now() + NAMING_SHARE * (park_now() - begun);
}

static void name_now(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    name_things();
    PyErr_Restore(type, value, traceback);
}

static void note_sleep(const char *what)
{
    struct quiet quiet = sites_quiet();
    uint32_t site = text_of(site_current());
    uint16_t kind = kind_named(what);

    sites_go_on(&quiet);
    trace_note(TRACE_BLOCKED, kind, site, 0, 0);
}

static void note_thread(enum trace_kind kind, uint64_t thread_pointer)
{
    struct quiet quiet = sites_quiet();
    uint32_t site = text_of(site_current());

    sites_go_on(&quiet);
    trace_note(kind, 0, site, thread_pointer, 0);
}

static void note_text(enum trace_kind kind, PyObject *text, uint64_t thread_pointer)
{
    struct quiet quiet = sites_quiet();
    uint32_t number = text ? number_of(Py_NewRef(text)) : 0;

    sites_go_on(&quiet);
    trace_note(kind, 0, number, thread_pointer, 0);
}

/* Splits a usual name: of "Thread-N (function)" returns N and leaves the function's name in *name, of "Thread-N" N and NULL.  0 for other
 * names. */
static uint64_t take_number(PyObject **name)
{
    static const char prefix[] = "Thread-";
    Py_ssize_t length, first = sizeof prefix - 1, at = first;
    const char *text = PyUnicode_AsUTF8AndSize(*name, &length);
    uint64_t number = 0;

    if (!text || strncmp(text, prefix, (size_t)first) != 0 || text[first] == '0') /* a number would lose its leading 0 */
        return 0;
    for (; text[at] >= '0' && text[at] <= '9' && at < first + 18; at++)
        number = number * 10 + (uint64_t)(text[at] - '0');
    if (at == length)
        Py_CLEAR(*name);
    else if (length - at > 3 && text[at] == ' ' && text[at + 1] == '(' && text[length - 1] == ')')
        Py_SETREF(*name, PyUnicode_FromStringAndSize(text + at + 2, length - at - 3));
    else
        return 0;
    return number;
}

/* Names the calling thread: by its Thread's name, or by the function that it runs.  A usual name, "Thread-7 (work)", is recorded as 7
 * and "work", or each thread would need a text of its own. */
static void note_name(PyObject *function, int is_thread)
{
    PyObject *name = PyObject_GetAttrString(function, is_thread ? "name" : "__qualname__");

    if (!name || !PyUnicode_Check(name))
        Py_XSETREF(name, PyUnicode_FromString(Py_TYPE(function)->tp_name));
    PyErr_Clear();
    uint64_t nth = is_thread && name ? take_number(&name) : 0;
    PyErr_Clear(); /* the name has no UTF-8 form */
    struct quiet quiet = sites_quiet();
    uint32_t text = number_of(name);
    sites_go_on(&quiet);
    trace_name(text, nth);
}

static void note_wait(PyObject *op, const struct sync_place *place)
{
    if (PyObject_TypeCheck(op, lwp_type))
        note_thread(TRACE_JOINS, ((LwpObject *)op)->lwp->tp);
    else if (place)
        note_blocked(op, place->queue, place->ticket);
    else if (PyTuple_Check(op))
        note_blocked(op, op, 0); /* runtime.wait(): what ends it is not known yet */
    else
        note_blocked(op, &((LockObject *)op)->lock, 0);
}

static void record_event(enum event event, uint64_t a, uint64_t b)
{
    switch (event) {
    case EVENT_PREPARES:
        python_give_up_begin();
        sampler_begin();
        python_give_up_end();
        if (!naming_due) { /* the namer loads modules, which takes long: later the program's frames might be gone */
            name_now();
            naming_due = 1;
        }
        break;
    case EVENT_MADE:
        note_made((PyObject *)(uintptr_t)a);
        break;
    case EVENT_RETURNED:
        if (park_now() >= naming_due && are_unnamed())
            name_now();
        break;
    case EVENT_BLOCKED:
        note_wait((PyObject *)(uintptr_t)a, (const struct sync_place *)(uintptr_t)b);
        break;
    case EVENT_SLEEPS:
        note_sleep((const char *)(uintptr_t)a);
        break;
    case EVENT_AWAITS:
        note_thread(TRACE_AWAITS, a);
        break;
    case EVENT_CANCELS:
        note_text(TRACE_CANCELS, (PyObject *)(uintptr_t)b, a);
        break;
    case EVENT_CANCELLED:
        note_text(TRACE_CANCELLED, (PyObject *)(uintptr_t)a, 0);
        break;
    case EVENT_GROUP:
        note_text(TRACE_GROUP, (PyObject *)(uintptr_t)a, 0);
        break;
    case EVENT_PLACED:
        note_text(TRACE_PLACED, (PyObject *)(uintptr_t)a, 0);
        break;
    case EVENT_TARGET:
        note_name((PyObject *)(uintptr_t)a, (int)b);
        break;
    default:
        break;
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* (path, bytes, arguments, namer): called by the main thread, after sites_begin(). */
static PyObject *begin_trace(PyObject *module, PyObject *args)
{
    const char *arguments;
    Py_ssize_t bytes;
    PyObject *path, *function;

    if (!PyArg_ParseTuple(args, "O&nyO:trace_begin", PyUnicode_FSConverter, &path, &bytes, &arguments, &function))
        return NULL;
    if ((!texts && !(texts = PyDict_New())) || (!unnamed && !(unnamed = PyList_New(0)))) {
        Py_DECREF(path);
        return NULL;
    }
    Py_XSETREF(namer, Py_NewRef(function));
    gil_place(calls_gil);
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = trace_begin(PyBytes_AS_STRING(path), (size_t)bytes, arguments, strlen(arguments));
    Py_END_ALLOW_THREADS
    Py_DECREF(path);
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    events_begin(EVENTS_PYTHON_TRACE, record_event);
    trace_name(trace_text("MainThread", 10), 0);
    trace_note(TRACE_BORN, 0, 0, (uint64_t)(uintptr_t)arch_thread_pointer(), 0);
    trace_note(TRACE_RUNS, 0, 0, 0, 0);
    Py_RETURN_NONE;
}

static PyObject *end_trace(PyObject *module, PyObject *unused)
{
    if (events_read_by(EVENTS_PYTHON_TRACE))
        name_things();
    trace_end();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"trace_begin", begin_trace, METH_VARARGS,
     "trace_begin(path, bytes, arguments, namer): records into that file from now on.  namer(list of primitives) returns their names."},
    {"trace_end", end_trace, METH_NOARGS, "Ends the recording."},
    {0},
};

int python_add_trace(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
