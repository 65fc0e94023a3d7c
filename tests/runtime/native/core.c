/* The C core without Python, for tests/runtime/native/test_native.py: built with sanitizers, and run under valgrind.
 *
 * core NAME runs one of the programs below; status 0 says that all was as expected. */
#include "kernel/arch/arch.h"
#include "kernel/base/park.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "green/shared_lwp.h"
#include "green/thread.h"
#include "green/replace.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/registry.h"
#include "waits/queue.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            dprintf(2, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                             \
        }                                                                        \
    } while (0)

#ifndef MORE_PROGRAMS /* as the rows of main(), of a file that includes this one */
#define MORE_PROGRAMS
#endif

static int rounds; /* fewer under valgrind, which runs one thread at a time */

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

#ifdef __SANITIZE_THREAD__ /* follows what pthread_create makes, and crashes in other threads: programs of sync run on those */

struct body {
    void (*run)(void *);
    void *arg;
};

static void *run_body(void *arg)
{
    struct body body = *(struct body *)arg;
    free(arg);
    body.run(body.arg);
    return NULL;
}

static struct lwp *start(size_t stack_size, void (*run)(void *), void *arg)
{
    struct body *body = malloc(sizeof *body);
    pthread_t thread;

    (void)stack_size;
    CHECK(body);
    *body = (struct body){run, arg};
    CHECK(pthread_create(&thread, NULL, run_body, body) == 0);
    return (struct lwp *)thread;
}

static void join(struct lwp *thread)
{
    CHECK(pthread_join((pthread_t)thread, NULL) == 0);
}

static void check_nothing_left(void)
{
}

#else

static struct lwp *start(size_t stack_size, void (*run)(void *), void *arg)
{
    struct lwp *lwp = lwp_new(stack_size);
    CHECK(lwp);
    CHECK(lwp_start(lwp, lwp_thread_flags, 0, run, arg) == 0);
    return lwp;
}

static void join(struct lwp *lwp)
{
    int error;
    while ((error = lwp_join(lwp, PARK_FOREVER)) == EINTR)
        ;
    CHECK(error == 0);
    CHECK(!lwp_alive(lwp));
    lwp_release(lwp);
}

static void check_nothing_left(void)
{
    struct context_counts counts;

    do { /* who has been released is reaped when the kernel has cleared its word */
        lwp_reap();
        context_count(&counts);
        sched_yield();
    } while (registry_read().alive || counts.made != counts.cached);
    CHECK(atomic_load(glibc.thread_count) == 1);
}

#endif

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static __thread int mine = 41;
static pthread_key_t key;
static atomic_int destroyed;

static void destroy(void *value)
{
    free(value);
    atomic_fetch_add(&destroyed, 1);
}

static void use_everything(void *arg)
{
    char frame[24 * 1024], *block = malloc(1000);

    CHECK(mine == 41);
    mine++;
    CHECK(errno == 0);
    memset(frame, 1, sizeof frame);
    CHECK(block);
    memset(block, frame[100], 1000);
    CHECK(pthread_setspecific(key, block) == 0);
    close(-1);
    CHECK(errno == EBADF);
    CHECK((void *)pthread_self() == ((struct lwp *)arg)->context->pthread);
}

static void threads(void)
{
    CHECK(pthread_key_create(&key, destroy) == 0);
    for (int i = 0; i < rounds; i++) {
        struct lwp *lwp = lwp_new((size_t)64 * 1024 << i % 4);
        CHECK(lwp);
        CHECK(lwp_start(lwp, lwp_thread_flags, 0, use_everything, lwp) == 0);
        join(lwp);
    }
    CHECK(atomic_load(&destroyed) == rounds);
    pthread_key_delete(key);
}

static atomic_int gate, began;

static void wait_at_gate(void *arg)
{
    (void)arg;
    atomic_fetch_add(&began, 1);
    while (!atomic_load(&gate))
        park_wait(&gate, 0, PARK_FOREVER, PARK_PRIVATE);
}

