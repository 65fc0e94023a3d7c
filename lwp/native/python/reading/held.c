#include "python/reading/held.h"

#include "kernel/base/events.h"
#include "python/args.h"
#include "python/reading/sites.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"

static __thread struct holder *mine;
static __thread int mine_of; /* the `generation` that `mine` belongs to */
static struct holder *holders;
static int generation = 1; /* another one once the last reader has gone */
static const struct held_reader *readers[HELD_READERS];
static int wants_time;

int held_is_stock(PyObject *object)
{
    return Py_IS_TYPE(object, stock_lock_type) || PyObject_TypeCheck(object, stock_rlock_type);
}

static int is_rlock(PyObject *lock)
{
    return !Py_IS_TYPE(lock, lock_type) && !Py_IS_TYPE(lock, stock_lock_type);
}

/* ---- what a thread holds ----------------------------------------------------------------------------------------- */

struct holder *held_known(void)
{
    return mine_of == generation ? mine : NULL;
}

struct holder *held_mine(void)
{
    if (held_known() || !(mine = PyMem_RawCalloc(1, sizeof *mine)))
        return mine;
    mine_of = generation;
    mine->next = holders;
    mine->link = &holders;
    if (holders)
        holders->link = &mine->next;
    return holders = mine;
}

static int held_at(const struct holder *holder, PyObject *lock)
{
    int at = holder ? holder->count : 0;

    while (--at >= 0 && holder->held[at].lock != lock)
        ;
    return at;
}

/* The caller drops the reference after sites_go_on(), because that may run callbacks of the program. */
static struct held remove_at(struct holder *holder, int at)
{
    struct held former = holder->held[at];

    memmove(&holder->held[at], &holder->held[at + 1], sizeof *holder->held * (size_t)(--holder->count - at));
    return former;
}

static int is_read(void)
{
    for (int i = 0; i < HELD_READERS; i++)
        if (readers[i])
            return 1;
    return 0;
}

static void note_taken(PyObject *lock, int surely, long depth)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = is_read() ? held_mine() : NULL; /* the thread may have waited until after the end */
    struct held former = {0};
    int at = held_at(me, lock);

    if (at >= 0 && is_rlock(lock) && me->held[at].depth) {
        me->held[at].depth += depth;
        sites_go_on(&quiet);
        return;
    }
    if (at >= 0) /* its release was not seen: by C code, or by _at_fork_reinit() */
        former = remove_at(me, at);
    uint32_t site = me ? site_current() : 0;
    for (int i = 0; me && i < HELD_READERS; i++)
        if (readers[i])
            readers[i]->taken(me, lock, site, surely);
    if (me && me->count < HELD_DEEPEST)
        me->held[me->count++] = (struct held){Py_NewRef(lock), site, depth, wants_time ? park_now() : 0};
    else if (me)
        me->unlisted++;
    sites_go_on(&quiet);
    Py_XDECREF(former.lock);
}

/* A lock that one thread takes and another one releases is a signal between the two: nobody has held it. */
static struct held note_released_elsewhere(PyObject *lock)
{
    struct held former = {0};

    for (struct holder *one = holders; one && !former.lock; one = one->next) {
        int at = held_at(one, lock);
        if (at >= 0)
            former = remove_at(one, at);
    }
    for (int i = 0; former.lock && i < HELD_READERS; i++)
        if (readers[i] && readers[i]->released_elsewhere)
            readers[i]->released_elsewhere(lock);
    return former;
}

/* depth: how many of an RLock's acquires are undone; 0: all, and returned. */
static long note_released(PyObject *lock, long depth, int is_rlock)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = held_known();
    struct held former = {0};
    int at = held_at(me, lock);
    long before = me && at >= 0 ? me->held[at].depth : 1;

    if (me && at >= 0 && depth && before > depth)
        me->held[at].depth -= depth;
    else if (me && at >= 0) {
        former = remove_at(me, at);
        for (int i = 0; i < HELD_READERS; i++)
            if (readers[i] && readers[i]->released)
                readers[i]->released(&former);
    } else if (me && me->unlisted)
        me->unlisted--;
    else if (!is_rlock)
        former = note_released_elsewhere(lock);
    sites_go_on(&quiet);
    Py_XDECREF(former.lock);
    return before;
}

static int is_mine(PyObject *lock)
{
    struct quiet quiet = sites_quiet();
    int is = held_at(held_known(), lock) >= 0;

    sites_go_on(&quiet);
    return is;
}

/* ---- the methods of locks ---------------------------------------------------------------------------------------- */

static struct swap stock_lock_acquire, stock_rlock_acquire;

/* Once a thread waits for the lock that closes a circle, nothing more is heard of it.  So this comes before the wait. */
static void note_attempt(PyObject *lock, int in_vain)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = held_known();
    uint32_t site = me && me->count && held_at(me, lock) < 0 ? site_current() : 0;

    for (int i = 0; site && i < HELD_READERS; i++)
        if (readers[i] && readers[i]->attempts)
            readers[i]->attempts(me, lock, site, in_vain);
    sites_go_on(&quiet);
}

