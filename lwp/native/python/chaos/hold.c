/* Which thread is held, when and for how long, and what is remembered of that.
 *
 * WHO RUNS.  `running` counts the threads that were started since the beginning and neither sleep in a primitive (python_sleep()) nor are
 * held.  A thread in a system call of others counts as running.  When it falls to 0, the held thread of the highest priority goes on at
 * once: to hold it any longer would only cost time.  A few holds are stubborn, and last until their limit whatever the others do: so a
 * timeout of another thread may really pass, as on a machine that is busy.
 *
 * BUDGET.  The credit grows by a SHARE of the time since the beginning.  A hold may last as long as the credit, and takes off what it has
 * lasted; each point takes off what it costs.  So the program is slower by 1 / (1 - SHARE) at most, even if no thread
 * does anything while another one is held.  Where points are rare, as in a program that sleeps, credit is left for long holds. */
#include "python/chaos/chaos.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/registry.h"
#include "python/args.h"
#include "python/reading/names.h"
#include "python/threads/sleep.h"
#include "reading/random.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>

enum { SHARE = 22 };                                           /* percent */
enum { SHORTEST = 40000, LONGEST = 80000000, MOST = 100000000 }; /* ns: of a hold; of the credit */
enum { CALL = 150 };                                           /* ns that a point costs */
enum { STUBBORN = 6 };                                         /* one hold in so many */
enum { DEEPEST = 16 };                                         /* frames of an act */
enum { ACTS = 64 };                                            /* that are remembered */

atomic_long chaos_calls; /* points since the beginning */

static uint64_t seed;
static int64_t begun;
static atomic_llong spent;
static atomic_int session, numbers, running, alive;

/* What is known of a thread.  The creator writes the first three, before the thread exists. */
static __thread struct chaos {
    int session; /* in which the rest was written */
    uint32_t number;
    int counted; /* `running` includes it, except while it is asleep or held */
    struct chaos *child; /* that it is about to make */
    int asleep, quiet;   /* quiet: it is held, or what it does is no point */
    uint64_t random;
    int mean, until; /* points from one hold to the next: on average, and left */
    PyObject *target; /* borrowed: what it runs, as EVENT_TARGET told it */
    int is_thread;
    atomic_int word; /* 1: it was held and may go on */
    int stubborn;
    struct chaos *next, **link; /* of all that are held */
} me;

static atomic_int lock; /* of the list, and of the acts; held for a few instructions */
static struct chaos *held;

/* ---- who runs ---------------------------------------------------------------------------------------------------- */

/* Under the lock: its thread can't end meanwhile. */
static void let_go_on(struct chaos *thread)
{
    atomic_store(&thread->word, 1);
    park_wake(&thread->word, 1, PARK_PRIVATE);
}

static void let_highest_go_on(void)
{
    struct chaos *highest = NULL;

    park_lock(&lock);
    for (struct chaos *one = held; one; one = one->next)
        if (!one->stubborn && !atomic_load(&one->word) && (!highest || one->mean > highest->mean))
            highest = one;
    if (highest)
        let_go_on(highest);
    park_unlock(&lock);
}

static void let_all_go_on(void)
{
    park_lock(&lock);
    for (struct chaos *one = held; one; one = one->next)
        let_go_on(one);
    park_unlock(&lock);
}

static void stop_running(void)
{
    if (atomic_fetch_sub(&running, 1) == 1)
        let_highest_go_on();
}

static struct chaos *chaos_mine(void)
{
    int now = atomic_load_explicit(&session, memory_order_relaxed);

    if (me.session != now) /* started before the beginning, or not by us */
        me = (struct chaos){.session = now, .number = (uint32_t)atomic_fetch_add(&numbers, 1)};
    if (!me.mean) {
        me.random = seed + me.number * 0x9e3779b97f4a7c15;
        random_next_word(&me.random);
        me.mean = 8 << random_next_word(&me.random) % 4;
        me.until = 1 + (int)(random_next_word(&me.random) % (uint64_t)(2 * me.mean));
    }
    return &me;
}

