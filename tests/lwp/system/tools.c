/* The C of tools without Python, for test_c_of_tools.py: more programs of tests/runtime/native/core.c. */
static void looked_at(void);
static void forks_beside_a_reader(void);
#define MORE_PROGRAMS {"looked_at", looked_at, 50}, {"forks_beside_a_reader", forks_beside_a_reader, 50},

#include "core.c"
#include "reading/inspect.h"
#include "observe/measure.h"

static void looked_at(void)
{
    struct lwp *lwp = start(256 * 1024, wait_at_gate, NULL);
    struct inspect_places places;
    struct inspect_thread seen;
    union glibc_dtv dtv[256];

    while (!atomic_load(&began))
        sched_yield();
    inspect_places(&places);
    char *block = malloc((size_t)(places.block_high - places.block_low));
    CHECK(block);
    for (int i = 0; i < rounds; i++)
        CHECK(inspect_copy(lwp->ident, &seen, block, dtv, 256, NULL, 0) == 0);
    CHECK(seen.tid == atomic_load(&lwp->tid) && seen.ours && seen.tp == lwp->tp);
    CHECK(inspect_copy(lwp->ident + 64, &seen, block, dtv, 256, NULL, 0) == ESRCH);
    free(block);
    open_gate();
    join(lwp);
}

static void read_on(void *arg)
{
    struct lwp_statistics seen;

    while (!atomic_load(&gate))
        lwp_read_statistics(&seen);
}

/* A child has statistics, though a thread of its parent was reading them. */
static void forks_beside_a_reader(void)
{
    struct lwp_statistics seen;
    struct lwp *reader = start(64 * 1024, read_on, NULL);

    for (int i = 0, status; i < rounds; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            lwp_read_statistics(&seen);
            _exit(seen.started != 1);
        }
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    }
    atomic_store(&gate, 1);
    join(reader);
}
