/* What differs between CPython 3.11 to 3.15, and where there is no GIL.  Each difference has a name here, in the section of the version that
 * brought it.  No other file asks which CPython it is compiled for: once only that version and later ones are supported, the section's names
 * are looked for, and go.  A function or macro without `compat_` in front is a later CPython's own, given to those before. */
#ifndef RUNTIME_PYTHON_COMPAT_H
#define RUNTIME_PYTHON_COMPAT_H

#include <Python.h>

#define SINCE(minor) (PY_VERSION_HEX >= 0x03000000 + (minor) * 0x10000)

/* ---- the free-threaded build ------------------------------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED
enum { WITHOUT_GIL = 1 };
#else
enum { WITHOUT_GIL = 0 };
#endif

/* Says of a module whose slots another tool writes that it needs no GIL: otherwise its import would turn the GIL on.  NULL with an exception,
 * or if the module is NULL. */
static inline PyObject *compat_needs_no_gil(PyObject *module)
{
#ifdef Py_GIL_DISABLED
    if (module && PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED) < 0)
        Py_CLEAR(module);
#endif
    return module;
}

/* For a type or a method that is never freed, called by the thread that has made it.  References to an immortal object are not counted
 * (PEP 683); a count that is too great makes it one (Py_SET_REFCNT, object.h).  Otherwise every call of a method by another thread than its
 * maker writes to one count in memory, which goes from one processor's cache to the other's: two threads that want one lock took 1.4 times as
 * long. */
static inline void compat_never_freed(PyObject *op)
{
#ifdef Py_GIL_DISABLED
    Py_SET_REFCNT(op, (Py_ssize_t)UINT32_MAX + 1);
#endif
}

/* Where a thread's heaps are declared, for heaps.c: where each thread has its own, and that file has run. */
#if defined(Py_GIL_DISABLED) && !SINCE(14)
#define COMPAT_HEAPS_HEADER <internal/pycore_interp.h>
#endif

/* ---- 3.12 -------------------------------------------------------------------------------------------------------- */

enum {
    ALLOCATION_COLLECTS = !SINCE(12), /* the collector runs in any allocation; since 3.12 between bytecodes only */
    HAS_MONITORING = SINCE(12), /* sys.monitoring; before, only a trace function hears of each bytecode */
};

#if !SINCE(12)
#define PyUnstable_Eval_RequestCodeExtraIndex _PyEval_RequestCodeExtraIndex
#define PyUnstable_Code_GetExtra _PyCode_GetExtra
#define PyUnstable_Code_SetExtra _PyCode_SetExtra
#define Py_mod_multiple_interpreters 0 /* ends a module's slots */
#define Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED NULL
PyAPI_FUNC(void) _PyThreadState_SetCurrent(PyThreadState *tstate); /* internal/pycore_pystate.h */

static inline PyObject *PyType_GetDict(PyTypeObject *type)
{
    return Py_NewRef(type->tp_dict);
}

static inline PyObject *PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static inline void PyErr_SetRaisedException(PyObject *value)
{
    if (value)
        PyErr_Restore(Py_NewRef(Py_TYPE(value)), value, PyException_GetTraceback(value));
    else
        PyErr_Clear();
}
#endif

/* A new state of the main interpreter.  NULL: there is no memory; PyThreadState_New() crashes then in 3.11. */
static inline PyThreadState *compat_new_state(void)
{
#if SINCE(12)
    return PyThreadState_New(PyInterpreterState_Main());
#else
    return _PyThreadState_Prealloc(PyInterpreterState_Main());
#endif
}

/* Has PyGILState_Ensure() find the calling thread's new state.  From 3.12 on taking the GIL sees to that (Python/pystate.c,
 * tstate_activate). */
static inline void compat_bind_state(PyThreadState *tstate)
{
#if !SINCE(12)
    _PyThreadState_SetCurrent(tstate);
#endif
}

