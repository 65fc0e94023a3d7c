/* From a bare LWP to a Python thread and back: see the head of boot.c. */
#ifndef RUNTIME_PYTHON_BOOT_H
#define RUNTIME_PYTHON_BOOT_H

#include "python/python.h"

struct lwp;
struct scheduler;

/* What a thread runs: a function, or the object that `body` says how to run. */
struct boot_target {
    PyObject *function, *args, *kwargs; /* kwargs may be NULL; with a body, args is NULL too */
    const struct boot_body {
        PyObject *(*run)(PyObject *op); /* Py_True: what it ran raised, and the excepthook was called.  NULL with an exception */
        void (*leave)(PyObject *op);    /* then */
    } *body;
};

/* Starts it.  wait: returns when the thread has the GIL.  -1 with an exception, and nothing is left of it. */
int boot_start(struct lwp *lwp, const struct boot_target *target, unsigned long flags, int exit_signal, int wait);

/* The same as a green thread. */
int boot_start_green(struct lwp *lwp, const struct boot_target *target, struct scheduler *scheduler);

/* Frees what is left of the thread of a process in our memory that was killed, or called _exit: it could not do it. */
void boot_bury(struct lwp *lwp);

/* 1 with an exception of that text when the interpreter makes no more threads. */
int boot_refused(const char *text);

/* Bytes of stack that a thread gets if nobody asks for more: threading.stack_size(n), or what a pthread would get. */
size_t boot_stack_size(void);

void boot_after_fork(void);

#endif
