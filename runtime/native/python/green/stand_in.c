/* Functions that stand in for CPython's own, and that a program can't tell from them.
 *
 * THE DESIGN.  A stand-in is a builtin function, as the stock function is, of the same module and with a copy of its PyMethodDef.  So
 * it has the same name, documentation and signature, and is pickled by that name; and a class that keeps it as an attribute doesn't
 * bind it, as it would bind a function of Python.  CPython compares and hashes builtin functions by __self__ and the C function of
 * their PyMethodDef (Objects/methodobject.c, meth_richcompare), so that a stand-in equals the stock function: `os.open in
 * os.supports_dir_fd`.  Calls come here by the object's vectorcall pointer.  The specialized instructions of Python/bytecodes.c, and
 * Cython, go by the PyMethodDef instead, and would call the stock function.  So the copy's flags name no way of taking arguments that
 * they know.
 *
 * REJECTED.  To change the stock function's own PyMethodDef, as python/reading/swap.h does: our own calls need the stock function as it is.
 * METH_METHOD: functions that have it are of a type, builtin_method, that hides their documentation. */
#include "python/green/stand_in.h"
#include "python/green/scheduler.h"
#include "python/room.h"

#include <stddef.h>

/* Never freed: programs may keep the function. */
struct stand_in {
    PyMethodDef def;
    PyObject *stock, *function;
};

static struct stand_in *stand_in_of(PyObject *callable)
{
    return (struct stand_in *)((char *)((PyCFunctionObject *)callable)->m_ml - offsetof(struct stand_in, def));
}

PyObject *stand_in_stock(PyObject *callable)
{
    return stand_in_of(callable)->stock;
}

PyObject *stand_in_function(PyObject *callable)
{
    return stand_in_of(callable)->function;
}

PyObject *stand_in_behind(PyObject *function)
{
    /* No other function has no flags, because PyCFunction_NewEx refuses them. */
    return PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == 0 ? stand_in_stock(function) : function;
}

/* What gives both __doc__ and __text_signature__; NULL with an exception.  The stock function's own documentation isn't enough: from 3.13 on
 * the signature may come from the flags (Objects/typeobject.c, _PyType_GetTextSignatureFromInternalDoc). */
static const char *documentation_of(PyObject *stock)
{
    const PyMethodDef *def = ((PyCFunctionObject *)stock)->m_ml;
    PyObject *signature = PyObject_GetAttrString(stock, "__text_signature__"), *doc = PyObject_GetAttrString(stock, "__doc__"),
             *text = NULL;
    int has_both = signature && doc && signature != Py_None && doc != Py_None;

    if (has_both)
        text = PyUnicode_FromFormat("%s%U\n--\n\n%U", def->ml_name, signature, doc); /* stays, as the stand-in does */
    Py_XDECREF(signature);
    Py_XDECREF(doc);
    return text ? PyUnicode_AsUTF8(text) : PyErr_Occurred() ? NULL : def->ml_doc;
}

PyObject *stand_in_make(PyObject *stock, PyObject *function, vectorcallfunc run)
{
    if (!PyCFunction_CheckExact(stock))
        return PyErr_Format(PyExc_TypeError, "stand-ins are for builtin functions, not %R", stock);
    PyCFunctionObject *of = (PyCFunctionObject *)stock, *made;
    const char *documentation = documentation_of(stock);
    if (PyErr_Occurred())
        return NULL;
    struct stand_in *stand_in = PyMem_Malloc(sizeof *stand_in);
    if (!stand_in)
        return PyErr_NoMemory();
    *stand_in = (struct stand_in){*of->m_ml, stock, function};
    stand_in->def.ml_doc = documentation;
    stand_in->def.ml_flags = METH_FASTCALL | METH_KEYWORDS;
    if (!(made = (PyCFunctionObject *)PyCFunction_NewEx(&stand_in->def, of->m_self, of->m_module))) {
        PyMem_Free(stand_in);
        return NULL;
    }
    Py_INCREF(stock);
    Py_INCREF(function);
    made->vectorcall = run;
    stand_in->def.ml_flags = 0;
    /* cppcheck-suppress memleak ; `made` has it, for good */
    return (PyObject *)made;
}

/* ---- in Python --------------------------------------------------------------------------------------------------- */

/* Whether the call itself failed because of its arguments, before the function had a frame.  Then the stock function raises, in its own
 * name. */
static int is_refused(void)
{
    PyObject *type, *value, *traceback;

    if (!PyErr_ExceptionMatches(PyExc_TypeError))
        return 0;
    PyErr_Fetch(&type, &value, &traceback);
    int refused = !traceback;
    PyErr_Restore(type, value, traceback);
    return refused;
}

static PyObject *run_always(PyObject *callable, PyObject *const *args, size_t count, PyObject *names)
{
    struct stand_in *stand_in = stand_in_of(callable);
    PyObject *result = PyObject_Vectorcall(stand_in->function, args, count, names);

    if (result || !is_refused())
        return result;
    PyErr_Clear();
    return PyObject_Vectorcall(stand_in->stock, args, count, names);
}

static PyObject *run_on_scheduler(PyObject *callable, PyObject *const *args, size_t count, PyObject *names)
{
    return python_may_block() ? run_always(callable, args, count, names)
                              : PyObject_Vectorcall(stand_in_of(callable)->stock, args, count, names);
}

static PyObject *stand_in(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *stock, *function;
    int always;

    if (!PyArg_ParseTuple(args, "OOp", &stock, &function, &always))
        return NULL;
    return stand_in_make(stock, function, always ? run_always : run_on_scheduler);
}

static PyMethodDef functions[] = {
    {"stand_in", stand_in, METH_VARARGS,
     "(stock, function, always): a builtin function, to a program the stock one, that calls `function` in a thread on a scheduler, or in\n"
     "all; what `function` refuses for its arguments, the stock one does."},
    {0},
};

const struct entries entries_stand_in = {.functions = functions};
