#include "python/sync/serial.h"

#include "green/listed.h"
#include "python/args.h"
#include "python/room.h"

enum { KEPT = 1000 }; /* names */

static atomic_ulong last;
static unsigned long parents; /* the parent's last number at the fork */
static PyObject *names;       /* number -> name, the oldest first */

unsigned long serial_new(void)
{
    unsigned long serial = atomic_fetch_add(&last, 1) + 1;

    atomic_store_explicit(&my_wait.serial, serial, memory_order_relaxed);
    return serial;
}

struct search {
    unsigned long serial, ident;
};

static void see_thread(uintptr_t ident, int tid, void *arg)
{
    struct search *search = arg;

    (void)tid;
    if (serial_of(ident) == search->serial)
        search->ident = ident;
}

unsigned long serial_ident(unsigned long serial)
{
    struct search search = {serial, 0};

    while (!listed_each(see_thread, &search)) {
        Py_BEGIN_ALLOW_THREADS
        listed_await();
        Py_END_ALLOW_THREADS
    }
    return search.ident;
}

/* A new reference, or NULL if the dict is empty. */
static PyObject *oldest_key(void)
{
    PyObject *key = NULL, *value;
    Py_ssize_t at = 0;

    Py_BEGIN_CRITICAL_SECTION(names);
    if (PyDict_Next(names, &at, &key, &value))
        Py_INCREF(key);
    Py_END_CRITICAL_SECTION();
    return key;
}

void serial_keep_name(PyObject *name)
{
    PyObject *serial = PyLong_FromUnsignedLong(my_serial());

    if (!names)
        names = PyDict_New();
    if (name && serial && names && PyDict_SetItem(names, serial, name) == 0 && PyDict_GET_SIZE(names) > KEPT) {
        PyObject *oldest = oldest_key();
        if (oldest)
            PyDict_DelItem(names, oldest);
        Py_XDECREF(oldest);
    }
    Py_XDECREF(serial);
    Py_XDECREF(name);
    PyErr_Clear();
}

PyObject *serial_name(unsigned long serial)
{
    PyObject *key = names ? PyLong_FromUnsignedLong(serial) : NULL, *name = NULL;

    if (key && PyDict_GetItemRef(names, key, &name) < 0)
        PyErr_Clear();
    Py_XDECREF(key);
    return name ? name : Py_NewRef(Py_None);
}

int serial_is_parents(unsigned long serial)
{
    return serial <= parents;
}

static void serial_after_fork(void)
{
    parents = atomic_load(&last);
}

const struct entries entries_serial = {.after_fork = serial_after_fork};
