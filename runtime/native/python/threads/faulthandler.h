/* Whether faulthandler is enabled.  Then each thread gets a signal stack, without which faulthandler could not report the overflow of the
 * thread's own stack. */
#ifndef RUNTIME_PYTHON_FAULTHANDLER_H
#define RUNTIME_PYTHON_FAULTHANDLER_H

/* Looks up faulthandler.is_enabled().  0, or -1 with an exception. */
int faulthandler_find(void);

int faulthandler_is_on(void);

#endif
