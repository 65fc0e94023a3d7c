/* Counts over all LWPs. */
#include "python/room.h"

#include "observe/measure.h"

static PyObject *switch_measuring(PyObject *Py_UNUSED(module), PyObject *on)
{
    int is = PyObject_IsTrue(on);

    if (is < 0)
        return NULL;
    lwp_measure(is);
    Py_RETURN_NONE;
}

static PyObject *read_statistics(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct lwp_statistics found;

    lwp_read_statistics(&found);
    return Py_BuildValue("(llllLLLlln)", found.started, found.alive, found.peak, found.measured, (long long)found.latency_p50_ns,
                         (long long)found.latency_p99_ns, (long long)found.cpu_ns, found.voluntary, found.involuntary,
                         (Py_ssize_t)found.stack_used);
}

static PyMethodDef functions[] = {
    {"lwp_measure", switch_measuring, METH_O, NULL},
    {"lwp_statistics", read_statistics, METH_NOARGS, "struct lwp_statistics, by its order; times in ns."},
    {0},
};

const struct entries entries_counts = {.functions = functions};
