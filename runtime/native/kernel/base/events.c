#include "kernel/base/events.h"

#include <stddef.h>

atomic_int events_wanted;
typedef void hear_event(enum event event, uint64_t a, uint64_t b);
static hear_event *_Atomic readers[EVENTS_READERS];

void events_tell(enum event event, uint64_t a, uint64_t b)
{
    int wanted = atomic_load(&events_wanted);

    for (int i = 0; i < EVENTS_READERS; i++)
        if (wanted >> i & 1) {
            hear_event *hear = atomic_load(&readers[i]);
            hear(event, a, b);
        }
}

void events_begin(enum events_reader reader, void (*hear)(enum event event, uint64_t a, uint64_t b))
{
    atomic_store(&readers[reader], hear);
    atomic_fetch_or(&events_wanted, 1 << reader);
}

void events_end(enum events_reader reader)
{
    atomic_fetch_and(&events_wanted, ~(1 << reader));
}
