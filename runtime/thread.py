"""threading's vocabulary on our LWPs: Thread.

Everything that threading keeps about a thread (the registry, names, daemon, hooks, local) is threading's own; here are start and
join, and an object that answers for the thread where threading's private code asks: `_Ending`.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runtime import scheduler
from runtime.scheduler import LWP, THREAD_FLAGS

__all__ = ["Thread"]

# threading's private parts, in one place.  Each has been there since Python 3.11 or says from when to when.
_private: Any = threading
_HANDLES = hasattr(_thread, "_ThreadHandle")  # 3.13 on; before, a lock that is released with the thread state

_stock_join = threading.Thread.join


class _Ending:
    """The end of an LWP, as threading's private code wants to see it.

    To Python 3.12 `Thread._tstate_lock`: a lock that is held while the thread lives.
    From 3.13 on `Thread._handle`: join, is_done, ident.
    """

    __slots__ = ("_given_up", "lwp")

    def __init__(self, lwp: LWP) -> None:
        self.lwp = lwp
        self._given_up = False

    # to 3.12
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.lwp.ident == threading.get_ident():
            return True  # by threading._after_fork in the child of a thread of ours: the lock is held, as it should be
        if not blocking:
            return not self.locked()
        return self.lwp.join(None if timeout < 0 else timeout)

    def release(self) -> None:
        self._given_up = True  # by threading._shutdown, for a main thread that was ours before a fork

    def locked(self) -> bool:
        return not self._given_up and self.lwp.is_alive()

    def _at_fork_reinit(self) -> None:
        self._given_up = False

    # from 3.13 on
    @property
    def ident(self) -> int:
        return self.lwp.ident

    def is_done(self) -> bool:
        return not self.locked()

    def _set_done(self) -> None:
        self._given_up = True

    def join(self, timeout: float | None = None) -> None:
        self.lwp.join(None if timeout is None or timeout < 0 else timeout)


# ---- the end of the program: threads that are not daemons are waited for -----------------------------------------------

_waited: set[LWP] = set()  # running, not daemon
_ended: deque[LWP] = deque()  # their Python part is over: to leave _waited once the kernel says so


def _forget_ended() -> None:
    # Each of several callers pops another one, so none is dropped that still lives.
    while _ended:
        lwp = _ended.popleft()
        if lwp.is_alive():
            _ended.append(lwp)
            return
        _waited.discard(lwp)


def _join_waited() -> None:
    """Joins what is not daemon, until there is none, also of those that are started meanwhile."""
    while _waited:
        lwp = _waited.pop()
        try:
            lwp.join()
        except BaseException:
            _waited.add(lwp)
            raise


class _AllEnded:
    """A member of threading._shutdown_locks (to 3.12): acquiring it waits for our threads."""

    def acquire(self) -> bool:
        _join_waited()
        return True

    def release(self) -> None:
        pass

    def locked(self) -> bool:
        return True  # else _maintain_shutdown_locks() would drop it


if _HANDLES:
    _stock_shutdown = _private._thread_shutdown

    def _thread_shutdown() -> None:
        _stock_shutdown()
        while _waited:
            _join_waited()
            _stock_shutdown()  # ours may have started stock ones

    _private._thread_shutdown = _thread_shutdown

_all_ended = _AllEnded()


def _wait_at_exit(lwp: LWP) -> None:
    _forget_ended()
    _waited.add(lwp)
    if not _HANDLES and _all_ended not in _private._shutdown_locks:
        with _private._shutdown_locks_lock:
            _private._shutdown_locks.add(_all_ended)


# ---- what a thread runs --------------------------------------------------------------------------------------------------


def _bootstrap(thread: Any, lwp: LWP) -> None:
    """threading.Thread._bootstrap_inner without its handshake: the creator has registered the thread."""
    try:
        thread._native_id = lwp.tid
        if _private._trace_hook:
            sys.settrace(_private._trace_hook)
        if _private._profile_hook:
            sys.setprofile(_private._profile_hook)
        context = getattr(thread, "_context", None)  # 3.14 on
        try:
            if context is None:
                thread.run()
            else:
                context.run(thread.run)
        except:  # noqa: E722 - whatever it is, the hook decides; SystemExit is ignored there
            thread._invoke_excepthook(thread)
    finally:
        thread._delete()
        if lwp in _waited:
            _ended.append(lwp)


class Thread(threading.Thread):
    """threading.Thread on an LWP of our own making.

    Arguments as threading.Thread, and, by keyword:

    stack_size: bytes of stack, at least 32 KiB; None for threading.stack_size() or the size that a pthread would get.
    flags: what it shares, see runtime.Clone.  Without Clone.FILES it has a descriptor table of its own, without Clone.FS a
    working directory and umask of its own.  Clone.THREAD must be among them: ValueError.

    `ident` and `native_id` are set when start() returns.
    """

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        stack_size: int | None = None,
        flags: int = THREAD_FLAGS,
        **newer: Any,
    ) -> None:
        self._lwp_flags = scheduler.checked_thread_flags(flags)
        self._lwp_stack_size = stack_size
        if stack_size is not None:
            scheduler.stack_size_or_default(stack_size)
        super().__init__(group, target, name, args, kwargs, daemon=daemon, **newer)

    # start and join serve threading.Thread itself too when the runtime is installed: no super(), nothing set in __init__.

    def start(self) -> None:
        """Starts the thread; returns without waiting for its first line.

        RuntimeError: started before, or no thread can be made (its cause names the limit), and then nothing has changed.
        """
        thread: Any = self
        if not thread._initialized:
            raise RuntimeError("thread.__init__() not called")
        if thread._started.is_set():
            raise RuntimeError("threads can only be started once")
        lwp = scheduler.reserve(getattr(thread, "_lwp_stack_size", None))
        ending = _Ending(lwp)
        if _HANDLES:
            before, thread._handle = thread._handle, ending
        else:
            before, thread._tstate_lock = thread._tstate_lock, ending
        thread._lwp = lwp
        thread._ident = lwp.ident
        thread._started.set()
        _new_context(thread)
        with _private._active_limbo_lock:
            _private._active[lwp.ident] = thread
        if not thread._daemonic:
            _wait_at_exit(lwp)
        try:
            scheduler.begin(lwp, _bootstrap, (thread, lwp), None, getattr(thread, "_lwp_flags", THREAD_FLAGS))
        except BaseException:
            _waited.discard(lwp)
            with _private._active_limbo_lock:
                del _private._active[lwp.ident]
            thread._started.clear()
            thread._ident = None
            thread._lwp = None
            if _HANDLES:
                thread._handle = before
            else:
                thread._tstate_lock = before
            raise
        thread._native_id = lwp.tid

    def join(self, timeout: float | None = None) -> None:
        """Waits until the kernel says that the thread has ended, or for so many seconds; is_alive() tells which.

        RuntimeError: not started, or the calling thread itself.
        """
        thread: Any = self
        lwp = thread.__dict__.get("_lwp")
        if lwp is None:
            return _stock_join(self, timeout)  # not started, or not by us: a thread from before install()
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        if lwp.join(timeout):
            _waited.discard(lwp)
            if not _HANDLES:
                thread._is_stopped = True
                thread._tstate_lock = None


def _new_context(thread: Any) -> None:
    """Python 3.14's contextvars for a new thread, as threading.Thread.start there."""
    if getattr(thread, "_context", thread) is None:
        from contextvars import Context, copy_context

        thread._context = copy_context() if sys.flags.thread_inherit_context else Context()
