"""A pool of threads with concurrent.futures' interface, whose running calls can be cancelled."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import _base
from concurrent.futures import thread as _thread
from concurrent.futures.thread import BrokenThreadPool
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from . import native
from .groups.cancellation import Cancelled, Members, Record, Request, Scope, checkpoint
from .groups.future import BaseFuture
from .members import CALL, by, note
from .scheduler import Scheduler
from .sync import Condition, Lock
from .thread import Thread

__all__ = ["Executor", "Future"]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

# concurrent.futures' private parts, in one place.  Each has been there since Python 3.11.
_private: Any = _thread
_states: Any = _base


_NO_GROUP = Members()  # what a call's scope has in place of a group


class Future(BaseFuture[_Result], futures.Future[_Result]):
    """What Executor.submit() returns: a concurrent.futures.Future, whose call can be cancelled also while it runs."""

    _scope: Scope | None = None  # the scope that the call runs in
    _cancels_running = False  # what cancel() does by default
    _make_condition = staticmethod(Condition)

    def __repr__(self) -> str:  # it takes no lock, because a report calls it while the future's condition may be held
        state = _states._STATE_TO_DESCRIPTION_MAP[self._state]
        if state == "finished":
            error = self._exception
            state += f" {'raised' if error else 'returned'} {type(error or self._result).__name__}"
        return f"<Future at {id(self):#x} state={state}>"

    def cancel(self, running: bool | None = None) -> bool:
        """Cancels the call if it has not begun; as concurrent.futures.Future.cancel.

        running: also asks a call that runs to end: Cancelled is raised in it at its next cancellation point, once for
        each call of cancel().  If that ends it, the future is cancelled.  None: as the executor was told.  Returns
        whether it was not done yet.
        """
        if super().cancel():
            return True
        if not (self._cancels_running if running is None else running) or self.done():
            return False
        if (scope := self._scope) is None:  # the future was ended by hand
            return False
        self._ask(scope, "a call of an executor")
        return True

    def running(self) -> bool:
        """Whether it has begun and is not done."""
        return bool(self._state == _states.RUNNING)

    def add_done_callback(self, fn: Callable[[futures.Future[_Result]], object]) -> None:
        """Calls fn(future) when the call is over or cancelled; at once if it is already.  As in concurrent.futures."""
        if not self._add_callback(fn):
            super().add_done_callback(fn)

    # ---- what an executor does with it -------------------------------------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """As concurrent.futures.Future.set_running_or_notify_cancel."""
        return self._begin() or super().set_running_or_notify_cancel()

    def set_result(self, result: _Result) -> None:
        """As concurrent.futures.Future.set_result."""
        self._end(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """As concurrent.futures.Future.set_exception."""
        self._end(None, exception)

    def _end(self, result: Any, exception: BaseException | None) -> None:
        calls = self._finish(result, exception)
        if calls is None:  # it is over, or another thread must be told
            if exception is None:
                super().set_result(result)
            else:
                super().set_exception(exception)
        elif calls:
            self._invoke_callbacks()  # type: ignore[attr-defined]

    def _end_cancelled(self) -> None:
        native.groups_count(CALL)
        with self._condition:
            self._state = _states.CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def _fail(self, error: BaseException, ended: bool) -> None:
        """Something other than the call has raised in the thread that makes it. ended: that has ended the future."""
        _states.LOGGER.critical("Exception in worker", exc_info=error)
        if ended:
            with self._condition:
                for waiter in self._waiters:
                    waiter.add_exception(self)
                self._condition.notify_all()
            self._invoke_callbacks()  # type: ignore[attr-defined]


# ---- workers ---------------------------------------------------------------------------------------------------------


class WorkQueue(native.WorkQueue):
    """What an executor and its workers share, so that the workers don't keep the executor alive."""

    __slots__ = ("cancels", "name", "records")

    def __init__(self, name: str) -> None:
        self.name = name  # the executor's
        self.records: list[Record] = []  # the workers'
        self.cancels: Request | None = None  # cancels calls that run, or begin from now on

    def scopes(self, _: Request) -> list[Scope]:
        """The scopes of the calls that run.  A call that begins now sees `cancels`, which was set before."""
        firsts = (record.scopes[:1] for record in tuple(self.records))
        # other scopes are callbacks'
        return [scope for scopes in firsts for scope in scopes if scope.group is _NO_GROUP]

    def __repr__(self) -> str:
        state = "open" if self.closed is None else "closed"
        return f"<WorkQueue of {self.name!r}, {state}, {self.qsize()} calls>"


