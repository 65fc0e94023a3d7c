#include "python/observe/locks/told.h"

#include "green/listed.h"
#include "observe/histogram.h"
#include "python/args.h"
#include "python/observe/locks/delays.h"
#include "python/observe/locks/stacks.h"
#include "python/observe/locks/gil_waits.h"
#include "python/sync/serial.h"

static PyObject *build_histogram(const uint32_t *histogram)
{
    PyObject *list = PyList_New(0);

    for (int i = 0; histogram && i < HISTOGRAM_BUCKETS; i++)
        if (histogram[i])
            append_to(&list, Py_BuildValue("LI", (long long)histogram_middle(i), histogram[i]));
    return list;
}

static void add_row(const struct delays *row, void *list)
{
    append_to(list,
              Py_BuildValue("ikOIKK(KLLIIIN)(KLLI)(KI)", (int)row->of, (unsigned long)(uintptr_t)row->object, row->type, row->site,
                            (unsigned long long)row->objects, (unsigned long long)row->taken, (unsigned long long)row->waits.count,
                            (long long)row->waits.ns, (long long)row->waits.longest, row->waits.now, row->waits.most, row->waits.site,
                            build_histogram(row->waits.histogram), (unsigned long long)row->holds.count, (long long)row->holds.ns,
                            (long long)row->holds.longest, row->holds.site, (unsigned long long)row->unheard.count, row->unheard.site));
}

PyObject *told_rows(void)
{
    PyObject *list = PyList_New(0);

    delays_each(add_row, &list);
    return list;
}

static void add_stack(const struct stack *stack, void *list)
{
    PyObject *lines = PyTuple_New(stack->depth);

    for (int i = 0; lines && i < stack->depth; i++) {
        PyObject *line = PyLong_FromUnsignedLong(stack->lines[i]);
        if (!line)
            Py_CLEAR(lines);
        else
            PyTuple_SET_ITEM(lines, i, line);
    }
    append_to(list, Py_BuildValue("ikOIdLN", (int)stack->of, (unsigned long)(uintptr_t)stack->object, stack->type, stack->site,
                                  stack->count, (long long)stack->ns, lines));
}

PyObject *told_stacks(void)
{
    PyObject *list = PyList_New(0);

    stacks_each(add_stack, &list);
    return list;
}

static void see_keeper(uintptr_t ident, int Py_UNUSED(tid), void *arg)
{
    struct gil_waits *gil = arg;

    gil->keeper_lives |= ident == gil->keeper && (!gil->serial || gil->serial == serial_of(ident));
}

PyObject *told_gil(void)
{
    struct gil_waits found = gil_waits_read();

    while (!listed_each(see_keeper, &found)) {
        Py_BEGIN_ALLOW_THREADS
        listed_await();
        Py_END_ALLOW_THREADS
    }
    return Py_BuildValue("KLLIINKLLkNs", (unsigned long long)found.count, (long long)found.ns, (long long)found.longest, found.now,
                         found.most, build_histogram(found.histogram), (unsigned long long)found.kept, (long long)found.kept_ns,
                         (long long)found.kept_longest, found.keeper_lives ? found.keeper : 0,
                         found.keeper_lives ? Py_NewRef(Py_None) : serial_name(found.serial), found.line);
}
