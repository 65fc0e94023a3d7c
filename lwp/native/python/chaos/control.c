/* The beginning and the end of chaos, for lwp/chaos/chaos.py. */
#include "python/chaos/chaos.h"

#include "python/room.h"

static int on;

/* (seed, found, DISABLE, restart_events, SimpleQueue of CPython's); found(code): whether the code object, which is about to be
 * run, is the program's; without sys.monitoring DISABLE and restart_events are None. */
static PyObject *begin_chaos(PyObject *module, PyObject *args)
{
    unsigned long long seed;
    PyObject *function, *no, *again, *queue;

    if (!PyArg_ParseTuple(args, "KOOOO!:chaos_begin", &seed, &function, &no, &again, &PyType_Type, &queue))
        return NULL;
    if (on) {
        PyErr_SetString(PyExc_RuntimeError, "chaos has begun already");
        return NULL;
    }
    if (chaos_operations_begin((PyTypeObject *)queue) < 0)
        return NULL;
    chaos_holds_begin(seed);
    if (chaos_points_begin(function, no, again) < 0) {
        chaos_holds_end();
        chaos_operations_end();
        return NULL;
    }
    on = 1;
    Py_RETURN_NONE;
}

/* (seed): threads that are started from now on are numbered from 1 on, and nothing has been done yet. */
static PyObject *begin_anew(PyObject *module, PyObject *seed)
{
    if (on) {
        chaos_holds_end();
        chaos_holds_begin(PyLong_AsUnsignedLongLongMask(seed));
    }
    Py_RETURN_NONE;
}

/* A loop of asyncio is about to look for what is ready. */
static PyObject *come_to_turn(PyObject *module, PyObject *unused)
{
    if (on)
        chaos_point(&(struct chaos_place){CHAOS_TURN});
    Py_RETURN_NONE;
}

static PyObject *end_chaos(PyObject *module, PyObject *unused)
{
    if (on) {
        on = 0;
        chaos_points_end();
        chaos_operations_end();
        chaos_holds_end();
    }
    Py_RETURN_NONE;
}

static void chaos_after_fork(void)
{
    if (!on)
        return;
    on = 0;
    chaos_points_end();
    chaos_operations_end();
    chaos_holds_after_fork();
}

static PyMethodDef functions[] = {
    {"chaos_begin", begin_chaos, METH_VARARGS, NULL}, {"chaos_begin_anew", begin_anew, METH_O, NULL},
    {"chaos_end", end_chaos, METH_NOARGS, NULL},      {"chaos_turn", come_to_turn, METH_NOARGS, NULL},
    {"chaos_acts", chaos_tell, METH_NOARGS, NULL},    {0},
};

const struct entries entries_chaos = {.functions = functions, .after_fork = chaos_after_fork};
