"""threading's vocabulary on our LWPs: Thread and Timer.

The registry of threads, names, daemon, hooks and local are threading's own.  Here are start and join, and answers where
threading's private code asks a thread something: `derived`.
"""

from __future__ import annotations

import _thread
import sys
import threading
from types import BuiltinFunctionType

from . import bootstrap, native
from .lazily import loading
from .lwp import LWP, cannot_start, placed, stack_size_or_default
from .sync import Event

TYPE_CHECKING = False  # programs that only start threads load neither typing nor enum, nor these modules
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, SupportsIndex, Unpack

    from .options import Options
    from .placement import Placement
else:
    __getattr__, __dir__ = loading(globals(), {"Options": ".options"})

__all__ = ["Options", "Thread", "Timer", "current_thread"]

# threading's private parts, in one place.  Each has been there since Python 3.11 or says from when to when.
_private: Any = threading
_HANDLES = hasattr(_thread, "_ThreadHandle")  # 3.13 on; before, a lock that is released with the thread state
_HANDLE = "_handle" if sys.version_info < (3, 14) else "_os_thread_handle"

_names = vars(threading)
_STARTER = "_start_joinable_thread" if _HANDLES else "_start_new_thread"

stock_start = threading.Thread.start
_stock_join = threading.Thread.join
_stock_is_alive = threading.Thread.is_alive


def is_started_by_others() -> bool:
    """Whether another package makes threading's threads itself, as a debugger does.

    A builtin function says nothing: it is CPython's, or stands in for CPython's.  What stood there when we were
    imported may be another package's, because a debugger comes first.
    """
    return type(_names[_STARTER]) is not BuiltinFunctionType


current_thread = native.current_thread
current_thread.__module__ = "threading"


# ---- what threading's private code asks a thread ---------------------------------------------------------------------


class _Ending:
    """The end of an LWP, as threading's private code wants to see it.

    To Python 3.12 `Thread._tstate_lock`: a lock that is held while the thread lives.
    From 3.13 on `Thread._handle`, from 3.14 on `_os_thread_handle`: join, is_done, ident.
    """

    __slots__ = ("_forked", "_held", "lwp")

    def __init__(self, lwp: LWP) -> None:
        self.lwp = lwp
        self._held = False  # by a caller of acquire() after the end
        # this thread has forked: threading._after_fork, in the child, will next acquire the lock in its name
        self._forked = False

    # to 3.12
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._forked:  # held already: by the thread's being alive
            self._forked = False
            return True
        if not blocking and self.lwp.is_alive():  # also to the thread itself, which can't join itself
            return False
        if not self.lwp.join(None if timeout < 0 else timeout) or self._held:
            return False
        self._held = True
        return True

    def release(self) -> None:
        self._set_done()  # by threading._shutdown for the main thread: an LWP's, in a child that it has forked
        self._held = False

    def locked(self) -> bool:
        return self._held or self.lwp.is_alive()

    def _at_fork_reinit(self) -> None:
        self._held = False
        self._forked = True

    # from 3.13 on
    @property
    def ident(self) -> int:
        return self.lwp.ident

    def is_done(self) -> bool:
        return not self.lwp.is_alive()

    def _set_done(self) -> None:
        """By threading._shutdown, for the main thread: from now on join() and is_alive() take it for ended."""
        self.lwp._count_as_ended()

    def join(self, timeout: float | None = None) -> None:
        self.lwp.join(None if timeout is None or timeout < 0 else timeout)


class _Started:
    """The Event that says whether a thread is started; made into a real one when it is waited for, or set by hand."""

    __slots__ = ("_thread",)

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def _event(self) -> Event:
        _leave_to_threading(self._thread)
        event: Event = self._thread.__dict__.setdefault("_started", Event())
        return event

    def is_set(self) -> bool:
        return _lwp(self._thread) is not None

    def set(self) -> None:
        if not self.is_set():
            self._event().set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or self._event().wait(timeout)

    def _at_fork_reinit(self) -> None:
        pass


def _lwp(thread: Any) -> LWP | None:
    lwp = thread._lwp
    return lwp if isinstance(lwp, LWP) else None


def _leave_to_threading(thread: Any) -> None:
    """It starts the thread itself, or has made it for a foreign one."""
    thread._initialized = True
    thread.__dict__.pop("_lwp", None)
    _private._dangling.add(thread)  # as Thread.__init__ does: threading._after_fork asks for all there are


def _initialized(thread: Any) -> bool:
    if "_lwp" not in thread.__dict__:
        return False
    thread._initialized = True
    return True


def _native_id(thread: Any) -> int | None:
    lwp = _lwp(thread)
    return None if lwp is None else lwp.tid


def _is_stopped(thread: Any) -> bool:
    if thread.__dict__.get("_tstate_lock"):
        return False  # a caller holds the lock: stopped when Thread._stop() has found it free
    lwp = _lwp(thread)
    return lwp is not None and not lwp.is_alive()


