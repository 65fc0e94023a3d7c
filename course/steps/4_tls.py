"""Step 4 without C: a thread with an errno of its own.

The thread calls close(-1), which fails and sets errno.  Its TLS block is made by glibc's own _dl_allocate_tls(): laying
the block out by hand needs dl_iterate_phdr() and memcpy(), which is in the page.  There is no __thread variable either,
because those are declared in C; errno is one of glibc's.
"""

from __future__ import annotations

import platform

from cffi import FFI

# VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, and VFORK: main stands still until the thread has ended.  Otherwise main
# would write to the errno that they share, as the interpreter does around a call that gives up the GIL.
THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x4000
CLONE_SETTLS = 0x80000
STACK = 64 * 1024

ffi = FFI()
ffi.cdef(
    """
    int clone(int (*function)(void *), void *stack, int flags, void *argument, ...);
    char *pthread_self(void);
    int *__errno_location(void);
    char *_dl_allocate_tls(void *memory);
    extern unsigned _thread_db_sizeof_pthread;
    extern int close;
    """
)
lib = ffi.dlopen(None)


def thread_pointer() -> object:
    """struct pthread begins there on x86-64, and ends there on aarch64."""
    return lib.pthread_self() + (0 if platform.machine() == "x86_64" else lib._thread_db_sizeof_pthread)


def new_tls() -> object:
    tp = lib._dl_allocate_tls(ffi.NULL)
    if platform.machine() == "x86_64":
        tcb, mine = ffi.cast("char **", tp), ffi.cast("char **", lib.pthread_self())
        tcb[0] = tcb[2] = tp
        tcb[5], tcb[6] = mine[5], mine[6]
    return tp


def run_thread(flags: int, tp: object) -> None:
    stack = ffi.new("char[]", STACK)
    function = ffi.cast("int (*)(void *)", ffi.addressof(lib, "close"))
    lib.clone(function, stack + STACK, THREAD_FLAGS | flags, ffi.cast("void *", -1), ffi.NULL, tp)


def main() -> None:
    distance = ffi.cast("char *", lib.__errno_location()) - thread_pointer()
    print(f"errno is at tp{distance:+}")
    for name, flags, tp in [
        ("without CLONE_SETTLS", 0, ffi.NULL),
        ("with CLONE_SETTLS", CLONE_SETTLS, new_tls()),
    ]:
        ffi.errno = 0  # cffi copies it to errno before a call, and back after it
        run_thread(flags, tp)
        theirs = ffi.cast("int *", tp + distance)[0] if tp else ffi.errno
        print(f"{name:22} main's errno {ffi.errno}, the thread's {theirs}")


if __name__ == "__main__":
    main()
