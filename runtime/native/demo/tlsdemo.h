/* One __thread variable, for `demo tls`: each thread that asks gets another address. */
#ifndef RUNTIME_TLSDEMO_H
#define RUNTIME_TLSDEMO_H

enum { TLSDEMO_FIRST = 42 }; /* what the variable holds in a new thread */

/* Where the calling thread's copies lie. */
int *tlsdemo_variable(void);
int *tlsdemo_errno(void);

/* Makes a system call that fails, one of three in turn, and returns what the calling thread's errno holds then. */
int tlsdemo_fail(int how);

#endif
