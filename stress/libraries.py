"""dlopen and dlclose of libraries with thread-local storage, while threads start and end."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import shutil
from functools import partial
from typing import Any

from runtime import sync
from runtime.scheduler import spawn

from ._build import build
from ._run import Run, Worker, check, join_all, mix, turns

_SOURCE = """
#define MODEL __attribute__((tls_model("%s")))
static MODEL __thread int value = 42;
static MODEL __thread char zeros[%d];

/* The value, and the sum of what must be zeros. */
int get(void)
{
    int sum = value;
    for (unsigned i = 0; i < sizeof zeros; i++)
        sum += zeros[i];
    return sum;
}

void set(int to)
{
    value = to;
    for (unsigned i = 0; i < sizeof zeros; i++)
        zeros[i] = (char)to;
}
"""


@mix
def dlopen(run: Run) -> None:
    """dlopen and dlclose with initial-exec and dynamic TLS: fresh in each thread, living and new."""
    dynamic = build("dynamic", _SOURCE % ("global-dynamic", 3000))
    initial_exec = build("initial_exec", _SOURCE % ("initial-exec", 16))
    # What glibc has for initial-exec TLS that comes late is small (glibc.rtld.optional_static_tls), and a dlclose gives
    # it back only in the reverse order. So there are some copies, which stay.
    left = iter([os.path.abspath(shutil.copy(initial_exec, f"late_{number}.so")) for number in range(8)])

    def fresh(library: Any, zeros: int) -> None:
        """In a thread that has not touched the library yet."""
        check(library.get() == 42, f"TLS begins with {library.get()}")
        library.set(5)
        check(library.get() == 5 + 5 * zeros, "TLS was changed by another")

    def in_child(library: Any) -> None:
        lwp = spawn(fresh, (library, 3000))
        lwp.join()
        check(library.get() == 5 + 5 * 3000, "TLS is not what it was before the fork")

    @turns
    def others(worker: Worker) -> None:
        spawn(os.getpid).join()

    def late(path: str) -> None:
        """One more library with initial-exec TLS, for a thread that lives already and for new ones."""
        event = sync.Event()
        found: list[Any] = []

        def target() -> None:
            event.wait()
            fresh(found[0], 16)

        living = spawn(target)
        found.append(ctypes.CDLL(path))
        event.set()
        join_all([living, spawn(target), spawn(target)])
        fresh(found[0], 16)

    def body(worker: Worker) -> None:
        own = os.path.abspath(shutil.copy(dynamic, f"dynamic_{worker.number}.so"))
        for _ in worker:
            if worker.chance(50) and (path := next(left, None)):
                worker.note("dlopen, initial-exec")
                late(path)
            worker.note("dlopen, dynamic")
            library = ctypes.CDLL(own)
            before = spawn(fresh, (library, 3000))
            fresh(library, 3000)
            lwps = [spawn(fresh, (library, 3000)) for _ in range(worker.random.randrange(6))]
            if worker.may_fork():
                worker.fork(partial(in_child, library))
            join_all([before, *lwps])
            worker.note("dlclose")
            _ctypes.dlclose(library._handle)

    run.crowd((2, 6), body, body, others, interval=(1e-5, 5e-3))
