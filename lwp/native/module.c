/* The extension module, and lwp.native: the types and functions of all files of the tools. */
#include "python/room.h"

#include "kernel/base/fork.h"

ALL_ENTRIES(all);

static void after_fork_in_child(void)
{
    entries_after_fork(all);
}

static PyObject *attach_tools(PyObject *Py_UNUSED(tools), PyObject *module)
{
    static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};
    static PyObject *made;

    if (strcmp(core_build, CORE_BUILD) != 0)
        return PyErr_Format(PyExc_ImportError, "the core has the build number %s, and the tools %s", core_build, CORE_BUILD);
    fork_handle(FORK_TOOLS, &fork_handlers);
    return entries_attach(all, &made, module) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- lwp.native._tools ------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"attach", attach_tools, METH_O,
     "Adds the types and functions of the tools' C to a module; ImportError: the core is of another build."},
    {0},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "lwp.native._tools",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__tools(void)
{
    return PyModuleDef_Init(&definition);
}