/* The caller is about to start it.  A process with memory of its own ends without our notice. */
static void note_start(void *tp, const struct lwp *lwp)
{
    struct chaos *child = arch_tls_of(tp, &me);

    chaos_mine()->child = NULL;
    if (!(lwp->flags & CLONE_VM))
        return;
    *child = (struct chaos){.session = atomic_load(&session), .number = (uint32_t)atomic_fetch_add(&numbers, 1), .counted = 1};
    chaos_mine()->child = child;
    atomic_fetch_add(&running, 1);
    atomic_fetch_add(&alive, 1);
}

static void note_end(struct chaos *thread)
{
    if (!thread->counted)
        return;
    thread->counted = 0;
    atomic_fetch_sub(&alive, 1);
    stop_running();
}

static void hear_event(enum event event, uint64_t a, uint64_t b)
{
    if (me.session != atomic_load_explicit(&session, memory_order_relaxed) && event != EVENT_STARTS)
        return;
    switch (event) {
    case EVENT_STARTS:
        note_start((void *)a, (const struct lwp *)b);
        break;
    case EVENT_CLONED:
        if ((int64_t)a < 0 && me.child)
            note_end(me.child);
        break;
    case EVENT_TARGET:
        me.target = (PyObject *)a;
        me.is_thread = (int)b;
        break;
    case EVENT_BLOCKED:
    case EVENT_SLEEPS:
        if (me.counted && !me.quiet && !me.asleep) {
            me.asleep = 1;
            stop_running();
        }
        break;
    case EVENT_WANTS_GIL:
        if (me.asleep) {
            me.asleep = 0;
            atomic_fetch_add(&running, 1);
        }
        break;
    case EVENT_LEAVES_GIL:
        me.target = NULL;
        note_end(&me);
        break;
    default:
        break;
    }
}

/* ---- what was done ----------------------------------------------------------------------------------------------- */

/* References, or NULL, are: the thread's name, the type of what the operation is done to, and [(code, line), ...], the innermost first. */
struct act {
    int64_t when, lasted; /* lasted: -1, it lasts */
    uint32_t thread, nth; /* nth: the number in a name such as Thread-7 */
    enum chaos_kind kind;
    const char *what;
    PyObject *name, *type, *stack;
};
static struct act acts[ACTS]; /* under the lock */
static unsigned long count;

static void drop_act(const struct act *act)
{
    Py_XDECREF(act->name);
    Py_XDECREF(act->type);
    Py_XDECREF(act->stack);
}

/* Returns the act's number. */
static unsigned long begin_act(const struct chaos_place *place)
{
    struct act act = {park_now(), -1, me.number, 0, place->kind, place->what}, former;

    if (me.target)
        act.nth = name_of_thread(me.target, me.is_thread, &act.name);
    act.type = place->object ? Py_NewRef(Py_TYPE(place->object)) : NULL;
    act.stack = list_calls(PyThreadState_GetFrame(PyThreadState_Get()), DEEPEST);
    PyErr_Clear();
    park_lock(&lock);
    unsigned long number = count++;
    former = acts[number % ACTS];
    acts[number % ACTS] = act;
    park_unlock(&lock);
    drop_act(&former);
    return number;
}

static void end_act(unsigned long number)
{
    park_lock(&lock);
    if (count - number <= ACTS && number < count)
        acts[number % ACTS].lasted = park_now() - acts[number % ACTS].when;
    park_unlock(&lock);
}

static void forget_acts(void)
{
    struct act former[ACTS];

    park_lock(&lock);
    memcpy(former, acts, sizeof acts);
    memset(acts, 0, sizeof acts);
    count = 0;
    park_unlock(&lock);
    for (int i = 0; i < ACTS; i++)
        drop_act(&former[i]);
}

static PyObject *told_act(const struct act *act, int64_t now)
{
    return Py_BuildValue("(LLIIisOOO)", (long long)(now - act->when), (long long)act->lasted, act->thread, act->nth, (int)act->kind,
                         act->what ? act->what : "", act->name ? act->name : Py_None, act->type ? act->type : Py_None,
                         act->stack ? act->stack : Py_None);
}

PyObject *chaos_tell(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    int64_t now = park_now();

    for (unsigned long i = count > ACTS ? count - ACTS : 0; list && i < count; i++) {
        park_lock(&lock);
        struct act act = acts[i % ACTS];
        Py_XINCREF(act.name);
        Py_XINCREF(act.type);
        Py_XINCREF(act.stack);
        park_unlock(&lock);
        append_to(&list, told_act(&act, now));
        drop_act(&act);
    }
    return list ? Py_BuildValue("(NkL)", list, count, (long long)atomic_load(&spent)) : NULL;
}

