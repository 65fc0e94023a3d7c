"""Destructors of C++ thread_locals at the end of threads of each kind, against threads of the C library."""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NativeHelper, in_child, run_thread

import runtime
from runtime.scheduler import Scheduler


@pytest.fixture
def late_library(native_helper: NativeHelper) -> str:
    return native_helper.cxx("tls_late.cpp")


@pytest.mark.parametrize("kind", ["pthread", "thread", "green"])
@in_child
def test_an_object_made_by_a_key_destructor_is_not_destroyed(kind: str, late_library: str) -> None:
    """In threads that others follow on the same stack and TLS block, as in those of the C library."""

    def run(target: Callable[[], object]) -> None:
        if kind == "green":
            on = Scheduler()
            on.spawn(target)
            on.run()
        else:
            run_thread((threading if kind == "pthread" else runtime).Thread(target=target))

    library = ctypes.CDLL(late_library)
    assert library.make_key() == 0
    for _ in range(100):
        run(library.use_key)
        run(lambda: [bytes(1000 + number) for number in range(10)])
    counts = (ctypes.c_int * 3)()
    library.counts(counts)
    assert library.delete_key() == 0
    _ctypes.dlclose(library._handle)
    assert list(counts) == [100, 0, 0], "made, gone, gone elsewhere"
    assert Path(late_library).name in Path("/proc/self/maps").read_text(), "it stays loaded"
