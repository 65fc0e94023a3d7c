/* A call that doesn't block is tried until it is done, with a wait between two tries. */
#ifndef RUNTIME_PYTHON_GREEN_TRIES_H
#define RUNTIME_PYTHON_GREEN_TRIES_H

enum tried {
    TRIED_FAILED = -1, /* with an exception */
    TRIED_AGAIN,       /* it is tried again at once */
    TRIED_WAIT,        /* there is nothing: it is tried again after a wait */
    TRIED_DONE
};

/* 0, or -1 with an exception.  Inline: with a `once` and a `wait` that the compiler knows, a call that is ready makes no other call. */
static inline int try_until_done(void *call, enum tried (*once)(void *call), enum tried (*wait)(void *call))
{
    enum tried tried;

    do
        if ((tried = once(call)) == TRIED_WAIT)
            tried = wait(call);
    while (tried == TRIED_AGAIN);
    return tried == TRIED_DONE ? 0 : -1;
}

#endif
