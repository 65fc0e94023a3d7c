/* One __thread variable, for `demo tls`: it has another address in each thread. */
#ifndef RUNTIME_TLSDEMO_H
#define RUNTIME_TLSDEMO_H

enum { TLSDEMO_FIRST = 42 }; /* what the variable holds in a new thread */

/* The addresses of the calling thread's copies. */
int *tlsdemo_variable(void);
int *tlsdemo_errno(void);

/* Makes one of three system calls that fail, and returns the calling thread's errno after it. */
int tlsdemo_fail(int how);

#endif
