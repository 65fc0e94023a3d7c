/* What a trace needs from Python: names of threads, kinds of primitives, and the lines of the program (sites.h).  Each becomes a text of
 * the trace once, and has a number from then on; in the usual case that number is found in a table.  All of this is done between
 * sites_quiet() and sites_go_on(), and only while a trace is recorded. */
#include "kernel/base/events.h"
#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"
#include "observe/calls.h"
#include "green/listed.h"
#include "observe/sampler.h"
#include "observe/trace.h"
#include "python/args.h"
#include "python/reading/names.h"
#include "python/reading/sites.h"
#include "python/sync/lock.h"
#include "python/threads/gil_state.h"
#include "python/threads/lwp.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <stdlib.h>
#include <string.h>

enum { TYPES = 32, SITES = 4096, NAMED_BITS = 12, MOST_UNNAMED = 4096, NAMING_SHARE = 200 };

static struct type {
    PyTypeObject *type;
    uint16_t text;
} types[TYPES];

/* What threads have been blocked on, by a hash of its address: a later one replaces an earlier one with the same hash.  Its name is found
 * out in Python, and so not just before a sleep: when a thread's function has returned, and at the end. */
static struct named {
    PyObject *op; /* not a reference */
    const void *key;
    unsigned half; /* trace_half when its name was asked for */
} named[1 << NAMED_BITS];
static PyObject *unnamed; /* a list of (object, key), since the table may have lost the key meanwhile */
static PyObject *namer; /* returns their names */
static PyObject *forgotten; /* such a list that was full, or NULL: their ends may run code of the program, so they come later */
static _Atomic int64_t naming_due;
static int ends_itself; /* the recording, if the sampler looks at its time */

static PyObject *texts; /* text -> number */
static uint32_t site_texts[SITES];

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

