#include "python/observe/locks/delays.h"

#include "observe/histogram.h"
#include "python/reading/sites.h"

enum { HASHES = 1 << 14, MOST_ARRIVALS = 1 << 16 };

/* When the items came that are in a queue: a ring. */
struct arrivals {
    uint64_t first, end; /* counts of items */
    uint64_t capacity;   /* a power of two */
    uint64_t earlier;    /* items before these: they were there already */
    uint64_t takers;     /* threads that will take an item without a note: the next ones are theirs */
    uint64_t untimed;    /* items behind these: there was no room for them */
    struct arrival {
        const void *item;
        int64_t at;
    } *items;
};

uint64_t delays_crowded;
static struct delays *hashes[HASHES];
static int count;

/* ---- the table --------------------------------------------------------------------------------------------------- */

static struct delays **hash_of(const void *object, uint32_t site)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)object ^ (uint64_t)site << 40) * 0x9e3779b97f4a7c15;
    return &hashes[mixed >> 50];
}

static struct delays *find_row(enum delays_of of, const void *object, PyTypeObject *type, uint32_t site)
{
    struct delays *row = *hash_of(object, object ? 0 : site);

    while (row && (row->object != object || row->of != of || row->type != type || (!object && row->site != site)))
        row = row->next;
    return row;
}

static struct delays *find_or_make(enum delays_of of, const void *object, PyTypeObject *type, uint32_t site)
{
    struct delays *row = find_row(of, object, type, site), **hash = hash_of(object, object ? 0 : site);

    if (row || !(row = PyMem_RawCalloc(1, sizeof *row)))
        return row;
    row->of = of;
    row->object = object;
    row->type = (PyTypeObject *)Py_NewRef(type);
    row->site = site;
    row->next = *hash;
    count++;
    return *hash = row;
}

struct delays *delays_of_object(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct delays *row = find_row(DELAYS_OBJECT, object, type, 0);

    if (row)
        return row;
    uint32_t site = site_made(object);
    if (count < DELAYS_ROWS)
        return find_or_make(DELAYS_OBJECT, object, type, site);
    delays_crowded++;
    return find_or_make(DELAYS_MADE, NULL, type, site);
}

struct delays *delays_of_site(PyObject *object, uint32_t site)
{
    return find_or_make(DELAYS_SITE, NULL, Py_TYPE(object), site);
}

struct delays *delays_of_items(PyObject *queue)
{
    struct delays *row = find_row(DELAYS_ITEMS, queue, Py_TYPE(queue), 0);

    return row || count >= DELAYS_ROWS ? row : find_or_make(DELAYS_ITEMS, queue, Py_TYPE(queue), site_made(queue));
}

static void free_row(struct delays *row)
{
    if (row->arrivals)
        PyMem_RawFree(row->arrivals->items);
    PyMem_RawFree(row->arrivals);
    PyMem_RawFree(row->waits.histogram);
    Py_DECREF(row->type);
    PyMem_RawFree(row);
}

struct delays *delays_take(void)
{
    struct delays *all = NULL, *row;

    for (int i = 0; i < HASHES; i++)
        while ((row = hashes[i])) {
            hashes[i] = row->next;
            row->next = all;
            all = row;
        }
    count = 0;
    delays_crowded = 0;
    return all;
}

void delays_free(struct delays *all)
{
    for (struct delays *next; all; all = next) {
        next = all->next;
        free_row(all);
    }
}

void delays_each(void (*call)(const struct delays *row, void *arg), void *arg)
{
    for (int i = 0; i < HASHES; i++)
        for (const struct delays *row = hashes[i]; row; row = row->next)
            call(row, arg);
}

/* ---- what is counted --------------------------------------------------------------------------------------------- */

static uint32_t *histogram_of(struct delays *row)
{
    if (!row->waits.histogram)
        row->waits.histogram = PyMem_RawCalloc(HISTOGRAM_BUCKETS, sizeof *row->waits.histogram);
    return row->waits.histogram;
}

void delays_waited(struct delays *row, int64_t ns)
{
    uint32_t *histogram = histogram_of(row);

    row->waits.count++;
    row->waits.ns += ns;
    if (ns > row->waits.longest)
        row->waits.longest = ns;
    if (histogram)
        histogram[histogram_bucket(ns)]++;
}

void delays_waited_not(struct delays *row, int64_t ns)
{
    row->waits.count--;
    row->waits.ns -= ns;
    if (row->waits.histogram && row->waits.histogram[histogram_bucket(ns)])
        row->waits.histogram[histogram_bucket(ns)]--;
}

