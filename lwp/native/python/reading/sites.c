#include "python/reading/sites.h"

#include "kernel/base/events.h"
#include "kernel/base/park.h"
#include "python/room.h"

enum { SITES = 1024, MADE_BITS = 14 };

/* The lines that were seen last.  A reference keeps each code object, so that no other code object can get its address. */
static struct site {
    PyCodeObject *code;
    int instruction, inner;
    uint32_t number;
    PyObject *owner; /* of a generated __init__: owner_of() */
} sites[SITES];

/* Where primitives were made, by a hash of their address: a later one replaces an earlier one with the same hash. */
static struct made {
    PyObject *op; /* not a reference */
    uint32_t site;
} made[1 << MADE_BITS];

static PyObject *numbers, *texts; /* (text, instruction) -> number, and in that order all texts */
static PyObject *dropped;         /* code objects that `sites` no longer refers to */
static PyObject *insides; /* the beginnings of the names of files whose lines are passed over */
static atomic_int naming; /* a lock; order: docs/architecture.md */

static struct made *made_of(PyObject *op)
{
    return &made[((uint64_t)(uintptr_t)op * 0x9e3779b97f4a7c15) >> (64 - MADE_BITS)];
}

/* Takes over the reference to the text; 0 if it is NULL or there is no memory.  Instructions of one line have numbers of their own: there
 * may be two locks made. */
static uint32_t number_of(PyObject *text, int instruction)
{
    PyObject *key = text ? Py_BuildValue("(Oi)", text, instruction) : NULL, *known = key ? PyDict_GetItemWithError(numbers, key) : NULL;
    PyObject *made_now = key && !known ? PyLong_FromSsize_t(PyList_GET_SIZE(texts)) : NULL;
    uint32_t number = known ? (uint32_t)PyLong_AsUnsignedLong(known) : 0;

    if (made_now && PyList_Append(texts, text) == 0) {
        number = (uint32_t)PyList_GET_SIZE(texts) - 1;
        PyDict_SetItem(numbers, key, made_now);
    }
    Py_XDECREF(made_now);
    Py_XDECREF(key);
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

static int begins_with(PyObject *text, const char *beginning)
{
    const char *letters = PyUnicode_AsUTF8(text);

    if (!letters)
        PyErr_Clear();
    return letters && strncmp(letters, beginning, strlen(beginning)) == 0;
}

/* Code that dataclasses (Lib/dataclasses.py, _create_fn) or attrs has made: its lines are in no file.  The line that calls it is the
 * program's, and so is the class's. */
static int is_generated(PyCodeObject *code)
{
    return begins_with(code->co_qualname, "__create_fn__.<locals>.") || begins_with(code->co_filename, "<attrs generated ");
}

static PyObject *text_in(PyObject *dict, const char *name)
{
    PyObject *text = PyDict_GetItemString(dict, name);
    return text && PyUnicode_Check(text) ? text : NULL;
}

/* The class whose __init__ that code is, among the bases of a type; NULL: none.  A borrowed reference. */
static PyTypeObject *class_with(PyTypeObject *type, PyCodeObject *code)
{
    for (Py_ssize_t i = 0; type->tp_mro && i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyTypeObject *one = (PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i);
        PyObject *dict = PyType_GetDict(one), *init = dict ? PyDict_GetItemString(dict, "__init__") : NULL;
        int found = init && PyFunction_Check(init) && PyFunction_GET_CODE(init) == (PyObject *)code;
        Py_XDECREF(dict);
        if (found)
            return one;
    }
    return NULL;
}

/* "FILE | CLASS" of the class whose generated __init__ runs there, for made_place() in lwp/reading/names.py; NULL: it is no __init__, or its class
 * isn't found.  It looks into dictionaries alone, so no code of the program runs. */
static PyObject *owner_of(PyFrameObject *frame, PyCodeObject *code)
{
    PyObject *names = PyCode_GetVarnames(code), *locals = PyFrame_GetLocals(frame), *text = NULL;
    PyObject *self = names && locals && PyTuple_GET_SIZE(names) ? PyObject_GetItem(locals, PyTuple_GET_ITEM(names, 0)) : NULL;
    PyTypeObject *type = self ? class_with(Py_TYPE(self), code) : NULL;
    PyObject *dict = type ? PyType_GetDict(type) : NULL, *name = dict ? text_in(dict, "__module__") : NULL;
    PyObject *module = name ? PyDict_GetItemWithError(PyImport_GetModuleDict(), name) : NULL;
    PyObject *file = module && PyModule_Check(module) ? text_in(PyModule_GetDict(module), "__file__") : NULL;

    if (file)
        text = PyUnicode_FromFormat("%U | %U", file, ((PyHeapTypeObject *)type)->ht_qualname);
    Py_XDECREF(dict);
    Py_XDECREF(self);
    Py_XDECREF(locals);
    Py_XDECREF(names);
    PyErr_Clear();
    return text;
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
        site->inner = is_inside(code->co_filename) || is_generated(code);
        Py_XSETREF(site->owner, is_generated(code) ? owner_of(frame, code) : NULL);
        PyObject *text = PyUnicode_FromFormat("%U:%d in %U", code->co_filename, PyFrame_GetLineNumber(frame), code->co_qualname);
        site->number = number_of(text, instruction);
    }
    Py_DECREF(code);
    return site;
}

