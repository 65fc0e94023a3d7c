/* Methods and functions of C, ours and CPython's, that do something else in explored threads.
 *
 * A method's PyMethodDef holds a pointer to its function, which CPython reads at each call (Objects/descrobject.c and methodobject.c; the
 * specialized instructions of Python/bytecodes.c too).  So while a program is explored that pointer leads here: every lock is under
 * control, wherever it was made, and none costs more when nothing is explored.
 *
 * All interpreters of the process share CPython's PyMethodDefs, so a subinterpreter's threads come here too.  They are led on to what stood
 * there (python_in_main()). */
#ifndef RUNTIME_EXPLORE_SWAP_H
#define RUNTIME_EXPLORE_SWAP_H

#include "python/python.h"
#include "reading/kinds.h"

struct swap;

struct swap_call {
    struct swap *swap;
    struct explored *me; /* NULL: the calling thread is not explored */
    PyObject *self, *const *args;
    Py_ssize_t count;
    PyObject *names;
};
typedef PyObject *swapped(const struct swap_call *call);

struct swap {
    const char *name;
    swapped *run; /* what it does in an explored thread, or, with not_explored, in any other */
    enum explore_kind kind;
    struct swap_entries {
        PyCFunction plain; /* METH_NOARGS, METH_O */
        PyCFunction tuple, tuple_names, array, array_names, method;
    } entries;
    PyMethodDef *def;      /* NULL: not found, or not in force */
    PyCFunction stock;
    int flags;
    PyTypeObject *defining; /* METH_METHOD's, in the main interpreter */
    int not_explored;
    int is_quick; /* it is in force, and not by a PyMethodDef */
};

/* Calls what stood there before. */
PyObject *swap_stock(const struct swap_call *call);
/* The same without arguments; and so that it doesn't block: with (False,), unless it takes none. */
PyObject *swap_bare(struct swap *swap, PyObject *self);
PyObject *swap_try(struct swap *swap, PyObject *self);
/* The same with one more argument, after none or one.  It takes the argument's reference; NULL: there was no making it. */
PyObject *swap_stock_with(const struct swap_call *call, PyObject *last);

/* What is swapped of a type or a module. */
struct swap_table {
    PyTypeObject **type;
    PyObject **module; /* if `type` is NULL */
    struct swap *const *methods;
    struct swap *const *quick; /* NULL, or those that stand in for `with` too, as the type's is quick (python/sync/with.h) */
};

/* Puts them in force, and back.  A method that is missing there is passed over.  -1 with an exception. */
int swap_in(const struct swap_table *tables, size_t count, int not_explored);
void swap_out(const struct swap_table *tables, size_t count);

