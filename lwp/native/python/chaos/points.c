/* Points between bytecodes of the program's code.
 *
 * From 3.12 on sys.monitoring calls at_instruction() before each instruction, once, because the answer is always DISABLE.  So a loop costs
 * nothing after its first turn, until restart_events() has all instructions called once more: when a thread is about to be held, because
 * what the others do next matters then, but only as often as that takes a small part of the time.
 *
 * In 3.11 a thread has a trace function from a point on at which there is credit for a hold, until it is held or has used that credit up.
 * A thread that computes for long without an operation of a primitive is traced only at its beginning. */
#include "python/chaos/chaos.h"

#include "kernel/base/park.h"
#include "python/room.h"

enum { PART = 10 };        /* of the time: a restart, and the calls that it leads to, take one in so many at most */
enum { CALL_COST = 300 };  /* ns, in that */
enum { MOST_FRAMES = 16 }; /* of a thread that are traced, besides those that it enters */

static PyObject *found;             /* see chaos_points_begin() */
static PyObject *disable, *restart; /* sys.monitoring's; NULL: this is 3.11 */
static int64_t next_restart;
static long calls_before;
static atomic_int on;

static void restart_if_due(void)
{
    int64_t now = park_now();

    if (!restart || now < next_restart)
        return;
    long calls = atomic_load_explicit(&chaos_calls, memory_order_relaxed), more = calls > calls_before ? calls - calls_before : 0;
    next_restart = INT64_MAX; /* another thread may come here before the call returns */
    PyObject *none = PyObject_CallNoArgs(restart);
    Py_XDECREF(none);
    PyErr_Clear();
    int64_t after = park_now();
    next_restart = after + PART * (after - now + more * CALL_COST);
    calls_before = calls;
}

static void hold_if_due(const struct chaos_place *place)
{
    int64_t ns = chaos_due(place->kind);

    if (!ns)
        return;
    PyObject *raised = PyErr_GetRaisedException();
    restart_if_due();
    chaos_hold(ns, place);
    PyErr_SetRaisedException(raised);
}

static PyObject *at_instruction(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (atomic_load_explicit(&on, memory_order_relaxed)) { /* not in a forked child */
        atomic_fetch_add_explicit(&chaos_calls, 1, memory_order_relaxed);
        hold_if_due(&(struct chaos_place){CHAOS_CODE});
    }
    return Py_NewRef(disable);
}

/* ---- 3.11 -------------------------------------------------------------------------------------------------------- */

static Py_ssize_t extra = -1; /* where a code object has `ours` or `others` */
static char ours, others;
static __thread int traced;

static int is_programs(PyObject *code)
{
    void *mark = NULL;

    if (PyUnstable_Code_GetExtra(code, extra, &mark) == 0 && !mark) {
        PyObject *is = PyObject_CallOneArg(found, code);
        mark = is == Py_True ? &ours : &others;
        Py_XDECREF(is);
        PyUnstable_Code_SetExtra(code, extra, mark);
    }
    PyErr_Clear();
    return mark == &ours;
}

static void trace_instructions_of(PyFrameObject *frame)
{
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);

    if (PyObject_SetAttrString((PyObject *)frame, "f_trace_opcodes", is_programs(code) ? Py_True : Py_False) < 0)
        PyErr_Clear();
    Py_DECREF(code);
}

static void stop_tracing(void)
{
    traced = 0;
    PyEval_SetTrace(NULL, NULL);
}

static int trace_frame(PyObject *unused, PyFrameObject *frame, int what, PyObject *arg)
{
    if (!atomic_load_explicit(&on, memory_order_relaxed) || !chaos_may_hold()) {
        stop_tracing();
        return 0;
    }
    atomic_fetch_add_explicit(&chaos_calls, 1, memory_order_relaxed);
    if (what == PyTrace_CALL)
        trace_instructions_of(frame);
    else if (what == PyTrace_OPCODE)
        hold_if_due(&(struct chaos_place){CHAOS_CODE});
    return 0;
}

/* A debugger's or coverage's trace function stays. */
static void trace_if_worth(void)
{
    PyThreadState *tstate = PyThreadState_Get();

    if (!atomic_load_explicit(&on, memory_order_relaxed) || traced || tstate->c_tracefunc || !chaos_may_hold())
        return;
    traced = 1;
    PyFrameObject *frame = PyThreadState_GetFrame(tstate);
    for (int i = 0; frame && i < MOST_FRAMES; i++) {
        trace_instructions_of(frame);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    PyEval_SetTrace(trace_frame, NULL);
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

void chaos_point(const struct chaos_place *place)
{
    atomic_fetch_add_explicit(&chaos_calls, 1, memory_order_relaxed);
    hold_if_due(place);
    if (!HAS_MONITORING)
        trace_if_worth();
}

/* exec() of a code object: a module or a script is about to run. */
static int hear_audit(const char *event, PyObject *args, void *unused)
{
    if (!atomic_load(&on) || strcmp(event, "exec") != 0 || !python_in_main())
        return 0;
    PyObject *code = PyTuple_GET_SIZE(args) ? PyTuple_GET_ITEM(args, 0) : NULL;
    if (!code || !PyCode_Check(code))
        return 0;
    PyObject *none = PyObject_CallOneArg(found, code);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

int chaos_points_begin(PyObject *function, PyObject *no, PyObject *again)
{
    static int hears; /* an audit hook stays */

    if (!hears && PySys_AddAuditHook(hear_audit, NULL) < 0)
        return -1;
    hears = 1;
    if (!HAS_MONITORING && extra < 0 && (extra = PyUnstable_Eval_RequestCodeExtraIndex(NULL)) < 0) {
        PyErr_SetString(PyExc_RuntimeError, "no place is left in code objects");
        return -1;
    }
    Py_XSETREF(found, Py_NewRef(function));
    Py_XSETREF(disable, Py_NewRef(no));
    Py_XSETREF(restart, again == Py_None ? NULL : Py_NewRef(again));
    next_restart = 0;
    calls_before = 0;
    atomic_store(&on, 1);
    return 0;
}

void chaos_points_end(void)
{
    atomic_store(&on, 0);
}

static PyMethodDef functions[] = {
    POSITIONAL("chaos_instruction", at_instruction, NULL),
    {0},
};

const struct entries entries_chaos_points = {.functions = functions};
