/* Pages that are made before the first access to them. */
#ifndef RUNTIME_PAGES_H
#define RUNTIME_PAGES_H

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Makes all pages with one system call; a page fault for each takes several times as long.  `from` is the beginning of a page.
 * Before Linux 5.14, or if memory is short, the pages are made by page faults after all.  errno is preserved. */
static inline void pages_make(void *from, size_t bytes)
{
    int error = errno;

    madvise(from, bytes, MADV_POPULATE_WRITE);
    errno = error;
}

#endif
