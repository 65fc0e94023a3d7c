/* The extension module, and runtime.native: the types and functions of all files of the core. */
#include "python/room.h"

#include "green/thread.h"
#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/sync/common.h"
#include "waits/queue.h"

const char core_build[] = CORE_BUILD;
PyObject *core_module;

void entries_after_fork(const struct entries *const *all)
{
    for (; *all; all++)
        if ((*all)->after_fork)
            (*all)->after_fork();
}

static int add_entries(const struct entries *e, PyObject *module)
{
    PyTypeObject *type = e->spec ? add_type(module, e->spec) : NULL;

    if (e->spec && !type)
        return -1;
    if (e->type)
        *e->type = type;
    if (e->derivable)
        make_derivable(type);
    return (e->add && e->add(module) < 0) || (e->functions && PyModule_AddFunctions(module, e->functions) < 0) ? -1 : 0;
}

static int fill_module(const struct entries *const *all, PyObject *module)
{
    while (*all)
        if (add_entries(*all++, module) < 0)
            return -1;
    return 0;
}

int entries_attach(const struct entries *const *all, PyObject **made, PyObject *module)
{
    if (!*made) {
        PyObject *name = PyModule_GetNameObject(module), *new = name ? PyModule_NewObject(name) : NULL;
        Py_XDECREF(name);
        if (new && fill_module(all, new) < 0)
            Py_CLEAR(new);
        *made = new;
    }
    return *made ? PyDict_Merge(PyModule_GetDict(module), PyModule_GetDict(*made), 0) : -1;
}

/* ---- the core's own ---------------------------------------------------------------------------------------------- */

ALL_ENTRIES(all);

static void after_fork_in_child(void)
{
    entries_after_fork(all);
}

static int calibrate_core(void)
{
    static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};
    char why[512];
    int error;

    if (glibc_calibrate(why, sizeof why) != 0)
        return refuse(PyExc_ImportError, "%s", why);
    green_thread_init();
    if ((error = lwp_init()) != 0)
        return refuse(PyExc_ImportError, "runtime can't work in this process: pthread_atfork fails: %s", strerror(error));
    sync_init();
    fork_handle(FORK_PYTHON, &fork_handlers);
    return 0;
}

static PyObject *attach_core(PyObject *Py_UNUSED(core), PyObject *module)
{
    return calibrate_core() < 0 || entries_attach(all, &core_module, module) < 0 ? NULL : Py_NewRef(Py_None);
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
