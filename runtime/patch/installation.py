"""install() and uninstall(): what replaces each thing of threading's and _thread's, and where."""

from __future__ import annotations

import _thread
import importlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import update_wrapper
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import lwp_runtime

from .. import lwp, native, sync, thread, tools
from ..bootstrap import define_as
from ..scheduler import TIME_SLICE, Scheduler


def _start_new_thread(function: Callable[..., object], args: tuple[Any, ...], kwargs: Any = None, /) -> int:
    """Runs function(*args, **kwargs) in a new thread and returns its ident; as _thread.start_new_thread."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    reserved = lwp.reserve()
    on = getattr(threading.Thread, "_lwp_scheduler", None)  # the attribute is missing before the first install()
    if (on := on or native.under_control()) is None:
        lwp.begin(reserved, function, args, kwargs)
    else:
        reserved._begin_green(function, args, kwargs, on)
    return reserved.ident


_stock_count = _thread._count


def _count() -> int:
    """How many threads run Python besides the main one; as _thread._count."""
    return _stock_count() + native.running()


class Thread:
    """threading.Thread's methods while install() is in force, with the names that tracebacks show."""

    def __init__(
        self: Any,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        context: Context | None = None,
    ) -> None:
        assert group is None, "group argument must be None for now"
        if context is not None:
            if sys.version_info < (3, 14):
                raise TypeError("Thread.__init__() got an unexpected keyword argument 'context'")
            self._context = context
        native.thread_make(self, target, name, args, kwargs, daemon)

    def start(self: Any) -> None:
        if thread.is_started_by_others():
            thread.stock_start(self)
        else:
            # Programs made for threading may rely on start() returning when the thread has begun.  Programs made for
            # ours can't.
            thread.start(self, True)


