#include "base/steps.h"

#include "base/park.h"

#include <unistd.h>

enum { ROOM = 4096 };

static struct step record[ROOM];
static atomic_int used;
atomic_int steps_recording;

void steps_note(enum step_kind kind, uint64_t a, uint64_t b)
{
    int at = atomic_fetch_add(&used, 1);
    if (at >= ROOM) {
        atomic_store(&used, ROOM);
        return;
    }
    record[at] = (struct step){park_now(), gettid(), (int)kind, a, b};
}

void steps_record(int on)
{
    if (on)
        atomic_store(&used, 0);
    atomic_store(&steps_recording, on);
}

int steps_read(struct step *out, int room)
{
    int n = atomic_load(&used);
    if (n > ROOM)
        n = ROOM;
    for (int i = 0; i < n && i < room; i++)
        out[i] = record[i];
    return n;
}
