/* Counts over all LWPs, and the record of how threads are made. */
#include "python/rooms.h"

#include "observe/steps.h"
#include "kernel/context/context.h"
#include "kernel/lwp/lwp.h"
#include "observe/measure.h"
#include "python/args.h"

enum { MOST_STEPS = 4096 };

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

static PyObject *reap_ended(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    Py_BEGIN_ALLOW_THREADS
    lwp_reap();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *count_contexts(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct context_counts counts;

    context_count(&counts);
    return Py_BuildValue("(lln)", counts.made, counts.cached, (Py_ssize_t)counts.bytes);
}

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
    {"lwp_measure", switch_measuring, METH_O, NULL},
    {"lwp_statistics", read_statistics, METH_NOARGS, "struct lwp_statistics, by its order; times in ns."},
    {"lwp_reap", reap_ended, METH_NOARGS, "Puts back the contexts of threads that have ended."},
    {"context_counts", count_contexts, METH_NOARGS, "(made, cached, bytes)."},
    {"steps_record", switch_record, METH_O, "Starts a new record, or ends it."},
    {"steps_read", read_record, METH_NOARGS, "The record: (ns, tid, kind, a, b)."},
    {0},
};

int python_add_counts(PyObject *module)
{
    return PyModule_AddIntConstant(module, "THREAD_FLAGS", (long)lwp_thread_flags) < 0
                   || PyModule_AddIntConstant(module, "OWN_FLAGS", (long)lwp_own_flags) < 0
                   || PyModule_AddFunctions(module, functions) < 0
               ? -1
               : 0;
}