static void open_gate(void)
{
    atomic_store(&gate, 1);
    park_wake(&gate, INT32_MAX, PARK_PRIVATE);
}

static void crowd(void)
{
    struct lwp *lwps[64];

    for (int i = 0; i < 64; i++)
        lwps[i] = start(64 * 1024, wait_at_gate, NULL);
    CHECK(lwp_join(lwps[0], park_now() + 1000000) == ETIMEDOUT);
    open_gate();
    for (int i = 0; i < 64; i++)
        if (i % 2)
            lwp_release(lwps[i]); /* detached */
        else
            join(lwps[i]);
}

static void refused(void)
{
    struct lwp *lwp = lwp_new(64 * 1024);
    CHECK(lwp);
    for (int i = 0; i < rounds; i++) /* the kernel wants CLONE_SIGHAND with CLONE_THREAD */
        CHECK(lwp_start(lwp, CLONE_VM | CLONE_THREAD | lwp_own_flags, 0, wait_at_gate, NULL) == EINVAL);
    open_gate();
    CHECK(lwp_start(lwp, lwp_thread_flags, 0, wait_at_gate, NULL) == 0);
    join(lwp);
    lwp_release(lwp_new(64 * 1024));
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static void nothing(void *arg)
{
    (void)arg;
}

static struct context *lost; /* in a child: of a thread beside that which forked */

static void fork_and_start(void *arg)
{
    (void)arg;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
#ifdef __SANITIZE_ADDRESS__ /* the stack that is used again has red zones of frames that will not return in the child */
        __asan_unpoison_memory_region(lost->stack_low, (size_t)(lost->stack_high - lost->stack_low));
#endif
        join(start(64 * 1024, nothing, NULL));
        _exit(7);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void forks(void)
{
    struct lwp *waiting = start(64 * 1024, wait_at_gate, NULL);

    lost = waiting->context;
    for (int i = 0; i < rounds; i++) {
        fork_and_start(NULL);
        join(start(256 * 1024, fork_and_start, NULL));
    }
    open_gate();
    join(waiting);
}

static void processes(void)
{
    for (int i = 0; i < rounds; i++) {
        struct lwp *lwp = lwp_new(64 * 1024);
        CHECK(lwp);
        lwp->exit_status = 7;
        CHECK(lwp_start(lwp, CLONE_VM | lwp_own_flags, SIGCHLD, nothing, NULL) == 0);
        int error;
        while ((error = lwp_join(lwp, PARK_FOREVER)) == EINTR)
            ;
        CHECK(error == 0 && WEXITSTATUS(lwp->wait_status) == 7);
        lwp_release(lwp);

        struct lwp *copy = lwp_blank();
        CHECK(copy);
        long pid = lwp_copy(copy, i % 2 ? CLONE_FILES : 0, SIGCHLD);
        if (pid == 0)
            _exit(8);
        CHECK(pid > 0 && lwp_join(copy, PARK_FOREVER) == 0 && WEXITSTATUS(copy->wait_status) == 8);
        lwp_release(copy);
    }
}

/* ---- synchronisation --------------------------------------------------------------------------------------------- */

static struct sync_lock the_lock;
static long counter; /* under the_lock */
static atomic_int timeouts;

static int acquire(int64_t deadline)
{
    int64_t since = 0;
    int error = 0;

    if (sync_lock_try(&the_lock))
        return 1;
    while ((error = sync_lock_wait(&the_lock, deadline, &since, 0)) == EINTR)
        ;
    return error == 0;
}

static void count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < rounds; i++) {
        if (i % 5 == 0 && !acquire(park_now() + 1000)) {
            atomic_fetch_add(&timeouts, 1);
            continue;
        }
        if (i % 5)
            CHECK(acquire(PARK_FOREVER));
        long seen = counter;
        if (i % 3 == 0)
            sched_yield();
        counter = seen + 1;
        CHECK(sync_lock_release(&the_lock) == 0);
    }
}

