"""Which context runs where: LWPs by clone(2), what they share, and what is known of the living.

`spawn` is the low-level call; `runtime.Thread` is threading's vocabulary over it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from . import limits, native
from .green import Deadlock, GreenStatistics, Scheduler, green_statistics, sleep, wait_fd, yield_
from .native import ffi, lib
from .waits import Wait, Waiting, waiting

__all__ = [
    "LWP",
    "THREAD_FLAGS",
    "Clone",
    "Context",
    "Deadlock",
    "GreenStatistics",
    "Scheduler",
    "Statistics",
    "Step",
    "Wait",
    "Waiting",
    "green_statistics",
    "measure",
    "record_steps",
    "sleep",
    "spawn",
    "statistics",
    "wait_fd",
    "waiting",
    "yield_",
]


class Clone(IntFlag):
    """The flags of clone(2): what the new LWP shares with its creator, and what the kernel does on the way.

    `Clone.FILES.meaning` is one line on a flag.
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
    Clone.FS: "one root, working directory and umask: chdir in one moves both",
    Clone.FILES: "one table of file descriptors: close in one closes in both",
    Clone.SIGHAND: "one table of signal handlers; the kernel demands VM with it",
    Clone.PIDFD: "the kernel makes a file descriptor for the child (the place where it is written is taken here)",
    Clone.PTRACE: "whoever traces the creator traces the child too",
    Clone.VFORK: "the creator sleeps until the child has ended or called exec",
    Clone.PARENT: "the child becomes the creator's sibling, its end is told to the creator's parent",
    Clone.THREAD: "same process: one pid, signals to the process reach either; the kernel demands SIGHAND with it",
    Clone.NEWNS: "its own mount namespace",
    Clone.SYSVSEM: "one list of System V semaphore adjustments, undone when the last sharer ends",
    Clone.SETTLS: "the thread pointer register is set: its own TLS block, so its own errno and its own identity",
    Clone.PARENT_SETTID: "the kernel writes the tid into memory before the child runs",
    Clone.CHILD_CLEARTID: "at the child's end the kernel clears a word and wakes who sleeps on it: that is join",
    Clone.DETACHED: "nothing: ignored by the kernel since Linux 2.6",
    Clone.UNTRACED: "a tracer can't force PTRACE on the child",
    Clone.CHILD_SETTID: "the kernel writes the tid into the child's memory",
    Clone.NEWCGROUP: "its own cgroup namespace",
    Clone.NEWUTS: "its own host and domain name",
    Clone.NEWIPC: "its own System V IPC and POSIX message queues",
    Clone.NEWUSER: "its own user namespace",
    Clone.NEWPID: "its own pid namespace: the child is pid 1 there",
    Clone.NEWNET: "its own network stack",
    Clone.IO: "one I/O context: the block layer schedules both as one",
}

#: What an ordinary thread is made with: it shares all that can be shared but the I/O context.
THREAD_FLAGS = (
    Clone.VM
    | Clone.FS
    | Clone.FILES
    | Clone.SYSVSEM
    | Clone.SIGHAND
    | Clone.THREAD
    | Clone.SETTLS
    | Clone.PARENT_SETTID
    | Clone.CHILD_CLEARTID
)

#: Added to every LWP in our memory: without a TCB it would be taken for its creator, without the words not be joined.
_OWN_FLAGS = Clone.SETTLS | Clone.PARENT_SETTID | Clone.CHILD_CLEARTID

_ALL_FLAGS = int(Clone(sum(Clone)))
MIN_STACK = (32 if sys.version_info < (3, 14) else 52) * 1024  # as threading.stack_size()


@dataclass(frozen=True)
class Context:
    """Where a thread's memory lies: (low, high) pairs of addresses, high excluded."""

    guard: tuple[int, int]  #: touching it is SIGSEGV: a stack overflow stops here
    stack: tuple[int, int]  #: grows from high to low
    tls_block: tuple[int, int]  #: static TLS of all modules and struct pthread
    thread_pointer: int  #: what the thread pointer register holds


class LWP(native.LWP):
    """A kernel thread made by clone(2) on a stack, of stack_size bytes, and a TLS block of our own; made by spawn().

    A handle: dropping it lets the thread run on, and its memory is recycled when it has ended.
    """

    __slots__ = ()

    @property
    def flags(self) -> Clone:
        """The flags that were given to clone(2)."""
        return Clone(self._flags)

    @property
    def context(self) -> Context | None:
        """The thread's memory, as numbers that stay when it has ended; None for a process on a copy of memory."""
        if (places := self._places) is None:
            return None
        guard, low, high, block_low, block_high, pointer = places
        return Context((guard, low), (low, high), (block_low, block_high), pointer)

    def join(self, timeout: float | None = None) -> bool:
        done = super().join(timeout)
        if done:
            _processes.discard(self)
        return done

    def detach(self) -> None:
        super().detach()
        _processes.discard(self)

    join.__doc__ = native.LWP.join.__doc__
    detach.__doc__ = native.LWP.detach.__doc__


