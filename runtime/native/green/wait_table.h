/* Who sleeps in user space on which word: to green threads what the kernel's table of futexes is to LWPs. */
#ifndef RUNTIME_SLEEPERS_H
#define RUNTIME_SLEEPERS_H

#include <stdatomic.h>

struct sleeper {
    struct sleeper *newer, *older;
    _Atomic(atomic_int *) word; /* NULL: it doesn't sleep */
    unsigned bits;
    int result;
};

/* Goes to sleep if *word == expected; whether it does.  Whoever changes the word and then asks for its sleepers finds it. */
int sleeper_enter(struct sleeper *sleeper, atomic_int *word, int expected, unsigned bits);

/* Wakes that one.  Whether it slept: of all who wake it at once, one has it, and has to let it go on. */
int sleeper_leave(struct sleeper *sleeper, int result);

/* Wakes the oldest `count` that sleep on the word and share a bit: linked by `newer`, *woken says how many. */
struct sleeper *sleepers_take(atomic_int *word, int count, unsigned bits, int *woken);

/* All are lost: in a forked child. */
void sleepers_forget(void);

#endif
