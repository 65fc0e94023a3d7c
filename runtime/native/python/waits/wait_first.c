#include "python/waits/wait.h"

#include <errno.h>

static Py_ssize_t find_ready(const struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    while (from < to && !thing_look(&w->things[from]))
        from++;
    return from;
}

/* One decides: which others are reported. */
static void report_with(struct waiting *w, Py_ssize_t from, Py_ssize_t to, const struct thing *decides)
{
    for (; from < to; from++) {
        struct thing *thing = &w->things[from];
        if (thing != decides)
            thing->ready = !decides->kind->take && !thing->kind->take && thing_look(thing);
    }
}

/* Without sleeping.  1: found; 0: none is ready; -1 with an exception. */
static int look_for_first(struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    for (;;) {
        Py_ssize_t first = find_ready(w, from, to);
        /* Also before a sleep with an eventfd, which would take the number of a descriptor that is closed. */
        if (first < to || w->deadline == 0 || w->files < w->count) {
            wait_look_at_files(w);
            if (w->error) {
                errno = w->error;
                PyErr_SetFromErrno(PyExc_OSError);
                return -1;
            }
            first = find_ready(w, from, first);
        }
        if (first == to)
            return 0;
        struct thing *thing = &w->things[first];
        if (thing->kind->take && !thing->kind->take(thing))
            continue; /* another thread was faster */
        thing->ready = 1;
        report_with(w, from, to, thing);
        return 1;
    }
}

int wait_for_first(struct waiting *w, Py_ssize_t from, Py_ssize_t to)
{
    for (;;) {
        int found = look_for_first(w, from, to);
        if (found || w->deadline == 0)
            return found;
        enum wait_slept slept = wait_sleep(w, from, to, 1);
        if (slept == WAIT_FAILED || slept == WAIT_TIME_IS_UP)
            return slept == WAIT_FAILED ? -1 : 0;
        if (slept == WAIT_AGAIN)
            continue;
        Py_ssize_t first = from;
        while (!w->things[first].ready)
            first++;
        report_with(w, from, to, &w->things[first]);
        return 1;
    }
}
