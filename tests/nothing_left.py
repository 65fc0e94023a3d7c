"""After each test: a look at what it has left."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from holdings import POOLS, Holdings, is_pool
from native_helper import NativeHelper
from this_machine import SLOW

import runtime.native.structures  # noqa: F401 - cffi's memory is none that a test leaves behind

with suppress(ModuleNotFoundError):  # nor is the tools' C, where they are installed
    import lwp.study.structures  # noqa: F401

_SETTLE = SLOW * 10  # seconds until it counts as left: the kernel is not done when it has cleared a thread's word
#: Bytes that Python, pytest and malloc may keep from one test: 25 MiB of a livelock of 40,000 steps that is made
#: simpler, and no more of the next one, because Python gives back only arenas in which nothing is left.
_NOISE = 32 << 20
#: What a thread allocates in a free-threaded CPython and another frees after its end stays in the allocator's pools
#: until a thread takes it over: 70 MiB after three of threading's with 150,000 tuples each.  So what is given out of
#: them is counted, in place of their pages.
_BLOCK = 64  # bytes that one of Python's objects takes, about
#: glibc keeps that much of the stacks of its own threads (nptl/allocatestack.c, stack_cache_maxsize).
_STOCK_STACKS = 40 << 20
_PER_CONTEXT = 128 << 10  # resident bytes that a cached context may keep: 64 KiB of stack, TLS, tcache, arena
_PER_THREAD = 4 << 10  # bytes that Python's allocator may keep for each thread that was alive with the others
_libc = ctypes.CDLL(None)


def _resident() -> int:
    """Bytes, anonymous, without those of pools."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    maps = Path("/proc/self/smaps").read_text() if POOLS else ""
    mappings = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .*?^Anonymous: +(\d+) kB", maps, re.M | re.S)
    pools = sum(int(size) for low, high, size in mappings if is_pool(int(low, 16), int(high, 16)))
    return (int(found[1]) - pools) << 10


def _blocks_from_pools() -> int:
    """To be called when no thread is left, because those of all threads are counted without a lock."""
    return sys.getallocatedblocks() if POOLS else 0


def pytest_collection_finish() -> None:
    """Each gc.collect() from now on looks only at what tests have made: it would be nine tenths of a short test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, native_helper: NativeHelper) -> Iterator[None]:
    """After each test: no thread, mapping, memory, descriptor or child process that was not there before."""
    begin = time.thread_time()
    gc.collect()
    if time.thread_time() - begin > 0.01:  # it has looked at modules and caches that earlier tests have made for good
        gc.freeze()
    before, resident, blocks = Holdings.now(), _resident(), _blocks_from_pools()
    yield
    may_load = request.node.get_closest_marker("loads") is not None
    stock_stacks = _STOCK_STACKS if request.node.get_closest_marker("stock_threads") else 0
    deadline = time.monotonic() + _SETTLE
    while True:
        gc.collect()
        after = Holdings.now()
        new = after.contexts - before.contexts
        left = before.left(after, _NOISE + new * _PER_THREAD + stock_stacks)
        # Parts of the standard library come when they are first needed.
        files = [file for file in after.files - before.files if "/lib-dynload/" not in file]
        if files and not may_load:
            left.append(f"mapped files: {', '.join(sorted(files))} (is the test marked `loads`?)")
        if (more := _resident() - resident) > _NOISE + new * _PER_CONTEXT:
            left.append(f"resident memory: {more >> 10} KiB more with {new} new contexts")
        if not left and (more := _blocks_from_pools() - blocks) > _NOISE // _BLOCK:
            left = [f"blocks of Python's allocator: {more} more"]
        if not left:
            return
        if time.monotonic() > deadline:
            pytest.fail("left behind by the test:\n  " + "\n  ".join(left))
        # Free memory: at a heap's top malloc keeps twice the largest block that was mapped and is free again
        # (mallopt(3), M_TRIM_THRESHOLD), so twice the 16 MiB of a file of records.
        _libc.malloc_trim(0)
        time.sleep(0.01)
