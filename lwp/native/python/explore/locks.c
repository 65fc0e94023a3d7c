/* Locks in explored threads: the runtime's, and CPython's own, which were made before threads were ours or in C code. */
#include "python/explore/parts.h"

#include "python/args.h"
#include "python/explore/point.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"

#include <errno.h>

static struct swap stock_lock_acquire, stock_lock_release, stock_rlock_acquire, stock_rlock_release; /* at the end */

/* ---- whether a lock can be taken --------------------------------------------------------------------------------- */

int locks_can_take(const struct explored *thread)
{
    return !sync_lock_held(&((LockObject *)thread->op.object)->lock);
}

/* CPython's locks don't show that without the GIL.  So each thread that wants a lock keeps whether it is held. */
static int stock_can_take(const struct explored *thread)
{
    return !thread->refused;
}

static void refuse_others(PyObject *lock, int refused)
{
    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        if (thread->state == EXPLORED_AT_POINT && thread->op.object == lock && thread->op.can == stock_can_take)
            thread->refused = refused;
    }
}

static int is_true(PyObject *answer)
{
    int result = answer == Py_True;

    Py_XDECREF(answer);
    return result;
}

/* An RLock of CPython's says only whether it is the caller's. */
static int is_mine(PyObject *lock)
{
    if (Py_IS_TYPE(lock, lock_type) || Py_IS_TYPE(lock, stock_lock_type))
        return 0;
    if (lock_is_ours(lock))
        return rlock_is_mine((RLockObject *)lock);
    return is_true(PyObject_CallMethod(lock, "_is_owned", NULL));
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static PyObject *take_now(const struct swap_call *call, PyObject *lock)
{
    PyObject *result = swap_try(call->swap, call->self);

    if (result == Py_False)
        call->me->yields = 1;
    else if (result) {
        explore_takes(call->me, lock);
        if (!lock_is_ours(lock))
            refuse_others(lock, 1);
    }
    return result;
}

static int stock_is_held(PyObject *lock)
{
    int simple = Py_IS_TYPE(lock, stock_lock_type),
        held = !is_true(swap_try(simple ? &stock_lock_acquire : &stock_rlock_acquire, lock));

    if (!held)
        Py_XDECREF(swap_bare(simple ? &stock_lock_release : &stock_rlock_release, lock));
    PyErr_Clear();
    return held;
}

static PyObject *take_at_point(const struct swap_call *call, PyObject *lock, int64_t deadline)
{
    enum explore_kind kind = deadline == 0 ? EXPLORE_TRY : EXPLORE_ACQUIRE;

    for (;;) {
        if (!lock_is_ours(lock) && deadline != 0)
            call->me->refused = stock_is_held(call->self);
        int result = point_at(call->me, kind, lock,
                              deadline == 0        ? NULL
                              : lock_is_ours(lock) ? locks_can_take
                                                   : stock_can_take,
                              deadline);
        if (result < 0)
            return NULL;
        if (result == ETIMEDOUT)
            Py_RETURN_FALSE;
        PyObject *taken = take_now(call, lock);
        if (taken != Py_False || deadline == 0)
            return taken;
        Py_DECREF(taken); /* a thread that is not explored was faster */
    }
}

static PyObject *acquire_lock(const struct swap_call *call)
{
    int64_t deadline = PARK_FOREVER;
    PyObject *lock = swap_lock_behind(call->self);

    if (!lock || is_mine(lock))
        return swap_stock(call);
    if ((call->count || call->names) && args_acquire(call->args, call->count, call->names, &deadline) < 0)
        return NULL;
    return take_at_point(call, lock, deadline);
}

static PyObject *release_lock(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self);

    if (!lock || point_at(call->me, EXPLORE_RELEASE, lock, NULL, PARK_FOREVER) < 0)
        return lock ? NULL : swap_stock(call);
    PyObject *result = swap_stock(call);
    if (!result || is_mine(lock))
        return result;
    explore_releases(call->me, lock);
    if (!lock_is_ours(lock))
        refuse_others(lock, 0);
    return point_after(call->me, lock, result);
}

static PyObject *look_at_lock(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self);

    if (lock && point_at(call->me, EXPLORE_READ, lock, NULL, PARK_FOREVER) < 0)
        return NULL;
    PyObject *result = swap_stock(call);
    call->me->yields = result == Py_True;
    return result;
}

/* Takes the lock with a state, as Condition.wait() does. */
static PyObject *restore_lock(const struct swap_call *call)
{
    PyObject *lock = call->self;

    if (!lock_is_ours(lock))
        call->me->refused = 0; /* it is not known, and found out below */
    for (;;) {
        int result = point_at(call->me, EXPLORE_ACQUIRE, lock, lock_is_ours(lock) ? locks_can_take : stock_can_take, PARK_FOREVER);
        if (result < 0)
            return NULL;
        if (lock_is_ours(lock) || !stock_is_held(lock))
            break;
        call->me->refused = 1;
    }
    PyObject *restored = swap_stock(call);
    if (restored)
        explore_takes(call->me, lock);
    if (restored && !lock_is_ours(lock))
        refuse_others(lock, 1);
    return restored;
}

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

/* A thread that was unwound may have kept a lock, which the next run would find held. */
void locks_free(PyObject *lock)
{
    if (lock_is_ours(lock) && sync_lock_held(&((LockObject *)lock)->lock)) {
        if (Py_IS_TYPE(lock, lock_type))
            lock_disown((LockObject *)lock);
        else
            rlock_disown((RLockObject *)lock);
        sync_lock_reset(&((LockObject *)lock)->lock);
        park_wake_some(&((LockObject *)lock)->lock.word, INT32_MAX, ~0u);
    } else if ((Py_IS_TYPE(lock, stock_lock_type) || PyObject_TypeCheck(lock, stock_rlock_type)) && stock_is_held(lock))
        Py_XDECREF(PyObject_CallMethod(lock, "_at_fork_reinit", NULL));
    PyErr_Clear();
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

#define LOCK_METHODS(ROW, of) SWAP_LOCK(ROW, of, acquire_lock, release_lock) SWAP_LOCKED(ROW, of, look_at_lock)
/* From 3.14 on CPython's RLock has locked() too, and a Condition. */
#define RLOCK_METHODS(ROW, of) \
    SWAP_RLOCK(ROW, of, acquire_lock, release_lock, release_lock, restore_lock) SWAP_LOCKED(ROW, of, look_at_lock)
#define CONDITION_METHODS(ROW, of) SWAP_TAKING(ROW, of, acquire_lock, release_lock) SWAP_LOCKED(ROW, of, look_at_lock)
#define QUICK_METHODS(ROW, of) SWAP_WITH(ROW, of, acquire_lock, release_lock)

SWAP_LOCK_TABLES(tables, LOCK_METHODS, RLOCK_METHODS, CONDITION_METHODS, QUICK_METHODS);
const struct part locks_part = PART(tables);