_asked_for_lock = False  # a `_tstate_lock` was handed out: threading's own rules for it hold from now on


def _tstate_lock(thread: Any) -> _Ending | None:
    lwp = _lwp(thread)
    if lwp is None:
        return None
    global _asked_for_lock
    _asked_for_lock = True
    ending: _Ending = thread.__dict__.setdefault("_tstate_lock", _Ending(lwp))
    if not thread.daemon and lwp.is_alive():
        with _private._shutdown_locks_lock:
            _private._shutdown_locks.add(ending)  # where a caller that asks for the lock expects it
    return ending


def _handle(thread: Any) -> Any:
    lwp = _lwp(thread)
    if lwp is not None:
        return thread.__dict__.setdefault(_HANDLE, _Ending(lwp))
    _leave_to_threading(thread)
    return thread.__dict__.setdefault(_HANDLE, _private._ThreadHandle())


class _State(dict[str, "Any"]):
    """A thread's attributes for copy.copy(); pickle and deepcopy() find what threading's has besides, and refuse it."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        items = [item for item in self.items() if item[0] != "_lwp"]
        return dict, ([*items, _private._ThreadHandle() if _HANDLES else native.allocate_lock()],)


def _state(thread: Any) -> Any:
    state: Any = object.__getstate__(thread)
    attributes = state[0] if isinstance(state, tuple) else state  # with what is in __slots__
    if attributes is not None:
        attributes = _State(attributes)
    return (attributes, state[1]) if isinstance(state, tuple) else attributes


class _Derived:
    """An attribute that is worked out when a thread doesn't have it by itself."""

    __slots__ = ("_work_out",)

    def __init__(self, work_out: Callable[[Any], Any]) -> None:
        self._work_out = work_out

    def __get__(self, thread: Any, owner: Any = None) -> Any:
        return self if thread is None else self._work_out(thread)


#: What a class of threads needs for those that native.thread_make() has made.
derived: dict[str, Any] = {
    "_lwp": "made by threading",  # if a thread has nothing else there: see native/python/threads/thread.c
    "_lwp_stack_size": None,
    "_lwp_flags": None,
    "_lwp_scheduler": None,
    "_lwp_first": None,
    "_initialized": _Derived(_initialized),
    "_daemonic": False,
    "_context": None,  # 3.14 on
    "_stderr": sys.stderr,
    "_started": _Derived(_Started),
    "_native_id": _Derived(_native_id),
    "__getstate__": _state,
    # One serves all: it asks for threading.excepthook when it is called; what it keeps is for the program's end.
    "_invoke_excepthook": staticmethod(_private._make_invoke_excepthook()),
    "_bootstrap": bootstrap.bootstrap,
    "_bootstrap_inner": bootstrap.bootstrap_inner,
}
if _HANDLES:
    derived[_HANDLE] = _Derived(_handle)
else:
    derived["_is_stopped"] = _Derived(_is_stopped)
    derived["_tstate_lock"] = _Derived(_tstate_lock)


# ---- the end of the program: threads that are not daemons are waited for ---------------------------------------------

_waits_for_threads = "_thread_shutdown" if _HANDLES else "_shutdown"
_stock_shutdown = getattr(_private, _waits_for_threads)


def _wait_for_stock() -> None:
    if _HANDLES:
        _stock_shutdown()
        return
    while True:  # as threading._shutdown, which does nothing when called again
        with _private._shutdown_locks_lock:
            locks = list(_private._shutdown_locks)
            _private._shutdown_locks.clear()
        if not locks:
            return
        for lock in locks:
            lock.acquire()
            lock.release()


def _shutdown() -> None:
    # Python 3.12 refuses new threads from before it waits for the running ones on, since 3.12.2 from after (gh-114570).
    if (3, 12) <= sys.version_info < (3, 12, 2):
        native.gate_refuse()
    _stock_shutdown()
    native.run_all()  # native/python/green/scheduler.c
    while (lwp := native.thread_waited(LWP)) is not None:  # native/python/threads/thread.c
        lwp.join()
        _wait_for_stock()  # ours may have started some
        native.run_all()
    if (3, 12) <= sys.version_info < (3, 13):
        native.gate_refuse()


setattr(_private, _waits_for_threads, _shutdown)


# ---- Thread ----------------------------------------------------------------------------------------------------------


def start(thread: Any, wait: bool) -> None:
    """Starts a Thread on an LWP; with wait, returns when it has begun.  As threading.Thread.start."""
    try:
        if native.thread_start(thread, LWP, wait) is None:  # native/python/threads/thread.c
            _adopt(thread)
            native.thread_start(thread, LWP, wait)
    except OSError as error:
        raise cannot_start(error, stack_size_or_default(thread._lwp_stack_size)) from error


