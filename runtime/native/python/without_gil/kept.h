/* The PyThreadStates that explore() keeps between runs: see the head of kept.c. */
#ifndef RUNTIME_PYTHON_KEPT_H
#define RUNTIME_PYTHON_KEPT_H

#include "python/python.h"

struct context;
struct lwp;

#ifdef COMPAT_HEAPS_HEADER

/* At the calling thread's end: its context keeps its state, which it has to leave by PyEval_SaveThread().  0: the state has to be
 * cleared. */
int kept_put(PyThreadState *tstate, struct context *context);

/* What the context of this thread keeps, as if it were new.  NULL: the context keeps none. */
PyThreadState *kept_take(struct lwp *lwp);

/* Deletes all that no thread is about to take. */
void kept_drop(void);

/* The interpreter deletes the states of all other threads. */
void kept_after_fork(void);

#else

static inline int kept_put(PyThreadState *tstate, struct context *context)
{
    return 0;
}

static inline PyThreadState *kept_take(struct lwp *lwp)
{
    return NULL;
}

static inline void kept_drop(void)
{
}

static inline void kept_after_fork(void)
{
}

#endif

#endif
