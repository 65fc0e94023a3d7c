/* struct placement as bytes, and what is asked of the kernel about it: for runtime/placement.py. */
#include "placement/placement.h"

#include "python/threads/lwp.h"
#include "python/rooms.h"

static PyObject *pack_placement(PyObject *module, PyObject *args)
{
    struct placement placement = {0};
    Py_buffer cpus;

    (void)module;
    if (!PyArg_ParseTuple(args, "Iiy*iiiIIk", &placement.wanted, &placement.cgroup, &cpus, &placement.policy, &placement.priority,
                          &placement.nice, &placement.clamp_least, &placement.clamp_most, &placement.slack))
        return NULL;
    memcpy(placement.cpus, cpus.buf, (size_t)cpus.len < sizeof placement.cpus ? (size_t)cpus.len : sizeof placement.cpus);
    PyBuffer_Release(&cpus);
    return PyBytes_FromStringAndSize((const char *)&placement, sizeof placement);
}

static PyObject *unpack_placement(PyObject *module, PyObject *packed)
{
    const struct placement *placement;

    (void)module;
    if (lwp_placement(packed, &placement) < 0)
        return NULL;
    if (!placement)
        Py_RETURN_NONE;
    PyObject *cpus = PyByteArray_FromStringAndSize((const char *)placement->cpus, sizeof placement->cpus);
    return Py_BuildValue("(IiNiiiIIk)", placement->wanted, placement->cgroup, cpus, placement->policy, placement->priority,
                         placement->nice, placement->clamp_least, placement->clamp_most, placement->slack);
}

static PyObject *apply_placement(PyObject *module, PyObject *args)
{
    const struct placement *placement;
    enum placing refused = 0;
    PyObject *packed;
    int tid, error;

    (void)module;
    if (!PyArg_ParseTuple(args, "iO", &tid, &packed) || lwp_placement(packed, &placement) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = placement ? placement_apply(tid, placement, &refused) : 0;
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(is)", error, placement_names[refused]);
}

static PyObject *read_slack(PyObject *module, PyObject *number)
{
    unsigned long slack = 0;
    int tid = (int)PyLong_AsLong(number);

    (void)module;
    if (tid == -1 && PyErr_Occurred())
        return NULL;
    int error = placement_read_slack(tid, &slack);
    return Py_BuildValue("(ik)", error, slack);
}

static PyObject *read_clamps(PyObject *module, PyObject *number)
{
    unsigned least = 0, most = 0;
    int tid = (int)PyLong_AsLong(number);

    (void)module;
    if (tid == -1 && PyErr_Occurred())
        return NULL;
    int error = placement_read_clamps(tid, &least, &most);
    return Py_BuildValue("(iII)", error, least, most);
}

static PyObject *count_births(PyObject *module, PyObject *unused)
{
    long counts[PLACINGS + 1];

    (void)module;
    (void)unused;
    placement_births(counts);
    PyObject *list = PyList_New(PLACINGS + 1);
    for (Py_ssize_t i = 0; list && i <= PLACINGS; i++) {
        PyObject *count = PyLong_FromLong(counts[i]);
        if (count)
            PyList_SET_ITEM(list, i, count);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *list_usable(PyObject *module, PyObject *unused)
{
    unsigned char cpus[PLACEMENT_CPUS / 8] = {0};

    (void)module;
    (void)unused;
    return PyBytes_FromStringAndSize((const char *)cpus, placement_usable_cpus(cpus) ? 0 : sizeof cpus);
}

static PyMethodDef functions[] = {
    {"placement_pack", pack_placement, METH_VARARGS,
     "The fields of struct placement, by their order: the struct, as Thread._begin() takes it."},
    {"placement_unpack", unpack_placement, METH_O, "The fields of what placement_pack() has returned."},
    {"placement_apply", apply_placement, METH_VARARGS, "(tid or 0, packed): (0 or errno, the name of what was refused)."},
    {"placement_read_slack", read_slack, METH_O, "(0 or errno, ns)."},
    {"placement_read_clamps", read_clamps, METH_O, "(0 or errno, least, most)."},
    {"placement_births", count_births, METH_NOARGS, "How many threads asked for each of PLACEMENT_NAMES, and all."},
    {"placement_usable_cpus", list_usable, METH_NOARGS, "A mask; empty: the kernel doesn't tell."},
    {0},
};

static PyObject *list_names(void)
{
    PyObject *names = PyTuple_New(PLACINGS);

    for (Py_ssize_t i = 0; names && i < PLACINGS; i++) {
        PyObject *name = PyUnicode_FromString(placement_names[i]);
        if (name)
            PyTuple_SET_ITEM(names, i, name);
        else
            Py_CLEAR(names);
    }
    return names;
}

int python_add_placement(PyObject *module)
{
    PyObject *names = list_names();
    int result = names ? PyModule_AddObjectRef(module, "PLACEMENT_NAMES", names) : -1;

    Py_XDECREF(names);
    if (result < 0 || PyModule_AddIntConstant(module, "PLACEMENT_CPUS", PLACEMENT_CPUS) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