static void lock(void)
{
    struct lwp *lwps[8];

    for (int i = 0; i < 8; i++)
        lwps[i] = start(64 * 1024, count_up, NULL);
    for (int i = 0; i < 8; i++)
        join(lwps[i]);
    CHECK(counter + atomic_load(&timeouts) == 8L * rounds);
    CHECK(sync_lock_release(&the_lock) == EPERM);
    CHECK(!sync_lock_held(&the_lock));
}

static struct sync_queue the_queue;
static long value; /* of a semaphore, under the queue's lock */
static atomic_long got;

static void give(void)
{
    sync_queue_lock(&the_queue);
    if (!sync_queue_grant(&the_queue, 1))
        value++;
    sync_queue_unlock_and_wake(&the_queue);
}

static int take(int64_t deadline)
{
    struct sync_place place;
    int baton, entitled = 1, error;

    sync_queue_lock(&the_queue);
    if (value > 0) {
        value--;
        sync_queue_unlock(&the_queue);
        return 1;
    }
    sync_queue_enter(&the_queue, &place, NULL);
    sync_queue_unlock(&the_queue);
    while ((error = sync_queue_wait(&place, deadline)) == EINTR)
        ;
    baton = error == 0;
    if (error)
        entitled = sync_queue_leave(&the_queue, &place, &baton);
    if (baton)
        sync_queue_pass_baton(&the_queue);
    return entitled;
}

static void take_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < rounds; i++)
        while (!take(i % 2 ? PARK_FOREVER : park_now() + 20000))
            ;
    atomic_fetch_add(&got, rounds);
}

static void queue(void)
{
    struct lwp *lwps[6];

    sync_init();
    for (int i = 0; i < 6; i++)
        lwps[i] = start(64 * 1024, take_some, NULL);
    for (int i = 0; i < 6 * rounds; i++)
        give();
    for (int i = 0; i < 6; i++)
        join(lwps[i]);
    CHECK(atomic_load(&got) == 6L * rounds);
    CHECK(!the_queue.head && !the_queue.waiting && !the_queue.batons);
}

/* Two conditions of one lock, as a free-threaded Python uses them: nobody has a GIL. */
enum { ROOM = 2 };
static struct sync_queue not_full, not_empty;
static long stored, passed; /* under the_lock */

/* Gives the lock up, sleeps, takes it back. */
static void await(struct sync_queue *queue, int64_t deadline)
{
    struct sync_place place;
    int baton, error;

    sync_queue_lock(queue);
    sync_queue_enter(queue, &place, &the_lock);
    sync_queue_unlock(queue);
    CHECK(sync_lock_release(&the_lock) == 0);
    while ((error = sync_queue_wait(&place, deadline)) == EINTR)
        ;
    baton = error == 0;
    if (error)
        sync_queue_leave(queue, &place, &baton);
    memset(&place, 0x55, sizeof place);
    CHECK(acquire(PARK_FOREVER));
    if (baton)
        sync_queue_pass_baton(queue);
    for (size_t i = 0; i < sizeof place; i++)
        CHECK(((volatile char *)&place)[i] == 0x55); /* nobody writes there any more */
}

/* Threads that put and threads that take; some sleep for about as long as it is until they are notified. */
static void move(struct sync_queue *mine, long before, long change, struct sync_queue *theirs)
{
    for (int i = 0; i < rounds; i++) {
        CHECK(acquire(PARK_FOREVER));
        while (stored == before)
            await(mine, i % 2 ? PARK_FOREVER : park_now() + 20000);
        stored += change;
        CHECK(stored >= 0 && stored <= ROOM);
        passed++;
        int later = i % 4 == 0; /* without the lock, which others may take and release meanwhile */
        if (later)
            CHECK(sync_lock_release(&the_lock) == 0);
        sync_queue_lock(theirs);
        sync_queue_grant_unlock(theirs, i % 3 ? 1 : LONG_MAX);
        if (i % 5 == 0)
            sched_yield();
        if (!later)
            CHECK(sync_lock_release(&the_lock) == 0);
    }
}

