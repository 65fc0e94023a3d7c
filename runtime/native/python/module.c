/* The extension module, and runtime.native: the types and functions of all files in this folder. */
#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "python/threads/boot.h"
#include "python/threads/gil_crowd.h"
#include "python/threads/gil_queue.h"
#include "python/threads/gil_waits.h"
#include "python/groups/cancel.h"
#include "python/chaos/chaos.h"
#include "python/observe/sites.h"
#include "python/rooms.h"
#include "python/sync/serial.h"
#include "python/threads/sleep.h"
#include "python/threads/thread.h"
#include "python/threads/wake.h"
#include "green/thread.h"

static void after_fork_in_child(void)
{
    waker_after_fork();
    python_waits_after_fork();
    serial_after_fork();
    gil_queue_after_fork();
    gil_crowd_after_fork();
    gil_waits_after_fork();
    boot_after_fork();
    thread_after_fork();
    helpers_after_fork();
    cancel_after_fork();
    sites_after_fork();
    contention_after_fork();
    chaos_after_fork();
}

static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};

static int (*const rooms[])(PyObject *module) = {
    python_add_cancel,     python_add_group,     python_add_common,    python_add_lock,    python_add_rlock,
    python_add_event,      python_add_semaphore, python_add_condition, python_add_barrier, python_add_future,
    python_add_work_queue, python_add_scheduler, python_add_foreign,   python_add_boot,    python_add_lwp,
    python_add_helpers,    python_add_files,     python_add_thread,    python_add_counts,  python_add_placement,
    python_add_await,      python_add_waits,     python_add_held,      python_add_points,  python_add_numbers,
};
static PyMethodDef *const functions_of_rooms[] = {
    asked_functions,      chaos_functions, chaos_point_functions, code_functions,  contention_functions, explore_functions,
    lock_order_functions, loop_functions,  pipe_functions,        site_functions,  socket_functions,     sqlite_functions,
    stand_in_functions,   thing_functions, tls_functions,         trace_functions, wait_functions,       watch_functions,
};

static int fill_module(PyObject *module)
{
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (rooms[i](module) < 0)
            return -1;
    for (size_t i = 0; i < sizeof functions_of_rooms / sizeof *functions_of_rooms; i++)
        if (PyModule_AddFunctions(module, functions_of_rooms[i]) < 0)
            return -1;
    return 0;
}

/* All types and functions, in a module that is made once, because their state belongs to the process: a program that drops
 * runtime.native from sys.modules and imports it again must get the same ones.  NULL with an exception. */
static PyObject *shared_module(PyObject *for_module)
{
    static PyObject *made;

    if (made)
        return made;
    python_sleep_init();
    gil_crowd_init();
    gil_waits_init();
    PyObject *name = PyModule_GetNameObject(for_module), *new = name ? PyModule_NewObject(name) : NULL;
    Py_XDECREF(name);
    if (new && fill_module(new) < 0)
        Py_CLEAR(new);
    return made = new;
}

static PyObject *calibrate_core(void)
{
    char why[512];
    int error;

    if (glibc_calibrate(why, sizeof why) != 0)
        return PyErr_Format(PyExc_ImportError, "%s", why);
    green_thread_init();
    if ((error = lwp_init()) != 0)
        return PyErr_Format(PyExc_ImportError, "runtime can't work in this process: pthread_atfork fails: %s", strerror(error));
    sync_init();
    fork_handle(FORK_PYTHON, &fork_handlers);
    Py_RETURN_NONE;
}

/* Adds all types and functions to a module, runtime.native. */
static PyObject *attach_core(PyObject *Py_UNUSED(core), PyObject *module)
{
    PyObject *none = calibrate_core();
    PyObject *all = none ? shared_module(module) : NULL;

    if (!all || PyDict_Merge(PyModule_GetDict(module), PyModule_GetDict(all), 0) < 0)
        Py_CLEAR(none);
    return none;
}

/* ---- runtime.native._core ---------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"attach", attach_core, METH_O,
     "Calibrates the core, and adds its types and functions to a module; ImportError: it can't work here."},
    {0},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "runtime.native._core",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
