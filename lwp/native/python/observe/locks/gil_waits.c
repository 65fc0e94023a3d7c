#include "python/observe/locks/gil_waits.h"

#include "green/replace.h"
#include "kernel/base/park.h"
#include "python/python.h"
#include "python/sync/serial.h"
#include "python/threads/gil_crowd.h"
#include "python/threads/gil_state.h"
#include "python/room.h"
#include "reading/inspect.h"

#include <pthread.h>
#include <string.h>

static atomic_int wanted;
static struct gil_waits sums;
static uintptr_t gil[2];
static const unsigned long *interval; /* in microseconds */
static struct libc_slot slot;
static atomic_uint beginnings; /* a wait from before the last one is not counted */

/* The calling thread's wait; since 0: it has none. */
static __thread struct {
    unsigned beginning; /* its number */
    int64_t since;
    struct gil_holder holder; /* at its beginning */
} wait;

/* ---- the line of the thread that has kept the GIL ------------------------------------------------------------------
 *
 * A thread that was asked for the GIL sleeps, once it has let it go, until another has taken it (Python/ceval_gil.c, drop_gil), in
 * pthread_cond_wait() and with switch_mutex, under which the count of switches changes.  So there it says where it is.  The thread that
 * takes the GIL finds meanwhile that it was kept; the later of the two puts both together. */
static atomic_int lines; /* a lock; order: docs/architecture.md */
static struct {
    unsigned long switches;
    char line[sizeof sums.line];
} dropped;
static unsigned long kept_at; /* switches, of the longest wait */
/* The latest that others have waited for, for longer than a sleep.  With the GIL's mutex. */
static unsigned long keeper_switches, keeper_serial;

static int wait_for_taker(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if ((uintptr_t)cond - gil[0] < gil[1] - gil[0] && atomic_load_explicit(&wanted, memory_order_relaxed)) {
        park_lock(&lines);
        dropped.switches = gil_holder((const void *)gil[0]).switches;
        gil_my_line(dropped.line, sizeof dropped.line);
        if (sums.kept && kept_at == dropped.switches)
            memcpy(sums.line, dropped.line, sizeof sums.line);
        park_unlock(&lines);
    }
    return pthread_cond_wait(cond, mutex);
}

/* The GIL's holder can't end meanwhile.  CPython 3.11 may name another thread, which has ended: so its memory is copied. */
static void note_keeper(struct gil_holder now)
{
    uintptr_t place = now.ident + (uintptr_t)wait_offset + offsetof(struct wait, serial);

    if (!now.ident || keeper_switches == now.switches)
        return;
    keeper_switches = now.switches;
    if (inspect_copy_memory(&keeper_serial, place, sizeof keeper_serial) != 0)
        keeper_serial = 0;
}

static void count_kept(int64_t ns)
{
    park_lock(&lines);
    sums.kept++;
    sums.kept_ns += ns;
    if (ns > sums.kept_longest) {
        sums.kept_longest = ns;
        sums.keeper = wait.holder.ident;
        kept_at = wait.holder.switches;
        sums.serial = keeper_switches == kept_at ? keeper_serial : 0;
        sums.line[0] = 0;
        if (dropped.switches == kept_at)
            memcpy(sums.line, dropped.line, sizeof sums.line);
    }
    park_unlock(&lines);
}

/* ---- waits ------------------------------------------------------------------------------------------------------- */

static void gil_waits_sleeps(void)
{
    unsigned beginning = atomic_load_explicit(&beginnings, memory_order_relaxed);

    if (wait.since && wait.beginning == beginning)
        return;
    (void)my_serial(); /* by which it is known if it keeps the GIL then */
    wait.beginning = beginning;
    wait.since = park_now();
    wait.holder = gil_holder((const void *)gil[0]);
    if (++sums.now > sums.most)
        sums.most = sums.now;
}

static void gil_waits_slept(void)
{
    struct gil_holder now = gil_holder((const void *)gil[0]);

    if (now.held)
        note_keeper(now);
    if (now.held || !wait.since)
        return;
    int64_t ns = park_now() - wait.since;
    wait.since = 0;
    if (wait.beginning != atomic_load_explicit(&beginnings, memory_order_relaxed))
        return;
    if (sums.now)
        sums.now--;
    sums.count++;
    sums.ns += ns;
    if (ns > sums.longest)
        sums.longest = ns;
    sums.histogram[histogram_bucket(ns)]++;
    if (wait.holder.ident && now.switches == wait.holder.switches && ns >= 2000 * (int64_t)*interval)
        count_kept(ns);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* Finds what is to be replaced. */
static int add_gil_waits(PyObject *Py_UNUSED(module))
{
    slot = libc_slot_of((void *)PyEval_RestoreThread, "pthread_cond_wait");
    interval = gil_switch_interval();
    gil_place(gil);
    return 0;
}

void gil_waits_begin(void)
{
    static const struct gil_reader reader = {gil_waits_sleeps, gil_waits_slept};
    static int filled;

    if (!filled)
        (void)libc_fill_slot(&slot, wait_for_taker); /* if it can't be replaced, lines are not known */
    filled = 1;
    park_lock(&lines);
    memset(&sums, 0, sizeof sums);
    memset(&dropped, 0, sizeof dropped);
    atomic_fetch_add(&beginnings, 1);
    park_unlock(&lines);
    atomic_store(&wanted, 1);
    atomic_store(&gil_reader, &reader);
}

void gil_waits_end(void)
{
    atomic_store(&gil_reader, NULL);
    atomic_store(&wanted, 0);
}

struct gil_waits gil_waits_read(void)
{
    park_lock(&lines);
    struct gil_waits found = sums;
    park_unlock(&lines);
    return found;
}

static void gil_waits_after_fork(void)
{
    gil_waits_end();
    atomic_store(&lines, 0);
    sums.now = 0;
}

const struct entries entries_gil_waits = {.add = add_gil_waits, .after_fork = gil_waits_after_fork};
