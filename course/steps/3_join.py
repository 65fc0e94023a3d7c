"""Step 3 without C: threads of one process, and a join on a futex.

The threads may not be Python's: they have main's thread pointer, so the interpreter would take them for main.  Each
calls pthread_barrier_wait(), which needs only the barrier and the kernel, and ends when main comes to the barrier, too.
"""

from __future__ import annotations

import os
import platform
from typing import Any

from cffi import FFI

# VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, PARENT_SETTID, CHILD_CLEARTID
THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000
STACK, THREADS = 64 * 1024, 3
SYS_futex = {"x86_64": 202, "aarch64": 98}[platform.machine()]
FUTEX_WAIT = 0

ffi = FFI()
ffi.cdef(
    """
    int clone(int (*function)(void *), void *stack, int flags, void *argument, ...);
    long syscall(long number, ...);
    int pthread_barrier_init(void *barrier, void *attributes, unsigned count);
    int pthread_barrier_wait(void *barrier);
    struct thread { int tid, alive; };
    """
)
lib = ffi.dlopen(None)


def wait_while(word: Any, value: int) -> None:
    """word: of type int *.  cffi gives up the GIL while the call sleeps."""
    while word[0] == value:
        lib.syscall(SYS_futex, word, ffi.cast("int", FUTEX_WAIT), ffi.cast("int", value), ffi.NULL)


def main() -> None:
    barrier = ffi.new("long[8]")
    lib.pthread_barrier_init(barrier, ffi.NULL, THREADS + 1)
    function = ffi.cast("int (*)(void *)", ffi.addressof(lib, "pthread_barrier_wait"))
    threads = ffi.new("struct thread[]", THREADS)
    stacks = [ffi.new("char[]", STACK) for _ in range(THREADS)]

    for thread, stack in zip(threads, stacks, strict=True):
        thread.alive = 1
        tid, alive = (ffi.addressof(thread, name) for name in ("tid", "alive"))
        lib.clone(function, stack + STACK, THREAD_FLAGS, barrier, tid, ffi.NULL, alive)
    print("tasks in /proc/self/task:", len(os.listdir("/proc/self/task")))
    try:
        os.waitpid(threads[0].tid, 0)
    except ChildProcessError as error:
        print("waitpid of the first:", error.strerror)

    lib.pthread_barrier_wait(barrier)
    for thread in threads:
        wait_while(ffi.addressof(thread, "alive"), 1)
    print("main is", os.getpid())
    for thread in threads:
        print(f"thread {thread.tid}: alive {thread.alive}")


if __name__ == "__main__":
    main()
