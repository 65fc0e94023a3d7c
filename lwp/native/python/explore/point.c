#include "python/explore/point.h"

#include "python/waits/cancel.h"
#include "python/room.h"

#include <errno.h>

PyObject *point_unwound, *point_note;
int point_telling;

static PyObject *objects; /* a list: numbered n + 1 is at n */

/* ---- objects ----------------------------------------------------------------------------------------------------- */

void point_forget(void)
{
    PyObject *before = objects;

    objects = NULL;
    Py_XDECREF(before);
}

PyObject *point_objects(PyObject *module, PyObject *unused)
{
    return objects ? PyList_GetSlice(objects, 0, PyList_GET_SIZE(objects)) : PyList_New(0);
}

/* Each object lives until the run's end: otherwise a later object could get its address, and with that its number. */
static int keep_object(PyObject *object)
{
    int fresh;

    explore_number(object, &fresh);
    if (!fresh)
        return 0;
    if (!objects && !(objects = PyList_New(0)))
        return -1;
    return PyList_Append(objects, object);
}

/* ---- points ------------------------------------------------------------------------------------------------------ */

int point_tell(struct explored *me, enum explore_kind kind, PyObject *object)
{
    if (point_telling || !point_note)
        return point_telling;
    point_telling = 1;
    PyObject *none = PyObject_CallFunction(point_note, "iiOd", me->index, (int)kind, object ? object : Py_None,
                                           (double)explore_run.now / PARK_SECOND);
    point_telling = 0;
    Py_XDECREF(none);
    return none ? 0 : -1;
}

void point_cancel(void)
{
    PyErr_SetNone(point_unwound);
}

static int go_through(struct explored *me, const struct explore_op *op, PyObject *object)
{
    if (!point_telling && explore_passes(me, op))
        return 0;
    struct park_cancel *cancel = op->can && op->kind < EXPLORE_RELEASE ? cancel_mine() : NULL;
    int told = point_tell(me, op->kind, object), cancelled, in_time;

    if (told)
        return told < 0 ? -1 : 0;
    do {
        struct explore_op until = *op;
        if (cancel && cancel->deadline < op->deadline)
            until.deadline = cancel->deadline;
        me->cancel = cancel;
        if (explore_arrive(me, &until)) {
            PyThreadState *tstate = PyEval_SaveThread();
            explore_leave();
            PyEval_RestoreThread(tstate);
        }
        cancelled = explore_is_cancelled(me) && !op->can(me);
        in_time = me->result != ETIMEDOUT || until.deadline == op->deadline;
        me->cancel = NULL;
        if (me->result == ECANCELED)
            point_cancel();
        else if (!cancelled && in_time)
            return me->result;
    } while (me->result != ECANCELED && cancel_raise() == 0);
    return -1;
}

int point(struct explored *me, const struct explore_op *op)
{
    return go_through(me, op, NULL);
}

int point_at(struct explored *me, enum explore_kind kind, PyObject *object, explore_can *can, int64_t deadline)
{
    if (!point_telling && keep_object(object) < 0) /* what a note uses must not take a number */
        return -1;
    return go_through(me, &(struct explore_op){kind, object, can, deadline}, object);
}

PyObject *point_after(struct explored *me, PyObject *object, PyObject *result)
{
    const struct explore_op op = {EXPLORE_CODE, NULL, NULL, PARK_FOREVER, 1}; /* as `gil` has one after each call */

    if (result && explore_stops_after() && go_through(me, &op, object) < 0)
        Py_CLEAR(result);
    return result;
}

/* ---- for another module ------------------------------------------------------------------------------------------ */

static struct explored *calling_thread(void)
{
    return explore_me();
}

static const struct explore_points explore_points = {calling_thread, point, point_at, explore_is_unwinding, point_cancel, &explore_run};

static int add_points(PyObject *module)
{
    PyObject *capsule = PyCapsule_New((void *)&explore_points, "lwp.native.explore_points", NULL);
    int result = capsule ? PyModule_AddObjectRef(module, "explore_points", capsule) : -1;

    Py_XDECREF(capsule);
    return result;
}

const struct entries entries_explore_points = {.add = add_points};
