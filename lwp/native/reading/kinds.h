/* Kinds of operations of threads, and the explored thread that does one: what all rooms know that stand in for methods. */
#ifndef RUNTIME_KINDS_H
#define RUNTIME_KINDS_H

#include "green/green.h"

enum explore_kind {
    EXPLORE_BEGIN,
    EXPLORE_ACQUIRE,
    EXPLORE_TRY,
    EXPLORE_READ,
    EXPLORE_WAIT,
    EXPLORE_START,
    EXPLORE_JOIN,
    EXPLORE_SLEEP,
    EXPLORE_YIELD,
    EXPLORE_FILE,
    EXPLORE_CODE,   /* a bytecode, a call, a jump; at sync what follows a release */
    EXPLORE_WAKE,   /* goes on after a sleep in the wait table */
    EXPLORE_RELEASE, /* this kind and those below never sleep, and are not cancelled */
    EXPLORE_SIGNAL, /* sets, notifies, puts */
    EXPLORE_END,
    EXPLORE_TURN, /* a loop of asyncio calls a handle, or waits for one; it is cancelled as the kinds above EXPLORE_RELEASE are */
    EXPLORE_CANCEL, /* a canceller cancels its task, which is the object */
};

struct explored;

/* The calling thread, or NULL: it is not explored. */
static inline struct explored *explore_me(void)
{
    return park_green ? park_green->explored : NULL;
}

#endif
