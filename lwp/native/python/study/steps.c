/* The record of how threads are made. */
#include "python/room.h"

#include "python/args.h"
#include "study/steps.h"

enum { MOST_STEPS = 4096 };

static PyObject *switch_record(PyObject *Py_UNUSED(module), PyObject *on)
{
    int is = PyObject_IsTrue(on);

    if (is < 0)
        return NULL;
    steps_record(is);
    Py_RETURN_NONE;
}

static PyObject *read_record(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct step *found = PyMem_Malloc(MOST_STEPS * sizeof *found);

    if (!found)
        return PyErr_NoMemory();
    int count = steps_read(found, MOST_STEPS);
    PyObject *list = PyList_New(0);
    for (int i = 0; i < count; i++)
        append_to(&list, Py_BuildValue("(LiiKK)", (long long)found[i].ns, found[i].tid, found[i].kind, (unsigned long long)found[i].a,
                                       (unsigned long long)found[i].b));
    PyMem_Free(found);
    return list;
}

static PyMethodDef functions[] = {
    {"steps_record", switch_record, METH_O, "Starts a new record, or ends it."},
    {"steps_read", read_record, METH_NOARGS, "The record: (ns, tid, kind, a, b)."},
    {0},
};

const struct entries entries_steps = {.functions = functions};
