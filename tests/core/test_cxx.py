"""Destructors of C++ thread_locals at the end of threads of each kind, against threads of the C library."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Child, NativeHelper, run_thread

import runtime

KINDS = ("pthread", "thread", "green")


def late_destructors(path: str, kind: str) -> None:
    """In threads that others follow on the same stack and TLS block."""
    import _ctypes

    from runtime.scheduler import Scheduler

    def run(target: Callable[[], object]) -> None:
        if kind == "green":
            on = Scheduler()
            on.spawn(target)
            on.run()
            return
        thread: Any = threading.Thread(target=target) if kind == "pthread" else runtime.Thread(target=target)
        run_thread(thread)

    library = ctypes.CDLL(path)
    assert library.make_key() == 0
    for _ in range(100):
        run(library.use_key)
        run(lambda: [bytes(1000 + number) for number in range(10)])
    counts = (ctypes.c_int * 3)()
    library.counts(counts)
    assert library.delete_key() == 0
    _ctypes.dlclose(library._handle)
    stays = Path(path).name in Path("/proc/self/maps").read_text()
    print("made, gone, gone elsewhere, stays loaded:", *counts, stays)


def test_an_object_made_by_a_key_destructor_is_not_destroyed(child: Child, native_helper: NativeHelper) -> None:
    path = native_helper.cxx("tls_late.cpp")
    seen = {kind: child(late_destructors, path, kind).stdout for kind in KINDS}
    assert set(seen.values()) == {"made, gone, gone elsewhere, stays loaded: 100 0 0 True\n"}, seen
