/* What the explored files of the core have in place of an atomic operation, futex(2), the clock, the end of an LWP and fork handlers: see
 * points.c. */
#ifndef EXPLORED_POINTS_H
#define EXPLORED_POINTS_H

#include <stddef.h>
#include <time.h>

/* An atomic operation in the source. */
struct point_site {
    const char *does, *where, *text; /* text: what it is done to */
    int writes;
    size_t size;
    enum { POINT_NEW, POINT_EXPLORED, POINT_PASSED_BY } how;
};

void point_before(struct point_site *site, const volatile void *word);

/* These names stand for the ones of the C library and of kernel/arch/: tests/lwp/explore/explored_core.py. */
long point_syscall(long number, ...);
int point_prctl(int option, ...);
int point_clock_gettime(clockid_t clock, struct timespec *now);
_Noreturn void point_arch_exit(int status);

#endif
