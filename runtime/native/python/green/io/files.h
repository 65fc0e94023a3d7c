/* Whether a read of a file waits, and from which size on a call copies long. */
#ifndef RUNTIME_PYTHON_FILES_H
#define RUNTIME_PYTHON_FILES_H

#include "python/python.h"

/* Whether the first byte of a read from a file on a disk is in memory.  WAITS: it isn't, or the read copies so much that it takes long.
 * UNKNOWN: the file system can't say, or the file is not on a disk. */
enum first_byte { FIRST_BYTE_READY, FIRST_BYTE_WAITS, FIRST_BYTE_UNKNOWN };
enum first_byte files_first_byte(int fd, off_t offset, Py_ssize_t length);
enum { SMALL = 64 << 10 }; /* bytes: a call for no more than these keeps the GIL, because it only copies them */
enum { FILES_LARGE = 1 << 20 }; /* bytes: to copy these from the page cache takes several times as long as a helper costs */

#endif
