"""One function in a group: its thread, its result, its cancellation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from .. import native
from ..observe.groups import CANCELLED, Cancellation, by, latest
from ..scheduler import Scheduler
from ..sync import Event
from ..thread import Thread
from .cancellation import Cancelled, Request, Scope, enter, leave, raise_before

__all__ = ["Task", "TaskStatus", "cancelled_for"]

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")


class _Group(Protocol):
    def _ended(self, task: Task[Any]) -> None: ...
    def _withdraw(self, task: Task[Any]) -> None: ...

    _label: str


class Task(Generic[_Result]):
    """What Group.spawn() returns; its methods are named as those of concurrent.futures.Future."""

    __slots__ = (
        "_call",
        "_cancelled",
        "_done",
        "_error",
        "_group",
        "_name",
        "_scope",
        "_thread",
        "_unclaimed",
        "_value",
        "_withdrawn",
    )

    def __init__(
        self,
        group: _Group,
        scope: Scope,
        context: Context,
        function: Callable[..., _Result],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        name: str | None,
    ) -> None:
        self._group: _Group | None = group  # until it has ended
        self._call: Any = (context, function, args, kwargs, name)  # until it has ended
        self._name = getattr(function, "__name__", "task") if name is None else name
        self._done = Event()
        self._cancelled = False
        self._error: BaseException | None = None
        self._value: Any = None
        self._scope = scope
        self._thread: Thread | None = None  # that runs it; None: it has not begun
        self._unclaimed: list[None] = []  # not empty: it waits for its turn, for which a thread claims it
        self._withdrawn = False  # it was claimed to be ended before it has begun

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else "raised" if self._error is not None else "done"
        return f"<Task {self._name!r} {state if self.done() else 'running' if self.running() else 'waiting'}>"

    def _new_thread(self, scheduler: Scheduler | None) -> Thread:
        # No function as its target: the frame of that would be in the traceback of an error, with the task.
        target: Any = partial(self._run)
        target.__name__ = self._name  # as threading names a thread if it has no name
        return Thread(target=target, name=self._call[-1], scheduler=scheduler)

    def _run(self) -> None:
        context, function, args, kwargs, _ = self._call
        try:
            enter(self._scope)
            if self._scope.asked is not None:
                self._cancelled = True
            else:
                self._value = context.run(function, *args, **kwargs)
        except Cancelled:
            self._cancelled = True
        except BaseException as error:
            self._error = error
        finally:
            leave(self._scope)
            del context, function, args, kwargs
            self._end()
            del self  # else the traceback of the error would lead back to the task, which has the error

    def _end(self) -> None:
        """Its function has returned, or is not to be called.  Called again if a signal handler has raised in it."""
        if (group := self._group) is not None:
            group._ended(self)
            if self._cancelled:
                native.groups_count(CANCELLED)
        self._group = self._call = None
        self._done.set()

    def _drop(self) -> None:
        """Ends it before it has begun."""
        self._cancelled = True
        self._end()

    def _fail(self, error: BaseException) -> None:
        """It can't begin."""
        self._error = error
        self._end()

    def _wait(self, timeout: float | None = None) -> bool:
        """Whether it is done in time."""
        return self._done.wait(timeout)

    def _await(self, timeout: float | None) -> bool:
        """The same for the end of its group's block."""
        wait = getattr(self._done, "_await", self._done.wait)  # the latter where gevent has replaced threading's locks
        return wait(timeout)

    @property
    def name(self) -> str:
        """As Group.named() was given it, and its thread has it, too; or that of the function."""
        return self._name

    @property
    def thread(self) -> Thread | None:
        """The Thread that runs it, or has run it; None if it has none, or not yet."""
        return self._thread

    def cancel(self) -> bool:
        """Has Cancelled raised in it at its next cancellation point, each call once; one that hasn't begun never does.

        Returns whether it was still to be done.  The group and its other tasks go on.
        """
        if self.done():
            return False
        why = by("cancel()")
        if (group := self._group) is not None:
            latest.append(Cancellation(f"a task of {group._label}", why))
        Request(lambda _: (self._scope,), why, again=True).carry_out()
        if group is not None:
            group._withdraw(self)
        return True

    def done(self) -> bool:
        """Whether it has returned, raised or been cancelled.  Its thread may still be on the way to its end."""
        return self._done.is_set()

    def running(self) -> bool:
        """Whether it has begun and is not done."""
        return self._thread is not None and not self.done()

    def cancelled(self) -> bool:
        """Whether Cancelled has ended it, or it was cancelled before it began."""
        return self.done() and self._cancelled

    def result(self, timeout: float | None = None) -> _Result:
        """What the function has returned; raises what it has raised.  Waits for that, at most timeout seconds.

        TimeoutError: it is not done by then.  concurrent.futures.CancelledError: it was cancelled.  Cancelled, in place
        of that and of what the function has raised: the calling thread is cancelled, too, as by the group of both.
        """
        error = self.exception(timeout)
        try:
            if error is not None:
                raise error
            value: _Result = self._value
            return value
        finally:
            error = None  # as concurrent.futures: the error's traceback leads to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function has raised, None if it has returned.  Waits at most timeout seconds, as result() does."""
        if not self._wait(timeout):
            raise TimeoutError
        if self._cancelled:
            raise_before(self._scope.asked)
            raise _cancelled_error(self._scope.asked)
        if self._error is not None:
            raise_before(None)  # the group has been asked before this was done
        return self._error


class TaskStatus(Generic[_Value]):
    """What Group.start() gives its function as the argument task_status; as trio.TaskStatus.

    One that a program makes itself tells nobody: it is what a function may have as the argument's default, so that it
    can also be called otherwise.
    """

    __slots__ = ("_error", "_is_started", "_over", "_value", "_waited")

    def __init__(self) -> None:
        self._waited: list[None] = []  # not empty: start() waits.  Who takes the item out decides what comes of that
        self._over = Event()  # started() was called, or the function has ended
        self._is_started = False
        self._value: Any = None
        self._error: Exception | None = None  # that has ended the function before

    def started(self, value: _Value | None = None) -> None:
        """Has start() return this value.

        RuntimeError: it was called before.
        """
        if self._is_started:
            raise RuntimeError("started() was called before")
        self._value = value
        if self._stop_waiting():
            self._is_started = True  # and never False: two threads may be here
        self._over.set()

    def _stop_waiting(self) -> bool:
        """Whether start() has waited until now."""
        try:
            del self._waited[0]
        except IndexError:
            return False
        return True

    def _call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What the task does."""
        try:
            return function(*args, task_status=self, **kwargs)
        except Exception as error:
            self._error = error
            if not self._stop_waiting():
                self._error = None
                raise
            return None
        finally:
            self._over.set()


def _cancelled_error(request: Request | None) -> Exception:
    from concurrent.futures import CancelledError  # an Exception: it is not the caller who is cancelled

    error = CancelledError()
    error._request = request  # type: ignore[attr-defined]
    return error


def cancelled_for(error: Exception) -> Request | None:
    """Of a CancelledError that result() or exception() has raised: for which request the task was cancelled."""
    request: Request | None = getattr(error, "_request", None)
    return request
