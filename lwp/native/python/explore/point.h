/* A point of a Python thread: see explore/explore.h. */
#ifndef RUNTIME_EXPLORE_POINT_H
#define RUNTIME_EXPLORE_POINT_H

#include "explore/explore.h"
#include "python/python.h"

/* The calling thread, which is explored and has the GIL, is about to do this.  0: it may; ETIMEDOUT: it must not, the time is up; -1 with
 * an exception: the run is over. */
int point(struct explored *me, const struct explore_op *op);

/* The same for an operation on an object, which lives until the run ends. */
int point_at(struct explored *me, enum explore_kind kind, PyObject *object, explore_can *can, int64_t deadline);

/* Comes to a point behind the release of that object, if the plan wants one.  result: the release's, which is returned; NULL with an
 * exception. */
PyObject *point_after(struct explored *me, PyObject *object, PyObject *result);

/* Calls point_note for an operation whose point has no Python object or is in the core. -1 with an exception; 1: the caller is a
 * note. */
int point_tell(struct explored *me, enum explore_kind kind, PyObject *object);

/* Raises what unwinds a thread. */
void point_cancel(void);

/* Drops the objects of the run. */
void point_forget(void);
/* The objects that were numbered, from 1 on: a list. */
PyObject *point_objects(PyObject *module, PyObject *unused);

/* For another extension module that has points: a capsule, lwp.native.explore_points.  The tests have one, a copy of the core whose
 * atomic operations are points (tests/lwp/explore/points/). */
struct explore_points {
    struct explored *(*me)(void);
    int (*point)(struct explored *me, const struct explore_op *op);
    int (*point_at)(struct explored *me, enum explore_kind kind, PyObject *object, explore_can *can, int64_t deadline);
    int (*is_unwinding)(void);
    void (*unwind)(void); /* point_cancel() */
    const struct explore_run *run;
};

extern PyObject *point_unwound; /* the class of that exception */
extern PyObject *point_note;    /* NULL, or called at each point: note(thread, kind, object or None, seconds on the run's clock) */
extern int point_telling;       /* a note, a look or a debugger runs: their own operations are none of the program's */

#endif
