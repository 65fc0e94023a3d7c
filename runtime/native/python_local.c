/* local: attributes of which every thread has its own; threading.local.
 *
 *   LocalObject --owns--> entry: the dict of one thread --\
 *       ^ slot                 ^                           } an entry goes with whichever of the two goes first
 *       |                      |                          /
 *   thread --owns--> TableObject: at[slot], borrowed
 *
 * A local owns its dicts, so the garbage collector sees cycles through them.  A thread's table is an index, held by the
 * thread state's dict: it dies with the thread state, while the thread can still run Python.  The thread finds it without a
 * look-up, by a __thread variable, that is in its own TLS block. */
#include "python_types.h"

#include "park.h"

#include <pthread.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030d0000
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#endif

typedef struct TableObject TableObject;
typedef struct LocalObject LocalObject;

struct entry {
    struct entry *next, **link; /* in its local's list */
    LocalObject *local;
    TableObject *table;
    PyObject *dict;
};

struct TableObject {
    PyObject_HEAD
    Py_ssize_t room;
    struct entry **at;
};

struct LocalObject {
    PyObject_HEAD
    Py_ssize_t slot;
    struct entry *entries;
    PyObject *args, *kwargs, *weak; /* for __init__ in every thread */
};

static PyTypeObject *table_type, *local_type;
static PyObject *table_key, *dict_name;

/* The calling thread's table; right while the thread runs with the state it was found for. */
static __thread struct {
    PyThreadState *state;
    TableObject *table;
} mine;

/* Guards the lists of entries and the numbers below; held for a few instructions, never while anything is called.  What a thread
 * reads in its own table needs no lock: only the end of a local, which nobody uses then, clears a place in it. */
static atomic_int lock;

/* Slots that are free again, below those that never were used. */
static Py_ssize_t *free_slots, free_count, free_room, next_slot;

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static void forget(struct entry *entry)
{
    PyObject *dict = entry->dict;

    park_lock(&lock);
    *entry->link = entry->next;
    if (entry->next)
        entry->next->link = entry->link;
    entry->table->at[entry->local->slot] = NULL;
    park_unlock(&lock);
    PyMem_Free(entry);
    Py_DECREF(dict); /* last: it may run anything */
}

