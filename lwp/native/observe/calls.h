/* Which system call a task sleeps in, as /proc/PID/task/TID/syscall tells it, and whether it sleeps there for the GIL. */
#ifndef RUNTIME_CALLS_H
#define RUNTIME_CALLS_H

#include <stdint.h>

/* Names are numbered, so that who keeps something for each needs no search.  0: the task is in no system call. */
enum { CALLS_NONE, CALLS_GIL, CALLS_OTHER, CALLS_FIRST, CALLS_MOST = 64 };

/* Where the GIL's state lies: from the first address to below the second. */
extern uintptr_t calls_gil[2];

/* The number of what that line of the file says.  Only calls that may sleep have names, the others are CALLS_OTHER. */
int calls_read(const char *line);

/* Of the task with that tid now; CALLS_NONE also if the task is gone. */
int calls_of(const char *tid);
const char *calls_name(int number);

#endif
