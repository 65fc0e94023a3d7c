/* How a thread ends, for those that wait for it: what thread_exit() (kernel/lwp/thread_main.c) and the functions that a thread of a scheduler
 * leaves by (green/thread.c) do about `ending` and `alive`.  The thread itself is none: it is a struct lwp that says that it runs. */
#include "ends.h"

#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"

void end_begin(struct lwp *lwp)
{
    lwp->flags = lwp_thread_flags;
    lwp->alive = lwp->started = 1;
}

void end_as(struct lwp *lwp, enum end how)
{
    if (how == END_COUNTED) {
        lwp_count_as_ended(lwp);
        return;
    }
    atomic_store(&lwp->ending, 1);
    if (how == END_EXPLORED)
        lwp_tell_end(lwp);
    if (how != END_LWP) {
        lwp_clear_alive(lwp);
        return;
    }
    lwp_tell_end(lwp);
    atomic_store(&lwp->alive, 0); /* from here on it is the kernel: kernel/fork.c, mm_release() */
    futex_wake(&lwp->alive, 1, PARK_SHARED);
}
