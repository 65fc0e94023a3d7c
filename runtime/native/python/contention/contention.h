/* How long threads wait for what, and hold it: `--locks`. */
#ifndef RUNTIME_CONTENTION_H
#define RUNTIME_CONTENTION_H

/* In a forked child: nothing is counted any more, and no lock leads here. */
void contention_after_fork(void);

#endif
