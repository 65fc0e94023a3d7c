/* What a trace needs from Python: names of threads, kinds of primitives, and the lines of the program where a primitive was made and
 * where a thread waits for it.  Each becomes a text of the trace once, and has a number from then on; in the usual case that number is
 * found in a table.  All of this needs the GIL (or, in a Python without one, `naming`), and runs only while a trace is recorded. */
#include "kernel/arch/arch.h"
#include "kernel/base/events.h"

#include "kernel/base/park.h"
#include "observe/trace.h"
#include "observe/sampler.h"
#include "kernel/lwp/lwp.h"
#include "python/threads/lwp.h"
#include "python/threads/gil_state.h"
#include "python/sync/lock.h"
#include "python/rooms.h"
#include "python/threads/sleep.h"

#include <string.h>

enum { SITES = 1024, TYPES = 32, MADE_BITS = 14 };

/* The lines that were seen last.  A reference keeps each code object, so that no other one can have its address. */
static struct site {
    PyCodeObject *code;
    int instruction, inner;
    uint32_t text;
} sites[SITES];

static struct type {
    PyTypeObject *type;
    uint16_t text;
} types[TYPES];

/* Where primitives were made, by a hash of their address: a later one replaces an earlier one with the same hash. */
static struct made {
    PyObject *op; /* not a reference */
    uint32_t site;
} made[1 << MADE_BITS];

static PyObject *texts;   /* text -> number */
static PyObject *insides; /* how the names of files begin whose lines are passed over, as no line of the program: threading.py ... */
static PyObject *dropped; /* code objects that `sites` no longer refers to */
static atomic_int naming;   /* a lock; order: docs/architecture.md */

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

static int is_inside(PyObject *file)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(insides); i++)
        if (PyUnicode_Tailmatch(file, PyTuple_GET_ITEM(insides, i), 0, PY_SSIZE_T_MAX, -1) == 1)
            return 1;
    return 0;
}

static struct site *site_of(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int instruction = PyFrame_GetLasti(frame);
    struct site *site = &sites[(((uintptr_t)code >> 4) * 31 + (unsigned)instruction) % SITES];

    if (site->code != code || site->instruction != instruction) {
        /* The end of a code object may run callbacks of the program.  These must not find `naming` locked, nor run just before a sleep: so
         * release_dropped() ends it, later. */
        if (site->code && site->code != code && PyList_Append(dropped, (PyObject *)site->code) < 0)
            PyErr_Clear(); /* no memory: the code object leaks */
        else
            Py_XDECREF(site->code);
        site->code = (PyCodeObject *)Py_NewRef(code);
        site->instruction = instruction;
        site->inner = is_inside(code->co_filename);
        site->text = number_of(PyUnicode_FromFormat("%U:%d in %U", code->co_filename, PyFrame_GetLineNumber(frame), code->co_qualname));
    }
    Py_DECREF(code);
    return site;
}

/* The innermost line that belongs to the program and not to what it calls to wait; if there is none, the innermost. */
static uint32_t current_site(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get()), *outer;
    uint32_t innermost = 0;

    for (; frame; frame = outer) {
        struct site *site = site_of(frame);
        if (!innermost)
            innermost = site->text;
        if (!site->inner) {
            Py_DECREF(frame);
            return site->text;
        }
        outer = PyFrame_GetBack(frame);
        Py_DECREF(frame);
    }
    return innermost;
}

static uint16_t kind_of(PyTypeObject *type)
{
    struct type *known = &types[((uintptr_t)type >> 4) % TYPES];

    if (known->type != type) {
        const char *dot = strrchr(type->tp_name, '.'), *name = dot ? dot + 1 : type->tp_name;
        if (type == &PyTuple_Type)
            name = "runtime.wait()"; /* its things */
        uint32_t text = number_of(PyUnicode_FromString(strcmp(name, "lock") == 0 ? "Lock" : name));
        Py_XSETREF(known->type, (PyTypeObject *)Py_NewRef(type));
        known->text = text < UINT16_MAX ? (uint16_t)text : 0; /* TRACE_TEXTS / 8 is about as much */
    }
    return known->text;
}

static struct made *made_of(PyObject *op)
{
    return &made[((uint64_t)(uintptr_t)op * 0x9e3779b97f4a7c15) >> (64 - MADE_BITS)];
}

/* From be_quiet() to go_on() no code of the program runs, since the thread is about to sleep.  In 3.11 making a frame object may start a
 * collection, so that is off meanwhile; later ones collect between bytecodes only. */
struct quiet {
    int collecting;
    PyObject *type, *value, *traceback;
};

