"""Step 5 without C: what pthread_mutex_lock() and fork() miss in such a thread.

The other rows of the page need a function that does more than one call, which would be Python in a thread that isn't
one yet.  These two take one argument or none.  Each is tried in a process of its own.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

from cffi import FFI

# VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, and VFORK: main waits until the thread has ended
THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x4000
STACK = 64 * 1024
RECURSIVE = 1
ON_X86 = platform.machine() == "x86_64"

ffi = FFI()
ffi.cdef(
    """
    int clone(int (*function)(void *), void *stack, int flags, void *argument, ...);
    char *pthread_self(void);
    char *_dl_allocate_tls(void *memory);
    struct list { struct list *next, *prev; };
    extern char _rtld_global[];
    extern unsigned _thread_db_sizeof_pthread, _thread_db_pthread_tid[3], _thread_db_pthread_list[3],
        _thread_db_rtld_global__dl_stack_user[3];
    int pthread_mutexattr_init(void *attributes);
    int pthread_mutexattr_settype(void *attributes, int type);
    int pthread_mutex_init(void *mutex, void *attributes);
    int pthread_mutex_trylock(void *mutex);
    extern int pthread_mutex_lock, fork;
    """
)
lib = ffi.dlopen(None)


def run_thread(name: str, argument: object, complete: bool) -> None:
    """A thread that calls a function of the C library, and has ended; complete: its tid is known, and it is listed."""
    tp = lib._dl_allocate_tls(ffi.NULL)
    pthread = tp if ON_X86 else tp - lib._thread_db_sizeof_pthread
    if ON_X86:
        tcb, mine = ffi.cast("char **", tp), ffi.cast("char **", lib.pthread_self())
        tcb[0] = tcb[2] = tp
        tcb[5], tcb[6] = mine[5], mine[6]
    if complete:
        head = ffi.cast("struct list *", lib._rtld_global + lib._thread_db_rtld_global__dl_stack_user[2])
        link = ffi.cast("struct list *", pthread + lib._thread_db_pthread_list[2])
        link.next, link.prev = head.next, head
        head.next.prev = link
        head.next = link
    tid = ffi.cast("int *", pthread + lib._thread_db_pthread_tid[2]) if complete else ffi.new("int *")
    stack = ffi.new("char[]", STACK)
    function = ffi.cast("int (*)(void *)", ffi.addressof(lib, name))
    lib.clone(function, stack + STACK, THREAD_FLAGS, argument, tid, tp)


def try_mutex(complete: bool) -> str:
    attributes, mutex = ffi.new("long[8]"), ffi.new("long[8]")
    lib.pthread_mutexattr_init(attributes)
    lib.pthread_mutexattr_settype(attributes, RECURSIVE)
    lib.pthread_mutex_init(mutex, attributes)
    run_thread("pthread_mutex_lock", mutex, complete)
    return "main must wait" if lib.pthread_mutex_trylock(mutex) else "main locks it as well"


def try_fork(complete: bool) -> str:
    run_thread("fork", ffi.NULL, complete)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    return "its child crashes" if status < 0 else "its child lives"


def outcome(trial: Callable[[bool], str], complete: bool) -> str:
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, trial(complete).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read) as said:
        return said.read()


def main() -> None:
    print(f"{'call':11}{'what is missing':18}{'without it':25}with it")
    for name, missing, trial in [("mutex", "tid", try_mutex), ("fork", "glibc's list", try_fork)]:
        print(f"{name:11}{missing:18}{outcome(trial, False):25}{outcome(trial, True)}")


if __name__ == "__main__":
    main()