static void put(void *arg)
{
    move(&not_full, ROOM, 1, &not_empty);
}

static void fetch(void *arg)
{
    move(&not_empty, 0, -1, &not_full);
}

static void condition(void)
{
    struct lwp *lwps[6];

    sync_init();
    for (int i = 0; i < 6; i++)
        lwps[i] = start(64 * 1024, i % 2 ? put : fetch, NULL);
    for (int i = 0; i < 6; i++)
        join(lwps[i]);
    CHECK(passed == 6L * rounds && stored == 0);
    CHECK(!not_full.head && !not_full.batons && !not_empty.head && !not_empty.batons);
    CHECK(!sync_lock_held(&the_lock) && !atomic_load(&the_lock.deferred));
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static atomic_int handled;

static void handle(int number)
{
    (void)number;
    atomic_fetch_add(&handled, 1);
}

static void shoot(void *arg)
{
    struct lwp *target = arg;
    for (int i = 0; i < rounds; i++)
        syscall(SYS_tgkill, getpid(), atomic_load(&target->tid), SIGUSR1);
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = handle};

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct lwp *target = start(64 * 1024, wait_at_gate, NULL);
    struct lwp *shooter = start(64 * 1024, shoot, target);
    join(shooter);
    open_gate();
    join(target);
    CHECK(atomic_load(&handled) > 0);
}

/* ---- green threads ----------------------------------------------------------------------------------------------- */

enum { TIMERS = 100, GREENS = 8 };

/* Against a list: which is the earliest, whatever was set and dropped before. */
static void timers(void)
{
    static struct timer all[TIMERS];
    struct timer *heap = NULL;

    srand(1);
    for (int i = 0; i < 100 * rounds; i++) {
        struct timer *one = &all[rand() % TIMERS];
        if (one->set)
            timer_drop(&heap, one);
        else
            timer_set(&heap, one, rand() % 1000);
        int64_t earliest = INT64_MAX;
        for (int j = 0; j < TIMERS; j++)
            if (all[j].set && all[j].deadline < earliest)
                earliest = all[j].deadline;
        CHECK(heap ? heap->set && heap->deadline == earliest : earliest == INT64_MAX);
    }
}

static atomic_int turn;

/* Yields, sleeps, and waits for its turn, which the one before gives it. */
static void take_turns(void *arg)
{
    int me = (int)(intptr_t)arg, seen;
    atomic_int nobody = 0;

    for (int i = 0; i < rounds; i++) {
        green_yield();
        CHECK(park_wait(&nobody, 0, park_now() + 1000 * (me + 1), PARK_PRIVATE) == ETIMEDOUT);
        while ((seen = atomic_load(&turn)) % GREENS != me)
            park_wait(&turn, seen, PARK_FOREVER, PARK_PRIVATE);
        atomic_fetch_add(&turn, 1);
        park_wake(&turn, GREENS, PARK_PRIVATE);
        CHECK(errno == 0);
    }
}

static void carry(void *scheduler)
{
    scheduler_carry(scheduler);
}

static void greens(void)
{
    CHECK(!scheduler_init());
    for (int own = 1; own <= 2; own++) { /* on this LWP, then on two others */
        struct scheduler *scheduler = scheduler_new(own, 0);
        struct lwp *lwps[GREENS], *carriers[2];
        CHECK(scheduler && (own == 1 ? scheduler_attach : scheduler_serve)(scheduler) == 0);
        int made = own == 1 ? 0 : scheduler_missing_carriers(scheduler);
        CHECK(made == (own == 1 ? 0 : 2));
        for (int i = 0; i < made; i++)
            carriers[i] = start(64 * 1024, carry, scheduler);
        atomic_store(&turn, 0);
        for (intptr_t i = 0; i < GREENS; i++) {
            lwps[i] = lwp_new(64 * 1024);
            CHECK(lwps[i]);
            lwps[i]->waited = 1;
            CHECK(lwp_start_green(lwps[i], scheduler, take_turns, (void *)i) == 0);
        }
        while (scheduler_await(scheduler) != 0)
            ;
        CHECK(atomic_load(&turn) == GREENS * rounds && scheduler_waited(scheduler) == 0);
        for (int i = 0; i < GREENS; i++)
            join(lwps[i]);
        (own == 1 ? scheduler_detach : scheduler_stop)(scheduler);
        for (int i = 0; i < made; i++)
            join(carriers[i]);
        scheduler_free(scheduler);
    }
}