static struct quiet be_quiet(void)
{
    struct quiet quiet = {.collecting = PY_VERSION_HEX < 0x030c0000 && PyGC_Disable()};

    PyErr_Fetch(&quiet.type, &quiet.value, &quiet.traceback);
    park_lock(&naming);
    return quiet;
}

static void go_on(struct quiet *quiet)
{
    park_unlock(&naming);
    PyErr_Restore(quiet->type, quiet->value, quiet->traceback);
    if (quiet->collecting)
        PyGC_Enable();
}

/* Called where code of the program may run.  Only who has `naming` touches the list: who waited for the list's own lock, which there is
 * without a GIL, would let a collection begin, and that waits in vain for the threads that want `naming`. */
static void release_dropped(void)
{
    park_lock(&naming);
    int some = PyList_GET_SIZE(dropped) != 0;
    park_unlock(&naming);
    PyObject *released = some ? PyList_New(0) : NULL;
    if (!released) {
        if (some)
            PyErr_Clear(); /* no memory: later, then */
        return;
    }
    park_lock(&naming);
    PyObject *others = dropped;
    dropped = released;
    park_unlock(&naming);
    Py_DECREF(others);
}

/* ---- what is recorded -------------------------------------------------------------------------------------------- */

static void note_made(PyObject *op)
{
    struct quiet quiet = be_quiet();

    *made_of(op) = (struct made){op, current_site()};
    go_on(&quiet);
    release_dropped();
}

static void note_blocked(PyObject *op, const void *key, unsigned long ticket)
{
    struct quiet quiet = be_quiet();
    struct made *place = made_of(op);
    uint32_t site = current_site(), made_at = place->op == op ? place->site : 0;
    uint16_t what = kind_of(Py_TYPE(op));

    go_on(&quiet);
    trace_note(TRACE_BLOCKED, what, site, (uint64_t)(uintptr_t)key, (uint32_t)ticket | (uint64_t)made_at << 32);
}

static void note_thread(enum trace_kind kind, uint64_t thread_pointer)
{
    struct quiet quiet = be_quiet();
    uint32_t site = current_site();

    go_on(&quiet);
    trace_note(kind, 0, site, thread_pointer, 0);
}

static void note_text(enum trace_kind kind, PyObject *text, uint64_t thread_pointer)
{
    struct quiet quiet = be_quiet();
    uint32_t number = text ? number_of(Py_NewRef(text)) : 0;

    go_on(&quiet);
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

/* Names the calling thread: by its Thread's name, or by the function that it runs.  A usual name, "Thread-7 (work)", is recorded as 7 and
 * "work"; else each thread would need a text of its own. */
static void note_name(PyObject *function, int is_thread)
{
    PyObject *name = PyObject_GetAttrString(function, is_thread ? "name" : "__qualname__");

    if (!name || !PyUnicode_Check(name))
        Py_XSETREF(name, PyUnicode_FromString(Py_TYPE(function)->tp_name));
    PyErr_Clear();
    uint64_t nth = is_thread && name ? take_number(&name) : 0;
    PyErr_Clear(); /* the name has no UTF-8 form */
    struct quiet quiet = be_quiet();
    uint32_t text = number_of(name);
    go_on(&quiet);
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
        break;
    case EVENT_MADE:
        note_made((PyObject *)(uintptr_t)a);
        break;
    case EVENT_BLOCKED:
        note_wait((PyObject *)(uintptr_t)a, (const struct sync_place *)(uintptr_t)b);
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
    case EVENT_TARGET:
        note_name((PyObject *)(uintptr_t)a, (int)b);
        break;
    default:
        break;
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* (path, bytes, arguments, prefixes for `insides`): called by the main thread. */
static PyObject *begin_trace(PyObject *module, PyObject *args)
{
    const char *arguments;
    Py_ssize_t bytes;
    PyObject *path, *prefixes;

    if (!PyArg_ParseTuple(args, "O&nyO!:trace_begin", PyUnicode_FSConverter, &path, &bytes, &arguments, &PyTuple_Type, &prefixes))
        return NULL;
    if ((!texts && !(texts = PyDict_New())) || (!dropped && !(dropped = PyList_New(0)))) {
        Py_DECREF(path);
        return NULL;
    }
    Py_XSETREF(insides, Py_NewRef(prefixes));
    gil_place(sampler_gil);
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
    trace_end();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"trace_begin", begin_trace, METH_VARARGS, "trace_begin(path, bytes, arguments, inner): records into that file from now on."},
    {"trace_end", end_trace, METH_NOARGS, "Ends the recording."},
    {0},
};

int python_add_trace(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