def _adopt(thread: Any) -> None:
    """Prepares a Thread that threading has made for a start on an LWP."""
    if not thread._initialized:
        raise RuntimeError("thread.__init__() not called")
    claim = object()  # two callers may come here for one thread
    if thread._started.is_set() or thread.__dict__.setdefault("_lwp", claim) is not claim:
        raise RuntimeError("threads can only be started once")
    for name in ("_started", "_native_id", _HANDLE, "_is_stopped", "_tstate_lock"):
        thread.__dict__.pop(name, None)
    thread._ident = thread._lwp = None


def _has_options(thread: Any) -> bool:
    """Whether only this runtime can make it."""
    return not (thread._lwp_stack_size is thread._lwp_flags is thread._lwp_scheduler is thread._lwp_first is None)


def _take_options(thread: Any, options: Options) -> None:
    stack_size, flags, on = options.pop("stack_size", None), options.pop("flags", None), options.pop("scheduler", None)
    if sys.version_info >= (3, 14) and (context := options.pop("context", None)) is not None:
        thread._context = context
    if options:  # the rest
        thread._lwp_first = placed(options, "Thread.__init__")
    if stack_size is not None:
        thread._lwp_stack_size = stack_size_or_default(stack_size)
    if flags is not None:
        from .clone import checked_thread_flags

        thread._lwp_flags = checked_thread_flags(flags)
    if on is not None:
        if not isinstance(on, native.SchedulerBase):
            raise TypeError(f"scheduler must be a Scheduler or None, not {type(on).__name__}")
        if flags is not None:
            raise ValueError("a green thread has no LWP of its own, so no flags")
        if thread._lwp_first is not None:
            raise ValueError(
                "a green thread shares its LWP with others, so it has no placement of its own: "
                "place the thread that calls its scheduler's run()"
            )
        thread._lwp_scheduler = on


class Thread(threading.Thread):
    """threading.Thread on an LWP of our own making.

    Arguments as threading.Thread, and, by keyword:

    stack_size: bytes of stack, at least 32 KiB (52 from Python 3.14 on); None for threading.stack_size() or the size
    that a pthread would get.
    flags: what it shares, such as THREAD_FLAGS & ~Clone.FS, see runtime.Clone.  Clone.THREAD must be among them:
    ValueError.  Clone.VM, SETTLS, PARENT_SETTID and CHILD_CLEARTID are added where they are left out.  None: all that
    threads share.
    scheduler: the Scheduler on which it is to run, as a green thread; None: it gets an LWP of its own.
    context: from Python 3.14 on as threading.Thread; before, an unknown argument.
    others: affinity, nice, policy, priority: where and how urgently it runs, from before the program's first line in it
    on; see runtime.placement.Placing.  If the kernel refuses one of these, the start fails.

    `ident` is set when start() returns, and so is `native_id`; a green thread's is 0 before its scheduler has run.
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
        **options: Unpack[Options],
    ) -> None:
        assert group is None, "group argument must be None for now"
        if options:
            _take_options(self, options)
        native.thread_make(self, target, name, args, kwargs, daemon)  # native/python/threads/thread.c

    @property
    def placement(self) -> Placement:
        """Where and how urgently it runs, to be read and changed."""
        from .placement import Placement

        return Placement(self)

    def start(self) -> None:
        """Starts the thread and returns without waiting for its first line, unless several before it have not begun.

        RuntimeError: started before, or no thread can be made: its cause names the limit, and nothing has changed.
        """
        if is_started_by_others() and not _has_options(self):
            stock_start(self)
        else:
            start(self, False)

    def join(self, timeout: float | None = None) -> None:
        """Waits until the kernel says that the thread has ended, or for timeout seconds; is_alive() says which.

        RuntimeError: not started, or the calling thread itself.
        """
        ended = native.thread_join(self, timeout)  # native/python/threads/thread.c
        if ended is None:
            _stock_join(self, timeout)
        elif ended and _asked_for_lock:
            _stock_is_alive(self)

    def fileno(self) -> int:
        """A descriptor that can be read once the thread has ended: LWP.fileno().

        RuntimeError: not started, or not by this runtime.
        """
        lwp = _lwp(self)
        if lwp is None:
            raise RuntimeError(f"{self!r} has no descriptor: the runtime has not started it")
        return lwp.fileno()

    def is_alive(self) -> bool:
        """True from the start until the kernel says that the thread has ended."""
        alive = native.thread_is_alive(self)  # native/python/threads/thread.c
        return _stock_is_alive(self) if alive is None or _asked_for_lock else alive


for _attribute, _value in derived.items():
    setattr(Thread, _attribute, _value)
native.thread_setup(vars(threading), vars(sys), Thread, derived["_stderr"])  # native/python/threads/thread.c


class Timer(Thread):
    """Calls function(*args, **kwargs) after interval seconds, unless cancelled before; threading.Timer.

    Attributes as threading's: interval, function, args, kwargs, and finished, an Event that is set at the end.
    """

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
        """What the thread does; not to be called."""
        self.finished.wait(self.interval)
        if not self.finished.is_set():
            self.function(*self.args, **self.kwargs)
        self.finished.set()
