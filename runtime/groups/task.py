"""One function in a group: its thread, its result, its cancellation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from .. import native
from ..members import CANCELLED
from ..scheduler import Scheduler
from ..thread import Thread
from .cancellation import Cancelled, Scope, enter, leave, raise_before
from .future import BaseFuture

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")


class _Group(Protocol):
    def _ended(self, task: Task[Any]) -> None: ...
    def _withdraw(self, task: Task[Any]) -> None: ...

    _label: str


class Task(BaseFuture[_Result]):
    """What Group.spawn() returns; its methods are named as those of concurrent.futures.Future."""

    __slots__ = ("_given", "_group", "_name", "_scope", "_thread", "_unclaimed", "_withdrawn")

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
        super().__init__(context, function, args, kwargs)
        self._group: _Group | None = group  # until it has ended
        self._given = name
        self._name = getattr(function, "__name__", "task") if name is None else name
        self._scope: Scope = scope
        self._thread: Thread | None = None  # that runs it; None: it has not begun
        # not empty: it waits for its turn, and the thread that takes the item has claimed it
        self._unclaimed: list[None] = []
        self._withdrawn = False  # it was claimed in order to be ended before it began

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "raised" if self._exception is not None else "done"
        return f"<Task {self._name!r} {state if self.done() else 'running' if self.running() else 'waiting'}>"

    def _new_thread(self, scheduler: Scheduler | None) -> Thread:
        # Its target is no function of Python, because the frame of one would be in the traceback of an error, with the
        # task.
        target: Any = partial(self._run)
        target.__name__ = self._name  # as threading names a thread if it has no name
        return Thread(target=target, name=self._given, scheduler=scheduler)

    def _run(self) -> None:
        self._begin()
        call = self._take_call()
        assert call is not None
        context, function, args, kwargs = call
        cancelled = False
        try:
            enter(self._scope)
            if self._scope.asked is not None:
                cancelled = True
            else:
                self._result = context.run(function, *args, **kwargs)
        except Cancelled:
            cancelled = True
        except BaseException as error:
            self._exception = error
        finally:
            leave(self._scope)
            del call, context, function, args, kwargs
            self._end(cancelled)
            del self  # or the traceback of the error would lead back to the task, which has the error

    def _end(self, cancelled: bool) -> None:
        """Called when its function has returned or is not to be called, and again if a signal handler has raised in
        it."""
        if (group := self._group) is not None:
            group._ended(self)
            if cancelled:
                native.groups_count(CANCELLED)
        self._group = None
        self._take_call()
        if cancelled:
            self._finish_cancelled()
        else:
            self._finish(self._result, self._exception)

    def _drop(self) -> None:
        """Ends it before it has begun."""
        self._end(cancelled=True)

    def _fail(self, error: BaseException) -> None:
        """The task can't begin."""
        self._exception = error
        self._end(cancelled=False)

    @property
    def name(self) -> str:
        """The name given to Group.named(), which its thread has too; otherwise the function's name."""
        return self._name

    @property
    def thread(self) -> Thread | None:
        """The Thread that runs it or has run it; None if there is none, or none yet."""
        return self._thread

    def cancel(self) -> bool:
        """Has Cancelled raised in it at its next cancellation point, once for each call.  A task that hasn't begun
        never begins.

        Returns whether it was not done yet.  The group and its other tasks go on.
        """
        if self.done():
            return False
        group = self._group
        self._ask(self._scope, "a task" if group is None else f"a task of {group._label}")
        if group is not None:
            group._withdraw(self)
        return True

    def running(self) -> bool:
        """Whether it has begun and is not done."""
        return self._thread is not None and not self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function has raised, None if it has returned.  Waits at most timeout seconds, as result() does.

        Cancelled is raised in place of it if the calling thread is cancelled, too, as by the group of both.
        """
        error = super().exception(timeout)
        if error is not None:
            raise_before(None)  # the group has been asked before this was done
        return error


class TaskStatus(native.FutureBase, Generic[_Value]):
    """What Group.start() gives its function as the argument task_status; like trio.TaskStatus.

    A TaskStatus that a program makes itself tells nobody.  A function may have one as the argument's default, so that
    it can be called without a group.
    """

    # It runs as long as start() waits.  What ends it first counts: the value, what the function has raised before, or
    # that start() waits no more.
    __slots__ = ()

    def started(self, value: _Value | None = None) -> None:
        """Has start() return this value.

        RuntimeError: it was called before.
        """
        if self._state == "FINISHED":
            raise RuntimeError("started() was called before")
        if self._state == "RUNNING":
            self._finish(value, None)

    def _call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What the task does."""
        try:
            return function(*args, task_status=self, **kwargs)
        except Exception as error:
            if self._finish(None, error) is None:
                raise
            return None
