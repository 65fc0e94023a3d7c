/* Values of a thread, and what becomes of them when it ends. */
#ifndef KEYS_H
#define KEYS_H

enum {
    KEYS = 64,  /* at most, at a time */
    ROUNDS = 4, /* of destructors at most, however often they set new values */
};

/* Makes a key for which no thread has a value; its number, from 0 to KEYS - 1, goes to *key.
 * The destructor may be NULL.  0, or EAGAIN: there are KEYS already. */
int key_create(unsigned *key, void (*destructor)(void *value));

/* The key's number can be given out again.  Values for it are forgotten, without a destructor.  0, or EINVAL: no such key. */
int key_delete(unsigned key);

/* The calling thread's value; NULL if it has none, and if there is no such key. */
void *key_get(unsigned key);

/* 0, or EINVAL: no such key. */
int key_set(unsigned key, void *value);

/* When a thread ends that has values, each value that is not NULL is given to its key's destructor, in that thread.  While
 * the destructor runs, the thread's value is NULL.  It may call all functions above. */

/* Has the thread call function(NULL) when it ends.  C++ compilers call this for a thread_local object with a destructor. */
extern int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *library);
extern void *__dso_handle;

static inline void at_end_of_thread(void (*function)(void *))
{
    __cxa_thread_atexit_impl(function, NULL, &__dso_handle);
}

#endif
