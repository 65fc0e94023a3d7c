/* Helpers: LWPs that call for green threads what blocks in the kernel.  See the head of helpers.c. */
#ifndef RUNTIME_PYTHON_GREEN_HELPERS_H
#define RUNTIME_PYTHON_GREEN_HELPERS_H

void helpers_after_fork(void);

#endif
