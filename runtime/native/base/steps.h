/* A record of the steps by which threads are made and end, for those who want to see them: the events up to EVENT_STEPS. */
#ifndef RUNTIME_STEPS_H
#define RUNTIME_STEPS_H

#include <stdint.h>

struct step {
    int64_t ns; /* monotonic clock */
    int tid;
    int kind;   /* an enum event */
    uint64_t a, b;
};

/* Starts a new record, or ends it. */
void steps_record(int on);

/* Copies what was recorded since into `out`; returns how many there are (later ones than the record holds are dropped). */
int steps_read(struct step *out, int capacity);

#endif
