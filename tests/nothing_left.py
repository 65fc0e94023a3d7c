"""After each test: a look at what it has left."""

from __future__ import annotations

import gc
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from native_helper import NativeHelper
from this_machine import SLOW

import runtime.native.structures  # noqa: F401 - cffi's memory is none that a test leaves behind
from runtime import scheduler
from runtime.native import context_counts, lwp_reap

_SETTLE = SLOW * 10  # seconds until it counts as left: the kernel is not done when it has cleared a thread's word
_NOISE = 24 << 20  # bytes that Python, pytest and malloc may keep from one test
#: Where the pools of a free-threaded CPython's allocator lie, and no mapping whose place the kernel chooses
#: (Objects/mimalloc/os.c, MI_HINT_BASE, MI_HINT_MAX).  What a thread allocates and another frees after its end stays
#: there until a thread takes it over: 70 MiB after three of threading's with 150,000 tuples each.  So what is given out
#: of the pools is counted, in place of their pages.
_POOLS = range(2 << 40, 30 << 40) if sysconfig.get_config_var("Py_GIL_DISABLED") else range(0)
_BLOCK = 64  # bytes that one of Python's objects takes, about
_STOCK_STACKS = (
    40 << 20
)  # glibc keeps that much of the stacks of its own threads (nptl/allocatestack.c, stack_cache_maxsize)
_PER_CONTEXT = 128 << 10  # resident bytes that a cached context may keep: 64 KiB of stack, TLS, tcache, arena
_PER_THREAD = 4 << 10  # bytes that Python's allocator may keep for each thread that was alive with the others


@dataclass(frozen=True)
class Holdings:
    """What this process holds that a thread could have left."""

    tasks: int
    alive: int  # LWPs of ours
    borrowed: int  # contexts that are not in the cache
    contexts: int  # made so far
    descriptors: int
    children: frozenset[str]  # pids, zombies' too
    files: frozenset[str]  # mapped
    writable: int  # bytes of private writable memory, without contexts' own
    resident: int  # bytes, anonymous, without those of pools

    @classmethod
    def now(cls) -> Holdings:
        lwp_reap()
        made, cached, size = context_counts()
        tasks = os.listdir("/proc/self/task")
        writable, files = 0, set()
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, protection, _, device, _, *name = line.split(maxsplit=5)
            if name and name[0].startswith("/"):
                if "/lib-dynload/" not in name[0]:  # parts of the standard library come when first needed
                    files.add(name[0])
            elif protection == "rw-p" and device == "00:00":  # not what malloc reserves for arenas
                low, high = (int(end, 16) for end in span.split("-"))
                if low not in _POOLS:
                    writable += high - low
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return cls(
            tasks=len(tasks),
            alive=scheduler.statistics().alive,
            borrowed=made - cached,
            contexts=made,
            descriptors=len(os.listdir("/proc/self/fd")),
            children=frozenset(pid for tid in tasks for pid in _children_of(tid)),
            files=frozenset(files),
            writable=writable - size,
            resident=(int(found[1]) << 10) - _resident_in_pools(),
        )

    def left(self, after: Holdings, may_load: bool, stock_stacks: int) -> list[str]:
        """What `after` has more than this, each in a line."""
        new = after.contexts - self.contexts
        found = [
            f"{name}: {getattr(self, name)} before, {getattr(after, name)} after"
            for name in ("tasks", "alive", "borrowed", "descriptors")
            if getattr(after, name) > getattr(self, name)
        ]
        if children := after.children - self.children:
            found.append(f"child processes, or zombies of such: {', '.join(children)}")
        if not may_load and (files := after.files - self.files):
            found.append(f"mapped files: {', '.join(sorted(files))} (is the test marked `loads`?)")
        if (more := after.writable - self.writable) > _NOISE + new * _PER_THREAD + stock_stacks:
            found.append(f"mapped memory that belongs to no context: {more >> 10} KiB more")
        if (more := after.resident - self.resident) > _NOISE + new * _PER_CONTEXT:
            found.append(f"resident memory: {more >> 10} KiB more with {new} new contexts")
        return found


def _resident_in_pools() -> int:
    if not _POOLS:
        return 0
    mappings = re.findall(r"^([0-9a-f]+)-.*?^Anonymous: +(\d+) kB", Path("/proc/self/smaps").read_text(), re.M | re.S)
    return sum(int(size) << 10 for low, size in mappings if int(low, 16) in _POOLS)


def _blocks_from_pools() -> int:
    """Only for who has seen that no thread is left: those of all threads are counted, without a lock."""
    return sys.getallocatedblocks() if _POOLS else 0


def _children_of(tid: str) -> list[str]:
    try:
        return Path(f"/proc/self/task/{tid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # the task has just ended
        return []


def pytest_collection_finish() -> None:
    """Each gc.collect() from now on looks only at what tests have made: else that is nine tenths of a short test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, native_helper: NativeHelper) -> Iterator[None]:
    """After each test: no thread, mapping, memory, descriptor or child process that was not there before."""
    gc.collect()
    before, blocks = Holdings.now(), _blocks_from_pools()
    yield
    may_load = request.node.get_closest_marker("loads") is not None
    stock_stacks = _STOCK_STACKS if request.node.get_closest_marker("stock_threads") else 0
    deadline = time.monotonic() + _SETTLE
    while True:
        gc.collect()
        left = before.left(Holdings.now(), may_load, stock_stacks)
        if not left and (more := _blocks_from_pools() - blocks) > _NOISE // _BLOCK:
            left = [f"blocks of Python's allocator: {more} more"]
        if not left:
            return
        if time.monotonic() > deadline:
            pytest.fail("left behind by the test:\n  " + "\n  ".join(left))
        time.sleep(0.01)
