/* Points between bytecodes.
 *
 * Each code object of the program gets a map, a byte for each two bytes of code: whether a switch before it can matter, and whether
 * CPython with a GIL could switch there (lwp/explore/run/granularity.py makes it).  From 3.12 on sys.monitoring calls
 * at_instruction() before each instruction; one that is no point answers DISABLE, and is not asked again.  In 3.11 the thread's trace
 * function is called instead.
 *
 * The map of a library's code is the library's name, which is noted when the code runs in an explored thread.  Which code is the
 * program's is the exploration's choice, and each choice has a place of its own among a code object's extras.
 *
 * A recorder may look at instructions that use shared data, and at exceptions that are raised (lwp/explore/telling/accesses.py).
 * These are no points, so the run takes the steps that it takes without the recorder. */
#include "python/explore/parts.h"

#include "python/explore/point.h"
#include "python/room.h"

enum { MATTERS = 1, AT_GIL = 2, LOOKED_AT = 4 };

static struct {
    int wanted;           /* MATTERS, AT_GIL: the instructions that are points; LOOKED_AT; 0: none is */
    PyObject *look;       /* LOOKED_AT: look(frame, thread, steps, exception or None, its traceback or None) */
    PyObject *map_of;     /* map_of(code): bytes, or a name or None for code that is not the program's */
    PyObject *disable;    /* sys.monitoring.DISABLE; NULL: this is 3.11 */
    PyObject *unswitched; /* a set: the names of code that ran without points */
    Py_ssize_t place;     /* of the map among a code object's extras */
} points;

static void drop_map(void *map)
{
    Py_XDECREF((PyObject *)map);
}

/* What the code object has in that place; if nothing, `made`, whose reference it takes over.  What came first stays, because another
 * thread may use it.  Borrowed; NULL, with an exception or without. */
static PyObject *known_or(PyObject *code, PyObject *made)
{
    void *known = NULL;

    Py_BEGIN_CRITICAL_SECTION(code); /* CPython 3.13 locks nothing there (Objects/codeobject.c) */
    if (PyUnstable_Code_GetExtra(code, points.place, &known) == 0 && !known && made
        && PyUnstable_Code_SetExtra(code, points.place, made) == 0)
        known = made;
    Py_END_CRITICAL_SECTION();
    if (known != made)
        Py_XDECREF(made);
    return known;
}

/* Borrowed: bytes, a name or None; NULL with an exception. */
static PyObject *map_of(PyObject *code)
{
    PyObject *known = known_or(code, NULL);

    if (known || PyErr_Occurred())
        return known;
    int explored = explore_me() != NULL; /* another thread must not make an explored one pass its points meanwhile */
    point_telling += explored; /* it may import */
    PyObject *made = PyObject_CallOneArg(points.map_of, code);
    point_telling -= explored;
    if (made && !(known = known_or(code, made)) && !PyErr_Occurred())
        PyErr_NoMemory(); /* CPython sets no exception for that */
    return known;
}

/* 0; -1 with an exception. */
static int note_unswitched(PyObject *map)
{
    return PyUnicode_Check(map) && points.wanted & (MATTERS | AT_GIL) ? PySet_Add(points.unswitched, map) : 0;
}

static int come_to_point(struct explored *me, int at_gil)
{
    return point(me, &(struct explore_op){EXPLORE_CODE, NULL, NULL, PARK_FOREVER, at_gil});
}

/* Has the recorder look at the frame that runs, and look again after each point that it asks for.  Data that one thread alone has had
 * is not looked at. */
static int look_at(struct explored *me, PyObject *raised, PyObject *traceback)
{
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    int again = 0;

    if (explore_run.count < 2 || explore_is_unwinding() || point_telling)
        return 0;
    do {
        point_telling++;
        PyObject *answer = PyObject_CallFunction(points.look, "OilOO", frame, me->index, explore_run.step, raised, traceback);
        point_telling--;
        Py_XDECREF(answer);
        if (!answer)
            return -1;
        again = answer == Py_True;
        if (again && come_to_point(me, 0) < 0)
            return -1;
    } while (again);
    return 0;
}

/* 1: comes to a point there, or is looked at; 0: neither; -1 with an exception.  The look is after the point, because at a point other
 * threads may change what the instruction uses. */
