/* Lab 6: a queue of the threads that can run; a thread that sleeps isn't in it. */
#define _GNU_SOURCE
#include "green.h"
#include "swap.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define GUARD (64 * 1024) /* a page on each machine */

struct green {
    struct green *next; /* behind it in the queue in which it is */
    void *sp;
    char *tp, *stack;
    void (*work)(void *argument);
    void *argument;
    int ended;
    struct green *joiner;
};

static struct green main_thread;
static struct green *current = &main_thread;
static struct green *runnable; /* the queue of all that can run, without the one that runs */

static void append(struct green **queue, struct green *thread)
{
    while (*queue)
        queue = &(*queue)->next;
    *queue = thread;
    thread->next = NULL;
}

static struct green *take(struct green **queue)
{
    struct green *first = *queue;

    *queue = first->next;
    return first;
}

/* Goes on with the next thread; there must be one. */
static void run_next(void)
{
    struct green *from = current;

    current = take(&runnable);
    if (from == &main_thread)
        from->tp = __builtin_thread_pointer();
    switch_to(&from->sp, current->sp, current->tp);
}

void main_of_thread(struct green *me)
{
    __ctype_init();
    me->work(me->argument);
    me->ended = 1;
    if (me->joiner)
        append(&runnable, me->joiner);
    run_next(); /* its stack is freed by the thread that joins it, because it still stands on it */
}

struct green *green_spawn(void (*work)(void *argument), void *argument)
{
    struct green *thread = calloc(1, sizeof *thread);

    thread->work = work;
    thread->argument = argument;
    thread->tp = tls_new();
    thread->stack = mmap(NULL, GUARD + GREEN_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    mprotect(thread->stack, GUARD, PROT_NONE);
    void **sp = (void **)(thread->stack + GUARD + GREEN_STACK) - WORDS;
    sp[RETURN] = (void *)begin;
    sp[ARGUMENT] = thread;
    thread->sp = sp;
    append(&runnable, thread);
    return thread;
}

void green_yield(void)
{
    if (!runnable)
        return;
    append(&runnable, current);
    run_next();
}

int green_join(struct green *thread)
{
    if (!thread->ended) {
        if (!runnable)
            return EDEADLK;
        thread->joiner = current;
        run_next();
    }
    munmap(thread->stack, GUARD + GREEN_STACK);
    tls_free(thread->tp);
    free(thread);
    return 0;
}

int green_down(struct semaphore *semaphore)
{
    if (semaphore->count > 0) {
        semaphore->count--;
        return 0;
    }
    if (!runnable)
        return EDEADLK;
    append(&semaphore->first, current);
    run_next(); /* green_up() has given its one to this thread */
    return 0;
}

void green_up(struct semaphore *semaphore)
{
    if (semaphore->first)
        append(&runnable, take(&semaphore->first));
    else
        semaphore->count++;
}
