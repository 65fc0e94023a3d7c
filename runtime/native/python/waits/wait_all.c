#include "python/waits/wait.h"

#include <errno.h>

/* How many have not come of those that stay as they are. */
static int count_missing(struct waiting *w)
{
    int missing = 0;

    wait_look_at_files(w);
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (!thing->kind->take && !thing->ready && !(thing->ready = thing_look(thing)))
            missing++;
    }
    return missing;
}

static int wait_for_states(struct waiting *w)
{
    int missing;

    while ((missing = count_missing(w)) > 0 && !w->error) {
        if (w->deadline == 0)
            return 0;
        enum wait_slept slept = wait_sleep(w, 0, w->count, missing);
        if (slept == WAIT_FAILED || slept == WAIT_TIME_IS_UP)
            return slept == WAIT_FAILED ? -1 : 0;
    }
    if (!w->error)
        return 1;
    errno = w->error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

void wait_give_all_back(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind->take && thing->ready) {
            thing->kind->give_back(thing);
            thing->ready = 0;
        }
    }
}

/* Takes all that can be taken; the index of the first that is missing, or the count. */
static Py_ssize_t take_rest(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind->take && !thing->ready && !(thing->ready = thing->kind->take(thing)))
            return i;
    }
    return w->count;
}

int wait_for_all(struct waiting *w)
{
    int result = wait_for_states(w);
    Py_ssize_t missing;

    w->files = 0;
    while (result > 0 && (missing = take_rest(w)) < w->count) {
        wait_give_all_back(w);
        result = w->deadline == 0 ? 0 : wait_for_first(w, missing, missing + 1);
    }
    return result;
}
