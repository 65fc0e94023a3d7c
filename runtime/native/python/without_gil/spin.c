/* Without a GIL, a thread looks a few times more before it sleeps.
 *
 * A thread on another processor often frees a lock, or grants, within a microsecond, but to wake a sleeper takes ten: with a sleep at
 * once two threads on two processors took turns in 36 us, and now do in 1.  CPython's PyMutex yields the processor up to 40 times
 * (MAX_SPIN_COUNT, Python/lock.c), which takes some 16 us.  With a GIL there is nothing to spin for: the other thread needs the
 * GIL that this one gives up when it sleeps.
 *
 *   1. At a lock the time between two looks doubles.  If threads that want one lock looked after each yield, they would take it in turns,
 *      and each turn brings the lock's line from one processor's cache to the other's: two threads took up to 1.6 times as long.  It
 *      is not a number of yields that doubles, because on one processor a yield is a turn of the other thread, and then the lock is free.
 *   2. A thread that has spun in vain sleeps at once the next time; after a second spin in vain the next three times, and so on up to
 *      SELDOM.  A thread that waits half a millisecond for each item of a queue used 45 us of processor time for it, and so uses 16.
 *   3. A yield lets other threads run first, also those of other programs.  Beside a thread that computed, a yield took that thread's
 *      time slice, and two threads took turns in 1.4 ms; with sleeps they do in 0.05.  So after a spin that took longer than LATE, a thread
 *      sleeps at once as many times as would have fitted into the spin: a turn takes at most twice as long as if each wait were a sleep.
 *
 * A green thread doesn't spin: it leaves its LWP to the next one.  An explored thread doesn't spin either, because each look would be a step
 * of the run; its clock stands still, by which it is known here. */
#include "python/without_gil/spin.h"

#include "kernel/base/park.h"
#include "python/compat.h"

#include <sched.h>

enum { SHORTEST = 500 /* ns */, LONGEST = 40000 /* ns */, LATE = 2 * LONGEST, SELDOM = 31, A_SLEEP = 10000 /* ns that it takes */ };

static __thread struct {
    int pause; /* sleeps without a spin after the last spin in vain; 0: the last spin was not in vain */
    int left;  /* how many of these sleeps still come */
} spins;

/* Returns whether a look succeeded.  *took: the spin's ns. */
static int look_often(int (*look)(void *arg), void *arg, int rarer, int64_t *took)
{
    int64_t begun = park_now(), next = 0, between = SHORTEST;

    do {
        sched_yield();
        if ((*took = park_now() - begun) == 0) /* an explored thread */
            return 0;
        if (rarer && *took < next)
            continue;
        if (look(arg))
            return 1;
        next = *took + between;
        between *= 2;
    } while (*took < LONGEST);
    return 0;
}

int spin_for(int (*look)(void *arg), void *arg, int rarer)
{
    if (!WITHOUT_GIL || park_green)
        return 0;
    if (spins.left) {
        spins.left--;
        return 0;
    }
    int64_t took;
    int found = look_often(look, arg, rarer, &took), late = took > LATE;
    spins.pause = found && !late ? 0 : spins.pause < SELDOM ? spins.pause * 2 + 1 : SELDOM;
    spins.left = late ? (int)((took < PARK_SECOND ? took : PARK_SECOND) / A_SLEEP) : spins.pause;
    return found;
}