static int come_to(struct explored *me, PyObject *code, long offset)
{
    PyObject *map = map_of(code);

    if (!map)
        return -1;
    if (!PyBytes_Check(map))
        return note_unswitched(map);
    int marks = offset / 2 < PyBytes_GET_SIZE(map) ? PyBytes_AS_STRING(map)[offset / 2] & points.wanted : 0;
    if (marks & (MATTERS | AT_GIL) && come_to_point(me, (PyBytes_AS_STRING(map)[offset / 2] & AT_GIL) != 0) < 0)
        return -1;
    if (marks & LOOKED_AT && look_at(me, Py_None, Py_None) < 0)
        return -1;
    return marks != 0;
}

static PyObject *at_instruction(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct explored *me = explore_me();

    if (!points.wanted)
        Py_RETURN_NONE;
    if (!me) { /* the thread that explores, or one that isn't explored: it runs hardly any code of the program */
        PyObject *map = map_of(args[0]);
        return map ? Py_NewRef(PyBytes_Check(map) ? Py_None : points.disable) : NULL;
    }
    int came = come_to(me, args[0], PyLong_AsLong(args[1]));
    return came < 0 ? NULL : Py_NewRef(came ? Py_None : points.disable);
}

/* (code, offset, exception): in each frame that an exception comes to. */
static PyObject *at_raise(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct explored *me = explore_me();
    PyObject *traceback = me && points.wanted & LOOKED_AT ? PyException_GetTraceback(args[2]) : NULL;
    int looked = traceback ? look_at(me, args[2], traceback) : 0;

    Py_XDECREF(traceback);
    return looked < 0 ? NULL : Py_NewRef(Py_None);
}

/* The trace function, unless HAS_MONITORING. */
static int trace_frame(PyObject *unused, PyFrameObject *frame, int what, PyObject *arg)
{
    struct explored *me = explore_me();
    int result = 0;

    if (!me || !points.wanted)
        return 0;
    if (what == PyTrace_EXCEPTION && points.wanted & LOOKED_AT)
        return look_at(me, PyTuple_GET_ITEM(arg, 1), PyTuple_GET_ITEM(arg, 2));
    if (what != PyTrace_CALL && what != PyTrace_OPCODE)
        return 0;
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    if (what == PyTrace_OPCODE)
        result = come_to(me, code, PyFrame_GetLasti(frame));
    else {
        PyObject *map = map_of(code);
        result = !map || note_unswitched(map) < 0
                     ? -1
                     : PyObject_SetAttrString((PyObject *)frame, "f_trace_opcodes", PyBytes_Check(map) ? Py_True : Py_False);
    }
    Py_DECREF(code);
    return result < 0 ? -1 : 0;
}

void code_thread_begins(void)
{
    if (!HAS_MONITORING && points.wanted && explore_me())
        PyEval_SetTrace(trace_frame, NULL);
}

/* A new place for maps, to be kept: CPython has 255 and takes none back (Include/internal/pycore_code.h, MAX_CO_EXTRA_USERS). */
static PyObject *make_place(PyObject *module, PyObject *unused)
{
    Py_ssize_t place = PyUnstable_Eval_RequestCodeExtraIndex(drop_map);

    if (place >= 0)
        return PyLong_FromSsize_t(place);
    PyErr_SetString(PyExc_RuntimeError, "no place is left in code objects: each choice of what is switched takes one in a process");
    return NULL;
}

/* (the instructions wanted, the maps' place, map_of, DISABLE or None, the set of names, look or None) */
static PyObject *set_points(PyObject *module, PyObject *args)
{
    PyObject *function, *disable, *names, *look;
    Py_ssize_t place;
    int wanted;

    if (!PyArg_ParseTuple(args, "inOOO!O:code_points", &wanted, &place, &function, &disable, &PySet_Type, &names, &look))
        return NULL;
    points.wanted = wanted;
    points.place = place;
    Py_XSETREF(points.map_of, Py_NewRef(function));
    Py_XSETREF(points.disable, Py_NewRef(disable));
    Py_XSETREF(points.unswitched, Py_NewRef(names));
    Py_XSETREF(points.look, Py_NewRef(look));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"code_place", make_place, METH_NOARGS, NULL},
    {"code_points", set_points, METH_VARARGS, NULL},
    POSITIONAL("code_instruction", at_instruction, NULL),
    POSITIONAL("code_raise", at_raise, NULL),
    {0},
};

const struct entries entries_explore_code = {.functions = functions};
