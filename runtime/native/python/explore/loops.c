/* Loops of asyncio in explored threads.  Every loop, also one of another package as uvloop, tells asyncio by this function that it begins
 * and that it has ended. */
#include "python/explore/loops.h"

static PyObject *note_loop, *asyncio_module;

static PyObject *set_running_loop(const struct swap_call *call)
{
    PyObject *none = PyObject_CallNoArgs(note_loop);

    if (!none)
        return NULL;
    Py_DECREF(none);
    return swap_stock(call);
}

#define LOOP_FUNCTIONS(ROW, of) ROW(of##_set_running, "_set_running_loop", set_running_loop, EXPLORE_READ)
SWAPS(LOOP_FUNCTIONS, loop);

static const struct swap_table tables[] = {{.module = &asyncio_module, .methods = loop_methods}};
enum { TABLES = sizeof tables / sizeof *tables };

/* (the module _asyncio, note): while this process explores, note() is called before a loop begins and when it has ended. */
static PyObject *watch_loops(PyObject *module, PyObject *args)
{
    PyObject *note;

    if (!PyArg_ParseTuple(args, "OO:explore_loops", &asyncio_module, &note))
        return NULL;
    Py_XSETREF(note_loop, Py_NewRef(note));
    if (swap_in(tables, TABLES, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

void loops_swap_out(void)
{
    swap_out(tables, TABLES);
    Py_CLEAR(note_loop);
}

static PyMethodDef methods[] = {{"explore_loops", watch_loops, METH_VARARGS, NULL}, {0}};

int loops_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