/* Before a thread deletes another one's state: otherwise PyThreadState_Delete() unbinds the caller's own, from 3.12 on. */
static inline void compat_unbind_state(PyThreadState *tstate)
{
#if SINCE(12)
    tstate->_status.bound_gilstate = 0;
#endif
}

/* acquire()'s `blocking`: 1 or 0; -1 with an exception.  3.11 takes an int, later ones what is true or false. */
static inline int compat_blocking(PyObject *given)
{
#if SINCE(12)
    return PyObject_IsTrue(given);
#else
    int number;
    return PyArg_Parse(given, "i", &number) ? number != 0 : -1;
#endif
}

/* Where frames are declared, for a file that has the internal headers. */
#if SINCE(14)
#define COMPAT_FRAME_HEADER <internal/pycore_interpframe.h>
#else
#define COMPAT_FRAME_HEADER <internal/pycore_frame.h>
#endif

/* A code object's lines, once more, where it has them at hand. */
#if SINCE(12)
#define COMPAT_LINES_AT_HAND _co_monitoring
#else
#define COMPAT_LINES_AT_HAND _co_linearray
#endif

/* The address of the GIL's state, for a file that has the internal headers: each interpreter has one from 3.12 on. */
#if SINCE(12)
#define COMPAT_GIL() PyInterpreterState_Get()->ceval.gil
#else
#define COMPAT_GIL() (&_PyRuntime.ceval.gil)
#endif

/* ---- 3.13 -------------------------------------------------------------------------------------------------------- */

enum {
    FINALIZING_REFUSES = SINCE(13), /* no thread is made once Py_IsFinalizing() says 1; before, see boot_refused() */
    LOCK_IS_TYPE = SINCE(13), /* threading.Lock is the locks' type; before, a function, and the type can't be called */
};

#if SINCE(13)
#define COMPAT_LOCK_SIGNATURE "lock()\n--\n\n"
#define COMPAT_NEGATIVE_TIMEOUT "timeout value must be a non-negative number"
#else
#define COMPAT_LOCK_SIGNATURE ""
#define COMPAT_NEGATIVE_TIMEOUT "timeout value must be positive"
#define Py_BEGIN_CRITICAL_SECTION(op) {
#define Py_END_CRITICAL_SECTION() }
#define Py_IsFinalizing _Py_IsFinalizing
#define PyExc_PythonFinalizationError PyExc_RuntimeError
#define PyThreadState_GetUnchecked _PyThreadState_UncheckedGet
#define Py_mod_gil 0 /* ends a module's slots */
#define Py_MOD_GIL_NOT_USED NULL

/* 1 with a new reference, 0 with NULL, -1 with an exception. */
static inline int PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **value)
{
    *value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *value ? 1 : PyErr_Occurred() ? -1 : 0;
}
#endif

/* Whether the calling thread has a GIL.  PyGILState_Check() says 1 in every thread once there has been a subinterpreter (Python/pylifecycle.c,
 * check_enabled).  To 3.11 the current state is that of the one GIL's holder, whichever thread that is. */
static inline int compat_has_gil(void)
{
#if SINCE(12)
    return PyThreadState_GetUnchecked() != NULL;
#else
    PyThreadState *holder = PyThreadState_GetUnchecked();
    return holder && holder == PyGILState_GetThisThreadState();
#endif
}

/* Reports what a thread's function has raised. */
static inline void compat_report_unraisable(PyObject *function)
{
#if SINCE(13)
    PyErr_FormatUnraisable("Exception ignored in thread started by %R", function);
#else
    _PyErr_WriteUnraisableMsg("in thread started by", function);
#endif
}

/* ---- 3.14 -------------------------------------------------------------------------------------------------------- */

enum {
    CONDITION_HAS_LOCKED = SINCE(14), /* threading.Condition.locked() */
    WAIT_ASKS_LE = SINCE(14), /* threading.Condition.wait() asks `timeout <= 0`; before, `timeout > 0` */
};

