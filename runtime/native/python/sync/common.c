#include "python/sync/common.h"

#include "kernel/base/events.h"
#include "python/args.h"
#include "python/rooms.h"

void simple_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    type->tp_free(op);
    Py_DECREF(type);
}

PyObject *new_primitive(PyTypeObject *type)
{
    PyObject *op = type->tp_alloc(type, 0);

    if (op)
        EVENT(EVENT_MADE, op, 0);
    return op;
}

PyObject *any_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return new_primitive(type);
}

int replace_reference(PyObject *op, _Atomic(PyObject *) *at, PyObject *value, PyObject **former)
{
    int result = 0;

    Py_BEGIN_CRITICAL_SECTION(op);
    PyObject *old = atomic_load(at);
    if (old && old != value && ((!*former && !(*former = PyList_New(0))) || PyList_Append(*former, old) < 0))
        result = -1;
    else {
        atomic_store_explicit(at, Py_NewRef(value), memory_order_release);
        Py_XDECREF(old);
    }
    Py_END_CRITICAL_SECTION();
    return result;
}

/* ---- objects of derived classes ---------------------------------------------------------------------------------- */

static PyObject *stock_attribute(PyObject *op, PyObject *name)
{
    PyObject *stock = get_attribute((PyObject *)Py_TYPE(op), NAME("_lwp_stock")), *found = stock ? get_attribute(stock, name) : NULL;

    Py_XDECREF(stock);
    return found;
}

PyObject *stock_method(PyObject *op, PyObject *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *all[4] = {op}, *method = stock_attribute(op, name), *result = NULL;
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);

    if (method && given <= 3) {
        for (Py_ssize_t i = 0; i < given; i++)
            all[1 + i] = args[i];
        result = PyObject_Vectorcall(method, all, (size_t)count + 1, names);
    } else if (method)
        PyErr_Format(PyExc_TypeError, "%U() got %zd arguments", name, given);
    Py_XDECREF(method);
    return result;
}

PyObject *stock_property(PyObject *op, PyObject *name)
{
    PyObject *property = stock_attribute(op, name);
    PyObject *result = property ? PyObject_CallMethod(property, "__get__", "O", op) : NULL;

    Py_XDECREF(property);
    return result;
}

static void no_attribute(PyObject *op, PyObject *name)
{
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%U'", Py_TYPE(op)->tp_name, name);
}

PyObject *dict_attribute(PyObject *op, PyObject *name)
{
    PyObject *dict = name ? PyObject_GenericGetDict(op, NULL) : NULL;
    PyObject *found = NULL;

    if (dict)
        PyDict_GetItemRef(dict, name, &found);
    Py_XDECREF(dict);
    if (!found)
        no_attribute(op, name);
    return found;
}

int set_dict_attribute(PyObject *op, PyObject *name, PyObject *value)
{
    PyObject *dict = name && value ? PyObject_GenericGetDict(op, NULL) : NULL;
    int result = dict ? PyDict_SetItem(dict, name, value) : -1;

    Py_XDECREF(dict);
    if (result < 0)
        no_attribute(op, name);
    return result;
}

PyObject *get_private(PyObject *op, void *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *value = dict_attribute(op, interned);

    Py_XDECREF(interned);
    return value;
}

int set_private(PyObject *op, int in_python, const char *name, PyObject *value)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    int result = -1;

    if (in_python)
        result = set_dict_attribute(op, interned, value);
    else
        PyErr_Format(PyExc_AttributeError, "'%s' object takes no attribute '%s', but one of a derived class does", Py_TYPE(op)->tp_name,
                     name);
    Py_XDECREF(interned);
    return result;
}

/* ---- when threading's locks have been replaced --------------------------------------------------------------------
 *
 * gevent and similar libraries put locks of their own into threading.  threading's classes are made of these, and let other greenlets
 * run while one sleeps.  A primitive of the runtime would put the LWP to sleep, with all greenlets on it.  So once the locks are
 * replaced a function in Python makes the primitive. */

static PyObject *threading_names, *lock_name, *usual_locks[2], *make_instead;

static int locks_are_usual(void)
{
    PyObject *lock = make_instead ? PyDict_GetItemWithError(threading_names, lock_name) : NULL;

    return !lock || lock == usual_locks[0] || lock == usual_locks[1];
}

PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (locks_are_usual())
        return new_primitive(type);
    PyObject *instead = PyObject_CallFunctionObjArgs(make_instead, type, args, kwargs ? kwargs : Py_None, NULL);
    if (instead != Py_None) /* of another type, so type.__call__() doesn't initialise it */
        return instead;
    Py_DECREF(instead);
    return new_primitive(type);
}

/* (vars(threading), threading's lock, the runtime's, function): the function makes primitives while threading's `_allocate_lock` is
 * neither of the two. */
static PyObject *watch_locks(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *names, *stock, *ours, *function;

    if (!PyArg_ParseTuple(args, "O!OOO:watch_locks", &PyDict_Type, &names, &stock, &ours, &function))
        return NULL;
    if (!lock_name && !(lock_name = PyUnicode_InternFromString("_allocate_lock")))
        return NULL;
    Py_XSETREF(threading_names, Py_NewRef(names));
    Py_XSETREF(usual_locks[0], Py_NewRef(stock));
    Py_XSETREF(usual_locks[1], Py_NewRef(ours));
    Py_XSETREF(make_instead, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"watch_locks", watch_locks, METH_VARARGS, NULL},
    {0},
};

PyTypeObject *add_primitive(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);

    return type && PyModule_AddType(module, type) == 0 ? type : NULL;
}

int python_add_common(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
