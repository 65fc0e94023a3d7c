/* Without a GIL a PyThreadState has four heaps of its own, which begin with a getrandom(2) and with no memory.  An explored run of
 * two threads and the test's own took 27 us, and 12 of these went to their states: 4 to make them, 4 to clear them, the rest to
 * find memory for their first objects.  So the context of an explored thread keeps the state when the thread ends, for the next
 * thread in that context, and explore() deletes it at its end.  A run takes 15 us then; with a GIL 10.
 *
 * What a program could tell from a new state is gone when the thread has ended: its objects, as PyThreadState_Clear() drops them,
 * and its place in the table of owners.  If the place stayed, an object that the thread has made would wait for that thread when
 * another one drops it (Python/brc.c).  A number the state gets anew.  Otherwise it is the state of a thread that sleeps, so that
 * the collector finds the objects in its heaps.  Only what lists all states shows it, as faulthandler does: a thread without a
 * frame.
 *
 * The state stays with its context, because the allocator takes a thread for the owner of a heap if their `tp` are the same.  So a
 * thread that is not explored takes the state too: otherwise it could free memory in those heaps while another thread deletes
 * them.  And only a context that no thread has is rid of its state.
 *
 * Other threads keep none: memory that they leave is there for all threads. */
#define Py_BUILD_CORE
#include "python/explore/parts.h"

#include "python/room.h"

#ifdef COMPAT_HEAPS_HEADER
#include COMPAT_HEAPS_HEADER
#include <internal/pycore_ceval.h>
#include <internal/pycore_llist.h>
#include <internal/pycore_runtime.h>

#include "kernel/context/context.h"
#include "kernel/lwp/lwp.h"
#include "python/without_gil/heaps.h"
#include "python/threads/boot.h"
#include "python/threads/chunks.h"

enum { MOST_KEPT = 64, NOBODY = 1 }; /* NOBODY: the ident of a kept state; a debug build wants one */

static struct context *keepers[MOST_KEPT]; /* of the thread that explores */
static int keeper_count;

static _PyThreadStateImpl *whole_state(PyThreadState *tstate)
{
    return (_PyThreadStateImpl *)tstate;
}

/* ---- its objects ------------------------------------------------------------------------------------------------- */

/* In the order of PyThreadState_Clear(). */
static void clear_objects(PyThreadState *tstate)
{
    Py_CLEAR(tstate->threading_local_key);
    Py_CLEAR(tstate->threading_local_sentinel);
    Py_CLEAR(whole_state(tstate)->asyncio_running_loop);
    Py_CLEAR(tstate->dict);
    Py_CLEAR(tstate->async_exc);
    Py_CLEAR(tstate->current_exception);
    Py_CLEAR(tstate->exc_state.exc_value);
    Py_CLEAR(tstate->async_gen_firstiter);
    Py_CLEAR(tstate->async_gen_finalizer);
    Py_CLEAR(tstate->context);
}

/* Finalizers may have set what they were called for, and threading.settrace_all_threads() sets functions in all states. */
static int is_blank(PyThreadState *tstate)
{
    return !tstate->threading_local_key && !tstate->threading_local_sentinel && !whole_state(tstate)->asyncio_running_loop
           && !tstate->dict && !tstate->async_exc && !tstate->current_exception && !tstate->exc_state.exc_value
           && !tstate->async_gen_firstiter && !tstate->async_gen_finalizer && !tstate->context && !tstate->c_profilefunc
           && !tstate->c_tracefunc && !tstate->delete_later;
}

/* ---- the table of owners: Python/brc.c --------------------------------------------------------------------------- */

static struct _brc_bucket *bucket_of(PyThreadState *tstate)
{
    return &tstate->interp->brc.table[whole_state(tstate)->brc.tid % _Py_BRC_NUM_BUCKETS];
}

static void enter_owners(PyThreadState *tstate)
{
    struct _brc_bucket *bucket = bucket_of(tstate);

    PyMutex_Lock(&bucket->mutex);
    llist_insert_tail(&bucket->root, &whole_state(tstate)->brc.bucket_node);
    PyMutex_Unlock(&bucket->mutex);
}

