/* Threads that are held for a moment where it may matter: `lwp run --chaos`.
 *
 * A thread comes to POINTS: before an operation of a primitive, at its start and end, and between bytecodes of the program.  Some points,
 * chosen by a generator of the thread's own, hold it: it gives up the GIL, and goes on when no other thread runs, or after a limit.
 *
 * So the schedule is one of PCT's: a held thread has fallen to the lowest priority (explore/strategies/pct.c).  How often a thread falls is
 * chosen at its start.
 *
 * A generator is seeded by the run's seed and the thread's number, which counts starts, so a seed means the same to a program that starts
 * its threads in the same order. What the kernel and the network do stays theirs: the same seed doesn't give the same run.
 *
 * COST.  All holds, and all points, take at most a SHARE of the time: see BUDGET in hold.c. */
#ifndef RUNTIME_CHAOS_H
#define RUNTIME_CHAOS_H

#include "python/python.h"

#include <stdatomic.h>

/* CHAOS_TURN: of a loop of asyncio, which timers and files may disturb even if its thread is the only one. */
enum chaos_kind { CHAOS_CODE, CHAOS_START, CHAOS_END, CHAOS_OPERATION, CHAOS_TURN };

struct chaos_place {
    enum chaos_kind kind;
    const char *what; /* the operation, or NULL */
    PyObject *object; /* what it is done to, or NULL */
};

/* ---- hold.c's ---------------------------------------------------------------------------------------------------- */

/* The calling thread, with the GIL, is at a point.  For how many ns it is to be held there; 0: not at all. */
int64_t chaos_due(enum chaos_kind kind);
/* Holds it.  No exception is set. */
void chaos_hold(int64_t ns, const struct chaos_place *place);
/* Whether it could be held by now. */
int chaos_may_hold(void);

extern atomic_long chaos_calls; /* points since the beginning: each is paid by the budget */

void chaos_holds_begin(uint64_t seed);
void chaos_holds_end(void); /* threads that are held go on */
void chaos_holds_after_fork(void);

/* ([the last acts, the latest last: (ns ago, ns that it lasted or -1, the thread's number, N of its name Thread-N, kind, what, name, type,
 * [(code, line), ...])], how many there were in all, for how many ns) */
PyObject *chaos_tell(PyObject *module, PyObject *unused);

/* ---- points.c's -------------------------------------------------------------------------------------------------- */

/* With the GIL: comes to a point.  The exception that is set stays. */
void chaos_point(const struct chaos_place *place);

/* -1 with an exception. */
int chaos_points_begin(PyObject *found, PyObject *disable, PyObject *restart);
void chaos_points_end(void);

/* ---- operations.c's ---------------------------------------------------------------------------------------------- */

int chaos_operations_begin(PyTypeObject *queue);
void chaos_operations_end(void);

#endif
