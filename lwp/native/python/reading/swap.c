#include "python/reading/swap.h"
#include "python/green/stand_in.h"

#include "python/sync/waiters.h"
#include "python/sync/with.h"

enum { MOST_ARGUMENTS = 16 };
enum { HOW_CALLED = METH_VARARGS | METH_KEYWORDS | METH_FASTCALL | METH_NOARGS | METH_O | METH_METHOD };

/* ---- calling what stood there ------------------------------------------------------------------------------------ */

static PyObject *call_with_tuple(const struct swap_call *call)
{
    PyObject *names = call->names, *tuple = PyTuple_New(call->count), *kwargs = names ? PyDict_New() : NULL, *result = NULL;
    int ready = tuple && (!names || kwargs);

    for (Py_ssize_t i = 0; ready && i < call->count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(call->args[i]));
    for (Py_ssize_t i = 0; ready && names && i < PyTuple_GET_SIZE(names); i++)
        ready = PyDict_SetItem(kwargs, PyTuple_GET_ITEM(names, i), call->args[call->count + i]) == 0;
    if (ready && call->swap->flags & METH_KEYWORDS)
        result = ((PyCFunctionWithKeywords)(void (*)(void))call->swap->stock)(call->self, tuple, kwargs);
    else if (ready)
        result = call->swap->stock(call->self, tuple);
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return result;
}

