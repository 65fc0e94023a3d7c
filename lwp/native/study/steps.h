/* A record of the steps by which threads are made and end (`demo createthread`): the events below EVENT_STEPS. */
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

/* Copies the record into `out`; returns the number of steps in it.  When the record is full, later steps are dropped. */
int steps_read(struct step *out, int capacity);

#endif
