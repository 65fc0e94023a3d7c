/* The order of what threads did: operations of primitives, starts and ends, and where threads were held between bytecodes.
 *
 * What may have to wait is written down once it has come, everything else before it is done: the explorer counts its steps so
 * (explore/explore.h).  Its kinds are used, and its numbers of threads. */
#include "python/chaos/chaos.h"

#include "kernel/base/park.h"
#include "python/args.h"

enum { MOST = 1 << 20, FIRST_ROOM = 1 << 12 }; /* entries */

struct entry {
    uint32_t thread, place; /* place: in `places`; 0: none */
    int kind;
};
static struct entry *entries; /* under the lock, as all that follows */
static long count, room, lost;
static atomic_int lock, on;
static PyObject *places; /* [None, (code, line, offset of the instruction), ...] */

static void append_entry(const struct entry *entry)
{
    park_lock(&lock);
    if (count == room && room < MOST) {
        long more = room ? 2 * room : FIRST_ROOM;
        struct entry *grown = PyMem_RawRealloc(entries, sizeof *entries * (size_t)more);
        if (grown) {
            entries = grown;
            room = more;
        }
    }
    if (count < room)
        entries[count++] = *entry;
    else
        lost++;
    park_unlock(&lock);
}

static uint32_t current_place(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    PyObject *one
        = frame ? Py_BuildValue("(Nii)", PyFrame_GetCode(frame), PyFrame_GetLineNumber(frame), PyFrame_GetLasti(frame)) : NULL;
    uint32_t place = 0;

    park_lock(&lock);
    PyObject *list = Py_XNewRef(places);
    park_unlock(&lock);
    if (one && list && PyList_Append(list, one) == 0)
        place = (uint32_t)PyList_GET_SIZE(list) - 1;
    Py_XDECREF(list);
    Py_XDECREF(one);
    Py_XDECREF(frame);
    PyErr_Clear();
    return place;
}

void chaos_record(int kind)
{
    if (!atomic_load_explicit(&on, memory_order_relaxed))
        return;
    struct entry entry = {chaos_number(), 0, kind};
    if (kind == EXPLORE_CODE && !(entry.place = current_place()))
        return;
    append_entry(&entry);
}

void chaos_record_anew(int is_on)
{
    PyObject *new = is_on ? Py_BuildValue("[O]", Py_None) : NULL;

    park_lock(&lock);
    PyObject *former = places;
    places = new;
    count = lost = 0;
    park_unlock(&lock);
    Py_XDECREF(former);
    atomic_store(&on, new != NULL);
    PyErr_Clear();
}

int chaos_records(void)
{
    return atomic_load(&on);
}

void chaos_record_after_fork(void)
{
    atomic_store(&lock, 0);
    atomic_store(&on, 0);
}

PyObject *chaos_recorded(PyObject *module, PyObject *unused)
{
    park_lock(&lock);
    long many = count, without = lost;
    PyObject *where = Py_XNewRef(places);
    struct entry *copy = PyMem_RawMalloc(sizeof *copy * (size_t)(many + 1));
    if (copy)
        memcpy(copy, entries, sizeof *copy * (size_t)many);
    park_unlock(&lock);
    PyObject *list = copy ? PyList_New(0) : PyErr_NoMemory();
    for (long i = 0; copy && list && i < many; i++) {
        PyObject *place = where && copy[i].place < PyList_GET_SIZE(where) ? PyList_GET_ITEM(where, copy[i].place) : Py_None;
        append_to(&list, Py_BuildValue("(IiO)", copy[i].thread, copy[i].kind, place));
    }
    Py_XDECREF(where);
    PyMem_RawFree(copy);
    return list ? Py_BuildValue("(Nl)", list, without) : NULL;
}
