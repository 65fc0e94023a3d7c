"""For gdb: the names of threads, and green threads, in a process or a core file.

    gdb -x .../lwp/study/gdb_threads.py -p PID
    (gdb) info threads       each Thread and LWP now has its name; `name-threads` again, when there are new ones
    (gdb) info greens        green threads, and which LWP is in one
    (gdb) green              the stacks of green threads that no LWP is in; `green IDENT`: the stack of one

It reads memory, and calls nothing in the process.  Of the core it needs symbols only, which a wheel has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import gdb
from gdb.unwinder import register_unwinder


@dataclass(frozen=True)
class Facts:
    """`runtime_debug` of runtime/native/debug.c, in its order."""

    registry: int
    newer: int
    alive: int
    tid: int
    ident: int
    name: int
    name_size: int
    stack_low: int
    stack_high: int
    scheduler: int
    sp: int


@dataclass(frozen=True)
class Thread:
    tid: int
    ident: int
    name: str
    green: bool
    stack: range
    sp: int  #: where a green one is resumed


@dataclass(frozen=True)
class FrameId:
    sp: gdb.Value
    pc: gdb.Value


#: What runtime_swap_...() leaves on a stack (arch/): its size, and where which register lies.
SWAPPED = {
    "x86-64": (64, {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48, "rip": 56}),
    "aarch64": (176, {"pc": 8, "x29": 0, **{f"x{19 + n}": 16 + 8 * n for n in range(10)}}),
}
#: Of aarch64, the same in all threads: how return addresses are signed, the size of vectors.
SAME = ("pauth_dmask", "pauth_cmask", "pauth_dmask_high", "pauth_cmask_high", "vg")


def words(address: int, count: int = 1) -> tuple[int, ...]:
    return struct.unpack(f"={count}Q", gdb.selected_inferior().read_memory(address, 8 * count).tobytes())


def threads() -> Iterator[Thread]:
    """The threads that are alive: the registry of kernel/lwp/registry.c, newest first."""
    count = len(Facts.__dataclass_fields__)
    facts = Facts(*words(int(gdb.parse_and_eval("(unsigned long) &runtime_debug")), count))
    (at,) = words(facts.registry + facts.newer)
    while at != facts.registry:
        alive, tid = (words(at + offset)[0] & 0xFFFFFFFF for offset in (facts.alive, facts.tid))
        name = gdb.selected_inferior().read_memory(at + facts.name, facts.name_size).tobytes().partition(b"\0")[0]
        if alive:
            (scheduler,), (sp,) = words(at + facts.scheduler), words(at + facts.sp)
            stack = range(words(at + facts.stack_low)[0], words(at + facts.stack_high)[0])
            (ident,) = words(at + facts.ident)
            yield Thread(tid, ident, name.decode(errors="replace"), scheduler != 0, stack, sp)
        (at,) = words(at + facts.newer)


def stack_pointers() -> dict[int, int]:
    """The stack pointer of each LWP, by tid."""
    before, found = gdb.selected_thread(), {}
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        try:
            found[thread.ptid[1]] = int(gdb.parse_and_eval("(unsigned long) $sp"))
        except gdb.error:  # in a core libthread_db lists green threads, which have no registers there
            continue
    if before:
        before.switch()
    return found


def name_threads() -> None:
    named = {thread.tid: thread.name for thread in threads() if thread.name and not thread.green}
    for thread in gdb.selected_inferior().threads():
        if thread.ptid[1] in named:
            thread.name = named[thread.ptid[1]]


def greens() -> Iterator[tuple[Thread, int | None]]:
    """Each green thread, and the tid of the LWP that is in it."""
    pointers = stack_pointers()
    for thread in threads():
        if thread.green:
            yield thread, next((tid for tid, sp in pointers.items() if sp in thread.stack), None)


class Resumed(gdb.unwinder.Unwinder):  # type: ignore[misc]  # gdb has no types
    """While `sp` is set, the caller of the innermost frame is that of the green thread that was left with this sp.

    Registers can't be changed in a core, and should not be in a process.
    """

    def __init__(self) -> None:
        super().__init__("green threads")
        self.sp: int | None = None

    def __call__(self, pending: gdb.PendingFrame) -> gdb.UnwindInfo | None:
        if self.sp is None or pending.level() != 0:
            return None
        size, places = SWAPPED[pending.architecture().name().removeprefix("i386:")]
        pc, sp = pending.read_register("pc"), pending.read_register("sp")
        # Callers must be further up on the stack, or gdb takes the stack for a corrupt one: so this looks as if it lay
        # there.
        info = pending.create_unwind_info(FrameId(gdb.Value(self.sp).cast(sp.type), pc))
        for name, offset in places.items():
            kind = pending.read_register(name).type
            info.add_saved_register(name, gdb.Value(words(self.sp + offset)[0]).cast(kind))
        for name in SAME if "x29" in places else ():
            with suppress(ValueError):  # this processor, or this gdb, has no such register
                info.add_saved_register(name, pending.read_register(name))
        info.add_saved_register("rsp" if "rip" in places else "sp", gdb.Value(self.sp + size).cast(sp.type))
        return info


resumed = Resumed()
register_unwinder(None, resumed, replace=True)


def backtrace(thread: Thread) -> str:
    resumed.sp = thread.sp
    gdb.invalidate_cached_frames()
    try:
        text = gdb.execute("backtrace", to_string=True)
    finally:
        resumed.sp = None
        gdb.invalidate_cached_frames()
    _, _, callers = text.partition("\n#1 ")  # the innermost is the selected thread's own
    return f"#1 {callers}"


class NameThreads(gdb.Command):  # type: ignore[misc]
    """Has `info threads` show the names of the runtime's threads."""

    def __init__(self) -> None:
        super().__init__("name-threads", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        name_threads()


class InfoGreens(gdb.Command):  # type: ignore[misc]
    """Lists green threads."""

    def __init__(self) -> None:
        super().__init__("info greens", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        for thread, tid in greens():
            print(f'{thread.ident:#x} "{thread.name}" {f"LWP {tid} is in it" if tid else "no LWP is in it"}')


class Green(gdb.Command):  # type: ignore[misc]
    """Backtraces of the green threads that no LWP is in, or of the thread with that ident."""

    def __init__(self) -> None:
        super().__init__("green", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        wanted = int(gdb.parse_and_eval(argument)) if argument else None
        for thread, tid in greens():
            if wanted in (None, thread.ident) and not tid:
                print(f'\n{thread.ident:#x} "{thread.name}":\n{backtrace(thread)}', end="")


NameThreads()
InfoGreens()
Green()
if gdb.selected_thread():
    name_threads()
