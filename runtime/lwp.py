"""One LWP: a kernel thread that clone(2) makes on a stack and a TLS block of its own.

Starting it is in two parts: reserve() maps its memory, begin() calls clone(2).  thread.py and scheduler.py stand above.
"""

from __future__ import annotations

import atexit
import sys

# limits: not when a start has failed, because what has run out may be what loading it would need
from . import limits, native
from .placement import checked, take_place  # not at the first start: the program may have given up the right to read it

TYPE_CHECKING = False  # programs that only start threads load neither typing nor enum, nor these modules
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .clone import Clone, Context
    from .placement import Placement

__all__ = ["LWP", "MIN_STACK", "begin", "cannot_start", "placed", "processes", "reserve", "stack_size_or_default"]

MIN_STACK = (32 if sys.version_info < (3, 14) else 52) * 1024  # as threading.stack_size()


# ---- one LWP ---------------------------------------------------------------------------------------------------------


class LWP(native.LWP):
    """A kernel thread made by clone(2) on a stack, of stack_size bytes, and a TLS block of our own; made by spawn().

    A handle: dropping it lets the thread run on, and its memory is recycled when it has ended.
    """

    __slots__ = ()

    @property
    def flags(self) -> Clone:
        """The flags that were given to clone(2)."""
        from .clone import Clone

        return Clone(self._flags)

    @property
    def context(self) -> Context | None:
        """The thread's memory, as numbers that stay when it has ended; None for a process on a copy of memory."""
        if (places := self._places) is None:
            return None
        from .clone import Context

        guard, low, high, block_low, block_high, pointer = places
        return Context((guard, low), (low, high), (block_low, block_high), pointer)

    @property
    def placement(self) -> Placement:
        """Where and how urgently it runs, to be read and changed."""
        from .placement import Placement

        return Placement(self)

    def join(self, timeout: float | None = None) -> bool:
        done = super().join(timeout)
        if done:
            processes.discard(self)
        return done

    def detach(self) -> None:
        super().detach()
        processes.discard(self)

    join.__doc__ = native.LWP.join.__doc__
    detach.__doc__ = native.LWP.detach.__doc__


processes: set[LWP] = set()  # process-style LWPs in our memory, neither joined nor detached yet


def stack_size_or_default(stack_size: int | None) -> int:
    """Bytes of stack for a new thread: what is asked for, or threading.stack_size(), or what a pthread would get.

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
    flags: int = native.THREAD_FLAGS,
    exit_signal: int = 0,
    name: str | None = None,
    wait: bool = False,
    first: Callable[[], None] | None = None,
) -> None:
    """Starts a reserved LWP.  With `wait` it returns when the LWP is about to call the target.

    first: a function that the LWP calls before the target, while this call waits; see placed().

    On failure nothing runs, nothing is left, and it may be tried again.
    """
    try:
        lwp._begin(target, args, kwargs, flags, exit_signal, name, wait, first)  # native/python/threads/lwp.c
    except OSError as error:
        raise cannot_start(error) from error


def placed(placing: Mapping[str, object], function: str) -> Callable[[], None] | None:
    """A function that a thread calls first, to be placed as asked; if the kernel refuses, its start fails.  None:
    nothing is asked for.

    TypeError, ValueError: as checked().
    """
    asked = checked(placing, function)

    def first() -> None:
        try:
            take_place(asked)
        except OSError as error:
            raise _not_started(error) from error

    return first if asked else None


def cannot_start(error: OSError, stack_size: int = 0) -> RuntimeError:
    """threading's exception; its cause, the OSError, names the limit that was hit, and so does a note of its own.

    The note shows also where the exception is printed without its cause, as many loggers do.
    """
    error.strerror = limits.explain(error, stack_size)
    return _not_started(error)


def _not_started(error: OSError) -> RuntimeError:
    refused = RuntimeError("can't start new thread")
    refused.add_note(error.strerror or "")
    return refused


def _end_of_interpreter() -> None:
    for process in list(processes):
        process.join()
    native.gate_close()
    if (3, 12) <= sys.version_info < (3, 13):
        native.gate_refuse()  # thread.py may have done so before; 3.11 refuses nothing, and 3.13 can be asked


# Callbacks run last in first out: registered at import, this one comes after those of most modules.
atexit.register(_end_of_interpreter)