typedef PyObject *array_function(PyObject *self, PyObject *const *args, Py_ssize_t count);
typedef PyObject *array_names_function(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* `defining` is not the swap's in a subinterpreter, which has types of its own. */
static PyObject *call_method(const struct swap_call *call, PyTypeObject *defining)
{
    PyCMethod stock = (PyCMethod)(void (*)(void))call->swap->stock;
    return stock(call->self, defining, call->args, (size_t)call->count, call->names);
}

PyObject *swap_stock(const struct swap_call *call)
{
    PyCFunction stock = call->swap->stock;
    void (*any)(void) = (void (*)(void))stock;

    switch (call->swap->flags & HOW_CALLED) {
    case METH_NOARGS:
        return stock(call->self, NULL);
    case METH_O:
        return stock(call->self, call->args[0]);
    case METH_FASTCALL:
        return ((array_function *)any)(call->self, call->args, call->count);
    case METH_FASTCALL | METH_KEYWORDS:
        return ((array_names_function *)any)(call->self, call->args, call->count, call->names);
    case METH_FASTCALL | METH_KEYWORDS | METH_METHOD:
        return call_method(call, call->swap->defining);
    default:
        return call_with_tuple(call);
    }
}

PyObject *swap_bare(struct swap *swap, PyObject *self)
{
    return swap_stock(&(struct swap_call){.swap = swap, .self = self});
}

PyObject *swap_try(struct swap *swap, PyObject *self)
{
    PyObject *no = Py_False;
    return swap_stock(&(struct swap_call){.swap = swap, .self = self, .args = &no, .count = 1});
}

PyObject *swap_stock_with(const struct swap_call *call, PyObject *last)
{
    PyObject *args[] = {call->count ? call->args[0] : last, last};
    struct swap_call with = *call;

    with.args = args;
    with.count = call->count + 1;
    PyObject *result = last ? swap_stock(&with) : NULL;
    Py_XDECREF(last);
    return result;
}

/* ---- being called ------------------------------------------------------------------------------------------------ */

PyObject *swap_enter(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    const struct swap_call call = {swap, explore_me(), self, args, count, names};
    return (call.me == NULL) == swap->not_explored && python_in_main() ? swap->run(&call) : swap_stock(&call);
}

PyObject *swap_enter_method(struct swap *swap, PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    if (!python_in_main())
        return call_method(&(struct swap_call){swap, NULL, self, args, count, names}, defining);
    swap->defining = defining;
    return swap_enter(swap, self, args, count, names);
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

PyObject *swap_lock_behind(PyObject *self)
{
    return PyObject_TypeCheck(self, condition_type) ? condition_lock(self) : self;
}

/* ---- in force ---------------------------------------------------------------------------------------------------- */

/* For a function of a module whose name leads to something else now, because a program has replaced it: what the program puts there mostly
 * calls the function. */
static PyMethodDef *defined_method(PyObject *module, const char *name)
{
    const PyModuleDef *definition = PyModule_Check(module) ? PyModule_GetDef(module) : NULL;
    PyMethodDef *def = definition ? definition->m_methods : NULL;

    while (def && def->ml_name && strcmp(def->ml_name, name) != 0)
        def++;
    return def && def->ml_name ? def : NULL;
}

static PyMethodDef *find_method(PyObject *from, const char *name)
{
    PyObject *dict = PyType_Check(from) ? PyType_GetDict((PyTypeObject *)from) : Py_NewRef(PyModule_GetDict(from));
    PyObject *found = PyDict_GetItemString(dict, name);

    Py_DECREF(dict); /* its owner keeps it */
    if (found)
        found = stand_in_behind(python_quick_ordinary(found));
    return !found ? defined_method(from, name)
           : Py_IS_TYPE(found, &PyMethodDescr_Type) || Py_IS_TYPE(found, &PyClassMethodDescr_Type)
               ? ((PyMethodDescrObject *)found)->d_method
           : PyCFunction_CheckExact(found) ? ((PyCFunctionObject *)found)->m_ml
                                           : defined_method(from, name);
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

static int swap_method_in(struct swap *swap, PyObject *from)
{
    PyMethodDef *def = find_method(from, swap->name);
    PyCFunction entry = def ? entry_of(swap, def->ml_flags) : NULL;

    if (def && !entry) {
        PyErr_Format(PyExc_ImportError, "%s() of %R takes its arguments in a way that is not known (%d)", swap->name, from,
                     def->ml_flags);
        return -1;
    }
    if ((swap->def = def)) {
        swap->flags = def->ml_flags;
        swap->stock = def->ml_meth;
        __atomic_store_n(&def->ml_meth, entry, __ATOMIC_RELEASE); /* after what stands in for it */
    }
    return 0;
}

static void swap_method_out(struct swap *swap)
{
    if (swap->def)
        swap->def->ml_meth = swap->stock;
    swap->def = NULL;
}

static void swap_quick_in(struct swap *swap, PyTypeObject *type)
{
    swap->flags = METH_NOARGS;
    swap->is_quick = python_quick_replace(type, swap->name, swap->entries.plain, &swap->stock);
}

/* `stock` stays: another thread may be about to call it. */
static void swap_quick_out(struct swap *swap, PyTypeObject *type)
{
    if (swap->is_quick)
        python_quick_replace(type, swap->name, swap->stock, NULL);
    swap->is_quick = 0;
}

static PyObject *from_what(const struct swap_table *table)
{
    return table->type ? (PyObject *)*table->type : *table->module;
}

int swap_in(const struct swap_table *tables, size_t count, int not_explored)
{
    for (const struct swap_table *table = tables; table < tables + count; table++) {
        for (struct swap *const *one = table->methods; *one; one++) {
            (*one)->not_explored = not_explored;
            if (swap_method_in(*one, from_what(table)) < 0)
                return -1;
        }
        for (struct swap *const *one = table->quick; one && *one; one++) {
            (*one)->not_explored = not_explored;
            swap_quick_in(*one, *table->type);
        }
    }
    return 0;
}

void swap_out(const struct swap_table *tables, size_t count)
{
    for (const struct swap_table *table = tables; table < tables + count; table++) {
        for (struct swap *const *one = table->methods; *one; one++)
            swap_method_out(*one);
        for (struct swap *const *one = table->quick; one && *one; one++)
            swap_quick_out(*one, *table->type);
    }
}