static void table_dealloc(PyObject *op)
{
    TableObject *self = (TableObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (mine.table == self)
        mine.table = NULL;
    /* What a dropped value runs may use locals: it then gets a new table, not this one. */
    for (Py_ssize_t i = 0; i < self->room; i++)
        if (self->at[i])
            forget(self->at[i]);
    PyMem_Free(self->at);
    type->tp_free(op);
    Py_DECREF(type);
}

static TableObject *find_table(PyThreadState *state)
{
    PyObject *dict = PyThreadState_GetDict();

    if (!dict) {
        PyErr_SetString(PyExc_SystemError, "the thread state has no dict");
        return NULL;
    }
    PyObject *table = PyDict_GetItemWithError(dict, table_key);
    if (!table) {
        if (PyErr_Occurred() || !(table = table_type->tp_alloc(table_type, 0)))
            return NULL;
        int failed = PyDict_SetItem(dict, table_key, table);
        Py_DECREF(table); /* the dict holds it */
        if (failed < 0)
            return NULL;
    }
    mine.state = state;
    mine.table = (TableObject *)table;
    return mine.table;
}

static int grow(TableObject *table, Py_ssize_t slot)
{
    Py_ssize_t room = slot < 8 ? 8 : slot * 2;
    struct entry **at = PyMem_Realloc(table->at, (size_t)room * sizeof *at);

    if (!at) {
        PyErr_NoMemory();
        return -1;
    }
    memset(at + table->room, 0, (size_t)(room - table->room) * sizeof *at);
    table->at = at;
    table->room = room;
    return 0;
}

/* Makes the dict, which it takes over, that of the table's thread.  0, or -1 with an exception. */
static int add_entry(LocalObject *self, TableObject *table, PyObject *dict)
{
    struct entry *entry = NULL;

    if (self->slot < table->room || grow(table, self->slot) == 0) {
        entry = PyMem_Malloc(sizeof *entry);
        if (!entry)
            PyErr_NoMemory();
    }
    if (!entry) {
        Py_DECREF(dict);
        return -1;
    }
    park_lock(&lock);
    *entry = (struct entry){self->entries, &self->entries, self, table, dict};
    if (entry->next)
        entry->next->link = &entry->next;
    self->entries = table->at[self->slot] = entry;
    park_unlock(&lock);
    return 0;
}

static inline PyObject *dict_in(TableObject *table, LocalObject *self)
{
    return self->slot < table->room && table->at[self->slot] ? table->at[self->slot]->dict : NULL;
}

/* The first use in a thread: the dict, and what a subclass's __init__ puts there. */
static PyObject *begin(LocalObject *self, TableObject *table)
{
    PyObject *dict = PyDict_New(), *already = dict_in(table, self);

    if (dict && already) { /* to 3.11 the allocation may collect garbage, and a finalizer there has used this local */
        Py_DECREF(dict);
        return already;
    }
    if (!dict || add_entry(self, table, dict) < 0)
        return NULL;
    if (Py_TYPE(self)->tp_init != PyBaseObject_Type.tp_init
        && Py_TYPE(self)->tp_init((PyObject *)self, self->args, self->kwargs) < 0) {
        forget(table->at[self->slot]); /* the next use tries again */
        return NULL;
    }
    return dict;
}

static TableObject *my_table(void)
{
    PyThreadState *state = PyThreadState_GetUnchecked();
    return mine.table && mine.state == state ? mine.table : find_table(state);
}

static inline PyObject *my_dict(LocalObject *self)
{
    TableObject *table = my_table();

    if (!table)
        return NULL;
    PyObject *dict = dict_in(table, self);
    return dict ? dict : begin(self, table);
}

/* ---- local ------------------------------------------------------------------------------------------------------- */

static PyObject *local_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (type->tp_init == PyBaseObject_Type.tp_init
        && (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs)))) {
        PyErr_SetString(PyExc_TypeError, "Initialization arguments are not supported");
        return NULL;
    }
    LocalObject *self = (LocalObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->args = Py_NewRef(args);
    self->kwargs = Py_XNewRef(kwargs);
    park_lock(&lock);
    self->slot = free_count ? free_slots[--free_count] : next_slot++;
    park_unlock(&lock);
    /* A dict for this thread already: type.__call__ runs __init__ here, which must not run again at the first use. */
    TableObject *table = my_table();
    PyObject *dict = table ? PyDict_New() : NULL;
    if (!dict || add_entry(self, table, dict) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int local_traverse(PyObject *op, visitproc visit, void *arg)
{
    LocalObject *self = (LocalObject *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    for (struct entry *entry = self->entries; entry; entry = entry->next)
        Py_VISIT(entry->dict);
    return 0;
}

static int local_clear(PyObject *op)
{
    LocalObject *self = (LocalObject *)op;

    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    while (self->entries)
        forget(self->entries);
    return 0;
}

static void free_slot(Py_ssize_t slot)
{
    park_lock(&lock);
    if (free_count == free_room) {
        Py_ssize_t room = free_room ? free_room * 2 : 64;
        Py_ssize_t *more = PyMem_RawRealloc(free_slots, (size_t)room * sizeof *more);
        if (more) {
            free_slots = more;
            free_room = room;
        }
    }
    if (free_count < free_room) /* else the number is lost, no harm */
        free_slots[free_count++] = slot;
    park_unlock(&lock);
}

static void local_dealloc(PyObject *op)
{
    LocalObject *self = (LocalObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weak)
        PyObject_ClearWeakRefs(op);
    local_clear(op);
    free_slot(self->slot);
    type->tp_free(op);
    Py_DECREF(type);
}

/* -1 with what comparing has raised: a name may be any object, and say that it is equal. */
static int is_dict_name(PyObject *name)
{
    if (name == dict_name)
        return 1;
    if (PyUnicode_CheckExact(name))
        return PyUnicode_CompareWithASCIIString(name, "__dict__") == 0;
    return PyObject_RichCompareBool(name, dict_name, Py_EQ);
}

static PyObject *local_getattro(PyObject *op, PyObject *name)
{
    PyObject *dict = my_dict((LocalObject *)op);

    if (!dict)
        return NULL;
    if (Py_IS_TYPE(op, local_type)) { /* our own type has no data descriptors but __dict__: the thread's dict comes first */
        PyObject *value = PyDict_GetItemWithError(dict, name);
        if (value)
            return Py_NewRef(value);
        if (PyErr_Occurred())
            return NULL;
    }
    int is_dict = is_dict_name(name);
    if (is_dict)
        return is_dict < 0 ? NULL : Py_NewRef(dict);
    return _PyObject_GenericGetAttrWithDict(op, name, dict, 0);
}

static int local_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    PyObject *dict = my_dict((LocalObject *)op);

    if (!dict)
        return -1;
    int is_dict = is_dict_name(name);
    if (is_dict) {
        if (is_dict > 0)
            PyErr_Format(PyExc_AttributeError, "'%.100s' object attribute %R is read-only", Py_TYPE(op)->tp_name, name);
        return -1;
    }
    return _PyObject_GenericSetAttrWithDict(op, name, value, dict);
}

static PyObject *local_dict(PyObject *op, void *unused)
{
    (void)unused;
    return Py_XNewRef(my_dict((LocalObject *)op));
}

static PyMemberDef local_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(LocalObject, weak), READONLY, NULL},
    {0},
};

static PyGetSetDef local_attributes[] = {
    {"__dict__", local_dict, NULL, "The calling thread's attributes.", NULL},
    {0},
};

PyDoc_STRVAR(local_doc,
"Attributes of which every thread has its own; threading.local.\n\n"
"A subclass's __init__ runs once in each thread that uses the object, with the arguments it was made with.  A thread's values\n"
"are dropped when it ends.");

static PyType_Slot local_slots[] = {
    {Py_tp_doc, (void *)local_doc},
    {Py_tp_new, local_new},
    {Py_tp_dealloc, local_dealloc},
    {Py_tp_traverse, local_traverse},
    {Py_tp_clear, local_clear},
    {Py_tp_getattro, local_getattro},
    {Py_tp_setattro, local_setattro},
    {Py_tp_members, local_members},
    {Py_tp_getset, local_attributes},
    {0, NULL},
};

static PyType_Slot table_slots[] = {{Py_tp_dealloc, table_dealloc}, {0, NULL}};

static PyType_Spec local_spec = {
    "_thread._local", sizeof(LocalObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, local_slots};
static PyType_Spec table_spec = {
    "runtime.native.LocalTable", sizeof(TableObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, table_slots};

static void after_fork_in_child(void)
{
    atomic_store(&lock, 0);
}

int python_add_local(PyObject *module)
{
    if (pthread_atfork(NULL, NULL, after_fork_in_child) != 0)
        return -1;
    if (!(table_key = PyUnicode_InternFromString("runtime.tls.table")) || !(dict_name = PyUnicode_InternFromString("__dict__")))
        return -1;
    table_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &table_spec, NULL);
    local_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &local_spec, NULL);
    return !table_type || !local_type ? -1 : PyModule_AddObjectRef(module, "local", (PyObject *)local_type);
}
