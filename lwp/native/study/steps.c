#include "study/steps.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/base/park.h"

#include <unistd.h>

enum { CAPACITY = 4096 };

static struct step record[CAPACITY];
static atomic_int used;

static void record_event(enum event event, uint64_t a, uint64_t b)
{
    if (event >= EVENT_STEPS)
        return;
    int at = atomic_fetch_add(&used, 1);
    if (at >= CAPACITY) {
        atomic_store(&used, CAPACITY);
        return;
    }
    if (event == EVENT_BORN)
        b = (uint64_t)(uintptr_t)arch_thread_pointer();
    record[at] = (struct step){park_now(), gettid(), (int)event, a, b};
}

void steps_record(int on)
{
    if (!on) {
        events_end(EVENTS_STEPS);
        return;
    }
    atomic_store(&used, 0);
    events_begin(EVENTS_STEPS, record_event);
}

int steps_read(struct step *out, int capacity)
{
    int n = atomic_load(&used);

    if (n > CAPACITY)
        n = CAPACITY;
    for (int i = 0; i < n && i < capacity; i++)
        out[i] = record[i];
    return n;
}
