#include "python/sync/common.h"

#include "kernel/base/events.h"
#include "python/args.h"
#include "python/room.h"
#include "python/sync/lock.h"

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

int references_visit(void *first, void *last, visitproc visit, void *arg)
{
    for (_Atomic(PyObject *) *at = first; at <= (_Atomic(PyObject *) *)last; at++) {
        PyObject *one = atomic_load_explicit(at, memory_order_relaxed);
        Py_VISIT(one);
    }
    return 0;
}

void references_clear(void *first, void *last)
{
    for (_Atomic(PyObject *) *at = last; at >= (_Atomic(PyObject *) *)first; at--)
        if (atomic_load_explicit(at, memory_order_relaxed))
            Py_XDECREF(atomic_exchange(at, NULL));
}

/* ---- derived classes: see runtime/sync.py ------------------------------------------------------------------------ */

PyTypeObject *in_python_type;

/* The method of that name, but threading's. */
static PyObject *call_in_python(PyObject *descr, PyObject *const *args, size_t count, PyObject *names)
{
    PyObject *stock = get_attribute((PyObject *)Py_TYPE(args[0]), NAME("_lwp_in_python"));
    PyObject *method = stock ? PyObject_GetAttr(stock, PyDescr_NAME(descr)) : NULL;
    PyObject *result = method ? PyObject_Vectorcall(method, args, count, names) : NULL;

    Py_XDECREF(method);
    Py_XDECREF(stock);
    return result;
}

/* What such a descriptor calls otherwise: for a method without arguments, and for one whose arguments come as an array with keywords. */
static vectorcallfunc usual_noargs, usual_keywords;

/* Stands in for the descriptor's own call, and is as quick: it need not look up the method's type in that of the object. */
static PyObject *call_either(PyObject *descr, PyObject *const *args, size_t count, PyObject *names)
{
    typedef PyObject *with_keywords(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
    PyTypeObject *owner = PyDescr_TYPE(descr), *type = PyVectorcall_NARGS(count) ? Py_TYPE(args[0]) : NULL;
    PyMethodDef *method = ((PyMethodDescrObject *)descr)->d_method;
    int noargs = method->ml_flags == METH_NOARGS;

    if (type && (type->tp_base == owner || PyType_IsSubtype(type, owner))) {
        if (type->tp_base != owner && PyType_IsSubtype(type, in_python_type))
            return call_in_python(descr, args, count, names);
        if (!noargs)
            return ((with_keywords *)(void (*)(void))method->ml_meth)(args[0], args + 1, PyVectorcall_NARGS(count) - 1, names);
        if (PyVectorcall_NARGS(count) == 1 && !names)
            return method->ml_meth(args[0], NULL);
    }
    return (noargs ? usual_noargs : usual_keywords)(descr, args, count, names);
}

void make_derivable(PyTypeObject *type)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(type->tp_dict, &at, &name, &value)) {
        PyMethodDescrObject *descr = Py_IS_TYPE(value, &PyMethodDescr_Type) ? (PyMethodDescrObject *)value : NULL;
        int flags = descr ? descr->d_method->ml_flags : 0;
        if (flags == METH_NOARGS || flags == (METH_FASTCALL | METH_KEYWORDS)) {
            *(flags == METH_NOARGS ? &usual_noargs : &usual_keywords) = descr->vectorcall;
            descr->vectorcall = call_either;
        }
    }
}

PyObject *no_attribute(PyObject *op, void *name)
{
    return PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute '%s'", Py_TYPE(op)->tp_name, (const char *)name);
}

int takes_no_attribute(PyObject *op, PyObject *Py_UNUSED(value), void *name)
{
    return refuse(PyExc_AttributeError, "'%s' object takes no attribute '%s', but one of a derived class does", Py_TYPE(op)->tp_name,
                  (const char *)name);
}

/* ---- when threading's locks have been replaced --------------------------------------------------------------------
 *
 * gevent and similar libraries put locks of their own into threading. threading's classes are then made of such locks, and let other
 * greenlets run while one sleeps.  A primitive of the runtime would put the LWP to sleep, with all greenlets on it.  So once the locks
 * are replaced a function in Python makes the primitive. */

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
    if (instead != Py_None) /* it has another type, so type.__call__() doesn't initialise it */
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

/* For tools.  At import, because install() and other packages replace these names. */
PyTypeObject *stock_lock_type, *stock_rlock_type;

static int find_stock_types(PyObject *Py_UNUSED(module))
{
    PyObject *stock = PyImport_ImportModule("_thread"), *lock = stock ? PyObject_CallMethod(stock, "allocate_lock", NULL) : NULL;
    PyObject *rlock = lock ? PyObject_GetAttrString(stock, "RLock") : NULL;
    int known = rlock && PyType_Check(rlock);

    if (known) {
        stock_lock_type = (PyTypeObject *)Py_NewRef(Py_TYPE(lock));
        stock_rlock_type = (PyTypeObject *)Py_NewRef(rlock);
    } else if (rlock)
        PyErr_SetString(PyExc_ImportError, "_thread.RLock is no type");
    Py_XDECREF(rlock);
    Py_XDECREF(lock);
    Py_XDECREF(stock);
    return known ? 0 : -1;
}

static PyType_Slot in_python_slots[] = {{0, NULL}};

static PyType_Spec in_python_spec = {
    .name = "runtime.native.InPython",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = in_python_slots,
};

static PyMethodDef functions[] = {
    {"watch_locks", watch_locks, METH_VARARGS, NULL},
    {0},
};

const struct entries entries_common = {
    .spec = &in_python_spec,
    .type = &in_python_type,
    .add = find_stock_types,
    .functions = functions,
};
