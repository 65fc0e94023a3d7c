"""Step 2 without C: what fork copies.

A child that only has to end calls abs(0) of the C library, on a stack of its own, so that it may share the memory.
The child that writes to pages is Python's own os.fork(): it has some hundred faults for itself, which are subtracted.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable
from functools import partial

from cffi import FFI

CLONE_VM, CLONE_VFORK = 0x100, 0x4000
STACK = 64 * 1024

ffi = FFI()
ffi.cdef("int clone(int (*function)(void *), void *stack, int flags, void *argument, ...); extern int abs;")
lib = ffi.dlopen(None)
NOTHING = ffi.cast("int (*)(void *)", ffi.addressof(lib, "abs"))
stack = ffi.new("char[]", STACK)


def touched(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    dirty(memory, size // mmap.PAGESIZE)
    return memory


def dirty(memory: mmap.mmap, pages: int) -> None:
    for page in range(pages):
        memory[page * mmap.PAGESIZE] = 1


def make_child(flags: int) -> None:
    os.waitpid(lib.clone(NOTHING, stack + STACK, flags | signal.SIGCHLD, ffi.NULL), 0)


def microseconds(call: Callable[[], None]) -> float:
    """The best of eleven."""
    took = []
    for _ in range(11):
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return min(took) * 1e6


def faults_of_child(memory: mmap.mmap, pages: int) -> int:
    if (child := os.fork()) == 0:
        dirty(memory, pages)
        os._exit(0)
    return os.wait4(child, 0)[2].ru_minflt


def main() -> None:
    print(f"{'memory':12}{'fork':>12}{'vfork':>12}{'clone':>12}")
    for size in (8, 32, 128, 512):
        memory = touched(size << 20)
        times = [microseconds(partial(make_child, flags)) for flags in (0, CLONE_VM | CLONE_VFORK, CLONE_VM)]
        print(f"{size:6} MiB  {times[0]:9.0f} µs{times[1]:9.0f} µs{times[2]:9.0f} µs")
        memory.close()

    memory = touched(1000 * mmap.PAGESIZE)
    own = faults_of_child(memory, 0)
    print("\npage faults of a child of fork that writes to")
    for pages in (1, 10, 1000):
        print(f"{pages:6} pages  {faults_of_child(memory, pages) - own:6}")


if __name__ == "__main__":
    main()
