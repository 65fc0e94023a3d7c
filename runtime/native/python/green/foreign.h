#ifndef RUNTIME_PYTHON_FOREIGN_H
#define RUNTIME_PYTHON_FOREIGN_H

/* With the GIL: from now on C code of others that gives up the GIL leaves the LWP to other green threads (green/foreign.h). */
void python_watch_foreign(void);

#endif