/* The text of a line, by the line's number (sites.h). */
static uint32_t text_of(uint32_t site)
{
    if (site >= SITES)
        return number_of(Py_NewRef(site_text(site)));
    if (site && !site_texts[site])
        site_texts[site] = number_of(Py_NewRef(site_text(site)));
    return site_texts[site];
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

static int append_unnamed(PyObject *op, const void *key)
{
    PyObject *pair = Py_BuildValue("(OK)", op, (unsigned long long)(uintptr_t)key);
    int result = pair ? PyList_Append(unnamed, pair) : -1;

    Py_XDECREF(pair);
    return result;
}

/* Puts the object on the list whose names are found out later, if it has no name in the records' present half.  Called between sites_quiet()
 * and sites_go_on(). */
static void await_name(PyObject *op, const void *key)
{
    unsigned half = atomic_load_explicit(&trace_half, memory_order_relaxed);

    if ((named_of(op)->op == op && named_of(op)->half == half) || PyTuple_Check(op))
        return;
    if (PyList_GET_SIZE(unnamed) == MOST_UNNAMED && !forgotten) {
        PyObject *new = PyList_New(0);
        forgotten = new ? unnamed : NULL;
        unnamed = new ? new : unnamed;
    }
    if (PyList_GET_SIZE(unnamed) < MOST_UNNAMED && append_unnamed(op, key) == 0)
        *named_of(op) = (struct named){op, key, half};
    PyErr_Clear();
}

/* What a thread waits for, as far as that is known without a look at Python. */
static struct trace_record describe_wait(PyObject *op, const struct sync_place *place)
{
    const void *key = place               ? (void *)place->queue
                      : PyTuple_Check(op) ? (void *)op /* runtime.wait(): what ends it is not known yet */
                                          : (void *)&((LockObject *)op)->lock;

    if (PyObject_TypeCheck(op, lwp_type))
        return (struct trace_record){.kind = TRACE_JOINS, .a = ((LwpObject *)op)->lwp->tp};
    return (struct trace_record){.kind = TRACE_BLOCKED, .a = (uint64_t)(uintptr_t)key, .b = place ? (uint32_t)place->ticket : 0};
}

/* For sites_quiet(): the rest. */
static void complete_wait(struct trace_record *wait, PyObject *op, uint32_t site)
{
    wait->site = text_of(site);
    if (wait->kind == TRACE_JOINS)
        return;
    wait->what = kind_of(Py_TYPE(op));
    wait->b |= (uint64_t)text_of(site_made(op)) << 32;
    await_name(op, (const void *)(uintptr_t)wait->a);
}

static void note_wait(PyObject *op, const struct sync_place *place)
{
    struct trace_record wait = describe_wait(op, place);
    struct quiet quiet = sites_quiet();

    complete_wait(&wait, op, site_current());
    sites_go_on(&quiet);
    trace_note(wait.kind, wait.what, wait.site, wait.a, wait.b);
}

/* As in contention.c only the program's own calls count. */
static void note_unheard(PyObject *op)
{
    const void *key = &((LockObject *)op)->lock;
    struct quiet quiet = sites_quiet();
    uint32_t innermost = site_innermost(), site = text_of(innermost), made = innermost ? text_of(site_made(op)) : 0;
    uint16_t kind = innermost ? kind_of(Py_TYPE(op)) : 0;

    if (innermost)
        await_name(op, key);
    sites_go_on(&quiet);
    if (innermost)
        trace_note(TRACE_UNHEARD, kind, site, (uint64_t)(uintptr_t)key, (uint64_t)made << 32);
}

static void note_made(PyObject *op)
{
    struct quiet quiet = sites_quiet();
    struct named *place = named_of(op);
    const void *key = place->op == op ? place->key : NULL;

    if (key)
        place->op = NULL;
    PyObject *dropped = forgotten;
    forgotten = NULL;
    sites_go_on(&quiet);
    if (key)
        trace_note(TRACE_NAMED, 0, 0, (uint64_t)(uintptr_t)key, 0);
    Py_XDECREF(dropped);
}

static void note_name_of(PyObject *pair, PyObject *name)
{
    struct quiet quiet = sites_quiet();
    uint64_t key = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(pair, 1));
    uint32_t number = PyUnicode_Check(name) ? number_of(Py_NewRef(name)) : 0;

    sites_go_on(&quiet);
    if (number)
        trace_note(TRACE_NAMED, 0, number, key, 0);
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
    PyObject *raised = PyErr_GetRaisedException(), *new = PyList_New(0);
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
    PyErr_SetRaisedException(raised); /* in place of what was raised here */
    naming_due = park_now() + NAMING_SHARE * (park_now() - begun);
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

/* Names the calling thread: by its Thread's name, or by the function that it runs.  A usual name, "Thread-7 (work)", is recorded as 7
 * and "work", or each thread would need a text of its own. */
static void note_name(PyObject *function, int is_thread)
{
    PyObject *name;
    uint32_t nth = name_of_thread(function, is_thread, &name);
    struct quiet quiet = sites_quiet();
    uint32_t text = number_of(name);
    sites_go_on(&quiet);
    trace_name(text, nth);
}

static void begin_sampler(void)
{
    python_give_up_begin();
    sampler_begin();
    python_give_up_end();
}

static void record_event(enum event event, uint64_t a, uint64_t b)
{
    switch (event) {
    case EVENT_PREPARES:
        begin_sampler();
        if (!naming_due) { /* the namer loads modules, which takes long: later the program's frames might be gone */
            name_things();
            naming_due = 1;
        }
        break;
    case EVENT_MADE:
        note_made((PyObject *)(uintptr_t)a);
        break;
    case EVENT_RETURNED:
        if (park_now() >= naming_due && are_unnamed())
            name_things();
        break;
    case EVENT_BLOCKED:
        note_wait((PyObject *)(uintptr_t)a, (const struct sync_place *)(uintptr_t)b);
        break;
    case EVENT_UNHEARD:
        note_unheard((PyObject *)(uintptr_t)a);
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

/* ---- threads that exist already ---------------------------------------------------------------------------------- */

struct there {
    uintptr_t ident;
    uint32_t name, nth, site;
    PyObject *waits_for; /* a reference */
    struct trace_record *record;
};

struct all {
    struct there *there;
    size_t count;
};

static int compare_idents(const void *one, const void *other)
{
    uintptr_t a = ((const struct there *)one)->ident, b = ((const struct there *)other)->ident;
    return (a > b) - (a < b);
}

/* Under the lock of glibc's lists, so the thread doesn't end. */
static void tell_thread(uintptr_t ident, int tid, void *arg)
{
    struct all *all = arg;
    struct there key = {ident}, *there = bsearch(&key, all->there, all->count, sizeof key, compare_idents);
    struct wait *wait = (struct wait *)(ident + (uintptr_t)wait_offset);
    PyObject *object = there ? atomic_load(&wait->object) : NULL;
    struct trace_record blocked = {0};

    if (!there)
        return;
    if (object)
        blocked = describe_wait(object, wait->place);
    if ((there->record = trace_there(ident, tid, there->name, there->nth, &blocked)))
        there->waits_for = Py_XNewRef(object);
}

static void tell_threads(struct all *all)
{
    for (int done = 0; !done;) {
        python_waits_read(1);
        done = listed_each(tell_thread, all);
        python_waits_read(0);
        if (!done) {
            Py_BEGIN_ALLOW_THREADS
            listed_await();
            Py_END_ALLOW_THREADS
        }
    }
}

/* (ident, name, frame or None).  0, or -1 with an exception. */
static int take_thread(PyObject *tuple, struct there *there)
{
    PyObject *name, *frame;
    unsigned long ident;

    if (!PyArg_ParseTuple(tuple, "kUO", &ident, &name, &frame))
        return -1;
    Py_INCREF(name);
    there->ident = ident;
    there->nth = name_take_number(&name);
    PyErr_Clear();
    struct quiet quiet = sites_quiet();
    there->name = number_of(name);
    there->site = PyFrame_Check(frame) ? site_at((PyFrameObject *)Py_NewRef(frame)) : 0;
    sites_go_on(&quiet);
    return 0;
}

/* Each thread of the list gets a track, with what it waits for. */
static int tell_all(PyObject *threads)
{
    struct all all = {PyMem_Calloc((size_t)PyList_GET_SIZE(threads) + 1, sizeof *all.there), (size_t)PyList_GET_SIZE(threads)};
    int result = 0;

    if (!all.there)
        return PyErr_NoMemory(), -1;
    for (size_t i = 0; i < all.count && !result; i++)
        result = take_thread(PyList_GET_ITEM(threads, (Py_ssize_t)i), &all.there[i]);
    if (!result) {
        qsort(all.there, all.count, sizeof *all.there, compare_idents);
        tell_threads(&all);
        struct there me = {my_ident()};
        if (bsearch(&me, all.there, all.count, sizeof me, compare_idents))
            trace_note(TRACE_RUNS, 0, 0, 0, 0);
        for (size_t i = 0; i < all.count; i++)
            if (all.there[i].waits_for) {
                struct quiet quiet = sites_quiet();
                complete_wait(all.there[i].record, all.there[i].waits_for, all.there[i].site);
                sites_go_on(&quiet);
                Py_DECREF(all.there[i].waits_for);
            }
    }
    PyMem_Free(all.there);
    return result;
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* The numbers of texts that another file had. */
static int forget_texts(void)
{
    Py_XSETREF(texts, PyDict_New());
    memset(site_texts, 0, sizeof site_texts);
    for (int i = 0; i < TYPES; i++)
        Py_CLEAR(types[i].type);
    sampler_forget_texts();
    return texts ? 0 : -1;
}

/* (path, bytes, arguments): after sites_begin(). */
static PyObject *open_trace(PyObject *module, PyObject *args)
{
    const char *arguments;
    Py_ssize_t bytes;
    PyObject *path;
    int error;

    if (!PyArg_ParseTuple(args, "O&ny:trace_open", PyUnicode_FSConverter, &path, &bytes, &arguments))
        return NULL;
    if (!trace_is_open() && forget_texts() < 0) {
        Py_DECREF(path);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    error = trace_open(PyBytes_AS_STRING(path), (size_t)bytes, arguments, strlen(arguments));
    Py_END_ALLOW_THREADS
    Py_DECREF(path);
    return error ? raise_errno(error) : Py_NewRef(Py_None);
}

/* (until, namer) */
static PyObject *begin_trace(PyObject *module, PyObject *args)
{
    PyObject *function;
    long long until;

    if (!PyArg_ParseTuple(args, "LO:trace_begin", &until, &function))
        return NULL;
    if (!trace_is_open()) {
        PyErr_SetString(PyExc_RuntimeError, "there is no file for records");
        return NULL;
    }
    if (!unnamed && !(unnamed = PyList_New(0)))
        return NULL;
    Py_XSETREF(namer, Py_NewRef(function));
    gil_place(calls_gil);
    ends_itself = until != PARK_FOREVER;
    if (!trace_begin(until, record_event)) {
        if (ends_itself)
            begin_sampler();
        Py_RETURN_FALSE;
    }
    /* Objects may have gone meanwhile, and others have their addresses. */
    struct quiet quiet = sites_quiet();
    memset(named, 0, sizeof named);
    sites_go_on(&quiet);
    Py_RETURN_TRUE;
}

static PyObject *tell_there(PyObject *module, PyObject *threads)
{
    if (!PyArg_Parse(threads, "O!:trace_there", &PyList_Type, &threads) || tell_all(threads) < 0)
        return NULL;
    if (PyList_GET_SIZE(threads) > 1 || ends_itself)
        begin_sampler();
    Py_RETURN_NONE;
}

static PyObject *name_all(PyObject *module, PyObject *waited_for)
{
    if (!PyArg_Parse(waited_for, "O!:trace_name_things", &PyList_Type, &waited_for))
        return NULL;
    if (!events_read_by(EVENTS_PYTHON_TRACE))
        Py_RETURN_NONE;
    struct quiet quiet = sites_quiet();
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(waited_for); i++) {
        PyObject *op = PyList_GET_ITEM(waited_for, i);
        if (named_of(op)->op == op && append_unnamed(op, named_of(op)->key) < 0)
            PyErr_Clear();
    }
    sites_go_on(&quiet);
    name_things();
    Py_RETURN_NONE;
}

/* What was kept for its name, also by a recording that has ended by itself. */
static void drop_unnamed(void)
{
    PyObject *new = PyList_New(0);
    struct quiet quiet = sites_quiet();
    PyObject *names_missing = new ? unnamed : NULL, *full = forgotten;

    unnamed = new ? new : unnamed;
    forgotten = NULL;
    sites_go_on(&quiet);
    Py_XDECREF(names_missing);
    Py_XDECREF(full);
    PyErr_Clear();
}

static PyObject *end_trace(PyObject *module, PyObject *unused)
{
    if (events_read_by(EVENTS_PYTHON_TRACE))
        name_things();
    trace_end(PARK_FOREVER);
    drop_unnamed();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"trace_open", open_trace, METH_VARARGS, "trace_open(path, bytes, arguments): makes the process's file for records."},
    {"trace_begin", begin_trace, METH_VARARGS,
     "trace_begin(until, namer): records from now on until that time, in ns, unless trace_end() comes first.  namer(list of (primitive,\n"
     "key)) returns their names.  False: a recording is under way; now that is its end."},
    {"trace_there", tell_there, METH_O,
     "trace_there([(ident, name, frame or None)]): after trace_begin(), the threads that there are; the caller is one of them."},
    {"trace_name_things", name_all, METH_O,
     "trace_name_things(what is waited for): has the names of that recorded now, and of what threads have been blocked on."},
    {"trace_end", end_trace, METH_NOARGS, "Ends the recording."},
    {0},
};

const struct entries entries_trace = {.functions = functions};
