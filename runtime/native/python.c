/* The module: what all the other rooms have for Python. */
#include "python.h"

#include "python_types.h"

#include "glibc.h"
#include "sync.h"

#include <pthread.h>

static void after_fork_in_child(void)
{
    python_sync_after_fork();
    python_entrance_after_fork();
    python_boot_after_fork();
}

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

int runtime_attach(void *module)
{
    /* Without the GIL: to glibc 2.35 fork has the lock that this takes around all its handlers (posix/register-atfork.c). */
    if (sync_init() != 0 || pthread_atfork(NULL, NULL, after_fork_in_child) != 0)
        return 1;
    PyGILState_STATE state = PyGILState_Ensure();
    int result = PyModule_AddFunctions(module, functions) < 0 || python_add_lwp(module) < 0 || python_add_boot(module) < 0
                 || python_add_thread(module) < 0 || python_add_sync(module) < 0
                 || python_add_waits(module) < 0 || python_add_watch(module) < 0
                 || python_add_trace(module) < 0 || python_add_green(module) < 0;

    if (!result)
        python_keep_chunks();
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
