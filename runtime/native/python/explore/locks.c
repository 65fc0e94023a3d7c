/* Locks in explored threads: the runtime's, and CPython's own, which were made before threads were ours or in C code. */
#include "python/explore/locks.h"

#include "python/args.h"
#include "python/explore/point.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"

#include <errno.h>

static struct swap stock_lock_acquire, stock_lock_release, stock_rlock_acquire, stock_rlock_release; /* at the end */

static PyTypeObject *stock_lock_type, *stock_rlock_type;

/* ---- whether a lock can be taken --------------------------------------------------------------------------------- */

int locks_can_take(const struct explored *thread)
{
    return !sync_lock_held(&((LockObject *)thread->op.object)->lock);
}

/* CPython's don't show that without the GIL.  So whether one is held is kept with each thread that wants it. */
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

/* What an operation is done to: a Condition's acquire() is its lock's.  NULL: its lock is no lock of ours, and has points itself. */
static PyObject *lock_behind(PyObject *self)
{
    return PyObject_TypeCheck(self, condition_type) ? condition_lock(self) : self;
}

static int is_ours(PyObject *lock)
{
    return Py_IS_TYPE(lock, lock_type) || PyObject_TypeCheck(lock, rlock_type);
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
    if (is_ours(lock))
        return rlock_is_mine((RLockObject *)lock);
    return is_true(PyObject_CallMethod(lock, "_is_owned", NULL));
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static PyObject *take_now(struct swap *swap, struct explored *me, PyObject *self, PyObject *lock)
{
    PyObject *result = swap->flags & METH_NOARGS ? swap_stock(swap, self, NULL, 0, NULL) : swap_try(swap, self);

    if (result == Py_False)
        me->yields = 1;
    else if (result && !is_ours(lock))
        refuse_others(lock, 1);
    return result;
}

static int stock_is_held(PyObject *lock)
{
    int simple = Py_IS_TYPE(lock, stock_lock_type),
        held = !is_true(swap_try(simple ? &stock_lock_acquire : &stock_rlock_acquire, lock));

    if (!held)
        Py_XDECREF(swap_stock(simple ? &stock_lock_release : &stock_rlock_release, lock, NULL, 0, NULL));
    PyErr_Clear();
    return held;
}

static PyObject *take_at_point(struct swap *swap, struct explored *me, PyObject *self, int64_t deadline)
{
    PyObject *lock = lock_behind(self);
    enum explore_kind kind = deadline == 0 ? EXPLORE_TRY : EXPLORE_ACQUIRE;

    for (;;) {
        if (!is_ours(lock) && deadline != 0)
            me->refused = stock_is_held(self);
        int result = point_at(me, kind, lock, deadline == 0 ? NULL : is_ours(lock) ? locks_can_take : stock_can_take, deadline);
        if (result < 0)
            return NULL;
        if (result == ETIMEDOUT)
            Py_RETURN_FALSE;
        PyObject *taken = take_now(swap, me, self, lock);
        if (taken != Py_False || deadline == 0)
            return taken;
        Py_DECREF(taken); /* a thread that is not explored was faster */
    }
}

static PyObject *acquire_lock(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    int64_t deadline = PARK_FOREVER;
    PyObject *lock = lock_behind(self);

    if (!lock || is_mine(lock))
        return swap_stock(swap, self, args, count, names);
    if ((count || names) && args_acquire(args, count, names, &deadline) < 0)
        return NULL;
    return take_at_point(swap, me, self, deadline);
}

static PyObject *release_lock(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    PyObject *lock = lock_behind(self);

    if (!lock || point_at(me, EXPLORE_RELEASE, lock, NULL, PARK_FOREVER) < 0)
        return lock ? NULL : swap_stock(swap, self, args, count, names);
    PyObject *result = swap_stock(swap, self, args, count, names);
    if (result && !is_ours(lock) && !is_mine(lock))
        refuse_others(lock, 0);
    return result;
}

static PyObject *look_at_lock(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    PyObject *lock = lock_behind(self);

    if (lock && point_at(me, EXPLORE_READ, lock, NULL, PARK_FOREVER) < 0)
        return NULL;
    PyObject *result = swap_stock(swap, self, args, count, names);
    me->yields = result == Py_True;
    return result;
}

/* Takes the lock with a state, as Condition.wait() does. */
static PyObject *restore_lock(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    if (!is_ours(self))
        me->refused = 0; /* it is not known, and found out below */
    for (;;) {
        int result = point_at(me, EXPLORE_ACQUIRE, self, is_ours(self) ? locks_can_take : stock_can_take, PARK_FOREVER);
        if (result < 0)
            return NULL;
        if (is_ours(self) || !stock_is_held(self))
            break;
        me->refused = 1;
    }
    PyObject *restored = swap_stock(swap, self, args, count, names);
    if (restored && !is_ours(self))
        refuse_others(self, 1);
    return restored;
}

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

/* A thread that was unwound may have kept a lock, which the next run would find held. */
void locks_free(PyObject *lock)
{
    if (is_ours(lock) && sync_lock_held(&((LockObject *)lock)->lock)) {
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

SWAP(lock_acquire_, "acquire", acquire_lock, EXPLORE_ACQUIRE);
SWAP(lock_acquire_lock, "acquire_lock", acquire_lock, EXPLORE_ACQUIRE);
SWAP(lock_release_, "release", release_lock, EXPLORE_RELEASE);
SWAP(lock_release_lock, "release_lock", release_lock, EXPLORE_RELEASE);
SWAP(lock_locked_, "locked", look_at_lock, EXPLORE_READ);
SWAP(lock_locked_lock, "locked_lock", look_at_lock, EXPLORE_READ);
SWAP(lock_enter_, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(lock_exit, "__exit__", release_lock, EXPLORE_RELEASE);
SWAP(lock_quick_enter, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(lock_quick_exit, "__exit__", release_lock, EXPLORE_RELEASE);
static struct swap *const lock_methods[] = {&lock_acquire_,     &lock_acquire_lock, &lock_release_,
                                            &lock_release_lock, &lock_locked_,      &lock_locked_lock,
                                            &lock_enter_,       &lock_exit,         NULL};

SWAP(rlock_acquire_, "acquire", acquire_lock, EXPLORE_ACQUIRE);
SWAP(rlock_release_, "release", release_lock, EXPLORE_RELEASE);
SWAP(rlock_locked, "locked", look_at_lock, EXPLORE_READ);
SWAP(rlock_enter_, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(rlock_exit, "__exit__", release_lock, EXPLORE_RELEASE);
SWAP(rlock_quick_enter, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(rlock_quick_exit, "__exit__", release_lock, EXPLORE_RELEASE);
SWAP(rlock_save, "_release_save", release_lock, EXPLORE_RELEASE);
SWAP(rlock_restore, "_acquire_restore", restore_lock, EXPLORE_ACQUIRE);
static struct swap *const rlock_methods[]
    = {&rlock_acquire_, &rlock_release_, &rlock_locked, &rlock_enter_, &rlock_exit, &rlock_save, &rlock_restore, NULL};

SWAP(stock_lock_acquire, "acquire", acquire_lock, EXPLORE_ACQUIRE);
SWAP(stock_lock_acquire_lock, "acquire_lock", acquire_lock, EXPLORE_ACQUIRE);
SWAP(stock_lock_release, "release", release_lock, EXPLORE_RELEASE);
SWAP(stock_lock_release_lock, "release_lock", release_lock, EXPLORE_RELEASE);
SWAP(stock_lock_locked, "locked", look_at_lock, EXPLORE_READ);
SWAP(stock_lock_locked_lock, "locked_lock", look_at_lock, EXPLORE_READ);
SWAP(stock_lock_enter, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(stock_lock_exit, "__exit__", release_lock, EXPLORE_RELEASE);
static struct swap *const stock_lock_methods[] = {&stock_lock_acquire,      &stock_lock_acquire_lock, &stock_lock_release,
                                                  &stock_lock_release_lock, &stock_lock_locked,       &stock_lock_locked_lock,
                                                  &stock_lock_enter,        &stock_lock_exit,         NULL};

SWAP(stock_rlock_acquire, "acquire", acquire_lock, EXPLORE_ACQUIRE);
SWAP(stock_rlock_release, "release", release_lock, EXPLORE_RELEASE);
SWAP(stock_rlock_locked, "locked", look_at_lock, EXPLORE_READ); /* from 3.14 on */
SWAP(stock_rlock_enter, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(stock_rlock_exit, "__exit__", release_lock, EXPLORE_RELEASE);
SWAP(stock_rlock_save, "_release_save", release_lock, EXPLORE_RELEASE);
SWAP(stock_rlock_restore, "_acquire_restore", restore_lock, EXPLORE_ACQUIRE);
static struct swap *const stock_rlock_methods[] = {&stock_rlock_acquire, &stock_rlock_release, &stock_rlock_locked,  &stock_rlock_enter,
                                                   &stock_rlock_exit,    &stock_rlock_save,    &stock_rlock_restore, NULL};

/* A Condition's are its lock's. */
SWAP(condition_acquire, "acquire", acquire_lock, EXPLORE_ACQUIRE);
SWAP(condition_release, "release", release_lock, EXPLORE_RELEASE);
SWAP(condition_locked, "locked", look_at_lock, EXPLORE_READ); /* from 3.14 on */
SWAP(condition_enter, "__enter__", acquire_lock, EXPLORE_ACQUIRE);
SWAP(condition_exit, "__exit__", release_lock, EXPLORE_RELEASE);
static struct swap *const condition_methods[]
    = {&condition_acquire, &condition_release, &condition_locked, &condition_enter, &condition_exit, NULL};

static const struct {
    PyTypeObject **type;
    struct swap *const *methods;
    struct swap *quick_enter, *quick_exit;
} tables[] = {
    {&lock_type, lock_methods, &lock_quick_enter, &lock_quick_exit},
    {&rlock_type, rlock_methods, &rlock_quick_enter, &rlock_quick_exit},
    {&condition_type, condition_methods, NULL, NULL},
    {&stock_lock_type, stock_lock_methods, NULL, NULL},
    {&stock_rlock_type, stock_rlock_methods, NULL, NULL},
};
enum { TABLES = sizeof tables / sizeof *tables };

int locks_swap_in(PyTypeObject *stock_lock, PyTypeObject *stock_rlock)
{
    stock_lock_type = stock_lock;
    stock_rlock_type = stock_rlock;
    for (int i = 0; i < TABLES; i++) {
        if (swap_in(tables[i].methods, (PyObject *)*tables[i].type) < 0)
            return -1;
        if (tables[i].quick_enter) {
            swap_in_quick(tables[i].quick_enter, *tables[i].type);
            swap_in_quick(tables[i].quick_exit, *tables[i].type);
        }
    }
    return 0;
}

void locks_swap_out(void)
{
    for (int i = 0; i < TABLES; i++) {
        swap_out(tables[i].methods);
        if (tables[i].quick_enter) {
            swap_out_quick(tables[i].quick_enter, *tables[i].type);
            swap_out_quick(tables[i].quick_exit, *tables[i].type);
        }
    }
}
