"""What runs where: a function in a new LWP, threads on few LWPs, and calls that block on a helper's.

`spawn` is the low-level call; `runtime.Thread` is threading's vocabulary over it.  A Scheduler runs threads in user
space (green threads).  Some names of tools are here too (tools.py), and loaded when they are first asked for.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from . import native, tools
from .clone import THREAD_FLAGS, Clone, Context, checked_flags
from .lazily import loading
from .lwp import LWP, begin, cannot_start, placed, processes, reserve
from .placement import Placing
from .thread import Thread

if TYPE_CHECKING:
    from .tools import Statistics, Step, Wait, Waiting, measure, record_steps, statistics, waiting

__all__ = ["LWP", "THREAD_FLAGS", "TIME_SLICE", "Clone", "Context", "Deadlock", "GreenStatistics", "Scheduler"]
__all__ += ["Statistics", "Step", "Wait", "Waiting", "blocking", "green_statistics", "measure", "record_steps"]
__all__ += ["sleep", "spawn", "statistics", "wait_fd", "waiting", "yield_"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = loading(globals(), tools.NAMES["scheduler"])

# ---- a function in a new LWP -----------------------------------------------------------------------------------------


def _as_tuple(args: object) -> tuple[Any, ...]:
    if isinstance(args, str | bytes):  # which would be an argument for each character
        raise TypeError(f"args must be a tuple: to call it with one string, write ({args[:40]!r},)")
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
    **placement: Unpack[Placing],
) -> LWP:
    """Runs target(*args, **kwargs) in a new LWP and returns its handle; it may have begun, or ended, by then.

    flags: what it shares, see Clone; with Clone.VM, SETTLS, PARENT_SETTID and CHILD_CLEARTID are always added.
    exit_signal: sent to this process at its end; only for process-style LWPs (without Clone.THREAD).
    stack_size: bytes, at least 32 KiB (52 from Python 3.14 on); None for threading.stack_size(), or the size that a
    pthread would get.
    name: what ps and gdb call it; the kernel keeps 15 bytes.
    placement: where and how urgently a thread runs, as Thread's.

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
    first = placed(placement, "spawn") if placement else None
    if flags is THREAD_FLAGS and not exit_signal:
        lwp = reserve(stack_size)
        begin(lwp, target, args, kwargs, THREAD_FLAGS, 0, name, False, first)
        return lwp
    flags = checked_flags(flags, exit_signal)
    if first is not None and Clone.THREAD not in flags:
        raise ValueError(
            "a placement at birth needs CLONE_THREAD; a process has calls of its own: "
            "os.sched_setaffinity(0, ...), os.nice()"
        )
    if Clone.VM not in flags:
        return _spawn_copy(target, args, kwargs, flags, exit_signal)
    lwp = reserve(stack_size)
    if Clone.THREAD in flags:
        begin(lwp, target, args, kwargs, flags, 0, name, False, first)
    else:
        processes.add(lwp)
        try:
            begin(lwp, _as_process, (target, args, kwargs or {}), None, flags, exit_signal, name)
        except BaseException:
            if lwp.tid == 0:  # if the tid isn't 0, the LWP runs, and a signal handler has raised here
                processes.discard(lwp)
            raise
    return lwp


