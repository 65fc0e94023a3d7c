/* The module: what all the other rooms have for Python. */
#include "python/module.h"

#include "python/types.h"

#include "base/fork.h"
#include "glibc/glibc.h"
#include "sync/queue.h"

static void after_fork_in_child(void)
{
    python_wake_after_fork();
    python_entrance_after_fork();
    python_boot_after_fork();
}

static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};

size_t default_stack_size(void)
{
    size_t set = PyThread_get_stacksize();
    return set ? set : glibc_default_stack();
}

/* threading.stack_size() can't be asked for that: without an argument it sets the size back to the default. */
static PyObject *stack_size(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromSize_t(default_stack_size());
}

static PyMethodDef functions[] = {
    {"stack_size", stack_size, METH_NOARGS, "What was set by threading.stack_size(n), or what a pthread would get, in bytes."},
    {0},
};

/* The types and functions, in a module of their own: a program that drops ours from sys.modules and imports it again gets the same
 * ones, for what they know is the process's.  NULL: with an exception. */
static PyObject *everything(PyObject *for_module)
{
    static PyObject *made;

    if (made)
        return made;
    PyObject *name = PyModule_GetNameObject(for_module), *new = name ? PyModule_NewObject(name) : NULL;
    Py_XDECREF(name);
    if (!new || PyModule_AddFunctions(new, functions) < 0 || python_add_lwp(new) < 0 || python_add_boot(new) < 0
        || python_add_thread(new) < 0 || python_add_sync(new) < 0 || python_add_waits(new) < 0 || python_add_watch(new) < 0
        || python_add_trace(new) < 0 || python_add_green(new) < 0)
        return NULL;
    python_keep_chunks();
    return made = new;
}

int runtime_attach(void *module)
{
    sync_init();
    fork_handle(FORK_PYTHON, &fork_handlers);
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *all = everything(module);
    int result = !all || PyDict_Merge(PyModule_GetDict(module), PyModule_GetDict(all), 0) < 0;

#ifdef Py_GIL_DISABLED
    /* Nothing here is kept consistent by the GIL: objects' state is atomic or under a lock of its own. */
    if (!result && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED) < 0)
        result = 1;
#endif
    if (PyErr_Occurred())
        PyErr_Print();
    PyGILState_Release(state);
    return result ? -1 : 0;
}
