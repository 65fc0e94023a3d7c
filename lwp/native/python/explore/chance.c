/* Chance in explored threads: what the system gives, and what generators begin with that are given no seed.  secrets, uuid4() and
 * random.SystemRandom ask os.urandom().
 *
 * Each thread has a sequence of its own, which is the same in each run: when other threads draw doesn't matter to it.  The functions of
 * the module random share one generator, which begins anew in each run. */
#include "python/explore/parts.h"

#include "reading/random.h"
#include "python/args.h"

#include <string.h>

static struct swap generator_seed; /* at the end */

static PyObject *shared; /* the generator whose methods are the functions of random */
static int begun;        /* in this run: it was seeded */

static uint64_t next_word(struct explored *me)
{
    uint64_t at = (uint64_t)me->index << 40 | me->drawn++;
    return random_next_word(&at);
}

/* ---- the system's ------------------------------------------------------------------------------------------------ */

/* urandom(size), and getrandom(size, flags=0). */
static PyObject *draw_bytes(const struct swap_call *call)
{
    Py_ssize_t size = call->count ? PyLong_AsSsize_t(call->args[0]) : -1;

    if (size < 0) {
        PyErr_Clear();
        return swap_stock(call);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    for (Py_ssize_t at = 0; bytes && at < size; at += (Py_ssize_t)sizeof(uint64_t)) {
        uint64_t word = next_word(call->me);
        memcpy(PyBytes_AS_STRING(bytes) + at, &word, (size_t)Py_MIN(size - at, (Py_ssize_t)sizeof word));
    }
    return bytes;
}

/* ---- generators -------------------------------------------------------------------------------------------------- */

static PyObject *seed_generator(const struct swap_call *call)
{
    begun |= call->self == shared;
    if (call->count && call->args[0] != Py_None)
        return swap_stock(call);
    struct swap_call bare = *call;
    bare.count = 0;
    return swap_stock_with(&bare, PyLong_FromUnsignedLongLong(next_word(call->me)));
}

static PyObject *set_state(const struct swap_call *call)
{
    begun |= call->self == shared;
    return swap_stock(call);
}

/* Only a run that draws pays for the seed, which costs as much as a small run. */
static PyObject *draw_number(const struct swap_call *call)
{
    if (call->self == shared && !begun) {
        begun = 1;
        PyObject *none = swap_stock_with(&(struct swap_call){.swap = &generator_seed, .self = shared}, PyLong_FromLong(0));
        if (!none)
            return NULL;
        Py_DECREF(none);
    }
    return swap_stock(call);
}

int chance_run_begins(void)
{
    int drawn = begun;

    begun = 0;
    return drawn ? PyObject_SetAttr(shared, NAME("gauss_next"), Py_None) : 0; /* gauss() makes two numbers at a time */
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

#define SYSTEM_FUNCTIONS(ROW, of)                          \
    ROW(of##_urandom, "urandom", draw_bytes, EXPLORE_READ) \
    ROW(of##_getrandom, "getrandom", draw_bytes, EXPLORE_READ)
SWAPS(SYSTEM_FUNCTIONS, system);

#define GENERATOR_METHODS(ROW, of)                            \
    ROW(of##_seed, "seed", seed_generator, EXPLORE_READ)      \
    ROW(of##_setstate, "setstate", set_state, EXPLORE_READ)   \
    ROW(of##_getstate, "getstate", draw_number, EXPLORE_READ) \
    ROW(of##_random, "random", draw_number, EXPLORE_READ)     \
    ROW(of##_getrandbits, "getrandbits", draw_number, EXPLORE_READ)
SWAPS(GENERATOR_METHODS, generator);

static PyObject *system_module;
static PyTypeObject *generator_type;
static const struct swap_table tables[] = {
    {.module = &system_module, .methods = system_methods},
    {.type = &generator_type, .methods = generator_methods},
};
const struct part chance_part = PART(tables);

void chance_begin(PyObject *system, PyTypeObject *generator, PyObject *shared_one)
{
    system_module = system;
    generator_type = generator;
    Py_XSETREF(shared, Py_NewRef(shared_one));
    begun = 1; /* before the first run */
}