_processes: set[LWP] = set()  # process-style LWPs in our memory that nobody has joined or detached yet


def _check_are_flags(flags: object) -> None:
    if not isinstance(flags, int):
        raise TypeError(f"flags must be runtime.Clone's, not {type(flags).__name__}")


def _checked(flags: int, exit_signal: int) -> Clone:
    """The flags as they will be used; ValueError names the kernel's rule (clone(2)) that a combination breaks."""
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
    """The flags of a thread of this process; ValueError as spawn(), and without Clone.THREAD."""
    if flags is THREAD_FLAGS:  # IntFlag's operators take microseconds
        return THREAD_FLAGS
    _check_are_flags(flags)
    if not flags & Clone.THREAD:
        raise ValueError("a Thread needs CLONE_THREAD; runtime.scheduler.spawn() makes process-style LWPs")
    return _checked(flags, 0)


def stack_size_or_default(stack_size: int | None) -> int:
    """Bytes of stack for a new thread: as asked, else threading.stack_size(), else what a pthread would get.

    ValueError below MIN_STACK, as threading.stack_size(); TypeError: no integer.
    """
    if stack_size is None:
        return native.stack_size()
    if not isinstance(stack_size, int):
        raise TypeError(f"stack_size must be an integer or None, not {type(stack_size).__name__}")
    if stack_size < MIN_STACK:
        raise ValueError(f"stack_size must be at least {MIN_STACK} bytes, not {stack_size}")
    return stack_size


def reserve(stack_size: int | None = None) -> LWP:
    """An LWP that is not started: its stack and TLS block exist, so its ident is known."""
    size = stack_size_or_default(stack_size)
    try:
        return LWP(size)
    except OSError as error:
        raise cannot_start(error, size) from error


def begin(
    lwp: LWP,
    target: Callable[..., object],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    flags: int = THREAD_FLAGS,
    exit_signal: int = 0,
    name: str | None = None,
    wait: bool = False,
) -> None:
    """Starts a reserved LWP, and waits until it is about to call the target if told to.

    On failure nothing runs, nothing is left, and it may be tried again.
    """
    try:
        lwp._begin(target, args, kwargs, flags, exit_signal, name, wait)
    except OSError as error:
        raise cannot_start(error) from error


def cannot_start(error: OSError, stack_size: int = 0) -> RuntimeError:
    """threading's exception; its cause, the OSError, names the limit that was hit."""
    error.strerror = limits.explain(error, stack_size)
    return RuntimeError("can't start new thread")


def _as_tuple(args: object) -> tuple[Any, ...]:
    if not isinstance(args, Iterable):
        raise TypeError(f"args must be a tuple, or something to make one of, not {type(args).__name__}")
    return tuple(args)


def _as_dict(kwargs: object) -> dict[str, Any]:
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a mapping or None, not {type(kwargs).__name__}")
    return dict(kwargs)


def spawn(
    target: Callable[..., object],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    flags: int = THREAD_FLAGS,
    exit_signal: int = 0,
    stack_size: int | None = None,
    name: str | None = None,
) -> LWP:
    """Runs target(*args, **kwargs) in a new LWP and returns its handle; it may have begun, or ended, by then.

    flags: what it shares, see Clone; with Clone.VM, SETTLS, PARENT_SETTID and CHILD_CLEARTID are always added.
    exit_signal: sent to this process at its end; only for process-style LWPs (without Clone.THREAD).
    stack_size: bytes, at least 32 KiB (52 from Python 3.14 on); None for threading.stack_size(), or the size that a
    pthread would get.
    name: what ps and gdb call it; the kernel keeps 15 bytes.

    A thread's exception goes to sys.unraisablehook, SystemExit just ends it, as with _thread.start_new_thread.

    Without Clone.THREAD it is a process of its own (own pid, reaped by LWP.join); the target's int result or
    SystemExit is its exit status, an exception is printed and gives 1.  In our memory (Clone.VM) it takes turns with
    us for the GIL, and those not joined or detached are joined at the end of the interpreter.  Without Clone.VM it
    runs on a copy of memory, with Python's after-fork work done; it may share more than fork's child (Clone.FILES,
    Clone.FS ...), or have another exit_signal than SIGCHLD, only when this process has one thread: RuntimeError.

    TypeError: the target is not callable, or another argument of a wrong type, before anything is made.
    ValueError: a combination that the kernel refuses.  RuntimeError "can't start new thread": a limit was hit, which
    its cause, an OSError, names.
    """
    if not callable(target):
        raise TypeError(f"target must be callable, not {type(target).__name__}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a string or None, not {type(name).__name__}")
    if type(args) is not tuple:
        args = _as_tuple(args)
    if kwargs is not None and type(kwargs) is not dict:
        kwargs = _as_dict(kwargs)
    if flags is THREAD_FLAGS and not exit_signal:
        lwp = reserve(stack_size)
        begin(lwp, target, args, kwargs, THREAD_FLAGS, 0, name)
        return lwp
    flags = _checked(flags, exit_signal)
    if Clone.VM not in flags:
        return _spawn_copy(target, args, kwargs, flags, exit_signal)
    lwp = reserve(stack_size)
    if Clone.THREAD in flags:
        begin(lwp, target, args, kwargs, flags, 0, name)
    else:
        _processes.add(lwp)
        try:
            begin(lwp, _as_process, (target, args, kwargs or {}), None, flags, exit_signal, name)
        except BaseException:
            if lwp.tid == 0:  # else it runs, and a signal handler has raised in us
                _processes.discard(lwp)
            raise
    return lwp


