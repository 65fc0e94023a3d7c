/* Methods and functions of C, ours and CPython's, that do something else in explored threads.
 *
 * A method's PyMethodDef holds a pointer to its function, which CPython reads at each call (Objects/descrobject.c and methodobject.c; the
 * specialized instructions of Python/bytecodes.c too).  So while a program is explored that pointer leads here: every lock is under
 * control, whenever and by whomever it was made, and none costs more when nothing is explored. */
#ifndef RUNTIME_EXPLORE_SWAP_H
#define RUNTIME_EXPLORE_SWAP_H

#include "explore/explore.h"
#include "python/python.h"

struct swap;

/* What it does in an explored thread, me; with not_explored in any other, for which me is NULL. */
typedef PyObject *swapped(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names);

struct swap {
    const char *name;
    swapped *run;
    enum explore_kind kind;
    struct swap_entries {
        PyCFunction plain; /* METH_NOARGS, METH_O */
        PyCFunction tuple, tuple_names, array, array_names, method;
    } entries;
    PyMethodDef *def;      /* NULL: not found, or not in force */
    PyCFunction stock;
    int flags;
    PyTypeObject *defining; /* METH_METHOD's */
    int not_explored;
};

/* Calls what stood there before. */
PyObject *swap_stock(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
/* The same with the arguments (False,): "don't block". */
PyObject *swap_try(struct swap *swap, PyObject *self);

/* Puts them in force, and back.  from: a type, or a module.  One that is missing there is passed over.  -1 with an exception. */
int swap_in(struct swap *const *swaps, PyObject *from);
void swap_out(struct swap *const *swaps);
/* The same for `with`, if the type's is quick (python/sync/with.h). */
void swap_in_quick(struct swap *swap, PyTypeObject *type);
void swap_out_quick(struct swap *swap, PyTypeObject *type);

PyObject *swap_enter(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *swap_enter_tuple(struct swap *swap, PyObject *self, PyObject *args, PyObject *kwargs);

/* A method of that name, with its entries. */
#define SWAP(id, name_, run_, kind_)                                                                                               \
    static struct swap id;                                                                                                         \
    static PyObject *id##_plain(PyObject *self, PyObject *arg)                                                                     \
    {                                                                                                                              \
        return swap_enter(&id, self, &arg, arg != NULL, NULL);                                                                     \
    }                                                                                                                              \
    static PyObject *id##_tuple(PyObject *self, PyObject *args)                                                                    \
    {                                                                                                                              \
        return swap_enter_tuple(&id, self, args, NULL);                                                                            \
    }                                                                                                                              \
    static PyObject *id##_tuple_names(PyObject *self, PyObject *args, PyObject *kwargs)                                            \
    {                                                                                                                              \
        return swap_enter_tuple(&id, self, args, kwargs);                                                                          \
    }                                                                                                                              \
    static PyObject *id##_array(PyObject *self, PyObject *const *args, Py_ssize_t count)                                           \
    {                                                                                                                              \
        return swap_enter(&id, self, args, count, NULL);                                                                           \
    }                                                                                                                              \
    static PyObject *id##_array_names(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)                    \
    {                                                                                                                              \
        return swap_enter(&id, self, args, count, names);                                                                          \
    }                                                                                                                              \
    static PyObject *id##_method(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count, PyObject *names) \
    {                                                                                                                              \
        id.defining = defining;                                                                                                    \
        return swap_enter(&id, self, args, count, names);                                                                          \
    }                                                                                                                              \
    static struct swap id                                                                                                          \
        = {name_,                                                                                                                  \
           run_,                                                                                                                   \
           kind_,                                                                                                                  \
           {id##_plain, id##_tuple, FAST(id##_tuple_names), FAST(id##_array), FAST(id##_array_names), FAST(id##_method)}}

#endif
