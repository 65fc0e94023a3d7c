#include "python/module.h"

#include "base/fork.h"
#include "python/boot.h"
#include "python/gil/crowd.h"
#include "python/gil/queue.h"
#include "python/green/helpers.h"
#include "python/groups/cancel.h"
#include "python/rooms.h"
#include "python/sleep.h"
#include "python/thread.h"
#include "python/wake.h"

static void after_fork_in_child(void)
{
    waker_after_fork();
    python_waits_after_fork();
    gil_queue_after_fork();
    gil_crowd_after_fork();
    boot_after_fork();
    thread_after_fork();
    helpers_after_fork();
    cancel_after_fork();
}

static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};

static int (*const rooms[])(PyObject *module) = {
    python_add_cancel,    python_add_group,   python_add_common,    python_add_lock,          python_add_event,   python_add_semaphore,
    python_add_condition, python_add_barrier, python_add_scheduler, python_add_socket_object, python_add_sockets, python_add_tls,
    python_add_stand_in,  python_add_pipes,   python_add_boot,      python_add_lwp,           python_add_helpers, python_add_files,
    python_add_thread,    python_add_waits,   python_add_watch,     python_add_trace,         python_add_explore,
};

/* All types and functions, in a module that is made once, since their state is the process's: a program that drops runtime.native from
 * sys.modules and imports it again must get the same ones.  NULL with an exception. */
static PyObject *shared_module(PyObject *for_module)
{
    static PyObject *made;

    if (made)
        return made;
    python_sleep_init();
    gil_crowd_init();
    PyObject *name = PyModule_GetNameObject(for_module), *new = name ? PyModule_NewObject(name) : NULL;
    Py_XDECREF(name);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (!new || rooms[i](new) < 0)
            return NULL;
    return made = new;
}

int runtime_attach(void *module)
{
    sync_init();
    fork_handle(FORK_PYTHON, &fork_handlers);
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *all = shared_module(module);
    int result = !all || PyDict_Merge(PyModule_GetDict(module), PyModule_GetDict(all), 0) < 0;

    if (PyErr_Occurred())
        PyErr_Print();
    PyGILState_Release(state);
    return result ? -1 : 0;
}
