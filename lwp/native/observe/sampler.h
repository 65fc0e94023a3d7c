/* Samples for a trace: the system call that a thread sleeps in although its last record says that it runs, and how much memory and how
 * many threads there are.  A thread without Python takes them 50 times a second, with at most a three-hundredth of a processor.
 * Threads that a round has no time for come first in the next round. */
#ifndef RUNTIME_SAMPLER_H
#define RUNTIME_SAMPLER_H

/* Starts the sampling thread, if there is none; it ends with the recording. */
void sampler_begin(void);

/* The trace has another file: its texts are to be added again.  No sampling thread runs. */
void sampler_forget_texts(void);

#endif