PyObject *swap_enter(struct swap *swap, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *swap_enter_tuple(struct swap *swap, PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *swap_enter_method(struct swap *swap, PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t count,
                            PyObject *names);

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
        return swap_enter_method(&id, self, defining, args, count, names);                                                         \
    }                                                                                                                              \
    static struct swap id                                                                                                          \
        = {name_,                                                                                                                  \
           run_,                                                                                                                   \
           kind_,                                                                                                                  \
           {id##_plain, id##_tuple, FAST(id##_tuple_names), FAST(id##_array), FAST(id##_array_names), FAST(id##_method)}}

/* A list of methods is a macro, METHODS(ROW, of), of rows ROW(id, name, run, kind).  SWAPS(METHODS, of) makes them, and of_methods, an array. */
#define SWAP_MADE(id, name, run, kind) SWAP(id, name, run, kind);
#define SWAP_LISTED(id, name, run, kind) &id,
#define SWAPS(METHODS, of) METHODS(SWAP_MADE, of) static struct swap *const of##_methods[] = {METHODS(SWAP_LISTED, of) NULL}

/* What `with` calls, of all locks and of a Condition, which passes it on to its lock; and with it what else they all have. */
#define SWAP_WITH(ROW, of, acquire, release)               \
    ROW(of##_enter, "__enter__", acquire, EXPLORE_ACQUIRE) \
    ROW(of##_exit, "__exit__", release, EXPLORE_RELEASE)
#define SWAP_TAKING(ROW, of, acquire, release)             \
    SWAP_WITH(ROW, of, acquire, release)                   \
    ROW(of##_acquire, "acquire", acquire, EXPLORE_ACQUIRE) \
    ROW(of##_release, "release", release, EXPLORE_RELEASE)

/* What a lock has besides, an RLock, and, of some locks, what only asks. */
#define SWAP_LOCK(ROW, of, acquire, release)                         \
    SWAP_TAKING(ROW, of, acquire, release)                           \
    ROW(of##_acquire_lock, "acquire_lock", acquire, EXPLORE_ACQUIRE) \
    ROW(of##_release_lock, "release_lock", release, EXPLORE_RELEASE)
#define SWAP_RLOCK(ROW, of, acquire, release, save, restore) \
    SWAP_TAKING(ROW, of, acquire, release)                   \
    ROW(of##_save, "_release_save", save, EXPLORE_RELEASE)   \
    ROW(of##_restore, "_acquire_restore", restore, EXPLORE_ACQUIRE)
#define SWAP_LOCKED(ROW, of, asks)                 \
    ROW(of##_locked, "locked", asks, EXPLORE_READ) \
    ROW(of##_locked_lock, "locked_lock", asks, EXPLORE_READ)

/* What the others have. */
#define SWAP_SIGNALS(ROW, of, does, waits)           \
    ROW(of##_wait, "wait", waits, EXPLORE_WAIT)      \
    ROW(of##_notify, "notify", does, EXPLORE_SIGNAL) \
    ROW(of##_notify_all, "notify_all", does, EXPLORE_SIGNAL)
#define SWAP_ITEMS(ROW, of, gets, gets_now, puts)             \
    ROW(of##_get, "get", gets, EXPLORE_ACQUIRE)               \
    ROW(of##_get_nowait, "get_nowait", gets_now, EXPLORE_TRY) \
    ROW(of##_put, "put", puts, EXPLORE_SIGNAL)                \
    ROW(of##_put_nowait, "put_nowait", puts, EXPLORE_SIGNAL)
#define SWAP_EVENT(ROW, of, asks, does, waits)     \
    ROW(of##_is_set, "is_set", asks, EXPLORE_READ) \
    ROW(of##_set, "set", does, EXPLORE_SIGNAL)     \
    ROW(of##_clear, "clear", does, EXPLORE_SIGNAL) \
    ROW(of##_wait, "wait", waits, EXPLORE_WAIT)
#define SWAP_FUTURE(ROW, of, does, waits)                                 \
    ROW(of##_begin, "_begin", does, EXPLORE_SIGNAL)                       \
    ROW(of##_finish, "_finish", does, EXPLORE_SIGNAL)                     \
    ROW(of##_finish_cancelled, "_finish_cancelled", does, EXPLORE_SIGNAL) \
    ROW(of##_wait, "_wait", waits, EXPLORE_WAIT)
#define SWAP_BARRIER(ROW, of, does, waits)         \
    ROW(of##_wait, "wait", waits, EXPLORE_WAIT)    \
    ROW(of##_reset, "reset", does, EXPLORE_SIGNAL) \
    ROW(of##_abort, "abort", does, EXPLORE_SIGNAL)

/* Makes the methods of every lock and of the Condition, and their tables; a file that uses it has the types by these names. */
#define SWAP_LOCK_TABLES(tables, LOCK, RLOCK, CONDITION, QUICK)                            \
    SWAPS(LOCK, own_lock);                                                                 \
    SWAPS(QUICK, quick_lock);                                                              \
    SWAPS(RLOCK, own_rlock);                                                               \
    SWAPS(QUICK, quick_rlock);                                                             \
    SWAPS(LOCK, stock_lock);                                                               \
    SWAPS(RLOCK, stock_rlock);                                                             \
    SWAPS(CONDITION, condition);                                                           \
    static const struct swap_table tables[] = {                                            \
        {.type = &lock_type, .methods = own_lock_methods, .quick = quick_lock_methods},    \
        {.type = &rlock_type, .methods = own_rlock_methods, .quick = quick_rlock_methods}, \
        {.type = &condition_type, .methods = condition_methods},                           \
        {.type = &stock_lock_type, .methods = stock_lock_methods},                         \
        {.type = &stock_rlock_type, .methods = stock_rlock_methods},                       \
    }

/* What these are done to: a Condition's to its lock, borrowed.  NULL: that is no lock of the runtime's, and its own methods are swapped. */
PyObject *swap_lock_behind(PyObject *self);

#endif
