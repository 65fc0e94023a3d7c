/* Threads that share an LWP, and sleep. */
#ifndef GREEN_H
#define GREEN_H

#define GREEN_STACK (64 * 1024) /* what a thread may use of its stack, with a guard below */

struct green; /* a thread; you say what is in it */

/* Makes a thread that calls work(argument), and puts it behind all that can run.  It does not run yet. */
struct green *green_spawn(void (*work)(void *argument), void *argument);

/* Lets all others that can run go first. */
void green_yield(void);

/* Sleeps until the thread has ended, and frees what it had.  One thread joins it, once.
 * 0; or EDEADLK: no thread can run if this one sleeps, so it does not. */
int green_join(struct green *thread);

struct semaphore {
    long count;
    struct green *first; /* of those that sleep; if you need more of it, it is in struct green */
};

/* Sleeps until the count is above 0, and takes one.  0, or EDEADLK, as above. */
int green_down(struct semaphore *semaphore);

/* Adds one, and wakes the thread that has slept longest, if there is one; goes on itself. */
void green_up(struct semaphore *semaphore);

#endif