def _as_process(target: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Runs the target; the exit status that this gives, as the interpreter makes it for a program."""
    try:
        result = target(*args, **kwargs)
    except SystemExit as request:
        if request.code is None or isinstance(request.code, int):
            return (request.code or 0) & 0xFF
        print(request.code, file=sys.stderr)
        return 1
    except BaseException:
        import traceback  # not above: install() would load it in every process

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
        if error.errno == errno.EBUSY:  # from lwp_copy()
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


# ---- threads on few LWPs ---------------------------------------------------------------------------------------------

#: Seconds; the time slice of the scheduler that install(green=True) and `run --green` make, if they are not given
#: another.  It is sys.getswitchinterval(), the time for which a stock thread that computes keeps the GIL from the
#: others.
TIME_SLICE = 0.005

blocking = native.blocking
yield_ = native.yield_
sleep = native.sleep
wait_fd = native.wait_fd


class Deadlock(RuntimeError):
    """All green threads of a scheduler sleep, none with a timeout or for a file, and no thread is left to wake one.

    It is noticed when the last of them goes to sleep.  While another thread lives, that thread may wake one, so a
    Deadlock is raised only after its end; a program that handles signals other than SIGINT may be woken by these, so
    none is raised.  None is raised either after the end of a thread that the C library made, as threading's own are.
    """


class Scheduler(native.SchedulerBase):
    """Runs threads on few LWPs, instead of on one of its own for each.

    CPython and the C library see each as a thread: it has its own get_ident(), threading.local, errno, context
    variables and C stack.  What sleeps in a primitive of `runtime.sync`, in join(), in sleep() and wait_fd() here or in
    yield_() leaves the LWP to the others.

    lwps: 1: the LWP of the thread that calls run().  Any other call that blocks (input and output, a stock lock) stops
    all its threads, and so does a thread that computes.  More, up to 1024: LWPs of its own, of which one runs.  When
    that LWP makes no switch for 2 ms, because a thread computes or is in a call that blocks, another LWP takes over.
    time_slice: seconds for which one thread may keep the others waiting, up to twice that.  Then the others go on on
    another LWP, which is made if there is none.  That LWP asks for the GIL, so the thread that computes stops at the
    next boundary of bytecodes and takes turns with the others (sys.setswitchinterval()), until it waits for something
    and comes back to the queue.  The scheduler has LWPs of its own then, also with lwps=1: at most as many as asked
    for, or two, and one for each thread that computes, blocks or waits for the GIL at the same time.  They stay until
    run() ends.  With less than sys.getswitchinterval() more threads wait for the GIL, each on an LWP.  From 0.0001 to
    1e6; None: no more LWPs than asked for.
    ValueError: lwps or time_slice is out of bounds.  RuntimeError: a context can't be left in user space here (the
    processor's shadow stack is in use).
    """

    def __init__(self, lwps: int = 1, time_slice: float | None = None) -> None:
        # The base has taken both in __new__(), in C: this is the signature that help() shows.
        tools.called("in a deadlock")  # loads what _describe() needs: in a deadlock a thread may sleep in an import

    def spawn(self, target: Callable[..., object], *args: Any) -> Thread:
        """Starts a Thread that calls target(*args) here.  It runs when its turn comes in run().

        The same as Thread(target=target, args=args, scheduler=self).start().
        """
        thread = Thread(target=target, args=args, scheduler=self)
        thread.start()
        return thread

    def run(self) -> None:
        """Runs the green threads until all except daemons have ended; with lwps=1 on the caller's LWP.

        Signal handlers run meanwhile, in the main thread as always.  If a handler raises, or a Deadlock is found, run()
        raises it, and may be called again.  Threads that have not ended go on then, at the latest at the end of the
        program; a daemon that nobody runs any more stays where it is.

        RuntimeError: another thread runs it, or the caller is a green thread itself.
        """
        super().run()

    def _lend_if_idle(self) -> bool:
        """Lends it the caller's LWP, until _take_back(); not if another thread runs it, or the caller is green."""
        try:
            self._lend()
        except RuntimeError:
            return False
        return True


class GreenStatistics(NamedTuple):
    """Counts over all schedulers of this process, since it began."""

    started: int  #: green threads
    switches: int  #: from one context to another, in user space
    sleeps: int  #: of an LWP in the kernel, because no green thread could go on
    hand_overs: int  #: of the others to another LWP, while a green thread is in C code that has released the GIL


def green_statistics() -> GreenStatistics:
    """What is counted so far."""
    return GreenStatistics(*native.green_counts())


def _describe() -> None:
    """Raises, in the thread that is attached."""
    told = "all green threads sleep, and no thread is left that could wake one"
    if tellers := tools.called("in a deadlock"):
        lines = "".join(f"\n  {line}" for tell in tellers for line in str(tell()).splitlines())
        told += f"; they wait for:{lines or ' something else than our primitives'}"
    raise Deadlock(told)


native.set_describe_deadlock(_describe)