class _Worker:
    """One thread.  Its Record serves all calls; WorkQueue.work() holds the Record while it waits for a call."""

    __slots__ = ("queue", "record")

    def __init__(self, queue: WorkQueue) -> None:
        self.queue = queue
        self.record = Record()
        self.record.scopes = ()

    def work(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """What the thread does."""
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException:
                _states.LOGGER.critical("Exception in initializer:", exc_info=True)
                _break(self.queue)
                return
        try:
            while not self._work():
                pass
        finally:
            self.record.end()
            self.queue.records.remove(self.record)

    def _work(self) -> bool:
        """Makes calls until there are no more.  Whether the worker has come to its end."""
        try:
            self.queue.work(self.run)
            return True
        except BaseException:
            _states.LOGGER.critical("Exception in worker", exc_info=True)
            return False

    def run(self, future: Future[Any]) -> None:
        """Makes the call."""
        record = self.record
        # before it runs, so that a thread that cancels a running call finds it
        scope = future._scope = Scope(_NO_GROUP)
        call = future._take_call()
        if call is None or not future.set_running_or_notify_cancel():
            return
        if native.cancel_mine() is not record:  # a group in a callback has left it
            record.begin()
        result = error = None
        cancelled = False
        context, function, args, kwargs = call
        try:
            scope.record = record
            record.scopes = (scope,)
            if self.queue.cancels is not None:
                scope.ask(self.queue.cancels)
            if scope.asked is not None:  # set just now; a canceller that comes later finds the record
                record.update()
                checkpoint()
            result = function(*args, **kwargs) if context is None else context.run(function, *args, **kwargs)
        except Cancelled:
            cancelled = True
        except BaseException as raised:
            error = raised
        finally:
            scope.record = None
            record.scopes = ()
            if scope.asked is not None:
                record._clear()
        del call, context, function, args, kwargs  # because callbacks at the end may take long
        if cancelled:
            future._end_cancelled()
        else:
            future._end(result, error)
        del error, future  # because the error's traceback leads to this frame


_BROKEN = BrokenThreadPool, "A thread initializer failed, the thread pool is not usable anymore"
_SHUT_DOWN = RuntimeError, "cannot schedule new futures after shutdown"
_AT_EXIT = RuntimeError, "cannot schedule new futures after interpreter shutdown"


def _break(queue: WorkQueue) -> None:
    queue.close(_BROKEN)
    while (future := queue.pop()) is not None:
        if future.set_running_or_notify_cancel():
            future.set_exception(BrokenThreadPool(_BROKEN[1]))


class _AtExit:
    """Stands for a queue in concurrent.futures' list of all queues, which calls put(None) at the interpreter's end."""

    __slots__ = ("_queue",)

    def __init__(self, queue: native.WorkQueue) -> None:
        self._queue = queue

    def put(self, item: object) -> None:
        self._queue.close(_AT_EXIT)


class Executor(futures.ThreadPoolExecutor):
    """concurrent.futures.ThreadPoolExecutor on the runtime's threads.

    Arguments as ThreadPoolExecutor, and, by keyword:

    scheduler: the Scheduler on which the workers run as green threads.  None: the scheduler of the thread that makes
    the executor, if that is green; otherwise each worker gets an LWP.  `with` lends the LWP to a scheduler that no
    thread runs.
    carry_context: each call runs in a copy of the context variables of the thread that has submitted it.
    cancel_running: Future.cancel() also asks a call that runs to end, unless it is told otherwise.  `with` asks all
    calls to end if an exception leaves its block, or its wait for the calls.

    A call that runs is cancelled by Future.cancel(running=True) or shutdown(cancel_running=True), and when the thread
    in the `with` is cancelled.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        scheduler: Scheduler | None = None,
        carry_context: bool = False,
        cancel_running: bool = False,
    ) -> None:
        if max_workers is None:
            cpus = getattr(os, "process_cpu_count", os.cpu_count)()  # 3.13 on
            max_workers = min(32, (cpus or 1) + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if scheduler is not None and not isinstance(scheduler, native.SchedulerBase):
            raise TypeError(f"scheduler must be a Scheduler or None, not {type(scheduler).__name__}")
        self._max_workers = max_workers
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"  # type: ignore[attr-defined]
        self._initializer: Callable[..., Any] | None = initializer
        self._initargs = initargs
        self._scheduler = scheduler or getattr(native.current_thread(), "_lwp_scheduler", None)
        self._lent = False
        self._carry_context = carry_context
        self._cancel_running = cancel_running
        self._queue = WorkQueue(self._thread_name_prefix)
        self._threads: set[Thread] = set()
        self._pid = os.getpid()
        self._changing = Lock()  # _threads
        weakref.finalize(self, self._queue.close, _SHUT_DOWN).atexit = False

    def __enter__(self) -> Self:
        if self._scheduler is not None:
            self._lent = self._scheduler._lend_if_idle()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        error = value
        try:
            while True:
                try:
                    self.shutdown(cancel_running=self._cancels_for(error))
                    break
                except BaseException as raised:  # raised in the wait for the calls
                    if not self._cancels_for(raised):
                        raise
                    error = raised
            if error is not value:
                assert error is not None
                raise error
        finally:
            error = None  # its traceback leads to this frame
            if self._lent:
                self._lent = False
                assert self._scheduler is not None
                self._scheduler._take_back()

    def _cancels_for(self, error: BaseException | None) -> bool:
        """Whether what ends a `with` block also ends its calls, as it must when a group around is to end."""
        return error is not None and (self._cancel_running or isinstance(error, Cancelled))

    # What programs read of a ThreadPoolExecutor's private parts, with _threads, _max_workers and the like.

    @property
    def _work_queue(self) -> WorkQueue:  # type: ignore[override]
        return self._queue

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._queue.closed is not None

    @property
    def _broken(self) -> str | bool:  # type: ignore[override]
        return _BROKEN[1] if self._queue.closed == _BROKEN else False

    def submit(self, fn: Callable[_Args, _Result], /, *args: _Args.args, **kwargs: _Args.kwargs) -> Future[_Result]:
        """Has fn(*args, **kwargs) called by a worker; its Future.

        RuntimeError: after shutdown(), or no thread can be made: nothing will be called.  BrokenThreadPool: a worker's
        initializer has failed.
        """
        future: Future[_Result] = Future(copy_context() if self._carry_context else None, fn, args, kwargs)
        if self._cancel_running:
            future._cancels_running = True
        if self._queue.put(future) and (len(self._threads) < self._max_workers or self._pid != os.getpid()):
            try:
                self._add_worker()
            except BaseException as error:
                # If a worker has the call, it doesn't matter that none can be made; what a signal handler raises does.
                if self._queue.remove(future) or not isinstance(error, RuntimeError | MemoryError):
                    raise
        return future

    def _add_worker(self) -> None:
        with self._changing, _private._global_shutdown_lock:
            if _private._shutdown:
                self._queue.close(_AT_EXIT)
                raise RuntimeError(_AT_EXIT[1])
            if self._pid != os.getpid():  # a forked child has only the thread that forked
                self._pid = os.getpid()
                self._threads = set()
            if (closed := self._queue.closed) is not None:
                raise closed[0](closed[1])
            if (number := len(self._threads)) == self._max_workers:
                return
            # What a worker needs is made here, so that without memory for it submit() fails, and no worker dies.
            worker = _Worker(self._queue)
            thread = Thread(
                target=worker.work,
                name=f"{self._thread_name_prefix}_{number}",
                args=(self._initializer, self._initargs),
                scheduler=self._scheduler,
            )
            try:
                self._queue.records.append(worker.record)
                self._threads.add(thread)
                _private._threads_queues[thread] = _AtExit(self._queue)
                thread.start()
            except BaseException:
                if thread.ident is None:  # else it runs, and a signal handler has raised here
                    self._threads.discard(thread)
                    _private._threads_queues.pop(thread, None)
                    with suppress(ValueError):
                        self._queue.records.remove(worker.record)
                raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, cancel_running: bool = False) -> None:
        """Refuses further calls from now on; workers end when no call is left.  As shutdown() of concurrent.futures.

        wait: returns when they have ended.
        cancel_futures: cancels calls that have not begun.
        cancel_running: cancels these, and calls that run, as Future.cancel(running=True) does.
        """
        with self._changing:
            self._queue.close(_SHUT_DOWN)
        if cancel_running:
            request = self._queue.cancels = Request(self._queue.scopes, by("shutdown()"), again=True)
            note(f"the calls of {self._thread_name_prefix!r}", request.why)
            request.carry_out()
        if cancel_futures or cancel_running:
            while (future := cast("Future[Any] | None", self._queue.pop())) is not None:
                future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()