/* 0: objects wait for the thread, as its eval_breaker says.  A node that is in no list may leave again, in PyThreadState_Clear(). */
static int leave_owners(PyThreadState *tstate)
{
    struct _brc_thread_state *brc = &whole_state(tstate)->brc;
    struct _brc_bucket *bucket = bucket_of(tstate);

    PyMutex_Lock(&bucket->mutex);
    int leaves = !brc->objects_to_merge.head;
    if (leaves) {
        llist_remove(&brc->bucket_node);
        llist_init(&brc->bucket_node);
    }
    PyMutex_Unlock(&bucket->mutex);
    return leaves;
}

/* ---- kept, and taken --------------------------------------------------------------------------------------------- */

static int note_keeper(struct context *context)
{
    int i = 0;

    while (i < keeper_count && keepers[i] != context)
        i++;
    if (i == MOST_KEPT)
        return 0;
    keepers[i] = context;
    keeper_count += i == keeper_count;
    return 1;
}

/* As boot_keeps. */
static int kept_put(PyThreadState *tstate, struct context *context)
{
    clear_objects(tstate);
    if (!is_blank(tstate) || context->kept || !note_keeper(context))
        return 0;
    while (!leave_owners(tstate))
        if (_Py_HandlePending(tstate) < 0)
            PyErr_Clear();
    chunks_end(tstate);
    tstate->_status.bound_gilstate = 0;
    tstate->thread_id = tstate->native_thread_id = NOBODY;
    context->kept = tstate;
    return 1;
}

/* What is not blank is left to kept_drop(): it would take an attached state to clear it. */
static PyThreadState *kept_take(struct lwp *lwp)
{
    PyThreadState *tstate = lwp->context->kept;

    if (!tstate || !is_blank(tstate))
        return NULL;
    lwp->context->kept = NULL;
    tstate->thread_id = lwp->ident;
    tstate->py_recursion_limit = tstate->py_recursion_remaining = tstate->interp->ceval.recursion_limit;
    tstate->c_recursion_remaining = Py_C_RECURSION_LIMIT;
    tstate->recursion_headroom = tstate->tracing = tstate->coroutine_origin_tracking_depth = 0;
    tstate->what_event = -1;
    tstate->exc_info = &tstate->exc_state;
    tstate->exc_state.previous_item = NULL;
    tstate->gilstate_counter = 1;
    PyMutex_Lock(&_PyRuntime.interpreters.mutex);
    tstate->id = ++tstate->interp->threads.next_unique_id;
    PyMutex_Unlock(&_PyRuntime.interpreters.mutex);
    enter_owners(tstate);
    return tstate;
}

static void delete_state(PyThreadState *tstate)
{
    PyThreadState *own = PyThreadState_Swap(tstate);

    heaps_clear_state(tstate);
    PyThreadState_DeleteCurrent();
    PyEval_RestoreThread(own);
}

/* A context that is not in the cache is a thread's, and what it keeps too. */
void kept_drop(void)
{
    int count = keeper_count;

    keeper_count = 0;
    for (int i = 0; i < count; i++) {
        struct context *context = keepers[i];
        if (!context_take(context)) {
            keepers[keeper_count++] = context;
            continue;
        }
        if (context->kept)
            delete_state(context->kept);
        context->kept = NULL;
        context_put(context, 0);
    }
}

/* The interpreter deletes the states of all other threads. */
static void kept_after_fork(void)
{
    while (keeper_count)
        keepers[--keeper_count]->kept = NULL;
}

static int add_kept(PyObject *Py_UNUSED(module))
{
    static const struct boot_keeps keeps = {kept_take, kept_put};

    boot_keeps = &keeps;
    return 0;
}

const struct entries entries_kept = {.add = add_kept, .after_fork = kept_after_fork};

#else

void kept_drop(void)
{
}

const struct entries entries_kept = {0};

#endif
