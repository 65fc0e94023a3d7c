#include "python/explore/swap.h"
#include "python/green/stand_in.h"

#include "python/sync/with.h"

enum { MOST_ARGUMENTS = 16 };
enum { HOW_CALLED = METH_VARARGS | METH_KEYWORDS | METH_FASTCALL | METH_NOARGS | METH_O | METH_METHOD };

/* ---- calling what stood there ------------------------------------------------------------------------------------ */

static PyObject *call_with_tuple(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *tuple = PyTuple_New(count), *kwargs = names ? PyDict_New() : NULL, *result = NULL;
    int ready = tuple && (!names || kwargs);

    for (Py_ssize_t i = 0; ready && i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; ready && names && i < PyTuple_GET_SIZE(names); i++)
        ready = PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), args[count + i]) == 0;
    if (ready && swap->flags & METH_KEYWORDS)
        result = ((PyCFunctionWithKeywords)(void (*)(void))swap->stock)(self, tuple, kwargs);
    else if (ready)
        result = swap->stock(self, tuple);
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return result;
}

PyObject *swap_stock(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    switch (swap->flags & HOW_CALLED) {
    case METH_NOARGS:
        return swap->stock(self, NULL);
    case METH_O:
        return swap->stock(self, args[0]);
    case METH_FASTCALL:
        return ((PyObject * (*)(PyObject *, PyObject *const *, Py_ssize_t))(void (*)(void))swap->stock)(self, args, count);
    case METH_FASTCALL | METH_KEYWORDS:
        return ((PyObject * (*)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *))(void (*)(void))swap->stock)(self, args, count,
                                                                                                                    names);
    case METH_FASTCALL | METH_KEYWORDS | METH_METHOD:
        return ((PyCMethod)(void (*)(void))swap->stock)(self, swap->defining, args, (size_t)count, names);
    default:
        return call_with_tuple(swap, self, args, count, names);
    }
}

PyObject *swap_try(struct swap *swap, PyObject *self)
{
    PyObject *no = Py_False;
    return swap_stock(swap, self, &no, 1, NULL);
}

/* ---- being called ------------------------------------------------------------------------------------------------ */

PyObject *swap_enter(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct explored *me = explore_me();
    return (me == NULL) == swap->not_explored ? swap->run(swap, me, self, args, count, names)
                                              : swap_stock(swap, self, args, count, names);
}

PyObject *swap_enter_tuple(struct swap *swap, PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *array[MOST_ARGUMENTS] = {0}, *names = NULL, *key, *value;
    Py_ssize_t count = PyTuple_GET_SIZE(args), given = kwargs ? PyDict_GET_SIZE(kwargs) : 0, at = 0;

    if (count + given > MOST_ARGUMENTS) {
        PyErr_Format(PyExc_TypeError, "%s() got %zd arguments", swap->name, count + given);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        array[i] = PyTuple_GET_ITEM(args, i);
    if (given && !(names = PyTuple_New(given)))
        return NULL;
    for (Py_ssize_t i = 0; given && PyDict_Next(kwargs, &at, &key, &value); i++) {
        PyTuple_SET_ITEM(names, i, Py_NewRef(key));
        array[count + i] = value;
    }
    PyObject *result = swap_enter(swap, self, array, count, names);
    Py_XDECREF(names);
    return result;
}

/* ---- in force ---------------------------------------------------------------------------------------------------- */

static PyMethodDef *find_method(PyObject *from, const char *name)
{
    PyObject *found = PyDict_GetItemString(PyType_Check(from) ? ((PyTypeObject *)from)->tp_dict : PyModule_GetDict(from), name);

    if (found)
        found = stand_in_behind(python_quick_ordinary(found));
    return !found                                   ? NULL
           : Py_IS_TYPE(found, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)found)->d_method
           : PyCFunction_CheckExact(found)          ? ((PyCFunctionObject *)found)->m_ml
                                                    : NULL;
}

static PyCFunction entry_of(const struct swap *swap, int flags)
{
    switch (flags & HOW_CALLED) {
    case METH_NOARGS:
    case METH_O:
        return swap->entries.plain;
    case METH_VARARGS:
        return swap->entries.tuple;
    case METH_VARARGS | METH_KEYWORDS:
        return swap->entries.tuple_names;
    case METH_FASTCALL:
        return swap->entries.array;
    case METH_FASTCALL | METH_KEYWORDS:
        return swap->entries.array_names;
    case METH_FASTCALL | METH_KEYWORDS | METH_METHOD:
        return swap->entries.method;
    default:
        return NULL;
    }
}

int swap_in(struct swap *const *swaps, PyObject *from)
{
    for (; *swaps; swaps++) {
        struct swap *swap = *swaps;
        PyMethodDef *def = find_method(from, swap->name);
        PyCFunction entry = def ? entry_of(swap, def->ml_flags) : NULL;
        if (def && !entry) {
            PyErr_Format(PyExc_ImportError, "%s() of %R takes its arguments in a way that is not known (%d)", swap->name, from,
                         def->ml_flags);
            return -1;
        }
        swap->def = def;
        if (!def)
            continue;
        swap->flags = def->ml_flags;
        swap->stock = def->ml_meth;
        def->ml_meth = entry;
    }
    return 0;
}

void swap_out(struct swap *const *swaps)
{
    for (; *swaps; swaps++)
        if ((*swaps)->def) {
            (*swaps)->def->ml_meth = (*swaps)->stock;
            (*swaps)->def = NULL;
        }
}

void swap_in_quick(struct swap *swap, PyTypeObject *type)
{
    swap->flags = METH_NOARGS;
    swap->stock = python_quick_replace(type, swap->name, swap->entries.plain);
}

void swap_out_quick(struct swap *swap, PyTypeObject *type)
{
    if (swap->stock)
        python_quick_replace(type, swap->name, swap->stock);
    swap->stock = NULL;
}
