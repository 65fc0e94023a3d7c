/* What waiting has cost, by what was waited for: the rows of `--locks`.
 *
 * A row is of one object, such as a lock, whose address is its key.  No row refers to its object: when another primitive is made at that
 * address, the row is added to that of all objects of its type that were made at its line.  What is no primitive, such as a thread that
 * is joined, has a row for each line where threads wait for its like.  So the memory for all rows has a bound.
 *
 * Between sites_quiet() and sites_go_on() only. */
#ifndef RUNTIME_DELAYS_H
#define RUNTIME_DELAYS_H

#include "python/python.h"

enum delays_of {
    DELAYS_OBJECT,
    DELAYS_MADE,  /* all objects of the type that were made at `site` and are gone, or did not fit */
    DELAYS_SITE,  /* all that threads have waited for at `site` */
    DELAYS_ITEMS, /* items of the queue at that address, which wait until a thread takes them */
};

enum { DELAYS_ROWS = 1 << 14 };

struct delays {
    struct delays *next; /* of its hash */
    enum delays_of of;
    const void *object; /* not a reference; NULL: of several */
    PyTypeObject *type; /* a reference */
    uint32_t site;
    uint64_t objects; /* how many rows were added */
    uint64_t taken;
    struct {
        uint64_t count;
        int64_t ns, longest;
        uint32_t now, most; /* threads that wait at once */
        uint32_t site; /* where a thread waited first */
        uint32_t *histogram;
    } waits;
    struct {
        uint64_t count;
        int64_t ns, longest;
        uint32_t site; /* where that hold began */
    } holds;
    struct {
        uint64_t count;
        uint32_t site; /* of the last */
    } unheard; /* notify()s of a condition that met no waiter */
    struct arrivals *arrivals; /* of DELAYS_ITEMS */
};

/* The row; a new one if need be.  NULL: there is no memory. */
struct delays *delays_of_object(PyObject *object);
struct delays *delays_of_site(PyObject *object, uint32_t site);
struct delays *delays_of_items(PyObject *queue);

/* Another object has the address from now on. */
void delays_object_ended(const void *object);

void delays_waited(struct delays *row, int64_t ns);
void delays_waited_not(struct delays *row, int64_t ns); /* takes that back */
void delays_held(struct delays *row, int64_t ns, uint32_t site);

/* An item has come to the queue of DELAYS_ITEMS, or a thread takes it; `item` is its address, or NULL in a queue whose items are taken in
 * the order of their coming. */
void delays_came_before(struct delays *row, uint64_t items); /* once, first */
void delays_left_unseen(struct delays *row, uint64_t items); /* so many are left */
void delays_taken_unseen(struct delays *row); /* one more thread waits for an item, and will take it without a note */
void delays_arrives(struct delays *row, const void *item, int64_t now);
void delays_leaves(struct delays *row, const void *item, int64_t now);

extern uint64_t delays_crowded; /* times that an object had no row of its own, because there are DELAYS_ROWS */
void delays_each(void (*call)(const struct delays *row, void *arg), void *arg);

/* All rows, which are there no more.  The caller frees them after sites_go_on(): a class of the program may end with them. */
struct delays *delays_take(void);
void delays_free(struct delays *all);

#endif