uint32_t site_current(void)
{
    return site_at(PyThreadState_GetFrame(PyThreadState_Get()));
}

uint32_t site_innermost(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    struct site *site = frame ? site_of(frame) : NULL;

    Py_XDECREF(frame);
    return site && !site->inner ? site->number : 0;
}

/* Takes over the reference to the frame.  owner: if not NULL, is set to a new reference to the first owner on the way, if there is one. */
static uint32_t look_outwards(PyFrameObject *frame, PyObject **owner)
{
    PyFrameObject *outer;
    uint32_t innermost = 0;

    for (; frame; frame = outer) {
        struct site *site = site_of(frame);
        if (!innermost)
            innermost = site->number;
        if (!site->inner) {
            Py_DECREF(frame);
            return site->number;
        }
        if (owner && !*owner)
            *owner = Py_XNewRef(site->owner);
        outer = PyFrame_GetBack(frame);
        Py_DECREF(frame);
    }
    return innermost;
}

uint32_t site_at(PyFrameObject *frame)
{
    return look_outwards(frame, NULL);
}

/* Where a primitive is made.  What a generated __init__ makes has a number for each of its callers, in front of whose text stands the owner. */
static uint32_t site_of_making(void)
{
    PyObject *owner = NULL;
    uint32_t caller = look_outwards(PyThreadState_GetFrame(PyThreadState_Get()), &owner);
    uint32_t both = owner ? number_of(PyUnicode_FromFormat("%U | %U", owner, site_text(caller)), (int)caller) : 0;

    Py_XDECREF(owner);
    return both ? both : caller;
}

int site_stack(uint32_t *lines, int most)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get()), *outer;
    int depth = 0;

    for (; frame; frame = outer, depth++) {
        if (depth < most)
            lines[depth] = site_of(frame)->number;
        outer = PyFrame_GetBack(frame);
        Py_DECREF(frame);
    }
    return depth;
}

PyObject *site_text(uint32_t number)
{
    return PyList_GET_ITEM(texts, (Py_ssize_t)number < PyList_GET_SIZE(texts) ? number : 0);
}

uint32_t site_made(PyObject *op)
{
    struct made *place = made_of(op);
    return place->op == op ? place->site : 0;
}

struct quiet sites_quiet(void)
{
    struct quiet quiet = {.collecting = ALLOCATION_COLLECTS && PyGC_Disable()};

    PyErr_Fetch(&quiet.type, &quiet.value, &quiet.traceback);
    park_lock(&naming);
    return quiet;
}

void sites_go_on(struct quiet *quiet)
{
    park_unlock(&naming);
    PyErr_Restore(quiet->type, quiet->value, quiet->traceback);
    if (quiet->collecting)
        PyGC_Enable();
}

/* Another thread of the parent may have been in such a part. */
static void sites_after_fork(void)
{
    atomic_store(&naming, 0);
}

/* Called where code of the program may run.  Only the holder of `naming` touches the list.  Without a GIL a list has a lock; a thread
 * that waited for it would let a collection begin, and that would wait in vain for the threads that want `naming`. */
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

static void note_made(enum event event, uint64_t a, uint64_t b)
{
    PyObject *op = (PyObject *)(uintptr_t)a;

    if (event != EVENT_MADE)
        return;
    struct quiet quiet = sites_quiet();
    *made_of(op) = (struct made){op, site_of_making()};
    sites_go_on(&quiet);
    release_dropped();
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static PyObject *begin_sites(PyObject *module, PyObject *prefixes)
{
    if (!PyArg_Parse(prefixes, "O!:sites_begin", &PyTuple_Type, &prefixes))
        return NULL;
    if (!insides) {
        if (!(numbers = PyDict_New()) || !(texts = Py_BuildValue("[s]", "")) || !(dropped = PyList_New(0)))
            return NULL;
        insides = Py_NewRef(prefixes);
        events_begin(EVENTS_SITES, note_made);
    }
    Py_RETURN_NONE;
}

static PyObject *text_of(PyObject *module, PyObject *number)
{
    unsigned long at = PyLong_AsUnsignedLong(number);

    if (PyErr_Occurred())
        return NULL;
    if (!insides)
        return PyUnicode_FromString("");
    struct quiet quiet = sites_quiet();
    PyObject *text = Py_NewRef(site_text((uint32_t)at));
    sites_go_on(&quiet);
    return text;
}

static PyObject *made_at(PyObject *module, PyObject *op)
{
    if (!insides)
        return PyUnicode_FromString("");
    struct quiet quiet = sites_quiet();
    PyObject *text = Py_NewRef(site_text(site_made(op)));
    sites_go_on(&quiet);
    return text;
}

static PyMethodDef functions[] = {
    {"sites_begin", begin_sites, METH_O, "sites_begin(inner): from now on, notes where primitives are made.  inner: see sites.h."},
    {"site_text", text_of, METH_O, "FILE:LINE in FUNCTION of a number, or an empty text."},
    {"made_at", made_at, METH_O, "The same of the place where one of the runtime's primitives was made; empty: not known."},
    {0},
};

const struct entries entries_sites = {.functions = functions, .after_fork = sites_after_fork};
