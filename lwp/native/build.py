"""How the C of the tools is built: one shared object, which is linked against the core's.

`lwp.native._tools` is plain C.  The other extension modules in it are made by cffi, for a room that asks for one.
setup.py takes all from here.
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
    "reading/inspect.c",
    "explore/record.c",
    "explore/strategies/strategy.c",
    "explore/strategies/planned.c",
    "explore/strategies/random.c",
    "explore/strategies/pct.c",
    "explore/strategies/pos.c",
    "explore/choose.c",
    "explore/clock.c",
    "explore/tasks/turns.c",
    "explore/able.c",
    "explore/run.c",
    "study/steps.c",
    "observe/trace.c",
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
    "python/study/steps.c",
    "python/observe/counts.c",
    "python/reading/takings.c",
    "python/reading/current_frames.c",
    "python/observe/waits.c",
    "python/reading/sites.c",
    "python/reading/names.c",
    "python/reading/held.c",
    "python/observe/lock_order.c",
    "python/observe/locks/gil_waits.c",
    "python/observe/locks/delays.c",
    "python/observe/locks/stacks.c",
    "python/observe/locks/waiting.c",
    "python/observe/locks/methods.c",
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

#: By cffi, in the same shared object.
MODULES = [
    run_path(str(HERE.parent / "study" / "build.py"))["MODULE"],
]
EXTENSION = CORE["extension"]("lwp.native._tools", HERE, SOURCES, [HERE, NATIVE])


RUN_PATH = "$ORIGIN/../../runtime/native"  #: where the dynamic linker finds the core's object, seen from this one


def link_with(core: str) -> list[str]:
    """For the linker: this object needs the core's, a file."""
    folder, name = os.path.split(core)
    return [f"-L{folder}", f"-l:{name}", f"-Wl,-rpath,{RUN_PATH}"]