static int64_t deadline_of(const struct swap_call *call)
{
    int64_t deadline = PARK_FOREVER;

    if ((call->count || call->names) && args_acquire(call->args, call->count, call->names, &deadline) < 0) {
        PyErr_Clear(); /* the call will raise it */
        return 0;
    }
    return deadline;
}

static PyObject *take_noted(const struct swap_call *call, PyObject *lock, int64_t deadline)
{
    const struct held_reader *reader = readers[HELD_BY_WAITS];

    if (!reader || !held_is_stock(lock))
        return swap_stock(call);
    return reader->take_stock(call, Py_IS_TYPE(lock, stock_lock_type) ? &stock_lock_acquire : &stock_rlock_acquire, deadline);
}

static PyObject *acquire_noted(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self);
    int64_t deadline = lock ? deadline_of(call) : 0;

    if (!lock)
        return swap_stock(call);
    if (deadline == PARK_FOREVER)
        note_attempt(lock, 0);
    PyObject *result = take_noted(call, lock, deadline);
    if (result == Py_True)
        note_taken(lock, deadline == PARK_FOREVER, 1);
    else if (result == Py_False && deadline)
        note_attempt(lock, 1);
    return result;
}

static PyObject *release_noted(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self);

    if (lock)
        note_released(lock, 1, is_rlock(lock));
    return swap_stock(call);
}

static PyObject *save_noted(const struct swap_call *call)
{
    note_released(call->self, 0, 1);
    return swap_stock(call);
}

static PyObject *restore_noted(const struct swap_call *call)
{
    PyObject *result = swap_stock(call), *raised = PyErr_GetRaisedException(); /* it is taken even then */

    long depth = call->count == 1 && PyTuple_Check(call->args[0]) ? PyLong_AsLong(PyTuple_GetItem(call->args[0], 0)) : 1;
    PyErr_Clear();
    note_taken(call->self, 1, depth);
    PyErr_SetRaisedException(raised);
    return result;
}

/* A Condition's wait gives its lock up and takes it back, whatever else its thread holds. */
static PyObject *wait_noted(const struct swap_call *call)
{
    PyObject *lock = condition_lock(call->self);

    if (!lock || !is_mine(lock))
        return swap_stock(call);
    Py_INCREF(lock);
    long depth = note_released(lock, 0, is_rlock(lock));
    PyObject *result = swap_stock(call);
    if (is_rlock(lock) || sync_lock_held(&((LockObject *)lock)->lock))
        note_taken(lock, 1, depth);
    Py_DECREF(lock);
    return result;
}

#define LOCK_METHODS(ROW, of) SWAP_LOCK(ROW, of, acquire_noted, release_noted)
#define RLOCK_METHODS(ROW, of) SWAP_RLOCK(ROW, of, acquire_noted, release_noted, save_noted, restore_noted)
#define CONDITION_METHODS(ROW, of)                     \
    SWAP_TAKING(ROW, of, acquire_noted, release_noted) \
    ROW(of##_wait, "wait", wait_noted, EXPLORE_WAIT)
#define QUICK_METHODS(ROW, of) SWAP_WITH(ROW, of, acquire_noted, release_noted)

SWAP_LOCK_TABLES(tables, LOCK_METHODS, RLOCK_METHODS, CONDITION_METHODS, QUICK_METHODS);
enum { TABLES = sizeof tables / sizeof *tables };

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

int held_is_read(enum held_by by)
{
    return readers[by] != NULL;
}

static void set_reader(enum held_by by, const struct held_reader *reader)
{
    struct quiet quiet = sites_quiet();

    readers[by] = reader;
    wants_time = 0;
    for (int i = 0; i < HELD_READERS; i++)
        wants_time |= readers[i] && readers[i]->wants_time;
    sites_go_on(&quiet);
}

int held_begin(enum held_by by, const struct held_reader *reader)
{
    if (held_is_read(by)) {
        PyErr_SetString(PyExc_RuntimeError, "the locks are being watched already");
        return -1;
    }
    if (!is_read() && swap_in(tables, TABLES, 1) < 0) {
        swap_out(tables, TABLES);
        return -1;
    }
    set_reader(by, reader);
    return 0;
}

static void drop_holder(struct holder *holder)
{
    for (int i = 0; i < holder->count; i++)
        Py_DECREF(holder->held[i].lock);
    Py_XDECREF(holder->moment);
    PyMem_RawFree(holder);
}

void held_end(enum held_by by)
{
    if (!held_is_read(by))
        return;
    set_reader(by, NULL);
    if (is_read())
        return;
    swap_out(tables, TABLES);
    struct quiet quiet = sites_quiet();
    struct holder *all = holders, *next;
    holders = NULL;
    generation++; /* each thread finds that its own has gone */
    sites_go_on(&quiet);
    for (; all; all = next) {
        next = all->next;
        drop_holder(all);
    }
}

void held_forget_reader(enum held_by by)
{
    readers[by] = NULL;
    if (is_read())
        return;
    swap_out(tables, TABLES);
    holders = NULL;
    generation++;
}

void held_forget_me(void)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = held_known();

    mine = NULL;
    if (me && (*me->link = me->next))
        me->next->link = me->link;
    sites_go_on(&quiet);
    if (me)
        drop_holder(me);
}
