"""A group of threads that no thread outlives.

The interpreter runs signal handlers where it calls, returns to the head of a loop, or enters a function, and nowhere
else.  So the main thread's steps that must not be cut in two are written without a call.  For example an item of a list
is deleted and not popped: if a handler raised just after a pop, the item would be lost.  Without a GIL two threads may
be in one line: both read the same item, but only one deletes it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar, Unpack

from .. import native, tools
from ..lwp import placed
from ..members import GROUP, TASK, Turns, by, note
from ..placement import Placing
from ..printable import printable
from ..scheduler import Scheduler
from ..thread import Thread
from .cancellation import Cancelled, Members, Request, Scope, checked_seconds, deadline_in, enter, leave
from .future import cancelled_for
from .task import Task, TaskStatus
from .waiting import wait

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

_GREEN = "green threads share an LWP: a task has no placement of its own"
_SHOWN = 8  # tasks that are named where the block's end waits for more
_KEPT = 32  # threads that have done their task and are not looked after before the block's end
_ASYNC = 0x80 | 0x200  # CO_COROUTINE, CO_ASYNC_GENERATOR: importing inspect for them takes milliseconds
_LOOK = 1  # seconds, doubled each time, after which the end of a cancelled block looks at why its tasks go on


class Group(native.GroupBase, Members):
    """`with Group() as group:` runs functions in threads.  When the block has ended, all of them have ended.

    If a task raises, the other tasks and the block are cancelled.  When all have ended, what was raised comes out as an
    ExceptionGroup, together with what the block itself raises.  What isn't an Exception, such as KeyboardInterrupt,
    comes out as it is.

    timeout: seconds from the beginning of the block, after which all of it is cancelled; then TimeoutError comes out,
    in the ExceptionGroup if there is one.
    limit: how many tasks run at one time; others wait for their turn, in the order in which they were spawned.
    scheduler: the Scheduler on which the tasks run as green threads.  None: the calling thread's, if that is green;
    otherwise each task gets an LWP.  The block lends its LWP to a scheduler that no thread runs.
    placement: where and how urgently the tasks run, as Thread's.

    TypeError: a limit, timeout or scheduler of another type.  ValueError: a limit below 1, a timeout that is NaN, a
    placement with a scheduler.
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        limit: int | None = None,
        scheduler: Scheduler | None = None,
        **placement: Unpack[Placing],
    ) -> None:
        if limit is not None and not isinstance(limit, int):
            raise TypeError(f"limit must be a whole number or None, not {type(limit).__name__}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if scheduler is not None and not isinstance(scheduler, native.SchedulerBase):
            raise TypeError(f"scheduler must be a Scheduler or None, not {type(scheduler).__name__}")
        self._first = placed(placement, "Group.__init__") if placement else None
        if scheduler is not None and self._first is not None:
            raise ValueError(_GREEN)
        self._timeout = None if timeout is None else checked_seconds("timeout", timeout)
        self._scheduler = scheduler
        self._lent = False
        self._scope: Scope | None = None  # the block's; None: it has not begun
        self._pid = 0
        self._tasks: dict[Task[Any], None] = {}  # not ended
        self._ending: deque[Thread] = deque()  # threads of ended tasks, to be joined
        self._limit = limit
        self._turns = None if limit is None else deque([None] * limit)  # turns that no task has taken
        self._queue: deque[Task[Any]] = deque()  # tasks without a turn
        self._label = "group"  # with where its block is
        self._closed = False  # no more can be spawned
        self._requests: list[Request] = []  # for which all are cancelled
        self._late = False  # the deadline has passed
        # by id(), because the block may raise a task's error, from its result()
        self._errors: dict[int, Exception] = {}
        self._bare: BaseException | None = None  # what comes out alone
        self._passing: Cancelled | None = None  # a scope around the block was cancelled
        self._awaited: Task[Any] | None = None  # the task that the block's end waits for just now
        self._foreign: list[Any] | None = None  # the locks that hold up its end

    def __repr__(self) -> str:
        state = "over" if self._closed else "cancelled" if self._requests else "open"
        state = "not entered" if self._scope is None else state
        return f"<Group {state}, {len(self._tasks)} task{'s' * (len(self._tasks) != 1)}>"

    def __enter__(self) -> Self:
        if self._scope is not None:
            raise RuntimeError("a Group can only be entered once")
        if self._scheduler is not None:
            self._lent = self._scheduler._lend_if_idle()
        else:
            self._scheduler = getattr(native.current_thread(), "_lwp_scheduler", None)
            if self._scheduler is not None and self._first is not None:
                raise ValueError(_GREEN)
        self._pid = os.getpid()
        place = sys._getframe(1)
        self._label = f"group at {printable(os.path.basename(place.f_code.co_filename))}:{place.f_lineno}"
        native.groups_count(GROUP)
        self._scope = Scope(self, None if self._timeout is None else deadline_in(self._timeout))
        # otherwise its tasks would not be asked before the block waits
        if (request := enter(self._scope)) is not None:
            self._requests.append(request)
        return self

    @property
    def cancelled(self) -> bool:
        """Whether the group is or was cancelled: by cancel(), its deadline, a failure, or a scope around it."""
        return bool(self._requests)

    @property
    def tasks(self) -> tuple[Task[Any], ...]:
        """The tasks that have not ended, in the order in which they were spawned."""
        return tuple(list(self._tasks))  # without a GIL a list of a dict is made at once, and a tuple is not

    # ---- tasks -------------------------------------------------------------------------------------------------------

    def spawn(self, function: Callable[_Args, _Result], /, *args: _Args.args, **kwargs: _Args.kwargs) -> Task[_Result]:
        """Calls function(*args, **kwargs) in a new thread, with a copy of the caller's context variables.

        Any thread may call it, as long as the block has not ended.  In a cancelled group the function is not called.
        TypeError: function can't be called, or is async.  RuntimeError: the block has ended, or not begun; or no thread
        can be made, and nothing has changed.
        """
        return self._spawn(function, args, kwargs, None)

    def start(self, function: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """Spawns function(*args, task_status=status, **kwargs), and waits until that calls status.started(value).

        Returns the value; the task goes on.  It follows the start() of trio's nurseries: what the function raises
        before that call comes out of start(), and is no failure of the group.  If something ends the wait, such as
        Cancelled, the task is cancelled.

        RuntimeError: the function has returned without that call.  CancelledError: it was cancelled.  Besides these,
        what spawn() raises.
        """
        return self._start_and_wait(function, args, kwargs, None)

    def map(self, function: Callable[..., _Result], /, *iterables: Iterable[Any]) -> Iterator[_Result]:
        """Spawns function(*items) for the items of each round through the iterables; their results, in this order.

        Like the map() of executors, it spawns all at once, and an iteration waits for one more result.
        """
        tasks = [self.spawn(function, *items) for items in zip(*iterables, strict=False)]
        tasks.reverse()

        def results() -> Iterator[_Result]:
            while tasks:
                yield tasks.pop().result()

        return results()

    def named(self, name: str) -> Named:
        """`group.named("reader 1").spawn(read, path)` gives the task, and its thread, this name; start() does so, too.

        The name is not an argument of spawn(), because spawn() passes on all keyword arguments.
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        return Named(self, name)

    def _spawn(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None
    ) -> Task[Any]:
        _check(function)
        if self._scope is None:
            raise RuntimeError("the group's block has not begun")
        self._forget_lost()
        task = Task(self, Scope(self, self._scope.deadline), copy_context(), function, args, kwargs, name)
        if self._turns is not None:
            task._unclaimed.append(None)
        try:
            native.groups_count(TASK)
            self._tasks[task] = None  # from here on the block's end waits for the task
            if self._turns is not None:
                self._queue.append(task)
            self._begin(task)
        except BaseException:
            self._give_up(task)
            raise
        return task

    def _start_and_wait(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str | None
    ) -> Any:
        status: TaskStatus[Any] = TaskStatus()
        status._begin()
        _check(function)
        call: Any = partial(status._call, function)
        call.__name__ = getattr(function, "__name__", "task")
        task = self._spawn(call, args, kwargs, name)
        try:
            wait((status, task))
        except BaseException:
            if status._finish_cancelled() is None and status._exception is not None:
                self._note(status._exception)  # it has failed at just this moment
            task.cancel()
            raise
        try:
            if status._exception is not None:
                raise status._exception
            if status._wait(0):
                return status._result
            task.result()
            raise RuntimeError(f"{task.name}() has returned without a call of task_status.started()")
        finally:
            status._exception = None  # its traceback leads to this frame

    def _begin(self, task: Task[Any]) -> None:
        if self._closed:
            raise RuntimeError("the group's block has ended")
        if self._requests:
            task._scope.ask(self._requests[-1])
        self._forget_ended()
        if self._turns is None:
            self._start(task)
        else:
            self._give_turns(task)

    def _give_up(self, task: Task[Any]) -> None:
        if self._turns is not None:
            if not self._claim(task):
                return  # it had its turn
            self._dequeue(task)
        elif task._thread is not None:
            return
        self._tasks.pop(task, None)

    def _forget_lost(self) -> None:
        if os.getpid() != self._pid:  # a forked child has only the thread that forked
            self._pid = os.getpid()
            self._tasks.clear()
            self._ending.clear()
            self._queue.clear()

    def _forget_ended(self) -> None:
        while len(self._ending) > _KEPT and (thread := self._next_ending()) is not None and not thread.is_alive():
            self._forget(thread)

    def _forget(self, thread: Thread) -> None:
        """Takes it from the threads to be joined, unless another thread has done so."""
        with contextlib.suppress(ValueError):
            self._ending.remove(thread)

    def _next_ending(self) -> Thread | None:
        try:
            return self._ending[0]
        except IndexError:
            return None

    def _start(self, task: Task[Any]) -> None:
        # Its own scope may not have been asked yet, because a task that the group asks earlier ends first and gives up
        # its turn.
        if self._requests or task._scope.asked is not None:
            task._drop()
            return
        try:
            task._thread = thread = task._new_thread(self._scheduler)
            if self._first is not None:
                vars(thread)["_lwp_first"] = self._first
            thread.start()
        except BaseException:
            if task._thread is not None and task._thread.ident is None:  # if not, a signal handler has raised
                task._thread = None
            raise

    def _give_turns(self, own: Task[Any] | None = None) -> None:
        """Starts tasks that wait for a turn.  own: the task that is just being spawned; if it can't be started, that is
        raised here.

        Another task that can't be started gets the exception as its own.
        """
        turns = self._turns
        assert turns is not None
        while self._queue:  # look again after each turn that came back, because a task may have come that found none
            try:
                del turns[0]
            except IndexError:
                return
            try:
                task = self._queue[0]
            except IndexError:
                turns.append(None)
                continue
            try:
                del task._unclaimed[0]
            except IndexError:  # another thread has claimed it, and may not have come to this
                turns.append(None)
                self._dequeue(task)
                continue
            try:
                self._dequeue(task)
                self._start(task)
            except BaseException as error:
                if task._thread is not None or task.done():
                    raise
                turns.append(None)
                if task is own:
                    self._tasks.pop(task, None)
                    raise
                task._fail(error)
            else:
                if task._thread is None:  # dropped
                    turns.append(None)

    def _withdraw(self, task: Task[Any]) -> None:
        """Ends a task that waits for its turn.  It is called again if a signal handler has raised in it."""
        if self._claim(task):
            self._dequeue(task)
            task._drop()

    def _claim(self, task: Task[Any]) -> bool:
        """Whether it was waiting for its turn; if so, no thread starts it from now on."""
        try:
            del task._unclaimed[0]
            task._withdrawn = True
        except IndexError:
            pass
        return task._withdrawn

    def _dequeue(self, task: Task[Any]) -> None:
        with contextlib.suppress(ValueError):
            self._queue.remove(task)

    def _ended(self, task: Task[Any]) -> None:
        """Called by a task's thread when its function has returned, or instead of the call."""
        if task._exception is not None:
            self._note(task._exception)
        if task._thread is not None:
            self._ending.append(task._thread)
        self._tasks.pop(task, None)
        if self._turns is not None and task._thread is not None:
            self._turns.append(None)
            self._give_turns()

    # ---- cancellation ------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancels the tasks and the block, whose thread goes on after the block.  Any thread may call it; each call
        asks once more."""
        if self._scope is not None and not self._closed:
            self._ask(by("cancel()"), again=True)

    def _ask(self, why: str, again: bool = False) -> None:
        if again or not self._requests:
            note(self._label, why)
            self._requests.append(request := Request(self._ask_all, why, again))
        else:
            request = self._requests[-1]
        request.carry_out()  # its own request, because another thread may have asked for less meanwhile

    def _ask_all(self, request: Request) -> list[Scope]:
        assert self._scope is not None
        return [self._scope, *self._ask_tasks(request)]

    def _ask_tasks(self, request: Request) -> list[Scope]:
        if request not in self._requests:  # first, so that a task that is spawned now sees it, or is among those below
            self._requests.append(request)
        tasks = list(self._tasks)
        for task in tasks:
            if task._thread is None:
                task._scope.ask(request)
                self._withdraw(task)
        return [task._scope for task in tasks]

    def _expire(self) -> None:
        if not self._requests:
            self._late = True  # and never False again, because another thread may be between the look and this line
        self._ask("its deadline")

    def _note(self, error: BaseException) -> None:
        """An error of a task or the block, or what came while the block's end waited: cancels all."""
        if isinstance(error, Cancelled):
            if error._scope is not self._scope:
                self._passing = error
            asked = error._scope.asked if error._scope is not None else None
            self._ask(asked.why if asked is not None else by("Cancelled"))
        elif isinstance(error, Exception):
            if cancelled_for(error) in self._requests:
                return  # it only says that a task was cancelled with the group
            self._errors[id(error)] = error
            self._ask(by(type(error).__name__, "in"))
        else:  # a second Ctrl-C is for threads that have caught Cancelled, or that wait while they tidy up
            again = self._bare is not None
            self._bare = error
            self._ask(by(type(error).__name__, "in"), again)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _finish(self, body: BaseException | None, raised: BaseException | None) -> bool:
        """Called at the block's end, and again after each exception before `_over`: native/python/groups/group.c."""
        if native.is_unwinding():  # the explored run is over, and what ends this thread ends the others
            self._leave()
            self._closed = self._over = True
            if raised is not None and raised is not body:
                raise raised
            return False
        if raised is not None:
            self._note(raised)
        self._forget_lost()
        while True:
            self._wait()
            self._closed = True
            # if not, another thread has spawned one meanwhile: it saw `_closed`, or we see the task
            if not self._tasks:
                break
            self._closed = False
        self._leave()
        self._over = True
        return self._outcome(body)

    def _wait(self) -> None:
        while self._tasks or self._ending:
            for task in list(self._tasks):
                self._wait_for(task)
            while (thread := self._next_ending()) is not None:
                thread.join()
                self._forget(thread)
        self._awaited = None  # its error leads back to this group

    def _wait_for(self, task: Task[Any]) -> None:
        self._awaited, pause = task, _LOOK
        while not task._wait(pause if self._requests else None):
            self._look_for_foreign_locks()
            pause *= 2

    def _look_for_foreign_locks(self) -> None:
        if self._foreign is None:  # what it loads is much, and few programs need it
            self._foreign = [make() for make in tools.called("while a group's end waits")]
        threads = [thread for task in list(self._tasks) if (thread := task.thread) is not None]
        for thread, place in [found for foreign in self._foreign for found in foreign.look(threads)]:
            at = f" ({place})" if place else ""
            warnings.warn(
                f"{self._label} is cancelled, but {thread.name!r}{at} sleeps in a lock that is none of this runtime's, "
                "so no cancellation ends that. It would end a wait for a lock that threading has made after "
                "runtime.install(), or for a queue of runtime.queue",
                RuntimeWarning,
                stacklevel=5,  # the block's line
            )

    def _end_awaited(self, thing: object) -> tuple[str, int]:
        task = self._awaited
        if task is None or task is not thing:
            return "", 0
        tasks = list(self._tasks)
        threads = [thread for one in tasks if (thread := one.thread) is not None]
        said = [repr(thread.name) for thread in threads[:_SHOWN]]
        if len(threads) > _SHOWN:
            said.append(f"and {len(threads) - _SHOWN} more")
        if waits := len(tasks) - len(threads):
            said.append(f"{waits} that wait{'s' * (waits == 1)} for a turn")
        number = f"{len(tasks)} task{'s' * (len(tasks) != 1)}"
        return f"{self._label} ({number}: {', '.join(said)})", getattr(task.thread, "ident", None) or 0

    def _seen_turns(self) -> Turns | None:
        if self._limit is None:
            return None
        queued = tuple(self._queue.copy())  # without a GIL another thread may change it meanwhile
        waiting = set(map(id, queued))
        running = [task for task in list(self._tasks) if id(task) not in waiting]
        idents = {id(task): getattr(task.thread, "ident", None) or 0 for task in running}
        if len(idents) < self._limit:  # a turn is free, or is just being handed on
            idents[0] = 0
        return Turns(id(self), self._label, queued, idents)

    def _leave(self) -> None:
        assert self._scope is not None
        leave(self._scope)
        self._scope.group = None  # it would be a cycle of references
        if self._lent:
            self._lent = False
            assert self._scheduler is not None
            self._scheduler._take_back()

    def _outcome(self, body: BaseException | None) -> bool:
        errors: list[Exception] = [TimeoutError("the group's time is up")] if self._late else []
        errors += self._errors.values()
        out: BaseException | None = self._bare
        group = ExceptionGroup("unhandled errors in a Group", errors) if self._errors else None
        try:
            if out is None:
                out = group or self._passing or (errors[0] if self._late else None)
                group = None
            if out is not None and out is body:
                out.__cause__ = out.__cause__ or group
                return False
            if out is not None:
                raise out from group
            # perhaps by a scope around the block, when the tasks had ended before this thread waited
            if self._requests:
                native.checkpoint()
            return True  # the block's exception is what has cancelled it
        finally:
            self._errors, self._bare, self._passing = {}, None, None
            del errors, out, group, body


class Named:
    """What Group.named() returns."""

    __slots__ = ("_group", "_name")

    def __init__(self, group: Group, name: str) -> None:
        self._group = group
        self._name = name

    def spawn(self, function: Callable[_Args, _Result], /, *args: _Args.args, **kwargs: _Args.kwargs) -> Task[_Result]:
        """See Group.spawn()."""
        return self._group._spawn(function, args, kwargs, self._name)

    def start(self, function: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
        """See Group.start()."""
        return self._group._start_and_wait(function, args, kwargs, self._name)


def _check(function: Any) -> None:
    if not callable(function):
        raise TypeError(f"give a function and its arguments, as spawn(f, x), not f(x), which is {function!r}")
    called = function
    while isinstance(called, partial):
        called = called.func
    code = getattr(called, "__code__", None) or getattr(type(called).__call__, "__code__", None)
    if code is not None and code.co_flags & _ASYNC:
        raise TypeError(f"{function!r} is async, and a thread would only make its coroutine: spawn(asyncio.run, f(x))")
