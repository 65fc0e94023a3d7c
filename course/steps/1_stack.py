"""Step 1 without C: a child with a stack of its own.

The child may not be Python: it runs in the interpreter's memory, without the GIL and without a thread state.  So its
first function is one of the C library's that takes one argument, and each change has a child of its own.  A handler for
a signal needs two arguments, so CLONE_SIGHAND isn't tried.
"""

from __future__ import annotations

import os
import signal

from cffi import FFI

CLONE_VM, CLONE_FS, CLONE_FILES = 0x100, 0x200, 0x400
STACK = 64 * 1024

ffi = FFI()
ffi.cdef(
    """
    int clone(int (*function)(void *), void *stack, int flags, void *argument, ...);
    extern int close, chdir, uname;  /* their addresses only */
    """
)
lib = ffi.dlopen(None)


def make_child(name: str, argument: object, flags: int) -> None:
    """A child that calls a function of the C library with this argument, and has ended."""
    stack = ffi.new("char[]", STACK)
    function = ffi.cast("int (*)(void *)", ffi.addressof(lib, name))
    pid = lib.clone(function, stack + STACK, flags | signal.SIGCHLD, ffi.cast("void *", argument))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def seen(flags: int) -> tuple[str, str, str]:
    """Which of a child's changes its parent sees."""
    buffer = ffi.new("char[]", 4096)
    make_child("uname", buffer, flags)  # writes the system's name

    file = os.open("/dev/null", os.O_WRONLY)
    make_child("close", file, flags)
    try:
        os.write(file, b"x")
        written = "written"
        os.close(file)
    except OSError as error:
        written = error.strerror or ""

    os.chdir("/tmp")
    make_child("chdir", ffi.from_buffer(b"/\0"), flags)
    return ffi.string(buffer).decode() or "empty", written, os.getcwd()


def main() -> None:
    everything = CLONE_VM | CLONE_FS | CLONE_FILES
    print(f"{'shared':24}{'buffer':10}{'write()':22}getcwd()")
    for name, flags in [
        ("all three", everything),
        ("all but CLONE_FILES", everything & ~CLONE_FILES),
        ("all but CLONE_FS", everything & ~CLONE_FS),
        ("all but CLONE_VM", everything & ~CLONE_VM),
        ("nothing", 0),
    ]:
        buffer, written, directory = seen(flags)
        print(f"{name:24}{buffer:10}{written:22}{directory}")


if __name__ == "__main__":
    main()