void delays_held(struct delays *row, int64_t ns, uint32_t site)
{
    row->holds.count++;
    row->holds.ns += ns;
    if (ns > row->holds.longest) {
        row->holds.longest = ns;
        row->holds.site = site;
    }
}

/* Adds a row whose object is gone to that of its type and line. */
static void add_row(struct delays *all, const struct delays *row)
{
    uint32_t *histogram = row->waits.histogram ? histogram_of(all) : NULL;

    all->objects++;
    all->taken += row->taken;
    all->waits.count += row->waits.count;
    all->waits.ns += row->waits.ns;
    if (row->waits.longest > all->waits.longest)
        all->waits.longest = row->waits.longest;
    if (row->waits.most > all->waits.most)
        all->waits.most = row->waits.most;
    if (!all->waits.site)
        all->waits.site = row->waits.site;
    for (int i = 0; histogram && i < HISTOGRAM_BUCKETS; i++)
        histogram[i] += row->waits.histogram[i];
    all->holds.count += row->holds.count;
    all->holds.ns += row->holds.ns;
    if (row->holds.longest > all->holds.longest) {
        all->holds.longest = row->holds.longest;
        all->holds.site = row->holds.site;
    }
    all->unheard.count += row->unheard.count;
    if (row->unheard.count)
        all->unheard.site = row->unheard.site;
}

void delays_object_ended(const void *object)
{
    struct delays **at = hash_of(object, 0), *row;

    while ((row = *at)) {
        struct delays *all = NULL;
        if (row->object == object)
            all = find_or_make(row->of == DELAYS_OBJECT ? DELAYS_MADE : row->of, NULL, row->type, row->site);
        if (!all) {
            at = &row->next;
            continue;
        }
        /* The new row may stand first in this very hash. */
        for (at = hash_of(object, 0); *at != row;)
            at = &(*at)->next;
        *at = row->next;
        count--;
        add_row(all, row);
        free_row(row);
    }
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* Whether there is room for one more. */
static int make_room(struct arrivals *arrivals)
{
    uint64_t capacity = arrivals->capacity ? 2 * arrivals->capacity : 16, size = arrivals->end - arrivals->first;
    struct arrival *larger;

    if (size < arrivals->capacity)
        return 1;
    if (capacity > MOST_ARRIVALS || !(larger = PyMem_RawMalloc(capacity * sizeof *larger)))
        return 0;
    for (uint64_t i = 0; i < size; i++)
        larger[i] = arrivals->items[(arrivals->first + i) % arrivals->capacity];
    PyMem_RawFree(arrivals->items);
    arrivals->items = larger;
    arrivals->first = 0;
    arrivals->end = size;
    arrivals->capacity = capacity;
    return 1;
}

void delays_came_before(struct delays *row, uint64_t items)
{
    if ((row->arrivals = PyMem_RawCalloc(1, sizeof *row->arrivals)))
        row->arrivals->earlier = items;
}

void delays_left_unseen(struct delays *row, uint64_t items)
{
    struct arrivals *arrivals = row->arrivals;

    if (arrivals->earlier > items)
        arrivals->earlier = items;
    for (; arrivals->first != arrivals->end && arrivals->earlier + (arrivals->end - arrivals->first) + arrivals->untimed > items;
         row->waits.now--)
        arrivals->first++;
}

void delays_taken_unseen(struct delays *row)
{
    if (row->arrivals)
        row->arrivals->takers++;
}

void delays_arrives(struct delays *row, const void *item, int64_t now)
{
    struct arrivals *arrivals = row->arrivals;

    if (!arrivals)
        return;
    row->taken++;
    if (arrivals->takers) {
        arrivals->takers--;
        return;
    }
    if (++row->waits.now > row->waits.most)
        row->waits.most = row->waits.now;
    if (arrivals->untimed || !make_room(arrivals))
        arrivals->untimed++;
    else
        arrivals->items[arrivals->end++ % arrivals->capacity] = (struct arrival){item, now};
}

void delays_leaves(struct delays *row, const void *item, int64_t now)
{
    struct arrivals *arrivals = row->arrivals;

    if (arrivals && arrivals->earlier) {
        arrivals->earlier--;
        return;
    }
    while (arrivals && arrivals->first != arrivals->end) {
        struct arrival first = arrivals->items[arrivals->first++ % arrivals->capacity];
        row->waits.now--;
        if (first.item == item) { /* otherwise it was taken out of the queue's middle */
            delays_waited(row, now - first.at);
            return;
        }
    }
    if (arrivals && arrivals->untimed) {
        arrivals->untimed--;
        row->waits.now--;
    }
}
