/* The Python frames of all threads, read without the GIL, while their threads may run and end.
 *
 * Every pointer that is followed is first copied from by inspect_copy_memory(), which fails where nothing is mapped, and each walk has a
 * limit.  So what is read may be wrong where a thread runs meanwhile, and is right where a thread sleeps; nothing crashes. */
#ifndef RUNTIME_FRAMES_H
#define RUNTIME_FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Tells where the structures lie; the caller has the GIL. */
void frames_begin(void);

/* Writes a JSON array, of each thread [ident, tid, frames], the frames from the innermost outwards, each [file, line, function].  The tid
 * of a green thread is that of the first LWP that ran it. */
void frames_write(FILE *out);

/* Writes ", at FILE:LINE in FUNCTION" for that thread; nothing if it has no Python frame. */
void frames_write_innermost(FILE *out, unsigned long ident);

/* Writes what a PyObject's type is called, as a JSON string. */
void frames_write_type(FILE *out, uintptr_t object);

/* The ident of the thread that has the GIL or had it last; 0: it is not known, or there is no GIL.  switches: how often another thread than
 * before has taken it. */
unsigned long frames_gil_holder(unsigned long *switches);

#endif
