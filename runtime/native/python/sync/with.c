/* `with lock` without its garbage.  For each `with` CPython makes two bound methods, allocated and tracked by the collector for
 * a single call (Python/bytecodes.c, BEFORE_WITH): more than half of what it costs.  Here a lock's __enter__ and __exit__ bind
 * to an object of a simpler type, which comes from a free list and which the collector doesn't track.
 *
 * Except when called, that object acts as the ordinary bound method, which is made when its attributes are asked for.
 *
 * Worth it: with and without this file, in turns, `with Lock` took 43 and 55 ns, 0.42 and 0.53 of threading's (lwp bench lock-with,
 * CPython 3.13). */
#include "python/sync/with.h"

#include "python/args.h"

typedef struct {
    PyObject_HEAD
    PyTypeObject *owner;  /* borrowed: the type's dict has this object */
    PyObject *ordinary;   /* the method descriptor */
    PyCFunction run;
    Py_ssize_t takes;     /* how many arguments `with` gives it */
} MethodObject;

typedef struct bound {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *self;
    MethodObject *method; /* borrowed: the dict of self's type has it */
    struct bound *next;
} BoundObject;

static PyTypeObject *method_type, *bound_type;

/* The free list.  It needs the GIL: a Python without one has none, and allocates each. */
enum { KEPT = 16 };
static BoundObject *kept;
static int count;

static PyObject *ordinary_method(PyObject *op)
{
    BoundObject *bound = (BoundObject *)op;
    PyObject *method = bound->method->ordinary;
    return Py_TYPE(method)->tp_descr_get(method, bound->self, (PyObject *)Py_TYPE(bound->self));
}

static PyObject *bound_call(PyObject *op, PyObject *const *args, size_t flags, PyObject *names)
{
    BoundObject *bound = (BoundObject *)op;

    if (!names && PyVectorcall_NARGS(flags) == bound->method->takes)
        return bound->method->run(bound->self, NULL);
    PyObject *method = ordinary_method(op), *result = method ? PyObject_Vectorcall(method, args, flags, names) : NULL;
    Py_XDECREF(method);
    return result;
}

static PyObject *method_bind(PyObject *op, PyObject *self, PyObject *type)
{
    MethodObject *method = (MethodObject *)op;
    BoundObject *bound;

    /* An object of a derived class has a dict, and may be in a cycle with its bound method: then the collector must see that method. */
    if (!self || Py_TYPE(self) != method->owner)
        return Py_TYPE(method->ordinary)->tp_descr_get(method->ordinary, self, type);
    if ((bound = kept)) {
        kept = bound->next;
        count--;
        PyObject_Init((PyObject *)bound, bound_type);
    } else if (!(bound = PyObject_New(BoundObject, bound_type)))
        return NULL;
    bound->call = bound_call;
    bound->self = Py_NewRef(self);
    bound->method = method;
    return (PyObject *)bound;
}

static void bound_dealloc(PyObject *op)
{
    BoundObject *bound = (BoundObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject *self = bound->self;

    if (!WITHOUT_GIL && count < KEPT) {
        bound->next = kept;
        kept = bound;
        count++;
    } else
        PyObject_Free(bound);
    Py_DECREF(type);
    Py_DECREF(self);
}

static PyObject *bound_getattro(PyObject *op, PyObject *name)
{
    PyObject *method = ordinary_method(op);
    PyObject *value = method ? PyObject_GetAttr(method, name) : NULL;

    Py_XDECREF(method);
    return value;
}

static PyObject *bound_repr(PyObject *op)
{
    PyObject *method = ordinary_method(op);
    PyObject *text = method ? PyObject_Repr(method) : NULL;

    Py_XDECREF(method);
    return text;
}

static Py_hash_t bound_hash(PyObject *op)
{
    PyObject *method = ordinary_method(op);
    Py_hash_t hash = method ? PyObject_Hash(method) : -1;

    Py_XDECREF(method);
    return hash;
}

static PyObject *bound_compare(PyObject *a, PyObject *b, int how)
{
    PyObject *one = ordinary_method(a), *two = !one ? NULL : Py_TYPE(b) == bound_type ? ordinary_method(b) : Py_NewRef(b);
    PyObject *result = two ? PyObject_RichCompare(one, two, how) : NULL;

    Py_XDECREF(one);
    Py_XDECREF(two);
    return result;
}

static void method_dealloc(PyObject *op)
{
    Py_DECREF(((MethodObject *)op)->ordinary);
    simple_dealloc(op);
}

static PyObject *method_getattro(PyObject *op, PyObject *name)
{
    return PyObject_GetAttr(((MethodObject *)op)->ordinary, name);
}

static PyObject *method_repr(PyObject *op)
{
    return PyObject_Repr(((MethodObject *)op)->ordinary);
}

TYPE_SPEC(method, "runtime.native.method", MethodObject, Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
          {Py_tp_dealloc, method_dealloc}, {Py_tp_descr_get, method_bind}, {Py_tp_getattro, method_getattro},
          {Py_tp_repr, method_repr});

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BoundObject, call), READONLY, NULL},
    {0},
};

TYPE_SPEC(bound, "runtime.native.bound_method", BoundObject,
          Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL, {Py_tp_dealloc, bound_dealloc},
          {Py_tp_call, PyVectorcall_Call}, {Py_tp_getattro, bound_getattro}, {Py_tp_repr, bound_repr}, {Py_tp_hash, bound_hash},
          {Py_tp_richcompare, bound_compare}, {Py_tp_members, bound_members});

static int add_quick_method(PyTypeObject *type, const char *name, PyCFunction run, Py_ssize_t takes)
{
    PyObject *ordinary = PyDict_GetItemString(type->tp_dict, name);
    MethodObject *method = ordinary ? PyObject_New(MethodObject, method_type) : NULL;

    if (!method)
        return -1;
    method->owner = type;
    method->ordinary = Py_NewRef(ordinary);
    method->run = run;
    method->takes = takes;
    compat_never_freed((PyObject *)method);
    int result = PyDict_SetItemString(type->tp_dict, name, (PyObject *)method);
    Py_DECREF(method);
    PyType_Modified(type);
    return result;
}

PyObject *python_quick_ordinary(PyObject *method)
{
    return Py_IS_TYPE(method, method_type) ? ((MethodObject *)method)->ordinary : method;
}

int python_quick_replace(PyTypeObject *type, const char *name, PyCFunction run, PyCFunction *former)
{
    MethodObject *method = (MethodObject *)PyDict_GetItemString(type->tp_dict, name);

    if (!method || !Py_IS_TYPE(method, method_type))
        return 0;
    if (former)
        *former = method->run;
    __atomic_store_n(&method->run, run, __ATOMIC_RELEASE); /* after what `run` calls in its turn */
    return 1;
}

int python_quick_with(PyTypeObject *type, PyCFunction enter, PyCFunction leave)
{
    if ((!method_type && !(method_type = (PyTypeObject *)PyType_FromSpec(&method_spec)))
        || (!bound_type && !(bound_type = (PyTypeObject *)PyType_FromSpec(&bound_spec))))
        return -1;
    compat_never_freed((PyObject *)bound_type);
    return add_quick_method(type, "__enter__", enter, 0) < 0 ? -1 : add_quick_method(type, "__exit__", leave, 3);
}
