/* Lab 4: a thread's values and their destructors.  Copy this file and make its tests pass; the sheet is course/lab4.md. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "keys.h"

static __thread void *values[KEYS];

int key_create(unsigned *key, void (*destructor)(void *value))
{
    (void)key;
    (void)destructor;
    return ENOSYS;
}

int key_delete(unsigned key)
{
    (void)key;
    return ENOSYS;
}

void *key_get(unsigned key)
{
    return values[key];
}

int key_set(unsigned key, void *value)
{
    values[key] = value;
    return 0;
}
