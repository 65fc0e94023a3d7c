/* A thread looks a few times more before it sleeps.
 *
 * A thread on another processor often frees a lock, or grants, within a microsecond, but to wake a sleeper takes five to ten.  So a thread looks
 * at its word for as long as a wake-up takes twice.  With a GIL it has given that up first, and then looks at the GIL too, because the waker
 * needs it until it sleeps itself.  Two threads on two processors take turns in 1 to 3 us, almost without system calls, where threading
 * takes 40 (docs/measured/threading.md).
 *
 *   1. With a GIL each thread that takes it says where it runs, and a thread that finds that the holder before it ran where it runs itself
 *      sleeps at once.  Otherwise two threads on one processor took up to half as long again.
 *   2. A thread that has spun in vain sleeps at once the next time; after a second spin in vain the next three times, and so on up to
 *      SELDOM.  A thread that waits half a millisecond for each item of a queue used 45 us of processor time for it, and so uses 16.
 *   3. After a spin that took longer than LATE, because the processor was taken away, a thread sleeps at once as many times as would have
 *      fitted into the spin: a turn takes at most twice as long as if each wait were a sleep.
 *   4. With a GIL, a thread that has not slept for AWAKE yields its processor once.  Otherwise neither is idle for a moment, and a third
 *      thread that is due on one of them waits for a time slice, 1 to 4 ms.  A sleep in place of the yield did not help: the other thread
 *      acts before it has begun.
 *   5. A thread that sleeps for the GIL comes first: as long as there is one (gil_crowd.c counts them), a thread that looks leaves the GIL to it.
 *      Otherwise the two give the GIL to each other before the third, woken, runs.
 *
 * Where there is no GIL a thread yields between two looks: threads that wait may be more than the processors, and on one processor a yield is
 * a turn of the other thread.  (With a GIL each yield would be a turn of a thread that computes.)  At a lock the time between two looks
 * doubles there: if threads that want one lock looked after each yield, they would take it in turns, and each turn brings the lock's line
 * from one processor's cache to the other's: two threads took up to 1.6 times as long.
 *
 * What is read of the GIL and of the words is a guess: a thread that has looked goes on as if it had not.  A green thread doesn't look: it
 * leaves its LWP to the next one.  An explored thread doesn't either, because each look would be a step of the run; its clock stands still,
 * by which it is known here. */
#include "python/threads/spin.h"

#include "kernel/base/park.h"
#include "python/compat.h"
#include "python/room.h"
#include "python/threads/gil_crowd.h"
#include "python/threads/gil_state.h"

#include <sched.h>

enum {
    SHORTEST = 500, /* ns between two looks at a lock, at first */
    /* ns of looking.  With a GIL: in 5000 the two threads don't find each other, and 40000 are no better. */
    LONGEST = WITHOUT_GIL ? 40000 : 20000,
    LATE = 2 * LONGEST,
    AWAKE = 100000, /* ns.  With 50000 a third thread is no earlier, with 800000 it is late: 99 of 100 times by 0.8 ms at most, not 0.3 */
    A_SLEEP = 10000, /* ns that it takes */
    MOST = 30000, /* sleeps after one spin */
    SELDOM = 31,
};

enum at { AT_WORD, AT_GIL };

/* Of the calling thread.  Small, because each thread of a process pays for it in its static TLS. */
static __thread struct {
    int64_t awake; /* since when it has neither slept nor yielded; 0: it has just slept */
    short left[2]; /* how many sleeps without a spin still come, of those after the last spin in vain */
    unsigned char pause[2]; /* how many these were; 0: the last spin was not in vain */
    short before_me; /* the processor of the GIL's holder before this thread; -1: not known, or of another GIL */
} spins = {.before_me = -1};
static atomic_int holder; /* the processor on which the GIL was taken last.  Only a guess, so relaxed */
static uintptr_t gil[2];

static void pause_briefly(void)
{
    if (WITHOUT_GIL)
        sched_yield();
    else
#ifdef __x86_64__
        __builtin_ia32_pause();
#else
        __asm__ volatile("yield");
#endif
}

/* Returns whether a look succeeded.  *took: the spin's ns. */
static int look_often(int (*look)(void *arg), void *arg, int rarer, int64_t begun, int64_t *took)
{
    int64_t next = 0, between = SHORTEST;

    do {
        pause_briefly();
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

/* other: the processor of the thread that is waited for. */
static int may_spin(enum at at, int other)
{
    if (park_green || park_time)
        return 0;
    if (spins.left[at]) {
        spins.left[at]--;
        spins.awake = 0;
        return 0;
    }
    return WITHOUT_GIL || (other >= 0 && other != sched_getcpu());
}

static int look_for_a_while(enum at at, int (*look)(void *arg), void *arg, int rarer)
{
    int64_t begun = park_now(), took;

    int tired = !WITHOUT_GIL && spins.awake && begun - spins.awake > AWAKE;
    if (tired)
        sched_yield();
    if (tired || !spins.awake)
        spins.awake = begun;
    int found = look_often(look, arg, rarer, begun, &took), late = took > LATE, pause = spins.pause[at];
    if (!found)
        spins.awake = 0;
    pause = found && !late ? 0 : pause < SELDOM ? pause * 2 + 1 : SELDOM;
    spins.pause[at] = (unsigned char)pause;
    spins.left[at] = (short)(!late ? pause : took < A_SLEEP * MOST ? took / A_SLEEP : MOST);
    return found;
}

int spin_may(void)
{
    return may_spin(AT_WORD, spins.before_me);
}

int spin_for(int (*look)(void *arg), void *arg, int rarer)
{
    return look_for_a_while(AT_WORD, look, arg, rarer && WITHOUT_GIL);
}

/* ---- at the GIL -------------------------------------------------------------------------------------------------- */

static int is_free(void *at)
{
    return !gil_crowd_sleepers() && gil_is_free(at);
}

void spin_for_gil(void)
{
    void *at = (void *)gil[0];
    int other = atomic_load_explicit(&holder, memory_order_relaxed);

    if (spins.before_me < 0 || other == sched_getcpu() || is_free(at))
        return;
    if (may_spin(AT_GIL, other) && gil_crowd_begins() == 0)
        look_for_a_while(AT_GIL, is_free, at, 0);
}

void spin_has_gil(void)
{
    if (WITHOUT_GIL || park_green)
        return;
    int me = sched_getcpu(), before = atomic_load_explicit(&holder, memory_order_relaxed);
    uintptr_t mine[2];
    gil_place(mine);
    spins.before_me = mine[0] == gil[0] ? (short)before : -1;
    if (mine[0] == gil[0] && before != me)
        atomic_store_explicit(&holder, me, memory_order_relaxed);
}

static int add_spin(PyObject *Py_UNUSED(module))
{
    gil_place(gil);
    holder = sched_getcpu();
    return 0;
}

const struct entries entries_spin = {.add = add_spin};
