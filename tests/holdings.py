"""What a process holds that a thread could leave behind: tests and the mixes of stress/ compare it."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from runtime import native

#: Where the first pools of a free-threaded CPython's allocator lie, and no mapping whose place the kernel chooses
#: (Objects/mimalloc/os.c, MI_HINT_BASE, MI_HINT_MAX).
POOLS = range(2 << 40, 30 << 40) if sysconfig.get_config_var("Py_GIL_DISABLED") else range(0)
_LARGE_POOL = 2 << 30  # bytes; from the ninth on pools are larger, and lie anywhere (arena.c, mi_arena_reserve)


@dataclass(frozen=True)
class Holdings:
    """What this process holds."""

    tasks: int  # without those of tools that answer `lwp ps`
    alive: int  # LWPs of ours
    borrowed: int  # contexts that are not in the cache
    contexts: int  # made so far
    descriptors: int
    children: frozenset[str]  # pids, zombies' too
    files: frozenset[str]  # mapped
    writable: int  # bytes of private writable memory, without contexts' own and pools

    @classmethod
    def now(cls) -> Holdings:
        native.lwp_reap()
        made, cached, size = native.context_counts()
        tasks = os.listdir("/proc/self/task")
        answering: set[int] = set(getattr(native, "aside_tids", set)())
        writable, files = 0, set()
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, protection, _, device, _, *name = line.split(maxsplit=5)
            if name and name[0].startswith("/"):
                files.add(name[0])
            elif protection == "rw-p" and device == "00:00":  # what malloc reserves for arenas doesn't count
                low, high = (int(end, 16) for end in span.split("-"))
                if not is_pool(low, high):
                    writable += high - low
        return cls(
            tasks=len({*map(int, tasks)}.difference(answering)),
            alive=native.lwp_alive(),
            borrowed=made - cached,
            contexts=made,
            descriptors=len(os.listdir("/proc/self/fd")),
            children=frozenset(pid for tid in tasks for pid in _children_of(tid)),
            files=frozenset(files),
            writable=writable - size,
        )

    def left(self, after: Holdings, noise: int) -> list[str]:
        """What `after` has in addition, each in a line, except files.

        noise: bytes of memory that Python and malloc may keep.
        """
        found = [
            f"{name}: {getattr(self, name)} before, {getattr(after, name)} after"
            for name in ("tasks", "alive", "borrowed", "descriptors")
            if getattr(after, name) > getattr(self, name)
        ]
        if children := after.children - self.children:
            found.append(f"child processes, or zombies of such: {', '.join(children)}")
        if (more := after.writable - self.writable) > noise:
            found.append(f"mapped memory that belongs to no context: {more >> 10} KiB more")
        return found


def is_pool(low: int, high: int) -> bool:
    """Whether the mapping is one of the pools of a free-threaded CPython's allocator."""
    return bool(POOLS) and (low in POOLS or high - low >= _LARGE_POOL)


def _children_of(tid: str) -> list[str]:
    try:
        return Path(f"/proc/self/task/{tid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):  # the task has just ended
        return []
