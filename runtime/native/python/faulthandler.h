/* Whether faulthandler is to report crashes.  Then a thread gets a signal stack, without which the overflow of its own stack could not
 * be reported. */
#ifndef RUNTIME_PYTHON_FAULTHANDLER_H
#define RUNTIME_PYTHON_FAULTHANDLER_H

/* 0, or -1 with an exception. */
int faulthandler_find(void);

int faulthandler_is_on(void);

#endif
