"""The flags of clone(2), which say what a new LWP shares with its creator; and where a thread's memory lies."""

from __future__ import annotations

import signal
from enum import IntFlag
from typing import NamedTuple

from . import native

__all__ = ["THREAD_FLAGS", "Clone", "Context", "checked_flags", "checked_thread_flags"]


class Clone(IntFlag):
    """The flags of clone(2): what the new LWP shares with its creator, and what the kernel does on the way.

    `Clone.FILES.meaning` is one line on a flag.  No thread is without VM, SETTLS, PARENT_SETTID and CHILD_CLEARTID,
    which are added where they are left out.
    """

    VM = 0x00000100
    FS = 0x00000200
    FILES = 0x00000400
    SIGHAND = 0x00000800
    PIDFD = 0x00001000
    PTRACE = 0x00002000
    VFORK = 0x00004000
    PARENT = 0x00008000
    THREAD = 0x00010000
    NEWNS = 0x00020000
    SYSVSEM = 0x00040000
    SETTLS = 0x00080000
    PARENT_SETTID = 0x00100000
    CHILD_CLEARTID = 0x00200000
    DETACHED = 0x00400000
    UNTRACED = 0x00800000
    CHILD_SETTID = 0x01000000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    IO = 0x80000000

    @property
    def meaning(self) -> str:
        """What the flag shares or does, in one line; for a combination, a line for each."""
        return "\n".join(_MEANINGS[flag] for flag in Clone if flag in self)


_MEANINGS = {
    Clone.VM: "one memory: what one writes the other sees; without it the child runs on a copy, as after fork",
    Clone.FS: "one root, working directory and umask; without it chdir in one leaves the other where it is",
    Clone.FILES: "one table of file descriptors; without it close in one leaves the other's open",
    Clone.SIGHAND: "one table of signal handlers; without it a copy; needs VM, since handlers are addresses",
    Clone.PIDFD: "the kernel makes a file descriptor for the child; refused here: it is written where the tid goes",
    Clone.PTRACE: "a debugger that traces the creator traces the child too",
    Clone.VFORK: "the creator sleeps until the child has ended or called exec",
    Clone.PARENT: "the child becomes the creator's sibling; refused here: only their parent could wait for it",
    Clone.THREAD: "one process: one pid, its signals reach either; without it a child to wait for; needs SIGHAND",
    Clone.NEWNS: "its own mount namespace",
    Clone.SYSVSEM: "one list of semaphore operations (System V) to undo when the last sharer ends; without it one each",
    Clone.SETTLS: "the kernel sets the child's thread pointer; without it both have one errno and one identity",
    Clone.PARENT_SETTID: "the kernel writes the tid into memory before the child runs; without it perhaps after",
    Clone.CHILD_CLEARTID: "at its end the kernel writes 0 to a word and wakes a joiner; without it nobody is told",
    Clone.DETACHED: "nothing: ignored by the kernel since Linux 2.6",
    Clone.UNTRACED: "a tracer can't force PTRACE on the child",
    Clone.CHILD_SETTID: "the kernel writes the tid into the child's memory: fork's child has a copy",
    Clone.NEWCGROUP: "its own cgroup namespace",
    Clone.NEWUTS: "its own host and domain name",
    Clone.NEWIPC: "its own System V IPC and POSIX message queues",
    Clone.NEWUSER: "its own user namespace",
    Clone.NEWPID: "its own pid namespace: the child is pid 1 there",
    Clone.NEWNET: "its own network stack",
    Clone.IO: "one I/O context: the block layer schedules both as one",
}

#: What an ordinary thread is made with: it shares all that can be shared, except the I/O context.
THREAD_FLAGS = Clone(native.THREAD_FLAGS)

_OWN_FLAGS = Clone(native.OWN_FLAGS)  # added to each LWP that shares our memory
_ALL_FLAGS = int(Clone(sum(Clone)))


def _check_are_flags(flags: object) -> None:
    if not isinstance(flags, int):
        raise TypeError(f"flags must be runtime.Clone's, not {type(flags).__name__}")


def checked_flags(flags: int, exit_signal: int) -> Clone:
    """The flags that clone(2) gets; ValueError names the rule of the kernel that a combination breaks."""
    _check_are_flags(flags)
    if flags & ~_ALL_FLAGS:
        low = flags & 0xFF
        hint = f"the exit signal {low} goes in exit_signal" if low else "not flags of clone(2)"
        raise ValueError(f"flags {flags:#x} has other bits than CLONE_* flags: {hint}")
    if not 0 <= exit_signal < signal.NSIG:
        raise ValueError(f"exit_signal must be 0 or a signal number below {signal.NSIG}, not {exit_signal}")
    flags = Clone(flags)
    if Clone.THREAD in flags and Clone.SIGHAND not in flags:
        raise ValueError("CLONE_THREAD needs CLONE_SIGHAND: threads of one process share their signal handlers")
    if Clone.SIGHAND in flags and Clone.VM not in flags:
        raise ValueError("CLONE_SIGHAND needs CLONE_VM: handlers are addresses in one memory")
    if Clone.THREAD in flags and exit_signal:
        raise ValueError("exit_signal needs a process-style LWP: with CLONE_THREAD the kernel sends no signal")
    if Clone.FS in flags and flags & (Clone.NEWNS | Clone.NEWUSER):
        raise ValueError("CLONE_FS can't go with CLONE_NEWNS or CLONE_NEWUSER: one root in two mount namespaces")
    if Clone.SYSVSEM in flags and Clone.NEWIPC in flags:
        raise ValueError("CLONE_SYSVSEM can't go with CLONE_NEWIPC: one undo list over two IPC namespaces")
    if Clone.PIDFD in flags:
        raise ValueError("CLONE_PIDFD can't be used: clone(2) writes it where the tid goes; os.pidfd_open() gives one")
    if Clone.PARENT in flags:
        raise ValueError("CLONE_PARENT can't be used: the LWP would be our parent's child, so join() could not reap it")
    return flags | _OWN_FLAGS if Clone.VM in flags else flags


def checked_thread_flags(flags: int) -> Clone:
    """The flags that clone(2) gets for a thread of this process; ValueError also without Clone.THREAD."""
    if flags is THREAD_FLAGS:  # IntFlag's operators take microseconds
        return THREAD_FLAGS
    _check_are_flags(flags)
    if not flags & Clone.THREAD:
        raise ValueError("a Thread needs CLONE_THREAD; runtime.scheduler.spawn() makes process-style LWPs")
    return checked_flags(flags, 0)


class Context(NamedTuple):
    """Where a thread's memory lies: (low, high) pairs of addresses, high excluded."""

    guard: tuple[int, int]  #: touching it is SIGSEGV: a stack overflow stops here
    stack: tuple[int, int]  #: grows from high to low
    tls_block: tuple[int, int]  #: static TLS of all modules and struct pthread
    thread_pointer: int  #: what the thread pointer register holds