#if SINCE(14)
#pragma weak PyUnstable_ThreadState_SetStackProtection /* not in the first 3.14 */
PyAPI_FUNC(int) PyUnstable_ThreadState_SetStackProtection(PyThreadState *tstate, void *start, size_t size);
#endif

/* Tells a new state where its thread's stack lies.  From 3.14 on a thread would ask pthread_getattr_np() otherwise, which makes system calls,
 * and malloc, which makes an arena for the thread.  Without a GIL the caller has no current state, which an error would need. */
static inline void compat_set_stack(PyThreadState *tstate, uintptr_t low, uintptr_t high)
{
#if SINCE(14) && !defined(Py_GIL_DISABLED)
    if (PyUnstable_ThreadState_SetStackProtection && PyUnstable_ThreadState_SetStackProtection(tstate, (void *)low, high - low) < 0)
        PyErr_Clear(); /* the stack is too small for these limits: the thread finds its own */
#endif
}

/* Whether a thread begins with a copy of its creator's context: sys.flags.thread_inherit_context, from 3.14 on.  -1 with an exception. */
static inline int compat_inherits_context(void)
{
#if SINCE(14)
    static int inherited = -1;

    return inherited >= 0 || PyConfig_GetInt("thread_inherit_context", &inherited) == 0 ? inherited : -1;
#else
    return 0;
#endif
}

/* ---- 3.15 -------------------------------------------------------------------------------------------------------- */

/* __enter__() of locks takes no arguments, RLock() none, and __exit__() three.  Before, __enter__ is acquire by another name, and the others
 * take any. */
enum { LOCKS_ARE_STRICT = SINCE(15) };

/* Hides the calling thread's frames from the function that it calls next, as if that were a thread's first.  A first frame is one whose thread
 * state has no current frame.  Where that is written is in CPython's public structs to 3.14 (cpython/pystate.h); from 3.15 on a thread state
 * has a frame of its own at the bottom, so there the frames stay visible. */
struct compat_frames {
    struct _PyInterpreterFrame *innermost;
    int depth;
};

#if SINCE(13)
#define COMPAT_FRAME(tstate) (tstate)->current_frame
#else
#define COMPAT_FRAME(tstate) (tstate)->cframe->current_frame
#endif
/* A frame's code, and the instruction that it is at, for a file that has the internal headers. */
#if SINCE(13)
#define COMPAT_FRAME_CODE(frame) _PyFrame_GetCode(frame)
#define COMPAT_FRAME_INSTRUCTION(frame) (frame)->instr_ptr
#else
#define COMPAT_FRAME_CODE(frame) (frame)->f_code
#define COMPAT_FRAME_INSTRUCTION(frame) (frame)->prev_instr
#endif
#if SINCE(12)
#define COMPAT_LIMIT(tstate) (tstate)->py_recursion_limit
#define COMPAT_REMAINING(tstate) (tstate)->py_recursion_remaining
#define COMPAT_COUNTED(function) 0
#else
#define COMPAT_LIMIT(tstate) (tstate)->recursion_limit
#define COMPAT_REMAINING(tstate) (tstate)->recursion_remaining
#define COMPAT_COUNTED(function) PyCFunction_Check(function) /* calls of C are */
#endif

static inline struct compat_frames compat_hide_frames(PyThreadState *tstate, PyObject *function)
{
    struct compat_frames hidden = {0};

#if !SINCE(15)
    hidden.innermost = COMPAT_FRAME(tstate);
    hidden.depth = COMPAT_LIMIT(tstate) - COMPAT_REMAINING(tstate) + COMPAT_COUNTED(function);
    COMPAT_FRAME(tstate) = NULL;
    COMPAT_REMAINING(tstate) += hidden.depth; /* not the limit itself: the program may change that meanwhile */
#endif
    return hidden;
}

static inline void compat_show_frames(PyThreadState *tstate, struct compat_frames hidden)
{
#if !SINCE(15)
    COMPAT_REMAINING(tstate) -= hidden.depth;
    COMPAT_FRAME(tstate) = hidden.innermost;
#endif
}

#endif
