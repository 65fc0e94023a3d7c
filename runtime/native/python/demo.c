/* What demonstrations and `lwp bench --io` call of demo/. */
#include "python/rooms.h"

#include "demo/cost.h"
#include "demo/load.h"
#include "demo/tlsdemo.h"

static PyObject *time_once(PyObject *module, PyObject *number)
{
    long kind = PyLong_AsLong(number);
    int64_t ns;

    (void)module;
    if (kind == -1 && PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    ns = cost_once((int)kind);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(ns);
}

static PyObject *run_load(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"port", "server", "http", "connections", "idle", "seconds", "patience", NULL};
    struct load load = {0};
    struct load_result result = {0};
    int error;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|$ipiidd", names, &load.port, &load.server, &load.http, &load.connections,
                                     &load.idle, &load.seconds, &load.patience))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = load_run(&load, &result);
    Py_END_ALLOW_THREADS
    if (error)
        return PyUnicode_DecodeFSDefault(result.why);
    return Py_BuildValue("{sl sd sd sd sl}", "answers", result.answers, "seconds", result.seconds, "server_cpu", result.server_cpu,
                         "own_cpu", result.own_cpu, "server_grew", result.server_grew);
}

static PyObject *place_variable(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromVoidPtr(tlsdemo_variable());
}

static PyObject *place_errno(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromVoidPtr(tlsdemo_errno());
}

static PyObject *change_variable(PyObject *module, PyObject *value)
{
    int *variable = tlsdemo_variable(), before = *variable;
    long now = PyLong_AsLong(value);

    (void)module;
    if (now == -1 && PyErr_Occurred())
        return NULL;
    *variable = (int)now;
    return PyLong_FromLong(before);
}

static PyObject *fail_once(PyObject *module, PyObject *number)
{
    long how = PyLong_AsLong(number);

    (void)module;
    return how == -1 && PyErr_Occurred() ? NULL : PyLong_FromLong(tlsdemo_fail((int)how));
}

static PyMethodDef functions[] = {
    {"cost_once", time_once, METH_O, "Nanoseconds of making one, an enum cost_kind, or -errno."},
    {"load_run", (PyCFunction)(void (*)(void))run_load, METH_VARARGS | METH_KEYWORDS,
     "Asks a server: struct load_result as a dict, or what is wrong, in a sentence."},
    {"tlsdemo_variable", place_variable, METH_NOARGS, "The address of the calling thread's copy."},
    {"tlsdemo_set", change_variable, METH_O, "Sets the calling thread's copy; returns what it held."},
    {"tlsdemo_errno", place_errno, METH_NOARGS, "The address of the calling thread's errno."},
    {"tlsdemo_fail", fail_once, METH_O, "Makes a system call that fails; returns errno."},
    {0},
};

int python_add_demo(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