/* ---- what the tools must find, in a thread of ours --------------------------------------------------------------- */

static void write_behind(void *arg)
{
    volatile size_t size = 10; /* which the compiler must not know */
    volatile char *block = malloc(size);
    block[size] = *(char *)arg;
    free((char *)block);
}

static void damage(void)
{
    join(start(64 * 1024, write_behind, "x"));
}

static void shift_too_far(void *arg)
{
    volatile int distance = *(char *)arg;
    CHECK(1 << distance != 1);
}

static void undefined(void)
{
    join(start(64 * 1024, shift_too_far, "x"));
}

/* ---- slot: what this program calls for a function of libc -------------------------------------------------------- */

static pid_t no_parent(void)
{
    return -1;
}

static int is_writable(const void *at)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long begin, end;
    char mode[5];
    int found = -1;

    while (maps && fscanf(maps, "%lx-%lx %4s%*[^\n]", &begin, &end, mode) == 3)
        if ((uintptr_t)at - begin < end - begin)
            found = mode[1] == 'w';
    CHECK(maps);
    fclose(maps);
    return found;
}

static void slot(void)
{
    struct libc_slot none = libc_slot_of((void *)slot, "no_function_of_this_name"), found = libc_slot_of((void *)slot, "getppid");
    void *function;

    CHECK(!none.at && libc_fill_slot(&none, (void *)no_parent) == -1);
    CHECK(getppid() > 0);
    CHECK(found.at && is_writable(found.at) == !found.read_only);
    memcpy(&function, found.at, sizeof function);
    CHECK(libc_fill_slot(&found, (void *)no_parent) == 0);
    CHECK(getppid() == -1);
    CHECK(is_writable(found.at) == !found.read_only);
    CHECK(libc_fill_slot(&found, function) == 0);
    CHECK(getppid() > 0);
    puts(found.read_only ? "read-only" : "writable");
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        void (*run)(void);
        int rounds;
    } programs[] = {{"threads", threads, 200},
                    {"crowd", crowd, 1},
                    {"refused", refused, 100},
                    {"forks", forks, 10},
                    {"processes", processes, 20},
                    {"lock", lock, 5000},
                    {"queue", queue, 2000},
                    {"condition", condition, 2000},
                    {"signals", signals, 200},
                    {"timers", timers, 200},
                    {"greens", greens, 200},
                    {"slot", slot, 0},
                    {"damage", damage, 1},
                    {"undefined", undefined, 1},
                    MORE_PROGRAMS};
    char why[512];

    CHECK(argc == 3);
#ifdef __SANITIZE_THREAD__
    CHECK(glibc_calibrate(why, sizeof why) == -1 && strstr(why, "ThreadSanitizer is loaded"));
#else
    if (glibc_calibrate(why, sizeof why) != 0) {
        dprintf(2, "%s\n", why);
        return 2;
    }
    green_thread_init();
    CHECK(lwp_init() == 0);
#endif
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (strcmp(programs[i].name, argv[1]) == 0) {
            rounds = programs[i].rounds / atoi(argv[2]) + 1;
            programs[i].run();
            check_nothing_left();
            return 0;
        }
    dprintf(2, "no program %s\n", argv[1]);
    return 2;
}
