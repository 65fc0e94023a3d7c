/* What each thread waits for: a reader of its own events, from the moment when it falls asleep until it has the GIL again. */
#include "python/observe/locks/waiting.h"

#include "kernel/base/events.h"
#include "python/observe/locks/delays.h"
#include "python/observe/locks/stacks.h"
#include "python/reading/sites.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"
#include "python/threads/lwp.h"
#include "python/threads/sleep.h"

#include <errno.h>

atomic_int waiting_counts;
int64_t waiting_begun;
static atomic_int generation;
static PyObject *before; /* ident -> what the thread waits for, of threads that waited at the beginning */

static __thread struct {
    int generation; /* of an earlier one the rest means nothing */
    int result; /* of its sleep */
    struct delays *row; /* that it sleeps for; it has a reference to the object, so the row stays */
    int64_t wanted; /* the GIL, after the sleep */
    int64_t counted, ns; /* the beginning of a wait that has counted with so many, and may go on; or 0 */
    const struct delays *took; /* its last wait took this lock, which has counted; NULL: its call has told that too */
} me;

static struct delays *row_of(PyObject *object)
{
    int is_primitive = !PyObject_TypeCheck(object, lwp_type) && !PyTuple_Check(object) && !PyCallable_Check(object);
    return is_primitive ? delays_of_object(object) : delays_of_site(object, site_current());
}

void waiting_begin(PyObject *object)
{
    me.took = NULL;
    if (!(me.row = row_of(object)))
        return;
    if (!me.row->waits.site)
        me.row->waits.site = site_current();
    if (++me.row->waits.now > me.row->waits.most)
        me.row->waits.most = me.row->waits.now;
}

/* sleeps: the thread is waking up, so what it waited for at the beginning is what it has waited for until now, unless its sleep had
 * ended by then.  Nobody has heard how, and it may go on: then it would count as one more. */
void waiting_be_current(int sleeps)
{
    if (me.generation == generation)
        return;
    int64_t wanted = me.wanted;
    int result = me.result;
    memset(&me, 0, sizeof me);
    me.generation = generation;
    me.wanted = wanted; /* of this generation already */
    me.result = result;
    PyObject *ident = PyLong_FromUnsignedLong(my_ident()), *known = ident && before ? PyDict_GetItemWithError(before, ident) : NULL;
    if (known && sleeps && wanted >= waiting_begun)
        waiting_begin(known);
    Py_XDECREF(ident);
    PyErr_Clear();
}

/* A new thread, whose ident may be that of one in `before` that has ended. */
void waiting_new_thread(void)
{
    memset(&me, 0, sizeof me);
    me.generation = generation;
}

static int64_t time_between(int64_t since, int64_t until)
{
    int64_t ns = until - (since > waiting_begun ? since : waiting_begun);
    return ns > 0 ? ns : 0;
}

static int is_taken(PyTypeObject *type)
{
    return type == lock_type || PyType_IsSubtype(type, rlock_type) || PyType_IsSubtype(type, semaphore_type);
}

/* The end of a wait counts as a taking, because a call that was under way at the beginning doesn't lead to note_taken(). */
void waiting_count_taking(struct delays *row)
{
    if (me.took == row)
        me.took = NULL;
    else
        row->taken++;
}

/* It would find so before it slept again. */
static int is_granted_by_now(void)
{
    return my_wait.place && !my_wait.place->any && sync_place_granted(my_wait.place);
}

/* A wait that ends by EINTR or EAGAIN goes on, or raises, unless what it waits for was granted while it took the GIL.  It counts at once,
 * because its object may be gone after that; if it goes on, take_back() takes back what has counted. */
static void end_wait(void)
{
    struct delays *row = me.row;
    int64_t since = my_wait.since, ns = time_between(since, me.wanted);

    me.row = NULL;
    if (!row)
        return;
    row->waits.now--;
    delays_waited(row, ns);
    if ((me.result == EINTR || me.result == EAGAIN) && is_granted_by_now())
        me.result = 0;
    me.counted = me.result == EINTR || me.result == EAGAIN ? since : 0;
    me.ns = ns;
    if (me.counted)
        return;
    stacks_count(STACK_WAITS, row, ns);
    if (me.result != 0)
        return;
    if (is_taken(row->type)) {
        row->taken++;
        me.took = row;
    }
}

/* A wait that goes on has not ended, and such waits are counted by facts() in lwp/observe/locks.py. */
static void take_back(void)
{
    if (me.row && me.counted && me.counted == my_wait.since)
        delays_waited_not(me.row, me.ns);
    me.counted = 0;
}

void waiting_falls_asleep(PyObject *object)
{
    struct quiet quiet = sites_quiet();

    if (waiting_counts) {
        waiting_be_current(0);
        waiting_begin(object);
        take_back();
    }
    sites_go_on(&quiet);
}

void waiting_is_awake(void)
{
    if (me.generation == generation && !me.row)
        return;
    struct quiet quiet = sites_quiet();
    if (waiting_counts) {
        waiting_be_current(1);
        end_wait();
    }
    sites_go_on(&quiet);
}

void waiting_wants_gil(int result)
{
    me.result = result;
    me.wanted = park_now();
}

int64_t waiting_wanted_gil(void)
{
    return me.wanted;
}

void waiting_end_call(int64_t since)
{
    struct delays *row = waiting_counts && me.generation == generation ? me.row : NULL;

    if (row) {
        int64_t ns = time_between(since, park_now());
        row->waits.now--;
        delays_waited(row, ns);
        stacks_count(STACK_WAITS, row, ns);
    }
    me.row = NULL;
}

PyObject *waiting_begin_anew(PyObject *waited_for)
{
    PyObject *former = before;

    before = Py_XNewRef(waited_for);
    atomic_fetch_add(&generation, 1);
    waiting_begun = park_now();
    atomic_store(&waiting_counts, waited_for != NULL);
    if (waited_for)
        waiting_be_current(0);
    return former;
}
