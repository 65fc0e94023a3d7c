#include "green/foreign.h"

#include "green/carrier.h"
#include "green/switch.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>

enum {
    PLACES = 1024,
    TRIES = 8,
    HAND_OVER = 5000, /* ns: what it costs to wake another LWP for a call that returns at once */
};

/* Where C code of others gives up the GIL.  Kept for good: the code could only be unloaded by dlclose(3), which CPython never calls. */
struct foreign_place {
    const void *_Atomic code;
    const char *_Atomic function, *_Atomic library; /* what foreign_seen has; NULL: not yet */
    atomic_int expected; /* so many of the next calls are expected to block.  Relaxed: it is a guess */
    atomic_long blocked; /* how often it has */
    atomic_llong ns;     /* for how long in all */
};
static struct foreign_place places[PLACES];

/* The thread that finds the place does it, without the GIL: dladdr(3) waits for the linker's lock, which a thread that wants the GIL may have.
 * dladdr(3) gives the exported function before the address, whatever its size. */
static __attribute__((cold, noinline)) void find_names(struct foreign_place *place, const void *code)
{
    const ElfW(Sym) *symbol = NULL;
    Dl_info info = {0};
    int known = dladdr1(code, &info, (void **)&symbol, RTLD_DL_SYMENT);
    int inside = known && info.dli_sname && symbol && (uintptr_t)code - (uintptr_t)info.dli_saddr < symbol->st_size;

    atomic_store(&place->function, inside ? info.dli_sname : "");
    atomic_store(&place->library, known ? info.dli_fname : "");
}

/* NULL: the table is full. */
static struct foreign_place *place_of(const void *code)
{
    size_t hash = ((uintptr_t)code * UINT64_C(0x9E3779B97F4A7C15)) >> 54;

    for (size_t i = hash; i < hash + TRIES; i++) {
        struct foreign_place *place = &places[i % PLACES];
        const void *found = atomic_load_explicit(&place->code, memory_order_relaxed);
        if (found == code)
            return place;
        if (!found && atomic_compare_exchange_strong(&place->code, &found, code)) {
            find_names(place, code);
            return place;
        }
        if (found == code) /* another thread was first */
            return place;
    }
    return NULL;
}

/* A call that blocks unexpectedly costs the others a time slice, if there are others.  So after it, for as many calls as cost a slice
 * if they are handed over in vain, all calls from there are expected to block: whatever comes, at most twice is lost of what the right
 * guesses would have cost. */
static int as_many_as_cost_a_slice(const struct scheduler *s)
{
    int64_t calls = (s->slice ? s->slice : TICK) / HAND_OVER;

    return calls < 1 ? 1 : calls < INT_MAX ? (int)calls : INT_MAX;
}

static void learn_from_call(struct green *me)
{
    struct foreign_place *place = atomic_load_explicit(&me->in_c, memory_order_relaxed);
    int64_t since = atomic_load_explicit(&me->in_c_since, memory_order_relaxed);

    if (since <= 0)
        return;
    int64_t ns = park_now() - since;
    int expected = atomic_load_explicit(&place->expected, memory_order_relaxed), blocked = ns > BLOCKS;
    if (blocked) {
        atomic_fetch_add_explicit(&place->blocked, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&place->ns, ns, memory_order_relaxed);
    }
    if (blocked && carrier_others_go_on(me->scheduler, me->in_c_moves))
        atomic_store_explicit(&place->expected, as_many_as_cost_a_slice(me->scheduler), memory_order_relaxed);
    else if (expected)
        atomic_store_explicit(&place->expected, expected - 1, memory_order_relaxed);
}

static struct foreign_seen see_place(struct foreign_place *place)
{
    const char *function = atomic_load(&place->function), *library = atomic_load(&place->library);

    return (struct foreign_seen){function ? function : "", library ? library : ""};
}

void foreign_blocked(void (*see)(const struct foreign_seen *place, long times, int64_t ns, void *arg), void *arg)
{
    for (int i = 0; i < PLACES; i++) {
        long times = atomic_load_explicit(&places[i].blocked, memory_order_relaxed);
        struct foreign_seen place = see_place(&places[i]);
        if (times)
            see(&place, times, atomic_load_explicit(&places[i].ns, memory_order_relaxed), arg);
    }
}

int64_t foreign_since(void *tp, struct foreign_seen *place)
{
    struct green *green = *green_of(tp);
    int64_t since = green ? atomic_load_explicit(&green->in_c_since, memory_order_acquire) : 0;

    if (since)
        *place = see_place(atomic_load_explicit(&green->in_c, memory_order_relaxed));
    return since < 0 ? -since : since;
}

/* Whether the scheduler has several LWPs, so that one can take the place of another. */
static int has_places(const struct scheduler *s)
{
    return s->lwps > 1 && !s->policy;
}

/* Without the lock: the answer may be old, except that a thread learns in time that its own LWP has got the place. */
static int runs_on_runner(const struct green *me)
{
    return __atomic_load_n(&me->scheduler->runner, __ATOMIC_RELAXED) == me->carrier;
}

static void be_in_c(struct green *me, int runs)
{
    int64_t now = runs ? park_now() : -park_clock(CLOCK_MONOTONIC_COARSE);

    me->in_c_moves = __atomic_load_n(&me->scheduler->moves, __ATOMIC_RELAXED);
    atomic_store_explicit(&me->in_c_since, now, memory_order_release); /* foreign_since() then sees the place, too */
}

void foreign_enter(const void *code)
{
    struct green *me = park_green;
    struct foreign_place *place = has_places(me->scheduler) ? place_of(code) : NULL;

    if (!place)
        return;
    atomic_store_explicit(&me->in_c, place, memory_order_relaxed);
    int runs = runs_on_runner(me);
    be_in_c(me, runs);
    if (runs && atomic_load_explicit(&place->expected, memory_order_relaxed))
        carrier_enters_c(me->carrier);
}

int foreign_leave(void)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;

    learn_from_call(me);
    atomic_store_explicit(&me->in_c_since, 0, memory_order_relaxed);
    if (has_places(s) && (!runs_on_runner(me) || atomic_load(&s->idle) == IDLE_IN_C))
        return carrier_leaves_c(me->carrier);
    return 0;
}

int foreign_is_in_c(void)
{
    struct green *me = park_green;

    return me && atomic_load_explicit(&me->in_c_since, memory_order_relaxed);
}

int foreign_wait(struct pollfd *files, int count, int64_t deadline)
{
    struct green *me = park_green;
    int saved = errno;

    (void)foreign_leave(); /* with the runner's place again, if it is free, the wait needs no other LWP */
    be_in_c(me, 0); /* for foreign_since(); nothing is learnt from the wait */
    carrier_begins_wait_in_c(me->scheduler);
    int result = green_wait_fds(files, count, deadline);
    carrier_ends_wait_in_c(me->scheduler);
    be_in_c(me, runs_on_runner(me));
    errno = saved;
    return result;
}
