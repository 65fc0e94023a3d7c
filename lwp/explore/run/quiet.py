"""What a run leaves behind says nothing: threads that are unwound, tasks that never end, coroutines that nobody awaits.

Otherwise a program's log would tell of exceptions that the program has only because its run is over.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ... import native
from ..results import Find, Unwound, name_of_error
from ..tasks import cancellation
from ..tasks.loops import is_own, lost, under_control, woken
from .plans import Plan

_AWAITS = 100  # that a coroutine may come to while it is closed


def replace(undo: ExitStack, owner: Any, name: str, by: Callable[[Any], Any]) -> None:
    """Until `undo` is closed, by(what it was) is the owner's attribute."""
    before = getattr(owner, name)
    undo.callback(setattr, owner, name, before)
    setattr(owner, name, by(before))


class Quiet:
    """Within a `with` of the thread that explores."""

    def __init__(self) -> None:
        self._log_handlers: list[logging.Handler] = []
        self._has_loops = False  # a loop of asyncio has run in an explored thread
        self.has_tasks = False  #: of such a loop, whose order can't be chosen, because it is not one of asyncio's own
        self.logged: set[str] = set()  #: what loops of asyncio log in the usual order too, so it is no find
        self._is_usual = False
        self._knows_asyncio = False
        self._undo = ExitStack()

    def __enter__(self) -> Quiet:
        self._explores = threading.get_ident()
        self._log_handlers = list(logging.root.handlers)
        replace(self._undo, logging.Logger, "callHandlers", self._unless_unwound)
        replace(self._undo, logging.Logger, "isEnabledFor", lambda before: _is_enabled_for)
        replace(self._undo, warnings, "_warn_unawaited_coroutine", self._unless_over)
        replace(self._undo, warnings, "_showwarnmsg", self._unless_over)
        replace(self._undo, sys, "unraisablehook", self._unraisable)
        return self

    def __exit__(self, *_: object) -> None:
        with self._undo:
            if self._has_loops:  # their tasks are destroyed while they say nothing
                gc.collect(1)

    def before_runs(self, plan: Plan) -> None:
        self._is_usual = plan.strategy == "planned" and not plan.deviations

    def before_run(self) -> None:
        """Takes back the handlers that the last run has left in the root logger, because each is a few steps more."""
        if logging.root.handlers != self._log_handlers:
            logging.root.handlers[:] = self._log_handlers

    def look(self) -> None:
        """Loops are known from the first run on before which asyncio is imported."""
        if self._knows_asyncio or "asyncio" not in sys.modules:
            return
        import asyncio

        self._knows_asyncio = True
        replace(self._undo, asyncio.BaseEventLoop, "call_exception_handler", self._unless_reported)
        replace(self._undo, asyncio.BaseEventLoop, "_run_once", under_control)
        replace(self._undo, asyncio.selector_events.BaseSelectorEventLoop, "_write_to_self", woken)
        native.explore_loops(sys.modules["_asyncio"], asyncio.Task, cancellation, self._note_loop)

    @property
    def may_have_missed_tasks(self) -> bool:
        """Whether the last run has imported asyncio."""
        return not self._knows_asyncio and "asyncio" in sys.modules

    def _is_over(self) -> bool:
        """Whether the calling thread is unwound, or is between runs, where it destroys what they have left."""
        return native.explore_unwinding() or (native.explore_index() < 0 and threading.get_ident() == self._explores)

    # ---- what stands in for others -----------------------------------------------------------------------------------

    def _unless_unwound(self, before: Callable[[Any, logging.LogRecord], None]) -> Callable[..., None]:
        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
            if not (native.explore_unwinding() or isinstance(error, Unwound)):
                before(logger, record)

        return call_handlers

    def _unless_over(self, before: Callable[[Any], None]) -> Callable[[Any], None]:
        return lambda warned_of: None if self._is_over() else before(warned_of)

    def _unless_reported(self, before: Callable[[Any, Any], None]) -> Callable[..., None]:
        def call_exception_handler(loop: Any, context: dict[str, Any]) -> None:
            if self._is_over() or isinstance(context.get("exception"), Unwound):
                return
            if native.explore_index() >= 0 and loop._exception_handler is None and (found := lost(context)) is not None:
                self._report(found)
            before(loop, context)

        return call_exception_handler

    def _report(self, found: Find) -> None:
        """A loop logs it, and asyncio goes on. If it does so in the usual order, it is the test's own affair."""
        name = name_of_error(found) if found.__cause__ is not None else f"{type(found).__name__}: {found}"
        if self._is_usual:
            self.logged.add(name)
        elif name not in self.logged:
            native.explore_report(found)

    def _unraisable(self, before: Callable[[Any], object]) -> Callable[[Any], None]:
        def hook(unraisable: Any, /) -> None:
            if self._is_over() or isinstance(unraisable.exc_value, Unwound):
                return
            if native.explore_index() >= 0 and "in thread started by" in (unraisable.err_msg or ""):
                native.explore_report(unraisable.exc_value)
            else:
                before(unraisable)

        return hook

    # ---- loops of asyncio --------------------------------------------------------------------------------------------

    def _note_loop(self, begins: object) -> None:
        """Called in an explored thread, with a loop before that begins and with None when it has ended.

        The tasks of a loop that is unwound are closed here, where no operation sleeps. Otherwise the collector would
        close them, in a thread that is not explored, and perhaps much later, because the run's exception holds them.
        """
        import asyncio

        self._has_loops = True
        self.has_tasks |= begins is not None and not is_own(begins)
        loop = asyncio._get_running_loop()
        if loop is None or not native.explore_unwinding():
            return
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _close(task.get_coro())


def _close(coroutine: Any) -> None:
    """One that awaits something as it is closed raises a RuntimeError, and is closed further by the next call."""
    for _ in range(_AWAITS):
        try:
            coroutine.close()
        except RuntimeError:
            continue
        except BaseException:
            return
        return


def _is_enabled_for(logger: logging.Logger, level: int) -> bool:
    """logging's own takes a lock when it is asked for the first time, and remembers the answer: the run in which a
    line logs for the first time would have other steps than all later ones."""
    return not logger.disabled and logger.manager.disable < level and level >= logger.getEffectiveLevel()
