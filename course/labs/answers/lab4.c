/* Lab 4: a place for each key, which counts how often it was taken; a value says for which time it was set. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "keys.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* keys are made, deleted and ended under it */
static struct place {
    unsigned long times; /* made and deleted; odd: there is such a key */
    void (*destructor)(void *value);
} places[KEYS];

static __thread struct value {
    unsigned long times;
    void *value;
} values[KEYS];
static __thread int ends_with_us;

static unsigned long times(unsigned key)
{
    return key < KEYS ? __atomic_load_n(&places[key].times, __ATOMIC_ACQUIRE) : 0;
}

int key_create(unsigned *key, void (*destructor)(void *value))
{
    int error = EAGAIN;

    pthread_mutex_lock(&lock);
    for (unsigned n = 0; n < KEYS && error; n++)
        if (places[n].times % 2 == 0) {
            places[n].destructor = destructor;
            __atomic_store_n(&places[n].times, places[n].times + 1, __ATOMIC_RELEASE);
            *key = n;
            error = 0;
        }
    pthread_mutex_unlock(&lock);
    return error;
}

int key_delete(unsigned key)
{
    int error = EINVAL;

    pthread_mutex_lock(&lock);
    if (times(key) % 2 != 0) {
        __atomic_store_n(&places[key].times, places[key].times + 1, __ATOMIC_RELEASE);
        error = 0;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

void *key_get(unsigned key)
{
    unsigned long now = times(key);

    return now % 2 != 0 && values[key].times == now ? values[key].value : NULL;
}

/* Calls the destructor of a value that was set and is still valid; whether there was one. */
static int destroy(unsigned key)
{
    void (*destructor)(void *value);
    void *value = key_get(key);

    values[key].value = NULL;
    pthread_mutex_lock(&lock);
    destructor = values[key].times == places[key].times ? places[key].destructor : NULL;
    pthread_mutex_unlock(&lock); /* before the call, as the destructor may make and delete keys */
    if (!value || !destructor)
        return 0;
    destructor(value);
    return 1;
}

static void end(void *argument)
{
    int called = 1;

    (void)argument;
    for (int round = 0; round < ROUNDS && called; round++) {
        called = 0;
        for (unsigned key = 0; key < KEYS; key++)
            called |= destroy(key);
    }
    ends_with_us = 0;
}

int key_set(unsigned key, void *value)
{
    unsigned long now = times(key);

    if (now % 2 == 0)
        return EINVAL;
    values[key] = (struct value){now, value};
    if (!ends_with_us) {
        ends_with_us = 1;
        at_end_of_thread(end);
    }
    return 0;
}
