/* Arguments, as threading's methods take them, and small helpers for calls. */
#ifndef RUNTIME_PYTHON_ARGS_H
#define RUNTIME_PYTHON_ARGS_H

#include "python/python.h"

#include <stdatomic.h>

/* Seconds to a deadline on the monotonic clock (kernel/base/park.h).  None: no limit; 0 or less: now.  -1 with an exception. */
API int args_deadline(PyObject *timeout, int64_t *deadline);

/* The same by the rule of threading.Condition.wait(), which Event, Semaphore and Barrier follow: it compares the timeout with 0 first,
 * and a timeout that isn't above 0 means now, whatever its type. */
API int args_wait_deadline(PyObject *timeout, int64_t *deadline);

/* The same for functions that are not threading's: a timeout that is no number is a TypeError that says so. */
int args_own_deadline(PyObject *timeout, int64_t *deadline);

/* Reads a count.  What a long can't hold, and infinity, count as LONG_MAX or LONG_MIN. -1 with an exception. */
int args_count(PyObject *number, long *n);

/* (first, timeout) by position or name: those given are written.  -1 with an exception, which speaks of acquire(). */
API int args_two(const char *first, PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject *given[2]);

/* (blocking=True, timeout=-1) as Lock.acquire takes them: Modules/_threadmodule.c, lock_acquire_parse_args.  -1 with an exception. */
API int args_acquire(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline);

/* The one optional argument of a method, NULL if it isn't given.  -1 with an exception. */
API int args_one_given(const char *method, const char *parameter, PyObject *const *args, Py_ssize_t count, PyObject *names,
                       PyObject **given);

static inline int args_one(const char *method, const char *parameter, PyObject *const *args, Py_ssize_t count, PyObject *names,
                           PyObject **given)
{
    *given = NULL;
    return !count && !names ? 0 : args_one_given(method, parameter, args, count, names, given);
}

/* An attribute's name as a string object, made at its first use; NULL with an exception, which the functions below pass on.
 * It is interned, because the interpreter's method cache goes by the string object, and each further object of that text would take a
 * place there. */
#define NAME(text)                                                                    \
    ({                                                                                \
        static _Atomic(PyObject *) interned;                                          \
        PyObject *name_found = atomic_load_explicit(&interned, memory_order_acquire); \
        if (!name_found && (name_found = PyUnicode_InternFromString(text)))           \
            atomic_store_explicit(&interned, name_found, memory_order_release);       \
        name_found;                                                                   \
    })

API PyObject *get_attribute(PyObject *op, PyObject *name);

/* Calls a method, with an argument unless that is NULL. */
PyObject *call_method(PyObject *op, PyObject *name, PyObject *argument);

/* Adds a type to the module: NULL with an exception. */
PyTypeObject *add_type(PyObject *module, PyType_Spec *spec);

/* tp_dealloc of a type without references. */
void simple_dealloc(PyObject *op);

/* Raises an OSError: NULL. */
API PyObject *raise_errno(int error);

/* Raises as PyErr_Format(), for a function whose error is -1, which it returns. */
int refuse(PyObject *type, const char *format, ...);

/* Appends what it takes the reference of.  If that is NULL or can't be appended, the list is dropped: *list is NULL, with an exception. */
API void append_to(PyObject **list, PyObject *one);

/* [(code, line), ...] of this frame and of those outside of it, at most so many.  Takes the frame's reference.  NULL with an exception. */
API PyObject *list_calls(PyFrameObject *innermost, int most);

#endif