/* ---- holding ----------------------------------------------------------------------------------------------------- */

static int64_t credit_at(int64_t now)
{
    int64_t left = (now - begun) / 100 * SHARE - atomic_load(&spent) - atomic_load_explicit(&chaos_calls, memory_order_relaxed) * CALL;

    if (left > MOST) { /* what isn't used is lost: a program that was quiet for long isn't stopped for long */
        atomic_fetch_add(&spent, left - MOST);
        return MOST;
    }
    return left;
}

/* Between the shortest and `most`, on a scale by powers. */
static int64_t choose_length(int64_t most)
{
    double part = (double)(random_next_word(&me.random) >> 11) / (double)(1ull << 53);

    return (int64_t)(SHORTEST * pow((double)(most < LONGEST ? most : LONGEST) / SHORTEST, part));
}

static int wait_until_let_go(void *deadline)
{
    int result = 0;

    while (!atomic_load(&me.word) && result == 0)
        result = park_wait(&me.word, 0, *(int64_t *)deadline, PARK_PRIVATE);
    return 0; /* after a signal it goes on: its handler is to run */
}

static void list_me(void)
{
    park_lock(&lock);
    me.next = held;
    me.link = &held;
    if (held)
        held->link = &me.next;
    held = &me;
    park_unlock(&lock);
}

static void unlist_me(void *unused)
{
    park_lock(&lock);
    if ((*me.link = me.next))
        me.next->link = me.link;
    park_unlock(&lock);
}

static void sleep_listed(int64_t ns)
{
    int64_t deadline = park_now() + ns;

    atomic_store(&me.word, 0);
    me.stubborn = random_next_word(&me.random) % STUBBORN == 0 || atomic_load_explicit(&alive, memory_order_relaxed) < 2;
    list_me();
    if (me.counted)
        stop_running();
    pthread_cleanup_push(unlist_me, NULL); /* once the interpreter has ended, taking the GIL is pthread_exit */
    python_sleep(&(struct python_sleep){wait_until_let_go, &deadline, .what = "chaos", .no_point = 1});
    pthread_cleanup_pop(1);
    if (me.counted && me.session == atomic_load(&session))
        atomic_fetch_add(&running, 1);
}

int64_t chaos_due(enum chaos_kind kind)
{
    struct chaos *thread = chaos_mine();

    if (thread->quiet || --thread->until > 0)
        return 0;
    thread->until = 1 + (int)(random_next_word(&thread->random) % (uint64_t)(2 * thread->mean));
    if (kind != CHAOS_TURN && atomic_load_explicit(&alive, memory_order_relaxed) < 2)
        return 0;
    int64_t most = credit_at(park_now());
    return most < SHORTEST ? 0 : choose_length(most);
}

int chaos_may_hold(void)
{
    return !chaos_mine()->quiet && atomic_load_explicit(&alive, memory_order_relaxed) > 1 && credit_at(park_now()) >= SHORTEST;
}

void chaos_hold(int64_t ns, const struct chaos_place *place)
{
    me.quiet = 1;
    unsigned long number = begin_act(place);
    int64_t since = park_now();
    sleep_listed(ns);
    atomic_fetch_add(&spent, park_now() - since);
    end_act(number);
    me.quiet = 0;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

void chaos_holds_begin(uint64_t number)
{
    seed = number;
    atomic_fetch_add(&session, 1);
    atomic_store(&numbers, 0);
    atomic_store(&running, 1);
    atomic_store(&alive, 1 + (int)registry_alive()); /* those from before aren't counted in `running` */
    atomic_store(&spent, 0);
    atomic_store(&chaos_calls, 0);
    forget_acts();
    begun = park_now();
    chaos_mine()->counted = 1;
    events_begin(EVENTS_CHAOS, hear_event);
}

void chaos_holds_end(void)
{
    events_end(EVENTS_CHAOS);
    let_all_go_on();
    forget_acts();
}

void chaos_holds_after_fork(void)
{
    events_end(EVENTS_CHAOS);
    held = NULL;
    atomic_store(&lock, 0);
}
