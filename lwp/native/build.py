"""How the C of the tools is built: one shared object, with two extension modules, which is linked against the core's.

`lwp.native._tools` is plain C.  `lwp.native._study` is made by cffi for the map of TLS and the demonstrations: see
structures.py.  setup.py takes both from here.
"""

from __future__ import annotations

import os
from pathlib import Path
from runpy import run_path

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "runtime" / "native"
CORE = run_path(str(NATIVE / "build.py"))

# The floors, all of them above the core's: a file calls only files that stand before it.  tools/layers.py checks that.
SOURCES = [
    "explore/record.c",
    "explore/strategies/strategy.c",
    "explore/strategies/planned.c",
    "explore/strategies/random.c",
    "explore/strategies/pct.c",
    "explore/strategies/pos.c",
    "explore/choose.c",
    "explore/clock.c",
    "explore/tasks/turns.c",
    "explore/run.c",
    "study/steps.c",
    "observe/trace.c",
    "study/inspect.c",
    "observe/measure.c",
    "observe/aside.c",
    "observe/calls.c",
    "observe/sampler.c",
    "observe/listen.c",
    "study/cost.c",
    "study/tlsdemo.c",
    "python/reading/swap.c",
    "python/explore/point.c",
    "python/explore/locks.c",
    "python/explore/waiters.c",
    "python/explore/code.c",
    "python/explore/threads.c",
    "python/explore/chance.c",
    "python/explore/tasks/loops.c",
    "python/explore/tasks/sqlite.c",
    "python/explore/kept.c",
    "python/explore/control.c",
    "python/observe/counts.c",
    "python/reading/takings.c",
    "python/observe/waits.c",
    "python/reading/sites.c",
    "python/reading/names.c",
    "python/reading/held.c",
    "python/observe/lock_order.c",
    "python/observe/locks/gil_waits.c",
    "python/observe/locks/delays.c",
    "python/observe/locks/stacks.c",
    "python/observe/locks/told.c",
    "python/observe/locks/contention.c",
    "python/chaos/hold.c",
    "python/chaos/points.c",
    "python/chaos/operations.c",
    "python/chaos/control.c",
    "python/observe/trace.c",
    "python/observe/frames.c",
    "python/observe/watch.c",
    "python/observe/asked.c",
    "module.c",
]

#: What structures.py gives.
STRUCTURES = """
union glibc_dtv { size_t counter; struct { void *value, *to_free; } block; };
struct inspect_module {
    size_t id, generation, image_size, size, align, image;
    ptrdiff_t offset;
    char name[1024];
};
size_t inspect_modules(struct inspect_module *out, size_t capacity, char *images, size_t *bytes);
struct inspect_places { ptrdiff_t block_low, block_high, pthread, errno_at; };
void inspect_places(struct inspect_places *out);
struct inspect_block { size_t id, size; char *into; int copied; };
struct inspect_thread {
    uintptr_t tp, dtv;
    size_t dtv_length;
    uintptr_t guard_low, stack_low, stack_high;
    size_t stack_used;
    int tid, ours;
};
int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                 struct inspect_block *blocks, size_t count);
size_t inspect_stack_used(uintptr_t low, uintptr_t high);

int64_t cost_once(int kind);

int *tlsdemo_variable(void);
int *tlsdemo_errno(void);
int tlsdemo_fail(int how);
"""

#: Before the C that cffi writes.
INCLUDES = (
    CORE["INCLUDES"]
    + """
#include "study/cost.h"
#include "study/inspect.h"
#include "study/tlsdemo.h"
"""
)

MODULE = ("_study", STRUCTURES, INCLUDES)  #: by cffi, in the same shared object
EXTENSION = CORE["extension"]("lwp.native._tools", HERE, SOURCES, [HERE, NATIVE])


RUN_PATH = "$ORIGIN/../../runtime/native"  #: where the dynamic linker finds the core's object, seen from this one


def link_with(core: str) -> list[str]:
    """For the linker: this object needs the core's, a file."""
    folder, name = os.path.split(core)
    return [f"-L{folder}", f"-l:{name}", f"-Wl,-rpath,{RUN_PATH}"]
