#include "green/listed.h"

#include "green/shared_lwp.h"
#include "kernel/glibc/glibc.h"

#include <stddef.h>

void listed_await(void)
{
    glibc_lock_threads();
    glibc_unlock_threads();
}

int listed_each(void (*see)(uintptr_t ident, int tid, void *arg), void *arg)
{
    const struct glibc_list *lists[] = {glibc.stack_user, glibc.stack_used};

    if (!glibc_try_lock_threads())
        return 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const struct glibc_list *at = lists[i]->next; at != lists[i]; at = at->next) {
            char *pthread = (char *)at - glibc.list;
            int tid = green_lwp_tid(*(int *)glibc_field(pthread, glibc.tid), glibc_thread_pointer(pthread));
            if (tid > 0) /* 0 or less: not cloned yet, or gone */
                see((uintptr_t)pthread, tid, arg);
        }
    glibc_unlock_threads();
    return 1;
}
