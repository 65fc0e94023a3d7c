"""spawn(): a function run in a new LWP, as a thread of this process or as a process of its own."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from .clone import THREAD_FLAGS, Clone, checked_flags
from .lwp import LWP, begin, cannot_start, placed, processes, reserve
from .placement import Placing

__all__ = ["spawn"]


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
            if lwp.tid == 0:  # else it runs, and a signal handler has raised here
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