def _as_process(target: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Runs the target and says what exit status that makes, as the interpreter does for a program."""
    try:
        result = target(*args, **kwargs)
    except SystemExit as request:
        if request.code is None or isinstance(request.code, int):
            return (request.code or 0) & 0xFF
        print(request.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return result & 0xFF if isinstance(result, int) else 0


def _spawn_copy(
    target: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    flags: Clone,
    exit_signal: int,
) -> LWP:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        lwp = LWP(0)
        pid = lwp._fork(flags, exit_signal)
    except BlockingIOError as error:  # EAGAIN
        raise cannot_start(error) from error
    except OSError as error:
        if error.errno == 16:  # EBUSY, from lwp_copy()
            shared = " | ".join(f"CLONE_{flag.name}" for flag in flags)
            which = f"that shares {shared}" if shared else f"with exit signal {exit_signal} and not SIGCHLD"
            raise RuntimeError(
                f"a copy of memory {which} can only be made while this process has a single thread: "
                "any other could hold a lock of the C library in the copy"
            ) from None
        raise cannot_start(error) from error
    if pid == 0:
        status = 1
        try:
            status = _as_process(target, args, kwargs or {})
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return lwp


# ---- what is known of the living -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """Counts over all LWPs of this process; from latency_p50 on, of those since measure(True)."""

    started: int  #: since the process began
    alive: int  #: now
    peak: int  #: most alive at once
    measured: int  #: threads that the rest is about
    latency_p50: float  #: seconds from before clone(2) to the thread's first line in C
    latency_p99: float  #: the same; both right to about a fifth
    cpu: float  #: seconds of user and system time of the ended ones
    voluntary: int  #: context switches because it slept
    involuntary: int  #: context switches because its time was up
    stack_used: int  #: bytes of stack, the deepest of all


def measure(on: bool) -> None:
    """Switches the measuring of each thread on (from zero) or off; off it costs nothing."""
    lib.lwp_measure(on)


def statistics() -> Statistics:
    """What is counted so far."""
    found = ffi.new("struct lwp_statistics *")
    lib.lwp_read_statistics(found)
    return Statistics(
        found.started,
        found.alive,
        found.peak,
        found.measured,
        found.latency_p50_ns / 1e9,
        found.latency_p99_ns / 1e9,
        found.cpu_ns / 1e9,
        found.voluntary,
        found.involuntary,
        found.stack_used,
    )


@dataclass(frozen=True)
class Step:
    """One thing that happened to a thread; native/base/steps.h says what a and b are for each name."""

    ns: int  #: CLOCK_MONOTONIC, nanoseconds
    tid: int  #: who did it
    name: str  #: one of STEP_NAMES
    a: int  #: an address, a number or a flag, as it comes with that name
    b: int  #: likewise


# In the order of enum step_kind.
STEP_NAMES = (
    "map",
    "guard",
    "reuse",
    "tls",
    "tcb",
    "list",
    "mask",
    "clone",
    "cloned",
    "born",
    "glibc",
    "robust",
    "rseq",
    "unmask",
    "python",
    "target",
    "returned",
    "destructors",
    "unlist",
    "exit",
    "join",
    "cleared",
    "recycled",
)


@contextmanager
def record_steps() -> Iterator[list[Step]]:
    """Records what happens to all threads made and ended inside the `with`; the list is filled when it is left."""
    steps: list[Step] = []
    lib.steps_record(1)
    try:
        yield steps
    finally:
        lib.steps_record(0)
        room = 4096
        found = ffi.new("struct step[]", room)
        count = lib.steps_read(found, room)
        steps += [
            Step(found[i].ns, found[i].tid, STEP_NAMES[found[i].kind], found[i].a, found[i].b) for i in range(count)
        ]
        steps.sort(
            key=lambda step: step.ns
        )  # a thread takes its place before it reads the clock; another may be quicker


def _end_of_interpreter() -> None:
    for process in list(_processes):
        process.join()
    native.gate_close()
    if (3, 12) <= sys.version_info < (3, 13):
        native.gate_refuse()  # thread.py may have done so before; 3.11 refuses nothing, 3.13 can be asked


# Callbacks run last in first out: registered at import, this one comes after those of most modules.
atexit.register(_end_of_interpreter)
