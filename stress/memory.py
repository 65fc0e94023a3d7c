"""malloc and what C and C++ do at the end of a thread."""

from __future__ import annotations

import ctypes

from runtime.scheduler import spawn

from ._build import build
from ._run import LeftOut, Run, Worker, beside, check, join_all, mix, turns

_SOURCE = """
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Allocates and frees in all sizes; the number of blocks that somebody else has written to. */
long hammer(long rounds, unsigned seed)
{
    enum { HELD = 64 };
    unsigned char *held[HELD] = {0};
    size_t sizes[HELD] = {0};
    long damaged = 0;

    for (long i = 0; i < rounds; i++) {
        unsigned at = (unsigned)rand_r(&seed) % HELD, size = (unsigned)rand_r(&seed) % (i % 16 ? 512 : 40000) + 1;
        if (held[at])
            for (size_t j = 0; j < sizes[at]; j += sizes[at] / 8 + 1)
                damaged += held[at][j] != (unsigned char)(at + 1);
        if (rand_r(&seed) % 4 == 0 && held[at])
            held[at] = realloc(held[at], size);
        else {
            free(held[at]);
            held[at] = malloc(size);
        }
        sizes[at] = size;
        memset(held[at], (int)(at + 1), size);
    }
    for (int i = 0; i < HELD; i++)
        free(held[i]);
    return damaged;
}

/* Values of pthread keys: each thread sets some, with destructors that allocate and set others again. */
enum { KEYS = 40 };
static pthread_key_t keys[KEYS];
static atomic_long set_values, destroyed, wrong;

static void destroy(void *value)
{
    int key = *(int *)value;
    if (key < 0 || key >= KEYS)
        atomic_fetch_add(&wrong, 1);
    free(value);
    atomic_fetch_add(&destroyed, 1);
    free(malloc(1000));
}

int make_keys(void)
{
    int error = 0;
    for (int i = 0; i < KEYS; i++)
        error |= pthread_key_create(&keys[i], destroy);
    return error;
}

void set_keys(unsigned seed)
{
    for (int i = 0; i < 10; i++) {
        int key = rand_r(&seed) % KEYS;
        if (pthread_getspecific(keys[key]))
            continue;
        int *value = malloc(sizeof *value);
        *value = key;
        pthread_setspecific(keys[key], value);
        atomic_fetch_add(&set_values, 1);
    }
}

long values_left(void) { return set_values - destroyed; }
long values_wrong(void) { return wrong; }
"""

_CXX = """
#include <atomic>
#include <string>
#include <vector>

static std::atomic<long> made{0}, gone{0};
struct Kept {
    std::vector<std::string> texts;
    Kept() { made++; }
    ~Kept() { texts.clear(); gone++; }
};
static thread_local Kept kept;

extern "C" void keep(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        kept.texts.push_back(std::string(100 + i, 'x'));
    try {
        kept.texts.at(count + 1000000);
    } catch (const std::exception &) {
    }
}
extern "C" long objects_left() { return made - gone; }
"""


@mix
def malloc(run: Run) -> None:
    """malloc in all sizes, destructors of pthread keys and of C++ thread_locals, in threads that come and go."""
    library = ctypes.CDLL(str(build("memory", _SOURCE)))
    library.hammer.argtypes = [ctypes.c_long, ctypes.c_uint]
    for name in ("hammer", "values_left", "values_wrong"):
        getattr(library, name).restype = ctypes.c_long
    check(library.make_keys() == 0, "pthread_key_create failed")
    try:
        cxx = ctypes.CDLL(str(build("memory_cxx", _CXX, "c++")))
        cxx.objects_left.restype = ctypes.c_long
    except LeftOut:  # the rest can be done without
        cxx = None

    def target(seed: int, rounds: int) -> None:
        library.set_keys(seed)
        if cxx is not None:
            cxx.keep(seed % 20)
        check(library.hammer(rounds, seed) == 0, "a block of malloc's was written to by another")

    def in_child() -> None:
        for _ in range(3):
            with beside(target, 1, 200):
                target(2, 200)

    @turns
    def body(worker: Worker) -> None:
        worker.note("threads")
        lwps = [
            spawn(target, (worker.random.getrandbits(31), worker.random.randrange(2000)), stack_size=1 << 17)
            for _ in range(worker.random.randrange(1, 8))
        ]
        if worker.may_fork():
            worker.fork(in_child)
        target(worker.random.getrandbits(31), 500)
        join_all(lwps)

    run.crowd((2, 8), body, interval=(1e-5, 5e-3))
    left = library.values_left()
    check(left <= 40, f"{left} values of pthread keys were not destroyed")  # the main thread has one of each key
    check(library.values_wrong() == 0, "a destructor was given another key's value")
    check(cxx is None or cxx.objects_left() <= 1, "C++ objects of threads were not destroyed")