def _copy(function: Any) -> FunctionType:
    copy = FunctionType(function.__code__, function.__globals__, None, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_METHODS: dict[str, Any] = {
    "__init__": Thread.__init__,
    "start": Thread.start,
    "join": _copy(thread.Thread.join),
    "is_alive": _copy(thread.Thread.is_alive),
}
# Their names, documentation, module and signature are threading's.
for _name, _method in _METHODS.items():
    update_wrapper(_method, vars(threading.Thread)[_name])


def _make_current_thread() -> Any:
    stock = threading.current_thread
    if type(stock) is not FunctionType:  # another package has replaced it
        return native.current_thread
    last = max(line for *_, line in stock.__code__.co_lines() if line)
    lines = [*[""] * (last - stock.__code__.co_firstlineno - 1), "  return ask()"]
    made = define_as(stock, "current_thread()", lines, ask=native.current_thread)
    made.__doc__ = stock.__doc__
    return made


_current_thread = _make_current_thread()


def _builtins(*pairs: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Replacements for CPython's own builtin functions.  A debugger's function makes threads itself, and still calls
    CPython's."""
    for stock, function in pairs:
        if type(stock) is BuiltinFunctionType:
            yield stock, native.stand_in(stock, function, True)


#: For each thing of threading's or _thread's: what stands in for it.
_STAND_INS: list[tuple[Any, Any]] = [
    *_builtins(
        (_thread.start_new_thread, _start_new_thread),
        (_thread.start_new, _start_new_thread),
        (_thread._count, _count),
        (_thread.allocate, native.allocate_lock),
    ),
    (_thread.allocate_lock, native.allocate_lock),
    (_thread.LockType, sync.LockType),
    (_thread.RLock, sync.RLock),  # threading.RLock() calls it
    (threading.Condition, sync.Condition),
    (threading.Semaphore, sync.Semaphore),
    (threading.BoundedSemaphore, sync.BoundedSemaphore),
    (threading.Event, sync.Event),
    (threading.Barrier, sync.Barrier),
    (threading.current_thread, _current_thread),
]
#: Classes that say, with their methods, that they are threading's while they stand in for it, as repr and pickle show.
_CLASSES = (sync.Condition, sync.Semaphore, sync.BoundedSemaphore, sync.Event, sync.Barrier)

_undo: list[Callable[[], None]] = []


def _replace(owner: Any, name: str, value: Any, undo: list[Callable[[], None]] = _undo) -> None:
    if name in vars(owner):
        before = vars(owner)[name]
        undo.append(lambda: setattr(owner, name, before))
    else:  # otherwise a class has it from its base
        undo.append(lambda: delattr(owner, name))
    setattr(owner, name, value)


def _rename(owner: Any) -> None:
    """Sets its __module__ to threading.  _replace() can't do that, because it looks in vars(), where a function's
    __module__ is not."""
    before = owner.__module__
    _undo.append(lambda: setattr(owner, "__module__", before))
    owner.__module__ = "threading"


def _replace_in_modules(stand_ins: dict[int, Any], undo: list[Callable[[], None]] = _undo) -> None:
    """Puts each stand-in in place of the thing with that id(), wherever a module has it."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if id(value) in stand_ins:
                _replace_in_module(module, name, stand_ins[id(value)], undo)


def _replace_in_module(module: ModuleType, name: str, value: Any, undo: list[Callable[[], None]]) -> None:
    before = vars(module)[name]
    # Nothing is undone that another package has replaced since, because gevent's locks belong to gevent's threads,
    # which stay.
    undo.append(lambda: setattr(module, name, before) if vars(module).get(name) is value else None)
    setattr(module, name, value)


def _modules() -> Iterator[ModuleType]:
    """All loaded modules except our own, which need the stock things."""
    packages = lwp_runtime.packages()
    for name, module in list(sys.modules.items()):
        if type(module) is ModuleType and name.partition(".")[0] not in packages:
            yield module


# ---- when another package replaces threading's locks: gevent.monkey, eventlet.monkey_patch ---------------------------

#: What threading makes of its locks, and which of its classes ours stand in for.
_MADE_OF_LOCKS = {ours: stock for stock, ours in _STAND_INS if ours in _CLASSES}
_STOCK_LOCK = _thread.allocate_lock


def _who_replaced_locks() -> str | None:
    lock = vars(threading).get("_allocate_lock", native.allocate_lock)
    if lock is native.allocate_lock or (lock is _STOCK_LOCK and type(lock) is BuiltinFunctionType):
        return None
    return str(getattr(lock, "__module__", None) or "somebody").partition(".")[0]


def _give_back() -> None:
    """Puts threading's own classes back in all modules: they are made of the locks that threading has now."""
    back = {id(ours): stock for stock, ours in _STAND_INS if ours in _CLASSES or ours is _current_thread}
    for module in _modules():
        for name, value in list(vars(module).items()):
            if id(value) in back:
                setattr(module, name, back[id(value)])


def _make_instead(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
    """Makes threading's primitive in place of one of this class, if threading's locks are replaced; None: the class
    makes it."""
    if not _undo or not (who := _who_replaced_locks()):
        return None
    if threading.Condition is sync.Condition:
        _give_back()
    if (stock := _MADE_OF_LOCKS.get(cls)) is not None:
        return stock(*args, **kwargs or {})
    for base in cls.__mro__:
        if base in _MADE_OF_LOCKS:
            raise RuntimeError(
                f"{who} has replaced threading's locks, and {cls.__qualname__} derives from the runtime's "
                f"{base.__name__}, which would stop all of {who}'s threads: run it without the runtime"
            )
    return None


native.watch_locks(vars(threading), _STOCK_LOCK, native.allocate_lock, _make_instead)


#: What the scheduler of install(green=True) was made with, and it; None: install() is not in force so.
_made: tuple[tuple[int, float | None], Scheduler] | None = None
#: Those that uninstall() has left to their threads.
_left: list[tuple[tuple[int, float | None], Scheduler]] = []


#: What install(green=True) replaces of the standard library besides: modules with STAND_INS, METHODS, reopen_stdin().
_BLOCKING: list[str] = [
    ".blocking",
]


def _blocking() -> list[Any]:
    return [importlib.import_module(name, __package__) for name in _BLOCKING]


def reopen_stdin() -> None:
    """Makes sys.stdin a file that leaves the LWP to others, where install(green=True) is in force."""
    for room in _blocking():
        room.reopen_stdin()


def _lent_scheduler(*asked: Any) -> tuple[tuple[int, float | None], Scheduler]:
    """One that goes on since uninstall() and was made with the same, or a new one.  Those without threads end."""
    for left in list(_left):
        with suppress(RuntimeError):  # it is on another thread's LWP
            if left[1]._take_back_if_empty():
                _left.remove(left)
            elif left[0] == asked:
                _left.remove(left)
                return left
    on = Scheduler(*asked)
    on._lend()
    return asked, on


def install(*, green: bool = False, lwps: int = 1, time_slice: float | None = TIME_SLICE) -> None:
    """Makes threads and primitives of threading and _thread ours from now on, also for modules that were imported
    before.

    Threads that run and primitives that exist stay what they are; all work together.  Calling it twice is harmless.
    A process's first call also begins what LWP_LISTEN, LWP_WATCHDOG, LWP_STUCK and LWP_TRACE in the environment ask
    for.  Nothing else of it starts a thread of its own, opens a socket or makes a file.

    green: threads of threading and _thread are green threads, on `lwps` LWPs and with `time_slice`, see Scheduler.  The
    LWPs are made for them, and the calling thread stays what it is.
    time_slice: None: with lwps=1 the green threads run on the LWP of the calling thread, which ought to be the main
    thread, while that sleeps in a primitive, in scheduler.blocking(), or in a call of the standard library that then
    leaves the LWP to others (`runtime.patch.blocking`): time.sleep, sockets, ssl, select, selectors, os.read, os.write,
    os.waitpid, subprocess, open() of a descriptor or a named pipe, getaddrinfo, os.fsync.  A thread that computes, or
    blocks in another call, keeps all others waiting.
    ValueError: lwps or time_slice without green, or out of bounds; or what one of those variables says is wrong.
    TypeError: green is no bool.
    RuntimeError: install() is in force without green, no green threads are possible, or the caller is one or lends its
    LWP to some, be it since before uninstall(); or another package (gevent, eventlet) has replaced threading's locks.
    """
    global _made
    if not isinstance(green, bool):
        raise TypeError(f"green must be True or False, not {green!r}")
    if _undo:
        if green and threading.Thread._lwp_scheduler is None:  # type: ignore[attr-defined]
            raise RuntimeError("install() is in force without green threads; uninstall() first")
        return
    if who := _who_replaced_locks():
        raise RuntimeError(f"{who} has replaced threading's threads and locks: install() before that, or not at all")
    if lwps != 1 and not green:
        raise ValueError(f"lwps is for green threads, which were not asked for: {lwps}")
    if time_slice not in (None, TIME_SLICE) and not green:
        raise ValueError(f"time_slice is for green threads, which were not asked for: {time_slice}")
    if green:
        rooms = _blocking()  # they import much that other programs may not need, and refuse before anything is replaced
    for begin in tools.called("at install()"):
        begin()
    _made = _lent_scheduler(lwps, time_slice) if green else None
    for name, value in thread.derived.items():
        # These are not undone, because threads made meanwhile need them; threads that threading makes have them all
        # themselves.
        setattr(threading.Thread, name, value)
    for name, method in _METHODS.items():
        _replace(threading.Thread, name, method)
    for cls in _CLASSES:
        _rename(cls)
        for value in vars(cls).values():
            if type(value) is FunctionType:
                _rename(value)
    stand_ins = {id(stock): ours for stock, ours in _STAND_INS}
    if _made:
        _replace(threading.Thread, "_lwp_scheduler", _made[1])
        for room in rooms:
            stand_ins.update((id(stock), ours) for stock, ours in room.STAND_INS)
            for cls, name, method in room.METHODS:
                _replace(cls, name, method)
    _replace_in_modules(stand_ins)


def uninstall() -> None:
    """Puts back what install() has replaced.  Objects made in between stay valid.

    Green threads that have not ended go on where they are, and join() waits for them as before: on the LWPs that were
    made for them, which stay until the next install(green=True) or the end of the program.  With lwps=1 and
    time_slice=None they run while the thread that called install() sleeps in a primitive or in join().
    RuntimeError: they are on another thread's LWP, and only that thread may call this.
    """
    global _made
    if _made and not _made[1]._take_back_if_empty():
        _left.append(_made)
    _made = None
    while _undo:
        _undo.pop()()


def is_installed() -> bool:
    """Whether install() is in force."""
    return bool(_undo)


@contextmanager
def installed(*, green: bool = False, lwps: int = 1, time_slice: float | None = TIME_SLICE) -> Iterator[None]:
    """install() for the time of a `with`; if it was in force before, it stays."""
    before = is_installed()
    try:  # also if Ctrl-C comes in the middle of install()
        install(green=green, lwps=lwps, time_slice=time_slice)
        yield
    finally:
        if not before:
            uninstall()


@contextmanager
def blocking_replaced() -> Iterator[None]:
    """For the time of a `with` install() is in force, and blocking calls leave the LWP to others, as with green=True.

    time.sleep() and queue.SimpleQueue are excepted, and stay what they are.
    """
    undo: list[Callable[[], None]] = []
    with installed():
        try:
            for owner, name, method in [method for room in _blocking() for method in room.METHODS]:
                _replace(owner, name, method, undo)
            others = (time.sleep, queue.SimpleQueue)
            stand_ins = [pair for room in _blocking() for pair in room.STAND_INS]
            _replace_in_modules({id(stock): ours for stock, ours in stand_ins if stock not in others}, undo)
            yield
        finally:
            while undo:
                undo.pop()()
