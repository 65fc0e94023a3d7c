/* The extension module, and runtime.native: the types and functions of all files in this folder. */
#include "python/room.h"

#include "green/thread.h"
#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "waits/queue.h"

/* build.py defines ENTRIES(of) as of(NAME) for each file that has an entries_NAME, lower floors first: see room.h. */
#define DECLARE(name) extern const struct entries entries_##name;
#define ADDRESS(name) &entries_##name,

ENTRIES(DECLARE)
static const struct entries *const all[] = {ENTRIES(ADDRESS)};

static void after_fork_in_child(void)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->after_fork)
            all[i]->after_fork();
}

static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};

static int fill_module(PyObject *module)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((all[i]->add && all[i]->add(module) < 0) || (all[i]->functions && PyModule_AddFunctions(module, all[i]->functions) < 0))
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
