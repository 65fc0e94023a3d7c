/* Questions from outside: `lwp dump PID` and its like connect to a Unix socket of this process, ask in one line, and get a text.
 *
 * Two pthreads serve the socket, because they need two things that exclude each other:
 * - the listener has a table of descriptors of its own, so that its socket and what it reads take no numbers of the program's.  It never
 *   takes the GIL, so it answers too when the GIL is never free.
 * - the answerer runs Python.  Objects of the program may die in its hands and close their descriptors, so it has the program's table.
 * Both (observe/aside.h) are asleep until somebody asks.  A thread that is made only when the first question comes would need a signal or a
 * pending call to be made by.  The signal interrupts system calls of C libraries, which may not expect EINTR, and takes a number that
 * the program may use; the pending call never comes in a process that hangs, which is the one that is asked.  Two sleeping threads cost
 * the program nothing after the 0.1 ms of their start, since glibc doesn't count them.
 *
 * A question goes through one desk, whose state says who owns its texts:
 *
 *   FREE -> ASKED    the listener has written a question      ASKED -> TAKEN   the answerer has the GIL
 *   TAKEN -> DONE    the answer is there                      DONE  -> FREE    the listener has taken it
 *   ASKED, TAKEN -> LATE   the listener has given up, and answers without Python    LATE -> FREE  the answerer has dropped its answer
 *
 * Only the process's owner is answered: the socket lies in a folder of that user alone, and the kernel says who has connected.
 *
 *   FREE -> PAUSED -> CLOSED   a fork, or the end, for which the answerer ends
 *
 * CPython from 3.12 on warns of os.fork() in a process that has several threads.  So listen_pause() ends both before a fork if no thread
 * of the program's is there, and listen_go_on() makes them anew.  A forked child has none until it calls listen_begin(). */
#ifndef RUNTIME_LISTEN_H
#define RUNTIME_LISTEN_H

#include <stddef.h>

/* Functions of the floor that knows Python.  The texts are from malloc, and NULL if there is no memory. */
struct listen_answers {
    /* Run by the answerer, without the GIL.  It takes the GIL, asks `taken` whether the answer is still wanted, and answers. */
    char *(*told)(const char *question, int (*taken)(void));
    /* Run by the listener: what can be seen without the GIL.  why: why Python doesn't answer. */
    char *(*seen)(const char *why);
    /* Another number after the GIL has gone to another thread. */
    unsigned long (*turns)(void);
};

/* Serves a socket at that path.  The caller doesn't hold the GIL, because pthread_create(3) may wait for glibc's locks.  0 or errno; EALREADY:
 * this process listens already; EADDRINUSE: a process of another container has that path; ENAMETOOLONG. */
int listen_begin(const char *path, const struct listen_answers *answers);

/* The tid of the answerer, 0, or of the listener, 1; 0: there is none. */
int listen_tid(int which);

/* Before the interpreter ends; the caller doesn't hold the GIL.  Removes the socket's file, and ends the answerer after the question that it
 * has.  The listener answers without Python until the process ends. */
void listen_end(void);

/* Around fork(2), in the parent: whether to call the next, which the caller does without the GIL.  It returns whether listen_go_on() is to be
 * called. */
int listen_may_pause(void);
int listen_pause(void);
void listen_go_on(void);

#endif
