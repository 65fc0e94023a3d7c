/* From a bare LWP to a Python thread and back: see the head of boot.c. */
#ifndef RUNTIME_PYTHON_BOOT_H
#define RUNTIME_PYTHON_BOOT_H

#include "python/python.h"

struct context;
struct lwp;
struct scheduler;

/* What a thread runs: function(*args, **kwargs), or, with a body, body->run(function). */
struct boot_target {
    PyObject *function, *args, *kwargs; /* kwargs may be NULL; with a body, args is NULL too */
    const struct boot_body {
        PyObject *(*run)(PyObject *op); /* Py_True: the program's code raised, and excepthook was called.  NULL with an exception */
        void (*leave)(PyObject *op);    /* called after run(), whatever that returned */
    } *body;
    PyObject *first; /* NULL, or what the thread calls before that, without arguments, to be placed.  If it raises, so does the start */
};

/* Starts the LWP's thread.  wait: returns only when the thread is about to call its function; so does a start with a `first`, which only
 * threads of this process may have.  -1 with an exception: then the start has been undone. */
int boot_start(struct lwp *lwp, const struct boot_target *target, unsigned long flags, int exit_signal, int wait);

/* The same as a green thread. */
API int boot_start_green(struct lwp *lwp, const struct boot_target *target, struct scheduler *scheduler);

/* Frees the PyThreadState of a process in our memory that has ended, if it was killed or called _exit() and so could not do it itself. */
void boot_reclaim(struct lwp *lwp);

/* 1 with an exception of that text if the interpreter makes no more threads; otherwise 0. */
int boot_refused(const char *text);

/* Bytes of stack that a thread gets by default: what threading.stack_size(n) has set, or what a pthread would get. */
API size_t boot_stack_size(void);

/* Adds to the count behind _thread._count().  A helper is no thread of the program: it calls this with -1 when its function begins and with
 * 1 before it returns. */
void boot_count_running(int more);

/* Functions of a higher floor that keeps the PyThreadStates of explored threads for later ones.  NULL: nobody does. */
struct boot_keeps {
    /* What the context of this thread keeps, as if it were new.  NULL: the context keeps none. */
    PyThreadState *(*take)(struct lwp *lwp);
    /* At the calling thread's end: its context keeps its state, which it has to leave by PyEval_SaveThread().  0: the state has to be
     * cleared. */
    int (*put)(PyThreadState *tstate, struct context *context);
};
API extern const struct boot_keeps *boot_keeps;

/* Functions of a higher floor, or NULL.  With the GIL, each new thread calls boot_may_call() before its function, doesn't call the
 * function if that returns 0, and calls boot_has_called() at the end in either case. */
API extern int (*boot_may_call)(void);
API extern void (*boot_has_called)(void);

#endif
