"""threading's vocabulary on our LWPs: Thread and Timer.

Everything that threading keeps about a thread (the registry, names, daemon, hooks, local) is threading's own; here are
start and join, and an object that answers for the thread where threading's private code asks: `_Ending`.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runtime import native, scheduler
from runtime.scheduler import LWP, THREAD_FLAGS
from runtime.sync import Event

__all__ = ["Thread", "Timer"]

# threading's private parts, in one place.  Each has been there since Python 3.11 or says from when to when.
_private: Any = threading
_HANDLES = hasattr(_thread, "_ThreadHandle")  # 3.13 on; before, a lock that is released with the thread state

_STARTER = "_start_joinable_thread" if _HANDLES else "_start_new_thread"

_stock_start = threading.Thread.start
_stock_join = threading.Thread.join

#: What may stand at threading's private name for "make a thread" without having a say: threading's own and patch.py's.
#: Anything else was put there by somebody who wants to make the threads himself, as debuggers do.
known_starters = {getattr(_private, _STARTER)}


class _Ending:
    """The end of an LWP, as threading's private code wants to see it.

    To Python 3.12 `Thread._tstate_lock`: a lock that is held while the thread lives.
    From 3.13 on `Thread._handle`: join, is_done, ident.
    """

    __slots__ = ("_held", "_living", "lwp")

    def __init__(self, lwp: LWP) -> None:
        self.lwp = lwp
        self._living = True  # held by the thread itself
        self._held = False  # held by somebody who has acquired it after the end

    # to 3.12
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.lwp.ident == threading.get_ident():
            return True  # by threading._after_fork in the child of a thread of ours: the lock is held, as it should be
        if self._living and self.lwp.join(0 if not blocking else None if timeout < 0 else timeout):
            self._living = False
        if self._living or self._held:
            return False
        self._held = True
        return True

    def release(self) -> None:
        self._living = self._held = False

    def locked(self) -> bool:
        return self._living or self._held

    def _at_fork_reinit(self) -> None:
        self._held = False

    # from 3.13 on
    @property
    def ident(self) -> int:
        return self.lwp.ident

    def is_done(self) -> bool:
        return not self._living or not self.lwp.is_alive()

    def _set_done(self) -> None:
        self._living = False  # by threading._shutdown, for a main thread that was ours before a fork

    def join(self, timeout: float | None = None) -> None:
        self.lwp.join(None if timeout is None or timeout < 0 else timeout)


# ---- the end of the program: threads that are not daemons are waited for ---------------------------------------------

# To 3.12 they are kept where threading keeps its own (a set that is made anew in a forked child), from 3.13 on here.
_ours: set[_Ending] = set()
_ended: deque[_Ending] = deque()  # their Python part is over: to be forgotten once the kernel says so


def _waited() -> set[_Ending]:
    return _ours if _HANDLES else _private._shutdown_locks


def _forget_ended() -> None:
    # Each of several callers pops another one, so none is dropped that still lives.
    while _ended:
        ending = _ended.popleft()
        if ending.lwp.is_alive():
            _ended.append(ending)
            return
        _waited().discard(ending)


def _after_fork_in_child() -> None:
    _ours.clear()  # the others don't exist there, and the caller is the main thread now
    _ended.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)

if _HANDLES:
    _stock_shutdown = _private._thread_shutdown

    def _thread_shutdown() -> None:
        _stock_shutdown()
        while _ours:
            ending = next(iter(_ours))
            ending.lwp.join()
            _ours.discard(ending)
            _stock_shutdown()  # ours may have started stock ones

    _private._thread_shutdown = _thread_shutdown
elif sys.version_info >= (3, 12):
    _stock_shutdown = _private._shutdown

    def _shutdown() -> None:
        # Py_FinalizeEx refuses new threads before it waits for the running ones, since 3.12.2 (gh-114570) only after.
        if sys.version_info < (3, 12, 2):
            native.gate_refuse()
        _stock_shutdown()
        native.gate_refuse()

    _private._shutdown = _shutdown


# ---- what a thread runs ---------------------------------------------------------------------------------------------


def _bootstrap(thread: Any, ending: _Ending) -> None:
    """threading.Thread._bootstrap_inner without its handshake: the creator has registered the thread."""
    try:
        thread._native_id = ending.lwp.tid
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
        if not thread._daemonic:
            _ended.append(ending)


class Thread(threading.Thread):
    """threading.Thread on an LWP of our own making.

    Arguments as threading.Thread, and, by keyword:

    stack_size: bytes of stack, at least 32 KiB; None for threading.stack_size() or the size that a pthread would get.
    flags: what it shares, see runtime.Clone.  Without Clone.FILES it has a descriptor table of its own, without
    Clone.FS a working directory and umask of its own.  Clone.THREAD must be among them: ValueError.

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

    # start and join serve threading.Thread too when the runtime is installed: no super(), nothing set in __init__.

    def start(self) -> None:
        """Starts the thread; a runtime.Thread's start() returns without waiting for its first line, while that of
        threading.Thread under install() waits until it has begun, as threading's does.

        RuntimeError: started before, or no thread can be made: its cause names the limit, and nothing has changed.
        """
        thread: Any = self
        if not thread._initialized:
            raise RuntimeError("thread.__init__() not called")
        if thread._started.is_set():
            raise RuntimeError("threads can only be started once")
        if getattr(_private, _STARTER) not in known_starters and not isinstance(self, Thread):
            return _stock_start(self)
        lwp = scheduler.reserve(getattr(thread, "_lwp_stack_size", None))
        ending = _Ending(lwp)
        private = "_handle" if _HANDLES else "_tstate_lock"
        before = getattr(thread, private)
        try:
            setattr(thread, private, ending)
            thread._lwp_ending = ending
            thread._ident = lwp.ident
            thread._started.set()
            _new_context(thread)
            with _private._active_limbo_lock:
                _private._active[lwp.ident] = thread
            if not thread._daemonic:
                _forget_ended()
                _waited().add(ending)
            # Programs made for threading may rely on its start(): it returns when the thread has begun.  Ours need not.
            wait = not isinstance(self, Thread)
            flags = getattr(thread, "_lwp_flags", THREAD_FLAGS)
            scheduler.begin(lwp, _bootstrap, (thread, ending), None, flags, wait=wait)
            thread._native_id = lwp.tid
        except BaseException:
            if lwp.tid == 0:  # else it runs, and a signal handler has raised in the creator
                _waited().discard(ending)
                with _private._active_limbo_lock:
                    _private._active.pop(lwp.ident, None)
                thread._started.clear()
                thread._ident = None
                thread._lwp_ending = None
                setattr(thread, private, before)
            raise

    def join(self, timeout: float | None = None) -> None:
        """Waits until the kernel says that the thread has ended, or for so many seconds; is_alive() tells which.

        RuntimeError: not started, or the calling thread itself.
        """
        thread: Any = self
        ending = thread.__dict__.get("_lwp_ending")
        if ending is None:
            return _stock_join(self, timeout)  # not started, or not by us: a thread from before install()
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        if ending.lwp.join(timeout):
            _waited().discard(ending)
            if not _HANDLES:
                # What Thread._stop() would do, without its walk over all locks.
                thread._is_stopped = True
                thread._tstate_lock = None


class Timer(Thread):
    """Calls function(*args, **kwargs) after interval seconds, unless cancelled before; threading.Timer."""

    def __init__(
        self,
        interval: float,
        function: Callable[..., object],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.interval = interval
        self.function = function
        self.args = args if args is not None else []
        self.kwargs = kwargs if kwargs is not None else {}
        self.finished = Event()

    def cancel(self) -> None:
        """Stops the timer if it still waits."""
        self.finished.set()

    def run(self) -> None:
        self.finished.wait(self.interval)
        if not self.finished.is_set():
            self.function(*self.args, **self.kwargs)
        self.finished.set()


def _new_context(thread: Any) -> None:
    """Python 3.14's contextvars for a new thread, as threading.Thread.start there."""
    if getattr(thread, "_context", thread) is None:
        from contextvars import Context, copy_context

        thread._context = copy_context() if getattr(sys.flags, "thread_inherit_context", 0) else Context()
